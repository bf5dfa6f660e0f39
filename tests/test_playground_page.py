"""The playground's page in a browser, as its users have it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
for name in ("starlette", "uvicorn", "websockets", "pandas"):
    pytest.importorskip(name)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
DOCS = Path(__file__).resolve().parent.parent / "docs"
PATIENCE = 40_000  # milliseconds, of a machine that compiles


def start():
    """Start the command; return its process and the address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "skmlp", "playground", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found, process.stderr.read()
    return process, found[0]


@pytest.fixture(scope="module")
def address():
    process, address = start()
    yield address
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert not errors


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1400, "height": 950})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(address)
    expect_status(page, "Ready")
    yield page
    context.close()
    assert not errors


def expect_status(page, text):
    playwright.expect(page.locator("#status")).to_contain_text(text, timeout=PATIENCE)


def wait_for_score(page, score):
    wait_until(page, lambda: number_in(page, "#test-score") >= score)


def number_in(page, place):
    return float(page.text_content(place).strip(" %").replace("–", "0"))


def wait_until(page, condition):
    """Wait; Playwright's own waits for expressions need what the page's policy forbids."""
    end = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < end, page.text_content("body")
        page.wait_for_timeout(30)


def test_circles_to_a_score_and_back_through_the_epochs(page):
    page.select_option("#speed", "500")
    page.click("#run")
    wait_for_score(page, 95)
    page.click("#run")
    expect_status(page, "Paused")
    epoch = int(page.text_content("#epoch"))
    page.focus("#past")
    page.keyboard.press("Home")
    wait_until(page, lambda: number_in(page, "#epoch") < epoch)
    page.click("#show-python")
    playwright.expect(page.locator("#code")).to_contain_text("MLPClassifier(")
    page.click("#close")
    page.click("#reset")
    playwright.expect(page.locator("#epoch")).to_have_text("0")


def test_a_digit_is_drawn_and_read(page):
    page.select_option("#data", "digits")
    playwright.expect(page.locator("#digit-card")).to_be_visible()
    playwright.expect(page.get_by_label("Units in layer 1")).to_have_value("32")
    page.select_option("#speed", "50")
    playwright.expect(page.locator("#status")).to_contain_text("Ready")
    page.click("#run")
    wait_for_score(page, 94)
    page.click("#run")
    expect_status(page, "Paused")
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    x, y = box["x"] + 112, box["y"] + 30
    # A zero, by mouse: an upright oval.
    page.mouse.move(x, y)
    page.mouse.down()
    for dx, dy in [
        (-40, 25),
        (-52, 80),
        (-40, 140),
        (0, 160),
        (40, 140),
        (52, 80),
        (40, 25),
        (0, 0),
    ]:
        page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()
    playwright.expect(page.locator("#bars .best")).to_contain_text("0")
    # By keyboard.
    pad.press("1")
    playwright.expect(page.locator("#bars .best")).to_be_visible()


def test_bad_input_is_answered_beside_it(page):
    before = page.url
    page.fill("#noise", "much")
    page.press("#noise", "Tab")
    playwright.expect(page.locator("#noise-problem")).to_contain_text("0.0 to 1.0")
    assert page.url == before
    page.set_input_files(
        "#file", {"name": "bad.csv", "mimeType": "text/csv", "buffer": b"a,b\nq,x\n1,x\n2,y\n3,y\n"}
    )
    playwright.expect(page.locator("#csv-problem")).to_contain_text("not numbers")
    good = "a,b,c\n" + "".join(f"{i % 9},{i % 4},{'uv'[i % 2]}\n" for i in range(60))
    # Dropped, not chosen.
    page.evaluate(
        """text => {
            const carried = new DataTransfer();
            carried.items.add(new File([text], "<b>good</b>.csv"));
            dispatchEvent(new DragEvent("drop", { dataTransfer: carried, cancelable: true }));
        }""",
        good,
    )
    playwright.expect(page.locator("#data")).to_have_value("csv")
    playwright.expect(page.locator("#surface-key")).to_contain_text("trained on (30)")


def test_a_link_carries_the_settings(page, browser, address):
    page.select_option("#data", "spirals")
    page.click("#add-layer")
    wait_until(page, lambda: "spirals" in page.url and "4%2C2%2C4" in page.url)
    other = browser.new_page()
    other.goto(page.url)
    playwright.expect(other.locator("#data")).to_have_value("spirals")
    playwright.expect(other.locator(".layer")).to_have_count(3)
    other.close()


def test_layers_are_dragged(page):
    page.fill(".layer >> nth=0 >> input", "7")
    page.press(".layer >> nth=0 >> input", "Tab")
    wait_until(page, lambda: "7%2C2" in page.url)
    page.locator(".layer").nth(0).drag_to(page.locator(".layer").nth(1))
    wait_until(page, lambda: "2%2C7" in page.url)
    playwright.expect(page.get_by_label("Units in layer 1")).to_have_value("2")


