"""Where a fit starts: drawn by an initializer, or from given weights."""

import pickle
from itertools import chain

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skmlp import MLPClassifier, MLPRegressor, initializers
from skmlp.activations import LeakyReLU
from skmlp.initializers import CLASSES, GlorotUniform, HeNormal, init_formula
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
    parameters = draw_parameters(network, Formula(name), state, "float64", **options)
    return layout_of(network).views(parameters)


# --- Drawn ---


def test_every_initializer_has_a_class():
    assert {choice._name for choice in CLASSES} == set(INITIALIZERS)
    assert {choice.__name__ for choice in CLASSES} == set(initializers.__all__)
    for choice in CLASSES:
        assert init_formula(choice()) == init_formula(choice._name)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_he_normal_is_normal_with_the_variance_of_its_paper(activation):
    network = plain_network((90, 300, 40, 60), activation, "squared_error", "identity")
    coefs, intercepts = views(network, "he_normal")
    gain = 2.0 if activation == "relu" else 1.0
    for coef, intercept in zip(coefs, intercepts, strict=True):
        expected = stats.norm(0, np.sqrt(gain / len(coef)))
        assert stats.kstest(coef.ravel(), expected.cdf).pvalue > 0.01
        assert not intercept.any()


def test_he_normal_keeps_signals_at_their_size():
    """Through thirty layers of rectifiers, where the other default loses them."""
    network = plain_network((100,) * 31, "relu", "squared_error", "identity")
    sizes = {}
    for name in INITIALIZERS:
        values = np.random.default_rng(0).normal(size=(200, 100))
        for coef, intercept in zip(*views(network, name), strict=True):
            values = np.maximum(values @ coef + intercept, 0)
        sizes[name] = np.sqrt((values**2).mean())
    assert 0.3 < sizes["he_normal"] < 3
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


@pytest.mark.parametrize("choice", CLASSES)
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
    for name in INITIALIZERS:
        single, double = (
            draw_parameters(network, Formula(name), np.random.RandomState(0), dtype)
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
    assert len(model._repr_html_()) < 10**5
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
