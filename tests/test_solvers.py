"""Solvers and schedules as users give them: names, objects and functions."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from engine_checks import STOCHASTIC
from estimator_checks import assert_same_weights
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skmlp import MLPClassifier, MLPRegressor, optimizers, schedules
from skmlp._choices import Choice
from skmlp._parameters import PARAMETERS
from skmlp._solvers import optimizer_spec, schedule_of
from skmlp.engines.cpu import CpuEngine
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.optimizers import SGD, Adam, AdamW, Lion, Muon, NAdam, RMSprop
from skmlp.schedules import Cosine, OneCycle
from skmlp.training.schedules import SCHEDULES, Schedule

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0, "batch_size": 16}
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
Y = np.where(X[:, 0] + X[:, 1] ** 2 > 1, "yes", "no")


def classifier(**parameters):
    return MLPClassifier(**{**QUICK, **parameters})


def fitted(**parameters):
    return classifier(**parameters).fit(X, Y)


def differ(model, other):
    return any((a != b).any() for a, b in zip(model.coefs_, other.coefs_, strict=True))


# --- Registries, objects and parameters say the same ---


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_has_an_object_with_its_settings(name):
    entry, choice = OPTIMIZERS[name], optimizers.OBJECTS[name]()
    assert type(choice).__name__ in optimizers.__all__
    params = choice.get_params()
    assert list(params)[: len(entry.settings)] == [setting.name for setting in entry.settings]
    assert [params[setting.name] for setting in entry.settings] == list(entry.defaults)
    assert set(params) - {setting.name for setting in entry.settings} <= {"weight_decay"}
    assert set(choice._parameter_constraints) == set(params)
    choice.check("solver")
    spec = optimizer_spec(MLPClassifier(solver=choice))
    assert (spec.name, spec.settings) == (name, entry.defaults)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimizer_binds_are_parameters_with_its_defaults(name):
    entry = OPTIMIZERS[name]
    for setting in entry.settings:
        if setting.name in entry.binds:
            assert PARAMETERS[setting.name].default == setting.default
            applies_to = PARAMETERS[setting.name].applies_to
            assert all(condition.holds(name) for condition in applies_to)
    assert set(entry.binds) <= {"weight_decay", *(setting.name for setting in entry.settings)}
    assert optimizer_spec(MLPClassifier(solver=name)).settings == entry.defaults


def test_every_schedule_with_constants_has_an_object():
    for name, entry in SCHEDULES.items():
        if not entry.constants:
            continue
        choice = schedules.OBJECTS[name]()
        own = {"momentum": None} if entry.momenta else {}  # no constant of the factors
        assert choice.get_params() == {c.name: c.default for c in entry.constants} | own
        choice.check("learning_rate")
        by_object = schedule_of(MLPClassifier(learning_rate=choice))
        assert by_object == schedule_of(MLPClassifier(learning_rate=name))


@pytest.mark.parametrize(
    ("choice", "name", "flat"),
    [
        (SGD(0.5, False), "sgd", {"momentum": 0.5, "nesterovs_momentum": False}),
        (Adam(0.5, 0.9, 1e-3), "adam", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
        (AdamW(beta_1=0.5), "adamw", {"beta_1": 0.5, "weight_decay": 0.01}),
        (AdamW(weight_decay=2.0), "adam", {"weight_decay": 2.0}),
        (NAdam(beta_1=0.5, epsilon=1e-3), "nadam", {"beta_1": 0.5, "epsilon": 1e-3}),
        (Muon(beta_2=0.5), "muon", {"beta_2": 0.5}),
        (RMSprop(), "rmsprop", {"momentum": 0.5, "epsilon": 0.1}),
        (Lion(), "lion", {}),
        # Of no meaning to Lion, as to every solver without it.
        (Lion(), "lion", {"beta_1": 0.5}),
    ],
    ids=repr,
)
def test_an_object_is_the_name_with_its_parameters(choice, name, flat):
    by_object, by_name = fitted(solver=choice), fitted(solver=name, **flat)
    assert_same_weights(by_object, by_name)
    assert by_object.loss_curve_ == by_name.loss_curve_


def test_parameters_of_objects_matter():
    for choice, other in [
        (Lion(0.9), Lion(0.1)),
        (Lion(0.9, 0.99), Lion(0.9, 0.1)),
        (AdamW(), AdamW(weight_decay=0.0)),
        (NAdam(), NAdam(momentum_decay=1.0)),
        (RMSprop(), RMSprop(centered=True)),
        (Muon(), Muon(last_layer=True)),
    ]:
        assert differ(fitted(solver=choice), fitted(solver=other))


@pytest.mark.parametrize(
    ("choice", "flat"),
    [
        (Adam(), {"beta_1": 0.5}),
        (Adam(beta_2=0.5), {"epsilon": 1e-3}),
        (SGD(), {"momentum": 0.5}),
        (SGD(), {"nesterovs_momentum": False}),
        (AdamW(), {"weight_decay": 0.1}),
        (Muon(), {"epsilon": 0.1}),
    ],
    ids=repr,
)
def test_one_place_for_each_parameter(choice, flat):
    [(name, value)] = flat.items()
    with pytest.raises(ValueError, match=rf"solver={type(choice).__name__}\(.*") as error:
        fitted(solver=choice, **flat)
    for part in (f"{name}={value!r}", f"solver__{name}", f"solver={choice._name!r}"):
        assert part in str(error.value)
    fitted(solver=choice, **{name: PARAMETERS[name].default})


def test_weight_decay_is_that_of_every_object_without_its_own():
    assert_same_weights(
        fitted(solver=SGD(), weight_decay=0.3), fitted(solver="sgd", weight_decay=0.3)
    )
    assert differ(fitted(solver=Lion(), weight_decay=0.3), fitted(solver=Lion()))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": Lion(beta_1=1.0)}, "'beta_1' parameter of solver=Lion"),
        ({"solver": Lion}, "Lion is a class"),
        ({"solver": Cosine()}, "'solver' parameter"),
        ({"solver": "AdamW"}, r"Did you mean solver='adamw'\?"),
        ({"learning_rate": Cosine(warmup=1.0)}, "'warmup' parameter of learning_rate=Cosine"),
        ({"learning_rate": Cosine}, "learning_rate=Cosine is a class"),
        ({"learning_rate": Lion()}, "'learning_rate' parameter"),
        ({"learning_rate": "CosineAnnealingLR"}, r"Did you mean learning_rate='cosine'\?"),
        ({"weight_decay": -0.1}, "'weight_decay' parameter"),
        ({"weight_decay": None}, "'weight_decay' parameter"),
        ({"clip_norm": 0.0}, "'clip_norm' parameter"),
        ({"clip_norm": "1"}, "'clip_norm' parameter"),
        ({"ema_decay": 1.0}, "'ema_decay' parameter"),
        ({"ema_decay": -0.1}, "'ema_decay' parameter"),
        ({"solver": Muon(iterations=0)}, "'iterations' parameter of solver=Muon"),
        ({"solver": Muon(iterations=2.5)}, "'iterations' parameter of solver=Muon"),
        ({"solver": Muon(match_rms=0.2)}, "'match_rms' parameter of solver=Muon"),
        ({"solver": RMSprop(rho=1.0)}, "'rho' parameter of solver=RMSprop"),
        ({"solver": "RMSProp"}, r"Did you mean solver='rmsprop'\?"),
        ({"solver": "MuonWithAuxAdam"}, r"Did you mean solver='muon'\?"),
    ],
    ids=str,
)
def test_what_is_refused(parameters, message):
    model = classifier(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


def test_objects_are_cloned_pickled_printed_and_set():
    model = MLPClassifier(solver=Lion(beta_2=0.95), learning_rate=Cosine(warmup=0.1))
    for twin in (clone(model), pickle.loads(pickle.dumps(model))):
        assert twin.solver == model.solver
        assert twin.solver is not model.solver
        assert repr(twin) == (
            "MLPClassifier(learning_rate=Cosine(warmup=0.1), solver=Lion(beta_2=0.95))"
        )
    model.set_params(solver__beta_2=0.5, learning_rate__final=0.25)
    params = model.get_params()
    assert (params["solver__beta_2"], params["learning_rate__final"]) == (0.5, 0.25)
    with pytest.raises(ValueError, match="beta_3"):
        model.set_params(solver__beta_3=0.5)
    assert all(isinstance(model.get_params()[name], Choice) for name in ("solver", "learning_rate"))


def test_searches_go_inside_objects():
    search = GridSearchCV(
        classifier(solver=Adam(), learning_rate=Cosine(), learning_rate_init=0.01),
        {"solver__beta_2": [0.5, 0.999], "learning_rate__warmup": [0.0, 0.3]},
        cv=2,
    ).fit(X, Y)
    best = search.best_estimator_
    assert best.solver.beta_2 == search.best_params_["solver__beta_2"]
    assert best.learning_rate.warmup == search.best_params_["learning_rate__warmup"]
    assert search.estimator.solver == Adam()
    which = {"solver": ["sgd", Lion(), AdamW(weight_decay=0.1), "muon", "lbfgs"]}
    assert GridSearchCV(classifier(max_iter=300), which, cv=2).fit(X, Y).score(X, Y) > 0.5


# --- With all that fits can do ---

KINDS = {
    "adamw": {"solver": "adamw", "weight_decay": 0.5},
    "lion": {"solver": Lion(beta_2=0.9), "clip_norm": 0.01, "learning_rate_init": 1e-3},
    "sgd": {"solver": "sgd", "weight_decay": 0.5, "clip_norm": 0.1},
    # It carries a number, and others parameters of matrices, of their steps and of averages.
    "nadam": {"solver": NAdam(momentum_decay=0.5), "ema_decay": 0.8},
    "muon": {"solver": Muon(last_layer=True), "hidden_layer_sizes": (9, 5), "ema_decay": 0.9},
    "rmsprop": {"solver": RMSprop(momentum=0.5, centered=True), "activation": "prelu"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sparse_dense_and_threads(kind, dtype):
    dense = np.where(np.abs(X) > 0.5, X, 0.0).astype(dtype)
    models = [
        classifier(**KINDS[kind], n_jobs=n_jobs).fit(data, Y)
        for data, n_jobs in [(dense, 1), (dense, 2), (sparse.csr_array(dense), 2)]
    ]
    assert models[0].coefs_[0].dtype == dtype
    assert_same_weights(models[1], models[0])
    for ours, theirs in zip(models[2].coefs_, models[0].coefs_, strict=True):
        # The signs that Lion looks at may be rounding's, in single precision.
        assert_allclose(ours, theirs, atol=1e-9 if dtype == "float64" else 5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_fits_in_pieces(kind):
    whole = fitted(**KINDS[kind])
    warm = classifier(**KINDS[kind], warm_start=True, max_iter=2)
    piecewise = classifier(**KINDS[kind])
    for _ in range(3):
        warm = pickle.loads(pickle.dumps(warm.fit(X, Y)))
    for _ in range(6):
        piecewise.partial_fit(X, Y, classes=np.unique(Y))
        piecewise = pickle.loads(pickle.dumps(piecewise))
    for model in (warm, piecewise):
        assert_same_weights(model, whole)
        assert model.loss_curve_ == whole.loss_curve_


def test_the_state_goes_on_with_the_same_optimizer_only():
    first = fitted(solver=Adam(), warm_start=True)
    for solver, step in [("adam", 48), (Adam(beta_1=0.5), 48), ("adamw", 24), (Lion(), 24)]:
        model = pickle.loads(pickle.dumps(first)).set_params(solver=solver).fit(X, Y)
        assert model._state.optimizer.step == step


def test_a_fit_begins_with_the_initial_state(monkeypatch):
    options = {"solver": "lion", "learning_rate_init": 1e-12, "max_iter": 1, "batch_size": 60}
    plain = fitted(**options)._state.optimizer.vectors
    (state,) = OPTIMIZERS["lion"].states
    entry = replace(OPTIMIZERS["lion"], states=(replace(state, initial=0.5),))
    monkeypatch.setitem(OPTIMIZERS, "lion", entry)
    assert_allclose(fitted(**options)._state.optimizer.vectors, plain + 0.99 * 0.5, rtol=1e-6)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_weight_decay_shrinks_coefficients_and_no_intercepts(name):
    """At a learning rate too small to learn anything."""
    models = [
        fitted(solver=name, learning_rate_init=1e-12, weight_decay=decay) for decay in (0.0, 1e10)
    ]
    n_steps = 6 * 4
    for plain, decayed in zip(models[0].coefs_, models[1].coefs_, strict=True):
        assert_allclose(decayed, plain * (1 - 0.01) ** n_steps, rtol=1e-6)
    for plain, decayed in zip(models[0].intercepts_, models[1].intercepts_, strict=True):
        assert_allclose(decayed, plain, rtol=1e-6)


def test_clipping_saves_a_fit_from_divergence():
    y = 1e6 * X[:, 0]
    options = {"solver": "sgd", "hidden_layer_sizes": (5,), "max_iter": 20, "random_state": 0}
    with pytest.raises(ValueError, match="diverged"):
        MLPRegressor(**options, learning_rate_init=0.1).fit(X, y)
    model = MLPRegressor(**options, learning_rate_init=0.1, clip_norm=1.0).fit(X, y)
    assert np.isfinite(model.loss_)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"weight_decay": 0.1}, r"weight_decay=0\.1 has no effect with solver='lbfgs'"),
        ({"clip_norm": 1.0}, r"clip_norm=1\.0 has no effect with solver='lbfgs'"),
        ({"ema_decay": 0.9}, r"ema_decay=0\.9 has no effect with solver='lbfgs'"),
        ({"learning_rate": "cosine"}, r"learning_rate='cosine' has no effect with solver='lbfgs'"),
        ({"learning_rate": Cosine()}, r"learning_rate=Cosine\(\) has no effect"),
        ({"learning_rate": np.cos}, r"learning_rate=cos has no effect"),
    ],
    ids=str,
)
def test_what_lbfgs_does_without_is_said(parameters, said):
    options = {"solver": "lbfgs", "max_iter": 1000}
    with pytest.warns(UserWarning, match=said):
        model = fitted(**options, **parameters)
    assert_same_weights(model, fitted(**options))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(**options, learning_rate="adaptive")  # scikit-learn's, where nothing is said


def test_cuda_says_what_it_lacks():
    for parameters, lacking in [
        ({"solver": "muon"}, "solver='muon'"),
        ({"ema_decay": 0.9}, "ema_decay"),
        ({"weight_decay": 0.1, "weight_decay_schedule": "cosine"}, "weight_decay_schedule"),
        ({"dropout": 0.1, "dropout_schedule": np.cos}, "dropout_schedule"),
        ({"learning_rate": OneCycle(momentum=(0.9, 0.8))}, "momentum of learning_rate"),
    ]:
        with pytest.raises(ValueError, match=f"CUDA cannot yet compute {lacking}"):
            fitted(device="cuda", **parameters)
        model = fitted(device="auto", **parameters)
        assert model.device_ == "cpu"
        assert lacking in model.device_reason_


# --- Schedules ---


def rates_of(plans):
    return np.concatenate([plan.rates for plan in plans]).reshape(-1)


def cosine(progress, warmup=0.0, final=0.0):
    return [
        p / warmup
        if p < warmup
        else final + (1 - final) * (1 + np.cos(np.pi * (p - warmup) / (1 - warmup))) / 2
        for p in progress
    ]


@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    ("schedule", "constants"),
    [
        ("cosine", ()),
        (Cosine(0.3), (0.3,)),
        (Cosine(final=0.2), (0.0, 0.2)),
        (Cosine(0.5, 1), (0.5, 1)),
    ],
)
def test_cosine_over_all_steps(plans, solver, early_stopping, schedule, constants):
    model = fitted(
        solver=solver,
        learning_rate=schedule,
        learning_rate_init=0.01,
        early_stopping=early_stopping,
        validation_fraction=0.3,
    )
    per_epoch = 3 if early_stopping else 4  # batches of 16 of 42 or 60 samples
    progress = np.arange(6 * per_epoch) / (6 * per_epoch)
    assert_allclose(rates_of(plans), 0.01 * np.array(cosine(progress, *constants)), rtol=1e-12)
    assert model._state.optimizer.learning_rate == 0.01
    assert model._state.optimizer.step == 6 * per_epoch


def test_a_known_schedule_needs_no_plans_of_one_epoch(plans):
    fitted(learning_rate="cosine", max_iter=300, n_iter_no_change=np.inf)
    assert len(plans) < 100


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_that_ends_early_leaves_the_rest_of_its_schedule(plans, early_stopping):
    parameters = {"early_stopping": early_stopping, "n_iter_no_change": 2, "tol": 10.0}
    model = fitted(learning_rate="cosine", max_iter=50, **parameters)
    assert model.n_iter_ == 4  # scikit-learn's first epoch improves on infinity
    per_epoch = 4
    progress = np.arange(4 * per_epoch) / (50 * per_epoch)
    assert_allclose(rates_of(plans), 0.001 * np.array(cosine(progress)), rtol=1e-12)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_function_of_progress(early_stopping):
    seen = []

    def half_wave(progress):
        seen.append(progress)
        return 0.5 + 0.5 * np.cos(np.pi * progress)

    options = {"early_stopping": early_stopping, "solver": "sgd", "learning_rate_init": 0.1}
    assert_same_weights(
        fitted(learning_rate=half_wave, **options), fitted(learning_rate="cosine", **options)
    )
    assert all(progress.ndim == 1 for progress in seen)
    progress = np.concatenate(seen)
    assert_array_equal(progress, np.arange(len(progress)) / len(progress))


def test_a_constant_function_changes_nothing():
    for solver in STOCHASTIC:
        options = {"solver": solver, "learning_rate_init": 0.01}
        assert_same_weights(fitted(learning_rate=np.ones_like, **options), fitted(**options))


def fails(progress):
    raise RuntimeError("the user's own")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda progress: progress - 0.5, ValueError, r"learning_rate=.*returned .*-0\.5"),
        (lambda progress: progress * np.nan, ValueError, "learning_rate=.*nan"),
        (lambda progress: 1 / progress, ValueError, "learning_rate=.*inf"),
        (lambda progress: 1.0, ValueError, r"learning_rate=.*shape \(\)"),
        (lambda progress: progress[:2], ValueError, r"learning_rate=.*shape \(2,\)"),
        (lambda progress: None, ValueError, "learning_rate="),
        (lambda progress: ["a"] * len(progress), ValueError, "learning_rate="),
        (fails, RuntimeError, "the user's own"),
    ],
)
def test_functions_that_give_no_rates(function, error, message, fitted_state):
    model = fitted(warm_start=True)
    before = fitted_state(model)
    model.set_params(learning_rate=function)
    with np.errstate(divide="ignore"), pytest.raises(error, match=message):
        model.fit(X, Y)
    assert fitted_state(model) == before


@pytest.mark.parametrize("schedule", ["cosine", Cosine(0.1), np.ones_like])
def test_partial_fit_does_not_know_how_many_steps_there_will_be(schedule):
    model = classifier()
    model.partial_fit(X, Y, classes=np.unique(Y))
    coefs = [coef.copy() for coef in model.coefs_]
    model.set_params(learning_rate=schedule)
    with pytest.raises(ValueError, match=r"learning_rate=.*partial_fit.*learning_rate='constant'"):
        model.partial_fit(X, Y)
    for ours, before in zip(model.coefs_, coefs, strict=True):
        assert_array_equal(ours, before)


def test_a_schedule_begins_anew_with_each_fit(plans):
    model = classifier(learning_rate=Cosine(0.25), warm_start=True)
    for _ in range(2):
        model.fit(X, Y)
    assert model._state.optimizer.step == 48
    progress = np.tile(np.arange(24) / 24, 2)
    assert_allclose(rates_of(plans), 0.001 * np.array(cosine(progress, 0.25)), rtol=1e-12)


def test_the_rate_changed_between_fits_is_used(plans):
    model = classifier(learning_rate="cosine", warm_start=True).fit(X, Y)
    model.set_params(learning_rate_init=0.5).fit(X, Y)
    assert rates_of(plans)[[0, 24]].tolist() == [0.001, 0.5]


@pytest.mark.parametrize("field", ["learning_rate_init", "power_t", "constants", "function"])
def test_an_edited_schedule_is_refused(field):
    model = fitted(warm_start=True)
    object.__setattr__(model._state.schedule, field, np.ones(3))
    with pytest.raises(ValueError, match=r"_state\.schedule must be the schedule of the last fit"):
        model.fit(X, Y)


def test_a_schedule_of_an_earlier_version_is_read():
    """It had no more fields than scikit-learn's three need."""
    model = fitted(warm_start=True)
    state = model.__getstate__()
    state["_state"]["schedule"] = {"name": "constant", "learning_rate_init": 0.001}
    model = pickle.loads(pickle.dumps(model))
    model.__setstate__(state)
    assert model._state.schedule == Schedule("constant", 0.001)
    twin = fitted(warm_start=True)
    assert_same_weights(model.fit(X, Y), twin.fit(X, Y))


def test_keyed_orders_take_rates_too(monkeypatch):
    """As on an engine that draws orders by itself, where plans are long."""
    monkeypatch.setattr(CpuEngine, "draws_orders", True)
    model = fitted(learning_rate="cosine", max_iter=50, n_iter_no_change=np.inf)
    assert model.n_iter_ == 50
