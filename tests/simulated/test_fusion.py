"""Fits from several threads as one run; plans that begin and end while others are under way."""

import os
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
from engine_checks import make_plan, make_problem, make_task
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skmlp import MLPClassifier
from skmlp.engines.base import EpochPlan, KeyedOrders
from skmlp.engines.cuda import data as datasets
from skmlp.engines.cuda import fusion, groups
from skmlp.engines.cuda import run as runs
from skmlp.engines.cuda.batched import BatchedGroup
from skmlp.engines.cuda.data import DeviceMatrix
from skmlp.engines.cuda.engine import CudaEngine
from skmlp.engines.cuda.fusion import FusedRun, dispatcher_for
from skmlp.engines.cuda.paths import PathPolicy
from skmlp.engines.cuda.programs import ProgramGroup
from skmlp.engines.cuda.resident_group import ResidentGroup
from skmlp.engines.cuda.turns import Turn
from skmlp.engines.pools import Abandoned, Pool, belonging_to
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.specs import plain_network

RESIDENT, BATCHED = PathPolicy("resident", 1), PathPolicy("batched", 1)
POLICIES = {
    BATCHED: BatchedGroup,
    PathPolicy("programs"): ProgramGroup,
    RESIDENT: ResidentGroup,
    PathPolicy("resident", 3): ResidentGroup,
}
NETWORK = plain_network((4, 3, 2), "tanh", "squared_error", "identity")
OTHER = plain_network((4, 2), "tanh", "squared_error", "identity")
ROWS = 9
PROBLEM = make_problem(NETWORK, ROWS)
# A test that hangs shall fail.
LONG = 60.0


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Wait for everybody who is on the way, however slow the simulator is."""
    monkeypatch.setattr(fusion, "SECONDS_FOR_ONE", LONG)
    monkeypatch.setattr(fusion, "SECONDS_FOR_ALL", LONG)


@pytest.fixture(autouse=True)
def nothing_left():
    """At the end nothing lies on the device."""
    yield
    for dispatcher in fusion._dispatchers.values():
        assert dispatcher.shared._members == []
        assert not any((dispatcher._fits, dispatcher._inbox, dispatcher._runs))
        assert not dispatcher._is_led


@pytest.fixture
def tiny_slices(monkeypatch):
    monkeypatch.setattr(groups, "FEWEST_STEPS", 1)
    monkeypatch.setattr(groups.FitGroup, "steps_per_call", 1)
    monkeypatch.setattr(runs, "SECONDS_PER_CALL", 0.0)


@pytest.fixture
def formed(monkeypatch):
    """Return a list of the numbers of fits in each group that is made."""
    sizes, form = [], runs.form_groups

    def noting(*arguments):
        for formation in form(*arguments):
            sizes.append(len(formation.members))
            yield formation

    monkeypatch.setattr(runs, "form_groups", noting)
    return sizes


def copy_of(problem):
    return tuple(array.copy() for array in problem)


def together(*functions, pool=None, pools=None):
    """Call functions, each in a busy thread of a pool; return what came of them, errors too."""
    pools = pools or [pool or Pool(2)] * len(functions)
    outcomes = [None] * len(functions)

    def call(i):
        with belonging_to(pools[i]):
            try:
                outcomes[i] = functions[i]()
            except BaseException as error:
                outcomes[i] = error
            finally:
                pools[i].end(threads[i])

    threads = [threading.Thread(target=call, args=[i], daemon=True) for i in range(len(functions))]
    for own, thread in zip(pools, threads, strict=True):
        own.begin(thread)
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LONG
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


def fit(policy=RESIDENT, network=NETWORK, problem=PROBLEM, seed=0, n_plans=2, n_epochs=1):
    """Return losses, parameters and optimizer state after some plans."""
    engine = CudaEngine(policy=policy)
    task = make_task(engine, network, problem, batch_size=4, seed=seed)
    losses = []
    with engine.start([]) as run:
        number = run.add(task)
        for i in range(n_plans):
            run.submit(number, make_plan(ROWS, n_epochs, seed=seed + i))
            (finished,) = run.wait()
            assert finished.task == number
            assert finished.seconds > 0
            losses += finished.result.losses
        state = run.optimizer_state(number, 0.01)
        assert state.step == 3 * n_epochs * n_plans
        parameters = run.parameters(number)
        assert_array_equal(run.parameters_view(number), parameters)
        run.retire(number)
        with pytest.raises(LookupError, match="retired"):
            run.parameters(number)
    return losses, parameters, state.vectors


@contextmanager
def failing(monkeypatch, kind, name, error, *, when):
    """Let a method of a kind of groups fail where `when` says so, once it is called so."""
    method = getattr(kind, name)

    def call(self, *arguments, **options):
        if when(self, *arguments):
            raise error
        return method(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(kind, name, call)
        yield


@pytest.mark.parametrize("policy", [RESIDENT, BATCHED])
def test_equal_fits_are_one_group(policy, formed, monkeypatch):
    """Four threads whose X is equal, but not the same: one group, and one matrix on the device."""
    sent, send = [], DeviceMatrix.__init__

    def sending(self, *arguments):
        sent.append(self)
        send(self, *arguments)

    monkeypatch.setattr(DeviceMatrix, "__init__", sending)
    outcomes = together(
        *(lambda seed=seed: fit(policy, problem=copy_of(PROBLEM), seed=seed) for seed in range(4))
    )
    assert formed == [4]
    assert len(sent) == 1
    for seed, outcome in enumerate(outcomes):
        for own, alone in zip(outcome, fit(policy, seed=seed), strict=True):
            # In one block a fit is what it is; a launch for several may take other tiles.
            if policy is RESIDENT:
                assert_array_equal(own, alone)
            assert_allclose(own, alone, rtol=1e-9, atol=1e-12)


def test_unlike_fits_run_side_by_side(formed):
    """Other networks are other groups where layers are launched; other data always are."""
    others = make_problem(NETWORK, ROWS, seed=1)
    fits = [
        lambda: fit(BATCHED),
        lambda: fit(BATCHED, OTHER),
        lambda: fit(BATCHED, problem=others, n_epochs=2),
    ]
    outcomes = together(*fits)
    assert formed == [1, 1, 1]
    for outcome, alone in zip(outcomes, [own() for own in fits], strict=True):
        for own, expected in zip(outcome, alone, strict=True):
            assert_array_equal(own, expected)


@pytest.mark.usefixtures("tiny_slices")
@pytest.mark.parametrize("policy", POLICIES)
def test_short_plans_come_back_first(policy):
    """They end, begin, leave and are replaced while others of their group are under way."""
    every, some = np.arange(ROWS), np.arange(1, ROWS, 2)
    rng = np.random.default_rng(0)
    long = EpochPlan(KeyedOrders(every, 5, 0, 6), 0.01, rng.uniform(0.0, 0.1, size=(6, 3)))
    keyed = EpochPlan(KeyedOrders(some, 7, 0, 2), 0.02)
    engine = CudaEngine(policy=policy)
    tasks = [make_task(engine, NETWORK, PROBLEM, batch_size=4, seed=i) for i in range(4)]
    tasks[3] = replace(tasks[3], alpha=0.7)
    tasks = [replace(task, data=tasks[0].data) for task in tasks]
    run = engine.start(tasks[:3])
    ((group, _),) = run._members
    assert type(group) is POLICIES[policy]
    plans = {0: [make_plan(ROWS, 1), make_plan(ROWS, 1, seed=1)], 1: [keyed], 2: [long]}
    order = []
    losses = {i: [] for i in range(4)}

    def submit(number):
        run.submit(number, plans[number].pop(0))

    for number in range(3):
        submit(number)
    while run.is_under_way or run._submitted:
        for number, result, _ in run.wait():
            order.append(number)
            losses[number] += result.losses
            if plans[number]:
                submit(number)
            elif number == 1:
                run.retire(1)
                plans[3] = [make_plan(ROWS, 1, seed=3), keyed]
                assert run.add(tasks[3]) == 3
                submit(3)
    # After 2 and 3 steps; the third after another 3, and the next ones after 6, 7 and 18.
    assert order == [1, 0, 3, 0, 3, 2]
    assert run._members == [(group, [0, 3, 2])]
    plans = {
        0: [make_plan(ROWS, 1), make_plan(ROWS, 1, seed=1)],
        2: [long],
        3: [make_plan(ROWS, 1, seed=3), keyed],
    }
    for number, own in plans.items():
        alone = ReferenceEngine()
        data = alone.load(*PROBLEM, NETWORK, "float64")
        expected = alone.start([replace(tasks[number], data=data)])
        results = [expected.advance([plan])[0] for plan in own]
        expected_losses = [loss for result in results for loss in result.losses]
        assert_allclose(losses[number], expected_losses, rtol=1e-9)
        assert_allclose(run.parameters(number), expected.parameters(0), rtol=1e-9, atol=1e-12)
        state, alike = run.optimizer_state(number, 0.01), expected.optimizer_state(0, 0.01)
        assert state.step == alike.step
        assert_allclose(state.vectors, alike.vectors, rtol=1e-9, atol=1e-12)


def test_who_has_left_makes_room(formed):
    """The second wave of a search takes the places of the first one, but not of unlike fits."""
    first_is_over = threading.Event()

    def keep():
        engine = CudaEngine(policy=BATCHED)
        with engine.start([make_task(engine, NETWORK, PROBLEM, batch_size=4)]) as run:
            run.advance([make_plan(ROWS, 1)])
            assert first_is_over.wait(LONG)

    def two():
        results = [fit(BATCHED, problem=copy_of(PROBLEM), seed=1)]
        results.append(fit(BATCHED, problem=copy_of(PROBLEM), seed=2))
        fit(BATCHED, OTHER)
        first_is_over.set()
        return results

    pool = Pool(2)
    # Who holds its fit without a plan is not waited for.
    fusion.SECONDS_FOR_ONE = 0.2
    _, results = together(keep, two, pool=pool)
    assert sum(formed) in (3, 4)  # the first two together, or one after the other
    for seed, result in enumerate(results, start=1):
        for own, alone in zip(result, fit(BATCHED, seed=seed), strict=True):
            assert_allclose(own, alone, rtol=1e-9, atol=1e-12)


def test_an_error_is_its_own_fits(monkeypatch):
    """Of memory, of a launch; a group that is too large is made as several."""
    fits = [lambda seed=seed: fit(BATCHED, seed=seed, n_plans=1)[1] for seed in range(3)]
    expected = [own() for own in fits]
    fits.append(lambda: fit(BATCHED, OTHER, n_plans=1))

    def is_other(group, *_):
        return group.tasks[0].network == OTHER

    def is_too_large(_, device, tasks):
        return len(tasks) > 2 or tasks[0].network == OTHER

    memory, launch = MemoryError("too little"), RuntimeError("broken")
    with failing(monkeypatch, BatchedGroup, "__init__", memory, when=is_too_large):
        *others, failed = together(*fits)
    assert failed is memory
    assert_allclose(others, expected, rtol=1e-9, atol=1e-12)
    for name in ("run_steps", "begin_plans", "take_results"):
        with failing(monkeypatch, BatchedGroup, name, launch, when=is_other):
            other, failed = together(*fits[2:])
        assert failed is launch, name
        assert_allclose(other, expected[2], rtol=1e-9, atol=1e-12)

    def refused():
        engine = CudaEngine("tf32", BATCHED)
        task = make_task(engine, NETWORK, PROBLEM)
        with engine.start([]) as run:
            run.add(task)

    (error,) = together(refused)
    assert "needs single precision" in str(error)
    engine = CudaEngine(policy=BATCHED)
    run = engine.start([make_task(engine, OTHER, PROBLEM)])
    with (
        failing(monkeypatch, BatchedGroup, "run_steps", launch, when=is_other),
        pytest.raises(RuntimeError, match="broken"),
    ):
        run.advance([make_plan(ROWS, 1)])


@pytest.mark.usefixtures("tiny_slices")
def test_an_abandoned_pool_ends_alone(monkeypatch):
    """Its fits end between slices, whether they lead or wait; those of other pools go on."""
    abandoned, other = Pool(2), Pool(1)
    slices, advance = [], runs.CudaRun.advance_slice

    def counting(self):
        slices.append(1)
        if len(slices) == 3:
            abandoned.is_abandoned = True
        return advance(self)

    monkeypatch.setattr(runs.CudaRun, "advance_slice", counting)
    long = [lambda seed=seed: fit(seed=seed, n_epochs=1000) for seed in range(2)]
    first, second, third = together(*long, lambda: fit(seed=2), pools=[abandoned, abandoned, other])
    assert isinstance(first, Abandoned)
    assert isinstance(second, Abandoned)
    assert_array_equal(third[1], fit(seed=2)[1])


@pytest.mark.usefixtures("tiny_slices")
def test_an_interrupted_thread_ends_alone(monkeypatch):
    """In the middle of a launch that it leads; its parameters are those after some whole step."""
    interrupted = []

    def interrupt(group, *_):
        if len(group.under_way) == 2 and not interrupted:
            interrupted.append(threading.get_ident())
            return True
        return False

    def fit_until_interrupted(seed):
        engine = CudaEngine(policy=RESIDENT)
        task = make_task(engine, NETWORK, PROBLEM, batch_size=4, seed=seed)
        losses = []
        with engine.start([task]) as run:
            try:
                for i in range(2):
                    run.submit(0, make_plan(ROWS, 1, seed=seed + i))
                    losses += run.wait()[0].result.losses
            except KeyboardInterrupt:
                run.close()
                run.close()
                assert np.isfinite(run.parameters(0)).all()
                assert run.optimizer_state(0, 0.01).step < 6
                return None
            state = run.optimizer_state(0, 0.01)
            assert state.step == 6
            return losses, run.parameters(0), state.vectors

    with failing(monkeypatch, ResidentGroup, "run_steps", KeyboardInterrupt, when=interrupt):
        outcomes = together(*(lambda seed=seed: fit_until_interrupted(seed) for seed in range(2)))
    assert len(interrupted) == 1
    assert sum(outcome is None for outcome in outcomes) == 1
    for seed, outcome in enumerate(outcomes):
        if outcome is not None:
            for own, alone in zip(outcome, fit(seed=seed), strict=True):
                assert_array_equal(own, alone)


def test_a_run_is_closed_at_any_time():
    """Before it has begun, with what was submitted, and after it was left by an error."""

    def leave():
        engine = CudaEngine(policy=RESIDENT)
        task = make_task(engine, NETWORK, PROBLEM, batch_size=4)
        with engine.start([]):
            pass
        run = engine.start([task, task])
        assert isinstance(run, FusedRun)
        assert run.wait() == []
        run.submit(0, make_plan(ROWS, 1))
        run.close()
        assert_array_equal(run.parameters(0), task.parameters)
        assert run.optimizer_state(1, 0.01).step == 0
        run.retire(0)
        run = engine.start([task])
        run.advance([make_plan(ROWS, 1)])
        run.submit(0, make_plan(ROWS, 1))
        run.close()
        assert run.optimizer_state(0, 0.01).step == 3
        with suppress(ZeroDivisionError), engine.start([task]) as run:
            run.advance([make_plan(ROWS, 1)])
            raise ZeroDivisionError
        with engine.start([task]) as run, pytest.raises(ValueError, match="rates must have"):
            run.submit(0, EpochPlan(np.tile(np.arange(ROWS), (1, 1)), 0.1, np.ones((1, 9))))
        return "left"

    assert together(leave) == ["left"]


@pytest.mark.parametrize("n_busy", [1, 3])
def test_nobody_is_waited_for_longer_than_a_moment(n_busy, monkeypatch):
    """Not at all where nobody else is busy, else once at the beginning of a fit."""
    monkeypatch.setattr(fusion, "SECONDS_FOR_ONE", LONG if n_busy == 1 else 0.01)
    waits, wait = [], threading.Condition.wait
    came = dispatcher_for(None, RESIDENT)._came

    def waiting(self, timeout=None):
        if self is came:
            waits.append(timeout)
        return wait(self, timeout)

    monkeypatch.setattr(threading.Condition, "wait", waiting)
    pool = Pool(4)
    others = [threading.Event() for _ in range(n_busy - 1)]
    for other in others:
        pool.begin(other)
    ((losses, _, _),) = together(lambda: fit(n_plans=3), pool=pool)
    assert len(losses) == 3
    assert len(waits) == (n_busy > 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_forked_child_does_not_wait_for_its_parents_threads():
    """Somebody else had the turn, and led: the child is told so, and may begin anew."""
    is_open, leads, is_forked = (threading.Event() for _ in range(3))

    def lead():
        assert is_open.wait(LONG)  # a run needs the turn to begin
        with fusion.turn:
            leads.set()
            assert is_forked.wait(LONG)

    def fork():
        engine = CudaEngine(policy=RESIDENT)
        with engine.start([make_task(engine, NETWORK, PROBLEM, batch_size=4)]) as run:
            is_open.set()
            assert leads.wait(LONG)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of threads
                child = os.fork()
            if child == 0:
                status = 1
                try:
                    for call in (run.wait, run.close, lambda: run.parameters(0)):
                        with pytest.raises(RuntimeError, match="forked during a fit"):
                            call()
                    run.__exit__()
                    with belonging_to(Pool(1)):
                        fit()
                    status = 0
                finally:
                    os._exit(status)
            is_forked.set()
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert together(lead, fork) == [None, 0]


def test_turns_are_taken_in_order():
    turn, order = Turn(), []

    def take(name):
        with turn:
            order.append(name)

    threads = []
    with turn, turn:
        for name in "abc":
            threads.append(threading.Thread(target=take, args=[name], daemon=True))
            threads[-1].start()
            while len(turn._queue) < len(threads) + 1:
                time.sleep(0.001)
    take("last")  # who has just had it
    for thread in threads:
        thread.join(LONG)
    assert order == ["a", "b", "c", "last"]
    # Who is interrupted while it waits stands in nobody's way.
    with turn:
        thread = threading.Thread(target=interrupted_taking, args=[turn], daemon=True)
        thread.start()
        thread.join(LONG)
    take("again")
    assert order[-1] == "again"
    assert not turn._queue


def interrupted_taking(turn):
    def interrupt():
        raise KeyboardInterrupt

    turn._changed.wait = interrupt
    try:
        with pytest.raises(KeyboardInterrupt), turn:
            raise AssertionError
    finally:
        del turn._changed.wait


def load(X, targets=None, weight=None, dtype="float64"):
    return CudaEngine().load(X, targets, weight, NETWORK, dtype)


def test_data_are_known_by_their_content():
    problem = X, targets, weight = make_problem(NETWORK, ROWS, seed=9)
    thin = sparse.csr_array(np.where(X > 0, X, 0.0))
    equal = [
        load(*copy_of(problem)),
        load(*copy_of(problem)),
        load(np.asfortranarray(X), targets.copy(), weight),
        load(np.repeat(X, 2, axis=0)[::2], targets, weight),
    ]
    heavier = np.where(np.arange(ROWS) == 2, 2.0 * weight, weight)
    unequal = [
        load(X, targets),
        load(X, targets, heavier),
        load(X, targets[::-1], weight),
        load(X, targets, weight, "float32"),
        load(X.astype(np.float32), targets, weight),
        load(X[::-1], targets, weight),
        load(X[:, ::-1], targets, weight),
        load(thin, targets, weight),
    ]
    thin_again = load(thin.copy(), targets, weight)
    for one in (*equal, *unequal, thin_again):
        one.recognize()
    assert len({one.key for one in equal}) == 1
    assert len({one.key for one in (equal[0], *unequal)}) == 9
    assert thin_again.key == unequal[-1].key
    first, second = equal[:2]
    assert first.matrix is second.matrix
    assert first.device_targets is second.device_targets
    assert first.device_weights is second.device_weights
    assert unequal[1].matrix is first.matrix
    assert unequal[1].device_weights is not first.device_weights
    assert unequal[-1].matrix is thin_again.matrix
    # What is changed afterwards is something else, and what was sent stays what it was.
    expected = first.matrix.values.read()
    first.X[:] = 7.0
    changed = load(first.X, targets, weight)
    changed.recognize()
    assert changed.matrix is not second.matrix
    assert_array_equal(equal[2].matrix.values.read(), expected)
    assert (changed.matrix.values.read() == 7.0).all()
    key = "X", first.dtype, second.key.X
    assert datasets._sent[key] is second.matrix
    del first, second, changed, equal, unequal, thin_again, one
    assert key not in datasets._sent


def test_a_fit_alone_does_not_look_at_its_data(monkeypatch, formed):
    """Nor do several on one data set, or on such as cannot be the same."""
    digests, digest_of = [], datasets.digest_of

    def noting(array):
        digests.append(array.shape)
        return digest_of(array)

    monkeypatch.setattr(datasets, "digest_of", noting)
    fit()
    engine = CudaEngine(policy=RESIDENT)
    tasks = [make_task(engine, NETWORK, PROBLEM, batch_size=4)] * 2
    tasks.append(make_task(engine, NETWORK, make_problem(NETWORK, 5), batch_size=4))
    engine.start(tasks)
    assert formed == [1, 2, 1]
    assert digests == []
    tasks.append(make_task(engine, NETWORK, copy_of(PROBLEM), batch_size=4))
    engine.start(tasks)
    assert formed[3:] == [3, 1]
    assert sorted(digests) == sorted(2 * [array.shape for array in PROBLEM])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_in_threads(formed):
    """With a split, scores of early stopping and predictions between others' launches."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, 3)), np.arange(24) % 2

    def fit_one(alpha):
        model = MLPClassifier(
            (3,), alpha=alpha, max_iter=3, batch_size=8, random_state=0, device="cuda"
        )
        model.set_params(early_stopping=True, validation_fraction=0.25)
        return model.fit(X.copy(), y)

    alphas = (1e-4, 0.1, 1.0)
    models = together(*(lambda alpha=alpha: fit_one(alpha) for alpha in alphas))
    assert formed == [3]
    for model, alpha in zip(models, alphas, strict=True):
        alone = fit_one(alpha)
        assert alone.validation_scores_ == model.validation_scores_
        assert_allclose(alone.coefs_[0], model.coefs_[0], rtol=1e-9, atol=1e-12)
