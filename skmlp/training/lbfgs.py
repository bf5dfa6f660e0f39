"""The L-BFGS solver: SciPy's minimizer around an engine's loss and gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize

from skmlp.engines.base import Engine
from skmlp.network.constraints import Bounds
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import NetworkSpec
from skmlp.training.interrupts import POLICY


@dataclass(frozen=True)
class LbfgsResult:
    """What the minimizer came to.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
    loss : float
    scipy_result : OptimizeResult or None
        None if the user interrupted the fit, which is left to the caller to mention.
    n_iter : int
    """

    parameters: FloatArray
    loss: float
    scipy_result: Any
    n_iter: int


class _Progress:
    """Remembers the last iterate, which is all an interrupted fit can return."""

    def __init__(self, parameters: FloatArray, report: Callable[[str], None] | None) -> None:
        self.parameters = parameters
        self.loss = float("nan")
        self.n_iter = 0
        self._report = report

    # SciPy recognizes the argument's name.
    def __call__(self, intermediate_result: Any) -> None:
        self.parameters = intermediate_result.x.copy()
        self.loss = float(intermediate_result.fun)
        self.n_iter += 1
        if self._report is not None:
            self._report(f"Iteration {self.n_iter}, loss = {self.loss:.8f}")


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
    extra_options: dict[str, Any] | None = None,
    report: Callable[[str], None] | None = None,
    bounds: Bounds | None = None,
) -> LbfgsResult:
    """Minimize the penalized mean loss over all rows, within bounds if there are any.

    SciPy works in double precision; the engine evaluates in the precision of `data`.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), "A Limited Memory Algorithm for Bound Constrained
    Optimization".
    """
    progress = _Progress(np.asarray(parameters, dtype=np.float64), report)

    def objective(packed: FloatArray) -> tuple[float, FloatArray]:
        return engine.loss_and_gradient(network, data, packed, alpha)

    try:
        result = scipy.optimize.minimize(
            objective,
            progress.parameters,
            method="L-BFGS-B",
            jac=True,
            callback=progress,
            bounds=None if bounds is None else scipy.optimize.Bounds(bounds.lower, bounds.upper),
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol, **(extra_options or {})},
        )
    except KeyboardInterrupt:
        if not POLICY.ends_only_this_fit():
            raise
        return LbfgsResult(progress.parameters, progress.loss, None, progress.n_iter)
    if bounds is not None:  # whatever the last line search made of them
        bounds.confine(result.x)
    return LbfgsResult(result.x, float(result.fun), result, min(result.nit, max_iter))
