"""The estimators' way to the engines: which one computes, and why.

Numba, which takes a while to import, lies behind it.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

from skmlp.engines.base import Engine
from skmlp.engines.cuda.discovery import discover
from skmlp.engines.listeners import compilations_told_to

COMPILING = "Compiling kernels (once per machine and precision) ..."
# device="auto" takes a GPU for this much work or more: about ten seconds of a CPU at 1e11
# operations per second, beside the seconds that CUDA takes to start. An estimate, not measured.
PAYING_FLOPS = 1e12


class Choice(NamedTuple):
    """Where a fit is computed.

    Attributes
    ----------
    device : {"cpu", "cuda"}
    reason : str
        Sentences for the user.
    """

    device: str
    reason: str


def fit_flops(n_samples: int, n_coefs: int, max_iter: int) -> float:
    """Return the floating-point operations of a fit that makes full use of `max_iter`.

    A multiplication and an addition per sample and weight, forward and twice backward.
    """
    return 6.0 * n_samples * n_coefs * max_iter


def prediction_flops(n_samples: int, n_coefs: int) -> float:
    """Return the floating-point operations of a prediction."""
    return 2.0 * n_samples * n_coefs


def choose_for_fit(device: str, flops: float) -> Choice:
    """Decide where to fit. An explicit wish is granted or refused, never replaced.

    The driver is asked only where the answer matters: once it has been, forked children of this
    process cannot use CUDA.

    Raises
    ------
    RuntimeError
        If ``device="cuda"`` and CUDA cannot be used.
    """
    if device == "cpu":
        return Choice("cpu", "device='cpu' was asked for.")
    work = f"The work takes up to {flops:.1e} floating-point operations"
    if device == "auto" and flops < PAYING_FLOPS:
        return Choice("cpu", f"{work}; a GPU pays from about {PAYING_FLOPS:.0e}.")
    found = discover()
    problems = " ".join(found.problems)
    if device == "auto":
        if problems:
            return Choice("cpu", f"CUDA cannot be used: {problems}")
        if found.is_simulated:
            return Choice("cpu", "CUDA is only simulated, by NUMBA_ENABLE_CUDASIM.")
        return Choice("cuda", f"{work}; {found.driver.gpus[0].name} can be used.")
    if problems:
        raise RuntimeError(
            f"device={device!r} cannot be used. {problems} Or use device='cpu', or 'auto', which "
            "takes a GPU where it can. skmlp.show_devices() shows what was found."
        )
    return Choice("cuda", f"device={device!r} was asked for.")


def choose_for_prediction(device: str, flops: float) -> str:
    """Decide where to predict: on the CPU where CUDA cannot be used, whatever `device` is.

    So a model fitted on a GPU predicts anywhere.
    """
    if device == "cuda":
        return "cuda" if discover().is_usable else "cpu"
    if device == "auto":
        return choose_for_fit(device, flops).device
    return "cpu"


@cache
def cpu_engine() -> Callable[[int | None], Engine]:
    """Import the CPU engine, and Numba with it.

    The many objects that this creates stay. A full garbage collection, which they would set off,
    takes a third of the time and finds nothing; a process that lives longer has it later.

    Raises
    ------
    RuntimeError
        If Numba is told not to compile.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        from skmlp.engines.cpu import CpuEngine, check_compiler
    finally:
        if was_enabled:
            gc.enable()
    check_compiler()
    return CpuEngine


@cache
def cuda_engine() -> Callable[[str | None], Engine]:
    """Import the CUDA engine."""
    from skmlp.engines.cuda.engine import CudaEngine

    return CudaEngine


def make_engine(device: str, n_jobs: int | None, precision: str | None) -> Engine:
    """Return the engine that computes on a device, "cpu" or "cuda"."""
    return cuda_engine()(precision) if device == "cuda" else cpu_engine()(n_jobs)


@contextmanager
def compilation_announced(verbose: bool | int) -> Iterator[None]:
    """Print a line when the block first compiles something, which takes seconds."""
    if not verbose:
        yield
        return
    compiled: list[str] = []

    def announce(kernel: str) -> None:
        if not compiled:
            print(COMPILING, flush=True)
        compiled.append(kernel)

    with compilations_told_to(announce):
        yield
