"""Bad input: a clear error of the right type, and nothing of the caller's is changed."""

import json
import math
import re
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse
from engine_checks import SOLVERS, STOCHASTIC
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skmlp import MLPClassifier, MLPRegressor

# Only the errors matter here; the earlier fits are short on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}
NON_FINITE = (
    "^Solver produced non-finite parameter weights. The input data may contain large values "
    "and need to be preprocessed."
)


def _with(array, value):
    """Copy of an array with one value put into it."""
    array = np.array(array, dtype=np.result_type(array, type(value)))
    array.flat[7] = value
    return array


@pytest.fixture
def data(make_problem):
    """Thirty rows and targets of every kind, by name."""
    X, classes = make_problem("multiclass", n_samples=30)
    _, numbers = make_problem("regression", n_samples=30)
    return {"X": X, "classes": classes, "numbers": numbers}


@pytest.fixture(params=[MLPClassifier, MLPRegressor], ids=["classifier", "regressor"])
def fitted(request, data):
    """Return a fitted model and the data it was fitted on."""
    y = data["classes" if request.param is MLPClassifier else "numbers"]
    return request.param(**SMALL).fit(data["X"], y), data["X"], y


# --- X ---

BAD_X = {
    "NaN": (lambda X: _with(X, np.nan), ValueError, "X contains NaN"),
    "infinity": (lambda X: _with(X, np.inf), ValueError, "X contains infinity"),
    "minus infinity": (lambda X: _with(X, -np.inf), ValueError, "X contains infinity"),
    "too large for float32": (
        lambda X: _with(X.astype(np.float32), np.float32(np.inf)),
        ValueError,
        "X contains infinity",
    ),
    "complex": (lambda X: X + 1j, ValueError, "Complex data not supported"),
    "text": (
        lambda X: np.full(X.shape, "a"),
        ValueError,
        r"(?i)string|text|numeric",
    ),
    "object with text": (
        lambda X: _with(X.astype(object), "a"),
        ValueError,
        r"(?i)string|text|numeric",
    ),
    "object": (
        lambda X: _with(X.astype(object), {}),
        TypeError,
        r"must be .*string.*number",
    ),
    "one dimension": (lambda X: X[:, 0], ValueError, r"Expected 2D array.*(?s:.*)Reshape"),
    "three dimensions": (lambda X: X[None], ValueError, "dim 3"),
    "scalar": (lambda X: 3.0, ValueError, "Expected 2D array"),
    "ragged": (lambda X: [[1.0, 2.0], [3.0]] * 15, ValueError, "inhomogeneous|sequence"),
    "no rows": (lambda X: X[:0], ValueError, r"0 sample\(s\).*minimum of 1"),
    "no columns": (lambda X: X[:, :0], ValueError, r"0 feature\(s\).*minimum of 1"),
    "NaN in CSR": (
        lambda X: scipy.sparse.csr_array(_with(X, np.nan)),
        ValueError,
        "X contains NaN",
    ),
    "infinity in CSC": (
        lambda X: scipy.sparse.csc_array(_with(X, np.inf)),
        ValueError,
        "X contains infinity",
    ),
    "complex CSR": (
        lambda X: scipy.sparse.csr_array(X + 1j),
        ValueError,
        "Complex data not supported",
    ),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", BAD_X)
def test_bad_X_in_fit(fitted, unchanged, kind, method):
    model, X, y = fitted
    make, error, message = BAD_X[kind]
    bad = make(X)
    y = y[:0] if kind == "no rows" else y
    with unchanged(bad, y, model=model), pytest.raises(error, match=message):
        getattr(model, method)(bad, y)


@pytest.mark.parametrize("kind", BAD_X)
def test_bad_X_in_predict(fitted, unchanged, kind):
    model, X, _ = fitted
    make, error, message = BAD_X[kind]
    bad = make(X)
    if kind == "no columns":
        message = "0 feature"
    with unchanged(bad, model=model), pytest.raises(error, match=message):
        model.predict(bad)


def test_rows_and_targets_of_different_number(fitted, unchanged):
    model, X, y = fitted
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=r"inconsistent.*30.*29"):
        model.fit(X, y[:-1])


# --- y ---

