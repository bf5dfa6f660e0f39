"""What is installed, what importing costs, and which module may import which."""

import ast
import importlib.metadata
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import skmlp

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "skmlp" / "playground" / "static"
CUDA = ("cuda", "cuda.bindings", "cuda.core", "numba.cuda", "numba_cuda")
OPTIONAL = (
    *CUDA,
    "dask",
    "emlearn",
    "jax",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "pandas",
    "polars",
    "rich",
    "safetensors",
    "skl2onnx",
    "skops",
    "starlette",
    "tensorboardX",
    "torch",
    "uvicorn",
    "websockets",
)

FIT = """
import numpy as np
from skmlp import MLPClassifier, MLPRegressor

X = np.random.default_rng(0).normal(size=(60, 3))
classifier = MLPClassifier((5,), max_iter=200, tol=1e-2, random_state=0).fit(X, X[:, 0] > 0)
regressor = MLPRegressor("squared_error", (5,), solver="lbfgs", tol=1e-1, random_state=0)
print(classifier.score(X, X[:, 0] > 0), regressor.fit(X, X[:, 0]).score(X, X[:, 0]))
"""
# Of all that computes, this compiles least.
PREDICTION = """
import numpy as np
from skmlp import MLPRegressor

model = MLPRegressor(hidden_layer_sizes=())
model.coefs_, model.intercepts_ = [np.ones((2, 1))], [np.ones(1)]
model.n_layers_, model.n_outputs_, model.out_activation_ = 2, 1, "identity"
print(model.predict(np.ones((3, 2))))
"""


def run(*command, **options):
    """Run a command that must succeed; return what it printed."""
    options = {"capture_output": True, "text": True, "timeout": 300, **options}
    process = subprocess.run([str(part) for part in command], **options)
    assert process.returncode == 0, (
        f"{command} ended with {process.returncode}\n{process.stdout}\n{process.stderr}"
    )
    return process.stdout


def clean_environment(**changes):
    """Return this process's environment without what would let it see the checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, "PYTHONWARNINGS": "error", **changes}


def copy_sources(target):
    """Copy the files of the project, without what builds and runs have left in it."""
    names = [
        *(path.name for path in ROOT.iterdir() if path.is_file()),
        *("skmlp", "tests", "benchmarks", "examples"),
    ]
    target.mkdir()
    for name in names:
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "*.nb[ci]")
            shutil.copytree(ROOT / name, target / name, ignore=left_out)
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install a copy of the project into an empty environment; return its Python and files.

    The dependencies are those of the running environment, lent through a path file. Path files
    found there are not followed, so that an editable installation of skmlp stays out of sight.
    """
    folder = tmp_path_factory.mktemp("packaging")
    sources = copy_sources(folder / "sources")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "dependencies.pth").write_text("\n".join(sorted(lent)) + "\n")
    # No network: neither dependencies nor the build backend are asked for.
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", sources, cwd=folder)
    return python, site_packages


