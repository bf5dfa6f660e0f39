"""Fitted encoders and estimators of tables as plain values and arrays, and made of these again."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from skmlp._assembling import CLASSIFIER, REGRESSOR, are_names, is_real, own
from skmlp._fitted import is_count, is_ensemble, is_vector, shown
from skmlp._labels import are_known
from skmlp._plain_values import Decoder, Encoder
from skmlp._residuals import are_ascending
from skmlp._saved_networks import fitted_as_plain, fitted_in, parameters_as_plain
from skmlp._table_categories import Category, order
from skmlp._table_encoding import Encoding, fitted_encoding
from skmlp._table_learning import LARGEST_CODE
from skmlp._table_numbers import Numbers
from skmlp._targets import has_probabilities
from skmlp._tensor_file import TensorFile
from skmlp.training.stopping import StopReason

if TYPE_CHECKING:
    from skmlp._table_encoder import TableEncoder
    from skmlp._tabular import TabularMLPClassifier, TabularMLPRegressor

NAMES_OF_TABLES = ENCODER, *OF_TABLES = (
    "TableEncoder",
    "TabularMLPClassifier",
    "TabularMLPRegressor",
)
# What a file says of an encoder; of an estimator there are the last two as well.
TEXTS_OF_TABLES = ("parameters", "attributes", "encoding", "encoder", "ensemble")
ENCODER_PREFIX, ENSEMBLE_PREFIX = "encoder_.", "ensemble_."


def own_of_tables(name: str) -> Any:
    """Return our class of one of `NAMES_OF_TABLES`."""
    # Only now: these import what imports this module.
    from skmlp._table_encoder import TableEncoder
    from skmlp._tabular import TabularMLPClassifier, TabularMLPRegressor

    return {cls.__name__: cls for cls in (TableEncoder, TabularMLPClassifier, TabularMLPRegressor)}[
        name
    ]


# What a fit leaves besides encoding and networks

Kept = dict[str, tuple[Callable[[Any], bool], str]]


def is_temperature(value: Any) -> bool:
    return is_real(value) and 0.0 < value < np.inf


def is_share(value: Any) -> bool:
    return is_real(value) and 0.0 <= value <= 1.0


def is_report(value: Any) -> bool:
    """Whether it has the form of a `validation_report_`."""
    if not (isinstance(value, dict) and value.keys() == {"members", "rounds"}):
        return False
    members, rounds = value["members"], value["rounds"]
    are_members = isinstance(members, list) and all(isinstance(one, dict) for one in members)
    return are_members and isinstance(rounds, dict) and all(map(are_reals, rounds.values()))


def are_reals(value: Any) -> bool:
    return isinstance(value, list) and all(is_real(one) or type(one) is int for one in value)


def is_reason(value: Any) -> bool:
    return isinstance(value, str) and value in {reason.value for reason in StopReason}


def are_texts(value: Any) -> bool:
    """Whether it is a dictionary of text by text."""
    return isinstance(value, dict) and all(
        isinstance(one, str) for pair in value.items() for one in pair
    )


def is_mask(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == bool and value.ndim == 1


def are_labels(value: Any) -> bool:
    """Whether it is a vector of labels in their order."""
    is_array = isinstance(value, np.ndarray) and value.ndim == 1 and len(value) > 0
    return is_array and value.dtype.kind in "biufUO" and are_known(value, value)


KEPT_OF_ENCODERS: Kept = {
    "n_features_in_": (lambda value: is_count(value) and value > 0, "a number of columns"),
    "feature_names_in_": (are_names, "an array of the names of the columns"),
    "dropped_": (are_texts, "the names of columns, each with a reason"),
    "is_categorical_": (is_mask, "a mask of the columns"),
}
KEPT_OF_TABULAR: Kept = {
    "classes_": (are_labels, "labels in their order"),
    "temperature_": (is_temperature, "a positive number"),
    "smoothing_": (is_share, "a share from 0 to 1"),
    "residual_quantiles_": (are_ascending, "finite numbers in ascending order"),
    "validation_report_": (is_report, "what a fit tells of members and rounds"),
    "feature_importances_": (is_vector, "a finite number for each column"),
    "n_iter_": (is_count, "a number of rounds"),
    "stop_reason_": (is_reason, "one of the reasons why a fit ends"),
}
OF_CLASSIFIERS = {"classes_", "temperature_", "smoothing_"}
OF_REGRESSORS = {"residual_quantiles_"}
OPTIONAL = {"feature_names_in_", "feature_importances_"}


def check_kept(estimator: Any, kept: Kept, lacking: set[str]) -> None:
    """Refuse attributes that no fit leaves.

    Raises
    ------
    ValueError
        If one is of another kind, or missing although it is not one of `lacking`.
    """
    state = vars(estimator)
    for name, (is_valid, expected) in kept.items():
        is_there = name in state
        if is_there == (name in lacking) and name not in OPTIONAL:
            raise ValueError(
                f"{name} is {'there' if is_there else 'missing'}, other than a fit of "
                f"{type(estimator).__name__} leaves it. Fit again."
            )
        if is_there and not is_valid(state[name]):
            raise ValueError(
                f"{name} must be {expected}, but is {shown(state[name])}. Restore what was "
                "fitted, or fit again."
            )


# Encodings


def encoding_as_plain(encoding: Encoding) -> dict[str, Any]:
    """Return what an encoding consists of, by the names of its fields."""
    return {
        **vars(encoding),
        "numbers": dict(vars(encoding.numbers)),
        "categories": [dict(vars(category)) for category in encoding.categories],
    }


def encoding_from(plain: Any) -> Encoding:
    """Return what `encoding_as_plain` was given, whose parts may be anything."""
    numbers = Numbers(**plain["numbers"])
    categories = tuple(Category(**one) for one in plain["categories"])
    return Encoding(**{**plain, "numbers": numbers, "categories": categories})


def is_array(value: Any, dtype: npt.DTypeLike, ndim: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == ndim


def is_sound_category(category: Category) -> bool:
    """Whether levels are in their order, and flags as many as belong to them."""
    levels = category.levels
    if not (type(category.column) is int and is_array(levels, object, 1) and len(levels) > 0):
        return False
    listed = levels.tolist()
    if not {type(level) for level in listed} <= {str, bool, int, float}:
        return False
    keys = [order(level) for level in listed]
    if not all(one < other for one, other in pairwise(keys)):
        return False
    n_flags = 1 if len(listed) == 2 else len(listed)
    flags = category.flags
    return flags is None or (is_array(flags, np.float64, 2) and flags.shape == (3, n_flags))


def are_sound_numbers(numbers: Numbers) -> bool:
    """Whether arrays are of the types that a fit leaves, and quantiles ascend."""
    floats = (numbers.mean, numbers.center, numbers.scale)
    return (
        is_array(numbers.columns, np.intp, 1)
        and all(is_array(array, np.float64, 1) for array in floats)
        and type(numbers.is_clipped) is bool
        and type(numbers.quantiles) is tuple
        and all(map(are_sound_quantiles, numbers.quantiles))
    )


def are_sound_quantiles(table: Any) -> bool:
    if not (is_array(table, np.float64, 2) and table.shape[0] == 2 and table.shape[1] > 0):
        return False
    edges, parts = table
    ascend = (edges[:-1] < edges[1:]).all() and (parts[:-1] < parts[1:]).all()
    return bool(ascend) and 0.0 <= parts[0] <= parts[-1] <= 1.0


def check_encoder(encoder: Any) -> Encoding:
    """Return what an encoder has learned, all of which is as a fit leaves it.

    Looks at more than `fitted_encoding`, which each prediction calls.

    Raises
    ------
    ValueError
        If it is not.
    """
    encoder._validate_params()
    check_kept(encoder, KEPT_OF_ENCODERS, set())
    encoding = fitted_encoding(encoder)
    n_features, mask = encoder.n_features_in_, encoder.is_categorical_
    names = vars(encoder).get("feature_names_in_")
    used = encoding.used
    of_categories = [category.column for category in encoding.categories]
    indicators = encoding.indicators
    largest = LARGEST_CODE[encoding.dtype]
    is_sound = (
        are_sound_numbers(encoding.numbers)
        and all(map(is_sound_category, encoding.categories))
        and all(len(category.levels) <= largest for category in encoding.coded)
        and is_array(indicators, np.intp, 1)
        and is_array(encoding.indicator_flags, np.float64, 2)
        and len(np.unique(indicators)) == len(indicators)
        and len({*used}) == len(used) > 0
        and (names is None or len(names) == n_features)
        and len(mask) == n_features
        and bool(mask[of_categories].all() and not mask[encoding.read_as_numbers].any())
    )
    if not is_sound:
        raise ValueError("what the encoder has learned is not what a fit leaves. Fit again.")
    return encoding


def encoder_as_plain(model: Any, encoder: Encoder, prefix: str = "") -> dict[str, Any]:
    """Return what a file says of an encoder, as JSON has it; `encoder` gets the arrays."""
    check_is_fitted(model)
    encoding = encoding_as_plain(check_encoder(model))
    return {
        "parameters": parameters_as_plain(model, encoder, prefix),
        "attributes": kept_as_plain(model, KEPT_OF_ENCODERS, encoder, prefix),
        "encoding": encoder.encode(encoding, f"{prefix}encoding"),
    }


def kept_as_plain(model: Any, kept: Kept, encoder: Encoder, prefix: str = "") -> dict[str, Any]:
    state = vars(model)
    return {name: encoder.encode(state[name], prefix + name) for name in kept if name in state}


def encoder_in(decoder: Decoder, said: Mapping[str, Any]) -> "TableEncoder":
    """Return the encoder of which a file says something.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, RecursionError
        If this is none.
    """
    model = blank(decoder, ENCODER, said, KEPT_OF_ENCODERS)
    model._encoding = encoding_from(decoder.decode(said["encoding"]))
    model.blocks_ = check_encoder(model).blocks
    return model


def blank(decoder: Decoder, name: str, said: Mapping[str, Any], kept: Kept) -> Any:
    """Return an estimator of the parameters and attributes that a file says.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, RecursionError
        If there are none.
    """
    parameters = decoder.decode({"dict": said["parameters"]})
    attributes = decoder.decode({"dict": said["attributes"]})
    if unknown := attributes.keys() - kept.keys():
        raise ValueError(f"unknown attributes {sorted(unknown)}")
    model = own_of_tables(name)(**parameters)
    vars(model).update(attributes)
    return model


# Estimators


def check_tabular(model: Any) -> None:
    """Refuse an estimator in which anything is not as a fit leaves it.

    Raises
    ------
    ValueError
        If a parameter is invalid, or attributes contradict each other.
    """
    model._validate_params()
    lacking = OF_REGRESSORS if is_classifier(model) else OF_CLASSIFIERS
    check_kept(model, KEPT_OF_TABULAR, lacking)
    kind = CLASSIFIER if is_classifier(model) else REGRESSOR
    encoder, ensemble = model.encoder_, model.ensemble_
    if type(encoder) is not own_of_tables(ENCODER) or type(ensemble) is not own(kind):
        raise ValueError(
            f"encoder_ must be a {ENCODER} and ensemble_ a {kind}, but they are {shown(encoder)} "
            f"and {shown(ensemble)}. Restore what was fitted, or fit again."
        )
    blocks = check_encoder(encoder).blocks
    width = blocks.numbers + blocks.flags + len(blocks.levels)
    network = ensemble._network
    fits = is_ensemble(ensemble) and ensemble.n_features_in_ == width
    if fits and is_classifier(model):
        codes = np.arange(len(model.classes_))
        kinds = ("binary", "multiclass")
        binarizer = ensemble._label_binarizer
        fits = has_probabilities(network) and not isinstance(binarizer, list)
        fits = fits and binarizer.y_type_ in kinds and np.array_equal(binarizer.classes_, codes)
    elif fits:
        fits = network.n_outputs == 1
    importances = vars(model).get("feature_importances_")
    n_features = encoder.n_features_in_
    if not fits or (importances is not None and len(importances) != n_features):
        raise ValueError(
            "encoder_, ensemble_ and what else was fitted do not go together. Restore what was "
            "fitted, or fit again."
        )


def table_as_plain(model: Any, encoder: Encoder) -> dict[str, Any]:
    """Return what a file says of a fitted encoder or estimator of tables, as JSON has it.

    Parameters
    ----------
    model : TableEncoder, TabularMLPClassifier or TabularMLPRegressor
    encoder : Encoder
        Gets the arrays.

    Raises
    ------
    CannotBeSaved
        If it has functions of users' own, or objects that are not known here.
    ValueError
        If anything is not as fits leave it.
    """
    if type(model).__name__ == ENCODER:
        return encoder_as_plain(model, encoder)
    check_tabular(model)
    return {
        "parameters": parameters_as_plain(model, encoder),
        "attributes": kept_as_plain(model, KEPT_OF_TABULAR, encoder),
        "encoder": encoder_as_plain(model.encoder_, encoder, ENCODER_PREFIX),
        "ensemble": fitted_as_plain(model.ensemble_, encoder, ENSEMBLE_PREFIX),
    }


def table_in(
    file: TensorFile, decoder: Decoder, name: str, said: Mapping[str, Any]
) -> "TableEncoder | TabularMLPClassifier | TabularMLPRegressor":
    """Return the encoder or estimator of tables of which a file says something.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, RecursionError
        If this is none.
    """
    if name == ENCODER:
        return encoder_in(decoder, said)
    model = blank(decoder, name, said, KEPT_OF_TABULAR)
    model.encoder_ = encoder_in(decoder, said["encoder"])
    kind = CLASSIFIER if is_classifier(model) else REGRESSOR
    model.ensemble_ = fitted_in(file, decoder, kind, said["ensemble"], ENSEMBLE_PREFIX)
    for of in ("n_features_in_", "feature_names_in_"):
        if of in vars(model.encoder_):
            setattr(model, of, getattr(model.encoder_, of))
    check_tabular(model)
    return model
