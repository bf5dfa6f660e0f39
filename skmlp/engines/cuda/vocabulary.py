"""What the CUDA engine knows: which networks are plain, and what it cannot compute.

*Plain* is what kernels that serve every fit are compiled with; one launch chooses among these
formulas by their codes. Entries of the registries beyond it, and all else that is computed, are
the business of programs (`programs.py`), which have kernels compiled for what they need.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from typing import Any

from skmlp.engines.base import EpochPlan, FitTask
from skmlp.network.activations import ACTIVATIONS, CUSTOM_ACTIVATIONS, Activation, Learned
from skmlp.network.links import Link
from skmlp.network.losses import CUSTOM_LOSSES, LOSSES, Loss
from skmlp.network.optimizers import GROUPS, OPTIMIZERS, Group, Optimizer, State
from skmlp.network.specs import HeadSpec, InputSpec, LayerSpec, NetworkSpec, OptimizerSpec

# An entry's code is its place.
KNOWN_ACTIVATIONS = ("identity", "logistic", "tanh", "relu", "exp")
KNOWN_LOSSES = (
    ("log_loss", "softmax"),
    ("log_loss", "logistic"),
    ("squared_error", "identity"),
    ("poisson", "exp"),
)
KNOWN_OPTIMIZERS = ("sgd", "adam")
IDENTITY = KNOWN_ACTIVATIONS.index("identity")
SOFTMAX = -1  # stands where the code of an element-wise output activation would

# What this engine heeds of each description. A description may gain fields: they are computed
# only if they are named here, and have a part in nothing as long as they hold their defaults.
HEEDED: dict[type, str] = {
    FitTask: "network optimizer data parameters optimizer_state alpha batch_size seed",
    EpochPlan: "orders learning_rate rates",
    NetworkSpec: "inputs layers heads",
    InputSpec: "n_features dropout",
    LayerSpec: "units activation normalization dropout",
    HeadSpec: "units loss link",
    OptimizerSpec: "name settings weight_decay clip_norm",
    # What `both` returns, `value` and `derivative` return apart.
    Activation: "name value derivative both derivative_takes_input constants learned pieces "
    "init_gain gain growth hidden reference text surrogate never_falls",
    Learned: "name initial slope",
    Link: "name value units_per_target is_categorical exponent reference n_spreads",
    Loss: "name output_activation value gradient domain domain_minimum domain_is_open constants "
    "for_classes formula minimizer reference",
    # Which setting the momentum is, plans ask that move it.
    Optimizer: "name settings states constants update binds reference momentum",
    State: "name initial",
    Group: "rate alpha decay",
}
# What the estimators call some of the others.
PARAMETERS = {
    **{"penalty": "l1_ratio", "noise": "input_noise", "bounds": "bounds of parameters"},
    **{"rate_factors": "learning_rate_factors", "decay_factors": "weight_decay_factors"},
    "scaled": "input_scale",
}
NORMALIZED = (None, "layer", "batch")


def known_activations() -> list[Activation]:
    return [ACTIVATIONS[name] for name in KNOWN_ACTIVATIONS]


def known_losses() -> list[Loss]:
    return [LOSSES[key] for key in KNOWN_LOSSES]


def known_optimizers() -> list[Optimizer]:
    return [OPTIMIZERS[name] for name in KNOWN_OPTIMIZERS]


def hidden_codes(network: NetworkSpec) -> list[int]:
    """Return the code of each hidden layer's activation."""
    return [KNOWN_ACTIVATIONS.index(layer.activation.name) for layer in network.layers]


def link_code(network: NetworkSpec) -> int:
    link = network.head.link
    return SOFTMAX if link == "softmax" else KNOWN_ACTIVATIONS.index(link)


def loss_code(network: NetworkSpec) -> int:
    return KNOWN_LOSSES.index((network.head.loss.name, network.head.link))


def optimizer_code(optimizer: OptimizerSpec) -> int:
    return KNOWN_OPTIMIZERS.index(optimizer.name)


