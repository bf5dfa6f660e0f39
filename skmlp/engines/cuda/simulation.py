"""A quicker and stricter way to run blocks of threads in Numba's simulator.

Numba's own starts a thread of the operating system for each thread of a block, asks all of them in
turn whether they wait at a barrier, and lets threads that have returned count as if they did. Here
one thread runs at a time, until it has to wait, and then it is another one's turn. What waits for
what is known, so a barrier that some threads never reach is an error, as it may be on a GPU. The
order is always the same, and is turned round at each barrier: a number that is read on the wrong
side of a barrier is the old one in one order, or the new one in the other. Blocks may also run side
by side, each with shared memory of its own, which holds no numbers until they are written.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numba.cuda.simulator import kernel, kernelapi
from numba.cuda.simulator.kernelapi import Dim3

# How often blocks may look for others, in turn, without anything else happening.
MOST_LOOKS = 10_000

# Blocks that were started side by side, None while blocks run one after the other.
_started: list["Block"] | None = None


class BarrierMissed(RuntimeError):
    """A barrier that was waited at will never open."""


class OtherBlockFailed(RuntimeError):
    """A block was waited for that will never arrive."""


class Barrier:
    """Where threads of a block wait until so many are there."""

    def __init__(self, block: "Block", size: int) -> None:
        self.block = block
        self.size = size
        self.waiting: list[Carrier] = []

    def wait(self, carrier: "Carrier") -> None:
        schedule = self.block.schedule
        if not self.block.is_broken:
            self.waiting.append(carrier)
            if len(self.waiting) == self.size:  # the last one goes on first
                self.waiting.pop()
                schedule.ready.extend(reversed(self.waiting))
                self.waiting.clear()
                schedule.looks = 0
                return
            schedule.wait(carrier)
        if self.block.is_broken:
            raise BarrierMissed("Some threads of a block never reached a barrier.")


class Group:
    """Neighboring threads of a warp that exchange numbers."""

    def __init__(self, block: "Block", width: int) -> None:
        self.barrier = block.make_barrier(width)
        # Those of this exchange, and those of the last one, which some may not yet have read.
        self.values: tuple[dict[int, Any], dict[int, Any]] = {}, {}
        self.turns: dict[int, int] = {}


class Block:
    """One block of threads; takes the place of the simulator's `BlockManager`."""

    schedule: "Schedule"  # of those that it runs beside

    def __init__(self, function: Any, grid: Any, block: Any, debug: bool) -> None:
        self._function = function
        self._block_dim = block
        self._n_blocks = int(np.prod(grid))
        self._barriers: list[Barrier] = []
        self.barrier = self.make_barrier(int(np.prod(block)))
        self.failed: list[BaseException] = []
        self.is_broken = False
        self.shared: dict[Any, Any] = {}
        self.groups: dict[tuple[int, int], Group] = {}

    def make_barrier(self, size: int) -> Barrier:
        barrier = Barrier(self, size)
        self._barriers.append(barrier)
        return barrier

    def run(self, grid_point: Any, *arguments: Any) -> None:
        self.arguments = arguments
        self.index = Dim3(*grid_point)
        if _started is None:
            Schedule([self]).run()
            self.finish()
            return
        _started.append(self)
        if len(_started) == self._n_blocks:  # while the kernel's modules are still in place
            Schedule(list(_started)).run()

    def begin(self) -> "Iterator[Begin]":
        return (Begin(self, Dim3(*point)) for point in np.ndindex(*self._block_dim))

    def run_thread(self) -> None:
        """Run the function as the thread that the calling carrier stands for."""
        try:
            self._function(*self.arguments)
        except BaseException as error:
            self.failed.append(error)
            self.break_up()

    def break_up(self) -> bool:
        """Let no barrier hold any thread from now on; return whether one did."""
        self.is_broken = True
        waiting = [carrier for barrier in self._barriers for carrier in barrier.waiting]
        for barrier in self._barriers:
            barrier.waiting.clear()
        self.schedule.ready.extend(waiting)
        return bool(waiting)

    def is_waited_in(self) -> bool:
        return any(barrier.waiting for barrier in self._barriers)

    def finish(self) -> None:
        if self.failed:
            raise self.failed[0]


class Begin(NamedTuple):
    """A thread of a block that has not yet begun."""

    block: Block
    point: Dim3


