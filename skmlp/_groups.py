"""Factors of groups of parameters, as the constructor's parameters give them."""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from skmlp._warning import Remark
from skmlp.network.optimizers import GROUPS, PER_LAYER
from skmlp.network.specs import Factor, OptimizerSpec

PARAMETERS = ("learning_rate_factors", "weight_decay_factors")
LARGEST = float(np.finfo(np.float64).max)


def check_factors(estimator: Any) -> None:
    """Refuse factors of unknown groups, and what is no factor.

    Raises
    ------
    ValueError
        If there are some. What is no dict is left to the constraints.
    """
    for parameter in PARAMETERS:
        given = getattr(estimator, parameter)
        for role, value in given.items() if isinstance(given, dict) else ():
            if not (isinstance(role, str) and role in GROUPS):
                raise ValueError(
                    f"{parameter}={given!r} has a factor of {role!r}, but groups of parameters are "
                    f"{', '.join(map(repr, GROUPS))}. Use some of these."
                )
            if is_sequence(value) and role not in PER_LAYER:
                raise ValueError(
                    f"{parameter}={given!r} has several factors of {role!r}, but only "
                    f"{' and '.join(map(repr, PER_LAYER))} may have one for each layer. Give a "
                    "single one."
                )
            if not all(map(is_factor, listed(value))):
                raise ValueError(
                    f"{parameter}={given!r} has {value!r} for {role!r}, but factors are finite "
                    "numbers that are not negative."
                )


def check_counts_of_factors(estimator: Any, n_hidden: int) -> None:
    """Refuse factors for another number of layers.

    Raises
    ------
    ValueError
        If there are some.
    """
    for parameter in PARAMETERS:
        for role, value in (getattr(estimator, parameter) or {}).items():
            if is_sequence(value) and len(value) != n_hidden + 1:
                raise ValueError(
                    f"{parameter} has {len(value)} factors of {role!r}, but there are "
                    f"{n_hidden + 1} layers: {n_hidden} of hidden_layer_sizes and the output "
                    "layer. Give one for each, or a single one for all."
                )


def factors_in(given: Any, name: str) -> tuple[Factor, ...]:
    """Return the factors that a parameter gives, None for none.

    Those that groups have anyway, under this name, are passed over.
    """
    found: list[Factor] = []
    for role, value in (given or {}).items():
        layers: Iterable[int | None] = range(len(value)) if is_sequence(value) else [None]
        for layer, own in zip(layers, listed(value), strict=True):
            if own != getattr(GROUPS[role], name):
                found.append(Factor(role, float(own), layer))
    return tuple(found)


def factor_remarks(estimator: Any, optimizer: OptimizerSpec) -> list[Remark]:
    """Return what to warn of: factors of a weight decay that there is not."""
    given = estimator.weight_decay_factors
    if not given or optimizer.weight_decay > 0.0:
        return []
    message = (
        f"weight_decay_factors={given!r} has no effect without weight_decay. Set weight_decay, or "
        "leave weight_decay_factors out."
    )
    return [Remark(message, UserWarning)]


def is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)


def listed(value: Any) -> list[Any]:
    return list(value) if is_sequence(value) else [value]


def is_factor(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return is_number and bool(0 <= value <= LARGEST)
