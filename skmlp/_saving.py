"""Models in files: `save` writes one, `load` reads it, and neither knows pickle.

A file holds what predictions need, the parameters, and the records of the fit; not the state of
the optimizer, which checkpoints and pickles are for. What is read is checked as if a user had
assigned it.
"""

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy.typing as npt
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skmlp._assembling import (
    KEPT,
    NAMES,
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
from skmlp._sklearn_compat import metadata_requests, set_metadata_requests
from skmlp._tensor_file import (
    MODEL,
    AnyPath,
    FileProblem,
    TensorFile,
    can_be_written,
    open_tensors,
    strictly_parsed,
    write_tensors,
)
from skmlp.network.activations import CUSTOM_ACTIVATIONS
from skmlp.network.losses import CUSTOM_LOSSES
from skmlp.network.parameters import layout_of
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec
from skmlp.network.storage import as_plain, from_plain

if TYPE_CHECKING:
    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor

# What a file says of each member of an ensemble, besides its network.
OF_MEMBERS = ("parameters", "attributes")
# What reading a text that nobody has written for us may end with.
UNSOUND = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


class Saving:
    """Gives an estimator `save`."""

    def save(self, path: AnyPath) -> None:
        """Write the fitted model to a file, from which `skmlp.load` makes an equal one.

        The file is in the safetensors format: arrays, and the parameters as JSON. It holds no code,
        so that whoever loads it need not trust whoever wrote it. The state of the optimizer is not
        in it: a loaded model predicts, and can be trained on with a fresh one. Requests of metadata
        (``set_fit_request``) are, callbacks are not. Of an ensemble all members are in one file;
        which samples they were trained on (`estimators_samples_`) is not.

        Parameters
        ----------
        path : str or path-like
            In a folder that exists; usually it ends with ``.safetensors``. A file of that name is
            replaced, once the new one is complete, which gets its permissions.

        Raises
        ------
        NotFittedError
            If there is nothing to save yet.
        ValueError
            If a parameter is invalid, a function, or an object that is not skmlp's; if the
            estimator is of a class of your own; or if fitted attributes contradict each other.
        TypeError
            If `path` is none.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> import skmlp
        >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
        >>> model = skmlp.MLPRegressor(solver="lbfgs", random_state=0).fit(X, X[:, 0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.safetensors")
        ...     model.save(path)
        ...     loaded = skmlp.load(path)
        >>> np.array_equal(loaded.predict(X), model.predict(X))
        True
        """
        check_is_fitted(self)
        name = type(self).__name__
        if name not in NAMES or type(self) is not own(name):
            raise CannotBeSaved(
                f"{name} cannot be saved: it is a class of your own, which is code, and a file "
                f"holds none. Use one of {' and '.join(NAMES)}, or pickle."
            )
        several = is_ensemble(self)
        (check_ensemble if several else checked_network)(self)
        encoder, estimator = Encoder(), cast(Any, self)
        parameters = estimator.get_params(deep=False)
        classes = plain_binarizer(vars(self).get("_label_binarizer"))
        texts: dict[str, Any] = {
            "parameters": {name: encoder.encode(v, name) for name, v in parameters.items()},
            "attributes": attributes_as_plain(self, encoder),
            "classes": encoder.encode(classes, "classes"),
            "requests": metadata_requests(self),
        }
        if several:
            texts["members"] = members_as_plain(self, encoder)
        else:
            texts["network"] = network_as_plain(self, encoder)
        metadata = {"skmlp": version_of_skmlp(), "estimator": name}
        metadata |= {of: json.dumps(value, allow_nan=False) for of, value in texts.items()}
        write_tensors(path, MODEL, encoder.tensors, metadata)


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


def members_as_plain(ensemble: Any, encoder: Encoder) -> list[dict[str, Any]]:
    """Return what each member of an ensemble has of its own, as JSON has it."""
    shared = ensemble.get_params(deep=False) | ALONE
    plain = []
    for number, member in enumerate(members_of(ensemble)):
        prefix = prefix_of(number)
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


def load(path: AnyPath) -> "MLPClassifier | MLPRegressor":
    """Read a model that `save` has written.

    Nothing in the file is executed, whoever wrote it. It is read only if its checksum is right and
    all in it is what a fit can have left.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    model : MLPClassifier or MLPRegressor
        It predicts what the saved one did, bit by bit on the same kind of processor.

    Raises
    ------
    ValueError
        If the file is cut off, damaged, written by a later version of skmlp or by others, or holds
        no model. The message says which.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import skmlp
    >>> model = skmlp.MLPClassifier((5,), solver="lbfgs", random_state=0)
    >>> model = model.fit([[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     model.save(path)
    ...     loaded = skmlp.load(path)
    >>> loaded
    MLPClassifier(hidden_layer_sizes=(5,), random_state=0, solver='lbfgs')
    >>> loaded.classes_
    array(['high', 'low'], dtype='<U4')
    """
    with open_tensors(path, MODEL) as file:
        try:
            return model_in(file)
        except FileProblem:
            raise
        except UNSOUND as error:
            writer = file.metadata.get("skmlp", "of unknown version")
            raise FileProblem.of(
                path, f"holds no model that skmlp {writer} can have saved: {error!r}."
            ) from error


def version_of_skmlp() -> str:
    # No statement: modules of the package import none of what it shows to users.
    return str(import_module("skmlp").__version__)


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


def model_in(file: TensorFile) -> "MLPClassifier | MLPRegressor":
    """Return the model that a file holds.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, RecursionError
        If there is none.
    """
    decoder = Decoder(file.read)

    def said(name: str) -> Any:
        return decoder.decode({"dict": strictly_parsed(file.metadata[name])})

    plain = decoder.decode(strictly_parsed(file.metadata["classes"]))
    binarizer = None if plain is None else binarizer_from(plain)
    attributes = said("attributes")
    name, parameters = file.metadata["estimator"], said("parameters")
    if name not in NAMES:
        raise ValueError(f"it is said to be of {name!r}, which is none of {' and '.join(NAMES)}")
    check_names(name, parameters, attributes)
    if "members" in file.metadata:
        members = []
        for number, member in enumerate(strictly_parsed(file.metadata["members"])):
            decoded = {of: decoder.decode({"dict": member[of]}) for of in OF_MEMBERS}
            own_parameters, own_attributes = decoded.values()
            check_names(name, own_parameters, own_attributes)
            copies = {of: clone(value, safe=False) for of, value in parameters.items()}
            trained = trained_in(file, decoder, member["network"], prefix_of(number))
            of_member = copies | ALONE | own_parameters
            members.append(assembled(name, of_member, trained, binarizer, own_attributes))
        if not members:
            raise ValueError("an ensemble without members")
        model = assembled_ensemble(name, parameters, members, attributes)
    else:
        trained = trained_in(file, decoder, strictly_parsed(file.metadata["network"]))
        model = assembled(name, parameters, trained, binarizer, attributes)
    set_metadata_requests(model, strictly_parsed(file.metadata["requests"]))
    if unread := file.entries.keys() - decoder.used:
        raise ValueError(f"nothing refers to the arrays {sorted(unread)}")
    return model


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
