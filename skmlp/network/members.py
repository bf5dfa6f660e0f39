"""Members that share weights: what they start with, and the network that each of them is.

References
----------
Gorishniy, Kotelnikov & Babenko (2025), "TabM: advancing tabular deep learning with
parameter-efficient ensembling", ICLR, arXiv:2410.24210, sections 3.2 and 3.3.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.network.embedded import places_of
from skmlp.network.folding import extras_for
from skmlp.network.parameters import (
    FACTOR,
    INPUTS,
    NEXT_FACTOR,
    SCALE,
    SHIFT,
    FloatArray,
    layout_of,
)
from skmlp.network.parts import Trained, named_extras
from skmlp.network.specs import InputSpec, NetworkSpec


@lru_cache(maxsize=256)
def alone(network: NetworkSpec) -> NetworkSpec:
    """Return the network that a member is by itself."""
    return replace(network, inputs=replace(network.inputs, scaled=False), members=None)


def member_alone(trained: Trained, member: int) -> Trained:
    """Return one of a network's members as a network of its own, which predicts what it does.

    What its units, and what they read, are multiplied by becomes part of the weights. Arrays that
    change are new ones in double precision.
    """
    network, coefs, intercepts, extras = trained
    pieces = named_extras(network, extras)

    def own(layer: int, name: str) -> FloatArray:
        rows = pieces[layer, name].reshape(network.n_members, -1)
        return rows[member].astype(np.float64)

    read_by: FloatArray | None = own(INPUTS, SCALE)
    own_coefs, own_intercepts = [], []
    for number, (coef, intercept) in enumerate(zip(coefs[:-1], intercepts[:-1], strict=True)):
        coef = coef if read_by is None else read_by[:, np.newaxis] * coef
        read_by = None
        if network.adapts_layers:
            factor = own(number, FACTOR)
            coef, intercept = coef * factor, intercept * factor + own(number, SHIFT)
            if (number, NEXT_FACTOR) in pieces:
                read_by = own(number, NEXT_FACTOR)
        own_coefs.append(coef)
        own_intercepts.append(intercept)
    units = slice(member * network.n_outputs, (member + 1) * network.n_outputs)
    last = coefs[-1][:, units]
    own_coefs.append(last if read_by is None else read_by[:, np.newaxis] * last)
    own_intercepts.append(intercepts[-1][units])
    plain = alone(network)
    return Trained(plain, own_coefs, own_intercepts, extras_for(plain, pieces, extras))


def members_alone(trained: Trained) -> Iterator[Trained]:
    """Yield each member as a network of its own."""
    for member in range(trained.network.n_members):
        yield member_alone(trained, member)


def vector_alone(
    network: NetworkSpec, parameters: FloatArray, member: int
) -> tuple[NetworkSpec, FloatArray]:
    """Return one of a network's members, and its flat vector in the precision of all."""
    layout = layout_of(network)
    trained = Trained(network, *layout.views(parameters), layout.extras_of(parameters))
    plain, coefs, intercepts, extras = member_alone(trained, member)
    with np.errstate(over="ignore"):
        return plain, layout_of(plain).pack(coefs, intercepts, parameters.dtype, extras)


def mean_of(outputs: Iterable[FloatArray]) -> FloatArray:
    """Return the mean of what members predict, added up in double precision."""
    total: Any = 0.0
    count = 0
    for own in outputs:  # one at a time: there may be many
        total = total + own.astype(np.float64)
        count += 1
    return np.asarray((total / count).astype(own.dtype))


def repeated(network: NetworkSpec, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return rows, or their numbers, as all members see them: each as often as there are members.

    What is at place p belongs to member ``p % n_members``.
    """
    return np.repeat(rows, network.n_members, axis=0)


def member_rows(network: NetworkSpec, vectors: FloatArray, n_rows: int) -> FloatArray:
    """Return the vector of its member for each of so many repeated rows, shape (n_rows, size)."""
    count = network.n_members
    return vectors.reshape(count, -1)[np.arange(n_rows) % count]


def sums_of_members(network: NetworkSpec, matrix: FloatArray) -> FloatArray:
    """Return the sums over each member's rows of a matrix of repeated rows, one after the other."""
    return np.ravel(matrix.reshape(-1, network.n_members, matrix.shape[1]).sum(axis=0))


def enter_members(
    network: NetworkSpec, parameters: FloatArray, random_state: np.random.RandomState
) -> None:
    """Draw what members read, and give them the intercepts that were drawn for all of them.

    Parameters
    ----------
    network : NetworkSpec
    parameters : ndarray of shape (n_parameters,)
        All else in it has been drawn.
    random_state : RandomState
    """
    members = network.members
    if members is None:
        return
    layout = layout_of(network)
    pieces = named_extras(network, layout.extras_of(parameters))
    inputs = network.inputs
    sharing = members.sharing or (1,) * inputs.n_features
    shape = members.count, len(sharing)
    if members.start == "signs":
        numbers = random_state.choice([-1.0, 1.0], size=shape)
    else:
        numbers = random_state.normal(size=shape)
    of_columns = np.repeat(numbers, sharing, axis=1)
    pieces[INPUTS, SCALE][...] = np.ravel(np.repeat(of_columns, widths_of(inputs), axis=1))
    if members.adapt == "layers":
        for number, intercept in enumerate(layout.views(parameters)[1][:-1]):
            pieces[number, SHIFT][...] = np.tile(intercept, members.count)
            intercept[...] = 0.0


def widths_of(inputs: InputSpec) -> list[int]:
    """Return how many numbers each column of X becomes."""
    if not inputs.embedding:
        return [1] * inputs.n_features
    return [place.width for place in places_of(inputs) for _ in range(place.columns)]
