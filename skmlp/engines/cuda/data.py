"""Data sets: known to the host at once, sent to the device when first needed, once."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import IndexArray
from skmlp.engines.cuda.layout import padded
from skmlp.engines.cuda.runtime import DeviceArray, Runtime
from skmlp.network.parameters import FloatArray

# Rows are padded and converted on their way, so many bytes at a time.
CHUNK_BYTES = 32 * 2**20


class DeviceMatrix:
    """The features of a data set on the device, in the precision of the computation.

    Attributes
    ----------
    values : DeviceArray
        Rows `columns` elements apart; of CSR the stored values.
    columns : int
    indices, indptr : DeviceArray or None
        Of CSR.
    """

    def __init__(self, runtime: Runtime, X: Any, dtype: str) -> None:
        # It is found again by the place of X in memory, which nobody else must take meanwhile.
        self._host = X
        self.columns = padded(X.shape[1])
        self.indices: DeviceArray | None = None
        self.indptr: DeviceArray | None = None
        if is_sparse(X):
            self.values = runtime.upload(np.asarray(X.data, dtype=dtype))
            self.indices = runtime.upload(np.asarray(X.indices, dtype=np.int32))
            self.indptr = runtime.upload(np.asarray(X.indptr, dtype=np.int64))
            return
        self.values = runtime.allocate(X.shape[0] * self.columns, dtype)
        for start, chunk in padded_chunks(X, dtype):
            self.values.write(chunk.reshape(-1), start * self.columns)


def is_sparse(X: Any) -> bool:
    return hasattr(X, "indptr")


def padded_chunks(
    X: Any, dtype: str, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[tuple[int, FloatArray]]:
    """Yield the first row and a padded copy of some rows at a time."""
    columns = padded(X.shape[1])
    rows = max(1, chunk_bytes // (columns * np.dtype(dtype).itemsize))
    for start in range(0, X.shape[0], rows):
        part = X[start : start + rows]
        chunk = np.zeros((len(part), columns), dtype=dtype)
        chunk[:, : X.shape[1]] = part
        yield start, chunk


def identity_of(X: Any, dtype: str) -> tuple[Any, ...]:
    """Return a key that two arrays share only if they are the same memory seen alike."""
    arrays = (X.data, X.indices, X.indptr) if is_sparse(X) else (X,)
    places = tuple(
        (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        for array in arrays
    )
    return (dtype, X.shape, *places)


_matrices: weakref.WeakValueDictionary[tuple[Any, ...], DeviceMatrix]
_matrices = weakref.WeakValueDictionary()


@dataclass(eq=False)
class CudaData:
    """A data set as the engine's users hold it.

    Attributes
    ----------
    X : ndarray or CSR
    targets : ndarray of shape (n_samples, n_target_columns) or None
    sample_weight : ndarray of shape (n_samples,) or None
    dtype : str
        Precision of the computation.
    runtime : callable
        Returns the device.
    """

    X: Any
    targets: FloatArray | None
    sample_weight: npt.NDArray[np.float64] | None
    dtype: str
    runtime: Callable[[], Runtime] = field(repr=False)

    @property
    def n_rows(self) -> int:
        return int(self.X.shape[0])

    @property
    def is_sparse(self) -> bool:
        return is_sparse(self.X)

    @cached_property
    def matrix(self) -> DeviceMatrix:
        """The features on the device; the same for the same memory, whoever loaded it."""
        key = identity_of(self.X, self.dtype)
        found = _matrices.get(key)
        if found is None:
            found = DeviceMatrix(self.runtime(), self.X, self.dtype)
            _matrices[key] = found
        return found

    @cached_property
    def device_targets(self) -> DeviceArray:
        assert self.targets is not None
        return self.runtime().upload(self.targets.reshape(-1))

    @cached_property
    def device_weights(self) -> DeviceArray:
        """The rows' weights, or one unused element."""
        weight = np.ones(1) if self.sample_weight is None else self.sample_weight
        return self.runtime().upload(weight)

    @property
    def target_columns(self) -> int:
        assert self.targets is not None
        return int(self.targets.shape[1])

    def weight_sum(self, rows: IndexArray) -> float:
        return float(len(rows) if self.sample_weight is None else self.sample_weight[rows].sum())


def load_data(
    runtime: Callable[[], Runtime],
    X: Any,
    targets: FloatArray | None,
    sample_weight: npt.NDArray[np.float64] | None,
    dtype: str,
) -> CudaData:
    """Describe a data set; nothing is sent to the device yet.

    The indices of CSR have been looked at before: SciPy's conversions believe them too.
    """
    if targets is not None:
        targets = np.ascontiguousarray(targets, dtype=dtype)
        if len(targets) != X.shape[0]:
            raise ValueError(f"Got {len(targets)} rows of targets for {X.shape[0]} rows of X.")
    if sample_weight is not None:
        sample_weight = np.ascontiguousarray(sample_weight, dtype=np.float64)
    if is_sparse(X) and not X.has_canonical_format:
        # A kernel that spreads out a row would keep but one of several values in one place.
        X = X.copy()
        X.sum_duplicates()
    return CudaData(X, targets, sample_weight, dtype, runtime)
