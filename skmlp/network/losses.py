"""Loss functions: the registry of losses, each with the output activation it is paired with.

`value` and `gradient` belong to one target of one sample. The loss of a batch is

    (sum_i w_i sum_k value(y_ik, z_ik, p_ik) + alpha / 2 * sum(coefs ** 2)) / sum_i w_i

with `z` the raw prediction and ``p = output_activation(z)``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from skmlp.network import loss_formulas as formulas
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
    domain_is_open : bool
        Whether that itself is not accepted.
    constants : tuple of Constant
        What the formulas are given besides, as the threshold of a Huber loss.
    takes_raw : bool
        Whether it is ``gradient(target, raw, output, *constants)``. For softmax both formulas are
        then those of every class, the loss being their sum, with the logarithm of the probability
        in the place of `raw`; and the gradient is the derivative by that, as if the logarithms
        did not depend on each other.
    for_classes : bool
        Whether a classifier minimizes it; otherwise it is one for regressors to choose.
    formula : str
        The loss of a target in the user guide's notation.
    minimizer : str
        What a network that minimizes it predicts, in words.
    reference : str
        Where the formula comes from.
    """

    name: str
    output_activation: str
    value: Callable[..., float]
    gradient: Callable[..., float | tuple[float, ...]]
    domain: str
    domain_minimum: float = float("-inf")
    domain_is_open: bool = False
    constants: tuple[Constant, ...] = ()
    takes_raw: bool = False
    for_classes: bool = False
    formula: str = ""
    minimizer: str = ""
    reference: str = ""

    @property
    def link(self) -> Link:
        return LINKS[self.output_activation]

    @property
    def is_categorical(self) -> bool:
        """Whether targets are class numbers (one column) instead of one value per output."""
        return self.link.is_categorical

    @property
    def has_any_number(self) -> bool:
        """Whether it may have any number of constants, each with a raw prediction of its own.

        Those listed then are an example. Output `k` of a target has the loss of constant `k`.
        """
        return self.link.is_cumulative

    @property
    def units_per_target(self) -> int:
        """How many raw predictions belong to one target, with the constants that are listed."""
        return self.units_with(len(self.constants))

    def units_with(self, n_constants: int) -> int:
        """Return how many raw predictions belong to one target."""
        return n_constants if self.has_any_number else self.link.units_per_target

    def check_constants(self, values: tuple[float, ...]) -> None:
        """Refuse values that the formula's constants cannot have.

        Raises
        ------
        ValueError
            If their number is not that of the constants, or one is outside its range.
        """
        constants = self.constants
        if self.has_any_number and values:
            constants = constants[:1] * len(values)
            if any(a >= b for a, b in pairwise(values)):
                name = f"{constants[0].name} of {self.name}"
                raise ValueError(f"{name} must be strictly increasing numbers, got {values!r}.")
        check_constants(self.name, constants, values)


def quantile_constant(default: float) -> Constant:
    return Constant("quantile", default, 0.0, 1.0, closed="neither")


GAMMA = Constant("gamma", 2.0, 0.0)
# The smoothed probabilities of the true class and of every other one.
SMOOTHED = (Constant("hit", 0.9, 0.0, 1.0), Constant("miss", 0.05, 0.0, 1.0))

