"""The formulas that CUDA kernels know, and the codes by which one launch chooses among them.

A registry may have more entries: what stands here is what every kernel is compiled with.
"""

from collections.abc import Sequence

from skmlp.network.activations import ACTIVATIONS, CUSTOM_ACTIVATIONS, Activation
from skmlp.network.constraints import Bounds
from skmlp.network.losses import CUSTOM_LOSSES, LOSSES, Loss
from skmlp.network.optimizers import OPTIMIZERS, Optimizer
from skmlp.network.specs import L2, HeadSpec, NetworkSpec, OptimizerSpec

# An entry's code is its place.
KNOWN_ACTIVATIONS = ("identity", "logistic", "tanh", "relu", "exp")
KNOWN_LOSSES = (
    ("log_loss", "softmax"),
    ("log_loss", "logistic"),
    ("squared_error", "identity"),
    ("poisson", "exp"),
)
KNOWN_OPTIMIZERS = ("sgd", "adam")
# All that keep one rate for a whole epoch.
KNOWN_SCHEDULES = ("constant", "invscaling", "adaptive", "plateau")
IDENTITY = KNOWN_ACTIVATIONS.index("identity")
SOFTMAX = -1  # stands where the code of an element-wise output activation would


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


def shown(activation: str) -> str:
    """Return an activation as users write it; those of their own have names for machines."""
    return "Custom(...)" if activation in CUSTOM_ACTIVATIONS else repr(activation)


def shown_loss(head: HeadSpec) -> str:
    """Return the parameter that asks for a head's loss, as users write it."""
    if (head.loss.name, head.link) in CUSTOM_LOSSES:
        return "loss=Custom(...)"
    is_smoothed = head.loss.name == "smoothed_log_loss"
    return "label_smoothing of several classes" if is_smoothed else f"loss={head.loss.name!r}"


def cannot_compute(lacking: Sequence[str]) -> str:
    """Return the sentence that names what is lacking."""
    return f"CUDA cannot yet compute {', '.join(lacking)}."


def check_complete(
    network: NetworkSpec, optimizer: OptimizerSpec | None, bounds: Bounds | None = None
) -> None:
    """Refuse what kernels would compute as if it were plain.

    Raises
    ------
    ValueError
        If something is lacking.
    """
    lacking = what_is_lacking(network, optimizer)
    if bounds is not None:
        lacking.append("bounds of parameters")
    if lacking:
        raise ValueError(cannot_compute(lacking))


def lacking_of_optimizer(optimizer: OptimizerSpec) -> list[str]:
    lacking = [] if optimizer.name in KNOWN_OPTIMIZERS else [f"solver={optimizer.name!r}"]
    if optimizer.weight_decay > 0.0:
        lacking.append("weight_decay")
    if optimizer.clip_norm is not None:
        lacking.append("clip_norm")
    if optimizer.penalty != L2:
        lacking.append("l1_ratio")
    for name in ("clip_value", "max_norm", "frozen_layers"):
        if getattr(optimizer, name):
            lacking.append(name)
    if optimizer.ema_decay is not None:
        lacking.append("ema_decay")
    return lacking


def what_is_lacking(
    network: NetworkSpec, optimizer: OptimizerSpec | None, schedule: str = "constant"
) -> list[str]:
    """Name what CUDA cannot compute of a fit, or of a prediction where there is no optimizer.

    Returns
    -------
    lacking : list of str
        In the words of the estimators' parameters; empty if all of it can be computed.
    """
    lacking = [
        f"activation={shown(layer.activation.name)}"
        for layer in network.layers
        if layer.activation.name not in KNOWN_ACTIVATIONS
    ]
    if network.inputs.dropout > 0.0 or any(layer.dropout > 0.0 for layer in network.layers):
        lacking.append("dropout")
    if network.inputs.noise > 0.0:
        lacking.append("input_noise")
    lacking += [
        f"normalization={layer.normalization!r}" for layer in network.layers if layer.normalization
    ]
    if len(network.heads) > 1:
        lacking.append("several targets of classes")
    lacking += [
        shown_loss(head)
        for head in network.heads
        if (head.loss.name, head.link) not in KNOWN_LOSSES
    ]
    if optimizer is not None:
        lacking += lacking_of_optimizer(optimizer)
        if schedule not in KNOWN_SCHEDULES:
            is_function = schedule == "function"
            lacking.append(f"learning_rate={'<function>' if is_function else repr(schedule)}")
    return list(dict.fromkeys(lacking))
