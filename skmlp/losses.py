"""Losses as objects, which estimators take as their `loss` in place of names.

An object has the parameters of its loss, if there are any, and is searched in depth
(``loss__...``). `Focal` is one for `MLPClassifier`, all others are for `MLPRegressor`.
"""

from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from skmlp._formulas import FormulaChoice, formula_of, interval, name_of, ranges
from skmlp._sklearn_compat import Interval, Options
from skmlp.network import losses as registry
from skmlp.network.custom import custom_loss
from skmlp.network.losses import CUSTOM_LINK, LOSSES, REGRESSION_LINKS, Loss
from skmlp.network.specs import Formula, HeadSpec

__all__ = [
    "AbsoluteError",
    "Custom",
    "Focal",
    "Gamma",
    "GaussianNLL",
    "Huber",
    "LaplaceNLL",
    "LogCosh",
    "Poisson",
    "Quantile",
    "SquaredError",
    "Tweedie",
]


class LossChoice(FormulaChoice):
    """Base of the losses that `MLPRegressor` takes."""

    def formula(self) -> Formula:
        """Return the entry that the object stands for, with the values of its constants."""
        return formula_of(self, LOSSES[self._name, self.link()].constants)

    def link(self) -> str:
        """Return the output activation that it is paired with."""
        return REGRESSION_LINKS[self._name]


class SquaredError(LossChoice):
    """Half the squared error, ``(y - p) ** 2 / 2``, as ``loss='squared_error'``.

    Its minimum is the mean of y for each X.

    Examples
    --------
    >>> from skmlp.losses import SquaredError
    >>> SquaredError()
    SquaredError()
    """

    _name = "squared_error"


class AbsoluteError(LossChoice):
    """The absolute error, ``abs(y - p)``, as ``loss='absolute_error'``.

    Its minimum is the median of y for each X, which outliers hardly move.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import AbsoluteError
    >>> MLPRegressor(loss=AbsoluteError())
    MLPRegressor(loss=AbsoluteError())
    """

    _name = "absolute_error"


class Huber(LossChoice):
    """The Huber loss: half the squared error up to `delta`, linear beyond, as ``loss='huber'``.

    With ``e = abs(y - p)`` it is ``e ** 2 / 2`` where ``e <= delta``, else ``delta * (e - delta /
    2)``.

    Parameters
    ----------
    delta : float, default=1.0
        The error, in units of y (with `y_scale` of scaled y), from which on the loss is linear.

    References
    ----------
    Huber (1964), "Robust estimation of a location parameter", Annals of Mathematical Statistics 35.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import Huber
    >>> MLPRegressor(loss=Huber(0.5)).set_params(loss__delta=2.0).loss
    Huber(delta=2.0)
    """

    _name = "huber"
    _parameter_constraints: ClassVar = ranges(LOSSES[_name, "identity"].constants)

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = delta


class LogCosh(LossChoice):
    """The logarithm of the hyperbolic cosine of the error, as ``loss='log_cosh'``.

    Half the squared error for small errors, the absolute error less ``log(2)`` for large ones, and
    smooth in between.

    References
    ----------
    Green (1990), "Bayesian reconstructions from emission tomography data using a modified EM
    algorithm", IEEE Transactions on Medical Imaging 9.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import LogCosh
    >>> MLPRegressor(loss=LogCosh())
    MLPRegressor(loss=LogCosh())
    """

    _name = "log_cosh"


