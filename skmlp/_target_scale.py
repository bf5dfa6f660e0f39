"""Scaled targets of a regressor: how y is scaled before a fit, and predictions are scaled back."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp._choices import text_of
from skmlp._fitted import shown
from skmlp.losses import needs_positive
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import NetworkSpec


class Scaling(NamedTuple):
    """What is taken away from each target, and what it then is divided by.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_targets,)
    """

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    def done(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return scaled targets."""
        return (targets - self.mean) / self.scale

    def undone(self, values: FloatArray) -> FloatArray:
        """Return predictions, whose last axis is that of the targets, in units of y."""
        return (values * self.scale + self.mean).astype(values.dtype)

    def stretched(self, deviations: FloatArray) -> FloatArray:
        """Return differences of predictions in units of y."""
        return (deviations * self.scale).astype(deviations.dtype)


def check_holds(scaling: Scaling, dtype: str) -> None:
    """Refuse a scale by which predictions in some precision would overflow.

    Raises
    ------
    ValueError
        If one standard deviation from the mean is more than it can hold.
    """
    if (np.abs(scaling.mean) + scaling.scale > np.finfo(dtype).max).any():
        raise ValueError(
            f"y has a mean of {np.abs(scaling.mean).max():g} and a standard deviation of "
            f"{scaling.scale.max():g}, more than {dtype} holds. Use dtype='float64', or other "
            "units."
        )


def check_can_be_scaled(estimator: Any) -> None:
    """Refuse to scale targets that a loss needs to be positive.

    Raises
    ------
    ValueError
        If ``y_scale`` does not go with the loss.
    """
    if isinstance(estimator.y_scale, str) and needs_positive(estimator.loss):
        raise ValueError(
            f"y_scale={estimator.y_scale!r} makes some targets negative, which "
            f"loss={text_of(estimator.loss)} does not take. Use y_scale=None, or divide y by a "
            "number."
        )


def scaling_of(targets: npt.NDArray[Any], sample_weight: npt.NDArray[np.float64] | None) -> Scaling:
    """Return how targets are scaled to mean zero and variance one; constant ones are shifted only.

    Raises
    ------
    ValueError
        If they are too large for that.
    """
    if sample_weight is not None:
        is_counted = sample_weight > 0
        targets, sample_weight = targets[is_counted], sample_weight[is_counted]
    targets = targets.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.average(targets, axis=0, weights=sample_weight)
        centered = targets - mean
        # Squares of the largest one may overflow.
        largest = np.abs(centered).max(axis=0)
        unit = np.where(largest > 0, largest, 1.0)
        variance = np.average((centered / unit) ** 2, axis=0, weights=sample_weight)
    # Of constant targets rounding errors may be all that is left.
    is_constant = largest <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    scale = np.where(is_constant | (variance == 0), 1.0, unit * np.sqrt(variance))
    if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
        raise ValueError(
            f"y_scale='standard' cannot scale y, whose largest value is {np.abs(targets).max():g}: "
            "its mean or variance is not finite. Use other units."
        )
    return Scaling(mean, scale)


def fitted_scaling(estimator: Any, network: NetworkSpec) -> Scaling | None:
    """Return how the targets of a fit were scaled, which users may replace; None if they were not.

    Raises
    ------
    ValueError
        If that is not a number for each target.
    """
    state = vars(estimator)
    if "y_mean_" not in state and "y_scale_" not in state:
        return None
    scaling = Scaling(state.get("y_mean_"), state.get("y_scale_"))
    shape = (network.target_columns,)
    for name, array in (("y_mean_", scaling.mean), ("y_scale_", scaling.scale)):
        is_vector = isinstance(array, np.ndarray) and array.dtype.kind == "f"
        if not (is_vector and array.shape == shape and np.isfinite(array).all()):
            raise ValueError(
                f"{name} must be an array of {shape[0]} finite floats, one for each target, but is "
                f"{shown(array)}. Restore what was fitted, or fit again."
            )
    if not (scaling.scale > 0).all():
        raise ValueError(
            f"y_scale_ must hold positive numbers, but is {scaling.scale!r}. Restore what was "
            "fitted, or fit again."
        )
    return scaling


def scaling_to_go_on_with(estimator: Any, n_targets: int) -> Scaling | None:
    """Return how the fit that is gone on from has scaled y.

    Raises
    ------
    ValueError
        If that is not how y is to be scaled now, or there were other targets.
    """
    was_scaled = "y_scale_" in vars(estimator)
    if was_scaled != (estimator.y_scale is not None):
        raise ValueError(
            f"Cannot resume: y_scale={estimator.y_scale!r}, but y was "
            f"{'scaled' if was_scaled else 'not scaled'} in the fit before. Leave y_scale as it "
            "was, or fit a clone of the estimator."
        )
    scaling = fitted_scaling(estimator, estimator._network)
    if scaling is not None and len(scaling.scale) != n_targets:
        raise ValueError(
            f"Cannot resume: y has {n_targets} columns, but the fit before had "
            f"{len(scaling.scale)}. Pass y of the same shape, or fit a clone of the estimator."
        )
    return scaling
