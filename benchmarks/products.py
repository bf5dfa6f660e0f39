"""The matrix products of a step by themselves, on one thread, beside ``np.dot`` (BLAS)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

from benchmarks import measure, steady
from benchmarks.report import Table
from skmlp.engines.cpu.layout import aligned_zeros
from skmlp.engines.cpu.pointers import advance, pointer
from skmlp.engines.cpu.products import (
    columns_of_panel,
    lanes_of,
    leading_dimension,
    multiply_panel,
    multiply_transposed,
    padded,
    panel_count,
)

DTYPES = ("float32", "float64")
# Rows of a batch, inputs and outputs of a layer.
SHAPES = ((200, 64, 100), (200, 108, 100), (200, 784, 100), (200, 100, 10), (256, 1024, 1024))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``products``."""
    parser.add_argument("--repeats", type=int, help="samples of each figure, best taken")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the forward product and the gradient of a layer for several shapes."""
    repeats = arguments.repeats or (5 if arguments.quick else 30)
    rows = []
    with threadpool_limits(1, "blas"):
        for dtype in DTYPES:
            for shape in SHAPES:
                measure.progress(f"products, {dtype}, {shape}")
                rows.append(compare(shape, dtype, repeats))
    notes = [
        f"The best of {repeats} samples, in turns: the rate without other load.",
        *steady.notes(rows, "label"),
    ]
    columns = [name for name in rows[0] if name not in (*steady.FACTS, "label")]
    return [Table("Products of one layer, one thread: GFLOP/s", columns, rows, notes)]


@njit(nogil=True)  # type: ignore[untyped-decorator]
def forward(table, panels, zeros, out, shape, ld, lanes):  # type: ignore[no-untyped-def]
    """``out = A @ W`` for W in panels."""
    rows, depth, columns = shape
    for panel in range(panel_count(columns, lanes)):
        first, vectors, _ = columns_of_panel(panel, columns, lanes)
        weights = pointer(panels, (depth + 1) * first)
        lines, start, corner = pointer(table, 0), pointer(zeros, 0), pointer(out, first)
        multiply_panel(vectors, lines, 0, rows, depth, weights, start, 0, corner, ld)


@njit(nogil=True)  # type: ignore[untyped-decorator]
def gradient(table, deltas, zeros, panels, shape, ld, lanes):  # type: ignore[no-untyped-def]
    """``panels = A.T @ deltas``."""
    rows, depth, columns = shape
    for panel in range(panel_count(columns, lanes)):
        first, vectors, _ = columns_of_panel(panel, columns, lanes)
        out = advance(pointer(panels, 0), (depth + 1) * first)
        lines, start, right = pointer(table, 0), pointer(zeros, 0), pointer(deltas, first)
        multiply_transposed(vectors, lines, 0, depth, rows, right, ld, start, 0, out)


def compare(shape: tuple[int, int, int], dtype: str, repeats: int) -> dict[str, Any]:
    """Return the row of one shape."""
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    ld = leading_dimension(columns, dtype)
    A = rng.standard_normal((rows, depth)).astype(dtype)
    W = rng.standard_normal((depth, columns)).astype(dtype)
    D = rng.standard_normal((rows, columns)).astype(dtype)
    table = A.ctypes.data + np.arange(rows) * A.strides[0]
    panels = aligned_zeros((depth + 1) * padded(columns, dtype), dtype)
    matrix = aligned_zeros(rows * ld, dtype)
    zeros = np.zeros(3 * lanes_of(dtype), dtype=dtype)
    common = (shape, ld, lanes_of(dtype))
    functions: dict[str, Callable[[], Any]] = {
        "forward": partial(forward, table, panels, zeros, matrix, *common),
        "np.dot forward": partial(np.dot, A, W),
        "gradient": partial(gradient, table, matrix, zeros, panels, *common),
        "np.dot gradient": partial(np.dot, A.T, D),
    }
    operations = 2 * rows * depth * columns
    calls = max(1, int(2e8 / operations))
    samplers = {name: steady.repeated(call, calls) for name, call in functions.items()}
    for sampler in samplers.values():
        sampler(1)
    measurement = steady.measured(samplers, repeats, judge=steady.lonely_best)
    best = {name: min(times) for name, times in measurement.samples.items()}
    row: dict[str, Any] = {"rows x in x out": " x ".join(map(str, shape)), "dtype": dtype}
    row |= {name: operations / time / 1e9 for name, time in best.items()}
    row["forward/np.dot"] = best["np.dot forward"] / best["forward"]
    row["gradient/np.dot"] = best["np.dot gradient"] / best["gradient"]
    return {**row, **measurement.facts, "label": f"{row['rows x in x out']} {dtype}"}
