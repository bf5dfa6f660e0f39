"""Packs: members are plain fits, the ensemble is the greedy choice, and tables go through."""

import inspect
import pickle
import re
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmlp import MLPClassifier, MLPRegressor, TabularMLPClassifier, TabularMLPRegressor
from skmlp import _packs as packs
from skmlp import _presets as presets
from skmlp._calibration import at_temperature, smoothed, smoothing_of, temperature_of
from skmlp._importances import importances_by_permutation
from skmlp._residuals import offsets_at, residual_quantiles
from skmlp._selection import Candidate, LogLoss, Scored, Selection, SquaredError
from skmlp._splitting import evenly_split
from skmlp._tabular_base import MOST_PICKS
from skmlp.callbacks import FunctionCallback
from skmlp.training import rounds
from skmlp.training.interrupts import InterruptPolicy

SMALL = {"n_members": 4, "max_iter": 6, "random_state": 3}
MODELS = {
    "classifier": (TabularMLPClassifier, MLPClassifier, load_breast_cancer),
    "regressor": (TabularMLPRegressor, MLPRegressor, load_diabetes),
}
NOT_EQUIVALENT = {
    "check_sample_weight_equivalence_on_dense_data": "rows that are held out are drawn by number",
    "check_sample_weight_equivalence_on_sparse_data": "rows that are held out are drawn by number",
}


@pytest.fixture(params=MODELS)
def kind(request):
    return request.param


@pytest.fixture
def data(kind):
    X, y = MODELS[kind][2](return_X_y=True, as_frame=True)
    return X.iloc[:300], y.iloc[:300]


def make(kind, **parameters):
    return MODELS[kind][0](**{**SMALL, **parameters})


