"""Activations and links as nodes of an ONNX graph, in opset 18. ONNX itself is not imported here.

Operators are those that ONNX Runtime computes in both precisions, so written that they neither
overflow nor cancel where our own formulas do not (`skmlp.network.elementwise`, `links`). Attributes
of operators are of single precision: constants are not given as such.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from skmlp.network.activations import blended_by
from skmlp.network.embedded import places_of
from skmlp.network.embedding_formulas import TURN
from skmlp.network.embeddings import FAR
from skmlp.network.parameters import EMBEDDING, GIVEN, INPUTS
from skmlp.network.parts import Pieces, Trained
from skmlp.network.specs import LayerSpec, NetworkSpec

OPSET = 18


class Graph(ABC):
    """An ONNX graph that is being made.

    Parameters
    ----------
    onnx : module
    dtype : dtype
        What it computes in.
    """

    def __init__(self, onnx: Any, dtype: npt.DTypeLike) -> None:
        self.onnx, self.dtype = onnx, np.dtype(dtype)
        self._numbers: dict[float, str] = {}

    @abstractmethod
    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, whose name is returned."""

    @abstractmethod
    def constant(self, array: npt.NDArray[Any]) -> str:
        """Add an array (of text: of objects) as it is, and return its name."""

    def number(self, number: float) -> "Value":
        """Return a number in the precision of the graph; each is added once."""
        if number not in self._numbers:
            self._numbers[number] = self.constant(np.array(number, dtype=self.dtype))
        return Value(self, self._numbers[number])

    def floats(self, array: npt.ArrayLike, name: str) -> "Value":
        """Return an array in the precision of the graph.

        Raises
        ------
        ValueError
            If it is not finite then. The message has the array's name.
        """
        with np.errstate(over="ignore"):
            converted = np.ascontiguousarray(array, dtype=self.dtype)
        if not np.isfinite(converted).all():
            raise ValueError(
                f"{name} holds numbers that are not finite in {self.dtype}. Use dtype='float64' if "
                "they are in double precision, else fit again."
            )
        return Value(self, self.constant(converted))

    def whole(self, *numbers: int) -> str:
        """Add whole numbers, as shapes and axes are given, and return their name."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def code(self, dtype: npt.DTypeLike) -> int:
        """Return what ONNX writes for a type."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@dataclass(frozen=True)
class Value:
    """What a node puts out, or a constant. Arithmetic with it adds nodes.

    Parameters
    ----------
    graph : Graph
    name : str
    """

    graph: Graph
    name: str

    def do(self, operator: str, *others: "Number | str", **attributes: Any) -> "Value":
        """Return an operator's output for this value and others; text is taken for a name."""
        names = [other if isinstance(other, str) else self._value(other).name for other in others]
        return Value(self.graph, self.graph.node(operator, self.name, *names, **attributes))

    def _value(self, number: "Number") -> "Value":
        return number if isinstance(number, Value) else self.graph.number(number)

    def __add__(self, other: "Number") -> "Value":
        return self.do("Add", other)

    def __sub__(self, other: "Number") -> "Value":
        return self.do("Sub", other)

    def __rsub__(self, other: "Number") -> "Value":
        return self._value(other) - self

    def __mul__(self, other: "Number") -> "Value":
        return self.do("Mul", other)

    def __truediv__(self, other: "Number") -> "Value":
        return self.do("Div", other)

    def __neg__(self) -> "Value":
        return self.do("Neg")

    __radd__, __rmul__ = __add__, __mul__

    def within(self, lowest: float, highest: float) -> "Value":
        """Return it where it is within two limits, else the one that it is beyond."""
        return self.do("Clip", lowest, highest)

    def is_above(self, limit: float, dtype: npt.DTypeLike) -> "Value":
        """Return ones where it is larger than a limit, and zeros."""
        return self.do("Greater", limit).cast(dtype)

    def cast(self, dtype: npt.DTypeLike) -> "Value":
        """Return it as another type."""
        return self.do("Cast", to=self.graph.code(dtype))

    def columns(self, start: int, stop: int) -> "Value":
        """Return some columns."""
        whole = self.graph.whole
        return self.do("Slice", whole(start), whole(stop), whole(1))

    def beside(self, *others: "Value") -> "Value":
        """Return it with the columns of others behind its own."""
        return self.do("Concat", *others, axis=1)

    def shaped(self, *shape: int) -> "Value":
        """Return it in another shape for each row."""
        # Zero stands for as many rows as there are, which may be none: -1 would not do then.
        return self.do("Reshape", self.graph.whole(0, *shape))

    def mean_of_columns(self) -> "Value":
        """Return the mean of each row, as a column."""
        return self.do("ReduceMean", self.graph.whole(1))


