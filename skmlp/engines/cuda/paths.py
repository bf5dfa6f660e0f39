"""Which fits are launched together, and by which path: decided here and nowhere else."""

import logging
from collections.abc import Iterator, Sequence

from skmlp.engines.base import FitTask
from skmlp.engines.cuda.batched import BatchedGroup
from skmlp.engines.cuda.groups import FitGroup
from skmlp.engines.cuda.runtime import Runtime

logger = logging.getLogger("skmlp")


def make_groups(
    runtime: Runtime, tasks: Sequence[FitTask], precision: str | None
) -> Iterator[tuple[FitGroup, list[int]]]:
    """Yield groups that together hold all tasks, with the tasks' numbers."""
    alike: dict[object, list[int]] = {}
    for i, task in enumerate(tasks):
        alike.setdefault((task.data, task.network, task.optimizer.name), []).append(i)
    for members in alike.values():
        yield BatchedGroup(runtime, [tasks[i] for i in members]), members
