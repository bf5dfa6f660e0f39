"""Fits under way on the CPU, and the threads that compute those of one run at the same time."""

import queue
from collections import deque
from collections.abc import Sequence
from functools import partial

from skmlp.engines.base import EpochPlan, Finished, FitTask, OptimizerState, Run
from skmlp.engines.clock import TrainingClock
from skmlp.engines.cpu.task import CpuTask
from skmlp.engines.cpu.threads import uninterrupted
from skmlp.engines.pools import IN_WAITING, Threads, current_pool, is_worker
from skmlp.network.parameters import FloatArray


class CpuRun(Run):
    """Fits under way on the CPU.

    A single fit is computed by the thread that waits for it, with as many others as its steps pay
    for. As soon as there are several, helpers that stay for the life of the run take one plan after
    the other.

    Parameters
    ----------
    tasks : sequence of FitTask
    threads : int
        That may compute at once.
    """

    def __init__(self, tasks: Sequence[FitTask], threads: int) -> None:
        self._threads = threads
        self._pool = current_pool()
        self._tasks: list[CpuTask | None] = []
        self._names: list[str] = []
        # A worker's first fit is counted with the worker, for as long as that is at work.
        self._counts_with_worker = is_worker()
        self._submitted: deque[tuple[int, EpochPlan]] = deque()
        self._helpers: Threads | None = None
        self._done: queue.SimpleQueue[Finished | BaseException] = queue.SimpleQueue()
        for task in tasks:
            self.add(task)

    def add(self, task: FitTask) -> int:
        own = CpuTask(
            task.network,
            task.data,
            task.parameters,
            task.alpha,
            task.batch_size,
            self._threads,
            task.seed,
            task.optimizer,
            task.optimizer_state,
            task.bounds,
            self._pool,
        )
        self._tasks.append(own)
        self._names.append(task.optimizer.name)
        index = len(self._tasks) - 1
        if not self._is_counted(index):
            self._pool.begin(own)
        return index

    def _is_counted(self, index: int) -> bool:
        return index == 0 and self._counts_with_worker

    def _task(self, index: int) -> CpuTask:
        task = self._tasks[index]
        if task is None:
            raise LookupError(f"Task {index} has been retired.")
        return task

    def submit(self, index: int, plan: EpochPlan) -> None:
        if not self._is_counted(index):
            self._pool.begin(self._task(index))
        self._submitted.append((index, plan))

    def rest(self, index: int) -> None:
        if not self._is_counted(index):
            self._pool.end(self._task(index))

    def wait(self) -> list[Finished]:
        if self._helpers is None:
            under_way = sum(task is not None for task in self._tasks)
            width = min(self._threads, self._pool.share_of(under_way))
            if len(self._submitted) == 1 or width == 1:
                index, plan = self._submitted.popleft()
                return [finished(index, self._task(index), plan)]
            # Who asks for fewer threads than there are cores gets no others.
            is_limited = self._threads < self._pool.cores
            most = width if is_limited else width + IN_WAITING
            self._helpers = Threads(self._pool, most, "skmlp-fit")
        while self._submitted:
            index, plan = self._submitted.popleft()
            if not self._helpers.put(partial(self._carry_out, index, self._task(index), plan)):
                self._helpers.work_off()
        return self._next_done()

    def _carry_out(self, index: int, task: CpuTask, plan: EpochPlan) -> None:
        try:
            self._done.put(finished(index, task, plan))
        except BaseException as error:
            self._done.put(error)

    def _next_done(self) -> list[Finished]:
        """Return what has been finished, at least one, or raise an error of a helper's."""
        done = [self._done.get()]
        while not self._done.empty():
            done.append(self._done.get())
        for one in done:
            if isinstance(one, BaseException):
                raise one
        return [one for one in done if isinstance(one, Finished)]

    def close(self) -> None:
        self._submitted.clear()
        if self._helpers is not None:
            self._helpers.drop()
            self._helpers.leave()
            uninterrupted(self._helpers.join)
            self._helpers = None
        for task in self._tasks:
            if task is not None:
                self._pool.end(task)

    def parameters(self, index: int) -> FloatArray:
        return self._task(index).parameters

    def parameters_view(self, index: int) -> FloatArray:
        return self._task(index).parameters

    def averages(self, index: int) -> FloatArray | None:
        return self._task(index).averages

    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        return self._task(index).optimizer_state(self._names[index], learning_rate)

    def retire(self, index: int) -> None:
        self._pool.end(self._task(index))
        self._tasks[index] = None


def finished(index: int, task: CpuTask, plan: EpochPlan) -> Finished:
    """Carry out a plan; neither compiling nor waiting for a core is part of its seconds."""
    waited = task.waited
    with TrainingClock() as clock:
        result = task.advance(plan)
    return Finished(index, result, max(0.0, clock.seconds - (task.waited - waited)))
