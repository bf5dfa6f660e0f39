"""Threads of Python: how many a fit may use, and items shared out among them."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

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
        return max(1, min(int(numba.config.NUMBA_NUM_THREADS), available_cores()))
    if n_jobs < 0:
        return max(1, available_cores() + 1 + n_jobs)
    return max(1, n_jobs)


def available_cores() -> int:
    """Return joblib's count of cores, counted again where affinity or environment change.

    joblib reads a container's limit from a file in every call, which takes longer than to
    predict a row; here a limit that changes during the life of a process is not noticed.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return _count_cores(affinity, os.environ.get("LOKY_MAX_CPU_COUNT"))


@lru_cache(maxsize=16)
def _count_cores(affinity: int | None, limit: str | None) -> int:
    """Count the cores; the arguments are what joblib looks at besides the container's limit."""
    return int(joblib.cpu_count())


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


def share_out(function: Callable[[int], None], items: Iterable[int], threads: int) -> None:
    """Call `function` on every item, each in one of up to `threads` threads, this one included."""
    remaining = iter(items)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not errors:
                with lock:
                    item = next(remaining, None)
                if item is None:
                    return
                function(item)
        except BaseException as error:
            errors.append(error)

    helpers: list[threading.Thread] = []

    def join() -> None:
        for helper in helpers:
            if helper.ident is not None:  # it was started
                helper.join()

    try:
        for _ in range(threads - 1):
            helpers.append(threading.Thread(target=work))
            helpers[-1].start()
    except RuntimeError:
        pass  # no thread to be had: those there are do the work
    except BaseException as error:
        errors.append(error)
    try:
        work()
    finally:
        uninterrupted(join)
    if errors:
        raise errors[0]
