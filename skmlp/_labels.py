"""The labels that a classifier is given: which classes they have, and whether earlier ones fit.

What is known of them is a `LabelBinarizer` of scikit-learn's; with several targets of classes a
list of them, one for each column of y.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target, unique_labels

from skmlp._sklearn_compat import _check_partial_fit_first_call
from skmlp._warning import warn

if TYPE_CHECKING:
    from sklearn.preprocessing import LabelBinarizer

Binarizer: TypeAlias = Union["LabelBinarizer", list["LabelBinarizer"]]

# How scikit-learn calls a matrix of zeros and ones, and one of several columns of classes.
MULTILABEL = "multilabel-indicator"
SEVERAL_TARGETS = "multiclass-multioutput"
# What to do about classes that are not known, and about those of samples to validate with.
ANNOUNCE = "Pass all classes to the first call of partial_fit with `classes=`."
LEARN_ALL = "The samples trained on must have all of them: leave these out of y_val."


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


def fit_binarizer(y: Any) -> Binarizer:
    """Learn the classes from labels, those of every target where there are several.

    Raises
    ------
    ValueError
        If the labels cannot be ordered, because one is missing or their types differ, or are no
        classes.
    """
    try:
        return fit_one_binarizer(y)
    except ValueError:
        # Only now: to ask for the kind of labels takes as long as to learn them.
        if not is_matrix(y):
            raise
        check_several_targets(y)
    return [fit_one_binarizer(column) for column in y.T]


def is_matrix(y: Any) -> bool:
    return getattr(y, "ndim", 0) == 2 and y.shape[1] > 1


def check_several_targets(y: Any) -> None:
    """Refuse a matrix of labels that are not the classes of several targets.

    Raises
    ------
    ValueError
        If they are not, or it is sparse.
    """
    if issparse(y):
        raise ValueError(
            f"y is a sparse {type(y).__name__} of shape {y.shape} whose values are not zeros and "
            f"ones ({MULTILABEL}). Several targets of classes ({SEVERAL_TARGETS}) must be dense: "
            "use y.toarray()."
        )
    kind = kind_of(y)
    if kind != SEVERAL_TARGETS:
        raise ValueError(
            f"Unknown label type: {kind}. y has shape {y.shape}, and each of its columns must hold "
            f"classes ({SEVERAL_TARGETS}), or all of them zeros and ones ({MULTILABEL}). Use "
            "MLPRegressor for numbers, and one estimator for each kind of target."
        )


def fit_one_binarizer(y: Any) -> "LabelBinarizer":
    """Learn the classes of one target, or of multilabel targets."""
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


def kind_of(y: Any) -> str:
    """Return what scikit-learn calls such labels."""
    with orderable("y", y):
        return str(type_of_target(y))


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


def are_plain(labels: Any) -> bool:
    """Whether labels are such that scikit-learn's metrics would take them as they are."""
    return plain_classes(labels) is not None


def accuracy(y: npt.NDArray[Any], predicted: Any) -> float:
    """Return the share of plain labels that are predicted, as `accuracy_score` does.

    Its validation takes longer than the predictions of a small network.
    """
    if are_plain(predicted) and len(predicted) == len(y):
        return float((y == predicted).mean())
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(y, predicted))


def check_same_classes(
    binarizer: Binarizer, y: Any, *, warm_start: bool, name: str = "y", remedy: str = ANNOUNCE
) -> None:
    """Refuse labels that do not fit those of the earlier fit.

    Raises
    ------
    ValueError
        If only one of the two is multilabel, or has several targets, if `warm_start` and the
        classes differ, or if `y` has classes never announced.
    """
    if not isinstance(binarizer, list):
        check_same_classes_of_one(binarizer, y, f"`{name}`", remedy, warm_start=warm_start)
        return
    if not is_matrix(y) or issparse(y) or y.shape[1] != len(binarizer):
        raise ValueError(
            f"`{name}` has shape {np.shape(y)}, but the model was fitted with {SEVERAL_TARGETS} "
            f"targets in {len(binarizer)} columns. Use the same kind, or fit a new estimator."
        )
    for column, one in enumerate(binarizer):
        part = f"`{name}[:, {column}]`"
        check_same_classes_of_one(one, y[:, column], part, remedy, warm_start=warm_start)


def check_same_classes_of_one(
    binarizer: "LabelBinarizer", y: Any, name: str, remedy: str, *, warm_start: bool
) -> None:
    classes = binarizer.classes_
    found = plain_classes(y)
    kind = kind_of(y) if found is None else ""
    if kind == SEVERAL_TARGETS or (kind == MULTILABEL) != (binarizer.y_type_ == MULTILABEL):
        raise ValueError(
            f"{name} is {kind or type_of_target(y)}, but the model was fitted with "
            f"{binarizer.y_type_} targets. Use the same kind, or fit a new estimator."
        )
    if found is None:
        with orderable("y", y):
            found = unique_labels(y)
    if warm_start:
        if set(found) != set(classes):
            raise ValueError(
                f"warm_start can only be used where {name} has the same classes as in the previous "
                f"call to fit. Previously got {classes}, {name} has {found}. Use warm_start=False "
                "to start anew."
            )
    elif len(np.setdiff1d(found, classes)):
        unknown = np.setdiff1d(found, classes)
        raise ValueError(
            f"{name} has classes {unknown} that are not among the known classes {classes}. {remedy}"
        )


