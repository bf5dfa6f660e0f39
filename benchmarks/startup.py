"""Whole-process times: imports, the first small fit, and the first fit ever (compilation)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from typing import Any

from benchmarks import measure, steady, trees
from benchmarks.peers import MODULES
from benchmarks.report import Table
from benchmarks.steady import Sampler

_IMPORT = "import {module}"
_FIRST_FIT = """
import numpy as np
from {module} import MLPClassifier
X = np.random.default_rng(0).standard_normal((200, 10))
MLPClassifier((10,), max_iter=5, random_state=0).fit(X, X[:, 0] > 0)
"""
CASES = {"import": _IMPORT, "import and first fit": _FIRST_FIT}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``startup``."""
    parser.add_argument("--repeats", type=int, help="processes per figure, median taken")
    trees.add_argument(parser)


def run(arguments: argparse.Namespace) -> list[Table]:
    """Time fresh processes of both packages in turns; compile into an empty cache apart."""
    if arguments.against:
        return [trees.compare(__name__, list(CASES), "s", arguments, {})]
    repeats = arguments.repeats or (2 if arguments.quick else 9)
    compilations = 1 if arguments.quick else 3
    rows = [compare(case, repeats) for case in CASES]
    measure.progress("startup, compilation into an empty cache")
    compiled = steady.measured({"skmlp": steady.repeated(first_fit_ever)}, compilations)
    row = {"process": "first fit ever, nothing compiled", "skmlp s": compiled.medians["skmlp"]}
    rows.append({**row, **compiled.facts})
    title = "Whole process, fresh interpreter: seconds"
    notes = [
        f"Medians of {repeats} processes each, in turns; of {compilations} for compilation.",
        *steady.notes(rows, "process"),
    ]
    columns = ["process", "skmlp s", "sklearn s", "skmlp - sklearn s", "skmlp/sklearn"]
    return [Table(title, columns, rows, notes)]


def compare(case: str, repeats: int) -> dict[str, Any]:
    """Return the row of one kind of process."""
    measure.progress(f"startup, {case}")
    samplers = {package: process_sampler(case, package) for package in MODULES}
    measurement = steady.measured(samplers, repeats)
    mine, other = (measurement.medians[package] for package in ("skmlp", "sklearn"))
    return {
        "process": case,
        "skmlp s": mine,
        "sklearn s": other,
        "skmlp - sklearn s": mine - other,
        "skmlp/sklearn": mine / other,
        **measurement.facts,
    }


def case_sampler(case: str) -> Sampler:
    """Return the sampler of one kind of process with skmlp."""
    return process_sampler(case, "skmlp")


def process_sampler(case: str, package: str) -> Sampler:
    """Return the sampler of one kind of process."""
    code = CASES[case].format(module=MODULES[package])
    run_process(code)  # fills the caches of bytecode, kernels and files
    return steady.repeated(partial(run_process, code))


def run_process(code: str, **environment: str) -> None:
    """Run `code` in a fresh interpreter."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = os.environ | environment
    # What is installed has its bytecode beside it; a checkout must be allowed to write its own.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(command, cwd=measure.ROOT, env=environment, check=True)


def first_fit_ever() -> None:
    """Run a first fit that finds no compiled kernel on disk."""
    with tempfile.TemporaryDirectory() as folder:
        run_process(_FIRST_FIT.format(module="skmlp"), NUMBA_CACHE_DIR=folder)
