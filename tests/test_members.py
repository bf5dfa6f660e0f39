"""Members that share weights: engines, what becomes of them, and the presets that have them."""

import numpy as np
import pytest
from engine_checks import (
    BESIDE,
    TOLERANCE,
    assert_same_run,
    check_against_reference,
    head_of,
    make_layer,
    make_problem,
    run_epochs,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from test_gradients import central_differences

import skmlp.engines.cpu.task
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cpu.layout import parts_of_slab
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.initializers import draw_uniform
from skmlp.network.parameters import layout_of
from skmlp.network.specs import (
    Block,
    Formula,
    InputSpec,
    Members,
    NetworkSpec,
)

SQUARED, LOG_LOSS = ("squared_error", "identity"), ("log_loss", "softmax")
EMBEDDED = (Block(2, Formula("piecewise", (4.0, 3.0))), Block(1, Formula("identity")))


def network_of(count=3, adapt="layers", hidden=None, key=SQUARED, units=2, **inputs):
    hidden = [make_layer("tanh", 5), make_layer("relu", 9, 0.2)] if hidden is None else hidden
    own = {"embedding": EMBEDDED, **inputs}
    spec = InputSpec(3, scaled=True, **own)
    members = Members(count, adapt, "normal")
    return NetworkSpec(spec, tuple(hidden), (head_of(key, units),), members)


def drawn_parameters(network, X, seed=0):
    """Return parameters of which none that is trained has a value of its own."""
    parameters = draw_uniform(network, np.random.RandomState(seed), np.float64, X)
    trained = layout_of(network).trained_size
    parameters[:trained] += np.random.default_rng(seed).uniform(0.0, 0.3, size=trained)
    return parameters


# Engines


@st.composite
def member_networks(draw):
    adapt = draw(st.sampled_from(["inputs", "layers"]))
    kinds = [make_layer("tanh", 5), make_layer("silu", 40, 0.2), make_layer("relu", 17)]
    if adapt == "inputs":
        kinds += [make_layer("prelu", 6, 0.0, None, "layer"), make_layer("maxout", 4)]
    key, units = draw(
        st.sampled_from([(SQUARED, 2), (LOG_LOSS, 3), (("gaussian_nll", "gaussian"), 2)])
    )
    inputs = {
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "noise": draw(st.sampled_from([0.0, 0.2])),
        "embedding": draw(st.sampled_from([(), EMBEDDED])),
    }
    hidden = draw(st.lists(st.sampled_from(kinds), max_size=3))
    return network_of(draw(st.integers(1, 5)), adapt, hidden, key, units, **inputs)


def test_cpu_equals_reference():
    compared = []

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        network=member_networks(),
        n_samples=st.integers(1, 20),
        batch_size=st.integers(1, 20),
        dtype=st.sampled_from(["float32", "float64"]),
        solver=st.sampled_from(["sgd", "adamw", "muon"]),
        density=st.none(),
        weighted=st.booleans(),
        # Directions of units are those of single networks.
        beside=BESIDE.map(
            lambda options: options | {"bounded": tuple({"connections"} & {*options["bounded"]})}
        ),
    )
    def check(**problem):
        check_against_reference(lambda: CpuEngine(1), **problem)
        compared.append(problem)

    check()
    assert len(compared) >= 20


@pytest.mark.parametrize("make_engine", [ReferenceEngine, lambda: CpuEngine(1)])
@pytest.mark.parametrize(
    "network",
    [
        network_of(),
        network_of(2, hidden=[make_layer("silu", 4)] * 3, key=LOG_LOSS, units=3, embedding=()),
        network_of(4, "inputs", key=("log_loss", "logistic"), units=1),
        network_of(1),
    ],
)
def test_gradient_against_central_differences(make_engine, network):
    problem, engine = make_problem(network, 9), make_engine()
    data = engine.load(*problem, network, "float64")
    parameters = drawn_parameters(network, problem[0])

    def loss(p):
        return engine.loss_and_gradient(network, data, p, 0.1)[0]

    expected = central_differences(loss, parameters)
    expected[layout_of(network).trained_size :] = 0.0
    gradient = engine.loss_and_gradient(network, data, parameters, 0.1)[1]
    assert_allclose(gradient, expected, rtol=1e-6, atol=3e-9)
    assert engine.mean_loss(network, parameters, data) == pytest.approx(loss(parameters), rel=0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("adapt", ["inputs", "layers"])
@pytest.mark.parametrize(
    ("batch_size", "slab_size", "parts"), [(7, 21, 1), (67, 201, 2), (40, 15, 1), (40, 75, 2)]
)
@pytest.mark.usefixtures("always_parallel")
def test_threads_change_nothing(adapt, batch_size, slab_size, parts, dtype, monkeypatch):
    monkeypatch.setattr(skmlp.engines.cpu.task, "TILE_ROWS", 1)
    monkeypatch.setattr(skmlp.engines.cpu.task, "slab_rows", lambda *_: slab_size)
    hidden = [make_layer("tanh", 60, 0.2), make_layer("relu", 30)]
    network = network_of(3, adapt, hidden, LOG_LOSS, 3)
    assert parts_of_slab(network, slab_size) == parts
    problem = make_problem(network, 2 * batch_size + 1)
    options = {"dtype": dtype, "batch_size": batch_size, "solver": "sgd"}
    options |= {"ema_decay": 0.9, "clip_norm": 1.0} if batch_size == 40 else {}
    expected = run_epochs(CpuEngine(1), network, problem, **options)
    for n_jobs in (2, 3):
        assert_same_run(run_epochs(CpuEngine(n_jobs), network, problem, **options), expected)
    reference = run_epochs(ReferenceEngine(), network, problem, **options | {"dtype": "float64"})
    assert_allclose(expected[0], reference[0], rtol=TOLERANCE[dtype])
