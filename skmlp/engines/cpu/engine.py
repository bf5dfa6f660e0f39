"""The CPU engine: fulfils the engine contract with the compiled drivers."""

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import (
    Averages,
    Engine,
    EpochPlan,
    EpochResult,
    FitTask,
    IndexArray,
    OptimizerState,
    Run,
    slab_rows,
)
from skmlp.engines.cpu import drivers
from skmlp.engines.cpu.crew import call
from skmlp.engines.cpu.formula_kernels import (
    average_kernel,
    carry_kernel,
    completion_kernel,
    constants_kernel,
    update_kernel,
)
from skmlp.engines.cpu.heads import constants_of_heads, heads_of_fit
from skmlp.engines.cpu.layout import (
    Arrays,
    aligned_zeros,
    block_layout,
    make_workspace,
    network_layout,
    packing_of_layers,
    parts_of_slab,
    set_statistics,
    with_addresses,
)
from skmlp.engines.cpu.matrix_kernels import list_matrices
from skmlp.engines.cpu.on_demand import with_passes
from skmlp.engines.cpu.prediction import predict
from skmlp.engines.cpu.products import padded
from skmlp.engines.cpu.projection import projection_kernel
from skmlp.engines.cpu.registers import TILE_ROWS
from skmlp.engines.cpu.rows import CpuData, load_rows
from skmlp.engines.cpu.tables import (
    CONSTANTS_STRIDE,
    GROUP,
    GROUP_FIELDS,
    GROUP_OF_COEFS,
    GROUP_OF_INTERCEPTS,
    GROUP_OF_MATRICES,
    NUMBERS_OF_OPTIMIZER,
    NUMBERS_WEIGHT,
    PASSES,
    ROW_CONSTANTS,
    Blocks,
    Model,
    Slab,
    Task,
)
from skmlp.engines.cpu.threads import effective_threads, share_out
from skmlp.network.constraints import Bounds
from skmlp.network.folding import folded
from skmlp.network.optimizers import GROUPS, OPTIMIZERS
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import L2, NetworkSpec, OptimizerSpec

# A call into compiled code should return after about this long, so that Python sees signals.
SECONDS_PER_CALL = 0.05
# A thread that is given fewer floating-point operations per step costs more than it saves.
FLOPS_PER_THREAD = 5e5
# Helpers that sleep are there some 50 us after they are called: so much work is worth a call.
FLOPS_PER_CALL = 2e7
# Assumed speed until the first call has been timed; low, so that the first call is short.
INITIAL_FLOPS_PER_SECOND = 2e9
# Dense data sets smaller than this stay in cache from epoch to epoch.
CACHED_BYTES = 2**19


# Where all steps of a plan have the same one.
NO_RATES = np.empty(0)


