"""The reference engine: float64 NumPy, one obvious line per equation. The oracle of the tests."""

from collections.abc import Sequence
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
    batch_bounds,
)
from skmlp.network.activations import ACTIVATIONS, softmax
from skmlp.network.optimizers import GROUPS
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import NetworkSpec

EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class ReferenceData:
    """A dense float64 copy of a data set."""

    X: FloatArray
    targets: FloatArray | None
    sample_weight: FloatArray


class ReferenceEngine(Engine):
    """Computes everything in float64 with plain NumPy; slow and obviously right."""

    def load(
        self,
        X: Any,
        targets: FloatArray | None,
        sample_weight: npt.NDArray[np.float64] | None,
        network: NetworkSpec,
        dtype: npt.DTypeLike = "float64",
    ) -> ReferenceData:
        X = X.toarray() if hasattr(X, "toarray") else X
        weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        return ReferenceData(
            np.array(X, dtype=np.float64),
            None if targets is None else np.array(targets, dtype=np.float64),
            np.array(weight, dtype=np.float64),
        )

    def start(self, tasks: Sequence[FitTask]) -> "ReferenceRun":
        return ReferenceRun(self, tasks)

    def loss_and_gradient(
        self,
        network: NetworkSpec,
        data: ReferenceData,
        parameters: FloatArray,
        alpha: float,
        rows: IndexArray | None = None,
    ) -> tuple[float, FloatArray]:
        rows = np.arange(data.X.shape[0]) if rows is None else rows
        assert data.targets is not None
        parameters = np.asarray(parameters, dtype=np.float64)
        layout = layout_of(network)
        coefs, intercepts = layout.views(parameters)
        weight = data.sample_weight[rows]
        layers, raw = forward(network, coefs, intercepts, data.X[rows])

        values, delta = loss_and_delta(network, data.targets[rows], raw, layers[-1])
        penalty = sum(np.sum(coef**2) for coef in coefs)
        loss = (np.sum(weight * values) + 0.5 * alpha * penalty) / np.sum(weight)

        delta = delta * weight[:, np.newaxis]
        gradient = np.empty(layout.size)
        coef_gradients, intercept_gradients = layout.views(gradient)
        for layer in reversed(range(network.n_connections)):
            coef_gradients[layer][...] = layers[layer].T @ delta + alpha * coefs[layer]
            intercept_gradients[layer][...] = delta.sum(axis=0)
            if layer > 0:
                entry = network.layers[layer - 1].entry
                delta = (delta @ coefs[layer].T) * elementwise(entry.derivative)(layers[layer])
        return float(loss), gradient / np.sum(weight)

    def predict(
        self,
        network: NetworkSpec,
        coefs: Sequence[FloatArray],
        intercepts: Sequence[FloatArray],
        data: ReferenceData,
        rows: IndexArray | None = None,
    ) -> FloatArray:
        X = data.X if rows is None else data.X[rows]
        layers, _ = forward(network, coefs, intercepts, X)
        return layers[-1]


