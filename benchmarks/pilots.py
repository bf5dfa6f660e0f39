"""Networks with one more thing each, beside PyTorch's eager step of the same network.

Every one is given twice: as parameters of skmlp's estimators, and as what PyTorch's loop does in
its place. The others are as in the plain rows of ``fit``: Adam, relu, shuffled minibatches.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from benchmarks import measure, steady
from benchmarks.peers import Fit, estimator_peer
from benchmarks.report import Table
from benchmarks.workloads import Array, Workload, make_data

PLAIN = "relu"


@dataclasses.dataclass(frozen=True)
class Pilot:
    """One more thing.

    Attributes
    ----------
    parameters : dict
        Of skmlp's estimators.
    layer : callable
        ``layer(nn, units)``: the modules of PyTorch behind a linear layer of so many units.
    products : int
        Columns of the linear layer for each unit.
    inputs : callable
        ``inputs(nn)``: the modules in front of the first layer.
    optimizer : callable
        ``optimizer(torch, parameters)``.
    before_step : callable
        ``before_step(torch, parameters)``, once per step, behind the gradient.
    schedule : callable or None
        ``schedule(torch, optimizer, n_steps)``: what is told of every step.
    """

    parameters: Mapping[str, Any]
    layer: Callable[[Any, int], list[Any]] = lambda nn, units: [nn.ReLU()]
    products: int = 1
    inputs: Callable[[Any], list[Any]] = lambda nn: []
    optimizer: Callable[[Any, Any], Any] = lambda torch, p: torch.optim.Adam(p, lr=1e-3)
    before_step: Callable[[Any, Any], object] = lambda torch, p: None
    schedule: Callable[[Any, Any, int], Any] | None = None


def maxout(nn: Any, units: int) -> list[Any]:
    class Largest(nn.Module):  # type: ignore[misc]
        def forward(self, z: Any) -> Any:
            return z.view(-1, 2, units).amax(1)

    return [Largest()]


def cosine(torch: Any, optimizer: Any, n_steps: int) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)


PILOTS: dict[str, Pilot] = {
    PLAIN: Pilot({}),
    "gelu": Pilot({"activation": "gelu"}, lambda nn, units: [nn.GELU()]),
    "silu": Pilot({"activation": "silu"}, lambda nn, units: [nn.SiLU()]),
    "leaky_relu": Pilot({"activation": "leaky_relu"}, lambda nn, units: [nn.LeakyReLU(0.01)]),
    "prelu": Pilot({"activation": "prelu"}, lambda nn, units: [nn.PReLU(units)]),
    "maxout": Pilot({"activation": "maxout"}, maxout, products=2),
    "dropout": Pilot({"dropout": 0.5}, lambda nn, units: [nn.ReLU(), nn.Dropout(0.5)]),
    "input_dropout": Pilot({"input_dropout": 0.2}, inputs=lambda nn: [nn.Dropout(0.2)]),
    "layer norm": Pilot(
        {"normalization": "layer"}, lambda nn, units: [nn.LayerNorm(units), nn.ReLU()]
    ),
    "batch norm": Pilot(
        {"normalization": "batch"}, lambda nn, units: [nn.BatchNorm1d(units), nn.ReLU()]
    ),
    "adamw": Pilot(
        {"solver": "adamw", "weight_decay": 0.01},
        optimizer=lambda torch, p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.01),
    ),
    "clip_norm": Pilot(
        {"clip_norm": 1.0},
        before_step=lambda torch, p: torch.nn.utils.clip_grad_norm_(p, 1.0),
    ),
    "cosine": Pilot({"learning_rate": "cosine"}, schedule=cosine),
}


def prepare_torch(pilot: Pilot, workload: Workload, X: Array, y: Array) -> Fit:
    """Return a plain eager PyTorch loop that trains the pilot's network."""
    torch: Any = importlib.import_module("torch")
    nn = torch.nn
    losses = {"multiclass": nn.CrossEntropyLoss, "binary": nn.BCEWithLogitsLoss}
    criterion = losses[workload.kind]()
    features, target = torch.from_numpy(X), torch.from_numpy(y)
    if workload.kind == "binary":
        target = target.to(features.dtype)[:, None]
    n_steps = -(-len(X) // workload.batch)

    def fit(epochs: int) -> None:
        torch.manual_seed(0)
        units = (workload.features, *workload.hidden)
        layers = pilot.inputs(nn)
        for fan_in, fan_out in pairwise(units):
            layers += [nn.Linear(fan_in, pilot.products * fan_out), *pilot.layer(nn, fan_out)]
        model = nn.Sequential(*layers, nn.Linear(units[-1], workload.outputs)).to(features.dtype)
        parameters = list(model.parameters())
        optimizer = pilot.optimizer(torch, parameters)
        schedule = pilot.schedule and pilot.schedule(torch, optimizer, epochs * n_steps)
        for _ in range(epochs):
            for index in torch.randperm(len(features)).split(workload.batch):
                optimizer.zero_grad()
                loss = criterion(model(features[index]), target[index])
                loss.backward()
                pilot.before_step(torch, parameters)
                optimizer.step()
                if schedule:
                    schedule.step()

    return fit


def measure_pilots(
    workloads: list[Workload],
    dtype: str,
    threads: int | None,
    repeats: int,
    time_limit: float,
    sampler: Callable[[Fit, int], steady.Sampler],
    epoch_flops: float,
) -> Table:
    """Return the table of all pilots: each row's competitors, and the plain network, take turns.

    Parameters
    ----------
    sampler : callable
        ``sampler(fit, steps_per_epoch)``: of the seconds of a step.
    """
    rows = []
    for workload in workloads:
        steps = workload.steps_per_epoch(epoch_flops)
        X, y = make_data(workload, steps * workload.batch, dtype)
        for name, pilot in PILOTS.items():
            measure.progress(f"fit, {workload.name}, {name}, {dtype}")
            own = {"n_jobs": threads, **pilot.parameters}
            competitors = {"skmlp": estimator_peer("skmlp", workload, X, y, own)}
            if name != PLAIN:
                plain = {"n_jobs": threads}
                competitors[PLAIN] = estimator_peer("skmlp", workload, X, y, plain)
            if importlib.util.find_spec("torch"):
                competitors["torch"] = prepare_torch(pilot, workload, X, y)
            samplers = {who: sampler(fit, steps) for who, fit in competitors.items()}
            rows.append(make_row(workload, name, steady.measured(samplers, repeats, time_limit)))
    return Table(
        f"Networks with one more thing, {dtype}: microseconds per minibatch step",
        ["workload", "pilot", "skmlp", PLAIN, "torch", f"skmlp/{PLAIN}", "torch/skmlp"],
        rows,
        [
            f"{PLAIN}: skmlp's plain network of the same sizes, in turns with the pilot. torch:",
            "PyTorch's eager step of the same network.",
            *steady.notes(rows, "pilot"),
        ],
    )


def make_row(workload: Workload, name: str, measurement: steady.Measurement) -> dict[str, Any]:
    medians = {who: 1e6 * value for who, value in measurement.medians.items()}
    row: dict[str, Any] = {"workload": workload.name, "pilot": name, **medians}
    if PLAIN in medians:
        row[f"skmlp/{PLAIN}"] = medians["skmlp"] / medians[PLAIN]
    if "torch" in medians:
        row["torch/skmlp"] = medians["torch"] / medians["skmlp"]
    return {**row, **measurement.facts}
