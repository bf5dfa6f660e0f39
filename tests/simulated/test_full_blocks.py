"""Fits with blocks, warps and tiles of the sizes that they have on a GPU.

Elsewhere a block has four threads in two warps, which says little about the arithmetic of lanes,
threads that share a tile, and edges of tiles. ``SKMLP_SIMULATED_BLOCKS=full`` is read when the
kernels are imported, so this module is run by itself.
"""

import numpy as np
import pytest
from engine_checks import (
    head_of,
    make_layer,
    make_network,
    make_plan,
    make_problem,
    run_epochs,
)
from numpy.testing import assert_allclose

from skmlp.engines.cuda import batched, device, kernels
from skmlp.engines.cuda.engine import CudaEngine
from skmlp.engines.cuda.paths import PathPolicy
from skmlp.engines.cuda.runtime import SimulatedRuntime
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.specs import plain_network

# (units, rows, batch): tiles are shared by up to eight threads; more rows than tiles have; more
# tiles than threads, and more columns than a large tile has.
SHAPES = [((9, 37, 5), 70, 40), ((5, 6, 3), 20, 13), ((35, 140, 3), 45, 45)]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


@pytest.fixture
def launched(monkeypatch):
    """Collect the names of kernels that are launched."""
    names = set()
    launch = SimulatedRuntime.launch

    def noting_launch(self, kernel, *arguments, **options):
        names.add(kernel.name)
        launch(self, kernel, *arguments, **options)

    monkeypatch.setattr(SimulatedRuntime, "launch", noting_launch)
    return names


def test_sizes():
    assert (device.WARP_THREADS, device.STEP_THREADS) == (32, 1024)
    assert kernels.tiles("float32")[1].threads == 256


def check(policy, units, n_samples, dtype, **options):
    network = plain_network(units, "tanh", "log_loss", "softmax")
    check_network(network, policy, n_samples, dtype, **options)


def check_network(network, policy, n_samples, dtype, **options):
    problem = make_problem(network, n_samples)
    plan = make_plan(n_samples, 1)
    actual = run_epochs(CudaEngine(policy=policy), network, problem, plan, dtype=dtype, **options)
    expected = run_epochs(ReferenceEngine(), network, problem, plan, **options)
    assert_allclose(actual[0], expected[0], rtol=TOLERANCE[dtype])
    scale = np.abs(expected[1]).max()
    assert_allclose(actual[1], expected[1], rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize(
    ("shape", "dtype", "team"),
    [(0, "float64", 1), (0, "float64", 2), (0, "float32", 1), (1, "float64", 1), (2, "float64", 1)],
)
def test_resident(shape, dtype, team):
    units, n_samples, batch_size = SHAPES[shape]
    check(PathPolicy("resident", team), units, n_samples, dtype, batch_size=batch_size)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("float64", "small"), ("float32", "deep"), ("float64", "large"), ("float32", "large")],
)
def test_batched(kind, dtype, monkeypatch, launched):
    n_large, n_few = {"small": (10**9, 0), "deep": (10**9, 10**9), "large": (0, 0)}[kind]
    monkeypatch.setattr(batched, "LARGE_TILES_PER_MULTIPROCESSOR", n_large)
    monkeypatch.setattr(batched, "FEW_TILES_PER_MULTIPROCESSOR", n_few)
    small, large = kernels.tiles(dtype)
    tile = {"small": small, "deep": kernels.deep_tile(), "large": large}[kind]
    units, n_samples, batch_size = SHAPES[0 if kind == "small" else 2]
    check(PathPolicy("batched"), units, n_samples, dtype, batch_size=batch_size)
    # The last layer is not deep enough for slices to be of use in its backward product.
    roles = kernels.ROLES if kind != "deep" else ("forward", "gradient")
    assert {f"{role}-{dtype}-{tile.name}" for role in roles} <= launched


def test_programs():
    """Rows and columns that end within a block, and more columns than a block has threads."""
    layers = [
        make_layer("prelu", 130, 0.3, normalization="layer"),
        make_layer("maxout", 3, normalization="batch"),
    ]
    network = make_network(5, layers, [head_of(("log_loss", "softmax"), 3)], 0.2)
    options = {"batch_size": 6, "solver": "sgd", "clip_norm": 0.1, "weight_decay": 0.1}
    check_network(network, PathPolicy("programs"), 6, "float64", **options)
