"""From scikit-learn's own networks to ours, and back."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from skmlp._assembling import CLASSIFIER, NAMES, attributes_with, name_of, own
from skmlp._choices import same
from skmlp._fitted import Layers, check_layers, is_ensemble, shown, trained_network
from skmlp._labels import check_one_binarizer
from skmlp._members import members_of
from skmlp._networks import attributes_of
from skmlp._parameters import parameters_of
from skmlp._patching import original
from skmlp._sklearn_compat import (
    OF_NETWORKS,
    REQUESTS,
    VERSION,
    copy_metadata_requests,
    takes,
    to_go_on_with,
)
from skmlp._target_scale import fitted_scaling
from skmlp._targets import check_decodable, link_of, n_outputs
from skmlp._temperature import fitted_temperature
from skmlp.activations import written
from skmlp.network.folding import folded, without_batches
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec, plain_network
from skmlp.network.storage import as_plain

# What scikit-learn's networks can compute: the same activation in all hidden layers, and of the
# output layer these, with the loss that they are trained with.
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
CLASSIFIER_LINKS = {"logistic": "log_loss", "softmax": "log_loss"}
REGRESSOR_LINKS = {"identity": "squared_error", "exp": "poisson"}
# Fitted attributes that mean the same in both.
SHARED = ("n_iter_", "loss_", "classes_", "_label_binarizer", "feature_names_in_")
LAYERS = ("coefs_", "intercepts_")
STOCHASTIC = ("adam", "sgd")


class ToSklearn:
    """Gives an estimator the way to scikit-learn."""

    def to_sklearn(self) -> Any:
        """Return scikit-learn's estimator with the same network, for where skmlp is not installed.

        It predicts the same, up to rounding errors. Batch normalization, the scale of y and the
        temperature become part of the weights. Parameters that both have are the same where
        scikit-learn takes their value, and its defaults elsewhere: dropout and what else only
        training knows is gone. `activation` is that of the fitted network, which scikit-learn reads
        when it predicts. Records (`loss_curve_`, `n_iter_` and the like) are copied as they are,
        and so are requests of metadata; optimizers begin anew.

        Returns
        -------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
            Fitted, and independent of this one. While `patch_sklearn` is in effect it cannot be
            pickled.

        Raises
        ------
        ValueError
            If scikit-learn has no such network; it names everything that scikit-learn lacks.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        See Also
        --------
        skmlp.from_sklearn : The other direction.
        """
        return made_for_sklearn(self)


def from_sklearn(fitted: Any) -> Any:
    """Take over a network that scikit-learn has fitted.

    Parameters
    ----------
    fitted : sklearn.neural_network.MLPClassifier or MLPRegressor
        It stays as it is, and nothing is shared with it.

    Returns
    -------
    estimator : MLPClassifier or MLPRegressor
        With the same parameters, weights and records, and so the same predictions. Fits that go on
        from it (`partial_fit`, `warm_start`) begin with a new optimizer.

    Raises
    ------
    TypeError
        If it is anything else: a subclass too, because its code would be lost.
    ValueError
        If its attributes are not what a fit leaves.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    See Also
    --------
    MLPClassifier.to_sklearn : The other direction.
    patch_sklearn : Pickles of scikit-learn's networks are then loaded like this.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> import skmlp
    >>> X, y = load_iris(return_X_y=True)
    >>> theirs = MLPClassifier(solver='lbfgs', tol=1e-2, random_state=0).fit(X, y)
    >>> ours = skmlp.from_sklearn(theirs)
    >>> bool(abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-9)
    True
    >>> type(ours.to_sklearn()) is MLPClassifier
    True
    """
    name = next((name for name in NAMES if type(fitted) is original(name)), None)
    if name is None:
        raise TypeError(
            "from_sklearn takes a fitted MLPClassifier or MLPRegressor of scikit-learn's, but got "
            f"{type(fitted).__module__}.{type(fitted).__qualname__}. Of a pipeline pass the step "
            "that is one; what a subclass does by itself cannot be taken over."
        )
    check_is_fitted(fitted, LAYERS)
    left_out = {*OF_NETWORKS, REQUESTS}
    state = {key: value for key, value in vars(fitted).items() if key not in left_out}
    model = object.__new__(own(name))
    model.__setstate__({**deepcopy(state), VERSION: ""})
    copy_metadata_requests(fitted, model)
    return model


def own_state(owner: type, state: dict[str, Any]) -> dict[str, Any]:
    """Return a pickled state of an estimator; of scikit-learn's what it is as one of ours.

    A pickle that names scikit-learn's class is loaded as ours while that is in its place. So is one
    of a user's subclass, for which scikit-learn notes no version.

    Raises
    ------
    ValueError
        If scikit-learn's is not what a fit leaves.
    """
    is_ours = "_network" in state or "device" in state or "solver" not in state
    if VERSION not in state and is_ours:
        return state
    name = name_of(owner)
    kept = {parameter.name: parameter.default for parameter in parameters_of(name).values()}
    kept |= {key: value for key, value in state.items() if key not in OF_NETWORKS}
    if same(kept["loss"], "squared_loss"):  # as it was called before scikit-learn 1.0
        kept["loss"] = "squared_error"
    is_fitted = all(attribute in kept for attribute in LAYERS)
    return {**kept, **taken_over(name, kept)} if is_fitted else kept


def taken_over(name: str, state: dict[str, Any]) -> dict[str, Any]:
    """Return the fitted attributes of ours for those of a network of scikit-learn's."""
    holder = SimpleNamespace()
    vars(holder).update(state)
    layers = check_layers(holder)
    network = network_of(name, state, layers)
    return {
        **attributes_with(Trained(network, layers.coefs, layers.intercepts, np.empty(0))),
        "t_": state.get("t_", 0),
        "device_": "cpu",
        "device_reason_": "It was fitted by scikit-learn.",
        **({"temperature_": 1.0} if name == CLASSIFIER else {}),
        **records_of(state),
        "_network": as_plain(network),
    }


