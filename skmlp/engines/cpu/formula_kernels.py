"""Loops around the registry's formulas, compiled on first use; drivers call their addresses."""

from functools import cache
from typing import Any

import numpy as np
from numba import float32, float64, int64, types

from skmlp.engines.cpu.compilation import compile_kernel, specialize
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
    GROUP_GRADIENT,
    GROUP_ROWS,
)
from skmlp.engines.cpu.tiles import lane_count
from skmlp.network.optimizers import OPTIMIZERS, descend
from skmlp.network.penalties import PENALTIES

# Compiled kernels must outlive every call of their address.
_alive: list[Any] = []

NUMBA_TYPES = {"float32": float32, "float64": float64}


def address_of_kernel(
    py_func: Any, arguments: tuple[Any, ...], key: str, *, keeps_order: bool = False
) -> int:
    kernel = compile_kernel(py_func, types.void(*arguments), key, keeps_order=keeps_order)
    _alive.append(kernel)
    return int(kernel.address)


def types_of(dtype: str) -> tuple[Any, Any]:
    scalar = NUMBA_TYPES[dtype]
    return np.dtype(dtype).type, types.CPointer(scalar)


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

    The only one of the `constants` is the learning rate, and there is no state. With a rate of zero
    all stays what it is.
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
    `alpha` times the gradient of the penalty, and multiplies by the factor of each group of
    parameters. The last arguments are ``lower, upper, is_bounded, limit, groups, constants,
    squares, charges``: `groups` has the layer's, if it `is_bounded`, the entries of parameters
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
        lanes = lane_count(w)
        for k in range(first, last):
            block = advance(blocks, sequence[k] * BLOCK_FIELDS)
            _, vectors, in_last = columns_of_panel(block[BLOCK_PANEL], columns, lanes)
            width = vectors * lanes
            used = width - lanes + in_last
            rows = block[BLOCK_LAST] - block[BLOCK_FIRST]
            start = block[BLOCK_OFFSET]
            total, charge = 0.0, 0.0
            group, end = groups, rows
            alpha, factor = real(group[GROUP_ALPHA]), real(group[GROUP_GRADIENT])
            for i in range(rows + block[BLOCK_TAIL]):
                if i == end:
                    group = advance(group, GROUP_FIELDS)
                    end += int(group[GROUP_ROWS])
                    alpha, factor = real(group[GROUP_ALPHA]), real(group[GROUP_GRADIENT])
                for j in range(start + i * width, start + i * width + used):
                    number = gradient[j] + other[j] if adds else gradient[j]
                    number += alpha * slope(w[j], *own)
                    # Not a product where that is zero: a gradient may be infinite.
                    number = zero if factor == zero else factor * number
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
