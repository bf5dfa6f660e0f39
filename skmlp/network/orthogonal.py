"""The semi-orthogonal matrix next to another one, by an iteration of products alone."""

import numpy as np

from skmlp.network.parameters import FloatArray

# Of the polynomial ``a x + b x ** 3 + c x ** 5``, which pulls singular values in (0, 1] to about
# one: to [0.7, 1.2], rather than to one itself, but from small ones in few steps (Jordan et al.
# 2024, "Muon: an optimizer for hidden layers in neural networks").
FIRST, THIRD, FIFTH = 3.4445, -4.7750, 2.0315
# Smaller norms are taken for this one.
SMALLEST_NORM = 1e-7


def orthogonalize(matrix: FloatArray, iterations: int) -> FloatArray:
    """Return ``U V^T`` of a matrix ``U S V^T``, up to what the iteration leaves of `S`."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    tall = tall / np.maximum(np.linalg.norm(tall), SMALLEST_NORM)
    for _ in range(iterations):
        gram = tall.T @ tall
        polynomial = THIRD * gram + FIFTH * gram @ gram
        tall = FIRST * tall + tall @ polynomial
    return tall if matrix.shape[0] >= matrix.shape[1] else tall.T
