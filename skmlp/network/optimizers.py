"""Stochastic optimizers: the registry of update formulas.

An optimizer is explicit state plus plain functions: `constants` is evaluated once per step in
double precision, `update` once per parameter in the precision of the network. Those that look at
whole weight matrices have a `MatrixStep` too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy import sqrt

from skmlp.network.constants import Constant, check_constants

Constants = tuple[float, ...]


@dataclass(frozen=True)
class State:
    """What an optimizer keeps: a vector as long as the parameters, or a single number.

    Attributes
    ----------
    name : str
    initial : float
        What it holds before the first step.
    """

    name: str
    initial: float = 0.0


@dataclass(frozen=True)
class MatrixStep:
    """How an optimizer makes a direction of the gradient of a whole weight matrix.

    What `accumulate` returns is made semi-orthogonal (`skmlp.network.orthogonal`) and multiplied by
    `scale`; the weights fall by the learning rate times that. For the matrices that it takes this
    stands in the place of the update, which has all other parameters.

    Attributes
    ----------
    takes : callable
        ``takes(settings, number, count)``: whether it takes weight matrix `number` of `count`.
    accumulate : callable
        ``accumulate(gradient, state, constants)``: returns a number of the matrix that is to be
        made orthogonal, followed by the new state. It has the first of the state vectors.
    constants : callable
        ``constants(settings)``: what `accumulate` is given, the same in every step.
    iterations : callable
        ``iterations(settings)``: how often to iterate.
    scale : callable
        ``scale(settings, fan_in, fan_out)``.
    """

    takes: Callable[[Sequence[float], int, int], bool]
    accumulate: Callable[..., tuple[Any, Any]]
    constants: Callable[[Sequence[float]], Constants]
    iterations: Callable[[Sequence[float]], int]
    scale: Callable[[Sequence[float], int, int], float]


def descend(parameter: float, direction: float, constants: Constants) -> tuple[float]:
    """Return a weight of a matrix that a direction was made for; the constant is the rate."""
    return (parameter - constants[0] * direction,)


def no_numbers(settings: Sequence[float], step: int) -> Constants:
    return ()


@dataclass(frozen=True)
class Optimizer:
    """A first-order optimizer.

    Attributes
    ----------
    name : str
        Public name, as in the ``solver`` parameter.
    settings : tuple of Constant
        Its settings, in the order in which `constants` receives their values.
    states : tuple of State
        Any number of them.
    constants : callable
        ``constants(settings, learning_rate, step, *numbers)``: a tuple of numbers shared by all
        parameters in this step, as many as the optimizer needs. `step` counts from one.
    update : callable
        ``update(parameter, gradient, *state, constants)``: returns the new parameter followed
        by the new state.
    binds : tuple of str
        Settings that the name alone takes from the estimators' parameters of these names; others
        have their defaults. ``weight_decay`` may be among them: then it belongs to the optimizer's
        object.
    reference : str
        Where the formula comes from.
    numbers : tuple of State
        Single numbers that it carries from step to step, whatever the parameters.
    carry : callable
        ``carry(settings, step, *numbers)``: returns these numbers for step `step`, given those of
        the step before.
    matrices : MatrixStep or None
        What it does with whole weight matrices.
    momentum : str or None
        Which of its settings is the momentum, that a schedule may move from step to step.
    """

    name: str
    settings: tuple[Constant, ...]
    states: tuple[State, ...]
    constants: Callable[..., Constants]
    update: Callable[..., tuple[Any, ...]]
    binds: tuple[str, ...] = ()
    reference: str = ""
    numbers: tuple[State, ...] = ()
    carry: Callable[..., Constants] = no_numbers
    matrices: MatrixStep | None = None
    momentum: str | None = None

    @property
    def momentum_place(self) -> int | None:
        """Where the momentum stands among the settings; None where there is none."""
        names = [setting.name for setting in self.settings]
        return None if self.momentum is None else names.index(self.momentum)

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(state.name for state in self.states)

    @property
    def defaults(self) -> tuple[float, ...]:
        return tuple(setting.default for setting in self.settings)

    @property
    def initial_numbers(self) -> tuple[float, ...]:
        return tuple(number.initial for number in self.numbers)

    @property
    def n_constants(self) -> int:
        numbers = self.carry(self.defaults, 1, *self.initial_numbers)
        return len(self.constants(self.defaults, 1.0, 1, *numbers))

    def taken_matrices(self, settings: Sequence[float], count: int) -> tuple[int, ...]:
        """Return the numbers of those of `count` weight matrices that are taken as a whole."""
        if self.matrices is None:
            return ()
        return tuple(i for i in range(count) if self.matrices.takes(settings, i, count))

    def check_settings(self, values: tuple[float, ...]) -> None:
        """Refuse values that its settings cannot have.

        Raises
        ------
        ValueError
            If their number is not that of the settings, or one is outside its range.
        """
        check_constants(self.name, self.settings, values)


@dataclass(frozen=True)
class Group:
    """Parameters that are updated alike: by which factors, beside the others.

    Attributes
    ----------
    rate, alpha, decay : float
        Factors of the learning rate, of the penalty's gradient and of the weight decay.
    gradient : float
        What the whole gradient is multiplied by, before it is clipped and the optimizer sees it.
    """

    rate: float = 1.0
    alpha: float = 1.0
    decay: float = 1.0
    gradient: float = 1.0

    @property
    def is_frozen(self) -> bool:
        """Whether its parameters stay what they are, whatever the optimizer carries of before."""
        return self.rate == 0.0


# By what the parameters are in the network, their role. All but coefficients are neither penalized
# nor do they decay.
GROUPS = {
    "coefs": Group(),
    "intercepts": Group(alpha=0.0, decay=0.0),
    "slopes": Group(alpha=0.0, decay=0.0),  # learned numbers of activations
    "normalization": Group(alpha=0.0, decay=0.0),  # gains and shifts; of members, shifts
    "embedding": Group(alpha=0.0, decay=0.0),  # what embeddings of features learn
    "scale": Group(alpha=0.0, decay=0.0),  # what embedded features, and units, are multiplied by
}
# Roles of which each layer has its own, the output layer too.
PER_LAYER = ("coefs", "intercepts")


def sgd_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    momentum = settings[0]
    nesterov = settings[1]
    if nesterov > 0.0:
        return momentum, learning_rate, momentum, learning_rate
    return momentum, learning_rate, 1.0, 0.0


def sgd_update(
    parameter: float, gradient: float, velocity: float, constants: Constants
) -> tuple[float, float]:
    momentum, learning_rate, velocity_factor, gradient_factor = constants
    velocity = momentum * velocity - learning_rate * gradient
    return parameter + (velocity_factor * velocity - gradient_factor * gradient), velocity


def moment_constants(
    beta_1: float, beta_2: float, epsilon: float, learning_rate: float, step: int
) -> Constants:
    """Return Adam's numbers of a step."""
    step_size = learning_rate * sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
    # The complements are formed here: near one, single precision would lose them.
    return 1.0 - beta_1, 1.0 - beta_2, step_size, epsilon


