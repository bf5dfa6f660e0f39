"""Kernels of normalization, compiled on first use.

Layer normalization belongs to the map: a kernel of whole rows normalizes a few, and has them
mapped by the kernel that the layer would have without it.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, register_jitable

from skmlp.engines.cpu.formula_kernels import types_of
from skmlp.engines.cpu.map_kernels import whole_rows_kernel
from skmlp.engines.cpu.pointers import advance, call_kernel, float64_pointer
from skmlp.engines.cpu.products import columns_of_panel, panel_count
from skmlp.engines.cpu.tables import (
    CONSTANTS,
    DELTAS,
    EXTRA_SUMS,
    INNER_BACK,
    INNER_MAP,
    KEPT,
    LAYER_FIELDS,
    LD,
    OUTPUTS,
    PANEL_ROWS,
    PANELS,
    PRODUCT_DELTAS,
    PRODUCT_LD,
    PRODUCT_UNITS,
    PRODUCTS,
    SCALES,
    UNITS,
)
from skmlp.engines.cpu.tiles import Loop, VectorBuilder, copy_rows, emit_for_width, lane_count
from skmlp.network.normalization import EPSILON

# So many rows stay in the first-level cache from one loop to the next.
ROWS = 16


# The inner map


def caller(*, backward: bool, takes_whole_rows: bool) -> Any:
    """Return a function that has rows mapped, or go back, by the layer's inner kernel."""
    kernel = INNER_BACK if backward else INNER_MAP
    first_matrix, second_matrix = (KEPT, DELTAS) if backward else (OUTPUTS, KEPT)

    @register_jitable
    def whole_rows(layer, buffer, parameters, first, last, matrix):
        call_kernel(layer[kernel], (layer, buffer, parameters, first, last, matrix))

    @register_jitable
    def elements(layer, buffer, parameters, first, last, matrix):
        ld = layer[LD]
        one = advance(buffer, layer[first_matrix] + first * ld)
        other = advance(buffer, layer[second_matrix] + first * ld)
        constants = float64_pointer(layer[CONSTANTS])
        call_kernel(layer[kernel], (one, other, (last - first) * ld, constants))

    return whole_rows if takes_whole_rows else elements


@cache
def elements_kernel(dtype: str, backward: bool) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: map some rows, or go back.

    It gives an inner kernel of elements the arguments of one of whole rows.
    """
    _, array = types_of(dtype)
    call_inner = caller(backward=backward, takes_whole_rows=False)

    def pass_on(layer, buffer, parameters, first, last, matrix):
        call_inner(layer, buffer, parameters, first, last, matrix)

    return whole_rows_kernel(pass_on, array, f"elements {backward} {dtype}")


# Gain and shift


@register_jitable
def gain_of_panel(layer, parameters, panel):
    """Return a panel's first column, its vectors, and where its gain lies; the shift follows."""
    before = advance(layer, -LAYER_FIELDS)
    lanes = lane_count(parameters)
    column, vectors, _ = columns_of_panel(panel, layer[PRODUCT_UNITS], lanes)
    own = before[PANELS] + before[PANEL_ROWS] * column
    gain = advance(parameters, own + (before[PANEL_ROWS] - 2) * vectors * lanes)
    return column, vectors, gain


@register_jitable
def normalized_values(layer, matrix):
    """Return where training keeps normalized values: the matrix whose sums are the gain's."""
    before = advance(layer, -LAYER_FIELDS)
    number = before[PANEL_ROWS] - before[UNITS] - 3
    return layer[EXTRA_SUMS] + number * matrix


