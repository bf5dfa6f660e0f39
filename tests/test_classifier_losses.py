"""The classifier's losses, and what is done to labels, classes and probabilities."""

import pickle

import numpy as np
import pytest
from loss_table import PAGE, TABLE, table
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, special
from scipy.optimize import minimize_scalar
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from sklearn.metrics import brier_score_loss, hinge_loss, log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_sample_weight

from skmlp import MLPClassifier, MLPRegressor
from skmlp.losses import CLASSIFIER_LOSSES, Focal

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0}
PROBABLE = ("log_loss", "focal", "squared_error")
HINGES = ("hinge", "squared_hinge")
# Full batches, so that the last loss can be computed from the parameters before the last step.
EXACT = {**SMALL, "solver": "lbfgs", "max_iter": 4, "alpha": 0.0, "tol": 0.0}


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(90, 4))


@pytest.fixture(scope="module")
def targets(X):
    signal = X + 0.7 * np.random.default_rng(1).normal(size=X.shape)
    three = np.digitize(signal[:, 0], [-0.8, 0.5])
    return {
        "binary": np.array(["no", "yes"])[(signal[:, 1] > 0.4).astype(int)],
        "multiclass": three,
        "multilabel": (signal[:, :3] > [0.3, 0.0, 1.0]).astype(int),
        "several": np.column_stack([three, 5 + (signal[:, 1] > 0)]),
    }


KINDS = ("binary", "multiclass", "multilabel", "several")


def columns_of(model, probability):
    """Return the probabilities of all classes, of one target after the other."""
    if isinstance(probability, list):
        return probability
    if isinstance(model.classes_[0], str) or model.out_activation_ == "softmax":
        return [probability]
    return [np.column_stack([1 - column, column]) for column in probability.T]


def numbers_of(targets):
    """Return class numbers, one column after the other."""
    return [np.unique(column, return_inverse=True)[1] for column in np.atleast_2d(targets.T)]


def focal(p, y, gamma):
    own = p[np.arange(len(y)), y]
    return -((1 - own) ** gamma) * np.log(own)


