"""The held-out rows of early stopping."""

import numpy as np
import numpy.typing as npt

from skmlp._warning import warn
from skmlp.engines.base import IndexArray


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
        If fewer than two rows would be held out.
    """
    too_small = (
        "The validation set is too small. Increase 'validation_fraction' or the size of your "
        f"dataset: validation_fraction={validation_fraction} of {n_samples} samples must hold "
        "out at least two and leave at least one."
    )
    # Only early stopping needs it, and it imports a large part of scikit-learn.
    from sklearn.model_selection import train_test_split

    n_validation = int(np.ceil(validation_fraction * n_samples))
    if n_samples - n_validation < 1:
        raise ValueError(too_small)
    train, validation = train_test_split(
        np.arange(n_samples),
        random_state=random_state,
        test_size=validation_fraction,
        stratify=stratify,
    )
    if len(validation) < 2:
        raise ValueError(too_small)
    return train, validation


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
    n_validation = int(np.ceil(validation_fraction * n_samples))
    counts = np.unique(matrix, return_counts=True)[1]
    if counts.min() >= 2 and min(n_validation, n_samples - n_validation) >= len(counts):
        return matrix
    warn(
        "The validation set of early_stopping cannot be stratified: a class has a single sample, "
        f"or {n_validation} held-out samples are too few for {len(counts)} classes. The split is "
        "random instead. Increase validation_fraction or drop rare classes to change that."
    )
    return None
