"""Activation functions: the registry of element-wise formulas, and softmax.

A formula is a plain function of scalars. It writes its constants as floats (``1.0``, not
``1``) and calls only ``exp``, ``log``, ``sqrt``, ``tanh`` and ``erfc`` by these bare names, so
that an engine can compile it in either precision with its own elementary functions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import erfc
from typing import Any

from numpy import exp, tanh

from skmlp.network.constants import Constant, check_constants

Growth = tuple[float, float, float]


def no_growth(*constants: float) -> Growth:
    return float("inf"), 1.0, 0.0


def at_most_one(*constants: float) -> Growth:
    return 1.0, float("inf"), 0.0


def at_most_slope(slope: float) -> Growth:
    return float("inf"), max(1.0, abs(slope)), 0.0


@dataclass(frozen=True)
class Learned:
    """A number that each unit of a layer learns, as the slope of a parametric relu.

    Attributes
    ----------
    name : str
    initial : float
        Where it starts.
    slope : callable
        ``slope(z, *constants, *numbers)``: the derivative of the value with respect to it.
    """

    name: str
    initial: float
    slope: Callable[..., float]


@dataclass(frozen=True)
class Activation:
    """An activation function.

    Attributes
    ----------
    name : str
        Public name, as in the ``activation`` parameter.
    value : callable
        ``value(z, *constants, *numbers)``: the activation of the pre-activation `z`, the numbers
        being those that the unit has learned. With `pieces` it is ``value(z, best)``, the better
        of two pre-activations.
    derivative : callable
        ``derivative(a, *constants, *numbers)``: d value / d z, written in terms of the *output*
        ``a = value(z)``, so that the pre-activation need not be kept; with
        `derivative_takes_input` in terms of `z`.
    derivative_takes_input : bool
        Whether the derivative is a function of `z`. It then is computed on the way forward.
    constants : tuple of Constant
        What the formula is given besides `z`, the same for all units.
    learned : tuple of Learned
        What each unit learns besides its weights. The derivative then takes `z`.
    pieces : callable or None
        ``pieces(*constants)``: how many pre-activations each unit has, of which it takes one.
        None means one, element by element.
    init_gain : float
        `g` in the bound ``sqrt(g / (fan_in + fan_out))`` of the uniform initialization.
    gain : callable
        ``gain(*constants)``: `g` in the variance ``g / fan_in`` of weights that keep signals at
        their size, layer after layer. The default is that of rectifiers and their kin, which take
        away half of the signal.
    growth : callable
        ``growth(*constants)``: three numbers `b`, `s` and `o` with ``|value(z)| <= min(b, s *
        |z| + o)`` for all `z`, of which bounds on a network's outputs are made. The default
        belongs to what enlarges nothing. None where there are no such numbers: outputs are then
        computed.
    hidden : bool
        Whether users may choose it for hidden layers.
    reference : str
        Where the formula comes from.
    never_falls : callable
        ``never_falls(*constants)``: whether the value never falls where `z` grows, as long as
        learned numbers are not negative.
    """

    name: str
    value: Callable[..., float]
    derivative: Callable[..., float]
    derivative_takes_input: bool = False
    constants: tuple[Constant, ...] = ()
    learned: tuple[Learned, ...] = ()
    pieces: Callable[..., int] | None = None
    init_gain: float = 6.0
    gain: Callable[..., float] = lambda *constants: 2.0
    growth: Callable[..., Growth] | None = no_growth
    hidden: bool = True
    reference: str = ""
    never_falls: Callable[..., bool] = lambda *constants: False

    def check_constants(self, values: tuple[float, ...]) -> None:
        """Refuse values that the formula's constants cannot have.

        Raises
        ------
        ValueError
            If their number is not that of the constants, or one is outside its range.
        """
        check_constants(self.name, self.constants, values)


def no_gain(*constants: float) -> float:
    return 1.0


def always(*constants: float) -> bool:
    return True


def is_not_negative(slope: float = 0.0) -> bool:
    return slope >= 0.0


def leaky_gain(negative_slope: float = 0.25) -> float:
    return 2.0 / (1.0 + negative_slope * negative_slope)


def identity(z: float) -> float:
    return z


def identity_derivative(a: float) -> float:
    return 1.0


def logistic(z: float) -> float:
    return 1.0 / (1.0 + exp(-z))


def logistic_derivative(a: float) -> float:
    return a * (1.0 - a)


def hyperbolic_tangent(z: float) -> float:
    return tanh(z)


def hyperbolic_tangent_derivative(a: float) -> float:
    return 1.0 - a * a


def relu(z: float) -> float:
    # Written so that NaN passes through: a diverging fit must not look healthy.
    return 0.0 if z < 0.0 else z


def relu_derivative(a: float) -> float:
    return 1.0 if a > 0.0 else 0.0


def exponential(z: float) -> float:
    return exp(z)


def exponential_derivative(a: float) -> float:
    return a


def gelu(z: float) -> float:
    return z * (0.5 * erfc(-z * 0.7071067811865476))


def gelu_derivative(z: float) -> float:
    density = 0.3989422804014327 * exp(-0.5 * z * z)
    return 0.5 * erfc(-z * 0.7071067811865476) + z * density


def silu(z: float) -> float:
    return z / (1.0 + exp(-z))


def silu_derivative(z: float) -> float:
    probability = 1.0 / (1.0 + exp(-z))
    return probability * (1.0 + z * (1.0 - probability))


def leaky_relu(z: float, negative_slope: float) -> float:
    return negative_slope * z if z < 0.0 else z


def leaky_relu_derivative(z: float, negative_slope: float) -> float:
    # Of z: where the slope is not positive, the output does not tell its sign.
    return negative_slope if z < 0.0 else 1.0


def negative_part(z: float, slope: float) -> float:
    return z if z < 0.0 else 0.0


def better(z: float, best: float) -> float:
    # NaN wins, so that a diverging fit does not look healthy; of equal ones the first does.
    return z if z > best or z != z else best


def whole_number(pieces: float) -> int:
    return int(pieces)


ACTIVATIONS: dict[str, Activation] = {
    entry.name: entry
    for entry in (
        Activation("identity", identity, identity_derivative, gain=no_gain, never_falls=always),
        Activation(
            "logistic",
            logistic,
            logistic_derivative,
            init_gain=2.0,
            gain=no_gain,
            growth=at_most_one,
            reference="Rumelhart, Hinton & Williams (1986), Nature 323",
            never_falls=always,
        ),
        Activation(
            "tanh",
            hyperbolic_tangent,
            hyperbolic_tangent_derivative,
            gain=no_gain,
            growth=at_most_one,
            reference="LeCun et al. (1998), Efficient BackProp",
            never_falls=always,
        ),
        Activation(
            "relu",
            relu,
            relu_derivative,
            reference="Nair & Hinton (2010), ICML",
            never_falls=always,
        ),
        Activation(
            "exp",
            exponential,
            exponential_derivative,
            hidden=False,
            reference="log link of the Poisson family",
            never_falls=always,
        ),
        Activation(
            "gelu",
            gelu,
            gelu_derivative,
            derivative_takes_input=True,
            reference="Hendrycks & Gimpel (2016), arXiv:1606.08415, eq. 1, not approximated",
        ),
        Activation(
            "silu",
            silu,
            silu_derivative,
            derivative_takes_input=True,
            reference="Elfwing, Uchibe & Doya (2018), Neural Networks 107, eq. 5",
        ),
        Activation(
            "leaky_relu",
            leaky_relu,
            leaky_relu_derivative,
            derivative_takes_input=True,
            constants=(Constant("negative_slope", 0.01),),
            gain=leaky_gain,
            growth=at_most_slope,
            reference="Maas, Hannun & Ng (2013), ICML",
            never_falls=is_not_negative,
        ),
        Activation(
            "prelu",
            leaky_relu,
            leaky_relu_derivative,
            derivative_takes_input=True,
            learned=(Learned("negative_slope", 0.25, negative_part),),
            gain=leaky_gain,
            growth=None,
            reference="He et al. (2015), ICCV, eq. 1, one slope per unit",
            never_falls=is_not_negative,
        ),
        Activation(
            "maxout",
            better,
            identity_derivative,
            constants=(Constant("pieces", 2.0, low=1.0, high=64.0, whole=True),),
            pieces=whole_number,
            gain=no_gain,
            reference="Goodfellow et al. (2013), ICML, eq. 1",
            never_falls=always,
        ),
    )
}


# Made of users' functions (`skmlp.network.custom`), by names that tell what they compute.
CUSTOM_ACTIVATIONS: dict[str, Activation] = {}


def activation_entry(name: str) -> Activation:
    """Return the entry of a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    for registry in (ACTIVATIONS, CUSTOM_ACTIVATIONS):
        if isinstance(name, str) and name in registry:
            return registry[name]
    raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, but is {name!r}.")


