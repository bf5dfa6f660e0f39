"""From the constructor's parameters to what the weights of a fit may be."""

from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier

from skmlp._choices import text_of
from skmlp._fitted import shown
from skmlp._resuming import Start
from skmlp._sklearn_compat import Interval, Options, _check_monotonic_cst
from skmlp._solvers import uses_lbfgs
from skmlp.network.activations import ACTIVATIONS
from skmlp.network.constraints import (
    BoolArray,
    Bounds,
    connection_bounds,
    draw_connections,
    limit_norms,
    monotone_bounds,
    trained_from,
)
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import NetworkSpec

SHARE = Interval(Real, 0, 1, closed="right")


class ConnectivityOptions(Options):
    """Constraint of the parameter `connectivity`; the shapes of arrays are left to the fit."""

    def __init__(self) -> None:
        self.hidden = False  # scikit-learn lists it in its messages

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is a share, or a tuple or list of shares, None and arrays."""
        if isinstance(val, tuple | list):
            return all(
                entry is None or SHARE.is_satisfied_by(entry) or is_matrix(entry) for entry in val
            )
        return bool(SHARE.is_satisfied_by(val))

    def __str__(self) -> str:
        return (
            f"{SHARE} or a tuple with such a number, None or an array of bool for each weight "
            "matrix"
        )


def is_matrix(value: Any) -> bool:
    """Whether it may be a matrix of booleans."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return False
    return array.ndim == 2 and array.dtype.kind == "b"


def draws_connections(estimator: Any) -> bool:
    """Whether some connections are drawn."""
    given = estimator.connectivity
    entries = given if isinstance(given, tuple | list) else [given]
    return any(isinstance(entry, Real) and entry < 1 for entry in entries)


def named_constraints(estimator: Any) -> list[str]:
    """Return the parameters that bound the weights of a fit by a stochastic solver."""
    given = estimator.connectivity
    names = ["connectivity"] if isinstance(given, tuple | list) or given < 1 else []
    return names if estimator.monotonic_cst is None else [*names, "monotonic_cst"]


def check_frozen_layers(estimator: Any, n_hidden: int) -> None:
    """Refuse to train nothing.

    Raises
    ------
    ValueError
        If more layers are frozen than there are hidden ones.
    """
    if estimator.frozen_layers > n_hidden:
        raise ValueError(
            f"frozen_layers={estimator.frozen_layers} leaves nothing to train: the network has "
            f"{n_hidden} hidden layers and the output layer. Use at most {n_hidden}."
        )


def bounds_of(estimator: Any, network: NetworkSpec, seed: int) -> Bounds | None:
    """Return within which bounds the parameters of a fit are; None where they are free.

    Parameters
    ----------
    estimator : BaseMLP
    network : NetworkSpec
    seed : int
        Determines the connections that are drawn.

    Raises
    ------
    ValueError
        If `connectivity` does not fit the network, or the network cannot be monotone.
    """
    found = []
    masks = connection_masks(estimator.connectivity, network, seed)
    if any(mask is not None for mask in masks):
        found.append(connection_bounds(network, masks))
    features = monotone_features(estimator)
    if features is not None:
        check_can_be_monotone(estimator, network)
        found.append(monotone_bounds(network, features))
    if len(found) == 2:
        return found[0].within(found[1])
    return found[0] if found else None


def connection_masks(connectivity: Any, network: NetworkSpec, seed: int) -> list[BoolArray | None]:
    """Return for each weight matrix which connections there are, None for all."""
    n_matrices = network.n_connections
    if isinstance(connectivity, tuple | list):
        entries = list(connectivity)
    else:
        entries = [connectivity] * (n_matrices - 1) + [None]
    if len(entries) != n_matrices:
        raise ValueError(
            f"connectivity has {len(entries)} entries, but there are {n_matrices} weight matrices, "
            f"those of a network with {network.layer_units} units. Give one for each, or a single "
            "number for all that lead to hidden layers."
        )
    masks: list[BoolArray | None] = []
    for number, entry in enumerate(entries):
        shape = network.layer_units[number], network.layer_units[number + 1]
        if entry is None or (isinstance(entry, Real) and entry == 1):
            masks.append(None)
        elif isinstance(entry, Real):
            # Of its own for each matrix: a change of one entry changes no other.
            generator = np.random.RandomState([seed % 2**32, number])
            masks.append(draw_connections(shape, float(entry), generator))
        else:
            masks.append(given_connections(number, entry, shape))
    return masks


