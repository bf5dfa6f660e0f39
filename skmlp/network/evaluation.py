"""Formulas of the registries, applied to whole arrays without an engine."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from skmlp.network.parameters import FloatArray
from skmlp.network.specs import LayerSpec


def applied(
    formula: Callable[..., float],
    argument: FloatArray,
    constants: tuple[float, ...],
    numbers: list[FloatArray],
) -> FloatArray:
    """Apply a scalar formula to all elements, at once where it takes an array."""
    shape = np.broadcast_shapes(argument.shape, *(number.shape for number in numbers))
    if argument.size > 1:
        # Unless it decides by the value, or calls a function of scalars.
        with suppress(TypeError, ValueError):
            return np.broadcast_to(formula(argument, *constants, *numbers), shape)
    vectorized = np.vectorize(formula, otypes=[np.float64])
    return np.broadcast_to(vectorized(argument, *constants, *numbers), shape)


def derivatives(layer: LayerSpec, z: FloatArray, numbers: list[FloatArray]) -> FloatArray:
    """Return the activation's derivative at pre-activations, shape (n_rows, units)."""
    entry, constants = layer.entry, layer.activation.constants
    argument = z if entry.derivative_takes_input else applied(entry.value, z, constants, numbers)
    return applied(entry.derivative, argument, constants, numbers)
