"""Helping threads, and how a call is handed to them.

A Python thread that computes has a crew of helpers, started when first needed and kept until it
ends. They wait in compiled code and know nothing of Python. A driver that is called by Python puts
itself up for them, does the first share and waits until every helper has left it, all of which is
compiled too. So for Python a call is one indivisible step: no signal handler, no exception and
no other thread can come between the parts of a hand-over, and no call returns while memory that
is known to helpers by address only is in use. Handlers of signals run before the call and after
it, which takes some 50 ms at most.
"""

import atexit
import os
import threading
import time
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from skmlp.engines.cpu.compilation import inner, jit
from skmlp.engines.cpu.gate import (
    CAME,
    ENTERED,
    OWN_LOCK,
    put_lock_back,
    release_lock,
    take_lock,
    wait_for_lock,
)
from skmlp.engines.cpu.team import (
    BOARD_SIZE,
    LINE,
    SPINS,
    YIELDS,
    atomic_exchange,
    atomic_load,
    pause,
)

# After the board of the team, what is put up for the helpers: where the code and its arguments are.
# Beside them is what the thread needs to pass gates (`skmlp.engines.cpu.gate`).
ENTRY = BOARD_SIZE
ARGUMENTS = BOARD_SIZE + 1
# Then lines of their own, one for each helper.
FIRST_HELPER = BOARD_SIZE + LINE
IS_READY = 0  # set by the helper once it waits for work
TASK = 1  # NOTHING, WORK or LEAVE; the helper sets it back to NOTHING when it has left the work
IS_ASLEEP = 2
LOCK = 3  # address of the lock that it sleeps at

NOTHING, WORK, LEAVE = 0, 1, 2

# In place of a thread's number where Python calls a driver: all threads.
ALL = -1

# A helper that has just been started needs about 100 us; after so many looks, which take some
# 2 ms, the work is done without those that are still not there.
LOOKS_FOR_HELPERS = SPINS + YIELDS + 20

# An incomplete crew is replaced after so long.
SECONDS_BETWEEN_TRIES = 1.0

# double entry(void *arguments, int64 thread)
_ENTRY_TYPE = ir.FunctionType(ir.DoubleType(), [ir.IntType(8).as_pointer(), ir.IntType(64)])


@intrinsic
def put_up(typingctx, arguments, board):
    """Put up the work of the function that this is called from, until that function returns.

    The board gets the address of code that calls the same function with `arguments`, and the
    thread's number as the last one, and the address of these arguments. It is the function
    itself, since to compile what calls another one takes as long as to compile that.
    """

    def codegen(context, builder, signature, args):
        argument_types = [*arguments.types, types.int64]
        called_type = context.call_conv.get_function_type(types.float64, argument_types)
        if builder.function.function_type != called_type:
            raise TypeError("A function puts up itself with all its arguments but the thread.")
        entry = ir.Function(builder.module, _ENTRY_TYPE, name=f"{builder.function.name}.entry")
        entry.linkage = "internal"
        place = cgutils.alloca_once_value(builder, args[0])

        inside = ir.IRBuilder(entry.append_basic_block())
        values = inside.load(inside.bitcast(entry.args[0], place.type))
        parts = cgutils.unpack_tuple(inside, values, len(arguments.types))
        # Drivers raise nothing, so that there is no status to look at.
        _, result = context.call_conv.call_function(
            inside, builder.function, types.float64, argument_types, [*parts, entry.args[1]]
        )
        inside.ret(result)

        data = context.make_array(signature.args[1])(context, builder, args[1]).data
        word = ir.IntType(64)
        for index, value in ((ENTRY, entry), (ARGUMENTS, place)):
            address = builder.ptrtoint(value, word)
            builder.store(address, builder.gep(data, [ir.Constant(word, index)]))
        return context.get_dummy_value()

    return types.void(arguments, board), codegen


@intrinsic
def do_share(typingctx, board, thread):
    """Do a thread's share of the work that has been put up, and return the driver's result."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        word = ir.IntType(64)
        entry, arguments = (
            builder.load(builder.gep(data, [ir.Constant(word, index)]))
            for index in (ENTRY, ARGUMENTS)
        )
        function = builder.inttoptr(entry, _ENTRY_TYPE.as_pointer())
        pointer = builder.inttoptr(arguments, _ENTRY_TYPE.args[0])
        return builder.call(function, [pointer, args[1]])

    return types.float64(board, types.int64), codegen


@inner
def line_of(helper):
    return FIRST_HELPER + helper * LINE


@inner
def call_helper(board, helper, task):
    """Give a helper something to do, and wake it if it sleeps."""
    line = line_of(helper)
    atomic_exchange(board, line + TASK, task)
    if atomic_exchange(board, line + IS_ASLEEP, 0):
        release_lock(board[line + LOCK])


@inner
def wait_for_task(board, line):
    """Return what a helper is to do. It sleeps if that takes more than a moment."""
    looks = 0
    while True:
        task = atomic_load(board, line + TASK)
        if task != NOTHING:
            return task
        looks += 1
        if looks < SPINS + YIELDS:
            pause(looks)
            continue
        # The caller writes the task before it looks who sleeps, the helper says that it sleeps
        # before it looks for a task: one of them sees the other.
        atomic_exchange(board, line + IS_ASLEEP, 1)
        has_task = atomic_load(board, line + TASK) != NOTHING
        if not has_task or not atomic_exchange(board, line + IS_ASLEEP, 0):
            wait_for_lock(board[line + LOCK])
        looks = 0


@jit()
def serve(board, helper):
    """Do one share of work after the other until told to leave. A helper's whole life."""
    line = line_of(helper)
    atomic_exchange(board, line + IS_READY, 1)
    while wait_for_task(board, line) == WORK:
        do_share(board, helper + 1)
        atomic_exchange(board, line + TASK, NOTHING)


