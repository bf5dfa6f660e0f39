"""What a preset of `TabularMLPClassifier` and `TabularMLPRegressor` stands for: which networks.

RealMLP is that of Holzmueller, Grinsztajn & Steinwart (2024), "Better by default: strong pre-tuned
MLPs and boosted trees on tabular data", NeurIPS, arXiv:2407.04491. TabM is that of Gorishniy,
Kotelnikov & Babenko (2025), "TabM: advancing tabular deep learning with parameter-efficient
ensembling", ICLR, arXiv:2410.24210. A pack is after TabPack, arXiv:2607.05380, with smaller
networks, fewer of them, and averaged weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from skmlp.activations import Blend
from skmlp.embeddings import PBLD, Categories, Cosine, PiecewiseLinear
from skmlp.initializers import DataDriven, ZeroLast
from skmlp.network.specs import Members

# Parameters of a plain estimator, by name.
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
    flag_widths : tuple of int
        How many neighboring columns of flags tell of the same.
    """

    n_rows: int
    n_numbers: int
    n_flags: int
    levels: tuple[int, ...]
    is_classifier: bool
    flag_widths: tuple[int, ...] = ()


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
    stretches : bool
        Whether epochs of few steps are parts of one, for `max_iter`, `patience` and `shortlist`.
    shortlist : callable or None
        ``shortlist(round, n_members)``: how many members go on after so many rounds.
    encoder : mapping of str to object
        Parameters of the `TableEncoder`.
    label_smoothing : float
        That of all members, where there are classes.
    shares : callable or None
        ``shares(table, n_members)``: how members share the weights of one network, which is the
        only one that is drawn then. None where each has its own.
    """

    n_members: int
    draw: Callable[[Table, int, np.random.RandomState], Recipe]
    max_iter: int
    patience: int
    stretches: bool = True
    shortlist: Callable[[int, int], int] | None = None
    encoder: Mapping[str, Any] = field(default_factory=dict)
    label_smoothing: float = 0.0
    shares: Callable[[Table, int], Members] | None = None


def log_uniform(low: float, high: float, random_state: np.random.RandomState) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(random_state.uniform(np.log(low), np.log(high))))


# Tables of more numbers, as those of pixels, are mostly of numbers of one kind, and would become
# too wide if each was embedded.
MOST_EMBEDDED = 64
# Epochs of fewer steps are parts of one.
FEWEST_STEPS = 32
# Which part of the networks takes numbers as they are: of tables of fewer rows than that, and of
# others. What an embedding can learn of few rows is mostly noise.
FEW_ROWS = 2_000
UNEMBEDDED_IF_FEW, UNEMBEDDED = 0.5, 0.2
# What a level of a category becomes.
WIDTH_OF_LEVELS = 8


def batch_size_of(n_rows: int) -> int:
    """Return how many samples a step takes."""
    for limit, size in ((2_800, 64), (6_000, 128), (50_000, 256)):
        if n_rows < limit:
            return size
    return 512


def epochs_in_one(n_rows: int) -> int:
    """Return how many epochs make as many steps as a network needs to get anywhere.

    Averages of weights look back about a hundred steps: what small tables take many epochs for.
    """
    n_steps = -(-n_rows // batch_size_of(n_rows))
    return -(-FEWEST_STEPS // n_steps)


def stretched(
    shortlist: Callable[[int, int], int] | None, stretch: int
) -> Callable[[int, int], int] | None:
    """Return a shortlist that counts so many rounds as one."""
    if shortlist is None:
        return None
    return lambda rounds, n_members: shortlist(rounds // stretch, n_members)


def embedding_of(table: Table, of_numbers: Any) -> list[Any] | None:
    """Return what becomes of each column of an encoded table; None if all stay what they are."""
    levels = [Categories(count, WIDTH_OF_LEVELS) for count in table.levels]
    if of_numbers is None and not levels:
        return None
    return [of_numbers] * table.n_numbers + [None] * table.n_flags + levels


def drawn(table: Table, number: int, random_state: np.random.RandomState) -> Recipe:
    """Draw a network unlike the others.

    Muon learns most tables in fewer epochs than Adam, and better, but its steps take longer: where
    layers are wide, several times as long.
    """
    is_wide = table.n_numbers > MOST_EMBEDDED
    is_muon = not is_wide and random_state.uniform() < 0.6
    of_numbers: Any = None
    is_plain = random_state.uniform() < (
        UNEMBEDDED_IF_FEW if table.n_rows < FEW_ROWS else UNEMBEDDED
    )
    if not is_wide and table.n_numbers > 0 and not is_plain:
        width = int(random_state.choice([4, 8, 12]))
        if random_state.uniform() < 0.65:
            of_numbers = PiecewiseLinear(int(random_state.choice([16, 32, 48])), width)
        else:
            of_numbers = Cosine(width, log_uniform(0.1, 2.0, random_state))
    units = int(random_state.choice([192, 256, 384] if is_wide else [96, 128, 192]))
    depth = int(random_state.choice([1, 2, 3], p=[0.1, 0.5, 0.4]))
    rates = (2e-3, 1e-2) if is_muon else (7e-4, 4e-3)
    return {
        "hidden_layer_sizes": (units,) * depth,
        "activation": str(random_state.choice(["relu", "silu"])),
        "solver": "muon" if is_muon else "adamw",
        "alpha": 0.0,
        "learning_rate_init": log_uniform(*rates, random_state),
        "weight_decay": log_uniform(1e-2, 3e-1, random_state),
        "dropout": float(random_state.choice([0.0, 0.1, 0.2, 0.3])),
        "batch_size": batch_size_of(table.n_rows),
        "ema_decay": 0.99,
        "embedding": embedding_of(table, of_numbers),
    }


def fixed(table: Table, number: int, random_state: np.random.RandomState) -> Recipe:
    """Return one network's settings."""
    is_wide = table.n_numbers > MOST_EMBEDDED
    has_numbers = table.n_numbers > 0 and not is_wide
    return {
        "hidden_layer_sizes": (256, 256) if is_wide else (128, 128),
        "solver": "adamw" if is_wide else "muon",
        "alpha": 0.0,
        "learning_rate_init": 1e-3 if is_wide else 5e-3,
        "weight_decay": 0.1,
        "dropout": 0.2,
        "batch_size": batch_size_of(table.n_rows),
        "ema_decay": 0.99,
        "embedding": embedding_of(table, PiecewiseLinear(32, 8) if has_numbers else None),
    }


