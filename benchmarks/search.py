"""A grid search over a pipeline on the digits: 12 candidates x 5 folds, two workers."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import measure, steady, trees
from benchmarks.peers import make_model
from benchmarks.report import Table
from benchmarks.steady import Sampler

GRID: dict[str, list[Any]] = {
    "mlpclassifier__hidden_layer_sizes": [(50,), (100,), (50, 50)],
    "mlpclassifier__alpha": [1e-4, 1e-2],
    "mlpclassifier__learning_rate_init": [1e-3, 1e-2],
}
PACKAGES = ("skmlp", "sklearn")
BACKENDS = ("loky", "threading")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``search``."""
    parser.add_argument("--repeats", type=int, help="searches by each package, median taken")
    trees.add_argument(parser)


def make_search(
    package: str,
    epochs: int,
    grid: dict[str, list[Any]] = GRID,
    *,
    n_jobs: int = 2,
    cv: int = 5,
    **parameters: Any,
) -> GridSearchCV:
    """Return the unfitted search with the model of `package`; `parameters` are the model's."""
    model = make_model(package, "classifier", max_iter=epochs, random_state=0, **parameters)
    pipeline = make_pipeline(StandardScaler(), model)
    return GridSearchCV(pipeline, grid, cv=cv, n_jobs=n_jobs, refit=False)


def run(arguments: argparse.Namespace) -> list[Table]:
    """Search with both packages in turns and compare their times and scores."""
    epochs = 5 if arguments.quick else 30
    if arguments.against:
        return [trees.compare(__name__, BACKENDS, "s", arguments, {"epochs": epochs})]
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    X, y = load_digits(return_X_y=True)
    rows = [compare(backend, X, y, epochs, repeats) for backend in BACKENDS]
    notes = [
        f"Medians of {repeats}; the workers run before timing starts.",
        *steady.notes(rows, "workers"),
    ]
    columns = ["search", "workers", "skmlp s", "sklearn s", "sklearn/skmlp"]
    columns += ["best skmlp", "best sklearn", "max |difference of scores|"]
    title = "GridSearchCV, StandardScaler + MLPClassifier, digits, n_jobs=2"
    return [Table(title, columns, rows, notes)]


def compare(backend: str, X: Any, y: Any, epochs: int, repeats: int) -> dict[str, Any]:
    """Return the row of one joblib backend."""
    searches = {package: make_search(package, epochs) for package in PACKAGES}
    samplers = {
        package: search_sampler(search, backend, X, y) for package, search in searches.items()
    }
    measure.progress(f"search, {backend}, in turns")
    measurement = steady.measured(samplers, repeats)
    median = measurement.medians
    scores = [searches[package].cv_results_["mean_test_score"] for package in PACKAGES]
    return {
        "search": f"12 candidates x 5 folds, {epochs} epochs",
        "workers": backend,
        "skmlp s": median["skmlp"],
        "sklearn s": median["sklearn"],
        "sklearn/skmlp": median["sklearn"] / median["skmlp"],
        "best skmlp": float(scores[0].max()),
        "best sklearn": float(scores[1].max()),
        "max |difference of scores|": float(np.abs(scores[0] - scores[1]).max()),
        **measurement.facts,
    }


def case_sampler(case: str, epochs: int) -> Sampler:
    """Return the sampler of a search with skmlp by a joblib backend."""
    return search_sampler(make_search("skmlp", epochs), case, *load_digits(return_X_y=True))


def search_sampler(search: GridSearchCV, backend: str, X: Any, y: Any) -> Sampler:
    """Return the sampler of a search by a joblib backend, whose workers run already."""

    def run_search(search: GridSearchCV) -> None:
        with joblib.parallel_config(backend=backend):
            search_silently(search, X, y)

    few = clone(search).set_params(estimator__mlpclassifier__max_iter=1)
    measure.progress(f"search, {backend}, workers starting")
    run_search(few)  # starts and warms both workers
    return steady.repeated(lambda: run_search(search))


def search_silently(search: GridSearchCV, X: Any, y: Any) -> None:
    """Fit `search`; that its models stop at ``max_iter`` is meant (workers inherit the filter)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, y)
