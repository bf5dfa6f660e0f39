"""What a checkpoint says of its fit, and what another fit must be like to go on from it."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._assembling import are_reals
from skmlp._described import described, parameters_in_words
from skmlp._fitted import is_count, is_finite_number, is_number, is_trained, is_vector, optional
from skmlp._held_out import Data, HeldOut
from skmlp._networks import custom_choices, register_custom
from skmlp._plain_values import Decoder, Encoder
from skmlp._resuming import Start
from skmlp._saving import UNSOUND, version_of_skmlp
from skmlp._solvers import schedule_of
from skmlp._tensor_file import FileProblem, strictly_parsed
from skmlp.engines.base import IndexArray
from skmlp.network import storage
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import NetworkSpec, OptimizerSpec
from skmlp.training.history import are_columns
from skmlp.training.ordering import RowOrder
from skmlp.training.state import Best, TrainerState, UnderWay

LOGGER = logging.getLogger("skmlp")
# Parameters that may change between two fits of which one goes on from the other.
FREE = {"max_iter", "max_time", "n_jobs", "verbose", "warm_start"}
# Those that may count steps by `max_iter`.
COUNTING = ("learning_rate", "dropout_schedule", "weight_decay_schedule")
# Of targets, as they are shared by the networks of an ensemble.
SCALE = ("y_mean_", "y_scale_")
# What earlier fits have left that one with `warm_start` adds to, or goes by.
RECORDS: dict[str, Callable[[Any], bool]] = {
    "loss_curve_": optional(are_reals),
    "validation_scores_": optional(are_reals),
    "validation_loss_curve_": optional(are_reals),
    "_history": are_columns,
    **dict.fromkeys(SCALE, is_vector),
}
SEEDS = 2**32


def records_of(estimator: Any) -> dict[str, Any]:
    """Return what earlier fits have left."""
    state = vars(estimator)
    return {name: state[name] for name in RECORDS if name in state}


def attributes_of(estimator: Any, dtype: str) -> dict[str, str]:
    """Return in words what else must be the same: what the data make of a fit."""
    classes = getattr(estimator, "classes_", None)
    return {
        "n_features_in_": str(estimator.n_features_in_),
        "feature_names_in_": described(getattr(estimator, "feature_names_in_", None)),
        "classes_": described(classes if isinstance(classes, list) else plain_list(classes)),
        "dtype": dtype,
        "device_": estimator.device_,
    }


def plain_list(classes: Any) -> Any:
    return None if classes is None else np.asarray(classes).tolist()


def network_as_text(network: NetworkSpec) -> str:
    return json.dumps(Encoder().encode(storage.as_plain(network), "network"))


def nothing_sound(path: Path, error: Exception) -> FileProblem:
    return FileProblem.of(path, f"holds no checkpoint that a fit can have written: {error}.")


@dataclass(frozen=True)
class Resumed:
    """A fit that another one goes on from.

    Attributes
    ----------
    path : Path
    estimator, skmlp : str
        The class and the version that have written it.
    network : str
        As JSON.
    parameters, attributes : dict of str to str
        In words.
    data : dict of str to str
        Digests.
    state : TrainerState
    fit : UnderWay
        That of `state`.
    """

    path: Path
    estimator: str
    skmlp: str
    network: str
    parameters: dict[str, str]
    attributes: dict[str, str]
    data: dict[str, str]
    state: TrainerState
    fit: UnderWay

    @property
    def dtype(self) -> Any:
        """The precision of its parameters."""
        return np.asarray(self.fit.parameters).dtype

    def check_parameters(self, estimator: Any) -> None:
        """Refuse an estimator of another class, or with other parameters.

        Raises
        ------
        ValueError
            If it is one.
        """
        name = type(estimator).__name__
        if name != self.estimator:
            raise self._refusal(f"is of {self.estimator}, but this is {name}")
        present = parameters_in_words(estimator)
        counting = counting_steps(estimator)
        free = FREE - {"max_iter"} if counting else FREE
        others = differences(self.parameters, present, free)
        if others:
            by = f" ({counting} counts its steps by max_iter)" if "max_iter" in others else ""
            raise self._refusal(f"is of a fit with {listed(others)}{by}")
        if self.skmlp != version_of_skmlp():
            LOGGER.warning(
                "%r was written by skmlp %s: with version %s the fit may go on differently in the "
                "last bits.",
                *(os.fspath(self.path), self.skmlp, version_of_skmlp()),
            )

    def prepare(self, estimator: Any) -> bool:
        """Give a draft what earlier fits had left, in place of its own.

        Returns whether there were any that the file's fit goes on from.
        """
        estimator._forget()
        estimator._drop(SCALE)
        if self.fit.before is None:
            return False
        register_custom(custom_choices(estimator.activation, estimator.loss))
        try:
            network = Decoder(no_tensors).decode(strictly_parsed(self.network))
            estimator._network = storage.from_plain(network)
            check_records(self.fit.before)
        except UNSOUND as error:
            raise nothing_sound(self.path, error) from error
        vars(estimator).update(self.fit.before)
        return True

    def compare(self, estimator: Any, network: NetworkSpec, dtype: str, data: Data) -> None:
        """Refuse other data, and what they make of the network.

        Raises
        ------
        ValueError
            If they are others.
        """
        if others := differences(self.attributes, attributes_of(estimator, dtype)):
            raise self._refusal(f"is of a fit with {listed(others)}")
        if network_as_text(network) != self.network:
            raise self._refusal("is of a fit of another network")
        if others := differences(self.data, data.digests):
            names = ", ".join(others)
            raise self._refusal(f"is of a fit with other data: {names}")

    def _refusal(self, problem: str) -> ValueError:
        return ValueError(
            f"Cannot go on: resume_from={os.fspath(self.path)!r} {problem}. Give the fit what it "
            "had, or leave resume_from out."
        )

    def start(
        self,
        estimator: Any,
        network: NetworkSpec,
        optimizer: OptimizerSpec,
        dtype: str,
        n_samples: int,
    ) -> Start:
        """Return where the fit stood, in place of where it would start.

        Raises
        ------
        FileProblem
            If it is nothing that this fit can have come to.
        """
        try:
            check_under_way(
                *(self.state, self.fit, network, optimizer, dtype, n_samples, estimator.shuffle)
            )
        except UNSOUND as error:
            raise nothing_sound(self.path, error) from error
        fit, generator, given = self.fit, self.state.random_state, estimator.random_state
        if isinstance(given, np.random.RandomState):
            given.set_state(generator.get_state(legacy=False))
            generator = given
        is_added = fit.before is not None
        return Start(fit.parameters, generator, self.state.optimizer, is_added, self.state)


@dataclass(frozen=True)
class ResumedNetworks:
    """The fits of several networks that others go on from.

    Attributes
    ----------
    networks : tuple of Resumed or None
        None of those that had written nothing yet: they start from the beginning.
    """

    networks: tuple[Resumed | None, ...]

    @property
    def _first(self) -> Resumed:
        return next(found for found in self.networks if found is not None)

    @property
    def dtype(self) -> Any:
        """The precision of their parameters."""
        return self._first.dtype

    def prepare(self, estimator: Any) -> bool:
        """Give the draft of an ensemble what earlier fits had left, in place of its own.

        Returns whether there were any that the files' fits go on from.

        Raises
        ------
        ValueError
            If there were, and a network has no file.
        """
        goes_on = self._first.prepare(estimator)
        if goes_on and None in self.networks:
            raise self._first._refusal(
                f"goes on from an earlier fit, of which network {self.networks.index(None)} has no "
                "checkpoint"
            )
        return goes_on

    def of_network(self, number: int, draft: Any) -> Resumed | None:
        """Return the fit of one network, whose draft gets what its earlier fits had left.

        Raises
        ------
        ValueError
            If it is one of another estimator.
        """
        found = self.networks[number]
        if found is not None:
            found.check_parameters(draft)
            scale = {name: vars(draft)[name] for name in SCALE if name in vars(draft)}
            found.prepare(draft)
            vars(draft).update(scale)
        return found

    def check_split(self, number: int, rows: IndexArray, held_out: HeldOut | None) -> None:
        """Refuse a network that has other rows: those of members are drawn anew.

        Raises
        ------
        ValueError
            If others were trained on, or held out.
        """
        found = self.networks[number]
        if found is None or held_out is None or held_out.rows is None:
            return
        both: tuple[Any, ...] = found.fit.rows, found.fit.held_out
        if not all(map(np.array_equal, both, (rows, held_out.rows))):
            raise found._refusal("is of a fit that has held out other rows")


def no_tensors(name: str) -> npt.NDArray[Any]:
    raise ValueError(f"a network has no array {name!r}")


def counting_steps(estimator: Any) -> str:
    """Return which parameters are schedules over all steps, whose number is that of `max_iter`."""
    names = [name for name in COUNTING[1:] if getattr(estimator, name) is not None]
    if schedule_of(estimator).changes_every_step:
        names.insert(0, COUNTING[0])
    return ", ".join(names)


def differences(
    written: Mapping[str, str], present: Mapping[str, str], free: set[str] | None = None
) -> dict[str, tuple[str, str]]:
    """Return what is not the same, with both values."""
    names = [name for name in (*written, *(present.keys() - written)) if name not in (free or ())]
    pairs = {name: (written.get(name, "none"), present.get(name, "none")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def listed(others: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(
        f"{name}={shortened(was)} (now {shortened(present)})"
        for name, (was, present) in others.items()
    )


def shortened(text: str) -> str:
    return text if len(text) <= 90 else f"{text[:50]}...{text[-30:]}"


# Checks of what no checksum tells


def check_records(records: Any) -> None:
    expect(type(records) is dict, "records of earlier fits")
    for name, value in records.items():
        expect(name in RECORDS and RECORDS[name](value), f"records of earlier fits ({name})")


def check_under_way(
    state: TrainerState,
    fit: UnderWay,
    network: NetworkSpec,
    optimizer: OptimizerSpec,
    dtype: str,
    n_samples: int,
    shuffles: bool,
) -> None:
    """Refuse what a fit of this network cannot have come to: kernels would believe it.

    Raises
    ------
    ValueError
        If anything is impossible.
    """

    def is_parameters(value: Any) -> bool:
        return is_vector(value) and value.dtype == dtype and is_trained((network, value))

    expect(is_parameters(fit.parameters), "its parameters")
    carried = state.optimizer
    expect(carried is not None and carried.name == optimizer.name, "the state of its optimizer")
    assert carried is not None
    vectors, averages = carried.vectors, carried.averages
    expect(
        vectors.dtype == dtype and vectors.shape[1] == layout_of(network).size,
        "the vectors of its optimizer",
    )
    expect((averages is None) == (optimizer.ema_decay is None), "its averages")
    expect(averages is None or is_parameters(averages.values), "its averages")
    expect(state.mask_seed is not None and state.mask_seed < SEEDS, "a seed")
    expect(state.connection_seed is None or state.connection_seed < SEEDS, "a seed")
    order = state.row_order
    # Else it would be drawn again, as often as the file says.
    is_known = not isinstance(order, RowOrder) or order.is_drawn
    expect(is_known and (order is not None) == shuffles, "the order of the rows")
    if fit.best is not None:
        check_best(fit.best, is_parameters)
    check_history(fit)
    expect(is_count(fit.samples_seen) and is_number(fit.patience_best), "counts and scores")
    check_rows(fit, n_samples)


def check_best(best: Best, is_parameters: Callable[[FloatArray | None], bool]) -> None:
    expect(is_number(best.value), "its best score")
    expect(is_parameters(best.parameters), "its best parameters")
    expect(best.raw is None or is_parameters(best.raw), "its best parameters")


def check_history(fit: UnderWay) -> None:
    history = fit.history
    n_epochs = len(history.losses) if type(history.losses) is list else 0
    expect(n_epochs > 0 and type(history.measured) is dict, "the history of an epoch")
    is_named = all(isinstance(name, str) and name != "loss" for name in history.measured)
    expect(is_named, "names of what was measured")
    scores = [history.validation_scores] if history.validation_scores else []
    columns = [history.losses, history.learning_rates, history.seconds, *scores]
    for column in (*columns, *history.measured.values()):
        is_column = are_reals(column) and len(column) == n_epochs
        expect(is_column, "a number for each epoch in its history")
    expect(is_finite_number(fit.seconds) and fit.seconds >= 0, "a time")


def check_rows(fit: UnderWay, n_samples: int) -> None:
    """Refuse numbers of rows that X does not have."""
    if fit.rows is None and fit.held_out is None:
        return
    both: tuple[Any, ...] = fit.rows, fit.held_out
    for rows in both:
        is_array = isinstance(rows, np.ndarray) and rows.dtype == np.int64
        expect(is_array and rows.ndim == 1 and rows.size > 0, "numbers of rows")
        expect(bool((rows >= 0).all() and (rows < n_samples).all()), "numbers of rows of X")


def expect(is_valid: bool, what: str) -> None:
    """Refuse what is not as it should be.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not is_valid:
        raise ValueError(f"expected {what}")
