"""Threads that share one call: they meet, they can be abandoned, and they can be nested."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skmlp.engines.cpu.blas import blas_libraries, single_threaded_blas
from skmlp.engines.cpu.team import ABANDONED, Crew, Team, meet
from skmlp.engines.cpu.threads import effective_threads


@numba.njit(nogil=True)
def pass_on(slots, rounds, team, thread):
    """Write every thread's number of the round, then check that all have been written."""
    for turn in range(1, rounds + 1):
        slots[thread] = turn
        if not meet(team, 2 * turn - 1):
            return -1
        for other in range(team.threads):
            if slots[other] != turn:
                return 0
        if not meet(team, 2 * turn):
            return -1
    return rounds


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_nobody_passes_a_meeting_before_all_have_come(threads):
    """More threads than cores, too: the barrier must yield to those it waits for."""
    slots = np.zeros(threads, dtype=np.int64)
    assert Crew(threads).call(pass_on, slots, 200, threads=threads) == 200
    assert_array_equal(slots, 200)


def test_crew_larger_than_the_call():
    crew = Crew(4)
    for threads in (1, 2, 4):
        slots = np.zeros(threads, dtype=np.int64)
        assert crew.call(pass_on, slots, 20, threads=threads) == 20


def test_waiting_ends_when_a_member_cannot_start():
    pass_on(np.zeros(1, dtype=np.int64), 1, Team(np.zeros(16, dtype=np.int64), 1), 0)
    team = Team(np.zeros(16, dtype=np.int64), 2)
    results = []
    waiting = threading.Thread(
        target=lambda: results.append(pass_on(np.zeros(2, dtype=np.int64), 5, team, 0))
    )
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    team.board[ABANDONED] = 1
    waiting.join(timeout=10)
    assert results == [-1]


def test_call_raises_what_starting_a_thread_raises(monkeypatch):
    crew = Crew(2)

    def refuse(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("skmlp.engines.cpu.team.ThreadPoolExecutor.submit", refuse)
    with pytest.raises(RuntimeError, match="start new thread"):
        crew.call(pass_on, np.zeros(2, dtype=np.int64), 5, threads=2)


def test_effective_threads():
    assert effective_threads(3) == 3
    assert effective_threads(-1) >= 1
    assert effective_threads(None) == numba.config.NUMBA_NUM_THREADS


def blas_threads():
    return [library.num_threads for library in blas_libraries()]


def test_blas_limit_ends_with_its_last_user():
    """Whichever thread it is that leaves last."""
    before = blas_threads()
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with single_threaded_blas():
            inside.set()
            leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        with single_threaded_blas():
            assert set(blas_threads()) == {1}
            future = pool.submit(hold)
            inside.wait(10)
        assert set(blas_threads()) == {1}
        leave.set()
        future.result()
    assert blas_threads() == before
