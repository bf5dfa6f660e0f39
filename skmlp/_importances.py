"""How much worse predictions become when a column of a table is permuted.

Breiman (2001), "Random forests", Machine Learning 45, section 10.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._selection import Criterion

# Rows that are looked at, and rows of all permuted copies that are predicted together, at most.
MOST_ROWS = 2_000
ROWS_AT_ONCE = 20_000


def importances_by_permutation(
    predict: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    encoded: npt.NDArray[Any],
    criterion: Criterion,
    sources: Sequence[int],
    n_columns: int,
    n_repeats: int,
    random_state: np.random.RandomState,
) -> npt.NDArray[np.float64]:
    """Return by how much the loss rises when a column is permuted, in the mean over permutations.

    Copies of the samples, each with another column permuted, are predicted together: to predict
    one after the other takes many times as long.

    Parameters
    ----------
    predict : callable
        ``predict(encoded)``: what the criterion takes.
    encoded : ndarray of shape (n_samples, n_encoded)
        An encoded table.
    criterion : Criterion
        Knows the targets of these samples.
    sources : sequence of int of length n_encoded
        Which column of the table each column of `encoded` comes from.
    n_columns : int
        Columns of the table.
    n_repeats : int
        Permutations of each column.
    random_state : RandomState

    Returns
    -------
    importances : ndarray of shape (n_columns,)
        Zero for columns that the encoder has dropped.
    """
    whole = loss_of(criterion, predict(encoded))
    origin = np.asarray(sources)
    used = np.unique(origin)
    permuted = np.repeat(used, n_repeats)
    n_samples = len(encoded)
    n_copies = max(1, ROWS_AT_ONCE // n_samples)
    losses = np.empty(len(permuted))
    for start in range(0, len(permuted), n_copies):
        columns = permuted[start : start + n_copies]
        copies = np.tile(encoded, (len(columns), 1, 1))
        for copy, column in zip(copies, columns, strict=True):
            own = origin == column
            order = random_state.permutation(n_samples)
            copy[:, own] = encoded[order][:, own]
        outputs = predict(copies.reshape(-1, encoded.shape[1]))
        parts = np.split(outputs, len(columns))
        losses[start : start + n_copies] = [loss_of(criterion, part) for part in parts]
    importances = np.zeros(n_columns)
    importances[used] = losses.reshape(-1, n_repeats).mean(axis=1) - whole
    return importances


def loss_of(criterion: Criterion, outputs: npt.NDArray[Any]) -> float:
    return float(criterion.of(criterion.relevant(outputs)[np.newaxis])[0])
