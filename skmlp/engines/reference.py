"""The reference engine: float64 NumPy, one obvious line per equation. The oracle of the tests."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import (
    PER_BATCH,
    Averages,
    Engine,
    EpochPlan,
    EpochResult,
    Finished,
    FitTask,
    IndexArray,
    OptimizerState,
    Run,
    batch_bounds,
)
from skmlp.network.constraints import limit_norms, trained_from
from skmlp.network.embedded import add_gradient, embedded
from skmlp.network.initializers import product
from skmlp.network.masks import mask, word_of_step
from skmlp.network.members import member_rows, repeated, sums_of_members
from skmlp.network.mixing import mixture
from skmlp.network.noise import noise
from skmlp.network.normalization import EPSILON as ADDED_VARIANCE
from skmlp.network.normalization import (
    MOMENTUM,
    LayerNormalization,
    group_bounds,
    unbiased_divisor,
)
from skmlp.network.optimizers import Group
from skmlp.network.orthogonal import orthogonalize
from skmlp.network.parameters import (
    FACTOR,
    INPUTS,
    NEXT_FACTOR,
    SCALE,
    SHIFT,
    FloatArray,
    Piece,
    layout_of,
)
from skmlp.network.parts import Pieces, named_extras
from skmlp.network.penalties import PENALTIES
from skmlp.network.specs import L2, Formula, HeadSpec, NetworkSpec

# Stands where the word that masks are keyed by would.
NO_DROPOUT = -1
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
        seed: int = 0,
        step: int = 0,
    ) -> tuple[float, FloatArray]:
        parameters = np.asarray(parameters, dtype=np.float64)
        return self.evaluate(network, data, parameters, alpha, rows, seed, step)

    def evaluate(
        self,
        network: NetworkSpec,
        data: ReferenceData,
        parameters: FloatArray,
        alpha: float,
        rows: IndexArray | None,
        seed: int,
        step: int,
        *,
        dropout_factor: float = 1.0,
        updates_statistics: bool = False,
        penalty: Formula = L2,
        frozen_layers: int = 0,
    ) -> tuple[float, FloatArray]:
        """Do as `loss_and_gradient`; the running statistics in `parameters` may be updated.

        The shares that are dropped are multiplied by `dropout_factor`, the penalty may be another
        one, and normalization of the first layers that in predictions.
        """
        rows = np.arange(data.X.shape[0]) if rows is None else rows
        rows, alpha = repeated(network, rows), network.n_members * alpha
        assert data.targets is not None
        mask_word = word_of_step(seed, step) if step > 0 else NO_DROPOUT
        layout = layout_of(network)
        coefs, intercepts = layout.views(parameters)
        weight = data.sample_weight[rows]
        share = network.inputs.dropout * dropout_factor
        parts = [(1.0, rows)]
        if network.inputs.mixup > 0.0 and step > 0:
            own, others = mixture(rows, seed, step, network.inputs.mixup)
            parts = [(own, rows), (1.0 - own, others)]
        X = np.sum([part * data.X[whose] for part, whose in parts], axis=0)
        if network.inputs.noise > 0.0 and mask_word != NO_DROPOUT:
            X = X + network.inputs.noise * noise(mask_word, *X.shape)
        X = X * dropped(mask_word, 0, X.shape, share)
        batch = Batch(mask_word, weight, updates_statistics, dropout_factor, frozen_layers)
        extras = named_extras(network, layout.extras_of(parameters))
        columns = embedded(network.inputs, extras, X)
        arriving = scaled(network, extras, columns)
        layers, all_raw = forward(network, coefs, intercepts, extras, arriving, batch)
        raw = own_raw(network, all_raw)
        output = apply_links(network, raw)

        loss, delta = 0.0, np.zeros_like(all_raw)
        for part, whose in parts:
            values, own_delta = loss_and_delta(network, data.targets[whose], raw, output)
            own_delta = given_back(network, own_delta)
            part_of_weight = part * data.sample_weight[whose]
            loss += np.sum(part_of_weight * values)
            delta += own_delta * part_of_weight[:, np.newaxis]
        all_coefs, entry = parameters[: layout.coef_offsets[-1]], PENALTIES[penalty.name]
        charges = elementwise(entry.value)(all_coefs, *penalty.constants)
        loss = (loss + alpha * np.sum(charges)) / np.sum(weight)

        gradient = np.zeros(layout.size)
        coef_gradients, intercept_gradients = layout.views(gradient)
        extra_gradients = named_extras(network, layout.extras_of(gradient))
        for number in reversed(range(network.n_connections)):
            before = layers[number - 1].outputs if number > 0 else arriving
            coef_gradients[number][...] = before.T @ delta
            intercept_gradients[number][...] = delta.sum(axis=0)
            delta = delta @ coefs[number].T
            if number > 0:
                delta = layers[number - 1].backward(delta, extra_gradients)
        add_gradient(network, extras, X, columns, delta, extra_gradients)
        slopes = elementwise(entry.gradient)(all_coefs, *penalty.constants)
        gradient[: len(slopes)] += alpha * slopes
        return float(loss), gradient / np.sum(weight)

    def predict(
        self,
        network: NetworkSpec,
        coefs: Sequence[FloatArray],
        intercepts: Sequence[FloatArray],
        data: ReferenceData,
        rows: IndexArray | None = None,
        extras: FloatArray | None = None,
    ) -> FloatArray:
        X = repeated(network, data.X if rows is None else data.X[rows])
        layout = layout_of(network)
        parameters = layout.pack(coefs, intercepts, np.float64, extras)
        named = named_extras(network, layout.extras_of(parameters))
        values = scaled(network, named, embedded(network.inputs, named, X))
        _, raw = forward(network, *layout.views(parameters), named, values, None)
        outputs = apply_links(network, own_raw(network, raw))
        return outputs.reshape(-1, network.n_members, network.n_outputs).mean(axis=1)


class ReferenceRun(Run):
    """Fits carried out one after the other."""

    def __init__(self, engine: ReferenceEngine, tasks: Sequence[FitTask]) -> None:
        self._engine = engine
        self._submitted: deque[tuple[int, EpochPlan]] = deque()
        self._tasks: list[FitTask] = []
        self._parameters: list[FloatArray] = []
        self._vectors: list[FloatArray] = []
        self._steps: list[int] = []
        self._numbers: list[tuple[float, ...]] = []
        self._averages: list[Averages] = []
        # What is trained, piece by piece, with the factors of its group.
        self._groups: list[list[tuple[Piece, Group]]] = []
        for task in tasks:
            self.add(task)

    def add(self, task: FitTask) -> int:
        parameters, state = np.array(task.parameters, dtype=np.float64), task.optimizer_state
        self._tasks.append(task)
        self._parameters.append(parameters)
        self._vectors.append(np.array(state.vectors, np.float64))
        self._steps.append(state.step)
        self._numbers.append(state.numbers)
        self._averages.append(state.averages or Averages(parameters.copy(), 0.0))
        network, pieces = task.network, layout_of(task.network).trained_pieces()
        groups = [task.optimizer.group(network, piece.role, piece.layer) for piece in pieces]
        self._groups.append(list(zip(pieces, groups, strict=True)))
        return len(self._tasks) - 1

    def submit(self, index: int, plan: EpochPlan) -> None:
        self._submitted.append((index, plan))

    def wait(self) -> list[Finished]:
        index, plan = self._submitted.popleft()
        began = time.perf_counter()
        result = self._advance(index, plan)
        return [Finished(index, result, time.perf_counter() - began)]

    def close(self) -> None:
        self._submitted.clear()

    def _advance(self, index: int, plan: EpochPlan) -> EpochResult:
        task, losses = self._tasks[index], []
        plan.check_rates(task.batch_size)
        plan.check_momenta(task.optimizer)
        orders = plan.explicit_orders()
        place = task.optimizer.entry.momentum_place
        own = {} if place is None else {"momenta": task.optimizer.settings[place]}
        numbers = [plan.of_batches(name, task.batch_size, own.get(name, 1.0)) for name in PER_BATCH]
        for order, *of_epoch in zip(orders, *numbers, strict=True):
            losses.append(self._epoch(index, order, *of_epoch))
            if not np.isfinite(losses[-1]):
                break
        finite = bool(np.isfinite(losses).all() and np.isfinite(self._parameters[index]).all())
        return EpochResult(losses, finite)

    def _epoch(
        self,
        index: int,
        order: IndexArray,
        rates: FloatArray,
        decays: FloatArray,
        dropouts: FloatArray,
        momenta: FloatArray,
    ) -> float:
        task = self._tasks[index]
        parameters = self._parameters[index]
        total, counted = 0.0, 0
        bounds = batch_bounds(len(order), task.batch_size)
        for (start, stop), rate, decay, dropout, momentum in zip(
            bounds, rates, decays, dropouts, momenta, strict=True
        ):
            rows = order[start:stop]
            if task.data.sample_weight[rows].sum() == 0:
                continue
            self._steps[index] += 1
            loss, gradient = self._engine.evaluate(
                task.network,
                task.data,
                parameters,
                task.alpha,
                rows,
                task.seed,
                self._steps[index],
                dropout_factor=dropout,
                updates_statistics=True,
                penalty=task.optimizer.penalty,
                frozen_layers=task.optimizer.frozen_layers,
            )
            total += loss * (stop - start)
            counted += stop - start
            self._update(index, self._restricted(index, gradient), rate, decay, momentum)
            self._project(index)
            self._average(index)
        return total / max(counted, 1)

    def _restricted(self, index: int, gradient: FloatArray) -> FloatArray:
        """Return a gradient without what must not change, and clipped."""
        task = self._tasks[index]
        optimizer = task.optimizer
        gradient = gradient * trained_from(task.network, optimizer.frozen_layers)
        for piece, group in self._groups[index]:
            own = gradient[piece.start : piece.stop]
            own[...] = 0.0 if group.is_frozen else group.gradient * own
        if task.bounds is not None:
            gradient[task.bounds.is_fixed] = 0.0
        if optimizer.clip_value is not None:
            gradient = np.clip(gradient, -optimizer.clip_value, optimizer.clip_value)
        return clipped(gradient, optimizer.clip_norm)

    def _project(self, index: int) -> None:
        """Move the parameters to where they may be."""
        task, parameters = self._tasks[index], self._parameters[index]
        max_norm, frozen = task.optimizer.max_norm, task.optimizer.frozen_layers
        if task.bounds is not None:
            task.bounds.confine(parameters)
        if max_norm is not None:
            limit_norms(layout_of(task.network), parameters, max_norm, frozen)

    def _update(
        self,
        index: int,
        gradient: FloatArray,
        learning_rate: float,
        decay_factor: float,
        momentum: float,
    ) -> None:
        optimizer, parameters = self._tasks[index].optimizer, self._parameters[index]
        entry, step = optimizer.entry, self._steps[index]
        settings = optimizer.with_momentum(momentum)
        states = self._vectors[index].T
        numbers = self._numbers[index] = entry.carry(settings, step, *self._numbers[index])
        taken = optimizer.taken_matrices(self._tasks[index].network)
        for piece, group in self._groups[index]:
            if group.is_frozen or max(piece.layer, 0) < optimizer.frozen_layers:
                continue
            rate = learning_rate * group.rate
            parameters[piece.start : piece.stop] *= (
                1.0 - rate * decay_factor * group.decay * optimizer.weight_decay
            )
            if piece.role == "coefs" and piece.layer in taken:
                self._update_matrix(index, piece.layer, gradient, rate)
                continue
            constants = entry.constants(settings, rate, step, *numbers)
            for i in range(piece.start, piece.stop):
                parameters[i], *states[i] = entry.update(
                    parameters[i], gradient[i], *states[i], constants
                )

    def _update_matrix(
        self, index: int, number: int, gradient: FloatArray, learning_rate: float
    ) -> None:
        optimizer = self._tasks[index].optimizer
        matrices, settings = optimizer.entry.matrices, optimizer.settings
        assert matrices is not None
        layout = layout_of(self._tasks[index].network)
        vectors = self._parameters[index], gradient, self._vectors[index][0]
        weights, own, momentum = (layout.views(vector)[0][number] for vector in vectors)
        constants = matrices.constants(settings)
        direction, momentum[...] = matrices.accumulate(own, momentum, constants)
        orthogonal = orthogonalize(direction, matrices.iterations(settings))
        weights -= learning_rate * matrices.scale(settings, *weights.shape) * orthogonal

    def _average(self, index: int) -> None:
        decay = self._tasks[index].optimizer.ema_decay
        if decay is None:
            return
        before, parameters = self._averages[index], self._parameters[index]
        weight = decay * before.weight + 1.0
        values = before.values + (parameters - before.values) / weight
        untrained = layout_of(self._tasks[index].network).trained_size
        values[untrained:] = parameters[untrained:]
        self._averages[index] = Averages(values, weight)

    def parameters(self, index: int) -> FloatArray:
        return self._parameters[index].copy()

    def parameters_view(self, index: int) -> FloatArray:
        return self._parameters[index]

    def averages(self, index: int) -> FloatArray | None:
        averaging = self._tasks[index].optimizer.ema_decay is not None
        return self._averages[index].values.copy() if averaging else None

    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        values = self.averages(index)
        return OptimizerState(
            self._tasks[index].optimizer.name,
            self._vectors[index].copy(),
            self._steps[index],
            learning_rate,
            self._numbers[index],
            None if values is None else Averages(values, self._averages[index].weight),
        )

    def retire(self, index: int) -> None:
        pass


def clipped(gradient: FloatArray, clip_norm: float | None) -> FloatArray:
    """Return the gradient, its norm no larger than the given one. NaN stays what it is."""
    if clip_norm is None:
        return gradient
    norm = np.linalg.norm(gradient)
    return gradient * (clip_norm / norm) if norm > clip_norm else gradient


def elementwise(formula: Any, n_results: int = 1) -> Any:
    """Apply a scalar formula to every element of its array arguments."""
    return np.vectorize(formula, otypes=[np.float64] * n_results)


def dropped(word: int, layer: int, shape: tuple[int, int], dropout: float) -> FloatArray:
    """Return what the outputs of a layer are multiplied by, ones where nothing is dropped."""
    if word == NO_DROPOUT or dropout == 0.0:
        return np.ones(shape)
    return mask(word, layer, *shape, dropout)


@dataclass(frozen=True)
class Batch:
    """What training rows have besides their numbers.

    Attributes
    ----------
    mask_word : int
        What the masks of dropout are keyed by.
    weight : ndarray of shape (n_rows,)
    updates_statistics : bool
        Whether running statistics take note of them.
    dropout_factor : float
        What the shares that are dropped are multiplied by.
    frozen_layers : int
        Batch normalization of so many layers takes its running statistics, and leaves them.
    """

    mask_word: int
    weight: FloatArray
    updates_statistics: bool
    dropout_factor: float = 1.0
    frozen_layers: int = 0


class BatchNormalization:
    """Each column with mean zero and variance one, group by group (Ioffe & Szegedy 2015).

    `mean` and `variance`, the running statistics, take the place of a group's where it has fewer
    than two rows with weight, and everywhere if there is no batch, as in predictions.
    """

    def __init__(
        self, z: FloatArray, batch: Batch | None, mean: FloatArray, variance: FloatArray
    ) -> None:
        self._weight = np.zeros(len(z)) if batch is None else batch.weight
        self._inverse = np.empty_like(z)
        self.values = np.empty_like(z)
        for start, stop in group_bounds(len(z)):
            centered, spread = z[start:stop] - mean, variance.copy()
            weight = self._weight[start:stop, np.newaxis]
            if np.count_nonzero(weight) > 1:
                total = float(weight.sum())
                origin = z[start + np.flatnonzero(weight)[0]]
                shifted = z[start:stop] - origin
                center = np.sum(weight * shifted, axis=0) / total
                centered = shifted - center
                squares = np.sum(weight * centered**2, axis=0)
                spread = squares / total
                if batch is not None and batch.updates_statistics:
                    unbiased = squares / unbiased_divisor(total, float(np.sum(weight**2)))
                    mean += MOMENTUM * (origin + center - mean)
                    variance += MOMENTUM * (unbiased - variance)
            self._inverse[start:stop] = 1.0 / np.sqrt(spread + ADDED_VARIANCE)
            self.values[start:stop] = centered * self._inverse[start:stop]

    def backward(self, delta: FloatArray) -> FloatArray:
        out = delta.copy()
        for start, stop in group_bounds(len(delta)):
            weight = self._weight[start:stop, np.newaxis]
            if np.count_nonzero(weight) > 1:
                own, values = delta[start:stop], self.values[start:stop]
                common = own.sum(axis=0) + values * np.sum(own * values, axis=0)
                out[start:stop] -= weight / weight.sum() * common
        return self._inverse * out


class HiddenLayer:
    """A hidden layer on its way forward and back.

    Parameters
    ----------
    number : int
        From zero.
    network : NetworkSpec
    z : ndarray of shape (n_rows, product_units)
        The product with the intercepts.
    extras : dict
        The network's, by layer and name.
    batch : Batch or None
        None in predictions.
    """

    def __init__(
        self, number: int, network: NetworkSpec, z: FloatArray, extras: Pieces, batch: Batch | None
    ) -> None:
        self._number, self._network = number, network
        layer = self._layer = network.layers[number]
        self._normalization: LayerNormalization | BatchNormalization | None = None
        if layer.normalization == "layer":
            self._normalization = LayerNormalization(z)
        elif layer.normalization == "batch":
            statistics = extras[number, "mean"], extras[number, "variance"]
            is_frozen = batch is not None and number < batch.frozen_layers
            own = None if is_frozen else batch
            self._normalization = BatchNormalization(z, own, *statistics)
        if self._normalization is not None:
            self._gain = extras[number, "gain"]
            z = self._gain * self._normalization.values + extras[number, "shift"]
        self._z = z
        self._numbers = [extras[number, learned.name] for learned in layer.entry.learned]
        if layer.entry.pieces:
            values = self._pieces().max(axis=1)
        elif layer.entry.takes_whole_rows:
            values = z.copy()
            for row in values:
                layer.entry.value(row)
        else:
            values = self._apply("value", z)
        self._values = values
        word, factor = (
            (NO_DROPOUT, 1.0) if batch is None else (batch.mask_word, batch.dropout_factor)
        )
        self._mask = dropped(word, number + 1, values.shape, layer.dropout * factor)
        self.outputs = values * self._mask

    def _apply(self, name: str, argument: FloatArray) -> FloatArray:
        formula = getattr(self._layer.entry, name)
        return self._apply_formula(formula, argument)

    def _apply_formula(self, formula: Any, argument: FloatArray) -> FloatArray:
        constants = self._layer.activation.constants
        return np.asarray(elementwise(formula)(argument, *constants, *self._numbers))

    def _pieces(self) -> FloatArray:
        """Return the pre-activations, shape (n_rows, pieces, units)."""
        return self._z.reshape(len(self._z), self._layer.pieces, self._layer.units)

    def backward(self, delta: FloatArray, gradients: Pieces) -> FloatArray:
        """Return the derivative by the product; write those by the extras to `gradients`."""
        entry = self._layer.entry
        delta = delta * self._mask
        for learned in entry.learned:
            slopes = self._apply_formula(learned.slope, self._z)
            gradients[self._number, learned.name][...] = np.sum(delta * slopes, axis=0)
        if entry.pieces:
            pieces = self._pieces()
            numbers = np.arange(self._layer.pieces)[:, np.newaxis]
            is_best = pieces.argmax(axis=1)[:, np.newaxis] == numbers
            delta = (is_best * delta[:, np.newaxis]).reshape(self._z.shape)
        elif entry.takes_whole_rows:
            for values, own in zip(self._values, delta, strict=True):
                entry.derivative(values, own)
        else:
            argument = self._z if entry.derivative_takes_input else self._values
            delta = delta * self._apply("derivative", argument)
        if self._normalization is None:
            return delta
        gradients[self._number, "gain"][...] = np.sum(delta * self._normalization.values, axis=0)
        gradients[self._number, "shift"][...] = np.sum(delta, axis=0)
        return self._normalization.backward(self._gain * delta)


class AdaptedLayer(HiddenLayer):
    """A hidden layer of which members have vectors of their own."""

    def __init__(
        self, number: int, network: NetworkSpec, z: FloatArray, extras: Pieces, batch: Batch | None
    ) -> None:
        self._product = z
        factor, shift = (member_rows(network, extras[number, n], len(z)) for n in (FACTOR, SHIFT))
        super().__init__(number, network, factor * z + shift, extras, batch)
        self._factor, self._next = factor, None
        self._dropped = self.outputs
        if (number, NEXT_FACTOR) in extras:
            self._next = member_rows(network, extras[number, NEXT_FACTOR], len(z))
            self.outputs = self._next * self._dropped

    def backward(self, delta: FloatArray, gradients: Pieces) -> FloatArray:
        network, number = self._network, self._number
        if self._next is not None:
            sums = sums_of_members(network, delta * self._dropped)
            gradients[number, NEXT_FACTOR][...] = sums
            delta = delta * self._next
        delta = super().backward(delta, gradients)
        gradients[number, SHIFT][...] = sums_of_members(network, delta)
        gradients[number, FACTOR][...] = sums_of_members(network, delta * self._product)
        return delta * self._factor


def forward(
    network: NetworkSpec,
    coefs: Sequence[FloatArray],
    intercepts: Sequence[FloatArray],
    extras: Pieces,
    values: FloatArray,
    batch: Batch | None,
) -> tuple[list[HiddenLayer], FloatArray]:
    """Return the hidden layers and the raw prediction for what the first layer reads."""
    kind = AdaptedLayer if network.adapts_layers else HiddenLayer
    layers: list[HiddenLayer] = []
    for number in range(len(network.layers)):
        z = values @ coefs[number] + intercepts[number]
        layers.append(kind(number, network, z, extras, batch))
        values = layers[-1].outputs
    return layers, values @ coefs[-1] + intercepts[-1]


def scaled(network: NetworkSpec, extras: Pieces, values: FloatArray) -> FloatArray:
    """Return the numbers that the first layer reads."""
    if not network.inputs.scaled:
        return values
    return values * member_rows(network, extras[INPUTS, SCALE], len(values))


def own_raw(network: NetworkSpec, raw: FloatArray) -> FloatArray:
    """Return of each row's raw predictions those of its member."""
    return np.take_along_axis(raw, own_units(network, len(raw)), axis=1)


