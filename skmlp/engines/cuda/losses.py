"""The output layer: probabilities, losses and their derivatives, one thread per row."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda.device import device_function, float64, uint32
from skmlp.engines.cuda.formulas import formulas
from skmlp.engines.cuda.vocabulary import SOFTMAX


class OutputFunctions(NamedTuple):
    """Device functions for one row of outputs.

    Attributes
    ----------
    activate_row : callable
        ``(z, columns, output_activation)``: turns raw predictions into outputs, in place.
    differentiate_row : callable
        ``(z, columns, output_activation, loss, targets, weight)``: turns raw predictions into the
        loss's derivatives by them, in place, and returns the row's loss.
    """

    activate_row: Any
    differentiate_row: Any


def softmax_function(dtype: str) -> Any:
    """Return ``(z, columns)``: turns one sample's scores into probabilities, in place.

    It does as `activations.softmax`. One thread has the whole row, so that the sum is formed on
    the way.
    """
    zero = np.dtype(dtype).type(0)
    chosen = formulas(dtype)
    larger, shifted_exponential = chosen.larger, chosen.shifted_exponential
    part_of_total = chosen.part_of_total

    @device_function
    def softmax_row(z, columns):
        largest = z[0]
        for k in range(1, columns):
            largest = larger(z[k], largest)
        total = zero
        for k in range(columns):
            z[k] = shifted_exponential(z[k], largest)
            total += z[k]
        for k in range(columns):
            z[k] = part_of_total(z[k], total)

    return softmax_row


@cache
def output_functions(dtype: str) -> OutputFunctions:
    real = np.dtype(dtype).type
    chosen = formulas(dtype)
    activate, softmax_row = chosen.activate, softmax_function(dtype)
    loss_value, loss_gradient = chosen.loss_value, chosen.loss_gradient
    epsilon = real(np.finfo(dtype).eps)
    zero, one = real(0), real(1)

    @device_function
    def activate_row(z, columns, output_activation):
        if output_activation == SOFTMAX:
            softmax_row(z, columns)
        else:
            for k in range(columns):
                z[k] = activate(output_activation, z[k])

    @device_function
    def differentiate_row(z, columns, output_activation, loss, targets, weight):
        scale = real(weight)
        if output_activation == SOFTMAX:
            softmax_row(z, columns)
            label = uint32(targets[0])
            row_loss = float64(loss_value(loss, one, zero, z[label], epsilon))
            for k in range(columns):
                target = one if k == label else zero
                z[k] = scale * loss_gradient(loss, target, z[k])
        else:
            row_loss = 0.0
            for k in range(columns):
                raw = z[k]
                output = activate(output_activation, raw)
                row_loss += loss_value(loss, targets[k], raw, output, epsilon)
                z[k] = scale * loss_gradient(loss, targets[k], output)
        return weight * row_loss

    return OutputFunctions(activate_row, differentiate_row)
