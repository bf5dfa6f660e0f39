"""Where fits and predictions are computed, and what is said where CUDA cannot be used."""

import enum
import os
import pickle
import re
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
from engine_checks import CUDA_SOLVERS
from numpy.testing import assert_array_equal
from sklearn.base import clone

import skmlp
import skmlp._base
import skmlp._devices
import skmlp._engine
from skmlp import MLPClassifier, MLPRegressor
from skmlp.__main__ import main
from skmlp._engine import PAYING_FLOPS, choose_for_fit, choose_for_prediction, fit_flops
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cuda import discovery, vocabulary
from skmlp.engines.cuda.discovery import MINIMUM_VERSIONS, Discovery, Driver, Gpu, discover
from skmlp.network.specs import LayerSpec, plain_network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROOT = Path(__file__).resolve().parent.parent
NETWORK = plain_network((3, 4, 1), "relu", "squared_error", "identity")
SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}
INSTALLED = {
    "numba-cuda": "0.30.4",
    "cuda-core": "1.2.2",
    "cuda-bindings": "12.9.10",
    "numba": "0.68.1",
    "numpy": "2.4.6",
}
GPU = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 85 * 10**9)
USABLE = Discovery(INSTALLED, Driver((12, 8), (GPU,)), False, ())
SIMULATED = Discovery(INSTALLED, Driver(problem=discovery.NO_DRIVER), True, ())
UNUSABLE = Discovery(INSTALLED, Driver(problem=discovery.NO_DRIVER), False, (discovery.NO_DRIVER,))


# --- What is found ---


