"""Threads that fit at the same time, and which cores they share."""

import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import joblib

# Threads of a pool that stand ready, beyond as many as compute: while one runs Python, a core has
# the next one.
IN_WAITING = 2


class Abandoned(BaseException):
    """Ends a fit for whose result nobody waits any more.

    Not an `Exception`, since a search takes such a one for a failure of the model and goes on.
    """


class _Worker:
    """Stands for what a worker is called to do."""


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
    belongings : dict
        What engines keep for a pool, by name.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.is_abandoned = False
        self.belongings: dict[str, Any] = {}
        _pools.add(self)
        # No counter: an interrupt may come between any two steps, and what is added or taken away
        # twice is so once. Weak, since it may also come where it would have been taken away.
        self._under_way: weakref.WeakSet[Any] = weakref.WeakSet()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count one more fit under way while the block lasts."""
        own = _Worker()
        self.begin(own)
        try:
            yield
        finally:
            self.end(own)

    def begin(self, fit: Any) -> None:
        """Count something that stands for a fit, as long as it lives at most."""
        self._under_way.add(fit)

    def end(self, fit: Any) -> None:
        """Do not count it any more."""
        self._under_way.discard(fit)

    @property
    def busy(self) -> int:
        """How many fits are under way, or calls of workers, which may be about to fit."""
        return len(self._under_way)

    def share(self, wanted: int) -> int:
        """Return how many of the threads wanted one of its fits should use now."""
        busy = self.busy
        return wanted if busy <= 1 else max(1, min(wanted, self.cores // busy))

    def share_of(self, own: int) -> int:
        """Return how many cores `own` of its fits should use together, rounded up."""
        return min(self.cores, -(-self.cores * own // max(1, own, self.busy)))

    def check(self) -> None:
        """End what this thread does if nobody waits for it.

        Raises
        ------
        Abandoned
            If that is so.
        """
        if self.is_abandoned:
            raise Abandoned


class Threads:
    """Threads of a pool that make calls, started as they are needed.

    Parameters
    ----------
    pool : Pool
    most : int
        How many there may be.
    name : str
        What they are called where threads are listed.
    """

    def __init__(self, pool: Pool, most: int, name: str) -> None:
        self._pool, self._most, self._name = pool, most, name
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._left = 0  # calls that have not ended

    def put(self, call: Callable[[], None]) -> bool:
        """Have a call made, which raises nothing; tell whether there is any thread for it."""
        with self._lock:
            self._left += 1
            self._todo.put(call)
            if len(self._threads) < min(self._most, self._left):
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.append(thread)  # an interrupt may come as soon as it has started
                try:
                    thread.start()
                except RuntimeError:  # no more to be had: those that are there do the work
                    self._threads.remove(thread)
            return bool(self._threads)

    def work_off(self) -> None:
        """Make the calls that have not begun in this thread."""
        while (call := self._next()) is not None:
            call()

    def drop(self) -> None:
        """Forget the calls that have not begun."""
        while self._next() is not None:
            pass

    def _next(self) -> Callable[[], None] | None:
        try:
            return self._todo.get_nowait()
        except queue.Empty:
            return None

    def leave(self) -> None:
        """Let threads go when they have made the calls that there are."""
        with self._lock:
            for _ in self._threads:
                self._todo.put(None)

    def join(self) -> None:
        """Wait until all threads have gone."""
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join()

    def _work(self) -> None:
        with belonging_to(self._pool):
            while (call := self._todo.get()) is not None:
                call()
                del call  # may hold what a fit takes
                with self._lock:
                    self._left -= 1


class _Own(threading.local):
    """What a thread belongs to, if not to everybody's pool."""

    pool: Pool | None = None


_own = _Own()
# That of all threads without one of their own, for each number of cores there has been.
_everyones: dict[int, Pool] = {}
_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def _begin_anew() -> None:
    """Forget who is at work when this process was forked: other threads are not in the child."""
    for pool in list(_pools):
        pool.belongings.clear()
    _everyones.clear()
    _own.pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def current_pool() -> Pool:
    """Return the pool that this thread belongs to: that of all others if to none of its own."""
    if _own.pool is not None:
        return _own.pool
    cores = available_cores()
    found = _everyones.get(cores)
    # Of two threads that make one, both get the first.
    return _everyones.setdefault(cores, Pool(cores)) if found is None else found


def check_abandoned() -> None:
    """End what a thread of a pool does if nobody waits for it any more.

    Raises
    ------
    Abandoned
        If that is so.
    """
    if _own.pool is not None:
        _own.pool.check()


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
