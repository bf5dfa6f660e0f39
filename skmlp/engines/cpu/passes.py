"""The passes of one training step, each cut so that several threads can share it.

1. *forward*, layer by layer;
2. *loss*: the output layer, the loss and its derivative; threads share the rows;
3. *backward*, layer by layer;
4. *gradient*, block by block of the parameters;
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

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.cpu.compilation import inner, jit
from skmlp.engines.cpu.pointers import advance, call_kernel, pointer, pointer_at
from skmlp.engines.cpu.products import (
    ROWS_AT_ONCE,
    columns_of_panel,
    depth_at_once,
    multiply_by_transpose,
    multiply_panel,
    multiply_transposed,
    panel_count,
    vector_count,
)
from skmlp.engines.cpu.registers import GROUP_BYTES, TILE_ROWS, TILE_VECTORS, VECTOR_BYTES
from skmlp.engines.cpu.rows import list_rows, sparse_forward, sparse_gradient
from skmlp.engines.cpu.tiles import copy_columns, copy_rows, lane_count, sum_of_rows

Integers = npt.NDArray[np.int64]

# Columns of the table of layers, which describes a network to the kernels.
UNITS = 0
LD = 1  # how far apart rows of the layer's matrices lie in the workspace
OUTPUTS = 2  # offset of the layer's outputs in the workspace
DELTAS = 3  # offset of the layer's deltas in the workspace
PANELS = 4  # offset of the panels that lead to the next layer in the vector of parameters
COEFS = 5  # address of the coefficients that lead to the next layer, as users see them
INTERCEPTS = 6  # address of the intercepts of the next layer, as users see them
ACTIVATE = 7  # address of the kernel of the layer's activation (hidden layers)
DERIVATIVE = 8  # address of the kernel of its derivative (hidden layers)
LAYER_FIELDS = 9

# Columns of the table of blocks.
BLOCK_PANEL = 0
BLOCK_FIRST = 1  # first row of coefficients
BLOCK_LAST = 2  # one past the last one
BLOCK_OFFSET = 3  # first parameter
BLOCK_HAS_INTERCEPTS = 4  # whether the row of intercepts, which follows, belongs to it
BLOCK_FIELDS = 5

# What is copied together before the blocks of a layer are computed.
PACK_NOTHING = 0
PACK_INPUTS = 1  # a few columns of the inputs, for the blocks of all panels
PACK_DELTAS = 2  # a panel of deltas, for all its blocks

CONSTANTS_STRIDE = 16  # doubles: two cache lines, so that threads do not disturb each other


class Slab(NamedTuple):
    """Rows worked on at once: `rows` of them, from ``order[position]`` on."""

    order: Integers
    position: int
    rows: int


class Workspace(NamedTuple):
    """Scratch memory for the rows of a slab.

    `buffer` holds each layer's outputs and deltas. `tables` are tables of row addresses,
    `slab_size` entries each: one per layer for its outputs, one per layer for its deltas, one per
    thread for the rows of X, one per thread for rows that are packed. `scratch` has `scratch_size`
    and `packed` `packed_size` elements for each thread. `zeros` is as long as a panel is wide.
    """

    buffer: Any
    tables: Integers
    slab_size: int
    scratch: Any
    scratch_size: int
    packed: Any
    packed_size: int
    zeros: Any


class Model(NamedTuple):
    """What a step reads and writes besides the workspace.

    `parameters` and the state vectors lie in panels. So does `gradient`, one after the other for
    each part of a slab, where it is asked for, grows over several slabs or goes from thread to
    thread; otherwise each thread has room in it for one block of `gradient_size` elements for
    each part. `steps` counts the updates made; `constants` has `CONSTANTS_STRIDE` places for
    each thread. `loss`, `prepare` and `update` are addresses of kernels.
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

    A slab's gradient is the sum of `parts`: 1 if the work is shared out by columns, 2 if it is by
    rows. `gradient_shares` (parts, layers, threads + 1) tells where each thread's part of a
    layer's blocks begins in the gradient pass, `shares` (layers, threads + 1) in the update.
    `packing` says for each layer what is copied together. Blocks are taken in the order of
    `sequence`.
    """

    table: Integers
    sequence: Integers
    parts: int
    packing: Integers
    gradient_shares: Integers
    shares: Integers
    row_losses: Any
    penalties: Any


class Share(NamedTuple):
    """What a thread does of a slab's layers: some of its rows, and all panels or `part` of them.

    `scratch` is memory of the thread's own.
    """

    first: Any
    rows: Any
    part: Any
    parts: Any
    scratch: Any


@jit(inline="always")
def share_of_panel(first_vector, vectors, all_vectors, rows, part, parts):
    """Return the first and one past the last row that is computed of a panel.

    Tiles are numbered panel after panel, weighted by their vectors, and each part gets an
    equal run of them.
    """
    tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    before = first_vector * tiles
    total = all_vectors * tiles
    begin = total * part // parts - before
    end = total * (part + 1) // parts - before
    first = min(max((begin + vectors - 1) // vectors, 0), tiles)
    last = min(max((end + vectors - 1) // vectors, 0), tiles)
    return min(rows, first * TILE_ROWS), min(rows, last * TILE_ROWS)


@jit(inline="always")
def rows_of_part(rows, part, parts):
    """Return the first row and the number of rows of one of at most two parts of a slab."""
    half = (rows + 1) // 2
    if parts == 1:
        return 0, rows
    if part == 0:
        return 0, half
    return half, rows - half


@jit(inline="always")
def start_of_share(rows, thread, threads):
    """Return the first row of a thread's share: whole tiles of rows in each half."""
    half = 2 * thread // threads
    within = 2 * thread - half * threads
    if half == 2:
        return rows
    first, count = rows_of_part(rows, half, 2)
    tiles = (count + TILE_ROWS - 1) // TILE_ROWS
    return first + min(count, tiles * within // threads * TILE_ROWS)


@jit(inline="always")
def share_of_rows(rows, thread, threads):
    """Return the first and one past the last row of a thread's share.

    With an even number of threads none has rows of both halves.
    """
    return start_of_share(rows, thread, threads), start_of_share(rows, thread + 1, threads)


@jit(inline="always")
def output_table(work, layer):
    return pointer(work.tables, layer * work.slab_size)


@jit(inline="always")
def delta_table(layers, work, layer):
    return pointer(work.tables, (layers.shape[0] + layer) * work.slab_size)


@jit(inline="always")
def input_table(layers, work, thread):
    return pointer(work.tables, (2 * layers.shape[0] + thread) * work.slab_size)


@jit(inline="always")
def packed_table(layers, work, threads, thread):
    return pointer(work.tables, (2 * layers.shape[0] + threads + thread) * work.slab_size)


@jit(inline="always")
def list_packed(layers, work, threads, thread):
    """Fill a thread's table of packed rows."""
    if work.packed_size:
        room = pointer(work.packed, thread * work.packed_size)
        columns = GROUP_BYTES // VECTOR_BYTES * lane_count(room)
        list_rows(room, columns, work.slab_size, packed_table(layers, work, threads, thread))


@jit(inline="always")
def list_workspace(layers, work):
    """Fill the tables of the rows of the workspace."""
    for layer in range(1, layers.shape[0]):
        ld = layers[layer, LD]
        outputs = pointer(work.buffer, layers[layer, OUTPUTS])
        deltas = pointer(work.buffer, layers[layer, DELTAS])
        list_rows(outputs, ld, work.slab_size, output_table(work, layer))
        list_rows(deltas, ld, work.slab_size, delta_table(layers, work, layer))


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
                column // lanes, vectors, all_vectors, share.rows, share.part, share.parts
            )
            first, last = first + share.first, last + share.first
            if first < last:
                forward_panel(
                    *(layers, source, work, parameters, order, layer, panel, table, first, last),
                    *(begin, part),
                )
                if share.parts > 1 and begin + part == depth:
                    activate_columns(
                        layers, work, layer + 1, column, vectors, first, last, share.scratch
                    )
    if share.parts == 1:
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
    rows = last - first
    columns = layers[output, UNITS]
    weighted = source.is_weighted
    call_kernel(
        model.loss,
        (raw, ld, targets, weights, weighted, rows_used, rows, columns, losses, scratch),
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
                column // lanes, vectors, all_vectors, share.rows, share.part, share.parts
            )
            first, last = first + share.first, last + share.first
            if first < last:
                backward_panel(
                    layers, work, parameters, layer, panel, sources, first, last, share.scratch
                )
                if share.parts > 1 and sources[1] == stop:
                    differentiate_columns(
                        layers, work, layer, column, vectors, first, last, share.scratch
                    )
    if share.parts == 1:
        ld = layers[layer, LD]
        outputs = pointer(work.buffer, layers[layer, OUTPUTS] + share.first * ld)
        deltas = pointer(work.buffer, layers[layer, DELTAS] + share.first * ld)
        call_kernel(layers[layer, DERIVATIVE], (outputs, deltas, share.rows * ld))


