"""Flat parameters: one vector per model, all coefficients first, then all intercepts.

Behind them lies what else a network learns, piece after piece: the *extras*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.network.specs import NetworkSpec

FloatArray = npt.NDArray[np.floating[Any]]

# What extras of the inputs have in the place of a number of their layer, and their names.
INPUTS = -1
EMBEDDING, GIVEN, SCALE = "embedding", "given", "scale"
# Extras of hidden layers that each member has: what products are multiplied by, what is added to
# them, and what outputs are multiplied by.
OF_MEMBERS = FACTOR, SHIFT, NEXT_FACTOR = "member_factor", "member_shift", "member_next_factor"


@dataclass(frozen=True)
class Extra:
    """A vector that a layer has besides its coefficients and intercepts.

    Parameters
    ----------
    layer : int
        Number of the hidden layer, from zero; `INPUTS` for those of the inputs.
    name : str
        What it is: the name of a learned number, "gain" and "shift" of a normalization, or
        "mean" and "variance" of the batches it has seen; those `OF_MEMBERS`. Of the inputs
        `EMBEDDING`, what columns of X have learned, `GIVEN`, what the data have given to them, and
        `SCALE`.
    size : int
        One number for each column of the layer's product, or of all columns of X together. What
        members have of their own follows each other, member after member.
    initial : float
        What each one starts with, if it is not drawn.
    trained : bool
        Whether optimizers see it. Those of all layers come before those that are not trained.
    role : str
        Which of the groups of parameters it belongs to.
    """

    layer: int
    name: str
    size: int
    initial: float
    trained: bool = True
    role: str = "slopes"


class Piece(NamedTuple):
    """Neighboring parameters of one role and layer.

    Attributes
    ----------
    role : str
    layer : int
    start, stop : int
        Places in the flat vector.
    """

    role: str
    layer: int
    start: int
    stop: int


@dataclass(frozen=True)
class ParameterLayout:
    """Where each layer's coefficients and intercepts lie in the flat vector.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Shape ``(fan_in, fan_out)`` of each weight matrix.
    extras : tuple of Extra
        What lies behind the intercepts, in this order.
    """

    shapes: tuple[tuple[int, int], ...]
    extras: tuple[Extra, ...] = ()

    @cached_property
    def coef_offsets(self) -> list[int]:
        """Start of each weight matrix, followed by the end of the last one."""
        return [0, *accumulate(fan_in * fan_out for fan_in, fan_out in self.shapes)]

    @cached_property
    def intercept_offsets(self) -> list[int]:
        """Start of each intercept vector, followed by the end of the last one."""
        sizes = (fan_out for _, fan_out in self.shapes)
        return list(accumulate(sizes, initial=self.coef_offsets[-1]))

    @cached_property
    def extra_offsets(self) -> list[int]:
        """Start of each extra, followed by the end of the last one."""
        return list(accumulate((e.size for e in self.extras), initial=self.intercept_offsets[-1]))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.extra_offsets[-1]

    @cached_property
    def trained_size(self) -> int:
        """Number of parameters that optimizers see: those before the first untrained one."""
        pairs = zip(self.extras, self.extra_offsets, strict=False)
        return next((start for extra, start in pairs if not extra.trained), self.size)

    def trained_pieces(self) -> list[Piece]:
        """Return what optimizers see, in order: coefficients, intercepts and trained extras."""
        pieces = []
        for role, offsets in (
            ("coefs", self.coef_offsets),
            ("intercepts", self.intercept_offsets),
        ):
            pieces += [Piece(role, i, *place) for i, place in enumerate(pairwise(offsets))]
        pairs = zip(self.extras, pairwise(self.extra_offsets), strict=True)
        return pieces + [Piece(e.role, e.layer, *place) for e, place in pairs if e.trained]

    def views(self, parameters: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return each layer's coefficients and intercepts as views of the flat vector."""
        coefs = [
            parameters[start:stop].reshape(shape)
            for (start, stop), shape in zip(pairwise(self.coef_offsets), self.shapes, strict=True)
        ]
        intercepts = [parameters[start:stop] for start, stop in pairwise(self.intercept_offsets)]
        return coefs, intercepts

    def extras_of(self, parameters: FloatArray) -> FloatArray:
        """Return all that lies behind the intercepts, as a view of the flat vector."""
        return parameters[self.intercept_offsets[-1] :]

    def pieces_of(self, extras: FloatArray) -> dict[Extra, FloatArray]:
        """Return what extras consist of, as views."""
        begin = self.extra_offsets[0]
        return {
            extra: extras[start - begin : stop - begin]
            for extra, (start, stop) in zip(self.extras, pairwise(self.extra_offsets), strict=True)
        }

    def extras_with(self, other: "ParameterLayout", values: FloatArray) -> FloatArray:
        """Return what extras start with, or another layout's `values` where it has the same."""
        known = other.pieces_of(values)
        parts = [known.get(e, np.full(e.size, e.initial)) for e in self.extras]
        return np.concatenate([*parts, np.empty(0)])

    def initial_extras(self) -> FloatArray:
        """Return what the extras start with."""
        values = [extra.initial for extra in self.extras]
        return np.repeat(np.array(values, dtype=np.float64), [e.size for e in self.extras])

    def pack(
        self,
        coefs: Sequence[npt.ArrayLike],
        intercepts: Sequence[npt.ArrayLike],
        dtype: npt.DTypeLike,
        extras: FloatArray | None = None,
    ) -> FloatArray:
        """Copy each layer's arrays, and the extras or what they start with, into a flat vector.

        Raises
        ------
        ValueError
            If the number or the shape of the arrays is not the layout's.
        """
        parameters = np.empty(self.size, dtype=dtype)
        own_coefs, own_intercepts = self.views(parameters)
        for name, own, given in (
            ("coefs_", own_coefs, coefs),
            ("intercepts_", own_intercepts, intercepts),
        ):
            if len(own) != len(given):
                raise ValueError(
                    f"{name} must hold {len(own)} arrays, one per layer; got {len(given)}."
                )
            for layer, (target, source) in enumerate(zip(own, given, strict=True)):
                if np.shape(source) != target.shape:
                    raise ValueError(
                        f"{name}[{layer}] must have shape {target.shape}; got {np.shape(source)}."
                    )
                target[...] = source
        self.extras_of(parameters)[...] = self.initial_extras() if extras is None else extras
        return parameters


