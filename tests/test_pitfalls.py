"""Bugs that packages of this kind really had, one section each; each test would catch its bug.

The numbers are those of the sections: 1 gradients, 2 resuming, 3 best weights, 4 validation split,
5 weights, 6 divergence, 7 pickles, 8 nondeterminism, 9 nested parallelism, 10 shapes.
"""

import copy
import io
import json
import pickle
from itertools import product

import joblib
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.special
import sklearn.neural_network
from covering import covering
from engine_checks import DIFFERENTIABLE, DRAWN, SOLVERS, STOCHASTIC
from estimator_checks import assert_same_weights
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import train_test_split

from skmlp import MLPClassifier, MLPRegressor

# Most fits are cut off after few epochs on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HEADS = ("binary", "multiclass", "multilabel", "regression", "multi_regression", "poisson")
CLASSIFIERS = ("binary", "multiclass", "multilabel")


def weight_vector(model):
    """All coefficients, then all intercepts and what else is learned, in one vector."""
    return np.concatenate([w.ravel() for w in (*model.coefs_, *model.intercepts_, model._extras)])


def put_weight_vector(model, vector):
    """Assign the entries of a vector to where they come from."""
    arrays = [*model.coefs_, *model.intercepts_, model._extras]
    parts = np.split(vector, np.cumsum([array.size for array in arrays])[:-1])
    parts = [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]
    model.coefs_ = parts[: len(model.coefs_)]
    model.intercepts_, model._extras = parts[len(model.coefs_) : -1], parts[-1]


def documented_loss(model, head, X, y, weights):
    """Loss of the user guide: mean over samples plus half of alpha times the squared weights.

    The penalty is divided by the (weighted) number of samples.
    """
    y = y.reshape(len(y), -1)
    if head == "regression" or head == "multi_regression":
        each = 0.5 * ((y - model.predict(X).reshape(y.shape)) ** 2).sum(axis=1)
    elif head == "poisson":
        mean = model.predict(X).reshape(y.shape)
        each = (scipy.special.xlogy(y, y / mean) - y + mean).sum(axis=1)
    elif head == "multilabel":
        p = model.predict_proba(X)
        each = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)
    else:
        each = -np.log(model.predict_proba(X)[np.arange(len(y)), y.ravel()])
    weights = np.ones(len(y)) if weights is None else weights
    penalty = 0.5 * model.alpha * sum((c**2).sum() for c in model.coefs_)
    return (weights @ each + penalty) / weights.sum()


def numerical_gradient(model, head, X, y, weights):
    """Central differences of the documented loss with respect to all weights."""
    model = copy.deepcopy(model)
    start = weight_vector(model)

    def loss(vector):
        put_weight_vector(model, vector)
        return documented_loss(model, head, X, y, weights)

    step = 1e-6
    steps = step * np.eye(start.size)
    return np.array([(loss(start + s) - loss(start - s)) / (2 * step) for s in steps])


# --- 1. Loss and gradient of different functions ---


def covering_cases():
    """Return all heads with the kinds of maps, and one with every other activation."""
    named = [name for name in DRAWN if name in DIFFERENTIABLE]  # a blend has no name
    beside = [(False, 0.0), (True, 0.7)]
    every = [(*pair, *beside[i % 2]) for i, pair in enumerate(product(HEADS, named))]
    relu = [(head, "relu", *pair) for head in HEADS for pair in product([False, True], [0.0, 0.7])]
    others = [name for name in DIFFERENTIABLE if name not in DRAWN]
    one_each = [(HEADS[i % len(HEADS)], name, i % 2 == 0, 0.7) for i, name in enumerate(others)]
    return sorted({*every, *relu, *one_each})


@pytest.mark.parametrize(("head", "activation", "weighted", "alpha"), covering_cases())
def test_1_steps_follow_the_gradient_of_the_loss(
    make_problem, make_estimator, head, activation, weighted, alpha
):
    # Two batches, the last one short: without momentum, each step is the gradient times the rate.
    rate = 0.25  # at 1 the outputs of the Poisson loss would overflow
    X, y = make_problem(head, n_samples=12, n_features=3)
    weights = np.linspace(0.3, 2.0, 12) if weighted else None
    model = make_estimator(
        head,
        solver="sgd",
        momentum=0.0,
        learning_rate_init=rate,
        hidden_layer_sizes=(4,),
        activation=activation,
        alpha=alpha,
        batch_size=8,
        shuffle=False,
        random_state=1,
    )
    classes = {"classes": [0, 1] if head == "binary" else [0, 1, 2]} if head in CLASSIFIERS else {}
    # The first call only makes the weights: this step is too small to change them.
    tiny = copy.deepcopy(model).set_params(learning_rate_init=1e-300)
    tiny.partial_fit(X, y, **classes)
    expected, losses = copy.deepcopy(tiny), []
    for rows in (slice(0, 8), slice(8, 12)):
        part = None if weights is None else weights[rows]
        losses.append(documented_loss(expected, head, X[rows], y[rows], part))
        gradient = numerical_gradient(expected, head, X[rows], y[rows], part)
        put_weight_vector(expected, weight_vector(expected) - rate * gradient)
    model.partial_fit(X, y, sample_weight=weights, **classes)
    np.testing.assert_allclose(weight_vector(model), weight_vector(expected), atol=1e-6)
    assert model.loss_ == pytest.approx((8 * losses[0] + 4 * losses[1]) / 12, rel=1e-7)


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("head", HEADS)
def test_1_lbfgs_ends_at_the_minimum_of_the_loss(make_problem, make_estimator, head, weighted):
    # Without a hidden layer the loss has one minimum, which any minimizer finds.
    X, y = make_problem(head)
    weights = np.linspace(0.3, 2.0, len(X)) if weighted else None
    model = make_estimator(
        head, solver="lbfgs", hidden_layer_sizes=(), alpha=1.0, tol=1e-7, max_iter=1000
    )
    model.fit(X, y, weights)
    found = weight_vector(model)
    assert model.loss_ == pytest.approx(documented_loss(model, head, X, y, weights), rel=1e-7)
    gradient = numerical_gradient(model, head, X, y, weights)
    other = copy.deepcopy(model)

    def loss(vector):
        put_weight_vector(other, vector)
        return documented_loss(other, head, X, y, weights)

    best = scipy.optimize.minimize(loss, found, method="BFGS", options={"gtol": 1e-6})
    assert np.abs(gradient).max() < 1e-3
    assert model.loss_ == pytest.approx(best.fun, rel=1e-7)


