"""Embeddings of features and the scale of inputs: formulas, engines, estimators."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from engine_checks import (
    BESIDE,
    TOLERANCE,
    assert_same_run,
    check_against_reference,
    head_of,
    make_layer,
    make_problem,
    run_epochs,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from test_gradients import central_differences

import skmlp
import skmlp.engines.cpu.task
from skmlp import LayerTransformer, MLPRegressor
from skmlp._fitted import trained_network
from skmlp.callbacks import Checkpoint
from skmlp.embeddings import NAMES, PBLD, Categories, Cosine, PiecewiseLinear
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cpu.layout import parts_of_slab
from skmlp.engines.reference import ReferenceEngine
from skmlp.initializers import From
from skmlp.network.embeddings import EMBEDDINGS, edges_of_bins, measure_piecewise, widened
from skmlp.network.initializers import draw_uniform
from skmlp.network.parameters import GIVEN, INPUTS, layout_of
from skmlp.network.parts import before_activation, named_extras
from skmlp.network.specs import L2, Block, Formula, InputSpec, NetworkSpec
from skmlp.network.storage import as_plain, from_plain

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KEY = ("squared_error", "identity")
# Small ones, of the kinds that entries name.
SMALL = {
    "identity": (),
    "periodic": (3.0, 2.0, 0.7),
    "pbld": (3.0, 2.0, 0.5),
    "cosine": (3.0, 0.8),
    "piecewise": (4.0, 3.0),
    "categories": (5.0, 2.0),
}


def block(name, columns=1, constants=None):
    return Block(columns, Formula(name, SMALL[name] if constants is None else constants))


ALL = tuple(block(name, 1 + place % 2) for place, name in enumerate(EMBEDDINGS))
BUT_CODES = tuple(b for b in ALL if not b.entry.takes_codes)


def network_of(blocks, *, scaled=False, hidden=(), n_outputs=1, **disturbances):
    n_features = sum(b.columns for b in blocks)
    inputs = InputSpec(n_features, **disturbances, embedding=tuple(blocks), scaled=scaled)
    return NetworkSpec(inputs, tuple(hidden), (head_of(KEY, n_outputs),))


def drawn_parameters(network, X, seed=0):
    """Return parameters of which none that is trained has a value of its own."""
    layout = layout_of(network)
    parameters = draw_uniform(network, np.random.RandomState(seed), np.float64, X)
    changes = np.random.default_rng(seed).uniform(0.0, 0.3, size=layout.trained_size)
    parameters[: layout.trained_size] += changes
    return parameters


# Formulas


def waves(x, weights, phases):
    return np.cos(2 * np.pi * (x[:, None] * weights + phases))


def periodic(x, learned, given, units, width, sigma):
    weights, rest = learned[:units], learned[units:]
    matrix, shifts = rest[: 2 * units * width].reshape(width, -1), rest[2 * units * width :]
    angles = 2 * np.pi * x[:, None] * weights
    return np.maximum(np.hstack([np.sin(angles), np.cos(angles)]) @ matrix.T + shifts, 0.0)


def pbld(x, learned, given, units, width, sigma):
    weights, phases, rest = np.split(learned, [units, 2 * units])
    matrix, shifts = rest[: units * width].reshape(width, units), rest[units * width :]
    return np.column_stack([x, waves(x, weights, phases) @ matrix.T + shifts])


def cosine(x, learned, given, width, sigma):
    weights, phases, factors, shifts = learned.reshape(4, width)
    return np.column_stack([x, factors * waves(x, weights, phases) + shifts])


def piecewise(x, learned, given, bins, width):
    weights, shifts, *steps = learned.reshape(-1, width)
    starts, slopes = given.reshape(2, bins)
    used = int((slopes > 0).sum())
    z = (x[:, None] - starts[:used]) * slopes[:used]
    z[:, 1:] = np.maximum(z[:, 1:], 0.0)
    z[:, :-1] = np.minimum(z[:, :-1], 1.0)
    return x[:, None] * weights + shifts + z @ np.array(steps)[:used]


def categories(x, learned, given, levels, width):
    is_level = np.isin(x, np.arange(levels))
    return learned.reshape(levels, width)[np.where(is_level, x, 0).astype(int)]


# By names of the registry, as NumPy has them.
INDEPENDENT = {
    "identity": lambda x, learned, given: x[:, None],
    "periodic": periodic,
    "pbld": pbld,
    "cosine": cosine,
    "piecewise": piecewise,
    "categories": categories,
}


def passing_on(network, X):
    """Return parameters by which the outputs are what columns of X become."""
    parameters = drawn_parameters(network, X)
    (coefs,), (intercepts,) = layout_of(network).views(parameters)
    coefs[...], intercepts[...] = np.eye(len(coefs)), 0.0
    return parameters


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EMBEDDINGS)
def test_values_are_those_of_independent_formulas(name, dtype):
    """Over more rows than are taken at once, and bitwise the same for each row by itself."""
    constants = SMALL[name]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    X[:, 2] = 0.5 * rng.integers(0, 6, size=300)  # equal quantiles
    X[:4] = [[-0.0] * 3, [30.0, 4.0, -9.0], [1e6, 5.0, 7.5], [-1e6, 2.5, 1e3]]
    network = network_of([block(name, 3)], n_outputs=3 * EMBEDDINGS[name].width(*constants))
    parameters = passing_on(network, X[4:]).astype(dtype)
    X = X[:2] if name not in ("identity", "piecewise", "categories") else X.astype(dtype)
    X = np.vstack([X, rng.normal(size=(300, 3)).astype(dtype)]).astype(dtype)
    layout = layout_of(network)
    given = {"learned": np.empty((3, 0)), "given": np.empty((3, 0))}
    for (_, key), array in named_extras(network, layout.extras_of(parameters)).items():
        own = "given" if key == GIVEN else "learned"
        given[own] = array.reshape(3, -1).astype(np.float64)
    whole = [int(value) if value == int(value) else value for value in constants]
    columns = zip(X.T.astype(np.float64), given["learned"], given["given"], strict=True)
    expected = np.hstack([INDEPENDENT[name](*column, *whole) for column in columns])
    scale = 1.0 + np.abs(expected)
    reference = ReferenceEngine()
    data = reference.load(X, None, None, network)
    assert_allclose(
        reference.outputs(network, parameters.astype(np.float64), data) / scale,
        expected / scale,
        atol=1e-12,
    )
    engine = CpuEngine(1)
    data = engine.load(X, None, None, network, dtype)
    outputs = engine.outputs(network, parameters, data)
    assert_allclose(outputs / scale, expected / scale, atol=200 * np.finfo(dtype).eps)
    for rows in ([0], [1], [290], range(7, 30), range(255, 258)):
        some = engine.outputs(network, parameters, data, np.array(rows))
        assert_array_equal(some, outputs[rows])


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", EMBEDDINGS)
def test_gradient_against_central_differences(name, scaled):
    network = network_of(
        [block(name, 2), block("identity")], scaled=scaled, hidden=[make_layer("tanh", 3)]
    )
    problem = make_problem(network, 9)
    engine = ReferenceEngine()
    data = engine.load(*problem, network)
    parameters = drawn_parameters(network, problem[0])
    gradient = engine.loss_and_gradient(network, data, parameters, 0.1)[1]

    def loss(p):
        return engine.loss_and_gradient(network, data, p, 0.1)[0]

    expected = central_differences(loss, parameters)
    # What the data give has no gradient.
    expected[layout_of(network).trained_size :] = 0.0
    assert_allclose(gradient, expected, rtol=1e-6, atol=2e-9)
    assert np.count_nonzero(gradient) > 2 * EMBEDDINGS[name].learned(*SMALL[name]) // 3


def test_quantiles_of_training_rows_are_given():
    network = network_of([block("piecewise", 3)])
    X = np.column_stack([np.arange(101.0), np.arange(101) % 2, np.full(101, 7.0)])
    parameters = draw_uniform(network, np.random.RandomState(0), "float64", X)
    given = named_extras(network, layout_of(network).extras_of(parameters))[INPUTS, GIVEN]
    far = float(np.finfo("float32").max)
    expected = [
        *([0.0, 25.0, 50.0, 75.0], [0.04] * 4),
        *([0.0, far, far, far], [1.0, 0.0, 0.0, 0.0]),
        *([7.0, far, far, far], [0.0] * 4),
    ]
    assert_allclose(given.reshape(6, 4), expected, rtol=1e-12)


@pytest.mark.parametrize("bins", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.95])
def test_frequent_values_leave_bins_to_the_others(bins, share):
    rng = np.random.default_rng(0)
    x = np.where(rng.uniform(size=400) < share, 0.0, rng.uniform(1.0, 2.0, size=400))
    edges = edges_of_bins(x, bins)
    assert 2 <= len(edges) <= bins + 1
    assert_array_equal(edges, np.unique(edges))
    if np.count_nonzero(x == 0.0) * bins >= len(x):
        assert edges[0] == 0.0
        rows = np.histogram(x[x > 0], edges[1:])[0]
        assert rows.sum() == np.count_nonzero(x)
        assert np.ptp(rows) <= 2
    few = rng.integers(0, bins + 1, size=400).astype(float)
    assert_array_equal(edges_of_bins(few, bins), np.unique(few))


def test_bins_at_the_ends_are_not_narrow():
    """Or else numbers a little beyond those of the fit would become very large ones."""
    x = np.concatenate([np.linspace(0.0, 49.99, 200), np.full(200, 50.0)])
    edges = widened(edges_of_bins(x, 10))
    assert_array_equal(edges[:-1], edges_of_bins(x, 10)[:-1])
    assert edges[-1] - edges[-2] >= 50.0 / 10
    starts, slopes = measure_piecewise(x, 10.0, 1.0).reshape(2, 10)
    assert slopes.max() < 10.0
    assert np.isclose((50.0 - starts[9]) * slopes[9], 0.0, atol=0.01)


def test_rows_that_take_turns_have_bins_alike():
    x = np.arange(300_000) % 2 * 10.0 + np.random.default_rng(0).uniform(size=300_000)
    starts = measure_piecewise(x, 8.0, 1.0)[:8]
    assert 3 <= np.count_nonzero(starts < 5.0) <= 5


# Engines


HIDDEN = [
    make_layer("tanh", 5),
    make_layer("relu", 40, 0.2),
    make_layer("tanh", 9, 0.0, None, "batch"),
]


@st.composite
def embedding_networks(draw):
    """Draw small networks whose first layer reads something else than X."""
    disturbances = {
        "dropout": draw(st.sampled_from([0.0, 0.0, 0.3])),
        "noise": draw(st.sampled_from([0.0, 0.0, 0.2])),
        "mixup": draw(st.sampled_from([0.0, 0.0, 0.5])),
    }
    names = [n for n in SMALL if not (any(disturbances.values()) and n == "categories")]
    blocks = draw(st.lists(st.sampled_from(names), max_size=3))
    blocks = [block(name, draw(st.integers(1, 3))) for name in blocks]
    n_features = sum(b.columns for b in blocks) or 4
    scaled = draw(st.booleans()) if blocks else True
    inputs = InputSpec(n_features, **disturbances, embedding=tuple(blocks), scaled=scaled)
    hidden = draw(st.lists(st.sampled_from(HIDDEN), max_size=2))
    heads = head_of(draw(st.sampled_from([KEY, ("log_loss", "softmax")])), 2)
    return NetworkSpec(inputs, tuple(hidden), (heads,))


def test_cpu_equals_reference():
    compared = []

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        network=embedding_networks(),
        n_samples=st.integers(1, 20),
        batch_size=st.integers(1, 20),
        dtype=st.sampled_from(["float32", "float64"]),
        solver=st.sampled_from(["sgd", "adam"]),
        density=st.none(),
        weighted=st.booleans(),
        beside=BESIDE.map(lambda options: options | {"penalty": L2}),
    )
    def check(**problem):
        check_against_reference(lambda: CpuEngine(1), **problem)
        compared.append(problem)

    check()
    assert len(compared) >= 15


EVERYTHING = network_of(ALL, scaled=True, hidden=HIDDEN[1:])
IN_SLABS = network_of(ALL, scaled=True, hidden=HIDDEN[:2])
SCALED = replace(
    network_of([block("identity", 20)], scaled=True, hidden=[make_layer("tanh", 30)]),
    inputs=InputSpec(20, dropout=0.2, noise=0.1, mixup=0.4, scaled=True),
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("network", "batch_size", "slab_size", "parts"),
    [
        (EVERYTHING, 9, 9, 1),
        (EVERYTHING, 200, 200, 2),
        (IN_SLABS, 40, 5, 1),
        (IN_SLABS, 40, 16, 2),
        (SCALED, 9, 9, 1),
        (SCALED, 200, 150, 2),
    ],
)
@pytest.mark.usefixtures("always_parallel")
def test_threads_change_nothing(network, batch_size, slab_size, parts, dtype, monkeypatch):
    monkeypatch.setattr(skmlp.engines.cpu.task, "TILE_ROWS", 1)
    monkeypatch.setattr(skmlp.engines.cpu.task, "slab_rows", lambda *_: slab_size)
    assert parts_of_slab(network, slab_size) == parts
    problem = make_problem(network, 2 * batch_size + 1)
    options = {"dtype": dtype, "batch_size": batch_size, "solver": "sgd"}
    options |= {"ema_decay": 0.9, "clip_norm": 1.0} if batch_size == 40 else {}
    expected = run_epochs(CpuEngine(1), network, problem, **options)
    for n_jobs in (2, 3, 4):
        assert_same_run(run_epochs(CpuEngine(n_jobs), network, problem, **options), expected)
    reference = run_epochs(ReferenceEngine(), network, problem, **options | {"dtype": "float64"})
    assert_allclose(expected[0], reference[0], rtol=TOLERANCE[dtype])
    scale = np.abs(reference[1][: layout_of(network).trained_size]).max()
    assert_allclose(expected[1], reference[1], rtol=1e-6, atol=TOLERANCE[dtype] * scale)


# Estimators


def make_data(n_samples=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 4))
    X[:, 3] = rng.integers(0, 6, n_samples)
    return X, np.sin(6 * X[:, 0]) + (X[:, 3] == 2) + X[:, 1] ** 2


MIXED = [PiecewiseLinear(4, 3), PBLD(3, 2), None, Categories(6, 2)]
OPTIONS = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "batch_size": 20}


def fitted(X, y, embedding=MIXED, **options):
    model = MLPRegressor(**OPTIONS | {"embedding": embedding} | options)
    return model.fit(X, y)


def test_each_feature_of_its_own_and_what_attributes_tell():
    X, y = make_data()
    model = fitted(X, y, input_scale=True)
    assert model.n_features_in_ == 4
    assert model.coefs_[0].shape == (3 + 3 + 1 + 2, 8)
    names = [layer.name for layer in model.summary().layers]
    assert names == ["inputs", "hidden 0", "output"]
    inputs = model.summary().layers[0]
    assert (inputs.shape, inputs.activation) == (
        (4, 9),
        "piecewise, pbld, identity, categories, scale",
    )
    assert inputs.n_parameters == (4 + 2) * 3 + (2 * 3 + 4 * 2) + 6 * 2 + 9
    # The scale is part of the weights, and still known where a fit goes on.
    assert not model._network.inputs.scaled
    assert model._trained[0].inputs.scaled
    with pytest.raises(ValueError, match="X has 3 features"):
        model.predict(X[:, :3])


@pytest.mark.parametrize("embedding", [None, MIXED])
def test_a_fit_in_pieces_is_the_same(embedding):
    """Through pickles, too: what inputs have learned is gone on from."""
    X, y = make_data()
    options = {"input_scale": True, "warm_start": True, "ema_decay": 0.5}
    whole = fitted(X, y, embedding, **options, tol=0.0)
    model = fitted(X, y, embedding, **options, max_iter=2, tol=0.0)
    model = pickle.loads(pickle.dumps(model)).fit(X, y)
    assert_array_equal(model.predict(X), whole.predict(X))
    assert_array_equal(model._extras, whole._extras)
    again = fitted(X, y, embedding, input_scale=True, max_iter=1, ema_decay=0.5)
    for _ in range(3):
        again.partial_fit(X, y)
    assert_array_equal(again.coefs_[0], whole.coefs_[0])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_models_come_back_from_where_they_are_put(solver, tmp_path):
    X, y = make_data()
    n_estimators = 1 if solver == "lbfgs" else 2
    model = fitted(X, y, solver=solver, input_scale=True, n_estimators=n_estimators)
    expected = model.predict(X)
    model.save(tmp_path / "model")
    for other in (skmlp.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert_array_equal(other.predict(X), expected)
    assert_array_equal(clone(model).fit(X, y).predict(X), expected)
    onnxruntime = pytest.importorskip("onnxruntime")
    X[:3, 3] = 7.0, -1.0, 2.5  # no codes
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-4)):
        session = onnxruntime.InferenceSession(model.to_onnx(dtype=dtype).SerializeToString())
        (outputs,) = session.run(None, {"X": X.astype(dtype)})
        assert_allclose(outputs, model.predict(X), rtol=tolerance, atol=tolerance)


def test_a_fit_goes_on_from_a_checkpoint(tmp_path):
    X, y = make_data()
    model = MLPRegressor(**OPTIONS | {"embedding": MIXED, "input_scale": True})
    model.set_params(monitor=["gradient_norm", "dead_units"], early_stopping=True)
    path = tmp_path / "checkpoint"
    whole = clone(model).set_callbacks(Checkpoint(path, every=2)).fit(X, y)
    again = clone(model).fit(X, y, resume_from=path)
    assert_array_equal(again.predict(X), whole.predict(X))
    with pytest.raises(ValueError, match="embedding"):
        clone(model).set_params(embedding="pbld").fit(X, y, resume_from=path)
    hidden = LayerTransformer(whole).fit(X, y).transform(X)
    assert hidden.shape == (len(X), 8)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_has_every_formula(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    X, y = make_data()
    X[:, 1] = 3.0
    X[:, 2] = X[:, 3] > 2
    model = fitted(X, y, name, max_iter=2)
    X[0], X[1] = 9.0, -9.0
    session = onnxruntime.InferenceSession(model.to_onnx(dtype="float64").SerializeToString())
    (outputs,) = session.run(None, {"X": X})
    assert_allclose(outputs, model.predict(X), rtol=1e-11, atol=1e-11)


def test_old_descriptions_of_networks_are_as_they_were():
    """Of a network without embedding nothing has been added to its description."""
    network = network_of([block("identity", 3)])
    plain = as_plain(replace(network, inputs=InputSpec(3)))
    assert plain["inputs"] == {"n_features": 3, "dropout": 0.0, "noise": 0.0, "mixup": 0.0}
    assert from_plain(plain).inputs == InputSpec(3)
    assert from_plain(as_plain(EVERYTHING)) == EVERYTHING


def test_a_scale_alone_is_part_of_the_weights():
    X, y = make_data()
    model = fitted(X, y, None, input_scale=True)
    assert_allclose(model.to_sklearn().predict(X), model.predict(X), rtol=1e-12)
    assert_array_equal(model.predict(csr_array(X)), model.predict(X))
    network, parameters = model._trained
    scale = named_extras(network, layout_of(network).extras_of(parameters))[INPUTS, "scale"]
    assert (scale != 1.0).all()
    coefs, _ = layout_of(network).views(parameters)
    assert_array_equal(model.coefs_[0], scale[:, None] * coefs[0])
    gradients = model.input_gradients(X)
    assert gradients.shape == X.shape
    # Another network begins with what was learned, whether it has a scale or not.
    for scaled in (True, False):
        start = fitted(X, y, None, init=From(model), input_scale=scaled, learning_rate_init=1e-12)
        assert_allclose(start.predict(X), model.predict(X), rtol=1e-6)
    monotone = fitted(X, y, None, input_scale=True, monotonic_cst=[1, 0, 0, 0], max_iter=30)
    grid = np.repeat(X[:5], 20, axis=0)
    grid[:, 0] = np.tile(np.linspace(-3, 3, 20), 5)
    assert (np.diff(monotone.predict(grid).reshape(5, 20)) >= -1e-12).all()


@pytest.mark.parametrize("hidden", [(8,), ()])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_start_from_another_network_takes_its_embedding(hidden, scaled):
    X, y = make_data()
    own = {"hidden_layer_sizes": hidden, "input_scale": scaled}
    model = fitted(X, y, **own)
    start = fitted(X, y, init=From(model), learning_rate_init=1e-12, random_state=5, **own)
    assert_allclose(start.predict(X), model.predict(X), rtol=1e-6)


def test_sparse_rows_are_refused_wherever_they_come():
    X, y = make_data()
    sparse = csr_array(X)
    model = MLPRegressor(**OPTIONS, embedding=MIXED, early_stopping=True)
    with pytest.raises(ValueError, match="needs dense X_val"):
        model.fit(X, y, X_val=sparse, y_val=y)
    with pytest.raises(ValueError, match="X is sparse, but the network embeds"):
        fitted(X, y, n_estimators=2).predict(sparse)


def test_weights_that_look_at_data_see_embedded_columns():
    X, y = make_data(200)
    model = fitted(X, y, init="data_driven", learning_rate_init=1e-12, activation="identity")
    engine = ReferenceEngine()
    inner = before_activation(trained_network(model), 0)
    data = engine.load(X, None, None, inner.network)
    products = engine.predict(*inner[:3], data, extras=inner.extras)
    assert_allclose(products.std(axis=0), 1.0, rtol=1e-6)


@pytest.mark.parametrize("code", [-1.0, 6.0, 2.5, 1e300, -1e300, 2.0**62])
def test_codes_that_are_none_are_unknown_ones(code):
    X, y = make_data()
    model = fitted(X, y)
    X[:, 3] = 0.0
    expected = model.predict(X)
    X[:, 3] = code
    assert_array_equal(model.predict(X), expected)
    with pytest.raises(ValueError, match=r"Column 3 of X must hold whole numbers from 0 to 5"):
        fitted(X, y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300, 1e300, 0.0])
def test_extras_of_any_size_reach_no_other_memory(value):
    """Neither what is learned nor what is given is believed to be an index."""
    X, y = make_data()
    model = fitted(X, y)
    model._extras[:] = value
    with np.errstate(all="ignore"):
        if np.isnan(value):
            with pytest.raises(ValueError, match="_extras holds NaN"):
                model.predict(X)
        else:
            assert model.predict(X).shape == y.shape
    model._extras = model._extras[1:]
    with pytest.raises(ValueError, match="_extras must be a vector of"):
        model.predict(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": "pld"}, "embedding' parameter of MLPRegressor must be"),
        ({"embedding": []}, "embedding' parameter of MLPRegressor must be"),
        ({"embedding": [None, "pbld"]}, "embedding has 2 entries, but X has 4 features"),
        ({"embedding": PBLD(units=0)}, "units"),
        ({"embedding": [None, PBLD(sigma=-1.0), None, None]}, "sigma"),
        ({"embedding": MIXED, "mixup": 0.2}, r"mixup=0.2 does not go with Categories\(...\)"),
        ({"embedding": MIXED, "input_dropout": 0.2}, "input_dropout=0.2 does not go with"),
        ({"embedding": "pbld", "monotonic_cst": [1, 0, 0, 0]}, "monotonic_cst does not go with"),
        ({"embedding": "pbld", "device": "cuda"}, "embedding"),
        ({"input_scale": True, "device": "cuda"}, "input_scale"),
        ({"input_scale": 1.5}, "input_scale"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    X, y = make_data()
    model = MLPRegressor(**OPTIONS | options)
    with pytest.raises((ValueError, RuntimeError), match=message):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")


def test_what_knows_no_embedding_says_so():
    X, y = make_data()
    model = fitted(X, y)
    for embedding, scaled in ((MIXED, False), (None, True)):
        with pytest.raises(ValueError, match="needs dense X"):
            fitted(csr_array(X), y, embedding, input_scale=scaled)
    with pytest.raises(ValueError, match=r"embeds its features.*X\.toarray"):
        model.predict(csr_array(X))
    with pytest.raises(ValueError, match=r"scikit-learn.* embedding"):
        model.to_sklearn()
    for call in (model.input_gradients, model.dead_units):
        with pytest.raises(ValueError, match="fitted with embedding=None"):
            call(X)
    with pytest.raises(ValueError, match="Cannot resume: embedding"):
        clone(model).set_params(warm_start=True).fit(X, y).set_params(
            embedding=[PiecewiseLinear(4, 3), Cosine(2), None, Categories(6, 2)]
        ).fit(X, y)
    model.coefs_ = [model.coefs_[0][:5], model.coefs_[1]]
    with pytest.raises(ValueError, match="its embedding makes 9 numbers of each row of X"):
        model.predict(X)
    model = MLPRegressor(embedding="pbld")
    model.coefs_, model.intercepts_ = [np.ones((4, 1))], [np.zeros(1)]
    with pytest.raises(ValueError, match="tell nothing of embedding='pbld'"):
        model.predict(X)
