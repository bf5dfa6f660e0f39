"""Which fits are launched together, and by which path: decided here and nowhere else."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from skmlp.engines.base import FitTask
from skmlp.engines.cuda.batched import MOST_MODELS, BatchedGroup
from skmlp.engines.cuda.groups import FitGroup
from skmlp.engines.cuda.programs import ProgramGroup
from skmlp.engines.cuda.resident_group import ResidentGroup, choose_residence, share_of_rows
from skmlp.engines.cuda.runtime import Runtime
from skmlp.engines.cuda.vocabulary import is_plain
from skmlp.network.specs import NetworkSpec

logger = logging.getLogger("skmlp")

# What the estimates below assume. None of it has been measured on a GPU yet.
LAUNCH_SECONDS = 2e-6  # of one kernel in a graph
PASS_SECONDS = 5e-7  # of one pass of a block over little data, its barriers included
MEETING_SECONDS = 1.5e-6  # for the blocks of a team
FLOPS_OF_A_MULTIPROCESSOR = 1.5e11  # of products, in registers or in tiles
BYTES_PER_SECOND = 3e12  # between the chip and its memory
BYTES_OF_A_MULTIPROCESSOR = 3e10  # between a block and what other blocks wrote
SMALLEST_TILE = 32
TEAMS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class PathPolicy:
    """What is decided beforehand, as tests and benchmarks do; the estimates decide the rest.

    Attributes
    ----------
    path : {"resident", "batched", "programs"} or None
        None is the path that is expected to be the faster one. What is not plain takes that of
        programs whatever is decided.
    team : int
        Blocks per model on the resident path; 0 for as many as are expected to be the fastest.
    """

    path: str | None = None
    team: int = 0


BY_ESTIMATE = PathPolicy()


@dataclass(frozen=True)
class Estimate:
    """How long one step of all models is expected to take, in seconds.

    Attributes
    ----------
    resident, batched : float
    team : int
        Blocks per model with which the resident path is the fastest.
    """

    resident: float
    batched: float
    team: int

    @property
    def path(self) -> str:
        return "resident" if self.resident < self.batched else "batched"


def estimate(runtime: Runtime, task: FitTask, n_alike: int, n_models: int) -> Estimate:
    """Compare the two paths for a step of `n_alike` models, among `n_models` that run at once.

    The resident path ends with its last block, and models of any shape run side by side; the
    batched path needs a launch for every pass of every shape, spreads each one over the chip,
    and keeps everything in the chip's memory.
    """
    network, batch_size = task.network, task.batch_size
    n_layers = network.n_connections
    n_states = len(task.optimizer.entry.state_names)
    itemsize = np.dtype(task.data.dtype).itemsize
    resident = {team: seconds_in_teams(runtime, task, n_models, team) for team in TEAMS}
    team = min(TEAMS, key=lambda team: resident[team])

    flops = n_alike * flops_of_step(network, batch_size, SMALLEST_TILE)
    # Activations and deltas are written once and read about twice, as are the parameters.
    rows = batch_size * (network.n_features + 2 * sum(network.layer_units[1:]))
    traffic = n_alike * itemsize * (3 * rows + (4 + 2 * n_states) * network.n_coefs)
    batched = (
        (3 * n_layers + 2) * LAUNCH_SECONDS
        + flops / (FLOPS_OF_A_MULTIPROCESSOR * runtime.multiprocessors)
        + traffic / BYTES_PER_SECOND
    )
    return Estimate(resident[team], batched, team)


def seconds_in_teams(runtime: Runtime, task: FitTask, n_models: int, team: int) -> float:
    """Return how long a step of so many models is expected to take on the resident path."""
    network, batch_size = task.network, task.batch_size
    itemsize = np.dtype(task.data.dtype).itemsize
    n_states = len(task.optimizer.entry.state_names)
    room = runtime.shared_bytes
    home = choose_residence(network, n_states, batch_size, team, room, itemsize)
    if home.parameters < 0 or (team > 1 and team * n_models > runtime.multiprocessors):
        return float("inf")
    share = share_of_rows(batch_size, team)
    passes = 3 * network.n_connections * -(-share // home.rows) + 3
    seconds = flops_of_step(network, share, 4) / FLOPS_OF_A_MULTIPROCESSOR
    seconds += passes * PASS_SECONDS
    if team > 1:
        # A gradient is written and read, and the parameters are read.
        exchanged = 3 * network.n_coefs * itemsize
        seconds += 2 * MEETING_SECONDS + exchanged / BYTES_OF_A_MULTIPROCESSOR
    return -(-n_models // runtime.multiprocessors) * seconds


def flops_of_step(network: NetworkSpec, batch_size: int, multiple: int) -> float:
    """Return a step's operations if all sizes are rounded up to a multiple."""
    sizes = [-(-units // multiple) * multiple for units in network.layer_units]
    products = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
    rows = -(-batch_size // multiple) * multiple
    return float(rows * (6 * sum(products) - 2 * products[0]))


def choose_paths(
    runtime: Runtime,
    tasks: Sequence[FitTask],
    precision: str | None,
    policy: PathPolicy = BY_ESTIMATE,
) -> list[tuple[str, int]]:
    """Return the path of each task, and the blocks per model on the resident one."""
    if precision is not None and policy.path == "resident":
        raise ValueError(
            f"path='resident' has no tensor cores, got precision={precision!r}. Set "
            "path='batched', or precision=None."
        )
    alike: dict[object, int] = {}
    for task in tasks:
        alike[shape_of(task)] = alike.get(shape_of(task), 0) + 1
    chosen: dict[object, tuple[str, int]] = {}
    for task in tasks:
        shape = shape_of(task)
        if shape in chosen:
            continue
        if policy.path == "programs" or not is_plain(task.network, task.optimizer):
            logger.info("path of programs for %d fits: more than plain networks", alike[shape])
            chosen[shape] = "programs", 1
            continue
        if precision is not None:
            logger.info("batched path: precision=%r needs tensor cores", precision)
            chosen[shape] = "batched", 1
            continue
        expected = estimate(runtime, task, alike[shape], len(tasks))
        chosen[shape] = policy.path or expected.path, policy.team or expected.team
        logger.info(
            "%s path for %d fits of %s, batch %d: %.0f us expected for a step on the resident "
            "path with %d blocks per fit, %.0f us on the batched one",
            chosen[shape][0],
            alike[shape],
            task.network.layer_units,
            task.batch_size,
            1e6 * expected.resident,
            expected.team,
            1e6 * expected.batched,
        )
    return [chosen[shape_of(task)] for task in tasks]


def shape_of(task: FitTask) -> tuple[object, ...]:
    """Return what fits must share to be launched together, layer by layer."""
    optimizer = task.optimizer
    is_clipped = optimizer.clip_norm is not None
    is_plain_one = is_plain(task.network, optimizer)
    return task.data.key, task.network, optimizer.name, is_clipped, is_plain_one


class Formation(NamedTuple):
    """A group that is to be made.

    Attributes
    ----------
    make : callable
        Makes it, or one of some of its fits, of a list of tasks.
    members : list of int
        The tasks' numbers.
    """

    make: Callable[[list[FitTask]], FitGroup]
    members: list[int]


def form_groups(
    runtime: Runtime, tasks: Sequence[FitTask], precision: str | None, policy: PathPolicy
) -> Iterator[Formation]:
    """Yield how to make groups that together hold all tasks."""
    members: dict[tuple[str, int, object], list[int]] = {}
    for i, (path, team) in enumerate(choose_paths(runtime, tasks, precision, policy)):
        if path == "resident":
            members.setdefault((path, team, tasks[i].data.key), []).append(i)
        else:
            members.setdefault((path, 1, shape_of(tasks[i])), []).append(i)
    for (path, team, _), numbers in members.items():
        if path == "resident":
            yield Formation(partial(ResidentGroup, runtime, team=team), numbers)
            continue
        launched = BatchedGroup if path == "batched" else ProgramGroup
        make = partial(launched, runtime, precision=precision)
        for start in range(0, len(numbers), MOST_MODELS):
            yield Formation(make, numbers[start : start + MOST_MODELS])


def may_follow(task: FitTask, former: FitTask) -> bool:
    """Tell whether a fit can take the place in a group that another one has left."""
    return task.batch_size == former.batch_size and shape_of(task) == shape_of(former)
