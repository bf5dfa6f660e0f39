"""What can be measured at the end of an epoch, beside losses and scores.

Each monitor is a function of an `Epoch`; `MONITORS` lists them. One that measures layers returns a
number for each hidden layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import Engine, FitTask, IndexArray
from skmlp.network.evaluation import applied, derivatives
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.parts import Trained, before_activation, named_extras
from skmlp.network.penalties import PENALTIES
from skmlp.network.specs import NetworkSpec

# So many of the rows trained on, evenly spaced, are looked at for what units do.
SAMPLE_ROWS = 500
# A unit is saturated where its derivative is less than this part of the activation's largest one,
# which is looked for between these pre-activations.
SATURATED = 0.01
GRID = np.linspace(-8.0, 8.0, 129)

Numbers = float | list[float]


@dataclass(frozen=True)
class Epoch:
    """An epoch that has just ended.

    Attributes
    ----------
    engine : Engine
    task : FitTask
    rows : ndarray of shape (n_train,)
        The rows trained on.
    weight : ndarray of shape (n_train,) or None
        Their weights.
    before, parameters : ndarray of shape (n_parameters,)
        Parameters before and after it.
    validation_loss : callable or None
        ``validation_loss(parameters)``; None without validation.
    """

    engine: Engine
    task: FitTask
    rows: IndexArray
    weight: npt.NDArray[np.float64] | None
    before: FloatArray
    parameters: FloatArray
    validation_loss: Callable[[FloatArray], float] | None

    @property
    def coefs(self) -> npt.NDArray[np.float64]:
        """All coefficients, one after the other."""
        return self.parameters[: self.task.network.n_coefs].astype(np.float64)

    @property
    def total_weight(self) -> float:
        return float(len(self.rows) if self.weight is None else self.weight.sum())


def validation_loss(epoch: Epoch) -> float:
    return epoch.validation_loss(epoch.parameters) if epoch.validation_loss else float("nan")


def penalty(epoch: Epoch) -> float:
    """Return what the penalty adds to the loss, in batches of mean weight."""
    task, formula = epoch.task, epoch.task.optimizer.penalty
    n_batches = -(-len(epoch.rows) // task.batch_size)
    charges = applied(PENALTIES[formula.name].value, epoch.coefs, formula.constants, [])
    return task.alpha * float(charges.sum()) * n_batches / epoch.total_weight


def gradient_norm(epoch: Epoch) -> float:
    """Return the norm of the gradient of the penalized mean loss over all rows trained on."""
    task, formula = epoch.task, epoch.task.optimizer.penalty
    _, gradient = epoch.engine.loss_and_gradient(
        task.network, task.data, epoch.parameters, 0.0, epoch.rows
    )
    slopes = applied(PENALTIES[formula.name].gradient, epoch.coefs, formula.constants, [])
    gradient[: slopes.size] += task.alpha / epoch.total_weight * slopes
    return float(np.linalg.norm(gradient[: layout_of(task.network).trained_size]))


def update_ratio(epoch: Epoch) -> float:
    """Return the norm of the epoch's change of all parameters over their norm before it."""
    size = layout_of(epoch.task.network).trained_size
    before = epoch.before[:size].astype(np.float64)
    change = float(np.linalg.norm(epoch.parameters[:size] - before))
    norm = float(np.linalg.norm(before))
    if norm == 0.0:
        return float("inf") if change else 0.0
    return change / norm


def dead_units(epoch: Epoch) -> list[float]:
    """Return the share of each layer's units whose derivative is zero in all rows of a sample."""
    return [float((slopes == 0.0).all(axis=0).mean()) for slopes, _ in slopes_of_layers(epoch)]


def saturated_units(epoch: Epoch) -> list[float]:
    """Return which share of each layer's units is saturated, as a mean over a sample of rows."""
    return [
        float((np.abs(slopes) < SATURATED * largest).mean())
        for slopes, largest in slopes_of_layers(epoch)
    ]


