"""The resident path: one block per model, many steps in one launch.

Parameters, gradient, optimizer state and the activations of some rows lie in shared memory as
far as there is room, each of them in global memory otherwise. The models of a launch may differ
in everything but their data set.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import (
    SIMULATED,
    cuda,
    device_function,
    float32,
    float64,
    int64,
    synchronize,
    uint32,
)
from skmlp.engines.cuda.formulas import formulas
from skmlp.engines.cuda.layers import padded
from skmlp.engines.cuda.losses import output_functions
from skmlp.engines.cuda.memory import advance, load_four, pointer_to, store_four
from skmlp.engines.cuda.registers import register_products
from skmlp.engines.cuda.steps import begin_step, end_step
from skmlp.engines.cuda.updates import Sizes, update_function

THREADS = 4 if SIMULATED else 256

N_INTEGERS = tables.N_INTEGERS
N_DOUBLES = tables.N_DOUBLES

# Columns of the table of models. A place in shared memory is -1 for what lies in global memory.
N_LAYERS = 0
PARAMETERS = 1
STATE = 2
SIZE = 3
N_COEFS = 4
N_STATES = 5
ROWS = 6  # of a batch that are worked on at once
BATCHES = 7  # where the numbers and losses of a batch's rows begin
LOSS = 8
OUTPUT_ACTIVATION = 9
SHARED_PARAMETERS = 10
SHARED_STATE = 11
SHARED_GRADIENT = 12
SHARED_WORK = 13
GRADIENT = 14
WORK = 15
LAYERS = 16  # here the layers begin, each with:
FAN_IN = 0
FAN_OUT = 1
INPUTS = 2
OUTPUTS = 3
COEFS = 4
INTERCEPTS = 5
ACTIVATION = 6
INPUT_ACTIVATION = 7
N_LAYER_COLUMNS = 8


class Source(NamedTuple):
    """What all models of a launch have in common, and where their tables end.

    Attributes
    ----------
    columns : int
        Distance from row to row of dense X.
    is_sparse, weighted, target_columns : int
    table_columns : int
        Distance from model to model in the table of models.
    steps : int
        Steps to take, at most.
    """

    columns: int
    is_sparse: int
    weighted: int
    target_columns: int
    table_columns: int
    steps: int


@cache
def resident_kernel(dtype: str) -> Callable[..., None]:
    """Return the kernel for one precision."""
    real = {"float32": float32, "float64": float64}[dtype]
    zero = np.dtype(dtype).type(0)
    chosen = formulas(dtype)
    products = register_products(dtype, chosen.activate, chosen.differentiate)
    forward, backward, gradient = products.forward, products.backward, products.gradient
    differentiate_row = output_functions(dtype).differentiate_row
    update_parameter = update_function(dtype)

    @device_function
    def copy(source, target, size, thread, threads):
        for i in range(thread, size // 4, threads):
            w, x, y, z = load_four(source, uint32(4 * i))
            store_four(target, uint32(4 * i), w, x, y, z)

    @device_function
    def gather(values, indices, indptr, row_numbers, rows, columns, source, out, thread, threads):
        """Copy rows of X, dense or CSR, to the workspace."""
        if source.is_sparse:
            for i in range(thread, rows * columns, threads):
                out[i] = zero
            synchronize()
            for row in range(thread, rows, threads):
                number = row_numbers[row]
                for k in range(indptr[number], indptr[number + 1]):
                    out[row * columns + indices[k]] = values[k]
        else:
            quads = columns // 4
            for i in range(thread, rows * quads, threads):
                row = i // quads
                j = 4 * (i % quads)
                start = int64(row_numbers[row]) * source.columns + j
                w, x, y, z = load_four(values, start)
                store_four(out, uint32(row * columns + j), w, x, y, z)
        synchronize()

    @device_function
    def add_gradient(
        model, weights, work, total, targets, sample_weights, row_numbers, row_losses, rows,
        adds, source, thread, threads,
    ):  # fmt: skip
        """Add the gradient over the rows in the workspace to `total`, or begin it."""
        n_layers = model[N_LAYERS]
        for i in range(n_layers):
            layer = advance(model, LAYERS + i * N_LAYER_COLUMNS)
            forward(
                advance(work, layer[INPUTS]),
                advance(weights, layer[COEFS]),
                advance(weights, layer[INTERCEPTS]),
                advance(work, layer[OUTPUTS]),
                rows,
                layer[FAN_IN],
                layer[FAN_OUT],
                layer[ACTIVATION],
                thread,
                threads,
            )
            synchronize()
        last = advance(model, LAYERS + (n_layers - 1) * N_LAYER_COLUMNS)
        for row in range(thread, rows, threads):
            number = int64(row_numbers[row])
            row_losses[row] = differentiate_row(
                advance(work, last[OUTPUTS] + row * padded(last[FAN_OUT])),
                last[FAN_OUT],
                model[OUTPUT_ACTIVATION],
                model[LOSS],
                advance(targets, number * source.target_columns),
                sample_weights[number] if source.weighted else 1.0,
            )
        synchronize()
        for i in range(n_layers - 1, -1, -1):
            layer = advance(model, LAYERS + i * N_LAYER_COLUMNS)
            inputs = advance(work, layer[INPUTS])
            deltas = advance(work, layer[OUTPUTS])
            gradient(
                inputs,
                deltas,
                advance(total, layer[COEFS]),
                advance(total, layer[INTERCEPTS]),
                rows,
                layer[FAN_IN],
                layer[FAN_OUT],
                adds,
                thread,
                threads,
            )
            synchronize()
            if i > 0:
                backward(
                    deltas,
                    advance(weights, layer[COEFS]),
                    inputs,
                    rows,
                    layer[FAN_IN],
                    layer[FAN_OUT],
                    layer[INPUT_ACTIVATION],
                    thread,
                    threads,
                )
                synchronize()

    def kernel(
        sequence, numbers, doubles, models, values, indices, indptr, targets, sample_weights,
        orders, subset, row_numbers, row_losses, losses, parameters, state, scratch, source,
    ):  # fmt: skip
        shared = pointer_to(cuda.shared.array(0, real))
        sums = pointer_to(cuda.shared.array(THREADS, float64))
        thread = uint32(cuda.threadIdx.x)
        threads = uint32(THREADS)
        number = int64(sequence[cuda.blockIdx.x])
        own_numbers = advance(numbers, number * N_INTEGERS)
        own_doubles = advance(doubles, number * N_DOUBLES)
        model = advance(models, number * source.table_columns)
        own_rows = advance(row_numbers, model[BATCHES])
        own_losses = advance(row_losses, model[BATCHES])
        if own_numbers[tables.BATCH_ROWS] == 0:
            begin_step(
                own_numbers, own_doubles, orders, subset, sample_weights, source.weighted,
                own_rows, sums, thread, threads,
            )  # fmt: skip
        if own_numbers[tables.BATCH_ROWS] == 0:
            return
        sizes = Sizes(model[SIZE], model[N_COEFS], model[N_STATES])
        state_size = sizes.parameters * sizes.n_states
        kept_weights = advance(parameters, model[PARAMETERS])
        kept_state = advance(state, model[STATE])
        weights, own_state = kept_weights, kept_state
        total = advance(scratch, model[GRADIENT])
        work = advance(scratch, model[WORK])
        if model[SHARED_PARAMETERS] >= 0:
            weights = advance(shared, model[SHARED_PARAMETERS])
            copy(kept_weights, weights, sizes.parameters, thread, threads)
        if model[SHARED_STATE] >= 0:
            own_state = advance(shared, model[SHARED_STATE])
            copy(kept_state, own_state, state_size, thread, threads)
        if model[SHARED_GRADIENT] >= 0:
            total = advance(shared, model[SHARED_GRADIENT])
        if model[SHARED_WORK] >= 0:
            work = advance(shared, model[SHARED_WORK])
        synchronize()

        step = 0
        while step < source.steps and own_numbers[tables.BATCH_ROWS] > 0:
            count = own_numbers[tables.COUNT]
            squares = 0.0
            for start in range(0, count, model[ROWS]):
                rows = min(model[ROWS], count - start)
                first = advance(own_rows, start)
                gather(
                    values, indices, indptr, first, rows, padded(model[LAYERS + FAN_IN]),
                    source, advance(work, model[LAYERS + INPUTS]), thread, threads,
                )  # fmt: skip
                add_gradient(
                    model, weights, work, total, targets, sample_weights, first,
                    advance(own_losses, start), rows, start > 0, source, thread, threads,
                )  # fmt: skip
            if count > 0:
                for i in range(thread, sizes.parameters, threads):
                    squares += update_parameter(
                        weights, total, own_state, i, sizes, own_numbers, own_doubles
                    )
            end_step(own_numbers, own_doubles, own_losses, squares, losses, sums, thread, threads)
            begin_step(
                own_numbers, own_doubles, orders, subset, sample_weights, source.weighted,
                own_rows, sums, thread, threads,
            )  # fmt: skip
            step += 1

        if model[SHARED_PARAMETERS] >= 0:
            copy(weights, kept_weights, sizes.parameters, thread, threads)
        if model[SHARED_STATE] >= 0:
            copy(own_state, kept_state, state_size, thread, threads)

    return kernel
