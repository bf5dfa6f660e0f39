"""What is written runs: the README, public docstrings, examples, and the commands they name."""

import doctest
import importlib
import inspect
import json
import pkgutil
import re
import runpy
from pathlib import Path

import guide_tables
import numpy as np
import pytest
from parameter_table import TABLE

import skmlp

ROOT = Path(__file__).resolve().parent.parent
# Those named plot_* are pages of the gallery, which runs them from the top.
PROGRAMS = [
    path for path in sorted((ROOT / "examples").glob("*.py")) if not path.name.startswith("plot_")
]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = [
    "skmlp",
    *(module.name for module in pkgutil.walk_packages(skmlp.__path__, prefix="skmlp.")),
]
ESTIMATORS = [skmlp.MLPClassifier, skmlp.MLPRegressor]
PUBLIC = [
    getattr(module, name)
    for module in (skmlp, skmlp.initializers, skmlp.optimizers, skmlp.schedules)
    for name in module.__all__
    if name not in ("__version__", "TRUSTED_TYPES")  # which are plain values
]


def run_doctests(tests):
    """Run the tests and return (number of examples, text of all failures)."""
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    failures = []
    attempted = sum(runner.run(test, out=failures.append).attempted for test in tests)
    return attempted, "".join(failures)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_documents_run(path):
    test = doctest.DocTestParser().get_doctest(path.read_text("utf-8"), {}, path.name, path, 0)
    attempted, failures = run_doctests([test])
    assert not failures, failures
    assert attempted or path.name != "README.md", "the README has lost its example"


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_of_modules_run(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # numba-cuda replaces numba's own numba.cuda, which lacks some modules.
        if name.startswith("skmlp.engines.cuda.") and error.name.startswith("numba.cuda."):
            pytest.skip("needs numba-cuda")
        if name == "skmlp._torch_modules" and error.name == "torch":
            pytest.skip("needs PyTorch")
        raise
    _, failures = run_doctests(doctest.DocTestFinder().find(module))
    assert not failures, failures


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.__name__)
def test_what_is_public_is_documented(public):
    documentation = inspect.getdoc(public)
    examples = doctest.DocTestParser().get_examples(documentation)
    assert examples, f"{public.__name__} shows no example"

    # The numpydoc section names each parameter, in the order of the signature.
    section = re.search(r"^Parameters\n-+\n(.*?)\n\n\S[^\n]*\n---", documentation, re.M | re.S)
    documented = re.findall(r"^(\w+) : ", section[1], re.M) if section else []
    parameters = inspect.signature(public).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    assert documented == [p.name for p in parameters if p.kind not in variadic]

    for name, method in inspect.getmembers(public, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("skmlp."):
            assert inspect.getdoc(method), f"{public.__name__}.{name} has no docstring"


@pytest.mark.parametrize("public", ESTIMATORS, ids=lambda public: public.__name__)
def test_fitted_attributes_are_documented(public):
    X = np.linspace(-1, 1, 40).reshape(20, 2)
    y = np.arange(20) % 2
    with pytest.warns(Warning, match="converge"):
        model = public(hidden_layer_sizes=(2,), max_iter=1, early_stopping=True).fit(X, y)
    section = inspect.getdoc(public).split("Attributes\n----------\n")[1].split("\n---")[0]
    documented = set(re.findall(r"^(\w+) : ", section, re.M))
    fitted = {name for name in vars(model) if re.fullmatch(r"[a-z]\w*_", name)}
    assert fitted - documented == set(), "fitted attributes that the docstring does not name"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_program_does_nothing_when_imported(path, capsys):
    # Worker processes import the main file. `.ci/run` runs each example as a program.
    contents = runpy.run_path(str(path), run_name="imported")
    assert callable(contents["main"])
    assert contents["__doc__"], "it does not say what it shows"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing, missing


@pytest.mark.parametrize(("page", "engine"), [("engine-contract.md", "cpu"), ("gpu.md", "cuda")])
def test_pages_of_engines_name_every_module(page, engine):
    text = (ROOT / "docs" / "design" / page).read_text("utf-8")
    modules = (ROOT / "skmlp" / "engines" / engine).glob("[a-z]*.py")
    missing = [path.stem for path in modules if not re.search(rf"\b{path.stem}\b", text)]
    assert not missing, missing


@pytest.mark.parametrize("name", guide_tables.PAGES)
def test_pages_show_the_tables_of_registries(name):
    [shown] = TABLE.findall((guide_tables.GUIDE / name).read_text("utf-8"))
    assert shown == guide_tables.table(guide_tables.PAGES[name]), (
        "run `python tests/guide_tables.py`"
    )
    assert len(shown.splitlines()) > 6


NAME_OF_RESULT = re.compile(r"\d{4}-\d\d-\d\d-(?P<subject>[a-z-]+?)(-\d+)?\.json")


def results_named():
    """Return the names of results in all documents."""
    texts = [path.read_text("utf-8") for path in DOCUMENTS]
    return {match[0] for text in texts for match in NAME_OF_RESULT.finditer(text)}


def superseded(folder):
    """Return the names of results of which the folder has newer ones of the same subject."""
    subjects = {}
    for path in folder.iterdir():
        match = NAME_OF_RESULT.fullmatch(path.name)
        assert match, f"{path.name} is not named <date>-<subject>[-<number>].json"
        time = json.loads(path.read_text("utf-8"))["time"]
        subjects.setdefault(match["subject"], []).append((time, path.name))
    return {name for results in subjects.values() for _, name in sorted(results)[:-1]}


def test_results_are_the_newest_or_named():
    """What no document refers to and a newer measurement has replaced is to be deleted."""
    folder = ROOT / "benchmarks" / "results"
    assert superseded(folder) <= results_named()
    missing = [name for name in results_named() if not (folder / name).exists()]
    assert not missing, missing


def test_superseded_results_are_found(tmp_path):
    times = {"2026-01-01-fit": "07", "2026-01-01-fit-2": "09", "2026-01-01-fit-against": "08"}
    for name, hour in times.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"time": f"2026-01-01T{hour}:00:00"}))
    assert superseded(tmp_path) == {"2026-01-01-fit.json"}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_named_paths_exist(name):
    text = (ROOT / name).read_text("utf-8")
    folders = "skmlp|tests|examples|benchmarks|docs"
    paths = re.findall(rf"(?<![\w/.])(?:{folders})/[\w/.-]*(?![\w/.*-])", text)
    assert paths
    missing = [path for path in paths if not (ROOT / path.rstrip(".")).exists()]
    assert not missing, missing
