"""Held-out scores of skmlp and scikit-learn with the same parameters, on real data."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks import measure
from benchmarks.datasets import DATASETS, Dataset
from benchmarks.peers import fit_silently, make_model
from benchmarks.report import Table

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "skmlp": ("skmlp", {}),
    "skmlp f32": ("skmlp", {"dtype": "float32"}),
    "sklearn": ("sklearn", {}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``accuracy``."""
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER",
                        help="folder of the files listed in benchmarks/README.md")  # fmt: skip
    names = list(DATASETS)
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"data sets to use: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 3)")
    parser.add_argument("--epochs", type=int, help="max_iter of every model (default: 30)")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Score every model on every data set and seed."""
    seeds = arguments.seeds or (1 if arguments.quick else 3)
    epochs = arguments.epochs or (5 if arguments.quick else 30)
    rows = []
    for name in arguments.rows:
        dataset = DATASETS[name](arguments.data)
        measure.progress(f"accuracy, {name}")
        rows.append({"data": name, "score": dataset.metric, **compare(dataset, seeds, epochs)})
    title = f"Held-out scores, hidden (100,), {epochs} epochs, mean +- std over {seeds} seeds"
    columns = [name for name in rows[0] if name != "samples"]
    notes = [
        "skmlp f32 is dtype='float32'; the differences are paired by seed. Each seed draws the "
        "split (adult:",
        "the official one) and the model's weights. fit time: sklearn's over skmlp's, same dtype.",
    ]
    return [Table(title, columns, rows, notes)]


def compare(dataset: Dataset, seeds: int, epochs: int) -> dict[str, Any]:
    """Return means, deviations and paired differences of the models' scores."""
    scores: dict[str, list[float]] = {name: [] for name in MODELS}
    times: dict[str, list[float]] = {name: [] for name in MODELS}
    for seed in range(seeds):
        for name, (package, extra) in MODELS.items():
            model = make_pipeline_for(dataset, package, seed, epochs, extra)
            score, seconds = score_and_time(model, dataset, seed)
            scores[name].append(score)
            times[name].append(seconds)
    against = {
        f"{name} - sklearn": np.subtract(scores[name], scores["sklearn"])
        for name in MODELS
        if name != "sklearn"
    }
    time = measure.medians(times)
    return {
        **{name: spread(np.array(values)) for name, values in scores.items()},
        **{name: spread(values, sign=True) for name, values in against.items()},
        "fit time sklearn/skmlp": time["sklearn"] / time["skmlp"],
        "samples": {"scores": scores, "seconds": times},
    }


def spread(values: np.ndarray[Any, Any], sign: bool = False) -> str:
    """Return ``mean +- std`` as text."""
    return f"{values.mean():{'+' if sign else ''}.4f} +- {values.std():.4f}"


def make_pipeline_for(
    dataset: Dataset, package: str, seed: int, epochs: int, extra: dict[str, Any]
) -> Any:
    """Return the whole model: imputing, scaling and encoding as the columns need it, the MLP."""
    network = make_model(package, dataset.task, max_iter=epochs, random_state=seed, **extra)
    if dataset.task == "regressor":
        network = TransformedTargetRegressor(network, transformer=StandardScaler())
    if dataset.X.shape[1] == 784:  # pixels are of one scale already
        return network
    columns = set(range(dataset.X.shape[1]))
    preprocessing = make_column_transformer(
        (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            sorted(columns - set(dataset.categorical)),
        ),
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            list(dataset.categorical),
        ),
    )
    return make_pipeline(preprocessing, network)


def score_and_time(model: Any, dataset: Dataset, seed: int) -> tuple[float, float]:
    """Return the held-out score and the seconds of the fit."""
    labels = dataset.y if dataset.task == "classifier" else None
    rows = np.arange(len(dataset.y))
    if dataset.n_training is None:
        train, test = train_test_split(rows, test_size=0.25, random_state=seed, stratify=labels)
    else:
        train, test = rows[: dataset.n_training], rows[dataset.n_training :]
    fit = partial(fit_silently, model, dataset.X[train], dataset.y[train])
    seconds = measure.seconds(fit)
    score = get_scorer(dataset.metric)(model, dataset.X[test], dataset.y[test])
    return float(score), seconds