# --- 2. Stale state on resuming ---


@pytest.mark.parametrize("params", [
    {"solver": "sgd"},
    {"solver": "sgd", "learning_rate": "invscaling", "nesterovs_momentum": False},
    {"solver": "adam"},
    {"solver": "adam", "batch_size": 7, "shuffle": False},
])  # fmt: skip
@pytest.mark.parametrize("head", HEADS)
def test_2_warm_started_fits_equal_one_long_fit(make_problem, make_estimator, head, params):
    X, y = make_problem(head)
    params = {"hidden_layer_sizes": (6,), "random_state": 0, "learning_rate_init": 0.01, **params}
    long = make_estimator(head, max_iter=6, **params).fit(X, y)
    resumed = make_estimator(head, max_iter=1, warm_start=True, **params)
    for epoch in range(6):
        resumed.fit(X, y)
        assert resumed.n_iter_ == 1
        assert len(resumed.loss_curve_) == epoch + 1
    assert_same_weights(long, resumed)
    assert long.loss_curve_ == resumed.loss_curve_
    assert long.t_ == resumed.t_
    resumed.set_params(max_iter=3).fit(X, y)
    assert_same_weights(make_estimator(head, max_iter=9, **params).fit(X, y), resumed)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_2_best_score_and_patience_start_anew(make_problem, estimator):
    X, y = make_problem("binary", n_samples=200)
    model = estimator(
        early_stopping=True,
        warm_start=True,
        hidden_layer_sizes=(8,),
        learning_rate_init=0.02,
        n_iter_no_change=4,
        max_iter=60,
        random_state=0,
    ).fit(X, y)
    first = len(model.validation_scores_)
    model.fit(X, 1 - y)
    scores = model.validation_scores_[first:]
    assert len(scores) == model.n_iter_ > 5, "the old patience counter stopped the new fit"
    assert model.best_validation_score_ == max(scores)


def test_2_best_loss_starts_anew(make_problem):
    X, y = make_problem("regression")
    model = MLPRegressor(
        warm_start=True, hidden_layer_sizes=(8,), learning_rate_init=0.02, max_iter=50
    ).fit(X, y)
    old = model.best_loss_
    model.set_params(max_iter=3).fit(X, y + 10)
    assert model.best_loss_ == min(model.loss_curve_[-3:]) > old


def test_2_best_weights_are_no_alias(make_problem):
    X, y = make_problem("binary", n_samples=100)
    model = MLPClassifier(
        early_stopping=True, warm_start=True, hidden_layer_sizes=(6,), max_iter=5, random_state=0
    ).fit(X, y)
    expected = copy.deepcopy(model)
    # What the user writes into the weights is where the next fit starts, and nothing else.
    for array in model.coefs_ + model.intercepts_:
        array[...] = 0.0
    expected.coefs_ = [np.zeros_like(c) for c in expected.coefs_]
    expected.intercepts_ = [np.zeros_like(b) for b in expected.intercepts_]
    assert_same_weights(model.fit(X, y), expected.fit(X, y))
    arrays = model.coefs_ + model.intercepts_
    for position, array in enumerate(arrays):
        others = arrays[:position] + arrays[position + 1 :]
        assert not any(np.shares_memory(array, other) for other in others)


