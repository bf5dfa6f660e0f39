"""Stochastic optimizers: the registry of update formulas.

An optimizer is explicit state plus two plain functions: `constants` is evaluated once per step
in double precision, `update` once per parameter in the precision of the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy import sqrt

from skmlp.network.constants import Constant, check_constants

Constants = tuple[float, ...]


@dataclass(frozen=True)
class State:
    """A vector that an optimizer keeps, as long as the parameters.

    Attributes
    ----------
    name : str
    initial : float
        What it holds before the first step.
    """

    name: str
    initial: float = 0.0


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
        ``constants(settings, learning_rate, step)``: a tuple of numbers shared by all parameters
        in this step, as many as the optimizer needs. `step` counts from one.
    update : callable
        ``update(parameter, gradient, *state, constants)``: returns the new parameter followed
        by the new state.
    binds : tuple of str
        Settings that the name alone takes from the estimators' parameters of these names; others
        have their defaults. ``weight_decay`` may be among them: then it belongs to the optimizer's
        object.
    reference : str
        Where the formula comes from.
    """

    name: str
    settings: tuple[Constant, ...]
    states: tuple[State, ...]
    constants: Callable[[Sequence[float], float, int], Constants]
    update: Callable[..., tuple[Any, ...]]
    binds: tuple[str, ...] = ()
    reference: str = ""

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(state.name for state in self.states)

    @property
    def defaults(self) -> tuple[float, ...]:
        return tuple(setting.default for setting in self.settings)

    @property
    def n_constants(self) -> int:
        return len(self.constants(self.defaults, 1.0, 1))

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
        Factors of the learning rate, of the L2 penalty's gradient and of the weight decay.
    """

    rate: float = 1.0
    alpha: float = 1.0
    decay: float = 1.0


# By what the parameters are in the network. Intercepts are neither penalized nor do they decay.
GROUPS = {"coefs": Group(), "intercepts": Group(alpha=0.0, decay=0.0)}


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


def adam_constants(settings: Sequence[float], learning_rate: float, step: int) -> Constants:
    beta_1 = settings[0]
    beta_2 = settings[1]
    epsilon = settings[2]
    step_size = learning_rate * sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
    # The complements are formed here: near one, single precision would lose them.
    return 1.0 - beta_1, 1.0 - beta_2, step_size, epsilon


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


ADAM_SETTINGS = (
    Constant("beta_1", 0.9, 0.0, 1.0, closed="left"),
    Constant("beta_2", 0.999, 0.0, 1.0, closed="left"),
    Constant("epsilon", 1e-8, 0.0, closed="neither"),
)
ADAM_BINDS = ("beta_1", "beta_2", "epsilon")
MOMENTS = (State("first_moment"), State("second_moment"))

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
        ),
        Optimizer(
            "adam",
            ADAM_SETTINGS,
            MOMENTS,
            adam_constants,
            adam_update,
            binds=ADAM_BINDS,
            reference="Kingma & Ba (2014), arXiv:1412.6980, with the step size of section 2",
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
        ),
        Optimizer(
            "lion",
            (
                Constant("beta_1", 0.9, 0.0, 1.0, closed="left"),
                Constant("beta_2", 0.99, 0.0, 1.0, closed="left"),
            ),
            (State("momentum"),),
            lion_constants,
            lion_update,
            reference="Chen et al. (2023), arXiv:2302.06675, algorithm 2",
        ),
    )
}
