"""What a fit learns of a table: which columns are of use, and how each is encoded."""

import math
from collections.abc import Callable, Hashable, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp._table_categories import Category, Codes, Levels, counts_of_flags, learn_levels, one_hot
from skmlp._table_columns import Floats
from skmlp._table_encoding import Encoding, chunks
from skmlp._table_numbers import (
    Numbers,
    Sampler,
    Summary,
    scale_flags_robustly,
    summarize,
)
from skmlp._table_reading import Table

# The rows of an array have these columns side by side, in the same line of the cache.
READ_TOGETHER = 8
# Larger whole numbers are rounded.
LARGEST_CODE = {"float32": 2**24, "float64": 2**53}


class Learned(NamedTuple):
    """What a fit has learned.

    Attributes
    ----------
    encoding : Encoding
    codes : list of ndarray of shape (n_rows,)
        Of each of its categories.
    dropped : dict of str to str
        Names of columns that are not used, and why.
    """

    encoding: Encoding
    codes: list[Codes]
    dropped: dict[str, str]


def which_are_categories(given: Any, table: Table) -> npt.NDArray[np.bool_]:
    """Return a mask of the columns that are categories.

    Parameters
    ----------
    given : "from_dtype", array-like of bool, int or str, or None
    table : Table

    Raises
    ------
    ValueError
        If there are no such columns.
    """
    n_columns = len(table.columns)
    if given is None:
        return np.zeros(n_columns, dtype=bool)
    if isinstance(given, str):
        return np.array([column.is_category() for column in table.columns], dtype=bool)
    listed = np.asarray(given)
    if listed.size == 0:
        return np.zeros(n_columns, dtype=bool)
    is_names = listed.dtype.kind == "U" or {type(one) for one in listed.flat} == {str}
    if listed.ndim != 1 or not (is_names or listed.dtype.kind in "bi"):
        raise ValueError(
            "categorical_features must be 'from_dtype', None, or an array-like of bool, int or "
            f"str, but is {given!r}. Pass a mask, numbers or names of columns."
        )
    if listed.dtype.kind == "b":
        if listed.shape != (n_columns,):
            raise ValueError(
                f"categorical_features is a mask of {len(listed)} columns, but X has {n_columns}. "
                "Pass one value for each column."
            )
        return listed
    if is_names:
        listed = np.array([number_of(name, table.names) for name in listed.tolist()])
    if listed.min() < 0 or listed.max() >= n_columns:
        raise ValueError(
            f"categorical_features={given!r} must hold numbers of columns between 0 and "
            f"{n_columns - 1}, for X has {n_columns} columns."
        )
    mask = np.zeros(n_columns, dtype=bool)
    mask[listed] = True
    return mask


def number_of(name: str, names: list[Any] | None) -> int:
    """Return the number of a named column."""
    if names is None:
        raise ValueError(
            f"categorical_features names the column {name!r}, but X has no names of columns. Pass "
            "a data frame, or numbers of columns, or a mask."
        )
    if name not in names:
        raise ValueError(
            f"categorical_features names the column {name!r}, which X does not have. Its columns "
            f"are {names}."
        )
    return names.index(name)


def learn(
    table: Table,
    is_categorical: npt.NDArray[np.bool_],
    settings: Any,
    random_state: np.random.RandomState,
) -> Learned:
    """Learn how to encode a table.

    Parameters
    ----------
    table : Table
    is_categorical : ndarray of bool of shape (n_columns,)
    settings : TableEncoder
        Its parameters are read.
    random_state : RandomState

    Raises
    ------
    TypeError, ValueError
        If a column cannot be read, or none is of use.
    """
    is_robust = settings.scaling == "robust"
    summaries = summarize_all(table, ~is_categorical, settings.scaling, random_state)
    levels = levels_of_all(table, is_categorical, settings)
    dropped = {**useless_numbers(table, summaries), **useless_categories(levels)}
    kept = {column: one for column, one in levels.items() if column not in dropped}
    indicators, indicator_flags = indicators_of(table, summaries, is_robust)
    encoding = Encoding(
        numbers_of({c: one for c, one in summaries.items() if c not in dropped}, settings.scaling),
        tuple(category_of(column, one, settings) for column, one in kept.items()),
        indicators,
        indicator_flags,
        np.dtype(settings.dtype).name,
    )
    check_is_of_use(encoding, table)
    names = [column.name for column in table.columns]
    reasons = {
        names[column]: "constant" if first is None else f"same as {names[first]}"
        for column, first in sorted(dropped.items())
    }
    return Learned(encoding, [one.codes for one in kept.values()], reasons)


def summarize_all(
    table: Table,
    mask: npt.NDArray[np.bool_],
    scaling: str | None,
    random_state: np.random.RandomState,
) -> dict[int, Summary]:
    """Learn from each column of numbers."""
    sampler = Sampler(table.n_rows, random_state) if scaling == "quantile" else None
    numbers = np.flatnonzero(mask).tolist()
    found = {}
    buffer = np.empty((min(READ_TOGETHER, len(numbers)), table.n_rows))
    for start in range(0, len(numbers), READ_TOGETHER):
        together = numbers[start : start + READ_TOGETHER]
        for rows in chunks(table.n_rows, times=5):
            for place, column in enumerate(together):
                buffer[place, rows] = table.columns[column].numbers(rows)
        for place, column in enumerate(together):
            name = table.columns[column].name
            found[column] = summarize(name, buffer[place], scaling, sampler)
    return found


