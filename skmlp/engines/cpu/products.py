"""The matrix products of a network, blocked for the caches around the register tiles.

While a fit goes on, its parameters lie in *panels*: up to `TILE_VECTORS` vectors of columns of
one layer's coefficients, row after row, followed by their intercepts. A panel is read from
front to back in the forward pass, belongs to one thread as far as possible, and its blocks of
rows are contiguous for the optimizer. Columns are padded with zeros to whole vectors.

Every element of a product is summed over its whole depth in order, one multiplication after the
other, whatever the number of rows and wherever the element lies. So results depend neither on
how the work is shared out among threads nor on how many rows are predicted at once.
"""

import numpy as np
from numba.extending import register_jitable

from skmlp.engines.cpu.compilation import inner, jit
from skmlp.engines.cpu.pointers import advance
from skmlp.engines.cpu.registers import TALL_TILE_ROWS, TILE_ROWS, TILE_VECTORS, VECTOR_BYTES
from skmlp.engines.cpu.tiles import (
    lane_count,
    multiply_tall_tile,
    multiply_tile,
    multiply_transposed_tile,
    transpose_square,
)

# Rows of a panel that are worked on at once: about 20 KB, so that they stay in a first-level cache
# of 32 KB, or in half of a larger one that two hardware threads share.
PANEL_DEPTH = 112
# The same for the rows of a batch in a gradient.
BATCH_DEPTH = 104
# What all panels of a layer read, one after the other, should stay in the second-level cache.
INPUT_BYTES = 2**19
# Rows of a batch whose results are kept together for the element-wise formulas.
ROWS_AT_ONCE = 256


def lanes_of(dtype: str) -> int:
    """Return how many elements a vector register holds."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def padded(columns: int, dtype: str) -> int:
    """Return the number of columns filled up to whole vectors."""
    lanes = lanes_of(dtype)
    return -(-columns // lanes) * lanes


def leading_dimension(columns: int, dtype: str) -> int:
    """Return how far apart the rows of a matrix lie in the workspace.

    Rows begin at vector boundaries. Lengths that are multiples of 1 KB get one vector more: their
    rows would compete for the same few places in the cache.
    """
    length = padded(columns, dtype)
    if length * np.dtype(dtype).itemsize % 1024 == 0:
        length += lanes_of(dtype)
    return length


def scratch_size(dtype: str) -> int:
    """Return how many elements of scratch memory a thread needs for products.

    One panel, and two matrices as wide.
    """
    lanes = lanes_of(dtype)
    return (PANEL_DEPTH + lanes + 2 * ROWS_AT_ONCE) * TILE_VECTORS * lanes


@register_jitable
def vector_count(columns, lanes):
    return (columns + lanes - 1) // lanes


@register_jitable
def panel_count(columns, lanes):
    """Return into how many panels a layer's columns are split."""
    return (vector_count(columns, lanes) + TILE_VECTORS - 1) // TILE_VECTORS


@register_jitable
def panel_start(panel, columns, lanes):
    """Return the first vector of a panel; panels are as equal as can be."""
    return panel * vector_count(columns, lanes) // panel_count(columns, lanes)


@register_jitable
def columns_of_panel(panel, columns, lanes):
    """Return a panel's first column, its number of vectors, and the columns in the last one."""
    first = panel_start(panel, columns, lanes)
    stop = panel_start(panel + 1, columns, lanes)
    last = min(columns, stop * lanes) - (stop - 1) * lanes
    return first * lanes, stop - first, last


@inner
def tiles(vectors, table, offset, rows, depth, b, start, ld_start, c, ldc):
    """``C = start + A @ B`` for some rows of a panel B."""
    ldb = vectors * lane_count(c)
    for i in range(0, rows, TILE_ROWS):
        part = min(TILE_ROWS, rows - i)
        begin = advance(start, i * ld_start)
        out = advance(c, i * ldc)
        multiply_tile(
            vectors, advance(table, i), offset, part, depth, b, ldb, begin, ld_start, out, ldc
        )


