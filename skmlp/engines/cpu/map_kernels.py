"""Kernels of hidden layers: from products to outputs, back, and dropout, compiled on first use.

There are two kinds of maps. Those of *elements* know no rows: the driver calls them with any
contiguous numbers. Those of *whole rows* have numbers of each unit, several pre-activations per
unit or values that depend on all of them, and find their places in the table of layers.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import carray, float64, int32, int64, types

from skmlp.engines.cpu.compilation import check_compiles, inlined, specialize
from skmlp.engines.cpu.formula_kernels import (
    NUMBA_TYPES,
    address_of_kernel,
    types_of,
)
from skmlp.engines.cpu.pointers import advance, float64_pointer, loader, store_all
from skmlp.engines.cpu.products import columns_of_panel, panel_count
from skmlp.engines.cpu.tables import (
    CONSTANTS,
    DELTAS,
    EXTRA_SUMS,
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
    UNITS,
)
from skmlp.engines.cpu.tiles import lane_count
from skmlp.network.activations import CUSTOM_ACTIVATIONS, Activation, activation_entry
from skmlp.network.masks import (
    INPUTS,
    threshold,
    word_of_layer,
    word_of_row,
    word_of_step,
    word_of_unit,
)
from skmlp.network.noise import ANGLE, RADIUS, gaussian
from skmlp.network.specs import LayerSpec


class Maps(NamedTuple):
    """The kernels of a hidden layer, by their addresses.

    Attributes
    ----------
    forward, back : int
    keeps : bool
        Whether the way forward writes what the way back needs besides the outputs.
    takes_whole_rows : bool
    drop : int
        Zero where nothing is dropped.
    """

    forward: int
    back: int
    keeps: bool
    takes_whole_rows: bool
    drop: int


def maps_of(layer: LayerSpec, dtype: str, *, backward: bool) -> Maps:
    """Return what a layer is computed with, in training (`backward`) or in predictions."""
    name, entry = layer.activation.name, layer.entry
    takes_whole_rows = bool(entry.learned) or not entry.is_elementwise
    drops = backward and layer.dropout > 0.0
    # Of what is dropped, the output no longer tells.
    keeps = backward and (takes_whole_rows or entry.derivative_takes_input or drops)
    forward = back = 0
    if entry.learned:
        forward = learned_kernel(name, dtype, keeps)
        back = learned_back_kernel(dtype, len(entry.learned)) if backward else 0
    elif entry.pieces is not None:
        forward = pieces_kernel(name, dtype, keeps)
        back = pieces_back_kernel(dtype) if backward else 0
    elif entry.takes_whole_rows:
        forward = row_kernel(name, dtype, keeps)
        back = row_back_kernel(name, dtype) if backward else 0
    else:
        forward = keeping_kernel(name, dtype) if keeps else value_kernel(name, dtype)
        if backward:
            back = product_kernel(dtype) if keeps else derivative_kernel(name, dtype)
    drop = drop_kernel(dtype, int(not takes_whole_rows)) if drops else 0
    return Maps(forward, back, keeps, takes_whole_rows, drop)


def formulas_of(entry: Activation, dtype: str) -> tuple[Any, Any]:
    """Return an activation's value and derivative, compiled in one precision."""
    real: Any = np.dtype(dtype).type
    value, derivative = (specialize(formula, real) for formula in (entry.value, entry.derivative))
    if entry.name in CUSTOM_ACTIVATIONS:
        for role, formula in (("value", value), ("derivative", derivative)):
            check_compiles(formula, (NUMBA_TYPES[dtype],), f"The {role} of activation=Custom(...)")
    return value, derivative


def both_of(entry: Activation, dtype: str) -> Any:
    """Return a function that returns an activation's value and derivative."""
    if entry.both is not None:
        real: Any = np.dtype(dtype).type
        return specialize(entry.both, real)
    value, derivative = formulas_of(entry, dtype)
    takes_input = entry.derivative_takes_input

    @inlined
    def both(z, *constants):
        a = value(z, *constants)
        return a, derivative(z if takes_input else a, *constants)

    return both


# Elements


