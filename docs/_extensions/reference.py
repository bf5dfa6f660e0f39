"""A page of the reference for each public module, made when the site is: docstring and names.

Names of the package itself are grouped by hand in docs/api/; those of its modules are as they say.
"""

import importlib
import pkgutil
from pathlib import Path

import skmlp

PAGE = """{title}
{rule}

.. automodule:: {title}
   :no-members:

.. currentmodule:: {title}

.. autosummary::
   :toctree: api
   :nosignatures:

{names}
"""


def public_modules():
    """Return the public names of all modules in skmlp that say which they are, by module."""
    names = [f"skmlp.{module.name}" for module in pkgutil.iter_modules(skmlp.__path__)]
    public = [name for name in names if not name.split(".")[1].startswith("_")]
    modules = map(importlib.import_module, public)
    return {module.__name__: module.__all__ for module in modules if hasattr(module, "__all__")}


def write(app):
    """Write the pages to docs/generated/, where they changed, and tell Sphinx of them."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    for title, names in public_modules().items():
        # Classes before functions, as everywhere.
        ordered = sorted(names, key=lambda name: (name[0].islower(), name.lower()))
        lines = "\n".join(f"   {name}" for name in ordered)
        text = PAGE.format(title=title, rule="=" * len(title), names=lines)
        path = folder / f"{title}.rst"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    app.env.find_files(app.config, app.builder)


def setup(app):
    """Register with Sphinx, before autosummary looks for names."""
    app.connect("builder-inited", write, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
