"""Groups of parameters: factors of rates and of decay, and the neural-tangent parametrization."""

import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine_checks import (
    BESIDE,
    FREE,
    OF_GROUPS,
    PROBLEMS,
    assert_same_run,
    check_against_reference,
    head_of,
    make_layer,
    make_plan,
    make_problem,
    make_task,
    run_epochs,
)
from estimator_checks import assert_same_weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skmlp import MLPClassifier, MLPRegressor, find_learning_rate, load
from skmlp._solvers import optimizer_spec
from skmlp.callbacks import Checkpoint
from skmlp.engines.base import EpochPlan
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cpu.tables import GROUP
from skmlp.engines.cpu.task import CpuTask
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.optimizers import GROUPS, OPTIMIZERS
from skmlp.network.parameters import layout_of
from skmlp.network.parts import named_extras
from skmlp.network.specs import (
    Block,
    Factor,
    Formula,
    InputSpec,
    NetworkSpec,
    OptimizerSpec,
    plain_network,
)

# It has every role there is.
INPUTS_OF_NETWORK = InputSpec(
    6,
    embedding=(Block(2, Formula("cosine", (2.0, 1.0))), Block(4, Formula("identity"))),
    scaled=True,
)
NETWORK = NetworkSpec(
    INPUTS_OF_NETWORK,
    (
        make_layer("prelu", 9, 0.0, None, "layer"),
        make_layer("tanh", 5),
        make_layer("prelu", 7),
    ),
    (head_of(("squared_error", "identity"), 2),),
)
PLAIN = plain_network((5, 9, 17, 3), "relu", "log_loss", "softmax")
RATES = (
    Factor("coefs", 2.0),
    Factor("coefs", 0.5, 2),
    Factor("intercepts", 0.1),
    Factor("slopes", 3.0),
    Factor("normalization", 0.25),
    Factor("embedding", 1.5),
    Factor("scale", 6.0),
)
DECAYS = (
    Factor("coefs", 0.5, 0),
    Factor("slopes", 2.0),
    Factor("normalization", 0.7),
    Factor("embedding", 0.3),
    Factor("scale", 0.9),
)
# By the names of extras.
BY_NAME = {
    "negative_slope": (3.0, 2.0),
    **dict.fromkeys(("gain", "shift"), (0.25, 0.7)),
    "embedding": (1.5, 0.3),
    "scale": (6.0, 0.9),
}


# --- Engines ---


def written_out(network):
    """Return the factors `RATES` and `DECAYS` of all parameters, by hand."""
    layout = layout_of(network)
    rates, decays = np.zeros((2, layout.size))
    for number, coef in enumerate(layout.views(rates)[0]):
        coef[...] = 0.5 if number == 2 else 2.0
    for number, coef in enumerate(layout.views(decays)[0]):
        coef[...] = 0.5 if number == 0 else 1.0
    for intercept in layout.views(rates)[1]:
        intercept[...] = 0.1
    for which, factors in enumerate((rates, decays)):
        for (_, name), own in named_extras(network, layout.extras_of(factors)).items():
            own[...] = BY_NAME[name][which]
    return rates, decays


@pytest.mark.parametrize("make_engine", [ReferenceEngine, lambda: CpuEngine(1)])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_factors_against_formulas_written_out(make_engine, solver):
    judge, engine, problem = ReferenceEngine(), make_engine(), make_problem(NETWORK, 10)
    beside = {"rate_factors": RATES, "decay_factors": DECAYS, "weight_decay": 0.5}
    task = make_task(engine, NETWORK, problem, solver=solver, batch_size=10, **beside)
    extras = layout_of(NETWORK).extras
    assert {extra.role for extra in extras} | {"coefs", "intercepts"} == set(GROUPS)
    assert {extra.name for extra in extras} == set(BY_NAME)
    run = engine.start([task])
    run.advance([EpochPlan(np.tile(np.arange(10), (5, 1)), 0.02)])

    w = task.parameters.copy()
    (rates, decays), data = written_out(NETWORK), judge.load(*problem, NETWORK, "float64")
    u, m, v = np.zeros((3, w.size))
    rates *= 0.02
    for step in range(1, 6):
        _, g = judge.loss_and_gradient(NETWORK, data, w, task.alpha)
        w *= 1 - rates * decays * 0.5
        if solver == "sgd":
            u = 0.9 * u - rates * g
            w += 0.9 * u - rates * g
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            size = rates * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            w -= size * m / (np.sqrt(v) + 1e-8)
    assert_allclose(run.parameters(0), w, rtol=1e-9, atol=1e-12)


