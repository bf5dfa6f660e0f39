"""All that CUDA computes by the path of programs, in the simulator, against the reference engine.

That path takes part in the tests of fits (`test_fits.py`) too, there with plain networks.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from cuda_checks import EVERY_ENTRY, check_entry, is_computed
from engine_checks import (
    EVERYWHERE,
    HIDDEN,
    STOCHASTIC,
    check_against_reference,
    head_of,
    make_layer,
    make_network,
    make_plan,
    make_problem,
    make_task,
    run_epochs,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skmlp.engines.base import EpochPlan, FitTask
from skmlp.engines.cuda import normalizations, programs, stages, vocabulary
from skmlp.engines.cuda.batched import Batch, BatchedGroup
from skmlp.engines.cuda.engine import CudaEngine
from skmlp.engines.cuda.programs import ProgramGroup
from skmlp.engines.cuda.vocabulary import is_plain, what_is_lacking
from skmlp.engines.reference import ReferenceEngine
from skmlp.network import normalization
from skmlp.network.custom import custom_activation
from skmlp.network.losses import LOSSES
from skmlp.network.specs import NORMALIZATIONS, LayerSpec, plain_network

CLASSES = ("log_loss", "softmax")
# Everything that a row of a layer can pass through, and two heads.
NETWORK = make_network(
    5,
    [
        make_layer("silu", 6, 0.3, normalization="batch"),
        make_layer("prelu", 3, normalization="batch"),
        make_layer("maxout", 3, 0.2, normalization="layer"),
    ],
    [head_of(("gaussian_nll", "gaussian"), 2), head_of(CLASSES, 3)],
    0.3,
)


@pytest.fixture
def small_groups(monkeypatch):
    """Let batches be normalized by four rows each, and slabs have two of these groups."""
    for module in (normalization, normalizations, stages):
        monkeypatch.setattr(module, "GROUP_ROWS", 4)
    monkeypatch.setattr(programs, "slab_rows", lambda *_: 8)


@pytest.mark.parametrize("name", EVERY_ENTRY)
def test_every_entry(name):
    check_entry(name, "float64")


COMPUTED = [name for name in HIDDEN if is_computed(activation=name)]
KEYS = [key for key in sorted(LOSSES) if is_computed(key=key)]
SOLVERS = [name for name in STOCHASTIC if is_computed(solver=name)]


@st.composite
def tiny_networks(draw):
    layers = [
        make_layer(
            draw(st.sampled_from(COMPUTED)),
            draw(st.integers(1, 6)),
            draw(st.sampled_from([0.0, 0.4])),
            normalization=draw(st.sampled_from([None, *NORMALIZATIONS])),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    heads = st.builds(head_of, st.sampled_from(KEYS), st.integers(1, 3))
    dropout = draw(st.sampled_from([0.0, 0.4]))
    heads = draw(st.lists(heads, min_size=1, max_size=2))
    return make_network(draw(st.integers(1, 6)), layers, heads, dropout)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    network=tiny_networks(),
    n_samples=st.integers(1, 16),
    batch_size=st.integers(1, 16),
    dtype=st.sampled_from(["float32", "float64"]),
    solver=st.sampled_from(SOLVERS),
    density=st.sampled_from([None, 0.3]),
    weighted=st.booleans(),
    beside=st.fixed_dictionaries(EVERYWHERE),
    per_batch=st.sampled_from([(), ("rates",)]),
)
def test_equals_reference(network, solver, **problem):
    check_against_reference(CudaEngine, network, solver=solver, **problem)


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize(("dtype", "density"), [("float32", None), ("float64", 0.4)])
def test_groups_of_rows_in_slabs(dtype, density):
    """In fits, where running statistics take note of them, and in gradients, where they do not."""
    problem = make_problem(NETWORK, 21, density=density)
    options = {"batch_size": 13, "solver": "sgd", "clip_norm": 0.1}
    plan = make_plan(21, 2)
    actual = run_epochs(CudaEngine(), NETWORK, problem, plan, dtype=dtype, **options)
    expected = run_epochs(ReferenceEngine(), NETWORK, problem, plan, **options)
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert_allclose(actual[0], expected[0], rtol=tolerance)
    assert_allclose(actual[1], expected[1], rtol=tolerance, atol=tolerance)
    gradients = []
    for engine in (CudaEngine(), ReferenceEngine()):
        data = engine.load(*problem, NETWORK, dtype)
        # Of the same memory twice: with masks, and without.
        for step in (2, 0):
            found = engine.loss_and_gradient(NETWORK, data, expected[1], 0.1, seed=7, step=step)
            gradients.append(np.append(found[1], found[0]))
    for one, other in zip(gradients[:2], gradients[2:], strict=True):
        assert_allclose(one, other, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.usefixtures("small_groups")
def test_rows_without_weight():
    """Groups of rows of which none, one or two have weight, and a batch that has none."""
    X, targets, weight = make_problem(NETWORK, 21)
    weight[[0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17]] = 0.0
    plan = EpochPlan(np.tile(np.arange(21), (2, 1)), 0.01)
    options = {"batch_size": 5, "solver": "sgd"}
    problem = X, targets, weight
    actual = run_epochs(CudaEngine(), NETWORK, problem, plan, **options)
    expected = run_epochs(ReferenceEngine(), NETWORK, problem, plan, **options)
    assert actual[2].step == expected[2].step < 10
    assert_allclose(actual[0], expected[0], rtol=1e-12)
    assert_allclose(actual[1], expected[1], rtol=1e-10, atol=1e-13)


def test_fits_that_differ_in_numbers_share_their_launches():
    """Seeds, settings, rates, penalties and batches; they advance and rest by themselves."""
    problem = make_problem(NETWORK, 15)
    plans = (
        [
            make_plan(15, 2, seed=1, batch_size=5, per_batch=("rates",)),
            None,
            make_plan(15, 1, seed=2),
        ],
        [
            make_plan(15, 1, batch_size=5, per_batch=("rates",)),
            make_plan(15, 1, seed=3, batch_size=6, per_batch=("rates",)),
            None,
        ],
    )
    results = []
    for engine in (CudaEngine(), ReferenceEngine()):
        tasks: list[FitTask] = []
        for i in range(3):
            beside = {"weight_decay": 0.1 * i, "clip_norm": 0.1 * (i + 1)}
            task = make_task(engine, NETWORK, problem, seed=i, batch_size=5 + i, **beside)
            # A larger epsilon: intercepts before batch normalization have no gradient.
            optimizer = replace(task.optimizer, settings=(0.8 + 0.05 * i, 0.99, 1e-2))
            data = tasks[0].data if tasks else task.data
            tasks.append(replace(task, data=data, alpha=0.1 * i, optimizer=optimizer))
        run = engine.start(tasks)
        if isinstance(engine, CudaEngine):
            ((group, members),) = run._members
            assert isinstance(group, ProgramGroup)
            assert members == [0, 1, 2]
        losses = [result.losses for some in plans for result in run.advance(some) if result]
        states = [run.optimizer_state(i, 0.1) for i in range(3)]
        results.append((losses, states, [run.parameters(i) for i in range(3)]))
    (losses, states, parameters), expected = results
    for one, other in zip(losses, expected[0], strict=True):
        assert_allclose(one, other, rtol=1e-10)
    for one, other in zip(states, expected[1], strict=True):
        assert one.step == other.step
        assert_allclose(one.vectors, other.vectors, rtol=1e-9, atol=1e-12)
    assert_allclose(parameters, expected[2], rtol=1e-9, atol=1e-12)


def test_a_fit_is_clipped_or_not_beside_others():
    problem = make_problem(NETWORK, 9)
    engine = CudaEngine()
    tasks = [
        make_task(engine, NETWORK, problem, solver="sgd", clip_norm=norm) for norm in (None, 1e-3)
    ]
    tasks[1] = replace(tasks[1], data=tasks[0].data)
    run = engine.start(tasks)
    assert [members for _, members in run._members] == [[0], [1]]
    run.advance([make_plan(9, 1)] * 2)
    expected = [
        run_epochs(ReferenceEngine(), NETWORK, problem, make_plan(9, 1), solver="sgd", **beside)[1]
        for beside in ({}, {"clip_norm": 1e-3})
    ]
    for i in range(2):
        assert_allclose(run.parameters(i), expected[i], rtol=1e-10, atol=1e-13)


def test_plain_networks_stay_on_their_paths():
    plain = plain_network((4, 3, 2), "relu", "squared_error", "identity")
    task = make_task(CudaEngine(), plain, make_problem(plain, 5))
    adam = task.optimizer
    assert is_plain(plain, adam)
    assert is_plain(plain, None)
    layer = plain.layers[0]
    for network in (
        replace(plain, inputs=replace(plain.inputs, dropout=0.1)),
        replace(plain, layers=(make_layer("gelu", 3),)),
        replace(plain, layers=(replace(layer, dropout=0.1),)),
        replace(plain, layers=(replace(layer, normalization="layer"),)),
        replace(plain, heads=plain.heads * 2),
        replace(plain, heads=(head_of(("gaussian_nll", "gaussian"), 1),)),
    ):
        assert not is_plain(network, None)
    for optimizer in (
        replace(adam, name="adamw"),
        replace(adam, weight_decay=0.1),
        replace(adam, clip_norm=1.0),
    ):
        assert not is_plain(plain, optimizer)
    engine = CudaEngine("tf32")
    tasks = [make_task(engine, plain, make_problem(plain, 5), dtype="float32")]
    tasks.append(replace(tasks[0], optimizer=replace(adam, weight_decay=0.1)))
    run = engine.start(tasks)
    assert [type(group) for group, _ in run._members] == [BatchedGroup, ProgramGroup]
    # Predictions know no normalization of batches.
    network = replace(plain, layers=(replace(layer, normalization="batch"),))
    parameters = make_task(engine, network, make_problem(network, 5)).parameters
    data = engine.load(np.ones((2, 4)), None, None, network, "float32")
    engine.outputs(network, parameters, data)
    assert type(engine._predictor[1].batch) is Batch


def test_predictions_take_running_statistics():
    engines = CudaEngine(), ReferenceEngine()
    X, _, _ = make_problem(NETWORK, 7)
    parameters = make_task(engines[0], NETWORK, make_problem(NETWORK, 7)).parameters
    parameters += np.random.default_rng(0).uniform(0.1, 0.9, size=parameters.size)
    outputs = [
        engine.outputs(NETWORK, parameters, engine.load(X, None, None, NETWORK, "float64"))
        for engine in engines
    ]
    assert_allclose(*outputs, rtol=1e-11)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_running_statistics_that_overflow_are_reported():
    """What is divided by their root vanishes: the losses stay finite."""
    network = make_network(
        2,
        [make_layer("tanh", 3, normalization="batch")],
        [head_of(("squared_error", "identity"), 1)],
    )
    X, targets, _ = make_problem(network, 4)
    for engine in (CudaEngine(), ReferenceEngine()):
        task = make_task(engine, network, (1e160 * X, targets, None), solver="sgd")
        (result,) = engine.start([task]).advance([make_plan(4, 1)])
        assert np.isfinite(result.losses).all()
        assert not result.finite


def test_users_activations():
    slope = 0.3

    def value(z):
        return np.exp(z) - 1.0 if z < 0.0 else z * slope

    def derivative(z):
        return np.exp(z) if z < 0.0 else slope

    name = custom_activation(value, derivative)
    network = make_network(4, [make_layer(name, 5, 0.2, constants=())], [head_of(CLASSES, 3)])
    problem = make_problem(network, 11)
    assert what_is_lacking(network, None) == []
    actual = run_epochs(CudaEngine(), network, problem, solver="sgd")
    expected = run_epochs(ReferenceEngine(), network, problem, solver="sgd")
    assert_allclose(actual[1], expected[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 2e-3), ("bf16", 2e-2)])
def test_tensor_cores(precision, tolerance):
    layers = [make_layer("gelu", 9, 0.2, normalization="layer"), make_layer("prelu", 5)]
    network = make_network(6, layers, [head_of(CLASSES, 3)])
    problem = make_problem(network, 10)
    options = {"batch_size": 10, "solver": "sgd", "plan": make_plan(10, 1)}
    actual = run_epochs(CudaEngine(precision), network, problem, dtype="float32", **options)
    exact = run_epochs(CudaEngine(), network, problem, dtype="float32", **options)
    expected = run_epochs(ReferenceEngine(), network, problem, **options)
    assert_allclose(actual[0], expected[0], rtol=tolerance)
    assert_allclose(actual[1], expected[1], rtol=0, atol=tolerance)
    assert np.abs(actual[1] - expected[1]).max() > 3 * np.abs(exact[1] - expected[1]).max()


# --- What is refused ---


def test_what_is_lacking_is_refused_by_name(monkeypatch):
    """As if a description had gained a field; which one that is, `test_networks.py` looks at."""
    heeded = vocabulary.HEEDED[LayerSpec].replace("dropout", "")
    monkeypatch.setitem(vocabulary.HEEDED, LayerSpec, heeded)
    engine = CudaEngine()
    task = make_task(engine, NETWORK, make_problem(NETWORK, 9))
    for call in (
        lambda: engine.start([task]),
        lambda: engine.loss_and_gradient(NETWORK, task.data, task.parameters, 0.1),
        lambda: engine.outputs(NETWORK, task.parameters, task.data),
    ):
        with pytest.raises(ValueError, match=r"CUDA cannot yet compute dropout\."):
            call()


def test_tasks_and_plans_that_ask_for_more_are_refused(monkeypatch):
    @dataclass(frozen=True)
    class MoreTask(FitTask):
        l1: float = 0.0

    @dataclass(frozen=True)
    class MorePlan(EpochPlan):
        also: list[int] = field(default_factory=list)

    for more, base in ((MoreTask, FitTask), (MorePlan, EpochPlan)):
        monkeypatch.setitem(vocabulary.HEEDED, more, vocabulary.HEEDED[base])
    engine = CudaEngine()
    network = plain_network((4, 3, 2), "relu", "squared_error", "identity")
    task = MoreTask(**vars(make_task(engine, network, make_problem(network, 5))))
    plan = MorePlan(**vars(make_plan(5, 1)))
    run = engine.start([task])
    assert run.advance([plan])[0].finite
    with pytest.raises(ValueError, match="CUDA cannot yet compute l1"):
        engine.start([replace(task, l1=0.1)])
    before = run.parameters(0)
    with pytest.raises(ValueError, match="CUDA cannot yet compute also"):
        run.advance([replace(plan, also=[1])])
    assert_array_equal(run.parameters(0), before)
