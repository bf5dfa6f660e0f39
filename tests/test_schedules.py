"""Schedules: each against its formula written out, and what follows one in a fit."""

import math
import re
import warnings
from fractions import Fraction

import numpy as np
import pytest
from engine_checks import (
    assert_same_run,
    head_of,
    make_layer,
    make_network,
    make_plan,
    make_problem,
    run_epochs,
)
from estimator_checks import assert_same_weights
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skmlp import MLPClassifier, MLPRegressor, schedules
from skmlp.engines.base import PER_BATCH
from skmlp.engines.cpu import CpuEngine
from skmlp.optimizers import AdamW
from skmlp.schedules import CosineRestarts, FlatCos, OneCycle, Plateau, Step
from skmlp.training.schedules import BY_STEPS, SCHEDULES, Factors, Schedule, steps_of
from skmlp.training.stopping import Patience

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0, "batch_size": 16}
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
Y = np.where(X[:, 0] + X[:, 1] ** 2 > 1, "yes", "no")
N_STEPS = 6 * 4  # batches of 16 of 60 samples
PROGRESS = np.arange(N_STEPS) / N_STEPS


def fitted(**parameters):
    return MLPClassifier(**{**QUICK, **parameters}).fit(X, Y)


# --- Formulas ---


def half_wave(part, final):
    return final + (1 - final) * (1 + math.cos(math.pi * part)) / 2


def risen(p, warmup, then):
    return p / warmup if p < warmup else then((p - warmup) / (1 - warmup))


def restarts(p, e, cycles, growth, final):
    growth = Fraction(growth)
    begin, length = 0, 1 / sum(growth**i for i in range(int(cycles)))
    while p >= begin + length:
        begin, length = begin + length, length * growth
    return half_wave((p - begin) / length, final)


def one_cycle(p, e, rise, start, final):
    if p < rise:
        return start + (1 - start) * math.sin(math.pi / 2 * p / rise) ** 2
    return half_wave((p - rise) / (1 - rise), final)


# One step at a time: progress, number of the epoch, constants.
INDEPENDENT = {
    "step": lambda p, e, every, factor: factor ** math.floor(e / every),
    "exponential": lambda p, e, final: math.exp(math.log(final) * p),
    "polynomial": lambda p, e, power, warmup, final: risen(
        p, warmup, lambda q: (1 - final) * (1 - q) ** power + final
    ),
    "cosine": lambda p, e, warmup, final: risen(p, warmup, lambda q: half_wave(q, final)),
    "cosine_restarts": restarts,
    "one_cycle": one_cycle,
    "flat_cos": lambda p, e, flat, final: (
        1 if p < flat else half_wave((p - flat) / (1 - flat), final)
    ),
    "coslog4": lambda p, e: math.sin(math.pi * math.log(1 + 15 * p, 2)) ** 2,
    "inverse_sqrt": lambda p, e, warmup: min(p / warmup, math.sqrt(warmup / p)) if p else 0.0,
}
OTHERS = {
    "step": [(1.0, 0.5), (7.0, 0.25)],
    "exponential": [(1.0,), (1e-6,)],
    "polynomial": [(2.0, 0.0, 0.1), (0.5, 0.3, 0.0)],
    "cosine": [(0.3, 0.2), (0.999, 1.0)],
    "cosine_restarts": [(1.0, 3.0, 0.0), (5.0, 1.0, 0.1), (4.0, 1.5, 0.0), (12.0, 3.0, 0.0)],
    "one_cycle": [(0.5, 0.0, 0.0), (0.01, 1.0, 0.5)],
    "flat_cos": [(0.0, 0.0), (0.72, 0.25)],
    "inverse_sqrt": [(0.02,), (0.9,)],
}


def test_every_schedule_by_steps_is_compared():
    assert set(INDEPENDENT) == set(BY_STEPS)
    assert set(OTHERS) == {name for name in BY_STEPS if SCHEDULES[name].constants}


@pytest.mark.parametrize("name", BY_STEPS)
@pytest.mark.parametrize(("max_iter", "n_batches"), [(1, 1), (7, 3), (40, 5)])
def test_formulas(name, max_iter, n_batches):
    defaults = tuple(constant.default for constant in SCHEDULES[name].constants)
    n_steps, steps = max_iter * n_batches, steps_of(0, max_iter, n_batches, max_iter)
    for constants in (defaults, *OTHERS.get(name, [])):
        factors = Factors("learning_rate", name, constants).of(steps)
        expected = [
            [
                INDEPENDENT[name](Fraction(e * n_batches + i, n_steps), e, *constants)
                for i in range(n_batches)
            ]
            for e in range(max_iter)
        ]
        assert_allclose(factors, expected, atol=1e-9)
        assert factors.min() >= 0
        assert factors.max() <= 1
        # Plans of any length say the same.
        for epoch in range(max_iter):
            own = Factors("learning_rate", name, constants).of(
                steps_of(epoch, 1, n_batches, max_iter)
            )
            assert_array_equal(own[0], factors[epoch])


