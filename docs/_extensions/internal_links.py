"""A warning for each link of the site's pages that leads nowhere within it, anchors included."""

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
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Keep the anchors and links of a tag."""
        for name, value in attributes:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.add(value)


def dead_links(folder):
    """Yield (page, link) for all links within a folder of HTML that lead nowhere."""
    folder = Path(folder).resolve()
    paths = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(paths)}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
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
            logger.warning("%s: the link %s leads nowhere", page, link)


def setup(app):
    """Register the check with Sphinx."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
