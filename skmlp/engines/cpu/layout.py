"""Where everything lies: tables that describe a network to the kernels, and their memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.cpu.input_layout import (
    lay_inputs,
    list_embeddings,
    rows_of_vectors,
    scratch_of_inputs,
    shapes_of,
    vectors_of_inputs,
    with_vectors,
)
from skmlp.engines.cpu.loss_kernels import group_scratch_size
from skmlp.engines.cpu.map_kernels import drop_kernel, noise_kernel, sparse_drop_kernel
from skmlp.engines.cpu.member_kernels import adapted_maps, pick_kernel, put_back_kernel
from skmlp.engines.cpu.mixture_kernels import blend_kernel, mix_kernel
from skmlp.engines.cpu.products import (
    columns_of_panel,
    lanes_of,
    leading_dimension,
    padded,
    panel_count,
    scratch_size,
)
from skmlp.engines.cpu.registers import GROUP_BYTES, TILE_VECTORS, VECTOR_BYTES
from skmlp.engines.cpu.rows import address_of
from skmlp.engines.cpu.stages import Stages, stages_of
from skmlp.engines.cpu.tables import (
    BACK,
    BLOCK_FIELDS,
    BLOCK_FIRST,
    COEFS,
    CONCENTRATION,
    CONSTANTS,
    DELTAS,
    DEVIATION,
    DROP,
    DROPOUT,
    EXTRA_SUMS,
    EXTRAS,
    INNER_BACK,
    INNER_MAP,
    INTERCEPTS,
    KEPT,
    LAYER_FIELDS,
    LD,
    MAP,
    MIX,
    N_MEMBERS,
    NOISE,
    NORMALIZE,
    NORMALIZE_BACK,
    OUTPUT_LAYER,
    OUTPUTS,
    OWN_LD,
    OWN_RAW,
    PACK_DELTAS,
    PACK_INPUTS,
    PACK_NOTHING,
    PANEL_ROWS,
    PANELS,
    PICK,
    PRODUCT_DELTAS,
    PRODUCT_LD,
    PRODUCT_UNITS,
    PRODUCTS,
    PUT_BACK,
    ROWS_OF_EXTRA,
    SCALES,
    SECOND_RAW,
    STATISTICS,
    UNITS,
    WHOLE_ROWS,
    X_LD,
    X_ROWS,
    X_UNITS,
    Integers,
    Workspace,
)
from skmlp.engines.cpu.tables import GIVEN as OF_GIVEN
from skmlp.network.normalization import group_bounds
from skmlp.network.parameters import GIVEN, FloatArray, layout_of
from skmlp.network.specs import LayerSpec, NetworkSpec

# A block of parameters is a whole number of register tiles high. Small ones would spend their
# time on being called, large ones would not stay in cache from the gradient to the update.
BLOCK_ROWS = 8
MIN_BLOCK_SIZE = 512
MAX_BLOCK_SIZE = 2**15
BLOCKS_PER_LAYER = 32

# What several blocks read is copied together if it stays in cache and is read often enough.
MAX_PACKED_ROWS = 1024
MAX_PACKED_BYTES = 2**18
MIN_PACKED_UNITS = 64
# So many rows of coefficients, of all panels, follow each other in the update: their gradients
# read the same columns of the layer's inputs.
NEAR_ROWS = 128


def aligned_zeros(size: int, dtype: npt.DTypeLike) -> FloatArray:
    """Return a vector of zeros that begins at a vector boundary."""
    itemsize = np.dtype(dtype).itemsize
    room = np.zeros(size + VECTOR_BYTES // itemsize, dtype=dtype)
    skipped = -address_of(room) % VECTOR_BYTES // itemsize
    return room[skipped : skipped + size]


@dataclass(frozen=True)
class NetworkLayout:
    """A network in one precision.

    Attributes
    ----------
    layers : ndarray of shape (n_layers, LAYER_FIELDS)
        The table of layers (`skmlp.engines.cpu.tables`), without addresses of parameters.
    workspace_size : int
        Elements that the outputs and deltas of a slab take.
    parameters_size : int
        Elements that the parameters take in panels.
    referred : tuple of ndarray
        What the table refers to; it must live as long.
    """

    layers: Integers
    workspace_size: int
    parameters_size: int
    referred: tuple[npt.NDArray[Any], ...]


class Arrays(NamedTuple):
    """A model's parameters as users see them, contiguous and of one precision."""

    coefs: Sequence[FloatArray]
    intercepts: Sequence[FloatArray]
    extras: FloatArray


