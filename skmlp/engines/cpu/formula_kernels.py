"""Loops around the registry's formulas, compiled on first use; drivers call their addresses."""

from functools import cache
from typing import Any

import numpy as np
from numba import carray, float32, float64, int64, njit, types

from skmlp.engines.cpu.compilation import OPTIONS, compile_kernel, inner, specialize
from skmlp.engines.cpu.pointers import advance
from skmlp.network.links import LINKS, Link
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


def address_of_kernel(
    py_func: Any, arguments: tuple[Any, ...], key: str, *, keeps_order: bool = False
) -> int:
    kernel = compile_kernel(py_func, types.void(*arguments), key, keeps_order=keeps_order)
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
    """``kernel(z, ld, rows, columns, out, ld_out, scratch)``: a head's outputs from its `z`.

    Rows of `z` lie `ld` apart, those of `out` `ld_out`.
    """
    link = LINKS[name]
    real, array = types_of(dtype)
    makers = {1: _elementwise_output, 2: _paired_output}
    make = _softmax_output if link.is_categorical else makers[link.units_per_target]
    arguments = (array, int64, int64, int64, array, int64, array)
    return address_of_kernel(make(link, real), arguments, f"{name} {dtype}")


def _softmax_output(link: Link, real: Any) -> Any:
    normalize = specialize(link.value, real)

    def output(z, ld, rows, columns, out, ld_out, scratch):
        spare = carray(advance(scratch, columns * GROUP), GROUP)
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            load_group(advance(z, first * ld), ld, count, group)
            normalize(group, spare)
            store_group(group, count, advance(out, first * ld_out), ld_out)

    return output


def _elementwise_output(link: Link, real: Any) -> Any:
    value = specialize(link.value, real)

    def output(z, ld, rows, columns, out, ld_out, scratch):
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            load_group(advance(z, first * ld), ld, count, group)
            for j in range(columns):
                for i in range(filled):
                    group[j, i] = value(group[j, i])
            store_group(group, count, advance(out, first * ld_out), ld_out)

    return output


def _paired_output(link: Link, real: Any) -> Any:
    value = specialize(link.value, real)

    def output(z, ld, rows, columns, out, ld_out, scratch):
        half = columns // 2
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            load_group(advance(z, first * ld), ld, count, group)
            for j in range(half):
                for i in range(filled):
                    group[j, i], group[half + j, i] = value(group[j, i], group[half + j, i])
            store_group(group, count, advance(out, first * ld_out), ld_out)

    return output


@cache
def loss_kernel(loss_name: str, output_activation: str, dtype: str) -> int:
    """Return the address of the kernel of a head's loss.

    ``kernel(z, ld, targets, stride, weights, weighted, order, rows, columns, constants, head,
    losses, scratch)`` turns `z` (rows, columns), the head's raw prediction with rows `ld` apart,
    into the derivative of the weighted loss with respect to it, and writes each row's weighted
    loss to `losses`, or adds it unless `head` is zero. `targets`, with rows `stride` apart, and
    `weights` belong to the whole data set and are gathered by the row numbers in `order`; unless
    `weighted`, all weights are one. `constants` are those of the loss.
    """
    loss = LOSSES[loss_name, output_activation]
    real, array = types_of(dtype)
    doubles = types.CPointer(float64)
    arguments = (
        *(array, int64, array, int64, doubles, int64, types.CPointer(int64), int64, int64),
        *(doubles, int64, doubles, array),
    )
    makers = {1: _elementwise_loss, 2: _paired_loss}
    make = _categorical_loss if loss.is_categorical else makers[loss.units_per_target]
    key = f"{loss_name} {output_activation} {dtype}"
    return address_of_kernel(make(loss, real), arguments, key)


def constants_reader(count: int, real: Any) -> Any:
    """Return a compiled function that reads so many doubles as a tuple in one precision.

    They are read before a loop: inside it they would keep it from being vectorized.
    """
    readers = {
        0: lambda constants: (),
        1: lambda constants: (real(constants[0]),),
        2: lambda constants: (real(constants[0]), real(constants[1])),
        3: lambda constants: (real(constants[0]), real(constants[1]), real(constants[2])),
    }
    return njit(**OPTIONS)(readers[count])


@inner
def load_targets(targets, stride, order, count, group):
    """``group[j, i] = targets[order[i], j]``; rows beyond `count` repeat the last one."""
    columns, filled = group.shape
    for i in range(filled):
        row = order[min(i, count - 1)] * stride
        for j in range(columns):
            group[j, i] = targets[row + j]


