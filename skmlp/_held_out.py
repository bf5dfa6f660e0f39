"""The rows that early stopping watches: where they come from, and how they are scored."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from skmlp._drafts import draft_of
from skmlp._hooks import Calls, CallsOfSeveral
from skmlp._resuming import Start
from skmlp._sklearn_compat import StrOptions, safe_indexing
from skmlp._splitting import held_out_by_splitter, is_splitter, split_rows, whole_groups
from skmlp._warning import Remark
from skmlp.engines.base import Engine, IndexArray
from skmlp.network.folding import folded_vector, is_foldable
from skmlp.network.parameters import FloatArray, ParameterLayout, layout_of
from skmlp.network.specs import HeadSpec, NetworkSpec

if TYPE_CHECKING:
    from skmlp._resumed import Resumed, ResumedNetworks

LOSS = "loss"
NAN = float("nan")
Score = Callable[[FloatArray], float]
Outputs = Callable[[FloatArray], FloatArray]


class ScoringOptions(StrOptions):
    """Constraint of the parameter `scoring`: "loss", or the name of a scorer of scikit-learn's."""

    def __init__(self) -> None:
        super().__init__({LOSS})

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is a name that is known; scikit-learn's are looked up only if need be."""
        if super().is_satisfied_by(val) or not isinstance(val, str):
            return super().is_satisfied_by(val)
        from sklearn.metrics import get_scorer_names

        return val in get_scorer_names()

    def __str__(self) -> str:
        return "'loss' or a name of sklearn.metrics.get_scorer_names()"


@dataclass(frozen=True)
class Given:
    """What a fit is given for validation, or for splitting rows off.

    Attributes
    ----------
    X_val, y_val, sample_weight_val : object
        Arguments of `fit`.
    groups : object
        Likewise.
    resume_from : str, path-like or None
        Likewise: where the checkpoint is that the fit goes on from.
    """

    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    groups: Any = None
    resume_from: Any = None

    @property
    def has_rows(self) -> bool:
        return self.X_val is not None

    def as_validated(self, validation: "tuple[Any, Samples] | None") -> dict[str, Any]:
        """Return what is here as data, by name: samples as they were validated."""
        data = {"groups": self.groups}
        if validation is not None:
            X, samples = validation
            data |= {"X_val": X, "y_val": samples.scored}
            data["sample_weight_val"] = samples.sample_weight
        return data

    def remarks_with_lbfgs(self) -> list[Remark]:
        """Return what to warn of where no epochs are watched."""
        given = "X_val" if self.has_rows else "groups"
        if not self.has_rows and self.groups is None:
            return []
        message = (
            f"{given} has no effect with solver='lbfgs'. Use any solver but 'lbfgs', or leave "
            f"{given} out."
        )
        return [Remark(message, UserWarning)]

    def check(self, early_stopping: bool) -> None:
        """Refuse what does not belong together.

        Raises
        ------
        ValueError
            If a part is missing, or nothing would be done with it.
        """
        if (self.X_val is None) != (self.y_val is None):
            given, missing = ("X_val", "y_val") if self.y_val is None else ("y_val", "X_val")
            raise ValueError(f"{given} is provided, but {missing} was not provided. Pass both.")
        if self.sample_weight_val is not None and not self.has_rows:
            raise ValueError(
                "sample_weight_val is provided, but X_val and y_val were not provided. Pass all "
                "three; samples that are held out of X have their sample_weight."
            )
        if self.groups is not None and self.has_rows:
            raise ValueError(
                "groups says which samples of X are held out together, but X_val and y_val are "
                "provided, so that none are. Leave one of them out."
            )
        names = "X_val and y_val are" if self.has_rows else "groups is"
        if not early_stopping and (self.has_rows or self.groups is not None):
            raise ValueError(
                f"{names} passed to fit while early_stopping={early_stopping}, which makes no use "
                "of validation. Set early_stopping=True, or leave them out."
            )


