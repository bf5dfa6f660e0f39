"""Tiles multiplied on tensor cores: factors rounded to tf32 or bfloat16, sums in float32.

A warp computes a tile of 32 columns in pieces of 16 rows by 8 columns. Which numbers of a piece
each of its 32 threads holds is fixed by the instruction: with ``g = lane // 4`` and
``t = lane % 4``, those in rows ``g`` and ``g + 8`` and columns ``2 t`` and ``2 t + 1``.

In the simulator every thread computes the numbers that it would hold by itself.
"""

from functools import cache

import numpy as np

from skmlp.engines.cuda import ptx
from skmlp.engines.cuda.device import SIMULATED, device_function, uint32
from skmlp.engines.cuda.memory import select
from skmlp.engines.cuda.tiles import Tile, TileFunctions, as_it_is, fetching_functions

PIECE_ROWS = 16
PIECE_COLUMNS = 8
WARP_COLUMNS = 32
PIECES_ACROSS = WARP_COLUMNS // PIECE_COLUMNS


def rows_of_warp(tile: Tile) -> int:
    """Return how many rows a warp computes: its 32 threads hold as many numbers as planned."""
    return tile.thread_rows * tile.thread_columns * 32 // WARP_COLUMNS


@cache
def tensor_functions(precision: str, tile: Tile) -> TileFunctions:
    """Return the functions by which a block multiplies in "tf32" or "bf16"."""
    zero = np.float32(0)
    warp_rows = rows_of_warp(tile)
    pieces_down = warp_rows // PIECE_ROWS
    warps_across = tile.columns // WARP_COLUMNS
    a_ld, b_ld = tile.rows + tile.padding, tile.columns + tile.padding

    @device_function
    def clear(totals):
        for m in range(pieces_down):
            for n in range(PIECES_ACROSS):
                for i in range(4):
                    totals[m, n, i] = zero

    @device_function
    def first_row_of(thread):
        """Return the row of a thread's first number in the block's tile."""
        warp, lane = uint32(thread // uint32(32)), uint32(thread % uint32(32))
        return uint32(warp // uint32(warps_across) * uint32(warp_rows) + lane // uint32(4))

    @device_function
    def first_column_of(thread):
        warp, lane = uint32(thread // uint32(32)), uint32(thread % uint32(32))
        start = uint32(warp % uint32(warps_across)) * uint32(WARP_COLUMNS)
        return uint32(start + uint32(2) * (lane % uint32(4)))

    @device_function
    def write(totals, out, ld, first_row, rows, first_column, columns, accumulate, thread):
        row = first_row + first_row_of(thread)
        column = first_column + first_column_of(thread)
        for m in range(pieces_down):
            for half in range(2):
                r = row + PIECE_ROWS * m + 8 * half
                if r < rows:
                    for n in range(PIECES_ACROSS):
                        c = column + PIECE_COLUMNS * n
                        if c < columns:
                            place = r * ld + c
                            # Read in any case: branches would keep the totals out of registers.
                            x = select(accumulate, out[place], zero)
                            y = select(accumulate, out[place + 1], zero)
                            out[place] = x + totals[m, n, 2 * half]
                            out[place + 1] = y + totals[m, n, 2 * half + 1]

    multiply = {"tf32": multiply_in_tf32, "bf16": multiply_in_bf16}[precision]
    prepare = {"tf32": ptx.to_tf32, "bf16": as_it_is}[precision]
    if SIMULATED:
        multiply = simulated_multiply(tile.depth, a_ld, b_ld, first_row_of, first_column_of)
        prepare = {"tf32": ptx.to_tf32, "bf16": ptx.to_bf16}[precision]
    else:
        multiply = multiply(tile.depth, a_ld, b_ld, pieces_down, first_row_of, first_column_of)
    return TileFunctions(
        fetching_functions("float32", tile, tile.rows, prepare),
        fetching_functions("float32", tile, tile.columns, prepare),
        clear,
        multiply,
        write,
        (pieces_down, PIECES_ACROSS, 4),
    )


def simulated_multiply(depth, a_ld, b_ld, first_row_of, first_column_of):
    def multiply(a, b, totals, thread):
        row, column = first_row_of(thread), first_column_of(thread)
        for m, n, i in np.ndindex(totals.shape):
            r = row + PIECE_ROWS * m + 8 * (i // 2)
            c = column + PIECE_COLUMNS * n + i % 2
            for k in range(depth):
                totals[m, n, i] += a[k * a_ld + r] * b[k * b_ld + c]

    return multiply


def multiply_in_tf32(depth, a_ld, b_ld, pieces_down, first_row_of, first_column_of):
    """Return the function for pieces that are 8 deep; factors were rounded as they came."""

    @device_function
    def multiply(a, b, totals, thread):
        t = uint32(thread % uint32(4))
        g = uint32(uint32(thread % uint32(32)) // uint32(4))
        row = uint32(t * uint32(a_ld) + first_row_of(thread))
        column = uint32(t * uint32(b_ld) + first_column_of(thread) - uint32(2) * t + g)
        for k in range(0, depth, 8):
            for n in range(PIECES_ACROSS):
                place = uint32(column + uint32(k * b_ld + PIECE_COLUMNS * n))
                b0, b1 = b[place], b[uint32(place + uint32(4 * b_ld))]
                for m in range(pieces_down):
                    place = uint32(row + uint32(k * a_ld + PIECE_ROWS * m))
                    c0, c1, c2, c3 = ptx.multiply_tf32(
                        a[place],
                        a[uint32(place + uint32(8))],
                        a[uint32(place + uint32(4 * a_ld))],
                        a[uint32(place + uint32(4 * a_ld + 8))],
                        b0,
                        b1,
                        totals[m, n, 0],
                        totals[m, n, 1],
                        totals[m, n, 2],
                        totals[m, n, 3],
                    )
                    totals[m, n, 0] = c0
                    totals[m, n, 1] = c1
                    totals[m, n, 2] = c2
                    totals[m, n, 3] = c3

    return multiply


def multiply_in_bf16(depth, a_ld, b_ld, pieces_down, first_row_of, first_column_of):
    """Return the function for pieces that are 16 deep; factors are rounded as they are packed."""

    @device_function
    def pair(values, place, ld):
        """Return two numbers that follow each other in depth."""
        return ptx.pack_bf16(values[place], values[uint32(place + uint32(ld))])

    @device_function
    def multiply(a, b, totals, thread):
        t = uint32(thread % uint32(4))
        g = uint32(uint32(thread % uint32(32)) // uint32(4))
        row = uint32(t * uint32(2 * a_ld) + first_row_of(thread))
        column = uint32(t * uint32(2 * b_ld) + first_column_of(thread) - uint32(2) * t + g)
        for k in range(0, depth, 16):
            for n in range(PIECES_ACROSS):
                place = uint32(column + uint32(k * b_ld + PIECE_COLUMNS * n))
                b0, b1 = pair(b, place, b_ld), pair(b, uint32(place + uint32(8 * b_ld)), b_ld)
                for m in range(pieces_down):
                    place = uint32(row + uint32(k * a_ld + PIECE_ROWS * m))
                    c0, c1, c2, c3 = ptx.multiply_bf16(
                        pair(a, place, a_ld),
                        pair(a, uint32(place + uint32(8)), a_ld),
                        pair(a, uint32(place + uint32(8 * a_ld)), a_ld),
                        pair(a, uint32(place + uint32(8 * a_ld + 8)), a_ld),
                        b0,
                        b1,
                        totals[m, n, 0],
                        totals[m, n, 1],
                        totals[m, n, 2],
                        totals[m, n, 3],
                    )
                    totals[m, n, 0] = c0
                    totals[m, n, 1] = c1
                    totals[m, n, 2] = c2
                    totals[m, n, 3] = c3

    return multiply
