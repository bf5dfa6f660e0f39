"""What layers have learned, as pictures of their weights."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skmlp._fitted import shown
from skmlp.inspection._drawing import (
    NEUTRAL,
    check_count,
    check_layer,
    fitted_network,
    input_names,
    keywords,
    layer_titles,
    names_for,
    one_axes,
    pyplot,
    several_axes,
    signed_colormap,
    signed_limit,
)

# More names than that cannot be read beside a matrix.
MOST_NAMES = 40
FloatArray = npt.NDArray[Any]


class WeightsDisplay:
    """Weights of a network: a matrix and a histogram for each layer, or the units of one layer.

    Made by `from_estimator`.

    Parameters
    ----------
    coefs : list of ndarray of shape (fan_in, units)
        Those that are drawn: of all layers, or of one.
    titles : list of str
        How these layers are called.
    image_shape : tuple of int or None, default=None
        If given, each unit of the only layer is drawn as a picture of this shape, the weights of
        its inputs.
    max_units : int, default=64
        How many units are drawn then: those with the largest weights, by their norm.
    feature_names : list of str or None, default=None
        What the rows of the only matrix are called.

    Attributes
    ----------
    axes_ : ndarray of matplotlib axes
        Of shape (2, n_layers): matrices above, histograms below. Of one layer of shape (1, 1), or
        with one for each unit in rows and columns.
    figure_ : matplotlib figure
    images_ : list of matplotlib images
    units_ : ndarray of int or None
        Which units are drawn as pictures, the first one first.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from skmlp import MLPClassifier
    >>> from skmlp.inspection import WeightsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((16,), learning_rate_init=0.01, early_stopping=True, random_state=0)
    >>> model = model.fit(X / 16, y)
    >>> display = WeightsDisplay.from_estimator(model, layer=0, image_shape=(8, 8))
    >>> len(display.images_), display.images_[0].get_array().shape
    (16, (8, 8))
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        coefs: Sequence[FloatArray],
        titles: Sequence[str],
        image_shape: tuple[int, ...] | None = None,
        max_units: int = 64,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.coefs, self.titles, self.image_shape = coefs, titles, image_shape
        self.max_units, self.feature_names = max_units, feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        layer: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        max_units: int = 64,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        image_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw weights of a fitted network.

        Parameters
        ----------
        estimator : MLPClassifier, MLPRegressor or Pipeline that ends with one
            Fitted.
        layer : int, default=None
            Number of a layer, from zero; negative numbers count from the last one. None draws all.
        image_shape : tuple of int, default=None
            Shape of the picture that the inputs of the layer are, for example ``(8, 8)``. Three
            numbers mean colors. Needs a layer.
        max_units : int, default=64
            How many units are drawn as pictures: those with the largest weights.
        feature_names : sequence of str, default=None
            Names of the inputs of the first layer; None takes those of the fit.
        ax : matplotlib axes or array of axes, default=None
            Where to draw; axes are divided where several are needed. None makes a figure.
        image_kwargs : dict, default=None
            Keywords of matplotlib's `imshow`.

        Returns
        -------
        display : WeightsDisplay

        Raises
        ------
        ValueError
            If an argument is not valid.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        network, trained = fitted_network(estimator)
        titles = layer_titles(trained)
        coefs = [np.asarray(coef) for coef in trained.coefs]
        max_units = check_count("max_units", max_units)
        known = input_names(estimator, network)
        if layer is None:
            if image_shape is not None:
                raise ValueError(
                    f"image_shape={image_shape!r} is for the units of one layer. Give its number, "
                    "for example layer=0."
                )
            names_for(feature_names, known, coefs[0].shape[0], "feature_names")
            return cls(coefs=coefs, titles=titles).plot(ax, image_kwargs=image_kwargs)
        number = check_layer(layer, len(coefs))
        fan_in = coefs[number].shape[0]
        names = names_for(feature_names, known, coefs[0].shape[0], "feature_names")
        if image_shape is not None:
            image_shape = check_image_shape(image_shape, fan_in)
        display = cls(
            coefs=[coefs[number]],
            titles=[titles[number]],
            image_shape=image_shape,
            max_units=max_units,
            feature_names=names if number == 0 else None,
        )
        return display.plot(ax, image_kwargs=image_kwargs)

    def plot(self, ax: Any = None, *, image_kwargs: Mapping[str, Any] | None = None) -> Self:
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib axes or array of axes, default=None
            Where to draw; None makes a figure.
        image_kwargs : dict, default=None
            Keywords of matplotlib's `imshow`.

        Returns
        -------
        self : WeightsDisplay
        """
        self.images_: list[Any] = []
        self.units_: npt.NDArray[np.intp] | None = None
        if self.image_shape is not None:
            self._draw_units(ax, image_kwargs)
        elif len(self.coefs) == 1:
            self._draw_matrix(ax, image_kwargs)
        else:
            self._draw_layers(ax, image_kwargs)
        self.figure_ = self.axes_.flat[0].figure
        return self

    def _draw_units(self, ax: Any, image_kwargs: Mapping[str, Any] | None) -> None:
        assert self.image_shape is not None
        [coef] = self.coefs
        norms = np.linalg.norm(coef, axis=0)
        strongest = np.argsort(-norms, kind="stable")[: self.max_units]
        self.units_ = np.sort(strongest)
        columns = int(np.ceil(np.sqrt(len(self.units_))))
        rows = -(-len(self.units_) // columns)
        what = f"{type(self).__name__}.plot"
        self.axes_ = several_axes(ax, (rows, columns), what, (1.1 * columns, 1.15 * rows + 0.4))
        signed = len(self.image_shape) == 2
        limit = signed_limit(coef[:, self.units_])
        style = {"cmap": signed_colormap(), "vmin": -limit, "vmax": limit} if signed else {}
        style = keywords(image_kwargs, "image_kwargs", **style)
        for place, axes in enumerate(self.axes_.flat):
            axes.set_axis_off()
            if place < len(self.units_):
                unit = coef[:, self.units_[place]].reshape(self.image_shape)
                image = unit if signed else between_zero_and_one(unit)
                self.images_.append(axes.imshow(image, **style))
                axes.set_title(str(self.units_[place]), fontsize="x-small", pad=2)
        count = coef.shape[1]
        some = "" if len(self.units_) == count else f": {len(self.units_)} of {count} units"
        if ax is None:
            self.axes_.flat[0].figure.suptitle(f"{self.titles[0]}{some}", fontsize="medium")

    def _draw_matrix(self, ax: Any, image_kwargs: Mapping[str, Any] | None) -> None:
        axes = one_axes(ax, f"{type(self).__name__}.plot")
        self.axes_ = np.array([[axes]], dtype=object)
        image = self._matrix(axes, self.coefs[0], self.titles[0], image_kwargs)
        axes.figure.colorbar(image, ax=axes, label="weight")
        if self.feature_names is not None and len(self.feature_names) <= MOST_NAMES:
            axes.set_yticks(range(len(self.feature_names)), self.feature_names)
            axes.set_ylabel("")

    def _draw_layers(self, ax: Any, image_kwargs: Mapping[str, Any] | None) -> None:
        count = len(self.coefs)
        shape, what = (2, count), f"{type(self).__name__}.plot"
        self.axes_ = several_axes(ax, shape, what, (2.9 * count + 0.6, 4.8))
        pairs = zip(self.axes_.T, self.coefs, self.titles, strict=True)
        for (above, below), coef, title in pairs:
            image = self._matrix(above, coef, title, image_kwargs)
            above.figure.colorbar(image, ax=above, shrink=0.8)
            finite = coef[np.isfinite(coef)]
            below.hist(finite.ravel(), bins=40, color=NEUTRAL)
            below.axvline(0.0, color="k", linewidth=0.6, alpha=0.5)
            below.set(xlabel="weight", ylabel="how many" if below is self.axes_[1, 0] else "")

    def _matrix(
        self, axes: Any, coef: FloatArray, title: str, image_kwargs: Mapping[str, Any] | None
    ) -> Any:
        limit = signed_limit(coef)
        style: dict[str, Any] = {"cmap": signed_colormap(), "vmin": -limit, "vmax": limit}
        style |= {"aspect": "auto", "interpolation": "nearest"}
        image = axes.imshow(coef, **keywords(image_kwargs, "image_kwargs", **style))
        axes.set_title(title, fontsize="medium")
        axes.set(xlabel="unit", ylabel="input")
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
        self.images_.append(image)
        return image


def check_image_shape(image_shape: Any, fan_in: int) -> tuple[int, ...]:
    """Return the shape of pictures of a layer's inputs.

    Raises
    ------
    ValueError
        If it is none of as many numbers.
    """
    try:
        shape = tuple(int(size) for size in image_shape)
    except (TypeError, ValueError):
        shape = ()
    is_picture = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    if not is_picture or min(shape) < 1 or int(np.prod(shape)) != fan_in:
        raise ValueError(
            f"image_shape={shown(image_shape)} must be two numbers, or three of which the last is "
            f"3, whose product is {fan_in}, the number of inputs of the layer."
        )
    return shape


def between_zero_and_one(image: FloatArray) -> FloatArray:
    low, high = image.min(), image.max()
    scaled: FloatArray = (image - low) / (high - low or 1.0)
    return scaled
