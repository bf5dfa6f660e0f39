"""The contract every engine fulfils, and the plain records that cross it.

An engine computes; it knows nothing of patience, schedules or scores. It is given a *list* of
independent fits and is called once per epoch or several, never per batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from skmlp.network.constraints import Bounds
from skmlp.network.folding import folded
from skmlp.network.normalization import GROUP_ROWS
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.permutation import permutation
from skmlp.network.specs import NetworkSpec, OptimizerSpec

IndexArray = npt.NDArray[np.intp]

# More fits than anybody asks for.
MANY = 2**31

# Rows of a batch that are held in the workspace at once, at most.
MAX_SLAB_ROWS = 8192
MAX_SLAB_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Averages:
    """The weighted means of what each parameter was after all steps so far.

    Attributes
    ----------
    values : ndarray of shape (n_parameters,)
        What optimizers do not see, as running statistics, is as it is now.
    weight : float
        Sum of the weights of all steps, of which the last one has one.
    """

    values: FloatArray
    weight: float


@dataclass(frozen=True)
class OptimizerState:
    """Everything an optimizer carries from one step to the next, as a copy of its own.

    Attributes
    ----------
    name : str
        The optimizer it belongs to.
    vectors : ndarray of shape (n_states, n_parameters)
        The state vectors, in the registry entry's order.
    step : int
        Number of updates made so far.
    learning_rate : float
        Learning rate that the next epoch will use.
    numbers : tuple of float
        The single numbers that it carries, in the registry entry's order.
    averages : Averages or None
        Where averages of the parameters are asked for. Without them averaging begins anew.
    """

    name: str
    vectors: FloatArray
    step: int
    learning_rate: float
    numbers: tuple[float, ...] = ()
    averages: Averages | None = None


@dataclass(frozen=True)
class FitTask:
    """One fit: what to compute on which rows.

    Attributes
    ----------
    network : NetworkSpec
    optimizer : OptimizerSpec
    data : object
        Handle returned by the engine's `load`.
    parameters : ndarray of shape (n_parameters,)
        Where the fit starts. The engine works on a copy.
    optimizer_state : OptimizerState
        Where the optimizer starts. The engine works on a copy.
    alpha : float
        Strength of the optimizer's penalty, which by default is the L2 penalty.
    batch_size : int
        Rows per minibatch; the last one of an epoch may be shorter. Each row is that of all
        members, where some share weights.
    seed : int
        What the masks of dropout are keyed by, below ``2 ** 32``.
    bounds : Bounds or None
        Within which parameters are after each update; those that the fit starts from are within.
        Gradients of parameters that have one possible value are zero.
    """

    network: NetworkSpec
    optimizer: OptimizerSpec
    data: Any
    parameters: FloatArray
    optimizer_state: OptimizerState
    alpha: float
    batch_size: int
    seed: int = 0
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        # Kernels count in steps of it.
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}.")
        frozen, trained = self.optimizer.frozen_layers, self.network.n_connections
        if frozen >= trained:
            raise ValueError(f"frozen_layers must be below {trained}, got {frozen}.")
        state, entry = self.optimizer_state, self.optimizer.entry
        for name, given, expected in (
            ("vectors", len(state.vectors), len(entry.states)),
            ("numbers", len(state.numbers), len(entry.numbers)),
        ):
            if given != expected:
                raise ValueError(
                    f"{entry.name} carries {expected} {name} from step to step, got {given}."
                )


@dataclass(frozen=True)
class KeyedOrders:
    """Orders of several epochs that an engine draws by itself, by `network.permutation`.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), dtype int64
        Row numbers of X; epoch `e` uses ``rows[permutation(n_rows, key, e)]``.
    key : int
        Below ``2 ** 32``.
    first_epoch : int
    n_epochs : int
    """

    rows: IndexArray
    key: int
    first_epoch: int
    n_epochs: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_epochs, len(self.rows)

    def explicit(self) -> IndexArray:
        """Return the orders themselves, shape (n_epochs, n_rows)."""
        epochs = range(self.first_epoch, self.first_epoch + self.n_epochs)
        return np.array([self.rows[permutation(len(self.rows), self.key, e)] for e in epochs])


@dataclass(frozen=True)
class Impatience:
    """When a plan ends before its last epoch, for want of improvement.

    Attributes
    ----------
    best : float
        The lowest loss so far.
    tol : float
        An epoch whose loss is above ``best - tol`` has not improved it.
    stalled : int
        How many such epochs have just followed each other.
    tolerated : float
        How many may: the plan ends with the next one.
    at_least : int
        Epochs of the plan that are run in any case.
    """

    best: float
    tol: float
    stalled: int
    tolerated: float
    at_least: int = 1


# What an `EpochPlan` may have for each batch.
PER_BATCH = ("rates", "decays", "dropouts", "momenta")


@dataclass(frozen=True)
class EpochPlan:
    """What one task does next.

    Attributes
    ----------
    orders : ndarray of shape (n_epochs, n_rows), dtype intp, or KeyedOrders
        Row numbers of X in the order of their use, for each epoch.
    learning_rate : float
        Learning rate of these epochs.
    rates : ndarray of shape (n_epochs, n_batches) or None
        That of each batch, where it changes from step to step. A batch that is passed over, for
        want of weight, has one too.
    decays, dropouts : ndarray of shape (n_epochs, n_batches) or None
        What the weight decay, and the shares that dropout drops, are multiplied by in each batch;
        by one where they are None. No share may come to one.
    momenta : ndarray of shape (n_epochs, n_batches) or None
        What takes the place of the optimizer's momentum in each batch, where it moves.
    impatience : Impatience or None
        For engines that `counts_stalled_epochs`.
    """

    orders: IndexArray | KeyedOrders
    learning_rate: float
    rates: npt.NDArray[np.float64] | None = None
    decays: npt.NDArray[np.float64] | None = None
    dropouts: npt.NDArray[np.float64] | None = None
    momenta: npt.NDArray[np.float64] | None = None
    impatience: Impatience | None = None

    def __post_init__(self) -> None:
        # Kernels are called by address, with doubles in their place.
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        for name in PER_BATCH:
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.ascontiguousarray(given, dtype=np.float64))

    def check_rates(self, batch_size: int) -> None:
        """Refuse rates, or factors, that are not one per batch.

        Raises
        ------
        ValueError
            If there are any, of another shape.
        """
        n_epochs, n_rows = self.orders.shape
        expected = n_epochs, -(-n_rows // batch_size)
        for name in PER_BATCH:
            given = getattr(self, name)
            if given is not None and given.shape != expected:
                raise ValueError(f"{name} must have shape {expected}, got {given.shape}.")

    def check_momenta(self, optimizer: OptimizerSpec) -> None:
        """Refuse momenta that an optimizer cannot have.

        Raises
        ------
        ValueError
            If there are any, and it has no momentum, or not of this size.
        """
        if self.momenta is None:
            return
        if optimizer.entry.momentum is None:
            raise ValueError(f"{optimizer.name} has no momentum that could move.")
        for momentum in np.unique(self.momenta):
            optimizer.entry.check_settings(optimizer.with_momentum(float(momentum)))

    def of_batches(
        self, name: str, batch_size: int, default: float = 1.0
    ) -> npt.NDArray[np.float64]:
        """Return the numbers of this name, one for each batch, however given.

        Where they are not, there is the learning rate, or else `default`.
        """
        given: npt.NDArray[np.float64] | None = getattr(self, name)
        if given is not None:
            return given
        n_epochs, n_rows = self.orders.shape
        same = self.learning_rate if name == "rates" else default
        return np.full((n_epochs, -(-n_rows // batch_size)), same)

    def last_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch's last batch."""
        return self.learning_rate if self.rates is None else float(self.rates[epoch, -1])

    def explicit_orders(self) -> IndexArray:
        """Return the orders as an array, however they were given."""
        return self.orders.explicit() if isinstance(self.orders, KeyedOrders) else self.orders


