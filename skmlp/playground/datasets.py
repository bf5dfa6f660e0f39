"""The sets of data to play with: toy sets of two features, and scikit-learn's."""

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def xor(n_samples: int, noise: float, random_state: int) -> tuple[Array, Array]:
    """Draw points of a square whose opposite quarters are of one class.

    Parameters
    ----------
    n_samples : int
    noise : float
        Standard deviation of what is added to the points after their class was told.
    random_state : int

    Returns
    -------
    X : ndarray of shape (n_samples, 2)
    y : ndarray of shape (n_samples,)

    Examples
    --------
    >>> xor(4, 0.0, 0)[1].shape
    (4,)
    """
    rng = np.random.default_rng(random_state)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    return X + rng.normal(scale=noise, size=X.shape), y


def spirals(n_samples: int, noise: float, random_state: int) -> tuple[Array, Array]:
    """Draw points of two spirals, one for each class; as `xor`."""
    rng = np.random.default_rng(random_state)
    y = np.arange(n_samples) % 2
    turn = np.sqrt(rng.uniform(0.02, 1, size=n_samples))
    angle = 1.5 * 2 * np.pi * turn + np.pi * y
    X = np.column_stack([turn * np.cos(angle), turn * np.sin(angle)])
    return X + rng.normal(scale=noise / 4, size=X.shape), y


def gaussians(n_samples: int, noise: float, random_state: int) -> tuple[Array, Array]:
    """Draw points of two normal distributions, one for each class; as `xor`."""
    rng = np.random.default_rng(random_state)
    y = np.arange(n_samples) % 2
    centers = np.array([[-1.0, -1.0], [1.0, 1.0]])
    return centers[y] + rng.normal(scale=0.3 + 2 * noise, size=(n_samples, 2)), y


def plane(n_samples: int, noise: float, random_state: int) -> tuple[Array, Array]:
    """Draw points of a square whose target is a plane over it; as `xor`."""
    rng = np.random.default_rng(random_state)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    return X, X @ [1.0, 0.5] + rng.normal(scale=noise, size=n_samples)


def hills(n_samples: int, noise: float, random_state: int) -> tuple[Array, Array]:
    """Draw points of a square whose target goes up and down over it; as `xor`."""
    rng = np.random.default_rng(random_state)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    y = np.sin(3 * X[:, 0]) * np.cos(3 * X[:, 1])
    return X, y + rng.normal(scale=noise, size=n_samples)


@dataclass(frozen=True)
class Source:
    """A call that gives X and y, as a thing to do and as Python to show."""

    module: str
    function: str
    is_toy: bool = True
    is_classes: bool = True
    fixed: dict[str, Any] = field(default_factory=dict)

    def arguments(self, n_samples: int, noise: float, seed: int) -> dict[str, Any]:
        """Return the keyword arguments of the call."""
        if not self.is_toy:
            return {"return_X_y": True}
        return {"n_samples": n_samples, "noise": noise, "random_state": seed, **self.fixed}

    def load(self, n_samples: int, noise: float, seed: int) -> tuple[Array, Array]:
        """Call it."""
        call = getattr(importlib.import_module(self.module), self.function)
        X, y = call(**self.arguments(n_samples, noise, seed))
        return X, y


OURS, THEIRS = "skmlp.playground.datasets", "sklearn.datasets"
SOURCES = {
    "circles": Source(THEIRS, "make_circles", fixed={"factor": 0.5}),
    "moons": Source(THEIRS, "make_moons"),
    "xor": Source(OURS, "xor"),
    "spirals": Source(OURS, "spirals"),
    "gaussians": Source(OURS, "gaussians"),
    "plane": Source(OURS, "plane", is_classes=False),
    "hills": Source(OURS, "hills", is_classes=False),
    "iris": Source(THEIRS, "load_iris", is_toy=False),
    "wine": Source(THEIRS, "load_wine", is_toy=False),
    "breast cancer": Source(THEIRS, "load_breast_cancer", is_toy=False),
    "digits": Source(THEIRS, "load_digits", is_toy=False),
}
