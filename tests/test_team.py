"""Threads that share one call: they meet, they can be abandoned, and they can be nested."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import joblib
import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from threadpoolctl import ThreadpoolController

from skmlp import MLPRegressor
from skmlp.engines.cpu.team import ABANDONED, Crew, Team, meet, share_out
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


@pytest.mark.parametrize("started", [0, 1])
def test_one_thread_does_the_work_where_no_more_can_be_had(monkeypatch, started):
    """As when the interpreter is about to end, or a limit of the system is reached."""
    submit = ThreadPoolExecutor.submit
    left = [started]

    def refuse(pool, *arguments):
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        return submit(pool, *arguments)

    monkeypatch.setattr("skmlp.engines.cpu.team.ThreadPoolExecutor.submit", refuse)
    slots = np.zeros(3, dtype=np.int64)
    assert Crew(3).call(pass_on, slots, 5, threads=3) == 5
    # One that had started, if it came to anything, left at its first meeting.
    assert slots[0] == 5
    assert slots[1] in (0, started)
    assert slots[2] == 0


def test_nobody_waits_for_a_member_that_failed():
    def driver(team, thread):
        if thread == 1:
            raise MemoryError("no room")
        return pass_on(np.zeros(2, dtype=np.int64), 5, team, thread)

    with pytest.raises(MemoryError, match="no room"):
        Crew(2).call(driver, threads=2)


def test_call_ends_after_all_its_threads(monkeypatch):
    """An interrupt while the caller waits for the others is raised when they have left."""
    left = []

    def driver(team, thread):
        if thread == 1:
            time.sleep(0.2)
            left.append(thread)

    interrupts = [KeyboardInterrupt]

    def interrupted_wait(futures):
        if interrupts:
            raise interrupts.pop()
        return wait(futures)

    monkeypatch.setattr("skmlp.engines.cpu.team.wait", interrupted_wait)
    with pytest.raises(KeyboardInterrupt):
        Crew(2).call(driver, threads=2)
    assert left == [1]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_share_out_calls_every_item_once(threads):
    done = []
    share_out(done.append, range(100), threads)
    assert sorted(done) == list(range(100))


def test_share_out_raises_the_first_error_and_stops():
    done = []

    def work(item):
        if item == 3:
            raise ValueError("three")
        done.append(item)

    with pytest.raises(ValueError, match="three"):
        share_out(work, range(1000), 1)
    assert done == [0, 1, 2]


def test_share_out_ends_after_all_its_threads(monkeypatch):
    """An interrupt between the starts of two threads waits for the one that runs."""
    start, left = threading.Thread.start, []

    def interrupted(thread):
        if len(started) == 1:
            raise KeyboardInterrupt
        started.append(thread)
        start(thread)
        entered.wait(10)

    def work(item):
        entered.set()
        time.sleep(0.2)
        left.append(item)

    started, entered = [], threading.Event()
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        share_out(work, range(100), 3)
    assert left == [0]


def test_share_out_without_threads(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = []
    share_out(done.append, range(10), 4)
    assert done == list(range(10))


def test_effective_threads():
    assert effective_threads(3) == 3
    assert effective_threads(-1) >= 1
    assert effective_threads(None) == numba.config.NUMBA_NUM_THREADS


def test_effective_threads_follow_what_changes_during_a_process(monkeypatch):
    """joblib's count of cores is kept, but not longer than what it was taken from."""
    before = effective_threads(-1)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert effective_threads(-1) == effective_threads(None) == 1
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT")
    assert effective_threads(-1) == before == joblib.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        try:
            assert effective_threads(-1) == effective_threads(None) == 1
        finally:
            os.sched_setaffinity(0, cores)


def blas_libraries():
    return ThreadpoolController().select(user_api="blas").lib_controllers


def test_blas_threads_are_left_alone():
    """Kernels bring their own matrix products; what other code set for its BLAS stays."""
    before = [library.num_threads for library in blas_libraries()]
    X = np.random.default_rng(0).normal(size=(70_000, 5))
    model = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", n_jobs=2, max_iter=50, tol=1e-2)
    model.fit(X[:200], X[:200, 0])
    model.predict(X)
    assert [library.num_threads for library in blas_libraries()] == before
