"""Compiling ahead what fits and predictions need."""

import time
import warnings
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from skmlp._classifier import MLPClassifier
from skmlp._regressor import OUTPUT_ACTIVATIONS, MLPRegressor
from skmlp._validation import DTYPES, HIDDEN_ACTIVATIONS, STOCHASTIC_SOLVERS, resolve_dtype
from skmlp.engines.cuda.discovery import INSTALL, MINIMUM_CAPABILITY, discover
from skmlp.engines.listeners import compilations_told_to


class Warmup(NamedTuple):
    """What `warmup` did.

    Attributes
    ----------
    dtypes : tuple of str
        The precisions it was asked for.
    compiled : tuple of str
        Names of the kernels it compiled; empty if all were in the cache.
    folder : str
        Where compiled kernels are kept.
    seconds : float
        How long it took.
    """

    dtypes: tuple[str, ...]
    compiled: tuple[str, ...]
    folder: str
    seconds: float


def warmup(
    dtype: npt.DTypeLike | None = None,
    *,
    device: str = "cpu",
    compute_capability: tuple[int, int] | None = None,
) -> Warmup:
    """Compile ahead every kernel that fits and predictions can need.

    Kernels are compiled when a machine first needs them, which takes seconds, and kept on disk.
    Called when a container or a CI image is built, this leaves nothing to compile to those who
    use it; called again, it compiles nothing. They must find the same folder (the package's own
    ``__pycache__``, or that in the environment variable ``NUMBA_CACHE_DIR``) and compute on the
    same kind of processor. Where images move between kinds, Numba's variables
    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES``, set alike in both places, name one that all
    of them can stand in for.

    Parameters
    ----------
    dtype : {'float32', 'float64'} or dtype-like, default=None
        The precision to compile for, ``np.float32`` and the like too. None means both.
    device : {'cpu', 'cuda'}, default='cpu'
        Where fits and predictions are to be computed.
    compute_capability : tuple of two int, default=None
        What kind of GPU to compile for, as ``(9, 0)`` for an H100. None means this machine's;
        given, no GPU is needed, as where a container is built.

    Returns
    -------
    result : Warmup
        A named tuple of `dtypes`, the names of the kernels `compiled`, the `folder` they are
        kept in, and the `seconds` it took.

    Raises
    ------
    ValueError
        If a parameter is none of these, or `compute_capability` is given for the CPU.
    RuntimeError
        If CUDA's compilers are not installed, or there is no GPU to compile for.
    OSError
        If there is no folder to keep compiled kernels in.

    Examples
    --------
    Not run by the tests, because it takes a minute where nothing is compiled yet. From a shell:
    ``python -m skmlp warmup --dtype float32``.

    >>> import skmlp
    >>> result = skmlp.warmup("float32")  # doctest: +SKIP
    >>> len(skmlp.warmup("float32").compiled)  # doctest: +SKIP
    0
    """
    dtypes = DTYPES if dtype is None else (resolve_dtype(dtype),)
    if dtypes == ("auto",):
        raise ValueError("dtype='auto' names no precision. Use None for both.")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}.")
    if device == "cuda":
        return warmup_cuda(dtypes, compute_capability)
    if compute_capability is not None:
        raise ValueError(
            f"compute_capability={compute_capability!r} is about GPUs, but device='cpu'. Set "
            "device='cuda', or leave it out."
        )
    # Numba takes a while to import.
    from skmlp.engines.cpu import cache_folder

    folder = cache_folder()
    if folder is None:
        raise OSError(
            "Compiled kernels cannot be kept: neither the folder of the package nor the user's "
            "cache can be written. Set NUMBA_CACHE_DIR to a folder that can be."
        )
    compiled: list[str] = []
    began = time.perf_counter()
    with compilations_told_to(compiled.append), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for precision in dtypes:
            use_everything(precision)
    return Warmup(dtypes, tuple(compiled), folder, time.perf_counter() - began)


def warmup_cuda(dtypes: tuple[str, ...], capability: tuple[int, int] | None) -> Warmup:
    """Compile every kernel of the CUDA engine."""
    found = discover()
    if found.packages["numba-cuda"] is None:
        raise RuntimeError(f"CUDA kernels cannot be compiled: numba-cuda is missing. {INSTALL}.")
    if capability is None:
        if not found.driver.gpus:
            raise RuntimeError(
                "No GPU was found to compile for. Name one by its compute_capability, as in "
                "warmup(device='cuda', compute_capability=(9, 0)) for an H100."
            )
        capability = found.driver.gpus[0].compute_capability
    if capability < MINIMUM_CAPABILITY:
        raise ValueError(
            f"compute_capability={capability!r} is below {MINIMUM_CAPABILITY!r}, the oldest that "
            "can be used."
        )
    from skmlp.engines.cuda.compilation import cache_folders, machine_code
    from skmlp.engines.cuda.kernels import kernels_for

    compiled: list[str] = []
    began = time.perf_counter()
    folder = ""
    with compilations_told_to(compiled.append):
        for kernel in kernels_for(dtypes, capability):
            folder = machine_code(kernel, capability).folder
    if not folder:
        tried = " nor ".join(str(folder) for folder in cache_folders())
        raise OSError(
            f"Compiled kernels cannot be kept: {tried} cannot be written. Set NUMBA_CACHE_DIR to "
            "a folder that can be."
        )
    return Warmup(dtypes, tuple(compiled), folder, time.perf_counter() - began)


def use_everything(dtype: str) -> None:
    """Fit and predict with every activation, solver and loss, on dense and on sparse data."""
    dense = np.random.default_rng(0).standard_normal((20, 3))
    solvers = [*((solver, True) for solver in sorted(STOCHASTIC_SOLVERS)), ("lbfgs", False)]
    for activation, (solver, early_stopping) in product(sorted(HIDDEN_ACTIVATIONS), solvers):
        parameters = {
            "hidden_layer_sizes": (2,),
            "activation": activation,
            "solver": solver,
            "early_stopping": early_stopping,
            "validation_fraction": 0.2,
            "max_iter": 1,
            "random_state": 0,
            "dtype": dtype,
        }
        for X in (dense, csr_array(dense)):
            for estimator, y in estimators(parameters, len(dense)):
                estimator.fit(X, y).predict(X)


def estimators(parameters: dict[str, Any], n_samples: int) -> Iterator[tuple[Any, Any]]:
    """Yield an estimator and targets for every loss and output activation."""
    numbers = np.arange(n_samples)
    for n_classes in (2, 3):
        yield MLPClassifier(**parameters), numbers % n_classes
    for loss in OUTPUT_ACTIVATIONS:
        yield MLPRegressor(loss, **parameters), numbers / n_samples
