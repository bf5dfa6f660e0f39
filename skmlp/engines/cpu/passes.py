"""The passes of one training step, each cut so that several threads can share it.

1. *forward*, layer by layer;
2. *loss*: the output layer, the loss and its derivative; threads share the rows;
3. *backward*, layer by layer;
4. *gradient*, block by block of the parameters (`skmlp.engines.cpu.updates`);
5. *update*: L2 penalty and optimizer, block by block.

A fit may need more. Before the update the gradient is *completed*, for other penalties, fixed
parameters and clipping, and turned into *directions* by optimizers that take matrices as a whole.
After it parameters are *projected* to where they may be (`skmlp.engines.cpu.projection`), and
*averaged*. Batch normalization is a pass of its own within 1 and 3, in which threads share columns.

What one processor has just written takes long to reach another, so work is shared out in one of
two ways, which `skmlp.engines.cpu.layout` chooses by sizes only:

- *by rows*, where parameters are fewer than a slab's numbers: each thread takes its rows through
  passes 1 to 3 by itself, but for batch normalization. The gradients of two fixed halves of the
  slab are computed apart, and added in the update; with two threads each of them needs its own
  rows only.
- *by columns*, where parameters are more: threads share the panels of a layer, so that the
  coefficients a thread reads are those it updated last, and no gradient leaves its cache.

No piece writes where another piece of its pass reads or writes, and no number depends on which
others are computed beside it (`skmlp.engines.cpu.products`). So a pass may be shared out among
any number of threads with bitwise the same result.
"""

import numpy as np

from skmlp.engines.cpu.compilation import inner, jit, separate
from skmlp.engines.cpu.pointers import (
    advance,
    call_kernel,
    float32_pointer,
    float64_pointer,
    int32_pointer,
    int64_pointer,
    pointer,
    pointer_at,
)
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
    BACK,
    CONCENTRATION,
    CONSTANTS,
    DELTAS,
    DEVIATION,
    DROP,
    DROPOUT,
    HEAD_CONSTANTS,
    HEAD_FIRST,
    HEAD_KERNEL,
    HEAD_TARGET,
    HEAD_TARGETS,
    HEAD_UNITS,
    KEPT,
    LAYER_FIELDS,
    LD,
    MAP,
    MIX,
    N_MEMBERS,
    NOISE,
    OUTPUT_LAYER,
    OUTPUTS,
    OWN_LD,
    OWN_RAW,
    PANEL_ROWS,
    PANELS,
    PICK,
    PRODUCT_LD,
    PRODUCT_UNITS,
    PRODUCTS,
    PUT_BACK,
    SECOND_RAW,
    UNITS,
    WHOLE_ROWS,
    X_LD,
    X_ROWS,
    X_UNITS,
    delta_table,
    others_table,
    share_by_rows,
    share_of_panel,
    share_of_rows,
)
from skmlp.engines.cpu.tiles import copy_rows, lane_count


@inner
def forward_panel(
    layers, source, work, parameters, order, layer, panel, table, first, last, begin, depth
):
    """Write the pre-activations of the next layer in one panel to the workspace.

    Takes `depth` of the layer's units from `begin` on; unless that is the first, the sums so far
    are there.
    """
    ld = layers[layer + 1, PRODUCT_LD]
    outputs = pointer(work.buffer, layers[layer + 1, PRODUCTS] + first * ld)
    lanes = lane_count(outputs)
    column, vectors, _ = columns_of_panel(panel, layers[layer + 1, PRODUCT_UNITS], lanes)
    width = vectors * lanes
    coefs = advance(parameters, layers[layer, PANELS] + layers[layer, PANEL_ROWS] * column)
    intercepts = advance(coefs, layers[layer, UNITS] * width)
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


@inner
def drop(layers, layer, values, kept, ld, rows, column, width, row, share):
    """Drop some outputs of a layer, from `column` and from row number `row` of the slab on."""
    if layers[layer, DROP] and share.step > 0:
        dropout = float64_pointer(layers[layer, DROPOUT])
        place = (share.first_in_batch + row, column, layer, share.seed, share.step)
        shares = (dropout, share.dropout)
        call_kernel(layers[layer, DROP], (values, kept, ld, rows, width, *place, *shares))


