"""ONNX Runtime encodes tables and predicts as encoders and estimators of tables do."""

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtri
from sklearn.exceptions import NotFittedError

from skmlp import TableEncoder, TabularMLPClassifier, TabularMLPRegressor
from skmlp._onnx_graph import InPrecision, ProtoGraph
from skmlp._onnx_tables import LEAST_PART, encoded, names_of, normal_score

TYPES = {"tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(string)": object}
# What stands for a missing category.
MISSING = {"tensor(double)": np.nan, "tensor(int64)": -7, "tensor(string)": ""}


def run(model, frame):
    """Return the outputs of a model, which is valid, for the columns that it asks for."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = {}
    for given in session.get_inputs():
        column = frame[given.name.rstrip("_")].astype(object)
        known = column.where(column.notna(), MISSING[given.type])
        inputs[given.name] = known.to_numpy()[:, np.newaxis].astype(TYPES[given.type])
    outputs = session.run(None, inputs)
    for output, value in zip(session.get_outputs(), outputs, strict=True):
        assert list(value.shape) == [len(frame), *output.shape[1:]]
    return dict(zip([one.name for one in session.get_outputs()], outputs, strict=True))


def table(n_rows=120, seed=0):
    rng = np.random.default_rng(seed)
    gaps, text = rng.normal(size=n_rows), rng.choice(["a", "b", "ü", None], n_rows)
    gaps[::7] = np.nan
    return pd.DataFrame(
        {
            "size": rng.lognormal(size=n_rows),
            "stamp": 1.7e9 + rng.integers(10**5, size=n_rows),
            "gaps": gaps,
            "same gaps": 2.0 * gaps,
            "text": text,
            "flag": rng.random(n_rows) > 0.5,
            "town": rng.choice([f"town {i}" for i in range(20)], n_rows),
            "grade": pd.Categorical(rng.integers(12, size=n_rows)),
            "half": pd.Categorical(np.array([0.5, 1.0, 2.5, np.nan])[rng.integers(4, size=n_rows)]),
            "constant": 1.0,
        }
    )


X = table()
LARGEST = np.finfo(float).max
NEW = table(seed=1).assign(
    town="nowhere",
    size=np.resize([-1e9, 1e9, np.nan, LARGEST, -LARGEST, 0.0, 1.0], 120),
    grade=np.resize([99, 3, None], 120),
    half=np.resize([0.7, 2.5], 120),
)
TARGETS = {
    "three": np.array(["low", "mid", "high"])[np.digitize(X["size"], [0.7, 1.5])],
    "two": X["size"].to_numpy() > 1.0,
    "one": np.full(len(X), 7),
    "number": 50.0 + 9.0 * X["size"],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scaling", ["robust", "quantile", "standard", None])
def test_encoders(scaling, dtype):
    for own in ({}, {"many_levels": "one-hot"}, {"max_one_hot": 0}):
        encoder = TableEncoder(scaling=scaling, dtype=dtype, random_state=0, **own).fit(X)
        graph = ProtoGraph(onnx, "float64")
        matrix = encoded(graph, encoder._encoding, names_of(encoder))
        graph.output("matrix", matrix, (len(encoder.get_feature_names_out()),))
        model = graph.model("encoder")
        assert [one.name for one in model.graph.input] == X.columns[:-1].tolist()
        is_bounded = scaling in ("robust", "quantile")
        for rows in (X, NEW if is_bounded else NEW.assign(size=1.0), X[:1]):
            expected = encoder.transform(rows)
            tolerance = 1e-6 if dtype == "float32" else 1e-12
            assert_allclose(
                run(model, rows)["matrix"], expected, rtol=tolerance, atol=tolerance, err_msg=own
            )


def test_normal_scores():
    rest = np.linspace(0.0, 1.0, 1001)
    part = np.concatenate([[1e-300, 1e-9], 10.0 ** -np.arange(1, 7.0, 0.1), rest])
    part = np.concatenate([part, 1.0 - part])
    graph = ProtoGraph(onnx, "float64")
    given = graph.input("part", (1,))
    graph.output("score", normal_score(given), (1,))
    [score] = run(graph.model("scores"), pd.DataFrame({"part": part})).values()
    expected = ndtri(np.clip(part, LEAST_PART, 1.0 - LEAST_PART))
    # Close to one the distance to it has few digits.
    assert_allclose(score[:, 0], expected, rtol=1e-13, atol=3e-9)
    assert_allclose(score[part < 0.5, 0], expected[part < 0.5], rtol=1e-13)
    assert InPrecision(graph, "float32").dtype == np.float32


@pytest.mark.parametrize("preset", ["pack", "realmlp", "plain"])
@pytest.mark.parametrize("target", TARGETS)
def test_predictions(target, preset):
    y = TARGETS[target]
    cls = TabularMLPRegressor if target == "number" else TabularMLPClassifier
    model = cls(preset, n_members=3, max_iter=3, random_state=0, dtype="float64").fit(X, y)
    if target in ("two", "three"):
        model.temperature_ = 0.7
    for dtype, tolerance in (("float32", 2e-5), ("auto", 1e-11)):
        exported = model.to_onnx(dtype=dtype)
        for rows in (X, NEW, NEW[:1]):
            found = run(exported, rows)
            if target == "number":
                assert_allclose(found["prediction"], model.predict(rows), rtol=tolerance)
                continue
            expected = model.predict_proba(rows)
            assert_allclose(found["probabilities"], expected, atol=tolerance)
            is_clear = np.ptp(np.sort(expected)[:, -2:], axis=1) > tolerance
            assert_array_equal(found["label"][is_clear], model.predict(rows)[is_clear])


def test_a_network_that_counts_twice_is_written_once():
    model = TabularMLPClassifier("plain", max_iter=1, random_state=0).fit(X, TARGETS["two"])
    [first] = {id(one): one for one in model.ensemble_.estimators_}.values()
    sizes = []
    for times in (2, 9):
        model.ensemble_.estimators_ = [first] * times
        sizes.append(len(model.to_onnx().graph.initializer))
    assert sizes[0] == sizes[1]


def test_columns_without_names_and_of_names_that_are_taken():
    y = TARGETS["two"]
    model = TabularMLPClassifier("plain", max_iter=1, random_state=0)
    rows = X[["size", "stamp"]]
    inputs = model.fit(rows.to_numpy(), y).to_onnx().graph.input
    assert [one.name for one in inputs] == ["x0", "x1"]
    taken = rows.set_axis(["label", "constant_0"], axis=1)
    exported = model.fit(taken, y).to_onnx()
    assert [one.name for one in exported.graph.input] == ["label_", "constant_0"]
    found = run(exported, taken)
    assert_allclose(found["probabilities"], model.predict_proba(taken), atol=1e-5)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (["a", 1, 2], "Column 'other' has categories that are text, and others that are numbers"),
        ([1, 2**70, 3], "Column 'other' has categories that are whole numbers of more than 64"),
    ],
)
def test_categories_that_onnx_has_not(levels, message):
    other = np.resize(np.array(levels, dtype=object), len(X))
    rows = X[["size"]].assign(other=pd.Series(other, dtype=object))
    model = TabularMLPRegressor(
        "plain", max_iter=1, random_state=0, categorical_features=["other"]
    ).fit(rows, X["size"])
    with pytest.raises(ValueError, match=message):
        model.to_onnx()


def test_what_is_not_fitted_or_known():
    with pytest.raises(NotFittedError):
        TabularMLPRegressor().to_onnx()
    model = TabularMLPRegressor("plain", max_iter=1).fit(X[["size"]], X["size"])
    with pytest.raises(ValueError, match="dtype"):
        model.to_onnx(dtype="float16")
