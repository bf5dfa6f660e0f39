"""Several targets of classes at once: y of shape (n_samples, n_targets)."""

import pickle

import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

import skmlp.engines.cpu.task
from skmlp import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_SAMPLES = 60
SMALL = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0}


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(N_SAMPLES, 4))


@pytest.fixture
def Y(X):
    """Three classes, two, one, and four, that X tells of."""
    signal = X + 0.3 * np.random.default_rng(1).normal(size=X.shape)
    three = np.digitize(signal[:, 0], [-0.5, 0.5])
    return np.column_stack(
        [three, 5 + (signal[:, 1] > 0), np.full(N_SAMPLES, 7), signal.argmax(axis=1)]
    )


KINDS = {
    "integers": lambda Y: Y,
    "floats": lambda Y: Y.astype(float),
    "text": lambda Y: np.array(["zero", "one", "two", "3", "4", "five", "six", "seven"])[Y],
    "data frame": lambda Y: pandas.DataFrame(Y, columns=list("abcd")),
    "lists": lambda Y: Y.tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_like_a_forest(X, Y, kind):
    labels = KINDS[kind](Y)
    model = MLPClassifier(**SMALL).fit(X, labels)
    forest = RandomForestClassifier(n_estimators=2, random_state=0).fit(X, labels)
    assert type(model.classes_) is type(forest.classes_) is list
    for ours, theirs in zip(model.classes_, forest.classes_, strict=True):
        assert_array_equal(ours, theirs)
    ours, theirs = model.predict(X), forest.predict(X)
    assert ours.shape == theirs.shape == Y.shape
    assert ours.dtype == np.asarray(labels).dtype
    for method in ("predict_proba", "predict_log_proba"):
        with np.errstate(divide="ignore"):
            ours, theirs = getattr(model, method)(X), getattr(forest, method)(X)
        assert type(ours) is type(theirs) is list
        assert [part.shape for part in ours] == [part.shape for part in theirs]
    probabilities = model.predict_proba(X)
    for column, (classes, part) in enumerate(zip(model.classes_, probabilities, strict=True)):
        assert_allclose(part.sum(axis=1), 1.0, rtol=1e-12)
        assert_array_equal(classes[part.argmax(axis=1)], model.predict(X)[:, column])
        assert_allclose(np.exp(model.predict_log_proba(X)[column]), part, rtol=1e-12)


@pytest.mark.parametrize("with_weights", [False, True])
def test_linear_targets_are_learned_as_if_each_were_alone(X, Y, with_weights):
    """Without hidden units they share nothing, so that their losses have minima of their own."""
    weight = np.random.default_rng(2).uniform(0.1, 2.0, N_SAMPLES) if with_weights else None
    settings = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 1.0, "tol": 1e-9}
    model = MLPClassifier(**settings, max_iter=2000, random_state=0).fit(X, Y, weight)
    losses = 0.0
    for column in (0, 1, 3):
        alone = clone(model).fit(X, Y[:, column], weight)
        # L-BFGS stops where the loss no longer changes by more than 2e-9.
        assert_allclose(model.predict_proba(X)[column], alone.predict_proba(X), atol=1e-4)
        assert_array_equal(model.predict(X)[:, column], alone.predict(X))
        losses += alone.loss_
    assert model.loss_ == pytest.approx(losses, abs=1e-7)
    assert model.n_outputs_ == 3 + 1 + 1 + 4
    assert model.out_activation_ == ["softmax", "logistic", "logistic", "softmax"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.usefixtures("always_parallel")
def test_threads_change_nothing(X, Y, dtype, convert, monkeypatch):
    monkeypatch.setattr(skmlp.engines.cpu.task, "TILE_ROWS", 1)
    data = convert(X.astype(dtype))
    models = [MLPClassifier(**SMALL, n_jobs=n_jobs).fit(data, Y) for n_jobs in (1, 2, 3)]
    for model in models[1:]:
        assert model.loss_curve_ == models[0].loss_curve_
        for ours, theirs in zip(model.coefs_, models[0].coefs_, strict=True):
            assert_array_equal(ours, theirs)
    for part in models[0].predict_proba(data):
        assert part.dtype == dtype


def test_score_is_the_mean_of_the_accuracies(X, Y):
    model = MLPClassifier(**SMALL).fit(X, Y)
    weight = np.random.default_rng(2).uniform(size=N_SAMPLES)
    correct = model.predict(X) == Y
    assert model.score(X, Y) == pytest.approx(correct.mean())
    expected = np.mean([np.average(column, weights=weight) for column in correct.T])
    assert model.score(X, Y, sample_weight=weight) == pytest.approx(expected)
    assert type(model.score(X, Y.tolist())) is float
    with pytest.raises(ValueError, match=r"y has shape \(60,\), .* shape \(60, 4\)"):
        model.score(X, Y[:, 0])
    with pytest.raises(ValueError, match=r"y holds labels of <U.*, but the classes .* int64"):
        model.score(X, Y.astype(str))
    with pytest.raises(ValueError, match="must not be negative"):
        model.score(X, Y, -weight)


def test_early_stopping_watches_the_score(X, Y):
    first = MLPClassifier(**SMALL).fit(X, Y)
    model = clone(first).set_params(init=(first.coefs_, first.intercepts_), early_stopping=True)
    weight = np.random.default_rng(2).uniform(size=N_SAMPLES)
    model.set_params(max_iter=200, n_iter_no_change=3, validation_fraction=0.3).fit(X, Y, weight)
    # Given weights are not drawn: the split is the first draw.
    _, rows = train_test_split(
        np.arange(N_SAMPLES), test_size=0.3, random_state=np.random.RandomState(0)
    )
    assert max(model.validation_scores_) == model.best_validation_score_
    assert model.best_validation_score_ == pytest.approx(
        model.score(X[rows], Y[rows], weight[rows]), abs=1e-12
    )


CLASSES = [[0, 1, 2], [5, 6], [7], [0, 1, 2, 3]]


def test_partial_fit_takes_a_list_of_classes(X, Y):
    expected = MLPClassifier(**SMALL).fit(X, Y)
    model = MLPClassifier(**SMALL)
    for _ in range(5):
        model.partial_fit(X, Y, classes=[np.array(labels) for labels in CLASSES])
    assert model.loss_curve_ == expected.loss_curve_
    model.partial_fit(X[:1], Y[:1])  # not every class need be there
    assert [labels.tolist() for labels in model.classes_] == CLASSES


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit_takes_the_classes_of_a_forest(X, Y, kind):
    labels = KINDS[kind](Y)
    forest = RandomForestClassifier(n_estimators=2, random_state=0).fit(X, labels)
    model = MLPClassifier(**SMALL).partial_fit(X, labels, classes=forest.classes_)
    model.partial_fit(X, labels, classes=tuple(map(pandas.Series, forest.classes_)))
    assert model.loss_curve_ == MLPClassifier(**SMALL).fit(X, labels).loss_curve_[:2]


@pytest.mark.parametrize("y", [[[0, 1], [2]], sparse.csr_array(np.eye(2)), [0, 1], [[0], [1]]])
def test_classes_of_targets_beside_other_labels(X, unchanged, y):
    """That are no columns of classes: what is said of those is said as without a list."""
    model = MLPClassifier(**SMALL)
    with unchanged(model=model), pytest.raises((ValueError, TypeError)):
        model.partial_fit(X[:2], y, classes=[[0, 1, 2], [0, 1]])


def test_a_first_batch_of_zeros_and_ones_may_be_part_of_more_classes(X):
    Y = np.arange(2 * N_SAMPLES).reshape(N_SAMPLES, 2) // 3 % 2
    model = MLPClassifier(**SMALL).partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]])
    assert [part.shape[1] for part in model.predict_proba(X)] == [3, 2]
    model.partial_fit(X, Y + np.array([1, 0]))
    both = MLPClassifier(**SMALL).partial_fit(X, Y, classes=np.array([[0, 1, 2], [0, 1, 3]]))
    assert [part.shape[1] for part in both.predict_proba(X)] == [3, 3]


