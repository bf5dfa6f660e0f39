"""The learning-rate range test."""

import re
import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier, MLPRegressor, find_learning_rate
from skmlp._rates import summarized
from skmlp.optimizers import SGD

SMALL = {"hidden_layer_sizes": (5,), "batch_size": 16, "random_state": 0}
rng = np.random.default_rng(0)
X = rng.normal(size=(100, 4))
Y = X[:, 0] - np.abs(X[:, 1])


def test_each_step_has_a_rate_and_a_loss(plans, fitted_state):
    """As plain gradient descent written out finds them."""
    model = MLPRegressor(**SMALL, solver=SGD(0.0), alpha=0.0, shuffle=False, early_stopping=False)
    before = fitted_state(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_learning_rate(model.set_params(hidden_layer_sizes=()), X, Y, n_steps=20)
    assert fitted_state(model.set_params(hidden_layer_sizes=(5,))) == before
    assert len(plans) == 1
    assert_allclose(found.learning_rates, 1e-6 * 1e7 ** (np.arange(20) / 19))

    start = MLPRegressor(**SMALL, solver="sgd", learning_rate_init=1e-300, max_iter=1)
    with pytest.warns(Warning, match="converge"):
        start.set_params(hidden_layer_sizes=()).fit(X, Y)
    w, b = start.coefs_[0][:, 0], start.intercepts_[0][0]
    losses = []
    for i, rate in enumerate(found.learning_rates):
        rows = slice(16 * (i % 6), 16 * (i % 6) + 16)  # the last four rows are no whole batch
        error = X[rows] @ w + b - Y[rows]
        losses.append(np.mean(error**2) / 2)
        w, b = w - rate * X[rows].T @ error / 16, b - rate * error.mean()
    assert_allclose(found.losses, losses, rtol=1e-9)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_pipelines_weights_and_fitted_models(early_stopping):
    labels = np.where(Y > 0, "yes", "no")
    network = MLPClassifier(**SMALL, early_stopping=early_stopping, learning_rate="cosine")
    pipeline = make_pipeline(StandardScaler(), network)
    found = find_learning_rate(pipeline, 9 * X, labels)
    assert not hasattr(network, "coefs_")
    assert not hasattr(pipeline[0], "mean_")
    assert 1e-4 < found.suggestion < 3
    scaled = StandardScaler().fit_transform(9 * X)
    for model in (network, Pipeline([("only", network)])):
        assert_array_equal(find_learning_rate(model, scaled, labels).losses, found.losses)
    # No weight is as if a sample were not there.
    weight = np.arange(100) % 2
    weighted = find_learning_rate(network, scaled, labels, sample_weight=weight)
    without = find_learning_rate(network, scaled[1::2], labels[1::2])
    assert_array_equal(weighted.losses, without.losses)


def test_a_rate_that_is_too_high_ends_it():
    model = MLPRegressor(**SMALL, solver="sgd")
    found = find_learning_rate(model, X, Y, highest=1e30)
    assert len(found.learning_rates) == len(found.losses) < 200
    assert np.isfinite(found.losses).all()
    assert found.suggestion < 1
    rates = np.geomspace(1e25, 1e30, 200)
    with pytest.raises(ValueError, match=re.escape(f"a learning rate of {rates[2]:.3g} on")):
        find_learning_rate(model, X, Y, lowest=1e25, highest=1e30)
    with pytest.raises(ValueError, match="not finite from a learning rate of 1e-06 on"):
        find_learning_rate(model, X, Y * 1e200)


def test_classes_without_weight_are_left_out():
    labels = np.digitize(Y, np.quantile(Y, [0.8, 0.9]))
    options = {**SMALL, "batch_size": 4}
    weighted = MLPClassifier(**options, class_weight={0: 0.0})
    found = find_learning_rate(weighted, X, labels)
    assert (found.losses > 0).all()
    counted = labels > 0
    without = find_learning_rate(MLPClassifier(**options), X[counted], labels[counted])
    assert_array_equal(found.losses, without.losses)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_suggestion_is_where_the_loss_falls_most_steeply(noise):
    rates = np.geomspace(1e-6, 10, 200)
    falls = -1 / (1 + np.exp(-3 * (np.log10(rates) + 3)))  # most steeply at 1e-3
    rises = 0.01 * rates**2
    losses = 2 + falls + rises + noise * np.random.default_rng(0).normal(size=200)
    found = summarized(rates, losses, 200)
    assert found.suggestion == pytest.approx(1e-3, rel=0.2 if noise == 0 else 2)
    assert summarized(rates, 1 + rates, 200).suggestion is None


def test_plot(monkeypatch):
    found = find_learning_rate(MLPRegressor(**SMALL), X, Y, n_steps=20)
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib")
    pyplot.switch_backend("Agg")
    assert found.plot() is found
    assert found.ax_.get_xscale() == "log"
    assert_allclose(found.ax_.lines[0].get_xydata()[:, 1], found.losses)
    figure, axes = pyplot.subplots()
    assert found.plot(axes).ax_ is axes
    assert found.figure_ is figure
    pyplot.close("all")

    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"pip install 'skmlp\[plot\]'"):
        found.plot()


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        (MLPRegressor(solver="lbfgs"), {}, "needs a solver that has a learning rate.*lbfgs"),
        (LogisticRegression(), {}, "MLPClassifier or MLPRegressor.*LogisticRegression"),
        (make_pipeline(StandardScaler()), {}, "or a Pipeline that ends with one, but got Standard"),
        (MLPRegressor(), {"lowest": 0.0}, "lowest=0.0 and highest=10.0 must be finite"),
        (MLPRegressor(), {"highest": np.inf}, "highest=inf must be"),
        (MLPRegressor(), {"lowest": 2, "highest": 1}, "less than the second"),
        (MLPRegressor(), {"n_steps": 9}, "n_steps must be a whole number of at least 10, got 9"),
        (MLPRegressor(alpha=-1), {}, "'alpha' parameter"),
    ],
    ids=str,
)
def test_what_is_refused(estimator, options, message):
    with pytest.raises(ValueError, match=message):
        find_learning_rate(estimator, X, Y, **options)
