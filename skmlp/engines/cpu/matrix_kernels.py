"""Kernels of optimizers that take the gradient of a weight matrix as a whole, and their memory.

All threads work on one matrix after the other, each on rows of its own, and meet in between. Every
element is summed over its whole depth in order, whoever computes it. Of products that are symmetric
the triangle above the diagonal is computed, and then mirrored.
"""

from functools import cache

import numpy as np
from numba import carray, float64, int64, types
from numba.extending import register_jitable

from skmlp.engines.cpu.compilation import inner, specialize
from skmlp.engines.cpu.formula_kernels import (
    NUMBA_TYPES,
    address_of_kernel,
    types_of,
)
from skmlp.engines.cpu.layout import aligned_zeros
from skmlp.engines.cpu.pointers import advance, loader
from skmlp.engines.cpu.products import (
    PANEL_DEPTH,
    columns_of_panel,
    leading_dimension,
    panel_count,
)
from skmlp.engines.cpu.registers import TILE_ROWS, TILE_VECTORS
from skmlp.engines.cpu.rows import address_of
from skmlp.engines.cpu.tables import (
    MATRIX_FAN_IN,
    MATRIX_FAN_OUT,
    MATRIX_FIELDS,
    MATRIX_LD,
    MATRIX_LINES,
    MATRIX_PANEL_ROWS,
    MATRIX_PANELS,
    PANEL_ROWS,
    PANELS,
    Integers,
    Matrices,
)
from skmlp.engines.cpu.team import BOARD_SIZE, Team, meet
from skmlp.engines.cpu.tiles import (
    lane_count,
    multiply_tile,
    multiply_transposed_tile,
    transpose_square,
)
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.orthogonal import FIFTH, FIRST, SMALLEST_NORM, THIRD
from skmlp.network.specs import NetworkSpec, OptimizerSpec

# For each matrix, and for each iteration.
MEETINGS, MEETINGS_OF_ITERATION = 3, 5


# Products of whole matrices


@inner
def multiply_rows(table, first, last, depth, b, ld, vectors, zeros, c, is_symmetric):
    """``C = A @ B`` for the rows of A from `first` up to `last`, whose addresses are in `table`.

    Rows of B (depth, columns) and of C lie `ld` apart and are `vectors` vectors wide. Of a product
    that is symmetric only what is on the diagonal and above is wanted.
    """
    lanes = lane_count(c)
    for start in range(0, vectors, TILE_VECTORS):
        width = min(TILE_VECTORS, vectors - start)
        stop = min(last, (start + width) * lanes) if is_symmetric else last
        for k in range(0, depth, PANEL_DEPTH):
            part = min(PANEL_DEPTH, depth - k)
            right = advance(b, k * ld + start * lanes)
            for i in range(first, stop, TILE_ROWS):
                rows = min(TILE_ROWS, last - i)
                out = advance(c, i * ld + start * lanes)
                begin = zeros if k == 0 else out
                ld_begin = 0 if k == 0 else ld
                lines = advance(table, i)
                multiply_tile(width, lines, k, rows, part, right, ld, begin, ld_begin, out, ld)


@inner
def multiply_by_itself(table, first, last, depth, a, ld, vectors, zeros, c):
    """``C = A.T @ A`` for the columns of A from `first` up to `last`; all else is the same."""
    lanes = lane_count(c)
    for start in range(0, vectors, TILE_VECTORS):
        width = min(TILE_VECTORS, vectors - start)
        stop = min(last, (start + width) * lanes)
        for k in range(0, depth, PANEL_DEPTH):
            part = min(PANEL_DEPTH, depth - k)
            right = advance(a, k * ld + start * lanes)
            lines = advance(table, k)
            for i in range(first, stop, TILE_ROWS):
                rows = min(TILE_ROWS, last - i)
                out = advance(c, i * ld + start * lanes)
                begin = zeros if k == 0 else out
                ld_begin = 0 if k == 0 else ld
                multiply_transposed_tile(
                    width, lines, i, rows, part, right, ld, begin, ld_begin, out, ld
                )


@inner
def mirror_rows(matrix, ld, first, last):
    """Fill rows of a symmetric matrix left of the diagonal with what is above it.

    `first` is a multiple of the lanes of a vector.
    """
    lanes = lane_count(matrix)
    for i in range(first, last, lanes):
        rows = min(lanes, last - i)
        whole = i if rows == lanes else 0
        for j in range(0, whole, lanes):
            above = advance(matrix, j * ld + i)
            transpose_square(above, ld, lanes, advance(matrix, i * ld + j), ld)
        for k in range(i, i + rows):
            for j in range(whole, k):
                matrix[k * ld + j] = matrix[j * ld + k]


# The kernel


