"""Where inputs lie that are embedded or scaled: their rows of the tables, and what they learn."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from skmlp.engines.cpu.embedding_kernels import (
    embed_back_kernel,
    embed_kernel,
    scale_back_kernel,
    scale_kernel,
    scratch_for,
)
from skmlp.engines.cpu.member_kernels import member_scale_back_kernel, member_scale_kernel
from skmlp.engines.cpu.products import ROWS_AT_ONCE, padded
from skmlp.engines.cpu.rows import address_of
from skmlp.engines.cpu.tables import (
    DELTAS,
    EMBED_BACK,
    EMBED_COLUMNS,
    EMBED_CONSTANTS,
    EMBED_FIELDS,
    EMBED_FIRST,
    EMBED_FIRST_GIVEN,
    EMBED_FIRST_LEARNED,
    EMBED_GIVEN,
    EMBED_KERNEL,
    EMBED_LEARNED,
    EMBED_START,
    EMBED_WIDTH,
    EMBEDDED,
    EMBEDS,
    FACTOR_SUMS,
    FACTORS,
    LAYER_FIELDS,
    LD,
    LEARNED,
    LEARNED_SUMS,
    N_EMBEDS,
    OUTPUTS,
    PRODUCT_DELTAS,
    PRODUCT_LD,
    PRODUCT_UNITS,
    SCALE,
    SCALE_BACK,
    WHOLE_ROWS,
    X_LD,
    X_ROWS,
    Integers,
)
from skmlp.network.embedded import places_of
from skmlp.network.parameters import EMBEDDING, INPUTS, Extra, layout_of
from skmlp.network.specs import InputSpec, NetworkSpec


def lay_inputs(
    own: Integers,
    inputs: InputSpec,
    embeds: Integers,
    rows: int,
    place: Callable[[int], int],
    *,
    backward: bool,
) -> None:
    """Enter what the first layer reads into the row of the inputs, for slabs of `rows` rows.

    `place` returns where so many elements of the workspace are, and `embeds` is the table of
    embeddings.
    """
    size = int(own[LD]) * rows
    own[X_ROWS] = own[EMBEDDED] = place(int(own[X_LD]) * rows)
    own[EMBEDS], own[N_EMBEDS] = address_of(embeds), len(embeds)
    if inputs.embedding:
        own[EMBEDDED] = place(size) if inputs.scaled else own[OUTPUTS]
    if backward:
        own[DELTAS], own[WHOLE_ROWS] = place(size), 1


def with_vectors(
    layers: Integers,
    network: NetworkSpec,
    starts: Sequence[int],
    dtype: str,
    place: Callable[[int], int],
    *,
    backward: bool,
) -> Integers:
    """Return the table of layers with rows for the vectors that inputs learn.

    `starts` tells where the panels of each connection begin.
    """
    vectors = rows_of_vectors(network)
    if not vectors:
        return layers
    added = np.zeros((1 + len(vectors), LAYER_FIELDS), dtype=np.int64)
    # The first one is reached from a row of its own.
    for own, (number, extra) in zip(added[1:], vectors.items(), strict=True):
        own[PRODUCT_UNITS], own[PRODUCT_LD] = extra.size, padded(extra.size, dtype)
        own[PRODUCT_DELTAS] = place(padded(extra.size, dtype)) if backward else 0
        if extra.name == EMBEDDING:
            layers[0, [LEARNED, LEARNED_SUMS]] = starts[number], own[PRODUCT_DELTAS]
        else:
            layers[0, [FACTORS, FACTOR_SUMS]] = starts[number], own[PRODUCT_DELTAS]
            if network.members is not None:
                kernels = member_scale_kernel(dtype), member_scale_back_kernel(dtype)
            else:
                kernels = scale_kernel(dtype), scale_back_kernel(dtype) if backward else 0
            layers[0, [SCALE, SCALE_BACK]] = kernels
    return np.vstack([layers, added])


def vectors_of_inputs(network: NetworkSpec) -> list[tuple[Extra, int]]:
    """Return the vectors that inputs learn, and where they begin in the flat vector."""
    layout = layout_of(network)
    pairs = zip(layout.extras, layout.extra_offsets, strict=False)
    return [(extra, start) for extra, start in pairs if extra.layer == INPUTS and extra.trained]


def rows_of_vectors(network: NetworkSpec) -> dict[int, Extra]:
    """Return by which row of the table of layers each vector that inputs learn is reached."""
    first = network.n_connections + 1
    return {first + k: extra for k, (extra, _) in enumerate(vectors_of_inputs(network))}


def shapes_of(network: NetworkSpec) -> list[tuple[int, int]]:
    """Return the shape of the coefficients in all panels, of which those of vectors have none.

    Between the output layer and the first vector there is nothing.
    """
    sizes = [extra.size for extra, _ in vectors_of_inputs(network)]
    return [*network.shapes, *((0, size) for size in [0, *sizes] if sizes)]


def list_embeddings(
    inputs: InputSpec, dtype: str, *, backward: bool
) -> tuple[Integers, npt.NDArray[np.float64]]:
    """Return the table of embeddings, and the constants that it refers to."""
    places = places_of(inputs)
    n_rows = max(len(places), int(inputs.is_changed))
    table = np.zeros((n_rows, EMBED_FIELDS), dtype=np.int64)
    n_constants = max((len(place.constants) for place in places), default=0)
    # Each row has a number more than it needs, so that it has an address.
    constants = np.zeros((len(places), n_constants + 1))
    if inputs.is_changed and not places:  # all are read where they are
        table[0, [EMBED_COLUMNS, EMBED_WIDTH]] = inputs.n_features, 1
    for row, own, place in zip(table, constants, places, strict=bool(places)):
        name = place.entry.name
        own[: len(place.constants)] = place.constants
        row[EMBED_KERNEL] = embed_kernel(name, dtype)
        row[EMBED_BACK] = embed_back_kernel(name, dtype) if backward and place.learned else 0
        row[[EMBED_FIRST, EMBED_COLUMNS]] = place.first, place.columns
        row[[EMBED_START, EMBED_WIDTH]] = place.start, place.width
        row[[EMBED_LEARNED, EMBED_FIRST_LEARNED]] = place.learned, place.first_learned
        row[[EMBED_GIVEN, EMBED_FIRST_GIVEN]] = place.given, place.first_given
        row[EMBED_CONSTANTS] = address_of(own)
    return table, constants


def scratch_of_inputs(inputs: InputSpec) -> int:
    """Return how many elements of scratch memory a thread needs to embed columns."""
    rooms = [place.entry.room(ROWS_AT_ONCE, *place.constants) for place in places_of(inputs)]
    return scratch_for(max(rooms)) if rooms else 0
