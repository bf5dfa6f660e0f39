"""Kernels for one layer of many models of the same shape: the batched path.

The third dimension of every grid counts models, the first one rows: it alone may be longer than
65535, as for the gradient where there are millions of features. A kernel works on the rows of one
slab; blocks that lie beyond a model's rows, or whose model is done, return at once.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda import layout, tables
from skmlp.engines.cuda.device import (
    cuda,
    device_function,
    float32,
    float64,
    int64,
    synchronize,
    uint32,
)
from skmlp.engines.cuda.formulas import formulas
from skmlp.engines.cuda.memory import advance, load_four, pointer_to, store_four
from skmlp.engines.cuda.tensor import tensor_functions
from skmlp.engines.cuda.tiles import Operand, Tile, TileFunctions, tile_functions

N_INTEGERS = tables.N_INTEGERS

padded = device_function(layout.padded)


class LayerKernels(NamedTuple):
    """The products of a step, not yet compiled.

    Attributes
    ----------
    forward : callable
        ``outputs = activation(inputs @ coefs + intercepts)``
    backward : callable
        ``input_deltas = (output_deltas @ coefs.T) * derivative(inputs)``
    gradient : callable
        ``gradient = inputs.T @ output_deltas``, and their sum for the intercepts
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    gradient: Callable[..., None]


@device_function
def rows_in_slab(numbers, slab):
    """Return how many of the slab's rows a model's batch has."""
    return max(min(numbers[tables.COUNT] - slab.start, slab.rows), 0)


@device_function
def inputs_of(layer, source, row_numbers, work, group, slab):
    """Return a layer's inputs: rows of X where they lie, or of the workspace."""
    values = source if layer.from_source else advance(work, layer.inputs)
    ld = group.source_columns if layer.from_source else padded(layer.fan_in)
    return Operand(values, advance(row_numbers, slab.start), layer.from_source, ld)


def product_function(
    dtype: str, tile: Tile, functions: TileFunctions, transposed: tuple[bool, bool]
) -> Any:
    """Return a device function that computes a block's tile of ``left @ right``.

    The factors lie in memory as they are multiplied, or are `transposed`; as tiles they have the
    dimension summed over outermost, so a left factor as it is counts as transposed. The first
    slice's threads have their numbers in `totals` then. Where neither factor is transposed, the
    function returns what a thread's column of the right one sums up to, to those blocks that
    compute the first rows.
    """
    zero = np.dtype(dtype).type(0)
    clear, multiply, add_slices = functions.clear, functions.multiply, functions.add_slices
    begin_a, read_a, put_a, a_trips = functions.a[transposed[0]]
    begin_b, read_b, put_b, b_trips = functions.b[transposed[1]]
    a_shape, b_shape = (a_trips, 4), (b_trips, 4)
    tile_columns, tile_depth = tile.columns, tile.depth
    slice_size, stride = tile.slice_size, tile.depth * tile.slices
    a_size, b_ld = tile_depth * (tile.rows + tile.padding), tile_columns + tile.padding
    sums_columns = not any(transposed)
    real = {"float32": float32, "float64": float64}[dtype]

    @device_function
    def product(
        left, right, depth, first_row, rows, first_column, columns, shared, totals, thread,
        slice_number,
    ):  # fmt: skip
        a_starts, a_held = cuda.local.array(a_trips, int64), cuda.local.array(a_shape, real)
        b_starts, b_held = cuda.local.array(b_trips, int64), cuda.local.array(b_shape, real)
        a = advance(shared, uint32(slice_number * uint32(slice_size)))
        b = advance(a, a_size)
        depth = uint32(depth)
        column_sum = zero
        clear(totals)
        begin_a(left, first_row, rows, a_starts, thread)
        begin_b(right, first_column, columns, b_starts, thread)
        own_k = uint32(slice_number * uint32(tile_depth))
        read_a(left, a_starts, own_k, depth, a_held, thread)
        read_b(right, b_starts, own_k, depth, b_held, thread)
        k = uint32(0)
        while k < depth:
            put_a(a_held, a, thread)
            put_b(b_held, b, thread)
            synchronize()
            # The next tiles are under way while these are multiplied; past the end nothing is.
            k = uint32(k + uint32(stride))
            read_a(left, a_starts, uint32(k + own_k), depth, a_held, thread)
            read_b(right, b_starts, uint32(k + own_k), depth, b_held, thread)
            multiply(a, b, totals, thread)
            if sums_columns and first_row == 0 and thread < tile_columns:
                for row in range(tile_depth):
                    column_sum += b[row * b_ld + thread]
            synchronize()
        return add_slices(totals, column_sum, shared, thread, slice_number)

    return product


