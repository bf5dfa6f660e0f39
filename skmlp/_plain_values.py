"""Values of parameters and attributes as JSON, from which they come back as they were.

What JSON has stands for itself. All else is an object of one entry, whose name says what it is:
``{"tuple": [...]}``. Arrays are not in the text: their entry names one of the tensors of the same
file. Nothing that a text says is imported, called or evaluated: names stand for what the tables
here have for them.
"""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from skmlp import activations, embeddings, initializers, losses, optimizers, schedules
from skmlp._choices import Choice
from skmlp._fitted import shown
from skmlp._tensor_file import can_be_written
from skmlp.initializers import Weights

Arrays = dict[str, npt.NDArray[Any]]

# The objects that stand in the place of a string. Those of users' functions are code.
CHOICES: dict[str, type[Choice]] = {
    f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}": cls
    for cls in (
        *activations.OBJECTS,
        *embeddings.CLASSES,
        *initializers.CLASSES,
        *losses.CLASSES,
        *losses.CLASSIFIER_CLASSES,
        *optimizers.OBJECTS.values(),
        *schedules.CLASSES,
    )
    if cls not in (activations.Custom, losses.Custom)
}
# What `dtype` takes besides names.
TYPES: dict[str, type] = {"float": float, "float32": np.float32, "float64": np.float64}
# By names that do not depend on the version of NumPy.
NUMBERS: dict[str, type[np.generic]] = {
    np.dtype(cls).name: cls
    for cls in (
        *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.str_),
        *(np.uint8, np.uint16, np.uint32, np.uint64, np.float16, np.float32, np.float64),
    )
}
NAMES = {cls: name for name, cls in NUMBERS.items()}
SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
LARGEST_CHARACTER = 0x10FFFF
# Beyond this the writing of whole numbers has limits of Python's.
LARGEST_NUMBER = 2**128
# Of the generator that RandomState has.
STATE_WORDS = 624


class CannotBeSaved(ValueError):
    """A value that a file of arrays and JSON cannot hold."""


# Encoding


class Encoder:
    """Turns values into JSON's, and collects the arrays among them.

    Attributes
    ----------
    tensors : dict of str to ndarray
        The arrays, by the names that stand for them.
    """

    def __init__(self) -> None:
        self.tensors: Arrays = {}

    def encode(self, value: Any, name: str) -> Any:
        """Return a value as JSON has it.

        Parameters
        ----------
        value : object
        name : str
            What it is called, which the names of its arrays begin with.

        Raises
        ------
        CannotBeSaved
            If it holds anything that is code, or of a class that is not known here.
        """
        if value is None or type(value) in (bool, str):
            return value
        if type(value) is int and abs(value) < LARGEST_NUMBER:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) is list:
            return self._list(value, name)
        if type(value) is tuple:
            return {"tuple": self._items(value, name)}
        if type(value) is dict:
            return self._dict(value, name)
        if isinstance(value, np.ndarray):
            return self._array(value, name)
        if type(value) in NAMES:
            return {"number": [NAMES[type(value)], self.encode(value.item(), name)]}
        if isinstance(value, Choice):
            return self._choice(value, name)
        return self._other(value, name)

    def _items(self, values: Any, name: str) -> list[Any]:
        return [self.encode(item, f"{name}.{index}") for index, item in enumerate(values)]

    def _list(self, values: list[Any], name: str) -> Any:
        # Losses of many epochs.
        if values and all(type(item) is float for item in values):
            return {"floats": self._tensor(np.array(values), name)}
        return self._items(values, name)

    def _dict(self, values: dict[Any, Any], name: str) -> Any:
        if all(type(key) is str for key in values):
            items = values.items()
            return {"dict": {key: self.encode(item, f"{name}.{key}") for key, item in items}}
        return {"pairs": self._items(map(list, values.items()), name)}

    def _array(self, array: npt.NDArray[Any], name: str) -> Any:
        if type(array) not in (np.ndarray, np.memmap):
            refuse(name, array)
        if can_be_written(array):
            return {"array": self._tensor(np.asarray(array), name)}
        if array.dtype.kind == "U":
            return {"text": self._tensor(characters_of(array), name)}
        if array.dtype.kind == "O" and all(is_label(item) for item in array.flat):
            return {"objects": [list(array.shape), self._items(array.flat, name)]}
        refuse(name, array)

    def _tensor(self, array: npt.NDArray[Any], name: str) -> str:
        unused = name
        number = 1
        while unused in self.tensors:  # of keys of dictionaries that hold points
            number += 1
            unused = f"{name}.{number}"
        self.tensors[unused] = array
        return unused

    def _choice(self, choice: Choice, name: str) -> Any:
        kind = next((known for known, cls in CHOICES.items() if type(choice) is cls), None)
        if kind is None:
            refuse(name, choice)
        choice.check(name)
        parameters = choice.get_params(deep=False).items()
        encoded = {own: self.encode(value, f"{name}.{own}") for own, value in parameters}
        return {"choice": [kind, encoded]}

    def _other(self, value: Any, name: str) -> Any:
        if type(value) is Weights:
            return {
                "weights": [
                    self._items(value.coefs, f"{name}.coefs"),
                    self._items(value.intercepts, f"{name}.intercepts"),
                    [
                        [*key, self.encode(array, f"{name}.{key[0]}.{key[1]}")]
                        for key, array in value.extras.items()
                    ],
                ]
            }
        if type(value) is np.random.RandomState:
            state: Any = value.get_state(legacy=False)
            if state["bit_generator"] == "MT19937":
                inner = state["state"]
                return {
                    "RandomState": [
                        self._tensor(inner["key"], name),
                        int(inner["pos"]),
                        int(state["has_gauss"]),
                        self.encode(float(state["gauss"]), name),
                    ]
                }
        if isinstance(value, np.dtype) and value in (np.float32, np.float64):
            return {"dtype": value.name}
        for known, cls in TYPES.items():
            if value is cls:
                return {"type": known}
        refuse(name, value)


