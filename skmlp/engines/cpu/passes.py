"""The pieces of one training step, each small enough for one thread.

A step has two phases:

1. *rows*: forward pass, loss and deltas of every layer, for some rows of the batch;
2. *blocks of parameters*: gradient over all rows, penalty, optimizer update.

No piece writes where another reads or writes, and no number depends on the others beside which
it is computed (`skmlp.engines.cpu.products`). So the pieces of a phase may be cut and shared out
among threads in any way with bitwise the same result, and no gradient is ever reduced over
threads.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.cpu.compilation import jit
from skmlp.engines.cpu.pointers import advance, call_kernel, pointer, pointer_at
from skmlp.engines.cpu.products import multiply, multiply_transposed
from skmlp.engines.cpu.rows import list_rows, locate_rows, sparse_forward, sparse_gradient
from skmlp.network.parameters import ParameterLayout
from skmlp.network.specs import NetworkSpec

Integers = npt.NDArray[np.int64]

# Columns of the table of layers, which describes a network to the kernels.
UNITS = 0
LD = 1  # leading dimension of the layer's matrices in the workspace
OUTPUTS = 2  # offset of the layer's outputs in the workspace
DELTAS = 3  # offset of the layer's deltas in the workspace
COEFS = 4  # address of the coefficients that lead to the next layer
INTERCEPTS = 5  # address of the intercepts of the next layer
ACTIVATE = 6  # address of the kernel of the layer's activation (hidden layers)
DERIVATIVE = 7  # address of the kernel of its derivative (hidden layers)
LAYER_FIELDS = 8

CONSTANTS_STRIDE = 16  # two cache lines apart, so that threads do not disturb each other

BLOCK_ROWS = 8
MIN_BLOCK_SIZE = 512
MAX_BLOCK_SIZE = 2**15
BLOCKS_PER_LAYER = 16


class Slab(NamedTuple):
    """Rows worked on at once: `rows` of them, from ``order[position]`` on."""

    order: Integers
    position: int
    rows: int


class Workspace(NamedTuple):
    """Scratch memory for the rows of a slab.

    `buffer` holds each layer's outputs and deltas, `row_table` the addresses of the rows of each
    layer's outputs (`slab_size` for every layer), and `panels` what one thread needs for itself,
    `panel_size` elements each. `zeros` is as long as the widest layer.
    """

    buffer: Any
    row_table: Integers
    slab_size: int
    panels: Any
    panel_size: int
    zeros: Any


class Model(NamedTuple):
    """What a step reads and writes besides the workspace.

    `gradient` is as long as `parameters` where it is asked for, or where it grows over several
    slabs; otherwise each thread has room for one block of `gradient_size` elements in it.
    `steps` counts the updates made; `constants` has `CONSTANTS_STRIDE` places for each thread.
    `loss`, `prepare` and `update` are addresses of kernels.
    """

    parameters: Any
    gradient: Any
    gradient_size: int
    state: Any
    settings: Any
    steps: Integers
    constants: Any
    loss: int
    prepare: int
    update: int
    alpha: float


class Blocks(NamedTuple):
    """How the parameters are split, and what is summed up by piece.

    `table` has one row per block: layer, first and last row of the coefficients (or first and
    last intercept), whether it is one of intercepts, offset of its first parameter, number of
    parameters.
    """

    table: Integers
    row_losses: Any
    penalties: Any


def block_table(network: NetworkSpec) -> Integers:
    """Split the parameters into blocks, the most expensive first."""
    layout = ParameterLayout(network.layer_units)
    rows = []
    for layer, (fan_in, fan_out) in enumerate(layout.shapes):
        # Narrow layers cost as much as if they filled a vector.
        height = max(-(-MIN_BLOCK_SIZE // max(fan_out, 16)), -(-fan_in // BLOCKS_PER_LAYER))
        height = min(height, MAX_BLOCK_SIZE // fan_out)
        height = max(-(-height // BLOCK_ROWS), 1) * BLOCK_ROWS
        for first in range(0, fan_in, height):
            last = min(first + height, fan_in)
            offset = layout.coef_offsets[layer] + first * fan_out
            size = (last - first) * fan_out
            cost = (last - first) * max(fan_out, 16)
            rows.append((cost, (layer, first, last, 0, offset, size)))
        offset = layout.intercept_offsets[layer]
        rows.append((fan_out, (layer, 0, fan_out, 1, offset, fan_out)))
    rows.sort(key=lambda row: -row[0])
    return np.array([row for _, row in rows], dtype=np.int64)


@jit()
def block_of(turn, thread, threads):
    """Return the block a thread does in its turn: first to last thread, then last to first.

    Blocks are sorted by cost, so this shares it out more evenly than always beginning with the
    first thread.
    """
    return turn * threads + (threads - 1 - thread if turn % 2 else thread)


@jit()
def forward_rows(layers, source, work, order, position, first, rows, panel):
    """Fill the workspace with the outputs of every layer for `rows` rows from position on.

    They lie at row `first` of each layer's part. The last layer holds the raw prediction.
    """
    last = layers.shape[0] - 1
    rows_used = pointer(order, position)
    for layer in range(last):
        fan_in = layers[layer, UNITS]
        fan_out = layers[layer + 1, UNITS]
        ld_in = layers[layer, LD]
        ld_out = layers[layer + 1, LD]
        inputs = pointer(work.buffer, layers[layer, OUTPUTS] + first * ld_in)
        outputs = pointer(work.buffer, layers[layer + 1, OUTPUTS] + first * ld_out)
        coefs = pointer_at(layers[layer, COEFS], outputs)
        intercepts = pointer_at(layers[layer, INTERCEPTS], outputs)
        if layer == 0 and source.is_sparse:
            sparse_forward(source, rows_used, rows, coefs, intercepts, fan_out, outputs, ld_out)
        else:
            table = pointer(work.row_table, layer * work.slab_size + first)
            if layer == 0:
                locate_rows(source, rows_used, rows, fan_in, inputs, ld_in, table)
            else:
                list_rows(inputs, ld_in, rows, table)
            multiply(
                table,
                rows,
                fan_in,
                coefs,
                fan_out,
                0,
                fan_out,
                intercepts,
                0,
                outputs,
                ld_out,
                panel,
            )
        if layer < last - 1:
            call_kernel(layers[layer + 1, ACTIVATE], (outputs, rows * ld_out))


@jit()
def backward_rows(layers, source, work, order, position, first, rows, loss, losses, panel):
    """Replace the raw predictions by deltas and propagate them to every hidden layer.

    The rows' weighted losses go to `losses`.
    """
    last = layers.shape[0] - 1
    columns = layers[last, UNITS]
    ld = layers[last, LD]
    raw = pointer(work.buffer, layers[last, OUTPUTS] + first * ld)
    targets = pointer_at(source.targets, raw)
    weights = pointer_at(source.weights, losses)
    rows_used = pointer(order, position)
    weighted = source.is_weighted
    call_kernel(
        loss, (raw, ld, targets, weights, weighted, rows_used, rows, columns, losses, panel)
    )
    # The last layer's deltas have no table of their own: its outputs are nobody's input.
    table = pointer(work.row_table, last * work.slab_size + first)
    for layer in range(last - 1, 0, -1):
        fan_in = layers[layer, UNITS]
        fan_out = layers[layer + 1, UNITS]
        ld_above = layers[layer + 1, LD]
        ld_below = layers[layer, LD]
        above = pointer(work.buffer, layers[layer + 1, DELTAS] + first * ld_above)
        below = pointer(work.buffer, layers[layer, DELTAS] + first * ld_below)
        outputs = pointer(work.buffer, layers[layer, OUTPUTS] + first * ld_below)
        coefs = pointer_at(layers[layer, COEFS], raw)
        zeros = pointer(work.zeros, 0)
        list_rows(above, ld_above, rows, table)
        multiply(table, rows, fan_out, coefs, fan_out, 1, fan_in, zeros, 0, below, ld_below, panel)
        call_kernel(layers[layer, DERIVATIVE], (outputs, below, rows * ld_below))


@jit()
def sum_rows(delta, ld, rows, columns, accumulate, out):
    """``out = delta.sum(axis=0) (+ out)`` for a (rows, columns) matrix with rows `ld` apart."""
    if not accumulate:
        for j in range(columns):
            out[j] = 0.0
    for i in range(rows):
        row = advance(delta, i * ld)
        for j in range(columns):
            out[j] += row[j]


@jit()
def gradient_of_block(layers, source, work, blocks, block, slab, accumulate, out):
    """Compute (or add to) the gradient of the weighted loss for one block of parameters."""
    rows = slab.rows
    layer = blocks.table[block, 0]
    first = blocks.table[block, 1]
    last = blocks.table[block, 2]
    fan_out = layers[layer + 1, UNITS]
    ld = layers[layer + 1, LD]
    delta = pointer(work.buffer, layers[layer + 1, DELTAS])
    if blocks.table[block, 3]:
        sum_rows(delta, ld, rows, fan_out, accumulate, out)
    elif layer == 0 and source.is_sparse:
        sparse_gradient(source, slab, first, last, delta, ld, fan_out, accumulate, out)
    else:
        table = pointer(work.row_table, layer * work.slab_size)
        start = out if accumulate else pointer(work.zeros, 0)
        ld_start = fan_out if accumulate else 0
        multiply_transposed(
            table, first, last - first, rows, delta, ld, fan_out, start, ld_start, out, fan_out
        )


@jit()
def penalize_block(model, blocks, block, weight_sum, gradient):
    """Turn a block's summed gradient into that of the penalized mean loss.

    ``g = (g + alpha * w) / weight_sum`` and ``penalties[block] = sum(w ** 2)``; intercepts are
    not penalized.
    """
    offset = blocks.table[block, 4]
    size = blocks.table[block, 5]
    parameters = model.parameters[offset : offset + size]
    real = parameters.dtype.type
    inverse = real(1.0 / weight_sum)
    if blocks.table[block, 3]:
        for i in range(size):
            gradient[i] *= inverse
        blocks.penalties[block] = 0.0
        return
    alpha = real(model.alpha)
    penalty = 0.0
    for i in range(size):
        gradient[i] = (gradient[i] + alpha * parameters[i]) * inverse
        penalty += np.float64(parameters[i]) * np.float64(parameters[i])
    blocks.penalties[block] = penalty


@jit()
def step_constants(model, learning_rate, step, thread):
    """Return what all updates of a step share, in memory of the thread's own."""
    constants = pointer(model.constants, thread * CONSTANTS_STRIDE)
    call_kernel(model.prepare, (pointer(model.settings, 0), learning_rate, step, constants))
    return constants


@jit()
def update_block(model, blocks, block, constants, gradient):
    """Apply the optimizer to one block of parameters and its state."""
    offset = blocks.table[block, 4]
    size = blocks.table[block, 5]
    parameters = pointer(model.parameters, offset)
    state = pointer(model.state, offset)
    stride = model.parameters.size
    call_kernel(model.update, (parameters, gradient, state, stride, size, constants))


@jit()
def sum_of_losses(blocks, rows):
    """Return the sum of the losses of a slab's rows."""
    total = 0.0
    for i in range(rows):
        total += blocks.row_losses[i]
    return total


@jit()
def penalized_loss(blocks, alpha, loss, weight_sum):
    """Return the mean loss of a batch with the L2 penalty of all blocks."""
    penalty = 0.0
    for block in range(blocks.penalties.size):
        penalty += blocks.penalties[block]
    return (loss + 0.5 * alpha * penalty) / weight_sum
