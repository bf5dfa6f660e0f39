"""Compiled code: what is cached, what invalidates it, and what it must not depend on."""

import gc
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import carray, types
from numba.core.caching import IndexDataCacheFile, NullCache

import skmlp
from skmlp import _warmup
from skmlp.__main__ import main
from skmlp._engine import COMPILING, compilation_announced, cpu_engine
from skmlp.engines.cpu import compilation
from skmlp.engines.cpu.compilation import NoCache, inner, jit
from skmlp.engines.cpu.formula_kernels import activation_kernel, loss_kernel
from skmlp.network.activations import ACTIVATIONS
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import OPTIMIZERS

COUNT_COMPILATIONS = """
import numba.core.compiler
compiled = []
compile_extra = numba.core.compiler.compile_extra
def counting(typing_context, target_context, func, *args, **options):
    compiled.append(func.__name__)
    return compile_extra(typing_context, target_context, func, *args, **options)
numba.core.compiler.compile_extra = counting
"""
FIT = """
import warnings
import numpy as np
from skmlp import MLPClassifier
X = np.random.default_rng(0).normal(size=(30, 3))
warnings.simplefilter("ignore")
model = MLPClassifier({layers}, activation="{activation}", max_iter=2, random_state=0)
model.fit(X, X[:, 0] > 0).predict(X)
"""
PRINT_COEFS = "print([coef.tobytes().hex() for coef in model.coefs_])"


