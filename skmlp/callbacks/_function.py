"""A function that is called after each epoch."""

from collections.abc import Callable
from typing import Any

from skmlp.callbacks._base import Callback
from skmlp.callbacks._epoch import Epoch


class FunctionCallback(Callback):
    """Calls a function after each epoch.

    Parameters
    ----------
    function : callable
        ``function(epoch)`` is given an `Epoch`; if it returns a true value, the fit ends.

    Raises
    ------
    ValueError
        If it cannot be called.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skmlp import MLPClassifier
    >>> from skmlp.callbacks import FunctionCallback
    >>> X, y = load_iris(return_X_y=True)
    >>> stop = FunctionCallback(lambda epoch: epoch.number == 3)
    >>> model = MLPClassifier(random_state=0).set_callbacks(stop).fit(X, y)
    >>> model.n_iter_, model.stop_reason_
    (3, 'callback')
    """

    def __init__(self, function: Callable[[Epoch], Any]) -> None:
        if not callable(function):
            raise ValueError(f"function must be callable, got {function!r}. Pass a function.")
        self.function = function

    def on_epoch_end(self, estimator: Any, context: Any, epoch: Epoch) -> Any:
        """Call the function."""
        return self.function(epoch)