class Status(enum.IntEnum):
    """What the driver answers."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_NOT_INITIALIZED = 3
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_UNKNOWN = 999


class FakeDriver:
    """Stands in for cuda.bindings.driver: its functions return a status and, maybe, a value.

    To call a function that needs a context fails: there is none by that name.
    """

    class CUdevice_attribute(enum.IntEnum):
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76

    def __init__(self, version=12080, gpus=(GPU,), start=Status.CUDA_SUCCESS):
        self.version, self.gpus, self.start = version, gpus, start

    def cuDriverGetVersion(self):
        return Status.CUDA_SUCCESS, self.version

    def cuInit(self, flags):
        assert flags == 0
        return (self.start,)

    def cuDeviceGetCount(self):
        return Status.CUDA_SUCCESS, len(self.gpus)

    def cuDeviceGet(self, index):
        return Status.CUDA_SUCCESS, self.gpus[index]

    def cuDeviceGetName(self, length, gpu):
        return Status.CUDA_SUCCESS, gpu.name.encode().ljust(length, b"\0")

    def cuDeviceGetAttribute(self, attribute, gpu):
        return Status.CUDA_SUCCESS, gpu.compute_capability[attribute - 75]

    def cuDeviceTotalMem(self, gpu):
        return Status.CUDA_SUCCESS, gpu.memory


@pytest.fixture
def look_around(monkeypatch):
    """Return a function that discovers what there is on a machine of which this is known."""

    def look(packages=(), driver=None, missing_libraries=()):
        versions = {**INSTALLED, **dict(packages)}

        def load(name):
            if name in missing_libraries:
                raise RuntimeError(f"{name} not found")

        cuda = types.ModuleType("cuda")
        bindings = types.SimpleNamespace(driver=driver)
        pathfinder = types.SimpleNamespace(load_nvidia_dynamic_lib=load)
        for name, module in (
            ("cuda", cuda),
            ("cuda.bindings", bindings if versions["cuda-bindings"] else None),
            ("cuda.pathfinder", pathfinder),
        ):
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(discovery, "installed_version", versions.get)
        monkeypatch.setattr(discovery, "has_driver_library", lambda: driver is not None)
        discovery._discover.cache_clear()
        return discover()

    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    yield look
    discovery._discover.cache_clear()


def test_a_gpu_is_described(look_around):
    second = Gpu("NVIDIA T4", (7, 5), 16 * 10**9)
    found = look_around(driver=FakeDriver(gpus=(GPU, second)))
    assert found == Discovery(INSTALLED, Driver((12, 8), (GPU, second)), False, ())
    assert found.is_usable
    assert discover() is found, "it is looked for once"


T4_FIRST = (Gpu("NVIDIA T4", (7, 5), 16 * 10**9), Gpu("GeForce GTX 1080", (6, 1), 8 * 10**9))


@pytest.mark.parametrize(
    ("machine", "problems"),
    [
        ({}, [r"^No NVIDIA driver was found: install .*container"]),
        (
            {"packages": dict.fromkeys(MINIMUM_VERSIONS)},
            [
                r"^No NVIDIA driver was found",
                r"^numba-cuda, cuda-core, cuda-bindings are not installed: pip install "
                r"'skmlp\[cuda13\]', or 'skmlp\[cuda12\]'",
            ],
        ),
        (
            {"packages": {"cuda-bindings": None}, "driver": FakeDriver()},
            [r"^cuda-bindings is not installed: pip install 'skmlp\[cuda13\]'"],
        ),
        (
            {"packages": {"numba-cuda": None}, "driver": FakeDriver()},
            [r"^numba-cuda is not installed: pip install"],
        ),
        (
            {"packages": {"numba-cuda": "0.9.12"}, "driver": FakeDriver()},
            [r"^numba-cuda 0\.9\.12 is older than 0\.30\.4: pip install"],
        ),
        (
            {"packages": {"cuda-bindings": "12.9.1"}, "driver": FakeDriver(11080)},
            [r"supports CUDA 11\.8: update the driver\.$"],
        ),
        (
            {"packages": {"cuda-bindings": "13.0.1"}, "driver": FakeDriver(12040)},
            [r"cuda-bindings 13\.0\.1 .*supports CUDA 12\.4: update .*'skmlp\[cuda12\]'"],
        ),
        (
            {"driver": FakeDriver(gpus=T4_FIRST[::-1])},
            [r"^Compute capability 6\.1 of GeForce GTX 1080 is below 7\.5: .*VISIBLE_DEVICES"],
        ),
        ({"driver": FakeDriver(gpus=())}, [r"sees no GPU: .*CUDA_VISIBLE_DEVICES"]),
        (
            {"driver": FakeDriver(start=Status.CUDA_ERROR_NO_DEVICE)},
            [r"sees no GPU: .*CUDA_VISIBLE_DEVICES"],
        ),
        (
            {"driver": FakeDriver(start=Status.CUDA_ERROR_NOT_INITIALIZED)},
            [r"forked.*: start processes by 'spawn' or 'forkserver'"],
        ),
        (
            {"driver": FakeDriver(start=Status.CUDA_ERROR_UNKNOWN)},
            [r"answers CUDA_ERROR_UNKNOWN: see whether nvidia-smi works"],
        ),
        (
            {"driver": FakeDriver(), "missing_libraries": ["nvJitLink"]},
            [r"library nvJitLink was not found: pip install 'skmlp\[cuda13\]'"],
        ),
        (
            {"driver": FakeDriver(), "missing_libraries": ["nvrtc"]},
            [r"library nvrtc was not found: pip install 'skmlp\[cuda13\]'"],
        ),
    ],
)
def test_what_is_missing_is_said_with_the_remedy(look_around, machine, problems):
    found = look_around(**machine)
    assert not found.is_usable
    assert len(found.problems) == len(problems), found.problems
    for problem, expected in zip(found.problems, problems, strict=True):
        assert re.search(expected, problem), problem
        assert problem.endswith(".")


@pytest.mark.parametrize(
    ("packages", "driver"),
    [
        (MINIMUM_VERSIONS, FakeDriver(12000)),
        ({"numba-cuda": "0.100.0.dev3", "cuda-bindings": "13.1.0"}, FakeDriver(13000)),
        ({"cuda-bindings": "12.9.1"}, FakeDriver(13020)),  # newer drivers run older programs
        ({}, FakeDriver(gpus=T4_FIRST)),  # the first one computes
    ],
)
def test_what_is_just_enough(look_around, packages, driver):
    assert look_around(packages, driver).problems == ()


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_bindings_that_do_not_work(look_around, error):
    class Broken(FakeDriver):
        def cuDriverGetVersion(self):
            raise error("broken in some way")

    [problem] = look_around(driver=Broken()).problems
    assert "broken in some way" in problem
    assert "pip install" in problem


@pytest.mark.parametrize(("value", "is_simulated"), [("1", True), ("0", False), ("", False)])
def test_the_simulator_needs_nothing(look_around, monkeypatch, value, is_simulated):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", value)
    found = look_around(dict.fromkeys(MINIMUM_VERSIONS))
    assert (found.is_simulated, found.is_usable) == (is_simulated, is_simulated)


def test_a_forked_child_looks_anew(look_around, monkeypatch):
    found = look_around(driver=FakeDriver())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert discover() is not found


def test_bounds_are_those_of_the_extras():
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for version in ("12", "13"):
        bounds = dict(requirement.split(">=") for requirement in extras[f"cuda{version}"])
        assert bounds.pop(f"numba-cuda[cu{version}]") == MINIMUM_VERSIONS["numba-cuda"]
        assert {"numba-cuda": MINIMUM_VERSIONS["numba-cuda"], **bounds} == MINIMUM_VERSIONS


def test_to_look_around_imports_no_numba(run_python):
    script = (
        "import sys, skmlp; skmlp.show_devices()\n"
        "print([name for name in sys.modules if name in ('numba', 'numba.cuda', 'cuda.core')])"
    )
    assert run_python(script).splitlines()[-1] == "[]"


# --- The report ---


def test_report(monkeypatch, capsys):
    monkeypatch.setattr(skmlp._devices, "discover", lambda: USABLE)
    skmlp.show_devices()
    shown = capsys.readouterr().out
    assert re.search(r"^ +cpu: \d+ cores?$", shown, re.M)
    for line in (
        "         cuda: usable",
        "     supports: CUDA 12.8",
        "        GPU 0: NVIDIA H100 80GB HBM3, compute capability 9.0, 79.2 GiB",
        "   numba-cuda: 0.30.4",
    ):
        assert f"\n{line}\n" in shown
    assert "lacks" not in shown
    main(["devices"])
    assert capsys.readouterr().out == shown


def test_report_of_what_is_missing(look_around, monkeypatch, capsys):
    found = look_around(dict.fromkeys(MINIMUM_VERSIONS))
    monkeypatch.setattr(skmlp._devices, "discover", lambda: found)
    skmlp.show_devices()
    shown = capsys.readouterr().out
    assert "\n         cuda: not usable\n" in shown
    for problem in found.problems:
        assert f"\n- {problem}\n" in shown
    assert "\n   numba-cuda: None\n" in shown
    assert "GPU 0" not in shown


def test_report_of_the_simulator(monkeypatch, capsys):
    monkeypatch.setattr(skmlp._devices, "discover", lambda: SIMULATED)
    skmlp.show_devices()
    assert re.search(r"cuda: simulated .*NUMBA_ENABLE_CUDASIM", capsys.readouterr().out)


# --- The choice ---


@pytest.fixture
def machine_with(monkeypatch):
    """Return a function that makes this machine one on which something else is found."""

    def change(found):
        monkeypatch.setattr(skmlp._engine, "discover", lambda: found)

    return change


@pytest.fixture
def driver_left_alone(monkeypatch):
    def ask():
        raise AssertionError("the driver was asked without need")

    monkeypatch.setattr(skmlp._engine, "discover", ask)


@pytest.mark.usefixtures("driver_left_alone")
def test_driver_is_not_asked_without_need():
    assert choose_for_fit("cpu", 1e30) == ("cpu", "device='cpu' was asked for.")
    device, reason = choose_for_fit("auto", 0.9 * PAYING_FLOPS)
    assert device == "cpu"
    assert re.search(r"9\.0e\+11 .*pays from about 1e\+12", reason)
    assert choose_for_prediction("cpu", 1e30, NETWORK) == "cpu"
    assert choose_for_prediction("auto", 0.9 * PAYING_FLOPS, NETWORK) == "cpu"


@pytest.mark.parametrize(
    ("found", "device", "reason"),
    [
        (USABLE, "cuda", r"1\.0e\+12 .*NVIDIA H100 80GB HBM3 can be used"),
        (UNUSABLE, "cpu", r"CUDA cannot be used: No NVIDIA driver"),
        (SIMULATED, "cpu", r"only simulated"),
    ],
)
def test_auto_for_large_work(machine_with, found, device, reason):
    machine_with(found)
    choice = choose_for_fit("auto", PAYING_FLOPS)
    assert choice.device == choose_for_prediction("auto", PAYING_FLOPS, NETWORK) == device
    assert re.search(reason, choice.reason)


def test_an_explicit_wish(machine_with):
    for found in (USABLE, SIMULATED):
        machine_with(found)
        assert choose_for_fit("cuda", 1.0) == ("cuda", "device='cuda' was asked for.")
        assert choose_for_prediction("cuda", 1.0, NETWORK) == "cuda"
    machine_with(UNUSABLE)
    with pytest.raises(RuntimeError, match=r"device='cuda' cannot be used\. No NVIDIA driver"):
        choose_for_fit("cuda", 1e30)
    assert choose_for_prediction("cuda", 1e30, NETWORK) == "cpu"


def test_work_of_a_fit():
    # 3 weights and a product forward and two backward, two operations each, for every row.
    assert fit_flops(10, 3, 7) == 2 * 3 * 3 * 10 * 7


# --- The estimators ---


class FakeCudaEngine(CpuEngine):
    """Computes on the CPU; remembers with what precision each one was made."""

    draws_orders = True
    precisions: list = []  # noqa: RUF012 - a fresh one in each test

    def __init__(self, precision=None):
        super().__init__()
        self.precisions.append(precision)


@pytest.fixture
def gpu(machine_with, monkeypatch):
    """Give this machine a GPU; return the precisions of the engines made for it."""
    machine_with(USABLE)
    monkeypatch.setattr(skmlp._engine, "cuda_engine", lambda: FakeCudaEngine)
    monkeypatch.setattr(FakeCudaEngine, "precisions", [])
    return FakeCudaEngine.precisions


@pytest.fixture(params=[MLPClassifier, MLPRegressor], ids=["classifier", "regressor"])
def estimator(request):
    return request.param


@pytest.mark.parametrize(
    ("solver", "method"), [("adam", "fit"), ("adam", "partial_fit"), ("lbfgs", "fit")]
)
def test_cuda_without_a_gpu_is_an_error_that_changes_nothing(
    machine_with, make_problem, unchanged, estimator, solver, method
):
    machine_with(UNUSABLE)
    X, y = make_problem("binary")
    model = estimator(**SMALL).fit(X, y)
    before = model.predict(X)
    model.set_params(device="cuda", solver=solver)
    with (
        unchanged(X, y, model=model),
        pytest.raises(RuntimeError, match=r"device='cuda'.*driver.*device='cpu'.*show_devices"),
    ):
        getattr(model, method)(X, y)
    assert_array_equal(model.predict(X), before)
    assert (model.device_, model.device_reason_) == ("cpu", "device='cpu' was asked for.")
    fresh = clone(model.set_params(device="cuda"))
    with pytest.raises(RuntimeError, match="device='cuda'"):
        fresh.fit(X, y)
    assert not hasattr(fresh, "coefs_")
    assert not hasattr(fresh, "device_")


def test_cuda_on_this_machine(make_problem, unchanged, estimator):
    if discover().is_usable:
        pytest.skip("CUDA can be used here")
    X, y = make_problem("binary")
    model = estimator(**SMALL).fit(X, y).set_params(device="cuda")
    with unchanged(X, y, model=model), pytest.raises(RuntimeError, match="device='cuda'") as error:
        model.fit(X, y)
    for problem in discover().problems:
        assert problem in str(error.value)
    model.predict(X)


def test_auto_on_the_cpu(machine_with, monkeypatch, make_problem, estimator, capsys):
    machine_with(UNUSABLE)
    X, y = make_problem("binary")
    expected = estimator(**SMALL).fit(X, y)
    for paying, reason in ((1e12, "a GPU pays from about 1e+12."), (0.0, discovery.NO_DRIVER)):
        monkeypatch.setattr(skmlp._engine, "PAYING_FLOPS", paying)
        model = estimator(device="auto", verbose=True, **SMALL).fit(X, y)
        assert model.device_ == "cpu"
        assert model.device_reason_.endswith(reason)
        first = capsys.readouterr().out.splitlines()[0]
        assert first == f"device='auto' computes on 'cpu'. {model.device_reason_}"
        for coef, other in zip(model.coefs_, expected.coefs_, strict=True):
            assert_array_equal(coef, other)
        again = pickle.loads(pickle.dumps(model))
        assert_array_equal(again.predict(X), model.predict(X))
        assert (again.device_, again.device_reason_) == ("cpu", model.device_reason_)


def test_only_auto_needs_an_explanation(make_problem, capsys, gpu, estimator):
    X, y = make_problem("binary")
    for device in ("cpu", "cuda"):
        estimator(device=device, verbose=True, **SMALL).fit(X, y)
    assert "device" not in capsys.readouterr().out


def test_what_cuda_lacks_is_computed_by_nobody_else_unless_asked(
    gpu, make_problem, unchanged, monkeypatch, estimator
):
    X, y = make_problem("binary")
    monkeypatch.setitem(vocabulary.HEEDED, LayerSpec, "units activation normalization")
    model = estimator(device="cuda", dropout=0.1, **SMALL)
    message = r"device='cuda' cannot be used\. CUDA cannot yet compute dropout\. Use device='cpu'"
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=message):
        model.fit(X, y)
    # However much work it is.
    model.set_params(device="auto", max_iter=10**9, n_iter_no_change=1, tol=1e9).fit(X, y)
    assert (model.device_, model.device_reason_) == ("cpu", "CUDA cannot yet compute dropout.")
    assert gpu == []
    monkeypatch.setitem(vocabulary.HEEDED, LayerSpec, "units")
    model.set_params(device="cuda").predict(X)
    assert gpu == [], "a prediction goes where it can be computed"


@pytest.mark.parametrize("solver", CUDA_SOLVERS)
def test_models_fitted_on_a_gpu_predict_anywhere(
    gpu, machine_with, make_problem, estimator, solver
):
    X, y = make_problem("binary")
    model = estimator(device="cuda", solver=solver, **SMALL).fit(X, y)
    assert (model.device_, model.device_reason_) == ("cuda", "device='cuda' was asked for.")
    assert all(type(array) is np.ndarray for array in model.coefs_ + model.intercepts_)
    expected = model.predict(X)
    assert len(gpu) == 2, "fit and prediction both went to the GPU"
    pickled = pickle.dumps(model)

    machine_with(UNUSABLE)
    elsewhere = pickle.loads(pickled)
    assert_array_equal(elsewhere.predict(X), expected)
    assert len(gpu) == 2
    assert elsewhere.device_ == "cuda", "it says where the fit was computed"
    with pytest.raises(RuntimeError, match="device='cuda'"):
        elsewhere.fit(X, y)
    elsewhere.set_params(device="cpu", warm_start=True).fit(X, y)
    assert elsewhere.device_ == "cpu"


def test_auto_goes_by_the_work(gpu, monkeypatch, make_problem, estimator):
    X, y = make_problem("binary", n_samples=40, n_features=5)
    n_coefs = 5 * 4 + 4 * 1
    monkeypatch.setattr(skmlp._engine, "PAYING_FLOPS", fit_flops(40, n_coefs, 3))
    assert estimator(device="auto", **SMALL).fit(X, y).device_ == "cuda"
    # Pieces of a fit that is expected to have as many epochs.
    assert estimator(device="auto", **SMALL).partial_fit(X, y, **first(estimator)).device_ == "cuda"
    smaller = estimator(device="auto", **{**SMALL, "max_iter": 2}).fit(X, y)
    assert smaller.device_ == "cpu"
    assert len(gpu) == 2
    smaller.predict(np.zeros((9 * 40 - 1, 5)))
    assert len(gpu) == 2
    smaller.predict(np.zeros((9 * 40, 5)))
    assert len(gpu) == 3, "a large prediction goes to the GPU by itself"
    assert smaller.device_ == "cpu"


def first(estimator):
    """Return what a classifier wants to know in its first `partial_fit`."""
    return {"classes": [0, 1]} if estimator is MLPClassifier else {}


@pytest.mark.parametrize("precision", [None, "tf32", "bf16"])
def test_precision_reaches_the_engine(gpu, monkeypatch, make_problem, estimator, precision):
    X, y = make_problem("binary")
    model = estimator(device="cuda", precision=precision, **SMALL)
    model.fit(X.astype(np.float32), y).predict(X)
    model.set_params(dtype="float32").fit(X, y)
    monkeypatch.setattr(skmlp._engine, "PAYING_FLOPS", 0.0)
    model.set_params(device="auto").fit(X, y).predict(X)
    assert gpu == [precision] * 5
    assert model.coefs_[0].dtype == np.float32
    assert clone(model).get_params()["precision"] == precision


def test_precision_of_a_float64_model_that_predicts(gpu, make_problem, estimator):
    X, y = make_problem("binary")
    model = estimator(device="cuda", **SMALL).fit(X, y)
    model.set_params(precision="tf32").predict(X)
    assert gpu == [None, None]


@pytest.mark.parametrize(
    ("parameters", "remedy"),
    [
        ({"device": "cpu", "dtype": "float32"}, "device='cuda'"),
        ({"device": "cuda", "dtype": "float64"}, "dtype='float32'"),
        ({"device": "cuda", "dtype": "auto"}, "dtype='float32'"),  # X is float64
        ({"device": "auto", "dtype": "auto"}, "dtype='float32'"),  # the same on every machine
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_precision_where_nothing_rounds(
    gpu, make_problem, unchanged, estimator, parameters, remedy, method
):
    X, y = make_problem("binary")
    model = estimator(**SMALL).fit(X, y).set_params(precision="bf16", **parameters)
    with (
        unchanged(X, y, model=model),
        pytest.raises(ValueError, match=rf"precision='bf16'.*{remedy}") as error,
    ):
        getattr(model, method)(X, y)
    assert "precision=None" in str(error.value)
    assert gpu == []


def test_precision_where_auto_chooses_the_cpu(machine_with, make_problem, estimator):
    machine_with(UNUSABLE)
    X, y = make_problem("binary")
    options = {"dtype": "float32", **SMALL}
    expected = estimator(**options).fit(X, y)
    model = estimator(device="auto", precision="tf32", **options).fit(X, y)
    for coef, other in zip(model.coefs_, expected.coefs_, strict=True):
        assert_array_equal(coef, other)
    model.set_params(device="cuda").predict(X)


def test_fitted_on_cuda_by_another_order_of_rows(gpu, make_problem):
    """The CUDA engine draws orders by itself; without shuffling nothing is drawn."""
    X, y = make_problem("regression")
    options = {"batch_size": 7, **SMALL}
    losses = {
        (device, shuffle): MLPRegressor(device=device, shuffle=shuffle, **options).fit(X, y).loss_
        for device in ("cpu", "cuda")
        for shuffle in (True, False)
    }
    assert losses["cpu", True] != losses["cuda", True]
    assert losses["cpu", False] == losses["cuda", False]