def rates_of_torch(n_steps, make, per_epoch=1):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for step in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % per_epoch == per_epoch - 1:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("name", "constants", "make", "per_epoch"),
    [
        ("step", (3, 0.5), lambda s, o: s.StepLR(o, 3, 0.5), 4),
        ("exponential", (0.01,), lambda s, o: s.ExponentialLR(o, 0.01 ** (1 / 40)), 1),
        ("polynomial", (2.0, 0.0, 0.0), lambda s, o: s.PolynomialLR(o, 40, 2.0), 1),
        ("polynomial", (1.0, 0.0, 0.1), lambda s, o: s.LinearLR(o, 1.0, 0.1, 40), 1),
        ("cosine", (0.0, 0.1), lambda s, o: s.CosineAnnealingLR(o, 40, 0.1), 1),
        (
            "cosine_restarts",
            (2.0, 3.0, 0.1),
            lambda s, o: s.CosineAnnealingWarmRestarts(o, 10, 3, 0.1),
            1,
        ),
        (
            "one_cycle",
            (0.3, 0.04, 4e-6),  # there both phases end one step before what they are said to
            lambda s, o: s.OneCycleLR(o, 1.0, total_steps=41, pct_start=13 / 41),
            1,
        ),
    ],
)
def test_those_of_torch(name, constants, make, per_epoch):
    steps = steps_of(0, 10, 4, 10)
    factors = Factors("learning_rate", name, constants).of(steps)
    assert_allclose(factors.ravel(), rates_of_torch(40, make, per_epoch), rtol=1e-6, atol=1e-9)


def test_plateau_is_that_of_torch():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    rng = np.random.default_rng(1)
    schedule = Schedule("plateau", 1.0, constants=(0.5, 2.0, 0.01))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, threshold=0.05, threshold_mode="abs", min_lr=0.01
    )
    patience = Patience(0.05, np.inf, higher_is_better=False, best=np.inf)
    rate, rates = 1.0, []
    best = np.inf
    for epoch in range(60):
        # No improvement that is less than the tolerance: there torch keeps the old best.
        loss = best - 0.2 if rng.random() < 0.15 else min(best + rng.random(), 1e9)
        loss = 10.0 if epoch == 0 else loss
        best = min(best, loss)
        patience.update(loss)
        ahead = schedule.epochs_ahead(patience.count)
        rate = schedule.after_epoch(rate, 1, patience.count)
        theirs.step(loss)
        rates.append(rate)
        assert rate == optimizer.param_groups[0]["lr"]
        assert 1 <= ahead <= 3
    assert len(set(rates)) > 4


# --- In fits ---


def of_all(plans, name):
    return np.concatenate([getattr(plan, name) for plan in plans]).reshape(-1)