@inner
def pack_for_block(layers, work, blocks, layer, block, before, first_row, rows, table, thread):
    """Copy together what a block and those after it read of some rows.

    Rows of X and of wide layers lie on as many pages of memory as there are rows, too many for
    the processor to find them quickly again and again. `before` is the block that the thread had
    before, negative if none; `table` holds the addresses of all rows of the slab.
    """
    kind = blocks.packing[layer]
    if kind == PACK_NOTHING:
        return
    key = BLOCK_FIRST if kind == PACK_INPUTS else BLOCK_PANEL
    if before >= 0 and blocks.table[block, key] == blocks.table[before, key]:
        return
    room = pointer(work.packed, thread * work.packed_size)
    lanes = lane_count(room)
    if kind == PACK_INPUTS:
        width = GROUP_BYTES // VECTOR_BYTES * lanes
        first = blocks.table[block, BLOCK_FIRST]
        count = blocks.table[block, BLOCK_LAST] - first
        if count == width:
            copy_columns(advance(table, first_row), first, rows, advance(room, first_row * width))
        else:  # where rows end, whole vectors would reach beyond X
            for i in range(first_row, first_row + rows):
                row = pointer_at(table[i], room)
                for j in range(count):
                    room[i * width + j] = row[first + j]
    else:
        panel = blocks.table[block, BLOCK_PANEL]
        column, vectors, _ = columns_of_panel(panel, layers[layer + 1, UNITS], lanes)
        width = vectors * lanes
        ld = layers[layer + 1, LD]
        delta = pointer(work.buffer, layers[layer + 1, DELTAS] + first_row * ld + column)
        copy_rows(vectors, delta, ld, rows, advance(room, first_row * width), width)


