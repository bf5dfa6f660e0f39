"""Small plain arrays take short cuts past scikit-learn's checks, and nobody can tell."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.preprocessing import LabelBinarizer

import skmlp._labels
import skmlp._targets
import skmlp._validation
from skmlp import MLPClassifier, MLPRegressor
from skmlp._labels import fit_binarizer
from skmlp._targets import decode_labels, encode_labels

OPTIONS = {"hidden_layer_sizes": (3,), "max_iter": 1, "random_state": 0}
N_ROWS = 30


def plain(rows=N_ROWS, columns=4):
    return np.random.default_rng(0).normal(size=(rows, columns)) + 3


def with_value(value, dtype=float):
    X = plain().astype(dtype)
    X[2, 1] = value
    return X


def frame(columns):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(plain(columns=len(columns)), columns=list(columns))


def misaligned():
    records = np.zeros(N_ROWS, dtype=[("flag", "i1"), ("values", "f8", 4)])
    records["values"] = plain()
    return records["values"]


def read_only():
    X = plain()
    X.flags.writeable = False
    return X


def matrix():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(plain())


class Subclass(np.ndarray):
    pass


INPUTS = {
    "float64": plain,
    "float32": lambda: plain().astype(np.float32),
    "float16": lambda: plain().astype(np.float16),
    "longdouble": lambda: plain().astype(np.longdouble),
    "big-endian": lambda: plain().astype(">f8"),
    "int": lambda: plain().astype(int),
    "bool": lambda: plain() > 3,
    "object": lambda: plain().astype(object),
    "complex": lambda: plain().astype(complex),
    "text": lambda: plain().astype(str),
    "text that is no number": lambda: np.full((N_ROWS, 4), "a"),
    "nan": lambda: with_value(np.nan),
    "inf": lambda: with_value(np.inf),
    "-inf": lambda: with_value(-np.inf),
    "float32 nan": lambda: with_value(np.nan, np.float32),
    "None": lambda: with_value(None, object),
    "largest": lambda: with_value(np.finfo(float).max),
    "too narrow": lambda: plain(columns=3),
    "too wide": lambda: plain(columns=5),
    "no columns": lambda: np.empty((N_ROWS, 0)),
    "no rows": lambda: np.empty((0, 4)),
    "1-d": lambda: plain()[:, 0],
    "3-d": lambda: plain().reshape(N_ROWS, 2, 2),
    "scalar": lambda: np.array(1.0),
    "column-major": lambda: np.asfortranarray(plain()),
    "strided": lambda: plain(2 * N_ROWS, 8)[::2, ::2],
    "reversed": lambda: plain()[::-1, ::-1],
    "misaligned": misaligned,
    "read-only": read_only,
    "list": lambda: plain().tolist(),
    "subclass": lambda: plain().view(Subclass),
    "matrix": matrix,
    "masked": lambda: np.ma.masked_array(plain(), mask=plain() > 4),
    "sparse": lambda: sp.csr_array(plain()),
    "frame": lambda: frame("abcd"),
    "frame with other names": lambda: frame("abce"),
    "frame in other order": lambda: frame("dcba"),
    "frame with numbers for names": lambda: frame(range(4)),
}

CLASSES = np.arange(N_ROWS) % 3
TARGETS = {
    "int": CLASSES,
    "int8": CLASSES.astype(np.int8),
    "uint64": CLASSES.astype(np.uint64) + 2**63,
    "big-endian": CLASSES.astype(">i4"),
    "negative": CLASSES - 1,
    "bool": CLASSES > 0,
    "two": CLASSES % 2,
    "one": np.zeros(N_ROWS, int),
    "many": np.arange(N_ROWS) // 2,
    "more than half": np.arange(N_ROWS) * 2 // 3,
    "all different": np.arange(N_ROWS),
    "whole floats": CLASSES.astype(float),
    "float16": CLASSES.astype(np.float16),
    "fractions": CLASSES + 0.5,
    "nan": np.where(CLASSES, 1.0, np.nan),
    "inf": np.where(CLASSES, 1.0, np.inf),
    "complex": CLASSES.astype(complex),
    "text": np.array(["red", "green", "blue"])[CLASSES],
    "wide text": np.array(["red", "green", "blue"])[CLASSES].astype("<U20"),
    "bytes": np.array([b"red", b"green", b"blue"])[CLASSES],
    "objects": np.array(["red", "green", "blue"], dtype=object)[CLASSES],
    "missing": np.array(["red", None, "blue"], dtype=object)[CLASSES],
    "mixed": np.array(["red", 1, 2.0], dtype=object)[CLASSES],
    "numbers as objects": CLASSES.astype(object),
    "dates": CLASSES.astype("datetime64[D]"),
    "column": CLASSES.reshape(-1, 1),
    "two columns": np.stack([CLASSES, CLASSES % 2], axis=1),
    "indicators": np.stack([CLASSES > 0, CLASSES > 1], axis=1).astype(int),
    "no columns": np.empty((N_ROWS, 0)),
    "3-d": np.zeros((N_ROWS, 1, 1)),
    "scalar": np.array(1),
    "too short": CLASSES[1:],
    "empty": CLASSES[:0],
    "strided": np.repeat(CLASSES, 2)[::2],
    "list": CLASSES.tolist(),
    "None": None,
}


def outcome(function):
    """Return what a call returned, or its error, and the warnings it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function()
        except Exception as error:  # whatever it is, both ways must agree
            result = (type(error), str(error))
    return result, [(warning.category, str(warning.message)) for warning in caught]