def network_of(name: str, state: dict[str, Any], layers: Layers) -> NetworkSpec:
    """Return the network that scikit-learn predicts with.

    Raises
    ------
    ValueError
        If an attribute that it reads is none that a fit leaves.
    """
    if name == CLASSIFIER:
        binarizer: Any = state.get("_label_binarizer")
        check_one_binarizer(binarizer)
        losses = {link_of(binarizer): CLASSIFIER_LINKS[link_of(binarizer)]}
        expected = n_outputs(binarizer)
        check(name, "coefs_", layers.units[-1], [expected], f"layers that end in {expected} units")
    else:
        losses = REGRESSOR_LINKS
    link, activation = state.get("out_activation_"), state.get("activation")
    check(name, "out_activation_", link, [*losses], f"one of {[*losses]}")
    check(name, "activation", activation, [*ACTIVATIONS], f"one of {[*ACTIVATIONS]}")
    return plain_network(layers.units, str(activation), losses[str(link)], str(link))


def check(name: str, attribute: str, value: Any, allowed: list[Any], expected: str) -> None:
    if not any(same(value, option) for option in allowed):
        raise ValueError(
            f"This {name} of scikit-learn's cannot be taken over: {attribute} must be {expected}, "
            f"but is {shown(value)}. Restore what was fitted, or fit again."
        )


def records_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return what scikit-learn has recorded, as plain numbers; of L-BFGS it has no losses."""
    losses, scores = numbers_in(state, "loss_curve_"), numbers_in(state, "validation_scores_")
    if losses is None:
        return {"_history": {}}
    records: dict[str, Any] = {
        "loss_curve_": losses,
        "validation_loss_curve_": None,
        "_history": {},
    }
    if scores is not None:
        records["validation_scores_"] = scores
        records["_history"] = {"validation_score": np.array(scores, dtype=np.float64)}
    return records


def numbers_in(state: dict[str, Any], name: str) -> list[float] | None:
    """Return a copy of a record of numbers, None where there is none.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    value = state.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, list):
            return [float(number) for number in value]
    except (OverflowError, TypeError, ValueError):
        pass
    raise ValueError(
        f"{name} must be a list of numbers, or None, but is {shown(value)}. Restore what was "
        "fitted, or fit again."
    )


def made_for_sklearn(estimator: Any) -> Any:
    """Return what `to_sklearn` does."""
    name = name_of(type(estimator))
    if is_ensemble(estimator):
        raise ValueError(
            f"to_sklearn: scikit-learn's {name} is one network, but this estimator is an ensemble "
            f"of {len(members_of(estimator))}. Use to_sklearn of one in estimators_, or put "
            "several of these into scikit-learn's Voting estimators."
        )
    check_is_fitted(estimator, LAYERS)
    trained = trained_network(estimator)
    network = trained.network
    if lacking := what_sklearn_lacks(name, estimator, network):
        raise ValueError(
            f"to_sklearn: scikit-learn's {name} cannot express {'; '.join(lacking)}. Fit without "
            f"{'that' if len(lacking) == 1 else 'these'}, or pickle this estimator itself."
        )
    if name == CLASSIFIER:
        check_is_fitted(estimator, "_label_binarizer")
        check_decodable(estimator, network)
    coefs, intercepts = folded_layers(estimator, trained)
    theirs = original(name)
    # A later scikit-learn may have parameters that are not known here.
    shared = theirs().get_params(deep=False).keys() & estimator.get_params(deep=False).keys()
    values = {key: getattr(estimator, key) for key in shared}
    parameters = {key: value for key, value in values.items() if takes(theirs, key, value)}
    if network.layers:
        parameters["activation"] = network.layers[0].activation.name
    made = theirs(**deepcopy(parameters))
    state = vars(estimator)
    vars(made).update(deepcopy({key: state[key] for key in SHARED if key in state}))
    made.coefs_, made.intercepts_ = coefs, intercepts
    vars(made).update({"n_features_in_": network.n_features, **attributes_of(network)})
    made.t_ = state.get("t_", 0)
    if made.solver in STOCHASTIC:
        vars(made).update(records_to_go_on_with(made, state) | to_go_on_with(made))
    copy_metadata_requests(estimator, made)
    return made


