"""To and from scikit-learn's own networks, and ours in their place: predictions stay the same."""

import io
import pickle
import sys

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.neural_network as theirs
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import _multilayer_perceptron
from sklearn.neural_network._base import ACTIVATIONS
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmlp
from skmlp import activations, losses
from skmlp._patching import original
from skmlp._sklearn_compat import OF_NETWORKS
from skmlp._validation import HIDDEN_ACTIVATIONS
from skmlp.engines.reference import ReferenceEngine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# scikit-learn's table has its output activations too.
SHARED_ACTIVATIONS = sorted(ACTIVATIONS.keys() - {"softmax", "exp"})
HEADS = ("binary", "multiclass", "multilabel", "regression", "multi_regression", "poisson")
FOR_CLASSES = HEADS[:3]


@pytest.fixture
def without_kernels(monkeypatch):
    """Compute in NumPy: what is tested here are weights, whoever multiplies them."""
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())


@pytest.fixture
def patched():
    skmlp.patch_sklearn()
    yield
    skmlp.unpatch_sklearn()


def assert_same_predictions(model, expected, X, tolerance=1e-12):
    assert_allclose(model.predict(X), expected.predict(X), rtol=tolerance, atol=tolerance)
    if hasattr(expected, "predict_proba"):
        assert_allclose(
            model.predict_proba(X), expected.predict_proba(X), rtol=tolerance, atol=tolerance
        )
        assert_array_equal(model.classes_, expected.classes_)


def are_equal(value, expected):
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(np.array_equal, value, expected))
    return np.array_equal(value, expected)


def options(number):
    """Return parameters that both have; every three numbers in a row differ in each of them."""
    solver = ("adam", "sgd", "lbfgs")[number % 3]
    return {
        "hidden_layer_sizes": ((), (4,), (5, 3))[number % 3],
        "activation": SHARED_ACTIVATIONS[number % 4],
        "solver": solver,
        "early_stopping": number % 2 == 0 and solver != "lbfgs",
        "max_iter": 4,
        "random_state": number,
    }


# From scikit-learn, and back


@pytest.mark.parametrize(("number", "head"), [*enumerate([*HEADS, *HEADS])])
def test_what_sklearn_has_fitted_is_taken_over_and_given_back(
    without_kernels, make_problem, make_estimator, fitted_state, number, head
):
    X, y = make_problem(head)
    if number % 5 == 1:
        X = X.astype(np.float32)
    fitted = make_estimator(head, theirs, **options(number)).fit(X, y)
    before = fitted_state(fitted)
    model = skmlp.from_sklearn(fitted)
    assert type(model) is getattr(skmlp, type(fitted).__name__)
    assert_same_predictions(model, fitted, X, 1e-12 if X.dtype == np.float64 else 1e-5)
    assert model.get_params().items() >= fitted.get_params().items()
    assert model.get_params() == type(model)(**fitted.get_params()).get_params()
    assert_same_predictions(pickle.loads(pickle.dumps(model)), model, X, 0.0)
    assert model.history_["loss"] == getattr(fitted, "loss_curve_", [])
    assert (model.device_, model.device_reason_) == ("cpu", "It was fitted by scikit-learn.")
    assert getattr(model, "temperature_", None) == (1.0 if head in FOR_CLASSES else None)
    if fitted.early_stopping:
        assert model.history_["validation_score"] == fitted.validation_scores_

    back = model.to_sklearn()
    assert type(back) is type(fitted)
    assert back.get_params() == fitted.get_params()
    assert_array_equal(back.predict(X), fitted.predict(X))
    attributes = {name for name in vars(fitted) if name.endswith("_")}
    assert {name for name in vars(back) if name.endswith("_")} == attributes
    for name in attributes:
        assert are_equal(getattr(back, name), getattr(fitted, name)), name
    # Nothing is shared with what was taken over, nor with what scikit-learn would go back to.
    if head in FOR_CLASSES:
        assert back._label_binarizer is not model._label_binarizer
        assert not np.shares_memory(back.classes_, model.classes_)
    for kept, own in zip(getattr(back, "_best_coefs", []), back.coefs_, strict=False):
        assert_array_equal(kept, own)
        assert not np.shares_memory(kept, own)
    for array in (*model.coefs_, *model.intercepts_, *back.coefs_, *back.intercepts_):
        array += 1.0
    assert fitted_state(fitted) == before


