"""Who wants to know what is compiled: it takes seconds, and users wonder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]
_listeners: list[Listener] = []


@contextmanager
def compilations_told_to(listener: Listener) -> Iterator[None]:
    """Tell a function the name of each kernel about to be compiled, in whatever thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell_of_compilation(kernel: str) -> None:
    for listener in tuple(_listeners):
        listener(kernel)