def flat(numbers: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    """Return the numbers of a plan's batches as kernels take them."""
    return NO_RATES if numbers is None else numbers.reshape(-1)


def step_of(
    optimizer: OptimizerSpec | None, alpha: float, dtype: str, threads: int, *, is_bounded: bool
) -> dict[str, Any]:
    """Return those fields of a `Model` that belong to a step; there is none without optimizer.

    `is_bounded` says whether parameters have bounds.
    """
    groups = {
        GROUP_OF_COEFS: GROUPS["coefs"],
        GROUP_OF_INTERCEPTS: GROUPS["intercepts"],
        GROUP_OF_MATRICES: GROUPS["coefs"],
    }
    rates = sorted({group.rate for group in groups.values()})
    table = np.zeros((len(groups), GROUP_FIELDS))
    fields: dict[str, Any] = {"groups": table, "rates": np.array(rates), "momentum": 0}
    fields |= {"prepare": 0, "update": 0, "complete": 0, "project": 0, "first_layer": 0}
    fields |= {"clip_norm": 0.0, "clip_value": np.inf, "max_norm": np.inf}
    fields["penalty_constants"] = np.zeros(1)
    fields |= {"carry": 0, "average": 0, "ema_decay": 0.0}
    row = ROW_CONSTANTS
    settings: tuple[float, ...] = ()
    if optimizer is not None:
        decay = optimizer.weight_decay
        for number, group in groups.items():
            table[number] = alpha * group.alpha, decay * group.decay, rates.index(group.rate)
        settings = optimizer.settings
        fields["momentum"] = optimizer.entry.momentum_place or 0
        fields["prepare"] = constants_kernel(optimizer.name)
        fields["update"] = update_kernel(optimizer.name, dtype, decays=decay > 0.0)
        fields["first_layer"] = optimizer.frozen_layers
        fields["penalty_constants"] = np.array([*optimizer.penalty.constants, 0.0])
        for name in ("clip_norm", "clip_value", "max_norm"):
            if (limit := getattr(optimizer, name)) is not None:
                fields[name] = float(limit)
        is_clipped = optimizer.clip_norm is not None or optimizer.clip_value is not None
        if is_clipped or is_bounded or is_charged(optimizer):
            fields["complete"] = completion_kernel(optimizer.penalty.name, dtype)
        if is_bounded or optimizer.max_norm is not None:
            fields["project"] = projection_kernel(dtype)
        if optimizer.entry.numbers:
            fields["carry"] = carry_kernel(optimizer.name)
        if optimizer.ema_decay is not None:
            fields["average"] = average_kernel(dtype)
            fields["ema_decay"] = float(optimizer.ema_decay)
        row += optimizer.entry.n_constants
    fields["settings"] = np.zeros((threads, padded_row(len(settings))))
    fields["settings"][:, : len(settings)] = settings
    return {**fields, "constants": np.empty((threads, len(rates), padded_row(row)))}


def padded_row(size: int) -> int:
    """Return how far apart rows of this size lie that are those of one thread each."""
    return -(-max(1, size) // CONSTANTS_STRIDE) * CONSTANTS_STRIDE


def is_charged(optimizer: OptimizerSpec | None) -> bool:
    """Whether there is another penalty than L2, which updates know by themselves."""
    return optimizer is not None and optimizer.penalty != L2


def numbers_of(
    optimizer: OptimizerSpec | None, state: OptimizerState | None, threads: int
) -> npt.NDArray[np.float64]:
    """Return a row for each thread of what is carried from step to step; the first one counts."""
    carried = () if state is None else state.numbers
    size = NUMBERS_OF_OPTIMIZER + len(carried)
    rows = np.zeros((threads, -(-size // CONSTANTS_STRIDE) * CONSTANTS_STRIDE))
    is_averaged = optimizer is not None and optimizer.ema_decay is not None
    if state is not None and state.averages is not None and is_averaged:
        rows[0, NUMBERS_WEIGHT] = state.averages.weight
    rows[0, NUMBERS_OF_OPTIMIZER:size] = carried
    return rows


class CpuTask:
    """One fit on the CPU: parameters, optimizer state, scratch memory and compiled kernels."""

    def __init__(
        self,
        network: NetworkSpec,
        data: CpuData,
        parameters: FloatArray,
        alpha: float,
        batch_size: int,
        threads: int,
        seed: int = 0,
        optimizer: OptimizerSpec | None = None,
        state: OptimizerState | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        dtype = data.dtype
        if network.inputs.is_disturbed:
            data = data.to_disturb()
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self._optimizer = optimizer
        self.flops_per_row = 6 * network.n_coefs
        self.slab_size = slab_rows(network, batch_size, np.dtype(dtype).itemsize)
        self.threads = self._useful_threads(threads)
        is_sparse = bool(data.source.is_sparse)
        layout = self._layout = network_layout(
            network,
            self.slab_size,
            dtype,
            gathers=data.gathers,
            backward=True,
            is_sparse=is_sparse,
        )
        # Where parameters are copied to and from, as users see them.
        self._flat = np.empty(layout_of(network).size, dtype=dtype)
        self.layers = with_addresses(layout.layers, network, self._flat)
        # What optimizers do not see lies beside the panels.
        self._trained_size = layout_of(network).trained_size
        self._statistics = np.empty_like(self._flat[self._trained_size :])
        set_statistics(self.layers, network, self._statistics)
        self._parameters = aligned_zeros(layout.parameters_size, dtype)
        self.parameters = parameters
        parts = parts_of_slab(network, self.slab_size)
        packing = packing_of_layers(network, dtype, self.slab_size, is_sparse=is_sparse)
        self.work = make_workspace(
            network, layout, self.slab_size, self.threads, dtype, packs=any(packing)
        )
        blocks = block_layout(network, dtype, parts, packing, self.threads)
        self.blocks = Blocks(
            table=blocks.table,
            sequence=blocks.sequence,
            parts=parts,
            packing=np.array(packing),
            gradient_shares=blocks.gradient_shares,
            shares=blocks.shares,
            row_losses=np.zeros(self.slab_size * (1 + (network.inputs.mixup > 0.0))),
            penalties=np.zeros(len(blocks.table)),
            charges=np.zeros(len(blocks.table) if is_charged(optimizer) else 0),
            squares=np.zeros(len(blocks.table)),
        )
        largest = padded(blocks.largest, dtype)
        is_passed_on = parts > 1 and self.threads > 1
        matrices = list_matrices(network, optimizer, self.layers, dtype)
        step = step_of(optimizer, alpha, dtype, self.threads, is_bounded=bounds is not None)
        if optimizer is not None and matrices.kernel:
            self.layers[list(optimizer.taken_matrices(network)), GROUP] = GROUP_OF_MATRICES
            step["complete"] = completion_kernel(optimizer.penalty.name, dtype)
        is_completed = step["complete"] != 0
        is_whole = optimizer is None or self.slab_size < batch_size or is_passed_on or is_completed
        # A batch of one slab needs the rooms also where larger ones need the whole.
        gradient_size = max(layout.parameters_size * is_whole, largest * self.threads)
        self._gradient = aligned_zeros(parts * gradient_size, dtype)
        vectors = () if state is None else tuple(state.vectors)
        self._state = aligned_zeros(len(vectors) * layout.parameters_size, dtype)
        for own, vector in zip(self._state_vectors(), vectors, strict=True):
            own[...] = self._packed(vector, layout.parameters_size)
        both = () if bounds is None else (bounds.lower, bounds.upper)
        # Padding is between zero and zero.
        packed = [self._packed(vector, layout.parameters_size) for vector in both]
        panels_of_bounds = np.concatenate(packed) if packed else np.empty(0, dtype=dtype)
        if optimizer is not None:
            self._charge_frozen(network, parameters, optimizer)
        self._numbers = numbers_of(optimizer, state, self.threads)
        self._averages: FloatArray = np.empty(0, dtype=dtype)
        if step["average"]:
            averages = state.averages if state is not None else None
            values = parameters if averages is None else averages.values
            self._averages = self._packed(values, layout.parameters_size)
        self.model = Model(
            parameters=self._parameters,
            gradient=self._gradient,
            gradient_size=largest,
            state=self._state,
            steps=np.array([0 if state is None else state.step]),
            heads=heads_of_fit(network, dtype),
            head_constants=constants_of_heads(network),
            target_columns=network.target_columns,
            alpha=float(alpha),
            bounds=panels_of_bounds,
            numbers=self._numbers,
            averages=self._averages,
            matrices=matrices,
            **step,
        )
        nothing = np.zeros(PASSES, dtype=np.int64)
        task = Task(self.layers, data.source, self.model, self.work, self.blocks, nothing)
        self.told = with_passes(task, dtype, adds_gradient=is_whole)
        self.seconds_per_row = self.flops_per_row / INITIAL_FLOPS_PER_SECOND

    def _charge_frozen(
        self, network: NetworkSpec, parameters: FloatArray, optimizer: OptimizerSpec
    ) -> None:
        """Enter the penalty of what is not trained, once for all steps, as that of the first block.

        That one is not updated then, nor are the others of its layer.
        """
        frozen = layout_of(network).coef_offsets[optimizer.frozen_layers]
        if frozen == 0:
            return
        self._flat[...] = parameters
        coefs = self._flat[:frozen].astype(np.float64)
        if self.blocks.charges.size:
            charge = np.vectorize(optimizer.penalty_entry.value, otypes=[np.float64])
            self.blocks.charges[0] = charge(coefs, *optimizer.penalty.constants).sum()
        else:
            self.blocks.penalties[0] = coefs @ coefs

    def _packed(self, vector: FloatArray, size: int) -> FloatArray:
        self._flat[...] = vector
        packed = aligned_zeros(size, self._flat.dtype)
        drivers.exchange(self.layers, packed, drivers.INTO_PANELS)
        return packed

    def _unpacked(self, packed: FloatArray, untrained: FloatArray | float = 0.0) -> FloatArray:
        drivers.exchange(self.layers, packed, drivers.OUT_OF_PANELS)
        self._flat[self._trained_size :] = untrained
        return self._flat.copy()

    def _state_vectors(self) -> FloatArray:
        return self._state.reshape(-1, self._parameters.size)

    @property
    def parameters(self) -> FloatArray:
        """A copy of the parameters as one flat vector."""
        return self._unpacked(self._parameters, self._statistics)

    @parameters.setter
    def parameters(self, parameters: FloatArray) -> None:
        self._flat[...] = parameters
        self._statistics[...] = self._flat[self._trained_size :]
        drivers.exchange(self.layers, self._parameters, drivers.INTO_PANELS)

    @property
    def gradient(self) -> FloatArray:
        """The gradient that `add_slab` has summed up."""
        size = self.blocks.parts * self._parameters.size
        parts = self._gradient[:size].reshape(self.blocks.parts, -1)
        # Whoever asked sees that a gradient is not finite; no warning on the way.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._unpacked(parts.sum(axis=0))

    def state_vectors(self) -> FloatArray:
        """Return a copy of the optimizer's state vectors."""
        vectors = [self._unpacked(vector) for vector in self._state_vectors()]
        return np.array(vectors, dtype=self._flat.dtype).reshape(-1, self._flat.size)

    @property
    def averages(self) -> FloatArray | None:
        """A copy of the averages of the parameters as one flat vector; None without them."""
        if not self._averages.size:
            return None
        return self._unpacked(self._averages, self._statistics)

    def optimizer_state(self, name: str, learning_rate: float) -> OptimizerState:
        """Return a copy of what the optimizer carries from step to step."""
        carried, values = self._numbers[0].tolist(), self.averages
        used = NUMBERS_OF_OPTIMIZER + len(OPTIMIZERS[name].numbers)
        return OptimizerState(
            name,
            self.state_vectors(),
            int(self.model.steps[0]),
            learning_rate,
            tuple(carried[NUMBERS_OF_OPTIMIZER:used]),
            None if values is None else Averages(values, carried[NUMBERS_WEIGHT]),
        )

    def _useful_threads(self, available: int) -> int:
        """Return how many threads pay for steps of this size."""
        paying = int(self.flops_per_row * self.batch_size / FLOPS_PER_THREAD)
        return max(1, min(available, paying, self.slab_size // TILE_ROWS))

    def advance(self, plan: EpochPlan) -> EpochResult:
        """Carry out a plan in calls of about `SECONDS_PER_CALL`."""
        orders = plan.explicit_orders()
        n_epochs, n_rows = orders.shape
        plan.check_rates(self.batch_size)
        assert self._optimizer is not None
        plan.check_momenta(self._optimizer)
        losses = np.zeros((n_epochs, 2))
        epochs = drivers.Plan(
            orders,
            self.batch_size,
            self.slab_size,
            plan.learning_rate,
            flat(plan.rates),
            flat(plan.decays),
            flat(plan.dropouts),
            flat(plan.momenta),
            losses,
            self.data.is_direct and self.data.row_bytes * n_rows > CACHED_BYTES,
            self.seed,
        )
        rows_per_batch = min(self.batch_size, n_rows)
        batch, last = 0, n_epochs * -(-n_rows // self.batch_size)
        is_finite = True
        while batch < last and is_finite:
            began = time.perf_counter()
            affordable = int(SECONDS_PER_CALL / (self.seconds_per_row * rows_per_batch))
            stop = min(last, batch + max(1, affordable))
            rows = (stop - batch) * rows_per_batch
            is_finite = bool(self._call(drivers.run_batches, epochs, batch, stop, n_rows=rows))
            seconds = time.perf_counter() - began
            self.seconds_per_row = max(1e-9, seconds / (stop - batch) / rows_per_batch)
            batch = stop
        return self._result(losses, is_finite)

    def _result(self, losses: npt.NDArray[np.float64], is_finite: bool) -> EpochResult:
        begun = losses[:, 1] > 0 if not is_finite else np.ones(len(losses), dtype=bool)
        means = losses[begun, 0] / np.maximum(losses[begun, 1], 1.0)
        for array in (self._parameters, self._statistics):
            is_finite = is_finite and bool(np.isfinite(array).all())
        return EpochResult(means.tolist(), is_finite)

    def add_slab(self, rows: IndexArray, start: int, step: int = 0) -> float:
        """Add one slab of `rows` to the gradient (or begin it); return the slab's loss."""
        n_rows = min(self.slab_size, len(rows) - start)
        slab = Slab(rows, start, n_rows, start, len(rows), self.seed, step, 1.0)
        return self._call(drivers.add_slab, slab, int(start > 0), n_rows=slab.rows)

    def _call(self, driver: Any, *arguments: Any, n_rows: int) -> float:
        return call(
            driver,
            self.told,
            *arguments,
            threads=self.threads if self.flops_per_row * n_rows >= FLOPS_PER_CALL else 1,
        )


class CpuEngine(Engine):
    """Trains and predicts in Numba kernels.

    Parameters
    ----------
    n_jobs : int or None
        Number of threads, as in joblib; None means all cores, or one inside a joblib worker.
    """

    def __init__(self, n_jobs: int | None = None) -> None:
        self._n_jobs = n_jobs
        # L-BFGS evaluates the same objective over and over: its scratch memory is kept.
        self._objective: tuple[Any, CpuTask] | None = None

    @cached_property
    def _threads(self) -> int:
        return effective_threads(self._n_jobs)

    def load(
        self,
        X: Any,
        targets: FloatArray | None,
        sample_weight: npt.NDArray[np.float64] | None,
        network: NetworkSpec,
        dtype: npt.DTypeLike,
    ) -> CpuData:
        # To ask for the name of a name takes a while beside the prediction of a row.
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
        return load_rows(X, targets, sample_weight, name)

    def start(self, tasks: Sequence[FitTask]) -> "CpuRun":
        return CpuRun(tasks, self._threads)

    def loss_and_gradient(
        self,
        network: NetworkSpec,
        data: CpuData,
        parameters: FloatArray,
        alpha: float,
        rows: IndexArray | None = None,
        seed: int = 0,
        step: int = 0,
    ) -> tuple[float, FloatArray]:
        rows = np.arange(data.n_rows) if rows is None else rows
        task = self._objective_task(network, data, len(rows))
        task.parameters = parameters
        task.seed = seed
        loss = 0.0
        # Python sees signals between slabs, so a long pass can be interrupted.
        for start in range(0, len(rows), task.slab_size):
            loss += task.add_slab(rows, start, step)
        if data.sample_weight is None:
            weight_sum = float(len(rows))
        else:
            weight_sum = float(data.sample_weight[rows].sum())
        n_coefs = network.n_coefs
        penalized = np.asarray(parameters[:n_coefs], dtype=data.dtype).astype(np.float64)
        gradient = task.gradient.astype(np.float64)
        gradient[:n_coefs] += alpha * penalized
        loss = (loss + 0.5 * alpha * float(penalized @ penalized)) / weight_sum
        return loss, gradient / weight_sum

    def _objective_task(self, network: NetworkSpec, data: CpuData, n_rows: int) -> CpuTask:
        """Return scratch memory for one network and data set, the last one if it fits."""
        if self._objective is not None:
            (known_network, known_data, known_rows), task = self._objective
            if known_data is data and (known_network, known_rows) == (network, n_rows):
                return task
        zeros = np.zeros(layout_of(network).size)
        task = CpuTask(network, data, zeros, 0.0, n_rows, self._threads)
        self._objective = ((network, data, n_rows), task)
        return task

    def predict(
        self,
        network: NetworkSpec,
        coefs: Sequence[FloatArray],
        intercepts: Sequence[FloatArray],
        data: CpuData,
        rows: IndexArray | None = None,
        extras: FloatArray | None = None,
    ) -> FloatArray:
        extras = layout_of(network).initial_extras() if extras is None else extras
        network, coefs, intercepts, extras = folded(network, coefs, intercepts, extras)
        arrays = Arrays(coefs, intercepts, extras)
        return predict(network, arrays, data, rows, lambda: self._threads)


class CpuRun(Run):
    """Fits under way on the CPU."""

    def __init__(self, tasks: Sequence[FitTask], threads: int) -> None:
        self._threads = threads
        self._names = [task.optimizer.name for task in tasks]
        self._tasks: list[CpuTask | None] = [
            CpuTask(
                task.network,
                task.data,
                task.parameters,
                task.alpha,
                task.batch_size,
                # Several fits share no work: each one runs alone in its thread.
                threads if len(tasks) == 1 else 1,
                task.seed,
                task.optimizer,
                task.optimizer_state,
                task.bounds,
            )
            for task in tasks
        ]

    def _task(self, index: int) -> CpuTask:
        task = self._tasks[index]
        if task is None:
            raise LookupError(f"Task {index} has been retired.")
        return task

    def advance(self, plans: Sequence[EpochPlan | None]) -> list[EpochResult | None]:
        results: list[EpochResult | None] = [None] * len(plans)
        active = [i for i, plan in enumerate(plans) if plan is not None]

        def advance_one(index: int) -> None:
            plan = plans[index]
            assert plan is not None
            results[index] = self._task(index).advance(plan)

        if len(active) > 1:
            share_out(advance_one, active, self._threads)
        else:
            for index in active:
                advance_one(index)
        return results

    def parameters(self, index: int) -> FloatArray:
        return self._task(index).parameters

    def parameters_view(self, index: int) -> FloatArray:
        return self._task(index).parameters

    def averages(self, index: int) -> FloatArray | None:
        return self._task(index).averages

    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        return self._task(index).optimizer_state(self._names[index], learning_rate)

    def retire(self, index: int) -> None:
        self._tasks[index] = None
