"""The loops over batches and slabs, compiled once for every network.

A driver is called by every thread of a team at once (`skmlp.engines.cpu.team`). Python calls it
for all of them, and it brings them together (`skmlp.engines.cpu.crew`).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types

from skmlp.engines.cpu.compilation import inner, jit, separate
from skmlp.engines.cpu.crew import ALL, available_threads, lead
from skmlp.engines.cpu.denormals import flush_denormals, restore_denormals
from skmlp.engines.cpu.gate import enter, leave
from skmlp.engines.cpu.inputs import embed_rows, go_back_columns
from skmlp.engines.cpu.passes import (
    backward_layer,
    forward_layer,
    forward_output,
    go_back_whole_rows,
    loss_pass,
    map_whole_rows,
)
from skmlp.engines.cpu.pointers import (
    advance,
    call_counting,
    call_kernel,
    float64_pointer,
    pointer,
    pointer_at,
)
from skmlp.engines.cpu.products import columns_of_panel, panel_count
from skmlp.engines.cpu.references import refer
from skmlp.engines.cpu.rows import gather_rows, list_rows, list_source_rows, prefetch_rows
from skmlp.engines.cpu.tables import (
    ADD_GRADIENT,
    AVERAGE,
    BLOCK_OFFSET,
    COEFS,
    COMPLETE,
    DIRECT,
    DISTURB,
    EXTRAS,
    HEAD_FIRST,
    HEAD_KERNEL,
    HEAD_TARGETS,
    HEAD_UNITS,
    INTERCEPTS,
    LD,
    N_EMBEDS,
    NORMALIZE,
    NORMALIZE_BACK,
    NORMALIZE_COLUMNS,
    OUTPUT_LAYER,
    OUTPUTS,
    PACK,
    PANEL_ROWS,
    PANELS,
    PRODUCT_UNITS,
    PROJECT,
    PROPAGATE,
    UNITS,
    UPDATE,
    WHOLE_ROWS,
    X_LD,
    X_ROWS,
    X_UNITS,
    Share,
    Slab,
    end_of_trained,
    input_table,
    list_packed,
    list_workspace,
    output_table,
    rows_of_gradient,
    share_of_blocks,
    share_of_rows,
    workspace_of,
)
from skmlp.engines.cpu.team import Team, meet, take_piece
from skmlp.engines.cpu.tiles import lane_count
from skmlp.engines.cpu.updates import (
    clipped,
    gradient_of_block,
    penalized_loss,
    step_constants,
    sum_of_losses,
    take_numbers,
    update_block,
)

INTO_PANELS, OUT_OF_PANELS = True, False

# How `run_batches` ends.
DIVERGED, WENT_ON, OUT_OF_PATIENCE = 0.0, 1.0, 2.0

# The columns of `Plan.patience`: the lowest loss so far, how much lower is better, epochs without
# improvement, how many are tolerated, and how many epochs of the plan are run in any case.
BEST, TOL, STALLED, TOLERATED, AT_LEAST = range(5)


class Plan(NamedTuple):
    """Several epochs of minibatches: `orders` holds each epoch's row numbers.

    `rates` has the learning rate of each batch, or nothing where `learning_rate` is that of all;
    `decays` and `dropouts` have the factors of the weight decay and of what is dropped, or nothing,
    and `momenta` the momentum of each batch, or nothing where it does not move.
    `losses` (n_epochs, 2) receives each epoch's sum of losses and number of rows. `patience`
    (threads, 5) has a row for each thread, of which the first one counts, or no columns where
    nobody is impatient. `looks_ahead` says whether rows of X should be fetched before their batch
    begins: not if X stays in cache. Masks of dropout are keyed by `seed`.
    """

    orders: Any
    batch_size: int
    slab_size: int
    learning_rate: float
    rates: Any
    decays: Any
    dropouts: Any
    momenta: Any
    losses: Any
    patience: Any
    looks_ahead: bool
    seed: int


@jit(inline="always")
def unpacked(task):
    """Return what a task consists of, but for the passes."""
    return task.layers, task.source, task.model, task.work, task.blocks


@jit(inline="always")
def batch_weight(source, orders, start, rows):
    """Return the sum of the sample weights of a batch."""
    if not source.is_weighted:
        return float(rows)
    weights = float64_pointer(source.weights)
    order = pointer(orders, start)
    total = 0.0
    for i in range(rows):
        total += weights[order[i]]
    return total


@jit(inline="always")
def gather_share(layers, source, work, order, first, last):
    """Copy a thread's share of the rows of X into the workspace."""
    ld = layers[0, X_LD]
    out = pointer(work.buffer, layers[0, X_ROWS] + first * ld)
    gather_rows(source, advance(order, first), last - first, layers[0, X_UNITS], out, ld)