@inner
def mix_inputs(layers, source, work, slab, first, last, threads):
    """Mix a thread's rows of X, which have been copied for that, with others of their batch."""
    ld = layers[0, X_LD]
    rows = pointer(work.buffer, layers[0, X_ROWS] + first * ld)
    others = advance(others_table(layers, work, threads), first)
    batch = pointer(slab.order, slab.position - slab.first)
    dense = (
        *(float64_pointer(source.values), float32_pointer(source.values), source.is_double),
        *(source.row_stride, source.column_stride),
    )
    place = (batch, slab.batch_rows, slab.first + first, others)
    share = (slab.seed, slab.step, float64_pointer(layers[0, CONCENTRATION]))
    call_kernel(
        layers[0, MIX], (rows, ld, last - first, layers[0, X_UNITS], *dense, *place, *share)
    )


@separate()
def disturb(task, slab, thread, threads):
    """Mix a thread's rows of X, which have been copied for that, add noise, drop some inputs."""
    layers, source, work = task.layers, task.source, task.work
    order = pointer(slab.order, slab.position)
    first, last = share_of_rows(slab.rows, thread, threads)
    scratch = pointer(work.scratch, thread * work.scratch_size)
    share = share_by_rows(slab, first, last, scratch)
    if layers[0, MIX]:
        mix_inputs(layers, source, work, slab, first, last, threads)
    if layers[0, NOISE]:
        ld = layers[0, X_LD]
        rows = pointer(work.buffer, layers[0, X_ROWS] + first * ld)
        place = (share.first_in_batch + first, share.seed, share.step)
        deviation = float64_pointer(layers[0, DEVIATION])
        arguments = (rows, ld, last - first, layers[0, X_UNITS], *place, deviation)
        call_kernel(layers[0, NOISE], arguments)
    if not layers[0, DROP]:
        return
    if source.is_sparse:
        like = pointer(work.buffer, 0)
        csr = (
            *(pointer_at(source.all_values, like), pointer_at(source.values, like)),
            *(int32_pointer(source.indices), int64_pointer(source.indptr)),
        )
        place = (share.first_in_batch + first, share.seed, share.step)
        shares = (float64_pointer(layers[0, DROPOUT]), share.dropout)
        call_kernel(layers[0, DROP], (*csr, advance(order, first), last - first, *place, *shares))
    else:
        ld = layers[0, X_LD]
        rows = pointer(work.buffer, layers[0, X_ROWS] + first * ld)
        nothing = np.int64(0)
        drop(
            layers, nothing, rows, rows, ld, last - first, nothing, layers[0, X_UNITS], first, share
        )


@jit(inline="always")
def activate_columns(layers, work, layer, column, vectors, first, last, share):
    """Apply a layer's activation, and dropout, to a few of its columns in some rows."""
    ld = layers[layer, LD]
    outputs = pointer(work.buffer, layers[layer, OUTPUTS] + first * ld)
    to_keep = pointer(work.buffer, layers[layer, KEPT] + first * ld)
    constants = float64_pointer(layers[layer, CONSTANTS])
    width = vectors * lane_count(outputs)
    values = share.scratch
    kept = advance(values, ROWS_AT_ONCE * width)
    keeps = layers[layer, KEPT] != layers[layer, OUTPUTS]
    # Copied together, so that the formula runs over contiguous memory and can be vectorized.
    for begin in range(0, last - first, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, last - first - begin)
        corner = begin * ld + column
        copy_rows(vectors, advance(outputs, corner), ld, rows, values, width)
        call_kernel(layers[layer, MAP], (values, kept, rows * width, constants))
        drop(layers, layer, values, kept, width, rows, column, width, first + begin, share)
        copy_rows(vectors, values, width, rows, advance(outputs, corner), ld)
        if keeps:
            copy_rows(vectors, kept, width, rows, advance(to_keep, corner), ld)


@jit(inline="always")
def activate_rows(layers, work, layer, share):
    """Apply a layer's activation, and dropout, to all columns of a thread's rows."""
    ld = layers[layer, LD]
    constants = float64_pointer(layers[layer, CONSTANTS])
    # What is dropped should still be in cache.
    step = ROWS_AT_ONCE if layers[layer, DROP] else share.rows
    for begin in range(0, share.rows, max(step, 1)):
        rows = min(step, share.rows - begin)
        row = share.first + begin
        outputs = pointer(work.buffer, layers[layer, OUTPUTS] + row * ld)
        kept = pointer(work.buffer, layers[layer, KEPT] + row * ld)
        call_kernel(layers[layer, MAP], (outputs, kept, rows * ld, constants))
        drop(layers, layer, outputs, kept, ld, rows, np.int64(0), ld, row, share)


@inner
def map_whole_rows(layers, work, parameters, layer, first, last, share):
    """Map the products of some rows to a layer's outputs, where a row cannot be divided."""
    whole_rows(layers, work, parameters, layer, layers[layer, MAP], first, last)
    ld = layers[layer, LD]
    outputs = pointer(work.buffer, layers[layer, OUTPUTS] + first * ld)
    kept = pointer(work.buffer, layers[layer, KEPT] + first * ld)
    drop(layers, layer, outputs, kept, ld, last - first, np.int64(0), ld, first, share)


