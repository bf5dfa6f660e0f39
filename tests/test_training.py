"""The epoch loop: patience, schedules, divergence and interruption, whatever the engine."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle

import skmlp._base
from skmlp import MLPClassifier, MLPRegressor
from skmlp._splitting import split_rows
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.initializers import draw_uniform
from skmlp.network.parameters import ParameterLayout
from skmlp.training import interrupts
from skmlp.training.ordering import RowOrder
from skmlp.training.schedules import Schedule
from skmlp.training.stopping import Patience


def test_patience_counts_epochs_without_improvement():
    patience = Patience(0.1, 2, higher_is_better=False, best=np.inf)
    seen = [(patience.update(loss), patience.count) for loss in (1.0, 0.95, 0.8, 0.79, 0.78, 0.77)]
    # 0.95 is the best so far but no improvement by tol; 0.8 improves on 0.95.
    assert seen == [(True, 0), (True, 1), (True, 0), (True, 1), (True, 2), (True, 3)]
    assert patience.is_exhausted
    assert patience.best == 0.77


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_patience_never_runs_out_before_the_epochs_it_promises(higher_is_better):
    rng = np.random.default_rng(0)
    for limit in (1, 3, 10):
        sign = 1 if higher_is_better else -1
        patience = Patience(0.01, limit, higher_is_better=higher_is_better, best=-sign * np.inf)
        while not patience.is_exhausted:
            for epochs_left in reversed(range(patience.epochs_left)):
                assert not patience.is_exhausted
                patience.update(rng.normal())
                assert epochs_left == 0 or not patience.is_exhausted


def test_infinite_patience():
    patience = Patience(1e9, np.inf, higher_is_better=False, best=np.inf)
    for loss in range(1000):
        patience.update(float(loss))
    assert patience.count == 999
    assert not patience.is_exhausted
    assert patience.epochs_left > 10**6


def test_schedules():
    invscaling = Schedule("invscaling", 0.5, power_t=0.25)
    assert invscaling.after_epoch(0.1, 15) == pytest.approx(0.5 / 16**0.25)
    assert invscaling.after_plateau(0.1) is None
    adaptive = Schedule("adaptive", 0.5)
    assert adaptive.after_epoch(0.1, 15) == 0.1
    assert adaptive.after_plateau(0.1) == pytest.approx(0.02)
    assert adaptive.after_plateau(1e-6) is None
    assert Schedule("constant", 0.5).after_plateau(0.1) is None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_estimator_on_the_reference_engine(monkeypatch, make_problem, solver, early_stopping):
    """The training code is the same for every engine; only the arithmetic differs."""
    X, y = make_problem("multiclass")
    options = {"solver": solver, "early_stopping": early_stopping, "learning_rate": "adaptive"}
    options |= {"validation_fraction": 0.3, "batch_size": 7, "max_iter": 15, "random_state": 0}
    fast = MLPClassifier((6,), **options).fit(X, y)
    monkeypatch.setattr(skmlp._base, "make_engine", lambda n_jobs: ReferenceEngine())
    slow = MLPClassifier((6,), **options).fit(X, y)
    assert fast.n_iter_ == slow.n_iter_
    assert fast.loss_ == pytest.approx(slow.loss_, rel=1e-9)
    for fast_coef, slow_coef in zip(fast.coefs_, slow.coefs_, strict=True):
        assert_allclose(fast_coef, slow_coef, rtol=1e-6, atol=1e-9)
    if solver != "lbfgs":
        assert_allclose(fast.loss_curve_, slow.loss_curve_, rtol=1e-9)
        assert fast.validation_scores_ == slow.validation_scores_


def test_second_interrupt_soon_after_is_not_swallowed(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])
    policy = interrupts.InterruptPolicy()
    assert policy.ends_only_this_fit()
    now[0] += 60.0
    assert policy.ends_only_this_fit()
    now[0] += 1.0
    assert not policy.ends_only_this_fit()


class InterruptedEngine(ReferenceEngine):
    """Presses Ctrl-C in the second call of `advance`."""

    def start(self, tasks):
        run = super().start(tasks)
        advance, calls = run.advance, []

        def interrupted(plans):
            calls.append(None)
            if len(calls) > 1:
                raise KeyboardInterrupt
            return advance(plans)

        run.advance = interrupted
        return run

    def loss_and_gradient(self, *args, **options):
        self.evaluations = getattr(self, "evaluations", 0) + 1
        if self.evaluations > 200:
            raise KeyboardInterrupt
        return super().loss_and_gradient(*args, **options)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_interrupted_fit_leaves_a_usable_model(monkeypatch, make_problem, solver):
    monkeypatch.setattr(interrupts, "POLICY", interrupts.InterruptPolicy())
    monkeypatch.setattr("skmlp.training.loop.POLICY", interrupts.InterruptPolicy())
    monkeypatch.setattr("skmlp.training.lbfgs.POLICY", interrupts.InterruptPolicy())
    monkeypatch.setattr(skmlp._base, "make_engine", lambda n_jobs: InterruptedEngine())
    X, y = make_problem("regression")
    model = MLPRegressor(
        "squared_error", (4,), solver=solver, batch_size=20, tol=0, max_iter=5000, random_state=0
    )
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, y)
    assert 0 < model.n_iter_ < 5000
    assert np.isfinite(model.loss_)
    assert np.isfinite(model.predict(X)).all()

    before = [coef.copy() for coef in model.coefs_]
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    for coef, kept in zip(model.coefs_, before, strict=True):
        assert_array_equal(coef, kept)


def plans_of(monkeypatch, model, X, y):
    """Numbers of epochs the engine was asked for, plan by plan."""
    lengths = []

    class CountingEngine(ReferenceEngine):
        def start(self, tasks):
            run = super().start(tasks)
            advance = run.advance

            def counted(plans):
                lengths.append(len(plans[0].orders))
                return advance(plans)

            run.advance = counted
            return run

    monkeypatch.setattr(skmlp._base, "make_engine", lambda n_jobs: CountingEngine())
    model.fit(X, y)
    return lengths


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_plans_are_long_for_small_data_and_short_for_a_listener(monkeypatch, make_problem, capsys):
    X, y = make_problem("regression")
    monkeypatch.setattr("skmlp.training.loop.SECONDS_PER_PLAN", 1e6)
    model = MLPRegressor("squared_error", (4,), max_iter=30, tol=0.0, random_state=0)
    lengths = plans_of(monkeypatch, model, X, y)
    assert sum(lengths) == model.n_iter_ == 30
    assert lengths[0] == 1
    assert max(lengths) == 11
    # Whoever asks for progress wants each line when it is true.
    assert set(plans_of(monkeypatch, model.set_params(verbose=True), X, y)) == {1}
    assert capsys.readouterr().out.count("Iteration") == 30
    # No plan outlasts the time after which an interrupt should lose nothing.
    monkeypatch.setattr("skmlp.training.loop.SECONDS_PER_PLAN", 1e-12)
    assert set(plans_of(monkeypatch, model.set_params(verbose=False), X, y)) == {1}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_optimizer_state_does_not_survive_another_solver(make_problem):
    X, y = make_problem("regression")
    options = {"hidden_layer_sizes": (4,), "warm_start": True, "shuffle": False, "max_iter": 3}
    model = MLPRegressor(random_state=0, **options).fit(X, y)
    model.set_params(solver="lbfgs").fit(X, y)
    fresh = MLPRegressor(random_state=0, **options).fit(X, y)
    fresh.coefs_, fresh.intercepts_ = model.coefs_, model.intercepts_
    del fresh._optimizer
    model.set_params(solver="adam").fit(X, y)
    fresh.fit(X, y)
    assert model._optimizer.step == fresh._optimizer.step
    for coef, expected in zip(model.coefs_, fresh.coefs_, strict=True):
        assert_array_equal(coef, expected)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.PCG64, np.random.Philox])
def test_any_bit_generator_can_be_resumed(make_problem, generator):
    X, y = make_problem("regression")
    options = {"hidden_layer_sizes": (4,), "batch_size": 7, "max_iter": 5}
    whole = MLPRegressor(random_state=np.random.RandomState(generator(0)), **options).fit(X, y)
    pieces = MLPRegressor(random_state=np.random.RandomState(generator(0)), **options)
    for _ in range(5):
        pieces.partial_fit(X, y)
    for coef, expected in zip(pieces.coefs_, whole.coefs_, strict=True):
        assert_array_equal(coef, expected)


def test_weights_only_on_one_side_of_the_split(make_problem):
    X, y = make_problem("regression")
    model = MLPRegressor(early_stopping=True, validation_fraction=0.5, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.set_params(max_iter=1).fit(X, y)
    generator = np.random.RandomState(0)
    draw_uniform(ParameterLayout((5, 100, 1)), "relu", generator, np.float64)
    train, held_out = split_rows(len(X), 0.5, generator, None)
    for rows in (train, held_out):
        weight = np.zeros(len(X))
        weight[rows] = 1.0
        with pytest.raises(ValueError, match="sample_weight is zero for all samples"):
            model.fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("n_rows", [1, 2, 7, 300])
def test_row_orders_are_compositions_of_shuffles(n_rows):
    """However many are drawn at once, and wherever the model is pickled between."""
    ours, theirs = np.random.RandomState(3), np.random.RandomState(3)
    row_order, order = RowOrder(n_rows, ours), np.arange(n_rows)
    for n_epochs in (1, 4, 2, 3):
        drawn = row_order.draw(n_epochs, ours)
        assert drawn.dtype == np.int64
        earlier = drawn.copy()
        for epoch in range(n_epochs):
            order = shuffle(order, random_state=theirs)
            assert_array_equal(drawn[epoch], order)
        branch = row_order.branch()
        row_order.draw(1, np.random.RandomState(0))  # neither the branch nor the orders change
        assert_array_equal(drawn, earlier)
        row_order = pickle.loads(pickle.dumps(branch)) if n_epochs == 2 else branch
    assert_array_equal(ours.get_state()[1], theirs.get_state()[1])
