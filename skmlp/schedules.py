"""Schedules as objects: what ``learning_rate`` takes where a name does not say enough.

`dropout_schedule` and `weight_decay_schedule` take them too, except `Plateau`. The factors of all
others change from step to step, over the steps of `max_iter` epochs; where a fit ends early, so do
they. ``"coslog4"``, which has no parameters, is a name only.

A function is taken too. It is called with arrays for some coming steps, ``function(progress)`` or,
if it needs three arguments, ``function(progress, epoch, step)``: the part of all steps that is over
before each of them, in [0, 1), and the numbers of its epoch and of the step itself, from zero. It
returns as many factors.
"""

from numbers import Real
from typing import Any, ClassVar

from skmlp._formulas import FormulaChoice, ranges
from skmlp._sklearn_compat import Options
from skmlp.training.schedules import BY_STEPS, SCHEDULES

__all__ = [
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "FlatCos",
    "InverseSqrt",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Step",
]


class Schedule(FormulaChoice):
    """Base of the schedules; not to be used directly."""


class Momenta(Options):
    """Constraint: two momenta."""

    def __init__(self) -> None:
        self.hidden = False  # scikit-learn lists it in its messages

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is a tuple or a list of two such numbers."""
        is_pair = isinstance(val, tuple | list) and len(val) == 2
        return is_pair and all(isinstance(one, Real) and 0 <= float(one) < 1 for one in val)

    def __str__(self) -> str:
        return "a tuple of two floats in the range [0.0, 1.0)"


class Step(Schedule):
    """A drop by the same factor every so many epochs.

    Parameters
    ----------
    every : int, default=30
        Epochs from drop to drop.
    factor : float, default=0.1
        What the rate is multiplied by in each drop, in (0, 1].

    References
    ----------
    .. [1] He, Zhang, Ren & Sun (2016), "Deep residual learning for image recognition", CVPR,
       arXiv:1512.03385, section 3.4.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import Step
    >>> MLPClassifier(learning_rate=Step(every=50, factor=0.5)).get_params()["learning_rate__every"]
    50
    """

    _name = "step"
    _parameter_constraints: ClassVar = ranges(SCHEDULES[_name].constants)

    def __init__(self, every: int = 30, factor: float = 0.1) -> None:
        self.every = every
        self.factor = factor


class Exponential(Schedule):
    """A fall by the same factor from step to step.

    Parameters
    ----------
    final : float, default=0.01
        What the factor comes to in the end, in (0, 1]. From epoch to epoch it falls by
        ``final ** (1 / max_iter)``, which others call gamma.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import Exponential
    >>> MLPClassifier(learning_rate=Exponential(final=0.1))
    MLPClassifier(learning_rate=Exponential(final=0.1))
    """

    _name = "exponential"
    _parameter_constraints: ClassVar = ranges(SCHEDULES[_name].constants)

    def __init__(self, final: float = 0.01) -> None:
        self.final = final


class Polynomial(Schedule):
    """A rise from zero in a straight line, then a fall by a power of what is left.

    Parameters
    ----------
    power : float, default=1.0
        The exponent, positive; 1 falls in a straight line.
    warmup : float, default=0.0
        Which part of all steps the rise takes, in [0, 1). It begins with a rate of zero.
    final : float, default=0.0
        What the factor comes to in the end, in [0, 1].

    References
    ----------
    .. [1] Devlin, Chang, Lee & Toutanova (2019), "BERT", NAACL, arXiv:1810.04805, appendix A.2,
       where a warm-up and a straight line are used.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import Polynomial
    >>> MLPClassifier(learning_rate=Polynomial(warmup=0.1))
    MLPClassifier(learning_rate=Polynomial(warmup=0.1))
    """

    _name = "polynomial"
    _parameter_constraints: ClassVar = ranges(SCHEDULES[_name].constants)

    def __init__(self, power: float = 1.0, warmup: float = 0.0, final: float = 0.0) -> None:
        self.power = power
        self.warmup = warmup
        self.final = final


class Cosine(Schedule):
    """A rise from zero in a straight line, then half a wave of the cosine.

    Parameters
    ----------
    warmup : float, default=0.0
        Which part of all steps the rise takes, in [0, 1). It begins with a rate of zero.
    final : float, default=0.0
        What the factor comes to in the end, in [0, 1].

    References
    ----------
    .. [1] Loshchilov & Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
       ICLR, arXiv:1608.03983, eq. 5.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import Cosine
    >>> MLPClassifier(learning_rate=Cosine(warmup=0.1)).set_params(learning_rate__final=0.01)
    MLPClassifier(learning_rate=Cosine(warmup=0.1, final=0.01))
    """

    _name = "cosine"
    _parameter_constraints: ClassVar = ranges(SCHEDULES[_name].constants)

    def __init__(self, warmup: float = 0.0, final: float = 0.0) -> None:
        self.warmup = warmup
        self.final = final


class CosineRestarts(Schedule):
    """Several half waves of the cosine, each of which begins at the full rate again.

    Parameters
    ----------
    cycles : int, default=3
        How many, at most 100. The last one ends with the fit.
    growth : float, default=2.0
        How many times as long as the one before each of them is, in [1, 10].
    final : float, default=0.0
        What the factor comes to at the end of each, in [0, 1].

    References
    ----------
    .. [1] Loshchilov & Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
       ICLR, arXiv:1608.03983, eq. 5 and section 3, where `growth` is ``T_mult``.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import CosineRestarts
    >>> MLPClassifier(learning_rate=CosineRestarts(cycles=4, growth=1))
    MLPClassifier(learning_rate=CosineRestarts(cycles=4, growth=1))
    """

    _name = "cosine_restarts"
    _parameter_constraints: ClassVar = ranges(SCHEDULES[_name].constants)

    def __init__(self, cycles: int = 3, growth: float = 2.0, final: float = 0.0) -> None:
        self.cycles = cycles
        self.growth = growth
        self.final = final


class OneCycle(Schedule):
    """A rise to the full rate and a fall far below where it began, both by the cosine.

    `learning_rate_init` is the rate at the top. `momentum` moves the solver's momentum the other
    way, as the paper proposes.

    Parameters
    ----------
    rise : float, default=0.3
        Which part of all steps the rise takes, in (0, 1).
    start : float, default=0.04
        The factor at the start, in [0, 1].
    final : float, default=4e-6
        What the factor comes to in the end, in [0, 1].
    momentum : tuple of two floats or None, default=None
        The momentum at the start and at the full rate, each in [0, 1): ``(0.95, 0.85)`` falls
        while the rate rises, and comes back to 0.95 in the end, both by the cosine. It takes the
        place of `momentum` of 'sgd' and 'rmsprop', and of `beta_1` of 'adam', 'adamw', 'nadam',
        'amsgrad', 'adamax' and 'lion'; other solvers are refused. None leaves the solver's as it
        is. Adam and its kin correct the first moment by ``1 - beta_1 ** t`` with the `beta_1` of
        step `t`, as PyTorch does. On the CPU; not for `dropout_schedule` or
        `weight_decay_schedule`.

    References
    ----------
    .. [1] Smith (2018), "A disciplined approach to neural network hyper-parameters: part 1",
       arXiv:1803.09820, section 4.1.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import OneCycle
    >>> MLPClassifier(learning_rate=OneCycle(rise=0.25), learning_rate_init=0.01)
    MLPClassifier(learning_rate=OneCycle(rise=0.25), learning_rate_init=0.01)
    >>> OneCycle().set_params(momentum=(0.95, 0.85))
    OneCycle(momentum=(0.95, 0.85))
    """

    _name = "one_cycle"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ranges(SCHEDULES[_name].constants),
        "momentum": [Momenta(), None],
    }

    def __init__(
        self,
        rise: float = 0.3,
        start: float = 0.04,
        final: float = 4e-6,
        momentum: tuple[float, float] | None = None,
    ) -> None:
        self.rise = rise
        self.start = start
        self.final = final
        self.momentum = momentum


class FlatCos(Schedule):
    """The full rate for a while, then half a wave of the cosine.

    Parameters
    ----------
    flat : float, default=0.5
        Which part of all steps has the full rate, in [0, 1).
    final : float, default=0.0
        What the factor comes to in the end, in [0, 1].

    References
    ----------
    .. [1] Holzmueller, Grinsztajn & Steinwart (2024), "Better by default: strong pre-tuned MLPs
       and boosted trees on tabular data", NeurIPS, arXiv:2407.04491, where dropout and weight
       decay follow it.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import FlatCos
    >>> MLPClassifier(dropout=0.15, dropout_schedule=FlatCos(flat=0.25))
    MLPClassifier(dropout=0.15, dropout_schedule=FlatCos(flat=0.25))
    """

    _name = "flat_cos"
    _parameter_constraints: ClassVar = ranges(SCHEDULES[_name].constants)

    def __init__(self, flat: float = 0.5, final: float = 0.0) -> None:
        self.flat = flat
        self.final = final


class InverseSqrt(Schedule):
    """A rise from zero in a straight line, then a fall by the root of the number of steps.

    Parameters
    ----------
    warmup : float, default=0.1
        Which part of all steps the rise takes, in (0, 1). It begins with a rate of zero, and ends
        with the full one.

    References
    ----------
    .. [1] Vaswani et al. (2017), "Attention is all you need", NeurIPS, arXiv:1706.03762, eq. 3.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import InverseSqrt
    >>> MLPClassifier(learning_rate=InverseSqrt(warmup=0.02))
    MLPClassifier(learning_rate=InverseSqrt(warmup=0.02))
    """

    _name = "inverse_sqrt"
    _parameter_constraints: ClassVar = ranges(SCHEDULES[_name].constants)

    def __init__(self, warmup: float = 0.1) -> None:
        self.warmup = warmup


class Plateau(Schedule):
    """A drop by the same factor whenever epochs in a row have brought no improvement.

    What is watched is what `n_iter_no_change` watches: the training loss, or the score with
    `early_stopping`, which must improve by more than `tol`. That goes on counting across a drop,
    so that a fit ends if drops do not help: `patience` should be less than `n_iter_no_change`.
    Unlike others this schedule goes on where the earlier fit ended, and `partial_fit` takes it.

    Parameters
    ----------
    factor : float, default=0.1
        What the rate is multiplied by in each drop, in (0, 1).
    patience : int, default=5
        Epochs without improvement that are tolerated; the next one brings the drop.
    minimum : float, default=0.0
        The rate does not fall below ``minimum * learning_rate_init``, in [0, 1].

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.schedules import Plateau
    >>> MLPClassifier(learning_rate=Plateau(factor=0.5, patience=3))
    MLPClassifier(learning_rate=Plateau(factor=0.5, patience=3))
    """

    _name = "plateau"
    _parameter_constraints: ClassVar = ranges(SCHEDULES[_name].constants)

    def __init__(self, factor: float = 0.1, patience: int = 5, minimum: float = 0.0) -> None:
        self.factor = factor
        self.patience = patience
        self.minimum = minimum


CLASSES: tuple[type[Schedule], ...] = (
    *(Step, Exponential, Polynomial, Cosine, CosineRestarts),
    *(OneCycle, FlatCos, InverseSqrt, Plateau),
)
STEPWISE_CLASSES = tuple(cls for cls in CLASSES if cls._name in BY_STEPS)
OBJECTS: dict[str, type[Schedule]] = {cls._name: cls for cls in CLASSES}