def is_plain(network: NetworkSpec, optimizer: OptimizerSpec | None) -> bool:
    """Tell whether kernels that serve every fit suffice; a prediction has no optimizer."""
    return (
        network.inputs.dropout == 0.0
        and all(
            layer.activation.name in KNOWN_ACTIVATIONS
            and layer.normalization is None
            and layer.dropout == 0.0
            for layer in network.layers
        )
        and len(network.heads) == 1
        and (network.head.loss.name, network.head.link) in KNOWN_LOSSES
        and (
            optimizer is None
            or (
                optimizer.name in KNOWN_OPTIMIZERS
                and optimizer.weight_decay == 0.0
                and optimizer.clip_norm is None
            )
        )
    )


def shown(activation: str) -> str:
    """Return an activation as users write it; those of their own have names for machines."""
    return "Custom(...)" if activation in CUSTOM_ACTIVATIONS else repr(activation)


def shown_loss(head: HeadSpec) -> str:
    """Return the parameter that asks for a head's loss, as users write it."""
    if (head.loss.name, head.link) in CUSTOM_LOSSES:
        return "loss=Custom(...)"
    if head.entry.link.increment is not None:
        return "loss=Quantile(...) of several quantiles"
    is_smoothed = head.loss.name == "smoothed_log_loss"
    return "label_smoothing of several classes" if is_smoothed else f"loss={head.loss.name!r}"


def cannot_compute(lacking: Sequence[str]) -> str:
    """Return the sentence that names what is lacking."""
    return f"CUDA cannot yet compute {', '.join(lacking)}."


def unheeded(*descriptions: Any) -> list[str]:
    """Name the fields of descriptions that would have a part in nothing, but ask for something."""
    names = []
    for description in descriptions:
        heeded = HEEDED[type(description)].split()
        for field in fields(description):
            made = field.default_factory
            default = field.default if made is MISSING else made()
            value = getattr(description, field.name)
            # Arrays stand where None is the default.
            is_default = type(value) is type(default) and value == default
            if field.name not in heeded and not is_default:
                names.append(PARAMETERS.get(field.name, field.name))
    return names


def lacking_of_activation(entry: Activation) -> list[str]:
    """Name what of an activation cannot be computed."""
    has_both = entry.pieces is not None and len(entry.learned) > 0
    return unheeded(entry, *entry.learned) + ["learned"] * has_both


def check_complete(network: NetworkSpec, optimizer: OptimizerSpec | None) -> None:
    """Refuse what kernels would compute as if it were not there.

    Raises
    ------
    ValueError
        If something is lacking.
    """
    if lacking := what_is_lacking(network, optimizer):
        raise ValueError(cannot_compute(lacking))


def check_heeded(description: FitTask | EpochPlan) -> None:
    """Refuse a task or a plan that asks for more than this engine knows.

    Raises
    ------
    ValueError
        If something is lacking.
    """
    if lacking := unheeded(description):
        raise ValueError(cannot_compute(lacking))


def what_is_lacking(network: NetworkSpec, optimizer: OptimizerSpec | None) -> list[str]:
    """Name what CUDA cannot compute of a fit, or of a prediction where there is no optimizer.

    Returns
    -------
    lacking : list of str
        In the words of the estimators' parameters; empty if all of it can be computed.
    """
    inputs = network.inputs
    if optimizer is None:  # only steps of training add noise and mix
        inputs = replace(inputs, noise=0.0, mixup=0.0)
    lacking = unheeded(network, inputs, *network.layers, *network.heads)
    for layer in network.layers:
        if lacking_of_activation(layer.entry):
            lacking.append(f"activation={shown(layer.activation.name)}")
        if layer.normalization not in NORMALIZED:
            lacking.append(f"normalization={layer.normalization!r}")
    lacking += [shown_loss(head) for head in network.heads if unheeded(head.entry, head.entry.link)]
    if optimizer is not None:
        lacking += unheeded(optimizer, *GROUPS.values())
        if unheeded(optimizer.entry, *optimizer.entry.states):
            lacking.append(f"solver={optimizer.name!r}")
    return list(dict.fromkeys(lacking))