def what_sklearn_lacks(name: str, estimator: Any, network: NetworkSpec) -> list[str]:
    """Return what of a fitted network scikit-learn cannot express, in words."""
    lacking = []
    if type(estimator) is not own(name):
        lacking.append(f"{type(estimator).__name__}, a subclass with code of its own")
    if network.inputs.embedding:
        lacking.append("embedding")
    used = list(dict.fromkeys(layer.activation for layer in network.layers))
    others = [activation for activation in used if activation.name not in ACTIVATIONS]
    lacking += [f"activation={written(activation)}" for activation in others]
    if len(used) > 1:
        texts = ", ".join(map(written, used))
        lacking.append(f"an activation for each hidden layer ({texts})")
    if any(layer.normalization for layer in without_batches(network).layers):
        lacking.append("normalization='layer'")
    if len(network.heads) > 1:
        lacking.append(f"{len(network.heads)} targets of classes")
    links = CLASSIFIER_LINKS if name == CLASSIFIER else REGRESSOR_LINKS
    for link, loss in dict.fromkeys((head.link, head.loss.name) for head in network.heads):
        if link not in links:
            lacking.append(f"loss={loss!r} with its outputs ({link})")
    if len(network.heads) == 1 and network.head.link == "exp" and is_scaled(estimator, network):
        lacking.append("y_scale beside outputs that are exponentials")
    return lacking


def is_scaled(estimator: Any, network: NetworkSpec) -> bool:
    return fitted_scaling(estimator, network) is not None


def folded_layers(
    estimator: Any, trained: Trained
) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
    """Return copies of the layers with all in them that is done to their products and outputs.

    Raises
    ------
    ValueError
        If they are more than their precision holds.
    """
    dtype = np.dtype("float32" if trained.coefs[0].dtype == np.float32 else "float64")
    given = list(trained.coefs), list(trained.intercepts)
    _, *layers, _ = folded(*trained)
    coefs, intercepts = map(list, layers)
    scaling = fitted_scaling(estimator, trained.network)
    temperature = fitted_temperature(estimator)
    with np.errstate(over="ignore"):
        if scaling is not None:
            coefs[-1] = coefs[-1] * scaling.scale
            intercepts[-1] = intercepts[-1] * scaling.scale + scaling.mean
        if temperature != 1.0:
            coefs[-1] = coefs[-1].astype(np.float64) / temperature
            intercepts[-1] = intercepts[-1].astype(np.float64) / temperature
        coefs = [np.array(array, dtype, order="C") for array in coefs]
        intercepts = [np.array(array, dtype) for array in intercepts]
    changed = coefs, intercepts
    if are_finite(*given) and not are_finite(*changed):
        raise ValueError(
            f"to_sklearn: with y_scale, temperature and normalization in them the weights are more "
            f"than {dtype} holds. Fit with dtype='float64', or pickle this estimator itself."
        )
    return changed


def are_finite(*groups: list[npt.NDArray[Any]]) -> bool:
    return all(np.isfinite(array).all() for arrays in groups for array in arrays)


def records_to_go_on_with(made: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Return the records that scikit-learn's stochastic solvers add to where they go on."""
    watches = made.early_stopping
    best_score, best_loss = state.get("best_validation_score_"), state.get("best_loss_")
    return {
        "loss_curve_": numbers_in(state, "loss_curve_") or [],
        "validation_scores_": (numbers_in(state, "validation_scores_") or []) if watches else None,
        "best_validation_score_": or_else(best_score, -np.inf) if watches else None,
        "best_loss_": None if watches else or_else(best_loss, np.inf),
    }


def or_else(record: Any, before: float) -> Any:
    """Return a record; where there is none, what scikit-learn has before any epoch."""
    return before if record is None else record
