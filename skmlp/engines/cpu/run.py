"""Fits under way on the CPU, and the threads that compute those of one run at the same time."""

import queue
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from skmlp.engines.base import EpochPlan, Finished, FitTask, OptimizerState, Run
from skmlp.engines.clock import TrainingClock
from skmlp.engines.cpu.task import CpuTask
from skmlp.engines.cpu.threads import uninterrupted
from skmlp.engines.pools import Pool, belonging_to, current_pool, is_worker
from skmlp.network.parameters import FloatArray

# Threads that stand ready while others compute: while one runs Python, a core has the next one.
IN_WAITING = 2


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
        # A worker's first fit is counted with the worker.
        self._is_counted = is_worker()
        self._submitted: deque[tuple[int, EpochPlan]] = deque()
        self._helpers: _Helpers | None = None
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
        if not self._is_counted:
            self._pool.begin(own)
        self._is_counted = False
        return len(self._tasks) - 1

    def _task(self, index: int) -> CpuTask:
        task = self._tasks[index]
        if task is None:
            raise LookupError(f"Task {index} has been retired.")
        return task

    def submit(self, index: int, plan: EpochPlan) -> None:
        self._submitted.append((index, plan))

    def wait(self) -> list[Finished]:
        if self._helpers is None:
            under_way = sum(task is not None for task in self._tasks)
            width = min(self._threads, self._pool.share_of(under_way))
            if len(self._submitted) == 1 or width == 1:
                index, plan = self._submitted.popleft()
                return [finished(index, self._task(index), plan)]
            # Who asks for fewer threads than there are cores gets no others.
            is_limited = self._threads < self._pool.cores
            self._helpers = _Helpers(width if is_limited else width + IN_WAITING, self._pool)
        while self._submitted:
            index, plan = self._submitted.popleft()
            self._helpers.put(index, self._task(index), plan)
        return self._helpers.get()

    def close(self) -> None:
        self._submitted.clear()
        if self._helpers is not None:
            uninterrupted(self._helpers.leave)
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


class _Helpers:
    """Threads that carry out plans, at most `threads` of them, started as they are needed."""

    def __init__(self, threads: int, pool: Pool) -> None:
        self._pool = pool
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._under_way = 0
        self._todo: queue.SimpleQueue[tuple[int, CpuTask, EpochPlan] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Finished | BaseException] = queue.SimpleQueue()

    def put(self, index: int, task: CpuTask, plan: EpochPlan) -> None:
        self._under_way += 1
        self._todo.put((index, task, plan))
        if len(self._threads) < min(self._most, self._under_way):
            thread = threading.Thread(target=self._work, name="skmlp-fit", daemon=True)
            self._threads.append(thread)  # an interrupt may come as soon as it has started
            try:
                thread.start()
            except RuntimeError:
                # No more threads to be had: those there are do the work, or else this one.
                self._threads.remove(thread)
                if not self._threads:
                    self._work_off()

    def get(self) -> list[Finished]:
        """Return what has been finished, at least one."""
        done = [self._done.get()]
        while not self._done.empty():
            done.append(self._done.get())
        self._under_way -= len(done)
        for one in done:
            if isinstance(one, BaseException):
                raise one
        return [one for one in done if isinstance(one, Finished)]

    def leave(self) -> None:
        """Drop what has not begun, and let threads end what has."""
        with suppress(queue.Empty):
            while True:
                self._todo.get_nowait()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join()

    def _work(self) -> None:
        with belonging_to(self._pool):
            while (given := self._todo.get()) is not None:
                self._carry_out(*given)

    def _work_off(self) -> None:
        with suppress(queue.Empty):
            while (given := self._todo.get_nowait()) is not None:
                self._carry_out(*given)

    def _carry_out(self, index: int, task: CpuTask, plan: EpochPlan) -> None:
        try:
            self._done.put(finished(index, task, plan))
        except BaseException as error:
            self._done.put(error)
