"""Frozen descriptions of a network and its optimizer. They hold no arrays.

Every field is checked where a description is made, so that whoever has one can believe it.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import sqrt
from typing import Any

from skmlp.network.activations import Activation, activation_entry
from skmlp.network.embeddings import Embedding, embedding_entry
from skmlp.network.losses import Loss, loss_entry
from skmlp.network.optimizers import GROUPS, OPTIMIZERS, PER_LAYER, Group, Optimizer
from skmlp.network.penalties import PENALTIES, Penalty

NORMALIZATIONS = ("layer", "batch")
ADAPTED = ("inputs", "layers")
STARTS = ("signs", "normal")
PARAMETRIZATIONS = ("standard", "ntk")


def check(name: str, value: Any, is_valid: bool, expected: str) -> None:
    if not is_valid:
        raise ValueError(f"{name} must be {expected}, but is {value!r}.")


@dataclass(frozen=True)
class Formula:
    """An entry of a registry with the values of its constants, in the entry's order."""

    name: str
    constants: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check("name", self.name, isinstance(self.name, str), "a string")
        is_tuple = isinstance(self.constants, tuple)
        is_valid = is_tuple and all(type(value) is float for value in self.constants)
        check("constants", self.constants, is_valid, "a tuple of floats")


@dataclass(frozen=True)
class Block:
    """Neighboring columns of X that are embedded alike, each by itself.

    Parameters
    ----------
    columns : int
    formula : Formula
        An entry of the embeddings.
    """

    columns: int
    formula: Formula

    def __post_init__(self) -> None:
        check_count("columns", self.columns)
        check("formula", self.formula, type(self.formula) is Formula, "a Formula")
        self.entry.check_constants(self.formula.constants)

    @property
    def entry(self) -> Embedding:
        return embedding_entry(self.formula.name)

    @property
    def width(self) -> int:
        """Numbers that one column becomes."""
        return self.entry.width(*self.formula.constants)

    @property
    def n_learned(self) -> int:
        """Numbers that one column learns."""
        return self.entry.learned(*self.formula.constants)

    @property
    def n_given(self) -> int:
        """Numbers that the data give to one column."""
        return self.entry.given(*self.formula.constants)


@dataclass(frozen=True)
class InputSpec:
    """What enters the network.

    Parameters
    ----------
    n_features : int
        Columns of X.
    dropout : float
        Share of the inputs that training drops.
    noise : float
        Standard deviation of what training adds to the inputs, before it drops some.
    mixup : float
        Concentration of the shares by which training mixes the rows of a batch, before it adds
        anything; zero for no mixtures.
    embedding : tuple of Block
        What columns of X become, in their order, after all that; none for what they are.
    scaled : bool
        Whether each of the numbers that the first layer reads is multiplied by a learned one.
    """

    n_features: int
    dropout: float = 0.0
    noise: float = 0.0
    mixup: float = 0.0
    embedding: tuple[Block, ...] = ()
    scaled: bool = False

    def __post_init__(self) -> None:
        check_count("n_features", self.n_features)
        check_dropout(self.dropout)
        blocks = self.embedding
        check("embedding", blocks, is_tuple_of(blocks, Block), "a tuple of Block")
        columns = sum(block.columns for block in blocks)
        is_valid = not blocks or columns == self.n_features
        check("embedding", blocks, is_valid, f"of {self.n_features} columns")
        check("scaled", self.scaled, type(self.scaled) is bool, "a bool")
        for name in ("noise", "mixup"):
            value = getattr(self, name)
            is_valid = type(value) is float and 0.0 <= value < float("inf")
            check(name, value, is_valid, "a finite float, not negative")
        has_codes = any(block.entry.takes_codes for block in blocks)
        is_valid = not (has_codes and self.is_disturbed)
        check("embedding", blocks, is_valid, "without codes where inputs are disturbed")

    @property
    def width(self) -> int:
        """How many numbers the first layer reads."""
        blocks = self.embedding
        return sum(b.columns * b.width for b in blocks) if blocks else self.n_features

    @property
    def is_changed(self) -> bool:
        """Whether the first layer reads anything else than X."""
        return self.scaled or bool(self.embedding)

    @property
    def undisturbed(self) -> "InputSpec":
        """The same as predictions have it."""
        return replace(self, dropout=0.0, noise=0.0, mixup=0.0) if self.is_disturbed else self

    @property
    def is_disturbed(self) -> bool:
        """Whether training sees other inputs than there are."""
        return self.dropout > 0.0 or self.noise > 0.0 or self.mixup > 0.0


