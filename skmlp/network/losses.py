"""Loss functions: the registry of losses, each with the output activation it is paired with.

`value` and `gradient` belong to one target of one sample. The loss of a batch is

    (sum_i w_i sum_k value(y_ik, z_ik, p_ik) + alpha / 2 * sum(coefs ** 2)) / sum_i w_i

with `z` the raw prediction and ``p = output_activation(z)``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from numpy import exp, log

from skmlp.network.constants import Constant, check_constants
from skmlp.network.links import LINKS, Link


@dataclass(frozen=True)
class Loss:
    """A loss function together with its output activation.

    Attributes
    ----------
    name : str
        Name of the loss.
    output_activation : str
        What turns the raw prediction into the network's output: an entry of the links.
    value : callable
        ``value(target, raw, output, epsilon, *constants)``: the loss of one target. `epsilon` is
        the relative rounding error of the precision in use. For softmax `target` is always one
        and `output` is the probability of the true class. With a link that takes several raw
        predictions of a target, ``value(target, *raw, epsilon, *constants)``.
    gradient : callable
        ``gradient(target, output, *constants)``: d value / d raw. For softmax `target` is one for
        the true class and zero elsewhere. With several raw predictions
        ``gradient(target, *raw, *constants)``, a tuple with the derivative by each.
    domain : str
        The targets it accepts, in words.
    domain_minimum : float
        Smallest target accepted.
    constants : tuple of Constant
        What the formulas are given besides, as the threshold of a Huber loss.
    for_classes : bool
        Whether a classifier minimizes it; otherwise it is one for regressors to choose.
    reference : str
        Where the formula comes from.
    """

    name: str
    output_activation: str
    value: Callable[..., float]
    gradient: Callable[..., float | tuple[float, ...]]
    domain: str
    domain_minimum: float = float("-inf")
    constants: tuple[Constant, ...] = ()
    for_classes: bool = False
    reference: str = ""

    @property
    def link(self) -> Link:
        return LINKS[self.output_activation]

    @property
    def is_categorical(self) -> bool:
        """Whether targets are class numbers (one column) instead of one value per output."""
        return self.link.is_categorical

    @property
    def units_per_target(self) -> int:
        """How many raw predictions belong to one target."""
        return self.link.units_per_target

    def check_constants(self, values: tuple[float, ...]) -> None:
        """Refuse values that the formula's constants cannot have.

        Raises
        ------
        ValueError
            If their number is not that of the constants, or one is outside its range.
        """
        check_constants(self.name, self.constants, values)


def canonical_gradient(target: float, output: float) -> float:
    """Return ``output - target``: what every loss with its canonical link has in common."""
    return output - target


def clip_probability(probability: float, epsilon: float) -> float:
    """Keep a probability away from zero and one; NaN passes through.

    Clipped as scikit-learn clips, so that loss curves and stopping decisions agree.
    """
    if probability < epsilon:
        return epsilon
    if probability > 1.0 - epsilon:
        return 1.0 - epsilon
    return probability


def categorical_log_loss(target: float, raw: float, output: float, epsilon: float) -> float:
    return -log(clip_probability(output, epsilon))


def binary_log_loss(target: float, raw: float, output: float, epsilon: float) -> float:
    probability = clip_probability(output, epsilon)
    return -(target * log(probability) + (1.0 - target) * log(1.0 - probability))


def half_squared_error(target: float, raw: float, output: float, epsilon: float) -> float:
    return 0.5 * (target - output) * (target - output)


def half_poisson_deviance(target: float, raw: float, output: float, epsilon: float) -> float:
    # y log(y / p) - y + p with log(p) = raw, which stays finite when p underflows to zero.
    entropy = target * log(target) if target > 0.0 else 0.0
    return entropy - target * raw - target + output


def gaussian_log_loss(target: float, mean: float, log_variance: float, epsilon: float) -> float:
    # The error is scaled before it is squared, so that what is large in large units does not
    # overflow. The last number is log(2 * pi) / 2.
    error = (target - mean) * exp(-0.5 * log_variance)
    return 0.5 * (log_variance + error * error) + 0.9189385332046727


def gaussian_gradient(target: float, mean: float, log_variance: float) -> tuple[float, float]:
    scale = exp(-0.5 * log_variance)
    error = (target - mean) * scale
    return -error * scale, 0.5 - 0.5 * error * error


LOSSES: dict[tuple[str, str], Loss] = {
    (entry.name, entry.output_activation): entry
    for entry in (
        Loss(
            "log_loss",
            "softmax",
            categorical_log_loss,
            canonical_gradient,
            domain="class numbers 0 .. n_classes - 1",
            domain_minimum=0.0,
            for_classes=True,
            reference="Bishop (2006), Pattern Recognition and Machine Learning, eq. 4.108",
        ),
        Loss(
            "log_loss",
            "logistic",
            binary_log_loss,
            canonical_gradient,
            domain="0 or 1 for each output",
            domain_minimum=0.0,
            for_classes=True,
            reference="Bishop (2006), Pattern Recognition and Machine Learning, eq. 4.90",
        ),
        Loss(
            "squared_error",
            "identity",
            half_squared_error,
            canonical_gradient,
            domain="real numbers",
            reference="Bishop (2006), Pattern Recognition and Machine Learning, eq. 5.14",
        ),
        Loss(
            "poisson",
            "exp",
            half_poisson_deviance,
            canonical_gradient,
            domain="non-negative numbers",
            domain_minimum=0.0,
            reference="McCullagh & Nelder (1989), Generalized Linear Models, section 2.3",
        ),
        Loss(
            "gaussian_nll",
            "gaussian",
            gaussian_log_loss,
            gaussian_gradient,
            domain="real numbers",
            reference="Nix & Weigend (1994), IEEE International Conference on Neural Networks",
        ),
    )
}
# What a regressor can minimize: the name of each loss, and its output activation.
REGRESSION_LINKS = {
    entry.name: entry.output_activation for entry in LOSSES.values() if not entry.for_classes
}
