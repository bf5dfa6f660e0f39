"""What a fitted network consists of, as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from skmlp.network.activations import CUSTOM_ACTIVATIONS, activation_entry, blended_by
from skmlp.network.parameters import INPUTS, layout_of
from skmlp.network.parts import Trained, named_extras
from skmlp.network.specs import Formula

# The columns of the table: each a field of the layers, and what stands above it.
COLUMNS = {
    "name": "layer",
    "shape": "shape",
    "activation": "activation",
    "normalization": "normalization",
    "n_parameters": "parameters",
    "n_bytes": "bytes",
    "flops_per_row": "operations per row",
}
SUMS = "n_parameters", "n_bytes", "flops_per_row"


@dataclass(frozen=True)
class LayerSummary:
    """A layer of a fitted network, or the outputs that belong to one target.

    Attributes
    ----------
    name : str
        "inputs", where features are embedded or scaled, "hidden 0", "hidden 1", ..., and
        "output", or "output 0", ... where there are several targets with outputs of their own.
    shape : tuple of (int, int)
        Of its weights: the inputs of each unit, and the columns of the product. Of the inputs: the
        features, and the numbers that they become.
    units : int
        What it puts out; fewer than columns where each unit takes the largest of several.
    activation : str
        Its activation, with the values of its constants; of outputs their activation, of inputs
        the names of embeddings.
    normalization : str or None
    n_parameters : int
        Numbers that are learned: weights, intercepts, and those of activation and normalization.
    n_bytes : int
        Memory of all numbers of the layer, statistics of batches included.
    flops_per_row : int
        Operations of the layer's product for one row of X, a multiplication and an addition for
        each weight.
    """

    name: str
    shape: tuple[int, int]
    units: int
    activation: str
    normalization: str | None
    n_parameters: int
    n_bytes: int
    flops_per_row: int


@dataclass(frozen=True, repr=False)
class Summary:
    """What a fitted network consists of; printed, or shown by a notebook, as a table.

    Attributes
    ----------
    title : str
        Name of the estimator's class.
    layers : tuple of LayerSummary
    n_parameters, n_bytes, flops_per_row : int
        Sums over the layers.
    """

    title: str
    layers: tuple[LayerSummary, ...]

    @property
    def n_parameters(self) -> int:
        return self._sum("n_parameters")

    @property
    def n_bytes(self) -> int:
        return self._sum("n_bytes")

    @property
    def flops_per_row(self) -> int:
        return self._sum("flops_per_row")

    def _sum(self, name: str) -> int:
        return sum(getattr(layer, name) for layer in self.layers)

    def _rows(self) -> list[list[str]]:
        """Return the cells of the table, with a row of names and one of sums."""
        names = [name for name in COLUMNS if any(shown(layer, name) for layer in self.layers)]
        sums = {"name": "total"} | {name: f"{self._sum(name):,}" for name in SUMS}
        total = [sums.get(name, "") for name in names]
        layers = [[shown(layer, name) for name in names] for layer in self.layers]
        return [[COLUMNS[name] for name in names], *layers, total]

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        n_texts = len(widths) - len(SUMS)
        lines = [
            "  ".join(
                cell.ljust(width) if column < n_texts else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([self.title, *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        header, *rows, total = self._rows()
        return (
            f"<table><caption>{escape(self.title)}</caption>"
            f"<thead>{row_of(header, 'th')}</thead>"
            f"<tbody>{''.join(row_of(row, 'td') for row in rows)}</tbody>"
            f"<tfoot>{row_of(total, 'td')}</tfoot></table>"
        )


def row_of(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def shown(layer: LayerSummary, name: str) -> str:
    """Return a cell of the table."""
    value: Any = getattr(layer, name)
    if name == "shape":
        return f"{value[0]} x {value[1]}"
    if value is None:
        return ""
    return f"{value:,}" if name in SUMS else str(value)


def summary_of(title: str, trained: Trained) -> Summary:
    """Return what a network consists of."""
    return Summary(title, (*inputs(trained), *hidden_layers(trained), *outputs(trained)))


def inputs(trained: Trained) -> Iterator[LayerSummary]:
    """Yield what features become before the first layer, if that is anything else."""
    spec, layout = trained.network.inputs, layout_of(trained.network)
    if not spec.is_changed:
        return
    pieces = named_extras(trained.network, trained.extras)
    own = [extra for extra in layout.extras if extra.layer == INPUTS]
    names = dict.fromkeys(block.formula.name for block in spec.embedding)
    yield LayerSummary(
        "inputs",
        (spec.n_features, spec.width),
        spec.width,
        ", ".join([*names, *["scale"] * spec.scaled]),
        None,
        sum(extra.size for extra in own if extra.trained),
        sum(pieces[INPUTS, extra.name].nbytes for extra in own),
        0,
    )


def hidden_layers(trained: Trained) -> Iterator[LayerSummary]:
    layout = layout_of(trained.network)
    extras = named_extras(trained.network, trained.extras)
    for number, layer in enumerate(trained.network.layers):
        coefs, intercepts = trained.coefs[number], trained.intercepts[number]
        own = [extra for extra in layout.extras if extra.layer == number]
        n_bytes = sum(extras[number, extra.name].nbytes for extra in own)
        yield LayerSummary(
            f"hidden {number}",
            trained.network.shapes[number],
            layer.units,
            written(layer.activation),
            layer.normalization,
            coefs.size + intercepts.size + sum(extra.size for extra in own if extra.trained),
            coefs.nbytes + intercepts.nbytes + n_bytes,
            2 * coefs.size,
        )


def outputs(trained: Trained) -> Iterator[LayerSummary]:
    heads, coefs, intercepts = trained.network.heads, trained.coefs[-1], trained.intercepts[-1]
    fan_in = coefs.shape[0]
    for number, head in enumerate(heads):
        size = fan_in * head.units
        yield LayerSummary(
            "output" if len(heads) == 1 else f"output {number}",
            (fan_in, head.units),
            head.units,
            head.link,
            None,
            size + head.units,
            size * coefs.itemsize + head.units * intercepts.itemsize,
            2 * size,
        )


def written(formula: Formula) -> str:
    """Return an activation with the values of its constants."""
    if formula.name in CUSTOM_ACTIVATIONS:
        return "custom"
    entry = activation_entry(formula.name)
    values = zip(entry.constants, formula.constants, strict=True)
    constants = ", ".join(f"{constant.name}={value:g}" for constant, value in values)
    of = blended_by(formula.name)
    name = of or formula.name
    text = f"{name}({constants})" if constants else name
    return f"blend({text})" if of else text
