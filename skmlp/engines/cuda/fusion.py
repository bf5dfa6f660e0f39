"""Fits from several threads that are launched together.

Fits in the threads of a pool share one run on the device. There is no thread for it: whichever of
those that wait for their plans comes first *leads*. It carries out slice after slice of everybody's
plans until one of its own has ended, and hands over to another one that waits. So nothing has to be
started, ended or found again; what goes wrong does so in a thread that can tell; and a leader that
is interrupted or abandoned leaves as others do, between two slices.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from skmlp.engines.base import EpochPlan, Finished, FitTask, OptimizerState, Run
from skmlp.engines.cuda.paths import PathPolicy
from skmlp.engines.cuda.run import SECONDS_PER_CALL, CudaRun, Failed, check_plan, check_task
from skmlp.engines.cuda.runtime import runtime
from skmlp.engines.cuda.turns import turn
from skmlp.engines.pools import current_pool
from skmlp.network.parameters import FloatArray

# How long an idle device waits for the next one of those on their way, and for all of them.
SECONDS_FOR_ONE = 0.005
SECONDS_FOR_ALL = 0.05


class Fit:
    """One task of a `FusedRun`.

    Attributes
    ----------
    run : FusedRun
    index : int
        Its number there.
    task : FitTask
    number : int or None
        Its number in the shared run, once it is there.
    plan : EpochPlan or None
        What was submitted and has not begun.
    kept_parameters, kept_state : ndarray, (ndarray, int) or None
        Copies of where it stands, state vectors and steps, as long as no plan changes it.
    """

    def __init__(self, run: "FusedRun", index: int, task: FitTask) -> None:
        self.run, self.index, self.task = run, index, task
        self.number: int | None = None
        self.plan: EpochPlan | None = None
        self.kept_parameters: FloatArray | None = None
        self.kept_state: tuple[FloatArray, int] | None = None


class Dispatcher:
    """What fits of several threads, with one precision and policy, have in common.

    The shared run is touched by who has the device's turn only, and everything else by who holds
    `lock`. Who needs both takes the turn first.

    Parameters
    ----------
    precision : {None, "tf32", "bf16"}
    policy : PathPolicy
    """

    def __init__(self, precision: str | None, policy: PathPolicy) -> None:
        with turn:
            self.device = runtime()
            self.device.activate()
            self.shared = CudaRun(self.device, (), precision, policy)
        self.precision = precision
        self._process = os.getpid()
        self.lock = threading.Lock()
        self._came = threading.Condition(self.lock)
        self._is_led = False
        self._n_events = 0
        # Those that are open.
        self._runs: list[FusedRun] = []
        # Fits with plans that have not begun.
        self._inbox: deque[Fit] = deque()
        # Those in the shared run, by their numbers there; those that shall be there no longer.
        self._fits: dict[int, Fit] = {}
        self._leaving: deque[Fit] = deque()

    @property
    def is_at_home(self) -> bool:
        """Whether this is the process that it was made in, not a child."""
        return os.getpid() == self._process

    def check_process(self) -> None:
        if not self.is_at_home:
            raise RuntimeError(
                "This process was forked during a fit on a GPU, which cannot go on in the child."
            )

    def enter(self, run: "FusedRun") -> None:
        with self.lock:
            self._runs.append(run)
            self._tell_gathering()

    def leave(self, run: "FusedRun") -> None:
        """Expect a run no longer."""
        with self.lock:
            if run in self._runs:
                self._runs.remove(run)
            self._tell_gathering()

    def _tell_gathering(self) -> None:
        self._n_events += 1
        self._came.notify()

    def submit(self, fit: Fit, plan: EpochPlan) -> None:
        with self.lock:
            fit.plan = plan
            fit.kept_parameters = fit.kept_state = None
            fit.run.in_flight += 1
            fit.run.is_late = False
            self._inbox.append(fit)
            self._tell_gathering()

    def retire(self, fit: Fit) -> None:
        """Free what a fit holds: at once, or when the current slice has ended."""
        with self.lock:
            fit.plan = None
            self._leaving.append(fit)
            if self._is_led:
                return
        self._free()

    def _free(self) -> None:
        with turn:
            while self._leaving:
                fit = self._leaving[0]
                if fit.number is not None and self._fits.pop(fit.number, None) is not None:
                    self.shared.retire(fit.number)
                self._leaving.popleft()

    def wait_for(self, run: "FusedRun") -> list[Finished | Failed]:
        """Return what has ended of a run's plans, at least one if some are in flight."""
        while True:
            with self.lock:
                while not (run.ended or run.in_flight == 0 or self._may_lead(run)):
                    run.pool.check()
                    # Abandonment is not told.
                    run.changed.wait(SECONDS_PER_CALL)
                if run.ended or run.in_flight == 0:
                    ended, run.ended = run.ended, []
                    return ended
            try:
                self._lead(run)
            finally:
                self._hand_over()

    def _may_lead(self, run: "FusedRun") -> bool:
        """Make a thread the leader if there is none."""
        run.pool.check()
        if self._is_led:
            return False
        self._is_led = True
        return True

    def _hand_over(self) -> None:
        with self.lock:
            self._is_led = False
            # Should this one not be there any more, another one notices by itself.
            waiting = (run for run in self._runs if run.in_flight and not run.ended)
            follower = next(waiting, None)
            if follower is not None:
                follower.changed.notify()
        if self._leaving and follower is None:
            self._free()

    def _lead(self, run: "FusedRun") -> None:
        """Carry out everybody's plans until one of a run has ended."""
        while not run.ended:
            run.pool.check()
            self._gather()
            with turn:
                self._free()
                self._begin_plans()
                ended = self.shared.advance_slice()
            self._tell(ended)

    def _begin_plans(self) -> None:
        """Bring what was submitted to the shared run."""
        while self._inbox:
            fit = self._inbox[0]
            plan, fit.plan = fit.plan, None
            if plan is not None:
                if fit.number is None:
                    fit.number = self.shared.add(fit.task)
                    self._fits[fit.number] = fit
                self.shared.submit(fit.number, plan)
            self._inbox.popleft()

    def _tell(self, ended: Sequence[Finished | Failed]) -> None:
        """Tell the threads what has ended."""
        with self.lock:
            for one in ended:
                fit = self._fits.get(one.task)
                if fit is None or fit.run.is_closed:
                    continue
                fit.run.in_flight -= 1
                fit.run.ended.append(one._replace(task=fit.index))
                fit.run.changed.notify()

    def _gather(self) -> None:
        """Let an idle device wait a moment for those who are on their way.

        Who does not come is not waited for again until it does.
        """
        if self.shared.is_under_way:
            return
        latest = time.monotonic() + SECONDS_FOR_ALL
        with self.lock:
            while self._is_somebody_expected():
                known, moment = self._n_events, min(SECONDS_FOR_ONE, latest - time.monotonic())
                if moment > 0:
                    self._came.wait(moment)
                if known == self._n_events:
                    for run in self._runs:
                        run.is_late = run.in_flight == 0
                    return

    def _is_somebody_expected(self) -> bool:
        """Whether a fit is between two plans, or some may begin.

        Threads that are busy with something else may be about to fit where others have just begun
        to, as when a search begins.
        """
        if any(run.in_flight == 0 and not run.is_late for run in self._runs):
            return True
        pools = {fit.run.pool for fit in self._inbox if fit.number is None}
        return any(pool.busy > sum(run.pool is pool for run in self._runs) for pool in pools)

    def parameters(self, fit: Fit) -> FloatArray:
        """Return a copy of a fit's parameters."""
        if fit.number is None:
            return np.array(fit.task.parameters, dtype=fit.task.data.dtype)
        with turn:
            return self.shared.parameters(fit.number)

    def keep(self, fit: Fit) -> None:
        """Have copies of where a fit stands, which is asked for as a whole when it ends."""
        with turn:
            if fit.kept_parameters is None:
                fit.kept_parameters = self.parameters(fit)
            if fit.number is None:
                state = fit.task.optimizer_state
                vectors = np.array(state.vectors, dtype=fit.task.data.dtype)
            else:
                state = self.shared.optimizer_state(fit.number, 0.0)
                vectors = state.vectors
            fit.kept_state = vectors, state.step


