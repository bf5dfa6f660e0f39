"""Sparse input, looked at before compiled code is: neither SciPy's nor ours checks an index.

The arrays of a SciPy matrix can be assigned, and what it remembers of them, such as that its
indices are sorted, is not asked again. So a matrix is built anew around them, which copies none of
them, and SciPy checks what it knows nothing of yet.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

# Kernels number columns in 32 bits.
MAX_COLUMNS = int(np.iinfo(np.int32).max)


def check_sparse(name: str, X: Any) -> Any:
    """Return sparse input as CSR or CSC with sound indices; leave anything else alone.

    Duplicates remain. The caller's matrix is not changed.

    Raises
    ------
    ValueError
        If its arrays do not describe a matrix of its shape, or are no numbers.
    """
    if not scipy.sparse.issparse(X):
        return X
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 2:
        raise ValueError(
            f"{name} is a sparse array of shape {shape}. Expected 2D input: reshape it, for "
            "instance with reshape(-1, 1) if it is a single column."
        )
    try:
        rebuilt = REBUILD[X.format](X)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is a sparse matrix whose arrays do not describe one of shape {shape} in "
            f"{X.format.upper()} format: {error}. Build it anew from sound arrays, for instance "
            "with scipy.sparse.coo_array((values, (rows, columns)), shape=...)."
        ) from error
    if rebuilt.dtype.kind not in "biufc":
        raise ValueError(
            f"{name} is a sparse matrix of {rebuilt.dtype}. Convert it to numbers, for instance "
            f"with {name}.astype(float)."
        )
    if rebuilt.shape[1] > MAX_COLUMNS:
        raise ValueError(
            f"{name} is a sparse matrix of {rebuilt.shape[1]} columns, but at most {MAX_COLUMNS} "
            "can be numbered. Select columns, or hash them into fewer."
        )
    return rebuilt


def check_integers(**arrays: npt.NDArray[Any]) -> None:
    """Refuse indices that a conversion would truncate."""
    for name, array in arrays.items():
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integers, got {array.dtype}")


def rebuild_compressed(X: Any) -> Any:
    """Build CSR, CSC or BSR anew; what is not CSR or CSC yet becomes CSR."""
    check_integers(indices=X.indices, indptr=X.indptr)
    make = getattr(scipy.sparse, f"{X.format}_array")
    fresh = make((X.data, X.indices, X.indptr), shape=X.shape, copy=False)
    fresh.check_format(full_check=True)
    # SciPy looks no further where nothing seems to be stored.
    if fresh.nnz == 0 and fresh.indptr.any():
        raise ValueError("indptr must be a non-decreasing sequence")
    if X.format != "bsr":
        return fresh
    if any(units % block for units, block in zip(fresh.shape, fresh.blocksize, strict=True)):
        raise ValueError(f"its blocks of shape {fresh.blocksize} do not fill it")
    return fresh.tocsr()


def rebuild_coordinates(X: Any) -> Any:
    check_integers(row=X.row, col=X.col)
    return scipy.sparse.coo_array((X.data, (X.row, X.col)), shape=X.shape).tocsr()


def rebuild_diagonals(X: Any) -> Any:
    check_integers(offsets=X.offsets)
    n_rows, n_columns = X.shape
    # Others are empty, and SciPy computes with offsets as if they were small.
    inside = (X.offsets > -n_rows) & (X.offsets < n_columns)
    diagonals = (X.data[inside], X.offsets[inside])
    return scipy.sparse.dia_array(diagonals, shape=X.shape).tocsr()


def rebuild_lists(X: Any) -> Any:
    rows = np.repeat(np.arange(len(X.rows)), [len(columns) for columns in X.rows])
    columns = np.array(list(chain.from_iterable(X.rows)), dtype=None if len(rows) else np.int64)
    check_integers(rows=columns)
    values = np.array(list(chain.from_iterable(X.data)), dtype=X.dtype)
    return scipy.sparse.coo_array((values, (rows, columns)), shape=X.shape).tocsr()


def rebuild_keys(X: Any) -> Any:
    return rebuild_coordinates(X.tocoo())


REBUILD: dict[str, Callable[[Any], Any]] = {
    "csr": rebuild_compressed,
    "csc": rebuild_compressed,
    "bsr": rebuild_compressed,
    "coo": rebuild_coordinates,
    "dia": rebuild_diagonals,
    "lil": rebuild_lists,
    "dok": rebuild_keys,
}
