"""A quicker and stricter way to run blocks of threads in Numba's simulator.

Numba's own asks all threads in turn whether they wait at a barrier, and lets threads that have
returned count as if they did. Here threads wait for each other, and a barrier that some of them
never reach is an error, as it may be on a GPU. Blocks may also run side by side, each with shared
memory of its own, which holds no numbers until they are written.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel, kernelapi

SECONDS_TO_WAIT = 20.0

# Blocks that were started side by side, None while blocks run one after the other.
_started: list["Block"] | None = None
_counting = threading.Lock()


class Group:
    """Neighboring threads of a warp that exchange numbers."""

    def __init__(self, width: int) -> None:
        self.barrier = threading.Barrier(width)
        self.values: dict[int, Any] = {}


class Block:
    """One block of threads; takes the place of the simulator's `BlockManager`."""

    def __init__(self, function: Any, grid: Any, block: Any, debug: bool) -> None:
        self._function = function
        self._block_dim = block  # a thread looks here
        self._n_blocks = int(np.prod(grid))
        self.barrier = threading.Barrier(int(np.prod(block)))
        self.failed: list[BaseException] = []
        self.shared: dict[Any, Any] = {}
        self.groups: dict[tuple[int, int], Group] = {}
        self._threads: list[BlockThread] = []

    def run(self, grid_point: Any, *arguments: Any) -> None:
        self._threads = [
            BlockThread(self._function, arguments, self, grid_point, point)
            for point in np.ndindex(*self._block_dim)
        ]
        for thread in self._threads:
            thread.start()
        if _started is None:
            self.finish()
            return
        _started.append(self)
        if len(_started) == self._n_blocks:  # while the kernel's modules are still in place
            for block in _started:
                block.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def finish(self) -> None:
        self.join()
        if self.failed:
            first = self.failed[0]
            if isinstance(first, threading.BrokenBarrierError):
                raise RuntimeError("Some threads of a block never reached a barrier.")
            raise first


class BlockThread(kernel.BlockThread):
    """One thread of a block."""

    def __init__(
        self, function: Any, arguments: Any, block: Block, grid_point: Any, point: Any
    ) -> None:
        super().__init__(function, block, grid_point, point, False)
        self._arguments = arguments
        self._function = function
        self.block = block
        self.began = time.monotonic()

    def run(self) -> None:
        try:
            self._function(*self._arguments)
        except BaseException as error:
            self.block.failed.append(error)
            self.block.barrier.abort()
            for group in list(self.block.groups.values()):
                group.barrier.abort()

    def syncthreads(self) -> None:
        self.block.barrier.wait(SECONDS_TO_WAIT)

    def exchange(self, value: Any, distance: int, width: int) -> Any:
        """Return the value of the thread at this distance among `width` neighbors."""
        number = int(self.threadIdx.x)
        group = self.block.groups.setdefault((number // width, width), Group(width))
        group.values[number] = value
        group.barrier.wait(SECONDS_TO_WAIT)
        other = group.values[number ^ distance]
        group.barrier.wait(SECONDS_TO_WAIT)
        return other


class OtherBlockFailed(RuntimeError):
    """A block was waited for that will never arrive."""


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


@contextmanager
def wait_for_others() -> Iterator[None]:
    """Hold a counter that several blocks watch, and let others go on; end if one has failed."""
    with _counting:
        yield
    if any(block.failed for block in _started or ()):
        raise OtherBlockFailed("Another block failed.")
    time.sleep(0)


def shared_array(self: Any, shape: Any, dtype: Any, alignment: int) -> Any:
    """Return the current block's shared array that is made in the caller's line.

    Numba's own simulator does not know of alignments; every kernel names one.
    """
    dtype = np.dtype(str(dtype))
    if shape == 0:  # dynamic
        place, size = 0, self._dynshared_size // dtype.itemsize
    else:
        place, size = sys._getframe(1).f_lineno, shape
    poison = np.nan if dtype.kind == "f" else np.iinfo(dtype).min // 2
    shared = threading.current_thread().block.shared  # type: ignore[attr-defined]
    return shared.setdefault(place, np.full(size, poison, dtype=dtype))


def install() -> None:
    """Have the simulator run blocks in this way."""
    kernel.BlockManager = Block
    kernelapi.FakeCUDAShared.array = shared_array