@dataclass(frozen=True)
class EpochResult:
    """What came of an `EpochPlan`.

    Attributes
    ----------
    losses : list of float
        Mean training loss (penalty included) of each completed epoch. It ends with the first
        epoch whose loss is not finite, or in which the plan's patience runs out.
    finite : bool
        Whether all losses and the parameters are finite.
    """

    losses: list[float]
    finite: bool


class Finished(NamedTuple):
    """A plan that has been carried out.

    Attributes
    ----------
    task : int
        The task's number.
    result : EpochResult
    seconds : float
        How long it was computed, without what it waited for.
    """

    task: int
    result: EpochResult
    seconds: float


class Run(ABC):
    """Several fits under way on one engine.

    It is closed when it is left (``with engine.start(tasks) as run``).
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def add(self, task: FitTask) -> int:
        """Begin one more fit and return its number, one more than the last one's."""

    @abstractmethod
    def submit(self, index: int, plan: EpochPlan) -> None:
        """Ask for a plan of a task that has none under way."""

    @abstractmethod
    def wait(self) -> list[Finished]:
        """Wait until a plan, or several, of those submitted have been carried out.

        Python regains control about every 50 ms, so that signals are seen. On
        `KeyboardInterrupt` the run is to be closed, and every task's parameters are then those
        after some whole step.
        """

    def rest(self, index: int) -> None:  # noqa: B027 - engines that share nothing need it not
        """Leave to others what a task has of the machine, until its next plan."""

    @abstractmethod
    def close(self) -> None:
        """Let what is being computed come to an end; what has only been submitted is dropped.

        No plan can be submitted afterwards, but parameters can be asked for.
        """

    def advance(self, plans: Sequence[EpochPlan | None]) -> list[EpochResult | None]:
        """Carry out one plan per task, all of them; None leaves a task alone."""
        results: list[EpochResult | None] = [None] * len(plans)
        for index, plan in enumerate(plans):
            if plan is not None:
                self.submit(index, plan)
        left = sum(plan is not None for plan in plans)
        while left:
            for finished in self.wait():
                results[finished.task] = finished.result
                left -= 1
        return results

    @abstractmethod
    def parameters(self, index: int) -> FloatArray:
        """Return a copy of a task's parameters."""

    @abstractmethod
    def parameters_view(self, index: int) -> FloatArray:
        """Return a task's parameters for reading only, valid until its next plan."""

    def averages(self, index: int) -> FloatArray | None:
        """Return a copy of the averages of a task's parameters; None where none are asked for."""
        return None

    @abstractmethod
    def optimizer_state(self, index: int, learning_rate: float) -> OptimizerState:
        """Return a copy of a task's optimizer state."""

    @abstractmethod
    def retire(self, index: int) -> None:
        """Free what a finished task holds. Its parameters can no longer be asked for."""


