"""What a fit records, epoch by epoch, and how several fits' records become one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# A number that all epochs share, or one for each of them.
Column = float | npt.NDArray[np.float64]
SECONDS = "seconds"


class History:
    """Records of one fit; an interrupt may have cut off what belongs to its last epoch.

    Attributes
    ----------
    losses : list of float
    learning_rates : list of float
        Those of each epoch's last step.
    seconds : list of float
        Seconds of training until the end of each epoch. Epochs computed in one go share theirs.
    validation_scores : list of float
        Empty without validation.
    measured : dict of str to list of float
        What a probe has measured.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.learning_rates: list[float] = []
        self.seconds: list[float] = []
        self.validation_scores: list[float] = []
        self.measured: dict[str, list[float]] = {}

    def add(self, loss: float, learning_rate: float, seconds: float) -> None:
        """Begin the records of another epoch."""
        self.losses.append(loss)
        self.learning_rates.append(learning_rate)
        self.seconds.append(seconds)

    def measure(self, numbers: Mapping[str, float]) -> None:
        """Add what was measured at the end of an epoch."""
        for name, number in numbers.items():
            self.measured.setdefault(name, []).append(number)


def extended(
    columns: Mapping[str, Column], n_before: int, new: Mapping[str, Sequence[float]], n_new: int
) -> dict[str, Column]:
    """Return columns of `n_before` epochs with those of `n_new` more.

    What was not recorded is NaN. A column whose numbers are all equal is kept as one number, so
    that fits in many pieces stay small.
    """
    names = [*columns, *(name for name in new if name not in columns)]
    result: dict[str, Column] = {}
    for name in names:
        earlier, later = columns.get(name, math.nan), new.get(name, ())
        first = later[0] if later else math.nan
        is_same = not n_before or (isinstance(earlier, float) and earlier == first)
        if is_same and later.count(first) == n_new:
            result[name] = first
            continue
        parts = filled(earlier, n_before), filled(np.array(later, dtype=np.float64), n_new)
        result[name] = np.concatenate(parts)
    return result


def filled(column: Column, n_epochs: int) -> npt.NDArray[np.float64]:
    """Return a column as an array of `n_epochs` numbers, NaN where it has none."""
    if isinstance(column, float):
        return np.full(n_epochs, column)
    result = np.full(n_epochs, math.nan)
    known = column[:n_epochs]
    result[: len(known)] = known
    return result


def table(losses: Sequence[float], columns: Mapping[str, Column]) -> dict[str, list[Any]]:
    """Return the records as lists of equal length, one entry for each epoch."""
    n_epochs = len(losses)
    shown: dict[str, list[Any]] = {"epoch": list(range(1, n_epochs + 1)), "loss": list(losses)}
    shown |= {name: filled(column, n_epochs).tolist() for name, column in columns.items()}
    return shown


def are_columns(value: Any) -> bool:
    """Whether a value is what `extended` returns."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and (type(column) is float or is_vector(column))
        for name, column in value.items()
    )


def is_vector(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.float64