def start_python(script, cache):
    """Start a new process that keeps its kernels in `cache`."""
    root = Path(skmlp.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed_by(process):
    """Return what a process that must succeed has printed."""
    try:
        printed, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return printed


def functions_compiled_by(script, cache):
    """Names of all functions that a script compiles in a new process."""
    script = f"{COUNT_COMPILATIONS}{script}\nprint(*compiled)"
    return printed_by(start_python(script, cache)).split()


def compiled_functions(cache, layers="(5,)", activation="tanh"):
    """Names of the functions that a fit and a prediction in a new process compile."""
    return functions_compiled_by(FIT.format(layers=layers, activation=activation), cache)


@pytest.mark.slow
def test_second_process_compiles_nothing_and_a_new_architecture_no_driver(tmp_path):
    first = compiled_functions(tmp_path)
    assert {"run_batches", "predict_rows", "activate", "hyperbolic_tangent"} <= set(first)
    assert compiled_functions(tmp_path) == []
    assert compiled_functions(tmp_path, layers="(7, 4, 3)") == []
    other = compiled_functions(tmp_path, activation="relu")
    assert {"activate", "relu", "backpropagate", "relu_derivative"} <= set(other)
    assert not {"run_batches", "predict_rows", "forward_layer"} & set(other)


COUNT_REFRESHES = """
from numba.core.base import BaseContext
refreshes = []
refresh = BaseContext.refresh
BaseContext.refresh = lambda context: (refreshes.append(context), refresh(context))[1]
"""
COMPILE_MORE = """
import numba
print(len(refreshes))
double = numba.njit(lambda a: [2 * x for x in a.copy()])
print(double(np.arange(2)) == [0, 2])
"""


@pytest.mark.slow
def test_cached_kernels_are_loaded_without_preparing_to_compile(tmp_path):
    """And compiling in the same process afterwards, with arrays and lists, still works."""
    fit = FIT.format(layers="(5,)", activation="tanh")
    compiled_functions(tmp_path)
    script = COUNT_REFRESHES + fit + COMPILE_MORE
    refreshed, doubled = printed_by(start_python(script, tmp_path)).split()
    assert refreshed == "0" or not compilation.NEEDS_RUNTIME_ONLY
    assert doubled == "True"
    # With a release of Numba that has not been tried:
    module = "skmlp.engines.cpu.compilation"
    script = f"import {module}\n{module}.NEEDS_RUNTIME_ONLY = False\n{fit}"
    assert functions_compiled_by(script, tmp_path) == []


@pytest.mark.slow
def test_concurrent_first_fits_agree_and_leave_a_complete_cache(tmp_path):
    script = FIT.format(layers="(5,)", activation="tanh") + PRINT_COEFS
    processes = [start_python(script, tmp_path) for _ in range(3)]
    first, *others = [printed_by(process) for process in processes]
    assert others == [first, first]
    assert compiled_functions(tmp_path) == []
    assert printed_by(start_python(script, tmp_path)) == first


# Every kernel of the registries, and fits that no warm-up would think of.
EVERYTHING = """
import warnings
from itertools import product
import numpy as np
from scipy.sparse import csr_array
from skmlp import MLPClassifier, MLPRegressor
from skmlp.engines.cpu import formula_kernels as kernels
from skmlp.network.activations import ACTIVATIONS
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import OPTIMIZERS

for dtype in {dtypes}:
    for entry in ACTIVATIONS.values():
        if entry.hidden:
            kernels.activation_kernel(entry.name, dtype)
            kernels.derivative_kernel(entry.name, dtype)
    for loss, output_activation in LOSSES:
        kernels.loss_kernel(loss, output_activation, dtype)
        kernels.output_kernel(output_activation, dtype)
    for optimizer in OPTIMIZERS:
        kernels.update_kernel(optimizer, dtype)
        kernels.constants_kernel(optimizer)

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
dense = rng.normal(size=(60, 6))
dense.setflags(write=False)
inputs = [dense, np.asfortranarray(dense), dense[::2, ::-1], dense.astype("f4"), csr_array(dense)]
for X, solver, dtype, n_jobs in product(inputs, ("adam", "lbfgs"), {dtypes}, (1, 2)):
    options = dict(solver=solver, dtype=dtype, n_jobs=n_jobs, max_iter=2, random_state=0)
    y = np.arange(X.shape[0])
    weight = rng.random(len(y))
    labels = np.stack([y % 2, y % 3 > 0], axis=1)
    classifier = MLPClassifier((9, 3), early_stopping=True, batch_size=7, **options)
    classifier.fit(X, labels, sample_weight=weight).predict_proba(X)
    MLPRegressor("poisson", (), **options).fit(X, labels, sample_weight=weight).predict(X)
    if solver == "adam":
        MLPRegressor(**options).partial_fit(X, y).partial_fit(X, y).score(X, y)
"""


@pytest.mark.slow
def test_nothing_is_left_to_compile_after_warmup(tmp_path):
    """One precision and then both, as each must be complete by itself."""
    root = Path(skmlp.__file__).parents[1]

    def warm_up(dtype):
        script = f"from skmlp.__main__ import main; main(['warmup', '--dtype', '{dtype}'])"
        return printed_by(start_python(script, tmp_path))

    said = warm_up("float32")
    assert re.match(r"Compiled [1-9]\d* kernels for float32 in ", said)
    folder = Path(re.search(r"kept in (.+)\.$", said)[1])
    assert folder.is_relative_to(tmp_path)
    assert not folder.is_relative_to(root)
    assert list(folder.glob("*.nbi"))
    assert functions_compiled_by(EVERYTHING.format(dtypes=["float32"]), tmp_path) == []
    assert re.match(r"Compiled [1-9]\d* kernels for float32 and float64 in ", warm_up("both"))
    both = ["float32", "float64"]
    assert functions_compiled_by(EVERYTHING.format(dtypes=both), tmp_path) == []
    assert warm_up("both").startswith("Nothing to compile for float32 and float64")


WITHOUT_COMPILER = """
import numpy as np
from sklearn.base import clone
import skmlp

X, y = np.eye(4), np.arange(4)
for estimator in (skmlp.MLPClassifier, skmlp.MLPRegressor):
    model = clone(estimator(alpha=0.5)).set_params(max_iter=3)
    repr(model), model._repr_html_(), model.get_params()
    fitted = estimator(hidden_layer_sizes=())
    fitted.coefs_, fitted.intercepts_ = [np.ones((4, 1))], [np.ones(1)]
    fitted.out_activation_ = "identity"
    calls = [lambda: model.fit(X, y), lambda: fitted.predict(X), lambda: skmlp.warmup("float32")]
    for call in calls * 2:
        try:
            call()
        except RuntimeError as error:
            print(error)
    assert not hasattr(model, "coefs_")
"""


def test_a_numba_that_must_not_compile_is_named(run_python):
    printed = run_python(WITHOUT_COMPILER, NUMBA_DISABLE_JIT="1").splitlines()
    assert len(printed) == 12
    assert set(printed) == {
        "The environment variable NUMBA_DISABLE_JIT is set, but kernels compute only where Numba "
        "compiles them. Unset it and start Python anew."
    }


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float32, ("float32",)),
        (np.dtype("f8"), ("float64",)),
        ("single", ("float32",)),
        (float, ("float64",)),
        (None, ("float32", "float64")),
    ],
    ids=repr,
)
def test_warmup_takes_what_numpy_takes_for_a_dtype(monkeypatch, dtype, expected):
    prepared = []
    monkeypatch.setattr(_warmup, "use_everything", prepared.append)
    assert skmlp.warmup(dtype).dtypes == expected
    assert tuple(prepared) == expected


