"""The columns of a table, whatever holds them: NumPy, pandas or polars.

A column is read as numbers, in pieces, or as categories, at once. Columns that are neither are
refused by name. pandas and polars are asked for only where a frame of theirs has come, so both
are imported already.
"""

import sys
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

UNKNOWN = -1  # the code of what is missing
FEW = 1000  # rows, which are read by Python in less time than polars needs to begin
MANY = 2**50  # whole numbers up to this one are exact as floats, and their differences small


class Factorized(NamedTuple):
    """A column as categories.

    Attributes
    ----------
    codes : ndarray of int of shape (n_rows,)
        Where each value stands in `levels`, or `UNKNOWN`.
    levels : list
        Each a str, bool, int or float, or None for one more way to say that a value is missing.
        In no particular order, some perhaps twice.
    """

    codes: npt.NDArray[np.integer[Any]]
    levels: list[Any]


class Column(ABC):
    """One column of a table.

    Attributes
    ----------
    name : str
        What errors call it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def is_category(self) -> bool:
        """Whether its type says that it is a category."""

    @abstractmethod
    def numbers(self, rows: slice) -> npt.NDArray[Any]:
        """Return some rows as numbers, NaN where they are missing.

        Raises
        ------
        TypeError
            If they are no numbers.
        """

    @abstractmethod
    def factorized(self) -> Factorized:
        """Return all rows as categories.

        Raises
        ------
        TypeError
            If a value is neither text nor a number.
        """

    def refuse_as_numbers(self, error: Exception) -> NoReturn:
        raise TypeError(
            f"Column {self.name!r} is to be read as numbers, but {str(error).rstrip('.')}. Pass "
            "numbers, or name the column in categorical_features before fit."
        ) from error


# What a table cannot hold, what it is called, and what to do instead.
UNREADABLE: tuple[tuple[tuple[type, ...], str, str], ...] = (
    (
        (date, time, timedelta, np.datetime64, np.timedelta64),
        "dates or times",
        "Replace it by numbers, such as the days since some date and the month, or leave it out.",
    ),
    (
        (complex, np.complexfloating),
        "complex numbers",
        "Pass their real and imaginary parts as two columns.",
    ),
    (
        (bytes, bytearray, np.void),
        "bytes",
        "Decode them to text, or leave the column out.",
    ),
    (
        (list, tuple, set, frozenset, dict, np.ndarray),
        "nested values",
        "Give each of their parts a column of its own, or leave the column out.",
    ),
)
ANYTHING_ELSE = "Convert them to text or numbers, or leave the column out."


def refuse(name: str, cls: type) -> NoReturn:
    """Raise for a column whose values have a type that is neither text nor a number."""
    known = ((what, remedy) for classes, what, remedy in UNREADABLE if issubclass(cls, classes))
    what, remedy = next(known, (f"values of type {cls.__name__}", ANYTHING_ELSE))
    raise TypeError(
        f"Column {name!r} holds {what}, but the argument must be a table of strings and numbers. "
        f"{remedy}"
    )


def is_missing_type(cls: type) -> bool:
    """Whether all objects of a type say that a value is missing: None, and two of pandas'."""
    return cls is type(None) or cls.__name__ in ("NAType", "NaTType")


def is_number_type(cls: type) -> bool:
    """Whether objects of a type are numbers, which truth values here are not."""
    is_date = issubclass(cls, np.timedelta64)  # to NumPy an integer
    return issubclass(cls, Real | Decimal) and not (is_date or issubclass(cls, bool))


def is_truth_type(cls: type) -> bool:
    return issubclass(cls, bool | np.bool_)


def types_of(name: str, values: Iterable[Any]) -> set[type]:
    """Return the types of all objects that are not missing, if they are text or numbers.

    Raises
    ------
    TypeError
        If one is neither.
    """
    types = {cls for cls in set(map(type, values)) if not is_missing_type(cls)}
    for cls in sorted(types, key=lambda cls: cls.__name__):
        if not (issubclass(cls, str) or is_number_type(cls) or is_truth_type(cls)):
            refuse(name, cls)
    return types


def plain_level(level: Any) -> Any:
    """Return a level as Python's str, bool, int or float, or None if it is missing.

    The same level may come as a scalar of NumPy's, as a member of an enumeration, or as a whole
    number among floats.
    """
    if isinstance(level, np.generic):
        level = level.item()
    if isinstance(level, str):
        return str.__str__(level)
    if isinstance(level, int):
        return level if isinstance(level, bool) else int(level)
    if is_missing_type(type(level)) or level != level:
        return None
    level = float(level)
    return int(level) if level.is_integer() else level


def factorized_objects(name: str, values: Sequence[Any]) -> Factorized:
    """Give objects numbers, in the order in which they come."""
    types_of(name, values)
    index: defaultdict[Any, int] = defaultdict()
    index.default_factory = index.__len__
    codes = np.fromiter(map(index.__getitem__, values), np.int64, len(values))
    return Factorized(codes, list(map(plain_level, index)))


