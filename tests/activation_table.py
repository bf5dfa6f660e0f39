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
        "| name | value | derivative, of the input `z` or the value `a` | object | source |\n"
        "|---|---|---|---|---|\n"
    )
    return head + "".join(f"{row(entry)}\n" for entry in ACTIVATIONS.values())


def row(entry):
    others = [alias for alias, name in ALIASES.items() if name == entry.name]
    name = ", ".join(f"`{name}`" for name in (entry.name, *others))
    name += "" if entry.hidden else " (output only)"
    value, derivative = (f"`{text}`".replace("|", "\\|") for text in entry.text)
    return f"| {name} | {value} | {derivative} | {written(entry)} | {entry.reference} |"


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
