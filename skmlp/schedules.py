"""Schedules as objects: what ``learning_rate`` takes where a name does not say enough.

A function of the progress is taken too: it is called with an array of numbers in [0, 1), one for
each of some coming steps, and returns what `learning_rate_init` is multiplied by in each of them.
"""

from typing import ClassVar

from skmlp._formulas import FormulaChoice, ranges
from skmlp.training.schedules import SCHEDULES

__all__ = ["Cosine"]


class Schedule(FormulaChoice):
    """Base of the schedules; not to be used directly."""


class Cosine(Schedule):
    """A rise from zero in a straight line, then half a wave of the cosine.

    The factor changes from step to step, over the steps of `max_iter` epochs. Where a fit ends
    early, the rate has not come down.

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


OBJECTS: dict[str, type[Schedule]] = {cls._name: cls for cls in (Cosine,)}
