"""What each optimizer costs beside Adam: microseconds per step of the same fit."""

from __future__ import annotations

import argparse
import dataclasses

from benchmarks.report import Table
from benchmarks.variants import variants_table
from benchmarks.workloads import WORKLOADS

BASE = "adam"
# A step of one row is hardly more than its update; of a few rows, more and more else.
FEW_ROWS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``solvers``."""
    parser.add_argument("--rows", nargs="+", choices=list(WORKLOADS), default=["digits", "mnist"],
                        metavar="NAME", help="workloads to run")  # fmt: skip


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the chosen workloads with every optimizer of the registry, by batches and by rows."""
    # Not before: the benchmarks of another checkout import it from there.
    from skmlp.network.optimizers import OPTIMIZERS

    variants = {name: {"solver": name} for name in OPTIMIZERS}
    workloads = []
    for name in arguments.rows:
        whole = WORKLOADS[name]
        rows = FEW_ROWS * (whole.rows // whole.batch)
        workloads += [whole, dataclasses.replace(whole, rows=rows, batch=1)]
    return [variants_table("Optimizers", workloads, variants, BASE, quick=arguments.quick)]
