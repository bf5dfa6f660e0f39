"""What the displays have in common: axes, colors, and the network that an estimator ends with."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._base import BaseMLP
from skmlp._fitted import is_ensemble, shown, trained_network
from skmlp._layer_transformer import last_step, unwrapped
from skmlp._optional import needed
from skmlp.network.parts import Trained

# Of blue and orange neither is mistaken for the other by those who see few colors; both are
# legible on white and on black.
NEGATIVE, POSITIVE = "#3a7fb8", "#e07b27"
NEUTRAL = "#8a8f98"
_BETWEEN = "#f2f2f2"
# Of several curves or classes, of which neighbors differ in brightness too.
CYCLE = (
    *("#3a7fb8", "#e07b27", "#3b9e77", "#b5609a", "#5f6b7a"),
    *("#d1a92e", "#7fb2dd", "#8a5a2b", "#9bbb59", "#e58a9a"),
)


def pyplot(what: str) -> Any:
    """Import matplotlib's pyplot for a method, whose name stands in the error if it is missing."""
    return needed("matplotlib.pyplot", what, install="skmlp[plot]")


def signed_colormap() -> Any:
    """Return the colors of numbers with a sign: blue below zero, orange above."""
    colors = needed("matplotlib.colors", "A display", install="skmlp[plot]")
    return colors.LinearSegmentedColormap.from_list("skmlp", [NEGATIVE, _BETWEEN, POSITIVE])


def signed_limit(values: npt.NDArray[Any]) -> float:
    """Return the largest absolute value, by which colors are scaled; one if all are zero."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0


def color_of(number: int) -> str:
    return CYCLE[number % len(CYCLE)]


def one_axes(ax: Any, what: str, figsize: tuple[float, float] | None = None) -> Any:
    """Return the axes to draw into: those given, or the only ones of a new figure.

    Raises
    ------
    ValueError
        If what is given are no axes.
    """
    if ax is None:
        return pyplot(what).subplots(figsize=figsize, layout="constrained")[1]
    check_axes(ax)
    return ax


def several_axes(
    ax: Any, shape: tuple[int, int], what: str, figsize: tuple[float, float] | None = None
) -> npt.NDArray[Any]:
    """Return an array of axes of a shape: those given, a division of those given, or new ones.

    Raises
    ------
    ValueError
        If what is given are neither axes nor as many as are needed.
    """
    rows, columns = shape
    if ax is None:
        _, axes = pyplot(what).subplots(
            rows, columns, figsize=figsize, layout="constrained", squeeze=False
        )
        return np.asarray(axes)
    if hasattr(ax, "plot"):
        ax.set_axis_off()
        grid = ax.get_subplotspec()
        if grid is None:
            raise ValueError(
                "ax stands freely in its figure and cannot be divided. Use axes of plt.subplots, "
                f"or an array of shape {shape}."
            )
        grid = grid.subgridspec(rows, columns)
        axes = [[ax.figure.add_subplot(grid[i, j]) for j in range(columns)] for i in range(rows)]
        return np.array(axes, dtype=object)
    given = np.asarray(ax, dtype=object)
    if given.size != rows * columns:
        raise ValueError(
            f"ax has {given.size} axes, but {rows * columns} are needed. Pass axes to be divided, "
            f"or an array of shape {shape}."
        )
    for each in given.flat:
        check_axes(each)
    return given.reshape(shape)


def check_axes(ax: Any) -> None:
    if not (hasattr(ax, "plot") and hasattr(ax, "figure")):
        raise ValueError(f"ax must be axes of matplotlib or None, but is {shown(ax)}.")


def keywords(given: Any, name: str, **defaults: Any) -> dict[str, Any]:
    """Return what is passed on to matplotlib: defaults, and in their place what users give.

    Raises
    ------
    ValueError
        If what they give is no mapping.
    """
    if given is None:
        return defaults
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{name} must be a dict of matplotlib's keywords or None, but is {shown(given)}."
        )
    return {**defaults, **given}


# Estimators


def fitted_network(estimator: Any) -> tuple[BaseMLP, Trained]:
    """Return the single network that an estimator ends with, and what it has learned.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    ValueError
        If there is none, or there are several.
    """
    network = last_step(estimator)
    if is_ensemble(network):
        raise ValueError(
            f"{type(network).__name__} is an ensemble of {len(network.estimators_)} networks, but "
            "one is drawn. Pass one of its estimators_."
        )
    return network, trained_network(network)


def count_hidden(trained: Trained) -> int:
    """Return how many hidden layers a network has.

    Raises
    ------
    ValueError
        If there are none.
    """
    count = len(trained.network.layers)
    if count == 0:
        raise ValueError(
            "The network has no hidden layers: it was fitted with hidden_layer_sizes=()."
        )
    return count


def before_network(estimator: Any, X: Any) -> Any:
    """Return what the network that an estimator ends with is given for X."""
    found = unwrapped(estimator)
    while not isinstance(found, BaseMLP):
        if len(found.steps) > 1:
            X = found[:-1].transform(X)
        found = unwrapped(found.steps[-1][1])
    return X


def input_names(estimator: Any, network: BaseMLP) -> Any:
    """Return how a fit has called the inputs of the network; None if they have no names."""
    found = unwrapped(estimator)
    if isinstance(found, BaseMLP) or len(found.steps) < 2:
        return getattr(network, "feature_names_in_", None)
    try:
        return found[:-1].get_feature_names_out()
    except (AttributeError, ValueError):  # a step that names nothing
        return None


def layer_titles(trained: Trained) -> list[str]:
    """Return how hidden layers and the outputs are called in pictures."""
    hidden = [
        f"hidden layer {number}: {layer.activation.name}"
        for number, layer in enumerate(trained.network.layers, start=1)
    ]
    heads = ", ".join(dict.fromkeys(head.link for head in trained.network.heads))
    return [*hidden, f"output: {heads}"]


def check_layer(layer: Any, n_layers: int, what: str = "layers of weights") -> int:
    """Return the number of a layer, counted from zero.

    Raises
    ------
    ValueError
        If there is none of that number.
    """
    is_number = isinstance(layer, int | np.integer) and not isinstance(layer, bool)
    if not is_number or not -n_layers <= layer < n_layers:
        raise ValueError(
            f"layer must be a whole number from {-n_layers} to {n_layers - 1}, but is "
            f"{shown(layer)}: the network has {n_layers} {what}."
        )
    return int(layer) % n_layers


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return a number that is not too small.

    Raises
    ------
    ValueError
        If it is, or no whole number.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, but is {shown(value)}.")
    return int(value)


def names_for(given: Sequence[Any] | None, known: Any, count: int, name: str) -> list[str] | None:
    """Return names: those given, or those that a fit has seen; None if there are none.

    Raises
    ------
    ValueError
        If their number is another one.
    """
    names = known if given is None else given
    if names is None:
        return None
    if len(names) != count:
        if given is None:
            return None  # embedded, for example
        raise ValueError(f"{name} has {len(names)} names, but {count} are needed.")
    return [str(each) for each in names]
