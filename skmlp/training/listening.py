"""Who is told of each epoch while a fit is under way, and may end it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from skmlp.network.parameters import FloatArray
from skmlp.training.state import TrainerState


@dataclass(frozen=True)
class EpochEnd:
    """What there is to tell of an epoch, or of an iteration of L-BFGS.

    Attributes
    ----------
    number : int
        Counted from one.
    loss : float
        With the penalty, as in ``loss_curve_``.
    learning_rate : float or None
        That of the last step; None for L-BFGS.
    seconds : float
        Of training, from the beginning of the fit.
    validation_score : float or None
        None where nothing is watched.
    measured : dict of str to float
        What `monitor` asks for.
    parameters : callable or None
        Computes the model's flat vector of parameters, as a copy; None where they are no numbers
        any more.
    state : callable or None
        Returns where the fit stands, for another one to go on from; None where there is nothing to
        go on from, and for L-BFGS.
    is_last : bool
        Whether the fit ends with this epoch, unless it is a listener that ends it. L-BFGS does not
        say.
    """

    number: int
    loss: float
    learning_rate: float | None
    seconds: float
    validation_score: float | None
    measured: Mapping[str, float]
    parameters: Callable[[], FloatArray] | None
    state: Callable[[], TrainerState] | None = None
    is_last: bool = False


class Listener(Protocol):
    """Hears of the beginning and the end of each epoch."""

    def begins(self) -> None:
        """Hear that an epoch begins."""

    def ended(self, end: EpochEnd) -> bool:
        """Hear of an epoch's end; return whether the fit shall end with it."""


class Several:
    """Listeners that all hear everything."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def begins(self) -> None:
        """Tell all of them."""
        for listener in self._listeners:
            listener.begins()

    def ended(self, end: EpochEnd) -> bool:
        """Tell all of them; return whether one asks to stop."""
        return any([listener.ended(end) for listener in self._listeners])


def together(*listeners: Listener | None) -> Listener | None:
    """Return one listener in the place of several, of which some may be None."""
    some = [listener for listener in listeners if listener is not None]
    if len(some) > 1:
        return Several(some)
    return some[0] if some else None