BAD_CLASSES = {
    "continuous": (lambda y: y + 0.5, "(?i)unknown label type|continuous"),
    "NaN": (lambda y: _with(y.astype(float), np.nan), "y contains NaN"),
    "infinity": (lambda y: _with(y.astype(float), np.inf), "y contains infinity"),
    "complex": (lambda y: y + 1j, "Complex data not supported"),
    "classes beside numbers": (
        lambda y: np.column_stack([y, y + 0.5]),
        r"Unknown label type: continuous-multioutput\. y has shape \(30, 2\), .*MLPRegressor",
    ),
    "several targets, sparse": (
        lambda y: scipy.sparse.csr_array(np.column_stack([y, y + 1])),
        r"y is a sparse csr_array .*\(multiclass-multioutput\).*y\.toarray\(\)",
    ),
    "text beside numbers": (
        lambda y: np.column_stack([y.astype(object), np.full(30, "a", dtype=object)]),
        r"y holds labels of type int and str",
    ),
    "three dimensions": (lambda y: np.zeros((30, 2, 2)), "dim 3"),
    "mixed types": (lambda y: np.array([1, "a"] * 15, dtype=object), r"(?i)\by\b|label|target"),
    "None among labels": (
        lambda y: np.array([1, None] * 15, dtype=object),
        r"(?i)\by\b|label|target",
    ),
    "missing": (lambda y: None, "requires y to be passed.*None"),
    # As in scikit-learn; only multilabel targets may be sparse.
    "sparse column": (
        lambda y: scipy.sparse.csr_array(y[:, None]),
        r"Sparse data was passed for y.*\.toarray\(\)",
    ),
}

BAD_NUMBERS = {
    "text": (lambda y: np.array(["low", "high"] * 15), r"\by\b"),
    "text as objects": (
        lambda y: np.array(["low", "high"] * 15, dtype=object),
        r"(?i)string|text|numeric",
    ),
    "objects": (lambda y: np.array([{}] * 30), r"(?i)string|number|numeric"),
    "NaN": (lambda y: _with(y, np.nan), "y contains NaN"),
    "infinity": (lambda y: _with(y, np.inf), "y contains infinity"),
    "NaN in one output": (lambda y: _with(np.column_stack([y, y]), np.nan), "y contains NaN"),
    "complex": (lambda y: y + 1j, "Complex data not supported"),
    "three dimensions": (lambda y: np.zeros((30, 2, 2)), "dim 3"),
    "missing": (lambda y: None, "requires y to be passed.*None"),
    "CSR": (lambda y: scipy.sparse.csr_array(y[:, None]), r"y .*csr_array.*y\.toarray\(\)"),
    "CSC": (
        lambda y: scipy.sparse.csc_matrix(np.column_stack([y, y])),
        r"y .*csc_matrix.*y\.toarray\(\)",
    ),
    "COO": (
        lambda y: scipy.sparse.coo_array(np.column_stack([y, y])),
        r"y .*coo_array.*y\.toarray\(\)",
    ),
}


@pytest.mark.parametrize("kind", BAD_CLASSES)
def test_bad_y_for_the_classifier(data, unchanged, kind):
    model = MLPClassifier(**SMALL).fit(data["X"], data["classes"])
    make, message = BAD_CLASSES[kind]
    bad = make(data["classes"])
    with (
        unchanged(data["X"], bad, model=model),
        pytest.raises((ValueError, TypeError), match=message),
    ):
        model.fit(data["X"], bad)


def test_sparse_column_of_classes_in_partial_fit(data, unchanged):
    model = MLPClassifier(**SMALL).fit(data["X"], data["classes"])
    bad = scipy.sparse.csr_array(data["classes"][:, None])
    with unchanged(model=model), pytest.raises(TypeError, match=r"Sparse data was passed for y"):
        model.partial_fit(data["X"], bad)


@pytest.mark.parametrize("kind", ["CSR", "CSC", "COO"])
def test_sparse_y_for_the_regressor_is_an_error_of_its_value(data, unchanged, kind):
    make, message = BAD_NUMBERS[kind]
    model = MLPRegressor(**SMALL).fit(data["X"], data["numbers"])
    for method in ("fit", "partial_fit"):
        with unchanged(model=model), pytest.raises(ValueError, match=message):
            getattr(model, method)(data["X"], make(data["numbers"]))


@pytest.mark.parametrize("kind", BAD_NUMBERS)
def test_bad_y_for_the_regressor(data, unchanged, kind):
    model = MLPRegressor(**SMALL).fit(data["X"], data["numbers"])
    make, message = BAD_NUMBERS[kind]
    bad = make(data["numbers"])
    with (
        unchanged(data["X"], bad, model=model),
        pytest.raises((ValueError, TypeError), match=message),
    ):
        model.fit(data["X"], bad)


@pytest.mark.parametrize(
    ("solver", "method"),
    [
        ("lbfgs", "fit"),
        ("sgd", "fit"),
        ("sgd", "partial_fit"),
        ("adam", "fit"),
        ("adam", "partial_fit"),
    ],
)
def test_negative_y_with_poisson_loss(data, unchanged, solver, method):
    model = MLPRegressor("poisson", solver=solver, **SMALL)
    model.fit(data["X"], np.abs(data["numbers"]))
    bad = _with(np.abs(data["numbers"]), -0.25)
    with (
        unchanged(data["X"], bad, model=model),
        pytest.raises(ValueError, match=r"(?is)^(?=.*\by\b)(?=.*poisson)(?=.*negative|.*>= ?0)"),
    ):
        getattr(model, method)(data["X"], bad)