@inner
def gradient_of_block(
    layers, source, work, blocks, layer, block, order, first_row, rows, table, accumulate, out, who
):
    """Compute (or add to) the gradient of the weighted loss of some rows for one block.

    `order` holds the numbers and `table` the addresses of all rows of the slab; `who` is the
    thread and how many there are.
    """
    thread, threads = who
    first = blocks.table[block, BLOCK_FIRST]
    count = blocks.table[block, BLOCK_LAST] - first
    lanes = lane_count(out)
    columns = layers[layer + 1, UNITS]
    column, vectors, _ = columns_of_panel(blocks.table[block, BLOCK_PANEL], columns, lanes)
    width = vectors * lanes
    has_intercepts = blocks.table[block, BLOCK_HAS_INTERCEPTS]
    if rows == 0:
        if not accumulate:
            for i in range((count + has_intercepts) * width):
                out[i] = 0.0
        return
    packing = blocks.packing[layer]
    if packing == PACK_DELTAS:
        ld = width
        delta = pointer(work.packed, thread * work.packed_size + first_row * ld)
    else:
        ld = layers[layer + 1, LD]
        delta = pointer(work.buffer, layers[layer + 1, DELTAS] + first_row * ld + column)
    if layer == 0 and source.is_sparse:
        used = advance(order, first_row)
        sparse_gradient(source, used, rows, first, first + count, delta, ld, width, accumulate, out)
    else:
        is_packed = packing == PACK_INPUTS
        lines = packed_table(layers, work, threads, thread) if is_packed else table
        offset = 0 if is_packed else first
        start = out if accumulate else pointer(work.zeros, 0)
        ld_start = width if accumulate else 0
        lines = advance(lines, first_row)
        multiply_transposed(vectors, lines, offset, count, rows, delta, ld, start, ld_start, out)
    if has_intercepts:
        sums = advance(out, count * width)
        start = sums if accumulate else pointer(work.zeros, 0)
        sum_of_rows(vectors, delta, ld, rows, start, sums)


