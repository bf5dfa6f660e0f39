"""Flat parameters: one vector per model, all coefficients first, then all intercepts.

Behind them lies what else a network learns, piece after piece: the *extras*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.network.specs import NetworkSpec

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ParameterLayout:
    """Where each layer's coefficients and intercepts lie in the flat vector.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Shape ``(fan_in, fan_out)`` of each weight matrix.
    """

    shapes: tuple[tuple[int, int], ...]

    @cached_property
    def coef_offsets(self) -> list[int]:
        """Start of each weight matrix, followed by the end of the last one."""
        return [0, *accumulate(fan_in * fan_out for fan_in, fan_out in self.shapes)]

    @cached_property
    def intercept_offsets(self) -> list[int]:
        """Start of each intercept vector, followed by the end of the last one."""
        sizes = (fan_out for _, fan_out in self.shapes)
        return list(accumulate(sizes, initial=self.coef_offsets[-1]))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.intercept_offsets[-1]

    def views(self, parameters: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return each layer's coefficients and intercepts as views of the flat vector."""
        coefs = [
            parameters[start:stop].reshape(shape)
            for (start, stop), shape in zip(pairwise(self.coef_offsets), self.shapes, strict=True)
        ]
        intercepts = [parameters[start:stop] for start, stop in pairwise(self.intercept_offsets)]
        return coefs, intercepts

    def pack(
        self,
        coefs: Sequence[npt.ArrayLike],
        intercepts: Sequence[npt.ArrayLike],
        dtype: npt.DTypeLike,
    ) -> FloatArray:
        """Copy each layer's arrays into a new flat vector.

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
        return parameters


@lru_cache(maxsize=256)
def layout_of(network: NetworkSpec) -> ParameterLayout:
    """Return where a network's parameters lie."""
    return ParameterLayout(network.shapes)


def plain_layout(layer_units: Sequence[int]) -> ParameterLayout:
    """Return where the parameters of a chain of layers lie, without extras.

    Parameters
    ----------
    layer_units : sequence of int
        Units of every layer, input and output included.
    """
    return ParameterLayout(tuple(pairwise(layer_units)))