# --- partial_fit and warm starts ---


def test_unknown_class_in_partial_fit(data, unchanged):
    model = MLPClassifier(**SMALL).partial_fit(data["X"], data["classes"], classes=[0, 1, 2])
    bad = _with(data["classes"], 9)
    with (
        unchanged(data["X"], bad, model=model),
        pytest.raises(ValueError, match=r"`y` has classes.*\b9\b"),
    ):
        model.partial_fit(data["X"], bad)


def test_unknown_class_in_the_first_partial_fit(data):
    with pytest.raises(ValueError, match=r"`y` has classes.*\b2\b"):
        MLPClassifier(**SMALL).partial_fit(data["X"], data["classes"], classes=[0, 1])


def test_first_partial_fit_without_classes(data):
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier(**SMALL).partial_fit(data["X"], data["classes"])


def test_other_classes_in_a_later_partial_fit(data, unchanged):
    model = MLPClassifier(**SMALL).partial_fit(data["X"], data["classes"], classes=[0, 1, 2])
    with unchanged(model=model), pytest.raises(ValueError, match=r"classes=.*not the same"):
        model.partial_fit(data["X"], data["classes"], classes=[0, 1, 3])


def test_partial_fit_with_early_stopping(fitted, unchanged):
    model, X, y = fitted
    model.set_params(early_stopping=True)
    with (
        unchanged(X, y, model=model),
        pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"),
    ):
        model.partial_fit(X, y)


def test_partial_fit_with_lbfgs(data):
    model = MLPClassifier(solver="lbfgs", **SMALL)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        model.partial_fit(data["X"], data["classes"], classes=[0, 1, 2])


def test_partial_fit_with_other_features(fitted, unchanged):
    model, X, y = fitted
    with (
        unchanged(X, y, model=model),
        pytest.raises(ValueError, match=r"X has 3 features, but MLP\w+ is expecting 5"),
    ):
        model.partial_fit(X[:, :3], y)


def test_partial_fit_with_another_number_of_outputs(data, unchanged):
    model = MLPRegressor(**SMALL).fit(data["X"], data["numbers"])
    two = np.column_stack([data["numbers"], data["numbers"]])
    with (
        unchanged(data["X"], two, model=model),
        pytest.raises(ValueError, match=r"(?i)output|layer"),
    ):
        model.partial_fit(data["X"], two)


def test_warm_start_with_other_classes(data, unchanged):
    model = MLPClassifier(warm_start=True, **SMALL).fit(data["X"], data["classes"])
    with (
        unchanged(data["X"], model=model),
        pytest.raises(ValueError, match=r"warm_start can only be used where `y` has the same"),
    ):
        model.fit(data["X"], data["classes"] + 1)


def test_warm_start_with_other_features(fitted, unchanged):
    model, X, y = fitted
    model.set_params(warm_start=True)
    with unchanged(X, y, model=model), pytest.raises(ValueError, match="X has 3 features"):
        model.fit(X[:, :3], y)


