"""Where the parameters and activations of a network lie on the device.

Every matrix has rows of a multiple of four elements, padded by zeros, so that four neighbors are
read at once and no product asks where a row ends. All coefficients come first, then all
intercepts and extras, as in the flat vectors that users see.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.network.parameters import FloatArray, ParameterLayout


def padded(units: int) -> int:
    """Return the distance from row to row of a matrix with so many columns."""
    return -(-units // 4) * 4


@dataclass(frozen=True)
class PaddedLayout:
    """The parameters of one network.

    Parameters
    ----------
    flat : ParameterLayout
        Where they lie in the vectors that users see.
    """

    flat: ParameterLayout

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """Padded shape of each weight matrix."""
        return [(padded(i), padded(o)) for i, o in self.flat.shapes]

    @cached_property
    def coef_offsets(self) -> list[int]:
        """Start of each weight matrix, followed by the end of the last one."""
        return [0, *accumulate(rows * columns for rows, columns in self.shapes)]

    @cached_property
    def intercept_offsets(self) -> list[int]:
        """Start of each intercept vector, followed by the end of the last one."""
        return list(accumulate((columns for _, columns in self.shapes), initial=self.n_coefs))

    @cached_property
    def extra_offsets(self) -> list[int]:
        """Start of each extra, followed by the end of the last one."""
        sizes = (padded(extra.size) for extra in self.flat.extras)
        return list(accumulate(sizes, initial=self.intercept_offsets[-1]))

    @property
    def n_coefs(self) -> int:
        return self.coef_offsets[-1]

    @property
    def size(self) -> int:
        return self.extra_offsets[-1]

    def _pairs(self, padded_vectors: Any, vectors: Any) -> Any:
        """Yield each layer's place in padded vectors beside that in the users'."""
        lead = padded_vectors.shape[:-1]
        flat = self.flat
        for layer, (fan_in, fan_out) in enumerate(flat.shapes):
            start, stop = self.coef_offsets[layer : layer + 2]
            own = padded_vectors[..., start:stop].reshape(*lead, *self.shapes[layer])
            start, stop = flat.coef_offsets[layer : layer + 2]
            theirs = vectors[..., start:stop].reshape(*lead, fan_in, fan_out)
            yield own[..., :fan_in, :fan_out], theirs
            start = self.intercept_offsets[layer]
            own = padded_vectors[..., start : start + fan_out]
            start, stop = flat.intercept_offsets[layer : layer + 2]
            yield own, vectors[..., start:stop]
        for number, extra in enumerate(flat.extras):
            start = self.extra_offsets[number]
            own = padded_vectors[..., start : start + extra.size]
            start, stop = flat.extra_offsets[number : number + 2]
            yield own, vectors[..., start:stop]

    def pack(self, vectors: FloatArray, dtype: npt.DTypeLike) -> FloatArray:
        """Return padded copies of vectors of parameters, shape (..., n_parameters)."""
        out = np.zeros((*vectors.shape[:-1], self.size), dtype=dtype)
        for own, theirs in self._pairs(out, vectors):
            own[...] = theirs
        return out

    def unpack(self, padded_vectors: FloatArray) -> FloatArray:
        """Return copies without padding."""
        out = np.empty((*padded_vectors.shape[:-1], self.flat.size), dtype=padded_vectors.dtype)
        for own, theirs in self._pairs(padded_vectors, out):
            theirs[...] = own
        return out
