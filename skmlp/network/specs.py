"""Frozen descriptions of a network and its optimizer. They hold no arrays."""

from dataclasses import dataclass
from itertools import pairwise

from skmlp.network.losses import LOSSES, Loss
from skmlp.network.optimizers import OPTIMIZERS, Optimizer


@dataclass(frozen=True)
class NetworkSpec:
    """The shape and the formulas of one network.

    Parameters
    ----------
    layer_units : tuple of int
        Units of every layer, input and output included.
    activation : str
        Activation of the hidden layers.
    loss : str
        Name of the loss.
    output_activation : str
        Activation of the output layer.
    """

    layer_units: tuple[int, ...]
    activation: str
    loss: str
    output_activation: str

    @property
    def n_features(self) -> int:
        return self.layer_units[0]

    @property
    def n_outputs(self) -> int:
        return self.layer_units[-1]

    @property
    def n_connections(self) -> int:
        """Number of weight matrices."""
        return len(self.layer_units) - 1

    @property
    def n_coefs(self) -> int:
        """Number of weights, intercepts not counted."""
        return sum(fan_in * fan_out for fan_in, fan_out in pairwise(self.layer_units))

    @property
    def hidden_activations(self) -> tuple[str, ...]:
        """Activation of each hidden layer."""
        return (self.activation,) * (self.n_connections - 1)

    @property
    def loss_entry(self) -> Loss:
        return LOSSES[self.loss, self.output_activation]


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer of the registry with the values of its settings, in the entry's order."""

    name: str
    settings: tuple[float, ...]

    @property
    def entry(self) -> Optimizer:
        return OPTIMIZERS[self.name]
