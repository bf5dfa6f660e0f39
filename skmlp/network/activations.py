"""Activation functions: their registry, and softmax.

The formulas of single units stand in `skmlp.network.elementwise`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from numpy import exp

from skmlp.network import elementwise as ew
from skmlp.network.constants import Constant, check_constants

Growth = tuple[float, float, float]


def no_growth(*constants: float) -> Growth:
    return float("inf"), 1.0, 0.0


def at_most_one(*constants: float) -> Growth:
    return 1.0, float("inf"), 0.0


def at_most_six(*constants: float) -> Growth:
    return 6.0, 1.0, 0.0


def at_most_slope(slope: float) -> Growth:
    return float("inf"), max(1.0, abs(slope)), 0.0


def at_most_slope_of_selu() -> Growth:
    return at_most_slope(1.7580993408473768)


def at_most_softplus(beta: float = 1.0) -> Growth:
    return float("inf"), 1.0, 0.7 / beta  # log(2) / beta at zero


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


def may_fall(*constants: float) -> bool:
    return False


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
        of two pre-activations; with `takes_whole_rows` ``value(z)`` turns the pre-activations of
        all units of a sample into their values, in place.
    derivative : callable
        ``derivative(a, *constants, *numbers)``: d value / d z, written in terms of the *output*
        ``a = value(z)``, so that the pre-activation need not be kept; with
        `derivative_takes_input` in terms of `z`; with `takes_whole_rows` ``derivative(a, delta)``
        turns the derivatives by all values of a sample into those by its pre-activations, in place.
    both : callable or None
        ``both(z, *constants)``: value and derivative at once, where most of what they cost is
        common to them; only with `derivative_takes_input`.
    text : tuple of str
        Value and derivative as the documentation writes them.
    derivative_takes_input : bool
        Whether the derivative is a function of `z`. It then is computed on the way forward.
    constants : tuple of Constant
        What the formula is given besides `z`, the same for all units.
    learned : tuple of Learned
        What each unit learns besides its weights. The derivative then takes `z`.
    pieces : callable or None
        ``pieces(*constants)``: how many pre-activations each unit has, of which it takes one.
        None means one, element by element.
    takes_whole_rows : bool
        Whether a unit's value depends on the pre-activations of all units.
    surrogate : bool
        Whether `derivative` is another function's, for want of a useful one.
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
    value: Callable[..., Any]
    derivative: Callable[..., Any]
    text: tuple[str, str] = ("", "")
    derivative_takes_input: bool = False
    both: Callable[..., tuple[Any, Any]] | None = None
    constants: tuple[Constant, ...] = ()
    learned: tuple[Learned, ...] = ()
    pieces: Callable[..., int] | None = None
    takes_whole_rows: bool = False
    surrogate: bool = False
    init_gain: float = 6.0
    gain: Callable[..., float] = lambda *constants: 2.0
    growth: Callable[..., Growth] | None = no_growth
    hidden: bool = True
    reference: str = ""
    never_falls: Callable[..., bool] = may_fall

    @property
    def is_elementwise(self) -> bool:
        """Whether a unit's value is a function of its one pre-activation."""
        return self.pieces is None and not self.takes_whole_rows

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


def is_not_negative(slope: float = 0.0, *others: float) -> bool:
    return slope >= 0.0


def leaky_gain(negative_slope: float = 0.25) -> float:
    return 2.0 / (1.0 + negative_slope * negative_slope)


def whole_number(pieces: float) -> int:
    return int(pieces)


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


def softmax_of_row(z: Any) -> None:
    """Turn the scores of one sample into probabilities, in place."""
    largest = z[0]
    for k in range(len(z)):
        largest = larger(z[k], largest)
    total = 0.0
    for k in range(len(z)):
        z[k] = shifted_exponential(z[k], largest)
        total += z[k]
    for k in range(len(z)):
        z[k] = part_of_total(z[k], total)


def softmax_of_row_backward(a: Any, delta: Any) -> None:
    """Turn derivatives by the probabilities `a` into those by their scores, in place."""
    mean = 0.0
    for k in range(len(a)):
        mean += a[k] * delta[k]
    for k in range(len(a)):
        delta[k] = a[k] * (delta[k] - mean)


def positive(name: str) -> Constant:
    """Return a constant whose products and quotients stay numbers of single precision."""
    return Constant(name, 1.0, low=1e-6, high=1e6)


