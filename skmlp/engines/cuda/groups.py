"""Fits that are launched together: their tables on the device, and what all groups do alike."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import EpochPlan, EpochResult, FitTask, KeyedOrders
from skmlp.engines.cuda import tables
from skmlp.engines.cuda.data import CudaData
from skmlp.engines.cuda.runtime import DeviceArray, Runtime
from skmlp.engines.cuda.vocabulary import optimizer_code
from skmlp.network.parameters import FloatArray
from skmlp.network.permutation import bits_for

# Where some plans are nearly done, a launch has so many steps at least.
FEWEST_STEPS = 8


class Room:
    """A device array that is exchanged for a larger one when it becomes too small.

    Attributes
    ----------
    array : DeviceArray
    exchanges : int
        How often its address has changed.
    """

    def __init__(self, runtime: Runtime, dtype: npt.DTypeLike) -> None:
        self._runtime = runtime
        self.array: DeviceArray = runtime.allocate(1, dtype)
        self.exchanges = 0

    def write(self, values: npt.NDArray[Any]) -> None:
        self.reserve(values.size)
        self.array.write(values.astype(self.array.dtype, copy=False))

    def reserve(self, size: int) -> None:
        if size > self.array.size:
            self.array = self._runtime.allocate(max(size, 2 * self.array.size), self.array.dtype)
            self.exchanges += 1


class Pile:
    """Arrays that are to lie one behind the other in a room."""

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[Any]] = []
        self._size = 0

    def put(self, values: npt.NDArray[Any]) -> int:
        """Add an array and return where it begins."""
        start = self._size
        self._arrays.append(values.reshape(-1))
        self._size += values.size
        return start

    def write_to(self, room: Room) -> None:
        if self._arrays:
            room.write(np.concatenate(self._arrays))


@dataclass
class PlanUnderWay:
    """A plan that a group carries out.

    Attributes
    ----------
    plan : EpochPlan
    steps : int
        Those that are left.
    seconds : float
        How long it has been computed.
    """

    plan: EpochPlan
    steps: int
    seconds: float = 0.0


class FitGroup(ABC):
    """Fits on one data set that advance together.

    A fit's plan may begin, and end, between any two launches, wherever the others stand; fits
    without one are passed over by the kernels. Who has left makes room for another one like it.

    Parameters
    ----------
    runtime : Runtime
    tasks : sequence of FitTask

    Attributes
    ----------
    under_way : dict
        The plans that are carried out, by their members' places.
    vacant : set of int
        Places of members that have left.
    steps_per_call : int
        Steps that take about as long as Python may wait, as far as is known.
    knows_optimizers : bool
        Whether kernels that serve all optimizers choose among them by their codes.
    """

    steps_per_call = 8
    knows_optimizers = True

    def __init__(self, runtime: Runtime, tasks: Sequence[FitTask]) -> None:
        self.runtime = runtime
        self.tasks = list(tasks)
        self.data: CudaData = tasks[0].data
        self.dtype = self.data.dtype
        integers = np.zeros((len(tasks), tables.N_INTEGERS), dtype=np.int64)
        doubles = np.zeros((len(tasks), tables.N_DOUBLES))
        for i, task in enumerate(self.tasks):
            self._describe(task, integers[i], doubles[i])
        self.numbers = runtime.upload(integers)
        self.doubles = runtime.upload(doubles)
        self.orders = Room(runtime, np.int32)
        self.subset = Room(runtime, np.int32)
        self.rates = Room(runtime, np.float64)
        self.losses = Room(runtime, np.float64)
        self.under_way: dict[int, PlanUnderWay] = {}
        self.vacant: set[int] = set()
        # Whether somebody's plan was called off since the last launch.
        self._is_outdated = False
        self._subset_starts: dict[int, int] = {}
        self._subset_rows: list[Any] = []

    def _describe(self, task: FitTask, integers: Any, doubles: Any) -> None:
        """Write down a task in its rows of the tables, which hold zeros."""
        integers[tables.BATCH_SIZE] = task.batch_size
        integers[tables.STEP] = task.optimizer_state.step
        integers[tables.SEED] = task.seed
        integers[tables.FINITE] = 1
        integers[tables.HEALTHY] = 1
        doubles[tables.ALPHA] = task.alpha
        if self.knows_optimizers:
            integers[tables.OPTIMIZER] = optimizer_code(task.optimizer)
            settings = task.optimizer.settings
            doubles[tables.SETTINGS : tables.SETTINGS + len(settings)] = settings
        else:
            integers[tables.OPTIMIZER] = -1

    # Who belongs to it

    def leave(self, i: int) -> None:
        """Let a member go; what it has not done of its plan is not done."""
        self.call_off(i)
        self.vacant.add(i)

    def adopt(self, i: int, task: FitTask) -> None:
        """Give the place of a member that has left to another fit of the same shape."""
        integers = np.zeros(tables.N_INTEGERS, dtype=np.int64)
        doubles = np.zeros(tables.N_DOUBLES)
        self._describe(task, integers, doubles)
        self.numbers.write(integers, i * tables.N_INTEGERS)
        self.doubles.write(doubles, i * tables.N_DOUBLES)
        self._settle(i, task)
        self.tasks[i] = task
        self.vacant.discard(i)

    # What plans ask for

    def begin_plans(self, plans: Mapping[int, EpochPlan]) -> None:
        """Let the next launch begin plans of some members, and go on with those under way."""
        if not plans and not self._is_outdated:
            return
        integers = self._read_numbers()
        doubles = self.doubles.read().reshape(-1, tables.N_DOUBLES)
        losses = self.losses.array.read()
        kept = {
            i: losses[integers[i, tables.LOSSES] :][: 2 * going.plan.orders.shape[0]]
            for i, going in self.under_way.items()
            if i not in plans
        }
        for i, plan in plans.items():
            n_epochs, n_rows = plan.orders.shape
            steps = n_epochs * -(-n_rows // self.tasks[i].batch_size)
            self.under_way[i] = PlanUnderWay(plan, steps)
            integers[i, [tables.EPOCH, tables.START, tables.BATCH_ROWS]] = 0
            integers[i, [tables.N_EPOCHS, tables.N_ROWS]] = n_epochs, n_rows
            doubles[i, tables.LEARNING_RATE] = plan.learning_rate
            doubles[i, [tables.TOTAL, tables.COUNTED]] = 0.0
        idle = [i for i in range(len(self.tasks)) if i not in self.under_way]
        for column in (tables.N_EPOCHS, tables.EPOCH, tables.START, tables.BATCH_ROWS):
            integers[idle, column] = 0
        self._place_plans(integers, kept)
        self.doubles.write(doubles)
        self.numbers.write(integers)
        self._is_outdated = False
        self._begin()

    def _place_plans(self, integers: Any, kept: Mapping[int, Any]) -> None:
        """Send what plans under way consist of; whatever has been sent before may move."""
        drawn = [going.plan.orders for going in self.under_way.values()]
        self._send_subsets([keyed.rows for keyed in drawn if isinstance(keyed, KeyedOrders)])
        orders, rates, losses = Pile(), Pile(), Pile()
        for i, going in self.under_way.items():
            own, plan = integers[i], going.plan
            n_epochs, n_rows = plan.orders.shape
            own[tables.LOSSES] = losses.put(kept[i] if i in kept else np.zeros(2 * n_epochs))
            own[tables.RATES] = -1 if plan.rates is None else rates.put(plan.rates)
            if isinstance(plan.orders, KeyedOrders):
                own[tables.ORDERS] = -1
                own[tables.SUBSET] = self._subset_starts[id(plan.orders.rows)]
                own[tables.KEY] = plan.orders.key
                own[tables.FIRST_EPOCH] = plan.orders.first_epoch
                own[tables.ORDER_BITS] = bits_for(n_rows)
            else:
                own[tables.ORDERS] = orders.put(np.asarray(plan.orders))
        for pile, room in ((orders, self.orders), (rates, self.rates), (losses, self.losses)):
            pile.write_to(room)

    def _send_subsets(self, subsets: Sequence[Any]) -> None:
        """Send the row numbers to draw from, unless the same arrays were sent before."""
        if all(id(rows) in self._subset_starts for rows in subsets):
            return
        distinct = {id(rows): rows for rows in subsets}
        pile = Pile()
        self._subset_starts = {place: pile.put(rows) for place, rows in distinct.items()}
        self._subset_rows = list(distinct.values())  # while they live, their identities are theirs
        pile.write_to(self.subset)

    @property
    def next_steps(self) -> int:
        """How many steps to launch now: until the first plan ends, or about as long as allowed.

        Others should not wait for the longest plan, but launches should not become tiny either.
        """
        left = [going.steps for going in self.under_way.values()]
        worthwhile = max(min(left), FEWEST_STEPS, self.steps_per_call // 10)
        return min(self.steps_per_call, worthwhile, max(left))

    def passed(self, steps: int, seconds: float) -> None:
        """Count what all plans under way have had."""
        for going in self.under_way.values():
            going.steps -= steps
            going.seconds += seconds

    def take_results(self) -> dict[int, tuple[EpochResult, float]]:
        """Return what came of plans that have ended, and how long they were computed."""
        ended = {i: going for i, going in self.under_way.items() if going.steps <= 0}
        if not ended:
            return {}
        integers = self._read_numbers()
        losses = self.losses.array.read()
        results = {}
        for i, going in ended.items():
            own = integers[i]
            is_finite = bool(own[tables.FINITE])
            # The epoch in which a loss was not finite counts, even if it was not the last batch.
            n_epochs = own[tables.EPOCH]
            if not is_finite and own[tables.START] > 0:
                n_epochs += 1
            sums, counts = losses[own[tables.LOSSES] :][: 2 * n_epochs].reshape(-1, 2).T
            means = sums / np.maximum(counts, 1.0)
            result = EpochResult(means.tolist(), is_finite and bool(own[tables.HEALTHY]))
            results[i] = result, going.seconds
            del self.under_way[i]
        return results

    def call_off(self, i: int) -> None:
        """Do no more of a member's plan, if it has one under way."""
        if self.under_way.pop(i, None) is not None:
            self._is_outdated = True

    def _read_numbers(self) -> Any:
        return self.numbers.read().reshape(-1, tables.N_INTEGERS)

    def rooms(self) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
        """Return where steps find their rows and rates."""
        return self.orders.array, self.subset.array, self.rates.array

    # What groups do in their own ways

    @abstractmethod
    def _settle(self, i: int, task: FitTask) -> None:
        """Write a task's parameters and state to a place that had others of the same shape."""

    @abstractmethod
    def _begin(self) -> None:
        """Make ready for the steps of plans that have just been sent."""

    @abstractmethod
    def run_steps(self, n_steps: int) -> None:
        """Launch so many steps of every task, fewer where a plan ends before."""

    @abstractmethod
    def parameters(self, i: int) -> FloatArray:
        """Return a copy of a task's parameters, as users see them."""

    @abstractmethod
    def state_vectors(self, i: int) -> FloatArray:
        """Return a copy of a task's optimizer state, shape (n_states, n_parameters)."""

    def step_of(self, i: int) -> int:
        """Return how many updates a task has had."""
        start = i * tables.N_INTEGERS + tables.STEP
        return int(self.numbers.read(start, 1)[0])
