"""Kernels of members that share weights: row i of a slab is seen by member i modulo their number.

Slabs begin with the first member.
"""

from functools import cache
from typing import Any

from numba import int64, types

from skmlp.engines.cpu.formula_kernels import NUMBA_TYPES, address_of_kernel, types_of
from skmlp.engines.cpu.map_kernels import Maps, both_of, drop_kernel, whole_rows_kernel
from skmlp.engines.cpu.pointers import advance, float64_pointer, loader
from skmlp.engines.cpu.products import columns_of_panel, panel_count
from skmlp.engines.cpu.tables import (
    CONSTANTS,
    DELTAS,
    EMBEDDED,
    EXTRA_SUMS,
    FACTOR_SUMS,
    FACTORS,
    KEPT,
    LAYER_FIELDS,
    LD,
    N_MEMBERS,
    OUTPUTS,
    PANEL_ROWS,
    PANELS,
    UNITS,
)
from skmlp.engines.cpu.tiles import lane_count
from skmlp.network.activations import activation_entry
from skmlp.network.specs import LayerSpec

# The inputs


@cache
def member_scale_kernel(dtype: str) -> int:
    """``kernel(inputs, buffer, parameters, first, last)``: scale some rows of embedded columns."""
    _, array = types_of(dtype)

    def scale(inputs, buffer, parameters, first, last):
        ld, columns, count = inputs[LD], inputs[UNITS], inputs[N_MEMBERS]
        for i in range(first, last):
            factors = advance(parameters, inputs[FACTORS] + i % count * columns)
            values = advance(buffer, inputs[EMBEDDED] + i * ld)
            out = advance(buffer, inputs[OUTPUTS] + i * ld)
            for j in range(columns):
                out[j] = factors[j] * values[j]

    integers = types.CPointer(int64)
    return address_of_kernel(scale, (integers, array, array, int64, int64), f"members {dtype}")


@cache
def member_scale_back_kernel(dtype: str) -> int:
    """``kernel(inputs, buffer, parameters, rows, first, last)``: the way back of some columns.

    Leaves the gradient by the factors of each member, summed over its rows of a slab.
    """
    real, array = types_of(dtype)
    zero = real(0)

    def go_back(inputs, buffer, parameters, rows, first, last):
        ld, columns, count = inputs[LD], inputs[UNITS], inputs[N_MEMBERS]
        for member in range(count):
            sums = advance(buffer, inputs[FACTOR_SUMS] + member * columns)
            for j in range(first, last):
                sums[j] = zero
        for i in range(rows):
            own = i % count * columns
            factors = advance(parameters, inputs[FACTORS] + own)
            sums = advance(buffer, inputs[FACTOR_SUMS] + own)
            values = advance(buffer, inputs[EMBEDDED] + i * ld)
            deltas = advance(buffer, inputs[DELTAS] + i * ld)
            for j in range(first, last):
                sums[j] += deltas[j] * values[j]
                deltas[j] *= factors[j]

    integers = types.CPointer(int64)
    arguments = (integers, array, array, int64, int64, int64)
    return address_of_kernel(go_back, arguments, f"members {dtype}")


# Hidden layers of which members have vectors of their own. Behind the intercepts a panel has a row
# for each member of what products are multiplied by, of what is added to them, and, but before the
# output layer, of what outputs are multiplied by.


def adapted_maps(layer: LayerSpec, dtype: str, *, is_last: bool) -> Maps:
    """Return what a layer is computed with in training."""
    forward = adapting_kernel(layer.activation.name, dtype, is_last)
    back = adapting_back_kernel(dtype, is_last)
    # Deltas are multiplied by the mask before they go back through whole rows.
    drop = drop_kernel(dtype, 0) if layer.dropout > 0.0 else 0
    return Maps(forward, back, keeps=True, takes_whole_rows=True, drop=drop)


