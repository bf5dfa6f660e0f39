"""Kernels of batch normalization, compiled on first use.

They take some columns and all rows of a slab, which is whole groups of rows. Each column's sums
run over the rows of a group in their order and in double precision, whoever computes it.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import float64, int64, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from skmlp.engines.cpu.compilation import specialize
from skmlp.engines.cpu.formula_kernels import address_of_kernel, types_of
from skmlp.engines.cpu.normalization_kernels import gain_of_panel, normalized_values
from skmlp.engines.cpu.pointers import address, advance, float64_pointer, pointer_at
from skmlp.engines.cpu.products import panel_count
from skmlp.engines.cpu.registers import TILE_VECTORS, VECTOR_BYTES
from skmlp.engines.cpu.tables import (
    PRODUCT_DELTAS,
    PRODUCT_LD,
    PRODUCT_UNITS,
    PRODUCTS,
    SCALES,
    STATISTICS,
)
from skmlp.engines.cpu.tiles import Loop, VectorBuilder, emit_for_width, lane_count
from skmlp.network.normalization import EPSILON, GROUP_ROWS, MOMENTUM, unbiased_divisor

# At most so many columns are worked on at once.
WIDTH = TILE_VECTORS * VECTOR_BYTES // 4
# Scratch memory: the weights of a group and two sums of each column, in double precision, and
# behind them what their values are normalized by.
SUMS = GROUP_ROWS
SQUARES = SUMS + WIDTH
BEHIND = 2 * (SQUARES + WIDTH)


# Loops over the rows of a few columns

Vectors = list[Any]


class ColumnsBuilder(VectorBuilder):
    """Emits operations on a few vectors of columns, and on sums in double precision."""

    def __init__(self, context: Any, builder: Any, scalar: Any, vectors: int) -> None:
        super().__init__(context, builder, scalar)
        self._numbers = range(vectors)
        self._wide = ir.VectorType(ir.DoubleType(), self.lanes)

    def loads(self, base: Any) -> Vectors:
        return [self.load(base, number) for number in self._numbers]

    def stores(self, vectors: Vectors, base: Any) -> None:
        for number, vector in enumerate(vectors):
            self.store(vector, base, number)

    def differences(self, left: Vectors, right: Vectors) -> Vectors:
        return [self.builder.fsub(a, b) for a, b in zip(left, right, strict=True)]

    def products(self, left: Vectors, right: Vectors) -> Vectors:
        return [self.builder.fmul(a, b) for a, b in zip(left, right, strict=True)]

    def add_products(self, left: Vectors, right: Vectors, sums: Vectors) -> Vectors:
        return [self.multiply_add(a, b, c) for a, b, c in zip(left, right, sums, strict=True)]

    def widened(self, vectors: Vectors) -> Vectors:
        if self.itemsize == 8:
            return vectors
        return [self.builder.fpext(vector, self._wide) for vector in vectors]

    def no_sums(self) -> Vectors:
        return [ir.Constant(self._wide, [0.0] * self.lanes) for _ in self._numbers]

    def store_sums(self, vectors: Vectors, base: Any) -> None:
        for number, vector in enumerate(vectors):
            place = self.at(base, ir.Constant(ir.IntType(64), number * self.lanes))
            target = self.builder.bitcast(place, self._wide.as_pointer())
            self.builder.store(vector, target, align=8)

    def weights(self, base: Any, row: Any, *, is_wide: bool) -> Vectors:
        """Return the weight of a row, in double precision or in that of the columns."""
        value = self.builder.load(self.at(base, row))
        kind = self._wide if is_wide else self.type
        if kind.element != value.type:
            value = self.builder.fptrunc(value, kind.element)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return [self.builder.shuffle_vector(first, undefined, places)] * len(self._numbers)


def _over_rows(emit: Callable[..., None]) -> Any:
    """Return ``f(vectors, ld, rows, weights, pointers)``, a loop over at least one row.

    `emit` emits it, given a `ColumnsBuilder` and the other arguments. The first of `pointers`, a
    tuple, tells the precision.
    """

    @intrinsic
    def loop(typingctx, vectors, ld, rows, weights, pointers):
        n = types.int64
        signature = types.void(n, n, n, weights, pointers)

        def codegen(context, builder, signature, args):
            vectors, ld, rows, weights, packed = args
            scalar = signature.args[4][0].dtype
            unpacked = cgutils.unpack_tuple(builder, packed)

            def emit_width(count: int) -> None:
                v = ColumnsBuilder(context, builder, scalar, count)
                emit(v, ld, rows, weights, *unpacked)

            emit_for_width(builder, vectors, emit_width)
            return context.get_dummy_value()

        return signature, codegen

    return loop


def _emit_sums(v: Any, ld: Any, rows: Any, weights: Any, z: Any, origin: Any, out: Any) -> None:
    origins = v.loads(origin)
    loop = Loop(v.builder, v.no_sums())
    values = v.differences(v.loads(v.at(z, v.builder.mul(loop.count, ld))), origins)
    own = v.weights(weights, loop.count, is_wide=True)
    sums = v.add_products(own, v.widened(values), loop.values)
    loop.close(sums, rows)
    v.store_sums(sums, out)


def _emit_squares(
    v: Any, ld: Any, rows: Any, weights: Any, z: Any, origin: Any, mean: Any, out: Any
) -> None:
    origins, means = v.loads(origin), v.loads(mean)
    loop = Loop(v.builder, v.no_sums())
    values = v.differences(v.loads(v.at(z, v.builder.mul(loop.count, ld))), origins)
    centered = v.widened(v.differences(values, means))
    own = v.products(v.weights(weights, loop.count, is_wide=True), centered)
    sums = v.add_products(own, centered, loop.values)
    loop.close(sums, rows)
    v.store_sums(sums, out)


def _emit_values(
    v: Any,
    ld: Any,
    rows: Any,
    weights: Any,
    z: Any,
    origin: Any,
    mean: Any,
    scale: Any,
    gain: Any,
    shift: Any,
    normalized: Any,
) -> None:
    origins, means, scales = v.loads(origin), v.loads(mean), v.loads(scale)
    gains, shifts = v.loads(gain), v.loads(shift)
    loop = Loop(v.builder, [])
    place = v.builder.mul(loop.count, ld)
    row = v.at(z, place)
    centered = v.differences(v.differences(v.loads(row), origins), means)
    values = v.products(centered, scales)
    v.stores(values, v.at(normalized, place))
    v.stores(v.add_products(values, gains, shifts), row)
    loop.close([], rows)


def _emit_slopes(
    v: Any, ld: Any, rows: Any, weights: Any, delta: Any, normalized: Any, total: Any, slope: Any
) -> None:
    loop = Loop(v.builder, v.no_sums() + v.no_sums())
    place = v.builder.mul(loop.count, ld)
    deltas = v.widened(v.loads(v.at(delta, place)))
    values = v.widened(v.loads(v.at(normalized, place)))
    half = len(deltas)
    ones = [ir.Constant(d.type, [1.0] * v.lanes) for d in deltas]
    totals = v.add_products(deltas, ones, loop.values[:half])
    slopes = v.add_products(deltas, values, loop.values[half:])
    loop.close(totals + slopes, rows)
    v.store_sums(totals, total)
    v.store_sums(slopes, slope)


def _emit_back(
    v: Any,
    ld: Any,
    rows: Any,
    weights: Any,
    delta: Any,
    normalized: Any,
    shifts: Any,
    total: Any,
    slope: Any,
    factor: Any,
) -> None:
    totals, slopes, factors = v.loads(total), v.loads(slope), v.loads(factor)
    loop = Loop(v.builder, [])
    place = v.builder.mul(loop.count, ld)
    row, kept = v.at(delta, place), v.at(normalized, place)
    deltas, values = v.loads(row), v.loads(kept)
    own = v.weights(weights, loop.count, is_wide=False)
    common = v.products(own, v.add_products(values, slopes, totals))
    v.stores(v.products(factors, v.differences(deltas, common)), row)
    v.stores(v.products(deltas, values), kept)
    v.stores(deltas, v.at(shifts, place))
    loop.close([], rows)


# ``out = sum(w * (z - origin))``
sum_columns = _over_rows(_emit_sums)
# ``out = sum(w * (z - origin - mean) ** 2)``
square_columns = _over_rows(_emit_squares)
# ``normalized = (z - origin - mean) * scale`` and ``z = gain * normalized + shift``
normalize_columns = _over_rows(_emit_values)
# ``total = sum(delta)`` and ``slope = sum(delta * normalized)``
sum_slopes = _over_rows(_emit_slopes)
# ``shifts = delta``, ``delta = factor * (delta - w * (total + slope * normalized))`` and
# ``normalized *= shifts``
go_back_columns = _over_rows(_emit_back)


# Kernels


@register_jitable
def weigh(weights, weighted, order, rows, out):
    """Write the weights of some rows to `out`.

    Returns how many have weight, the first of them, the sum of the weights and that of squares.
    """
    counted, first = 0, -1
    total, squares = 0.0, 0.0
    for i in range(rows):
        weight = weights[order[i]] if weighted else 1.0
        out[i] = weight
        if weight != 0.0:
            first = i if counted == 0 else first
            counted += 1
        total += weight
        squares += weight * weight
    return counted, first, total, squares


@register_jitable
def part_of_panel(column, vectors, first, last, lanes):
    """Return which vectors of a panel lie among a layer's vectors `first` to `last`."""
    before = column // lanes
    return max(first - before, 0), min(last - before, vectors)


