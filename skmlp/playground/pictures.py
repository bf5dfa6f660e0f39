"""What a page is shown of a network: surfaces, units, weights and losses, as frames of bytes."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from skmlp._layer_transformer import outputs_within
from skmlp.playground.datasets import Array
from skmlp.playground.settings import Data

SURFACE, SMALL = 50, 25
SHOWN_UNITS = 16


def frame(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Return a header of JSON, with its length before and the bytes of arrays behind."""
    described = [
        {"name": name, "type": array.dtype.name, "shape": array.shape}
        for name, array in arrays.items()
    ]
    text = json.dumps({**header, "arrays": described}).encode()
    parts = [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    return b"".join([struct.pack("<I", len(text)), text, *parts])


def as_bytes(values: Array, low: float, high: float) -> Array:
    """Return numbers as bytes, 0 for `low` and 255 for `high`."""
    with np.errstate(all="ignore"):
        shares = (values - low) / max(high - low, 1e-12)
    return np.round(255 * np.clip(np.nan_to_num(shares), 0, 1)).astype(np.uint8)


class View:
    """The plane in which data and networks are drawn: two features, or principal components."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.scaler = StandardScaler().fit(data.X_train)
        self.train = self.scaler.transform(data.X_train)
        self.test = self.scaler.transform(data.X_test)
        self.is_projected = data.X_train.shape[1] > 2
        self._pca = PCA(2, svd_solver="full").fit(self.train) if self.is_projected else None
        points = self.points(self.train)
        low, high = points.min(axis=0), points.max(axis=0)
        margin = 0.15 * np.maximum(high - low, 1e-9)
        self.low, self.high = low - margin, high + margin
        self._surface, self._small = self._grid(SURFACE), self._grid(SMALL)
        self.labels = np.unique(data.y_train) if data.is_classes else np.empty(0)
        self.range = (
            float(data.y_train.min()) if not data.is_classes else 0.0,
            (float(data.y_train.max()) if not data.is_classes else 1.0),
        )

    def points(self, X: Array) -> Array:
        """Return where scaled samples lie in the plane."""
        if self._pca is not None:
            return np.asarray(self._pca.transform(X))
        return np.column_stack([X, np.zeros(len(X))])[:, :2]

    def _grid(self, size: int) -> Array:
        """Return the samples of a grid, whose first row is the upper edge."""
        across = np.linspace(self.low[0], self.high[0], size)
        down = np.linspace(self.high[1], self.low[1], size)
        plane = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
        if self._pca is not None:
            return np.asarray(self._pca.inverse_transform(plane))
        return plane[:, : self.train.shape[1]]

    def codes(self, y: Array) -> Array:
        """Return targets as bytes: numbers of classes, or places in their range."""
        if self.data.is_classes:
            return np.searchsorted(self.labels, y).astype(np.uint8)
        return as_bytes(y, *self.range)

    def described(self, fit: int) -> bytes:
        """Return the frame that shows the data of a network of that number."""
        # Dots beyond a thousand hide each other.
        shown = {"train": (self.train, self.data.y_train), "test": (self.test, self.data.y_test)}
        arrays: dict[str, Array] = {}
        for name, (X, y) in shown.items():
            places = (self.points(X[:1000]) - self.low) / (self.high - self.low)
            arrays[name] = places.astype(np.float32)
            arrays[f"{name}_codes"] = self.codes(y[:1000])
        header = {
            "type": "data",
            "fit": fit,
            "classes": [str(label) for label in self.labels],
            "range": self.range,
            "is_projected": self.is_projected,
            "n_features": int(self.train.shape[1]),
            "n_train": len(self.train),
            "n_test": len(self.test),
        }
        return frame(header, arrays)

    def measures(self, network: Any) -> dict[str, float]:
        """Return losses without penalties, and scores, on both parts of the data."""
        found = {}
        for name, X, y in (
            ("train", self.train, self.data.y_train),
            ("test", self.test, self.data.y_test),
        ):
            if self.data.is_classes:
                proba = np.asarray(network.predict_proba(X), dtype=float)
                found[f"{name}_loss"] = float(log_loss(y, proba, labels=network.classes_))
                found[f"{name}_score"] = float(np.mean(network.classes_[proba.argmax(1)] == y))
            else:
                errors = (network.predict(X) - y) ** 2
                found[f"{name}_loss"] = float(np.mean(errors))
                spread = float(np.mean((y - y.mean()) ** 2))
                found[f"{name}_score"] = 1 - float(np.mean(errors)) / max(spread, 1e-300)
        return found

    def picture(self, network: Any, header: Mapping[str, Any]) -> bytes:
        """Return the frame that shows a network."""
        if self.data.is_classes:
            proba = np.asarray(network.predict_proba(self._surface))
            surface = proba.argmax(axis=1).astype(np.uint8)
            least = 1 / proba.shape[1]
            strength = as_bytes(proba.max(axis=1), least, 1.0)
        else:
            surface = as_bytes(network.predict(self._surface), *self.range)
            strength = np.full_like(surface, 255)
        arrays = {"surface": surface, "strength": strength}
        for number in range(len(network.coefs_) - 1):
            outputs = np.asarray(outputs_within(network, self._small, number))[:, :SHOWN_UNITS]
            largest = np.abs(outputs).max(axis=0, keepdims=True)
            scaled = outputs / np.where(largest > 0, largest, 1)
            arrays[f"units{number}"] = as_bytes(scaled.T, -1, 1)
        for number, coefs in enumerate(network.coefs_):
            arrays[f"weights{number}"] = coefs[:SHOWN_UNITS, :SHOWN_UNITS].astype(np.float32)
        dead = [
            [bool(unit) for unit in layer[:SHOWN_UNITS]] for layer in network.dead_units(self.train)
        ]
        sizes = [len(network.coefs_[0]), *(coefs.shape[1] for coefs in network.coefs_)]
        return frame({"type": "picture", "dead": dead, "sizes": sizes, **header}, arrays)

    def answer(self, network: Any, sample: Array) -> dict[str, Any]:
        """Return what a network says of a sample, and how its units react."""
        X = self.scaler.transform(sample)
        units = [
            np.asarray(outputs_within(network, X, number))[0].tolist()
            for number in range(len(network.coefs_) - 1)
        ]
        return {
            "type": "answer",
            "classes": [str(label) for label in network.classes_],
            "probabilities": network.predict_proba(X)[0].tolist(),
            "units": units,
        }