@cache
def value_kernel(name: str, dtype: str) -> int:
    """``kernel(z, kept, size, constants)``: ``z = value(z)``, in place; `kept` is not used."""
    _, array = types_of(dtype)
    entry = activation_entry(name)
    value, _ = formulas_of(entry, dtype)
    load = loader(NUMBA_TYPES[dtype], len(entry.constants))

    def activate(z, kept, size, constants):
        shared = load(constants, 1, 0)
        for i in range(size):
            z[i] = value(z[i], *shared)

    return _elements(activate, array, f"{name} {dtype}")


@cache
def keeping_kernel(name: str, dtype: str) -> int:
    """``kernel(z, kept, size, constants)``: ``kept = derivative`` and ``z = value(z)``."""
    _, array = types_of(dtype)
    entry = activation_entry(name)
    load = loader(NUMBA_TYPES[dtype], len(entry.constants))
    both = both_of(entry, dtype)

    def activate(z, kept, size, constants):
        shared = load(constants, 1, 0)
        for i in range(size):
            z[i], kept[i] = both(z[i], *shared)

    return _elements(activate, array, f"keeping {name} {dtype}")


@cache
def derivative_kernel(name: str, dtype: str) -> int:
    """``kernel(a, delta, size, constants)``: ``delta *= derivative(a)``, in place."""
    _, array = types_of(dtype)
    entry = activation_entry(name)
    _, derivative = formulas_of(entry, dtype)
    load = loader(NUMBA_TYPES[dtype], len(entry.constants))

    def backpropagate(a, delta, size, constants):
        shared = load(constants, 1, 0)
        for i in range(size):
            delta[i] *= derivative(a[i], *shared)

    return _elements(backpropagate, array, f"derivative {name} {dtype}")


@cache
def product_kernel(dtype: str) -> int:
    """``kernel(kept, delta, size, constants)``: ``delta *= kept``."""
    _, array = types_of(dtype)

    def backpropagate(kept, delta, size, constants):
        for i in range(size):
            delta[i] *= kept[i]

    return _elements(backpropagate, array, f"kept {dtype}")


def _elements(py_func: Any, array: Any, key: str) -> int:
    doubles = types.CPointer(float64)
    return address_of_kernel(py_func, (array, array, int64, doubles), key)


# Dropout


@cache
def drop_kernel(dtype: str, n_others: int) -> int:
    """``kernel(values, others, ld, rows, width, row, column, layer, seed, step, dropout, factor)``.

    Multiplies `width` columns of some rows by the mask of `skmlp.network.masks`, in `values` and,
    if `n_others` is 1, in `others`. The first row is number `row` of the batch, and the first
    column is unit number `column`. The share that is dropped is ``dropout[0] * factor``.
    """
    real, array = types_of(dtype)
    step_word, layer_word, row_word, unit_word, lowest_kept = mask_formulas()
    zero = real(0)

    def drop(values, others, ld, rows, width, row, column, layer, seed, step, dropout, factor):
        share = dropout[0] * factor
        scale = real(1.0 / (1.0 - share))
        lowest = lowest_kept(share)
        of_layer = layer_word(step_word(seed, step), layer)
        for i in range(rows):
            own = row_word(of_layer, row + i)
            line, other = advance(values, i * ld), advance(others, i * ld)
            for j in range(width):
                is_kept = unit_word(own, column + j) >= lowest
                line[j] = line[j] * scale if is_kept else zero
                if n_others:
                    other[j] = other[j] * scale if is_kept else zero

    doubles = types.CPointer(float64)
    arguments = (array, array, *([int64] * 8), doubles, float64)
    return address_of_kernel(drop, arguments, f"{n_others} {dtype}")


@cache
def sparse_drop_kernel(dtype: str) -> int:
    """``kernel(values, dropped, indices, indptr, order, rows, row, seed, step, dropout, factor)``.

    Writes the values of the CSR rows numbered in `order`, of which the first is number `row` of
    the batch, to where they are in `dropped`, multiplied by the mask. The share that is dropped is
    ``dropout[0] * factor``, none in step zero.
    """
    real, array = types_of(dtype)
    step_word, layer_word, row_word, unit_word, lowest_kept = mask_formulas()
    zero = real(0)

    def drop(values, dropped, indices, indptr, order, rows, row, seed, step, dropout, factor):
        share = dropout[0] * factor if step > 0 else 0.0
        scale = real(1.0 / (1.0 - share))
        lowest = lowest_kept(share)
        of_layer = layer_word(step_word(seed, step), INPUTS)
        for i in range(rows):
            own = row_word(of_layer, row + i)
            for k in range(indptr[order[i]], indptr[order[i] + 1]):
                is_kept = unit_word(own, int64(indices[k])) >= lowest
                dropped[k] = values[k] * scale if is_kept else zero

    integers, doubles = types.CPointer(int64), types.CPointer(float64)
    csr = (array, array, types.CPointer(int32), integers)
    arguments = (*csr, integers, *([int64] * 4), doubles, float64)
    return address_of_kernel(drop, arguments, f"sparse {dtype}")


