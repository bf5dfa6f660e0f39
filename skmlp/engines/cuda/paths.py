"""Which fits are launched together, and by which path: decided here and nowhere else."""

import logging
from collections.abc import Iterator, Sequence

from skmlp.engines.base import FitTask
from skmlp.engines.cuda.batched import BatchedGroup
from skmlp.engines.cuda.groups import FitGroup
from skmlp.engines.cuda.resident_group import ResidentGroup
from skmlp.engines.cuda.runtime import Runtime

logger = logging.getLogger("skmlp")


# "resident", "batched", or None to choose: for tests and benchmarks.
forced_path: str | None = None


def make_groups(
    runtime: Runtime, tasks: Sequence[FitTask], precision: str | None
) -> Iterator[tuple[FitGroup, list[int]]]:
    """Yield groups that together hold all tasks, with the tasks' numbers."""
    resident: dict[int, list[int]] = {}
    batched: dict[object, list[int]] = {}
    for i, task in enumerate(tasks):
        if forced_path == "resident" and precision is None:
            resident.setdefault(id(task.data), []).append(i)
        else:
            batched.setdefault((id(task.data), task.network, task.optimizer.name), []).append(i)
    for members in resident.values():
        yield ResidentGroup(runtime, [tasks[i] for i in members]), members
    for members in batched.values():
        yield BatchedGroup(runtime, [tasks[i] for i in members], precision), members