def realmlp(table: Table, number: int, random_state: np.random.RandomState) -> Recipe:
    """Return RealMLP-TD.

    Different from pytabkit's: the last batch of an epoch is trained on, if it is a short one; the
    best epoch is that of the lowest loss, the first one of equals; predictions are not clipped.
    """
    waves = PBLD(16, 3, 0.1) if table.n_numbers > 0 else None
    return {
        **_realmlp(table),
        "activation": Blend("selu" if table.is_classifier else "mish"),
        "dropout": 0.15,
        "dropout_schedule": "flat_cos",
        "weight_decay": 0.02,
        "weight_decay_schedule": "flat_cos",
        "learning_rate_init": 0.04 if table.is_classifier else 0.2,
        "learning_rate_factors": {"intercepts": 0.1, "slopes": 0.1, "embedding": 0.1, "scale": 6.0},
        "weight_decay_factors": {"slopes": 0.1, "embedding": 0.1, "scale": 6.0},
        "init": DataDriven(5),
        "embedding": embedding_of(table, waves),
    }


def realmlp_s(table: Table, number: int, random_state: np.random.RandomState) -> Recipe:
    """Return RealMLP-TD-S, the simple one. It differs as `realmlp` does."""
    return {
        **_realmlp(table),
        "activation": "selu" if table.is_classifier else "mish",
        "learning_rate_init": 0.04 if table.is_classifier else 0.07,
        "learning_rate_factors": {"intercepts": 0.1, "scale": 6.0},
        "init": ZeroLast("ntk"),
    }


