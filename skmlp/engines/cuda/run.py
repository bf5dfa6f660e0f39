"""Fits under way on a GPU, in groups that are launched together."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from skmlp.engines.base import EpochPlan, Finished, FitTask, OptimizerState, Run
from skmlp.engines.clock import TrainingClock
from skmlp.engines.cuda.data import recognize_alike
from skmlp.engines.cuda.groups import FitGroup
from skmlp.engines.cuda.paths import Formation, PathPolicy, form_groups, may_follow
from skmlp.engines.cuda.ptx import TENSOR_CAPABILITY
from skmlp.engines.cuda.runtime import Runtime
from skmlp.engines.cuda.turns import turn
from skmlp.engines.cuda.vocabulary import check_complete, check_heeded
from skmlp.network.parameters import FloatArray

# Python should see signals about this often.
SECONDS_PER_CALL = 0.05
# Groups of fits that run side by side.
STREAMS = 8


def check_precision(precision: str | None, dtype: str, device: Runtime) -> None:
    """Raise an error where products cannot be rounded as asked for."""
    if precision is None:
        return
    if dtype != "float32":
        raise ValueError(
            f"precision={precision!r} needs single precision, got dtype={dtype!r}. Set "
            "dtype='float32', or precision=None."
        )
    if device.capability < TENSOR_CAPABILITY:
        raise ValueError(
            f"precision={precision!r} needs compute capability 8.0; {device.name!r} has "
            f"{device.capability[0]}.{device.capability[1]}. Set precision=None."
        )


def check_task(task: FitTask, precision: str | None, device: Runtime) -> None:
    """Raise an error where a task asks for what is not known here."""
    check_heeded(task)
    check_complete(task.network, task.optimizer)
    check_precision(precision, task.data.dtype, device)


def check_plan(plan: EpochPlan, task: FitTask) -> None:
    """Raise an error where a plan asks for what is not known here, or does not fit its task."""
    check_heeded(plan)
    plan.check_rates(task.batch_size)


class Failed(NamedTuple):
    """A task that cannot go on.

    Attributes
    ----------
    task : int
        The task's number.
    error : Exception
    """

    task: int
    error: Exception


class CudaRun(Run):
    """Fits under way on a GPU.

    Tasks are put into groups when the first of their plans is to be carried out, and computed in
    slices of about `SECONDS_PER_CALL`. Plans begin and end between slices.

    Parameters
    ----------
    device : Runtime
    tasks : sequence of FitTask
    precision : {None, "tf32", "bf16"}
        What the factors of matrix products are rounded to.
    policy : PathPolicy
    """

    def __init__(
        self,
        device: Runtime,
        tasks: Sequence[FitTask],
        precision: str | None,
        policy: PathPolicy,
    ) -> None:
        self._device = device
        self._precision = precision
        self._policy = policy
        self._n_added = 0
        # By their numbers, until they are retired.
        self._tasks: dict[int, FitTask] = {}
        self._places: dict[int, tuple[FitGroup, int]] = {}
        self._members: list[tuple[FitGroup, list[int]]] = []
        self._ungrouped: dict[int, FitTask] = {}
        self._submitted: dict[int, EpochPlan] = {}
        for task in tasks:
            self.add(task)
        with turn:
            device.activate()
            for failed in self._group():
                raise failed.error

    def add(self, task: FitTask) -> int:
        check_task(task, self._precision, self._device)
        number, self._n_added = self._n_added, self._n_added + 1
        self._tasks[number] = self._ungrouped[number] = task
        return number

    def _task(self, index: int) -> FitTask:
        if index not in self._tasks:
            raise LookupError(f"Task {index} has been retired.")
        return self._tasks[index]

    def submit(self, index: int, plan: EpochPlan) -> None:
        check_plan(plan, self._task(index))
        self._submitted[index] = plan

    @property
    def is_under_way(self) -> bool:
        """Whether some plan has begun that has not ended."""
        return bool(self._busy())

    def wait(self) -> list[Finished]:
        while self._submitted or self.is_under_way:
            finished: list[Finished] = []
            for ended in self.advance_slice():
                if isinstance(ended, Failed):
                    raise ended.error
                finished.append(ended)
            if finished:
                return finished
        return []

    def advance_slice(self) -> list[Finished | Failed]:
        """Begin what was submitted, and compute for a moment; return what ended with it.

        Errors are those of the fits, or groups of fits, in whose work they occur. The others go on.
        """
        ended: list[Finished | Failed] = []
        with turn:
            self._device.activate()
            with TrainingClock() as clock:
                ended += self._group()
                ended += self._begin_plans()
                steps = {group: group.next_steps for group in self._busy()}
                broken = self._launch(steps)
            for group, count in steps.items():
                if group in broken:
                    ended += self._failures(group, broken[group])
                    continue
                group.passed(count, clock.seconds)
                try:
                    results = group.take_results()
                except Exception as error:
                    ended += self._failures(group, error)
                    continue
                members = self._members_of(group)
                ended += [Finished(members[i], *result) for i, result in results.items()]
        return ended

    def _busy(self) -> list[FitGroup]:
        return [group for group, _ in self._members if group.under_way]

    def _group(self) -> list[Failed]:
        """Put those that were added into groups, together where they can be launched together."""
        for number, task in list(self._ungrouped.items()):
            self._take_a_vacancy(number, task)
        if not self._ungrouped:
            return []
        numbers, tasks = list(self._ungrouped), list(self._ungrouped.values())
        try:
            recognize_alike(task.data for task in tasks)
            todo = list(form_groups(self._device, tasks, self._precision, self._policy))[::-1]
        except Exception as error:
            return self._give_up(numbers, error)
        failed: list[Failed] = []
        while todo:
            make, own = todo.pop()
            try:
                group = make([tasks[i] for i in own])
            except Exception as error:
                if isinstance(error, MemoryError) and len(own) > 1:
                    # One of them may be too large, or there are too many.
                    half = len(own) // 2
                    todo += [Formation(make, own[half:]), Formation(make, own[:half])]
                else:
                    failed += self._give_up([numbers[i] for i in own], error)
                continue
            members = [numbers[i] for i in own]
            self._members.append((group, members))
            for i, member in enumerate(members):
                self._places[member] = group, i
                del self._ungrouped[member]
        return failed

    def _take_a_vacancy(self, number: int, task: FitTask) -> None:
        """Let a task take the place of one that has left, if there is one like it.

        So a search keeps the groups that it began with, though its fits end one by one.
        """
        for group, members in self._members:
            for i in group.vacant:
                if may_follow(task, group.tasks[i]):
                    group.adopt(i, task)
                    members[i] = number
                    self._places[number] = group, i
                    del self._ungrouped[number]
                    return

    def _give_up(self, numbers: Iterable[int], error: Exception) -> list[Failed]:
        """Drop tasks that could not be put into a group."""
        numbers = list(numbers)
        for number in numbers:
            del self._ungrouped[number]
            self._submitted.pop(number, None)
        return [Failed(number, error) for number in numbers]

    def _begin_plans(self) -> list[Failed]:
        """Send what was submitted to the groups."""
        failed: list[Failed] = []
        for group, members in self._members:
            plans = {
                i: self._submitted[member]
                for i, member in enumerate(members)
                if member in self._submitted
            }
            if not plans and not group.under_way:
                continue
            try:
                group.begin_plans(plans)
            except Exception as error:
                failed += self._failures(group, error, plans)
            for i in plans:
                del self._submitted[members[i]]
        return failed

    def _launch(self, steps: Mapping[FitGroup, int]) -> dict[FitGroup, Exception]:
        """Run so many steps of each group, side by side; return what went wrong in which.

        Groups have a stream of their own each, as far as there are so many.
        """
        broken: dict[FitGroup, Exception] = {}
        began = time.perf_counter()
        try:
            self._device.synchronize()  # plans have begun on the first stream
            for stream, (group, count) in enumerate(steps.items()):
                self._device.use_stream(stream % STREAMS)
                try:
                    group.run_steps(count)
                except Exception as error:
                    broken[group] = error
        except Exception as error:  # of any of them
            broken |= dict.fromkeys(steps, error)
        finally:
            try:
                self._device.synchronize()
            except Exception as error:
                broken |= {group: broken.get(group, error) for group in steps}
        seconds = max(time.perf_counter() - began, 1e-9)
        for group, count in steps.items():
            # A call that ended with its plan says only that more steps would take longer.
            if count and (count == group.steps_per_call or seconds > SECONDS_PER_CALL):
                fitting = int(count * SECONDS_PER_CALL / seconds)
                group.steps_per_call = max(1, min(8 * count, fitting))
        return broken

    def _failures(
        self, group: FitGroup, error: Exception, plans: Iterable[int] = ()
    ) -> list[Failed]:
        """End what a group has under way, and plans that could not begin, with an error."""
        members = self._members_of(group)
        places = sorted({*group.under_way, *plans})
        for i in places:
            group.call_off(i)
        return [Failed(members[i], error) for i in places]

    def _members_of(self, group: FitGroup) -> list[int]:
        return next(members for other, members in self._members if other is group)

    def close(self) -> None:
        self._submitted.clear()
        for group, _ in self._members:
            for i in list(group.under_way):
                group.call_off(i)

    def parameters(self, index: int) -> FloatArray:
        task = self._task(index)
        if index not in self._places:
            return np.array(task.parameters, dtype=task.data.dtype)
        group, i = self._places[index]
        with turn:
            self._device.activate()
            return group.parameters(i)

    def parameters_view(self, index: int) -> FloatArray:
        return self.parameters(index)

    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        task = self._task(index)
        if index not in self._places:
            vectors = np.array(task.optimizer_state.vectors, dtype=task.data.dtype)
            step = task.optimizer_state.step
        else:
            group, i = self._places[index]
            with turn:
                self._device.activate()
                vectors, step = group.state_vectors(i), group.step_of(i)
        return OptimizerState(task.optimizer.name, vectors, step, learning_rate)

    def retire(self, index: int) -> None:
        self._task(index)
        del self._tasks[index]
        self._submitted.pop(index, None)
        self._ungrouped.pop(index, None)
        place = self._places.pop(index, None)
        if place is None:
            return
        group, i = place
        group.leave(i)
        # A group's memory is one piece: it is freed with its last task.
        if len(group.vacant) == len(group.tasks):
            self._members = [(other, m) for other, m in self._members if other is not group]