def test_a_failed_partial_fit_leaves_no_trace_in_later_ones(fitted):
    model, X, y = fitted
    other = type(model)(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(_with(X, np.nan), y)
    for _ in range(3):
        model.partial_fit(X, y)
        other.partial_fit(X, y)
    for a, b in zip(model.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


# --- sample_weight ---

BAD_WEIGHTS = {
    "too few": (np.ones(29), r"sample_weight.*29.*30"),
    "too many": (np.ones(31), r"sample_weight.*31.*30"),
    "two dimensions": (np.ones((30, 2)), r"(?i)sample.weights? must be 1D"),
    "one column": (np.ones((30, 1)), r"(?i)sample.weights? must be 1D"),
    "NaN": (_with(np.ones(30), np.nan), "sample_weight contains NaN"),
    "infinity": (_with(np.ones(30), np.inf), "sample_weight contains infinity"),
    "one negative": (_with(np.ones(30), -0.5), r"(?is)sample.?weight.*negative"),
    "all negative": (-np.ones(30), r"(?is)sample.?weight.*negative"),
    "all zero": (np.zeros(30), r"(?is)sample.?weight.*zero"),
    "text": (np.full(30, "a"), r"(?i)string|text|numeric"),
    "complex": (np.ones(30) * 1j, "Complex data not supported"),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_sample_weight(fitted, unchanged, kind, solver):
    model, X, y = fitted
    weights, message = BAD_WEIGHTS[kind]
    model.set_params(solver=solver)
    with unchanged(X, y, weights, model=model), pytest.raises(ValueError, match=message):
        model.fit(X, y, sample_weight=weights)


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_sample_weight_in_partial_fit(fitted, unchanged, kind):
    model, X, y = fitted
    weights, message = BAD_WEIGHTS[kind]
    with unchanged(X, y, weights, model=model), pytest.raises(ValueError, match=message):
        model.partial_fit(X, y, sample_weight=weights)


# --- Too few rows ---


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_row_can_be_fitted(data, solver):
    # As in scikit-learn.
    model = MLPRegressor(solver=solver, **SMALL).fit(data["X"][:1], data["numbers"][:1])
    assert model.predict(data["X"][:1]).shape == (1,)
    model = MLPClassifier(solver=solver, **SMALL).fit(data["X"][:1], data["classes"][:1])
    assert model.predict(data["X"][:1]).tolist() == data["classes"][:1].tolist()


@pytest.mark.parametrize("n_samples", [1, 2, 5])
def test_too_few_rows_for_early_stopping(fitted, unchanged, n_samples):
    model, X, y = fitted
    model.set_params(early_stopping=True)
    with (
        unchanged(X, y, model=model),
        pytest.raises(ValueError, match=r"(?i)validation set|validation_fraction"),
    ):
        model.fit(X[:n_samples], np.ones_like(y[:n_samples]))


def test_no_validation_rows(fitted, unchanged):
    model, X, y = fitted
    model.set_params(early_stopping=True, validation_fraction=0.0)
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=r"validation_fraction"):
        model.fit(X, y)


def parts(fraction, n_samples):
    n_validation = math.ceil(fraction * n_samples)
    return n_samples - n_validation, n_validation


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.2, 0.34, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("n_samples", [2, 3, 5, 8, 12, 30])
@pytest.mark.parametrize("n_classes", [None, 1, 2, 3, 4])
def test_a_split_is_an_error_or_a_warning_or_neither(
    data, unchanged, n_classes, n_samples, fraction
):
    X, y = data["X"][:n_samples], np.arange(n_samples) % (n_classes or 1)
    estimator = MLPRegressor if n_classes is None else MLPClassifier
    earlier = data["numbers" if n_classes is None else "classes"]
    model = estimator(**SMALL).fit(data["X"], earlier)
    model.set_params(early_stopping=True, validation_fraction=fraction)
    n_train, n_validation = parts(fraction, n_samples)
    classes, counts = np.unique(y, return_counts=True)
    lonely = len(classes) == 2 and counts.min() < 2 and n_train > 0
    too_small = not lonely and (n_validation < 2 or n_train < (2 if len(classes) == 2 else 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if too_small:
            with (
                unchanged(model=model),
                pytest.raises(
                    ValueError, match=r"set is too small.*'validation_fraction'"
                ) as error,
            ):
                model.fit(X, y)
            part = "validation" if n_validation < 2 else "training"
            assert str(error.value).startswith(f"The {part} set is too small")
            assert f"validation_fraction={fraction} splits {n_samples} samples" in str(error.value)
        elif lonely:
            with unchanged(model=model), pytest.raises(ValueError, match="least populated class"):
                model.fit(X, y)
        else:
            model.fit(X, y)
            assert len(model.validation_scores_) == 3
    about_the_split = [w for w in caught if w.category is not ConvergenceWarning]
    random = len(classes) > 2 and (counts.min() < 2 or min(n_train, n_validation) < len(classes))
    assert len(about_the_split) == (not too_small and random), about_the_split


# --- Parameters ---

BAD_PARAMETERS = [
    ("activation", "rrelu"),
    ("activation", None),
    ("solver", "newton"),
    ("alpha", -1.0),
    ("alpha", np.nan),
    ("alpha", "0.1"),
    ("batch_size", 0),
    ("batch_size", -5),
    ("batch_size", 2.5),
    ("batch_size", "all"),
    ("learning_rate", "linear"),
    ("learning_rate_init", 0.0),
    ("learning_rate_init", -0.1),
    ("learning_rate_init", "constant"),
    ("power_t", -0.5),
    ("max_iter", 0),
    ("max_iter", -1),
    ("max_iter", 2.5),
    ("shuffle", "yes"),
    ("random_state", "seed"),
    ("random_state", -1),
    ("tol", -1e-4),
    ("verbose", -1),
    ("verbose", "loud"),
    ("warm_start", "yes"),
    ("momentum", -0.1),
    ("momentum", 1.5),
    ("nesterovs_momentum", "yes"),
    ("early_stopping", None),
    ("validation_fraction", 1.0),
    ("validation_fraction", -0.1),
    ("beta_1", 1.0),
    ("beta_1", -0.1),
    ("beta_2", 1.0),
    ("beta_2", -0.1),
    ("epsilon", 0.0),
    ("n_iter_no_change", 0),
    ("n_iter_no_change", 2.5),
    ("max_fun", 0),
    ("dtype", "float16"),
    ("dtype", None),
    ("dtype", int),
    ("dtype", complex),
    ("dtype", object),
    ("dtype", np.dtype(">f4")),
    ("dtype", "f4,f4"),
    ("dtype", 32),
    ("n_jobs", 0),
    ("n_jobs", 1.5),
    ("n_jobs", "all"),
    ("device", "gpu"),
    ("device", "cuda:0"),
    ("device", None),
    ("precision", "tf32"),  # on the CPU
    ("precision", "float16"),
    ("precision", 32),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
def test_bad_parameter(fitted, unchanged, name, value):
    model, X, y = fitted
    model.set_params(**{name: value})
    message = rf"(?s)'?\b{name}\b.*{re.escape(repr(value))}"
    with unchanged(X, y, model=model), pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, y)
    # The first partial_fit and, unlike in scikit-learn, later ones.
    options = {"classes": np.unique(y)} if isinstance(model, MLPClassifier) else {}
    for estimator in (clone(model), model):
        if hasattr(estimator, "partial_fit"):  # as long as the solver is one that offers it
            with (
                unchanged(X, y, model=estimator),
                pytest.raises((ValueError, TypeError), match=message),
            ):
                estimator.partial_fit(X, y, **options)


def test_other_bad_losses(data):
    model = MLPRegressor("no_loss", **SMALL)
    with pytest.raises(ValueError, match=r"'loss'.*squared_error.*'no_loss'|loss"):
        model.fit(data["X"], data["numbers"])


def test_sizes_in_the_place_of_the_loss(data):
    # MLPRegressor's first argument is the loss, as in scikit-learn since 1.7.
    with pytest.raises(ValueError, match=r"'loss'.*\(10,\)"):
        MLPRegressor((10,)).fit(data["X"], data["numbers"])


@pytest.mark.parametrize(
    "sizes",
    [0, -3, (0,), (5, -2), [5, 0], 2.5, (3.5,), "ab", (2, "x"), [[2, 3]], np.array([[2]]), None],
    ids=repr,
)
def test_bad_hidden_layer_sizes(fitted, unchanged, sizes):
    model, X, y = fitted
    model.set_params(hidden_layer_sizes=sizes)
    with (
        unchanged(X, y, model=model),
        pytest.raises((ValueError, TypeError), match="hidden_layer_sizes") as error,
    ):
        model.fit(X, y)
    for value in np.ravel(np.asarray(sizes, dtype=object)):
        if not (isinstance(value, int) and value > 0):
            assert str(value) in str(error.value), "the message does not say what was received"


def test_number_for_learning_rate(fitted, unchanged):
    model, X, y = fitted
    model.set_params(learning_rate=0.1)
    with (
        unchanged(X, y, model=model),
        pytest.raises(ValueError, match=r"(?s)learning_rate\b.*0\.1") as error,
    ):
        model.fit(X, y)
    assert "learning_rate_init" in str(error.value)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("hidden_layer_size", "hidden_layer_sizes"),
        ("hidden_layers_sizes", "hidden_layer_sizes"),
        ("activations", "activation"),
        ("learning_rate_int", "learning_rate_init"),
        ("n_iter_nochange", "n_iter_no_change"),
        ("maxiter", "max_iter"),
    ],
)
def test_unknown_keyword(estimator, wrong, meant):
    with pytest.raises(TypeError, match=rf"(?i){wrong}(?s:.*)did you mean.*\b{meant}\b"):
        estimator(**{wrong: 3})


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_unknown_keyword_like_no_other(estimator):
    with pytest.raises(TypeError, match="zzz"):
        estimator(zzz=3)


def test_too_many_positional_arguments():
    with pytest.raises(TypeError, match="positional"):
        MLPClassifier((10,), "relu", "sgd")
    with pytest.raises(TypeError, match="positional"):
        MLPRegressor("squared_error", (10,), "relu", "sgd")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sizes", [(10**9, 10**9), (10**6, 10**6), 10**13], ids=repr)
def test_too_little_memory(fitted, unchanged, sizes, solver):
    # (10**9, 10**9) would be 8e18 bytes of weights.
    model, X, y = fitted
    model.set_params(hidden_layer_sizes=sizes, solver=solver)
    tracemalloc.start()
    try:
        with (
            unchanged(X, y, model=model),
            pytest.raises((MemoryError, ValueError), match="hidden_layer_sizes"),
        ):
            model.fit(X, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6, "arrays were allocated before the error"


# --- predict ---


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_classifier_before_fit(data, method):
    with pytest.raises(NotFittedError, match=r"not fitted yet. Call 'fit'"):
        getattr(MLPClassifier(), method)(data["X"])


def test_regressor_before_fit(data):
    with pytest.raises(NotFittedError, match=r"not fitted yet. Call 'fit'"):
        MLPRegressor().predict(data["X"])


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_score_before_fit(data, estimator):
    with pytest.raises(NotFittedError, match=r"not fitted yet. Call 'fit'"):
        estimator().score(data["X"], data["classes"])


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_not_fitted_after_a_failed_first_fit(data, estimator):
    model = estimator(**SMALL)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(_with(data["X"], np.nan), data["classes"])
    with pytest.raises(NotFittedError):
        model.predict(data["X"])


@pytest.mark.parametrize("n_features", [1, 4, 6])
def test_other_number_of_features_at_predict(fitted, unchanged, n_features):
    model, X, _ = fitted
    bad = np.ones((3, n_features))
    message = rf"X has {n_features} features, but MLP\w+ is expecting 5 features"
    with unchanged(bad, model=model), pytest.raises(ValueError, match=message):
        model.predict(bad)
    with pytest.raises(ValueError, match=message):
        model.predict(scipy.sparse.csr_array(bad))
    assert model.predict(X).shape == (30,)


def test_other_feature_names_at_predict(data):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(data["X"], columns=list("abcde"))
    model = MLPRegressor(**SMALL).fit(frame, data["numbers"])
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list("bacde")])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(data["X"])


# --- Divergence ---

DIVERGING = [
    {"solver": "sgd", "learning_rate_init": 1e3},
    {"solver": "sgd", "learning_rate_init": 1e3, "momentum": 0.0, "activation": "identity"},
    {"solver": "sgd", "learning_rate_init": 1e3, "batch_size": 7, "learning_rate": "invscaling"},
    {"solver": "sgd", "learning_rate_init": 1e200},
    {"solver": "adam", "learning_rate_init": 1e200},
]
_ids = [",".join(f"{key}={value}" for key, value in params.items()) for params in DIVERGING]


@pytest.mark.parametrize("params", DIVERGING, ids=_ids)
def test_divergence_is_an_error(data, unchanged, capsys, params):
    X, y = data["X"], data["numbers"]
    model = MLPRegressor(**SMALL).fit(X, y)
    model.set_params(max_iter=2000, n_iter_no_change=2000, verbose=True, **params)
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=NON_FINITE) as error:
        model.fit(X, y)
    assert "learning_rate_init" in str(error.value)
    value = params["learning_rate_init"]
    assert any(text in str(error.value) for text in (str(value), f"{value:g}", repr(int(value))))
    losses = re.findall(r"loss = (\S+)", capsys.readouterr().out)
    finite = [np.isfinite(float(loss)) for loss in losses]
    assert all(finite[:-1]), "the fit went on after a loss that is not finite"


