"""Microseconds per minibatch step of one fit: skmlp, its peers, and the machine's limit.

The time of a step is the difference between a long and a short fit over the steps between them,
so that setting up a fit is no part of it. All competitors take turns in one run. What scatters, or
is below the machine's limit, is measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks import measure, steady, trees
from benchmarks.peers import PREPARERS, Fit, installed_peers
from benchmarks.pilots import measure_pilots
from benchmarks.report import Table
from benchmarks.steady import Measurement, Sampler
from benchmarks.workloads import WORKLOADS, Workload, make_data

LIMIT = "limit"
BELOW_LIMIT = "is below what the machine can do: a faulty measurement, without ratios"
SLOW_DOT = "np.dot was disturbed: that of its fastest moment in this run"
DTYPES = ("float32", "float64")
PILOT_ROWS = ("digits", "adult")
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
    parser.add_argument("--dtype", choices=[*DTYPES, "both"], default="both")
    parser.add_argument("--threads", type=int, help="threads of every competitor (default: all)")
    parser.add_argument("--repeats", type=int, help="samples of each figure, median taken")
    parser.add_argument("--pilots", action="store_true",
                        help="networks with one more thing (digits, adult) instead")  # fmt: skip
    trees.add_argument(parser)


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the chosen workloads and return one table per dtype."""
    dtypes = list(DTYPES) if arguments.dtype == "both" else [arguments.dtype]
    threads = arguments.threads
    if arguments.against:
        cases = [f"{name} {dtype}" for name in arguments.rows for dtype in dtypes]
        options = {"quick": arguments.quick, "threads": threads}
        return [trees.compare(__name__, cases, "us", arguments, options)]
    base = QUICK if arguments.quick else FULL
    effort = dataclasses.replace(base, repeats=arguments.repeats or base.repeats)
    if arguments.pilots:
        chosen = [WORKLOADS[name] for name in PILOT_ROWS if name in arguments.rows]
        return [pilot_table(chosen, dtype, threads, effort) for dtype in dtypes]
    found: dict[str, list[tuple[Workload, Measurement]]] = {dtype: [] for dtype in dtypes}
    limits = threadpool_limits(threads, "blas") if threads else contextlib.nullcontext()
    with limits:
        for name in arguments.rows:
            for dtype in dtypes:
                measure.progress(f"fit, {name}, {dtype}")
                workload = WORKLOADS[name]
                found[dtype].append((workload, measure_row(workload, dtype, threads, effort)))
    return [make_table(dtype, found[dtype], threads) for dtype in dtypes]


def pilot_table(
    workloads: list[Workload], dtype: str, threads: int | None, effort: Effort
) -> Table:
    """Return the table of networks with one more thing each."""
    return measure_pilots(
        workloads,
        dtype,
        threads,
        effort.repeats,
        effort.time_limit,
        lambda fit, steps: step_sampler(fit, effort.span, steps),
        effort.epoch_flops,
    )


def case_sampler(case: str, quick: bool, threads: int | None) -> Sampler:
    """Return the sampler of skmlp's step for a case ``"<workload> <dtype>"``."""
    name, dtype = case.split()
    return peer_sampler("skmlp", WORKLOADS[name], dtype, threads, QUICK if quick else FULL)


def measure_row(workload: Workload, dtype: str, threads: int | None, effort: Effort) -> Measurement:
    """Return the seconds per step of every peer, and the limit."""
    samplers = {
        peer: peer_sampler(peer, workload, dtype, threads, effort)
        for peer in installed_peers(dtype)
        if peer != "jax" or threads is None  # its thread pool cannot be sized after import
    }
    samplers[LIMIT] = limit_sampler(workload, dtype)
    return steady.measured(samplers, effort.repeats, effort.time_limit, judge)


def judge(samples: steady.Samples) -> dict[str, str]:
    """Name the figures that scatter or are below the limit."""
    return steady.scattered(samples) | dict.fromkeys(below_limit(samples), BELOW_LIMIT)


def below_limit(samples: steady.Samples) -> list[str]:
    """Return the figures that no machine with this rate of matrix products can reach."""
    median = measure.medians(samples)
    return [name for name in median if median[name] < median[LIMIT]]


