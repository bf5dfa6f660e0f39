"""How a fit ends, with which weights, and what it records."""

import itertools
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

import skmlp._base
from skmlp import MLPClassifier, MLPRegressor
from skmlp._fitted import as_trained
from skmlp.activations import Custom
from skmlp.engines.clock import TrainingClock
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cpu.crew import call_through
from skmlp.network.parameters import layout_of
from skmlp.network.parts import named_extras
from skmlp.training import interrupts
from skmlp.training.history import extended, filled
from skmlp.training.monitors import MONITORS, SATURATED, Epoch

ignores_convergence = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (4,), "random_state": 0, "learning_rate_init": 0.01}


class CountingEngine(CpuEngine):
    """Keeps the number of epochs of each plan."""

    lengths: list

    def start(self, tasks):
        run = super().start(tasks)
        submit = run.submit

        def counted(index, plan):
            self.lengths.append(len(plan.orders))
            submit(index, plan)

        run.submit = counted
        return run


@pytest.fixture
def lengths(monkeypatch):
    """Return a list that plans' numbers of epochs are added to."""
    lengths = []
    monkeypatch.setattr(CountingEngine, "lengths", lengths, raising=False)
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: CountingEngine(1))
    return lengths


class TenSeconds(TrainingClock):
    """Says that each plan has taken ten seconds."""

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self.seconds = 10.0


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr("skmlp.engines.cpu.run.TrainingClock", TenSeconds)

    def at_once(*arguments, threads):
        return call_through(*arguments, threads=threads)[0], 0.0

    # The few nanoseconds at the gate, of which there are none in ten seconds.
    monkeypatch.setattr("skmlp.engines.cpu.task.call_through", at_once)
    monkeypatch.setattr(CpuEngine, "flops_per_second", 0.0)  # as if nothing were known of it


class Interrupting(CpuEngine):
    """Presses Ctrl-C when a fit waits for its sixth plan."""

    flops_per_second = 0.0
    counts_stalled_epochs = False

    def start(self, tasks):
        run = super().start(tasks)
        wait, calls = run.wait, itertools.count(1)

        def interrupted():
            if next(calls) == 6:
                raise KeyboardInterrupt
            return wait()

        run.wait = interrupted
        return run


# --- Reasons to stop, and the weights kept ---


def ended(reason, monkeypatch, request):
    """Return parameters of a fit that ends for this reason, and what it warns of."""
    if reason == "interrupted":
        monkeypatch.setattr(interrupts.POLICY, "_last", float("-inf"))
        monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: Interrupting(1))
        return {"max_iter": 50}, UserWarning
    if reason == "max_time":
        request.getfixturevalue("slow")
        return {"max_iter": 50, "max_time": 55.0}, ConvergenceWarning
    if reason == "diverged":
        growing = {"activation": "identity", "solver": "sgd", "momentum": 0.0}
        growing |= {"learning_rate_init": 3.0, "n_iter_no_change": np.inf}
        return {"max_iter": 1000, **growing}, ConvergenceWarning
    if reason == "no_improvement":
        return {"max_iter": 400, "n_iter_no_change": 2, "tol": 0.05}, None
    return {"max_iter": 6}, ConvergenceWarning


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    ("reason", "normalization"),
    [
        *itertools.product(["max_iter", "no_improvement", "max_time"], [None, "batch"]),
        ("interrupted", "batch"),
        ("diverged", None),  # what is normalized does not
    ],
)
def test_best_weights_are_kept_whatever_ends_a_fit(
    monkeypatch, request, make_problem, reason, early_stopping, normalization
):
    """With them their running statistics: the score recorded is that of the model."""
    X, y = make_problem("regression", n_samples=60)
    X_val, y_val, X, y = X[40:], y[40:], X[:40], y[:40]
    params, category = ended(reason, monkeypatch, request)
    # A large rate, so that later weights are worse than some before.
    options = {**SMALL, "early_stopping": early_stopping, "learning_rate_init": 0.3, "tol": 1e-9}
    options |= {"normalization": normalization, **params}
    given = {"X_val": X_val, "y_val": y_val} if early_stopping else {}
    model = MLPRegressor(restore_best=True, **options)
    if category is None:
        model.fit(X, y, **given)
    else:
        with pytest.warns(category):
            model.fit(X, y, **given)
    assert model.stop_reason_ == reason
    if early_stopping:
        assert model.best_validation_score_ == max(model.validation_scores_)
        assert model.score(X_val, y_val) == pytest.approx(model.best_validation_score_, rel=1e-12)
        return
    assert model.best_loss_ == min(model.loss_curve_)
    best = int(np.argmin(model.loss_curve_)) + 1
    monkeypatch.undo()
    again = MLPRegressor(restore_best=False, **{**options, "max_iter": best, "max_time": None})
    again.set_params(n_iter_no_change=np.inf)
    with pytest.warns(ConvergenceWarning):
        again.fit(X, y)
    assert_array_equal(model.predict(X), again.predict(X))


