"""Layer and batch normalization, on the reference engine and the CPU engine."""

import numpy as np
import pytest
from engine_checks import (
    HIDDEN,
    NORMALIZED,
    TOLERANCE,
    head_of,
    make_layer,
    make_network,
    make_problem,
)
from numpy.testing import assert_allclose, assert_array_equal
from test_gradients import central_differences

from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.initializers import draw_uniform
from skmlp.network.parameters import layout_of

KEY = ("squared_error", "identity")
ENGINES = {"reference": ReferenceEngine, "cpu": lambda: CpuEngine(n_jobs=1)}


def drawn_parameters(network, seed=0):
    """Return parameters of which none, extras included, has a value of its own."""
    parameters = draw_uniform(network, np.random.RandomState(seed), np.float64)
    return parameters + np.random.default_rng(seed).uniform(0.0, 0.1, size=parameters.size)


def one_layer(units, normalization, activation="identity"):
    """Describe a network whose first layer can be made to pass its inputs on."""
    return make_network(
        units, [make_layer(activation, units, 0.0, None, normalization)], [head_of(KEY, 1)]
    )


def passing_on(network):
    """Return parameters by which the hidden layer sees the inputs as they are."""
    parameters = drawn_parameters(network)
    coefs, intercepts = layout_of(network).views(parameters)
    coefs[0][...] = np.eye(len(coefs[0]))
    intercepts[0][...] = 0.0
    return parameters


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("activation", HIDDEN)
@pytest.mark.parametrize("normalization", NORMALIZED)
def test_gradient_against_central_differences(normalization, activation, engine_name):
    engine = ENGINES[engine_name]()
    layers = [make_layer(activation, n, 0.2, None, normalization) for n in (5, 3)]
    network = make_network(4, layers, [head_of(KEY, 2)])
    X, targets, weight = make_problem(network, 9)
    weight[3] = 0.0
    data = engine.load(X, targets, weight, network, "float64")
    parameters = drawn_parameters(network)
    for step in (0, 3):

        def loss(p, step=step):
            return engine.loss_and_gradient(network, data, p, 0.1, None, 0, step)[0]

        gradient = engine.loss_and_gradient(network, data, parameters, 0.1, None, 0, step)[1]
        expected = central_differences(loss, parameters)
        # What is not trained may change a loss, but has no gradient.
        expected[layout_of(network).trained_size :] = 0.0
        assert_allclose(gradient, expected, rtol=1e-6, atol=2e-9)


@pytest.mark.parametrize("normalization", NORMALIZED)
def test_numbers_far_from_zero_keep_their_precision(normalization):
    """Sums of the numbers themselves, or of their squares, would have lost it."""
    network = one_layer(64, normalization, "tanh")
    rng = np.random.default_rng(0)
    X = (1e4 + rng.normal(size=(200, 64))).astype("float32")
    targets = rng.normal(size=(200, 1))
    parameters = passing_on(network).astype("float32")
    results = []
    for engine, dtype in ((ReferenceEngine(), "float64"), (CpuEngine(1), "float32")):
        data = engine.load(X.astype(dtype), targets, None, network, dtype)
        results.append(engine.loss_and_gradient(network, data, parameters, 0.0))
    (expected_loss, expected), (loss, gradient) = results
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    # Gradients by the coefficients are sums of such numbers, and no better.
    behind = layout_of(network).coef_offsets[1]
    scale = np.abs(expected[behind:]).max()
    assert_allclose(gradient[behind:], expected[behind:], rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("engine_name", ENGINES)
def test_layer_of_one_unit_passes_on_its_shift(engine_name):
    engine = ENGINES[engine_name]()
    network = one_layer(1, "layer")
    layout, parameters = layout_of(network), drawn_parameters(network)
    X = np.random.default_rng(0).normal(size=(20, 1))
    data = engine.load(X, None, None, network, "float64")
    (_, last), (_, intercept) = layout.views(parameters)
    _, shift = extras = layout.extras_of(parameters)
    outputs = engine.predict(network, *layout.views(parameters), data, extras=extras)
    assert_array_equal(outputs, np.full((20, 1), shift * last + intercept))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("engine_name", ENGINES)
def test_equal_pre_activations_are_normalized_to_zero(engine_name, dtype):
    """Exactly: a rounding error would be divided by the root of epsilon."""
    engine = ENGINES[engine_name]()
    network = one_layer(37, "layer")
    layout, parameters = layout_of(network), passing_on(network)
    gain, shift = layout.extras_of(parameters).reshape(2, -1)
    X = np.repeat(np.random.default_rng(0).normal(size=(20, 1)), 37, axis=1)
    data = engine.load(X.astype(dtype), None, None, network, dtype)
    outputs = []
    for factor in (1.0, 1e6):
        extras = np.concatenate([factor * gain, shift])
        outputs.append(engine.predict(network, *layout.views(parameters), data, extras=extras))
    assert_array_equal(outputs[1], outputs[0])
    assert_allclose(outputs[0][0], outputs[0][-1], rtol=TOLERANCE[dtype])
