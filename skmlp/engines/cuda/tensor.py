"""Tiles multiplied on tensor cores: factors rounded to tf32 or bfloat16, sums in float32.

A warp computes a tile of 32 columns in pieces of 16 rows by 8 columns. Which numbers of a piece
each of its 32 threads holds is fixed by the instruction: with ``g = lane // 4`` and
``t = lane % 4``, those in rows ``g`` and ``g + 8`` and columns ``2 t`` and ``2 t + 1``.

In the simulator every thread computes the numbers that it would hold by itself.
"""

from functools import cache
from typing import Any

import numpy as np

from skmlp.engines.cuda import ptx
from skmlp.engines.cuda.device import SIMULATED, device_function, uint32
from skmlp.engines.cuda.memory import advance, select
from skmlp.engines.cuda.tiles import (
    Tile,
    TileFunctions,
    add_no_slices,
    as_it_is,
    fetching_functions,
    unrolled,
)

PIECE_ROWS = 16
PIECE_COLUMNS = 8
WARP_COLUMNS = 32
PIECES_ACROSS = WARP_COLUMNS // PIECE_COLUMNS


def rows_of_warp(tile: Tile) -> int:
    """Return how many rows a warp computes: its 32 threads hold as many numbers as planned."""
    return tile.thread_rows * tile.thread_columns * 32 // WARP_COLUMNS


def place_functions(tile: Tile) -> tuple[Any, Any]:
    """Return functions that tell the row and column of a thread's first number in a tile."""
    warp_rows = rows_of_warp(tile)
    warps_across = tile.columns // WARP_COLUMNS

    @device_function
    def first_row_of(thread):
        warp, lane = uint32(thread // uint32(32)), uint32(thread % uint32(32))
        return uint32(warp // uint32(warps_across) * uint32(warp_rows) + lane // uint32(4))

    @device_function
    def first_column_of(thread):
        warp, lane = uint32(thread // uint32(32)), uint32(thread % uint32(32))
        start = uint32(warp % uint32(warps_across)) * uint32(WARP_COLUMNS)
        return uint32(start + uint32(2) * (lane % uint32(4)))

    return first_row_of, first_column_of


@cache
def tensor_functions(precision: str, tile: Tile) -> TileFunctions:
    """Return the functions by which a block multiplies in "tf32" or "bf16"."""
    zero = np.float32(0)
    warp_rows = rows_of_warp(tile)
    pieces_down = warp_rows // PIECE_ROWS
    a_ld, b_ld = tile.rows + tile.padding, tile.columns + tile.padding

    first_row_of, first_column_of = place_functions(tile)

    @device_function
    def clear(totals):
        for m in range(pieces_down):
            for n in range(PIECES_ACROSS):
                for i in range(4):
                    totals[m, n, i] = zero

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

    prepare = {"tf32": ptx.to_tf32, "bf16": as_it_is}[precision]
    if SIMULATED:
        multiply = simulated_multiply(tile.depth, a_ld, b_ld, first_row_of, first_column_of)
        prepare = {"tf32": ptx.to_tf32, "bf16": ptx.to_bf16}[precision]
    else:
        multiply = multiply_on_tensor_cores(
            precision, tile.depth, a_ld, b_ld, pieces_down, first_row_of, first_column_of
        )
    return TileFunctions(
        fetching_functions("float32", tile, tile.rows, prepare),
        fetching_functions("float32", tile, tile.columns, prepare),
        clear,
        multiply,
        add_no_slices,
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


def multiply_on_tensor_cores(
    precision, depth, a_ld, b_ld, pieces_down, first_row_of, first_column_of
):
    """Return the function that multiplies by instructions on pieces.

    A word of a factor holds one number in tf32, which was rounded as it came, and in bfloat16 two
    that follow each other in depth, which are rounded as they are packed. A piece is eight words
    deep: a thread takes those at depths ``t`` and ``t + 4``.
    """
    per_word = {"tf32": 1, "bf16": 2}[precision]
    piece_depth, half = 8 * per_word, 4 * per_word
    if precision == "tf32":
        multiply_piece = ptx.multiply_tf32

        @device_function
        def word(values, place, ld):
            return values[place]

    else:
        multiply_piece = ptx.multiply_bf16

        @device_function
        def word(values, place, ld):
            return ptx.pack_bf16(values[place], values[place + ld])

    @device_function
    def multiply_at(a, b, totals, piece):
        for n in range(PIECES_ACROSS):
            start = advance(b, piece * piece_depth * b_ld + PIECE_COLUMNS * n)
            b0, b1 = word(start, 0, b_ld), word(start, half * b_ld, b_ld)
            for m in range(pieces_down):
                start = advance(a, piece * piece_depth * a_ld + PIECE_ROWS * m)
                c0, c1, c2, c3 = multiply_piece(
                    word(start, 0, a_ld),
                    word(start, 8, a_ld),
                    word(start, half * a_ld, a_ld),
                    word(start, half * a_ld + 8, a_ld),
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

    multiply_all = unrolled(multiply_at, depth // piece_depth)

    @device_function
    def multiply(a, b, totals, thread):
        t = uint32(thread % uint32(4))
        g = uint32(uint32(thread % uint32(32)) // uint32(4))
        row = uint32(t * uint32(per_word * a_ld) + first_row_of(thread))
        column = first_column_of(thread) - uint32(2) * t + g
        column = uint32(t * uint32(per_word * b_ld) + column)
        multiply_all(advance(a, row), advance(b, column), totals)

    return multiply
