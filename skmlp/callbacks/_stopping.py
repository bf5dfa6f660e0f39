"""A callback that ends fits that are good enough."""

from numbers import Real
from typing import Any

from skmlp._solvers import uses_lbfgs
from skmlp.callbacks._base import Callback
from skmlp.callbacks._epoch import Epoch

WATCHED = ("validation_score", "loss")


class EarlyStopping(Callback):
    """Ends a fit as soon as it is good enough.

    `early_stopping` of the estimators ends fits that get no better. This ends them at a number,
    whether or not they would get better still.

    Parameters
    ----------
    threshold : float
        The fit ends when the validation score has come to it, or the loss is no higher.
    monitor : {"validation_score", "loss"}, default="validation_score"
        What is compared with the threshold. The score needs ``early_stopping=True``.

    Raises
    ------
    ValueError
        If a parameter is not valid; in `fit`, if there is no score to watch.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skmlp import MLPClassifier
    >>> from skmlp.callbacks import EarlyStopping
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(random_state=0, learning_rate_init=0.01)
    >>> model = model.set_callbacks(EarlyStopping(0.3, monitor="loss")).fit(X, y)
    >>> model.loss_ <= 0.3 < model.loss_curve_[-2]
    True
    """

    def __init__(self, threshold: float, *, monitor: str = WATCHED[0]) -> None:
        is_number = isinstance(threshold, Real) and not isinstance(threshold, bool)
        if not is_number or threshold != threshold:
            raise ValueError(
                f"threshold must be a number, got {threshold!r}. Use for instance 0.9."
            )
        if monitor not in WATCHED:
            raise ValueError(f"monitor must be one of {WATCHED}, got {monitor!r}. Use one of them.")
        self.threshold: float = threshold
        self.monitor: str = monitor

    def setup(self, estimator: Any, context: Any) -> None:
        """Refuse a fit that has no validation score."""
        if self.monitor != WATCHED[0]:
            return
        watches = "EarlyStopping(monitor='validation_score') watches the validation score"
        if not estimator.early_stopping:
            raise ValueError(
                f"{watches}, but early_stopping=False computes none. Set early_stopping=True, or "
                "use monitor='loss'."
            )
        if uses_lbfgs(estimator):
            raise ValueError(
                f"{watches}, but solver='lbfgs' computes none. Use another solver, or "
                "monitor='loss'."
            )

    def on_epoch_end(self, estimator: Any, context: Any, epoch: Epoch) -> bool:
        """Compare with the threshold."""
        if self.monitor == "loss":
            return epoch.loss <= self.threshold
        return epoch.validation_score is not None and epoch.validation_score >= self.threshold
