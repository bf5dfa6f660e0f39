"""A callback that lets fits go on which were ended from outside."""

import math
import os
import re
import time
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from skmlp._described import parameters_in_words
from skmlp._solvers import uses_lbfgs
from skmlp.callbacks._base import Callback
from skmlp.callbacks._epoch import Epoch

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
TIME = re.compile(rf"([0-9]+(?:\.[0-9]+)?) *({'|'.join(SECONDS)})")


class Checkpoint(Callback):
    """Writes to a file where a fit stands, so that another one can go on from there.

    ``fit(X, y, resume_from=path)`` goes on as if the first fit had not ended, bit by bit: on
    another number of threads too, but on the same device and kind of processor, and with the same
    versions of packages. The file has parameters, state of the optimizer, generator, order of
    rows, patience, best weights and history, as arrays and text: nothing in it can be executed. It
    is written beside the one before and takes its place when it is complete, so that a fit that is
    killed at any moment leaves a whole one.

    Parameters
    ----------
    path : str or path-like
        In a folder that exists. Each fit within a pipeline or a search has a file of its own, with
        the numbers of its tasks in the name: ``run.ckpt`` becomes ``run.0-3.ckpt``. So has each
        network of an ensemble.
    every : int or str, default=20
        After how many epochs it is written, or after how much time, as "30 s", "5 min" or "2 h".
        It is written at the end of the fit too, unless a hook or Ctrl-C is what ends it.
    keep : int, default=1
        How many files to keep. The earlier ones are ``path.1``, ``path.2`` and so on; if the newest
        one is damaged, the next one serves.

    Raises
    ------
    ValueError
        If a parameter is not valid; in `fit`, with ``solver='lbfgs'``, whose memory of steps SciPy
        keeps to itself, if `random_state` is a generator of another kind than NumPy's MT19937, or
        with ``n_estimators`` above 1 if it is None: the next fit would draw other networks.

    Notes
    -----
    Of X beyond 1 GiB not all rows are looked at to tell whether the data are the same.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skmlp import MLPClassifier
    >>> from skmlp.callbacks import Checkpoint, FunctionCallback
    >>> X, y = load_iris(return_X_y=True)
    >>> whole = MLPClassifier(random_state=0, tol=0.01).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.ckpt")
    ...     stop = FunctionCallback(lambda epoch: epoch.number == 15)
    ...     model = MLPClassifier(random_state=0, tol=0.01)
    ...     model = model.set_callbacks(Checkpoint(path, every=10), stop).fit(X, y)
    ...     again = MLPClassifier(random_state=0, tol=0.01).fit(X, y, resume_from=path)
    >>> model.n_iter_, again.n_iter_ == whole.n_iter_
    (15, True)
    >>> bool(np.array_equal(again.coefs_[0], whole.coefs_[0]))
    True
    """

    def __init__(
        self, path: str | os.PathLike[str], *, every: int | str = 20, keep: int = 1
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise ValueError(
                f"path must be a string or a path, got {path!r}. Use for instance 'run.ckpt'."
            )
        if period_of(every) is None:
            raise ValueError(
                f"every must be a number of epochs, or a time, got {every!r}. Use for instance 20 "
                "or '5 min'."
            )
        if not is_count(keep):
            raise ValueError(f"keep must be a number of files, got {keep!r}. Use at least 1.")
        self.path = path
        self.every = every
        self.keep = keep

    def setup(self, estimator: Any, context: Any) -> None:
        """Refuse fits that cannot go on."""
        parameters_in_words(estimator)
        if uses_lbfgs(estimator):
            raise ValueError(
                "Checkpoint does not go with solver='lbfgs', whose memory of steps nobody can "
                "store. Use another solver, or set_callbacks() without it."
            )
        generator = estimator.random_state
        if generator is None and estimator.n_estimators > 1:
            raise ValueError(
                f"Checkpoint does not go with random_state=None and n_estimators="
                f"{estimator.n_estimators}: the next fit would draw other networks. Set "
                "random_state to an integer, or use n_estimators=1."
            )
        if not isinstance(generator, np.random.RandomState):
            return
        kind = generator.get_state(legacy=False)["bit_generator"]
        if kind != "MT19937":
            raise ValueError(
                f"Checkpoint can store the state of MT19937 only, but random_state={generator!r} "
                f"is {kind}. Use an integer, or RandomState(seed)."
            )

    def on_epoch_end(self, estimator: Any, context: Any, epoch: Epoch) -> None:
        """Write a file if it is time to."""
        calls = epoch._calls
        if epoch.state is None:  # nothing to go on from
            return
        if epoch.is_last or self._is_due(calls.memory, calls.begun, epoch.number):
            calls.attached.write(epoch.state(), calls.path_of(Path(self.path)), self.keep)
            calls.memory[id(self)] = time.monotonic()

    def _is_due(self, memory: dict[int, Any], begun: float, number: int) -> bool:
        epochs, seconds = period_of(self.every) or (1, None)
        if seconds is None:
            return number % epochs == 0
        return bool(time.monotonic() - memory.get(id(self), begun) >= seconds)


def is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def period_of(every: Any) -> tuple[int, float | None] | None:
    """Return a number of epochs, or seconds in its place; None if it is neither."""
    if is_count(every):
        return int(every), None
    found = TIME.fullmatch(every) if isinstance(every, str) else None
    seconds = 0.0 if found is None else float(found[1]) * SECONDS[found[2]]
    return (1, seconds) if 0.0 < seconds < math.inf else None
