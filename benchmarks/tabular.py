"""Tables as they come, untuned: scores and seconds beside gradient boosting and other networks."""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import skmlp
from benchmarks import measure
from benchmarks.datasets import DATASETS, Dataset
from benchmarks.report import Table

# What a model is made by: ``make(dataset, seed)``.
Maker = Callable[[Dataset, int], Any]
LOWEST_PROBABILITY = 1e-7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``tabular``."""
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER",
                        help="folder of the files listed in benchmarks/README.md")  # fmt: skip
    names = list(DATASETS)
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"data sets to use: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="MODEL",
                        help=f"models to fit: {', '.join(MAKERS)}")  # fmt: skip
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 5)")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Fit every model on every data set and seed; return scores and ranks."""
    seeds = arguments.seeds or (1 if arguments.quick else 5)
    makers = {name: make for name, make in MAKERS.items() if is_wanted(name, arguments.only)}
    if arguments.quick:
        makers.pop("RealMLP-TD", None)
    found = {}
    for name in arguments.rows:
        dataset = as_judged(name, DATASETS[name](arguments.data))
        found[name] = {
            model: [scores_of(make, dataset, seed, f"{name}, {model}") for seed in range(seeds)]
            for model, make in makers.items()
        }
    return [score_table(found, seeds), rank_table(found, list(makers))]


def is_wanted(name: str, only: list[str] | None) -> bool:
    """Whether a model is asked for, and there."""
    if only is not None and name not in only:
        return False
    package = PACKAGES.get(name)
    return package is None or importlib.util.find_spec(package) is not None


def as_judged(name: str, dataset: Dataset) -> Dataset:
    """Return a data set with the target that scores are quoted for."""
    if name != "california":
        return dataset
    return Dataset(dataset.X, np.log(dataset.y), dataset.task, dataset.metric, dataset.categorical)


