"""The loops over batches and slabs, compiled once for every network.

A driver is called by every thread of a team at once (`skmlp.engines.cpu.team`).
"""

from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cpu.compilation import jit
from skmlp.engines.cpu.passes import (
    LD,
    OUTPUTS,
    UNITS,
    Slab,
    backward_rows,
    block_of,
    forward_rows,
    gradient_of_block,
    penalize_block,
    penalized_loss,
    step_constants,
    sum_of_losses,
    update_block,
)
from skmlp.engines.cpu.pointers import call_kernel, float64_pointer, pointer
from skmlp.engines.cpu.registers import TILE_ROWS
from skmlp.engines.cpu.team import meet


class Plan(NamedTuple):
    """Several epochs of minibatches: `orders` holds each epoch's row numbers.

    `losses` (n_epochs, 2) receives each epoch's sum of losses and number of rows.
    """

    orders: Any
    batch_size: int
    slab_size: int
    learning_rate: float
    losses: Any


@jit()
def batch_weight(source, order, start, stop):
    """Return the sum of the sample weights of a batch."""
    if not source.is_weighted:
        return float(stop - start)
    weights = float64_pointer(source.weights)
    total = 0.0
    for i in range(start, stop):
        total += weights[order[i]]
    return total


@jit()
def own_rows(rows, thread, threads):
    """Return the first and one past the last row of a thread's share, whole tiles of rows."""
    tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    first = min(rows, tiles * thread // threads * TILE_ROWS)
    last = min(rows, tiles * (thread + 1) // threads * TILE_ROWS)
    return first, last


@jit()
def run_rows(layers, source, model, work, blocks, slab, team, thread):
    """Do this thread's share of the first phase."""
    first, last = own_rows(slab.rows, thread, team.threads)
    if first == last:
        return
    rows = last - first
    position = slab.position + first
    panel = pointer(work.panels, thread * work.panel_size)
    losses = pointer(blocks.row_losses, first)
    order = slab.order
    forward_rows(layers, source, work, order, position, first, rows, panel)
    backward_rows(layers, source, work, order, position, first, rows, model.loss, losses, panel)


@jit()
def add_slab(layers, source, model, work, blocks, slab, accumulate, team, thread):
    """Compute a slab's loss, and its gradient into ``model.gradient``; return the loss."""
    if not meet(team, 1):
        return 0.0
    run_rows(layers, source, model, work, blocks, slab, team, thread)
    if not meet(team, 2):
        return 0.0
    for block in range(thread, blocks.table.shape[0], team.threads):
        out = pointer(model.gradient, blocks.table[block, 4])
        gradient_of_block(layers, source, work, blocks, block, slab, accumulate, out)
    return sum_of_losses(blocks, slab.rows)


@jit()
def run_blocks(layers, source, model, work, blocks, slab, team, thread, update):
    """Do this thread's share of the second phase.

    `update` says whether this is the first and whether it is the last slab of its batch, and
    holds the batch's weight and the constants of the step.
    """
    is_first, is_last, weight_sum, constants = update
    accumulate = not is_first
    turn = 0
    block = block_of(turn, thread, team.threads)
    while block < blocks.table.shape[0]:
        if is_first and is_last:
            gradient = pointer(model.gradient, thread * model.gradient_size)
        else:
            gradient = pointer(model.gradient, blocks.table[block, 4])
        gradient_of_block(layers, source, work, blocks, block, slab, accumulate, gradient)
        if is_last:
            penalize_block(model, blocks, block, weight_sum, gradient)
            update_block(model, blocks, block, constants, gradient)
        turn += 1
        block = block_of(turn, thread, team.threads)


@jit()
def run_batches(layers, source, model, work, blocks, plan, first_batch, last_batch, team, thread):
    """Train on the minibatches from number `first_batch` up to (not including) `last_batch`.

    Batches are numbered through all epochs of the plan. Every thread goes through the same
    loops and decisions, and does its share of each phase. The first thread writes the sums of
    the losses and the number of rows of each epoch to ``plan.losses``, and counts the steps in
    ``model.steps``. Returns whether all losses are finite.
    """
    rows_per_epoch = plan.orders.shape[1]
    per_epoch = (rows_per_epoch + plan.batch_size - 1) // plan.batch_size
    step = model.steps[0]
    if not meet(team, 1):
        return False
    meeting = 2
    for batch in range(first_batch, last_batch):
        epoch = batch // per_epoch
        order = plan.orders[epoch]
        start = (batch - epoch * per_epoch) * plan.batch_size
        stop = min(start + plan.batch_size, rows_per_epoch)
        weight_sum = batch_weight(source, order, start, stop)
        if weight_sum == 0.0:
            continue
        step += 1
        constants = step_constants(model, plan.learning_rate, step, thread)
        loss = 0.0
        for position in range(start, stop, plan.slab_size):
            slab = Slab(order, position, min(plan.slab_size, stop - position))
            run_rows(layers, source, model, work, blocks, slab, team, thread)
            if not meet(team, meeting):
                return False
            loss += sum_of_losses(blocks, slab.rows)
            is_last = position + plan.slab_size >= stop
            update = (position == start, is_last, weight_sum, constants)
            run_blocks(layers, source, model, work, blocks, slab, team, thread, update)
            if not meet(team, meeting + 1):
                return False
            meeting += 2
        loss = penalized_loss(blocks, model.alpha, loss, weight_sum)
        if thread == 0:
            plan.losses[epoch, 0] += loss * (stop - start)
            plan.losses[epoch, 1] += stop - start
            model.steps[0] = step
        if not np.isfinite(loss):
            return False
    return True


@jit()
def predict_rows(layers, source, output, work, order, out):
    """Write the outputs for the rows numbered in `order` to `out`, row after row."""
    last = layers.shape[0] - 1
    columns = layers[last, UNITS]
    ld = layers[last, LD]
    panel = pointer(work.panels, 0)
    for position in range(0, order.size, work.slab_size):
        rows = min(work.slab_size, order.size - position)
        forward_rows(layers, source, work, order, position, 0, rows, panel)
        raw = pointer(work.buffer, layers[last, OUTPUTS])
        target = pointer(out, position * columns)
        call_kernel(output, (raw, ld, rows, columns, target, panel))
