"""Many fits on threads of one process: the gate, pools, runs, and joblib's backend."""

import contextlib
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from engine_checks import make_problem, make_task
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmlp
from skmlp import MLPClassifier, MLPRegressor
from skmlp._joblib_backend import BLAS, SkmlpBackend
from skmlp.engines.base import EpochPlan
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cpu.compilation import jit
from skmlp.engines.cpu.crew import call_through
from skmlp.engines.cpu.gate import FIRST_IN_QUEUE, FREE, enter, leave, new_gate
from skmlp.engines.pools import (
    IN_WAITING,
    Abandoned,
    Pool,
    available_cores,
    belonging_to,
    current_pool,
)
from skmlp.network.specs import plain_network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture
def four_jobs(monkeypatch):
    """Have joblib count four cores, whatever the machine has."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "4")
    if available_cores() != 4:
        monkeypatch.setattr("skmlp._joblib_backend.available_cores", lambda: 4)
    return 4


ENDLESS = {"tol": 0.0, "n_iter_no_change": 10**6}


def small(**parameters):
    return MLPClassifier((5,), max_iter=8, random_state=0, **parameters)


def in_threads(function, count):
    with ThreadPoolExecutor(count) as executor:
        return list(executor.map(function, range(count)))


# --- The gate ---


@jit()
def pass_through(inside, turns, gate, board, threads, thread):
    """Count who is inside, and how many were at most; as slowly as it takes to be seen."""
    threads = enter(gate, board, threads)
    inside[0] += threads
    most = inside[0]
    for _ in range(turns):
        most = max(most, inside[0])
    inside[0] -= threads
    leave(gate, board)
    return float(most)


def test_no_more_threads_are_inside_than_there_are_places():
    """Counted without atomic operations, which one place at a time makes right."""
    gate, inside = new_gate(1), np.zeros(1, dtype=np.int64)

    def work(_):
        return [call_through(gate, pass_through, inside, 200, threads=1)[0] for _ in range(2000)]

    assert {most for found in in_threads(work, 6) for most in found} == {1.0}
    assert inside[0] == 0
    assert gate[FREE] == 1
    assert gate[FIRST_IN_QUEUE] == 0


def test_places_are_taken_together_or_one_by_one():
    gate, inside = new_gate(3), np.zeros(1, dtype=np.int64)

    def work(i):
        most = [
            call_through(gate, pass_through, inside, 200, threads=1 + (i + k) % 3)[0]
            for k in range(1000)
        ]
        return max(most)

    in_threads(work, 6)
    assert gate[FREE] == 3
    assert gate[FIRST_IN_QUEUE] == 0


def test_more_threads_than_places_have_the_gate_for_themselves():
    gate, inside = new_gate(2), np.zeros(1, dtype=np.int64)
    assert call_through(gate, pass_through, inside, 1, threads=5)[0] == 5
    assert gate[FREE] == 2


def test_time_at_the_gate_is_not_counted(iris):
    """What a fit says of its seconds is what it computed, however many others it waited for."""
    X, y = np.tile(iris[0], (20, 1)), np.tile(iris[1], 20)
    model = MLPClassifier(
        (100,), max_iter=20, random_state=0, n_jobs=1, monitor="seconds", **ENDLESS
    )
    pool = Pool(1)

    def fit(_):
        with belonging_to(pool):
            began = time.perf_counter()
            seconds = clone(model).fit(X, y).history_["seconds"][-1]
            return seconds, time.perf_counter() - began

    counted, waited = np.transpose(in_threads(fit, 6))
    assert counted.max() < 0.6 * waited.max()  # six share one place


def test_time_between_plans_is_that_of_its_fit(iris):
    """What is computed, and what goes with it, ends with max_time; so it always was."""
    model = MLPClassifier((5,), max_iter=10**6, max_time=0.3, random_state=0, **ENDLESS)
    model.fit(*iris)
    began = time.perf_counter()
    model.set_params(restore_best=True).fit(*iris)
    assert time.perf_counter() - began < 1.5


# --- Pools ---


def test_cores_are_shared_among_the_fits_under_way():
    pool = Pool(8)
    assert pool.share(16) == 16  # nobody else
    with pool.working(), pool.working():
        assert pool.share(16) == 4
        assert pool.share(2) == 2
        with contextlib.ExitStack() as others:
            for _ in range(20):
                others.enter_context(pool.working())
            assert pool.share(16) == 1
    assert not pool.busy


def test_a_pool_is_that_of_everybody_until_a_thread_belongs_to_another(iris):
    everyone = current_pool()
    own = Pool(1)
    with belonging_to(own):
        assert current_pool() is own
        assert in_threads(lambda _: current_pool(), 1) == [everyone]
    assert current_pool() is everyone
    small().fit(*iris)
    assert not everyone.busy


def test_counts_survive_failures(iris):
    X, y = iris
    wild = MLPClassifier(solver="sgd", learning_rate_init=1e200, random_state=0)
    with pytest.raises(ValueError, match="diverged"):
        wild.fit(X, y)
    assert not current_pool().busy


def test_an_abandoned_fit_ends_and_changes_nothing(iris):
    X, y = iris
    model = small().fit(X, y)
    before = model.coefs_[0].copy()
    pool = Pool(1)
    pool.is_abandoned = True
    for parameters in ({}, {"solver": "lbfgs"}):
        with belonging_to(pool), pytest.raises(Abandoned):
            model.set_params(**parameters).fit(X, y)
    assert_array_equal(model.coefs_[0], before)


def test_threads_without_joblib_do_not_take_each_others_cores(iris, monkeypatch):
    """As Optuna's do. Their fits equal those of one thread."""
    X, y = np.tile(iris[0], (10, 1)), np.tile(iris[1], 10)
    model = MLPClassifier((64,), max_iter=5, random_state=0, n_jobs=2)
    for limit in ("FLOPS_PER_THREAD", "FLOPS_PER_CALL"):
        monkeypatch.setattr(f"skmlp.engines.cpu.task.{limit}", 1.0)
    expected = clone(model).fit(X, y).coefs_
    for coefs in in_threads(lambda _: clone(model).fit(X, y).coefs_, 4):
        for ours, other in zip(coefs, expected, strict=True):
            assert_array_equal(ours, other)