@ignores_convergence
def test_restore_best_decides_between_best_and_last(make_problem):
    X, y = make_problem("multiclass", n_samples=60)
    options = {**SMALL, "early_stopping": True, "learning_rate_init": 0.5, "max_iter": 12}
    given = {"X_val": X[40:], "y_val": y[40:]}
    scores = {}
    for restore_best in (None, True, False):
        model = MLPClassifier(restore_best=restore_best, **options).fit(X[:40], y[:40], **given)
        scores[restore_best] = model.score(X[40:], y[40:])
    recorded = model.validation_scores_
    assert recorded[-1] < max(recorded), "last weights are no worse: nothing is tested"
    assert scores == {None: max(recorded), True: max(recorded), False: recorded[-1]}


def test_last_weights_that_diverge_are_an_error(make_problem):
    X, y = make_problem("regression")
    model = MLPRegressor(
        hidden_layer_sizes=(), solver="sgd", learning_rate_init=3.0, momentum=0.0, max_iter=400
    )
    model.set_params(random_state=0, early_stopping=True, restore_best=False)
    model.set_params(n_iter_no_change=np.inf)
    with pytest.raises(ValueError, match="diverged"):
        model.fit(10 * X, y)
    with pytest.warns(ConvergenceWarning, match="with the best validation score so far"):
        model.set_params(restore_best=None).fit(10 * X, y)
    with pytest.warns(ConvergenceWarning, match="with the lowest loss so far"):
        model.set_params(restore_best=True, early_stopping=False).fit(10 * X, y)
    assert np.isfinite(model.predict(X)).all()


class StandingStill(TrainingClock):
    def read(self):
        return 0.0


def test_max_time_of_lbfgs_is_that_of_the_clock(make_problem, monkeypatch):
    """Which stands still while anything is compiled."""
    X, y = make_problem("regression")
    options = {**SMALL, "solver": "lbfgs", "max_iter": 30, "tol": 0.0, "max_time": 1e-9}
    with pytest.warns(ConvergenceWarning, match="max_time"):
        assert MLPRegressor(**options).fit(X, y).n_iter_ == 1
    monkeypatch.setattr("skmlp.training.lbfgs.TrainingClock", StandingStill)
    with pytest.warns(ConvergenceWarning, match="lbfgs"):
        assert MLPRegressor(**options).fit(X, y).stop_reason_ == "max_iter"


@pytest.mark.usefixtures("slow")
def test_max_time_counts_training_and_does_one_epoch_at_least(lengths, make_problem):
    X, y = make_problem("regression")
    model = MLPRegressor(**SMALL, max_iter=100, max_time=25.0, monitor="seconds", tol=0.0)
    with pytest.warns(ConvergenceWarning, match=r"max_time=25\.0 ended the fit after 3 iter"):
        model.fit(X, y)
    assert model.history_["seconds"] == [10.0, 20.0, 30.0]
    assert lengths == [1, 1, 1]
    with pytest.warns(ConvergenceWarning, match="max_time"):
        model.set_params(max_time=1e-9, warm_start=True).fit(X, y)
    assert (model.n_iter_, model.stop_reason_) == (1, "max_time")
    assert model.history_["seconds"] == [10.0, 20.0, 30.0, 40.0]
    # Both at once: there is nothing more to do.
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        model.set_params(max_time=5.0, max_iter=1).fit(X, y)
    assert model.stop_reason_ == "max_iter"


