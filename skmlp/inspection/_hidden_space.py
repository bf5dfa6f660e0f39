"""How layers bend the space that data lie in."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.multiclass import type_of_target

from skmlp._fitted import shown
from skmlp._layer_transformer import outputs_within
from skmlp.inspection._drawing import (
    NEUTRAL,
    check_count,
    check_layer,
    color_of,
    count_hidden,
    fitted_network,
    keywords,
    layer_titles,
    pyplot,
    several_axes,
)

FloatArray = npt.NDArray[np.float64]
# Of each grid line: so many that bends look smooth.
POINTS_OF_LINE = 80
MARGIN = 0.1


class Panel(NamedTuple):
    """What is drawn of one layer.

    Attributes
    ----------
    title : str
    points : ndarray of shape (n_samples, 2)
    lines : list of ndarray of shape (n_points, 2)
        The grid.
    labels : tuple of str
        What the two directions are.
    """

    title: str
    points: FloatArray
    lines: list[FloatArray]
    labels: tuple[str, str]


class HiddenSpaceDisplay:
    """The data as they come, and as each hidden layer sees them.

    Made by `from_estimator`. A layer of two units is drawn as it is; of a wider one its two
    principal components, of a single unit its output alone. The grid of a plane of two features
    is bent along, which shows what a layer does: a straight line behind the last one is the border
    between classes.

    Parameters
    ----------
    panels : list of Panel
        The data, and each layer: ``title``, ``points``, ``lines`` and ``labels``.
    target : ndarray of shape (n_samples,) or None
        What points are colored by: classes if they are of whole numbers or texts, else numbers.

    Attributes
    ----------
    axes_ : ndarray of matplotlib axes, shape (n_panels,)
    figure_ : matplotlib figure

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import make_moons
    >>> from skmlp import MLPClassifier
    >>> from skmlp.inspection import HiddenSpaceDisplay
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> model = MLPClassifier((8, 2), activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> display = HiddenSpaceDisplay.from_estimator(model, X, y)
    >>> [panel.title for panel in display.panels]
    ['data', 'hidden layer 1: tanh', 'hidden layer 2: tanh']
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, panels: Sequence[Panel], target: npt.NDArray[Any] | None = None) -> None:
        self.panels, self.target = panels, target

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        layers: Sequence[int] | None = None,
        grid: int = 12,
        ax: Any = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw samples as the layers of a network see them.

        Parameters
        ----------
        estimator : MLPClassifier, MLPRegressor or Pipeline that ends with one
            Fitted, with hidden layers.
        X : array-like of shape (n_samples, n_features)
            As for `predict`.
        y : array-like of shape (n_samples,), default=None
            What the points are colored by.
        layers : sequence of int, default=None
            Numbers of hidden layers, from zero; None means all.
        grid : int, default=12
            Lines in each direction, where X has two features.
        ax : matplotlib axes or array of axes, default=None
            Where to draw; axes are divided. None makes a figure.
        scatter_kwargs : dict, default=None
            Keywords of matplotlib's `scatter`.

        Returns
        -------
        display : HiddenSpaceDisplay

        Raises
        ------
        ValueError
            If an argument is not valid, or there is no hidden layer.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        _, trained = fitted_network(estimator)
        grid = check_count("grid", grid)
        n_layers = count_hidden(trained)
        numbers = list(range(n_layers))
        if layers is not None:
            numbers = [check_layer(number, n_layers, "hidden layers") for number in layers]
            if not numbers:
                raise ValueError("layers is empty. Give numbers of hidden layers, or None for all.")
        data = np.asarray(X, dtype=np.float64)
        if data.ndim != 2 or len(data) == 0:
            raise ValueError(f"X must have rows and columns, but is {shown(data)}.")
        target = None if y is None else np.asarray(y)
        if target is not None and target.shape != (len(data),):
            raise ValueError(
                f"y has shape {target.shape}, but X has {len(data)} rows. Pass one each."
            )
        lines = grid_lines(data, grid) if data.shape[1] == 2 else []
        as_given = [line if data is X else like(line, X) for line in lines]
        names = getattr(estimator, "feature_names_in_", ["feature 0", "feature 1"])
        panels = [panel("data", data, lines, (str(names[0]), str(names[1 % len(names)])))]
        titles = layer_titles(trained)
        for number in numbers:
            outputs = outputs_within(estimator, X, number).astype(np.float64)
            bent = [outputs_within(estimator, line, number).astype(np.float64) for line in as_given]
            panels.append(panel(titles[number], outputs, bent, ("unit 0", "unit 1")))
        return cls(panels=panels, target=target).plot(ax, scatter_kwargs=scatter_kwargs)

    def plot(self, ax: Any = None, *, scatter_kwargs: Mapping[str, Any] | None = None) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib axes or array of axes, default=None
            Where to draw; None makes a figure.
        scatter_kwargs : dict, default=None
            Keywords of matplotlib's `scatter`.

        Returns
        -------
        self : HiddenSpaceDisplay
        """
        count = len(self.panels)
        what, size = f"{type(self).__name__}.plot", (3.3 * count, 3.4)
        self.axes_ = several_axes(ax, (1, count), what, size)[0]
        self.figure_ = self.axes_[0].figure
        style: dict[str, Any] = {"s": 14, "edgecolors": "white", "linewidths": 0.4, "zorder": 3}
        for axes, (title, points, lines, labels) in zip(self.axes_, self.panels, strict=True):
            for line in lines:
                axes.plot(*line.T, color=NEUTRAL, linewidth=0.6, alpha=0.7, zorder=1)
            self._scatter(axes, points, keywords(scatter_kwargs, "scatter_kwargs", **style))
            axes.set_title(title, fontsize="medium")
            axes.set(xlabel=labels[0], ylabel=labels[1])
        if self.target is not None and is_categorical(self.target):
            # Beside the last panel, where it hides no points.
            place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
            self.axes_[-1].legend(fontsize="small", frameon=False, **place)
        return self

    def _scatter(self, axes: Any, points: FloatArray, style: dict[str, Any]) -> None:
        if self.target is None:
            axes.scatter(*points.T, **{"color": color_of(0), **style})
        elif not is_categorical(self.target):
            axes.scatter(*points.T, **{"c": self.target, "cmap": "viridis", **style})
        else:
            for number, label in enumerate(np.unique(self.target)):
                some = points[self.target == label]
                axes.scatter(*some.T, **{"color": color_of(number), "label": str(label), **style})


def is_categorical(target: npt.NDArray[Any]) -> bool:
    return type_of_target(target) in ("binary", "multiclass") and len(np.unique(target)) <= 20


def like(line: FloatArray, X: Any) -> Any:
    """Return points as X is: in a data frame, if it is one."""
    if not hasattr(X, "columns"):
        return line
    return type(X)({name: column for name, column in zip(X.columns, line.T, strict=True)})


def grid_lines(data: FloatArray, count: int) -> list[FloatArray]:
    """Return lines in both directions over the plane that points lie in."""
    low, high = data.min(axis=0), data.max(axis=0)
    margin = MARGIN * np.where(high > low, high - low, 1.0)
    low, high = low - margin, high + margin
    way = np.linspace(0.0, 1.0, POINTS_OF_LINE)
    lines = []
    for direction in (0, 1):
        for place in np.linspace(low[1 - direction], high[1 - direction], count):
            line = np.full((POINTS_OF_LINE, 2), place)
            line[:, direction] = low[direction] + way * (high[direction] - low[direction])
            lines.append(line)
    return lines


def panel(
    title: str, points: FloatArray, lines: list[FloatArray], labels: tuple[str, str]
) -> Panel:
    """Return points and lines in two dimensions."""
    width = points.shape[1]
    if width == 2:
        return Panel(title, points, lines, labels)
    if width == 1:
        flat = [np.column_stack([each, np.zeros(len(each))]) for each in (points, *lines)]
        return Panel(title, flat[0], flat[1:], (labels[0], ""))
    center = points.mean(axis=0)
    _, _, directions = np.linalg.svd(points - center, full_matrices=False)
    if len(directions) < 2:  # a single sample
        directions = np.eye(2, width)
    # Signs are arbitrary: the largest entry of each direction is positive.
    largest = np.abs(directions[:2]).argmax(axis=1)
    directions = directions[:2] * np.sign(directions[[0, 1], largest])[:, np.newaxis]
    flat = [(each - center) @ directions.T for each in (points, *lines)]
    return Panel(title, flat[0], flat[1:], ("1st principal component", "2nd principal component"))
