"""Folding of the scale of inputs, and of batch normalization, into weights.

Afterwards a layer is a product and a map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from skmlp.network.normalization import EPSILON
from skmlp.network.parameters import INPUTS, SCALE, FloatArray, layout_of
from skmlp.network.parts import Pieces, Trained, named_extras
from skmlp.network.specs import NetworkSpec

# What batch normalization learns of each column of a layer.
NAMES = ("gain", "shift", "mean", "variance")
Folded = tuple[NetworkSpec, Sequence[FloatArray], Sequence[FloatArray], FloatArray]


def is_foldable(network: NetworkSpec) -> bool:
    """Whether a network has anything that can be part of its weights.

    With members it can be so in those of each one only (`skmlp.network.members`).
    """
    return network.members is None and (network.normalizes_batches or network.inputs.scaled)


@lru_cache(maxsize=256)
def without_scale(network: NetworkSpec) -> NetworkSpec:
    """Return a network whose inputs have no scale."""
    return replace(network, inputs=replace(network.inputs, scaled=False))


@lru_cache(maxsize=256)
def without_batches(network: NetworkSpec) -> NetworkSpec:
    """Return a network with no batch normalization, and no scale of inputs, in place of its own."""
    layers = tuple(
        replace(layer, normalization=None) if layer.normalization == "batch" else layer
        for layer in network.layers
    )
    return replace(without_scale(network), layers=layers)


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


def scale_folded(trained: Trained) -> Trained:
    """Return the same network with the scale of its inputs in the weights of the first layer."""
    network, coefs, intercepts, extras = trained
    if not network.inputs.scaled:
        return trained
    pieces = named_extras(network, extras)
    scale = pieces[INPUTS, SCALE].astype(np.float64)
    coefs = [coefs[0] * scale[:, np.newaxis], *coefs[1:]]
    plain = without_scale(network)
    return Trained(plain, coefs, intercepts, extras_for(plain, pieces, extras))


def extras_for(network: NetworkSpec, pieces: Pieces, like: FloatArray) -> FloatArray:
    """Return the extras of a network that are among the pieces of another one's."""
    kept = [pieces[extra.layer, extra.name] for extra in layout_of(network).extras]
    return np.concatenate([like[:0], *kept])


def folded(
    network: NetworkSpec,
    coefs: Sequence[FloatArray],
    intercepts: Sequence[FloatArray],
    extras: FloatArray,
) -> Folded:
    """Return a network without batch normalization that predicts the same, and its parameters.

    ``gain * (x @ W + b - mean) / sqrt(variance + epsilon) + shift`` is a product like any other,
    and so is ``(scale * x) @ W``.

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
    if not is_foldable(network):
        return network, coefs, intercepts, extras
    scaled = Trained(network, coefs, intercepts, extras)
    network, coefs, intercepts, extras = scale_folded(scaled)
    plain = without_batches(network)
    if plain == network:
        return network, coefs, intercepts, extras
    pieces = named_extras(network, extras)
    coefs, intercepts = list(coefs), list(intercepts)
    for number, layer in enumerate(network.layers):
        if layer.normalization == "batch":
            own = {name: pieces[number, name] for name in NAMES}
            coefs[number], intercepts[number] = folded_layer(coefs[number], intercepts[number], own)
    return plain, coefs, intercepts, extras_for(plain, pieces, extras)


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
