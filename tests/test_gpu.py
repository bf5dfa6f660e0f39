"""The CUDA engine on a GPU, against the CPU engine: ``pytest -m gpu``. Skipped where there is none.

Fresh device memory is filled with NaN, so that whatever reads it before it is written fails.
"""

import gc
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import cuda_checks as checks
import numpy as np
import pytest
from cuda_checks import (
    CIRCUMSTANCES,
    CLASSIFIER,
    HEADS,
    PATHS,
    SIMULATED,
    SIZES,
    make_engine,
)
from engine_checks import CUDA_HIDDEN, CUDA_STOCHASTIC
from numpy.testing import assert_allclose
from scipy import sparse

from skmlp import MLPClassifier
from skmlp.engines.base import EpochPlan
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cuda.discovery import discover
from skmlp.engines.pools import Pool, belonging_to
from skmlp.network.parameters import layout_of

pytestmark = pytest.mark.gpu

DTYPES = ("float32", "float64")
PRECISIONS = ("tf32", "bf16")
MEBIBYTE = 2**20

# After an error such as an illegal address, a process can use its GPU no more.
_lost = []


def why_no_gpu():
    """Return why no GPU can be used, or None. To find out takes neither Numba nor memory of it."""
    if SIMULATED:
        return "the simulator is no GPU"
    return " ".join(discover().problems) or None


def poison_memory(monkeypatch):
    """Have all bytes of fresh memory set: NaN to those who read numbers, -1 to those who count."""
    from skmlp.engines.cuda.runtime import HardwareRuntime

    allocate = HardwareRuntime.allocate

    def allocate_poisoned(self, size, dtype):
        array = allocate(self, size, dtype)
        n_bytes = max(size, 1) * np.dtype(dtype).itemsize
        # Before and after: streams do not wait for this.
        self.synchronize()
        self._checked(self._driver.cuMemsetD8(array.address, 0xFF, n_bytes))
        self._checked(self._driver.cuCtxSynchronize())
        return array

    monkeypatch.setattr(HardwareRuntime, "allocate", allocate_poisoned)


@pytest.fixture(autouse=True)
def device(request, monkeypatch):
    """Return the device; a test that makes it unusable is named by all that follow."""
    reason = why_no_gpu()
    if reason is not None:
        pytest.skip(reason)
    if _lost:
        pytest.fail(f"THE DEVICE WAS LOST in {_lost[0]}: run this test by itself")
    from skmlp.engines.cuda.runtime import runtime

    if not SIMULATED:
        poison_memory(monkeypatch)
    yield runtime()
    try:
        runtime().activate()
        runtime().synchronize()
    except Exception:
        _lost.append(request.node.name)
        raise


@pytest.fixture(params=PATHS)
def path(request, device):
    """Return a path that all fits shall take."""
    return request.param


@pytest.fixture
def tensor_cores(device):
    """Skip what needs tensor cores that know tf32 and bf16."""
    from skmlp.engines.cuda.ptx import TENSOR_CAPABILITY

    if device.capability < TENSOR_CAPABILITY:
        pytest.skip(f"compute capability {device.capability} has no such tensor cores")


# --- Every formula, every kernel ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", CUDA_STOCHASTIC)
@pytest.mark.parametrize("activation", CUDA_HIDDEN)
@pytest.mark.parametrize("key", HEADS, ids="-".join)
def test_formulas(key, activation, solver, dtype, path):
    checks.check_formulas(key, activation, solver, dtype, path=path)


# With relu's kink Adam's first moment is soon another one, rightly so.
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("activation", "solver"),
    [("tanh", "adam"), ("tanh", "sgd"), ("relu", "sgd"), ("logistic", "adam")],
)
@pytest.mark.parametrize("key", HEADS, ids="-".join)
@pytest.mark.usefixtures("tensor_cores")
def test_rounded_factors(key, activation, solver, precision):
    checks.check_formulas(key, activation, solver, "float32", precision)


@pytest.mark.usefixtures("tensor_cores")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("density", [None, 0.3])
def test_rounded_gradient(precision, density):
    error = checks.check_gradient("float32", precision, density=density)
    assert error > TOO_EXACT[precision], "nothing was rounded"


# Well below what rounding factors costs, well above what float32 does.
TOO_EXACT = {"tf32": 1e-5, "bf16": 1e-4}


