"""Fits that are launched together: their tables on the device, and what all groups do alike."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
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


class FitGroup(ABC):
    """Fits on one data set that advance together.

    Parameters
    ----------
    runtime : Runtime
    tasks : sequence of FitTask

    Attributes
    ----------
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
        self._integers = np.zeros((len(tasks), tables.N_INTEGERS), dtype=np.int64)
        self._doubles = np.zeros((len(tasks), tables.N_DOUBLES))
        for i, task in enumerate(self.tasks):
            self._describe(i, task)
        self.numbers = runtime.upload(self._integers)
        self.doubles = runtime.upload(self._doubles)
        self.orders = Room(runtime, np.int32)
        self.subset = Room(runtime, np.int32)
        self.rates = Room(runtime, np.float64)
        self.losses = Room(runtime, np.float64)
        self._subset_starts: dict[int, int] = {}
        self._subset_rows: list[Any] = []

    def _describe(self, i: int, task: FitTask) -> None:
        integers, doubles = self._integers[i], self._doubles[i]
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

    # What a plan asks for

    def accept(self, plans: Sequence[EpochPlan | None]) -> int:
        """Write down one plan per task; return how many steps the longest one takes."""
        for task, plan in zip(self.tasks, plans, strict=True):
            if plan is not None:
                plan.check_rates(task.batch_size)
        integers = self.numbers.read().reshape(self._integers.shape)
        orders: list[Any] = []
        rates: list[Any] = []
        n_orders = n_rates = n_losses = n_steps = 0
        drawn = [plan.orders for plan in plans if plan is not None]
        self._send_subsets([keyed.rows for keyed in drawn if isinstance(keyed, KeyedOrders)])
        for i, plan in enumerate(plans):
            own = integers[i]
            own[tables.EPOCH] = own[tables.START] = own[tables.BATCH_ROWS] = 0
            own[tables.N_EPOCHS] = 0
            if plan is None:
                continue
            n_epochs, n_rows = plan.orders.shape
            own[tables.N_EPOCHS], own[tables.N_ROWS] = n_epochs, n_rows
            own[tables.LOSSES] = n_losses
            n_losses += 2 * n_epochs
            n_steps = max(n_steps, n_epochs * -(-n_rows // self.tasks[i].batch_size))
            self._doubles[i, tables.LEARNING_RATE] = plan.learning_rate
            own[tables.RATES] = -1
            if plan.rates is not None:
                own[tables.RATES] = n_rates
                rates.append(plan.rates.reshape(-1))
                n_rates += rates[-1].size
            self._doubles[i, [tables.TOTAL, tables.COUNTED]] = 0.0
            if isinstance(plan.orders, KeyedOrders):
                own[tables.ORDERS] = -1
                own[tables.SUBSET] = self._subset_starts[id(plan.orders.rows)]
                own[tables.KEY] = plan.orders.key
                own[tables.FIRST_EPOCH] = plan.orders.first_epoch
                own[tables.ORDER_BITS] = bits_for(n_rows)
            else:
                own[tables.ORDERS] = n_orders
                orders.append(np.asarray(plan.orders).reshape(-1))
                n_orders += orders[-1].size
        if orders:
            self.orders.write(np.concatenate(orders))
        if rates:
            self.rates.write(np.concatenate(rates))
        self.losses.reserve(n_losses)
        self.losses.array.fill_with_zeros()
        self.numbers.write(integers)
        self.doubles.write(self._doubles)
        return n_steps

    def _send_subsets(self, subsets: Sequence[Any]) -> None:
        """Send the row numbers to draw from, unless the same arrays were sent before."""
        if all(id(rows) in self._subset_starts for rows in subsets):
            return
        distinct = list({id(rows): rows for rows in subsets}.values())
        starts = np.cumsum([0, *(len(rows) for rows in distinct)])
        self._subset_starts = {
            id(rows): int(start) for rows, start in zip(distinct, starts[:-1], strict=True)
        }
        self._subset_rows = distinct  # while they live, their identities are theirs
        self.subset.write(np.concatenate(distinct))

    def results(self, plans: Sequence[EpochPlan | None]) -> list[EpochResult | None]:
        """Return what came of the plans."""
        integers = self.numbers.read().reshape(self._integers.shape)
        losses = self.losses.array.read().reshape(-1, 2)
        results: list[EpochResult | None] = []
        for own, plan in zip(integers, plans, strict=True):
            if plan is None:
                results.append(None)
                continue
            first = own[tables.LOSSES] // 2
            is_finite = bool(own[tables.FINITE])
            # The epoch in which a loss was not finite counts, even if it was not the last batch.
            n_epochs = own[tables.EPOCH]
            if not is_finite and own[tables.START] > 0:
                n_epochs += 1
            sums, counts = losses[first : first + n_epochs].T
            means = sums / np.maximum(counts, 1.0)
            results.append(EpochResult(means.tolist(), is_finite and bool(own[tables.HEALTHY])))
        return results

    def rooms(self) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
        """Return where steps find their rows and rates."""
        return self.orders.array, self.subset.array, self.rates.array

    # What groups do in their own ways

    @abstractmethod
    def begin(self) -> None:
        """Make ready for the steps of plans that have just been accepted."""

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
