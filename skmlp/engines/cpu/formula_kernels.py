"""Loops around the registry's formulas, compiled on first use; drivers call their addresses."""

from functools import cache
from typing import Any

import numpy as np
from numba import carray, float32, float64, int64, types

from skmlp.engines.cpu.compilation import compile_kernel, inner, specialize
from skmlp.engines.cpu.pointers import advance
from skmlp.network.activations import ACTIVATIONS, softmax
from skmlp.network.losses import LOSSES, Loss
from skmlp.network.optimizers import OPTIMIZERS

# Compiled kernels must outlive every call of their address.
_alive: list[Any] = []

NUMBA_TYPES = {"float32": float32, "float64": float64}

# Output layers are narrow, often narrower than a vector register. Their formulas are therefore
# evaluated for so many rows at once, side by side; fewer rows are filled up to a multiple of what
# the compiler puts into one turn of a vectorized loop.
GROUP = 64
GROUP_UNIT = 32


def address_of_kernel(py_func: Any, arguments: tuple[Any, ...], key: str) -> int:
    kernel = compile_kernel(py_func, types.void(*arguments), key)
    _alive.append(kernel)
    return int(kernel.address)


def types_of(dtype: str) -> tuple[Any, Any]:
    scalar = NUMBA_TYPES[dtype]
    return np.dtype(dtype).type, types.CPointer(scalar)


def group_scratch_size(columns: int) -> int:
    """Return how many elements of scratch memory loss and output kernels need."""
    return (2 * columns + 2) * GROUP


@inner
def group_size(rows):
    """Return how many of the next rows to take together, and to how many they are filled up."""
    count = min(GROUP, rows)
    return count, (count + GROUP_UNIT - 1) // GROUP_UNIT * GROUP_UNIT


@inner
def load_group(matrix, ld, count, group):
    """``group[j, i] = matrix[i, j]``; rows beyond `count` repeat the last one."""
    columns, filled = group.shape
    for i in range(filled):
        row = min(i, count - 1) * ld
        for j in range(columns):
            group[j, i] = matrix[row + j]


@inner
def store_group(group, count, matrix, ld):
    """``matrix[i, j] = group[j, i]`` for the first `count` rows."""
    columns, _ = group.shape
    for i in range(count):
        for j in range(columns):
            matrix[i * ld + j] = group[j, i]


@cache
def output_kernel(name: str, dtype: str) -> int:
    """``kernel(z, ld, rows, columns, out, scratch)``: outputs of the network from `z`.

    `z` has rows `ld` apart, those of `out` are contiguous.
    """
    real, array = types_of(dtype)
    make = _softmax_output if name == "softmax" else _elementwise_output
    arguments = (array, int64, int64, int64, array, array)
    return address_of_kernel(make(name, real), arguments, f"{name} {dtype}")


def _softmax_output(name: str, real: Any) -> Any:
    normalize = specialize(softmax, real)

    def output(z, ld, rows, columns, out, scratch):
        spare = carray(advance(scratch, columns * GROUP), GROUP)
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            load_group(advance(z, first * ld), ld, count, group)
            normalize(group, spare)
            store_group(group, count, advance(out, first * columns), columns)

    return output


def _elementwise_output(name: str, real: Any) -> Any:
    value = specialize(ACTIVATIONS[name].value, real)

    def output(z, ld, rows, columns, out, scratch):
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            load_group(advance(z, first * ld), ld, count, group)
            for j in range(columns):
                for i in range(filled):
                    group[j, i] = value(group[j, i])
            store_group(group, count, advance(out, first * columns), columns)

    return output


@cache
def loss_kernel(loss_name: str, output_activation: str, dtype: str) -> int:
    """``kernel(z, ld, targets, weights, weighted, order, rows, columns, losses, scratch)``.

    Turns `z` (rows, columns), the raw prediction with rows `ld` apart, into the derivative of the
    weighted loss with respect to it, and writes each row's weighted loss to `losses`. `targets`
    and `weights` belong to the whole data set and are gathered by the row numbers in `order`;
    unless `weighted`, all weights are one.
    """
    loss = LOSSES[loss_name, output_activation]
    real, array = types_of(dtype)
    doubles = types.CPointer(float64)
    arguments = (
        *(array, int64, array, doubles, int64, types.CPointer(int64), int64, int64),
        *(doubles, array),
    )
    make = _categorical_loss if loss.is_categorical else _elementwise_loss
    key = f"{loss_name} {output_activation} {dtype}"
    return address_of_kernel(make(loss, real), arguments, key)


