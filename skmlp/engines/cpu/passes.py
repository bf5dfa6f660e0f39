"""The passes of one training step, each cut so that several threads can share it.

1. *forward*, layer by layer;
2. *loss*: the output layer, the loss and its derivative; threads share the rows;
3. *backward*, layer by layer;
4. *gradient*, block by block of the parameters (`skmlp.engines.cpu.updates`);
5. *update*: penalty and optimizer, block by block.

What one processor has just written takes long to reach another, so work is shared out in one of
two ways, which `skmlp.engines.cpu.layout` chooses by sizes only:

- *by rows*, where parameters are fewer than a slab's numbers: each thread takes its rows through
  passes 1 to 3 by itself. The gradients of two fixed halves of the slab are computed apart, and
  added in the update; with two threads each of them needs its own rows only.
- *by columns*, where parameters are more: threads share the panels of a layer, so that the
  coefficients a thread reads are those it updated last, and no gradient leaves its cache.

No piece writes where another piece of its pass reads or writes, and no number depends on which
others are computed beside it (`skmlp.engines.cpu.products`). So a pass may be shared out among
any number of threads with bitwise the same result.
"""

import numpy as np

from skmlp.engines.cpu.compilation import inner, jit
from skmlp.engines.cpu.pointers import advance, call_kernel, pointer, pointer_at
from skmlp.engines.cpu.products import (
    ROWS_AT_ONCE,
    columns_of_panel,
    depth_at_once,
    multiply_by_transpose,
    multiply_panel,
    panel_count,
    vector_count,
)
from skmlp.engines.cpu.registers import TILE_VECTORS
from skmlp.engines.cpu.rows import sparse_forward
from skmlp.engines.cpu.tables import (
    ACTIVATE,
    DELTAS,
    DERIVATIVE,
    HEAD_CONSTANTS,
    HEAD_FIRST,
    HEAD_KERNEL,
    HEAD_TARGET,
    HEAD_UNITS,
    LD,
    OUTPUTS,
    PANELS,
    UNITS,
    delta_table,
    share_of_panel,
)
from skmlp.engines.cpu.tiles import copy_rows, lane_count


@inner
def forward_panel(
    layers, source, work, parameters, order, layer, panel, table, first, last, begin, depth
):
    """Write the inputs of the next layer's units in one panel to the workspace.

    Takes `depth` of the layer's units from `begin` on; unless that is the first, the sums so far
    are there.
    """
    fan_in = layers[layer, UNITS]
    ld = layers[layer + 1, LD]
    outputs = pointer(work.buffer, layers[layer + 1, OUTPUTS] + first * ld)
    lanes = lane_count(outputs)
    column, vectors, _ = columns_of_panel(panel, layers[layer + 1, UNITS], lanes)
    width = vectors * lanes
    coefs = advance(parameters, layers[layer, PANELS] + (fan_in + 1) * column)
    intercepts = advance(coefs, fan_in * width)
    out = advance(outputs, column)
    rows = last - first
    if layer == 0 and source.is_sparse:
        sparse_forward(source, advance(order, first), rows, coefs, intercepts, width, out, ld)
    else:
        lines = advance(table, first)
        start = intercepts if begin == 0 else out
        ld_start = 0 if begin == 0 else ld
        right = advance(coefs, begin * width)
        multiply_panel(vectors, lines, begin, rows, depth, right, start, ld_start, out, ld)


@jit(inline="always")
def activate_columns(layers, work, layer, column, vectors, first, last, scratch):
    """Apply a layer's activation to a few of its columns in some rows."""
    ld = layers[layer, LD]
    outputs = pointer(work.buffer, layers[layer, OUTPUTS] + first * ld)
    width = vectors * lane_count(outputs)
    # Copied together, so that the formula runs over contiguous memory and can be vectorized.
    for begin in range(0, last - first, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, last - first - begin)
        matrix = advance(outputs, begin * ld + column)
        copy_rows(vectors, matrix, ld, rows, scratch, width)
        call_kernel(layers[layer, ACTIVATE], (scratch, rows * width))
        copy_rows(vectors, scratch, width, rows, matrix, ld)


@jit(inline="always")
def forward_layer(layers, source, work, parameters, order, layer, table, share):
    """Do a thread's share of computing a hidden layer's outputs from those of the one before."""
    columns = layers[layer + 1, UNITS]
    lanes = lane_count(parameters)
    all_vectors = vector_count(columns, lanes)
    depth = layers[layer, UNITS]
    step = depth if layer == 0 and source.is_sparse else depth_at_once(share.rows, depth, lanes)
    for begin in range(0, depth, step):
        part = min(step, depth - begin)
        for panel in range(panel_count(columns, lanes)):
            column, vectors, _ = columns_of_panel(panel, columns, lanes)
            first, last = share_of_panel(
                column // lanes, vectors, all_vectors, share.rows, share.member, share.members
            )
            first, last = first + share.first, last + share.first
            if first < last:
                forward_panel(
                    *(layers, source, work, parameters, order, layer, panel, table, first, last),
                    *(begin, part),
                )
                if share.members > 1 and begin + part == depth:
                    activate_columns(
                        layers, work, layer + 1, column, vectors, first, last, share.scratch
                    )
    if share.members == 1:
        ld = layers[layer + 1, LD]
        outputs = pointer(work.buffer, layers[layer + 1, OUTPUTS] + share.first * ld)
        call_kernel(layers[layer + 1, ACTIVATE], (outputs, share.rows * ld))