def given_back(network: NetworkSpec, delta: FloatArray) -> FloatArray:
    """Return the derivative by all raw predictions, that by those of a row's member being given."""
    whole = np.zeros((len(delta), network.output_units))
    np.put_along_axis(whole, own_units(network, len(delta)), delta, axis=1)
    return whole


def own_units(network: NetworkSpec, n_rows: int) -> npt.NDArray[np.intp]:
    """Return which units of the output layer are those of each row's member."""
    member = np.arange(n_rows) % network.n_members
    return member[:, np.newaxis] * network.n_outputs + np.arange(network.n_outputs)


def values_arriving(
    network: NetworkSpec, parameters: FloatArray, number: int, rows: FloatArray
) -> FloatArray:
    """Return what a layer gets of rows of X from those before it, as in training without dropout.

    Initializers ask, which look at data; the parameters of other layers do not count.
    """
    layout = layout_of(network)
    coefs, intercepts = layout.views(parameters)
    extras = named_extras(network, layout.extras_of(parameters))
    batch = Batch(NO_DROPOUT, np.ones(len(rows)), updates_statistics=False)
    values = scaled(network, extras, embedded(network.inputs, extras, rows))
    for i in range(number):
        z = product(values, coefs[i]) + intercepts[i]
        values = HiddenLayer(i, network, z, extras, batch).outputs
    return values