@lru_cache(maxsize=256)
def layout_of(network: NetworkSpec) -> ParameterLayout:
    """Return where a network's parameters lie."""
    trained, untrained = [], []
    inputs = network.inputs
    n_learned = sum(block.columns * block.n_learned for block in inputs.embedding)
    n_given = sum(block.columns * block.n_given for block in inputs.embedding)
    if n_learned > 0:
        trained.append(Extra(INPUTS, EMBEDDING, n_learned, 0.0, role=EMBEDDING))
    if inputs.scaled:
        trained.append(Extra(INPUTS, SCALE, network.n_members * inputs.width, 1.0, role=SCALE))
    if n_given > 0:
        untrained.append(Extra(INPUTS, GIVEN, n_given, 0.0, trained=False))
    for number, layer in enumerate(network.layers):
        columns = layer.product_units
        for learned in layer.entry.learned:
            trained.append(Extra(number, learned.name, columns, learned.initial))
        if layer.normalization is not None:
            for name, initial in (("gain", 1.0), ("shift", 0.0)):
                trained.append(Extra(number, name, columns, initial, role="normalization"))
        if network.adapts_layers:
            size, is_last = network.n_members * columns, number == len(network.layers) - 1
            trained.append(Extra(number, FACTOR, size, 1.0, role=SCALE))
            trained.append(Extra(number, SHIFT, size, 0.0, role="normalization"))
            if not is_last:  # output layers are not adapted: each member has one
                trained.append(Extra(number, NEXT_FACTOR, size, 1.0, role=SCALE))
        if layer.normalization == "batch":
            untrained.append(Extra(number, "mean", columns, 0.0, trained=False))
            untrained.append(Extra(number, "variance", columns, 1.0, trained=False))
    return ParameterLayout(network.shapes, (*trained, *untrained))


def plain_layout(layer_units: Sequence[int]) -> ParameterLayout:
    """Return where the parameters of a chain of layers lie, without extras.

    Parameters
    ----------
    layer_units : sequence of int
        Units of every layer, input and output included.
    """
    return ParameterLayout(tuple(pairwise(layer_units)))