# --- Runs of several fits ---


@pytest.fixture
def task():
    network = plain_network((6, 5, 3), "relu", "log_loss", "softmax")
    return make_task(CpuEngine(), network, make_problem(network, 150), batch_size=50)


@pytest.fixture
def several(task):
    """Return a run of five fits, and a plan for each."""
    with CpuEngine().start([task] * 5) as run:
        yield run, plan_of(2)


def plan_of(n_epochs):
    return EpochPlan(np.tile(np.arange(150), (n_epochs, 1)), 1e-3)


def wait_for(run, count):
    """Wait for so many plans; return the tasks' numbers."""
    done = []
    while len(done) < count:
        done += [finished.task for finished in run.wait()]
    return sorted(done)


@pytest.mark.skipif(available_cores() < 2, reason="one core computes one after the other")
def test_fits_of_a_run_do_not_wait_for_each_other(several, task):
    run, plan = several
    run.submit(0, plan_of(5000))
    for index in (1, 2, 3, 4):
        run.submit(index, plan)
    assert wait_for(run, 4) == [1, 2, 3, 4]
    run.submit(run.add(task), plan)  # more may join while the long one goes on
    assert wait_for(run, 1) == [5]
    run.retire(1)
    with pytest.raises(LookupError, match="Task 1 has been retired"):
        run.parameters(1)
    for index in (3, 4, 5):
        assert_array_equal(run.parameters(index), run.parameters(2))
    assert wait_for(run, 1) == [0]


def test_where_no_threads_can_be_had_the_caller_computes(several, monkeypatch):
    run, plan = several

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for index in range(5):
        run.submit(index, plan)
    assert wait_for(run, 5) == list(range(5))


@pytest.mark.skipif(available_cores() < 2, reason="one core has no helpers")
def test_an_interrupt_while_helpers_start_leaves_none(several, monkeypatch):
    run, plan = several
    start, started = threading.Thread.start, []

    def interrupted(thread):
        start(thread)
        started.append(thread)
        if len(started) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    for index in range(5):
        run.submit(index, plan)
    with pytest.raises(KeyboardInterrupt):
        wait_for(run, 5)
    run.close()
    assert len(started) == 2
    assert not any(thread.is_alive() for thread in started)
    assert np.isfinite(run.parameters(0)).all()