def test_cpu_equals_reference_whatever_the_groups():
    """Those of other networks are drawn in `test_engines`."""
    compared = []
    problems = {"network": st.sampled_from([NETWORK, PLAIN]), "beside": BESIDE}
    problems |= {"n_samples": st.integers(1, 30), "batch_size": st.integers(5, 30)}

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(**{**PROBLEMS, **problems}, groups=st.fixed_dictionaries(OF_GROUPS))
    def check(beside, groups, **problem):
        beside = {**beside, **groups}
        check_against_reference(lambda: CpuEngine(1), **problem, beside=beside)
        compared.append(problem)

    check()
    assert len(compared) >= 30


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "muon"])
@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.usefixtures("always_parallel")
def test_any_number_of_threads(solver, dtype, clip_norm):
    problem, plan = make_problem(NETWORK, 60), make_plan(60)
    beside = {"rate_factors": RATES, "decay_factors": DECAYS, "weight_decay": 0.5}
    options = {"solver": solver, "dtype": dtype, "clip_norm": clip_norm, "batch_size": 30}
    options |= {"parametrization": "ntk", **beside}
    runs = [run_epochs(CpuEngine(n), NETWORK, problem, plan, **options) for n in (1, 2, 3)]
    for run in runs[1:]:
        assert_same_run(run, runs[0])


@pytest.mark.parametrize("make_engine", [ReferenceEngine, lambda: CpuEngine(1)])
@pytest.mark.parametrize("solver", OPTIMIZERS)
def test_a_factor_of_zero_keeps_a_group_as_it_is(make_engine, solver):
    """Also where an optimizer would go on by what it has seen before; the norm is without it."""
    engine, problem = make_engine(), make_problem(NETWORK, 20)
    frozen = (Factor("coefs", 0.0, 1), Factor("intercepts", 0.0, 0))
    frozen += tuple(Factor(role, 0.0) for role in ("slopes", "embedding", "scale"))
    beside = {"weight_decay": 0.5, "clip_norm": 0.01}
    task = make_task(engine, NETWORK, problem, solver=solver, batch_size=20, **beside)
    run = engine.start([task])
    run.advance([make_plan(20, 1)])
    optimizer = replace(task.optimizer, rate_factors=frozen)
    start, state = run.parameters(0), run.optimizer_state(0, 0.01)
    again = engine.start(
        [replace(task, optimizer=optimizer, parameters=start, optimizer_state=state)]
    )
    again.advance([make_plan(20, 1)])
    layout, moved = layout_of(NETWORK), again.parameters(0) != start
    stays = np.zeros(layout.size, dtype=bool)
    layout.views(stays)[0][1][...] = layout.views(stays)[1][0][...] = True
    for (_, name), own in named_extras(NETWORK, layout.extras_of(stays)).items():
        own[...] = name not in ("gain", "shift")
    assert_array_equal(moved, ~stays)
    assert_array_equal(again.optimizer_state(0, 0.01).vectors[:, stays], state.vectors[:, stays])


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("role", ["coefs", "scale"])
def test_a_gradient_that_overflows_leaves_a_frozen_group_alone(role, clip_norm):
    """Zero times infinity would be no number."""
    network = plain_network((3, 4, 1), "tanh", "squared_error", "identity")
    if role == "scale":
        network = replace(network, inputs=replace(network.inputs, scaled=True))
    problem = np.full((20, 3), 3e37), np.full((20, 1), 1e3), None
    frozen = (Factor("coefs", 0.0, 0), Factor("scale", 0.0))
    task = make_task(
        CpuEngine(1), network, problem, dtype="float32", clip_norm=clip_norm, rate_factors=frozen
    )
    layout = layout_of(network)
    coefs, intercepts = layout.views(task.parameters)
    coefs[0][...] = 0.0 if role == "coefs" else 2e-38
    intercepts[0][...] = 0.0
    run = CpuEngine(1).start([task])
    [result] = run.advance([make_plan(20, 2)])
    assert result.finite
    after = run.parameters(0)
    assert np.isfinite(after).all()
    assert_array_equal(layout.views(after)[0][0], layout.views(task.parameters.astype("f"))[0][0])
    assert_array_equal(layout.extras_of(after), 1.0)
    assert (layout.views(after)[0][1] != coefs[1]).all()