def ask_git(*arguments):
    """Return the lines that git prints about this checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout, which know what belongs to the project")
    # The files may belong to someone else, in a container say.
    return run("git", "-c", f"safe.directory={ROOT}", *arguments, cwd=ROOT).splitlines()


def test_files_at_top_level():
    """Exactly these: what builds, runs or installs left there does not slip in."""
    names = {file.split("/")[0] for file in ask_git("ls-files")}
    files = ".gitignore .pre-commit-config.yaml CHANGELOG.md CONTRIBUTING.md LICENSE README.md"
    folders = ".ci benchmarks docs examples skmlp tests"
    assert names == {*files.split(), *folders.split(), "pyproject.toml", "setup.cfg"}


def test_packages_and_archives_are_ignored():
    packages = [
        f"skmlp-1.0.{end}" for end in ("whl", "egg", "zip", "tar", "tar.gz", "tgz", "tar.xz")
    ]
    pictures = [f"docs/design/plot.{end}" for end in ("png", "svg", "jpg", "pdf")]
    # Of the names it is given, it prints those that are ignored.
    assert ask_git("check-ignore", "--no-index", *packages, *pictures) == packages


def test_files_that_must_be_there():
    assert (ROOT / "skmlp" / "py.typed").is_file()
    for name in [".ci/run", ".ci/oldest"]:
        assert os.access(ROOT / name, os.X_OK), f"{name} is not executable"


def test_metadata(installed):
    _, site_packages = installed
    (distribution,) = importlib.metadata.distributions(name="skmlp", path=[str(site_packages)])
    metadata = distribution.metadata
    assert distribution.version == skmlp.__version__
    release = re.match(r"[\d.]*\d", skmlp.__version__)[0]
    assert f"\n## [{release}] - " in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    own = run_time_names(distribution.requires)
    demanded = {"numpy", "scipy", "numba", "scikit-learn"}
    brought = run_time_names(importlib.metadata.requires("scikit-learn"))
    assert demanded <= own <= demanded | brought


def run_time_names(requirements):
    """Return the names of the requirements that belong to no extra."""
    needed = [requirement for requirement in requirements if "extra ==" not in requirement]
    return {re.match(r"[\w-]+", requirement)[0] for requirement in needed}


def test_only_the_package_is_installed(installed):
    _, site_packages = installed
    (distribution,) = importlib.metadata.distributions(name="skmlp", path=[str(site_packages)])
    folders = {file.parts[0] for file in distribution.files}
    assert folders == {"skmlp", f"skmlp-{skmlp.__version__}.dist-info"}
    shipped = {str(file) for file in distribution.files if file.parts[0] == "skmlp"}
    modules = {str(path.relative_to(ROOT).as_posix()) for path in (ROOT / "skmlp").rglob("*.py")}
    assert {file for file in shipped if "__pycache__" not in file} == modules | {
        "skmlp/py.typed",
        *(path.relative_to(ROOT).as_posix() for path in STATIC.iterdir()),
    }


@pytest.mark.slow
def test_installed_package_fits_and_keeps_its_kernels(installed, lend_drivers, tmp_path):
    """Beside those that are lent to it, of which each is compiled from the same sources."""
    python, site_packages = installed
    drivers = lend_drivers(FIT, site_packages / "__pycache__" / "skmlp" / "cpu")
    assert "run_batches" in {name.split("-")[0] for name in drivers}
    environment = clean_environment()
    environment.pop("NUMBA_CACHE_DIR", None)

    def kernels():
        return {path: path.stat().st_mtime_ns for path in site_packages.rglob("*.nb[ci]")}

    lent = kernels()
    first = run(python, "-c", FIT, cwd=tmp_path, env=environment)
    compiled = kernels()
    assert len(compiled) > len(lent), "no kernel was cached"
    assert {path: compiled[path] for path in lent} == lent, "what there was was not used"
    added = {path.name.split(".")[0] for path in set(compiled) - set(lent)}
    assert "run_batches" not in added
    inside = [path for path in compiled if path.is_relative_to(site_packages / "skmlp")]
    assert not inside, "an uninstallation leaves these, and a package without content"
    assert run(python, "-c", FIT, cwd=tmp_path, env=environment) == first
    assert kernels() == compiled, "the second process compiled again"


@pytest.mark.slow
def test_computing_where_no_cache_can_be_written(installed, tmp_path):
    python, site_packages = installed
    blocked = tmp_path / "a_file"
    blocked.write_text("")
    package = tmp_path / "packages" / "skmlp"
    shutil.copytree(site_packages / "skmlp", package, ignore=shutil.ignore_patterns("__pycache__"))
    # A file where a folder is needed stops even a superuser, whom permissions do not stop.
    folders = [path for path in package.rglob("*") if path.is_dir()]
    for folder in [package.parent, package, *folders]:
        (folder / "__pycache__").write_text("")
    below_a_file = str(blocked / "folder")
    environment = clean_environment(
        PYTHONPATH=str(package.parent),
        NUMBA_CACHE_DIR=below_a_file,
        HOME=below_a_file,
        XDG_CACHE_HOME=below_a_file,
        LOCALAPPDATA=below_a_file,
        IPYTHONDIR=below_a_file,
    )
    where = run(python, "-c", "import skmlp; print(skmlp.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.strip()).parent == package
    printed = run(python, "-c", PREDICTION, cwd=tmp_path, env=environment)
    assert printed == "[3. 3. 3.]\n"
    assert not list(package.rglob("*.nb[ci]"))


IMPORT_QUIETLY = f"""
import builtins
import sys
import sklearn.neural_network

optional = {OPTIONAL}
before = set(sys.modules)
asked_for = set()
import_module = builtins.__import__


