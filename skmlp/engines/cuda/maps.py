"""Kernels of programs for hidden layers: maps, dropout, and the sums for what a map learns.

Blocks take the rows of a slab in turns, and their threads the columns. Columns of padding hold
zeros: what works in the place of a product leaves them alone.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import BLOCK_THREADS, cuda, device_function, float64, int64
from skmlp.engines.cuda.formulas import specialize
from skmlp.engines.cuda.layers import padded, rows_in_slab
from skmlp.engines.cuda.memory import advance, loader, store_all
from skmlp.engines.cuda.stages import NOWHERE
from skmlp.engines.formulas import rebind
from skmlp.network import masks
from skmlp.network.activations import Activation

N_INTEGERS = tables.N_INTEGERS

word_of_step, word_of_layer, word_of_row, word_of_unit = (
    rebind(formula, float, {}, device_function)
    for formula in (
        masks.word_of_step,
        masks.word_of_layer,
        masks.word_of_row,
        masks.word_of_unit,
    )
)


@cache
def map_kernel(entry: Activation, dtype: str, trains: bool) -> Callable[..., None]:
    """Return the way forward through an activation: ``outputs = value(products)``.

    If it `trains`, what the way back needs is kept.
    """
    make = element_kernel if entry.pieces is None else pieces_kernel
    return make(entry, dtype, trains)


def element_kernel(entry: Activation, dtype: str, trains: bool) -> Callable[..., None]:
    """Return a map of elements, which keeps derivatives and slopes by learned numbers."""
    real = np.dtype(dtype).type
    value, derivative = specialize(entry.value, dtype), specialize(entry.derivative, dtype)
    slopes = all_of([specialize(learned.slope, dtype) for learned in entry.learned])
    takes_input = entry.derivative_takes_input
    load_constants = loader(dtype, len(entry.constants))
    load_numbers = loader(dtype, len(entry.learned))

    def kernel(numbers, parameters, work, constants, stage, group, slab):
        model = int64(cuda.blockIdx.z)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        ld = padded(stage.units)
        learned = advance(parameters, model * group.parameters + stage.numbers)
        shared = load_constants(constants, 1, stage.constants)
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            own = advance(work, model * group.workspace + row * ld)
            for j in range(cuda.threadIdx.x, stage.units, BLOCK_THREADS):
                own_numbers = load_numbers(learned, ld, j)
                z = own[stage.products + j]
                a = real(value(z, *shared, *own_numbers))
                if trains:
                    slope = derivative(z if takes_input else a, *shared, *own_numbers)
                    own[stage.kept + j] = real(slope)
                    by_numbers = slopes(z, *shared, *own_numbers)
                    store_all(own, stage.matrix, stage.slopes + j, by_numbers)
                own[stage.outputs + j] = a

    return kernel


def all_of(functions: list[Any]) -> Any:
    """Return a function of the same arguments that returns the results of all as a tuple."""
    if not functions:
        return device_function(lambda *arguments: ())
    first, *others = functions
    rest = all_of(others)
    return device_function(lambda *arguments: (first(*arguments), *rest(*arguments)))


def pieces_kernel(entry: Activation, dtype: str, trains: bool) -> Callable[..., None]:
    """Return a map that takes one of several pre-activations, and keeps which it was."""
    real = np.dtype(dtype).type
    better = specialize(entry.value, dtype)
    zero = real(0)

    def kernel(numbers, parameters, work, constants, stage, group, slab):
        model = int64(cuda.blockIdx.z)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        units, ld = stage.units, padded(stage.units)
        own = advance(work, model * group.workspace)
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            z = advance(own, stage.products + row * padded(stage.product_units))
            for j in range(cuda.threadIdx.x, ld, BLOCK_THREADS):
                best, number = zero, zero
                if j < units:
                    best = z[j]
                    for piece in range(1, stage.product_units // units):
                        found = better(z[piece * units + j], best)
                        # Equal numbers are no change, and neither is one NaN for another.
                        if found != best and best == best:
                            number = real(piece)
                        best = found
                own[stage.outputs + row * ld + j] = best
                if trains:
                    own[stage.kept + row * ld + j] = number

    return kernel


@cache
def multiply_kernel() -> Callable[..., None]:
    """Return the way back through a map of elements: ``deltas *= kept``."""

    def kernel(numbers, work, stage, group, slab):
        model = int64(cuda.blockIdx.z)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            own = advance(work, model * group.workspace + row * padded(stage.units))
            for j in range(cuda.threadIdx.x, stage.units, BLOCK_THREADS):
                own[stage.deltas + j] *= own[stage.kept + j]

    return kernel


@cache
def pieces_back_kernel(dtype: str) -> Callable[..., None]:
    """Return the way back through a map of pieces: the one that was taken has the delta."""
    zero = np.dtype(dtype).type(0)

    def kernel(numbers, work, stage, group, slab):
        model = int64(cuda.blockIdx.z)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        units, ld = stage.units, padded(stage.product_units)
        own = advance(work, model * group.workspace)
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            kept = advance(own, stage.kept + row * padded(units))
            deltas = advance(own, stage.deltas + row * padded(units))
            out = advance(own, stage.product_deltas + row * ld)
            for j in range(cuda.threadIdx.x, ld, BLOCK_THREADS):
                unit, piece = j % units, j // units
                is_taken = j < stage.product_units and kept[unit] == piece
                out[j] = deltas[unit] if is_taken else zero

    return kernel


@cache
def drop_kernel(dtype: str) -> Callable[..., None]:
    """Return the multiplication of some columns of a matrix by the mask of `network.masks`.

    On the way forward the matrix holds outputs, on the way back their deltas.
    """
    real = np.dtype(dtype).type
    zero = real(0)

    def kernel(numbers, work, constants, drop, group, slab):
        model = int64(cuda.blockIdx.z)
        own_numbers = advance(numbers, model * N_INTEGERS)
        rows = rows_in_slab(own_numbers, slab)
        # Steps count from one, and this one is not over.
        of_step = word_of_step(int(own_numbers[tables.SEED]), int(own_numbers[tables.STEP] + 1))
        of_layer = word_of_layer(of_step, int(drop.number))
        scale = real(constants[drop.scale])
        matrix = advance(work, model * group.workspace + drop.place)
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            word = word_of_row(of_layer, int(slab.start + row))
            values = advance(matrix, row * padded(drop.units))
            for j in range(cuda.threadIdx.x, drop.units, BLOCK_THREADS):
                is_kept = word_of_unit(word, int(j)) >= drop.lowest_kept
                values[j] = values[j] * scale if is_kept else zero

    return kernel


@cache
def gather_kernel() -> Callable[..., None]:
    """Return the copy of a slab's rows of dense X, padding included, to the workspace."""

    def kernel(numbers, source, row_numbers, work, layer, group, slab):
        model = int64(cuda.blockIdx.z)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        columns = group.source_columns
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            number = int64(row_numbers[model * group.rows + slab.start + row])
            out = advance(work, model * group.workspace + layer.inputs + row * columns)
            values = advance(source, number * columns)
            for j in range(cuda.threadIdx.x, columns, BLOCK_THREADS):
                out[j] = values[j]

    return kernel


@cache
def column_sums_kernel(dtype: str) -> Callable[..., None]:
    """Return the gradient of a vector, or what a slab adds to it: `Sums`, a thread per column."""
    real = np.dtype(dtype).type

    def kernel(numbers, gradient, work, sums, group, slab):
        model = int64(cuda.blockIdx.z)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        j = int64(cuda.blockIdx.x) * BLOCK_THREADS + cuda.threadIdx.x
        if rows == 0 or j >= sums.units:
            return
        ld = padded(sums.units)
        own = advance(work, model * group.workspace)
        # With many rows, single precision would lose what each of them adds.
        total = 0.0
        for i in range(rows):
            delta = float64(own[sums.deltas + i * ld + j])
            if sums.factors == NOWHERE:
                total += delta
            else:
                total += delta * float64(own[sums.factors + i * ld + j])
        out = advance(gradient, model * group.parameters + sums.out)
        out[j] = real(float64(out[j]) + total) if slab.start > 0 else real(total)

    return kernel
