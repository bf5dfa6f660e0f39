"""A warning for each link within the site that leads nowhere, anchors included.

And for each picture, script or style that a page takes from elsewhere: the site needs no network.
"""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

logger = logging.getLogger(__name__)


class Page(HTMLParser):
    """What a page of HTML can be led to at, and where it leads."""

    def __init__(self, text):
        super().__init__()
        self.anchors = {"", "top"}
        self.links = set()
        self.taken = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Keep the anchors and links of a tag."""
        for name, value in attributes:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.add(value)
                if name == "src" or tag == "link":
                    self.taken.add(value)


def dead_links(folder):
    """Yield (page, link) for dead links within a folder, and for what is taken from elsewhere."""
    folder = Path(folder).resolve()
    paths = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(paths)}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.taken and parts.scheme != "data":
                    yield path.relative_to(folder), link
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchors = pages[target].anchors if target in pages else None
            if not target.exists() or (anchors and unquote(parts.fragment) not in anchors):
                yield path.relative_to(folder), link


def check(app, error):
    """Warn of dead links in what was built."""
    if error is None and app.builder.format == "html":
        for page, link in dead_links(app.outdir):
            logger.warning("%s: %s is not within the site", page, link)


def setup(app):
    """Register the check with Sphinx."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
