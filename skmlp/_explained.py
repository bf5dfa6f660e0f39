"""The numbers that a fitted network computes, as users know them, by its raw predictions.

Of a classifier these are the scores of its classes, of a regressor what it predicts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp._choices import same
from skmlp._fitted import shown
from skmlp._labels import MULTILABEL, Binarizer
from skmlp._target_scale import Scaling
from skmlp.network.activations import activation_entry
from skmlp.network.evaluation import applied
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import NetworkSpec

# Stands for all outputs.
ALL = "all"

Slopes = Callable[[FloatArray], FloatArray]


class Output(NamedTuple):
    """A number that is explained.

    Attributes
    ----------
    name : object
        What users call it: a class, or a number.
    slopes : callable
        ``slopes(raw)``: its derivative by the raw predictions, both of shape (n_rows, n_raw).
    """

    name: Any
    slopes: Slopes


@dataclass(frozen=True)
class Outputs:
    """What of a network can be explained.

    Attributes
    ----------
    every : list of Output
    what : str
        What they are, for messages.
    predicted : callable or None
        ``predicted(raw)``: the number of the output that is predicted in each row; None where it
        is not one of several.
    """

    every: list[Output]
    what: str
    predicted: Callable[[FloatArray], npt.NDArray[np.intp]] | None = None

    def chosen(self, target: Any) -> list[Output] | None:
        """Return what a target stands for; None for what is predicted.

        Raises
        ------
        ValueError
            If it is none of the outputs, or is not given where there are several.
        """
        if target is None:
            if self.predicted is not None:
                return None
            found = self.every if len(self.every) == 1 else []
        elif is_all(target):
            found = self.every
        else:
            found = [output for output in self.every if same(output.name, target)][:1]
        if not found:
            names = ", ".join(repr(plain(output.name)) for output in self.every)
            raise ValueError(
                f"target must be one of the {self.what} ({names}) or {ALL!r}, but is "
                f"{shown(target)}. Pass one of them."
            )
        return found


def is_all(target: Any) -> bool:
    return isinstance(target, str) and target == ALL


def plain(name: Any) -> Any:
    """Return a name without NumPy's types, as users write it."""
    if isinstance(name, tuple):
        return tuple(map(plain, name))
    return name.item() if isinstance(name, np.generic) else name


# Classifiers


def scores_of_classes(binarizer: Binarizer) -> Outputs:
    """Return the scores of classes: raw predictions, none of which is divided by a temperature.

    The first of two classes has the negative score of the second.
    """
    if isinstance(binarizer, list):
        every: list[Output] = []
        begin = 0
        for column, one in enumerate(binarizer):
            own = scores_of_target(one.classes_, one.y_type_, begin)
            every += [Output((column, name), slopes) for name, slopes in own]
            begin += 1 if one.y_type_ == "binary" else len(own)
        return Outputs(every, "pairs of a target's number and a class")
    every = scores_of_target(binarizer.classes_, binarizer.y_type_, 0)
    if binarizer.y_type_ == MULTILABEL:
        return Outputs(every, "labels")
    if binarizer.y_type_ == "binary":
        last = len(every) - 1  # there may be one class only
        return Outputs(every, "classes", lambda raw: np.where(raw[:, 0] > 0.0, last, 0))
    return Outputs(every, "classes", lambda raw: raw.argmax(axis=1))


def scores_of_target(classes: npt.NDArray[Any], kind: str, begin: int) -> list[Output]:
    """Return the scores of one target, whose raw predictions begin at some column."""
    if kind == "binary":
        signed = zip(classes, (-1.0, 1.0), strict=False)
        return [Output(name, multiple_of(begin, sign)) for name, sign in signed]
    return [Output(name, multiple_of(begin + k, 1.0)) for k, name in enumerate(classes)]


def multiple_of(unit: int, factor: float) -> Slopes:
    """Return the derivative of a raw prediction times a number."""

    def slopes(raw: FloatArray) -> FloatArray:
        out = np.zeros_like(raw)
        out[:, unit] = factor
        return out

    return slopes


# Regressors


def predictions_of(network: NetworkSpec, scaling: Scaling | None) -> Outputs:
    """Return the numbers that are predicted for a row, in their order, without deviations."""
    head = network.head
    link, n_targets = head.entry.link, network.target_columns
    scales = np.ones(n_targets) if scaling is None else scaling.scale
    every: list[Slopes] = []
    for column, scale in enumerate(scales.tolist()):
        units = range(column, head.units, n_targets)
        if link.is_cumulative:
            ends = range(1, len(units) + 1)
            every += [sum_of(units[:end], link.increment_slope, scale) for end in ends]
        elif link.units_per_target > 1:  # what is predicted is the first one itself
            every.append(multiple_of(column, scale))
        else:
            every.append(linked(column, link.name, scale))
    return Outputs([Output(k, slopes) for k, slopes in enumerate(every)], "outputs")


def sum_of(units: Sequence[int], increment_slope: Any, scale: float) -> Slopes:
    """Return the derivative of an output that is made of those before it."""

    def slopes(raw: FloatArray) -> FloatArray:
        out = np.zeros_like(raw)
        out[:, units[0]] = scale
        for unit in units[1:]:
            out[:, unit] = scale * applied(increment_slope, raw[:, unit], (), [])
        return out

    return slopes


def linked(unit: int, name: str, scale: float) -> Slopes:
    """Return the derivative of an output that an activation makes of one raw prediction."""
    entry = activation_entry(name)

    def slopes(raw: FloatArray) -> FloatArray:
        argument = raw[:, unit]
        if not entry.derivative_takes_input:
            argument = applied(entry.value, argument, (), [])
        out = np.zeros_like(raw)
        out[:, unit] = scale * applied(entry.derivative, argument, (), [])
        return out

    return slopes
