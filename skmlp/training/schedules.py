"""Schedules: the registry, and what one of them says of a fit.

A schedule either gives a factor for every step, knowing beforehand how far a fit will have come, or
looks at each epoch when it is over. Those of the first kind serve the learning rate, the weight
decay and dropout; those of the second one the learning rate alone.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.network.constants import Constant

# "adaptive" gives up once the learning rate has fallen this low, and divides by this much.
ADAPTIVE_MINIMUM = 1e-6
ADAPTIVE_DIVISOR = 5.0
# The name of a schedule that is a function of the user's.
FUNCTION = "function"
# So many epochs have one learning rate where nothing but its end can change it.
ALL_EPOCHS = 2**31

Rates = npt.NDArray[np.float64]


class Steps(NamedTuple):
    """Some steps of a fit, as arrays of one shape.

    Attributes
    ----------
    progress : ndarray of float64
        The part of all planned steps that is over before each of them, in [0, 1).
    epoch, step : ndarray of int64
        Number of its epoch, and its own, both from zero.
    """

    progress: Rates
    epoch: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]


def steps_of(first_epoch: int, n_epochs: int, n_batches: int, max_iter: int) -> Steps:
    """Return the steps of some epochs out of `max_iter`, shape (n_epochs, n_batches)."""
    epochs = np.arange(first_epoch, first_epoch + n_epochs)[:, np.newaxis]
    steps = epochs * n_batches + np.arange(n_batches)
    return Steps(steps / (max_iter * n_batches), np.broadcast_to(epochs, steps.shape), steps)


@dataclass(frozen=True)
class ScheduleEntry:
    """A kind of schedule.

    Attributes
    ----------
    name : str
        As in the parameter ``learning_rate``.
    text : str
        What it does, in Markdown, with `p` for the progress and `e` for the number of the epoch.
    constants : tuple of Constant
        Numbers that belong to it, in the order in which `factors` receives them.
    factors : callable or None
        ``factors(steps, *constants)``: what the learning rate is multiplied by in each of `Steps`.
    momenta : callable or None
        ``momenta(steps, first, lowest, *constants)``: the momentum in each of `Steps`, where it is
        to move from `first` to `lowest` and back.
    for_sgd_only : bool
        Whether other solvers keep their rate, as in scikit-learn.
    reference : str
        Where the formula comes from.
    """

    name: str
    text: str
    constants: tuple[Constant, ...] = ()
    factors: Callable[..., Rates] | None = None
    momenta: Callable[..., Rates] | None = None
    for_sgd_only: bool = False
    reference: str = ""


def falling_wave(part: Rates, final: float) -> Rates:
    """Fall from one to `final` in half a wave of the cosine; `part` of it is over."""
    return final + (1.0 - final) * (0.5 + 0.5 * np.cos(np.pi * part))


def after(progress: Rates, begin: float) -> Rates:
    """Return which part of what comes after `begin` is over, zero before it."""
    return np.maximum(progress - begin, 0.0) / (1.0 - begin)


def warmed_up(progress: Rates, warmup: float, factors: Rates) -> Rates:
    """Put a rise from zero, in a straight line, before other factors."""
    return np.where(progress < warmup, progress / (warmup or 1.0), factors)


def step_factors(steps: Steps, every: float, factor: float) -> Rates:
    return np.asarray(factor ** (steps.epoch // every), dtype=np.float64)


def exponential_factors(steps: Steps, final: float) -> Rates:
    return np.asarray(final**steps.progress, dtype=np.float64)


def polynomial_factors(steps: Steps, power: float, warmup: float, final: float) -> Rates:
    left = 1.0 - after(steps.progress, warmup)
    return warmed_up(steps.progress, warmup, final + (1.0 - final) * left**power)


def cosine_factors(steps: Steps, warmup: float, final: float) -> Rates:
    wave = falling_wave(after(steps.progress, warmup), final)
    return warmed_up(steps.progress, warmup, wave)


def cosine_restarts_factors(steps: Steps, cycles: float, growth: float, final: float) -> Rates:
    lengths = growth ** np.arange(cycles)
    ends = np.cumsum(lengths) / np.sum(lengths)
    # The last one ends with the fit, whatever rounding says.
    cycle = np.minimum(np.searchsorted(ends, steps.progress, side="right"), len(ends) - 1)
    starts = np.concatenate([[0.0], ends[:-1]])
    return falling_wave((steps.progress - starts[cycle]) / (ends - starts)[cycle], final)


def one_cycle_factors(steps: Steps, rise: float, start: float, final: float) -> Rates:
    rising = falling_wave(1.0 - steps.progress / rise, start)
    falling = falling_wave(after(steps.progress, rise), final)
    return np.where(steps.progress < rise, rising, falling)


def one_cycle_momenta(
    steps: Steps, first: float, lowest: float, rise: float, *others: float
) -> Rates:
    # It falls while the rate rises, and is where it began when the rate has come down.
    return first + (lowest - first) * one_cycle_factors(steps, rise, 0.0, 0.0)


def flat_cos_factors(steps: Steps, flat: float, final: float) -> Rates:
    return falling_wave(after(steps.progress, flat), final)


def coslog4_factors(steps: Steps) -> Rates:
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.log2(1.0 + 15.0 * steps.progress))


def inverse_sqrt_factors(steps: Steps, warmup: float) -> Rates:
    late = np.maximum(steps.progress, warmup)
    return warmed_up(steps.progress, warmup, np.sqrt(warmup / late))


WARMUP = Constant("warmup", 0.0, 0.0, 1.0, closed="left")
FINAL = Constant("final", 0.0, 0.0, 1.0)

SCHEDULES: dict[str, ScheduleEntry] = {
    entry.name: entry
    for entry in (
        ScheduleEntry("constant", "always `learning_rate_init`"),
        ScheduleEntry(
            "invscaling",
            "`learning_rate_init / (t + 1) ** power_t` after `t` samples, by epochs",
            for_sgd_only=True,
            reference="scikit-learn",
        ),
        ScheduleEntry(
            "adaptive",
            "`learning_rate_init`, divided by five instead of stopping, until it is at most 1e-6",
            for_sgd_only=True,
            reference="scikit-learn",
        ),
        ScheduleEntry(
            "plateau",
            "`learning_rate_init`, times `factor` after each `patience + 1` epochs in a row that "
            "bring no improvement, down to `minimum * learning_rate_init`",
            (
                Constant("factor", 0.1, 0.0, 1.0, closed="neither"),
                Constant("patience", 5.0, 0.0, whole=True),
                Constant("minimum", 0.0, 0.0, 1.0),
            ),
            reference="torch.optim.lr_scheduler.ReduceLROnPlateau",
        ),
        ScheduleEntry(
            "step",
            "`factor ** floor(e / every)`",
            (
                Constant("every", 30.0, 1.0, whole=True),
                Constant("factor", 0.1, 0.0, 1.0, closed="right"),
            ),
            step_factors,
            reference="He et al. (2016), arXiv:1512.03385, section 3.4",
        ),
        ScheduleEntry(
            "exponential",
            "`final ** p`",
            (Constant("final", 0.01, 0.0, 1.0, closed="right"),),
            exponential_factors,
            reference="torch.optim.lr_scheduler.ExponentialLR with "
            "``gamma = final ** (1 / max_iter)``, there by epochs",
        ),
        ScheduleEntry(
            "polynomial",
            "`p / warmup` before `warmup`, then `final + (1 - final) * (1 - q) ** power` with "
            "`q = (p - warmup) / (1 - warmup)`",
            (Constant("power", 1.0, 0.0, closed="neither"), WARMUP, FINAL),
            polynomial_factors,
            reference="Devlin et al. (2019), arXiv:1810.04805, appendix A.2, for power 1",
        ),
        ScheduleEntry(
            "cosine",
            "`p / warmup` before `warmup`, then `final + (1 - final) * (1 + cos(pi * q)) / 2` with "
            "`q = (p - warmup) / (1 - warmup)`",
            (WARMUP, FINAL),
            cosine_factors,
            reference="Loshchilov & Hutter (2017), arXiv:1608.03983, eq. 5",
        ),
        ScheduleEntry(
            "cosine_restarts",
            "`final + (1 - final) * (1 + cos(pi * q)) / 2` with the part `q` of the present one of "
            "`cycles` cycles, each `growth` times as long as the one before",
            (
                Constant("cycles", 3.0, 1.0, 100.0, whole=True),
                Constant("growth", 2.0, 1.0, 10.0),
                FINAL,
            ),
            cosine_restarts_factors,
            reference="Loshchilov & Hutter (2017), arXiv:1608.03983, eq. 5 and section 3",
        ),
        ScheduleEntry(
            "one_cycle",
            "`start + (1 - start) * (1 - cos(pi * p / rise)) / 2` before `rise`, then "
            "`final + (1 - final) * (1 + cos(pi * q)) / 2` with `q = (p - rise) / (1 - rise)`",
            (
                Constant("rise", 0.3, 0.0, 1.0, closed="neither"),
                Constant("start", 0.04, 0.0, 1.0),
                Constant("final", 4e-6, 0.0, 1.0),
            ),
            one_cycle_factors,
            one_cycle_momenta,
            reference="Smith (2018), arXiv:1803.09820, section 4.1; by cosines as in fastai",
        ),
        ScheduleEntry(
            "flat_cos",
            "`1` before `flat`, then `final + (1 - final) * (1 + cos(pi * q)) / 2` with "
            "`q = (p - flat) / (1 - flat)`",
            (Constant("flat", 0.5, 0.0, 1.0, closed="left"), FINAL),
            flat_cos_factors,
            reference="Holzmueller et al. (2024), arXiv:2407.04491, of dropout and weight decay",
        ),
        ScheduleEntry(
            "coslog4",
            "`(1 - cos(2 * pi * log2(1 + 15 * p))) / 2`: four waves, each longer than the last",
            (),
            coslog4_factors,
            reference="Holzmueller et al. (2024), arXiv:2407.04491",
        ),
        ScheduleEntry(
            "inverse_sqrt",
            "`p / warmup` before `warmup`, then `sqrt(warmup / p)`",
            (Constant("warmup", 0.1, 0.0, 1.0, closed="neither"),),
            inverse_sqrt_factors,
            reference="Vaswani et al. (2017), arXiv:1706.03762, eq. 3",
        ),
    )
}
# Those that say beforehand what each step is multiplied by.
BY_STEPS = tuple(name for name, entry in SCHEDULES.items() if entry.factors is not None)


@dataclass(frozen=True)
class Factors:
    """What a number of a fit is multiplied by, step by step.

    Parameters
    ----------
    parameter : str
        Whose value the schedule is: errors name it.
    name : str
        One of `BY_STEPS`, or "function".
    constants : tuple of float
        Numbers that belong to the entry.
    function : callable, optional
        ``function(progress)`` or ``function(progress, epoch, step)``: the factors of a "function".
    largest : float
        A number that they multiply, and that must stay less than one.
    """

    parameter: str
    name: str
    constants: tuple[float, ...] = ()
    function: Callable[..., Any] | None = None
    largest: float = 0.0

    def of(self, steps: Steps) -> Rates:
        """Return the factor of each step.

        Raises
        ------
        ValueError
            If a function does not return as many finite numbers, none of them negative.
        """
        if self.function is not None:
            return self._checked(self.function, steps)
        formula = SCHEDULES[self.name].factors
        assert formula is not None
        return formula(steps, *self.constants)

    def _checked(self, function: Callable[..., Any], steps: Steps) -> Rates:
        """Return what a user's function makes of the steps."""
        arrays = [array.flatten() for array in steps]
        n_arguments = count_arguments(self.parameter, function)
        given = function(*arrays[:n_arguments])
        size = steps.progress.size
        expected = f"{size} numbers, finite and not negative, one for each step's progress"
        start = f"{self.parameter}={function!r} must return {expected}, but returned"
        try:
            factors = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{start} {given!r}. Let it compute with arrays of NumPy.") from error
        if factors.shape != (size,):
            raise ValueError(
                f"{start} an array of shape {factors.shape}. Let it compute with arrays of NumPy, "
                "element by element."
            )
        is_valid = np.isfinite(factors) & (factors >= 0.0)
        multiplied = MULTIPLIED[self.parameter]
        if not is_valid.all():
            first = int(np.argmin(is_valid))
            raise ValueError(
                f"{start} {factors[first]!r} at a progress of {steps.progress.flat[first]!r}. Let "
                f"it return numbers from zero on, with which {multiplied} is multiplied."
            )
        if not (factors * self.largest < 1.0).all():
            raise ValueError(
                f"{self.parameter}={function!r} returned {factors.max()!r}, and that times "
                f"{self.largest!r} is not less than one. Let it return less, or lower {multiplied}."
            )
        return factors.reshape(steps.progress.shape)


