"""The loops over batches, slabs and threads, compiled once for every network.

Each driver is one Python function compiled twice: with `prange` over threads, and serial for
one thread or where a parallel region may not be entered.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

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


class Plan(NamedTuple):
    """Several epochs of minibatches: `orders` holds each epoch's row numbers."""

    orders: Any
    batch_size: int
    slab_size: int
    learning_rate: float
    steps_before: int


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


def _add_slab(shape, source, model, work, slab, accumulate, threads):
    """Compute a slab's loss, and its gradient into ``model.gradient``; return the loss."""
    chunks = chunk_count(slab.rows)
    for thread in prange(threads):
        for chunk in range(thread, chunks, threads):
            chunk_pass(shape, source, model, work, slab, chunk, chunks)
    for thread in prange(threads):
        for block in range(thread, work.blocks.shape[0], threads):
            gradient_of_block(shape, source, work, model.gradient, block, slab, accumulate)
    return sum_of_losses(work, chunks)


def _run_batches(shape, source, model, work, plan, first_batch, last_batch, losses, threads):
    """Train on the minibatches from number `first_batch` up to (not including) `last_batch`.

    Batches are numbered through all epochs of the plan. `losses` (n_epochs, 2) accumulates each
    epoch's sum of losses and number of rows. Returns the number of steps made, or, where the
    last of them met a loss that is not finite, minus that number.
    """
    rows_per_epoch = plan.orders.shape[1]
    per_epoch = (rows_per_epoch + plan.batch_size - 1) // plan.batch_size
    steps = 0
    for batch in range(first_batch, last_batch):
        epoch = batch // per_epoch
        order = plan.orders[epoch]
        start = (batch - epoch * per_epoch) * plan.batch_size
        stop = min(start + plan.batch_size, rows_per_epoch)
        weight_sum = batch_weight(source, order, start, stop)
        if weight_sum == 0.0:
            continue
        steps += 1
        loss = 0.0
        for position in range(start, stop, plan.slab_size):
            slab = Slab(order, position, min(plan.slab_size, stop - position))
            chunks = chunk_count(slab.rows)
            for thread in prange(threads):
                for chunk in range(thread, chunks, threads):
                    chunk_pass(shape, source, model, work, slab, chunk, chunks)
            loss += sum_of_losses(work, chunks)
            accumulate = int(position > start)
            weight = weight_sum if position + plan.slab_size >= stop else 0.0
            step = plan.steps_before + steps
            for thread in prange(threads):
                for block in range(thread, work.blocks.shape[0], threads):
                    gradient_of_block(shape, source, work, model.gradient, block, slab, accumulate)
                    if weight > 0.0:
                        finish_block(shape, model, work, block, weight, plan.learning_rate, step)
        loss = penalized_loss(work, model.alpha, loss, weight_sum)
        losses[epoch, 0] += loss * (stop - start)
        losses[epoch, 1] += stop - start
        if not np.isfinite(loss):
            return -steps
    return steps


@jit()
def predict_rows(shape, source, output, buffer, order, start, stop, slab_size, out):
    """Write the outputs for ``order[start:stop]`` to the same rows of `out`."""
    last = shape.coefs.size
    columns = shape.units[last]
    for position in range(start, stop, slab_size):
        rows = min(slab_size, stop - position)
        forward_chunk(shape, source, buffer, order, position, 0, rows)
        raw = pointer(buffer, shape.activations[last])
        intercepts = pointer_at(shape.intercepts[last - 1], raw)
        call_kernel(output, (raw, intercepts, rows, columns))
        for i in range(rows * columns):
            out[position * columns + i] = raw[i]


add_slab_serial = jit()(_add_slab)
add_slab_parallel = jit(parallel=True)(_add_slab)
run_batches_serial = jit()(_run_batches)
run_batches_parallel = jit(parallel=True)(_run_batches)
