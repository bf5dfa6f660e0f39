"""Another checkout against this one, sample by sample in turns, each in a process of its own.

Both processes run the benchmarks of this checkout; only skmlp is imported from another folder
(say, of ``git worktree add ../before HEAD~1``). So do the processes that they start themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure, report, steady
from benchmarks.report import Table
from benchmarks.workers import Worker, WorkerError

TREES = ("old", "new")
SCALES = {"us": 1e6, "ms": 1e3, "s": 1.0}
REPEATS, QUICK_REPEATS = 15, 5
# Of the ratios of neighbors in turns, as a part of their median.
MOST_SPREAD = 0.05
# Of a case's first attempt; no round of samples starts later.
_TIME_LIMIT = 60.0
# Importing, compiling, the first fits; one sample.
_MOST_SECONDS = 600.0


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses this comparison."""
    parser.add_argument("--against", type=checkout, metavar="FOLDER",
                        help="skmlp alone, in turns with that of another checkout")  # fmt: skip


def checkout(text: str) -> Path:
    """Return the folder of a checkout of skmlp."""
    folder = Path(text).resolve()
    if not (folder / "skmlp" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(
            f"{text!r} holds no folder skmlp; name a checkout, as `git worktree add` makes one"
        )
    return folder


def compare(
    module: str,
    cases: Sequence[str],
    unit: str,
    arguments: argparse.Namespace,
    options: Mapping[str, Any],
) -> Table:
    """Return the table of a subject's cases: the other checkout, this one, and their ratio.

    Parameters
    ----------
    module : str
        Its ``case_sampler(case, **options)`` returns a sampler of seconds, after a first call.
    unit : {"us", "ms", "s"}
    """
    folders = dict(zip(TREES, (arguments.against, measure.ROOT), strict=True))
    repeats = arguments.repeats or (QUICK_REPEATS if arguments.quick else REPEATS)
    subject = module.rsplit(".", 1)[-1]
    rows = []
    for case in cases:
        measure.progress(f"{subject}, {case}, in turns with {arguments.against}")
        with contextlib.ExitStack() as stack:
            workers = {
                name: stack.enter_context(worker_of(folder, module, options))
                for name, folder in folders.items()
            }
            rows.append(measure_case(case, workers, unit, repeats))
    notes = [
        f"{name}: commit {report.git_commit(folder)} in {folder}."
        for name, folder in folders.items()
    ]
    notes.append("Medians of samples drawn in turns; old/new is the median of the rounds' ratios.")
    columns = [
        "case",
        *(f"{name} {unit}" for name in TREES),
        "old/new",
        "spread of ratios",
        "rounds",
    ]
    return Table(
        f"skmlp, old against new: {subject}",
        [*columns, *(["remark"] if any("remark" in row for row in rows) else [])],
        rows,
        [*notes, *steady.notes(rows, "case")],
    )


def measure_case(
    case: str, workers: Mapping[str, Worker], unit: str, repeats: int
) -> dict[str, Any]:
    """Return the row of one case, or why it has no figures."""
    try:
        for worker in workers.values():
            worker.ask({"prepare": case}, _MOST_SECONDS)
        samplers = {name: partial(ask_sample, worker) for name, worker in workers.items()}
        measurement = steady.measured(samplers, repeats, _TIME_LIMIT, scattered)
    except WorkerError as error:
        return {"case": case, "remark": str(error)}
    ratios = ratios_of(measurement.samples)
    medians = {
        f"{name} {unit}": SCALES[unit] * value for name, value in measurement.medians.items()
    }
    return {
        "case": case,
        **medians,
        "old/new": float(np.median(ratios)),
        "spread of ratios": steady.spread(ratios),
        "rounds": len(ratios),
        **measurement.facts,
    }


def ratios_of(samples: steady.Samples) -> list[float]:
    """Return how many times as long the other checkout took, round by round."""
    return [old / new for old, new in zip(samples["old"], samples["new"], strict=True)]


def scattered(samples: steady.Samples) -> dict[str, str]:
    """Judge the ratios: what slows both down alike does not matter."""
    return steady.scattered({"old/new": ratios_of(samples)}, MOST_SPREAD)


# --- Processes ---


@contextlib.contextmanager
def worker_of(folder: Path, module: str, options: Mapping[str, Any]) -> Iterator[Worker]:
    """Lend a process with skmlp from `folder` and the benchmarks from here."""
    with tempfile.TemporaryDirectory() as room:
        # A folder of its own: in `folder` there may be other benchmarks, here another skmlp.
        (Path(room) / "benchmarks").symlink_to(
            Path(__file__).resolve().parent, target_is_directory=True
        )
        path = [room, str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        # Inherited by what the process starts. Without the second one the working directory,
        # which is this checkout, would come first.
        environment = {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}
        worker = Worker(
            "benchmarks.trees:start_sampling",
            environment=environment,
            folder=str(folder),
            module=module,
            options=dict(options),
        )
        try:
            yield worker
        finally:
            worker.close()


def ask_sample(worker: Worker, stretch: int) -> float:
    """Return the seconds that a process has measured."""
    seconds: float = worker.ask({"sample": stretch}, _MOST_SECONDS * stretch)["seconds"]
    return seconds


def start_sampling(
    folder: str, module: str, options: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return the one who answers a `Worker`: to ``"prepare"`` a case, then to ``"sample"`` it."""
    skmlp: Any = importlib.import_module("skmlp")
    source = Path(skmlp.__file__).resolve().parent.parent
    if source != Path(folder):
        raise RuntimeError(f"skmlp comes from {source}, not from {folder}")
    subject = importlib.import_module(module)
    sampler: steady.Sampler | None = None

    def respond(request: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal sampler
        if "prepare" in request:
            sampler = subject.case_sampler(request["prepare"], **options)
            return {}
        assert sampler is not None
        return {"seconds": sampler(request["sample"])}

    return respond
