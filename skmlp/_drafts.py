"""Drafts: a fit works on a copy of the estimator, whose state is taken over all at once.

However a fit fails, and at whatever line an interrupt meets it, the estimator has either its old
attributes or all of the new ones.
"""

from typing import Any, TypeVar

AnyEstimator = TypeVar("AnyEstimator")


def draft_of(estimator: AnyEstimator) -> AnyEstimator:
    """Return an estimator with the same attributes, whose own may be replaced.

    What the attributes refer to is shared: fitted arrays are replaced, never written to.
    """
    # Neither constructor nor pickling, which subclasses may have changed.
    draft = object.__new__(type(estimator))
    take_over(draft, estimator)
    return draft


def take_over(estimator: Any, draft: Any) -> None:
    """Give an estimator the attributes of a draft, and no others."""
    state = object.__getstate__(draft)
    attributes, slots = state if isinstance(state, tuple) else (state, {})
    for name, value in slots.items():
        object.__setattr__(estimator, name, value)
    # One operation, between no two lines.
    object.__setattr__(estimator, "__dict__", dict(attributes or {}))
