"""Models in files: `save` writes one, `load` reads it, and neither knows pickle.

A file holds what predictions need, the parameters, and the records of the fit; not the state of
the optimizer, which checkpoints and pickles are for. What is read is checked as if a user had
assigned it.
"""

import json
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from skmlp._fitted import (
    Layers,
    as_trained,
    check_layers,
    fitted_extras,
    fitted_network,
    is_count,
    of_type,
    optional,
    shown,
)
from skmlp._labels import Binarizer, all_of, are_known, check_binarizer, classes_of
from skmlp._networks import attributes_of
from skmlp._plain_values import CannotBeSaved, Decoder, Encoder
from skmlp._target_scale import fitted_scaling
from skmlp._targets import check_decodable
from skmlp._temperature import fitted_temperature
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
from skmlp._validation import DEVICES
from skmlp.network.activations import CUSTOM_ACTIVATIONS
from skmlp.network.losses import CUSTOM_LOSSES
from skmlp.network.parameters import layout_of
from skmlp.network.specs import NetworkSpec
from skmlp.network.storage import as_plain, from_plain
from skmlp.training.history import are_columns

if TYPE_CHECKING:
    from sklearn.preprocessing import LabelBinarizer

    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor


def is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)


def are_reals(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_real, value))


def are_names(value: Any) -> bool:
    is_vector = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == object
    return is_vector and all(isinstance(name, str) for name in value)


def is_device(value: Any) -> bool:
    return isinstance(value, str) and value in DEVICES


def is_vector(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


# What is saved besides the network, its layers and the classes, where an estimator has it.
SAVED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "feature_names_in_": (are_names, "an array of the names of the features"),
    "t_": (is_count, "the number of samples seen"),
    "n_iter_": (is_count, "a number of epochs"),
    "loss_": (is_real, "a number"),
    "best_loss_": (optional(is_real), "a number, or None"),
    "best_validation_score_": (optional(is_real), "a number, or None"),
    "loss_curve_": (optional(are_reals), "a list of numbers, or None"),
    "validation_scores_": (optional(are_reals), "a list of numbers, or None"),
    "validation_loss_curve_": (optional(are_reals), "a list of numbers, or None"),
    "_history": (are_columns, "the columns of the history"),
    "stop_reason_": (of_type(str), "a reason in words"),
    "device_": (is_device, "the name of a device"),
    "device_reason_": (of_type(str), "a reason in words"),
    "temperature_": (is_real, "a number"),
    "y_mean_": (is_vector, "a number for each target"),
    "y_scale_": (is_vector, "a number for each target"),
}
# What reading a text that nobody has written for us may end with.
UNSOUND = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


