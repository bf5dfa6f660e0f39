"""Digests of the data of a fit, by which another one is told to have the same."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

# Of larger arrays so many bytes are looked at, in rows evenly spread over them: such are mapped
# into memory, and to read them takes as long as an epoch.
MOST_BYTES = 2**30
BYTES_AT_ONCE = 2**24
DIGEST_SIZE = 16
NOTHING = "none"


def fingerprint_of(data: Any) -> str:
    """Return a digest of shape, type and elements of an array or a matrix in CSR.

    Elements of other kinds than numbers are told by how they are written.
    """
    if data is None:
        return NOTHING
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for array in arrays_of(data):
        if array.dtype.kind in "OSU":
            texts = "\n".join(map(repr, array.ravel().tolist()))
            digest.update(f"text {array.shape}\n{texts}".encode())
            continue
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        for rows in pieces_of(array):
            digest.update(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def arrays_of(data: Any) -> list[npt.NDArray[Any]]:
    """Return the arrays that data consist of. What a sparse matrix says of itself is not asked."""
    if not issparse(data):
        return [np.asarray(data)]
    return [np.array(data.shape), data.indptr, data.indices, data.data]


def pieces_of(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield the rows of an array, some at a time; of a large one evenly spread rows."""
    if array.ndim == 0 or array.size == 0:
        yield array.reshape(-1)
        return
    n_rows, row_bytes = len(array), max(1, array.nbytes // len(array))
    n_at_once = max(1, BYTES_AT_ONCE // row_bytes)
    if array.nbytes <= MOST_BYTES:
        for start in range(0, n_rows, n_at_once):
            yield array[start : start + n_at_once]
        return
    n_seen = max(1, MOST_BYTES // row_bytes)
    numbers = np.linspace(0, n_rows - 1, n_seen).astype(np.intp)
    for start in range(0, n_seen, n_at_once):
        yield array[numbers[start : start + n_at_once]]
