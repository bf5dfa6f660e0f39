"""Folding of batch normalization into weights: afterwards a layer is a product and a map."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from skmlp.network.normalization import EPSILON
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.parts import named_extras
from skmlp.network.specs import NetworkSpec

Folded = tuple[NetworkSpec, Sequence[FloatArray], Sequence[FloatArray], FloatArray]


@lru_cache(maxsize=256)
def without_batches(network: NetworkSpec) -> NetworkSpec:
    """Return a network with no batch normalization in place of its own."""
    layers = tuple(
        replace(layer, normalization=None) if layer.normalization == "batch" else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)


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
        if layer.normalization != "batch":
            continue
        names = "gain", "shift", "mean", "variance"
        gain, shift, mean, variance = (pieces[number, name].astype(np.float64) for name in names)
        scale = gain / np.sqrt(variance + EPSILON)
        coefs[number] = coefs[number] * scale
        intercepts[number] = (intercepts[number] - mean) * scale + shift
    kept = [pieces[extra.layer, extra.name] for extra in layout_of(plain).extras]
    return plain, coefs, intercepts, np.concatenate([extras[:0], *kept])