@dataclass(frozen=True)
class Targets:
    """Targets of one fit.

    Attributes
    ----------
    y : ndarray or CSR
        Targets as they were given.
    matrix : ndarray of shape (n_samples, n_columns)
        Targets as the engines take them.
    heads : tuple of HeadSpec
        The output layer that they ask for.
    stratify : ndarray or None
        What early stopping's split should be stratified by.
    scored : ndarray of shape (n_samples, n_columns)
        What the outputs of held-out samples are compared with.
    weight : ndarray of shape (n_samples,) or None
        What each sample counts in the loss.
    """

    y: Any
    matrix: npt.NDArray[Any]
    heads: tuple[HeadSpec, ...]
    stratify: npt.NDArray[Any] | None
    scored: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Samples:
    """Samples to validate with.

    Attributes
    ----------
    X, y : object
        As scorers are given them: y as in `fit`, X a data frame where that of the fit was one.
    matrix : ndarray of shape (n_samples, n_columns)
        Targets as the engines take them.
    scored : ndarray of shape (n_samples, n_columns)
        What outputs are compared with.
    sample_weight : ndarray of shape (n_samples,) or None
        What each sample counts in the score.
    """

    X: Any
    y: Any
    matrix: npt.NDArray[Any]
    scored: npt.NDArray[Any]
    sample_weight: npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class HeldOut:
    """The rows that are watched.

    Attributes
    ----------
    data : object
        Handle returned by the engine's `load`.
    samples : Samples
        The same ones.
    rows : ndarray or None
        Numbers of the rows of both; None means all.
    """

    data: Any
    samples: Samples
    rows: IndexArray | None = None

    @property
    def targets(self) -> npt.NDArray[Any]:
        """What outputs are compared with."""
        return self.samples.scored if self.rows is None else self.samples.scored[self.rows]

    @property
    def sample_weight(self) -> npt.NDArray[np.float64] | None:
        weight = self.samples.sample_weight
        return weight if weight is None or self.rows is None else weight[self.rows]

    @property
    def X_and_y(self) -> tuple[Any, Any]:
        X, y = self.samples.X, self.samples.y
        return (X, y) if self.rows is None else (safe_indexing(X, self.rows), y[self.rows])


class Data:
    """All that `fit` was given, by name, as it was validated: what checkpoints tell it by.

    Parameters
    ----------
    values : dict of str to array
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    @cached_property
    def digests(self) -> dict[str, str]:
        from skmlp._fingerprints import fingerprint_of  # which few fits need

        return {name: fingerprint_of(value) for name, value in self._values.items()}


@dataclass(frozen=True)
class Watched:
    """Where one fit may find rows to validate with.

    Attributes
    ----------
    samples : Samples
        All that were given to train on.
    given : Given
    validation : tuple of (X, Samples) or None
        Those that were given to validate with, X as engines take it.
    calls : Calls, CallsOfSeveral or None
        Who calls the hooks of callbacks.
    data : Data
    resumed : Resumed, ResumedNetworks or None
        The fit that is gone on from, if it is that of a checkpoint.
    """

    samples: Samples
    given: Given
    validation: tuple[Any, Samples] | None
    calls: Calls | CallsOfSeveral | None
    data: Data
    resumed: "Resumed | ResumedNetworks | None"


class Watching(ABC):
    """Gives an estimator the rows that early stopping watches, and what it sees of them."""

    scoring: Any
    validation_fraction: Any
    coefs_: list[FloatArray]
    intercepts_: list[FloatArray]
    _network: NetworkSpec
    _trained: tuple[NetworkSpec, FloatArray]

    @abstractmethod
    def _validation_score(
        self,
        network: NetworkSpec,
        targets: npt.NDArray[Any],
        outputs: FloatArray,
        sample_weight: npt.NDArray[np.float64] | None,
    ) -> float:
        """Score the network's outputs on the rows that early stopping watches."""

    def _rows_to_watch(
        self,
        engine: Engine,
        network: NetworkSpec,
        data: Any,
        start: Start,
        targets: Targets,
        watched: Watched,
    ) -> tuple[IndexArray, HeldOut]:
        """Return the numbers of the rows to train on, and those to watch."""
        if watched.validation is None:
            fit = start.under_way
            if fit is None or fit.rows is None or fit.held_out is None:
                rows, numbers = self._split(targets, start, watched)
            else:
                rows, numbers = fit.rows, fit.held_out
            self._check_weights(targets.weight, rows, numbers)
            return rows, HeldOut(data, watched.samples, numbers)
        X, samples = watched.validation
        dtype = start.parameters.dtype.name
        loaded = engine.load(X, samples.matrix, samples.sample_weight, network, dtype)
        return np.arange(len(targets.matrix)), HeldOut(loaded, samples)

    def _split(
        self, targets: Targets, start: Start, watched: Watched
    ) -> tuple[IndexArray, IndexArray]:
        """Return the numbers of the rows to train on, and of those held out."""
        splitter, samples = self.validation_fraction, watched.samples
        groups = watched.given.groups
        if not is_splitter(splitter):
            if groups is None:
                n_samples = len(targets.matrix)
                return split_rows(n_samples, splitter, start.random_state, targets.stratify)
            splitter = whole_groups(splitter, start.random_state)
        return held_out_by_splitter(splitter, samples.X, samples.y, groups)

    def _check_weights(
        self,
        sample_weight: npt.NDArray[np.float64] | None,
        train: IndexArray,
        held_out: IndexArray,
    ) -> None:
        """Refuse weights that are zero for all rows of a part of the split."""
        if sample_weight is None:
            return
        for part, rows in (("held out", held_out), ("trained on", train)):
            if not sample_weight[rows].any():
                raise ValueError(
                    f"sample_weight is zero for all samples {part} under early_stopping, "
                    "class_weight counted in. Change "
                    f"validation_fraction={self.validation_fraction} or random_state, or leave "
                    "out samples without weight."
                )

    def _scorer(
        self, engine: Engine, network: NetworkSpec, held_out: HeldOut, loss: Score
    ) -> Score:
        """Return a function that scores parameters on the rows held out, the higher the better."""
        if isinstance(self.scoring, str) and self.scoring == LOSS:
            return negative(loss)
        outputs = outputs_of(engine, network, held_out)
        if self.scoring is None:
            targets, weight = held_out.targets, held_out.sample_weight
            return outputs_scored(
                outputs, lambda o: self._validation_score(network, targets, o, weight)
            )
        make_estimator = partial(self._with_parameters, network)
        return estimator_scored(self.scoring, make_estimator, held_out, outputs)

    def _with_parameters(self, network: NetworkSpec, parameters: FloatArray) -> Self:
        """Return an estimator like this one, fitted to copies of these parameters."""
        estimator = draft_of(self)
        estimator._set_trained(network, parameters.copy())
        return estimator

    def _set_trained(self, network: NetworkSpec, parameters: FloatArray) -> None:
        """Take over a network as it was trained, with what can be folded in the weights.

        So those who read `coefs_` and `intercepts_` alone compute what it does. What it was before
        is what a later fit goes on from.
        """
        plain, packed = network, parameters
        if is_foldable(network):
            plain, packed = folded_vector(network, parameters)
        vars(self).pop("_trained", None)
        if plain is not network:
            self._trained = network, parameters
        self._network = plain
        self._set_parameters(layout_of(plain), packed)

    def _set_parameters(self, layout: ParameterLayout, parameters: FloatArray) -> None:
        self.coefs_, self.intercepts_ = layout.views(parameters)
        self._extras = layout.extras_of(parameters).copy()


