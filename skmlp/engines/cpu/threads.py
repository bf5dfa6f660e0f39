"""How many threads a fit may use."""

import multiprocessing

import joblib
import numba
from joblib.parallel import get_active_backend


def effective_threads(n_jobs: int | None) -> int:
    """Return how many threads `n_jobs` stands for here.

    None means all cores (or what ``NUMBA_NUM_THREADS`` says), but one inside a joblib worker or
    a child process, where the cores are already busy. Integers are understood as joblib does
    (-1: all cores).
    """
    if n_jobs is None:
        backend, _ = get_active_backend()
        inside_worker = getattr(backend, "nesting_level", 0) or 0
        is_child = multiprocessing.parent_process() is not None
        if inside_worker or is_child:
            return 1
        # Numba knows its environment variable, joblib the limits of containers.
        return max(1, min(int(numba.config.NUMBA_NUM_THREADS), joblib.cpu_count()))
    if n_jobs < 0:
        return max(1, joblib.cpu_count() + 1 + n_jobs)
    return max(1, n_jobs)
