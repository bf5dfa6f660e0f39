"""Networks in pickles: as dictionaries of plain values, not as instances of our classes.

Classes may gain fields; a dictionary from an earlier version then goes without them, and one from
a later version is told by its format before anything of it is believed.
"""

from dataclasses import asdict
from typing import Any

from skmlp.network.specs import Formula, HeadSpec, InputSpec, LayerSpec, NetworkSpec

# Raised whenever what earlier versions would make of a state is not what is meant.
FORMAT = 1


def as_plain(network: NetworkSpec) -> dict[str, Any]:
    """Return a network as nested dictionaries, tuples, strings and numbers."""
    return asdict(network)


def from_plain(state: Any) -> NetworkSpec:
    """Return the network that `as_plain` was given.

    Raises
    ------
    ValueError
        If `state` is none that describes a network.
    """
    try:
        layers = (dict(layer) for layer in state["layers"])
        heads = (dict(head) for head in state["heads"])
        return NetworkSpec(
            InputSpec(**state["inputs"]),
            tuple(LayerSpec(**with_formula(layer, "activation")) for layer in layers),
            tuple(HeadSpec(**with_formula(head, "loss")) for head in heads),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"This describes no network: {error!r}.") from error


def with_formula(state: dict[str, Any], name: str) -> dict[str, Any]:
    return {**state, name: Formula(**state[name])}


def check_format(owner: str, found: Any) -> None:
    """Refuse a state that a later version has written.

    Raises
    ------
    ValueError
        If its format is not known.
    """
    if found != FORMAT:
        raise ValueError(
            f"This {owner} was saved in format {found!r}, but this version of skmlp reads format "
            f"{FORMAT}. Load it with the version that saved it, or a later one."
        )
