"""What the steps of a fit hand to each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt

from skmlp._held_out import HeldOut, Score, Targets, Watched
from skmlp.engines.base import Engine, IndexArray
from skmlp.network.specs import NetworkSpec, OptimizerSpec
from skmlp.training.listening import Listener
from skmlp.training.loop import Trainer
from skmlp.training.schedules import Factors, Schedule


@dataclass(frozen=True)
class Work:
    """What is to be learned, by one network or by several.

    Attributes
    ----------
    engine : Engine
    network : NetworkSpec
    optimizer : OptimizerSpec or None
        None for L-BFGS.
    schedule : Schedule
    data : object
        Handle returned by the engine's `load`.
    dtype : str
    X : ndarray or CSR of shape (n_samples, n_features)
    X_norm : float
        Bound on the norm of its rows.
    targets : Targets
    is_incremental : bool
        Whether it is a `partial_fit`.
    watched : Watched
    """

    engine: Engine
    network: NetworkSpec
    optimizer: OptimizerSpec | None
    schedule: Schedule
    data: Any
    dtype: str
    X: Any
    X_norm: float
    targets: Targets
    is_incremental: bool
    watched: Watched


class Part(NamedTuple):
    """What one network learns from, and who is told of it.

    Attributes
    ----------
    rows : ndarray of shape (n_train,)
        Numbers of the rows to train on.
    held_out : HeldOut or None
        Those to watch.
    batch_size : int
    report : callable or None
        Receives lines of progress.
    listener : Listener or None
    score : callable or None
        How parameters are scored on what is watched; None for what the estimator is asked for.
    """

    rows: IndexArray
    held_out: HeldOut | None
    batch_size: int
    report: Callable[[str], None] | None
    listener: Listener | None
    score: Score | None = None


class Training(NamedTuple):
    """One network about to be trained.

    Attributes
    ----------
    trainer : Trainer
    held_out : HeldOut or None
    factors : dict
        By which shares and decays change from step to step.
    """

    trainer: Trainer
    held_out: HeldOut | None
    factors: dict[str, Factors | None]


class RowsOfX:
    """Some rows of X, looked up when they are asked for.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    rows : ndarray of shape (n_rows,)
        Their numbers.
    """

    def __init__(self, X: Any, rows: IndexArray) -> None:
        self._X, self._rows = X, rows
        self.shape = (len(rows), X.shape[1])

    def __getitem__(self, numbers: npt.NDArray[Any]) -> Any:
        return self._X[self._rows[numbers]]
