"""Bounds on what a network computes: whether its outputs can overflow, without computing them."""

import math

import numpy as np
import numpy.typing as npt

from skmlp.network.parameters import FloatArray
from skmlp.network.specs import NetworkSpec

# A BLAS library sums so few squares in the calling thread, without waking others.
VALUES_PER_SUM = 8192
# A smaller square may underflow; enough for either precision.
LOST_SQUARE = float(np.finfo(np.float32).tiny)
# Of the largest number, and of its logarithm: room for rounding errors.
SAFE_SHARE = 1 / 16
SAFE_EXPONENT_SHARE = 0.9


def euclidean_norm(values: FloatArray) -> float:
    """Return at least the Euclidean norm of an array; not finite if the array is not.

    It is infinite also where a square overflows.
    """
    values = np.asarray(values)
    shape = (-1, 1) if values.flags.forc else (len(values), -1)
    values = values.reshape(shape, order="A")  # a view
    step = max(1, VALUES_PER_SUM // values.shape[1])
    total = values.size * LOST_SQUARE
    for start in range(0, len(values), step):
        part = values[start : start + step]
        total += float(np.vdot(part, part))  # which does not warn of overflow, as `dot` does
    return math.sqrt(total)


def cannot_overflow(
    network: NetworkSpec, parameter_norm: float, input_norm: float, dtype: npt.DTypeLike
) -> bool:
    """Whether the outputs are finite for certain; False means that they may be or not.

    With `a` the values of a layer, those of the next one before its activation are
    ``|W' a + b| <= |(W, b)| (|a| + 1)``, and how much an activation enlarges is known.

    Parameters
    ----------
    network : NetworkSpec
    parameter_norm : float
        Euclidean norm of all parameters, and so a bound on that of each layer's.
    input_norm : float
        Bound on the Euclidean norm of each row of X.
    dtype : {"float32", "float64"}
        Precision of the computation.
    """
    if network.inputs.embedding:  # of which no bound is known
        return False
    largest = float(np.finfo(dtype).max)
    norm = input_norm
    if network.inputs.scaled:
        norm *= parameter_norm
        if not norm < SAFE_SHARE * largest:
            return False
    for layer in network.layers:
        raw_norm = parameter_norm * (norm + 1.0)
        if layer.entry.growth is None or layer.normalization is not None:
            return False
        bound, slope, offset = layer.entry.growth(*layer.activation.constants)
        root = math.sqrt(layer.units)
        norm = min(bound * root, slope * raw_norm + offset * root)
        if not max(raw_norm, norm) < SAFE_SHARE * largest:
            return False
    raw_norm = parameter_norm * (norm + 1.0)
    # Outputs that are sums of several raw predictions have room for these.
    if not raw_norm * max(head.units_per_target for head in network.heads) < SAFE_SHARE * largest:
        return False
    exponent = max(head.entry.link.exponent for head in network.heads)
    return exponent * raw_norm < SAFE_EXPONENT_SHARE * math.log(largest)
