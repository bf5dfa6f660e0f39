"""The epoch loop: patience, schedules, divergence and interruption, whatever the engine."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from engine_checks import SOLVERS
from estimator_checks import assert_same_weights
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle

import skmlp._base
from skmlp import MLPClassifier, MLPRegressor
from skmlp._splitting import split_rows
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.initializers import draw_uniform
from skmlp.network.permutation import permutation
from skmlp.network.specs import plain_network
from skmlp.training import interrupts
from skmlp.training.ordering import KeyedRowOrder, RowOrder, order_from_plain
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
    assert invscaling.after_epoch(0.1, 15, 0) == pytest.approx(0.5 / 16**0.25)
    assert invscaling.after_plateau(0.1) is None
    adaptive = Schedule("adaptive", 0.5)
    assert adaptive.after_epoch(0.1, 15, 3) == 0.1
    assert adaptive.after_plateau(0.1) == pytest.approx(0.02)
    assert adaptive.after_plateau(1e-6) is None
    assert Schedule("constant", 0.5).after_plateau(0.1) is None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_estimator_on_the_reference_engine(monkeypatch, make_problem, solver, early_stopping):
    """The training code is the same for every engine; only the arithmetic differs."""
    X, y = make_problem("multiclass")
    options = {"solver": solver, "early_stopping": early_stopping, "learning_rate": "adaptive"}
    options |= {"validation_fraction": 0.3, "batch_size": 7, "max_iter": 15, "random_state": 0}
    fast = MLPClassifier((6,), **options).fit(X, y)
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())
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
    """Presses Ctrl-C in the second call of `wait`."""

    def start(self, tasks):
        run = super().start(tasks)
        wait, calls = run.wait, []

        def interrupted():
            calls.append(None)
            if len(calls) > 1:
                raise KeyboardInterrupt
            return wait()

        run.wait = interrupted
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
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: InterruptedEngine())
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
            submit = run.submit

            def counted(index, plan):
                lengths.append(len(plan.orders))
                submit(index, plan)

            run.submit = counted
            return run

    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: CountingEngine())
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
    fresh._state = replace(fresh._state, optimizer=None)
    model.set_params(solver="adam").fit(X, y)
    fresh.fit(X, y)
    assert model._state.optimizer.step == fresh._state.optimizer.step
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
    draw_uniform(
        plain_network((5, 100, 1), "relu", "squared_error", "identity"), generator, np.float64
    )
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
    rows = 3 * np.arange(n_rows)  # as if others were held out
    for n_epochs in (1, 4, 2, 3):
        drawn = row_order.draw(rows, n_epochs, ours)
        assert drawn.dtype == np.int64
        earlier = drawn.copy()
        for epoch in range(n_epochs):
            order = shuffle(order, random_state=theirs)
            assert_array_equal(drawn[epoch], rows[order])
        branch = row_order.branch()
        row_order.draw(
            rows, 1, np.random.RandomState(0)
        )  # neither the branch nor the orders change
        assert_array_equal(drawn, earlier)
        row_order = order_from_plain(branch.as_plain()) if n_epochs == 2 else branch
    assert_array_equal(ours.get_state()[1], theirs.get_state()[1])


@pytest.mark.parametrize("n_rows", [1, 2, 7, 300])
def test_keyed_row_orders_count_epochs(n_rows):
    """However many are drawn at once, and wherever the model is pickled between."""
    generator, twin = np.random.RandomState(3), np.random.RandomState(3)
    row_order, key = KeyedRowOrder(n_rows, generator), int(twin.randint(2**32, dtype=np.int64))
    rows = 3 * np.arange(n_rows)
    epoch = 0
    for n_epochs in (1, 4, 2, 3):
        orders = row_order.draw(rows, n_epochs, generator)
        assert orders.rows is rows
        assert orders.shape == (n_epochs, n_rows)
        for order in orders.explicit():
            assert_array_equal(order, rows[permutation(n_rows, key, epoch)])
            epoch += 1
        branch = row_order.branch()
        row_order.draw(rows, 1, generator)  # the branch does not change
        row_order = order_from_plain(branch.as_plain()) if n_epochs == 2 else branch
    # The key is all that was drawn.
    assert_array_equal(generator.get_state()[1], twin.get_state()[1])
    assert len(pickle.dumps(row_order)) < 300


def test_keyed_row_orders_go_on_with_the_same_rows_and_generator():
    generator = np.random.RandomState(3)
    row_order = KeyedRowOrder(10, generator)
    row_order.rest(generator)
    assert row_order.can_go_on(10, generator)
    assert not row_order.can_go_on(11, generator)
    assert not row_order.can_go_on(10, np.random.RandomState(3))
    generator.random_sample()
    assert not row_order.can_go_on(10, generator)


class DrawingEngine(CpuEngine):
    """Wants to draw the orders of the rows by itself, and keeps every plan it was given."""

    draws_orders = True

    def __init__(self, *_):
        super().__init__()
        self.plans = []

    def start(self, tasks):
        run = super().start(tasks)
        submit = run.submit

        def noted(index, plan):
            self.plans.append(plan)
            submit(index, plan)

        run.submit = noted
        return run


@pytest.fixture
def drawing_engines(monkeypatch):
    """Compute on engines that draw orders by themselves; return the list of all made."""
    made = []

    def make_engine(*_):
        made.append(DrawingEngine())
        return made[-1]

    monkeypatch.setattr(skmlp._base, "make_engine", make_engine)
    return made


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_plans_carry_the_key_of_orders(drawing_engines, make_problem, early_stopping):
    X, y = make_problem("regression")
    options = {"hidden_layer_sizes": (4,), "max_iter": 30, "tol": 0.0, "random_state": 0}
    model = MLPRegressor(early_stopping=early_stopping, **options).fit(X, y)
    [engine] = drawing_engines
    orders = [plan.orders for plan in engine.plans]
    assert len({order.key for order in orders}) == 1
    assert all(order.rows is orders[0].rows for order in orders)
    assert orders[0].rows.dtype == np.int64
    assert len(orders[0].rows) == (36 if early_stopping else 40)
    counted = np.cumsum([0, *(order.n_epochs for order in orders)])
    assert [order.first_epoch for order in orders] == counted[:-1].tolist()
    assert counted[-1] == model.n_iter_

    engine.plans.clear()
    model.set_params(shuffle=False).fit(X, y)
    for plan in drawing_engines[-1].plans:
        assert_array_equal(plan.orders, np.tile(orders[0].rows, (len(plan.orders), 1)))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_orders_that_engines_draw_are_planned_without_limit(
    monkeypatch, drawing_engines, make_problem
):
    X, y = make_problem("regression")
    monkeypatch.setattr("skmlp.training.loop.SECONDS_PER_PLAN", 1e6)
    monkeypatch.setattr("skmlp.training.loop.MAX_PLANNED_ROWS", 80)
    options = {"hidden_layer_sizes": (4,), "max_iter": 30, "tol": 0.0, "random_state": 0}
    longest = []
    for shuffles in (True, False):
        MLPRegressor(shuffle=shuffles, **options).fit(X, y)
        plans = drawing_engines[-1].plans
        longest.append(max(plan.orders.shape[0] for plan in plans))
    assert longest == [30, 2]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", [0, None, "instance"])
@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_fits_in_pieces_resume_keyed_orders(drawing_engines, make_problem, how, seed):
    X, y = make_problem("regression")
    options = {"hidden_layer_sizes": (4,), "batch_size": 7}

    def model(**others):
        np.random.seed(5)
        random_state = np.random.RandomState(5) if seed == "instance" else seed
        return MLPRegressor(random_state=random_state, **options, **others)

    whole = model(max_iter=5).fit(X, y)
    pieces = model(max_iter=1, warm_start=True)
    for _ in range(5):
        (pieces.partial_fit if how == "partial_fit" else pieces.fit)(X, y)
        if seed == 0:
            pieces = pickle.loads(pickle.dumps(pieces))
    assert_same_weights(pieces, whole)
    assert whole.loss_curve_ == pieces.loss_curve_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_another_kind_of_engine_starts_a_new_order(monkeypatch, drawing_engines, make_problem):
    X, y = make_problem("regression")
    options = {"hidden_layer_sizes": (4,), "batch_size": 7, "max_iter": 2, "warm_start": True}
    model = MLPRegressor(random_state=0, **options).fit(X, y)
    key = drawing_engines[-1].plans[0].orders.key
    with monkeypatch.context() as patch:
        patch.setattr(skmlp._base, "make_engine", lambda *_: CpuEngine())
        model.fit(X, y)
        assert isinstance(model._state.row_order, RowOrder)
        step = model._state.optimizer.step
        model.fit(X, y)
        assert model._state.optimizer.step == step + 12, "the optimizer did not go on"
    model.fit(X, y)
    orders = drawing_engines[-1].plans[0].orders
    assert orders.key != key
    assert orders.first_epoch == 0
    assert model.n_iter_ == 2
    assert len(model.loss_curve_) == 8


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_failed_fit_draws_no_key(drawing_engines, make_problem):
    X, y = make_problem("regression")
    options = {"hidden_layer_sizes": (4,), "batch_size": 7, "max_iter": 3, "random_state": 0}
    model = MLPRegressor(warm_start=True, **options).fit(X, y)
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(learning_rate_init=1e300, solver="sgd").fit(X, y)
    model.set_params(learning_rate_init=0.001, solver="adam").fit(X, y)
    whole = MLPRegressor(**{**options, "max_iter": 6}).fit(X, y)
    assert_same_weights(model, whole)