@jit(inline="always")
def list_inputs(layers, source, work, order, rows, table):
    """Fill a thread's table of the rows of X in a slab, in place or gathered."""
    inputs = pointer(work.buffer, layers[0, OUTPUTS])
    if source.is_direct:
        list_source_rows(source, order, rows, inputs, table)
    elif not source.is_sparse:
        list_rows(inputs, layers[0, LD], rows, table)


@separate(types.int64)
def propagate(task, slab, team, thread, meeting):
    """Forward pass, loss and backward pass of a slab; all deltas are there when it returns.

    Threads that share the columns meet after each layer, others only where the next pass reads
    what another one wrote. Returns the number of the last meeting.
    """
    layers, source, model, work, blocks = unpacked(task)
    threads = team.threads
    order = pointer(slab.order, slab.position)
    first, last = share_of_rows(slab.rows, thread, threads)
    scratch = pointer(work.scratch, thread * work.scratch_size)
    by_columns = blocks.parts == 1
    share = Share(
        0 if by_columns else first,
        slab.rows if by_columns else last - first,
        thread if by_columns else 0,
        threads if by_columns else 1,
        scratch,
        slab.first,
        slab.seed,
        slab.step,
        slab.dropout,
    )
    gathers = not (source.is_direct or source.is_sparse)
    if gathers:
        gather_share(layers, source, work, order, first, last)
    is_disturbed = task.passes[DISTURB] != 0
    if is_disturbed:
        call_kernel(task.passes[DISTURB], (task, slab, thread, threads))
    parameters = pointer(model.parameters, 0)
    if layers[0, N_EMBEDS]:
        embed_rows(layers, work, parameters, first, last, scratch)
    if by_columns and (gathers or is_disturbed):
        meeting += 1
        meet(team, meeting)
    table = input_table(layers, work, thread)
    list_inputs(layers, source, work, order, slab.rows, table)
    output = layers[0, OUTPUT_LAYER]
    for layer in range(output - 1):
        forward_layer(layers, source, work, parameters, order, layer, table, share)
        kernel = layers[layer + 1, NORMALIZE]
        if by_columns or kernel:
            meeting += 1
            meet(team, meeting)
        if kernel:
            own = (task, slab, layer + 1, kernel, thread, threads)
            call_kernel(task.passes[NORMALIZE_COLUMNS], own)
            meeting += 1
            meet(team, meeting)
        if layers[layer + 1, WHOLE_ROWS]:
            map_whole_rows(layers, work, parameters, layer + 1, first, last, share)
            if by_columns:
                meeting += 1
                meet(team, meeting)
        table = output_table(work, layer + 1)
    if first < last:
        forward_output(layers, source, work, parameters, order, table, first, last)
        loss_pass(layers, source, work, model, blocks, slab, first, last, scratch, team)
    if by_columns:
        meeting += 1
        meet(team, meeting)
    # Back to what the first layer reads, if that is learned, else to the first layer's products.
    goes_back = layers[0, N_EMBEDS] != 0 and model.first_layer == 0
    for layer in range(output - 1, model.first_layer - np.int64(goes_back), -1):
        backward_layer(layers, work, parameters, layer, share)
        if by_columns:
            meeting += 1
            meet(team, meeting)
        if layers[layer, WHOLE_ROWS] and layer > 0:
            go_back_whole_rows(layers, work, parameters, layer, first, last, share)
            kernel = layers[layer, NORMALIZE_BACK]
            if by_columns or kernel:
                meeting += 1
                meet(team, meeting)
            if kernel:
                own = (task, slab, layer, kernel, thread, threads)
                call_kernel(task.passes[NORMALIZE_COLUMNS], own)
                meeting += 1
                meet(team, meeting)
    if not by_columns and (threads > 2 or goes_back):
        meeting += 1
        meet(team, meeting)
    if goes_back:
        go_back_columns(layers, work, parameters, slab.rows, scratch, thread, threads)
        meeting += 1
        meet(team, meeting)
    return meeting