# Softmax is ``p[k] = exp(s[k] - max(s)) / sum_j exp(s[j] - max(s))``, with these three formulas.
# How an engine loops over classes and samples is its own affair.


def larger(score: float, largest: float) -> float:
    # NaN is passed over unless it comes first: it spreads by the sum of the exponentials.
    return score if score > largest else largest


def shifted_exponential(score: float, largest: float) -> float:
    # Subtracting the maximum changes no probability but keeps this from overflowing.
    return exp(score - largest)


def part_of_total(exponential: float, total: float) -> float:
    return exponential / total


def softmax(scores: Any, largest: Any) -> None:
    """Turn the scores of several samples into probabilities, in place.

    NaN makes its whole sample NaN.

    Parameters
    ----------
    scores : array of shape (n_classes, n_samples)
        Overwritten by the probabilities. Samples lie side by side, so that the inner loops are
        free of reductions and a compiler can vectorize them.
    largest : array of shape (n_samples,)
        Overwritten; scratch memory.
    """
    classes, samples = scores.shape
    for i in range(samples):
        largest[i] = scores[0, i]
    for k in range(1, classes):
        for i in range(samples):
            largest[i] = larger(scores[k, i], largest[i])
    for k in range(classes):
        for i in range(samples):
            scores[k, i] = shifted_exponential(scores[k, i], largest[i])
    total = largest
    for i in range(samples):
        total[i] = scores[0, i]
    for k in range(1, classes):
        for i in range(samples):
            total[i] += scores[k, i]
    for k in range(classes):
        for i in range(samples):
            scores[k, i] = part_of_total(scores[k, i], total[i])