def test_divergence_of_a_classifier_is_an_error(data, unchanged):
    X, y = data["X"], data["classes"]
    model = MLPClassifier(**SMALL).fit(X, y)
    model.set_params(solver="sgd", learning_rate_init=1e308, activation="identity", max_iter=500)
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=NON_FINITE):
        model.fit(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_values_that_overflow_are_an_error(data, unchanged, solver):
    X, y = data["X"] * 1e307, data["numbers"]
    model = MLPRegressor(**SMALL).fit(data["X"], y)
    model.set_params(solver=solver, max_iter=50)
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=NON_FINITE):
        model.fit(X, y)


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_divergence_in_partial_fit_keeps_the_model(data, unchanged, solver):
    X, y = data["X"] * 1e200, data["numbers"]
    model = MLPRegressor(solver=solver, **SMALL).fit(data["X"], y)
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=NON_FINITE):
        model.partial_fit(X, y)


@pytest.mark.parametrize("params", DIVERGING[:3], ids=_ids[:3])
def test_divergence_under_early_stopping_keeps_the_best_weights(data, params):
    X, y = data["X"], data["numbers"]
    model = MLPRegressor(early_stopping=True, validation_fraction=0.3, **SMALL)
    model.set_params(max_iter=2000, n_iter_no_change=2000, **params)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    scores = model.validation_scores_
    assert isinstance(scores[-1], float)
    assert np.isnan(scores[-1])
    assert not np.isnan(scores[:-1]).any()
    assert model.best_validation_score_ == max(scores[:-1])
    assert np.isfinite(model.best_validation_score_)
    assert all(np.isfinite(w).all() for w in model.coefs_ + model.intercepts_)
    assert np.isfinite(model.predict(X)).all()


