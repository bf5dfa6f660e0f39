"""The settings of a network: checked, made a pipeline, and shown as Python."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from skmlp import MLPClassifier, MLPRegressor
from skmlp.playground.datasets import SOURCES, Array
from skmlp.playground.tables import Table

ACTIVATIONS = ("tanh", "relu", "logistic", "identity", "gelu", "silu", "elu", "softplus")
OPTIMIZERS = ("adam", "sgd", "adamw", "rmsprop", "lion", "lbfgs")
NORMALIZATIONS = ("none", "layer", "batch")
MAX_LAYERS, MAX_UNITS, MAX_EPOCHS = 6, 64, 100_000
CSV = "csv"
# Name, lowest and highest value, whether it is whole.
NUMBERS = {
    "n_samples": (20, 2000, True),
    "noise": (0.0, 1.0, False),
    "test_size": (0.1, 0.9, False),
    "seed": (0, 2**31 - 1, True),
    "learning_rate_init": (1e-6, 1e3, False),
    "alpha": (0.0, 100.0, False),
    "dropout": (0.0, 0.9, False),
    "batch_size": (1, 2000, True),
}
CHOICES = {
    "data": (*SOURCES, CSV),
    "activation": ACTIVATIONS,
    "solver": OPTIMIZERS,
    "normalization": NORMALIZATIONS,
}
# What the page offers: a table only where there is one.
OFFERED = {
    "choices": {**CHOICES, "data": tuple(SOURCES)},
    "toys": [name for name, source in SOURCES.items() if source.is_toy],
}


@dataclass(frozen=True)
class Settings:
    """What a user can set."""

    data: str = "circles"
    n_samples: int = 300
    noise: float = 0.1
    test_size: float = 0.5
    seed: int = 0
    hidden_layer_sizes: tuple[int, ...] = (4, 2)
    activation: str = "tanh"
    solver: str = "adam"
    learning_rate_init: float = 0.03
    alpha: float = 0.0
    dropout: float = 0.0
    normalization: str = "none"
    batch_size: int = 10

    def as_plain(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


def read_settings(given: Any) -> tuple[Settings | None, dict[str, str]]:
    """Check settings that came from a page.

    Parameters
    ----------
    given : object
        A mapping by the names of `Settings`; what is left out has its default.

    Returns
    -------
    settings : Settings or None
        None if something is wrong.
    problems : dict of str to str
        A message for each field that is wrong.

    Examples
    --------
    >>> read_settings({"noise": 7})
    (None, {'noise': 'noise must be a number from 0.0 to 1.0, got 7.'})
    """
    if not isinstance(given, Mapping):
        return None, {"data": "The settings must be an object."}
    known = {field.name for field in fields(Settings)}
    problems = {
        str(name)[:40]: f"There is no setting {str(name)[:40]!r}." for name in given.keys() - known
    }
    values: dict[str, Any] = {}
    for name in given.keys() & known:
        try:
            values[name] = read_value(name, given[name])
        except ValueError as error:
            problems[name] = str(error)
    return (None, problems) if problems else (Settings(**values), {})


def read_value(name: str, value: Any) -> Any:
    """Return a value as an estimator takes it; a ValueError says what is wrong."""
    shown = repr(value)[:40]
    if name in CHOICES:
        if not isinstance(value, str) or value not in CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}, got {shown}.")
        return value
    if name == "hidden_layer_sizes":
        if (
            not isinstance(value, list | tuple)
            or len(value) > MAX_LAYERS
            or not all(is_number(units, whole=True) and 1 <= units <= MAX_UNITS for units in value)
        ):
            raise ValueError(
                f"{name} must be up to {MAX_LAYERS} whole numbers from 1 to {MAX_UNITS}, "
                f"got {shown}."
            )
        return tuple(value)
    low, high, whole = NUMBERS[name]
    if not is_number(value, whole=whole) or not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise ValueError(f"{name} must be a {kind} from {low} to {high}, got {shown}.")
    return value if whole else float(value)


def is_number(value: Any, *, whole: bool) -> bool:
    """Tell whether it is a finite number, and no boolean."""
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Data:
    """A set of data, split."""

    X_train: Array
    X_test: Array
    y_train: Array
    y_test: Array
    is_classes: bool


def split_data(settings: Settings, table: Table | None) -> Data:
    """Load a set and split it; a ValueError says what is wrong."""
    if settings.data == CSV:
        if table is None:
            raise ValueError("There is no table yet. Drop a CSV file into the page.")
        X, y, is_classes = table.X, table.y, table.is_classes
    else:
        source = SOURCES[settings.data]
        X, y = source.load(settings.n_samples, settings.noise, settings.seed)
        is_classes = source.is_classes
    parts = train_test_split(
        X,
        y,
        test_size=settings.test_size,
        random_state=settings.seed,
        stratify=y if is_classes else None,
    )
    if len(parts[0]) < 2 or len(parts[1]) < 2:
        raise ValueError("Both parts of the data need two rows. Change test_size.")
    X_train, X_test, y_train, y_test = map(np.asarray, parts)
    return Data(X_train, X_test, y_train, y_test, is_classes)


def parameters_of(settings: Settings, is_classes: bool, n_iter: int) -> dict[str, Any]:
    """Return the parameters of the network: no criterion ends the fit before `n_iter`."""
    parameters: dict[str, Any] = {
        "hidden_layer_sizes": settings.hidden_layer_sizes,
        "activation": settings.activation,
        "solver": settings.solver,
        "alpha": settings.alpha,
        "max_iter": n_iter,
        "tol": 0.0,
        "random_state": settings.seed,
    }
    if settings.solver != "lbfgs":
        parameters["learning_rate_init"] = settings.learning_rate_init
        parameters["batch_size"] = settings.batch_size
        parameters["n_iter_no_change"] = math.inf
        if settings.hidden_layer_sizes and settings.dropout:
            parameters["dropout"] = settings.dropout
    else:
        parameters["max_fun"] = 10 * MAX_EPOCHS
    if settings.hidden_layer_sizes and settings.normalization != "none":
        parameters["normalization"] = settings.normalization
    if not is_classes:
        parameters["y_scale"] = "standard"
    return parameters


def make_network(
    settings: Settings, data: Data, n_iter: int = MAX_EPOCHS
) -> MLPClassifier | MLPRegressor:
    """Return the network, not fitted."""
    parameters = parameters_of(settings, data.is_classes, n_iter)
    # batch_size above the number of rows would be clipped with a warning.
    if "batch_size" in parameters:
        parameters["batch_size"] = min(settings.batch_size, len(data.X_train))
    return (MLPClassifier if data.is_classes else MLPRegressor)(**parameters)


def as_python(settings: Settings, data: Data, table: Table | None, n_iter: int) -> str:
    """Return the Python whose `model` is the network after some epochs, bitwise."""
    network = make_network(settings, data, n_iter)
    name = type(network).__name__
    given = parameters_of(settings, data.is_classes, n_iter)
    if "batch_size" in given:
        given["batch_size"] = network.batch_size
    lines = ["import warnings", ""]
    if settings.data == CSV:
        assert table is not None
        loading = [f"table = pd.read_csv({table.name!r})", "X = table.iloc[:, :-1].to_numpy(float)"]
        kind = "str" if table.y.dtype.kind == "U" else "float"
        loading.append(f"y = table.iloc[:, -1].to_numpy({kind})")
        lines.append("import pandas as pd")
    else:
        source = SOURCES[settings.data]
        arguments = source.arguments(settings.n_samples, settings.noise, settings.seed)
        loading = [f"X, y = {source.function}({written(arguments)})"]
        lines.append(f"from {source.module} import {source.function}")
    split = {"test_size": settings.test_size, "random_state": settings.seed}
    stratify = ", stratify=y" if data.is_classes else ""
    numbers = ",\n".join(
        f"    {key}=" + ('float("inf")' if value == math.inf else repr(value))
        for key, value in given.items()
    )
    lines += [
        "from sklearn.exceptions import ConvergenceWarning",
        "from sklearn.model_selection import train_test_split",
        "from sklearn.pipeline import make_pipeline",
        "from sklearn.preprocessing import StandardScaler",
        f"from skmlp import {name}",
        "",
        *loading,
        "X_train, X_test, y_train, y_test = train_test_split(",
        f"    X, y, {written(split)}{stratify}",
        ")",
        f"network = {name}(",
        f"{numbers},",
        ")",
        "model = make_pipeline(StandardScaler(), network)",
        "with warnings.catch_warnings():",
        '    warnings.simplefilter("ignore", ConvergenceWarning)  # max_iter is meant',
        "    model.fit(X_train, y_train)",
        "print(model.score(X_test, y_test))",
        "",
    ]
    return "\n".join(lines)


def written(arguments: Mapping[str, Any]) -> str:
    """Return keyword arguments as Python."""
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
