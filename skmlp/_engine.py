"""The estimators' way to the engine; Numba, which takes a while to import, lies behind it."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from skmlp.engines.base import Engine

COMPILING = "Compiling kernels (once per machine and precision) ..."


@cache
def cpu_engine() -> Callable[[int | None], Engine]:
    """Import the CPU engine, and Numba with it.

    The many objects that this creates stay. A full garbage collection, which they would set off,
    takes a third of the time and finds nothing; a process that lives longer has it later.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        from skmlp.engines.cpu import CpuEngine
    finally:
        if was_enabled:
            gc.enable()
    return CpuEngine


def make_engine(n_jobs: int | None) -> Engine:
    """Return the engine that computes."""
    return cpu_engine()(n_jobs)


@contextmanager
def compilation_announced(verbose: bool | int) -> Iterator[None]:
    """Print a line when the block first compiles something, which takes seconds."""
    if not verbose:
        yield
        return
    from skmlp.engines.cpu import compilations_told_to

    compiled: list[str] = []

    def announce(kernel: str) -> None:
        if not compiled:
            print(COMPILING, flush=True)
        compiled.append(kernel)

    with compilations_told_to(announce):
        yield
