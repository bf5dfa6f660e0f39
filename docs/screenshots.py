"""Take the screenshots of the playground that the user guide shows.

``python docs/screenshots.py`` writes them anew, with Playwright (``pip install playwright``) and
Debian's Chromium; a build of the site only copies them.
"""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from recorded_run import SETTINGS

FOLDER = Path(__file__).parent / "_static" / "playground"
PATIENCE = 90_000  # milliseconds: the first run on a machine compiles
PHONE = {"width": 390, "height": 844}


def save(page, name, **options):
    """Write what a page shows as a small picture."""
    picture = Image.open(io.BytesIO(page.screenshot(**options))).convert("RGB")
    FOLDER.mkdir(exist_ok=True)
    picture.save(FOLDER / f"{name}.webp", quality=80, method=6)


def run_to(page, epoch, speed="500"):
    """Run at least so many epochs, then pause."""
    page.select_option("#speed", speed)
    page.click("#run")
    expect(page.locator("#status")).to_contain_text("Learning")
    while int(page.text_content("#epoch")) < epoch:
        page.wait_for_timeout(10)
    page.click("#run")
    expect(page.locator("#status")).to_contain_text("Paused")


def draw(page, strokes):
    """Draw a digit with the mouse; strokes are in shares of the pad."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=6)
        page.mouse.up()
    expect(page.locator("#bars .best")).to_be_visible()


def take(browser, address):
    """Take all of them."""

    def opened(settings, scheme="light", **size):
        viewport = {"width": 1280, "height": 800, **size}
        page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}#{quote(json.dumps(settings))}")
        expect(page.locator("#status")).to_contain_text("Ready", timeout=PATIENCE)
        return page

    expect.set_options(timeout=PATIENCE)
    page = opened(SETTINGS.as_plain())
    run_to(page, 300, "50")
    save(page, "spirals")
    page.click("#show-python")
    expect(page.locator("#code")).to_contain_text("MLPClassifier(")
    save(page.locator("#python"), "python")

    page = opened({"data": "digits", "hidden_layer_sizes": [32]}, height=1100)
    run_to(page, 40, "50")
    draw(page, [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.85)], [(0.35, 0.52), (0.7, 0.52)]])
    save(page.locator("#digit-card"), "digit")

    page = opened({"hidden_layer_sizes": [4, 2]}, scheme="dark", **PHONE)
    run_to(page, 200)
    page.evaluate("scrollTo(0, 0)")
    save(page, "phone")

    page = opened({})
    page.click("#tour-start")
    for _ in range(3):
        page.click("#tour-next")
    expect(page.locator("#tour-title")).to_contain_text("4 of 5")
    expect(page.locator("#status")).to_contain_text("Ready")
    run_to(page, 100)
    save(page, "tour")


def main():
    """Start the playground, and a browser that looks at it."""
    command = [sys.executable, "-m", "skmlp", "playground", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+", server.stdout.readline())[0]
        with sync_playwright() as tool:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            take(browser, address)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
