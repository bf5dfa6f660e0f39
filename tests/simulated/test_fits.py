"""Fits in the simulator against the reference engine, on both paths and in all circumstances."""

from itertools import product, zip_longest

import numpy as np
import pytest
from engine_checks import (
    CUDA_HIDDEN,
    CUDA_STOCHASTIC,
    PROBLEMS,
    TOLERANCE,
    assert_same_run,
    check_against_reference,
    make_plan,
    make_problem,
    make_task,
    plain_networks,
    run_epochs,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skmlp.engines.base import EpochPlan, KeyedOrders
from skmlp.engines.cuda import batched, kernels, paths, resident, tables
from skmlp.engines.cuda import run as runs
from skmlp.engines.cuda.batched import BatchedGroup
from skmlp.engines.cuda.engine import CudaEngine
from skmlp.engines.cuda.paths import BY_ESTIMATE, PathPolicy
from skmlp.engines.cuda.programs import ProgramGroup
from skmlp.engines.cuda.resident_group import ResidentGroup
from skmlp.engines.cuda.runtime import SimulatedRuntime
from skmlp.engines.cuda.vocabulary import KNOWN_LOSSES
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.specs import plain_network

PATHS = {
    "batched": BatchedGroup,
    "programs": ProgramGroup,
    "resident": ResidentGroup,
    "team": ResidentGroup,
}
# Programs share their steps with the batched path, and are drawn from in `test_programs.py`.
OF_PLAIN_NETWORKS = sorted(set(PATHS) - {"programs"})
every_path = pytest.mark.parametrize("path", PATHS)
SMALL = {
    "network": plain_networks(CUDA_HIDDEN, KNOWN_LOSSES),
    "n_samples": st.integers(1, 40),
    "batch_size": st.integers(1, 40),
    "solver": st.sampled_from(CUDA_STOCHASTIC),
}
# Each once: formulas are chosen apart from each other.
FORMULAS = list(zip_longest(CUDA_HIDDEN, KNOWN_LOSSES))
NETWORK = plain_network((6, 9, 5, 3), "tanh", "log_loss", "softmax")


@pytest.fixture(params=OF_PLAIN_NETWORKS)
def path(request):
    """Return a path that all fits shall take."""
    return request.param


def make_engine(path):
    """Return an engine whose fits take a path."""
    if path == "team":  # it has more members than a short batch has rows for
        return CudaEngine(policy=PathPolicy("resident", 3))
    return CudaEngine(policy=PathPolicy(path, 1))


@pytest.fixture
def few_shared_bytes(monkeypatch):
    monkeypatch.setattr(SimulatedRuntime, "shared_bytes", 4000)


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(**{**PROBLEMS, **SMALL})
def test_equals_reference(path, **problem):
    check_against_reference(lambda: make_engine(path), **problem)


@pytest.mark.parametrize(("activation", "key"), FORMULAS)
def test_every_formula(path, activation, key):
    network = plain_network((4, 5, 3), activation or "tanh", *(key or KNOWN_LOSSES[0]))
    problem = make_problem(network, 11)
    for solver in CUDA_STOCHASTIC:
        options = {"batch_size": 4, "solver": solver}
        actual = run_epochs(make_engine(path), network, problem, **options)
        expected = run_epochs(ReferenceEngine(), network, problem, **options)
        assert_allclose(actual[0], expected[0], rtol=1e-11)
        assert_allclose(actual[1], expected[1], rtol=1e-9, atol=1e-12)
        assert_allclose(actual[2].vectors, expected[2].vectors, rtol=1e-9, atol=1e-12)


@every_path
def test_rates_of_batches(path):
    """Those of batches without weight are passed over with them; of two fits one has one rate."""
    X, targets, weight = make_problem(NETWORK, 10)
    weight[4:8] = 0.0
    orders = np.tile(np.arange(10), (2, 1))
    rates = np.random.default_rng(0).uniform(0.0, 0.1, size=(2, 3))
    plans = [EpochPlan(orders, 0.01, rates), EpochPlan(orders, 0.02)]
    results = []
    for compute in (make_engine(path), ReferenceEngine()):
        task = make_task(compute, NETWORK, (X, targets, weight), batch_size=4, solver="sgd")
        run = compute.start([task, task])
        losses = [result.losses for result in run.advance(plans)]
        # Then neither has another one's.
        losses += [result.losses for result in run.advance([plans[1], None]) if result]
        results.append((losses, [run.parameters(i) for i in range(2)]))
    for actual, expected in zip(*results, strict=True):
        assert_allclose(actual, expected, rtol=1e-10, atol=1e-13)
    run = make_engine(path).start([make_task(CudaEngine(), NETWORK, (X, targets, weight))])
    with pytest.raises(ValueError, match=r"rates must have shape \(2, 2\), got \(2, 3\)"):
        run.advance(plans[:1])


@every_path
def test_a_list_of_unlike_fits(path):
    """Other shapes, formulas, data, batches, numbers of epochs; some are left alone or retired."""
    shapes = [
        ((6, 9, 5, 3), "tanh"),
        ((6, 4, 3), "relu"),
        ((6, 3), "identity"),
        ((6, 9, 3), "tanh"),
    ]
    problems = [make_problem(NETWORK, 17), make_problem(NETWORK, 12, seed=1, density=0.4)]
    plans = [make_plan(17, 2), make_plan(12, 1, seed=3), None, make_plan(12, 3, seed=4)] * 2
    results = []
    for compute in (make_engine(path), ReferenceEngine()):
        data = [compute.load(*problem, NETWORK, "float64") for problem in problems]
        tasks = []
        for i, (units, activation) in enumerate(shapes * 2):
            network = plain_network(units, activation, "log_loss", "softmax")
            task = make_task(
                compute,
                network,
                problems[i % 2],
                batch_size=3 + i,
                solver=["adam", "sgd"][i // 4],
                seed=i,
            )
            vars(task)["data"] = data[i % 2]
            tasks.append(task)
        run = compute.start(tasks)
        if isinstance(compute, CudaEngine):
            assert {type(group) for group, _ in run._members} == {PATHS[path]}
        first = run.advance(plans)
        run.retire(0)
        second = run.advance([None, *plans[1:]])
        assert second[0] is None
        assert (first[2], second[2]) == (None, None)
        losses = [r.losses for r in first + second if r is not None]
        parameters = [run.parameters(i) for i in range(1, 8)]
        results.append((losses, parameters))
    for actual, expected in zip(*results, strict=True):
        for one, other in zip(actual, expected, strict=True):
            assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("few_shared_bytes")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("density", [None, 0.4])
def test_a_batch_in_pieces(path, dtype, density, monkeypatch):
    """Slabs of the batched path; in the resident one pieces, and memory that lies outside."""
    monkeypatch.setattr(batched, "slab_rows", lambda *_: 5)
    problem = make_problem(NETWORK, 45, density=density)
    options = {"batch_size": 40}
    actual = run_epochs(make_engine(path), NETWORK, problem, dtype=dtype, **options)
    expected = run_epochs(ReferenceEngine(), NETWORK, problem, **options)
    assert_allclose(actual[0], expected[0], rtol=TOLERANCE[dtype])
    if dtype == "float64":
        assert_allclose(actual[1], expected[1], rtol=1e-9, atol=1e-12)


def test_how_much_is_shared(monkeypatch):
    """From everything in shared memory to nothing, the result is the same."""
    problem = make_problem(NETWORK, 30)
    places, results = [], []
    for shared_bytes in (200_000, 8_000, 6_000, 4_400, 1_000):
        monkeypatch.setattr(SimulatedRuntime, "shared_bytes", shared_bytes)
        compute = make_engine("resident")
        task = make_task(compute, NETWORK, problem, batch_size=8)
        run = compute.start([task])
        ((group, _),) = run._members
        model = group._models[0]
        places.append(
            [
                int(model[column] >= 0)
                for column in (
                    resident.SHARED_WORK,
                    resident.SHARED_PARAMETERS,
                    resident.SHARED_GRADIENT,
                    resident.SHARED_STATE,
                )
            ]
        )
        run.advance([make_plan(30)])
        results.append(run.parameters(0))
    assert places == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    for result in results[1:]:
        assert_array_equal(result, results[0])


def test_the_paths_agree():
    problem = make_problem(NETWORK, 30)
    results = []
    for path in PATHS:
        results.append(run_epochs(make_engine(path), NETWORK, problem, batch_size=8))
    for result in results[1:]:
        assert_allclose(result[1], results[0][1], rtol=1e-12, atol=1e-14)


def test_more_models_than_a_grid_has_room_for(monkeypatch):
    monkeypatch.setattr(paths, "MOST_MODELS", 2)
    problem = make_problem(NETWORK, 12)
    results = []
    for compute in (make_engine("batched"), ReferenceEngine()):
        task = make_task(compute, NETWORK, problem)
        run = compute.start([task] * 5)
        if isinstance(compute, CudaEngine):
            assert [numbers for _, numbers in run._members] == [[0, 1], [2, 3], [4]]
        run.advance([make_plan(12, seed=i) for i in range(5)])
        results.append([run.parameters(i) for i in range(5)])
    assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-12)


def test_rows_count_in_the_first_dimension_of_a_grid(monkeypatch):
    """It alone may be longer than 65535: the gradient's rows are the features."""
    monkeypatch.setattr(batched, "LARGE_TILES_PER_MULTIPROCESSOR", 10**9)
    grids = {}
    launch = SimulatedRuntime.launch

    def noting_launch(self, kernel, grid, *arguments, **options):
        grids.setdefault(kernel.name.split("-")[0], []).append(grid)
        launch(self, kernel, grid, *arguments, **options)

    monkeypatch.setattr(SimulatedRuntime, "launch", noting_launch)
    network = plain_network((50, 7, 3), "relu", "log_loss", "softmax")
    run_epochs(
        make_engine("batched"), network, make_problem(network, 20), make_plan(20, 1), batch_size=20
    )
    tile = kernels.tiles("float64")[0]
    assert (tile.rows, tile.columns) == (16, 4)
    assert grids["forward"] == [(2, 2, 1), (2, 1, 1)]
    assert grids["gradient"] == [(4, 2, 1), (1, 1, 1)]


def test_all_tiles_agree(monkeypatch):
    """Small ones, small ones in slices, and large ones."""
    network = plain_network((13, 40, 30, 11), "relu", "squared_error", "identity")
    problem = make_problem(network, 70)
    small, large = kernels.tiles("float64")
    many, launch = 10**9, SimulatedRuntime.launch
    results = []
    for tile, n_large, n_few in (
        (small, many, 0),
        (kernels.deep_tile(), many, many),
        (large, 0, 0),
    ):
        monkeypatch.setattr(batched, "LARGE_TILES_PER_MULTIPROCESSOR", n_large)
        monkeypatch.setattr(batched, "FEW_TILES_PER_MULTIPROCESSOR", n_few)
        used = set()

        def noting_launch(self, kernel, *arguments, _used=used, **options):
            _used.add(kernel.name)
            launch(self, kernel, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(SimulatedRuntime, "launch", noting_launch)
            plan = make_plan(70, 1)
            results.append(
                run_epochs(make_engine("batched"), network, problem, plan, batch_size=66)
            )
        assert {f"{role}-float64-{tile.name}" for role in kernels.ROLES} <= used
    for result in results[1:]:
        assert_allclose(result[1], results[0][1], rtol=1e-12, atol=1e-14)


def test_choosing_a_tile():
    """Large ones where there are enough, slices where there are few and the product is deep."""
    device = SimulatedRuntime()
    device.multiprocessors = 8
    batch = object.__new__(batched.Batch)
    batch.runtime, batch.dtype, batch.precision, batch.n_models = device, "float32", None, 1
    small, large = kernels.tiles("float32")
    deep = kernels.deep_tile()
    assert (large.rows, small.rows) == (32, 16)
    assert batch._tile(128, 3, 16) is large
    assert batch._tile(256, 3, 4) is small  # as narrow as a small one
    assert batch._tile(32, 4, 16) is small  # not deep
    assert batch._tile(32, 50, 16) is deep
    batch.n_models = 2
    assert batch._tile(32, 50, 16) is deep  # 16 tiles
    batch.n_models = 3
    assert batch._tile(32, 50, 16) is small
    batch.precision = "tf32"
    assert batch._tile(32, 50, 16) is kernels.tiles("float32", "tf32")[0]


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 2e-3), ("bf16", 2e-2)])
@pytest.mark.parametrize("density", [None, 0.4])
def test_precision_of_products(precision, tolerance, density):
    """Factors keep 11 or 8 bits: errors of 5e-4 or 4e-3 each, which partly cancel in the sums."""
    network = plain_network((5, 35, 3), "tanh", "squared_error", "identity")
    problem = make_problem(network, 40, density=density)
    options = {"batch_size": 36, "solver": "sgd", "plan": make_plan(40, 1)}
    actual = run_epochs(CudaEngine(precision), network, problem, dtype="float32", **options)
    exact = run_epochs(CudaEngine(), network, problem, dtype="float32", **options)
    expected = run_epochs(ReferenceEngine(), network, problem, **options)
    assert_allclose(actual[0], expected[0], rtol=tolerance)
    scale = np.abs(expected[1]).max()
    assert_allclose(actual[1], expected[1], atol=tolerance * scale, rtol=0)
    assert np.abs(actual[1] - expected[1]).max() > 3 * np.abs(exact[1] - expected[1]).max()


