"""Small objects that stand where a string could, as in ``activation=LeakyReLU()``.

What belongs to one choice lives on it. Like the kernels of Gaussian processes in scikit-learn such
objects are cloned, compared, printed and searched in depth (``activation__negative_slope``).
"""

import inspect
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import get_config

from skmlp._sklearn_compat import Options, StrOptions, validate_parameters
from skmlp._vocabulary import check_keywords, check_names


class Choice:
    """Base of the objects that a parameter takes in place of a string.

    A subclass has an ``__init__`` with literal parameters, each of which it stores under its own
    name, unchanged and unchecked, and nothing else. In `_parameter_constraints` it says which
    values are valid, as scikit-learn's estimators do; a fit checks them.

    Examples
    --------
    >>> from numbers import Real
    >>> from skmlp._sklearn_compat import Interval
    >>> class LeakyReLU(Choice):
    ...     _parameter_constraints = {"negative_slope": [Interval(Real, 0, None, closed="left")]}
    ...     def __init__(self, negative_slope: float = 0.01) -> None:
    ...         self.negative_slope = negative_slope
    >>> LeakyReLU(0.1)
    LeakyReLU(negative_slope=0.1)
    >>> LeakyReLU(0.1) == LeakyReLU().set_params(negative_slope=0.1)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        check_keywords(cls, kwargs)
        return super().__new__(cls)

    def __init__(self) -> None:
        """Take nothing; a subclass without parameters needs no constructor."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether those of choices within this one are listed too, as ``outer__inner``.

        Returns
        -------
        params : dict
            In the order of the constructor.
        """
        params = {}
        for name in self._defaults():
            value = params[name] = getattr(self, name)
            if deep and has_parameters(value):
                params |= {f"{name}__{inner}": v for inner, v in value.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of choices within this one as ``outer__inner``.

        Parameters
        ----------
        **params : dict
            Parameters and their new values.

        Returns
        -------
        self : Choice
            This object.

        Raises
        ------
        ValueError
            If a name is not that of a parameter. None has been set then.
        """
        check_names(self, params)
        inner: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            own, is_inner, rest = name.partition("__")
            if is_inner:
                inner.setdefault(own, {})[rest] = value
            else:
                setattr(self, own, value)
        for own, values in inner.items():
            getattr(self, own).set_params(**values)
        return self

    def check(self, owner: str) -> None:
        """Validate the parameters, and those of choices within this one.

        Parameters
        ----------
        owner : str
            The parameter that this object is the value of.

        Raises
        ------
        ValueError
            If a parameter is invalid.
        """
        params = self.get_params(deep=False)
        validate_parameters(self._parameter_constraints, params, f"{owner}={self!r}")
        check_choices(params, f"{owner}__")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        theirs = other.get_params(deep=False)
        return all(same(value, theirs[name]) for name, value in self._items())

    def __hash__(self) -> int:
        try:
            return hash((type(self), *(hashable(value) for _, value in self._items())))
        except TypeError:
            return hash(type(self))

    def __repr__(self) -> str:
        items, defaults = self._items(), self._defaults()
        if get_config()["print_changed_only"]:
            items = [(name, value) for name, value in items if not same(value, defaults[name])]
        arguments = (f"{name}={text_of(value)}" for name, value in items)
        return f"{type(self).__name__}({', '.join(arguments)})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        # One pickled by an earlier version lacks the parameters that have come since.
        defaults = self._defaults().items()
        known = {name: value for name, value in defaults if value is not inspect.Parameter.empty}
        vars(self).update(known | state)

    @classmethod
    @cache
    def _defaults(cls) -> dict[str, Any]:
        """Return the default of each parameter, ``Parameter.empty`` where there is none."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise RuntimeError(
                    f"The parameters of a choice are named one by one, but {cls.__name__} takes "
                    f"{parameter}. Write them into the signature of its __init__."
                )
        return {parameter.name: parameter.default for parameter in parameters}

    def _items(self) -> list[tuple[str, Any]]:
        return list(self.get_params(deep=False).items())


def has_parameters(value: Any) -> bool:
    """Whether scikit-learn would look for parameters within a value."""
    return hasattr(value, "get_params") and not isinstance(value, type)


def same(value: Any, other: Any) -> bool:
    """Whether two values are the same parameter: NaN is, and arrays are by their elements."""
    if value is other:
        return True
    if isinstance(value, np.ndarray) or isinstance(other, np.ndarray):
        return type(value) is type(other) and same_arrays(value, other)
    if isinstance(value, list | tuple):
        return (
            type(value) is type(other) and len(value) == len(other) and all(map(same, value, other))
        )
    if is_nan(value):
        return is_nan(other)
    try:
        return bool(value == other)
    except (TypeError, ValueError):  # compared by its elements, as a data frame
        return False


def same_arrays(array: Any, other: Any) -> bool:
    """Whether arrays agree in shape, dtype and all elements, NaN among them."""
    return array.dtype == other.dtype and np.array_equal(
        array, other, equal_nan=array.dtype.kind in "fc"
    )


def is_nan(value: Any) -> bool:
    return isinstance(value, Real) and bool(value != value)


def hashable(value: Any) -> Any:
    """Return what is hashed of a value; unlike in Python one NaN is as good as another."""
    if isinstance(value, tuple):
        return tuple(map(hashable, value))
    return "nan" if is_nan(value) else value


def text_of(value: Any) -> str:
    """Return a value as it is written; functions and classes are written by their names."""
    return str(value.__name__) if callable(value) and hasattr(value, "__name__") else repr(value)


def typed(value: Any) -> tuple[Any, ...]:
    """Return a value with its type and those within it: 1 and True are equal.

    Of a choice the present parameters are looked at, so that what it becomes later does not
    matter.
    """
    if isinstance(value, Choice):
        return (type(value), *map(typed, value.get_params(deep=False).values()))
    if isinstance(value, tuple):
        return (tuple, *map(typed, value))
    return (type(value), value)


def choices_in(name: str, value: Any) -> Iterator[tuple[str, Choice]]:
    """Yield the choices that a parameter consists of, one or several, each with where it is."""
    if isinstance(value, Choice):
        yield name, value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from choices_in(f"{name}[{index}]", item)


def check_choices(params: Mapping[str, Any], prefix: str = "") -> None:
    """Validate the parameters of all choices among the values of other parameters.

    Raises
    ------
    ValueError
        If a parameter is invalid.
    """
    for name, value in params.items():
        for place, choice in choices_in(f"{prefix}{name}", value):
            choice.check(place)


class OneOf(StrOptions):
    """Constraint: one of these strings, or an object of one of these classes.

    Parameters
    ----------
    options : collection of str
    classes : collection of type
        Classes of choices.
    """

    def __init__(self, options: Collection[str], classes: Collection[type[Choice]] = ()) -> None:
        super().__init__(set(options))
        self.classes = tuple(classes)

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is one of the strings, or an object."""
        return isinstance(val, self.classes) or super().is_satisfied_by(val)

    def __str__(self) -> str:
        options = f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"
        names = ", ".join(sorted(choice.__name__ for choice in self.classes))
        return f"{options} or an object of {names}" if names else options


class EachOf(Options):
    """Constraint: a tuple or list whose entries each satisfy another constraint.

    Parameters
    ----------
    constraint : constraint
        Of scikit-learn's kind.
    or_none : bool
        Whether entries may also be None.
    per_layer : bool
        Whether there is one for each hidden layer.
    """

    def __init__(self, constraint: Any, *, or_none: bool = False, per_layer: bool = True) -> None:
        self.constraint = constraint
        self.or_none = or_none
        self.per_layer = per_layer
        self.hidden = False  # scikit-learn lists it in its messages

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is a tuple or list, not empty, of valid entries."""
        is_listed = isinstance(val, tuple | list) and len(val) > 0
        return is_listed and all(
            (self.or_none and entry is None) or self.constraint.is_satisfied_by(entry)
            for entry in val
        )

    def __str__(self) -> str:
        return "a tuple of such values" + ", one for each hidden layer" * self.per_layer