def outputs(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def of_recipe(member):
    """Return the parameters of a network from what the report says of it."""
    told = {"loss", "n_epochs", "seconds", "weight"}
    return {name: value for name, value in member.items() if name not in told}


@pytest.fixture
def noted(monkeypatch):
    """Note what the ensemble is chosen from, round after round."""
    considered = []

    class Noting(Selection):
        def consider(self, candidates):
            considered.append(list(candidates))
            return super().consider(candidates)

    monkeypatch.setattr(packs, "Selection", Noting)
    return considered


# Members


def test_members_are_plain_fits(kind, data, noted):
    """Bit by bit: those that others fit one after the other, with the same samples to watch."""
    X, y = data
    X, X_val, y, y_val = train_test_split(X, y, random_state=0)
    model = make(kind).fit(X, y, X_val=X_val, y_val=y_val)
    encoded, watched = model.encoder_.transform(X), model.encoder_.transform(X_val)
    own = {} if kind == "classifier" else {"y_scale": "standard"}
    seen = set()
    for candidate in (candidate for candidates in noted for candidate in candidates):
        if candidate.epoch not in (1, 6):
            continue
        seen.add((candidate.member, candidate.epoch))
        plain = MODELS[kind][1](
            **of_recipe(model.validation_report_["members"][candidate.member]),
            **own,
            early_stopping=True,
            scoring="loss",
            restore_best=False,
            n_iter_no_change=100,
            max_iter=candidate.epoch,
            dtype="float32",
        )
        with pytest.warns(UserWarning, match="Maximum iterations"):
            plain.fit(encoded, y, X_val=watched, y_val=y_val)
        whole = [*map(np.ravel, plain.coefs_), *plain.intercepts_, plain._extras]
        assert_array_equal(candidate.parameters, np.concatenate(whole))
    assert len(seen) >= 4
    for network in model.ensemble_.estimators_:
        assert type(network) is MODELS[kind][1]


def test_ensemble_is_the_greedy_choice(kind, data, noted):
    X, y = data
    X, X_val, y, y_val = train_test_split(X, y, random_state=0)
    model = make(kind, calibrate=False) if kind == "classifier" else make(kind)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    best, chosen = np.inf, Counter()
    losses = []
    for candidates in noted:
        pool = [*chosen, *candidates]
        loss, picks = literal_choice(pool, kind)
        if loss < best:
            best, chosen = loss, Counter(picks)
        losses.append(best)
    assert_allclose(model.validation_report_["rounds"]["loss"], losses, rtol=1e-12)
    weights = Counter()
    for candidate, times in chosen.items():
        weights[candidate.member] += times / chosen.total()
    told = [member["weight"] for member in model.validation_report_["members"]]
    assert_allclose(told, [weights[i] for i in range(4)])
    assert len(model.ensemble_.estimators_) == chosen.total()
    # What users are given is their mean.
    encoded = model.encoder_.transform(X_val)
    mean = np.mean([outputs(one, encoded) for one in model.ensemble_.estimators_], axis=0)
    assert_allclose(outputs(model, X_val), mean, rtol=1e-5, atol=1e-6)
    if kind == "classifier":
        assert log_loss(y_val, outputs(model, X_val)) == pytest.approx(best, rel=1e-5)


def literal_choice(pool, kind):
    """Return the lowest loss of a forward choice with replacement, and what was picked."""
    best, best_picks = np.inf, []
    picks = []
    for _ in range(MOST_PICKS):
        trials = []
        for candidate in pool:
            mean = np.mean([one.relevant for one in [*picks, candidate]], axis=0)
            loss = (
                -np.log(np.maximum(mean, 1e-7)).mean() if kind == "classifier" else (mean**2).mean()
            )
            trials.append(loss)
        picks = [*picks, pool[int(np.argmin(trials))]]
        if not best_picks or min(trials) < best - 1e-12 * abs(best):
            best, best_picks = min(trials), picks
    return best, best_picks


def test_results_do_not_depend_on_threads(kind, data):
    one, two = (make(kind, n_jobs=n_jobs).fit(*data) for n_jobs in (1, 2))
    assert one.validation_report_["rounds"]["loss"] == two.validation_report_["rounds"]["loss"]
    assert_array_equal(outputs(one, data[0]), outputs(two, data[0]))


def test_time_cuts_training_short(kind, data):
    """What is done in time is the beginning of what is done without a limit."""
    whole, cut = make(kind).fit(*data), make(kind, max_time=1e-6).fit(*data)
    losses = [model.validation_report_["rounds"]["loss"] for model in (whole, cut)]
    assert len(losses[1]) == 1
    assert losses[1][0] == losses[0][0] >= losses[0][-1]
    assert np.isfinite(outputs(cut, data[0])).all()


class At:
    """A member whose epochs take so many seconds, and whose loss is so low."""

    def __init__(self, seconds, loss):
        trainer = type("Trainer", (), {"mean_seconds": seconds})
        self.training = type("Training", (), {"trainer": trainer})
        self.watcher = type("Watcher", (), {"loss": loss})


@pytest.mark.parametrize(
    ("left", "expected"), [(9.0, [0, 1, 2]), (2.9, [1, 2]), (1.4, [2]), (0.9, [])]
)
def test_the_best_go_on_where_time_is_short(left, expected):
    """Two cores, which the last round of six seconds of work has kept busy for three."""
    members = [At(3.0, 0.3), At(2.0, 0.2), At(1.0, 0.1)]
    conductor = packs.Conductor(members, None, packs.Course([], 1, 1), 0.0)
    conductor._last, conductor._seconds_of_round = [0, 1, 2], 3.0
    assert conductor._in_time([0, 1, 2], left) == expected


def test_those_that_fall_behind_leave(data, kind, monkeypatch):
    two = replace(
        presets.PRESETS["pack"],
        stretches=False,
        shortlist=lambda number, count: count if number < 2 else 2,
    )
    monkeypatch.setitem(presets.PRESETS, "pack", two)
    report = make(kind).fit(*data).validation_report_["members"]
    assert sorted(member["n_epochs"] for member in report) == [2, 2, 6, 6]


def test_an_interrupt_keeps_what_was_learned(data, kind, monkeypatch):
    monkeypatch.setattr(rounds, "POLICY", InterruptPolicy())  # nobody has insisted yet
    n_rounds = []

    def interrupted(self, numbers, run, look=packs.Conductor.look):
        look(self, numbers, run)
        n_rounds.append(1)
        if len(n_rounds) == 3:
            raise KeyboardInterrupt

    whole = make(kind).fit(*data)
    monkeypatch.setattr(packs.Conductor, "look", interrupted)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = make(kind).fit(*data)
    losses = model.validation_report_["rounds"]["loss"]
    assert losses == whole.validation_report_["rounds"]["loss"][:3]
    assert np.isfinite(outputs(model, data[0])).all()


def test_progress_is_told(kind, data, capsys):
    model = make(kind, verbose=True).fit(*data)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_ == 6
    assert lines[-1].startswith("Round 6, 4 networks trained: loss = ")
    make(kind).fit(*data)
    assert not capsys.readouterr().out


@pytest.mark.skipif(
    find_spec("sklearn.callback") is None, reason="scikit-learn has callbacks from 1.9 on"
)
@pytest.mark.parametrize("preset", ["pack", "realmlp"])
def test_refit_trains_the_chosen_on_all_samples(kind, data, preset):
    """By the schedule of the whole fit, and stopped where the network was chosen."""
    X, y = data
    model, refitted = (make(kind, preset=preset, refit=r).fit(X, y) for r in (False, True))
    losses = [one.validation_report_["rounds"]["loss"] for one in (model, refitted)]
    assert losses[0] == losses[1]
    encoded = refitted.encoder_.transform(X)
    own = {} if kind == "classifier" else {"y_scale": "standard"}
    if kind == "classifier":
        own["label_smoothing"] = presets.PRESETS[preset].label_smoothing
    by_seed = {
        member["random_state"]: of_recipe(member) for member in model.validation_report_["members"]
    }
    assert len(refitted.ensemble_.estimators_) == len(model.ensemble_.estimators_)
    pairs = zip(refitted.ensemble_.estimators_, model.ensemble_.estimators_, strict=True)
    for one, before in pairs:
        assert one.n_iter_ == before.n_iter_ == len(one.loss_curve_)
        plain = MODELS[kind][1](
            **by_seed[one.random_state], **own, max_iter=6, dtype="float32", tol=0.0
        )
        if one.n_iter_ < 6:
            stop = FunctionCallback(lambda epoch, last=one.n_iter_: epoch.number == last)
            plain.set_callbacks(stop).fit(encoded, y)
        else:
            with pytest.warns(UserWarning, match="Maximum iterations"):
                plain.fit(encoded, y)
        assert_array_equal(outputs(one, encoded), outputs(plain, encoded))


@pytest.mark.parametrize("when", ["search", "refit"])
def test_an_interrupt_leaves_what_was_chosen_before(kind, data, monkeypatch, when):
    monkeypatch.setattr(rounds, "POLICY", InterruptPolicy())
    plain = make(kind).fit(*data)
    n_rounds = []

    def interrupted(run, trainers, chosen, carry_out=rounds.carry_out_round):
        n_rounds.append(1)
        if len(n_rounds) == (3 if when == "search" else 8):
            raise KeyboardInterrupt
        carry_out(run, trainers, chosen)

    monkeypatch.setattr(rounds, "carry_out_round", interrupted)
    message = "interrupted by user" if when == "search" else "because it was interrupted"
    with pytest.warns(UserWarning, match=message):
        model = make(kind, refit=True).fit(*data)
    assert model.stop_reason_ == ("interrupted" if when == "search" else "max_iter")
    if when == "refit":
        assert_array_equal(outputs(model, data[0]), outputs(plain, data[0]))


def test_an_interrupt_before_anything_was_learned_is_passed_on(kind, data, monkeypatch):
    monkeypatch.setattr(rounds, "POLICY", InterruptPolicy())

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "carry_out_round", interrupted)
    model = make(kind)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data)
    assert not hasattr(model, "ensemble_")


