"""Activations made of users' functions.

A function is taken apart into its code and all that it refers to, so that what is compiled, and
kept on disk, is found again by what it computes and never by its name.
"""

import builtins
import dis
import hashlib
import math
from collections.abc import Callable
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NoReturn

import numpy as np

from skmlp.network.activations import CUSTOM_ACTIVATIONS, Activation

# What engines have functions of their own for, and what every compiler knows.
ELEMENTARY = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh}
# Stands for every module: math.exp raises errors where engines return infinity, as NumPy does.
IN_NUMPY = ModuleType("elementary")
vars(IN_NUMPY).update(ELEMENTARY)
BUILTINS = {"abs": abs, "min": min, "max": max}
ROLES = ("value", "derivative")
# What a function is tried with: it must take any number.
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
    parts = Resolver("value").resolve(value), Resolver("derivative").resolve(derivative)
    for part, role in zip(parts, ROLES, strict=True):
        check_returns_numbers(part.function, role)
    digest = hashlib.blake2b(repr([part.description for part in parts]).encode(), digest_size=12)
    name = f"custom-{digest.hexdigest()}"
    if name not in CUSTOM_ACTIVATIONS:
        CUSTOM_ACTIVATIONS[name] = Activation(
            name,
            parts[0].function,
            parts[1].function,
            derivative_takes_input=True,
            growth=None,
            reference="the user's",
        )
    return name


def check_returns_numbers(function: Callable[[float], Any], role: str) -> None:
    """Refuse a function that does not return a real number for some.

    Engines look again, when they compile it.
    """
    for z in TRIED:
        try:
            with np.errstate(all="ignore"):
                found = function(np.float64(z))
        except Exception as error:
            refuse(role, f"for z={z} it raises {error!r}", error)
        if not isinstance(found, bool | int | float | np.bool_ | np.integer | np.floating):
            refuse(role, f"for z={z} it returns {found!r}, which is no real number")


def refuse(role: str, reason: str, cause: Exception | None = None) -> NoReturn:
    raise ValueError(
        f"The {role} of activation=Custom(...) cannot be compiled: {reason}. {OFFERED}"
    ) from cause


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
    role : str
        What the outermost one is, for messages.
    """

    def __init__(self, role: str) -> None:
        self._role = role
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
        if len(self._under_way) == 1 and (code.co_argcount != 1 or code.co_flags & 0x0C):
            self._refuse(f"{function.__name__} must take one argument")
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
        refuse(self._role, reason)


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
