"""Checks of fitted estimators that several modules share."""

from numpy.testing import assert_allclose


def assert_same_weights(model, expected, tolerance=0.0):
    """Weights of one precision that differ by at most the tolerance, by nothing without one."""
    for name in ("coefs_", "intercepts_"):
        for ours, theirs in zip(getattr(model, name), getattr(expected, name), strict=True):
            assert ours.dtype == theirs.dtype
            assert_allclose(ours, theirs, rtol=0.0, atol=tolerance)