@register_jitable
def behind_sums(scratch, number):
    """Return a vector of scratch memory that holds a number for each column."""
    return advance(scratch, BEHIND + number * WIDTH)


def _columns_kernel(py_func: Any, array: Any, key: str) -> int:
    integers, doubles = types.CPointer(int64), types.CPointer(float64)
    given = (integers, array, array, doubles, int64, integers)
    arguments = (*given, *([int64] * 5), array)
    # What is subtracted first must be: otherwise numbers far from zero lose their precision.
    return address_of_kernel(py_func, arguments, key, keeps_order=True)


@cache
def batch_kernel(dtype: str) -> int:
    """``kernel(layer, buffer, parameters, weights, weighted, order, rows, first, last, ...)``.

    Normalizes vectors `first` to `last` of the columns of a layer's products, `rows` rows of them.
    `weights` belong to the whole data set and are gathered by the row numbers in `order`; unless
    `weighted`, all are one. The last arguments are ``matrix, updates, scratch``: the elements of a
    matrix, whether running statistics are updated (if negative, they are also what is normalized
    by), and scratch memory.
    """
    real, array = types_of(dtype)
    zero, itemsize = real(0), np.dtype(dtype).itemsize
    divisor = specialize(unbiased_divisor, np.float64)

    @register_jitable
    def summarize(z, ld, rows, vectors, group, own_weights, scratch):
        """Write what the columns of a group have in common to scratch memory."""
        _, origin_row, total, _ = group
        sums = float64_pointer(address(scratch))
        origin, mean = behind_sums(scratch, 0), behind_sums(scratch, 1)
        width = vectors * lane_count(scratch)
        for j in range(width):
            origin[j] = z[origin_row * ld + j]
        sum_columns(vectors, ld, rows, own_weights, (z, origin, advance(sums, SUMS)))
        for j in range(width):
            mean[j] = real(sums[SUMS + j] / total)
        squares = advance(sums, SQUARES)
        square_columns(vectors, ld, rows, own_weights, (z, origin, mean, squares))

    @register_jitable
    def update(running, columns, used, group, scratch):
        """Move the running statistics of `used` columns towards those of a group."""
        _, _, total, weight_squares = group
        sums = float64_pointer(address(scratch))
        origin = behind_sums(scratch, 0)
        share = 1.0 / divisor(total, weight_squares)
        for j in range(used):
            mean = float(origin[j]) + sums[SUMS + j] / total
            variance = sums[SQUARES + j] * share
            running[j] = real(running[j] + MOMENTUM * (mean - running[j]))
            old = running[columns + j]
            running[columns + j] = real(old + MOMENTUM * (variance - old))

    @register_jitable
    def recall(running, columns, used, width, scratch):
        """Write the running statistics to where a group's would be."""
        sums = float64_pointer(address(scratch))
        origin, mean = behind_sums(scratch, 0), behind_sums(scratch, 1)
        for j in range(width):
            origin[j] = running[j] if j < used else zero
            mean[j] = zero
            sums[SQUARES + j] = running[columns + j] if j < used else 1.0

    def normalize(
        layer,
        buffer,
        parameters,
        weights,
        weighted,
        order,
        rows,
        first,
        last,
        matrix,
        updates,
        scratch,
    ):
        ld, columns = layer[PRODUCT_LD], layer[PRODUCT_UNITS]
        lanes = lane_count(buffer)
        normalized = normalized_values(layer, matrix)
        own_weights = float64_pointer(address(scratch))
        squares = advance(own_weights, SQUARES)
        origin, mean, scale = (
            behind_sums(scratch, 0),
            behind_sums(scratch, 1),
            behind_sums(scratch, 2),
        )
        for start in range(0, rows, GROUP_ROWS):
            count = min(GROUP_ROWS, rows - start)
            group = weigh(weights, weighted, advance(order, start), count, own_weights)
            counted, _, total, _ = group
            counted = counted if updates >= 0 else 0
            for panel in range(panel_count(columns, lanes)):
                column, vectors, gain = gain_of_panel(layer, parameters, panel)
                begin, stop = part_of_panel(column, vectors, first, last, lanes)
                if begin >= stop:
                    continue
                own, width = begin * lanes, (stop - begin) * lanes
                used = min(width, columns - column - own)
                corner = start * ld + column + own
                z = advance(buffer, layer[PRODUCTS] + corner)
                place = layer[STATISTICS] + (column + own) * itemsize
                running = pointer_at(place, buffer)
                if counted > 1:
                    summarize(z, ld, count, stop - begin, group, own_weights, scratch)
                    share = 1.0 / total
                    if updates:
                        update(running, columns, used, group, scratch)
                else:
                    recall(running, columns, used, width, scratch)
                    share = 1.0
                scales = advance(buffer, layer[SCALES] + start // GROUP_ROWS * ld + column + own)
                for j in range(width):
                    scale[j] = real(1.0 / np.sqrt(squares[j] * share + EPSILON))
                    scales[j] = scale[j]
                gain = advance(gain, own)
                shift = advance(gain, vectors * lanes)
                out = advance(buffer, normalized + corner)
                pointers = (z, origin, mean, scale, gain, shift, out)
                normalize_columns(stop - begin, ld, count, own_weights, pointers)

    return _columns_kernel(normalize, array, f"batch {dtype}")


@cache
def batch_back_kernel(dtype: str) -> int:
    """``kernel(...)``, with the arguments of `batch_kernel`: back through it.

    Leaves the matrices whose sums over rows are the gradients of gain and shift.
    """
    real, array = types_of(dtype)
    zero = real(0)

    def backpropagate(
        layer,
        buffer,
        parameters,
        weights,
        weighted,
        order,
        rows,
        first,
        last,
        matrix,
        updates,
        scratch,
    ):
        ld, columns = layer[PRODUCT_LD], layer[PRODUCT_UNITS]
        lanes = lane_count(buffer)
        normalized = normalized_values(layer, matrix)
        own_weights = float64_pointer(address(scratch))
        sums, squares = advance(own_weights, SUMS), advance(own_weights, SQUARES)
        total, slope, factor = (
            behind_sums(scratch, 0),
            behind_sums(scratch, 1),
            behind_sums(scratch, 2),
        )
        for start in range(0, rows, GROUP_ROWS):
            count = min(GROUP_ROWS, rows - start)
            group = weigh(weights, weighted, advance(order, start), count, own_weights)
            counted, _, weight_sum, _ = group
            for panel in range(panel_count(columns, lanes)):
                column, vectors, gain = gain_of_panel(layer, parameters, panel)
                begin, stop = part_of_panel(column, vectors, first, last, lanes)
                if begin >= stop:
                    continue
                own, width = begin * lanes, (stop - begin) * lanes
                corner = start * ld + column + own
                delta = advance(buffer, layer[PRODUCT_DELTAS] + corner)
                values = advance(buffer, normalized + corner)
                shifts = advance(buffer, normalized + matrix + corner)
                scales = advance(buffer, layer[SCALES] + start // GROUP_ROWS * ld + column + own)
                sum_slopes(stop - begin, ld, count, own_weights, (delta, values, sums, squares))
                for j in range(width):
                    # The running statistics do not depend on the group.
                    total[j] = real(sums[j] / weight_sum) if counted > 1 else zero
                    slope[j] = real(squares[j] / weight_sum) if counted > 1 else zero
                    factor[j] = gain[own + j] * scales[j]
                pointers = (delta, values, shifts, total, slope, factor)
                go_back_columns(stop - begin, ld, count, own_weights, pointers)

    return _columns_kernel(backpropagate, array, f"batch {dtype}")
