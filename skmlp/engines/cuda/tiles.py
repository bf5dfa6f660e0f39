"""Tiles of a matrix product: from memory into shared memory, from there into registers.

A block of threads computes ``rows`` by ``columns`` numbers of a product ``A @ B``. It brings
``depth`` columns of A and rows of B at a time into shared memory, where both lie with the
dimension summed over outermost, and each thread multiplies a small tile of its own in registers.
Where a product has few tiles, and waiting for memory takes most of the time, slices of a block do
so side by side.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda.device import device_function, int64, synchronize, uint32
from skmlp.engines.cuda.memory import advance, load_four, store_four


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
    slices : int
        Groups of threads that all compute the whole tile, each from a part of the depth.
    """

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int
    padding: int = 4
    slices: int = 1

    def __post_init__(self) -> None:
        # One thread each sums up a column for the gradient of its intercept.
        assert self.group_threads >= self.columns
        # What the slices add up passes through the memory of their factors.
        own = self.thread_rows * self.thread_columns + 1
        assert (self.slices - 1) * self.group_threads * own <= self.shared_size

    @property
    def group_threads(self) -> int:
        """Threads of one slice."""
        return (self.rows // self.thread_rows) * (self.columns // self.thread_columns)

    @property
    def threads(self) -> int:
        """Threads of the block."""
        return self.group_threads * self.slices

    @property
    def slice_size(self) -> int:
        """Elements of shared memory that one slice's factors take."""
        return self.depth * (self.rows + self.columns + 2 * self.padding)

    @property
    def shared_size(self) -> int:
        """Elements of shared memory."""
        return self.slices * self.slice_size

    @property
    def name(self) -> str:
        slices = f"x{self.slices}" if self.slices > 1 else ""
        return f"{self.rows}x{self.columns}x{self.depth}{slices}"


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
    a, b : tuple of Fetching
        How tiles of the two factors are brought into shared memory, as they lie and transposed.
    clear : callable
        ``(totals)``: sets a thread's numbers to zero.
    multiply : callable
        ``(a, b, totals, thread)``: adds the product of the tiles in shared memory.
    add_slices : callable
        ``(totals, column_sum, shared, thread, slice)``: adds to the first slice's numbers those of
        the others, after a barrier; returns its column sum.
    write : callable
        ``(totals, out, ld, first_row, rows, first_column, columns, accumulate, thread)``: writes
        (or adds) a thread's numbers to where they belong, within `rows` and `columns`.
    shape : tuple of int
        Of the array of a thread's numbers.
    """

    a: "tuple[Fetching, Fetching]"
    b: "tuple[Fetching, Fetching]"
    clear: Any
    multiply: Any
    add_slices: Any
    write: Any
    shape: tuple[int, ...]


class Fetching(NamedTuple):
    """Device functions that bring tiles of one factor into shared memory.

    A thread moves four neighbors at a time, in some trips. It first reads them from global memory
    into registers, `held`, and later puts them into shared memory: meanwhile the tile before may
    be multiplied.

    Attributes
    ----------
    begin : callable
        ``(operand, first, width, starts, thread)``: works out, once, what does not depend on
        ``first_k``.
    read : callable
        ``(operand, starts, first_k, depth, held, thread)``
    put : callable
        ``(held, out, thread)``: then ``out[k, j]`` is ``operand[first_k + k, first + j]``, or
        ``operand[first + j, first_k + k]`` if transposed.
    trips : int
        Length of the arrays `starts` and `held`, the latter four wide.
    """

    begin: Any
    read: Any
    put: Any
    trips: int


@device_function
def as_it_is(x):
    return x


@device_function
def add_no_slices(totals, column_sum, shared, thread, slice_number):
    return column_sum


def slices_function(tile: Tile) -> Any:
    """Return `TileFunctions.add_slices`; the order of the sums is always the same."""
    if tile.slices == 1:
        return add_no_slices
    slices, group, columns = tile.slices, tile.group_threads, tile.thread_columns
    n_totals = tile.thread_rows * columns

    @device_function
    def add_slices(totals, column_sum, shared, thread, slice_number):
        if slice_number > 0:
            own = advance(shared, uint32((slice_number - 1) * (n_totals + 1) * group + thread))
            for i in range(n_totals):
                own[i * group] = totals[i // columns, i % columns]
            own[n_totals * group] = column_sum
        synchronize()
        if slice_number == 0:
            for other in range(slices - 1):
                own = advance(shared, uint32(other * (n_totals + 1) * group + thread))
                for i in range(n_totals):
                    totals[i // columns, i % columns] += own[i * group]
                column_sum += own[n_totals * group]
        return column_sum

    return add_slices


def unrolled(body: Any, count: int, first: int = 0) -> Any:
    """Return ``(a, b, totals)``, which calls ``body(a, b, totals, k)`` for `count` numbers `k`.

    Each call stands for itself, with a constant: compilers leave a long loop as it is, and places
    in memory are worked out anew in every round.
    """
    if count == 1:

        @device_function
        def once(a, b, totals):
            body(a, b, totals, first)

        return once

    half = count // 2
    one, other = unrolled(body, half, first), unrolled(body, count - half, first + half)

    @device_function
    def both(a, b, totals):
        one(a, b, totals)
        other(a, b, totals)

    return both


@device_function
def start_of_row(operand, row):
    if operand.by_number:
        return int64(operand.row_numbers[row]) * operand.ld
    return int64(row) * operand.ld


@cache
def fetching_functions(
    dtype: str, tile: Tile, extent: int, prepare: Any
) -> tuple[Fetching, Fetching]:
    """Return the functions for tiles that are `extent` wide; they move four elements at a time.

    ``first + j`` counts up to `width` and ``first_k + k`` up to `depth`; what lies outside becomes
    zero. The one that counts along a row of memory is rounded up to a multiple of 4: rows are
    padded by zeros. `prepare` is applied to every element.
    """
    zero = np.dtype(dtype).type(0)
    block_depth, threads, ld = tile.depth, tile.group_threads, extent + tile.padding
    across, along = extent // 4, block_depth // 4
    trips = -(-block_depth * across // threads)

    @device_function
    def place_of(trip, thread):
        """Return where in a tile a quad of elements lies that are neighbors in `j`."""
        place = uint32(thread + uint32(trip * threads))
        return uint32(place // uint32(across)), uint32(uint32(place % uint32(across)) * uint32(4))

    @device_function
    def transposed_place_of(trip, thread):
        """Return where in a tile a quad of elements lies that are neighbors in `k`."""
        place = uint32(thread + uint32(trip * threads))
        return uint32(uint32(place % uint32(along)) * uint32(4)), uint32(place // uint32(along))

    @device_function
    def hold(held, trip, values, start, is_inside):
        w, x, y, z = zero, zero, zero, zero
        if is_inside:
            w, x, y, z = load_four(values, start)
        held[trip, 0], held[trip, 1], held[trip, 2], held[trip, 3] = w, x, y, z

    @device_function
    def begin(operand, first, width, starts, thread):
        for trip in range(trips):
            k, j = place_of(trip, thread)
            column = first + j
            starts[trip] = column if k < block_depth and column < width else -1

    @device_function
    def read(operand, starts, first_k, depth, held, thread):
        for trip in range(trips):
            k, _ = place_of(trip, thread)
            row = uint32(first_k + k)
            is_inside = row < depth and starts[trip] >= 0
            start = starts[trip]
            if is_inside:
                start += start_of_row(operand, row)
            hold(held, trip, operand.values, start, is_inside)

    @device_function
    def put(held, out, thread):
        for trip in range(trips):
            k, j = place_of(trip, thread)
            if k < block_depth:
                store_four(
                    out,
                    uint32(k * uint32(ld) + j),
                    prepare(held[trip, 0]),
                    prepare(held[trip, 1]),
                    prepare(held[trip, 2]),
                    prepare(held[trip, 3]),
                )

    @device_function
    def begin_transposed(operand, first, width, starts, thread):
        for trip in range(trips):
            k, j = transposed_place_of(trip, thread)
            row = first + j
            starts[trip] = -1
            if j < extent and row < width:
                starts[trip] = start_of_row(operand, row) + k

    @device_function
    def read_transposed(operand, starts, first_k, depth, held, thread):
        for trip in range(trips):
            k, _ = transposed_place_of(trip, thread)
            is_inside = uint32(first_k + k) < depth and starts[trip] >= 0
            hold(held, trip, operand.values, starts[trip] + first_k, is_inside)

    @device_function
    def put_transposed(held, out, thread):
        for trip in range(trips):
            k, j = transposed_place_of(trip, thread)
            if j < extent:
                start = advance(out, uint32(k * uint32(ld) + j))
                for i in range(4):
                    start[i * ld] = prepare(held[trip, i])

    straight = Fetching(begin, read, put, trips)
    return straight, Fetching(begin_transposed, read_transposed, put_transposed, trips)


def place_function(tile: Tile) -> Any:
    """Return a function that tells the row and column of a thread's first number in a tile.

    The threads of a warp lie as close to a square as can be, so that they read few numbers.
    """
    threads_across = tile.columns // tile.thread_columns
    lanes_across, lanes_down = min(threads_across, 8), min(tile.rows // tile.thread_rows, 4)
    warps_across, lanes = threads_across // lanes_across, lanes_across * lanes_down

    @device_function
    def place_of(thread):
        warp, lane = uint32(thread // uint32(lanes)), uint32(thread % uint32(lanes))
        down = uint32(uint32(warp // uint32(warps_across)) * uint32(lanes_down))
        across = uint32(uint32(warp % uint32(warps_across)) * uint32(lanes_across))
        row = uint32(uint32(down + lane // uint32(lanes_across)) * uint32(4))
        column = uint32(uint32(across + lane % uint32(lanes_across)) * uint32(4))
        return row, column

    return place_of


@cache
def tile_functions(dtype: str, tile: Tile) -> TileFunctions:
    """Return the functions by which a block multiplies on its ordinary arithmetic units."""
    zero = np.dtype(dtype).type(0)
    block_depth = tile.depth
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    place_of = place_function(tile)
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
    def multiply_at(a, b, totals, k):
        for p in range(row_quads):
            a0, a1, a2, a3 = load_four(a, k * a_ld + p * row_step)
            for q in range(column_quads):
                quad = load_four(b, k * b_ld + q * column_step)
                for j in range(4):
                    totals[4 * p, 4 * q + j] += a0 * quad[j]
                    totals[4 * p + 1, 4 * q + j] += a1 * quad[j]
                    totals[4 * p + 2, 4 * q + j] += a2 * quad[j]
                    totals[4 * p + 3, 4 * q + j] += a3 * quad[j]

    multiply_all = unrolled(multiply_at, block_depth)

    @device_function
    def multiply(a, b, totals, thread):
        row, column = place_of(thread)
        multiply_all(advance(a, row), advance(b, column), totals)

    @device_function
    def write(totals, out, ld, first_row, rows, first_column, columns, accumulate, thread):
        own_row, own_column = place_of(thread)
        row, column = first_row + own_row, first_column + own_column
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
        fetching_functions(dtype, tile, tile.rows, as_it_is),
        fetching_functions(dtype, tile, tile.columns, as_it_is),
        clear,
        multiply,
        slices_function(tile),
        write,
        (thread_rows, thread_columns),
    )
