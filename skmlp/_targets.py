"""Targets as the engines take them, and predictions as users take them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target, unique_labels

from skmlp._warning import warn
from skmlp.network.parameters import FloatArray

if TYPE_CHECKING:
    from sklearn.preprocessing import LabelBinarizer

# How scikit-learn calls a matrix of zeros and ones.
MULTILABEL = "multilabel-indicator"


def as_column_or_matrix(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Flatten a single column, with scikit-learn's warning."""
    if y.ndim == 2 and y.shape[1] == 1:
        column = np.asarray(column_or_1d(y))
        warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape "
            "of y to (n_samples, ), for example using ravel().",
            DataConversionWarning,
        )
        return column
    return y


def fit_binarizer(y: Any) -> "LabelBinarizer":
    """Learn the classes from labels.

    Raises
    ------
    ValueError
        If the labels cannot be ordered, because one is missing or their types differ.
    """
    # A process that fits no classifier can do without scikit-learn's preprocessing.
    from sklearn.preprocessing import LabelBinarizer

    classes = plain_classes(y)
    if classes is not None:
        binarizer = LabelBinarizer()
        binarizer.y_type_ = "binary" if len(classes) <= 2 else "multiclass"
        binarizer.sparse_input_ = False
        binarizer.classes_ = classes
        return binarizer
    with orderable("y", y):
        return LabelBinarizer().fit(y)


@contextmanager
def orderable(name: str, labels: Any) -> Iterator[None]:
    """Say what is wrong with labels that scikit-learn cannot put in order.

    Raises
    ------
    ValueError
        If one is missing, or their types differ or have no order.
    """
    try:
        yield
    except TypeError as error:
        types = sorted({type(label).__name__ for label in np.ravel(labels)})
        if "NoneType" in types:
            raise ValueError(f"{name} contains missing labels (None). Drop them.") from error
        raise ValueError(
            f"{name} holds labels of type {' and '.join(types)}, which cannot be used: "
            f"{str(error).rstrip('.')}. Convert all labels to one type, for instance to strings."
        ) from error


def plain_classes(y: Any) -> npt.NDArray[Any] | None:
    """Return the classes of a column of whole numbers; None where more than that has to be asked.

    scikit-learn looks at labels in several passes of validation, which take longer than a small
    fit. It alone decides on all other labels, and on those it may warn of: where most of them
    are classes of their own.
    """
    if type(y) is not np.ndarray or y.ndim != 1 or y.dtype.kind not in "biu":
        return None
    if not y.dtype.isnative:
        return None
    classes = np.unique(y)
    return classes if 0 < 2 * len(classes) <= len(y) else None


def check_same_classes(binarizer: "LabelBinarizer", y: Any, *, warm_start: bool) -> None:
    """Refuse labels that do not fit those of the earlier fit.

    Raises
    ------
    ValueError
        If only one of the two is multilabel, if `warm_start` and the classes differ, or if `y`
        has classes never announced.
    """
    classes = binarizer.classes_
    found = plain_classes(y)
    if (found is None and is_multilabel(y)) != binarizer.y_type_.startswith("multilabel"):
        raise ValueError(
            f"`y` is {type_of_target(y)}, but the model was fitted with {binarizer.y_type_} "
            "targets. Use the same kind, or fit a new estimator."
        )
    if found is None:
        with orderable("y", y):
            found = unique_labels(y)
    if warm_start:
        if set(found) != set(classes):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {classes}, `y` has {found}. Use warm_start=False "
                "to start anew."
            )
    elif len(np.setdiff1d(found, classes)):
        unknown = np.setdiff1d(found, classes)
        raise ValueError(
            f"`y` has classes {unknown} that are not among the known classes {classes}. Pass all "
            "classes to the first call of partial_fit with `classes=`."
        )


def check_binarizer(estimator: Any) -> None:
    """Refuse to predict or resume with a binarizer that is none a fit leaves.

    Raises
    ------
    ValueError
        If ``estimator._label_binarizer`` does not know classes, or their kind.
    """
    binarizer = estimator._label_binarizer
    classes = getattr(binarizer, "classes_", None)
    y_type = getattr(binarizer, "y_type_", None)
    is_sparse = getattr(binarizer, "sparse_input_", None)
    is_known = isinstance(y_type, str) and y_type in ("binary", "multiclass", MULTILABEL)
    is_known = is_known and isinstance(is_sparse, bool | np.bool_)
    if not is_known or not isinstance(classes, np.ndarray) or classes.ndim != 1 or not classes.size:
        raise ValueError(
            f"_label_binarizer must be the LabelBinarizer of the fit, but is {binarizer!r} with "
            f"y_type_ {y_type!r}, sparse_input_ {is_sparse!r} and classes_ {classes!r}. Fit again."
        )


