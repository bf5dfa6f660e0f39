"""The gradient of a block of parameters, its update, and the penalized loss of a batch."""

import numpy as np

from skmlp.engines.cpu.compilation import inner, jit, separate
from skmlp.engines.cpu.pointers import advance, call_kernel, pointer, pointer_at
from skmlp.engines.cpu.products import columns_of_panel, multiply_transposed
from skmlp.engines.cpu.registers import GROUP_BYTES, VECTOR_BYTES
from skmlp.engines.cpu.rows import sparse_gradient
from skmlp.engines.cpu.tables import (
    BLOCK_FIRST,
    BLOCK_LAST,
    BLOCK_OFFSET,
    BLOCK_PANEL,
    BLOCK_TAIL,
    EXTRA_SUMS,
    GROUP,
    GROUP_ALPHA,
    GROUP_CONSTANTS,
    GROUP_DECAY,
    GROUP_DESCENDS,
    GROUP_FIELDS,
    GROUP_GRADIENT,
    GROUP_ROWS,
    NUMBERS_OF_OPTIMIZER,
    NUMBERS_WEIGHT,
    PACK_DELTAS,
    PACK_INPUTS,
    PACK_NOTHING,
    PRODUCT_DELTAS,
    PRODUCT_LD,
    PRODUCT_UNITS,
    ROW_CONSTANTS,
    ROW_DECAY,
    ROW_RATE,
    ROWS_OF_EXTRA,
    end_of_trained,
    packed_table,
    share_of_blocks,
)
from skmlp.engines.cpu.tiles import copy_columns, copy_rows, lane_count, sum_of_rows


@separate()
def pack(task, layer, block, before, first_row, rows, table, thread):
    """Copy together what a block and those after it read of some rows.

    Rows of X and of wide layers lie on as many pages of memory as there are rows, too many for
    the processor to find them quickly again and again. `before` is the block that the thread had
    before, negative if none; `table` holds the addresses of all rows of the slab.
    """
    layers, work, blocks = task.layers, task.work, task.blocks
    kind = blocks.packing[layer]
    if kind == PACK_NOTHING or rows == 0:
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
        column, vectors, _ = columns_of_panel(panel, layers[layer + 1, PRODUCT_UNITS], lanes)
        width = vectors * lanes
        ld = layers[layer + 1, PRODUCT_LD]
        delta = pointer(work.buffer, layers[layer + 1, PRODUCT_DELTAS] + first_row * ld + column)
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
    columns = layers[layer + 1, PRODUCT_UNITS]
    column, vectors, _ = columns_of_panel(blocks.table[block, BLOCK_PANEL], columns, lanes)
    width = vectors * lanes
    tail = blocks.table[block, BLOCK_TAIL]
    if rows == 0:
        if not accumulate:
            for i in range((count + tail) * width):
                out[i] = 0.0
        return
    packing = blocks.packing[layer]
    product_ld = layers[layer + 1, PRODUCT_LD]
    corner = first_row * product_ld + column
    if packing == PACK_DELTAS:
        ld = width
        delta = pointer(work.packed, thread * work.packed_size + first_row * ld)
    else:
        ld = product_ld
        delta = pointer(work.buffer, layers[layer + 1, PRODUCT_DELTAS] + corner)
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
    for i in range(tail):
        sums = advance(out, (count + i) * width)
        start = sums if accumulate else pointer(work.zeros, 0)
        n_summed = rows
        if i > 0:  # extras have their own matrices, of which each member's are some rows
            members = layers[layer + 1, ROWS_OF_EXTRA]
            number = (i - 1) // members
            before = (i - 1 - number * members - first_row) % members  # rows of other members
            n_summed = (rows - before + members - 1) // members
            matrix = layers[layer + 1, EXTRA_SUMS] + number * work.slab_size * product_ld
            delta = pointer(work.buffer, matrix + corner + before * product_ld)
            ld = members * product_ld
        if n_summed > 0:
            sum_of_rows(vectors, delta, ld, n_summed, start, sums)
        elif not accumulate:
            for j in range(width):
                sums[j] = 0.0


