"""What early stopping watches: given samples, scorers, groups, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from engine_checks import head_of, make_problem
from estimator_checks import assert_same_weights
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score, make_scorer, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier, MLPRegressor
from skmlp._splitting import split_rows
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.losses import LOSSES
from skmlp.network.parameters import layout_of
from skmlp.network.specs import Formula, InputSpec, LayerSpec, NetworkSpec

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (4,), "max_iter": 4, "random_state": 0, "learning_rate_init": 0.01}
WATCHING = {**SMALL, "early_stopping": True, "restore_best": False}
HEADS = ["binary", "multiclass", "multilabel", "regression", "multi_regression", "poisson"]


def halves(make_problem, head, n_samples=60):
    X, y = make_problem(head, n_samples=n_samples)
    return X[:40], y[:40], X[40:], y[40:]


# --- Given samples ---


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("weighted", [False, True])
def test_given_samples_are_scored_and_not_trained_on(make_problem, make_estimator, head, weighted):
    X, y, X_val, y_val = halves(make_problem, head)
    weight = np.arange(1.0, 21.0) if weighted else None
    given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": weight}
    model = make_estimator(head, **WATCHING).fit(X, y, **given)
    # All of X is trained on, in the same order.
    assert_same_weights(model, make_estimator(head, **SMALL).fit(X, y))
    assert len(model.validation_scores_) == model.n_iter_
    assert model.validation_scores_[-1] == pytest.approx(model.score(X_val, y_val, weight))
    sparse = {**given, "X_val": scipy.sparse.csc_array(X_val)}
    again = make_estimator(head, **WATCHING).fit(X, y, **sparse)
    assert_same_weights(again, model)
    np.testing.assert_allclose(again.validation_scores_, model.validation_scores_, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_held_out_rows_given_as_samples_are_the_same(make_problem, dtype):
    """The split that a fit makes by itself, made before it."""
    X, y = make_problem("multiclass", n_samples=60)
    options = {**WATCHING, "scoring": "loss", "monitor": "validation_loss", "dtype": dtype}
    coefs = [np.full((5, 4), 0.1), np.full((4, 3), 0.2)], [np.zeros(4), np.zeros(3)]
    options |= {"init": coefs, "shuffle": False}
    alone = MLPClassifier(**options).fit(X, y)
    train, held_out = split_rows(60, 0.1, np.random.RandomState(0), y)
    given = {"X_val": X[held_out], "y_val": y[held_out]}
    model = MLPClassifier(**options).fit(X[train], y[train], **given)
    assert_same_weights(model, alone)
    assert model.validation_scores_ == alone.validation_scores_
    assert model.validation_loss_curve_ == [-score for score in model.validation_scores_]
    rtol = 1e-5 if dtype == "float32" else 1e-9
    expected = -np.log(model.predict_proba(X[held_out])[np.arange(6), y[held_out]]).mean()
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=rtol)


REFUSED = [
    ({"X_val": True}, "X_val is provided, but y_val was not"),
    ({"y_val": True}, "y_val is provided, but X_val was not"),
    ({"sample_weight_val": True}, "sample_weight_val is provided, but X_val"),
    ({"X_val": True, "y_val": True, "groups": True}, "groups says which samples"),
    (
        {"X_val": "narrow", "y_val": True},
        "X_val and y_val do not go with this fit: X has 4 features",
    ),
    ({"X_val": "nan", "y_val": True}, "do not go with this fit: Input X contains NaN"),
    ({"X_val": True, "y_val": "short"}, "do not go with this fit: .*inconsistent numbers"),
    ({"X_val": True, "y_val": "unknown"}, r"`y_val` has classes \[7\].*leave these out of y_val"),
    ({"X_val": True, "y_val": True, "sample_weight_val": "negative"}, "sample_weight_val must not"),
    ({"X_val": True, "y_val": True, "sample_weight_val": "zero"}, "is zero for|one non-zero"),
    ({"groups": "short"}, "inconsistent numbers"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_refused_changes_nothing(make_problem, unchanged, given, message):
    X, y, X_val, y_val = halves(make_problem, "multiclass")
    known = {
        ("X_val", "narrow"): X_val[:, :4],
        ("X_val", "nan"): np.where(np.arange(5) == 2, np.nan, X_val),
        ("y_val", "short"): y_val[:-1],
        ("y_val", "unknown"): np.where(np.arange(20) == 3, 7, y_val),
        ("sample_weight_val", "negative"): -np.ones(20),
        ("sample_weight_val", "zero"): np.zeros(20),
        ("groups", "short"): np.arange(39),
    }
    sound = {"X_val": X_val, "y_val": y_val, "sample_weight_val": np.ones(20)}
    sound["groups"] = np.arange(40)
    values = {name: known.get((name, value), sound[name]) for name, value in given.items()}
    model = MLPClassifier(**WATCHING).fit(X, y)
    with unchanged(X, y, X_val, y_val, model=model), pytest.raises(ValueError, match=message):
        model.fit(X, y, **values)


def test_validation_needs_early_stopping(make_problem, unchanged):
    X, y, X_val, y_val = halves(make_problem, "regression")
    model = MLPRegressor(**SMALL).fit(X, y)
    for given in ({"X_val": X_val, "y_val": y_val}, {"groups": np.arange(40)}):
        with unchanged(model=model), pytest.raises(ValueError, match="Set early_stopping=True"):
            model.fit(X, y, **given)
    with pytest.raises(ValueError, match="monitor='validation_loss' asks for"):
        model.set_params(monitor="validation_loss").fit(X, y)
    with pytest.raises(TypeError, match="unexpected keyword argument 'X_val'"):
        model.partial_fit(X, y, X_val=X_val)


def test_validation_targets_of_regressors(make_problem):
    X, y, X_val, y_val = halves(make_problem, "poisson")
    model = MLPRegressor("poisson", **WATCHING)
    for bad, message in [
        (-y_val - 1, "needs non-negative numbers as y_val"),
        (np.column_stack([y_val, y_val]), "y_val has 2 targets, but y has 1"),
        (y_val.astype(str), "y_val must hold real numbers|could not convert"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, X_val=X_val, y_val=bad)
    with pytest.raises(ValueError, match="R2 is not defined"):
        model.fit(X, y, X_val=X_val[:1], y_val=y_val[:1])
    model.set_params(scoring="loss").fit(X, y, X_val=X_val[:1], y_val=y_val[:1])
    assert np.isfinite(model.validation_loss_curve_).all()


@pytest.mark.parametrize("kind", ["one class", "one sample", "text", "several targets"])
def test_few_validation_samples(make_problem, kind):
    """Classes that no validation sample has, and fewer samples than classes, are no obstacle."""
    X, y, X_val, y_val = halves(make_problem, "multiclass")
    if kind == "one class":
        X_val, y_val = X_val[y_val == 1], y_val[y_val == 1]
    elif kind == "one sample":
        X_val, y_val = X_val[:1], y_val[:1]
    elif kind == "text":
        names = np.array(["a", "b", "c"], dtype=object)
        y, X_val, y_val = names[y], X_val[:3], names[y_val[:3]]
    else:
        y = np.column_stack([y, y == 1])
        X_val, y_val = X_val[:2], np.column_stack([y_val, y_val == 1])[:2]
    model = MLPClassifier(**WATCHING).fit(X, y, X_val=X_val, y_val=y_val)
    assert model.validation_scores_[-1] == model.score(X_val, y_val)


def test_lbfgs_and_validation(make_problem):
    X, y, X_val, y_val = halves(make_problem, "regression")
    model = MLPRegressor(solver="lbfgs", **WATCHING | {"restore_best": None})
    with pytest.warns(UserWarning, match="X_val has no effect with solver='lbfgs'"):
        model.fit(X, y, X_val=X_val, y_val=y_val)


# --- Metadata routing and data frames ---


def test_validation_samples_go_through_a_pipeline(make_problem):
    X, y, X_val, y_val = halves(make_problem, "multiclass")
    X, X_val = 10 * X + 5, 10 * X_val + 5
    with sklearn.config_context(enable_metadata_routing=True):
        network = MLPClassifier(**WATCHING).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), network, transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
        search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e-2]}, cv=2)
        search.fit(X, y, X_val=X_val, y_val=y_val)
    assert pipeline[-1].validation_scores_[-1] == pipeline.score(X_val, y_val)
    best = search.best_estimator_
    assert best[-1].validation_scores_[-1] == best.score(X_val, y_val)


def test_scorers_see_the_data_as_they_were_given(make_problem):
    X, y, X_val, y_val = halves(make_problem, "multiclass")
    names = [f"x{i}" for i in range(5)]
    X, X_val = pd.DataFrame(X, columns=names), pd.DataFrame(X_val, columns=names)
    y, y_val = np.array(["a", "b", "c"])[y], np.array(["a", "b", "c"])[y_val]
    seen = []

    def scorer(estimator, X, y):
        seen.append((X, y, estimator))
        return estimator.score(X, y)  # no warning of names that are missing

    model = MLPClassifier(**WATCHING, scoring=scorer)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert_array_equal(seen[0][1], y_val)
    pd.testing.assert_frame_equal(seen[0][0], X_val)
    # Each of its estimators keeps the weights of its epoch.
    assert [e.score(X_val, y_val) for *_, e in seen] == model.validation_scores_
    assert_same_weights(seen[-1][2], model)
    assert not np.array_equal(seen[0][2].coefs_[0], seen[-1][2].coefs_[0])
    seen.clear()
    model.fit(X, y)
    assert isinstance(seen[0][0], pd.DataFrame)
    assert set(seen[0][1]) <= {"a", "b", "c"}
    assert len(seen[0][0]) == len(seen[0][1]) == 4
    with pytest.raises(ValueError, match="feature names should match"):
        model.fit(X, y, X_val=X_val[names[::-1]], y_val=y_val)


# --- Scorers ---


def median_error(y, predicted):  # takes no weights
    return np.median(np.abs(y - predicted))


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        ("neg_mean_squared_error", lambda y, p, w: -np.average((y - p) ** 2, weights=w)),
        ("r2", lambda y, p, w: r2_score(y, p, sample_weight=w)),
        (make_scorer(median_error, greater_is_better=False), lambda y, p, w: -median_error(y, p)),
        (lambda model, X, y: np.array([model.predict(X).sum()]), lambda y, p, w: p.sum()),
    ],
)
def test_scorers(make_problem, scoring, expected):
    X, y, X_val, y_val = halves(make_problem, "regression")
    weight = np.arange(1.0, 21.0)
    model = MLPRegressor(**WATCHING, scoring=scoring)
    model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    assert model.validation_scores_[-1] == pytest.approx(
        expected(y_val, model.predict(X_val), weight)
    )
    assert all(type(score) is float for score in model.validation_scores_)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert clone(model).scoring is scoring or isinstance(scoring, str) or callable(scoring)


def test_the_default_is_the_accuracy(make_problem):
    X, y = make_problem("multiclass", n_samples=60)
    scores = [
        MLPClassifier(**WATCHING, scoring=scoring).fit(X, y).validation_scores_
        for scoring in (None, "accuracy", make_scorer(accuracy_score))
    ]
    assert scores[0] == scores[1] == scores[2]


def fails(estimator, X, y):
    raise RuntimeError("of the user's")


@pytest.mark.parametrize(
    ("scoring", "error", "message"),
    [
        (fails, RuntimeError, "of the user's"),
        (lambda *_: float("nan"), ValueError, "must return a number.*returned nan"),
        (lambda *_: "good", ValueError, "must return a number.*returned 'good'"),
        (lambda *_: np.ones(2), ValueError, "must return a number"),
        ("accuracy", ValueError, "continuous"),  # of a regressor
        ("acuracy", ValueError, "scoring.*must be 'loss' or a name of"),
        (3, ValueError, "scoring.*must be"),
    ],
)
def test_scorers_that_fail_change_nothing(make_problem, unchanged, scoring, error, message):
    X, y = make_problem("regression")
    model = MLPRegressor(**WATCHING).fit(X, y)
    model.scoring = scoring
    with unchanged(model=model), pytest.raises(error, match=message):
        model.fit(X, y)


def test_a_network_that_overflows_is_not_the_scorers_fault(make_problem):
    X, y, X_val, y_val = halves(make_problem, "poisson")
    model = MLPRegressor("poisson", solver="sgd", **{**WATCHING, "learning_rate_init": 1e5})
    for scoring in ("neg_mean_squared_error", "loss", None):
        with pytest.raises(ValueError, match="diverged in epoch 1"):
            model.set_params(scoring=scoring).fit(X, y, X_val=100 * X_val, y_val=y_val)


# --- The loss ---


def test_the_validation_loss_has_no_noise(make_problem):
    """X_val may be sparse, where none could be added."""
    X, y = make_problem("regression")
    options = {**WATCHING, "input_noise": 0.1, "scoring": "loss"}
    sparse = scipy.sparse.csr_array(X)
    model = MLPRegressor(**options).fit(X, y, X_val=sparse, y_val=y)
    again = MLPRegressor(**options).fit(X, y, X_val=X, y_val=y)
    assert model.validation_loss_curve_ == pytest.approx(again.validation_loss_curve_, rel=1e-12)


def networks():
    layers = (
        LayerSpec(4, Formula("tanh"), "batch", 0.5),
        LayerSpec(3, Formula("prelu"), "layer", 0.2),
    )
    for key in LOSSES:
        network = NetworkSpec(InputSpec(5, 0.3), layers, (head_of(key, 2),))
        yield pytest.param(network, id="-".join(key))


@pytest.mark.parametrize("network", list(networks()))
def test_the_mean_loss_is_that_of_predictions(network):
    """Nothing is dropped, and batches are normalized by what was learned."""
    rng = np.random.default_rng(0)
    head = network.head
    X, targets, weight = make_problem(network, 30)
    layout = layout_of(network)
    parameters = 0.5 * rng.normal(size=layout.size)
    parameters[layout.trained_size :] = rng.uniform(0.5, 2.0, layout.size - layout.trained_size)
    rows = np.arange(3, 20)
    losses = []
    for engine in (ReferenceEngine(), CpuEngine(1)):
        data = engine.load(X, targets, weight, network, "float64")
        losses.append(engine.mean_loss(network, parameters, data, rows))
        outputs = engine.outputs(network, parameters, data, rows)
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    if (head.loss.name, head.link) == ("squared_error", "identity"):
        errors = 0.5 * ((targets[rows] - outputs) ** 2).sum(axis=1)
    elif head.loss.name == "log_loss" and head.entry.is_categorical:
        errors = -np.log(outputs[np.arange(17), targets[rows, 0].astype(int)])
    else:
        return
    assert losses[1] == pytest.approx(np.average(errors, weights=weight[rows]), rel=1e-9)


# --- Splits ---


def held_out_groups(model, X, y, groups):
    """Return the groups of the samples that a fit scores; the first column of X tells which."""
    seen = []

    def scorer(estimator, X, y):
        seen.append(X[:, 0])
        return 0.0

    model.set_params(scoring=scorer).fit(X, y, groups=groups)
    return {round(number) for number in seen[0]}


def test_whole_groups_are_held_out(make_problem):
    X, y = make_problem("multiclass")
    groups = np.arange(40) % 10
    X[:, 0] = groups
    model = MLPClassifier(**WATCHING).set_params(validation_fraction=0.3)
    watched = held_out_groups(model, X, y, groups)
    assert len(watched) == 3
    assert sum(np.isin(groups, list(watched))) == 12
    assert watched == held_out_groups(model, X, y, groups), "random_state decides"
    others = [held_out_groups(model.set_params(random_state=s), X, y, groups) for s in range(5)]
    assert any(watched != other for other in others)
    model.set_params(validation_fraction=LeaveOneGroupOut())
    assert held_out_groups(model, X, y, groups) == {0}
    model.set_params(validation_fraction=GroupShuffleSplit(1, test_size=2, random_state=0))
    assert len(held_out_groups(model, X, y, groups)) == 2
    assert clone(model).fit(X, y, groups=groups).n_iter_ > 0


class Strange:
    """A splitter that splits as it is told."""

    def __init__(self, splits):
        self.splits = splits

    def split(self, X, y=None, groups=None):
        return iter(self.splits)

    def get_n_splits(self, *_):
        return len(self.splits)


def test_splitters(make_problem):
    X, y = make_problem("regression")
    X[:, 0] = np.arange(40)
    model = MLPRegressor(**WATCHING)
    fold = np.where(np.arange(40) % 8 == 3, 0, -1)
    model.set_params(validation_fraction=PredefinedSplit(fold))
    assert held_out_groups(model, X, y, None) == {3, 11, 19, 27, 35}
    model.set_params(validation_fraction=KFold(4))
    assert held_out_groups(model, X, y, None) == set(range(10))
    with pytest.raises(ValueError, match=r"validation_fraction.*must be"):
        model.set_params(validation_fraction="0.1").fit(X, y)


@pytest.mark.parametrize(
    "splits",
    [
        [],
        [([0, 1], [])],
        [([], [0, 1])],
        [([0, 1], [1, 2])],
        [([0, 0], [1])],
        [([0, 1], [40])],
        [([-1, 1], [3])],
        [(np.ones(40, bool), np.zeros(40, bool))],
        [([0.0, 1.0], [2.0])],
    ],
    ids=str,
)
def test_splits_that_are_none(make_problem, unchanged, splits):
    X, y = make_problem("regression")
    model = MLPRegressor(**WATCHING).fit(X, y)
    model.validation_fraction = Strange(splits)
    with unchanged(model=model), pytest.raises(ValueError, match=r"validation_fraction=<.*Strange"):
        model.fit(X, y)