def units_of_heads(network: NetworkSpec) -> Iterator[tuple[HeadSpec, slice, slice]]:
    """Yield each head with the columns of its outputs and of its targets."""
    unit, column = 0, 0
    for head in network.heads:
        yield head, slice(unit, unit + head.units), slice(column, column + head.target_columns)
        unit += head.units
        column += head.target_columns


def apply_links(network: NetworkSpec, raw: FloatArray) -> FloatArray:
    parts = [apply_link(head, raw[:, units]) for head, units, _ in units_of_heads(network)]
    return np.hstack(parts)


def apply_link(head: HeadSpec, raw: FloatArray) -> FloatArray:
    """Return one head's outputs."""
    link = head.entry.link
    if link.is_categorical:
        scores = raw.T.copy()
        link.value(scores, np.empty(len(raw)))
        return scores.T
    if link.is_cumulative:
        first, *others = blocks_of(head, raw)
        parts = [elementwise(link.value)(first)]
        parts += [elementwise(link.increment)(other) for other in others]
        return np.hstack(list(accumulate(parts)))
    outputs = elementwise(link.value, link.units_per_target)(*blocks_of(head, raw))
    return np.hstack(outputs) if isinstance(outputs, tuple) else outputs


def blocks_of(head: HeadSpec, raw: FloatArray) -> list[FloatArray]:
    """Return the first raw prediction of every target, the second of every target, and so on."""
    return np.split(raw, head.units_per_target, axis=1)


