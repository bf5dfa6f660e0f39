"""Compiled code: what is cached, what invalidates it, and what it must not depend on."""

import ast
import gc
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from kernel_files import LOOKED_FOR
from numba import carray, types
from numba.core.caching import IndexDataCacheFile, NullCache
from numba.core.codegen import JITCPUCodegen

import skmlp
from skmlp import _warmup
from skmlp._engine import COMPILING, compilation_announced, cpu_engine
from skmlp.engines import folders
from skmlp.engines.cpu import compilation, disk_cache
from skmlp.engines.cpu.compilation import inner, jit
from skmlp.engines.cpu.loss_kernels import loss_kernel
from skmlp.engines.cpu.map_kernels import value_kernel
from skmlp.network.activations import ACTIVATIONS, BLENDS
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


ROOT = Path(skmlp.__file__).parents[1]


def start_python(script, cache, root=ROOT):
    """Start a new process that keeps its kernels in `cache`, with the package in `root`."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed_by(process):
    """Return what a process that must succeed has printed."""
    try:
        printed, errors = process.communicate(timeout=1200)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return printed


def functions_compiled_by(script, cache, root=ROOT):
    """Names of all functions that a script compiles in a new process."""
    script = f"{COUNT_COMPILATIONS}{script}\nprint(*compiled)"
    return printed_by(start_python(script, cache, root)).split()


def compiled_functions(cache, layers="(5,)", activation="tanh"):
    """Names of the functions that a fit and a prediction in a new process compile."""
    return functions_compiled_by(FIT.format(layers=layers, activation=activation), cache)


# Entries of every kind; kernels are made of kinds, so that more of them would tell nothing more.
KINDS = """
from skmlp.network.activations import ACTIVATIONS, BLENDS
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import OPTIMIZERS

def keep(registry, kept):
    for name in set(registry) - set(kept):
        del registry[name]

keep(ACTIVATIONS, ("identity", "relu", "gelu", "prelu", "maxout", "logistic", "exp"))
keep(BLENDS, ("blend_relu",))
keep(OPTIMIZERS, ("sgd", "adam", "nadam", "muon"))
names = ("log_loss", "squared_error", "gaussian_nll", "quantile")
keep(LOSSES, [key for key in LOSSES if key[0] in names])
"""
# Fits with all of these, and others that no warm-up would think of.
EVERYTHING = """
import warnings
from itertools import product
import numpy as np
from scipy.sparse import csr_array
from skmlp import MLPClassifier, MLPRegressor
from skmlp.activations import Blend
from skmlp.losses import Quantile
from skmlp.network.specs import NORMALIZATIONS

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
dense = rng.normal(size=(60, 6))
dense.setflags(write=False)
inputs = [dense, np.asfortranarray(dense), dense[::2, ::-1], dense.astype("f4"), csr_array(dense)]
for X, solver, n_jobs in product(inputs, ("adam", "lbfgs"), (1, 2)):
    options = dict(solver=solver, n_jobs=n_jobs, dtype="float32", max_iter=2, random_state=0)
    y = np.arange(X.shape[0])
    weight = rng.random(len(y))
    labels = np.stack([y % 2, y % 3 > 0], axis=1)
    classifier = MLPClassifier((9, 3), early_stopping=True, batch_size=7, **options)
    classifier.fit(X, labels, sample_weight=weight).predict_proba(X)
    MLPRegressor("gaussian_nll", (), **options).fit(X, labels, sample_weight=weight).predict(X)
    if solver == "adam":
        MLPRegressor(**options).partial_fit(X, y).partial_fit(X, y).score(X, y)

hidden = (*(entry.name for entry in ACTIVATIONS.values() if entry.hidden), Blend("relu"))
options = dict(max_iter=1, dtype="float32")
deep = dict(hidden_layer_sizes=(2,) * len(hidden), activation=hidden, **options)
for dropout in (0.0, 0.3):
    for normalization in (None, *NORMALIZATIONS):
        beside = dict(normalization=normalization, dropout=dropout, input_dropout=dropout)
        MLPClassifier(**deep, **beside).fit(dense, y % 3).predict(dense)
    for solver in OPTIMIZERS:
        beside = dict(solver=solver, weight_decay=dropout, clip_norm=1.0)
        MLPClassifier((2,), **beside, **options).fit(dense, y % 2).predict(dense)