def test_time_is_over_before_the_refit(kind, data):
    with pytest.warns(UserWarning, match="because max_time was over"):
        model = make(kind, refit=True, max_time=1e-6).fit(*data)
    assert model.stop_reason_ == "max_time"


@pytest.mark.parametrize(
    ("kind", "scoring"),
    [
        ("classifier", "roc_auc"),
        ("classifier", "accuracy"),
        ("regressor", "neg_mean_absolute_error"),
    ],
)
def test_scoring_decides_in_the_end(data, kind, scoring):
    X, X_val, y, y_val = train_test_split(*data, random_state=0)
    scorer = get_scorer(scoring)
    calls = []

    def noting(estimator, X, y):
        calls.append(X is X_val)
        return scorer(estimator, X, y)

    own = {"calibrate": False} if kind == "classifier" else {}
    models = [
        make(kind, scoring=s, **own).fit(X, y, X_val=X_val, y_val=y_val) for s in (None, noting)
    ]
    by_loss, by_score = (scorer(model, X_val, y_val) for model in models)
    assert by_score >= by_loss
    assert len(calls) > 10
    assert all(calls)  # samples as they are, for scores that look at them


def test_a_score_may_prefer_other_networks():
    """What is chosen by the loss is the first of these, and by the score the last one."""
    selection = Selection(Scored(lambda mean: float(mean[0, 0])), 4)
    networks = candidates_of(np.array([[[0.2]], [[0.5]], [[0.9]]]))
    selection.begin_with(Counter({networks[0]: 2}))
    assert selection.loss == -0.2
    assert selection.consider(networks[1:])
    assert selection.chosen == Counter({networks[2]: 1})
    assert not selection.consider(networks[:2])