def test_divergence_under_early_stopping_before_any_score(data, unchanged):
    X, y = data["X"], data["numbers"]
    model = MLPRegressor(**SMALL).fit(X, y)
    model.set_params(solver="sgd", early_stopping=True, learning_rate_init=1e308, max_iter=2000)
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=NON_FINITE):
        model.fit(X * 1e100, y)


# --- Ctrl-C ---

INTERRUPTED_FIT = """
import json, os, pickle, signal, sys, threading, time, warnings
import numpy as np
from skmlp import MLPRegressor

n_samples, n_features, params = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
X = rng.normal(size=(n_samples, n_features)).astype(np.float32)
y = rng.normal(size=n_samples)
model = MLPRegressor(tol=0.0, n_iter_no_change=np.inf, random_state=0, **params)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model.set_params(max_iter=1).fit(X[:4000], y[:4000])  # whatever is compiled, is compiled here
model.set_params(max_iter=10**7)

sent = []
def interrupt():
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)

threading.Timer(0.4, interrupt).start()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(X, y)
seconds = time.process_time() - sent[0]
prediction = pickle.loads(pickle.dumps(model)).predict(X[:100])
print(json.dumps({
    "seconds": seconds,
    "warnings": [[w.category.__name__, str(w.message)] for w in caught],
    "finite": bool(np.isfinite(prediction).all()),
    "n_iter": model.n_iter_,
    "losses": len(getattr(model, "loss_curve_", [])),
}))
"""


