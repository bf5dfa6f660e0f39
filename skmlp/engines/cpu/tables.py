"""What kernels are told: a network, a slab, a model, and how the work is shared out.

Numbers about each layer and each block of parameters stand in the rows of integer tables, so that
no architecture compiles anything.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.cpu.compilation import jit
from skmlp.engines.cpu.pointers import pointer
from skmlp.engines.cpu.registers import GROUP_BYTES, TILE_ROWS, VECTOR_BYTES
from skmlp.engines.cpu.rows import list_rows
from skmlp.engines.cpu.tiles import lane_count

Integers = npt.NDArray[np.int64]

# Columns of the table of layers, which describes a network to the kernels. Offsets are those in
# the workspace unless something else is said; an address of zero stands for nothing to do.
UNITS = 0  # columns of the outputs, which the next layer reads
LD = 1  # how far apart rows of the outputs, and of their deltas, lie
OUTPUTS = 2
DELTAS = 3  # the derivative of the loss by the outputs
# Of the panels that lead to the next layer:
PANELS = 4  # offset in the vector of parameters
PANEL_ROWS = 5  # rows of a panel: coefficients, intercepts and extras
COEFS = 6  # address of the coefficients as users see them
INTERCEPTS = 7  # address of the intercepts as users see them
EXTRAS = 8  # address of the extras as users see them, vector after vector
# Of the product that the layer begins with. All are those of the outputs where a unit has one
# pre-activation.
PRODUCT_UNITS = 9
PRODUCT_LD = 10
PRODUCTS = 11
PRODUCT_DELTAS = 12
# Of the map from products to outputs (hidden layers):
MAP = 13  # address of the kernel
BACK = 14  # address of the kernel that goes back
KEPT = 15  # what that kernel multiplies deltas by, or computes it from
CONSTANTS = 16  # address of the formula's constants
WHOLE_ROWS = 17  # whether both kernels take whole rows, instead of any elements
EXTRA_SUMS = 18  # matrices whose sums over rows are the gradients of the extras
DROP = 19  # address of the kernel of dropout
DROPOUT = 20  # address of the share that it drops
# Of normalization (hidden layers), which lies between product and map:
INNER_MAP = 21  # address of the kernel that the map's calls for normalized rows
INNER_BACK = 22  # the same on the way back
SCALES = 23  # inverse standard deviations
NORMALIZE = 24  # address of the kernel that normalizes columns, which belong to no thread's rows
NORMALIZE_BACK = 25
STATISTICS = 26  # address of the running means; the running variances follow
# Of the inputs:
NOISE = 27  # address of the kernel that adds noise
DEVIATION = 28  # address of its standard deviation
# Of the coefficients that lead to the next layer:
GROUP = 29  # their row in the table of groups; those of the intercepts and extras follow
# Of inputs and outputs, where samples are mixed:
MIX = 30  # address of the kernel that mixes rows of X, or deltas and losses
CONCENTRATION = 31  # address of the concentration of shares
SECOND_RAW = 32  # a copy of the raw predictions (output layer)
# Of the inputs: rows of X that have been copied, which else are what the first layer reads.
X_UNITS = 33
X_LD = 34
X_ROWS = 35
# Where the first layer reads something else than X:
EMBEDDED = 36  # embedded columns, which are not scaled yet
EMBEDS = 37  # address of the table of embeddings
N_EMBEDS = 38  # its rows; none if the first layer reads X
LEARNED = 39  # what all columns have learned: offset in the vector of parameters
LEARNED_SUMS = 40  # the gradient by it
GIVEN = 41  # address of what the data have given to columns
SCALE = 42  # address of the kernel that scales embedded columns
SCALE_BACK = 43  # address of the kernel that goes back
FACTORS = 44  # what they are scaled by: offset in the vector of parameters
FACTOR_SUMS = 45  # the gradient by it
# Of the whole network, in the row of the inputs:
OUTPUT_LAYER = 46  # number of the output layer
# Where members share weights, in all rows; else one. Row i of a slab is that of member i modulo it.
N_MEMBERS = 47
# Of outputs, of which each member has its own:
PICK = 48  # address of the kernel that copies raw predictions of each row's member
PUT_BACK = 49  # address of the kernel that puts their deltas in their places, and zeros elsewhere
OWN_RAW = 50  # where they are in between
OWN_LD = 51
# Of the panels that lead to a layer, in its row: how many rows each extra has there, one for each
# member or one for all.
ROWS_OF_EXTRA = 52
LAYER_FIELDS = 53

# Rows behind that of the output layer are there for vectors that inputs have learned: each is the
# row of intercepts of a connection without coefficients, from one of these rows to the next. So
# updates treat it as they do all others; only its gradient comes as one row, and all of it at once.

# Columns of the table of embeddings, whose rows are the blocks of columns of X.
EMBED_KERNEL = 0  # address of the kernel, zero if values are read where they are
EMBED_BACK = 1  # address of the kernel that goes back, zero if nothing is learned
EMBED_FIRST = 2  # first column of X
EMBED_COLUMNS = 3
EMBED_START = 4  # first embedded column
EMBED_WIDTH = 5  # embedded columns of each
EMBED_LEARNED = 6  # numbers that each column learns
EMBED_FIRST_LEARNED = 7  # the first of them, among those of all columns
EMBED_GIVEN = 8  # numbers that the data give to each column
EMBED_FIRST_GIVEN = 9
EMBED_CONSTANTS = 10  # address of the formula's constants
EMBED_FIELDS = 11

# Columns of the table of heads, which describes the output layer.
HEAD_KERNEL = 0  # address of the kernel of the loss in a fit, of the link in a prediction
HEAD_FIRST = 1  # first unit
HEAD_UNITS = 2
HEAD_TARGET = 3  # first column of the targets
HEAD_CONSTANTS = 4  # offset in the constants of all heads
HEAD_TARGETS = 5  # columns of the targets
HEAD_FIELDS = 6

# Columns of the table of blocks.
BLOCK_PANEL = 0
BLOCK_FIRST = 1  # first row of coefficients
BLOCK_LAST = 2  # one past the last one
BLOCK_OFFSET = 3  # first parameter
BLOCK_TAIL = 4  # rows that follow and belong to it: of the intercepts and the extras, or none
BLOCK_FIELDS = 5

# What is copied together before the blocks of a layer are computed.
PACK_NOTHING = 0
PACK_INPUTS = 1  # a few columns of the inputs, for the blocks of all panels
PACK_DELTAS = 2  # a panel of deltas, for all its blocks

# Columns of the table of groups of parameters.
GROUP_ALPHA = 0  # strength of the penalty
GROUP_DECAY = 1  # weight decay per unit of the learning rate
GROUP_CONSTANTS = 2  # which of the thread's rows of constants
GROUP_GRADIENT = 3  # factor of the gradient
GROUP_ROWS = 4  # so many rows of a panel, behind the coefficients
GROUP_DESCENDS = 5  # whether steps are those of descent: by directions, or by nothing
GROUP_FIELDS = 6
ALL_ROWS = 2.0**30  # those that are left

# A row of constants: the learning rate times the factor of the weight decay, the learning rate, and
# what the optimizer makes of it.
ROW_DECAY = 0
ROW_RATE = 1
ROW_CONSTANTS = 2
CONSTANTS_STRIDE = 16  # doubles: two cache lines, so that threads do not disturb each other


# A row of what a thread carries from step to step: the weight of the averages of the parameters,
# and the numbers that the optimizer has besides its vectors.
NUMBERS_WEIGHT = 0
NUMBERS_OF_OPTIMIZER = 1

# Columns of the table of matrices of which an optimizer takes the gradient as a whole.
MATRIX_PANELS = 0  # offset in the vector of parameters
MATRIX_PANEL_ROWS = 1
MATRIX_FAN_IN = 2
MATRIX_FAN_OUT = 3
MATRIX_LD = 4  # how far apart the rows of its copies lie
MATRIX_LINES = 5  # offset in the addresses of their rows
MATRIX_FIELDS = 6

# The passes that are compiled by themselves, in the table of their addresses (zero where there is
# nothing to do).
PROPAGATE = 0
DISTURB = 1
NORMALIZE_COLUMNS = 2
PACK = 3
ADD_GRADIENT = 4
COMPLETE = 5
DIRECT = 6
UPDATE = 7
PROJECT = 8
AVERAGE = 9
PASSES = 10


class Slab(NamedTuple):
    """Rows worked on at once: `rows` of them, from ``order[position]`` on.

    The first is number `first` of its batch, which has `batch_rows` rows: where members share
    weights a multiple of their number. Masks of dropout, noise
    and mixtures are keyed by `seed` and `step`; in step zero there are none. The shares that are
    dropped are multiplied by `dropout`.
    """

    order: Integers
    position: int
    rows: int
    first: int
    batch_rows: int
    seed: int
    step: int
    dropout: float


class Workspace(NamedTuple):
    """Scratch memory for the rows of a slab.

    `buffer` holds each layer's outputs and deltas. `tables` are tables of row addresses,
    `slab_size` entries each: one per layer for its outputs, one per layer for its products' deltas,
    one per thread for the rows of X, one per thread for rows that are packed; the last one has the
    numbers of the rows that others are mixed with. `scratch` has
    `scratch_size` and `packed` `packed_size` elements for each thread. `zeros` is as long as a
    panel is wide.
    """

    buffer: Any
    tables: Integers
    slab_size: int
    scratch: Any
    scratch_size: int
    packed: Any
    packed_size: int
    zeros: Any


class Matrices(NamedTuple):
    """Weight matrices of which an optimizer takes the gradient as a whole.

    `table` is the table of matrices, and `scales` has a factor of each one's direction. `constants`
    are those of what is accumulated of the gradient. `room` is scratch memory, `lines` are the
    addresses of rows in it, and `squares` has a sum for each row of a matrix. `kernel` is the
    address of the kernel, zero where there is no such matrix, that makes directions of gradients,
    in `iterations` and with `meetings` for all matrices together.
    """

    table: Integers
    scales: Any
    constants: Any
    room: Any
    lines: Integers
    squares: Any
    kernel: int
    iterations: int
    meetings: int


class Model(NamedTuple):
    """What a step reads and writes besides the workspace.

    `parameters` and the state vectors, one after the other in `state`, lie in panels. So does
    `gradient`, one for each part of a slab, where all of it has to be there: it is asked for, grows
    over several slabs, goes from thread to thread or is to be completed. Otherwise each thread has
    room in it for one block of `gradient_size` elements for each part.

    `settings` (threads, stride) are those of the optimizer, for each thread; the momentum, where it
    moves, stands at `momentum` there. `steps` counts the updates made. `groups` is the table of
    groups of parameters, `rates` (n_rates,) has the factors of the learning rate that occur in it,
    and `constants` (threads, n_rates, stride) a row for each of them and each thread.
    `numbers` (threads, stride) has what each thread carries from step to step, where the first
    one's row is what counts between calls.

    `heads` is the table of heads, `head_constants` has the constants of their losses and
    `target_columns` counts the columns of the targets.

    `prepare`, `carry`, `complete`, `update`, `descend`, `project` and `average` are addresses of
    kernels, zero where there is nothing to do. `prepare` computes `constants`, and `carry` the
    numbers of the optimizer. `descend` stands for `update` where a group of parameters says so.
    `complete` adds a penalty, with `penalty_constants`, to a batch's gradient and clips its entries
    to `clip_value`, which may be infinite. Then the gradient is clipped to the norm `clip_norm`, or
    not at all if that is zero. After the update `project` moves parameters between `bounds`, which
    has all the lower and then all the upper ones in panels or is empty, and limits the norms of
    units' incoming weights to `max_norm`. `average` moves `averages`, a vector like `parameters` or
    empty, by `ema_decay`.

    `alpha` is the strength of the penalty in the loss. The layers before number `first_layer` are
    not trained. Of `matrices` the optimizer takes the gradient as a whole.
    """

    parameters: Any
    gradient: Any
    gradient_size: int
    state: Any
    settings: Any
    steps: Integers
    groups: Any
    rates: Any
    constants: Any
    heads: Integers
    head_constants: Any
    target_columns: int
    prepare: int
    update: int
    descend: int
    complete: int
    project: int
    alpha: float
    clip_norm: float
    clip_value: float
    max_norm: float
    bounds: Any
    penalty_constants: Any
    first_layer: int
    numbers: Any
    carry: int
    averages: Any
    average: int
    ema_decay: float
    momentum: int
    matrices: Matrices


class Blocks(NamedTuple):
    """How the parameters are split, and what is summed up by piece.

    A slab's gradient is the sum of `parts`: 1 if the work is shared out by columns, 2 if it is by
    rows. `gradient_shares` (parts, layers, threads + 1) tells where each thread's share of a
    layer's blocks begins in the gradient pass, `shares` (layers, threads + 1) in the update.
    `packing` says for each layer what is copied together. Blocks are taken in the order of
    `sequence`. `row_losses` has the loss of each row of a slab and, where samples are mixed, behind
    them those by the targets of the other rows. `penalties`, `charges` and `squares` have a sum for
    each block: of its squared coefficients, of what another penalty than L2 charges for them (it is
    empty if there is none), and of its squared gradient where that is clipped.
    """

    table: Integers
    sequence: Integers
    parts: int
    packing: Integers
    gradient_shares: Integers
    shares: Integers
    row_losses: Any
    penalties: Any
    charges: Any
    squares: Any


class Task(NamedTuple):
    """All that a fit's drivers are told: the table of layers, the data, and what lies around them.

    `passes` has the addresses of the passes that are compiled by themselves.
    """

    layers: Integers
    source: Any
    model: Model
    work: Workspace
    blocks: Blocks
    passes: Integers


class Share(NamedTuple):
    """What a thread does of a slab's layers: which rows, and how much of each layer's panels.

    The panels are shared out among `members`, of whom the thread is number `member`: the team if
    the work is shared out by columns, else the thread alone. `scratch` is memory of its own.
    `first_in_batch`, `seed`, `step` and `dropout` are those of the slab.
    """

    first: Any
    rows: Any
    member: Any
    members: Any
    scratch: Any
    first_in_batch: Any
    seed: Any
    step: Any
    dropout: Any


@jit(inline="always")
def share_of_panel(first_vector, vectors, all_vectors, rows, member, members):
    """Return the first and one past the last row that a member computes of a panel.

    Tiles are numbered panel after panel, weighted by their vectors, and each member gets an
    equal run of them.
    """
    tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    before = first_vector * tiles
    total = all_vectors * tiles
    begin = total * member // members - before
    end = total * (member + 1) // members - before
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
def rows_of_gradient(layers, layer, rows, part, parts):
    """Return which rows of a part of a slab are summed up to the gradient of a layer's panels.

    What inputs have learned has one row for both parts.
    """
    if layer > layers[0, OUTPUT_LAYER]:
        return 0, 1 if part == 0 else 0
    return rows_of_part(rows, part, parts)


@jit(inline="always")
def end_of_trained(layers, model):
    """Return one past the last layer whose panels are trained.

    What inputs have learned lies before all layers.
    """
    return layers.shape[0] - 1 if model.first_layer == 0 else layers[0, OUTPUT_LAYER]


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
def share_by_rows(slab, first, last, scratch):
    """Return the share of a thread that takes some rows of a slab through all panels."""
    place = slab.first, slab.seed, slab.step, slab.dropout
    # Not literals: Numba would compile what takes them once more.
    nothing, one = np.int64(0), np.int64(1)
    return Share(first, last - first, nothing, one, scratch, *place)


@jit(inline="always")
def share_of_blocks(shares, layer, threads, thread):
    """Return the first and one past the last block of a layer that a thread works on."""
    if threads == 1:
        return shares[layer, 0], shares[layer, shares.shape[1] - 1]
    return shares[layer, thread], shares[layer, thread + 1]


@jit(inline="always")
def workspace_of(work, thread, threads):
    """Return one of several workspaces that lie one after the other."""
    buffer = work.buffer.size // threads
    tables = work.tables.size // threads
    return Workspace(
        work.buffer[thread * buffer : (thread + 1) * buffer],
        work.tables[thread * tables : (thread + 1) * tables],
        work.slab_size,
        work.scratch[thread * work.scratch_size : (thread + 1) * work.scratch_size],
        work.scratch_size,
        work.packed,
        work.packed_size,
        work.zeros,
    )


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
def others_table(layers, work, threads):
    return pointer(work.tables, 2 * (layers.shape[0] + threads) * work.slab_size)


@jit(inline="always")
def list_packed(layers, work, threads, thread):
    """Fill a thread's table of packed rows."""
    if work.packed_size:
        room = pointer(work.packed, thread * work.packed_size)
        columns = GROUP_BYTES // VECTOR_BYTES * lane_count(room)
        list_rows(room, columns, work.slab_size, packed_table(layers, work, threads, thread))


@jit(inline="always")
def list_workspace(layers, work, rows):
    """Fill the tables of the first rows of the workspace."""
    for layer in range(1, layers[0, OUTPUT_LAYER] + 1):
        outputs = pointer(work.buffer, layers[layer, OUTPUTS])
        deltas = pointer(work.buffer, layers[layer, PRODUCT_DELTAS])
        list_rows(outputs, layers[layer, LD], rows, output_table(work, layer))
        list_rows(deltas, layers[layer, PRODUCT_LD], rows, delta_table(layers, work, layer))
