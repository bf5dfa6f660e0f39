"""The tables in docs/guide/ that registries give; ``python tests/guide_tables.py`` writes them."""

from parameter_table import PAGE, TABLE

from skmlp import embeddings, initializers, schedules
from skmlp._formulas import FormulaChoice
from skmlp.network.embeddings import EMBEDDINGS
from skmlp.network.initializers import INITIALIZERS
from skmlp.training.schedules import SCHEDULES

GUIDE = PAGE.parent / "guide"


def objects_of(module):
    """Return the classes of a module that stand for entries, by the names of these."""
    classes = [getattr(module, name) for name in module.__all__]
    return {cls._name: cls for cls in classes if issubclass(cls, FormulaChoice)}


def written(entry, objects):
    """Return an entry as users write it: its name, and its object with all defaults."""
    if entry.name not in objects or not entry.constants:
        return f"`{entry.name}`"
    params = objects[entry.name]().get_params()
    arguments = ", ".join(f"{name}={value!r}" for name, value in params.items())
    return f"`{entry.name}`, `{objects[entry.name].__name__}({arguments})`"


def rows_of_schedules():
    yield "name, object with its defaults", "rate, or factor at the part `p` of all steps", "source"
    objects = objects_of(schedules)
    for entry in SCHEDULES.values():
        text = entry.text if entry.factors is None else f"factor {entry.text}"
        yield written(entry, objects), text, entry.reference


def rows_of_initializers():
    yield "name, object with its defaults", "coefficients", "intercepts", "source"
    objects = objects_of(initializers)
    for entry in INITIALIZERS.values():
        yield written(entry, objects), entry.coefs, entry.intercepts, entry.reference


def rows_of_embeddings():
    yield "name, object with its defaults", "numbers", "formula", "start", "source"
    objects = objects_of(embeddings)
    for entry in EMBEDDINGS.values():
        if entry.name in objects:
            width = entry.width(*(constant.default for constant in entry.constants))
            yield written(entry, objects), str(width), entry.formula, entry.start, entry.reference


PAGES = {
    "schedules.md": rows_of_schedules,
    "initial-weights.md": rows_of_initializers,
    "embeddings.md": rows_of_embeddings,
}


def table(rows):
    """Return rows in Markdown, the first of which is the head."""
    lines = [f"| {' | '.join(row)} |" for row in rows()]
    lines.insert(1, "|---" * len(next(rows())) + "|")
    return "".join(f"{line}\n" for line in lines).replace("``", "`")


if __name__ == "__main__":
    for name, rows in PAGES.items():
        page, text = GUIDE / name, table(rows)
        page.write_text(TABLE.sub(lambda _, text=text: text, page.read_text("utf-8")), "utf-8")
