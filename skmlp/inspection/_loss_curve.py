"""How fits went, epoch by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmlp._base import BaseMLP
from skmlp._fitted import is_ensemble, shown
from skmlp._layer_transformer import unwrapped
from skmlp._tabular_base import BaseTabularMLP
from skmlp.inspection._drawing import color_of, keywords, one_axes, pyplot

VALIDATION = "validation"
USUAL = ("loss", VALIDATION)
# Columns that are drawn on the scale of the loss.
LOSSES = {"loss": "training loss", "penalty": "penalty", "validation_loss": "validation loss"}
STYLES = ("-", "--", ":", "-.")
Columns = dict[str, list[float]]


class LossCurveDisplay:
    """Curves of losses and scores over the epochs of one or several fits.

    Made by `from_estimator` or `from_estimators`.

    Parameters
    ----------
    curves : dict of str to dict of str to list of float
        For each fit, by its name, its columns: as `history_`.
    what : tuple of str
        Which of them are drawn.
    x : {'epoch', 'seconds'}, default='epoch'
        What they are drawn over; seconds are recorded where `monitor` asks for them.
    log : bool, default=False
        Whether the scale of losses is logarithmic.

    Attributes
    ----------
    ax_ : matplotlib axes
        With the losses.
    right_ax_ : matplotlib axes or None
        With what has another scale, if anything has.
    figure_ : matplotlib figure
    lines_ : list of matplotlib lines
        In the order of the fits, and of `what`.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores over the number of samples.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from skmlp import MLPClassifier
    >>> from skmlp.inspection import LossCurveDisplay
    >>> model = MLPClassifier(max_iter=300, early_stopping=True, random_state=0)
    >>> display = LossCurveDisplay.from_estimator(model.fit(*load_iris(return_X_y=True)))
    >>> len(display.lines_)
    2
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        curves: Mapping[str, Columns],
        what: Sequence[str],
        x: str = "epoch",
        log: bool = False,
    ) -> None:
        self.curves, self.what, self.x, self.log = curves, tuple(what), x, log

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        what: str | Sequence[str] = USUAL,
        x: str = "epoch",
        log: bool = False,
        name: str | None = None,
        ax: Any = None,
        curve_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the curves of one fit.

        Parameters
        ----------
        estimator : fitted estimator
            An MLPClassifier or MLPRegressor, also scikit-learn's, a pipeline that ends with one, or
            a TabularMLPClassifier or TabularMLPRegressor. Of an ensemble each network has a curve.
        what : str or sequence of str, default=('loss', 'validation')
            Columns of `history_`: 'loss', 'penalty', 'validation_loss', 'validation_score',
            'learning_rate', or what `monitor` has asked for. 'validation' is the score or loss that
            was watched, and is left out where nothing was.
        x : {'epoch', 'seconds'}, default='epoch'
            What they are drawn over; seconds are recorded where `monitor` asks for them.
        log : bool, default=False
            Whether the scale of losses is logarithmic.
        name : str, default=None
            What the fit is called in the legend.
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        curve_kwargs : dict, default=None
            Keywords of matplotlib's `plot`, for all lines.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            If an argument is not valid, or the fit has no such column.
        """
        name = type(unwrapped(estimator)).__name__ if name is None else name
        return cls.from_estimators(
            {name: estimator}, what=what, x=x, log=log, ax=ax, curve_kwargs=curve_kwargs
        )

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any] | Sequence[Any],
        *,
        what: str | Sequence[str] = USUAL,
        x: str = "epoch",
        log: bool = False,
        ax: Any = None,
        curve_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the curves of several fits in one picture.

        Parameters
        ----------
        estimators : dict of str to estimator, or sequence of estimators
            As in `from_estimator`, by their names in the legend.
        what, x, log, ax, curve_kwargs : object
            As in `from_estimator`. What only some fits have is drawn for these.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            If an argument is not valid, or no fit has such a column.
        """
        pyplot(f"{cls.__name__}.from_estimators")
        if not isinstance(estimators, Mapping):
            estimators = {f"fit {number}": each for number, each in enumerate(estimators)}
        if x not in ("epoch", "seconds"):
            raise ValueError(f"x must be 'epoch' or 'seconds', but is {shown(x)}.")
        curves: dict[str, Columns] = {}
        for name, estimator in estimators.items():
            curves |= columns_of(str(name), estimator)
        if x == "seconds" and not all("seconds" in columns for columns in curves.values()):
            raise ValueError("x='seconds', but a fit has not recorded seconds. Use x='epoch'.")
        asked = (what,) if isinstance(what, str) else tuple(what)
        known = {column for each in curves.values() for column in each} - {"epoch", "seconds"}
        if asked == USUAL:  # of which a fit may have one only
            asked = tuple(name for name in USUAL if name == VALIDATION or name in known)
        columns = list(dict.fromkeys(c for name in asked for c in meant_by(name, known)))
        if not columns:
            raise ValueError(
                f"what={what!r}, but the fits have nothing of it: only {sorted(known)}."
            )
        display = cls(curves=curves, what=columns, x=x, log=log)
        return display.plot(ax, curve_kwargs=curve_kwargs)

    def plot(self, ax: Any = None, *, curve_kwargs: Mapping[str, Any] | None = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to draw; None makes a figure.
        curve_kwargs : dict, default=None
            Keywords of matplotlib's `plot`, for all lines.

        Returns
        -------
        self : LossCurveDisplay
        """
        left = [column for column in self.what if column in LOSSES] or [self.what[0]]
        right = [column for column in self.what if column not in left]
        if len(right) > 1:
            raise ValueError(
                f"what has {right} beside {left}, but there are two scales. Draw them in two "
                "pictures."
            )
        given = keywords(curve_kwargs, "curve_kwargs")
        self.ax_ = one_axes(ax, f"{type(self).__name__}.plot")
        self.figure_ = self.ax_.figure
        self.right_ax_ = self.ax_.twinx() if right else None
        self.lines_: list[Any] = []
        is_single = len(self.curves) == 1
        for number, (name, columns) in enumerate(self.curves.items()):
            for place, column in enumerate(self.what):
                if column not in columns:
                    continue
                axes: Any = self.right_ax_ if column in right else self.ax_
                style = {
                    "color": color_of(place if is_single else number),
                    "linestyle": "-" if is_single else STYLES[place % len(STYLES)],
                    "label": words(column) if is_single else labelled(name, column, self.what),
                }
                self.lines_ += axes.plot(columns[self.x], columns[column], **{**style, **given})
        self.ax_.set_xlabel("epoch" if self.x == "epoch" else "seconds")
        self.ax_.set_ylabel(" and ".join(map(words, left)) if len(left) < 2 else "loss")
        if self.log:
            self.ax_.set_yscale("log")
        if self.right_ax_ is not None:
            self.right_ax_.set_ylabel(words(right[0]))
        if len(self.lines_) > 1:
            # Above the axes, where it hides no line.
            above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
            self.ax_.legend(handles=self.lines_, ncols=2, frameon=False, **above)
        return self


def labelled(name: str, column: str, what: Sequence[str]) -> str:
    return name if len(what) == 1 else f"{name}: {words(column)}"


def words(column: str) -> str:
    """Return how a column is called in a picture."""
    return LOSSES.get(column, column.replace("_", " "))


def meant_by(name: Any, known: set[str]) -> list[str]:
    """Return the columns that a name stands for, of those that any fit has.

    Raises
    ------
    ValueError
        If it is no name, or no fit has it.
    """
    if name == VALIDATION:
        watched = ["validation_score"] if "validation_score" in known else ["validation_loss"]
        return [column for column in watched if column in known]
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"what has {shown(name)}, but the fits have only {sorted(known)}. Use one of these, or "
            f"{VALIDATION!r}."
        )
    return [name]


def columns_of(name: str, estimator: Any) -> dict[str, Columns]:
    """Return the columns of a fit, or of each network of an ensemble, by name.

    Raises
    ------
    ValueError
        If it is none that keeps a record.
    """
    from sklearn.pipeline import Pipeline

    found = unwrapped(estimator)
    while isinstance(found, Pipeline):
        found = unwrapped(found.steps[-1][1])
    if isinstance(found, BaseTabularMLP):
        check_is_fitted(found)
        rounds: Any = found.validation_report_["rounds"]
        numbers = list(range(1, len(rounds["loss"]) + 1))
        others = {"validation_loss": list(rounds["loss"]), "seconds": list(rounds["seconds"])}
        return {name: {"epoch": numbers, **others}}
    if isinstance(found, BaseMLP) and is_ensemble(found):
        pairs = [columns_of(f"{name} {n}", one) for n, one in enumerate(found.estimators_)]
        return {key: columns for pair in pairs for key, columns in pair.items()}
    if isinstance(found, BaseMLP):
        columns = {key: list(values) for key, values in found.history_.items()}
        columns.setdefault("epoch", list(range(1, len(columns["loss"]) + 1)))
        return {name: {key: values for key, values in columns.items() if has_numbers(values)}}
    if getattr(found, "loss_curve_", None) is not None:  # scikit-learn's
        losses = list(found.loss_curve_)
        columns = {"epoch": list(range(1, len(losses) + 1)), "loss": losses}
        if scores := getattr(found, "validation_scores_", None):
            columns["validation_score"] = list(scores)
        return {name: columns}
    raise ValueError(
        f"{name!r} is {shown(estimator)}, which keeps no record of epochs. Pass a fitted "
        "MLPClassifier or MLPRegressor, or a pipeline that ends with one."
    )


def has_numbers(values: list[Any]) -> bool:
    """Whether a column has any: those of what was not watched are empty."""
    return any(value is not None and not np.isnan(value) for value in values)