@pytest.mark.parametrize(
    ("n_samples", "n_features", "params"),
    [
        (4000, 50, {"solver": "sgd", "learning_rate_init": 1e-4}),
        (4000, 50, {"solver": "adam", "early_stopping": True}),
        (4000, 50, {"solver": "lbfgs", "hidden_layer_sizes": [200, 50]}),
        # One epoch would take many seconds.
        (400_000, 10, {"solver": "adam", "batch_size": 1, "hidden_layer_sizes": [100, 100]}),
    ],
    ids=["sgd", "adam early stopping", "lbfgs", "long epoch"],
)
def test_interrupted_fit(run_python, n_samples, n_features, params):
    output = run_python(INTERRUPTED_FIT, json.dumps([n_samples, n_features, params]))
    result = json.loads(output.splitlines()[-1])
    [[category, message]] = result["warnings"]
    assert category == "UserWarning"
    assert message.startswith("Training interrupted by user")
    # Of processor time, all threads together: whatever else runs on the machine.
    assert result["seconds"] < 1.0
    assert result["finite"]
    if params["solver"] != "lbfgs":
        assert result["n_iter"] == result["losses"]


SECOND_INTERRUPT = """
import os, signal, threading, warnings
import numpy as np
from skmlp import MLPClassifier

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 20)), rng.integers(0, 3, 2000)
model = MLPClassifier(max_iter=1, random_state=0, tol=0.0, n_iter_no_change=np.inf).fit(X, y)
model.set_params(max_iter=10**7)
for attempt in ("first", "second"):
    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        model.fit(X, y)
    except KeyboardInterrupt:
        print(attempt, "raised")
    else:
        print(attempt, "returned")
"""


def test_second_interrupt_is_raised(run_python):
    assert run_python(SECOND_INTERRUPT).split() == ["first", "returned", "second", "raised"]


# --- Arrays and targets that do not belong to the fitted network ---


@pytest.mark.parametrize("resume", ["fit", "partial_fit"])
@pytest.mark.parametrize("fitted", ["multiclass", "multilabel"])
def test_multilabel_and_multiclass_do_not_mix(make_problem, unchanged, fitted, resume):
    X, y = make_problem("multiclass")
    indicator = np.eye(3, dtype=int)[y]
    first, second = (y, indicator) if fitted == "multiclass" else (indicator, y)
    model = MLPClassifier(hidden_layer_sizes=(4,), warm_start=True, tol=1e-2, random_state=0)
    model.fit(X, first)
    with unchanged(X, first, second, model=model), pytest.raises(ValueError, match="multilabel"):
        getattr(model, resume)(X, second)


def _transposed(model):
    model.coefs_[0] = model.coefs_[0].T


def _longer(model):
    model.coefs_[1] = np.ones((50_000, 3))


def _short_intercept(model):
    model.intercepts_[0] = np.ones(3)


def _scalar_intercept(model):
    model.intercepts_[0] = 1.0


def _missing_layer(model):
    model.coefs_ = model.coefs_[:1]


