"""A GPU: how long a step takes on each path, beside what the choice of paths expects of it.

What is expected follows from a few constants in `skmlp/engines/cuda/paths.py`; these tables tell
whether they fit a device, and what a wrong choice costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.gpu import find_device
from benchmarks.gpu_peers import TINY_CASES, Case, count_units, prepare_skmlp, tasks_of
from benchmarks.report import Table
from benchmarks.workloads import WORKLOADS, Workload

NETWORKS = (
    *(WORKLOADS[name] for name in ("iris", "digits", "mnist")),
    Workload("adult", 32000, 108, (100,), 2, 200, "multiclass"),
    Workload("deep", 8192, 64, (64, 64, 64, 64), 10, 256, "multiclass"),
    Workload("broad", 8192, 256, (512, 512), 10, 512, "multiclass"),
)
MODELS = (1, 8, 132, 1000)
# Lists with more parameters than this take longer to make than to train.
MOST_PARAMETERS = 6e7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``paths``."""
    names = [network.name for network in NETWORKS]
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"networks to run: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--models", nargs="+", type=int, default=MODELS,
                        help="numbers of models at once")  # fmt: skip


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure every way of training each list of models."""
    device = find_device()
    if device.is_simulated and arguments.save:
        raise SystemExit("benchmarks paths: the simulator's times mean nothing; leave out --save")
    networks = [network for network in NETWORKS if network.name in arguments.rows]
    models, span, repeats = arguments.models, 0.1, 2 if arguments.quick else 3
    if device.is_simulated:
        networks, models, span, repeats = [TINY_CASES["many"].workload], [2], 0.0, 1
    lines: list[dict[str, Any]] = []
    choices: list[dict[str, Any]] = []
    for network in networks:
        for count in models:
            case = Case(network, count)
            if count * case.parameters > MOST_PARAMETERS:
                continue
            measure.progress(f"paths, {network.name}, {count} models")
            found = list(measure_case(case, span, repeats))
            lines += found
            choices.append(judge(found))
    notes = ["Microseconds per step of all models."]
    if device.is_simulated:
        notes = ["Simulated, with tiny sizes: this shows that everything runs, and no speed."]
    columns = ["network", "models", "path", "blocks", "us", "expected", "us/expected", "remark"]
    chosen = ["network", "models", "chosen", "blocks", "us", "best", "best blocks", "us/best"]
    return [
        Table(f"Steps by path, on {device.name}", columns, lines, notes),
        Table("The path that is chosen, beside the fastest one", chosen, choices),
    ]


def measure_case(case: Case, span: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield one line for each way of training: its time, or why it has none."""
    from skmlp.engines.cuda import paths
    from skmlp.engines.cuda.engine import CudaEngine
    from skmlp.engines.cuda.runtime import runtime

    device = runtime()
    device.activate()
    task, *_ = tasks_of(Case(case.workload), CudaEngine())
    estimate = paths.estimate(device, task, case.models, case.models)
    ways = {("batched", 1): estimate.batched}
    for team in paths.TEAMS:
        seconds = paths.seconds_in_teams(device, task, case.models, team)
        if np.isfinite(seconds):
            ways["resident", team] = seconds
    own = (estimate.path, estimate.team if estimate.path == "resident" else 1)
    for (path, team), expected in ways.items():
        line = {"network": case.workload.name, "models": case.models, "path": path}
        line |= {"blocks": team, "expected": 1e6 * expected, "is chosen": (path, team) == own}
        try:
            line["us"] = 1e6 * case.models * seconds_per_step(case, path, team, span, repeats)
            line["us/expected"] = line["us"] / line["expected"]
        except Exception as error:  # whatever it is, the other ways are still to be had
            line["remark"] = f"{type(error).__name__}: {error}"[:60]
        yield line


def seconds_per_step(case: Case, path: str, team: int, span: float, repeats: int) -> float:
    """Return the median time of a model's step."""
    training = prepare_skmlp(case, "cuda", path=path, team=team)
    training.run(1)
    units = count_units(training, span)
    samples = []
    for _ in range(repeats):
        began = time.perf_counter()
        training.run(units)
        samples.append((time.perf_counter() - began) / (units * training.unit_steps))
    return float(np.median(samples))


def judge(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what was chosen of the ways that were measured, and which was the fastest."""
    [own] = [line for line in lines if line["is chosen"]]
    entry = {"network": own["network"], "models": own["models"], "chosen": own["path"]}
    entry |= {"blocks": own["blocks"], "us": own.get("us")}
    measured = [line for line in lines if "us" in line]
    if measured:
        best = min(measured, key=lambda line: line["us"])
        entry |= {"best": best["path"], "best blocks": best["blocks"]}
        if "us" in own:
            entry["us/best"] = own["us"] / best["us"]
    return entry
