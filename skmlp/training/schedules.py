"""Schedules of the learning rate: the registry, and what one of them says of a fit.

A schedule either knows beforehand how far a fit has come, and gives a factor for every step, or it
looks at each epoch when it is over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.network.constants import Constant

# "adaptive" gives up once the learning rate has fallen this low, and divides by this much.
ADAPTIVE_MINIMUM = 1e-6
ADAPTIVE_DIVISOR = 5.0
# The name of a schedule that is a function of the user's.
FUNCTION = "function"

Rates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScheduleEntry:
    """A kind of schedule.

    Attributes
    ----------
    name : str
        As in the parameter ``learning_rate``.
    constants : tuple of Constant
        Numbers that belong to it, in the order in which `factors` receives them.
    factors : callable or None
        ``factors(progress, *constants)``: what the learning rate is multiplied by in each step;
        `progress` is an array of the parts of all planned steps that are over, in [0, 1).
    for_sgd_only : bool
        Whether other solvers keep their rate, as in scikit-learn.
    reference : str
        Where the formula comes from.
    """

    name: str
    constants: tuple[Constant, ...] = ()
    factors: Callable[..., Rates] | None = None
    for_sgd_only: bool = False
    reference: str = ""


def cosine_factors(progress: Rates, warmup: float, final: float) -> Rates:
    """Rise from zero in a straight line, then fall in half a wave of the cosine."""
    falling = np.maximum(progress - warmup, 0.0) / (1.0 - warmup)
    factors = final + (1.0 - final) * (0.5 + 0.5 * np.cos(np.pi * falling))
    return np.where(progress < warmup, progress / (warmup or 1.0), factors)


SCHEDULES: dict[str, ScheduleEntry] = {
    entry.name: entry
    for entry in (
        ScheduleEntry("constant"),
        ScheduleEntry("invscaling", for_sgd_only=True),
        ScheduleEntry("adaptive", for_sgd_only=True),
        ScheduleEntry(
            "cosine",
            (
                Constant("warmup", 0.0, 0.0, 1.0, closed="left"),
                Constant("final", 0.0, 0.0, 1.0),
            ),
            cosine_factors,
            reference="Loshchilov & Hutter (2017), arXiv:1608.03983, eq. 5",
        ),
    )
}


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes during a fit.

    Parameters
    ----------
    name : str
        An entry of `SCHEDULES`, or "function".
    learning_rate_init : float
        Learning rate of the first epoch, or what factors are multiplied with.
    power_t : float
        Exponent of "invscaling".
    constants : tuple of float
        Numbers that belong to the entry.
    function : callable, optional
        ``function(progress)``: the factors of a "function".
    """

    name: str
    learning_rate_init: float
    power_t: float = 0.5
    constants: tuple[float, ...] = ()
    function: Callable[[Rates], Any] | None = None

    @property
    def changes_every_epoch(self) -> bool:
        return self.name == "invscaling"

    @property
    def changes_every_step(self) -> bool:
        return self.name == FUNCTION or SCHEDULES[self.name].factors is not None

    def rates(self, progress: Rates) -> Rates | None:
        """Return the learning rates of some steps, None where `learning_rate` is that of all.

        Parameters
        ----------
        progress : ndarray
            Which part of all planned steps is over before each of them.

        Raises
        ------
        ValueError
            If a function does not return as many finite numbers, none of them negative.
        """
        if not self.changes_every_step:
            return None
        if self.function is not None:
            factors = checked_factors(self.function, progress)
        else:
            formula = SCHEDULES[self.name].factors
            assert formula is not None
            factors = formula(progress, *self.constants)
        return np.asarray(self.learning_rate_init * factors, dtype=np.float64)

    def after_epoch(self, learning_rate: float, samples_seen: int) -> float:
        """Return the learning rate of the next epoch.

        "invscaling" is ``learning_rate_init / (samples_seen + 1) ** power_t``.
        """
        if self.name == "invscaling":
            return self.learning_rate_init / (samples_seen + 1) ** self.power_t
        return learning_rate

    def after_plateau(self, learning_rate: float) -> float | None:
        """Return a lower learning rate to go on with, or None to stop."""
        if self.name == "adaptive" and learning_rate > ADAPTIVE_MINIMUM:
            return learning_rate / ADAPTIVE_DIVISOR
        return None


def checked_factors(function: Callable[[Rates], Any], progress: Rates) -> Rates:
    """Return what a user's function makes of the steps' progress.

    Raises
    ------
    ValueError
        If that is not as many finite numbers, none of them negative.
    """
    given = function(progress.reshape(-1).copy())
    expected = f"{progress.size} numbers, finite and not negative, one for each step's progress"
    try:
        factors = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"learning_rate={function!r} must return {expected}, but returned {given!r}. Let it "
            "compute with arrays of NumPy."
        ) from error
    if factors.shape != (progress.size,):
        raise ValueError(
            f"learning_rate={function!r} must return {expected}, but returned an array of shape "
            f"{factors.shape}. Let it compute with arrays of NumPy, element by element."
        )
    is_valid = np.isfinite(factors) & (factors >= 0.0)
    if not is_valid.all():
        first = int(np.argmin(is_valid))
        raise ValueError(
            f"learning_rate={function!r} must return {expected}, but returned {factors[first]!r} "
            f"at a progress of {progress.flat[first]!r}. Let it return numbers from zero on, "
            "with which learning_rate_init is multiplied."
        )
    return factors.reshape(progress.shape)