def adam_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    return moment_constants(settings[0], settings[1], settings[2], learning_rate, step)


def adam_update(
    parameter: float,
    gradient: float,
    first_moment: float,
    second_moment: float,
    constants: Constants,
) -> tuple[float, float, float]:
    first_rate, second_rate, step_size, epsilon = constants
    first_moment = first_moment + first_rate * (gradient - first_moment)
    second_moment = second_moment + second_rate * (gradient * gradient - second_moment)
    parameter = parameter - step_size * first_moment / (sqrt(second_moment) + epsilon)
    return parameter, first_moment, second_moment


def larger(number: float, other: float) -> float:
    """Return the larger number, or NaN where `number` is that."""
    return other if number < other else number


def nadam_momentum(settings: Sequence[float], step: int) -> float:
    """Return the share of the momentum in a step, which grows from half of `beta_1` to it."""
    return settings[0] * (1.0 - 0.5 * 0.96 ** (step * settings[3]))


def nadam_carry(settings: Sequence[float], step: int, product: float) -> Constants:
    return (product * nadam_momentum(settings, step),)


def nadam_constants(
    settings: Sequence[float], learning_rate: float, step: int, product: float
) -> Constants:
    beta_1 = settings[0]
    beta_2 = settings[1]
    momentum = nadam_momentum(settings, step)
    following = nadam_momentum(settings, step + 1)
    # The second moment is not corrected; all that it divides, and epsilon, are instead.
    correction = sqrt(1.0 - beta_2**step)
    gradient_size = learning_rate * correction * (1.0 - momentum) / (1.0 - product)
    moment_size = learning_rate * correction * following / (1.0 - product * following)
    return 1.0 - beta_1, 1.0 - beta_2, gradient_size, moment_size, settings[2] * correction