for beside in (
    *(dict(l1_ratio=0.5), dict(ema_decay=0.9), dict(max_norm=1.0)),
    dict(input_noise=0.1, mixup=1.0),
    *(dict(clip_value=0.1), dict(connectivity=0.5), dict(monotonic_cst=[1] + 5 * [0])),
    *(dict(frozen_layers=1), dict(temperature="fit", early_stopping=True)),
):
    MLPClassifier((2,), **beside, **options).fit(dense, y % 2).predict_proba(dense)
for labels in (y % 2, y % 3):
    MLPClassifier((2,), loss="squared_error", **options).fit(dense, labels).predict_proba(dense)
for loss in (Quantile(0.5), Quantile((0.1, 0.9))):
    MLPRegressor(loss, (2,), **options).fit(dense, y).predict(dense)
"""


@pytest.mark.slow
def test_nothing_is_left_to_compile_after_warmup(run_python):
    """In one precision: the other has the same kernels.

    They lie among those of the other tests, where some may be found: what counts is which of them
    a warm-up asks for, and that a process asks for no others afterwards.
    """
    warm_up = KINDS + "from skmlp.__main__ import main; main(['warmup', '--dtype', 'float32'])\n"
    said, ahead = looked_for_by(warm_up, run_python)
    assert re.match(r"(Compiled [1-9]\d* kernels|Nothing to compile) for float32", said)
    assert Path(re.search(r"kept in (.+)\.$", said)[1]) == folders.place_to_store("cpu")
    said, again = looked_for_by(warm_up, run_python)
    assert said.startswith("Nothing to compile for float32")
    assert again <= ahead  # what is compiled asks for what it calls, too
    script = f"{COUNT_COMPILATIONS}{KINDS}{EVERYTHING}assert not compiled\n"
    _, needed = looked_for_by(script, run_python)
    assert len(needed) > 60
    assert not needed - again


def looked_for_by(script, run_python):
    """Return what a script prints, and the names of the kernels that it is the first to use."""
    script = f"{LOOKED_FOR}{script}print(*looked_for)"
    *said, names = run_python(script, timeout=1200).splitlines()
    return "\n".join(said), set(names.split())


@pytest.fixture(scope="module")
def first_fits(tmp_path_factory):
    """Return a folder that three first fits at once have filled, and what each of them printed."""
    cache = tmp_path_factory.mktemp("cache")
    fit = FIT.format(layers="(5,)", activation="tanh")
    script = f"{COUNT_COMPILATIONS}{fit}\n{PRINT_COEFS}\nprint(*compiled)"
    processes = [start_python(script, cache) for _ in range(3)]
    return cache, [printed_by(process) for process in processes]


@pytest.fixture
def filled_cache(first_fits, tmp_path):
    """Return a folder with what a fit and a prediction with the activation tanh need."""
    cache, _ = first_fits
    return Path(shutil.copytree(cache, tmp_path / "cache"))


@pytest.mark.slow
def test_second_process_compiles_nothing_and_a_new_architecture_no_driver(filled_cache):
    assert compiled_functions(filled_cache) == []
    assert compiled_functions(filled_cache, layers="(7, 4, 3)") == []
    other = compiled_functions(filled_cache, activation="relu")
    assert {"activate", "relu", "backpropagate", "relu_derivative"} <= set(other)
    assert not {"run_batches", "predict_rows", "forward_layer"} & set(other)


@pytest.mark.slow
def test_an_edited_formula_compiles_no_driver(filled_cache, tmp_path):
    ignore = shutil.ignore_patterns("__pycache__")
    package = Path(shutil.copytree(ROOT / "skmlp", tmp_path / "skmlp", ignore=ignore))
    fit = FIT.format(layers="()", activation="tanh").replace(".predict(X)", "")
    # Where a package lies is no part of what its kernels come from.
    assert functions_compiled_by(fit, filled_cache, tmp_path) == []
    with (package / "network" / "losses.py").open("a") as file:
        file.write("# changed\n")
    compiled = functions_compiled_by(fit, filled_cache, tmp_path)
    assert {"loss_and_delta", "update_parameters", "step_constants"} <= set(compiled)
    assert not {"run_batches", "exchange_parameters", "propagate", "update_block"} & set(compiled)


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
def test_cached_kernels_are_loaded_without_preparing_to_compile(filled_cache):
    """And compiling in the same process afterwards, with arrays and lists, still works."""
    fit = FIT.format(layers="(5,)", activation="tanh")
    script = COUNT_REFRESHES + fit + COMPILE_MORE
    refreshed, doubled = printed_by(start_python(script, filled_cache)).split()
    assert refreshed == "0" or not disk_cache.NEEDS_RUNTIME_ONLY
    assert doubled == "True"
    # With a release of Numba that has not been tried:
    module = "skmlp.engines.cpu.disk_cache"
    script = f"import {module}\n{module}.NEEDS_RUNTIME_ONLY = False\n{fit}"
    assert functions_compiled_by(script, filled_cache) == []


@pytest.mark.slow
def test_concurrent_first_fits_agree_and_compile_everything_once(first_fits):
    cache, printed = first_fits
    coefs, compiled = zip(*(lines.splitlines() for lines in printed), strict=True)
    assert len(set(coefs)) == 1
    drivers = [name for names in compiled for name in names.split()]
    # (Others are compiled anew within each formula kernel, in the process that compiles it.)
    for once in ("run_batches", "predict_rows", "activate", "backpropagate", "update_parameters"):
        assert drivers.count(once) == 1, once
    assert "hyperbolic_tangent" in drivers
    again = start_python(FIT.format(layers="(5,)", activation="tanh") + PRINT_COEFS, cache)
    assert printed_by(again).splitlines() == [coefs[0]]


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
    fitted.out_activation_ = "logistic" if estimator is skmlp.MLPClassifier else "identity"
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


def test_warmup_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"dtype must be .* got 'float16'"):
        skmlp.warmup("float16")
    with pytest.raises(ValueError, match=r"dtype='auto' names no precision\. Use None for both\."):
        skmlp.warmup("auto")


WARM_UP = """
from numba import types
from skmlp import _warmup
from skmlp.__main__ import main
from skmlp.engines.cpu.compilation import compile_kernel
def kernel_of_this_test(x):
    pass
