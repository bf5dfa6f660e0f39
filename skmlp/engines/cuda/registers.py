"""Products of small matrices by one block, each thread with tiles of its own in registers.

The factors lie where they are, in shared or in global memory; nothing is staged. A thread's tile
has four columns and eight rows, or four in double precision, which takes twice the registers.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda.device import (
    WARP_THREADS,
    cuda,
    device_function,
    exchange,
    float32,
    float64,
    int64,
    uint32,
)
from skmlp.engines.cuda.memory import advance, load_four, store_four
from skmlp.engines.cuda.tiles import unrolled

TILE_COLUMNS = 4
# Matrices have memory for a multiple of so many rows.
ROW_MULTIPLE = 8
# Neighboring threads that share a tile, at most: what they add in the end costs more and more.
MOST_PARTS = min(8, WARP_THREADS)


@device_function
def parts_of_tile(tiles, depth, threads):
    """Return how many threads share a tile, each with a part of the depth: as many as are idle."""
    parts = uint32(1)
    while uint32(2) * parts <= min(uint32(MOST_PARTS), depth) and (
        uint32(2) * parts * tiles <= threads
    ):
        parts = uint32(uint32(2) * parts)
    return parts


class RegisterProducts(NamedTuple):
    """Device functions that multiply within a block, for one precision.

    Matrices have padded rows; `rows` is rounded up to `ROW_MULTIPLE` in `forward` and `backward`,
    which may write (and read) that many.

    Attributes
    ----------
    forward : callable
        ``(inputs, coefs, intercepts, outputs, rows, fan_in, fan_out, activation, thread,
        threads)``: ``outputs = activation(inputs @ coefs + intercepts)``
    gradient : callable
        ``(inputs, deltas, coefs, intercepts, rows, fan_in, fan_out, adds, thread, threads)``:
        ``coefs = inputs.T @ deltas``, and the sums of `deltas` for the intercepts.
    backward : callable
        ``(deltas, coefs, inputs, rows, fan_in, fan_out, activation, thread, threads)``:
        ``inputs = (deltas @ coefs.T) * derivative(inputs)``, in place.
    """

    forward: Any
    gradient: Any
    backward: Any


@cache
def register_products(dtype: str, activate: Any, differentiate: Any) -> RegisterProducts:
    """Return the products; `activate` and `differentiate` take a code and a number."""
    real = {"float32": float32, "float64": float64}[dtype]
    zero = np.dtype(dtype).type(0)
    tile_rows = {"float32": 8, "float64": 4}[dtype]
    quads_down = tile_rows // 4
    shape = (tile_rows, TILE_COLUMNS)

    @device_function
    def padded(units):
        return uint32((units + 3) // 4 * 4)

    @device_function
    def clear(totals):
        for i in range(tile_rows):
            for j in range(TILE_COLUMNS):
                totals[i, j] = zero

    @device_function
    def load_square(source, ld):
        """Read four neighbors in each of four rows."""
        return (
            load_four(source, 0),
            load_four(source, ld),
            load_four(source, 2 * ld),
            load_four(source, 3 * ld),
        )

    @device_function
    def multiply_row(own, b, totals, i):
        """Add to a row of a tile four neighbors of the depth, by a row of the square for each."""
        rows, ld = own
        a = load_four(rows, i * ld)
        for step in range(4):
            for j in range(TILE_COLUMNS):
                totals[i, j] += a[step] * b[step][j]

    @device_function
    def multiply_row_transposed(own, b, totals, i):
        """Do the same with a row of the square for each column of the tile."""
        rows, ld = own
        a = load_four(rows, i * ld)
        for step in range(4):
            for j in range(TILE_COLUMNS):
                totals[i, j] += a[step] * b[j][step]

    multiply_rows = unrolled(multiply_row, tile_rows)
    multiply_rows_transposed = unrolled(multiply_row_transposed, tile_rows)

    @device_function
    def sum_of_parts(value, parts):
        distance = uint32(1)
        while distance < parts:
            value += exchange(value, distance, parts)
            distance = uint32(distance * uint32(2))
        return value

    @device_function
    def add_up(totals, parts):
        """Add what the threads that share a tile have computed; each of them has the sums then."""
        if parts > 1:
            for i in range(tile_rows):
                for j in range(TILE_COLUMNS):
                    totals[i, j] = sum_of_parts(totals[i, j], parts)

    @device_function
    def output_of(activation, z, column, fan_out):
        # The padding stays zero, or it would take part in the gradient.
        return activate(activation, z) if column < fan_out else zero

    @device_function
    def forward(
        inputs, coefs, intercepts, outputs, rows, fan_in, fan_out, activation, thread, threads
    ):
        depth, columns = padded(fan_in), padded(fan_out)
        across = uint32(columns // uint32(TILE_COLUMNS))
        tiles = uint32(across * uint32((rows + tile_rows - 1) // tile_rows))
        parts = parts_of_tile(tiles, depth // uint32(4), threads)
        part = uint32(thread % parts)
        totals = cuda.local.array(shape, real)
        for tile in range(thread // parts, tiles, threads // parts):
            row = uint32(uint32(tile) // across * uint32(tile_rows))
            column = uint32(uint32(tile) % across * uint32(TILE_COLUMNS))
            first = uint32(uint32(4) * part)
            own = advance(inputs, uint32(row * depth + first))
            others = advance(coefs, uint32(first * columns + column))
            clear(totals)
            for _ in range(first, depth, uint32(4) * parts):
                b = load_square(others, int64(columns))
                multiply_rows((own, int64(depth)), b, totals)
                own = advance(own, 4 * int64(parts))
                others = advance(others, 4 * int64(parts) * int64(columns))
            add_up(totals, parts)
            for i in range(tile_rows):
                if uint32(i) & uint32(parts - uint32(1)) == part:
                    place = uint32(uint32(row + uint32(i)) * columns + column)
                    store_four(
                        outputs, place, totals[i, 0], totals[i, 1], totals[i, 2], totals[i, 3]
                    )
            # Of the rows that are there, those that this thread has written: a loop of unknown
            # length is not unrolled with all its formulas.
            n_rows = uint32(min(tile_rows, int64(rows) - int64(row)))
            n_own = uint32(uint32(n_rows + parts - uint32(1) - part) // parts)
            b0, b1, b2, b3 = load_four(intercepts, column)
            for i in range(n_own):
                m = uint32(row + part + uint32(i) * parts)
                place = uint32(m * columns + column)
                w, x, y, z = load_four(outputs, place)
                store_four(
                    outputs,
                    place,
                    output_of(activation, w + b0, column, fan_out),
                    output_of(activation, x + b1, uint32(column + uint32(1)), fan_out),
                    output_of(activation, y + b2, uint32(column + uint32(2)), fan_out),
                    output_of(activation, z + b3, uint32(column + uint32(3)), fan_out),
                )

    @device_function
    def add_row(own, others, beyond, totals, sums):
        """Add to a tile of a gradient, and to the sums of its columns, what a row brings."""
        b = load_four(others, 0)
        for p in range(quads_down):
            a = load_four(own, beyond if p else 0)
            for i in range(4):
                for j in range(TILE_COLUMNS):
                    totals[4 * p + i, j] += a[i] * b[j]
        for j in range(TILE_COLUMNS):
            sums[j] += b[j]

    @device_function
    def gradient(inputs, deltas, coefs, intercepts, rows, fan_in, fan_out, adds, thread, threads):
        height, columns = padded(fan_in), padded(fan_out)
        across = uint32(columns // uint32(TILE_COLUMNS))
        down = uint32((height + uint32(tile_rows - 1)) // uint32(tile_rows))
        tiles = uint32(across * down)
        parts = parts_of_tile(tiles, uint32(rows), threads)
        part = uint32(thread % parts)
        totals = cuda.local.array(shape, real)
        sums = cuda.local.array(TILE_COLUMNS, real)
        for tile in range(thread // parts, tiles, threads // parts):
            row = uint32(uint32(tile) // across * uint32(tile_rows))
            column = uint32(uint32(tile) % across * uint32(TILE_COLUMNS))
            clear(totals)
            for j in range(TILE_COLUMNS):
                sums[j] = zero
            # Four rows that lie beyond the last are not written; here others stand in.
            last = min(uint32(row + uint32(tile_rows - 4)), uint32(height - uint32(4)))
            beyond = int64(last) - int64(row)
            own = advance(inputs, uint32(part * height + row))
            others = advance(deltas, uint32(part * columns + column))
            own_step, others_step = int64(parts) * int64(height), int64(parts) * int64(columns)
            n_own = uint32(uint32(uint32(rows) + parts - uint32(1) - part) // parts)
            # Two at a time: what the second one needs is under way while the first is added.
            for _ in range(n_own // uint32(2)):
                add_row(own, others, beyond, totals, sums)
                add_row(advance(own, own_step), advance(others, others_step), beyond, totals, sums)
                own, others = advance(own, 2 * own_step), advance(others, 2 * others_step)
            if n_own % uint32(2) == 1:
                add_row(own, others, beyond, totals, sums)
            add_up(totals, parts)
            for i in range(tile_rows):
                place = uint32(uint32(row + uint32(i)) * columns + column)
                is_own = uint32(i) & uint32(parts - uint32(1)) == part
                if is_own and row + uint32(i) < height:
                    w, x, y, z = zero, zero, zero, zero
                    if adds:
                        w, x, y, z = load_four(coefs, place)
                    w += totals[i, 0]
                    x += totals[i, 1]
                    y += totals[i, 2]
                    z += totals[i, 3]
                    store_four(coefs, place, w, x, y, z)
            if row == 0:
                for j in range(TILE_COLUMNS):
                    sums[j] = sum_of_parts(sums[j], parts)
                if part == 0:
                    w, x, y, z = zero, zero, zero, zero
                    if adds:
                        w, x, y, z = load_four(intercepts, column)
                    store_four(
                        intercepts, column, sums[0] + w, sums[1] + x, sums[2] + y, sums[3] + z
                    )

    @device_function
    def backward(deltas, coefs, inputs, rows, fan_in, fan_out, activation, thread, threads):
        depth, columns = padded(fan_out), padded(fan_in)
        across = uint32(columns // uint32(TILE_COLUMNS))
        down = uint32((rows + tile_rows - 1) // tile_rows)
        totals = cuda.local.array(shape, real)
        for tile in range(thread, across * down, threads):
            row = uint32(uint32(tile) // across * uint32(tile_rows))
            column = uint32(uint32(tile) % across * uint32(TILE_COLUMNS))
            own = advance(deltas, uint32(row * depth))
            others = advance(coefs, uint32(column * depth))
            clear(totals)
            for _ in range(0, depth, 4):
                b = load_square(others, int64(depth))
                multiply_rows_transposed((own, int64(depth)), b, totals)
                own, others = advance(own, 4), advance(others, 4)
            for i in range(min(tile_rows, int64(rows) - int64(row))):
                place = uint32(uint32(row + uint32(i)) * columns + column)
                w, x, y, z = load_four(inputs, place)
                store_four(
                    inputs,
                    place,
                    differentiate(activation, w),
                    differentiate(activation, x),
                    differentiate(activation, y),
                    differentiate(activation, z),
                )
            for i in range(tile_rows):
                place = uint32(uint32(row + uint32(i)) * columns + column)
                w, x, y, z = load_four(inputs, place)
                w *= totals[i, 0]
                x *= totals[i, 1]
                y *= totals[i, 2]
                z *= totals[i, 3]
                store_four(inputs, place, w, x, y, z)

    return RegisterProducts(forward, gradient, backward)