def test_parameters_that_a_later_sklearn_has_are_left_to_it(
    without_kernels, make_problem, monkeypatch
):
    X, y = make_problem("regression")
    model = skmlp.MLPRegressor(hidden_layer_sizes=(3,), alpha=0.5, max_iter=1).fit(X, y)
    names = [*theirs.MLPRegressor._get_param_names(), "later"]
    monkeypatch.setattr(theirs.MLPRegressor, "_get_param_names", lambda *_: names)
    monkeypatch.setattr(theirs.MLPRegressor, "later", "default", raising=False)
    made = model.to_sklearn()
    assert made.get_params()["later"] == "default"
    assert made.alpha == 0.5


def test_requests_of_metadata_go_along(without_kernels, make_problem):
    X, y = make_problem("binary")
    fitted = theirs.MLPClassifier((4,), max_iter=2, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        fitted.set_fit_request(sample_weight="weight").set_partial_fit_request(classes=True)
        model = skmlp.from_sklearn(fitted.fit(X, y))
        model.set_fit_request(X_val=True)
    assert vars(model)["_metadata_request"].owner is not fitted
    back = model.to_sklearn()
    for other in (model, back):
        routing = other.get_metadata_routing()
        assert routing.fit.requests["sample_weight"] == "weight"
        assert routing.partial_fit.requests["classes"] is True
    assert "X_val" not in back.get_metadata_routing().fit.requests
    # A pickle of ours holds nothing of theirs.
    assert b"_multilayer_perceptron" not in pickle.dumps(model)


@pytest.mark.parametrize("number", range(4))
def test_sklearn_goes_on_from_what_it_is_given(
    without_kernels, make_problem, make_estimator, number
):
    """As it does from its own weights with a new optimizer."""
    head = HEADS[number]
    X, y = make_problem(head)
    params = {**options(number * 2), "solver": ("adam", "sgd")[number % 2], "warm_start": True}
    fitted = make_estimator(head, theirs, **params).fit(X, y)
    back = skmlp.from_sklearn(fitted).to_sklearn()
    if number % 2:
        fitted.set_params(early_stopping=False)
        del fitted._optimizer
        fitted._no_improvement_count = 0
        back = back.set_params(early_stopping=False)
        fitted.best_loss_ = back.best_loss_ = 1.0
        fitted.partial_fit(X, y)
        back.partial_fit(X, y)
    else:
        fitted._no_improvement_count = 0
        fitted.fit(X, y)
        back.fit(X, y)
    assert_array_equal(back.predict(X), fitted.predict(X))
    assert back.loss_curve_ == fitted.loss_curve_


def test_ours_goes_on_from_what_sklearn_has_fitted(without_kernels, make_problem):
    X, y = make_problem("multiclass")
    fitted = theirs.MLPClassifier((4,), solver="sgd", random_state=0, max_iter=3).fit(X, y)
    model = skmlp.from_sklearn(fitted).set_params(warm_start=True)
    assert len(model.fit(X, y).loss_curve_) == 6
    assert model.partial_fit(X, y).history_["loss"][:3] == fitted.loss_curve_
    assert np.isnan(model.history_["learning_rate"]).tolist() == [True] * 3 + [False] * 4
    with pytest.raises(ValueError, match="same classes"):
        model.fit(X, y % 2)


def test_kernels_agree(make_problem):
    """The one test here that computes with the engine of users."""
    X, y = make_problem("multiclass")
    fitted = theirs.MLPClassifier((8,), random_state=0, max_iter=20).fit(X, y)
    model = skmlp.from_sklearn(fitted)
    assert_same_predictions(model, fitted, X)
    assert_same_predictions(model.fit(X, y).to_sklearn(), model, X)


class Mine(theirs.MLPClassifier):
    """A user's subclass of whatever the name means."""


def test_what_cannot_be_taken_over_is_refused(make_problem):
    X, y = make_problem("multiclass")
    fitted = theirs.MLPClassifier((4,), max_iter=2, random_state=0).fit(X, y)
    ours = skmlp.MLPClassifier()
    for other in (make_pipeline(fitted), Mine(), ours, theirs.MLPClassifier, None):
        with pytest.raises(TypeError, match=r"takes a fitted .* got .*step"):
            skmlp.from_sklearn(other)
    with pytest.raises(NotFittedError):
        skmlp.from_sklearn(theirs.MLPClassifier())
    changes = {
        "activation": "gelu",
        "out_activation_": "logistic",
        "coefs_": [fitted.coefs_[0]],
        "intercepts_": None,
        "_label_binarizer": None,
        "loss_curve_": [1.0, "high"],
        "validation_scores_": 0.5,
    }
    for name, value in changes.items():
        broken = pickle.loads(pickle.dumps(fitted))
        setattr(broken, name, value)
        with pytest.raises(ValueError, match=name.strip("_")):
            skmlp.from_sklearn(broken)
    one_less = pickle.loads(pickle.dumps(fitted))
    one_less.coefs_[-1], one_less.intercepts_[-1] = fitted.coefs_[-1][:, :2], np.zeros(2)
    with pytest.raises(ValueError, match="end in 3 units"):
        skmlp.from_sklearn(one_less)
    del fitted._label_binarizer
    with pytest.raises(ValueError, match="_label_binarizer"):
        skmlp.from_sklearn(fitted)


# To scikit-learn


def is_expressible(model):
    """Whether scikit-learn has such outputs: probabilities, or numbers by one of its two links."""
    if hasattr(model, "classes_"):
        return hasattr(model, "predict_proba")
    return model.out_activation_ in ("identity", "exp")


def square(z):
    return z * z


def slope_of_square(z):
    return 2.0 * z


OBJECTS = [
    activations.Blend("tanh"),
    activations.Logistic(slope=2.0),
    activations.Maxout(),
    activations.Custom(square, slope_of_square),
]


@pytest.mark.parametrize("activation", [*sorted(HIDDEN_ACTIVATIONS), "sigmoid", *OBJECTS], ids=str)
def test_activations_are_expressed_or_named(without_kernels, make_problem, activation):
    X, y = make_problem("regression", n_samples=10)
    model = skmlp.MLPRegressor("squared_error", (4,), activation, max_iter=1, random_state=0)
    model.fit(X, y)
    if activation in SHARED_ACTIVATIONS or activation == "sigmoid":
        assert_same_predictions(model.to_sklearn(), model, X)
        return
    text = str(activation).partition("(")[0].lower()
    with pytest.raises(ValueError, match=rf"(?i)cannot express activation=\S*{text}"):
        model.to_sklearn()


REGRESSIONS = [
    *losses.REGRESSION_LINKS,
    losses.Quantile((0.2, 0.8)),
    losses.Tweedie(1.2),
]


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("loss", REGRESSIONS, ids=str)
def test_losses_of_numbers_are_expressed_or_named(without_kernels, make_problem, loss, targets):
    X, y = make_problem("multi_regression", n_samples=12)
    y = np.abs(y[:, :targets]).squeeze() + 0.1
    model = skmlp.MLPRegressor(loss, (3,), "tanh", max_iter=2, random_state=0).fit(X, y)
    if model.out_activation_ in ("identity", "exp"):
        assert_same_predictions(model.to_sklearn(), model, X)
        return
    with pytest.raises(
        ValueError, match=r"cannot express loss='(gaussian_nll|laplace_nll|quantile)'"
    ):
        model.to_sklearn()


@pytest.mark.parametrize("head", FOR_CLASSES)
@pytest.mark.parametrize("loss", losses.CLASSIFIER_LOSSES)
def test_losses_of_classes_are_expressed_or_named(without_kernels, make_problem, loss, head):
    X, y = make_problem(head, n_samples=12)
    smoothing = 0.1 if loss in ("log_loss", "focal") else 0.0
    model = skmlp.MLPClassifier(
        (3,), loss=loss, label_smoothing=smoothing, max_iter=2, random_state=0
    )
    model.fit(X, y)
    if hasattr(model, "predict_proba"):
        assert_same_predictions(model.to_sklearn(), model, X)
        return
    with pytest.raises(ValueError, match=f"cannot express loss='{loss}'"):
        model.to_sklearn()


def test_what_is_done_around_products_becomes_part_of_them(without_kernels, make_problem):
    X, y = make_problem("multi_regression")
    model = skmlp.MLPRegressor(
        "huber",
        (5, 4),
        normalization="batch",
        dropout=0.2,
        solver="adamw",
        learning_rate="cosine",
        beta_1=0.8,
        y_scale="standard",
        max_iter=4,
        random_state=np.random.RandomState(3),
    ).fit(X, 1000.0 * y + 7.0)
    made = model.to_sklearn()
    assert_same_predictions(made, model, X)
    assert made.get_params() == {
        **theirs.MLPRegressor(hidden_layer_sizes=(5, 4), beta_1=0.8, max_iter=4).get_params(),
        "random_state": made.random_state,
    }
    assert made.random_state is not model.random_state

    X, y = make_problem("multiclass")
    model = skmlp.MLPClassifier(
        (5,), normalization=("batch",), temperature=3.0, max_iter=3, random_state=0
    ).fit(X, y)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-6)):
        model.coefs_ = [coef.astype(dtype) for coef in model.coefs_]
        model.intercepts_ = [intercept.astype(dtype) for intercept in model.intercepts_]
        made = model.to_sklearn()
        assert_same_predictions(made, model, X.astype(dtype), tolerance)
        assert {array.dtype for array in made.coefs_ + made.intercepts_} == {np.dtype(dtype)}
        assert_same_predictions(skmlp.from_sklearn(made), made, X.astype(dtype), tolerance)

    model.temperature_ = 1e-40
    with pytest.raises(ValueError, match="more than float32 holds"):
        model.to_sklearn()


