"""The temperature of probabilities that are means over networks, and what is left to doubt.

The temperature of a single network divides its raw predictions (`skmlp._temperature`); means have
none.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._selection import LEAST_PROBABILITY

# What is known of a temperature before any sample is seen: its logarithm is about zero, give or
# take this. A few samples that are all predicted well are no reason for probabilities of zero.
DEVIATION_OF_LOGARITHM = 0.3


def at_temperature(probabilities: Any, temperature: float) -> Any:
    """Return probabilities whose logarithms are divided by a temperature."""
    if temperature == 1.0:
        return probabilities
    smallest = np.finfo(np.float64).tiny
    scores = np.log(np.maximum(probabilities, smallest, dtype=np.float64)) / temperature
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


def smoothed(probabilities: Any, smoothing: float) -> Any:
    """Return probabilities of which a share is spread evenly over all classes."""
    if smoothing == 0.0:
        return probabilities
    even = smoothing / probabilities.shape[1]
    return (probabilities * (1.0 - smoothing) + even).astype(probabilities.dtype)


def smoothing_of(n_samples: int, weight: npt.NDArray[np.float64] | None) -> float:
    """Return the share of probability that so many held-out samples leave to doubt.

    Where networks are stopped and chosen by a few samples, all of these may be predicted well, and
    the surer the better. But of an error that happens less than once in n samples, n samples tell
    nothing. So one more is imagined whose class is any of them: Laplace's rule of succession.
    """
    n_effective = float(n_samples)
    if weight is not None:  # Kish
        weight = weight / weight.max()
        n_effective = float(weight.sum() ** 2 / (weight * weight).sum())
    return 1.0 / (n_effective + 1.0)


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
        return float(-np.sum(np.log(np.maximum(right, LEAST_PROBABILITY)) * weights[part]))

    def best(part: Any) -> float:
        def cost(logarithm: float) -> float:
            surprise = 0.5 * (logarithm / DEVIATION_OF_LOGARITHM) ** 2
            return loss(np.exp(logarithm), part) + surprise

        return float(np.exp(minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded").x))

    crossed = loss(best(half), ~half) + loss(best(~half), half)
    everything = np.ones(len(labels), dtype=bool)
    return best(everything) if crossed < loss(1.0, everything) else 1.0
