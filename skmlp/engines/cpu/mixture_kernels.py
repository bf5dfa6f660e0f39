"""Kernels that mix samples, and what comes of both targets of a mixture, compiled on first use."""

from functools import cache

import numpy as np
from numba import float32, float64, int64, types

from skmlp.engines.cpu.compilation import specialize
from skmlp.engines.cpu.formula_kernels import address_of_kernel, types_of
from skmlp.engines.cpu.map_kernels import mask_formulas
from skmlp.engines.cpu.pointers import advance
from skmlp.network.mixing import share_of_own, shift_of_step


@cache
def mix_kernel(dtype: str) -> int:
    """``kernel(values, ld, rows, width, doubles, singles, is_double, row_stride, ...)``.

    Mixes the rows in `values`, of which the first is number `row` of its batch, with others. These
    are read where they lie in X, at ``doubles`` or ``singles``. The last arguments are
    ``column_stride, batch, batch_rows, row, others, seed, step, concentration``: the numbers of
    the batch's rows in `batch`, and room for those of the other rows. In step zero nothing is done.
    """
    real, array = types_of(dtype)
    step_word, *_ = mask_formulas()
    share_of = specialize(share_of_own, np.float64)
    shift_of = specialize(shift_of_step, np.float64)

    def mix(
        values,
        ld,
        rows,
        width,
        doubles,
        singles,
        is_double,
        row_stride,
        column_stride,
        batch,
        batch_rows,
        row,
        others,
        seed,
        step,
        concentration,
    ):
        if step == 0:
            return
        word = step_word(seed, step)
        own = share_of(word, concentration[0])
        share, rest = real(own), real(1.0 - own)
        shift = shift_of(word, batch_rows)
        for i in range(rows):
            other = others[i] = batch[(row + i + shift) % batch_rows]
            line = advance(values, i * ld)
            if is_double:
                double = advance(doubles, other * row_stride)
                for j in range(width):
                    line[j] = share * line[j] + rest * real(double[j * column_stride])
            else:
                single = advance(singles, other * row_stride)
                for j in range(width):
                    line[j] = share * line[j] + rest * real(single[j * column_stride])

    integers, doubles = types.CPointer(int64), types.CPointer(float64)
    arguments = (
        *(array, int64, int64, int64, doubles, types.CPointer(float32), int64, int64, int64),
        *(integers, int64, int64, integers, int64, int64, doubles),
    )
    return address_of_kernel(mix, arguments, dtype)


@cache
def blend_kernel(dtype: str) -> int:
    """``kernel(deltas, others, size, losses, other_losses, rows, seed, step, concentration)``.

    Mixes deltas and losses by a row's own target with those by the other one's.
    """
    real, array = types_of(dtype)
    step_word, *_ = mask_formulas()
    share_of = specialize(share_of_own, np.float64)

    def blend(deltas, others, size, losses, other_losses, rows, seed, step, concentration):
        own = share_of(step_word(seed, step), concentration[0])
        share, rest = real(own), real(1.0 - own)
        for i in range(size):
            deltas[i] = share * deltas[i] + rest * others[i]
        for i in range(rows):
            losses[i] = own * losses[i] + (1.0 - own) * other_losses[i]

    doubles = types.CPointer(float64)
    arguments = (array, array, int64, doubles, doubles, int64, int64, int64, doubles)
    return address_of_kernel(blend, arguments, dtype)
