"""Products of small matrices by one block, each thread with tiles of its own in registers.

The factors lie where they are, in shared or in global memory; nothing is staged. A thread's tile
has four columns and eight rows, or four in double precision, which takes twice the registers.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda.device import cuda, device_function, float32, float64, uint32
from skmlp.engines.cuda.memory import load_four, store_four

TILE_COLUMNS = 4
# Matrices have memory for a multiple of so many rows.
ROW_MULTIPLE = 8


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
    def load_rows(source, ld, row, k, out):
        """Read four neighbors in each row of a tile."""
        for i in range(tile_rows):
            quad = load_four(source, uint32(uint32(row + uint32(i)) * ld + k))
            for j in range(4):
                out[i, j] = quad[j]

    @device_function
    def forward(
        inputs, coefs, intercepts, outputs, rows, fan_in, fan_out, activation, thread, threads
    ):
        depth, columns = padded(fan_in), padded(fan_out)
        across = uint32(columns // uint32(TILE_COLUMNS))
        down = uint32((rows + tile_rows - 1) // tile_rows)
        totals = cuda.local.array(shape, real)
        a = cuda.local.array(shape, real)
        for tile in range(thread, across * down, threads):
            row = uint32(uint32(tile) // across * uint32(tile_rows))
            column = uint32(uint32(tile) % across * uint32(TILE_COLUMNS))
            clear(totals)
            for k in range(0, depth, 4):
                load_rows(inputs, depth, row, uint32(k), a)
                for step in range(4):
                    b = load_four(coefs, uint32(uint32(k + step) * columns + column))
                    for i in range(tile_rows):
                        for j in range(TILE_COLUMNS):
                            totals[i, j] += a[i, step] * b[j]
            for i in range(tile_rows):
                place = uint32(uint32(row + uint32(i)) * columns + column)
                store_four(outputs, place, totals[i, 0], totals[i, 1], totals[i, 2], totals[i, 3])
            # Rows that are there: a loop of unknown length is not unrolled with all its formulas.
            for place in range(min(tile_rows, rows - row) * TILE_COLUMNS):
                j = uint32(column + uint32(place % TILE_COLUMNS))
                i = uint32(uint32(row + uint32(place // TILE_COLUMNS)) * columns + j)
                value = activate(activation, outputs[i] + intercepts[j])
                # The padding stays zero, or it would take part in the gradient.
                outputs[i] = value if j < fan_out else zero

    @device_function
    def gradient(inputs, deltas, coefs, intercepts, rows, fan_in, fan_out, adds, thread, threads):
        height, columns = padded(fan_in), padded(fan_out)
        across = uint32(columns // uint32(TILE_COLUMNS))
        down = uint32((height + uint32(tile_rows - 1)) // uint32(tile_rows))
        totals = cuda.local.array(shape, real)
        for tile in range(thread, across * down, threads):
            row = uint32(uint32(tile) // across * uint32(tile_rows))
            column = uint32(uint32(tile) % across * uint32(TILE_COLUMNS))
            clear(totals)
            s0, s1, s2, s3 = zero, zero, zero, zero
            for k in range(rows):
                b = load_four(deltas, uint32(uint32(k) * columns + column))
                for p in range(quads_down):
                    # Four rows that lie beyond the last are not written; here others stand in.
                    own = min(uint32(row + uint32(4 * p)), uint32(height - 4))
                    a = load_four(inputs, uint32(uint32(k) * height + own))
                    for i in range(4):
                        for j in range(TILE_COLUMNS):
                            totals[4 * p + i, j] += a[i] * b[j]
                s0 += b[0]
                s1 += b[1]
                s2 += b[2]
                s3 += b[3]
            for i in range(tile_rows):
                place = uint32(uint32(row + uint32(i)) * columns + column)
                if row + uint32(i) < height:
                    w, x, y, z = zero, zero, zero, zero
                    if adds:
                        w, x, y, z = load_four(coefs, place)
                    w += totals[i, 0]
                    x += totals[i, 1]
                    y += totals[i, 2]
                    z += totals[i, 3]
                    store_four(coefs, place, w, x, y, z)
            if row == 0:
                if adds:
                    w, x, y, z = load_four(intercepts, column)
                    s0, s1, s2, s3 = s0 + w, s1 + x, s2 + y, s3 + z
                store_four(intercepts, column, s0, s1, s2, s3)

    @device_function
    def backward(deltas, coefs, inputs, rows, fan_in, fan_out, activation, thread, threads):
        depth, columns = padded(fan_out), padded(fan_in)
        across = uint32(columns // uint32(TILE_COLUMNS))
        down = uint32((rows + tile_rows - 1) // tile_rows)
        totals = cuda.local.array(shape, real)
        a = cuda.local.array(shape, real)
        for tile in range(thread, across * down, threads):
            row = uint32(uint32(tile) // across * uint32(tile_rows))
            column = uint32(uint32(tile) % across * uint32(TILE_COLUMNS))
            clear(totals)
            for k in range(0, depth, 4):
                load_rows(deltas, depth, row, uint32(k), a)
                for j in range(TILE_COLUMNS):
                    b = load_four(coefs, uint32(uint32(column + uint32(j)) * depth + uint32(k)))
                    for i in range(tile_rows):
                        totals[i, j] += (a[i, 0] * b[0] + a[i, 1] * b[1]) + (
                            a[i, 2] * b[2] + a[i, 3] * b[3]
                        )
            for place in range(min(tile_rows, rows - row) * TILE_COLUMNS):
                j = uint32(column + uint32(place % TILE_COLUMNS))
                i = uint32(uint32(row + uint32(place // TILE_COLUMNS)) * columns + j)
                inputs[i] = differentiate(activation, inputs[i])
            for i in range(tile_rows):
                place = uint32(uint32(row + uint32(i)) * columns + column)
                w, x, y, z = load_four(inputs, place)
                w *= totals[i, 0]
                x *= totals[i, 1]
                y *= totals[i, 2]
                z *= totals[i, 3]
                store_four(inputs, place, w, x, y, z)

    return RegisterProducts(forward, gradient, backward)
