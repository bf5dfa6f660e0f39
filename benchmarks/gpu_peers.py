"""How each competitor of ``python -m benchmarks gpu`` trains, in a process of its own.

A preparer takes a case, a device and options, and returns a `Training`. Inputs are random and on
the device before it is first called; every step is a whole batch; no peer applies the L2 penalty
that skmlp and scikit-learn apply.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import ParameterGrid, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from benchmarks.workloads import WORKLOADS, Array, Workload, make_data

Step = Callable[[Any], Any]

# Adam's settings everywhere: both rates of decay, and epsilon.
_ADAM = (0.9, 0.999, 1e-8)


@dataclass(frozen=True)
class Case:
    """What one row of the table trains.

    Attributes
    ----------
    models : int
        Models trained at once.
    """

    workload: Workload
    models: int = 1

    @property
    def rows(self) -> int:
        """Rows of X, rounded to whole batches."""
        return self.batches * self.workload.batch

    @property
    def parameters(self) -> int:
        """Parameters of one model."""
        units = (self.workload.features, *self.workload.hidden, self.workload.outputs)
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(units))

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return self.workload.steps_per_epoch(max_flops=1e30)

    def data(self) -> tuple[Array, Array]:
        """Return ``X, y`` in float32."""
        return make_data(self.workload, self.rows, "float32")

    def rates(self) -> Array:
        """Return a learning rate for each model."""
        return np.geomspace(1e-4, 3e-3, self.models) if self.models > 1 else np.array([1e-3])

    def alphas(self) -> Array:
        """Return a penalty for each model."""
        return np.geomspace(1e-6, 1e-2, self.models) if self.models > 1 else np.array([1e-4])


CASES = {
    "small": Case(WORKLOADS["digits"]),
    "many": Case(WORKLOADS["digits"], 1000),
    "medium": Case(WORKLOADS["mnist"]),
    "wide": Case(Workload("wide", 20480, 4096, (4096, 4096), 10, 4096, "multiclass")),
}
# The same for a run in the simulator, which shows that everything works and nothing else.
TINY_CASES = {
    "small": Case(Workload("tiny", 16, 5, (6,), 3, 8, "multiclass")),
    "many": Case(Workload("tiny", 16, 5, (6,), 3, 8, "multiclass"), 3),
    "medium": Case(Workload("tiny", 16, 9, (6,), 3, 8, "multiclass")),
    "wide": Case(Workload("tiny", 16, 9, (8, 8), 3, 8, "multiclass")),
}


class Training(NamedTuple):
    """A competitor, ready to train.

    Attributes
    ----------
    run : callable
        ``(units) -> facts``: trains so much and waits for the end; returns what else is to be
        known, a dict of plain values.
    unit_steps : int
        Steps in a unit, those of all models counted; 1 where a unit is the figure itself.
    """

    run: Callable[[int], dict[str, Any]]
    unit_steps: int


# --- skmlp ---


def prepare_skmlp(
    case: Case, device: str, path: str | None = None, precision: str | None = None, team: int = 0
) -> Training:
    """Train on the CUDA engine itself, by a path and blocks per model or by its own choice."""
    from skmlp.engines.base import EpochPlan, KeyedOrders
    from skmlp.engines.cuda.engine import CudaEngine
    from skmlp.engines.cuda.paths import PathPolicy

    engine = CudaEngine(precision, PathPolicy(path, team))
    run = engine.start(tasks_of(case, engine))
    rows = np.arange(case.rows)
    first_epoch = 0

    def train(epochs: int) -> dict[str, Any]:
        nonlocal first_epoch
        plans = [
            EpochPlan(KeyedOrders(rows, key, first_epoch, epochs), rate)
            for key, rate in enumerate(case.rates())
        ]
        results = run.advance(plans)
        first_epoch += epochs
        if not all(result is not None and result.finite for result in results):
            raise RuntimeError("a loss or a parameter is not finite")
        return {"path": _paths_taken(run), "loss": _last_loss(results)}

    return Training(train, case.batches * case.models)


def tasks_of(case: Case, engine: Any) -> list[Any]:
    """Return the fits of a case, their data loaded by an engine."""
    workload = case.workload
    X, y = case.data()
    network = _classifier_network((workload.features, *workload.hidden, workload.outputs))
    data = engine.load(X, y[:, np.newaxis].astype(np.float32), None, network, "float32")
    return [
        _make_task(network, data, seed, alpha, rate, workload.batch)
        for seed, (alpha, rate) in enumerate(zip(case.alphas(), case.rates(), strict=True))
    ]


def _last_loss(results: Any) -> float:
    return float(np.mean([result.losses[-1] for result in results]))


def _classifier_network(units: tuple[int, ...]) -> Any:
    from skmlp.network.specs import plain_network

    return plain_network(units, "relu", "log_loss", "softmax")


def _make_task(network: Any, data: Any, seed: int, alpha: float, rate: float, batch: int) -> Any:
    from skmlp.engines.base import FitTask, OptimizerState
    from skmlp.network.initializers import draw_uniform
    from skmlp.network.parameters import layout_of
    from skmlp.network.specs import OptimizerSpec

    layout = layout_of(network)
    parameters = draw_uniform(network, np.random.RandomState(seed), np.float32)
    state = OptimizerState("adam", np.zeros((2, layout.size), np.float32), 0, rate)
    return FitTask(
        network, OptimizerSpec("adam", _ADAM), data, parameters, state, float(alpha), batch
    )


def _paths_taken(run: Any) -> str:
    """Name the kinds of groups that a run consists of."""
    groups = [type(group).__name__ for group, _ in getattr(run, "_members", [])]
    return ", ".join(f"{groups.count(name)} {name}" for name in sorted(set(groups)))


# --- PyTorch ---


def prepare_torch(
    case: Case, device: str, how: str = "eager", precision: str = "float32"
) -> Training:
    """Train one PyTorch model: ``"eager"``, ``"compile"``, or a step captured as ``"graph"``."""
    torch = _torch(precision)
    workload = case.workload
    features, target = (torch.from_numpy(array).to(device) for array in case.data())
    model = _torch_model(torch, workload).to(device)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = _torch_adam(torch, model.parameters(), device, captured=how == "graph")
    rounds = precision == "bf16"
    static_index = torch.arange(workload.batch, device=device)

    def loss_of(rows: Any, wanted: Any) -> Any:
        # Weights are rounded anew in every step: a captured step must not find them rounded.
        with torch.autocast(device, torch.bfloat16, enabled=rounds, cache_enabled=False):
            return criterion(model(rows), wanted)

    if how == "compile":  # the batch alone is copied to where its graph expects it
        loss_of = torch.compile(loss_of, mode="reduce-overhead")

    def step(index: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(features[index], target[index])
        loss.backward()
        optimizer.step()
        return loss

    take_step = _torch_captured(torch, step, static_index) if how == "graph" else step

    def train(epochs: int) -> dict[str, Any]:
        for _ in range(epochs):
            for index in torch.randperm(case.rows, device=device).split(workload.batch):
                loss = take_step(index)
        _wait(torch, device)
        return {"loss": float(loss.detach())}

    return Training(train, case.batches)


def prepare_torch_vmap(case: Case, device: str) -> Training:
    """Train stacked models by ``torch.func.vmap``, the step captured as a graph.

    All models have the same learning rate, so that PyTorch's fused Adam can be used: less work
    than skmlp does.
    """
    torch = _torch("float32")
    workload = case.workload
    features, target = (torch.from_numpy(array).to(device) for array in case.data())
    models = [_torch_model(torch, workload) for _ in range(case.models)]
    stacked, _ = torch.func.stack_module_state(models)
    stacked = {name: values.detach().to(device) for name, values in stacked.items()}
    skeleton = _torch_model(torch, workload).to(device)
    optimizer = _torch_adam(torch, stacked.values(), device, captured=True)
    static_index = torch.zeros((case.models, workload.batch), dtype=torch.int64, device=device)

    def loss_of(parameters: Any, index: Any) -> Any:
        raw = torch.func.functional_call(skeleton, parameters, (features[index],))
        return torch.nn.functional.cross_entropy(raw, target[index])

    gradients = torch.func.vmap(torch.func.grad_and_value(loss_of))

    def step(index: Any) -> Any:
        found, losses = gradients(stacked, index)
        for name, parameters in stacked.items():
            parameters.grad = found[name].contiguous()
        optimizer.step()
        return losses

    captured = _torch_captured(torch, step, static_index)

    def train(epochs: int) -> dict[str, Any]:
        for _ in range(epochs):
            # An order of its own for every model.
            orders = torch.rand((case.models, case.rows), device=device).argsort(dim=1)
            for index in orders.split(workload.batch, dim=1):
                losses = captured(index)
        _wait(torch, device)
        return {"loss": float(losses.mean())}

    return Training(train, case.batches * case.models)


def _torch(precision: str) -> Any:
    torch: Any = importlib.import_module("torch")
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    return torch


def _torch_model(torch: Any, workload: Workload) -> Any:
    layers: list[Any] = []
    fan_in = workload.features
    for fan_out in workload.hidden:
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
        fan_in = fan_out
    return torch.nn.Sequential(*layers, torch.nn.Linear(fan_in, workload.outputs))


def _torch_adam(torch: Any, parameters: Any, device: str, captured: bool) -> Any:
    """Return Adam: as anybody writes it, or fused into one kernel that a graph can hold."""
    options = {"fused": True, "capturable": device == "cuda"} if captured else {}
    return torch.optim.Adam(list(parameters), lr=1e-3, betas=_ADAM[:2], eps=_ADAM[2], **options)


def _torch_captured(torch: Any, step: Step, static_index: Any) -> Step:
    """Return a replay of `step` that first copies its rows' numbers; on a CPU, the same calls."""
    if static_index.device.type == "cuda":
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # optimizer's state and libraries' memory come first
            for _ in range(3):
                step(static_index)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static_result = step(static_index)

        def replay() -> Any:
            graph.replay()
            return static_result

    else:

        def replay() -> Any:
            return step(static_index)

    def copy_and_replay(index: Any) -> Any:
        static_index.copy_(index)
        return replay()

    return copy_and_replay


