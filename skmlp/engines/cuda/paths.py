"""Which fits are launched together, and by which path: decided here and nowhere else."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skmlp.engines.base import FitTask
from skmlp.engines.cuda.batched import BatchedGroup
from skmlp.engines.cuda.groups import FitGroup
from skmlp.engines.cuda.resident_group import ResidentGroup, choose_residence
from skmlp.engines.cuda.runtime import Runtime
from skmlp.network.specs import NetworkSpec

logger = logging.getLogger("skmlp")

# "resident", "batched", or None to choose: for tests and benchmarks.
forced_path: str | None = None

# What the estimates below assume. None of it has been measured on a GPU yet.
LAUNCH_SECONDS = 2e-6  # of one kernel in a graph
PASS_SECONDS = 1e-6  # of one pass of a block over little data, its barriers included
FLOPS_OF_A_MULTIPROCESSOR = 1.5e11  # of products, in registers or in tiles
BYTES_PER_SECOND = 3e12  # between the chip and its memory
SMALLEST_TILE = 32


@dataclass(frozen=True)
class Estimate:
    """How long one step of all models is expected to take, in seconds."""

    resident: float
    batched: float

    @property
    def path(self) -> str:
        return "resident" if self.resident < self.batched else "batched"


def estimate(runtime: Runtime, task: FitTask, n_alike: int, n_models: int) -> Estimate:
    """Compare the two paths for a step of `n_alike` models, among `n_models` on the same data.

    The resident path ends with its last block, and models of any shape can share its launch; the
    batched path needs a launch for every pass of every shape, spreads each one over the chip,
    and keeps everything in the chip's memory.
    """
    network, batch_size = task.network, task.batch_size
    n_layers = network.n_connections
    n_states = len(task.optimizer.entry.state_names)
    itemsize = np.dtype(task.data.dtype).itemsize
    home = choose_residence(network, n_states, batch_size, runtime.shared_bytes, itemsize)
    resident = float("inf")
    if home.parameters >= 0:
        passes = 3 * n_layers * -(-batch_size // home.rows) + 3
        seconds = flops_of_step(network, batch_size, 4) / FLOPS_OF_A_MULTIPROCESSOR
        rounds = -(-n_models // runtime.multiprocessors)
        resident = rounds * (seconds + passes * PASS_SECONDS)

    flops = n_alike * flops_of_step(network, batch_size, SMALLEST_TILE)
    # Activations and deltas are written once and read about twice, as are the parameters.
    rows = batch_size * (network.n_features + 2 * sum(network.layer_units[1:]))
    traffic = n_alike * itemsize * (3 * rows + (4 + 2 * n_states) * network.n_coefs)
    batched = (
        (3 * n_layers + 2) * LAUNCH_SECONDS
        + flops / (FLOPS_OF_A_MULTIPROCESSOR * runtime.multiprocessors)
        + traffic / BYTES_PER_SECOND
    )
    return Estimate(resident, batched)


def flops_of_step(network: NetworkSpec, batch_size: int, multiple: int) -> float:
    """Return a step's operations if all sizes are rounded up to a multiple."""
    sizes = [-(-units // multiple) * multiple for units in network.layer_units]
    products = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
    rows = -(-batch_size // multiple) * multiple
    return float(rows * (6 * sum(products) - 2 * products[0]))


def choose_paths(runtime: Runtime, tasks: Sequence[FitTask], precision: str | None) -> list[str]:
    """Return the path of each task."""
    if precision is not None:
        logger.info("batched path: precision=%r needs tensor cores", precision)
        return ["batched"] * len(tasks)
    if forced_path is not None:
        return [forced_path] * len(tasks)
    on_data: dict[int, int] = {}
    alike: dict[object, int] = {}
    for task in tasks:
        on_data[id(task.data)] = on_data.get(id(task.data), 0) + 1
        alike[shape_of(task)] = alike.get(shape_of(task), 0) + 1
    chosen: dict[object, str] = {}
    for task in tasks:
        shape = shape_of(task)
        if shape in chosen:
            continue
        expected = estimate(runtime, task, alike[shape], on_data[id(task.data)])
        chosen[shape] = expected.path
        logger.info(
            "%s path for %d fits of %s, batch %d: %.0f us expected for a step, %.0f us otherwise",
            expected.path,
            alike[shape],
            task.network.layer_units,
            task.batch_size,
            1e6 * min(expected.resident, expected.batched),
            1e6 * max(expected.resident, expected.batched),
        )
    return [chosen[shape_of(task)] for task in tasks]


def shape_of(task: FitTask) -> tuple[object, ...]:
    """Return what fits must share to be launched together on the batched path."""
    return id(task.data), task.network, task.optimizer.name


def make_groups(
    runtime: Runtime, tasks: Sequence[FitTask], precision: str | None
) -> Iterator[tuple[FitGroup, list[int]]]:
    """Yield groups that together hold all tasks, with the tasks' numbers."""
    members: dict[tuple[str, object], list[int]] = {}
    for i, path in enumerate(choose_paths(runtime, tasks, precision)):
        together = id(tasks[i].data) if path == "resident" else shape_of(tasks[i])
        members.setdefault((path, together), []).append(i)
    for (path, _), numbers in members.items():
        own = [tasks[i] for i in numbers]
        if path == "resident":
            yield ResidentGroup(runtime, own), numbers
        else:
            yield BatchedGroup(runtime, own, precision), numbers
