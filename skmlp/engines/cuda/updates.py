"""One parameter's step, and the sum of squares that the penalty needs."""

from functools import cache
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import device_function, float64
from skmlp.engines.cuda.formulas import formulas


class Sizes(NamedTuple):
    """How many parameters one model has, how many of them are penalized, and its state vectors."""

    parameters: int
    n_coefs: int
    n_states: int


class Step(NamedTuple):
    """What all updates of one step share: read once, in the precision of the network."""

    optimizer: Any
    alpha: Any
    inverse_weight: Any
    first: Any
    second: Any
    third: Any
    fourth: Any


class UpdateFunctions(NamedTuple):
    """Device functions for one precision.

    Attributes
    ----------
    step_of_model : callable
        ``(numbers, doubles)``: the `Step` that a model's tables describe.
    update_parameter : callable
        ``(parameters, gradient, state, i, sizes, step, numbers)``: updates parameter `i` and its
        state in place by the gradient ``(gradient + alpha * w) / weight_sum``, and returns what
        its old value adds to the sum of squares. An intercept adds nothing and is not penalized.
    """

    step_of_model: Any
    update_parameter: Any


@cache
def update_functions(dtype: str) -> UpdateFunctions:
    real = np.dtype(dtype).type
    update = formulas(dtype).update

    @device_function
    def step_of_model(numbers, doubles):
        return Step(
            numbers[tables.OPTIMIZER],
            real(doubles[tables.ALPHA]),
            real(doubles[tables.INVERSE_WEIGHT]),
            real(doubles[tables.CONSTANTS]),
            real(doubles[tables.CONSTANTS + 1]),
            real(doubles[tables.CONSTANTS + 2]),
            real(doubles[tables.CONSTANTS + 3]),
        )

    @device_function
    def update_parameter(parameters, gradient, state, i, sizes, step, numbers):
        before = parameters[i]
        is_coef = i < sizes.n_coefs
        decay = step.alpha if is_coef else real(0)
        total = (gradient + decay * before) * step.inverse_weight
        second = i + sizes.parameters if sizes.n_states > 1 else i
        constants = (step.first, step.second, step.third, step.fourth)
        after, first_state, second_state = update(
            step.optimizer, before, total, state[i], state[second], constants
        )
        if not isfinite(after):
            numbers[tables.HEALTHY] = 0
        parameters[i] = after
        state[i] = first_state
        if sizes.n_states > 1:
            state[second] = second_state
        return float64(before) * float64(before) if is_coef else 0.0

    return UpdateFunctions(step_of_model, update_parameter)
