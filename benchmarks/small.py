"""Tiny problems, where everything around the arithmetic counts: one fit, and cross-validation."""

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

from benchmarks import measure
from benchmarks.peers import make_model
from benchmarks.report import Table

PACKAGES = ("skmlp", "sklearn")
EPOCHS = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``small``."""
    parser.add_argument("--repeats", type=int, help="samples of each figure, median taken")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Time whole calls of both packages on the iris data, in turns."""
    repeats = arguments.repeats or (5 if arguments.quick else 15)
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    # Never stops early, so that both do the same work.
    full = {"max_iter": EPOCHS, "n_iter_no_change": EPOCHS + 1, "random_state": 0}

    def fit(package: str, **parameters: Any) -> None:
        make_model(package, "classifier", **parameters).fit(X, y)

    def validate(package: str) -> None:
        model = make_pipeline(StandardScaler(), make_model(package, "classifier", **full))
        cross_val_score(model, X, y, cv=5)

    calls: dict[str, Callable[[str], None]] = {
        f"fit, {EPOCHS} epochs": partial(fit, **full),
        "fit, 1 epoch": partial(fit, max_iter=1, random_state=0),
        f"cross_val_score, 5 folds, {EPOCHS} epochs": validate,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        rows = [compare(name, call, repeats) for name, call in calls.items()]
    notes = [f"Medians of {repeats}, in turns. The fit of one epoch is nearly all Python."]
    return [Table("Iris, 150 x 4, hidden (100,): milliseconds", list(rows[0]), rows, notes)]


def compare(name: str, call: Callable[[str], None], repeats: int) -> dict[str, Any]:
    """Return the row of one kind of call."""
    measure.progress(f"small, {name}")
    for package in PACKAGES:
        call(package)
    samplers = {package: partial(measure.seconds, partial(call, package)) for package in PACKAGES}
    median = measure.medians(measure.interleave(samplers, repeats))
    return {
        "call": name,
        "skmlp ms": 1e3 * median["skmlp"],
        "sklearn ms": 1e3 * median["sklearn"],
        "sklearn/skmlp": median["sklearn"] / median["skmlp"],
    }
