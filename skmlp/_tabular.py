"""`TabularMLPClassifier` and `TabularMLPRegressor`: networks for tables as they come."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_is_fitted,
    column_or_1d,
)

from skmlp._choices import same
from skmlp._classifier import MLPClassifier
from skmlp._drafts import draft_of, take_over
from skmlp._endings import interrupted_remark
from skmlp._held_out import ScoringOptions, checked_score, takes_weights
from skmlp._importances import MOST_ROWS, importances_by_permutation
from skmlp._packs import Course, NotRefitted, fit_pack, refit_pack
from skmlp._presets import PRESETS, Preset, Table, epochs_in_one, stretched
from skmlp._regressor import MLPRegressor
from skmlp._selection import Criterion, LogLoss, SquaredError
from skmlp._sklearn_compat import (
    CheckedParameters,
    Interval,
    StrOptions,
    _fit_context,
    safe_indexing,
)
from skmlp._splitting import SplitterOptions, held_out_by_splitter, is_splitter, whole_groups
from skmlp._table_encoder import TableEncoder
from skmlp._table_reading import as_array_like, is_frame_of
from skmlp._target_scale import scaling_of
from skmlp._targets import both_columns
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
# What is known of a temperature before any sample is seen: its logarithm is about zero, give or
# take this. A few samples that are all predicted well are no reason for probabilities of zero.
DEVIATION_OF_LOG_TEMPERATURE = 0.3


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
    weight: npt.NDArray[np.float64] | None
    X_val: Any
    y_val: npt.NDArray[Any]
    weight_val: npt.NDArray[np.float64] | None


class BaseTabularMLP(CheckedParameters, BaseEstimator, ABC):
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
    def _raw_outputs(self, ensemble: Any, encoded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what a criterion takes of predictions for an encoded table."""

    @abstractmethod
    def _criterion(self, y: npt.NDArray[Any], weight: npt.NDArray[np.float64] | None) -> Criterion:
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

    def _calibrate(self, ensemble: Any, parts: Parts, encoded: npt.NDArray[Any]) -> None:
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
        given = (X_val, y_val, sample_weight_val, groups)
        remarks = draft._learn(X, y, sample_weight, given, begun)
        take_over(self, draft)
        for remark in remarks:
            warn(*remark)
        return self

    def _learn(
        self, X: Any, y: Any, sample_weight: Any, given: tuple[Any, ...], begun: float
    ) -> list[Remark]:
        random_state = check_random_state(self.random_state)
        X = as_rows(X)
        targets = self._encoded_targets(y, reset=True)
        check_lengths(X, targets)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, targets)
        parts = self._weighed(self._parts(X, targets, weight, given, random_state))
        self._check_parts(parts)
        preset = PRESETS[self.preset]
        self.encoder_ = TableEncoder(
            categorical_features=self.categorical_features, dtype=self.dtype, **preset.encoder
        )
        encoded = self.encoder_.fit_transform(parts.X)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                delattr(self, name)
            if hasattr(self.encoder_, name):
                setattr(self, name, getattr(self.encoder_, name))
        watched = self.encoder_.transform(parts.X_val)
        blocks = self.encoder_.blocks_
        table = Table(len(encoded), *blocks, is_classifier=isinstance(self, ClassifierMixin))
        stretch = epochs_in_one(table.n_rows) if preset.stretches else 1
        patience = self.n_iter_no_change or preset.patience * stretch
        recipes = [
            preset.draw(table, number, random_state)
            for number in range(self.n_members or preset.n_members)
        ]
        seeds = [int(random_state.randint(np.iinfo(np.int32).max)) for _ in recipes]
        left = None
        if self.max_time is not None:
            share = SHARE_BEFORE_REFIT if self.refit and given[0] is None else 1.0 - SHARE_KEPT
            left = begun + share * self.max_time
        course = Course(
            [{**recipe, "random_state": seed} for recipe, seed in zip(recipes, seeds, strict=True)],
            patience=2 * patience,
            most_picks=MOST_PICKS if len(recipes) > 1 else 1,
            deadline=left,
            scorer=self._scorer(parts),
            say=print if self.verbose else None,
            shortlist=stretched(preset.shortlist, stretch),
        )
        pack = self._pack(
            preset,
            n_estimators=len(recipes),
            max_iter=self.max_iter or preset.max_iter * stretch,
            n_iter_no_change=patience,
            early_stopping=True,
            scoring="loss",
            tol=0.0,
            dtype=self.dtype,
            n_jobs=self.n_jobs,
        )
        pack._learner = partial(fit_pack, course=course)
        pack.fit(
            *(encoded, parts.y, parts.weight),
            X_val=watched,
            y_val=parts.y_val,
            sample_weight_val=parts.weight_val,
        )
        self._calibrate(pack, parts, watched)
        if hasattr(self, "feature_importances_"):
            del self.feature_importances_
        if self.n_permutations:
            self.feature_importances_ = self._importances(pack, parts, watched, random_state)
        remarks: list[Remark] = []
        self.stop_reason_ = course.stop_reason.value
        if course.stop_reason is StopReason.INTERRUPTED:
            remarks.append(interrupted_remark(len(course.losses)))
        elif self.refit and given[0] is None:
            if self.max_time is not None:
                course.deadline = begun + (1.0 - SHARE_KEPT) * self.max_time
            everything = self._weighed(Parts(X, targets, weight, X, targets, weight))
            try:
                again = clone(pack).set_params(early_stopping=False, scoring=None)
                again._learner = partial(refit_pack, course=course)
                again.fit(self.encoder_.transform(X), targets, everything.weight)
                pack = again
            except NotRefitted as reason:
                message = (
                    f"The networks that were chosen were not trained on all samples, because "
                    f"{reason}. They are those that were trained without the samples held out."
                )
                remarks.append(Remark(message, UserWarning))
        del pack._learner
        self.ensemble_ = pack
        self.validation_report_ = {
            "members": [
                {**recipe, **own} for recipe, own in zip(course.recipes, course.report, strict=True)
            ],
            "rounds": {
                "loss": course.losses,
                "seconds": course.seconds,
                "n_networks": course.n_networks,
            },
        }
        self.n_iter_ = len(course.losses)
        return remarks

    def _importances(
        self,
        ensemble: Any,
        parts: Parts,
        encoded: npt.NDArray[Any],
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
        if self.scoring is None or same(self.scoring, "loss"):
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

    def _parts(
        self,
        X: Any,
        y: npt.NDArray[Any],
        weight: npt.NDArray[np.float64] | None,
        given: tuple[Any, ...],
        random_state: np.random.RandomState,
    ) -> Parts:
        """Return what is trained on, and what is watched."""
        X_val, y_val, weight_val, groups = given
        if (X_val is None) != (y_val is None):
            there, missing = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
            raise ValueError(f"{there} is provided, but {missing} was not provided. Pass both.")
        if X_val is not None:
            if groups is not None:
                raise ValueError(
                    "groups says which samples of X are held out together, but X_val and y_val are "
                    "provided, so that none are. Leave one of them out."
                )
            y_val = self._encoded_targets(y_val, reset=False)
            X_val = as_rows(X_val)
            check_lengths(X_val, y_val)
            if weight_val is not None:
                weight_val = check_sample_weight(weight_val, y_val, "sample_weight_val")
            return Parts(X, y, weight, X_val, y_val, weight_val)
        if weight_val is not None:
            raise ValueError(
                "sample_weight_val is provided, but X_val and y_val were not provided. Pass all "
                "three; samples that are held out of X have their sample_weight."
            )
        rows, held_out = self._split(X, y, groups, random_state)
        own = [None, None] if weight is None else [weight[rows], weight[held_out]]
        return Parts(
            *(safe_indexing(X, rows), y[rows], own[0]),
            *(safe_indexing(X, held_out), y[held_out], own[1]),
        )

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
        return split_of(len(y), float(splitter), labels, random_state)

    # Prediction

    def _encoded(self, X: Any) -> npt.NDArray[Any]:
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
    """Return a table whose rows can be chosen: a data frame as it is, all else as an array."""
    if is_frame_of("pandas", X) or is_frame_of("polars", X):
        return X
    return np.asarray(as_array_like(X))


def check_lengths(X: Any, y: npt.NDArray[Any]) -> None:
    """Refuse tables that have not as many rows as targets.

    Raises
    ------
    ValueError
        If they have not.
    """
    n_samples = len(X)
    if n_samples != len(y):
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has {n_samples} rows, "
            f"but y has {len(y)}. Give a target for each row."
        )


