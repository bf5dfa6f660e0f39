"""Regularizers and constraints: penalties, clipping, norms, connections, signs, frozen layers."""

import copy
import pickle
import re
from functools import partial

import numpy as np
import pytest
from engine_checks import (
    HIDDEN,
    assert_same_run,
    head_of,
    make_layer,
    make_network,
    make_problem,
    make_task,
    run_epochs,
)
from guide_tables import GUIDE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skmlp._base
import skmlp.engines.base
import skmlp.engines.cpu.task
from skmlp import MLPClassifier, MLPRegressor
from skmlp._parameters import ineffective_remarks
from skmlp.activations import LeakyReLU, Maxout
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cuda.vocabulary import check_heeded
from skmlp.engines.reference import ReferenceEngine
from skmlp.initializers import From
from skmlp.network.activations import ACTIVATIONS
from skmlp.network.constraints import directions_of_outputs
from skmlp.network.masks import word_of_step
from skmlp.network.noise import noise
from skmlp.network.parameters import layout_of
from skmlp.network.penalties import PENALTIES
from skmlp.network.specs import Formula

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
Y = np.tanh(2 * X[:, 0]) - X[:, 1] + X[:, 2] * X[:, 3]
LABELS = (Y > 0).astype(int)
PLAIN = {"hidden_layer_sizes": (9, 6), "max_iter": 4, "random_state": 0, "batch_size": 40}


def fitted(estimator=MLPRegressor, *, data=X, **parameters):
    y = LABELS if estimator is MLPClassifier else Y
    return estimator(**{**PLAIN, **parameters}).fit(data, y)


# --- Formulas ---

INDEPENDENT = {
    "l2": lambda w: w**2 / 2,
    "elastic_net": lambda w, ratio: ratio * np.abs(w) + (1 - ratio) / 2 * w**2,
}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties(name):
    entry = PENALTIES[name]
    for constants in ([0.0], [0.3], [1.0]) if entry.constants else ([],):
        for w in (-2.0, -0.4, 0.3, 5.0):
            assert entry.value(w, *constants) == pytest.approx(INDEPENDENT[name](w, *constants))
            ends = [entry.value(w + step, *constants) for step in (1e-6, -1e-6)]
            slope = (ends[0] - ends[1]) / 2e-6
            assert entry.gradient(w, *constants) == pytest.approx(slope, rel=1e-6)
        assert entry.value(0.0, *constants) == entry.gradient(0.0, *constants) == 0.0
    with pytest.raises(ValueError, match="constants, got"):
        entry.check_constants((0.5, 0.5))


@pytest.mark.parametrize("name", HIDDEN)
def test_activations_that_never_fall_are_told(name):
    """An entry that says nothing of it must fall somewhere."""
    entry = ACTIVATIONS[name]
    if entry.takes_whole_rows:  # where one unit rises, others fall
        assert not entry.never_falls()
        return
    z = np.r_[-300, np.linspace(-30, 30, 6001), 300]
    defaults = [constant.default for constant in entry.constants]
    samples = [defaults, [-0.5], [2.0]] if name == "leaky_relu" else [defaults]
    numbers = [0.0] if entry.pieces else [0.25] * len(entry.learned)
    for constants in samples:
        given = [] if entry.pieces else constants
        values = [entry.value(float(number), *given, *numbers) for number in z]
        falls = np.min(np.diff(values)) < -1e-12
        assert falls != entry.never_falls(*constants), constants


def test_noise_is_normal_and_differs_from_place_to_place_and_step_to_step():
    first, second = (noise(word_of_step(7, step), 400, 50) for step in (1, 2))
    for numbers in (
        first,
        second,
        (first + second) / np.sqrt(2),
        (first[1:] - first[:-1]) / 2**0.5,
    ):
        assert abs(numbers.mean()) < 0.03
        assert abs(numbers.std() - 1) < 0.02
        assert abs(np.mean(numbers**4) - 3) < 0.2
        assert abs(np.mean(numbers[:, 1:] * numbers[:, :-1])) < 0.03


# --- Engines ---

