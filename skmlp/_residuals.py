"""Quantiles of what held-out samples are away from predictions, and of members' predictions.

Split conformal prediction (Papadopoulos et al. 2002, "Inductive confidence machines for
regression", ECML; Lei et al. 2018, "Distribution-free predictive inference for regression", JASA
113) for each side by itself: of ``n`` residuals in order, a new one is below the k-th with a
probability of at least ``k / (n + 1)`` if all of them are exchangeable.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._fitted import shown
from skmlp._members import members_of

# Thousandths are enough, and no model should keep a number for each of its samples.
MOST_LEVELS = 999
# What quantiles are of.
SOURCES = ("residuals", "members")
ROUNDING = 1e-9

Floats = npt.NDArray[np.float64]


class PredictingQuantiles:
    """Gives a regressor of tables `predict_quantiles`."""

    ensemble_: Any
    _encoded: Callable[[Any], npt.NDArray[Any]]

    def predict_quantiles(
        self, X: Any, quantiles: Any = (0.05, 0.5, 0.95), *, source: str = "residuals"
    ) -> npt.NDArray[Any]:
        """Predict quantiles.

        Parameters
        ----------
        X : {array-like, data frame} of shape (n_samples, n_features)
            Data to predict for.
        quantiles : float or array-like of shape (n_quantiles,), default=(0.05, 0.5, 0.95)
            Their levels, between 0 and 1.
        source : {'residuals', 'members'}, default='residuals'
            Of what:

            - 'residuals': of y. To each prediction quantiles of the errors for held-out samples
              are added, as in split conformal prediction; the same for all of X. Between those of
              0.05 and 0.95 are 90 of 100 new targets, or more, if they come as the held-out ones
              did. As these also chose the networks, it may be a little less;
            - 'members': of the networks' predictions. They tell how much the networks differ, and
              nothing of the noise in y: far fewer targets are between them than their levels say.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_quantiles)
            In the order of `quantiles`; a vector if this is a single number.

        Raises
        ------
        ValueError
            If a level is none, or too close to 0 or 1 for as many held-out samples as there were.

        Notes
        -----
        With `refit`, errors are those of the networks before.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skmlp import TabularMLPRegressor
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
        >>> model = TabularMLPRegressor(validation_fraction=0.3, random_state=0).fit(X, y)
        >>> low, high = model.predict_quantiles(X, (0.1, 0.9)).T
        >>> bool(((low <= y) & (y <= high)).mean() > 0.7)
        True
        """
        levels = checked_levels(quantiles)
        if source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, but is {source!r}.")
        encoded = self._encoded(X)
        if source == "members":
            found = quantiles_of_members(members_of(self.ensemble_), encoded, levels)
        else:
            offsets = offsets_at(fitted_residuals(self), levels)
            predicted = self.ensemble_.predict(encoded)
            found = (predicted[:, np.newaxis] + offsets).astype(predicted.dtype)
        return found[:, 0] if np.ndim(quantiles) == 0 else found


def residual_quantiles(residuals: Floats, weight: Floats | None) -> Floats:
    """Return quantiles of residuals: the k-th of m is that of the level ``k / (m + 1)``.

    Parameters
    ----------
    residuals : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
        What each counts. The more they differ, the fewer residuals there are in effect.

    Returns
    -------
    quantiles : ndarray of shape (m,)
        At most `MOST_LEVELS`; all residuals if these are no more and count alike. Lower ones are
        rounded down to a residual, higher ones up.
    """
    order = np.argsort(residuals, kind="stable")
    ascending = residuals[order]
    counts = np.ones(len(order)) if weight is None else weight[order] / weight.max()
    ascending, counts = ascending[counts > 0.0], counts[counts > 0.0]
    n_effective = counts.sum() ** 2 / (counts * counts).sum()  # Kish
    ranks = np.cumsum(counts) * (n_effective / counts.sum())
    m = int(min(MOST_LEVELS, max(1.0, np.floor(n_effective + ROUNDING))))
    wanted = np.arange(1, m + 1) * (n_effective + 1.0) / (m + 1)
    up = np.searchsorted(ranks, wanted - ROUNDING * n_effective)
    down = np.searchsorted(ranks, wanted + ROUNDING * n_effective, side="right") - 1
    is_low = 2 * np.arange(1, m + 1) < m + 1
    places = np.clip(np.where(is_low, down, up), 0, len(ascending) - 1)
    return np.asarray(ascending[places])


def offsets_at(quantiles: Floats, levels: Floats) -> Floats:
    """Return what to add to predictions, for each level.

    Parameters
    ----------
    quantiles : ndarray of shape (m,)
        As `residual_quantiles` returns them.
    levels : ndarray of shape (n_levels,)

    Raises
    ------
    ValueError
        If a level is beyond the first or the last of the residuals.
    """
    places = levels * (len(quantiles) + 1)
    low, high = np.floor(places + ROUNDING), np.ceil(places - ROUNDING)
    numbers = np.where(levels < 0.5, low, high).astype(np.intp)
    is_beyond = (numbers < 1) | (numbers > len(quantiles))
    if is_beyond.any():
        raise ValueError(
            f"quantiles={levels[is_beyond].tolist()} are beyond what {len(quantiles)} residuals of "
            f"held-out samples tell: levels from {1 / (len(quantiles) + 1):.3g} to "
            f"{1 - 1 / (len(quantiles) + 1):.3g} are known. Use levels between these, or fit with "
            "more held-out samples, of which up to 999 count."
        )
    return np.asarray(quantiles[numbers - 1])


def checked_levels(quantiles: Any) -> Floats:
    """Return levels as a vector.

    Raises
    ------
    ValueError
        If they are no numbers between zero and one.
    """
    listed = np.asarray(quantiles)
    is_valid = listed.dtype.kind in "iuf" and listed.ndim <= 1 and listed.size > 0
    levels = listed.reshape(-1).astype(np.float64) if is_valid else np.empty(0)
    if not is_valid or not ((levels > 0.0) & (levels < 1.0)).all():
        raise ValueError(
            f"quantiles must be a number between 0 and 1 or a list of such, but is "
            f"{shown(quantiles)}. Use levels as 0.05 and 0.95."
        )
    return levels


def fitted_residuals(estimator: Any) -> Floats:
    """Return the quantiles of residuals of a fit, which users may have replaced.

    Raises
    ------
    ValueError
        If they are none.
    """
    found = vars(estimator).get("residual_quantiles_")
    if not are_ascending(found):
        raise ValueError(
            f"residual_quantiles_ must be a vector of finite numbers in ascending order, but is "
            f"{shown(found)}. Restore what was fitted, or fit again."
        )
    return np.asarray(found)


def are_ascending(value: Any) -> bool:
    """Whether it is what `residual_quantiles` returns."""
    is_array = isinstance(value, np.ndarray) and value.dtype == np.float64 and value.ndim == 1
    return (
        is_array
        and 0 < len(value) <= MOST_LEVELS
        and bool(np.isfinite(value).all() and (value[:-1] <= value[1:]).all())
    )


def quantiles_of_members(members: Sequence[Any], X: Any, levels: Floats) -> npt.NDArray[Any]:
    """Return quantiles of what regressors predict, of shape (n_samples, n_levels).

    One that stands there several times counts as often, and predicts once.
    """
    different = {id(member): member for member in members}
    predictions = {key: member.predict(X) for key, member in different.items()}
    every = np.stack([predictions[id(member)] for member in members])
    return np.asarray(np.quantile(every, levels, axis=0).T, dtype=every.dtype)