@pytest.mark.parametrize(
    "damage", [_transposed, _longer, _short_intercept, _scalar_intercept, _missing_layer]
)
def test_assigned_weights_must_fit_together(make_problem, damage):
    X, y = make_problem("multiclass")
    model = MLPClassifier(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0).fit(X, y)
    damage(model)
    with pytest.raises(ValueError, match=r"coefs_|intercepts_"):
        model.predict(X)


def test_weights_may_be_assigned_as_lists():
    model = MLPRegressor("squared_error", (2,), "identity", solver="lbfgs", tol=1e-2)
    model.fit([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]], [3.0, 7.0, 1.0])
    model.coefs_ = [[[1.0, 1.0], [1.0, 1.0]], [[1.0], [1.0]]]
    model.intercepts_ = [[0.0, 0.0], [0.0]]
    assert model.predict([[1.0, 2.0]]) == pytest.approx(6.0)
    # One more epoch from there, in the precision that lists have.
    model.set_params(solver="sgd").partial_fit([[1.0, 2.0]], [6.0])
    assert model.coefs_[0].dtype == np.float64
    assert model.predict([[1.0, 2.0]]) == pytest.approx(6.0, abs=0.1)


def test_missing_targets(make_problem):
    X, y = make_problem("regression")
    y = y.astype(object)
    y[7] = None
    with pytest.raises(ValueError, match=r"\by\b.*NaN"):
        MLPRegressor().fit(X, y)
    labels = np.where(np.arange(len(X)) % 2 == 0, "a", "b").astype(object)
    labels[3] = None
    with pytest.raises(ValueError, match="y contains missing labels"):
        MLPClassifier().fit(X, labels)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sparse_targets_of_a_regressor(data, method):
    with pytest.raises(ValueError, match=r"y must be dense for a regressor, .*toarray"):
        getattr(MLPRegressor(), method)(data["X"], scipy.sparse.coo_array(data["X"]))


@pytest.mark.parametrize("missing", [True, False])
def test_labels_without_an_order_in_partial_fit(data, unchanged, missing):
    bad = np.array([None if missing else 1, "a"] * 15, dtype=object)
    message = "missing labels" if missing else "labels of type int and str"
    model = MLPClassifier(**SMALL)
    with unchanged(bad, model=model), pytest.raises(ValueError, match=f"^classes .*{message}"):
        model.partial_fit(data["X"], data["classes"], classes=bad)
    with unchanged(bad, model=model), pytest.raises(ValueError, match=f"^y .*{message}"):
        model.partial_fit(data["X"], bad, classes=["a", "b"])


@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
def test_weights_that_are_nan_do_not_predict(fitted, name):
    model, X, _ = fitted
    getattr(model, name)[1][...] = np.nan
    with pytest.raises(ValueError, match=rf"{name}\[1\] holds NaN.*finite"):
        model.predict(X)


def test_another_number_of_outputs_is_named(make_problem):
    X, y = make_problem("multi_regression")
    model = MLPRegressor(hidden_layer_sizes=(4,)).partial_fit(X, y)
    with pytest.raises(ValueError, match=r"y asks for 1 outputs, but the fitted network has 3"):
        model.partial_fit(X, y[:, 0])


# --- Arrays of other libraries ---


class Elsewhere:
    """Stands for an array on a GPU, whose library refuses to copy it without being told."""

    device = "gpu:0"

    def __init__(self, shape):
        self.shape = shape
        self.ndim = len(shape)

    def __len__(self):
        return self.shape[0]

    def __dlpack__(self):
        raise AssertionError("was read as a NumPy array")

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


def on_meta(shape):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    return torch.empty(shape, device="meta")


def on_another_device(shape):
    strict = pytest.importorskip("array_api_strict", reason="needs array-api-strict")
    return strict.zeros(shape, device=strict.Device("device1"))


@pytest.mark.parametrize("make", [Elsewhere, on_meta, on_another_device])
def test_arrays_on_another_device(fitted, unchanged, make):
    model, X, y = fitted
    classes = {"classes": make((3,))} if isinstance(model, MLPClassifier) else {}
    calls = {
        "X": [lambda bad: model.fit(bad, y), model.predict, lambda bad: model.partial_fit(bad, y)],
        "y": [lambda bad: model.fit(X, bad), lambda bad: model.partial_fit(X, bad)],
        "sample_weight": [lambda bad: model.fit(X, y, sample_weight=bad)],
        "classes": [lambda bad: model.partial_fit(X, y, classes=bad)] * len(classes),
    }
    for name, attempts in calls.items():
        bad = make(X.shape if name == "X" else (3,) if name == "classes" else y.shape)
        for attempt in attempts:
            message = rf"^{name} is a \w+\.\w+ on device .*Move it to the CPU"
            with unchanged(X, y, model=model), pytest.raises(ValueError, match=message):
                attempt(bad)
