"""Fitted networks and ensembles of them as plain values and arrays, and made of these again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from sklearn.base import clone

from skmlp._assembling import (
    KEPT,
    assembled,
    assembled_ensemble,
    binarizer_from,
    check_ensemble,
    checked_network,
    own,
    plain_binarizer,
)
from skmlp._choices import same
from skmlp._fitted import as_trained, is_ensemble, shown
from skmlp._members import ALONE, members_of
from skmlp._plain_values import CannotBeSaved, Decoder, Encoder
from skmlp._tensor_file import TensorFile, can_be_written
from skmlp.network.activations import CUSTOM_ACTIVATIONS
from skmlp.network.losses import CUSTOM_LOSSES
from skmlp.network.parameters import layout_of
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec
from skmlp.network.storage import as_plain, from_plain

if TYPE_CHECKING:
    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor

# What a file says of a fitted network or ensemble: that of `ALWAYS`, and one or two of the others.
ALWAYS, OF_ONE, OF_SEVERAL = ("parameters", "attributes", "classes"), "network", "members"
# Which member stands at each place of an ensemble, if one stands at several.
ORDER = "order"
TEXTS = (*ALWAYS, OF_ONE, OF_SEVERAL, ORDER)
# What it says of each member of an ensemble, besides its network.
OF_MEMBERS = ("parameters", "attributes")


# Writing


def fitted_as_plain(estimator: Any, encoder: Encoder, prefix: str = "") -> dict[str, Any]:
    """Return what a file says of a fitted estimator, as JSON has it, by the names of `TEXTS`.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Perhaps an ensemble.
    encoder : Encoder
        Gets the arrays.
    prefix : str, default=""
        What their names begin with.

    Raises
    ------
    CannotBeSaved
        If it has functions of users' own, objects that are not known here, or arrays of a type
        that files do not have.
    ValueError
        If anything is not as fits leave it.
    """
    several = is_ensemble(estimator)
    (check_ensemble if several else checked_network)(estimator)
    classes = plain_binarizer(vars(estimator).get("_label_binarizer"))
    texts: dict[str, Any] = {
        "parameters": parameters_as_plain(estimator, encoder, prefix),
        "attributes": attributes_as_plain(estimator, encoder, prefix),
        "classes": encoder.encode(classes, f"{prefix}classes"),
    }
    if not several:
        return {**texts, OF_ONE: network_as_plain(estimator, encoder, prefix)}
    places = members_of(estimator)
    different = list({id(member): member for member in places}.values())
    texts[OF_SEVERAL] = members_as_plain(estimator, different, encoder, prefix)
    if len(different) < len(places):
        numbers = {id(member): number for number, member in enumerate(different)}
        texts[ORDER] = [numbers[id(member)] for member in places]
    return texts


def parameters_as_plain(estimator: Any, encoder: Encoder, prefix: str = "") -> dict[str, Any]:
    """Return all parameters of an estimator, as JSON has it."""
    parameters = estimator.get_params(deep=False).items()
    return {name: encoder.encode(value, prefix + name) for name, value in parameters}


def network_as_plain(estimator: Any, encoder: Encoder, prefix: str = "") -> Any:
    """Return the description of a network as JSON has it; `encoder` gets its arrays.

    Raises
    ------
    CannotBeSaved
        If it has functions of users' own, or arrays of a type that files do not have.
    """
    # So that loading it gives what a fit goes on from, too.
    trained = as_trained(estimator)
    check_no_code(trained.network)
    for of, array in tensors_of(trained, prefix).items():
        if not can_be_written(array):
            raise CannotBeSaved(
                f"{of}={shown(array)} cannot be saved. Convert it to float32 or float64."
            )
        encoder.tensors[of] = array
    return encoder.encode(as_plain(trained.network), f"{prefix}network")


def attributes_as_plain(estimator: Any, encoder: Encoder, prefix: str = "") -> dict[str, Any]:
    """Return all of `KEPT` that an estimator has, as JSON has it."""
    state = vars(estimator)
    return {name: encoder.encode(state[name], prefix + name) for name in KEPT if name in state}


def members_as_plain(
    ensemble: Any, members: list[Any], encoder: Encoder, of_ensemble: str
) -> list[dict[str, Any]]:
    """Return what each member of an ensemble has of its own, as JSON has it."""
    shared = ensemble.get_params(deep=False) | ALONE
    plain = []
    for number, member in enumerate(members):
        prefix = of_ensemble + prefix_of(number)
        parameters = {
            name: encoder.encode(value, prefix + name)
            for name, value in member.get_params(deep=False).items()
            if not same(value, shared[name])
        }
        plain.append(
            {
                "parameters": parameters,
                "network": network_as_plain(member, encoder, prefix),
                "attributes": attributes_as_plain(member, encoder, prefix),
            }
        )
    return plain


def prefix_of(number: int) -> str:
    """Return what the names of a member's arrays begin with."""
    return f"estimators_.{number}."


