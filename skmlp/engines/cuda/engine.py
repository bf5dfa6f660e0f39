"""The CUDA engine: fulfils the engine contract with groups of fits on one device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import Engine, FitTask, IndexArray, Run
from skmlp.engines.cuda.data import CudaData, load_data
from skmlp.engines.cuda.evaluation import Objective, Predictor, rows_at_once
from skmlp.engines.cuda.fusion import FusedRun, dispatcher_for
from skmlp.engines.cuda.paths import BY_ESTIMATE, PathPolicy
from skmlp.engines.cuda.run import CudaRun, check_precision
from skmlp.engines.cuda.runtime import runtime
from skmlp.engines.cuda.turns import turn
from skmlp.engines.cuda.vocabulary import check_complete
from skmlp.engines.pools import is_worker
from skmlp.network.folding import folded
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import NetworkSpec


class CudaEngine(Engine):
    """Trains and predicts on a GPU.

    Parameters
    ----------
    precision : {None, "tf32", "bf16"}
        What the factors of matrix products are rounded to.
    policy : PathPolicy
        What is not left to the engine's own choice of paths.
    """

    draws_orders = True

    def __init__(self, precision: str | None = None, policy: PathPolicy = BY_ESTIMATE) -> None:
        self._precision = precision
        self._policy = policy
        # L-BFGS evaluates the same objective over and over: its memory is kept.
        self._objective: tuple[Any, Objective] | None = None
        self._predictor: tuple[Any, Predictor] | None = None

    def load(
        self,
        X: Any,
        targets: FloatArray | None,
        sample_weight: npt.NDArray[np.float64] | None,
        network: NetworkSpec,
        dtype: npt.DTypeLike,
    ) -> CudaData:
        return load_data(runtime, X, targets, sample_weight, np.dtype(dtype).name)

    def start(self, tasks: Sequence[FitTask]) -> Run:
        if is_worker():
            return FusedRun(dispatcher_for(self._precision, self._policy), tasks)
        with turn:
            device = runtime()
            device.activate()
        return CudaRun(device, tasks, self._precision, self._policy)

    def loss_and_gradient(
        self,
        network: NetworkSpec,
        data: CudaData,
        parameters: FloatArray,
        alpha: float,
        rows: IndexArray | None = None,
        seed: int = 0,
        step: int = 0,
    ) -> tuple[float, FloatArray]:
        check_complete(network, None)
        n_rows = data.n_rows if rows is None else len(rows)
        with turn:
            objective = self._objective_for(network, data, n_rows)
            if rows is not None:
                objective.choose_rows(rows)
                self._objective = None  # the next one may be about other rows
            objective.choose_masks(seed, step)
            loss, gradient = objective.evaluate(parameters)
        weight_sum = data.weight_sum(np.arange(n_rows) if rows is None else rows)
        n_coefs = network.n_coefs
        penalized = np.asarray(parameters[:n_coefs], dtype=data.dtype).astype(np.float64)
        gradient = gradient.astype(np.float64)
        gradient[:n_coefs] += alpha * penalized
        loss += 0.5 * alpha * float(penalized @ penalized)
        return loss / weight_sum, gradient / weight_sum

    def _objective_for(self, network: NetworkSpec, data: CudaData, n_rows: int) -> Objective:
        device = runtime()
        device.activate()
        check_precision(self._precision, data.dtype, device)
        if self._objective is not None:
            (known_network, known_data, known_rows), objective = self._objective
            if known_data is data and (known_network, known_rows) == (network, n_rows):
                return objective
        objective = Objective(device, network, data, n_rows, self._precision)
        objective.choose_rows(np.arange(n_rows))
        self._objective = (network, data, n_rows), objective
        return objective

    def predict(
        self,
        network: NetworkSpec,
        coefs: Sequence[FloatArray],
        intercepts: Sequence[FloatArray],
        data: CudaData,
        rows: IndexArray | None = None,
        extras: FloatArray | None = None,
    ) -> FloatArray:
        check_complete(network, None)
        n_rows = data.n_rows if rows is None else len(rows)
        if extras is None:
            extras = layout_of(network).initial_extras()
        network, coefs, intercepts, extras = folded(network, coefs, intercepts, extras)
        parameters = layout_of(network).pack(coefs, intercepts, data.dtype, extras)
        with turn:
            device = runtime()
            device.activate()
            key = (network, data.dtype, data.is_sparse, n_rows)
            if self._predictor is None or self._predictor[0] != key:
                itemsize = np.dtype(data.dtype).itemsize
                at_once = rows_at_once(n_rows, network.n_features, itemsize)
                # A model in double precision is predicted as exactly as it was fitted.
                precision = self._precision if data.dtype == "float32" else None
                self._predictor = key, Predictor(device, network, data, at_once, precision)
            predictor = self._predictor[1]
            predictor.set_parameters(parameters)
            return predictor.predict(data, rows)
