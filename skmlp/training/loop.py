"""The epoch loop of the stochastic solvers, written once for every engine."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmlp.engines.base import (
    Engine,
    EpochPlan,
    EpochResult,
    FitTask,
    Impatience,
    IndexArray,
    KeyedOrders,
    OptimizerState,
    Run,
)
from skmlp.engines.pools import check_abandoned
from skmlp.network.parameters import FloatArray
from skmlp.training.history import History
from skmlp.training.interrupts import POLICY
from skmlp.training.listening import EpochEnd, Listener
from skmlp.training.ordering import AnyRowOrder, KeyedRowOrder, Mark, RowOrder
from skmlp.training.schedules import Factors, Schedule, steps_of
from skmlp.training.state import Best, TrainerState, UnderWay
from skmlp.training.stopping import Patience, StopReason

# Row orders of several epochs are drawn ahead for small data, but never more than this many rows;
# an engine that draws them by itself may be asked for any number.
MAX_PLANNED_ROWS = 2**18
# A plan takes about so long at most: what an interrupt leaves unrecorded is no more than that.
SECONDS_PER_PLAN = 0.05
# What a step takes at most besides its floating-point operations.
SECONDS_PER_STEP = 1e-4


Score = Callable[[FloatArray], float]
Probe = Callable[[FloatArray], Mapping[str, float]]


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
        ``validation_score(parameters)`` after each epoch, the higher the better.
    report : callable, optional
        Receives lines of progress.
    keeps_best : bool
        Whether the fit ends with its best parameters, however it ends: those with the best
        validation score, or else those after the epoch with the lowest loss.
    min_iter : int
        Epochs that are run before patience may end the fit.
    max_time : float or None
        Seconds of training after which no further plan is made.
    probe : callable, optional
        ``probe(parameters)`` after each epoch: numbers to record, by name.
    listener : Listener, optional
        Is told of each epoch, which then is a plan of its own, and may end the fit.
    draws_alone : bool
        Whether nobody else has `random_state`, from which more may be drawn then than will be used.
    """

    def __init__(
        self,
        task: FitTask,
        rows: IndexArray,
        *,
        random_state: np.random.RandomState,
        row_order: AnyRowOrder | None,
        max_iter: int,
        schedule: Schedule,
        decay_factors: Factors | None = None,
        dropout_factors: Factors | None = None,
        patience: Patience,
        samples_seen: int = 0,
        validation_score: Score | None = None,
        report: Callable[[str], None] | None = None,
        keeps_best: bool = False,
        min_iter: int = 1,
        max_time: float | None = None,
        probe: Probe | None = None,
        listener: Listener | None = None,
        draws_alone: bool = False,
    ) -> None:
        self.task = task
        self.patience = patience
        self.history = History()
        self.samples_seen = samples_seen
        self.learning_rate = task.optimizer_state.learning_rate
        self.best: Best | None = None
        self.stop_reason: StopReason | None = None
        self.interrupted = False
        self.seconds = 0.0
        self.row_order = row_order
        self._rows = np.asarray(rows, dtype=np.int64)
        self._random_state = random_state
        self._max_iter = max_iter
        self._schedule = schedule
        self._decay_factors = decay_factors
        self._dropout_factors = dropout_factors
        self._validation_score = validation_score
        self._report = report
        self._keeps_best = keeps_best
        self._min_iter = min_iter
        self._max_time = max_time
        self._probe = probe
        self._listener = listener
        self._draws_alone = draws_alone
        # Whether parameters are looked at after each epoch, which then is a plan of its own.
        self._looks_at_epochs = keeps_best or validation_score is not None or probe is not None
        # Unknown before the first epoch, which therefore makes a plan of its own, but on engines
        # of which it is known how fast they are at least.
        self._seconds_per_epoch = SECONDS_PER_PLAN
        self._counts_stalled_epochs = False
        # Where the drawing of orders stood, if some of the last plan may have to be taken back.
        self._before: Mark | None = None

    @property
    def n_epochs(self) -> int:
        return len(self.history.losses)

    @property
    def mean_seconds(self) -> float:
        """How long an epoch has taken so far, in the mean."""
        return self.seconds / max(1, self.n_epochs)

    def know(self, engine: Engine) -> None:
        """Take note of what plans may ask of an engine."""
        # What was drawn for nothing is taken back, and with it what others have drawn meanwhile.
        is_alone = self._draws_alone or not isinstance(self.row_order, RowOrder)
        self._counts_stalled_epochs = engine.counts_stalled_epochs and is_alone
        if engine.flops_per_second:
            flops = 6 * self.task.network.n_coefs * len(self._rows)
            steps = -(-len(self._rows) // self.task.batch_size)
            slowest = flops / engine.flops_per_second + steps * SECONDS_PER_STEP
            self._seconds_per_epoch = min(SECONDS_PER_PLAN, slowest)

    def begin(self) -> None:
        """Say that an epoch begins, if anybody listens; what is done then is no training."""
        if self._listener is not None and self.stop_reason is None:
            self._listener.begins()

    def plan(self) -> EpochPlan | None:
        """Return what to compute next: no epoch that does not belong to the fit will be run."""
        if self.stop_reason is not None:
            return None
        n_epochs = min(
            self._max_iter - self.n_epochs, int(self._seconds_to_plan() / self._seconds_per_epoch)
        )
        if not isinstance(self.row_order, KeyedRowOrder):
            n_epochs = min(n_epochs, MAX_PLANNED_ROWS // len(self._rows))
        n_epochs = min(n_epochs, self._schedule.epochs_ahead(self.patience.count))
        if self._looks_at_epochs or self._report is not None or self._listener is not None:
            n_epochs = 1
        n_epochs = max(1, n_epochs)
        impatience = None
        if n_epochs > (certain := self._epochs_of_patience()):
            if self._counts_stalled_epochs and self._ends_with_patience():
                impatience = self._impatience(n_epochs)
            else:
                n_epochs = certain
        numbers = self._numbers_of_batches(n_epochs)
        self._before = None
        if impatience is not None and self.row_order is not None:
            self._before = self.row_order.mark(self._random_state)
        orders = self._draw_orders(n_epochs)
        self._plan = EpochPlan(orders, self.learning_rate, impatience=impatience, **numbers)
        return self._plan

    def _ends_with_patience(self) -> bool:
        """Whether the fit ends where patience does, instead of going on at a lower rate."""
        return self._schedule.after_plateau(self.learning_rate) is None

    def _impatience(self, n_epochs: int) -> Impatience:
        """Return when a plan of so many epochs, which may be too many, ends."""
        patience = self.patience
        return Impatience(
            patience.best,
            patience.tol,
            patience.count,
            patience.n_iter_no_change,
            min(n_epochs, max(1, self._min_iter - self.n_epochs)),
        )

    def _epochs_of_patience(self) -> int:
        left = self.patience.epochs_left
        unending = self._min_iter - self.n_epochs
        # Until then nothing happens when patience runs out, unless the rate is lowered.
        if unending > left and self._ends_with_patience():
            return unending
        return left

    def _seconds_to_plan(self) -> float:
        if self._max_time is None:
            return SECONDS_PER_PLAN
        return min(SECONDS_PER_PLAN, self._max_time - self.seconds)

    def _numbers_of_batches(self, n_epochs: int) -> dict[str, Any]:
        """Return rates, decays, dropouts and momenta of the next epochs, where steps change them.

        What is planned is `max_iter` epochs, whether or not all of them will be run.
        """
        n_batches = -(-len(self._rows) // self.task.batch_size)
        steps = steps_of(self.n_epochs, n_epochs, n_batches, self._max_iter)
        factors = {"decays": self._decay_factors, "dropouts": self._dropout_factors}
        return {
            "rates": self._schedule.rates(steps),
            **{name: None if own is None else own.of(steps) for name, own in factors.items()},
            "momenta": self._schedule.momenta(steps),
        }

    def _draw_orders(self, n_epochs: int) -> IndexArray | KeyedOrders:
        if self.row_order is None:
            return np.tile(self._rows, (n_epochs, 1))
        # Always the same array of rows: an engine may know it by its identity.
        return self.row_order.draw(self._rows, n_epochs, self._random_state)

    def record(self, result: EpochResult, run: Run, index: int, seconds: float) -> None:
        """Take note of what came of the last plan in `seconds`, and decide whether to go on."""
        if self.row_order is not None and self._before is not None:
            unused = self._plan.orders.shape[0] - len(result.losses)
            self.row_order.take_back(unused, self._before, self._random_state)
        self._record_epochs(result, run, index, seconds)
        if self._listener is not None:
            is_asked_to_stop = self._listener.ended(self._epoch_end(run, index))
            if is_asked_to_stop and self.stop_reason is None:
                self.stop_reason = StopReason.CALLBACK

    def _epoch_end(self, run: Run, index: int) -> EpochEnd:
        """Return what there is to tell of the last epoch."""
        history = self.history

        def parameters() -> FloatArray:
            averages = run.averages(index)
            return run.parameters(index) if averages is None else averages

        def state() -> TrainerState:
            return self._state_under_way(run, index)

        scores = history.validation_scores
        is_healthy = self.stop_reason is not StopReason.DIVERGED
        return EpochEnd(
            number=self.n_epochs,
            loss=history.losses[-1],
            learning_rate=history.learning_rates[-1],
            seconds=self.seconds,
            validation_score=scores[-1] if scores else None,
            measured={name: column[-1] for name, column in history.measured.items()},
            parameters=parameters if is_healthy else None,
            state=state if is_healthy else None,
            is_last=self.stop_reason is not None,
        )

    def _state_under_way(self, run: Run, index: int) -> TrainerState:
        """Return where the fit stands, between two epochs.

        The schedule is not in it, which may be made of a function.
        """
        order = self.row_order
        if order is not None:
            order = order.branch()
            order.rest(self._random_state)
        return TrainerState(
            self._random_state,
            optimizer=run.optimizer_state(index, self.learning_rate),
            stalled=self.patience.count,
            row_order=order,
            mask_seed=self.task.seed,
            fit=UnderWay(
                parameters=run.parameters(index),
                samples_seen=self.samples_seen,
                patience_best=self.patience.best,
                best=self.best,
                history=self.history,
                seconds=self.seconds,
                stop_reason=self.stop_reason,
            ),
        )

    def go_on(self, state: TrainerState) -> None:
        """Take up a fit where it stood; the task has its parameters and its optimizer.

        What ended it for want of epochs or time ends it only if there are no more now.
        """
        fit = state.fit
        assert fit is not None
        self.patience.best, self.patience.count = fit.patience_best, state.stalled
        self.history, self.best, self.seconds = fit.history, fit.best, fit.seconds
        self.samples_seen = fit.samples_seen
        is_limit = fit.stop_reason in (None, StopReason.MAX_ITER, StopReason.MAX_TIME)
        self.stop_reason = self._limit_reached() if is_limit else fit.stop_reason

    def interrupt(self) -> None:
        """Take note that the fit ends here because somebody has interrupted it."""
        self.interrupted = True
        self.stop_reason = self.stop_reason or StopReason.INTERRUPTED

    def state_for_next(self, begun: TrainerState, outcome: "Outcome") -> TrainerState:
        """Return what the fit leaves that began with this."""
        return replace(
            begun,
            optimizer=outcome.optimizer_state,
            schedule=self._schedule,
            stalled=self.patience.count,
            row_order=self.row_order,
            mask_seed=self.task.seed,
            raw=outcome.raw,
        )

    def _record_epochs(self, result: EpochResult, run: Run, index: int, seconds: float) -> None:
        seconds_per_epoch = seconds / max(1, len(result.losses))
        self._seconds_per_epoch = max(1e-6, seconds_per_epoch)
        for epoch, loss in enumerate(result.losses, start=1):
            self.seconds += seconds_per_epoch
            self.history.add(loss, self._plan.last_rate(epoch - 1), self.seconds)
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
        self.stop_reason = self.stop_reason or self._limit_reached()

    def _limit_reached(self) -> StopReason | None:
        """Return which limit the fit has come to, if it has come to one."""
        if self.n_epochs >= self._max_iter:
            return StopReason.MAX_ITER
        if self._max_time is not None and self.seconds >= self._max_time:
            return StopReason.MAX_TIME
        return None

    def _watch(self, loss: float, run: Run, index: int, healthy: bool) -> bool:
        """Update patience with this epoch's loss or validation score.

        Returns whether the fit is still healthy: a score that cannot be computed is a sign of
        divergence as well.
        """
        if not self._looks_at_epochs:
            self.patience.update(loss)
            return healthy
        raw, averages = run.parameters_view(index), run.averages(index)
        parameters = raw if averages is None else averages
        value = loss
        if self._validation_score is not None:
            value = self._validation_score(parameters) if healthy else float("nan")
            self.history.validation_scores.append(value)
            self._say("Validation score: {:f}", value)
            healthy = healthy and not math.isnan(value)
        # The loss of an epoch that leaves no numbers is nobody's best.
        if healthy and self.patience.update(value) and self._keeps_best:
            self.best = Best(value, parameters.copy(), None if averages is None else raw.copy())
        if healthy and self._probe is not None:
            self.history.measure(self._probe(parameters))
        return healthy

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
        if lower is None and self.n_epochs < self._min_iter:
            return
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
    """What a fit ended with.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
        The model's, or their averages where these are asked for.
    optimizer_state : OptimizerState
    raw : ndarray of shape (n_parameters,) or None
        Where the training goes on if the model has averages.
    """

    parameters: FloatArray
    optimizer_state: OptimizerState
    raw: FloatArray | None = None


def train(engine: Engine, trainers: Sequence[Trainer]) -> list[Outcome]:
    """Run several fits to their ends on one engine; return what each of them ended with.

    As many are under way as the engine likes best: the next one begins when another one has ended,
    whose memory is free then.

    The first `KeyboardInterrupt` ends all of them with what they have learned, and is left to
    the caller to mention; a second one soon after is passed on.
    """
    with engine.start([]) as run:
        fits = _Fits(engine, run, trainers)
        try:
            fits.fill()
            while fits.under_way:
                for index, result, seconds in run.wait():
                    fits.under_way[index].record(result, run, index, seconds)
                    fits.go_on(index)
                fits.fill()
        except KeyboardInterrupt:
            if not (fits.n_begun and POLICY.ends_only_this_fit()):
                raise
            run.close()
            fits.end_all()
        return [fits.outcomes[index] for index in range(len(trainers))]


class _Fits:
    """The fits of one run: those under way, by their numbers, and what others have ended with."""

    def __init__(self, engine: Engine, run: Run, trainers: Sequence[Trainer]) -> None:
        self._engine = engine
        self._at_once = engine.fits_at_once
        self._run = run
        self._trainers = trainers
        # A run numbers them as they come.
        self.n_begun = 0
        self.under_way: dict[int, Trainer] = {}
        self.outcomes: dict[int, Outcome] = {}

    def fill(self) -> None:
        """Begin as many more as there is room for; some end before they have begun."""
        while self.n_begun < len(self._trainers) and len(self.under_way) < self._at_once:
            trainer = self._trainers[self.n_begun]
            trainer.know(self._engine)
            index = self._run.add(trainer.task)
            self.under_way[index] = trainer
            self.n_begun += 1
            self.go_on(index)

    def go_on(self, index: int) -> None:
        """Ask for what comes next in a fit, or end it."""
        check_abandoned()
        trainer = self.under_way[index]
        trainer.begin()
        plan = trainer.plan()
        if plan is None:
            self._end(index)
        else:
            self._run.submit(index, plan)

    def _end(self, index: int) -> None:
        # In this order: an interrupt may come between any two of them.
        self.outcomes[index] = finish(self.under_way[index], self._run, index)
        del self.under_way[index]
        self._run.retire(index)

    def end_all(self) -> None:
        """End those under way with what they have learned, and others as they would begin."""
        for index, trainer in enumerate(self._trainers):
            if index in self.outcomes:
                continue
            trainer.interrupt()
            if index in self.under_way:
                self._end(index)
            else:
                self.outcomes[index] = unchanged(trainer)


def unchanged(trainer: Trainer) -> Outcome:
    """Return the outcome of a fit that never began."""
    task = trainer.task
    averages = task.optimizer_state.averages
    if averages is None:
        return Outcome(task.parameters, task.optimizer_state)
    return Outcome(averages.values, task.optimizer_state, task.parameters)


def finish(trainer: Trainer, run: Run, index: int) -> Outcome:
    """Return a trainer's outcome, with its best parameters where it kept any."""
    state = run.optimizer_state(index, trainer.learning_rate)
    final, averages = run.parameters(index), state.averages
    raw = None if averages is None else final
    final = final if averages is None else averages.values
    if trainer.best is not None:
        final, raw = trainer.best.parameters, trainer.best.raw
    if averages is not None:  # averaging goes on with those that the model has
        state = replace(state, averages=replace(averages, values=final.copy()))
    return Outcome(final, state, raw)
