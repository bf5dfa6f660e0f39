"""What parameters may be: between bounds, and weights of a unit in a ball.

Bounds say it of each number by itself: a connection that does not exist is between zero and zero,
a weight that must not be negative between zero and infinity, one that is not trained between what
it is and what it is. After each update parameters are moved to the nearest point that they may
be at (projected gradient descent).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skmlp.network.parameters import INPUTS, FloatArray, ParameterLayout, layout_of
from skmlp.network.specs import LayerSpec, NetworkSpec

BoolArray = npt.NDArray[np.bool_]

# Norms are reduced to a little less than their limit, so that rounding does not lift them above.
SLACK = {"float32": 1e-6, "float64": 1e-12}


@dataclass(frozen=True, eq=False)
class Bounds:
    """The smallest and the largest value of each parameter.

    Attributes
    ----------
    lower, upper : ndarray of shape (n_parameters,)
        Infinite where there is none.
    """

    lower: FloatArray
    upper: FloatArray

    @property
    def is_fixed(self) -> BoolArray:
        """Which parameters have one possible value; their gradients count nowhere."""
        return self.lower == self.upper

    def confine(self, parameters: FloatArray) -> None:
        """Move parameters that are outside to the bounds, in place."""
        np.clip(parameters, self.lower, self.upper, out=parameters)

    def mirror(self, parameters: FloatArray) -> None:
        """Reflect parameters that are outside at the bounds, in place.

        Drawn weights keep their size so, where confined ones would become zero by the half.
        """
        below, above = parameters < self.lower, parameters > self.upper
        parameters[below] = 2.0 * self.lower[below] - parameters[below]
        parameters[above] = 2.0 * self.upper[above] - parameters[above]
        self.confine(parameters)

    def within(self, other: "Bounds") -> "Bounds":
        """Return the bounds of what obeys these and others, both of which admit zero."""
        return Bounds(
            np.maximum(self.lower, other.lower),
            np.minimum(self.upper, other.upper),
        )


def unbounded(network: NetworkSpec) -> Bounds:
    """Return bounds of their own that admit everything."""
    size = layout_of(network).size
    return Bounds(np.full(size, -np.inf), np.full(size, np.inf))


def trained_from(network: NetworkSpec, first: int) -> BoolArray:
    """Return which parameters lie behind the first so many layers.

    What is not trained of them, as running statistics, is among those.
    """
    layout = layout_of(network)
    trained = np.zeros(layout.size, dtype=bool)
    trained[layout.coef_offsets[first] : layout.coef_offsets[-1]] = True
    trained[layout.intercept_offsets[first] : layout.intercept_offsets[-1]] = True
    for extra, start in zip(layout.extras, layout.extra_offsets, strict=False):
        # Those of the inputs come before all layers.
        trained[start : start + extra.size] = extra.layer >= first or first == 0
    return trained


def limit_norms(
    layout: ParameterLayout, parameters: FloatArray, max_norm: float, first: int = 0
) -> None:
    """Scale the incoming weights of units so that their norm is at most `max_norm`, in place.

    Those of the first so many layers stay. With several pre-activations per unit each one's
    weights count by themselves; intercepts do not count.

    References
    ----------
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15, section 5.1.
    """
    target = max_norm * (1.0 - SLACK[parameters.dtype.name])
    for coef in layout.views(parameters)[0][first:]:
        norms = np.sqrt(np.sum(np.square(coef, dtype=np.float64), axis=0))
        # NaN is not larger, and stays.
        too_large = norms > max_norm
        coef[:, too_large] *= target / norms[too_large]


# Connections


def draw_connections(
    shape: tuple[int, int], share: float, generator: np.random.RandomState
) -> BoolArray:
    """Draw which connections between two layers there are, shape (units before, units).

    Each unit has the same number of them, the share of those before it, and at least one. Of a
    smaller share the same generator draws a part of those of a larger one.
    """
    fan_in, _ = shape
    ranks = generator.random_sample(shape).argsort(axis=0).argsort(axis=0)
    return np.asarray(ranks < max(1, round(share * fan_in)))


def connection_bounds(network: NetworkSpec, masks: Sequence[BoolArray | None]) -> Bounds:
    """Return bounds that keep the coefficients of absent connections at zero.

    Parameters
    ----------
    network : NetworkSpec
    masks : sequence of ndarray of shape (units before, units), or None
        For each weight matrix which connections there are; None stands for all. A unit with
        several pre-activations has the same ones for each.
    """
    bounds, layout = unbounded(network), layout_of(network)
    for vector in (bounds.lower, bounds.upper):
        for coef, mask, pieces in zip(layout.views(vector)[0], masks, network.pieces, strict=True):
            if mask is not None:
                coef[~np.tile(mask, pieces)] = 0.0
    return bounds


# Monotone networks

# Directions of units: what their outputs do where an input grows that is to raise the prediction.
RISES, FALLS, STAYS = 1, -1, 0


def directions_of_units(before: npt.NDArray[np.int8], units: int) -> npt.NDArray[np.int8]:
    """Return a direction for each unit of a hidden layer, one kind after the other.

    `before` has those of the units before. There are units that stay where some of these do.
    """
    kinds = [RISES, FALLS, STAYS] if (before == STAYS).any() else [RISES, FALLS]
    return np.resize(np.array(kinds, dtype=np.int8), units)


def monotone_bounds(network: NetworkSpec, features: npt.NDArray[np.int8]) -> Bounds:
    """Return bounds within which outputs never fall in some features and never rise in others.

    Every hidden unit is given a direction: its output never falls, never rises, or does not depend
    on these features. By induction that is so if the weight between two units with directions has
    the sign of their product, one from a unit with a direction to one without is zero, all others
    are free, and activations never fall. Units that fall are what makes such networks able to
    learn more than convex functions with rectifiers: with weights of the other sign they are
    concave. Scales of inputs, gains of normalization and learned numbers of activations must not be
    negative.

    Parameters
    ----------
    network : NetworkSpec
        Its activations never fall.
    features : ndarray of shape (n_features,)
        1 and -1 for those in which outputs must not fall and must not rise, else 0.

    References
    ----------
    Runje & Shankaranarayana (2023), "Constrained monotonic neural networks", ICML: convex and
    concave units side by side, free weights of unconstrained features.
    Sartor, Sinigaglia & Susto (2025), "Advancing constrained monotonic neural networks: achieving
    universal approximation beyond bounded activations", ICML, arXiv:2505.02537: a concave unit is
    a convex one whose weights have the other sign.
    """
    bounds, layout = unbounded(network), layout_of(network)
    before = features
    if network.inputs.embedding:
        raise ValueError("Columns of X that are embedded have no directions.")
    lower, upper = (layout.views(vector)[0] for vector in (bounds.lower, bounds.upper))
    places = list(zip(layout.extras, layout.extra_offsets, strict=False))
    for extra, start in places:
        if extra.layer == INPUTS:  # the scale
            bounds.lower[start : start + extra.size] = 0.0
    for number, layer in enumerate(network.layers):
        own = np.tile(directions_of_units(before, layer.units), layer.pieces)
        bound_signs(before, own, lower[number], upper[number])
        for extra, start in places:
            if extra.layer == number and (extra.name == "gain" or is_number_of(layer, extra.name)):
                bounds.lower[start : start + extra.size] = 0.0
        before = own[: layer.units]
    bound_signs(before, directions_of_outputs(network), lower[-1], upper[-1])
    return bounds


def is_number_of(layer: LayerSpec, name: str) -> bool:
    """Whether it is a number that the units' activation learns."""
    return any(learned.name == name for learned in layer.entry.learned)


def bound_signs(
    before: npt.NDArray[np.int8],
    own: npt.NDArray[np.int8] | npt.NDArray[np.float64],
    lower: FloatArray,
    upper: FloatArray,
) -> None:
    """Bound the weights between units of two layers by their directions, in place.

    Units of direction NaN may do anything.
    """
    product = before[:, np.newaxis] * own
    is_absent = (before[:, np.newaxis] != STAYS) & (own == STAYS)
    lower[(product > 0) | is_absent] = 0.0
    upper[(product < 0) | is_absent] = 0.0


def directions_of_outputs(network: NetworkSpec) -> npt.NDArray[np.float64]:
    """Return a direction for each raw prediction, NaN for those that predictions do without."""
    parts: list[float] = []
    for head in network.heads:
        link = head.entry.link
        n_targets = head.units // link.units_per_target
        parts += [RISES] * (n_targets * (link.units_per_target - link.n_spreads))
        parts += [np.nan] * (n_targets * link.n_spreads)
    return np.array(parts, dtype=np.float64)