@jit()
def dismiss(board, helpers):
    """Tell all helpers to leave."""
    for helper in range(helpers):
        call_helper(board, helper, LEAVE)


@inner
def available_threads(board, threads):
    """Return `threads` if so many are there after a short while at most, else 1.

    One thread can do all the work: results do not depend on it.
    """
    looks = 0
    for helper in range(threads - 1):
        while not atomic_load(board, line_of(helper) + IS_READY):
            looks += 1
            if looks > LOOKS_FOR_HELPERS:
                return 1
            pause(looks)
    return threads


@jit(inline="always")
def lead(arguments, board, threads):
    """Have all threads call the function that this is called from; return its result for thread 0.

    `arguments` are all its arguments but the last one, the thread.
    """
    for place in range(BOARD_SIZE):
        board[place] = 0
    put_up(arguments, board)
    for helper in range(threads - 1):
        call_helper(board, helper, WORK)
    result = do_share(board, 0)
    looks = 0
    for helper in range(threads - 1):
        while atomic_load(board, line_of(helper) + TASK) != NOTHING:
            looks += 1
            pause(looks)
    return result


class Crew:
    """The helpers of one Python thread.

    Parameters
    ----------
    helpers : int
        How many there should be. Where the system, or an interpreter about to end, refuses to
        start one, calls do without.

    Attributes
    ----------
    board : ndarray of int64
        What drivers and helpers write to each other on.
    """

    helpers = 0

    def __init__(self, helpers: int) -> None:
        self.process = os.getpid()
        self.board = np.zeros(FIRST_HELPER + LINE * helpers, dtype=np.int64)
        self.board[OWN_LOCK] = take_lock()
        self._threads: list[threading.Thread] = []
        self._began = time.monotonic()
        self._is_complete = False
        if helpers == 0:
            return
        # Compiled or loaded here, where an interrupt can stop it.
        board, number = types.int64[::1], types.int64
        serve.compile((board, number))
        dismiss.compile((board, number))
        self.helpers = helpers
        _crews.add(self)
        for helper in range(helpers):
            thread = threading.Thread(
                target=_help, args=(self.board, helper), name=f"skmlp-helper-{helper}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                return
            self._threads.append(thread)

    @property
    def is_complete(self) -> bool:
        """Whether all helpers are there. None leaves before it is told to."""
        if not self._is_complete:
            self._is_complete = bool(self.board[FIRST_HELPER + IS_READY :: LINE].all())
        return self._is_complete

    def serves(self, threads: int) -> bool:
        """Whether calls for so many threads should go to this crew."""
        if threads == 1:
            return True
        if threads - 1 > self.helpers or self.process != os.getpid():
            return False
        return self.is_complete or time.monotonic() - self._began < SECONDS_BETWEEN_TRIES

    def leave(self, *, wait: bool) -> None:
        """Send the helpers home; what they still do ends first."""
        if self.process != os.getpid():
            return  # this process was forked: its parent has the helpers
        dismiss(self.board, self.helpers)
        for thread in self._threads if wait else ():
            thread.join(timeout=1.0)

    def __del__(self) -> None:
        if self.helpers:
            self.leave(wait=False)
        if "board" in vars(self) and (lock := int(self.board[OWN_LOCK])):  # made so far
            put_lock_back(lock)


def _help(board: npt.NDArray[np.int64], helper: int) -> None:
    """Be a helper: have a lock to sleep at, and serve."""
    lock = board[FIRST_HELPER + LINE * helper + LOCK] = take_lock()
    serve(board, helper)
    put_lock_back(lock)


_crews: "weakref.WeakSet[Crew]" = weakref.WeakSet()
_own = threading.local()


@atexit.register
def _dismiss_all() -> None:
    """Have no helper in compiled code when the interpreter takes that code away."""
    for crew in list(_crews):
        crew.leave(wait=True)


def crew_for(threads: int) -> Crew:
    """Return this Python thread's crew, of enough helpers for so many threads in all."""
    crew: Crew | None = getattr(_own, "crew", None)
    if crew is None or not crew.serves(threads):
        crew = _own.crew = Crew(threads - 1)
    return crew


def call(driver: Any, *arguments: Any, threads: int) -> float:
    """Call a driver on so many threads: ``driver(*arguments, board, threads, thread)``."""
    return float(driver(*arguments, crew_for(threads).board, threads, ALL))


def call_through(gate: Any, driver: Any, *arguments: Any, threads: int) -> tuple[float, float]:
    """Call a driver that passes a gate: ``driver(*arguments, gate, board, threads, thread)``.

    Returns its result, and the seconds that it waited at the gate.
    """
    crew = crew_for(threads)  # which lives as long as the call, whatever a handler of signals fits
    result = float(driver(*arguments, gate, crew.board, threads, ALL))
    return result, max(0, int(crew.board[ENTERED]) - int(crew.board[CAME])) * 1e-9