@pytest.mark.parametrize("name", BY_STEPS)
def test_three_numbers_follow_a_schedule(plans, name):
    constants = tuple(constant.default for constant in SCHEDULES[name].constants)
    fitted(
        learning_rate=name,
        learning_rate_init=0.01,
        dropout=0.4,
        dropout_schedule=name,
        weight_decay=0.1,
        weight_decay_schedule=schedules.OBJECTS[name]() if name in schedules.OBJECTS else name,
    )
    formula = INDEPENDENT[name]
    expected = [formula(Fraction(i, N_STEPS), i // 4, *constants) for i in range(N_STEPS)]
    assert_allclose(of_all(plans, "rates"), 0.01 * np.array(expected), atol=1e-12)
    assert_allclose(of_all(plans, "decays"), expected, atol=1e-9)
    assert_allclose(of_all(plans, "dropouts"), expected, atol=1e-9)


def test_one_cycle_moves_the_momentum(plans):
    fitted(learning_rate=OneCycle(0.4, momentum=(0.95, 0.8)))
    expected = [0.95 - 0.15 * one_cycle(Fraction(i, N_STEPS), 0, 0.4, 0, 0) for i in range(N_STEPS)]
    assert_allclose(of_all(plans, "momenta"), expected, atol=1e-12)
    assert expected[0] == 0.95
    fitted(learning_rate="one_cycle")
    assert plans[-1].momenta is None


@pytest.mark.parametrize(("solver", "name"), [("sgd", "momentum"), ("nadam", "beta_1")])
def test_a_momentum_that_stays_is_that_of_the_solver(solver, name):
    still = fitted(solver=solver, learning_rate="one_cycle", **{name: 0.7})
    moved = fitted(solver=solver, learning_rate=OneCycle(momentum=(0.7, 0.7)))
    assert_same_weights(moved, still)
    other = fitted(solver=solver, learning_rate=OneCycle(momentum=(0.7, 0.6)))
    assert (other.coefs_[0] != still.coefs_[0]).all()


def test_a_function_may_take_epochs_and_steps(plans):
    seen = []

    def function(progress, epoch, step):
        seen.append((progress, epoch, step))
        return np.where(epoch < 2, 1.0, 1.0 / (1.0 + step))

    fitted(learning_rate=function, dropout=0.2, dropout_schedule=lambda p, other=1: 1 - p)
    steps = np.arange(N_STEPS)
    for own, expected in zip(zip(*seen, strict=True), (PROGRESS, steps // 4, steps), strict=True):
        assert_array_equal(np.concatenate(own), expected)
    expected = 0.001 * np.where(steps < 8, 1.0, 1 / (1 + steps))
    assert_allclose(of_all(plans, "rates"), expected, rtol=1e-12)
    assert_allclose(of_all(plans, "dropouts"), 1 - PROGRESS)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_plateau(plans, early_stopping, capsys):
    """With a tolerance that nothing improves by, once the first epoch has."""
    options = {"tol": 10.0, "max_iter": 30, "early_stopping": early_stopping, "solver": "lion"}
    schedule = Plateau(factor=0.5, patience=1, minimum=0.2)
    model = fitted(learning_rate=schedule, n_iter_no_change=7, **options)
    assert model.n_iter_ == 9
    rates = np.concatenate([[plan.learning_rate] * len(plan.orders) for plan in plans])
    assert_allclose(rates, 0.001 * np.array([1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]))
    assert all(plan.rates is None for plan in plans)
    fitted(learning_rate=schedule, n_iter_no_change=7, **options, verbose=True)
    said = [line for line in capsys.readouterr().out.splitlines() if "No improvement" in line]
    assert [line.split()[-1] for line in said] == ["0.000500", "0.000250", "0.000200"]


def test_plateau_goes_on_in_pieces():
    options = {"learning_rate": Plateau(0.5, 1), "tol": 10.0, "n_iter_no_change": 100}
    whole = fitted(**options)
    pieces = MLPClassifier(**QUICK, **options)
    for _ in range(6):
        pieces.partial_fit(X, Y, classes=["no", "yes"])
    assert_same_weights(pieces, whole)
    assert pieces._state.optimizer.learning_rate == whole._state.optimizer.learning_rate < 0.001


def test_factors_of_weight_decay_and_dropout():
    def half(progress):
        return np.full(len(progress), 0.5)

    options = {"weight_decay": 0.5, "dropout": (0.4,), "input_dropout": 0.2}
    plain = fitted(**options)
    ones = {"dropout_schedule": np.ones_like, "weight_decay_schedule": np.ones_like}
    assert_same_weights(fitted(**options, **ones), plain)
    halves = fitted(**options, dropout_schedule=half, weight_decay_schedule=half)
    assert_same_weights(fitted(weight_decay=0.25, dropout=0.2, input_dropout=0.1), halves)
    nothing = {"dropout_schedule": np.zeros_like, "weight_decay_schedule": np.zeros_like}
    assert_same_weights(fitted(**options, **nothing), fitted())
    own = fitted(solver=AdamW(weight_decay=0.5), weight_decay_schedule=half)
    assert_same_weights(own, fitted(solver=AdamW(weight_decay=0.25)))


@pytest.mark.usefixtures("always_parallel")
@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize(("units", "batch_size"), [(300, 20), (20, 130)])
def test_threads_drop_alike(units, batch_size, density):
    layers = [make_layer("relu", units, 0.3), make_layer("maxout", 9, 0.2)]
    network = make_network(6, layers, [head_of(("squared_error", "identity"), 1)], 0.2)
    problem = make_problem(network, 130, density=density)
    plan = make_plan(130, n_epochs=2, batch_size=batch_size, per_batch=PER_BATCH)
    runs = [
        run_epochs(CpuEngine(n), network, problem, plan, batch_size=batch_size, weight_decay=0.1)
        for n in (1, 2, 3)
    ]
    for run in runs[1:]:
        assert_same_run(run, runs[0])


# --- What is refused, and what is said ---


def without_addresses(value):
    """Return a name of a case that is the same in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"learning_rate": lambda: 1}, r"must take the steps' progress, or progress, epoch and"),
        ({"learning_rate": lambda p, e: p}, "must take the steps' progress, or progress, epoch"),
        ({"dropout_schedule": lambda p, *, e: p, "dropout": 0.1}, "but takes .p, .*, e."),
        (
            {"dropout_schedule": lambda p: 2 + p, "dropout": 0.4},
            r"dropout_schedule=.*returned .*times 0\.4 is not less than one.*or lower dropout",
        ),
        (
            {"weight_decay_schedule": lambda p: -p - 1, "weight_decay": 0.1},
            "weight_decay_schedule=.*with which weight_decay is multiplied",
        ),
        ({"dropout_schedule": "plateau"}, "'dropout_schedule' parameter"),
        ({"dropout_schedule": Plateau()}, "'dropout_schedule' parameter"),
        ({"weight_decay_schedule": "adaptive"}, "'weight_decay_schedule' parameter"),
        ({"weight_decay_schedule": FlatCos(flat=1.0)}, "'flat' parameter of weight_decay_schedule"),
        ({"learning_rate": Step(every=0.5)}, "'every' parameter of learning_rate=Step"),
        ({"learning_rate": CosineRestarts(growth=0.5)}, "'growth' parameter"),
        ({"learning_rate": Plateau(patience=-1)}, "'patience' parameter"),
        ({"learning_rate": FlatCos}, "FlatCos is a class"),
        ({"learning_rate": OneCycle(momentum=(0.9,))}, "'momentum' parameter of learning_rate"),
        ({"learning_rate": OneCycle(momentum=(0.9, 1.0))}, "'momentum' parameter of learning_rate"),
        (
            {"learning_rate": OneCycle(momentum=(0.9, 0.8)), "solver": "adagrad"},
            r"solver='adagrad' has none .*Set learning_rate__momentum=None, or use one of 'sgd', ",
        ),
        (
            {"dropout_schedule": OneCycle(momentum=(0.9, 0.8)), "dropout": 0.1},
            r"dropout_schedule=OneCycle.* cannot move .*Set dropout_schedule__momentum=None",
        ),
    ],
    ids=without_addresses,
)
def test_what_is_refused(parameters, message, fitted_state):
    model = fitted(warm_start=True)
    before = fitted_state(model)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        model.set_params(**parameters).fit(X, Y)
    assert fitted_state(model) == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"dropout_schedule": "flat_cos"},
            "dropout_schedule='flat_cos' has no effect without d",
        ),
        (
            {"weight_decay_schedule": np.cos},
            "weight_decay_schedule=cos has no effect without w",
        ),
        (
            {"learning_rate": "plateau", "n_iter_no_change": 5},
            "learning_rate='plateau' has no effect with n_iter_no_change=5",
        ),
        (
            {"solver": "lbfgs", "learning_rate": Plateau()},
            r"Plateau\(\) has no effect with solver=",
        ),
        (
            {"solver": "lbfgs", "dropout_schedule": "cosine"},
            "dropout_schedule='cosine' has no effect with solver='lbfgs'",
        ),
    ],
    ids=str,
)
def test_what_has_no_effect_is_said(parameters, message):
    with pytest.warns(UserWarning, match=message):
        fitted(**parameters)


def test_partial_fit_knows_no_end():
    for name, beside in [("dropout", 0.1), ("weight_decay", 0.1)]:
        model = MLPClassifier(**QUICK, **{name: beside, f"{name}_schedule": "cosine"})
        message = f"{name}_schedule='cosine' depends .*{name}_schedule=None and set {name} before"
        with pytest.raises(ValueError, match=message):
            model.partial_fit(X, Y, classes=["no", "yes"])
        assert not hasattr(model, "coefs_")


def test_searches_and_clones_know_them():
    model = MLPRegressor(**QUICK, dropout=0.2, dropout_schedule=FlatCos())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no effect")
        search = GridSearchCV(model, {"dropout_schedule__flat": [0.0, 0.9]}, cv=2).fit(X, X[:, 0])
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0
    assert clone(model).dropout_schedule == FlatCos()
