"""How many threads a fit may use, and actions that no interrupt cuts short."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import numba
from joblib.parallel import get_active_backend

from skmlp.engines.pools import available_cores, current_pool, is_worker


def effective_threads(n_jobs: int | None) -> int:
    """Return how many threads `n_jobs` stands for here.

    None means all cores (or what ``NUMBA_NUM_THREADS`` says), those of the pool in a thread that
    belongs to one of its own, but one inside another joblib worker or a child process, where the
    cores are already busy. Integers are understood as joblib does
    (-1: all cores).
    """
    if n_jobs is None and is_worker():
        return current_pool().cores
    if n_jobs is None:
        backend, _ = get_active_backend()
        inside_worker = getattr(backend, "nesting_level", 0) or 0
        is_child = multiprocessing.parent_process() is not None
        if inside_worker or is_child:
            return 1
        # Numba knows its environment variable, joblib the limits of containers.
        return max(1, min(int(numba.config.NUMBA_NUM_THREADS), available_cores()))
    if n_jobs < 0:
        return max(1, available_cores() + 1 + n_jobs)
    return max(1, n_jobs)


def uninterrupted(action: Callable[[], Any]) -> None:
    """Carry an action to its end; a `KeyboardInterrupt` meanwhile is raised afterwards."""
    interrupt = None
    while True:
        try:
            action()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