@dataclass(frozen=True)
class LayerSpec:
    """A hidden layer: a product, then normalization, activation and dropout.

    Parameters
    ----------
    units : int
        What the next layer reads.
    activation : Formula
        An entry of the activations.
    normalization : {None, "layer", "batch"}
        What is done to pre-activations.
    dropout : float
        Share of the units' outputs that training drops.
    """

    units: int
    activation: Formula
    normalization: str | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_count("units", self.units)
        check("activation", self.activation, type(self.activation) is Formula, "a Formula")
        self.entry.check_constants(self.activation.constants)
        check("activation", self.activation.name, self.entry.hidden, "one for hidden layers")
        is_known = self.normalization is None or (
            isinstance(self.normalization, str) and self.normalization in NORMALIZATIONS
        )
        check("normalization", self.normalization, is_known, f"None or of {NORMALIZATIONS}")
        check_dropout(self.dropout)

    @property
    def entry(self) -> Activation:
        return activation_entry(self.activation.name)

    @property
    def pieces(self) -> int:
        """Pre-activations of each unit."""
        pieces = self.entry.pieces
        return 1 if pieces is None else pieces(*self.activation.constants)

    @property
    def product_units(self) -> int:
        """Columns of the product that the layer begins with."""
        return self.pieces * self.units


@dataclass(frozen=True)
class HeadSpec:
    """Some of the output units, which have a loss of their own.

    Parameters
    ----------
    units : int
    loss : Formula
        An entry of the losses.
    link : str
        What turns raw predictions into outputs: the output activation.
    """

    units: int
    loss: Formula
    link: str

    def __post_init__(self) -> None:
        check_count("units", self.units)
        check("loss", self.loss, type(self.loss) is Formula, "a Formula")
        self.entry.check_constants(self.loss.constants)
        per_target = self.units_per_target
        check("units", self.units, self.units % per_target == 0, f"a multiple of {per_target}")

    @property
    def entry(self) -> Loss:
        return loss_entry(self.loss.name, self.link)

    @property
    def units_per_target(self) -> int:
        """How many raw predictions belong to one target."""
        return self.entry.units_with(len(self.loss.constants))

    @property
    def target_columns(self) -> int:
        """Columns of the targets: class numbers take one, whatever the number of classes."""
        return 1 if self.entry.is_categorical else self.units // self.units_per_target


@dataclass(frozen=True)
class Members:
    """Networks that are trained as one and have all but some vectors in common.

    Each has an output layer, and a scale of the inputs, of its own.

    Parameters
    ----------
    count : int
    adapt : {"inputs", "layers"}
        With "layers" members also have, of each hidden layer, intercepts and a scale of the
        products of their own, and of all but the last one a scale of the outputs.
    start : {"signs", "normal"}
        What the scales of the inputs are drawn from: -1 and 1, or a normal distribution.
    sharing : tuple of int
        How many neighboring columns of X, group after group, start with the same number, and with
        them all that they become. None for one each.
    """

    count: int
    adapt: str = "inputs"
    start: str = "signs"
    sharing: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_count("count", self.count)
        check("adapt", self.adapt, self.adapt in ADAPTED, f"one of {ADAPTED}")
        check("start", self.start, self.start in STARTS, f"one of {STARTS}")
        check("sharing", self.sharing, is_tuple_of(self.sharing, int), "a tuple of int")
        for columns in self.sharing:
            check_count("sharing", columns)


