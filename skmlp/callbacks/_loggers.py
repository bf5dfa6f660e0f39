"""Callbacks that write what happens in each epoch to a file."""

import json
import math
import os
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from skmlp._hooks import path_of_fit
from skmlp._optional import needed
from skmlp.callbacks._base import Callback
from skmlp.callbacks._epoch import Epoch

FORMATS = ("jsonl", "tensorboard")
# What TensorBoard reads is written in one go for each fit, whose context is the key, and each
# callback: clones of an estimator share its callbacks.
_writers: WeakKeyDictionary[Any, dict[int, Any]] = WeakKeyDictionary()


def plain(value: float | None) -> float | None:
    """Return a number as JSON has it: None where it is none, or not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


class HistoryLogger(Callback):
    """Writes the records of each epoch to a file, from which they can be read during the fit.

    Parameters
    ----------
    path : str or path-like
        Of a file to which a line of JSON is added after each epoch; or, for TensorBoard, of a
        folder. Each fit within a pipeline or a search has one of its own, with the numbers of its
        tasks in the name: ``run.jsonl`` becomes ``run.0-3.jsonl``. The folder that it is in must
        exist.
    format : {"jsonl", "tensorboard"}, default="jsonl"
        "tensorboard" needs tensorboardX.

    Raises
    ------
    ValueError
        If a parameter is not valid.
    ImportError
        In `fit`, if tensorboardX is needed and not installed.

    Notes
    -----
    A line has "epoch", "loss", "learning_rate", "seconds", "validation_score" and what `monitor`
    asks for. Numbers that are not finite are null, as others that there are none of.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from skmlp import MLPClassifier
    >>> from skmlp.callbacks import FunctionCallback, HistoryLogger
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(random_state=0)
    >>> stop = FunctionCallback(lambda epoch: epoch.number == 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "run.jsonl"
    ...     model = model.set_callbacks(HistoryLogger(path), stop).fit(X, y)
    ...     lines = [json.loads(line) for line in path.read_text().splitlines()]
    >>> [line["epoch"] for line in lines]
    [1, 2]
    >>> bool(lines[1]["loss"] == model.loss_)
    True
    """

    def __init__(self, path: str | os.PathLike[str], *, format: str = FORMATS[0]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise ValueError(
                f"path must be a string or a path, got {path!r}. Use for instance 'run.jsonl'."
            )
        if format not in FORMATS:
            raise ValueError(f"format must be one of {FORMATS}, got {format!r}. Use one of them.")
        self.path = path
        self.format = format

    def setup(self, estimator: Any, context: Any) -> None:
        """Look whether what is needed is installed, before there is anything to lose."""
        if self.format == "tensorboard":
            self._tensorboard()

    def on_epoch_end(self, estimator: Any, context: Any, epoch: Epoch) -> None:
        """Write the epoch's record."""
        path = path_of_fit(Path(self.path), context.parent)
        record = self.record_of(epoch)
        if self.format == "jsonl":
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")
            return
        writers = _writers.setdefault(context.parent, {})
        if id(self) not in writers:
            writers[id(self)] = self._tensorboard().SummaryWriter(str(path))
        writer = writers[id(self)]
        for name, value in record.items():
            if name != "epoch" and value is not None:
                writer.add_scalar(name, value, epoch.number)
        writer.flush()

    def teardown(self, estimator: Any, context: Any) -> None:
        """Close what has been written to, however the fit ended."""
        writer = _writers.get(context, {}).pop(id(self), None)
        if writer is not None:
            writer.close()

    def record_of(self, epoch: Epoch) -> dict[str, Any]:
        """Return what to write of an epoch."""
        return {
            "epoch": epoch.number,
            "loss": plain(epoch.loss),
            "learning_rate": plain(epoch.learning_rate),
            "seconds": plain(epoch.seconds),
            "validation_score": plain(epoch.validation_score),
            **{name: plain(value) for name, value in epoch.measured.items()},
        }

    def _tensorboard(self) -> Any:
        what = f"{type(self).__name__}(format='tensorboard')"
        return needed("tensorboardX", what, install="tensorboardX")


class LearningRateLogger(HistoryLogger):
    """Writes the learning rate of each epoch's last step to a file.

    Parameters
    ----------
    path : str or path-like
        As that of `HistoryLogger`.
    format : {"jsonl", "tensorboard"}, default="jsonl"
        Likewise.
    """

    def record_of(self, epoch: Epoch) -> dict[str, Any]:
        """Return what to write of an epoch."""
        return {"epoch": epoch.number, "learning_rate": plain(epoch.learning_rate)}