@jit(inline="always")
def inputs_of(layers, work, layer, thread):
    """Return the table of the rows that a layer's coefficients are multiplied with."""
    return input_table(layers, work, thread) if layer == 0 else output_table(work, layer)


@jit(inline="always")
def part_of_gradient(model, blocks, block, part):
    """Return where the whole gradient of a part of the slab has a block."""
    return pointer(model.gradient, part * model.parameters.size + blocks.table[block, BLOCK_OFFSET])


@jit(inline="always")
def room_for_gradient(model, blocks, part, thread):
    """Return where a thread may put the gradient of one block of a part of the slab."""
    return pointer(model.gradient, (thread * blocks.parts + part) * model.gradient_size)


@inner
def prefetch_share(layers, source, work, ahead, i, begin, end):
    """Have the next rows of X that a thread reads fetched, spread over its blocks."""
    order, first, rows = ahead
    if rows:
        begin_row = first + rows * (i - begin) // (end - begin)
        end_row = first + rows * (i + 1 - begin) // (end - begin)
        like = pointer(work.buffer, 0)
        prefetch_rows(source, order, begin_row, end_row, layers[0, UNITS], like)


@separate()
def add_gradient(task, slab, is_first, after, ahead_first, ahead_rows, thread, threads):
    """Do a thread's share of adding a slab's gradient to that of its batch.

    While it works on the first layer's blocks it has the next rows of X fetched: `after` points to
    their numbers, and the thread takes `ahead_rows` of them from `ahead_first` on.
    """
    layers, source, model, work, blocks = unpacked(task)
    ahead = (after, ahead_first, ahead_rows)
    order = pointer(slab.order, slab.position)
    for part in range(blocks.parts):
        for layer in range(model.first_layer, end_of_trained(layers, model)):
            first, rows = rows_of_gradient(layers, layer, slab.rows, part, blocks.parts)
            table = inputs_of(layers, work, layer, thread)
            begin, end = share_of_blocks(blocks.gradient_shares[part], layer, threads, thread)
            before = np.int64(-1)
            for i in range(begin, end):
                block = blocks.sequence[i]
                if layer == 0:
                    prefetch_share(layers, source, work, ahead, i, begin, end)
                if task.passes[PACK]:
                    own = (task, layer, block, before, first, rows, table, thread)
                    call_kernel(task.passes[PACK], own)
                before = block
                out = part_of_gradient(model, blocks, block, part)
                gradient_of_block(
                    *(layers, source, work, blocks, layer, block, order, first, rows, table),
                    *(not is_first, out, (thread, threads)),
                )


@jit()
def add_slab(task, slab, accumulate, gate, board, threads, thread):
    """Compute a slab's loss, and its gradient into ``model.gradient``; return the loss."""
    if thread == ALL:
        threads = available_threads(board, enter(gate, board, threads))
        result = lead((task, slab, accumulate, gate, board, threads), board, threads)
        leave(gate, board)
        return result
    task, slab, team = refer(task), refer(slab), refer(Team(board, threads))
    layers, _, _, work, blocks = unpacked(task)
    if thread == 0:
        list_workspace(layers, work, work.slab_size)
    list_packed(layers, work, team.threads, thread)
    meet(team, 1)
    one = np.int64(1)
    meeting = call_counting(task.passes[PROPAGATE], (task, slab, team, thread, one))
    nothing = (pointer(slab.order, 0), 0, 0)
    who = (thread, team.threads)
    call_kernel(task.passes[ADD_GRADIENT], (task, slab, not accumulate, *nothing, *who))
    # The losses of all rows are there when all threads are.
    meet(team, meeting + 1)
    return sum_of_losses(blocks, slab.rows)


