"""Threads that carry out one call of a driver together, meeting between its phases.

Numba's own parallel loops are not used: its OpenMP layer waits actively, so that one other busy
process slows a fit down many times over, and cannot follow a fork; its workqueue layer aborts
when two Python threads enter it. Here ordinary Python threads run the same compiled driver
without the GIL, each on its share of the pieces, and meet at a barrier that spins for a few
microseconds, then yields, then sleeps.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from skmlp.engines.cpu.compilation import inner

# How often the barrier looks before it yields the processor (some 10 us), and how often it then
# yields before it sleeps.
SPINS = 4000
YIELDS = 200
SLEEP_MICROSECONDS = 50

ARRIVALS, ABANDONED = 0, 8  # a cache line apart


class Team(NamedTuple):
    """The threads of one call.

    `board[ARRIVALS]` counts arrivals at all meetings so far; `board[ABANDONED]` is set when a
    member could not be started and nobody must wait for it.
    """

    board: npt.NDArray[np.int64]
    threads: int


@intrinsic
def atomic_add(typingctx, array, index, value):
    """``array[index] += value`` as one indivisible, sequentially consistent operation."""
    signature = types.void(array, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "seq_cst")
        return context.get_dummy_value()

    return signature, codegen


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
def meet(team, number):
    """Wait for all threads to come to meeting `number` (from 1); whether the call goes on."""
    if team.threads == 1:
        return True
    atomic_add(team.board, ARRIVALS, 1)
    looks = 0
    while atomic_load(team.board, ARRIVALS) < number * team.threads:
        if atomic_load(team.board, ABANDONED):
            return False
        looks += 1
        if looks > SPINS + YIELDS:
            sleep_briefly()
        elif looks > SPINS:
            yield_processor()
    return True


class Crew:
    """Lends threads to calls; they start when first needed and stay until it is forgotten.

    No call returns before every thread has left the compiled code, whose data are known there
    by address only. Where no thread can be had (because the interpreter is about to end, or of
    a limit of the system) the caller does all the work: results do not depend on it.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def call(self, driver: Callable[..., Any], *arguments: Any, threads: int) -> Any:
        """Call ``driver(*arguments, team, thread)`` on every thread; return the first's result."""
        team = Team(np.zeros(16, dtype=np.int64), threads)
        others: list[Future[Any]] = []
        try:
            for thread in range(1, threads):
                others.append(self._start(team, driver, *arguments, team, thread))
        except RuntimeError:
            self._dismiss(team)
            return driver(*arguments, Team(np.zeros(16, dtype=np.int64), 1), 0)
        except BaseException:
            self._dismiss(team)
            raise
        try:
            result = driver(*arguments, team, 0)
        finally:
            uninterrupted(lambda: wait(others))
        for other in others:
            other.result()
        return result

    def _start(self, team: Team, driver: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1)
        future = self._pool.submit(driver, *arguments)
        future.add_done_callback(lambda done: abandon(team) if failed(done) else None)
        return future

    def _dismiss(self, team: Team) -> None:
        """Send home whoever waits for a team that will not be complete."""
        abandon(team)
        pool, self._pool = self._pool, None
        if pool is not None:
            uninterrupted(lambda: pool.shutdown(wait=True, cancel_futures=True))


def abandon(team: Team) -> None:
    team.board[ABANDONED] = 1


def failed(future: Future[Any]) -> bool:
    return future.cancelled() or future.exception() is not None


def uninterrupted(action: Callable[[], Any]) -> None:
    """Carry an action to its end; a `KeyboardInterrupt` meanwhile is raised afterwards."""
    interrupt = None
    while True:
        try:
            action()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def share_out(function: Callable[[int], None], items: Iterable[int], threads: int) -> None:
    """Call `function` on every item, each in one of up to `threads` threads, this one included."""
    remaining = iter(items)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not errors:
                with lock:
                    item = next(remaining, None)
                if item is None:
                    return
                function(item)
        except BaseException as error:
            errors.append(error)

    helpers: list[threading.Thread] = []

    def join() -> None:
        for helper in helpers:
            if helper.ident is not None:  # it was started
                helper.join()

    try:
        for _ in range(threads - 1):
            helpers.append(threading.Thread(target=work))
            helpers[-1].start()
    except RuntimeError:
        pass  # no thread to be had: those there are do the work
    except BaseException as error:
        errors.append(error)
    try:
        work()
    finally:
        uninterrupted(join)
    if errors:
        raise errors[0]
