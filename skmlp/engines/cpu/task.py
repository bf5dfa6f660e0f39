"""One fit on the CPU: what is laid out for all fits alike, and the memory of each."""

import time
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import (
    Averages,
    EpochPlan,
    EpochResult,
    IndexArray,
    OptimizerState,
    slab_rows,
)
from skmlp.engines.cpu import drivers
from skmlp.engines.cpu.crew import call_through
from skmlp.engines.cpu.gate import new_gate
from skmlp.engines.cpu.heads import constants_of_heads, heads_of_fit
from skmlp.engines.cpu.layout import (
    BlockLayout,
    aligned_zeros,
    block_layout,
    network_layout,
    packing_of_layers,
    parts_of_slab,
    pieces_of_zeros,
    places_in_flat,
    set_statistics,
    workspace_sizes,
    zeros_of_panel,
)
from skmlp.engines.cpu.matrix_kernels import list_matrices
from skmlp.engines.cpu.on_demand import passes_of
from skmlp.engines.cpu.products import padded
from skmlp.engines.cpu.registers import TILE_ROWS
from skmlp.engines.cpu.rows import CpuData
from skmlp.engines.cpu.steps import is_charged, numbers_of, step_layout
from skmlp.engines.cpu.tables import (
    GROUP,
    NUMBERS_OF_OPTIMIZER,
    NUMBERS_WEIGHT,
    PASSES,
    Blocks,
    Integers,
    Model,
    Slab,
    Task,
    Workspace,
)
from skmlp.engines.pools import Pool, current_pool
from skmlp.network.constraints import Bounds
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import InputSpec, NetworkSpec, OptimizerSpec

# A call into compiled code should return after about this long, so that Python sees signals.
SECONDS_PER_CALL = 0.05
# A thread that is given fewer floating-point operations per step costs more than it saves.
FLOPS_PER_THREAD = 5e5
# Helpers that sleep are there some 50 us after they are called: so much work is worth a call.
FLOPS_PER_CALL = 2e7
# To embed a column takes about so many for each number that it becomes.
FLOPS_PER_EMBEDDED = 128
# Assumed speed until the first call has been timed; low, so that the first call is short.
INITIAL_FLOPS_PER_SECOND = 2e9
# Dense data sets smaller than this stay in cache from epoch to epoch.
CACHED_BYTES = 2**19

# Where all steps of a plan have the same one.
NO_RATES = np.empty(0)
# Before they have been asked for.
NO_PASSES = np.zeros(PASSES, dtype=np.int64)


def flops_of_inputs(inputs: InputSpec) -> int:
    """Return about how many operations it takes to embed a row of X, and to go back."""
    return FLOPS_PER_EMBEDDED * inputs.width if inputs.embedding else 0


