"""Gaussian noise on inputs: a function of where they stand, as the masks of dropout are.

The functions are plain arithmetic and serve Python numbers, arrays and compiled kernels alike.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import cos, log, sqrt

from skmlp.network.masks import word_of_layer, word_of_row, word_of_unit

# Stand where the numbers of layers would in masks, of which there are never so many.
RADIUS = 1 << 20
ANGLE = RADIUS + 1
PER_WORD = 2.0**-32
FULL_CIRCLE = 6.283185307179586


def gaussian(radius_word: Any, angle_word: Any) -> Any:
    """Return a number of the standard normal distribution for two words of 32 bits.

    References
    ----------
    Box & Muller (1958), "A note on the generation of random normal deviates", Annals of
    Mathematical Statistics 29, of whose two numbers one is taken.
    """
    radius = sqrt(-2.0 * log((radius_word + 0.5) * PER_WORD))
    return radius * cos(FULL_CIRCLE * PER_WORD * angle_word)


def noise(word: int, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Return standard normal numbers for some rows of a batch, shape (rows, columns).

    `word` is that of the step (`skmlp.network.masks.word_of_step`).
    """
    numbers = np.arange(rows, dtype=np.uint64)[:, np.newaxis]
    units = np.arange(columns, dtype=np.uint64)
    words = [
        word_of_unit(word_of_row(np.uint64(word_of_layer(word, kind)), numbers), units)
        for kind in (RADIUS, ANGLE)
    ]
    return np.asarray(gaussian(*words))
