"""What a user of scikit-learn's multi-layer perceptrons would try on ours."""

import copy
import inspect
import itertools
import pickle
import re
import tracemalloc

import joblib
import numpy as np
import pytest
import scipy.sparse
import sklearn
import sklearn.neural_network
from covering import covering
from engine_checks import RATES, SOLVERS, STOCHASTIC
from estimator_checks import assert_same_weights
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.fixes import parse_version

import skmlp
from skmlp import MLPClassifier, MLPRegressor
from skmlp._parameters import parameters_of
from skmlp._regressor import r_squared
from skmlp._sklearn_compat import UNUSED_HOOKS

# Most fits are cut off after few epochs on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HEADS = ("binary", "multiclass", "multilabel", "regression", "multi_regression", "poisson")
CLASSIFIERS = ("binary", "multiclass", "multilabel")


def added_to(estimator):
    """Return the parameters, with their defaults, that a class has beyond scikit-learn's."""
    entries = parameters_of(estimator.__name__).values()
    return {entry.name: entry.default for entry in entries if entry.is_added}


PAIRS = [
    pytest.param(MLPClassifier, sklearn.neural_network.MLPClassifier, id="MLPClassifier"),
    pytest.param(MLPRegressor, sklearn.neural_network.MLPRegressor, id="MLPRegressor"),
]
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 8, "random_state": 0}


# --- The constructor ---


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_parameters_are_those_of_scikit_learn(ours, theirs):
    expected = list(inspect.signature(theirs).parameters.values())
    found = list(inspect.signature(ours).parameters.values())
    found = [parameter for parameter in found if parameter.kind is not parameter.VAR_KEYWORD]
    assert [p.name for p in found] == [p.name for p in expected] + list(added_to(ours))
    for a, b in zip(found, expected, strict=False):
        assert (a.name, a.kind) == (b.name, b.kind)
        assert a.default == b.default
        assert type(a.default) is type(b.default)
    added = {p.name: p.default for p in found[len(expected) :]}
    assert added == added_to(ours)
    assert all(p.kind is p.KEYWORD_ONLY for p in found[len(expected) :])


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_get_and_set_params(ours, theirs):
    parameters = ours().get_params()
    assert list(parameters) == sorted(parameters)
    assert parameters == {**theirs().get_params(), **added_to(ours)}
    assert ours().set_params(alpha=0.5, n_jobs=2).get_params()["alpha"] == 0.5
    with pytest.raises(ValueError, match="Invalid parameter 'hidden_layer_size'"):
        ours().set_params(hidden_layer_size=3)


def test_positional_parameters(make_problem):
    classifier = MLPClassifier((4, 3), "tanh")
    assert (classifier.hidden_layer_sizes, classifier.activation) == ((4, 3), "tanh")
    regressor = MLPRegressor("poisson", (4, 3), "tanh")
    assert (regressor.loss, regressor.hidden_layer_sizes) == ("poisson", (4, 3))
    assert regressor.activation == "tanh"


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_fit_does_not_touch_parameters(make_problem, ours, theirs):
    X, y = make_problem("binary")
    sizes = [5, 4]
    model = ours(sizes, max_iter=2) if ours is MLPClassifier else ours("squared_error", sizes)
    before = model.get_params()
    model.set_params(max_iter=2).fit(X, y)
    assert model.hidden_layer_sizes is sizes
    assert sizes == [5, 4]
    assert model.get_params() == {**before, "max_iter": 2}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_clone_repr_and_kind(make_problem, ours, theirs):
    model = ours(hidden_layer_sizes=(3,), alpha=0.1, dtype="float32")
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model.fit(*make_problem("binary"))), "coefs_")
    assert repr(ours()) == f"{theirs.__name__}()"
    assert repr(model) == f"{theirs.__name__}(alpha=0.1, dtype='float32', hidden_layer_sizes=(3,))"
    assert is_classifier(model) == is_classifier(theirs())
    assert is_regressor(model) == is_regressor(theirs())
    assert theirs.__name__ in model._repr_html_()


ADDED_TO_FIT = {"X_val", "y_val", "sample_weight_val", "groups", "resume_from"}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_tags_and_methods_are_those_of_scikit_learn(ours, theirs):
    tags = get_tags(theirs())
    tags.target_tags.multi_output = ours is MLPClassifier  # several targets of classes
    assert get_tags(ours()) == tags
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= set(dir(ours))
    for name in ("fit", "partial_fit", "predict", "score"):
        expected = inspect.signature(getattr(theirs, name)).parameters
        found = list(inspect.signature(getattr(ours, name)).parameters)
        assert found[: len(expected)] == list(expected)
        added = {"predict": {"return_std"}, "fit": ADDED_TO_FIT}.get(name, set())
        assert set(found[len(expected) :]) <= added


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_subclasses_may_have_other_constructors(make_problem, estimator):
    class Named(estimator):
        def __init__(self, name="net", units=5):
            super().__init__(hidden_layer_sizes=units, max_iter=3, random_state=0)
            self.name = name
            self.units = units

    class Passing(estimator):
        def __init__(self, name="net", **others):
            super().__init__(**others)
            self.name = name

    X, y = make_problem("binary")
    expected = estimator(hidden_layer_sizes=5, max_iter=3, random_state=0).fit(X, y)
    named = clone(Named(name="other")).fit(X, y)
    assert named.name == "other"
    assert_same_weights(named, expected)
    passing = Passing("other", hidden_layer_sizes=5, max_iter=3, random_state=0).fit(X, y)
    assert_same_weights(passing, expected)
    with pytest.raises(TypeError, match="hidden_layer_size"):
        Passing(hidden_layer_size=3)


def test_a_subclass_may_override_predict(make_problem):
    class Doubled(MLPRegressor):
        def predict(self, X):
            return 2 * super().predict(X)

    X, y = make_problem("regression", n_samples=100)
    params = {**SMALL, "early_stopping": True}
    doubled = Doubled(**params).fit(X, y)
    plain = MLPRegressor(**params).fit(X, y)
    assert_same_weights(doubled, plain)
    np.testing.assert_array_equal(doubled.predict(X), 2 * plain.predict(X))


def test_public_names():
    assert set(skmlp.__all__) >= {"MLPClassifier", "MLPRegressor"}
    assert skmlp.__version__.split(".")[0].isdigit()
    assert MLPClassifier.__doc__
    assert MLPRegressor.__doc__


HOOKS = [
    name
    for theirs in (sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor)
    for cls in theirs.__mro__
    if cls.__module__.startswith("sklearn.neural_network")
    for name, value in vars(cls).items()
    if name.startswith("_") and not name.startswith("__") and inspect.isroutine(value)
]


def test_hooks_of_scikit_learn_are_called_or_announced():
    ours = {*dir(MLPClassifier), *dir(MLPRegressor)}
    assert set(UNUSED_HOOKS) == set(HOOKS) - ours
    assert {"_init_coef", "_backprop", "_forward_pass"} <= set(UNUSED_HOOKS)
    assert {"_fit_stochastic", "_fit_lbfgs"} <= ours


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("hook", UNUSED_HOOKS)
def test_an_overridden_hook_that_is_never_called_is_announced(estimator, hook):
    message = rf"^Own\.{hook} overrides .* that skmlp never calls\."
    with pytest.warns(UserWarning, match=message) as caught:
        Own = type("Own", (estimator,), {hook: lambda self: None})
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=message):  # from a class that is mixed in
        type("Own", (type("Mixin", (), {hook: lambda self: None}), estimator), {})
    type("Heir", (Own,), {})  # has been told of


