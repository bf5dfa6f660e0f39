"""Categories of a table: their levels, and the numbers that stand for these."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp._table_columns import Factorized, Floats

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Category:
    """What became of a column of categories.

    Attributes
    ----------
    column : int
        Its number in the table.
    levels : ndarray of object of shape (n_levels,)
        Numbers before text, each sorted. The k-th one has the code k + 1; what is missing or
        unknown has 0.
    flags : ndarray of shape (3, n_flags) or None
        Flags belong to the last `n_flags` levels: all of them, or the second one of two. Of each,
        what stands for another level, for its own, and for what is missing or unknown. None for a
        column of codes.
    """

    column: int
    levels: npt.NDArray[np.object_]
    flags: Floats | None

    @property
    def width(self) -> int:
        """How many columns it becomes."""
        return 1 if self.flags is None else self.flags.shape[1]

    def write_flags(self, codes: Codes, out: npt.NDArray[Any]) -> None:
        """Write the flags of some rows.

        Parameters
        ----------
        codes : ndarray of shape (n_rows,)
        out : ndarray of shape (n_rows, n_flags)
        """
        if self.flags is None:
            return
        other, own, unknown = self.flags.astype(out.dtype)
        place = codes - (1 + len(self.levels) - self.width)
        rows = np.flatnonzero(place >= 0)
        place = place[rows]
        flags = np.empty(out.shape, out.dtype)
        flags[:] = other
        flags.reshape(-1)[rows * self.width + place] = own[place]
        missing = codes == 0
        if missing.any():
            flags[missing] = unknown
        out[:] = flags

    def codes(self, read: Factorized) -> Codes:
        """Return the code of each row."""
        return look_up(read, self.levels)


class Levels(NamedTuple):
    """Levels in the rows of a fit.

    Attributes
    ----------
    levels : ndarray of object of shape (n_levels,)
    codes : ndarray of int32 of shape (n_rows,)
    counts : ndarray of int of shape (n_levels + 1,)
        How many rows have each code.
    """

    levels: npt.NDArray[np.object_]
    codes: Codes
    counts: npt.NDArray[np.int64]

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same code."""
        return bool(np.count_nonzero(self.counts) < 2)


def as_objects(levels: Iterable[Any]) -> npt.NDArray[np.object_]:
    listed = list(levels)
    return np.fromiter(listed, object, len(listed))


def order(level: Any) -> tuple[bool, Any]:
    """Return what levels are sorted by: numbers before text."""
    return isinstance(level, str), level


def look_up(read: Factorized, levels: npt.NDArray[np.object_]) -> Codes:
    """Return the code of each row, 0 for levels that are not among the known ones."""
    if len(levels) > 50 * len(read.levels):  # of one row, perhaps
        codes = [search(level, levels) for level in read.levels]
    else:
        index = {level: code for code, level in enumerate(levels.tolist(), start=1)}
        codes = [index.get(level, 0) for level in read.levels]
    # The last entry is that of `UNKNOWN`.
    return np.array([*codes, 0], dtype=np.int32)[read.codes]


def search(level: Any, levels: npt.NDArray[np.object_]) -> int:
    """Return the code of one level, 0 if it is not among the known ones."""
    if level is None:
        return 0
    place = bisect_left(levels, order(level), key=order)
    return place + 1 if place < len(levels) and levels[place] == level else 0


def learn_levels(read: Factorized, min_count: int, many: int) -> Levels:
    """Return the levels that occur; rare ones count as unknown where there are many.

    Parameters
    ----------
    read : Factorized
        The rows of a fit.
    min_count : int
        Levels of fewer rows are rare.
    many : int
        What more levels are, counting the missing or unknown one.
    """
    found = set(read.levels) - {None}
    levels = as_objects(sorted(found, key=order))
    codes = look_up(read, levels)
    counts = np.bincount(codes, minlength=len(levels) + 1)
    frequent = counts[1:] >= (min_count if len(counts) > many else 1)
    if frequent.all():
        return Levels(levels, codes, counts)
    new = np.zeros(len(counts), dtype=np.int32)
    new[1:][frequent] = np.arange(1, frequent.sum() + 1)
    codes = new[codes]
    return Levels(levels[frequent], codes, np.bincount(codes, minlength=frequent.sum() + 1))


def one_hot(n_levels: int) -> Floats:
    """Return `Category.flags`: a column of -1, +1 and 0 for two levels, else one a level."""
    if n_levels == 2:
        return np.array([[-1.0], [1.0], [0.0]])
    return np.repeat([[0.0], [1.0], [0.0]], n_levels, axis=1)


def counts_of_flags(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many rows have each of the numbers of `one_hot`.

    Parameters
    ----------
    counts : ndarray of shape (n_levels + 1,)
        How many rows have each code.
    """
    own = counts[2:] if len(counts) == 3 else counts[1:]
    return np.stack([counts[1:].sum() - own, own, np.repeat(counts[0], len(own))])