def record(name, globals=None, locals=None, fromlist=(), level=0):
    # scikit-learn itself may have imported pandas: what counts is that skmlp does not ask for it.
    if globals and globals.get("__name__", "").startswith("skmlp"):
        asked_for.update({{name, *(f"{{name}}.{{part}}" for part in fromlist or ())}})
    return import_module(name, globals, locals, fromlist, level)


builtins.__import__ = record
import skmlp

asked_for |= set(sys.modules) - before
print([name for name in optional if name in asked_for])

compiled = []
if "numba" in sys.modules:
    import gc
    from numba.core.dispatcher import Dispatcher

    functions = [thing for thing in gc.get_objects() if isinstance(thing, Dispatcher)]
    ours = [f for f in functions if f.py_func.__module__.startswith("skmlp.")]
    compiled = [f.py_func.__qualname__ for f in ours if f.signatures]
print(compiled)
"""


def test_import_is_quiet(installed, tmp_path):
    """Importing compiles nothing, reads no kernel, and imports nothing optional."""
    python, _ = installed
    environment = clean_environment(NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert run(python, "-c", IMPORT_QUIETLY, cwd=tmp_path, env=environment) == "[]\n[]\n"
    assert not list(tmp_path.rglob("*.nb[ci]"))


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_computing_on_the_cpu_imports_nothing_of_cuda(run_python, device):
    """Nor does a fit with device="auto" that is too small for a GPU."""
    # What path files of installed packages import belongs to the interpreter, not to us.
    begin = "import sys\nbefore = set(sys.modules)\n"
    fit = FIT.replace("(5,),", f"(5,), device={device!r},")
    assert fit.count("device") == 2
    end = f"print([name for name in {CUDA} if name in set(sys.modules) - before])\n"
    assert run_python(begin + fit + end).splitlines()[-1] == "[]"


# Only some fits need them, or only fits, and they take a while to import.
LATE = {"numba", "sklearn.metrics", "sklearn.model_selection", "sklearn.preprocessing"}
LATE |= {"rich", "sklearn.callback", "skmlp.callbacks"}


def test_import_leaves_to_fits_what_fits_need(installed, tmp_path):
    python, _ = installed
    script = (
        "import sys, sklearn.base, sklearn.utils; before = set(sys.modules);"
        "import skmlp; print(*(set(sys.modules) - before))"
    )
    imported = set(run(python, "-c", script, cwd=tmp_path, env=clean_environment()).split())
    assert "skmlp" in imported
    assert not imported & LATE


@pytest.mark.slow
def test_import_time(installed, tmp_path):
    """Importing skmlp takes at most 0.4 s longer than importing sklearn.neural_network."""
    python, _ = installed
    # What it takes on top, in one process, cannot be less than the difference of two processes,
    # and is steadier; so is processor time where other tests run beside this one.
    script = (
        "import time, sklearn.neural_network; start = time.process_time();"
        "import skmlp; print(time.process_time() - start)"
    )
    run(python, "-c", script, cwd=tmp_path, env=clean_environment())  # writes the bytecode
    seconds = [
        float(run(python, "-c", script, cwd=tmp_path, env=clean_environment())) for _ in range(5)
    ]
    assert statistics.median(seconds) < 0.4, seconds


def test_import_directions():
    # Its cache does not notice that a file was added.
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = run(sys.executable, "-c", script, "--no-cache", cwd=ROOT, env=environment)
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", printed)


def private_names_of_sklearn(source):
    """Return the imports in `source` that reach for a private module or name of scikit-learn."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [name for name in names if re.match(r"sklearn\b.*\._(?!_version__)", name)]
    return found


def test_private_names_of_sklearn_stand_in_one_module():
    for path in (ROOT / "skmlp").rglob("*.py"):
        if path != ROOT / "skmlp" / "_sklearn_compat.py":
            found = private_names_of_sklearn(path.read_text("utf-8"))
            assert not found, f"{path}: {found}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import sklearn.utils._tags", ["sklearn.utils._tags"]),
        ("from sklearn.base import _fit_context", ["sklearn.base._fit_context"]),
        ("def f():\n    from sklearn._loss.link import Link", ["sklearn._loss.link.Link"]),
        ("from sklearn import __version__\nfrom sklearn.base import BaseEstimator", []),
        ("from sklearnex import _private\nfrom ._base import _name", []),
    ],
)
def test_private_names_are_found(source, expected):
    assert private_names_of_sklearn(source) == expected
