"""Mixtures of samples: of which, and by how much, as functions of a step's number.

In one step of training each row of a batch is mixed with another one, some places further on in
the batch, which is in random order. So nothing is drawn, as for the masks of dropout. The first
functions are plain arithmetic and serve Python numbers and compiled kernels alike.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import cos, sqrt

from skmlp.network.masks import word_of_layer, word_of_step
from skmlp.network.noise import ANGLE, FULL_CIRCLE, PER_WORD

# Stand where the numbers of layers would in masks, behind those of noise.
SHARE_RADIUS = ANGLE + 1
SHARE_ANGLE = ANGLE + 2
SHIFT = ANGLE + 3


def symmetric_beta(radius_word: Any, angle_word: Any, concentration: float) -> Any:
    """Return a number of the beta distribution with both parameters alike, for two words.

    References
    ----------
    Devroye (1996), "Random variate generation in one line of code", Winter Simulation Conference,
    section 2.3, by way of Student's distribution as Bailey (1994) generates it.
    """
    cosine = cos(FULL_CIRCLE * PER_WORD * (angle_word + 0.5))
    # So written that nothing overflows where the concentration is small.
    power = ((radius_word + 0.5) * PER_WORD) ** (1.0 / concentration)
    part = (1.0 - power) * cosine * cosine
    distance = 0.5 * sqrt(part / (power + part))
    return 0.5 + distance if cosine >= 0.0 else 0.5 - distance


def share_of_own(word: int, concentration: float) -> Any:
    """Return the share of each row itself in a step's mixtures.

    `word` is that of the step (`skmlp.network.masks.word_of_step`).

    References
    ----------
    Zhang et al. (2018), "mixup: beyond empirical risk minimization", ICLR.
    """
    radius, angle = word_of_layer(word, SHARE_RADIUS), word_of_layer(word, SHARE_ANGLE)
    return symmetric_beta(radius, angle, concentration)


def shift_of_step(word: int, batch_rows: int) -> int:
    """Return how many places further on the other row of each is, beginning anew at the end."""
    return 1 + word_of_layer(word, SHIFT) % (batch_rows - 1) if batch_rows > 1 else 0


def mixture(
    rows: npt.NDArray[np.intp], seed: int, step: int, concentration: float
) -> tuple[float, npt.NDArray[np.intp]]:
    """Return the share of each row of a batch, and the rows that they are mixed with."""
    word = word_of_step(seed, step)
    share = float(share_of_own(word, concentration))
    return share, np.roll(rows, -shift_of_step(word, len(rows)))