@separate()
def update(
    task,
    slab,
    is_first,
    after,
    ahead_first,
    ahead_rows,
    inverse,
    is_complete,
    constants,
    is_there,
    thread,
    threads,
):
    """Do a thread's share of the update, and of the gradient of the batch's last slab before.

    The gradient is scaled by `inverse`; it may be there already, and complete. `constants` are
    those of the step.
    """
    layers, source, model, work, blocks = unpacked(task)
    ahead = (after, ahead_first, ahead_rows)
    scaling = (inverse, is_complete)
    order = pointer(slab.order, slab.position)
    is_whole = is_there or not is_first
    for layer in range(model.first_layer, end_of_trained(layers, model)):
        table = inputs_of(layers, work, layer, thread)
        begin, end = share_of_blocks(blocks.shares, layer, threads, thread)
        before = np.int64(-1)
        for i in range(begin, end):
            block = blocks.sequence[i]
            if is_whole:
                gradient = part_of_gradient(model, blocks, block, 0)
                other = part_of_gradient(model, blocks, block, blocks.parts - 1)
            else:
                gradient = room_for_gradient(model, blocks, 0, thread)
                other = room_for_gradient(model, blocks, blocks.parts - 1, thread)
            if not is_there:
                if layer == 0:
                    prefetch_share(layers, source, work, ahead, i, begin, end)
                if task.passes[PACK]:
                    own = (task, layer, block, before, np.int64(0), slab.rows, table, thread)
                    call_kernel(task.passes[PACK], own)
                before = block
                for part in range(blocks.parts):
                    first, rows = rows_of_gradient(layers, layer, slab.rows, part, blocks.parts)
                    out = gradient if part == 0 else other
                    gradient_of_block(
                        *(layers, source, work, blocks, layer, block, order, first, rows, table),
                        *(not is_first, out, (thread, threads)),
                    )
            update_block(layers, model, blocks, layer, block, scaling, constants, gradient, other)


@jit(inline="always")
def rows_ahead(blocks, plan, after, team, thread):
    """Return the row numbers from position `after` on, and which of them the thread reads next."""
    order = pointer(plan.orders, after)
    if not plan.looks_ahead:
        return order, 0, 0
    rows = min(plan.slab_size, plan.orders.size - after)
    if blocks.parts == 1:
        return order, 0, rows
    first, last = share_of_rows(rows, thread, team.threads)
    return order, first, last - first


@jit(inline="always")
def train_on_batch(task, plan, bounds, step_data, team, thread, meeting):
    """Do a thread's share of one minibatch, the rows in `bounds` of all epochs' orders.

    Returns the number of the last meeting and the sum of the rows' losses.
    """
    _, _, model, _, blocks = unpacked(task)
    start, stop = bounds
    inverse, constants, step, dropout = step_data
    is_completed = model.complete != 0
    # One thread has each block's gradient and update at once. Where several compute gradients of
    # parts, an update needs what others have computed; norms and directions are of all blocks.
    is_there = (blocks.parts > 1 and team.threads > 1) or is_completed
    order = plan.orders.reshape(plan.orders.size)
    loss = 0.0
    for position in range(start, stop, plan.slab_size):
        rows = min(plan.slab_size, stop - position)
        place = (position - start, stop - start)
        slab = refer(Slab(order, position, rows, *place, plan.seed, step, dropout))
        own = (task, slab, team, thread, meeting)
        meeting = call_counting(task.passes[PROPAGATE], own)
        is_first = position == start
        is_last = position + plan.slab_size >= stop
        ahead = rows_ahead(blocks, plan, position + slab.rows, team, thread)
        if is_there or not is_last:
            who = (thread, team.threads)
            call_kernel(task.passes[ADD_GRADIENT], (task, slab, is_first, *ahead, *who))
            meeting += 1
            meet(team, meeting)
        # Here the losses of all rows are there, and will be until the next meeting.
        loss += sum_of_losses(blocks, slab.rows)
        if is_last:
            if is_completed:
                call_kernel(task.passes[COMPLETE], (task, inverse, thread, team.threads))
            if model.clip_norm > 0.0 or model.matrices.kernel:
                meeting += 1
                meet(team, meeting)
            if model.clip_norm > 0.0:
                inverse = clipped(model, blocks, inverse)
            if model.matrices.kernel:
                together = (pointer(team.board, 0), thread, team.threads, meeting)
                call_kernel(task.passes[DIRECT], (task, inverse, *together))
                meeting += model.matrices.meetings
            data = (inverse, is_completed, constants, is_there, thread, team.threads)
            call_kernel(task.passes[UPDATE], (task, slab, is_first, *ahead, *data))
            if model.project:
                meeting += 1
                meet(team, meeting)
                call_kernel(task.passes[PROJECT], (task, thread, team.threads))
            if model.average:
                if model.project:  # panels are shared out otherwise than blocks
                    meeting += 1
                    meet(team, meeting)
                call_kernel(task.passes[AVERAGE], (task, thread, team.threads))
        meeting += 1
        meet(team, meeting)
    return meeting, loss


