"""What hidden units put out, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skmlp._layer_transformer import outputs_within
from skmlp.inspection._drawing import (
    POSITIVE,
    before_network,
    check_count,
    color_of,
    count_hidden,
    fitted_network,
    keywords,
    layer_titles,
    pyplot,
    several_axes,
)


class ActivationsDisplay:
    """Histograms of what the units of each hidden layer put out.

    Made by `from_estimator`. Units through which no gradient flows, for any sample, are dead: they
    do not learn any more.

    Parameters
    ----------
    outputs : list of ndarray of shape (n_samples, units)
        Outputs of each hidden layer.
    dead : list of ndarray of bool, shape (units,)
        Which units are dead.
    titles : list of str
        How layers are called.
    bins : int, default=40
        Of each histogram.

    Attributes
    ----------
    axes_ : ndarray of matplotlib axes, shape (n_layers,)
    figure_ : matplotlib figure
    counts_ : list of ndarray of shape (bins,)
        What is drawn of the units that learn.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from skmlp import MLPClassifier
    >>> from skmlp.inspection import ActivationsDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((20, 5), solver="lbfgs", max_iter=500, random_state=0).fit(X, y)
    >>> display = ActivationsDisplay.from_estimator(model, X)
    >>> [outputs.shape for outputs in display.outputs]
    [(150, 20), (150, 5)]
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        outputs: Sequence[npt.NDArray[Any]],
        dead: Sequence[npt.NDArray[np.bool_]],
        titles: Sequence[str],
        bins: int = 40,
    ) -> None:
        self.outputs, self.dead, self.titles, self.bins = outputs, dead, titles, bins

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        bins: int = 40,
        ax: Any = None,
        hist_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the outputs of a network's hidden units for some samples.

        Parameters
        ----------
        estimator : MLPClassifier, MLPRegressor or Pipeline that ends with one
            Fitted, with hidden layers.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            As for `predict`.
        bins : int, default=40
            Of each histogram.
        ax : matplotlib axes or array of axes, default=None
            Where to draw; axes are divided. None makes a figure.
        hist_kwargs : dict, default=None
            Keywords of matplotlib's `hist`.

        Returns
        -------
        display : ActivationsDisplay

        Raises
        ------
        ValueError
            If an argument is not valid, or there is no hidden layer.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        network, trained = fitted_network(estimator)
        bins = check_count("bins", bins)
        n_layers = count_hidden(trained)
        outputs = [outputs_within(estimator, X, layer) for layer in range(n_layers)]
        dead = network.dead_units(before_network(estimator, X))
        titles = layer_titles(trained)[:n_layers]
        display = cls(outputs=outputs, dead=dead, titles=titles, bins=bins)
        return display.plot(ax, hist_kwargs=hist_kwargs)

    def plot(self, ax: Any = None, *, hist_kwargs: Mapping[str, Any] | None = None) -> Self:
        """Draw the histograms.

        Parameters
        ----------
        ax : matplotlib axes or array of axes, default=None
            Where to draw; None makes a figure.
        hist_kwargs : dict, default=None
            Keywords of matplotlib's `hist`.

        Returns
        -------
        self : ActivationsDisplay
        """
        count = len(self.outputs)
        what, size = f"{type(self).__name__}.plot", (3.1 * count + 0.4, 2.9)
        self.axes_ = several_axes(ax, (1, count), what, size)[0]
        self.figure_ = self.axes_[0].figure
        self.counts_: list[npt.NDArray[Any]] = []
        style = keywords(hist_kwargs, "hist_kwargs", stacked=True)
        for number, axes in enumerate(self.axes_):
            outputs, dead = self.outputs[number], self.dead[number]
            parts = [outputs[:, ~dead].ravel(), outputs[:, dead].ravel()]
            parts = [part[np.isfinite(part)].astype(np.float64) for part in parts]
            labels = ["units that learn", "dead units"]
            colors = [color_of(0), POSITIVE]
            shown = 2 if dead.any() else 1
            edges = np.histogram_bin_edges(np.concatenate(parts), self.bins)
            counts, _, _ = axes.hist(
                parts[:shown],
                **{"bins": edges, "color": colors[:shown], "label": labels[:shown], **style},
            )
            self.counts_.append(np.atleast_2d(counts)[0])
            axes.set_title(
                f"{self.titles[number]}\n{int(dead.sum())} of {len(dead)} units dead",
                fontsize="medium",
            )
            axes.set(xlabel="output", ylabel="samples x units" if number == 0 else "")
            if shown == 2:
                axes.legend(fontsize="small")
        return self