def test_everything_that_sklearn_lacks_is_named_at_once(without_kernels, make_problem):
    X, y = make_problem("multiclass")
    model = Own(
        (3, 3), ("gelu", "tanh"), normalization=("layer", "batch"), loss="hinge", max_iter=1
    ).fit(X, np.column_stack([y, y == 1]))
    with pytest.raises(ValueError, match="to_sklearn: scikit-learn's MLPClassifier") as caught:
        model.to_sklearn()
    for named in (
        "Own, a subclass",
        "activation='gelu'",
        "an activation for each hidden layer ('gelu', 'tanh')",
        "normalization='layer'",
        "2 targets of classes",
        "loss='hinge'",
    ):
        assert str(caught.value).count(named) == 1, named
    assert "'batch'" not in str(caught.value)

    X, y = make_problem("poisson")
    model = skmlp.MLPRegressor("poisson", (3,), max_iter=1, random_state=0).fit(X, y)
    model.y_mean_, model.y_scale_ = np.zeros(1), np.ones(1)
    with pytest.raises(ValueError, match="express y_scale beside outputs that are exponentials"):
        model.to_sklearn()


class Own(skmlp.MLPClassifier):
    """A user's subclass of ours."""


def test_what_is_not_fitted_is_not_expressed(without_kernels, make_problem):
    X, _ = make_problem("binary")
    for model in (skmlp.MLPClassifier(), skmlp.MLPRegressor()):
        with pytest.raises(NotFittedError):
            model.to_sklearn()
    # Weights may be assigned to an estimator that has seen no data.
    model = skmlp.MLPRegressor(hidden_layer_sizes=())
    model.coefs_, model.intercepts_ = [np.arange(5)[:, np.newaxis]], [np.ones(1)]
    model.out_activation_ = "identity"
    model.n_features_in_ = 5
    assert_same_predictions(model.to_sklearn(), model, X)
    model = skmlp.MLPClassifier(hidden_layer_sizes=())
    model.coefs_, model.intercepts_ = [np.ones((5, 1))], [np.ones(1)]
    model.out_activation_ = "logistic"
    with pytest.raises(NotFittedError):
        model.to_sklearn()


