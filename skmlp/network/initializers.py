"""Initial parameters, drawn from an explicit generator: the registry of initializers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.network.activations import Activation, activation_entry
from skmlp.network.constants import Constant, check_constants
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import Formula, NetworkSpec

Draw = tuple[npt.ArrayLike, npt.ArrayLike]


class LayerStart(NamedTuple):
    """What an initializer knows of a layer.

    Attributes
    ----------
    number : int
        Zero for the first hidden layer; the output layer is the last one.
    fan_in : int
        Inputs of each unit.
    fan_out : int
        Units.
    activation : Formula
        That of the layer; for the output layer that of the last hidden one.
    sample : callable
        ``sample()``: some rows of X, float64, of shape (n_rows, n_features). Called only by
        those that look at data.
    """

    number: int
    fan_in: int
    fan_out: int
    activation: Formula
    sample: Callable[[], FloatArray]

    @property
    def entry(self) -> Activation:
        return activation_entry(self.activation.name)

    @property
    def gain(self) -> float:
        """By how much the variance of the weights makes good for what the activation takes."""
        return self.entry.gain(*self.activation.constants)


@dataclass(frozen=True)
class Initializer:
    """A way to draw the parameters of a layer.

    Attributes
    ----------
    name : str
        Public name, as in the ``init`` parameter.
    draw : callable
        ``draw(layer, random_state, *constants)``: coefficients of shape (fan_in, fan_out) and
        intercepts of shape (fan_out,), drawn in double precision. `layer` is a `LayerStart`.
    constants : tuple of Constant
        What it is given besides.
    reference : str
        Where it comes from.
    """

    name: str
    draw: Callable[..., Draw]
    constants: tuple[Constant, ...] = ()
    reference: str = ""


def glorot_uniform(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    bound = np.sqrt(layer.entry.init_gain / (layer.fan_in + layer.fan_out))
    coef = random_state.uniform(-bound, bound, (layer.fan_in, layer.fan_out))
    return coef, random_state.uniform(-bound, bound, layer.fan_out)


def he_normal(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    deviation = np.sqrt(layer.gain / layer.fan_in)
    return random_state.normal(0.0, deviation, (layer.fan_in, layer.fan_out)), 0.0


INITIALIZERS: dict[str, Initializer] = {
    entry.name: entry
    for entry in (
        Initializer(
            "glorot_uniform",
            glorot_uniform,
            reference="Glorot & Bengio (2010), Understanding the difficulty of training deep "
            "feedforward neural networks, eq. 16, for intercepts too as in scikit-learn",
        ),
        Initializer(
            "he_normal",
            he_normal,
            reference="He, Zhang, Ren & Sun (2015), Delving deep into rectifiers, eq. 10",
        ),
    )
}


def draw_parameters(
    network: NetworkSpec,
    initializer: Formula,
    random_state: np.random.RandomState,
    dtype: npt.DTypeLike,
    *,
    output_activation: Formula | None = None,
    sample: Callable[[], FloatArray] | None = None,
) -> FloatArray:
    """Draw all parameters of a network.

    Draws come in scikit-learn's order, layer by layer, and in double precision, so that the same
    generator starts from the same weights in either precision.

    Parameters
    ----------
    network : NetworkSpec
    initializer : Formula
        An entry of the initializers.
    random_state : RandomState
    dtype : {"float32", "float64"}
        Precision of the parameters.
    output_activation : Formula, optional
        What the output layer is drawn for; by default the activation of the last hidden layer, as
        in scikit-learn, and the identity where there is none.
    sample : callable, optional
        ``sample()``: some rows of X.
    """
    entry = INITIALIZERS[initializer.name]
    check_constants(entry.name, entry.constants, initializer.constants)
    layout = layout_of(network)
    parameters: FloatArray = np.empty(layout.size, dtype=dtype)
    hidden = [layer.activation for layer in network.layers]
    last = output_activation or (hidden[-1] if hidden else Formula("identity"))
    arrays: Any = zip(*layout.views(parameters), [*hidden, last], strict=True)
    for number, (coef, intercept, activation) in enumerate(arrays):
        fan_in, fan_out = coef.shape
        layer = LayerStart(number, fan_in, fan_out, activation, sample or no_sample)
        coef[...], intercept[...] = entry.draw(layer, random_state, *initializer.constants)
    layout.extras_of(parameters)[...] = layout.initial_extras()
    return parameters


def draw_uniform(
    network: NetworkSpec, random_state: np.random.RandomState, dtype: npt.DTypeLike
) -> FloatArray:
    """Draw all parameters as scikit-learn does."""
    return draw_parameters(network, Formula("glorot_uniform"), random_state, dtype)


def no_sample() -> FloatArray:
    raise ValueError("There are no rows of X to draw parameters for.")
