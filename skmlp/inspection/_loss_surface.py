"""The loss around a network, over two directions in the space of its weights."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from skmlp._base import BaseMLP
from skmlp._engine import make_engine
from skmlp._fitted import shown, trained_network
from skmlp._held_out import Targets
from skmlp.inspection._drawing import (
    POSITIVE,
    before_network,
    check_count,
    fitted_network,
    keywords,
    one_axes,
    pyplot,
)
from skmlp.network.parameters import layout_of
from skmlp.network.parts import Trained

FloatArray = npt.NDArray[np.float64]
CONTOUR, SURFACE = "contour", "surface"


class LossSurfaceDisplay:
    """The loss of a network whose weights move away in two directions.

    Made by `from_estimator`. Directions are drawn at random and given, unit by unit, the length of
    the network's own weights [1]_, so that surfaces of different networks can be compared.
    Intercepts stay what they are. Where a way is given, directions are those in which it goes
    furthest [2]_.

    Parameters
    ----------
    first, second : ndarray of shape (resolution,)
        How far the weights move.
    losses : ndarray of shape (resolution, resolution)
        The mean loss of all samples, without penalty; rows are for `second`.
    path : ndarray of shape (n_points, 2) or None, default=None
        A way through the plane, that of a fit for example.

    Attributes
    ----------
    ax_ : matplotlib axes
    figure_ : matplotlib figure

    References
    ----------
    .. [1] Li, Xu, Taylor, Studer & Goldstein (2018), "Visualizing the loss landscape of neural
       nets", NeurIPS, arXiv:1712.09913, section 4.
    .. [2] Lorch (2016), "Visualizing deep network training trajectories with PCA", ICML workshop.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import make_moons
    >>> from skmlp import MLPClassifier
    >>> from skmlp.inspection import LossSurfaceDisplay
    >>> X, y = make_moons(100, noise=0.1, random_state=0)
    >>> model = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    >>> display = LossSurfaceDisplay.from_estimator(model, X, y, resolution=7, random_state=0)
    >>> display.losses.shape, bool(display.losses[3, 3] == display.losses.min())
    ((7, 7), True)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        first: FloatArray,
        second: FloatArray,
        losses: FloatArray,
        path: FloatArray | None = None,
    ) -> None:
        self.first, self.second, self.losses, self.path = first, second, losses, path

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        span: float = 1.0,
        resolution: int = 25,
        path: Sequence[Any] | None = None,
        random_state: Any = None,
        kind: str = CONTOUR,
        ax: Any = None,
    ) -> Self:
        """Draw the loss around a fitted network.

        Parameters
        ----------
        estimator : MLPClassifier, MLPRegressor or Pipeline that ends with one
            Fitted. It is not changed.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        span : float, default=1.0
            How far the weights move in each direction, both ways; 1 is as far as they are long.
            With a path, how far beyond it, in parts of its length.
        resolution : int, default=25
            Points in each direction; the loss is computed for each pair.
        path : sequence of fitted estimators, default=None
            Networks on the way to this one, at least two: what ``epoch.model()`` has given to a
            callback, for example.
        random_state : int, RandomState instance or None, default=None
            What directions are drawn with.
        kind : {'contour', 'surface'}, default='contour'
            Lines of equal loss from above, or the surface in three dimensions.
        ax : matplotlib axes, default=None
            Where to draw; of a projection '3d' for a surface. None makes a figure.

        Returns
        -------
        display : LossSurfaceDisplay

        Raises
        ------
        ValueError
            If an argument is not valid.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        network, trained = fitted_network(estimator)
        check_kind(kind)
        resolution = check_count("resolution", resolution, 2)
        if not isinstance(span, int | float | np.number) or not 0.0 < span < np.inf:
            raise ValueError(f"span must be a positive number, but is {shown(span)}.")
        vector = flat(trained)
        steps = np.linspace(-span, span, resolution)
        first = second = steps
        visited = None
        if path is None:
            directions = drawn_directions(trained, check_random_state(random_state))
        else:
            points = np.array([point(each, trained) for each in path]) - vector
            directions = ways_of(points)
            visited = points @ directions.T
            first, second = (around(visited[:, axis], span, resolution) for axis in (0, 1))
        loss = loss_over(network, trained, before_network(estimator, X), y)
        losses = np.array(
            [[loss(vector + a * directions[0] + b * directions[1]) for a in first] for b in second]
        )
        display = cls(first=first, second=second, losses=losses, path=visited)
        return display.plot(ax, kind=kind)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = CONTOUR,
        contour_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the surface.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        kind : {'contour', 'surface'}, default='contour'
            Lines of equal loss from above, or the surface in three dimensions.
        contour_kwargs : dict, default=None
            Keywords of matplotlib's `contourf`, or `plot_surface`.

        Returns
        -------
        self : LossSurfaceDisplay
        """
        check_kind(kind)
        what = f"{type(self).__name__}.plot"
        # Of what overflows nothing is drawn.
        losses = np.ma.masked_invalid(self.losses)
        if kind == SURFACE:
            if ax is None:
                figure = pyplot(what).figure(layout="constrained")
                ax = figure.add_subplot(projection="3d")
            elif not hasattr(ax, "plot_surface"):
                raise ValueError(
                    "ax must have three dimensions for kind='surface'. Make it by "
                    "plt.subplots(subplot_kw={'projection': '3d'})."
                )
            style = keywords(contour_kwargs, "contour_kwargs", cmap="viridis", linewidth=0.0)
            ax.plot_surface(*np.meshgrid(self.first, self.second), losses, **style)
            ax.set_zlabel("loss")
        else:
            ax = one_axes(ax, what)
            style = keywords(contour_kwargs, "contour_kwargs", levels=20, cmap="viridis")
            filled = ax.contourf(self.first, self.second, losses, **style)
            ax.figure.colorbar(filled, ax=ax, label="loss")
            if self.path is None:
                ax.plot(0.0, 0.0, "o", color=POSITIVE, markeredgecolor="white")
            else:
                ax.plot(*self.path.T, "o-", color=POSITIVE, markersize=3, linewidth=1)
                ax.plot(*self.path[-1], "o", color=POSITIVE, markeredgecolor="white")
        ax.set(xlabel="first direction", ylabel="second direction")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def check_kind(kind: Any) -> None:
    if kind not in (CONTOUR, SURFACE):
        raise ValueError(f"kind must be {CONTOUR!r} or {SURFACE!r}, but is {shown(kind)}.")


