"""The network as a graph: units, and the weights between them."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skmlp._fitted import shown
from skmlp._layer_transformer import outputs_within
from skmlp.inspection._drawing import (
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    before_network,
    check_count,
    fitted_network,
    input_names,
    keywords,
    layer_titles,
    names_for,
    one_axes,
    pyplot,
    signed_colormap,
    signed_limit,
)
from skmlp.network.specs import NetworkSpec

FloatArray = npt.NDArray[Any]
# Widths and heights in units of the distance between layers and between units.
RADIUS = 0.3
WIDEST_LINE = 3.0


class NetworkDisplay:
    """A network's units as circles, its weights as lines: orange above zero, blue below.

    Made by `from_estimator`. The wider a line, the larger the weight among those of its layer. Of
    wide layers the first and the last units are drawn, and how many there are between. With a
    sample, circles have the color of what units put out, and lines show what flows: weight times
    output.

    Parameters
    ----------
    units : tuple of int
        How many units each layer has, inputs and outputs included.
    coefs : list of ndarray of shape (units, next units)
        Weights between them.
    titles : list of str
        How layers are called, the inputs first.
    values : list of ndarray of shape (units,), or None
        What the units of each layer put out for a sample.
    names : dict of int to list of str
        Names of units, by the number of their layer.
    max_units : int, default=16
        How many are drawn of a layer.

    Attributes
    ----------
    ax_ : matplotlib axes
    figure_ : matplotlib figure
    lines_ : list of matplotlib LineCollection
        One for each layer of weights.
    circles_ : list of matplotlib PathCollection
        One for each layer of units.
    drawn_ : list of ndarray of int
        Numbers of the units that are drawn, of each layer.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from skmlp import MLPClassifier
    >>> from skmlp.inspection import NetworkDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((5, 3), solver="lbfgs", max_iter=500, random_state=0).fit(X, y)
    >>> display = NetworkDisplay.from_estimator(model, X[0])
    >>> [len(units) for units in display.drawn_]
    [4, 5, 3, 3]
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        units: Sequence[int],
        coefs: Sequence[FloatArray],
        titles: Sequence[str],
        values: Sequence[FloatArray] | None = None,
        names: Mapping[int, Sequence[str]] | None = None,
        max_units: int = 16,
    ) -> None:
        self.units, self.coefs, self.titles = tuple(units), coefs, titles
        self.values, self.names, self.max_units = values, names or {}, max_units

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        sample: Any = None,
        *,
        max_units: int = 16,
        feature_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        ax: Any = None,
        line_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw a fitted network.

        Parameters
        ----------
        estimator : MLPClassifier, MLPRegressor or Pipeline that ends with one
            Fitted.
        sample : array-like of shape (n_features,) or (1, n_features), default=None
            One row, as for `predict`, that flows through the network.
        max_units : int, default=16
            How many units are drawn of a layer, at least 2.
        feature_names : sequence of str, default=None
            Names of the inputs; None takes those of the fit.
        output_names : sequence of str, default=None
            Names of the outputs; None takes the classes.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        line_kwargs : dict, default=None
            Keywords of matplotlib's `LineCollection`.

        Returns
        -------
        display : NetworkDisplay

        Raises
        ------
        ValueError
            If an argument is not valid.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        network, trained = fitted_network(estimator)
        max_units = check_count("max_units", max_units, 2)
        units = trained.network.layer_units
        # Of maxout, whose units have several weights for each input, the largest is drawn.
        pieces = trained.network.pieces
        coefs = [largest_of(np.asarray(c), n) for c, n in zip(trained.coefs, pieces, strict=True)]
        values = None
        if sample is not None:
            values = values_of(estimator, one_row(sample), trained.network)
            if len(values[0]) != units[0]:
                values[0] = np.full(units[0], np.nan)  # embedded: not what the sample consists of
        classes = getattr(network, "classes_", None)
        is_one_list = isinstance(classes, np.ndarray) and len(classes) == units[-1]
        known = input_names(estimator, network)
        found = {
            0: names_for(feature_names, known, units[0], "feature_names"),
            len(units) - 1: names_for(
                output_names, classes if is_one_list else None, units[-1], "output_names"
            ),
        }
        display = cls(
            units=units,
            coefs=coefs,
            titles=["inputs", *layer_titles(trained)],
            values=values,
            names={layer: names for layer, names in found.items() if names is not None},
            max_units=max_units,
        )
        return display.plot(ax, line_kwargs=line_kwargs)

    def plot(self, ax: Any = None, *, line_kwargs: Mapping[str, Any] | None = None) -> Self:
        """Draw the network.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        line_kwargs : dict, default=None
            Keywords of matplotlib's `LineCollection`.

        Returns
        -------
        self : NetworkDisplay
        """
        what = f"{type(self).__name__}.plot"
        rows = min(max(self.units), self.max_units + 1)
        size = (max(4.5, 2.1 * len(self.units)), max(2.8, 0.34 * rows + 1.1))
        self.ax_ = one_axes(ax, what, size)
        self.figure_ = self.ax_.figure
        self.drawn_ = [chosen(count, self.max_units) for count in self.units]
        places = [heights(count, self.max_units) for count in self.units]
        self.lines_ = [
            self._draw_weights(layer, places, line_kwargs) for layer in range(len(self.coefs))
        ]
        self.circles_ = [self._draw_units(layer, y) for layer, y in enumerate(places)]
        top = max(float(y.max()) for y in places)
        for layer, title in enumerate(self.titles):
            text = title.replace(": ", "\n")
            self.ax_.text(layer, top + 1.0, text, ha="center", va="bottom", fontsize="small")
        self.ax_.set_xlim(-0.6, len(self.units) - 0.4)
        self.ax_.set_ylim(-top - 0.8, top + 2.6)
        self.ax_.set_axis_off()
        return self

    def _draw_weights(
        self, layer: int, places: Sequence[FloatArray], line_kwargs: Mapping[str, Any] | None
    ) -> Any:
        from matplotlib.collections import LineCollection

        left, right = self.drawn_[layer], self.drawn_[layer + 1]
        flow = self.coefs[layer]
        if self.values is not None and np.isfinite(self.values[layer]).all():
            flow = flow * self.values[layer][:, np.newaxis]
        share = (flow / signed_limit(flow))[np.ix_(left, right)].ravel()
        share = np.nan_to_num(share)
        ends = [
            [(layer, places[layer][i]), (layer + 1, places[layer + 1][j])]
            for i in range(len(left))
            for j in range(len(right))
        ]
        strength = np.abs(share)
        style: dict[str, Any] = {
            "colors": [POSITIVE if each > 0 else NEGATIVE for each in share],
            "linewidths": 0.15 + WIDEST_LINE * strength,
            "alpha": 0.15 + 0.8 * strength,
            "zorder": 1,
        }
        lines = LineCollection(ends, **keywords(line_kwargs, "line_kwargs", **style))
        self.ax_.add_collection(lines)
        return lines

    def _draw_units(self, layer: int, y: FloatArray) -> Any:
        style: dict[str, Any] = {"s": 130, "edgecolors": NEUTRAL, "linewidths": 1.0, "zorder": 2}
        values = None if self.values is None else self.values[layer][self.drawn_[layer]]
        if values is None or not np.isfinite(values).all():
            style["color"] = "white"
        else:
            limit = signed_limit(self.values[layer]) if self.values is not None else 1.0
            style |= {"c": values, "cmap": signed_colormap(), "vmin": -limit, "vmax": limit}
        circles = self.ax_.scatter(np.full(len(y), float(layer)), y, **style)
        left_out = self.units[layer] - len(y)
        if left_out:
            self.ax_.text(
                *(layer, 0.0, f"{left_out} more"),
                **{
                    "ha": "center",
                    "va": "center",
                    "fontsize": "x-small",
                    "zorder": 3,
                    "color": "k",
                },
                bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": NEUTRAL, "lw": 0.6},
            )
        names = self.names.get(layer)
        if names is not None:
            side, where = ("right", -0.14) if layer == 0 else ("left", 0.14)
            for number, height in zip(self.drawn_[layer], y, strict=True):
                name = names[number]
                if values is not None and layer == len(self.units) - 1:
                    name = f"{name}  {self.values[layer][number]:.2f}"  # type: ignore[index]
                self.ax_.text(layer + where, height, name, ha=side, va="center", fontsize="x-small")
        return circles


