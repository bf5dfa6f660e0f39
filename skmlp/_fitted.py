"""What a fitted estimator holds, which users and pickles may replace: checked before it is used.

Every error names the attribute, what it holds and the remedy.
"""

import math
import reprlib
from collections.abc import Callable, Sequence
from itertools import product
from numbers import Integral, Real
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from skmlp._networks import describe_network
from skmlp._validation import DEVICES, PRECISIONS
from skmlp.engines.base import Averages, OptimizerState
from skmlp.losses import assumed_head
from skmlp.network.folding import folded_vector
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.parameters import ParameterLayout, layout_of
from skmlp.network.parts import Trained, named_extras
from skmlp.network.specs import NetworkSpec
from skmlp.training.history import are_columns
from skmlp.training.ordering import KeyedRowOrder, RowOrder
from skmlp.training.schedules import Schedule
from skmlp.training.state import TrainerState

# What predictions read besides the network and its layers, and what it may be.
READ_BY_PREDICTIONS: dict[str, set[str | None]] = {
    "device": {*DEVICES},
    "precision": {*PRECISIONS, None},
}
# Looked up first: to ask for one after the other takes a while beside a prediction of one row.
KNOWN_BY_PREDICTIONS = frozenset(product(*READ_BY_PREDICTIONS.values()))
read_by_predictions = attrgetter(*READ_BY_PREDICTIONS)
# Counts above this are nobody's, and would not fit into the integers of compiled code.
MAX_COUNT = 2**53
NO_EXTRAS = np.empty(0)


class Layers(NamedTuple):
    """The layers of a fitted network.

    Attributes
    ----------
    coefs : list of ndarray of shape (fan_in, fan_out)
    intercepts : list of ndarray of shape (fan_out,)
    units : tuple of int
        Units of every layer, input and output included.
    """

    coefs: list[npt.NDArray[Any]]
    intercepts: list[npt.NDArray[Any]]
    units: tuple[int, ...]


def shown(value: Any) -> str:
    """Describe any value in a few words."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def is_ensemble(estimator: Any) -> bool:
    """Whether several networks were fitted, whatever `n_estimators` is by now."""
    return "estimators_" in vars(estimator)


def refuse_ensemble(estimator: Any, what: str = "That") -> None:
    """Refuse to do with several networks what can be done with one.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    what : str
        What is asked for, as the subject of a sentence.

    Raises
    ------
    ValueError
        If it is an ensemble.
    """
    if is_ensemble(estimator):
        raise ValueError(
            f"{what} is for one network, but this {type(estimator).__name__} is an ensemble of "
            "several. Ask one of them: its members are in estimators_, as estimators_[0]."
        )


def trained_network(estimator: Any) -> Trained:
    """Return the network of an estimator, with its parameters as they now are.

    Raises
    ------
    NotFittedError
        If it has not been fitted.
    ValueError
        If users have replaced attributes by what is no network, or there are several networks.
    """
    if not hasattr(estimator, "coefs_"):  # what it looks at takes longer than all that follows
        refuse_ensemble(estimator)
        check_is_fitted(estimator)
    coefs, intercepts, units = check_layers(estimator)
    network = fitted_network(estimator, units)
    return Trained(network, coefs, intercepts, fitted_extras(estimator, network))


def as_trained(estimator: Any) -> Trained:
    """Return the network of an estimator as it was trained: batch normalization not yet folded.

    It is that only as long as nobody has assigned other weights; then it is the present one.
    """
    present = trained_network(estimator)
    kept = vars(estimator).get("_trained")
    if not is_trained(kept):
        return present
    network, parameters = kept
    plain, packed = folded_vector(network, parameters)
    if plain != present.network:
        return present
    own = layout_of(plain).pack(present.coefs, present.intercepts, packed.dtype, present.extras)
    if present.coefs[0].dtype != packed.dtype or not np.array_equal(own, packed):
        return present
    layout = layout_of(network)
    return Trained(network, *layout.views(parameters), layout.extras_of(parameters))


def check_layers(estimator: Any) -> Layers:
    """Return the layers of a fitted network, whose arrays users may replace.

    Raises
    ------
    ValueError
        If they are no arrays of numbers whose shapes fit together.
    """
    coefs = check_arrays(estimator, "coefs_", 2)
    intercepts = check_arrays(estimator, "intercepts_", 1)
    if len(coefs) != len(intercepts):
        raise ValueError(
            f"coefs_ holds {len(coefs)} arrays and intercepts_ {len(intercepts)}; each layer "
            "needs one of both."
        )
    units = [coefs[0].shape[0]]
    pieces = pieces_of_layers(estimator, len(coefs))
    for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        units.append(intercept.size // pieces[layer])
        if coef.shape != (units[layer], intercept.size):
            raise ValueError(
                f"coefs_[{layer}] has shape {coef.shape}, but the layers around it need "
                f"{(units[layer], intercept.size)}, where intercepts_[{layer}] has shape "
                f"{intercept.shape}. Assign arrays whose shapes fit together."
            )
    if 0 in units:
        raise ValueError(
            f"coefs_ and intercepts_ have layers of {tuple(units)} units. Leave a layer out "
            "instead of giving it none."
        )
    return Layers(coefs, intercepts, tuple(units))


def pieces_of_layers(estimator: Any, n_connections: int) -> Sequence[int]:
    """Return how many columns of each layer's coefficients belong to one unit."""
    network = vars(estimator).get("_network")
    if type(network) is NetworkSpec and network.n_connections == n_connections:
        return network.pieces
    return (1,) * n_connections


