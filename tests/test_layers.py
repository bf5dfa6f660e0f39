"""What hidden layers offer to users: activations, one per layer, dropout and normalization."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
from numpy import exp as renamed
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier, MLPRegressor
from skmlp._fitted import as_trained
from skmlp.activations import ELU, Blend, Custom, LeakyReLU, Maxout, PReLU
from skmlp.network.masks import mask, word_of_step
from skmlp.network.parameters import layout_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 6))
Y = np.abs(X[:, 0]) + X[:, 1] * X[:, 2]
LABELS = np.digitize(Y, np.quantile(Y, [0.33, 0.66]))

OFFSET = 0.5


def bump(z):
    return np.exp(-z * z) - OFFSET


def bump_derivative(z):
    return -2 * z * math.exp(-z * z)


def clipped(z):
    return max(-1.0, min(1.0, z))


def clipped_derivative(z):
    return 1.0 if abs(z) < 1 else 0.0


CUSTOM = Custom(bump, bump_derivative)
# Each once with constants or numbers that differ from the defaults.
CHOICES = ["gelu", "silu", "prelu", "maxout", LeakyReLU(0.3), PReLU(), Maxout(3), CUSTOM]
CHOICES += [("tanh", PReLU()), (Maxout(pieces=2), "gelu"), Blend(ELU(0.5))]
# A softmax learns, but slowly.
WITH_SLOW_ONES = [*CHOICES, (Blend(ELU(0.5)), "softmax")]


def fitted(estimator=MLPRegressor, *, data=X, **parameters):
    options = {"hidden_layer_sizes": (9, 5), "max_iter": 20, "random_state": 0}
    y = LABELS if estimator is MLPClassifier else Y
    return estimator(**{**options, **parameters}).fit(data, y)


@pytest.mark.parametrize("activation", WITH_SLOW_ONES, ids=repr)
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_fit_predict_copy_and_resume(estimator, activation):
    model = fitted(estimator, activation=activation, dropout=0.1, early_stopping=True)
    expected = model.predict(X)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(other.predict(X), expected)
        other.set_params(activation="relu", dropout=0.5)
        assert_array_equal(other.predict(X), expected)
    again = fitted(clone(model).__class__, **clone(model).get_params(deep=False))
    assert_array_equal(again.predict(X), expected)
    assert_array_equal(model.predict(csr_array(X)), expected)
    resumed = copy.deepcopy(model).set_params(early_stopping=False).partial_fit(X, LABELS)
    assert resumed.t_ > model.t_


@pytest.mark.parametrize("activation", WITH_SLOW_ONES, ids=repr)
def test_precisions_agree(activation):
    single = fitted(activation=activation, dtype="float32")
    double = fitted(activation=activation, dtype="float64")
    assert_allclose(single.predict(X), double.predict(X), atol=2e-4)


@pytest.mark.parametrize("activation", CHOICES, ids=repr)
def test_every_solver_learns(activation):
    losses = {}
    for solver in ("lbfgs", "adam", "sgd"):
        parameters = {"solver": solver, "activation": activation, "learning_rate_init": 0.02}
        losses[solver] = [fitted(max_iter=max_iter, **parameters).loss_ for max_iter in (1, 60)]
    assert all(last < 0.8 * first for first, last in losses.values()), losses


def test_an_activation_per_layer():
    names = ("tanh", "relu", "identity")
    model = fitted(hidden_layer_sizes=(4, 3, 2), activation=names)
    functions = [np.tanh, lambda z: np.maximum(z, 0), lambda z: z, lambda z: z]
    values = X
    for coef, intercept, function in zip(model.coefs_, model.intercepts_, functions, strict=True):
        values = function(values @ coef + intercept)
    assert_allclose(model.predict(X), values.ravel(), rtol=1e-12)
    listed = fitted(hidden_layer_sizes=(4, 3, 2), activation=list(names))
    assert_array_equal(listed.predict(X), model.predict(X))


@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
def test_maxout_of_one_piece_is_the_identity(normalization):
    models = [
        fitted(activation=activation, normalization=normalization, dropout=0.2)
        for activation in (Maxout(pieces=1), "identity")
    ]
    assert_allclose(*[model.loss_curve_ for model in models], rtol=1e-10)
    assert_allclose(*[model.predict(X) for model in models], rtol=1e-8)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"activation": ("relu",)}, r"activation=.*1 entries, but there are 2 hidden layers"),
        ({"activation": ()}, "'activation' parameter"),
        ({"activation": ("relu", "exp")}, "'activation' parameter"),
        ({"activation": ("relu", 3)}, "'activation' parameter"),
        ({"activation": PReLU}, r"give an object, activation=PReLU\(\)"),
        ({"activation": Maxout(0)}, "'pieces' parameter of activation=Maxout"),
        ({"activation": ("relu", Maxout(2.5))}, r"'pieces' parameter of activation\[1\]=Maxout"),
        ({"activation": LeakyReLU("a")}, "'negative_slope' parameter"),
        ({"activation": LeakyReLU(np.inf)}, "'negative_slope' parameter"),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"dropout": -0.1}, "'dropout' parameter"),
        ({"dropout": (0.1, 0.2, 0.3)}, "dropout=.*3 entries, but there are 2 hidden layers"),
        ({"dropout": (0.1, "a")}, "'dropout' parameter"),
        ({"input_dropout": (0.1,)}, "'input_dropout' parameter"),
        ({"normalization": "batchnorm"}, "Did you mean normalization='batch'"),
        ({"normalization": ("layer", "batch", None)}, "normalization=.*3 entries"),
        ({"normalization": ("layer", "bn")}, "'normalization' parameter"),
        ({"normalization": "batch", "solver": "lbfgs"}, "normalization='batch'.*solver='lbfgs'"),
    ],
)
def test_errors_name_parameter_value_and_remedy(parameters, match):
    model = MLPRegressor(hidden_layer_sizes=(3, 2), **parameters)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=match):
        model.fit(X, Y)
    assert vars(model) == before


def test_searches_in_depth():
    grid = {
        "mlpregressor__activation__negative_slope": [0.0, 0.2],
        "mlpregressor__dropout": [0.0, (0.1,)],
    }
    model = MLPRegressor(hidden_layer_sizes=(4,), activation=LeakyReLU(), max_iter=5)
    search = GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_params_["mlpregressor__activation__negative_slope"] in (0.0, 0.2)


# --- Functions of the user's own ---


def test_custom_functions_compute_what_they_say():
    own = fitted(activation=Custom(clipped, clipped_derivative), solver="lbfgs")
    values = X
    for coef, intercept in zip(own.coefs_[:-1], own.intercepts_[:-1], strict=True):
        values = np.clip(values @ coef + intercept, -1, 1)
    expected = values @ own.coefs_[-1] + own.intercepts_[-1]
    assert_allclose(own.predict(X), expected.ravel(), rtol=1e-12)

    def tanh(z):
        return np.tanh(z)

    def tanh_derivative(z):
        return 1 - np.tanh(z) ** 2

    like_tanh = fitted(activation=Custom(tanh, tanh_derivative))
    assert_allclose(like_tanh.loss_curve_, fitted(activation="tanh").loss_curve_, rtol=1e-9)


def test_custom_functions_call_others_whatever_their_names():
    """Of their own by the name of an elementary one, and an elementary one by another name."""

    def tanh(z):
        return max(-1.0, min(1.0, z))

    def value(z):
        return tanh(z) + renamed(z)

    def derivative(z):
        return (1.0 if abs(z) < 1.0 else 0.0) + renamed(z)

    own = fitted(activation=Custom(value, derivative), solver="lbfgs")
    values = X
    for coef, intercept in zip(own.coefs_[:-1], own.intercepts_[:-1], strict=True):
        z = values @ coef + intercept
        values = np.clip(z, -1, 1) + np.exp(z)
    expected = values @ own.coefs_[-1] + own.intercepts_[-1]
    assert_allclose(own.predict(X), expected.ravel(), rtol=1e-12)


def test_custom_functions_of_the_math_module_overflow_as_those_of_numpy():
    own = fitted(activation=Custom(overflowing, overflowing_derivative), init="he_normal")
    known = fitted(activation="logistic", init=(own.coefs_, own.intercepts_))
    known.coefs_, known.intercepts_ = own.coefs_, own.intercepts_
    assert_allclose(own.predict(1e6 * X), known.predict(1e6 * X), rtol=1e-9)


def test_numbers_outside_count_as_they_are_at_the_fit(monkeypatch):
    before = fitted(activation=CUSTOM)
    expected = before.predict(X)
    monkeypatch.setitem(globals(), "OFFSET", -3.0)
    assert_array_equal(before.predict(X), expected)
    assert not np.array_equal(fitted(activation=CUSTOM).predict(X), expected)


def test_what_is_fitted_keeps_its_functions():
    """Whatever is done with the object that was the parameter."""
    model = fitted(activation=Custom(clipped, clipped_derivative))
    expected = model.predict(X)
    model.set_params(activation__value=bump, activation__derivative=bump_derivative)
    assert [choice.value for choice in model._custom] == [clipped]
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), expected)


def test_a_pickle_whose_functions_have_changed_is_refused(monkeypatch):
    saved = pickle.dumps(fitted(activation=CUSTOM))
    assert_array_equal(pickle.loads(saved).predict(X), fitted(activation=CUSTOM).predict(X))
    monkeypatch.setattr("skmlp.network.activations.CUSTOM_ACTIVATIONS", {})
    monkeypatch.setattr("skmlp.network.custom.CUSTOM_ACTIVATIONS", {})
    monkeypatch.setitem(globals(), "OFFSET", 7.0)
    with pytest.raises(ValueError, match="activation must be one of"):
        pickle.loads(saved)


def with_a_list(z):
    return [z, 1.0]


def with_nothing_returned(z):
    if z > 0:
        return z


def with_nothing_returned_far_away(z):
    if z < 1e6:
        return z


def with_a_matrix_product(z):
    return z @ z


def with_an_exception(z):
    if z > 1e6:
        raise ValueError
    return z


def with_an_assertion(z):
    assert z < 1e6
    return z


def overflowing(z):
    return 1 / (1 + math.exp(-z))


def overflowing_derivative(z):
    return overflowing(z) * (1 - overflowing(z))


def with_a_module(z):
    return np.random.normal() * z


def with_two(z, slope):
    return z * slope


def with_a_default(z, slope=1.0):
    return z * slope


def calls_one_with_a_default(z):
    return with_a_default(z)


def with_itself(z):
    return with_itself(z - 1.0) if z > 0 else z


def with_text(z):
    return float("3") * z


def with_nothing(z):
    return undefined(z)  # noqa: F821


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (with_a_list, r"for z=-1000.0 it returns \[.*, which is no real number"),
        (with_nothing_returned, "for z=-1000.0 it returns None"),
        (with_nothing_returned_far_away, "must return a real number in every case"),
        (with_a_matrix_product, "for z=-1000.0 it raises TypeError"),
        (with_an_exception, "it refers to ValueError|may raise an exception"),
        (with_an_assertion, "may raise an exception"),
        (with_a_module, "it uses np.random"),
        (with_two, "with_two must take one argument"),
        (with_a_default, "with_a_default must take one argument"),
        (calls_one_with_a_default, "with_a_default has arguments with defaults"),
        (with_itself, "calls itself"),
        (with_text, "it holds '3'|it refers to float"),
        (with_nothing, "undefined is not defined"),
        (np.exp, "no plain function"),
        (math.exp, "no plain function"),
    ],
)
def test_functions_that_cannot_be_compiled_are_refused(function, match):
    with pytest.raises(ValueError, match=match) as error:
        fitted(activation=Custom(bump, function))
    assert "The derivative of activation=Custom" in str(error.value)


# --- Dropout ---


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_masks_drop_the_share_they_should(dropout):
    kept = mask(word_of_step(7, 3), 1, 500, 400, dropout)
    assert kept.mean() == pytest.approx(1.0, abs=5 * np.sqrt(dropout / (1 - dropout) / kept.size))
    scaled = kept * (1 - dropout)
    assert set(np.unique(scaled.round(12))) == {0.0, 1.0}
    deviation = np.sqrt(dropout * (1 - dropout))
    for axis, n in ((0, 500), (1, 400)):
        assert np.abs(scaled.mean(axis=axis) - 1 + dropout).max() < 5 * deviation / np.sqrt(n)
    neighbors = np.corrcoef(scaled[:, 1:].ravel(), scaled[:, :-1].ravel())[0, 1]
    rows = np.corrcoef(scaled[1:].ravel(), scaled[:-1].ravel())[0, 1]
    assert max(abs(neighbors), abs(rows)) < 5 / np.sqrt(kept.size)


def test_masks_differ_by_step_layer_and_seed():
    masks = [
        mask(word_of_step(seed, step), layer, 20, 20, 0.5).tobytes()
        for seed in (0, 1, 2**32 - 1)
        for step in (1, 2, 10**9)
        for layer in (0, 1, 2)
    ]
    assert len(set(masks)) == len(masks)


@pytest.mark.parametrize("parameters", [{"dropout": 0.4}, {"input_dropout": 0.3}])
def test_dropout_changes_training_only(parameters):
    plain, dropping = fitted(), fitted(**parameters)
    assert not np.array_equal(plain.predict(X), dropping.predict(X))
    assert_array_equal(dropping.predict(X), dropping.predict(X))
    # The same weights to start from and the same order of rows: the generator is not asked.
    assert_array_equal(*(m._state.random_state.get_state()[1] for m in (plain, dropping)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_of_sparse_inputs_is_that_of_dense_ones(dtype):
    data = np.where(X > 0, X, 0.0)
    options = {"input_dropout": 0.3, "dropout": 0.2, "dtype": dtype, "batch_size": 16}
    dense, sparse = fitted(data=data, **options), fitted(data=csr_array(data), **options)
    tolerance = {"float32": 1e-4, "float64": 1e-10}[dtype]
    assert_allclose(sparse.predict(data), dense.predict(data), atol=tolerance)
    assert_array_equal(data, np.where(X > 0, X, 0.0))


def test_pieces_of_a_fit_with_dropout_equal_the_whole():
    options = {"dropout": 0.3, "input_dropout": 0.2, "batch_size": 20}
    whole = fitted(max_iter=6, **options)
    pieces = fitted(max_iter=1, warm_start=True, **options)
    for _ in range(5):
        pieces = pickle.loads(pickle.dumps(pieces)).fit(X, Y)
    assert_array_equal(pieces.predict(X), whole.predict(X))


def test_dropout_has_no_effect_with_lbfgs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.warns(UserWarning, match="dropout=0.5 has no effect with solver='lbfgs'"):
            dropping = fitted(solver="lbfgs", dropout=0.5)
    assert_array_equal(dropping.predict(X), fitted(solver="lbfgs").predict(X))


# --- Normalization ---

NORMALIZED = ["layer", "batch"]


@pytest.mark.parametrize("normalization", NORMALIZED)
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_normalized_fit_predict_copy_and_resume(estimator, normalization):
    options = {"normalization": normalization, "activation": ("prelu", Maxout(3)), "dropout": 0.1}
    model = fitted(estimator, early_stopping=True, **options)
    expected = model.predict(X)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(other.predict(X), expected)
        other.set_params(normalization=None)
        assert_array_equal(other.predict(X), expected)
    assert_array_equal(model.predict(csr_array(X)), expected)
    if estimator is MLPRegressor:
        assert_allclose(model.predict(X[:1]), expected[:1], rtol=1e-12)


@pytest.mark.parametrize("normalization", NORMALIZED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pieces_of_a_normalized_fit_equal_the_whole(normalization, dtype):
    options = {"normalization": normalization, "batch_size": 20, "dtype": dtype}
    whole = fitted(max_iter=6, **options)
    pieces = fitted(max_iter=1, warm_start=True, **options)
    steps = MLPRegressor(hidden_layer_sizes=(9, 5), random_state=0, **options)
    for _ in range(5):
        pieces = pickle.loads(pickle.dumps(pieces)).fit(X, Y)
    for _ in range(6):
        steps = pickle.loads(pickle.dumps(steps.partial_fit(X, Y)))
    for model in (pieces, steps):
        assert_array_equal(model.predict(X), whole.predict(X))
        assert_array_equal(model._extras, whole._extras)
        assert model._extras.dtype == dtype


@pytest.mark.parametrize("normalization", NORMALIZED)
def test_normalization_learns_from_inputs_of_any_scale(normalization):
    """The first layer's pre-activations are too large for tanh, but for normalization."""
    options = {"activation": "tanh", "max_iter": 60, "learning_rate_init": 0.02}
    scores = [
        fitted(data=1e3 * X, normalization=choice, **options).score(1e3 * X, Y)
        for choice in (None, normalization)
    ]
    assert scores[1] > scores[0] + 0.1