@inner
def note_loss(losses, row, head, loss):
    """Write a row's loss, or add it to those of the heads before."""
    losses[row] = loss if head == 0 else losses[row] + loss


def _elementwise_loss(loss: Loss, real: Any) -> Any:
    activate = specialize(loss.link.value, real)
    value = specialize(loss.value, real)
    gradient = specialize(loss.gradient, real)
    read_constants = constants_reader(len(loss.constants), real)
    epsilon = real(np.finfo(real).eps)

    def loss_and_delta(
        z,
        ld,
        targets,
        stride,
        weights,
        weighted,
        order,
        rows,
        columns,
        constants,
        head,
        losses,
        scratch,
    ):
        own = read_constants(constants)
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            wanted = carray(advance(scratch, columns * GROUP), (columns, filled))
            corner = advance(z, first * ld)
            load_group(corner, ld, count, group)
            load_targets(targets, stride, advance(order, first), count, wanted)
            for j in range(columns):
                for i in range(filled):
                    raw = group[j, i]
                    target = wanted[j, i]
                    output = activate(raw)
                    wanted[j, i] = value(target, raw, output, epsilon, *own)
                    group[j, i] = gradient(target, output, *own)
            for i in range(count):
                weight = weights[order[first + i]] if weighted else 1.0
                row_loss = 0.0
                for j in range(columns):
                    row_loss += wanted[j, i]
                    corner[i * ld + j] = real(weight) * group[j, i]
                note_loss(losses, first + i, head, weight * row_loss)

    return loss_and_delta


def _paired_loss(loss: Loss, real: Any) -> Any:
    value = specialize(loss.value, real)
    gradient = specialize(loss.gradient, real)
    read_constants = constants_reader(len(loss.constants), real)
    epsilon = real(np.finfo(real).eps)

    def loss_and_delta(
        z,
        ld,
        targets,
        stride,
        weights,
        weighted,
        order,
        rows,
        columns,
        constants,
        head,
        losses,
        scratch,
    ):
        own = read_constants(constants)
        half = columns // 2
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            wanted = carray(advance(scratch, columns * GROUP), (half, filled))
            corner = advance(z, first * ld)
            load_group(corner, ld, count, group)
            load_targets(targets, stride, advance(order, first), count, wanted)
            for j in range(half):
                for i in range(filled):
                    raw, other = group[j, i], group[half + j, i]
                    target = wanted[j, i]
                    wanted[j, i] = value(target, raw, other, epsilon, *own)
                    group[j, i], group[half + j, i] = gradient(target, raw, other, *own)
            for i in range(count):
                weight = weights[order[first + i]] if weighted else 1.0
                row_loss = 0.0
                for j in range(half):
                    row_loss += wanted[j, i]
                for j in range(columns):
                    corner[i * ld + j] = real(weight) * group[j, i]
                note_loss(losses, first + i, head, weight * row_loss)

    return loss_and_delta


def _categorical_loss(loss: Loss, real: Any) -> Any:
    normalize = specialize(loss.link.value, real)
    value = specialize(loss.value, real)
    gradient = specialize(loss.gradient, real)
    read_constants = constants_reader(len(loss.constants), real)
    epsilon = real(np.finfo(real).eps)
    zero, one = real(0), real(1)

    def loss_and_delta(
        z,
        ld,
        targets,
        stride,
        weights,
        weighted,
        order,
        rows,
        columns,
        constants,
        head,
        losses,
        scratch,
    ):
        own = read_constants(constants)
        label = carray(advance(scratch, columns * GROUP), GROUP)
        picked = carray(advance(scratch, (columns + 1) * GROUP), GROUP)
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            corner = advance(z, first * ld)
            load_group(corner, ld, count, group)
            normalize(group, picked)
            for i in range(filled):
                label[i] = targets[order[first + min(i, count - 1)] * stride]
                picked[i] = group[int(label[i]), i]
            for i in range(filled):
                picked[i] = value(one, zero, picked[i], epsilon, *own)
            for j in range(columns):
                for i in range(filled):
                    target = one if label[i] == real(j) else zero
                    group[j, i] = gradient(target, group[j, i], *own)
            for i in range(count):
                weight = weights[order[first + i]] if weighted else 1.0
                note_loss(losses, first + i, head, weight * picked[i])
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
