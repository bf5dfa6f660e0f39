"""What a parameter is, in a line of text that is the same in another process.

Two values with one description are taken for the same. Functions are told by their code, so that
they may come from a notebook; what they refer to by global names is not looked at.
"""

import functools
import hashlib
import re
from collections.abc import Iterable
from numbers import Number
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from skmlp._choices import Choice


class CannotBeTold(ValueError):
    """Something in a parameter looks like others that may do something else."""


DIGEST_SIZE = 8
DEEPEST = 20
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def described(value: Any) -> str:
    """Return what a value is.

    Objects are told by the name of their class and their attributes, arrays by a digest, lists and
    tuples are one, and of generators only the kind counts.
    """
    return text_of(value, 0)


def parameters_in_words(estimator: Any) -> dict[str, str]:
    """Return what each parameter of an estimator is.

    Raises
    ------
    CannotBeTold
        If two of its kind would have one description.
    """
    found = {}
    for name, value in estimator.get_params(deep=False).items():
        try:
            found[name] = described(value)
        except CannotBeTold as error:
            raise CannotBeTold(
                f"A checkpoint could not tell {name} from another one: {error}. Use a function, "
                "or an object with attributes."
            ) from None
    return found


def text_of(value: Any, depth: int) -> str:
    if depth > DEEPEST:  # an object that refers to itself
        return "..."
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bytes | bool | Number):
        return repr(value)
    if isinstance(value, list | tuple):
        comma = "," if len(value) == 1 else ""
        return f"({', '.join(texts(value, depth))}{comma})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(texts(value, depth)))}}}"
    if isinstance(value, dict):
        items = (f"{text_of(k, depth + 1)}: {text_of(v, depth + 1)}" for k, v in value.items())
        return f"{{{', '.join(sorted(items))}}}"
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype} and shape {value.shape} ({digest_of_array(value)})"
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, np.random.RandomState):
        return f"RandomState({value.get_state(legacy=False)['bit_generator']})"
    if isinstance(value, Choice):
        return f"{type(value).__name__}{attributes(value.get_params(deep=False), depth)}"
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return f"partial({', '.join(texts(parts, depth))})"
    if isinstance(value, MethodType):
        return f"{text_of(value.__func__, depth + 1)} of {text_of(value.__self__, depth + 1)}"
    compiled = getattr(value, "py_func", value)  # Numba's
    if isinstance(compiled, FunctionType):
        return f"{compiled.__name__} (code {digest_of_function(compiled, depth)})"
    if hasattr(value, "__wrapped__"):  # a cached function
        return f"{type(value).__name__} of {text_of(value.__wrapped__, depth + 1)}"
    if isinstance(value, BuiltinMethodType) and not isinstance(value.__self__, ModuleType | None):
        return f"{value.__name__} of {text_of(value.__self__, depth + 1)}"
    own = attributes_of(value)
    if own is not None:
        return f"{type(value).__name__}{attributes(own, depth)}"
    text = repr(value)
    if ADDRESS.search(text):
        raise CannotBeTold(f"{text} is told from others by its address only")
    return text


def attributes_of(value: Any) -> dict[str, Any] | None:
    """Return what an object has, in a dictionary or in slots; None of what has neither."""
    if isinstance(value, ModuleType):
        return None
    slots = [s for cls in type(value).__mro__ for s in as_names(vars(cls).get("__slots__", ()))]
    if not slots and not hasattr(value, "__dict__"):
        return None
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {**found, **getattr(value, "__dict__", {})}


def as_names(slots: Any) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def texts(values: Iterable[Any], depth: int) -> list[str]:
    return [text_of(value, depth + 1) for value in values]


def attributes(values: dict[str, Any], depth: int) -> str:
    items = (f"{name}={text_of(value, depth + 1)}" for name, value in sorted(values.items()))
    return f"({', '.join(items)})"


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_SIZE).hexdigest()


def digest_of_array(array: Any) -> str:
    if array.dtype.kind == "O":
        return digest(text_of(array.tolist(), 0))
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=DIGEST_SIZE).hexdigest()


def digest_of_function(function: FunctionType, depth: int) -> str:
    """Return a digest of all that a function consists of: code, defaults and what it encloses."""
    cells = function.__closure__ or ()
    parts = [function.__defaults__, function.__kwdefaults__, [contents_of(cell) for cell in cells]]
    return digest("\n".join([text_of_code(function.__code__, depth), *texts(parts, depth)]))


def contents_of(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing has been assigned yet
        return None


def text_of_code(code: CodeType, depth: int) -> str:
    """Return compiled code as text, without the places in files where it stands."""
    constants = [
        text_of_code(constant, depth)
        if isinstance(constant, CodeType)
        else text_of(constant, depth)
        for constant in code.co_consts
    ]
    names = code.co_names, code.co_varnames, code.co_freevars
    return "\n".join([code.co_code.hex(), repr(names), *constants])
