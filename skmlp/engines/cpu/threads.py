"""How many threads a fit uses, and whether a parallel region may be entered at all.

Results never depend on these choices: serial and parallel drivers do the same work in the same
order of reduction.
"""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import numba
from joblib.parallel import get_active_backend

# Numba's thread pools are not safe to enter twice at once (the workqueue layer aborts), so one
# fit at a time gets the parallel drivers; others that run meanwhile use the serial ones.
_parallel_region = threading.Lock()
_is_forked_child = False


def _after_fork() -> None:
    # GNU OpenMP cannot be used in a child forked from a process that has used it.
    global _is_forked_child, _parallel_region
    _is_forked_child = True
    _parallel_region = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def effective_threads(n_jobs: int | None) -> int:
    """Return how many threads `n_jobs` stands for here.

    None means all cores, but one inside a joblib worker, where the cores are already busy.
    Integers are understood as joblib does (-1: all cores).
    """
    if n_jobs is None:
        backend, _ = get_active_backend()
        inside_worker = getattr(backend, "nesting_level", 0) or 0
        is_child = multiprocessing.parent_process() is not None
        return 1 if inside_worker or is_child else int(numba.config.NUMBA_NUM_THREADS)
    if n_jobs < 0:
        return max(1, joblib.cpu_count() + 1 + n_jobs)
    return max(1, n_jobs)


@contextmanager
def parallel_region(threads: int) -> Iterator[int]:
    """Yield the number of threads granted: at most `threads`, one where parallelism is unsafe."""
    granted = min(threads, int(numba.config.NUMBA_NUM_THREADS))
    if granted < 2 or _is_forked_child or not _parallel_region.acquire(blocking=False):
        yield 1
        return
    previous = numba.get_num_threads()
    try:
        numba.set_num_threads(granted)
        yield granted
    finally:
        numba.set_num_threads(previous)
        _parallel_region.release()
