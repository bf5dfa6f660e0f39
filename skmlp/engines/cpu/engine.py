"""The CPU engine: fulfils the engine contract with the compiled drivers."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import Engine, FitTask, IndexArray
from skmlp.engines.cpu.layout import Arrays
from skmlp.engines.cpu.prediction import predict
from skmlp.engines.cpu.rows import CpuData, load_rows
from skmlp.engines.cpu.run import CpuRun
from skmlp.engines.cpu.task import INITIAL_FLOPS_PER_SECOND, CpuTask
from skmlp.engines.cpu.threads import effective_threads
from skmlp.engines.pools import IN_WAITING, current_pool, is_worker
from skmlp.network.folding import folded
from skmlp.network.members import mean_of, members_alone, repeated
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec


class CpuEngine(Engine):
    """Trains and predicts in Numba kernels.

    Parameters
    ----------
    n_jobs : int or None
        Number of threads, as in joblib; None means all cores, or one inside a joblib worker.
    """

    counts_stalled_epochs = True
    flops_per_second = INITIAL_FLOPS_PER_SECOND

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

    @property
    def fits_at_once(self) -> int:
        """As many as compute, and those that stand ready to take their places."""
        pool = current_pool()
        others = max(0, pool.busy - is_worker())
        width = min(self._threads, pool.cores // (others + 1))
        return width + 2 * IN_WAITING if width > 1 else 1

    def start(self, tasks: Sequence[FitTask]) -> CpuRun:
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
        rows, alpha = repeated(network, rows), alpha * network.n_members
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
        known = network, data, n_rows
        if self._objective is not None:
            (known_network, known_data, known_rows), task = self._objective
            if known_data is data and (known_network, known_rows) == (network, n_rows):
                return task
        zeros = np.zeros(layout_of(network).size)
        n_rows //= network.n_members
        task = CpuTask(network, data, zeros, 0.0, n_rows, self._threads)
        self._objective = (known, task)
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
        if network.members is not None:
            own = members_alone(Trained(network, coefs, intercepts, extras))
            return mean_of(self.predict(*one[:3], data, rows, one.extras) for one in own)
        network, coefs, intercepts, extras = folded(network, coefs, intercepts, extras)
        arrays = Arrays(coefs, intercepts, extras)
        return predict(network, arrays, data, rows, lambda: current_pool().share(self._threads))