class Engine(ABC):
    """A place where networks are computed.

    Attributes
    ----------
    draws_orders : bool
        Whether it is better given `KeyedOrders` than arrays of row numbers.
    counts_stalled_epochs : bool
        Whether it ends plans by their `Impatience`.
    flops_per_second : float
        How many it does at least, as far as that is known beforehand; zero if it is not.
    """

    draws_orders: bool = False
    counts_stalled_epochs: bool = False
    flops_per_second: float = 0.0

    @property
    def fits_at_once(self) -> int:
        """How many fits of a run should be under way at the same time."""
        return MANY

    @abstractmethod
    def load(
        self,
        X: Any,
        targets: FloatArray | None,
        sample_weight: npt.NDArray[np.float64] | None,
        network: NetworkSpec,
        dtype: npt.DTypeLike,
    ) -> Any:
        """Make a data set known; rows are gathered from it by number.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features) or CSR
            Kept as it is, never copied whole while dense.
        targets : ndarray of shape (n_samples, n_target_columns) or None
            Class numbers in one column for softmax, else one column per output.
        sample_weight : ndarray of shape (n_samples,) or None
        network : NetworkSpec
            Any network whose inputs and outputs these data fit.
        dtype : {"float32", "float64"}
            Precision of the computation.
        """

    @abstractmethod
    def start(self, tasks: Sequence[FitTask]) -> Run:
        """Begin several independent fits."""

    @abstractmethod
    def loss_and_gradient(
        self,
        network: NetworkSpec,
        data: Any,
        parameters: FloatArray,
        alpha: float,
        rows: IndexArray | None = None,
        seed: int = 0,
        step: int = 0,
    ) -> tuple[float, FloatArray]:
        """Return the penalized mean loss over `rows` (default: all) and its gradient.

        Where units are dropped, or noise is added to inputs, these are those of `seed` and `step`
        (`skmlp.network.masks`); in step zero there are none. Batch normalization takes the
        statistics of these rows and leaves the running ones as they are.
        """

    @abstractmethod
    def predict(
        self,
        network: NetworkSpec,
        coefs: Sequence[FloatArray],
        intercepts: Sequence[FloatArray],
        data: Any,
        rows: IndexArray | None = None,
        extras: FloatArray | None = None,
    ) -> FloatArray:
        """Return the network's outputs, shape (n_rows, n_outputs), in bounded extra memory.

        Of members that share weights they are the mean.

        `extras` is what lies behind the intercepts in the flat vector of parameters; None stands
        for what it starts with.
        """

    def outputs(
        self,
        network: NetworkSpec,
        parameters: FloatArray,
        data: Any,
        rows: IndexArray | None = None,
    ) -> FloatArray:
        """Return what `predict` does, for a flat vector of parameters."""
        layout = layout_of(network)
        extras = layout.extras_of(parameters)
        return self.predict(network, *layout.views(parameters), data, rows, extras)

    def mean_loss(
        self,
        network: NetworkSpec,
        parameters: FloatArray,
        data: Any,
        rows: IndexArray | None = None,
    ) -> float:
        """Return the mean loss without penalty over `rows`, of outputs as `predict` has them.

        Nothing is dropped, and batches are normalized by the running statistics. Of members that
        share weights it is the mean of their losses, not the loss of their mean.
        """
        layout = layout_of(network)
        views, extras = layout.views(parameters), layout.extras_of(parameters)
        plain, coefs, intercepts, extras = folded(network, *views, extras)
        if plain is not network:
            parameters = layout_of(plain).pack(coefs, intercepts, parameters.dtype, extras)
        return self.loss_and_gradient(undisturbed(plain), data, parameters, 0.0, rows)[0]


