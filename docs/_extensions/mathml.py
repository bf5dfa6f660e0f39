"""Formulas as MathML, which browsers draw by themselves: no page needs a script from elsewhere."""

from docutils import nodes
from docutils.utils.math import latex2mathml

# What is wider than a telephone is scrolled.
STYLE = "margin: 1.15rem 0; overflow-x: auto; overflow-y: hidden"


def visit_math(translator, node):
    """Write a formula within a line."""
    translator.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_displaymath(translator, node):
    """Write a formula that stands by itself."""
    formula = latex2mathml.tex2mathml(node.astext(), as_block=True)
    # Not of the class "math", which the theme lays out for MathJax.
    translator.body.append(f'<div class="formula" style="{STYLE}">{formula}</div>')
    raise nodes.SkipNode


def setup(app):
    """Register with Sphinx, where `html_math_renderer` may name it."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
