"""Fitted estimators: taken apart into what predictions need, and made of such parts.

Whether the parts come from a file, from PyTorch or from a user's hands, an estimator made of them
is as a fit leaves it, or is refused.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmlp._fitted import (
    is_count,
    is_vector,
    of_type,
    optional,
    refuse_ensemble,
    shown,
    trained_network,
)
from skmlp._labels import Binarizer, all_of, are_known, check_binarizer, classes_of
from skmlp._members import members_of, networks_of
from skmlp._networks import attributes_of
from skmlp._target_scale import fitted_scaling
from skmlp._targets import check_decodable
from skmlp._temperature import fitted_temperature
from skmlp._validation import DEVICES
from skmlp.network.folding import is_foldable
from skmlp.network.parameters import layout_of
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec
from skmlp.training.history import are_columns

if TYPE_CHECKING:
    from sklearn.preprocessing import LabelBinarizer

    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor

NAMES = CLASSIFIER, REGRESSOR = "MLPClassifier", "MLPRegressor"


def own(name: str) -> Any:
    """Return our class of one of `NAMES`."""
    # Only now: the estimators import what imports this module.
    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor

    return {CLASSIFIER: MLPClassifier, REGRESSOR: MLPRegressor}[name]


def name_of(cls: type) -> str:
    """Return which of the two estimators a class is, or is a subclass of."""
    return next(name for name in NAMES if issubclass(cls, own(name)))


# What estimators have learned


def is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)


def are_reals(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_real, value))


def are_names(value: Any) -> bool:
    is_vector = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == object
    return is_vector and all(isinstance(name, str) for name in value)


def is_floats(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def are_floats(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_floats, value))


def is_device(value: Any) -> bool:
    return isinstance(value, str) and value in DEVICES


# What a fit leaves besides the network, its layers and the classes, and what predictions and
# records need of it.
KEPT: dict[str, tuple[Callable[[Any], bool], str]] = {
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
    "y_mean_": (is_vector, "a finite number for each target"),
    "y_scale_": (is_vector, "a finite number for each target"),
    "oob_score_": (is_real, "a number"),
    "oob_prediction_": (is_floats, "an array of numbers"),
    "oob_decision_function_": (
        lambda value: is_floats(value) or are_floats(value),
        "an array of numbers, or a list of such arrays",
    ),
}


def checked_network(estimator: Any) -> Trained:
    """Return the network of an estimator, all of which is as fits leave it.

    Raises
    ------
    NotFittedError
        If it has not been fitted.
    ValueError
        If parameters, or anything of `KEPT`, or the classes are anything else.
    """
    refuse_ensemble(estimator)
    check_is_fitted(estimator, "coefs_")
    estimator._validate_params()
    trained = trained_network(estimator)
    check_kept(estimator, trained.network)
    return trained


def check_ensemble(estimator: Any) -> None:
    """Refuse an ensemble in which anything is not as fits leave it.

    Raises
    ------
    ValueError
        If parameters, or anything of `KEPT`, or the classes, or a member are anything else.
    """
    estimator._validate_params()
    check_kept(estimator, networks_of(estimator)[0][1].network)
    for member in members_of(estimator):
        checked_network(member)


def check_kept(estimator: Any, network: NetworkSpec) -> None:
    """Refuse what no fit of a network leaves besides its layers.

    Raises
    ------
    ValueError
        If anything of `KEPT`, or the classes, are so.
    """
    state = vars(estimator)
    for name, (is_valid, expected) in KEPT.items():
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
    is_classifier = name_of(type(estimator)) == CLASSIFIER
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


def check_classes(binarizer: "LabelBinarizer") -> None:
    """Refuse classes that are in no order, or more than their kind has."""
    kind, labels = binarizer.y_type_, binarizer.classes_
    is_valid = are_known(labels, labels) and not (kind == "binary" and len(labels) > 2)
    if not is_valid or (kind == "multiclass" and len(labels) < 3):
        raise ValueError(f"classes_ of {kind} targets cannot be {labels!r}. Fit again.")


# Parts


def attributes_with(trained: Trained) -> dict[str, Any]:
    """Return the fitted attributes that hold a network and tell its shape."""
    network, coefs, intercepts, extras = trained
    return {
        "coefs_": coefs,
        "intercepts_": intercepts,
        "n_features_in_": network.n_features,
        **attributes_of(network),
        "_network": network,
        "_extras": extras,
    }


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


def assembled(
    name: str,
    parameters: dict[str, Any],
    trained: Trained,
    binarizer: Binarizer | None,
    attributes: dict[str, Any],
) -> "MLPClassifier | MLPRegressor":
    """Return a fitted estimator, made of what it consists of.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    parameters : dict
        Those of its constructor that have other values than their defaults.
    trained : Trained
    binarizer : LabelBinarizer, list of them or None
        What knows the classes; None for a regressor.
    attributes : dict
        Whatever of `KEPT` there is.

    Raises
    ------
    ValueError
        If the parts do not fit each other.
    """
    model = own(name)(**parameters)
    vars(model).update(attributes_with(trained) | attributes)
    if binarizer is not None:
        model._label_binarizer = binarizer
        check_binarizer(model)
        model.classes_ = classes_of(binarizer)
    network, coefs, intercepts, extras = checked_network(model)
    if is_foldable(network):
        vector = layout_of(network).pack(coefs, intercepts, coefs[0].dtype, extras)
        model._set_trained(network, vector)
    return model


def assembled_ensemble(
    name: str, parameters: dict[str, Any], members: list[Any], attributes: dict[str, Any]
) -> "MLPClassifier | MLPRegressor":
    """Return an ensemble, made of its members.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    parameters : dict
        Those of its constructor.
    members : list of MLPClassifier or MLPRegressor
        As `assembled` returns them.
    attributes : dict
        Whatever of `KEPT` there is.

    Raises
    ------
    ValueError
        If the parts do not fit each other.
    """
    model = own(name)(**parameters)
    first = vars(members[0])
    shared = ("n_features_in_", "n_outputs_", "n_layers_", "out_activation_", "_network")
    known = (*shared, "_label_binarizer", "classes_")
    vars(model).update({of: first[of] for of in known if of in first} | attributes)
    model.estimators_ = members
    check_ensemble(model)
    return model