EXPECTED = {
    "log_loss": lambda p, y: focal(p, y, 0.0),
    "focal": lambda p, y: focal(p, y, 2.0),
    "squared_error": lambda p, y: np.sum((p - np.eye(p.shape[1])[y]) ** 2, axis=1) / 2,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", PROBABLE)
def test_losses_are_those_of_the_probabilities(X, targets, loss, kind):
    y, weight = targets[kind], np.random.default_rng(2).uniform(0.1, 2.0, len(X))
    model = MLPClassifier(loss=loss, **EXACT).fit(X, y, weight)
    probability = columns_of(model, model.predict_proba(X))
    pairs = zip(probability, numbers_of(y), strict=True)
    losses = sum(EXPECTED[loss](p, own) for p, own in pairs)
    assert model.loss_ == pytest.approx(np.average(losses, weights=weight), rel=1e-9)
    assert not hasattr(model, "decision_function")
    if kind == "binary" and loss == "squared_error":
        own = brier_score_loss(y, probability[0][:, 1], sample_weight=weight, pos_label="yes")
        assert model.loss_ == pytest.approx(own)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", HINGES)
def test_hinges_hold_each_class_against_all_others(X, targets, loss, kind):
    y = targets[kind]
    model = MLPClassifier(loss=loss, **EXACT).fit(X, y)
    scores = model.decision_function(X)
    scores = scores if isinstance(scores, list) else [scores]
    total = 0.0
    if kind == "multilabel":
        total += (np.maximum(0, 1 - (2 * y - 1) * scores[0]) ** (1 + (loss != "hinge"))).sum(axis=1)
        assert_array_equal(model.predict(X), scores[0] > 0)
    else:
        predicted = model.predict(X)[:, np.newaxis] if y.ndim == 1 else model.predict(X)
        columns = zip(scores, numbers_of(y), predicted.T, np.atleast_2d(y.T), strict=True)
        for own, numbers, found, column in columns:
            if own.ndim == 1:
                signs, winners = 2 * numbers - 1, (own > 0).astype(int)
            else:
                assert own.shape == (90, 3)
                signs, winners = 2 * np.eye(3)[numbers] - 1, own.argmax(axis=1)
            margins = np.maximum(0, 1 - signs * own) ** (1 + (loss != "hinge"))
            total += margins.reshape(90, -1).sum(axis=1)
            assert_array_equal(found, np.unique(column)[winners])
    assert model.loss_ == pytest.approx(np.mean(total), rel=1e-9)
    if kind == "binary" and loss == "hinge":
        assert model.loss_ == pytest.approx(hinge_loss(y, scores[0]))
    for name in ("predict_proba", "predict_log_proba"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'") as error:
            getattr(model, name)
        assert f"not available for loss='{loss}'" in str(error.value.__cause__)
    # What was fitted counts, not what is to be fitted next.
    model.set_params(loss="log_loss")
    assert not hasattr(model, "predict_proba")
    assert hasattr(clone(model), "predict_proba")
    assert not hasattr(clone(model), "decision_function")


def test_a_linear_squared_hinge_is_a_support_vector_machine():
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    theirs = LinearSVC(C=1.0, intercept_scaling=1e4, tol=1e-8, max_iter=10**6).fit(X, y)
    # Theirs is ``|w|^2 / 2 + C sum(losses)``, and ours is divided by the number of samples.
    ours = MLPClassifier((), loss="squared_hinge", solver="lbfgs", alpha=1.0, max_iter=3000)
    ours = ours.set_params(tol=1e-10, max_fun=10**5, random_state=0).fit(X, y)
    # L-BFGS stops where the loss no longer changes by more than 2e-9 of it.
    assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=0.02)


@pytest.mark.parametrize("loss", CLASSIFIER_LOSSES)
def test_early_stopping_resuming_and_sparse_data(X, targets, loss):
    y = targets["multiclass"]
    first = MLPClassifier(loss=loss, **SMALL, dtype="float32").fit(X, y)
    model = clone(first).set_params(init=(first.coefs_, first.intercepts_), early_stopping=True)
    model.set_params(validation_fraction=0.3).fit(sparse.csr_array(X), y)
    seed = np.random.RandomState(0)
    _, rows = train_test_split(np.arange(90), test_size=0.3, random_state=seed, stratify=y)
    assert model.best_validation_score_ == pytest.approx(model.score(X[rows], y[rows]))
    parts = clone(first)
    for _ in range(6):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    assert parts.loss_curve_ == first.loss_curve_
    assert_array_equal(pickle.loads(pickle.dumps(parts)).predict(X), first.predict(X))


def test_focal_is_searched_in_depth(X, targets):
    search = GridSearchCV(MLPClassifier(loss=Focal(), **SMALL), {"loss__gamma": [0.0, 3.0]}, cv=2)
    y = targets["binary"]
    assert search.fit(X, y).best_estimator_.loss.gamma in (0.0, 3.0)
    plain = MLPClassifier(**SMALL).fit(X, y)
    model = MLPClassifier(loss=Focal(0.0), **SMALL).fit(X, y)
    assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=1e-9)
    by_name = MLPClassifier(loss="focal", **SMALL).fit(X, y)
    assert by_name.loss_curve_ == MLPClassifier(loss=Focal(2.0), **SMALL).fit(X, y).loss_curve_
    with pytest.raises(ValueError, match=r"'gamma' parameter of loss=Focal\(gamma=-1\)"):
        MLPClassifier(loss=Focal(-1), **SMALL).fit(X, y)