def test_a_hook_is_announced_where_it_is_written():
    with pytest.warns(UserWarning, match=r"use init=\(coefs, intercepts\)") as caught:

        class Own(MLPClassifier):
            def _init_coef(self, fan_in, fan_out, dtype):
                raise AssertionError("is never called")

    assert caught[0].filename == __file__


def test_an_overridden_method_that_is_called_is_not_announced(make_problem):
    class Counted(MLPRegressor):
        def _fit_stochastic(self, *arguments):
            self.calls = getattr(self, "calls", 0) + 1
            return super()._fit_stochastic(*arguments)

    assert Counted(**SMALL).fit(*make_problem("regression")).calls == 1


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("head", HEADS)
def test_initial_weights_may_be_assigned(make_problem, make_estimator, head, solver):
    X, y = make_problem(head)
    first = make_estimator(head, solver=solver, **SMALL).fit(X, y)
    params = {"solver": solver, "warm_start": True, **SMALL, "random_state": 1}
    fresh = make_estimator(head, **params)
    fresh.coefs_ = [coef.copy() for coef in first.coefs_]
    fresh.intercepts_ = [intercept.copy() for intercept in first.intercepts_]
    fresh.fit(X, y)
    assert fresh.n_features_in_ == 5
    assert fresh.t_ == (0 if solver == "lbfgs" else 8 * len(X))
    first.set_params(warm_start=True, random_state=1)
    if solver == "lbfgs":  # without a random generator and an optimizer's state to go on with
        assert_same_weights(fresh, first.fit(X, y))
    assert fresh.loss_ < make_estimator(head, **{**params, "max_iter": 1}).fit(X, y).loss_


# --- The HTML representation ---


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_html_links_to_the_page_of_scikit_learn(make_problem, ours, theirs):
    page = theirs()._get_doc_link()
    assert page.endswith(f"/sklearn.neural_network.{theirs.__name__}.html")
    assert ours()._get_doc_link() == page
    for model in (ours(dtype=np.float32), ours(**SMALL).fit(*make_problem("binary"))):
        assert page in model._repr_html_()
    assert page in make_pipeline(StandardScaler(), ours())._repr_html_()

    class Own(ours):
        pass

    assert Own()._get_doc_link() == ""  # it has no page
    assert "Own" in Own()._repr_html_()


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"),
    reason="scikit-learn shows descriptions since 1.8",
)
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_html_describes_every_parameter(make_problem, estimator):
    shown = estimator()._repr_html_()
    for name in estimator().get_params():
        assert re.search(rf'<span class="param-doc-description"[^>]*>\s*{name}: ', shown), name
    assert "Where to compute: on the CPU" in shown
    if parse_version(sklearn.__version__) >= parse_version("1.9"):
        model = estimator(early_stopping=True, **SMALL).fit(*make_problem("binary"))
        shown = model._repr_html_()
        for name in ("coefs_", "device_reason_", "best_validation_score_", "loss_"):
            assert re.search(rf'<span class="param-doc-description"[^>]*>\s*{name}: ', shown), name


# --- Fitted attributes ---

ATTRIBUTES = (
    "coefs_", "intercepts_", "loss_", "best_loss_", "loss_curve_", "validation_scores_",
    "best_validation_score_", "n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_",
    "classes_", "n_features_in_", "feature_names_in_",
)  # fmt: skip


def kind_of(value):
    """Describe the exact type of an attribute: a NumPy scalar has methods that a float lacks."""
    if isinstance(value, list):
        return ("list", *sorted({kind_of(item) for item in value}))
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of {value.ndim} dimensions"
    return type(value).__name__


# Attributes of another type than scikit-learn's: there is one entry per epoch in every pickle.
OTHER_KINDS = {"loss_curve_": ("list", "float")}


@pytest.mark.parametrize(
    ("solver", "early_stopping", "partial"),
    [
        ("sgd", False, False),
        ("sgd", False, True),
        ("sgd", True, False),
        ("adam", False, False),
        ("adam", False, True),
        ("adam", True, False),
        ("lbfgs", False, False),
        ("lbfgs", True, False),
    ],
)
@pytest.mark.parametrize("head", HEADS)
def test_fitted_attributes(make_problem, make_estimator, head, solver, early_stopping, partial):
    X, y = make_problem(head, n_samples=60)
    fitted = []
    for library in (skmlp, sklearn.neural_network):
        model = make_estimator(head, library, solver=solver, early_stopping=early_stopping, **SMALL)
        if partial and head in CLASSIFIERS:
            model.partial_fit(X, y, classes=[0, 1] if head == "binary" else [0, 1, 2])
        elif partial:
            model.partial_fit(X, y)
        else:
            model.fit(X, y)
        fitted.append(model)
    ours, theirs = fitted
    for name in ATTRIBUTES:
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            expected = OTHER_KINDS.get(name, kind_of(getattr(theirs, name)))
            assert kind_of(getattr(ours, name)) == expected, name
    public = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")}
    assert public <= set(ATTRIBUTES), "scikit-learn has a new attribute"
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_attributes_agree_with_each_other(make_problem, solver):
    X, y = make_problem("multiclass")
    model = MLPClassifier(solver=solver, **SMALL).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 8
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.t_ == 8 * len(X)
    assert [c.shape for c in model.coefs_] == [(5, 6), (6, 3)]
    assert [b.shape for b in model.intercepts_] == [(6,), (3,)]
    assert all(c.flags.writeable for c in model.coefs_ + model.intercepts_)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_losses_have_the_methods_of_numpy(make_problem, solver):
    model = MLPRegressor(solver=solver, **SMALL).fit(*make_problem("regression"))
    assert model.loss_.round(3) == round(model.loss_.item(), 3)
    if solver != "lbfgs":
        assert model.best_loss_.round(3) == round(model.best_loss_.item(), 3)
        model.set_params(warm_start=True).fit(*make_problem("regression"))
        model.partial_fit(*make_problem("regression"))
        assert type(model.loss_) is type(model.best_loss_) is np.float64


# --- Data of every kind ---

FLOAT32 = [np.float32, np.dtype("f4"), "f4", "single", np.dtype("float32"), "float32"]
FLOAT64 = [np.float64, np.dtype("f8"), "f8", "double", float, "d", "float64"]


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [*((dtype, np.float32) for dtype in FLOAT32), *((dtype, np.float64) for dtype in FLOAT64)],
    ids=repr,
)
def test_dtype_as_numpy_knows_it(make_problem, estimator, dtype, expected):
    X, y = make_problem("binary")
    model = estimator(dtype=dtype, **SMALL).fit(X.astype(np.float16), y)
    assert model.get_params()["dtype"] is dtype
    assert model.coefs_[0].dtype == expected
    again = pickle.loads(pickle.dumps(clone(model))).fit(X.astype(np.float16), y)
    assert again.get_params() == model.get_params()
    assert_same_weights(again, model)
    assert again.partial_fit(X, y).coefs_[0].dtype == expected
    assert repr(model) == repr(clone(model))
    assert "dtype" in model._repr_html_()


