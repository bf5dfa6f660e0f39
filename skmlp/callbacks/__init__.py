"""Callbacks for `set_callbacks`, under scikit-learn's protocol (1.9 or later).

`Checkpoint` lets fits go on that were killed, `EarlyStopping` ends a fit at a threshold,
`HistoryLogger` and `LearningRateLogger` write what happens to files, and `FunctionCallback` calls a
function after each epoch. `epoch_of` lets callbacks of one's own see what these see. They belong to
a network, in whatever it stands: a pipeline or a search has none of its epochs. Scikit-learn's own,
as `sklearn.callback.ProgressBar`, are set in the same way.
"""

from skmlp.callbacks._base import Callback
from skmlp.callbacks._checkpoint import Checkpoint
from skmlp.callbacks._epoch import Epoch, epoch_of
from skmlp.callbacks._function import FunctionCallback
from skmlp.callbacks._loggers import HistoryLogger, LearningRateLogger
from skmlp.callbacks._stopping import EarlyStopping

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Epoch",
    "FunctionCallback",
    "HistoryLogger",
    "LearningRateLogger",
    "epoch_of",
]