@jit(inline="always")
def count_epoch(patience, loss, epochs):
    """Count an epoch that ended with a mean loss, of so many; return whether it is the last one.

    As `skmlp.training.stopping.Patience.update` does.
    """
    stalled = loss > patience[BEST] - patience[TOL]
    patience[STALLED] = patience[STALLED] + 1.0 if stalled else 0.0
    patience[BEST] = min(patience[BEST], loss)
    return patience[STALLED] > patience[TOLERATED] and epochs >= patience[AT_LEAST]


@jit()
def run_batches(task, plan, first_batch, last_batch, gate, board, threads, thread):
    """Train on the minibatches from number `first_batch` up to (not including) `last_batch`.

    Batches are numbered through all epochs of the plan. Every thread goes through the same
    loops and decisions, and does its share of each pass. The first thread writes the sums of
    the losses and the number of rows of each epoch to ``plan.losses``, and counts the steps in
    ``model.steps``; it also counts epochs without improvement, where there is a `plan.patience`,
    and the plan ends with the epoch in which that runs out. Returns WENT_ON, or else why it ended
    before. Denormal numbers are taken for zero.
    """
    if thread == ALL:
        threads = available_threads(board, enter(gate, board, threads))
        whole = (task, plan, first_batch, last_batch, gate, board, threads)
        result = lead(whole, board, threads)
        leave(gate, board)
        return result
    task, plan, team = refer(task), refer(plan), refer(Team(board, threads))
    layers, source, model, work, blocks = unpacked(task)
    control = flush_denormals()
    rows_per_epoch = plan.orders.shape[1]
    per_epoch = (rows_per_epoch + plan.batch_size - 1) // plan.batch_size
    step = model.steps[0]
    if thread == 0:
        list_workspace(layers, work, work.slab_size)
    list_packed(layers, work, team.threads, thread)
    take_numbers(model, thread)
    # Each thread counts by itself, from what the first one has written before.
    patience = plan.patience[thread]
    for place in range(patience.size):
        patience[place] = plan.patience[0, place]
    epoch = first_batch // per_epoch
    total, counted = plan.losses[epoch, 0], plan.losses[epoch, 1]
    # Not a literal: Numba would compile everything that takes it twice.
    meeting = np.int64(1)
    meet(team, meeting)
    ended = WENT_ON
    batch = first_batch
    while ended == WENT_ON and batch < last_batch:
        start = (batch - epoch * per_epoch) * plan.batch_size
        rows = min(plan.batch_size, rows_per_epoch - start)
        start += epoch * rows_per_epoch
        rate = plan.rates[batch] if plan.rates.size else plan.learning_rate
        decay = plan.decays[batch] if plan.decays.size else 1.0
        dropout = plan.dropouts[batch] if plan.dropouts.size else 1.0
        batch += 1
        weight_sum = batch_weight(source, plan.orders, start, rows)
        if weight_sum != 0.0:
            step += 1
            if plan.momenta.size:
                model.settings[thread, model.momentum] = plan.momenta[batch - 1]
            constants = step_constants(model, rate, decay, step, thread)
            step_data = (1.0 / weight_sum, constants, step, dropout)
            bounds = (start, start + rows)
            meeting, loss = train_on_batch(task, plan, bounds, step_data, team, thread, meeting)
            loss = penalized_loss(blocks, model.alpha, loss, weight_sum)
            total += loss * rows
            counted += rows
            if thread == 0:
                plan.losses[epoch, 0], plan.losses[epoch, 1] = total, counted
                model.steps[0] = step
            if not np.isfinite(loss):
                ended = DIVERGED
        if batch == (epoch + 1) * per_epoch:
            epoch += 1
            mean = total / max(counted, 1.0)
            total = counted = 0.0
            if ended == WENT_ON and patience.size and count_epoch(patience, mean, epoch):
                ended = OUT_OF_PATIENCE
    restore_denormals(control)
    return ended


