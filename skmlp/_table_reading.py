"""Tables as they come: arrays, lists of rows, and data frames of pandas and polars."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.utils.validation import validate_data

from skmlp._table_columns import ArrayColumn, Column, PandasColumn, PolarsColumn


class Table(NamedTuple):
    """Columns of equal length.

    Attributes
    ----------
    n_rows : int
    columns : list of Column
    names : list or None
        What a frame calls them.
    """

    n_rows: int
    columns: list[Column]
    names: list[Any] | None


def is_frame_of(library: str, X: Any) -> bool:
    """Whether X is a data frame of a library, which then is imported already."""
    module = sys.modules.get(library)
    return module is not None and isinstance(X, module.DataFrame)


def read_table(estimator: Any, X: Any, *, used: Sequence[int] | None = None) -> Table:
    """Check a table as scikit-learn does, and return its columns.

    Parameters
    ----------
    estimator : estimator
        It learns, or compares, number and names of columns.
    X : array-like or data frame
        The table.
    used : sequence of int, default=None
        Numbers of the columns to return, after a fit. None is all, in a fit.

    Raises
    ------
    TypeError, ValueError
        If it is no table with rows, lacks columns, or has one that cannot be read.
    """
    reset = used is None
    is_pandas = is_frame_of("pandas", X)
    if is_pandas or is_frame_of("polars", X):
        names = list(X.columns)
        if reset or not are_those_of_fit(estimator, names):
            validate_data(estimator, X, reset=reset, skip_check_array=True)
        if 0 in X.shape:
            raise ValueError(
                f"X has {X.shape[0]} sample(s) and {X.shape[1]} feature(s), while a minimum of 1 "
                "of each is required. Pass a table with rows and columns."
            )
        numbers = range(X.shape[1]) if used is None else used
        if is_pandas:
            series = [column for _, column in X.items()]
        else:
            series = X.get_columns()
        of_frame = pandas_column if is_pandas else polars_column
        columns = [of_frame(series[number], str(names[number])) for number in numbers]
        return Table(X.shape[0], columns, names)
    X = validate_data(estimator, as_array_like(X), reset=reset, dtype=None, ensure_all_finite=False)
    numbers = range(X.shape[1]) if used is None else used
    names = list(getattr(estimator, "feature_names_in_", [])) or [
        f"x{k}" for k in range(X.shape[1])
    ]
    return Table(len(X), [ArrayColumn(names[k], X[:, k]) for k in numbers], None)


def are_those_of_fit(estimator: Any, names: list[Any]) -> bool:
    """Whether columns have the names of the fit: what scikit-learn asks for takes longer."""
    known = vars(estimator).get("feature_names_in_")
    is_array = isinstance(known, np.ndarray) and len(known) == estimator.n_features_in_
    return is_array and known.tolist() == names


def as_array_like(X: Any) -> Any:
    """Refuse what is no array, and keep numbers apart from text in lists.

    Raises
    ------
    TypeError
        If X is sparse, or a table of a library that is not known here.
    """
    if scipy.sparse.issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but a table has dense columns. Use X.toarray(), or "
            "scale X by sklearn.preprocessing.MaxAbsScaler instead."
        )
    if hasattr(X, "__dataframe__") or type(X).__name__ == "LazyFrame":
        raise TypeError(
            f"X is a {type(X).__module__}.{type(X).__name__}, which is not read here. Pass a data "
            "frame of pandas or polars (X.to_pandas(), X.collect()), or an array."
        )
    if isinstance(X, list | tuple) and np.asarray(X).dtype.kind == "U":
        return np.asarray(X, dtype=object)
    return X


def pandas_column(series: Any, name: str) -> Column:
    """Return a column of pandas', as one of NumPy's if that is what holds it."""
    if isinstance(series.dtype, np.dtype):
        return ArrayColumn(name, series.to_numpy())
    return PandasColumn(name, series.array)


def polars_column(series: Any, name: str) -> Column:
    """Return a column of polars', as one of NumPy's where that takes no copy."""
    polars = sys.modules["polars"]
    if series.dtype == polars.Object:
        return ArrayColumn(name, np.fromiter(series.to_list(), object, len(series)))
    dtype = series.dtype
    is_shared = dtype.is_float() or (dtype.is_integer() and not str(dtype).endswith("128"))
    if is_shared and not series.null_count():
        return ArrayColumn(name, series.to_numpy())
    return PolarsColumn(name, series)
