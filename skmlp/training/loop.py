"""The epoch loop of the stochastic solvers, written once for every engine."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from skmlp.engines.base import (
    Engine,
    EpochPlan,
    EpochResult,
    FitTask,
    IndexArray,
    KeyedOrders,
    OptimizerState,
    Run,
)
from skmlp.network.parameters import FloatArray
from skmlp.training.interrupts import POLICY
from skmlp.training.ordering import KeyedRowOrder, RowOrder
from skmlp.training.schedules import Factors, Rates, Schedule, steps_of
from skmlp.training.stopping import Patience

# Row orders of several epochs are drawn ahead for small data, but never more than this many rows;
# an engine that draws them by itself may be asked for any number.
MAX_PLANNED_ROWS = 2**18
# A plan takes about so long at most: what an interrupt leaves unrecorded is no more than that.
SECONDS_PER_PLAN = 0.05


class StopReason(Enum):
    """Why a fit ended."""

    MAX_ITER = "max_iter"
    PATIENCE = "patience"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


@dataclass
class History:
    """What a fit recorded, one entry per epoch."""

    losses: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Best:
    """The best parameters on the validation set so far."""

    score: float
    parameters: FloatArray


Score = Callable[[FloatArray], float]


class Trainer:
    """Learns one network, epoch by epoch.

    Parameters
    ----------
    task : FitTask
        What the engine computes.
    rows : ndarray of shape (n_train,), dtype intp
        Rows of X to train on.
    random_state : RandomState
        Draws the order of the rows in each epoch.
    row_order : RowOrder, KeyedRowOrder or None
        Where the drawing stands, KeyedRowOrder for an engine that draws by itself; None keeps the
        rows in their order.
    max_iter : int
        Epochs to run at most.
    schedule : Schedule
    decay_factors, dropout_factors : Factors, optional
        How the weight decay, and the shares that dropout drops, change from step to step.
    patience : Patience
        Watches the training loss, or the validation score where `validation_score` is given.
    samples_seen : int
        Training samples seen before this fit.
    validation_score : callable, optional
        ``validation_score(parameters)``; its best parameters are kept.
    report : callable, optional
        Receives lines of progress.
    """

    def __init__(
        self,
        task: FitTask,
        rows: IndexArray,
        *,
        random_state: np.random.RandomState,
        row_order: RowOrder | KeyedRowOrder | None,
        max_iter: int,
        schedule: Schedule,
        decay_factors: Factors | None = None,
        dropout_factors: Factors | None = None,
        patience: Patience,
        samples_seen: int = 0,
        validation_score: Score | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.task = task
        self.patience = patience
        self.history = History()
        self.samples_seen = samples_seen
        self.learning_rate = task.optimizer_state.learning_rate
        self.best: Best | None = None
        self.stop_reason: StopReason | None = None
        self.interrupted = False
        self.row_order = row_order
        self._rows = np.asarray(rows, dtype=np.int64)
        self._random_state = random_state
        self._max_iter = max_iter
        self._schedule = schedule
        self._decay_factors = decay_factors
        self._dropout_factors = dropout_factors
        self._validation_score = validation_score
        self._report = report
        # Unknown before the first epoch, which therefore makes a plan of its own.
        self._seconds_per_epoch = SECONDS_PER_PLAN

    @property
    def n_epochs(self) -> int:
        return len(self.history.losses)

    def plan(self) -> EpochPlan | None:
        """Return what to compute next: as many epochs as certainly belong to the fit."""
        if self.stop_reason is not None:
            return None
        n_epochs = min(self._max_iter - self.n_epochs, self.patience.epochs_left)
        n_epochs = min(n_epochs, int(SECONDS_PER_PLAN / self._seconds_per_epoch))
        if not isinstance(self.row_order, KeyedRowOrder):
            n_epochs = min(n_epochs, MAX_PLANNED_ROWS // len(self._rows))
        n_epochs = min(n_epochs, self._schedule.epochs_ahead(self.patience.count))
        if self._validation_score is not None or self._report is not None:
            n_epochs = 1
        n_epochs = max(1, n_epochs)
        numbers = self._numbers_of_batches(n_epochs)
        return EpochPlan(self._draw_orders(n_epochs), self.learning_rate, *numbers)

    def _numbers_of_batches(self, n_epochs: int) -> list[Rates | None]:
        """Return rates, decays and dropouts of the next epochs, where they change with each step.

        What is planned is `max_iter` epochs, whether or not all of them will be run.
        """
        n_batches = -(-len(self._rows) // self.task.batch_size)
        steps = steps_of(self.n_epochs, n_epochs, n_batches, self._max_iter)
        factors = (self._decay_factors, self._dropout_factors)
        others = [None if own is None else own.of(steps) for own in factors]
        return [self._schedule.rates(steps), *others]

    def _draw_orders(self, n_epochs: int) -> IndexArray | KeyedOrders:
        if self.row_order is None:
            return np.tile(self._rows, (n_epochs, 1))
        # Always the same array of rows: an engine may know it by its identity.
        return self.row_order.draw(self._rows, n_epochs, self._random_state)

    def record(self, result: EpochResult, run: Run, index: int, seconds: float) -> None:
        """Take note of what came of the last plan in `seconds`, and decide whether to go on."""
        self._seconds_per_epoch = max(1e-6, seconds / max(1, len(result.losses)))
        for epoch, loss in enumerate(result.losses, start=1):
            self.history.losses.append(loss)
            self.samples_seen += len(self._rows)
            self._say("Iteration {}, loss = {:.8f}", self.n_epochs, loss)
            healthy = math.isfinite(loss) and (result.finite or epoch < len(result.losses))
            healthy = self._watch(loss, run, index, healthy)
            rate = self._schedule.after_epoch(
                self.learning_rate, self.samples_seen, self.patience.count
            )
            if self._schedule.name == "plateau" and rate < self.learning_rate:
                self._say("No improvement. Setting learning rate to {:f}", rate)
            self.learning_rate = rate
            if not healthy:
                self.stop_reason = StopReason.DIVERGED
                return
            if self.patience.is_exhausted:
                self._stop_or_slow_down()
        if self.stop_reason is None and self.n_epochs >= self._max_iter:
            self.stop_reason = StopReason.MAX_ITER

    def _watch(self, loss: float, run: Run, index: int, healthy: bool) -> bool:
        """Update patience with this epoch's loss or validation score.

        Returns whether the fit is still healthy: a score that cannot be computed is a sign of
        divergence as well.
        """
        if self._validation_score is None:
            self.patience.update(loss)
            return healthy
        parameters = run.parameters_view(index)
        score = self._validation_score(parameters) if healthy else float("nan")
        self.history.validation_scores.append(score)
        self._say("Validation score: {:f}", score)
        if self.patience.update(score):
            self.best = Best(score, parameters.copy())
        return healthy and not np.isnan(score)

    def _stop_or_slow_down(self) -> None:
        watched = (
            "Training loss did not improve more than tol"
            if self._validation_score is None
            else "Validation score did not improve more than tol"
        )
        message = (
            f"{watched}={self.patience.tol:f} for {self.patience.n_iter_no_change} "
            "consecutive epochs."
        )
        lower = self._schedule.after_plateau(self.learning_rate)
        if lower is None:
            too_small = "Learning rate too small. " if self._schedule.name == "adaptive" else ""
            self._say("{} {}Stopping.", message, too_small)
            self.stop_reason = StopReason.PATIENCE
        else:
            self._say("{} Setting learning rate to {:f}", message, lower)
            self.learning_rate = lower
            self.patience.count = 0

    def _say(self, template: str, *values: Any) -> None:
        if self._report is not None:
            self._report(template.format(*values))


@dataclass(frozen=True)
class Outcome:
    """The parameters and optimizer state a fit ended with."""

    parameters: FloatArray
    optimizer_state: OptimizerState


def train(engine: Engine, trainers: Sequence[Trainer]) -> list[Outcome]:
    """Run several fits to their ends on one engine.

    The first `KeyboardInterrupt` ends all of them with what they have learned, and is left to
    the caller to mention; a second one soon after is passed on.
    """
    run = engine.start([trainer.task for trainer in trainers])
    try:
        while any(trainer.stop_reason is None for trainer in trainers):
            began = time.perf_counter()
            results = run.advance([trainer.plan() for trainer in trainers])
            seconds = time.perf_counter() - began
            for index, (trainer, result) in enumerate(zip(trainers, results, strict=True)):
                if result is not None:
                    trainer.record(result, run, index, seconds)
    except KeyboardInterrupt:
        if not POLICY.ends_only_this_fit():
            raise
        for trainer in trainers:
            trainer.interrupted = True
            trainer.stop_reason = trainer.stop_reason or StopReason.INTERRUPTED
    return [finish(trainer, run, index) for index, trainer in enumerate(trainers)]


def finish(trainer: Trainer, run: Run, index: int) -> Outcome:
    """Return a trainer's outcome, with its best parameters where it kept any."""
    state: Any = run.optimizer_state(index, trainer.learning_rate)
    final = run.parameters(index) if trainer.best is None else trainer.best.parameters
    run.retire(index)
    return Outcome(final, state)
