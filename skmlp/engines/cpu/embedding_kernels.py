"""Kernels of the inputs: what columns of X become, their scale, and the way back.

Each takes some rows at once, in which it goes from column to column: the loops of formulas run over
rows. On the way back a column of X belongs to one thread, which sums over rows in order.
"""

from functools import cache
from typing import Any

from numba import int64, types

from skmlp.engines.cpu.compilation import specialize
from skmlp.engines.cpu.formula_kernels import NUMBA_TYPES, address_of_kernel, types_of
from skmlp.engines.cpu.pointers import advance, float64_pointer, loader, pointer_at
from skmlp.engines.cpu.products import ROWS_AT_ONCE
from skmlp.engines.cpu.tables import (
    DELTAS,
    EMBED_COLUMNS,
    EMBED_CONSTANTS,
    EMBED_FIRST,
    EMBED_FIRST_GIVEN,
    EMBED_FIRST_LEARNED,
    EMBED_GIVEN,
    EMBED_LEARNED,
    EMBED_START,
    EMBED_WIDTH,
    EMBEDDED,
    FACTOR_SUMS,
    FACTORS,
    GIVEN,
    LD,
    LEARNED,
    LEARNED_SUMS,
    OUTPUTS,
    UNITS,
    X_LD,
    X_ROWS,
)
from skmlp.network.embeddings import EMBEDDINGS


@cache
def embed_kernel(name: str, dtype: str) -> int:
    """``kernel(block, inputs, buffer, parameters, first, last, scratch)``: embed columns of X.

    `block` is a row of the table of embeddings, and `inputs` that of the inputs in the table of
    layers. Takes rows `first` to `last` of a slab.
    """
    _, array = types_of(dtype)
    entry = EMBEDDINGS[name]
    value = specialize(entry.value, types_of(dtype)[0])
    load = loader(NUMBA_TYPES[dtype], len(entry.constants))

    def embed(block, inputs, buffer, parameters, first, last, scratch):
        shared = load(float64_pointer(block[EMBED_CONSTANTS]), 1, 0)
        all_given = pointer_at(inputs[GIVEN], buffer)
        x, room = scratch, advance(scratch, ROWS_AT_ONCE)
        x_ld, ld = inputs[X_LD], inputs[LD]
        for start in range(first, last, ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, last - start)
            for j in range(block[EMBED_COLUMNS]):
                column = advance(buffer, inputs[X_ROWS] + start * x_ld + block[EMBED_FIRST] + j)
                for i in range(rows):
                    x[i] = column[i * x_ld]
                own = block[EMBED_FIRST_LEARNED] + j * block[EMBED_LEARNED]
                numbers = advance(parameters, inputs[LEARNED] + own)
                given = advance(all_given, block[EMBED_FIRST_GIVEN] + j * block[EMBED_GIVEN])
                place = start * ld + block[EMBED_START] + j * block[EMBED_WIDTH]
                out = advance(buffer, inputs[EMBEDDED] + place)
                value(x, rows, numbers, given, out, ld, room, *shared)

    integers = types.CPointer(int64)
    arguments = (integers, integers, array, array, int64, int64, array)
    return address_of_kernel(embed, arguments, f"{name} {dtype}")


@cache
def embed_back_kernel(name: str, dtype: str) -> int:
    """``kernel(block, inputs, buffer, parameters, rows, first, last, scratch)``: the way back.

    Leaves the gradient by what some columns of X learn, those of the block from `first` up to
    `last`, summed over all rows of a slab.
    """
    real, array = types_of(dtype)
    entry, zero = EMBEDDINGS[name], real(0)
    gradient = specialize(entry.gradient, real)
    load = loader(NUMBA_TYPES[dtype], len(entry.constants))

    def go_back(block, inputs, buffer, parameters, rows, first, last, scratch):
        shared = load(float64_pointer(block[EMBED_CONSTANTS]), 1, 0)
        all_given = pointer_at(inputs[GIVEN], buffer)
        x, room = scratch, advance(scratch, ROWS_AT_ONCE)
        x_ld, ld = inputs[X_LD], inputs[LD]
        for j in range(first, last):
            own = block[EMBED_FIRST_LEARNED] + j * block[EMBED_LEARNED]
            numbers = advance(parameters, inputs[LEARNED] + own)
            given = advance(all_given, block[EMBED_FIRST_GIVEN] + j * block[EMBED_GIVEN])
            sums = advance(buffer, inputs[LEARNED_SUMS] + own)
            for k in range(block[EMBED_LEARNED]):
                sums[k] = zero
            for start in range(0, rows, ROWS_AT_ONCE):
                some = min(ROWS_AT_ONCE, rows - start)
                column = advance(buffer, inputs[X_ROWS] + start * x_ld + block[EMBED_FIRST] + j)
                for i in range(some):
                    x[i] = column[i * x_ld]
                place = start * ld + block[EMBED_START] + j * block[EMBED_WIDTH]
                out = advance(buffer, inputs[EMBEDDED] + place)
                delta = advance(buffer, inputs[DELTAS] + place)
                gradient(x, some, numbers, given, out, delta, ld, sums, room, *shared)

    integers = types.CPointer(int64)
    arguments = (integers, integers, array, array, int64, int64, int64, array)
    return address_of_kernel(go_back, arguments, f"{name} {dtype}")


@cache
def scale_kernel(dtype: str) -> int:
    """``kernel(inputs, buffer, parameters, first, last)``: scale some rows of embedded columns."""
    _, array = types_of(dtype)

    def scale(inputs, buffer, parameters, first, last):
        ld, columns = inputs[LD], inputs[UNITS]
        factors = advance(parameters, inputs[FACTORS])
        for i in range(first, last):
            values = advance(buffer, inputs[EMBEDDED] + i * ld)
            out = advance(buffer, inputs[OUTPUTS] + i * ld)
            for j in range(columns):
                out[j] = factors[j] * values[j]

    integers = types.CPointer(int64)
    return address_of_kernel(scale, (integers, array, array, int64, int64), dtype)


@cache
def scale_back_kernel(dtype: str) -> int:
    """``kernel(inputs, buffer, parameters, rows, first, last)``: the way back of some columns.

    Leaves the gradient by their factors, summed over all rows of a slab.
    """
    real, array = types_of(dtype)
    zero = real(0)

    def go_back(inputs, buffer, parameters, rows, first, last):
        ld = inputs[LD]
        factors = advance(parameters, inputs[FACTORS])
        sums = advance(buffer, inputs[FACTOR_SUMS])
        for j in range(first, last):
            sums[j] = zero
        for i in range(rows):
            values = advance(buffer, inputs[EMBEDDED] + i * ld)
            deltas = advance(buffer, inputs[DELTAS] + i * ld)
            for j in range(first, last):
                sums[j] += deltas[j] * values[j]
                deltas[j] *= factors[j]

    integers = types.CPointer(int64)
    return address_of_kernel(go_back, (integers, array, array, int64, int64, int64), dtype)


def scratch_for(room: Any) -> int:
    """Return how many elements of scratch memory kernels need whose formulas need `room`."""
    return ROWS_AT_ONCE + int(room)
