"""What one fit leaves for the next: where `warm_start` and `partial_fit` begin."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skmlp._fitted import (
    as_trained,
    check_finite,
    check_layers,
    check_resumable,
    fitted_extras,
)
from skmlp._initial import initial_parameters
from skmlp._networks import last_activation
from skmlp._solvers import solver_name
from skmlp.engines.base import OptimizerState
from skmlp.network.constraints import trained_from
from skmlp.network.parameters import FloatArray, ParameterLayout, layout_of
from skmlp.network.specs import NetworkSpec, OptimizerSpec
from skmlp.training.generators import copy_of, fingerprint, seeded
from skmlp.training.ordering import AnyRowOrder, KeyedRowOrder, RowOrder
from skmlp.training.schedules import Schedule
from skmlp.training.state import TrainerState, UnderWay
from skmlp.training.stopping import Patience

# Attributes that only some solvers set; a new fit with another solver must not leave them.
FITTED_BY_SOLVERS = (
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "best_loss_",
    "loss_",
    "validation_loss_curve_",
    "stop_reason_",
    "_history",
)


@dataclass(frozen=True)
class Start:
    """Where a fit begins: anew, or where an earlier one ended.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
    random_state : RandomState
    optimizer_state : OptimizerState or None
        None if the optimizer begins anew.
    resumes : bool
    earlier : TrainerState or None
        What the fit that is gone on from has left: none, if only weights have been assigned.
    """

    parameters: FloatArray
    random_state: np.random.RandomState
    optimizer_state: OptimizerState | None
    resumes: bool
    earlier: TrainerState | None = None

    @property
    def under_way(self) -> UnderWay | None:
        """The fit that a checkpoint was written of, if it is gone on from."""
        return None if self.earlier is None else self.earlier.fit


def generator_of(random_state: Any) -> np.random.RandomState:
    """Return the generator that a parameter `random_state` stands for, as scikit-learn does."""
    if isinstance(random_state, Integral):
        return seeded(random_state)
    return check_random_state(random_state)


class Resuming:
    """Gives an estimator the state that its next fit may take up, and decides whether it may."""

    hidden_layer_sizes: Any
    activation: Any
    solver: Any
    frozen_layers: int
    warm_start: bool
    tol: float
    n_iter_no_change: float
    early_stopping: bool
    shuffle: bool
    random_state: Any
    init: Any
    coefs_: list[FloatArray]
    intercepts_: list[FloatArray]
    _state: TrainerState

    def _forget(self) -> None:
        """Drop what an earlier fit left behind, which may have used another solver."""
        self._drop((*FITTED_BY_SOLVERS, "_state"))
        self.t_ = 0

    def _drop(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name in vars(self):
                delattr(self, name)

    def _check_resumable(self) -> None:
        """Refuse to go on from what no fit has left, before anything else reads it."""
        check_resumable(self)
        check_layers(self)

    def _start(self, network: NetworkSpec, dtype: str, resumes: bool, X: Any) -> Start:
        if not resumes:
            random_state = generator_of(self.random_state)
            parameters = initial_parameters(
                self.init, network, random_state, dtype, last_activation(self.activation), X
            )
            return Start(parameters, random_state, None, False)
        units = check_layers(self).units
        if units[-1] != network.n_outputs:
            raise ValueError(
                f"Cannot resume: y asks for {network.n_outputs} outputs, but the fitted network "
                f"has {units[-1]}. Pass y of the same shape and leave the loss as it is, or fit a "
                "clone of the estimator."
            )
        if units != network.layer_units:
            raise ValueError(
                f"Cannot resume: the fitted network has layers {units}, but "
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} with these data asks for "
                f"{network.layer_units}. Use warm_start=False, or a clone of the estimator."
            )
        fitted = vars(self).get("_network")
        known = fitted.inputs.embedding if type(fitted) is NetworkSpec else ()
        if known != network.inputs.embedding:
            raise ValueError(
                "Cannot resume: embedding makes other numbers of the features than in the fit "
                "before. Leave it as it was, or use warm_start=False, or a clone of the estimator."
            )
        layout = layout_of(network)
        state = self._resumed_state(layout)
        with np.errstate(over="ignore"):
            coefs, intercepts, extras = self._resumed_weights(layout)
            parameters = layout.pack(coefs, intercepts, dtype, extras)
            parameters, state = self._before_averaging(network, parameters, state)
        own_coefs, own_intercepts = layout.views(parameters)
        check_finite("coefs_", own_coefs)
        check_finite("intercepts_", own_intercepts)
        if not np.isfinite(layout.extras_of(parameters)).all():
            raise ValueError("_extras holds NaN or infinity. Fit a clone of the estimator.")
        return Start(parameters, self._resumed_generator(), state, True, self._earlier())

    # What scikit-learn's own tests look at of its networks.

    @property
    def _optimizer(self) -> OptimizerState | None:
        return self._state.optimizer

    @property
    def _no_improvement_count(self) -> int:
        return self._state.stalled

    @_no_improvement_count.setter
    def _no_improvement_count(self, count: int) -> None:
        """Set nothing: they do so before a fit, which begins to count anew."""

    def _earlier(self) -> TrainerState | None:
        """Return what the last fit has left, if there was one."""
        return vars(self).get("_state")

    def _resumed_state(self, layout: ParameterLayout) -> OptimizerState | None:
        """Return the state that the optimizer goes on with, if it is the same optimizer."""
        earlier = self._earlier()
        state = None if earlier is None else earlier.optimizer
        if state is not None and (
            state.name != solver_name(self.solver)
            or state.vectors.shape[1] != layout.size
            or not self._has_same_random_state()
            or self._has_other_weights()
        ):
            state = None
        return state

    def _has_other_weights(self) -> bool:
        """Whether others were assigned than those that batch normalization was folded into."""
        kept = vars(self).get("_trained")
        return kept is not None and as_trained(self).network is not kept[0]

    def _before_averaging(
        self, network: NetworkSpec, parameters: FloatArray, state: OptimizerState | None
    ) -> tuple[FloatArray, OptimizerState | None]:
        """Return where the training was, whose averages the parameters of the model may be.

        Where others have been assigned, it goes on from them, and averaging begins anew. Layers
        that are frozen now stay what the model has.
        """
        if state is None or state.averages is None:
            return parameters, state
        raw, values = self._state.raw, state.averages.values
        if raw is None or not raw.size == values.size == parameters.size:
            return parameters, replace(state, averages=None)
        if not np.array_equal(values.astype(parameters.dtype), parameters):
            return parameters, replace(state, averages=None)
        goes_on = trained_from(network, self.frozen_layers)
        goes_on[layout_of(network).trained_size :] = False
        return np.where(goes_on, raw, parameters).astype(parameters.dtype), state

    def _resumed_weights(
        self, layout: ParameterLayout
    ) -> tuple[Sequence[FloatArray], Sequence[FloatArray], FloatArray | None]:
        """Return coefficients, intercepts, and what else was learned if the network has it now.

        Batch normalization is not in the weights if the network has it again; where others have
        been assigned it begins anew, and units keep what they have learned besides.
        """
        if "_trained" in vars(self):
            trained = as_trained(self)
            if layout_of(trained.network).extras == layout.extras:
                return trained.coefs, trained.intercepts, trained.extras
        coefs, intercepts, _ = check_layers(self)
        network = vars(self).get("_network")
        if type(network) is not NetworkSpec:
            return coefs, intercepts, None
        return (
            coefs,
            intercepts,
            layout.extras_with(layout_of(network), fitted_extras(self, network)),
        )

    def _resumed_mask_seed(self, start: Start) -> int:
        """Return what masks of dropout are keyed by, the earlier fit's where that goes on.

        It is told from where the generator stands, which draws nothing for it: the orders of rows
        stay those of a fit without dropout.
        """
        earlier = None if start.optimizer_state is None else start.earlier
        if earlier is not None and earlier.mask_seed is not None:
            return earlier.mask_seed
        return int.from_bytes(fingerprint(start.random_state)[:4], "little")

    def _resumed_connection_seed(self, start: Start, *, is_drawn: bool) -> int | None:
        """Return what determines drawn connections: they are those of the earlier fit, if any.

        It is told from where the generator stands, which draws nothing for it.
        """
        if start.earlier is not None and start.earlier.connection_seed is not None:
            return start.earlier.connection_seed
        if not is_drawn:
            return None
        return int.from_bytes(fingerprint(start.random_state)[4:8], "little")

    def _resumed_generator(self) -> np.random.RandomState:
        """Return the generator where the last fit left it, so that resuming goes on drawing."""
        if isinstance(self.random_state, Integral) and self._has_same_random_state():
            # A copy, so that a failing fit leaves the generator where it was.
            return copy_of(self._state.random_state)
        return generator_of(self.random_state)

    def _has_same_random_state(self) -> bool:
        """Whether `random_state` is what it was in the last fit."""
        earlier = self._earlier()
        if earlier is None:
            return False
        if isinstance(self.random_state, Integral):
            return isinstance(earlier.seed, Integral) and bool(earlier.seed == self.random_state)
        return earlier.seed is self.random_state

    def _resumed_row_order(self, n_rows: int, start: Start, *, keyed: bool) -> AnyRowOrder | None:
        """Return where the drawing of row orders stands, as a copy; None without shuffling.

        An engine that draws orders by itself cannot go on with those drawn for one that does
        not, nor the other way round.
        """
        if not self.shuffle:
            return None
        kind: type[AnyRowOrder] = KeyedRowOrder if keyed else RowOrder
        earlier = None if start.earlier is None else start.earlier.row_order
        try:
            if isinstance(earlier, kind) and earlier.can_go_on(n_rows, start.random_state):
                return earlier.branch()
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"Cannot resume: _state.row_order is none that a fit leaves: {error}. Use "
                "warm_start=False, or a clone of the estimator."
            ) from error
        if start.under_way is not None:
            raise ValueError("Cannot go on: the order of rows in resume_from is another one.")
        return kind(n_rows, start.random_state)

    def _optimizer_start(
        self, start: Start, optimizer: OptimizerSpec, schedule: Schedule
    ) -> OptimizerState:
        """Return the resumed optimizer state, or a fresh one."""
        state = start.optimizer_state
        if state is None:
            initial = np.array([[entry.initial] for entry in optimizer.entry.states])
            vectors = np.empty((len(initial), start.parameters.size), start.parameters.dtype)
            vectors[...] = initial
            numbers = optimizer.entry.initial_numbers
            rate = schedule.learning_rate_init
            return OptimizerState(optimizer.name, vectors, 0, rate, numbers)
        earlier = start.earlier
        # The parameters of a fit under way have been found to be the same.
        goes_on = earlier is not None and (earlier.fit is not None or earlier.schedule == schedule)
        rate = state.learning_rate if goes_on else schedule.learning_rate_init
        numbers = tuple(map(float, state.numbers))
        return replace(state, step=int(state.step), learning_rate=float(rate), numbers=numbers)

    def _patience(self, start: Start, *, incremental: bool) -> Patience:
        """Return a fresh count of epochs without improvement; `partial_fit` goes on counting."""
        patience = Patience(
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            higher_is_better=self.early_stopping,
            best=-np.inf if self.early_stopping else np.inf,
        )
        best_loss = getattr(self, "best_loss_", None)
        if incremental and start.resumes and best_loss is not None:
            patience.best = float(best_loss)
            patience.count = 0 if start.earlier is None else start.earlier.stalled
        return patience
