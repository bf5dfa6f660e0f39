"""Reads a table that was dropped into the page."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from skmlp._optional import needed
from skmlp.playground.datasets import Array

MAX_BYTES, MAX_ROWS, MAX_COLUMNS, MAX_CLASSES = 2_000_000, 20_000, 100, 20


@dataclass(frozen=True)
class Table:
    """Numbers of a CSV file whose last column is the target."""

    name: str
    X: Array
    y: Array
    is_classes: bool
    target: str


def read_table(name: str, text: str) -> Table:
    r"""Read a CSV file with a line of names; the last column is the target.

    Parameters
    ----------
    name : str
        That of the file, for messages and for the Python that is shown.
    text : str

    Returns
    -------
    table : Table

    Raises
    ------
    ImportError
        Without pandas.
    ValueError
        If it is no such table, with what to change.

    Examples
    --------
    >>> read_table("a.csv", "x,kind\n1,a\n2,b\n3,a\n4,b\n").y.tolist()
    ['a', 'b', 'a', 'b']
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ValueError(f"{name} has more than {MAX_BYTES} bytes. Drop a smaller table.")
    pandas = needed("pandas", "A table in the playground", install="skmlp[playground]")
    try:
        frame = pandas.read_csv(io.StringIO(text))
    except (ValueError, pandas.errors.ParserError) as error:
        raise ValueError(f"{name} is no CSV table: {error}. Drop one with commas.") from error
    rows, columns = frame.shape
    if not 2 <= columns <= MAX_COLUMNS + 1:
        raise ValueError(
            f"{name} has {columns} columns; it needs 2 to {MAX_COLUMNS + 1}, the last one the "
            "target. Separate them by commas, or leave some out."
        )
    if not 4 <= rows <= MAX_ROWS:
        raise ValueError(f"{name} has {rows} rows; it needs 4 to {MAX_ROWS}.")
    for column in frame.columns:
        if frame[column].isna().any():
            raise ValueError(f"Column {column!r} of {name} has gaps. Fill them, or drop the rows.")
    for column in frame.columns[:-1]:
        if not pandas.api.types.is_numeric_dtype(frame[column]):
            raise ValueError(
                f"Column {column!r} of {name} is not numbers. Leave it out; text can be a target "
                "alone, in the last column."
            )
    X = frame.iloc[:, :-1].to_numpy(float)
    if not (np.isfinite(X).all() and np.abs(X).max() < 1e30):
        raise ValueError(f"{name} has numbers of 1e30 or more. Scale the columns.")
    return Table(name, X, *target_of(name, frame.iloc[:, -1], pandas))


def target_of(name: str, column: Any, pandas: Any) -> tuple[Array, bool, str]:
    """Return the target, whether it is classes, and its name."""
    target = str(column.name)
    numeric = pandas.api.types.is_numeric_dtype(column) and column.dtype != bool
    y = column.to_numpy(float) if numeric else column.to_numpy(str)
    labels, counts = np.unique(y, return_counts=True)
    if numeric and not (len(labels) <= 10 and (labels == np.round(labels)).all()):
        if not (np.isfinite(y).all() and np.abs(y).max() < 1e30):
            raise ValueError(f"{name} has targets of 1e30 or more. Scale the last column.")
        return y, False, target
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise ValueError(
            f"Column {target!r} of {name} has {len(labels)} classes; there must be 2 to "
            f"{MAX_CLASSES}. Put the target into the last column."
        )
    if counts.min() < 2:
        raise ValueError(
            f"Class {str(labels[counts.argmin()])!r} of {name} has one row; each needs two, "
            "one of them to be held out. Leave it out, or add rows."
        )
    return y, True, target
