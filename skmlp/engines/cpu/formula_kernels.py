"""Loops around the registry's formulas, compiled on first use; drivers call their addresses."""

from functools import cache
from typing import Any

import numpy as np
from numba import carray, float32, float64, int64, types

from skmlp.engines.cpu.compilation import compile_kernel, specialize
from skmlp.network.activations import ACTIVATIONS, softmax
from skmlp.network.losses import LOSSES, Loss
from skmlp.network.optimizers import OPTIMIZERS

# Compiled kernels must outlive every call of their address.
_alive: list[Any] = []

NUMBA_TYPES = {"float32": float32, "float64": float64}


def _address(py_func: Any, arguments: tuple[Any, ...], key: str) -> int:
    kernel = compile_kernel(py_func, types.void(*arguments), key)
    _alive.append(kernel)
    return int(kernel.address)


def _types(dtype: str) -> tuple[Any, Any]:
    scalar = NUMBA_TYPES[dtype]
    return np.dtype(dtype).type, types.CPointer(scalar)


@cache
def activation_kernel(name: str, dtype: str) -> int:
    """``kernel(z, bias, rows, columns)``: ``z = value(z + bias)``, in place."""
    real, array = _types(dtype)
    value = specialize(ACTIVATIONS[name].value, real)

    def activate(z, bias, rows, columns):
        z = carray(z, (rows, columns))
        bias = carray(bias, columns)
        for i in range(rows):
            for j in range(columns):
                z[i, j] = value(z[i, j] + bias[j])

    return _address(activate, (array, array, int64, int64), f"{name} {dtype}")


@cache
def derivative_kernel(name: str, dtype: str) -> int:
    """``kernel(a, delta, size)``: ``delta *= derivative(a)``, in place."""
    real, array = _types(dtype)
    derivative = specialize(ACTIVATIONS[name].derivative, real)

    def backpropagate(a, delta, size):
        a = carray(a, size)
        delta = carray(delta, size)
        for i in range(size):
            delta[i] *= derivative(a[i])

    return _address(backpropagate, (array, array, int64), f"{name} {dtype}")


@cache
def output_kernel(name: str, dtype: str) -> int:
    """``kernel(z, bias, rows, columns)``: outputs of the network from ``z + bias``, in place."""
    if name != "softmax":
        return activation_kernel(name, dtype)
    real, array = _types(dtype)
    normalize = specialize(softmax, real)

    def activate(z, bias, rows, columns):
        z = carray(z, (rows, columns))
        bias = carray(bias, columns)
        for i in range(rows):
            for j in range(columns):
                z[i, j] += bias[j]
            normalize(z[i])

    return _address(activate, (array, array, int64, int64), f"softmax {dtype}")


@cache
def loss_kernel(loss_name: str, output_activation: str, dtype: str) -> int:
    """``kernel(z, bias, targets, weights, weighted, order, rows, columns, total)``.

    Turns `z` (rows, columns), the raw prediction without its bias, into the derivative of the
    weighted loss with respect to it, and writes the sum of the weighted losses to ``total[0]``.
    `targets` and `weights` belong to the whole data set and are gathered by the row numbers in
    `order`; unless `weighted`, all weights are one.
    """
    loss = LOSSES[loss_name, output_activation]
    real, array = _types(dtype)
    arguments = (
        *(array, array, array),
        *(types.CPointer(float64), int64, types.CPointer(int64), int64, int64),
        types.CPointer(float64),
    )
    make = _categorical_loss if loss.is_categorical else _elementwise_loss
    return _address(make(loss, real), arguments, f"{loss_name} {output_activation} {dtype}")


def _elementwise_loss(loss: Loss, real: Any) -> Any:
    activate = specialize(ACTIVATIONS[loss.output_activation].value, real)
    value = specialize(loss.value, real)
    gradient = specialize(loss.gradient, real)
    epsilon = real(np.finfo(real).eps)

    def loss_and_delta(z, bias, targets, weights, weighted, order, rows, columns, total):
        z = carray(z, (rows, columns))
        bias = carray(bias, columns)
        order = carray(order, rows)
        total = carray(total, 1)
        summed = 0.0
        for i in range(rows):
            row = order[i]
            row_loss = 0.0
            weight = weights[row] if weighted else 1.0
            for j in range(columns):
                target = targets[row * columns + j]
                raw = z[i, j] + bias[j]
                output = activate(raw)
                row_loss += value(target, raw, output, epsilon)
                z[i, j] = real(weight) * gradient(target, output)
            summed += weight * row_loss
        total[0] = summed

    return loss_and_delta


def _categorical_loss(loss: Loss, real: Any) -> Any:
    normalize = specialize(softmax, real)
    value = specialize(loss.value, real)
    gradient = specialize(loss.gradient, real)
    epsilon = real(np.finfo(real).eps)
    zero, one = real(0), real(1)

    def loss_and_delta(z, bias, targets, weights, weighted, order, rows, columns, total):
        z = carray(z, (rows, columns))
        bias = carray(bias, columns)
        order = carray(order, rows)
        total = carray(total, 1)
        summed = 0.0
        for i in range(rows):
            row = order[i]
            weight = weights[row] if weighted else 1.0
            for j in range(columns):
                z[i, j] += bias[j]
            normalize(z[i])
            label = int(targets[row])
            summed += weight * value(one, zero, z[i, label], epsilon)
            for j in range(columns):
                target = one if j == label else zero
                z[i, j] = real(weight) * gradient(target, z[i, j])
        total[0] = summed

    return loss_and_delta


@cache
def update_kernel(name: str, dtype: str) -> int:
    """``kernel(parameters, gradient, state, stride, size, settings, learning_rate, step)``.

    Updates `size` parameters and their state in place; state vector `s` starts ``s * stride``
    elements after `state`.
    """
    optimizer = OPTIMIZERS[name]
    real, array = _types(dtype)
    arguments = (*(array, array, array), int64, int64, types.CPointer(float64), float64, int64)
    make = {1: _update_with_one_state, 2: _update_with_two_states}[len(optimizer.state_names)]
    # The constants are computed in double precision and rounded once.
    constants = specialize(optimizer.constants, np.float64)
    update = specialize(optimizer.update, real)
    return _address(make(constants, update, real), arguments, f"{name} {dtype}")


def _update_with_one_state(constants: Any, update: Any, real: Any) -> Any:
    def update_parameters(p, g, state, stride, size, settings, learning_rate, step):
        p = carray(p, size)
        g = carray(g, size)
        first = carray(state, size)
        a, b, c, d = constants(settings, learning_rate, step)
        shared = (real(a), real(b), real(c), real(d))
        for i in range(size):
            p[i], first[i] = update(p[i], g[i], first[i], shared)

    return update_parameters


def _update_with_two_states(constants: Any, update: Any, real: Any) -> Any:
    def update_parameters(p, g, state, stride, size, settings, learning_rate, step):
        p = carray(p, size)
        g = carray(g, size)
        states = carray(state, stride + size)
        a, b, c, d = constants(settings, learning_rate, step)
        shared = (real(a), real(b), real(c), real(d))
        for i in range(size):
            p[i], states[i], states[stride + i] = update(
                p[i], g[i], states[i], states[stride + i], shared
            )

    return update_parameters
