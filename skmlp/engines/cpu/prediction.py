"""Predictions: memory for them, and how their rows are shared out."""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from skmlp.engines.base import IndexArray
from skmlp.engines.cpu import drivers
from skmlp.engines.cpu.crew import call
from skmlp.engines.cpu.heads import heads_of_prediction
from skmlp.engines.cpu.layout import (
    Arrays,
    aligned_zeros,
    make_workspace,
    network_layout,
    set_addresses,
)
from skmlp.engines.cpu.products import leading_dimension
from skmlp.engines.cpu.rows import CpuData
from skmlp.engines.cpu.task import flops_of_inputs
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import NetworkSpec

SLAB_BYTES = 2**18
MAX_SLAB_ROWS = 1024
# Threads take pieces of about this much work, or this many rows: small, since all but one wait
# while the last one is worked on.
PIECE_FLOPS = 2e7
PIECE_ROWS = 4096
# So many pieces a thread take some 50 ms; then Python sees signals.
PIECES_PER_CALL = 80
# A thread that is given less work costs more than it saves.
PIECES_PER_THREAD = 10
# Memory for predictions by a network of so few parameters is kept from call to call.
KEPT_NUMBERS = 2**17


class Sizes(NamedTuple):
    """How many rows are worked on at once, and how many make a piece of work."""

    slab_rows: int
    piece_rows: int


@lru_cache(maxsize=256)
def sizes_for(network: NetworkSpec, dtype: str) -> Sizes:
    itemsize, inputs = np.dtype(dtype).itemsize, network.inputs
    counts = [inputs.n_features, *network.product_units]
    if inputs.embedding:
        counts.append(inputs.width)
    row_bytes = itemsize * sum(leading_dimension(count, dtype) for count in counts)
    slab_rows = min(max(SLAB_BYTES // row_bytes, 16), MAX_SLAB_ROWS)
    flops = 2 * network.n_coefs + flops_of_inputs(inputs) // 3
    piece_rows = min(max(int(PIECE_FLOPS / flops), slab_rows), PIECE_ROWS)
    return Sizes(slab_rows, piece_rows)


class Memory:
    """What predictions by one network need: room for its parameters and for slabs of rows.

    Parameters
    ----------
    network : NetworkSpec
    dtype : str
    gathers : bool
        Whether rows of X are copied.
    threads : int
        Each has a workspace of its own.
    """

    def __init__(self, network: NetworkSpec, dtype: str, gathers: bool, threads: int = 1) -> None:
        rows, self.piece_rows = sizes_for(network, dtype)
        layout = network_layout(network, rows, dtype, gathers=gathers, backward=False)
        self._layout = layout  # whose constants the table refers to
        self.layers = layout.layers.copy()
        self.packed = aligned_zeros(layout.parameters_size, dtype)
        self.work = make_workspace(network, layout, rows, dtype, copies=threads)
        self.heads = heads_of_prediction(network, dtype)


# Each thread keeps the memory for the network it predicted with last: to allocate it anew would
# take longer than to predict a few rows.
_last_used = threading.local()


def take_memory(network: NetworkSpec, dtype: str, *, gathers: bool) -> Memory:
    """Return memory for predictions by one thread, this thread's last one if it fits.

    It is taken away: a handler of signals may predict before `keep_memory` puts it back.
    """
    kept, _last_used.kept = getattr(_last_used, "kept", None), None
    if kept is not None and kept[0] == (network, dtype, gathers):
        memory: Memory = kept[1]
        return memory
    return Memory(network, dtype, gathers)


def keep_memory(memory: Memory, network: NetworkSpec, dtype: str, *, gathers: bool) -> None:
    """Put memory back for the next prediction, unless it is large."""
    if memory.packed.size <= KEPT_NUMBERS:
        _last_used.kept = (network, dtype, gathers), memory


def predict(
    network: NetworkSpec,
    given: Arrays,
    data: CpuData,
    rows: IndexArray | None,
    available_threads: Callable[[], int],
) -> FloatArray:
    """Return the network's outputs for some rows of the data, or all.

    Threads are not counted where one is enough: that takes longer than to predict a row.
    """
    dtype = data.dtype
    if network.inputs.is_changed:
        data = data.to_disturb()
    arrays = Arrays(
        [np.ascontiguousarray(coef, dtype=dtype) for coef in given.coefs],
        [np.ascontiguousarray(intercept, dtype=dtype) for intercept in given.intercepts],
        np.ascontiguousarray(given.extras, dtype=dtype),
    )
    n_rows = data.n_rows if rows is None else len(rows)
    out = np.empty((n_rows, network.n_outputs), dtype=dtype)
    memory = own = take_memory(network, dtype, gathers=data.gathers)
    piece_rows = memory.piece_rows
    threads = max(1, n_rows // (PIECES_PER_THREAD * piece_rows))
    if threads > 1:
        threads = min(threads, available_threads())
        memory = Memory(network, dtype, data.gathers, threads)
    set_addresses(memory.layers, network, arrays)
    rows_per_call = piece_rows * PIECES_PER_CALL * threads
    for start in range(0, n_rows, rows_per_call):
        stop = min(start + rows_per_call, n_rows)
        order = np.arange(start, stop) if rows is None else rows[start:stop]
        call(
            drivers.predict_rows,
            memory.layers,
            data.source,
            memory.heads,
            memory.work,
            memory.packed,
            order,
            out[start:stop].reshape(-1),
            piece_rows,
            start == 0,
            threads=threads,
        )
    keep_memory(own, network, dtype, gathers=data.gathers)
    return out