@inner
def transposed_tiles(vectors, table, offset, rows, depth, b, ldb, start, ld_start, c):
    """``C = start + A.T @ B``; C is contiguous and as wide as `vectors` vectors."""
    ldc = vectors * lane_count(c)
    tall = rows // TALL_TILE_ROWS * TALL_TILE_ROWS if vectors == 1 else 0
    for i in range(0, tall, TALL_TILE_ROWS):
        begin = advance(start, i * ld_start)
        out = advance(c, i * ldc)
        multiply_tall_tile(table, offset + i, depth, b, ldb, begin, ld_start, out, ldc)
    for i in range(tall, rows, TILE_ROWS):
        part = min(TILE_ROWS, rows - i)
        begin = advance(start, i * ld_start)
        out = advance(c, i * ldc)
        multiply_transposed_tile(
            vectors, table, offset + i, part, depth, b, ldb, begin, ld_start, out, ldc
        )


@register_jitable
def depth_at_once(rows, depth, lanes):
    """Return how many columns of a matrix (rows, depth) to work on with all panels of another."""
    affordable = INPUT_BYTES * lanes // (VECTOR_BYTES * max(rows, 1))
    return max(PANEL_DEPTH, min(depth, affordable // PANEL_DEPTH * PANEL_DEPTH))


@jit(inline="always")
def multiply_panel(vectors, table, offset, rows, depth, panel, start, ld_start, c, ldc):
    """``C = start + A[:, offset : offset + depth] @ B`` for a panel B of `depth` rows.

    `table` holds the addresses of the rows of A (rows, any). `start` is (rows, columns), or one
    row if `ld_start` is zero.
    """
    width = vectors * lane_count(c)
    for k in range(0, depth, PANEL_DEPTH):
        part = min(PANEL_DEPTH, depth - k)
        begin = start if k == 0 else c
        ld_begin = ld_start if k == 0 else ldc
        right = advance(panel, k * width)
        tiles(vectors, table, offset + k, rows, part, right, begin, ld_begin, c, ldc)


@inner
def multiply_by_transpose(
    table, rows, panels, panel_rows, depth, sources, columns, panel, zeros, c, ldc, scratch
):
    """``C = A @ W[columns of a panel].T`` for W (columns, depth), itself in panels.

    `table` holds the addresses of the rows of A (rows, depth), and panels of W are `panel_rows`
    long, of which the first are its columns'. Padding of C is zero. Takes some
    of the panels of W, `sources` (the first and one past the last); where they do not begin with
    the first, C has the sums so far.
    """
    lanes = lane_count(c)
    first, vectors, last = columns_of_panel(panel, columns, lanes)
    width = vectors * lanes
    height = width - lanes + last
    source, stop = sources
    done, _, _ = columns_of_panel(source, depth, lanes)
    while source < stop:
        # Gather as many panels of W as stay in the cache, transposed, into one panel.
        gathered = 0
        while source < stop:
            k, source_vectors, source_last = columns_of_panel(source, depth, lanes)
            source_width = source_vectors * lanes
            source_columns = source_width - lanes + source_last
            if gathered + source_columns > PANEL_DEPTH:
                break
            corner = advance(panels, panel_rows * k + first * source_width)
            for j in range(0, height, lanes):
                for n in range(0, source_columns, lanes):
                    square = advance(corner, j * source_width + n)
                    target = advance(scratch, (gathered + n) * width + j)
                    transpose_square(square, source_width, min(lanes, height - j), target, width)
            if last < lanes:
                for n in range(gathered, gathered + source_columns):
                    for j in range(height, width):
                        scratch[n * width + j] = 0.0
            gathered += source_columns
            source += 1
        start = zeros if done == 0 else c
        ld_start = 0 if done == 0 else ldc
        tiles(vectors, table, done, rows, gathered, scratch, start, ld_start, c, ldc)
        done += gathered


@jit(inline="always")
def multiply_transposed(vectors, table, offset, rows, depth, b, ldb, start, ld_start, c):
    """``C = start + A[:, offset : offset + rows].T @ B`` for B as wide as a panel.

    `table` holds the addresses of the rows of A (depth, any); the rows of B lie `ldb` apart, those
    of C side by side.
    """
    lanes = lane_count(c)
    for k in range(0, depth, BATCH_DEPTH):
        part = min(BATCH_DEPTH, depth - k)
        begin = start if k == 0 else c
        ld_begin = ld_start if k == 0 else vectors * lanes
        right = advance(b, k * ldb)
        lines = advance(table, k)
        transposed_tiles(vectors, lines, offset, rows, part, right, ldb, begin, ld_begin, c)
