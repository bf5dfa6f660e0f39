"""Peak memory of a fit beyond X itself, in child processes."""

from __future__ import annotations

import argparse
import dataclasses

from benchmarks import measure
from benchmarks.peers import fit_silently, make_model
from benchmarks.report import Table
from benchmarks.workloads import WORKLOADS, make_data

DTYPE = "float32"
EPOCHS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``memory``: none beyond the common ones."""


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure a fit of the mnist-like workload with both packages."""
    workload = WORKLOADS["mnist"]
    rows = workload.rows // 10 if arguments.quick else workload.rows
    extra = {}
    for package in ("skmlp", "sklearn"):
        measure.progress(f"memory, {package}")
        child = "benchmarks.memory:probe"
        extra[package] = measure.run_in_child(child, package=package, rows=rows)["extra_bytes"]
    row = {
        "fit": dataclasses.replace(workload, rows=rows).shape,
        "X MB": rows * workload.features * 4 / 1e6,
        "skmlp extra MB": extra["skmlp"] / 1e6,
        "sklearn extra MB": extra["sklearn"] / 1e6,
    }
    notes = ["Peak resident memory during fit beyond the size before it, X and y included there."]
    return [Table(f"Peak extra memory of a fit, {DTYPE}", list(row), [row], notes)]


def probe(package: str, rows: int) -> dict[str, int]:
    """Return the extra bytes of a fit; runs in a child process."""
    workload = WORKLOADS["mnist"]
    model = make_model(
        package,
        "classifier",
        hidden_layer_sizes=workload.hidden,
        batch_size=workload.batch,
        max_iter=EPOCHS,
        random_state=0,
    )
    small, target = make_data(workload, 1000, DTYPE)
    fit_silently(model, small, target)  # code is loaded and compiled before the measurement
    X, y = make_data(workload, rows, DTYPE)
    return {"extra_bytes": measure.extra_memory(lambda: fit_silently(model, X, y))}
