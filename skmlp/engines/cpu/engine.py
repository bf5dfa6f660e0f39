"""The CPU engine: fulfils the engine contract with the compiled drivers."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import (
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
from skmlp.engines.cpu.blas import single_threaded_blas
from skmlp.engines.cpu.formula_kernels import (
    activation_kernel,
    derivative_kernel,
    loss_kernel,
    output_kernel,
    update_kernel,
)
from skmlp.engines.cpu.passes import MAX_CHUNKS, Model, Shape, Slab, Work, block_table
from skmlp.engines.cpu.rows import CpuData, address_of, load_rows
from skmlp.engines.cpu.team import Crew
from skmlp.engines.cpu.threads import effective_threads
from skmlp.network.parameters import FloatArray, ParameterLayout
from skmlp.network.specs import NetworkSpec

# A call into compiled code should return after about this long, so that Python sees signals.
SECONDS_PER_CALL = 0.05
# A thread that is given fewer floating-point operations per step costs more than it saves.
FLOPS_PER_THREAD = 1e6
# Assumed speed until the first call has been timed; low, so that the first call is short.
INITIAL_FLOPS_PER_SECOND = 2e9
PREDICT_SLAB_BYTES = 2**20
# Prediction is shared out among threads in parts of about this much work, or this many rows.
PREDICT_PART_FLOPS = 2e7
PREDICT_PART_ROWS = 32768


@dataclass(frozen=True)
class Workspace:
    """Scratch memory for slabs of one network, and where each layer's part lies in it."""

    buffer: FloatArray
    activations: npt.NDArray[np.int64]
    deltas: npt.NDArray[np.int64]

    @classmethod
    def allocate(
        cls, network: NetworkSpec, rows: int, dtype: str, *, sparse: bool, backward: bool
    ) -> "Workspace":
        """Reserve one part per layer; a sparse input needs none, a forward pass no deltas."""
        units = np.array(network.layer_units, dtype=np.int64)
        sizes = units * rows
        if sparse:
            sizes[0] = 0
        activations = np.concatenate(([0], np.cumsum(sizes)))
        deltas = activations[-1] + np.concatenate(([0], np.cumsum(sizes[1:-1])))
        deltas = np.concatenate(([0], deltas))
        # The output layer's deltas take the place of its raw predictions.
        end = deltas[-1] if backward else activations[-1]
        deltas[len(units) - 1] = activations[len(units) - 1]
        return cls(np.empty(end, dtype=dtype), activations, deltas)


def network_shape(
    network: NetworkSpec,
    dtype: str,
    workspace: Workspace,
    coefs: Sequence[FloatArray],
    intercepts: Sequence[FloatArray],
    *,
    backward: bool,
) -> Shape:
    """Collect the addresses and offsets that the kernels need."""
    hidden = network.hidden_activations
    derivative = [derivative_kernel(name, dtype) for name in hidden] if backward else []

    def integers(values: Sequence[int]) -> npt.NDArray[np.int64]:
        return np.array(values, dtype=np.int64)

    return Shape(
        units=integers(network.layer_units),
        coefs=integers([address_of(coef) for coef in coefs]),
        intercepts=integers([address_of(intercept) for intercept in intercepts]),
        activations=workspace.activations,
        deltas=workspace.deltas,
        activate=integers([activation_kernel(name, dtype) for name in hidden]),
        derivative=integers(derivative),
    )