@cache
def adapting_kernel(name: str, dtype: str, is_last: bool) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: ``r * f(s * z + b)``, in place.

    Keeps derivatives, and for the gradients by s and r what they are multiplied by, in matrices of
    `matrix` elements. There is no r before the output layer.
    """
    _, array = types_of(dtype)
    entry = activation_entry(name)
    both = both_of(entry, dtype)
    load = loader(NUMBA_TYPES[dtype], len(entry.constants))

    def activate(layer, buffer, parameters, first, last, matrix):
        shared = load(float64_pointer(layer[CONSTANTS]), 1, 0)
        before = advance(layer, -LAYER_FIELDS)
        ld, columns, lanes = layer[LD], layer[UNITS], lane_count(buffer)
        count = layer[N_MEMBERS]
        for panel in range(panel_count(columns, lanes)):
            column, vectors, _ = columns_of_panel(panel, columns, lanes)
            width = vectors * lanes
            own = advance(parameters, before[PANELS] + before[PANEL_ROWS] * column)
            vectors_of_members = advance(own, (before[UNITS] + 1) * width)
            for i in range(first, last):
                factors = advance(vectors_of_members, i % count * width)
                shifts = advance(factors, count * width)
                next_factors = advance(shifts, count * width)
                place = i * ld + column
                z = advance(buffer, layer[OUTPUTS] + place)
                kept = advance(buffer, layer[KEPT] + place)
                products = advance(buffer, layer[EXTRA_SUMS] + place)
                values = advance(products, 2 * matrix)
                for j in range(width):
                    products[j] = z[j]
                    value, kept[j] = both(factors[j] * z[j] + shifts[j], *shared)
                    if is_last:
                        z[j] = value
                    else:
                        values[j] = value
                        z[j] = next_factors[j] * value

    return whole_rows_kernel(activate, array, f"adapting {name} {is_last} {dtype}")


@cache
def adapting_back_kernel(dtype: str, is_last: bool) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: back through `adapting_kernel`.

    Leaves the matrices whose sums over each member's rows are the gradients of s, b and r.
    """
    _, array = types_of(dtype)

    def backpropagate(layer, buffer, parameters, first, last, matrix):
        before = advance(layer, -LAYER_FIELDS)
        ld, columns, lanes = layer[LD], layer[UNITS], lane_count(buffer)
        count = layer[N_MEMBERS]
        for panel in range(panel_count(columns, lanes)):
            column, vectors, _ = columns_of_panel(panel, columns, lanes)
            width = vectors * lanes
            own = advance(parameters, before[PANELS] + before[PANEL_ROWS] * column)
            vectors_of_members = advance(own, (before[UNITS] + 1) * width)
            for i in range(first, last):
                factors = advance(vectors_of_members, i % count * width)
                next_factors = advance(factors, 2 * count * width)
                place = i * ld + column
                delta = advance(buffer, layer[DELTAS] + place)
                kept = advance(buffer, layer[KEPT] + place)
                of_factors = advance(buffer, layer[EXTRA_SUMS] + place)
                of_shifts = advance(of_factors, matrix)
                of_next = advance(of_shifts, matrix)
                for j in range(width):
                    slope = delta[j]
                    if not is_last:
                        of_next[j] *= slope
                        slope *= next_factors[j]
                    slope *= kept[j]
                    of_shifts[j] = slope
                    of_factors[j] *= slope
                    delta[j] = slope * factors[j]

    return whole_rows_kernel(backpropagate, array, f"adapting {is_last} {dtype}")


# The outputs


@cache
def pick_kernel(dtype: str) -> int:
    """``kernel(raw, ld, own, own_ld, first, rows, columns, count)``: pick what is the member's own.

    ``own[i, j] = raw[i, m * columns + j]``, where m is the member of row number ``first + i`` of
    the slab, of `count` members.
    """
    _, array = types_of(dtype)

    def pick(raw, ld, own, own_ld, first, rows, columns, count):
        for i in range(rows):
            source = advance(raw, i * ld + (first + i) % count * columns)
            target = advance(own, i * own_ld)
            for j in range(columns):
                target[j] = source[j]

    return _of_outputs(pick, array, f"pick {dtype}")


@cache
def put_back_kernel(dtype: str) -> int:
    """``kernel(raw, ld, own, own_ld, first, rows, columns, count)``: back through `pick_kernel`.

    All that belongs to other members becomes zero.
    """
    real, array = types_of(dtype)
    zero = real(0)

    def put_back(raw, ld, own, own_ld, first, rows, columns, count):
        for i in range(rows):
            target = advance(raw, i * ld)
            for j in range(count * columns):
                target[j] = zero
            target = advance(target, (first + i) % count * columns)
            source = advance(own, i * own_ld)
            for j in range(columns):
                target[j] = source[j]

    return _of_outputs(put_back, array, f"put back {dtype}")


def _of_outputs(py_func: Any, array: Any, key: str) -> int:
    return address_of_kernel(py_func, (array, int64, array, *([int64] * 5)), key)