def test_the_clock_stands_still_while_kernels_are_compiled(monkeypatch):
    now = [0.0]
    fake = type("Time", (), {"perf_counter": lambda: now[0]})
    monkeypatch.setattr("skmlp.engines.clock.time", fake)
    with TrainingClock() as clock:
        now[0] = 1.0
        clock.begin(False)
        now[0] = 100.0
        clock.begin(True)
        now[0] = 200.0
        clock.end()
        clock.end()
        now[0] = 203.0
    assert clock.seconds == 4.0


@ignores_convergence
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_min_iter(monkeypatch, make_problem, learning_rate):
    X, y = make_problem("regression")
    monkeypatch.setattr("skmlp.training.loop.SECONDS_PER_PLAN", 1e6)
    options = {**SMALL, "solver": "sgd", "tol": 10.0, "n_iter_no_change": 2, "max_iter": 90}
    model = MLPRegressor(**options, learning_rate=learning_rate).fit(X, y)
    shortest = model.n_iter_
    assert shortest < 40
    rates = model.history_["learning_rate"]
    for min_iter in (1, shortest, 60, 1000):
        model.set_params(min_iter=min_iter).fit(X, y)
        assert model.n_iter_ == min(90, max(min_iter, shortest))
        assert model.stop_reason_ == ("max_iter" if min_iter > 90 else "no_improvement")
        # Patience lowers the rate as before.
        assert model.history_["learning_rate"][:shortest] == rates


def test_reasons_of_lbfgs(make_problem):
    X, y = make_problem("regression")
    for params, reason, category in [
        ({"max_iter": 3}, "max_iter", ConvergenceWarning),
        ({"max_fun": 3}, "max_fun", ConvergenceWarning),
        ({"max_time": 1e-9}, "max_time", ConvergenceWarning),
        ({"tol": 1.0}, "converged", None),
    ]:
        model = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0, **params)
        if category is None:
            model.fit(X, y)
        else:
            with pytest.warns(category):
                model.fit(X, y)
        assert model.stop_reason_ == reason
        losses = model.history_["loss"]
        assert list(model.history_) == ["epoch", "loss"]
        assert len(losses) == model.n_iter_
        assert losses == sorted(losses, reverse=True)
        if losses:
            assert losses[-1] == model.loss_
    with pytest.warns(UserWarning, match="restore_best=True has no effect with solver='lbfgs'"):
        model.set_params(restore_best=True).fit(X, y)


# --- History ---


@ignores_convergence
def test_history_of_a_plain_fit_and_of_many_pieces(make_problem):
    X, y = make_problem("regression")
    whole = MLPRegressor(max_iter=8, **SMALL).fit(X, y)
    assert whole.history_ == {
        "epoch": list(range(1, 9)),
        "loss": whole.loss_curve_,
        "learning_rate": [0.01] * 8,
    }
    assert (whole.stop_reason_, whole.validation_loss_curve_) == ("max_iter", None)
    frame = pd.DataFrame(whole.history_)
    assert frame.shape == (8, 3)
    assert json.loads(json.dumps(whole.history_)) == whole.history_
    warm = MLPRegressor(max_iter=2, warm_start=True, **SMALL)
    pieces = MLPRegressor(**SMALL)
    for _ in range(4):
        warm = pickle.loads(pickle.dumps(warm.fit(X, y)))
    for _ in range(8):
        pieces = pickle.loads(pickle.dumps(pieces.partial_fit(X, y)))
    assert warm.history_ == pieces.history_ == whole.history_
    whole.history_["loss"].clear()  # a copy
    assert len(whole.history_["loss"]) == 8
    with pytest.raises(AttributeError, match="not fitted yet"):
        MLPRegressor().history_  # noqa: B018
    assert not hasattr(MLPRegressor(), "history_")


