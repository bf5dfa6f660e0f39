"""Where a fit starts that does not go on from an earlier one: drawn parameters, or given ones."""

from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._choices import OneOf
from skmlp._fitted import shown
from skmlp.initializers import CLASSES, init_formula
from skmlp.network.initializers import INITIALIZERS, draw_parameters
from skmlp.network.parameters import FloatArray, layout_of
from skmlp.network.specs import Formula, NetworkSpec

# So many rows of X are shown to an initializer that looks at data.
SAMPLE_ROWS = 256
# What the two lists of a given start are called.
PARTS = ("coefs", "intercepts")


class InitOptions(OneOf):
    """Constraint of the parameter `init`."""

    def __init__(self) -> None:
        super().__init__(INITIALIZERS, CLASSES)

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is a name, an object or a pair; what the pair holds is left to the fit."""
        return is_given(val) or super().is_satisfied_by(val)

    def __str__(self) -> str:
        return f"{super().__str__()} or a pair (coefs, intercepts) of lists of arrays"


def is_given(init: Any) -> bool:
    """Whether `init` holds the parameters themselves."""
    return (
        isinstance(init, tuple | list)
        and len(init) == len(PARTS)
        and all(isinstance(part, tuple | list) for part in init)
    )


def initial_parameters(
    init: Any,
    network: NetworkSpec,
    random_state: np.random.RandomState,
    dtype: npt.DTypeLike,
    output_activation: Formula,
    X: Any,
) -> FloatArray:
    """Return the parameters that a fit starts from, as a vector of its own.

    Nothing is drawn where they are given.

    Raises
    ------
    ValueError
        If what is given does not fit the network, or is not finite.
    """
    if is_given(init):
        return given_parameters(init, network, dtype)
    return draw_parameters(
        network,
        init_formula(init),
        random_state,
        dtype,
        output_activation=output_activation,
        sample=lambda: sample_of(X),
    )


def sample_of(X: Any) -> FloatArray:
    """Return the first rows of X, dense and in double precision."""
    rows = X[:SAMPLE_ROWS]
    rows = rows.toarray() if hasattr(rows, "toarray") else rows
    return np.array(rows, dtype=np.float64)


def given_parameters(init: Any, network: NetworkSpec, dtype: npt.DTypeLike) -> FloatArray:
    """Copy the arrays of ``init=(coefs, intercepts)`` into a new flat vector."""
    for part, arrays in enumerate(init):
        if len(arrays) != network.n_connections:
            raise ValueError(
                f"init[{part}] must hold {network.n_connections} arrays, the {PARTS[part]} of each "
                f"layer of a network with {network.layer_units} units, got {len(arrays)}."
            )
    coefs, intercepts = (
        [
            checked_array(f"init[{part}][{layer}]", array, expected, part, layer)
            for layer, (array, expected) in enumerate(zip(init[part], shapes, strict=True))
        ]
        for part, shapes in enumerate((network.shapes, [shape[1:] for shape in network.shapes]))
    )
    layout = layout_of(network)
    with np.errstate(over="ignore"):
        parameters = layout.pack(coefs, intercepts, dtype)
    for part, arrays in enumerate(layout.views(parameters)):
        for layer, array in enumerate(arrays):
            if not np.isfinite(array).all():
                raise ValueError(
                    f"init[{part}][{layer}] holds NaN or infinity, or what is too large for "
                    f"{array.dtype}. A fit starts from finite numbers."
                )
    return parameters


def checked_array(
    name: str, given: Any, shape: tuple[int, ...], part: int, layer: int
) -> npt.NDArray[Any]:
    try:
        array = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, but is {shown(given)}.") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be an array of real numbers, but is {shown(array)}.")
    if array.shape != shape:
        raise ValueError(
            f"{name}, the {PARTS[part]} of layer {layer}, must have shape {shape}, got "
            f"{array.shape}. The shapes follow from X, hidden_layer_sizes and y."
        )
    return array