@dataclass(frozen=True)
class NetworkSpec:
    """The shape and the formulas of one network: a chain of layers, and heads at its end.

    Parameters
    ----------
    inputs : InputSpec
    layers : tuple of LayerSpec
        The hidden layers.
    heads : tuple of HeadSpec
        At least one. Together they are the output layer, in this order.
    members : Members or None
        Those that share its weights. Then the inputs are scaled, there is one head, of which each
        member has its own, and predictions are means over members.
    """

    inputs: InputSpec
    layers: tuple[LayerSpec, ...]
    heads: tuple[HeadSpec, ...]
    members: Members | None = None

    def __post_init__(self) -> None:
        check("inputs", self.inputs, type(self.inputs) is InputSpec, "an InputSpec")
        check("layers", self.layers, is_tuple_of(self.layers, LayerSpec), "a tuple of LayerSpec")
        is_valid = is_tuple_of(self.heads, HeadSpec) and len(self.heads) > 0
        check("heads", self.heads, is_valid, "a tuple of HeadSpec, at least one")
        members = self.members
        is_valid = members is None or type(members) is Members
        check("members", members, is_valid, "None or Members")
        if members is not None:
            self._check_members(members)

    def _check_members(self, members: Members) -> None:
        """Refuse what members cannot have in common."""
        inputs, sharing = self.inputs, members.sharing
        check("members", members, inputs.scaled, "None where inputs are not scaled")
        check("members", members, inputs.mixup == 0.0, "None where rows are mixed")
        check("members", members, len(self.heads) == 1, "None where there are several heads")
        is_valid = not sharing or sum(sharing) == inputs.n_features
        check("sharing", sharing, is_valid, f"of {inputs.n_features} columns")
        for layer in self.layers:
            normalization, entry = layer.normalization, layer.entry
            is_valid = normalization != "batch"
            if members.adapt == "layers":
                is_valid = normalization is None and entry.is_elementwise and not entry.learned
            check("members", members, is_valid, f"None, or of another kind, with {layer}")

    def __getstate__(self) -> dict[str, Any]:
        # Without what is cached: hashes of strings differ from process to process.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __hash__(self) -> int:
        return self._hash

    # Predictions look networks up more than once, and to hash all layers takes a while each time.
    @cached_property
    def _hash(self) -> int:
        return hash((self.inputs, self.layers, self.heads, self.members))

    @property
    def n_members(self) -> int:
        """How many networks share the weights; one where nothing is shared."""
        return 1 if self.members is None else self.members.count

    @property
    def adapts_layers(self) -> bool:
        """Whether members have vectors of their own in hidden layers."""
        return self.members is not None and self.members.adapt == "layers"

    @property
    def n_features(self) -> int:
        return self.inputs.n_features

    @cached_property
    def n_outputs(self) -> int:
        """How many there are of one row: those of a member, where there are some."""
        return sum(head.units for head in self.heads)

    @property
    def output_units(self) -> int:
        """Units of the output layer: the outputs of all members."""
        return self.n_members * self.n_outputs

    @cached_property
    def target_columns(self) -> int:
        """Columns of the targets, those of all heads."""
        return sum(head.target_columns for head in self.heads)

    @cached_property
    def layer_units(self) -> tuple[int, ...]:
        """Units of every layer, output and input included: what the first layer reads."""
        return (self.inputs.width, *(layer.units for layer in self.layers), self.output_units)

    @property
    def n_connections(self) -> int:
        """Number of weight matrices."""
        return len(self.layers) + 1

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shape of each weight matrix: the units before it, and the columns of its product."""
        return tuple(zip(self.layer_units, self.product_units, strict=False))

    @cached_property
    def pieces(self) -> tuple[int, ...]:
        """How many columns of each layer's product make one unit."""
        return (*(layer.pieces for layer in self.layers), 1)

    @cached_property
    def product_units(self) -> tuple[int, ...]:
        """Columns of each layer's product."""
        return (*(layer.product_units for layer in self.layers), self.output_units)

    @cached_property
    def normalizes_batches(self) -> bool:
        return any(layer.normalization == "batch" for layer in self.layers)

    @cached_property
    def n_coefs(self) -> int:
        """Number of weights, intercepts not counted."""
        return sum(fan_in * fan_out for fan_in, fan_out in self.shapes)

    @property
    def head(self) -> HeadSpec:
        """The only head.

        Raises
        ------
        ValueError
            If there are several.
        """
        (head,) = self.heads
        return head

    def with_units(self, layer_units: tuple[int, ...]) -> "NetworkSpec":
        """Return the same network with other numbers of units, and of layers if they are alike.

        Raises
        ------
        ValueError
            If there is none: the layers differ in more than their units, or there are several
            heads, or columns of X are embedded.
        """
        width, *hidden, n_outputs = layer_units
        layers, inputs = self.layers, self.inputs
        if not inputs.embedding:
            inputs = replace(inputs, n_features=width)
        elif inputs.width != width:
            raise ValueError(f"its embedding makes {inputs.width} numbers of each row of X")
        if len(hidden) != len(layers):
            if len({replace(layer, units=1) for layer in layers}) != 1:
                raise ValueError(f"the network has {len(layers)} hidden layers, each of its own")
            layers = layers[:1] * len(hidden)
        if len(self.heads) > 1 and n_outputs != self.n_outputs:
            raise ValueError(f"the network has {self.n_outputs} outputs of several targets")
        return NetworkSpec(
            inputs,
            tuple(replace(layer, units=u) for layer, u in zip(layers, hidden, strict=True)),
            self.heads if len(self.heads) > 1 else (replace(self.head, units=n_outputs),),
        )


