"""Layer and batch normalization, on the reference engine and the CPU engine."""

import numpy as np
import pytest
from engine_checks import (
    DRAWN,
    NORMALIZED,
    SETTINGS,
    TOLERANCE,
    head_of,
    make_layer,
    make_network,
    make_problem,
    run_epochs,
)
from numpy.testing import assert_allclose, assert_array_equal
from test_gradients import central_differences

import skmlp.engines.base
import skmlp.engines.cpu.task
from skmlp.engines.base import EpochPlan, FitTask, OptimizerState, slab_rows
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.folding import folded
from skmlp.network.initializers import draw_uniform
from skmlp.network.normalization import GROUP_ROWS, group_bounds, unbiased_divisor
from skmlp.network.parameters import layout_of
from skmlp.network.specs import OptimizerSpec

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
@pytest.mark.parametrize("activation", DRAWN)
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
    for factor in (1.0, 1e6):  # if anything but zero is multiplied, that shows
        extras = np.concatenate([factor * gain, shift])
        outputs.append(engine.predict(network, *layout.views(parameters), data, extras=extras))
    assert_array_equal(outputs[1], outputs[0])
    assert_allclose(outputs[0][0], outputs[0][-1], rtol=TOLERANCE[dtype])


# Batch normalization

BATCH = make_network(
    4,
    [
        make_layer("tanh", 37, 0.0, None, "batch"),
        make_layer("prelu", 5, 0.0, None, "batch"),
        make_layer("maxout", 6, 0.0, (3.0,), "batch"),
        make_layer("gelu", 3, 0.0, None, "layer"),
    ],
    [head_of(KEY, 2)],
)


def fit_once(engine, network, parameters, problem, batch_size, *, rate=0.1, dtype="float64"):
    """Return the parameters after an epoch of gradient descent, rows in their order."""
    X, targets, weight = problem
    data = engine.load(X, targets, weight, network, dtype)
    vectors = np.zeros((1, layout_of(network).size))
    task = FitTask(
        network,
        OptimizerSpec("sgd", SETTINGS["sgd"]),
        data,
        parameters,
        OptimizerState("sgd", vectors, 0, rate),
        0.1,
        batch_size,
    )
    run = engine.start([task])
    (result,) = run.advance([EpochPlan(np.arange(len(X))[np.newaxis], rate)])
    assert result.finite
    state = run.optimizer_state(0, rate)
    # Optimizers see nothing of running statistics.
    assert_array_equal(state.vectors[:, layout_of(network).trained_size :], 0.0)
    return run.parameters(0)


def test_rule_of_groups():
    assert list(group_bounds(GROUP_ROWS)) == [(0, GROUP_ROWS)]
    assert list(group_bounds(2 * GROUP_ROWS + 1)) == [(0, 256), (256, 512), (512, 513)]
    wide = make_network(20_000, [make_layer("relu", 9, normalization="batch")], [head_of(KEY, 1)])
    for network, batch_size, rows in (
        (BATCH, 200, 200),
        (BATCH, 10_000, 8192),
        (wide, 10_000, 256),
        (wide, 300, 256),
    ):
        assert slab_rows(network, batch_size, 4) == rows


