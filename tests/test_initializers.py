"""Where a fit starts: drawn by an initializer, or from given weights."""

import pickle
from itertools import chain

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor as SklearnRegressor

from skmlp import MLPClassifier, MLPRegressor, initializers
from skmlp._fitted import as_trained
from skmlp.activations import LeakyReLU
from skmlp.engines.reference import values_arriving
from skmlp.initializers import (
    CLASSES,
    DRAWN,
    DataDriven,
    From,
    GlorotUniform,
    HeNormal,
    Orthogonal,
    ZeroLast,
    init_formula,
)
from skmlp.network.activations import ACTIVATIONS
from skmlp.network.constants import Constant
from skmlp.network.initializers import INITIALIZERS, Initializer, draw_parameters, draw_uniform
from skmlp.network.parameters import layout_of
from skmlp.network.specs import Formula, plain_network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (5, 4), "max_iter": 6, "random_state": 0}


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 3))


@pytest.fixture
def y(X):
    return X[:, 0] - np.abs(X[:, 1])


def views(network, name, seed=0, **options):
    state = np.random.RandomState(seed)
    parameters = draw_parameters(network, init_formula(name), state, "float64", **options)
    return layout_of(network).views(parameters)


# --- Drawn ---


def test_every_initializer_has_a_class():
    assert {choice._name for choice in DRAWN} == set(INITIALIZERS)
    assert {choice.__name__ for choice in CLASSES} == set(initializers.__all__)
    for choice in DRAWN:
        assert init_formula(choice()) == init_formula(choice._name)
        entry = INITIALIZERS[choice._name]
        assert list(choice().get_params()) == [constant.name for constant in entry.constants]
        choice().check("init")


def within(bound):
    return stats.uniform(-bound, 2 * bound)


def with_variance(variance):
    return stats.norm(0, np.sqrt(variance))


# The distribution of a layer's coefficients; that of intercepts, where they are not zero.
DISTRIBUTIONS = {
    "glorot_normal": lambda n, m, gain: (with_variance(2 / (n + m)), None),
    "he_uniform": lambda n, m, gain: (within(np.sqrt(3 * gain / n)), None),
    "he_normal": lambda n, m, gain: (with_variance(gain / n), None),
    "lecun_uniform": lambda n, m, gain: (within(np.sqrt(3 / n)), None),
    "lecun_normal": lambda n, m, gain: (with_variance(1 / n), None),
    "fan_in_uniform": lambda n, m, gain: (within(np.sqrt(1 / n)), within(np.sqrt(1 / n))),
    "ntk": lambda n, m, gain: (with_variance(1 / n), with_variance(1)),
}


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_are_those_of_the_papers(name, activation):
    network = plain_network((90, 300, 40, 60), activation, "squared_error", "identity")
    for coef, intercept in zip(*views(network, name), strict=True):
        expected = DISTRIBUTIONS[name](*coef.shape, 2.0 if activation == "relu" else 1.0)
        for own, distribution in zip((coef, intercept), expected, strict=True):
            if distribution is None:
                assert not own.any()
            else:
                assert stats.kstest(own.ravel(), distribution.cdf).pvalue > 0.01


INDEPENDENT = {
    "glorot_normal": lambda i, w: i.xavier_normal_(w),
    "he_uniform": lambda i, w: i.kaiming_uniform_(w, nonlinearity="relu"),
    "he_normal": lambda i, w: i.kaiming_normal_(w, nonlinearity="relu"),
    "lecun_uniform": lambda i, w: i.kaiming_uniform_(w, nonlinearity="linear"),
    "lecun_normal": lambda i, w: i.kaiming_normal_(w, nonlinearity="linear"),
    "fan_in_uniform": lambda i, w: i.kaiming_uniform_(w, a=5**0.5),
    "orthogonal": lambda i, w: i.orthogonal_(w),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_distributions_are_those_of_torch(name):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    torch.manual_seed(0)
    theirs = torch.empty(200, 150)  # a row for each unit
    INDEPENDENT[name](torch.nn.init, theirs)
    coef = views(plain_network((150, 200, 1), "relu", "squared_error", "identity"), name)[0][0]
    assert stats.ks_2samp(coef.ravel(), theirs.numpy().ravel()).pvalue > 0.01


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50), (7, 1), (1, 7)])
def test_orthogonal(shape):
    network = plain_network((*shape, 1), "relu", "squared_error", "identity")
    state = np.random.RandomState(0)
    parameters = draw_parameters(network, Formula("orthogonal", (1.5,)), state, "float64")
    coefs, intercepts = layout_of(network).views(parameters)
    short = coefs[0] if shape[0] < shape[1] else coefs[0].T
    assert_allclose(short @ short.T, 1.5**2 * np.eye(len(short)), atol=1e-12)
    assert not any(intercept.any() for intercept in intercepts)


