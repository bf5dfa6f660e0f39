"""Embeddings of the columns of X: the registry of their formulas."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.network import embedding_formulas as formulas
from skmlp.network.constants import Constant, check_constants

Draws = npt.NDArray[np.float64]
# Tables have no more rows than single precision has whole numbers.
MAX_LEVELS = 2.0**24
# What engines may be asked to lay out for one column.
MAX_WIDTH = 2.0**12
# Where bins begin that there are not, and the largest slope: finite in either precision.
FAR = float(np.finfo(np.float32).max)


def none(*constants: float) -> int:
    return 0


@dataclass(frozen=True)
class Embedding:
    """How a column of X becomes several numbers.

    Attributes
    ----------
    name : str
        Public name, as in the ``embedding`` parameter.
    value, gradient : callable
        As `skmlp.network.embedding_formulas` describes them.
    width : callable
        ``width(*constants)``: how many numbers there are of it.
    constants : tuple of Constant
    learned : callable
        ``learned(*constants)``: how many numbers a column learns.
    given : callable
        ``given(*constants)``: how many the data give to it, which are not trained.
    room : callable
        ``room(rows, *constants)``: elements of scratch memory for so many rows.
    draw : callable or None
        ``draw(random_state, columns, *constants)``: what columns start with, shape (columns,
        learned); None where they learn nothing.
    measure : callable or None
        ``measure(x, *constants)``: what the training rows of a column give to it; None if nothing.
    takes_codes : bool
        Whether columns hold codes, which nothing can be added to.
    formula : str
        In Markdown.
    start : str
        What numbers start with, in Markdown.
    reference : str
        Where it comes from.
    """

    name: str
    value: Callable[..., None]
    gradient: Callable[..., None]
    width: Callable[..., int]
    constants: tuple[Constant, ...] = ()
    learned: Callable[..., int] = none
    given: Callable[..., int] = none
    room: Callable[..., int] = none
    draw: Callable[..., Draws] | None = None
    measure: Callable[..., Draws] | None = None
    takes_codes: bool = False
    formula: str = ""
    start: str = ""
    reference: str = ""

    def check_constants(self, values: tuple[float, ...]) -> None:
        """Refuse values that its constants cannot have.

        Raises
        ------
        ValueError
            If their number is another one, or one is outside its range.
        """
        check_constants(self.name, self.constants, values)


def draw_periodic(
    random_state: np.random.RandomState,
    columns: int,
    units: float,
    width: float,
    deviation: float,
) -> Draws:
    weights = random_state.normal(0.0, deviation, (columns, int(units)))
    bound = 1.0 / np.sqrt(2.0 * units)
    rest = random_state.uniform(-bound, bound, (columns, int((2.0 * units + 1.0) * width)))
    return np.hstack([weights, rest])


def draw_pbld(
    random_state: np.random.RandomState,
    columns: int,
    units: float,
    width: float,
    deviation: float,
) -> Draws:
    waves = draw_waves(random_state, columns, int(units), deviation)
    bound = 1.0 / np.sqrt(units)
    rest = random_state.uniform(-bound, bound, (columns, int((units + 1.0) * width)))
    return np.hstack([waves, rest])


def draw_cosine(
    random_state: np.random.RandomState, columns: int, width: float, deviation: float
) -> Draws:
    waves = draw_waves(random_state, columns, int(width), deviation)
    return np.hstack([waves, np.zeros_like(waves)])


def draw_waves(
    random_state: np.random.RandomState, columns: int, units: int, deviation: float
) -> Draws:
    """Return weights and phases, which are counted in turns."""
    weights = random_state.normal(0.0, deviation, (columns, units))
    return np.hstack([weights, random_state.uniform(-np.pi, np.pi, (columns, units))])


def draw_piecewise(
    random_state: np.random.RandomState, columns: int, bins: float, width: float
) -> Draws:
    bound = 1.0 / np.sqrt(width)
    lines = random_state.uniform(-bound, bound, (columns, 2 * int(width)))
    return np.hstack([lines, np.zeros((columns, int(bins * width)))])


# More rows are not looked at to find quantiles.
ROWS_FOR_BINS = 100_000


def measure_piecewise(x: Draws, bins: float, width: float) -> Draws:
    """Return where bins begin, and the slopes in them.

    A value that many rows have begins one, and the others begin at quantiles of all other rows.
    Were they quantiles of all rows, a column that is nearly always zero would have hardly any.
    There are no rows in bins that there are not. A constant column has one, in which nothing
    changes.
    """
    if len(x) > ROWS_FOR_BINS:  # drawn, since rows may take turns in some way
        x = x[np.random.RandomState(0).randint(0, len(x), ROWS_FOR_BINS)]
    edges = widened(edges_of_bins(x, int(bins)))
    starts, slopes = np.full(int(bins), FAR), np.zeros(int(bins))
    n_bins = len(edges) - 1
    starts[: max(n_bins, 1)] = edges[: max(n_bins, 1)]
    with np.errstate(divide="ignore", over="ignore"):
        slopes[:n_bins] = np.minimum(1.0 / np.diff(edges), FAR)
    return np.concatenate([starts, slopes])


def edges_of_bins(x: Draws, bins: int) -> Draws:
    """Return where up to so many bins begin, and the last one ends."""
    values, counts = np.unique(x, return_counts=True)
    if len(values) <= bins + 1:
        return values
    is_frequent = counts >= len(x) / bins
    frequent = values[is_frequent]
    others = np.repeat(values[~is_frequent], counts[~is_frequent])
    # At least two: more frequent values would leave no other rows.
    left = bins + 1 - len(frequent)
    return np.unique(np.concatenate([frequent, np.quantile(others, np.linspace(0.0, 1.0, left))]))


def widened(edges: Draws) -> Draws:
    """Return edges whose first and last bins are as wide as bins are in the mean, or wider.

    These go on beyond their ends: a narrow one would make something very large of numbers that are
    a little larger than those of the fit.
    """
    if len(edges) < 3:
        return edges
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    wider = edges.copy()
    wider[0] = min(edges[0], edges[1] - width)
    wider[-1] = max(edges[-1], edges[-2] + width)
    return wider


def draw_categories(
    random_state: np.random.RandomState, columns: int, levels: float, width: float
) -> Draws:
    return random_state.normal(size=(columns, int(levels * width)))


def whole(name: str, default: float, high: float = MAX_WIDTH) -> Constant:
    return Constant(name, default, 1.0, high, whole=True)


DEVIATION = "sigma"

EMBEDDINGS: dict[str, Embedding] = {
    entry.name: entry
    for entry in (
        Embedding(
            "identity",
            formulas.copied,
            formulas.learns_nothing,
            width=lambda: 1,
            formula="`x`",
            start="",
        ),
        Embedding(
            "periodic",
            formulas.periodic,
            formulas.periodic_gradient,
            width=lambda units, width, sigma: int(width),
            constants=(
                whole("units", 48.0),
                whole("width", 24.0),
                Constant(DEVIATION, 0.01, 0.0, closed="neither"),
            ),
            learned=lambda units, width, sigma: int(units + (2.0 * units + 1.0) * width),
            room=lambda rows, units, width, sigma: (3 + int(width)) * rows,
            draw=draw_periodic,
            formula="`relu(V [sin(2 pi w x), cos(2 pi w x)] + c)`",
            start="`w` normal, deviation `sigma`; `V` and `c` uniform in `+-sqrt(1 / (2 units))`",
            reference="Gorishniy, Rubachev & Babenko (2022), On embeddings for numerical features "
            "in tabular deep learning, arXiv:2203.05556, section 3.3 (PLR)",
        ),
        Embedding(
            "pbld",
            formulas.pbld,
            formulas.pbld_gradient,
            width=lambda units, width, sigma: 1 + int(width),
            constants=(
                whole("units", 16.0),
                whole("width", 3.0),
                Constant(DEVIATION, 0.1, 0.0, closed="neither"),
            ),
            learned=lambda units, width, sigma: int(2.0 * units + (units + 1.0) * width),
            room=lambda rows, units, width, sigma: (3 + int(width)) * rows,
            draw=draw_pbld,
            formula="`[x, V cos(2 pi (w x + b)) + c]`",
            start="`w` normal, deviation `sigma`; `b` uniform in `+-pi`; `V` and `c` uniform in "
            "`+-sqrt(1 / units)`",
            reference="Holzmueller, Grinsztajn & Steinwart (2024), Better by default, "
            "arXiv:2407.04491, section 3 (PBLD)",
        ),
        Embedding(
            "cosine",
            formulas.cosine,
            formulas.cosine_gradient,
            width=lambda width, sigma: 1 + int(width),
            constants=(
                whole("width", 16.0),
                Constant(DEVIATION, 1.0, 0.0, closed="neither"),
            ),
            learned=lambda width, sigma: 4 * int(width),
            room=lambda rows, width, sigma: 3 * rows,
            draw=draw_cosine,
            formula="`[x, a cos(2 pi (w x + b)) + c]`",
            start="`w` normal, deviation `sigma`; `b` uniform in `+-pi`; `a` and `c` zero",
            reference="TabPack (2026), arXiv:2607.05380",
        ),
        Embedding(
            "piecewise",
            formulas.piecewise,
            formulas.piecewise_gradient,
            width=lambda bins, width: int(width),
            constants=(whole("bins", 48.0, 1024.0), whole("width", 16.0)),
            learned=lambda bins, width: int((bins + 2.0) * width),
            given=lambda bins, width: 2 * int(bins),
            room=lambda rows, bins, width: rows + int(bins * width),
            draw=draw_piecewise,
            measure=measure_piecewise,
            formula="`w x + b + V z`, `z` being 1 in `bins` (of quantiles) below x, 0 in those "
            "above, and a fraction in its own",
            start="`w` and `b` uniform in `+-sqrt(1 / width)`; `V` zero",
            reference="Gorishniy, Kotelnikov & Babenko (2024), TabM, arXiv:2410.24210 (version B); "
            "Gorishniy, Rubachev & Babenko (2022), arXiv:2203.05556, section 3.2",
        ),
        Embedding(
            "categories",
            formulas.categories,
            formulas.categories_gradient,
            width=lambda levels, width: int(width),
            constants=(whole("levels", 2.0, MAX_LEVELS), whole("width", 8.0)),
            learned=lambda levels, width: int(levels * width),
            draw=draw_categories,
            takes_codes=True,
            formula="row x of a table of `levels` rows",
            start="normal, variance 1",
            reference="Guo & Berkhahn (2016), Entity embeddings of categorical variables, "
            "arXiv:1604.06737",
        ),
    )
}


def embedding_entry(name: Any) -> Embedding:
    """Return the entry of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    entry = EMBEDDINGS.get(name) if isinstance(name, str) else None
    if entry is None:
        raise ValueError(f"embedding must be one of {sorted(EMBEDDINGS)}, got {name!r}.")
    return entry