def flat(numbers: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    """Return the numbers of a plan's batches as kernels take them."""
    return NO_RATES if numbers is None else numbers.reshape(-1)


def patience_of(plan: EpochPlan, threads: int) -> npt.NDArray[np.float64]:
    """Return the rows of `Plan.patience`."""
    own = plan.impatience
    if own is None:
        return np.empty((threads, 0))
    row = (own.best, own.tol, own.stalled, own.tolerated, own.at_least)
    return np.tile(np.array(row, dtype=np.float64), (threads, 1))


def gate_of(pool: Pool) -> Integers:
    """Return the gate through which a pool's threads come to the kernels."""
    gate: Integers | None = pool.belongings.get("gate")
    if gate is None:  # of two threads that make one, both get the first
        gate = pool.belongings.setdefault("gate", new_gate(pool.cores))
    return gate


class Shape(NamedTuple):
    """What fits must have in common to be laid out alike.

    Attributes
    ----------
    network : NetworkSpec
    dtype : str
    batch_size : int
    slab_size : int
        Rows of a batch that are worked on at once.
    threads : int
        That pay at most.
    optimizer : OptimizerSpec or None
    gathers, is_sparse, is_bounded : bool
    """

    network: NetworkSpec
    dtype: str
    batch_size: int
    slab_size: int
    threads: int
    optimizer: OptimizerSpec | None
    gathers: bool
    is_sparse: bool
    is_bounded: bool


class TaskLayout:
    """What is laid out for all fits of a shape; kernels write none of it.

    Attributes
    ----------
    shape : Shape
    network : NetworkLayout
    work : WorkspaceSizes
    parts : int
    packing : tuple of int
    step : StepLayout
    blocks : BlockLayout
    is_whole : bool
        Whether there is room for the whole gradient, and not of a block for each thread only.
    passes : ndarray or None
        Addresses of the passes, once they have been asked for.
    """

    def __init__(self, shape: Shape) -> None:
        network, dtype, batch_size, slab_size, threads, optimizer = shape[:6]
        self.shape = shape
        self.network = network_layout(
            network,
            slab_size,
            dtype,
            gathers=shape.gathers,
            backward=True,
            is_sparse=shape.is_sparse,
        )
        self.parts = parts_of_slab(network, slab_size)
        self.packing = packing_of_layers(network, dtype, slab_size, is_sparse=shape.is_sparse)
        self.work = workspace_sizes(
            *(network, self.network, slab_size, threads, dtype), packs=any(self.packing)
        )
        taken: tuple[int, ...] = ()
        if optimizer is not None and optimizer.entry.matrices is not None:
            taken = optimizer.taken_matrices(network)
        self.step = step_layout(network, optimizer, dtype, is_bounded=shape.is_bounded, taken=taken)
        self.blocks = self.shared_among(threads)
        is_passed_on = self.parts > 1 and threads > 1
        is_completed = self.step.fields["complete"] != 0
        is_in_slabs = slab_size < batch_size
        self.is_whole = optimizer is None or is_in_slabs or is_passed_on or is_completed
        self.block_size = padded(self.blocks.largest, dtype)
        self.heads = heads_of_fit(network, dtype)
        self.head_constants = constants_of_heads(network)
        self.places = places_in_flat(network, dtype)
        self.layers = self.network.layers
        if any(self.step.groups.rows):
            self.layers = self.layers.copy()
            self.layers[:-1, GROUP] = self.step.groups.rows
        self.passes: Integers | None = None

    def shared_among(self, threads: int) -> BlockLayout:
        """Return how blocks of parameters are shared out among so many threads."""
        network, dtype = self.shape.network, self.shape.dtype
        return block_layout(network, dtype, self.parts, self.packing, threads)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Elements of parameters, gradient, a state vector each, buffer, scratch and packed."""
        size = self.network.parameters_size
        optimizer, work, threads = self.shape.optimizer, self.work, self.shape.threads
        # A batch of one slab needs the rooms also where larger ones need the whole.
        gradient = max(size * self.is_whole, self.block_size * threads)
        n_states = 0 if optimizer is None else len(optimizer.entry.states)
        per_thread = work.scratch * threads, work.packed * threads
        return size, self.parts * gradient, n_states * size, work.buffer, *per_thread


@lru_cache(maxsize=128)
def layout_for(shape: Shape) -> TaskLayout:
    """Return the layout of all fits of a shape."""
    return TaskLayout(shape)


class CpuTask:
    """One fit on the CPU: parameters, optimizer state, scratch memory and compiled kernels.

    Parameters
    ----------
    network : NetworkSpec
    data : CpuData
    parameters : ndarray of shape (n_parameters,)
    alpha : float
    batch_size : int
    threads : int
        That it may use at most.
    seed : int
    optimizer : OptimizerSpec or None
        There is none where only losses and gradients are asked for.
    state : OptimizerState or None
    bounds : Bounds or None
    pool : Pool or None
        Who shares the cores; None stands for those of this thread.
    """

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
        pool: Pool | None = None,
    ) -> None:
        dtype, alpha = data.dtype, float(alpha * network.n_members)
        if network.inputs.is_disturbed or network.inputs.is_changed:
            data = data.to_disturb()
        self.data = data
        # Rows count as often as there are members.
        self._repeats = network.n_members
        self.batch_size = batch_size * self._repeats
        self.seed = seed
        self.pool = current_pool() if pool is None else pool
        self._optimizer = optimizer
        is_sparse = bool(data.source.is_sparse)
        self.flops_per_row = 6 * network.n_coefs + flops_of_inputs(network.inputs)
        self.slab_size = slab_rows(network, self.batch_size, np.dtype(dtype).itemsize)
        self.threads = self._useful_threads(threads)
        shape = Shape(
            *(network, dtype, self.batch_size, self.slab_size, self.threads, optimizer),
            *(data.gathers, is_sparse, bounds is not None),
        )
        layout = self._layout = layout_for(shape)
        flat = layout_of(network)
        # Where parameters are copied to and from, as users see them.
        self._flat = np.empty(flat.size, dtype=dtype)
        self.layers = layout.places.entered(layout.layers, self._flat)
        # What optimizers do not see lies beside the panels.
        self._trained_size = flat.trained_size
        self._statistics = np.empty(flat.size - flat.trained_size, dtype=dtype)
        set_statistics(self.layers, network, self._statistics)
        pieces = pieces_of_zeros(layout.sizes, dtype)
        self._parameters, self._gradient, self._state, buffer, scratch, packed = pieces
        self.parameters = parameters
        for own, vector in zip(
            self._state_vectors(), () if state is None else state.vectors, strict=True
        ):
            self._pack(vector, own)
        both = () if bounds is None else (bounds.lower, bounds.upper)
        # Padding is between zero and zero.
        panels_of_bounds = aligned_zeros(len(both) * self._parameters.size, dtype)
        size = self._parameters.size
        for place, vector in enumerate(both):
            self._pack(vector, panels_of_bounds[place * size : (place + 1) * size])
        self._numbers = numbers_of(optimizer, state, self.threads)
        self._averages: FloatArray = np.empty(0, dtype=dtype)
        if layout.step.fields["average"]:
            averages = state.averages if state is not None else None
            self._averages = aligned_zeros(self._parameters.size, dtype)
            self._pack(parameters if averages is None else averages.values, self._averages)
        n_blocks = len(layout.blocks.table)
        n_losses = self.slab_size * (1 + (network.inputs.mixup > 0.0))
        charged = n_blocks if is_charged(optimizer) else 0
        row_losses, penalties, charges, squares = pieces_of_zeros(
            (n_losses, n_blocks, charged, n_blocks), "float64"
        )
        blocks = Blocks(
            table=layout.blocks.table,
            sequence=layout.blocks.sequence,
            parts=layout.parts,
            packing=np.array(layout.packing),
            gradient_shares=layout.blocks.gradient_shares,
            shares=layout.blocks.shares,
            row_losses=row_losses,
            penalties=penalties,
            charges=charges,
            squares=squares,
        )
        if optimizer is not None:
            self._charge_frozen(network, parameters, optimizer, blocks)
        work = Workspace(
            buffer=buffer,
            tables=np.empty(layout.work.tables, dtype=np.int64),
            slab_size=self.slab_size,
            scratch=scratch,
            scratch_size=layout.work.scratch,
            packed=packed,
            packed_size=layout.work.packed,
            zeros=zeros_of_panel(dtype),
        )
        model = Model(
            parameters=self._parameters,
            gradient=self._gradient,
            gradient_size=layout.block_size,
            state=self._state,
            steps=np.array([0 if state is None else state.step]),
            heads=layout.heads,
            head_constants=layout.head_constants,
            target_columns=network.target_columns,
            alpha=alpha,
            bounds=panels_of_bounds,
            numbers=self._numbers,
            averages=self._averages,
            matrices=list_matrices(network, optimizer, self.layers, dtype),
            **layout.step.made(alpha, self.threads),
        )
        passes = NO_PASSES if layout.passes is None else layout.passes
        told = Task(self.layers, data.source, model, work, blocks, passes)
        if layout.passes is None:
            layout.passes = passes_of(told, dtype, adds_gradient=layout.is_whole)
            told = told._replace(passes=layout.passes)
        self.told = told
        self._told_to = {self.threads: told}
        self.seconds_per_row = self.flops_per_row / INITIAL_FLOPS_PER_SECOND
        # How many seconds calls have waited at the gate.
        self.waited = 0.0

    def _useful_threads(self, available: int) -> int:
        """Return how many threads pay for steps of this size."""
        paying = int(self.flops_per_row * self.batch_size / FLOPS_PER_THREAD)
        return max(1, min(available, paying, self.slab_size // TILE_ROWS))

    def _charge_frozen(
        self,
        network: NetworkSpec,
        parameters: FloatArray,
        optimizer: OptimizerSpec,
        blocks: Blocks,
    ) -> None:
        """Enter the penalty of what is not trained, once for all steps, as that of the first block.

        That one is not updated then, nor are the others of its layer.
        """
        frozen = layout_of(network).coef_offsets[optimizer.frozen_layers]
        if frozen == 0:
            return
        self._flat[...] = parameters
        coefs = self._flat[:frozen].astype(np.float64)
        if blocks.charges.size:
            charge = np.vectorize(optimizer.penalty_entry.value, otypes=[np.float64])
            blocks.charges[0] = charge(coefs, *optimizer.penalty.constants).sum()
        else:
            blocks.penalties[0] = coefs @ coefs

    def _pack(self, vector: FloatArray, packed: FloatArray) -> None:
        """Copy a flat vector into panels."""
        self._flat[...] = vector
        drivers.exchange(self.layers, packed, drivers.INTO_PANELS)

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
        size = self._layout.parts * self._parameters.size
        parts = self._gradient[:size].reshape(self._layout.parts, -1)
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
            int(self.told.model.steps[0]),
            learning_rate,
            tuple(carried[NUMBERS_OF_OPTIMIZER:used]),
            None if values is None else Averages(values, carried[NUMBERS_WEIGHT]),
        )

    def advance(self, plan: EpochPlan) -> EpochResult:
        """Carry out a plan in calls of about `SECONDS_PER_CALL`."""
        orders = self._repeated(plan.explicit_orders())
        n_epochs, n_rows = orders.shape
        plan.check_rates(self.batch_size // self._repeats)
        assert self._optimizer is not None
        plan.check_momenta(self._optimizer)
        losses = np.zeros((n_epochs, 2))
        patience = patience_of(plan, self.threads)
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
            patience,
            self.data.is_direct and self.data.row_bytes * n_rows > CACHED_BYTES,
            self.seed,
        )
        rows_per_batch = min(self.batch_size, n_rows)
        batch, last = 0, n_epochs * -(-n_rows // self.batch_size)
        ended = drivers.WENT_ON
        while batch < last and ended == drivers.WENT_ON:
            self.pool.check()
            affordable = int(SECONDS_PER_CALL / (self.seconds_per_row * rows_per_batch))
            stop = min(last, batch + max(1, affordable))
            rows, waited, began = (stop - batch) * rows_per_batch, self.waited, time.perf_counter()
            ended = self._call(drivers.run_batches, epochs, batch, stop, n_rows=rows)
            if ended == drivers.WENT_ON:
                seconds = time.perf_counter() - began - (self.waited - waited)
                self.seconds_per_row = max(1e-9, seconds / (stop - batch) / rows_per_batch)
            batch = stop
        return self._result(losses, ended)

    def _repeated(self, orders: IndexArray) -> IndexArray:
        """Return the numbers of rows as all members see them, one after the other."""
        return orders if self._repeats == 1 else np.repeat(orders, self._repeats, axis=1)

    def _result(self, losses: npt.NDArray[np.float64], ended: float) -> EpochResult:
        is_finite = ended != drivers.DIVERGED
        # Of an epoch that was not begun there are no rows; of one without weight neither.
        begun = np.ones(len(losses), dtype=bool) if ended == drivers.WENT_ON else losses[:, 1] > 0
        means = losses[begun, 0] / np.maximum(losses[begun, 1], 1.0)
        for array in (self._parameters, self._statistics):
            is_finite = is_finite and bool(np.isfinite(array).all())
        return EpochResult(means.tolist(), is_finite)

    def add_slab(self, rows: IndexArray, start: int, step: int = 0) -> float:
        """Add one slab of `rows` to the gradient (or begin it); return the slab's loss.

        Where weights are shared, each row stands there as often as there are members.
        """
        self.pool.check()
        n_rows = min(self.slab_size, len(rows) - start)
        slab = Slab(rows, start, n_rows, start, len(rows), self.seed, step, 1.0)
        return self._call(drivers.add_slab, slab, int(start > 0), n_rows=slab.rows)

    def _call(self, driver: Any, *arguments: Any, n_rows: int) -> float:
        """Call a driver on as many threads as pay and as the pool has for this fit now."""
        threads = 1
        if self.threads > 1 and self.flops_per_row * n_rows >= FLOPS_PER_CALL:
            threads = self.pool.share(self.threads)
        told = self._told(threads)
        gate = gate_of(self.pool)  # a forked child has another one
        result, waited = call_through(gate, driver, told, *arguments, threads=threads)
        self.waited += waited
        return result

    def _told(self, threads: int) -> Task:
        """Return what drivers are told on so many threads; on one, they take all shares."""
        if threads == 1:
            return self.told
        if threads not in self._told_to:
            shared = self._layout.shared_among(threads)
            blocks = self.told.blocks._replace(
                sequence=shared.sequence,
                gradient_shares=shared.gradient_shares,
                shares=shared.shares,
            )
            self._told_to[threads] = self.told._replace(blocks=blocks)
        return self._told_to[threads]