@pytest.mark.skipif(available_cores() < 2, reason="one core has no helpers")
def test_an_error_in_a_helper_is_that_of_the_run(several):
    run, plan = several
    for index in range(4):
        run.submit(index, plan)
    run.submit(4, EpochPlan(plan.orders, 0.1, np.ones((1, 1))))
    with pytest.raises(ValueError, match="rates must have shape"):
        wait_for(run, 5)


def test_a_task_that_rests_leaves_its_cores_to_others(several):
    run, plan = several
    pool = current_pool()
    assert pool.busy == 5
    for index in range(4):
        run.rest(index)
    assert (pool.busy, pool.share(pool.cores)) == (1, pool.cores)
    run.submit(0, plan)
    assert pool.busy == 2
    assert wait_for(run, 1) == [0]
    run.close()
    assert not pool.busy


def test_what_a_worker_counts_for_does_not_rest(task):
    own = Pool(2)
    with belonging_to(own), own.working(), CpuEngine().start([task, task]) as run:
        assert own.busy == 2  # the first one is the worker's
        run.rest(0)
        run.submit(0, plan_of(1))
        assert own.busy == 2
        run.rest(1)
        assert own.busy == 1
        assert wait_for(run, 1) == [0]


# --- Patience inside the engine ---


@pytest.mark.parametrize(
    "parameters",
    [
        {"tol": 1e-2},
        {"tol": 0.5, "n_iter_no_change": 3, "min_iter": 20},
        {"tol": 0.05, "shuffle": False},
        {"tol": 0.5, "n_iter_no_change": 1, "batch_size": 16},
        {"tol": 0.02, "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1},
        {"tol": 0.1, "learning_rate": "cosine"},
        {"tol": 0.3, "warm_start": True, "n_iter_no_change": 4},
    ],
)
def test_patience_ends_a_plan_where_it_ends_an_epoch(iris, monkeypatch, parameters):
    """The same epochs, weights and random numbers as when every epoch is a plan of its own."""
    X, y = iris

    def fits():
        state = np.random.RandomState(7)
        model = MLPClassifier((6,), max_iter=300, random_state=state, **parameters)
        for _ in range(2):
            model.fit(X, y)
        return model, state.randint(2**31)

    together, number = fits()
    monkeypatch.setattr("skmlp.training.loop.SECONDS_PER_PLAN", 1e-12)
    apart, expected = fits()
    assert together.loss_curve_ == apart.loss_curve_
    assert together.n_iter_ == apart.n_iter_ < 300
    assert together.stop_reason_ == apart.stop_reason_
    assert number == expected
    for ours, other in zip(together.coefs_, apart.coefs_, strict=True):
        assert_array_equal(ours, other)


@pytest.mark.parametrize("shared", [None, "generator"])
def test_a_generator_that_others_have_too_is_never_set_back(iris, shared):
    """Else two of several fits on threads could draw the same numbers."""
    X, y = iris
    state = np.random.RandomState(0) if shared else np.random.mtrand._rand
    drawn, stop = [], threading.Event()

    def draw():
        while not stop.is_set():
            drawn.append(int(state.randint(2**62)))
            time.sleep(0)

    thread = threading.Thread(target=draw)
    thread.start()
    model = MLPClassifier((4,), max_iter=60, tol=0.5, n_iter_no_change=2)
    for _ in range(15):
        clone(model).set_params(random_state=state if shared else None).fit(X, y)
    stop.set()
    thread.join()
    assert len(set(drawn)) == len(drawn)


def test_a_small_fit_is_few_calls(iris, monkeypatch):
    calls = []
    start = CpuEngine.start

    def counted(self, tasks):
        run = start(self, tasks)
        submit = run.submit

        def noted(index, plan):
            calls.append(plan.orders.shape[0])
            submit(index, plan)

        run.submit = noted
        return run

    monkeypatch.setattr(CpuEngine, "start", counted)
    MLPClassifier((5,), max_iter=50, random_state=0).fit(*iris)
    assert sum(calls) == 50
    assert len(calls) <= 2


# --- The backend ---


def fitted(search):
    """What a search found, without times."""
    results = search.cv_results_
    return {name: results[name] for name in results if "time" not in name and "param" not in name}


SEARCHES = {
    "grid": lambda model: GridSearchCV(model, {"mlpclassifier__alpha": [1e-4, 1e-2, 1.0]}, cv=3),
    "random": lambda model: RandomizedSearchCV(
        model, {"mlpclassifier__alpha": [1e-4, 1e-2, 1.0]}, n_iter=2, cv=3, random_state=0
    ),
    "halving": lambda model: HalvingGridSearchCV(
        model, {"mlpclassifier__alpha": [1e-4, 1e-2, 1.0]}, cv=2, random_state=0
    ),
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_searches_give_what_they_give_one_after_the_other(iris, kind, four_jobs):
    search = SEARCHES[kind](make_pipeline(StandardScaler(), small()))
    expected = fitted(clone(search).fit(*iris))
    with parallel_config("skmlp"):
        found = fitted(clone(search).fit(*iris))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_array_equal(found[name], values)


MODELS = {
    "bagging": lambda: BaggingClassifier(small(), 5, random_state=0, n_jobs=-1),
    "one against the rest": lambda: OneVsRestClassifier(small(), n_jobs=-1),
    "stacking": lambda: StackingClassifier(
        [("net", small()), ("line", LogisticRegression())], LogisticRegression(), n_jobs=-1
    ),
    "a search in bagging": lambda: BaggingClassifier(
        GridSearchCV(small(), {"alpha": [0.1, 1.0]}, cv=2, n_jobs=2), 2, random_state=0, n_jobs=-1
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_other_users_of_joblib(iris, kind, four_jobs):
    X, y = iris
    expected = MODELS[kind]().fit(X, y).predict_proba(X)
    with parallel_config("skmlp"):
        found = MODELS[kind]().fit(X, y).predict_proba(X)
    if kind == "bagging":  # adds up what each job has averaged, so that their number shows
        assert_allclose(found, expected, rtol=1e-14)
    else:
        assert_array_equal(found, expected)


def test_cross_validation_curves_and_several_outputs(iris, four_jobs):
    X, y = iris
    regressor = MultiOutputRegressor(MLPRegressor(hidden_layer_sizes=(4,), max_iter=5), n_jobs=-1)
    regressor.estimator.set_params(random_state=0)
    expected = (
        cross_validate(small(), X, y)["test_score"],
        *learning_curve(small(), X, y, train_sizes=[0.5, 1.0], shuffle=True, random_state=0)[1:],
        clone(regressor).fit(X, X[:, :2]).predict(X),
    )
    with parallel_config("skmlp"):
        found = (
            cross_validate(small(), X, y)["test_score"],
            *learning_curve(small(), X, y, train_sizes=[0.5, 1.0], shuffle=True, random_state=0)[
                1:
            ],
            clone(regressor).fit(X, X[:, :2]).predict(X),
        )
    for ours, other in zip(found, expected, strict=True):
        assert_array_equal(ours, other)


def workers():
    return [t for t in threading.enumerate() if t.name == "skmlp-worker"]


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_jobs_are_cores_and_threads_are_more(four_jobs):
    backend = SkmlpBackend()
    assert backend.effective_n_jobs(1) == backend.effective_n_jobs(None) == 1
    assert backend.effective_n_jobs(2) == 2
    assert backend.effective_n_jobs(-1) == four_jobs
    assert backend.configure(2) == 2 + IN_WAITING
    assert backend.configure(1) == 1
    with pytest.raises(ValueError, match=r"n_jobs == 0 .* Use -1"):
        backend.effective_n_jobs(0)
    with pytest.raises(TypeError, match=r"no option 'cores'.*n_jobs"):
        parallel_config("skmlp", cores=2)
    with parallel_config("skmlp"):
        seen = Parallel(n_jobs=2)(delayed(about_this_thread)() for _ in range(20))
    pools = {pool for _, pool, _ in seen}
    assert len(pools) == 1
    assert pools.pop().cores == 2
    assert len({name for name, _, _ in seen}) <= 2 + IN_WAITING
    assert {nested for _, _, nested in seen} == {"SequentialBackend"}
    wait_until(lambda: not workers())


def about_this_thread():
    time.sleep(0.002)
    nested = type(joblib.parallel.get_active_backend()[0]).__name__
    return threading.get_ident(), current_pool(), nested


def test_one_job_is_done_by_the_caller():
    with parallel_config("skmlp"):
        (thread,) = Parallel(n_jobs=1)([delayed(threading.get_ident)()])
    assert thread == threading.get_ident()


def test_memory_is_shared_and_order_kept():
    written = []
    with parallel_config("skmlp"):
        results = Parallel(n_jobs=3, require="sharedmem")(
            delayed(lambda i: written.append(i) or i)(i) for i in range(50)
        )
    assert results == list(range(50))
    assert sorted(written) == results


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_generators(return_as):
    with parallel_config("skmlp"):
        results = Parallel(n_jobs=2, return_as=return_as)(delayed(abs)(-i) for i in range(30))
        assert sorted(results) == list(range(30))


def test_pre_dispatch_takes_no_more_than_it_should():
    taken = []

    def jobs():
        for i in range(100):
            taken.append(i)
            yield delayed(time.sleep)(0.001)

    with parallel_config("skmlp"):
        results = Parallel(n_jobs=2, pre_dispatch="n_jobs", return_as="generator")(jobs())
        next(results)
        assert len(taken) < 100
        list(results)
    assert len(taken) == 100


def test_an_exception_ends_the_call_and_says_where_it_was():
    def fail(i):
        if i == 3:
            raise RuntimeError("number three")
        time.sleep(0.001)

    with parallel_config("skmlp"), Parallel(n_jobs=2) as parallel:
        for _ in range(2):  # it can be used again
            with pytest.raises(RuntimeError, match="number three") as caught:
                parallel(delayed(fail)(i) for i in range(1000))
            assert "in fail" in caught.value.__notes__[0]
            # joblib itself begins with what it had prepared for the call before.
            assert parallel(delayed(abs)(-i) for i in range(5))[-5:] == list(range(5))


def test_a_failing_fit_is_one_of_its_search(iris):
    grid = {"learning_rate_init": [1e-3, 1e200]}
    search = GridSearchCV(small(solver="sgd"), grid, cv=2, n_jobs=2, refit=False)
    with parallel_config("skmlp"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = search.fit(*iris).cv_results_["mean_test_score"]
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1])


LONG = {"hidden_layer_sizes": (64,), "max_iter": 10**6, "random_state": 0, **ENDLESS}


def test_after_a_timeout_fits_end_soon(iris):
    model = MLPClassifier(**LONG)
    with parallel_config("skmlp"), pytest.raises(multiprocessing.TimeoutError):
        Parallel(n_jobs=2, timeout=0.3)(delayed(clone(model).fit)(*iris) for _ in range(10))
    wait_until(lambda: not workers())
    assert not current_pool().busy


def test_an_abandoned_generator_ends_its_fits(iris):
    jobs = [delayed(abs)(1), *(delayed(MLPClassifier(**LONG).fit)(*iris) for _ in range(6))]
    with parallel_config("skmlp"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = Parallel(n_jobs=2, return_as="generator")(jobs)
        assert next(results) == 1
        del results
        gc.collect()
    wait_until(lambda: not workers())


INTERRUPTED = """
import os, signal, threading, time, warnings
import joblib, numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from skmlp import MLPClassifier
warnings.simplefilter("ignore")
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs of shells
X, y = load_iris(return_X_y=True)
model = MLPClassifier((64,), max_iter=10**6, tol=0, n_iter_no_change=10**6, random_state=0)
MLPClassifier((64,), max_iter=2).fit(X, y)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    with joblib.parallel_config("skmlp"):
        GridSearchCV(model, {"alpha": [1.0, 2.0]}, n_jobs=2).fit(X, y)
except KeyboardInterrupt:
    print("interrupted")
while any(t.name == "skmlp-worker" for t in threading.enumerate()):
    assert time.monotonic() - began < 20
    time.sleep(0.01)
print(MLPClassifier((4,), max_iter=2, random_state=0).fit(X, y).n_iter_)
"""


def run_code(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_ends_a_search_and_its_fits():
    assert run_code(INTERRUPTED) == ["interrupted", "2"]


FORKED = """
import os, threading, time, warnings
import joblib
from sklearn.datasets import load_iris
from skmlp import MLPClassifier
warnings.simplefilter("ignore")
X, y = load_iris(return_X_y=True)
model = MLPClassifier((64,), max_iter=300, tol=0, n_iter_no_change=10**6, random_state=0)
model.fit(X, y)

def fork():
    child = os.fork()
    if child == 0:
        MLPClassifier((4,), max_iter=2).fit(X, y)
        os._exit(0)
    return os.waitpid(child, 0)[1]

with joblib.parallel_config("skmlp"):
    jobs = [joblib.delayed(model.fit)(X, y) for _ in range(6)]
    results = joblib.Parallel(n_jobs=2, return_as="generator")(jobs)
    codes = [fork() for _ in range(3)]
    list(results)
    codes += joblib.Parallel(n_jobs=2)(joblib.delayed(fork)() for _ in range(4))
print(codes == [0] * 7)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_child_fits_while_its_parent_does():
    assert run_code(FORKED) == ["True"]


def test_ends_with_the_process():
    """Threads that still compute, or wait at the gate, do not hold up the interpreter's end."""
    code = INTERRUPTED[: INTERRUPTED.index("while any")]
    assert run_code(code) == ["interrupted"]


def test_blas_is_limited_while_calls_last():
    from threadpoolctl import threadpool_info

    def counts():
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    before = counts()
    with parallel_config("skmlp", inner_max_num_threads=1):
        inside = Parallel(n_jobs=2)(delayed(counts)() for _ in range(4))
    assert {1} == {count for one in inside for count in one}
    assert counts() == before
    BLAS.limit(1)
    BLAS.limit(1)
    BLAS.unlimit()
    assert set(counts()) == {1}
    BLAS.unlimit()
    assert counts() == before


def test_patch_joblib():
    before = joblib.parallel.DEFAULT_BACKEND
    try:
        skmlp.patch_joblib()
        skmlp.patch_joblib()
        seen = Parallel(n_jobs=2)(delayed(about_this_thread)() for _ in range(3))
        assert threading.get_ident() not in {thread for thread, _, _ in seen}
        assert current_pool() not in {pool for _, pool, _ in seen}
        # One job is still the default.
        assert Parallel()([delayed(threading.get_ident)()]) == [threading.get_ident()]
    finally:
        skmlp.unpatch_joblib()
        skmlp.unpatch_joblib()
    assert before == joblib.parallel.DEFAULT_BACKEND


def test_environment_variable():
    code = "import skmlp, joblib; print(joblib.parallel.DEFAULT_BACKEND)"
    assert run_code(code, SKMLP_JOBLIB="1") == ["skmlp"]
    assert run_code(code, SKMLP_JOBLIB="0") == ["loky"]


def test_processes_keep_to_their_cores(iris):
    with parallel_config("loky", n_jobs=2):
        threads = Parallel()(delayed(threads_of_a_fit)() for _ in range(2))
    assert threads == [1, 1]


def threads_of_a_fit():
    return CpuEngine()._threads


def test_a_search_in_a_thread_of_a_search(iris):
    def search(_):
        with parallel_config("skmlp"):
            inner = GridSearchCV(small(), {"alpha": [0.1, 1.0]}, cv=2, n_jobs=2)
            return cross_validate(inner, *iris, cv=2, n_jobs=2)["test_score"]

    expected = search(0)
    for scores in in_threads(search, 3):
        assert_array_equal(scores, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tasks")
def test_nothing_hangs(iris):
    """Searches that end in every way, one after the other and several at once."""
    rng = np.random.default_rng(0)
    X, y = iris

    def one(seed):
        own = np.random.default_rng(seed)
        model = small(solver=own.choice(["adam", "lbfgs"]))
        n_jobs = int(own.integers(1, 5))

        def job(i):
            if own.random() < 0.02:
                raise RuntimeError
            return clone(model).fit(X, y).n_iter_

        options = {"timeout": 0.05} if own.random() < 0.2 else {}
        with (
            parallel_config("skmlp"),
            contextlib.suppress(RuntimeError, multiprocessing.TimeoutError),
        ):
            results = Parallel(n_jobs=n_jobs, return_as="generator", **options)(
                delayed(job)(i) for i in range(int(own.integers(1, 40)))
            )
            for _ in range(int(own.integers(1, 50))):
                if next(results, None) is None:
                    break
            results.close()

    seconds = float(os.environ.get("SKMLP_STRESS_SECONDS", "5"))
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with ThreadPoolExecutor(3) as executor:
            list(executor.map(one, rng.integers(2**31, size=6)))
    wait_until(lambda: not workers())