def test_the_norm_of_a_gradient_is_that_of_what_moves():
    problem = make_problem(NETWORK, 20)
    frozen = tuple(Factor(role, 0.0) for role in GROUPS if role != "intercepts")
    options = {"solver": "sgd", "batch_size": 20, "clip_norm": 0.01, "rate_factors": frozen}
    for engine in (ReferenceEngine(), CpuEngine(1)):
        task = make_task(engine, NETWORK, problem, **options)
        momentum_free = replace(task.optimizer, settings=(0.0, 0.0))
        run = engine.start([replace(task, optimizer=momentum_free)])
        run.advance([EpochPlan(np.arange(20)[np.newaxis], 1.0)])
        assert_allclose(np.linalg.norm(run.parameters(0) - task.parameters), 0.01, rtol=1e-9)


def test_plain_networks_have_two_groups_and_no_more_passes():
    """All layers share them, and nothing is completed for their sake."""
    network = PLAIN
    X, targets, weight = make_problem(network, 10)
    for beside, n_groups in (({}, 2), ({"rate_factors": (Factor("coefs", 2.0, 1),)}, 4)):
        optimizer = OptimizerSpec("adam", OPTIMIZERS["adam"].defaults, **beside)
        state = make_task(CpuEngine(1), network, (X, targets, weight)).optimizer_state
        data = CpuEngine(1).load(X, targets, weight, network, "float64")
        parameters = np.zeros(layout_of(network).size)
        task = CpuTask(network, data, parameters, 0.1, 10, 1, 0, optimizer, state)
        assert len(task.told.model.groups) == n_groups
        assert task.told.model.complete == task.told.model.descend == 0
        assert set(task.told.layers[:, GROUP]) == ({0} if n_groups == 2 else {0, 2})


@pytest.mark.parametrize(
    ("role", "value", "layer", "match"),
    [
        ("weights", 1.0, None, "role must be one of"),
        ("coefs", 1, None, "value must be a finite float"),
        ("coefs", -1.0, None, "value must be a finite float"),
        ("coefs", float("inf"), None, "value must be a finite float"),
        ("slopes", 1.0, 0, "layer must be None, or a number for"),
        ("coefs", 1.0, -1, "layer must be None, or a number for"),
    ],
)
def test_what_is_no_factor_is_refused(role, value, layer, match):
    with pytest.raises(ValueError, match=match):
        Factor(role, value, layer)


def test_specs_are_checked():
    adam = OptimizerSpec("adam", OPTIMIZERS["adam"].defaults)
    for field, value in [
        ("rate_factors", [Factor("coefs", 1.0)]),
        ("decay_factors", (1.0,)),
        ("parametrization", "mup"),
    ]:
        with pytest.raises(ValueError, match=field):
            replace(adam, **{field: value})


# --- Estimators ---

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
Y = np.sin(X[:, 0]) + X[:, 1]
QUICK = {"hidden_layer_sizes": (8, 5), "max_iter": 3, "random_state": 0, "batch_size": 20}
RICH = {"activation": "prelu", "normalization": "layer", "weight_decay": 0.1}
FACTORS = {"coefs": [0.5, 1.0, 2.0], "intercepts": 0.1, "slopes": 0.0, "normalization": 3}


def fitted(estimator=MLPRegressor, **parameters):
    y = Y > 0 if estimator is MLPClassifier else Y
    with pytest.warns(match="Maximum iterations"):
        return estimator(**{**QUICK, **parameters}).fit(X, y)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_every_group_is_documented(estimator):
    guide = Path(__file__).parent.parent / "docs" / "guide" / "solvers.md"
    section = guide.read_text("utf-8").partition("## Groups of parameters")[2].partition("\n## ")[0]
    assert re.findall(r'^\| `"(\w+)"`', section, re.M) == list(GROUPS)
    described = estimator.__doc__.partition("learning_rate_factors :")[2]
    text = described.partition(" of which others")[0]
    assert re.findall(r"'(\w+)'", text) == list(GROUPS)


