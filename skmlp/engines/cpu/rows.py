"""Data sets as the kernels see them: addresses and strides, and rows gathered by number.

Compiled code is specialized by array type, and a read-only, non-contiguous or memory-mapped
array has a type of its own. Passing addresses instead keeps one compiled driver for all of
them and copies nothing.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.cpu.compilation import inner, jit
from skmlp.engines.cpu.pointers import (
    address,
    advance,
    float32_pointer,
    float64_pointer,
    int32_pointer,
    int64_pointer,
    pointer_at,
    prefetch,
)
from skmlp.network.parameters import FloatArray

LINE_BYTES = 64


class RowSource(NamedTuple):
    """Where a data set lies in memory. Addresses are in bytes, strides in elements.

    Dense: `values` is X, float64 if `is_double` else float32; `is_direct` if its rows can be
    used where they lie, being contiguous and of the network's precision. Sparse: the CSR triple
    `values` (in the precision of the network), `indices` (int32) and `indptr` (int64). Where some
    inputs are dropped, `values` are a copy that is written batch by batch from `all_values`.
    """

    is_sparse: int
    is_direct: int
    is_double: int
    values: int
    row_stride: int
    column_stride: int
    indices: int
    indptr: int
    targets: int
    weights: int
    is_weighted: int
    all_values: int = 0


class CpuData(NamedTuple):
    """A loaded data set: its addresses, and the arrays that keep them valid."""

    source: RowSource
    n_rows: int
    n_features: int
    dtype: str
    sample_weight: npt.NDArray[np.float64] | None
    arrays: tuple[Any, ...]

    def to_disturb(self) -> "CpuData":
        """Return the same data, with rows that can be changed on their way into a batch."""
        if not self.source.is_sparse:
            return self._replace(source=self.source._replace(is_direct=0))
        copied = np.empty_like(self.arrays[0])
        own = {"values": address_of(copied), "all_values": self.source.values}
        return self._replace(source=self.source._replace(**own), arrays=(*self.arrays, copied))

    @property
    def is_direct(self) -> bool:
        """Whether kernels use the rows where they lie."""
        return bool(self.source.is_direct)

    @property
    def gathers(self) -> bool:
        """Whether rows are copied into the workspace."""
        return not (self.source.is_direct or self.source.is_sparse)

    @property
    def row_bytes(self) -> int:
        return self.n_features * np.dtype(self.dtype).itemsize


def address_of(array: npt.NDArray[Any] | None) -> int:
    return 0 if array is None else int(array.__array_interface__["data"][0])


def contiguous(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array whose elements lie one after the other, each at a multiple of its size."""
    return np.require(array, dtype=dtype, requirements=["C_CONTIGUOUS", "ALIGNED"])