def _elementwise_loss(loss: Loss, real: Any) -> Any:
    activate = specialize(ACTIVATIONS[loss.output_activation].value, real)
    value = specialize(loss.value, real)
    gradient = specialize(loss.gradient, real)
    epsilon = real(np.finfo(real).eps)

    def loss_and_delta(z, ld, targets, weights, weighted, order, rows, columns, losses, scratch):
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            wanted = carray(advance(scratch, columns * GROUP), (columns, filled))
            corner = advance(z, first * ld)
            load_group(corner, ld, count, group)
            for i in range(filled):
                row = order[first + min(i, count - 1)]
                for j in range(columns):
                    wanted[j, i] = targets[row * columns + j]
            for j in range(columns):
                for i in range(filled):
                    raw = group[j, i]
                    target = wanted[j, i]
                    output = activate(raw)
                    wanted[j, i] = value(target, raw, output, epsilon)
                    group[j, i] = gradient(target, output)
            for i in range(count):
                weight = weights[order[first + i]] if weighted else 1.0
                row_loss = 0.0
                for j in range(columns):
                    row_loss += wanted[j, i]
                    corner[i * ld + j] = real(weight) * group[j, i]
                losses[first + i] = weight * row_loss

    return loss_and_delta


def _categorical_loss(loss: Loss, real: Any) -> Any:
    normalize = specialize(softmax, real)
    value = specialize(loss.value, real)
    gradient = specialize(loss.gradient, real)
    epsilon = real(np.finfo(real).eps)
    zero, one = real(0), real(1)

    def loss_and_delta(z, ld, targets, weights, weighted, order, rows, columns, losses, scratch):
        label = carray(advance(scratch, columns * GROUP), GROUP)
        picked = carray(advance(scratch, (columns + 1) * GROUP), GROUP)
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            corner = advance(z, first * ld)
            load_group(corner, ld, count, group)
            normalize(group, picked)
            for i in range(filled):
                label[i] = targets[order[first + min(i, count - 1)]]
                picked[i] = group[int(label[i]), i]
            for i in range(filled):
                picked[i] = value(one, zero, picked[i], epsilon)
            for j in range(columns):
                for i in range(filled):
                    target = one if label[i] == real(j) else zero
                    group[j, i] = gradient(target, group[j, i])
            for i in range(count):
                weight = weights[order[first + i]] if weighted else 1.0
                losses[first + i] = weight * picked[i]
                for j in range(columns):
                    corner[i * ld + j] = real(weight) * group[j, i]

    return loss_and_delta


@cache
def constants_kernel(name: str) -> int:
    """``kernel(settings, learning_rate, step, out)``: four numbers that a step's updates share.

    They are computed in double precision.
    """
    constants = specialize(OPTIMIZERS[name].constants, np.float64)
    doubles = types.CPointer(float64)

    def step_constants(settings, learning_rate, step, out):
        out[0], out[1], out[2], out[3] = constants(settings, learning_rate, step)

    return address_of_kernel(step_constants, (doubles, float64, int64, doubles), name)


@cache
def update_kernel(name: str, dtype: str) -> int:
    """``kernel(parameters, gradient, state, stride, size, alpha, inverse, constants, penalty)``.

    Updates `size` parameters ``w`` and their state in place by the gradient
    ``(gradient + alpha * w) * inverse``; state vector `s` starts ``s * stride`` elements after
    `state`. `constants` comes from the `constants_kernel`; ``penalty[0]`` becomes the sum of the
    squares of the parameters as they were.
    """
    optimizer = OPTIMIZERS[name]
    real, array = types_of(dtype)
    doubles = types.CPointer(float64)
    arguments = (*(array, array, array), int64, int64, float64, float64, doubles, doubles)
    make = {1: _update_with_one_state, 2: _update_with_two_states}[len(optimizer.state_names)]
    update = specialize(optimizer.update, real)
    return address_of_kernel(make(update, real), arguments, f"{name} {dtype}")


def _update_with_one_state(update: Any, real: Any) -> Any:
    def update_parameters(p, g, state, stride, size, alpha, inverse, constants, penalty):
        shared = (real(constants[0]), real(constants[1]), real(constants[2]), real(constants[3]))
        decay, scale = real(alpha), real(inverse)
        squares = 0.0
        for i in range(size):
            before = p[i]
            gradient = (g[i] + decay * before) * scale
            squares += float(before) * float(before)
            parameter, first = update(before, gradient, state[i], shared)
            p[i] = parameter
            state[i] = first
        penalty[0] = squares

    return update_parameters


def _update_with_two_states(update: Any, real: Any) -> Any:
    def update_parameters(p, g, state, stride, size, alpha, inverse, constants, penalty):
        shared = (real(constants[0]), real(constants[1]), real(constants[2]), real(constants[3]))
        decay, scale = real(alpha), real(inverse)
        other = advance(state, stride)
        squares = 0.0
        for i in range(size):
            before = p[i]
            gradient = (g[i] + decay * before) * scale
            squares += float(before) * float(before)
            parameter, first, second = update(before, gradient, state[i], other[i], shared)
            p[i] = parameter
            state[i] = first
            other[i] = second
        penalty[0] = squares

    return update_parameters