def test_sparse():
    network = plain_network((40, 300, 5, 20), "relu", "squared_error", "identity")
    state = np.random.RandomState(0)
    parameters = draw_parameters(network, Formula("sparse", (15.0, 0.5)), state, "float64")
    coefs, intercepts = layout_of(network).views(parameters)
    for coef in coefs:
        assert_array_equal((coef != 0).sum(axis=0), min(15, len(coef)))
        values = coef[coef != 0]
        assert stats.kstest(values, stats.norm(0, 0.5).cdf).pvalue > 0.01
    # Each input is as likely as any other.
    assert stats.chisquare((coefs[0] != 0).sum(axis=1)).pvalue > 0.01
    assert not any(intercept.any() for intercept in intercepts)


@pytest.mark.usefixtures("plans")
@pytest.mark.parametrize(
    ("activation", "normalization"),
    [("relu", None), ("prelu", "layer"), ("maxout", "batch"), ("gelu", None)],
)
def test_data_driven(X, activation, normalization):
    options = {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1, "random_state": 0}
    X = 3 * X + [0, 100, -5]
    X[:, 2] = 7.0
    for rows in (0, 5):
        model = MLPRegressor(
            hidden_layer_sizes=(30, 20),
            activation=activation,
            normalization=normalization,
            init=DataDriven(rows=rows),
            **options,
        ).fit(X, X[:, 0])
        network, coefs, intercepts, extras = as_trained(model)
        parameters = layout_of(network).pack(coefs, intercepts, float, extras)
        for number, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
            values = values_arriving(network, parameters, number, X)
            products = values @ coef
            assert_allclose(products.std(axis=0), 1.0, rtol=1e-9)
            if rows == 0:
                assert_allclose(intercept, 0, atol=1e-200)
            else:  # a mixture of pre-activations, for each unit another one
                assert (products.min(axis=0) <= -intercept).all()
                assert (products.max(axis=0) >= -intercept).all()
                assert len(np.unique(intercept)) == intercept.size


def test_data_driven_leaves_units_that_see_nothing(X, y):
    model = MLPRegressor(**SMALL, init="data_driven").fit(np.ones_like(X), y)
    assert np.isfinite(model.loss_)


def test_he_normal_keeps_signals_at_their_size():
    """Through thirty layers of rectifiers, where the other default loses them."""
    network = plain_network((100,) * 31, "relu", "squared_error", "identity")
    sizes = {}
    for name in ("he_normal", "he_uniform", "glorot_uniform"):
        values = np.random.default_rng(0).normal(size=(200, 100))
        for coef, intercept in zip(*views(network, name), strict=True):
            values = np.maximum(values @ coef + intercept, 0)
        sizes[name] = np.sqrt((values**2).mean())
    assert 0.3 < sizes["he_normal"] < 3
    assert 0.3 < sizes["he_uniform"] < 3
    assert sizes["glorot_uniform"] < 0.1


SIGNALS = np.random.default_rng(0).normal(size=(2, 10**5))


@pytest.mark.parametrize(
    ("name", "constants", "numbers"),
    [
        ("identity", (), ()),
        ("relu", (), ()),
        ("leaky_relu", (0.01,), ()),
        ("leaky_relu", (0.5,), ()),
        ("prelu", (), (0.25,)),
        ("maxout", (2.0,), ()),
    ],
)
def test_gains_make_good_for_what_is_taken(name, constants, numbers):
    """Of a normal signal, where that does not depend on its size."""
    entry = ACTIVATIONS[name]
    if entry.pieces is None:
        values = [entry.value(z, *constants, *numbers) for z in SIGNALS[0]]
    else:
        values = [entry.value(*pieces) for pieces in SIGNALS.T]
    assert entry.gain(*constants) == pytest.approx(1 / np.mean(np.square(values)), rel=0.02)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_has_a_gain(name):
    entry = ACTIVATIONS[name]
    assert 0 < entry.gain(*(constant.default for constant in entry.constants)) <= 2


