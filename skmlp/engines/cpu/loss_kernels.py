"""Loops around the formulas of losses and links: what the output layer is computed with."""

from functools import cache
from typing import Any

import numpy as np
from numba import carray, float64, from_dtype, int64, types

from skmlp.engines.cpu.compilation import check_compiles, inlined, inner, specialize
from skmlp.engines.cpu.formula_kernels import NUMBA_TYPES, address_of_kernel, types_of
from skmlp.engines.cpu.pointers import advance, loader
from skmlp.network.elementwise import exponential
from skmlp.network.links import LINKS, Link, log_softmax
from skmlp.network.losses import CUSTOM_LOSSES, Loss, loss_entry

# Output layers are narrow, often narrower than a vector register. Their formulas are therefore
# evaluated for so many rows at once, side by side; fewer rows are filled up to a multiple of what
# the compiler puts into one turn of a vectorized loop.
GROUP = 64
GROUP_UNIT = 32
# Besides two numbers for each unit: what categorical losses keep of a row.
SPARE_ROWS = 4


def group_scratch_size(columns: int) -> int:
    """Return how many elements of scratch memory loss and output kernels need."""
    return (2 * columns + SPARE_ROWS) * GROUP


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
    """``kernel(z, ld, rows, columns, targets, out, ld_out, scratch)``: a head's outputs.

    Rows of `z`, its raw predictions, lie `ld` apart, those of `out` `ld_out`. `targets` is the
    number of its targets.
    """
    link = LINKS[name]
    real, array = types_of(dtype)
    if link.is_categorical:
        make = _softmax_output
    elif link.is_cumulative:
        make = _cumulative_output
    else:
        make = {1: _elementwise_output, 2: _paired_output}[link.units_per_target]
    arguments = (array, int64, int64, int64, int64, array, int64, array)
    return address_of_kernel(make(link, real), arguments, f"{name} {dtype}")


def _softmax_output(link: Link, real: Any) -> Any:
    normalize = specialize(link.value, real)

    def output(z, ld, rows, columns, targets, out, ld_out, scratch):
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

    def output(z, ld, rows, columns, targets, out, ld_out, scratch):
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

    def output(z, ld, rows, columns, targets, out, ld_out, scratch):
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


def _cumulative_output(link: Link, real: Any) -> Any:
    value = specialize(link.value, real)
    increment = specialize(link.increment, real)

    def output(z, ld, rows, columns, targets, out, ld_out, scratch):
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            load_group(advance(z, first * ld), ld, count, group)
            for j in range(columns):
                for i in range(filled):
                    if j < targets:
                        group[j, i] = value(group[j, i])
                    else:
                        group[j, i] = group[j - targets, i] + increment(group[j, i])
            store_group(group, count, advance(out, first * ld_out), ld_out)

    return output


@cache
def loss_kernel(loss_name: str, output_activation: str, dtype: str) -> int:
    """Return the address of the kernel of a head's loss.

    ``kernel(z, ld, targets, stride, weights, weighted, order, rows, columns, target_columns,
    constants, head, losses, scratch)`` turns `z` (rows, columns), the head's raw prediction with
    rows `ld` apart, into the derivative of the weighted loss with respect to it, and writes each
    row's weighted loss to `losses`, or adds it unless `head` is zero. `targets` (target_columns of
    them, with rows `stride` apart) and `weights` belong to the whole data set and are gathered by
    the row numbers in `order`; unless `weighted`, all weights are one. `constants` are those of
    the loss.
    """
    loss = loss_entry(loss_name, output_activation)
    real, array = types_of(dtype)
    doubles = types.CPointer(float64)
    arguments = (
        *(array, int64, array, int64, doubles, int64, types.CPointer(int64), int64, int64, int64),
        *(doubles, int64, doubles, array),
    )
    if loss.is_categorical:
        make = _loss_of_classes if loss.takes_raw else _categorical_loss
    elif loss.has_any_number:
        make = _cumulative_loss
    else:
        make = {1: _elementwise_loss, 2: _paired_loss}[loss.units_per_target]
    key = f"{loss_name} {output_activation} {dtype}"
    return address_of_kernel(make(loss, real), arguments, key)


def formulas_of(loss: Loss, real: Any) -> tuple[Any, Any]:
    """Return a loss's value and gradient, compiled in one precision."""
    value, gradient = specialize(loss.value, real), specialize(loss.gradient, real)
    if (loss.name, loss.output_activation) in CUSTOM_LOSSES:
        scalar = NUMBA_TYPES[np.dtype(real).name]
        for role, formula, n_arguments in (("value", value, 4), ("gradient", gradient, 2)):
            check_compiles(formula, (scalar,) * n_arguments, f"The {role} of loss=Custom(...)")
    return value, gradient