@jit(inline="always")
def forward_output(layers, source, work, parameters, order, table, first, last):
    """Compute the raw predictions of rows first to last."""
    layer = layers.shape[0] - 2
    depth = layers[layer, UNITS]
    begin = np.int64(0)
    for panel in range(panel_count(layers[layer + 1, UNITS], lane_count(parameters))):
        forward_panel(
            *(layers, source, work, parameters, order, layer, panel, table, first, last),
            *(begin, depth),
        )


@jit(inline="always")
def loss_pass(layers, source, work, model, blocks, order, first, last, scratch):
    """Replace the raw predictions by their deltas, and note each row's weighted loss."""
    output = layers.shape[0] - 1
    ld = layers[output, LD]
    raw = pointer(work.buffer, layers[output, OUTPUTS] + first * ld)
    losses = pointer(blocks.row_losses, first)
    targets = pointer_at(source.targets, raw)
    weights = pointer_at(source.weights, losses)
    rows_used = advance(order, first)
    heads = model.heads
    for head in range(heads.shape[0]):
        own_raw = advance(raw, heads[head, HEAD_FIRST])
        own_targets = advance(targets, heads[head, HEAD_TARGET])
        constants = pointer(model.head_constants, heads[head, HEAD_CONSTANTS])
        call_kernel(
            heads[head, HEAD_KERNEL],
            (
                *(own_raw, ld, own_targets, model.target_columns, weights, source.is_weighted),
                *(rows_used, last - first, heads[head, HEAD_UNITS], constants, head),
                *(losses, scratch),
            ),
        )


@inner
def backward_panel(layers, work, parameters, layer, panel, sources, first, last, scratch):
    """Multiply the next layer's deltas by the coefficients that lead there from one panel.

    Takes some of the next layer's panels, `sources` (the first and one past the last).
    """
    columns = layers[layer, UNITS]
    ld = layers[layer, LD]
    lanes = lane_count(parameters)
    column, _, _ = columns_of_panel(panel, columns, lanes)
    table = advance(delta_table(layers, work, layer + 1), first)
    zeros = pointer(work.zeros, 0)
    panels = advance(parameters, layers[layer, PANELS])
    depth = layers[layer + 1, UNITS]
    out = pointer(work.buffer, layers[layer, DELTAS] + first * ld + column)
    multiply_by_transpose(
        table, last - first, panels, depth, sources, columns, panel, zeros, out, ld, scratch
    )


@jit(inline="always")
def differentiate_columns(layers, work, layer, column, vectors, first, last, values):
    """Multiply a few columns of a layer's deltas by the derivative of its activation.

    `values` is scratch memory.
    """
    ld = layers[layer, LD]
    outputs = pointer(work.buffer, layers[layer, OUTPUTS] + first * ld)
    deltas = pointer(work.buffer, layers[layer, DELTAS] + first * ld)
    width = vectors * lane_count(outputs)
    scratch = advance(values, ROWS_AT_ONCE * width)
    for begin in range(0, last - first, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, last - first - begin)
        corner = begin * ld + column
        copy_rows(vectors, advance(outputs, corner), ld, rows, values, width)
        copy_rows(vectors, advance(deltas, corner), ld, rows, scratch, width)
        call_kernel(layers[layer, DERIVATIVE], (values, scratch, rows * width))
        copy_rows(vectors, scratch, width, rows, advance(deltas, corner), ld)


@jit(inline="always")
def backward_layer(layers, work, parameters, layer, share):
    """Do a thread's share of computing a hidden layer's deltas from those of the one after."""
    columns = layers[layer, UNITS]
    lanes = lane_count(parameters)
    all_vectors = vector_count(columns, lanes)
    depth = layers[layer + 1, UNITS]
    stop = panel_count(depth, lanes)
    step = depth_at_once(share.rows, depth, lanes) // (TILE_VECTORS * lanes)
    for source in range(0, stop, step):
        sources = (source, min(source + step, stop))
        for panel in range(panel_count(columns, lanes)):
            column, vectors, _ = columns_of_panel(panel, columns, lanes)
            first, last = share_of_panel(
                column // lanes, vectors, all_vectors, share.rows, share.member, share.members
            )
            first, last = first + share.first, last + share.first
            if first < last:
                backward_panel(
                    layers, work, parameters, layer, panel, sources, first, last, share.scratch
                )
                if share.members > 1 and sources[1] == stop:
                    differentiate_columns(
                        layers, work, layer, column, vectors, first, last, share.scratch
                    )
    if share.members == 1:
        ld = layers[layer, LD]
        outputs = pointer(work.buffer, layers[layer, OUTPUTS] + share.first * ld)
        deltas = pointer(work.buffer, layers[layer, DELTAS] + share.first * ld)
        call_kernel(layers[layer, DERIVATIVE], (outputs, deltas, share.rows * ld))
