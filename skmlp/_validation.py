"""Checks of parameters and input, each made before anything changes.

Every error names the parameter, the value received and the remedy.
"""

import math
import os
from functools import cache
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.utils.validation import assert_all_finite, validate_data

from skmlp import schedules
from skmlp._choices import same, typed
from skmlp._groups import check_factors
from skmlp._sklearn_compat import StrOptions, _check_sample_weight
from skmlp._solvers import check_momenta, check_solver_parameters
from skmlp._sparse import check_sparse
from skmlp._vocabulary import value_hint
from skmlp.network.activations import ACTIVATIONS
from skmlp.network.bounds import euclidean_norm
from skmlp.network.losses import Loss
from skmlp.network.parameters import layout_of
from skmlp.network.specs import NetworkSpec
from skmlp.training.schedules import SCHEDULES

DTYPES = ("float32", "float64")


def resolve_dtype(dtype: Any) -> str:
    """Return "auto", "float32" or "float64" for every way to write it.

    NumPy knows more names of the latter two: ``np.float32``, ``np.dtype("f4")``, "single" and
    ``float``, for instance.

    Raises
    ------
    ValueError
        If `dtype` is none of these.
    """
    if isinstance(dtype, str) and dtype == "auto":
        return dtype
    try:
        found = None if dtype is None else np.dtype(dtype)  # None is float64 to NumPy
    except (TypeError, ValueError):
        found = None
    for name in DTYPES:
        if found is not None and found == np.dtype(name):
            return name
    raise ValueError(f"dtype must be {FloatOptions()}, got {dtype!r}.")


class FloatOptions(StrOptions):
    """Constraint of the parameter `dtype`."""

    def __init__(self) -> None:
        super().__init__({"auto", *DTYPES})

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it can be resolved."""
        try:
            resolve_dtype(val)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return "'auto', 'float32', 'float64' or what NumPy takes for one of these two"


HIDDEN_ACTIVATIONS = {entry.name for entry in ACTIVATIONS.values() if entry.hidden}
DEVICES = {"cpu", "cuda", "auto"}
PRECISIONS = {"tf32", "bf16"}


def is_true(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) and bool(value)


def is_zero(value: Any) -> bool:
    return isinstance(value, Real) and value == 0


def check_related_parameters(estimator: Any) -> None:
    """Catch values that belong to another parameter, or name something not offered."""
    learning_rate = estimator.learning_rate
    if isinstance(learning_rate, Real) and not isinstance(learning_rate, bool):
        raise ValueError(
            f"learning_rate={learning_rate!r} is a number, but learning_rate names a schedule "
            f"({', '.join(sorted(SCHEDULES))}). For the step size use "
            f"learning_rate_init={learning_rate!r}."
        )
    if isinstance(learning_rate, type):
        hint = value_hint("learning_rate", learning_rate, SCHEDULES, schedules.OBJECTS.values())
        raise ValueError(
            f"learning_rate={learning_rate.__name__} is a class, but learning_rate is the name of "
            f"a schedule, an object or a function. {hint}".rstrip()
        )
    check_solver_parameters(estimator)
    check_momenta(estimator)
    check_monitor(estimator)
    check_factors(estimator)
    if is_true(estimator.early_stopping) and is_zero(estimator.validation_fraction):
        raise ValueError(
            f"validation_fraction={estimator.validation_fraction} holds out nothing, but "
            "early_stopping=True needs a validation set. Use for instance "
            "validation_fraction=0.1, or early_stopping=False."
        )
    given = estimator.normalization
    normalizations = given if isinstance(given, tuple | list) else [given]
    if same(estimator.solver, "lbfgs") and any(same(one, "batch") for one in normalizations):
        raise ValueError(
            f"normalization={given!r} does not go with solver='lbfgs', which has no minibatches "
            "whose statistics predictions could use. Use solver='adam' or 'sgd', or "
            "normalization='layer'."
        )
    if same(estimator.solver, "lbfgs") and not is_zero(estimator.l1_ratio):
        raise ValueError(
            f"l1_ratio={estimator.l1_ratio!r} does not go with solver='lbfgs', which needs a "
            "smooth loss. Use another solver, or l1_ratio=0.0."
        )
    if is_zero(estimator.n_jobs):
        raise ValueError("n_jobs=0 has no meaning. Use None, a positive number, or -1 for all.")


def monitors_of(estimator: Any) -> tuple[str, ...]:
    """Return the names of what is recorded besides losses and scores."""
    monitor = estimator.monitor
    if monitor is None:
        return ()
    return (monitor,) if isinstance(monitor, str) else tuple(monitor)


def check_monitor(estimator: Any) -> None:
    """Refuse to record the loss of samples that are not there."""
    if not isinstance(estimator.monitor, str | tuple | list):
        return
    if "validation_loss" in monitors_of(estimator) and not estimator.early_stopping:
        raise ValueError(
            f"monitor={estimator.monitor!r} asks for the loss of samples that are not trained on, "
            f"but early_stopping={estimator.early_stopping} holds out none. Use "
            "early_stopping=True, or leave 'validation_loss' out."
        )


# Parameters that have been validated, each with its type: 1 and True are equal.
_validated: set[tuple[Any, ...]] = set()
MAX_VALIDATED = 100


def check_parameters_again(estimator: Any) -> None:
    """Validate the constructor's parameters before a later `partial_fit`.

    scikit-learn does so before the first one only, for it takes as long as a small batch. So what
    has been validated is remembered.

    Raises
    ------
    ValueError
        If a parameter is invalid.
    """
    values = estimator.get_params(deep=False)
    # Looked at in every fit, and not told from its type.
    values.pop("hidden_layer_sizes", None)
    if isinstance(values.get("random_state"), np.random.RandomState):
        values["random_state"] = None
    key = (type(estimator), *map(typed, values.values()))
    try:
        if key in _validated:
            return
    except TypeError:  # a value that cannot be hashed
        estimator._validate_params()
        return
    estimator._validate_params()
    if len(_validated) >= MAX_VALIDATED:
        _validated.clear()
    _validated.add(key)


def check_hidden_layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Return the hidden layer sizes as a tuple of integers.

    Raises
    ------
    ValueError
        If a size is not a positive integer.
    """
    is_scalar = isinstance(sizes, np.ndarray) and sizes.ndim == 0
    listed = list(sizes) if hasattr(sizes, "__iter__") and not is_scalar else [sizes]
    for size in listed:
        if not isinstance(size, Integral) or isinstance(size, bool):
            raise ValueError(
                f"hidden_layer_sizes must hold integers, got {listed}. Use for instance (100,) "
                "for one hidden layer of 100 units, () for none."
            )
    if any(size <= 0 for size in listed):
        raise ValueError(
            f"hidden_layer_sizes must be > 0, got {listed}. Leave a layer out instead of giving "
            "it no units; () is a network without hidden layers."
        )
    return tuple(int(size) for size in listed)


