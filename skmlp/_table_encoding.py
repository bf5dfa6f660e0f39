"""What a fitted encoder of tables knows, in plain arrays, and how it encodes a table with that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp._fitted import shown
from skmlp._table_categories import Category, Codes
from skmlp._table_columns import Column, Floats
from skmlp._table_numbers import Numbers, refuse_infinite

# Rows that are computed at a time: few enough to stay in the cache. Not a power of two, for then
# the same row of all columns would have the same place there.
CHUNK_ROWS = 2000


class Blocks(NamedTuple):
    """How many columns of each kind the encoded matrix has, in this order.

    Attributes
    ----------
    numbers : int
        Scaled numbers.
    flags : int
        Columns of few different numbers: of one-hot categories, and indicators.
    levels : tuple of int
        For each column of codes how many whole numbers may be there, from zero; zero itself, for
        missing or unknown, is one of them.
    """

    numbers: int
    flags: int
    levels: tuple[int, ...]


@dataclass(frozen=True)
class Encoding:
    """What a fitted encoder does, in plain arrays.

    A row becomes its scaled numbers, in which means stand for what is missing; the flags of those
    categories that have some; for each indicator one of its two flags; and the codes of the other
    categories.

    Attributes
    ----------
    numbers : Numbers
    categories : tuple of Category
        In the order of the table.
    indicators : ndarray of int of shape (n_indicators,)
        Numbers of columns.
    indicator_flags : ndarray of shape (2, n_indicators)
        What stands for "is there" and for "is missing".
    dtype : str
        Of the matrix.
    """

    numbers: Numbers
    categories: tuple[Category, ...]
    indicators: npt.NDArray[np.intp]
    indicator_flags: Floats
    dtype: str

    @property
    def flagged(self) -> list[Category]:
        """The categories that become flags."""
        return [category for category in self.categories if category.flags is not None]

    @property
    def coded(self) -> list[Category]:
        """The categories that become columns of codes."""
        return [category for category in self.categories if category.flags is None]

    @property
    def blocks(self) -> Blocks:
        """How many columns of each kind there are."""
        return Blocks(
            len(self.numbers.columns),
            sum(self.flag_widths),
            tuple(len(category.levels) + 1 for category in self.coded),
        )

    @property
    def flag_widths(self) -> list[int]:
        """How many flags each category has, and then each indicator: one."""
        return [*(category.width for category in self.flagged), *(1 for _ in self.indicators)]

    @property
    def sources(self) -> list[int]:
        """Which column of the table each column of the matrix comes from."""
        return [
            *self.numbers.columns.tolist(),
            *(category.column for category in self.flagged for _ in range(category.width)),
            *self.indicators.tolist(),
            *(category.column for category in self.coded),
        ]

    @property
    def read_as_numbers(self) -> list[int]:
        """Numbers of the columns to be read: those of `numbers`, then those only indicated."""
        own = self.numbers.columns.tolist()
        return [*own, *sorted({*self.indicators.tolist()} - {*own})]

    @property
    def used(self) -> list[int]:
        """Numbers of all columns to be read: as numbers, then as categories."""
        return [*self.read_as_numbers, *(category.column for category in self.categories)]


def chunks(n_rows: int, times: int = 1) -> Iterator[slice]:
    """Yield the rows that are computed at a time, or some times as many."""
    n_together = times * CHUNK_ROWS
    for start in range(0, n_rows, n_together):
        yield slice(start, min(start + n_together, n_rows))


def encode(
    encoding: Encoding, n_rows: int, columns: Sequence[Column], codes: Sequence[Codes]
) -> npt.NDArray[Any]:
    """Encode a table.

    Parameters
    ----------
    encoding : Encoding
    n_rows : int
    columns : sequence of Column
        Those of `Encoding.read_as_numbers`.
    codes : sequence of ndarray of shape (n_rows,)
        Of each of `Encoding.categories`.

    Returns
    -------
    matrix : C-contiguous ndarray of shape (n_rows, n_columns)

    Raises
    ------
    TypeError, ValueError
        If a column does not hold finite numbers, or they cannot be scaled.
    """
    blocks = encoding.blocks
    width = blocks.numbers + blocks.flags + len(blocks.levels)
    matrix = np.empty((n_rows, width), dtype=encoding.dtype)
    scratch = np.empty((len(columns), min(n_rows, CHUNK_ROWS)))
    fill, scale = None, encoding.numbers.scaler()
    places = {column: place for place, column in enumerate(encoding.read_as_numbers)}
    indicated = [places[column] for column in encoding.indicators.tolist()]
    pairs = [*zip(encoding.categories, codes, strict=True)]
    flagged = [pair for pair in pairs if pair[0].flags is not None]
    coded = [own for category, own in pairs if category.flags is None]
    for rows in chunks(n_rows):
        part = matrix[rows]
        block = scratch[:, : len(part)]
        for values, column in zip(block, columns, strict=True):
            values[:] = column.numbers(rows)
        missing = missing_in(block, columns)
        if missing is not None and fill is None:
            fill = encoding.numbers.fill_values()
        at = blocks.numbers
        write_numbers(scale(block[:at]), part[:, :at], missing, fill)
        if not encoding.numbers.is_bounded:
            check_holds(part[:, :at], columns)
        for category, own in flagged:
            category.write_flags(own[rows], part[:, at : at + category.width])
            at += category.width
        for place, (there, gone) in zip(indicated, encoding.indicator_flags.T, strict=True):
            part[:, at] = there if missing is None else np.where(missing[place], gone, there)
            at += 1
        for own in coded:
            part[:, at] = own[rows]
            at += 1
    return matrix


def missing_in(block: Floats, columns: Sequence[Column]) -> npt.NDArray[np.bool_] | None:
    """Return what is missing, or None if all is there.

    Raises
    ------
    ValueError
        If a number is infinite.
    """
    is_finite = np.isfinite(block)
    if is_finite.all():
        return None
    missing = np.isnan(block)
    if not (is_finite | missing).all():
        infinite = ~(is_finite | missing).all(axis=1)
        refuse_infinite(columns[int(np.argmax(infinite))].name)
    return missing


def write_numbers(
    scaled: Floats,
    out: npt.NDArray[Any],
    missing: npt.NDArray[np.bool_] | None,
    fill: Floats | None,
) -> None:
    """Fill a block of scaled numbers, of shape (n_numbers, n_rows), and write its transpose."""
    if missing is not None and fill is not None:
        np.copyto(scaled, fill, where=missing[: len(scaled)])
    with np.errstate(over="ignore"):
        out[:] = scaled.astype(out.dtype).T


def check_holds(out: npt.NDArray[Any], columns: Sequence[Column]) -> None:
    """Refuse scaled numbers that are larger than the matrix can hold.

    Raises
    ------
    ValueError
        If there are any.
    """
    if not np.isfinite(out).all():
        place = int(np.argmin(np.isfinite(out).all(axis=0)))
        raise ValueError(
            f"Column {columns[place].name!r} has numbers that are, scaled, larger than {out.dtype} "
            "can hold. Use other units, scaling='robust', or dtype='float64'."
        )


def fitted_encoding(estimator: Any) -> Encoding:
    """Return what an encoder has learned, which users may have replaced.

    Raises
    ------
    ValueError
        If it cannot be used.
    """
    found = vars(estimator).get("_encoding")
    n_features = vars(estimator).get("n_features_in_")
    try:
        if isinstance(found, Encoding) and is_consistent(found, n_features):
            return found
    except (AttributeError, TypeError, ValueError, IndexError):
        pass  # its parts are of other types
    raise ValueError(
        f"What {type(estimator).__name__} has learned has been changed: _encoding is "
        f"{shown(found)}, which does not go with itself or with n_features_in_={n_features!r}. "
        "Fit again."
    )


def is_consistent(encoding: Encoding, n_features: Any) -> bool:
    """Whether arrays have the shapes and types that belong together, and columns exist."""
    numbers, n_indicators = encoding.numbers, len(encoding.indicators)
    n_numbers = len(numbers.columns)
    floats: list[tuple[Any, tuple[int, ...]]] = [
        (numbers.mean, (n_numbers,)),
        (numbers.center, (n_numbers,)),
        (numbers.scale, (n_numbers,)),
        (encoding.indicator_flags, (2, n_indicators)),
        *((table, (2, table.shape[1])) for table in numbers.quantiles),
        *((one.flags, (3, one.width)) for one in encoding.flagged),
    ]
    used = np.array(encoding.used)
    return (
        all(array.shape == shape and np.isfinite(array).all() for array, shape in floats)
        and bool((numbers.scale > 0).all())
        and len(numbers.quantiles) in (0, n_numbers)
        and used.dtype.kind == "i"
        and bool(((used >= 0) & (used < n_features)).all())
        and encoding.dtype in ("float32", "float64")
        and all(isinstance(one, Category) for one in encoding.categories)
        and all(one.levels.dtype == object for one in encoding.categories)
        and all(one.width <= len(one.levels) for one in encoding.flagged)
    )