def test_layers_have_the_gains_of_their_own_activations(X, y):
    activation = ("tanh", LeakyReLU(0.5))
    network = MLPRegressor(**SMALL, activation=activation).fit(X, y)._network
    gains = []

    def draw(layer, random_state):
        gains.append(layer.gain)
        return 0.0, 0.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(INITIALIZERS, "observed", Initializer("observed", draw))
        views(network, "observed")
    assert gains == [1.0, 1.6, 1.6]


@pytest.mark.parametrize("choice", DRAWN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_object_is_as_good_as_its_name(X, y, choice, dtype):
    X = X.astype(dtype)
    by_name = MLPRegressor(**SMALL, init=choice._name).fit(X, y)
    model = clone(MLPRegressor(**SMALL, init=choice())).fit(X, y)
    assert model.loss_curve_ == by_name.loss_curve_
    assert pickle.loads(pickle.dumps(model)).init == choice()


def test_the_default_is_glorot_uniform(X, y):
    default = MLPRegressor(**SMALL).fit(X, y)
    for init in ("glorot_uniform", GlorotUniform()):
        assert MLPRegressor(**SMALL, init=init).fit(X, y).loss_curve_ == default.loss_curve_
    assert MLPRegressor(**SMALL, init=HeNormal()).fit(X, y).loss_curve_ != default.loss_curve_
    network = plain_network((3, 5, 4, 1), "relu", "squared_error", "identity")
    expected = draw_uniform(network, np.random.RandomState(0), "float64")
    still = MLPRegressor(**SMALL, solver="sgd", learning_rate_init=1e-300).fit(X, y)
    packed = layout_of(network).pack(still.coefs_, still.intercepts_, "float64")
    assert_array_equal(packed, expected)


def test_precisions_start_from_the_same_draws():
    network = plain_network((3, 5, 4, 1), "relu", "squared_error", "identity")
    rows = np.random.default_rng(0).normal(size=(20, 3))
    for choice in DRAWN:
        single, double = (
            draw_parameters(
                *(network, init_formula(choice()), np.random.RandomState(0), dtype),
                sample=lambda: rows,
                arriving=lambda *of_layer: values_arriving(network, *of_layer),
            )
            for dtype in ("float32", "float64")
        )
        assert_array_equal(single, double.astype(np.float32))


def scaled_by_data(layer, random_state, factor):
    """Divide by the size of the sample: an initializer with a constant that looks at X."""
    size = np.abs(layer.sample()).max() if layer.number == 0 else 1.0
    return random_state.normal(size=(layer.fan_in, layer.fan_out)) * factor / size, 0.0


def test_an_initializer_that_looks_at_data_is_one_entry(X, y, monkeypatch):
    entry = Initializer("by_data", scaled_by_data, (Constant("factor", 0.5, 0.0),))
    monkeypatch.setitem(INITIALIZERS, "by_data", entry)
    options = MLPRegressor._parameter_constraints["init"][0].options
    monkeypatch.setattr(
        MLPRegressor._parameter_constraints["init"][0], "options", {*options, "by_data"}
    )
    first = []
    for data in (X, 10 * X, sparse.csr_array(X)):
        model = MLPRegressor(**SMALL, init="by_data", solver="sgd", learning_rate_init=1e-300)
        first.append(model.fit(data, y).coefs_[0])
    assert_allclose(first[0], 10 * first[1], rtol=1e-12)
    assert_array_equal(first[0], first[2])
    with pytest.raises(ValueError, match="factor of by_data must be in"):
        draw_parameters(
            plain_network((3, 1), "relu", "squared_error", "identity"),
            Formula("by_data", (-1.0,)),
            np.random.RandomState(0),
            "float64",
        )


# --- Given ---


def given(model):
    return model.coefs_, model.intercepts_


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_given_weights_are_where_the_fit_starts(X, y, solver, dtype):
    X = X.astype(dtype)
    earlier = MLPRegressor(**SMALL, solver=solver).fit(X, y)
    model = MLPRegressor(**SMALL, solver=solver, init=given(earlier)).fit(X, y)
    assigned = MLPRegressor(**SMALL, solver=solver, warm_start=True)
    assigned.coefs_, assigned.intercepts_ = given(earlier)
    assigned.fit(X, y)
    assert model.loss_ == assigned.loss_ < earlier.loss_
    for ours, theirs in zip(model.coefs_, assigned.coefs_, strict=True):
        assert ours.dtype == dtype
        assert_array_equal(ours, theirs)
    # It is a fit of its own, again and again.
    assert model.loss_ == model.fit(X, y).loss_


def test_given_weights_are_copied(X, y, unchanged):
    earlier = MLPRegressor(**SMALL).fit(X, y)
    arrays = [array.copy() for part in given(earlier) for array in part]
    for array in arrays:
        array.flags.writeable = False
    model = MLPRegressor(**SMALL, init=(arrays[:3], tuple(arrays[3:])))
    with unchanged(*arrays):
        model.fit(X, y).partial_fit(X, y)
    assert not any(
        np.shares_memory(ours, theirs)
        for ours in (*model.coefs_, *model.intercepts_)
        for theirs in arrays
    )
    model.coefs_[0][...] = 0.0  # a user's model is a user's own


def test_nothing_is_drawn_for_given_weights(X, y):
    earlier = MLPRegressor(**SMALL).fit(X, y)
    state = np.random.RandomState(3)
    before = state.get_state()[1].copy()
    model = MLPRegressor(**SMALL, init=given(earlier), shuffle=False)
    model.set_params(random_state=state).fit(X, y)
    assert_array_equal(state.get_state()[1], before)


@pytest.mark.parametrize("goes_on", ["warm_start", "partial_fit"])
def test_init_counts_only_where_a_fit_starts_anew(X, y, goes_on):
    start = given(MLPRegressor(**SMALL).fit(X, y))
    expected = MLPRegressor(**SMALL, init=start).fit(X, y)
    model = MLPRegressor(**SMALL, init=start, warm_start=goes_on == "warm_start")
    model.set_params(max_iter=1)
    for _ in range(6):
        model.fit(X, y) if goes_on == "warm_start" else model.partial_fit(X, y)
        model.set_params(init="he_normal")  # has no say any more
    assert model.loss_curve_ == expected.loss_curve_


@pytest.mark.parametrize(
    "change",
    [
        lambda coefs, intercepts: [coefs, intercepts],
        lambda coefs, intercepts: (tuple(coefs), tuple(intercepts)),
        lambda coefs, intercepts: ([c.tolist() for c in coefs], [i.tolist() for i in intercepts]),
        lambda coefs, intercepts: ([np.asfortranarray(c) for c in coefs], intercepts),
        lambda coefs, intercepts: ([c[::-1][::-1] for c in coefs], intercepts),
    ],
)
def test_ways_to_write_the_same(X, y, change):
    start = given(MLPRegressor(**SMALL).fit(X, y))
    expected = MLPRegressor(**SMALL, init=start).fit(X, y)
    assert MLPRegressor(**SMALL, init=change(*start)).fit(X, y).loss_curve_ == expected.loss_curve_


def replaced(part, layer, array):
    def change(start):
        start = [list(arrays) for arrays in start]
        start[part][layer] = array
        return tuple(start)

    return change


def fitted_elsewhere(first=5, fill=0.5):
    """A network as scikit-learn has it, for three features and one output."""
    model = SklearnRegressor(hidden_layer_sizes=(first, 4), max_iter=1, random_state=0).fit(
        np.eye(3), np.arange(3)
    )
    model.coefs_[0][...] = fill
    if first != 5:
        model.coefs_[2] = model.coefs_[2].repeat(2, axis=1)
    return model


BAD = {
    "shape": (
        replaced(0, 1, np.zeros((4, 5))),
        r"init\[0\]\[1\], the coefs of layer 1, .*\(5, 4\)",
    ),
    "intercepts": (
        replaced(1, 2, np.zeros(2)),
        r"init\[1\]\[2\], the intercepts .*\(1,\), got \(2,\)",
    ),
    "column": (replaced(1, 0, np.zeros((5, 1))), r"init\[1\]\[0\], the intercepts .*\(5,\), got"),
    "NaN": (replaced(0, 2, np.full((4, 1), np.nan)), r"init\[0\]\[2\] holds NaN or infinity"),
    "infinity": (replaced(1, 1, np.full(4, np.inf)), r"init\[1\]\[1\] holds NaN or infinity"),
    "text": (replaced(0, 0, np.full((3, 5), "a")), r"init\[0\]\[0\] must be an array of real"),
    "complex": (replaced(0, 0, np.full((3, 5), 1j)), r"init\[0\]\[0\] must be an array of real"),
    "None": (replaced(1, 1, None), r"init\[1\]\[1\] must be an array of real numbers, but is"),
    "ragged": (replaced(0, 0, [[1.0], [2.0, 3.0]]), r"init\[0\]\[0\] must be an array of numbers"),
    "a layer less": (lambda s: (s[0][:-1], s[1]), r"init\[0\] must hold 3 arrays, .* got 2"),
    "an array more": (lambda s: (s[0], [*s[1], s[1][0]]), r"init\[1\] must hold 3 arrays.* got 4"),
    "one list": (lambda s: s[0], r"init.*must be.*pair \(coefs, intercepts\) of lists of arrays"),
    "arrays": (lambda s: (s[0][0], s[1][0]), r"init.*must be.*pair \(coefs, intercepts\)"),
    "empty": (lambda s: ([], []), r"init\[0\] must hold 3 arrays"),
    "None at all": (lambda s: None, r"init.*must be.*pair \(coefs, intercepts\)"),
    "xavier": (lambda s: "xavier_uniform_", r"Did you mean init='glorot_uniform'\?"),
    "kaiming": (lambda s: "kaiming_normal_", r"Did you mean init='he_normal'\?"),
    "class": (lambda s: HeNormal, r"init=HeNormal is a class: give an object"),
    "From": (lambda s: From, r"init=From is a class: give an object, init=From\(\.\.\.\)"),
    "gain": (lambda s: Orthogonal(0.0), "'gain' parameter of init=Orthogonal"),
    "inner": (lambda s: ZeroLast("zeros"), "'init' parameter of init=ZeroLast"),
    "in itself": (lambda s: ZeroLast(ZeroLast()), "'init' parameter of init=ZeroLast"),
    "estimator": (lambda s: fitted_elsewhere(), r"Did you mean init=From\(\.\.\.\)\?"),
    "rest": (lambda s: From(fitted_elsewhere(), rest=None), "'rest' parameter of init=From"),
    "other units": (lambda s: From(fitted_elsewhere(9)), r"No layer of init=From.*fits into a net"),
    "other NaN": (
        lambda s: From(fitted_elsewhere(fill=np.nan)),
        "holds NaN or infinity in layer 0",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_values(X, y, unchanged, kind):
    make, message = BAD[kind]
    model = MLPRegressor(**SMALL).fit(X, y)
    model.set_params(init=make(given(model)))
    with unchanged(model=model), pytest.raises(ValueError, match=f"(?s){message}"):
        model.fit(X, y)


def test_what_is_too_large_for_the_precision(X, y, unchanged):
    model = MLPRegressor(**SMALL, dtype="float32").fit(X, y)
    large = replaced(0, 0, np.full((3, 5), 1e300))(given(model))
    model.set_params(init=large)
    with unchanged(model=model), pytest.raises(ValueError, match="too large for float32"):
        model.fit(X, y)


def test_clones_searches_and_pickles_keep_the_arrays(X, y):
    start = given(MLPRegressor(**SMALL).fit(X, y))
    model = MLPRegressor(**SMALL, init=start)
    for copy in (clone(model), pickle.loads(pickle.dumps(model)), clone(clone(model))):
        assert type(copy.init) is tuple
        assert copy.init is not start
        for ours, theirs in zip(chain(*copy.init), chain(*start), strict=True):
            assert ours is not theirs
            assert_array_equal(ours, theirs)
        assert copy.fit(X, y).loss_curve_ == clone(model).fit(X, y).loss_curve_
    search = GridSearchCV(model, {"init": [start, "he_normal", HeNormal()]}, cv=2).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] == scores[2] != scores[0]


def test_representations_stay_short():
    shapes = [(500, 400), (400, 300), (300, 3)]
    start = [np.ones(shape) for shape in shapes], [np.ones(shape[1]) for shape in shapes]
    model = MLPClassifier(init=start)
    assert len(repr(model)) < 2000
    # All else is said of every model: styles, and what parameters mean.
    assert len(model._repr_html_()) < len(MLPClassifier()._repr_html_()) + 5000
    assert repr(MLPClassifier(init=HeNormal())) == "MLPClassifier(init=HeNormal())"


def test_several_targets_and_distributions_take_them_too(X, y):
    labels = np.column_stack([np.digitize(y, [-1, 0]), 5 + (y > 0)])
    model = MLPClassifier(**SMALL).fit(X, labels)
    again = clone(model).set_params(init=given(model)).fit(X, labels)
    assert again.loss_curve_[0] < model.loss_curve_[0]
    model = MLPRegressor("gaussian_nll", **SMALL).fit(X, y)
    again = clone(model).set_params(init=given(model)).fit(X, y)
    assert again.loss_curve_[0] < model.loss_curve_[0]
    with pytest.raises(ValueError, match=r"the coefs of layer 2, must have shape \(4, 1\), got"):
        again.set_params(loss="squared_error").fit(X, y)


# --- Around another one ---


STILL = {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1, "random_state": 0}


def test_zeros_for_the_last_layer(X, y):
    plain = MLPRegressor(hidden_layer_sizes=(5, 4), init="he_normal", **STILL).fit(X, y)
    model = MLPRegressor(hidden_layer_sizes=(5, 4), init=ZeroLast(HeNormal()), **STILL).fit(X, y)
    assert_allclose(model.predict(X), 0, atol=1e-200)
    for ours, theirs in zip(model.coefs_[:2], plain.coefs_[:2], strict=True):
        assert_array_equal(ours, theirs)
    assert_allclose(model.coefs_[2], 0, atol=1e-200)
    model.set_params(init__init="orthogonal", learning_rate_init=0.1, max_iter=5).fit(X, y)
    assert model.predict(X).any()


@pytest.mark.usefixtures("plans")
@pytest.mark.parametrize("normalization", [None, "batch"])
def test_from_another_network(X, y, normalization):
    options = {"activation": "prelu", "normalization": normalization}
    first = MLPRegressor(hidden_layer_sizes=(5, 4), **options, random_state=3, max_iter=9).fit(X, y)
    same = MLPRegressor(hidden_layer_sizes=(5, 4), **options, init=From(first), **STILL).fit(X, y)
    assert_array_equal(same.coefs_[2], first.coefs_[2])
    slopes = slice(0, 9)  # those that units have learned
    learned = as_trained(first).extras[slopes]
    assert_array_equal(as_trained(same).extras[slopes], learned)
    assert (learned != 0.25).all()

    labels = np.digitize(y, [-1, 0])
    model = MLPClassifier((5, 4), **options, init=From(first, "he_normal"), **STILL)
    drawn = clone(model).set_params(init="he_normal").fit(X, labels)
    before = [coef.copy() for coef in as_trained(first).coefs]
    model = clone(model)
    first.fit(X, -y)  # what it learns now does not count
    model = pickle.loads(pickle.dumps(model)).fit(X, labels)
    assert_array_equal(as_trained(model).coefs[0], before[0])
    assert_array_equal(as_trained(model).coefs[1], before[1])
    assert_array_equal(model.coefs_[2], drawn.coefs_[2])
    wider = clone(model).fit(np.hstack([X, X]), labels)
    assert_array_equal(as_trained(wider).coefs[1], before[1])
    deeper = clone(model).set_params(hidden_layer_sizes=(5, 4, 3)).fit(X, labels)
    assert_array_equal(as_trained(deeper).coefs[1], before[1])
    assert len(pickle.dumps(model.init)) < 4000


def test_from_is_a_parameter_as_others_are(X, y):
    first = SklearnRegressor(hidden_layer_sizes=(5, 4), max_iter=50, random_state=0).fit(X, y)
    model = MLPRegressor(hidden_layer_sizes=(5, 4), init=From(first), **STILL)
    assert repr(model.init) == "From(model=<weights of 3-5-4-1 units>)"
    assert clone(model).init == model.init == From(first) != From(first, "ntk")
    other = clone(model).set_params(init__model=first, init__rest="ntk")
    assert clone(other).init == From(first, "ntk")
    assert hash(From(first)) == hash(model.init)
    assert model.init != From(first.fit(X, -y))
    assert model.get_params()["init__rest"] == "glorot_uniform"
    search = GridSearchCV(model, {"init": ["he_normal", model.init]}, cv=2).fit(X, y)
    assert search.best_params_["init"] == model.init
    assert MLPRegressor(
        hidden_layer_sizes=(5, 4), init=From(first), solver="lbfgs", max_iter=999
    ).fit(X, y)
    for bad in (MLPRegressor(), MLPRegressor, "model", None):
        with pytest.raises(ValueError, match="From needs a fitted network"):
            From(bad)
    first.coefs_[0] = first.coefs_[0].astype(object)
    with pytest.raises(ValueError, match="real numbers, but got object"):
        From(first)