def factorized_numbers(
    values: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Return the different numbers, sorted, and where each number stands among them."""
    least, most = (values.min().item(), values.max().item()) if len(values) else (0, 0)
    if -MANY <= least <= most <= MANY and most - least <= 2 * len(values):
        offsets = values.astype(np.intp)
        # Whole numbers that lie close together are told apart without a search.
        if values.dtype.kind != "f" or (offsets == values).all():
            least = int(least)
            offsets -= least
            occurs = np.bincount(offsets) > 0
            levels = (np.flatnonzero(occurs) + least).astype(values.dtype)
            return levels, (np.cumsum(occurs) - 1)[offsets]
    levels = np.unique(values)
    return levels, np.searchsorted(levels, values)


class ArrayColumn(Column):
    """One that NumPy holds."""

    def __init__(self, name: str, values: npt.NDArray[Any]) -> None:
        super().__init__(name)
        kind = values.dtype.kind
        if kind == "T":  # text of any length
            values, kind = values.astype(object), "O"
        if kind not in "biufUO":
            refuse(name, values.dtype.type)
        self.values = values

    def is_category(self) -> bool:
        """Whether it holds text or truth values; of objects, all that is not missing is asked."""
        kind = self.values.dtype.kind
        if kind != "O":
            return kind in "bU"
        types = types_of(self.name, self.values.tolist())
        all_true_or_false = all(map(is_truth_type, types))
        return bool(types) and (all_true_or_false or any(issubclass(cls, str) for cls in types))

    def numbers(self, rows: slice) -> npt.NDArray[Any]:
        """Return some rows; text that is written as a number is one."""
        values = self.values[rows]
        if values.dtype.kind not in "OU":
            return values
        if values.dtype.kind == "O":
            objects = values.tolist()
            types_of(self.name, objects)
            if any(map(is_missing_type, set(map(type, objects)))):
                known = [np.nan if is_missing_type(type(value)) else value for value in objects]
                values = np.array(known, dtype=object)
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            self.refuse_as_numbers(error)

    def factorized(self) -> Factorized:
        """Return levels that are sorted if they are numbers, else in the order of the rows."""
        if self.values.dtype.kind in "OU":
            return factorized_objects(self.name, self.values.tolist())
        values = np.ascontiguousarray(self.values)
        missing = np.isnan(values) if values.dtype.kind == "f" else np.False_
        if not missing.any():
            levels, codes = factorized_numbers(values)
        else:
            codes = np.full(len(values), UNKNOWN)
            levels, codes[~missing] = factorized_numbers(values[~missing])
        return Factorized(codes, list(map(plain_level, levels)))


class PandasColumn(Column):
    """One that an extension array of pandas holds."""

    def __init__(self, name: str, array: Any) -> None:
        super().__init__(name)
        cls = array.dtype.type
        # Also that of arrow's dictionaries.
        self.is_categorical = cls.__name__ == "CategoricalDtypeType"
        self.is_text = issubclass(cls, str)
        readable = self.is_categorical or self.is_text or is_number_type(cls) or is_truth_type(cls)
        if not (readable or str(array.dtype) == "null[pyarrow]"):
            refuse(name, cls)
        self.array = array

    def is_category(self) -> bool:
        """Whether it is of a type for categories, text or truth values."""
        return self.is_categorical or self.is_text or is_truth_type(self.array.dtype.type)

    def numbers(self, rows: slice) -> npt.NDArray[Any]:
        """Return some rows; categories that are numbers are read as these."""
        try:
            values = self.array[rows].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError, OverflowError) as error:
            self.refuse_as_numbers(error)
        return np.asarray(values)

    def factorized(self) -> Factorized:
        """Return what pandas makes of it; categories that are intervals or the like become text."""
        if hasattr(self.array, "codes"):
            codes, levels = occurring(np.asarray(self.array.codes), self.array.categories)
        else:
            codes, levels = self.array.factorize()
        listed = levels.tolist()
        if self.is_categorical:
            kept = (str, Real, Decimal, type(None))
            listed = [level if isinstance(level, kept) else str(level) for level in listed]
        return Factorized(codes, list(map(plain_level, listed)))


def occurring(
    codes: npt.NDArray[np.integer[Any]], levels: Any
) -> tuple[npt.NDArray[np.integer[Any]], Any]:
    """Leave out levels that do not occur, and number the others anew."""
    occurs = np.bincount(codes.astype(np.intp) + 1, minlength=len(levels) + 1)[1:] > 0
    new = np.append(np.cumsum(occurs) - 1, UNKNOWN)
    return new[codes], levels[occurs]


class PolarsColumn(Column):
    """One that polars holds in a way that NumPy cannot share."""

    def __init__(self, name: str, series: Any) -> None:
        super().__init__(name)
        polars = self.polars = sys.modules["polars"]
        dtype = series.dtype
        self.is_text = any(
            dtype == text for text in (polars.String, polars.Categorical, polars.Enum)
        )
        if dtype.is_temporal():
            refuse(name, date)
        if dtype.is_nested():
            refuse(name, list)
        if dtype == polars.Binary:
            refuse(name, bytes)
        self.series = series

    def is_category(self) -> bool:
        """Whether it is of a type for categories, text or truth values."""
        return self.is_text or self.series.dtype == self.polars.Boolean

    def numbers(self, rows: slice) -> npt.NDArray[Any]:
        """Return some rows; text that is written as a number is one."""
        values = self.series[rows]
        try:
            if self.is_text:
                values = values.cast(self.polars.String)
            return np.asarray(values.cast(self.polars.Float64).to_numpy())
        except self.polars.exceptions.PolarsError as error:
            self.refuse_as_numbers(error)

    def factorized(self) -> Factorized:
        """Return levels that are sorted if they are numbers, else in the order of the rows."""
        series = self.series
        known = series.drop_nulls()
        if known.is_empty():
            return Factorized(np.full(len(series), UNKNOWN), [])
        if not self.is_text:
            return factorized_objects(self.name, series.to_list())
        text = series.cast(self.polars.String)
        if len(text) < FEW:
            return factorized_objects(self.name, text.to_list())
        levels = known.cast(self.polars.String).unique(maintain_order=True)
        numbered = text.cast(self.polars.Enum(levels)).to_physical()
        codes = numbered.cast(self.polars.Int64).fill_null(UNKNOWN).to_numpy()
        return Factorized(codes, levels.to_list())