def test_scorers_are_tried_before_anything_is_trained(monkeypatch):
    X, y = load_iris(return_X_y=True)
    monkeypatch.setattr(rounds, "carry_out_round", None)  # nobody comes so far
    with pytest.raises(ValueError, match="multi_class"):
        make("classifier", scoring="roc_auc").fit(X, y)


@pytest.mark.parametrize("preset", sorted(presets.PRESETS))
@pytest.mark.parametrize("kind", MODELS)
def test_presets(kind, preset):
    """Networks have what their recipes say, and learn."""
    X, score = make_table()
    y = np.where(score > 0, "high", "low") if kind == "classifier" else score
    entry = presets.PRESETS[preset]
    n_members = entry.n_members if entry.shares is None else 4
    model = MODELS[kind][0](preset, n_members=n_members, max_iter=30, random_state=0).fit(X, y)
    members = model.validation_report_["members"]
    assert len(members) == n_members
    for network in model.ensemble_.estimators_:
        drawn = next(m for m in members if m["random_state"] == network.random_state)
        for name, value in of_recipe(drawn).items():
            assert getattr(network, name) is value
    if entry.n_members == 1:
        assert len(model.ensemble_.estimators_) == 1
    codes = model.encoder_.blocks_.levels
    assert bool(codes) == ("many_levels" not in entry.encoder)
    assert model.score(X, y) > (0.75 if kind == "classifier" else 0.4)


# What is chosen, and by what


def candidates_of(relevant):
    return [Candidate(i, 1, np.empty(0), one) for i, one in enumerate(relevant)]


def test_selection_never_becomes_worse():
    rng = np.random.default_rng(0)
    selection = Selection(LogLoss(np.zeros(50, dtype=int), None), 10)
    losses = []
    for _ in range(5):
        selection.consider(candidates_of(rng.uniform(0.1, 0.9, (3, 50))))
        losses.append(selection.loss)
    assert losses == sorted(losses, reverse=True)
    assert not selection.consider(candidates_of(np.full((2, 50), 0.01)))
    assert selection.loss == losses[-1]


def test_criteria():
    rng = np.random.default_rng(1)
    labels, weight = rng.integers(0, 3, 40), rng.uniform(0.5, 2.0, 40)
    probabilities = rng.dirichlet([1, 1, 1], 40)
    criterion = LogLoss(labels, weight)
    value = criterion.of(criterion.relevant(probabilities)[np.newaxis])[0]
    assert_allclose(value, log_loss(labels, probabilities, sample_weight=weight))
    binary = LogLoss(labels % 2, None)
    assert_allclose(
        binary.of(binary.relevant(probabilities[:, :1])[np.newaxis])[0],
        log_loss(labels % 2, probabilities[:, 0]),
    )
    y, predicted = rng.normal(2.0, 3.0, (40, 2)), rng.normal(size=(40, 2))
    squared = SquaredError(y, weight)
    expected = np.average((((predicted - y) / y.std(axis=0)) ** 2).sum(axis=1), weights=weight)
    assert_allclose(squared.of(squared.relevant(predicted)[np.newaxis])[0], expected)
    scored = Scored(lambda means: float(means.sum()))
    assert_allclose(scored.of(scored.relevant(y)[np.newaxis])[0], -y.sum())


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_temperature(sharpness):
    """Probabilities that are too sure, or not sure enough, by a known power."""
    rng = np.random.default_rng(2)
    true = rng.dirichlet([1, 1, 1], 20_000)
    labels = (true.cumsum(axis=1) > rng.uniform(size=(len(true), 1))).argmax(axis=1)
    shown = at_temperature(true, 1 / sharpness)
    temperature = temperature_of(shown, labels, None)
    assert temperature == pytest.approx(sharpness, rel=0.06)
    assert_allclose(at_temperature(shown, temperature).sum(axis=1), 1.0)
    losses = [log_loss(labels, p) for p in (shown, at_temperature(shown, temperature))]
    assert losses[1] <= losses[0]


