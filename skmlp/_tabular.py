"""`TabularMLPClassifier` and `TabularMLPRegressor`: networks for tables as they come."""

from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from skmlp._calibration import at_temperature, smoothed, smoothing_of, temperature_of
from skmlp._choices import same
from skmlp._classifier import MLPClassifier
from skmlp._known import KnownProbabilities, KnownValues
from skmlp._labels import orderable
from skmlp._presets import Preset
from skmlp._regressor import MLPRegressor
from skmlp._residuals import PredictingQuantiles, residual_quantiles
from skmlp._selection import Criterion, LogLoss, SquaredError
from skmlp._sklearn_compat import StrOptions
from skmlp._tabular_base import BaseTabularMLP, Parts, one_target
from skmlp._target_scale import scaling_of
from skmlp._targets import both_columns
from skmlp._validation import check_numeric_target


class TabularMLPClassifier(ClassifierMixin, BaseTabularMLP):
    """Classifier for tables as they come: numbers and categories, some of them missing.

    A table is encoded by `TableEncoder`, and a *pack* of networks is trained on it, all at once and
    each with other settings. The networks that together predict a held-out part best are what
    predicts. Nothing has to be tuned.

    Parameters
    ----------
    preset : {'pack', 'plain', 'realmlp', 'realmlp-s', 'tabm', 'tabm-mini'}, default='pack'
        Which networks are trained:

        - 'pack': unlike networks, whose settings are drawn; those that fall behind leave early;
        - 'plain': one network of fixed settings;
        - 'realmlp': RealMLP-TD, 256 epochs of one network of three layers, with periodic
          embeddings of numbers and the neural-tangent parametrization;
        - 'realmlp-s': the simple variant without embeddings, dropout and weight decay;
        - 'tabm': TabM, 32 networks of two layers of 512 units that share all weights but some
          vectors, with piecewise linear embeddings of numbers; tables without numbers get three
          layers. It takes minutes where others take seconds;
        - 'tabm-mini': the same with vectors at the inputs alone.
    n_members : int, default=None
        How many networks are trained, or share weights. None means what the preset has.
    categorical_features : 'from_dtype', array-like or None, default='from_dtype'
        Which columns are categories, as for `TableEncoder`.
    validation_fraction : float or splitter, default=0.15
        The share of the samples that is held out to choose networks by; or a splitter, whose first
        split counts.
    scoring : str, callable or None, default=None
        What the ensemble is chosen by in the end, a scorer of scikit-learn's. None and 'loss' mean
        the log loss, by which it is chosen after every round in any case.
        Networks that share weights count all, unless there is a scorer to choose among them.
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
        loss of held-out samples that the temperature was not learned from; and whether they are
        kept from being surer than so many held-out samples can tell, by `smoothing_`.
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
    smoothing_ : float
        The share of probability that is then spread evenly over all classes: ``1 / (n + 1)`` after
        a fit with n held-out samples, or fewer in effect if their weights differ; 0 if not
        `calibrate`.
    validation_report_ : dict
        ``"members"``: for each network its settings, lowest ``"loss"``, ``"n_epochs"``,
        ``"seconds"`` and ``"weight"`` in the ensemble; of those that share weights the loss where
        all together were best, and the seconds of all. ``"rounds"``: after each round the
        ``"loss"`` of the ensemble, the ``"seconds"`` since the training began, and ``"n_networks"``
        in it.
    feature_importances_ : ndarray of shape (`n_features_in_`,)
        By how much the loss of up to 2000 held-out samples rises when a column is permuted, with
        `n_permutations` only.
    n_iter_ : int
        Rounds: epochs of the networks that stayed longest.
    stop_reason_ : str
        Why the training ended: 'no_improvement', 'max_iter', 'max_time' or 'interrupted'.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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
        name = "y" if reset else "y_val"
        y = one_target(y, name, self)
        with orderable(name, y):
            classes, numbers = np.unique(y, return_inverse=True)
        if not reset:
            unknown = sorted(set(classes.tolist()) - set(self.classes_.tolist()))
            if unknown:
                raise ValueError(
                    f"y_val has classes that y has not: {unknown}. Give samples of them to "
                    "train on, or leave them out."
                )
            return np.asarray(np.searchsorted(self.classes_, y))
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.classes_ = classes
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
        self.temperature_, self.smoothing_ = 1.0, 0.0
        if self.calibrate and len(self.classes_) > 1:
            probabilities = ensemble.predict_proba(encoded)
            self.temperature_ = temperature_of(probabilities, parts.y_val, parts.weight_val)
            self.smoothing_ = smoothing_of(len(parts.y_val), parts.weight_val)

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
            Standard deviation of the networks' probabilities, before calibration; with
            `return_std` only.
        """
        encoded = self._encoded(X)
        if len(self.classes_) == 1:
            sure = np.ones((len(encoded), 1), dtype=self.dtype)
            return (sure, np.zeros_like(sure)) if return_std else sure
        if return_std:
            mean, spread = self.ensemble_.predict_proba(encoded, return_std=True)
            return self._calibrated(mean), spread
        return self._calibrated(self.ensemble_.predict_proba(encoded))

    def _calibrated(self, probabilities: npt.NDArray[Any]) -> Any:
        return smoothed(at_temperature(probabilities, self.temperature_), self.smoothing_)

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


