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
    name, *texts = tables[0]["columns"][:2]
    dtypes = [DTYPE.search(table["title"])[0] for table in tables]
    rows = []
    for parts in zip(*(table["rows"] for table in tables), strict=True):
        if len({part[name] for part in parts}) > 1:
            raise ValueError(f"The tables have unlike rows: {parts}.")
        words = [parts[0][name], *(parts[0][text] for text in texts if text in parts[0])]
        ratios = {f"{column}, {dtype}": part for dtype, part in zip(dtypes, parts, strict=True)}
        rows.append({name: words} | {key: part.get(column) for key, part in ratios.items()})
    return {"title": None, "columns": list(rows[0]), "rows": rows, "notes": []}


def cell(name, value, largest):
    """Return the content of a cell: its text, further words, a bar if it is a ratio."""
    value, *words = value if isinstance(value, list) else [value]
    paragraph = nodes.paragraph("", format_cell(name, value).replace("->", "→"))
    if "/" in name and isinstance(value, float):
        share = 100 * value / largest
        bar = f'<span class="measured-bar" style="width:{share:.1f}%"></span>'
        paragraph += nodes.raw("", bar, format="html")
    more = [
        nodes.paragraph("", text.replace("->", "→"), classes=["measured-more"]) for text in words
    ]
    classes = [] if isinstance(value, str) else ["measured-number"]
    return nodes.entry("", paragraph, *more, classes=classes)


def table_of(columns, rows):
    """Return a table of docutils'."""
    ratios = [row[name] for row in rows for name in columns if "/" in name and row.get(name)]
    largest = max([ratio for ratio in ratios if isinstance(ratio, float)], default=1)
    group = nodes.tgroup(cols=len(columns))
    group += [nodes.colspec(colwidth=1) for _ in columns]
    head = nodes.row("", *(nodes.entry("", nodes.paragraph("", name)) for name in columns))
    group += nodes.thead("", head)
    lines = [[cell(name, row.get(name), largest) for name in columns] for row in rows]
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
