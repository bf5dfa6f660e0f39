"""The table in docs/guide/losses.md; ``python tests/loss_table.py`` writes it anew."""

import re
from pathlib import Path

from skmlp.network.losses import LOSSES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "losses.md"
TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- /table -->)", re.DOTALL)


def table():
    """Return the table of all losses in Markdown."""
    head = (
        "| loss, output activation | of | y | formula | constants | smallest for | source |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(f"{row(entry)}\n" for entry in LOSSES.values())


def row(entry):
    kind = "classifiers" if entry.for_classes else "regressors"
    constants = ", ".join(
        f"`{constant.name}` in {constant.range}" for constant in dict.fromkeys(shown(entry))
    )
    cells = (
        f"`{entry.name}`, `{entry.output_activation}`",
        kind,
        entry.domain,
        f"`{entry.formula}`",
        constants,
        entry.minimizer,
        entry.reference,
    )
    return f"| {' | '.join(cells)} |"


def shown(entry):
    """Return the constants, that of several quantiles once."""
    return entry.constants[:1] if entry.has_any_number else entry.constants


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
