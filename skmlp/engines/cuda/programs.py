"""The path of programs: what is not plain, a launch for each operation between the products."""

from collections.abc import Sequence

import numpy as np

from skmlp.engines.base import FitTask, slab_rows
from skmlp.engines.cuda.batched import Batch, LaunchedGroup, Pass, describe_group
from skmlp.engines.cuda.data import CudaData
from skmlp.engines.cuda.device import BLOCK_THREADS, SMALL_BLOCKS
from skmlp.engines.cuda.optimizers import kinds_of, table_of_factors, table_of_settings
from skmlp.engines.cuda.program_kernels import (
    column_sums_kernel,
    drop_kernel,
    gather_kernel,
    loss_kernel,
    map_back_kernel,
    map_kernel,
    norm_kernel,
    normalization_kernel,
    output_kernel,
    update_kernel,
)
from skmlp.engines.cuda.runtime import DeviceArray, Runtime
from skmlp.engines.cuda.stages import Drop, HiddenStage, Sums, describe_program
from skmlp.engines.cuda.tables import Slab
from skmlp.engines.cuda.vocabulary import is_plain
from skmlp.network.specs import NetworkSpec

# Blocks that share the rows of a slab.
ROW_BLOCKS = 2 if SMALL_BLOCKS else 4096


class ProgramPass(Pass):
    """A pass of any network that CUDA computes.

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
    trains : bool
        Whether there is a way back.
    updates_statistics : bool
        Whether running statistics take note of what passes.

    Attributes
    ----------
    drops : bool
        Whether units are dropped.
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
        *,
        trains: bool,
        updates_statistics: bool = False,
    ) -> None:
        slab_size = slab_rows(network, batch_size, np.dtype(data.dtype).itemsize)
        self.program = describe_program(
            network,
            slab_size,
            is_sparse=data.is_sparse,
            trains=trains,
            updates_statistics=updates_statistics,
        )
        super().__init__(
            *(runtime, network, data, n_models, batch_size, numbers, precision, slab_size),
            self.program.layers,
            describe_group(network, data, batch_size, n_states, self.program.size),
        )
        self.constants = runtime.upload(np.array(self.program.constants))
        self.trains = self.drops = trains

    def forward(self, slab: Slab, source: DeviceArray) -> None:
        self._take_inputs(slab, source)
        for layer, hidden in zip(self.layers, self.program.hidden, strict=False):
            self.multiply_forward(layer, slab, source)
            self._normalize(hidden, slab, back=False)
            self._map(hidden, slab)
            self._drop(hidden.drop, slab)
        self.multiply_forward(self.layers[-1], slab, source)

    def outputs(self, slab: Slab) -> None:
        for spec, head in self.program.heads:
            self.runtime.launch(
                output_kernel(spec.entry.link, self.dtype),
                self.row_grid(slab),
                *(self.numbers, self.work, head, self.group, slab),
            )

    def backward(self, slab: Slab, row_losses: DeviceArray, gradient: DeviceArray) -> None:
        self._differentiate_losses(slab, row_losses)
        for layer, hidden in zip(
            reversed(self.layers[1:]), reversed(self.program.hidden), strict=True
        ):
            self.multiply_backward(layer, slab)
            self._drop(hidden.drop and hidden.drop._replace(place=hidden.stage.deltas), slab)
            for sums in hidden.sums_before_map():
                self._sum_columns(sums, slab, gradient)
            self._map_back(hidden, slab)
            if hidden.spec.normalization is not None:
                for sums in hidden.sums_before_normalization():
                    self._sum_columns(sums, slab, gradient)
                self._normalize(hidden, slab, back=True)
        for layer in self.layers:
            self.multiply_gradient(layer, slab, gradient)

    def _rows_grid(self, slab: Slab) -> tuple[int, int, int]:
        """Return the grid of a kernel whose blocks take rows."""
        return min(slab.rows, ROW_BLOCKS), 1, self.n_models

    def _columns_grid(self, columns: int) -> tuple[int, int, int]:
        """Return the grid of a kernel with a thread per column."""
        return -(-columns // BLOCK_THREADS), 1, self.n_models

    def _take_inputs(self, slab: Slab, source: DeviceArray) -> None:
        if self.data.is_sparse:
            self.scatter(slab, source)
        elif self.program.input_drop is not None:
            self.runtime.launch(
                gather_kernel(self.dtype),
                self._rows_grid(slab),
                *(self.numbers, source, self.row_numbers, self.work),
                *(self.layers[0], self.group, slab),
            )
        self._drop(self.program.input_drop, slab)

    def _drop(self, drop: Drop | None, slab: Slab) -> None:
        if drop is not None and self.drops:
            self.runtime.launch(
                drop_kernel(self.dtype),
                self._rows_grid(slab),
                *(self.numbers, self.work, self.constants, drop, self.group, slab),
            )

    def _normalize(self, hidden: HiddenStage, slab: Slab, *, back: bool) -> None:
        kind = hidden.spec.normalization
        if kind is None:
            return
        by_column = kind == "batch"
        # Only sums over rows have to know them, and their weights.
        rows = (self.data.device_weights, self.row_numbers) if by_column else ()
        columns = hidden.stage.product_units
        self.runtime.launch(
            normalization_kernel(kind, back, self.dtype),
            self._columns_grid(columns) if by_column else self._rows_grid(slab),
            *(self.numbers, *rows, self.parameters, self.work),
            *(hidden.stage, self.group, slab),
        )

    def _map(self, hidden: HiddenStage, slab: Slab) -> None:
        self.runtime.launch(
            map_kernel(hidden.spec.entry, self.dtype, self.trains),
            self._rows_grid(slab),
            *(self.numbers, self.parameters, self.work, self.constants),
            *(hidden.stage, self.group, slab),
        )

    def _map_back(self, hidden: HiddenStage, slab: Slab) -> None:
        self.runtime.launch(
            map_back_kernel(hidden.spec.entry.pieces is not None, self.dtype),
            self._rows_grid(slab),
            *(self.numbers, self.work, hidden.stage, self.group, slab),
        )

    def _sum_columns(self, sums: Sums, slab: Slab, gradient: DeviceArray) -> None:
        self.runtime.launch(
            column_sums_kernel(self.dtype),
            self._columns_grid(sums.units),
            *(self.numbers, gradient, self.work, sums, self.group, slab),
        )

    def _differentiate_losses(self, slab: Slab, row_losses: DeviceArray) -> None:
        data = self.data
        for spec, head in self.program.heads:
            self.runtime.launch(
                loss_kernel(spec.entry, self.dtype),
                self.row_grid(slab),
                *(self.numbers, data.device_targets, data.device_weights, self.row_numbers),
                *(row_losses, self.work, self.constants, head, self.group, slab),
            )


class ProgramGroup(LaunchedGroup):
    """Fits of any network, by any optimizer, that CUDA computes."""

    knows_optimizers = False

    def __init__(
        self, runtime: Runtime, tasks: Sequence[FitTask], precision: str | None = None
    ) -> None:
        super().__init__(runtime, tasks, precision)
        optimizer = self.tasks[0].optimizer
        self._update_kernel = update_kernel(optimizer.entry, self.dtype)
        self._kinds = runtime.upload(kinds_of(self.layout))
        self._factors = runtime.upload(table_of_factors())
        self._settings = runtime.upload(table_of_settings(self.tasks))
        # Of fits that are launched together, all are clipped or none is.
        self._clips = optimizer.clip_norm is not None
        self._norms = runtime.allocate(len(tasks) * self.batch.group.penalties, np.float64)

    def _settle(self, i: int, task: FitTask) -> None:
        super()._settle(i, task)
        settings = table_of_settings([task])
        self._settings.write(settings, i * settings.size)

    def _make_pass(self, batch_size: int, n_states: int, precision: str | None) -> ProgramPass:
        return ProgramPass(
            *(self.runtime, self.tasks[0].network, self.data, len(self.tasks)),
            *(batch_size, n_states, self.numbers, precision),
            trains=True,
            updates_statistics=True,
        )

    def _update(self) -> None:
        batch = self.batch
        grid = (batch.group.penalties, 1, batch.n_models)
        if self._clips:
            self.runtime.launch(
                norm_kernel(self.dtype),
                grid,
                *(self.numbers, self.doubles, self._kinds, self._factors),
                *(batch.parameters, self.gradient, self._norms, batch.group),
            )
        self.runtime.launch(
            self._update_kernel,
            grid,
            *(self.numbers, self.doubles, self._kinds, self._factors, self._settings),
            *(batch.parameters, self.gradient, self.state, self._norms, self.penalties),
            batch.group,
        )


def make_pass(
    runtime: Runtime,
    network: NetworkSpec,
    data: CudaData,
    n_rows: int,
    numbers: DeviceArray,
    precision: str | None,
    *,
    trains: bool,
) -> Pass:
    """Return a pass for one model without optimizer, of programs only where they are needed."""
    arguments = (runtime, network, data, 1, n_rows, 0, numbers, precision)
    if is_plain(network, None):
        return Batch(*arguments)
    return ProgramPass(*arguments, trains=trains)
