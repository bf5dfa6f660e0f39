"""Compiling ahead what fits and predictions need."""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from skmlp._classifier import MLPClassifier
from skmlp._validation import DTYPES, resolve_dtype
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
        Where they are kept: those it compiled, or else those it found.
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
    """Compile ahead every kernel that fits and predictions can need, but for users' own formulas.

    Kernels are compiled when a machine first needs them, which takes seconds, and kept on disk.
    Called when a container or a CI image is built, this leaves nothing to compile to those who
    use it; called again, it compiles nothing. They must find the same folder (``__pycache__``
    beside the package, or that in the environment variable ``NUMBA_CACHE_DIR``), which they need
    not be able to write, and compute on the same kind of processor. Where images move between
    kinds, Numba's variables ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES``, set alike in both
    places, name one that all of them can stand in for. Functions given to `activations.Custom` and
    `losses.Custom` are compiled, and kept, when a fit first asks for them.

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
        A named tuple of `dtypes`, the names of the kernels `compiled`, the `folder` that kernels
        are kept in, and the `seconds` it took.

    Raises
    ------
    ValueError
        If a parameter is none of these, or `compute_capability` is given for the CPU.
    RuntimeError
        If CUDA's compilers are not installed, or there is no GPU to compile for.
    OSError
        If something is to be compiled, and cannot be kept: there is no folder for it, or that in
        ``NUMBA_CACHE_DIR`` cannot be written.

    Examples
    --------
    Not run by the tests, because it takes minutes where nothing is compiled yet. From a shell:
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
    from skmlp.engines.cpu import history

    began = time.perf_counter()
    with compiling_to_keep(device) as compiled, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for precision in dtypes:
            use_everything(precision)
    if history.failures:  # before the warm-up perhaps: what is in memory is not looked for on disk
        raise OSError(
            f"Compiled kernels could not be kept: {history.failures[-1]}. Set NUMBA_CACHE_DIR to a "
            "folder that can be written and has room, and start anew."
        )
    folder = main_folder(device, history.folders)
    return Warmup(dtypes, tuple(compiled), folder, time.perf_counter() - began)


def main_folder(device: str, used: Sequence[Path]) -> str:
    """Return the folder that is stored in, or else that in which others have stored."""
    from skmlp.engines.folders import place_to_store

    store = place_to_store(device)
    return str(store if store in used or not used else used[-1])


@contextmanager
def compiling_to_keep(device: str) -> Iterator[list[str]]:
    """List the names of the kernels that the block compiles; refuse to if they cannot be kept.

    In a fit a folder that cannot be written is passed over, even if the user chose it; who
    compiles ahead relies on it.
    """
    from skmlp.engines.folders import cache_folders, chosen_folder, place_to_store

    compiled: list[str] = []
    store, chosen = place_to_store(device), chosen_folder(device)

    def keep(kernel: str) -> None:
        if store is None or chosen not in (None, store):
            folders = [chosen] if chosen is not None else list(cache_folders(device))
            tried = " nor ".join(str(folder) for folder in folders)
            raise OSError(
                f"Compiled kernels cannot be kept: {tried} cannot be written. Set NUMBA_CACHE_DIR "
                "to a folder that can be."
            )
        compiled.append(kernel)

    with compilations_told_to(keep):
        yield compiled


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
    from skmlp.engines.cuda.catalogue import kernels_for
    from skmlp.engines.cuda.compilation import machine_code

    began = time.perf_counter()
    with compiling_to_keep("cuda") as compiled:
        kernels = [machine_code(kernel, capability) for kernel in kernels_for(dtypes, capability)]
    if not all(kernel.folder for kernel in kernels):
        raise OSError(
            "Compiled kernels could not be kept. Set NUMBA_CACHE_DIR to a folder that can be "
            "written and has room."
        )
    folder = main_folder("cuda", [Path(kernel.folder) for kernel in kernels])
    return Warmup(dtypes, tuple(compiled), folder, time.perf_counter() - began)


def use_everything(dtype: str) -> None:
    """Compile every kernel with a formula, and use every driver, which know of none."""
    from skmlp.engines.cpu.catalogue import compile_all

    compile_all(dtype)
    dense = np.random.default_rng(0).standard_normal((20, 3))
    y = np.arange(len(dense)) % 3
    for parameters, X in product(VARIANTS, (dense, csr_array(dense))):
        MLPClassifier(**PLAIN, **parameters, dtype=dtype).fit(X, y).predict(X)


PLAIN: dict[str, Any] = {
    "hidden_layer_sizes": (2,),
    "validation_fraction": 0.2,
    "max_iter": 1,
    "random_state": 0,
}
# What asks for drivers of its own.
VARIANTS: tuple[dict[str, Any], ...] = (
    {"solver": "lbfgs"},
    {"early_stopping": True},
    {"dropout": 0.5, "input_dropout": 0.5, "clip_norm": 1.0},
    {"normalization": "batch"},
    {"solver": "muon", "ema_decay": 0.9},
)