def test_few_samples_are_no_reason_to_be_sure():
    probabilities = np.tile([[0.9, 0.1], [0.1, 0.9]], (6, 1))
    temperature = temperature_of(probabilities, np.tile([0, 1], 6), None)
    assert 0.5 < temperature < 1.0


def test_probabilities_are_no_surer_than_held_out_samples_can_tell():
    assert smoothing_of(9, None) == pytest.approx(0.1)
    assert smoothing_of(9, np.full(9, 0.2)) == pytest.approx(0.1)
    assert smoothing_of(12, np.r_[np.ones(9), np.zeros(3)]) == pytest.approx(0.1)
    assert smoothing_of(9, np.r_[1.0, np.full(8, 0.01)]) > 0.4
    sure = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]], dtype=np.float32)
    once = smoothed(sure, 0.3)
    assert once.dtype == np.float32
    assert_allclose(once, [[0.8, 0.1, 0.1], [0.24, 0.45, 0.31]], rtol=1e-6)
    X, y = load_iris(return_X_y=True)
    model = TabularMLPClassifier("plain", max_iter=20, random_state=0)
    model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    assert model.smoothing_ == pytest.approx(1 / (1 + 75))
    mean = model.ensemble_.predict_proba(model.encoder_.transform(X))
    expected = smoothed(at_temperature(mean, model.temperature_), 1 / 76)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-6)
    assert_array_equal(model.predict(X), mean.argmax(axis=1))
    model.set_params(calibrate=False).fit(X, y)
    assert (model.smoothing_, model.temperature_) == (0.0, 1.0)


def test_importances_are_those_of_one_column_after_the_other():
    rng = np.random.default_rng(3)
    encoded = rng.normal(size=(40, 5))
    y = encoded[:, 0] + 2.0 * encoded[:, 2] * encoded[:, 3]
    sources = [0, 2, 3, 3, 1]
    criterion = SquaredError(y[:, np.newaxis], None)

    def predict(rows):
        return (rows[:, 0] + 2.0 * rows[:, 2] * rows[:, 3])[:, np.newaxis]

    def loss(rows):
        return float(criterion.of(criterion.relevant(predict(rows))[np.newaxis])[0])

    found = importances_by_permutation(
        predict, encoded, criterion, sources, 5, 3, np.random.RandomState(0)
    )
    random_state, expected = np.random.RandomState(0), np.zeros(5)
    for column in range(4):
        for _ in range(3):
            order = random_state.permutation(40)
            rows = encoded.copy()
            own = np.array(sources) == column
            rows[:, own] = encoded[order][:, own]
            expected[column] += (loss(rows) - loss(encoded)) / 3
    assert_allclose(found, expected, atol=1e-12)
    assert found[3] > found[0] > found[2] == found[4] == 0.0


def test_feature_importances(kind, data):
    X, y = data
    model = make(kind, n_permutations=2, max_iter=20).fit(X, y)
    assert model.feature_importances_.shape == (X.shape[1],)
    assert model.feature_importances_.max() > 0.01
    model.set_params(n_permutations=0).fit(X, y)
    assert not hasattr(model, "feature_importances_")


# Samples held out


@pytest.mark.parametrize("seed", range(8))
def test_split(seed):
    random_state = np.random.RandomState(seed)
    counts = random_state.randint(1, 40, size=random_state.randint(2, 6))
    labels = random_state.permutation(np.repeat(np.arange(len(counts)), counts))
    fraction = random_state.uniform(0.1, 0.4)
    rows, held_out = evenly_split(len(labels), fraction, labels, random_state)
    assert_array_equal(np.sort(np.concatenate([rows, held_out])), np.arange(len(labels)))
    assert len(held_out) <= np.ceil(fraction * len(labels))
    assert set(labels[rows]) == set(labels)
    of_classes = np.bincount(labels[held_out], minlength=len(counts))
    assert np.abs(of_classes - np.minimum(fraction * counts, counts - 1)).max() < 1.6


def test_rare_classes_are_held_out_too():
    labels = np.repeat([0, 1], [960, 40])
    held_out = evenly_split(1000, 0.15, labels, np.random.RandomState(0))[1]
    assert np.bincount(labels[held_out]).tolist() == [144, 6]


