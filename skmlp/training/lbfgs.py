"""The L-BFGS solver: SciPy's minimizer around an engine's loss and gradient."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize

from skmlp.engines.base import Engine, IndexArray
from skmlp.engines.clock import TrainingClock
from skmlp.engines.pools import current_pool, is_worker
from skmlp.network.constraints import Bounds
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import NetworkSpec
from skmlp.training.interrupts import POLICY
from skmlp.training.listening import EpochEnd, Listener
from skmlp.training.stopping import StopReason


@dataclass(frozen=True)
class LbfgsResult:
    """What the minimizer came to.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
    loss : float
    scipy_result : OptimizeResult or None
        None if the user, `max_time` or a listener ended the fit, which is left to the caller to
        mention.
    n_iter : int
    stop_reason : StopReason
    losses : list of float
        Loss after each iteration.
    """

    parameters: FloatArray
    loss: float
    scipy_result: Any
    n_iter: int
    stop_reason: StopReason
    losses: list[float]


class _Over(Exception):
    """Ends SciPy's loop."""

    def __init__(self, reason: StopReason) -> None:
        self.reason = reason


class _Progress:
    """Remembers the last iterate, which is all an interrupted fit can return."""

    def __init__(
        self,
        parameters: FloatArray,
        report: Callable[[str], None] | None,
        max_time: float | None,
        clock: TrainingClock,
        listener: Listener | None,
    ) -> None:
        self.parameters = parameters
        self.losses: list[float] = []
        self._report = report
        self._max_time = max_time
        self._clock = clock
        self._listener = listener
        self._is_told = False

    def begin(self) -> None:
        """Say that an iteration begins, unless one has begun: a line search has several looks."""
        if self._listener is not None and not self._is_told:
            self._is_told = True
            with self._clock.paused():
                self._listener.begins()

    # SciPy recognizes the argument's name.
    def __call__(self, intermediate_result: Any) -> None:
        self.parameters = intermediate_result.x.copy()
        self.losses.append(float(intermediate_result.fun))
        if self._report is not None:
            self._report(f"Iteration {len(self.losses)}, loss = {self.losses[-1]:.8f}")
        seconds, is_asked_to_stop = self._clock.read(), False
        if self._listener is not None:
            self._is_told = False
            with self._clock.paused():
                is_asked_to_stop = self._listener.ended(self._end(seconds))
        if self._max_time is not None and seconds >= self._max_time:
            raise _Over(StopReason.MAX_TIME)
        if is_asked_to_stop:
            raise _Over(StopReason.CALLBACK)

    def _end(self, seconds: float) -> EpochEnd:
        """Return what there is to tell of the last iteration."""
        return EpochEnd(
            number=len(self.losses),
            loss=self.losses[-1],
            learning_rate=None,
            seconds=seconds,
            validation_score=None,
            measured={},
            parameters=self.parameters.copy,
        )

    def result(self, stop_reason: StopReason) -> LbfgsResult:
        """Return what there is of a fit that SciPy did not end."""
        loss = self.losses[-1] if self.losses else float("nan")
        n_iter = len(self.losses)
        return LbfgsResult(self.parameters, loss, None, n_iter, stop_reason, self.losses)


def minimize_lbfgs(
    engine: Engine,
    network: NetworkSpec,
    data: Any,
    parameters: FloatArray,
    *,
    alpha: float,
    max_iter: int,
    max_fun: int,
    tol: float,
    max_time: float | None = None,
    extra_options: dict[str, Any] | None = None,
    report: Callable[[str], None] | None = None,
    bounds: Bounds | None = None,
    listener: Listener | None = None,
    rows: IndexArray | None = None,
) -> LbfgsResult:
    """Minimize the penalized mean loss over all or some rows, within bounds if there are any.

    After the first iteration that ends later than `max_time` seconds it is over, and after one of
    which `listener` asks for that. SciPy works in
    double precision; the engine evaluates in the precision of `data`.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), "A Limited Memory Algorithm for Bound Constrained
    Optimization".
    """
    limits = None if bounds is None else scipy.optimize.Bounds(bounds.lower, bounds.upper)
    clock, pool = TrainingClock(), current_pool()
    progress = _Progress(
        np.asarray(parameters, dtype=np.float64), report, max_time, clock, listener
    )

    def objective(packed: FloatArray) -> tuple[float, FloatArray]:
        pool.check()
        progress.begin()
        return engine.loss_and_gradient(network, data, packed, alpha, rows)

    try:
        with clock, nullcontext() if is_worker() else pool.working():
            result = scipy.optimize.minimize(
                objective,
                progress.parameters,
                method="L-BFGS-B",
                jac=True,
                callback=progress,
                bounds=limits,
                options={
                    "maxfun": max_fun,
                    "maxiter": max_iter,
                    "gtol": tol,
                    **(extra_options or {}),
                },
            )
    except KeyboardInterrupt:
        if not POLICY.ends_only_this_fit():
            raise
        return progress.result(StopReason.INTERRUPTED)
    except _Over as over:
        return progress.result(over.reason)
    if bounds is not None:  # whatever the last line search made of them
        bounds.confine(result.x)
    n_iter = min(result.nit, max_iter)
    reason, losses = reason_of(result, max_iter), progress.losses[:n_iter]
    return LbfgsResult(result.x, float(result.fun), result, n_iter, reason, losses)


def reason_of(result: Any, max_iter: int) -> StopReason:
    """Return why SciPy's minimizer ended."""
    if result.status == 0:
        return StopReason.CONVERGED
    if result.nit >= max_iter:
        return StopReason.MAX_ITER
    return StopReason.MAX_FUN if result.status == 1 else StopReason.LINE_SEARCH