ACTIVATIONS: dict[str, Activation] = {
    entry.name: entry
    for entry in (
        Activation(
            "identity",
            ew.identity,
            ew.identity_derivative,
            ("z", "1"),
            gain=no_gain,
            never_falls=always,
        ),
        Activation(
            "logistic",
            ew.logistic,
            ew.logistic_derivative,
            ("1 / (1 + exp(-z))", "a * (1 - a)"),
            init_gain=2.0,
            gain=no_gain,
            growth=at_most_one,
            reference="Rumelhart, Hinton & Williams (1986), Nature 323",
            never_falls=always,
        ),
        Activation(
            "tanh",
            ew.hyperbolic_tangent,
            ew.hyperbolic_tangent_derivative,
            ("tanh(z)", "1 - a ** 2"),
            gain=no_gain,
            growth=at_most_one,
            reference="LeCun et al. (1998), Efficient BackProp",
            never_falls=always,
        ),
        Activation(
            "relu",
            ew.relu,
            ew.relu_derivative,
            ("max(0, z)", "1 if a > 0 else 0"),
            reference="Nair & Hinton (2010), ICML",
            never_falls=always,
        ),
        Activation(
            "exp",
            ew.exponential,
            ew.exponential_derivative,
            ("exp(z)", "a"),
            hidden=False,
            reference="log link of the Poisson family",
            never_falls=always,
        ),
        Activation(
            "gelu",
            ew.gelu,
            ew.gelu_derivative,
            (
                "z * P(z), P(z) = erfc(-z / sqrt(2)) / 2",
                "P(z) + z * exp(-z ** 2 / 2) / sqrt(2 * pi)",
            ),
            derivative_takes_input=True,
            both=ew.both_of_gelu,
            reference="Hendrycks & Gimpel (2016), arXiv:1606.08415, eq. 1, not approximated",
        ),
        Activation(
            "silu",
            ew.silu,
            ew.silu_derivative,
            ("z * s(z), s(z) = 1 / (1 + exp(-z))", "s(z) * (1 + z * (1 - s(z)))"),
            derivative_takes_input=True,
            both=ew.both_of_silu,
            reference="Elfwing, Uchibe & Doya (2018), Neural Networks 107, eq. 5",
        ),
        Activation(
            "leaky_relu",
            ew.leaky_relu,
            ew.leaky_relu_derivative,
            ("z if z >= 0 else negative_slope * z", "1 if z >= 0 else negative_slope"),
            derivative_takes_input=True,
            constants=(Constant("negative_slope", 0.01),),
            gain=leaky_gain,
            growth=at_most_slope,
            reference="Maas, Hannun & Ng (2013), ICML",
            never_falls=is_not_negative,
        ),
        Activation(
            "prelu",
            ew.leaky_relu,
            ew.leaky_relu_derivative,
            (
                "z if z >= 0 else negative_slope * z",
                "1 if z >= 0 else negative_slope; by the slope min(z, 0)",
            ),
            derivative_takes_input=True,
            learned=(Learned("negative_slope", 0.25, ew.negative_part),),
            gain=leaky_gain,
            growth=None,
            reference="He et al. (2015), ICCV, eq. 1, one slope per unit",
            never_falls=is_not_negative,
        ),
        Activation(
            "maxout",
            ew.better,
            ew.identity_derivative,
            ("the largest of several z", "1 for the largest, else 0"),
            constants=(Constant("pieces", 2.0, low=1.0, high=64.0, whole=True),),
            pieces=whole_number,
            gain=no_gain,
            reference="Goodfellow et al. (2013), ICML, eq. 1",
            never_falls=always,
        ),
        Activation(
            "elu",
            ew.elu,
            ew.elu_derivative,
            ("z if z > 0 else alpha * (exp(z) - 1)", "1 if a > 0 else a + alpha"),
            constants=(Constant("alpha", 1.0, low=0.0, high=1e6),),
            growth=at_most_slope,
            reference="Clevert, Unterthiner & Hochreiter (2016), arXiv:1511.07289, eq. 16",
            never_falls=always,
        ),
        Activation(
            "celu",
            ew.celu,
            ew.celu_derivative,
            ("z if z > 0 else alpha * (exp(z / alpha) - 1)", "1 if a > 0 else a / alpha + 1"),
            constants=(positive("alpha"),),
            reference="Barron (2017), arXiv:1704.07483, eq. 2",
            never_falls=always,
        ),
        Activation(
            "selu",
            ew.selu,
            ew.selu_derivative,
            (
                "s * z if z > 0 else s * t * (exp(z) - 1), s = 1.0507..., t = 1.6732...",
                "s if a > 0 else a + s * t",
            ),
            gain=no_gain,
            growth=at_most_slope_of_selu,
            reference="Klambauer et al. (2017), arXiv:1706.02515, eq. 2; wants weights of variance "
            "1 / fan_in",
            never_falls=always,
        ),
        Activation(
            "mish",
            ew.mish,
            ew.mish_derivative,
            (
                "z * tanh(log(1 + exp(z)))",
                "n / m + 4 * z * (n + 1 - e) * e / m ** 2, e = exp(z), n = e * (e + 2), m = n + 2",
            ),
            derivative_takes_input=True,
            both=ew.both_of_mish,
            reference="Misra (2020), arXiv:1908.08681, eq. 2",
        ),
        Activation(
            "gelu_tanh",
            ew.gelu_tanh,
            ew.gelu_tanh_derivative,
            (
                "z * s(u), u = sqrt(8 / pi) * (z + 0.044715 * z ** 3)",
                "s(u) * (1 + z * (1 - s(u)) * du / dz)",
            ),
            derivative_takes_input=True,
            both=ew.both_of_gelu_tanh,
            reference="Hendrycks & Gimpel (2016), arXiv:1606.08415, section 2, with tanh",
        ),
        Activation(
            "softplus",
            ew.softplus,
            ew.softplus_derivative,
            ("log(1 + exp(beta * z)) / beta", "1 / (1 + exp(-beta * z))"),
            derivative_takes_input=True,
            both=ew.both_of_softplus,
            constants=(positive("beta"),),
            growth=at_most_softplus,
            reference="Dugas et al. (2000), Incorporating second-order functional knowledge, NIPS",
            never_falls=always,
        ),
        Activation(
            "softsign",
            ew.softsign,
            ew.softsign_derivative,
            ("z / (1 + |z|)", "(1 - |a|) ** 2"),
            gain=no_gain,
            growth=at_most_one,
            reference="Bergstra et al. (2009), Quadratic polynomials learn better image features",
            never_falls=always,
        ),
        Activation(
            "log_sigmoid",
            ew.log_sigmoid,
            ew.log_sigmoid_derivative,
            ("-log(1 + exp(-z))", "1 / (1 + exp(z))"),
            derivative_takes_input=True,
            both=ew.both_of_log_sigmoid,
            gain=no_gain,
            growth=at_most_softplus,
            reference="the logarithm of the logistic function, torch.nn.LogSigmoid",
            never_falls=always,
        ),
        Activation(
            "scaled_logistic",
            ew.scaled_logistic,
            ew.scaled_logistic_derivative,
            ("1 / (1 + exp(-slope * (z - threshold)))", "slope * a * (1 - a)"),
            constants=(
                Constant("slope", 1.0, low=-1e6, high=1e6),
                Constant("threshold", 0.0, low=-1e6, high=1e6),
            ),
            init_gain=2.0,
            gain=no_gain,
            growth=at_most_one,
            reference="the logistic function with a rate and a threshold",
            never_falls=is_not_negative,
        ),
        Activation(
            "sinc",
            ew.sinc,
            ew.sinc_derivative,
            ("sin(z) / z, 1 at zero", "(cos(z) - sin(z) / z) / z"),
            derivative_takes_input=True,
            gain=no_gain,
            growth=at_most_one,
            reference="Efimov (2002), the cardinal sine as an activation function",
        ),
        Activation(
            "exponential",
            ew.exponential,
            ew.exponential_derivative,
            ("exp(z)", "a"),
            gain=no_gain,
            growth=None,
            reference="keras.activations.exponential",
            never_falls=always,
        ),
        Activation(
            "hard_sigmoid",
            ew.hard_sigmoid,
            ew.hard_sigmoid_derivative,
            ("min(max((z + 3) / 6, 0), 1)", "1 / 6 if 0 < a < 1 else 0"),
            gain=no_gain,
            growth=at_most_one,
            reference="Howard et al. (2019), arXiv:1905.02244, section 5.2",
            never_falls=always,
        ),
        Activation(
            "hard_swish",
            ew.hard_swish,
            ew.hard_swish_derivative,
            ("z * min(max(z + 3, 0), 6) / 6", "(2 * z + 3) / 6 if |z| <= 3 else 1 if z > 3 else 0"),
            derivative_takes_input=True,
            reference="Howard et al. (2019), arXiv:1905.02244, section 5.2",
        ),
        Activation(
            "hard_tanh",
            ew.hard_tanh,
            ew.hard_tanh_derivative,
            ("min(max(z, -1), 1)", "1 if |a| < 1 else 0"),
            gain=no_gain,
            growth=at_most_one,
            reference="Collobert et al. (2011), Journal of Machine Learning Research 12",
            never_falls=always,
        ),
        Activation(
            "relu6",
            ew.relu6,
            ew.relu6_derivative,
            ("min(max(z, 0), 6)", "1 if 0 < a < 6 else 0"),
            growth=at_most_six,
            reference="Krizhevsky (2010), Convolutional deep belief networks on CIFAR-10",
            never_falls=always,
        ),
        Activation(
            "step",
            ew.step,
            ew.straight_through,
            ("1 if z > 0 else 0", "in its place 1 if |z| <= 1 else 0"),
            derivative_takes_input=True,
            surrogate=True,
            gain=no_gain,
            growth=at_most_one,
            reference="Rosenblatt (1958), Psychological Review 65; surrogate: Hubara et al. "
            "(2016), arXiv:1602.02830, eq. 4",
            never_falls=always,
        ),
        Activation(
            "softmax",
            softmax_of_row,
            softmax_of_row_backward,
            (
                "exp(z_k) / sum_j exp(z_j)",
                "of the loss: a * (d - sum_j a_j * d_j), d its slope by a",
            ),
            takes_whole_rows=True,
            gain=no_gain,
            growth=at_most_one,
            reference="Bridle (1990), Neurocomputing: Algorithms, Architectures and Applications",
        ),
    )
}