def test_parameters_reach_the_optimizer():
    model = MLPRegressor(
        learning_rate_factors={"coefs": np.array([0.5, 1.0]), "slopes": 0, "intercepts": 1},
        weight_decay_factors={"coefs": 1.0, "intercepts": (0.0, 2.0)},
        parametrization="ntk",
    )
    spec = optimizer_spec(model)
    assert spec.rate_factors == (Factor("coefs", 0.5, 0), Factor("slopes", 0.0))
    assert spec.decay_factors == (Factor("intercepts", 2.0, 1),)
    assert spec.parametrization == "ntk"
    plain = optimizer_spec(MLPRegressor())
    assert {name: getattr(plain, name) for name in FREE} == FREE
    assert optimizer_spec(MLPRegressor(learning_rate_factors={})) == plain


def test_sgd_with_ntk_has_rates_by_the_number_of_inputs():
    """And starts from the same weights."""
    sgd = {"solver": "sgd", "alpha": 0.1, "learning_rate_init": 0.1}
    inputs = 1 / np.array([4, 8, 5])
    model = fitted(**sgd, parametrization="ntk")
    other = fitted(**sgd, learning_rate_factors={"coefs": inputs})
    for own, expected in zip(model.coefs_, other.coefs_, strict=True):
        assert_allclose(own, expected, rtol=1e-10)
    assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-10)
    assert np.abs(model.coefs_[0] - fitted(**sgd).coefs_[0]).max() > 1e-3


