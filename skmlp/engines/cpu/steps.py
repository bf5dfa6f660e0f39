"""What a step is told of its optimizer: the same for all fits, but for what kernels write."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import OptimizerState
from skmlp.engines.cpu.formula_kernels import (
    average_kernel,
    carry_kernel,
    completion_kernel,
    constants_kernel,
    descend_kernel,
    update_kernel,
)
from skmlp.engines.cpu.projection import projection_kernel
from skmlp.engines.cpu.tables import (
    ALL_ROWS,
    CONSTANTS_STRIDE,
    GROUP_ALPHA,
    GROUP_FIELDS,
    NUMBERS_OF_OPTIMIZER,
    NUMBERS_WEIGHT,
    ROW_CONSTANTS,
)
from skmlp.network.parameters import INPUTS, layout_of
from skmlp.network.specs import L2, NetworkSpec, OptimizerSpec


class Groups(NamedTuple):
    """The groups of parameters of a network.

    Attributes
    ----------
    table : ndarray of shape (n_groups, GROUP_FIELDS)
        The table of groups (`skmlp.engines.cpu.tables`), to be multiplied by the strength of the
        penalty.
    rates : ndarray of shape (n_rates,)
        The factors of the learning rate that occur in it.
    rows : tuple of int
        For each layer the row of its coefficients, and where inputs learn vectors, for each of
        these. Those of intercepts and extras follow; layers that are alike share them.
    descends : bool
        Whether steps of some groups are those of descent.
    """

    table: npt.NDArray[np.float64]
    rates: npt.NDArray[np.float64]
    rows: tuple[int, ...]
    descends: bool


def groups_of(
    network: NetworkSpec, optimizer: OptimizerSpec | None, taken: tuple[int, ...]
) -> Groups:
    """Return the groups of a network's parameters; `taken` are matrices that are taken as a whole.

    Neighboring rows of a panel that are updated alike are one group.
    """
    if optimizer is None:  # nothing is updated
        nothing = np.zeros((1, GROUP_FIELDS))
        return Groups(nothing, np.ones(1), (0,) * network.n_connections, descends=False)
    extras = [extra for extra in layout_of(network).extras if extra.trained]
    layers: list[tuple[tuple[Any, ...], ...]] = []
    for number in range(network.n_connections):
        own_extras = [extra for extra in extras if extra.layer == number]
        columns = network.product_units[number]
        roles = ["intercepts"]  # and then one for each row of a panel
        roles += [extra.role for extra in own_extras for _ in range(extra.size // columns)]
        tail = groupby(optimizer.group(network, role, number) for role in roles)
        runs = [(group, float(len(list(members))), False) for group, members in tail]
        runs[-1] = runs[-1][0], ALL_ROWS, False
        coefs = optimizer.group(network, "coefs", number)
        layers.append(((coefs, 0.0, number in taken), *runs))
    vectors = [extra for extra in extras if extra.layer == INPUTS]
    if vectors:  # behind the output layer there is nothing, and then they (`layout.shapes_of`)
        layers.append(layers[-1])
    for extra in vectors:
        group = optimizer.group(network, extra.role, INPUTS)
        layers.append(((group, 0.0, False), (group, ALL_ROWS, False)))
    own = list(dict.fromkeys(layers))
    rates = sorted({group.rate for of_layer in own for group, _, _ in of_layer})
    starts: dict[Any, int] = {}
    table: list[tuple[float, ...]] = []
    for of_layer in own:
        starts[of_layer] = len(table)
        for group, rows, is_taken in of_layer:
            decay = optimizer.weight_decay * group.decay
            descends = float(is_taken or group.is_frozen)
            place = rates.index(group.rate)
            table.append((group.alpha, decay, place, group.gradient, rows, descends))
    descends = any(row[-1] for row in table)
    rows_of_layers = tuple(starts[of_layer] for of_layer in layers)
    return Groups(np.array(table, dtype=np.float64), np.array(rates), rows_of_layers, descends)


@dataclass(frozen=True, eq=False)
class StepLayout:
    """The fields of a `Model` that belong to a step.

    Attributes
    ----------
    fields : dict
        Those that kernels do not write, by name.
    groups : Groups
    settings : tuple of float
        Those of the optimizer.
    n_constants : int
        Room for the constants of a step.
    """

    fields: dict[str, Any]
    groups: Groups
    settings: tuple[float, ...]
    n_constants: int

    def made(self, alpha: float, threads: int) -> dict[str, Any]:
        """Return all fields for one fit."""
        groups = self.groups.table.copy()
        groups[:, GROUP_ALPHA] *= alpha
        settings = np.zeros((threads, padded_row(len(self.settings))))
        settings[:, : len(self.settings)] = self.settings
        n_rates = len(self.fields["rates"])
        constants = np.empty((threads, n_rates, padded_row(self.n_constants)))
        return {**self.fields, "groups": groups, "settings": settings, "constants": constants}


@lru_cache(maxsize=256)
def step_layout(
    network: NetworkSpec,
    optimizer: OptimizerSpec | None,
    dtype: str,
    *,
    is_bounded: bool,
    taken: tuple[int, ...] = (),
) -> StepLayout:
    """Return what a step is told of an optimizer; there is no step without one.

    Parameters
    ----------
    network : NetworkSpec
    optimizer : OptimizerSpec or None
    dtype : str
    is_bounded : bool
        Whether parameters have bounds.
    taken : tuple of int
        Numbers of the weight matrices whose gradient is taken as a whole.
    """
    groups = groups_of(network, optimizer, taken)
    fields: dict[str, Any] = {"rates": groups.rates, "momentum": 0, "descend": 0}
    fields |= {"prepare": 0, "update": 0, "complete": 0, "project": 0, "first_layer": 0}
    fields |= {"clip_norm": 0.0, "clip_value": np.inf, "max_norm": np.inf}
    fields["penalty_constants"] = np.zeros(1)
    fields |= {"carry": 0, "average": 0, "ema_decay": 0.0}
    if optimizer is None:
        return StepLayout(fields, groups, (), ROW_CONSTANTS)
    entry, decay = optimizer.entry, optimizer.weight_decay
    fields["momentum"] = entry.momentum_place or 0
    fields["prepare"] = constants_kernel(optimizer.name)
    fields["update"] = update_kernel(optimizer.name, dtype, decays=decay > 0.0)
    if groups.descends:
        fields["descend"] = descend_kernel(dtype, decays=decay > 0.0)
    fields["first_layer"] = optimizer.frozen_layers
    fields["penalty_constants"] = np.array([*optimizer.penalty.constants, 0.0])
    for name in ("clip_norm", "clip_value", "max_norm"):
        if (limit := getattr(optimizer, name)) is not None:
            fields[name] = float(limit)
    is_clipped = optimizer.clip_norm is not None or optimizer.clip_value is not None
    if is_clipped or is_bounded or is_charged(optimizer) or taken:
        fields["complete"] = completion_kernel(optimizer.penalty.name, dtype)
    if is_bounded or optimizer.max_norm is not None:
        fields["project"] = projection_kernel(dtype)
    if entry.numbers:
        fields["carry"] = carry_kernel(optimizer.name)
    if optimizer.ema_decay is not None:
        fields["average"] = average_kernel(dtype)
        fields["ema_decay"] = float(optimizer.ema_decay)
    return StepLayout(fields, groups, optimizer.settings, ROW_CONSTANTS + entry.n_constants)


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