def test_announced_zeros_and_ones_are_multilabel_as_in_fit(X):
    Y = np.arange(2 * N_SAMPLES).reshape(N_SAMPLES, 2) // 3 % 2
    model = MLPClassifier(**SMALL).partial_fit(X, Y, classes=[[0, 1], [0, 1]])
    assert model.predict_proba(X).shape == (N_SAMPLES, 2)
    assert model.loss_ == MLPClassifier(**SMALL).partial_fit(X, Y, classes=[0, 1]).loss_


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (None, "classes must be passed on the first call"),
        (CLASSES[:3], "classes announces those of 3 targets, but y has 4 columns"),
        ([0, 1, 2], r"(?s)`y` has shape|Unknown label type|fitted with multiclass"),
        ([*CLASSES[:3], [0, 1, 2]], r"`y\[:, 3\]` has classes \[3\] .*known classes \[0 1 2\]"),
        ([*CLASSES[:3], [0, 1, None]], r"classes|labels"),
    ],
)
def test_wrong_classes_in_the_first_call(X, Y, unchanged, classes, message):
    model = MLPClassifier(**SMALL)
    with unchanged(X, Y, model=model), pytest.raises(ValueError, match=message):
        model.partial_fit(X, Y, classes=classes)


@pytest.mark.parametrize(
    "classes", [[*CLASSES[:3], [0, 1, 2, 3, 4]], CLASSES[:3], [0, 1, 2], CLASSES[::-1]]
)
def test_other_classes_in_a_later_call(X, Y, unchanged, classes):
    model = MLPClassifier(**SMALL).partial_fit(X, Y, classes=CLASSES)
    with unchanged(model=model), pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, Y, classes=classes)