@pytest.mark.parametrize("name", CIRCUMSTANCES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_circumstances(name, dtype, monkeypatch, path):
    if SIMULATED:
        monkeypatch.setattr("skmlp.engines.cuda.batched.slab_rows", lambda *_: 7)
    checks.check_circumstances(name, dtype, path)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kibibytes", [96, 64, 48, 32, 16, 8, 4])
def test_resident_with_less_shared_memory(dtype, kibibytes, device, monkeypatch):
    """State, gradient, parameters and workspace leave shared memory one by one."""
    monkeypatch.setattr(device, "shared_bytes", min(1024 * kibibytes, device.shared_bytes))
    network = checks.network_of(("log_loss", "softmax"), "relu", (SIZES.n_features, 45))
    problem = checks.make_problem(network, SIZES.n_samples)
    for density in (None, 0.3):
        problem = checks.make_problem(network, SIZES.n_samples, density=density)
        checks.check_fit(network, problem, dtype=dtype, path="resident", solver="sgd")


@pytest.mark.skipif(SIMULATED, reason="takes too long there")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [(300, 1000), (1000, 300, 200), (784, 100)])
def test_larger_networks(units, dtype, path):
    network = checks.network_of(("log_loss", "softmax"), "relu", units)
    X, targets, weight = checks.make_problem(network, 700)
    problem = (X / np.sqrt(units[0]), targets, weight)
    checks.check_fit(network, problem, dtype=dtype, path=path, solver="sgd", batch_size=256)


def test_every_kernel_is_launched(device, monkeypatch):
    """Groups of one model and of more than the multiprocessors: small tiles and large ones."""
    from skmlp.engines.cuda.catalogue import kernels_for
    from skmlp.engines.cuda.ptx import TENSOR_CAPABILITY

    checks.keep_some_blends(monkeypatch)
    launched = checks.record_launches(monkeypatch)
    sparse = checks.make_problem(CLASSIFIER, SIZES.n_samples, density=0.3)
    for dtype in DTYPES:
        checks.check_group(3, dtype, path="resident")
        checks.check_fit(CLASSIFIER, sparse, dtype=dtype, path="batched")
        checks.check_group(device.multiprocessors + 1, dtype, path="batched")
        checks.check_prediction(dtype, monkeypatch)
        for name in checks.EVERY_ENTRY:
            checks.check_entry(name, dtype)
    if device.capability >= TENSOR_CAPABILITY:
        for precision in PRECISIONS:
            checks.check_group(1, "float32", precision)
            checks.check_group(device.multiprocessors + 1, "float32", precision)
    names = {kernel.name for kernel in kernels_for(DTYPES, device.capability)}
    assert names <= launched


# --- Lists, orders, states ---


@pytest.mark.parametrize("dtype", DTYPES)
def test_list_of_different_fits(dtype, path):
    checks.check_varied_list(dtype, path)


def test_own_choice_of_paths():
    checks.check_varied_list()


@pytest.mark.parametrize("dtype", DTYPES)
def test_keyed_orders_equal_explicit_ones(dtype, path):
    checks.check_keyed_orders(dtype, path)


