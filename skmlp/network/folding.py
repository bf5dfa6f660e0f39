"""Folding of batch normalization into weights: afterwards a layer is a product and a map."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from skmlp.network.normalization import EPSILON
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.parts import named_extras
from skmlp.network.specs import NetworkSpec

# What batch normalization learns of each column of a layer.
NAMES = ("gain", "shift", "mean", "variance")
Folded = tuple[NetworkSpec, Sequence[FloatArray], Sequence[FloatArray], FloatArray]


@lru_cache(maxsize=256)
def without_batches(network: NetworkSpec) -> NetworkSpec:
    """Return a network with no batch normalization in place of its own."""
    layers = tuple(
        replace(layer, normalization=None) if layer.normalization == "batch" else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)


def folded_layer(
    coefs: FloatArray, intercepts: FloatArray, pieces: Mapping[str, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return coefficients and intercepts that do what these do before batch normalization.

    Parameters
    ----------
    coefs, intercepts : ndarray
    pieces : mapping of str to ndarray
        What the normalization has learned, by `NAMES`.
    """
    gain, shift, mean, variance = (pieces[name].astype(np.float64) for name in NAMES)
    scale = gain / np.sqrt(variance + EPSILON)
    return coefs * scale, (intercepts - mean) * scale + shift


def folded(
    network: NetworkSpec,
    coefs: Sequence[FloatArray],
    intercepts: Sequence[FloatArray],
    extras: FloatArray,
) -> Folded:
    """Return a network without batch normalization that predicts the same, and its parameters.

    ``gain * (x @ W + b - mean) / sqrt(variance + epsilon) + shift`` is a product like any other.

    Parameters
    ----------
    network : NetworkSpec
    coefs, intercepts : sequence of ndarray
        One per layer.
    extras : ndarray
        What lies behind the intercepts in the flat vector of parameters.

    Returns
    -------
    network : NetworkSpec
    coefs, intercepts : sequence of ndarray
        Those that change are new arrays in double precision.
    extras : ndarray
    """
    if not network.normalizes_batches:
        return network, coefs, intercepts, extras
    plain = without_batches(network)
    pieces = named_extras(network, extras)
    coefs, intercepts = list(coefs), list(intercepts)
    for number, layer in enumerate(network.layers):
        if layer.normalization == "batch":
            own = {name: pieces[number, name] for name in NAMES}
            coefs[number], intercepts[number] = folded_layer(coefs[number], intercepts[number], own)
    kept = [pieces[extra.layer, extra.name] for extra in layout_of(plain).extras]
    return plain, coefs, intercepts, np.concatenate([extras[:0], *kept])


def folded_vector(network: NetworkSpec, parameters: FloatArray) -> tuple[NetworkSpec, FloatArray]:
    """Return what `folded` does of a flat vector, as one in the same precision.

    Predictions are bitwise the same: to fold is the first thing that they do.
    """
    layout = layout_of(network)
    plain, coefs, intercepts, extras = folded(
        network, *layout.views(parameters), layout.extras_of(parameters)
    )
    if plain is network:
        return network, parameters
    with np.errstate(over="ignore"):
        packed = layout_of(plain).pack(coefs, intercepts, parameters.dtype, extras)
    return plain, packed