class Levels(Options):
    """Constraint: numbers between zero and one, each larger than the one before."""

    def __init__(self) -> None:
        self.hidden = False  # scikit-learn lists it in its messages

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is a tuple, a list or an array of such numbers, not empty."""
        if not isinstance(val, tuple | list | np.ndarray) or np.ndim(val) != 1 or len(val) == 0:
            return False
        is_number = all(isinstance(level, Real) for level in val)
        return is_number and all(low < high for low, high in zip((0, *val), (*val, 1), strict=True))

    def __str__(self) -> str:
        return "a tuple of strictly increasing floats in the range (0.0, 1.0)"


class Quantile(LossChoice):
    """The pinball loss, whose minimum is a quantile of y for each X, as ``loss='quantile'``.

    With ``e = y - p`` it is ``quantile * e`` for positive `e`, else ``(quantile - 1) * e``.

    Several quantiles are learned at once, and do not cross: the first one is a raw prediction
    of the network, and each other is the one before it plus ``log(1 + exp(z))`` of a raw prediction
    `z` of its own. Their losses are added up. `predict` then has a column for each. Scale y (or
    set ``y_scale='standard'``): these increments start at about 0.7.

    The score of a regressor with this loss, also in early stopping, is the part of the pinball
    loss that it explains, `sklearn.metrics.d2_pinball_score`, averaged over quantiles and targets.

    Parameters
    ----------
    quantile : float or tuple of float, default=0.5
        One level, or several ones in increasing order, each in (0, 1).

    References
    ----------
    Koenker & Bassett (1978), "Regression quantiles", Econometrica 46. Park et al. (2022), "Learning
    quantile functions without quantile crossing for distribution-free time series forecasting",
    AISTATS.

    Examples
    --------
    >>> import numpy as np
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import Quantile
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(500, 1))
    >>> y = X[:, 0] + rng.normal(0, np.where(X[:, 0] < 0, 0.1, 0.5))
    >>> model = MLPRegressor(Quantile((0.1, 0.5, 0.9)), 20, max_iter=500, random_state=0)
    >>> low, median, high = model.fit(X, y).predict([[0.5]])[0]
    >>> bool(low < median < high)
    True
    """

    _name = "quantile"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "quantile": [interval(LOSSES[_name, "identity"].constants[0]), Levels()]
    }

    def __init__(self, quantile: Any = 0.5) -> None:
        self.quantile = quantile

    def formula(self) -> Formula:
        """Return the entry with its levels."""
        levels = [self.quantile] if np.ndim(self.quantile) == 0 else self.quantile
        return Formula(self._name, tuple(map(float, levels)))

    def link(self) -> str:
        """Return the output activation, which differs for one level and for several."""
        return "identity" if np.ndim(self.quantile) == 0 else "increasing"


class Poisson(LossChoice):
    """Half the Poisson deviance, ``y * log(y / p) - y + p``, as ``loss='poisson'``.

    For counts and rates, ``y >= 0``. The output `p` is the exponential of the last layer.

    References
    ----------
    McCullagh & Nelder (1989), "Generalized Linear Models", section 2.3.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import Poisson
    >>> MLPRegressor(loss=Poisson())
    MLPRegressor(loss=Poisson())
    """

    _name = "poisson"


class Gamma(LossChoice):
    """Half the gamma deviance, ``log(p / y) + y / p - 1``, as ``loss='gamma'``.

    For positive amounts whose standard deviation grows with their mean, ``y > 0``. The output `p`
    is the exponential of the last layer.

    References
    ----------
    McCullagh & Nelder (1989), "Generalized Linear Models", section 2.3.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import Gamma
    >>> MLPRegressor(loss=Gamma())
    MLPRegressor(loss=Gamma())
    """

    _name = "gamma"


class Tweedie(LossChoice):
    """Half the Tweedie deviance, as ``loss='tweedie'``.

    For amounts that are often zero, ``y >= 0``, with a variance proportional to the mean to
    the power of `power`. With ``a = 1 - power`` and ``b = 2 - power`` it is ``y ** b / (a * b) - y
    * p ** a / a + p ** b / b``. The output `p` is the exponential of the last layer.

    Parameters
    ----------
    power : float, default=1.5
        Between 1, with which it is the loss `Poisson`, and 2, with which it is `Gamma`.

    References
    ----------
    Jorgensen (1987), "Exponential dispersion models", Journal of the Royal Statistical Society
    B 49.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import Tweedie
    >>> MLPRegressor(loss=Tweedie(power=1.9))
    MLPRegressor(loss=Tweedie(power=1.9))
    """

    _name = "tweedie"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "power": [Interval(Real, 1.0, 2.0, closed="both")]
    }
    # What it tends to at the ends.
    _limits: ClassVar[dict[float, str]] = {1.0: "poisson", 2.0: "gamma"}

    def __init__(self, power: float = 1.5) -> None:
        self.power = power

    def formula(self) -> Formula:
        """Return the entry, which is another one at the ends."""
        limit = self._limits.get(float(self.power))
        return Formula(limit) if limit else super().formula()


class GaussianNLL(LossChoice):
    """The negative log-likelihood of a normal distribution, as ``loss='gaussian_nll'``.

    The network learns a mean and a variance for each X: the noise may differ from place to place.
    Each target has two output units. With `k` targets the first `k` units are the means `m`, the
    other `k`, in the same order, the logarithms of the variances `v`, and the loss of a target is
    ``(v + (y - m) ** 2 * exp(-v) + log(2 * pi)) / 2``, the constant included.

    Scale y: the fit starts at variances of about one.

    References
    ----------
    Nix & Weigend (1994), "Estimating the mean and variance of the target probability
    distribution", IEEE International Conference on Neural Networks.

    Examples
    --------
    >>> import numpy as np
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import GaussianNLL
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(500, 1))
    >>> y = X[:, 0] + rng.normal(0, np.where(X[:, 0] < 0, 0.1, 0.5))
    >>> model = MLPRegressor(GaussianNLL(), 20, max_iter=500, random_state=0).fit(X, y)
    >>> mean, std = model.predict([[-0.5], [0.5]], return_std=True)
    >>> bool(std[0] < std[1])
    True
    """

    _name = "gaussian_nll"


class LaplaceNLL(LossChoice):
    """The negative log-likelihood of a Laplace distribution, as ``loss='laplace_nll'``.

    As `GaussianNLL`, but outliers have less influence: `m` is a median. With the logarithm `v` of
    the variance the loss of a target is ``(v + log(2)) / 2 + sqrt(2) * abs(y - m) * exp(-v / 2)``.

    References
    ----------
    Kotz, Kozubowski & Podgorski (2001), "The Laplace Distribution and Generalizations", section
    2.1.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import LaplaceNLL
    >>> MLPRegressor(loss=LaplaceNLL())
    MLPRegressor(loss=LaplaceNLL())
    """

    _name = "laplace_nll"


class Custom(LossChoice):
    """A loss of your own, given as value and gradient of two numbers.

    Both are compiled. They are plain functions of two arguments, of which may be said what is said
    of those of `skmlp.activations.Custom`. The output of the network is its raw prediction.

    Parameters
    ----------
    value : callable
        ``value(y, p)``: the loss of a target `y` for which `p` is predicted, both floats.
    gradient : callable
        ``gradient(y, p)``: its derivative with respect to `p`.

    Notes
    -----
    A fitted model is pickled with references to both functions, as pickle does: they must be
    importable where it is loaded, which a lambda is not.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.losses import Custom
    >>> def asymmetric(y, p):
    ...     return (y - p) ** 2 if p > y else 3 * (y - p) ** 2
    >>> def asymmetric_gradient(y, p):
    ...     return 2 * (p - y) if p > y else 6 * (p - y)
    >>> MLPRegressor(loss=Custom(asymmetric, asymmetric_gradient))
    MLPRegressor(loss=Custom(value=asymmetric, gradient=asymmetric_gradient))
    """

    _name = "custom"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "value": [callable],
        "gradient": [callable],
    }

    def __init__(
        self, value: Callable[[float, float], float], gradient: Callable[[float, float], float]
    ) -> None:
        self.value = value
        self.gradient = gradient

    def formula(self) -> Formula:
        """Return the entry that the functions make.

        Raises
        ------
        ValueError
            If they consist of other things than can be compiled.
        """
        return Formula(custom_loss(self.value, self.gradient))

    def link(self) -> str:
        """Return the output activation, which leaves raw predictions alone."""
        return CUSTOM_LINK


class Focal(FormulaChoice):
    """The focal loss, as ``loss='focal'`` of `MLPClassifier`.

    The log loss of each sample counts ``(1 - p) ** gamma`` times, with `p` the probability of the
    true class: samples that are well classified hardly count. Of multilabel targets the loss of
    each label is such a one. The probabilities are less extreme than those of the log loss, but
    in the same order.

    Parameters
    ----------
    gamma : float, default=2.0
        Not negative; with 0 it is the log loss.

    References
    ----------
    Lin et al. (2017), "Focal loss for dense object detection", ICCV, eq. 4.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.losses import Focal
    >>> MLPClassifier(loss=Focal(gamma=1.0))
    MLPClassifier(loss=Focal(gamma=1.0))
    """

    _name = "focal"
    _parameter_constraints: ClassVar = ranges(LOSSES[_name, "logistic"].constants)

    def __init__(self, gamma: float = 2.0) -> None:
        self.gamma = gamma


# What a regressor takes, and what a classifier does.
CLASSES = (
    SquaredError,
    AbsoluteError,
    Huber,
    LogCosh,
    Quantile,
    Poisson,
    Gamma,
    Tweedie,
    GaussianNLL,
    LaplaceNLL,
    Custom,
)
CLASSIFIER_CLASSES = (Focal,)
CLASSIFIER_LOSSES = ("log_loss", "focal", "hinge", "squared_hinge", "squared_error")


def regression_head(loss: Any, n_targets: int) -> HeadSpec:
    """Return the output layer that a regressor's loss asks for.

    Raises
    ------
    ValueError
        If there is no such loss.
    """
    formula = loss_formula(loss)
    link = link_of_loss(loss)
    units = registry.loss_entry(formula.name, link).units_with(len(formula.constants))
    return HeadSpec(n_targets * units, formula, link)


def loss_formula(loss: Any) -> Formula:
    """Return the entry of the registry of losses that a regressor's loss stands for.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(loss, LossChoice):
        return loss.formula()
    return formula_of(loss, LOSSES[loss, link_of_loss(loss)].constants)


