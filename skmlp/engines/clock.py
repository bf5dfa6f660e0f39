"""A clock for training, which stands still while kernels are compiled."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from skmlp.engines.listeners import unwatch, watch


class TrainingClock:
    """Measures the seconds of a block, without those in which anything is compiled.

    Compilation happens once per machine, and can take longer than a fit.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._depth = 0
        self._held_up = 0.0

    def __enter__(self) -> Self:
        watch(self)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds = self.read()
        unwatch(self)

    def read(self) -> float:
        """Return the seconds since the block began."""
        return time.perf_counter() - self._began - self._held_up

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it stand still for what is no training."""
        self.begin(is_waiting=False)
        try:
            yield
        finally:
            self.end()

    def begin(self, is_waiting: bool) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._stopped = time.perf_counter()

    def end(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._held_up += time.perf_counter() - self._stopped
