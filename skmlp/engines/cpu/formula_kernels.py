"""Loops around the registry's formulas, compiled on first use; drivers call their addresses."""

from functools import cache
from typing import Any

import numpy as np
from numba import carray, float32, float64, from_dtype, int64, types

from skmlp.engines.cpu.compilation import compile_kernel, inner, specialize
from skmlp.engines.cpu.pointers import advance, loader, store_all
from skmlp.engines.cpu.products import columns_of_panel
from skmlp.engines.cpu.tables import (
    BLOCK_FIELDS,
    BLOCK_FIRST,
    BLOCK_LAST,
    BLOCK_OFFSET,
    BLOCK_PANEL,
    BLOCK_TAIL,
    GROUP_ALPHA,
    GROUP_FIELDS,
    GROUP_OF_COEFS,
    GROUP_OF_INTERCEPTS,
)
from skmlp.engines.cpu.tiles import lane_count
from skmlp.network.links import LINKS, Link
from skmlp.network.losses import LOSSES, Loss
from skmlp.network.optimizers import OPTIMIZERS, descend
from skmlp.network.penalties import PENALTIES

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
    read_constants = loader(from_dtype(np.dtype(real)), len(loss.constants))
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
        own = read_constants(constants, 1, 0)
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
    read_constants = loader(from_dtype(np.dtype(real)), len(loss.constants))
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
        own = read_constants(constants, 1, 0)
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
    read_constants = loader(from_dtype(np.dtype(real)), len(loss.constants))
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
        own = read_constants(constants, 1, 0)
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
    """Return the address of the kernel of what a step's updates share.

    ``kernel(settings, learning_rate, step, numbers, out)``, all in double precision. `numbers` are
    those that the optimizer carries from step to step, as they are in this one.
    """
    optimizer = OPTIMIZERS[name]
    constants = specialize(optimizer.constants, np.float64)
    load_numbers = loader(float64, len(optimizer.numbers))
    doubles = types.CPointer(float64)

    def step_constants(settings, learning_rate, step, numbers, out):
        carried = load_numbers(numbers, 1, 0)
        store_all(out, 1, 0, constants(settings, learning_rate, step, *carried))

    return address_of_kernel(step_constants, (doubles, float64, int64, doubles, doubles), name)


@cache
def carry_kernel(name: str) -> int:
    """``kernel(settings, step, numbers)``: the numbers that are carried, from the step before."""
    optimizer = OPTIMIZERS[name]
    carry = specialize(optimizer.carry, np.float64)
    load_numbers = loader(float64, len(optimizer.numbers))
    doubles = types.CPointer(float64)

    def carry_numbers(settings, step, numbers):
        store_all(numbers, 1, 0, carry(settings, step, *load_numbers(numbers, 1, 0)))

    return address_of_kernel(carry_numbers, (doubles, int64, doubles), name)


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


def descend_kernel(dtype: str, *, decays: bool = False) -> int:
    """Return the kernel that stands for `update_kernel` where the gradient is a direction.

    The only one of the `constants` is the learning rate, and there is no state.
    """
    return _update_kernel(descend, 0, 1, dtype, decays)


@cache
def average_kernel(dtype: str) -> int:
    """``kernel(averages, w, size, rate)``: ``averages += rate * (w - averages)``."""
    real, array = types_of(dtype)

    def average(averages, w, size, rate):
        own = real(rate)
        if rate == 1.0:
            for i in range(size):
                averages[i] = w[i]
        else:
            for i in range(size):
                averages[i] += own * (w[i] - averages[i])

    return address_of_kernel(average, (array, array, int64, float64), dtype)


@cache
def _update_kernel(formula: Any, n_states: int, n_constants: int, dtype: str, decays: bool) -> int:
    real, array = types_of(dtype)
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
    return address_of_kernel(update_parameters, arguments, key)


@cache
def completion_kernel(penalty: str, dtype: str) -> int:
    """``kernel(w, gradient, other, adds, blocks, sequence, first, last, columns, ...)``.

    Completes the gradients of some blocks of a layer of `columns` columns, those in the table
    `blocks` that `sequence` numbers from `first` up to `last`: adds `other` if it `adds` one, and
    `alpha` times the gradient of the penalty. The last arguments are ``lower, upper, is_bounded,
    limit, groups, constants, squares, charges``: if it `is_bounded`, the entries of parameters
    between equal bounds become zero; all are clipped to `limit`; ``squares[block]`` becomes the
    sum of their squares, padding left out, and ``charges[block]`` what the penalty, if it is not
    L2, charges for the coefficients. `constants` are those of the penalty.
    """
    real, array = types_of(dtype)
    doubles, integers = types.CPointer(float64), types.CPointer(int64)
    entry, zero, is_charged = PENALTIES[penalty], real(0), penalty != "l2"
    value, slope = (specialize(formula, real) for formula in (entry.value, entry.gradient))
    load = loader(NUMBA_TYPES[dtype], len(entry.constants))

    def complete(
        w,
        gradient,
        other,
        adds,
        blocks,
        sequence,
        first,
        last,
        columns,
        lower,
        upper,
        is_bounded,
        limit,
        groups,
        constants,
        squares,
        charges,
    ):
        own, largest = load(constants, 1, 0), real(limit)
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
            total, charge = 0.0, 0.0
            for i in range(rows + block[BLOCK_TAIL]):
                alpha = of_coefs if i < rows else of_intercepts
                for j in range(start + i * width, start + i * width + used):
                    number = gradient[j] + other[j] if adds else gradient[j]
                    number += alpha * slope(w[j], *own)
                    if is_bounded and lower[j] == upper[j]:
                        number = zero
                    # NaN is not larger, and stays in the gradient.
                    if number > largest:
                        number = largest
                    elif number < -largest:
                        number = -largest
                    gradient[j] = number
                    total += float(number) * float(number)
                    if is_charged and i < rows:
                        charge += float(value(w[j], *own))
            squares[sequence[k]] = total
            if is_charged:
                charges[sequence[k]] = charge

    arguments = (
        *(array, array, array, int64, integers, integers, int64, int64, int64),
        *(array, array, int64, float64, doubles, doubles, doubles, doubles),
    )
    return address_of_kernel(complete, arguments, f"{penalty} {dtype}")