@lru_cache(maxsize=256)
def network_layout(
    network: NetworkSpec,
    rows: int,
    dtype: str,
    *,
    gathers: bool,
    backward: bool,
    is_sparse: bool = False,
) -> NetworkLayout:
    """Lay out a network and the workspace for slabs of `rows` rows.

    The input has a part in the workspace only if rows of X are gathered there, a forward pass
    needs no deltas, and the output layer's deltas take the place of its raw predictions.
    """
    units = network.layer_units
    products = (units[0], *network.product_units)
    layers = np.zeros((len(units), LAYER_FIELDS), dtype=np.int64)
    layers[:, UNITS], layers[:, PRODUCT_UNITS] = units, products
    layers[:, LD] = [leading_dimension(count, dtype) for count in units]
    layers[:, PRODUCT_LD] = [leading_dimension(count, dtype) for count in products]
    sizes = [int(ld) * rows for ld in layers[:, LD]]
    if not gathers:
        sizes[0] = 0
    ends = list(accumulate(sizes))
    layers[:, OUTPUTS] = layers[:, PRODUCTS] = [0, *ends[:-1]]
    layers[-1, DELTAS] = layers[-1, PRODUCT_DELTAS] = layers[-1, OUTPUTS]
    constants = list_constants(network)
    row_addresses = address_of(constants) + np.arange(len(units)) * constants.strides[0]
    layers[:, DROPOUT] = row_addresses
    layers[:, CONSTANTS] = row_addresses + constants.itemsize
    layers[0, DEVIATION] = layers[0, CONSTANTS]
    layers[:, CONCENTRATION] = layers[0, CONSTANTS] + constants.itemsize
    size = ends[-1]

    def place(elements: int) -> int:
        nonlocal size
        start, size = size, size + elements
        return start

    layers[0, OUTPUT_LAYER] = len(units) - 1
    layers[0, X_UNITS] = network.n_features
    layers[0, X_LD] = leading_dimension(network.n_features, dtype)
    layers[0, X_ROWS] = layers[0, OUTPUTS]
    embeds, embed_constants = list_embeddings(network.inputs, dtype, backward=backward)
    if network.inputs.is_changed:
        if not gathers:
            raise ValueError("Inputs that are embedded or scaled must be copied.")
        lay_inputs(layers[0], network.inputs, embeds, rows, place, backward=backward)
    if backward and network.inputs.dropout > 0.0:
        layers[0, DROP] = sparse_drop_kernel(dtype) if is_sparse else drop_kernel(dtype, 0)
    if backward and network.inputs.noise > 0.0:
        if is_sparse:
            raise ValueError("Noise cannot be added to sparse inputs, which would not be sparse.")
        layers[0, NOISE] = noise_kernel(dtype)
    if backward and network.inputs.mixup > 0.0:
        if is_sparse:
            raise ValueError("Rows of sparse inputs cannot be mixed.")
        layers[0, MIX], layers[-1, MIX] = mix_kernel(dtype), blend_kernel(dtype)
        layers[-1, SECOND_RAW] = place(sizes[-1])
    if network.members is not None:
        if not backward:
            raise NotImplementedError("Members must be networks of their own before a prediction.")
        pick_outputs(layers[-1], network, rows, dtype, place)
    for layer, spec in enumerate(network.layers, start=1):
        own = layers[layer]
        stages = stages_of(spec, dtype, backward=backward)
        if network.adapts_layers:
            is_last = layer == len(network.layers)
            stages = Stages(adapted_maps(spec, dtype, is_last=is_last))
        maps = stages.maps
        own[MAP], own[BACK], own[DROP] = maps.forward, maps.back, maps.drop
        own[WHOLE_ROWS] = maps.takes_whole_rows
        own[INNER_MAP], own[INNER_BACK] = stages.inner_map, stages.inner_back
        own[NORMALIZE], own[NORMALIZE_BACK] = stages.normalize, stages.normalize_back
        product_size = int(own[PRODUCT_LD]) * rows
        if spec.pieces > 1:
            own[PRODUCTS] = place(product_size)
        own[KEPT] = place(sizes[layer]) if maps.keeps else own[OUTPUTS]
        if backward:
            own[DELTAS] = own[PRODUCT_DELTAS] = place(sizes[layer])
            if spec.pieces > 1:
                own[PRODUCT_DELTAS] = place(product_size)
            own[EXTRA_SUMS] = place(product_size * len(trained_extras(network, layer - 1)))
            own[SCALES] = place(scale_count(spec, rows, int(own[PRODUCT_LD])))
    panel_rows, shapes = panel_rows_of(network), shapes_of(network)
    panel_sizes = [
        count * padded(fan_out, dtype)
        for count, (_, fan_out) in zip(panel_rows, shapes, strict=True)
    ]
    starts = list(accumulate(panel_sizes, initial=0))
    layers = with_vectors(layers, network, starts, dtype, place, backward=backward)
    layers[:-1, PANEL_ROWS] = panel_rows
    layers[:-1, PANELS] = starts[:-1]
    layers[:, N_MEMBERS] = network.n_members
    layers[:, ROWS_OF_EXTRA] = network.n_members if network.adapts_layers else 1
    return NetworkLayout(layers, size, starts[-1], (constants, embeds, embed_constants))


