"""skops reads our models back, trusting the types that we list and no others."""

import importlib

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmlp
import skmlp._base
from skmlp import (
    LayerTransformer,
    MLPClassifier,
    MLPRegressor,
    TableEncoder,
    activations,
    initializers,
)
from skmlp._choices import same
from skmlp._plain_values import CHOICES
from skmlp.engines.reference import ReferenceEngine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(24, 4))
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
ESTIMATORS = (MLPClassifier, MLPRegressor, LayerTransformer, TableEncoder)


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """Let fits and predictions compute in NumPy: what they compile is not the subject."""
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())


def classifier(**settings):
    settings = {"max_iter": 3, "random_state": 0, **settings}
    return MLPClassifier((3, 2), **settings)


def regressor(**settings):
    settings = {"max_iter": 3, "random_state": 0, **settings}
    return MLPRegressor(hidden_layer_sizes=(3,), **settings)


FITTED = {
    "plain": lambda: classifier().fit(X, THREE),
    "text": lambda: classifier(solver="lbfgs").fit(X, np.array(["a", "b", "c"])[THREE]),
    "early stopping": lambda: classifier(
        early_stopping=True,
        temperature="fit",
        normalization=("batch", "layer"),
        activation=(activations.Blend("mish"), activations.Maxout(3)),
    ).fit(X, THREE),
    "several targets": lambda: classifier().fit(X, np.column_stack([THREE, THREE > 1])),
    "averages": lambda: regressor(ema_decay=0.5, learning_rate="cosine", y_scale="standard").fit(
        X, X[:, :2]
    ),
    "generator": lambda: regressor(random_state=np.random.RandomState(3)).fit(X, X[:, 0]),
    "weights of another": lambda: regressor(
        init=initializers.From(regressor(activation="prelu").fit(X, X[:, 0]))
    ),
    "in a pipeline": lambda: make_pipeline(StandardScaler(), classifier()).fit(X, THREE),
    "a table": lambda: TableEncoder(categorical_features=[3], max_one_hot=2).fit(
        np.column_stack([X[:, :3], THREE])
    ),
    "quantiles of a table": lambda: TableEncoder(scaling="quantile", random_state=0).fit(
        np.array([*X[:, :3].T, THREE.astype(str)], dtype=object).T
    ),
    "units as features": lambda: LayerTransformer(classifier()).fit(X, THREE),
}


@pytest.mark.parametrize("case", FITTED)
def test_models_come_back(case):
    model = FITTED[case]()
    content = skops.io.dumps(model)
    asked = skops.io.get_untrusted_types(data=content)
    assert asked
    assert set(asked) <= set(skmlp.TRUSTED_TYPES)
    loaded = skops.io.loads(content, trusted=skmlp.TRUSTED_TYPES)
    assert type(loaded) is type(model)
    if hasattr(model, "coefs_") or hasattr(model, "steps"):
        assert_array_equal(loaded.predict(X), model.predict(X))
        if hasattr(model, "predict_proba"):
            assert same(loaded.predict_proba(X), model.predict_proba(X))
    elif hasattr(model, "transform"):
        assert_array_equal(loaded.transform(X), model.transform(X))
    else:
        assert same(loaded.init, model.init)
    if case == "plain":  # goes on as the model itself
        ours, theirs = loaded.partial_fit(X, THREE), model.partial_fit(X, THREE)
        assert_array_equal(ours.coefs_[0], theirs.coefs_[0])


def test_the_list_has_what_is_asked_for_and_no_code():
    """Each is a class of ours: an estimator or a choice."""
    listed = set(skmlp.TRUSTED_TYPES)
    assert [*skmlp.TRUSTED_TYPES] == sorted(listed)
    for name in listed:
        module, _, cls = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), cls), type)
    classes = (*ESTIMATORS, *CHOICES.values(), initializers.Weights)
    public = {f"{cls.__module__}.{cls.__qualname__}" for cls in classes}
    contents = [skops.io.dumps(make()) for make in FITTED.values()]
    asked = {name for one in contents for name in skops.io.get_untrusted_types(data=one)}
    assert listed == public | asked


def test_choices_come_back():
    choices = [cls() for cls in CHOICES.values() if cls is not initializers.From]
    content = skops.io.dumps(choices)
    assert set(skops.io.get_untrusted_types(data=content)) <= set(skmlp.TRUSTED_TYPES)
    assert same(skops.io.loads(content, trusted=skmlp.TRUSTED_TYPES), choices)


def square(z):
    return z * z


def twice(z):
    return 2.0 * z


def test_functions_of_users_are_not_trusted():
    model = regressor(activation=activations.Custom(square, twice)).fit(X, X[:, 0])
    content = skops.io.dumps(model)
    unknown = set(skops.io.get_untrusted_types(data=content)) - set(skmlp.TRUSTED_TYPES)
    assert "skmlp.activations.Custom" in unknown
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException, match="Custom"):
        skops.io.loads(content, trusted=skmlp.TRUSTED_TYPES)


def test_what_a_file_holds_is_checked_where_it_is_read():
    """A file may have been edited: what is in it is believed no more than what users assign."""
    model = classifier().fit(X, THREE)
    model.coefs_[1] = np.ones((7, 2))
    loaded = skops.io.loads(skops.io.dumps(model), trusted=skmlp.TRUSTED_TYPES)
    with pytest.raises(ValueError, match=r"coefs_\[1\] has shape \(7, 2\)"):
        loaded.predict(X)