def test_predictions_use_running_statistics():
    model = fitted(normalization="batch", max_iter=60)
    bulk = model.predict(X)
    alone = np.concatenate([model.predict(X[i : i + 1]) for i in range(len(X))])
    assert_allclose(alone, bulk, rtol=1e-10, atol=1e-12)
    _, coefs, intercepts, extras = as_trained(model)
    z = X @ coefs[0] + intercepts[0]
    mean, variance = extras[28:37], extras[37:46]
    assert_allclose(mean, z.mean(axis=0), atol=0.2)
    assert_allclose(variance, z.var(axis=0, ddof=1), rtol=0.2)
    assert np.isfinite(fitted(normalization="batch", early_stopping=True).best_validation_score_)


def test_a_running_variance_that_overflows_is_a_divergence():
    model = MLPRegressor(hidden_layer_sizes=(3,), normalization="batch", dtype="float32")
    with pytest.raises(ValueError, match=r"non-finite parameter weights.*epoch 1"):
        model.fit((1e20 * X).astype("float32"), Y)


def test_edited_variances_are_checked():
    model = fitted(normalization="batch", warm_start=True)
    model._trained[1][-1] = -1.0
    model.summary()  # of what is left
    with pytest.raises(ValueError, match="_trained must be a network with its parameters"):
        model.fit(X, Y)
    # As before it is folded.
    model._network, parameters = model._trained
    model._set_parameters(layout_of(model._network), parameters)
    with pytest.raises(ValueError, match="_extras holds variances of layer 1, but some are neg"):
        model.predict(X)


