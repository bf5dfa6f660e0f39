"""What a choice costs beside another one: microseconds per step of otherwise equal fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure, steady
from benchmarks.fit import FULL, QUICK, step_sampler
from benchmarks.peers import estimator_peer
from benchmarks.report import Table
from benchmarks.workloads import Workload, make_data

DTYPES = ("float32", "float64")
# Of the competitors of a row, which are many: they take turns.
REPEATS = 7
SECONDS_PER_ROW = 240.0


def variants_table(
    title: str,
    workloads: Sequence[Workload],
    variants: Mapping[str, Mapping[str, Any]],
    base: str,
    *,
    quick: bool,
) -> Table:
    """Measure skmlp with each of the variants' parameters, in turns, and compare with one of them.

    Parameters
    ----------
    variants : dict of str to dict
        Parameters of skmlp's estimators, by the names that the table gives them.
    base : str
        The variant that others are compared with.
    """
    effort = QUICK if quick else FULL
    rows = []
    for workload in workloads:
        for dtype in DTYPES:
            measure.progress(f"{title}: {workload.name}, {dtype}")
            steps = workload.steps_per_epoch(effort.epoch_flops)
            X, y = make_data(workload, steps * workload.batch, dtype)
            samplers = {
                name: step_sampler(
                    estimator_peer("skmlp", workload, X, y, parameters), effort.span, steps
                )
                for name, parameters in variants.items()
            }
            measurement = steady.measured(samplers, REPEATS, SECONDS_PER_ROW)
            rows += [make_row(workload, dtype, name, base, measurement) for name in variants]
    return Table(
        f"{title}: microseconds per step",
        ["workload", "batch", "dtype", "variant", "us", f"/{base}"],
        rows,
        steady.notes(rows, "label"),
    )


def make_row(
    workload: Workload, dtype: str, name: str, base: str, measurement: steady.Measurement
) -> dict[str, Any]:
    """Return a variant's row; only the first one tells what is wrong with figures of its group."""
    medians = measurement.medians
    facts = measurement.facts
    own = {
        "samples": {name: facts["samples"][name]},
        "spread": {name: facts["spread"][name]},
        "doubts": {key: text for key, text in facts["doubts"].items() if key == name},
        "attempts": facts["attempts"],
    }
    return {
        "workload": workload.name,
        "batch": workload.batch,
        "dtype": dtype,
        "variant": name,
        "us": 1e6 * medians[name],
        f"/{base}": medians[name] / medians[base],
        "label": f"{workload.name} {dtype}",
        **own,
    }