def nadam_update(
    parameter: float,
    gradient: float,
    first_moment: float,
    second_moment: float,
    constants: Constants,
) -> tuple[float, float, float]:
    first_rate, second_rate, gradient_size, moment_size, epsilon = constants
    first_moment = first_moment + first_rate * (gradient - first_moment)
    second_moment = second_moment + second_rate * (gradient * gradient - second_moment)
    step = gradient_size * gradient + moment_size * first_moment
    return parameter - step / (sqrt(second_moment) + epsilon), first_moment, second_moment


def amsgrad_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    beta_1 = settings[0]
    beta_2 = settings[1]
    correction = sqrt(1.0 - beta_2**step)
    step_size = learning_rate * correction / (1.0 - beta_1**step)
    return 1.0 - beta_1, 1.0 - beta_2, step_size, settings[2] * correction


def amsgrad_update(
    parameter: float,
    gradient: float,
    first_moment: float,
    second_moment: float,
    largest: float,
    constants: Constants,
) -> tuple[float, float, float, float]:
    first_rate, second_rate, step_size, epsilon = constants
    first_moment = first_moment + first_rate * (gradient - first_moment)
    second_moment = second_moment + second_rate * (gradient * gradient - second_moment)
    largest = larger(second_moment, largest)
    parameter = parameter - step_size * first_moment / (sqrt(largest) + epsilon)
    return parameter, first_moment, second_moment, largest


def adamax_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    beta_1 = settings[0]
    step_size = learning_rate / (1.0 - beta_1**step)
    return 1.0 - beta_1, settings[1], step_size, settings[2]


def adamax_update(
    parameter: float, gradient: float, first_moment: float, norm: float, constants: Constants
) -> tuple[float, float, float]:
    first_rate, decay, step_size, epsilon = constants
    first_moment = first_moment + first_rate * (gradient - first_moment)
    size = gradient if gradient >= 0.0 else -gradient
    norm = larger(size + epsilon, decay * norm)
    return parameter - step_size * first_moment / norm, first_moment, norm


def rmsprop_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    rho = settings[0]
    epsilon = settings[1]
    momentum = settings[2]
    centered = settings[3]
    return 1.0 - rho, epsilon, momentum, centered, learning_rate


def rmsprop_update(
    parameter: float,
    gradient: float,
    second_moment: float,
    mean: float,
    velocity: float,
    constants: Constants,
) -> tuple[float, float, float, float]:
    rate, epsilon, momentum, centered, learning_rate = constants
    second_moment = second_moment + rate * (gradient * gradient - second_moment)
    mean = mean + rate * (gradient - mean)
    # Never negative but by rounding.
    spread = larger(second_moment - centered * mean * mean, 0.0)
    velocity = momentum * velocity + gradient / (sqrt(spread) + epsilon)
    return parameter - learning_rate * velocity, second_moment, mean, velocity


def adagrad_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    return settings[0], settings[1], learning_rate


def adagrad_update(
    parameter: float, gradient: float, squares: float, constants: Constants
) -> tuple[float, float]:
    initial, epsilon, learning_rate = constants
    squares = squares + gradient * gradient
    return parameter - learning_rate * gradient / (sqrt(initial + squares) + epsilon), squares


