"""The course in pictures: its pages run as they stand, draw, and lead from one to the next."""

import ast
import re
import runpy
import warnings
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

COURSE = Path(__file__).resolve().parent.parent / "examples" / "course"
PAGES = sorted(COURSE.glob("plot_*.py"))

# What is taught, by the page that teaches it, and words that stand there.
SUBJECTS = {
    "neuron": "threshold bias McCulloch perceptron AND NAND XOR",
    "linear_models": "LinearRegression LogisticRegression hidden_layer_sizes=()",
    "activations": "evaluate derivative Logistic threshold steepness",
    "bent_plane": "grid identity tanh HiddenSpaceDisplay",
    "forward_pass": "matrix pmatrix ones NetworkDisplay 0.73",
    "losses_and_heads": "log loss softmax temperature multilabel hinge (12,",
    "gradient_descent": "learning rate batch momentum adam LossSurfaceDisplay",
    "backpropagation": "differences chain rule delta",
    "learning_curves": "overfitting underfitting dropout early_stopping LearningCurveDisplay",
    "dead_units": "vanish logistic relu dead_units ActivationsDisplay",
    "digits": "[30, 30] WeightsDisplay ConfusionMatrixDisplay doubt",
    "tuning": "GridSearchCV make_pipeline SearchDisplay",
    "house_prices": "gaussian_nll Quantile n_estimators return_std",
    "many_fits": "parallel_config show_devices device float32",
    "tables": "TabularMLPClassifier DataFrame TableEncoder",
    "export": "to_onnx skops save NumPy to_sklearn",
}


def name_of(page):
    return page.stem.split("_", 2)[2]


def test_the_course_has_these_subjects():
    """In this order, numbered from one."""
    assert [name_of(page) for page in PAGES] == list(SUBJECTS)
    assert [int(page.stem.split("_")[1]) for page in PAGES] == list(range(1, len(PAGES) + 1))
    for page in PAGES:
        text = page.read_text("utf-8")
        missing = [word for word in SUBJECTS[name_of(page)].split() if word not in text]
        assert not missing, f"{page.name} does not tell of {missing}"


def test_pages_are_built_alike():
    """Numbered title, something to take along, exercises, and the way to the next page."""
    for number, page in enumerate(PAGES, start=1):
        text = page.read_text("utf-8")
        title, underline = ast.get_docstring(ast.parse(text)).splitlines()[:2]
        assert title.startswith(f"{number}. "), page.name
        assert underline == "=" * len(title), page.name
        end = text[text.index("# What to take along\n# ---") :]
        assert len(re.findall(r"^# \d\. ", end[end.index("# **Try**") :], re.M)) >= 2, page.name
        following = PAGES[number % len(PAGES)]
        assert f"sphx_glr_gallery_course_{following.name}" in end, page.name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page(page, monkeypatch):
    """It runs without a warning and draws at least one picture, none of them empty."""
    if "import pandas" in page.read_text("utf-8"):
        pytest.importorskip("pandas")
    drawn = []

    def show():
        for number in plt.get_fignums():
            figure = plt.figure(number)
            figure.canvas.draw()
            drawn.append(sum(axes.has_data() for axes in figure.axes))
            plt.close(figure)

    monkeypatch.setattr(plt, "show", show)
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        runpy.run_path(str(page), run_name="__main__")
    assert not plt.get_fignums(), "a picture is not shown"
    assert drawn
    assert all(drawn)