def check_arrays(estimator: Any, name: str, ndim: int) -> list[npt.NDArray[Any]]:
    """Return the arrays of every layer, of numbers and in `ndim` dimensions."""
    given = getattr(estimator, name)
    if isinstance(given, np.ndarray) and given.ndim:
        given = list(given)
    if not isinstance(given, (list, tuple)) or not given:
        raise ValueError(
            f"{name} must be a list of arrays, one per layer, but is {shown(given)}. Assign such "
            "a list, or fit again."
        )
    return [
        array if is_plain(array, ndim) else check_array(f"{name}[{layer}]", array, ndim)
        for layer, array in enumerate(given)
    ]


def is_plain(array: Any, ndim: int) -> bool:
    """Whether an array is like those that a fit leaves. Telling takes less than to check it."""
    return (
        type(array) is np.ndarray
        and array.ndim == ndim
        and array.dtype.char in "fd"
        and array.flags.aligned
    )


def check_array(name: str, given: Any, ndim: int) -> npt.NDArray[Any]:
    try:
        array = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be an array of numbers in {ndim} dimensions, but is {shown(given)}: "
            f"{error}. Assign such an array."
        ) from error
    if array.ndim != ndim or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must be an array of real numbers in {ndim} dimensions, but is "
            f"{shown(array)}. Convert or reshape it, or fit again."
        )
    # Kernels read whole elements.
    return array if array.flags.aligned else array.copy()


def check_prediction(estimator: Any) -> None:
    """Refuse parameters and attributes that no prediction can be computed with.

    Raises
    ------
    ValueError
        If one that predictions read is none of its possible values.
    """
    n_jobs = estimator.n_jobs
    if n_jobs is not None and (not isinstance(n_jobs, Integral) or n_jobs == 0):
        raise ValueError(
            f"n_jobs must be None or a whole number other than zero, but is {shown(n_jobs)}. "
            "Predictions read it: use None, a positive number, or -1 for all cores."
        )
    values = read_by_predictions(estimator)
    try:
        if values in KNOWN_BY_PREDICTIONS:
            return
    except TypeError:  # of what cannot be hashed
        pass
    for (name, allowed), value in zip(READ_BY_PREDICTIONS.items(), values, strict=True):
        if not (value is None or isinstance(value, str)) or value not in allowed:
            options = ", ".join(sorted(repr(option) for option in allowed))
            raise ValueError(
                f"{name} must be one of {options}, but is {shown(value)}. Predictions depend on "
                "it: set it to what it was in fit."
            )


def fitted_network(estimator: Any, units: tuple[int, ...]) -> NetworkSpec:
    """Return the network that was fitted, with the units that its arrays now have.

    Users may assign arrays of other shapes. Where they assign them to an estimator that has seen
    no data, the network is the one that its parameters describe.

    Raises
    ------
    ValueError
        If there is no such network.
    """
    network = vars(estimator).get("_network")
    if network is None:
        if estimator.embedding is not None:
            raise ValueError(
                f"coefs_ and intercepts_ tell nothing of embedding={estimator.embedding!r}, which "
                "is learned, too. Fit first, or use embedding=None."
            )
        link: Any = getattr(estimator, "out_activation_", None)
        head = assumed_head(estimator.loss, units[-1], link)
        return describe_network(estimator, units[0], units[1:-1], (head,), drops=False)
    if type(network) is not NetworkSpec:
        raise ValueError(f"_network must be that of the fit, but is {shown(network)}. Fit again.")
    if network.layer_units == units:
        return network
    try:
        return network.with_units(units)
    except ValueError as error:
        raise ValueError(
            f"coefs_ and intercepts_ have layers of {units} units, but those of the fit are "
            f"{network.layer_units}, and {error}. Assign arrays of these shapes, or fit again."
        ) from error


