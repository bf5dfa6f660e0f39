"""Tiles of a matrix product: from memory into shared memory, from there into registers.

A block of threads computes ``rows`` by ``columns`` numbers of a product ``A @ B``. It brings
``depth`` columns of A and rows of B at a time into shared memory, where both lie with the
dimension summed over outermost, and each thread multiplies a small tile of its own in registers.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda.device import device_function, int64, uint32
from skmlp.engines.cuda.memory import load_four, store_four


@dataclass(frozen=True)
class Tile:
    """The shape of a block's tile.

    Attributes
    ----------
    rows, columns : int
        Of the product; multiples of 4.
    depth : int
        Summed over at once; a multiple of 4.
    thread_rows, thread_columns : int
        Of one thread's tile; multiples of 4 that divide `rows` and `columns`.
    padding : int
        Elements between rows of shared memory, which keep them apart in its banks; a multiple
        of 4.
    """

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int
    padding: int = 4

    def __post_init__(self) -> None:
        # One thread each sums up a column for the gradient of its intercept.
        assert self.threads >= self.columns

    @property
    def threads(self) -> int:
        return (self.rows // self.thread_rows) * (self.columns // self.thread_columns)

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.columns}x{self.depth}"


class Operand(NamedTuple):
    """A matrix in memory whose rows are `ld` elements apart.

    With `by_number`, row `i` is the one whose number stands at ``row_numbers[i]``.
    """

    values: Any
    row_numbers: Any
    by_number: Any
    ld: Any


class TileFunctions(NamedTuple):
    """Device functions for one shape of tile in one precision.

    Attributes
    ----------
    fetch_a, fetch_b : callable
        ``(operand, first_k, depth, first, width, out, thread)``:
        ``out[k, j] = operand[first_k + k, first + j]`` in shared memory.
    fetch_a_transposed, fetch_b_transposed : callable
        The same arguments: ``out[k, j] = operand[first + j, first_k + k]``.
    clear : callable
        ``(totals)``: sets a thread's numbers to zero.
    multiply : callable
        ``(a, b, totals, thread)``: adds the product of the tiles in shared memory.
    write : callable
        ``(totals, out, ld, first_row, rows, first_column, columns, accumulate, thread)``: writes
        (or adds) a thread's numbers to where they belong, within `rows` and `columns`.
    shape : tuple of int
        Of the array of a thread's numbers.
    """

    fetch_a: Any
    fetch_a_transposed: Any
    fetch_b: Any
    fetch_b_transposed: Any
    clear: Any
    multiply: Any
    write: Any
    shape: tuple[int, ...]


@device_function
def as_it_is(x):
    return x


@device_function
def start_of_row(operand, row):
    if operand.by_number:
        return int64(operand.row_numbers[row]) * operand.ld
    return int64(row) * operand.ld


@cache
def fetching_functions(dtype: str, tile: Tile, extent: int, prepare: Any) -> tuple[Any, Any]:
    """Return two functions that bring tiles into shared memory, four elements at a time.

    The tile is `extent` wide. ``first + j`` counts up to `width` and ``first_k + k`` up to
    `depth`; what lies outside becomes zero. The one that counts along a row of memory is rounded
    up to a multiple of 4: rows are padded by zeros. `prepare` is applied to every element.
    """
    zero = np.dtype(dtype).type(0)
    block_depth, threads, ld = tile.depth, tile.threads, extent + tile.padding
    across, along = extent // 4, block_depth // 4
    trips = -(-block_depth * across // threads)

    @device_function
    def fetch(operand, first_k, depth, first, width, out, thread):
        for trip in range(trips):
            place = uint32(thread + uint32(trip * threads))
            k = uint32(place // uint32(across))
            j = uint32(uint32(place % uint32(across)) * uint32(4))
            if k < block_depth:
                target = uint32(k * uint32(ld) + j)
                w, x, y, z = zero, zero, zero, zero
                if first_k + k < depth and first + j < width:
                    start = start_of_row(operand, first_k + k) + first + j
                    w, x, y, z = load_four(operand.values, start)
                store_four(out, target, prepare(w), prepare(x), prepare(y), prepare(z))

    @device_function
    def fetch_transposed(operand, first_k, depth, first, width, out, thread):
        for trip in range(trips):
            place = uint32(thread + uint32(trip * threads))
            j = uint32(place // uint32(along))
            k = uint32(uint32(place % uint32(along)) * uint32(4))
            if j < extent:
                target = uint32(k * uint32(ld) + j)
                w, x, y, z = zero, zero, zero, zero
                if first_k + k < depth and first + j < width:
                    start = start_of_row(operand, first + j) + first_k + k
                    w, x, y, z = load_four(operand.values, start)
                out[target] = prepare(w)
                out[uint32(target + uint32(ld))] = prepare(x)
                out[uint32(target + uint32(2 * ld))] = prepare(y)
                out[uint32(target + uint32(3 * ld))] = prepare(z)

    return fetch, fetch_transposed


@cache
def tile_functions(dtype: str, tile: Tile) -> TileFunctions:
    """Return the functions by which a block multiplies on its ordinary arithmetic units."""
    zero = np.dtype(dtype).type(0)
    block_depth = tile.depth
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    threads_across = tile.columns // thread_columns
    a_ld, b_ld = tile.rows + tile.padding, tile.columns + tile.padding
    row_quads, column_quads = thread_rows // 4, thread_columns // 4
    # The quads of a thread's tile lie apart, so that neighboring threads read neighboring quads.
    row_step, column_step = tile.rows // row_quads, tile.columns // column_quads

    @device_function
    def clear(totals):
        for i in range(thread_rows):
            for j in range(thread_columns):
                totals[i, j] = zero

    @device_function
    def multiply(a, b, totals, thread):
        row = uint32(uint32(thread // uint32(threads_across)) * uint32(4))
        column = uint32(uint32(thread % uint32(threads_across)) * uint32(4))
        for k in range(block_depth):
            for p in range(row_quads):
                a0, a1, a2, a3 = load_four(a, uint32(row + uint32(k * a_ld + p * row_step)))
                for q in range(column_quads):
                    quad = load_four(b, uint32(column + uint32(k * b_ld + q * column_step)))
                    for j in range(4):
                        totals[4 * p, 4 * q + j] += a0 * quad[j]
                        totals[4 * p + 1, 4 * q + j] += a1 * quad[j]
                        totals[4 * p + 2, 4 * q + j] += a2 * quad[j]
                        totals[4 * p + 3, 4 * q + j] += a3 * quad[j]

    @device_function
    def write(totals, out, ld, first_row, rows, first_column, columns, accumulate, thread):
        row = first_row + uint32(thread // uint32(threads_across)) * uint32(4)
        column = first_column + uint32(thread % uint32(threads_across)) * uint32(4)
        for i in range(thread_rows):
            m = row + (i // 4) * row_step + i % 4
            for q in range(column_quads):
                n = column + q * column_step
                if m < rows and n < columns:
                    w, x, y, z = zero, zero, zero, zero
                    if accumulate:
                        w, x, y, z = load_four(out, m * ld + n)
                    w += totals[i, 4 * q]
                    x += totals[i, 4 * q + 1]
                    y += totals[i, 4 * q + 2]
                    z += totals[i, 4 * q + 3]
                    store_four(out, m * ld + n, w, x, y, z)

    return TileFunctions(
        *fetching_functions(dtype, tile, tile.rows, as_it_is),
        *fetching_functions(dtype, tile, tile.columns, as_it_is),
        clear,
        multiply,
        write,
        (thread_rows, thread_columns),
    )
