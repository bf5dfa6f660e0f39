"""emlearn makes C code of our classifiers, where it and a C compiler are installed."""

import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skmlp._base
from skmlp import MLPClassifier, MLPRegressor
from skmlp.engines.reference import ReferenceEngine

emlearn = pytest.importorskip("emlearn", reason="needs emlearn")

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")


@pytest.fixture(autouse=True)
def reference(monkeypatch, tmp_path):
    """Let fits and predictions compute in NumPy: what they compile is not the subject."""
    monkeypatch.chdir(tmp_path)  # where it writes
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
@pytest.mark.parametrize("limits", [[0.0], [-0.5, 0.5]], ids=["two classes", "three"])
def test_classifiers(activation, limits):
    """It reads `coefs_` and the like; what it cannot know is in the weights of `to_sklearn()`."""
    y = np.digitize(X[:, 0], limits)
    settings = {"activation": activation, "max_iter": 20, "random_state": 0}
    plain = MLPClassifier((4, 3), **settings).fit(X, y)
    batch = MLPClassifier((4, 3), normalization="batch", **settings).fit(X, y)
    tempered = MLPClassifier((4, 3), temperature=0.5, **settings).fit(X, y)
    for model, given in ((plain, plain), (batch, batch), (tempered, tempered.to_sklearn())):
        code = emlearn.convert(given, method="loadable")
        assert_array_equal(code.predict(X), model.predict(X))
        assert_allclose(code.predict_proba(X), model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_regressors(activation):
    settings = {"activation": activation, "max_iter": 20, "random_state": 0}
    model = MLPRegressor(hidden_layer_sizes=(4, 3), normalization="batch", **settings).fit(
        X, X[:, 1]
    )
    code = emlearn.convert(model, method="loadable", return_type="regressor")
    assert_allclose(np.ravel(code.predict(X)), model.predict(X), atol=1e-5)
