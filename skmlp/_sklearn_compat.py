"""The only module that touches scikit-learn's private names, which may move between releases."""

import warnings
from functools import cache
from types import ModuleType
from typing import Any, Self

import scipy
import sklearn
from sklearn import config_context
from sklearn.base import _clone_parametrized, _fit_context, clone
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._metadata_requests import SIMPLE_METHODS
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    make_constraint,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_monotonic_cst,
    _check_sample_weight,
)

from skmlp._vocabulary import check_names, value_hint

__all__ = [
    "CALLBACKS",
    "OF_NETWORKS",
    "REQUESTS",
    "VERSION",
    "AnnouncedHooks",
    "CheckedParameters",
    "Interval",
    "LinkedDocumentation",
    "Options",
    "ShownNetwork",
    "StrOptions",
    "_check_feature_names_in",
    "_check_monotonic_cst",
    "_check_partial_fit_first_call",
    "_check_sample_weight",
    "_fit_context",
    "as_cloned_by_sklearn",
    "callback_context",
    "callback_support",
    "cloned",
    "copy_metadata_requests",
    "lbfgs_options",
    "make_constraint",
    "metadata_requests",
    "network_modules",
    "safe_indexing",
    "set_metadata_requests",
    "takes",
    "to_go_on_with",
    "validate_parameters",
    "without_callbacks",
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
        check_names(self, params)
        return super().set_params(**params)  # type: ignore[misc]

    def _validate_params(self) -> None:
        self.check_parameters()
        params = self.get_params(deep=False)  # type: ignore[attr-defined]
        validate_parameters(self._parameter_constraints, params, type(self).__name__)  # type: ignore[attr-defined]


def validate_parameters(
    constraints: dict[str, list[Any]], params: dict[str, Any], caller_name: str
) -> None:
    """Validate as scikit-learn does, and say what is meant by values that have another name here.

    Raises
    ------
    InvalidParameterError
        If a parameter satisfies none of its constraints.
    """
    try:
        validate_parameter_constraints(constraints, params, caller_name)
    except InvalidParameterError as error:
        hints = value_hints(constraints, params)
        raise InvalidParameterError(" ".join([str(error), *hints])) from None


def value_hints(constraints: dict[str, list[Any]], params: dict[str, Any]) -> list[str]:
    """Return a sentence for every value that has another name here."""
    hints = []
    for name, value in params.items():
        for constraint in constraints.get(name, ()):
            is_choice = isinstance(constraint, StrOptions)
            if is_choice and not constraint.is_satisfied_by(value):
                classes = getattr(constraint, "classes", ())  # where objects are offered too
                hints.append(value_hint(name, value, sorted(constraint.options), classes))
    return list(filter(None, hints))


WEIGHTS = "For initial weights, use init=(coefs, intercepts)."
COMPILED = "Losses and gradients are computed in compiled kernels, which cannot be overridden."
SCORE = "What early_stopping watches is the parameter scoring; for all else, override score."
# Methods of scikit-learn's networks that skmlp never calls, and what to do instead.
UNUSED_HOOKS = {
    "_backprop": COMPILED,
    "_check_solver": "",
    "_compute_loss_grad": COMPILED,
    "_forward_pass": "Override predict.",
    "_forward_pass_fast": "Override predict.",
    "_init_coef": WEIGHTS,
    "_initialize": WEIGHTS,
    "_loss_grad_lbfgs": COMPILED,
    "_predict": "Override predict.",
    "_score": SCORE,
    "_score_with_function": SCORE,
    "_unpack": "",
    "_update_no_improvement_count": "Set tol, n_iter_no_change and early_stopping.",
    "_validate_input": "Override fit to change X and y first.",
}


class AnnouncedHooks:
    """Warns, where a subclass is written, of overridden methods that nothing here calls."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        looked_at = [parent for parent in cls.__bases__ if issubclass(parent, AnnouncedHooks)]
        old = {base for parent in looked_at for base in parent.__mro__}
        own = [base for base in cls.__mro__ if base not in old]  # the class and what it mixes in
        for name, remedy in UNUSED_HOOKS.items():
            if any(name in vars(base) for base in own):
                warnings.warn(
                    f"{cls.__name__}.{name} overrides a private method of scikit-learn's networks "
                    f"that skmlp never calls. {remedy}".rstrip(),
                    stacklevel=3,  # beyond the metaclass, to the class statement
                )


# The attribute that holds an estimator's callbacks, and those that a fit under way has besides.
CALLBACKS = "_skl_callbacks"
OF_CALLBACKS = {
    CALLBACKS,
    "_callback_fit_ctx",
    "_parent_callback_ctx",
    "_skl_callbacks_to_teardown",
}


def callback_support() -> Any:
    """Return scikit-learn's mixin for estimators that call hooks.

    Not inherited: to import it takes up to a second, which all who import us would wait for.
    scikit-learn's `_fit_context` lets callbacks tear down what they have set up, however fits end.

    Raises
    ------
    RuntimeError
        If scikit-learn has none.
    """
    try:
        from sklearn.callback import CallbackSupportMixin
    except ModuleNotFoundError as error:
        if error.name != "sklearn.callback":
            raise  # it is there, and lacks something itself
        raise RuntimeError(
            f"set_callbacks needs scikit-learn 1.9 or later, but {sklearn.__version__} is "
            "installed. Install it: pip install -U scikit-learn"
        ) from error
    return CallbackSupportMixin


def callback_context(estimator: Any, max_subtasks: int) -> Any:
    """Open the context of a fit, below which its tasks have theirs."""
    return callback_support()._init_callback_context(estimator, max_subtasks=max_subtasks)


def without_callbacks(estimator: Any) -> Any:
    """Take from an estimator all that it has of callbacks, and return it."""
    for name in OF_CALLBACKS:
        vars(estimator).pop(name, None)
    return estimator


class LinkedDocumentation:
    """Lets scikit-learn's HTML representation describe parameters and fitted attributes.

    It shows the texts of our docstrings, but only beside a link; the page that is true of nearly
    all of them is that of the estimator whose name, parameters and attributes ours has.
    """

    _doc_link_module = "skmlp"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {
            "estimator_module": "sklearn.neural_network",
            "estimator_name": type(self).__name__,
        }


class ShownNetwork:
    """Puts the table of a fitted network below scikit-learn's HTML representation."""

    def _html_repr(self) -> str:
        estimator: Any = self
        parent: Any = super()
        diagram = str(parent._html_repr())
        try:
            return f"{diagram}{estimator.summary()._repr_html_()}"
        # Not fitted, or attributes are no network any more: notebooks show it nevertheless.
        except (AttributeError, ValueError):
            return diagram


def lbfgs_options() -> dict[str, Any]:
    """Return what keeps SciPy's L-BFGS-B silent; newer releases deprecate the option."""
    major, minor = (int(part) for part in scipy.__version__.split(".")[:2])
    return {} if (major, minor) >= (1, 15) else {"iprint": -1}


def network_modules() -> tuple[ModuleType, ModuleType]:
    """Return the modules where scikit-learn's networks are looked up: by users, and by pickles.

    They are defined in the last one. Imported late, because it takes a while.
    """
    import sklearn.neural_network
    from sklearn.neural_network import _multilayer_perceptron

    return sklearn.neural_network, _multilayer_perceptron


def takes(estimator_class: Any, name: str, value: Any) -> bool:
    """Whether an estimator of scikit-learn's takes a value for one of its parameters."""
    constraints = {name: estimator_class._parameter_constraints[name]}
    try:
        validate_parameter_constraints(constraints, {name: value}, estimator_class.__name__)
    except InvalidParameterError:
        return False
    return True


# What scikit-learn puts into pickles of its own classes, ours never.
VERSION = "_sklearn_version"
# Attributes of its networks that tell how their training goes on, and what it has made of them.
OF_NETWORKS = {
    VERSION,
    "_best_coefs",
    "_best_intercepts",
    "_coef_indptr",
    "_intercept_indptr",
    "_no_improvement_count",
    "_optimizer",
    "_random_state",
}


def to_go_on_with(network: Any) -> dict[str, Any]:
    """Return what the stochastic solvers of its networks read where they go on training."""
    return {
        "_no_improvement_count": 0,
        "_best_coefs": [array.copy() for array in network.coefs_],
        "_best_intercepts": [array.copy() for array in network.intercepts_],
    }


REQUESTS = "_metadata_request"
# What clones have besides parameters.
CLONED = frozenset({REQUESTS, CALLBACKS, "_sklearn_output_config"})
# Values that are their own copies.
CONSTANTS = frozenset({bool, float, int, str, type(None)})


def cloned(estimator: Any) -> Any:
    """Return what `sklearn.base.clone` makes of an estimator whose constructor is known.

    It stores its parameters as they are. To have one after the other copied and compared takes a
    while, and most of them cannot change.
    """
    if not vars(estimator).keys().isdisjoint(CLONED):
        return as_cloned_by_sklearn(estimator)
    params = estimator.get_params(deep=False)
    copies = {
        name: value if type(value) in CONSTANTS else clone(value, safe=False)
        for name, value in params.items()
    }
    return type(estimator)(**copies)


def as_cloned_by_sklearn(estimator: Any) -> Any:
    """Return what `sklearn.base.clone` makes of an estimator that has no say in it."""
    return _clone_parametrized(estimator)


def metadata_requests(estimator: Any) -> dict[str, dict[str, Any]]:
    """Return which metadata an estimator was told to request, by method; else nothing."""
    if REQUESTS not in vars(estimator):
        return {}
    routing = estimator.get_metadata_routing()
    return {
        method: dict(requests)
        for method in SIMPLE_METHODS
        if (requests := getattr(routing, method).requests)
    }


def set_metadata_requests(estimator: Any, requests: Any) -> None:
    """Tell an estimator which metadata to request.

    Raises
    ------
    TypeError, ValueError
        If these are no requests that its methods can make.
    """
    if not isinstance(requests, dict) or not requests.keys() <= {*SIMPLE_METHODS}:
        raise ValueError(f"no methods that request metadata: {requests!r}")
    with config_context(enable_metadata_routing=True):
        for method, own in requests.items():
            getattr(estimator, f"set_{method}_request", no_requests)(**own)


def no_requests(**requests: Any) -> None:
    """Stand for a method that takes no metadata."""
    if requests:
        raise ValueError(f"nothing takes the metadata {sorted(requests)}")


def copy_metadata_requests(source: Any, target: Any) -> None:
    """Tell an estimator to request what another one does, as far as its methods take that."""
    known = target.get_metadata_routing()
    requests = {
        method: {name: own[name] for name in own if name in getattr(known, method).requests}
        for method, own in metadata_requests(source).items()
    }
    set_metadata_requests(target, requests)