class Schedule:
    """Whose turn it is among the threads of blocks that run side by side."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.ready: deque[Begin | Carrier] = deque()
        self.looks = 0
        self._is_over = threading.Semaphore(0)
        for block in blocks:
            block.schedule = self
            self.ready.extend(block.begin())

    def run(self) -> None:
        self.hand_over(self.next())
        self._is_over.acquire()
        for block in self.blocks:  # which a carrier may know for a moment longer
            block.arguments = ()

    def next(self) -> "Begin | Carrier | None":
        """Take out who is next, None if all have ended."""
        if not self.ready:  # those that wait do so in vain
            for block in self.blocks:
                if block.is_waited_in():
                    block.break_up()
        return self.ready.popleft() if self.ready else None

    def hand_over(self, thread: "Begin | Carrier | None") -> None:
        if thread is None:
            self._is_over.release()
            return
        if isinstance(thread, Begin):
            thread = Carrier.for_thread(thread)
        thread.turn.release()

    def wait(self, carrier: "Carrier") -> None:
        """Let others run until it is the caller's turn again."""
        following = self.next()
        if following is not carrier:
            self.hand_over(following)
            carrier.turn.acquire()


class Carrier(threading.Thread):
    """A thread of the operating system that stands for one thread of a block after the other."""

    _idle: ClassVar[list["Carrier"]] = []  # of the process
    _thread: "Begin | Carrier | None"
    block: Block

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.turn = threading.Lock()
        self.turn.acquire()

    @classmethod
    def for_thread(cls, thread: Begin) -> "Carrier":
        try:
            carrier = cls._idle.pop()
        except IndexError:
            carrier = cls()
            carrier.start()
        carrier._thread = thread
        return carrier

    def run(self) -> None:
        while True:
            self.turn.acquire()
            thread: Begin | Carrier | None = self._thread
            while isinstance(thread, Begin):
                # Numba's functions ask the running thread.
                self.block, self.threadIdx = thread
                self.blockIdx = self.block.index
                self.block.run_thread()
                schedule = self.block.schedule
                schedule.looks = 0
                thread = schedule.next()
            del self.block, self._thread  # and with them arguments, which may be large
            self._idle.append(self)
            schedule.hand_over(thread)
            del thread, schedule

    def syncthreads(self) -> None:
        self.block.barrier.wait(self)

    def exchange(self, value: Any, distance: int, width: int) -> Any:
        """Return the value of the thread at this distance among `width` neighbors."""
        number = int(self.threadIdx.x)
        groups, place = self.block.groups, (number // width, width)
        group = groups.get(place)
        if group is None:
            group = groups[place] = Group(self.block, width)
        turn = group.turns[number] = group.turns.get(number, 0) + 1
        values = group.values[turn % 2]
        values[number] = value
        group.barrier.wait(self)
        return values[number ^ distance]


# A forked child has none of these threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Carrier._idle.clear)


@contextmanager
def side_by_side() -> Iterator[None]:
    """Run all blocks of a launch at once, so that they can wait for each other."""
    global _started
    _started = []
    try:
        yield
        # Those that waited in vain for a block that failed end with it.
        _started.sort(key=lambda block: any(type(e) is OtherBlockFailed for e in block.failed))
        for block in _started:
            block.finish()
    finally:
        _started = None


def give_way() -> None:
    """Let all others run that can; end if they have failed, or if none of them ever does more."""
    carrier = threading.current_thread()
    assert isinstance(carrier, Carrier)
    schedule = carrier.block.schedule
    schedule.looks += 1
    if any(block.failed for block in schedule.blocks):
        raise OtherBlockFailed("Another block failed.")
    if schedule.looks > MOST_LOOKS:
        raise RuntimeError("Blocks wait for each other for ever.")
    schedule.ready.append(carrier)
    schedule.wait(carrier)


def shared_array(self: Any, shape: Any, dtype: Any, alignment: int) -> Any:
    """Return the current block's shared array that is made in the caller's line.

    Numba's own simulator does not know of alignments; every kernel names one.
    """
    dtype = np.dtype(str(dtype))
    if shape == 0:  # dynamic
        place, size = 0, self._dynshared_size // dtype.itemsize
    else:
        place, size = sys._getframe(1).f_lineno, shape
    shared = threading.current_thread().block.shared  # type: ignore[attr-defined]
    if place not in shared:
        poison = np.nan if dtype.kind == "f" else np.iinfo(dtype).min // 2
        shared[place] = np.full(size, poison, dtype=dtype)
    return shared[place]


def install() -> None:
    """Have the simulator run blocks in this way."""
    kernel.BlockManager = Block
    kernelapi.FakeCUDAShared.array = shared_array