class TabularMLPRegressor(PredictingQuantiles, RegressorMixin, BaseTabularMLP):
    """Regressor for tables as they come: numbers and categories, some of them missing.

    See `TabularMLPClassifier`; targets are standardised.

    Parameters
    ----------
    preset : {'pack', 'plain', 'realmlp', 'realmlp-s', 'tabm', 'tabm-mini'}, default='pack'
        Which networks are trained, as for `TabularMLPClassifier`.
    n_members : int, default=None
        How many networks are trained, or share weights. None means what the preset has.
    categorical_features : 'from_dtype', array-like or None, default='from_dtype'
        Which columns are categories, as for `TableEncoder`.
    validation_fraction : float or splitter, default=0.15
        The share of the samples that is held out to choose networks by; or a splitter, whose first
        split counts.
    scoring : str, callable or None, default=None
        What the ensemble is chosen by in the end, a scorer of scikit-learn's. None and 'loss' mean
        the squared error, by which it is chosen after every round in any case.
        Networks that share weights count all, unless there is a scorer to choose among them.
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
    residual_quantiles_ : ndarray of shape (n_levels,)
        Errors ``y - predict(X)`` for held-out samples in ascending order, or 999 quantiles if there
        are more: the k-th is that of the level ``k / (n_levels + 1)``.
    validation_report_ : dict
        As that of `TabularMLPClassifier`.
    feature_importances_ : ndarray of shape (`n_features_in_`,)
        By how much the loss of up to 2000 held-out samples rises when a column is permuted, with
        `n_permutations` only.
    n_iter_ : int
        Rounds: epochs of the networks that stayed longest.
    stop_reason_ : str
        Why the training ended: 'no_improvement', 'max_iter', 'max_time' or 'interrupted'.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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
        name = "y" if reset else "y_val"
        y = one_target(y, name, self)
        if y.dtype.kind == "O":
            with suppress(TypeError, ValueError):  # or else it is refused by its type
                y = y.astype(np.float64)
        check_numeric_target(y, name)
        return y.astype(np.float64)

    def _pack(self, preset: Preset, **parameters: Any) -> Any:
        return MLPRegressor(**parameters, y_scale="standard")

    def _blank(self, n_samples: int) -> npt.NDArray[Any]:
        return np.zeros((n_samples, 1))

    def _raw_outputs(self, ensemble: Any, encoded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(ensemble.predict(encoded))[:, np.newaxis]

    def _criterion(self, y: npt.NDArray[Any], weight: npt.NDArray[np.float64] | None) -> Criterion:
        return SquaredError(y[:, np.newaxis], weight)

    def _calibrate(self, ensemble: Any, parts: Parts, encoded: npt.NDArray[Any]) -> None:
        residuals = parts.y_val - ensemble.predict(encoded)
        self.residual_quantiles_ = residual_quantiles(residuals, parts.weight_val)

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