def chosen(count: int, most: int) -> npt.NDArray[np.intp]:
    """Return the numbers of the units that are drawn: all, or the first and the last ones."""
    if count <= most:
        return np.arange(count)
    first = -(-most // 2)
    return np.concatenate([np.arange(first), np.arange(count - (most - first), count)])


def heights(count: int, most: int) -> FloatArray:
    """Return where these stand: evenly, with a gap where units are left out."""
    if count <= most:
        return (count - 1) / 2.0 - np.arange(count)
    first = -(-most // 2)
    rows = np.arange(most) + np.where(np.arange(most) >= first, 2.0, 0.0)
    return (most + 1) / 2.0 - rows


def largest_of(coef: FloatArray, pieces: int) -> FloatArray:
    """Return one weight for each input and unit, of several the largest by its absolute value."""
    if pieces == 1:
        return coef
    several = coef.reshape(coef.shape[0], pieces, -1)
    largest = np.abs(several).argmax(axis=1)
    return np.take_along_axis(several, largest[:, np.newaxis], axis=1)[:, 0]


def one_row(sample: Any) -> Any:
    """Return a sample as a table of one row.

    Raises
    ------
    ValueError
        If it is none.
    """
    if hasattr(sample, "columns"):
        rows = sample
    else:
        array = np.asarray(sample)
        rows = array[np.newaxis] if array.ndim == 1 else array
    if len(rows.shape) != 2 or rows.shape[0] != 1:
        raise ValueError(
            f"sample must be one row, of shape (n_features,) or (1, n_features), but is "
            f"{shown(sample)}."
        )
    return rows


def values_of(estimator: Any, row: Any, network: NetworkSpec) -> list[FloatArray]:
    """Return what each layer puts out for a row, the inputs first, outputs as users see them."""
    inputs = before_network(estimator, row)
    inputs = inputs.toarray() if hasattr(inputs, "toarray") else np.asarray(inputs, dtype=float)
    hidden = [outputs_within(estimator, row, layer)[0] for layer in range(len(network.layers))]
    answer = getattr(estimator, "predict_proba", None) or estimator.predict
    found = answer(row)
    parts = found if isinstance(found, list) else [found]  # one for each target of classes
    # Of two classes there is a unit for the second one only.
    outputs = [
        np.ravel(np.asarray(part, dtype=float))[-head.units :]
        for part, head in zip(parts, network.heads, strict=True)
    ]
    return [inputs[0], *hidden, np.concatenate(outputs)]
