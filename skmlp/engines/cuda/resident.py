"""The resident path: one block per model, or a team of blocks, and many steps in one launch.

Parameters, gradient, optimizer state and the activations of some rows lie in shared memory as
far as there is room, each of them in global memory otherwise. The models of a launch may differ
in everything but their data set.

A team shares out the rows of a batch. Each of its blocks computes the gradient over its rows and
puts it where all can read it. They meet; each adds up all gradients for its share of the
parameters and updates those. They meet again and read all parameters. Everything else (which
rows come next, the loss, when to stop) every block computes for itself, alike.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import (
    SMALL_BLOCKS,
    WARP_THREADS,
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
from skmlp.engines.cuda.steps import begin_step, end_step, meet, sum_of_block, sum_of_losses
from skmlp.engines.cuda.updates import Sizes, update_functions

THREADS = 4 if SMALL_BLOCKS else 256

N_INTEGERS = tables.N_INTEGERS
N_DOUBLES = tables.N_DOUBLES
BATCH_ROWS = tables.BATCH_ROWS
BATCH_SIZE = tables.BATCH_SIZE
COUNT = tables.COUNT
HEALTHY = tables.HEALTHY

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
WORK_SIZE = 16
SHARE = 17  # rows of a batch for each block of a team
LAYERS = 18  # here the layers begin, each with:
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
    team : int
        Blocks per model.
    """

    columns: int
    is_sparse: int
    weighted: int
    target_columns: int
    table_columns: int
    steps: int
    team: int


class Home(NamedTuple):
    """Where a model's memory lies for a block; what is kept lies in global memory.

    Attributes
    ----------
    weights, kept_weights, state, kept_state : pointer
    partial : pointer
        The first of a team's gradients.
    total : pointer
        The block's own gradient.
    work : pointer
    """

    weights: Any
    kept_weights: Any
    state: Any
    kept_state: Any
    partial: Any
    total: Any
    work: Any