def test_warmup_refuses_what_it_cannot_do(monkeypatch):
    with pytest.raises(ValueError, match=r"dtype must be .* got 'float16'"):
        skmlp.warmup("float16")
    with pytest.raises(ValueError, match=r"dtype='auto' names no precision\. Use None for both\."):
        skmlp.warmup("auto")

    def refuse(py_func, key):
        raise RuntimeError("no locator available")

    monkeypatch.setattr(compilation, "KernelCache", refuse)
    with pytest.raises(OSError, match="Set NUMBA_CACHE_DIR to a folder"):
        skmlp.warmup("float32")
    with pytest.raises(SystemExit, match="1"):
        main(["warmup", "--dtype", "float32"])


@pytest.mark.slow
def test_unusable_cache_entries_are_compiled_again(tmp_path):
    compiled_functions(tmp_path)
    damaged = [*tmp_path.rglob("*.nbc"), *tmp_path.rglob("*.nbi")]
    assert damaged
    for path in damaged:
        path.write_bytes(b"")
    assert "run_batches" in compiled_functions(tmp_path)


def told(cache):
    """Lines about compilation that a fit with ``verbose=True`` prints in a new process."""
    script = FIT.format(layers="(5,)", activation="tanh").replace("max_iter", "verbose=1, max_iter")
    return re.findall("^Compiling.*$", printed_by(start_python(script, cache)), re.M)


@pytest.mark.slow
def test_verbose_fit_says_once_that_it_compiles(tmp_path):
    assert told(tmp_path) == [COMPILING]
    assert told(tmp_path) == []