# What a parameter's factors are multiplied with.
MULTIPLIED = {
    "learning_rate": "learning_rate_init",
    "dropout_schedule": "dropout",
    "weight_decay_schedule": "weight_decay",
}


def count_arguments(parameter: str, function: Callable[..., Any]) -> int:
    """Return how many of `Steps` a user's function takes: the progress, or all three.

    Raises
    ------
    ValueError
        If it needs another number of arguments.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # compiled, as those of NumPy may be
        return 1
    kinds = inspect.Parameter
    parameters = signature.parameters.values()
    needed = [p.kind for p in parameters if p.default is kinds.empty]
    needed = [kind for kind in needed if kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    takes_any = [
        p.kind for p in parameters if p.kind not in (kinds.KEYWORD_ONLY, kinds.VAR_KEYWORD)
    ]
    if (
        len(needed) not in (0, 1, len(Steps._fields))
        or kinds.KEYWORD_ONLY in needed
        or not takes_any
    ):
        raise ValueError(
            f"{parameter}={function!r} must take the steps' progress, or progress, epoch and step, "
            f"but takes {signature}. Give all other arguments defaults."
        )
    return max(1, len(needed))


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
        What `Factors` has for a "function".
    momentum : tuple of float or None
        The first and the lowest momentum, where the entry moves it.
    """

    name: str
    learning_rate_init: float
    power_t: float = 0.5
    constants: tuple[float, ...] = ()
    function: Callable[..., Any] | None = None
    momentum: tuple[float, float] | None = None

    @property
    def changes_every_step(self) -> bool:
        return self.name == FUNCTION or self.name in BY_STEPS

    def rates(self, steps: Steps) -> Rates | None:
        """Return the learning rates of some steps, None where `learning_rate` is that of all.

        Raises
        ------
        ValueError
            If a function does not return as many finite numbers, none of them negative.
        """
        if not self.changes_every_step:
            return None
        factors = Factors("learning_rate", self.name, self.constants, self.function)
        return np.asarray(self.learning_rate_init * factors.of(steps), dtype=np.float64)

    def momenta(self, steps: Steps) -> Rates | None:
        """Return the momentum in some steps, None where it does not move."""
        if self.momentum is None:
            return None
        formula = SCHEDULES[self.name].momenta
        assert formula is not None
        return formula(steps, *self.momentum, *self.constants)

    def epochs_ahead(self, stalled: int) -> int:
        """Return after how many epochs the learning rate may change, as far as epochs change it.

        `stalled` is how many epochs in a row have brought no improvement.
        """
        if self.name == "invscaling":
            return 1
        if self.name == "plateau":
            period = int(self.constants[1]) + 1
            return period - stalled % period
        return ALL_EPOCHS

    def after_epoch(self, learning_rate: float, samples_seen: int, stalled: int) -> float:
        """Return the learning rate of the next epoch.

        "invscaling" is ``learning_rate_init / (samples_seen + 1) ** power_t``. "plateau" lowers
        the rate whenever one more run of ``patience + 1`` epochs has brought no improvement.
        """
        if self.name == "invscaling":
            return self.learning_rate_init / (samples_seen + 1) ** self.power_t
        if self.name == "plateau":
            factor, patience, minimum = self.constants
            if stalled > 0 and stalled % (int(patience) + 1) == 0:
                lower = max(learning_rate * factor, minimum * self.learning_rate_init)
                return min(learning_rate, lower)
        return learning_rate

    def after_plateau(self, learning_rate: float) -> float | None:
        """Return a lower learning rate to go on with, or None to stop."""
        if self.name == "adaptive" and learning_rate > ADAPTIVE_MINIMUM:
            return learning_rate / ADAPTIVE_DIVISOR
        return None
