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
        The range of its values.
    closed : {"both", "left", "right", "neither"}
        Which of its ends, if they are finite, belong to the range.
    whole : bool
        Whether it is a whole number.
    """

    name: str
    default: float
    low: float = float("-inf")
    high: float = float("inf")
    closed: str = "both"
    whole: bool = False

    def admits(self, value: float) -> bool:
        """Whether it may have this value: finite, and in its range."""
        if not float("-inf") < value < float("inf"):
            return False
        if self.whole and value != int(value):
            return False
        is_above = self.low <= value if self.includes_low else self.low < value
        is_below = value <= self.high if self.includes_high else value < self.high
        return is_above and is_below

    @property
    def includes_low(self) -> bool:
        return self.closed in ("both", "left") and self.low > float("-inf")

    @property
    def includes_high(self) -> bool:
        return self.closed in ("both", "right") and self.high < float("inf")

    @property
    def range(self) -> str:
        """Its range, in words."""
        left, right = "[" if self.includes_low else "(", "]" if self.includes_high else ")"
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
