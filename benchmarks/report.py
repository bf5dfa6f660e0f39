"""Tables of results: printed for people, saved as JSON with machine, versions and commit."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import skmlp
from benchmarks import measure

RESULTS = Path(os.environ.get("BENCHMARKS_RESULTS") or Path(__file__).resolve().parent / "results")
LOAD_AT_START = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
_NUMBER = re.compile(r"(-\d+)?")
_PACKAGES = (
    *("numpy", "scipy", "numba", "numba-cuda", "cuda-core", "cuda-bindings", "scikit-learn"),
    *("torch", "jax", "onnxruntime"),
)


@dataclass(frozen=True)
class Table:
    """A titled table; a column whose name holds a slash is a ratio.

    A row may lack a column (printed as ``-``), and may hold keys that are no column: those are
    saved but not printed.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()


def format_cell(column: str, value: object) -> str:
    """Return the text of one cell: three significant digits, ratios with a trailing ``x``."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if "/" in column:
        return f"{value:.2f}x"
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1e}"


def render(table: Table) -> str:
    """Return `table` as aligned text."""
    body = [[format_cell(name, row.get(name)) for name in table.columns] for row in table.rows]
    cells = [list(table.columns), *body]
    widths = [max(len(line[i]) for line in cells) for i in range(len(table.columns))]
    texts = [isinstance(table.rows[0].get(name), str) for name in table.columns]
    lines = [
        "  ".join(
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(line, widths, texts, strict=True)
        ).rstrip()
        for line in cells
    ]
    rule = "-" * max(map(len, lines))
    notes = [f"  {note}" for note in table.notes]
    return "\n".join(["", table.title, rule, lines[0], rule, *lines[1:], rule, *notes])


def cpu_model() -> str:
    """Return the processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python, skmlp and the installed packages they are compared on."""
    found = {"python": platform.python_version(), "skmlp": skmlp.__version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path = measure.ROOT) -> str:
    """Return the commit checked out in `folder`, with ``+changes`` where files differ from it.

    In a copy without history it is what the environment variable ``BENCHMARKS_COMMIT`` says.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return os.environ.get("BENCHMARKS_COMMIT", "unknown")
    return commit + ("+changes" if _git(folder, "status", "--porcelain") else "")


def _git(folder: Path, *arguments: str) -> str:
    try:
        command = ["git", *arguments]
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()


def _free_path(stem: str) -> Path:
    """Return a path that no result has, numbered after those of the same stem."""
    names = [path.stem.removeprefix(stem) for path in RESULTS.glob(f"{stem}*.json")]
    numbers = [1 if not name else int(name[1:]) for name in names if _NUMBER.fullmatch(name)]
    last = max(numbers, default=0)
    return RESULTS / (f"{stem}-{last + 1}.json" if last else f"{stem}.json")


def save(
    command: str,
    tables: Sequence[Table],
    path: Path | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write `tables` to ``results/<date>-<command>.json`` and return the path.

    An earlier result of the same day is kept: the new one's name gets a number. A `path` that was
    returned before is written again. `facts` are saved too.
    """
    now = datetime.datetime.now(datetime.UTC)
    document = {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "time": now.isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu_model(),
            "cores": measure.available_cores(),
            "load": LOAD_AT_START,
            "os": platform.platform(),
        },
        "versions": versions(),
        "commit": git_commit(),
        **(facts or {}),
        "tables": [asdict(table) for table in tables],
    }
    if path is None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = _free_path(f"{now:%Y-%m-%d}-{command}")
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path