def link_of_loss(loss: Any) -> str:
    """Return the output activation that a regressor's loss is paired with.

    Raises
    ------
    ValueError
        If there is no such loss.
    """
    if isinstance(loss, LossChoice):
        return loss.link()
    if not isinstance(loss, str) or loss not in REGRESSION_LINKS:
        raise ValueError(f"loss must be one of {sorted(REGRESSION_LINKS)}, got {loss!r}.")
    return REGRESSION_LINKS[loss]


def loss_entry(loss: Any) -> Loss:
    """Return the entry that a regressor's loss stands for.

    Raises
    ------
    ValueError
        If there is none.
    """
    return registry.loss_entry(loss_formula(loss).name, link_of_loss(loss))


def needs_positive(loss: Any) -> bool:
    """Whether a regressor's loss takes no negative targets; of what is no loss, it does not."""
    name = name_of(loss)
    if name not in REGRESSION_LINKS:
        return False
    return LOSSES[name, REGRESSION_LINKS[name]].domain_minimum >= 0


def assumed_head(loss: Any, units: int, link: Any) -> HeadSpec:
    """Return the output layer with a link of which only weights are known.

    Raises
    ------
    ValueError
        If the loss does not go with the link.
    """
    if isinstance(loss, LossChoice):
        return HeadSpec(units, loss.formula(), link)
    name = name_of(loss) or ""
    defaults = tuple(constant.default for constant in registry.loss_entry(name, link).constants)
    return HeadSpec(units, Formula(name, defaults), link)
