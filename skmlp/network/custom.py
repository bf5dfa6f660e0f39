"""Activations and losses made of users' functions.

A function is taken apart into its code and all that it refers to, so that what is compiled, and
kept on disk, is found again by what it computes and never by its name.
"""

import builtins
import dis
import hashlib
import math
from collections.abc import Callable
from itertools import product
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NoReturn

import numpy as np

from skmlp.network.activations import CUSTOM_ACTIVATIONS, Activation
from skmlp.network.losses import CUSTOM_LINK, CUSTOM_LOSSES, Loss

# What engines have functions of their own for, and what every compiler knows.
ELEMENTARY = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh}
# Stands for every module: math.exp raises errors where engines return infinity, as NumPy does.
IN_NUMPY = ModuleType("elementary")
vars(IN_NUMPY).update(ELEMENTARY)
BUILTINS = {"abs": abs, "min": min, "max": max}
# What a function is tried with: it must take any numbers.
TRIED = (-1e3, -2.3, -0.4, 0.0, 0.6, 3.1, 1e3)
# How a function would end with an exception, which kernels cannot pass on.
RAISING = {"RAISE_VARARGS", "LOAD_ASSERTION_ERROR"}
OFFERED = "Use arithmetic, comparisons and exp, log, sqrt, tanh, abs, min and max."


def custom_activation(value: Callable[[float], float], derivative: Callable[[float], float]) -> str:
    """Make an entry of two functions and return its name.

    Raises
    ------
    ValueError
        If a function cannot be compiled by every engine.
    """
    name, parts = resolve_all("activation", ("z",), value=value, derivative=derivative)
    if name not in CUSTOM_ACTIVATIONS:
        CUSTOM_ACTIVATIONS[name] = Activation(
            name,
            parts[0],
            parts[1],
            derivative_takes_input=True,
            growth=None,
            reference="the user's",
        )
    return name


def custom_loss(
    value: Callable[[float, float], float], gradient: Callable[[float, float], float]
) -> str:
    """Make an entry of two functions of target and raw prediction, and return its name.

    Raises
    ------
    ValueError
        If a function cannot be compiled by every engine.
    """
    arguments = "target", "prediction"
    name, parts = resolve_all("loss", arguments, value=value, gradient=gradient)
    if (name, CUSTOM_LINK) not in CUSTOM_LOSSES:
        CUSTOM_LOSSES[name, CUSTOM_LINK] = Loss(
            name,
            CUSTOM_LINK,
            of_raw_prediction(parts[0]),
            parts[1],
            domain="real numbers",
            reference="the user's",
        )
    return name


def of_raw_prediction(function: FunctionType) -> Callable[..., float]:
    """Return a function that is called as the value of a loss is."""

    def value(target: float, raw: float, output: float, epsilon: float) -> float:
        return function(target, raw)

    return value


def resolve_all(
    parameter: str, arguments: tuple[str, ...], **functions: Any
) -> tuple[str, list[FunctionType]]:
    """Return a name for what some functions of these arguments compute, and the functions.

    Raises
    ------
    ValueError
        If one cannot be compiled by every engine.
    """
    parts = []
    for role, function in functions.items():
        what = f"{role} of {parameter}=Custom(...)"
        parts.append(Resolver(what, len(arguments)).resolve(function))
    for role, part in zip(functions, parts, strict=True):
        what = f"{role} of {parameter}=Custom(...)"
        check_returns_numbers(part.function, what, arguments)
    digest = hashlib.blake2b(repr([part.description for part in parts]).encode(), digest_size=12)
    return f"custom-{digest.hexdigest()}", [part.function for part in parts]


def check_returns_numbers(
    function: Callable[..., Any], what: str, arguments: tuple[str, ...]
) -> None:
    """Refuse a function that does not return a real number for some.

    Engines look again, when they compile it.
    """
    for numbers in product(TRIED, repeat=len(arguments)):
        given = ", ".join(f"{name}={z}" for name, z in zip(arguments, numbers, strict=True))
        try:
            with np.errstate(all="ignore"):
                found = function(*map(np.float64, numbers))
        except Exception as error:
            refuse(what, f"for {given} it raises {error!r}", error)
        if not isinstance(found, bool | int | float | np.bool_ | np.integer | np.floating):
            refuse(what, f"for {given} it returns {found!r}, which is no real number")


def refuse(what: str, reason: str, cause: Exception | None = None) -> NoReturn:
    raise ValueError(f"The {what} cannot be compiled: {reason}. {OFFERED}") from cause


