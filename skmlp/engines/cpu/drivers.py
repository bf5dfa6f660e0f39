"""The loops over batches and slabs, compiled once for every network.

A driver is called by every thread of a team at once (`skmlp.engines.cpu.team`).
"""

from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cpu.compilation import jit
from skmlp.engines.cpu.passes import (
    Slab,
    backward_chunk,
    chunk_count,
    finish_block,
    forward_chunk,
    gradient_of_block,
    penalized_loss,
)
from skmlp.engines.cpu.pointers import call_kernel, float64_pointer, pointer, pointer_at
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
def chunk_pass(shape, source, model, work, slab, chunk, chunks):
    """Forward and backward pass of one of `chunks` equal parts of a slab."""
    first = slab.rows * chunk // chunks
    last = slab.rows * (chunk + 1) // chunks
    rows = last - first
    position = slab.position + first
    forward_chunk(shape, source, work.buffer, slab.order, position, first, rows)
    total = pointer(work.chunk_losses, chunk)
    order = slab.order
    backward_chunk(shape, source, work.buffer, order, position, first, rows, model.loss, total)


@jit()
def sum_of_losses(work, chunks):
    loss = 0.0
    for chunk in range(chunks):
        loss += work.chunk_losses[chunk]
    return loss


@jit()
def run_chunks(shape, source, model, work, slab, team, thread):
    """Do this thread's share of the first phase: every `threads`-th chunk."""
    chunks = chunk_count(slab.rows)
    for chunk in range(thread, chunks, team.threads):
        chunk_pass(shape, source, model, work, slab, chunk, chunks)


@jit()
def add_slab(shape, source, model, work, slab, accumulate, team, thread):
    """Compute a slab's loss, and its gradient into ``model.gradient``; return the loss."""
    if not meet(team, 1):
        return 0.0
    run_chunks(shape, source, model, work, slab, team, thread)
    if not meet(team, 2):
        return 0.0
    for block in range(thread, work.blocks.shape[0], team.threads):
        gradient_of_block(shape, source, work, model.gradient, block, slab, accumulate)
    return sum_of_losses(work, chunk_count(slab.rows))


@jit()
def run_batches(shape, source, model, work, plan, first_batch, last_batch, team, thread):
    """Train on the minibatches from number `first_batch` up to (not including) `last_batch`.

    Batches are numbered through all epochs of the plan. Every thread goes through the same
    loops and decisions, and does every `threads`-th piece of each phase. The first thread
    writes the sums of the losses and the number of rows of each epoch to ``plan.losses``, and
    counts the steps in ``model.steps``. Returns whether all losses are finite.
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
        loss = 0.0
        for position in range(start, stop, plan.slab_size):
            slab = Slab(order, position, min(plan.slab_size, stop - position))
            run_chunks(shape, source, model, work, slab, team, thread)
            if not meet(team, meeting):
                return False
            loss += sum_of_losses(work, chunk_count(slab.rows))
            accumulate = int(position > start)
            is_last = position + plan.slab_size >= stop
            for block in range(thread, work.blocks.shape[0], team.threads):
                gradient_of_block(shape, source, work, model.gradient, block, slab, accumulate)
                if is_last:
                    finish_block(shape, model, work, block, weight_sum, plan.learning_rate, step)
            if not meet(team, meeting + 1):
                return False
            meeting += 2
        loss = penalized_loss(work, model.alpha, loss, weight_sum)
        if thread == 0:
            plan.losses[epoch, 0] += loss * (stop - start)
            plan.losses[epoch, 1] += stop - start
            model.steps[0] = step
        if not np.isfinite(loss):
            return False
    return True


@jit()
def predict_rows(shape, source, output, buffer, order, slab_size, out):
    """Write the outputs for the rows numbered in `order` to `out`, row after row."""
    last = shape.coefs.size
    columns = shape.units[last]
    for position in range(0, order.size, slab_size):
        rows = min(slab_size, order.size - position)
        forward_chunk(shape, source, buffer, order, position, 0, rows)
        raw = pointer(buffer, shape.activations[last])
        intercepts = pointer_at(shape.intercepts[last - 1], raw)
        call_kernel(output, (raw, intercepts, rows, columns))
        for i in range(rows * columns):
            out[position * columns + i] = raw[i]
