"""scikit-learn's callbacks: the hooks that a fit calls, and what they are given."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np

from skmlp._sklearn_compat import (
    CALLBACKS,
    callback_context,
    callback_support,
    without_callbacks,
)
from skmlp.network.specs import NetworkSpec
from skmlp.training.listening import EpochEnd

EPOCH, ITERATION = "epoch", "lbfgs-iteration"


class Calls:
    """Calls the hooks of one fit: a listener of its epochs.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The user's, in every hook.
    X, y, sample_weight : object
        As they were given to `fit`.
    task_name : str
        What the tasks of the fit are called.
    max_tasks : int
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any, task_name: str, max_tasks: int
    ) -> None:
        self._estimator = estimator
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._task_name = task_name
        self._root = callback_context(estimator, max_tasks)
        self._task: Any = None
        self._draft: Any = None
        self._told: EpochEnd | None = None
        # What writes checkpoints, and what callbacks keep during this fit, by their id.
        self.attached: Any = None
        self.memory: dict[int, Any] = {}
        self.begun = time.monotonic()
        self._root.call_on_fit_task_begin(**self._given)

    def serve(self, draft: Any, network: NetworkSpec, dtype: Any) -> None:
        """Say whose state hooks shall see: that of a draft, with the weights of the moment."""
        self._draft, self._network, self._dtype = draft, network, dtype

    def path_of(self, path: Path) -> Path:
        """Return the path of this fit, of which there may be many for one path."""
        return path_of_fit(path, self._root)

    def begins(self) -> None:
        """Begin a task."""
        self._task = self._root.subcontext(task_name=self._task_name)
        self._task.call_on_fit_task_begin(**self._given)

    def ended(self, end: EpochEnd) -> bool:
        """End the task; return whether a hook asks to stop."""
        task, self._task = self._task, None
        attributes = None
        if end.parameters is not None:
            # All of them at once: what the user's has of an earlier fit may not stay behind.
            attributes = remembered(lambda: {"__dict__": vars(self.fitted_estimator(end))})
        self._told = end
        try:
            with looked_up(task, self, end):
                return bool(
                    task.call_on_fit_task_end(**self._given, reconstruction_attributes=attributes)
                )
        finally:
            self._told = None

    def close(self) -> None:
        """End what is still open, and the fit itself: the estimator has its state."""
        if self._task is not None:  # Ctrl-C, or a line search that led nowhere
            self._task.call_on_fit_task_end(**self._given)
        self._root.call_on_fit_task_end(**self._given, reconstruction_attributes={})

    def fitted_estimator(self, end: EpochEnd) -> Any:
        """Return an estimator as if the fit had ended with an epoch, which can be pickled.

        Raises
        ------
        RuntimeError
            If hooks are told of another epoch by now, or of none: its weights are gone.
        """
        assert end.parameters is not None
        if self._told is None or end.parameters is not self._told.parameters:
            raise RuntimeError(
                f"The weights after epoch {end.number} are gone. Call model() while the hook of "
                "that epoch runs, and keep what it returns."
            )
        parameters = end.parameters().astype(self._dtype, copy=False)
        fitted = self._draft._with_parameters(self._network, parameters)
        fitted.n_iter_, fitted.loss_ = end.number, np.float64(end.loss)
        return without_callbacks(fitted)


def path_of_fit(path: Path, context: Any) -> Path:
    """Return the path of one of many fits: with the numbers of the tasks that it is part of.

    Of a fit by itself it is the path as it is. In a search ``run.jsonl`` becomes
    ``run.0-3.jsonl``, for example.

    Parameters
    ----------
    path : Path
    context : sklearn.callback.CallbackContext
        That of the fit.
    """
    numbers = []
    while context.parent is not None:
        numbers.append(str(context.task_id))
        context = context.parent
    if not numbers:
        return path
    return path.with_name(f"{path.stem}.{'-'.join(reversed(numbers))}{path.suffix}")


def remembered(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that makes something once."""
    made: list[Any] = []

    def make_once() -> Any:
        if not made:
            made.append(make())
        return made[0]

    return make_once


# What a hook can look up by its context, for as long as it runs.
_under_way: WeakKeyDictionary[Any, tuple[Calls, EpochEnd]] = WeakKeyDictionary()


@contextmanager
def looked_up(context: Any, calls: Calls, end: EpochEnd) -> Iterator[None]:
    """Let hooks look up an epoch by its context, the only thing of ours that they are given."""
    _under_way[context] = calls, end
    try:
        yield
    finally:
        del _under_way[context]


def under_way(context: Any) -> tuple[Calls, EpochEnd] | None:
    """Return the calls and the epoch of a hook's context; None if it is that of no epoch's end."""
    return _under_way.get(context)


class WithCallbacks:
    """Gives an estimator `set_callbacks`, and its fits the calls of hooks."""

    max_iter: int

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set the callbacks whose hooks `fit` calls.

        Each epoch is a task named "epoch", each iteration of L-BFGS one named "lbfgs-iteration";
        `partial_fit` calls no hooks. A hook that asks to stop ends the fit as any other reason
        would: with the best weights where `restore_best` says so. Hooks are told of one network:
        ``n_estimators`` above 1 is refused. Needs scikit-learn 1.9 or later, whose user guide tells
        of callbacks; ours are in `skmlp.callbacks`.

        Parameters
        ----------
        *callbacks : callback instances
            They take the place of those that were set before; none removes these.

        Returns
        -------
        self : estimator
            This estimator.

        Raises
        ------
        RuntimeError
            If scikit-learn is older than 1.9.
        TypeError
            If one is no callback.
        """
        if not callbacks:
            vars(self).pop(CALLBACKS, None)
            return self
        return callback_support().set_callbacks(self, *callbacks)

    def _open_calls(self, X: Any, y: Any, sample_weight: Any, *, is_lbfgs: bool) -> Calls | None:
        """Begin to call hooks, if callbacks are set."""
        if CALLBACKS not in vars(self):
            return None
        # L-BFGS may begin one more iteration, and give it up.
        name, max_tasks = (ITERATION, self.max_iter + 1) if is_lbfgs else (EPOCH, self.max_iter)
        return Calls(self, X, y, sample_weight, name, max_tasks)