@intrinsic
def scale_rows(typingctx, vectors, source, ld, rows, gain, shift, out):
    """``out = source * gain + shift`` for `rows` (at least one) rows of `vectors` vectors."""
    n = types.int64
    signature = types.void(n, source, n, n, gain, shift, out)

    def codegen(context, builder, signature, args):
        vectors, source, ld, rows, gain, shift, out = args
        v = VectorBuilder(context, builder, signature.args[1].dtype)

        def emit(count: int) -> None:
            gains = [v.load(gain, number) for number in range(count)]
            shifts = [v.load(shift, number) for number in range(count)]
            loop = Loop(builder, [])
            start = builder.mul(loop.count, ld)
            origin, target = v.at(source, start), v.at(out, start)
            for number in range(count):
                value = v.load(origin, number)
                v.store(v.multiply_add(value, gains[number], shifts[number]), target, number)
            loop.close([], rows)

        emit_for_width(builder, vectors, emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def multiply_rows(typingctx, vectors, matrix, ld, rows, gain):
    """``matrix *= gain`` for `rows` (at least one) rows of `vectors` vectors."""
    n = types.int64
    signature = types.void(n, matrix, n, n, gain)

    def codegen(context, builder, signature, args):
        vectors, matrix, ld, rows, gain = args
        v = VectorBuilder(context, builder, signature.args[1].dtype)

        def emit(count: int) -> None:
            gains = [v.load(gain, number) for number in range(count)]
            loop = Loop(builder, [])
            row = v.at(matrix, builder.mul(loop.count, ld))
            for number in range(count):
                v.store(builder.fmul(v.load(row, number), gains[number]), row, number)
            loop.close([], rows)

        emit_for_width(builder, vectors, emit)
        return context.get_dummy_value()

    return signature, codegen


# Layer normalization


@cache
def layer_kernel(dtype: str, takes_whole_rows: bool, keeps: bool) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: normalize rows and map them.

    If `keeps`, the normalized values and the inverse deviations are kept.
    """
    real, array = types_of(dtype)
    map_rows = caller(backward=False, takes_whole_rows=takes_whole_rows)
    zero, one, epsilon = real(0), real(1), real(EPSILON)

    def activate(layer, buffer, parameters, first, last, matrix):
        ld, columns = layer[PRODUCT_LD], layer[PRODUCT_UNITS]
        kept = normalized_values(layer, matrix) if keeps else layer[PRODUCTS]
        share = one / real(columns)
        for begin in range(first, last, ROWS):
            stop = min(begin + ROWS, last)
            for i in range(begin, stop):
                z = advance(buffer, layer[PRODUCTS] + i * ld)
                out = advance(buffer, kept + i * ld)
                # What all values of a row have in common is taken away first, and without a
                # rounding error: sums of what is left do not cancel.
                common = z[0]
                total = zero
                for j in range(columns):
                    difference = z[j] - common
                    z[j] = difference
                    total += difference
                mean = total * share
                squares = zero
                for j in range(columns):
                    centered = z[j] - mean
                    squares += centered * centered
                scale = one / np.sqrt(squares * share + epsilon)
                for j in range(columns):
                    out[j] = (z[j] - mean) * scale
                if keeps:
                    buffer[layer[SCALES] + i] = scale
            for panel in range(panel_count(columns, lane_count(buffer))):
                column, vectors, gain = gain_of_panel(layer, parameters, panel)
                shift = advance(gain, vectors * lane_count(buffer))
                source = advance(buffer, kept + begin * ld + column)
                out = advance(buffer, layer[PRODUCTS] + begin * ld + column)
                scale_rows(vectors, source, ld, stop - begin, gain, shift, out)
            map_rows(layer, buffer, parameters, begin, stop, matrix)

    return whole_rows_kernel(activate, array, f"layer {takes_whole_rows} {keeps} {dtype}")


@cache
def layer_back_kernel(dtype: str, takes_whole_rows: bool) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: back through `layer_kernel`.

    Leaves the matrices whose sums over rows are the gradients of gain and shift.
    """
    real, array = types_of(dtype)
    go_back = caller(backward=True, takes_whole_rows=takes_whole_rows)
    zero, one = real(0), real(1)

    def backpropagate(layer, buffer, parameters, first, last, matrix):
        ld, columns = layer[PRODUCT_LD], layer[PRODUCT_UNITS]
        normalized = normalized_values(layer, matrix)
        share = one / real(columns)
        for begin in range(first, last, ROWS):
            stop = min(begin + ROWS, last)
            go_back(layer, buffer, parameters, begin, stop, matrix)
            for panel in range(panel_count(columns, lane_count(buffer))):
                column, vectors, gain = gain_of_panel(layer, parameters, panel)
                corner = begin * ld + column
                deltas = advance(buffer, layer[PRODUCT_DELTAS] + corner)
                shifts = advance(buffer, normalized + matrix + corner)
                copy_rows(vectors, deltas, ld, stop - begin, shifts, ld)
                multiply_rows(vectors, deltas, ld, stop - begin, gain)
            for i in range(begin, stop):
                delta = advance(buffer, layer[PRODUCT_DELTAS] + i * ld)
                values = advance(buffer, normalized + i * ld)
                shifts = advance(buffer, normalized + matrix + i * ld)
                scale = buffer[layer[SCALES] + i]
                total, slope = zero, zero
                for j in range(columns):
                    total += delta[j]
                    slope += delta[j] * values[j]
                total, slope = total * share, slope * share
                for j in range(columns):
                    value = values[j]
                    delta[j] = scale * (delta[j] - total - value * slope)
                    values[j] = value * shifts[j]

    return whole_rows_kernel(backpropagate, array, f"layer {takes_whole_rows} {dtype}")