@pytest.fixture
def both_ways(monkeypatch):
    """Return a function: the outcome of a call must be the same without the short cuts."""

    def check(function):
        short = outcome(function)
        with monkeypatch.context() as patch:
            patch.setattr(skmlp._validation, "is_plain", lambda X: False)
            patch.setattr(skmlp._validation, "is_numeric", lambda y: False)
            patch.setattr(skmlp._labels, "plain_classes", lambda y: None)
            patch.setattr(skmlp._targets, "is_binary", lambda binarizer: False)
            long = outcome(function)
        assert short[1] == long[1]
        assert_same(short[0], long[0])

    return check


def assert_same(result, expected):
    if isinstance(expected, np.ndarray):
        assert result.dtype == expected.dtype
        assert_array_equal(result, expected, strict=True)
    else:
        assert result == expected


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("fitted_on", ["float64", "frame"])
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_prediction(both_ways, name, fitted_on, method):
    X = INPUTS[name]()
    model = MLPClassifier(**OPTIONS)
    outcome(lambda: model.fit(INPUTS[fitted_on](), CLASSES))
    both_ways(lambda: getattr(model, method)(X))


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("fitted_on", [None, "float64", "frame"])
def test_fit_to_inputs(both_ways, fitted_state, name, fitted_on):
    X = INPUTS[name]()

    def fit(method):
        model = MLPClassifier(**OPTIONS)
        if fitted_on is not None:
            model.fit(INPUTS[fitted_on](), CLASSES)
        # scikit-learn checks widths in partial_fit only; fit forgets names and widths.
        options = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
        getattr(model, method)(X, CLASSES, **options)
        return fitted_state(model)

    both_ways(lambda: fit("fit"))
    both_ways(lambda: fit("partial_fit"))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_fit_to_targets(both_ways, fitted_state, estimator, name):
    X, y = plain(), TARGETS[name]
    both_ways(lambda: fitted_state(estimator(**OPTIONS).fit(X, y)))
    both_ways(lambda: estimator(**OPTIONS).fit(X, y).predict(X))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("earlier", ["int", "two", "text", "indicators"])
def test_go_on_with_targets(both_ways, fitted_state, earlier, name):
    X, y = plain(), TARGETS[name]

    def go_on(method):
        model = MLPClassifier(**OPTIONS, warm_start=True).fit(X, TARGETS[earlier])
        return fitted_state(getattr(model, method)(X, y))

    both_ways(lambda: go_on("fit"))
    both_ways(lambda: go_on("partial_fit"))


def test_names_of_an_earlier_fit_are_forgotten():
    model = MLPRegressor(**OPTIONS)
    X = frame("abcd")
    outcome(lambda: model.fit(X, X["a"]))
    assert model.feature_names_in_.tolist() == list("abcd")
    outcome(lambda: model.fit(plain(columns=3), plain()[:, 0]))
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 3


@pytest.mark.parametrize("name", ["int", "int8", "uint64", "negative", "bool", "two", "one"])
def test_plain_labels_are_encoded_like_any_others(name):
    y = TARGETS[name]
    binarizer, expected = fit_binarizer(y), LabelBinarizer().fit(y)
    assert vars(binarizer).keys() == vars(expected).keys()
    assert_same(binarizer.classes_, expected.classes_)
    assert (binarizer.y_type_, binarizer.sparse_input_) == (expected.y_type_, False)
    if expected.y_type_ == "binary":
        assert_array_equal(encode_labels(binarizer, y), expected.transform(y).astype(bool))
        outputs = np.array([0.0, 0.5, np.nextafter(0.5, 1), 1.0, np.nan])
        assert_same(
            decode_labels(binarizer, outputs.reshape(-1, 1)), expected.inverse_transform(outputs)
        )