def split_of(
    n_samples: int,
    fraction: float,
    labels: npt.NDArray[Any] | None,
    random_state: np.random.RandomState,
) -> tuple[IndexArray, IndexArray]:
    """Split row numbers into those to train on and those held out, both in order.

    Classes keep their shares as far as that is possible. The first sample of each class, in the
    drawn order, is trained on in any case.

    Raises
    ------
    ValueError
        If there are too few rows.
    """
    n_held_out = int(np.ceil(fraction * n_samples))
    order = random_state.permutation(n_samples)
    if labels is None:
        held_out, rows = order[:n_held_out], order[n_held_out:]
    else:
        # By how large a part of its class comes before a sample: so every class is spread evenly.
        by_class = np.argsort(labels[order], kind="stable")
        counts = np.bincount(labels)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        place = (np.arange(n_samples) - firsts + 0.5) / np.repeat(counts, counts)
        ranked = order[by_class][np.argsort(-place, kind="stable")]
        is_first = np.zeros(n_samples, dtype=bool)
        is_first[order[by_class][firsts]] = True
        free = ranked[~is_first[ranked]]
        held_out = free[:n_held_out]
        rows = np.setdiff1d(order, held_out)
    if len(held_out) == 0 or len(rows) == 0:
        raise ValueError(
            f"validation_fraction={fraction} of n_samples={n_samples} leaves {len(rows)} sample(s) "
            f"to train on and {len(held_out)} to hold out. Give more samples, another "
            "validation_fraction, or X_val and y_val."
        )
    return np.sort(rows), np.sort(held_out)