def test_pictures_and_the_network_are_files(page, tmp_path):
    import skmlp

    page.click("#step")
    playwright.expect(page.locator("#epoch")).to_have_text("1")
    files = []
    page.on("download", lambda file: files.append(file))
    page.click("#png")
    wait_until(page, lambda: len(files) == 3)
    names = {file.suggested_filename: file.path().read_bytes() for file in files}
    assert sorted(names) == ["curves.png", "network.png", "surface.png"]
    assert all(content.startswith(b"\x89PNG") for content in names.values())
    with page.expect_download() as found:
        page.click("#save")
    found.value.save_as(tmp_path / found.value.suggested_filename)
    network = skmlp.load(tmp_path / "network.safetensors")
    assert network.n_iter_ == 1


def test_two_tabs_and_a_thousand_clicks(page, browser, address):
    other = browser.new_page()
    other.goto(address)
    other.select_option("#data", "xor")
    other.select_option("#speed", "0")
    expect_status(other, "Ready")
    other.click("#run")
    page.evaluate(
        """() => {
            const buttons = ["run", "step", "reset", "run", "run"];
            for (let i = 0; i < 1000; i++) document.getElementById(buttons[i % 5]).click();
        }"""
    )
    page.click("#reset")
    expect_status(page, "Ready")
    page.click("#step")
    playwright.expect(page.locator("#epoch")).to_have_text("1", timeout=PATIENCE)
    wait_until(other, lambda: number_in(other, "#epoch") > 1000)
    other.close()


def test_the_tour_has_five_steps(page):
    page.click("#tour-start")
    for number in range(1, 6):
        playwright.expect(page.locator("#tour-title")).to_contain_text(f"{number} of 5")
        expect_status(page, "Ready")
        page.click("#tour-next")
    playwright.expect(page.locator("#tour")).to_be_hidden()


def test_nothing_is_left_after_ctrl_c_and_a_page_reconnects(browser):
    process, address = start()
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    expect_status(page, "Ready")
    page.select_option("#data", "moons")
    wait_until(page, lambda: "moons" in page.url)
    page.click("#run")
    expect_status(page, "Learning")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    expect_status(page, "closed")
    # Another server at the same place, with the same token, is what a broken connection looks like.
    port, token = re.search(r":(\d+)/(.*)/", address).groups()
    script = (
        "import sys, secrets; secrets.token_urlsafe = lambda n: sys.argv[2]\n"
        "from skmlp.playground.server import run_playground\n"
        "run_playground(int(sys.argv[1]), opens_browser=False)"
    )
    second = subprocess.Popen([sys.executable, "-c", script, port, token], stdout=subprocess.PIPE)
    try:
        expect_status(page, "Ready")
        settings = page.evaluate("decodeURIComponent(location.hash.slice(1))")
        assert json.loads(settings)["data"] == "moons"
    finally:
        context.close()
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=30)


def test_the_front_page_of_the_site_plays_a_recorded_run(browser, tmp_path, monkeypatch):
    """Without a server, as a site that is read from the disk."""
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    import recorded_run

    monkeypatch.setattr(recorded_run, "N_PICTURES", 6)
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "recorded-run.js").write_text(recorded_run.script(), "utf-8")
    (tmp_path / "_static" / "recorded-run.css").write_text(recorded_run.colors(), "utf-8")
    markdown = (DOCS / "index.md").read_text("utf-8")
    [html] = re.findall(r"```\{raw\} html\n(.*?)```", markdown, re.S)
    style = (DOCS / "_static" / "site.css").read_text("utf-8")
    (tmp_path / "index.html").write_text(
        f'<!doctype html><html data-theme="light"><style>{style}</style>{html}</html>', "utf-8"
    )
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    told = page.locator("[data-part=told]")
    playwright.expect(told).to_contain_text(f"Epoch {recorded_run.LAST_EPOCH}:")
    page.focus("[data-part=slider]")
    page.keyboard.press("Home")
    playwright.expect(told).to_contain_text("Epoch 1:")
    light = page.locator("[data-part=curves]").screenshot()
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    wait_until(page, lambda: page.locator("[data-part=curves]").screenshot() != light)
    page.click("[data-part=play]")
    playwright.expect(page.locator("[data-part=play]")).to_have_text("❚❚ Pause")
    playwright.expect(told).to_contain_text(f"Epoch {recorded_run.LAST_EPOCH}:")
    playwright.expect(page.locator("[data-part=play]")).to_have_text("▶ Run")
    page.close()
    assert not errors