def test_a_search_over_dtypes(make_problem):
    X, y = make_problem("binary", n_samples=60)
    dtypes = [np.float32, "float64", np.dtype("f4"), "auto"]
    search = GridSearchCV(MLPClassifier(**SMALL), {"dtype": dtypes}, cv=2).fit(X, y)
    assert list(search.cv_results_["param_dtype"]) == dtypes
    score = search.cv_results_["mean_test_score"]
    assert score[0] == score[2]
    assert score[1] == score[3]


def test_a_dtype_that_a_fitted_network_is_given(make_problem):
    model = MLPRegressor(**SMALL).partial_fit(*make_problem("regression"))
    with pytest.raises(ValueError, match=r"'dtype' parameter .* must be 'auto', .* Got 'float16'"):
        model.set_params(dtype="float16").partial_fit(*make_problem("regression"))
    model.set_params(dtype=np.float32).partial_fit(*make_problem("regression"))
    assert model.coefs_[0].dtype == np.float32


ARRAY_API = """
import sys, warnings
import numpy as np, sklearn
from skmlp import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
rng = np.random.default_rng(0)
others = []
for name in ("torch", "array_api_strict"):
    try:
        others.append(__import__(name))
    except ImportError:
        print("without", name)
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0, "early_stopping": True}
for n_samples in (60, 3000):  # looked at in short, and in general
    X = rng.normal(size=(n_samples, 5))
    weights = rng.uniform(0.5, 2.0, n_samples)
    classes = X[:, :3].argmax(axis=1)
    for estimator, y in (
        (MLPClassifier, classes), (MLPClassifier, np.array(["a", "b", "c"])[classes]),
        (MLPClassifier, (X[:, :3] > 0).astype(int)), (MLPRegressor, X[:, 0]),
    ):
        expected = estimator(**SMALL).fit(X, y, weights)
        with sklearn.config_context(array_api_dispatch=True):
            same = [estimator(**SMALL).fit(X, y, weights)]
            score = same[0].score(X, y)
            for xp in others if y.dtype.kind != "U" else ():
                arrays = [xp.asarray(array) for array in (X, y, weights)]
                same.append(estimator(**SMALL).fit(*arrays))
                prediction = same[-1].predict(arrays[0])
                assert type(prediction) is np.ndarray
                np.testing.assert_array_equal(prediction, expected.predict(X))
                if estimator is MLPClassifier and y.ndim == 1:
                    parts = MLPClassifier(**{**SMALL, "early_stopping": False})
                    parts.partial_fit(*arrays, classes=xp.asarray(np.arange(3)))
                    assert type(parts.predict_proba(arrays[0])) is np.ndarray
        assert score == expected.score(X, y)
        for model in same:
            for ours, theirs in zip(model.coefs_, expected.coefs_, strict=True):
                assert type(ours) is np.ndarray
                np.testing.assert_array_equal(ours, theirs)
print("done")
"""


def test_arrays_of_other_libraries_under_array_api_dispatch(run_python):
    printed = run_python(ARRAY_API, SCIPY_ARRAY_API="1").splitlines()
    assert printed[-1] == "done"
    if len(printed) > 1:
        pytest.skip(f"NumPy's arrays only: {', '.join(printed[:-1])}")