def flat(trained: Trained) -> FloatArray:
    """Return all parameters in one vector, in double precision."""
    layout = layout_of(trained.network)
    packed = layout.pack(trained.coefs, trained.intercepts, "float64", trained.extras)
    return packed.astype(np.float64, copy=False)


def drawn_directions(trained: Trained, random_state: np.random.RandomState) -> FloatArray:
    """Return two random directions, as long as the network's weights, unit by unit."""
    layout = layout_of(trained.network)
    directions = np.zeros((2, layout.size))
    for direction in directions:
        coefs, _ = layout.views(direction)
        for drawn, own in zip(coefs, trained.coefs, strict=True):
            drawn[...] = random_state.standard_normal(drawn.shape)
            lengths = np.linalg.norm(drawn, axis=0)
            drawn *= np.linalg.norm(own.astype(np.float64), axis=0) / np.where(lengths, lengths, 1)
    return directions


def point(estimator: Any, end: Trained) -> FloatArray:
    """Return the parameters of a network on the way.

    Raises
    ------
    ValueError
        If it is no network like the one where the way ends.
    """
    if not isinstance(estimator, BaseMLP):
        raise ValueError(
            f"path must have fitted networks of skmlp, but has {shown(estimator)}. Give what "
            "epoch.model() returns to a callback."
        )
    trained = trained_network(estimator)
    if layout_of(trained.network).size != layout_of(end.network).size:
        raise ValueError("path has a network of other layers than the one whose loss is drawn.")
    return flat(trained)


def ways_of(points: FloatArray) -> FloatArray:
    """Return the two orthonormal directions in which points lie furthest apart.

    Raises
    ------
    ValueError
        If there are too few.
    """
    if len(points) < 2 or not np.ptp(points, axis=0).any():
        raise ValueError("path has fewer than two different networks. Give some on the way.")
    _, _, directions = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    found: FloatArray = directions[:2]
    return found


def around(places: FloatArray, span: float, resolution: int) -> FloatArray:
    """Return points in one direction around a way, the network itself being at zero."""
    low, high = min(0.0, places.min()), max(0.0, places.max())
    margin = 0.5 * span * ((high - low) or 1.0)
    return np.linspace(low - margin, high + margin, resolution)


def loss_over(network: BaseMLP, trained: Trained, X: Any, y: Any) -> Any:
    """Return a function that computes the mean loss of samples for a vector of parameters."""
    spec = trained.network
    matrix = np.empty((0, trained.network.n_outputs))
    targets = Targets(y, matrix, spec.heads, None, matrix)
    X, _, matrix, _ = network._prepare_validation(X, y, targets)
    engine = make_engine("cpu", network.n_jobs, None)
    data = engine.load(X, matrix, None, spec, "float64")

    def loss(parameters: FloatArray) -> float:
        with np.errstate(all="ignore"):
            return float(engine.mean_loss(spec, parameters, data, None))

    return loss