def _wait(torch: Any, device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


# --- JAX ---


def prepare_jax(case: Case, device: str, precision: str = "float32") -> Training:
    """Train by epochs that are one compiled ``scan``, mapped over the models if there are many."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # others need memory too
    jax: Any = importlib.import_module("jax")
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        raise RuntimeError(f"JAX computes on {jax.default_backend()!r}, not on the GPU")
    # By default JAX rounds factors to tf32 on a GPU. A CPU knows float32 alone.
    names = {"float32": "float32", "tf32": "TF32_TF32_F32", "bf16": "BF16_BF16_F32"}
    jax.config.update(
        "jax_default_matmul_precision", names["float32" if device == "cpu" else precision]
    )
    from benchmarks.peers import jax_epoch, jax_state

    workload = case.workload
    X, y = case.data()
    features, target = jax.numpy.asarray(X), jax.numpy.asarray(y)
    epoch = jax_epoch(workload)
    if case.models > 1:
        epoch = jax.vmap(epoch, in_axes=(0, 0, 0, None, None))
        states = [jax_state(workload, seed) for seed in range(case.models)]
        state = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *states)
        key = jax.random.split(jax.random.key(0), case.models)
        rate = jax.numpy.asarray(case.rates(), dtype=np.float32)
    else:
        state, key, rate = jax_state(workload), jax.random.key(0), np.float32(1e-3)
    train_epoch = jax.jit(epoch)

    def train(epochs: int) -> dict[str, Any]:
        nonlocal state, key
        for _ in range(epochs):
            state, key, losses = train_epoch(state, key, rate, features, target)
        jax.block_until_ready(state)
        return {"loss": float(losses[..., -1].mean())}

    return Training(train, case.batches * case.models)


# --- The grid search: 24 candidates x 5 folds, all of scikit-learn's digits ---


@dataclass(frozen=True)
class Search:
    """A grid search over a pipeline of a scaler and a classifier.

    Attributes
    ----------
    hidden, alphas, rates : tuple
        Values of hidden_layer_sizes, alpha and learning_rate_init.
    rows : int or None
        Rows of the digits to use, all by default.
    """

    hidden: tuple[tuple[int, ...], ...] = ((50,), (100,), (50, 50))
    alphas: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    rates: tuple[float, ...] = (1e-3, 1e-2)
    folds: int = 5
    epochs: int = 30
    batch: int = 200
    rows: int | None = None

    @property
    def grid(self) -> dict[str, list[Any]]:
        """The grid as scikit-learn takes it."""
        return {
            "mlpclassifier__hidden_layer_sizes": list(self.hidden),
            "mlpclassifier__alpha": list(self.alphas),
            "mlpclassifier__learning_rate_init": list(self.rates),
        }

    def data(self) -> tuple[Array, Array]:
        """Return ``X, y``, X in float32."""
        X, y = load_digits(return_X_y=True)
        return X[: self.rows].astype(np.float32), y[: self.rows]


SEARCH = Search()
TINY_SEARCH = Search(((3,),), (1e-3,), (1e-3, 1e-2), folds=2, epochs=1, batch=20, rows=40)


def prepare_search_skmlp(case: Search, device: str, path: str | None = None) -> Training:
    """Search with all fits as one list on the engine: scaling, fitting and scoring."""
    from skmlp.engines.base import EpochPlan, KeyedOrders
    from skmlp.engines.cuda.engine import CudaEngine
    from skmlp.engines.cuda.paths import PathPolicy
    from skmlp.network.parameters import layout_of

    X, y = case.data()

    def search() -> dict[str, Any]:
        engine = CudaEngine(policy=PathPolicy(path))
        folds = list(StratifiedKFold(case.folds).split(X, y))
        # One copy of X per fold, scaled by that fold's own training rows; fits name their rows.
        scaled = [StandardScaler().fit(X[train]).transform(X) for train, _ in folds]
        everything, labels = np.concatenate(scaled), np.tile(y, case.folds)
        units = {hidden: (X.shape[1], *hidden, int(y.max()) + 1) for hidden in case.hidden}
        networks = {hidden: _classifier_network(units[hidden]) for hidden in case.hidden}
        targets = labels[:, np.newaxis].astype(np.float32)
        data = engine.load(everything, targets, None, networks[case.hidden[0]], "float32")
        rows = [train + i * len(X) for i, (train, _) in enumerate(folds)]
        held_out = [test + i * len(X) for i, (_, test) in enumerate(folds)]
        candidates = [
            tuple(parameters[f"mlpclassifier__{name}"] for name in
                  ("hidden_layer_sizes", "alpha", "learning_rate_init"))
            for parameters in ParameterGrid(case.grid)
        ]  # fmt: skip
        fits = list(product(candidates, range(case.folds)))
        run = engine.start(
            [_make_task(networks[c[0]], data, 0, c[1], c[2], case.batch) for c, _ in fits]
        )
        results = run.advance(
            [
                EpochPlan(KeyedOrders(rows[fold], 0, 0, case.epochs), candidate[2])
                for candidate, fold in fits
            ]
        )
        if not all(result is not None and result.finite for result in results):
            raise RuntimeError("a loss or a parameter is not finite")
        scores = []
        for i, (candidate, fold) in enumerate(fits):
            network = networks[candidate[0]]
            layers = layout_of(network).views(run.parameters(i))
            predicted = engine.predict(network, *layers, data, held_out[fold]).argmax(axis=1)
            scores.append(np.mean(predicted == labels[held_out[fold]]))
        means = np.reshape(scores, (len(candidates), case.folds)).mean(axis=1)
        return {"path": _paths_taken(run), "best score": float(means.max())}

    return _repeated(search)


def prepare_search_sklearn(case: Search, device: str) -> Training:
    """Search with scikit-learn's own classifier on all cores."""
    from benchmarks.search import make_search, search_silently

    X, y = case.data()
    search = make_search("sklearn", case.epochs, case.grid, n_jobs=-1, cv=case.folds,
                         batch_size=case.batch)  # fmt: skip

    def run() -> dict[str, Any]:
        search_silently(search, X, y)
        return {"best score": float(search.cv_results_["mean_test_score"].max())}

    return _repeated(run)


def _repeated(search: Callable[[], dict[str, Any]]) -> Training:
    def run(times: int) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for _ in range(times):
            facts = search()
        return facts

    return Training(run, 1)


# --- Who takes part ---


@dataclass(frozen=True)
class Competitor:
    """One line of a row's table.

    Attributes
    ----------
    package : str
        Left out where it is not installed.
    prepare : callable
        Returns a `Training`.
    options : dict
        Its arguments besides the case and the device.
    precision : str
        What the factors of products are rounded to.
    aim : float or None
        How many times faster skmlp is to be.
    """

    package: str
    prepare: Callable[..., Training]
    options: dict[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    aim: float | None = None


def _skmlp_lines(prepare: Callable[..., Training], *paths: str) -> dict[str, Competitor]:
    return {
        "skmlp": Competitor("skmlp", prepare),
        **{f"skmlp {path}": Competitor("skmlp", prepare, {"path": path}) for path in paths},
    }


def _wide_lines() -> dict[str, Competitor]:
    lines = _skmlp_lines(prepare_skmlp, "batched")
    for precision in ("tf32", "bf16"):
        options = {"precision": precision}
        lines[f"skmlp {precision}"] = Competitor("skmlp", prepare_skmlp, options, precision)
    for precision in ("float32", "tf32", "bf16"):
        aim = None if precision == "bf16" else 1.0
        for how in ("eager", "graph"):
            lines[f"torch {how} {precision}"] = Competitor(
                "torch", prepare_torch, {"how": how, "precision": precision}, precision, aim
            )
        lines[f"jax scan {precision}"] = Competitor(
            "jax", prepare_jax, {"precision": precision}, precision
        )
    return lines


def _one_model_lines(eager_aim: float | None, graph_aim: float) -> dict[str, Competitor]:
    one_block = {"path": "resident", "team": 1}
    return {
        **_skmlp_lines(prepare_skmlp, "resident", "batched"),
        "skmlp resident, 1 block": Competitor("skmlp", prepare_skmlp, one_block),
        "torch eager": Competitor("torch", prepare_torch, {"how": "eager"}, aim=eager_aim),
        "torch graph": Competitor("torch", prepare_torch, {"how": "graph"}, aim=graph_aim),
        "jax scan": Competitor("jax", prepare_jax),
        "torch compile": Competitor("torch", prepare_torch, {"how": "compile"}),
    }


COMPETITORS: dict[str, dict[str, Competitor]] = {
    "small": _one_model_lines(20, 3),
    "many": {
        **_skmlp_lines(prepare_skmlp, "resident", "batched"),
        "torch one by one": Competitor("torch", prepare_torch, {"how": "eager"}, aim=500),
        "torch vmap graph": Competitor("torch", prepare_torch_vmap, aim=5),
        "jax vmap": Competitor("jax", prepare_jax),
    },
    "medium": _one_model_lines(None, 1.5),
    "wide": _wide_lines(),
    "search": {
        **_skmlp_lines(prepare_search_skmlp, "resident", "batched"),
        "sklearn": Competitor("sklearn", prepare_search_sklearn, aim=30),
    },
}


def case_of(row: str, tiny: bool) -> Case | Search:
    """Return what a row of the table trains."""
    if row == "search":
        return TINY_SEARCH if tiny else SEARCH
    return (TINY_CASES if tiny else CASES)[row]


def start_sampling(
    row: str, name: str, device: str, tiny: bool, span: float
) -> Callable[[str], dict[str, Any]]:
    """Return the one who answers a `Worker`.

    He is asked whether he is ``"ready"``, to ``"prepare"`` the training, to ``"count"`` what takes
    about `span` seconds, and then any number of times for a ``"sample"``: the seconds per step (or
    search) of so much work; or to ``"lengthen"`` it to twice as much.
    """
    competitor = COMPETITORS[row][name]
    importlib.import_module(competitor.package)
    training: Training | None = None
    units = 1

    def respond(request: str) -> dict[str, Any]:
        nonlocal training, units
        if request == "ready":
            return {}
        if request == "prepare":
            training = competitor.prepare(case_of(row, tiny), device, **competitor.options)
            began = time.perf_counter()
            training.run(1)
            return {"seconds of the first": time.perf_counter() - began}
        assert training is not None
        if request == "count":
            units = count_units(training, span)
            return {"units": units}
        if request == "lengthen":
            units *= 2
            return {"units": units}
        began = time.perf_counter()
        facts = training.run(units)
        seconds = time.perf_counter() - began
        per_step = seconds / (units * training.unit_steps)
        return {"seconds": per_step, "sample seconds": seconds, **facts}

    return respond


def count_units(training: Training, span: float) -> int:
    """Return how many units take about `span` seconds; caches and clocks are warm afterwards."""
    units = 1
    while True:
        began = time.perf_counter()
        training.run(units)
        seconds = time.perf_counter() - began
        if seconds >= span / 4:
            return max(1, round(units * span / seconds))
        units *= 4