LOSSES: dict[tuple[str, str], Loss] = {
    (entry.name, entry.output_activation): entry
    for entry in (
        Loss(
            "log_loss",
            "softmax",
            formulas.categorical_log_loss,
            formulas.canonical_gradient,
            domain="class numbers 0 .. n_classes - 1",
            domain_minimum=0.0,
            for_classes=True,
            formula="-log p[y]",
            minimizer="probabilities",
            reference="Bishop (2006), Pattern Recognition and Machine Learning, eq. 4.108",
        ),
        Loss(
            "log_loss",
            "logistic",
            formulas.binary_log_loss,
            formulas.canonical_gradient,
            domain="0 or 1 for each output",
            domain_minimum=0.0,
            for_classes=True,
            formula="-y log p - (1 - y) log(1 - p)",
            minimizer="probabilities",
            reference="Bishop (2006), Pattern Recognition and Machine Learning, eq. 4.90",
        ),
        Loss(
            "smoothed_log_loss",
            "softmax",
            formulas.smoothed_log_loss,
            formulas.smoothed_log_loss_slope,
            domain="class numbers 0 .. n_classes - 1",
            domain_minimum=0.0,
            constants=SMOOTHED,
            takes_raw=True,
            for_classes=True,
            formula="-sum_k t[k] log p[k], t[k] = (1 - s) [k = y] + s / n_classes",
            minimizer="smoothed probabilities",
            reference="Szegedy et al. (2016), CVPR, section 7",
        ),
        Loss(
            "focal",
            "softmax",
            formulas.categorical_focal,
            formulas.categorical_focal_slope,
            domain="class numbers 0 .. n_classes - 1",
            domain_minimum=0.0,
            constants=(GAMMA, *SMOOTHED),
            takes_raw=True,
            for_classes=True,
            formula="-(1 - p[y]) ** gamma log p[y]",
            minimizer="probabilities less extreme than the true ones",
            reference="Lin et al. (2017), ICCV, eq. 4, for all classes",
        ),
        Loss(
            "focal",
            "logistic",
            formulas.binary_focal,
            formulas.binary_focal_gradient,
            domain="0 or 1 for each output",
            domain_minimum=0.0,
            constants=(GAMMA,),
            takes_raw=True,
            for_classes=True,
            formula="-y (1 - p) ** gamma log p - (1 - y) p ** gamma log(1 - p)",
            minimizer="probabilities less extreme than the true ones",
            reference="Lin et al. (2017), ICCV, eq. 4",
        ),
        Loss(
            "squared_error",
            "softmax",
            formulas.categorical_brier,
            formulas.categorical_brier_slope,
            domain="class numbers 0 .. n_classes - 1",
            domain_minimum=0.0,
            takes_raw=True,
            for_classes=True,
            formula="sum_k (p[k] - [k = y]) ** 2 / 2",
            minimizer="probabilities",
            reference="Brier (1950), Monthly Weather Review 78, eq. 2, halved",
        ),
        Loss(
            "squared_error",
            "logistic",
            formulas.binary_brier,
            formulas.binary_brier_gradient,
            domain="0 or 1 for each output",
            domain_minimum=0.0,
            for_classes=True,
            formula="(p - y) ** 2",
            minimizer="probabilities",
            reference="Brier (1950), Monthly Weather Review 78, eq. 2, halved",
        ),
        Loss(
            "hinge",
            "identity",
            formulas.hinge,
            formulas.hinge_gradient,
            domain="0 or 1 for each output",
            domain_minimum=0.0,
            for_classes=True,
            formula="max(0, 1 - (2 y - 1) p)",
            minimizer="the sign of y - 1/2 at the more probable label",
            reference="Cortes & Vapnik (1995), Machine Learning 20",
        ),
        Loss(
            "squared_hinge",
            "identity",
            formulas.squared_hinge,
            formulas.squared_hinge_gradient,
            domain="0 or 1 for each output",
            domain_minimum=0.0,
            for_classes=True,
            formula="max(0, 1 - (2 y - 1) p) ** 2",
            minimizer="2 P(y = 1) - 1",
            reference="Cortes & Vapnik (1995), Machine Learning 20",
        ),
        Loss(
            "squared_error",
            "identity",
            formulas.half_squared_error,
            formulas.canonical_gradient,
            domain="real numbers",
            formula="(y - p) ** 2 / 2",
            minimizer="the mean",
            reference="Bishop (2006), Pattern Recognition and Machine Learning, eq. 5.14",
        ),
        Loss(
            "absolute_error",
            "identity",
            formulas.absolute_error,
            formulas.absolute_error_gradient,
            domain="real numbers",
            formula="abs(y - p)",
            minimizer="the median",
            reference="Koenker & Bassett (1978), Econometrica 46, for the median",
        ),
        Loss(
            "huber",
            "identity",
            formulas.huber,
            formulas.huber_gradient,
            domain="real numbers",
            constants=(Constant("delta", 1.0, 0.0, closed="neither"),),
            formula="e ** 2 / 2 if abs(e) <= delta else delta (abs(e) - delta / 2), e = y - p",
            minimizer="a mean on which outliers have little influence",
            reference="Huber (1964), Annals of Mathematical Statistics 35",
        ),
        Loss(
            "log_cosh",
            "identity",
            formulas.log_cosh,
            formulas.log_cosh_gradient,
            domain="real numbers",
            formula="log(cosh(y - p))",
            minimizer="a mean on which outliers have little influence",
            reference="Green (1990), IEEE Transactions on Medical Imaging 9",
        ),
        Loss(
            "quantile",
            "identity",
            formulas.pinball,
            formulas.pinball_gradient,
            domain="real numbers",
            constants=(quantile_constant(0.5),),
            formula="max(q (y - p), (q - 1) (y - p))",
            minimizer="the quantile q",
            reference="Koenker & Bassett (1978), Econometrica 46",
        ),
        Loss(
            "quantile",
            "increasing",
            formulas.pinball,
            formulas.pinball_gradient,
            domain="real numbers",
            constants=(quantile_constant(0.1), quantile_constant(0.5), quantile_constant(0.9)),
            formula="sum_k max(q[k] (y - p[k]), (q[k] - 1) (y - p[k]))",
            minimizer="the quantiles q",
            reference="Koenker & Bassett (1978), Econometrica 46",
        ),
        Loss(
            "poisson",
            "exp",
            formulas.half_poisson_deviance,
            formulas.canonical_gradient,
            domain="non-negative numbers",
            domain_minimum=0.0,
            formula="y log(y / p) - y + p",
            minimizer="the mean",
            reference="McCullagh & Nelder (1989), Generalized Linear Models, section 2.3",
        ),
        Loss(
            "gamma",
            "exp",
            formulas.half_gamma_deviance,
            formulas.half_gamma_gradient,
            domain="positive numbers",
            domain_minimum=0.0,
            domain_is_open=True,
            takes_raw=True,
            formula="log(p / y) + y / p - 1",
            minimizer="the mean",
            reference="McCullagh & Nelder (1989), Generalized Linear Models, section 2.3",
        ),
        Loss(
            "tweedie",
            "exp",
            formulas.half_tweedie_deviance,
            formulas.half_tweedie_gradient,
            domain="non-negative numbers",
            domain_minimum=0.0,
            constants=(Constant("power", 1.5, 1.0, 2.0, closed="neither"),),
            takes_raw=True,
            formula="y ** b / (a b) - y p ** a / a + p ** b / b, a = 1 - power, b = 2 - power",
            minimizer="the mean",
            reference="Jorgensen (1987), Journal of the Royal Statistical Society B 49",
        ),
        Loss(
            "gaussian_nll",
            "gaussian",
            formulas.gaussian_log_loss,
            formulas.gaussian_gradient,
            domain="real numbers",
            formula="(v + (y - m) ** 2 exp(-v) + log(2 pi)) / 2",
            minimizer="mean m and logarithm v of the variance",
            reference="Nix & Weigend (1994), IEEE International Conference on Neural Networks",
        ),
        Loss(
            "laplace_nll",
            "laplace",
            formulas.laplace_log_loss,
            formulas.laplace_gradient,
            domain="real numbers",
            formula="(v + log 2) / 2 + sqrt(2) abs(y - m) exp(-v / 2)",
            minimizer="median m and logarithm v of the variance",
            reference="Kotz, Kozubowski & Podgorski (2001), The Laplace Distribution, section 2.1",
        ),
    )
}
# Made of users' functions (`skmlp.network.custom`), by names that tell what they compute.
CUSTOM_LOSSES: dict[tuple[str, str], Loss] = {}
CUSTOM_LINK = "identity"
# What a regressor can minimize: the name of each loss, and its output activation. That of quantiles
# is for a single one.
REGRESSION_LINKS = {
    entry.name: entry.output_activation
    for entry in LOSSES.values()
    if not (entry.for_classes or entry.has_any_number)
}


def loss_entry(name: str, link: str) -> Loss:
    """Return the entry of a loss and an output activation.

    Raises
    ------
    ValueError
        If there is none.
    """
    for registry in (LOSSES, CUSTOM_LOSSES):
        try:
            if (name, link) in registry:
                return registry[name, link]
        except TypeError:  # of what cannot be hashed
            break
    raise ValueError(
        f"loss and link must be a pair of the registry of losses, but is {(name, link)!r}."
    )
