"""Small data sets and the helpers that several test modules share."""

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import fields, is_dataclass
from pathlib import Path

# Tests run in as many processes as there are processors: more threads of scikit-learn's BLAS would
# wait for each other. It reads this when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from kernel_files import LOOKED_FOR, is_driver

import skmlp
import skmlp._base
from skmlp.engines.folders import places_to_look
from skmlp.engines.reference import ReferenceEngine

# What takes longest, all else after it: a file that is begun last leaves other processes idle. The
# first two compile what most others need, one in double and one in single precision, so that
# neither waits for the other.
FIRST = (
    *("test_sklearn_estimator_checks", "test_compilation", "test_simulator", "test_engines"),
    *("test_bad_input", "test_pitfalls", "test_ends", "test_estimators", "test_same_trajectory"),
    *("test_packaging", "test_cold_start", "test_gpu_benchmark", "test_solvers", "test_warnings"),
    *("test_interrupts", "test_hostile_input", "test_permutation", "test_benchmarks"),
)

HEADS = ("binary", "multiclass", "multilabel", "regression", "multi_regression", "poisson")


def pytest_configure(config):
    # pytest-xdist would begin with the files that have most tests.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    sizes = Counter(item.path for item in items)

    def place(item):
        name = item.path.stem
        first = FIRST.index(name) if name in FIRST else len(FIRST)
        return first, -sizes[item.path], str(item.path)

    items.sort(key=place)


@pytest.fixture(scope="session")
def make_problem():
    """Return a function ``(head, n_samples, n_features, seed) -> X, y``."""

    def make(head, n_samples=40, n_features=5, seed=0):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n_samples, n_features))
        signal = X @ rng.normal(size=(n_features, 3)) + 0.3 * rng.normal(size=(n_samples, 3))
        if head == "binary":
            return X, (signal[:, 0] > 0).astype(int)
        if head == "multiclass":
            return X, signal.argmax(axis=1)
        if head == "multilabel":
            return X, (signal > 0).astype(int)
        if head == "regression":
            return X, np.tanh(signal[:, 0])
        if head == "multi_regression":
            return X, np.tanh(signal) * [1.0, 2.0, 0.5]
        if head == "poisson":
            return X, rng.poisson(np.exp(0.3 * signal[:, 0])).astype(float)
        raise ValueError(f"head must be one of {HEADS}, got {head!r}")

    return make


@pytest.fixture(scope="session")
def make_estimator():
    """Return a function that makes the estimator of a head, skmlp's or another library's."""

    def make(head, library=skmlp, **params):
        if head in ("binary", "multiclass", "multilabel"):
            return library.MLPClassifier(**params)
        if head == "poisson":
            params["loss"] = "poisson"
        return library.MLPRegressor(**params)

    return make


def _describe(value):
    """Copy of any fitted attribute made of plain values that ``==`` can compare."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return ("array", "object", value.shape, [_describe(item) for item in value.ravel()])
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, np.random.RandomState):
        return ("RandomState", _describe(value.get_state(legacy=False)))
    if isinstance(value, np.generic):
        return ("scalar", value.dtype.str, value.tobytes())
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, dict):
        return ("dict", {str(key): _describe(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return (type(value).__name__, [_describe(item) for item in value])
    if isinstance(value, str | bytes | int | type(None)) or callable(value):
        return value
    if hasattr(value, "as_plain"):
        return (type(value).__name__, _describe(value.as_plain()))
    if is_dataclass(value) and value.__dataclass_params__.frozen:  # without what it has cached
        return (
            type(value).__name__,
            _describe({f.name: getattr(value, f.name) for f in fields(value)}),
        )
    if type(value).__getstate__ is not object.__getstate__:
        return (type(value).__name__, _describe(value.__getstate__()))
    state = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = getattr(cls, "__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, slot):
                state[slot] = getattr(value, slot)
    return (type(value).__name__, _describe(state))


@pytest.fixture(scope="session")
def fitted_state():
    """Return a function that copies all attributes of an estimator except its parameters."""

    def describe(estimator):
        attributes = {
            name: value
            for name, value in vars(estimator).items()
            if name not in estimator.get_params(deep=False)
        }
        return {name: _describe(value) for name, value in attributes.items()}

    return describe


@pytest.fixture(scope="session")
def unchanged(fitted_state):
    """Return a context manager: neither these arrays nor this fitted model may change inside."""

    @contextlib.contextmanager
    def check(*arrays, model=None):
        arrays = [array for array in arrays if isinstance(array, np.ndarray)]
        before = [_describe(array) for array in arrays]
        state = None if model is None else fitted_state(model)
        yield
        for position, (array, expected) in enumerate(zip(arrays, before, strict=True)):
            assert _describe(array) == expected, f"the caller's array {position} was changed"
        if model is not None:
            after = fitted_state(model)
            assert after.keys() == state.keys(), "attributes were added or removed"
            changed = [name for name in state if after[name] != state[name]]
            assert not changed, f"attributes of the earlier fit were changed: {changed}"

    return check


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a module of the benchmarks, which are not installed."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="session")
def run_python():
    """Return a function that runs a script in a new Python process and returns its stdout."""

    def run(script, *arguments, timeout=180, **environment):
        # The new process imports the same skmlp as this one, installed or not.
        folder = str(Path(skmlp.__file__).resolve().parent.parent)
        path = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        # A test run in the background of a shell ignores Ctrl-C, and its children with it.
        listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        process = subprocess.run(
            [sys.executable, "-P", "-c", listening + script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
        )
        assert process.returncode == 0, (
            f"the script ended with {process.returncode}\n{process.stdout}\n{process.stderr}"
        )
        return process.stdout

    return run


@pytest.fixture(scope="session")
def lend_drivers(run_python):
    """Return a function that copies the drivers that a script uses from the tests' own kernels.

    Where they come from is not what matters to many tests of first fits, and they are what takes
    long to compile. Formula kernels are left out, so that there is something to compile.
    """

    def lend(script, folder):
        printed = run_python(f"{LOOKED_FOR}{script}\nprint(*looked_for)", timeout=1200)
        drivers = list(filter(is_driver, printed.splitlines()[-1].split()))
        folder.mkdir(parents=True)
        for name in drivers:
            files = [path for place in places_to_look("cpu") for path in place.glob(f"{name}.*")]
            assert files, name
            for path in files:
                shutil.copy(path, folder)
        return drivers

    return lend


@pytest.fixture
def always_parallel(monkeypatch):
    """Let the CPU engine use all the threads that it is given, however little there is to do."""
    for limit in ("FLOPS_PER_THREAD", "FLOPS_PER_CALL"):
        monkeypatch.setattr(f"skmlp.engines.cpu.task.{limit}", 1.0)


@pytest.fixture
def plans(monkeypatch):
    """Record the plans of all fits, which the reference engine carries out."""
    recorded = []

    class Recording(ReferenceEngine):
        def start(self, tasks):
            run = super().start(tasks)
            submit = run.submit

            def recording(index, plan):
                recorded.append(plan)
                submit(index, plan)

            run.submit = recording
            return run

    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: Recording())
    return recorded
