"""Parts of a trained network that are networks themselves: those that end at a hidden layer."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import Formula, HeadSpec, LayerSpec, NetworkSpec

# What a network has learned besides weights, by number of the layer and name.
Pieces = dict[tuple[int, str], FloatArray]


class Trained(NamedTuple):
    """A network with its parameters.

    Attributes
    ----------
    network : NetworkSpec
    coefs, intercepts : sequence of ndarray
        One per layer.
    extras : ndarray
        What lies behind the intercepts in the flat vector of parameters.
    """

    network: NetworkSpec
    coefs: Sequence[FloatArray]
    intercepts: Sequence[FloatArray]
    extras: FloatArray


def named_extras(network: NetworkSpec, extras: FloatArray) -> Pieces:
    """Return what a network's extras consist of, as views, by layer and name."""
    pieces = layout_of(network).pieces_of(extras)
    return {(extra.layer, extra.name): piece for extra, piece in pieces.items()}


def before_activation(trained: Trained, layer: int) -> Trained:
    """Return the network whose outputs are what a layer's activation is given."""
    return part_of(trained, network_up_to(trained.network, layer, is_activated=False))


def behind_activation(trained: Trained, layer: int) -> Trained:
    """Return the network whose outputs are those of a layer's units."""
    return part_of(trained, network_up_to(trained.network, layer, is_activated=True))


@lru_cache(maxsize=256)
def network_up_to(network: NetworkSpec, layer: int, *, is_activated: bool) -> NetworkSpec:
    """Return the network that ends with a layer, with or without its activation."""
    last = network.layers[layer]
    if not is_activated:
        last = LayerSpec(last.product_units, Formula("identity"), last.normalization)
    head = HeadSpec(last.units, Formula("squared_error"), "identity")
    return NetworkSpec(network.inputs, (*network.layers[:layer], last), (head,))


def part_of(trained: Trained, short: NetworkSpec) -> Trained:
    """Return a shorter network with parameters of the whole one.

    Its output layer passes on what it gets: a product with ones and zeros is exact, as long as all
    numbers are finite.
    """
    _, coefs, intercepts, _ = trained
    named = named_extras(trained.network, trained.extras)
    extras = [named[extra.layer, extra.name] for extra in layout_of(short).extras]
    units, n_layers, dtype = short.n_outputs, len(short.layers), coefs[0].dtype
    return Trained(
        short,
        [*coefs[:n_layers], np.eye(units, dtype=dtype)],
        [*intercepts[:n_layers], np.zeros(units, dtype=dtype)],
        np.concatenate([trained.extras[:0], *extras]),
    )