def test_2_another_solver_starts_with_new_moments(make_problem):
    X, y = make_problem("regression")
    params = {"hidden_layer_sizes": (6,), "shuffle": False, "max_iter": 4, "random_state": 0}
    fitted = []
    for library in (sklearn.neural_network.MLPRegressor, MLPRegressor):
        model = library(warm_start=True, **params).fit(X, y)
        fitted.append(model.set_params(solver="sgd").fit(X, y))
    theirs, ours = fitted
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_2_another_random_state_starts_anew(make_problem, solver):
    # scikit-learn starts anew at each fit, so there the two agree, shuffled batches included.
    X, y = make_problem("regression")
    params = {"solver": solver, "hidden_layer_sizes": (6,), "batch_size": 9, "max_iter": 4}
    fitted = []
    for library in (sklearn.neural_network.MLPRegressor, MLPRegressor):
        model = library(warm_start=True, random_state=0, **params).fit(X, y)
        fitted.append(model.set_params(random_state=5).fit(X, y))
    theirs, ours = fitted
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_2_partial_fit_uses_the_weights_assigned_before(make_problem):
    X, y = make_problem("regression")
    params = {"solver": "sgd", "hidden_layer_sizes": (6,), "shuffle": False, "random_state": 0}
    fitted = []
    for library in (sklearn.neural_network.MLPRegressor, MLPRegressor):
        model = library(momentum=0.0, **params).partial_fit(X, y)
        model.coefs_ = [np.full_like(c, 0.25) for c in model.coefs_]
        fitted.append(model.partial_fit(X, y))
    theirs, ours = fitted
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


# --- 3. Best weights wrong or missing ---


def validation_rows(model, X, y):
    """Rows that early stopping held out, drawn once more as scikit-learn draws them."""
    rng = np.random.RandomState(model.random_state)
    for coefs, intercepts in zip(model.coefs_, model.intercepts_, strict=True):
        rng.uniform(size=coefs.shape)
        rng.uniform(size=intercepts.shape)
    stratify = None
    if isinstance(model, MLPClassifier) and y.ndim == 1:
        stratify = y.reshape(-1, 1).astype(bool)
    _, rows = train_test_split(
        np.arange(len(X)),
        random_state=rng,
        test_size=model.validation_fraction,
        stratify=stratify,
    )
    return rows


