"""The CPU engine against the reference engine, and against itself in other circumstances."""

import ctypes
import mmap
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from engine_checks import (
    BESIDE,
    CUDA_HIDDEN,
    CUDA_STOCHASTIC,
    PROBLEMS,
    SETTINGS,
    TOLERANCE,
    assert_same_run,
    check_against_reference,
    comparable_solver,
    head_of,
    make_layer,
    make_network,
    make_plan,
    make_problem,
    make_task,
    network_with,
    plain_networks,
    run_epochs,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy import tanh
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import skmlp.engines.base
import skmlp.engines.cpu.crew
import skmlp.engines.cpu.task
from skmlp.engines.base import PER_BATCH, EpochPlan, FitTask, OptimizerState
from skmlp.engines.cpu import CpuEngine, prediction
from skmlp.engines.cpu.layout import packing_of_layers, parts_of_slab
from skmlp.engines.cpu.tables import PACK_DELTAS, PACK_INPUTS, PACK_NOTHING
from skmlp.engines.cuda.vocabulary import KNOWN_LOSSES
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.activations import ACTIVATIONS, Activation, Learned
from skmlp.network.constants import Constant
from skmlp.network.initializers import draw_uniform
from skmlp.network.losses import LOSSES, Loss
from skmlp.network.parameters import layout_of, plain_layout
from skmlp.network.specs import (
    NORMALIZATIONS,
    Formula,
    HeadSpec,
    OptimizerSpec,
    plain_network,
)


def check_drawn_problems(least, **problems):
    """Compare the engines; of what is drawn this share at `least` must be compared."""
    drawn, compared = [], []

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(**problems)
    def check(**problem):
        drawn.append(problem)
        check_against_reference(lambda: CpuEngine(1), **problem)
        compared.append(problem)

    check()
    assert len(compared) >= max(60, least * len(drawn))


def test_cpu_equals_reference():
    """What would mean little is passed over, but that is not much."""
    per_batch = st.sampled_from([(), PER_BATCH])
    check_drawn_problems(0.5, **PROBLEMS, beside=BESIDE, per_batch=per_batch)


def test_plain_networks_equal_the_reference():
    """Of these nothing is passed over but what diverges."""
    network = plain_networks(CUDA_HIDDEN, KNOWN_LOSSES)
    plain = {"network": network, "solver": st.sampled_from(CUDA_STOCHASTIC)}
    check_drawn_problems(0.9, **{**PROBLEMS, **plain})


NETWORK = plain_network((20, 33, 17, 5), "tanh", "log_loss", "softmax")


WIDE = plain_network((20, 70, 70, 3), "tanh", "log_loss", "softmax")
MANY_HEADS = network_with((20, 33, 17), "tanh", [head_of(key, 2) for key in 2 * sorted(LOSSES)])


# Layers of every kind, with dropout.
LAYERED = make_network(
    20,
    [
        make_layer("gelu", 35, 0.2),
        make_layer("prelu", 50, 0.1),
        make_layer("maxout", 33, 0.5, (3.0,)),
        make_layer("softmax", 45, 0.2),
        make_layer("blend_elu", 21),
        make_layer("relu", 40),
        make_layer("tanh", 20, 0.3),
    ],
    [head_of(("log_loss", "softmax"), 3)],
    dropout=0.25,
)

# Layers of every kind, normalized.
NORMALIZED = make_network(
    20,
    [
        make_layer("gelu", 35, 0.2, None, "layer"),
        make_layer("prelu", 50, 0.1, None, "batch"),
        make_layer("maxout", 33, 0.5, (3.0,), "layer"),
        make_layer("relu", 40, 0.3, None, "batch"),
        make_layer("maxout", 10, 0.0, (2.0,), "batch"),
        make_layer("softmax", 37, 0.2, None, "layer"),
        make_layer("relu", 20),
        make_layer("tanh", 70, 0.0, None, "batch"),
    ],
    [head_of(("log_loss", "softmax"), 3)],
)


@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("network", "batch_size", "slab_size", "parts"),
    [
        (NETWORK, 16, 16, 1),
        (NETWORK, 200, 200, 2),
        (NETWORK, 429, 256, 2),
        (WIDE, 16, 16, 1),
        (WIDE, 39, 39, 1),
        (WIDE, 60, 60, 2),
        (WIDE, 60, 20, 1),
        (LAYERED, 16, 16, 1),
        (LAYERED, 200, 200, 2),
        (LAYERED, 60, 20, 1),
        (NORMALIZED, 16, 16, 1),
        (NORMALIZED, 200, 200, 2),
        (NORMALIZED, 429, 256, 2),
        (MANY_HEADS, 16, 16, 1),
        (MANY_HEADS, 200, 200, 2),
    ],
)
@pytest.mark.usefixtures("always_parallel")
def test_threads_change_nothing(network, batch_size, slab_size, parts, dtype, density, monkeypatch):
    # More threads than tiles of rows, batches of several slabs, and a last batch of one row.
    monkeypatch.setattr(skmlp.engines.cpu.task, "TILE_ROWS", 1)
    monkeypatch.setattr(skmlp.engines.cpu.task, "slab_rows", lambda *_: slab_size)
    assert parts_of_slab(network, slab_size) == parts
    n_samples = 3 * batch_size + 1 if batch_size < 200 else 430
    problem = make_problem(network, n_samples, density=density)
    solver = comparable_solver(network, "adam")
    options = {"dtype": dtype, "batch_size": batch_size, "solver": solver}
    expected = run_epochs(CpuEngine(1), network, problem, **options)
    for n_jobs in (2, 3, 4):
        actual = run_epochs(CpuEngine(n_jobs), network, problem, **options)
        assert_same_run(actual, expected)
    if density is None:
        options |= {"dtype": "float64"}
        reference = run_epochs(ReferenceEngine(), network, problem, **options)
        assert_allclose(expected[0], reference[0], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("batch_size", [16, 200])
@pytest.mark.usefixtures("always_parallel")
def test_a_fit_that_gets_no_threads_is_the_same(batch_size, monkeypatch):
    problem = make_problem(NETWORK, 430)
    expected = run_epochs(CpuEngine(2), NETWORK, problem, batch_size=batch_size)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(skmlp.engines.cpu.crew, "_own", threading.local())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    actual = run_epochs(CpuEngine(2), NETWORK, problem, batch_size=batch_size)
    assert_same_run(actual, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_heads_are_as_many_networks(dtype):
    """With all hidden units for all of them, and of each output layer its own columns."""
    alone = [replace(MANY_HEADS, heads=(head,)) for head in MANY_HEADS.heads]
    X, targets, weight = make_problem(MANY_HEADS, 70)
    parameters = draw_uniform(MANY_HEADS, np.random.RandomState(0), "float64")
    coefs, intercepts = layout_of(MANY_HEADS).views(parameters)
    engine = CpuEngine(1)

    def compute(network, units, columns):
        own_coefs = [*coefs[:-1], coefs[-1][:, units]]
        own_intercepts = [*intercepts[:-1], intercepts[-1][units]]
        packed = layout_of(network).pack(own_coefs, own_intercepts, "float64")
        data = engine.load(X, targets[:, columns], weight, network, dtype)
        loss, _ = engine.loss_and_gradient(network, data, packed, 0.0)
        return loss, engine.predict(network, own_coefs, own_intercepts, data)

    loss, outputs = compute(MANY_HEADS, slice(None), slice(None))
    losses, unit, column = [], 0, 0
    for network in alone:
        units = slice(unit, unit + network.n_outputs)
        columns = slice(column, column + network.target_columns)
        own_loss, own_outputs = compute(network, units, columns)
        losses.append(own_loss)
        assert_array_equal(outputs[:, units], own_outputs)
        unit, column = units.stop, columns.stop
    assert_allclose(loss, np.sum(losses), rtol=1e-14)


def huber(target, raw, output, epsilon, delta):
    error = abs(target - output)
    return 0.5 * error * error if error < delta else delta * (error - 0.5 * delta)


def huber_gradient(target, output, delta):
    return min(max(output - target, -delta), delta)


def paired_huber(target, raw, other, epsilon, delta, weight):
    return huber(target, raw, raw, epsilon, delta) + weight * (other - target) * (other - target)


def paired_huber_gradient(target, raw, other, delta, weight):
    return huber_gradient(target, raw, delta), (weight + weight) * (other - target)


DELTA = Constant("delta", 1.0, 0.0, closed="neither")
WITH_CONSTANTS = [
    Loss("huber", "identity", huber, huber_gradient, "real numbers", constants=(DELTA,)),
    Loss(
        *("pair", "gaussian", paired_huber, paired_huber_gradient, "real numbers"),
        constants=(DELTA, Constant("weight", 1.0)),
    ),
]


@pytest.mark.parametrize("entry", WITH_CONSTANTS, ids=lambda entry: entry.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_with_constants_is_one_entry(entry, dtype, monkeypatch):
    """Each head has its own, and none is compiled for its values."""
    key = entry.name, entry.output_activation
    monkeypatch.setitem(LOSSES, key, entry)
    heads = []
    for delta in (0.2, 0.7):
        values = (delta, 0.3)[: len(entry.constants)]
        heads.append(HeadSpec(2, Formula(entry.name, values), entry.output_activation))
    network = network_with((4, 5), "tanh", [heads[0], HEAD_BETWEEN, heads[1]])
    problem = make_problem(network, 40)
    actual = run_epochs(CpuEngine(1), network, problem, dtype=dtype, solver="sgd")
    expected = run_epochs(ReferenceEngine(), network, problem, solver="sgd")
    assert_allclose(actual[0], expected[0], rtol=TOLERANCE[dtype])
    assert_allclose(actual[1], expected[1], atol=TOLERANCE[dtype])
    with pytest.raises(ValueError, match=rf"delta of {entry.name} must be in \(0.0, inf\)"):
        HeadSpec(2, Formula(entry.name, (-1.0, 1.0)[: len(entry.constants)]), key[1])


def bend(z, sharpness, straight, bent):
    return straight * z + bent * tanh(sharpness * z)


def bend_derivative(z, sharpness, straight, bent):
    inner = tanh(sharpness * z)
    return straight + bent * sharpness * (1.0 - inner * inner)


def straight_slope(z, sharpness, straight, bent):
    return z


def bent_slope(z, sharpness, straight, bent):
    return tanh(sharpness * z)


BEND = Activation(
    "bend",
    bend,
    bend_derivative,
    derivative_takes_input=True,
    constants=(Constant("sharpness", 1.0),),
    learned=(Learned("straight", 0.5, straight_slope), Learned("bent", -0.7, bent_slope)),
    growth=None,
)


@pytest.mark.parametrize("normalization", [None, *NORMALIZATIONS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("always_parallel")
def test_an_activation_with_a_constant_and_two_learned_numbers_is_one_entry(
    dtype, normalization, monkeypatch
):
    monkeypatch.setitem(ACTIVATIONS, "bend", BEND)
    layers = [
        make_layer("bend", units, dropout, (sharpness,), normalization)
        for units, dropout, sharpness in ((35, 0.2, 0.6), (7, 0.0, 1.5))
    ]
    network = make_network(5, layers, [HEAD_BETWEEN])
    problem = make_problem(network, 60)
    actual = run_epochs(CpuEngine(1), network, problem, dtype=dtype, solver="sgd", batch_size=60)
    again = run_epochs(CpuEngine(3), network, problem, dtype=dtype, solver="sgd", batch_size=60)
    expected = run_epochs(ReferenceEngine(), network, problem, solver="sgd", batch_size=60)
    assert_same_run(again, actual)
    assert_allclose(actual[0], expected[0], rtol=TOLERANCE[dtype])
    assert_allclose(actual[1], expected[1], atol=TOLERANCE[dtype])
    learned = layout_of(network).extras_of(actual[1])
    assert np.unique(learned[: 2 * 35]).size == 2 * 35


HEAD_BETWEEN = head_of(("log_loss", "softmax"), 3)


@pytest.mark.usefixtures("always_parallel")
def test_a_batch_of_one_row_after_none(monkeypatch):
    """The second half of its slab is empty, and nothing has listed any row before."""
    network = plain_network((70, 80, 3), "tanh", "log_loss", "softmax")
    X, targets, weight = make_problem(network, 201)
    weight[:200] = 0.0
    results = []
    for n_jobs in (1, 2):
        engine = CpuEngine(n_jobs)
        task = make_task(engine, network, (X, targets, weight), batch_size=200)
        run = engine.start([task])
        run._task(0).told.work.tables[:] = 8  # an address that nobody may read
        run.advance([EpochPlan(np.arange(201)[None], 0.01)])
        results.append(run.parameters(0))
    assert_array_equal(*results)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects memory by mprotect")
@pytest.mark.parametrize("units", [(70, 80, 3), (70, 130, 130, 3), (3, 20, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_read_beyond_X(units, dtype):
    network = plain_network(units, "tanh", "squared_error", "identity")
    X, targets, _ = make_problem(network, 33)
    size = X.astype(dtype).nbytes
    pages = -(-size // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    room = np.frombuffer(memory, dtype=np.uint8)
    end = pages * mmap.PAGESIZE
    protected = ctypes.c_void_p(room.ctypes.data + end)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(protected, mmap.PAGESIZE, 0) == 0
    last = room[end - size : end].view(dtype).reshape(X.shape)
    last[:] = X
    for batch_size in (16, 33):
        run_epochs(CpuEngine(1), network, (last, targets, None), dtype=dtype, batch_size=batch_size)
    engine = CpuEngine(1)
    data = engine.load(last, None, None, network, dtype)
    zeros = np.zeros(plain_layout(units).size)
    engine.predict(network, *plain_layout(units).views(zeros), data)


@pytest.mark.usefixtures("always_parallel")
@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_gradient(dtype, density):
    problem = make_problem(NETWORK, 430, density=density)
    losses_and_gradients = []
    for n_jobs in (1, 2):
        task = make_task(CpuEngine(n_jobs), NETWORK, problem, dtype=dtype)
        losses_and_gradients.append(
            CpuEngine(n_jobs).loss_and_gradient(NETWORK, task.data, task.parameters, 0.1)
        )
    (loss, gradient), (other_loss, other_gradient) = losses_and_gradients
    assert loss == other_loss
    assert_array_equal(gradient, other_gradient)


@pytest.mark.parametrize(
    ("units", "n_rows", "packing"),
    [
        ((70, 80, 3), 101, (PACK_INPUTS, PACK_NOTHING)),
        ((70, 130, 130, 3), 16, (PACK_DELTAS, PACK_DELTAS, PACK_DELTAS)),
        # In double precision, wider than what is read from a near cache.
        ((20, 300, 300, 3), 300, (PACK_NOTHING, PACK_NOTHING, PACK_NOTHING)),
        ((20, 600, 600, 3), 200, (PACK_NOTHING, PACK_DELTAS, PACK_DELTAS)),
    ],
    ids=["by rows", "by columns", "wide, by rows", "wide, by columns"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.usefixtures("always_parallel")
def test_gradient_of_copied_inputs_and_deltas(units, n_rows, packing, dtype, order):
    network = plain_network(units, "tanh", "log_loss", "softmax")
    assert packing_of_layers(network, dtype, n_rows, is_sparse=False) == packing
    X, targets, weight = make_problem(network, n_rows)
    X = np.asarray(X, dtype=dtype, order=order)
    parameters = draw_uniform(network, np.random.RandomState(0), np.dtype(dtype))
    results = []
    for engine in (ReferenceEngine(), CpuEngine(1), CpuEngine(2), CpuEngine(3)):
        data = engine.load(X, targets, weight, network, dtype)
        results.append(engine.loss_and_gradient(network, data, parameters, 0.1)[1])
    scale = np.abs(results[0]).max()
    assert_allclose(results[1], results[0], atol=0.1 * TOLERANCE[dtype] * scale, rtol=0)
    assert_array_equal(results[2], results[1])
    assert_array_equal(results[3], results[1])

    plan = make_plan(n_rows, n_epochs=3)
    options = {"dtype": dtype, "batch_size": n_rows, "solver": "sgd"}
    runs = [
        run_epochs(engine, network, (X, targets, weight), plan, **options)
        for engine in (ReferenceEngine(), CpuEngine(1), CpuEngine(3))
    ]
    scale = np.abs(runs[0][1]).max()
    assert_allclose(runs[1][1], runs[0][1], atol=TOLERANCE[dtype] * scale, rtol=0)
    assert_same_run(runs[2], runs[1])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_list_of_fits_equals_each_alone(n_jobs):
    other = plain_network((6, 10, 1), "relu", "squared_error", "identity")
    problems = [make_problem(NETWORK, 90), make_problem(other, 55)]
    networks = [NETWORK, other]
    engine = CpuEngine(n_jobs)
    tasks = [make_task(engine, *pair) for pair in zip(networks, problems, strict=True)]
    run = engine.start(tasks)
    results = run.advance([make_plan(90), make_plan(55)])
    for i in range(2):
        alone = run_epochs(CpuEngine(1), networks[i], problems[i])
        state = run.optimizer_state(i, 0.01)
        assert_same_run((results[i].losses, run.parameters(i), state), alone)

    # A task without a plan stays as it is; a retired one is gone.
    before = run.parameters(0)
    assert run.advance([None, make_plan(55)])[0] is None
    assert_array_equal(run.parameters(0), before)
    run.retire(0)
    with pytest.raises(LookupError, match="retired"):
        run.parameters(0)


def test_short_calls_equal_one_long_call(monkeypatch):
    problem = make_problem(NETWORK, 130)
    expected = run_epochs(CpuEngine(1), NETWORK, problem)
    monkeypatch.setattr(skmlp.engines.cpu.task, "SECONDS_PER_CALL", 0.0)
    assert_same_run(run_epochs(CpuEngine(1), NETWORK, problem), expected)


@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.usefixtures("always_parallel")
def test_batches_larger_than_a_slab(monkeypatch, density, n_jobs):
    problem = make_problem(NETWORK, 700, density=density)
    expected = run_epochs(ReferenceEngine(), NETWORK, problem, batch_size=650)
    monkeypatch.setattr(skmlp.engines.base, "MAX_SLAB_ROWS", 256)
    actual = run_epochs(CpuEngine(n_jobs), NETWORK, problem, batch_size=650)
    assert_allclose(actual[0], expected[0], rtol=1e-12)
    assert_allclose(actual[1], expected[1], rtol=1e-9)

    task = make_task(CpuEngine(n_jobs), NETWORK, problem)
    loss, gradient = CpuEngine(n_jobs).loss_and_gradient(NETWORK, task.data, task.parameters, 0.1)
    task = make_task(ReferenceEngine(), NETWORK, problem)
    expected = ReferenceEngine().loss_and_gradient(NETWORK, task.data, task.parameters, 0.1)
    assert loss == pytest.approx(expected[0], rel=1e-13)
    assert_allclose(gradient, expected[1], rtol=1e-9, atol=1e-15)


def as_memmap(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


LAYOUTS = {
    "read-only": lambda X, folder: np.frombuffer(X.tobytes()).reshape(X.shape),
    "fortran": lambda X, folder: np.asfortranarray(X),
    "every second row": lambda X, folder: np.repeat(X, 2, axis=0)[::2],
    "every second column": lambda X, folder: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda X, folder: X[::-1, ::-1].copy()[::-1, ::-1],
    "memory map": as_memmap,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_changes_nothing(layout, tmp_path):
    X, targets, weight = make_problem(NETWORK, 60)
    expected = run_epochs(CpuEngine(1), NETWORK, (X, targets, weight))
    other = LAYOUTS[layout](X, tmp_path)
    assert_same_run(run_epochs(CpuEngine(1), NETWORK, (other, targets, weight)), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_field_of_a_packed_record(dtype):
    """Its rows are no whole number of elements apart."""
    X, targets, weight = make_problem(NETWORK, 60)
    record = np.zeros(60, dtype=[("x", dtype, (20,)), ("id", "i2")])
    record["x"] = X
    options = {"dtype": dtype}
    expected = run_epochs(CpuEngine(1), NETWORK, (X.astype(dtype), targets, weight), **options)
    actual = run_epochs(CpuEngine(1), NETWORK, (record["x"], targets, weight), **options)
    assert_same_run(actual, expected)


def test_rows_of_targets_must_match():
    X, targets, weight = make_problem(NETWORK, 60)
    with pytest.raises(ValueError, match="59 rows of targets for 60"):
        CpuEngine(1).load(X, targets[:-1], weight, NETWORK, "float64")


def test_dense_data_are_not_copied():
    X, targets, weight = make_problem(NETWORK, 60)
    data = CpuEngine(1).load(X, targets, weight, NETWORK, "float32")
    assert data.source.values == X.__array_interface__["data"][0]


def test_sparse_with_unsorted_wide_indices():
    X, targets, weight = make_problem(NETWORK, 60, density=0.4)
    expected = run_epochs(CpuEngine(1), NETWORK, (X, targets, weight))
    rows = [slice(start, stop) for start, stop in zip(X.indptr, X.indptr[1:], strict=False)]
    unsorted = sparse.csr_array(
        (
            np.concatenate([X.data[row][::-1] for row in rows]),
            np.concatenate([X.indices[row][::-1] for row in rows]).astype(np.int64),
            X.indptr.astype(np.int64),
        ),
        shape=X.shape,
    )
    before = unsorted.indices.copy()
    assert_same_run(run_epochs(CpuEngine(1), NETWORK, (unsorted, targets, weight)), expected)
    assert_array_equal(unsorted.indices, before)


@pytest.mark.parametrize("engine", [CpuEngine(1), ReferenceEngine()], ids=["cpu", "reference"])
def test_batch_of_zero_weights_is_skipped(engine):
    X, targets, _ = make_problem(NETWORK, 20)
    weight = np.ones(20)
    weight[5:10] = 0.0
    plan = EpochPlan(np.arange(20)[np.newaxis], 0.01)
    kept = np.r_[0:5, 10:20]
    expected = run_epochs(
        engine,
        NETWORK,
        (X[kept], targets[kept], weight[kept]),
        EpochPlan(np.arange(15)[np.newaxis], 0.01),
        batch_size=5,
    )
    actual = run_epochs(engine, NETWORK, (X, targets, weight), plan, batch_size=5)
    assert_same_run(actual, expected)


@pytest.mark.parametrize("engine", [CpuEngine(1), ReferenceEngine()], ids=["cpu", "reference"])
def test_divergence_ends_the_plan(engine):
    network = plain_network((3, 4, 1), "identity", "squared_error", "identity")
    X, targets, _ = make_problem(network, 10)
    task = make_task(engine, network, (X, targets, None), solver="sgd")
    run = engine.start([task])
    orders = np.tile(np.arange(10), (50, 1))
    with np.errstate(all="ignore"):
        (result,) = run.advance([EpochPlan(orders, 1e6)])
    assert not result.finite
    assert len(result.losses) < 50
    assert not np.isfinite(result.losses[-1])
    assert np.isfinite(result.losses[:-1]).all()


def test_prediction_of_rows_equals_bulk():
    problem = make_problem(NETWORK, 300)
    layers = layout_of(NETWORK).views(make_task(CpuEngine(1), NETWORK, problem).parameters)
    data = CpuEngine(1).load(problem[0], None, None, NETWORK, "float64")
    bulk = CpuEngine(1).predict(NETWORK, *layers, data)
    for row in (0, 17, 299):
        single = CpuEngine(1).predict(NETWORK, *layers, data, np.array([row]))
        assert_allclose(single[0], bulk[row], rtol=1e-13)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("always_parallel")
def test_training_takes_denormal_numbers_for_zero(dtype, n_jobs):
    # A dead unit's moments shrink forever; arithmetic with denormal numbers is very slow.
    network = plain_network((3, 2, 1), "relu", "squared_error", "identity")
    size = layout_of(network).size
    X, targets, _ = make_problem(network, 20)
    engine = CpuEngine(n_jobs)
    data = engine.load(np.abs(X), targets, None, network, dtype)
    parameters = np.full(size, -1.0)  # both hidden units are dead for positive X
    smallest = np.finfo(dtype).smallest_subnormal
    state = OptimizerState("adam", np.full((2, size), 1000 * smallest, dtype=dtype), 5, 0.001)
    spec = OptimizerSpec("adam", SETTINGS["adam"])
    run = engine.start([FitTask(network, spec, data, parameters, state, 0.0, 20)])
    run.advance([make_plan(20)])
    moments = run.optimizer_state(0, 0.001).vectors
    n_dead = 3 * 2
    assert 0.9 * 1000 * smallest > 0  # what they would be
    assert (moments[:, :n_dead].view(INTEGERS[dtype]) == 0).all()

    # Elsewhere denormal numbers mean what they always do.
    numbers = np.full(8, smallest)
    with ThreadPoolExecutor(1) as pool:
        for product in (numbers * 2, pool.submit(lambda: numbers * 2).result()):
            assert (product.view(INTEGERS[dtype]) == 2).all()


INTEGERS = {"float32": np.int32, "float64": np.int64}


def test_a_prediction_in_the_middle_of_another(monkeypatch):
    """As by a handler of signals, between the calls of a long prediction."""
    monkeypatch.setattr(prediction, "PIECES_PER_CALL", 1)
    rows = 3 * prediction.PIECE_ROWS
    X = np.random.default_rng(0).normal(size=(rows, NETWORK.n_features))
    engine = CpuEngine(1)
    data = engine.load(X, None, None, NETWORK, "float64")
    layout = layout_of(NETWORK)
    layers = layout.views(np.random.default_rng(1).normal(size=layout.size))
    others = layout.views(np.zeros(layout.size))
    expected = engine.predict(NETWORK, *layers, data)
    call, inside = prediction.call, []

    def interrupted(*arguments, **options):
        call(*arguments, **options)
        if not inside:
            inside.append(True)
            engine.predict(NETWORK, *others, data, np.arange(2))

    monkeypatch.setattr(prediction, "call", interrupted)
    assert_array_equal(engine.predict(NETWORK, *layers, data), expected)
