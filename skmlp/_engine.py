"""The estimators' way to the engine; Numba, which takes a while to import, lies behind it."""

import gc
from collections.abc import Callable
from functools import cache

from skmlp.engines.base import Engine


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