_dispatchers: dict[tuple[str | None, PathPolicy], Dispatcher] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_dispatchers.clear)


def dispatcher_for(precision: str | None, policy: PathPolicy) -> Dispatcher:
    """Return what all fits with this precision and policy share."""
    key = precision, policy
    if key not in _dispatchers:
        _dispatchers.setdefault(key, Dispatcher(precision, policy))
    return _dispatchers[key]


class FusedRun(Run):
    """The fits of one thread, which are computed together with those of others.

    Parameters
    ----------
    dispatcher : Dispatcher
    tasks : sequence of FitTask

    Attributes
    ----------
    pool : Pool
        That of the thread.
    changed : Condition
        Told when something has ended, and when somebody has to lead.
    ended : list of Finished or Failed
        Plans that have ended and not been looked at.
    in_flight : int
        Plans that were submitted and have not ended.
    is_late : bool
        Whether it has been waited for in vain.
    is_closed : bool
    """

    def __init__(self, dispatcher: Dispatcher, tasks: Sequence[FitTask]) -> None:
        self._dispatcher = dispatcher
        self._fits: list[Fit | None] = []
        self.pool = current_pool()
        self.changed = threading.Condition(dispatcher.lock)
        self.ended: list[Finished | Failed] = []
        self.in_flight = 0
        self.is_late = self.is_closed = False
        for task in tasks:
            self.add(task)
        dispatcher.enter(self)

    def __exit__(self, *exception: object) -> None:
        self._leave()
        # They refer to this run, and would hold their data until somebody collects garbage.
        self._fits = [None] * len(self._fits)

    def add(self, task: FitTask) -> int:
        check_task(task, self._dispatcher.precision, self._dispatcher.device)
        # In this thread, beside the others.
        task.data.recognize()
        self._fits.append(Fit(self, len(self._fits), task))
        return len(self._fits) - 1

    def _fit(self, index: int) -> Fit:
        self._dispatcher.check_process()
        fit = self._fits[index]
        if fit is None:
            raise LookupError(f"Task {index} has been retired.")
        return fit

    def submit(self, index: int, plan: EpochPlan) -> None:
        fit = self._fit(index)
        check_plan(plan, fit.task)
        self._dispatcher.submit(fit, plan)

    def wait(self) -> list[Finished]:
        self._dispatcher.check_process()
        finished: list[Finished] = []
        for ended in self._dispatcher.wait_for(self):
            if isinstance(ended, Failed):
                raise ended.error
            finished.append(ended)
        return finished

    def close(self) -> None:
        if not self.is_closed:
            self._dispatcher.check_process()
            with turn:
                for fit in self._fits:
                    if fit is not None:
                        self._dispatcher.keep(fit)
                self._leave()

    def _leave(self) -> None:
        """Give back what all fits hold on the device, and take no further part."""
        if self.is_closed or not self._dispatcher.is_at_home:
            return
        self.is_closed = True
        for fit in self._fits:
            if fit is not None:
                self._dispatcher.retire(fit)
        self._dispatcher.leave(self)

    def parameters(self, index: int) -> FloatArray:
        return self.parameters_view(index).copy()

    def parameters_view(self, index: int) -> FloatArray:
        fit = self._fit(index)
        if fit.kept_parameters is None:
            fit.kept_parameters = self._dispatcher.parameters(fit)
        return fit.kept_parameters

    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        fit = self._fit(index)
        if fit.kept_state is None:
            self._dispatcher.keep(fit)
        assert fit.kept_state is not None
        vectors, step = fit.kept_state
        return OptimizerState(fit.task.optimizer.name, vectors.copy(), step, learning_rate)

    def retire(self, index: int) -> None:
        self._dispatcher.retire(self._fit(index))
        self._fits[index] = None
