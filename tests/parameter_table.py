"""The table in docs/parameters.md; ``python tests/parameter_table.py`` writes it anew."""

import re
from pathlib import Path

from skmlp._parameters import PARAMETERS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "parameters.md"
TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- /table -->)", re.DOTALL)


def table():
    """Return the table of all parameters in Markdown."""
    head = "| parameter | values | default | what | has an effect with |\n|---|---|---|---|---|\n"
    return head + "".join(f"{row(entry)}\n" for entry in PARAMETERS.values())


def row(entry):
    name = f"**`{entry.name}`**" if entry.is_added else f"`{entry.name}`"
    if len(entry.estimators) == 1:
        name += f" ({entry.estimators[0]})"
    conditions = ", ".join(f"`{condition}`" for condition in entry.applies_to)
    text = entry.text.replace("``", "`")
    cells = (name, entry.kind, f"`{entry.default!r}`", text, conditions)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