def adadelta_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    return 1.0 - settings[0], settings[1], learning_rate


def adadelta_update(
    parameter: float, gradient: float, squares: float, step_squares: float, constants: Constants
) -> tuple[float, float, float]:
    rate, epsilon, learning_rate = constants
    squares = squares + rate * (gradient * gradient - squares)
    step = gradient * sqrt((step_squares + epsilon) / (squares + epsilon))
    step_squares = step_squares + rate * (step * step - step_squares)
    return parameter - learning_rate * step, squares, step_squares


def sign(number: float) -> float:
    """Return one, minus one, or the number itself where it is zero or NaN."""
    if number > 0.0:
        return 1.0
    return -1.0 if number < 0.0 else number


def lion_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    return 1.0 - settings[0], 1.0 - settings[1], learning_rate


def lion_update(
    parameter: float, gradient: float, momentum: float, constants: Constants
) -> tuple[float, float]:
    first_rate, second_rate, learning_rate = constants
    direction = momentum + first_rate * (gradient - momentum)
    momentum = momentum + second_rate * (gradient - momentum)
    return parameter - learning_rate * sign(direction), momentum


def muon_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    """Return what Adam needs, for all that is in no matrix."""
    return moment_constants(settings[6], settings[7], settings[8], learning_rate, step)


def muon_takes(settings: Sequence[float], number: int, count: int) -> bool:
    """Whether it is neither the first nor the last matrix, or these are wanted too."""
    is_wanted = number > 0 or settings[4] > 0.0
    return is_wanted and (number < count - 1 or settings[5] > 0.0)


def muon_momentum(settings: Sequence[float]) -> Constants:
    momentum = settings[0]
    return 1.0 - momentum, (1.0 - momentum if settings[1] > 0.0 else 0.0)


def muon_accumulate(gradient: float, momentum: float, constants: Constants) -> tuple[float, float]:
    rate, gradient_share = constants
    momentum = momentum + rate * (gradient - momentum)
    return momentum + gradient_share * (gradient - momentum), momentum


def muon_iterations(settings: Sequence[float]) -> int:
    return int(settings[2])


def muon_scale(settings: Sequence[float], fan_in: int, fan_out: int) -> float:
    """Return Liu et al.'s factor, by which an update is as large as Adam's, or Jordan's."""
    if settings[3] > 0.0:
        return float(0.2 * sqrt(float(max(fan_in, fan_out))))
    return float(sqrt(max(1.0, fan_out / fan_in)))


ADAM_BINDS = ("beta_1", "beta_2", "epsilon")
MOMENTS = (State("first_moment"), State("second_moment"))


def positive(name: str, default: float) -> Constant:
    return Constant(name, default, 0.0, closed="neither")


def switch(name: str, default: float) -> Constant:
    return Constant(name, default, 0.0, 1.0)


def rate_of_decay(name: str, default: float) -> Constant:
    return Constant(name, default, 0.0, 1.0, closed="left")


ADAM_SETTINGS = (
    rate_of_decay("beta_1", 0.9),
    rate_of_decay("beta_2", 0.999),
    positive("epsilon", 1e-8),
)

