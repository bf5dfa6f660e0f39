"""What the two estimators of tables share: parts of the data, the encoder, packs and refits."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skmlp._choices import same
from skmlp._drafts import draft_of, take_over
from skmlp._endings import interrupted_remark
from skmlp._held_out import LOSS, Given, ScoringOptions, checked_score, takes_weights
from skmlp._importances import MOST_ROWS, importances_by_permutation
from skmlp._members import SEEDS
from skmlp._onnx_tables import TablesInOnnx
from skmlp._pack_refits import NotRefitted, refit_pack
from skmlp._packs import Course, fit_pack
from skmlp._presets import PRESETS, Preset, Recipe, Table, epochs_in_one, stretched
from skmlp._saving import Saving
from skmlp._selection import Criterion
from skmlp._sklearn_compat import (
    CheckedParameters,
    Interval,
    StrOptions,
    _fit_context,
    safe_indexing,
)
from skmlp._splitting import (
    SplitterOptions,
    evenly_split,
    held_out_by_splitter,
    is_splitter,
    whole_groups,
)
from skmlp._table_encoder import TableEncoder
from skmlp._table_reading import as_array_like, is_frame_of
from skmlp._validation import check_sample_weight
from skmlp._warning import Remark, warn
from skmlp.engines.base import IndexArray
from skmlp.training.stopping import StopReason

# Of the seconds that a fit may take, what is kept for what follows the training.
SHARE_KEPT = 0.02
# What the search for networks may take where those that are chosen are trained once more, on a few
# more samples: at most as long.
SHARE_BEFORE_REFIT = 0.45
# How many networks are averaged at most. One after several epochs counts as several, and may be
# picked several times.
MOST_PICKS = 24

Encoded = npt.NDArray[Any]
Weights = npt.NDArray[np.float64]


class Parts(NamedTuple):
    """What is trained on, and what is watched.

    Attributes
    ----------
    X, y, weight : object, ndarray, ndarray or None
        To train on.
    X_val, y_val, weight_val : the same
        To watch.
    """

    X: Any
    y: npt.NDArray[Any]
    weight: Weights | None
    X_val: Any
    y_val: npt.NDArray[Any]
    weight_val: Weights | None


class BaseTabularMLP(TablesInOnnx, Saving, CheckedParameters, BaseEstimator, ABC):
    """Base of `TabularMLPClassifier` and `TabularMLPRegressor`; not to be used directly."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "preset": [StrOptions(set(PRESETS))],
        "n_members": [Interval(Integral, 1, None, closed="left"), None],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), SplitterOptions()],
        "scoring": [ScoringOptions(), callable, None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "refit": ["boolean"],
        "n_permutations": [Interval(Integral, 0, None, closed="left")],
        "dtype": [StrOptions({"float32", "float64"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    ensemble_: Any
    encoder_: TableEncoder
    classes_: npt.NDArray[Any]
    feature_importances_: npt.NDArray[np.float64]

    @abstractmethod
    def __init__(
        self,
        preset: str,
        *,
        n_members: int | None,
        categorical_features: Any,
        validation_fraction: Any,
        scoring: Any,
        max_iter: int | None,
        n_iter_no_change: int | None,
        max_time: float | None,
        refit: bool,
        n_permutations: int,
        dtype: str,
        n_jobs: int | None,
        random_state: Any,
        verbose: bool | int,
    ) -> None:
        self.preset = preset
        self.n_members = n_members
        self.categorical_features = categorical_features
        self.validation_fraction = validation_fraction
        self.scoring = scoring
        self.max_iter = max_iter
        self.n_iter_no_change = n_iter_no_change
        self.max_time = max_time
        self.refit = refit
        self.n_permutations = n_permutations
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # What the two estimators do differently

    @abstractmethod
    def _encoded_targets(self, y: Any, *, reset: bool) -> npt.NDArray[Any]:
        """Check targets, and return them as networks are given them."""

    @abstractmethod
    def _pack(self, preset: Preset, **parameters: Any) -> Any:
        """Return what is going to be an ensemble of unlike networks."""

    @abstractmethod
    def _known(self, outputs: npt.NDArray[Any], parts: Parts) -> Any:
        """Return an estimator whose predictions are known already, for scorers."""

    @abstractmethod
    def _raw_outputs(self, ensemble: Any, encoded: Encoded) -> npt.NDArray[Any]:
        """Return what a criterion takes of predictions for an encoded table."""

    @abstractmethod
    def _criterion(self, y: npt.NDArray[Any], weight: Weights | None) -> Criterion:
        """Return what predictions for samples with these encoded targets are compared by."""

    @abstractmethod
    def _blank(self, n_samples: int) -> npt.NDArray[Any]:
        """Return outputs of a network that knows nothing."""

    def _check_parts(self, parts: Parts) -> None:
        """Refuse parts that nothing can be learned from, or compared with."""
        for weight, what in ((parts.weight, "trained on"), (parts.weight_val, "held out")):
            if weight is not None and not weight.any():
                raise ValueError(
                    f"sample_weight is zero for all samples {what}, class_weight counted in. "
                    f"Change validation_fraction={self.validation_fraction} or random_state, or "
                    "leave out samples without weight."
                )

    def _weighed(self, parts: Parts) -> Parts:
        """Return the same with what samples weigh by their targets."""
        return parts

    def _labels(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return encoded targets as users know them."""
        return y

    def _calibrate(self, ensemble: Any, parts: Parts, encoded: Encoded) -> None:
        """Learn from held-out samples what is not trained."""

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
    ) -> Self:
        """Fit the encoder and the networks.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            A table of numbers and categories; some may be missing.
        y : array-like of shape (n_samples,)
            Class labels, or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all zero. None means ones.
        X_val : {array-like, data frame} of shape (n_val, n_features), default=None
            Samples to choose networks by, in the place of held-out ones; none of X is held out
            then.
        y_val : array-like of shape (n_val,), default=None
            Their targets; needed if `X_val` is given.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.
        groups : array-like of shape (n_samples,), default=None
            Which samples belong together. Whole groups are held out then.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or no network has learned anything. The
            estimator then is as it was before.
        """
        begun = time.monotonic()
        draft = draft_of(self)
        given = Given(X_val, y_val, sample_weight_val, groups)
        remarks = draft._learn(X, y, sample_weight, given, begun)
        take_over(self, draft)
        for remark in remarks:
            warn(*remark)
        return self

    def _learn(
        self, X: Any, y: Any, sample_weight: Any, given: Given, begun: float
    ) -> list[Remark]:
        random_state = check_random_state(self.random_state)
        given.check(True)
        everything = self._everything(X, y, sample_weight)
        parts = self._weighed(self._parts(everything, given, random_state))
        self._check_parts(parts)
        encoded, watched = self._encode(parts, random_state)
        preset = PRESETS[self.preset]
        table = Table(
            *(len(encoded), *self.encoder_.blocks_, isinstance(self, ClassifierMixin)),
            tuple(self.encoder_._encoding.flag_widths),
        )
        stretch = epochs_in_one(table.n_rows) if preset.stretches else 1
        patience = self.n_iter_no_change or preset.patience * stretch
        refits = self.refit and not given.has_rows
        n_members = self.n_members or preset.n_members
        shares = None if preset.shares is None else preset.shares(table, n_members)
        n_recipes = n_members if shares is None else 1
        course = Course(
            self._recipes(preset, n_recipes, table, random_state),
            patience=2 * patience,
            most_picks=MOST_PICKS if n_members > 1 else 1,
            shares=shares,
            deadline=self._deadline(begun, SHARE_BEFORE_REFIT if refits else 1.0 - SHARE_KEPT),
            scorer=self._scorer(parts),
            say=print if self.verbose else None,
            shortlist=stretched(preset.shortlist, stretch),
        )
        pack = self._pack(
            preset,
            n_estimators=n_members,
            max_iter=self.max_iter or preset.max_iter * stretch,
            n_iter_no_change=patience,
            early_stopping=True,
            scoring=LOSS,
            tol=0.0,
            dtype=self.dtype,
            n_jobs=self.n_jobs,
        )
        with learner(pack, fit_pack, course):
            pack.fit(
                *(encoded, parts.y, parts.weight),
                X_val=watched,
                y_val=parts.y_val,
                sample_weight_val=parts.weight_val,
            )
        self._calibrate(pack, parts, watched)
        self._tell(course)
        self._measure(pack, parts, watched, random_state)
        self.ensemble_, remarks = pack, []
        if course.stop_reason is StopReason.INTERRUPTED:
            remarks.append(interrupted_remark(len(course.losses)))
        elif refits:
            course.deadline = self._deadline(begun, 1.0 - SHARE_KEPT)
            remarks += self._refit(self._weighed(everything), course)
        return remarks

    def _everything(self, X: Any, y: Any, sample_weight: Any) -> Parts:
        """Check what is given to `fit`, and return all of it as what is trained on."""
        X, targets = as_rows(X), self._encoded_targets(y, reset=True)
        check_lengths(X, targets)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, targets)
        return Parts(X, targets, weight, X, targets, weight)

    def _encode(self, parts: Parts, random_state: np.random.RandomState) -> tuple[Encoded, Encoded]:
        """Fit the encoder; return what is trained on, and what is watched, as it encodes them."""
        own = dict(PRESETS[self.preset].encoder)
        if own.get("scaling") == "quantile":  # which draws noise
            own["random_state"] = int(random_state.randint(SEEDS))
        self.encoder_ = TableEncoder(
            categorical_features=self.categorical_features, dtype=self.dtype, **own
        )
        encoded = self.encoder_.fit_transform(parts.X)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                delattr(self, name)
            if hasattr(self.encoder_, name):
                setattr(self, name, getattr(self.encoder_, name))
        return encoded, self.encoder_.transform(parts.X_val)

    def _recipes(
        self, preset: Preset, count: int, table: Table, random_state: np.random.RandomState
    ) -> list[Recipe]:
        """Return what makes each network unlike the others, its seed included."""
        recipes = [preset.draw(table, number, random_state) for number in range(count)]
        return [{**recipe, "random_state": int(random_state.randint(SEEDS))} for recipe in recipes]

    def _deadline(self, begun: float, share: float) -> float | None:
        return None if self.max_time is None else begun + share * self.max_time

    def _tell(self, course: Course) -> None:
        """Keep how the training went."""
        # Those that share weights have one recipe.
        recipes = course.recipes * (len(course.report) // len(course.recipes))
        pairs = zip(recipes, course.report, strict=True)
        self.validation_report_ = {
            "members": [{**recipe, **own} for recipe, own in pairs],
            "rounds": {
                "loss": course.losses,
                "seconds": course.seconds,
                "n_networks": course.n_networks,
            },
        }
        self.n_iter_ = len(course.losses)
        self.stop_reason_ = course.stop_reason.value

    def _refit(self, everything: Parts, course: Course) -> list[Remark]:
        """Train the networks that were chosen on all samples, if that can be done."""
        again = clone(self.ensemble_).set_params(early_stopping=False, scoring=None)
        try:
            with learner(again, refit_pack, course):
                again.fit(self.encoder_.transform(everything.X), everything.y, everything.weight)
        except NotRefitted as reason:
            message = (
                f"The networks that were chosen were not trained on all samples, because {reason}. "
                "They are those that were trained without the samples held out."
            )
            return [Remark(message, UserWarning)]
        self.ensemble_ = again
        return []

    def _measure(
        self, pack: Any, parts: Parts, watched: Encoded, random_state: np.random.RandomState
    ) -> None:
        """Keep how important columns are, if anybody asks."""
        if hasattr(self, "feature_importances_"):
            del self.feature_importances_
        if self.n_permutations:
            self.feature_importances_ = self._importances(pack, parts, watched, random_state)

    def _importances(
        self,
        ensemble: Any,
        parts: Parts,
        encoded: Encoded,
        random_state: np.random.RandomState,
    ) -> npt.NDArray[np.float64]:
        counted = parts.weight_val is None or parts.weight_val > 0.0
        rows = np.flatnonzero(np.broadcast_to(counted, len(encoded)))
        if len(rows) > MOST_ROWS:
            rows = np.sort(random_state.permutation(rows)[:MOST_ROWS])
        weight = None if parts.weight_val is None else parts.weight_val[rows]
        return importances_by_permutation(
            partial(self._raw_outputs, ensemble),
            encoded[rows],
            self._criterion(parts.y_val[rows], weight),
            self.encoder_._encoding.sources,
            self.n_features_in_,
            self.n_permutations,
            random_state,
        )

    def _scorer(self, parts: Parts) -> Callable[[npt.NDArray[Any]], float] | None:
        """Return what scores predictions for the samples that are watched; None for the loss."""
        if self.scoring is None or same(self.scoring, LOSS):
            return None
        from sklearn.metrics import get_scorer

        scorer = get_scorer(self.scoring)
        options = {}
        if parts.weight_val is not None and takes_weights(scorer):
            options["sample_weight"] = parts.weight_val

        def score(outputs: npt.NDArray[Any]) -> float:
            known = self._known(outputs, parts)
            value = scorer(known, parts.X_val, self._labels(parts.y_val), **options)
            return checked_score(value, self.scoring)

        score(self._blank(len(parts.y_val)))  # before anything is trained, what fails shall fail
        return score

    def _parts(self, everything: Parts, given: Given, random_state: np.random.RandomState) -> Parts:
        """Return what is trained on, and what is watched."""
        X, y, weight = everything[:3]
        if given.has_rows:
            X_val, y_val = as_rows(given.X_val), self._encoded_targets(given.y_val, reset=False)
            check_lengths(X_val, y_val, "X_val", "y_val")
            weight_val = given.sample_weight_val
            if weight_val is not None:
                weight_val = check_sample_weight(weight_val, y_val, "sample_weight_val")
            return Parts(X, y, weight, X_val, y_val, weight_val)
        rows, held_out = self._split(X, y, given.groups, random_state)
        parts = (
            (safe_indexing(X, own), y[own], None if weight is None else weight[own])
            for own in (rows, held_out)
        )
        return Parts(*next(parts), *next(parts))

    def _split(
        self, X: Any, y: npt.NDArray[Any], groups: Any, random_state: np.random.RandomState
    ) -> tuple[IndexArray, IndexArray]:
        """Return the numbers of the rows to train on, and of those held out."""
        splitter = self.validation_fraction
        if is_splitter(splitter) or groups is not None:
            if not is_splitter(splitter):
                splitter = whole_groups(splitter, random_state)
            return held_out_by_splitter(splitter, X, y, groups)
        labels = y if isinstance(self, ClassifierMixin) else None
        return evenly_split(len(y), float(splitter), labels, random_state)

    # Prediction

    def _encoded(self, X: Any) -> Encoded:
        if "ensemble_" not in vars(self):  # else to ask scikit-learn would take a while
            check_is_fitted(self, "ensemble_")
        return np.asarray(self.encoder_.transform(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def as_rows(X: Any) -> Any:
    """Return a table whose rows can be chosen: a data frame as it is, all else as an array.

    Raises
    ------
    ValueError
        If it is no table.
    """
    if is_frame_of("pandas", X) or is_frame_of("polars", X):
        return X
    X = np.asarray(as_array_like(X))
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, but X has shape {X.shape}. Pass a table with a row for each "
            "sample: X.reshape(-1, 1) if it is a single column, X.reshape(1, -1) if a single row."
        )
    return X


def check_lengths(X: Any, y: npt.NDArray[Any], X_name: str = "X", y_name: str = "y") -> None:
    """Refuse tables that have not as many rows as targets.

    Raises
    ------
    ValueError
        If they have not.
    """
    if len(X) != len(y):
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {X_name} has {len(X)} "
            f"rows, but {y_name} has {len(y)}. Give a target for each row."
        )


@contextmanager
def learner(pack: Any, learn: Any, course: Course) -> Iterator[None]:
    """Have `pack.fit` fit unlike networks."""
    pack._learner = partial(learn, course=course)
    try:
        yield
    finally:
        del pack._learner


def one_target(y: Any, name: str, estimator: Any) -> npt.NDArray[Any]:
    """Return targets as a vector.

    Raises
    ------
    ValueError
        If there are none, or several for each sample.
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target {name} is None."
        )
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            f"{name} should be a 1d array, but has shape {y.shape}: {type(estimator).__name__} "
            "takes one target. Fit one for each column, or MLPClassifier or MLPRegressor behind a "
            "TableEncoder."
        )
    return np.asarray(column_or_1d(y, warn=name == "y"))