NETWORK = make_network(
    7,
    [
        make_layer("tanh", 40, 0.2, None, "batch"),
        make_layer("prelu", 33, 0.0, None, "batch"),
        make_layer("maxout", 13, 0.0, (3.0,)),
    ],
    [head_of(("log_loss", "softmax"), 3)],
    noise=0.3,
    mixup=0.5,
)
EVERYTHING = {
    "clip_norm": 0.1,
    "clip_value": 0.002,
    "max_norm": 0.6,
    "penalty": Formula("elastic_net", (0.4,)),
    "weight_decay": 0.1,
    "bounded": ("connections", "signs"),
    "ema_decay": 0.9,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("batch_size", "slab_size"), [(16, 16), (300, 300), (300, 256)])
@pytest.mark.usefixtures("always_parallel")
def test_threads_and_slabs_change_nothing(batch_size, slab_size, dtype, monkeypatch):
    monkeypatch.setattr(skmlp.engines.cpu.task, "slab_rows", lambda *_: slab_size)
    problem = make_problem(NETWORK, 301 if batch_size > 16 else 40)
    for frozen_layers, solver in ((0, "muon"), (1, "sgd")):
        options = {"dtype": dtype, "batch_size": batch_size, "solver": solver, **EVERYTHING}
        options["frozen_layers"] = frozen_layers
        expected = run_epochs(CpuEngine(1), NETWORK, problem, **options)
        for n_jobs in (2, 3):
            actual = run_epochs(CpuEngine(n_jobs), NETWORK, problem, **options)
            assert_same_run(actual, expected)
        reference = run_epochs(ReferenceEngine(), NETWORK, problem, **options)
        assert_allclose(expected[0], reference[0], rtol={"float32": 1e-4, "float64": 1e-11}[dtype])