def test_groups_and_splitters(data, kind):
    X, y = data
    groups = np.arange(len(y)) // 10
    seen = []

    class Noting(GroupShuffleSplit):
        def split(self, X, y=None, groups=None):
            for train, test in super().split(X, y, groups):
                seen.append((train, test))
                yield train, test

    splitter = Noting(1, test_size=0.3, random_state=0)
    model = make(kind, validation_fraction=splitter).fit(X, y, groups=groups)
    ((train, test),) = seen
    same = make(kind).fit(X.iloc[train], y.iloc[train], X_val=X.iloc[test], y_val=y.iloc[test])
    assert_array_equal(outputs(model, X), outputs(same, X))


@pytest.mark.parametrize("by", ["groups", "splitter"])
def test_all_classes_have_to_be_trained_on(by):
    X, y = load_iris(return_X_y=True)
    parameters = {}
    if by == "splitter":
        parameters["validation_fraction"] = GroupShuffleSplit(1, random_state=0)
    with pytest.raises(ValueError, match=r"Of the classes \[\d\] all samples are held out"):
        make("classifier", **parameters).fit(X, y, groups=y)


def test_a_single_class():
    X = load_iris().data
    model = make("classifier").fit(X, np.full(150, "only"))
    assert_array_equal(model.predict_proba(X[:5]), np.ones((5, 1)))
    assert set(model.predict(X)) == {"only"}


# Tables


def make_table(n_rows=240):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(4)
    color = rng.choice(["red", "green", "blue"], n_rows)
    town = rng.choice([f"town {i}" for i in range(20)], n_rows)
    size = rng.normal(size=n_rows)
    effect = {f"town {i}": rng.normal() for i in range(20)}
    score = size + (color == "red") + np.array([effect[name] for name in town])
    size[rng.uniform(size=n_rows) < 0.1] = np.nan
    X = pd.DataFrame({"color": pd.Categorical(color), "size": size, "town": town, "same": 1.0})
    return X, score


@pytest.mark.parametrize("kind", MODELS)
def test_frames_with_categories_and_missing_numbers(kind):
    X, score = make_table()
    y = np.where(score > 0, "high", "low") if kind == "classifier" else score
    model = make(kind, max_iter=40).fit(X, y)
    assert model.score(X, y) > (0.8 if kind == "classifier" else 0.5)
    assert_array_equal(model.feature_names_in_, X.columns)
    if kind == "classifier":
        assert_array_equal(model.classes_, ["high", "low"])
        assert set(model.predict(X)) == {"high", "low"}
    strange = X.head(3).assign(town=["nowhere", None, "town 1"], color=["pink", None, "red"])
    assert np.isfinite(outputs(model, strange)).all()
    # One pickle has all, and none of the data.
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(outputs(again, X), outputs(model, X))
    large = make(kind).fit(
        *(np.tile(part, (40,) + (1,) * (part.ndim - 1)) for part in (X.to_numpy(), y))
    )
    assert len(pickle.dumps(large)) < 3 * len(pickle.dumps(make(kind).fit(X.to_numpy(), y)))
    assert not holds(large, {9600, 8160, 1440})  # all rows, those trained on, those held out


def holds(model, lengths):
    """Whether a model has an array that is as long as there are samples."""
    seen, left = set(), [model]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, type | str | bytes):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            if lengths & set(one.shape[:1]):
                return True
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
        elif hasattr(one, "__dict__"):
            left += vars(one).values()
    return False


def test_spread(kind, data):
    X, y = data
    model = make(kind).fit(X, y)
    predict = model.predict_proba if kind == "classifier" else model.predict
    mean, spread = predict(X, return_std=True)
    assert_array_equal(mean, predict(X))
    encoded = model.encoder_.transform(X)
    members = np.stack([outputs(one, encoded) for one in model.ensemble_.estimators_])
    assert_allclose(spread, members.std(axis=0), rtol=1e-3, atol=1e-5 * np.abs(members).max())


