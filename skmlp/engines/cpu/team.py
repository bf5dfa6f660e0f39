"""Threads that carry out one call of a driver together, meeting between its phases.

Numba's own parallel loops are not used: its OpenMP layer waits actively, so that one other busy
process slows a fit down many times over, and cannot follow a fork; its workqueue layer aborts
when two Python threads enter it. Here ordinary threads run the same compiled driver, each on its
share of the pieces, and meet at a barrier that spins for a few microseconds, then yields, then
sleeps. Where the threads come from is the subject of `skmlp.engines.cpu.crew`.
"""

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from skmlp.engines.cpu.compilation import inner

# How often a waiting thread looks before it yields the processor (some 10 us), and how often it
# then yields before it sleeps.
SPINS = 4000
YIELDS = 200
SLEEP_MICROSECONDS = 50

# Places on a board, in elements; those that several threads write are a cache line apart.
LINE = 16
ARRIVALS = 0
NEXT_PIECE = LINE
BOARD_SIZE = 2 * LINE


class Team(NamedTuple):
    """The threads of one call.

    `board[ARRIVALS]` counts arrivals at all meetings so far, `board[NEXT_PIECE]` the pieces of
    work already taken.
    """

    board: npt.NDArray[np.int64]
    threads: int


def _atomic(operation: str) -> Any:
    """Return an indivisible, sequentially consistent operation that returns the old value."""

    @intrinsic
    def atomic(typingctx, array, index, value):
        signature = types.int64(array, types.int64, types.int64)

        def codegen(context, builder, signature, args):
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            return builder.atomic_rmw(operation, builder.gep(data, [args[1]]), args[2], "seq_cst")

        return signature, codegen

    return atomic


atomic_add = _atomic("add")  # array[index] += value
atomic_exchange = _atomic("xchg")  # array[index] = value


@intrinsic
def atomic_load(typingctx, array, index):
    """``array[index]``, read anew each time."""
    signature = types.int64(array, types.int64)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "seq_cst", 8)

    return signature, codegen


def _call_system(name: str, argument: int | None) -> Any:
    @intrinsic
    def call(typingctx):
        def codegen(context, builder, signature, args):
            word = ir.IntType(32)
            parameters = [] if argument is None else [word]
            function_type = ir.FunctionType(word, parameters)
            function = cgutils.get_or_insert_function(builder.module, function_type, name)
            builder.call(function, [ir.Constant(word, argument) for _ in parameters])
            return context.get_dummy_value()

        return types.void(), codegen

    return call


if sys.platform == "win32":
    yield_processor = _call_system("SwitchToThread", None)
    sleep_briefly = _call_system("Sleep", 1)
else:
    yield_processor = _call_system("sched_yield", None)
    sleep_briefly = _call_system("usleep", SLEEP_MICROSECONDS)


@inner
def pause(looks):
    """Wait before the next look, the longer the more `looks` there have been."""
    if looks > SPINS + YIELDS:
        sleep_briefly()
    elif looks > SPINS:
        yield_processor()


@inner
def meet(team, number):
    """Wait for all threads to come to meeting `number` (from 1)."""
    if team.threads == 1:
        return
    atomic_add(team.board, ARRIVALS, 1)
    looks = 0
    while atomic_load(team.board, ARRIVALS) < number * team.threads:
        looks += 1
        pause(looks)


@inner
def take_piece(team):
    """Return the number of a piece of work that no other thread has taken, from 0."""
    return atomic_add(team.board, NEXT_PIECE, 1)
