"""The site: what its reference lists, what its extensions make, and a notebook of its gallery."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

import skmlp

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOTEBOOK = ROOT / "examples" / "plot_in_a_notebook.py"


@pytest.fixture(autouse=True)
def extensions(monkeypatch):
    for folder in (ROOT, DOCS / "_extensions"):
        monkeypatch.syspath_prepend(str(folder))


def test_the_reference_lists_every_name_of_the_package():
    text = "".join(path.read_text("utf-8") for path in (DOCS / "api").glob("*.rst"))
    assert "autosummary" in text
    listed = re.findall(r"^   ([A-Za-z]\w+)$", text, re.M)
    listed = [name for name in listed if name not in ("estimators", "functions")]  # its pages
    listed += re.findall(r"^\.\. py:data:: (\w+)$", text, re.M)
    assert sorted(listed) == sorted(skmlp.__all__)


def test_the_reference_has_a_page_for_every_public_module():
    import reference

    public = reference.public_modules()
    modules = {path.stem for path in Path(skmlp.__file__).parent.glob("[a-z]*")}
    says = {name for name in modules if hasattr(sys.modules.get(f"skmlp.{name}"), "__all__")}
    assert {name.removeprefix("skmlp.") for name in public} == says
    assert "ReLU" in str(public["skmlp.activations"])
    assert "epoch_of" in public["skmlp.callbacks"]


def test_dead_links_are_found(tmp_path):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    from internal_links import dead_links

    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "theme.html").write_text('<a href="missing.html">a template</a>')
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1><img src="c.png">')
    (tmp_path / "c.html").write_text('<script src="https://example.org/c.js"></script>')
    good = "b.html b.html#there # #here https://example.org/gone mailto:a@example.org _static"
    bad = "missing.html b.html#not-there #neither"
    links = "".join(f'<a href="{link}">link</a>' for link in f"{good} {bad}".split())
    (tmp_path / "a.html").write_text(f'<p id="here">{links}</p>')
    found = {(str(page), link) for page, link in dead_links(tmp_path) if link != "_static"}
    dead = {("a.html", link) for link in bad.split()}
    assert found == {*dead, ("b.html", "c.png"), ("c.html", "https://example.org/c.js")}


def test_figures_are_those_of_the_newest_result(tmp_path, monkeypatch):
    pytest.importorskip("docutils", reason="needs the extra docs")
    import measured

    for name, hour in {"fit-2": "09", "fit": "07", "fit-against": "10"}.items():
        path = tmp_path / f"2026-01-01-{name}.json"
        path.write_text(json.dumps({"time": f"2026-01-01T{hour}:00:00"}))
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    assert measured.result("fit").name == "2026-01-01-fit-2.json"
    assert measured.result("2026-01-01-fit.json").name == "2026-01-01-fit.json"
    with pytest.raises(ValueError, match="'search'"):
        measured.result("search")


def test_the_table_of_the_front_page_is_that_of_the_readme():
    """Which is written by hand, and rounded."""
    pytest.importorskip("docutils", reason="needs the extra docs")
    import measured

    [name] = re.findall(r"^```\{measured\} (\S+)$", (DOCS / "index.md").read_text("utf-8"), re.M)
    tables = json.loads(measured.result(name).read_text("utf-8"))["tables"]
    rows = measured.joined(tables, "sklearn/skmlp")["rows"]
    shown = re.search(
        r"<!-- figures -->\n(.*)<!-- /figures -->", (ROOT / "README.md").read_text("utf-8"), re.S
    )
    typed = [line.split("|")[2:4] for line in shown[1].splitlines()[2:]]
    made = [[row[f"sklearn/skmlp, {dtype}"] for dtype in ("float32", "float64")] for row in rows]
    assert [[float(figure) for figure in row] for row in typed] == [
        [float(f"{figure:.2g}") for figure in row] for row in made
    ]


def test_a_run_is_recorded():
    import recorded_run

    frames = recorded_run.record(recorded_run.SETTINGS, 30, 8)
    headers = [json.loads(frame[4 : 4 + int.from_bytes(frame[:4], "little")]) for frame in frames]
    assert [header["type"] for header in headers] == ["data", *["picture"] * (len(frames) - 1)]
    epochs = [header["epoch"] for header in headers[1:]]
    assert epochs == sorted(set(epochs))
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 30, 8)
    assert headers[-1]["train_loss"] < headers[1]["train_loss"]
    assert [row[0] for row in headers[-1]["curve"]] == epochs


def test_the_recorded_run_has_the_colors_of_the_playground():
    import recorded_run

    light, dark = recorded_run.colors().splitlines()
    names = [re.findall(r"(--[a-z]+):", rule) for rule in (light, dark)]
    assert light.startswith('html[data-theme="light"] {--')
    assert dark.startswith('html[data-theme="dark"] {--')
    assert {"--ink", "--dim", "--card", "--line", "--bad", "--positive", "--negative"} <= set(
        names[0]
    )
    assert set(names[1]) <= set(names[0])
    assert light.split("{")[1] != dark.split("{")[1]


def test_modules_become_one_script():
    import recorded_run

    modules = [
        'import { a } from "./a.js";\n\nexport const b = a;\n',
        "// export\nexport function c() {\n  return b;\n}\n",
    ]
    made = recorded_run.as_one_script(modules)
    assert made == (
        "(() => {\n\nconst b = a;\n\n// export\nfunction c() {\n  return b;\n}\n})();\n"
    )


def test_names_of_modules_that_become_one_script_differ():
    import recorded_run

    files = [recorded_run.STATIC / f"{name}.js" for name in recorded_run.SCRIPTS]
    files.append(recorded_run.HERE / "recorded_run.js")
    declared = r"^(?:export )?(?:const|let|function|class) (\w+)"
    names = [re.findall(declared, file.read_text("utf-8"), re.M) for file in files]
    assert all(names)
    together = [name for own in names for name in own]
    assert len(set(together)) == len(together), sorted(together)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """Execute a page of the gallery, as the notebook that it can be had as."""
    nbclient = pytest.importorskip("nbclient", reason="needs the extra docs")
    for module in ("ipykernel", "ipywidgets"):
        pytest.importorskip(module, reason="needs the extra docs")
    gallery = pytest.importorskip("sphinx_gallery.notebook", reason="needs the extra docs")

    import nbformat

    script = Path(shutil.copy(NOTEBOOK, tmp_path_factory.mktemp("notebook")))
    gallery.python_to_jupyter_cli([str(script)])
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return notebook


@pytest.fixture(scope="module")
def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_a_notebook_shows_an_estimator(outputs):
    [shown] = [output for output in outputs if "sk-top-container" in str(output)]
    html = shown["data"]["text/html"]
    assert "hidden_layer_sizes" in html
    assert "16 x 16" in html  # our summary of layers
    assert shown["data"]["text/plain"].startswith("MLPClassifier(")


def test_a_notebook_shows_progress(notebook, outputs):
    [view] = {
        output["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
        for output in outputs
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    }
    widgets = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    [bar] = widgets[view]["state"]["outputs"]
    # The last epoch, and not whichever was drawn last in the course of the fit.
    [epoch] = re.findall(r"Epoch\D+(\d+)/200", re.sub("<[^>]*>", "", bar["data"]["text/html"]))
    [epochs] = [
        output["data"]["text/plain"] for output in outputs if "the last loss" in str(output)
    ]
    assert f"{epoch} epochs" in epochs
    assert "loss" in bar["data"]["text/html"]
    # No warnings, but perhaps that kernels are compiled.
    written = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    assert not [line for line in written.splitlines() if not line.startswith("skmlp: ")]


def test_a_notebook_shows_pictures(outputs):
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    assert all(len(picture["data"]["image/png"]) > 10_000 for picture in pictures)