@inner
def update_block(layers, model, blocks, layer, block, weight_sum, constants, gradient, other):
    """Penalize a block's summed gradient and apply the optimizer, while it is in cache.

    ``g = (g + other + alpha * w) / weight_sum`` and ``penalties[block] = sum(w ** 2)``; `other` is
    the gradient of the slab's other half, if it has two. Intercepts are not penalized.
    """
    offset = blocks.table[block, BLOCK_OFFSET]
    parameters = pointer(model.parameters, offset)
    columns = layers[layer + 1, UNITS]
    lanes = lane_count(parameters)
    _, vectors, in_last = columns_of_panel(blocks.table[block, BLOCK_PANEL], columns, lanes)
    width = vectors * lanes
    rows = blocks.table[block, BLOCK_LAST] - blocks.table[block, BLOCK_FIRST]
    size = rows * width
    has_intercepts = blocks.table[block, BLOCK_HAS_INTERCEPTS]
    rows += has_intercepts
    if blocks.parts > 1:
        for i in range(rows * width):
            gradient[i] += other[i]
    state = pointer(model.state, offset)
    stride = model.parameters.size
    penalty = pointer(blocks.penalties, block)
    inverse = 1.0 / weight_sum
    if has_intercepts:  # before the coefficients, whose call leaves the penalty
        p, g, s = advance(parameters, size), advance(gradient, size), advance(state, size)
        call_kernel(model.update, (p, g, s, stride, width, 0.0, inverse, constants, penalty))
    call_kernel(
        model.update,
        (parameters, gradient, state, stride, size, model.alpha, inverse, constants, penalty),
    )
    if in_last < lanes and parameters[width - 1] != 0.0:
        # Padding has no gradient, but the optimizer has divided zero by zero there.
        for i in range(rows):
            for j in range(width - lanes + in_last, width):
                parameters[i * width + j] = 0.0


@jit(inline="always")
def step_constants(model, learning_rate, step, thread):
    """Return what all updates of a step share, in memory of the thread's own."""
    constants = pointer(model.constants, thread * CONSTANTS_STRIDE)
    call_kernel(model.prepare, (pointer(model.settings, 0), learning_rate, step, constants))
    return constants


@jit(inline="always")
def sum_of_losses(blocks, rows):
    """Return the sum of the losses of a slab's rows.

    Four sums side by side: one would wait for each addition before the next one.
    """
    losses = blocks.row_losses
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(0, rows - 3, 4):
        a += losses[i]
        b += losses[i + 1]
        c += losses[i + 2]
        d += losses[i + 3]
    for i in range(rows - rows % 4, rows):
        a += losses[i]
    return (a + b) + (c + d)


@jit(inline="always")
def penalized_loss(blocks, alpha, loss, weight_sum):
    """Return the mean loss of a batch with the L2 penalty of all blocks."""
    penalty = 0.0
    for block in range(blocks.penalties.size):
        penalty += blocks.penalties[block]
    return (loss + 0.5 * alpha * penalty) / weight_sum


@inner
def exchange_parameters(layers, parameters, into_panels):
    """Copy parameters between panels and where users see them, in one direction or the other."""
    for layer in range(layers.shape[0] - 1):
        fan_in, columns = layers[layer, UNITS], layers[layer + 1, UNITS]
        coefs = pointer_at(layers[layer, COEFS], parameters)
        intercepts = pointer_at(layers[layer, INTERCEPTS], parameters)
        lanes = lane_count(parameters)
        for panel in range(panel_count(columns, lanes)):
            column, vectors, in_last = columns_of_panel(panel, columns, lanes)
            width = vectors * lanes
            used = width - lanes + in_last
            own = advance(parameters, layers[layer, PANELS] + (fan_in + 1) * column)
            for k in range(fan_in + 1):
                row = intercepts if k == fan_in else advance(coefs, k * columns)
                if into_panels:
                    for j in range(used):
                        own[k * width + j] = row[column + j]
                    for j in range(used, width):
                        own[k * width + j] = 0.0
                else:
                    for j in range(used):
                        row[column + j] = own[k * width + j]
