"""The directive `measured`: tables of benchmarks/results/, made when the site is, never typed.

Its argument is the name of a result, or a subject, of which the newest result is taken::

    ```{measured} search
    :tables: 1
    :columns: search, workers, sklearn/skmlp
    ```

Columns that are ratios get bars. ``:joined: sklearn/skmlp`` makes one table of all, with that
column of each.
"""

import json
import re
from datetime import datetime
from html import escape

from docutils import nodes
from docutils.parsers.rst import Directive, directives

from benchmarks.report import RESULTS, format_cell

DTYPE = re.compile(r"float\d\d")
NAMES = {"workload", "network"}  # of shapes
FOLDER = re.compile(r"\S*/\S*")  # of whoever measured


def result(name):
    """Return the path of a result, by its name or as the newest of a subject."""
    if name.endswith(".json"):
        return RESULTS / name
    pattern = re.compile(rf"\d{{4}}-\d\d-\d\d-{re.escape(name)}(-\d+)?\.json")
    found = [path for path in RESULTS.glob("*.json") if pattern.fullmatch(path.name)]
    if not found:
        raise ValueError(f"benchmarks/results/ has no result of the subject {name!r}.")
    return max(found, key=lambda path: json.loads(path.read_text("utf-8"))["time"])


def joined(tables, column):
    """Return one table with a column of each, which is named by the precision in its title."""
    name, shape = tables[0]["columns"][:2]
    dtypes = [DTYPE.search(table["title"])[0] for table in tables]
    rows = []
    for parts in zip(*(table["rows"] for table in tables), strict=True):
        if len({part[name] for part in parts}) > 1:
            raise ValueError(f"The tables have unlike rows: {parts}.")
        ratios = {f"{column}, {dtype}": part for dtype, part in zip(dtypes, parts, strict=True)}
        texts = {key: parts[0].get(key) for key in (name, shape)}
        rows.append(texts | {key: part.get(column) for key, part in ratios.items()})
    return {"title": None, "columns": list(rows[0]), "rows": rows, "notes": []}


def cell(row, name, largest):
    """Return a cell: its text, and a bar if it is a ratio; below a name the shape it stands for."""
    value = row.get(name)
    paragraph = nodes.paragraph("", format_cell(name, value))
    entry = nodes.entry(
        "", paragraph, classes=[] if isinstance(value, str) else ["measured-number"]
    )
    if "/" in name and isinstance(value, float):
        share = 100 * value / largest
        bar = f'<span class="measured-bar" style="width:{share:.1f}%"></span>'
        paragraph += nodes.raw("", bar, format="html")
    if name in NAMES and "shape" in row and row["shape"]:
        shape = row["shape"].replace("->", "→")
        entry += nodes.paragraph("", shape, classes=["measured-more"])
    return entry


def table_of(columns, rows):
    """Return a table of docutils'."""
    if NAMES & set(columns):
        columns = [name for name in columns if name != "shape"]
    ratios = [row.get(name) for row in rows for name in columns if "/" in name]
    largest = max([ratio for ratio in ratios if isinstance(ratio, float)], default=1)
    group = nodes.tgroup(cols=len(columns))
    group += [nodes.colspec(colwidth=1) for _ in columns]
    head = nodes.row("", *(nodes.entry("", nodes.paragraph("", name)) for name in columns))
    group += nodes.thead("", head)
    lines = [[cell(row, name, largest) for name in columns] for row in rows]
    group += nodes.tbody("", *(nodes.row("", *line) for line in lines))
    return nodes.table("", group, classes=["measured"])


def provenance(document, path):
    """Return where figures come from, as a paragraph."""
    machine, versions = document["machine"], document["versions"]
    command = FOLDER.sub("FOLDER", document["command"])
    day = datetime.fromisoformat(document["time"]).date()
    others = [f"{name} {version}" for name, version in versions.items() if name != "skmlp"]
    text = (
        f"<code>{escape(command)}</code>, {day}: {machine['cores']} cores of {machine['cpu']}, "
        f"{', '.join(others)}. All samples: <code>benchmarks/results/{path.name}</code>."
    )
    return nodes.raw("", f'<p class="measured-source">{text}</p>', format="html")


class Measured(Directive):
    """Tables of a result, and how they were measured."""

    required_arguments = 1
    option_spec = {  # noqa: RUF012 (docutils reads it)
        "tables": directives.positive_int_list,
        "columns": directives.unchanged,
        "joined": directives.unchanged,
    }

    def run(self):
        """Return the nodes."""
        try:
            path = result(self.arguments[0])
            document = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise self.error(str(error)) from error
        self.state.document.settings.env.note_dependency(str(path))
        tables = document["tables"]
        if "joined" in self.options:
            tables = [joined(tables, self.options["joined"])]
        elif "tables" in self.options:
            tables = [tables[number - 1] for number in self.options["tables"]]
        content = []
        for table in tables:
            columns = table["columns"]
            if "columns" in self.options:
                columns = [name.strip() for name in self.options["columns"].split(",")]
                if unknown := set(columns) - set(table["columns"]):
                    raise self.error(f"{path.name} has no columns {sorted(unknown)}.")
            if table["title"]:
                content.append(nodes.paragraph("", "", nodes.strong("", table["title"])))
            content.append(table_of(columns, table["rows"]))
            if table["notes"]:
                content.append(nodes.paragraph("", " ".join(table["notes"])))
        return [*content, provenance(document, path)]


def setup(app):
    """Register the directive with Sphinx."""
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