def check_precision(precision: str | None, device: str, dtype: str) -> None:
    """Refuse rounded products where nothing rounds them.

    Raises
    ------
    ValueError
        If `precision` is asked for on the CPU, or in a fit that computes in float64.
    """
    if precision is None:
        return
    if device == "cpu":
        raise ValueError(
            f"precision={precision!r} is that of a GPU's tensor cores, but device='cpu'. Use "
            "precision=None, or device='cuda' or 'auto'."
        )
    if dtype == "float64":
        raise ValueError(
            f"precision={precision!r} rounds the products of a float32 fit, but this one computes "
            "in float64. Use dtype='float32', or precision=None."
        )


@cache
def memory_of_machine() -> float:
    """Return the bytes of memory that this machine has, infinity where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not offered by this operating system
        return math.inf


def check_memory(
    network: NetworkSpec, n_vectors: int, dtype: npt.DTypeLike, n_networks: int = 1
) -> None:
    """Refuse networks whose parameters cannot fit into this machine's memory.

    Raises
    ------
    MemoryError
        If the parameters, their gradient and the optimizer's state need more than there is.
    """
    needed = layout_of(network).size * np.dtype(dtype).itemsize * n_vectors
    if needed * n_networks > (available := memory_of_machine()):
        several = "" if n_networks == 1 else f", times n_estimators={n_networks}"
        raise MemoryError(
            f"A network with layers {network.layer_units} needs {needed / 2**30:.1f} GiB for its "
            f"parameters and optimizer state{several}, but this machine has "
            f"{available / 2**30:.1f} GiB. Use smaller hidden_layer_sizes, fewer features"
            f"{'' if n_networks == 1 else ', fewer networks'}, or dtype='float32'."
        )


def as_numpy(name: str, array: Any) -> Any:
    """Return an array of another library as one of NumPy; anything else stays what it is.

    Raises
    ------
    ValueError
        If NumPy cannot read the array, as where it lies on a GPU.
    """
    is_foreign = hasattr(array, "__dlpack__") or hasattr(array, "__array_namespace__")
    if isinstance(array, np.ndarray) or not is_foreign:
        return array
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        kind = f"{type(array).__module__.partition('.')[0]}.{type(array).__name__}"
        raise ValueError(
            f"{name} is a {kind} on device {getattr(array, 'device', 'unknown')} that NumPy cannot "
            f"read: {str(error).rstrip('.')}. Move it to the CPU and pass it as a NumPy array."
        ) from error


def check_X_y(
    estimator: Any, X: Any, y: Any, *, y_numeric: bool, reset: bool
) -> tuple[Any, Any, float]:
    """Validate training data; X keeps its precision and layout, and CSC becomes CSR.

    Returns
    -------
    X : ndarray or CSR of shape (n_samples, n_features)
    y : ndarray
    X_norm : float
        Bound on the Euclidean norm of each row of X.
    """
    X, y = check_sparse("X", X), check_sparse("y", y)
    if (
        is_plain(X)
        and is_numeric(y)
        and X.shape[0] == len(y)
        and (reset or matches_fit(estimator, X))
    ):
        X_norm = largest_row_norm(X)
        if np.isfinite(X_norm) or is_finite(values_of(X)):
            if reset:
                estimator.n_features_in_ = X.shape[1]
                vars(estimator).pop("feature_names_in_", None)
            return X, y, X_norm
    if not reset:
        check_features_known(estimator)
    X, y = validate_data(
        estimator,
        as_numpy("X", X),
        as_numpy("y", y),
        accept_sparse=["csr", "csc"],
        multi_output=True,
        y_numeric=y_numeric,
        dtype=(np.float64, np.float32),
        ensure_all_finite=False,  # one pass over X finds that, and its norm
        reset=reset,
    )
    X = as_rows(X)
    X_norm = largest_row_norm(X)
    if not np.isfinite(X_norm):
        assert_all_finite(X, estimator_name=type(estimator).__name__, input_name="X")
    return X, y, X_norm


def check_validation_samples(
    estimator: Any, X_val: Any, y_val: Any, *, y_numeric: bool
) -> tuple[Any, Any]:
    """Validate samples that early stopping watches, which must be like those of the fit.

    Raises
    ------
    ValueError
        If they have other features, or anything is wrong that would be so with X and y.
    """
    try:
        X_val, y_val, _ = check_X_y(estimator, X_val, y_val, y_numeric=y_numeric, reset=False)
    except ValueError as error:
        raise ValueError(f"X_val and y_val do not go with this fit: {error}") from error
    return X_val, y_val


def largest_row_norm(X: Any) -> float:
    """Return a bound on the Euclidean norm of each row of X; not finite if X is not."""
    if not hasattr(X, "indptr"):
        return euclidean_norm(X)
    # Duplicate entries of a row and column add up, to no more than the sum of all magnitudes.
    return float(np.sqrt(X.data.size)) * euclidean_norm(X.data)


def values_of(X: Any) -> npt.NDArray[Any]:
    """Return the numbers that dense or sparse X stores."""
    return np.asarray(X.data if scipy.sparse.issparse(X) else X)


def is_plain(X: Any) -> bool:
    """Whether X, if finite, is an array or CSR that validation would hand back as it is.

    General validation takes longer than to predict a row. Whatever it would convert, name, warn
    of or refuse is left to it.
    """
    if type(X) is np.ndarray and X.ndim == 2:
        values = X
    elif type(X) is scipy.sparse.csr_array:
        values = X.data
    else:
        return False
    return (values.dtype == np.float64 or values.dtype == np.float32) and 0 not in X.shape


def is_numeric(y: Any) -> bool:
    """Whether y is an array of numbers that general validation would hand back as it is."""
    return (
        type(y) is np.ndarray
        and y.ndim in (1, 2)
        and y.size > 0
        and (y.dtype.kind in "biu" or (y.dtype.kind == "f" and is_finite(y)))
    )


# For fewer values the quickest look is the plain one.
FEW_VALUES = 1000


def is_finite(array: npt.NDArray[Any]) -> bool:
    """Whether an array holds neither NaN nor infinity."""
    if array.size < FEW_VALUES:
        return bool(np.isfinite(array).all())
    # A sum takes one pass and no memory, and is finite only if all it sums up is.
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()
    return bool(np.isfinite(total)) or bool(np.isfinite(array).all())


def matches_fit(estimator: Any, X: npt.NDArray[Any]) -> bool:
    """Whether an array without names has the features the estimator was fitted with."""
    known = getattr(estimator, "n_features_in_", None)
    return (
        type(known) is int and X.shape[1] == known and not hasattr(estimator, "feature_names_in_")
    )


def check_features_known(estimator: Any) -> None:
    """Refuse to compare features with something else than those of a fit.

    Raises
    ------
    ValueError
        If what was assigned to the attributes is no number, or no names.
    """
    known = getattr(estimator, "n_features_in_", 0)  # weights may be all that was assigned
    if not isinstance(known, Integral):
        raise ValueError(f"n_features_in_ must be a whole number, but is {known!r}. Fit again.")
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and not (isinstance(names, np.ndarray) and names.ndim == 1):
        raise ValueError(f"feature_names_in_ must be an array of names, but is {names!r}.")


def check_X(estimator: Any, X: Any) -> Any:
    """Validate data to predict for."""
    X = check_sparse("X", X)
    if is_plain(X) and matches_fit(estimator, X) and is_finite(values_of(X)):
        return X
    check_features_known(estimator)
    X = validate_data(
        estimator,
        as_numpy("X", X),
        accept_sparse=["csr", "csc"],
        dtype=(np.float64, np.float32),
        reset=False,
    )
    return as_rows(X)


def check_numeric_target(y: npt.NDArray[Any], name: str = "y") -> None:
    """Refuse targets of a regressor that are not real numbers.

    Raises
    ------
    ValueError
        If `y` holds text, dates or complex numbers.
    """
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold real numbers for a regressor, got {y.dtype} such as {y.flat[0]!r}. "
            "Convert it, for instance with y.astype(float), or use MLPClassifier for labels."
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y.reshape(len(y), -1)).all(axis=1))[0])
        raise ValueError(
            f"{name} contains NaN or infinity, first in row {row}. Drop such rows or impute them."
        )


def check_dense_target(y: Any) -> None:
    """Refuse sparse targets, which only a classifier takes, for multilabel targets.

    Raises
    ------
    ValueError
        If `y` is sparse.
    """
    if scipy.sparse.issparse(y):
        raise ValueError(
            f"y must be dense for a regressor, got a sparse {type(y).__name__}. Use y.toarray()."
        )


def as_rows(X: Any) -> Any:
    """Return sparse X in CSR, whose rows can be gathered; leave dense X alone."""
    return X.tocsr() if hasattr(X, "tocsr") else X


def check_sample_weight(
    sample_weight: Any, X: Any, name: str = "sample_weight"
) -> npt.NDArray[np.float64]:
    """Return one finite, non-negative weight per sample, not all zero.

    Raises
    ------
    ValueError
        If the length differs, or a weight is negative, or all are zero.
    """
    sample_weight = as_numpy(name, sample_weight)
    weight = np.asarray(_check_sample_weight(sample_weight, X, dtype=np.float64))
    if (weight < 0).any():
        raise ValueError(
            f"{name} must not be negative, got {weight.min():g} for sample "
            f"{int(weight.argmin())}. Use zero to leave a sample out."
        )
    if not weight.any():
        raise ValueError(
            f"{name} is zero for every sample. Give at least one sample a positive weight, or pass "
            f"{name}=None."
        )
    return weight


def check_target_domain(targets: npt.NDArray[Any], entry: Loss, loss: Any, name: str = "y") -> None:
    """Refuse targets outside the domain of the loss.

    Raises
    ------
    ValueError
        If a target is too small.
    """
    smallest = targets.min()
    if smallest < entry.domain_minimum or (
        entry.domain_is_open and smallest == entry.domain_minimum
    ):
        raise ValueError(
            f"loss={loss!r} needs {entry.domain} as {name}, got a smallest value of {smallest:g}. "
            "Use loss='squared_error' or shift the targets."
        )