def test_warm_start_goes_on(X, Y, unchanged):
    model = MLPClassifier(**SMALL, warm_start=True).set_params(max_iter=1)
    for _ in range(5):
        model.fit(X, Y)
    assert model.loss_curve_ == MLPClassifier(**SMALL).fit(X, Y).loss_curve_
    other = np.where(Y == 3, 2, Y)
    with unchanged(model=model), pytest.raises(ValueError, match=r"warm_start .*`y\[:, 3\]`"):
        model.fit(X, other)
    model.set_params(warm_start=False).fit(X, other)
    assert model.classes_[3].tolist() == [0, 1, 2]


OTHER_KINDS = {
    "one target": lambda Y: Y[:, 0],
    "fewer targets": lambda Y: Y[:, :2],
    "sparse": lambda Y: sparse.csr_array(Y > 5),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_another_kind_of_targets_in_a_later_call(X, Y, unchanged, kind, method):
    other = OTHER_KINDS[kind](Y)
    model = MLPClassifier(**SMALL, warm_start=True).fit(X, Y)
    message = r"`y` has shape .*fitted with multiclass-multioutput targets in 4 columns"
    with unchanged(model=model), pytest.raises(ValueError, match=message):
        getattr(model, method)(X, other)


@pytest.mark.parametrize("earlier", [lambda Y: Y[:, 0], lambda Y: Y[:, 1], lambda Y: Y > 3])
def test_several_targets_after_another_kind(X, Y, unchanged, earlier):
    model = MLPClassifier(**SMALL, warm_start=True).fit(X, earlier(Y))
    message = "`y` is multiclass-multioutput, but the model was fitted with"
    with unchanged(model=model), pytest.raises(ValueError, match=message):
        model.fit(X, Y)
    model.set_params(warm_start=False).fit(X, Y)
    assert len(model.classes_) == 4


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_copies_predict_alike(X, Y, solver):
    model = MLPClassifier(**SMALL, solver=solver).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    for ours, theirs in zip(again.predict_proba(X), model.predict_proba(X), strict=True):
        assert_array_equal(ours, theirs)
    assert not hasattr(clone(model), "classes_")


def test_searches_pipelines_and_cross_validation(X, Y):
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL))
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2).fit(X, Y)
    assert search.predict(X).shape == Y.shape
    assert 0 < search.best_score_ < 1
    assert len(search.predict_proba(X)) == 4
    scores = cross_val_score(MLPClassifier(**SMALL), X, Y, cv=2)
    assert_allclose(scores, cross_val_score(pipeline[-1], X, Y, cv=2))
    tags = get_tags(pipeline[-1])
    assert tags.target_tags.multi_output
    assert tags.classifier_tags.multi_label


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_whole_weights_are_repetitions(X, Y, solver):
    settings = {**SMALL, "solver": solver, "shuffle": False}
    weight = np.arange(N_SAMPLES) % 3
    weighted = MLPClassifier(**settings).fit(X, Y, weight)
    rows = np.repeat(np.arange(N_SAMPLES), weight)
    repeated = MLPClassifier(**settings).fit(X[rows], Y[rows])
    for ours, theirs in zip(weighted.coefs_, repeated.coefs_, strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


# --- Edited state ---


def moved(binarizers):
    """Give the last target a class less, and the first one a class more."""
    first, *middle, last = pickle.loads(pickle.dumps(binarizers))
    first.classes_, last.classes_ = last.classes_, first.classes_
    return [first, *middle, last]


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("_label_binarizer", moved),
        ("_label_binarizer", lambda old: []),
        ("_label_binarizer", lambda old: old[:-1]),
        ("_label_binarizer", lambda old: [*old[:-1], None]),
        ("_label_binarizer", lambda old: old[0]),
        ("_label_binarizer", lambda old: tuple(old)),
        ("coefs_", lambda old: [old[0], old[1][:, :-1]]),
    ],
)
@pytest.mark.parametrize("method", ["predict", "predict_proba", "score", "partial_fit"])
def test_edited_state_is_an_error(X, Y, name, edit, method):
    model = MLPClassifier(**SMALL).fit(X, Y)
    setattr(model, name, edit(getattr(model, name)))
    arguments = (X, Y) if method in ("score", "partial_fit") else (X,)
    with pytest.raises(ValueError, match=r"_label_binarizer|coefs_|classes|`y`"):
        getattr(model, method)(*arguments)


@pytest.mark.parametrize("edit", [lambda old: old[::-1], lambda old: old[0], lambda old: old[:-1]])
def test_assigned_classes_are_an_error_in_a_resumed_fit(X, Y, edit):
    model = MLPClassifier(**SMALL).fit(X, Y)
    model.classes_ = edit(model.classes_)
    with pytest.raises(ValueError, match="Cannot resume: classes_ must be those of the fit"):
        model.partial_fit(X, Y)
