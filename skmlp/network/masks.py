"""Which units dropout drops: a function of where they stand, so that no engine draws anything.

A unit is kept or dropped by a hash of (seed, step, layer, position of the row in its batch,
unit), whatever slab or thread computes it. The functions are plain arithmetic on integers and
serve Python integers, arrays of ``uint64`` and compiled kernels alike.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.network.permutation import MASK, mix

INPUTS = 0  # stands where the number of a layer would; hidden layers count from one


def word_of_step(seed: int, step: int) -> Any:
    """Return what the masks of one step are keyed by; `step` counts from one."""
    return mix((mix(seed & MASK) + step * 0x9E3779B1) & MASK)


def word_of_layer(word: Any, layer: int) -> Any:
    """Return what the masks of one layer are keyed by."""
    return mix((word + (layer + 1) * 0x85EBCA77) & MASK)


def word_of_row(word: Any, row: Any) -> Any:
    """Return what the mask of one row of the batch is keyed by."""
    return mix((word + row * 0xC2B2AE3D) & MASK)


def word_of_unit(word: Any, unit: Any) -> Any:
    """Return the number that is compared with `threshold`; the unit is kept from there on."""
    return mix(word ^ ((unit * 0x27D4EB2F) & MASK))


def threshold(dropout: float) -> int:
    """Return below which of ``2 ** 32`` numbers a unit is dropped."""
    return round(dropout * 2**32)


def mask(word: int, layer: int, rows: int, units: int, dropout: float) -> npt.NDArray[np.float64]:
    """Return what the outputs of a layer are multiplied by, shape (rows, units).

    Zero, or ``1 / (1 - dropout)``, so that the mean stays.

    References
    ----------
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15; scaled in training, as all libraries do.
    """
    of_layer = np.uint64(word_of_layer(word, layer))
    of_rows = word_of_row(of_layer, np.arange(rows, dtype=np.uint64)[:, np.newaxis])
    of_units = word_of_unit(of_rows, np.arange(units, dtype=np.uint64))
    kept = of_units >= threshold(dropout)
    return np.where(kept, 1.0 / (1.0 - dropout), 0.0)