Number: TypeAlias = Value | float


def expm1_below_zero(z: Value) -> Value:
    """Return ``exp(z) - 1``, whose difference would cancel near zero, or zero where z is above."""
    below = z.do("Min", 0.0)
    return (0.5 * below).do("Tanh") * (below.do("Exp") + 1.0)


def softplus(z: Value, beta: float = 1.0) -> Value:
    # As in `elementwise`; ONNX Runtime's Softplus overflows.
    return z.do("Relu") + ((-(beta * z).do("Abs")).do("Exp") + 1.0).do("Log") / beta


def elu(z: Value, alpha: float) -> Value:
    return z.do("Relu") + alpha * expm1_below_zero(z)


def leaky_relu(z: Value, slope: Number) -> Value:
    return z.do("Relu") + z.do("Min", 0.0) * slope


def gelu(z: Value) -> Value:
    root = z * 0.7071067811865476
    # ONNX Runtime has it in single precision only.
    return 0.5 * z.do("Max", -40.0) * (root.cast(np.float32).do("Erf").cast(z.graph.dtype) + 1.0)


def gelu_tanh(z: Value) -> Value:
    bounded = z.within(-21.0, 21.0)
    return z.do("Max", -21.0) * (
        1.5957691216057308 * (bounded + 0.044715 * bounded * bounded * bounded)
    ).do("Sigmoid")


def silu(z: Value) -> Value:
    # ONNX Runtime's Sigmoid may have a least value, which large numbers must not multiply.
    return z.do("Max", -40.0) * z.do("Sigmoid")


def mish(z: Value) -> Value:
    return z.do("Max", -1e30) * softplus(z).do("Tanh")


def softsign(z: Value) -> Value:
    bounded = z.within(-1e30, 1e30)
    return bounded / (bounded.do("Abs") + 1.0)


def scaled_logistic(z: Value, slope: float, threshold: float) -> Value:
    return (slope * (z.within(-1e30, 1e30) - threshold)).do("Sigmoid")


def sinc(z: Value) -> Value:
    bounded = z.within(-1e30, 1e30)
    is_zero, one = bounded.do("Equal", 0.0), z.graph.number(1.0)
    divisor = is_zero.do("Where", one, bounded)
    return is_zero.do("Where", one, bounded.do("Sin") / divisor)


def maxout(z: Value, pieces: float, units: int) -> Value:
    # All units' first pre-activations, all second ones, and so on.
    return z.shaped(int(pieces), units).do("ReduceMax", z.graph.whole(1), keepdims=0)


# By names of the registry: ``expression(z, *constants, *numbers)``, the learned numbers being
# values; with several pieces ``expression(z, *constants, units)``. Blends are made of these.
EXPRESSIONS: dict[str, Callable[..., Value]] = {
    "identity": lambda z: z,
    "logistic": lambda z: z.do("Sigmoid"),
    "tanh": lambda z: z.do("Tanh"),
    "relu": lambda z: z.do("Relu"),
    "exp": lambda z: z.do("Exp"),
    "gelu": gelu,
    "silu": silu,
    "leaky_relu": leaky_relu,
    "prelu": leaky_relu,
    "maxout": maxout,
    "elu": elu,
    "celu": lambda z, alpha: z.do("Relu") + alpha * expm1_below_zero(z / alpha),
    "selu": lambda z: 1.0507009873554805 * elu(z, 1.6732632423543772),
    "mish": mish,
    "gelu_tanh": gelu_tanh,
    "softplus": softplus,
    "softsign": softsign,
    "log_sigmoid": lambda z: -softplus(-z),
    "scaled_logistic": scaled_logistic,
    "sinc": sinc,
    "exponential": lambda z: z.do("Exp"),
    "hard_sigmoid": lambda z: ((z + 3.0) / 6.0).within(0.0, 1.0),
    "hard_swish": lambda z: z.do("Max", -3.0) * ((z + 3.0).within(0.0, 6.0) / 6.0),
    "hard_tanh": lambda z: z.within(-1.0, 1.0),
    "relu6": lambda z: z.within(0.0, 6.0),
    "step": lambda z: z.is_above(0.0, z.graph.dtype),
    "softmax": lambda z: z.do("Softmax", axis=1),
}