def loss_and_delta(
    network: NetworkSpec, targets: FloatArray, raw: FloatArray, output: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return each sample's loss and its derivative with respect to the raw prediction."""
    losses, deltas = np.zeros(len(raw)), np.empty_like(raw)
    for head, units, columns in units_of_heads(network):
        values, deltas[:, units] = loss_and_delta_of_head(
            head, targets[:, columns], raw[:, units], output[:, units]
        )
        losses += values.sum(axis=1)
    return losses, deltas


def loss_and_delta_of_head(
    head: HeadSpec, targets: FloatArray, raw: FloatArray, output: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the loss of each sample and target, and its derivative."""
    loss, constants = head.entry, head.loss.constants
    if loss.has_any_number:
        return loss_and_delta_of_outputs(head, targets, raw, output)
    if head.units_per_target > 1:
        blocks = blocks_of(head, raw)
        values = elementwise(loss.value)(targets, *blocks, EPSILON, *constants)
        gradient = elementwise(loss.gradient, head.units_per_target)
        return values, np.hstack(gradient(targets, *blocks, *constants))
    if loss.is_categorical:
        targets = np.eye(head.units)[targets[:, 0].astype(int)]
        if loss.takes_raw:
            return loss_and_delta_of_classes(head, targets, raw, output)
    values = elementwise(loss.value)(targets, raw, output, EPSILON, *constants)
    if loss.is_categorical:
        values = np.where(targets == 1, values, 0.0)
    known = (raw, output) if loss.takes_raw else (output,)
    return values, elementwise(loss.gradient)(targets, *known, *constants)


def loss_and_delta_of_classes(
    head: HeadSpec, targets: FloatArray, raw: FloatArray, output: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the losses of all classes of each sample, and the derivative of their sum."""
    loss, constants = head.entry, head.loss.constants
    shifted = raw - raw.max(axis=1, keepdims=True)
    log_output = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    values = elementwise(loss.value)(targets, log_output, output, EPSILON, *constants)
    slopes = elementwise(loss.gradient)(targets, log_output, output, *constants)
    # d log p_k / d z_j = [j = k] - p_j
    return values, slopes - output * slopes.sum(axis=1, keepdims=True)


def loss_and_delta_of_outputs(
    head: HeadSpec, targets: FloatArray, raw: FloatArray, output: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the loss of outputs that are made of each other, and its derivative."""
    loss, link = head.entry, head.entry.link
    raws, outputs = blocks_of(head, raw), blocks_of(head, output)
    pairs = list(zip(outputs, head.loss.constants, strict=True))
    value, gradient = elementwise(loss.value), elementwise(loss.gradient)
    values = sum(value(targets, own, own, EPSILON, constant) for own, constant in pairs)
    by_output = [gradient(targets, own, constant) for own, constant in pairs]
    # A raw prediction moves its own output and all after it.
    deltas = []
    for number, own in enumerate(raws):
        moved = sum(by_output[number:])
        deltas.append(moved if number == 0 else moved * elementwise(link.increment_slope)(own))
    return values, np.hstack(deltas)
