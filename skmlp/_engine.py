"""The estimators' way to the engines: which one computes, and why.

Numba, which takes a while to import, lies behind it.
"""

import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple, Self

from skmlp.engines.base import Engine
from skmlp.engines.cuda.discovery import discover
from skmlp.engines.cuda.vocabulary import cannot_compute, what_is_lacking
from skmlp.engines.listeners import unwatch, watch
from skmlp.network.specs import NetworkSpec

COMPILING = "Compiling kernels (once per machine and precision) ..."
WAITING = "Waiting for another process that compiles kernels (once per machine and precision) ..."
# Seconds of compilation after which users are told without having asked for it.
LONG = 2.0
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


def choose_for_fit(device: str, flops: float, lacking: Sequence[str] = ()) -> Choice:
    """Decide where to fit. An explicit wish is granted or refused, never replaced.

    The driver is asked only where the answer matters: once it has been, forked children of this
    process cannot use CUDA.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
    flops : float
        Operations of the work.
    lacking : sequence of str
        What CUDA cannot compute of it.

    Raises
    ------
    ValueError
        If ``device="cuda"`` and CUDA cannot compute all of it.
    RuntimeError
        If ``device="cuda"`` and CUDA cannot be used.
    """
    if device == "cpu":
        return Choice("cpu", "device='cpu' was asked for.")
    if lacking:
        missing = cannot_compute(lacking)
        if device == "auto":
            return Choice("cpu", missing)
        raise ValueError(f"device={device!r} cannot be used. {missing} Use device='cpu'.")
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


def choose_for_prediction(device: str, flops: float, network: NetworkSpec) -> str:
    """Decide where to predict: on the CPU where CUDA cannot do it, whatever `device` is.

    So a model fitted on a GPU predicts anywhere.
    """
    if device == "cpu" or what_is_lacking(network, None):
        return "cpu"
    if device == "cuda":
        return "cuda" if discover().is_usable else "cpu"
    return choose_for_fit(device, flops).device


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


class compilation_announced:
    """Say when the block compiles kernels, or waits for another process that does.

    That takes seconds, and users wonder. With `verbose` the first compilation prints a line. When
    compilations have taken long, the log is told, and how long they took at the end of the block;
    so is, once per process, who sits before a terminal or a notebook.
    """

    _has_told_user = False

    def __init__(self, verbose: bool | int) -> None:
        self._verbose = bool(verbose)
        self._lock = threading.Lock()  # not for all objects: a forked child has others
        self._depth = 0
        self._seconds = 0.0
        self._is_logged = False

    def __enter__(self) -> Self:
        watch(self)
        return self

    def __exit__(self, *exception: object) -> None:
        unwatch(self)
        if self._is_logged:
            logging.getLogger("skmlp").info("Compiling took %.1f s.", self._seconds)

    def begin(self, is_waiting: bool) -> None:
        line = WAITING if is_waiting else COMPILING
        if self._verbose:
            self._verbose = False
            type(self)._has_told_user = True
            print(line, flush=True)
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            self._began = time.monotonic()
            if not self._is_logged:
                self._timer = threading.Timer(LONG - self._seconds, self._tell, [line])
                self._timer.daemon = True
                # No thread can be had where there are too many, or at the interpreter's end.
                with suppress(RuntimeError):
                    self._timer.start()

    def end(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._timer.cancel()
                self._seconds += time.monotonic() - self._began

    def _tell(self, line: str) -> None:
        """Say that it takes long; called by the timer, in a thread of its own."""
        with self._lock:
            if self._depth == 0:  # it ended at that moment
                return
            self._is_logged = True
            tells_user, type(self)._has_told_user = not self._has_told_user, True
            logging.getLogger("skmlp").info(line)
            if tells_user and is_watched():
                with suppress(OSError, ValueError):  # a terminal that is gone
                    print(f"skmlp: {line}", file=sys.stderr, flush=True)


def is_watched() -> bool:
    """Tell whether someone reads what is written to standard error: a terminal, a notebook."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # None, or closed
        return False
