"""Modules of PyTorch for what skmlp has and PyTorch lacks. Importing this imports PyTorch.

They take and return tensors of shape (n_samples, n_units), and can be trained where the formula
has a derivative.
"""

from typing import Any

import torch


class Maxout(torch.nn.Module):
    """The largest of several columns: of all units' first ones, second ones, and so on.

    Goodfellow et al. (2013), "Maxout networks", ICML, eq. 1.

    Parameters
    ----------
    pieces : int
        Columns of each unit.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, z: Any) -> Any:
        """Return a column for each unit."""
        return z.unflatten(-1, (self.pieces, -1)).amax(dim=-2)

    def extra_repr(self) -> str:
        """Return what `repr` shows."""
        return f"pieces={self.pieces}"


class Blend(torch.nn.Module):
    """A mixture of an activation with the identity, ``z + blend * (f(z) - z)``.

    Holzmueller, Grinsztajn & Steinwart (2024), arXiv:2407.04491, section 3.

    Parameters
    ----------
    activation : torch.nn.Module
        The function f.
    units : int
        Each learns its own share, which starts at one.
    """

    def __init__(self, activation: Any, units: int) -> None:
        super().__init__()
        self.activation = activation
        self.blend = torch.nn.Parameter(torch.ones(units))

    def forward(self, z: Any) -> Any:
        """Return the mixture."""
        return z + self.blend * (self.activation(z) - z)


class ScaledLogistic(torch.nn.Module):
    """The logistic function of a slope and a threshold.

    Parameters
    ----------
    slope, threshold : float
    """

    def __init__(self, slope: float, threshold: float) -> None:
        super().__init__()
        self.slope, self.threshold = slope, threshold

    def forward(self, z: Any) -> Any:
        """Return ``1 / (1 + exp(-slope * (z - threshold)))``."""
        return torch.sigmoid(self.slope * (z - self.threshold))

    def extra_repr(self) -> str:
        """Return what `repr` shows."""
        return f"slope={self.slope}, threshold={self.threshold}"


class Sinc(torch.nn.Module):
    """The cardinal sine, ``sin(z) / z``."""

    def forward(self, z: Any) -> Any:
        """Return the sine of each element divided by it, one at zero."""
        is_zero = z == 0.0
        divisor = torch.where(is_zero, torch.ones_like(z), z)
        return torch.where(is_zero, torch.ones_like(z), torch.sin(z) / divisor)


class Exponential(torch.nn.Module):
    """The exponential function."""

    def forward(self, z: Any) -> Any:
        """Return the exponential of each element."""
        return torch.exp(z)


class Step(torch.nn.Module):
    """One for positive numbers, else zero. Its derivative is zero: it cannot be trained."""

    def forward(self, z: Any) -> Any:
        """Return zeros and ones."""
        return torch.heaviside(z, torch.zeros_like(z))