def peer_sampler(
    peer: str, workload: Workload, dtype: str, threads: int | None, effort: Effort
) -> Sampler:
    """Return the sampler of a peer's seconds per step, after its first fit."""
    steps = workload.steps_per_epoch(effort.epoch_flops)
    X, y = make_data(workload, steps * workload.batch, dtype)
    return step_sampler(PREPARERS[peer](workload, X, y, threads), effort.span, steps)


def step_sampler(fit: Fit, span: float, steps_per_epoch: int) -> Sampler:
    """Return a sampler of the seconds per step from fits that take about `span` seconds."""
    fit(1)  # compiles, starts threads, touches the data
    epochs = choose_epochs(fit, span)
    return lambda stretch: seconds_per_step(fit, stretch * epochs, steps_per_epoch)


def limit_sampler(workload: Workload, dtype: str) -> Sampler:
    """Return a function that measures the limit: operations over the matrix-product rate."""
    rate = measure.matrix_rate_sampler(dtype)
    return lambda stretch: workload.flops_per_step / rate(stretch)


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


def make_row(workload: Workload, measurement: Measurement, fastest: float) -> dict[str, Any]:
    """Return the table's row: medians in microseconds and their ratios.

    Where a figure is still below the limit, one of the two is wrong. A busy moment makes `np.dot`
    slower and never faster: the limit by the `fastest` rate in the run, in FLOP/s, takes the place
    of the row's own. What is below that as well is a fault of the figure, and has no ratios.
    """
    samples = {
        name: [1e6 * value for value in values] for name, values in measurement.samples.items()
    }
    median = measure.medians(samples)
    doubts = {name: text for name, text in measurement.doubts.items() if text != BELOW_LIMIT}
    faulty = set()
    if below_limit(samples):
        median[LIMIT] = 1e6 * workload.flops_per_step / fastest
        doubts[LIMIT] = SLOW_DOT
        faulty = {name for name in median if median[name] < median[LIMIT]}
        doubts |= dict.fromkeys(sorted(faulty), BELOW_LIMIT)
    row: dict[str, Any] = {"workload": workload.name, "shape": workload.shape, **median}
    for name in median:
        if name not in ("skmlp", LIMIT) and not faulty & {name, "skmlp"}:
            row[f"{name}/skmlp"] = median[name] / median["skmlp"]
    if "skmlp" not in faulty:
        row[f"skmlp/{LIMIT}"] = median["skmlp"] / median[LIMIT]
    row["gflops"] = workload.flops_per_step / median[LIMIT] / 1e3
    return {**row, **measurement.facts, "samples": samples, "doubts": doubts}


def make_table(
    dtype: str, found: Sequence[tuple[Workload, Measurement]], threads: int | None
) -> Table:
    """Return the table of one dtype, its last row the geometric means of the ratios."""
    fastest = max(
        workload.flops_per_step / min(measurement.samples[LIMIT]) for workload, measurement in found
    )
    rows = [make_row(workload, measurement, fastest) for workload, measurement in found]
    peers = [name for name in (*PREPARERS, LIMIT) if name in rows[0]]
    ratios = [f"{peer}/skmlp" for peer in peers if peer not in ("skmlp", LIMIT)]
    ratios.append(f"skmlp/{LIMIT}")
    means = {}
    for name in ratios:
        if values := [row[name] for row in rows if name in row]:
            means[name] = measure.geometric_mean(values)
    rates = sorted(row["gflops"] for row in rows)
    counts = " to ".join(map(str, sorted({len(row["samples"][LIMIT]) for row in rows})))
    cores = threads or measure.available_cores()
    return Table(
        f"One fit, {dtype}: microseconds per minibatch step (Adam, relu), {cores} threads",
        ["workload", "shape", *peers, *ratios],
        [*rows, {"workload": "geometric mean", **means}],
        [
            f"Medians of {counts} samples, competitors taking turns. The limit: the step's "
            "matrix products at the",
            f"rate of a large np.dot in this run ({rates[0]:.0f} to {rates[-1]:.0f} GFLOP/s).",
            *steady.notes(rows, "workload"),
        ],
    )
