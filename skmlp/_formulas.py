"""Entries of registries as users choose them: by a name, or by an object that has parameters."""

import math
from numbers import Integral, Real
from typing import Any, ClassVar

from skmlp._choices import Choice
from skmlp._sklearn_compat import Interval
from skmlp.network.constants import Constant
from skmlp.network.specs import Formula


class FormulaChoice(Choice):
    """Base of the choices that stand for an entry of a registry.

    The parameters of a subclass have the names of the entry's constants.
    """

    _name: ClassVar[str]


def ranges(constants: tuple[Constant, ...]) -> dict[str, list[Any]]:
    """Return the constraints on the parameters of a choice: the ranges of its entry's constants."""
    return {constant.name: [interval(constant)] for constant in constants}


def interval(constant: Constant) -> Interval:
    """Return a range as scikit-learn has it, to which no infinite end can belong."""
    names = {(True, True): "both", (True, False): "left", (False, True): "right"}
    number = int if constant.whole else float
    return Interval(
        Integral if constant.whole else Real,
        number(constant.low) if math.isfinite(constant.low) else None,
        number(constant.high) if math.isfinite(constant.high) else None,
        closed=names.get((constant.includes_low, constant.includes_high), "neither"),
    )


def formula_of(choice: str | FormulaChoice, constants: tuple[Constant, ...]) -> Formula:
    """Return the entry that a name or an object stands for, with the values of its constants.

    Parameters
    ----------
    choice : str or FormulaChoice
    constants : tuple of Constant
        Those of the entry. With a name they have their defaults.
    """
    if isinstance(choice, str):
        return Formula(choice, tuple(constant.default for constant in constants))
    return Formula(choice._name, tuple(float(getattr(choice, c.name)) for c in constants))


def name_of(choice: object) -> str | None:
    """Return the name of the entry that is chosen; None where nothing is that has one."""
    name = getattr(choice, "_name", None) if isinstance(choice, FormulaChoice) else choice
    return name if isinstance(name, str) else None