def test_quantiles_of_residuals_are_order_statistics():
    rng = np.random.default_rng(0)
    residuals = rng.normal(size=19)
    table = residual_quantiles(residuals, None)
    assert_array_equal(table, np.sort(residuals))
    assert_array_equal(residual_quantiles(residuals, np.full(19, 0.3)), table)
    levels = np.array([0.05, 0.07, 0.5, 0.93, 0.95])
    assert_array_equal(offsets_at(table, levels), table[[0, 0, 9, 18, 18]])
    for level in (0.04, 0.96):
        with pytest.raises(ValueError, match=r"are beyond what 19 residuals.* 0.05 to 0.95"):
            offsets_at(table, np.array([0.5, level]))
    # Those that do not count are not there, and few that count much are few.
    weight = np.r_[np.ones(9), np.zeros(10)]
    assert_array_equal(residual_quantiles(residuals, weight), np.sort(residuals[:9]))
    assert len(residual_quantiles(residuals, np.r_[100.0, np.ones(18)])) == 1
    # Of many there are thousandths, of which lower ones are rounded down and higher ones up.
    many = residual_quantiles(np.arange(5000.0), None)
    assert len(many) == 999
    assert_array_equal(many[[0, 99, 899, 998]], [4.0, 499.0, 4500.0, 4995.0])
    doubled = residual_quantiles(np.arange(50.0), np.repeat([1.0, 3.0], 25))
    assert doubled[len(doubled) // 2] == pytest.approx(33.0, abs=1.0)  # 25 + 9 * 3 is half


def test_a_new_residual_is_below_as_often_as_promised():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(4000):
        drawn = rng.gumbel(size=40)
        low, high = offsets_at(residual_quantiles(drawn[1:], None), np.array([0.1, 0.9]))
        inside += low <= drawn[0] <= high
    assert 0.78 < inside / 4000 < 0.84  # 32 of 40, exactly 0.8


def test_predicted_quantiles():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X, X_val, y, y_val = train_test_split(X, y, random_state=0)
    model = TabularMLPRegressor(**SMALL).fit(X, y, X_val=X_val, y_val=y_val)
    predicted = model.predict(X_val)
    found = model.predict_quantiles(X_val, [0.9, 0.1])
    assert found.shape == (len(X_val), 2)
    assert found.dtype == predicted.dtype
    assert_allclose(np.ptp(found - predicted[:, np.newaxis], axis=0), 0.0, atol=1e-3)
    inside = (found[:, 1] <= y_val) & (y_val <= found[:, 0])
    assert 0.8 <= inside.mean() < 0.83  # these very samples
    assert_array_equal(model.predict_quantiles(X_val, 0.9), found[:, 0])
    encoded = model.encoder_.transform(X_val)
    networks = [model.ensemble_.estimators_[0], *model.ensemble_.estimators_]
    model.ensemble_.estimators_ = networks
    every = np.stack([network.predict(encoded) for network in networks])
    expected = np.quantile(every, (0.25, 0.5), axis=0).T
    assert_allclose(
        model.predict_quantiles(X_val, (0.25, 0.5), source="members"), expected, rtol=1e-6
    )
    for levels in (0.0, 1.0, [], "0.5", [[0.5]], np.nan, [0.5, 2]):
        with pytest.raises(ValueError, match="quantiles must be a number between 0 and 1"):
            model.predict_quantiles(X_val, levels)
    with pytest.raises(ValueError, match="source must be one of residuals, members"):
        model.predict_quantiles(X_val, source="noise")
    model.residual_quantiles_ = np.array([2.0, 1.0])
    with pytest.raises(ValueError, match="residual_quantiles_ must be"):
        model.predict_quantiles(X_val)


def test_weights_of_samples_count(kind, data):
    X, y = data
    weight = np.where(np.arange(len(y)) % 2, 1.0, 0.0)
    X_val, y_val = X.iloc[:60], y.iloc[:60]
    weighted = make(kind).fit(X, y, weight, X_val=X_val, y_val=y_val)
    plain = make(kind).fit(X, y, X_val=X_val, y_val=y_val)
    assert np.abs(outputs(weighted, X) - outputs(plain, X)).max() > 1e-4
    without = make(kind).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight[:60])
    losses = [m.validation_report_["rounds"]["loss"][0] for m in (plain, without)]
    assert losses[0] != losses[1]
    # Samples without weight are as if they were not there.
    there = weight[:60] > 0
    left_out = make(kind).fit(X, y, X_val=X_val[there], y_val=y_val[there])
    found, expected = (m.validation_report_["rounds"]["loss"] for m in (without, left_out))
    if kind == "classifier":  # targets of regressors are measured in their deviation
        assert_allclose(found, expected, rtol=1e-6)
    scaled = make(kind).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=1000 * weight[:60])
    assert_allclose(outputs(scaled, X), outputs(without, X), rtol=1e-5, atol=1e-6)


