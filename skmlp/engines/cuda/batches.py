"""Kernels that do the rest of a step for many models of the same shape: the batched path."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import BLOCK_THREADS, WARP_THREADS, cuda, float64, int64, uint32
from skmlp.engines.cuda.layers import padded, rows_in_slab
from skmlp.engines.cuda.losses import output_functions
from skmlp.engines.cuda.memory import advance, pointer_to
from skmlp.engines.cuda.steps import begin_step, end_step, sum_of_block, sum_of_losses
from skmlp.engines.cuda.updates import Sizes, update_functions

N_INTEGERS = tables.N_INTEGERS
N_DOUBLES = tables.N_DOUBLES


def begin_kernel(numbers, doubles, orders, subset, rates, weights, row_numbers, group):
    """Begin the first step of a call: one block per model."""
    model = int64(cuda.blockIdx.x)
    scratch = pointer_to(cuda.shared.array(WARP_THREADS, float64, 16))
    begin_step(
        advance(numbers, model * N_INTEGERS),
        advance(doubles, model * N_DOUBLES),
        orders,
        subset,
        rates,
        weights,
        group.weighted,
        advance(row_numbers, model * group.rows),
        scratch,
        uint32(cuda.threadIdx.x),
        uint32(cuda.blockDim.x),
    )


def turn_kernel(
    numbers,
    doubles,
    orders,
    subset,
    rates,
    weights,
    row_numbers,
    row_losses,
    penalties,
    losses,
    group,
):
    """End a step and begin the next one: one block per model."""
    model = int64(cuda.blockIdx.x)
    thread = uint32(cuda.threadIdx.x)
    threads = uint32(cuda.blockDim.x)
    scratch = pointer_to(cuda.shared.array(WARP_THREADS, float64, 16))
    own_numbers = advance(numbers, model * N_INTEGERS)
    own_doubles = advance(doubles, model * N_DOUBLES)
    squares = 0.0
    if own_numbers[tables.COUNT] > 0:
        for i in range(thread, group.penalties, threads):
            squares += penalties[model * group.penalties + i]
    loss = sum_of_losses(
        advance(row_losses, model * group.rows),
        own_numbers[tables.COUNT],
        scratch,
        thread,
        threads,
    )
    end_step(
        own_numbers,
        own_doubles,
        loss,
        squares,
        losses,
        scratch,
        thread,
        threads,
    )
    begin_step(
        own_numbers,
        own_doubles,
        orders,
        subset,
        rates,
        weights,
        group.weighted,
        advance(row_numbers, model * group.rows),
        scratch,
        thread,
        threads,
    )


class BatchKernels(NamedTuple):
    """What is compiled for each precision.

    Attributes
    ----------
    scatter : callable
        ``inputs[i] = X[rows[i]]`` for CSR X: one block per row of the slab.
    loss : callable
        Turns raw predictions into derivatives of the loss, and writes the rows' losses.
    output : callable
        Turns raw predictions into outputs.
    update : callable
        The optimizer, for every parameter; also the sums of squared coefficients.
    """

    scatter: Callable[..., None]
    loss: Callable[..., None]
    output: Callable[..., None]
    update: Callable[..., None]


@cache
def batch_kernels(dtype: str) -> BatchKernels:
    zero = np.dtype(dtype).type(0)
    functions = output_functions(dtype)
    activate_row, differentiate_row = functions.activate_row, functions.differentiate_row
    step_of_model, update_parameter = update_functions(dtype)

    def scatter_kernel(numbers, values, indices, indptr, row_numbers, work, layer, group, slab):
        model = int64(cuda.blockIdx.z)
        row = int64(cuda.blockIdx.x)
        if row >= rows_in_slab(advance(numbers, model * N_INTEGERS), slab):
            return
        columns = padded(layer.fan_in)
        out = advance(work, model * group.workspace + layer.inputs + row * columns)
        number = int64(row_numbers[model * group.rows + slab.start + row])
        for j in range(cuda.threadIdx.x, columns, cuda.blockDim.x):
            out[j] = zero
        cuda.syncthreads()
        for k in range(indptr[number] + cuda.threadIdx.x, indptr[number + 1], cuda.blockDim.x):
            out[indices[k]] = values[k]

    def loss_kernel(numbers, targets, weights, row_numbers, row_losses, work, layer, group, slab):
        model = int64(cuda.blockIdx.z)
        row = int64(cuda.blockIdx.x) * BLOCK_THREADS + cuda.threadIdx.x
        if row >= rows_in_slab(advance(numbers, model * N_INTEGERS), slab):
            return
        place = model * group.rows + slab.start + row
        number = int64(row_numbers[place])
        z = advance(work, model * group.workspace + layer.outputs + row * padded(layer.fan_out))
        row_losses[place] = differentiate_row(
            z,
            layer.fan_out,
            group.output_activation,
            group.loss,
            advance(targets, number * group.target_columns),
            weights[number] if group.weighted else 1.0,
        )

    def output_kernel(numbers, work, layer, group, slab):
        model = int64(cuda.blockIdx.z)
        row = int64(cuda.blockIdx.x) * BLOCK_THREADS + cuda.threadIdx.x
        if row >= rows_in_slab(advance(numbers, model * N_INTEGERS), slab):
            return
        z = advance(work, model * group.workspace + layer.outputs + row * padded(layer.fan_out))
        activate_row(z, layer.fan_out, group.output_activation)

    def update_kernel(numbers, doubles, parameters, gradient, state, penalties, group):
        model = int64(cuda.blockIdx.z)
        own_numbers = advance(numbers, model * N_INTEGERS)
        if own_numbers[tables.COUNT] == 0:
            return
        thread = uint32(cuda.threadIdx.x)
        scratch = pointer_to(cuda.shared.array(WARP_THREADS, float64, 16))
        own_parameters = advance(parameters, model * group.parameters)
        own_gradient = advance(gradient, model * group.parameters)
        own_state = advance(state, model * group.state)
        own_doubles = advance(doubles, model * N_DOUBLES)
        sizes = Sizes(group.parameters, group.n_coefs, group.n_states)
        step = step_of_model(own_numbers, own_doubles)
        squares = 0.0
        first = int64(cuda.blockIdx.x) * BLOCK_THREADS + thread
        for i in range(first, group.parameters, int64(cuda.gridDim.x) * BLOCK_THREADS):
            squares += update_parameter(
                own_parameters, own_gradient[i], own_state, i, sizes, step, own_numbers
            )
        squares = sum_of_block(squares, scratch, thread, uint32(BLOCK_THREADS))
        if thread == 0:
            penalties[model * group.penalties + cuda.blockIdx.x] = squares

    return BatchKernels(scatter_kernel, loss_kernel, output_kernel, update_kernel)
