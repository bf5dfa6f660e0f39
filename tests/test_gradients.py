"""Gradients of both engines against central differences of their own loss."""

from itertools import cycle, product

import numpy as np
import pytest
from engine_checks import DIFFERENTIABLE, DRAWN, head_of, network_with
from numpy.testing import assert_allclose
from scipy import sparse

from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.initializers import draw_uniform
from skmlp.network.losses import LOSSES

ENGINES = {"reference": ReferenceEngine, "cpu": lambda: CpuEngine(n_jobs=1)}
N_SAMPLES, N_FEATURES = 9, 4
STEP = 1e-6


def make_targets(network, rng):
    return np.hstack([targets_of(head, rng) for head in network.heads])


def targets_of(head, rng):
    shape = (N_SAMPLES, head.target_columns)
    if head.entry.is_categorical:
        return rng.integers(head.units, size=shape).astype(float)
    if head.entry.for_classes:
        return rng.integers(2, size=shape).astype(float)
    if head.entry.domain_minimum == 0.0:
        return rng.poisson(2.0, size=shape) + 0.5 * head.entry.domain_is_open
    return rng.normal(size=shape)


def central_differences(loss, parameters, step=STEP):
    gradient = np.empty_like(parameters)
    for i, shift in enumerate(np.eye(len(parameters)) * step):
        gradient[i] = (loss(parameters + shift) - loss(parameters - shift)) / (2 * step)
    return gradient


# Each loss with one of the kinds of maps, and each activation with one of the losses.
PAIRS = sorted(
    {
        *zip(cycle(DRAWN), sorted(LOSSES), strict=False),
        *zip(DIFFERENTIABLE, cycle(sorted(LOSSES, reverse=True)), strict=False),
    }
)


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize(("activation", "key"), PAIRS)
def test_gradient_against_central_differences(engine_name, activation, key):
    """Several and single outputs, with and without weights and penalty, whole and short batch."""
    engine = ENGINES[engine_name]()
    rng = np.random.default_rng(0)
    outputs = [3] if LOSSES[key].is_categorical else [1, 3]
    hidden_layers = [(), (5,), (4, 3)]
    weights = [None, rng.uniform(0.1, 2.0, size=N_SAMPLES)]
    batches = [None, np.array([7, 2, 5])]
    # Every fifth: any two values of different things meet.
    cases = [*product(outputs, hidden_layers, weights, [0.0, 0.7], batches, [False, True])][::5]
    for n_outputs, hidden, weight, alpha, rows, is_sparse in cases:
        # Small, so that no probability saturates (the loss is clipped there, its gradient is not)
        # and exp() stays moderate: a difference quotient has the rounding error of the loss.
        X = 0.3 * rng.normal(size=(N_SAMPLES, N_FEATURES))
        if is_sparse:
            X = sparse.csr_array(np.where(X > 0, X, 0.0))
        network = network_with((N_FEATURES, *hidden), activation, [head_of(key, n_outputs)])
        targets = make_targets(network, rng)
        check_gradient(engine, network, (X, targets, weight), alpha, rows)


def check_gradient(engine, network, problem, alpha=0.0, rows=None):
    data = engine.load(*problem, network, "float64")
    parameters = draw_uniform(network, np.random.RandomState(1), np.float64)
    loss, gradient = engine.loss_and_gradient(network, data, parameters, alpha, rows)
    expected = central_differences(
        lambda p: engine.loss_and_gradient(network, data, p, alpha, rows)[0], parameters
    )
    # Of the quotient, rounding errors of the loss are left.
    rounding = 4 * np.finfo(float).eps * abs(loss) / STEP
    assert_allclose(gradient, expected, rtol=1e-6, atol=max(2e-9, rounding))


@pytest.mark.parametrize("engine_name", ENGINES)
def test_gradient_of_several_heads(engine_name):
    """Of every loss, once first and once last."""
    rng = np.random.default_rng(0)
    keys = sorted(LOSSES)
    for some in (keys, keys[::-1]):
        heads = [head_of(key, 1 + i % 3) for i, key in enumerate(some)]
        network = network_with((N_FEATURES, 5), "tanh", heads)
        X, weight = 0.3 * rng.normal(size=(N_SAMPLES, N_FEATURES)), rng.uniform(size=N_SAMPLES)
        problem = X, make_targets(network, rng), weight
        check_gradient(ENGINES[engine_name](), network, problem, alpha=0.7)