def activated(z: Value, layer: LayerSpec, numbers: list[Value]) -> Value:
    """Return what a layer's activation makes of its pre-activations.

    Parameters
    ----------
    numbers : list of Value
        What its units have learned, in the order of the entry.
    """
    name, constants = layer.activation.name, layer.activation.constants
    blended = blended_by(name)
    if blended is not None:
        [blend] = numbers
        return z + blend * (EXPRESSIONS[blended](z, *constants) - z)
    units = [] if layer.entry.pieces is None else [layer.units]
    return EXPRESSIONS[name](z, *constants, *numbers, *units)


def means(raw: Value, n_targets: int) -> Value:
    return raw.columns(0, n_targets)


def increasing(raw: Value, n_targets: int, n_units: int) -> Value:
    """Return sums of the first raw prediction of each target and what the others add."""
    steps = means(raw, n_targets).beside(softplus(raw.columns(n_targets, n_units)))
    blocks = steps.shaped(n_units // n_targets, n_targets)
    return blocks.do("CumSum", raw.graph.constant(np.array(1, np.int64))).shaped(n_units)


class Columns(NamedTuple):
    """Columns of X that are embedded alike, and what belongs to them.

    Attributes
    ----------
    x : Value of shape (n_samples, columns, 1)
    learned, given : ndarray of shape (columns, numbers of each)
    """

    x: Value
    learned: npt.NDArray[Any]
    given: npt.NDArray[Any]

    def numbers(self, array: npt.NDArray[Any]) -> Value:
        return self.x.graph.floats(array, "_extras")

    def mapped(self, values: Value, width: int, start: int) -> Value:
        """Return ``V values + c`` for each column; both matrices stand from `start` on.

        `values` are of shape (n_samples, columns, units).
        """
        columns, rest = len(self.learned), self.learned[:, start:]
        matrices = rest[:, :-width].reshape(columns, width, -1).swapaxes(1, 2)
        products = values.do("Transpose", perm=(1, 0, 2)).do("MatMul", self.numbers(matrices))
        return products.do("Transpose", perm=(1, 0, 2)) + self.numbers(rest[:, -width:])

    def angles(self, units: int, *, has_phases: bool) -> Value:
        """Return ``2 pi (w x + b)``, shape (n_samples, columns, units)."""
        turns = self.x * self.numbers(self.learned[:, :units])
        if has_phases:
            turns = turns + self.numbers(self.learned[:, units : 2 * units])
        return TURN * turns


def periodic(own: Columns, units: float, width: float, sigma: float) -> Value:
    angles = own.angles(int(units), has_phases=False)
    both = angles.do("Sin").do("Concat", angles.do("Cos"), axis=2)
    return own.mapped(both, int(width), int(units)).do("Relu")


def pbld(own: Columns, units: float, width: float, sigma: float) -> Value:
    waves = own.angles(int(units), has_phases=True).do("Cos")
    return own.x.do("Concat", own.mapped(waves, int(width), 2 * int(units)), axis=2)


def cosine(own: Columns, width: float, sigma: float) -> Value:
    _, _, factors, shifts = np.split(own.learned, 4, axis=1)
    waves = own.angles(int(width), has_phases=True).do("Cos")
    changed = own.numbers(factors) * waves + own.numbers(shifts)
    return own.x.do("Concat", changed, axis=2)


def piecewise(own: Columns, bins: float, width: float) -> Value:
    starts, slopes = np.split(own.given, 2, axis=1)
    is_last = np.arange(int(bins)) == np.maximum((slopes > 0.0).sum(axis=1, keepdims=True) - 1, 0)
    highest, lowest = np.where(is_last, FAR, 1.0), np.where(np.arange(int(bins)) == 0, -FAR, 0.0)
    fractions = (own.x - own.numbers(starts)) * own.numbers(slopes)
    z = fractions.do("Min", own.numbers(highest)).do("Max", own.numbers(lowest))
    weights, shifts, steps = np.split(own.learned, [int(width), 2 * int(width)], axis=1)
    line = own.x * own.numbers(weights)
    with_shifts = own._replace(learned=np.hstack([as_rows(steps, int(width)), shifts]))
    return line + with_shifts.mapped(z, int(width), 0)


def as_rows(steps: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """Return matrices of each column the other way round."""
    columns = len(steps)
    return steps.reshape(columns, -1, width).swapaxes(1, 2).reshape(columns, -1)


def categories(own: Columns, levels: float, width: float) -> Value:
    x, columns = own.x, len(own.learned)
    is_code = x.do("Equal", x.do("Floor"))
    for is_in in (x.do("GreaterOrEqual", 0.0), x.do("Less", levels)):
        is_code = is_code.do("And", is_in)
    first_rows = np.arange(columns)[:, np.newaxis] * int(levels)
    codes = is_code.do("Where", x, x.graph.number(0.0)).cast(np.int64)
    rows = codes.do("Add", x.graph.constant(first_rows)).shaped(columns)
    return own.numbers(own.learned.reshape(-1, int(width))).do("Gather", rows, axis=0)


# By names of the registry: ``expression(own, *constants)``, of shape (n_samples, columns, width).
EMBEDDING_EXPRESSIONS: dict[str, Callable[..., Value]] = {
    "identity": lambda own: own.x,
    "periodic": periodic,
    "pbld": pbld,
    "cosine": cosine,
    "piecewise": piecewise,
    "categories": categories,
}


def embedded(X: Value, network: NetworkSpec, extras: Pieces) -> Value:
    """Return what columns of X become."""
    parts = []
    learned, given = (extras.get((INPUTS, name), np.empty(0)) for name in (EMBEDDING, GIVEN))
    for place in places_of(network.inputs):
        columns, name = place.columns, place.entry.name
        numbers = [
            array[first : first + columns * size].reshape(columns, size)
            for array, first, size in (
                (learned, place.first_learned, place.learned),
                (given, place.first_given, place.given),
            )
        ]
        x = X.columns(place.first, place.first + columns).shaped(columns, 1)
        values = EMBEDDING_EXPRESSIONS[name](Columns(x, *numbers), *place.constants)
        parts.append(values.shaped(columns * place.width))
    return parts[0].beside(*parts[1:]) if len(parts) > 1 else parts[0]


# By names of the registry: ``expression(raw, n_targets, n_units)``, both of a head. What is not
# predicted, as deviations, is left out.
LINK_EXPRESSIONS: dict[str, Callable[[Value, int, int], Value]] = {
    "identity": lambda raw, *_: raw,
    "logistic": lambda raw, *_: EXPRESSIONS["logistic"](raw),
    "softmax": lambda raw, *_: EXPRESSIONS["softmax"](raw),
    "exp": lambda raw, *_: EXPRESSIONS["exp"](raw),
    "gaussian": lambda raw, n_targets, _: means(raw, n_targets),
    "laplace": lambda raw, n_targets, _: means(raw, n_targets),
    "increasing": increasing,
}


def product(values: Value, trained: Trained, layer: int) -> Value:
    """Return a layer's product with its intercepts."""
    floats = values.graph.floats
    return values.do("MatMul", floats(trained.coefs[layer], f"coefs_[{layer}]")) + floats(
        trained.intercepts[layer], f"intercepts_[{layer}]"
    )


def normalized(z: Value, epsilon: float) -> Value:
    """Return rows with mean zero and variance one."""
    # Not LayerNormalization: where means are large, what ONNX Runtime subtracts cancels.
    centered = z - z.mean_of_columns()
    variance = (centered * centered).mean_of_columns()
    return centered / (variance + epsilon).do("Sqrt")