@pytest.mark.parametrize("engine", [ReferenceEngine(), CpuEngine(1)], ids=["reference", "cpu"])
def test_gradient_beside_noise_and_mixtures(engine):
    head = head_of(("log_loss", "softmax"), 3)
    disturbed = {"dropout": 0.3, "noise": 0.5, "mixup": 1.0}
    network = make_network(4, [make_layer("tanh", 5)], [head], **disturbed)
    task = make_task(engine, network, make_problem(network, 9))
    evaluate = partial(engine.loss_and_gradient, network, task.data, alpha=0.1, seed=3)
    losses = [evaluate(task.parameters, step=step)[0] for step in (0, 1, 2)]
    assert len(set(losses)) == 3
    _, gradient = evaluate(task.parameters, step=1)
    for i, shift in enumerate(np.eye(len(gradient)) * 1e-6):
        ends = [evaluate(task.parameters + sign * shift, step=1)[0] for sign in (1, -1)]
        assert gradient[i] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("engine", [ReferenceEngine(), CpuEngine(1)], ids=["reference", "cpu"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_what_cannot_change_counts_in_no_norm_and_moves_no_state(engine, solver):
    network = make_network(6, [make_layer("tanh", 8)], [head_of(("squared_error", "identity"), 2)])
    problem = make_problem(network, 30)
    options = {"solver": solver, "bounded": ("connections",), "clip_norm": 1e-3}
    _, parameters, state = run_epochs(engine, network, problem, **options)
    fixed = make_task(engine, network, problem, **options).bounds.is_fixed
    assert 0 < fixed.sum() < network.n_coefs
    assert not parameters[fixed].any()
    assert not state.vectors[:, fixed].any()
    _, frozen, state = run_epochs(engine, network, problem, **{**options, "frozen_layers": 1})
    start = make_task(engine, network, problem, **options).parameters
    behind = slice(layout_of(network).coef_offsets[1], layout_of(network).coef_offsets[2])
    assert_array_equal(frozen[: behind.start], start[: behind.start])
    assert not state.vectors[:, : behind.start].any()
    assert not np.array_equal(frozen[behind], start[behind])


def test_engines_refuse_what_they_cannot_compute():
    network = make_network(6, [make_layer("tanh", 8)], [head_of(("squared_error", "identity"), 2)])
    problem = make_problem(network, 30)
    task = make_task(CpuEngine(1), network, problem, bounded=("signs",))
    with pytest.raises(ValueError, match="CUDA cannot yet compute bounds of parameters"):
        check_heeded(task)
    with pytest.raises(ValueError, match="frozen_layers must be below 2, got 2"):
        skmlp.engines.base.FitTask(
            *(network, run_options(frozen_layers=2), task.data, task.parameters),
            *(task.optimizer_state, 0.0, 5),
        )
    noisy = make_network(6, network.layers, network.heads, noise=0.1)
    with pytest.raises(ValueError, match="Noise cannot be added to sparse inputs"):
        run_epochs(CpuEngine(1), noisy, make_problem(noisy, 30, density=0.3))
    mixed = make_network(6, network.layers, network.heads, mixup=0.1)
    with pytest.raises(ValueError, match="Rows of sparse inputs cannot be mixed"):
        run_epochs(CpuEngine(1), mixed, make_problem(mixed, 30, density=0.3))


def run_options(**options):
    return skmlp.network.specs.OptimizerSpec("sgd", (0.9, 1.0), **options)


# --- Steps by hand ---

START = [np.array([[0.5], [-2.0], [0.001], [1.0]])], [np.array([0.25])]


def one_step(rate=0.1, **parameters):
    """Fit a linear model for one step of the whole batch; return it, and the gradient."""
    options = {"hidden_layer_sizes": (), "solver": "sgd", "momentum": 0.0, "max_iter": 1}
    options |= {"batch_size": len(X), "learning_rate_init": rate, "alpha": 0.0, "init": START}
    model = MLPRegressor(**{**options, **parameters}).fit(X, Y)
    error = X @ START[0][0] + START[1][0] - Y[:, np.newaxis]
    return model, np.append(X.T @ error, error.sum(axis=0)) / len(X)


def moved(model):
    return np.append(model.coefs_[0] - START[0][0], model.intercepts_[0] - START[1][0])


def test_l1_ratio_splits_alpha():
    coefs = START[0][0]
    for ratio in (0.25, 1.0):
        model, gradient = one_step(alpha=3.0, l1_ratio=ratio)
        plain, _ = one_step()
        penalty = ratio * np.abs(coefs).sum() + (1 - ratio) / 2 * (coefs**2).sum()
        assert model.loss_ == pytest.approx(plain.loss_ + 3.0 * penalty / len(X))
        slope = 3.0 * (ratio * np.sign(coefs) + (1 - ratio) * coefs).ravel() / len(X)
        assert_allclose(moved(model), -0.1 * (gradient + np.append(slope, 0.0)), rtol=1e-9)
    default = fitted(alpha=0.3)
    assert_array_equal(fitted(alpha=0.3, l1_ratio=0.0).coefs_[0], default.coefs_[0])


def test_clip_value_comes_before_clip_norm():
    model, gradient = one_step(clip_value=0.5)
    clipped = np.clip(gradient, -0.5, 0.5)
    assert 0 < (clipped != gradient).sum() < len(gradient)
    assert_allclose(moved(model), -0.1 * clipped, rtol=1e-9)
    model, _ = one_step(clip_value=0.5, clip_norm=0.2)
    assert_allclose(moved(model), -0.1 * clipped * 0.2 / np.linalg.norm(clipped), rtol=1e-9)


def test_max_norm_is_obeyed_from_the_start():
    model, _ = one_step(rate=1e-12, max_norm=1.5)
    expected = START[0][0] * 1.5 / np.linalg.norm(START[0][0])
    assert_allclose(model.coefs_[0], expected, rtol=1e-7)
    for dtype in ("float32", "float64"):
        model = fitted(max_norm=0.5, activation=Maxout(2), dtype=dtype, learning_rate_init=0.1)
        norms = np.concatenate([np.linalg.norm(c.astype("f8"), axis=0) for c in model.coefs_])
        assert norms.max() <= 0.5
        assert (norms > 0.499).any()
    with pytest.warns(UserWarning, match="max_norm=0.5 has no effect with solver='lbfgs'"):
        fitted(max_norm=0.5, solver="lbfgs")


@pytest.mark.parametrize("key", [("gaussian_nll", "gaussian"), ("laplace_nll", "laplace")])
def test_deviations_may_rise_and_fall(key):
    network = make_network(3, [], [head_of(key, 2)])
    assert_array_equal(directions_of_outputs(network), [1.0, 1.0, np.nan, np.nan])


# --- Fits in pieces ---

MONOTONE = (1, -1, 0, 0)
GIVEN = (np.arange(36).reshape(4, 9) % 3 > 0, 0.5, None)
OPTIONS = [
    {"l1_ratio": 0.5, "clip_value": 0.01, "input_noise": 0.2, "mixup": 0.4},
    {"max_norm": 0.7, "connectivity": 0.5, "normalization": ("batch", None)},
    {
        **{"monotonic_cst": MONOTONE, "connectivity": GIVEN, "dtype": "float32"},
        "activation": (Maxout(2), "tanh"),
    },
    {"frozen_layers": 1, "connectivity": 0.4, "normalization": ("batch", "layer")},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pieces_equal_the_whole(options):
    whole = fitted(**options)
    pieces = MLPRegressor(**{**PLAIN, **options, "max_iter": 1}, warm_start=True)
    parts = MLPRegressor(**{**PLAIN, **options})
    for _ in range(PLAIN["max_iter"]):
        pieces = pickle.loads(pickle.dumps(pieces.fit(X, Y)))
        parts.partial_fit(X, Y)
    copied = fitted(**clone(whole).get_params(deep=False))
    for other in (pieces, parts, copied):
        for actual, expected in zip(other.coefs_, whole.coefs_, strict=True):
            assert_array_equal(actual, expected)
        assert_array_equal(other._extras, whole._extras)
    if "input_noise" not in options:
        assert_allclose(fitted(data=sparse.csr_array(X), **options).coefs_[0], whole.coefs_[0])


# --- Connections ---


@pytest.mark.parametrize("solver", ["sgd", "adam", "lion", "lbfgs"])
def test_connections_that_are_not_there_are_zero(solver):
    options = {"solver": solver, "weight_decay": 0.1, "activation": ("relu", Maxout(2))}
    if solver == "lbfgs":
        options["weight_decay"] = 0.0
    model = fitted(connectivity=0.5, **options)
    assert [(coef != 0).sum(axis=0).tolist() for coef in model.coefs_] == [[2] * 9, [4] * 12, [6]]
    assert_array_equal(model.coefs_[1][:, :6] == 0, model.coefs_[1][:, 6:] == 0)
    # Of a smaller share they are a part, and the same after a later fit by another solver.
    fewer = fitted(connectivity=(0.25, None, 1), **options)
    assert [(coef != 0).sum() for coef in fewer.coefs_] == [9, 9 * 12, 6]
    assert not fewer.coefs_[0][model.coefs_[0] == 0].any()
    before = [coef != 0 for coef in model.coefs_]
    model.set_params(
        warm_start=True, solver="lbfgs" if solver == "sgd" else "sgd", weight_decay=0.0
    )
    model.coefs_[0] = model.coefs_[0] + 1.0
    model.fit(X, Y)
    for coef, mask in zip(model.coefs_, before, strict=True):
        assert_array_equal(coef != 0, mask)
    given = fitted(connectivity=GIVEN, **options)
    assert_array_equal(given.coefs_[0] != 0, GIVEN[0])


def test_connections_depend_on_random_state_alone():
    masks = [fitted(connectivity=0.5, random_state=seed).coefs_[0] != 0 for seed in (0, 0, 1)]
    assert_array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    # Nothing is drawn for them: the weights that there are start as those of a full network.
    sparse_start = fitted(connectivity=0.5, learning_rate_init=1e-12, max_iter=1)
    full_start = fitted(learning_rate_init=1e-12, max_iter=1)
    there = sparse_start.coefs_[0] != 0
    assert_allclose(sparse_start.coefs_[0][there], full_start.coefs_[0][there], atol=1e-9)


# --- What goes with what ---

ASKED_FOR = {
    **{"alpha": 1.0, "l1_ratio": 0.5, "weight_decay": 0.1, "clip_norm": 1.0, "clip_value": 1.0},
    **{"max_norm": 1.0, "dropout": 0.1, "input_dropout": 0.1, "input_noise": 0.1},
    **{"normalization": "batch", "connectivity": 0.5, "monotonic_cst": [1, 0, 0, 0]},
    **{"frozen_layers": 1, "mixup": 0.1},
}


def test_the_guide_says_what_cuda_computes(monkeypatch):
    class Chosen(Exception):
        pass

    def choose(device, flops, lacking):
        raise Chosen(*lacking)

    monkeypatch.setattr(skmlp._base, "choose_for_fit", choose)
    text = (GUIDE / "regularization.md").read_text("utf-8").split('| `device="cuda"` |')[1]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    found = {name: row[-1] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert found.keys() == ASKED_FOR.keys()
    for name, answer in found.items():
        assert answer in ("yes", "not yet", "with `'lbfgs'`")
        with pytest.raises(Chosen) as chosen:
            fitted(device="auto", **{name: ASKED_FOR[name]})
        assert (chosen.value.args == ()) == (answer == "yes"), name
        if answer.startswith("with"):
            with pytest.raises(Chosen) as chosen:
                fitted(device="auto", solver="lbfgs", **{name: ASKED_FOR[name]})
            assert chosen.value.args == ()


# --- Monotone networks ---


def assert_monotone(predict, features, points, values, *, exact):
    """Compare predictions along each constrained feature, in the order of its values."""
    values = np.sort(values)
    for feature, direction in enumerate(features):
        if direction:
            lines = np.repeat(points, len(values), axis=0)
            lines[:, feature] = np.tile(values, len(points))
            outputs = predict(lines).reshape(len(points), len(values), -1)[:, ::direction]
            lower, upper = outputs[:, :-1], outputs[:, 1:]
            room = 0.0 if exact else 1e-12 * np.abs(outputs[np.isfinite(outputs)]).max(initial=1)
            is_fine = (upper >= lower) | np.isclose(upper, lower, rtol=0.0, atol=room)
            assert is_fine.all(), (feature, lower[~is_fine], upper[~is_fine])


LARGE = st.floats(-1e50, 1e50)
NUMBERS = st.one_of(st.floats(-3, 3), LARGE)
NEVER_FALLING = [
    name
    for name in HIDDEN
    if ACTIVATIONS[name].never_falls(*(c.default for c in ACTIVATIONS[name].constants))
]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    features=st.lists(st.sampled_from([-1, 0, 1]), min_size=4, max_size=4),
    hidden=st.lists(st.integers(1, 7), max_size=3),
    activation=st.sampled_from([*NEVER_FALLING, Maxout(3), LeakyReLU(0.3)]),
    normalization=st.sampled_from([None, None, "batch"]),
    kind=st.sampled_from(["squared_error", "poisson", "gaussian_nll", "classes", "two outputs"]),
    solver=st.sampled_from(["adam", "sgd", "lbfgs"]),
    points=st.lists(st.tuples(*[NUMBERS] * 4), min_size=1, max_size=3),
    values=st.lists(NUMBERS, min_size=2, max_size=8),
)
def test_monotone_for_every_input(
    features, hidden, activation, normalization, kind, solver, points, values
):
    points = np.array(points)
    if activation == "exponential":  # of another one, or far out, it is beyond all numbers
        hidden, points, values = hidden[:1], np.clip(points, -3, 3), np.clip(values, -3, 3)
    if activation == "step" and solver == "lbfgs":  # which refuses it
        solver = "adam"
    options = {**PLAIN, "hidden_layer_sizes": hidden, "activation": activation, "solver": solver}
    options |= {"monotonic_cst": features, "max_iter": 3, "learning_rate_init": 0.05}
    if solver != "lbfgs":
        options |= {"normalization": normalization, "clip_norm": 1.0}
    if kind == "classes":
        model = MLPClassifier(**options).fit(X, LABELS)
        predict = partial(decision, model)
    else:
        y = np.abs(Y) if kind == "poisson" else np.column_stack([Y, X[:, 0]])
        loss = "squared_error" if kind == "two outputs" else kind
        model = MLPRegressor(loss, **options).fit(X, y if y.ndim == 1 or "two" in kind else Y)
        predict = model.predict
    exact = activation in ("relu", "identity") and kind in ("squared_error", "two outputs")
    with np.errstate(over="ignore"):
        assert_monotone(predict, features, points, values, exact=exact)


def decision(model, data):
    return model.predict_proba(data)[:, 1]


def test_what_is_not_constrained_stays_free():
    """Of unconstrained features anything is learned, and of others what is convex or concave."""
    rng = np.random.default_rng(1)
    data = rng.uniform(-2, 2, size=(500, 4))
    y = np.sign(data[:, 0]) * np.abs(data[:, 0]) ** 1.5 + data[:, 2] * data[:, 3] * 0.7
    y += np.minimum(-data[:, 1], 0.3) * (1.2 + np.sin(data[:, 2]))
    options = {"hidden_layer_sizes": (30, 30), "max_iter": 300, "learning_rate_init": 0.01}
    model = MLPRegressor(**options, monotonic_cst=MONOTONE, random_state=0).fit(data, y)
    assert model.score(data, y) > 0.97
    assert_monotone(model.predict, MONOTONE, data[:50], np.linspace(-9, 9, 50), exact=True)
    # Of data that ask for the contrary nothing is learned in these features.
    contrary = np.negative(MONOTONE)
    options |= {"max_iter": 50, "monotonic_cst": contrary}
    model = MLPRegressor(**options, random_state=0).fit(data, y)
    assert_monotone(model.predict, contrary, data[:50], np.linspace(-9, 9, 50), exact=True)


def test_constraints_by_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    model = MLPRegressor(**PLAIN, monotonic_cst={"b": -1, "a": 1}).fit(frame, Y)
    expected = fitted(monotonic_cst=MONOTONE)
    for actual, coef in zip(model.coefs_, expected.coefs_, strict=True):
        assert_array_equal(actual, coef)
    model = fitted(monotonic_cst=[0, 0, 0, 0])
    assert_array_equal(model.coefs_[0], fitted().coefs_[0])
    search = GridSearchCV(model, {"monotonic_cst": [None, MONOTONE], "connectivity": [0.5]}, cv=2)
    assert search.fit(X, Y).best_params_["connectivity"] == 0.5


# --- Frozen layers ---


@pytest.mark.parametrize(
    ("solver", "dtype"),
    [("sgd", "float64"), ("adam", "float32"), ("lion", "float64"), ("lbfgs", "float32")],
)
def test_frozen_layers_stay_what_they_are(solver, dtype):
    normalization = ("layer" if solver == "lbfgs" else "batch", None)
    options = {"activation": "prelu", "normalization": normalization, "dtype": dtype}
    source = fitted(**options)
    options |= {"solver": solver, "alpha": 0.5}
    if solver != "lbfgs":
        options |= {"weight_decay": 0.1, "clip_norm": 1.0, "max_norm": 0.1, "l1_ratio": 0.5}
    model = MLPRegressor(**{**PLAIN, **options}, frozen_layers=1, warm_start=True)
    for name, value in vars(source).items():
        if name not in model.get_params(deep=False):
            setattr(model, name, value)
    model.fit(X, -Y)
    assert_array_equal(model.coefs_[0], source.coefs_[0])
    assert_array_equal(model.intercepts_[0], source.intercepts_[0])
    layout = layout_of(source._network)
    begin = layout.extra_offsets[0]
    changed = []
    for extra, start in zip(layout.extras, layout.extra_offsets, strict=False):
        own = slice(start - begin, start - begin + extra.size)
        if extra.layer == 0:
            assert_array_equal(model._extras[own], source._extras[own])
        else:
            changed.append(not np.array_equal(model._extras[own], source._extras[own]))
    assert all(changed)
    assert not np.array_equal(model.coefs_[1], source.coefs_[1])
    assert not np.array_equal(model.coefs_[2], source.coefs_[2])


def test_frozen_layers_count_in_the_loss_and_come_from_init_too():
    start = fitted()
    given = start.coefs_, start.intercepts_
    options = {"init": given, "alpha": 5.0, "max_iter": 1, "batch_size": 90}
    for ratio in (0.0, 0.7):
        whole, frozen = (fitted(**options, frozen_layers=n, l1_ratio=ratio) for n in (0, 2))
        assert frozen.loss_ == pytest.approx(whole.loss_, rel=1e-12)
    assert_array_equal(frozen.coefs_[1], start.coefs_[1])
    for init in (given, From(start)):
        with pytest.raises(ValueError, match="frozen_layers=1 keeps weights that monotonic_cst"):
            fitted(init=init, frozen_layers=1, monotonic_cst=MONOTONE)
        norms = fitted(init=init, frozen_layers=1, max_norm=0.1)
        assert_array_equal(norms.coefs_[0], start.coefs_[0])


def test_frozen_layers_of_averages_stay_what_the_model_has():
    options = {"ema_decay": 0.99, "warm_start": True, "activation": "prelu"}
    for later in ({}, {"ema_decay": None}):
        model = fitted(**options)
        coef, intercept = model.coefs_[0].copy(), model.intercepts_[0].copy()
        assert not np.array_equal(model._state.raw[: coef.size], coef.ravel())
        model.set_params(frozen_layers=1, **later).fit(X, Y)
        assert_array_equal(model.coefs_[0], coef)
        assert_array_equal(model.intercepts_[0], intercept)


def test_averages_from_before_a_constraint_obey_it():
    for name, value in (("connectivity", 0.5), ("monotonic_cst", MONOTONE), ("max_norm", 0.2)):
        model = fitted(ema_decay=0.99, warm_start=True)
        state = pickle.dumps(model._state.optimizer)
        drawn = clone(model).set_params(**{name: value}).fit(X, Y)
        earlier = copy.copy(model)
        model.set_params(**{name: value}).fit(X, Y)
        assert pickle.dumps(earlier._state.optimizer) == state
        if name == "connectivity":
            share = (drawn.coefs_[0] == 0).mean()
            assert (model.coefs_[0] == 0).mean() == pytest.approx(share)
        elif name == "max_norm":
            assert all((np.linalg.norm(coef, axis=0) <= value).all() for coef in model.coefs_)
        else:
            for feature, sign in enumerate(MONOTONE):
                along = np.linspace(-3, 3, 50)[:, np.newaxis] * np.eye(4)[feature]
                assert (sign * np.diff(model.predict(along)) >= 0).all()


# --- What is refused, or has no effect ---


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"l1_ratio": 1.5}, "'l1_ratio' parameter"),
        ({"l1_ratio": 0.5, "solver": "lbfgs"}, r"l1_ratio=0.5 does not go with solver='lbfgs'"),
        ({"clip_value": 0.0}, "'clip_value' parameter"),
        ({"max_norm": -1.0}, "'max_norm' parameter"),
        ({"connectivity": 0.0}, "'connectivity' parameter"),
        ({"connectivity": (0.5, "a", None)}, "'connectivity' parameter"),
        ({"connectivity": (0.5, np.ones((9, 6)), None)}, "'connectivity' parameter"),
        ({"connectivity": (0.5, None)}, "connectivity has 2 entries, but there are 3 weight"),
        (
            {"connectivity": (None, np.ones((6, 9), bool), None)},
            r"connectivity\[1\] must have shape \(9, 6\), .* got \(6, 9\)",
        ),
        ({"monotonic_cst": "a"}, "'monotonic_cst' parameter"),
        ({"monotonic_cst": [1, 0]}, "monotonic_cst has shape"),
        ({"monotonic_cst": [1, 0, 0, 3]}, "array-like of -1, 0 or 1"),
        ({"monotonic_cst": [[1, 0, 0, 1]]}, "monotonic_cst must have one dimension"),
        ({"monotonic_cst": {"a": 1}}, "was not fitted on data with feature names"),
        (
            {"monotonic_cst": MONOTONE, "activation": ("tanh", "gelu")},
            r"monotonic_cst needs activations that never fall, .*'gelu'\) may. Use 'identity'",
        ),
        ({"monotonic_cst": MONOTONE, "activation": LeakyReLU(-0.1)}, "activations that never fall"),
        (
            {"monotonic_cst": MONOTONE, "normalization": (None, "layer")},
            "monotonic_cst does not go with normalization='layer'",
        ),
        ({"frozen_layers": -1}, "'frozen_layers' parameter"),
        ({"frozen_layers": 3}, "frozen_layers=3 leaves nothing to train.* Use at most 2"),
        ({"input_noise": -0.1}, "'input_noise' parameter"),
        ({"mixup": -0.1}, "'mixup' parameter"),
        ({"mixup": np.inf}, "'mixup' parameter"),
        ({"normalization": ("batch",)}, "normalization=.*1 entries, but there are 2 hidden layers"),
        ({"normalization": ("batch", 3)}, "'normalization' parameter"),
        ({"normalization": ("batch", None), "solver": "lbfgs"}, r"normalization=\('batch', None\)"),
        *(
            ({"device": "cuda", **option}, f"CUDA cannot yet compute {next(iter(option))}")
            for option in (
                {"l1_ratio": 0.5},
                {"clip_value": 0.1},
                {"max_norm": 1.0},
                {"connectivity": 0.5},
                {"monotonic_cst": MONOTONE},
                {"frozen_layers": 1},
                {"input_noise": 0.1},
                {"mixup": 0.1},
            )
        ),
    ],
    ids=str,
)
def test_errors_name_parameter_value_and_remedy(parameters, match):
    model = MLPRegressor(**{**PLAIN, **parameters})
    before = dict(vars(model))
    with pytest.raises(ValueError, match=match):
        model.fit(X, Y)
    assert vars(model) == before