@pytest.mark.parametrize("dtype", ["auto", "float32", "float64"])
@pytest.mark.parametrize("given", ["float32", "float64", "float16", "int64", "int8", "bool"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_dtypes(make_problem, given, dtype, solver):
    X, y = make_problem("multiclass")
    X = (3 * X).astype(given)
    model = MLPClassifier(dtype=dtype, solver=solver, **SMALL).fit(X, y)
    expected = np.dtype(
        ("float32" if given == "float32" else "float64") if dtype == "auto" else dtype
    )
    assert {w.dtype for w in model.coefs_ + model.intercepts_} == {expected}
    assert model.predict_proba(X).dtype == expected
    assert model.predict(X).dtype == y.dtype
    regressor = MLPRegressor(dtype=dtype, solver=solver, **SMALL).fit(X, y)
    assert regressor.predict(X).dtype == expected
    # Values, not only types: the same numbers in the wanted precision.
    same = MLPClassifier(solver=solver, **SMALL).fit(X.astype(expected), y)
    assert_same_weights(model, same)


@pytest.mark.parametrize("y_dtype", [np.float32, np.float64, np.int32, np.uint8, bool])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_of_numeric_targets(make_problem, dtype, y_dtype):
    X, y = make_problem("poisson")
    y = y.astype(y_dtype)
    model = MLPRegressor(**SMALL).fit(X.astype(dtype), y)
    assert model.coefs_[0].dtype == dtype
    expected = MLPRegressor(**SMALL).fit(X.astype(dtype), y.astype(dtype))
    assert_same_weights(model, expected, 1e-6 if dtype == np.float64 else 1e-4)


def in_every_layout(X, tmp_path):
    """Yield the same numbers in arrays of every layout."""
    yield "Fortran order", np.asfortranarray(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    wide = np.zeros((len(X), 2 * X.shape[1]), X.dtype)
    wide[:, ::2] = X
    yield "every second column", wide[:, ::2]
    long = np.zeros((3 * len(X), X.shape[1]), X.dtype)
    long[::3] = X
    yield "every third row", long[::3]
    yield "reversed", X[::-1, ::-1].copy()[::-1, ::-1]
    if X.dtype == np.float64:  # scikit-learn takes big-endian float32 for "everything else"
        yield "big endian", X.astype(">f8")
    unaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    unaligned[...] = X
    yield "unaligned", unaligned
    for mode in ("r", "r+", "c"):
        file = np.memmap(tmp_path / f"X{mode}", X.dtype, "w+", shape=X.shape)
        file[...] = X
        file.flush()
        yield f"memmap {mode}", np.memmap(tmp_path / f"X{mode}", X.dtype, mode, shape=X.shape)
    yield "matrix of a subclass", X.view(type("Subclass", (np.ndarray,), {}))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("head", ["multiclass", "multi_regression"])
def test_layouts(make_problem, make_estimator, unchanged, tmp_path, head, solver, dtype):
    X, y = make_problem(head)
    X = X.astype(dtype)
    model = make_estimator(head, solver=solver, batch_size=16, **SMALL).fit(X, y)
    tolerance = 1e-6 if dtype == np.float64 else 1e-4
    for label, other in in_every_layout(X, tmp_path):
        again = make_estimator(head, solver=solver, batch_size=16, **SMALL)
        with unchanged(other):
            again.fit(other, y)
            prediction = model.predict(other)
        assert_same_weights(again, model, tolerance)
        np.testing.assert_allclose(prediction, model.predict(X), atol=tolerance, err_msg=label)


@pytest.mark.parametrize("head", HEADS)
def test_layouts_of_targets_and_weights(make_problem, make_estimator, head):
    X, y = make_problem(head)
    weights = np.linspace(0.5, 2.0, len(X))
    expected = make_estimator(head, **SMALL).fit(X, y, weights)
    for change in (
        np.asfortranarray,
        lambda array: np.repeat(array, 2, axis=0)[::2],
        lambda array: array[::-1].copy()[::-1],
    ):
        targets, part = change(y), change(weights)
        targets.flags.writeable = part.flags.writeable = False
        assert_same_weights(make_estimator(head, **SMALL).fit(X, targets, part), expected)
    listed = make_estimator(head, **SMALL).fit(X.tolist(), y.tolist(), weights.tolist())
    assert_same_weights(listed, expected)


@pytest.mark.parametrize(
    ("head", "solver", "dtype", "container"),
    covering(
        ["binary", "multi_regression"],
        SOLVERS,
        [np.float32, np.float64],
        ["csr_array", "csc_array", "csr_matrix", "csc_matrix"],
    ),
)
def test_sparse_equals_dense(make_problem, make_estimator, head, solver, dtype, container):
    X, y = make_problem(head)
    X = np.where(np.abs(X) > 0.8, X, 0).astype(dtype)
    weights = np.linspace(0.5, 2.0, len(X))
    sparse = getattr(scipy.sparse, container)(X)
    parts = (sparse.data.copy(), sparse.indices.copy(), sparse.indptr.copy())
    for part in (sparse.data, sparse.indices, sparse.indptr):
        part.flags.writeable = False
    params = {"solver": solver, "batch_size": 16, **SMALL}
    dense = make_estimator(head, **params).fit(X, y, weights)
    model = make_estimator(head, **params).fit(sparse, y, weights)
    tolerance = 1e-6 if dtype == np.float64 else 1e-4
    assert_same_weights(model, dense, tolerance)
    np.testing.assert_allclose(model.predict(sparse), model.predict(X), atol=tolerance)
    for part, expected in zip(parts, (sparse.data, sparse.indices, sparse.indptr), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_unusual_sparse_matrices(make_problem):
    X, y = make_problem("multiclass")
    X[X < 0.5] = 0
    X[7] = 0  # an empty row
    X[:, 2] = 0  # an empty column
    expected = MLPClassifier(**SMALL).fit(X, y)
    wide = scipy.sparse.csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    unsorted = scipy.sparse.csr_array(X)
    for row in range(len(X)):
        part = slice(unsorted.indptr[row], unsorted.indptr[row + 1])
        unsorted.indices[part] = unsorted.indices[part][::-1].copy()
        unsorted.data[part] = unsorted.data[part][::-1].copy()
    unsorted.has_sorted_indices = False
    twice = scipy.sparse.coo_array(X)
    twice = scipy.sparse.csr_array(
        (
            np.tile(twice.data / 2, 2),
            (np.tile(twice.row, 2), np.tile(twice.col, 2)),
        ),
        shape=X.shape,
    )
    zeros = scipy.sparse.csr_array((np.zeros(3), ([0, 1, 2], [0, 1, 2])), shape=X.shape)
    for sparse in (wide, unsorted, twice, wide + zeros, scipy.sparse.coo_array(X)):
        assert_same_weights(MLPClassifier(**SMALL).fit(sparse, y), expected, 1e-6)
        np.testing.assert_array_equal(expected.predict(sparse), expected.predict(X))


def test_sparse_multilabel_targets(make_problem):
    X, y = make_problem("multilabel")
    dense = MLPClassifier(**SMALL).fit(X, y)
    sparse = MLPClassifier(**SMALL).fit(X, scipy.sparse.csr_array(y))
    assert_same_weights(dense, sparse)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("head", ["binary", "multi_regression"])
def test_data_frames(make_problem, make_estimator, library, head):
    frames = pytest.importorskip(library)
    X, y = make_problem(head)
    names = ["age", "sugar", "mass", "pressure", "dose"]
    frame = frames.DataFrame({name: X[:, k] for k, name in enumerate(names)})
    weights = np.linspace(0.5, 2.0, len(X))
    model = make_estimator(head, **SMALL)
    if y.ndim == 1:
        model.fit(frame, frames.Series(y), frames.Series(weights))
    else:
        model.fit(frame, frames.DataFrame({f"y{k}": y[:, k] for k in range(3)}), weights)
    assert_same_weights(model, make_estimator(head, **SMALL).fit(X, y, weights))
    assert model.feature_names_in_.tolist() == names
    assert model.feature_names_in_.dtype == object
    assert model.n_features_in_ == 5
    np.testing.assert_array_equal(
        model.predict(frame), make_estimator(head, **SMALL).fit(X, y, weights).predict(X)
    )
    model.fit(X, y)
    assert not hasattr(model, "feature_names_in_")


def test_a_frame_of_mixed_columns(make_problem):
    pd = pytest.importorskip("pandas")
    X, y = make_problem("regression")
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["flag"] = frame["a"] > 0
    frame["count"] = (frame["b"] * 10).astype("int32")
    frame["half"] = frame["c"].astype("float32")
    frame["maybe"] = frame["d"].astype("Float64")
    expected = MLPRegressor(**SMALL).fit(frame.to_numpy(dtype=float), y)
    assert_same_weights(MLPRegressor(**SMALL).fit(frame, y), expected)


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "Float64", "int8", "string"])
def test_series_of_every_dtype_as_targets(make_problem, dtype):
    pd = pytest.importorskip("pandas")
    X, y = make_problem("binary")
    y = pd.Series(np.array(["no", "yes"])[y] if dtype == "string" else y).astype(dtype)
    model = MLPClassifier(**SMALL).fit(X, y)
    theirs = sklearn.neural_network.MLPClassifier(**SMALL).fit(X, y)
    np.testing.assert_array_equal(model.classes_, theirs.classes_)
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X))
    assert model.score(X, y) == theirs.score(X, y)
    if dtype != "string":
        regressor = MLPRegressor(**SMALL).fit(X, y)
        assert_same_weights(regressor, MLPRegressor(**SMALL).fit(X, y.to_numpy(dtype=float)))


def test_numpy_scalars_as_parameters(make_problem):
    X, y = make_problem("binary")
    plain = MLPClassifier(7, alpha=0.5, batch_size=9, max_iter=3, random_state=1).fit(X, y)
    model = MLPClassifier(
        np.int32(7),
        alpha=np.float64(0.5),
        batch_size=np.int64(9),
        max_iter=np.uint8(3),
        random_state=np.int64(1),
        shuffle=np.bool_(True),
        n_jobs=np.int64(1),
    )
    assert_same_weights(model.fit(X, y), plain)


def test_string_labels_in_a_frame(make_problem):
    pd = pytest.importorskip("pandas")
    X, y = make_problem("multiclass")
    labels = pd.Series(np.array(["ash", "beech", "cedar"])[y])
    model = MLPClassifier(**SMALL).fit(X, labels)
    assert list(model.classes_) == ["ash", "beech", "cedar"]
    category = MLPClassifier(**SMALL).fit(X, labels.astype("category"))
    np.testing.assert_array_equal(category.predict(X), model.predict(X))


# --- Memory ---


