"""When a fit stops, and why: patience, counted in epochs without improvement, and other reasons."""

import math
from dataclasses import dataclass
from enum import Enum

INFINITE_PATIENCE = 2**31


class StopReason(Enum):
    """Why a fit ended; the values are those of the attribute ``stop_reason_``."""

    MAX_ITER = "max_iter"
    PATIENCE = "no_improvement"
    MAX_TIME = "max_time"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    CALLBACK = "callback"
    # Of L-BFGS only.
    CONVERGED = "converged"
    MAX_FUN = "max_fun"
    LINE_SEARCH = "line_search"


@dataclass
class Patience:
    """Counts consecutive epochs that did not improve by more than `tol`.

    Parameters
    ----------
    tol : float
        Minimum improvement.
    n_iter_no_change : float
        Epochs without improvement that are tolerated; infinity never stops.
    higher_is_better : bool
        Whether scores (True) or losses (False) are watched.
    best : float
        Best value so far.
    count : int
        Epochs without improvement so far.
    """

    tol: float
    n_iter_no_change: float
    higher_is_better: bool
    best: float
    count: int = 0

    def update(self, value: float) -> bool:
        """Count one epoch; return whether it is the best so far."""
        if self.higher_is_better:
            stalled = value < self.best + self.tol
            is_best = value > self.best
        else:
            stalled = value > self.best - self.tol
            is_best = value < self.best
        self.count = self.count + 1 if stalled else 0
        if is_best:
            self.best = value
        return is_best

    @property
    def is_exhausted(self) -> bool:
        return self.count > self.n_iter_no_change

    @property
    def epochs_left(self) -> int:
        """Epochs that can pass before patience can run out, at least one.

        So many epochs may be computed in one go: none of them can turn out superfluous.
        """
        if math.isinf(self.n_iter_no_change):
            return INFINITE_PATIENCE
        return max(1, int(self.n_iter_no_change) + 1 - self.count)
