"""Readers of the public data sets of ``accuracy``; the files lie in a folder given by the user."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.workloads import Array

Task = Literal["classifier", "regressor"]


@dataclass(frozen=True)
class Dataset:
    """A table with its target.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_columns)
        Numbers; or, where `categorical` names columns, an object array of numbers and texts.
    categorical : tuple of int
        Positions of the columns that hold texts.
    metric : str
        A scorer's name.
    n_training : int or None
        Rows of the official training part, which come first; None where there is no such split.
    """

    X: Array
    y: Array
    task: Task
    metric: str
    categorical: tuple[int, ...] = ()
    n_training: int | None = None


def open_file(folder: Path, name: str) -> io.BytesIO:
    """Return the content of a file, decompressed where its name ends in ``.gz``."""
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. --data must name a folder that holds the files listed in "
            "benchmarks/README.md; leave out their data set with --rows otherwise."
        )
    content = path.read_bytes()
    return io.BytesIO(gzip.decompress(content) if name.endswith(".gz") else content)


def read_csv(folder: Path, name: str, header: bool = False) -> Array:
    """Return the cells of a CSV file as an array of stripped texts."""
    with io.TextIOWrapper(open_file(folder, name), encoding="utf-8") as file:
        lines = [line for line in csv.reader(file, skipinitialspace=True) if line]
    return np.array(lines[1:] if header else lines)


def to_table(cells: Array) -> tuple[Array, tuple[int, ...]]:
    """Return the cells as numbers where a whole column allows it, and the other columns.

    An empty cell counts as a missing number.
    """
    columns: list[Array] = []
    categorical = []
    for i, column in enumerate(cells.T):
        try:
            columns.append(np.where(column == "", "nan", column).astype(np.float64))
        except ValueError:
            columns.append(column.astype(object))
            categorical.append(i)
    return np.column_stack(columns), tuple(categorical)


def load_adult(folder: Path) -> Dataset:
    """Return census rows and whether a person earns more than 50K."""
    train = read_csv(folder, "adult-train.csv.gz")
    test = read_csv(folder, "adult-test.csv.gz")
    cells = np.concatenate([train, test])
    X, categorical = to_table(cells[:, :-1])
    y = np.char.startswith(cells[:, -1], ">50K").astype(np.int64)
    return Dataset(X, y, "classifier", "accuracy", categorical, len(train))


def load_california(folder: Path) -> Dataset:
    """Return Californian districts and their median house value."""
    cells = read_csv(folder, "california_housing.csv.gz", header=True)
    X, categorical = to_table(np.delete(cells, -2, axis=1))
    return Dataset(X, cells[:, -2].astype(np.float64), "regressor", "r2", categorical)


def load_mnist(folder: Path) -> Dataset:
    """Return the 10,000 handwritten digits of MNIST's test part, grey values in [0, 1]."""
    images = open_file(folder, "mnist-t10k-images-idx3-ubyte.gz").read()
    labels = open_file(folder, "mnist-t10k-labels-idx1-ubyte.gz").read()
    X = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784) / 255
    return Dataset(X, np.frombuffer(labels, np.uint8, offset=8), "classifier", "accuracy")


def load_phoneme(folder: Path) -> Dataset:
    """Return vowel sounds and whether they are nasal."""
    X = to_table(read_csv(folder, "phoneme.csv"))[0]
    return Dataset(X[:, :-1], X[:, -1].astype(np.int64), "classifier", "accuracy")


def load_mammography(folder: Path) -> Dataset:
    """Return microcalcification candidates, 2 % of them positive."""
    cells = read_csv(folder, "mammography.csv.gz")
    y = (np.char.strip(cells[:, -1], "'") == "1").astype(np.int64)
    return Dataset(to_table(cells[:, :-1])[0], y, "classifier", "average_precision")


def load_abalone(folder: Path) -> Dataset:
    """Return abalones and their number of rings."""
    cells = read_csv(folder, "abalone.csv")
    X, categorical = to_table(cells[:, :-1])
    return Dataset(X, cells[:, -1].astype(np.float64), "regressor", "r2", categorical)


def load_winequality(folder: Path) -> Dataset:
    """Return white wines and their rated quality."""
    X = to_table(read_csv(folder, "winequality-white.csv"))[0]
    return Dataset(X[:, :-1], X[:, -1], "regressor", "r2")


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "adult": load_adult,
    "california": load_california,
    "mnist": load_mnist,
    "phoneme": load_phoneme,
    "mammography": load_mammography,
    "abalone": load_abalone,
    "winequality": load_winequality,
}