@inner
def clipped(model, blocks, inverse):
    """Return what to scale the gradient by, so that its norm is at most `clip_norm`.

    Every thread adds the same sums in the same order.
    """
    total = 0.0
    for block in range(blocks.squares.size):
        total += blocks.squares[block]
    norm = np.sqrt(total) * inverse
    # NaN is not larger, and stays in the gradient.
    return inverse * (model.clip_norm / norm) if norm > model.clip_norm else inverse


@jit(inline="always")
def update_group(model, group, place, size, scaling, constants, penalty):
    """Update some parameters of a group, at a place in the parameters, gradient and state."""
    inverse, is_complete = scaling
    alpha = 0.0 if is_complete else model.groups[group, GROUP_ALPHA]
    if not is_complete:
        inverse *= model.groups[group, GROUP_GRADIENT]
    row = int(model.groups[group, GROUP_CONSTANTS])
    own = advance(constants, row * model.constants.shape[2])
    keep = 1.0 - own[ROW_DECAY] * model.groups[group, GROUP_DECAY]
    kernel, first = model.update, ROW_CONSTANTS
    if model.groups[group, GROUP_DESCENDS] != 0.0:
        # In place of the gradient there is a direction, or the rate is zero.
        kernel, first, inverse = model.descend, ROW_RATE, 1.0
    parameters, gradient, state = place
    if model.groups[group, GROUP_GRADIENT] == 0.0:  # of what stays as it is, even if it is infinite
        for i in range(size):
            gradient[i] = 0.0
    numbers = (model.parameters.size, size, alpha, inverse, keep)
    data = (parameters, gradient, state, *numbers, advance(own, first), penalty)
    call_kernel(kernel, data)


@inner
def update_block(layers, model, blocks, layer, block, scaling, constants, gradient, other):
    """Penalize a block's summed gradient and apply the optimizer, while it is in cache.

    ``g = (g + other + alpha * w) * inverse * factor`` and ``penalties[block] = sum(w ** 2)``;
    `other` is the gradient of the slab's other half, if it has two, and `factor` that of a group of
    parameters. `scaling` holds `inverse`, and whether the rest is in `gradient` already.
    """
    offset = blocks.table[block, BLOCK_OFFSET]
    parameters = pointer(model.parameters, offset)
    columns = layers[layer + 1, PRODUCT_UNITS]
    lanes = lane_count(parameters)
    _, vectors, in_last = columns_of_panel(blocks.table[block, BLOCK_PANEL], columns, lanes)
    width = vectors * lanes
    rows = blocks.table[block, BLOCK_LAST] - blocks.table[block, BLOCK_FIRST]
    size = rows * width
    tail = blocks.table[block, BLOCK_TAIL]
    rows += tail
    if blocks.parts > 1 and not scaling[1]:
        for i in range(rows * width):
            gradient[i] += other[i]
    state = pointer(model.state, offset)
    penalty = pointer(blocks.penalties, block)
    group, done, is_padded_wrong = layers[layer, GROUP], 0, False
    while done < tail:  # before the coefficients, whose call leaves the penalty
        group += 1
        count = min(int(model.groups[group, GROUP_ROWS]), tail - done)
        start = size + done * width
        place = advance(parameters, start), advance(gradient, start), advance(state, start)
        update_group(model, group, place, count * width, scaling, constants, penalty)
        if parameters[start + width - 1] != 0.0:
            is_padded_wrong = True
        done += count
    place = parameters, gradient, state
    update_group(model, layers[layer, GROUP], place, size, scaling, constants, penalty)
    if in_last < lanes and (is_padded_wrong or parameters[width - 1] != 0.0):
        # Padding has no gradient, but the optimizer has divided zero by zero there.
        for i in range(rows):
            for j in range(width - lanes + in_last, width):
                parameters[i * width + j] = 0.0


@inner
def take_numbers(model, thread):
    """Take over what counts of the numbers that are carried from step to step."""
    for i in range(model.numbers.shape[1]):
        model.numbers[thread, i] = model.numbers[0, i]


