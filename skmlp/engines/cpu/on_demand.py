"""Which of the passes that are compiled by themselves a fit needs."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import boolean, float64, int64, typeof, types

from skmlp.engines.cpu.compilation import Separate
from skmlp.engines.cpu.drivers import add_gradient, propagate, update
from skmlp.engines.cpu.passes import disturb, normalize
from skmlp.engines.cpu.projection import project_share
from skmlp.engines.cpu.references import Reference
from skmlp.engines.cpu.tables import (
    ADD_GRADIENT,
    AVERAGE,
    COMPLETE,
    DIRECT,
    DISTURB,
    DROP,
    MIX,
    NOISE,
    NORMALIZE,
    NORMALIZE_COLUMNS,
    PACK,
    PACK_NOTHING,
    PASSES,
    PROJECT,
    PROPAGATE,
    UPDATE,
    Integers,
    Slab,
    Task,
)
from skmlp.engines.cpu.team import BOARD_SIZE, Team
from skmlp.engines.cpu.updates import average_share, complete_share, make_directions, pack

TEAM = Reference(typeof(Team(np.zeros(BOARD_SIZE, dtype=np.int64), 1)))
SLAB = Reference(typeof(Slab(np.zeros(1, dtype=np.int64), 0, 0, 0, 0, 0, 0, 1.0)))
INTEGERS = types.CPointer(int64)
AHEAD = INTEGERS, int64, int64
STEP = float64, boolean, types.CPointer(float64), boolean

# By precision, which is all that it depends on.
KINDS_OF_TASKS: dict[str, Reference] = {}

# Each one and what it takes after the task.
CODE: dict[int, tuple[Separate, tuple[Any, ...]]] = {
    PROPAGATE: (propagate, (SLAB, TEAM, int64, int64)),
    DISTURB: (disturb, (SLAB, int64, int64)),
    NORMALIZE_COLUMNS: (normalize, (SLAB, int64, int64, int64, int64)),
    PACK: (pack, (int64, int64, int64, int64, int64, INTEGERS, int64)),
    ADD_GRADIENT: (add_gradient, (SLAB, boolean, *AHEAD, int64, int64)),
    COMPLETE: (complete_share, (float64, int64, int64)),
    DIRECT: (make_directions, (float64, INTEGERS, int64, int64, int64)),
    UPDATE: (update, (SLAB, boolean, *AHEAD, *STEP, int64, int64)),
    PROJECT: (project_share, (int64, int64)),
    AVERAGE: (average_share, (int64, int64)),
}


def needed_passes(task: Task, *, adds_gradient: bool) -> Iterable[int]:
    """Yield the numbers of the passes that a fit goes through."""
    layers, model = task.layers, task.model
    yield PROPAGATE
    if adds_gradient:
        yield ADD_GRADIENT
    if model.update:
        yield UPDATE
    if layers[0, [DROP, NOISE, MIX]].any():
        yield DISTURB
    if layers[:, NORMALIZE].any():
        yield NORMALIZE_COLUMNS
    if (task.blocks.packing != PACK_NOTHING).any():
        yield PACK
    if model.complete:
        yield COMPLETE
    if model.matrices.kernel:
        yield DIRECT
    if model.project:
        yield PROJECT
    if model.average:
        yield AVERAGE


def passes_of(task: Task, dtype: str, *, adds_gradient: bool) -> Integers:
    """Return the addresses of the passes that a task goes through.

    `adds_gradient` says whether there is room for the whole gradient, because it goes from slab to
    slab, from thread to thread or to the caller.
    """
    return addresses(task, dtype, needed_passes(task, adds_gradient=adds_gradient))


def addresses(task: Task, dtype: str, numbers: Iterable[int]) -> Integers:
    own = kind_of_task(task, dtype)
    passes = np.zeros(PASSES, dtype=np.int64)
    for number in numbers:
        code, arguments = CODE[number]
        passes[number] = code.address((own, *arguments), dtype)
    return passes


def kind_of_task(task: Task, dtype: str) -> Reference:
    """Return the type of a reference to a task; to ask for it takes longer than a small fit."""
    if dtype not in KINDS_OF_TASKS:
        KINDS_OF_TASKS[dtype] = Reference(typeof(task))
    return KINDS_OF_TASKS[dtype]


def compile_passes(task: Task, dtype: str) -> None:
    """Compile all of them, for which any task will do: types depend on nothing but precision."""
    addresses(task, dtype, CODE)
