"""Batch normalization in `coefs_` and `intercepts_`, for all who read only these."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax

import skmlp
from skmlp import MLPClassifier, MLPRegressor
from skmlp._fitted import as_trained
from skmlp.engines.cpu import CpuEngine
from skmlp.initializers import From
from skmlp.network.parameters import layout_of
from skmlp.network.parts import named_extras

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = 3.0 + 2.0 * RNG.normal(size=(80, 4))
LABELS = np.digitize(X[:, 0], [2.0, 4.0])
NAMES = ["coefs_", "intercepts_"]


def fitted(cls=MLPClassifier, y=LABELS, **options):
    common = {"hidden_layer_sizes": (6, 5), "normalization": "batch", "max_iter": 5}
    common |= {"learning_rate_init": 0.05, "batch_size": 20, "random_state": 0}
    return cls(**{**common, **options}).fit(X, y)


def weights_of(model):
    return [array for name in NAMES for array in getattr(model, name)]


def rebuilt(model, activate, rows=X):
    """Return what a tool computes that reads attributes alone."""
    for coef, intercept in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        rows = activate(rows @ coef + intercept)
    return rows @ model.coefs_[-1] + model.intercepts_[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_attributes_alone_predict(dtype):
    model = fitted(dtype=dtype)
    expected = softmax(rebuilt(model, lambda z: np.maximum(z, 0)), axis=1)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-4 if dtype == "float32" else 1e-10)
    assert {array.dtype.name for array in weights_of(model)} == {dtype}
    # Bit by bit as the engine folds what was trained.
    network, parameters = model._trained
    engine = CpuEngine(1)
    data = engine.load(X, None, None, network, dtype)
    assert_array_equal(model.predict_proba(X), engine.outputs(network, parameters, data))
    for name, value in (("tanh", np.tanh), ("logistic", expit)):
        model = fitted(MLPRegressor, X[:, 1], activation=name, normalization=("batch", None))
        assert_allclose(model.predict(X), rebuilt(model, value).ravel(), rtol=1e-10)


def test_it_is_shown_and_saved_as_it_was_trained(tmp_path):
    model = fitted()
    assert [layer.normalization for layer in model.summary().layers] == ["batch", "batch", None]
    model.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model")
    assert str(loaded.summary()) == str(model.summary())
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    for array, expected in zip(weights_of(loaded), weights_of(model), strict=True):
        assert_array_equal(array, expected)
    plain = fitted(normalization=None)
    assert "_trained" not in vars(plain)
    plain.set_params(normalization="batch", warm_start=True).fit(X, LABELS)
    assert "_trained" in vars(plain)
    assert "_trained" not in vars(plain.set_params(normalization=None).fit(X, LABELS))


def test_training_goes_on_from_what_was_trained():
    whole = fitted(max_iter=8)
    pieces = fitted(max_iter=4, warm_start=True)
    pieces = pickle.loads(pickle.dumps(pieces)).fit(X, LABELS)
    assert_array_equal(pieces.coefs_[0], whole.coefs_[0])
    assert_array_equal(pieces._trained[1], whole._trained[1])
    # But from weights that have been assigned as they are, with new statistics.
    for in_place in (False, True):
        model = fitted(warm_start=True, learning_rate_init=1e-300)
        trained = as_trained(model)
        assert trained.network.normalizes_batches
        if in_place:
            model.coefs_[1][2, 3] += 0.125
        else:
            model.coefs_ = [coef + 0.125 for coef in model.coefs_]
        expected = [coef.copy() for coef in model.coefs_]
        assert as_trained(model).network == model._network
        assert not model._network.normalizes_batches
        model.fit(X, LABELS)
        for coef, array in zip(as_trained(model).coefs, expected, strict=True):
            assert_array_equal(coef, array)


def test_what_units_learn_stays_where_weights_are_assigned():
    model = fitted(activation="prelu", warm_start=True)
    before = named_extras(*folded_parts(model))
    model.coefs_[1] += 0.125
    steps = model._state.optimizer.step
    model.set_params(learning_rate_init=1e-300).fit(X, LABELS)
    after = named_extras(*folded_parts(model))
    assert before.keys() == after.keys()
    for key, slopes in before.items():
        assert (slopes != 0.25).any()
        assert_array_equal(after[key], slopes)
    # Its moments were those of weights that were not folded.
    assert model._state.optimizer.step == steps


def folded_parts(model):
    return model._network, model._extras


def test_a_network_without_it_goes_on_from_the_folded_one():
    model = fitted()
    expected = model.predict_proba(X)
    still = {"normalization": None, "learning_rate_init": 1e-300}
    copied = fitted(init=From(model), **still)
    assert_allclose(copied.predict_proba(X), expected, rtol=1e-8)
    with_it = fitted(init=From(model), learning_rate_init=1e-300)
    assert_allclose(with_it._trained[1][:30], model._trained[1][:30], rtol=1e-8)
    half = fitted(init=From(model), normalization=("batch", None), learning_rate_init=1e-300)
    assert_allclose(half.coefs_[1], model.coefs_[1], rtol=1e-8)
    model.set_params(**still, warm_start=True).fit(X, LABELS)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-8)


def test_what_is_no_network_is_refused_where_training_goes_on():
    model = fitted(warm_start=True)
    network, parameters = model._trained
    others = (3, (network,), (network, parameters[:-1]), (network, parameters * np.nan))
    for other in (*others, (replace(network, layers=()), parameters)):
        model._trained = other
        assert as_trained(model).network == model._network
        with pytest.raises(ValueError, match="_trained must be a network with its parameters"):
            model.fit(X, LABELS)
    # Another network that does not give these weights is left alone.
    model._trained = network, np.zeros(layout_of(network).size)
    assert as_trained(model).network == model._network
