"""The inputs of a network as its first layer reads them, computed in NumPy and double precision."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.network.embeddings import Embedding
from skmlp.network.parameters import (
    EMBEDDING,
    GIVEN,
    INPUTS,
    SCALE,
    FloatArray,
    ParameterLayout,
    layout_of,
)
from skmlp.network.parts import Pieces
from skmlp.network.specs import InputSpec, NetworkSpec

NOTHING = np.empty(0)


class Place(NamedTuple):
    """Where the columns of a block lie, and what belongs to them.

    Attributes
    ----------
    entry : Embedding
    constants : tuple of float
    columns : int
    first : int
        The first column of X.
    width : int
        Numbers that one column becomes.
    start : int
        The first of them, among those of all columns.
    learned, given : int
        Numbers that one column learns, and that the data give to it.
    first_learned, first_given : int
        Where they begin, among those of all columns.
    """

    entry: Embedding
    constants: tuple[float, ...]
    columns: int
    first: int
    width: int
    start: int
    learned: int
    given: int
    first_learned: int
    first_given: int


class Column(NamedTuple):
    """One column of X.

    Attributes
    ----------
    number : int
    place : Place
        Of its block.
    numbers, learned, given : slice
        Its own among the embedded numbers, those that are learned and those that are given.
    """

    number: int
    place: Place
    numbers: slice
    learned: slice
    given: slice


@lru_cache(maxsize=256)
def places_of(inputs: InputSpec) -> tuple[Place, ...]:
    """Return where each block of inputs lies."""
    places = []
    first = start = first_learned = first_given = 0
    for block in inputs.embedding:
        sizes = block.width, block.n_learned, block.n_given
        width, learned, given = sizes
        places.append(
            Place(
                *(block.entry, block.formula.constants, block.columns, first, width, start),
                *(learned, given, first_learned, first_given),
            )
        )
        first += block.columns
        start, first_learned, first_given = (
            total + block.columns * size
            for total, size in zip((start, first_learned, first_given), sizes, strict=True)
        )
    return tuple(places)


def columns_of(inputs: InputSpec) -> Iterator[Column]:
    """Yield each column of X that is embedded."""
    for place in places_of(inputs):
        for i in range(place.columns):
            firsts = place.start, place.first_learned, place.first_given
            sizes = place.width, place.learned, place.given
            parts = (
                slice(first + i * size, first + (i + 1) * size)
                for first, size in zip(firsts, sizes, strict=True)
            )
            yield Column(place.first + i, place, *parts)


def embedded(inputs: InputSpec, extras: Pieces, X: FloatArray) -> FloatArray:
    """Return what columns of X become, shape (n_rows, width), not yet scaled.

    Parameters
    ----------
    inputs : InputSpec
    extras : dict
        The network's, by layer and name.
    X : ndarray of shape (n_rows, n_features)
    """
    if not inputs.embedding:
        return X
    n_rows = len(X)
    values = np.empty((n_rows, inputs.width))
    learned, given = (extras.get((INPUTS, name), NOTHING) for name in (EMBEDDING, GIVEN))
    for column in columns_of(inputs):
        entry, constants, width = column.place.entry, column.place.constants, column.place.width
        out, room = np.zeros(n_rows * width), np.zeros(entry.room(n_rows, *constants))
        own = learned[column.learned], given[column.given]
        x = np.ascontiguousarray(X[:, column.number])
        entry.value(x, n_rows, *own, out, width, room, *constants)
        values[:, column.numbers] = out.reshape(n_rows, width)
    return values


def add_gradient(
    network: NetworkSpec,
    extras: Pieces,
    X: FloatArray,
    values: FloatArray,
    delta: FloatArray,
    gradients: Pieces,
) -> None:
    """Enter the derivative by what inputs learn into `gradients`.

    Parameters
    ----------
    network : NetworkSpec
    extras : dict
        The network's, by layer and name.
    X : ndarray of shape (n_rows, n_features)
    values : ndarray of shape (n_rows, width)
        What `embedded` returns.
    delta : ndarray of shape (n_rows, width)
        The derivative by what the first layer reads.
    gradients : dict
        Like `extras`.
    """
    inputs, count = network.inputs, network.n_members
    if inputs.scaled:
        sums = gradients[INPUTS, SCALE].reshape(count, -1)
        factors = extras[INPUTS, SCALE].reshape(count, -1)
        for member in range(count):  # whose rows take turns
            rows = slice(member, None, count)
            sums[member] = np.sum(delta[rows] * values[rows], axis=0)
        delta = delta * factors[np.arange(len(delta)) % count]
    if (INPUTS, EMBEDDING) not in extras:
        return
    n_rows = len(X)
    learned, learned_sums = extras[INPUTS, EMBEDDING], gradients[INPUTS, EMBEDDING]
    given = extras.get((INPUTS, GIVEN), NOTHING)
    for column in columns_of(inputs):
        entry, constants, width = column.place.entry, column.place.constants, column.place.width
        room = np.zeros(entry.room(n_rows, *constants))
        own = learned[column.learned], given[column.given]
        x, out, own_delta = (
            np.ravel(part)
            for part in (X[:, column.number], values[:, column.numbers], delta[:, column.numbers])
        )
        totals = learned_sums[column.learned]
        totals[...] = 0.0
        entry.gradient(x, n_rows, *own, out, own_delta, width, totals, room, *constants)


def enter_initial(
    network: NetworkSpec,
    parameters: FloatArray,
    random_state: np.random.RandomState,
    X: Any,
) -> None:
    """Draw what columns of X learn, and enter what they give, in a flat vector of parameters.

    Parameters
    ----------
    network : NetworkSpec
    parameters : ndarray of shape (n_parameters,)
    random_state : RandomState
    X : ndarray of shape (n_rows, n_features), or anything with rows and columns
        The training rows.
    """
    if not network.inputs.embedding:
        return
    vectors = vectors_of(layout_of(network), parameters)
    is_measured = any(place.entry.measure for place in places_of(network.inputs))
    rows: Any = X[:] if is_measured else None
    for place in places_of(network.inputs):
        entry, constants, columns = place.entry, place.constants, place.columns
        if entry.draw is not None:
            first, size = place.first_learned, columns * place.learned
            drawn = entry.draw(random_state, columns, *constants)
            vectors[EMBEDDING][first : first + size] = np.ravel(drawn)
        if entry.measure is not None:
            for i in range(columns):
                first = place.first_given + i * place.given
                x = np.array(rows[:, place.first + i], dtype=np.float64)
                vectors[GIVEN][first : first + place.given] = entry.measure(x, *constants)


def vectors_of(layout: ParameterLayout, parameters: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Return the extras of the inputs, as views of a flat vector."""
    pieces = layout.pieces_of(layout.extras_of(parameters))
    return {extra.name: piece for extra, piece in pieces.items() if extra.layer == INPUTS}