@ignores_convergence
def test_history_over_unlike_fits(make_problem):
    """What a fit did not record is missing; a fit that begins anew forgets."""
    X, y = make_problem("regression")
    model = MLPRegressor(max_iter=2, warm_start=True, **SMALL).fit(X, y)
    model.set_params(early_stopping=True, scoring="loss", learning_rate="cosine").fit(X, y)
    assert model.validation_loss_curve_ == [-score for score in model.validation_scores_]
    model.set_params(early_stopping=False, scoring=None, learning_rate="constant")
    model.set_params(solver="lbfgs").fit(X, y)
    model.set_params(solver="sgd", monitor=("update_ratio",)).fit(X, y)
    frame = pd.DataFrame(model.history_)
    assert len(frame) == 8
    missing = frame.isna()
    assert not missing[["epoch", "loss"]].any(axis=None)
    assert missing["validation_score"].tolist() == [True, True, False, False, *[True] * 4]
    assert missing["learning_rate"].tolist() == [*[False] * 4, True, True, False, False]
    assert missing["update_ratio"].tolist() == [*[True] * 6, False, False]
    assert frame["loss"].tolist()[:4] + frame["loss"].tolist()[6:] == model.loss_curve_
    # Half a wave over two epochs of one step each.
    assert_allclose(frame["learning_rate"][2:4], [0.01, 0.005])
    model.set_params(warm_start=False, monitor=None).fit(X, y)
    assert len(model.history_["epoch"]) == 2


@ignores_convergence
def test_an_interrupt_leaves_lists_of_equal_length(make_problem, monkeypatch):
    X, y = make_problem("regression")

    def scorer(estimator, X, y):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return estimator.score(X, y)

    calls = itertools.count(1)
    monkeypatch.setattr(interrupts.POLICY, "_last", float("-inf"))
    model = MLPRegressor(early_stopping=True, scoring=scorer, monitor="penalty", **SMALL)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    frame = pd.DataFrame(model.history_)
    assert len(frame) == model.n_iter_ == 3
    assert frame.isna().sum().to_dict() == {
        **dict.fromkeys(["epoch", "loss", "learning_rate"], 0),
        **dict.fromkeys(["validation_score", "penalty"], 1),
    }


@pytest.mark.parametrize("early_stopping", [False, True])
@ignores_convergence
def test_monitors_change_nothing_else(make_problem, fitted_state, early_stopping):
    X, y = make_problem("multiclass")
    options = {**SMALL, "max_iter": 5, "early_stopping": early_stopping, "dropout": 0.3}
    names = tuple(name for name in MONITORS if early_stopping or name != "validation_loss")
    plain = MLPClassifier(**options).fit(X, y)
    watched = MLPClassifier(monitor=("seconds", *names), **options).fit(X, y)
    states = [fitted_state(model) for model in (plain, watched)]
    for state in states:
        del state["_history"]
        state.pop("validation_loss_curve_")
    assert states[0] == states[1]
    history = watched.history_
    assert {name: history[name] for name in plain.history_} == plain.history_
    columns = {name for name, entry in MONITORS.items() if name in names and not entry.per_layer}
    columns |= {f"{name}_0" for name, entry in MONITORS.items() if entry.per_layer}
    assert set(history) - set(plain.history_) == {"seconds", *columns}
    assert all(np.isfinite(history[name]).all() and len(history[name]) == 5 for name in history)


@ignores_convergence
def test_plans_stay_long_where_nothing_is_looked_at(monkeypatch, lengths, make_problem):
    X, y = make_problem("regression")
    monkeypatch.setattr("skmlp.training.loop.SECONDS_PER_PLAN", 1e6)
    for params, is_long in [
        ({"max_time": 1e9}, True),
        ({"monitor": "seconds", "min_iter": 5, "restore_best": False}, True),
        ({"monitor": "update_ratio"}, False),
        ({"restore_best": True}, False),
    ]:
        lengths.clear()
        MLPRegressor(max_iter=30, tol=0.0, **SMALL, **params).fit(X, y)
        assert sum(lengths) == 30
        assert (max(lengths) > 5) == is_long, params


