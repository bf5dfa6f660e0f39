"""The gate before the kernels: no more threads compute at once than there are cores for them.

Fits on several threads of Python take turns here, in compiled code: whoever finds no free place
sleeps at a lock of its own, and who leaves hands its place to the one that has waited longest. So a
core goes from one fit to the next without the interpreter, whose lock another thread may hold for
milliseconds.
"""

import ctypes
import sys

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from skmlp.engines.cpu.compilation import inner
from skmlp.engines.cpu.pointers import address, int64_pointer, pointer
from skmlp.engines.cpu.team import BOARD_SIZE, LINE, atomic_exchange, pause

# A gate: who is changing it, how many places there are and are free, and the ends of the queue.
IS_TAKEN = 0
PLACES = LINE
FREE = LINE + 1
FIRST_IN_QUEUE = LINE + 2  # addresses of boards; zero if nobody waits
LAST_IN_QUEUE = LINE + 3
GATE_SIZE = 2 * LINE

# What a thread has on its board (`skmlp.engines.cpu.crew`) to pass gates.
OWN_LOCK = BOARD_SIZE + 2  # address of the lock that it sleeps at
NEXT_IN_QUEUE = BOARD_SIZE + 3
PLACES_TAKEN = BOARD_SIZE + 4
CAME = BOARD_SIZE + 5  # when it came and when it was let in, in nanoseconds
ENTERED = BOARD_SIZE + 6

# Locks of Python's own C API, which need no GIL and which any thread may release: they are there
# on every platform, and are not the Python objects of that name.
_python = ctypes.pythonapi
_allocate_lock = _python.PyThread_allocate_lock
_allocate_lock.restype = ctypes.c_void_p
_acquire_lock = _python.PyThread_acquire_lock
_acquire_lock.argtypes = [ctypes.c_void_p, ctypes.c_int]
# Acquired ones that nobody sleeps at. They are never freed: who releases one may still be busy
# with it when the thread that slept has woken up.
_spare_locks: list[int] = []


def take_lock() -> int:
    """Return the address of a lock that is taken: whoever takes it again sleeps until its release.

    Raises
    ------
    MemoryError
        If the system has none.
    """
    try:
        return _spare_locks.pop()
    except IndexError:
        lock = _allocate_lock()
    if lock is None:
        raise MemoryError("The system has no lock to be had.")
    _acquire_lock(lock, 1)
    return int(lock)


def put_lock_back(lock: int) -> None:
    """Keep a lock, which is taken, for the next one who needs it."""
    _spare_locks.append(lock)


def _lock_function(name: str, *flags: int):
    @intrinsic
    def call(typingctx, lock):
        def codegen(context, builder, signature, args):
            word, opaque = ir.IntType(32), ir.IntType(8).as_pointer()
            result = word if flags else ir.VoidType()
            function_type = ir.FunctionType(result, [opaque, *(word for _ in flags)])
            function = cgutils.get_or_insert_function(builder.module, function_type, name)
            pointer = builder.inttoptr(args[0], opaque)
            builder.call(function, [pointer, *(ir.Constant(word, flag) for flag in flags)])
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    return call


wait_for_lock = _lock_function("PyThread_acquire_lock", 1)
release_lock = _lock_function("PyThread_release_lock")

# The clock of C's library that goes on steadily: its name and number. Windows has that of the day.
CLOCKS = {"win32": ("_timespec64_get", 1), "darwin": ("clock_gettime", 6)}
CLOCK, CLOCK_NUMBER = CLOCKS.get(sys.platform, ("clock_gettime", 1))


@intrinsic
def nanoseconds(typingctx):
    """``nanoseconds()``: what the clock shows."""

    def codegen(context, builder, signature, args):
        long, word = ir.IntType(64), ir.IntType(32)
        place = cgutils.alloca_once(builder, ir.ArrayType(long, 2))
        number = ir.Constant(word, CLOCK_NUMBER)
        # Windows takes the place first.
        arguments = [place, number] if sys.platform == "win32" else [number, place]
        function_type = ir.FunctionType(word, [value.type for value in arguments])
        builder.call(
            cgutils.get_or_insert_function(builder.module, function_type, CLOCK), arguments
        )
        seconds = builder.load(cgutils.gep_inbounds(builder, place, 0, 0))
        # A number of 32 bits on Windows, which is the lower half on all processors in use.
        rest = builder.bitcast(cgutils.gep_inbounds(builder, place, 0, 1), word.as_pointer())
        rest = builder.zext(builder.load(rest), long)
        return builder.add(builder.mul(seconds, ir.Constant(long, 10**9)), rest)

    return types.int64(), codegen


def new_gate(places: int) -> npt.NDArray[np.int64]:
    """Return a gate with so many places."""
    gate = np.zeros(GATE_SIZE, dtype=np.int64)
    gate[PLACES] = gate[FREE] = places
    return gate


@inner
def take_gate(gate):
    """Keep others from changing the gate, which takes them some nanoseconds."""
    looks = 0
    while atomic_exchange(gate, IS_TAKEN, 1):
        looks += 1
        pause(looks)


@inner
def enter(gate, board, wanted):
    """Wait until there is a place, and return for how many threads: those wanted, or one.

    Whoever wants more than there are has the gate for itself if nobody else is inside.
    """
    places = min(wanted, gate[PLACES])
    board[CAME] = nanoseconds()
    take_gate(gate)
    if gate[FREE] >= places:
        board[PLACES_TAKEN] = places
    else:
        wanted = 1
        board[PLACES_TAKEN] = 1
    if gate[FREE] > 0:
        gate[FREE] -= board[PLACES_TAKEN]
        atomic_exchange(gate, IS_TAKEN, 0)
    else:
        own = address(pointer(board, 0))
        board[NEXT_IN_QUEUE] = 0
        if gate[FIRST_IN_QUEUE] == 0:
            gate[FIRST_IN_QUEUE] = own
        else:
            int64_pointer(gate[LAST_IN_QUEUE])[NEXT_IN_QUEUE] = own
        gate[LAST_IN_QUEUE] = own
        atomic_exchange(gate, IS_TAKEN, 0)
        wait_for_lock(board[OWN_LOCK])
    board[ENTERED] = nanoseconds()
    return wanted


@inner
def leave(gate, board):
    """Hand the places to those who have waited longest; what they do not take is free."""
    for _ in range(board[PLACES_TAKEN]):
        take_gate(gate)
        first = gate[FIRST_IN_QUEUE]
        if first == 0:
            gate[FREE] += 1
            atomic_exchange(gate, IS_TAKEN, 0)
        else:
            # Read before it is woken: its board may be gone soon after.
            waiting = int64_pointer(first)
            gate[FIRST_IN_QUEUE] = waiting[NEXT_IN_QUEUE]
            lock = waiting[OWN_LOCK]
            atomic_exchange(gate, IS_TAKEN, 0)
            release_lock(lock)
