"""Passes without an optimizer: predictions, and the loss and gradient that L-BFGS asks for."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from skmlp.engines.base import IndexArray
from skmlp.engines.cuda import tables
from skmlp.engines.cuda.data import CudaData
from skmlp.engines.cuda.programs import ProgramPass, make_pass
from skmlp.engines.cuda.runtime import Runtime
from skmlp.engines.cuda.tables import Slab
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import NetworkSpec

# Rows predicted at once, and how much of X is sent at once, at most.
PREDICT_ROWS = 65536
PREDICT_BYTES = 64 * 2**20


class Evaluation:
    """One network whose parameters are set from outside.

    Parameters
    ----------
    runtime : Runtime
    network : NetworkSpec
    data : CudaData
        Any data set of the kind to be evaluated; rows come from it or another one like it.
    n_rows : int
        Rows in one pass, at most.
    precision : {None, "tf32", "bf16"}
    """

    trains = False

    def __init__(
        self,
        runtime: Runtime,
        network: NetworkSpec,
        data: CudaData,
        n_rows: int,
        precision: str | None = None,
    ) -> None:
        self._runtime = runtime
        self._numbers = runtime.zeros(tables.N_INTEGERS, np.int64)
        self.batch = make_pass(
            runtime, network, data, n_rows, self._numbers, precision, trains=self.trains
        )
        self.n_rows = n_rows

    def set_parameters(self, parameters: FloatArray) -> None:
        packed = self.batch.layout.pack(np.asarray(parameters), self.batch.dtype)
        self.batch.parameters.write(packed)

    def choose_rows(self, rows: IndexArray) -> None:
        self._write_number(tables.COUNT, len(rows))
        self.batch.row_numbers.write(rows.astype(np.int32))

    def _write_number(self, column: int, value: int) -> None:
        self._numbers.write(np.array([value], dtype=np.int64), column)

    def slabs(self, n_rows: int) -> Iterator[Slab]:
        for start in range(0, n_rows, self.batch.slab_size):
            yield Slab(start, min(self.batch.slab_size, n_rows - start))


class Objective(Evaluation):
    """The sum of the weighted losses over chosen rows, and its gradient."""

    trains = True

    def __init__(
        self,
        runtime: Runtime,
        network: NetworkSpec,
        data: CudaData,
        n_rows: int,
        precision: str | None = None,
    ) -> None:
        super().__init__(runtime, network, data, n_rows, precision)
        self._row_losses = runtime.allocate(n_rows, np.float64)
        # Of what is not trained nobody writes one.
        self._gradient = runtime.zeros(self.batch.layout.size, self.batch.dtype)

    def choose_masks(self, seed: int, step: int) -> None:
        """Choose what is dropped; in step zero nothing is."""
        if isinstance(self.batch, ProgramPass):
            self.batch.drops = step > 0
            self._write_number(tables.SEED, seed)
            self._write_number(tables.STEP, step - 1)

    def evaluate(self, parameters: FloatArray) -> tuple[float, FloatArray]:
        self.set_parameters(parameters)
        # Python sees signals between slabs, so a long pass can be interrupted.
        for slab in self.slabs(self.n_rows):
            self.batch.forward(slab, self.batch.data.matrix.values)
            self.batch.backward(slab, self._row_losses, self._gradient)
        loss = float(self._row_losses.read().sum())
        return loss, self.batch.layout.unpack(self._gradient.read())


class Predictor(Evaluation):
    """The outputs of a network for any number of rows, some of them at a time."""

    def _outputs(self, data: CudaData, rows: IndexArray) -> FloatArray:
        """Return the outputs for at most `n_rows` rows of a data set."""
        self.choose_rows(rows)
        self.batch.data = data
        n_outputs = self.batch.layers[-1].fan_out
        columns = -(-n_outputs // 4) * 4
        out = np.empty((len(rows), n_outputs), dtype=self.batch.dtype)
        for slab in self.slabs(len(rows)):
            self.batch.forward(slab, data.matrix.values)
            self.batch.outputs(slab)
            start = self.batch.layers[-1].outputs
            values = self.batch.work.read(start, slab.rows * columns).reshape(-1, columns)
            out[slab.start : slab.start + slab.rows] = values[:, :n_outputs]
        return out

    def predict(self, data: CudaData, rows: IndexArray | None) -> FloatArray:
        """Return the outputs for `rows` (default: all) of a data set.

        A data set that is not on the device passes through it in chunks.
        """
        n_rows = data.n_rows if rows is None else len(rows)
        out = np.empty((n_rows, self.batch.layers[-1].fan_out), dtype=self.batch.dtype)
        is_there = "matrix" in vars(data)
        for start in range(0, n_rows, self.n_rows):
            stop = min(start + self.n_rows, n_rows)
            chosen = np.arange(start, stop) if rows is None else rows[start:stop]
            if is_there:
                out[start:stop] = self._outputs(data, chosen)
            else:
                chunk: Any = data.X[start:stop] if rows is None else data.X[chosen]
                part = CudaData(chunk, None, None, data.dtype, data.runtime)
                out[start:stop] = self._outputs(part, np.arange(stop - start))
        return out


def rows_at_once(n_rows: int, n_features: int, itemsize: int) -> int:
    """Return how many rows of X are sent and predicted at a time."""
    affordable = max(1, PREDICT_BYTES // (n_features * itemsize))
    return max(1, min(n_rows, affordable, PREDICT_ROWS))