# In place of minutes' work, and in no folder yet:
_warmup.use_everything = lambda dtype: compile_kernel(
    kernel_of_this_test, types.void(types.int64), dtype
)
try:
    main(["warmup", "--dtype", "float32"])
except SystemExit as end:
    print(end.code)
"""


def test_warmup_refuses_a_folder_that_cannot_be_written(tmp_path):
    """What users ask for by NUMBA_CACHE_DIR is granted or refused; a fit would look elsewhere."""
    (tmp_path / "file").write_bytes(b"")
    process = start_python(WARM_UP, tmp_path / "file")
    printed, errors = process.communicate()
    chosen = tmp_path / "file" / "skmlp-cpu"
    assert printed == "1\n"
    assert f"{chosen} cannot be written. Set NUMBA_CACHE_DIR to a folder" in errors


def test_warmup_says_when_kernels_could_not_be_kept(tmp_path):
    full = """
from numba.core.caching import IndexDataCacheFile
def refuse(*arguments):
    raise OSError(28, "No space left on device")
IndexDataCacheFile.save = refuse
"""
    process = start_python(full + WARM_UP, tmp_path)
    printed, errors = process.communicate()
    assert printed == "1\n"
    assert "could not be kept: [Errno 28] No space left on device. Set NUMBA_CACHE_DIR" in errors
    said = printed_by(start_python(WARM_UP, tmp_path))
    assert re.match(r"Compiled 1 kernels .*kept in .*skmlp-cpu", said, re.S)


@pytest.mark.slow
def test_unusable_cache_entries_are_compiled_again(filled_cache):
    """An index or its data, of drivers, of what they call, and of formula kernels."""
    damaged = {}
    for kind, ends in (("predict_rows-*", "[ci]"), ("exchange-*", "c"), ("*.locals.*", "[ci]")):
        for path in filled_cache.rglob(f"{kind}.nb{ends}"):
            damaged[path] = path.read_bytes()
            path.write_bytes(b"")
    names = {path.name.split("-")[0].split(".")[-1] for path in damaged}
    assert {"predict_rows", "exchange", "activate", "loss_and_delta"} <= names
    assert names <= set(compiled_functions(filled_cache))
    assert all(path.stat().st_size > 0 for path in damaged)
    assert compiled_functions(filled_cache) == []


TALK = """
import logging, sys
from skmlp import _engine
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(message)s")
_engine.LONG = 0.0
"""


def told(cache):
    """Lines about compilation that a verbose fit, and a prediction, print in a new process."""
    fit = FIT.format(layers="(5,)", activation="tanh")
    fit = fit.replace("max_iter", "verbose=1, max_iter").replace(".predict", "\nmodel.predict")
    return re.findall("^(?:skmlp )?Compiling.*$", printed_by(start_python(TALK + fit, cache)), re.M)


@pytest.mark.slow
def test_fits_and_predictions_say_that_they_compile(filled_cache):
    assert told(filled_cache) == []
    # What only the fit needs, and what only the prediction needs.
    for pattern in ("derivative_kernel.*.nbi", "_elementwise_output.*.nbi"):
        (path,) = filled_cache.rglob(pattern)
        path.unlink()
    printed, *log = told(filled_cache)
    assert printed == COMPILING
    assert log[::2] == [f"skmlp {COMPILING}"] * 2
    assert all(re.match(r"skmlp Compiling took \d+\.\d s\.", line) for line in log[1::2])
    assert len(log) == 4
    assert told(filled_cache) == []


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
    monkeypatch.setattr(folders, "cache_folders", lambda engine: [])
    with compilation_announced(True):
        compile_scale(2.0)
    assert capsys.readouterr().out == f"{COMPILING}\n"


def test_stamps_cover_what_kernels_come_from(tmp_path, monkeypatch):
    """A change of a formula leaves drivers as they are; one of a kernel concerns all."""
    package = Path(skmlp.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__")
    copy = Path(shutil.copytree(package, tmp_path / "skmlp", ignore=ignore))
    monkeypatch.setattr(disk_cache.resources, "files", lambda name: copy)

    def stamps():
        disk_cache.driver_stamp.cache_clear()
        return disk_cache.driver_stamp(), inspect.unwrap(disk_cache.formula_stamp)()

    try:
        drivers, formulas = stamps()
        for changed in ("network/activations.py", "engines/formulas.py", "engines/cpu/passes.py"):
            with (copy / changed).open("a") as file:
                file.write("# changed\n")
            before, (drivers, formulas) = (drivers, formulas), stamps()
            assert formulas != before[1], changed
            assert (drivers != before[0]) == changed.startswith("engines/cpu"), changed
        (copy / "engines" / "cuda" / "tiles.py").write_text("")
        assert stamps() == (drivers, formulas)
    finally:
        disk_cache.driver_stamp.cache_clear()


def test_drivers_know_nothing_of_what_their_stamp_leaves_out():
    """Else a change there would go unnoticed: what they compile in stands in the engine itself."""
    for path in (Path(skmlp.__file__).parent / "engines" / "cpu").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        elsewhere = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("skmlp.")
            and not node.module.startswith("skmlp.engines.cpu")
            for alias in node.names
        }
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and is_driver(function):
                names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
                assert not names & elsewhere, (path.name, function.name)


def is_driver(function):
    """Tell whether a function is decorated with ``inner`` or ``jit(...)``."""
    decorators = [getattr(node, "func", node) for node in function.decorator_list]
    return any(getattr(node, "id", None) in ("inner", "jit") for node in decorators)


def all_formulas():
    for entry in (*ACTIVATIONS.values(), BLENDS["blend_selu"]):
        if not entry.takes_whole_rows:  # these have places in a row, too
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
    assert value_kernel("tanh", "float64") == value_kernel("tanh", "float64")
    assert value_kernel("tanh", "float64") != value_kernel("tanh", "float32")
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


def test_processors_of_different_kinds_share_a_folder(empty_cache, monkeypatch):
    """As nodes of a cluster do: none may load the code of another, nor push it out."""
    for kind in ("one", "another"):
        monkeypatch.setattr(JITCPUCodegen, "magic_tuple", lambda self, kind=kind: (kind,))
        assert (compile_scale(2.0).cache_hits, compile_scale(2.0).cache_hits) == (0, 1)
    assert len(list(empty_cache.rglob("*.nbc"))) == 2


def test_an_edited_formula_leaves_what_older_sources_compiled(empty_cache, monkeypatch):
    """So two versions of the package that share a user's folder do not push each other out."""
    for stamp in ("older", "newer", "older"):
        monkeypatch.setattr(compilation, "formula_stamp", lambda stamp=stamp: stamp)
        compile_scale(2.0)
    assert len(list(empty_cache.rglob("*.nbc"))) == 2
    assert compile_scale(2.0).cache_hits == 1


def test_data_file_missing_after_a_full_disk(empty_cache, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_cache, "history", disk_cache.History([], []))
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


def test_drivers_count_no_references(empty_cache):
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