def plain_network(
    layer_units: tuple[int, ...], activation: str, loss: str | Formula, link: str
) -> NetworkSpec:
    """Describe a network with one activation, its constants being the defaults, and one head.

    Parameters
    ----------
    layer_units : tuple of int
        Units of every layer, input and output included.
    activation : str
        Activation of the hidden layers.
    loss : str or Formula
        The loss, by its name where it has no constants.
    link : str
        Activation of the output layer.
    """
    n_features, *hidden, n_outputs = layer_units
    constants = activation_entry(activation).constants
    formula = Formula(activation, tuple(constant.default for constant in constants))
    layers = tuple(LayerSpec(units, formula) for units in hidden)
    heads = (HeadSpec(n_outputs, Formula(loss) if isinstance(loss, str) else loss, link),)
    return NetworkSpec(InputSpec(n_features), layers, heads)


L2 = Formula("l2")


@dataclass(frozen=True)
class Factor:
    """A factor of a group of parameters, in the place of that which its role has.

    Parameters
    ----------
    role : str
        One of the groups.
    value : float
    layer : int or None
        To which layer's product they belong; None for those of all layers.
    """

    role: str
    value: float
    layer: int | None = None

    def __post_init__(self) -> None:
        check("role", self.role, self.role in GROUPS, f"one of {tuple(GROUPS)}")
        is_valid = type(self.value) is float and 0.0 <= self.value < float("inf")
        check("value", self.value, is_valid, "a finite float, not negative")
        layer = self.layer
        is_number = type(layer) is int and layer >= 0 and self.role in PER_LAYER
        check("layer", layer, layer is None or is_number, f"None, or a number for {PER_LAYER}")

    def holds(self, role: str, layer: int) -> bool:
        """Whether it is that of some parameters."""
        return self.role == role and self.layer in (None, layer)


def value_of(factors: tuple[Factor, ...], role: str, layer: int, default: float) -> float:
    """Return the last one of the factors that holds for some parameters."""
    return next((f.value for f in reversed(factors) if f.holds(role, layer)), default)


