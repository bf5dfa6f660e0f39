"""Who wants to know what is compiled: it takes seconds, and users wonder."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

Listener = Callable[[str], None]


class Watcher(Protocol):
    """Sees when a computation is held up, in whatever thread, and when it goes on.

    Compilations within compilations begin and end within them.
    """

    def begin(self, is_waiting: bool) -> None:
        """See that something is compiled, or another process that does so waited for."""

    def end(self) -> None:
        """See that it is done."""


_listeners: list[Listener] = []
# Weak, since an interrupt can come between the entry of a block and its first line.
_watchers: dict[int, weakref.ref[Watcher]] = {}


@contextmanager
def compilations_told_to(listener: Listener) -> Iterator[None]:
    """Tell a function the name of each kernel about to be compiled, in whatever thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def watch(watcher: Watcher) -> None:
    _watchers[id(watcher)] = weakref.ref(watcher)


def unwatch(watcher: Watcher) -> None:
    _watchers.pop(id(watcher), None)


@contextmanager
def compiling(kernel: str) -> Iterator[None]:
    """Tell everyone of the compilation that the block consists of."""
    for listener in tuple(_listeners):
        listener(kernel)
    with _held_up(is_waiting=False):
        yield


@contextmanager
def waiting() -> Iterator[None]:
    """Tell watchers that the block waits for another process, which compiles."""
    with _held_up(is_waiting=True):
        yield


@contextmanager
def _held_up(is_waiting: bool) -> Iterator[None]:
    watchers = [watcher for known in tuple(_watchers.values()) if (watcher := known()) is not None]
    for watcher in watchers:
        watcher.begin(is_waiting)
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.end()