@lru_cache(maxsize=256)
def undisturbed(network: NetworkSpec) -> NetworkSpec:
    """Return the network as predictions have it, which drop nothing and add no noise."""
    layers = tuple(replace(layer, dropout=0.0) for layer in network.layers)
    return replace(network, inputs=network.inputs.undisturbed, layers=layers)


def slab_rows(network: NetworkSpec, batch_size: int, itemsize: int) -> int:
    """Return how many rows of a batch are worked on at once.

    Where weights are shared, a row counts as often as there are members. Depends on sizes only,
    never on the machine, so that results do not either.
    """
    inputs = network.inputs
    units = inputs.n_features + 2 * sum(network.product_units)
    if inputs.is_changed:  # embedded, then scaled, and the way back
        units += 3 * inputs.width
    if network.adapts_layers:  # kept derivatives, and what is summed up for three vectors
        units += 4 * sum(network.product_units)
    row_bytes = itemsize * units
    affordable = max(256, min(MAX_SLAB_ROWS, MAX_SLAB_BYTES // row_bytes))
    if network.normalizes_batches:
        affordable -= affordable % GROUP_ROWS  # whole groups of rows
    if network.members is not None:  # each row with all members
        affordable = max(1, affordable // network.n_members) * network.n_members
    return min(batch_size, affordable)


def batch_bounds(n_rows: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Yield the first and one past the last position of each minibatch."""
    for start in range(0, n_rows, batch_size):
        yield start, min(start + batch_size, n_rows)