# Other names of entries, as users may write them.
ALIASES = {"sigmoid": "logistic", "swish": "silu", "hardtanh": "hard_tanh"}


# Made of users' functions (`skmlp.network.custom`), by names that tell what they compute.
CUSTOM_ACTIVATIONS: dict[str, Activation] = {}


def blended(entry: Activation) -> Activation:
    """Return an entry whose units learn how much of an activation they take.

    With `f` the activation the value is ``z + blend * (f(z) - z)``, from the identity (0) to the
    activation itself (1), where units start, and beyond.
    """
    of, slope_of = entry.value, entry.derivative
    takes_input = entry.derivative_takes_input

    def derivative_by_input(z: float, *others: float) -> Any:
        return slope_of(z if takes_input else of(z, *others), *others)

    def value(z: float, *others: float) -> Any:
        return z + others[LAST] * (of(z, *others[:LAST]) - z)

    def derivative(z: float, *others: float) -> Any:
        return 1.0 + others[LAST] * (derivative_by_input(z, *others[:LAST]) - 1.0)

    def slope(z: float, *others: float) -> Any:
        return of(z, *others[:LAST]) - z

    return replace(
        entry,
        name=blend_of(entry.name),
        value=value,
        derivative=derivative,
        both=None,
        derivative_takes_input=True,
        learned=(Learned("blend", 1.0, slope),),
        growth=None,
        reference=BLEND_REFERENCE,
        never_falls=may_fall,
    )


LAST = -1
BLEND = "blend_"
BLEND_REFERENCE = (
    "Holzmueller, Grinsztajn & Steinwart (2024), Better by default, arXiv:2407.04491, section 3"
)


def blend_of(name: str) -> str:
    """Return what the blend of an activation is called, if there is one."""
    return f"{BLEND}{name}"


# Of every element-wise activation without learned numbers and with a derivative.
BLENDS: dict[str, Activation] = {
    blend.name: blend
    for blend in (
        blended(entry)
        for entry in ACTIVATIONS.values()
        if entry.hidden and entry.is_elementwise and not entry.learned and not entry.surrogate
    )
}


def blended_by(name: str) -> str | None:
    """Return the name of the activation that a blend mixes with the identity; None of others."""
    return name.removeprefix(BLEND) if name in BLENDS else None


def activation_entry(name: str) -> Activation:
    """Return the entry of a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    for registry in (ACTIVATIONS, BLENDS, CUSTOM_ACTIVATIONS):
        if isinstance(name, str) and name in registry:
            return registry[name]
    raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, but is {name!r}.")
