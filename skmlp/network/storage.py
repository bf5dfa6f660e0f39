"""Networks in pickles: as dictionaries of plain values, not as instances of our classes.

Classes may gain fields; a dictionary from an earlier version then goes without them, and one from
a later version is told by its format before anything of it is believed.
"""

from dataclasses import asdict, fields
from typing import Any

from skmlp.network.specs import (
    Block,
    Formula,
    HeadSpec,
    InputSpec,
    LayerSpec,
    Members,
    NetworkSpec,
)

# Raised whenever what earlier versions would make of a state is not what is meant.
FORMAT = 1
# Fields of `InputSpec` that networks of the first version did not have.
ADDED = ("embedding", "scaled")


def as_plain(network: NetworkSpec) -> dict[str, Any]:
    """Return a network as nested dictionaries, tuples, strings and numbers.

    What inputs have gained is in them only where it is used: others are what they were.
    """
    plain = asdict(network)
    defaults = {field.name: field.default for field in fields(InputSpec)}
    for name in ADDED:
        if plain["inputs"][name] == defaults[name]:
            del plain["inputs"][name]
    if network.members is None:
        del plain["members"]
    return plain


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
            InputSpec(**with_blocks(state["inputs"])),
            tuple(LayerSpec(**with_formula(layer, "activation")) for layer in layers),
            tuple(HeadSpec(**with_formula(head, "loss")) for head in heads),
            Members(**state["members"]) if "members" in state else None,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"This describes no network: {error!r}.") from error


def with_blocks(state: dict[str, Any]) -> dict[str, Any]:
    state = dict(state)
    blocks = (dict(block) for block in state.get("embedding", ()))
    return {**state, "embedding": tuple(Block(**with_formula(b, "formula")) for b in blocks)}


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