@inner
def exchange_rows(own, place, first, last, matrix, ld, is_tall, scale, into_panels):
    """Copy rows of panels to a matrix, or what it holds, times `scale`, to rows of panels.

    `place` holds the length of the panels and the columns of the weights. The matrix is tall: it
    is the transposed one unless the weights are.
    """
    panel_rows, columns = place
    lanes = lane_count(own)
    for panel in range(panel_count(columns, lanes)):
        column, vectors, in_last = columns_of_panel(panel, columns, lanes)
        width = vectors * lanes
        used = width - lanes + in_last
        for k in range(first, last):
            row = advance(own, panel_rows * column + k * width)
            start = k * ld + column if is_tall else column * ld + k
            step = 1 if is_tall else ld
            for j in range(used):
                if into_panels:
                    row[j] = scale * matrix[start + j * step]
                else:
                    matrix[start + j * step] = row[j]


@inner
def share_of_lines(count, thread, threads):
    """Return the first and one past the last of some rows that a thread computes."""
    return count * thread // threads, count * (thread + 1) // threads


@inner
def share_of_triangle(count, thread, threads):
    """Do the same for rows of which only what is on the diagonal and above is computed."""
    first = count - int(count * np.sqrt((threads - thread) / threads))
    last = count - int(count * np.sqrt((threads - thread - 1) / threads))
    return first, last


@cache
def direction_kernel(name: str, dtype: str) -> int:
    """Return the address of the kernel that makes directions of the gradients of whole matrices.

    ``kernel(table, count, scales, constants, iterations, lines, room, squares, zeros, gradient,
    state, inverse, board, threads, thread, meeting)`` takes the gradient times `inverse` and the
    first of the state vectors, which is updated, and leaves the directions in `gradient`. What
    comes before them stands in `Matrices`, of which there are `count`; `zeros` is as long as a
    panel is wide. Every thread calls it; `meeting` is the number of the last meeting on `board`.
    """
    optimizer = OPTIMIZERS[name]
    assert optimizer.matrices is not None
    real, array = types_of(dtype)
    accumulate = specialize(optimizer.matrices.accumulate, real)
    n_constants = len(optimizer.matrices.constants(optimizer.defaults))
    load_constants = loader(NUMBA_TYPES[dtype], n_constants)
    first_factor, third_factor, fifth_factor = real(FIRST), real(THIRD), real(FIFTH)

    @register_jitable
    def accumulate_rows(g, momentum, place, first, last, inverse, constants, squares):
        """Write what is to be made orthogonal to `g`, and the sum of squares of each row."""
        panel_rows, columns = place
        shared = load_constants(constants, 1, 0)
        scale = real(inverse)
        lanes = lane_count(g)
        for k in range(first, last):
            squares[k] = 0.0
        for panel in range(panel_count(columns, lanes)):
            column, vectors, in_last = columns_of_panel(panel, columns, lanes)
            width = vectors * lanes
            for k in range(first, last):
                start = panel_rows * column + k * width
                total = 0.0
                for i in range(start, start + width - lanes + in_last):
                    number, momentum[i] = accumulate(g[i] * scale, momentum[i], shared)
                    g[i] = number
                    total += float(number) * float(number)
                squares[k] += total

    @register_jitable
    def divide_rows(matrix, ld, width, first, last, squares, count):
        """Divide rows of a matrix by its norm, and fill them up with zeros."""
        total = 0.0
        for k in range(count):
            total += squares[k]
        norm = np.sqrt(total)
        if norm < SMALLEST_NORM:
            norm = SMALLEST_NORM
        factor = real(1.0 / norm)
        for i in range(first, last):
            for j in range(width):
                matrix[i * ld + j] *= factor
            for j in range(width, ld):
                matrix[i * ld + j] = real(0)

    def make_directions(
        table,
        count,
        scales,
        constants,
        iterations,
        lines,
        room,
        squares,
        zeros,
        gradient,
        state,
        inverse,
        board,
        threads,
        thread,
        meeting,
    ):
        team = Team(carray(board, BOARD_SIZE), threads)
        lanes = lane_count(room)
        for number in range(count):
            own = advance(table, number * MATRIX_FIELDS)
            fan_in, fan_out, ld = own[MATRIX_FAN_IN], own[MATRIX_FAN_OUT], own[MATRIX_LD]
            place = own[MATRIX_PANEL_ROWS], fan_out
            g = advance(gradient, own[MATRIX_PANELS])
            momentum = advance(state, own[MATRIX_PANELS])
            is_tall = fan_in >= fan_out
            height, width = max(fan_in, fan_out), min(fan_in, fan_out)
            vectors = (width + lanes - 1) // lanes
            # Two matrices as high as the weights, and three square ones.
            tall, other = room, advance(room, height * ld)
            gram = advance(room, 2 * height * ld)
            factor, polynomial = advance(gram, width * ld), advance(gram, 2 * width * ld)
            tall_lines = advance(lines, own[MATRIX_LINES])
            other_lines = advance(tall_lines, height)
            gram_lines = advance(tall_lines, 2 * height)
            begin, end = share_of_lines(fan_in, thread, threads)
            first, last = share_of_lines(height, thread, threads)
            top, bottom = share_of_triangle(width, thread, threads)
            block, stop = share_of_lines(vectors, thread, threads)
            block, stop = block * lanes, min(width, stop * lanes)

            accumulate_rows(g, momentum, place, begin, end, inverse, constants, squares)
            exchange_rows(g, place, begin, end, tall, ld, is_tall, real(1), False)
            meeting += 1
            meet(team, meeting)
            divide_rows(tall, ld, width, first, last, squares, fan_in)
            for _ in range(iterations):
                meeting += 1
                meet(team, meeting)
                multiply_by_itself(
                    *(tall_lines, top, bottom, height, tall, ld, vectors, zeros, gram)
                )
                meeting += 1
                meet(team, meeting)
                mirror_rows(gram, ld, block, stop)
                for i in range(block, stop):
                    for j in range(i * ld, i * ld + vectors * lanes):
                        factor[j] = fifth_factor * gram[j]
                    factor[i * ld + i] += third_factor
                meeting += 1
                meet(team, meeting)
                multiply_rows(
                    *(gram_lines, top, bottom, width, factor, ld, vectors, zeros, polynomial),
                    True,
                )
                meeting += 1
                meet(team, meeting)
                mirror_rows(polynomial, ld, block, stop)
                for i in range(block, stop):
                    polynomial[i * ld + i] += first_factor
                meeting += 1
                meet(team, meeting)
                multiply_rows(
                    *(tall_lines, first, last, width, polynomial, ld, vectors, zeros, other),
                    False,
                )
                tall, other = other, tall
                tall_lines, other_lines = other_lines, tall_lines
            meeting += 1
            meet(team, meeting)
            scale = real(scales[number])
            exchange_rows(g, place, begin, end, tall, ld, is_tall, scale, True)
            meeting += 1
            meet(team, meeting)

    doubles, integers = types.CPointer(float64), types.CPointer(int64)
    arguments = (
        *(integers, int64, doubles, doubles, int64, integers),
        *(array, doubles, array, array, array, float64),
        *(integers, int64, int64, int64),
    )
    return address_of_kernel(make_directions, arguments, f"{name} {dtype}")