@inner
def step_constants(model, learning_rate, decay, step, thread):
    """Return what all updates of a step share, in memory of the thread's own.

    The weight decay is multiplied by `decay`.
    """
    _, rates, stride = model.constants.shape
    carried = pointer(model.numbers, thread * model.numbers.shape[1])
    carried[NUMBERS_WEIGHT] = model.ema_decay * carried[NUMBERS_WEIGHT] + 1.0
    carried = advance(carried, NUMBERS_OF_OPTIMIZER)
    settings = pointer(model.settings, thread * model.settings.shape[1])
    if model.carry:
        call_kernel(model.carry, (settings, step, carried))
    constants = pointer(model.constants, thread * rates * stride)
    for i in range(rates):
        row = advance(constants, i * stride)
        rate = learning_rate * model.rates[i]
        row[ROW_DECAY], row[ROW_RATE] = rate * decay, rate
        call_kernel(model.prepare, (settings, rate, step, carried, advance(row, ROW_CONSTANTS)))
    return constants


@separate()
def make_directions(task, inverse, board, thread, threads, meeting):
    """Replace the gradients of whole matrices, all threads together."""
    model, work = task.model, task.work
    matrices = model.matrices
    call_kernel(
        matrices.kernel,
        (
            *(pointer(matrices.table, 0), matrices.table.shape[0], pointer(matrices.scales, 0)),
            *(pointer(matrices.constants, 0), matrices.iterations, pointer(matrices.lines, 0)),
            *(pointer(matrices.room, 0), pointer(matrices.squares, 0), pointer(work.zeros, 0)),
            *(pointer(model.gradient, 0), pointer(model.state, 0), inverse),
            *(board, threads, thread, meeting),
        ),
    )


@separate()
def average_share(task, thread, threads):
    """Move the averages of the parameters that a thread has updated towards them."""
    layers, model, blocks = task.layers, task.model, task.blocks
    rate = 1.0 / model.numbers[thread, NUMBERS_WEIGHT]
    lanes = lane_count(pointer(model.parameters, 0))
    for layer in range(layers.shape[0] - 1):
        begin, end = share_of_blocks(blocks.shares, layer, threads, thread)
        for i in range(begin, end):
            block = blocks.sequence[i]
            offset = blocks.table[block, BLOCK_OFFSET]
            columns = layers[layer + 1, PRODUCT_UNITS]
            _, vectors, _ = columns_of_panel(blocks.table[block, BLOCK_PANEL], columns, lanes)
            rows = blocks.table[block, BLOCK_LAST] - blocks.table[block, BLOCK_FIRST]
            size = (rows + blocks.table[block, BLOCK_TAIL]) * vectors * lanes
            places = pointer(model.averages, offset), pointer(model.parameters, offset)
            call_kernel(model.average, (*places, size, rate))


@separate()
def complete_share(task, inverse, thread, threads):
    """Complete a thread's share of a batch's gradient, so that it can be clipped."""
    layers, model, blocks = task.layers, task.model, task.blocks
    other = (blocks.parts - 1) * model.parameters.size
    is_bounded = np.int64(model.bounds.size > 0)
    upper = pointer(model.bounds, is_bounded * model.parameters.size)
    bounds = pointer(model.bounds, 0), upper, is_bounded, model.clip_value / inverse
    for layer in range(model.first_layer, end_of_trained(layers, model)):
        begin, end = share_of_blocks(blocks.shares, layer, threads, thread)
        gradients = pointer(model.gradient, 0), pointer(model.gradient, other), blocks.parts - 1
        places = pointer(blocks.table, 0), pointer(blocks.sequence, 0), begin, end
        groups = pointer(model.groups, layers[layer, GROUP] * GROUP_FIELDS)
        penalty = groups, pointer(model.penalty_constants, 0)
        sums = pointer(blocks.squares, 0), pointer(blocks.charges, 0)
        parameters, columns = pointer(model.parameters, 0), layers[layer + 1, PRODUCT_UNITS]
        call_kernel(
            model.complete,
            (parameters, *gradients, *places, columns, *bounds, *penalty, *sums),
        )


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
    """Return the mean loss of a batch with the penalty of all blocks."""
    if blocks.charges.size:
        charges = 0.0
        for block in range(blocks.charges.size):
            charges += blocks.charges[block]
        return (loss + alpha * charges) / weight_sum
    penalty = 0.0
    for block in range(blocks.penalties.size):
        penalty += blocks.penalties[block]
    return (loss + 0.5 * alpha * penalty) / weight_sum
