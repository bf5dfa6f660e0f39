"""The learning-rate range test: which `learning_rate_init` is worth trying."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.utils.class_weight import compute_sample_weight

from skmlp._base import BaseMLP
from skmlp._optional import needed
from skmlp._sklearn_compat import safe_indexing
from skmlp._solvers import is_stochastic
from skmlp._validation import check_sample_weight
from skmlp.engines.base import EpochPlan, EpochResult, Run
from skmlp.training.loop import Trainer
from skmlp.training.state import Best
from skmlp.training.stopping import StopReason

# Losses of single batches are averaged over so large a part of all steps.
SMOOTHED_PART = 0.1


@dataclass(frozen=True)
class LearningRateRange:
    """What `find_learning_rate` found.

    Attributes
    ----------
    learning_rates : ndarray of shape (n_steps,)
        The rate of each step, up to the last one before the loss overflowed.
    losses : ndarray of shape (n_steps,)
        The loss of its batch, before the step.
    smoothed_losses : ndarray of shape (n_steps,)
        The same, each averaged with its neighbors.
    suggestion : float or None
        The rate at which the smoothed loss falls most steeply, None where it does not fall.
    """

    learning_rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    smoothed_losses: npt.NDArray[np.float64]
    suggestion: float | None

    def plot(self, ax: Any = None) -> "LearningRateRange":
        """Draw the losses over the rates, and the suggestion.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : LearningRateRange
            With the attributes `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot = needed("matplotlib.pyplot", "LearningRateRange.plot", install="skmlp[plot]")
        axes = pyplot.subplots()[1] if ax is None else ax
        axes.plot(self.learning_rates, self.losses, alpha=0.3, label="loss of a batch")
        axes.plot(self.learning_rates, self.smoothed_losses, label="smoothed")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, ls="--", c="k", label=f"{self.suggestion:.2g}")
        # Where it diverges, the rest would not be seen.
        low, start = self.smoothed_losses.min(), self.smoothed_losses[0]
        margin = max(start - low, 1e-3 * abs(start), np.finfo(float).tiny)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.set_ylim(low - 0.2 * margin, start + margin)
        axes.legend()
        object.__setattr__(self, "ax_", axes)
        object.__setattr__(self, "figure_", axes.figure)
        return self


class RangeTest(Trainer):
    """Makes one step with each of several learning rates, and keeps what the fit started with.

    Each of them is an epoch of one batch to the engine, whose loss it therefore reports, and all
    together are one plan.
    """

    learning_rates: npt.NDArray[np.float64]
    losses: list[float]

    def plan(self) -> EpochPlan | None:
        """Return all steps at once."""
        if self.stop_reason is not None:
            return None
        batch_size, n_steps = self.task.batch_size, len(self.learning_rates)
        n_epochs = -(-n_steps * batch_size // (len(self._rows) // batch_size * batch_size))
        orders = self._draw_orders(n_epochs)
        explicit = orders if isinstance(orders, np.ndarray) else orders.explicit()
        # What is left of an epoch after its last whole batch is passed over.
        whole = explicit[:, : len(self._rows) // batch_size * batch_size]
        batches = whole.reshape(-1, batch_size)[:n_steps]
        return EpochPlan(batches, 0.0, self.learning_rates[:, np.newaxis])

    def record(self, result: EpochResult, run: Run, index: int, seconds: float) -> None:
        """Keep the losses; what was learned is left behind."""
        self.losses = result.losses
        self.best = Best(0.0, self.task.parameters.copy())
        self.stop_reason = StopReason.PATIENCE


def find_learning_rate(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    lowest: float = 1e-6,
    highest: float = 10.0,
    n_steps: int = 200,
) -> LearningRateRange:
    """Find out which learning rates are worth trying, by a learning-rate range test.

    A copy of the estimator makes `n_steps` steps, one batch each, while its learning rate rises
    from `lowest` to `highest` by the same factor from step to step. The loss first stays, then
    falls, then grows where the rate is too high. The rate at which it falls most steeply is a
    `learning_rate_init` to begin with, or to search around; with a schedule that rises first, as
    `skmlp.schedules.OneCycle`, several times that may do.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or Pipeline that ends with one
        With any solver but 'lbfgs'. It is not changed, fitted or not: its copy starts from new
        weights, and computes on the CPU. Earlier steps of a pipeline are fitted as copies.
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Samples.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.
    lowest : float, default=1e-6
        The rate of the first step, positive.
    highest : float, default=10.0
        The rate of the last step, larger than that.
    n_steps : int, default=200
        How many steps, at least 10. The steps go through X again where it has fewer batches.

    Returns
    -------
    result : LearningRateRange
        With `learning_rates`, `losses`, `smoothed_losses`, `suggestion` and ``plot(ax=None)``.

    Raises
    ------
    ValueError
        If a value is not valid, or the estimator is none that this can be done with.

    Notes
    -----
    Losses are averaged over a tenth of all steps before the slope by the logarithm of the rate is
    computed, up to the lowest one. Where no batch lowers the loss, there is no suggestion: try
    other bounds, or more steps.

    References
    ----------
    .. [1] Smith (2017), "Cyclical learning rates for training neural networks", WACV,
       arXiv:1506.01186, section 3.3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skmlp import MLPClassifier, find_learning_rate
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(random_state=0, batch_size=16))
    >>> found = find_learning_rate(model, X, y)
    >>> 1e-4 < found.suggestion < 1
    True
    """
    check_bounds(lowest, highest, n_steps)
    network, X = last_step(estimator, X, y)
    if not is_stochastic(network):
        raise ValueError(
            f"find_learning_rate needs a solver that has a learning rate, but got "
            f"solver={network.solver!r}. Use solver='adam' or 'sgd'."
        )
    trial: Any = clone(network)
    trial.set_params(learning_rate="constant", warm_start=False, device="cpu", precision=None)
    trial.set_params(dropout_schedule=None, weight_decay_schedule=None, verbose=False)
    trial.set_params(n_estimators=1, bootstrap=False, oob_score=False)
    trial.set_callbacks()  # which a clone shares with the original
    if sample_weight is not None:
        sample_weight = check_sample_weight(sample_weight, X)
    if isinstance(class_weight := getattr(network, "class_weight", None), dict | list):
        own = compute_sample_weight(class_weight, y)
        sample_weight = own if sample_weight is None else own * sample_weight
        trial.set_params(class_weight=None)
    if sample_weight is not None:
        (counts,) = np.nonzero(sample_weight)  # a batch without weight has no loss
        X, y, sample_weight = (safe_indexing(given, counts) for given in (X, y, sample_weight))
    tests: list[RangeTest] = []

    def make(*args: Any, **options: Any) -> RangeTest:
        tests.append(RangeTest(*args, **options))
        tests[-1].learning_rates = np.geomspace(lowest, highest, n_steps)
        return tests[-1]

    trial._make_trainer = make
    trial.fit(X, y, sample_weight)
    losses = np.array(tests[0].losses)
    losses = losses[np.isfinite(losses)]
    return summarized(tests[0].learning_rates, losses, n_steps)


def check_bounds(lowest: float, highest: float, n_steps: int) -> None:
    if not 0 < lowest < highest < np.inf:
        raise ValueError(
            f"lowest={lowest!r} and highest={highest!r} must be finite learning rates, the first "
            "one positive and less than the second one."
        )
    if not (isinstance(n_steps, int | np.integer) and n_steps >= 10):
        raise ValueError(f"n_steps must be a whole number of at least 10, got {n_steps!r}.")


def last_step(estimator: Any, X: Any, y: Any) -> tuple[Any, Any]:
    """Return the network that an estimator ends with, and X as it gets it."""
    from sklearn.pipeline import Pipeline  # all who import skmlp would wait for it

    if isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            X = clone(estimator[:-1]).fit_transform(X, y)
        return last_step(estimator[-1], X, y)
    if not isinstance(estimator, BaseMLP):
        raise ValueError(
            "find_learning_rate needs an MLPClassifier or MLPRegressor of skmlp, or a Pipeline "
            f"that ends with one, but got {estimator!r}."
        )
    return estimator, X


def summarized(
    rates: npt.NDArray[np.float64], losses: npt.NDArray[np.float64], n_steps: int
) -> LearningRateRange:
    """Return the losses, up to the first one that is not finite, and what they suggest."""
    if len(losses) < 3:
        raise ValueError(
            f"The loss is not finite from a learning rate of {rates[len(losses)]:.3g} on. Use a "
            "smaller lowest, and scale X and y, for instance with StandardScaler."
        )
    rates = rates[: len(losses)]
    window = np.ones(2 * int(SMOOTHED_PART * n_steps / 2) + 1)
    window = window[: len(losses) - (len(losses) + 1) % 2]
    around = np.convolve(np.ones_like(losses), window, mode="same")
    smoothed = np.convolve(losses, window, mode="same") / around
    lowest = int(np.argmin(smoothed))
    suggestion = None
    if lowest > 0:
        slopes = np.gradient(smoothed, np.log(rates))[: lowest + 1]
        steepest = int(np.argmin(slopes))
        suggestion = float(rates[steepest]) if slopes[steepest] < 0 else None
    return LearningRateRange(rates, losses, smoothed, suggestion)
