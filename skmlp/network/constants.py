"""Constants of formulas: numbers that belong to a choice, as the slope of a leaky relu."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """A number that a formula is given.

    Attributes
    ----------
    name : str
    default : float
    low, high : float
        The range of its values, ends not included unless `closed`.
    closed : bool
        Whether the finite ends belong to the range.
    whole : bool
        Whether it is a whole number.
    """

    name: str
    default: float
    low: float = float("-inf")
    high: float = float("inf")
    closed: bool = True
    whole: bool = False

    def admits(self, value: float) -> bool:
        """Whether it may have this value: finite, and in its range."""
        if not float("-inf") < value < float("inf"):
            return False
        if self.whole and value != int(value):
            return False
        if self.closed:
            return self.low <= value <= self.high
        return self.low < value < self.high

    @property
    def range(self) -> str:
        """Its range, in words."""
        left, right = "[]" if self.closed else "()"
        left = left if self.low > float("-inf") else "("
        right = right if self.high < float("inf") else ")"
        kind = " (whole numbers)" if self.whole else ""
        return f"{left}{self.low}, {self.high}{right}{kind}"


def check_constants(name: str, constants: tuple[Constant, ...], values: tuple[float, ...]) -> None:
    """Refuse values that a formula's constants cannot have.

    Raises
    ------
    ValueError
        If their number is not that of the constants, or one is outside its range.
    """
    if len(values) != len(constants):
        raise ValueError(f"{name} has {len(constants)} constants, got {values!r}.")
    for constant, value in zip(constants, values, strict=True):
        if not constant.admits(value):
            raise ValueError(
                f"{constant.name} of {name} must be in {constant.range}, got {value!r}."
            )