def peak_of(action):
    """Largest amount of memory that Python and NumPy held during an action, in bytes."""
    tracemalloc.start()
    try:
        start, _ = tracemalloc.get_traced_memory()
        action()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - start


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": True},
        {"dtype": "float32"},
        {"solver": "sgd", "shuffle": False},
        {"solver": "lbfgs", "max_iter": 2},
    ],
    ids=str,
)
def test_a_memory_map_is_never_copied_whole(tmp_path, params):
    shape = (50_000, 200)
    X = np.memmap(tmp_path / "X", np.float64, "w+", shape=shape)
    rng = np.random.default_rng(0)
    for start in range(0, len(X), 5000):
        X[start : start + 5000] = rng.normal(size=(5000, 200))
    y = (X[:, 0] > 0).astype(int)
    X.flush()
    X = np.memmap(tmp_path / "X", np.float64, "r", shape=shape)
    # Small activations, so that X (80 MB) is what would count.
    model = MLPClassifier(hidden_layer_sizes=(2,), batch_size=500, max_iter=1, random_state=0)
    model.set_params(**params)
    assert peak_of(lambda: model.fit(X, y)) < X.nbytes / 4
    assert peak_of(lambda: model.predict(X)) < X.nbytes / 4


@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csc_array])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_input_is_never_made_dense_whole(container, solver):
    rng = np.random.default_rng(0)
    places = (rng.integers(20_000, size=40_000), rng.integers(1000, size=40_000))
    X = container((rng.normal(size=40_000), places), shape=(20_000, 1000))
    y = np.arange(20_000) % 2
    dense = 8 * X.shape[0] * X.shape[1]
    model = MLPClassifier(hidden_layer_sizes=(2,), max_iter=1, solver=solver, random_state=0)
    assert peak_of(lambda: model.fit(X, y)) < dense / 8
    assert peak_of(lambda: model.predict(X)) < dense / 8


PREDICT_MEMORY = """
import resource, warnings
import numpy as np
from skmlp import MLPRegressor

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.normal(size=(400_000, 10))
model = MLPRegressor(hidden_layer_sizes=(100, 100), max_iter=1).fit(X[:300], X[:300, 0])
model.predict(X[:20_000])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
answer = model.predict(X)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start - answer.nbytes // 1024)
"""


def test_prediction_takes_at_most_64_megabytes(run_python):
    # One hidden layer of all rows would be 320 MB.
    assert int(run_python(PREDICT_MEMORY)) < 64 * 1024


# --- Learning in steps ---


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_partial_fit_over_chunks_with_all_classes_named(make_problem, solver):
    X, y = make_problem("multiclass", n_samples=300)
    order = np.argsort(y, kind="stable")
    rate = RATES.get(solver, 0.02)
    model = MLPClassifier(solver=solver, hidden_layer_sizes=(10,), learning_rate_init=rate)
    for _ in range(60):
        for rows in np.array_split(order, 3):
            model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    assert model.score(X, y) > 0.6
    assert model.t_ == 60 * 300
    assert model.n_iter_ == 1
    assert len(model.loss_curve_) == 180


def test_partial_fit_returns_the_model_and_learns(make_problem):
    X, y = make_problem("regression", n_samples=100)
    model = MLPRegressor(hidden_layer_sizes=(10,), learning_rate_init=0.02, random_state=0)
    assert model.partial_fit(X, y) is model
    for _ in range(200):
        model.partial_fit(X, y)
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 4


def test_partial_fit_with_string_classes(make_problem):
    X, y = make_problem("multiclass")
    labels = np.array(["ash", "beech", "cedar"])
    model = MLPClassifier(**SMALL)
    model.partial_fit(X[:5], labels[y[:5]], classes=["cedar", "ash", "beech"])
    assert list(model.classes_) == ["ash", "beech", "cedar"]
    assert model.predict(X).dtype.kind == "U"


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_goes_on(make_problem, estimator, solver):
    X, y = make_problem("binary")
    model = estimator(
        solver=solver, warm_start=True, hidden_layer_sizes=(6,), max_iter=5, random_state=0
    )
    first = model.fit(X, y).loss_
    assert model.fit(X, y).loss_ < first
    cold = estimator(solver=solver, hidden_layer_sizes=(6,), max_iter=15, random_state=0)
    assert cold.fit(X, y).loss_ == cold.fit(X, y).loss_


# --- Assigning weights ---


@pytest.mark.parametrize("head", HEADS)
def test_assigned_weights_change_predictions(make_problem, make_estimator, head):
    X, y = make_problem(head)
    model = make_estimator(head, **SMALL).fit(X, y)
    method = model.predict_proba if head in CLASSIFIERS else model.predict
    before = method(X)
    theirs = make_estimator(head, sklearn.neural_network, **SMALL).fit(X, y)
    model.coefs_ = [np.array(c) for c in theirs.coefs_]
    model.intercepts_ = [b + 0.5 for b in theirs.intercepts_]
    theirs.intercepts_ = [b + 0.5 for b in theirs.intercepts_]
    expected = theirs.predict_proba(X) if head in CLASSIFIERS else theirs.predict(X)
    np.testing.assert_allclose(method(X), expected, rtol=1e-7)
    assert not np.allclose(method(X), before)


@pytest.mark.parametrize(
    "way", ["replaced list", "replaced item", "in place", "intercept in place"]
)
def test_every_way_of_assigning_weights(make_problem, way):
    X, y = make_problem("regression")
    model = MLPRegressor(hidden_layer_sizes=(), max_iter=3, random_state=0).fit(X, y)
    intercept = model.intercepts_[0][0]
    if way == "replaced list":
        model.coefs_ = [np.arange(5.0)[:, None]]
    elif way == "replaced item":
        model.coefs_[0] = np.arange(5.0)[:, None]
    elif way == "in place":
        model.coefs_[0][:, 0] = np.arange(5.0)
    else:
        model.coefs_[0][...] = np.arange(5.0)[:, None]
        model.intercepts_[0][0] = intercept = 3.0
    np.testing.assert_allclose(model.predict(X), X @ np.arange(5.0) + intercept, rtol=1e-12)
    np.testing.assert_allclose(
        pickle.loads(pickle.dumps(model)).predict(X), model.predict(X), rtol=1e-12
    )


def test_weights_assigned_as_lists_of_integers(make_problem):
    X, y = make_problem("regression")
    model = MLPRegressor(hidden_layer_sizes=(), max_iter=1).fit(X, y)
    model.coefs_ = [np.arange(5)[:, None]]
    model.intercepts_ = [np.array([2])]
    np.testing.assert_allclose(model.predict(X), X @ np.arange(5) + 2)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_training_goes_on_from_assigned_weights(make_problem, solver):
    X, y = make_problem("multiclass")
    fitted = []
    for library in (skmlp, sklearn.neural_network):
        model = library.MLPClassifier(solver=solver, shuffle=False, **SMALL).fit(X, y)
        model.coefs_ = [0.5 * c for c in model.coefs_]
        model.intercepts_[0] = model.intercepts_[0] + 1.0
        fitted.append(model.partial_fit(X, y).partial_fit(X, y))
    assert_same_weights(*fitted, tolerance=1e-6)


