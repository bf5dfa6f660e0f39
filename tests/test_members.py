"""Members that share weights: engines, what becomes of them, and the presets that have them."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from engine_checks import (
    BESIDE,
    TOLERANCE,
    assert_same_run,
    check_against_reference,
    head_of,
    make_layer,
    make_plan,
    make_problem,
    make_task,
    run_epochs,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import get_scorer, log_loss
from test_gradients import central_differences

import skmlp.engines.cpu.task
from skmlp import TabularMLPClassifier, TabularMLPRegressor
from skmlp._presets import PRESETS, Table, tabm
from skmlp.engines.base import EpochPlan, FitTask, OptimizerState, slab_rows
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cpu.layout import parts_of_slab
from skmlp.engines.cuda.vocabulary import what_is_lacking
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.initializers import draw_parameters, draw_uniform
from skmlp.network.members import members_alone, vector_alone
from skmlp.network.parameters import (
    EMBEDDING,
    FACTOR,
    GIVEN,
    INPUTS,
    NEXT_FACTOR,
    SCALE,
    SHIFT,
    layout_of,
)
from skmlp.network.parts import Trained, named_extras
from skmlp.network.specs import (
    Block,
    Factor,
    Formula,
    InputSpec,
    Members,
    NetworkSpec,
    OptimizerSpec,
)
from skmlp.network.storage import as_plain, from_plain

SQUARED, LOG_LOSS = ("squared_error", "identity"), ("log_loss", "softmax")
EMBEDDED = (Block(2, Formula("piecewise", (4.0, 3.0))), Block(1, Formula("identity")))


def network_of(count=3, adapt="layers", hidden=None, key=SQUARED, units=2, **inputs):
    hidden = [make_layer("tanh", 5), make_layer("relu", 9, 0.2)] if hidden is None else hidden
    own = {"embedding": EMBEDDED, **inputs}
    spec = InputSpec(3, scaled=True, **own)
    members = Members(count, adapt, "normal")
    return NetworkSpec(spec, tuple(hidden), (head_of(key, units),), members)


def drawn_parameters(network, X, seed=0):
    """Return parameters of which none that is trained has a value of its own."""
    parameters = draw_uniform(network, np.random.RandomState(seed), np.float64, X)
    trained = layout_of(network).trained_size
    parameters[:trained] += np.random.default_rng(seed).uniform(0.0, 0.3, size=trained)
    return parameters


# Engines


@st.composite
def member_networks(draw):
    adapt = draw(st.sampled_from(["inputs", "layers"]))
    kinds = [make_layer("tanh", 5), make_layer("silu", 40, 0.2), make_layer("relu", 17)]
    if adapt == "inputs":
        kinds += [make_layer("prelu", 6, 0.0, None, "layer"), make_layer("maxout", 4)]
    key, units = draw(
        st.sampled_from([(SQUARED, 2), (LOG_LOSS, 3), (("gaussian_nll", "gaussian"), 2)])
    )
    inputs = {
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "noise": draw(st.sampled_from([0.0, 0.2])),
        "embedding": draw(st.sampled_from([(), EMBEDDED])),
    }
    hidden = draw(st.lists(st.sampled_from(kinds), max_size=3))
    return network_of(draw(st.integers(1, 5)), adapt, hidden, key, units, **inputs)


def test_cpu_equals_reference():
    compared = []

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        network=member_networks(),
        n_samples=st.integers(1, 20),
        batch_size=st.integers(1, 20),
        dtype=st.sampled_from(["float32", "float64"]),
        solver=st.sampled_from(["sgd", "adamw", "muon"]),
        density=st.none(),
        weighted=st.booleans(),
        # Directions of units are those of single networks.
        beside=BESIDE.map(
            lambda options: options | {"bounded": tuple({"connections"} & {*options["bounded"]})}
        ),
    )
    def check(**problem):
        check_against_reference(lambda: CpuEngine(1), **problem)
        compared.append(problem)

    check()
    assert len(compared) >= 20


@pytest.mark.parametrize("make_engine", [ReferenceEngine, lambda: CpuEngine(1)])
@pytest.mark.parametrize(
    "network",
    [
        network_of(),
        network_of(2, hidden=[make_layer("silu", 4)] * 3, key=LOG_LOSS, units=3, embedding=()),
        network_of(4, "inputs", key=("log_loss", "logistic"), units=1),
        network_of(1),
    ],
)
def test_gradient_against_central_differences(make_engine, network):
    problem, engine = make_problem(network, 9), make_engine()
    data = engine.load(*problem, network, "float64")
    parameters = drawn_parameters(network, problem[0])

    def loss(p):
        return engine.loss_and_gradient(network, data, p, 0.1)[0]

    expected = central_differences(loss, parameters)
    expected[layout_of(network).trained_size :] = 0.0
    gradient = engine.loss_and_gradient(network, data, parameters, 0.1)[1]
    assert_allclose(gradient, expected, rtol=1e-6, atol=3e-9)
    without_penalty = engine.loss_and_gradient(network, data, parameters, 0.0)[0]
    assert engine.mean_loss(network, parameters, data) == pytest.approx(without_penalty, rel=1e-12)
    assert without_penalty < loss(parameters)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("adapt", ["inputs", "layers"])
@pytest.mark.parametrize(
    ("batch_size", "slab_size", "parts"), [(7, 21, 1), (67, 201, 2), (40, 15, 1), (40, 75, 2)]
)
@pytest.mark.usefixtures("always_parallel")
def test_threads_change_nothing(adapt, batch_size, slab_size, parts, dtype, monkeypatch):
    monkeypatch.setattr(skmlp.engines.cpu.task, "TILE_ROWS", 1)
    monkeypatch.setattr(skmlp.engines.cpu.task, "slab_rows", lambda *_: slab_size)
    hidden = [make_layer("tanh", 60, 0.2), make_layer("relu", 30)]
    network = network_of(3, adapt, hidden, LOG_LOSS, 3)
    assert parts_of_slab(network, slab_size) == parts
    problem = make_problem(network, 2 * batch_size + 1)
    options = {"dtype": dtype, "batch_size": batch_size, "solver": "sgd"}
    options |= {"ema_decay": 0.9, "clip_norm": 1.0} if batch_size == 40 else {}
    expected = run_epochs(CpuEngine(1), network, problem, **options)
    for n_jobs in (2, 3):
        assert_same_run(run_epochs(CpuEngine(n_jobs), network, problem, **options), expected)
    reference = run_epochs(ReferenceEngine(), network, problem, **options | {"dtype": "float64"})
    assert_allclose(expected[0], reference[0], rtol=TOLERANCE[dtype])


# What is described


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Members(0), "count must be a positive int"),
        (lambda: Members(2, "outputs"), "adapt must be one of"),
        (lambda: Members(2, "inputs", "ones"), "start must be one of"),
        (lambda: Members(2, sharing=(1, 0)), "sharing must be a positive int"),
        (lambda: replace(network_of(), members=Members(2, sharing=(1, 1))), "of 3 columns"),
        (lambda: replace(network_of(), members=3), "members must be None or Members"),
        (lambda: network_of(mixup=0.5), "None where rows are mixed"),
        (lambda: replace(network_of(), inputs=InputSpec(3)), "None where inputs are not scaled"),
        (
            lambda: replace(network_of(), heads=(head_of(SQUARED, 1),) * 2),
            "None where there are several heads",
        ),
        (lambda: network_of(2, "inputs", [make_layer("relu", 4, normalization="batch")]), "batch"),
        (lambda: network_of(hidden=[make_layer("relu", 4, normalization="layer")]), "of another"),
        (lambda: network_of(hidden=[make_layer("prelu", 4)]), "of another kind"),
        (lambda: network_of(hidden=[make_layer("maxout", 4)]), "of another kind"),
    ],
)
def test_what_members_cannot_share_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_descriptions_are_kept():
    network = network_of()
    assert from_plain(as_plain(network)) == pickle.loads(pickle.dumps(network)) == network
    without = replace(network, members=None)
    assert "members" not in as_plain(without)
    assert hash(without) != hash(network)


def test_cuda_names_what_it_lacks():
    assert "members" in what_is_lacking(network_of(), None)


def test_slabs_begin_with_the_first_member():
    network = network_of(24)
    for batch_size in (1, 7, 1000, 10**6):
        assert slab_rows(network, 24 * batch_size, 8) % 24 == 0
    assert slab_rows(network_of(10**4), 10**6, 8) == 10**4


@pytest.mark.parametrize("adapt", ["inputs", "layers"])
def test_what_members_start_with(adapt):
    """One number for all that a group of columns becomes, and the same intercepts."""
    network = network_of(50, adapt, embedding=(Block(3, Formula("pbld", (3.0, 2.0, 0.5))),))
    network = replace(network, members=replace(network.members, sharing=(1, 2)))
    for start in ("normal", "signs"):
        network = replace(network, members=replace(network.members, start=start))
        state = np.random.RandomState(0)
        parameters = draw_parameters(network, Formula("fan_in_uniform"), state, "float64")
        layout = layout_of(network)
        extras = named_extras(network, layout.extras_of(parameters))
        scale = extras[INPUTS, SCALE].reshape(50, 9)
        assert_array_equal(scale[:, :3], np.tile(scale[:, :1], 3))
        assert_array_equal(scale[:, 3:], np.tile(scale[:, 3:4], 6))
        assert set(scale.ravel()) == {-1.0, 1.0} or (start == "normal" and np.ptp(scale) > 3.0)
        coefs, intercepts = layout.views(parameters)
        for number, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
            if adapt == "layers" and number < 2:
                assert (extras[number, FACTOR] == 1.0).all()
                assert not intercept.any()
                shifts = extras[number, SHIFT].reshape(50, -1)
                assert_array_equal(shifts, np.tile(shifts[0], (50, 1)))
                intercept = shifts[0]
            bound = 1.0 / np.sqrt(len(coef))
            for array in (coef, intercept):
                assert 0.5 * bound < abs(array).max() <= bound


# What becomes of members


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", [network_of(), network_of(5, "inputs", key=LOG_LOSS, units=3)])
def test_members_alone_predict_the_same(network, dtype):
    X = make_problem(network, 300)[0]
    parameters = drawn_parameters(network, X).astype(dtype)
    reference, engine = ReferenceEngine(), CpuEngine(1)
    expected = reference.outputs(
        network, parameters.astype(np.float64), reference.load(X, None, None, network)
    )
    own = []
    for number in range(network.n_members):
        plain, vector = vector_alone(network, parameters, number)
        assert plain.members is None
        assert not plain.inputs.scaled
        assert vector.dtype == dtype
        own.append(engine.outputs(plain, vector, engine.load(X, None, None, plain, dtype)))
    tolerance = 50 * np.finfo(dtype).eps
    assert_allclose(np.mean(own, axis=0), expected, rtol=tolerance, atol=tolerance)
    assert np.ptp(own, axis=0).max() > 0.1
    outputs = engine.outputs(network, parameters, engine.load(X, None, None, network, dtype))
    assert_allclose(outputs, expected, rtol=tolerance, atol=tolerance)
    layout = layout_of(network)
    whole = Trained(network, *layout.views(parameters), layout.extras_of(parameters))
    assert len(list(members_alone(whole))) == network.n_members


@pytest.mark.parametrize("make_engine", [ReferenceEngine, lambda: CpuEngine(1)])
def test_a_fit_goes_on_where_it_stood(make_engine):
    """Bit by bit, with dropout and averages."""
    network = network_of()
    problem, beside = make_problem(network, 20), {"ema_decay": 0.9, "weight_decay": 0.1}
    plan = make_plan(20, 4)
    engine = make_engine()
    whole = run_epochs(engine, network, problem, plan, **beside)
    task = make_task(engine, network, problem, **beside)
    losses = []
    for orders in (plan.orders[:1], plan.orders[1:]):
        run = engine.start([task])
        losses += run.advance([replace(plan, orders=orders)])[0].losses
        state = run.optimizer_state(0, 0.01)
        task = replace(task, parameters=run.parameters(0), optimizer_state=state)
    assert_same_run((losses, task.parameters, task.optimizer_state), whole)


@pytest.mark.parametrize("make_engine", [ReferenceEngine, lambda: CpuEngine(1)])
def test_intercepts_that_all_have_stay_what_they_are(make_engine):
    network = network_of()
    problem, engine = make_problem(network, 20), make_engine()
    before = make_task(engine, network, problem).parameters
    after = run_epochs(engine, network, problem, solver="adamw", weight_decay=0.1)[1]
    layout = layout_of(network)
    first, last = layout.intercept_offsets[0], layout.intercept_offsets[-2]
    assert_array_equal(after[first:last], before[first:last])
    changed = after[: layout.trained_size] != before[: layout.trained_size]
    assert changed.mean() > 0.8


@pytest.mark.parametrize("adapt", ["inputs", "layers"])
def test_like_the_formulas_of_tabm(adapt):
    """Written out for PyTorch: ten epochs of full batches from the same numbers."""
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    count, n_rows, n_classes = 4, 60, 3
    hidden = [make_layer("relu", 16), make_layer("relu", 12), make_layer("relu", 8)]
    network = network_of(count, adapt, hidden, LOG_LOSS, n_classes)
    X, targets, _ = make_problem(network, n_rows)
    state = np.random.RandomState(0)
    parameters = draw_parameters(network, Formula("fan_in_uniform"), state, "float64", X=X)
    layout = layout_of(network)
    plan = EpochPlan(np.tile(np.arange(n_rows), (10, 1)), 0.02)
    decayed = {"embedding", "scale"}
    optimizer = OptimizerSpec(
        "adamw",
        (0.9, 0.999, 1e-30),  # there it is added after the correction of moments, here before it
        weight_decay=0.3,
        clip_norm=0.2,
        decay_factors=tuple(Factor(role, 1.0) for role in decayed),
    )
    vectors = np.zeros((2, layout.size))
    engine = CpuEngine(1)
    task = FitTask(
        network,
        optimizer,
        engine.load(X, targets, None, network, "float64"),
        parameters,
        OptimizerState("adamw", vectors, 0, 0.02),
        0.0,
        n_rows,
    )
    run = engine.start([task])
    losses = run.advance([plan])[0].losses

    def tensor(array):
        return torch.tensor(np.array(array), requires_grad=True)

    coefs, intercepts = layout.views(parameters)
    extras = named_extras(network, layout.extras_of(parameters))
    learned, given = extras[INPUTS, EMBEDDING].reshape(2, 18), extras[INPUTS, GIVEN].reshape(2, 8)
    slopes, shifts, steps = (tensor(part) for part in np.split(learned, [3, 6], axis=1))
    scale = tensor(extras[INPUTS, SCALE].reshape(count, -1))
    W = [tensor(coef) for coef in coefs[:-1]]
    V = tensor(coefs[-1].reshape(8, count, n_classes))
    c = tensor(intercepts[-1].reshape(count, n_classes))
    if adapt == "layers":
        b = [tensor(extras[i, SHIFT].reshape(count, -1)) for i in range(3)]
        s = [tensor(extras[i, FACTOR].reshape(count, -1)) for i in range(3)]
        r = [tensor(extras[i, NEXT_FACTOR].reshape(count, -1)) for i in range(2)]
    else:
        b, s, r = [tensor(intercept) for intercept in intercepts[:-1]], [1.0] * 3, [1.0] * 2
    adapters = [*s, *r] if adapt == "layers" else []
    groups = [
        {"params": [*W, V, scale, slopes, shifts, steps, *adapters], "weight_decay": 0.3},
        {"params": [*b, c], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, lr=0.02, eps=1e-30)
    x, starts, inverses = torch.tensor(X), *torch.tensor(given.reshape(2, 2, 4)).swapaxes(0, 1)
    # Encodings of numbers: one for whole bins below, a fraction within, zero above.
    inside = (x[:, :2, None] - starts) * inverses
    inside[:, :, 1:] = inside[:, :, 1:].clamp(min=0.0)
    inside[:, :, :-1] = inside[:, :, :-1].clamp(max=1.0)
    labels = torch.tensor(targets[:, 0], dtype=torch.long).repeat_interleave(count)
    expected = []
    for _ in range(10):
        bins = steps.reshape(2, 4, 3)
        e = x[:, :2, None] * slopes + shifts + torch.einsum("ndt,dto->ndo", inside, bins)
        h = torch.cat([e.reshape(n_rows, 6), x[:, 2:]], dim=1)[:, None] * scale
        for i in range(3):
            h = torch.relu((h @ W[i]) * s[i] + b[i])
            h = h * r[i] if i < 2 else h
        logits = torch.einsum("nkd,dkc->nkc", h, V) + c
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, n_classes), labels)
        theirs.zero_grad()
        loss.backward()
        learning = [p for group in groups for p in group["params"]]
        norm = torch.sqrt(sum((p.grad**2).sum() for p in learning))
        for p in learning:
            p.grad *= min(1.0, 0.2 / norm.item())
        theirs.step()
        expected.append(loss.item())
    assert_allclose(losses, expected, rtol=1e-9)
    assert_allclose(layout.views(run.parameters(0))[0][0], W[0].detach(), rtol=1e-7, atol=1e-9)
    assert losses[-1] < losses[0] - 0.05


# Presets


SMALL = {"n_members": 3, "max_iter": 4, "random_state": 0}


def make_table(n_rows=400, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "size": rng.lognormal(size=n_rows),
            "age": np.where(rng.uniform(size=n_rows) < 0.1, np.nan, rng.normal(size=n_rows)),
            "color": pd.Categorical(rng.choice(["red", "green", "blue"], n_rows)),
        }
    )
    score = np.log(table["size"]) + (table["color"] == "red") + table["age"].fillna(0.0)
    return table, score.to_numpy()


@pytest.fixture(scope="module", params=["tabm", "tabm-mini"])
def preset(request):
    return request.param


@pytest.fixture(scope="module", params=[TabularMLPClassifier, TabularMLPRegressor])
def fitted(request, preset):
    """Return a model, its data, and what it was validated with."""
    X, score = make_table()
    y = score if request.param is TabularMLPRegressor else np.where(score > 0, "high", "low")
    X_val, y_val = X[300:], y[300:]
    model = request.param(preset, **SMALL)
    if request.param is TabularMLPClassifier:
        model.set_params(calibrate=False)
    return model.fit(X[:300], y[:300], X_val=X_val, y_val=y_val), X[:300], y[:300], X_val, y_val


def outputs_of(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def test_members_become_networks_of_an_ensemble(fitted):
    model, _, _, X_val, y_val = fitted
    networks = model.ensemble_.estimators_
    assert len(networks) == len({id(network) for network in networks}) == 3
    encoded = model.encoder_.transform(X_val)
    own = [outputs_of(network, encoded) for network in networks]
    assert np.ptp(own, axis=0).max() > 1e-3
    assert_allclose(outputs_of(model, X_val), np.mean(own, axis=0), rtol=1e-4)
    report = model.validation_report_
    assert [member["weight"] for member in report["members"]] == [1 / 3] * 3
    assert report["rounds"]["n_networks"] == [3] * model.n_iter_
    told = report["rounds"]["loss"][-1]
    if hasattr(model, "classes_"):
        assert log_loss(y_val, outputs_of(model, X_val)) == pytest.approx(told, rel=1e-4)
    else:
        error = np.mean((outputs_of(model, X_val) - y_val) ** 2) / y_val.var()
        assert error == pytest.approx(told, rel=1e-4)
    # What is kept and loaded predicts the same.
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(outputs_of(again, X_val), outputs_of(model, X_val))
    assert networks[0].coefs_[0].shape[0] == 2 * 16 + 4  # two numbers, three colors, an indicator


@pytest.mark.usefixtures("always_parallel")
def test_presets_do_not_depend_on_threads(fitted):
    model, X, y, X_val, y_val = fitted
    other = clone(model).set_params(n_jobs=1).fit(X, y, X_val=X_val, y_val=y_val)
    assert_array_equal(outputs_of(other, X_val), outputs_of(model, X_val))


def test_a_score_chooses_among_members(fitted):
    model, X, y, X_val, y_val = fitted
    is_classifier = hasattr(model, "classes_")
    scoring = "neg_log_loss" if is_classifier else "neg_root_mean_squared_error"
    other = clone(model).set_params(scoring=scoring).fit(X, y, X_val=X_val, y_val=y_val)
    scorer = get_scorer(scoring)
    assert scorer(other, X_val, y_val) >= scorer(model, X_val, y_val) - 1e-6
    weights = [member["weight"] for member in other.validation_report_["members"]]
    assert len(set(weights)) > 1
    assert sum(weights) == pytest.approx(1.0)


def test_refit(preset):
    X, y = make_table()
    models = [TabularMLPRegressor(preset, refit=r, **SMALL).fit(X, y) for r in (False, True)]
    before, after = ([n.coefs_[0] for n in model.ensemble_.estimators_] for model in models)
    assert len(before) == len(after) == 3
    assert before[0].shape == after[0].shape
    assert not np.array_equal(before[0], after[0])
    assert np.isfinite(models[1].predict(X)).all()


def test_time_ends_a_fit_after_an_epoch(preset):
    X, y = make_table()
    model = TabularMLPRegressor(preset, **{**SMALL, "max_time": 1e-3}).fit(X, y)
    assert (model.n_iter_, model.stop_reason_) == (1, "max_time")
    assert len(model.ensemble_.estimators_) == 3


def test_tables_without_numbers_are_not_embedded(preset):
    X, y = make_table(120)
    model = TabularMLPRegressor(preset, **SMALL).fit(X[["color"]], y)
    network = model.ensemble_.estimators_[0]
    assert [coef.shape for coef in network.coefs_] == [(3, 512), (512, 512), (512, 512), (512, 1)]
    single = TabularMLPRegressor(preset, **{**SMALL, "n_members": 1}).fit(X, y)
    assert len(single.ensemble_.estimators_) == 1


def test_recipes_share_as_tabm_does():
    shares = PRESETS["tabm"].shares(Table(100, 2, 5, (), True, (3, 1, 1)), 32)
    assert shares == Members(32, "layers", "normal", (1, 1, 3, 1, 1))
    shares = PRESETS["tabm-mini"].shares(Table(100, 0, 3, (), True, (3,)), 8)
    assert shares == Members(8, "inputs", "signs", (3,))
    sizes = [tabm(Table(n, 1, 0, (), True), 0, None)["batch_size"] for n in (1000, 10**4, 10**6)]
    assert sizes == [32, 256, 1024]
