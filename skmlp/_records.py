"""What an estimator keeps of the way that its fits took: `history_` and what it is made of."""

from typing import Any

import numpy as np

from skmlp._choices import same
from skmlp._fitted import is_ensemble
from skmlp._held_out import LOSS
from skmlp._members import lacking
from skmlp._validation import monitors_of
from skmlp.training.history import SECONDS, Column, extended, filled, table
from skmlp.training.lbfgs import LbfgsResult
from skmlp.training.loop import Trainer


class Recording:
    """Gives an estimator its history, which later fits go on with.

    `_history` holds its columns but for what other attributes tell: the losses of the stochastic
    solvers. So a fit in many pieces keeps no more than a number for each of them.
    """

    early_stopping: bool
    scoring: Any
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    stop_reason_: str
    _history: dict[str, Column]

    def _record(self, trainer: Trainer) -> None:
        """Add a stochastic fit, before its losses join those of earlier ones."""
        assert trainer.stop_reason is not None
        self.stop_reason_ = trainer.stop_reason.value
        history = trainer.history
        new = {"learning_rate": history.learning_rates}
        losses = history.measured.get("validation_loss")
        if self.early_stopping:
            new["validation_score"] = history.validation_scores
            if losses is None and same(self.scoring, LOSS):
                losses = new["validation_loss"] = [-score for score in history.validation_scores]
        if SECONDS in monitors_of(self):
            start = self._last_of(SECONDS)
            new[SECONDS] = [start + seconds for seconds in history.seconds]
        new |= history.measured
        earlier = getattr(self, "validation_loss_curve_", None) or []
        self.validation_loss_curve_ = None if losses is None else [*earlier, *losses]
        self._extend_history(new, history.losses, keeps_losses=False)

    def _record_lbfgs(self, result: LbfgsResult) -> None:
        """Add the iterations of L-BFGS, which are not in `loss_curve_`."""
        self.stop_reason_ = result.stop_reason.value
        self._extend_history({}, result.losses, keeps_losses=True)

    def _extend_history(
        self, new: dict[str, list[float]], losses: list[float], *, keeps_losses: bool
    ) -> None:
        earlier, known = self._losses(), vars(self).get("_history", {})
        others = {name: column for name, column in known.items() if name != LOSS}
        self._history = extended(others, len(earlier), new, len(losses))
        if keeps_losses or LOSS in known:
            self._history[LOSS] = np.array([*earlier, *losses], dtype=np.float64)

    def _last_of(self, name: str) -> float:
        """Return the last number of a column; zero if there is none."""
        column = filled(vars(self).get("_history", {}).get(name, 0.0), len(self._losses()))
        return float(column[-1]) if len(column) and np.isfinite(column[-1]) else 0.0

    def _losses(self) -> list[float]:
        """Return the losses of all epochs, or iterations of L-BFGS."""
        kept = vars(self).get("_history", {}).get(LOSS)
        if isinstance(kept, np.ndarray):
            return kept.tolist()
        return getattr(self, "loss_curve_", None) or []

    @property
    def history_(self) -> dict[str, list[Any]]:
        """What the fit recorded: lists of equal length, with one entry for each epoch."""
        if is_ensemble(self):
            raise AttributeError(lacking(self, "history_"))
        if "_history" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__} has no history_: it is not fitted yet. Call fit first."
            )
        columns = {name: column for name, column in self._history.items() if name != LOSS}
        return table(self._losses(), columns)