class Resolved:
    """A function that refers to nothing but numbers, elementary functions and its like.

    Attributes
    ----------
    function : callable
    description : object
        Plain values that are equal for functions that compute the same.
    """

    def __init__(self, function: Any, description: Any) -> None:
        self.function, self.description = function, description


class Resolver:
    """Takes functions apart.

    Parameters
    ----------
    what : str
        What the outermost one is, for messages.
    n_arguments : int
        How many arguments that one takes.
    """

    def __init__(self, what: str, n_arguments: int) -> None:
        self._what, self._n_arguments = what, n_arguments
        self._under_way: list[Any] = []

    def resolve(self, function: Any) -> Resolved:
        """Return what a plain function consists of.

        Raises
        ------
        ValueError
            If that is anything else than arithmetic and elementary functions.
        """
        if not isinstance(function, FunctionType):
            self._refuse(f"{function!r} is no plain function")
        if function in self._under_way:
            self._refuse(f"{function.__name__} calls itself")
        self._under_way.append(function)
        code = function.__code__
        is_outermost, n_arguments = len(self._under_way) == 1, self._n_arguments
        if is_outermost and (code.co_argcount != n_arguments or code.co_flags & 0x0C):
            number = "one argument" if n_arguments == 1 else f"{n_arguments} arguments"
            self._refuse(f"{function.__name__} must take {number}")
        if code.co_kwonlyargcount or function.__defaults__ or function.__kwdefaults__:
            self._refuse(f"{function.__name__} has arguments with defaults")
        names: dict[str, Any] = {}
        if any(i.opname in RAISING for i in dis.get_instructions(code)):
            self._refuse(f"{function.__name__} may raise an exception")
        descriptions: list[Any] = [code.co_code, constants_of(self, code), code.co_names]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        outside = {name: cell.cell_contents for name, cell in cells}
        for name, member in references(code):
            found = self._look_up(function, name, outside)
            if isinstance(found, ModuleType):
                self._check_member(found, name, member)
                names[name] = IN_NUMPY
            else:
                part = self._value(name, found)
                names[name] = part.function
                descriptions.append((name, part.description))
        self._under_way.pop()
        return Resolved(rebuilt(function, names), tuple(descriptions))

    def _look_up(self, function: FunctionType, name: str, outside: dict[str, Any]) -> Any:
        for place in (outside, function.__globals__, vars(builtins)):
            if name in place:
                return place[name]
        self._refuse(f"{name} is not defined")

    def _value(self, name: str, found: Any) -> Resolved:
        if isinstance(found, bool | int | float | np.floating | np.integer):
            number = found if isinstance(found, bool | int) else float(found)
            return Resolved(number, (type(number).__name__, number))
        own_name = getattr(found, "__name__", "")
        if own_name in ELEMENTARY and not isinstance(found, FunctionType):
            return Resolved(ELEMENTARY[own_name], own_name)
        if own_name in BUILTINS and found is BUILTINS[own_name]:
            return Resolved(found, own_name)
        if isinstance(found, FunctionType):
            return self.resolve(found)
        self._refuse(f"it refers to {name}, {found!r}")

    def _check_member(self, module: ModuleType, name: str, member: str | None) -> None:
        if module not in (np, math) or member not in ELEMENTARY:
            self._refuse(f"it uses {name}.{member}" if member else f"it uses the module {name}")

    def _refuse(self, reason: str) -> NoReturn:
        refuse(self._what, reason)


def constants_of(resolver: Resolver, code: CodeType) -> tuple[Any, ...]:
    """Return a code's constants, numbers and None only."""
    constants = code.co_consts
    for constant in constants:
        is_text = isinstance(constant, str) and constant == constants[0]  # the docstring
        if not (constant is None or is_text or isinstance(constant, bool | int | float)):
            resolver._refuse(f"it holds {constant!r}")
    return tuple("" if isinstance(constant, str) else repr(constant) for constant in constants)


def references(code: CodeType) -> list[tuple[str, str | None]]:
    """Return the names that a code looks up, each with the attribute it takes of it, or None."""
    found: list[tuple[str, str | None]] = []
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "PUSH_NULL")]
    for here, after in zip(instructions, [*instructions[1:], None], strict=True):
        if here.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FROM_DICT_OR_DEREF"):
            takes = after is not None and after.opname in ("LOAD_ATTR", "LOAD_METHOD")
            assert after is not None
            found.append((str(here.argval), str(after.argval) if takes else None))
    return found


def rebuilt(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    """Return a function that sees these names only."""
    closure = tuple(CellType(names[name]) for name in function.__code__.co_freevars)
    namespace = {**names, "__builtins__": BUILTINS}
    return FunctionType(function.__code__, namespace, function.__name__, None, closure)
