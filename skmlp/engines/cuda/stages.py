"""What programs consist of: what kernels are told of each operation, and where its numbers lie.

A program is a network's layers as they are computed, an operation after the other. Offsets count
as those of `Layer` do: from the start of a model's memory. Operations between the products know
two rows of a layer's matrices: those of its product, and those of its units.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from skmlp.engines.cuda.layout import PaddedLayout, padded
from skmlp.engines.cuda.tables import Layer
from skmlp.engines.cuda.vocabulary import IDENTITY
from skmlp.network.masks import INPUTS, threshold
from skmlp.network.normalization import GROUP_ROWS
from skmlp.network.parameters import layout_of
from skmlp.network.specs import HeadSpec, LayerSpec, NetworkSpec

NOWHERE = -1


class Stage(NamedTuple):
    """A hidden layer behind its product.

    Attributes
    ----------
    units, product_units : int
        True numbers of columns.
    products : int
        Pre-activations in the workspace, normalized in place.
    normalized, scales : int
        What normalization keeps: values before gain and shift, and what they were multiplied by,
        of each row or of each group of rows and column.
    outputs : int
        In the place of the products unless a unit has several.
    kept : int
        Derivatives, or which piece was the best one.
    slopes, matrix : int
        Slopes by the learned numbers: the first one's, and the distance to the next one's.
    deltas, product_deltas : int
        The loss's derivatives by outputs and products, in one place unless a unit has several.
    numbers, gain, shift, mean, variance : int
        In the parameters; learned numbers lie one vector after the other.
    constants : int
        Where the activation's begin among all constants.
    updates_statistics : int
        Whether the running statistics take note of the batch.
    """

    units: int
    product_units: int
    products: int
    normalized: int
    scales: int
    outputs: int
    kept: int
    slopes: int
    matrix: int
    deltas: int
    product_deltas: int
    numbers: int
    gain: int
    shift: int
    mean: int
    variance: int
    constants: int
    updates_statistics: int


class Drop(NamedTuple):
    """Dropout of some outputs, or of the inputs.

    Attributes
    ----------
    place : int
        What is multiplied, in the workspace: outputs, or their deltas on the way back.
    number : int
        The layer's, as masks count.
    units : int
    lowest_kept : int
        The smallest number by which a unit is kept.
    scale : int
        Place among the constants of what it is multiplied by then.
    """

    place: int
    number: int
    units: int
    lowest_kept: int
    scale: int


class Head(NamedTuple):
    """Some of the output units.

    Attributes
    ----------
    units : int
    raw : int
        Its first raw prediction in the workspace, where the loss's derivatives take their places.
    columns : int
        Distance from row to row.
    target : int
        Its first target among all.
    constants : int
        Where the loss's begin among all constants.
    is_first : int
        Whether losses of rows begin with it.
    """

    units: int
    raw: int
    columns: int
    target: int
    constants: int
    is_first: int


class Sums(NamedTuple):
    """A gradient that is a sum over rows: ``sum_i factors[i, j] * deltas[i, j]``.

    Attributes
    ----------
    units : int
        Columns.
    factors : int
        In the workspace, or `NOWHERE` for factors of one.
    deltas : int
        In the workspace.
    out : int
        In the gradient.
    """

    units: int
    factors: int
    deltas: int
    out: int


@dataclass(frozen=True)
class HiddenStage:
    """One hidden layer with its description.

    Parameters
    ----------
    spec : LayerSpec
    stage : Stage
    drop : Drop or None
    """

    spec: LayerSpec
    stage: Stage
    drop: Drop | None

    def sums_before_map(self) -> Iterator[Sums]:
        """Yield the gradients of the learned numbers, which take the deltas of the outputs."""
        stage = self.stage
        for k in range(len(self.spec.entry.learned)):
            place = stage.numbers + k * padded(stage.units)
            yield Sums(stage.units, stage.slopes + k * stage.matrix, stage.deltas, place)

    def sums_before_normalization(self) -> Iterator[Sums]:
        """Yield the gradients of gain and shift, which take the deltas of what they make."""
        stage = self.stage
        for factors, place in ((stage.normalized, stage.gain), (NOWHERE, stage.shift)):
            yield Sums(stage.product_units, factors, stage.product_deltas, place)


@dataclass
class Places:
    """Pieces of a workspace of so many rows, one after the other."""

    rows: int
    size: int = 0

    def take(self, columns: int, rows: int | None = None, count: int = 1) -> int:
        """Return where matrices begin that did not have a place before."""
        start = self.size
        self.size += count * (self.rows if rows is None else rows) * padded(columns)
        return start


@dataclass
class Constants:
    """Constants of all formulas, one after the other."""

    values: list[float] = field(default_factory=list)

    def take(self, *values: float) -> int:
        """Return where numbers begin that did not have a place before."""
        start = len(self.values)
        self.values.extend(values)
        return start


@dataclass(frozen=True)
class Program:
    """A network as it is computed.

    Attributes
    ----------
    layers : tuple of Layer
        The products.
    hidden : tuple of HiddenStage
    heads : tuple of (HeadSpec, Head)
    input_drop : Drop or None
    constants : tuple of float
    size : int
        Elements of one model's workspace.
    """

    layers: tuple[Layer, ...]
    hidden: tuple[HiddenStage, ...]
    heads: tuple[tuple[HeadSpec, Head], ...]
    input_drop: Drop | None
    constants: tuple[float, ...]
    size: int


def describe_program(
    network: NetworkSpec, rows: int, *, is_sparse: bool, trains: bool, updates_statistics: bool
) -> Program:
    """Give everything its place, in a workspace of so many rows.

    Parameters
    ----------
    network : NetworkSpec
    rows : int
    is_sparse : bool
        Whether X is.
    trains : bool
        Whether there is a way back.
    updates_statistics : bool
    """
    places, constants = Places(rows), Constants()
    dropout = network.inputs.dropout if trains else 0.0
    has_own_inputs = is_sparse or dropout > 0.0
    inputs = places.take(network.n_features) if has_own_inputs else 0
    input_drop = describe_drop(inputs, INPUTS, network.n_features, dropout, constants)
    hidden = []
    for number, spec in enumerate(network.layers):
        stage = describe_stage(
            network, number, places, constants, trains=trains, updates_statistics=updates_statistics
        )
        dropout = spec.dropout if trains else 0.0
        drop = describe_drop(stage.outputs, number + 1, spec.units, dropout, constants)
        hidden.append(HiddenStage(spec, stage, drop))
    raw = places.take(network.n_outputs)
    heads: list[tuple[HeadSpec, Head]] = []
    unit = target = 0
    for head in network.heads:
        own = constants.take(*head.loss.constants)
        columns = padded(network.n_outputs)
        heads.append((head, Head(head.units, raw + unit, columns, target, own, int(not heads))))
        unit += head.units
        target += head.target_columns
    constants.take(0.0)  # nothing has no address
    stages = [one.stage for one in hidden]
    return Program(
        describe_products(network, inputs, stages, raw, from_source=not has_own_inputs),
        tuple(hidden),
        tuple(heads),
        input_drop,
        tuple(constants.values),
        places.size,
    )


def describe_stage(
    network: NetworkSpec,
    number: int,
    places: Places,
    constants: Constants,
    *,
    trains: bool,
    updates_statistics: bool,
) -> Stage:
    """Give a hidden layer its place."""
    layer, layout = network.layers[number], PaddedLayout(layout_of(network))
    units, product_units = layer.units, layer.product_units
    own = {
        extra.name: start
        for extra, start in zip(layout.flat.extras, layout.extra_offsets, strict=False)
        if extra.layer == number
    }
    n_learned, has_pieces = len(layer.entry.learned), layer.entry.pieces is not None
    products = places.take(product_units)
    normalized = scales = kept = slopes = deltas = NOWHERE
    if layer.normalization is not None:
        normalized = places.take(product_units)
        groups = -(-places.rows // GROUP_ROWS)
        by_column = layer.normalization == "batch"
        scales = places.take(product_units, groups) if by_column else places.take(places.rows, 1)
    outputs = places.take(units) if has_pieces else products
    if trains:
        kept = places.take(units)
        slopes = places.take(product_units, count=n_learned)
        deltas = places.take(units)
    product_deltas = places.take(product_units) if trains and has_pieces else deltas
    first = layer.entry.learned[0].name if n_learned else ""
    return Stage(
        units=units,
        product_units=product_units,
        products=products,
        normalized=normalized,
        scales=scales,
        outputs=outputs,
        kept=kept,
        slopes=slopes,
        matrix=places.rows * padded(product_units),
        deltas=deltas,
        product_deltas=product_deltas,
        numbers=own.get(first, NOWHERE),
        gain=own.get("gain", NOWHERE),
        shift=own.get("shift", NOWHERE),
        mean=own.get("mean", NOWHERE),
        variance=own.get("variance", NOWHERE),
        constants=constants.take(*layer.activation.constants),
        updates_statistics=int(updates_statistics),
    )


def describe_drop(
    place: int, number: int, units: int, dropout: float, constants: Constants
) -> Drop | None:
    """Describe dropout, None where there is none."""
    if dropout == 0.0:
        return None
    scale = constants.take(1.0 / (1.0 - dropout))
    return Drop(place, number, units, threshold(dropout), scale)


def describe_products(
    network: NetworkSpec, inputs: int, stages: list[Stage], raw: int, *, from_source: bool
) -> tuple[Layer, ...]:
    """Describe the products between the stages; no activation is a part of them."""
    layout = PaddedLayout(layout_of(network))
    before = [(inputs, NOWHERE), *((stage.outputs, stage.deltas) for stage in stages)]
    behind = [*((stage.products, stage.product_deltas) for stage in stages), (raw, raw)]
    return tuple(
        Layer(
            fan_in=fan_in,
            fan_out=fan_out,
            inputs=before[i][0],
            outputs=behind[i][0],
            output_deltas=behind[i][1],
            input_deltas=before[i][1],
            coefs=layout.coef_offsets[i],
            intercepts=layout.intercept_offsets[i],
            activation=IDENTITY,
            input_activation=IDENTITY,
            from_source=int(i == 0 and from_source),
        )
        for i, (fan_in, fan_out) in enumerate(network.shapes)
    )