# --- Label smoothing ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gamma", [0.0, 1.5])
def test_smoothed_labels(X, targets, kind, gamma):
    y, share = targets[kind], 0.3
    loss = Focal(gamma) if gamma else "log_loss"
    model = MLPClassifier(loss=loss, label_smoothing=share, **EXACT).fit(X, y)
    losses = 0.0
    for p, numbers in zip(columns_of(model, model.predict_proba(X)), numbers_of(y), strict=True):
        smooth = (1 - share) * np.eye(p.shape[1])[numbers] + share / p.shape[1]
        losses += -np.sum(smooth * (1 - p) ** gamma * np.log(p), axis=1)
    assert model.loss_ == pytest.approx(np.mean(losses), rel=1e-9)
    assert model.score(X, y) > 0.3


def test_smoothing_without_effect_is_warned_of(X, targets):
    model = MLPClassifier(loss="hinge", label_smoothing=0.1, temperature=2.0, **SMALL)
    with pytest.warns(UserWarning, match="no effect") as caught:
        model.fit(X, targets["binary"])
    said = [str(warning.message).partition(". ")[0] for warning in caught]
    assert said[:2] == [
        "label_smoothing=0.1 has no effect with loss='hinge'",
        "temperature=2.0 has no effect with loss='hinge'",
    ]


# --- Weights of classes ---


CLASS_WEIGHTS = {
    "binary": ["balanced", {"no": 2.0, "yes": 0.5}, {"yes": 3}],
    "multiclass": ["balanced", {0: 2.0, 1: 0.5, 2: 1.0}, {1: 0.0}],
    "multilabel": ["balanced", [{0: 1, 1: 3}, {1: 2}, {}]],
    "several": ["balanced", [{0: 1, 1: 3}, {5: 2}]],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_are_those_of_scikit_learn(X, targets, kind, weighted):
    y = targets[kind]
    weight = np.arange(90.0) % 3 if weighted else np.ones(90)
    again = np.repeat(np.arange(90), weight.astype(int))  # a sample of weight two counts twice
    for class_weight in CLASS_WEIGHTS[kind]:
        of_classes = np.zeros(90)
        of_classes[again] = compute_sample_weight(class_weight, y[again])
        expected = MLPClassifier(**SMALL).fit(X, y, weight * of_classes)
        given = weight if weighted else None
        model = MLPClassifier(**SMALL, class_weight=class_weight).fit(X, y, given)
        assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-12)
        assert "class_weight" in repr(clone(model))
    if kind == "multilabel":
        sparse_y = clone(model).fit(X, sparse.csr_matrix(y), given)
        assert sparse_y.loss_curve_ == model.loss_curve_


def test_class_weights_in_parts(X, targets, unchanged):
    y = targets["binary"]
    model = MLPClassifier(**SMALL, class_weight={"yes": 3.0})
    expected = MLPClassifier(**SMALL)
    for rows in np.split(np.argsort(y), 3):  # the first has one class
        model.partial_fit(X[rows], y[rows], classes=["no", "yes"])
        expected.partial_fit(X[rows], y[rows], 1.0 + 2 * (y[rows] == "yes"), ["no", "yes"])
    assert model.loss_curve_ == expected.loss_curve_
    model.set_params(class_weight="balanced")
    message = "class_weight 'balanced' is not supported for partial_fit"
    with unchanged(model=model), pytest.raises(ValueError, match=message):
        model.partial_fit(X, y)


@pytest.mark.parametrize(
    ("kind", "class_weight", "message"),
    [
        ("binary", {"maybe": 1, "yes": 2}, r"The classes, \['no'\], are not in class_weight"),
        ("binary", {"no": -1}, "class_weight must hold finite weights that are not negative"),
        ("binary", {"no": np.nan}, "class_weight must hold finite weights"),
        ("binary", {"no": 0, "yes": 0}, r"class_weight=\{.*\} leaves no sample any weight"),
        ("binary", "equal", "'class_weight' parameter of MLPClassifier must be"),
        ("multilabel", {0: 1}, "For multi-output, class_weight should be a list of dicts"),
        ("several", [{0: 1}], r"should match number of outputs\. Got 1 element"),
        ("several", [{0: 1}, 3], r"class_weight\[1\] must be a dict"),
    ],
)
def test_class_weights_that_do_not_fit(X, targets, unchanged, kind, class_weight, message):
    y = targets[kind]
    model = MLPClassifier(**SMALL).fit(X, y).set_params(class_weight=class_weight)
    with unchanged(model=model), pytest.raises(ValueError, match=message):
        model.fit(X, y)


