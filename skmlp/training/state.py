"""Where a fit stands: what the next one goes on from, and what a checkpoint holds of one under way.

Pickles and files have it as plain values: dictionaries of arrays, numbers and generators.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from skmlp.engines.base import Averages, IndexArray, OptimizerState
from skmlp.network.parameters import FloatArray
from skmlp.training.generators import generator_at
from skmlp.training.history import History
from skmlp.training.ordering import AnyRowOrder, order_from_plain
from skmlp.training.schedules import Schedule
from skmlp.training.stopping import StopReason


@dataclass(frozen=True)
class Best:
    """The best parameters so far, and the validation score or training loss that says so.

    Where averages are scored, these are they, and `raw` is where the training was.
    """

    value: float
    parameters: FloatArray
    raw: FloatArray | None = None


@dataclass(frozen=True)
class UnderWay:
    """What is true of a fit only until it ends.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
        Where the training is, which averages are not.
    samples_seen : int
        By this fit and those before it.
    patience_best : float
        What patience compares with.
    best : Best or None
    history : History
    seconds : float
        Of training.
    stop_reason : StopReason or None
        Why it has ended, if it has.
    rows, held_out : ndarray of int64 or None
        Numbers of the rows of X that are trained on, and of those that are watched, if some are.
    before : mapping or None
        The records that earlier fits have left, by the names of the attributes; None if this one
        goes on from none.
    """

    parameters: FloatArray
    samples_seen: int
    patience_best: float
    best: Best | None
    history: History
    seconds: float
    stop_reason: StopReason | None
    rows: IndexArray | None = None
    held_out: IndexArray | None = None
    before: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TrainerState:
    """What a fit leaves for the next one, with ``warm_start`` or in ``partial_fit``.

    Attributes
    ----------
    random_state : RandomState
        The generator, where the fit has left it.
    seed : int, RandomState or None
        What the parameter `random_state` was.
    optimizer : OptimizerState or None
        None after L-BFGS.
    schedule : Schedule or None
    stalled : int
        Epochs without improvement, up to the last one.
    row_order : RowOrder, KeyedRowOrder or None
        None if the rows kept their order.
    mask_seed : int or None
        What masks of dropout are keyed by.
    connection_seed : int or None
        What determines drawn connections, if there are any.
    raw : ndarray of shape (n_parameters,) or None
        Where the training was, if the model has averages.
    fit : UnderWay or None
        None once the fit has ended.
    """

    random_state: np.random.RandomState
    seed: Any = None
    optimizer: OptimizerState | None = None
    schedule: Schedule | None = None
    stalled: int = 0
    row_order: AnyRowOrder | None = None
    mask_seed: int | None = None
    connection_seed: int | None = None
    raw: FloatArray | None = None
    fit: UnderWay | None = None


def as_plain(state: TrainerState) -> dict[str, Any]:
    """Return a state as dictionaries of plain values, which share its arrays and generators.

    The order of the rows itself, as long as the data, is in it only while a fit is under way: it
    can be drawn again.
    """
    plain = shallow(state)
    # As numbers, unless it is the user's or for a file: its seed may be of a class of ours.
    if state.random_state is not state.seed and state.fit is None:
        plain["random_state"] = state.random_state.get_state(legacy=False)
    optimizer, order, fit = state.optimizer, state.row_order, state.fit
    plain["schedule"] = None if state.schedule is None else shallow(state.schedule)
    if optimizer is not None:
        averages = optimizer.averages
        plain["optimizer"] = shallow(optimizer)
        plain["optimizer"]["averages"] = None if averages is None else shallow(averages)
    if order is not None:
        plain["row_order"] = order.as_plain(whole=fit is not None)
    if fit is not None:
        plain["fit"] = {
            **shallow(fit),
            "best": None if fit.best is None else shallow(fit.best),
            "history": dict(vars(fit.history)),
            "stop_reason": None if fit.stop_reason is None else fit.stop_reason.value,
        }
    return plain


def from_plain(plain: Any) -> TrainerState:
    """Return the state that `as_plain` was given.

    What has come since an earlier version wrote it is what it is by default. Whether the values
    are possible ones is left to whoever makes use of them.

    Raises
    ------
    ValueError
        If it describes none.
    """
    try:
        state: Any = TrainerState(**plain)
        makers: dict[str, Callable[[Any], Any]] = {
            "random_state": lambda own: generator_at(own) if isinstance(own, dict) else own,
            "optimizer": optimizer_from,
            "schedule": lambda own: Schedule(**vars_of(own)),
            "row_order": order_from_plain,
            "fit": under_way_from,
        }
        given = {name: getattr(state, name) for name in makers}
        made = {n: makers[n](own) for n, own in given.items() if own is not None}
        return replace(state, **made)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"This describes no state of a fit: {error!r}.") from error


def shallow(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as they are."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def vars_of(plain: Any) -> dict[str, Any]:
    """Return a dictionary, and nothing else that could be taken apart into arguments."""
    if type(plain) is not dict:
        raise TypeError(f"{type(plain).__name__} in the place of a dictionary")
    return plain


def optimizer_from(plain: Any) -> OptimizerState:
    optimizer = OptimizerState(**vars_of(plain))
    if optimizer.averages is None:
        return optimizer
    return replace(optimizer, averages=Averages(**vars_of(optimizer.averages)))


def under_way_from(plain: Any) -> UnderWay:
    fit = UnderWay(**vars_of(plain))
    history, known = History(), vars_of(fit.history)
    if known.keys() != vars(history).keys():
        raise ValueError(f"a history of {sorted(known)}")
    vars(history).update(known)
    return replace(
        fit,
        history=history,
        best=None if fit.best is None else Best(**vars_of(fit.best)),
        stop_reason=None if fit.stop_reason is None else StopReason(fit.stop_reason),
    )