@dataclass(frozen=True)
class OptimizerSpec:
    """A stochastic optimizer, and what is done beside it.

    Parameters
    ----------
    name : str
        An entry of the optimizers.
    settings : tuple of float
        The values of its settings, in the entry's order.
    weight_decay : float
        Before a step with rate `r` a coefficient is multiplied by ``1 - r * weight_decay``.
    clip_norm : float or None
        What the norm of a batch's gradient is reduced to where it is larger.
    penalty : Formula
        An entry of the penalties.
    clip_value : float or None
        What the size of each entry of a batch's gradient is reduced to where it is larger, before
        the norm is looked at.
    max_norm : float or None
        What the norm of a unit's incoming weights is reduced to after an update where it is larger.
    frozen_layers : int
        So many layers, from the input on, stay what they are. Batch normalization in them takes
        its running statistics, and leaves these as they are.
    ema_decay : float or None
        By which factor the weight of a step's parameters falls with each later step, in their
        averages; None for no averages.
    rate_factors, decay_factors : tuple of Factor
        Of the learning rate and of the weight decay. A group whose factor of the rate is zero
        stays what it is. Of several factors of a group the last one counts.
    parametrization : {"standard", "ntk"}
        With "ntk" steps are those of a network whose layers compute ``x V / sqrt(fan_in) + b``,
        made of V: coefficients are ``V / sqrt(fan_in)``.
    """

    name: str
    settings: tuple[float, ...]
    weight_decay: float = 0.0
    clip_norm: float | None = None
    penalty: Formula = L2
    clip_value: float | None = None
    max_norm: float | None = None
    frozen_layers: int = 0
    ema_decay: float | None = None
    rate_factors: tuple[Factor, ...] = ()
    decay_factors: tuple[Factor, ...] = ()
    parametrization: str = "standard"

    def __post_init__(self) -> None:
        check("name", self.name, self.name in OPTIMIZERS, "an optimizer of the registry")
        self.entry.check_settings(self.settings)
        decay = self.weight_decay
        check("weight_decay", decay, 0.0 <= decay < float("inf"), "a finite number, not negative")
        for name in ("clip_norm", "clip_value", "max_norm"):
            limit = getattr(self, name)
            check(name, limit, limit is None or limit > 0.0, "None or positive")
        is_known = type(self.penalty) is Formula and self.penalty.name in PENALTIES
        check("penalty", self.penalty, is_known, "a Formula of the registry of penalties")
        self.penalty_entry.check_constants(self.penalty.constants)
        frozen = self.frozen_layers
        check("frozen_layers", frozen, type(frozen) is int and frozen >= 0, "an int, not negative")
        ema = self.ema_decay
        check("ema_decay", ema, ema is None or 0.0 <= ema < 1.0, "None or in [0, 1)")
        for name in ("rate_factors", "decay_factors"):
            factors = getattr(self, name)
            check(name, factors, is_tuple_of(factors, Factor), "a tuple of Factor")
        is_known = self.parametrization in PARAMETRIZATIONS
        check("parametrization", self.parametrization, is_known, f"one of {PARAMETRIZATIONS}")

    @property
    def entry(self) -> Optimizer:
        return OPTIMIZERS[self.name]

    @property
    def penalty_entry(self) -> Penalty:
        return PENALTIES[self.penalty.name]

    @property
    def n_vectors(self) -> int:
        """How many vectors as long as the parameters it keeps."""
        return len(self.entry.states) + (self.ema_decay is not None)

    def with_momentum(self, momentum: float) -> tuple[float, ...]:
        """Return its settings with another momentum."""
        place = self.entry.momentum_place
        return tuple(momentum if i == place else own for i, own in enumerate(self.settings))

    def taken_matrices(self, network: NetworkSpec) -> tuple[int, ...]:
        """Return the numbers of the weight matrices that it trains as a whole."""
        taken = self.entry.taken_matrices(self.settings, network.n_connections)
        return tuple(
            number
            for number in taken
            if number >= self.frozen_layers and not self.group(network, "coefs", number).is_frozen
        )

    def group(self, network: NetworkSpec, role: str, layer: int) -> Group:
        """Return by which factors the parameters of a role and layer are updated.

        The gradient by ``V = W sqrt(fan_in)`` is that by W over ``sqrt(fan_in)``, and the step of W
        is that of V over it. With both factors an optimizer sees what it would see of V, and all
        that it carries is the same, whatever it makes of gradients. V decays by the same share as
        W: what the rate is divided by, the decay is multiplied by.
        """
        own = GROUPS[role]
        rate = value_of(self.rate_factors, role, layer, own.rate)
        decay = value_of(self.decay_factors, role, layer, own.decay)
        if role == "intercepts" and network.adapts_layers and layer < len(network.layers):
            rate = 0.0  # each member has its own
        if rate == 0.0:
            return replace(own, rate=0.0, decay=decay, gradient=0.0)
        if self.parametrization == "ntk" and role == "coefs":
            root = sqrt(network.shapes[layer][0])
            return replace(own, rate=rate / root, decay=decay * root, gradient=1.0 / root)
        return replace(own, rate=rate, decay=decay)


def check_count(name: str, value: Any) -> None:
    check(name, value, type(value) is int and value > 0, "a positive int")


def check_dropout(value: Any) -> None:
    check("dropout", value, type(value) is float and 0.0 <= value < 1.0, "a float in [0, 1)")


def is_tuple_of(value: Any, kind: type) -> bool:
    return isinstance(value, tuple) and all(type(item) is kind for item in value)
