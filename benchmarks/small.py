"""Tiny problems, where everything around the arithmetic counts: fits, steps, searches."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import measure, startup, steady, trees
from benchmarks.peers import MODULES, make_model
from benchmarks.report import Table
from benchmarks.steady import Sampler
from benchmarks.workloads import make_target, random_rows

PACKAGES = ("skmlp", "sklearn")
EPOCHS = 200
BATCHES = (32, 100, 200, 500)
FEATURES = 20
# Steps of a sample, which otherwise would last less than the clock's disturbances.
STEPS = 50

# Never stops early, so that both packages do the same work.
FULL = {"max_iter": EPOCHS, "n_iter_no_change": EPOCHS + 1, "random_state": 0}
_GRID = """
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from {module} import MLPClassifier
grid = {{"hidden_layer_sizes": [(10,), (50,)], "alpha": [1e-4, 1e-2, 1.0]}}
model = MLPClassifier(max_iter=50, random_state=0)
GridSearchCV(model, grid, cv=5, n_jobs=1).fit(*load_iris(return_X_y=True))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``small``."""
    parser.add_argument("--repeats", type=int, help="samples of each figure, median taken")
    trees.add_argument(parser)


def run(arguments: argparse.Namespace) -> list[Table]:
    """Time whole calls of both packages in turns."""
    if arguments.against:
        return [trees.compare(__name__, list(CASES), "ms", arguments, {})]
    repeats = arguments.repeats or (5 if arguments.quick else 15)
    rows = [compare(case, repeats) for case in CASES]
    notes = [
        f"Medians of {repeats}, in turns. Iris is 150 x 4, hidden layers are (100,). The fit of "
        "one epoch is",
        f"nearly all Python. partial_fit takes one step; X has {FEATURES} columns, y two classes.",
        "The search is a whole process: GridSearchCV over 2 x 3 candidates and 5 folds of iris, "
        "n_jobs=1,",
        "with kernels compiled before.",
        *steady.notes(rows, "call"),
    ]
    columns = ["call", "skmlp ms", "sklearn ms", "sklearn/skmlp"]
    return [Table("Tiny problems: milliseconds", columns, rows, notes)]


def compare(case: str, repeats: int) -> dict[str, Any]:
    """Return the row of one kind of call."""
    measure.progress(f"small, {case}")
    samplers = {package: CASES[case](package) for package in PACKAGES}
    measurement = steady.measured(samplers, repeats)
    median = measurement.medians
    return {
        "call": case,
        "skmlp ms": 1e3 * median["skmlp"],
        "sklearn ms": 1e3 * median["sklearn"],
        "sklearn/skmlp": median["sklearn"] / median["skmlp"],
        **measurement.facts,
    }


def case_sampler(case: str) -> Sampler:
    """Return the sampler of one kind of call of skmlp."""
    return CASES[case]("skmlp")


def warmed(call: Callable[[], object], calls: int = 1) -> Sampler:
    """Return the sampler of a call, without the warning that it stops at ``max_iter``."""

    def silently() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for _ in range(calls):
                call()

    silently()  # compiles
    sample = steady.repeated(silently)
    return lambda stretch: sample(stretch) / calls


def iris_fit(package: str, **parameters: Any) -> Sampler:
    """Return the sampler of a fit on the scaled iris data."""
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return warmed(lambda: make_model(package, "classifier", **parameters).fit(X, y))


def iris_validation(package: str) -> Sampler:
    """Return the sampler of a cross-validation on the iris data."""
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), make_model(package, "classifier", **FULL))
    return warmed(lambda: cross_val_score(model, X, y, cv=5))


def step(package: str, rows: int) -> Sampler:
    """Return the sampler of a ``partial_fit`` of one batch."""
    X = random_rows(rows, FEATURES, "float64", seed=0)
    y = make_target(X, 1, "binary", seed=0)
    model = make_model(package, "classifier", batch_size=rows, random_state=0)
    model.partial_fit(X, y, classes=[0, 1])
    return warmed(lambda: model.partial_fit(X, y), STEPS)


def cold_search(package: str) -> Sampler:
    """Return the sampler of a whole process that searches a small grid."""
    code = _GRID.format(module=MODULES[package])
    startup.run_process(code)  # compiles, and fills the caches of files
    return steady.repeated(partial(startup.run_process, code))


CASES: dict[str, Callable[[str], Sampler]] = {
    f"fit, {EPOCHS} epochs": partial(iris_fit, **FULL),
    "fit, 1 epoch": partial(iris_fit, max_iter=1, random_state=0),
    f"cross_val_score, 5 folds, {EPOCHS} epochs": iris_validation,
    **{f"partial_fit, {rows} rows": partial(step, rows=rows) for rows in BATCHES},
    "grid search, new process": cold_search,
}
