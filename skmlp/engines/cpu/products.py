"""The three matrix products of a network, blocked for the caches around the register tiles.

Every element is summed over its whole depth in order, one multiplication after the other,
whatever the number of rows and wherever the element lies. So results depend neither on how rows
are split among threads nor on how many rows are predicted at once.
"""

import numpy as np

from skmlp.engines.cpu.compilation import jit
from skmlp.engines.cpu.pointers import advance, prefetch
from skmlp.engines.cpu.registers import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES
from skmlp.engines.cpu.tiles import (
    copy_rows,
    lane_count,
    multiply_tile,
    multiply_transposed_tile,
    transpose_square,
)

LINE_BYTES = 64

# Rows of a panel of the right factor that stay in the first-level cache (about 32 KB).
PANEL_DEPTH = 168
# The same for the gradient, whose right factor is used where it lies.
BATCH_DEPTH = 256


def lanes_of(dtype: str) -> int:
    """Return how many elements a vector register holds."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def padded(columns: int, dtype: str) -> int:
    """Return the leading dimension of a matrix in the workspace.

    Rows begin at vector boundaries. Lengths that are multiples of 1 KB get one vector more: their
    rows would compete for the same few places in the cache.
    """
    lanes = lanes_of(dtype)
    length = -(-columns // lanes) * lanes
    if length * np.dtype(dtype).itemsize % 1024 == 0:
        length += lanes
    return length


def panel_size(dtype: str) -> int:
    """Return how many elements a packed panel takes."""
    lanes = lanes_of(dtype)
    return (PANEL_DEPTH + lanes) * TILE_VECTORS * lanes


@jit()
def vector_count(columns, lanes):
    return (columns + lanes - 1) // lanes


@jit()
def panel_count(columns, lanes):
    """Return into how many panels of at most `TILE_VECTORS` vectors a matrix is split."""
    return (vector_count(columns, lanes) + TILE_VECTORS - 1) // TILE_VECTORS


@jit()
def panel_start(panel, columns, lanes):
    """Return the first vector of a panel; panels are as equal as can be."""
    return panel * vector_count(columns, lanes) // panel_count(columns, lanes)


@jit()
def pack(vectors, b, ldb, depth, last_columns, panel):
    """Copy a (depth, columns) part of B so that it is contiguous and padded with zeros."""
    if vectors == 1:
        copy_rows(1, b, ldb, depth, last_columns, panel)
    elif vectors == 2:
        copy_rows(2, b, ldb, depth, last_columns, panel)
    else:
        copy_rows(3, b, ldb, depth, last_columns, panel)


@jit()
def pack_transposed(vectors, b, ldb, depth, columns, lanes, panel):
    """Do as `pack` for the transpose of `b`, which is (columns, depth)."""
    width = vectors * lanes
    for j in range(0, columns, lanes):
        rows = min(lanes, columns - j)
        for k in range(0, depth, lanes):
            square = advance(b, j * ldb + k)
            target = advance(panel, k * width + j)
            transpose_square(square, ldb, rows, min(lanes, depth - k), target, width)


@jit()
def prefetch_rows(matrix, ld, first, last, columns):
    """Prefetch some rows of a matrix."""
    per_line = LINE_BYTES // VECTOR_BYTES * lane_count(matrix)
    for i in range(first, last):
        row = advance(matrix, i * ld)
        for j in range(0, columns, per_line):
            prefetch(advance(row, j))


@jit()
def tiles(vectors, table, offset, rows, depth, b, start, ld_start, c, ldc, last_columns, ahead):
    """``C = start + A @ B`` for one packed panel B, prefetching the matrix `ahead` meanwhile."""
    lanes = lane_count(c)
    next_b, next_ld, next_rows, next_columns = ahead
    for i in range(0, rows, TILE_ROWS):
        part = min(TILE_ROWS, rows - i)
        first, last = next_rows * i // rows, next_rows * (i + part) // rows
        prefetch_rows(next_b, next_ld, first, last, next_columns)
        lines = advance(table, i)
        begin = advance(start, i * ld_start)
        out = advance(c, i * ldc)
        if vectors == 1:
            multiply_tile(
                1, lines, offset, part, depth, b, lanes, begin, ld_start, out, ldc, last_columns
            )
        elif vectors == 2:
            multiply_tile(
                2, lines, offset, part, depth, b, 2 * lanes, begin, ld_start, out, ldc, last_columns
            )
        else:
            multiply_tile(
                3, lines, offset, part, depth, b, 3 * lanes, begin, ld_start, out, ldc, last_columns
            )


@jit()
def transposed_tiles(vectors, table, offset, rows, depth, b, ldb, start, ld_start, c, ldc, last):
    """``C = start + A.T @ B`` for one panel of B, where it lies."""
    for i in range(0, rows, TILE_ROWS):
        part = min(TILE_ROWS, rows - i)
        first = offset + i
        begin = advance(start, i * ld_start)
        out = advance(c, i * ldc)
        if vectors == 1:
            multiply_transposed_tile(
                1, table, first, part, depth, b, ldb, begin, ld_start, out, ldc, last
            )
        elif vectors == 2:
            multiply_transposed_tile(
                2, table, first, part, depth, b, ldb, begin, ld_start, out, ldc, last
            )
        else:
            multiply_transposed_tile(
                3, table, first, part, depth, b, ldb, begin, ld_start, out, ldc, last
            )


@jit()
def multiply(table, rows, depth, b, ldb, transposed, columns, start, ld_start, c, ldc, panel):
    """``C = start + A @ op(B)``.

    `table` holds the addresses of the rows of A (rows, depth); ``op(B)`` is (depth, columns) and
    B, with rows `ldb` apart, its transpose if `transposed`. `start` is (rows, columns), or one row
    if `ld_start` is zero. `panel` is scratch memory.
    """
    lanes = lane_count(c)
    panels = panel_count(columns, lanes)
    for number in range(panels):
        first = panel_start(number, columns, lanes) * lanes
        last = min(columns, panel_start(number + 1, columns, lanes) * lanes)
        vectors = vector_count(last - first, lanes)
        last_columns = last - first - (vectors - 1) * lanes
        out = advance(c, first)
        for k in range(0, depth, PANEL_DEPTH):
            part = min(PANEL_DEPTH, depth - k)
            if transposed:
                corner = advance(b, first * ldb + k)
                pack_transposed(vectors, corner, ldb, part, last - first, lanes, panel)
            else:
                pack(vectors, advance(b, k * ldb + first), ldb, part, last_columns, panel)
            if k + part < depth:
                ahead = part_of_b(b, ldb, transposed, first, last, k + part, depth)
            else:
                # The next panel is as wide as this one, or narrower by a vector at most.
                beyond = min(columns, last + vectors * lanes)
                ahead = part_of_b(b, ldb, transposed, last, beyond, 0, depth)
            begin = advance(start, first) if k == 0 else out
            ld_begin = ld_start if k == 0 else ldc
            tiles(
                *(vectors, table, k, rows, part, panel),
                *(begin, ld_begin, out, ldc, last_columns, ahead),
            )


@jit()
def part_of_b(b, ldb, transposed, first, last, k, depth):
    """Return corner, leading dimension, rows and columns of the part of B from row `k` on."""
    part = min(PANEL_DEPTH, depth - k)
    if transposed:
        return advance(b, first * ldb + k), ldb, last - first, part
    return advance(b, k * ldb + first), ldb, part, last - first


@jit()
def multiply_transposed(table, offset, rows, depth, b, ldb, columns, start, ld_start, c, ldc):
    """``C = start + A[:, offset : offset + rows].T @ B``.

    `table` holds the addresses of the rows of A (depth, any); B is (depth, columns) with rows
    `ldb` apart that are readable in whole vectors.
    """
    lanes = lane_count(c)
    panels = panel_count(columns, lanes)
    for number in range(panels):
        first = panel_start(number, columns, lanes)
        vectors = panel_start(number + 1, columns, lanes) - first
        first *= lanes
        last_columns = min(columns - first, vectors * lanes) - (vectors - 1) * lanes
        out = advance(c, first)
        for k in range(0, depth, BATCH_DEPTH):
            part = min(BATCH_DEPTH, depth - k)
            begin = advance(start, first) if k == 0 else out
            ld_begin = ld_start if k == 0 else ldc
            transposed_tiles(
                vectors,
                advance(table, k),
                offset,
                rows,
                part,
                advance(b, k * ldb + first),
                ldb,
                begin,
                ld_begin,
                out,
                ldc,
                last_columns,
            )
