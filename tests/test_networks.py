"""Descriptions of networks: what they refuse, and how they are kept with a fitted model."""

import copy
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from cuda_checks import is_computed
from engine_checks import HIDDEN
from guide_tables import GUIDE
from numpy.testing import assert_array_equal

from skmlp import MLPClassifier, MLPRegressor
from skmlp.engines.cuda import vocabulary
from skmlp.engines.cuda.vocabulary import HEEDED, what_is_lacking
from skmlp.network import storage
from skmlp.network.activations import Activation, Learned
from skmlp.network.links import Link
from skmlp.network.losses import LOSSES, Loss
from skmlp.network.optimizers import OPTIMIZERS, Group, Optimizer, State
from skmlp.network.specs import (
    Formula,
    HeadSpec,
    InputSpec,
    LayerSpec,
    NetworkSpec,
    OptimizerSpec,
    plain_network,
)
from skmlp.network.storage import FORMAT, as_plain, from_plain

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RELU = Formula("relu")
HEAD = HeadSpec(2, Formula("squared_error"), "identity")
NETWORK = NetworkSpec(InputSpec(4), (LayerSpec(5, RELU), LayerSpec(3, Formula("tanh"))), (HEAD,))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Formula(3), "name must be a string"),
        (lambda: Formula("relu", (1,)), "constants must be a tuple of floats"),
        (lambda: Formula("relu", [1.0]), "constants must be a tuple of floats"),
        (lambda: InputSpec(0), "n_features must be a positive int"),
        (lambda: InputSpec(True), "n_features must be a positive int"),
        (lambda: LayerSpec(2.0, RELU), "units must be a positive int"),
        (lambda: LayerSpec(2, "relu"), "activation must be a Formula"),
        (lambda: LayerSpec(2, Formula("exp")), "one for hidden layers"),
        (lambda: LayerSpec(2, Formula("nothing")), "activation must be one of"),
        (lambda: LayerSpec(2, Formula("relu", (1.0,))), "relu has 0 constants"),
        (lambda: HeadSpec(0, Formula("log_loss"), "softmax"), "units must be a positive int"),
        (lambda: HeadSpec(2, Formula("log_loss"), "exp"), "a pair of the registry"),
        (lambda: NetworkSpec(4, (), (HEAD,)), "inputs must be"),
        (lambda: NetworkSpec(InputSpec(4), [], (HEAD,)), "layers must be"),
        (lambda: NetworkSpec(InputSpec(4), (), ()), "heads must be"),
    ],
)
def test_what_is_no_network_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_shapes():
    assert NETWORK.layer_units == (4, 5, 3, 2)
    assert NETWORK.shapes == ((4, 5), (5, 3), (3, 2))
    assert NETWORK.n_coefs == 41
    assert plain_network((4, 5, 2), "relu", "squared_error", "identity") == NetworkSpec(
        InputSpec(4), (LayerSpec(5, RELU),), (HEAD,)
    )


def test_what_is_cached_is_not_pickled(run_python):
    """Hashes of strings differ from process to process."""
    hash(NETWORK), NETWORK.layer_units
    fields = {"inputs", "layers", "heads", "members"}
    assert vars(pickle.loads(pickle.dumps(NETWORK))).keys() == fields
    script = """
import pickle, sys
from skmlp.network.parameters import layout_of
network = pickle.loads(bytes.fromhex(sys.argv[1]))
assert network in {pickle.loads(pickle.dumps(network))}
print(layout_of(network).size)
"""
    printed = run_python(script, pickle.dumps(NETWORK).hex(), PYTHONHASHSEED="7")
    assert int(printed) == 51


def test_other_numbers_of_units():
    resized = NETWORK.with_units((7, 1, 2, 3))
    assert resized.layer_units == (7, 1, 2, 3)
    assert [layer.activation.name for layer in resized.layers] == ["relu", "tanh"]
    with pytest.raises(ValueError, match="2 hidden layers, each of its own"):
        NETWORK.with_units((7, 1, 3))
    alike = plain_network((4, 5, 2), "tanh", "squared_error", "identity")
    assert alike.with_units((1, 2, 3, 4)) == plain_network(
        (1, 2, 3, 4), "tanh", "squared_error", "identity"
    )


def test_a_network_is_kept_as_plain_values():
    state = as_plain(NETWORK)
    assert type(state) is dict
    assert type(state["layers"][0]["activation"]) is dict
    assert from_plain(state) == NETWORK
    for damaged in (None, {}, {**state, "layers": 3}, {**state, "heads": ({},)}):
        with pytest.raises(ValueError, match=r"describes no network|heads must be"):
            from_plain(damaged)
    with pytest.raises(ValueError, match="units must be a positive int"):
        from_plain({**state, "layers": ({**state["layers"][0], "units": -1},)})


def fitted(estimator=MLPRegressor, **parameters):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)), np.arange(40) % 3
    model = estimator(hidden_layer_sizes=(5, 3), max_iter=3, random_state=0, **parameters)
    return model.fit(X, y), X


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_predictions_read_the_fitted_network(duplicate):
    """Not the constructor's parameters: what is changed after a fit counts from the next one on."""
    model, X = fitted(MLPClassifier, activation="tanh")
    expected = model.predict_proba(X)
    model = duplicate(model)
    model.set_params(activation="relu", hidden_layer_sizes=(7,), solver="lbfgs")
    assert_array_equal(model.predict_proba(X), expected)
    model.out_activation_ = "logistic"
    assert_array_equal(model.predict_proba(X), expected)