# What it is told


def list_matrices(
    network: NetworkSpec, optimizer: OptimizerSpec | None, layers: Integers, dtype: str
) -> Matrices:
    """Describe the weight matrices that an optimizer takes as a whole; there may be none.

    `layers` is the table of layers.
    """
    taken: tuple[int, ...] = ()
    if optimizer is not None:
        taken = optimizer.taken_matrices(network)
    if optimizer is None or optimizer.entry.matrices is None or not taken:
        nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
        room = np.empty(0, dtype=dtype)
        return Matrices(
            none.reshape(0, MATRIX_FIELDS), nothing, nothing, room, none, nothing, 0, 0, 0
        )
    matrices, settings = optimizer.entry.matrices, optimizer.settings
    shapes = [network.shapes[number] for number in taken]
    lds = [leading_dimension(min(shape), dtype) for shape in shapes]
    sizes = [(2 * max(shape) + 3 * min(shape)) * ld for shape, ld in zip(shapes, lds, strict=True)]
    room = aligned_zeros(max(sizes), dtype)
    table = np.zeros((len(taken), MATRIX_FIELDS), dtype=np.int64)
    lines: list[int] = []
    for own, number, (fan_in, fan_out), ld in zip(table, taken, shapes, lds, strict=True):
        panels, panel_rows = layers[number, PANELS], layers[number, PANEL_ROWS]
        own[:] = panels, panel_rows, fan_in, fan_out, ld, len(lines)
        # Those of both tall matrices and of the first square one, which follow each other.
        rows = np.arange(2 * max(fan_in, fan_out) + min(fan_in, fan_out))
        lines += (address_of(room) + rows * ld * room.itemsize).tolist()
    scales = [matrices.scale(settings, *shape) for shape in shapes]
    iterations = matrices.iterations(settings)
    return Matrices(
        table=table,
        scales=np.array(scales),
        constants=np.array(matrices.constants(settings)),
        room=room,
        lines=np.array(lines, dtype=np.int64),
        squares=np.zeros(max(fan_in for fan_in, _ in shapes)),
        kernel=direction_kernel(optimizer.name, dtype),
        iterations=iterations,
        meetings=len(taken) * (MEETINGS + MEETINGS_OF_ITERATION * iterations),
    )