@pytest.mark.parametrize("dtype", DTYPES)
def test_resumed_fit_equals_a_long_one(dtype, path):
    checks.check_resuming(dtype, path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the simulator's; a GPU has none
def test_divergence_ends_the_plan(path):
    checks.check_divergence(path)


@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_gradient(dtype, weighted, density):
    rows = np.random.default_rng(0).permutation(SIZES.n_samples)[: SIZES.n_samples // 2]
    checks.check_gradient(dtype, density=density, weighted=weighted)
    checks.check_gradient(dtype, density=density, weighted=weighted, rows=rows)


@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prediction(dtype, density, monkeypatch):
    checks.check_prediction(dtype, monkeypatch, density=density)


@pytest.mark.skipif(SIMULATED, reason="has no streams")
def test_what_follows_groups_side_by_side():
    """Groups have streams of their own; who computes next must not read before it is done."""
    network = checks.network_of(("log_loss", "softmax"), "relu", (64, 512, 512))
    X, targets, weight = checks.make_problem(network, 60_000)
    parameters = checks.make_task(CpuEngine(1), network, (X, targets, weight)).parameters
    layers = layout_of(network).views(parameters)

    def evaluate(engine):
        data = engine.load(X, targets, weight, network, "float64")
        yield engine.predict(network, *layers, data)
        yield from engine.loss_and_gradient(network, data, parameters, 0.1)

    expected = list(evaluate(CpuEngine(1)))
    for _ in range(3):
        engine = make_engine(path="batched")
        tasks, plans = checks.varied_tasks(engine)
        engine.start(tasks).advance(plans)
        for own, theirs in zip(evaluate(engine), expected, strict=True):
            assert checks.relative_error(own, theirs) < 1e-10


# --- The same again, and otherwise the same ---


def results(engine, dtype="float64"):
    return checks.results_of(engine, *checks.varied_tasks(engine, dtype))


def check_again(precision=None, path=None):
    """A difference is a race."""
    expected = results(make_engine(precision, path), "float32")
    for _ in range(1 if SIMULATED else 5):
        checks.assert_same_results(results(make_engine(precision, path), "float32"), expected)


def test_results_are_the_same_again(path):
    check_again(path=path)


@pytest.mark.usefixtures("tensor_cores")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rounded_results_are_the_same_again(precision):
    check_again(precision)


def test_replayed_graph_equals_launches(device, monkeypatch):
    replayed = results(make_engine(path="batched"))
    monkeypatch.setattr(type(device), "captured", lambda self, launches: launches)
    checks.assert_same_results(results(make_engine(path="batched")), replayed)


def test_short_calls_equal_long_ones(monkeypatch, path):
    expected = results(make_engine(path=path))
    monkeypatch.setattr("skmlp.engines.cuda.run.SECONDS_PER_CALL", 0.0)
    checks.assert_same_results(results(make_engine(path=path)), expected)


def test_fits_from_several_threads(path):
    expected = [results(make_engine(path=path), dtype) for dtype in DTYPES]
    with ThreadPoolExecutor(4) as pool:
        fits = [pool.submit(results, make_engine(path=path), dtype) for dtype in 2 * DTYPES]
        shared = make_engine(path=path)  # as if threads shared an estimator's engine
        fits += [pool.submit(results, shared, dtype) for dtype in DTYPES]
        for i, fit in enumerate(fits):
            checks.assert_same_results(fit.result(timeout=120), expected[i % 2])


def test_fits_of_a_pool_are_the_same_but_for_rounding(path):
    """Their tasks are grouped with those of other threads, as they come."""
    tasks, plans = checks.varied_tasks(make_engine(path=path))
    expected = results(make_engine(path=path))
    pool = Pool(4)

    def fused(_):
        with belonging_to(pool), pool.working(), make_engine(path=path).start(tasks) as run:
            fits = run.advance(plans)
            losses = [None if fit is None else fit.losses for fit in fits]
            return losses, [run.parameters(i) for i in range(len(tasks))]

    with ThreadPoolExecutor(4) as threads:
        for losses, parameters in threads.map(fused, range(8), timeout=120):
            for own, alone in zip(losses, expected[0], strict=True):
                assert (own is None) == (alone is None)
                assert own is None or checks.relative_error(own, alone) < 1e-9
            for own, alone in zip(parameters, expected[1], strict=True):
                assert checks.relative_error(own, alone) < 1e-9


# --- Memory and processes ---


@pytest.mark.skipif(SIMULATED, reason="has no memory of its own")
def test_memory_is_given_back(device, path):
    free = []
    network = checks.network_of(("log_loss", "softmax"), units=(500, 100))
    for i in range(110):
        problem = checks.make_problem(network, 2000, seed=i)
        engine = make_engine(path=path)
        task = checks.make_task(engine, network, problem, dtype="float32", batch_size=200)
        run = engine.start([task])
        run.advance([EpochPlan(np.arange(2000)[np.newaxis], 0.01)])
        engine.loss_and_gradient(network, task.data, run.parameters(0), 0.1)
        del run, task, engine, problem
        gc.collect()
        device.synchronize()
        free.append(device.free_bytes())
    # X alone is 4 MB. The first fits load kernels and fill the driver's pool of memory.
    assert free[9] - free[-1] < 64 * MEBIBYTE


@pytest.mark.skipif(SIMULATED, reason="has no memory of its own")
def test_too_little_memory_is_said(device):
    with pytest.raises(MemoryError, match="not enough free memory"):
        device.allocate(2**48, np.uint8)
    checks.check_fit(CLASSIFIER, checks.make_problem(CLASSIFIER, SIZES.n_samples))


FORK = """
import os
import numpy as np
from skmlp.engines.cuda.engine import CudaEngine
from skmlp.network.parameters import ParameterLayout
from skmlp.network.specs import plain_network

network = plain_network((4, 5, 1), "relu", "squared_error", "identity")
layers = layout_of(network).views(np.ones(31))
engine = CudaEngine()

def predict():
    data = engine.load(np.ones((3, 4)), None, None, network, "float64")
    return engine.predict(network, *layers, data)

expected = predict()
child = os.fork()
if child == 0:
    try:
        predict()
        print("no error", flush=True)
    except RuntimeError as error:
        print(f"child: {error}", flush=True)
    finally:
        os._exit(0)
os.waitpid(child, 0)
assert np.array_equal(predict(), expected)
print("parent goes on")
"""


@pytest.mark.skipif(SIMULATED, reason="the simulator survives a fork")
@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_forked_child_is_told(run_python):
    output = run_python(FORK, PYTHONWARNINGS="ignore")
    assert "child: CUDA was used before this process was forked" in output
    assert "parent goes on" in output


# --- Estimators ---

stops_at_max_iter = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# Without shuffling both devices see the rows in the same order.
SETTINGS = {"hidden_layer_sizes": (20, 10), "max_iter": 5, "random_state": 0, "shuffle": False}
SOLVERS = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate": "adaptive", "batch_size": 50},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True},
}


@pytest.fixture
def make_model(make_estimator):
    """Return a function that makes an estimator; its ``device`` may be "cuda"."""
    (constraint,) = MLPClassifier._parameter_constraints["device"]
    if "cuda" not in constraint.options:
        pytest.skip("the estimators cannot be given device='cuda' yet")
    return lambda head, **parameters: make_estimator(head, **{**SETTINGS, **parameters})


@stops_at_max_iter
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", ["binary", "multiclass", "multilabel", "multi_regression"])
def test_estimators(head, solver, make_model, make_problem):
    X, y = make_problem(head, 130)
    on_gpu, on_cpu = (
        make_model(head, device=device, **SOLVERS[solver]).fit(X, y) for device in ("cuda", "cpu")
    )
    assert on_gpu.device_ == "cuda"
    assert on_gpu.n_iter_ == on_cpu.n_iter_
    # A line search enlarges what differs.
    tolerance = 1e-5 if solver == "lbfgs" else 1e-9
    assert_allclose(on_gpu.loss_, on_cpu.loss_, rtol=tolerance)
    for own, theirs in zip(on_gpu.coefs_, on_cpu.coefs_, strict=True):
        assert checks.relative_error(own, theirs) <= tolerance
    # Near zero a probability may fall on either side of one half; most do not.
    assert np.mean(on_gpu.predict(X) != on_cpu.predict(X)) < (2 if "regression" in head else 0.02)
    assert_allclose(on_gpu.score(X, y), on_cpu.score(X, y), atol=0.02)


@stops_at_max_iter
def test_shuffled_estimators_learn(make_model, make_problem):
    X, y = make_problem("multiclass", 400)
    parameters = {"shuffle": True, "dtype": "float32", "device": "cuda"}
    parameters |= {"max_iter": 40, "learning_rate_init": 0.01}
    assert make_model("multiclass", **parameters).fit(X, y).score(X, y) > 0.85


@stops_at_max_iter
@pytest.mark.usefixtures("tensor_cores")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_estimators_on_tensor_cores_learn(precision, make_model, make_problem):
    X, y = make_problem("multiclass", 400)
    parameters = {"shuffle": True, "dtype": "float32", "device": "cuda", "precision": precision}
    parameters |= {"max_iter": 40, "learning_rate_init": 0.01}
    model = make_model("multiclass", **parameters)
    assert model.fit(X, y).score(X, y) > 0.85


@stops_at_max_iter
def test_weights_sparse_input_and_partial_fit(make_model, make_problem):
    X, y = make_problem("multiclass", 130)
    weight = np.random.default_rng(0).uniform(0.0, 2.0, size=130)
    sparse_X = sparse.csr_array(np.where(np.abs(X) > 0.7, X, 0.0))
    for data in (X, sparse_X):
        models = [make_model("multiclass", device=device) for device in ("cuda", "cpu")]
        for model in models:
            model.fit(data, y, sample_weight=weight)
            model.partial_fit(data, y)
        for own, theirs in zip(models[0].coefs_, models[1].coefs_, strict=True):
            assert checks.relative_error(own, theirs) <= 1e-9
        assert_allclose(*(model.predict_proba(data) for model in models), atol=1e-9)


LOAD = """
import pickle, sys
import numpy as np

model = pickle.load(open(sys.argv[1], "rb"))
X, expected = np.load(sys.argv[2]), np.load(sys.argv[3])
print(np.abs(model.predict_proba(X) - expected).max() < 1e-9)
"""


@stops_at_max_iter
def test_model_predicts_where_there_is_no_gpu(make_model, make_problem, run_python, tmp_path):
    X, y = make_problem("multiclass", 130)
    model = make_model("multiclass", device="cuda").fit(X, y)
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "expected.npy", model.predict_proba(X))
    paths = [tmp_path / name for name in ("model", "X.npy", "expected.npy")]
    # Neither GPU nor simulator.
    output = run_python(LOAD, *paths, CUDA_VISIBLE_DEVICES="", NUMBA_ENABLE_CUDASIM="0")
    assert output.strip() == "True"