def test_pickles_hold_plain_values_and_a_format():
    model, _ = fitted()
    state = model.__getstate__()
    assert type(state["_network"]) is dict
    assert state["_format"] == FORMAT
    assert b"NetworkSpec" not in pickle.dumps(model)
    assert not hasattr(pickle.loads(pickle.dumps(model)), "_format")


def test_a_later_format_is_refused(monkeypatch):
    model, _ = fitted()
    with monkeypatch.context() as patch:
        patch.setattr(storage, "FORMAT", FORMAT + 1)
        saved = pickle.dumps(model)
    with pytest.raises(ValueError, match=r"MLPRegressor was saved in format \d+, but"):
        pickle.loads(saved)
    assert storage.FORMAT == FORMAT


def test_a_state_without_network_is_read_by_the_parameters():
    """As one has who assigns weights to an estimator that has seen no data."""
    model, X = fitted(activation="logistic")
    expected = model.predict(X)
    del model._network
    assert_array_equal(model.predict(X), expected)
    model.set_params(activation="identity")
    assert not np.array_equal(model.predict(X), expected)


def test_assigned_weights_of_another_shape():
    model, X = fitted(activation="tanh")
    rng = np.random.default_rng(1)
    shapes = [(4, 2), (2, 6), (6, 3), (3, 1)]
    model.coefs_ = [rng.normal(size=shape) for shape in shapes]
    model.intercepts_ = [rng.normal(size=columns) for _, columns in shapes]
    values = X
    for coef, intercept in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        values = np.tanh(values @ coef + intercept)
    expected = values @ model.coefs_[-1] + model.intercepts_[-1]
    np.testing.assert_allclose(model.predict(X), expected.ravel(), rtol=1e-12)


RICH = NetworkSpec(
    InputSpec(4, 0.1),
    (LayerSpec(5, Formula("prelu"), "batch", 0.2), LayerSpec(3, Formula("maxout", (2.0,)))),
    (HeadSpec(2, Formula("gaussian_nll"), "gaussian"),),
)
LION = OptimizerSpec("lion", (0.9, 0.99), 0.1, 1.0)


def test_what_cuda_heeds():
    """All that are named there exist."""
    assert what_is_lacking(RICH, LION) == []
    assert all(set(HEEDED[kind].split()) <= set(kind.__dataclass_fields__) for kind in HEEDED)


LACKING = {
    "activations": {"softmax"},
    "solvers": {"nadam", "muon"},
    "losses": {
        ("focal", "logistic"),
        ("focal", "softmax"),
        ("gamma", "exp"),
        ("quantile", "increasing"),
        ("smoothed_log_loss", "softmax"),
        ("squared_error", "softmax"),
        ("tweedie", "exp"),
    },
}


def test_what_cuda_lacks_of_the_registries():
    """No more and no less: tests of the CUDA engine look at what it says that it computes."""
    assert {name for name in HIDDEN if not is_computed(activation=name)} == LACKING["activations"]
    assert {name for name in OPTIMIZERS if not is_computed(solver=name)} == LACKING["solvers"]
    assert {key for key in LOSSES if not is_computed(key=key)} == LACKING["losses"]


@pytest.mark.parametrize("page", LACKING)
def test_the_guide_says_what_cuda_lacks(page):
    """In a sentence that names nothing else of the registry."""
    text = (GUIDE / f"{page}.md").read_text("utf-8")
    [sentence] = re.findall(r"[^.]*device=\"cuda\"[^.]*\.", text)
    names = {name for names in (HIDDEN, OPTIMIZERS, (name for name, _ in LOSSES)) for name in names}
    expected = {key if isinstance(key, str) else key[0] for key in LACKING[page]}
    assert set(re.findall(r"`\"?(\w+)\"?`", sentence)) & names == expected


@pytest.mark.parametrize(
    ("kind", "field", "named"),
    [
        (NetworkSpec, "heads", "heads"),
        (InputSpec, "dropout", "dropout"),
        (LayerSpec, "normalization", "normalization"),
        (HeadSpec, "link", "link"),
        (OptimizerSpec, "clip_norm", "clip_norm"),
        (Activation, "pieces", "activation='maxout'"),
        (Learned, "slope", "activation='prelu'"),
        (Loss, "value", "loss='gaussian_nll'"),
        (Link, "units_per_target", "loss='gaussian_nll'"),
        (Optimizer, "states", "solver='lion'"),
        (State, "name", "solver='lion'"),
        (Group, "decay", "decay"),
    ],
)
def test_what_cuda_does_not_heed_is_named(kind, field, named, monkeypatch):
    """As where a field is new. It may hold its default, and then asks for nothing."""
    heeded = set(HEEDED[kind].split()) - {field}
    monkeypatch.setitem(vocabulary.HEEDED, kind, " ".join(heeded))
    assert what_is_lacking(RICH, LION) == [named]
    asks_for_nothing = {"dropout", "normalization", "clip_norm", "pieces", "units_per_target"}
    plain = plain_network((4, 3, 2), "relu", "squared_error", "identity")
    adam = OptimizerSpec("adam", (0.9, 0.999, 1e-8))
    if field in asks_for_nothing:
        assert what_is_lacking(plain, adam) == []


def test_normalizations_that_cuda_does_not_know_are_named(monkeypatch):
    monkeypatch.setattr(vocabulary, "NORMALIZED", (None, "layer"))
    assert what_is_lacking(RICH, None) == ["normalization='batch'"]


def test_what_only_steps_of_training_do_is_not_lacking_where_there_are_none():
    """A model that was fitted with it on a CPU predicts on a GPU."""
    noisy = replace(RICH, inputs=replace(RICH.inputs, noise=0.1, mixup=0.2))
    assert what_is_lacking(noisy, LION) == ["input_noise", "mixup"]
    assert what_is_lacking(noisy, None) == []
