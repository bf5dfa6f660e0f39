"""From the constructor's parameters to the description of a network: pure functions."""

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import Any

from skmlp import activations, losses
from skmlp._choices import Choice, text_of
from skmlp._embedding import blocks_of, check_undisturbed
from skmlp._solvers import uses_lbfgs
from skmlp.activations import activation_formula
from skmlp.network.specs import Formula, HeadSpec, InputSpec, LayerSpec, NetworkSpec

# What training does to inputs, in the order of `InputSpec`.
DISTURBANCES = ("input_dropout", "input_noise", "mixup")


def describe_network(
    estimator: Any,
    n_features: int,
    hidden: tuple[int, ...],
    heads: Sequence[HeadSpec],
    *,
    drops: bool = True,
) -> NetworkSpec:
    """Return the network that an estimator's parameters ask for.

    Parameters
    ----------
    estimator : BaseMLP
        Its parameters are valid, each by itself.
    n_features : int
    hidden : tuple of int
        Units of the hidden layers.
    heads : sequence of HeadSpec
    drops : bool
        Whether dropout, noise and mixtures, of which predictions know nothing, are looked at, and
        what columns of X become, of which assigned weights do not tell.

    Raises
    ------
    ValueError
        If parameters do not fit each other.
    """
    activations = each_layer("activation", estimator.activation, len(hidden))
    normalizations = each_layer("normalization", estimator.normalization, len(hidden))
    dropouts, disturbances = [0.0] * len(hidden), [0.0] * len(DISTURBANCES)
    if drops:
        # L-BFGS compares losses, which must not change from one look to the next.
        factor = not uses_lbfgs(estimator)
        shares = each_layer("dropout", estimator.dropout, len(hidden))
        dropouts = [float(share) * factor for share in shares]
        disturbances = [float(getattr(estimator, name)) * factor for name in DISTURBANCES]
    blocks = blocks_of(estimator.embedding, n_features) if drops else ()
    check_undisturbed(blocks, dict(zip(DISTURBANCES, disturbances, strict=True)))
    inputs = n_features, *disturbances, blocks, bool(estimator.input_scale) and drops
    parts = tuple(activations), tuple(normalizations), tuple(dropouts)
    # Constants that are equal need not be the same: 0.0 and -0.0.
    has_constants = any(head.loss.constants for head in heads)
    is_named = all(isinstance(activation, str) for activation in activations)
    make = network_made_of if is_named and not has_constants else network_made_of.__wrapped__
    network = make(inputs, hidden, *parts, tuple(heads))
    if drops and uses_lbfgs(estimator):
        check_derivatives(network.layers)
    return network


@lru_cache(maxsize=256)
def network_made_of(
    inputs: tuple[Any, ...],
    units: tuple[int, ...],
    activations: tuple[Any, ...],
    normalizations: tuple[str | None, ...],
    dropouts: tuple[float, ...],
    heads: tuple[HeadSpec, ...],
) -> NetworkSpec:
    """Return a network; of names the same object again, which tables of networks find sooner."""
    formulas = map(activation_formula, activations)
    parts = zip(units, formulas, normalizations, dropouts, strict=True)
    return NetworkSpec(InputSpec(*inputs), tuple(LayerSpec(*part) for part in parts), heads)


def attributes_of(network: NetworkSpec) -> dict[str, Any]:
    """Return the fitted attributes that tell the shape of a network."""
    links = [head.link for head in network.heads]
    return {
        "n_outputs_": network.n_outputs,
        "n_layers_": len(network.layer_units),
        "out_activation_": links if len(links) > 1 else links[0],
    }


def each_layer(name: str, value: Any, n_layers: int) -> list[Any]:
    """Return a parameter's value for each hidden layer.

    Raises
    ------
    ValueError
        If there is one for each of another number of layers.
    """
    if isinstance(value, str | Choice) or not hasattr(value, "__len__"):
        return [value] * n_layers
    if len(value) != n_layers:
        raise ValueError(
            f"{name}={text_of(value)} has {len(value)} entries, but there are {n_layers} hidden "
            f"layers. Give one for each layer of hidden_layer_sizes, or a single one for all."
        )
    return list(value)


def check_derivatives(layers: Sequence[LayerSpec]) -> None:
    """Refuse activations whose derivative is another function's, for 'lbfgs'.

    Raises
    ------
    ValueError
        If there is one.
    """
    for layer in layers:
        if layer.entry.surrogate:
            raise ValueError(
                f"activation={layer.activation.name!r} does not go with solver='lbfgs', which "
                "compares losses with their gradient: the derivative of this one is another "
                "function's. Use solver='adam' or 'sgd', or activation='logistic'."
            )


CustomChoice = activations.Custom | losses.Custom


def custom_choices(activation: Any, loss: Any) -> tuple[CustomChoice, ...]:
    """Return copies of what among activations and loss is made of users' functions.

    They belong to the fitted network, whatever is done with the parameters afterwards.
    """
    given = [activation] if isinstance(activation, str | Choice) else activation
    return tuple(copy(choice) for choice in (*given, loss) if isinstance(choice, CustomChoice))


def register_custom(choices: Any) -> None:
    """Make formulas of users' functions known, which a pickled network refers to by name.

    Raises
    ------
    ValueError
        If they are anything else.
    """
    if not (isinstance(choices, tuple) and all(isinstance(c, CustomChoice) for c in choices)):
        raise ValueError(f"_custom must be a tuple of Custom, but is {choices!r}.")
    for choice in choices:
        choice.formula()


def last_activation(activation: Any) -> Formula:
    """Return what initializers take for the output layer: the activation of the last hidden one.

    Where there are no hidden layers it is what they would have, as in scikit-learn.
    """
    given = [activation] if isinstance(activation, str | Choice) else activation
    last: Any = given[-1]
    return activation_formula(last)