def given_connections(number: int, entry: Any, shape: tuple[int, int]) -> BoolArray:
    """Return a copy of the array that says which connections there are."""
    mask = np.array(entry, dtype=bool)
    if mask.shape != shape:
        raise ValueError(
            f"connectivity[{number}] must have shape {shape}, the units before and behind the "
            f"connections, got {mask.shape}."
        )
    return mask


def monotone_features(estimator: Any) -> npt.NDArray[np.int8] | None:
    """Return the monotone constraint on each feature, None where there is none."""
    given = estimator.monotonic_cst
    if given is None:
        return None
    if not isinstance(given, dict) and (np.ndim(given) != 1 or np.asarray(given).dtype.names):
        raise ValueError(
            f"monotonic_cst must have one dimension, one number for each feature, but is "
            f"{shown(given)}."
        )
    features: npt.NDArray[np.int8] = _check_monotonic_cst(estimator, given)
    return features if features.any() else None


def check_can_be_monotone(estimator: Any, network: NetworkSpec) -> None:
    """Refuse networks that weights of fixed signs do not make monotone.

    Raises
    ------
    ValueError
        If there are more than two classes, or a layer's activation may fall, or its normalization
        mixes units.
    """
    if is_classifier(estimator) and network.n_outputs > 1:
        raise ValueError(
            "monotonic_cst constrains the probability of the positive class, but y has more than "
            "two classes, or several labels or targets. Use monotonic_cst=None, or one classifier "
            "for each class, as in sklearn.multiclass.OneVsRestClassifier."
        )
    if network.inputs.embedding:
        raise ValueError(
            f"monotonic_cst does not go with embedding={text_of(estimator.embedding)}, of which "
            "it is not known whether it rises. Use embedding=None."
        )
    for layer in network.layers:
        if not layer.entry.never_falls(*layer.activation.constants):
            known = [
                repr(name)
                for name, entry in ACTIVATIONS.items()
                if entry.hidden and entry.never_falls(*(c.default for c in entry.constants))
            ]
            raise ValueError(
                f"monotonic_cst needs activations that never fall, but activation="
                f"{text_of(estimator.activation)} may. Use {', '.join(known)}."
            )
        if layer.normalization == "layer":
            raise ValueError(
                "monotonic_cst does not go with normalization='layer', where a unit that rises "
                "lets others fall. Use normalization=None or 'batch'."
            )


def constrain(
    estimator: Any,
    network: NetworkSpec,
    bounds: Bounds | None,
    parameters: FloatArray,
    *,
    is_drawn: bool,
) -> None:
    """Move the parameters that a fit starts from to where they may be, in place.

    Drawn ones are mirrored at their bounds, others are moved there.

    Raises
    ------
    ValueError
        If layers that are given, or come from an earlier fit, are frozen where they may not be.
    """
    frozen = 0 if is_drawn else int(estimator.frozen_layers)
    if bounds is not None:
        stays = ~trained_from(network, frozen)
        before = parameters[stays]
        if is_drawn:
            bounds.mirror(parameters)
        else:
            bounds.confine(parameters)
        if not np.array_equal(before, parameters[stays]):
            names = " and ".join(named_constraints(estimator))
            raise ValueError(
                f"frozen_layers={estimator.frozen_layers} keeps weights that {names} would change. "
                "Start from weights that fit them, or train these layers too."
            )
    if estimator.max_norm is not None and not uses_lbfgs(estimator):
        limit_norms(layout_of(network), parameters, float(estimator.max_norm), frozen)


def with_constrained_averages(
    estimator: Any, network: NetworkSpec, bounds: Bounds | None, start: Start
) -> Start:
    """Return a start whose averages of weights, too, are where they may be."""
    state = start.optimizer_state
    if state is None or state.averages is None:
        return start
    values = state.averages.values.copy()
    constrain(estimator, network, bounds, values, is_drawn=False)
    averages = replace(state.averages, values=values)
    return replace(start, optimizer_state=replace(state, averages=averages))


def with_frozen(
    estimator: Any, network: NetworkSpec, bounds: Bounds | None, parameters: FloatArray
) -> Bounds | None:
    """Return bounds that also keep frozen layers as they are, for a solver that knows bounds."""
    if estimator.frozen_layers == 0:
        return bounds
    start = parameters.astype(np.float64)
    free = trained_from(network, int(estimator.frozen_layers))
    lower, upper = (-np.inf, np.inf) if bounds is None else (bounds.lower, bounds.upper)
    return Bounds(np.where(free, lower, start), np.where(free, upper, start))