@inner
def go_back_whole_rows(layers, work, parameters, layer, first, last, share):
    """Turn the deltas of some rows' outputs into those of a layer's products."""
    ld = layers[layer, LD]
    deltas = pointer(work.buffer, layers[layer, DELTAS] + first * ld)
    drop(layers, layer, deltas, deltas, ld, last - first, np.int64(0), ld, first, share)
    whole_rows(layers, work, parameters, layer, layers[layer, BACK], first, last)


@inner
def whole_rows(layers, work, parameters, layer, kernel, first, last):
    """Call a kernel that takes whole rows of a layer."""
    table = pointer(layers.reshape(layers.size), layer * LAYER_FIELDS)
    matrix = work.slab_size * layers[layer, PRODUCT_LD]
    call_kernel(kernel, (table, pointer(work.buffer, 0), parameters, first, last, matrix))


@separate()
def normalize(task, slab, layer, kernel, thread, threads):
    """Do a thread's share of normalizing a layer's columns, or of the way back: all their rows."""
    layers, source, model, work = task.layers, task.source, task.model, task.work
    vectors = vector_count(layers[layer, PRODUCT_UNITS], lane_count(pointer(work.buffer, 0)))
    first, last = vectors * thread // threads, vectors * (thread + 1) // threads
    if first < last:
        table = pointer(layers.reshape(layers.size), layer * LAYER_FIELDS)
        matrix = work.slab_size * layers[layer, PRODUCT_LD]
        scratch = pointer(work.scratch, thread * work.scratch_size)
        # Of a layer that is not trained the running statistics are taken, and stay.
        updates = np.int64(model.update != 0) if layer > model.first_layer else np.int64(-1)
        call_kernel(
            kernel,
            (
                *(table, pointer(work.buffer, 0), pointer(model.parameters, 0)),
                *(float64_pointer(source.weights), source.is_weighted),
                *(pointer(slab.order, slab.position), slab.rows, first, last, matrix, updates),
                scratch,
            ),
        )


@jit(inline="always")
def forward_layer(layers, source, work, parameters, order, layer, table, share):
    """Do a thread's share of computing a hidden layer's outputs from those of the one before.

    A layer that is mapped by whole rows is not mapped yet: `map_whole_rows` does so.
    """
    columns = layers[layer + 1, PRODUCT_UNITS]
    lanes = lane_count(parameters)
    all_vectors = vector_count(columns, lanes)
    depth = layers[layer, UNITS]
    by_panels = share.members > 1 and not layers[layer + 1, WHOLE_ROWS]
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
                if by_panels and begin + part == depth:
                    activate_columns(layers, work, layer + 1, column, vectors, first, last, share)
    if share.members == 1 and not layers[layer + 1, WHOLE_ROWS]:
        activate_rows(layers, work, layer + 1, share)


@jit(inline="always")
def forward_output(layers, source, work, parameters, order, table, first, last):
    """Compute the raw predictions of rows first to last."""
    layer = layers[0, OUTPUT_LAYER] - 1
    depth = layers[layer, UNITS]
    begin = np.int64(0)
    for panel in range(panel_count(layers[layer + 1, UNITS], lane_count(parameters))):
        forward_panel(
            *(layers, source, work, parameters, order, layer, panel, table, first, last),
            *(begin, depth),
        )


@inner
def heads_pass(source, model, raw, ld, order, rows, losses, scratch):
    """Replace raw predictions by their deltas, and note each row's weighted loss."""
    targets = pointer_at(source.targets, raw)
    weights = pointer_at(source.weights, losses)
    heads = model.heads
    for head in range(heads.shape[0]):
        own_raw = advance(raw, heads[head, HEAD_FIRST])
        own_targets = advance(targets, heads[head, HEAD_TARGET])
        constants = pointer(model.head_constants, heads[head, HEAD_CONSTANTS])
        call_kernel(
            heads[head, HEAD_KERNEL],
            (
                *(own_raw, ld, own_targets, model.target_columns, weights, source.is_weighted),
                *(order, rows, heads[head, HEAD_UNITS], heads[head, HEAD_TARGETS]),
                *(constants, head, losses, scratch),
            ),
        )