class Saving:
    """Gives an estimator `save`."""

    def save(self, path: AnyPath) -> None:
        """Write the fitted model to a file, from which `skmlp.load` makes an equal one.

        The file is in the safetensors format: arrays, and the parameters as JSON. It holds no code,
        so that whoever loads it need not trust whoever wrote it. The state of the optimizer is not
        in it: a loaded model predicts, and can be trained on with a fresh one.

        Parameters
        ----------
        path : str or path-like
            In a folder that exists; usually it ends with ``.safetensors``. A file of that name is
            replaced, once the new one is complete.

        Raises
        ------
        NotFittedError
            If there is nothing to save yet.
        ValueError
            If a parameter is a function, or an object that is not skmlp's; if the estimator is of
            a class of your own; or if fitted attributes contradict each other.
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
        if type(self) not in estimator_classes().values():
            raise CannotBeSaved(
                f"{type(self).__name__} cannot be saved: it is a class of your own, which is code, "
                f"and a file holds none. Use one of {' and '.join(estimator_classes())}, or pickle."
            )
        checked_parts(self)
        # So that loading it gives what a fit goes on from, too.
        network, coefs, intercepts, extras = as_trained(self)
        layers = Layers(list(coefs), list(intercepts), network.layer_units)
        encoder = Encoder()
        for name, array in tensors_of(layers, network, extras).items():
            if not can_be_written(array):
                raise CannotBeSaved(
                    f"{name}={shown(array)} cannot be saved. Convert it to float32 or float64."
                )
            encoder.tensors[name] = array
        estimator: Any = self
        parameters, state = estimator.get_params(deep=False), vars(self)
        texts = {
            "parameters": {name: encoder.encode(v, name) for name, v in parameters.items()},
            "network": encoder.encode(as_plain(network), "network"),
            "attributes": {n: encoder.encode(state[n], n) for n in SAVED if n in state},
            "classes": encoder.encode(plain_binarizer(state.get("_label_binarizer")), "classes"),
        }
        check_no_code(network)
        metadata = {"skmlp": version_of_skmlp(), "estimator": type(self).__name__}
        metadata |= {name: json.dumps(value, allow_nan=False) for name, value in texts.items()}
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


def estimator_classes() -> "dict[str, type[MLPClassifier | MLPRegressor]]":
    """Return the classes that files know, by the names that stand for them."""
    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor

    return {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}


def checked_parts(estimator: Any) -> tuple[Layers, NetworkSpec, npt.NDArray[Any]]:
    """Return layers, network and extras of a fitted estimator, all of which is as fits leave it.

    Raises
    ------
    ValueError
        If anything that is saved is not.
    """
    layers = check_layers(estimator)
    network = fitted_network(estimator, layers.units)
    extras = fitted_extras(estimator, network)
    state = vars(estimator)
    for name, (is_valid, expected) in SAVED.items():
        if name in state and not is_valid(state[name]):
            raise ValueError(
                f"{name} must be {expected}, but is {shown(state[name])}. Restore what was "
                "fitted, or fit again."
            )
    names = state.get("feature_names_in_")
    if names is not None and len(names) != network.n_features:
        raise ValueError(
            f"feature_names_in_ has {len(names)} names, but the network {network.n_features} "
            "features. Restore what was fitted, or fit again."
        )
    is_classifier = type(estimator) is estimator_classes()["MLPClassifier"]
    is_known = all(head.entry.for_classes == is_classifier for head in network.heads)
    if not is_known or (len(network.heads) > 1 and not is_classifier):
        losses = [head.loss.name for head in network.heads]
        raise ValueError(f"{type(estimator).__name__} has no network with the losses {losses}.")
    if is_classifier != ("_label_binarizer" in state):
        raise ValueError(
            f"This {type(estimator).__name__} {'has no' if is_classifier else 'has'} classes_. "
            "Fit it first."
        )
    if is_classifier:
        fitted_temperature(estimator)
        check_decodable(estimator, network)
        for one in all_of(estimator._label_binarizer):
            check_classes(one)
    else:
        fitted_scaling(estimator, network)
    return layers, network, extras


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


def check_classes(binarizer: "LabelBinarizer") -> None:
    """Refuse classes that are in no order, or more than their kind has."""
    kind, labels = binarizer.y_type_, binarizer.classes_
    is_valid = are_known(labels, labels) and not (kind == "binary" and len(labels) > 2)
    if not is_valid or (kind == "multiclass" and len(labels) < 3):
        raise ValueError(f"classes_ of {kind} targets cannot be {labels!r}. Fit again.")


def tensors_of(
    layers: Layers, network: NetworkSpec, extras: npt.NDArray[Any]
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a network, by the names that they have in a file."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for layer, (coef, intercept) in enumerate(zip(layers.coefs, layers.intercepts, strict=True)):
        arrays |= {f"coefs_.{layer}": coef, f"intercepts_.{layer}": intercept}
    return arrays | ({"extras": extras} if layout_of(network).extras else {})


def plain_binarizer(binarizer: Binarizer | None) -> Any:
    """Return what is known of the classes, as plain values."""
    if binarizer is None:
        return None
    plain = [
        {
            "labels": one.classes_,
            "kind": str(one.y_type_),
            "is_sparse": bool(one.sparse_input_),
        }
        for one in all_of(binarizer)
    ]
    return plain if isinstance(binarizer, list) else plain[0]


def binarizer_from(plain: Any) -> Binarizer:
    """Return what `plain_binarizer` was given."""
    from sklearn.preprocessing import LabelBinarizer

    if isinstance(plain, list):
        return [binarizer_from(one) for one in plain]
    binarizer = LabelBinarizer()
    binarizer.y_type_ = plain["kind"]
    binarizer.sparse_input_ = plain["is_sparse"]
    binarizer.classes_ = plain["labels"]
    return binarizer


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
    if not attributes.keys() <= SAVED.keys():
        raise ValueError(f"unknown attributes {sorted(attributes.keys() - SAVED.keys())}")
    model = assembled(
        estimator_classes()[file.metadata["estimator"]],
        said("parameters"),
        *(network, coefs, intercepts, extras),
        None if binarizer is None else binarizer_from(binarizer),
        attributes,
    )
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


def assembled(
    cls: "type[MLPClassifier | MLPRegressor]",
    parameters: dict[str, Any],
    network: NetworkSpec,
    coefs: list[npt.NDArray[Any]],
    intercepts: list[npt.NDArray[Any]],
    extras: npt.NDArray[Any],
    binarizer: Binarizer | None,
    attributes: dict[str, Any],
) -> "MLPClassifier | MLPRegressor":
    """Return a fitted estimator, made of what it consists of.

    Raises
    ------
    ValueError
        If the parts do not fit each other.
    """
    model = cls(**parameters)
    state = model.__dict__
    state |= {"_network": network, "coefs_": coefs, "intercepts_": intercepts, "_extras": extras}
    state |= {"n_features_in_": network.n_features, **attributes_of(network), **attributes}
    if binarizer is not None:
        state["_label_binarizer"] = binarizer
        check_binarizer(model)
        state["classes_"] = classes_of(binarizer)
    checked_parts(model)
    if network.normalizes_batches:
        vector = layout_of(network).pack(coefs, intercepts, coefs[0].dtype, extras)
        model._set_trained(network, vector)
    return model
