"""A quicker and stricter way to run the threads of a block in Numba's simulator.

Numba's own asks all threads in turn whether they wait at a barrier, and lets threads that have
returned count as if they did. Here threads wait for each other, and a barrier that some of them
never reach is an error, as it may be on a GPU.
"""

import threading
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel

SECONDS_TO_WAIT = 20.0


class Block:
    """One block of threads; takes the place of the simulator's `BlockManager`."""

    def __init__(self, function: Any, grid: Any, block: Any, debug: bool) -> None:
        self._function = function
        self._block_dim = block  # a thread looks here
        self.barrier = threading.Barrier(int(np.prod(block)))
        self.failed: list[BaseException] = []

    def run(self, grid_point: Any, *arguments: Any) -> None:
        threads = [
            BlockThread(self._function, arguments, self, grid_point, point)
            for point in np.ndindex(*self._block_dim)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
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
        self._block = block

    def run(self) -> None:
        try:
            self._function(*self._arguments)
        except BaseException as error:
            self._block.failed.append(error)
            self._block.barrier.abort()

    def syncthreads(self) -> None:
        self._block.barrier.wait(SECONDS_TO_WAIT)


def install() -> None:
    """Have the simulator run blocks in this way."""
    kernel.BlockManager = Block
