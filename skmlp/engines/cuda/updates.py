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


@cache
def update_function(dtype: str) -> Any:
    """Return ``update(parameters, gradient, state, i, sizes, numbers, doubles)``.

    Updates parameter `i` and its state in place by the gradient
    ``(gradient + alpha * w) / weight_sum``, and returns what its old value adds to the sum of
    squares. An intercept adds nothing and is not penalized.
    """
    real = np.dtype(dtype).type
    update = formulas(dtype).update

    @device_function
    def update_parameter(parameters, gradient, state, i, sizes, numbers, doubles):
        before = parameters[i]
        is_coef = i < sizes.n_coefs
        decay = real(doubles[tables.ALPHA]) if is_coef else real(0)
        total = (gradient + decay * before) * real(doubles[tables.INVERSE_WEIGHT])
        second = i + sizes.parameters if sizes.n_states > 1 else i
        constants = (
            real(doubles[tables.CONSTANTS]),
            real(doubles[tables.CONSTANTS + 1]),
            real(doubles[tables.CONSTANTS + 2]),
            real(doubles[tables.CONSTANTS + 3]),
        )
        after, first_state, second_state = update(
            numbers[tables.OPTIMIZER], before, total, state[i], state[second], constants
        )
        if not isfinite(after):
            numbers[tables.HEALTHY] = 0
        parameters[i] = after
        state[i] = first_state
        if sizes.n_states > 1:
            state[second] = second_state
        return float64(before) * float64(before) if is_coef else 0.0

    return update_parameter