def fitted_extras(estimator: Any, network: NetworkSpec) -> npt.NDArray[Any]:
    """Return what a fitted network has learned besides coefficients and intercepts.

    Raises
    ------
    ValueError
        If that is not a vector of as many numbers as the network has.
    """
    extras = vars(estimator).get("_extras")
    layout = layout_of(network)
    if not layout.extras and type(extras) is np.ndarray and extras.size == 0:
        return NO_EXTRAS
    if extras is None:
        return layout.initial_extras()
    size = layout.size - layout.intercept_offsets[-1]
    # A pickle may be mapped into memory: then the array is of another class, or not aligned.
    is_vector = isinstance(extras, np.ndarray) and extras.ndim == 1 and extras.dtype.char in "fd"
    if not (is_vector and extras.size == size):
        raise ValueError(
            f"_extras must be a vector of {size} numbers, but is {shown(extras)}. It belongs to "
            "coefs_ and intercepts_ as they were fitted: restore these, or fit again."
        )
    check_variances(extras, layout)
    return extras if extras.flags.aligned else extras.copy()


def check_variances(extras: npt.NDArray[Any], layout: ParameterLayout) -> None:
    """Refuse running variances that predictions cannot take the root of."""
    begin = layout.intercept_offsets[-1]
    for extra, start in zip(layout.extras, layout.extra_offsets, strict=False):
        values = extras[start - begin : start - begin + extra.size]
        if extra.name == "variance" and (values < 0).any():
            raise ValueError(
                f"_extras holds variances of layer {extra.layer}, but some are negative: "
                f"{shown(values)}. Restore what was fitted, or fit again."
            )


def check_outputs(trained: Trained, outputs: npt.NDArray[Any]) -> None:
    """Refuse to predict with weights that are no numbers, rather than the first class for all.

    Looks for them only where outputs are none, which costs less.

    Parameters
    ----------
    trained : Trained
    outputs : ndarray of shape (n_outputs,)
        Of one sample, or the smallest of several.

    Raises
    ------
    ValueError
        If outputs and weights hold NaN.
    """
    if not any(map(math.isnan, outputs.tolist())):
        return
    if np.isnan(trained.extras).any():
        raise ValueError(
            "_extras holds NaN, so the network has no outputs. Restore what was fitted, or fit "
            "again."
        )
    for name, arrays in (("coefs_", trained.coefs), ("intercepts_", trained.intercepts)):
        for layer, array in enumerate(arrays):
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise ValueError(
                    f"{name}[{layer}] holds NaN, so the network has no outputs. Set it to finite "
                    "numbers, or fit again."
                )


def check_finite(name: str, arrays: list[npt.NDArray[Any]]) -> None:
    """Refuse to train on from parameters that are not finite.

    Raises
    ------
    ValueError
        If any entry is NaN or infinite.
    """
    for layer, array in enumerate(arrays):
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name}[{layer}] holds NaN or infinity, or what is too large for {array.dtype}. "
                "Set it to finite numbers, or fit a clone of the estimator."
            )


# Resuming


def is_count(value: Any) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) < MAX_COUNT


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not math.isnan(value)


def is_finite_number(value: Any) -> bool:
    return is_number(value) and -math.inf < value < math.inf


