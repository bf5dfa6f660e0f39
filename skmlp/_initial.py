"""Where a fit starts that does not go on from an earlier one: drawn parameters, or given ones."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._choices import OneOf
from skmlp._fitted import shown
from skmlp.initializers import CLASSES, From, Weights, ZeroLast, init_formula
from skmlp.network.embedded import enter_initial, vectors_of
from skmlp.network.folding import NAMES, folded_layer
from skmlp.network.initializers import INITIALIZERS, draw_parameters
from skmlp.network.parameters import INPUTS, SCALE, FloatArray, ParameterLayout, layout_of
from skmlp.network.specs import Formula, NetworkSpec

# So many rows of X are shown to an initializer that looks at data, as data_driven's text says.
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


def holds_weights(init: Any) -> bool:
    """Whether `init` holds parameters that have been learned, all or some."""
    return is_given(init) or isinstance(init, From)


def initial_parameters(
    init: Any,
    network: NetworkSpec,
    random_state: np.random.RandomState,
    dtype: npt.DTypeLike,
    output_activation: Formula,
    X: Any,
) -> FloatArray:
    """Return the parameters that a fit starts from, as a vector of its own.

    No weights are drawn where they are given.

    Raises
    ------
    ValueError
        If what is given does not fit the network, or is not finite.
    """
    if is_given(init):
        parameters = given_parameters(init, network, dtype)
        enter_initial(network, parameters, random_state, X)
        return parameters
    drawn = init.init if isinstance(init, ZeroLast) else init
    drawn = init.rest if isinstance(init, From) else drawn
    parameters = draw_parameters(
        network,
        init_formula(drawn),
        random_state,
        dtype,
        output_activation=output_activation,
        sample=lambda: sample_of(X),
        arriving=partial(values_arriving, network),
        X=X,
    )
    if isinstance(init, ZeroLast):
        for arrays in layout_of(network).views(parameters):
            arrays[-1][...] = 0.0
    if isinstance(init, From):
        copy_weights(init.model, network, parameters)
    return parameters


def values_arriving(network: NetworkSpec, *of_layer: Any) -> FloatArray:
    """Return what the reference does; few fits need it, and to import it takes a while."""
    from skmlp.engines import reference

    return reference.values_arriving(network, *of_layer)


def sample_of(X: Any) -> FloatArray:
    """Return some rows of X, evenly spread over it, dense and in double precision."""
    n_rows = X.shape[0]
    rows = X[np.linspace(0, n_rows - 1, min(n_rows, SAMPLE_ROWS)).astype(int)]
    rows = rows.toarray() if hasattr(rows, "toarray") else rows
    return np.array(rows, dtype=np.float64)


def copy_weights(weights: Weights, network: NetworkSpec, parameters: FloatArray) -> None:
    """Copy those layers of another network that fit into the parameters of this one.

    Raises
    ------
    ValueError
        If there is none, or it is not finite.
    """
    layout = layout_of(network)
    coefs, intercepts = layout.views(parameters)
    n_hidden = min(len(coefs), len(weights.coefs)) - 1
    n_copied = 0
    for layer in (*range(n_hidden), -1):
        given = given_layer(weights, layer, layout)
        own = coefs[layer], intercepts[layer]
        if [array.shape for array in given] != [array.shape for array in own]:
            continue
        n_copied += 1
        extras = {
            extra.name: (parameters[end - extra.size : end], weights.extras[layer, extra.name])
            for extra, end in zip(layout.extras, layout.extra_offsets[1:], strict=True)
            if extra.layer == layer >= 0 and (layer, extra.name) in weights.extras
        }
        if is_first(layer, weights, layout):
            extras |= extras_of_inputs(weights, layout, parameters)
        pairs = [*zip(own, given, strict=True), *extras.values()]
        with np.errstate(over="ignore"):
            for target, source in pairs:
                target[...] = source
        if not all(np.isfinite(target).all() for target, _ in pairs):
            raise ValueError(
                f"init={weights!r} holds NaN or infinity in layer {layer}, or what is too large "
                f"for {parameters.dtype}. A fit starts from finite numbers."
            )
    if n_copied == 0:
        raise ValueError(
            f"No layer of init=From({weights!r}) fits into a network with {network.layer_units} "
            "units. Give hidden_layer_sizes that of the other network, or leave init out."
        )


def extras_of_inputs(
    weights: Weights, layout: ParameterLayout, parameters: FloatArray
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return what inputs have learned, as views of the parameters, each with what is copied there.

    Nothing is copied of what the inputs of the other network have not learned, or not as much.
    """
    own, extras = vectors_of(layout, parameters), weights.extras
    theirs = {name: extras[INPUTS, name] for name in own if (INPUTS, name) in extras}
    return {
        name: (own[name], array) for name, array in theirs.items() if array.shape == own[name].shape
    }


def is_first(layer: int, weights: Weights, layout: ParameterLayout) -> bool:
    """Whether a layer, -1 for the output layer, is what reads the inputs in both networks."""
    return layer % len(layout.shapes) == 0 and layer % len(weights.coefs) == 0


def given_layer(
    weights: Weights, layer: int, layout: ParameterLayout
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return coefficients and intercepts for a layer of a network of this layout.

    Batch normalization is in them if the layer has none, and so is the scale of inputs.
    """
    given = weights.coefs[layer], weights.intercepts[layer]
    is_scaled = layer % len(weights.coefs) == 0 and (INPUTS, SCALE) in weights.extras
    if is_scaled and not any(extra.name == SCALE for extra in layout.extras):
        given = given[0] * weights.extras[INPUTS, SCALE][:, np.newaxis], given[1]
    has_own = any(extra.layer == layer and extra.name == "mean" for extra in layout.extras)
    if has_own or (layer, "mean") not in weights.extras:
        return given
    return folded_layer(*given, {name: weights.extras[layer, name] for name in NAMES})


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
