"""Numbers of a table: what a fit learns of each column, and how they are scaled by it.

All is computed in float64, column by column, whatever holds the column: so each way to pass the
same table gives the same bits.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from skmlp._table_columns import Floats

SCALINGS = ("robust", "quantile", "standard")

# Scaled numbers this far away are at the bound of the smooth clip, where squares do not overflow.
FAR = 1e8
BOUND = 3.0

# As in TabM, but relative to the standard deviation: numbers may be small.
NOISE = 1e-5
MIN_QUANTILES, MAX_QUANTILES, ROWS_PER_QUANTILE = 10, 1000, 30
# Numbers whose quantiles are searched for at a time, of several columns.
SEARCHED_TOGETHER = 16_000
# Quantiles of more rows than these hardly differ.
MAX_SAMPLE = 100_000
# `sklearn.preprocessing.QuantileTransformer` keeps as far from the ends of the normal distribution.
LARGEST_SCORE = -float(ndtri(1e-7 - np.spacing(1.0)))


class Center(NamedTuple):
    """What is taken away from a column, and what it is then divided by."""

    center: float
    scale: float


class Summary(NamedTuple):
    """What a fit learns of one column of numbers.

    Attributes
    ----------
    n_missing : int
    mean : float
        Of the rows that are not missing, as all else here; NaN if there are none.
    is_constant : bool
        Also if there are none.
    center, scale : float
    quantiles : ndarray or None
        Different numbers in ascending order, and below them the parts of the rows that are less.
    missing_rows : bytes
        Differs where other rows are missing.
    key : hashable
        Columns whose keys differ are no duplicates.
    """

    n_missing: int
    mean: float
    is_constant: bool
    center: float
    scale: float
    quantiles: Floats | None
    missing_rows: bytes
    key: Hashable


@dataclass(frozen=True)
class Numbers:
    """What became of the columns of numbers; entries of arrays belong to one column each.

    Attributes
    ----------
    columns : ndarray of int of shape (n_numbers,)
        Their numbers in the table.
    mean : ndarray of shape (n_numbers,)
        Stands for what is missing.
    center, scale : ndarray of shape (n_numbers,)
        Numbers are centered, then divided by the scale.
    quantiles : tuple of ndarray of shape (2, n_quantiles), one for each column, or empty
        Instead of this: edges, and below them the parts of the rows that are less.
    is_clipped : bool
        Whether the smooth clip follows.
    """

    columns: npt.NDArray[np.intp]
    mean: Floats
    center: Floats
    scale: Floats
    quantiles: tuple[Floats, ...]
    is_clipped: bool

    @property
    def is_bounded(self) -> bool:
        """Whether scaled numbers stay small however large the numbers are."""
        return self.is_clipped or bool(self.quantiles)

    def scaler(self) -> Callable[[Floats], Floats]:
        """Return what scales rows of numbers, a block of shape (n_numbers, n_rows), in place."""
        if self.quantiles:
            return to_normal(self.quantiles)

        def scaled(block: Floats) -> Floats:
            with np.errstate(over="ignore"):
                block -= self.center[:, np.newaxis]
                block /= self.scale[:, np.newaxis]
            return smoothly_clipped(block) if self.is_clipped else block

        return scaled

    def fill_values(self) -> Floats:
        """Return what stands for missing numbers, scaled, of shape (n_numbers, 1)."""
        return self.scaler()(self.mean[:, np.newaxis].copy())


def smoothly_clipped(block: Floats) -> Floats:
    """Bring numbers to between -3 and 3 in place: ``x / sqrt(1 + (x / 3)^2)``."""
    np.clip(block, -FAR, FAR, out=block)
    divisor = block / BOUND
    divisor *= divisor
    divisor += 1.0
    np.sqrt(divisor, out=divisor)
    block /= divisor
    return block


class Steps(NamedTuple):
    """Quantiles of several columns, in rows that are as long as a power of two.

    Attributes
    ----------
    edges : ndarray of shape (n_columns, n_places)
        Ascending; infinity behind the last one.
    parts : ndarray of shape (n_columns, n_places)
        Of the rows, those that are less.
    slopes : ndarray of shape (n_columns, n_places)
        By how much the part grows from here to the next edge, for each unit; zero at the last edge.
    lowest, highest : ndarray of shape (n_columns, 1)
        The first edge of each column, and the last.
    """

    edges: Floats
    parts: Floats
    slopes: Floats
    lowest: Floats
    highest: Floats


def steps_of(quantiles: Sequence[Floats]) -> Steps:
    """Return the quantiles of several columns side by side."""
    most = max(table.shape[1] for table in quantiles)
    edges = np.full((len(quantiles), 1 << max(1, (most - 1).bit_length())), np.inf)
    parts, slopes = np.zeros_like(edges), np.zeros_like(edges)
    for column, (own, own_parts) in enumerate(quantiles):
        edges[column, : len(own)], parts[column, : len(own)] = own, own_parts
        with np.errstate(over="ignore"):
            slopes[column, : len(own) - 1] = np.diff(own_parts) / np.diff(own)
    lowest, highest = (np.array([[table[0, end]] for table in quantiles]) for end in (0, -1))
    return Steps(edges, parts, slopes, lowest, highest)


def to_normal(quantiles: Sequence[Floats]) -> Callable[[Floats], Floats]:
    """Return what makes normal scores of rows: those of the parts of the rows that are less.

    The last edge that is not above a number is searched for by halves, for many numbers at once:
    `numpy.interp` takes one after the other, three times as long.
    """
    steps = steps_of(quantiles)
    n_columns, n_places = steps.edges.shape
    first = (np.arange(n_columns) * n_places)[:, np.newaxis]
    edges, parts, slopes = (table.reshape(-1) for table in steps[:3])
    with np.errstate(over="ignore"):
        is_wide = not np.isfinite(steps.highest - steps.lowest).all()
    # What is so many places further.
    further = [(n, edges[n:]) for n in (n_places >> k for k in range(1, n_places.bit_length()))]

    def scaled(block: Floats) -> Floats:
        together = max(1, SEARCHED_TOGETHER // block.shape[1])
        for start in range(0, n_columns, together):
            own = slice(start, start + together)
            x = block[own]
            np.maximum(x, steps.lowest[own], out=x)
            np.minimum(x, steps.highest[own], out=x)
            place = np.broadcast_to(first[own], x.shape).copy()
            for n, those in further:
                place += n * (those.take(place) <= x)
            with np.errstate(over="ignore", invalid="ignore"):
                x -= edges.take(place)
                x *= slopes.take(place)
            if is_wide:  # infinite distances, of which no part can be taken
                np.copyto(x, 0.0, where=np.isnan(x))
            x += parts.take(place)
            ndtri(x, out=x)
            np.clip(x, -LARGEST_SCORE, LARGEST_SCORE, out=x)
        return block

    return scaled


class Sampler:
    """Draws what quantiles are learned from; the same rows of all columns."""

    def __init__(self, n_rows: int, random_state: np.random.RandomState) -> None:
        self.random_state = random_state
        self.n_quantiles = min(max(n_rows // ROWS_PER_QUANTILE, MIN_QUANTILES), MAX_QUANTILES)
        self.rows: Any = slice(None)
        if n_rows > MAX_SAMPLE:
            self.rows = np.sort(random_state.randint(n_rows, size=MAX_SAMPLE))

    def quantiles(self, values: Floats, deviation: float) -> Floats:
        """Return different quantiles of some numbers with noise, and which quantiles they are."""
        drawn = values[self.rows]
        drawn = drawn[~np.isnan(drawn)]
        if not len(drawn):  # rare numbers may be missing in all the rows drawn
            drawn = values[~np.isnan(values)]
        drawn += self.random_state.normal(0.0, NOISE * deviation, len(drawn))
        parts = np.linspace(0.0, 1.0, min(self.n_quantiles, max(len(drawn), 2)))
        edges = np.quantile(drawn, parts)
        # Where noise has not told them apart, the middle of the parts.
        different, first, count = np.unique(edges, return_index=True, return_counts=True)
        middle = (parts[first] + parts[first + count - 1]) / 2
        return np.stack([different, middle])


def quartiles(n_rows: int) -> Floats:
    """Return where the quartiles are among so many numbers, from zero."""
    return np.array([0.25, 0.5, 0.75]) * (n_rows - 1)


def places_to_ask(n_rows: int) -> npt.NDArray[np.intp]:
    """Return which of the smallest numbers `center_robustly` asks for."""
    positions = quartiles(n_rows)
    return np.unique([0, *np.floor(positions), *np.ceil(positions), n_rows - 1]).astype(np.intp)


def center_robustly(n_rows: int, smallest: Callable[[Any], Floats]) -> Center:
    """Return the median and the distance of the quartiles, or half of the range if it is zero.

    Parameters
    ----------
    n_rows : int
    smallest : callable
        Returns the k-th smallest number, from zero, for each k of an array.
    """
    positions = quartiles(n_rows)  # as NumPy interpolates them
    below = np.floor(positions).astype(np.intp)
    left, right = smallest(below), smallest(np.ceil(positions).astype(np.intp))
    lower, median, upper = (left + (right - left) * (positions - below)).tolist()
    least, most = smallest(np.array([0, n_rows - 1])).tolist()
    return Center(median, upper - lower or (most - least) / 2 or most - least)


def center_by_moments(values: Floats, mean: float) -> Center:
    deviations = values - mean
    unit = np.abs(deviations).max()  # squares of large or small ones would leave the range
    deviations /= unit
    return Center(mean, float(unit * np.sqrt(np.mean(deviations * deviations)) or unit))


def summarize(name: str, values: Floats, scaling: str | None, sampler: Sampler | None) -> Summary:
    """Learn from one column of numbers.

    Parameters
    ----------
    name : str
        What errors call the column.
    values : ndarray of shape (n_rows,)
        NaN where they are missing. Is overwritten.
    scaling : {"robust", "quantile", "standard"} or None
    sampler : Sampler or None
        Needed for quantiles.

    Raises
    ------
    ValueError
        If a number is infinite, or they are too large to be scaled.
    """
    # Zeros of both signs are the same number, but not the same bits.
    start = digest(values[:1000] + 0.0)
    known, n_missing, missing_rows = values, 0, b""
    total = sum_of(known)
    if not np.isfinite(total):
        missing = np.isnan(values)
        n_missing = int(np.count_nonzero(missing))
        missing_rows = digest(np.packbits(missing))
        known = values[~missing] if n_missing else values
        total = sum_of(known)
    if not len(known):
        return Summary(n_missing, np.nan, True, 0.0, 1.0, None, missing_rows, ())
    least, most = known.min(), known.max()
    if np.isinf(least) or np.isinf(most):
        refuse_infinite(name)
    mean = total / len(known)
    center, quantiles = Center(0.0, 1.0), None
    is_constant = bool(least == most)
    with np.errstate(over="ignore", invalid="ignore"):
        if not is_constant and scaling == "robust":
            known.partition(places_to_ask(len(known)))
            center = center_robustly(len(known), known.__getitem__)
        elif not is_constant and scaling is not None:
            center = center_by_moments(known, mean)
            if sampler is not None:
                quantiles = sampler.quantiles(values, center.scale)
    if not np.isfinite([mean, *center]).all():
        raise ValueError(
            f"Column {name!r} has numbers between {least:g} and {most:g}, too large for "
            "their mean and spread to be computed. Use other units."
        )
    key = (missing_rows, mean, least, most, start)
    return Summary(n_missing, mean, is_constant, *center, quantiles, missing_rows, key)


def digest(array: npt.NDArray[Any]) -> bytes:
    """Return what differs if an array differs."""
    return blake2b(array.tobytes(), digest_size=16).digest()


def sum_of(values: Floats) -> float:
    """Return a sum that is infinite or NaN if a value is, or if it is too large."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sum(values))


def refuse_infinite(name: str) -> NoReturn:
    raise ValueError(
        f"Column {name!r} contains infinity. Replace infinite numbers by the largest ones that "
        "make sense, or by NaN if they are missing."
    )


def center_of_few(values: Floats, counts: npt.NDArray[Any]) -> Center:
    """Center few different numbers as `center_robustly` does all rows, of which each has so many.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
    counts : ndarray of int of shape (n_values,)
    """
    order = np.argsort(values)
    ascending, ends = values[order], np.cumsum(counts[order])
    return center_robustly(
        int(ends[-1]), lambda k: ascending[np.searchsorted(ends, k, side="right")]
    )


def scale_flags_robustly(flags: Floats, counts: npt.NDArray[Any]) -> Floats:
    """Scale and clip columns of few different numbers as a column of numbers would be.

    Parameters
    ----------
    flags : ndarray of shape (n_values, n_flags)
        The numbers in each column.
    counts : ndarray of int of shape (n_values, n_flags)
        How many rows have them.
    """
    centers = [center_of_few(*both) for both in zip(flags.T, counts.T, strict=True)]
    center, scale = np.array(centers).T
    return smoothly_clipped((flags - center) / scale)
