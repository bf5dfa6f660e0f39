"""What docstrings say, as the reference shows it."""

import inspect
import re

# :ref:`text <label>`, :term:`word`
REFERENCE = re.compile(r":(?:ref|term):`([^`<]+?)\s*(?:<[^`>]*>)?`")
PAGE = re.compile(r"`+docs/([\w/-]+)\.md`+")
# Formulas would be drawn by a program that lies elsewhere; the few inherited ones are plain enough.
MATH = re.compile(r":math:`([^`]*)`")
FRACTION = re.compile(r"\\frac\{(\w+)\}\{(\w+)\}")


def refer(app, what, name, obj, options, lines):
    """Make links of names of pages, and texts of references to labels and of formulas, in place.

    Inherited docstrings of scikit-learn's refer to labels of its own site.
    """
    for number, line in enumerate(lines):
        text = PAGE.sub(r":doc:`/\1`", REFERENCE.sub(r"\1", line))
        lines[number] = FRACTION.sub(r"\1 / \2", MATH.sub(r"``\1``", text))


def signature_of_init(app, what, name, obj, options, signature, returns):
    """Return the signature of `__init__`, where autodoc has found that of our `__new__`."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    parameters = inspect.signature(obj).parameters.values()
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    return str(inspect.Signature(plain)), None


def setup(app):
    """Register with Sphinx, the first before numpydoc reads the lines."""
    app.connect("autodoc-process-docstring", refer, priority=100)
    app.connect("autodoc-process-signature", signature_of_init)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