def is_vector(value: Any) -> bool:
    """Whether it is a vector of finite numbers; its length is left to those who know it."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype.kind == "f"
        and value.ndim == 1
        and bool(np.isfinite(value).all())
    )


def is_averages(value: Any) -> bool:
    """Whether it is the averages of some parameters."""
    if not isinstance(value, Averages):
        return False
    try:
        values, weight = value.values, value.weight
    except AttributeError:
        return False
    return is_vector(values) and is_finite_number(weight) and weight >= 0


def is_optimizer_state(value: Any) -> bool:
    """Whether it is the state of a known optimizer; its length is left to those who know it."""
    if not isinstance(value, OptimizerState):
        return False
    try:
        name, vectors, step, rate = value.name, value.vectors, value.step, value.learning_rate
        numbers, averages = value.numbers, value.averages
    except AttributeError:
        return False
    return (
        isinstance(name, str)
        and name in OPTIMIZERS
        and isinstance(vectors, np.ndarray)
        and vectors.dtype.kind == "f"
        and vectors.ndim == 2
        and len(vectors) == len(OPTIMIZERS[name].state_names)
        and isinstance(numbers, tuple)
        and len(numbers) == len(OPTIMIZERS[name].numbers)
        and all(map(is_finite_number, numbers))
        and (averages is None or is_averages(averages))
        and bool(np.isfinite(vectors).all())
        and is_count(step)
        and is_number(rate)
        and 0 <= rate < math.inf
    )


def is_schedule(value: Any) -> bool:
    """Whether it is a schedule, whose fields can be compared with those of another."""
    return (
        isinstance(value, Schedule)
        and isinstance(value.name, str)
        and is_number(value.learning_rate_init)
        and is_number(value.power_t)
        and isinstance(value.constants, tuple)
        and all(map(is_number, value.constants))
        and (value.function is None or callable(value.function))
    )


def optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def of_type(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


def is_trained(value: Any) -> bool:
    """Whether it is a network with its parameters."""
    if not (isinstance(value, tuple) and len(value) == 2 and type(value[0]) is NetworkSpec):
        return False
    network, parameters = value
    layout = layout_of(network)
    if not (is_vector(parameters) and parameters.size == layout.size):
        return False
    pieces = named_extras(network, layout.extras_of(parameters))
    return all((piece >= 0).all() for (_, name), piece in pieces.items() if name == "variance")


def is_anything(value: Any) -> bool:
    """Whether it is anything: what only is compared may be."""
    return True


# What a resumed fit reads besides the layers, wherever the estimator has it.
READ_BY_RESUMING: dict[str, tuple[Callable[[Any], bool], str]] = {
    "t_": (is_count, "the number of samples seen"),
    "loss_curve_": (optional(of_type(list)), "a list of numbers"),
    "validation_scores_": (optional(of_type(list)), "a list of numbers, or None"),
    "validation_loss_curve_": (optional(of_type(list)), "a list of numbers, or None"),
    "best_loss_": (optional(is_number), "a number, or None"),
    "_history": (are_columns, "the columns of the history"),
    "_trained": (is_trained, "a network with its parameters"),
    "_state": (of_type(TrainerState), "where the last fit has ended"),
}
# And within `_state`.
FIELDS_OF_STATE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "random_state": (of_type(np.random.RandomState), "a RandomState"),
    "seed": (is_anything, "what random_state was"),
    "optimizer": (optional(is_optimizer_state), "a state of finite numbers, or None"),
    "schedule": (optional(is_schedule), "the schedule of the last fit, or None"),
    "stalled": (is_count, "a number of epochs"),
    "row_order": (
        optional(of_type(RowOrder, KeyedRowOrder)),
        "where the drawing of row orders stands, or None",
    ),
    "mask_seed": (optional(is_count), "a number, or None"),
    "connection_seed": (optional(is_count), "a number, or None"),
    "raw": (optional(is_vector), "a vector of finite numbers, or None"),
    "fit": (lambda value: value is None, "None"),
}


def check_resumable(estimator: Any) -> None:
    """Refuse to resume from attributes that are not what a fit leaves.

    Raises
    ------
    ValueError
        If one is not.
    """
    attributes = vars(estimator)
    check_each(READ_BY_RESUMING, "", attributes)
    if "_state" in attributes:
        check_state(attributes["_state"])


def check_state(state: TrainerState) -> None:
    """Refuse to resume from a state that no fit leaves.

    Raises
    ------
    ValueError
        If one of its fields is not what it should be.
    """
    check_each(FIELDS_OF_STATE, "_state.", vars(state))


def check_each(
    table: dict[str, tuple[Callable[[Any], bool], str]], prefix: str, given: dict[str, Any]
) -> None:
    for name, (is_valid, expected) in table.items():
        if name in given and not is_valid(given[name]):
            raise ValueError(
                f"Cannot resume: {prefix}{name} must be {expected}, but is {shown(given[name])}. "
                "Use warm_start=False, or a clone of the estimator."
            )
