"""A GPU: one network, a thousand at once, medium and wide ones, a grid search; peers and floors.

Every competitor lives in a process of its own, so that one that crashes, hangs or loses the GPU
costs its own figure and no other. Samples are drawn in turns; what fails leaves its error in the
table, and results are saved after each row. What scatters, or passes under the arithmetic floor, is
measured again for longer.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import chips, measure, report, steady
from benchmarks.gpu_peers import COMPETITORS, Case, Competitor, case_of
from benchmarks.report import Table
from benchmarks.workers import Deadline, Worker, WorkerError
from skmlp.engines.cuda.discovery import discover

# Each row is written at once: nothing is left for the command line to save.
SAVES_BY_ITSELF = True

TITLES = {
    "small": "One small network",
    "many": "1000 small networks at once, each with its own seed, alpha and rate",
    "medium": "One medium network",
    "wide": "One wide network",
    "search": "Grid search over StandardScaler + MLPClassifier on the digits, 24 x 5 fits",
}
# skmlp and each peer are compared where both round alike.
OWN = {"float32": "skmlp", "tf32": "skmlp tf32", "bf16": "skmlp bf16"}
MOST_MICROSECONDS_PER_MODEL_STEP = 1.0  # with many networks: a million model-steps per second
_REMARK_WIDTH = 60


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes
    ----------
    span : float
        Seconds of work in a sample.
    repeats : int
        Samples of each competitor.
    row_seconds, own_seconds : float
        Time limits of a row, and of one competitor until its first sample.
    """

    span: float
    repeats: int
    row_seconds: float
    own_seconds: float


FULL = Effort(span=0.3, repeats=7, row_seconds=120, own_seconds=50)
QUICK = Effort(span=0.1, repeats=3, row_seconds=90, own_seconds=50)