def pick_outputs(
    own: Integers, network: NetworkSpec, rows: int, dtype: str, place: Callable[[int], int]
) -> None:
    """Enter where raw predictions of each row's member lie into the row of the output layer."""
    own[PICK], own[PUT_BACK] = pick_kernel(dtype), put_back_kernel(dtype)
    own[OWN_LD] = leading_dimension(network.n_outputs, dtype)
    own[OWN_RAW] = place(int(own[OWN_LD]) * rows)


def scale_count(layer: LayerSpec, rows: int, product_ld: int) -> int:
    """Return how many deviations a layer divides by: one for each row, or column of a group."""
    if layer.normalization == "batch":
        return len(list(group_bounds(rows))) * product_ld
    return rows if layer.normalization == "layer" else 0


def list_constants(network: NetworkSpec) -> npt.NDArray[np.float64]:
    """Return a row for each layer, from the inputs to the output layer.

    The share that is dropped comes first. The constants of the activation follow, or for the inputs
    the standard deviation of noise and the concentration of mixtures. Rows are filled up with
    zeros, of which each has one at least.
    """
    rows = [
        (network.inputs.dropout, network.inputs.noise, network.inputs.mixup),
        *((layer.dropout, *layer.activation.constants) for layer in network.layers),
        (0.0,),
    ]
    table = np.zeros((len(rows), max(map(len, rows)) + 1))
    for own, values in zip(table, rows, strict=True):
        own[: len(values)] = values
    return table


def trained_extras(network: NetworkSpec, number: int) -> list[int]:
    """Return which of the network's extras are trained and belong to a hidden layer."""
    extras = layout_of(network).extras
    return [i for i, extra in enumerate(extras) if extra.trained and extra.layer == number]