def check_decodable(estimator: Any, n_units: int) -> None:
    """Refuse outputs for other classes than the binarizer knows.

    Raises
    ------
    ValueError
        If their numbers differ.
    """
    check_binarizer(estimator)
    expected = n_outputs(estimator._label_binarizer)
    if n_units != expected:
        raise ValueError(
            f"intercepts_[-1] has shape ({n_units},), but the classes_ of _label_binarizer need "
            f"{expected} outputs: {estimator._label_binarizer.classes_}. Fit again."
        )


def check_classes_known(estimator: Any) -> None:
    """Refuse to resume where classes have been assigned that the fit did not know.

    Raises
    ------
    ValueError
        If ``classes_`` are not those of the binarizer, or in no order.
    """
    check_binarizer(estimator)
    known = estimator._label_binarizer.classes_
    try:
        is_known = bool(np.all(known[:-1] < known[1:])) and np.array_equal(
            estimator.classes_, known
        )
    except TypeError:  # of what cannot be compared
        is_known = False
    if not is_known:
        raise ValueError(
            f"Cannot resume: classes_ must be those of the fit in their order, but is "
            f"{estimator.classes_!r}, and _label_binarizer has {known!r}. Leave classes_ as it "
            "is, or fit a clone of the estimator."
        )


def encode_labels(binarizer: "LabelBinarizer", y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Encode labels for the engines, shape (n_samples, n_columns).

    One column of class numbers for multiclass labels (never an indicator matrix), else a
    Boolean column per output.
    """
    if binarizer.y_type_ == "multiclass":
        # classes_ is sorted and every label is known to be in it.
        classes = binarizer.classes_
        if classes.dtype.kind in "iu" and y.dtype.kind in "iu":
            # Signed and unsigned would meet in float64, which merges large integers.
            y = y.astype(classes.dtype)
        return np.searchsorted(classes, y).reshape(-1, 1)
    if is_binary(binarizer) and y.dtype == binarizer.classes_.dtype:
        return (y == binarizer.classes_[1]).reshape(-1, 1)
    indicator = np.asarray(binarizer.transform(y)).astype(bool)
    return indicator.reshape(y.shape[0], -1)


def is_binary(binarizer: "LabelBinarizer") -> bool:
    """Whether there are two classes, which is less than scikit-learn calls binary."""
    return bool(binarizer.y_type_ == "binary" and len(binarizer.classes_) == 2)


def n_outputs(binarizer: "LabelBinarizer") -> int:
    """Return the number of output units the classes need."""
    if binarizer.y_type_ == "binary":
        return 1
    return len(binarizer.classes_)


def decode_labels(binarizer: "LabelBinarizer", outputs: FloatArray) -> Any:
    """Turn the network's outputs into predicted labels, sparse if they were fitted as such."""
    if binarizer.y_type_ == "multiclass":
        return np.asarray(binarizer.classes_.take(outputs.argmax(axis=1)))
    if is_binary(binarizer) and not binarizer.sparse_input_:
        return np.asarray(binarizer.classes_.take(outputs[:, 0] > 0.5))
    scores = outputs.ravel() if outputs.shape[1] == 1 else outputs
    return binarizer.inverse_transform(scores)


def is_correct(
    binarizer: "LabelBinarizer", outputs: FloatArray, targets: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Return which samples `decode_labels` gives the label they were encoded from."""
    if binarizer.y_type_ == "multiclass":
        return np.asarray(outputs.argmax(axis=1) == targets[:, 0])
    if len(binarizer.classes_) == 1:  # predicted whatever the output is
        return np.ones(len(targets), dtype=bool)
    return np.asarray(((outputs > 0.5) == targets).all(axis=1))


def is_multilabel(y: Any) -> bool:
    with orderable("y", y):
        return bool(type_of_target(y).startswith("multilabel"))
