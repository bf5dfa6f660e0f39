"""What each activation costs beside relu: microseconds per step of the same fit."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from benchmarks import measure, steady
from benchmarks.fit import FULL, QUICK, step_sampler
from benchmarks.peers import estimator_peer
from benchmarks.report import Table
from benchmarks.workloads import WORKLOADS, make_data

ACTIVATIONS = ("relu", "tanh", "logistic", "identity")
DTYPES = ("float32", "float64")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``activations``."""
    parser.add_argument("--rows", nargs="+", choices=list(WORKLOADS), default=["digits", "mnist"],
                        metavar="NAME", help="workloads to run")  # fmt: skip


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the chosen workloads with every activation."""
    effort = dataclasses.replace(QUICK if arguments.quick else FULL, repeats=9)
    rows = []
    for name in arguments.rows:
        for dtype in DTYPES:
            measure.progress(f"activations, {name}, {dtype}")
            workload = WORKLOADS[name]
            steps = workload.steps_per_epoch(effort.epoch_flops)
            X, y = make_data(workload, steps * workload.batch, dtype)
            samplers = {}
            for activation in ACTIVATIONS:
                fit = estimator_peer("skmlp", workload, X, y, {"activation": activation})
                samplers[activation] = step_sampler(fit, effort.span, steps)
            measurement = steady.measured(samplers, effort.repeats, effort.time_limit)
            median = measurement.medians
            row: dict[str, Any] = {"workload": name, "dtype": dtype}
            row |= {f"{key} us": 1e6 * value for key, value in median.items()}
            row |= {f"{key}/relu": median[key] / median["relu"] for key in ACTIVATIONS[1:]}
            rows.append({**row, **measurement.facts, "label": f"{name} {dtype}"})
    columns = [name for name in rows[0] if name not in (*steady.FACTS, "label")]
    notes = steady.notes(rows, "label")
    return [Table("Activations: microseconds per step", columns, rows, notes)]
