"""Warnings point at the user's line, and the filters that users wrote reach them."""

import functools
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmlp
from skmlp import MLPClassifier
from skmlp._warning import warn

SCRIPT = "/somewhere/script.py"
UNCONVERGED = {"hidden_layer_sizes": (2,), "max_iter": 1, "random_state": 0}


def run_script(source, name="__main__", **names):
    """Run source code as a module of a user's; return its global names."""
    namespace = {"__name__": name, **names}
    exec(compile(source, SCRIPT, "exec"), namespace)
    return namespace


@pytest.fixture
def problem(make_problem):
    X, y = make_problem("binary")
    return {"X": X, "y": y, "model": MLPClassifier(**UNCONVERGED)}


CALLS = {
    "fit": "model.fit(X, y)",
    "pipeline": "make_pipeline(StandardScaler(), model).fit(X, y)",
    "search": "GridSearchCV(model, {'alpha': [1.0]}, cv=2).fit(X, y)",
    "scores": "cross_val_score(model, X, y, cv=2)",
    "map": "list(map(functools.partial(model.fit, X), [y]))",
    "key of a sort": "sorted([y], key=functools.partial(model.fit, X))",
    "batch_size": "model.set_params(batch_size=1000).partial_fit(X, y, classes=[0, 1])",
    "column": "model.partial_fit(X, y[:, None], classes=[0, 1])",
    "lbfgs": "model.set_params(solver='lbfgs').fit(X, y)",
}
TOOLS = {
    "functools": functools,
    "make_pipeline": make_pipeline,
    "StandardScaler": StandardScaler,
    "GridSearchCV": GridSearchCV,
    "cross_val_score": cross_val_score,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_warning_points_at_the_line_of_the_user(problem, call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_script(f"\n\n{call}", **TOOLS, **problem)
    assert caught
    assert {(warning.filename, warning.lineno) for warning in caught} == {(SCRIPT, 3)}


def test_a_warning_of_stratification_points_at_the_line_of_the_user(make_problem):
    X, y = make_problem("multiclass")
    y[0] = 3
    model = MLPClassifier(early_stopping=True, **UNCONVERGED)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_script("model.fit(X, y)", model=model, X=X, y=y)
    assert "stratified" in str(caught[0].message)
    assert caught[0].filename == SCRIPT


def test_a_warning_is_shown_once_for_each_line(problem):
    """As Python does by default: ten fits on two lines give two warnings."""
    source = "for _ in range(5):\n    model.fit(X, y)\n    model.fit(X, y)"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        namespace = run_script(source, **problem)
        assert [warning.lineno for warning in caught] == [2, 3]
        assert "__warningregistry__" in namespace
        run_script(source, **problem)  # another module
    assert [warning.lineno for warning in caught] == [2, 3, 2, 3]


@pytest.mark.parametrize(
    "module",
    ["sklearn", r"sklearn\.neural_network", "skmlp", "user_script", r"user_.*", ""],
)
def test_a_filter_by_module_reaches_a_warning(problem, module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module=module)
        run_script("model.fit(X, y)", name="user_script", **problem)


@pytest.mark.parametrize(
    "other",
    [
        {"module": "sklearn.linear_model"},
        {"module": "other"},
        {"module": "sklearn", "category": DataConversionWarning},
        {"module": "sklearn", "message": "another text"},
        {"module": "skmlp", "lineno": 2},
    ],
    ids=str,
)
def test_other_filters_do_not_reach_a_warning(problem, other):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", **other)
        with pytest.raises(ConvergenceWarning):
            run_script("model.fit(X, y)", name="user_script", **problem)


def test_the_first_of_several_filters_decides(problem):
    names = ("user_script", "skmlp", "sklearn")
    for first in names:
        for second in names:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", module=second)
                warnings.filterwarnings("ignore", module=first)
                run_script("model.fit(X, y)", name="user_script", **problem)
                warnings.filterwarnings("error", module=second)
                with pytest.raises(ConvergenceWarning):
                    run_script("model.fit(X, y)", name="user_script", **problem)


def test_filters_of_the_command_line(run_python):
    """Their modules are matched whole."""
    script = """
import sys, numpy as np
from skmlp import MLPRegressor
try:
    MLPRegressor(max_iter=1).fit(np.eye(4), np.arange(4.0))
except UserWarning as warning:
    print(type(warning).__name__)
"""
    for module in ("__main__", "sklearn.neural_network._multilayer_perceptron"):
        filters = f"ignore,error::UserWarning:{module},ignore::UserWarning:sklearn"
        assert run_python(script, PYTHONWARNINGS=filters) == "ConvergenceWarning\n"


def test_pytest_shows_the_line(problem, recwarn):
    warnings.simplefilter("default")
    problem["model"].fit(problem["X"], problem["y"])
    [warning] = recwarn
    assert warning.filename == __file__


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_warnings_of_workers_obey_filters(run_python, backend):
    """Nobody called them: they are shown once, of the fit itself, or not at all."""
    script = """
import os, sys, tempfile, warnings
import joblib, numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from skmlp import MLPRegressor

X = np.random.default_rng(0).normal(size=(20, 3))

def score():
    with joblib.parallel_backend(sys.argv[1]):
        cross_val_score(MLPRegressor(max_iter=1), X, X[:, 0], cv=4, n_jobs=2)
    file.seek(0)
    return file.read().decode()

with tempfile.TemporaryFile() as file:
    os.dup2(file.fileno(), 2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
        print(score() or "silence")
    print(score())
"""
    output = run_python(script, backend)
    assert output.startswith("silence\n")
    assert "_base.py" in output
    assert "ConvergenceWarning: Stochastic Optimizer: Maximum iterations" in output


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def in_pool(function):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(function).result()


@pytest.mark.parametrize("run", [in_thread, in_pool])
def test_at_the_bottom_of_a_thread_a_warning_points_at_the_fit(problem, run):
    fit = functools.partial(problem["model"].fit, problem["X"], problem["y"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(fit)
        run(lambda: fit())
    assert [warning.filename for warning in caught] == [skmlp._base.__file__, __file__]


@pytest.mark.parametrize("names", [{}, {"__name__": None}, {"__warningregistry__": {}}])
def test_code_without_the_names_of_a_module(names):
    namespace = {"warn": warn, **names}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        exec(compile("warn('text')\nwarn('text')", SCRIPT, "exec"), namespace)
    assert [(warning.filename, warning.lineno) for warning in caught] == [(SCRIPT, 1), (SCRIPT, 2)]
    assert "__warningregistry__" in namespace


def test_a_package_whose_name_begins_like_ours_is_the_user():
    with pytest.warns(UserWarning, match="text") as caught:
        run_script("warn('text')", name="skmlp_experiments.run", warn=warn)
    assert caught[0].filename == SCRIPT
