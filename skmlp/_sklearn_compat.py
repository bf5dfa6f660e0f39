"""The only module that touches scikit-learn's private names, which may move between releases."""

from functools import cache
from typing import Any

import scipy
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "CheckedParameters",
    "Interval",
    "Options",
    "StrOptions",
    "_check_partial_fit_first_call",
    "_check_sample_weight",
    "_fit_context",
    "lbfgs_options",
]


class CheckedParameters:
    """Adds `check_parameters` to scikit-learn's validation of constructor parameters.

    It runs first, where it can say more than "must be one of".
    """

    def check_parameters(self) -> None:
        """Raise for parameters that need a better explanation than their domain."""

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        """Return the names of the constructor's parameters.

        Kept, because every fit, clone and `get_params` asks, and inspecting takes a while.
        """
        return super()._get_param_names()  # type: ignore[misc]

    def _validate_params(self) -> None:
        self.check_parameters()
        super()._validate_params()  # type: ignore[misc]


def lbfgs_options() -> dict[str, Any]:
    """Return what keeps SciPy's L-BFGS-B silent; newer releases deprecate the option."""
    major, minor = (int(part) for part in scipy.__version__.split(".")[:2])
    return {} if (major, minor) >= (1, 15) else {"iprint": -1}
