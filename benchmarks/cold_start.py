"""First fits on a machine: who compiles what, and how long that takes.

An installation of its own, a copy of the package without compiled kernels, is used by fresh
processes as users would.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.report import Table

# One precision, no hidden layer: the least that a fit can compile. With all, what most fits do.
_FIT = """
import hashlib, json, time, warnings
began = time.perf_counter()
import numpy as np
from skmlp import MLPClassifier
from skmlp.engines.listeners import compilations_told_to
warnings.simplefilter("ignore")
X = np.random.default_rng(0).standard_normal((200, 10))
compiled = []
with compilations_told_to(compiled.append):
    model = MLPClassifier({layers}, max_iter=5, random_state=0, dtype={dtype!r})
    model.fit(X, X[:, 0] > 0)
digest = hashlib.sha256(b"".join(coef.tobytes() for coef in model.coefs_)).hexdigest()
seconds = time.perf_counter() - began
print(json.dumps({{"seconds": seconds, "compiled": compiled, "digest": digest}}))
"""
_NOBODY = 65534  # a user who owns nothing
_SETPRIV = (  # read everything, as the interpreter may lie in root's home, and write nothing
    *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``coldstart``."""
    parser.add_argument("--processes", type=int, default=2, help="that start at once (default: 2)")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Fit in fresh processes: alone, several at once, once more, and as another user."""
    fit = _FIT.format(
        layers="()" if arguments.quick else "(10,)",
        dtype="float32" if arguments.quick else "float64",
    )
    with installation() as alone, installation() as shared:
        measure.progress("one process, nothing compiled")
        scenarios = {"nothing compiled": fits(fit, alone)}
        measure.progress(f"{arguments.processes} processes at once, nothing compiled")
        several = f"nothing compiled, {arguments.processes} at once"
        scenarios[several] = fits(fit, shared, arguments.processes)
        measure.progress("processes that find everything compiled")
        scenarios["all compiled"] = fits(fit, shared)
        with read_only(shared):
            scenarios["all compiled by another user, nothing writable"] = fits(
                fit, shared, command=other_user()
            )
    rows = [
        {
            "process": f"{scenario} ({number})" if len(results) > 1 else scenario,
            "seconds": result["seconds"],
            "kernels compiled": len(result["compiled"]),
            "same result": result["digest"] == scenarios["nothing compiled"][0]["digest"],
        }
        for scenario, results in scenarios.items()
        for number, result in enumerate(results, 1)
    ]
    title = "Import and first fit, fresh interpreter and installation"
    notes = [f"Fits of {'()' if arguments.quick else '(10,)'}, once each."]
    return [Table(title, list(rows[0]), rows, notes)]


@contextmanager
def installation() -> Iterator[Path]:
    """Copy the package, without what was compiled, into a folder that everybody can read."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(measure.ROOT / "skmlp", root / "skmlp", ignore=leave)
        yield root


@contextmanager
def read_only(root: Path) -> Iterator[None]:
    """Take the right to write away from a folder, for the block."""
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    try:
        for folder in folders:
            folder.chmod(0o555)
        yield
    finally:
        for folder in folders:
            folder.chmod(0o755)


def other_user() -> list[str]:
    """Return the beginning of a command that permissions bind, which they do not bind root.

    Raises
    ------
    FileNotFoundError
        If root has no means to become another user.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise FileNotFoundError("root needs setpriv (util-linux) to become another user")
    return list(_SETPRIV)


def fits(
    code: str, root: Path, count: int = 1, command: list[str] | None = None, **environment: str
) -> list[dict[str, Any]]:
    """Start processes with an installation of skmlp at once; return what each of them prints.

    They keep kernels where users do who have chosen no folder, and have a home only as a new
    folder of the installation.
    """
    # What is installed has its bytecode beside it.
    ignored = ("NUMBA_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")
    home = {"HOME": str(root / "home"), "XDG_CACHE_HOME": str(root / "home" / "cache")}
    everything = {name: value for name, value in os.environ.items() if name not in ignored}
    everything |= {"PYTHONPATH": str(root), **home, **environment}
    processes = [
        subprocess.Popen(
            [*(command or []), sys.executable, "-c", code],
            cwd=root,
            env=everything,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    results = []
    for process in processes:
        printed, _ = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"a fit in a new process ended with {process.returncode}")
        results.append(json.loads(printed))
    return results