@cache
def noise_kernel(dtype: str) -> int:
    """``kernel(values, ld, rows, width, row, seed, step, deviation)``: add noise to inputs.

    It is that of `skmlp.network.noise`; the first row is number `row` of the batch. In step zero
    there is none.
    """
    real, array = types_of(dtype)
    step_word, layer_word, row_word, unit_word, _ = mask_formulas()
    normal = specialize(gaussian, np.float64)

    def disturb(values, ld, rows, width, row, seed, step, deviation):
        if step == 0:
            return
        word = step_word(seed, step)
        of_radius, of_angle = layer_word(word, RADIUS), layer_word(word, ANGLE)
        for i in range(rows):
            radius, angle = row_word(of_radius, row + i), row_word(of_angle, row + i)
            line = advance(values, i * ld)
            for j in range(width):
                number = normal(unit_word(radius, j), unit_word(angle, j))
                line[j] = real(line[j] + deviation[0] * number)

    arguments = (array, *([int64] * 6), types.CPointer(float64))
    return address_of_kernel(disturb, arguments, dtype)


@cache
def mask_formulas() -> tuple[Any, ...]:
    """Return the functions of `skmlp.network.masks`, compiled."""
    formulas = (word_of_step, word_of_layer, word_of_row, word_of_unit, threshold)
    return tuple(specialize(formula, np.float64) for formula in formulas)


# Whole rows


def whole_rows_kernel(py_func: Any, array: Any, key: str) -> int:
    integers = types.CPointer(int64)
    return address_of_kernel(py_func, (integers, array, array, int64, int64, int64), key)


@cache
def learned_kernel(name: str, dtype: str, keeps: bool) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: a map with learned numbers.

    `layer` is the layer's row in the table of layers. Rows `first` to `last` of the outputs become
    their values. If `keeps`, the derivatives are kept, and the slopes by the learned numbers, in
    matrices of `matrix` elements.
    """
    real, array = types_of(dtype)
    entry = activation_entry(name)
    value, derivative = formulas_of(entry, dtype)
    slopes = all_of([specialize(learned.slope, real) for learned in entry.learned])
    load = loader(NUMBA_TYPES[dtype], len(entry.constants))
    load_numbers = loader(NUMBA_TYPES[dtype], len(entry.learned))

    def activate(layer, buffer, parameters, first, last, matrix):
        shared = load(float64_pointer(layer[CONSTANTS]), 1, 0)
        before = advance(layer, -LAYER_FIELDS)
        ld, columns, lanes = layer[LD], layer[UNITS], lane_count(buffer)
        for panel in range(panel_count(columns, lanes)):
            column, vectors, _ = columns_of_panel(panel, columns, lanes)
            width = vectors * lanes
            own = advance(parameters, before[PANELS] + before[PANEL_ROWS] * column)
            numbers = advance(own, (before[UNITS] + 1) * width)
            for i in range(first, last):
                z = advance(buffer, layer[OUTPUTS] + i * ld + column)
                kept = advance(buffer, layer[KEPT] + i * ld + column)
                sums = advance(buffer, layer[EXTRA_SUMS] + i * ld + column)
                for j in range(width):
                    x = z[j]
                    own_numbers = load_numbers(numbers, width, j)
                    if keeps:
                        kept[j] = derivative(x, *shared, *own_numbers)
                        store_all(sums, matrix, j, slopes(x, *shared, *own_numbers))
                    z[j] = value(x, *shared, *own_numbers)

    return whole_rows_kernel(activate, array, f"learned {name} {keeps} {dtype}")


def all_of(functions: list[Any]) -> Any:
    """Return a function of the same arguments that returns the results of all as a tuple."""
    first, *others = functions
    if not others:
        return inlined(lambda *arguments: (first(*arguments),))
    rest = all_of(others)
    return inlined(lambda *arguments: (first(*arguments), *rest(*arguments)))


@cache
def learned_back_kernel(dtype: str, n_numbers: int) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: back through `learned_kernel`."""
    _, array = types_of(dtype)

    def backpropagate(layer, buffer, parameters, first, last, matrix):
        ld = layer[LD]
        delta = advance(buffer, layer[DELTAS] + first * ld)
        kept = advance(buffer, layer[KEPT] + first * ld)
        sums = advance(buffer, layer[EXTRA_SUMS] + first * ld)
        for k in range(n_numbers):
            own = advance(sums, k * matrix)
            for i in range((last - first) * ld):
                own[i] *= delta[i]
        for i in range((last - first) * ld):
            delta[i] *= kept[i]

    return whole_rows_kernel(backpropagate, array, f"learned {n_numbers} {dtype}")


