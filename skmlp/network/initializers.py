"""Initial parameters, drawn from an explicit generator."""

from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.network.activations import ACTIVATIONS
from skmlp.network.parameters import FloatArray, ParameterLayout


def draw_uniform(
    layout: ParameterLayout,
    activation: str,
    random_state: np.random.RandomState,
    dtype: npt.DTypeLike,
) -> FloatArray:
    """Draw all parameters uniformly within the bounds of Glorot and Bengio.

    Every weight and intercept of a layer lies within ``sqrt(g / (fan_in + fan_out))`` of zero,
    where `g` is the activation's `init_gain`. Draws come in scikit-learn's order (a layer's
    coefficients, then its intercepts) and in double precision, so that the same generator
    starts from the same weights.

    References
    ----------
    Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward neural
    networks", eq. 16.
    """
    parameters: FloatArray = np.empty(layout.size, dtype=dtype)
    coefs, intercepts = layout.views(parameters)
    gain = ACTIVATIONS[activation].init_gain
    arrays: Any = zip(coefs, intercepts, strict=True)
    for coef, intercept in arrays:
        fan_in, fan_out = coef.shape
        bound = np.sqrt(gain / (fan_in + fan_out))
        coef[...] = random_state.uniform(-bound, bound, (fan_in, fan_out))
        intercept[...] = random_state.uniform(-bound, bound, fan_out)
    return parameters
