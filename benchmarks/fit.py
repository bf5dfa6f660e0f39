"""Microseconds per minibatch step of one fit: skmlp, its peers, and the machine's limit.

The time of a step is the difference between a long and a short fit over the steps between them,
so that setting up a fit is no part of it. All competitors take turns in one run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks import measure
from benchmarks.peers import PREPARERS, Fit, installed_peers
from benchmarks.report import Table
from benchmarks.workloads import WORKLOADS, Workload, make_data

LIMIT = "limit"
_TRIES = 5


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes
    ----------
    span : float
        Seconds that the long fit should take beyond the short one.
    epoch_flops : float
        An epoch is cut to about as many operations.
    time_limit : float
        Seconds after which a workload gets no further round of samples.
    """

    repeats: int
    span: float
    epoch_flops: float
    time_limit: float


FULL = Effort(repeats=5, span=0.2, epoch_flops=1e10, time_limit=40)
QUICK = Effort(repeats=3, span=0.05, epoch_flops=1e9, time_limit=10)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fit``."""
    names = list(WORKLOADS)
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"workloads to run: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--dtype", choices=["float32", "float64", "both"], default="both")
    parser.add_argument("--threads", type=int, help="threads of every competitor (default: all)")
    parser.add_argument("--repeats", type=int, help="samples of each figure, median taken")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the chosen workloads and return one table per dtype."""
    base = QUICK if arguments.quick else FULL
    effort = dataclasses.replace(base, repeats=arguments.repeats or base.repeats)
    dtypes = ["float32", "float64"] if arguments.dtype == "both" else [arguments.dtype]
    rows: dict[str, list[dict[str, Any]]] = {dtype: [] for dtype in dtypes}
    threads = arguments.threads
    limits = threadpool_limits(threads, "blas") if threads else contextlib.nullcontext()
    with limits:
        for name in arguments.rows:
            measure.progress(f"fit, {name}")
            samples = sample_workload(WORKLOADS[name], dtypes, threads, effort)
            for dtype in dtypes:
                rows[dtype].append(make_row(WORKLOADS[name], dtype, samples))
    return [make_table(dtype, rows[dtype], threads) for dtype in dtypes]


def sample_workload(
    workload: Workload, dtypes: list[str], threads: int | None, effort: Effort
) -> dict[str, list[float]]:
    """Return samples of the seconds per step under keys ``"<peer> <dtype>"``."""
    samplers: dict[str, Callable[[], float]] = {}
    steps = workload.steps_per_epoch(effort.epoch_flops)
    for dtype in dtypes:
        X, y = make_data(workload, steps * workload.batch, dtype)
        for peer in installed_peers(dtype):
            if peer == "jax" and threads is not None:
                continue  # its thread pool cannot be sized after import
            fit = PREPARERS[peer](workload, X, y, threads)
            fit(1)  # compiles, starts threads, touches the data
            epochs = choose_epochs(fit, effort.span)
            samplers[f"{peer} {dtype}"] = partial(seconds_per_step, fit, epochs, steps)
        samplers[f"{LIMIT} {dtype}"] = limit_sampler(workload, dtype)
    return measure.interleave(samplers, effort.repeats, effort.time_limit)


def limit_sampler(workload: Workload, dtype: str) -> Callable[[], float]:
    """Return a function that measures the limit: operations over the matrix-product rate."""
    rate = measure.matrix_rate_sampler(dtype)
    return lambda: workload.flops_per_step / rate()


def choose_epochs(fit: Fit, span: float) -> int:
    """Return how many epochs take about `span` seconds."""

    def best_of_two(epochs: int) -> float:
        return min(measure.seconds(partial(fit, epochs)) for _ in range(2))

    base = best_of_two(1)
    epochs = 1
    while True:
        measured = best_of_two(1 + epochs) - base
        if measured >= span / 4:
            return max(1, math.ceil(epochs * span / measured))
        epochs *= 4


def seconds_per_step(fit: Fit, epochs: int, steps_per_epoch: int) -> float:
    """Return the time of a step, from fits of 1 and of ``1 + epochs`` epochs."""
    for _ in range(_TRIES):
        short = measure.seconds(lambda: fit(1))
        long = measure.seconds(lambda: fit(1 + epochs))
        if long > short:
            return (long - short) / (epochs * steps_per_epoch)
    raise RuntimeError("the machine is too busy: longer fits take less time than shorter ones")


def make_row(workload: Workload, dtype: str, samples: dict[str, list[float]]) -> dict[str, Any]:
    """Return the table's row: medians in microseconds and their ratios."""
    mine = {
        name.split()[0]: [1e6 * value for value in values]
        for name, values in samples.items()
        if name.endswith(dtype)
    }
    median = measure.medians(mine)
    row: dict[str, Any] = {"workload": workload.name, "shape": workload.shape, **median}
    for peer in median:
        if peer not in ("skmlp", LIMIT):
            row[f"{peer}/skmlp"] = median[peer] / median["skmlp"]
    row[f"skmlp/{LIMIT}"] = median["skmlp"] / median[LIMIT]
    row["gflops"] = workload.flops_per_step / median[LIMIT] / 1e3
    row["samples"] = mine
    return row


def make_table(dtype: str, rows: list[dict[str, Any]], threads: int | None) -> Table:
    """Return the table of one dtype, its last row the geometric means of the ratios."""
    columns = ["workload", "shape", *(name for name in rows[0] if name in (*PREPARERS, LIMIT))]
    ratios = [name for name in rows[0] if "/" in name]
    means = {name: measure.geometric_mean([row[name] for row in rows]) for name in ratios}
    rates = sorted(row["gflops"] for row in rows)
    counts = " to ".join(map(str, sorted({len(row["samples"][LIMIT]) for row in rows})))
    cores = threads or measure.available_cores()
    return Table(
        f"One fit, {dtype}: microseconds per minibatch step (Adam, relu), {cores} threads",
        [*columns, *ratios],
        [*rows, {"workload": "geometric mean", **means}],
        [
            f"Medians of {counts} samples, competitors taking turns. The limit: the step's "
            "matrix products at the",
            f"rate of a large np.dot in this run ({rates[0]:.0f} to {rates[-1]:.0f} GFLOP/s).",
        ],
    )