@cache
def layer_kernels(dtype: str, tile: Tile, precision: str | None = None) -> LayerKernels:
    """Return the kernels that multiply with one shape of tile, on tensor cores if asked to."""
    real = {"float32": float32, "float64": float64}[dtype]
    zero = np.dtype(dtype).type(0)
    chosen = formulas(dtype)
    activate, differentiate = chosen.activate, chosen.differentiate
    if precision is None:
        functions = tile_functions(dtype, tile)
    else:
        functions = tensor_functions(precision, tile)
    write, shape, threads = functions.write, functions.shape, tile.threads
    multiply_forward = product_function(dtype, tile, functions, (True, False))
    multiply_backward = product_function(dtype, tile, functions, (True, True))
    multiply_gradient = product_function(dtype, tile, functions, (False, False))
    tile_rows, tile_columns = tile.rows, tile.columns
    shared_size, group_threads = tile.shared_size, tile.group_threads
    quads_across = tile_columns // 4

    @device_function
    def output_of(layer, column, z):
        # The padding stays zero, or it would take part in the gradient.
        return activate(layer.activation, z) if column < layer.fan_out else zero

    def forward_kernel(numbers, source, row_numbers, parameters, work, layer, group, slab):
        model = int64(cuda.blockIdx.z)
        thread = uint32(cuda.threadIdx.x)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        first_row = int64(cuda.blockIdx.x) * tile_rows
        first_column = int64(cuda.blockIdx.y) * tile_columns
        if first_row >= rows:
            return
        own_thread, slice_number = thread % group_threads, thread // group_threads
        shared = pointer_to(cuda.shared.array(shared_size, real, 16))
        totals = cuda.local.array(shape, real)
        own_work = advance(work, model * group.workspace)
        own_parameters = advance(parameters, model * group.parameters)
        own_rows = advance(row_numbers, model * group.rows)
        left = inputs_of(layer, source, own_rows, own_work, group, slab)
        depth, columns = padded(layer.fan_in), padded(layer.fan_out)
        right = Operand(advance(own_parameters, layer.coefs), own_rows, int64(0), columns)
        multiply_forward(
            left, right, depth, first_row, rows, first_column, columns, shared, totals, own_thread,
            slice_number,
        )  # fmt: skip
        outputs = advance(own_work, layer.outputs)
        if slice_number == 0:
            write(
                totals, outputs, columns, first_row, rows, first_column, columns, False, own_thread
            )
        synchronize()
        for place in range(thread, tile_rows * quads_across, threads):
            row = first_row + place // quads_across
            column = first_column + place % quads_across * 4
            if row < rows and column < columns:
                w, x, y, z = load_four(outputs, row * columns + column)
                b0, b1, b2, b3 = load_four(own_parameters, layer.intercepts + column)
                store_four(
                    outputs,
                    row * columns + column,
                    output_of(layer, column, w + b0),
                    output_of(layer, column + 1, x + b1),
                    output_of(layer, column + 2, y + b2),
                    output_of(layer, column + 3, z + b3),
                )

    def backward_kernel(numbers, parameters, work, layer, group, slab):
        model = int64(cuda.blockIdx.z)
        thread = uint32(cuda.threadIdx.x)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        first_row = int64(cuda.blockIdx.x) * tile_rows
        first_column = int64(cuda.blockIdx.y) * tile_columns
        if first_row >= rows:
            return
        own_thread, slice_number = thread % group_threads, thread // group_threads
        shared = pointer_to(cuda.shared.array(shared_size, real, 16))
        totals = cuda.local.array(shape, real)
        own_work = advance(work, model * group.workspace)
        coefs = advance(parameters, model * group.parameters + layer.coefs)
        depth, columns = padded(layer.fan_out), padded(layer.fan_in)
        left = Operand(advance(own_work, layer.output_deltas), numbers, int64(0), depth)
        right = Operand(coefs, numbers, int64(0), depth)
        multiply_backward(
            left, right, depth, first_row, rows, first_column, columns, shared, totals, own_thread,
            slice_number,
        )  # fmt: skip
        deltas = advance(own_work, layer.input_deltas)
        inputs = advance(own_work, layer.inputs)
        if slice_number == 0:
            write(
                totals, deltas, columns, first_row, rows, first_column, columns, False, own_thread
            )
        synchronize()
        code = layer.input_activation
        for place in range(thread, tile_rows * quads_across, threads):
            row = first_row + place // quads_across
            column = first_column + place % quads_across * 4
            if row < rows and column < columns:
                w, x, y, z = load_four(deltas, row * columns + column)
                a0, a1, a2, a3 = load_four(inputs, row * columns + column)
                store_four(
                    deltas,
                    row * columns + column,
                    w * differentiate(code, a0),
                    x * differentiate(code, a1),
                    y * differentiate(code, a2),
                    z * differentiate(code, a3),
                )

    def gradient_kernel(numbers, source, row_numbers, gradient, work, layer, group, slab):
        model = int64(cuda.blockIdx.z)
        thread = uint32(cuda.threadIdx.x)
        depth = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        if depth == 0:
            return
        first_row = int64(cuda.blockIdx.x) * tile_rows
        first_column = int64(cuda.blockIdx.y) * tile_columns
        own_thread, slice_number = thread % group_threads, thread // group_threads
        shared = pointer_to(cuda.shared.array(shared_size, real, 16))
        totals = cuda.local.array(shape, real)
        own_work = advance(work, model * group.workspace)
        own_gradient = advance(gradient, model * group.parameters)
        own_rows = advance(row_numbers, model * group.rows)
        left = inputs_of(layer, source, own_rows, own_work, group, slab)
        rows, columns = padded(layer.fan_in), padded(layer.fan_out)
        right = Operand(advance(own_work, layer.output_deltas), own_rows, int64(0), columns)
        is_first = cuda.blockIdx.x == 0
        column_sum = multiply_gradient(
            left, right, depth, first_row, rows, first_column, columns, shared, totals, own_thread,
            slice_number,
        )  # fmt: skip
        out = advance(own_gradient, layer.coefs)
        adds = slab.start > 0
        if slice_number == 0:
            write(totals, out, columns, first_row, rows, first_column, columns, adds, own_thread)
        column = first_column + thread
        if is_first and thread < tile_columns and column < columns:
            place = layer.intercepts + column
            own_gradient[place] = own_gradient[place] + column_sum if adds else column_sum

    return LayerKernels(forward_kernel, backward_kernel, gradient_kernel)
