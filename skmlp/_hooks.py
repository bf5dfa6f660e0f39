"""scikit-learn's callbacks: the hooks that a fit calls, and what they are given."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
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

EPOCH, ITERATION, NETWORK = "epoch", "lbfgs-iteration", "network"


class Calls:
    """Calls the hooks of the training of one network: a listener of its epochs.

    Parameters
    ----------
    given : dict
        What every hook is given: the user's estimator, and X, y and metadata as `fit` got them.
    context : sklearn.callback.CallbackContext
        That of the fit, or of one network among several.
    task_name : str
        What its tasks are called.
    network : int or None, default=None
        Its number among several.
    """

    def __init__(
        self, given: dict[str, Any], context: Any, task_name: str, network: int | None = None
    ) -> None:
        self._given, self._root, self._task_name = given, context, task_name
        self.network = network
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

    def close(self, state: dict[str, Any] | None = None) -> None:
        """End what is still open, and the training itself.

        `state` is what the network has learned, if the estimator in the hooks does not have it.
        """
        if self._task is not None:  # Ctrl-C, or a line search that led nowhere
            self._task.call_on_fit_task_end(**self._given)
        attributes = {} if state is None else {"__dict__": state}
        self._root.call_on_fit_task_end(**self._given, reconstruction_attributes=attributes)

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


class CallsOfSeveral:
    """Calls the hooks of a fit of several networks, each of which is a task with epochs below it.

    Parameters
    ----------
    given : dict
    context : sklearn.callback.CallbackContext
        That of the fit.
    task_name : str
        What the tasks of each network are called.
    max_tasks : int
    """

    def __init__(self, given: dict[str, Any], context: Any, task_name: str, max_tasks: int) -> None:
        self._given, self._root = given, context
        self._task_name, self._max_tasks = task_name, max_tasks
        self._networks: list[Calls] = []
        self._root.call_on_fit_task_begin(**given)

    def of_network(self, number: int) -> Calls:
        """Return who calls the hooks of one network; a task begins with the first call."""
        while len(self._networks) <= number:
            context = self._root.subcontext(task_name=NETWORK, max_subtasks=self._max_tasks)
            calls = Calls(self._given, context, self._task_name, len(self._networks))
            self._networks.append(calls)
        return self._networks[number]

    def close_network(self, number: int, fitted: Any) -> None:
        """End the task of a network; `fitted` is an estimator that has what it learned."""
        state = vars(without_callbacks(copy(fitted)))
        self.of_network(number).close(state)

    def close(self) -> None:
        """End the fit: the estimator has its state."""
        self._root.call_on_fit_task_end(**self._given, reconstruction_attributes={})


def path_of_network(path: Path, number: int) -> Path:
    """Return the path of one network among several, in a fit without callbacks."""
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def path_of_fit(path: Path, context: Any) -> Path:
    """Return the path of one of many fits: with the numbers of the tasks that it is part of.

    Of a fit by itself it is the path as it is. In a search ``run.jsonl`` becomes
    ``run.0-3.jsonl``, for example, and that of the third network of an ensemble ``run.2.jsonl``.

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
    n_estimators: int

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set the callbacks whose hooks `fit` calls.

        Each epoch is a task named "epoch", each iteration of L-BFGS one named "lbfgs-iteration";
        `partial_fit` calls no hooks. A hook that asks to stop ends the fit as any other reason
        would: with the best weights where `restore_best` says so. With ``n_estimators`` above 1
        each network is a task named "network", below which its epochs are, and a hook that asks
        to stop ends the training of this one. Needs scikit-learn 1.9 or later, whose user guide
        tells of callbacks; ours are in `skmlp.callbacks`.

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

    def _open_calls(
        self, X: Any, y: Any, sample_weight: Any, *, is_lbfgs: bool
    ) -> Calls | CallsOfSeveral | None:
        """Begin to call hooks, if callbacks are set."""
        if CALLBACKS not in vars(self):
            return None
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        given = {"estimator": self, "X": X, "y": y, "metadata": metadata}
        # L-BFGS may begin one more iteration, and give it up.
        name, max_tasks = (ITERATION, self.max_iter + 1) if is_lbfgs else (EPOCH, self.max_iter)
        if self.n_estimators == 1:
            return Calls(given, callback_context(self, max_tasks), name)
        return CallsOfSeveral(given, callback_context(self, self.n_estimators), name, max_tasks)