def test_decay_takes_the_same_share_in_both_parametrizations():
    """Where there is no gradient: all rows are zero, and so are deltas."""
    options = {"alpha": 0.0, "init": "ntk", "max_iter": 1, "activation": "identity"}
    nothing = np.zeros((60, 4)), np.zeros(60)
    start, *models = (
        MLPRegressor(**{**QUICK, **options, "batch_size": 60}, **beside)
        for beside in (
            {"learning_rate_init": 1e-300},
            {"learning_rate_init": 0.5, "weight_decay": 1.0},
            {"learning_rate_init": 0.5, "weight_decay": 1.0, "parametrization": "ntk"},
        )
    )
    for model in (start, *models):
        with pytest.warns(match="Maximum iterations"):
            model.fit(*nothing)
    for model in models:
        assert_allclose(model.coefs_[0], start.coefs_[0] / 2, rtol=1e-12)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_groups_in_the_manners_of_scikit_learn(estimator, tmp_path):
    """Clones, pickles, files, pieces, ensembles and checkpoints have the same groups."""
    beside = {**RICH, "learning_rate_factors": FACTORS, "weight_decay_factors": {"intercepts": 0.5}}
    beside["parametrization"] = "ntk"
    model = fitted(estimator, **beside)
    assert model.learning_rate_factors is FACTORS
    slopes = named_extras(model._network, model._extras)[0, "negative_slope"]
    assert_array_equal(slopes, np.full(8, 0.25))
    y = Y > 0 if estimator is MLPClassifier else Y
    with pytest.warns(match="Maximum iterations"):
        assert_same_weights(clone(model).fit(X, y), model)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    model.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.get_params()["learning_rate_factors"] == FACTORS
    assert_array_equal(loaded.predict(X), model.predict(X))

    pieces = estimator(**{**QUICK, **beside, "shuffle": False})
    whole = fitted(estimator, **beside, shuffle=False)
    for _ in range(3):
        pieces.partial_fit(X, y, **({"classes": [0, 1]} if estimator is MLPClassifier else {}))
    for own, expected in zip(pieces.coefs_, whole.coefs_, strict=True):
        assert_allclose(own, expected, rtol=1e-9)

    several = fitted(estimator, **beside, n_estimators=2)
    alone = fitted(estimator, **{**beside, "random_state": several.estimators_[0].random_state})
    assert_same_weights(alone, several.estimators_[0])

    path = tmp_path / "checkpoint"
    watched = estimator(**{**QUICK, **beside, "max_iter": 2})
    watched.set_callbacks(Checkpoint(path, every=1))
    with pytest.warns(match="Maximum iterations"):
        watched.fit(X, y)
    resumed = estimator(**QUICK, **beside)
    with pytest.warns(match="Maximum iterations"):
        resumed.fit(X, y, resume_from=path)
    assert_same_weights(resumed, model)
    other = estimator(**QUICK, **{**beside, "learning_rate_factors": {"coefs": 2.0}})
    with pytest.raises(ValueError, match="learning_rate_factors"):
        other.fit(X, y, resume_from=path)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_searches_and_range_tests():
    grid = {"learning_rate_factors": [None, {"intercepts": 0.0}], "parametrization": ["ntk"]}
    search = GridSearchCV(MLPRegressor(**QUICK), grid, cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 2
    found = find_learning_rate(MLPRegressor(**QUICK, parametrization="ntk"), X, Y, n_steps=20)
    frozen = dict.fromkeys(GROUPS, 0.0)
    still = find_learning_rate(
        MLPRegressor(**QUICK, learning_rate_factors=frozen), X, Y, n_steps=20, highest=1e3
    )
    assert np.ptp(found.losses) > 2 * np.ptp(still.losses)


@pytest.mark.parametrize("name", ["learning_rate_factors", "weight_decay_factors"])
@pytest.mark.parametrize(
    ("factors", "match"),
    [
        ({"weights": 1.0}, "has a factor of 'weights', but groups of parameters are 'coefs', "),
        ({3: 1.0}, "has a factor of 3, but"),
        ({"slopes": [1.0, 2.0]}, "has several factors of 'slopes', but only 'coefs' and 'interc"),
        ({"coefs": [1.0, 2.0]}, "has 2 factors of 'coefs', but there are 3 layers: 2 of hidden_l"),
        ({"intercepts": ()}, "has 0 factors of 'intercepts', but there are 3 layers"),
        ({"coefs": -0.1}, "has -0.1 for 'coefs', but factors are finite numbers"),
        ({"coefs": [1.0, np.nan, 1.0]}, "for 'coefs', but factors are finite numbers"),
        ({"coefs": np.inf}, "for 'coefs', but factors are finite numbers"),
        ({"coefs": 10**400}, "for 'coefs', but factors are finite numbers"),
        ({"coefs": True}, "has True for 'coefs', but factors are finite numbers"),
        ({"coefs": "0.1"}, "has '0.1' for 'coefs', but factors are finite numbers"),
        ([1.0], "must be an instance of 'dict' or None"),
    ],
    ids=str,
)
def test_factors_that_are_none_are_refused(name, factors, match):
    model = MLPRegressor(**QUICK, **{name: factors})
    with pytest.raises(ValueError, match=rf"(?s)'?{name}.*{match}"):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


def test_what_has_no_effect_is_said():
    with pytest.raises(ValueError, match="'parametrization' parameter"):
        MLPRegressor(parametrization="mup").fit(X, Y)
    with pytest.warns(UserWarning, match="weight_decay_factors=.*no effect without weight_decay"):
        fitted(weight_decay_factors={"intercepts": 1.0})
    options = {"hidden_layer_sizes": (3,), "solver": "lbfgs", "random_state": 0, "max_iter": 1000}
    plain = MLPRegressor(**options).fit(X, Y)
    for name, value in [
        ("parametrization", "ntk"),
        ("learning_rate_factors", {"coefs": 0.0}),
        ("weight_decay_factors", {"coefs": 2.0}),
    ]:
        model = clone(plain).set_params(**{name: value})
        with pytest.warns(UserWarning, match=f"{name}=.*no effect with solver='lbfgs'"):
            model.fit(X, Y)
        assert_same_weights(model, plain)


def test_cuda_says_what_it_lacks():
    for parameters in (
        {"parametrization": "ntk"},
        {"learning_rate_factors": {"coefs": 2.0}},
        {"weight_decay_factors": {"coefs": 2.0}, "weight_decay": 0.1},
    ):
        [lacking, *_] = parameters
        with pytest.raises(ValueError, match=f"CUDA cannot yet compute {lacking}"):
            MLPRegressor(**QUICK, device="cuda", **parameters).fit(X, Y)
        assert fitted(device="auto", **parameters).device_ == "cpu"