def scores_of(make: Maker, dataset: Dataset, seed: int, what: str) -> dict[str, float]:
    """Return scores and seconds of one model with one seed, which draws the split too."""
    measure.progress(f"tabular, {what}, seed {seed}")
    is_classifier = dataset.task == "classifier"
    labels = dataset.y if is_classifier else None
    rows = np.arange(len(dataset.y))
    if dataset.n_training is None:
        train, test = train_test_split(rows, test_size=0.2, random_state=seed, stratify=labels)
    else:
        train, test = rows[: dataset.n_training], rows[dataset.n_training :]
    model = make(dataset, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X_train, X = frame_of(dataset, train), frame_of(dataset, test)
        begun = time.perf_counter()
        model.fit(X_train, dataset.y[train])
        fitted = time.perf_counter()
        predicted: Any = model.predict_proba(X) if is_classifier else model.predict(X)
        ended = time.perf_counter()
    seconds = {"fit s": fitted - begun, "predict s": ended - fitted}
    truth = dataset.y[test]
    if not is_classifier:
        return {"r2": float(r2_score(truth, np.ravel(predicted))), **seconds}
    accuracy = accuracy_score(truth, np.asarray(model.classes_)[predicted.argmax(axis=1)])
    loss = log_loss(truth, np.clip(predicted, LOWEST_PROBABILITY, 1.0), labels=model.classes_)
    return {"accuracy": float(accuracy), "log loss": float(loss), **seconds}


def frame_of(dataset: Dataset, rows: Any) -> Any:
    """Return rows of a data set as a data frame, whose categories are such."""
    import pandas as pd

    frame = pd.DataFrame(
        {f"column {i}": column for i, column in enumerate(dataset.X[rows].T)}, copy=False
    )
    for i in range(dataset.X.shape[1]):
        kind = "category" if i in dataset.categorical else np.float64
        frame[f"column {i}"] = frame[f"column {i}"].astype(kind)
    return frame


def names_of(dataset: Dataset, *, categorical: bool) -> list[str]:
    """Return the names of the columns that hold categories, or of the others."""
    count = dataset.X.shape[1]
    return [f"column {i}" for i in range(count) if (i in dataset.categorical) == categorical]


def choose(dataset: Dataset, classifier: Any, regressor: Any) -> Any:
    """Return which of two classes a data set is for."""
    return classifier if dataset.task == "classifier" else regressor


def make_pack(dataset: Dataset, seed: int) -> Any:
    """Return our default."""
    model = choose(dataset, skmlp.TabularMLPClassifier, skmlp.TabularMLPRegressor)
    return model(random_state=seed)


def make_plain(dataset: Dataset, seed: int) -> Any:
    """Return our single network."""
    model = choose(dataset, skmlp.TabularMLPClassifier, skmlp.TabularMLPRegressor)
    return model("plain", random_state=seed)


def make_boosting(dataset: Dataset, seed: int) -> Any:
    """Return scikit-learn's gradient boosting at its defaults."""
    model = choose(dataset, HistGradientBoostingClassifier, HistGradientBoostingRegressor)
    return model(random_state=seed)


def make_mlp(dataset: Dataset, seed: int) -> Any:
    """Return scikit-learn's network at its defaults, behind the usual preprocessing."""
    network = choose(dataset, MLPClassifier, MLPRegressor)(random_state=seed)
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    preprocessing = make_column_transformer(
        (numbers, names_of(dataset, categorical=False)),
        (categories, names_of(dataset, categorical=True)),
    )
    return make_pipeline(preprocessing, network)


def make_catboost(dataset: Dataset, seed: int) -> Any:
    """Return CatBoost at its defaults."""
    import catboost

    model = choose(dataset, catboost.CatBoostClassifier, catboost.CatBoostRegressor)
    return model(
        random_seed=seed,
        verbose=False,
        allow_writing_files=False,
        cat_features=names_of(dataset, categorical=True),
    )


def make_xgboost(dataset: Dataset, seed: int) -> Any:
    """Return XGBoost at its defaults."""
    import xgboost

    model = choose(dataset, xgboost.XGBClassifier, xgboost.XGBRegressor)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    preprocessing = make_column_transformer(
        (encoder, names_of(dataset, categorical=True)), remainder="passthrough"
    )
    return make_pipeline(preprocessing, model(random_state=seed))


def make_realmlp(dataset: Dataset, seed: int) -> Any:
    """Return pytabkit's RealMLP at its tuned defaults."""
    import pytabkit

    model = choose(dataset, pytabkit.RealMLP_TD_Classifier, pytabkit.RealMLP_TD_Regressor)
    return model(device="cpu", random_state=seed, verbosity=0)


MAKERS: dict[str, Maker] = {
    "pack": make_pack,
    "plain": make_plain,
    "HistGB": make_boosting,
    "CatBoost": make_catboost,
    "XGBoost": make_xgboost,
    "sklearn MLP": make_mlp,
    "RealMLP-TD": make_realmlp,
}
# Which of them need a package that may not be there.
PACKAGES = {"CatBoost": "catboost", "XGBoost": "xgboost", "RealMLP-TD": "pytabkit"}

Scores = dict[str, dict[str, list[dict[str, float]]]]


def score_table(found: Scores, seeds: int) -> Table:
    """Return a row for each data set and model."""
    rows = []
    for name, models in found.items():
        for model, runs in models.items():
            row: dict[str, Any] = {"data": name, "model": model, "samples": runs}
            for key in runs[0]:
                values = np.array([run[key] for run in runs])
                is_time = key.endswith(" s")
                row[key] = float(values.mean()) if is_time else spread(values)
            rows.append(row)
    columns = ["data", "model", "accuracy", "log loss", "r2", "fit s", "predict s"]
    notes = [
        "80/20 splits drawn by the seed (adult: the official one), defaults of every model.",
        "california: R2 of the logarithm of the price.",
    ]
    return Table(f"Tables, untuned: mean +- deviation over {seeds} seeds", columns, rows, notes)


def spread(values: np.ndarray[Any, Any]) -> str:
    """Return ``mean +- deviation`` as text."""
    return f"{values.mean():.4f} +- {values.std():.4f}"


def rank_table(found: Scores, models: list[str]) -> Table:
    """Return each model's rank on each data set, by accuracy or R2, and the mean of its ranks."""
    ranks: dict[str, list[int]] = {model: [] for model in models}
    for runs in found.values():
        mean = {model: -np.mean([next(iter(run.values())) for run in runs[model]])
                for model in models}  # fmt: skip
        for rank, model in enumerate(sorted(models, key=mean.__getitem__), start=1):
            ranks[model].append(rank)
    rows = [
        {"model": model, **dict(zip(found, own, strict=True)), "mean rank": float(np.mean(own))}
        for model, own in ranks.items()
    ]
    return Table("Ranks by accuracy or R2", ["model", *found, "mean rank"], rows)