def test_what_classes_and_sparse_inputs_do_not_go_with():
    for y in (np.arange(90) % 3, np.column_stack([LABELS, 1 - LABELS])):
        with pytest.raises(ValueError, match="more than two classes, or several labels"):
            MLPClassifier(**PLAIN, monotonic_cst=MONOTONE).fit(X, y)
    with pytest.raises(ValueError, match=r"input_noise=0\.1 cannot be added to sparse X"):
        fitted(data=sparse.csr_array(X), input_noise=0.1)
    with pytest.raises(ValueError, match=r"mixup=0\.1 cannot mix rows of sparse X"):
        fitted(data=sparse.csr_array(X), mixup=0.1)
    fitted(data=sparse.csr_array(X), monotonic_cst=MONOTONE, connectivity=0.5, max_norm=1.0)


def test_what_has_no_effect_is_warned_of():
    for name, value in (
        ("clip_value", 0.1),
        ("max_norm", 1.0),
        ("input_noise", 0.1),
        ("mixup", 0.1),
    ):
        [remark] = ineffective_remarks(MLPRegressor(solver="lbfgs", **{name: value}))
        assert remark.message.startswith(f"{name}={value} has no effect with solver='lbfgs'")
    [remark] = ineffective_remarks(MLPRegressor(alpha=0.0, l1_ratio=0.5))
    assert remark.message.startswith("l1_ratio=0.5 has no effect with alpha=0.0")
    for options in ({"connectivity": 0.5}, {"monotonic_cst": [1, 0]}, {"frozen_layers": 1}):
        assert not ineffective_remarks(MLPRegressor(solver="lbfgs", **options))


def test_noise_is_that_of_training_only():
    model = fitted(input_noise=0.5)
    assert not np.array_equal(model.coefs_[0], fitted().coefs_[0])
    assert_array_equal(model.predict(X), model.predict(X))
    quiet = clone(model).set_params(init=(model.coefs_, model.intercepts_), input_noise=0.0)
    quiet.set_params(learning_rate_init=1e-300, max_iter=1).fit(X, Y)
    assert_array_equal(quiet.predict(X), model.predict(X))
    assert model.score(X, Y) > fitted(input_noise=100.0).score(X, Y)
