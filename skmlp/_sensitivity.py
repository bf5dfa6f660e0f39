"""How the outputs of a fitted network change with its inputs, and which of its units never do.

All is computed in NumPy and double precision, from the formulas of the registries: once forward and
once back for each output, some rows after the other.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from skmlp._explained import Outputs, is_all
from skmlp._fitted import is_count, is_finite_number, shown
from skmlp._validation import as_numpy
from skmlp.network.evaluation import applied
from skmlp.network.folding import folded
from skmlp.network.normalization import LayerNormalization
from skmlp.network.parameters import FloatArray
from skmlp.network.parts import Trained, named_extras
from skmlp.network.specs import LayerSpec

# A matrix of some rows has about so many numbers.
CHUNK = 2**20

Gradient = Callable[[FloatArray], FloatArray]


# Forward and back


class HiddenPass:
    """A hidden layer on its way forward and back.

    Parameters
    ----------
    layer : LayerSpec
    z : ndarray of shape (n_rows, product_units)
        The product with the intercepts.
    extras : dict of str to ndarray
        What the layer has learned besides.

    Attributes
    ----------
    outputs : ndarray of shape (n_rows, units)
    slopes : ndarray of shape (n_rows, units) or None
        Derivatives of the activation; None where it is no function of one number.
    """

    def __init__(self, layer: LayerSpec, z: FloatArray, extras: dict[str, FloatArray]) -> None:
        self._layer, entry = layer, layer.entry
        self._normalization: LayerNormalization | None = None
        if layer.normalization == "layer":  # that of batches has been folded
            self._normalization, self._gain = LayerNormalization(z), extras["gain"]
            z = self._gain * self._normalization.values + extras["shift"]
        self.slopes: FloatArray | None = None
        if entry.pieces is not None:
            pieces = z.reshape(len(z), layer.pieces, layer.units)
            self._best = pieces.argmax(axis=1)
            self.outputs = pieces.max(axis=1)
        elif entry.takes_whole_rows:
            self.outputs = z.copy()
            for row in self.outputs:
                entry.value(row)
        else:
            constants = layer.activation.constants
            numbers = [extras[learned.name] for learned in entry.learned]
            self.outputs = applied(entry.value, z, constants, numbers)
            argument = z if entry.derivative_takes_input else self.outputs
            self.slopes = applied(entry.derivative, argument, constants, numbers)

    def backward(self, delta: FloatArray) -> FloatArray:
        """Turn derivatives by the outputs into those by the product."""
        entry = self._layer.entry
        if entry.pieces is not None:
            numbers = np.arange(self._layer.pieces)[:, np.newaxis]
            is_best = self._best[:, np.newaxis] == numbers
            delta = (is_best * delta[:, np.newaxis]).reshape(len(delta), -1)
        elif entry.takes_whole_rows:
            delta = delta.copy()
            for values, own in zip(self.outputs, delta, strict=True):
                entry.derivative(values, own)
        else:
            assert self.slopes is not None
            delta = delta * self.slopes
        if self._normalization is None:
            return delta
        return self._normalization.backward(self._gain * delta)


class ForwardPass:
    """A network on its way forward and back.

    Parameters
    ----------
    trained : Trained
        As `in_doubles` returns it.
    X : ndarray of shape (n_rows, n_features)

    Attributes
    ----------
    layers : list of HiddenPass
    raw : ndarray of shape (n_rows, n_outputs)
        The raw predictions.
    """

    def __init__(self, trained: Trained, X: FloatArray) -> None:
        network, self._coefs, intercepts, extras = trained
        named = named_extras(network, extras)
        self.layers: list[HiddenPass] = []
        values = X
        for number, layer in enumerate(network.layers):
            z = values @ self._coefs[number] + intercepts[number]
            own = {name: numbers for (whose, name), numbers in named.items() if whose == number}
            self.layers.append(HiddenPass(layer, z, own))
            values = self.layers[-1].outputs
        self.raw = values @ self._coefs[-1] + intercepts[-1]

    def backward(self, delta: FloatArray) -> FloatArray:
        """Turn derivatives by the raw predictions into those by X."""
        delta = delta @ self._coefs[-1].T
        for number in reversed(range(len(self.layers))):
            delta = self.layers[number].backward(delta) @ self._coefs[number].T
        return delta


def in_doubles(trained: Trained, what: str) -> Trained:
    """Return the same network without batch normalization, in double precision.

    Raises
    ------
    ValueError
        If it embeds features, of which `what` is asked knows nothing.
    """
    if trained.network.inputs.embedding:
        raise ValueError(
            f"{what} does not know how an embedding changes with its feature. It is for networks "
            "that were fitted with embedding=None."
        )
    network, coefs, intercepts, extras = folded(*trained)
    return Trained(
        network,
        [coef.astype(np.float64) for coef in coefs],
        [intercept.astype(np.float64) for intercept in intercepts],
        extras.astype(np.float64),
    )


def chunks(trained: Trained, n_rows: int, n_draws: int = 1) -> Iterator[slice]:
    """Yield the rows that are looked at together, where each needs so many rows of numbers."""
    network = trained.network
    widest = max(network.n_features * n_draws, *network.product_units)
    size = max(1, CHUNK // widest)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def dense(X: Any, rows: slice) -> FloatArray:
    """Return some rows of dense or sparse X in double precision."""
    part = X[rows]
    return np.asarray(part.toarray() if hasattr(part, "toarray") else part, dtype=np.float64)


def units_without_slope(trained: Trained, X: Any) -> list[npt.NDArray[np.bool_]]:
    """Return which units of each hidden layer have a derivative of zero in all rows of X.

    None has whose activation is no function of one number, as those of maxout and softmax.
    """
    trained = in_doubles(trained, "dead_units")
    layers = trained.network.layers
    dead = [np.full(layer.units, layer.entry.is_elementwise) for layer in layers]
    with np.errstate(all="ignore"):
        for rows in chunks(trained, X.shape[0]):
            passed = ForwardPass(trained, dense(X, rows))
            for own, layer in zip(dead, passed.layers, strict=True):
                if layer.slopes is not None:
                    own &= (layer.slopes == 0.0).all(axis=0)
    return dead


# What is made of gradients


@dataclass(frozen=True)
class Around:
    """Where else than at a row its gradients are taken.

    Attributes
    ----------
    n_steps : int
        At so many points.
    noise : float
        Standard deviation of their distances from the row.
    random_state : RandomState
    """

    n_steps: int
    noise: float
    random_state: np.random.RandomState


def at_rows(gradient: Gradient, X: FloatArray, baseline: FloatArray, around: Around) -> FloatArray:
    return gradient(X)


def integrated(
    gradient: Gradient, X: FloatArray, baseline: FloatArray, around: Around
) -> FloatArray:
    """Return integrated gradients, on the way from a baseline to X, by the midpoint rule.

    Sundararajan, Taly & Yan (2017), ICML, arXiv:1703.01365, eq. 1.
    """
    way, n_steps = X - baseline, around.n_steps
    shares = (np.arange(n_steps) + 0.5) / n_steps
    mean = mean_of(gradient, (baseline + share * way for share in shares), n_steps)
    return (way if mean.ndim == 2 else way[..., np.newaxis]) * mean


def smoothed(gradient: Gradient, X: FloatArray, baseline: FloatArray, around: Around) -> FloatArray:
    """Return the mean of gradients around X.

    Smilkov, Thorat, Kim, Viegas & Wattenberg (2017), arXiv:1706.03825, section 2.
    """
    n_steps = around.n_steps
    # Row by row, so that it does not matter for how many rows at once.
    draws = around.random_state.normal(size=(len(X), n_steps, X.shape[1]))
    points = (X + around.noise * draws[:, step] for step in range(n_steps))
    return mean_of(gradient, points, n_steps)


def mean_of(gradient: Gradient, points: Iterable[FloatArray], n_points: int) -> FloatArray:
    total: Any = 0.0
    for point in points:
        total = total + gradient(point) / n_points
    return np.asarray(total)


METHODS = {"gradient": at_rows, "integrated": integrated, "smoothgrad": smoothed}


def input_gradients(
    trained: Trained,
    outputs: Outputs,
    X: Any,
    *,
    method: Any,
    target: Any,
    baseline: Any,
    n_steps: Any,
    noise: Any,
    random_state: Any,
) -> FloatArray:
    """Return derivatives of outputs by X, as `Inside.input_gradients` describes them.

    Raises
    ------
    ValueError
        If an argument is invalid.
    """
    check_method(method, baseline, n_steps, noise)
    origin = baseline_of(baseline, X.shape)
    around = Around(int(n_steps), float(noise), check_random_state(random_state))
    trained = in_doubles(trained, "input_gradients")
    n_draws = around.n_steps if method == "smoothgrad" else 1
    parts = []
    with np.errstate(all="ignore"):
        for rows in chunks(trained, X.shape[0], n_draws):
            part = dense(X, rows)
            gradient = gradient_of(trained, outputs, target, part)
            parts.append(METHODS[method](gradient, part, origin[rows], around))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def gradient_of(trained: Trained, outputs: Outputs, target: Any, X: FloatArray) -> Gradient:
    """Return a function of as many rows as X has: what `target` stands for, derived by each.

    Where that is the predicted class, it is the one predicted for X, wherever the function is
    asked.
    """
    chosen = outputs.chosen(target)
    if chosen is not None:

        def of_chosen(points: FloatArray) -> FloatArray:
            passed = ForwardPass(trained, points)
            parts = [passed.backward(output.slopes(passed.raw)) for output in chosen]
            return np.stack(parts, axis=-1) if is_all(target) else parts[0]

        return of_chosen
    assert outputs.predicted is not None
    numbers = outputs.predicted(ForwardPass(trained, X).raw)

    def of_predicted(points: FloatArray) -> FloatArray:
        passed = ForwardPass(trained, points)
        delta = np.zeros_like(passed.raw)
        for number in np.unique(numbers):
            rows = numbers == number
            delta[rows] = outputs.every[number].slopes(passed.raw[rows])
        return passed.backward(delta)

    return of_predicted


def check_method(method: Any, baseline: Any, n_steps: Any, noise: Any) -> None:
    """Refuse a method that there is not, and what none could use.

    Raises
    ------
    ValueError
        If an argument is invalid.
    """
    if not (isinstance(method, str) and method in METHODS):
        names = ", ".join(map(repr, METHODS))
        raise ValueError(f"method must be one of {names}, but is {shown(method)}. Use one of them.")
    if baseline is not None and method != "integrated":
        raise ValueError(
            f"baseline is where method='integrated' begins, but method={method!r}. Leave baseline "
            "out, or use that method."
        )
    if isinstance(n_steps, bool) or not is_count(n_steps) or n_steps == 0:
        raise ValueError(
            f"n_steps must be a positive whole number, but is {shown(n_steps)}. Use for instance "
            "50."
        )
    if isinstance(noise, bool) or not is_finite_number(noise) or noise < 0.0:
        raise ValueError(
            f"noise must be a finite number, not negative, but is {shown(noise)}. Use for instance "
            "0.1."
        )


def baseline_of(baseline: Any, shape: tuple[int, int]) -> FloatArray:
    """Return where the way to each row of X begins.

    Raises
    ------
    ValueError
        If that is no row, or no row for each one of X.
    """
    try:
        rows = np.asarray(0.0 if baseline is None else as_numpy("baseline", baseline))
        is_valid = rows.dtype.kind in "biuf" and rows.shape in ((), shape[1:], shape)
        is_valid = is_valid and bool(np.isfinite(rows).all())
    except (TypeError, ValueError):  # ragged lists
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"baseline must be a number, a row of {shape[1]} numbers or an array of shape {shape}, "
            f"all of them finite, but is {shown(baseline)}. Use for instance X.mean(axis=0)."
        )
    return np.broadcast_to(rows.astype(np.float64), shape)
