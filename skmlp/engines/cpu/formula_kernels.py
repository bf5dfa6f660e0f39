"""Loops around the registry's formulas, compiled on first use; drivers call their addresses."""

from functools import cache
from typing import Any

import numpy as np
from numba import carray, float32, float64, int64, types

from skmlp.engines.cpu.compilation import compile_kernel, inner, specialize
from skmlp.engines.cpu.pointers import advance, loader, store_all
from skmlp.engines.cpu.products import columns_of_panel
from skmlp.engines.cpu.tables import (
    BLOCK_FIELDS,
    BLOCK_FIRST,
    BLOCK_HAS_INTERCEPTS,
    BLOCK_LAST,
    BLOCK_OFFSET,
    BLOCK_PANEL,
    GROUP_ALPHA,
    GROUP_FIELDS,
    GROUP_OF_COEFS,
    GROUP_OF_INTERCEPTS,
)
from skmlp.engines.cpu.tiles import lane_count
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


def _address(py_func: Any, arguments: tuple[Any, ...], key: str) -> int:
    kernel = compile_kernel(py_func, types.void(*arguments), key)
    _alive.append(kernel)
    return int(kernel.address)


def _types(dtype: str) -> tuple[Any, Any]:
    scalar = NUMBA_TYPES[dtype]
    return np.dtype(dtype).type, types.CPointer(scalar)


def group_scratch_size(columns: int) -> int:
    """Return how many elements of scratch memory loss and output kernels need."""
    return (2 * columns + 2) * GROUP


@cache
def activation_kernel(name: str, dtype: str) -> int:
    """``kernel(z, size)``: ``z = value(z)``, in place."""
    real, array = _types(dtype)
    value = specialize(ACTIVATIONS[name].value, real)

    def activate(z, size):
        for i in range(size):
            z[i] = value(z[i])

    return _address(activate, (array, int64), f"{name} {dtype}")


@cache
def derivative_kernel(name: str, dtype: str) -> int:
    """``kernel(a, delta, size)``: ``delta *= derivative(a)``, in place."""
    real, array = _types(dtype)
    derivative = specialize(ACTIVATIONS[name].derivative, real)

    def backpropagate(a, delta, size):
        for i in range(size):
            delta[i] *= derivative(a[i])

    return _address(backpropagate, (array, array, int64), f"{name} {dtype}")


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
    real, array = _types(dtype)
    make = _softmax_output if name == "softmax" else _elementwise_output
    arguments = (array, int64, int64, int64, array, array)
    return _address(make(name, real), arguments, f"{name} {dtype}")


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
    real, array = _types(dtype)
    doubles = types.CPointer(float64)
    arguments = (
        *(array, int64, array, doubles, int64, types.CPointer(int64), int64, int64),
        *(doubles, array),
    )
    make = _categorical_loss if loss.is_categorical else _elementwise_loss
    return _address(make(loss, real), arguments, f"{loss_name} {output_activation} {dtype}")


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
    """``kernel(settings, learning_rate, step, out)``: the numbers that a step's updates share.

    They are computed in double precision.
    """
    optimizer = OPTIMIZERS[name]
    constants = specialize(optimizer.constants, np.float64)
    doubles = types.CPointer(float64)

    def step_constants(settings, learning_rate, step, out):
        store_all(out, 1, 0, constants(settings, learning_rate, step))

    return _address(step_constants, (doubles, float64, int64, doubles), name)


def update_kernel(name: str, dtype: str, *, decays: bool = False) -> int:
    """``kernel(w, gradient, state, stride, size, alpha, inverse, keep, constants, penalty)``.

    Updates `size` parameters ``w`` and their state in place by the gradient
    ``(gradient + alpha * w) * inverse``; if it `decays`, they are multiplied by `keep` before
    the update. State vector `s` starts ``s * stride`` elements after `state`. `constants` comes
    from the `constants_kernel`; ``penalty[0]`` becomes the sum of the squares of the parameters
    as they were.
    """
    optimizer = OPTIMIZERS[name]
    # Optimizers may have a formula in common.
    return _update_kernel(
        optimizer.update, len(optimizer.states), optimizer.n_constants, dtype, decays
    )


@cache
def _update_kernel(formula: Any, n_states: int, n_constants: int, dtype: str, decays: bool) -> int:
    real, array = _types(dtype)
    doubles = types.CPointer(float64)
    update = specialize(formula, real)
    load_constants = loader(NUMBA_TYPES[dtype], n_constants)
    load_state = loader(NUMBA_TYPES[dtype], n_states)

    def update_parameters(p, g, state, stride, size, alpha, inverse, keep, constants, penalty):
        shared = load_constants(constants, 1, 0)
        penalized, scale, kept = real(alpha), real(inverse), real(keep)
        squares = 0.0
        for i in range(size):
            before = p[i]
            gradient = (g[i] + penalized * before) * scale
            squares += float(before) * float(before)
            start = kept * before if decays else before
            after = update(start, gradient, *load_state(state, stride, i), shared)
            p[i] = after[0]
            store_all(state, stride, i, after[1:])
        penalty[0] = squares

    arguments = (
        *(array, array, array, int64, int64),
        *(float64, float64, float64, doubles, doubles),
    )
    key = f"{formula.__name__} {dtype}{' decays' if decays else ''}"
    return _address(update_parameters, arguments, key)


@cache
def completion_kernel(dtype: str) -> int:
    """``kernel(w, gradient, other, adds, blocks, sequence, first, last, columns, ...)``.

    Completes the gradients of some blocks of a layer of `columns` columns, those in the table
    `blocks` that `sequence` numbers from `first` up to `last`: ``gradient += alpha * w``, and
    `other` too if it `adds` one. The last arguments are the table of groups, and `squares`, where
    ``squares[block]`` becomes the sum of the squares, padding left out.
    """
    real, array = _types(dtype)
    doubles, integers = types.CPointer(float64), types.CPointer(int64)

    def complete(w, gradient, other, adds, blocks, sequence, first, last, columns, groups, squares):
        of_coefs = real(groups[GROUP_OF_COEFS * GROUP_FIELDS + GROUP_ALPHA])
        of_intercepts = real(groups[GROUP_OF_INTERCEPTS * GROUP_FIELDS + GROUP_ALPHA])
        lanes = lane_count(w)
        for k in range(first, last):
            block = advance(blocks, sequence[k] * BLOCK_FIELDS)
            _, vectors, in_last = columns_of_panel(block[BLOCK_PANEL], columns, lanes)
            width = vectors * lanes
            used = width - lanes + in_last
            rows = block[BLOCK_LAST] - block[BLOCK_FIRST]
            start = block[BLOCK_OFFSET]
            total = 0.0
            for i in range(rows + block[BLOCK_HAS_INTERCEPTS]):
                alpha = of_coefs if i < rows else of_intercepts
                for j in range(start + i * width, start + i * width + used):
                    number = gradient[j] + other[j] if adds else gradient[j]
                    number += alpha * w[j]
                    gradient[j] = number
                    total += float(number) * float(number)
            squares[sequence[k]] = total

    arguments = (
        *(array, array, array, int64, integers, integers, int64, int64, int64),
        *(doubles, doubles),
    )
    return _address(complete, arguments, dtype)