@dataclass(frozen=True)
class Device:
    """Where the competitors compute.

    Attributes
    ----------
    name : str
    kind : str
        What PyTorch and JAX call it.
    is_simulated : bool
        Whether skmlp's kernels run in Numba's simulator: sizes are tiny then, and no figure
        means anything.
    """

    name: str
    kind: str
    is_simulated: bool

    @property
    def chip(self) -> chips.Chip | None:
        """Its peaks, if they are known."""
        return None if self.is_simulated else chips.find_chip(self.name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``gpu``."""
    names = list(COMPETITORS)
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"rows to measure: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="TEXT",
                        help="only competitors whose name begins with one of these")  # fmt: skip
    parser.add_argument("--row-seconds", type=float, help="time limit of a row")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the chosen rows, saving after each of them."""
    device = find_device()
    if device.is_simulated and arguments.save:
        raise SystemExit("benchmarks gpu: the simulator's times mean nothing; leave out --save")
    base = QUICK if arguments.quick else FULL
    row_seconds = arguments.row_seconds or base.row_seconds
    effort = Effort(base.span, base.repeats, row_seconds, base.own_seconds)
    if device.is_simulated:
        effort = Effort(0.0, 1, row_seconds, row_seconds)
    tables: list[Table] = []
    rows: dict[str, list[dict[str, Any]]] = {}
    states: dict[str, Any] = {}
    path = None
    for row in arguments.rows:
        before = chips.nvidia_smi()
        try:
            rows[row] = measure_row(row, device, effort, arguments.only)
            tables.append(make_table(row, rows[row], device))
        except Exception as error:  # whatever it is, the other rows are still to be had
            text = f"{type(error).__name__}: {error}"
            tables.append(Table(TITLES[row], ["error"], [{"error": text}]))
        if arguments.save:
            states[row] = {"before": before, "after": chips.nvidia_smi()}
            facts = {"gpu": {"name": device.name, "states": states}}
            path = report.save("gpu", [*tables, summary(rows)], path, facts)
            print(report.render(tables[-1]), f"saved to {path}", sep="\n", flush=True)
    return tables if device.is_simulated else [*tables, summary(rows)]


def find_device() -> Device:
    """Find out what there is to compute on, without using it."""
    found = discover()
    if found.is_simulated:
        return Device("simulator", "cpu", True)
    if found.is_usable:
        return Device(found.driver.gpus[0].name, "cuda", False)
    # The peers may still be able to compute; the table then says what skmlp lacks.
    name = chips.nvidia_smi().get("name")
    if name is None:
        raise SystemExit(f"benchmarks gpu: no GPU can be used. {' '.join(found.problems)}")
    return Device(name, "cuda", False)


# --- Measuring ---


def measure_row(
    row: str, device: Device, effort: Effort, only: list[str] | None = None
) -> list[dict[str, Any]]:
    """Return one line per competitor that is installed: its samples, or why there are none."""
    lines = {
        name: {"competitor": name}
        for name, competitor in COMPETITORS[row].items()
        if importlib.util.find_spec(competitor.package)
        and (only is None or name.startswith(tuple(only)))
    }
    deadline = Deadline(effort.row_seconds)
    span = effort.span
    options = {"device": device.kind, "tiny": device.is_simulated, "span": span, "row": row}
    # All begin to import at once, which takes some of them ten seconds.
    workers = {
        name: Worker("benchmarks.gpu_peers:start_sampling", name=name, **options) for name in lines
    }
    try:
        for name, line in lines.items():
            ask(line, workers[name], "ready", deadline.left)
        for name, line in lines.items():
            measure.progress(f"gpu, {row}, {name}")
            own = Deadline(min(effort.own_seconds, deadline.left))
            for request in ("prepare", "count", "sample"):
                ask(line, workers[name], request, own.left)
        sample_in_turns(lines, workers, effort.repeats - 1, deadline)
        if not device.is_simulated:
            sample_again(row, lines, workers, effort.repeats, device, deadline)
    finally:
        for worker in workers.values():
            worker.end()
        for worker in workers.values():
            worker.close()
    return list(lines.values())


def sample_again(
    row: str,
    lines: Mapping[str, dict[str, Any]],
    workers: Mapping[str, Worker],
    repeats: int,
    device: Device,
    deadline: Deadline,
) -> None:
    """Draw all samples anew, of work twice as long, while there are doubts and enough time.

    The doubts that remain are entered into the lines. All take part, since ratios are of samples
    drawn in turns.
    """
    for attempt in range(steady.ATTEMPTS):
        doubts = doubts_of(row, lines, device)
        for name, line in lines.items():
            line["doubts"] = {"time": doubts[name]} if name in doubts else {}
            line["spread"] = steady.spread(line.get("samples", []))
            line["attempts"] = attempt + 1
        healthy = [line for line in lines.values() if "error" not in line]
        needed = 2 * repeats * sum(line["sample seconds"] for line in healthy)
        if not doubts or attempt == steady.ATTEMPTS - 1 or deadline.left < 1.5 * needed:
            return
        measure.progress(f"gpu, {row}, again for longer: {', '.join(doubts)}")
        for name, line in lines.items():
            ask(line, workers[name], "lengthen", deadline.left)
            if "error" not in line:
                before, line["samples"] = line["samples"], []
                ask(line, workers[name], "sample", deadline.left)
                line["samples"] = line["samples"] or before
        sample_in_turns(lines, workers, repeats - 1, deadline)


def doubts_of(row: str, lines: Mapping[str, dict[str, Any]], device: Device) -> dict[str, str]:
    """Return what is wrong with the samples of some competitors."""
    samples = {name: line["samples"] for name, line in lines.items() if line.get("samples")}
    doubts = steady.scattered(samples)
    case = case_of(row, device.is_simulated)
    for name, figure in measure.medians(samples).items():
        if isinstance(case, Case):
            precision = COMPETITORS[row][name].precision
            floor = chips.arithmetic_floor(case.workload, device.chip, precision)
            if floor is not None and 1e6 * figure < floor:
                doubts[name] = "is below the arithmetic floor: a faulty measurement"
    return doubts


def ask(line: dict[str, Any], worker: Worker, request: str, time_limit: float) -> None:
    """Add a worker's answer to its competitor's line, or why there is none."""
    if "error" in line:
        return
    if time_limit <= 0:
        line["error"] = f"no time was left for {request!r}"
        return
    try:
        answer = worker.ask(request, time_limit)
    except WorkerError as error:
        line["error"] = f"{request}: {error}"
        return
    if "seconds" in answer:
        line.setdefault("samples", []).append(answer.pop("seconds"))
    line |= answer


def sample_in_turns(
    lines: Mapping[str, dict[str, Any]],
    workers: Mapping[str, Worker],
    repeats: int,
    deadline: Deadline,
) -> None:
    """Draw samples of all who can give some, one of each per round, while there is time."""
    for _ in range(repeats):
        for name, line in lines.items():
            if "error" not in line and deadline.left > 3 * line["sample seconds"]:
                ask(line, workers[name], "sample", deadline.left)


# --- Tables ---


def make_table(row: str, lines: list[dict[str, Any]], device: Device) -> Table:
    """Return the table of one row: figures, how many times faster skmlp is, and the floors."""
    case, competitors = case_of(row, device.is_simulated), COMPETITORS[row]
    unit, scale = ("us", 1e6) if isinstance(case, Case) else ("s", 1.0)
    figures = {
        line["competitor"]: scale * float(np.median(line["samples"]))
        for line in lines
        if "samples" in line
    }
    rows = []
    for line in lines:
        competitor = competitors[line["competitor"]]
        figure = figures.get(line["competitor"])
        entry = {**line, unit: figure, "precision": competitor.precision}
        entry |= compare(competitor, figure, figures)
        if isinstance(case, Case):
            entry |= floors(case, device.chip, competitor.precision, figure)
        entry["remark"] = line.get("error", line.get("path", ""))[:_REMARK_WIDTH]
        rows.append(entry)
    columns = ["competitor", unit, "time/skmlp", "aim"]
    if isinstance(case, Case):
        columns += ["arithmetic", "bytes", "time/floor"]
    if device.is_simulated:
        columns = ["competitor", "loss" if isinstance(case, Case) else "best score"]
    title = f"{TITLES[row]}{describe(case)}, on {device.name}"
    remarks = [*notes(row, case, device), *steady.notes(rows, "competitor")]
    return Table(title, [*columns, "remark"], rows, remarks)


def compare(
    competitor: Competitor, figure: float | None, figures: Mapping[str, float]
) -> dict[str, Any]:
    """Return how many times faster skmlp is than a competitor of the same precision."""
    own = figures.get(OWN[competitor.precision])
    entry: dict[str, Any] = {}
    if figure is not None and own is not None:
        entry["time/skmlp"] = figure / own
    if competitor.aim is not None:
        entry["aim"] = f">= {competitor.aim:g}"
    return entry


def floors(
    case: Case, chip: chips.Chip | None, precision: str, figure: float | None
) -> dict[str, Any]:
    """Return the two floors in microseconds, and how far from the higher one a figure is."""
    entry = {
        "arithmetic": chips.arithmetic_floor(case.workload, chip, precision),
        "bytes": chips.bytes_floor(case.workload, chip),
    }
    known = [floor for floor in entry.values() if floor is not None]
    if len(known) == 2 and figure is not None:
        entry["time/floor"] = figure / max(known)
    return entry


def describe(case: Any) -> str:
    """Return the shape of a case, if it has one."""
    return f", {case.workload.shape}, Adam" if isinstance(case, Case) else ""


def notes(row: str, case: Any, device: Device) -> list[str]:
    """Return what a reader of a table must know."""
    if device.is_simulated:
        return ["Simulated, with tiny sizes: this shows that everything runs, and no speed."]
    lines = ["Medians of samples drawn in turns; skmlp's path by its own choice, or as named."]
    if isinstance(case, Case):
        lines = [
            f"Microseconds per {'model-' * (case.models > 1)}step. {lines[0]}",
            "Floors: the products' operations at the chip's peak; batch, parameters and moments "
            "at its bandwidth.",
        ]
    packages = {competitor.package for competitor in COMPETITORS[row].values()}
    missing = sorted(name for name in packages if not importlib.util.find_spec(name))
    return [*lines, f"Not installed: {', '.join(missing)}."] if missing else lines


def summary(rows: Mapping[str, list[dict[str, Any]]]) -> Table:
    """Return the aims and what became of them."""
    lines = []
    for row, entries in rows.items():
        figures = {
            entry["competitor"]: float(np.median(entry["samples"]))
            for entry in entries
            if "samples" in entry
        }
        for name, competitor in COMPETITORS[row].items():
            if competitor.aim is None:
                continue
            own, figure = figures.get(OWN[competitor.precision]), figures.get(name)
            ratio = None if own is None or figure is None else figure / own
            met = "not measured" if ratio is None else "yes" if ratio >= competitor.aim else "no"
            line = {"row": row, "than": name, "aim": f">= {competitor.aim:g}", "met": met}
            lines.append({**line, "time/skmlp": ratio})
        if row == "many" and "skmlp" in figures:
            rate = 1.0 / figures["skmlp"]
            met = "yes" if 1e6 / rate <= MOST_MICROSECONDS_PER_MODEL_STEP else "no"
            line = {"row": row, "than": f"{rate:,.0f} model-steps/s", "aim": ">= 1,000,000"}
            lines.append({**line, "met": met})
    return Table("Aims", ["row", "than", "time/skmlp", "aim", "met"], lines or [{"row": "none"}])
