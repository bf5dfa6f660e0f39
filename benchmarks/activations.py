"""What each activation costs beside relu: microseconds per step of the same fit."""

from __future__ import annotations

import argparse

from benchmarks.report import Table
from benchmarks.variants import variants_table
from benchmarks.workloads import WORKLOADS

BASE = "relu"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``activations``."""
    parser.add_argument("--rows", nargs="+", choices=list(WORKLOADS), default=["digits", "mnist"],
                        metavar="NAME", help="workloads to run")  # fmt: skip


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the chosen workloads with every activation of the registry that knows no rows."""
    # Not before: the benchmarks of another checkout import it from there.
    from skmlp.network.activations import ACTIVATIONS

    names = [name for name, entry in ACTIVATIONS.items() if entry.hidden and entry.is_elementwise]
    variants = {name: {"activation": name} for name in names}
    workloads = [WORKLOADS[name] for name in arguments.rows]
    return [variants_table("Activations", workloads, variants, BASE, quick=arguments.quick)]