@inner
def exchange_parameters(layers, parameters, into_panels):
    """Copy parameters between panels and where users see them, in one direction or the other."""
    for layer in range(layers.shape[0] - 1):
        fan_in, columns = layers[layer, UNITS], layers[layer + 1, PRODUCT_UNITS]
        panel_rows = layers[layer, PANEL_ROWS]
        coefs = pointer_at(layers[layer, COEFS], parameters)
        intercepts = pointer_at(layers[layer, INTERCEPTS], parameters)
        extras = pointer_at(layers[layer, EXTRAS], parameters)
        lanes = lane_count(parameters)
        for panel in range(panel_count(columns, lanes)):
            column, vectors, in_last = columns_of_panel(panel, columns, lanes)
            width = vectors * lanes
            used = width - lanes + in_last
            own = advance(parameters, layers[layer, PANELS] + panel_rows * column)
            for k in range(panel_rows):
                row = intercepts if k == fan_in else advance(coefs, k * columns)
                if k > fan_in:
                    row = advance(extras, (k - fan_in - 1) * columns)
                if into_panels:
                    for j in range(used):
                        own[k * width + j] = row[column + j]
                    for j in range(used, width):
                        own[k * width + j] = 0.0
                else:
                    for j in range(used):
                        row[column + j] = own[k * width + j]


@jit()
def exchange(layers, parameters, into_panels):
    """Copy a model's parameters into panels, or panels to the model's parameters."""
    exchange_parameters(layers, pointer(parameters, 0), into_panels)


@inner
def predict_piece(layers, source, heads, work, parameters, order, out):
    """Write the outputs for the rows numbered in `order` to `out`, row after row."""
    last = layers[0, OUTPUT_LAYER]
    columns = layers[last, UNITS]
    ld = layers[last, LD]
    scratch = pointer(work.scratch, 0)
    panels = pointer(parameters, 0)
    raw = pointer(work.buffer, layers[last, OUTPUTS])
    # Not literals: Numba would compile the passes once more for them.
    nothing, one = np.int64(0), np.int64(1)
    list_workspace(layers, work, min(work.slab_size, order.size))
    for position in range(0, order.size, work.slab_size):
        rows = min(work.slab_size, order.size - position)
        used = pointer(order, position)
        if not (source.is_direct or source.is_sparse):
            gather_share(layers, source, work, used, 0, rows)
        if layers[0, N_EMBEDS]:
            embed_rows(layers, work, panels, nothing, rows, scratch)
        table = input_table(layers, work, 0)
        list_inputs(layers, source, work, used, rows, table)
        share = Share(nothing, rows, nothing, one, scratch, nothing, nothing, nothing, 1.0)
        for layer in range(last - 1):
            forward_layer(layers, source, work, panels, used, layer, table, share)
            if layers[layer + 1, WHOLE_ROWS]:
                map_whole_rows(layers, work, panels, layer + 1, nothing, rows, share)
            table = output_table(work, layer + 1)
        forward_output(layers, source, work, panels, used, table, nothing, rows)
        target = pointer(out, position * columns)
        for head in range(heads.shape[0]):
            first = heads[head, HEAD_FIRST]
            call_kernel(
                heads[head, HEAD_KERNEL],
                (
                    *(advance(raw, first), ld, rows, heads[head, HEAD_UNITS]),
                    *(heads[head, HEAD_TARGETS], advance(target, first), columns, scratch),
                ),
            )


@jit()
def predict_rows(
    layers,
    source,
    heads,
    work,
    parameters,
    order,
    out,
    piece_rows,
    is_first,
    board,
    threads,
    thread,
):
    """Predict the rows numbered in `order`, in pieces that go to whichever thread comes first.

    `work` holds a workspace for each thread. The first call for a model copies its parameters
    into panels. Returns the number of rows that a thread has predicted.
    """
    if thread == ALL:
        if is_first:
            exchange_parameters(layers, pointer(parameters, 0), True)
        threads = available_threads(board, threads)
        work_for_all = (
            *(layers, source, heads, work, parameters, order, out, piece_rows, is_first),
            *(board, threads),
        )
        return lead(work_for_all, board, threads)
    team = Team(board, threads)
    columns = layers[layers[0, OUTPUT_LAYER], UNITS]
    own = refer(workspace_of(work, thread, threads))
    source = refer(source)
    done = 0.0
    while True:
        first = take_piece(team) * piece_rows
        if first >= order.size:
            return done
        last = min(first + piece_rows, order.size)
        piece = out[first * columns : last * columns]
        predict_piece(layers, source, heads, own, parameters, order[first:last], piece)
        done += last - first