# --- Monitors, each by its definition ---


def test_norms_by_their_definitions(make_problem):
    X, y = make_problem("regression")
    weight = np.arange(1.0, 41.0)
    options = {**SMALL, "alpha": 0.5, "solver": "sgd", "momentum": 0.0, "batch_size": 40}
    options |= {"activation": "tanh", "learning_rate_init": 0.1, "max_iter": 1}
    model = MLPRegressor(**options, monitor=["penalty", "gradient_norm", "update_ratio"])
    before = []
    for _ in range(2):
        model.partial_fit(X, y, weight)
        before.append(packed(model))
    history = model.history_
    # A full batch without momentum: the second step is the rate times the first gradient.
    step = np.linalg.norm(before[1] - before[0])
    assert history["gradient_norm"][0] == pytest.approx(step / 0.1, rel=1e-9)
    assert history["update_ratio"][1] == pytest.approx(step / np.linalg.norm(before[0]))
    squares = sum((coef**2).sum() for coef in model.coefs_)
    assert history["penalty"][1] == pytest.approx(0.25 * squares / weight.sum())


def packed(model):
    return np.concatenate([array.ravel() for array in (*model.coefs_, *model.intercepts_)])


@ignores_convergence
def test_the_penalty_is_a_part_of_the_loss(make_problem):
    """With steps too small to change anything, the rest is the loss of the validation."""
    X, y = make_problem("multiclass", n_samples=50)
    model = MLPClassifier((4,), alpha=3.0, batch_size=16, learning_rate_init=1e-12, max_iter=1)
    model.set_params(random_state=0, early_stopping=True, monitor=("penalty", "validation_loss"))
    model.fit(X, y, X_val=X, y_val=y)
    history = {name: column[0] for name, column in model.history_.items()}
    assert history["loss"] == pytest.approx(history["penalty"] + history["validation_loss"])
    assert history["penalty"] > 0.01


def square(z):
    return z * z


def square_derivative(z):
    return 2.0 * z


UNITS = [
    # Intercepts that decide what the units do, and the shares of dead and saturated ones.
    ("relu", [-100.0, 100.0, 100.0], 1 / 3, 1 / 3),
    ("leaky_relu", [-100.0, 100.0, -100.0], 0.0, 0.0),
    ("prelu", [-100.0, 100.0, -100.0], 0.0, 0.0),
    ("tanh", [-100.0, 100.0, 0.0], 2 / 3, 2 / 3),
    ("tanh", [-4.0, 4.0, 0.0], 0.0, 2 / 3),
    ("logistic", [-9.0, 0.0, 0.0], 0.0, 1 / 3),
    ("gelu", [-100.0, 100.0, 100.0], 1 / 3, 1 / 3),
    ("silu", [-20.0, 100.0, 100.0], 0.0, 1 / 3),
    ("identity", [-100.0, 100.0, 0.0], 0.0, 0.0),
    ("maxout", [-100.0] * 6, 0.0, 0.0),
    (Custom(square, square_derivative), [100.0, 1.0, 0.01], 0.0, 1 / 3),
]


@ignores_convergence
@pytest.mark.parametrize(("activation", "intercepts", "dead", "saturated"), UNITS, ids=str)
def test_dead_and_saturated_units(make_problem, activation, intercepts, dead, saturated):
    X, y = make_problem("regression")
    coefs = [np.full((5, len(intercepts)), 1e-3), np.ones((3, 1))]
    init = (coefs, [np.array(intercepts), np.zeros(1)])
    model = MLPRegressor(hidden_layer_sizes=(3,), activation=activation, init=init)
    model.set_params(learning_rate_init=1e-9, max_iter=1, random_state=0)
    model.set_params(monitor=("dead_units", "saturated_units")).fit(X, y)
    assert model.history_["dead_units_0"] == [pytest.approx(dead)]
    assert model.history_["saturated_units_0"] == [pytest.approx(saturated)]


