"""Displays: what is drawn, of which numbers, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network
from sklearn.datasets import load_digits, load_iris, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmlp import MLPClassifier, MLPRegressor, TabularMLPClassifier
from skmlp.activations import Maxout
from skmlp.inspection import (
    ActivationsDisplay,
    HiddenSpaceDisplay,
    LossCurveDisplay,
    LossSurfaceDisplay,
    NetworkDisplay,
    SearchDisplay,
    WeightsDisplay,
)

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MOONS, SIDES = make_moons(80, noise=0.1, random_state=0)
SMALL = {"learning_rate_init": 0.02, "random_state": 0, "max_iter": 15}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def moons():
    """A network with a hidden layer of two units, and those on the way to it."""
    from skmlp.callbacks import FunctionCallback

    way = []
    keep = FunctionCallback(lambda epoch: way.append(epoch.model()) if epoch.number % 5 == 1 else 0)
    model = MLPClassifier((6, 2), activation="tanh", **SMALL)
    model = model.set_callbacks(keep).fit(MOONS, SIDES).set_callbacks()
    return model, way


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    network = MLPClassifier((20, 7), early_stopping=True, monitor=["seconds"], **SMALL)
    return make_pipeline(FunctionTransformer(lambda X: X / 16), network).fit(X, y), X, y


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True, as_frame=True)
    network = MLPClassifier((5,), solver="lbfgs", max_iter=30, random_state=0)
    return make_pipeline(StandardScaler(), network).fit(X, y), X, y


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).astype(float)


def assert_same_picture(one, other):
    """Compare what is seen; edges of letters and lines may differ by a shade."""
    one, other = pixels(one), pixels(other)
    assert one.shape == other.shape
    assert np.sqrt(np.mean((one - other) ** 2)) < 1.0
    assert np.ptp(one) > 100  # something is drawn


# --- Loss curves ---


def test_loss_curves(digits):
    network = digits[0][-1]
    display = LossCurveDisplay.from_estimator(digits[0], curve_kwargs={"linewidth": 3})
    loss, score = display.lines_
    assert_array_equal(loss.get_ydata(), network.loss_curve_)
    assert_array_equal(loss.get_xdata(), np.arange(1, network.n_iter_ + 1))
    assert_array_equal(score.get_ydata(), network.validation_scores_)
    assert (loss.axes, score.axes) == (display.ax_, display.right_ax_)
    assert (loss.get_linewidth(), loss.get_label()) == (3, "training loss")
    assert display.ax_.get_ylabel() == "training loss"
    assert display.right_ax_.get_ylabel() == "validation score"
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
        "training loss",
        "validation score",
    ]
    display = LossCurveDisplay.from_estimator(network, what="learning_rate", x="seconds", log=True)
    assert_array_equal(display.lines_[0].get_xdata(), network.history_["seconds"])
    assert display.ax_.get_yscale() == "log"
    assert display.right_ax_ is None


def test_loss_curves_of_several_fits(digits, moons):
    """Also of those of scikit-learn, of L-BFGS, of ensembles and of packs."""
    lbfgs = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", max_iter=7).fit(MOONS, SIDES)
    ensemble = MLPClassifier((3,), n_estimators=2, **SMALL).fit(MOONS, SIDES)
    theirs = neural_network.MLPClassifier((3,), early_stopping=True, max_iter=3, random_state=0)
    theirs.fit(MOONS, SIDES)
    fits = {"ours": moons[0], "lbfgs": lbfgs, "several": ensemble, "theirs": theirs}
    display = LossCurveDisplay.from_estimators(fits)
    names = ["ours", "lbfgs", "several 0", "several 1", "theirs"]
    assert list(display.curves) == names
    labels = [line.get_label() for line in display.lines_]
    assert labels == [*(f"{n}: training loss" for n in names), "theirs: validation score"]
    assert_array_equal(display.lines_[1].get_ydata(), lbfgs.history_["loss"])
    assert_array_equal(display.lines_[3].get_ydata(), ensemble.estimators_[1].loss_curve_)
    assert_array_equal(display.lines_[5].get_ydata(), theirs.validation_scores_)
    colors = [line.get_color() for line in display.lines_]
    assert len(set(colors)) == 5
    assert colors[4] == colors[5]
    pack = TabularMLPClassifier(preset="plain", max_iter=5, random_state=0).fit(MOONS, SIDES)
    display = LossCurveDisplay.from_estimators([pack])
    assert_array_equal(display.lines_[0].get_ydata(), pack.validation_report_["rounds"]["loss"])


def test_loss_curves_look_like_lines_drawn_by_hand(moons):
    display = LossCurveDisplay.from_estimator(moons[0], what="loss")
    figure, axes = plt.subplots(layout="constrained")
    axes.plot(np.arange(1, 16), moons[0].loss_curve_, color="#3a7fb8")
    axes.set(xlabel="epoch", ylabel="training loss")
    assert_same_picture(display.figure_, figure)


# --- Weights ---


def test_weights_of_all_layers(digits):
    network = digits[0][-1]
    display = WeightsDisplay.from_estimator(digits[0])
    assert display.axes_.shape == (2, 3)
    for image, coef, below in zip(display.images_, network.coefs_, display.axes_[1], strict=True):
        assert_array_equal(image.get_array(), coef)
        low, high = image.get_clim()
        assert high == -low == np.abs(coef).max()
        assert sum(bar.get_height() for bar in below.patches) == coef.size
    titles = [axes.get_title() for axes in display.axes_[0]]
    assert titles == ["hidden layer 1: relu", "hidden layer 2: relu", "output: softmax"]


def test_weights_of_units_as_pictures(digits):
    [coef, *_] = digits[0][-1].coefs_
    display = WeightsDisplay.from_estimator(digits[0], layer=0, image_shape=(8, 8), max_units=6)
    strongest = np.sort(np.argsort(-np.linalg.norm(coef, axis=0))[:6])
    assert_array_equal(display.units_, strongest)
    for image, unit in zip(display.images_, strongest, strict=True):
        assert_array_equal(image.get_array(), coef[:, unit].reshape(8, 8))
    assert len({image.get_clim() for image in display.images_}) == 1
    assert display.figure_.get_suptitle() == "hidden layer 1: relu: 6 of 20 units"
    display = WeightsDisplay.from_estimator(digits[0], layer=-2, image_shape=(4, 5))
    assert len(display.images_) == 7
    colored = MLPClassifier((2,), **SMALL).fit(digits[1][:50, :12], digits[2][:50])
    display = WeightsDisplay.from_estimator(colored, layer=0, image_shape=(2, 2, 3))
    array = display.images_[0].get_array()
    assert (array.shape, array.min(), array.max()) == ((2, 2, 3), 0.0, 1.0)


def test_a_matrix_of_weights_has_names(iris):
    display = WeightsDisplay.from_estimator(iris[0], layer=0)
    labels = [label.get_text() for label in display.axes_[0, 0].get_yticklabels()]
    assert labels == list(iris[1].columns)
    display = WeightsDisplay.from_estimator(iris[0], layer=0, feature_names="abcd")
    assert [label.get_text() for label in display.axes_[0, 0].get_yticklabels()] == list("abcd")
    assert WeightsDisplay.from_estimator(iris[0], layer=1).feature_names is None


# --- The network ---


def test_network_as_a_graph(iris):
    model, X, _ = iris
    coefs = model[-1].coefs_
    display = NetworkDisplay.from_estimator(model, output_names=["a", "b", "c"])
    assert [len(lines.get_segments()) for lines in display.lines_] == [20, 15]
    assert [len(circles.get_offsets()) for circles in display.circles_] == [4, 5, 3]
    for lines, coef in zip(display.lines_, coefs, strict=True):
        share = np.abs(coef).ravel() / np.abs(coef).max()
        assert_allclose(lines.get_linewidths(), 0.15 + 3.0 * share)
        is_orange = np.array(lines.get_colors())[:, 0] > 0.5
        assert_array_equal(is_orange, coef.ravel() > 0)
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts == [*X.columns, "a", "b", "c", "inputs", "hidden layer 1\nrelu", "output\nsoftmax"]


def test_a_sample_flows_through_the_network(iris):
    model, X, _ = iris
    row = X.iloc[[70]]
    display = NetworkDisplay.from_estimator(model, row)
    scaled = model[0].transform(row)
    hidden = np.maximum(scaled @ model[-1].coefs_[0] + model[-1].intercepts_[0], 0)
    probabilities = model.predict_proba(row)[0]
    for found, expected in zip(display.values, [scaled[0], hidden[0], probabilities], strict=True):
        assert_allclose(found, expected)
    assert_allclose(display.circles_[1].get_array(), hidden[0])
    flow = np.abs(model[-1].coefs_[1] * hidden[0][:, np.newaxis])
    assert_allclose(display.lines_[1].get_linewidths(), 0.15 + 3 * flow.ravel() / flow.max())
    texts = [text.get_text() for text in display.ax_.texts]
    assert f"1  {probabilities[1]:.2f}" in texts


def test_wide_layers_are_shortened(digits):
    display = NetworkDisplay.from_estimator(digits[0], digits[1][0], max_units=5)
    assert [list(units) for units in display.drawn_] == [
        [0, 1, 2, 62, 63],
        [0, 1, 2, 18, 19],
        [0, 1, 2, 5, 6],
        [0, 1, 2, 8, 9],
    ]
    texts = [text.get_text() for text in display.ax_.texts]
    assert {"59 more", "15 more", "2 more", "5 more"} <= set(texts)
    heights = display.circles_[0].get_offsets()[:, 1]
    assert_array_equal(heights, [3, 2, 1, -2, -3])


def test_other_networks_as_graphs():
    """Maxout, no hidden layer, one output, several targets, an embedding."""
    X, y = load_iris(return_X_y=True)
    maxout = MLPClassifier((3,), activation=Maxout(2), **SMALL).fit(X, y)
    display = NetworkDisplay.from_estimator(maxout)
    pieces = np.stack([maxout.coefs_[0][:, :3], maxout.coefs_[0][:, 3:]])
    largest = np.abs(pieces).max(axis=0)
    assert_allclose(np.abs(display.coefs[0]), largest)
    straight = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs").fit(X, y)
    display = NetworkDisplay.from_estimator(straight, X[0])
    assert [len(units) for units in display.drawn_] == [4, 1]
    assert_allclose(display.values[1], straight.predict(X[:1]))
    binary = MLPClassifier((2,), **SMALL).fit(X, y > 1)
    display = NetworkDisplay.from_estimator(binary, X[0])
    assert_allclose(display.values[-1], binary.predict_proba(X[:1])[0, 1:])
    several = MLPClassifier((2,), **SMALL).fit(X, np.column_stack([y, y > 1]))
    assert len(NetworkDisplay.from_estimator(several, X[0]).values[-1]) == several.n_outputs_
    embedded = MLPClassifier((2,), embedding="periodic", **SMALL).fit(X, y)
    display = NetworkDisplay.from_estimator(embedded, X[0])
    assert display.units[0] == embedded.coefs_[0].shape[0] == len(display.values[0])


# --- Hidden units ---


def test_activations(moons):
    model, _ = moons
    display = ActivationsDisplay.from_estimator(model, MOONS, bins=9)
    hidden = np.tanh(MOONS @ model.coefs_[0] + model.intercepts_[0])
    assert_allclose(display.outputs[0], hidden)
    assert_allclose(display.counts_[0], np.histogram(hidden, 9)[0])
    assert display.axes_[1].get_title() == "hidden layer 2: tanh\n0 of 2 units dead"
    dead = MLPClassifier((4,), **SMALL).fit(MOONS, SIDES)
    dead.intercepts_[0][:2] = -100.0
    display = ActivationsDisplay.from_estimator(dead, MOONS)
    assert_array_equal(display.dead[0], [True, True, False, False])
    assert display.axes_[0].get_title().endswith("2 of 4 units dead")
    labels = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert labels == ["units that learn", "dead units"]


def test_hidden_space(moons):
    model, _ = moons
    display = HiddenSpaceDisplay.from_estimator(model, MOONS, SIDES, grid=5)
    data, wide, plane = display.panels
    first = np.tanh(MOONS @ model.coefs_[0] + model.intercepts_[0])
    second = np.tanh(first @ model.coefs_[1] + model.intercepts_[1])
    assert_array_equal(data.points, MOONS)
    assert_allclose(plane.points, second)
    # Principal components: uncorrelated, the first the widest, and as wide as they can be.
    covariance = np.cov(wide.points.T)
    assert_allclose(covariance[0, 1], 0.0, atol=1e-12)
    assert_allclose(np.diag(covariance), np.linalg.eigvalsh(np.cov(first.T))[::-1][:2])
    assert [len(panel.lines) for panel in display.panels] == [10, 10, 10]
    line = data.lines[3]
    bent = np.tanh(np.tanh(line @ model.coefs_[0] + model.intercepts_[0]) @ model.coefs_[1]
                   + model.intercepts_[1])  # fmt: skip
    assert_allclose(plane.lines[3], bent)
    points = [axes.collections for axes in display.axes_]
    assert [len(each) for each in points] == [2, 2, 2]
    assert_allclose(points[2][1].get_offsets(), second[SIDES == 1])
    labels = [text.get_text() for text in display.axes_[-1].get_legend().get_texts()]
    assert labels == ["0", "1"]


def test_hidden_space_of_other_data(iris, moons):
    model, X, y = iris
    display = HiddenSpaceDisplay.from_estimator(model, X, X.iloc[:, 0])
    assert [panel.lines for panel in display.panels] == [[], []]
    assert display.axes_[0].get_xlabel() == "1st principal component"
    assert_array_equal(display.axes_[1].collections[0].get_array(), X.iloc[:, 0])
    frame = X.iloc[:, :2]
    network = MLPClassifier((1,), **SMALL).fit(frame, y)
    display = HiddenSpaceDisplay.from_estimator(network, frame, grid=2)
    assert display.axes_[0].get_xlabel() == X.columns[0]
    assert_array_equal(display.panels[1].points[:, 1], 0.0)
    only = HiddenSpaceDisplay.from_estimator(moons[0], MOONS[:1], layers=[-1])
    assert [panel.title for panel in only.panels] == ["data", "hidden layer 2: tanh"]


# --- The loss around a network ---


def test_loss_surface(moons, fitted_state):
    model, _ = moons
    before = fitted_state(model)
    display = LossSurfaceDisplay.from_estimator(
        model, MOONS, SIDES, resolution=5, span=0.5, random_state=3
    )
    assert fitted_state(model) == before
    assert_allclose(display.first, [-0.5, -0.25, 0.0, 0.25, 0.5])
    assert_allclose(display.losses[2, 2], log_loss(SIDES, model.predict_proba(MOONS)))
    rng = np.random.RandomState(3)
    moved = []
    for _ in range(2):
        drawn = [rng.standard_normal(coef.shape) for coef in model.coefs_]
        moved.append([
            each / np.linalg.norm(each, axis=0) * np.linalg.norm(coef, axis=0)
            for each, coef in zip(drawn, model.coefs_, strict=True)
        ])  # fmt: skip
    other = MLPClassifier((6, 2), activation="tanh", **SMALL).fit(MOONS, SIDES)
    other.coefs_ = [
        coef + 0.25 * a - 0.5 * b for coef, a, b in zip(model.coefs_, *moved, strict=True)
    ]
    other.intercepts_ = model.intercepts_
    assert_allclose(display.losses[0, 3], log_loss(SIDES, other.predict_proba(MOONS)))
    again = display.plot(kind="surface")
    assert again.ax_.name == "3d"


def test_loss_surface_of_a_way(moons):
    model, way = moons
    display = LossSurfaceDisplay.from_estimator(
        model, MOONS, SIDES, path=[*way, model], resolution=6
    )
    assert display.path.shape == (4, 2)
    assert_allclose(display.path[-1], 0.0, atol=1e-12)
    ends = display.ax_.lines[0].get_xydata()
    assert_array_equal(ends, display.path)
    assert display.first[0] < display.path[:, 0].min()
    assert display.first[-1] > display.path[:, 0].max()
    # The plane is that of the three networks, in which they lie as far apart as they are.
    flat = [np.concatenate([*map(np.ravel, (*m.coefs_, *m.intercepts_))]) for m in (way[0], model)]
    assert np.linalg.norm(display.path[0]) <= np.linalg.norm(flat[0] - flat[1]) * (1 + 1e-12)
    assert np.linalg.norm(display.path[0]) > 0.9 * np.linalg.norm(flat[0] - flat[1])


def test_loss_surfaces_of_regressions_and_pipelines(iris):
    model, X, y = iris
    moved = LossSurfaceDisplay.from_estimator(model, X, y, resolution=3, random_state=0)
    assert_allclose(moved.losses[1, 1], log_loss(y, model.predict_proba(X)))
    targets = np.column_stack([y, -10.0 * y])
    network = MLPRegressor(hidden_layer_sizes=(3,), y_scale="standard", **SMALL).fit(X, targets)
    display = LossSurfaceDisplay.from_estimator(network, X, targets, resolution=3)
    error = ((network.predict(X) - targets) / network.y_scale_) ** 2
    assert_allclose(display.losses[1, 1], error.sum(axis=1).mean() / 2, rtol=1e-6)


# --- Searches ---


@pytest.fixture(scope="module")
def search():
    X, y = load_iris(return_X_y=True)
    grid = {
        "mlpclassifier__alpha": [1e-4, 1e-2, 1.0],
        "mlpclassifier__hidden_layer_sizes": [(2,), (3, 3)],
    }
    network = MLPClassifier(solver="lbfgs", max_iter=5, random_state=0)
    scoring = {"accuracy": "accuracy", "loss": "neg_log_loss"}
    pipeline = make_pipeline(StandardScaler(), network)
    return GridSearchCV(pipeline, grid, cv=2, scoring=scoring, refit="accuracy").fit(X, y)


def test_searches(search):
    display = SearchDisplay.from_search(search)
    results = search.cv_results_
    assert display.x == "mlpclassifier__alpha"
    line = display.containers_[0].lines[0]
    assert_array_equal(line.get_xdata(), results["param_mlpclassifier__alpha"].astype(float))
    assert_array_equal(line.get_ydata(), results["mean_test_accuracy"])
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_ylabel() == "accuracy (mean over splits)"
    best = display.ax_.lines[-1].get_xydata()[0]
    assert best[1] == search.best_score_
    display = SearchDisplay.from_search(search, x="hidden_layer_sizes", hue="alpha", metric="loss")
    assert len(display.containers_) == 3
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["(2,)", "(3, 3)"]
    middle = display.containers_[1].lines[0]
    assert_array_equal(middle.get_xdata(), [0.0, 1.0])
    assert_array_equal(middle.get_ydata(), results["mean_test_loss"][2:4])


# --- All of them ---


def drawn(moons, digits, search):
    """Return functions that draw each display into axes."""
    model, _ = moons
    pipeline, X, _ = digits
    return {
        "loss": lambda ax=None: LossCurveDisplay.from_estimator(model, ax=ax),
        "weights": lambda ax=None: WeightsDisplay.from_estimator(model, ax=ax),
        "matrix": lambda ax=None: WeightsDisplay.from_estimator(model, layer=0, ax=ax),
        "units": lambda ax=None: WeightsDisplay.from_estimator(
            pipeline, layer=0, image_shape=(8, 8), ax=ax
        ),
        "network": lambda ax=None: NetworkDisplay.from_estimator(model, ax=ax),
        "activations": lambda ax=None: ActivationsDisplay.from_estimator(pipeline, X, ax=ax),
        "hidden": lambda ax=None: HiddenSpaceDisplay.from_estimator(model, MOONS, SIDES, ax=ax),
        "surface": lambda ax=None: LossSurfaceDisplay.from_estimator(
            model, MOONS, SIDES, resolution=3, ax=ax
        ),
        "search": lambda ax=None: SearchDisplay.from_search(search, ax=ax),
    }


def test_each_draws_where_it_is_told(moons, digits, search):
    figure, axes = plt.subplots(3, 3, layout="constrained", figsize=(20, 20))
    for (name, draw), ax in zip(drawn(moons, digits, search).items(), axes.flat, strict=True):
        display = draw(ax)
        assert display.figure_ is figure, name
        with pytest.raises(ValueError, match=r"^ax "):
            draw("here")
        alone = draw()
        assert alone.figure_ is not figure
        plt.close(alone.figure_)
        assert type(alone.plot()) is type(display)
        plt.close(alone.figure_)
    pixels(figure)
    three = plt.subplots(1, 3)[1]
    display = HiddenSpaceDisplay.from_estimator(moons[0], MOONS, ax=three)
    assert list(display.axes_) == list(three)
    with pytest.raises(ValueError, match="ax has 3 axes, but 2 are needed"):
        ActivationsDisplay.from_estimator(digits[0], digits[1], ax=three)
    free = plt.figure().add_axes((0.1, 0.1, 0.5, 0.5))
    with pytest.raises(ValueError, match="stands freely in its figure"):
        ActivationsDisplay.from_estimator(digits[0], digits[1], ax=free)


def test_what_is_refused(moons, digits, search, unchanged):
    model, way = moons
    pipeline, X, y = digits
    straight = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs").fit(MOONS, SIDES)
    ensemble = MLPClassifier((3,), n_estimators=2, **SMALL).fit(MOONS, SIDES)
    surface, weights = LossSurfaceDisplay.from_estimator, WeightsDisplay.from_estimator
    losses, network = LossCurveDisplay.from_estimator, NetworkDisplay.from_estimator
    space, values = HiddenSpaceDisplay.from_estimator, ActivationsDisplay.from_estimator
    scores, line = SearchDisplay.from_search, LinearRegression()
    cases = [
        (lambda: losses(line), "keeps no record of epochs"),
        (lambda: losses(model, what="gradient_norm"), "what has 'gradient_norm'.* have only"),
        (lambda: losses(model, what="validation"), "have nothing of it: only"),
        (lambda: losses(model, x="time"), "x must be 'epoch' or 'seconds', but is 'time'"),
        (lambda: losses(model, curve_kwargs=3), "curve_kwargs must be a dict"),
        (
            lambda: losses(pipeline, what=["loss", "validation", "learning_rate"]),
            "there are two scales. Draw them in two pictures",
        ),
        (lambda: weights(line), "estimator must be an MLPClassifier"),
        (lambda: weights(ensemble), "an ensemble of 2 networks, but one is drawn"),
        (lambda: weights(model, layer=3), "layer must be a whole number from -3 to 2, but is 3"),
        (lambda: weights(model, layer=True), "layer must be a whole number"),
        (lambda: weights(model, image_shape=(1, 2)), "is for the units of one layer"),
        (lambda: weights(pipeline, layer=0, image_shape=(8, 9)), "whose product is 64"),
        (lambda: weights(pipeline, layer=0, image_shape="8"), "image_shape='8'"),
        (lambda: weights(pipeline, layer=0, max_units=0), "max_units must be a whole number"),
        (lambda: weights(model, layer=0, feature_names=["a"]), "has 1 names, but 2 are needed"),
        (lambda: network(model, max_units=1), "max_units must be a whole number, at least 2"),
        (lambda: network(model, MOONS[:2]), "sample must be one row"),
        (lambda: network(model, output_names=["a", "b"]), "output_names has 2 names, but 1"),
        (lambda: values(straight, MOONS), "The network has no hidden layers"),
        (lambda: values(model, MOONS, bins=2.5), "bins must be a whole number"),
        (lambda: space(straight, MOONS), "The network has no hidden layers"),
        (lambda: space(model, MOONS, layers=[2]), "the network has 2 hidden layers"),
        (lambda: space(model, MOONS, layers=[]), "layers is empty"),
        (lambda: space(model, MOONS, SIDES[:3]), r"y has shape \(3,\), but X has 80 rows"),
        (lambda: space(model, MOONS[0]), "X must have rows and columns"),
        (lambda: surface(model, MOONS, SIDES, span=0), "span must be a positive number"),
        (lambda: surface(model, MOONS, SIDES, resolution=1), "resolution must be"),
        (lambda: surface(model, MOONS, SIDES, kind="map"), "kind must be 'contour' or 'surface'"),
        (lambda: surface(model, MOONS, SIDES + 2), "labels|classes"),
        (lambda: surface(model, MOONS, SIDES, path=[line]), "path must have fitted networks"),
        (lambda: surface(model, MOONS, SIDES, path=[model]), "fewer than two different"),
        (lambda: surface(model, MOONS, SIDES, path=[*way, straight]), "network of other layers"),
        (
            lambda: surface(model, MOONS, SIDES, kind="surface", ax=plt.subplots()[1]),
            "ax must have three dimensions",
        ),
        (lambda: scores(model), "search has no cv_results_"),
        (lambda: scores(search, x="beta"), "x='beta' is none of the parameters searched over"),
        (lambda: scores(search, hue="size"), "hue='size' is none"),
        (lambda: scores(search, metric="r2"), r"metric='r2' is none of the scores .*accuracy"),
    ]
    with unchanged(X, y, MOONS, SIDES, model=model):
        for call, message in cases:
            with pytest.raises(ValueError, match=message):
                call()
    fresh = MLPClassifier()
    for call in (lambda: weights(fresh), lambda: values(fresh, X), lambda: network(fresh)):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(AttributeError, match="not fitted yet"):
        losses(fresh)


def test_displays_of_scikit_learn_draw_networks(moons):
    display = DecisionBoundaryDisplay.from_estimator(moons[0], MOONS, grid_resolution=10)
    assert display.response.shape == (10, 10)


def test_matplotlib_is_imported_when_something_is_drawn():
    code = (
        "import sys, skmlp.inspection as i; assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib'] = None\n"
        "try: i.WeightsDisplay.from_estimator(1)\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "WeightsDisplay.from_estimator needs matplotlib, which is not installed. Install it: "
        "pip install 'skmlp[plot]'\n"
    )
