"""What begins and ends a step of one model, done by one block of threads together."""

from math import isfinite

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import device_function, float64, synchronize
from skmlp.engines.cuda.formulas import formulas
from skmlp.engines.cuda.ptx import arrive, arrived
from skmlp.engines.formulas import rebind
from skmlp.network import permutation

permuted = rebind(permutation.permuted, float, {}, device_function)
step_constants = formulas("float64").step_constants


@device_function
def sum_of_block(scratch, thread, threads):
    """Return the sum of ``scratch[:threads]`` to every thread, in an order that is always the same.

    `scratch` lies in shared memory and is overwritten.
    """
    synchronize()
    count = threads
    while count > 1:
        half = (count + 1) // 2
        if thread < count - half:
            scratch[thread] += scratch[thread + half]
        synchronize()
        count = half
    total = scratch[0]
    synchronize()
    return total


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
def begin_step(numbers, doubles, orders, subset, weights, weighted, rows, scratch, thread, threads):
    """Choose the next batch of a model: its rows, what their weights sum to, its constants.

    Nothing is left to do (`BATCH_ROWS` is zero) once all epochs have passed or a loss was not
    finite. A batch without weight is passed over: `COUNT` is zero.
    """
    epoch = numbers[tables.EPOCH]
    start = numbers[tables.START]
    size = numbers[tables.N_ROWS]
    count = min(numbers[tables.BATCH_SIZE], size - start)
    if epoch >= numbers[tables.N_EPOCHS] or numbers[tables.FINITE] == 0:
        count = 0
    weight = 0.0
    for i in range(thread, count, threads):
        row = row_at(numbers, orders, subset, start + i)
        rows[i] = row
        weight += weights[row] if weighted else 1.0
    scratch[thread] = weight
    weight = sum_of_block(scratch, thread, threads)
    if thread == 0:
        numbers[tables.BATCH_ROWS] = count
        numbers[tables.COUNT] = count if weight != 0.0 else 0
        if weight != 0.0:
            doubles[tables.INVERSE_WEIGHT] = 1.0 / weight
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
    synchronize()


@device_function
def sum_of_losses(row_losses, count, scratch, thread, threads):
    """Return the sum of the losses of a batch's rows to every thread."""
    loss = 0.0
    for i in range(thread, count, threads):
        loss += row_losses[i]
    scratch[thread] = loss
    return sum_of_block(scratch, thread, threads)


@device_function
def end_step(numbers, doubles, loss, squares, losses, scratch, thread, threads):
    """Add a batch's loss to its epoch's, and go on to the next batch.

    `loss` is the sum over the rows, and `squares` each thread's part of the sum of squared
    coefficients. ``losses[2 * epoch:]`` becomes the sum of the batches' losses, each times its
    rows, and the number of those rows, once the epoch has passed or the loss is not finite.
    """
    batch_rows = numbers[tables.BATCH_ROWS]
    count = numbers[tables.COUNT]
    scratch[thread] = squares
    squares = sum_of_block(scratch, thread, threads)
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
