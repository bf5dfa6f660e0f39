"""What more threads bring to one fit: time per step, and whether results stay the same."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks import measure, steady
from benchmarks.fit import FULL, QUICK, step_sampler
from benchmarks.peers import fit_silently, make_model, prepare_skmlp
from benchmarks.report import Table
from benchmarks.workloads import WORKLOADS, Workload, make_data

NAMES = ("digits", "mnist", "wide")
DTYPES = ("float32", "float64")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``threads``."""
    parser.add_argument("--rows", nargs="+", choices=list(WORKLOADS), default=NAMES, metavar="NAME",
                        help="workloads to run")  # fmt: skip
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads to compare")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the chosen workloads with 1, 2, 4, ... threads, up to the cores."""
    cores = measure.available_cores()
    counts = arguments.threads or [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= cores]
    effort = QUICK if arguments.quick else FULL
    rows = []
    for name in arguments.rows:
        for dtype in DTYPES:
            measure.progress(f"threads, {name}, {dtype}")
            workload = WORKLOADS[name]
            steps = workload.steps_per_epoch(effort.epoch_flops)
            X, y = make_data(workload, steps * workload.batch, dtype)
            samplers = {}
            for threads in counts:
                fit = prepare_skmlp(workload, X, y, threads)
                samplers[str(threads)] = step_sampler(fit, effort.span, steps)
            measurement = steady.measured(samplers, effort.repeats, effort.time_limit)
            median = measurement.medians
            row: dict[str, Any] = {"workload": name, "dtype": dtype}
            row |= {f"{n} us": 1e6 * median[str(n)] for n in counts}
            row |= {f"1/{n} threads": median[str(counts[0])] / median[str(n)] for n in counts[1:]}
            row["same bits"] = str(same_results(workload, X, y, counts))
            rows.append({**row, **measurement.facts, "label": f"{name} {dtype}, threads"})
    title = "Threads: microseconds per step, and how many times faster than with one"
    columns = [name for name in rows[0] if name not in (*steady.FACTS, "label")]
    notes = [f"{cores} cores.", *steady.notes(rows, "label")]
    return [Table(title, columns, rows, notes)]


def same_results(workload: Workload, X: Any, y: Any, counts: list[int]) -> bool:
    """Return whether an epoch ends with bitwise the same weights for all numbers of threads."""
    task = "regressor" if workload.kind == "regression" else "classifier"
    results = []
    for threads in counts:
        model = make_model(
            "skmlp", task, hidden_layer_sizes=workload.hidden, batch_size=workload.batch,
            max_iter=1, random_state=0, n_jobs=threads,
        )  # fmt: skip
        results.append(fit_silently(model, X, y).coefs_)
    return all(
        np.array_equal(own, other)
        for coefs in results[1:]
        for own, other in zip(coefs, results[0], strict=True)
    )
