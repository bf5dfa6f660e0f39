"""Stochastic optimizers: the registry of update formulas.

An optimizer is explicit state plus two plain functions: `constants` is evaluated once per step
in double precision, `update` once per parameter in the precision of the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy import sqrt

Constants = tuple[float, float, float, float]


@dataclass(frozen=True)
class Optimizer:
    """A first-order optimizer.

    Attributes
    ----------
    name : str
        Public name, as in the ``solver`` parameter.
    settings : tuple of str
        Names of the settings, in the order in which `constants` receives them.
    state_names : tuple of str
        Names of the state vectors, each as long as the parameters and zero at the start.
    constants : callable
        ``constants(settings, learning_rate, step)``: four numbers shared by all parameters in
        this step (unused ones are zero). `step` counts from one.
    update : callable
        ``update(parameter, gradient, *state, constants)``: returns the new parameter followed
        by the new state.
    reference : str
        Where the formula comes from.
    """

    name: str
    settings: tuple[str, ...]
    state_names: tuple[str, ...]
    constants: Callable[[Sequence[float], float, int], Constants]
    update: Callable[..., tuple[Any, ...]]
    reference: str = ""


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


OPTIMIZERS: dict[str, Optimizer] = {
    entry.name: entry
    for entry in (
        Optimizer(
            "sgd",
            ("momentum", "nesterovs_momentum"),
            ("velocity",),
            sgd_constants,
            sgd_update,
            reference="Sutskever et al. (2013), ICML, eq. 1-4",
        ),
        Optimizer(
            "adam",
            ("beta_1", "beta_2", "epsilon"),
            ("first_moment", "second_moment"),
            adam_constants,
            adam_update,
            reference="Kingma & Ba (2014), arXiv:1412.6980, with the step size of section 2",
        ),
    )
}
