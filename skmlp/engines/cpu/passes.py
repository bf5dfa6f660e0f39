"""The pieces of one training step, each small enough for one thread.

A step has two phases, each split into pieces whose number and bounds depend on sizes only:

1. *chunks of rows*: gather, forward pass, loss, deltas of every layer;
2. *blocks of parameters*: gradient over all rows, penalty, optimizer update.

No piece writes where another reads or writes, so the pieces of a phase may run in any order on
any number of threads with bitwise the same result, and no gradient is ever reduced over threads.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.cpu.blas import gemm
from skmlp.engines.cpu.compilation import jit
from skmlp.engines.cpu.pointers import advance, call_kernel, pointer, pointer_at
from skmlp.engines.cpu.rows import gather_rows, sparse_forward, sparse_gradient
from skmlp.network.parameters import ParameterLayout
from skmlp.network.specs import NetworkSpec

Integers = npt.NDArray[np.int64]

MIN_CHUNK_ROWS = 48
MAX_CHUNKS = 16
MIN_BLOCK_ROWS = 16
BLOCKS_PER_LAYER = 8


class Shape(NamedTuple):
    """A network as the kernels see it; arrays have one entry per layer or connection."""

    units: Integers
    coefs: Integers  # addresses
    intercepts: Integers  # addresses
    activations: Integers  # offsets into the workspace
    deltas: Integers  # offsets into the workspace
    activate: Integers  # addresses of kernels
    derivative: Integers  # addresses of kernels


class Slab(NamedTuple):
    """Rows worked on at once: `rows` of them, from ``order[position]`` on."""

    order: Integers
    position: int
    rows: int


class Model(NamedTuple):
    """What a step reads and writes besides the workspace; `steps` counts the updates made."""

    parameters: Any
    gradient: Any
    state: Any
    settings: Any
    steps: Integers
    loss: int
    update: int
    alpha: float


class Work(NamedTuple):
    """Scratch memory of one fit and its table of blocks.

    `blocks` has one row per block: layer, first and last row of the coefficients (or first and
    last intercept), whether it is one of intercepts, offset of its first parameter.
    """

    buffer: Any
    chunk_losses: Any
    block_penalties: Any
    blocks: Integers


def block_table(network: NetworkSpec) -> Integers:
    """Split the parameters into blocks, the most expensive first."""
    layout = ParameterLayout(network.layer_units)
    rows = []
    for layer, (fan_in, fan_out) in enumerate(layout.shapes):
        height = max(MIN_BLOCK_ROWS, -(-fan_in // BLOCKS_PER_LAYER))
        for first in range(0, fan_in, height):
            last = min(first + height, fan_in)
            offset = layout.coef_offsets[layer] + first * fan_out
            rows.append((layer, first, last, 0, offset, (last - first) * fan_out))
        rows.append((layer, 0, fan_out, 1, layout.intercept_offsets[layer], fan_out))
    rows.sort(key=lambda row: -row[-1])
    return np.array([row[:-1] for row in rows], dtype=np.int64)


@jit()
def chunk_count(rows):
    """Return into how many chunks a slab of rows is split: a power of two."""
    count = 1
    while count < MAX_CHUNKS and rows >= 2 * count * MIN_CHUNK_ROWS:
        count *= 2
    return count


@jit()
def forward_chunk(shape, source, buffer, order, position, first, rows):
    """Fill the workspace with the activations of `rows` rows from ``order[position]`` on.

    They lie at row `first` of each layer's part. The last layer holds the raw prediction
    without its intercepts.
    """
    connections = shape.coefs.size
    for layer in range(connections):
        fan_in = shape.units[layer]
        fan_out = shape.units[layer + 1]
        inputs = pointer(buffer, shape.activations[layer] + first * fan_in)
        outputs = pointer(buffer, shape.activations[layer + 1] + first * fan_out)
        coefs = pointer_at(shape.coefs[layer], outputs)
        if layer == 0 and source.is_sparse:
            sparse_forward(source, order, position, rows, coefs, fan_out, outputs)
        else:
            if layer == 0:
                gather_rows(source, order, position, rows, fan_in, inputs)
            gemm(0, 0, rows, fan_out, fan_in, inputs, fan_in, coefs, fan_out, 0, outputs, fan_out)
        if layer < connections - 1:
            intercepts = pointer_at(shape.intercepts[layer], outputs)
            call_kernel(shape.activate[layer], (outputs, intercepts, rows, fan_out))


@jit()
def backward_chunk(shape, source, buffer, order, position, first, rows, loss, total):
    """Replace the raw predictions by deltas and propagate them to every hidden layer.

    The sum of the weighted losses goes to ``total[0]``.
    """
    last = shape.coefs.size
    columns = shape.units[last]
    raw = pointer(buffer, shape.activations[last] + first * columns)
    intercepts = pointer_at(shape.intercepts[last - 1], raw)
    targets = pointer_at(source.targets, raw)
    weights = pointer_at(source.weights, total)
    rows_used = pointer(order, position)
    weighted = source.is_weighted
    arguments = (raw, intercepts, targets, weights, weighted, rows_used, rows, columns, total)
    call_kernel(loss, arguments)
    for layer in range(last - 1, 0, -1):
        fan_in = shape.units[layer]
        fan_out = shape.units[layer + 1]
        above = pointer(buffer, shape.deltas[layer + 1] + first * fan_out)
        below = pointer(buffer, shape.deltas[layer] + first * fan_in)
        outputs = pointer(buffer, shape.activations[layer] + first * fan_in)
        coefs = pointer_at(shape.coefs[layer], raw)
        gemm(0, 1, rows, fan_in, fan_out, above, fan_out, coefs, fan_out, 0, below, fan_in)
        call_kernel(shape.derivative[layer - 1], (outputs, below, rows * fan_in))


@jit()
def sum_rows(delta, rows, columns, first, last, accumulate, out):
    """``out = delta[:, first:last].sum(axis=0) (+ out)`` for a (rows, columns) matrix."""
    if not accumulate:
        for j in range(last - first):
            out[j] = 0.0
    for i in range(rows):
        row = advance(delta, i * columns + first)
        for j in range(last - first):
            out[j] += row[j]


@jit()
def gradient_of_block(shape, source, work, gradient, block, slab, accumulate):
    """Compute (or add to) the gradient of the weighted loss for one block of parameters."""
    rows = slab.rows
    layer = work.blocks[block, 0]
    first = work.blocks[block, 1]
    last = work.blocks[block, 2]
    fan_in = shape.units[layer]
    fan_out = shape.units[layer + 1]
    delta = pointer(work.buffer, shape.deltas[layer + 1])
    out = pointer(gradient, work.blocks[block, 4])
    if work.blocks[block, 3]:
        sum_rows(delta, rows, fan_out, first, last, accumulate, out)
    elif layer == 0 and source.is_sparse:
        sparse_gradient(source, slab, first, last, delta, fan_out, accumulate, out)
    else:
        inputs = pointer(work.buffer, shape.activations[layer] + first)
        height = last - first
        gemm(1, 0, height, fan_out, rows, inputs, fan_in, delta, fan_out, accumulate, out, fan_out)


@jit()
def block_size(shape, work, block):
    length = work.blocks[block, 2] - work.blocks[block, 1]
    if work.blocks[block, 3]:
        return length
    return length * shape.units[work.blocks[block, 0] + 1]


@jit()
def penalize_block(model, work, block, size, weight_sum):
    """Turn a block's summed gradient into that of the penalized mean loss.

    ``g = (g + alpha * w) / weight_sum`` and ``block_penalties[block] = sum(w ** 2)``;
    intercepts are not penalized.
    """
    offset = work.blocks[block, 4]
    gradient = model.gradient[offset : offset + size]
    parameters = model.parameters[offset : offset + size]
    real = gradient.dtype.type
    inverse = real(1.0 / weight_sum)
    if work.blocks[block, 3]:
        for i in range(size):
            gradient[i] *= inverse
        work.block_penalties[block] = 0.0
        return
    alpha = real(model.alpha)
    penalty = 0.0
    for i in range(size):
        gradient[i] = (gradient[i] + alpha * parameters[i]) * inverse
        penalty += np.float64(parameters[i]) * np.float64(parameters[i])
    work.block_penalties[block] = penalty


@jit()
def update_block(model, work, block, size, learning_rate, step):
    """Apply the optimizer to one block of parameters and its state."""
    offset = work.blocks[block, 4]
    parameters = pointer(model.parameters, offset)
    gradient = pointer(model.gradient, offset)
    state = pointer(model.state, offset)
    settings = pointer(model.settings, 0)
    stride = model.parameters.size
    call_kernel(
        model.update,
        (parameters, gradient, state, stride, size, settings, learning_rate, step),
    )


@jit()
def finish_block(shape, model, work, block, weight_sum, learning_rate, step):
    """Penalize a block's gradient and update its parameters while it is in cache."""
    size = block_size(shape, work, block)
    penalize_block(model, work, block, size, weight_sum)
    update_block(model, work, block, size, learning_rate, step)


@jit()
def penalized_loss(work, alpha, loss, weight_sum):
    """Return the mean loss of a batch with the L2 penalty of all blocks."""
    penalty = 0.0
    for block in range(work.block_penalties.size):
        penalty += work.block_penalties[block]
    return (loss + 0.5 * alpha * penalty) / weight_sum
