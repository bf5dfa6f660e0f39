"""Whether a fitted network's outputs are finite on the data that it was trained on.

The loss of the last epoch does not tell: it was computed before the last step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import Engine
from skmlp.network.bounds import cannot_overflow, euclidean_norm
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import NetworkSpec


def overflows(
    engine: Engine,
    network: NetworkSpec,
    data: Any,
    parameters: FloatArray,
    X_norm: float,
    sample_weight: npt.NDArray[np.float64] | None,
) -> bool:
    """Whether an output is not finite; it is computed only where a bound cannot tell.

    Parameters
    ----------
    engine : Engine
    network : NetworkSpec
    data : object
        Handle returned by the engine's `load`.
    parameters : ndarray of shape (n_parameters,)
    X_norm : float
        Bound on the Euclidean norm of each row of X.
    sample_weight : ndarray of shape (n_samples,) or None
        Rows without weight are as good as absent.
    """
    norm = euclidean_norm(parameters)
    if cannot_overflow(network, norm, X_norm, parameters.dtype):
        return False
    rows = None if sample_weight is None else np.flatnonzero(sample_weight)
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = engine.outputs(network, parameters, data, rows)
    return not np.isfinite(outputs).all()