@pytest.mark.parametrize("engine_name", ENGINES)
def test_gradient_where_the_last_group_has_one_row(engine_name):
    """Its running statistics are constants."""
    engine = ENGINES[engine_name]()
    layers = [make_layer("tanh", 3, 0.0, None, "batch") for _ in range(2)]
    network = make_network(2, layers, [head_of(KEY, 1)])
    layout, parameters = layout_of(network), drawn_parameters(network)
    data = engine.load(*make_problem(network, 257), network, "float64")

    def gradient_of(rows):
        loss = lambda p: engine.loss_and_gradient(network, data, p, 0.1, rows)[0]  # noqa: E731
        expected = central_differences(loss, parameters)
        expected[layout.trained_size :] = 0.0
        gradient = engine.loss_and_gradient(network, data, parameters, 0.1, rows)[1]
        assert_allclose(gradient, expected, rtol=1e-6, atol=2e-9)

    gradient_of(np.arange(257))
    gradient_of(np.array([5]))


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("rows", [7, 256, 300])
def test_rows_count_by_their_weights(engine_name, rows):
    engine = ENGINES[engine_name]()
    parameters = drawn_parameters(BATCH)
    X, targets, _ = make_problem(BATCH, rows)
    fit = lambda *problem: fit_once(engine, BATCH, parameters, problem, 600)  # noqa: E731

    # Rows of weight zero are as good as removed, except that groups are made of all rows.
    weight = np.ones(rows)
    weight[::3] = 0.0
    X[::3] *= 1e3
    if rows <= GROUP_ROWS:
        kept = weight > 0.0
        assert_allclose(fit(X, targets, weight), fit(X[kept], targets[kept], None), atol=1e-11)
    # Those of weight two are as if repeated.
    if rows <= GROUP_ROWS // 2:
        twice = np.repeat(np.arange(rows), 2)
        weight = np.full(rows, 2.0)
        assert_allclose(fit(X, targets, weight), fit(X[twice], targets[twice], None), atol=1e-11)
    # A scale changes what the penalty means, but no statistics.
    statistics = layout_of(BATCH).trained_size
    results = []
    for scale in (1.0, 1.0 / rows, 1e-3 / rows):
        weight = np.full(rows, scale)
        problem = X, targets, weight
        fitted = fit_once(engine, BATCH, parameters, problem, 600, rate=0.0)
        results.append(fitted[statistics:])
    assert_allclose(results[1], results[0], rtol=1e-9)
    assert_allclose(results[2], results[0], rtol=1e-9)


def test_divisor_of_running_variances():
    weight = np.array([1.0, 2.0, 3.0])
    assert unbiased_divisor(weight.sum(), np.sum(weight**2)) == 5.0
    weight = np.full(4, 0.25)
    assert unbiased_divisor(weight.sum(), np.sum(weight**2)) == 0.75
    assert unbiased_divisor(1.0, 1.0) > 0.0  # all of the weight in one row


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("engine_name", ENGINES)
def test_running_statistics(engine_name, dtype):
    """Against the loop written out: groups of 256 and of 44 rows, and one of a single row."""
    engine = ENGINES[engine_name]()
    network = one_layer(5, "batch")
    parameters = passing_on(network)
    X = 3.0 + 2.0 * np.random.default_rng(0).normal(size=(601, 5))
    targets = np.zeros((601, 1))
    problem = X.astype(dtype), targets, None
    # Nothing is learned at this rate.
    fitted = fit_once(engine, network, parameters, problem, 300, rate=0.0, dtype=dtype)
    mean, variance = parameters[-10:-5].copy(), parameters[-5:].copy()
    for start, stop in ((0, 256), (256, 300), (300, 556), (556, 600)):
        mean = 0.9 * mean + 0.1 * X[start:stop].mean(axis=0)
        variance = 0.9 * variance + 0.1 * X[start:stop].var(axis=0, ddof=1)
    assert_allclose(fitted[-10:-5], mean, rtol=TOLERANCE[dtype])
    assert_allclose(fitted[-5:], variance, rtol=TOLERANCE[dtype])
    assert_allclose(fitted[:-10], parameters[:-10], rtol=1e-6)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [257, 513, 700])
@pytest.mark.usefixtures("always_parallel")
def test_groups_in_slabs(batch_size, n_jobs, monkeypatch):
    monkeypatch.setattr(skmlp.engines.base, "MAX_SLAB_ROWS", 512)
    X, targets, weight = make_problem(BATCH, 770)
    weight[::5] = 0.0
    options = {"batch_size": batch_size, "solver": "sgd"}
    problem = X, targets, weight
    expected = run_epochs(ReferenceEngine(), BATCH, problem, **options)
    actual = run_epochs(CpuEngine(n_jobs), BATCH, problem, **options)
    assert_allclose(actual[0], expected[0], rtol=1e-11)
    assert_allclose(actual[1], expected[1], atol=1e-10)


