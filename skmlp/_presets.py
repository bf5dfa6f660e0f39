"""What a preset of `TabularMLPClassifier` and `TabularMLPRegressor` stands for: which networks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Recipe = dict[str, Any]


class Table(NamedTuple):
    """What recipes may look at.

    Attributes
    ----------
    n_rows : int
        That are trained on.
    n_numbers, n_flags : int
        Columns of the encoded table that are numbers, and those that are zeros and ones.
    levels : tuple of int
        Of each column of codes, how many there are.
    is_classifier : bool
    """

    n_rows: int
    n_numbers: int
    n_flags: int
    levels: tuple[int, ...]
    is_classifier: bool


@dataclass(frozen=True)
class Preset:
    """Which networks are trained, and how.

    Attributes
    ----------
    n_members : int
        How many, if nobody says.
    draw : callable
        ``draw(table, number, random_state)``: the recipe of member `number`, parameters of
        `MLPClassifier` or `MLPRegressor`.
    max_iter : int
        Epochs of each at most.
    patience : int
        Epochs without improvement after which a member leaves.
    most_picks : int
        How many networks are averaged at most; one after several epochs counts as several, and may
        be picked several times.
    shortlist : callable or None
        ``shortlist(round, n_members)``: how many members go on after so many rounds.
    """

    n_members: int
    draw: Callable[[Table, int, np.random.RandomState], Recipe]
    max_iter: int
    patience: int
    most_picks: int
    shortlist: Callable[[int, int], int] | None = None


def log_uniform(low: float, high: float, random_state: np.random.RandomState) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(random_state.uniform(np.log(low), np.log(high))))


def batch_size_of(n_rows: int) -> int:
    """Return how many samples a step takes."""
    for limit, size in ((2_800, 32), (4_500, 64), (16_000, 128), (108_000, 256)):
        if n_rows < limit:
            return size
    return 512


def drawn(table: Table, number: int, random_state: np.random.RandomState) -> Recipe:
    """Draw a network unlike the others."""
    width = int(random_state.choice([96, 128, 192, 256]))
    depth = int(random_state.choice([1, 2, 3], p=[0.2, 0.5, 0.3]))
    return {
        "hidden_layer_sizes": (width,) * depth,
        "activation": str(random_state.choice(["relu", "gelu_tanh", "silu"])),
        "solver": "adamw",
        "alpha": 0.0,
        "learning_rate_init": log_uniform(1e-3, 5e-3, random_state),
        "weight_decay": log_uniform(1e-3, 1e-1, random_state),
        "dropout": float(random_state.choice([0.0, 0.1, 0.2, 0.3])),
        "batch_size": batch_size_of(table.n_rows),
        "ema_decay": 0.99,
    }


def fixed(table: Table, number: int, random_state: np.random.RandomState) -> Recipe:
    """Return one network's settings."""
    return {
        "hidden_layer_sizes": (256, 256),
        "solver": "adamw",
        "alpha": 0.0,
        "learning_rate_init": 2e-3,
        "weight_decay": 1e-2,
        "dropout": 0.1,
        "batch_size": batch_size_of(table.n_rows),
        "ema_decay": 0.99,
    }


def halving(round_number: int, n_members: int) -> int:
    """Return how many go on: all at first, half of them after 8 rounds, a quarter after 16."""
    for rounds, part in ((16, 4), (8, 2)):
        if round_number >= rounds:
            return max(1, n_members // part)
    return n_members


PRESETS: dict[str, Preset] = {
    "pack": Preset(16, drawn, max_iter=100, patience=16, most_picks=24, shortlist=halving),
    "plain": Preset(1, fixed, max_iter=200, patience=16, most_picks=1),
}
