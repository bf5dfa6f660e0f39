"""Threads of Python: how many a fit may use, and items shared out among them."""

import multiprocessing
import threading
from collections.abc import Callable, Iterable
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
