"""The held-out rows of early stopping."""

from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._sklearn_compat import Options
from skmlp._warning import warn
from skmlp.engines.base import IndexArray


class SplitterOptions(Options):
    """Constraint: a splitter, as those of `sklearn.model_selection` are."""

    def __init__(self) -> None:
        self.hidden = False  # scikit-learn lists it in its messages

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is an object that can split."""
        return is_splitter(val)

    def __str__(self) -> str:
        return "a splitter such as GroupShuffleSplit(1)"


def is_splitter(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("split", "get_n_splits"))


def held_out_by_splitter(
    splitter: Any, X: Any, y: Any, groups: Any
) -> tuple[IndexArray, IndexArray]:
    """Return the rows of a splitter's first split, to train on and to hold out.

    Raises
    ------
    ValueError
        If it has none, or they are no numbers of rows, each in one part at most.
    """
    first = next(iter(splitter.split(X, y, groups)), None)
    if first is None:
        raise ValueError(f"validation_fraction={splitter!r} has no split of these samples.")
    train, validation = (np.asarray(rows) for rows in first)
    rows = np.concatenate([train.ravel(), validation.ravel()])
    is_valid = train.ndim == validation.ndim == 1 and min(train.size, validation.size) > 0
    is_valid = is_valid and rows.dtype.kind in "iu"
    if not is_valid or rows.min() < 0 or rows.max() >= y.shape[0] or has_doubles(rows):
        raise ValueError(
            f"validation_fraction={splitter!r} must split {y.shape[0]} samples into two parts, as "
            f"arrays of their numbers, each number in one part at most; got {first!r}."
        )
    return train.astype(np.intp), validation.astype(np.intp)


def has_doubles(rows: npt.NDArray[Any]) -> bool:
    return len(np.unique(rows)) < len(rows)


def whole_groups(validation_fraction: float, random_state: np.random.RandomState) -> Any:
    """Return a splitter that holds out a share of all groups."""
    from sklearn.model_selection import GroupShuffleSplit

    return GroupShuffleSplit(1, test_size=validation_fraction, random_state=random_state)


def split_rows(
    n_samples: int,
    validation_fraction: float,
    random_state: np.random.RandomState,
    stratify: npt.NDArray[np.generic] | None,
) -> tuple[IndexArray, IndexArray]:
    """Split row numbers into a training and a validation part, as scikit-learn's MLP does.

    Parameters
    ----------
    n_samples : int
    validation_fraction : float
        Share of the rows to hold out.
    random_state : RandomState
    stratify : ndarray of shape (n_samples,) or (n_samples, 1), or None
        Classes whose shares both parts should keep.

    Raises
    ------
    ValueError
        If a part would have fewer rows than it needs.
    """
    needed = (1, 2)
    if stratify is not None:
        counts = np.unique(stratify, return_counts=True)[1]
        # scikit-learn itself says what is wrong with a class of a single sample.
        is_alone = len(counts) > 1 and counts.min() == 1
        needed = (1, 1) if is_alone else (len(counts), 2)
    check_parts(n_samples, validation_fraction, needed)
    # Only early stopping needs it, and it imports a large part of scikit-learn.
    from sklearn.model_selection import train_test_split

    train, validation = train_test_split(
        np.arange(n_samples),
        random_state=random_state,
        test_size=validation_fraction,
        stratify=stratify,
    )
    return train, validation


def check_parts(n_samples: int, validation_fraction: float, needed: tuple[int, int]) -> int:
    """Return the number of rows to hold out.

    Raises
    ------
    ValueError
        If fewer rows are trained on, or held out, than are needed.
    """
    n_validation = int(np.ceil(validation_fraction * n_samples))
    n_train = n_samples - n_validation
    too_few_held_out = n_validation < needed[1]
    if too_few_held_out or n_train < needed[0]:
        part = "validation" if too_few_held_out else "training"
        change = "Increase" if too_few_held_out else "Decrease"
        raise ValueError(
            f"The {part} set is too small. {change} 'validation_fraction' or increase the size of "
            f"your dataset: validation_fraction={validation_fraction} splits {n_samples} samples "
            f"into {n_train} to train on and {n_validation} to validate with, but at least "
            f"{needed[0]} and {needed[1]} are needed."
        )
    return n_validation


def classes_to_stratify(
    matrix: npt.NDArray[np.generic], n_outputs: int, validation_fraction: float
) -> npt.NDArray[np.generic] | None:
    """Return the column to stratify by, or None where a split cannot be stratified.

    Multilabel targets never are. Multiclass targets are, unless a class is too rare, which is
    no error because scikit-learn accepts such data; binary targets always are.
    """
    if matrix.shape[1] > 1:
        return None
    if n_outputs == 1:
        return matrix
    n_samples = len(matrix)
    # A split that cannot be made is an error soon after, not one to warn of.
    n_validation = check_parts(n_samples, validation_fraction, (1, 2))
    counts = np.unique(matrix, return_counts=True)[1]
    if counts.min() >= 2 and min(n_validation, n_samples - n_validation) >= len(counts):
        return matrix
    warn(
        "The validation set of early_stopping cannot be stratified: a class has a single sample, "
        f"or {n_validation} held-out samples are too few for {len(counts)} classes. The split is "
        "random instead. Increase validation_fraction or drop rare classes to change that."
    )
    return None


def evenly_split(
    n_samples: int,
    fraction: float,
    labels: npt.NDArray[Any] | None,
    random_state: np.random.RandomState,
) -> tuple[IndexArray, IndexArray]:
    """Split row numbers into those to train on and those held out, both in order.

    Classes keep their shares as far as that is possible. The first sample of each class, in the
    drawn order, is trained on in any case.

    Raises
    ------
    ValueError
        If there are too few rows.
    """
    n_held_out = int(np.ceil(fraction * n_samples))
    order = random_state.permutation(n_samples)
    if labels is None:
        held_out, rows = order[:n_held_out], order[n_held_out:]
    else:
        # By how large a part of its class comes before a sample: so every class is spread evenly.
        by_class = np.argsort(labels[order], kind="stable")
        counts = np.bincount(labels)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        place = (np.arange(n_samples) - firsts + 0.5) / np.repeat(counts, counts)
        ranked = order[by_class][np.argsort(-place, kind="stable")]
        is_first = np.zeros(n_samples, dtype=bool)
        is_first[order[by_class][firsts]] = True
        free = ranked[~is_first[ranked]]
        held_out = free[:n_held_out]
        rows = np.setdiff1d(order, held_out)
    if len(held_out) == 0 or len(rows) == 0:
        raise ValueError(
            f"validation_fraction={fraction} of n_samples={n_samples} leaves {len(rows)} sample(s) "
            f"to train on and {len(held_out)} to hold out. Give more samples, another "
            "validation_fraction, or X_val and y_val."
        )
    return np.sort(rows), np.sort(held_out)
