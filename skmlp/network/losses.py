"""Loss functions: the registry of losses, each with the output activation it is paired with.

`value` and `gradient` belong to one output of one sample. The loss of a batch is

    (sum_i w_i sum_k value(y_ik, z_ik, p_ik) + alpha / 2 * sum(coefs ** 2)) / sum_i w_i

with `z` the raw prediction and ``p = output_activation(z)``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from numpy import log


@dataclass(frozen=True)
class Loss:
    """A loss function together with its output activation.

    Attributes
    ----------
    name : str
        Name of the loss.
    output_activation : {"identity", "logistic", "softmax", "exp"}
        What turns the raw prediction into the network's output.
    value : callable
        ``value(target, raw, output, epsilon)``: the loss of one output. `epsilon` is the
        relative rounding error of the precision in use. For softmax `target` is always one and
        `output` is the probability of the true class.
    gradient : callable
        ``gradient(target, output)``: d value / d raw. For softmax `target` is one for the true
        class and zero elsewhere.
    domain : str
        The targets it accepts, in words.
    domain_minimum : float
        Smallest target accepted.
    reference : str
        Where the formula comes from.
    """

    name: str
    output_activation: str
    value: Callable[[float, float, float, float], float]
    gradient: Callable[[float, float], float]
    domain: str
    domain_minimum: float = float("-inf")
    reference: str = ""

    @property
    def is_categorical(self) -> bool:
        """Whether targets are class numbers (one column) instead of one value per output."""
        return self.output_activation == "softmax"


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
            reference="Bishop (2006), Pattern Recognition and Machine Learning, eq. 4.108",
        ),
        Loss(
            "log_loss",
            "logistic",
            binary_log_loss,
            canonical_gradient,
            domain="0 or 1 for each output",
            domain_minimum=0.0,
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
    )
}
