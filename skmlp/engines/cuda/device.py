"""Where kernels have `numba.cuda` from, and what differs between a GPU and its simulator.

A kernel is written once. On a GPU its arguments are bare pointers and numbers; in the simulator
(``NUMBA_ENABLE_CUDASIM=1``) flat arrays stand in for pointers. What is spelled differently there
(positions of threads, barriers, memory of one thread) has a name here that serves both.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

if "row_stack" not in vars(np):  # gone in NumPy 2.5; numba-cuda 0.30 still asks for it
    vars(np)["row_stack"] = np.vstack

from numba import cuda, types

__all__ = [
    "BLOCK_THREADS",
    "SIMULATED",
    "SMALL_BLOCKS",
    "STEP_THREADS",
    "WARP_THREADS",
    "compiling_for",
    "cuda",
    "device_function",
    "exchange",
    "float32",
    "float64",
    "int8",
    "int32",
    "int64",
    "synchronize",
    "types",
    "uint32",
]

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")

# In the simulator threads cost much: blocks are small there, unless a test wants those of a GPU.
SMALL_BLOCKS = SIMULATED and os.environ.get("SKMLP_SIMULATED_BLOCKS") != "full"

# Threads of a block that works on rows, parameters or steps.
BLOCK_THREADS = 4 if SMALL_BLOCKS else 128

# A step begins with drawing rows, which is a long chain of operations for each of them.
STEP_THREADS = 4 if SMALL_BLOCKS else 1024

# Neighbors that can exchange numbers. A small block has two warps as well.
WARP_THREADS = 2 if SMALL_BLOCKS else 32

int8 = types.int8
int32 = types.int32
uint32 = types.uint32
int64 = types.int64
float32 = types.float32
float64 = types.float64


@contextmanager
def compiling_for(capability: tuple[int, int]) -> Iterator[None]:
    """Have device functions compiled for a compute capability, whatever device is there.

    `cuda.compile` takes the capability of a kernel, but asks the driver for that of the functions
    it calls.
    """
    from numba.cuda import dispatcher

    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


if SIMULATED:
    from skmlp.engines.cuda import simulation

    simulation.install()

    def device_function(py_func: Any) -> Any:
        """Mark a function that only kernels call."""
        return py_func

    def synchronize() -> None:
        """Wait for all threads of the block."""
        threading.current_thread().syncthreads()  # type: ignore[attr-defined]

    def exchange(value: Any, distance: int, width: int) -> Any:
        """Return the value that another thread has, its number differing in one bit.

        All of `width` neighboring threads must call this, a power of two and part of a warp.
        """
        return threading.current_thread().exchange(  # type: ignore[attr-defined]
            value, int(distance), int(width)
        )

    # Device functions are called with the simulator's module, kernels with a stand-in for it.
    cuda.local = SimpleNamespace(array=lambda shape, dtype: np.empty(shape, np.dtype(str(dtype))))

else:

    def device_function(py_func: Any) -> Any:
        """Mark a function that only kernels call; it becomes a part of each of them."""
        return cuda.jit(device=True, forceinline=True)(py_func)

    synchronize = cuda.syncthreads

    @device_function
    def exchange(value, distance, width):
        """Return the value that another thread has, its number differing in one bit.

        All of `width` neighboring threads must call this, a power of two and part of a warp.
        """
        lane = uint32(uint32(cuda.threadIdx.x) % uint32(32))
        first = uint32(lane // uint32(width) * uint32(width))
        mask = uint32(uint32(0xFFFFFFFF) >> uint32(32 - width)) << first
        return cuda.shfl_xor_sync(int32(mask), value, int32(distance))
