"""Which cores a thread's fits share with those of other threads."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import joblib


class Abandoned(BaseException):
    """Ends a fit for whose result nobody waits any more.

    Not an `Exception`, since a search takes such a one for a failure of the model and goes on.
    """


class Pool:
    """Threads that fit at the same time, and the cores that they share.

    Parameters
    ----------
    cores : int
        How many threads may compute at once.

    Attributes
    ----------
    is_abandoned : bool
        Whether nobody waits for its results any more.
    gate : Any
        What the CPU engine lets these threads through, made when first needed, under `lock`.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.is_abandoned = False
        self.gate: Any = None
        self._busy = 0
        self.lock = threading.Lock()

    @contextmanager
    def working(self, count: int = 1) -> Iterator[None]:
        """Count so many more fits under way while the block lasts."""
        self.begin(count)
        try:
            yield
        finally:
            self.end(count)

    def begin(self, count: int = 1) -> None:
        with self.lock:
            self._busy += count

    def end(self, count: int = 1) -> None:
        with self.lock:
            self._busy -= count

    @property
    def busy(self) -> int:
        """How many fits are under way, or calls of workers, which may be about to fit."""
        return self._busy

    @property
    def is_busy(self) -> bool:
        return self._busy > 0

    def share(self, wanted: int) -> int:
        """Return how many threads one of its fits, which wants so many, should use now."""
        if self._busy <= 1:
            return wanted
        return max(1, min(wanted, self.cores // self._busy))

    def check(self) -> None:
        """End what this thread does if nobody waits for it.

        Raises
        ------
        Abandoned
            If that is so.
        """
        if self.is_abandoned:
            raise Abandoned


class _Own(threading.local):
    """What a thread belongs to, if not to everybody's pool."""

    pool: Pool | None = None


_own = _Own()
_everyone: Pool | None = None


def _begin_anew() -> None:
    """Forget all pools when this process was forked: their other threads are not in the child."""
    global _everyone
    _everyone = None
    _own.pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def current_pool() -> Pool:
    """Return the pool that this thread belongs to: that of all others if to none of its own."""
    global _everyone
    if _own.pool is not None:
        return _own.pool
    pool, cores = _everyone, available_cores()
    if pool is None or (pool.cores != cores and not pool.is_busy):
        pool = _everyone = Pool(cores)
    return pool


def is_worker() -> bool:
    """Whether this thread belongs to a pool of its own, which counts what it does."""
    return _own.pool is not None


@contextmanager
def belonging_to(pool: Pool) -> Iterator[None]:
    """Let this thread belong to a pool while the block lasts."""
    before, _own.pool = _own.pool, pool
    try:
        yield
    finally:
        _own.pool = before


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