def is_label(value: Any) -> bool:
    """Whether an array of objects may hold it: text, a number or a boolean."""
    return isinstance(value, str | bool | int | float | np.generic)


def characters_of(array: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return text as the numbers of its characters, along one more axis."""
    text = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return text.reshape(-1).view(np.uint32).reshape(*array.shape, text.dtype.itemsize // 4)


def refuse(name: str, value: Any) -> NoReturn:
    """Say that a value cannot be saved.

    Raises
    ------
    CannotBeSaved
        Always.
    """
    raise CannotBeSaved(
        f"{name}={shown(value)} cannot be saved: a file holds numbers, text, arrays of them and "
        "skmlp's own objects, but no code and no other objects. Set it to something else first, "
        "or use pickle."
    )


# Decoding


class Decoder:
    """Turns JSON's values into what they were made of.

    Parameters
    ----------
    read : callable
        ``read(name)``: a tensor. Each is asked for once, so that a text makes nobody allocate more
        than the file has.
    """

    def __init__(self, read: Callable[[str], npt.NDArray[Any]]) -> None:
        self._read = read
        self.used: set[str] = set()
        self._kinds: dict[str, Callable[[Any], Any]] = {
            "array": self.tensor,
            "choice": self._choice,
            "dict": self._dict,
            "dtype": self._dtype,
            "float": lambda text: SPECIAL[text],
            "floats": self._floats,
            "number": self._number,
            "objects": self._objects,
            "pairs": self._pairs,
            "RandomState": self._random_state,
            "text": self._text,
            "tuple": lambda items: tuple(self._items(items)),
            "type": lambda text: TYPES[text],
            "weights": self._weights,
        }

    def decode(self, value: Any) -> Any:
        """Return what was encoded.

        Raises
        ------
        ValueError, TypeError, KeyError, OverflowError, RecursionError
            If this is nothing that an `Encoder` has written.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            if not math.isfinite(value):
                raise ValueError("a number is too large")
            return value
        if type(value) is list:
            return self._items(value)
        [(kind, content)] = value.items()
        return self._kinds[kind](content)

    def tensor(self, name: str) -> npt.NDArray[Any]:
        """Return an array by its name, which is asked for once."""
        if name in self.used:
            raise ValueError(f"{name!r} is referred to twice")
        self.used.add(name)
        return self._read(name)

    def _items(self, values: list[Any]) -> list[Any]:
        check(type(values) is list, "a list")
        return [self.decode(item) for item in values]

    def _dict(self, values: dict[str, Any]) -> dict[str, Any]:
        check(type(values) is dict, "an object")
        return {key: self.decode(item) for key, item in values.items()}

    def _pairs(self, pairs: list[Any]) -> dict[Any, Any]:
        return {key: value for key, value in self._items(pairs)}

    def _floats(self, name: str) -> list[float]:
        array = self.tensor(name)
        check(array.ndim == 1 and array.dtype == np.float64, "numbers of double precision")
        return list(array.tolist())

    def _number(self, content: Any) -> np.generic:
        kind, encoded = content
        value = self.decode(encoded)
        check(isinstance(value, bool | int | float | str), "a number")
        cls = NUMBERS[kind]
        if issubclass(cls, np.integer):
            limits = np.iinfo(cls)
            check(type(value) is int and limits.min <= value <= limits.max, f"one of {kind}")
        with np.errstate(over="ignore"):
            number = cls(value)
        check(type(number.item()) is type(value), f"one of {kind}")
        return number

    def _text(self, name: str) -> npt.NDArray[Any]:
        codes = self.tensor(name)
        check(codes.ndim > 0 and codes.dtype == np.uint32 and codes.shape[-1] > 0, "characters")
        check(bool((codes <= LARGEST_CHARACTER).all()), "characters of Unicode")
        size = codes.shape[-1]
        return codes.reshape(-1).view(f"U{size}").reshape(codes.shape[:-1])

    def _objects(self, content: Any) -> npt.NDArray[Any]:
        shape, items = content
        values = self._items(items)
        check(all(map(is_label, values)), "text, numbers and booleans")
        check(all(type(n) is int and n >= 0 for n in shape), "a shape")
        check(math.prod(shape) == len(values) and len(shape) <= 2, "an array of its values")
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array.reshape(shape)

    def _choice(self, content: Any) -> Choice:
        kind, encoded = content
        choice = CHOICES[kind](**self._dict(encoded))
        choice.check(kind)
        return choice

    def _weights(self, content: Any) -> Weights:
        coefs, intercepts, extras = content
        found = {(layer, name): self.decode(array) for layer, name, array in extras}
        weights = Weights(tuple(self._items(coefs)), tuple(self._items(intercepts)), found)
        check(0 < len(weights.coefs) == len(weights.intercepts), "the layers of a network")
        dimensions = [(2, weights.coefs), (1, weights.intercepts), (1, found.values())]
        for ndim, arrays in dimensions:
            for array in arrays:
                is_valid = isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
                check(is_valid and array.ndim == ndim, "arrays of weights")
                array.flags.writeable = False
        return weights

    def _random_state(self, content: Any) -> np.random.RandomState:
        name, position, has_gauss, gauss = content
        key = self.tensor(name)
        # NumPy believes these.
        check(key.dtype == np.uint32 and key.shape == (STATE_WORDS,), "the state of a generator")
        check(type(position) is int and 0 <= position <= STATE_WORDS, "a position in that state")
        check(type(has_gauss) is int and has_gauss in (0, 1), "0 or 1")
        gauss = self.decode(gauss)
        check(type(gauss) is float, "a number")
        generator = np.random.RandomState()
        generator.set_state(("MT19937", key, position, has_gauss, gauss))
        return generator

    def _dtype(self, text: Any) -> np.dtype[Any]:
        return np.dtype(TYPES[text])


def check(is_valid: bool, expected: str) -> None:
    """Refuse what is not as expected.

    Raises
    ------
    ValueError
        If it is not valid.
    """
    if not is_valid:
        raise ValueError(f"expected {expected}")
