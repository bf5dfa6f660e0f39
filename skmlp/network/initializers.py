"""Initial parameters, drawn from an explicit generator."""

from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import NetworkSpec

DEFAULT_GAIN = 6.0


def draw_uniform(
    network: NetworkSpec,
    random_state: np.random.RandomState,
    dtype: npt.DTypeLike,
    output_gain: float | None = None,
) -> FloatArray:
    """Draw all parameters uniformly within the bounds of Glorot and Bengio.

    Every weight and intercept of a layer lies within ``sqrt(g / (fan_in + fan_out))`` of zero,
    where `g` is the `init_gain` of its activation. For the output layer it is `output_gain`, by
    default that of the last hidden layer, as in scikit-learn. Draws come in scikit-learn's order
    (a layer's coefficients, then its intercepts) and in double precision, so that the same
    generator starts from the same weights.

    References
    ----------
    Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward neural
    networks", eq. 16.
    """
    layout = layout_of(network)
    parameters: FloatArray = np.empty(layout.size, dtype=dtype)
    gains = [layer.entry.init_gain for layer in network.layers]
    if output_gain is None:
        output_gain = gains[-1] if gains else DEFAULT_GAIN
    arrays: Any = zip(*layout.views(parameters), [*gains, output_gain], strict=True)
    for coef, intercept, gain in arrays:
        fan_in, fan_out = coef.shape
        bound = np.sqrt(gain / (fan_in + fan_out))
        coef[...] = random_state.uniform(-bound, bound, (fan_in, fan_out))
        intercept[...] = random_state.uniform(-bound, bound, fan_out)
    layout.extras_of(parameters)[...] = layout.initial_extras()
    return parameters
