"""The only module that touches scikit-learn's private names, which may move between releases."""

from functools import cache
from typing import Any, Self

import scipy
from sklearn.base import _fit_context
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
)
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import _check_sample_weight

from skmlp._vocabulary import keyword_hint, value_hint

__all__ = [
    "CheckedParameters",
    "Interval",
    "Options",
    "StrOptions",
    "_check_partial_fit_first_call",
    "_check_sample_weight",
    "_fit_context",
    "lbfgs_options",
    "warn_unless_converged",
]


class CheckedParameters:
    """Adds answers to scikit-learn's validation of constructor parameters.

    `check_parameters` runs first, where it can say more than "must be one of"; names and values
    that other libraries use are answered with ours.
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

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator.

        Parameters
        ----------
        **params : dict
            Parameters and their new values.

        Returns
        -------
        self : estimator
            This estimator.

        Raises
        ------
        ValueError
            If a name is not that of a parameter. None has been set then.
        """
        names = self._get_param_names()
        for name in params:
            if name.partition("__")[0] not in names:
                try:
                    super().set_params(**{name: params[name]})  # type: ignore[misc]
                except ValueError as error:
                    hint = keyword_hint(name, names)
                    raise ValueError(f"{error} {hint}".rstrip()) from None
        return super().set_params(**params)  # type: ignore[misc]

    def _validate_params(self) -> None:
        self.check_parameters()
        try:
            super()._validate_params()  # type: ignore[misc]
        except InvalidParameterError as error:
            raise InvalidParameterError(" ".join([str(error), *self._value_hints()])) from None

    def _value_hints(self) -> list[str]:
        """Return a sentence for every value that has another name here."""
        hints = []
        for name, value in self.get_params(deep=False).items():  # type: ignore[attr-defined]
            for constraint in self._parameter_constraints.get(name, ()):  # type: ignore[attr-defined]
                is_choice = isinstance(constraint, StrOptions)
                if is_choice and not constraint.is_satisfied_by(value):
                    hints.append(value_hint(name, value, sorted(constraint.options)))
        return list(filter(None, hints))


def lbfgs_options() -> dict[str, Any]:
    """Return what keeps SciPy's L-BFGS-B silent; newer releases deprecate the option."""
    major, minor = (int(part) for part in scipy.__version__.split(".")[:2])
    return {} if (major, minor) >= (1, 15) else {"iprint": -1}


def warn_unless_converged(result: Any, max_iter: int) -> None:
    """Give scikit-learn's `ConvergenceWarning` if SciPy's minimizer did not succeed."""
    _check_optimize_result("lbfgs", result, max_iter)
