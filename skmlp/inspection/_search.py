"""What a search over networks has found."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skmlp._fitted import shown
from skmlp.inspection._drawing import color_of, keywords, one_axes, pyplot

# Numbers further apart than that are drawn on a logarithmic scale.
FAR_APART = 50.0
# Between candidates of one value that differ in color, in parts of the distance of two values.
SHIFT = 0.12


class SearchDisplay:
    """Scores of all candidates of a search over one of the parameters.

    Made by `from_search`. A bar is the standard deviation over the splits; the best candidate has a
    ring.

    Parameters
    ----------
    values : list
        The parameter, of each candidate.
    scores, deviations : ndarray of shape (n_candidates,)
        Means over splits, and standard deviations.
    x : str
        How the parameter is called.
    metric : str
        How the score is called.
    hues : list or None, default=None
        Another parameter, by which candidates have different colors.
    hue : str or None, default=None
        How it is called.

    Attributes
    ----------
    ax_ : matplotlib axes
    figure_ : matplotlib figure
    containers_ : list of matplotlib ErrorbarContainer
        One for each value of the other parameter.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import make_moons
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skmlp import MLPClassifier
    >>> from skmlp.inspection import SearchDisplay
    >>> grid = {"alpha": [1e-4, 1e-2, 1.0], "activation": ["tanh", "relu"]}
    >>> network = MLPClassifier((5,), solver="lbfgs", max_iter=300, random_state=0)
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> search = GridSearchCV(network, grid, cv=3).fit(X, y)
    >>> display = SearchDisplay.from_search(search, hue="activation")
    >>> display.x, len(display.containers_)
    ('alpha', 2)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        values: list[Any],
        scores: npt.NDArray[np.float64],
        deviations: npt.NDArray[np.float64],
        x: str,
        metric: str = "score",
        hues: list[Any] | None = None,
        hue: str | None = None,
    ) -> None:
        self.values, self.scores, self.deviations = values, scores, deviations
        self.x, self.metric, self.hues, self.hue = x, metric, hues, hue

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        x: str | None = None,
        hue: str | None = None,
        metric: str | None = None,
        ax: Any = None,
        errorbar_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the scores of a search.

        Parameters
        ----------
        search : GridSearchCV, RandomizedSearchCV or another with `cv_results_`
            Fitted.
        x : str, default=None
            The parameter to draw scores over; the end of its name will do, as "alpha" for
            "mlpclassifier__alpha". None takes the one with the most values.
        hue : str, default=None
            Another one that colors stand for.
        metric : str, default=None
            Which of several scores; None takes the only one, or that of `refit`.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        errorbar_kwargs : dict, default=None
            Keywords of matplotlib's `errorbar`.

        Returns
        -------
        display : SearchDisplay

        Raises
        ------
        ValueError
            If an argument is not valid.
        """
        pyplot(f"{cls.__name__}.from_search")
        results = getattr(search, "cv_results_", None)
        if results is None:
            raise ValueError(
                f"search has no cv_results_: it is {shown(search)}. Pass a fitted search, for "
                "example a GridSearchCV."
            )
        candidates = results["params"]
        names = sorted({name for candidate in candidates for name in candidate})
        counts = {n: len({repr(c[n]) for c in candidates if n in c}) for n in names}
        over = max(names, key=lambda name: counts[name]) if x is None else named(x, names, "x")
        other = None if hue is None else named(hue, names, "hue")
        metric = metric_of(search, results, metric)
        having = [number for number, each in enumerate(candidates) if over in each]
        display = cls(
            values=[candidates[number][over] for number in having],
            scores=np.asarray(results[f"mean_test_{metric}"], dtype=float)[having],
            deviations=np.asarray(results[f"std_test_{metric}"], dtype=float)[having],
            x=over,
            metric=metric,
            hues=None if other is None else [candidates[n].get(other) for n in having],
            hue=other,
        )
        return display.plot(ax, errorbar_kwargs=errorbar_kwargs)

    def plot(self, ax: Any = None, *, errorbar_kwargs: Mapping[str, Any] | None = None) -> Self:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        errorbar_kwargs : dict, default=None
            Keywords of matplotlib's `errorbar`.

        Returns
        -------
        self : SearchDisplay
        """
        self.ax_ = one_axes(ax, f"{type(self).__name__}.plot")
        self.figure_ = self.ax_.figure
        places, labels = places_of(self.values)
        hues = [""] * len(self.values) if self.hues is None else list(map(written, self.hues))
        style = keywords(
            errorbar_kwargs,
            "errorbar_kwargs",
            **{"fmt": "o", "markersize": 5, "capsize": 2, "elinewidth": 0.8, "alpha": 0.85},
        )
        kinds = list(dict.fromkeys(hues))
        if labels is not None:  # side by side
            shifts = SHIFT * (np.arange(len(kinds)) - (len(kinds) - 1) / 2.0)
            places = places + shifts[[kinds.index(each) for each in hues]]
        self.containers_ = []
        for number, each in enumerate(kinds):
            some = [place for place, value in enumerate(hues) if value == each]
            drawn = self.ax_.errorbar(
                places[some],
                self.scores[some],
                self.deviations[some],
                **{"color": color_of(number), "label": each, **style},
            )
            self.containers_.append(drawn)
        if np.isfinite(self.scores).any():
            best = int(np.nanargmax(self.scores))
            self.ax_.plot(
                places[best],
                self.scores[best],
                *("o",),
                **{"markersize": 12, "markerfacecolor": "none", "markeredgecolor": "0.5"},
            )
        if labels is not None:
            self.ax_.set_xticks(range(len(labels)), labels)
            if max(map(len, labels)) > 8:
                self.ax_.tick_params(axis="x", labelrotation=30)
        elif is_far_apart(places):
            self.ax_.set_xscale("log")
        short = self.x.rpartition("__")[2]
        name = "score" if self.metric == "score" else self.metric.replace("_", " ")
        self.ax_.set(xlabel=short, ylabel=f"{name} (mean over splits)")
        if self.hue is not None:
            self.ax_.legend(title=self.hue.rpartition("__")[2], fontsize="small")
        return self


