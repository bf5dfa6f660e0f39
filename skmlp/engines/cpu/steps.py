"""What a step is told of its optimizer: the same for all fits, but for what kernels write."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import OptimizerState
from skmlp.engines.cpu.formula_kernels import (
    average_kernel,
    carry_kernel,
    completion_kernel,
    constants_kernel,
    update_kernel,
)
from skmlp.engines.cpu.projection import projection_kernel
from skmlp.engines.cpu.tables import (
    CONSTANTS_STRIDE,
    GROUP_FIELDS,
    GROUP_OF_COEFS,
    GROUP_OF_INTERCEPTS,
    GROUP_OF_MATRICES,
    NUMBERS_OF_OPTIMIZER,
    NUMBERS_WEIGHT,
    ROW_CONSTANTS,
)
from skmlp.network.optimizers import GROUPS
from skmlp.network.specs import L2, OptimizerSpec


@dataclass(frozen=True, eq=False)
class StepLayout:
    """The fields of a `Model` that belong to a step.

    Attributes
    ----------
    fields : dict
        Those that kernels do not write, by name.
    factors : ndarray of shape (n_groups, GROUP_FIELDS)
        The table of groups, to be multiplied by the strength of the penalty.
    settings : tuple of float
        Those of the optimizer.
    n_constants : int
        Room for the constants of a step.
    """

    fields: dict[str, Any]
    factors: npt.NDArray[np.float64]
    settings: tuple[float, ...]
    n_constants: int

    def made(self, alpha: float, threads: int) -> dict[str, Any]:
        """Return all fields for one fit."""
        groups = self.factors.copy()
        groups[:, 0] *= alpha
        settings = np.zeros((threads, padded_row(len(self.settings))))
        settings[:, : len(self.settings)] = self.settings
        n_rates = len(self.fields["rates"])
        constants = np.empty((threads, n_rates, padded_row(self.n_constants)))
        return {**self.fields, "groups": groups, "settings": settings, "constants": constants}


@lru_cache(maxsize=256)
def step_layout(
    optimizer: OptimizerSpec | None, dtype: str, *, is_bounded: bool, takes_matrices: bool
) -> StepLayout:
    """Return what a step is told of an optimizer; there is no step without one.

    Parameters
    ----------
    optimizer : OptimizerSpec or None
    dtype : str
    is_bounded : bool
        Whether parameters have bounds.
    takes_matrices : bool
        Whether there are weight matrices whose gradient is taken as a whole.
    """
    groups = {
        GROUP_OF_COEFS: GROUPS["coefs"],
        GROUP_OF_INTERCEPTS: GROUPS["intercepts"],
        GROUP_OF_MATRICES: GROUPS["coefs"],
    }
    rates = sorted({group.rate for group in groups.values()})
    table = np.zeros((len(groups), GROUP_FIELDS))
    fields: dict[str, Any] = {"rates": np.array(rates), "momentum": 0}
    fields |= {"prepare": 0, "update": 0, "complete": 0, "project": 0, "first_layer": 0}
    fields |= {"clip_norm": 0.0, "clip_value": np.inf, "max_norm": np.inf}
    fields["penalty_constants"] = np.zeros(1)
    fields |= {"carry": 0, "average": 0, "ema_decay": 0.0}
    if optimizer is None:
        return StepLayout(fields, table, (), ROW_CONSTANTS)
    entry, decay = optimizer.entry, optimizer.weight_decay
    for number, group in groups.items():
        table[number] = group.alpha, decay * group.decay, rates.index(group.rate)
    fields["momentum"] = entry.momentum_place or 0
    fields["prepare"] = constants_kernel(optimizer.name)
    fields["update"] = update_kernel(optimizer.name, dtype, decays=decay > 0.0)
    fields["first_layer"] = optimizer.frozen_layers
    fields["penalty_constants"] = np.array([*optimizer.penalty.constants, 0.0])
    for name in ("clip_norm", "clip_value", "max_norm"):
        if (limit := getattr(optimizer, name)) is not None:
            fields[name] = float(limit)
    is_clipped = optimizer.clip_norm is not None or optimizer.clip_value is not None
    if is_clipped or is_bounded or is_charged(optimizer) or takes_matrices:
        fields["complete"] = completion_kernel(optimizer.penalty.name, dtype)
    if is_bounded or optimizer.max_norm is not None:
        fields["project"] = projection_kernel(dtype)
    if entry.numbers:
        fields["carry"] = carry_kernel(optimizer.name)
    if optimizer.ema_decay is not None:
        fields["average"] = average_kernel(dtype)
        fields["ema_decay"] = float(optimizer.ema_decay)
    return StepLayout(fields, table, optimizer.settings, ROW_CONSTANTS + entry.n_constants)


def padded_row(size: int) -> int:
    """Return how far apart rows of this size lie that are those of one thread each."""
    return -(-max(1, size) // CONSTANTS_STRIDE) * CONSTANTS_STRIDE


def is_charged(optimizer: OptimizerSpec | None) -> bool:
    """Whether there is another penalty than L2, which updates know by themselves."""
    return optimizer is not None and optimizer.penalty != L2


def numbers_of(
    optimizer: OptimizerSpec | None, state: OptimizerState | None, threads: int
) -> npt.NDArray[np.float64]:
    """Return a row for each thread of what is carried from step to step; the first one counts."""
    carried = () if state is None else state.numbers
    size = NUMBERS_OF_OPTIMIZER + len(carried)
    rows = np.zeros((threads, padded_row(size)))
    is_averaged = optimizer is not None and optimizer.ema_decay is not None
    if state is not None and state.averages is not None and is_averaged:
        rows[0, NUMBERS_WEIGHT] = state.averages.weight
    rows[0, NUMBERS_OF_OPTIMIZER:size] = carried
    return rows