@inner
def own_loss_pass(layers, source, work, model, first, rows, order, losses, scratch):
    """Do as `loss_pass`, where of each row's raw predictions only those of its member count."""
    output = layers[0, OUTPUT_LAYER]
    ld, own_ld, count = layers[output, LD], layers[output, OWN_LD], layers[output, N_MEMBERS]
    raw = pointer(work.buffer, layers[output, OUTPUTS] + first * ld)
    own = pointer(work.buffer, layers[output, OWN_RAW] + first * own_ld)
    place = (first, rows, layers[output, UNITS] // count, count)
    call_kernel(layers[output, PICK], (raw, ld, own, own_ld, *place))
    heads_pass(source, model, own, own_ld, order, rows, losses, scratch)
    call_kernel(layers[output, PUT_BACK], (raw, ld, own, own_ld, *place))


@jit(inline="always")
def loss_pass(layers, source, work, model, blocks, slab, first, last, scratch, team):
    """Replace the raw predictions of some rows by their deltas, and note each row's weighted loss.

    Where samples are mixed, both are also computed by the targets of the other rows.
    """
    output = layers[0, OUTPUT_LAYER]
    ld = layers[output, LD]
    rows = last - first
    order = pointer(slab.order, slab.position + first)
    raw = pointer(work.buffer, layers[output, OUTPUTS] + first * ld)
    losses = pointer(blocks.row_losses, first)
    if layers[output, PICK]:
        own_loss_pass(layers, source, work, model, first, rows, order, losses, scratch)
        return
    is_mixed = layers[output, MIX] != 0 and slab.step > 0
    second = pointer(work.buffer, layers[output, SECOND_RAW] + first * ld)
    if is_mixed:
        for i in range(rows * ld):
            second[i] = raw[i]
    heads_pass(source, model, raw, ld, order, rows, losses, scratch)
    if is_mixed:
        others = advance(others_table(layers, work, team.threads), first)
        second_losses = pointer(blocks.row_losses, work.slab_size + first)
        heads_pass(source, model, second, ld, others, rows, second_losses, scratch)
        concentration = float64_pointer(layers[0, CONCENTRATION])
        both = (raw, second, rows * ld, losses, second_losses, rows)
        call_kernel(layers[output, MIX], (*both, slab.seed, slab.step, concentration))


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
    panel_rows = layers[layer, PANEL_ROWS]
    depth = layers[layer + 1, PRODUCT_UNITS]
    out = pointer(work.buffer, layers[layer, DELTAS] + first * ld + column)
    multiply_by_transpose(
        *(table, last - first, panels, panel_rows, depth, sources, columns, panel, zeros, out),
        *(ld, scratch),
    )


@jit(inline="always")
def differentiate_columns(layers, work, layer, column, vectors, first, last, values):
    """Multiply a few columns of a layer's deltas by the derivative of its activation.

    `values` is scratch memory.
    """
    ld = layers[layer, LD]
    kept = pointer(work.buffer, layers[layer, KEPT] + first * ld)
    deltas = pointer(work.buffer, layers[layer, DELTAS] + first * ld)
    constants = float64_pointer(layers[layer, CONSTANTS])
    width = vectors * lane_count(kept)
    scratch = advance(values, ROWS_AT_ONCE * width)
    for begin in range(0, last - first, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, last - first - begin)
        corner = begin * ld + column
        copy_rows(vectors, advance(kept, corner), ld, rows, values, width)
        copy_rows(vectors, advance(deltas, corner), ld, rows, scratch, width)
        call_kernel(layers[layer, BACK], (values, scratch, rows * width, constants))
        copy_rows(vectors, scratch, width, rows, advance(deltas, corner), ld)


@jit(inline="always")
def backward_layer(layers, work, parameters, layer, share):
    """Do a thread's share of computing a hidden layer's deltas from those of the one after.

    For a layer that is mapped by whole rows they are those of its outputs: `go_back_whole_rows`
    goes on.
    """
    columns = layers[layer, UNITS]
    lanes = lane_count(parameters)
    all_vectors = vector_count(columns, lanes)
    depth = layers[layer + 1, PRODUCT_UNITS]
    by_panels = share.members > 1 and not layers[layer, WHOLE_ROWS]
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
                if by_panels and sources[1] == stop:
                    differentiate_columns(
                        layers, work, layer, column, vectors, first, last, share.scratch
                    )
    if share.members == 1 and not layers[layer, WHOLE_ROWS]:
        ld = layers[layer, LD]
        kept = pointer(work.buffer, layers[layer, KEPT] + share.first * ld)
        deltas = pointer(work.buffer, layers[layer, DELTAS] + share.first * ld)
        constants = float64_pointer(layers[layer, CONSTANTS])
        call_kernel(layers[layer, BACK], (kept, deltas, share.rows * ld, constants))
