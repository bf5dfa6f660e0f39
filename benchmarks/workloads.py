"""The six training workloads, defined once, and synthetic data of their shapes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Kind = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class Workload:
    """The shape of one fit: ``rows x features -> hidden -> outputs`` in minibatches of ``batch``.

    Attributes
    ----------
    outputs : int
        Output units: 1 for a binary target, the classes of a multiclass one, else the targets.
    """

    name: str
    rows: int
    features: int
    hidden: tuple[int, ...]
    outputs: int
    batch: int
    kind: Kind

    @property
    def shape(self) -> str:
        """The shape as the tables print it."""
        hidden = ",".join(map(str, self.hidden))
        return f"{self.rows}x{self.features} -> {hidden} -> {self.outputs}, {self.batch}"

    @property
    def flops_per_step(self) -> int:
        """Floating-point operations of the matrix products that one minibatch step needs.

        Forward, weight gradient and input gradient take ``2 * batch * fan_in * fan_out`` each; the
        first layer's input gradient is not needed.
        """
        units = (self.features, *self.hidden, self.outputs)
        products = [fan_in * fan_out for fan_in, fan_out in pairwise(units)]
        return 6 * self.batch * sum(products) - 2 * self.batch * products[0]

    def steps_per_epoch(self, max_flops: float) -> int:
        """Return the steps of a timed epoch: ``rows / batch``, or as many as `max_flops` allow.

        Rounding to whole batches gives every timed step the same shape.
        """
        affordable = int(max_flops // self.flops_per_step)
        return max(1, min(round(self.rows / self.batch), max(affordable, 2)))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("iris", 150, 4, (100,), 3, 150, "multiclass"),
        Workload("digits", 1797, 64, (100,), 10, 200, "multiclass"),
        Workload("housing", 20640, 8, (64, 64), 2, 200, "regression"),
        Workload("adult", 32000, 108, (100,), 1, 200, "binary"),
        Workload("mnist", 60000, 784, (100,), 10, 200, "multiclass"),
        Workload("wide", 20000, 512, (1024, 1024), 10, 256, "multiclass"),
    )
}


def random_rows(rows: int, features: int, dtype: str, seed: int) -> Array:
    """Return standard normal rows, written in place: no second array of that size exists."""
    X: Array = np.empty((rows, features), dtype=dtype)
    np.random.default_rng(seed).standard_normal(out=X, dtype=X.dtype.type)
    return X


def make_target(X: Array, outputs: int, kind: Kind, seed: int) -> Array:
    """Return a learnable target: noisy outputs of a random linear teacher, as `kind` needs them.

    A regression target is standardized and has the dtype of `X`; classes are ``int64``.
    """
    rng = np.random.default_rng(seed + 1)
    weights = rng.standard_normal((X.shape[1], outputs)).astype(X.dtype)
    response = np.tanh(X @ weights / np.sqrt(X.shape[1], dtype=X.dtype))
    response += 0.1 * rng.standard_normal(response.shape).astype(X.dtype)
    if kind == "multiclass":
        classes: Array = response.argmax(axis=1)
        return classes
    if kind == "binary":
        labels: Array = (response[:, 0] > 0).astype(np.int64)
        return labels
    standardized: Array = (response - response.mean(axis=0)) / response.std(axis=0)
    return standardized


def make_data(workload: Workload, rows: int, dtype: str, seed: int = 0) -> tuple[Array, Array]:
    """Return ``X, y`` of `rows` rows with the width and target of `workload`."""
    X = random_rows(rows, workload.features, dtype, seed)
    return X, make_target(X, workload.outputs, workload.kind, seed)
