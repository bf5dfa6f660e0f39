"""The CUDA engine: fulfils the engine contract with groups of fits on one device."""

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import (
    Engine,
    EpochPlan,
    Finished,
    FitTask,
    IndexArray,
    OptimizerState,
    Run,
)
from skmlp.engines.clock import TrainingClock
from skmlp.engines.cuda.data import CudaData, load_data
from skmlp.engines.cuda.evaluation import Objective, Predictor, rows_at_once
from skmlp.engines.cuda.groups import FitGroup
from skmlp.engines.cuda.paths import BY_ESTIMATE, PathPolicy, make_groups
from skmlp.engines.cuda.ptx import TENSOR_CAPABILITY
from skmlp.engines.cuda.runtime import Runtime, runtime
from skmlp.engines.cuda.vocabulary import check_complete, check_heeded
from skmlp.network.folding import folded
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import NetworkSpec

# Python should see signals about this often.
SECONDS_PER_CALL = 0.05
# Groups of fits that run side by side.
STREAMS = 8

# Fits from several threads take turns on the device, call by call.
_turn = threading.RLock()


def _begin_anew() -> None:
    """Forget whose turn it was when this process was forked: that thread is not in the child."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


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

    def start(self, tasks: Sequence[FitTask]) -> "CudaRun":
        with _turn:
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
        with _turn:
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
        with _turn:
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


class CudaRun(Run):
    """Fits under way on a GPU."""

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
        self._names: list[str] = []
        self._places: list[tuple[FitGroup, int] | None] = []
        self._members: list[tuple[FitGroup, list[int]]] = []
        # Tasks that have been added since groups were made, from this number on.
        self._ungrouped: list[FitTask] = []
        self._submitted: dict[int, EpochPlan] = {}
        for task in tasks:
            self.add(task)

    def add(self, task: FitTask) -> int:
        check_heeded(task)
        check_complete(task.network, task.optimizer)
        check_precision(self._precision, task.data.dtype, self._device)
        self._ungrouped.append(task)
        self._names.append(task.optimizer.name)
        self._places.append(None)
        return len(self._names) - 1

    def _make_groups(self) -> None:
        """Put those that were added into groups, together where they can be launched together."""
        tasks, self._ungrouped = self._ungrouped, []
        if not tasks:
            return
        first = len(self._names) - len(tasks)
        with _turn:
            self._device.activate()
            for group, own in make_groups(self._device, tasks, self._precision, self._policy):
                members = [first + member for member in own]
                self._members.append((group, members))
                for i, member in enumerate(members):
                    self._places[member] = group, i

    def _place(self, index: int) -> tuple[FitGroup, int]:
        self._make_groups()
        place = self._places[index]
        if place is None:
            raise LookupError(f"Task {index} has been retired.")
        return place

    def submit(self, index: int, plan: EpochPlan) -> None:
        check_heeded(plan)
        self._submitted[index] = plan

    def close(self) -> None:
        self._submitted.clear()

    def wait(self) -> list[Finished]:
        self._make_groups()
        plans, self._submitted = self._submitted, {}
        groups = [
            (group, [plans.get(member) for member in members]) for group, members in self._members
        ]
        groups = [(group, own) for group, own in groups if any(plan is not None for plan in own)]
        with TrainingClock() as clock:
            with _turn:
                self._device.activate()
                left = {group: group.accept(own) for group, own in groups}
                for stream, (group, _) in enumerate(groups):
                    self._device.use_stream(stream % STREAMS)
                    group.begin()
            self._run_all(left)
        finished: list[Finished] = []
        with _turn:
            self._device.activate()
            for group, own in groups:
                members = self._members_of(group)
                for member, result in zip(members, group.results(own), strict=True):
                    if result is not None:
                        finished.append(Finished(member, result, clock.seconds))
        return finished

    def _run_all(self, left: dict[FitGroup, int]) -> None:
        """Run the steps that are left, some at a time, so that Python sees signals between.

        Groups run side by side, each on a stream of its own.
        """
        while any(left.values()):
            taken = {group: min(steps, group.steps_per_call) for group, steps in left.items()}
            with _turn:
                began = time.perf_counter()
                self._device.activate()
                try:
                    for stream, (group, steps) in enumerate(taken.items()):
                        if steps:
                            self._device.use_stream(stream % STREAMS)
                            group.run_steps(steps)
                finally:
                    self._device.synchronize()
            seconds = max(time.perf_counter() - began, 1e-9)
            for group, steps in taken.items():
                left[group] -= steps
                # A call that ended with its plan says only that more steps would take longer.
                if steps and (steps == group.steps_per_call or seconds > SECONDS_PER_CALL):
                    fitting = int(steps * SECONDS_PER_CALL / seconds)
                    group.steps_per_call = max(1, min(8 * steps, fitting))

    def _members_of(self, group: FitGroup) -> list[int]:
        return next(members for other, members in self._members if other is group)

    def parameters(self, index: int) -> FloatArray:
        group, i = self._place(index)
        with _turn:
            self._device.activate()
            return group.parameters(i)

    def parameters_view(self, index: int) -> FloatArray:
        return self.parameters(index)

    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        group, i = self._place(index)
        with _turn:
            self._device.activate()
            vectors, step = group.state_vectors(i), group.step_of(i)
        return OptimizerState(self._names[index], vectors, step, learning_rate)

    def retire(self, index: int) -> None:
        group, _ = self._place(index)
        self._places[index] = None
        # A group's memory is one piece: it is freed with its last task.
        if all(place is None or place[0] is not group for place in self._places):
            self._members = [(other, m) for other, m in self._members if other is not group]