def test_assigned_weights_and_changed_parameters(without_kernels, make_problem):
    """It is the network that counts, not what parameters have become."""
    X, y = make_problem("binary")
    model = skmlp.MLPClassifier((4,), "tanh", max_iter=2, random_state=0).fit(X, y)
    model.coefs_ = [2.0 * coef for coef in model.coefs_]
    model.set_params(activation="gelu", hidden_layer_sizes=(9,), loss="hinge")
    made = model.to_sklearn()
    assert made.activation == "tanh"
    assert_same_predictions(made, model, X)
    model.loss_curve_ = 3
    with pytest.raises(ValueError, match="loss_curve_ must be a list of numbers"):
        model.to_sklearn()


# In the place of scikit-learn's


def test_patching_replaces_both_names_in_both_modules():
    own = {name: getattr(skmlp, name) for name in ("MLPClassifier", "MLPRegressor")}
    known = {name: getattr(theirs, name) for name in own}
    assert own.items().isdisjoint(known.items())
    skmlp.unpatch_sklearn()  # without effect
    for _ in range(2):
        skmlp.patch_sklearn()
        for module in (theirs, _multilayer_perceptron):
            assert {name: getattr(module, name) for name in own} == own
        assert {name: original(name) for name in own} == known
    for _ in range(2):
        skmlp.unpatch_sklearn()
        for module in (theirs, _multilayer_perceptron):
            assert {name: getattr(module, name) for name in own} == known
    assert {name: original(name) for name in own} == known