def all_of(binarizer: Binarizer) -> Sequence["LabelBinarizer"]:
    """Return the binarizer of every target."""
    return binarizer if isinstance(binarizer, list) else [binarizer]


def classes_of(binarizer: Binarizer) -> Any:
    """Return the labels as the attribute `classes_` has them."""
    if isinstance(binarizer, list):
        return [one.classes_ for one in binarizer]
    return binarizer.classes_


def has_several_targets(estimator: Any) -> bool:
    """Whether a classifier was fitted with several targets of classes."""
    return isinstance(vars(estimator).get("_label_binarizer"), list)


def check_binarizer(estimator: Any) -> None:
    """Refuse to predict or resume with a binarizer that is none a fit leaves.

    Raises
    ------
    ValueError
        If ``estimator._label_binarizer`` does not know classes, or their kind.
    """
    binarizer = estimator._label_binarizer
    if isinstance(binarizer, list) and not binarizer:
        raise ValueError("_label_binarizer must be that of the fit, but is empty. Fit again.")
    for one in all_of(binarizer):
        check_one_binarizer(one)


def check_one_binarizer(binarizer: Any) -> None:
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


def check_classes_known(estimator: Any) -> None:
    """Refuse to resume where classes have been assigned that the fit did not know.

    Raises
    ------
    ValueError
        If ``classes_`` are not those of the binarizer, or in no order.
    """
    check_binarizer(estimator)
    binarizer = estimator._label_binarizer
    known, given = classes_of(binarizer), estimator.classes_
    if isinstance(binarizer, list):
        is_known = isinstance(given, list) and len(given) == len(known)
        is_known = is_known and all(map(are_known, given, known))
    else:
        is_known = are_known(given, known)
    if not is_known:
        raise ValueError(
            f"Cannot resume: classes_ must be those of the fit in their order, but is "
            f"{given!r}, and _label_binarizer has {known!r}. Leave classes_ as it "
            "is, or fit a clone of the estimator."
        )


def are_known(classes: Any, known: npt.NDArray[Any]) -> bool:
    """Whether classes are those known, which are in their order."""
    try:
        return bool(np.all(known[:-1] < known[1:])) and np.array_equal(classes, known)
    except TypeError:  # of what cannot be compared
        return False


def learn_classes(estimator: Any, y: Any, classes: Any) -> None:
    """Take note of the classes that are announced to `partial_fit`.

    Raises
    ------
    ValueError
        If they differ from those known, or the first call announces none.
    """
    announced = classes_of_targets(y, classes)
    if announced is None:
        with orderable("classes", classes):
            is_first = _check_partial_fit_first_call(estimator, classes)
        if is_first:
            estimator._label_binarizer = fit_one_binarizer(
                y if kind_of(y) == MULTILABEL else classes
            )
        return
    binarizers = [fit_one_binarizer(labels) for labels in announced]
    known = getattr(estimator, "classes_", None)
    if known is None:
        estimator._label_binarizer = binarizers
        estimator.classes_ = classes_of(binarizers)
    elif not (
        isinstance(known, list)
        and len(known) == len(binarizers)
        and all(np.array_equal(a, one.classes_) for a, one in zip(known, binarizers, strict=True))
    ):
        raise ValueError(
            f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}"
        )


def classes_of_targets(y: Any, classes: Any) -> list[npt.NDArray[Any]] | None:
    """Return the classes of each target, where they are announced for several.

    So they are in a list (or the rows of a matrix), one entry for each column of y. Classes of
    zeros and ones, with such labels, are those of multilabel targets.

    Raises
    ------
    ValueError
        If there are more or fewer than columns of y.
    """
    n_targets = columns_of(y)
    if n_targets < 2 or not isinstance(classes, list | tuple | np.ndarray) or not len(classes):
        return None
    if not all(isinstance(c, list | tuple) or getattr(c, "ndim", 0) == 1 for c in classes):
        return None
    announced = [np.asarray(labels) for labels in classes]
    if any(labels.ndim != 1 or not labels.size for labels in announced):
        return None
    has_only_bits = all(np.isin(labels, (0, 1)).all() for labels in announced)
    if has_only_bits and kind_of(y) == MULTILABEL:
        return None
    if len(announced) != n_targets:
        raise ValueError(
            f"classes announces those of {len(announced)} targets, but y has {n_targets} columns. "
            "Pass a list with the classes of each column."
        )
    return announced


def columns_of(y: Any) -> int:
    """Return how many columns dense targets have, which may be anything; 0 if it has none."""
    if issparse(y):
        return 0
    try:
        shape = np.shape(y)
    except ValueError:  # ragged, which is left to the fit to refuse
        return 0
    return int(shape[1]) if len(shape) == 2 else 0
