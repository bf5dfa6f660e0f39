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
    GROUP_OF_COEFS,
    GROUP_OF_INTERCEPTS,
)
from skmlp.engines.cpu.tiles import lane_count
from skmlp.network.optimizers import OPTIMIZERS

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
    """``kernel(settings, learning_rate, step, out)``: the numbers that a step's updates share.

    They are computed in double precision.
    """
    optimizer = OPTIMIZERS[name]
    constants = specialize(optimizer.constants, np.float64)
    doubles = types.CPointer(float64)

    def step_constants(settings, learning_rate, step, out):
        store_all(out, 1, 0, constants(settings, learning_rate, step))

    return address_of_kernel(step_constants, (doubles, float64, int64, doubles), name)


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
def completion_kernel(dtype: str) -> int:
    """``kernel(w, gradient, other, adds, blocks, sequence, first, last, columns, ...)``.

    Completes the gradients of some blocks of a layer of `columns` columns, those in the table
    `blocks` that `sequence` numbers from `first` up to `last`: ``gradient += alpha * w``, and
    `other` too if it `adds` one. The last arguments are the table of groups, and `squares`, where
    ``squares[block]`` becomes the sum of the squares, padding left out.
    """
    real, array = types_of(dtype)
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
            for i in range(rows + block[BLOCK_TAIL]):
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
    return address_of_kernel(complete, arguments, dtype)