def test_precision_is_refused_where_it_cannot_be(monkeypatch):
    problem = make_problem(NETWORK, 10)
    with pytest.raises(ValueError, match=r"precision='tf32' .* dtype='float64'.*precision=None"):
        run_epochs(CudaEngine("tf32"), NETWORK, problem)
    monkeypatch.setattr(SimulatedRuntime, "capability", (7, 5))
    with pytest.raises(ValueError, match=r"precision='bf16' needs compute capability 8\.0"):
        run_epochs(CudaEngine("bf16"), NETWORK, problem, dtype="float32")


def test_orders_that_the_device_draws(path):
    rows = np.random.default_rng(5).permutation(23)[:19]
    others = np.arange(3, 21)
    problem = make_problem(NETWORK, 23)
    results = []
    for explicit in (True, False):
        compute = make_engine(path)
        tasks = [make_task(compute, NETWORK, problem, batch_size=4) for _ in range(3)]
        for task in tasks:
            vars(task)["data"] = tasks[0].data
        run = compute.start(tasks)
        losses = []
        for first_epoch in (0, 2):
            drawn = [
                KeyedOrders(rows, 4_000_000_000, first_epoch, 2),
                KeyedOrders(others, 17, first_epoch, 2),
                KeyedOrders(rows, 17, first_epoch + 5, 1),
            ]
            orders = [keyed.explicit() if explicit else keyed for keyed in drawn]
            plans = [EpochPlan(order, 0.01) for order in orders]
            losses.append([result.losses for result in run.advance(plans)])
        results.append((losses, [run.parameters(i) for i in range(3)]))
    assert results[0][0] == results[1][0]
    for one, other in zip(results[0][1], results[1][1], strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_calls_of_any_number_of_steps(path, steps, monkeypatch):
    """Python may take over after any step, in the middle of an epoch, and also of a graph."""
    problem = make_problem(NETWORK, 29)
    expected = run_epochs(make_engine(path), NETWORK, problem, batch_size=4)
    monkeypatch.setattr(runs, "SECONDS_PER_CALL", 0.0)
    monkeypatch.setattr(PATHS[path], "steps_per_call", steps)
    actual = run_epochs(make_engine(path), NETWORK, problem, batch_size=4)
    assert_same_run(actual, expected)


def test_a_call_is_as_long_as_python_may_wait(path, monkeypatch):
    """Learned from whole calls only: plans that end early do not say how long more would take."""
    clock = iter(range(10**6))
    monkeypatch.setattr(runs.time, "perf_counter", lambda: 0.001 * next(clock))
    problem = make_problem(NETWORK, 8)
    compute = make_engine(path)
    run = compute.start([make_task(compute, NETWORK, problem, batch_size=4)])
    ((group, _),) = run._members
    for _ in range(12):
        run.advance([make_plan(8, 1)])
    assert group.steps_per_call == PATHS[path].steps_per_call
    run.advance([make_plan(8, 10)])  # its first call takes a millisecond
    assert group.steps_per_call == 8 * PATHS[path].steps_per_call
    monkeypatch.setattr(runs.time, "perf_counter", lambda: 10.0 * next(clock))
    run.advance([make_plan(8, 1)])
    assert group.steps_per_call == 1


@every_path
def test_an_interrupted_call_leaves_whole_steps(path, monkeypatch):
    problem = make_problem(NETWORK, 29)
    group = PATHS[path]
    monkeypatch.setattr(runs, "SECONDS_PER_CALL", 0.0)
    monkeypatch.setattr(group, "steps_per_call", 1)
    run_steps, calls = group.run_steps, []

    def interrupted(self, n_steps):
        calls.append(n_steps)
        run_steps(self, n_steps)
        if len(calls) == 3:
            raise KeyboardInterrupt

    compute = make_engine(path)
    task = make_task(compute, NETWORK, problem, batch_size=4)
    run = compute.start([task])
    plan = make_plan(29)
    with monkeypatch.context() as patch:
        patch.setattr(group, "run_steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.advance([plan])
    state = run.optimizer_state(0, 0.01)
    assert state.step == 3
    first_batches = EpochPlan(plan.orders[:1, :12], 0.01)
    expected = run_epochs(make_engine(path), NETWORK, problem, first_batches, batch_size=4)
    assert_array_equal(run.parameters(0), expected[1])
    assert_array_equal(state.vectors, expected[2].vectors)
    # The same run goes on with whatever plan comes next.
    assert run.advance([plan])[0].finite


@every_path
def test_a_batch_without_weight_is_passed_over(path):
    X, targets, weight = make_problem(NETWORK, 12)
    weight[4:8] = 0.0
    plan = EpochPlan(np.tile(np.arange(12), (2, 1)), 0.01)
    problem = X, targets, weight
    actual = run_epochs(make_engine(path), NETWORK, problem, plan, batch_size=4)
    expected = run_epochs(ReferenceEngine(), NETWORK, problem, plan, batch_size=4)
    assert actual[2].step == expected[2].step == 4
    assert_allclose(actual[0], expected[0], rtol=1e-12)
    assert_allclose(actual[1], expected[1], rtol=1e-10, atol=1e-13)


def test_weights_of_one_are_no_weights(path):
    X, targets, _ = make_problem(NETWORK, 12)
    plain = run_epochs(make_engine(path), NETWORK, (X, targets, None), batch_size=5)
    weighted = run_epochs(make_engine(path), NETWORK, (X, targets, np.ones(12)), batch_size=5)
    assert_array_equal(plain[1], weighted[1])


@every_path
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_diverging_fit_ends_with_its_epoch_and_alone(path):
    """The loss of its first batch is not finite; its neighbor does not notice."""
    X, targets, _ = make_problem(NETWORK, 12)
    X[5] = 1e300
    network = plain_network((6, 4, 3), "relu", "squared_error", "identity")
    targets = np.tile(targets, (1, 3))
    compute = make_engine(path)
    tasks = [make_task(compute, network, (X, targets, None), batch_size=4) for _ in range(2)]
    vars(tasks[1])["data"] = tasks[0].data
    orders = np.array([[0, 1, 5, 2], [0, 1, 2, 3], [3, 2, 1, 0]])
    healthy = np.array([[0, 1, 6, 2], [0, 1, 2, 3], [3, 2, 1, 0]])
    plans = [EpochPlan(orders, 0.01), EpochPlan(healthy, 0.01)]
    run = compute.start(tasks)
    ill, well = run.advance(plans)
    assert not ill.finite
    assert len(ill.losses) == 1
    assert not np.isfinite(ill.losses[0])
    assert well.finite
    # A list as long as this one gives the same bits.
    healthy_run = compute.start(tasks)
    assert healthy_run.advance([plans[1]] * 2)[1].losses == well.losses
    assert_array_equal(healthy_run.parameters(1), run.parameters(1))


@every_path
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_parameters_that_overflow_are_reported(path):
    """Every loss of the plan was finite, but the last update was not."""
    network = plain_network((2, 1), "identity", "squared_error", "identity")
    problem = np.full((2, 2), 1e150), np.full((2, 1), 1e-3), None
    compute = make_engine(path)
    task = make_task(compute, network, problem, batch_size=2, solver="sgd")
    run = compute.start([task])
    (result,) = run.advance([EpochPlan(np.array([[0, 1]]), 1e300)])
    assert np.isfinite(result.losses).all()
    assert not result.finite


@every_path
def test_a_resumed_run_goes_on(path):
    problem = make_problem(NETWORK, 14)
    plan = make_plan(14, 4)
    whole = run_epochs(make_engine(path), NETWORK, problem, plan, batch_size=5)
    compute = make_engine(path)
    task = make_task(compute, NETWORK, problem, batch_size=5)
    run = compute.start([task])
    run.advance([EpochPlan(plan.orders[:3], 0.01)])
    vars(task)["parameters"] = run.parameters(0)
    vars(task)["optimizer_state"] = run.optimizer_state(0, 0.01)
    run = make_engine(path).start([task])
    run.advance([EpochPlan(plan.orders[3:], 0.01)])
    assert_array_equal(run.parameters(0), whole[1])


def test_choosing_a_path():
    """Many small fits are resident, one large one is not; tensor cores need the batched path."""
    runtime = SimulatedRuntime()
    runtime.multiprocessors = 132

    def choose(units, n_models, batch_size, precision=None, policy=BY_ESTIMATE):
        network = plain_network(units, "relu", "log_loss", "softmax")
        X, targets, _ = make_problem(network, 2)
        compute = CudaEngine()
        data = compute.load(X, targets, None, network, "float32")
        task = make_task(compute, network, (X, targets, None))
        vars(task).update(data=data, batch_size=batch_size)
        (chosen,) = set(paths.choose_paths(runtime, [task] * n_models, precision, policy))
        return chosen

    assert choose((64, 100, 10), 1000, 200) == ("resident", 1)
    assert choose((64, 100, 10), 30, 200) == ("resident", 4)
    assert choose((64, 100, 10), 1, 200) == ("resident", 16)
    assert choose((4, 10, 3), 1, 20)[0] == "resident"
    assert choose((512, 1024, 10), 1, 256)[0] == "batched"
    assert choose((4, 10, 3), 1, 20, "tf32")[0] == "batched"
    # What is decided beforehand counts; the rest is estimated as ever.
    assert choose((512, 1024, 10), 1, 256, policy=PathPolicy("resident", 2)) == ("resident", 2)
    assert choose((64, 100, 10), 30, 200, policy=PathPolicy("resident")) == ("resident", 4)
    assert choose((64, 100, 10), 30, 200, policy=PathPolicy("batched"))[0] == "batched"
    with pytest.raises(ValueError, match=r"path='resident' .* precision='tf32'.*path='batched'"):
        choose((4, 10, 3), 1, 20, "tf32", PathPolicy("resident"))


def test_settings_have_room():
    for name in CUDA_STOCHASTIC:
        entry = OPTIMIZERS[name]
        assert entry.n_constants == tables.N_CONSTANTS, name
        assert len(entry.settings) <= tables.MAX_SETTINGS, name
        assert len(entry.state_names) <= 2, name
    columns = [v for k, v in vars(tables).items() if k.isupper() and isinstance(v, int)]
    assert max(columns) <= tables.N_INTEGERS


@pytest.mark.parametrize(("n_rows", "batch_size"), list(product([1, 2, 5], [1, 2, 9])))
def test_tiny_data(path, n_rows, batch_size):
    problem = make_problem(NETWORK, n_rows)
    options = {"batch_size": batch_size}
    actual = run_epochs(make_engine(path), NETWORK, problem, **options)
    expected = run_epochs(ReferenceEngine(), NETWORK, problem, **options)
    assert_allclose(actual[1], expected[1], rtol=1e-9, atol=1e-12)
