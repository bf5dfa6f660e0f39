"""Exponential averages of weights: what the model has, and what training goes on from."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from engine_checks import head_of, make_layer, make_network, make_problem, make_task
from numpy.testing import assert_allclose, assert_array_equal

from skmlp import MLPClassifier
from skmlp._splitting import split_rows
from skmlp.engines.base import Averages, EpochPlan
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.parameters import layout_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ENGINES = {"reference": ReferenceEngine, "cpu": lambda: CpuEngine(1)}
# With learned numbers, intercepts before nothing and running statistics.
NETWORK = make_network(
    4,
    [make_layer("prelu", 9), make_layer("tanh", 5, normalization="batch")],
    [head_of(("log_loss", "softmax"), 3)],
)
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
Y = np.where(X[:, 0] + X[:, 1] ** 2 > 1, "yes", "no")


def model_of(**parameters):
    parameters = {"hidden_layer_sizes": (5,), "max_iter": 4, "batch_size": 16, **parameters}
    return MLPClassifier(random_state=0, learning_rate_init=0.01, **parameters)


def weights_of(model):
    arrays = [*model.coefs_, *model.intercepts_, model._extras]
    return np.concatenate([array.ravel() for array in arrays])


# --- Engines ---


def steps(engine_name, ema_decay, dtype="float64"):
    """Return a run after five steps, and its parameters after each of them."""
    engine = ENGINES[engine_name]()
    problem = make_problem(NETWORK, 12)
    run = engine.start(
        [make_task(engine, NETWORK, problem, dtype=dtype, ema_decay=ema_decay, batch_size=12)]
    )
    course = []
    for _ in range(5):
        run.advance([EpochPlan(np.arange(12)[None], 0.05)])
        course.append(run.parameters(0))
    return run, np.array(course)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ema_decay", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("engine_name", ENGINES)
def test_averages_are_weighted_means_of_all_steps(engine_name, ema_decay, dtype):
    run, course = steps(engine_name, ema_decay, dtype)
    weights = ema_decay ** np.arange(4.0, -1, -1)
    expected = weights @ course / weights.sum()
    untrained = layout_of(NETWORK).trained_size
    expected[untrained:] = course[-1][untrained:]
    averages, state = run.averages(0), run.optimizer_state(0, 0.05)
    assert_allclose(averages, expected, rtol=0, atol=1e-14 if dtype == "float64" else 1e-6)
    assert_array_equal(state.averages.values, averages)
    assert state.averages.weight == pytest.approx(weights.sum())
    if ema_decay == 0.0:
        assert_array_equal(averages, course[-1])


@pytest.mark.parametrize("engine_name", ENGINES)
def test_averages_change_no_step(engine_name):
    plain, averaged = steps(engine_name, None), steps(engine_name, 0.5)
    assert_array_equal(averaged[1], plain[1])
    assert plain[0].averages(0) is None
    assert plain[0].optimizer_state(0, 0.05).averages is None


@pytest.mark.parametrize("engine_name", ENGINES)
def test_before_the_first_step_averages_are_what_the_fit_begins_with(engine_name):
    engine, problem = ENGINES[engine_name](), make_problem(NETWORK, 12)
    weightless = (*problem[:2], np.zeros(12))
    task = make_task(engine, NETWORK, weightless, ema_decay=0.5)
    run = engine.start([task])
    for _ in range(2):
        assert_array_equal(run.averages(0), task.parameters)
        run.advance([EpochPlan(np.arange(12)[None], 0.05)])


def test_a_task_has_all_the_numbers_of_its_optimizer():
    task = make_task(CpuEngine(1), NETWORK, make_problem(NETWORK, 12), solver="nadam")
    with pytest.raises(ValueError, match="nadam carries 1 numbers from step to step, got 0"):
        replace(task, optimizer_state=replace(task.optimizer_state, numbers=()))


# --- Estimators ---


def test_the_model_has_the_averages_and_learns_as_without():
    plain, averaged = model_of().fit(X, Y), model_of(ema_decay=0.9).fit(X, Y)
    assert averaged.loss_curve_ == plain.loss_curve_
    assert_array_equal(averaged._state.raw, weights_of(plain))
    assert_array_equal(averaged._state.optimizer.averages.values, weights_of(averaged))
    assert np.abs(weights_of(averaged) - weights_of(plain)).max() > 1e-3
    assert plain._state.raw is None
    assert_array_equal(weights_of(model_of(ema_decay=0.0).fit(X, Y)), weights_of(plain))


def test_early_stopping_scores_and_keeps_averages():
    options = {"early_stopping": True, "validation_fraction": 0.3, "ema_decay": 0.9}
    # Given weights are not drawn: the split is the first draw.
    begin = model_of(max_iter=1).fit(X, Y)
    options["init"] = begin.coefs_, begin.intercepts_
    _, held_out = split_rows(60, 0.3, np.random.RandomState(0), Y)
    model = model_of(**options, max_iter=30, n_iter_no_change=30).fit(X, Y)
    scores = model.validation_scores_
    assert model.best_validation_score_ == max(scores) > min(scores)
    assert model.best_validation_score_ == pytest.approx(model.score(X[held_out], Y[held_out]))
    assert_array_equal(model._state.optimizer.averages.values, weights_of(model))
    first = model_of(**options, max_iter=1 + int(np.argmax(scores))).fit(X, Y)
    assert_array_equal(weights_of(model), weights_of(first))
    assert_array_equal(model._state.raw, first._state.raw)


def test_training_goes_on_without_averages_from_where_it_was():
    plain = model_of(warm_start=True).fit(X, Y)
    model = model_of(warm_start=True, ema_decay=0.9).fit(X, Y).set_params(ema_decay=None)
    assert_array_equal(weights_of(model.fit(X, Y)), weights_of(plain.fit(X, Y)))
    # And averaging begins with the steps that are asked to be averaged.
    averaged = pickle.loads(pickle.dumps(model)).set_params(ema_decay=0.0)
    assert_array_equal(weights_of(averaged.fit(X, Y)), weights_of(model.fit(X, Y)))


@pytest.mark.parametrize("in_place", [False, True])
def test_assigned_weights_are_gone_on_from(in_place):
    averaged, plain = model_of(ema_decay=0.0).fit(X, Y), model_of().fit(X, Y)
    averaged.set_params(ema_decay=0.5)
    for model in (averaged, plain):
        if in_place:
            model.coefs_[0][0, 0] = 0.25
        else:
            model.coefs_ = [np.full_like(coef, 0.25) for coef in model.coefs_]
        model.partial_fit(X, Y)
    assert averaged.loss_curve_ == plain.loss_curve_
    assert averaged._state.optimizer.averages.weight == pytest.approx(2 - 0.5**3)


def test_another_solver_begins_with_what_the_model_has():
    model = model_of(ema_decay=0.9).fit(X, Y)
    other = model_of(init=(model.coefs_, model.intercepts_), solver="sgd", shuffle=False)
    model.set_params(solver="sgd", shuffle=False, warm_start=True, ema_decay=None)
    assert_array_equal(weights_of(model.fit(X, Y)), weights_of(other.fit(X, Y)))


def test_a_model_of_an_earlier_version_resumes():
    """Its state had neither numbers nor averages."""
    model, twin = model_of().fit(X, Y), model_of().fit(X, Y)
    state = pickle.loads(pickle.dumps(model.__getstate__()))
    for name in ("numbers", "averages"):
        del state["_state"]["optimizer"][name]
    del state["_state"]["schedule"]["momentum"]
    model.__setstate__(state)
    for each in (model, twin):
        each.partial_fit(X, Y)
    assert_array_equal(weights_of(model), weights_of(twin))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("raw", np.ones((3, 2))),
        ("raw", np.full(31, np.nan)),
        ("raw", [1.0]),
        ("averages", Averages(np.ones((3, 2)), 1.0)),
        ("averages", Averages(np.ones(3), -1.0)),
        ("averages", Averages(np.ones(3), np.nan)),
        ("averages", np.ones(3)),
        ("numbers", ()),
        ("numbers", (np.inf,)),
        ("numbers", (1.0, 1.0)),
        ("numbers", [1.0]),
    ],
    ids=str,
)
def test_edited_states_are_refused(name, value, fitted_state):
    model = model_of(solver="nadam", ema_decay=0.9).fit(X, Y)
    if name == "raw":
        model._state = replace(model._state, raw=value)
    else:
        optimizer = replace(model._state.optimizer, **{name: value})
        model._state = replace(model._state, optimizer=optimizer)
    before = fitted_state(model)
    with pytest.raises(ValueError, match=r"Cannot resume: _state\.(raw|optimizer) must be"):
        model.partial_fit(X, Y)
    assert fitted_state(model) == before


def with_averages(state, averages):
    return replace(state, optimizer=replace(state.optimizer, averages=averages))


@pytest.mark.parametrize("name", ["raw", "averages"])
def test_averages_of_another_network_are_left_alone(name):
    model, twin = model_of(ema_decay=0.9).fit(X, Y), model_of(ema_decay=0.9).fit(X, Y)
    if name == "raw":
        model._state = replace(model._state, raw=np.ones(3))
    else:
        model._state = with_averages(model._state, Averages(np.ones(3), 1.0))
    twin._state = with_averages(twin._state, None)
    for each in (model, twin):
        each.partial_fit(X, Y)
    assert_array_equal(weights_of(model), weights_of(twin))


def test_precisions_may_change():
    model = model_of(ema_decay=0.9, dtype="float32").fit(X, Y)
    raw = model._state.raw
    model.set_params(dtype="float64", ema_decay=None, learning_rate_init=1e-12).partial_fit(X, Y)
    assert_allclose(weights_of(model), raw, rtol=1e-6)