def test_class_weights_count_in_early_stopping(X, targets):
    y = targets["multiclass"]
    first = MLPClassifier(**SMALL).fit(X, y)
    model = clone(first).set_params(init=(first.coefs_, first.intercepts_), early_stopping=True)
    class_weight = {0: 0.0, 1: 9.0, 2: 1.0}
    model.set_params(class_weight=class_weight, validation_fraction=0.3).fit(X, y)
    seed = np.random.RandomState(0)
    _, rows = train_test_split(np.arange(90), test_size=0.3, random_state=seed, stratify=y)
    score = model.score(X[rows], y[rows], np.array([0.0, 9.0, 1.0])[y[rows]])
    assert model.best_validation_score_ == pytest.approx(score)


# --- Temperature ---


@pytest.mark.parametrize(("kind", "dtype"), [*zip(KINDS, ["float32", "float64"] * 2, strict=True)])
def test_temperature_divides_scores(X, targets, kind, dtype):
    y = targets[kind]
    plain = MLPClassifier(**SMALL, dtype=dtype).fit(X, y)
    model = clone(plain).set_params(temperature=2.5).fit(X, y)
    assert plain.temperature_ == 1.0
    assert model.temperature_ == 2.5
    assert_array_equal(model.predict(X), plain.predict(X))
    ours, theirs = (columns_of(m, m.predict_proba(X)) for m in (model, plain))
    for own, expected in zip(ours, theirs, strict=True):
        assert own.dtype == dtype
        assert_allclose(own, special.softmax(np.log(expected) / 2.5, axis=1), rtol=1e-4)
    # It belongs to the fit, where users may change it.
    model.set_params(temperature=7.0).temperature_ = 1.0
    for own, expected in zip(columns_of(model, model.predict_proba(X)), theirs, strict=True):
        assert_array_equal(own, expected)
    for value in (0.0, -1, np.nan, np.inf, 10**400, "fit", None):
        model.temperature_ = value
        with pytest.raises(ValueError, match="temperature_ must be a positive number, but is"):
            model.predict_proba(X)


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_temperatures_minimize_the_held_out_log_loss(X, targets, kind):
    y, weight = targets[kind], np.random.default_rng(2).uniform(0.1, 2.0, len(X))
    first = MLPClassifier(**SMALL).fit(X, y)
    model = clone(first).set_params(init=(first.coefs_, first.intercepts_), early_stopping=True)
    model.set_params(validation_fraction=0.4, temperature="fit", learning_rate_init=0.1)
    model.set_params(loss="focal").fit(X, y, weight)
    seed, stratify = np.random.RandomState(0), y if kind in ("binary", "multiclass") else None
    _, rows = train_test_split(np.arange(90), test_size=0.4, random_state=seed, stratify=stratify)

    def held_out_loss(temperature):
        model.temperature_ = temperature
        total = 0.0
        for p, own in zip(columns_of(model, model.predict_proba(X)), numbers_of(y), strict=True):
            total += log_loss(own[rows], p[rows], sample_weight=weight[rows], labels=np.unique(own))
        return total

    found = model.temperature_
    best = minimize_scalar(held_out_loss, bounds=(0.01, 100.0), method="bounded")
    assert held_out_loss(found) <= best.fun * (1 + 1e-9)
    assert found != 1.0


def test_temperature_needs_samples_that_are_held_out(X, targets, unchanged):
    y = targets["binary"]
    model = MLPClassifier(**SMALL).fit(X, y).set_params(temperature="fit")
    with unchanged(model=model), pytest.raises(ValueError, match=r"but early_stopping=False\. Use"):
        model.fit(X, y)
    model.set_params(solver="lbfgs", early_stopping=True)
    with unchanged(model=model), pytest.raises(ValueError, match="which solver='lbfgs' has none"):
        model.fit(X, y)


