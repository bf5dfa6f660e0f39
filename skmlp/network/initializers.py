"""Initial parameters, drawn from an explicit generator: the registry of initializers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.network.activations import Activation, activation_entry
from skmlp.network.constants import Constant, check_constants
from skmlp.network.embedded import enter_initial
from skmlp.network.members import enter_members
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
    inputs : callable
        ``inputs()``: what the layer is given of these rows by those before it, whose parameters
        are drawn, of shape (n_rows, fan_in).
    """

    number: int
    fan_in: int
    fan_out: int
    activation: Formula
    sample: Callable[[], FloatArray]
    inputs: Callable[[], FloatArray]

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
    coefs, intercepts : str
        What is drawn, in Markdown, with `g` for the gain of a layer.
    reference : str
        Where it comes from.
    """

    name: str
    draw: Callable[..., Draw]
    constants: tuple[Constant, ...] = ()
    coefs: str = ""
    intercepts: str = "zero"
    reference: str = ""


# Deviations of pre-activations smaller than this, relative to these, are rounding errors.
SMALLEST_DEVIATION = 1e-10


def glorot_uniform(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    bound = np.sqrt(layer.entry.init_gain / (layer.fan_in + layer.fan_out))
    coef = random_state.uniform(-bound, bound, (layer.fan_in, layer.fan_out))
    return coef, random_state.uniform(-bound, bound, layer.fan_out)


def glorot_normal(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    return normal(layer, random_state, 2.0 / (layer.fan_in + layer.fan_out)), 0.0


def he_uniform(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    return uniform(layer, random_state, layer.gain / layer.fan_in), 0.0


def he_normal(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    return normal(layer, random_state, layer.gain / layer.fan_in), 0.0


def lecun_uniform(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    return uniform(layer, random_state, 1.0 / layer.fan_in), 0.0


def lecun_normal(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    return normal(layer, random_state, 1.0 / layer.fan_in), 0.0


def ntk(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    coef = normal(layer, random_state, 1.0 / layer.fan_in)
    return coef, random_state.normal(size=layer.fan_out)


def fan_in_uniform(layer: LayerStart, random_state: np.random.RandomState) -> Draw:
    coef = uniform(layer, random_state, 1.0 / (3.0 * layer.fan_in))
    bound = 1.0 / np.sqrt(layer.fan_in)
    return coef, random_state.uniform(-bound, bound, layer.fan_out)


def orthogonal(layer: LayerStart, random_state: np.random.RandomState, gain: float) -> Draw:
    longer, shorter = max(layer.fan_in, layer.fan_out), min(layer.fan_in, layer.fan_out)
    columns = orthonormal(random_state.normal(size=(longer, shorter)))
    return gain * (columns if layer.fan_in == longer else columns.T), 0.0


def sparse(
    layer: LayerStart, random_state: np.random.RandomState, connections: float, deviation: float
) -> Draw:
    ranks = (
        random_state.random_sample((layer.fan_in, layer.fan_out)).argsort(axis=0).argsort(axis=0)
    )
    coef = random_state.normal(0.0, deviation, (layer.fan_in, layer.fan_out))
    return np.where(ranks < connections, coef, 0.0), 0.0


def data_driven(layer: LayerStart, random_state: np.random.RandomState, rows: float) -> Draw:
    coef = random_state.normal(size=(layer.fan_in, layer.fan_out))
    products = product(layer.inputs(), coef)
    deviation = products.std(axis=0)
    # What is the same for all rows, but for rounding errors, cannot be scaled.
    varies = deviation > SMALLEST_DEVIATION * np.abs(products).max(axis=0)
    scale = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 1.0)
    coef, products = coef * scale, products * scale
    if rows == 0:
        return coef, 0.0
    chosen = random_state.randint(len(products), size=(int(rows), layer.fan_out))
    shares = random_state.standard_exponential((int(rows), layer.fan_out))
    mixed = shares / shares.sum(axis=0) * np.take_along_axis(products, chosen, axis=0)
    return coef, -mixed.sum(axis=0)


def uniform(layer: LayerStart, random_state: np.random.RandomState, variance: float) -> Any:
    bound = np.sqrt(3.0 * variance)
    return random_state.uniform(-bound, bound, (layer.fan_in, layer.fan_out))


def normal(layer: LayerStart, random_state: np.random.RandomState, variance: float) -> Any:
    return random_state.normal(0.0, np.sqrt(variance), (layer.fan_in, layer.fan_out))


def product(left: FloatArray, right: FloatArray) -> FloatArray:
    """Multiply matrices with bitwise the same result in any process.

    That of ``@`` depends on how many threads the linear algebra library may use there.
    """
    return np.asarray(np.einsum("ij,jk->ik", left, right))


def orthonormal(columns: FloatArray) -> FloatArray:
    """Return the columns, each made orthogonal to those before it and of norm one.

    By modified Gram-Schmidt, for the reason that `product` has. Of normal numbers it makes
    orthogonal matrices that are all equally likely.
    """
    columns = columns.copy()
    for i in range(columns.shape[1]):
        own = columns[:, i] / np.sqrt(np.sum(columns[:, i] ** 2))
        columns[:, i] = own
        shares = np.einsum("i,ij->j", own, columns[:, i + 1 :])
        columns[:, i + 1 :] -= own[:, np.newaxis] * shares
    return columns


INITIALIZERS: dict[str, Initializer] = {
    entry.name: entry
    for entry in (
        Initializer(
            "glorot_uniform",
            glorot_uniform,
            coefs="uniform in `+-sqrt(6 / (fan_in + fan_out))`, with `logistic` 2 instead of 6",
            intercepts="the same",
            reference="Glorot & Bengio (2010), Understanding the difficulty of training deep "
            "feedforward neural networks, eq. 16, for intercepts too as in scikit-learn",
        ),
        Initializer(
            "glorot_normal",
            glorot_normal,
            coefs="normal, variance `2 / (fan_in + fan_out)`",
            reference="Glorot & Bengio (2010), eq. 12",
        ),
        Initializer(
            "he_uniform",
            he_uniform,
            coefs="uniform in `+-sqrt(3 * g / fan_in)`",
            reference="He, Zhang, Ren & Sun (2015), Delving deep into rectifiers, eq. 10",
        ),
        Initializer(
            "he_normal",
            he_normal,
            coefs="normal, variance `g / fan_in`",
            reference="He, Zhang, Ren & Sun (2015), Delving deep into rectifiers, eq. 10",
        ),
        Initializer(
            "lecun_uniform",
            lecun_uniform,
            coefs="uniform in `+-sqrt(3 / fan_in)`",
            reference="LeCun, Bottou, Orr & Mueller (1998), Efficient backprop, section 4.6",
        ),
        Initializer(
            "lecun_normal",
            lecun_normal,
            coefs="normal, variance `1 / fan_in`",
            reference="LeCun, Bottou, Orr & Mueller (1998), Efficient backprop, section 4.6",
        ),
        Initializer(
            "fan_in_uniform",
            fan_in_uniform,
            coefs="uniform in `+-sqrt(1 / fan_in)`",
            intercepts="the same",
            reference="LeCun et al. (1998), Efficient backprop; what a `Linear` of PyTorch "
            "starts with",
        ),
        Initializer(
            "orthogonal",
            orthogonal,
            (Constant("gain", 1.0, 0.0, closed="neither"),),
            coefs="`gain` times a random matrix of orthogonal columns of norm one, or of such rows "
            "where `fan_in < fan_out`",
            reference="Saxe, McClelland & Ganguli (2014), arXiv:1312.6120, section 3",
        ),
        Initializer(
            "sparse",
            sparse,
            (
                Constant("connections", 15.0, 1.0, whole=True),
                Constant("deviation", 1.0, 0.0, closed="neither"),
            ),
            coefs="normal, variance `deviation ** 2`, for `connections` inputs of each unit, drawn "
            "at random; else zero",
            reference="Martens (2010), Deep learning via Hessian-free optimization, section 5",
        ),
        Initializer(
            "ntk",
            ntk,
            coefs="normal, variance `1 / fan_in`",
            intercepts="normal, variance 1",
            reference="Jacot, Gabriel & Hongler (2018), arXiv:1806.07572, section 2, with beta 1",
        ),
        Initializer(
            "data_driven",
            data_driven,
            (Constant("rows", 5.0, 0.0, whole=True),),
            coefs="normal, then scaled so that the pre-activations of each unit have variance 1 "
            "over 256 samples of X",
            intercepts="such that the pre-activation of a random mixture of `rows` of these "
            "samples, for each unit another one, is zero; zero if `rows` is",
            reference="Holzmueller et al. (2024), arXiv:2407.04491; intercepts by Steinwart "
            "(2019), arXiv:1903.11482",
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
    arriving: Callable[[FloatArray, int, FloatArray], FloatArray] | None = None,
    X: Any = None,
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
    arriving : callable, optional
        ``arriving(parameters, number, rows)``: what layer `number` is given of rows of X by those
        before it. The parameters of others are not drawn yet.
    X : ndarray of shape (n_samples, n_features), optional
        The training rows, for embeddings that they give numbers to.
    """
    entry = INITIALIZERS[initializer.name]
    check_constants(entry.name, entry.constants, initializer.constants)
    layout = layout_of(network)
    parameters = np.empty(layout.size)
    layout.extras_of(parameters)[...] = layout.initial_extras()
    # Before the weights, of which some are drawn by what the first layer reads.
    enter_initial(network, parameters, random_state, X)
    hidden = [layer.activation for layer in network.layers]
    last = output_activation or (hidden[-1] if hidden else Formula("identity"))
    arrays: Any = zip(*layout.views(parameters), [*hidden, last], strict=True)
    for number, (coef, intercept, activation) in enumerate(arrays):
        fan_in, fan_out = coef.shape
        rows = sample or no_sample
        inputs = partial(inputs_of, arriving, parameters, number, rows)
        layer = LayerStart(number, fan_in, fan_out, activation, rows, inputs)
        coef[...], intercept[...] = entry.draw(layer, random_state, *initializer.constants)
    enter_members(network, parameters, random_state)
    return parameters.astype(dtype, copy=False)


def inputs_of(
    arriving: Callable[[FloatArray, int, FloatArray], FloatArray] | None,
    parameters: FloatArray,
    number: int,
    sample: Callable[[], FloatArray],
) -> FloatArray:
    """Return what layer `number` is given of the sample."""
    rows = sample()
    assert arriving is not None or number == 0
    return rows if arriving is None else arriving(parameters, number, rows)


def draw_uniform(
    network: NetworkSpec, random_state: np.random.RandomState, dtype: npt.DTypeLike, X: Any = None
) -> FloatArray:
    """Draw all parameters as scikit-learn does."""
    return draw_parameters(network, Formula("glorot_uniform"), random_state, dtype, X=X)


def no_sample() -> FloatArray:
    raise ValueError("There are no rows of X to draw parameters for.")
