"""Penalties of coefficients: the registry of formulas that are added to the loss, one by one.

With a strength `alpha` the loss of a batch gains ``alpha * sum(value(w))`` over all coefficients
`w`, divided like the rest of it by the batch's sum of weights. Formulas are plain functions of
scalars, written as those of the activations are.
"""

from collections.abc import Callable
from dataclasses import dataclass

from skmlp.network.constants import Constant, check_constants
from skmlp.network.optimizers import sign


@dataclass(frozen=True)
class Penalty:
    """What a coefficient is charged.

    Attributes
    ----------
    name : str
    value : callable
        ``value(w, *constants)``: not negative, and zero at zero.
    gradient : callable
        ``gradient(w, *constants)``: its derivative, or where it has a kink a number in between.
    constants : tuple of Constant
        What the formulas are given besides `w`.
    reference : str
        Where they come from.
    """

    name: str
    value: Callable[..., float]
    gradient: Callable[..., float]
    constants: tuple[Constant, ...] = ()
    reference: str = ""

    def check_constants(self, values: tuple[float, ...]) -> None:
        """Refuse values that the formula's constants cannot have.

        Raises
        ------
        ValueError
            If their number is not that of the constants, or one is outside its range.
        """
        check_constants(self.name, self.constants, values)


def half_square(w: float) -> float:
    return 0.5 * w * w


def half_square_gradient(w: float) -> float:
    return w


def elastic_net(w: float, l1_ratio: float) -> float:
    return l1_ratio * abs(w) + (1.0 - l1_ratio) * 0.5 * w * w


def elastic_net_gradient(w: float, l1_ratio: float) -> float:
    return l1_ratio * sign(w) + (1.0 - l1_ratio) * w


PENALTIES: dict[str, Penalty] = {
    entry.name: entry
    for entry in (
        Penalty(
            "l2",
            half_square,
            half_square_gradient,
            reference="Krogh & Hertz (1991), A simple weight decay can improve generalization",
        ),
        Penalty(
            "elastic_net",
            elastic_net,
            elastic_net_gradient,
            constants=(Constant("l1_ratio", 0.15, 0.0, 1.0),),
            reference="Zou & Hastie (2005), J. R. Statist. Soc. B 67, weighted as in SGDClassifier",
        ),
    )
}