def levels_of_all(table: Table, mask: npt.NDArray[np.bool_], settings: Any) -> dict[int, Levels]:
    """Learn the levels of each category."""
    frequency = settings.min_frequency
    if not isinstance(frequency, Integral):
        frequency = math.ceil(frequency * table.n_rows)
    return {
        column: learn_levels(table.columns[column].factorized(), frequency, settings.max_one_hot)
        for column in np.flatnonzero(mask).tolist()
    }


# Columns that are not used, each with the first one that is the same, None if it is constant.
Useless = dict[int, int | None]


def useless_numbers(table: Table, summaries: dict[int, Summary]) -> Useless:
    def is_equal(one: int, other: int) -> bool:
        return all(
            np.array_equal(
                table.columns[one].numbers(rows), table.columns[other].numbers(rows), equal_nan=True
            )
            for rows in chunks(table.n_rows)
        )

    constant: Useless = {column: None for column, one in summaries.items() if one.is_constant}
    keys = {column: one.key for column, one in summaries.items() if column not in constant}
    return {**constant, **first_equals(keys, is_equal)}


def useless_categories(levels: dict[int, Levels]) -> Useless:
    def is_equal(one: int, other: int) -> bool:
        return np.array_equal(levels[one].codes, levels[other].codes)

    constant: Useless = {column: None for column, one in levels.items() if one.is_constant}
    keys = {
        column: (tuple(one.levels), one.counts.tobytes(), one.codes[:1000].tobytes())
        for column, one in levels.items()
        if column not in constant
    }
    return {**constant, **first_equals(keys, is_equal)}


def first_equals(
    keys: Mapping[int, Hashable], is_equal: Callable[[int, int], bool]
) -> dict[int, int]:
    """Return columns that equal an earlier one, and the first that each of them equals.

    Parameters
    ----------
    keys : mapping
        Columns whose keys differ are not equal.
    is_equal : callable
        Whether two columns are, in all rows.
    """
    seen: dict[Hashable, list[int]] = {}
    found = {}
    for column, key in keys.items():
        others = seen.setdefault(key, [])
        first = next((other for other in others if is_equal(other, column)), None)
        if first is None:
            others.append(column)
        else:
            found[column] = first
    return found


def numbers_of(summaries: dict[int, Summary], scaling: str | None) -> Numbers:
    """Put what was learned of single columns into arrays."""
    kept = summaries.values()
    return Numbers(
        np.array([*summaries], dtype=np.intp),
        np.array([one.mean for one in kept], dtype=np.float64),
        np.array([one.center for one in kept], dtype=np.float64),
        np.array([one.scale for one in kept], dtype=np.float64),
        tuple(one.quantiles for one in kept if one.quantiles is not None),
        scaling == "robust",
    )


def category_of(column: int, learned: Levels, settings: Any) -> Category:
    """Decide what becomes of a category."""
    n_codes = len(learned.counts)
    if n_codes > settings.max_one_hot and settings.many_levels == "code":
        return Category(column, learned.levels, None)
    flags = one_hot(n_codes - 1)
    if settings.scaling == "robust":
        flags = scale_flags_robustly(flags, counts_of_flags(learned.counts))
    return Category(column, learned.levels, flags)


def indicators_of(
    table: Table, summaries: dict[int, Summary], is_robust: bool
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return which columns have an indicator, and its two numbers.

    Where the same rows are missing in several columns, the first one has it.
    """
    first: dict[bytes, int] = {}
    for column, one in summaries.items():
        if 0 < one.n_missing < table.n_rows:
            first.setdefault(one.missing_rows, column)
    flags = np.repeat([[0.0], [1.0]], len(first), axis=1)
    if is_robust and first:
        missing = np.array([summaries[column].n_missing for column in first.values()])
        flags = scale_flags_robustly(flags, np.stack([table.n_rows - missing, missing]))
    return np.array([*first.values()], dtype=np.intp), flags


def check_is_of_use(encoding: Encoding, table: Table) -> None:
    """Refuse a table that tells nothing, and more levels than the matrix can hold.

    Raises
    ------
    ValueError
        If it does, or has them.
    """
    if not encoding.used:
        raise ValueError(
            f"X has no column of use: with n_samples={table.n_rows} all of them are constant, or "
            "categories of levels that are rarer than min_frequency. Pass rows that differ."
        )
    largest = LARGEST_CODE[encoding.dtype]
    for category in encoding.coded:
        if len(category.levels) > largest:
            raise ValueError(
                f"Column {table.columns[category.column].name!r} has {len(category.levels)} "
                f"levels, but {encoding.dtype} holds whole numbers up to {largest}. Use a larger "
                "min_frequency, or dtype='float64'."
            )