def load_rows(
    X: Any,
    targets: FloatArray | None,
    sample_weight: npt.NDArray[np.float64] | None,
    dtype: str,
) -> CpuData:
    """Describe a data set; dense X is referred to, CSR is copied only where types differ.

    Kernels believe addresses and numbers, so this is the last place to look at them. The indices
    of CSR have been looked at before: SciPy's conversions believe them too.
    """
    if targets is not None:
        targets = contiguous(targets, dtype)
        if len(targets) != X.shape[0]:
            raise ValueError(f"Got {len(targets)} rows of targets for {X.shape[0]} rows of X.")
    if sample_weight is not None:
        sample_weight = contiguous(sample_weight, np.float64)
    own = (address_of(targets), address_of(sample_weight), int(sample_weight is not None))
    if hasattr(X, "indptr"):
        # A gradient looks for its columns in a sorted row; a prediction takes all as they come.
        if targets is not None and not X.has_sorted_indices:
            X = X.sorted_indices()
        values = contiguous(X.data, dtype)
        indices = contiguous(X.indices, np.int32)
        indptr = contiguous(X.indptr, np.int64)
        sparse = (address_of(values), 0, 0, address_of(indices), address_of(indptr))
        source = RowSource(1, 0, int(dtype == "float64"), *sparse, *own)
        arrays: tuple[Any, ...] = (values, indices, indptr, targets, sample_weight)
    else:
        row_stride, column_stride = X.strides
        itemsize = X.itemsize
        if row_stride % itemsize or column_stride % itemsize or not X.flags.aligned:
            # A field of a packed record: no whole number of elements from row to row.
            X = contiguous(X, X.dtype)
            row_stride, column_stride = X.strides
        is_direct = column_stride == itemsize and X.dtype == dtype
        dense = (address_of(X), row_stride // itemsize, column_stride // itemsize, 0, 0)
        source = RowSource(0, int(is_direct), int(itemsize == 8), *dense, *own)
        arrays = (X, targets, sample_weight)
    return CpuData(source, X.shape[0], X.shape[1], dtype, sample_weight, arrays)


@inner
def copy_row(row, stride, columns, out):
    """Copy one strided row, converting it to the precision of `out`."""
    if stride == 1:
        for j in range(columns):
            out[j] = row[j]
    else:
        for j in range(columns):
            out[j] = row[j * stride]


@inner
def gather_rows(source, order, rows, columns, out, ld):
    """Copy the first `rows` dense rows numbered in `order` to `out`, whose rows are `ld` apart."""
    if source.is_double:
        doubles = float64_pointer(source.values)
        for i in range(rows):
            row = advance(doubles, order[i] * source.row_stride)
            copy_row(row, source.column_stride, columns, advance(out, i * ld))
    else:
        singles = float32_pointer(source.values)
        for i in range(rows):
            row = advance(singles, order[i] * source.row_stride)
            copy_row(row, source.column_stride, columns, advance(out, i * ld))


@jit(inline="always")
def list_rows(first, ld, rows, table):
    """Write the addresses of `rows` rows, `ld` elements apart from `first` on, to `table`."""
    for i in range(rows):
        table[i] = address(advance(first, i * ld))


@jit(inline="always")
def list_source_rows(source, order, rows, like, table):
    """Write the addresses of the rows numbered in `order` to `table`, where they lie in X."""
    values = pointer_at(source.values, like)
    for i in range(rows):
        table[i] = address(advance(values, order[i] * source.row_stride))


@jit(inline="always")
def prefetch_rows(source, order, first, last, columns, like):
    """Have some of the rows numbered in `order` brought near, where they lie in X."""
    per_line = LINE_BYTES // (address(advance(like, 1)) - address(like))
    values = pointer_at(source.values, like)
    for i in range(first, last):
        row = advance(values, order[i] * source.row_stride)
        for j in range(0, columns, per_line):
            prefetch(advance(row, j))


@inner
def add_scaled(x, factor, out, size):
    """``out += factor * x``."""
    for j in range(size):
        out[j] += factor * x[j]


@inner
def sparse_forward(source, order, rows, coefs, intercepts, width, out, ld):
    """``out = intercepts + X[order[:rows]] @ coefs`` for CSR X and one panel of coefficients.

    Rows of `coefs` are `width` elements long, rows of `out` lie `ld` apart.
    """
    values = pointer_at(source.values, out)
    indices = int32_pointer(source.indices)
    indptr = int64_pointer(source.indptr)
    for i in range(rows):
        row = order[i]
        target = advance(out, i * ld)
        for j in range(width):
            target[j] = intercepts[j]
        for k in range(indptr[row], indptr[row + 1]):
            add_scaled(advance(coefs, indices[k] * width), values[k], target, width)


@jit(inline="always")
def first_at_least(indices, start, stop, column):
    """Return the first position in the sorted range whose index is not below `column`."""
    while start < stop:
        middle = (start + stop) // 2
        if indices[middle] < column:
            start = middle + 1
        else:
            stop = middle
    return start


@inner
def sparse_gradient(source, order, rows, first, last, delta, ld, columns, accumulate, out):
    """``out = X[order[:rows], first:last].T @ delta (+ out)`` for CSR X.

    `delta` is (rows, columns) with rows `ld` apart and `out` (last - first, columns).
    """
    values = pointer_at(source.values, out)
    indices = int32_pointer(source.indices)
    indptr = int64_pointer(source.indptr)
    if not accumulate:
        for j in range((last - first) * columns):
            out[j] = 0.0
    for i in range(rows):
        row = order[i]
        stop = indptr[row + 1]
        k = first_at_least(indices, indptr[row], stop, first)
        while k < stop and indices[k] < last:
            target = advance(out, (indices[k] - first) * columns)
            add_scaled(advance(delta, i * ld), values[k], target, columns)
            k += 1
