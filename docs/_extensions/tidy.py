"""Blocks of code without the empty line that ends the last example of a Markdown page's block."""

from docutils import nodes
from sphinx.transforms import SphinxTransform


class WithoutLastEmptyLine(SphinxTransform):
    """Strip blocks of code; doctest needs the line that readers do not."""

    default_priority = 100

    def apply(self):
        """Strip all blocks of a document."""
        for block in self.document.findall(nodes.literal_block):
            text = block.astext().rstrip()
            block.rawsource = text
            block[:] = [nodes.Text(text)] if len(block) == 1 else block[:]


def setup(app):
    """Register with Sphinx."""
    app.add_transform(WithoutLastEmptyLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
