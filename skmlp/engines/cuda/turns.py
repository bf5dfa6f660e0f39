"""Whose turn it is on the device, among the threads of a process."""

import os
import threading
from collections import deque


class Turn:
    """A lock that threads get in the order of their coming, and may enter again.

    An ordinary one mostly goes to the thread that has just given it away, if that asks again at
    once, as one does that computes slice by slice.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everybody, as after a fork, whose child has none of the other threads."""
        self._changed = threading.Condition(threading.Lock())
        # The first one has it.
        self._queue: deque[int] = deque()
        self._depth = 0

    def __enter__(self) -> None:
        own = threading.get_ident()
        with self._changed:
            if self._queue and self._queue[0] == own:
                self._depth += 1
                return
            self._queue.append(own)
            try:
                while self._queue[0] != own:
                    self._changed.wait()
            except BaseException:
                self._queue.remove(own)
                self._changed.notify_all()
                raise
            self._depth = 1

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._depth -= 1
            if self._depth == 0:
                self._queue.popleft()
                self._changed.notify_all()


# Fits from several threads take turns on the device, slice by slice.
turn = Turn()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=turn.begin_anew)
