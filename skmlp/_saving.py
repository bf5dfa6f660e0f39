"""Models in files: `save` writes one, `load` reads it, and neither knows pickle.

A file holds what predictions need, the parameters, and the records of the fit; not the state of
the optimizer, which checkpoints and pickles are for. What is read is checked as if a user had
assigned it.
"""

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from skmlp._assembling import (
    KEPT,
    NAMES,
    assembled,
    binarizer_from,
    checked_network,
    own,
    plain_binarizer,
)
from skmlp._fitted import as_trained, shown
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

# What reading a text that nobody has written for us may end with.
UNSOUND = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


class Saving:
    """Gives an estimator `save`."""

    def save(self, path: AnyPath) -> None:
        """Write the fitted model to a file, from which `skmlp.load` makes an equal one.

        The file is in the safetensors format: arrays, and the parameters as JSON. It holds no code,
        so that whoever loads it need not trust whoever wrote it. The state of the optimizer is not
        in it: a loaded model predicts, and can be trained on with a fresh one. Requests of metadata
        (``set_fit_request``) are, callbacks are not.

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
        check_is_fitted(self, "coefs_")
        name = type(self).__name__
        if name not in NAMES or type(self) is not own(name):
            raise CannotBeSaved(
                f"{name} cannot be saved: it is a class of your own, which is code, and a file "
                f"holds none. Use one of {' and '.join(NAMES)}, or pickle."
            )
        checked_network(self)
        # So that loading it gives what a fit goes on from, too.
        trained, encoder = as_trained(self), Encoder()
        for of, array in tensors_of(trained).items():
            if not can_be_written(array):
                raise CannotBeSaved(
                    f"{of}={shown(array)} cannot be saved. Convert it to float32 or float64."
                )
            encoder.tensors[of] = array
        estimator: Any = self
        parameters, state = estimator.get_params(deep=False), vars(self)
        texts = {
            "parameters": {name: encoder.encode(v, name) for name, v in parameters.items()},
            "network": encoder.encode(as_plain(trained.network), "network"),
            "attributes": {n: encoder.encode(state[n], n) for n in KEPT if n in state},
            "classes": encoder.encode(plain_binarizer(state.get("_label_binarizer")), "classes"),
            "requests": metadata_requests(self),
        }
        check_no_code(trained.network)
        metadata = {"skmlp": version_of_skmlp(), "estimator": name}
        metadata |= {of: json.dumps(value, allow_nan=False) for of, value in texts.items()}
        write_tensors(path, MODEL, encoder.tensors, metadata)


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


def tensors_of(trained: Trained) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a network, by the names that they have in a file."""
    network, coefs, intercepts, extras = trained
    arrays: dict[str, npt.NDArray[Any]] = {}
    for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        arrays |= {f"coefs_.{layer}": coef, f"intercepts_.{layer}": intercept}
    return arrays | ({"extras": extras} if layout_of(network).extras else {})


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

    network = from_plain(decoder.decode(strictly_parsed(file.metadata["network"])))
    check_no_code(network)
    expected = expected_shapes(network)
    found = {name: file.entries[name].shape for name in expected if name in file.entries}
    if found != expected:
        raise ValueError(f"arrays of the network have the shapes {found}, not {expected}")
    coefs = [decoder.tensor(f"coefs_.{n}") for n in range(network.n_connections)]
    intercepts = [decoder.tensor(f"intercepts_.{n}") for n in range(network.n_connections)]
    extras = decoder.tensor("extras") if layout_of(network).extras else coefs[0][:0, 0]
    binarizer = decoder.decode(strictly_parsed(file.metadata["classes"]))
    attributes = said("attributes")
    if not attributes.keys() <= KEPT.keys():
        raise ValueError(f"unknown attributes {sorted(attributes.keys() - KEPT.keys())}")
    name, parameters = file.metadata["estimator"], said("parameters")
    if name not in NAMES:
        raise ValueError(f"it is said to be of {name!r}, which is none of {' and '.join(NAMES)}")
    if unknown := parameters.keys() - own(name)().get_params(deep=False).keys():
        raise ValueError(f"{name} has no parameters {sorted(unknown)}")
    model = assembled(
        name,
        parameters,
        Trained(network, coefs, intercepts, extras),
        None if binarizer is None else binarizer_from(binarizer),
        attributes,
    )
    set_metadata_requests(model, strictly_parsed(file.metadata["requests"]))
    if unread := file.entries.keys() - decoder.used:
        raise ValueError(f"nothing refers to the arrays {sorted(unread)}")
    return model


def expected_shapes(network: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of a network, by their names in a file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(network.shapes):
        shapes |= {f"coefs_.{layer}": (fan_in, fan_out), f"intercepts_.{layer}": (fan_out,)}
    layout = layout_of(network)
    if layout.extras:
        shapes["extras"] = (layout.size - layout.intercept_offsets[-1],)
    return shapes