@ignores_convergence
@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
def test_what_deeper_units_are_given(make_problem, normalization):
    """As predictions compute it: their derivative by an intercept is the unit's slope."""
    X, y = make_problem("regression")
    model = MLPRegressor(
        "squared_error", (3, 4), "tanh", normalization=normalization, max_iter=3, random_state=0
    )
    model.fit(30 * X, y)
    epoch = epoch_of(model, 30 * X, y)
    shares = [MONITORS[name].measure(epoch) for name in ("dead_units", "saturated_units")]
    slopes = [1.0 - values**2 for values in hidden_values(model, 30 * X)]
    assert shares[0] == [(s == 0).all(axis=0).mean() for s in slopes]
    assert_allclose(shares[1], [(s < SATURATED).mean() for s in slopes])
    assert normalization or shares[1][0] > 0.3


def epoch_of(model, X, y):
    engine, (network, coefs, intercepts, extras) = CpuEngine(1), as_trained(model)
    data = engine.load(X, y[:, None], None, network, "float64")
    parameters = layout_of(network).pack(coefs, intercepts, float, extras)
    task = type("Task", (), {"network": network, "data": data})
    return Epoch(engine, task, np.arange(len(X)), None, parameters, parameters, None)


def hidden_values(model, X):
    """Return the outputs of both hidden layers, in NumPy."""
    network, coefs, intercepts, vector = as_trained(model)
    extras = named_extras(network, vector)
    values = []
    for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        if layer == 2:
            return values
        z = X @ coef + intercept
        if model.normalization is not None:
            if model.normalization == "batch":
                mean, variance = extras[layer, "mean"], extras[layer, "variance"]
            else:
                mean, variance = z.mean(axis=1)[:, None], z.var(axis=1)[:, None]
            z = extras[layer, "gain"] * (z - mean) / np.sqrt(variance + 1e-5)
            z = z + extras[layer, "shift"]
        X = np.tanh(z)
        values.append(X)


# --- Parts ---


def test_columns_are_extended():
    columns = extended({}, 0, {"a": [1.0, 1.0], "b": [1.0, 2.0], "c": [3.0]}, 2)
    assert columns["a"] == 1.0
    assert_array_equal(columns["b"], [1.0, 2.0])
    assert_array_equal(columns["c"], [3.0, np.nan])
    columns = extended(columns, 2, {"a": [1.0], "d": [4.0]}, 1)
    assert columns["a"] == 1.0
    assert_array_equal(columns["b"], [1.0, 2.0, np.nan])
    assert_array_equal(columns["d"], [np.nan, np.nan, 4.0])
    columns = extended(columns, 3, {"a": [5.0]}, 1)
    assert_array_equal(columns["a"], [1.0, 1.0, 1.0, 5.0])
    assert_array_equal(filled(np.arange(3.0), 2), [0.0, 1.0])


def test_rates_of_plans_are_those_of_the_last_step():
    rates = np.arange(6.0).reshape(2, 3) / 6
    plan = skmlp.engines.base.EpochPlan(np.zeros((2, 9), dtype=np.int64), 0.5, rates)
    assert [plan.last_rate(0), plan.last_rate(1)] == rates[:, -1].tolist()
    assert skmlp.engines.base.EpochPlan(plan.orders, 0.5).last_rate(1) == 0.5


@pytest.mark.parametrize("value", [3, {"a": [1.0]}, {"a": np.ones((2, 2))}, {1: 2.0}, {"a": 1}])
def test_a_history_that_no_fit_leaves_is_refused(make_problem, value):
    X, y = make_problem("regression")
    model = MLPRegressor(**SMALL).partial_fit(X, y)
    model._history = value
    with pytest.raises(ValueError, match="_history must be the columns of the history"):
        model.partial_fit(X, y)