@dataclass(frozen=True)
class Monitor:
    """Something that can be measured.

    Attributes
    ----------
    measure : callable
        ``measure(epoch)``: a number, or one for each hidden layer.
    per_layer : bool
        Whether its columns have the number of a layer behind the name.
    """

    measure: Callable[[Epoch], Numbers]
    per_layer: bool = False


MONITORS: dict[str, Monitor] = {
    "validation_loss": Monitor(validation_loss),
    "penalty": Monitor(penalty),
    "gradient_norm": Monitor(gradient_norm),
    "update_ratio": Monitor(update_ratio),
    "dead_units": Monitor(dead_units, per_layer=True),
    "saturated_units": Monitor(saturated_units, per_layer=True),
}


class Probe:
    """Measures some of `MONITORS` after each epoch of one fit.

    Parameters
    ----------
    names : sequence of str
    engine : Engine
    task : FitTask
    rows : ndarray of shape (n_train,)
    weight : ndarray of shape (n_samples,) or None
    validation_loss : callable or None
    """

    def __init__(
        self,
        names: Sequence[str],
        engine: Engine,
        task: FitTask,
        rows: IndexArray,
        weight: npt.NDArray[np.float64] | None,
        validation_loss: Callable[[FloatArray], float] | None,
    ) -> None:
        self._names = names
        # Of averages, where these are what is measured after each epoch.
        averages = task.optimizer_state.averages if task.optimizer.ema_decay is not None else None
        begin = task.parameters if averages is None else averages.values
        self._epoch = Epoch(
            engine,
            task,
            rows,
            None if weight is None else weight[rows],
            begin,
            begin,
            validation_loss,
        )

    def __call__(self, parameters: FloatArray) -> Mapping[str, float]:
        before = self._epoch.parameters
        self._epoch = replace(self._epoch, before=before, parameters=parameters.copy())
        numbers: dict[str, float] = {}
        for name in self._names:
            measured = MONITORS[name].measure(self._epoch)
            if isinstance(measured, list):
                numbers |= {f"{name}_{layer}": value for layer, value in enumerate(measured)}
            else:
                numbers[name] = measured
        return numbers


# What units do


def slopes_of_layers(epoch: Epoch) -> list[tuple[FloatArray, FloatArray]]:
    """Return the derivative of each layer's units, and the largest that each of them can have.

    They are computed as predictions are: nothing is dropped, and batches are normalized by the
    running statistics. Of `maxout` it is that of the chosen piece; units of a softmax, which
    have no derivative of their own, count as if they were the same.
    """
    rows = epoch.rows[:: -(-len(epoch.rows) // SAMPLE_ROWS)]
    slopes: list[tuple[FloatArray, FloatArray]] = []
    for number, layer in enumerate(epoch.task.network.layers):
        if not layer.entry.is_elementwise:
            slopes.append((np.ones((1, layer.units)), np.ones(layer.units)))
            continue
        z = pre_activations(epoch, number, rows).astype(np.float64)
        numbers = learned_numbers(epoch.task.network, epoch.parameters, number)
        with np.errstate(all="ignore"):
            largest = np.abs(derivatives(layer, GRID[:, np.newaxis], numbers)).max(axis=0)
            slopes.append((derivatives(layer, z, numbers), largest))
    return slopes


def learned_numbers(network: NetworkSpec, parameters: FloatArray, layer: int) -> list[FloatArray]:
    """Return what the units of a layer have learned for their activation."""
    pieces = named_extras(network, layout_of(network).extras_of(parameters))
    learned = network.layers[layer].entry.learned
    return [pieces[layer, number.name].astype(np.float64) for number in learned]


def pre_activations(epoch: Epoch, layer: int, rows: IndexArray) -> FloatArray:
    """Return what a layer's activation is given: the outputs of a network that ends before it."""
    network, parameters = epoch.task.network, epoch.parameters
    layout = layout_of(network)
    whole = Trained(network, *layout.views(parameters), layout.extras_of(parameters))
    short, coefs, intercepts, extras = before_activation(whole, layer)
    return epoch.engine.predict(short, coefs, intercepts, epoch.task.data, rows, extras)