def check_no_code(network: NetworkSpec) -> None:
    """Refuse a network of which users' functions are a part.

    Raises
    ------
    CannotBeSaved
        If there are any.
    """
    is_own = [layer.activation.name in CUSTOM_ACTIVATIONS for layer in network.layers]
    is_own += [(head.loss.name, head.link) in CUSTOM_LOSSES for head in network.heads]
    if any(is_own):
        raise CannotBeSaved(
            "The network was fitted with functions of your own, which are code, and a file holds "
            "none. Use pickle, or other activations and losses."
        )


def tensors_of(trained: Trained, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a network, by the names that they have in a file."""
    network, coefs, intercepts, extras = trained
    arrays: dict[str, npt.NDArray[Any]] = {}
    for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        arrays[f"{prefix}coefs_.{layer}"] = coef
        arrays[f"{prefix}intercepts_.{layer}"] = intercept
    return arrays | ({f"{prefix}extras": extras} if layout_of(network).extras else {})


# Reading


def fitted_in(
    file: TensorFile, decoder: Decoder, name: str, said: Mapping[str, Any], prefix: str = ""
) -> "MLPClassifier | MLPRegressor":
    """Return an estimator of which a file says something.

    Parameters
    ----------
    file : TensorFile
    decoder : Decoder
        Of its arrays.
    name : str
        Which of the two it is.
    said : mapping
        What `fitted_as_plain` has returned.
    prefix : str, default=""
        What the names of its arrays begin with.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, RecursionError
        If this is none.
    """
    plain = decoder.decode(said["classes"])
    binarizer = None if plain is None else binarizer_from(plain)
    attributes = decoder.decode({"dict": said["attributes"]})
    parameters = decoder.decode({"dict": said["parameters"]})
    check_names(name, parameters, attributes)
    if OF_SEVERAL not in said:
        trained = trained_in(file, decoder, said[OF_ONE], prefix)
        return assembled(name, parameters, trained, binarizer, attributes)
    members = []
    for number, member in enumerate(said[OF_SEVERAL]):
        decoded = {of: decoder.decode({"dict": member[of]}) for of in OF_MEMBERS}
        own_parameters, own_attributes = decoded.values()
        check_names(name, own_parameters, own_attributes)
        copies = {of: clone(value, safe=False) for of, value in parameters.items()}
        trained = trained_in(file, decoder, member["network"], prefix + prefix_of(number))
        of_member = copies | ALONE | own_parameters
        members.append(assembled(name, of_member, trained, binarizer, own_attributes))
    if not members:
        raise ValueError("an ensemble without members")
    places = in_order(members, said[ORDER]) if ORDER in said else members
    return assembled_ensemble(name, parameters, places, attributes)


def in_order(members: list[Any], order: Any) -> list[Any]:
    """Return the members as they stand in an ensemble.

    Raises
    ------
    ValueError
        If one stands nowhere, or one is asked for that is not there.
    """
    is_list = type(order) is list and all(type(number) is int for number in order)
    if not is_list or {*order} != {*range(len(members))}:
        raise ValueError(f"an order of {len(members)} members that is none: {shown(order)}")
    return [members[number] for number in order]


def check_names(name: str, parameters: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Refuse parameters and attributes that an estimator does not have.

    Raises
    ------
    ValueError
        If there are any.
    """
    if unknown := attributes.keys() - KEPT.keys():
        raise ValueError(f"unknown attributes {sorted(unknown)}")
    if unknown := parameters.keys() - own(name)().get_params(deep=False).keys():
        raise ValueError(f"{name} has no parameters {sorted(unknown)}")


def trained_in(file: TensorFile, decoder: Decoder, said: Any, prefix: str = "") -> Trained:
    """Return a network that a file holds, whose arrays have names with a prefix.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, RecursionError
        If there is none.
    """
    network = from_plain(decoder.decode(said))
    check_no_code(network)
    expected = expected_shapes(network, prefix)
    found = {name: file.entries[name].shape for name in expected if name in file.entries}
    if found != expected:
        raise ValueError(f"arrays of the network have the shapes {found}, not {expected}")
    layers = range(network.n_connections)
    coefs = [decoder.tensor(f"{prefix}coefs_.{n}") for n in layers]
    intercepts = [decoder.tensor(f"{prefix}intercepts_.{n}") for n in layers]
    has_extras = bool(layout_of(network).extras)
    extras = decoder.tensor(f"{prefix}extras") if has_extras else coefs[0][:0, 0]
    return Trained(network, coefs, intercepts, extras)


def expected_shapes(network: NetworkSpec, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of a network, by their names in a file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(network.shapes):
        shapes[f"{prefix}coefs_.{layer}"] = fan_in, fan_out
        shapes[f"{prefix}intercepts_.{layer}"] = (fan_out,)
    layout = layout_of(network)
    if layout.extras:
        shapes[f"{prefix}extras"] = (layout.size - layout.intercept_offsets[-1],)
    return shapes