class TabularMLPClassifier(ClassifierMixin, BaseTabularMLP):
    """Classifier for tables as they come: numbers and categories, some of them missing.

    A table is encoded by `TableEncoder`, and a *pack* of networks is trained on it, all at once and
    each with other settings. The networks that together predict a held-out part best are what
    predicts. Nothing has to be tuned.

    Parameters
    ----------
    preset : {'pack', 'plain', 'realmlp', 'realmlp-s'}, default='pack'
        Which networks are trained:

        - 'pack': unlike networks, whose settings are drawn; those that fall behind leave early;
        - 'plain': one network of fixed settings;
        - 'realmlp': RealMLP-TD, 256 epochs of one network of three layers, with periodic
          embeddings of numbers and the neural-tangent parametrization;
        - 'realmlp-s': the simple variant without embeddings, dropout and weight decay.
    n_members : int, default=None
        How many networks are trained. None means what the preset has.
    categorical_features : 'from_dtype', array-like or None, default='from_dtype'
        Which columns are categories, as for `TableEncoder`.
    validation_fraction : float or splitter, default=0.15
        The share of the samples that is held out to choose networks by; or a splitter, whose first
        split counts.
    scoring : str, callable or None, default=None
        What the ensemble is chosen by in the end, a scorer of scikit-learn's. None and 'loss' mean
        the log loss, by which it is chosen after every round in any case.
    max_iter : int, default=None
        Most epochs of each network. None means what the preset has; with 'pack' and 'plain' more
        where a table has so few rows that an epoch has less than 32 steps.
    n_iter_no_change : int, default=None
        Epochs without improvement after which a network ends. None means what the preset has, as
        for `max_iter`. Twice as many without improvement of the ensemble end the fit.
    max_time : float, default=None
        Seconds that a fit may take, encoding included. Each network is trained for an epoch in any
        case, and `scoring` and `n_permutations` take their time afterwards.
    refit : bool, default=False
        Whether the chosen networks are trained again on all samples, for as many epochs. No effect
        if `X_val` is given, since nothing of X is held out then.
    n_permutations : int, default=0
        How often each column is permuted for `feature_importances_`; 0 leaves them out.
    class_weight : dict, 'balanced' or None, default=None
        Weights of classes, as those of `MLPClassifier`.
    calibrate : bool, default=True
        Whether probabilities are made more or less sure by a temperature, where that lowers the log
        loss of held-out samples that the temperature was not learned from.
    dtype : {'float32', 'float64'}, default='float32'
        Precision of the networks.
    n_jobs : int, default=None
        Threads at most. None means all cores.
    random_state : int, RandomState instance or None, default=None
        Draws the split, the settings of networks, initial weights and the order of samples.
    verbose : bool, default=False
        Whether to print the loss of the ensemble after each round.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    encoder_ : TableEncoder
        What makes numbers of a table.
    ensemble_ : MLPClassifier
        The chosen networks, as an ensemble on encoded tables. In `estimators_` a network stands as
        often as it counts.
    temperature_ : float
        What the logarithms of probabilities are divided by.
    validation_report_ : dict
        ``"members"``: for each network its settings, lowest ``"loss"``, ``"n_epochs"``,
        ``"seconds"`` and ``"weight"`` in the ensemble. ``"rounds"``: after each round the
        ``"loss"`` of the ensemble, the ``"seconds"`` since the training began, and ``"n_networks"``
        in it.
    feature_importances_ : ndarray of shape (n_features_in_,)
        By how much the loss of up to 2000 held-out samples rises when a column is permuted, with
        `n_permutations` only.
    n_iter_ : int
        Rounds: epochs of the networks that stayed longest.
    stop_reason_ : str
        Why the training ended: 'no_improvement', 'max_iter', 'max_time' or 'interrupted'.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they have any.

    See Also
    --------
    TabularMLPRegressor, TableEncoder, MLPClassifier

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import train_test_split
    >>> from skmlp import TabularMLPClassifier
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> model = TabularMLPClassifier(random_state=0).fit(X_train, y_train)
    >>> model.score(X_test, y_test) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseTabularMLP._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "calibrate": ["boolean"],
    }

    def __init__(
        self,
        preset: str = "pack",
        *,
        n_members: int | None = None,
        categorical_features: Any = "from_dtype",
        validation_fraction: Any = 0.15,
        scoring: Any = None,
        max_iter: int | None = None,
        n_iter_no_change: int | None = None,
        max_time: float | None = None,
        refit: bool = False,
        n_permutations: int = 0,
        class_weight: Any = None,
        calibrate: bool = True,
        dtype: str = "float32",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        super().__init__(
            preset=preset,
            n_members=n_members,
            categorical_features=categorical_features,
            validation_fraction=validation_fraction,
            scoring=scoring,
            max_iter=max_iter,
            n_iter_no_change=n_iter_no_change,
            max_time=max_time,
            refit=refit,
            n_permutations=n_permutations,
            dtype=dtype,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight
        self.calibrate = calibrate

    def _encoded_targets(self, y: Any, *, reset: bool) -> npt.NDArray[Any]:
        y = column_or_1d(y, warn=reset)
        if not reset:
            unknown = sorted(set(np.unique(y).tolist()) - set(self.classes_.tolist()))
            if unknown:
                raise ValueError(
                    f"y_val has classes that y has not: {unknown}. Give samples of them to "
                    "train on, or leave them out."
                )
            return np.asarray(np.searchsorted(self.classes_, y))
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        return numbers

    def _pack(self, preset: Preset, **parameters: Any) -> Any:
        return MLPClassifier(**parameters, label_smoothing=preset.label_smoothing)

    def _weighed(self, parts: Parts) -> Parts:
        if not self.class_weight:
            return parts
        if same(self.class_weight, "balanced"):
            totals = np.bincount(parts.y, parts.weight, len(self.classes_))
            is_there = totals > 0.0
            factors = np.zeros(len(totals))  # of a class without samples, or without weight
            factors[is_there] = totals.sum() / (is_there.sum() * totals[is_there])
        else:
            factors = compute_class_weight(
                self.class_weight, classes=self.classes_, y=self.classes_[parts.y]
            )
        weights = {}
        for name, y, weight in (
            ("weight", parts.y, parts.weight),
            ("weight_val", parts.y_val, parts.weight_val),
        ):
            weights[name] = factors[y] if weight is None else weight * factors[y]
            if weights[name].min() < 0:
                raise ValueError(
                    f"class_weight={self.class_weight!r} must hold weights that are not negative. "
                    "Use zero to leave a class out."
                )
        return parts._replace(**weights)

    def _calibrate(self, ensemble: Any, parts: Parts, encoded: npt.NDArray[Any]) -> None:
        self.temperature_ = 1.0
        if self.calibrate and len(self.classes_) > 1:
            probabilities = ensemble.predict_proba(encoded)
            self.temperature_ = temperature_of(probabilities, parts.y_val, parts.weight_val)

    def _raw_outputs(self, ensemble: Any, encoded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(ensemble.predict_proba(encoded))

    def _criterion(self, y: npt.NDArray[Any], weight: npt.NDArray[np.float64] | None) -> Criterion:
        return LogLoss(y, weight)

    def _known(self, outputs: npt.NDArray[Any], parts: Parts) -> Any:
        return KnownProbabilities(both_columns(outputs), self.classes_)

    def _blank(self, n_samples: int) -> npt.NDArray[Any]:
        n_classes = len(self.classes_)
        return np.full((n_samples, 1 if n_classes <= 2 else n_classes), 1.0 / max(2, n_classes))

    def _check_parts(self, parts: Parts) -> None:
        super()._check_parts(parts)
        lacking = np.setdiff1d(np.arange(len(self.classes_)), parts.y)
        if len(lacking):
            raise ValueError(
                f"Of the classes {self.classes_[lacking].tolist()} all samples are held out by "
                f"validation_fraction={self.validation_fraction}, or by groups, so that nothing "
                "can be learned of them. Split otherwise, or pass X_val and y_val."
            )

    def _labels(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(self.classes_[y])

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Data to predict for.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            The most probable class.
        """
        numbers = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[numbers])

    def predict_proba(self, X: Any, return_std: bool = False) -> Any:
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Data to predict for.
        return_std : bool, default=False
            Whether to return how much the networks differ, too.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            Probability of each class, in the order of `classes_`.
        probability_std : ndarray of the same shape
            Standard deviation of the networks' probabilities, before the temperature; with
            `return_std` only.
        """
        encoded = self._encoded(X)
        if len(self.classes_) == 1:
            sure = np.ones((len(encoded), 1), dtype=self.dtype)
            return (sure, np.zeros_like(sure)) if return_std else sure
        if return_std:
            mean, spread = self.ensemble_.predict_proba(encoded, return_std=True)
            return at_temperature(mean, self.temperature_), spread
        return at_temperature(self.ensemble_.predict_proba(encoded), self.temperature_)

    def predict_log_proba(self, X: Any) -> npt.NDArray[Any]:
        """Predict the logarithm of class probabilities.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Data to predict for.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
            ``log(predict_proba(X))``; minus infinity where a probability is zero.
        """
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))


class TabularMLPRegressor(RegressorMixin, BaseTabularMLP):
    """Regressor for tables as they come: numbers and categories, some of them missing.

    See `TabularMLPClassifier`; targets are standardised.

    Parameters
    ----------
    preset : {'pack', 'plain', 'realmlp', 'realmlp-s'}, default='pack'
        Which networks are trained, as for `TabularMLPClassifier`.
    n_members : int, default=None
        How many networks are trained. None means what the preset has.
    categorical_features : 'from_dtype', array-like or None, default='from_dtype'
        Which columns are categories, as for `TableEncoder`.
    validation_fraction : float or splitter, default=0.15
        The share of the samples that is held out to choose networks by; or a splitter, whose first
        split counts.
    scoring : str, callable or None, default=None
        What the ensemble is chosen by in the end, a scorer of scikit-learn's. None and 'loss' mean
        the squared error, by which it is chosen after every round in any case.
    max_iter : int, default=None
        Most epochs of each network. None means what the preset has; with 'pack' and 'plain' more
        where a table has so few rows that an epoch has less than 32 steps.
    n_iter_no_change : int, default=None
        Epochs without improvement after which a network ends. None means what the preset has, as
        for `max_iter`. Twice as many without improvement of the ensemble end the fit.
    max_time : float, default=None
        Seconds that a fit may take, encoding included. Each network is trained for an epoch in any
        case, and `scoring` and `n_permutations` take their time afterwards.
    refit : bool, default=False
        Whether the chosen networks are trained again on all samples, for as many epochs. No effect
        if `X_val` is given, since nothing of X is held out then.
    n_permutations : int, default=0
        How often each column is permuted for `feature_importances_`; 0 leaves them out.
    dtype : {'float32', 'float64'}, default='float32'
        Precision of the networks.
    n_jobs : int, default=None
        Threads at most. None means all cores.
    random_state : int, RandomState instance or None, default=None
        Draws the split, the settings of networks, initial weights and the order of samples.
    verbose : bool, default=False
        Whether to print the loss of the ensemble after each round.

    Attributes
    ----------
    encoder_ : TableEncoder
        What makes numbers of a table.
    ensemble_ : MLPRegressor
        The chosen networks, as an ensemble on encoded tables. In `estimators_` a network stands as
        often as it counts.
    validation_report_ : dict
        As that of `TabularMLPClassifier`.
    feature_importances_ : ndarray of shape (n_features_in_,)
        By how much the loss of up to 2000 held-out samples rises when a column is permuted, with
        `n_permutations` only.
    n_iter_ : int
        Rounds: epochs of the networks that stayed longest.
    stop_reason_ : str
        Why the training ended: 'no_improvement', 'max_iter', 'max_time' or 'interrupted'.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they have any.

    See Also
    --------
    TabularMLPClassifier, TableEncoder, MLPRegressor

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skmlp import TabularMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = TabularMLPRegressor(random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.4
    True
    """

    def __init__(
        self,
        preset: str = "pack",
        *,
        n_members: int | None = None,
        categorical_features: Any = "from_dtype",
        validation_fraction: Any = 0.15,
        scoring: Any = None,
        max_iter: int | None = None,
        n_iter_no_change: int | None = None,
        max_time: float | None = None,
        refit: bool = False,
        n_permutations: int = 0,
        dtype: str = "float32",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        super().__init__(
            preset=preset,
            n_members=n_members,
            categorical_features=categorical_features,
            validation_fraction=validation_fraction,
            scoring=scoring,
            max_iter=max_iter,
            n_iter_no_change=n_iter_no_change,
            max_time=max_time,
            refit=refit,
            n_permutations=n_permutations,
            dtype=dtype,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )

    def _encoded_targets(self, y: Any, *, reset: bool) -> npt.NDArray[Any]:
        y = column_or_1d(y, warn=reset)
        return np.asarray(check_array(y, ensure_2d=False, dtype=np.float64, input_name="y"))

    def _pack(self, preset: Preset, **parameters: Any) -> Any:
        return MLPRegressor(**parameters, y_scale="standard")

    def _blank(self, n_samples: int) -> npt.NDArray[Any]:
        return np.zeros((n_samples, 1))

    def _raw_outputs(self, ensemble: Any, encoded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(ensemble.predict(encoded))[:, np.newaxis]

    def _criterion(self, y: npt.NDArray[Any], weight: npt.NDArray[np.float64] | None) -> Criterion:
        return SquaredError(y[:, np.newaxis], weight)

    def _known(self, outputs: npt.NDArray[Any], parts: Parts) -> Any:
        scaling = scaling_of(parts.y[:, np.newaxis], parts.weight)
        return KnownValues(scaling.undone(outputs))

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict target values.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Data to predict for.
        return_std : bool, default=False
            Whether to return how much the networks differ, too.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted values.
        y_std : ndarray of shape (n_samples,)
            Standard deviation of the networks' predictions, with `return_std` only.
        """
        encoded = self._encoded(X)
        return self.ensemble_.predict(encoded, return_std=return_std)


class KnownProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are known, whatever X is."""

    def __init__(self, probabilities: npt.NDArray[Any], classes: npt.NDArray[Any]) -> None:
        self.probabilities, self.classes = probabilities, classes
        self.classes_ = classes

    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """Return the probabilities."""
        return self.probabilities

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the most probable classes."""
        return np.asarray(self.classes_[self.probabilities.argmax(axis=1)])


class KnownValues(RegressorMixin, BaseEstimator):
    """A regressor whose predictions are known, whatever X is."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = values

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the predictions."""
        return np.ravel(self.values)


def at_temperature(probabilities: Any, temperature: float) -> Any:
    """Return probabilities whose logarithms are divided by a temperature."""
    if temperature == 1.0:
        return probabilities
    smallest = np.finfo(np.float64).tiny
    scores = np.log(np.maximum(probabilities, smallest, dtype=np.float64)) / temperature
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


def temperature_of(
    probabilities: Any, labels: npt.NDArray[Any], weight: npt.NDArray[np.float64] | None
) -> float:
    """Return the temperature with the lowest log loss, or one if that does not help.

    It helps if temperatures learned from one half of the samples lower the loss of the other one,
    both ways together.
    """
    from scipy.optimize import minimize_scalar  # which few processes need

    half = np.arange(len(labels)) % 2 == 0
    if len(labels) < 4:
        return 1.0
    weights = np.ones(len(labels)) if weight is None else weight / weight.mean()

    def loss(temperature: float, part: Any) -> float:
        own = at_temperature(probabilities[part], temperature)
        right = own[np.arange(len(own)), labels[part]]
        return float(-np.sum(np.log(np.maximum(right, 1e-7)) * weights[part]))

    def best(part: Any) -> float:
        def cost(logarithm: float) -> float:
            surprise = 0.5 * (logarithm / DEVIATION_OF_LOG_TEMPERATURE) ** 2
            return loss(np.exp(logarithm), part) + surprise

        return float(np.exp(minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded").x))

    crossed = loss(best(half), ~half) + loss(best(~half), half)
    everything = np.ones(len(labels), dtype=bool)
    return best(everything) if crossed < loss(1.0, everything) else 1.0