def with_raw(loss: Loss, gradient: Any) -> Any:
    """Return a gradient that is given the raw prediction too, whether it takes that or not."""
    if loss.takes_raw:
        return gradient

    @inlined
    def of_output(target, raw, output, *constants):
        return gradient(target, output, *constants)

    return of_output


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
    value, own_gradient = formulas_of(loss, real)
    gradient = with_raw(loss, own_gradient)
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
        target_columns,
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
                    group[j, i] = gradient(target, raw, output, *own)
            for i in range(count):
                weight = weights[order[first + i]] if weighted else 1.0
                row_loss = 0.0
                for j in range(columns):
                    row_loss += wanted[j, i]
                    corner[i * ld + j] = real(weight) * group[j, i]
                note_loss(losses, first + i, head, weight * row_loss)

    return loss_and_delta


def _paired_loss(loss: Loss, real: Any) -> Any:
    value, gradient = formulas_of(loss, real)
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
        target_columns,
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
    value, gradient = formulas_of(loss, real)
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
        target_columns,
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


def _loss_of_classes(loss: Loss, real: Any) -> Any:
    normalize = specialize(log_softmax, real)
    exponential_of = specialize(exponential, real)
    value, gradient = formulas_of(loss, real)
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
        target_columns,
        constants,
        head,
        losses,
        scratch,
    ):
        own = read_constants(constants, 1, 0)
        spare = carray(advance(scratch, 2 * columns * GROUP), (SPARE_ROWS, GROUP))
        label, largest, total, row_loss = spare[0], spare[1], spare[2], spare[3]
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            slopes = carray(advance(scratch, columns * GROUP), (columns, filled))
            corner = advance(z, first * ld)
            load_group(corner, ld, count, group)
            normalize(group, largest, total)
            for i in range(filled):
                label[i] = targets[order[first + min(i, count - 1)] * stride]
                total[i] = zero
                row_loss[i] = zero
            for j in range(columns):
                for i in range(filled):
                    target = one if label[i] == real(j) else zero
                    log_output = group[j, i]
                    output = exponential_of(log_output)
                    slope = gradient(target, log_output, output, *own)
                    row_loss[i] += value(target, log_output, output, epsilon, *own)
                    total[i] += slope
                    slopes[j, i] = slope
                    group[j, i] = output
            for j in range(columns):
                for i in range(filled):
                    group[j, i] = slopes[j, i] - group[j, i] * total[i]
            for i in range(count):
                weight = weights[order[first + i]] if weighted else 1.0
                note_loss(losses, first + i, head, weight * row_loss[i])
                for j in range(columns):
                    corner[i * ld + j] = real(weight) * group[j, i]

    return loss_and_delta


def _cumulative_loss(loss: Loss, real: Any) -> Any:
    activate = specialize(loss.link.value, real)
    increment = specialize(loss.link.increment, real)
    slope_of = specialize(loss.link.increment_slope, real)
    value, gradient = formulas_of(loss, real)
    read_constant = loader(from_dtype(np.dtype(real)), 1)
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
        target_columns,
        constants,
        head,
        losses,
        scratch,
    ):
        spare = carray(advance(scratch, 2 * columns * GROUP), (SPARE_ROWS, GROUP))
        moved, row_loss = spare[0], spare[1]
        for first in range(0, rows, GROUP):
            count, filled = group_size(rows - first)
            group = carray(scratch, (columns, filled))
            # The targets, and behind them how far a raw prediction moves its output; none is
            # needed for the first ones.
            other = carray(advance(scratch, columns * GROUP), (columns, filled))
            wanted = carray(advance(scratch, columns * GROUP), (target_columns, filled))
            corner = advance(z, first * ld)
            load_group(corner, ld, count, group)
            load_targets(targets, stride, advance(order, first), count, wanted)
            for j in range(columns):
                for i in range(filled):
                    if j < target_columns:
                        group[j, i] = activate(group[j, i])
                    else:
                        other[j, i] = slope_of(group[j, i])
                        group[j, i] = group[j - target_columns, i] + increment(group[j, i])
            for i in range(filled):
                row_loss[i] = zero
            for target_column in range(target_columns):
                for i in range(filled):
                    moved[i] = zero
                for number in range(columns // target_columns - 1, -1, -1):
                    j = number * target_columns + target_column
                    own = read_constant(constants, 1, number)
                    for i in range(filled):
                        target, output = wanted[target_column, i], group[j, i]
                        row_loss[i] += value(target, output, output, epsilon, *own)
                        moved[i] += gradient(target, output, *own)
                        group[j, i] = moved[i] * (other[j, i] if number > 0 else one)
            for i in range(count):
                weight = weights[order[first + i]] if weighted else 1.0
                note_loss(losses, first + i, head, weight * row_loss[i])
                for j in range(columns):
                    corner[i * ld + j] = real(weight) * group[j, i]

    return loss_and_delta