def loss_of(engine: Engine, network: NetworkSpec, held_out: HeldOut) -> Score:
    """Return a function that computes the mean loss for given parameters."""

    def loss(parameters: FloatArray) -> float:
        return engine.mean_loss(network, parameters, held_out.data, held_out.rows)

    return loss


def negative(loss: Score) -> Score:
    """Return the score that a loss is: the higher, the better; NaN if it is not finite."""

    def score(parameters: FloatArray) -> float:
        value = loss(parameters)
        return -value if np.isfinite(value) else NAN

    return score


def outputs_of(engine: Engine, network: NetworkSpec, held_out: HeldOut) -> Outputs:
    """Return a function that computes the outputs for given parameters."""

    def outputs(parameters: FloatArray) -> FloatArray:
        return engine.outputs(network, parameters, held_out.data, held_out.rows)

    return outputs


def outputs_scored(outputs: Outputs, score_outputs: Callable[[FloatArray], float]) -> Score:
    """Return a function that scores the outputs for given parameters; NaN if one is not finite."""

    def score(parameters: FloatArray) -> float:
        values = outputs(parameters)
        return score_outputs(values) if np.isfinite(values).all() else NAN

    return score


def estimator_scored(
    scoring: Any,
    make_estimator: Callable[[FloatArray], Any],
    held_out: HeldOut,
    outputs: Outputs,
) -> Score:
    """Return a function that has a scorer look at an estimator with given parameters.

    What the scorer raises is passed on, unless it is that outputs are not finite: then it is NaN.
    """
    from sklearn.metrics import get_scorer

    scorer = get_scorer(scoring)
    X, y = held_out.X_and_y
    options = {}
    if held_out.sample_weight is not None and takes_weights(scorer):
        options["sample_weight"] = held_out.sample_weight

    def score(parameters: FloatArray) -> float:
        estimator = make_estimator(parameters)
        try:
            return checked_score(scorer(estimator, X, y, **options), scoring)
        except ValueError:
            if np.isfinite(outputs(parameters)).all():
                raise
            return NAN

    return score


def takes_weights(scorer: Any) -> bool:
    """Whether a scorer, or what it makes use of, takes `sample_weight`."""
    function = getattr(scorer, "_score_func", scorer)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled, without a signature
        return False
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def checked_score(value: Any, scoring: Any) -> float:
    """Return a score as a plain number.

    Raises
    ------
    ValueError
        If it is none, or NaN, which nothing can be compared with.
    """
    number = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    if not isinstance(number, Real) or number != number:
        raise ValueError(
            f"scoring={scoring!r} must return a number, the higher the better, but returned "
            f"{value!r} for the validation samples. Use another scorer, or validation samples "
            "for which it is defined."
        )
    return float(number)