# --- Weights and metadata routing ---


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_sample_weight_counts(make_problem, estimator):
    X, y = make_problem("binary")
    # Two contradictory targets for each row: the heavier one wins.
    X, y = np.concatenate([X, X]), np.concatenate([y, 1 - y])
    weights = np.repeat([5.0, 0.2], len(X) // 2)
    model = estimator(hidden_layer_sizes=(10,), solver="lbfgs", max_iter=300, random_state=0)
    half = len(X) // 2
    assert model.fit(X, y, weights).score(X[:half], y[:half]) > 0.8
    assert model.fit(X, y, weights[::-1]).score(X[half:], y[half:]) > 0.8


def test_a_number_as_weight(make_problem):
    X, y = make_problem("regression")
    for weight in (1.0, 2):
        model = MLPRegressor(**SMALL).fit(X, y, sample_weight=weight)
        assert_same_weights(model, MLPRegressor(**SMALL).fit(X, y, np.full(len(X), weight)))


def test_metadata_routing_in_a_pipeline(make_problem):
    X, y = make_problem("multiclass")
    weights = np.linspace(0.1, 3.0, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        network = MLPClassifier(**SMALL).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, network).fit(X, y, sample_weight=weights)
    expected = MLPClassifier(**SMALL).fit(StandardScaler().fit_transform(X), y, weights)
    assert_same_weights(pipeline[-1], expected)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_metadata_routing_in_a_search(make_problem, estimator):
    X, y = make_problem("binary", n_samples=60)
    weights = np.linspace(0.1, 3.0, len(X))
    scores = []
    for cls in (estimator, getattr(sklearn.neural_network, estimator.__name__)):
        with sklearn.config_context(enable_metadata_routing=True):
            network = cls(**SMALL).set_fit_request(sample_weight=True)
            network.set_score_request(sample_weight=True)
            search = GridSearchCV(network, {"alpha": [1e-3, 10.0]}, cv=3)
            search.fit(X, y, sample_weight=weights)
            scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def test_metadata_routing_of_partial_fit():
    network = MLPClassifier()
    with sklearn.config_context(enable_metadata_routing=True):
        network.set_partial_fit_request(sample_weight=True, classes=True)
        requests = network.get_metadata_routing()
    assert requests.partial_fit.requests == {"sample_weight": True, "classes": True}


# --- Inside scikit-learn's own tools: the same answers as with its own networks ---


def small_classifier(library, **params):
    return library.MLPClassifier(**{**SMALL, "learning_rate_init": 0.02, **params})


def small_regressor(library, **params):
    return library.MLPRegressor(**{**SMALL, "learning_rate_init": 0.02, **params})


CLASSIFIER_TOOLS = {
    "pipeline": lambda mlp: make_pipeline(StandardScaler(), mlp),
    "bagging": lambda mlp: BaggingClassifier(mlp, n_estimators=3, random_state=0),
    "bagging of features": lambda mlp: BaggingClassifier(
        mlp, n_estimators=3, max_features=0.6, max_samples=0.7, random_state=0
    ),
    "voting, hard": lambda mlp: VotingClassifier([("a", mlp), ("b", LogisticRegression())]),
    "voting, soft": lambda mlp: VotingClassifier(
        [("a", mlp), ("b", LogisticRegression())], voting="soft"
    ),
    "stacking": lambda mlp: StackingClassifier([("a", mlp), ("b", LogisticRegression())], cv=3),
    "boosting": lambda mlp: AdaBoostClassifier(mlp, n_estimators=3, random_state=0),
    "calibration": lambda mlp: CalibratedClassifierCV(mlp, cv=3),
    "one against the rest": OneVsRestClassifier,
    "search": lambda mlp: GridSearchCV(
        make_pipeline(StandardScaler(), mlp),
        {"mlpclassifier__alpha": [1e-4, 3.0], "mlpclassifier__activation": ["relu", "tanh"]},
        cv=3,
    ),
    "random search": lambda mlp: RandomizedSearchCV(
        mlp,
        {"alpha": [1e-4, 1.0, 100.0], "hidden_layer_sizes": [(3,), (5, 4), ()]},
        n_iter=4,
        cv=3,
        random_state=0,
    ),
}


@pytest.mark.parametrize("tool", CLASSIFIER_TOOLS)
def test_classifiers_inside_tools(make_problem, tool):
    X, y = make_problem("multiclass", n_samples=90)
    answers = []
    for library in (skmlp, sklearn.neural_network):
        model = CLASSIFIER_TOOLS[tool](small_classifier(library)).fit(X, y)
        answers.append(model.predict(X))
    np.testing.assert_array_equal(*answers)


REGRESSOR_TOOLS = {
    "pipeline": lambda mlp: make_pipeline(StandardScaler(), mlp),
    "bagging": lambda mlp: BaggingRegressor(mlp, n_estimators=3, random_state=0),
    "voting": lambda mlp: VotingRegressor([("a", mlp), ("b", Ridge())]),
    "scaled target": lambda mlp: TransformedTargetRegressor(mlp, transformer=StandardScaler()),
    "search": lambda mlp: GridSearchCV(
        mlp, {"alpha": [1e-4, 3.0], "solver": ["sgd", "adam"]}, cv=3
    ),
}


@pytest.mark.parametrize("tool", REGRESSOR_TOOLS)
def test_regressors_inside_tools(make_problem, tool):
    X, y = make_problem("regression", n_samples=90)
    answers = []
    for library in (skmlp, sklearn.neural_network):
        model = REGRESSOR_TOOLS[tool](small_regressor(library)).fit(X, y)
        answers.append(model.predict(X))
    np.testing.assert_allclose(*answers, rtol=1e-6, atol=1e-6)


def test_networks_for_several_targets(make_problem):
    X, y = make_problem("multilabel", n_samples=60)
    for tool in (MultiOutputClassifier, lambda mlp: ClassifierChain(mlp, random_state=0)):
        answers = [
            tool(small_classifier(library)).fit(X, y).predict(X)
            for library in (skmlp, sklearn.neural_network)
        ]
        np.testing.assert_array_equal(*answers)
    X, y = make_problem("multi_regression", n_samples=60)
    answers = [
        MultiOutputRegressor(small_regressor(library)).fit(X, y).predict(X)
        for library in (skmlp, sklearn.neural_network)
    ]
    np.testing.assert_allclose(*answers, rtol=1e-6, atol=1e-6)


def test_cross_validation(make_problem):
    X, y = make_problem("multiclass", n_samples=90)
    results = [
        cross_validate(
            small_classifier(library),
            X,
            y,
            cv=3,
            scoring=["accuracy", "neg_log_loss", "roc_auc_ovr"],
            return_train_score=True,
        )
        for library in (skmlp, sklearn.neural_network)
    ]
    for name in results[0]:
        if not name.endswith("_time"):
            np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-6)


def test_out_of_fold_predictions_curves_and_importances(make_problem):
    X, y = make_problem("binary", n_samples=90)
    found = []
    for library in (skmlp, sklearn.neural_network):
        model = small_classifier(library)
        probabilities = cross_val_predict(model, X, y, cv=3, method="predict_proba")
        sizes, train, test = learning_curve(model, X, y, cv=3, train_sizes=[0.5, 1.0])
        importances = permutation_importance(model.fit(X, y), X, y, n_repeats=3, random_state=0)
        found.append((probabilities, sizes, train, test, importances.importances))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1, -2])
