"""Networks with several things at once, beside PyTorch and JAX: microseconds per step."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import measure, steady
from benchmarks.fit import FULL, QUICK, step_sampler
from benchmarks.peers import Fit, estimator_peer
from benchmarks.report import Table
from benchmarks.workloads import WORKLOADS, Array, Workload, make_data, make_target

DTYPE = "float32"
QUANTILES = (0.1, 0.5, 0.9)
N_TARGETS, N_CLASSES = 3, 4
DROPOUT, DECAY, RATE = 0.2, 0.01, 1e-3
EPSILON, MOMENTUM = 1e-5, 0.1


@dataclasses.dataclass(frozen=True)
class Rich:
    """A network, three times.

    Attributes
    ----------
    workload : Workload
        With the outputs that the peers' networks have.
    parameters : callable
        ``parameters()``: those of skmlp's estimators.
    make_y : callable
        ``make_y(X)``: the target.
    torch_layer : callable
        ``torch_layer(nn, units)``: the modules of PyTorch behind a linear layer.
    torch_loss : callable
        ``torch_loss(torch, raw, y)``.
    jax_hidden : callable
        ``jax_hidden(jax, z, extra, key) -> a, statistics``: behind a linear layer of JAX.
    jax_loss : callable
        ``jax_loss(jax, raw, y)``.
    is_normalized : bool
        Whether layers have gains, shifts and running statistics.
    decays : bool
        Whether it is AdamW's step, and the rate follows a cosine.
    """

    workload: Workload
    parameters: Callable[[], Mapping[str, Any]]
    make_y: Callable[[Array], Array]
    torch_layer: Callable[[Any, int], list[Any]]
    torch_loss: Callable[[Any, Any, Any], Any]
    jax_hidden: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    jax_loss: Callable[[Any, Any, Any], Any]
    is_normalized: bool = False
    decays: bool = False


def with_outputs(name: str, outputs: int, kind: Any = None) -> Workload:
    workload = WORKLOADS[name]
    return dataclasses.replace(workload, outputs=outputs, kind=kind or workload.kind)


def classes_of(workload: Workload) -> Callable[[Array], Array]:
    return lambda X: make_target(X, workload.outputs, "multiclass", 0)


def several_classes(X: Array) -> Array:
    columns = [make_target(X, N_CLASSES, "multiclass", seed) for seed in range(N_TARGETS)]
    return np.stack(columns, axis=1)


def cross_entropy(torch: Any, raw: Any, y: Any) -> Any:
    return torch.nn.functional.cross_entropy(raw, y)


def torch_quantiles(torch: Any, raw: Any, y: Any) -> Any:
    steps = torch.nn.functional.softplus(raw[:, 1:])
    outputs = torch.cat([raw[:, :1], steps], dim=1).cumsum(dim=1)
    error = y[:, None] - outputs
    levels = torch.tensor(QUANTILES)
    return torch.maximum(levels * error, (levels - 1) * error).sum(dim=1).mean()


def torch_targets(torch: Any, raw: Any, y: Any) -> Any:
    pieces = raw.split(N_CLASSES, dim=1)
    return sum(cross_entropy(torch, piece, y[:, i]) for i, piece in enumerate(pieces))


def jax_cross_entropy(jax: Any, raw: Any, y: Any) -> Any:
    picked = jax.numpy.take_along_axis(jax.nn.log_softmax(raw), y[:, None], axis=1)
    return -picked.mean()


def jax_quantiles(jax: Any, raw: Any, y: Any) -> Any:
    jnp = jax.numpy
    outputs = jnp.cumsum(jnp.concatenate([raw[:, :1], jax.nn.softplus(raw[:, 1:])], axis=1), axis=1)
    error = y[:, None] - outputs
    levels = jnp.array(QUANTILES, jnp.float32)
    return jnp.maximum(levels * error, (levels - 1) * error).sum(axis=1).mean()


def jax_targets(jax: Any, raw: Any, y: Any) -> Any:
    pieces = jax.numpy.split(raw, N_TARGETS, axis=1)
    return sum(jax_cross_entropy(jax, piece, y[:, i]) for i, piece in enumerate(pieces))


def plain_hidden(jax: Any, z: Any, extra: Any, key: Any) -> tuple[Any, Any]:
    return jax.nn.relu(z), extra


def selu_hidden(jax: Any, z: Any, extra: Any, key: Any) -> tuple[Any, Any]:
    return jax.nn.selu(z), extra


def normalized_hidden(jax: Any, z: Any, extra: Any, key: Any) -> tuple[Any, Any]:
    """Batch norm, gelu and dropout; the statistics are the running ones after this batch."""
    gain, shift, statistics = extra
    mean, variance = z.mean(axis=0), z.var(axis=0)
    rows = len(z)
    moved = jax.lax.stop_gradient(jax.numpy.stack([mean, variance * rows / (rows - 1)]))
    statistics = statistics + MOMENTUM * (moved - statistics)
    normalized = (z - mean) / jax.numpy.sqrt(variance + EPSILON) * gain + shift
    kept = jax.random.bernoulli(key, 1 - DROPOUT, z.shape)
    a = jax.numpy.where(kept, jax.nn.gelu(normalized, approximate=False) / (1 - DROPOUT), 0.0)
    return a, (gain, shift, statistics)


def quantile_parameters() -> Mapping[str, Any]:
    from skmlp.losses import Quantile

    return {"loss": Quantile(QUANTILES)}


DIGITS, HOUSING = WORKLOADS["digits"], with_outputs("housing", len(QUANTILES))
ADULT = with_outputs("adult", N_TARGETS * N_CLASSES, "multiclass")
RICH: dict[str, Rich] = {
    "gelu, dropout, batch norm": Rich(
        DIGITS,
        lambda: {"activation": "gelu", "dropout": DROPOUT, "normalization": "batch"},
        classes_of(DIGITS),
        lambda nn, units: [nn.BatchNorm1d(units), nn.GELU(), nn.Dropout(DROPOUT)],
        cross_entropy,
        normalized_hidden,
        jax_cross_entropy,
        is_normalized=True,
    ),
    "selu, adamw, cosine": Rich(
        DIGITS,
        lambda: {
            "activation": "selu",
            "solver": "adamw",
            "weight_decay": DECAY,
            "learning_rate": "cosine",
        },
        classes_of(DIGITS),
        lambda nn, units: [nn.SELU()],
        cross_entropy,
        selu_hidden,
        jax_cross_entropy,
        decays=True,
    ),
    "three quantiles": Rich(
        HOUSING,
        quantile_parameters,
        lambda X: make_target(X, 1, "regression", 0)[:, 0],
        lambda nn, units: [nn.ReLU()],
        torch_quantiles,
        plain_hidden,
        jax_quantiles,
    ),
    "three targets of four classes": Rich(
        ADULT,
        dict,
        several_classes,
        lambda nn, units: [nn.ReLU()],
        torch_targets,
        plain_hidden,
        jax_targets,
    ),
}


def prepare_torch(rich: Rich, X: Array, y: Array) -> Fit:
    """Return a plain eager loop of PyTorch."""
    torch: Any = importlib.import_module("torch")
    nn, workload = torch.nn, rich.workload
    features, target = torch.from_numpy(X), torch.from_numpy(y)
    n_steps = -(-len(X) // workload.batch)

    def fit(epochs: int) -> None:
        torch.manual_seed(0)
        units = (workload.features, *workload.hidden)
        layers: list[Any] = []
        for fan_in, fan_out in pairwise(units):
            layers += [nn.Linear(fan_in, fan_out), *rich.torch_layer(nn, fan_out)]
        model = nn.Sequential(*layers, nn.Linear(units[-1], workload.outputs))
        if rich.decays:
            optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * n_steps)
        else:
            optimizer, schedule = torch.optim.Adam(model.parameters(), lr=RATE), None
        for _ in range(epochs):
            for index in torch.randperm(len(features)).split(workload.batch):
                optimizer.zero_grad()
                loss = rich.torch_loss(torch, model(features[index]), target[index])
                loss.backward()
                optimizer.step()
                if schedule:
                    schedule.step()

    return fit


def prepare_jax(rich: Rich, X: Array, y: Array) -> Fit:
    """Return a loop of JAX whose epoch is one compiled ``scan`` over the batches."""
    jax: Any = importlib.import_module("jax")
    jnp, workload = jax.numpy, rich.workload
    features, target = jnp.asarray(X), jnp.asarray(y)
    first, second, epsilon = 0.9, 0.999, 1e-8
    n_steps = len(X) // workload.batch

    def loss_of(trained: Any, statistics: Any, rows: Any, wanted: Any, key: Any) -> Any:
        hidden, moved = rows, []
        for layer, running in zip(trained[:-1], statistics, strict=True):
            weights, bias, *gains = layer
            key, own = jax.random.split(key)
            extra = (*gains, running) if rich.is_normalized else None
            hidden, extra = rich.jax_hidden(jax, hidden @ weights + bias, extra, own)
            moved.append(extra[-1] if rich.is_normalized else running)
        weights, bias = trained[-1]
        return rich.jax_loss(jax, hidden @ weights + bias, wanted), moved

    def step(state: Any, given: Any) -> Any:
        index, n_all = given
        trained, statistics, means, squares, count, key = state
        key, own = jax.random.split(key)
        slope = jax.value_and_grad(loss_of, has_aux=True)
        (value, statistics), gradient = slope(
            trained, statistics, features[index], target[index], own
        )
        rate = RATE * (0.5 * (1 + jnp.cos(jnp.pi * count / n_all)) if rich.decays else 1.0)
        count = count + 1
        size = rate * jnp.sqrt(1 - second**count) / (1 - first**count)
        means = jax.tree.map(lambda m, g: first * m + (1 - first) * g, means, gradient)
        squares = jax.tree.map(lambda v, g: second * v + (1 - second) * g * g, squares, gradient)
        keep = 1 - rate * DECAY if rich.decays else 1.0
        trained = jax.tree.map(
            lambda p, m, v: keep * p - size * m / (jnp.sqrt(v) + epsilon), trained, means, squares
        )
        return (trained, statistics, means, squares, count, key), value

    @jax.jit
    def train_epoch(state: Any, shuffle: Any, n_all: Any) -> Any:
        order = jax.random.permutation(shuffle, len(features)).reshape(-1, workload.batch)
        return jax.lax.scan(step, state, (order, jnp.full(len(order), n_all)))[0]

    def fit(epochs: int) -> None:
        key = jax.random.key(0)
        state = jax_state(jax, rich, key)
        for _ in range(epochs):
            key, shuffle = jax.random.split(key)
            state = train_epoch(state, shuffle, jnp.float32(epochs * n_steps))
        jax.block_until_ready(state)

    return fit


def jax_state(jax: Any, rich: Rich, key: Any) -> Any:
    """Return Glorot-uniform parameters, running statistics, zero moments and step count."""
    jnp, workload = jax.numpy, rich.workload
    rng = np.random.default_rng(0)
    units = (workload.features, *workload.hidden, workload.outputs)
    trained, statistics = [], []
    for number, (fan_in, fan_out) in enumerate(pairwise(units)):
        bound = np.sqrt(6 / (fan_in + fan_out))
        weights = jnp.asarray(rng.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32))
        layer = [weights, jnp.zeros(fan_out, np.float32)]
        if number < len(workload.hidden):
            if rich.is_normalized:
                layer += [jnp.ones(fan_out, np.float32), jnp.zeros(fan_out, np.float32)]
            statistics.append(jnp.zeros((2, fan_out), np.float32))
        trained.append(tuple(layer))
    zeros = jax.tree.map(jnp.zeros_like, trained)
    return trained, statistics, zeros, zeros, jnp.float32(0), key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``rich``."""
    parser.add_argument("--rows", nargs="+", choices=list(RICH), default=list(RICH),
                        metavar="NAME", help="networks to train")  # fmt: skip


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure the chosen networks; all that train one take turns."""
    effort = QUICK if arguments.quick else FULL
    rows = []
    for name in arguments.rows:
        measure.progress(f"rich, {name}")
        rich = RICH[name]
        workload = rich.workload
        steps = workload.steps_per_epoch(effort.epoch_flops)
        X, _ = make_data(workload, steps * workload.batch, DTYPE)
        y = rich.make_y(X)
        fits = {"skmlp": estimator_peer("skmlp", workload, X, y, rich.parameters())}
        for peer, prepare in (("torch", prepare_torch), ("jax", prepare_jax)):
            if importlib.util.find_spec(peer):
                fits[peer] = prepare(rich, X, y)
        samplers = {who: step_sampler(fit, effort.span, steps) for who, fit in fits.items()}
        measurement = steady.measured(samplers, effort.repeats, effort.time_limit)
        medians = {who: 1e6 * value for who, value in measurement.medians.items()}
        ratios = {f"{who}/skmlp": medians[who] / medians["skmlp"] for who in medians}
        del ratios["skmlp/skmlp"]
        rows.append({"network": name, "shape": workload.shape, **medians, **ratios,
                     **measurement.facts})  # fmt: skip
    peers = [who for who in ("skmlp", "torch", "jax") if who in rows[0]]
    return [
        Table(
            f"Networks with several things at once, {DTYPE}: microseconds per minibatch step",
            ["network", "shape", *peers, *(f"{who}/skmlp" for who in peers[1:])],
            rows,
            [
                "PyTorch's eager step, and JAX's epoch under jit and scan, of the same network.",
                *steady.notes(rows, "network"),
            ],
        )
    ]
