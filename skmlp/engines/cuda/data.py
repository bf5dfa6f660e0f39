"""Data sets: known to the host at once, sent to the device when first needed, once.

A data set is found again on the device by its place in the host's memory, or by its content. To
look at all of it takes about as long as to send it, so that is done only where several fits may
share it: they can be launched together then, too.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, TypeVar

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
    host : Any
        X, where it is found again by its place in memory.
    """

    host: Any = None

    def __init__(self, runtime: Runtime, X: Any, dtype: str) -> None:
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


def arrays_of(X: Any) -> tuple[npt.NDArray[Any], ...]:
    """Return what X consists of in memory."""
    return (X.data, X.indices, X.indptr) if is_sparse(X) else (X,)


def identity_of(X: Any, dtype: str) -> tuple[Any, ...]:
    """Return a key that two arrays share only if they are the same memory seen alike."""
    places = tuple(
        (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
        for array in arrays_of(X)
    )
    return (dtype, X.shape, *places)


def digest_of(array: npt.NDArray[Any]) -> tuple[Any, ...]:
    """Return what two arrays share if they look alike and hold the same bytes, row by row."""
    digest = blake2b(digest_size=16)
    whole = array.flags.c_contiguous or array.ndim < 2
    row_bytes = max(1, array.nbytes // max(1, len(array)))
    rows = max(1, len(array) if whole else CHUNK_BYTES // row_bytes)
    for start in range(0, len(array), rows):
        part = np.ascontiguousarray(array[start : start + rows])
        digest.update(part.reshape(-1).view(np.uint8).data)
    return array.dtype.str, array.shape, digest.digest()


OnDevice = TypeVar("OnDevice", "DeviceMatrix", DeviceArray)

# What lies on the device, as long as somebody holds it.
_sent: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()


def sent_once(key: tuple[Any, ...], send: Callable[[], OnDevice]) -> OnDevice:
    """Return what was sent under a key, or send it."""
    found: OnDevice | None = _sent.get(key)
    if found is None:
        found = _sent[key] = send()
    return found


@dataclass(frozen=True)
class Content:
    """What data sets have in common that are the same to a fit.

    Attributes
    ----------
    dtype : str
        Precision of the computation.
    X, targets, weight : tuple
        By `digest_of`; empty for what there is not.
    """

    dtype: str
    X: tuple[Any, ...]
    targets: tuple[Any, ...]
    weight: tuple[Any, ...]


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
    _content: Content | None = field(default=None, init=False, repr=False)

    @property
    def n_rows(self) -> int:
        return int(self.X.shape[0])

    @property
    def is_sparse(self) -> bool:
        return is_sparse(self.X)

    @property
    def key(self) -> object:
        """What data sets share whose fits may be launched together."""
        return self._content or id(self)

    @property
    def appearance(self) -> tuple[Any, ...]:
        """What can be seen of the content without looking at all of it."""
        arrays = arrays_of(self.X)
        seen = tuple((array.dtype.str, array.shape) for array in arrays)
        targets = None if self.targets is None else self.targets.shape
        return self.dtype, self.X.shape, seen, targets, self.sample_weight is None

    def recognize(self) -> None:
        """Look at the content, by which others like it are known from now on."""
        if self._content is None:
            digests = (digest_of(array) for array in arrays_of(self.X))
            self._content = Content(
                self.dtype,
                (self.X.shape, *digests),
                () if self.targets is None else digest_of(self.targets),
                () if self.sample_weight is None else digest_of(self.sample_weight),
            )

    @cached_property
    def matrix(self) -> DeviceMatrix:
        """The features on the device; the same for the same memory or content."""

        def send() -> DeviceMatrix:
            return DeviceMatrix(self.runtime(), self.X, self.dtype)

        if self._content is not None:
            return sent_once(("X", self.dtype, self._content.X), send)
        found = sent_once(("place of X", *identity_of(self.X, self.dtype)), send)
        # Nobody else must take its place in memory meanwhile.
        found.host = self.X
        return found

    @cached_property
    def device_targets(self) -> DeviceArray:
        targets = self.targets
        assert targets is not None

        def send() -> DeviceArray:
            return self.runtime().upload(targets.reshape(-1))

        if self._content is None:
            return send()
        return sent_once(("targets", self._content.targets), send)

    @cached_property
    def device_weights(self) -> DeviceArray:
        """The rows' weights, or one unused element."""
        weight = np.ones(1) if self.sample_weight is None else self.sample_weight

        def send() -> DeviceArray:
            return self.runtime().upload(weight)

        if self._content is None:
            return send()
        return sent_once(("weights", self._content.weight), send)

    @property
    def target_columns(self) -> int:
        assert self.targets is not None
        return int(self.targets.shape[1])

    def weight_sum(self, rows: IndexArray) -> float:
        return float(len(rows) if self.sample_weight is None else self.sample_weight[rows].sum())


def recognize_alike(data: Iterable[CudaData]) -> None:
    """Let those of several data sets that may be the same look at their content."""
    alike: dict[object, dict[int, CudaData]] = {}
    for one in data:
        alike.setdefault(one.appearance, {})[id(one)] = one
    for some in alike.values():
        if len(some) > 1:
            for one in some.values():
                one.recognize()


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