def _realmlp(table: Table) -> Recipe:
    """Return what both have."""
    return {
        "hidden_layer_sizes": (256, 256, 256),
        "solver": "adam",
        "beta_2": 0.95,
        "alpha": 0.0,
        "learning_rate": "coslog4",
        "batch_size": 256,
        "input_scale": True,
        "parametrization": "ntk",
    }


# Of TabM: from which number of rows on a step takes how many.
TABM_BATCHES = ((2_800, 32), (4_500, 64), (6_400, 128), (32_000, 256), (108_000, 512))


def tabm(table: Table, number: int, random_state: np.random.RandomState) -> Recipe:
    """Return the network that TabM's members share, and TabM-mini's.

    Different from the tabm package, version 0.0.3, with the recipe of its paper: bins of numbers
    begin at frequent values, too, the outer ones are as wide as bins are in the mean or wider, and
    the embedding's intercepts decay as all else that it learns; a category of two levels is one
    column of -1 and 1, and levels that were seen once count as unknown; two classes have one
    output; Adam's epsilon is added before its moments are corrected; the best epoch is that of the
    lowest loss of the members' mean, of 1000 epochs at most.
    """
    has_numbers = table.n_numbers > 0
    batch = next((size for limit, size in TABM_BATCHES if table.n_rows < limit), 1024)
    return {
        "hidden_layer_sizes": (512,) * (2 if has_numbers else 3),
        "activation": "relu",
        "dropout": 0.1,
        "solver": "adamw",
        "alpha": 0.0,
        "learning_rate_init": 2e-3,
        "weight_decay": 3e-4,
        "weight_decay_factors": {"embedding": 1.0, "scale": 1.0},
        "clip_norm": 1.0,
        "batch_size": batch,
        "init": "fan_in_uniform",
        "embedding": embedding_of(table, PiecewiseLinear(48, 16) if has_numbers else None),
    }


def sharing(adapt: str) -> Callable[[Table, int], Members]:
    """Return how members share weights, all but what `adapt` says.

    What they read starts with one random number for each number, category and indicator.
    """

    def shares(table: Table, n_members: int) -> Members:
        start = "normal" if table.n_numbers > 0 else "signs"
        alike = *((1,) * table.n_numbers), *table.flag_widths
        return Members(n_members, adapt, start, alike)

    return shares


def halving(round_number: int, n_members: int) -> int:
    """Return how many go on: all at first, and only a quarter of them in the end."""
    for rounds, (part, whole) in ((10, (1, 4)), (4, (1, 2)), (2, (2, 3))):
        if round_number >= rounds:
            return max(1, n_members * part // whole)
    return n_members


PRESETS: dict[str, Preset] = {
    "pack": Preset(12, drawn, max_iter=80, patience=10, shortlist=halving),
    "plain": Preset(1, fixed, max_iter=200, patience=16),
    **{
        name: Preset(
            32,
            tabm,
            max_iter=1000,
            patience=16,
            stretches=False,
            encoder={"scaling": "quantile", "many_levels": "one-hot"},
            shares=sharing(adapt),
        )
        for name, adapt in (("tabm", "layers"), ("tabm-mini", "inputs"))
    },
    # No patience: the learning rate falls and rises again.
    "realmlp": Preset(1, realmlp, max_iter=256, patience=256, stretches=False, label_smoothing=0.1),
    "realmlp-s": Preset(
        1,
        realmlp_s,
        max_iter=256,
        patience=256,
        stretches=False,
        encoder={"many_levels": "one-hot"},
        label_smoothing=0.1,
    ),
}