def test_lbfgs_learns_normalized_layers():
    losses = [
        fitted(solver="lbfgs", normalization="layer", max_iter=max_iter).loss_
        for max_iter in (1, 60)
    ]
    assert losses[1] < 0.2 * losses[0]


# --- What is learned besides weights ---


@pytest.mark.parametrize("value", [None, 3, np.ones(3), np.ones((14, 1)), "slopes"])
def test_assigned_slopes_are_checked(value):
    model = fitted(activation="prelu")
    model._extras = value
    if value is None:  # as where weights are assigned to an estimator that has seen no data
        model.predict(X)
        return
    with pytest.raises(ValueError, match="_extras must be a vector of 14 numbers"):
        model.predict(X)


def test_slopes_are_learned_and_kept():
    model = fitted(activation="prelu", max_iter=60)
    assert np.unique(model._extras).size == 14
    assert np.abs(model._extras - 0.25).max() > 0.01
    other = fitted(activation="relu")
    assert other._extras.size == 0


def test_weights_of_another_shape_do_not_go_with_slopes():
    model = fitted(activation="prelu")
    model.coefs_ = [np.ones((6, 2)), np.ones((2, 5)), np.ones((5, 1))]
    model.intercepts_ = [np.ones(2), np.ones(5), np.ones(1)]
    with pytest.raises(ValueError, match="_extras must be a vector of 7 numbers"):
        model.predict(X)
