"""Epochs and pictures a second of the playground, in a browser and without one."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from benchmarks import measure
from benchmarks.report import Table

# What the page begins with, a network that learns spirals, and the digits.
NETWORKS: list[dict[str, Any]] = [
    {"data": "circles", "hidden_layer_sizes": [4, 2], "batch_size": 10},
    {"data": "circles", "hidden_layer_sizes": [4, 2], "batch_size": 150},
    {"data": "spirals", "hidden_layer_sizes": [8, 6], "batch_size": 20},
    {"data": "digits", "hidden_layer_sizes": [32], "batch_size": 100},
]
SECONDS = 6.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``playground``: none beyond the common ones."""


def run(arguments: argparse.Namespace) -> list[Table]:
    """Run each network as fast as it can, drawn by a browser where there is one."""
    seconds = 1.0 if arguments.quick else SECONDS
    rows = []
    with browser_page() as open_page:
        for settings in NETWORKS:
            measure.progress(f"playground, {settings['data']}")
            sizes = " x ".join(map(str, settings["hidden_layer_sizes"]))
            row = {"data": settings["data"], "hidden": sizes, "batch": settings["batch_size"]}
            row["epochs per s, no page"] = epochs_without_a_page(settings, seconds)
            if open_page is not None:
                row.update(open_page(settings, seconds))
            rows.append(row)
    notes = [
        f"At the speed 'as fast as it can', over {seconds:g} s. No page: epochs of the session "
        "when nothing takes its pictures. A picture counts when the page has drawn it and asked "
        "for the next.",
    ]
    return [Table("The playground", list(rows[0]), rows, notes)]


def epochs_without_a_page(settings: dict[str, Any], seconds: float) -> float:
    """Return epochs a second of a session whose first picture nobody takes."""
    from skmlp.playground.session import Session

    session = Session()
    tell(session, "configure", settings=settings)
    tell(session, "speed", epochs_per_second=0)
    tell(session, "run")
    while session.epoch < 10:  # compiled, and past its start
        time.sleep(0.01)
    first, begin = session.epoch, time.perf_counter()
    time.sleep(seconds)
    rate = (session.epoch - first) / (time.perf_counter() - begin)
    session.close()
    return rate


def tell(session: Any, kind: str, **fields: Any) -> None:
    """Send a session a message."""
    session.handle(json.dumps({"type": kind, **fields}))


@contextlib.contextmanager
def browser_page() -> Iterator[Any]:
    """Give a function that measures settings in a page, or None without Playwright or Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        chromium = None
    if chromium is None:
        yield None
        return
    from skmlp.playground.server import make_server

    server, listening, address = make_server()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with sync_playwright() as tool:
            browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            yield lambda settings, seconds: rates_in(browser, address, settings, seconds)
            browser.close()
    finally:
        server.should_exit = True
        thread.join()


def rates_in(
    browser: Any, address: str, settings: dict[str, Any], seconds: float
) -> dict[str, float]:
    """Return epochs and pictures a second of a page."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    asked: list[float] = []

    def keep(sent: str | bytes) -> None:
        if json.loads(sent)["type"] == "ack":
            asked.append(time.perf_counter())

    page.on("websocket", lambda socket: socket.on("framesent", keep))
    page.goto(f"{address}#{quote(json.dumps(settings))}")
    page.get_by_text("Ready").wait_for()
    page.select_option("#speed", "0")
    page.click("#run")
    while int(page.text_content("#epoch") or 0) < 10:
        page.wait_for_timeout(50)
    first, begin = int(page.text_content("#epoch") or 0), time.perf_counter()
    page.wait_for_timeout(1000 * seconds)
    last, end = int(page.text_content("#epoch") or 0), time.perf_counter()
    page.close()
    drawn = sum(begin <= moment <= end for moment in asked)
    return {
        "epochs per s": (last - first) / (end - begin),
        "pictures per s": drawn / (end - begin),
    }