class CpuTask:
    """One fit on the CPU: parameters, optimizer state, scratch memory and compiled kernels."""

    def __init__(
        self,
        network: NetworkSpec,
        data: CpuData,
        parameters: FloatArray,
        alpha: float,
        batch_size: int,
        optimizer: str | None = None,
        settings: Sequence[float] = (),
        state: OptimizerState | None = None,
    ) -> None:
        dtype = data.dtype
        layout = ParameterLayout(network.layer_units)
        self.data = data
        self._parameters = np.array(parameters, dtype=dtype)
        self._gradient = np.empty(layout.size, dtype=dtype)
        self._coefs, self._intercepts = layout.views(self._parameters)
        self.slab_size = slab_rows(network, batch_size, np.dtype(dtype).itemsize)
        sparse = bool(data.source.is_sparse)
        workspace = Workspace.allocate(network, self.slab_size, dtype, sparse=sparse, backward=True)
        self.shape = network_shape(
            network, dtype, workspace, self._coefs, self._intercepts, backward=True
        )
        blocks = block_table(network)
        self.work = Work(workspace.buffer, np.zeros(MAX_CHUNKS), np.zeros(len(blocks)), blocks)
        self.vectors = np.array([] if state is None else state.vectors, dtype=dtype)
        self.model = Model(
            parameters=self._parameters,
            gradient=self._gradient,
            state=self.vectors.reshape(-1),
            settings=np.array([*settings, 0.0]),
            steps=np.array([0 if state is None else state.step]),
            loss=loss_kernel(network.loss, network.output_activation, dtype),
            update=0 if optimizer is None else update_kernel(optimizer, dtype),
            alpha=float(alpha),
        )
        self.batch_size = batch_size
        self.flops_per_row = 6 * layout.coef_offsets[-1]
        self.seconds_per_row = self.flops_per_row / INITIAL_FLOPS_PER_SECOND

    @property
    def parameters(self) -> FloatArray:
        return self._parameters

    @property
    def gradient(self) -> FloatArray:
        return self._gradient

    def useful_threads(self, available: int) -> int:
        """Return how many threads pay for steps of this size."""
        paying = int(self.flops_per_row * self.batch_size / FLOPS_PER_THREAD)
        return max(1, min(available, paying, MAX_CHUNKS))

    def advance(self, plan: EpochPlan, crew: Crew, threads: int) -> EpochResult:
        """Carry out a plan in calls of about `SECONDS_PER_CALL`."""
        n_epochs, n_rows = plan.orders.shape
        losses = np.zeros((n_epochs, 2))
        epochs = drivers.Plan(
            plan.orders, self.batch_size, self.slab_size, plan.learning_rate, losses
        )
        rows_per_batch = min(self.batch_size, n_rows)
        batch, last = 0, n_epochs * -(-n_rows // self.batch_size)
        is_finite = True
        while batch < last and is_finite:
            began = time.perf_counter()
            affordable = int(SECONDS_PER_CALL / (self.seconds_per_row * rows_per_batch))
            stop = min(last, batch + max(1, affordable))
            is_finite = crew.call(
                drivers.run_batches,
                self.shape,
                self.data.source,
                self.model,
                self.work,
                epochs,
                batch,
                stop,
                threads=threads,
            )
            seconds = time.perf_counter() - began
            self.seconds_per_row = max(1e-9, seconds / (stop - batch) / rows_per_batch)
            batch = stop
        return self._result(losses, is_finite)

    def _result(self, losses: npt.NDArray[np.float64], is_finite: bool) -> EpochResult:
        begun = losses[:, 1] > 0 if not is_finite else np.ones(len(losses), dtype=bool)
        means = losses[begun, 0] / np.maximum(losses[begun, 1], 1.0)
        is_finite = is_finite and bool(np.isfinite(self.parameters).all())
        return EpochResult(means.tolist(), is_finite)

    def add_slab(self, rows: IndexArray, start: int, crew: Crew, threads: int) -> float:
        """Add one slab of `rows` to the gradient (or begin it); return the slab's loss."""
        slab = Slab(rows, start, min(self.slab_size, len(rows) - start))
        loss = crew.call(
            drivers.add_slab,
            self.shape,
            self.data.source,
            self.model,
            self.work,
            slab,
            int(start > 0),
            threads=threads,
        )
        return float(loss)


class CpuEngine(Engine):
    """Trains and predicts in Numba kernels.

    Parameters
    ----------
    n_jobs : int or None
        Number of threads, as in joblib; None means all cores, or one inside a joblib worker.
    """

    def __init__(self, n_jobs: int | None = None) -> None:
        self._threads = effective_threads(n_jobs)
        self._crew = Crew(self._threads)
        # L-BFGS evaluates the same objective over and over: its scratch memory is kept.
        self._objective: tuple[Any, CpuTask] | None = None

    def load(
        self,
        X: Any,
        targets: FloatArray | None,
        sample_weight: npt.NDArray[np.float64] | None,
        network: NetworkSpec,
        dtype: npt.DTypeLike,
    ) -> CpuData:
        return load_rows(X, targets, sample_weight, np.dtype(dtype).name)

    def start(self, tasks: Sequence[FitTask]) -> "CpuRun":
        return CpuRun(tasks, self._crew)

    def loss_and_gradient(
        self,
        network: NetworkSpec,
        data: CpuData,
        parameters: FloatArray,
        alpha: float,
        rows: IndexArray | None = None,
    ) -> tuple[float, FloatArray]:
        rows = np.arange(data.n_rows) if rows is None else rows
        task = self._objective_task(network, data, len(rows))
        task.parameters[...] = parameters
        loss = 0.0
        threads = task.useful_threads(self._threads)
        with single_threaded_blas():
            # Python sees signals between slabs, so a long pass can be interrupted.
            for start in range(0, len(rows), task.slab_size):
                loss += task.add_slab(rows, start, self._crew, threads)
        if data.sample_weight is None:
            weight_sum = float(len(rows))
        else:
            weight_sum = float(data.sample_weight[rows].sum())
        coefs, _ = ParameterLayout(network.layer_units).views(task.parameters)
        n_coefs = sum(coef.size for coef in coefs)
        penalized = task.parameters[:n_coefs].astype(np.float64)
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
        zeros = np.zeros(ParameterLayout(network.layer_units).size)
        task = CpuTask(network, data, zeros, 0.0, n_rows)
        self._objective = ((network, data, n_rows), task)
        return task

    def predict(
        self,
        network: NetworkSpec,
        coefs: Sequence[FloatArray],
        intercepts: Sequence[FloatArray],
        data: CpuData,
        rows: IndexArray | None = None,
    ) -> FloatArray:
        dtype = data.dtype
        coefs = [np.ascontiguousarray(coef, dtype=dtype) for coef in coefs]
        intercepts = [np.ascontiguousarray(intercept, dtype=dtype) for intercept in intercepts]
        n_rows = data.n_rows if rows is None else len(rows)
        out = np.empty((n_rows, network.n_outputs), dtype=dtype)
        row_bytes = np.dtype(dtype).itemsize * sum(network.layer_units)
        slab_size = int(np.clip(PREDICT_SLAB_BYTES // row_bytes, 16, 1024))
        slab_size = max(1, min(slab_size, n_rows))
        output = output_kernel(network.output_activation, dtype)
        row_flops = 2 * ParameterLayout(network.layer_units).coef_offsets[-1]
        part_rows = int(np.clip(PREDICT_PART_FLOPS // row_flops, slab_size, PREDICT_PART_ROWS))

        def predict_part(start: int) -> None:
            stop = min(start + part_rows, n_rows)
            order = np.arange(start, stop) if rows is None else rows[start:stop]
            sparse = bool(data.source.is_sparse)
            workspace = Workspace.allocate(network, slab_size, dtype, sparse=sparse, backward=False)
            shape = network_shape(network, dtype, workspace, coefs, intercepts, backward=False)
            drivers.predict_rows(
                shape,
                data.source,
                output,
                workspace.buffer,
                order,
                0,
                stop - start,
                slab_size,
                out[start:stop].reshape(-1),
            )

        starts = range(0, n_rows, part_rows)
        with single_threaded_blas():
            run_all(predict_part, starts, self._threads)
        return out


class CpuRun(Run):
    """Fits under way on the CPU."""

    def __init__(self, tasks: Sequence[FitTask], crew: Crew) -> None:
        self._crew = crew
        self._names = [task.optimizer.name for task in tasks]
        self._tasks: list[CpuTask | None] = [
            CpuTask(
                task.network,
                task.data,
                task.parameters,
                task.alpha,
                task.batch_size,
                task.optimizer.name,
                task.optimizer.settings,
                task.optimizer_state,
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

        def advance_one(index: int, threads: int = 1) -> None:
            plan = plans[index]
            assert plan is not None
            results[index] = self._task(index).advance(plan, self._crew, threads)

        with single_threaded_blas():
            if len(active) > 1:
                # Several fits share no work: each one runs alone in its thread.
                run_all(advance_one, active, self._crew.threads)
            else:
                for index in active:
                    threads = self._task(index).useful_threads(self._crew.threads)
                    advance_one(index, threads)
        return results

    def parameters(self, index: int) -> FloatArray:
        return self._task(index).parameters.copy()

    def parameters_view(self, index: int) -> FloatArray:
        return self._task(index).parameters

    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        task = self._task(index)
        return OptimizerState(
            self._names[index], task.vectors.copy(), int(task.model.steps[0]), learning_rate
        )

    def retire(self, index: int) -> None:
        self._tasks[index] = None


def run_all(function: Callable[[int], None], items: Sequence[int], threads: int) -> None:
    """Call `function` on every item, in several threads where it pays."""
    threads = min(threads, len(items))
    if threads < 2:
        for item in items:
            function(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, items))
