"""A callback that looks at epochs: scikit-learn's hooks, and one of our own."""

from typing import Any

from skmlp.callbacks._epoch import Epoch, epoch_of


class Callback:
    """Base of callbacks that look at epochs: `on_epoch_end` is called after each.

    It fulfils scikit-learn's protocol. Nothing of a fit may be kept on it, because clones of an
    estimator share it.
    """

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing before a fit."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing after a fit."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing at the beginning of a task."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        """Call `on_epoch_end` if the task is an epoch, or an iteration of L-BFGS."""
        epoch = epoch_of(context)
        return epoch is not None and bool(self.on_epoch_end(estimator, context, epoch))

    def on_epoch_end(self, estimator: Any, context: Any, epoch: Epoch) -> Any:
        """Look at an epoch; what is true of the answer ends the fit.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            The one that is fitted, as it was before.
        context : sklearn.callback.CallbackContext
            Where the epoch stands in the tree of tasks.
        epoch : Epoch
        """
