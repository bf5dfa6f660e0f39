"""Fits that run each in a block of their own: where their memory lies, and their launch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import EpochResult, FitTask
from skmlp.engines.cuda import resident
from skmlp.engines.cuda.device import WARP_THREADS
from skmlp.engines.cuda.groups import FitGroup
from skmlp.engines.cuda.kernels import resident_kernel
from skmlp.engines.cuda.layout import PaddedLayout, padded
from skmlp.engines.cuda.registers import ROW_MULTIPLE
from skmlp.engines.cuda.runtime import Runtime
from skmlp.engines.cuda.vocabulary import IDENTITY, hidden_codes, link_code, loss_code
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import NetworkSpec

# Shared memory that a block needs for other things than its model.
RESERVED_BYTES = 1024 + 8 * WARP_THREADS
# Fewer rows than this at a time are not worth what they leave room for.
FEWEST_ROWS = 32


@dataclass(frozen=True)
class Residence:
    """Where a model's memory lies.

    Attributes
    ----------
    rows : int
        Rows of a batch in the workspace at once; a multiple of `ROW_MULTIPLE`.
    work, parameters, gradient, state : int
        Places in shared memory, or -1.
    shared : int
        Elements of shared memory.
    """

    rows: int
    work: int
    parameters: int
    gradient: int
    state: int
    shared: int


def choose_residence(
    network: NetworkSpec,
    n_states: int,
    batch_size: int,
    team: int,
    shared_bytes: int,
    itemsize: int,
) -> Residence:
    """Put as much of a model into shared memory as there is room for.

    What is used most goes first: activations, parameters, gradient, optimizer state. A batch is
    worked on in pieces rather than that one of these lies outside. The blocks of a team show each
    other their gradients, and each needs but a part of the optimizer's state.
    """
    size = PaddedLayout(layout_of(network)).size
    row = sum(padded(units) for units in network.layer_units)
    room = (shared_bytes - RESERVED_BYTES) // itemsize
    wanted = share_of_rows(batch_size, team)
    choices = [(size, size, n_states * size), (size, size, 0), (size, 0, 0), (0, 0, 0)]
    for sections in choices if team == 1 else choices[2:]:
        rows = (room - sum(sections)) // row // ROW_MULTIPLE * ROW_MULTIPLE
        if rows >= min(wanted, FEWEST_ROWS):
            pieces = -(-wanted // rows)
            rows = rounded_up(-(-wanted // pieces))
            starts = np.cumsum([rows * row, *sections]).tolist()
            parameters, gradient, state = (
                start if section else -1 for start, section in zip(starts, sections, strict=False)
            )
            return Residence(rows, 0, parameters, gradient, state, starts[-1])
    return Residence(wanted, -1, -1, -1, -1, 0)


def rounded_up(rows: int) -> int:
    return -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE


def share_of_rows(batch_size: int, team: int) -> int:
    """Return how many rows of a batch each block of a team takes."""
    return rounded_up(-(-batch_size // team))


class ResidentGroup(FitGroup):
    """Fits of any networks on one data set, each one done by a block or a team of blocks.

    Parameters
    ----------
    runtime : Runtime
    tasks : sequence of FitTask
    team : int
        Blocks per fit. If there are several, all blocks must find room on the device at once.
    """

    def __init__(self, runtime: Runtime, tasks: Sequence[FitTask], team: int = 1) -> None:
        super().__init__(runtime, tasks)
        self.team = team
        self.layouts = [PaddedLayout(layout_of(task.network)) for task in tasks]
        self.n_states = [len(task.optimizer.entry.state_names) for task in tasks]
        itemsize = np.dtype(self.dtype).itemsize
        columns = resident.LAYERS + resident.N_LAYER_COLUMNS * max(
            task.network.n_connections for task in tasks
        )
        models = np.zeros((len(tasks), columns), dtype=np.int64)
        self.shared_bytes = 0
        parameters_end = state_end = batches_end = scratch_end = 0
        for i, (task, layout) in enumerate(zip(tasks, self.layouts, strict=True)):
            home = choose_residence(
                task.network,
                self.n_states[i],
                task.batch_size,
                team,
                runtime.shared_bytes,
                itemsize,
            )
            own = models[i]
            own[resident.N_LAYERS] = task.network.n_connections
            own[resident.SIZE], own[resident.N_COEFS] = layout.size, layout.n_coefs
            own[resident.N_STATES], own[resident.ROWS] = self.n_states[i], home.rows
            own[resident.LOSS] = loss_code(task.network)
            own[resident.OUTPUT_ACTIVATION] = link_code(task.network)
            own[resident.SHARED_PARAMETERS] = home.parameters
            own[resident.SHARED_STATE] = home.state
            own[resident.SHARED_GRADIENT] = home.gradient
            own[resident.SHARED_WORK] = home.work
            own[resident.PARAMETERS], own[resident.STATE] = parameters_end, state_end
            parameters_end += layout.size
            state_end += self.n_states[i] * layout.size
            own[resident.BATCHES] = batches_end
            batches_end += task.batch_size
            own[resident.GRADIENT] = scratch_end
            scratch_end += team * layout.size if home.gradient < 0 else 0
            own[resident.WORK] = scratch_end
            work_size = describe_layers(task.network, layout, home.rows, own[resident.LAYERS :])
            own[resident.WORK_SIZE] = work_size
            scratch_end += team * work_size if home.work < 0 else 0
            own[resident.SHARE] = share_of_rows(task.batch_size, team)
            self.shared_bytes = max(self.shared_bytes, home.shared * itemsize)
        self._models = models
        self._device_models = runtime.upload(models)
        self._parameters = runtime.allocate(parameters_end, self.dtype)
        self._state = runtime.allocate(state_end, self.dtype)
        self._row_numbers = runtime.allocate(team * batches_end, np.int32)
        self._row_losses = runtime.allocate(batches_end, np.float64)
        self._scratch = runtime.allocate(max(scratch_end, 4), self.dtype)
        pairs = list(zip(tasks, self.layouts, strict=True))
        packed = [layout.pack(task.parameters, self.dtype) for task, layout in pairs]
        self._parameters.write(np.concatenate(packed))
        packed = [
            layout.pack(task.optimizer_state.vectors, self.dtype).reshape(-1)
            for task, layout in pairs
        ]
        self._state.write(np.concatenate(packed))
        self._sequence = runtime.allocate(len(tasks), np.int32)
        self._counters = runtime.allocate(len(tasks), np.uint32)
        self._squares = runtime.allocate(team * len(tasks), np.float64)
        self._step_work = [task.batch_size * task.network.n_coefs for task in tasks]
        self._n_active = 0

    def _settle(self, i: int, task: FitTask) -> None:
        own, layout = self._models[i], self.layouts[i]
        parameters = layout.pack(task.parameters, self.dtype)
        self._parameters.write(parameters, int(own[resident.PARAMETERS]))
        vectors = layout.pack(np.asarray(task.optimizer_state.vectors), self.dtype)
        self._state.write(vectors.reshape(-1), int(own[resident.STATE]))

    def _begin(self) -> None:
        def work(i: int) -> float:
            return float(self.under_way[i].steps * self._step_work[i])

        # A block that begins late should have little to do.
        active = sorted(self.under_way, key=work, reverse=True)
        self._sequence.write(np.array(active, dtype=np.int32))
        self._n_active = len(active)

    def take_results(self) -> dict[int, tuple[EpochResult, float]]:
        results = super().take_results()
        if results and self.under_way:
            self._begin()  # who is done needs no block
        return results

    def run_steps(self, n_steps: int) -> None:
        data = self.data
        matrix = data.matrix
        unused_integers = self._device_models
        source = resident.Source(
            columns=matrix.columns,
            is_sparse=int(data.is_sparse),
            weighted=int(data.sample_weight is not None),
            target_columns=data.target_columns,
            table_columns=self._models.shape[1],
            steps=n_steps,
            team=self.team,
        )
        self._counters.fill_with_zeros()
        self.runtime.launch(
            resident_kernel(self.dtype),
            (self._n_active * self.team, 1, 1),
            *(self._sequence, self.numbers, self.doubles, self._device_models),
            *(matrix.values, matrix.indices or self._sequence, matrix.indptr or unused_integers),
            *(data.device_targets, data.device_weights, *self.rooms()),
            *(self._row_numbers, self._row_losses, self.losses.array),
            *(self._parameters, self._state, self._scratch),
            *(self._counters, self._squares, source),
            shared_bytes=self.shared_bytes,
            together=self.team > 1,
        )

    def parameters(self, i: int) -> FloatArray:
        layout = self.layouts[i]
        start = int(self._models[i, resident.PARAMETERS])
        return layout.unpack(self._parameters.read(start, layout.size))

    def state_vectors(self, i: int) -> FloatArray:
        layout = self.layouts[i]
        start = int(self._models[i, resident.STATE])
        vectors = self._state.read(start, self.n_states[i] * layout.size)
        return layout.unpack(vectors.reshape(-1, layout.size))


def describe_layers(
    network: NetworkSpec, layout: PaddedLayout, rows: int, table: npt.NDArray[np.int64]
) -> int:
    """Write the layers' columns of a model's table; return the size of its workspace.

    Every layer's activations have a place, where the deltas follow them.
    """
    units = network.layer_units
    places = np.cumsum([0, *(rows * padded(count) for count in units)])
    codes = [IDENTITY, *hidden_codes(network), IDENTITY]
    for i, (fan_in, fan_out) in enumerate(pairwise(units)):
        own = table[i * resident.N_LAYER_COLUMNS :]
        own[resident.FAN_IN], own[resident.FAN_OUT] = fan_in, fan_out
        own[resident.INPUTS], own[resident.OUTPUTS] = places[i], places[i + 1]
        own[resident.COEFS] = layout.coef_offsets[i]
        own[resident.INTERCEPTS] = layout.intercept_offsets[i]
        own[resident.ACTIVATION], own[resident.INPUT_ACTIVATION] = codes[i + 1], codes[i]
    return int(places[-1])