OPTIMIZERS: dict[str, Optimizer] = {
    entry.name: entry
    for entry in (
        Optimizer(
            "sgd",
            (
                Constant("momentum", 0.9, 0.0, 1.0),
                Constant("nesterovs_momentum", 1.0, 0.0, 1.0),
            ),
            (State("velocity"),),
            sgd_constants,
            sgd_update,
            binds=("momentum", "nesterovs_momentum"),
            reference="Sutskever et al. (2013), ICML, eq. 1-4",
            momentum="momentum",
        ),
        Optimizer(
            "adam",
            ADAM_SETTINGS,
            MOMENTS,
            adam_constants,
            adam_update,
            binds=ADAM_BINDS,
            reference="Kingma & Ba (2014), arXiv:1412.6980, with the step size of section 2",
            momentum="beta_1",
        ),
        # Its decay is that of every optimizer here; its object has one of its own.
        Optimizer(
            "adamw",
            ADAM_SETTINGS,
            MOMENTS,
            adam_constants,
            adam_update,
            binds=(*ADAM_BINDS, "weight_decay"),
            reference="Loshchilov & Hutter (2019), arXiv:1711.05101, algorithm 2",
            momentum="beta_1",
        ),
        Optimizer(
            "nadam",
            (*ADAM_SETTINGS, Constant("momentum_decay", 0.004, 0.0)),
            MOMENTS,
            nadam_constants,
            nadam_update,
            binds=ADAM_BINDS,
            reference="Dozat (2016), ICLR workshop, algorithm 2, and its section on the schedule "
            "of the momentum",
            numbers=(State("momentum_product", 1.0),),
            carry=nadam_carry,
            momentum="beta_1",
        ),
        Optimizer(
            "amsgrad",
            ADAM_SETTINGS,
            (*MOMENTS, State("largest")),
            amsgrad_constants,
            amsgrad_update,
            binds=ADAM_BINDS,
            reference="Reddi, Kale & Kumar (2018), ICLR, arXiv:1904.09237, algorithm 2, with "
            "Adam's corrections of the moments",
            momentum="beta_1",
        ),
        Optimizer(
            "adamax",
            ADAM_SETTINGS,
            (State("first_moment"), State("norm")),
            adamax_constants,
            adamax_update,
            binds=ADAM_BINDS,
            reference="Kingma & Ba (2014), arXiv:1412.6980, algorithm 2",
            momentum="beta_1",
        ),
        Optimizer(
            "rmsprop",
            (
                rate_of_decay("rho", 0.99),
                positive("epsilon", 1e-8),
                rate_of_decay("momentum", 0.0),
                switch("centered", 0.0),
            ),
            (State("second_moment"), State("mean"), State("velocity")),
            rmsprop_constants,
            rmsprop_update,
            reference="Hinton (2012), Neural networks for machine learning, lecture 6e; centered: "
            "Graves (2013), arXiv:1308.0850, eq. 38-45",
            momentum="momentum",
        ),
        Optimizer(
            "adagrad",
            (Constant("initial", 0.0, 0.0), positive("epsilon", 1e-10)),
            (State("squares"),),
            adagrad_constants,
            adagrad_update,
            reference="Duchi, Hazan & Singer (2011), JMLR 12, section 1.1, diagonal",
        ),
        Optimizer(
            "adadelta",
            (rate_of_decay("rho", 0.9), positive("epsilon", 1e-6)),
            (State("squares"), State("step_squares")),
            adadelta_constants,
            adadelta_update,
            reference="Zeiler (2012), arXiv:1212.5701, algorithm 1",
        ),
        Optimizer(
            "lion",
            (rate_of_decay("beta_1", 0.9), rate_of_decay("beta_2", 0.99)),
            (State("momentum"),),
            lion_constants,
            lion_update,
            reference="Chen et al. (2023), arXiv:2302.06675, algorithm 2",
            momentum="beta_1",
        ),
        Optimizer(
            "muon",
            (
                rate_of_decay("momentum", 0.95),
                switch("nesterovs_momentum", 1.0),
                Constant("iterations", 5.0, 1.0, 99.0, whole=True),
                switch("match_rms", 1.0),
                switch("first_layer", 1.0),
                switch("last_layer", 0.0),
                *ADAM_SETTINGS,
            ),
            # On matrices that are taken as a whole, the first one is the momentum.
            MOMENTS,
            muon_constants,
            adam_update,
            binds=ADAM_BINDS,
            reference="Jordan et al. (2024), kellerjordan.github.io/posts/muon; the scale by Liu "
            "et al. (2025), arXiv:2502.16982, eq. 4",
            matrices=MatrixStep(
                takes=muon_takes,
                accumulate=muon_accumulate,
                constants=muon_momentum,
                iterations=muon_iterations,
                scale=muon_scale,
            ),
        ),
    )
}
