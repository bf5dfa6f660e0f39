"""What begins and ends a step of one model, done by one block of threads together."""

from math import isfinite

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import (
    WARP_THREADS,
    device_function,
    exchange,
    float64,
    synchronize,
)
from skmlp.engines.cuda.formulas import formulas
from skmlp.engines.cuda.ptx import arrive, arrived
from skmlp.engines.formulas import rebind
from skmlp.network import permutation

permuted = rebind(permutation.permuted, float, {}, device_function)
step_constants = formulas("float64").step_constants


@device_function
def sum_of_warp(value):
    """Return the sum over a warp to all of its threads."""
    distance = WARP_THREADS // 2
    while distance > 0:
        value += exchange(value, distance, WARP_THREADS)
        distance //= 2
    return value


@device_function
def sum_of_block(value, scratch, thread, threads):
    """Return the sum over the block to every thread, in an order that is always the same.

    `scratch` lies in shared memory and has an element for every warp; `threads` is a multiple of
    a warp's.
    """
    lane, warp = thread % WARP_THREADS, thread // WARP_THREADS
    value = sum_of_warp(value)
    synchronize()  # an earlier sum has been read
    if lane == 0:
        scratch[warp] = value
    synchronize()
    return sum_of_warp(scratch[lane] if lane < threads // WARP_THREADS else 0.0)


@device_function
def meet(counter, arrivals, thread):
    """Wait for the other blocks of a team: go on when so many have arrived since the launch.

    What any of them wrote to global memory before can be read by all afterwards.
    """
    synchronize()
    if thread == 0:
        arrive(counter)
        while arrived(counter) < arrivals:
            pass
    synchronize()


@device_function
def row_at(numbers, orders, subset, position):
    """Return the number of the row of X that stands at a position of the current epoch."""
    epoch = numbers[tables.EPOCH]
    size = numbers[tables.N_ROWS]
    if numbers[tables.ORDERS] >= 0:
        return orders[numbers[tables.ORDERS] + epoch * size + position]
    drawn = permuted(
        int(position),
        int(size),
        int(numbers[tables.ORDER_BITS]),
        int(numbers[tables.KEY]),
        int(numbers[tables.FIRST_EPOCH] + epoch),
    )
    return subset[numbers[tables.SUBSET] + drawn]


@device_function
def begin_step(
    numbers, doubles, orders, subset, rates, weights, weighted, rows, scratch, thread, threads
):
    """Choose the next batch of a model: its rows, what their weights sum to, rate and constants.

    Nothing is left to do (`BATCH_ROWS` is zero) once all epochs have passed or a loss was not
    finite. A batch without weight is passed over: `COUNT` is zero.
    """
    epoch = numbers[tables.EPOCH]
    start = numbers[tables.START]
    size = numbers[tables.N_ROWS]
    count = min(numbers[tables.BATCH_SIZE], size - start)
    if epoch >= numbers[tables.N_EPOCHS] or numbers[tables.FINITE] == 0:
        count = 0
    if thread == threads - 1 and count > 0 and numbers[tables.RATES] >= 0:
        # A batch that is passed over has a rate too.
        batch_size = numbers[tables.BATCH_SIZE]
        batch = epoch * ((size + batch_size - 1) // batch_size) + start // batch_size
        doubles[tables.LEARNING_RATE] = rates[numbers[tables.RATES] + batch]
    # Powers take long; the last thread has the fewest rows to draw meanwhile.
    if thread == threads - 1 and numbers[tables.OPTIMIZER] >= 0:
        constants = step_constants(
            numbers[tables.OPTIMIZER],
            (
                doubles[tables.SETTINGS],
                doubles[tables.SETTINGS + 1],
                doubles[tables.SETTINGS + 2],
                doubles[tables.SETTINGS + 3],
            ),
            doubles[tables.LEARNING_RATE],
            numbers[tables.STEP] + 1,
        )
        doubles[tables.CONSTANTS] = constants[0]
        doubles[tables.CONSTANTS + 1] = constants[1]
        doubles[tables.CONSTANTS + 2] = constants[2]
        doubles[tables.CONSTANTS + 3] = constants[3]
    weight = 0.0 if weighted else float64(count)
    for i in range(thread, count, threads):
        row = row_at(numbers, orders, subset, start + i)
        rows[i] = row
        if weighted:
            weight += weights[row]
    if weighted:
        weight = sum_of_block(weight, scratch, thread, threads)
    if thread == 0:
        numbers[tables.BATCH_ROWS] = count
        numbers[tables.COUNT] = count if weight != 0.0 else 0
        if weight != 0.0:
            doubles[tables.INVERSE_WEIGHT] = 1.0 / weight
    synchronize()


@device_function
def sum_of_losses(row_losses, count, scratch, thread, threads):
    """Return the sum of the losses of a batch's rows to every thread."""
    loss = 0.0
    for i in range(thread, count, threads):
        loss += row_losses[i]
    return sum_of_block(loss, scratch, thread, threads)


@device_function
def end_step(numbers, doubles, loss, squares, losses, scratch, thread, threads):
    """Add a batch's loss to its epoch's, and go on to the next batch.

    `loss` is the sum over the rows, and `squares` each thread's part of the sum of squared
    coefficients. ``losses[2 * epoch:]`` becomes the sum of the batches' losses, each times its
    rows, and the number of those rows, once the epoch has passed or the loss is not finite.
    """
    batch_rows = numbers[tables.BATCH_ROWS]
    count = numbers[tables.COUNT]
    squares = sum_of_block(squares, scratch, thread, threads)
    if thread == 0 and batch_rows > 0:
        if count > 0:
            numbers[tables.STEP] += 1
            loss += 0.5 * doubles[tables.ALPHA] * squares
            doubles[tables.TOTAL] += loss * doubles[tables.INVERSE_WEIGHT] * float64(count)
            doubles[tables.COUNTED] += float64(count)
        total = doubles[tables.TOTAL]
        epoch = numbers[tables.EPOCH]
        start = numbers[tables.START] + batch_rows
        is_over = start >= numbers[tables.N_ROWS]
        if not isfinite(total):
            numbers[tables.FINITE] = 0
        if is_over or not isfinite(total):
            place = numbers[tables.LOSSES] + 2 * epoch
            losses[place] = total
            losses[place + 1] = doubles[tables.COUNTED]
            doubles[tables.TOTAL] = 0.0
            doubles[tables.COUNTED] = 0.0
        numbers[tables.START] = 0 if is_over else start
        numbers[tables.EPOCH] = epoch + 1 if is_over else epoch
        numbers[tables.BATCH_ROWS] = 0
    synchronize()
