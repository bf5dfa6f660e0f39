"""Links: what turns the raw predictions of the output layer into the network's outputs.

Formulas are plain functions of scalars, written as those of the activations are. A link that
takes several raw predictions of one target is given them all and returns as many outputs; softmax
takes those of all classes, sample beside sample.

The raw predictions of a head lie in blocks: the first of every target, then the second of every
target, and so on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy import exp, log

from skmlp.network.activations import larger, softmax
from skmlp.network.elementwise import exponential, identity, logistic


@dataclass(frozen=True)
class Link:
    """What turns raw predictions into outputs.

    Attributes
    ----------
    name : str
        As in the attribute ``out_activation_``.
    value : callable
        ``value(*raw)``: the output of a target, as many as there are raw predictions (a tuple
        unless there is one). With `is_categorical` it works on all classes of several samples at
        once, as `skmlp.network.activations.softmax` does.
    units_per_target : int
        Raw predictions that belong to one target.
    is_categorical : bool
        Whether the outputs are the probabilities of the classes of one target.
    increment, increment_slope : callable or None
        ``increment(raw)`` and its derivative, where a target has any number of raw predictions:
        `value` makes the first output of the first one, and every further output is the one before
        it plus the increment.
    exponent : float
        Outputs are no larger than the sum of ``1 + max(|raw|, exp(exponent * |raw|))`` over the
        raw predictions of the target. Bounds on a network's outputs are made of it.
    reference : str
        Where the formula comes from.
    n_spreads : int
        Raw predictions of a target, the last of them, that say how sure it is and do not enter
        what is predicted. Outputs never fall where one of the others grows, unless it
        `is_categorical`.
    """

    name: str
    value: Callable[..., Any]
    units_per_target: int = 1
    is_categorical: bool = False
    increment: Callable[..., float] | None = None
    increment_slope: Callable[..., float] | None = None
    exponent: float = 0.0
    reference: str = ""
    n_spreads: int = 0

    @property
    def is_cumulative(self) -> bool:
        """Whether each output of a target is made of the one before it."""
        return self.increment is not None


def softplus(z: float) -> float:
    # log(1 + exp(z)), which neither overflows nor hides NaN.
    return (z if z > 0.0 else 0.0) + log(1.0 + exp(-abs(z)))


def mean_and_deviation(mean: float, log_variance: float) -> tuple[float, float]:
    return mean, exp(0.5 * log_variance)


def log_softmax(scores: Any, largest: Any, total: Any) -> None:
    """Turn the scores of several samples into logarithms of probabilities, in place.

    They are finite for all finite scores.

    Parameters
    ----------
    scores : array of shape (n_classes, n_samples)
        Overwritten. Samples lie side by side, as for `skmlp.network.activations.softmax`.
    largest, total : array of shape (n_samples,)
        Overwritten; scratch memory.
    """
    classes, samples = scores.shape
    for i in range(samples):
        largest[i] = scores[0, i]
        total[i] = 0.0
    for k in range(1, classes):
        for i in range(samples):
            largest[i] = larger(scores[k, i], largest[i])
    for k in range(classes):
        for i in range(samples):
            scores[k, i] = scores[k, i] - largest[i]
            total[i] += exp(scores[k, i])
    for i in range(samples):
        total[i] = log(total[i])
    # In a pass of its own: to subtract the sum of both would lose digits of large scores.
    for k in range(classes):
        for i in range(samples):
            scores[k, i] = scores[k, i] - total[i]


LINKS: dict[str, Link] = {
    entry.name: entry
    for entry in (
        Link("identity", identity),
        Link("logistic", logistic),
        Link(
            "softmax",
            softmax,
            is_categorical=True,
            reference="Bridle (1990), Neurocomputing: Algorithms, Architectures and Applications",
        ),
        Link("exp", exponential, exponent=1.0, reference="log link of the Poisson family"),
        Link(
            "gaussian",
            mean_and_deviation,
            units_per_target=2,
            exponent=0.5,
            reference="Nix & Weigend (1994), IEEE International Conference on Neural Networks",
            n_spreads=1,
        ),
        Link(
            "laplace",
            mean_and_deviation,
            units_per_target=2,
            exponent=0.5,
            reference="as the Gaussian's, with the variance of a Laplace distribution",
            n_spreads=1,
        ),
        Link(
            "increasing",
            identity,
            increment=softplus,
            increment_slope=logistic,
            reference='Park et al. (2022), AISTATS, "Learning quantile functions without crossing"',
        ),
    )
}