def test_the_objective_takes_the_statistics_of_its_rows():
    parameters = drawn_parameters(BATCH)
    X, targets, weight = make_problem(BATCH, 300)
    for make_engine in ENGINES.values():
        engine = make_engine()
        data = engine.load(X, targets, weight, BATCH, "float64")
        given = parameters.copy()
        first = engine.loss_and_gradient(BATCH, data, given, 0.1, None, 0, 3)
        # Running statistics are neither read, nor have they changed.
        given[layout_of(BATCH).trained_size :] = 7.0
        again = engine.loss_and_gradient(BATCH, data, given, 0.1, None, 0, 3)
        assert first[0] == again[0]
        assert_array_equal(first[1], again[1])
        assert_array_equal(given[layout_of(BATCH).trained_size :], 7.0)


def test_folding():
    layout, parameters = layout_of(BATCH), drawn_parameters(BATCH)
    parameters[layout.trained_size :] += 0.5
    network, *arrays = folded(BATCH, *layout.views(parameters), layout.extras_of(parameters))
    assert [layer.normalization for layer in network.layers] == [None, None, None, "layer"]
    engine = ReferenceEngine()
    data = engine.load(make_problem(BATCH, 50)[0], None, None, BATCH, "float64")
    coefs, intercepts, extras = arrays
    expected = engine.predict(
        BATCH, *layout.views(parameters), data, extras=layout.extras_of(parameters)
    )
    actual = engine.predict(network, coefs, intercepts, data, extras=extras)
    assert_allclose(actual, expected, rtol=1e-12)
    # What has nothing to fold stays as it is.
    assert folded(network, coefs, intercepts, extras)[1] is coefs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("engine_name", ENGINES)
def test_constant_columns_are_normalized_to_zero(engine_name, dtype):
    """Exactly: a rounding error would be divided by the root of epsilon."""
    engine = ENGINES[engine_name]()
    network = one_layer(5, "batch")
    layout, parameters = layout_of(network), passing_on(network)
    X = np.repeat(np.random.default_rng(0).normal(size=(1, 5)), 77, axis=0)
    targets = np.zeros((77, 1))
    weight = np.random.default_rng(1).uniform(0.2, 2.0, size=77)
    data = engine.load(X.astype(dtype), targets, weight, network, dtype)
    gains = layout.extras_of(parameters)[:5]
    losses = []
    for factor in (1.0, 1e6):  # if anything but zero is multiplied, that shows
        gains *= factor
        loss, gradient = engine.loss_and_gradient(network, data, parameters, 0.0)
        losses.append(loss)
        assert_array_equal(layout.extras_of(gradient)[:5], 0.0)
        assert np.isfinite(gradient).all()
    assert losses[1] == losses[0]


def test_infinite_running_variance_is_no_healthy_fit():
    network = one_layer(3, "batch")
    X = np.array([[1e20], [-1e20]]) * np.ones((4, 1, 3))
    X = X.reshape(8, 3).astype("float32")
    engine = CpuEngine(1)
    data = engine.load(X, np.zeros((8, 1)), None, network, "float32")
    state = OptimizerState("sgd", np.zeros((1, layout_of(network).size)), 0, 0.0)
    task = FitTask(
        *(network, OptimizerSpec("sgd", SETTINGS["sgd"]), data, passing_on(network), state),
        *(0.0, 8),
    )
    (result,) = engine.start([task]).advance([EpochPlan(np.arange(8)[np.newaxis], 0.0)])
    assert not result.finite
    assert np.isfinite(result.losses).all()


def test_no_batch_is_normalized_by_a_variance_of_its_own_row():
    """A batch of one row, in training, is what a prediction is."""
    network = one_layer(4, "batch", "tanh")
    layout, parameters = layout_of(network), drawn_parameters(network)
    X, targets, _ = make_problem(network, 1)
    for make_engine in ENGINES.values():
        engine = make_engine()
        data = engine.load(X, targets, None, network, "float64")
        loss, _ = engine.loss_and_gradient(network, data, parameters, 0.0)
        extras = layout.extras_of(parameters)
        output = engine.predict(network, *layout.views(parameters), data, extras=extras)
        assert loss == pytest.approx(0.5 * np.sum((output - targets) ** 2), rel=1e-12)
