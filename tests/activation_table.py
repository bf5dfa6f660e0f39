"""The table in docs/guide/activations.md; ``python tests/activation_table.py`` writes it anew."""

import re
from pathlib import Path

from skmlp import activations
from skmlp.network.activations import ACTIVATIONS, ALIASES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "activations.md"
TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- /table -->)", re.DOTALL)
# Objects that stand for an entry of another name than their own constants say.
OBJECTS = {
    getattr(choice, "_name", None): choice for choice in activations.OBJECTS
} | {"gelu": activations.GELU, "gelu_tanh": activations.GELU}  # fmt: skip


def table():
    """Return the table of all activations in Markdown."""
    head = (
        "| name | value | derivative, of the input `z` or the value `a` | never falls | object "
        "| source |\n"
        "|---|---|---|---|---|---|\n"
    )
    return head + "".join(f"{row(entry)}\n" for entry in ACTIVATIONS.values())


def row(entry):
    others = [alias for alias, name in ALIASES.items() if name == entry.name]
    name = ", ".join(f"`{name}`" for name in (entry.name, *others))
    name += "" if entry.hidden else " (output only)"
    value, derivative = (f"`{text}`".replace("|", "\\|") for text in entry.text)
    others = f"{never_falls(entry)} | {written(entry)} | {entry.reference}"
    return f"| {name} | {value} | {derivative} | {others} |"


def never_falls(entry):
    """Return in words whether values never fall, learned numbers not being negative."""
    constants = [constant.default for constant in entry.constants]
    if not entry.never_falls(*constants):
        return ""
    for i, constant in enumerate(entry.constants):
        if constant.low < 0 and not entry.never_falls(*constants[:i], -1.0, *constants[i + 1 :]):
            return f"if `{constant.name} >= 0`"
    return "yes"


def written(entry):
    """Return the object that stands for an entry, as it is written with its defaults."""
    if entry.name not in OBJECTS:
        return ""
    if entry.name == "gelu_tanh":
        return "`GELU(approximate=True)`"
    numbers = [
        f"{constant.name}={int(constant.default) if constant.whole else constant.default}"
        for constant in entry.constants
    ]
    return f"`{OBJECTS[entry.name].__name__}({', '.join(numbers)})`"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
