"""Normalization of pre-activations: what all engines agree on.

*layer*: each row has mean zero and variance one over the columns of its layer's product.
*batch*: each column has, over a group of rows. A batch's rows are taken in groups of at most
`GROUP_ROWS`, one after the other, so that results do not depend on how many rows an engine works
on at once. Rows count by their weights: one of weight two as two rows, one of weight zero as none.
Where fewer than two rows of a group have weight, it has no variance of its own and takes the
running statistics, as predictions do. They are updated group by group.

What is normalized is then multiplied by a learned gain, and a learned shift is added.

References
----------
Ba, Kiros & Hinton (2016), "Layer normalization", arXiv:1607.06450.
Ioffe & Szegedy (2015), "Batch normalization", ICML.
"""

from collections.abc import Iterator

import numpy as np

from skmlp.network.parameters import FloatArray

GROUP_ROWS = 256
# Both as in PyTorch: added to variances, and the share of a group in the running statistics.
EPSILON = 1e-5
MOMENTUM = 0.1
# Keeps what is divided by from vanishing where one row has nearly all the weight.
SMALLEST_SHARE = 1e-12


def group_bounds(rows: int) -> Iterator[tuple[int, int]]:
    """Yield the first and one past the last row of each group of a batch."""
    for start in range(0, rows, GROUP_ROWS):
        yield start, min(start + GROUP_ROWS, rows)


def unbiased_divisor(weight_sum: float, square_sum: float) -> float:
    """Return what a weighted sum of squared deviations is divided by in a running variance.

    It is ``sum(w) - 1`` where weights count rows. Where they are smaller, as when they sum up to
    one, it is ``sum(w) - sum(w ** 2) / sum(w)``, which has the same scale as the weights.
    """
    lost = min(1.0, square_sum / weight_sum)
    return max(weight_sum - lost, SMALLEST_SHARE * weight_sum)


class LayerNormalization:
    """Each row with mean zero and variance one, and the way back (Ba et al. 2016, eq. 4)."""

    def __init__(self, z: FloatArray) -> None:
        # The first one is taken away so that what is constant becomes zero without rounding.
        shifted = z - z[:, :1]
        centered = shifted - shifted.mean(axis=1, keepdims=True)
        variance = np.mean(centered**2, axis=1, keepdims=True)
        self._inverse = 1.0 / np.sqrt(variance + EPSILON)
        self.values = centered * self._inverse

    def backward(self, delta: FloatArray) -> FloatArray:
        mean = delta.mean(axis=1, keepdims=True)
        slope = np.mean(delta * self.values, axis=1, keepdims=True)
        return self._inverse * (delta - mean - self.values * slope)
