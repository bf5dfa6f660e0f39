"""The registries' formulas as device functions, chosen by their codes.

One launch may hold networks with different formulas. A chain of comparisons, the same for all
threads of a block, costs little beside the product that precedes it, and a network with other
formulas needs no other kernel.
"""

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from skmlp.engines.cuda.device import SIMULATED, device_function
from skmlp.engines.cuda.vocabulary import known_activations, known_losses, known_optimizers
from skmlp.engines.formulas import rebind
from skmlp.network import activations


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of the simulator overflow as silently as a GPU does."""

    def call(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(x)

    return call


# By these names NumPy and `math` have the same functions; a GPU has all of `math`.
NAMES = ("exp", "log", "sqrt", "tanh", "sin", "cos", "log1p", "expm1")
ELEMENTARY: dict[str, Any] = {"erfc": math.erfc}
ELEMENTARY |= {n: quiet(getattr(np, n)) if SIMULATED else getattr(math, n) for n in NAMES}


def specialize(formula: Any, dtype: str) -> Any:
    """Return a registry's formula as a device function of one precision."""
    return rebind(formula, np.dtype(dtype).type, ELEMENTARY, device_function)


class Formulas(NamedTuple):
    """Device functions of all known entries, for one precision.

    Attributes
    ----------
    activate, differentiate : callable
        ``(code, z)`` and ``(code, a)``, as `Activation.value` and `Activation.derivative`.
    loss_value, loss_gradient : callable
        ``(code, target, raw, output, epsilon)`` and ``(code, target, output)``.
    step_constants : callable
        ``(code, settings, learning_rate, step)``: four numbers, always in double precision.
    update : callable
        ``(code, parameter, gradient, first, second, constants)``: the new parameter and two
        states; an optimizer with one state leaves the second as it is.
    larger, shifted_exponential, part_of_total : callable
        What softmax consists of, as in the registry.
    """

    activate: Any
    differentiate: Any
    loss_value: Any
    loss_gradient: Any
    step_constants: Any
    update: Any
    larger: Any
    shifted_exponential: Any
    part_of_total: Any


@cache
def formulas(dtype: str) -> Formulas:
    """Return the device functions of one precision."""

    def chosen(entries: Iterable[Any], name: str, precision: str = dtype) -> Any:
        return chain([specialize(getattr(entry, name), precision) for entry in entries])

    updates = [
        with_two_states(specialize(entry.update, dtype), len(entry.state_names))
        for entry in known_optimizers()
    ]
    return Formulas(
        activate=chosen(known_activations(), "value"),
        differentiate=chosen(known_activations(), "derivative"),
        loss_value=chosen(known_losses(), "value"),
        loss_gradient=chosen(known_losses(), "gradient"),
        step_constants=chosen(known_optimizers(), "constants", "float64"),
        update=chain(updates),
        larger=specialize(activations.larger, dtype),
        shifted_exponential=specialize(activations.shifted_exponential, dtype),
        part_of_total=specialize(activations.part_of_total, dtype),
    )


def chain(functions: list[Any]) -> Any:
    """Return ``choose(code, *arguments)``: calls the function whose place the code is.

    The last function is called for every other code.
    """
    *others, last = functions

    def otherwise(code, *arguments):
        return last(*arguments)

    choose = device_function(otherwise)
    for code, function in reversed(list(enumerate(others))):
        choose = link(code, function, choose)
    return choose


def link(own_code: int, function: Any, rest: Any) -> Any:
    def choose(code, *arguments):
        if code == own_code:
            return function(*arguments)
        return rest(code, *arguments)

    return device_function(choose)


def with_two_states(update: Any, n_states: int) -> Any:
    """Let all updates take and return two states; one that is not the optimizer's own stays."""
    if n_states == 2:
        return update

    def update_first(parameter, gradient, first, second, constants):
        parameter, first = update(parameter, gradient, first, constants)
        return parameter, first, second

    return device_function(update_first)