def test_n_jobs_is_accepted(make_problem, n_jobs):
    X, y = make_problem("binary")
    model = MLPClassifier(n_jobs=n_jobs, **SMALL).fit(X, y)
    assert_same_weights(model, MLPClassifier(n_jobs=1, **SMALL).fit(X, y))


# --- Saving and loading ---


@pytest.mark.parametrize("params", [
    {"solver": "lbfgs"}, {"early_stopping": True}, {"dtype": "float32"}, {"hidden_layer_sizes": ()},
])  # fmt: skip
@pytest.mark.parametrize("head", HEADS)
def test_round_trips(make_problem, make_estimator, fitted_state, tmp_path, head, params):
    X, y = make_problem(head)
    model = make_estimator(head, **{**SMALL, **params}).fit(X, y)
    joblib.dump(model, tmp_path / "model")
    for again in (
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model"),
        copy.deepcopy(model),
    ):
        assert again.get_params() == model.get_params()
        np.testing.assert_array_equal(model.predict(X), again.predict(X))
        before, after = fitted_state(model), fitted_state(again)
        assert {name for name in before if not name.startswith("_")} >= {"coefs_", "n_iter_"}
        for name in before:
            if not name.startswith("_"):
                assert after[name] == before[name], name
        again.coefs_[0][...] = 0.0
        assert model.coefs_[0].any(), "the copy shares its weights"


def test_an_unfitted_model_can_be_pickled(make_problem):
    model = pickle.loads(pickle.dumps(MLPClassifier(**SMALL)))
    X, y = make_problem("binary")
    assert_same_weights(model.fit(X, y), MLPClassifier(**SMALL).fit(X, y))


def test_warm_start_after_a_round_trip(make_problem):
    X, y = make_problem("multiclass")
    model = MLPClassifier(warm_start=True, batch_size=7, **SMALL).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert_same_weights(model.fit(X, y), again.fit(X, y))


def test_a_loaded_model_in_a_new_process(make_problem, run_python, tmp_path):
    X, y = make_problem("multiclass")
    model = MLPClassifier(batch_size=7, **SMALL).fit(X, y)
    joblib.dump((model, X, y), tmp_path / "model")
    run_python(
        "import joblib, sys\n"
        "model, X, y = joblib.load(sys.argv[1])\n"
        "joblib.dump((model.predict_proba(X), model.partial_fit(X, y)), sys.argv[2])\n",
        tmp_path / "model",
        tmp_path / "answer",
    )
    probabilities, resumed = joblib.load(tmp_path / "answer")
    np.testing.assert_array_equal(probabilities, model.predict_proba(X))
    assert_same_weights(resumed, model.partial_fit(X, y))


# --- What is printed ---


def numbers_and_text(output):
    """Split the lines that scikit-learn prints too into texts and numbers."""
    known = ("Iteration", "Validation score", "Training loss did not", "Validation score did not")
    texts, numbers = [], []
    for line in output.splitlines():
        if line.startswith(known):
            words = line.replace(",", " ").split()
            for word in words:
                try:
                    numbers.append(float(word.rstrip(".")))
                except ValueError:
                    texts.append(word)
    return texts, numbers


@pytest.mark.parametrize("verbose", [True, 1, 10])
@pytest.mark.parametrize("params", [
    {"solver": "sgd", "max_iter": 5},
    {"max_iter": 200, "learning_rate_init": 0.05, "tol": 0.01},
    {"max_iter": 60, "learning_rate_init": 0.05, "early_stopping": True, "n_iter_no_change": 3},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "learning_rate_init": 0.1},
], ids=str)  # fmt: skip
def test_verbose_prints_what_scikit_learn_prints(make_problem, capsys, params, verbose):
    X, y = make_problem("binary", n_samples=100)
    printed = []
    for library in (skmlp, sklearn.neural_network):
        params = {"hidden_layer_sizes": (5,), "random_state": 0, **params}
        library.MLPClassifier(**params).fit(X, y)  # skmlp says when it compiles
        library.MLPClassifier(verbose=verbose, **params).fit(X, y)
        printed.append(numbers_and_text(capsys.readouterr().out))
    (texts, numbers), (expected_texts, expected_numbers) = printed
    assert texts == expected_texts
    assert "loss" in texts
    np.testing.assert_allclose(numbers, expected_numbers, rtol=1e-7, atol=2e-8)


def test_verbose_partial_fit(make_problem, capsys):
    X, y = make_problem("regression")
    MLPRegressor(verbose=True, **SMALL).partial_fit(X, y)
    assert capsys.readouterr().out.count("Iteration 1, loss = ") == 1


@pytest.mark.parametrize("params", [
    {}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True}, {"n_jobs": 2},
    {"verbose": 0},
], ids=str)  # fmt: skip
def test_nothing_is_printed_otherwise(make_problem, capfd, params):
    X, y = make_problem("multiclass", n_samples=300)
    model = MLPClassifier(**{**SMALL, **params}).fit(X, y)
    model.predict(X)
    model.score(X, y)
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")


# --- Snippets from course material ---


@pytest.fixture(scope="module")
def digits():
    """Grey values scaled to [0, 1] and the digits they show."""
    X, y = load_digits(return_X_y=True)
    return X[:900] / 16.0, y[:900]


def test_snippet_sizes_as_a_list(digits):
    X, y = digits
    model = MLPClassifier(
        hidden_layer_sizes=[30, 30],
        activation="logistic",
        solver="sgd",
        learning_rate_init=0.1,
        max_iter=300,
        random_state=0,
    )
    model.fit(X[:600], y[:600])
    assert model.score(X[600:], y[600:]) > 0.85
    assert [c.shape for c in model.coefs_] == [(64, 30), (30, 30), (30, 10)]


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_snippet_digits(digits):
    X, y = digits
    model = MLPClassifier((64, 32), max_iter=300, random_state=0).fit(X[:600], y[:600])
    probabilities = model.predict_proba(X[600:])
    assert probabilities.shape == (300, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_array_equal(
        model.classes_[probabilities.argmax(axis=1)], model.predict(X[600:])
    )
    assert (probabilities.argmax(axis=1) == y[600:]).mean() > 0.9
    assert np.median(probabilities.max(axis=1)) > 0.9
    assert model.loss_curve_[-1] < 0.05 < model.loss_curve_[0]
    assert model.coefs_[0].T.reshape(-1, 8, 8).shape == (64, 8, 8)  # pictures of the weights


def test_snippet_keras_network_of_twelve_and_eight():
    # Dense(12, relu), Dense(8, relu), Dense(1, sigmoid) on a table of eight features.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(768, 8))
    y = (X[:, 1] + 0.5 * X[:, 5] ** 2 + 0.3 * rng.normal(size=768) > 0.4).astype(int)
    model = make_pipeline(StandardScaler(), MLPClassifier((12, 8), max_iter=150, random_state=0))
    model.fit(X[:600], y[:600])
    assert model.score(X[600:], y[600:]) > 0.85
    network = model[-1]
    assert [c.shape for c in network.coefs_] == [(8, 12), (12, 8), (8, 1)]
    assert network.out_activation_ == "logistic"


def test_snippet_by_hand_all_weights_one():
    # Three inputs, two hidden nodes: the matrix product gives the hidden values.
    X = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 4.0]])
    model = MLPRegressor("squared_error", (2,), "identity", max_iter=1).fit(X, [0.0, 1.0])
    model.coefs_ = [np.ones((3, 2)), np.ones((2, 1))]
    model.intercepts_ = [np.zeros(2), np.zeros(1)]
    hidden = X @ np.ones((3, 2))
    assert hidden.tolist() == [[6.0, 6.0], [3.5, 3.5]]
    np.testing.assert_allclose(model.predict(X), hidden.sum(axis=1))