class ReferenceRun(Run):
    """Fits carried out one after the other."""

    def __init__(self, engine: ReferenceEngine, tasks: Sequence[FitTask]) -> None:
        self._engine = engine
        self._tasks = list(tasks)
        self._parameters = [np.array(task.parameters, dtype=np.float64) for task in tasks]
        self._vectors = [np.array(task.optimizer_state.vectors, np.float64) for task in tasks]
        self._steps = [task.optimizer_state.step for task in tasks]

    def advance(self, plans: Sequence[EpochPlan | None]) -> list[EpochResult | None]:
        return [None if plan is None else self._advance(i, plan) for i, plan in enumerate(plans)]

    def _advance(self, index: int, plan: EpochPlan) -> EpochResult:
        task, losses = self._tasks[index], []
        plan.check_rates(task.batch_size)
        orders = plan.explicit_orders()
        n_batches = -(-orders.shape[1] // task.batch_size)
        constant = np.full((len(orders), n_batches), plan.learning_rate)
        for order, rates in zip(
            orders, constant if plan.rates is None else plan.rates, strict=True
        ):
            losses.append(self._epoch(index, order, rates))
            if not np.isfinite(losses[-1]):
                break
        finite = bool(np.isfinite(losses).all() and np.isfinite(self._parameters[index]).all())
        return EpochResult(losses, finite)

    def _epoch(self, index: int, order: IndexArray, rates: FloatArray) -> float:
        task = self._tasks[index]
        parameters = self._parameters[index]
        total, counted = 0.0, 0
        bounds = batch_bounds(len(order), task.batch_size)
        for (start, stop), learning_rate in zip(bounds, rates, strict=True):
            rows = order[start:stop]
            if task.data.sample_weight[rows].sum() == 0:
                continue
            loss, gradient = self._engine.loss_and_gradient(
                task.network, task.data, parameters, task.alpha, rows
            )
            total += loss * (stop - start)
            counted += stop - start
            self._steps[index] += 1
            self._update(index, clipped(gradient, task.optimizer.clip_norm), learning_rate)
        return total / max(counted, 1)

    def _update(self, index: int, gradient: FloatArray, learning_rate: float) -> None:
        optimizer, parameters = self._tasks[index].optimizer, self._parameters[index]
        entry, states = optimizer.entry, self._vectors[index].T
        first_intercept = layout_of(self._tasks[index].network).coef_offsets[-1]
        for name, members in (
            ("coefs", range(first_intercept)),
            ("intercepts", range(first_intercept, len(parameters))),
        ):
            group = GROUPS[name]
            rate = learning_rate * group.rate
            constants = entry.constants(optimizer.settings, rate, self._steps[index])
            keep = 1.0 - rate * group.decay * optimizer.weight_decay
            for i in members:
                parameters[i], *states[i] = entry.update(
                    keep * parameters[i], gradient[i], *states[i], constants
                )

    def parameters(self, index: int) -> FloatArray:
        return self._parameters[index].copy()

    def parameters_view(self, index: int) -> FloatArray:
        return self._parameters[index]

    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        return OptimizerState(
            self._tasks[index].optimizer.name,
            self._vectors[index].copy(),
            self._steps[index],
            learning_rate,
        )

    def retire(self, index: int) -> None:
        pass


def clipped(gradient: FloatArray, clip_norm: float | None) -> FloatArray:
    """Return the gradient, its norm no larger than the given one. NaN stays what it is."""
    if clip_norm is None:
        return gradient
    norm = np.linalg.norm(gradient)
    return gradient * (clip_norm / norm) if norm > clip_norm else gradient


def elementwise(formula: Any) -> Any:
    """Apply a scalar formula to every element of its array arguments."""
    return np.vectorize(formula, otypes=[np.float64])


def forward(
    network: NetworkSpec,
    coefs: Sequence[FloatArray],
    intercepts: Sequence[FloatArray],
    X: FloatArray,
) -> tuple[list[FloatArray], FloatArray]:
    """Return the activations of all layers, input and output included, and the raw prediction."""
    layers = [X]
    for layer in range(network.n_connections):
        z = layers[layer] @ coefs[layer] + intercepts[layer]
        if layer < network.n_connections - 1:
            layers.append(elementwise(network.layers[layer].entry.value)(z))
    return [*layers, apply_output_activation(network.head.link, z)], z


def apply_output_activation(name: str, raw: FloatArray) -> FloatArray:
    if name != "softmax":
        return np.asarray(elementwise(ACTIVATIONS[name].value)(raw), dtype=np.float64)
    scores = raw.T.copy()
    softmax(scores, np.empty(len(raw)))
    return scores.T


def loss_and_delta(
    network: NetworkSpec, targets: FloatArray, raw: FloatArray, output: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return each sample's loss and its derivative with respect to the raw prediction."""
    loss = network.head.entry
    if loss.is_categorical:
        targets = np.eye(network.n_outputs)[targets[:, 0].astype(int)]
    values = elementwise(loss.value)(targets, raw, output, EPSILON)
    if loss.is_categorical:
        values = np.where(targets == 1, values, 0.0)
    return values.sum(axis=1), elementwise(loss.gradient)(targets, output)