def test_what_others_have_put_there_stays(monkeypatch):
    monkeypatch.setattr(theirs, "MLPClassifier", theirs.MLPClassifier)
    skmlp.patch_sklearn()
    theirs.MLPClassifier = Mine
    skmlp.unpatch_sklearn()
    assert theirs.MLPClassifier is Mine
    assert theirs.MLPRegressor is original("MLPRegressor") is not skmlp.MLPRegressor


def test_sklearns_own_classes_go_on_working(without_kernels, make_problem, patched):
    X, y = make_problem("binary")
    fitted = original("MLPClassifier")((4,), max_iter=2, random_state=0).fit(X, y)
    assert type(clone(fitted)) is type(fitted) is not theirs.MLPClassifier
    made = skmlp.from_sklearn(fitted).to_sklearn()
    assert type(made) is type(fitted)
    assert_same_predictions(made, fitted, X)
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(made)


def test_pickles_of_sklearn_are_loaded_as_ours(without_kernels, make_problem, make_estimator):
    """Alone and in pipelines, fitted or not, of any protocol, by joblib too."""
    pickled = []
    for number, head in enumerate(HEADS):
        X, y = make_problem(head)
        fitted = make_estimator(head, theirs, **options(number)).fit(X, y)
        for model in (fitted, make_pipeline(StandardScaler(), fitted).fit(X, y), clone(fitted)):
            file = io.BytesIO()
            joblib.dump(model, file)
            texts = [pickle.dumps(model, protocol) for protocol in (0, 2, 5)]
            pickled.append(([*texts, file.getvalue()], model, X))
    skmlp.patch_sklearn()
    try:
        for texts, model, X in pickled:
            for text in texts:
                loaded = joblib.load(io.BytesIO(text)) if text is texts[-1] else pickle.loads(text)
                assert repr(loaded) == repr(model)
                network = loaded[-1] if hasattr(loaded, "steps") else loaded
                assert type(network).__module__.startswith("skmlp.")
                assert network.get_params().keys() == type(network)().get_params().keys()
                assert not OF_NETWORKS & vars(network).keys()
                if hasattr(network, "coefs_"):
                    assert_same_predictions(loaded, model, X)
                else:
                    assert not hasattr(model, "coefs_")
            again = pickle.loads(pickle.dumps(loaded))
            assert type(again) is type(loaded)
    finally:
        skmlp.unpatch_sklearn()
    assert type(pickle.loads(texts[0])) is type(model)


def test_old_pickles_and_those_of_subclasses(without_kernels, make_problem, monkeypatch):
    X, y = make_problem("regression")
    fitted = theirs.MLPRegressor("squared_error", (4,), max_iter=2, random_state=0).fit(X, y)
    state = fitted.__getstate__()
    for name in ("n_iter_no_change", "max_fun", "n_features_in_"):
        del state[name]  # as before scikit-learn had them
    model = object.__new__(skmlp.MLPRegressor)
    model.__setstate__({**state, "loss": "squared_loss", "_sklearn_version": "0.19.2"})
    assert_same_predictions(model, fitted, X)
    assert model.loss == "squared_error"
    assert (model.n_iter_no_change, model.max_fun, model.n_features_in_) == (10, 15000, 5)

    X, y = make_problem("binary")
    fitted = Mine((4,), max_iter=2, random_state=0).fit(X, y)
    fitted.note = "kept"
    text = pickle.dumps(fitted)
    assert b"_sklearn_version" not in text.partition(b"LabelBinarizer")[0]
    monkeypatch.setattr(sys.modules[__name__], "Mine", type("Mine", (skmlp.MLPClassifier,), {}))
    loaded = pickle.loads(text)
    assert isinstance(loaded, skmlp.MLPClassifier)
    assert loaded.note == "kept"
    assert_same_predictions(loaded, fitted, X)


def test_pickles_that_no_fit_leaves_are_refused(make_problem, patched):
    X, y = make_problem("binary")
    fitted = original("MLPClassifier")((4,), max_iter=2, random_state=0).fit(X, y)
    for name, value in {"coefs_": 3, "out_activation_": [], "activation": {}}.items():
        model = object.__new__(skmlp.MLPClassifier)
        with pytest.raises(ValueError, match=name.strip("_")):
            model.__setstate__({**fitted.__getstate__(), name: value})
        assert vars(model) == {}
