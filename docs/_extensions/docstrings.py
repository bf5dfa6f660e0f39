"""Inherited docstrings of scikit-learn's refer to labels of its own site: their texts stay."""

import re

# :ref:`text <label>`, :term:`word`
REFERENCE = re.compile(r":(?:ref|term):`([^`<]+?)\s*(?:<[^`>]*>)?`")


def plain_references(app, what, name, obj, options, lines):
    """Replace references to labels by their texts, in place."""
    lines[:] = [REFERENCE.sub(r"\1", line) for line in lines]


def setup(app):
    """Register with Sphinx, before numpydoc reads the lines."""
    app.connect("autodoc-process-docstring", plain_references, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
