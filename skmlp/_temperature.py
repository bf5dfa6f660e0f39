"""The temperature that scores are divided by before they become probabilities.

Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", ICML, section 4.2.
"""

import sys
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from skmlp._choices import same
from skmlp._fitted import shown
from skmlp._solvers import uses_lbfgs
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import Formula, HeadSpec, NetworkSpec

# Between these it is looked for. Where all held-out samples are classified correctly, none is too
# low.
LOWEST, HIGHEST = 0.01, 100.0
TOLERANCE = 1e-6


def without_links(network: NetworkSpec) -> NetworkSpec:
    """Return a network whose outputs are the raw predictions of another one."""
    head = HeadSpec(network.n_outputs, Formula("squared_error"), "identity")
    return NetworkSpec(network.inputs, network.layers, (head,))


def check_can_be_fitted(estimator: Any) -> None:
    """Refuse to fit a temperature where no samples are held out.

    Raises
    ------
    ValueError
        If ``temperature='fit'`` without early stopping.
    """
    if not same(estimator.temperature, "fit"):
        return
    if uses_lbfgs(estimator):
        raise ValueError(
            "temperature='fit' needs held-out samples, which solver='lbfgs' has none of. Use "
            "another solver with early_stopping=True, or give temperature a number."
        )
    if not estimator.early_stopping:
        raise ValueError(
            "temperature='fit' needs held-out samples, but early_stopping=False. Use fit with "
            "early_stopping=True, or give temperature a number."
        )


def fitted_temperature(estimator: Any) -> float:
    """Return the temperature of a fitted estimator, which users may replace.

    Raises
    ------
    ValueError
        If it is no positive number.
    """
    value = vars(estimator).get("temperature_", 1.0)
    if type(value) is float and value == 1.0:  # what is usual takes no longer than that
        return 1.0
    is_number = isinstance(value, Real)
    if not (is_number and 0.0 < value <= sys.float_info.max):  # exact for large integers
        raise ValueError(
            f"temperature_ must be a positive number, but is {shown(value)}. Set it to such a "
            "number, or fit again."
        )
    return float(value)


def probabilities_at(network: NetworkSpec, raw: FloatArray, temperature: float) -> FloatArray:
    """Return the outputs that a network of classes has at a temperature.

    Parameters
    ----------
    network : NetworkSpec
    raw : ndarray of shape (n_samples, n_outputs)
        Raw predictions.
    temperature : float
    """
    scores = scaled(raw, temperature)
    parts = [
        softmax(part, axis=1) if head.link == "softmax" else expit(part)
        for head, part in zip(network.heads, parts_of(network, scores), strict=True)
    ]
    return np.hstack(parts).astype(raw.dtype)


def scaled(raw: FloatArray, temperature: float) -> FloatArray:
    """Return scores divided by a temperature, in double precision and never infinite.

    A softmax subtracts the largest one first, which must be a number.
    """
    largest = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        return np.clip(raw.astype(np.float64) / temperature, -largest, largest)


def parts_of(network: NetworkSpec, matrix: FloatArray) -> list[FloatArray]:
    """Return the columns of each head."""
    ends = np.cumsum([head.units for head in network.heads])
    return np.split(matrix, ends[:-1], axis=1)


def log_loss(
    network: NetworkSpec,
    raw: FloatArray,
    labels: npt.NDArray[Any],
    sample_weight: npt.NDArray[np.float64] | None,
    temperature: float,
) -> float:
    """Return the mean log loss at a temperature, summed over all targets.

    Parameters
    ----------
    labels : ndarray of shape (n_samples, n_columns)
        Class numbers for softmax, zeros and ones for the others.
    """
    scores = scaled(raw, temperature)
    losses = np.zeros(len(raw))
    column = 0
    for head, part in zip(network.heads, parts_of(network, scores), strict=True):
        own = labels[:, column : column + head.target_columns]
        column += head.target_columns
        if head.link == "softmax":
            losses -= np.take_along_axis(log_softmax(part, axis=1), own.astype(int), 1)[:, 0]
        else:
            signs = np.where(own, -1.0, 1.0)
            losses += np.logaddexp(0.0, signs * part).sum(axis=1)
    return float(np.average(losses, weights=sample_weight))


def find_temperature(
    network: NetworkSpec,
    raw: FloatArray,
    labels: npt.NDArray[Any],
    sample_weight: npt.NDArray[np.float64] | None,
) -> float:
    """Return the temperature with the smallest log loss.

    The loss is a convex function of the inverse, so that it has one minimum.
    """
    with np.errstate(over="ignore"):
        result = minimize_scalar(
            lambda exponent: log_loss(network, raw, labels, sample_weight, float(np.exp(exponent))),
            bounds=(np.log(LOWEST), np.log(HIGHEST)),
            method="bounded",
            options={"xatol": TOLERANCE},
        )
    return float(np.exp(result.x))