def panel_rows_of(network: NetworkSpec) -> list[int]:
    """Return how long the panels that lead to each layer are: with intercepts and extras."""
    extras = layout_of(network).extras
    tails = [
        sum(extras[i].size for i in trained_extras(network, number)) // columns
        for number, columns in enumerate(network.product_units)
    ]
    rows = [fan_in + 1 + n for (fan_in, _), n in zip(network.shapes, tails, strict=True)]
    return rows + [min(size, 1) for _, size in shapes_of(network)[len(rows) :]]


def set_addresses(layers: Integers, network: NetworkSpec, model: Arrays) -> None:
    """Enter the addresses of a model's parameters into a table of layers."""
    n = network.n_connections
    layers[:n, COEFS] = [address_of(coef) for coef in model.coefs]
    layers[:n, INTERCEPTS] = [address_of(intercept) for intercept in model.intercepts]
    layout = layout_of(network)
    if not layout.extras:
        return
    itemsize = model.extras.itemsize
    begin = address_of(model.extras) - itemsize * layout.extra_offsets[0]
    for row, (_, start) in zip(rows_of_vectors(network), vectors_of_inputs(network), strict=True):
        layers[row, INTERCEPTS] = begin + itemsize * start
    for extra, start in zip(layout.extras, layout.extra_offsets, strict=False):
        if extra.name == GIVEN:
            layers[0, OF_GIVEN] = begin + itemsize * start
    for number in range(len(network.layers)):
        for i in trained_extras(network, number)[:1]:
            offset = layout.extra_offsets[i] - layout.extra_offsets[0]
            layers[number, EXTRAS] = address_of(model.extras) + itemsize * offset


@dataclass(frozen=True, eq=False)
class FlatPlaces:
    """Where a table of layers has addresses of a flat vector of parameters.

    Attributes
    ----------
    offsets : ndarray of shape (n_layers, LAYER_FIELDS)
        From the beginning of the vector, in bytes.
    is_place : ndarray of the same shape
        One where there is such an address, else zero.
    """

    offsets: Integers
    is_place: Integers

    def entered(self, layers: Integers, parameters: FloatArray) -> Integers:
        """Return a copy of a table of layers with the addresses of a flat vector."""
        return layers + (self.offsets + self.is_place * address_of(parameters))


@lru_cache(maxsize=256)
def places_in_flat(network: NetworkSpec, dtype: str) -> FlatPlaces:
    """Return where the parameters of each layer lie in a flat vector."""
    layout, itemsize = layout_of(network), np.dtype(dtype).itemsize
    n, shape = network.n_connections, (len(shapes_of(network)) + 1, LAYER_FIELDS)
    offsets, is_place = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    offsets[:n, COEFS] = layout.coef_offsets[:-1]
    offsets[:n, INTERCEPTS] = layout.intercept_offsets[:-1]
    is_place[:n, [COEFS, INTERCEPTS]] = 1
    for row, (_, start) in zip(rows_of_vectors(network), vectors_of_inputs(network), strict=True):
        offsets[row, INTERCEPTS], is_place[row, INTERCEPTS] = start, 1
    for number in range(len(network.layers)):
        for i in trained_extras(network, number)[:1]:
            offsets[number, EXTRAS], is_place[number, EXTRAS] = layout.extra_offsets[i], 1
    return FlatPlaces(offsets * itemsize, is_place)


def set_statistics(layers: Integers, network: NetworkSpec, statistics: FloatArray) -> None:
    """Enter the addresses of what is not trained, which lies as in the flat vector."""
    layout = layout_of(network)
    pairs = zip(layout.extras, layout.extra_offsets, strict=False)
    for extra, offset in pairs:
        place = (offset - layout.trained_size) * statistics.itemsize
        if extra.name == GIVEN:
            layers[0, OF_GIVEN] = address_of(statistics) + place
        if extra.name == "mean":
            layers[extra.layer + 1, STATISTICS] = address_of(statistics) + place


class WorkspaceSizes(NamedTuple):
    """Elements of the parts of a `Workspace`, those of scratch and packed for each thread."""

    buffer: int
    tables: int
    scratch: int
    packed: int