def test_probabilities_of_large_scores(X, targets):
    """They come from the scores, where those at temperature one are zero."""
    model = MLPClassifier((), max_iter=1, temperature=1e3, random_state=0)
    model.fit(X, targets["multiclass"])
    model.coefs_ = [1e4 * coef for coef in model.coefs_]
    scores = (X @ model.coefs_[0] + model.intercepts_[0]) / 1e3
    assert_allclose(model.predict_proba(X), special.softmax(scores, axis=1), rtol=1e-9)


# --- What others say, and the page ---


def test_losses_of_torch(X, targets):
    """An implementation by others, where there is one."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    y, raw = rng.gamma(2.0, size=50), rng.normal(size=50)
    functional, tensor = torch.nn.functional, torch.from_numpy
    start = [np.zeros((1, 1))], [np.zeros(1)]
    settings = {"hidden_layer_sizes": (), "init": start, "solver": "sgd", "alpha": 0.0}
    # The loss of the first step: that of a raw prediction of zero.
    zero = torch.zeros(50, dtype=torch.float64)
    for loss, expected in (
        ("absolute_error", functional.l1_loss(zero, tensor(y))),
        ("huber", functional.huber_loss(zero, tensor(y))),
        ("squared_error", functional.mse_loss(zero, tensor(y)) / 2),
        ("gaussian_nll", functional.gaussian_nll_loss(zero, tensor(y), zero + 1, full=True)),
    ):
        units = 2 if loss == "gaussian_nll" else 1
        own = [np.zeros((1, units))], [np.zeros(units)]
        model = MLPRegressor(loss, **{**settings, "init": own}, max_iter=1, batch_size=50)
        model.fit(raw[:, np.newaxis], y)
        assert model.loss_ == pytest.approx(float(expected), rel=1e-9)
    labels = rng.integers(3, size=50)
    model = MLPClassifier((), solver="lbfgs", alpha=0.0, max_iter=5, label_smoothing=0.2, tol=0.0)
    model.fit(raw[:, np.newaxis], labels)
    logits = raw[:, np.newaxis] @ model.coefs_[0] + model.intercepts_[0]
    expected = functional.cross_entropy(tensor(logits), tensor(labels), label_smoothing=0.2)
    assert model.loss_ == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "focal"}, "loss='focal'"),
        ({"loss": "squared_error"}, "loss='squared_error'"),
        ({"label_smoothing": 0.1}, "label_smoothing of several classes"),
    ],
)
def test_cuda_says_what_is_lacking(X, targets, params, message):
    model = MLPClassifier(**SMALL, **params, device="cuda")
    with pytest.raises(ValueError, match=rf"CUDA cannot yet compute {message}\."):
        model.fit(X, targets["multiclass"])


def test_mixtures_of_targets_are_refused(X, targets):
    mixed = np.column_stack([targets["multiclass"], X[:, 0]])
    message = "Unknown label type: continuous-multioutput.*one estimator for each kind of target"
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL).fit(X, mixed)


def test_the_page_shows_the_losses():
    [shown] = TABLE.findall(PAGE.read_text("utf-8"))
    assert shown == table(), "run `python tests/loss_table.py`"


def test_a_regression_on_labels_is_no_brier_score(X, targets):
    """The same name is another loss, with another output, in each estimator."""
    y = (targets["binary"] == "yes").astype(float)
    regressor = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=0.0, max_iter=500)
    expected = LinearRegression().fit(X, y).predict(X)
    assert_allclose(regressor.fit(X, y).predict(X), expected, atol=1e-3)
    classifier = MLPClassifier((), loss="squared_error", solver="lbfgs", alpha=0.0, max_iter=500)
    probability = classifier.fit(X, targets["binary"]).predict_proba(X)[:, 1]
    assert classifier.out_activation_ == "logistic"
    assert np.mean((probability - y) ** 2) < np.mean((expected - y) ** 2)