@cache
def resident_kernel(dtype: str) -> Callable[..., None]:
    """Return the kernel for one precision."""
    real = {"float32": float32, "float64": float64}[dtype]
    zero = np.dtype(dtype).type(0)
    chosen = formulas(dtype)
    products = register_products(dtype, chosen.activate, chosen.differentiate)
    forward, backward, gradient = products.forward, products.backward, products.gradient
    differentiate_row = output_functions(dtype).differentiate_row
    step_of_model, update_parameter = update_functions(dtype)

    @device_function
    def copy(source, target, size, thread, threads):
        """Copy in fours of quads: all are read before any is written, or each would wait."""
        quads = size // 4
        for i in range(thread, quads, 4 * threads):
            # A place past the end is the last one instead, which is written more than once.
            j = min(i + threads, quads - 1)
            k = min(i + 2 * threads, quads - 1)
            m = min(i + 3 * threads, quads - 1)
            a = load_four(source, uint32(4 * i))
            b = load_four(source, uint32(4 * j))
            c = load_four(source, uint32(4 * k))
            d = load_four(source, uint32(4 * m))
            store_four(target, uint32(4 * i), a[0], a[1], a[2], a[3])
            store_four(target, uint32(4 * j), b[0], b[1], b[2], b[3])
            store_four(target, uint32(4 * k), c[0], c[1], c[2], c[3])
            store_four(target, uint32(4 * m), d[0], d[1], d[2], d[3])

    @device_function
    def quad_of_row(row_numbers, i, across, source):
        """Return where a quad lies in X, and where in the workspace."""
        row = uint32(uint32(i) // across)
        column = uint32(uint32(uint32(i) % across) * uint32(4))
        place = uint32(uint32(row * across) * uint32(4) + column)
        return int64(row_numbers[row]) * source.columns + column, place

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
            # As in `copy`; here the second of two quads may be the last one instead.
            across = uint32(columns // 4)
            quads = uint32(rows * across)
            for i in range(thread, quads, 2 * threads):
                j = uint32(min(i + threads, quads - 1))
                first, first_place = quad_of_row(row_numbers, i, across, source)
                second, second_place = quad_of_row(row_numbers, j, across, source)
                a = load_four(values, first)
                b = load_four(values, second)
                store_four(out, first_place, a[0], a[1], a[2], a[3])
                store_four(out, second_place, b[0], b[1], b[2], b[3])
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

    @device_function
    def sum_of_gradients(partial, i, size, team):
        """Return one element of the sum of a team's gradients, always added in the same order."""
        total = partial[i]
        for member in range(1, team):
            total += partial[member * size + i]
        return total

    @device_function
    def settle(model, member, parameters, state, scratch, shared, thread, threads):
        """Find every part of a model its place, and bring to shared memory what lies there."""
        size = model[SIZE]
        kept_weights = advance(parameters, model[PARAMETERS])
        kept_state = advance(state, model[STATE])
        weights, own_state = kept_weights, kept_state
        partial = advance(scratch, model[GRADIENT])
        total = advance(partial, member * size)
        work = advance(scratch, model[WORK] + member * model[WORK_SIZE])
        if model[SHARED_PARAMETERS] >= 0:
            weights = advance(shared, model[SHARED_PARAMETERS])
            copy(kept_weights, weights, size, thread, threads)
        if model[SHARED_STATE] >= 0:
            own_state = advance(shared, model[SHARED_STATE])
            copy(kept_state, own_state, size * model[N_STATES], thread, threads)
        if model[SHARED_GRADIENT] >= 0:
            total = advance(shared, model[SHARED_GRADIENT])
        if model[SHARED_WORK] >= 0:
            work = advance(shared, model[SHARED_WORK])
        synchronize()
        return Home(weights, kept_weights, own_state, kept_state, partial, total, work)

    @device_function
    def update_alone(home, sizes, numbers, doubles, thread, threads):
        """Update all parameters; return a thread's part of the sum of squares."""
        squares = 0.0
        if numbers[COUNT] > 0:
            step = step_of_model(numbers, doubles)
            for i in range(thread, sizes.parameters, threads):
                squares += update_parameter(
                    home.weights, home.total[i], home.state, i, sizes, step, numbers
                )
        return squares

    @device_function
    def update_share(
        home, sizes, numbers, doubles, member, team, squares_of_team, sums, thread, threads
    ):
        """Update a block's share of the parameters, in global memory."""
        share = (sizes.parameters // 4 + team - 1) // team * 4
        first = min(member * share, sizes.parameters)
        last = min(first + share, sizes.parameters)
        squares = 0.0
        if numbers[COUNT] > 0:
            step = step_of_model(numbers, doubles)
            for i in range(first + thread, last, threads):
                gradient_here = sum_of_gradients(home.partial, i, sizes.parameters, team)
                squares += update_parameter(
                    home.kept_weights, gradient_here, home.state, i, sizes, step, numbers
                )
        squares = sum_of_block(squares, sums, thread, threads)
        if thread == 0:
            squares_of_team[member] = squares

    def kernel(
        sequence, numbers, doubles, models, values, indices, indptr, targets, sample_weights,
        orders, subset, rates, row_numbers, row_losses, losses, parameters, state, scratch,
        counters, squares_of_blocks, source,
    ):  # fmt: skip
        shared = pointer_to(cuda.shared.array(0, real, 16))
        sums = pointer_to(cuda.shared.array(WARP_THREADS, float64, 16))
        own_numbers = pointer_to(cuda.shared.array(N_INTEGERS, int64, 16))
        own_doubles = pointer_to(cuda.shared.array(N_DOUBLES, float64, 16))
        thread = uint32(cuda.threadIdx.x)
        threads = uint32(THREADS)
        team = source.team
        place = int64(cuda.blockIdx.x) // team
        member = int64(cuda.blockIdx.x) % team
        number = int64(sequence[place])
        kept_numbers = advance(numbers, number * N_INTEGERS)
        kept_doubles = advance(doubles, number * N_DOUBLES)
        for i in range(thread, N_INTEGERS, threads):
            own_numbers[i] = kept_numbers[i]
        for i in range(thread, N_DOUBLES, threads):
            own_doubles[i] = kept_doubles[i]
        synchronize()
        model = advance(models, number * source.table_columns)
        own_rows = advance(row_numbers, team * model[BATCHES] + member * own_numbers[BATCH_SIZE])
        own_losses = advance(row_losses, model[BATCHES])
        counter = advance(counters, place)
        own_squares = advance(squares_of_blocks, place * team)
        # Even if they go on where an earlier launch ended, the rows must be found.
        begin_step(
            own_numbers, own_doubles, orders, subset, rates, sample_weights, source.weighted,
            own_rows, sums, thread, threads,
        )  # fmt: skip
        if own_numbers[BATCH_ROWS] == 0:
            return
        sizes = Sizes(model[SIZE], model[N_COEFS], model[N_STATES])
        home = settle(model, member, parameters, state, scratch, shared, thread, threads)
        step = 0
        meetings = 0
        while step < source.steps and own_numbers[BATCH_ROWS] > 0:
            count = own_numbers[COUNT]
            first_row = min(member * model[SHARE], count)
            last_row = min(first_row + model[SHARE], count)
            for start in range(first_row, last_row, model[ROWS]):
                rows = min(model[ROWS], last_row - start)
                some_rows = advance(own_rows, start)
                gather(
                    values, indices, indptr, some_rows, rows, padded(model[LAYERS + FAN_IN]),
                    source, advance(home.work, model[LAYERS + INPUTS]), thread, threads,
                )  # fmt: skip
                add_gradient(
                    model, home.weights, home.work, home.total, targets, sample_weights,
                    some_rows, advance(own_losses, start), rows, start > first_row, source,
                    thread, threads,
                )  # fmt: skip
            if team > 1:
                if first_row == last_row:
                    for i in range(thread, sizes.parameters, threads):
                        home.total[i] = zero
                meetings += team
                meet(counter, meetings, thread)
            loss = sum_of_losses(own_losses, count, sums, thread, threads)
            if team > 1:
                update_share(
                    home, sizes, own_numbers, own_doubles, member, team, own_squares, sums,
                    thread, threads,
                )  # fmt: skip
                meetings += team
                meet(counter, meetings, thread)
                squares = own_squares[thread] if thread < team else 0.0
                if model[SHARED_PARAMETERS] >= 0:
                    copy(home.kept_weights, home.weights, sizes.parameters, thread, threads)
            else:
                squares = update_alone(home, sizes, own_numbers, own_doubles, thread, threads)
            end_step(own_numbers, own_doubles, loss, squares, losses, sums, thread, threads)
            begin_step(
                own_numbers, own_doubles, orders, subset, rates, sample_weights, source.weighted,
                own_rows, sums, thread, threads,
            )  # fmt: skip
            step += 1

        if model[SHARED_PARAMETERS] >= 0 and team == 1:
            copy(home.weights, home.kept_weights, sizes.parameters, thread, threads)
        if model[SHARED_STATE] >= 0:
            state_size = sizes.parameters * sizes.n_states
            copy(home.state, home.kept_state, state_size, thread, threads)
        # What the members of a team know is the same, except which parameters are finite.
        if member == 0:
            for i in range(thread, N_INTEGERS, threads):
                if i != HEALTHY:
                    kept_numbers[i] = own_numbers[i]
            for i in range(thread, N_DOUBLES, threads):
                kept_doubles[i] = own_doubles[i]
        if thread == 0 and own_numbers[HEALTHY] == 0:
            kept_numbers[HEALTHY] = 0

    return kernel
