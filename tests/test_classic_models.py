"""The classic models as special cases: against their textbooks and scikit-learn's estimators."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge

from skmlp import MLPClassifier, MLPRegressor
from skmlp.activations import evaluate

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
SIGNAL = X @ [1.0, -0.5, 0.2, 0.0] + 0.3
Y = SIGNAL + RNG.normal(size=80)
LABELS = np.digitize(Y, [-0.5, 0.8])
COUNTS = RNG.poisson(np.exp(0.5 * SIGNAL)).astype(float)


def minimized(estimator, *data, **parameters):
    """Return a model without hidden layers at the minimum of its loss.

    SciPy stops where a step gains less than 2e-9 of the loss; it is started again from there.
    """
    model = estimator(hidden_layer_sizes=(), solver="lbfgs", tol=1e-12, warm_start=True)
    model.set_params(max_iter=5000, random_state=0, **parameters)
    for _ in range(4):
        model.fit(*data)
    return model


def assert_close_weights(model, coef, intercept):
    assert_allclose(model.coefs_[0].T, np.atleast_2d(coef), rtol=1e-5, atol=1e-5)
    assert_allclose(model.intercepts_[0], np.atleast_1d(intercept), rtol=1e-5, atol=1e-5)


# --- Without hidden layers ---


def test_linear_regression():
    """Of one target and of several."""
    for y in (Y, np.stack([Y, SIGNAL, Y**2], axis=1)):
        model, expected = minimized(MLPRegressor, X, y, alpha=0.0), LinearRegression().fit(X, y)
        assert_close_weights(model, expected.coef_, expected.intercept_)


def test_ridge_regression():
    model, expected = minimized(MLPRegressor, X, Y, alpha=7.0), Ridge(alpha=7.0).fit(X, Y)
    assert_close_weights(model, expected.coef_, expected.intercept_)


@pytest.mark.parametrize("labels", [LABELS > 0, LABELS], ids=["binary", "multinomial"])
def test_logistic_regression(labels):
    """Its C is one over alpha. Of several classes, any number may be added to all intercepts."""
    model = minimized(MLPClassifier, X, labels, alpha=2.0)
    expected = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(X, labels)
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-5, atol=1e-6)
    intercept = expected.intercept_
    if len(intercept) > 1:
        model.intercepts_ = [model.intercepts_[0] - model.intercepts_[0].mean()]
        intercept = intercept - intercept.mean()
    assert_close_weights(model, expected.coef_, intercept)


def test_poisson_regression():
    """Its penalty is of the mean loss, and ours is divided by the number of samples."""
    model = minimized(MLPRegressor, X, COUNTS, loss="poisson", alpha=0.1 * len(X))
    expected = PoissonRegressor(alpha=0.1, tol=1e-10, max_iter=5000).fit(X, COUNTS)
    assert_close_weights(model, expected.coef_, expected.intercept_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_delta_rule():
    """Widrow & Hoff (1960): ADALINE moves against its error, sample by sample."""
    model = MLPRegressor(
        hidden_layer_sizes=(),
        solver="sgd",
        momentum=0.0,
        alpha=0.0,
        batch_size=1,
        learning_rate_init=0.01,
        shuffle=False,
        max_iter=3,
        random_state=0,
    )
    # The first call only makes the weights: this step is too small to change them.
    start = MLPRegressor(**{**model.get_params(), "learning_rate_init": 1e-300, "max_iter": 1})
    start.fit(X, Y)
    weights, bias = start.coefs_[0][:, 0].copy(), start.intercepts_[0][0]
    for _ in range(3):
        for x, y in zip(X, Y, strict=True):
            error = y - (x @ weights + bias)
            weights += 0.01 * error * x
            bias += 0.01 * error
    model.fit(X, Y)
    assert_allclose(model.coefs_[0][:, 0], weights, rtol=1e-11)
    assert_allclose(model.intercepts_[0], bias, rtol=1e-11)


# --- By hand ---


def by_hand(coefs, intercepts, activation):
    """Return a regressor that has these weights and has seen no data."""
    model = MLPRegressor(hidden_layer_sizes=(len(intercepts[0]),), activation=activation)
    model.coefs_ = [np.array(coef, dtype=float) for coef in coefs]
    model.intercepts_ = [np.array(intercept, dtype=float) for intercept in intercepts]
    model.out_activation_, model.n_outputs_, model.n_layers_ = "identity", 1, 3
    model.n_features_in_ = len(coefs[0])
    return model


def test_a_network_whose_weights_are_all_one():
    """The matrix product gives the hidden values: two nodes that both see the sum."""
    inputs = np.array([[1.0, 2.0], [0.5, -1.5]])
    ones = [np.ones((2, 2)), np.ones((2, 1))]
    zeros = [np.zeros(2), np.zeros(1)]
    assert_allclose(by_hand(ones, zeros, "identity").predict(inputs), [6.0, -2.0])
    assert_allclose(by_hand(ones, zeros, "step").predict(inputs), [2.0, 0.0])
    expected = 2 * special.expit([3.0, -1.0])
    assert_allclose(by_hand(ones, zeros, "logistic").predict(inputs), expected, rtol=1e-14)


def test_two_perceptrons_and_a_third_solve_exclusive_or():
    """Either, but not both: no single perceptron can (Minsky & Papert 1969)."""
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    model = by_hand([np.ones((2, 2)), [[1], [-1]]], [[-0.5, -1.5], [0.0]], "step")
    assert_array_equal(model.predict(corners), [0, 1, 1, 0])


def test_a_perceptron_learns_what_can_be_separated():
    """Rosenblatt's rule converges: the step of one unit, its error passed on as it is."""
    corners = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    for targets in ([0, 0, 0, 1], [0, 1, 1, 1]):
        weights, bias = np.zeros(2), 0.0
        for _ in range(20):
            for x, y in zip(corners, targets, strict=True):
                error = y - evaluate("step", x @ weights + bias)[0]
                weights += error * x
                bias += error
        assert_array_equal(evaluate("step", corners @ weights + bias)[0], targets)