@cache
def pieces_kernel(name: str, dtype: str, keeps: bool) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: the best of several products.

    Pieces lie side by side, each as wide as the layer. If `keeps`, the number of the best one is
    kept.
    """
    real, array = types_of(dtype)
    entry = activation_entry(name)
    better = specialize(entry.value, real)
    zero = real(0)

    def activate(layer, buffer, parameters, first, last, matrix):
        columns = layer[UNITS]
        pieces = layer[PRODUCT_UNITS] // columns
        for i in range(first, last):
            z = advance(buffer, layer[PRODUCTS] + i * layer[PRODUCT_LD])
            out = advance(buffer, layer[OUTPUTS] + i * layer[LD])
            kept = advance(buffer, layer[KEPT] + i * layer[LD])
            for j in range(columns):
                out[j] = z[j]
                if keeps:
                    kept[j] = zero
            for piece in range(1, pieces):
                number = real(piece)
                for j in range(columns):
                    best = better(z[piece * columns + j], out[j])
                    if keeps:
                        # Equal numbers are no change, and neither is one NaN for another.
                        is_same = best == out[j] or out[j] != out[j]
                        kept[j] = kept[j] if is_same else number
                    out[j] = best

    return whole_rows_kernel(activate, array, f"pieces {name} {keeps} {dtype}")


@cache
def pieces_back_kernel(dtype: str) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: back through `pieces_kernel`."""
    real, array = types_of(dtype)
    zero = real(0)

    def backpropagate(layer, buffer, parameters, first, last, matrix):
        columns = layer[UNITS]
        pieces = layer[PRODUCT_UNITS] // columns
        for i in range(first, last):
            delta = advance(buffer, layer[DELTAS] + i * layer[LD])
            kept = advance(buffer, layer[KEPT] + i * layer[LD])
            out = advance(buffer, layer[PRODUCT_DELTAS] + i * layer[PRODUCT_LD])
            for piece in range(pieces):
                number = real(piece)
                for j in range(columns):
                    out[piece * columns + j] = delta[j] if kept[j] == number else zero

    return whole_rows_kernel(backpropagate, array, f"pieces {dtype}")


@cache
def row_kernel(name: str, dtype: str, keeps: bool) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: a map of rows as a whole.

    If `keeps`, the values are kept, which dropout may change where they are.
    """
    _, array = types_of(dtype)
    value, _ = formulas_of(activation_entry(name), dtype)

    def activate(layer, buffer, parameters, first, last, matrix):
        columns = layer[UNITS]
        for i in range(first, last):
            z = advance(buffer, layer[OUTPUTS] + i * layer[LD])
            value(carray(z, columns))
            if keeps:
                kept = advance(buffer, layer[KEPT] + i * layer[LD])
                for j in range(columns):
                    kept[j] = z[j]

    return whole_rows_kernel(activate, array, f"row {name} {keeps} {dtype}")


@cache
def row_back_kernel(name: str, dtype: str) -> int:
    """``kernel(layer, buffer, parameters, first, last, matrix)``: back through `row_kernel`."""
    _, array = types_of(dtype)
    _, derivative = formulas_of(activation_entry(name), dtype)

    def backpropagate(layer, buffer, parameters, first, last, matrix):
        columns = layer[UNITS]
        for i in range(first, last):
            delta = advance(buffer, layer[DELTAS] + i * layer[LD])
            kept = advance(buffer, layer[KEPT] + i * layer[LD])
            derivative(carray(kept, columns), carray(delta, columns))

    return whole_rows_kernel(backpropagate, array, f"row back {name} {dtype}")
