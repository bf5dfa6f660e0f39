"""Threads that share one call: how they meet, where they come from, and when they leave."""

import gc
import os
import threading
import time

import joblib
import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from threadpoolctl import ThreadpoolController

from skmlp import MLPRegressor
from skmlp.engines.cpu.crew import ALL, available_threads, call, crew_for, lead
from skmlp.engines.cpu.team import Team, meet, take_piece
from skmlp.engines.cpu.threads import effective_threads


@numba.njit(nogil=True)
def pass_on(slots, rounds, board, threads, thread):
    """Write every thread's number of the round, then check that all have been written."""
    if thread == ALL:
        threads = available_threads(board, threads)
        return lead((slots, rounds, board, threads), board, threads)
    team = Team(board, threads)
    for turn in range(1, rounds + 1):
        slots[thread] = turn
        meet(team, 2 * turn - 1)
        for other in range(threads):
            if slots[other] != turn:
                return 0.0
        meet(team, 2 * turn)
    return float(rounds)


@numba.njit(nogil=True)
def take_all(takers, board, threads, thread):
    """Note which thread takes each piece; return how many the thread has taken."""
    if thread == ALL:
        threads = available_threads(board, threads)
        return lead((takers, board, threads), board, threads)
    team = Team(board, threads)
    taken = 0.0
    while True:
        piece = take_piece(team)
        if piece >= takers.size:
            return taken
        takers[piece] += thread + 1
        taken += 1.0


@pytest.fixture
def in_new_thread():
    """Return a function that calls another one in a thread of its own, which has no crew yet."""

    def run(function):
        results = []
        thread = threading.Thread(target=lambda: results.append(function()))
        thread.start()
        thread.join(timeout=60)
        assert results, "the thread failed or hangs"
        return results[0]

    return run


def helpers():
    return [t for t in threading.enumerate() if t.name.startswith("skmlp-helper")]


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_helpers(crew):
    wait_until(lambda: crew.is_complete)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_nobody_passes_a_meeting_before_all_have_come(threads):
    """More threads than cores, too: the barrier must yield to those it waits for."""
    wait_for_helpers(crew_for(threads))
    slots = np.zeros(threads, dtype=np.int64)
    assert call(pass_on, slots, 200, threads=threads) == 200
    assert_array_equal(slots, 200)


def test_crew_larger_than_the_call():
    wait_for_helpers(crew_for(4))
    for threads in (1, 2, 4):
        slots = np.zeros(threads, dtype=np.int64)
        assert call(pass_on, slots, 20, threads=threads) == 20
        assert_array_equal(slots, 20)


def test_helpers_that_sleep_are_woken():
    wait_for_helpers(crew_for(3))
    for _ in range(20):
        time.sleep(0.005)  # they look for some 100 us
        slots = np.zeros(3, dtype=np.int64)
        assert call(pass_on, slots, 3, threads=3) == 3
        assert_array_equal(slots, 3)


def test_every_piece_is_taken_once():
    takers = np.zeros(1000, dtype=np.int64)
    call(take_all, takers, threads=3)
    assert set(takers) <= {1, 2, 3}


def test_helpers_stay_for_the_next_call_and_leave_with_their_thread(in_new_thread):
    before = set(helpers())
    slots = np.zeros(2, dtype=np.int64)

    def twice():
        call(pass_on, slots, 3, threads=2)
        own = set(helpers()) - before
        call(pass_on, slots, 3, threads=2)
        assert set(helpers()) - before == own
        return own

    own = in_new_thread(twice)
    assert len(own) == 1
    gc.collect()
    wait_until(lambda: not own & set(helpers()))


def test_threads_have_crews_of_their_own(in_new_thread):
    assert in_new_thread(lambda: crew_for(2)) is not crew_for(2)
    assert crew_for(2) is crew_for(2)


@pytest.mark.parametrize("started", [0, 1])
def test_one_thread_does_the_work_where_no_more_can_be_had(monkeypatch, in_new_thread, started):
    """As when the interpreter is about to end, or a limit of the system is reached."""
    start = threading.Thread.start
    left = [started]

    def refuse(thread):
        if not thread.name.startswith("skmlp-helper"):
            return start(thread)
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        return start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    slots = np.zeros(3, dtype=np.int64)
    assert in_new_thread(lambda: call(pass_on, slots, 5, threads=3)) == 5
    assert_array_equal(slots, [5, 0, 0])


def test_missing_helpers_are_tried_again_later(monkeypatch, in_new_thread):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("skmlp-helper"):
            raise RuntimeError("can't start new thread")
        return start(thread)

    def fail_then_go_on():
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            call(pass_on, np.zeros(2, dtype=np.int64), 5, threads=2)
        wait_for_helpers(crew_for(2))
        slots = np.zeros(2, dtype=np.int64)
        call(pass_on, slots, 5, threads=2)
        return slots

    # A helper that is not there costs its callers a moment only, so one more try may be made.
    monkeypatch.setattr("skmlp.engines.cpu.crew.SECONDS_BETWEEN_TRIES", 0.0)
    assert_array_equal(in_new_thread(fail_then_go_on), [5, 5])


FORK = """
import os, sys, warnings
import numpy as np
from skmlp import MLPClassifier
from skmlp.engines.cpu.crew import crew_for

def fit():
    X = np.random.default_rng(0).normal(size=(2000, 64))
    model = MLPClassifier(max_iter=3, random_state=0, n_jobs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, X[:, 0] > 0).coefs_[0].tobytes()

expected = fit()
assert crew_for(2).helpers == 1
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is meant
child = os.fork()
if child == 0:
    os._exit(0 if fit() == expected else 3)
assert os.waitpid(child, 0)[1] == 0
child = os.fork()
if child == 0:
    sys.exit()  # through the handlers at exit
assert os.waitpid(child, 0)[1] == 0
assert fit() == expected
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is not offered here")
def test_a_forked_child_has_a_crew_of_its_own(run_python):
    run_python(FORK, timeout=120)


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