@pytest.mark.parametrize("enabled", [True, False])
def test_importing_the_engine_leaves_the_garbage_collector_as_it_was(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        inspect.unwrap(cpu_engine)()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_only_what_is_compiled_is_announced(empty_cache, monkeypatch, capsys):
    with compilation_announced(False):
        compile_scale(2.0)
    with compilation_announced(True):
        compile_scale(2.0)  # comes from the cache
    assert capsys.readouterr().out == ""
    with compilation_announced(True):
        compile_scale(3.0)
        compile_scale(4.0)
    compile_scale(5.0)
    assert capsys.readouterr().out == f"{COMPILING}\n"
    # Where no folder can be written everything is compiled, always.
    monkeypatch.setattr(compilation, "kernel_cache", lambda py_func, key: NoCache(py_func))
    with compilation_announced(True):
        compile_scale(2.0)
    assert capsys.readouterr().out == f"{COMPILING}\n"


def test_stamp_covers_every_formula_and_kernel(tmp_path, monkeypatch):
    package = Path(skmlp.__file__).parent
    for folder in ("network", "engines/cpu"):
        (tmp_path / folder).mkdir(parents=True)
        for path in (package / folder).glob("*.py"):
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(
        compilation, "__file__", str(tmp_path / "engines" / "cpu" / "compilation.py")
    )
    digest = inspect.unwrap(compilation.source_stamp)
    stamps = {digest()}
    for changed in ("network/activations.py", "engines/cpu/passes.py"):
        with (tmp_path / changed).open("a") as file:
            file.write("# changed\n")
        stamps.add(digest())
    assert len(stamps) == 3


def all_formulas():
    for entry in ACTIVATIONS.values():
        yield from (entry.value, entry.derivative)
    for loss in LOSSES.values():
        yield from (loss.value, loss.gradient)
    for optimizer in OPTIMIZERS.values():
        yield from (optimizer.constants, optimizer.update)


@pytest.mark.parametrize("formula", sorted(set(all_formulas()), key=lambda f: f.__name__))
def test_formulas_write_their_constants_as_floats(formula):
    """An integer literal would turn single-precision arithmetic into double precision."""
    constants = [c for c in formula.__code__.co_consts if isinstance(c, int)]
    # Positions within a tuple of settings are the only integers.
    assert formula.__name__.endswith("_constants") or not constants


def test_kernels_are_compiled_once_per_formula_and_precision():
    assert activation_kernel("tanh", "float64") == activation_kernel("tanh", "float64")
    assert activation_kernel("tanh", "float64") != activation_kernel("tanh", "float32")
    assert loss_kernel("log_loss", "softmax", "float32") != loss_kernel(
        "log_loss", "logistic", "float32"
    )


def test_single_precision_kernel_computes_in_single_precision():
    value = compilation.specialize(ACTIVATIONS["logistic"].value, np.float32)
    value(np.float32(0.5))
    (llvm,) = value.inspect_llvm().values()
    arithmetic = [line for line in llvm.splitlines() if re.search(r"= f(add|sub|mul|div) ", line)]
    assert arithmetic
    assert not [line for line in arithmetic if "double" in line]


def make_kernel(factor):
    def scale(x, size):
        x = carray(x, size)
        for i in range(size):
            x[i] *= factor

    return scale


def compile_scale(factor):
    signature = types.void(types.CPointer(types.float64), types.int64)
    return compilation.compile_kernel(make_kernel(factor), signature, f"times {factor}")


def applied(kernel):
    x = np.ones(1)
    kernel.ctypes(x.ctypes.data_as(kernel.ctypes.argtypes[0]), 1)
    return x[0]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def test_entries_of_one_function_share_no_file(empty_cache):
    """Else two processes, or a full disk, could give one formula the code of another."""
    for factor in (2.0, 3.0):
        assert applied(compile_scale(factor)) == factor
    assert len(list(empty_cache.rglob("*.nbi"))) == len(list(empty_cache.rglob("*.nbc"))) == 2
    (two, three) = (compile_scale(factor) for factor in (2.0, 3.0))
    assert (two.cache_hits, three.cache_hits) == (1, 1)
    assert (applied(two), applied(three)) == (2.0, 3.0)


def test_data_file_missing_after_a_full_disk(empty_cache, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(IndexDataCacheFile, "_save_data", refuse)
        assert applied(compile_scale(2.0)) == 2.0
    assert not list(empty_cache.rglob("*.nbc"))
    assert applied(compile_scale(3.0)) == 3.0
    assert applied(compile_scale(2.0)) == 2.0


def test_damaged_bits_are_compiled_again(empty_cache):
    assert applied(compile_scale(2.0)) == 2.0
    (index,) = empty_cache.rglob("*.nbi")
    sound = index.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(sound), size=min(40, len(sound)), replace=False):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << int(rng.integers(8))
        index.write_bytes(damaged)
        assert applied(compile_scale(2.0)) == 2.0


def test_drivers_count_no_references():
    @inner
    def total(array):
        return array[0] + array[1]

    @jit()
    def call(array):
        return total(array) + total(array[1:])

    call._cache = NullCache()
    assert call(np.arange(3.0)) == 4.0
    (code,) = call.inspect_llvm().values()
    assert "total" in code
    assert "NRT_incref" not in code