def test_class_weight_goes_by_labels():
    X, y = load_iris(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    by_name = make("classifier", class_weight={"a": 1.0, "b": 5.0, "c": 1.0}).fit(X, names)
    by_number = make("classifier", class_weight={0: 1.0, 1: 5.0, 2: 1.0}).fit(X, y)
    assert_array_equal(by_name.predict_proba(X), by_number.predict_proba(X))
    plain = make("classifier").fit(X, y)
    assert by_name.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()


def test_in_searches_and_pipelines(kind, data):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(), make(kind, max_iter=2))
    name = pipeline.steps[-1][0]
    search = GridSearchCV(pipeline, {f"{name}__preset": ["pack", "plain"]}, cv=2).fit(X, y)
    assert search.best_params_[f"{name}__preset"] in presets.PRESETS
    assert clone(make(kind)).get_params() == make(kind).get_params()


def test_a_failed_fit_changes_nothing(kind, data):
    X, y = data
    model = make(kind).fit(X, y)
    before = outputs(model, X)
    with pytest.raises(ValueError, match="y has 3"):
        model.fit(X, y.iloc[:3])
    assert_array_equal(outputs(model, X), before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": True}, "y_val was not provided"),
        ({"y_val": True}, "X_val was not provided"),
        ({"X_val": True, "y_val": True, "groups": True}, "groups says which"),
        ({"sample_weight_val": True}, "X_val and y_val were not provided"),
    ],
)
def test_what_does_not_belong_together(kind, data, given, message):
    X, y = data
    values = {"X_val": X, "y_val": y, "groups": np.arange(len(y)), "sample_weight_val": y}
    with pytest.raises(ValueError, match=message):
        make(kind).fit(X, y, **{name: values[name] for name in given})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"preset": "best"}, "'preset' parameter"),
        ({"n_members": 0}, "'n_members' parameter"),
        ({"max_time": 0.0}, "'max_time' parameter"),
        ({"scoring": "beauty"}, "'scoring' parameter"),
        ({"validation_fraction": 1e-9}, None),
        ({"validation_fraction": 0.999}, "leaves 0 sample"),
    ],
)
def test_parameters(parameters, message):
    X, y = load_diabetes(return_X_y=True)
    model = make("regressor", **parameters)
    if message is None:
        model.fit(X, y)
    else:
        with pytest.raises(ValueError, match=message):
            model.fit(X[:30], y[:30])


def test_classes_that_are_unknown():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"y_val has classes that y has not: \[2\]"):
        make("classifier").fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])


def test_shared_parameters_are_described_alike():
    """But for what differs: which loss there is."""
    described = []
    for one in (TabularMLPClassifier, TabularMLPRegressor):
        section = one.__doc__.partition("Parameters\n")[2].partition("Attributes\n")[0]
        parts = re.split(r"\n    (?=\w+ : )", section)[1:]
        described.append({part.partition(" : ")[0]: part.strip() for part in parts})
        assert list(described[-1]) == list(inspect.signature(one).parameters)
    for name in described[1].keys() - {"preset", "scoring"}:
        assert described[0][name] == described[1][name]


@pytest.mark.parametrize(
    ("kind", "y", "message"),
    [
        ("classifier", np.array(["a", "b", None] * 20, dtype=object), "missing labels"),
        ("classifier", np.zeros((60, 2)), "takes one target"),
        ("classifier", None, "requires y to be passed"),
        ("regressor", np.array(["a"] * 60), "must hold real numbers"),
        ("regressor", np.zeros((60, 2)), "takes one target"),
        ("regressor", np.r_[np.nan, np.zeros(59)], "contains NaN"),
    ],
)
def test_targets_that_are_none(kind, y, message):
    with pytest.raises(ValueError, match=message):
        make(kind).fit(np.arange(120.0).reshape(60, 2), y)


def test_what_is_no_table():
    with pytest.raises(ValueError, match="Expected 2D array"):
        make("regressor").fit(np.arange(60.0), np.arange(60.0))


@parametrize_with_checks(
    [TabularMLPClassifier(**SMALL), TabularMLPRegressor(**SMALL)],
    expected_failed_checks=lambda _: NOT_EQUIVALENT,
)
def test_sklearn_checks(estimator, check):
    check(estimator)
