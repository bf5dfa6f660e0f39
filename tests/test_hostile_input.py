"""Input and attributes that contradict themselves never reach compiled code.

Where they did, the interpreter would crash: so all that happens in processes of its own.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from skmlp import MLPRegressor
from skmlp.engines.base import EpochPlan, FitTask, OptimizerState
from skmlp.engines.cpu.rows import load_rows
from skmlp.network.specs import OptimizerSpec, plain_network


@pytest.fixture(scope="module")
def last_line(run_python):
    """Return a function that calls another one of a helper module, and returns what it prints."""

    def call(module, function, *arguments):
        script = (
            "import importlib, sys; sys.path.insert(0, sys.argv[1])\n"
            "getattr(importlib.import_module(sys.argv[2]), sys.argv[3])(*sys.argv[4:])"
        )
        output = run_python(script, Path(__file__).parent, module, function, *arguments)
        return json.loads(output.splitlines()[-1])

    return call


def test_sparse_matrices_that_contradict_themselves(last_line):
    outcomes = last_line("hostile_matrices", "contradictory")
    assert len(outcomes) > 600
    wrong = {
        case: outcome
        for case, (name, outcome) in outcomes.items()
        if not outcome.startswith(f"ValueError: {name} is a sparse ")
    }
    assert wrong == {}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_odd_sparse_matrices_are_fitted_like_dense_ones(last_line, dtype):
    assert last_line("hostile_matrices", "odd", dtype) == []


def test_sparse_matrices_without_entries(make_problem):
    X, y = make_problem("regression")
    empty = scipy.sparse.csr_array(X.shape)
    model = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", tol=1e-2, random_state=0).fit(
        X, y
    )
    np.testing.assert_array_equal(model.predict(empty), model.predict(np.zeros(X.shape)))
    model.fit(empty, y)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        model.predict(empty[:0])


def misaligned(array):
    """Return a copy whose elements lie at odd addresses."""
    memory = np.zeros(array.nbytes + 1, dtype=np.uint8)[1:]
    shifted = memory.view(array.dtype).reshape(array.shape)
    shifted[...] = array
    assert not shifted.flags.aligned
    return shifted


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_read_whole_elements(dtype):
    dense = misaligned(np.arange(12, dtype=dtype).reshape(3, 4))
    sparse = scipy.sparse.csr_array(dense)
    for name in ("data", "indices", "indptr"):
        setattr(sparse, name, misaligned(getattr(sparse, name)))
    targets, weight = misaligned(np.ones((3, 1), dtype)), misaligned(np.ones(3))
    for X in (dense, sparse):
        source = load_rows(X, targets, weight, dtype).source
        size = dense.itemsize
        assert source.values % size == source.targets % size == source.weights % 8 == 0
        assert source.indices % 4 == source.indptr % 8 == 0


def test_kernels_are_called_with_doubles_and_batches():
    # By address: an integer in the place of a double would move all arguments behind it.
    plan = EpochPlan(np.zeros((1, 3), dtype=np.int64), np.float32(1))
    assert type(plan.learning_rate) is float
    state = OptimizerState("sgd", np.zeros((1, 3)), 0, 0.1)
    network = plain_network((2, 1), "relu", "squared_error", "identity")
    optimizer = OptimizerSpec("sgd", (0.9, 1.0))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        FitTask(network, optimizer, None, np.zeros(3), state, 0.0, batch_size=0)


def test_draws_of_assigned_attributes(last_line):
    assert last_line("hostile_draws", "main", 0, 1500) == []
