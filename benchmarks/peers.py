"""How each competitor trains a workload, and how skmlp's and scikit-learn's models are made.

Every peer is a function ``(workload, X, y, threads) -> fit``, where ``fit(epochs)`` trains a new
model for exactly that many epochs with Adam, relu, shuffled minibatches and defaults otherwise.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from benchmarks.workloads import Array, Workload

Fit = Callable[[int], None]
Preparer = Callable[[Workload, Array, Array, int | None], Fit]

MODULES = {"skmlp": "skmlp", "sklearn": "sklearn.neural_network"}


def make_model(package: str, task: Literal["classifier", "regressor"], /, **parameters: Any) -> Any:
    """Return an unfitted ``MLPClassifier`` or ``MLPRegressor`` of ``"skmlp"`` or ``"sklearn"``."""
    name = "MLPClassifier" if task == "classifier" else "MLPRegressor"
    return getattr(importlib.import_module(MODULES[package]), name)(**parameters)


def fit_silently(model: Any, X: Array, y: Array) -> Any:
    """Fit `model`, which is meant to stop at ``max_iter``, without its warning of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


def estimator_peer(package: str, workload: Workload, X: Array, y: Array, extra: Any) -> Fit:
    """Return the fit of an estimator with `extra` parameters."""
    task: Literal["classifier", "regressor"]
    task = "regressor" if workload.kind == "regression" else "classifier"

    def fit(epochs: int) -> None:
        model = make_model(
            package,
            task,
            hidden_layer_sizes=workload.hidden,
            batch_size=workload.batch,
            max_iter=epochs,
            tol=0.0,
            n_iter_no_change=np.inf,  # never stops early
            random_state=0,
            **extra,
        )
        fit_silently(model, X, y)

    return fit


def prepare_skmlp(workload: Workload, X: Array, y: Array, threads: int | None) -> Fit:
    """Return the fit of skmlp with ``n_jobs=threads``."""
    return estimator_peer("skmlp", workload, X, y, {"n_jobs": threads})


def prepare_sklearn(workload: Workload, X: Array, y: Array, threads: int | None) -> Fit:
    """Return the fit of scikit-learn; its threads are BLAS's, limited by the caller."""
    return estimator_peer("sklearn", workload, X, y, {})


def prepare_torch(workload: Workload, X: Array, y: Array, threads: int | None) -> Fit:
    """Return a plain eager PyTorch loop that gathers each batch by index."""
    torch: Any = importlib.import_module("torch")
    nn = torch.nn
    if threads is not None:
        torch.set_num_threads(threads)
    losses = {
        "multiclass": nn.CrossEntropyLoss,
        "binary": nn.BCEWithLogitsLoss,
        "regression": nn.MSELoss,
    }
    criterion = losses[workload.kind]()
    features = torch.from_numpy(X)
    target = torch.from_numpy(y)
    if workload.kind == "binary":
        target = target.to(features.dtype)[:, None]

    def fit(epochs: int) -> None:
        torch.manual_seed(0)
        units = (workload.features, *workload.hidden)
        layers: list[Any] = []
        for fan_in, fan_out in pairwise(units):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(units[-1], workload.outputs)).to(features.dtype)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(epochs):
            for index in torch.randperm(len(features)).split(workload.batch):
                optimizer.zero_grad()
                loss = criterion(model(features[index]), target[index])
                loss.backward()
                optimizer.step()

    return fit


def prepare_jax(workload: Workload, X: Array, y: Array, threads: int | None) -> Fit:
    """Return a JAX loop whose epoch is one compiled ``scan`` over the batches."""
    jax: Any = importlib.import_module("jax")
    features, target = jax.numpy.asarray(X), jax.numpy.asarray(y)
    train_epoch = jax.jit(jax_epoch(workload))

    def fit(epochs: int) -> None:
        state, key = jax_state(workload), jax.random.key(0)
        for _ in range(epochs):
            state, key, _ = train_epoch(state, key, 1e-3, features, target)
        jax.block_until_ready(state)

    return fit


def jax_epoch(workload: Workload) -> Callable[..., Any]:
    """Return ``(state, key, rate, features, target) -> (state, key, losses)``, not yet compiled.

    One ``scan`` over the batches; everything it does may be mapped over many models.
    """
    jax: Any = importlib.import_module("jax")
    jnp = jax.numpy
    first, second, epsilon = 0.9, 0.999, 1e-8

    def loss_of(parameters: Any, rows: Any, wanted: Any) -> Any:
        hidden = rows
        for weights, bias in parameters[:-1]:
            hidden = jax.nn.relu(hidden @ weights + bias)
        weights, bias = parameters[-1]
        raw = hidden @ weights + bias
        if workload.kind == "multiclass":
            log_probability = jax.nn.log_softmax(raw)
            return -jnp.take_along_axis(log_probability, wanted[:, None], axis=1).mean()
        if workload.kind == "binary":
            return (jnp.logaddexp(0, raw[:, 0]) - wanted * raw[:, 0]).mean()
        return 0.5 * ((raw - wanted) ** 2).sum(axis=1).mean()

    def train_epoch(state: Any, key: Any, rate: Any, features: Any, target: Any) -> Any:
        key, shuffle = jax.random.split(key)

        def step(state: Any, index: Any) -> Any:
            parameters, means, squares, count = state
            value, gradient = jax.value_and_grad(loss_of)(
                parameters, features[index], target[index]
            )
            count = count + 1
            size = rate * jnp.sqrt(1 - second**count) / (1 - first**count)
            means = jax.tree.map(lambda m, g: first * m + (1 - first) * g, means, gradient)
            squares = jax.tree.map(
                lambda v, g: second * v + (1 - second) * g * g, squares, gradient
            )
            parameters = jax.tree.map(
                lambda p, m, v: p - size * m / (jnp.sqrt(v) + epsilon), parameters, means, squares
            )
            return (parameters, means, squares, count), value

        order = jax.random.permutation(shuffle, len(features)).reshape(-1, workload.batch)
        state, losses = jax.lax.scan(step, state, order)
        return state, key, losses

    return train_epoch


def jax_state(workload: Workload, seed: int = 0) -> Any:
    """Return Glorot-uniform parameters, zero moments and step count."""
    jax: Any = importlib.import_module("jax")
    rng = np.random.default_rng(seed)
    units = (workload.features, *workload.hidden, workload.outputs)
    parameters = []
    for fan_in, fan_out in pairwise(units):
        bound = np.sqrt(6 / (fan_in + fan_out))
        weights = rng.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32)
        parameters.append((jax.numpy.asarray(weights), jax.numpy.zeros(fan_out, np.float32)))
    zeros = jax.tree.map(jax.numpy.zeros_like, parameters)
    return parameters, zeros, zeros, jax.numpy.float32(0)


PREPARERS: dict[str, Preparer] = {
    "skmlp": prepare_skmlp,
    "sklearn": prepare_sklearn,
    "torch": prepare_torch,
    "jax": prepare_jax,
}


def installed_peers(dtype: str) -> list[str]:
    """Return the peers that can train in `dtype` here; PyTorch and JAX join in float32 only."""
    optional = [name for name in ("torch", "jax") if importlib.util.find_spec(name)]
    return ["skmlp", "sklearn", *(optional if dtype == "float32" else [])]
