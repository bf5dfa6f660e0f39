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

from numpy import exp

from skmlp.network.activations import softmax
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
    exponent : float
        Outputs are no larger than ``max(|raw|, exp(exponent * |raw|))``; zero where none is larger
        than its raw prediction, or than one. Bounds on a network's outputs are made of it.
    reference : str
        Where the formula comes from.
    """

    name: str
    value: Callable[..., Any]
    units_per_target: int = 1
    is_categorical: bool = False
    exponent: float = 0.0
    reference: str = ""


def mean_and_deviation(mean: float, log_variance: float) -> tuple[float, float]:
    return mean, exp(0.5 * log_variance)


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
        ),
    )
}