def workspace_sizes(
    network: NetworkSpec,
    layout: NetworkLayout,
    rows: int,
    threads: int,
    dtype: str,
    *,
    packs: bool = False,
) -> WorkspaceSizes:
    """Return what a slab of `rows` rows takes."""
    panel_width = TILE_VECTORS * lanes_of(dtype)
    packed_columns = max(GROUP_BYTES // np.dtype(dtype).itemsize, panel_width) if packs else 0
    scratch = max(scratch_size(dtype), group_scratch_size(network.n_outputs))
    scratch = max(scratch, scratch_of_inputs(network.inputs))
    tables = (2 * len(layout.layers) + 2 * threads + 1) * rows
    scratch = padded(scratch, dtype)
    return WorkspaceSizes(layout.workspace_size, tables, scratch, packed_columns * rows)


def make_workspace(
    network: NetworkSpec, layout: NetworkLayout, rows: int, dtype: str, *, copies: int = 1
) -> Workspace:
    """Allocate scratch memory for predictions: `copies` workspaces of one thread each."""
    sizes = workspace_sizes(network, layout, rows, 1, dtype)
    return Workspace(
        buffer=aligned_zeros(sizes.buffer * copies, dtype),
        tables=np.empty(sizes.tables * copies, dtype=np.int64),
        slab_size=rows,
        scratch=aligned_zeros(sizes.scratch * copies, dtype),
        scratch_size=sizes.scratch,
        packed=aligned_zeros(0, dtype),
        packed_size=sizes.packed,
        zeros=zeros_of_panel(dtype),
    )


@cache
def zeros_of_panel(dtype: str) -> FloatArray:
    """Return zeros as long as a panel is wide, which nobody writes."""
    return np.zeros(TILE_VECTORS * lanes_of(dtype), dtype=dtype)


def pieces_of_zeros(sizes: Sequence[int], dtype: str) -> list[FloatArray]:
    """Return vectors of zeros that begin at vector boundaries, in one piece of memory."""
    starts = list(accumulate((padded(size, dtype) for size in sizes), initial=0))
    room = aligned_zeros(starts[-1], dtype)
    return [room[start : start + size] for start, size in zip(starts, sizes, strict=False)]


@dataclass(frozen=True)
class BlockLayout:
    """How the parameters are split for the update.

    Attributes
    ----------
    table : ndarray of shape (n_blocks, BLOCK_FIELDS)
        The table of blocks (`skmlp.engines.cpu.tables`), panel after panel.
    sequence : ndarray of shape (n_blocks,)
        In which order they are worked on.
    gradient_shares : ndarray of shape (parts, n_connections, threads + 1)
        Where each thread's share of a layer's blocks begins, and the last one ends, in the
        gradient of each part of a slab.
    shares : ndarray of shape (n_connections, threads + 1)
        The same for the update.
    largest : int
        Elements of the largest block.
    """

    table: Integers
    sequence: Integers
    gradient_shares: Integers
    shares: Integers
    largest: int


def parts_of_slab(network: NetworkSpec, rows: int) -> int:
    """Return 2 if threads should share the rows of a slab, 1 if they should share the columns.

    What they exchange is the parameters in one case and the slab's numbers in the other.
    """
    n_parameters = network.n_coefs + sum(network.product_units)
    return 2 if n_parameters <= rows * (network.inputs.width + sum(network.product_units)) else 1


@lru_cache(maxsize=256)
def packing_of_layers(
    network: NetworkSpec, dtype: str, rows: int, *, is_sparse: bool
) -> tuple[int, ...]:
    """Return what is copied together in each layer's gradient, for slabs of `rows` rows."""
    packing = [PACK_NOTHING] * len(shapes_of(network))
    if rows <= MAX_PACKED_ROWS:
        if parts_of_slab(network, rows) == 1:
            for layer, (fan_in, _) in enumerate(network.shapes):
                packing[layer] = PACK_DELTAS if fan_in >= MIN_PACKED_UNITS else PACK_NOTHING
        elif rows * network.inputs.width * np.dtype(dtype).itemsize <= MAX_PACKED_BYTES:
            fan_in, fan_out = network.shapes[0]
            is_read_often = fan_in >= MIN_PACKED_UNITS // 2 and fan_out >= MIN_PACKED_UNITS
            packing[0] = PACK_INPUTS if is_read_often else PACK_NOTHING
    if is_sparse:
        packing[0] = PACK_NOTHING
    return tuple(packing)


@lru_cache(maxsize=256)
def block_layout(
    network: NetworkSpec, dtype: str, parts: int, packing: tuple[int, ...], threads: int
) -> BlockLayout:
    """Split the parameters into blocks, whose bounds depend on sizes only, and share them out."""
    lanes = lanes_of(dtype)
    rows: list[tuple[int, ...]] = []
    shares = []
    # Up to which fraction of a part's blocks a thread and those before it compute the gradient,
    # all parts taken together.
    reached = parts * np.arange(threads + 1) / threads - np.arange(parts)[:, None]
    reached = np.clip(reached, 0.0, 1.0)
    largest = layer_offset = 0
    all_panel_rows = panel_rows_of(network)
    layers = zip(packing, shapes_of(network), all_panel_rows, strict=True)
    for kind, (fan_in, fan_out), panel_rows in layers:
        size = fan_in * padded(fan_out, dtype)
        wanted = min(max(size // BLOCKS_PER_LAYER, MIN_BLOCK_SIZE), MAX_BLOCK_SIZE)
        first_block = len(rows)
        of_layer = []
        for panel in range(panel_count(fan_out, lanes)):
            column, vectors, _ = columns_of_panel(panel, fan_out, lanes)
            width = vectors * lanes
            if kind == PACK_INPUTS:
                height = GROUP_BYTES // np.dtype(dtype).itemsize
            else:
                height = max(1, round(wanted / width / BLOCK_ROWS)) * BLOCK_ROWS
            for first in range(0, max(fan_in, 1), height):
                last = min(first + height, fan_in)
                tail = panel_rows - fan_in if last == fan_in else 0
                offset = layer_offset + panel_rows * column + first * width
                of_layer.append((panel, first, last, offset, tail))
                largest = max(largest, (last - first + tail) * width)
        if kind == PACK_INPUTS:
            # Blocks that read the same columns of the inputs follow each other.
            of_layer.sort(key=itemgetter(1))
        rows += of_layer
        costs = []
        for panel, first, last, _, _ in of_layer:
            vectors = columns_of_panel(panel, fan_out, lanes)[1]
            costs.append(vectors * -(-max(last - first, 1) // BLOCK_ROWS))
        # A block belongs to the thread in whose share its middle lies.
        middles = np.cumsum(costs) - np.array(costs) / 2
        fractions = np.vstack([np.arange(threads + 1) / threads, reached])
        shares.append(first_block + np.searchsorted(middles, sum(costs) * fractions))
        layer_offset += panel_rows * padded(fan_out, dtype)
    table = np.array(rows, dtype=np.int64).reshape(-1, BLOCK_FIELDS)
    # By kind of share, layer and thread.
    all_shares = np.array(shares, dtype=np.int64).swapaxes(0, 1)
    shares_of_update = all_shares[0].copy()
    sequence = np.arange(len(table))
    for layer, kind in enumerate(packing):
        if kind == PACK_DELTAS:
            for begin, end in pairwise(shares_of_update[layer]):
                # Panel after panel, for as many rows as are read from a near cache.
                firsts = table[begin:end, BLOCK_FIRST] // NEAR_ROWS
                sequence[begin:end] = begin + np.argsort(firsts, kind="stable")
    return BlockLayout(table, sequence, all_shares[1:].copy(), shares_of_update, largest)
