"""What a callback can see of an epoch."""

from dataclasses import dataclass
from typing import Any

from skmlp._hooks import Calls, under_way
from skmlp.training.listening import EpochEnd


@dataclass(frozen=True, kw_only=True)
class Epoch(EpochEnd):
    """An epoch that has ended, or an iteration of L-BFGS.

    Attributes
    ----------
    number : int
        Counted from one in each fit; one that goes on from a checkpoint goes on counting.
    loss : float
        The training loss, penalty included, as in ``loss_curve_``.
    learning_rate : float or None
        That of the epoch's last step; None with ``solver='lbfgs'``.
    seconds : float
        Seconds of training since the fit began.
    validation_score : float or None
        None without `early_stopping`.
    measured : dict of str to float
        What the parameter `monitor` asks for, by the names that it has in ``history_``.
    is_last : bool
        Whether the fit ends with this epoch, unless a callback is what ends it. Always False with
        ``solver='lbfgs'``.
    """

    _calls: Calls

    @property
    def network(self) -> int | None:
        """Number of the network in an ensemble, from zero; None if there is a single one."""
        return self._calls.network

    def model(self) -> Any:
        """Return an estimator as if the fit had ended with this epoch.

        Returns
        -------
        estimator : MLPClassifier, MLPRegressor or None
            A new one, of which `predict` and its like can be called; it can be pickled. None where
            the weights are no numbers any more.

        Raises
        ------
        RuntimeError
            If the hook that was told of this epoch has ended.
        """
        return None if self.parameters is None else self._calls.fitted_estimator(self)


def epoch_of(context: Any) -> Epoch | None:
    """Return the epoch that a hook is called at the end of.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        What scikit-learn's hooks are given.

    Returns
    -------
    epoch : Epoch or None
        None if it is not the end of an epoch of one of our networks.

    Examples
    --------
    >>> from skmlp.callbacks import epoch_of
    >>> class PrintLoss:
    ...     def setup(self, estimator, context): ...
    ...     def teardown(self, estimator, context): ...
    ...     def on_fit_task_begin(self, estimator, context): ...
    ...
    ...     def on_fit_task_end(self, estimator, context):
    ...         if (epoch := epoch_of(context)) is not None:
    ...             print(epoch.number, epoch.loss)
    """
    found = under_way(context)
    if found is None:
        return None
    calls, end = found
    return Epoch(**vars(end), _calls=calls)
