"""One tiny fit per path of the CUDA engine, for tools that watch every memory access.

``compute-sanitizer --tool racecheck python -m benchmarks.tiny_fits``: in seconds each kernel runs
at least once, and its results are compared with the CPU's.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from scipy import sparse

from skmlp.engines.base import EpochPlan, FitTask, KeyedOrders, OptimizerState
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cuda.discovery import discover
from skmlp.engines.cuda.engine import CudaEngine
from skmlp.engines.cuda.paths import PathPolicy
from skmlp.network.initializers import draw_uniform
from skmlp.network.parameters import layout_of
from skmlp.network.specs import NetworkSpec, OptimizerSpec, plain_network

# A tile of 32 rows and columns and a rest of each; the last batch is a short one.
SIZES = {"rows": 90, "batch": 40, "units": (35, 37, 5)}
SIMULATED_SIZES = {"rows": 10, "batch": 4, "units": (5, 6, 3)}
ADAM = OptimizerSpec("adam", (0.9, 0.999, 1e-8))
# Of the loss after one epoch; rounding is the largest part of it.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "tf32": 1e-2, "bf16": 3e-2}


def fit(engine: Any, X: Any, targets: Any, network: NetworkSpec, batch: int, dtype: str) -> float:
    """Train two fits for an epoch, evaluate and predict; return the first one's loss."""
    weight = np.linspace(0.5, 1.5, X.shape[0])
    data = engine.load(X, targets, weight, network, dtype)
    layout = layout_of(network)
    parameters = draw_uniform(network, np.random.RandomState(0), np.float64)
    state = OptimizerState("adam", np.zeros((2, layout.size)), 0, 0.01)
    task = FitTask(network, ADAM, data, parameters, state, 0.1, batch)
    run = engine.start([task, task])
    plan = EpochPlan(KeyedOrders(np.arange(X.shape[0]), 7, 0, 1), 0.01)
    if isinstance(engine, CpuEngine):
        plan = EpochPlan(plan.explicit_orders(), 0.01)
    result, _ = run.advance([plan, plan])
    assert result is not None
    engine.loss_and_gradient(network, data, run.parameters(0), 0.1)
    engine.predict(network, *layout.views(run.parameters(0)), data)
    return float(result.losses[0])


def main() -> int:
    """Run all cases; return how many are wrong."""
    sizes: dict[str, Any] = SIMULATED_SIZES if discover().is_simulated else SIZES
    units, batch = sizes["units"], sizes["batch"]
    network = plain_network(units, "tanh", "log_loss", "softmax")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(sizes["rows"], units[0]))
    targets = rng.integers(units[-1], size=(len(X), 1)).astype(float)
    csr = sparse.csr_array(np.where(np.abs(X) > 1, X, 0.0))
    expected = {
        is_sparse: fit(CpuEngine(1), csr if is_sparse else X, targets, network, batch, "float64")
        for is_sparse in (False, True)
    }
    wrong = 0
    for path, team, how in (
        *(("resident", team, dtype) for team in (1, 3) for dtype in ("float32", "float64")),
        *(("batched", 1, how) for how in TOLERANCES),
    ):
        is_rounded = how in ("tf32", "bf16")
        for is_sparse in (False, True):
            name = f"{path}, {team} block(s), {how}, {'CSR' if is_sparse else 'dense'}"
            data, dtype = (csr if is_sparse else X), ("float32" if is_rounded else how)
            try:
                engine = CudaEngine(how if is_rounded else None, PathPolicy(path, team))
                loss = fit(engine, data, targets, network, batch, dtype)
            except Exception as problem:  # the other cases may work, or show what it is about
                wrong += 1
                print(f"WRONG  {name}: {type(problem).__name__}: {problem}", flush=True)
                continue
            error = abs(loss / expected[is_sparse] - 1)
            is_right = error <= TOLERANCES[how]
            wrong += not is_right
            print(f"{'right' if is_right else 'WRONG'}  {name}: off by {error:.1e}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