@pytest.mark.parametrize(
    ("reason", "params"),
    [
        ("patience", {"max_iter": 300, "n_iter_no_change": 3, "learning_rate_init": 0.05}),
        ("max_iter", {"max_iter": 7, "learning_rate_init": 0.05}),
        ("best epoch is the last", {"max_iter": 1}),
        ("adaptive", {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("head", ["binary", "multilabel", "regression", "poisson"])
def test_3_returned_weights_have_the_best_score(make_problem, make_estimator, head, reason, params):
    X, y = make_problem(head, n_samples=150)
    weights = np.linspace(0.2, 2.0, 150)
    model = make_estimator(
        head,
        early_stopping=True,
        validation_fraction=0.3,
        hidden_layer_sizes=(6,),
        random_state=4,
        **params,
    ).fit(X, y, weights)
    rows = validation_rows(model, X, y)
    score = model.score(X[rows], y[rows], weights[rows])
    assert score == pytest.approx(model.best_validation_score_, rel=1e-12)
    assert model.best_validation_score_ == max(model.validation_scores_)
    if reason == "patience":
        assert model.n_iter_ < 300
        assert model.validation_scores_[-1] <= model.best_validation_score_


def test_3_returned_weights_have_the_best_score_after_divergence(make_problem):
    X, y = make_problem("regression", n_samples=150)
    model = MLPRegressor(
        solver="sgd",
        learning_rate_init=1e3,
        early_stopping=True,
        hidden_layer_sizes=(6,),
        random_state=4,
    ).fit(X, y)
    assert np.isnan(model.validation_scores_[-1])
    rows = validation_rows(model, X, y)
    score = model.score(X[rows], y[rows])
    assert score == pytest.approx(model.best_validation_score_, rel=1e-12)


INTERRUPTED_AT_EPOCH_FIVE = """
import os, signal, sys, warnings
import joblib
from skmlp import MLPRegressor

class Interrupting:
    def __init__(self):
        self.text = ""
    def write(self, text):
        before, self.text = self.text, self.text + text
        if "Iteration 5," in self.text and "Iteration 5," not in before:
            os.kill(os.getpid(), signal.SIGINT)
    def flush(self):
        pass

X, y = joblib.load(sys.argv[1])
model = MLPRegressor(early_stopping=True, hidden_layer_sizes=(6,), random_state=4, verbose=True,
                     max_iter=10**6, n_iter_no_change=10**6)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    sys.stdout, stdout = Interrupting(), sys.stdout
    model.fit(X, y)
    sys.stdout = stdout
assert any("interrupted by user" in str(w.message) for w in caught)
joblib.dump(model, sys.argv[2])
"""


def test_3_returned_weights_have_the_best_score_after_an_interrupt(
    make_problem, run_python, tmp_path
):
    X, y = make_problem("regression", n_samples=150)
    joblib.dump((X, y), tmp_path / "data")
    run_python(INTERRUPTED_AT_EPOCH_FIVE, tmp_path / "data", tmp_path / "model")
    model = joblib.load(tmp_path / "model")
    # The epoch's loss is known when it is printed; its score need not be.
    assert model.n_iter_ == len(model.loss_curve_) == 5
    assert len(model.validation_scores_) in (4, 5)
    rows = validation_rows(model, X, y)
    score = model.score(X[rows], y[rows])
    assert score == pytest.approx(model.best_validation_score_, rel=1e-12)


# --- 4. Validation split ---


def validation_shares(y, validation_fraction, seeds):
    """Accuracies on the validation rows of untrained networks that see the class itself.

    Rows of one class are all alike, so the accuracy is the share of some classes among the rows.
    """
    X = (y[:, None] == np.unique(y)).astype(float)
    for seed in seeds:
        model = MLPClassifier(
            hidden_layer_sizes=(3,),
            solver="sgd",
            learning_rate_init=1e-200,
            early_stopping=True,
            validation_fraction=validation_fraction,
            max_iter=1,
            random_state=seed,
        ).fit(X, y)
        yield model.best_validation_score_


@pytest.mark.parametrize("kind", ["integers", "strings", "objects"])
@pytest.mark.parametrize(
    ("counts", "validation_counts"), [([30, 30, 30], [10, 10, 10]), ([60, 24, 6], [20, 8, 2])]
)
def test_4_multiclass_split_is_stratified(counts, validation_counts, kind):
    labels = np.array(["ash", "beech", "cedar"], dtype=object if kind == "objects" else None)
    labels = np.array([4, 0, 9]) if kind == "integers" else labels
    y = np.random.default_rng(0).permutation(np.repeat(labels, counts))
    subsets = {
        sum(count for count, chosen in zip(validation_counts, bits, strict=True) if chosen)
        for bits in np.ndindex(2, 2, 2)
    }
    for share in validation_shares(y, 1 / 3, seeds=range(12)):
        assert round(share * 30, 6) in subsets


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (np.repeat([0, 1, 2], [10, 9, 1]), "one row of a class"),
        (np.repeat([0, 1, 2, 3], 3), "fewer validation rows than classes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_4_a_multiclass_split_that_cannot_be_stratified_is_plain(y, reason):
    X = np.random.default_rng(0).normal(size=(len(y), 3))
    model = MLPClassifier(
        early_stopping=True, validation_fraction=0.2, hidden_layer_sizes=(3,), max_iter=3
    )
    with pytest.warns(UserWarning, match="(?i)stratif"):
        model.fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_


def test_4_binary_class_with_a_single_row(make_problem):
    X, _ = make_problem("binary", n_samples=20)
    y = np.repeat([0, 1], [19, 1])
    with pytest.raises(ValueError, match=r"least populated class.* only 1 member"):
        MLPClassifier(early_stopping=True, hidden_layer_sizes=(3,)).fit(X, y)


@pytest.mark.parametrize("n_samples", [4, 6, 9])
@pytest.mark.parametrize("head", ["binary", "multilabel", "regression", "multi_regression"])
def test_4_few_rows(make_problem, make_estimator, head, n_samples):
    X, y = make_problem(head, n_samples=n_samples)
    if head == "binary":
        y = np.arange(n_samples) % 2
    model = make_estimator(
        head, early_stopping=True, validation_fraction=0.5, hidden_layer_sizes=(3,), max_iter=3
    ).fit(X, y)
    assert np.isfinite(model.validation_scores_).all()


@pytest.mark.parametrize(
    "labels", [["no", "yes"], [False, True], [-1, 1], [1.0, 2.0]], ids=lambda value: str(value[0])
)
def test_4_label_types(make_problem, labels):
    X, codes = make_problem("binary", n_samples=60)
    y = np.array(labels)[codes]
    params = {"early_stopping": True, "hidden_layer_sizes": (4,), "max_iter": 8, "random_state": 0}
    model = MLPClassifier(**params).fit(X, y)
    expected = MLPClassifier(**params).fit(X, codes)
    assert model.validation_scores_ == expected.validation_scores_
    np.testing.assert_array_equal(model.predict(X), np.array(labels)[expected.predict(X)])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("label", [0, 1, 3, "only"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_4_a_single_class_is_always_right(make_problem, label, solver, weighted):
    X, _ = make_problem("binary", n_samples=60)
    y = np.full(len(X), label)
    weights = np.linspace(0.5, 2.0, len(X)) if weighted else None
    # Too slow to learn anything: outputs stay on either side of one half.
    model = MLPClassifier(
        (4,), solver=solver, learning_rate_init=1e-9, early_stopping=True, random_state=0
    ).fit(X, y, weights)
    assert 0 < (model.predict_proba(X)[:, 1] > 0.5).mean() < 1
    assert model.score(X, y, weights) == 1.0
    assert set(model.validation_scores_) == {1.0}
    assert model.best_validation_score_ == 1.0


# --- 5. Weights ---

FULL_BATCH = {"hidden_layer_sizes": (6,), "random_state": 0, "alpha": 0.5, "shuffle": False}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_5_weights_mean_rows(make_problem, make_estimator, unchanged, head, solver):
    X, y = make_problem(head)
    counts = np.arange(len(X)) % 3

    def fit(X, y, weights, batch_size):
        model = make_estimator(head, solver=solver, batch_size=batch_size, **FULL_BATCH)
        model.set_params(max_iter=8 if solver == "lbfgs" else 20, learning_rate_init=0.01)
        return model.fit(X, y, sample_weight=weights)

    def assert_alike(first, second):
        assert first.loss_ == pytest.approx(second.loss_, rel=1e-7)
        np.testing.assert_allclose(weight_vector(first), weight_vector(second), atol=1e-6)

    n = len(X)
    plain = fit(X, y, None, n)
    assert_alike(fit(X, y, np.ones(n), n), plain)
    with unchanged(X, y, counts):
        weighted = fit(X, y, counts, n)
    repeated = np.repeat(np.arange(n), counts)
    assert_alike(weighted, fit(X[repeated], y[repeated], None, len(repeated)))
    kept = counts > 0
    assert_alike(fit(X, y, kept.astype(float), n), fit(X[kept], y[kept], None, kept.sum()))


@pytest.mark.parametrize(("head", "solver", "sparse"), covering(HEADS, STOCHASTIC, [False, True]))
def test_5_a_batch_without_weight_is_skipped(make_problem, make_estimator, head, solver, sparse):
    X, y = make_problem(head)
    weights = np.linspace(0.5, 2.0, len(X))
    weights[10:20] = 0.0
    rows = np.flatnonzero(weights)
    container = scipy.sparse.csr_array if sparse else np.asarray
    params = {**FULL_BATCH, "batch_size": 10, "max_iter": 5, "solver": solver}
    model = make_estimator(head, **params).fit(container(X), y, weights)
    expected = make_estimator(head, **params).fit(container(X[rows]), y[rows], weights[rows])
    assert model.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-7)
    np.testing.assert_allclose(weight_vector(model), weight_vector(expected), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_5_read_only_weights_stay_as_they_are(make_problem, dtype):
    X, y = make_problem("regression")
    weights = (1 + np.arange(len(X)) % 4).astype(dtype)
    before = weights.copy()
    weights.flags.writeable = False
    MLPRegressor(hidden_layer_sizes=(4,), batch_size=9, max_iter=3).fit(X, y, weights)
    np.testing.assert_array_equal(weights, before)
    assert weights.dtype == dtype


# --- 6. Silent divergence ---


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_6_divergence_is_loud(make_problem, solver):
    X, y = make_problem("regression")
    model = MLPRegressor(solver=solver, learning_rate_init=1e200, max_iter=2000, random_state=0)
    with pytest.raises(ValueError, match=r"non-finite.*(?s:.*)learning_rate_init"):
        model.fit(X, y)


def test_6_divergence_under_early_stopping(make_problem):
    X, y = make_problem("regression")
    model = MLPRegressor(
        solver="sgd", learning_rate_init=1e3, early_stopping=True, max_iter=2000, random_state=0
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert np.isnan(model.validation_scores_[-1])
    assert len(model.validation_scores_) < 100
    assert np.isfinite(model.predict(X)).all()


def test_6_poisson_loss_needs_y_of_zero_or_more(make_problem):
    X, y = make_problem("poisson")
    y[3] = -1.0
    with pytest.raises(ValueError, match=r"(?i)negative|>= ?0"):
        MLPRegressor("poisson", max_iter=3).fit(X, y)


# --- 7. Pickles ---

ROUND_TRIPS = {
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "oldest protocol": lambda model, path: pickle.loads(pickle.dumps(model, protocol=2)),
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "joblib": lambda model, path: joblib.load(joblib.dump(model, path / "model")[0]),
    "joblib compressed": lambda model, path: joblib.load(
        joblib.dump(model, path / "model", compress=3)[0]
    ),
}


@pytest.mark.parametrize(
    ("head", "way", "solver", "dtype"),
    covering(
        ["multiclass", "multi_regression"], list(ROUND_TRIPS), STOCHASTIC, [np.float32, np.float64]
    ),
)
def test_7_resuming_after_a_round_trip(
    make_problem, make_estimator, tmp_path, head, way, solver, dtype
):
    X, y = make_problem(head)
    X = X.astype(dtype)
    params = {"solver": solver, "hidden_layer_sizes": (6,), "batch_size": 7, "random_state": 0}
    model = make_estimator(head, max_iter=3, **params).fit(X, y)
    again = ROUND_TRIPS[way](model, tmp_path)
    np.testing.assert_array_equal(model.predict(X), again.predict(X))
    for _ in range(3):
        model.partial_fit(X, y)
        again.partial_fit(X, y)
    assert_same_weights(model, again)
    assert model.loss_curve_ == again.loss_curve_
    before = weight_vector(model)
    again.partial_fit(X, y)
    assert not np.array_equal(weight_vector(again), before), "the weights no longer change"
    np.testing.assert_array_equal(weight_vector(model), before)


def _stop_early(model, X, y):
    # Each fit draws a split between the orders of its rows and those of the fit before.
    return model.set_params(early_stopping=True, warm_start=True).fit(X, y)


def _share_the_generator(model, X, y):
    # Somebody else draws from the generator between two calls.
    model.partial_fit(X, y)
    model.random_state.uniform(size=17)
    return model


def _change_the_seed(model, X, y):
    return model.fit(X, y).set_params(warm_start=True, random_state=9).fit(X, y)


def _change_the_rows(model, X, y):
    return model.partial_fit(X, y).partial_fit(X[:30], y[:30]).partial_fit(X, y)


@pytest.mark.parametrize(
    ("step", "seed"),
    [
        (_stop_early, 0),
        (_share_the_generator, np.random.RandomState(0)),
        (_change_the_seed, 0),
        (_change_the_rows, 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_7_resuming_after_a_round_trip_and_other_draws(make_problem, step, seed):
    X, y = make_problem("regression")

    def history(round_trips):
        model = MLPRegressor(hidden_layer_sizes=(6,), batch_size=7, max_iter=3)
        model.set_params(random_state=copy.deepcopy(seed))
        for _ in range(4):
            model = step(model, X, y)
            model = pickle.loads(pickle.dumps(model)) if round_trips else model
        return model

    assert_same_weights(history(round_trips=True), history(round_trips=False))


@pytest.mark.parametrize("solver", SOLVERS)
def test_7_a_memory_mapped_model_can_be_resumed(make_problem, tmp_path, solver):
    X, y = make_problem("regression")
    params = {"solver": solver, "hidden_layer_sizes": (60,), "max_iter": 3, "random_state": 0}
    model = MLPRegressor(warm_start=True, **params).fit(X, y)
    joblib.dump(model, tmp_path / "model")
    again = joblib.load(tmp_path / "model", mmap_mode="r")
    assert_same_weights(model.fit(X, y), again.fit(X, y))


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_7_pickles_grow_by_at_most_ten_bytes_a_call(make_problem, estimator):
    X, y = make_problem("binary")
    model = estimator(hidden_layer_sizes=(6,), random_state=0)
    options = {"classes": [0, 1]} if estimator is MLPClassifier else {}
    sizes = []
    for calls in (100, 1000):
        for _ in range(calls):
            model.partial_fit(X, y, **options)
        sizes.append(len(pickle.dumps(model)))
    assert sizes[1] - sizes[0] <= 10 * 1000
    assert all(type(loss) is float for loss in model.loss_curve_)


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_7_pickles_hold_no_data(make_problem, params):
    sizes = []
    for n_samples in (1000, 9000):
        X, y = make_problem("regression", n_samples=n_samples, n_features=8)
        model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=2, random_state=0, **params)
        sizes.append(len(pickle.dumps(model.fit(X, y))))
        model.predict(X)
        assert len(pickle.dumps(model)) == sizes[-1], "predict left something in the pickle"
    # Neither rows nor anything else that there is once per row.
    assert abs(sizes[1] - sizes[0]) < 200


# --- 8. Nondeterminism ---

# Large enough that the work is really split over threads.
HASHES = """
import hashlib, json, sys, warnings
import numpy as np
from skmlp import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.normal(size=(2000, 100))
y = rng.integers(0, 10, 2000)
n_jobs = json.loads(sys.argv[1])
hashes = {}
for dtype in ("float32", "float64"):
    for solver in ("sgd", "adam", "lbfgs"):
        for estimator in (MLPClassifier, MLPRegressor):
            model = estimator(hidden_layer_sizes=(128, 64), batch_size=400, max_iter=3,
                              random_state=0, solver=solver, dtype=dtype, n_jobs=n_jobs).fit(X, y)
            digest = hashlib.sha256()
            for array in (*model.coefs_, *model.intercepts_, model.predict(X)):
                digest.update(np.ascontiguousarray(array).tobytes())
            hashes[f"{estimator.__name__} {solver} {dtype}"] = digest.hexdigest()
print(json.dumps(hashes))
"""


def test_8_the_number_of_threads_changes_nothing(run_python):
    results = {
        f"n_jobs={n_jobs} of {threads} threads": json.loads(
            run_python(HASHES, json.dumps(n_jobs), NUMBA_NUM_THREADS=str(threads))
        )
        for n_jobs, threads in [(1, 1), (2, 2), (4, 4), (None, 3)]
    }
    expected = results.pop("n_jobs=1 of 1 threads")
    for label, hashes in results.items():
        different = [name for name in expected if hashes[name] != expected[name]]
        assert not different, f"{label}: {different}"


@pytest.mark.parametrize("n_jobs", [2, -1, None])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_8_n_jobs_changes_nothing(make_problem, n_jobs, sparse):
    X, y = make_problem("multiclass", n_samples=1500, n_features=80)
    X = scipy.sparse.csr_array(np.where(X > 0.5, X, 0)) if sparse else X
    params = {"hidden_layer_sizes": (100,), "batch_size": 300, "max_iter": 3, "random_state": 0}
    one = MLPClassifier(n_jobs=1, **params).fit(X, y)
    several = MLPClassifier(n_jobs=n_jobs, **params).fit(X, y)
    assert_same_weights(one, several)
    np.testing.assert_array_equal(one.predict_proba(X), several.predict_proba(X))


@pytest.mark.parametrize("params", [
    {"solver": "sgd"},
    {"solver": "sgd", "learning_rate": "invscaling", "batch_size": 7},
    {"solver": "adam"},
    {"solver": "adam", "batch_size": 1},
])  # fmt: skip
@pytest.mark.parametrize("head", HEADS)
def test_8_five_partial_fits_equal_five_epochs(make_problem, make_estimator, head, params):
    X, y = make_problem(head)
    params = {"hidden_layer_sizes": (6,), "random_state": 0, "learning_rate_init": 0.01, **params}
    whole = make_estimator(head, max_iter=5, **params).fit(X, y)
    parts = make_estimator(head, **params)
    classes = {"classes": [0, 1] if head == "binary" else [0, 1, 2]} if head in CLASSIFIERS else {}
    for _ in range(5):
        parts.partial_fit(X, y, **classes)
    assert_same_weights(whole, parts)
    assert whole.loss_curve_ == parts.loss_curve_
    assert whole.t_ == parts.t_


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_8_partial_fits_after_a_fit_are_its_next_epochs(make_problem, solver):
    X, y = make_problem("multiclass")
    params = {"solver": solver, "hidden_layer_sizes": (6,), "batch_size": 9, "random_state": 0}
    whole = MLPClassifier(max_iter=7, **params).fit(X, y)
    parts = MLPClassifier(max_iter=4, **params).fit(X, y)
    for _ in range(3):
        parts.partial_fit(X, y)
    assert_same_weights(whole, parts)
    assert whole.loss_curve_ == parts.loss_curve_


def test_8_the_order_of_fits_changes_nothing(make_problem, make_estimator):
    results = []
    for order in (HEADS, HEADS[::-1]):
        fitted = {}
        for head in order:
            X, y = make_problem(head, n_samples=300, n_features=30)
            model = make_estimator(head, hidden_layer_sizes=(40,), max_iter=3, random_state=0)
            fitted[head] = model.fit(X, y)
        results.append(fitted)
    for head in HEADS:
        assert_same_weights(results[0][head], results[1][head])


def test_8_a_fit_repeats_bitwise(make_problem):
    X, y = make_problem("binary", n_samples=1000, n_features=50)
    params = {"hidden_layer_sizes": (64,), "max_iter": 4, "random_state": 0}
    first = MLPClassifier(**params).fit(X, y)
    for _ in range(3):
        assert_same_weights(first, MLPClassifier(**params).fit(X, y))
    other = MLPClassifier(**{**params, "random_state": 1}).fit(X, y)
    assert not np.array_equal(first.coefs_[0], other.coefs_[0])


# --- 9. Nested parallelism ---

SEARCHES = """
import hashlib, json, warnings
import joblib
import numpy as np
from sklearn.model_selection import GridSearchCV, cross_validate
from skmlp import MLPClassifier

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.normal(size=(2000, 200))
y = (X[:, :10] @ rng.normal(size=(10, 3))).argmax(axis=1)

def digest(model):
    return hashlib.sha256(b"".join(w.tobytes() for w in model.coefs_)).hexdigest()

# The parent process has parallel threads before anything is forked or nested.
large = MLPClassifier(hidden_layer_sizes=256, batch_size=512, max_iter=2, random_state=0).fit(X, y)
model = MLPClassifier(hidden_layer_sizes=64, batch_size=256, max_iter=3, random_state=0)
grid = {"alpha": [1e-4, 1.0], "solver": ["adam", "sgd", "lbfgs"]}
results = {"before": digest(large)}
for backend in ("sequential", "loky", "threading", "multiprocessing"):
    with joblib.parallel_config(backend=backend, n_jobs=1 if backend == "sequential" else 2):
        search = GridSearchCV(model, grid, cv=2).fit(X[:800], y[:800])
        folds = cross_validate(large, X, y, cv=2, return_estimator=True)
    results[backend] = [
        search.cv_results_["mean_test_score"].tolist(),
        digest(search.best_estimator_),
        [digest(estimator) for estimator in folds["estimator"]],
    ]
results["after"] = digest(large.fit(X, y))
print(json.dumps(results))
"""


def test_9_searches_in_every_kind_of_worker(run_python):
    results = json.loads(run_python(SEARCHES, timeout=300).splitlines()[-1])
    assert results["before"] == results["after"]
    for backend in ("loky", "threading", "multiprocessing"):
        assert results[backend] == results["sequential"], backend


MANY_THREADS = """
import hashlib, json, threading, warnings
import numpy as np
from skmlp import MLPClassifier

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.normal(size=(1500, 100)), rng.integers(0, 5, 1500)
digests = []

def fit():
    model = MLPClassifier(hidden_layer_sizes=128, batch_size=500, max_iter=4, random_state=0)
    model.fit(X, y).predict_proba(X)
    digests.append(hashlib.sha256(b"".join(w.tobytes() for w in model.coefs_)).hexdigest())

fit()
threads = [threading.Thread(target=fit) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(digests))
"""


def test_9_fits_in_several_threads_at_once(run_python):
    # These threads do not look like joblib workers.
    digests = json.loads(run_python(MANY_THREADS).splitlines()[-1])
    assert len(digests) == 7
    assert len(set(digests)) == 1


MEMORY = """
import resource, warnings
import numpy as np
from skmlp import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 60)), rng.integers(0, 2, 2000)  # 0.96 MB

def fit(times):
    for k in range(times):
        estimator = (MLPClassifier, MLPRegressor)[k % 2]
        estimator(hidden_layer_sizes=64, max_iter=1, early_stopping=k % 4 == 0).fit(X, y).predict(X)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

start = fit(20)
print(fit(100) - start)
"""


def test_9_memory_is_flat_over_100_fits(run_python):
    kilobytes = int(run_python(MEMORY).splitlines()[-1])
    # One copy of X left behind per fit would be 96 MB, one set of weights per fit 3 MB.
    assert kilobytes < 3000


INTERRUPTED_SEARCH = """
import os, signal, threading, warnings
import numpy as np
from sklearn.model_selection import GridSearchCV
from skmlp import MLPClassifier

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 20)), rng.integers(0, 3, 2000)
model = MLPClassifier(max_iter=1, random_state=0, tol=0.0, n_iter_no_change=np.inf).fit(X, y)
model.set_params(max_iter=10**7)
for delay in (0.5, 1.5):
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
try:
    GridSearchCV(model, {"alpha": [0.1, 1.0, 10.0]}, cv=3).fit(X, y)
except KeyboardInterrupt:
    print("stopped")
"""


def test_9_two_interrupts_stop_a_search(run_python):
    # The first one ends the fit under way, the second one the search.
    assert run_python(INTERRUPTED_SEARCH, timeout=60).split() == ["stopped"]


# --- 10. Shapes and encodings ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(), (6,), (6, 4)], ids=str)
@pytest.mark.parametrize("head", HEADS)
def test_10_predictions_do_not_depend_on_the_company(
    make_problem, make_estimator, head, sizes, dtype
):
    X, y = make_problem(head, n_samples=60)
    X = X.astype(dtype)
    model = make_estimator(head, hidden_layer_sizes=sizes, max_iter=5, random_state=0).fit(X, y)
    method = model.predict_proba if head in CLASSIFIERS else model.predict
    batch = method(X)
    assert batch.dtype == dtype
    rows = np.concatenate([method(row[None]) for row in X])
    chunks = np.concatenate([method(part) for part in np.array_split(X, 7)])
    np.testing.assert_array_equal(rows, batch)
    np.testing.assert_array_equal(chunks, batch)
    np.testing.assert_array_equal(method(scipy.sparse.csr_array(X)), batch)
    many = method(np.tile(X, (300, 1)))
    np.testing.assert_array_equal(many, np.tile(batch, (300,) + (1,) * (batch.ndim - 1)))


@pytest.mark.parametrize("head", HEADS)
def test_10_one_row(make_problem, make_estimator, head):
    X, y = make_problem(head)
    model = make_estimator(head, hidden_layer_sizes=(4,), max_iter=3).fit(X, y)
    outputs = {"multilabel": (1, 3), "multi_regression": (1, 3)}
    assert model.predict(X[:1]).shape == outputs.get(head, (1,))
    if head in CLASSIFIERS:
        assert model.predict_proba(X[:1]).shape == (1, 2 if head == "binary" else 3)
    one = make_estimator(head, hidden_layer_sizes=(4,), max_iter=3, batch_size=1)
    assert one.fit(X, y).predict(X[:1]).shape == outputs.get(head, (1,))


@pytest.mark.parametrize("head", ["binary", "multiclass", "regression", "poisson"])
def test_10_a_column_of_targets(make_problem, make_estimator, head):
    X, y = make_problem(head)
    params = {"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0}
    flat = make_estimator(head, **params).fit(X, y)
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        column = make_estimator(head, **params).fit(X, y[:, None])
    assert_same_weights(flat, column)
    assert column.predict(X).shape == (len(X),)


def test_10_absent_classes(make_problem):
    X, y = make_problem("multiclass")
    seen = y < 2
    model = MLPClassifier(hidden_layer_sizes=(4,), random_state=0)
    model.partial_fit(X[seen], y[seen], classes=[0, 1, 2, 7])
    assert model.predict_proba(X).shape == (len(X), 4)
    assert model.classes_.tolist() == [0, 1, 2, 7]
    model.partial_fit(X[:1], [7]).partial_fit(X[~seen], y[~seen])
    assert model.n_outputs_ == 4
    binary = MLPClassifier(hidden_layer_sizes=(4,), random_state=0)
    binary.partial_fit(X, np.full(len(X), "b"), classes=["a", "b"])
    assert binary.predict_proba(X).shape == (len(X), 2)
    assert set(binary.predict(X)) <= {"a", "b"}


@pytest.mark.parametrize(
    ("head", "given", "fitted", "solver"),
    covering(
        ["binary", "multiclass", "regression"],
        [np.float32, np.float64, np.int64],
        [np.float32, np.float64],
        SOLVERS,
    ),
)
def test_10_the_fitted_dtype_is_kept(make_problem, make_estimator, head, given, fitted, solver):
    X, y = make_problem(head)
    model = make_estimator(head, solver=solver, hidden_layer_sizes=(4,), max_iter=3)
    model.fit(X.astype(fitted), y)
    assert {w.dtype for w in model.coefs_ + model.intercepts_} == {np.dtype(fitted)}
    answer = model.predict(X.astype(given))
    if head == "regression":
        assert answer.dtype == fitted
    else:
        assert answer.dtype == y.dtype
        assert model.predict_proba(X.astype(given)).dtype == fitted
        assert model.predict_log_proba(X.astype(given)).dtype == fitted


def test_10_a_stream_other_than_a_terminal_may_be_stdout(make_problem, monkeypatch):
    X, y = make_problem("regression")
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, verbose=True).fit(X, y)
    assert stream.getvalue().count("Iteration") == 2
