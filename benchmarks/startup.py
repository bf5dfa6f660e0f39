"""Whole-process times: imports, the first small fit, and the first fit ever (compilation)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial

from benchmarks import measure
from benchmarks.report import Table

_IMPORT = "import {module}"
_FIRST_FIT = """
import numpy as np
from {module} import MLPClassifier
X = np.random.default_rng(0).standard_normal((200, 10))
MLPClassifier((10,), max_iter=5, random_state=0).fit(X, X[:, 0] > 0)
"""
_MODULES = {"skmlp": "skmlp", "sklearn": "sklearn.neural_network"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``startup``."""
    parser.add_argument("--repeats", type=int, help="processes per figure, median taken")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Time fresh processes of both packages in turns; compile into an empty cache apart."""
    repeats = arguments.repeats or (2 if arguments.quick else 9)
    compilations = 1 if arguments.quick else 3
    samplers: dict[str, Callable[[], float]] = {}
    for what, code in (("import", _IMPORT), ("import and first fit", _FIRST_FIT)):
        for package, module in _MODULES.items():
            sampler = partial(process_seconds, code.format(module=module))
            sampler()  # fills the caches of bytecode, kernels and files
            samplers[f"{package} {what}"] = sampler
    measure.progress("startup, caches filled")
    median = measure.medians(measure.interleave(samplers, repeats))
    rows: list[dict[str, object]] = []
    for what in ("import", "import and first fit"):
        mine, other = median[f"skmlp {what}"], median[f"sklearn {what}"]
        row = {"skmlp s": mine, "sklearn s": other, "skmlp - sklearn s": mine - other}
        rows.append({"process": what, **row, "skmlp/sklearn": mine / other})
    measure.progress("startup, compilation into an empty cache")
    compiled = measure.medians(measure.interleave({"skmlp": first_fit_ever}, compilations))
    rows.append({"process": "first fit ever, nothing compiled", "skmlp s": compiled["skmlp"]})
    title = "Whole process, fresh interpreter: seconds"
    notes = [f"Medians of {repeats} processes each, in turns; of {compilations} for compilation."]
    return [Table(title, ["process", *list(rows[0])[1:]], rows, notes)]


def process_seconds(code: str, **environment: str) -> float:
    """Return the wall time of a fresh interpreter that runs `code`."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = os.environ | environment
    # What is installed has its bytecode beside it; a checkout must be allowed to write its own.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = partial(subprocess.run, command, cwd=measure.ROOT, env=environment, check=True)
    return measure.seconds(process)


def first_fit_ever() -> float:
    """Return the time of a first fit that finds no compiled kernel on disk."""
    with tempfile.TemporaryDirectory() as folder:
        return process_seconds(_FIRST_FIT.format(module="skmlp"), NUMBA_CACHE_DIR=folder)
