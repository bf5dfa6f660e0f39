"""The batched path: layer after layer, for all models of a group at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from skmlp.engines.base import FitTask, slab_rows
from skmlp.engines.cuda.data import CudaData
from skmlp.engines.cuda.device import BLOCK_THREADS, SMALL_BLOCKS
from skmlp.engines.cuda.groups import FitGroup
from skmlp.engines.cuda.kernels import batch_kernel, deep_tile, layer_kernel, step_kernel, tiles
from skmlp.engines.cuda.layout import PaddedLayout, padded
from skmlp.engines.cuda.runtime import DeviceArray, Runtime
from skmlp.engines.cuda.tables import Group, Layer, Slab
from skmlp.engines.cuda.tiles import Tile
from skmlp.engines.cuda.vocabulary import IDENTITY, hidden_codes, link_code, loss_code
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import NetworkSpec

# Blocks that share the parameters of one model in an update.
UPDATE_BLOCKS = 2 if SMALL_BLOCKS else 1024
# Graphs of so many steps are replayed; a step past the end of all plans does nothing.
STEPS_PER_GRAPH = 8
# Of one group: a grid has no more blocks in its third dimension.
MOST_MODELS = 65535
# With so many large tiles for each multiprocessor they are the better choice.
LARGE_TILES_PER_MULTIPROCESSOR = 1
# With so few small ones there is room for the threads of slices.
FEW_TILES_PER_MULTIPROCESSOR = 2


@dataclass(frozen=True)
class Passes:
    """The layers of a network in a workspace.

    Attributes
    ----------
    layers : tuple of Layer
    size : int
        Elements of one model's workspace.
    """

    layers: tuple[Layer, ...]
    size: int


def describe_passes(network: NetworkSpec, rows: int, *, is_sparse: bool) -> Passes:
    """Give every layer its place in a workspace of so many rows."""
    layout = PaddedLayout(layout_of(network))
    units = network.layer_units
    last = len(units) - 1
    size = 0

    def place(columns: int) -> int:
        nonlocal size
        start = size
        size += rows * padded(columns)
        return start

    # Dense rows of X are read where they lie, and the deltas of the outputs take their place.
    activations = [place(units[i]) if i > 0 or is_sparse else 0 for i in range(len(units))]
    deltas = [place(units[i]) if 0 < i < last else 0 for i in range(len(units))]
    deltas[last] = activations[last]
    codes = [IDENTITY, *hidden_codes(network), IDENTITY]
    layers = tuple(
        Layer(
            fan_in=fan_in,
            fan_out=fan_out,
            inputs=activations[i],
            outputs=activations[i + 1],
            output_deltas=deltas[i + 1],
            input_deltas=deltas[i],
            coefs=layout.coef_offsets[i],
            intercepts=layout.intercept_offsets[i],
            activation=codes[i + 1],
            input_activation=codes[i],
            from_source=int(i == 0 and not is_sparse),
        )
        for i, (fan_in, fan_out) in enumerate(pairwise(units))
    )
    return Passes(layers, size)


class Pass(ABC):
    """The memory of one pass over a batch, for models of the same shape, and its products.

    Parameters
    ----------
    runtime : Runtime
    network : NetworkSpec
    data : CudaData
    n_models, batch_size : int
    numbers : DeviceArray
        The table of integers.
    precision : {None, "tf32", "bf16"}
        What the factors of products are rounded to.
    layers : tuple of Layer
    workspace : int
        Elements of one model's workspace, which has room for `slab_size` rows.
    slab_size : int
    group : Group
    """

    def __init__(
        self,
        runtime: Runtime,
        network: NetworkSpec,
        data: CudaData,
        n_models: int,
        batch_size: int,
        numbers: DeviceArray,
        precision: str | None,
        slab_size: int,
        layers: tuple[Layer, ...],
        group: Group,
    ) -> None:
        self.runtime, self.data, self.n_models = runtime, data, n_models
        self.numbers, self.precision, self.dtype = numbers, precision, data.dtype
        self.batch_size, self.slab_size = batch_size, slab_size
        self.layout = PaddedLayout(layout_of(network))
        self.layers, self.group = layers, group
        self.parameters = runtime.allocate(n_models * self.layout.size, self.dtype)
        self.work = runtime.allocate(n_models * group.workspace, self.dtype)
        self.row_numbers = runtime.allocate(n_models * batch_size, np.int32)

    @property
    def slabs(self) -> list[Slab]:
        starts = range(0, self.batch_size, self.slab_size)
        return [Slab(start, min(self.slab_size, self.batch_size - start)) for start in starts]

    @abstractmethod
    def forward(self, slab: Slab, source: DeviceArray) -> None:
        """Compute the raw predictions of a slab from rows of `source`."""

    @abstractmethod
    def outputs(self, slab: Slab) -> None:
        """Turn raw predictions into outputs."""

    @abstractmethod
    def backward(self, slab: Slab, row_losses: DeviceArray, gradient: DeviceArray) -> None:
        """Compute a slab's losses, and begin the gradient or add to it."""

    def scatter(self, slab: Slab, source: DeviceArray) -> None:
        """Spread the rows of CSR X out in the workspace."""
        matrix = self.data.matrix
        self.runtime.launch(
            batch_kernel("scatter", self.dtype),
            (slab.rows, 1, self.n_models),
            *(self.numbers, source, matrix.indices, matrix.indptr),
            *(self.row_numbers, self.work, self.layers[0], self.group, slab),
        )

    def multiply_forward(self, layer: Layer, slab: Slab, source: DeviceArray) -> None:
        self._launch_product(
            "forward",
            slab.rows,
            layer.fan_in,
            layer.fan_out,
            *(self.numbers, source, self.row_numbers, self.parameters, self.work),
            *(layer, self.group, slab),
        )

    def multiply_backward(self, layer: Layer, slab: Slab) -> None:
        self._launch_product(
            "backward",
            slab.rows,
            layer.fan_out,
            layer.fan_in,
            *(self.numbers, self.parameters, self.work, layer, self.group, slab),
        )

    def multiply_gradient(self, layer: Layer, slab: Slab, gradient: DeviceArray) -> None:
        self._launch_product(
            "gradient",
            padded(layer.fan_in),
            slab.rows,
            layer.fan_out,
            *(self.numbers, self.data.matrix.values, self.row_numbers, gradient, self.work),
            *(layer, self.group, slab),
        )

    def _launch_product(
        self, role: str, rows: int, depth: int, columns: int, *arguments: Any
    ) -> None:
        tile = self._tile(rows, depth, columns)
        grid = (-(-rows // tile.rows), -(-padded(columns) // tile.columns), self.n_models)
        self.runtime.launch(layer_kernel(role, self.dtype, tile, self.precision), grid, *arguments)

    def _tile(self, rows: int, depth: int, columns: int) -> Tile:
        small, large = tiles(self.dtype, self.precision)
        deep = deep_tile(self.precision)
        multiprocessors = self.runtime.multiprocessors

        def count(tile: Tile) -> int:
            return -(-rows // tile.rows) * -(-columns // tile.columns) * self.n_models

        if count(large) >= LARGE_TILES_PER_MULTIPROCESSOR * multiprocessors:
            return large if min(rows, columns) > small.columns else small
        few = count(small) <= FEW_TILES_PER_MULTIPROCESSOR * multiprocessors
        return deep if deep and few and depth > deep.depth else small

    def row_grid(self, slab: Slab) -> tuple[int, int, int]:
        """Return the grid of a kernel with a thread per row."""
        return -(-slab.rows // BLOCK_THREADS), 1, self.n_models


def describe_group(
    network: NetworkSpec, data: CudaData, batch_size: int, n_states: int, workspace: int
) -> Group:
    """Return what all models of a group have in common, formulas not included."""
    layout = PaddedLayout(layout_of(network))
    return Group(
        parameters=layout.size,
        state=n_states * layout.size,
        workspace=workspace,
        rows=batch_size,
        n_coefs=layout.n_coefs,
        n_states=n_states,
        source_columns=padded(network.n_features),
        loss=0,
        target_columns=1 if data.targets is None else data.target_columns,
        output_activation=IDENTITY,
        weighted=int(data.sample_weight is not None),
        penalties=min(UPDATE_BLOCKS, -(-layout.size // BLOCK_THREADS)),
    )


class Batch(Pass):
    """A pass of plain networks: activations are a part of the products.

    Parameters
    ----------
    runtime : Runtime
    network : NetworkSpec
    data : CudaData
    n_models, batch_size : int
    n_states : int
        State vectors of the optimizer.
    numbers : DeviceArray
        The table of integers.
    precision : {None, "tf32", "bf16"}
        What the factors of products are rounded to.
    """

    def __init__(
        self,
        runtime: Runtime,
        network: NetworkSpec,
        data: CudaData,
        n_models: int,
        batch_size: int,
        n_states: int,
        numbers: DeviceArray,
        precision: str | None,
    ) -> None:
        slab_size = slab_rows(network, batch_size, np.dtype(data.dtype).itemsize)
        passes = describe_passes(network, slab_size, is_sparse=data.is_sparse)
        group = describe_group(network, data, batch_size, n_states, passes.size)
        group = group._replace(loss=loss_code(network), output_activation=link_code(network))
        super().__init__(
            *(runtime, network, data, n_models, batch_size, numbers, precision),
            *(slab_size, passes.layers, group),
        )

    def forward(self, slab: Slab, source: DeviceArray) -> None:
        if self.data.is_sparse:
            self.scatter(slab, source)
        for layer in self.layers:
            self.multiply_forward(layer, slab, source)

    def outputs(self, slab: Slab) -> None:
        self.runtime.launch(
            batch_kernel("output", self.dtype),
            self.row_grid(slab),
            *(self.numbers, self.work, self.layers[-1], self.group, slab),
        )

    def backward(self, slab: Slab, row_losses: DeviceArray, gradient: DeviceArray) -> None:
        data = self.data
        self.runtime.launch(
            batch_kernel("loss", self.dtype),
            self.row_grid(slab),
            *(self.numbers, data.device_targets, data.device_weights, self.row_numbers),
            *(row_losses, self.work, self.layers[-1], self.group, slab),
        )
        for layer in reversed(self.layers[1:]):
            self.multiply_backward(layer, slab)
        for layer in self.layers:
            self.multiply_gradient(layer, slab, gradient)


class LaunchedGroup(FitGroup):
    """Fits of the same network that share every launch, a step being many of them."""

    def __init__(
        self, runtime: Runtime, tasks: Sequence[FitTask], precision: str | None = None
    ) -> None:
        super().__init__(runtime, tasks)
        n_models, n_states = len(self.tasks), len(self.tasks[0].optimizer.entry.states)
        batch_size = max(task.batch_size for task in self.tasks)
        self.batch = self._make_pass(batch_size, n_states, precision)
        self.layout = self.batch.layout
        # Of what is not trained nobody writes one.
        self.gradient = runtime.zeros(n_models * self.layout.size, self.dtype)
        self.state = runtime.allocate(n_models * n_states * self.layout.size, self.dtype)
        self.row_losses = runtime.allocate(n_models * batch_size, np.float64)
        self.penalties = runtime.zeros(n_models * self.batch.group.penalties, np.float64)
        parameters = np.array([task.parameters for task in self.tasks])
        self.batch.parameters.write(self.layout.pack(parameters, self.dtype).reshape(-1))
        vectors = np.array([task.optimizer_state.vectors for task in self.tasks])
        self.state.write(self.layout.pack(vectors, self.dtype).reshape(-1))
        # By the number of their steps, as long as no memory moves.
        self._replays: dict[int, Callable[[], None]] = {}
        self._captured_with = -1

    @abstractmethod
    def _make_pass(self, batch_size: int, n_states: int, precision: str | None) -> Pass:
        """Return what computes the gradient."""

    @abstractmethod
    def _update(self) -> None:
        """Update the parameters by the gradient, and write the sums of squared coefficients."""

    def _step(self) -> None:
        batch = self.batch
        for slab in batch.slabs:
            batch.forward(slab, self.data.matrix.values)
            batch.backward(slab, self.row_losses, self.gradient)
        self._update()
        self.runtime.launch(
            step_kernel("turn"),
            (batch.n_models, 1, 1),
            *(self.numbers, self.doubles, *self.rooms(), self.data.device_weights),
            *(batch.row_numbers, self.row_losses, self.penalties, self.losses.array),
            batch.group,
        )

    def _settle(self, i: int, task: FitTask) -> None:
        size, state = self.layout.size, self.batch.group.state
        self.batch.parameters.write(self.layout.pack(task.parameters, self.dtype), i * size)
        vectors = np.asarray(task.optimizer_state.vectors)
        self.state.write(self.layout.pack(vectors, self.dtype).reshape(-1), i * state)

    def _begin(self) -> None:
        """Choose the next batch of every plan, again that of those under way."""
        self.runtime.launch(
            step_kernel("begin"),
            (self.batch.n_models, 1, 1),
            *(self.numbers, self.doubles, *self.rooms(), self.data.device_weights),
            *(self.batch.row_numbers, self.batch.group),
        )

    def run_steps(self, n_steps: int) -> None:
        for _ in range(n_steps // STEPS_PER_GRAPH):
            self._graph_of(STEPS_PER_GRAPH)()
        for _ in range(n_steps % STEPS_PER_GRAPH):
            self._graph_of(1)()

    def _graph_of(self, n_steps: int) -> Callable[[], None]:
        """Return the replay of a graph of some steps, captured again if memory has moved since."""
        rooms = self.orders, self.subset, self.rates, self.losses
        exchanges = sum(room.exchanges for room in rooms)
        if exchanges != self._captured_with:
            self._replays.clear()
            self._captured_with = exchanges
        if n_steps not in self._replays:
            # Nothing may be sent during a capture.
            _ = self.data.matrix, self.data.device_targets, self.data.device_weights

            def launches() -> None:
                for _ in range(n_steps):
                    self._step()

            self._replays[n_steps] = self.runtime.captured(launches)
        return self._replays[n_steps]

    def parameters(self, i: int) -> FloatArray:
        size = self.layout.size
        return self.layout.unpack(self.batch.parameters.read(i * size, size))

    def state_vectors(self, i: int) -> FloatArray:
        size = self.batch.group.state
        vectors = self.state.read(i * size, size).reshape(-1, self.layout.size)
        return self.layout.unpack(vectors)


class BatchedGroup(LaunchedGroup):
    """Plain networks."""

    def _make_pass(self, batch_size: int, n_states: int, precision: str | None) -> Batch:
        return Batch(
            *(self.runtime, self.tasks[0].network, self.data, len(self.tasks)),
            *(batch_size, n_states, self.numbers, precision),
        )

    def _update(self) -> None:
        batch = self.batch
        self.runtime.launch(
            batch_kernel("update", self.dtype),
            (batch.group.penalties, 1, batch.n_models),
            *(self.numbers, self.doubles, batch.parameters, self.gradient, self.state),
            *(self.penalties, batch.group),
        )
