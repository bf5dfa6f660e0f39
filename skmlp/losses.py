"""Losses as objects, which `MLPRegressor` takes as its `loss` in place of their names.

An object has the parameters of its loss, if there are any, and is searched in depth
(``loss__...``).
"""

from typing import Any

from skmlp._formulas import FormulaChoice, formula_of, name_of
from skmlp.network.losses import LOSSES, Loss
from skmlp.network.specs import Formula

__all__ = ["GaussianNLL", "Poisson", "SquaredError"]


class SquaredError(FormulaChoice):
    """Half the squared error, ``(y - p) ** 2 / 2``, as ``loss='squared_error'``.

    Its minimum is the mean of y for each X.

    Examples
    --------
    >>> from skmlp.losses import SquaredError
    >>> SquaredError()
    SquaredError()
    """

    _name = "squared_error"


class Poisson(FormulaChoice):
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


class GaussianNLL(FormulaChoice):
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


CLASSES = (SquaredError, Poisson, GaussianNLL)


def loss_formula(loss: Any) -> Formula:
    """Return the entry of the registry of losses that a name or an object stands for.

    Raises
    ------
    ValueError
        If there is none.
    """
    return formula_of(loss, loss_entry(loss).constants)


def loss_entry(loss: Any) -> Loss:
    """Return an entry of the name that is chosen: of the classifier's, any.

    Raises
    ------
    ValueError
        If there is none.
    """
    chosen = name_of(loss)
    for (name, _), entry in LOSSES.items():
        if name == chosen:
            return entry
    raise ValueError(f"loss must be one of {sorted({name for name, _ in LOSSES})}, got {loss!r}.")