def output_of(scores, targets):
    """Return a classifier's probabilities where its last layer receives these scores."""
    model = MLPClassifier(hidden_layer_sizes=(), max_iter=1).fit(
        np.ones((len(targets), 1)), targets
    )
    model.coefs_ = [np.array([scores], dtype=float)]
    model.intercepts_ = [np.zeros(len(scores))]
    return model.predict_proba([[1.0]])[0]


def test_snippet_softmax_of_seven_numbers():
    found = output_of([1, 2, 3, 4, 1, 2, 3], np.arange(7))
    expected = [0.02364054, 0.06426166, 0.1746813, 0.474833, 0.02364054, 0.06426166, 0.1746813]
    np.testing.assert_allclose(found, expected, atol=5e-8)


def test_snippet_logistic_and_softmax_of_four_scores():
    scores = [-0.5, 1.2, 3, -2]
    np.testing.assert_allclose(output_of(scores, np.arange(4)), [0.03, 0.14, 0.83, 0.01], atol=5e-3)
    several_labels = np.array([[1, 0, 1, 0], [0, 1, 0, 1]])
    found = output_of(scores, several_labels)
    np.testing.assert_allclose(found, [0.38, 0.77, 0.95, 0.12], atol=5e-3)


def test_snippet_one_unit_by_hand():
    # 20 * 0.1 + 0.5 * (-4) + 0.1 * 10 = 1, through a linear unit and through a logistic one.
    inputs, weights = np.array([[20.0, 0.5, 0.1]]), np.array([[0.1], [-4.0], [10.0]])
    linear = MLPRegressor(hidden_layer_sizes=(), max_iter=1).fit(np.ones((2, 3)), [0.0, 1.0])
    linear.coefs_, linear.intercepts_ = [weights], [np.zeros(1)]
    assert linear.predict(inputs)[0] == pytest.approx(1.0)
    logistic = MLPClassifier(hidden_layer_sizes=(), max_iter=1).fit(np.ones((2, 3)), [0, 1])
    logistic.coefs_, logistic.intercepts_ = [weights], [np.zeros(1)]
    assert logistic.predict_proba(inputs)[0, 1] == pytest.approx(0.73, abs=5e-3)


def test_snippet_two_hidden_units_bend_the_plane():
    # No line separates exclusive or; two hidden units make the classes separable.
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    solved = []
    for seed in range(8):
        model = MLPClassifier((2,), "tanh", solver="lbfgs", max_iter=500, random_state=seed)
        solved.append(model.fit(X, y).score(X, y) == 1.0)
        if solved[-1]:
            hidden = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
            scores = hidden @ model.coefs_[1] + model.intercepts_[1]
            np.testing.assert_array_equal(scores.ravel() > 0, y == 1)
    assert any(solved)
    line = MLPClassifier((), solver="lbfgs", max_iter=500).fit(X, y)
    assert line.score(X, y) < 1.0


def test_snippet_search_over_layers_nodes_rate_activation_and_optimizer(digits):
    X, y = digits
    grid = {
        "mlpclassifier__hidden_layer_sizes": [(10,), (10, 10)],
        "mlpclassifier__learning_rate_init": [0.0001, 0.03],
        "mlpclassifier__activation": ["relu", "logistic"],
        "mlpclassifier__solver": ["adam", "sgd"],
    }
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=15, random_state=0))
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X[:300], y[:300])
    assert len(search.cv_results_["params"]) == len(list(itertools.product(*grid.values()))) == 16
    assert search.best_score_ > 0.8
    assert search.best_params_["mlpclassifier__learning_rate_init"] == 0.03


@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_no_hidden_layer_is_linear_or_logistic_regression(make_problem, alpha):
    X, y = make_problem("regression")
    params = {"hidden_layer_sizes": (), "solver": "lbfgs", "max_iter": 1000, "tol": 1e-8}
    linear = MLPRegressor(alpha=alpha, **params).fit(X, y)
    np.testing.assert_allclose(linear.predict(X), Ridge(alpha).fit(X, y).predict(X), atol=1e-3)
    for head in ("binary", "multiclass"):
        X, y = make_problem(head)
        logistic = MLPClassifier(alpha=alpha, **params).fit(X, y)
        expected = LogisticRegression(C=1 / alpha, max_iter=1000, tol=1e-8).fit(X, y)
        np.testing.assert_allclose(logistic.predict_proba(X), expected.predict_proba(X), atol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sparse_multilabel_targets_predict_sparse(make_problem):
    X, y = make_problem("multilabel")
    options = {"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0}
    ours = MLPClassifier(**options).fit(X, scipy.sparse.csr_matrix(y))
    theirs = sklearn.neural_network.MLPClassifier(**options).fit(X, scipy.sparse.csr_matrix(y))
    assert type(ours.predict(X)) is type(theirs.predict(X))
    assert (ours.predict(X) != theirs.predict(X)).nnz == 0
    assert ours.score(X, y) == theirs.score(X, y)


def test_large_integer_labels_of_either_sign(make_problem):
    X, _ = make_problem("multiclass")
    labels = np.array([2**60, 2**60 + 1, 2**60 + 2], dtype=np.int64)
    y = labels[np.arange(len(X)) % 3]
    options = {"hidden_layer_sizes": (4,), "random_state": 0}
    signed = MLPClassifier(**options).partial_fit(X, y, classes=labels)
    mixed = MLPClassifier(**options).partial_fit(X, y.astype(np.uint64), classes=labels)
    np.testing.assert_array_equal(signed.coefs_[0], mixed.coefs_[0])


def test_subclasses_have_parameter_names_of_their_own():
    class Wider(MLPRegressor):
        def __init__(self, width=2, random_state=None):
            super().__init__(hidden_layer_sizes=(width,), random_state=random_state)
            self.width = width

    assert MLPRegressor().get_params().keys() > {"loss", "alpha"}
    assert Wider().get_params() == {"width": 2, "random_state": None}
    assert clone(Wider(5)).get_params()["width"] == 5


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_r_squared_is_the_score_of_scikit_learn(dtype, weighted, n_outputs):
    rng = np.random.default_rng(0)
    targets = rng.normal(1.0, 2.0, size=(17, n_outputs)).astype(dtype)
    targets[:, 0] = targets[0, 0]  # constant: missed, then met
    weight = rng.uniform(size=17) if weighted else None
    for precision in (np.float32, np.float64):
        outputs = rng.normal(1.0, 2.0, size=(17, n_outputs)).astype(precision)
        for _ in range(2):
            expected = r2_score(targets, outputs, sample_weight=weight)
            assert r_squared(targets, outputs, weight) == expected
            outputs[:, 0] = targets[0, 0]
