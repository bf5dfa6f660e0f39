"""One process compiles an entry of the disk cache; others that need it wait, then load it.

A folder has one lock file, empty and never removed, and an entry is one byte's place in it.
(Files of their own for all entries would pile up, or be removed under the hands of those who
just open them.) The locks are those that belong to a process: the system releases them when it
ends, however it ends, so that none goes stale, and a forked child neither has nor releases those
of its parent. Where there are none (some network file systems; another user's lock file), everyone
compiles.

Callers hold Numba's compiler lock, so that one thread of a process is here at a time. Who holds
one entry waits only for those that its function calls; as no function of ours calls itself,
nobody waits in a circle.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skmlp.engines.listeners import waiting

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = "skmlp.lock"
PAUSE = 0.05  # seconds between looks at a lock that another process has


class Patience:
    """How long this process goes on waiting for others that then have nothing to offer.

    They may be stopped, or have no space left to store what they compile. It is ten times as long
    as the largest driver takes.

    Attributes
    ----------
    seconds : float
        What is left.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


patience = Patience(120.0)
_descriptors: dict[Path, int] = {}
_held: set[tuple[Path, int]] = set()


def place(entry: str) -> int:
    """Return the number of an entry's byte, below what all systems can lock.

    Should two entries ever meet in one, they only are not compiled at the same time.
    """
    return int.from_bytes(hashlib.sha256(entry.encode()).digest()[:4], "little") >> 1


@contextmanager
def turn(folder: Path, entry: str) -> Iterator[float]:
    """Let no other process compile an entry meanwhile; yield the seconds waited for one that did.

    Who has lost patience gets through without the lock.
    """
    lock = folder, place(entry)
    if lock in _held:
        yield 0.0
        return
    _held.add(lock)
    try:
        began = time.monotonic()
        with suppress(OSError):
            _acquire(*lock)
        yield time.monotonic() - began
    finally:
        _held.discard(lock)
        with suppress(OSError):
            _release(*lock)


def _forget() -> None:
    """Give up, in a forked child, what belongs to its parent."""
    _held.clear()
    while _descriptors:
        os.close(_descriptors.popitem()[1])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _acquire(folder: Path, position: int) -> None:
    if folder not in _descriptors:
        _descriptors[folder] = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    descriptor = _descriptors[folder]
    if _lock(descriptor, position):
        return
    deadline = time.monotonic() + patience.seconds
    with waiting():
        while time.monotonic() < deadline:
            time.sleep(PAUSE)  # and nothing that Ctrl-C could not end
            if _lock(descriptor, position):
                return


def _release(folder: Path, position: int) -> None:
    if folder not in _descriptors:
        return
    try:
        _unlock(_descriptors[folder], position)
    finally:
        # Closing a file gives up all locks in it.
        if not any(other == folder for other, _ in _held):
            os.close(_descriptors.pop(folder))


if sys.platform == "win32":

    def _lock(descriptor: int, position: int) -> bool:
        os.lseek(descriptor, position, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(descriptor: int, position: int) -> None:
        os.lseek(descriptor, position, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _lock(descriptor: int, position: int) -> bool:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, position)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(descriptor: int, position: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, position)