def named(given: str, names: list[str], argument: str) -> str:
    """Return the parameter of a search that a name, or its end, stands for.

    Raises
    ------
    ValueError
        If there is none, or there are several.
    """
    if given in names:
        return given
    found = [name for name in names if name.endswith(f"__{given}")]
    if len(found) != 1:
        raise ValueError(f"{argument}={given!r} is none of the parameters searched over: {names}.")
    return found[0]


def metric_of(search: Any, results: Mapping[str, Any], metric: str | None) -> str:
    """Return which score is drawn.

    Raises
    ------
    ValueError
        If there is no such score, or several and none was chosen.
    """
    prefix = "mean_test_"
    known = [name.removeprefix(prefix) for name in results if name.startswith(prefix)]
    if metric is None and len(known) == 1:
        return known[0]
    if metric is None and isinstance(getattr(search, "refit", None), str):
        metric = search.refit
    if metric not in known:
        raise ValueError(f"metric={metric!r} is none of the scores of the search: {known}.")
    return metric


def places_of(values: list[Any]) -> tuple[npt.NDArray[np.float64], list[str] | None]:
    """Return where values stand, and their labels if they are not numbers on a scale."""
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values):
        numbers = np.array(values, dtype=float)
        if np.isfinite(numbers).all():
            return numbers, None
    texts = list(map(written, values))
    labels = list(dict.fromkeys(texts))
    return np.array([labels.index(text) for text in texts], dtype=float), labels


def is_far_apart(numbers: npt.NDArray[np.float64]) -> bool:
    return bool(numbers.min() > 0.0 and numbers.max() / numbers.min() > FAR_APART)


def written(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
