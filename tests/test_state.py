"""What a fit leaves for the next: plain values in pickles, checked where they are taken up."""

import pickle
import pickletools
from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import skmlp._base
from skmlp import MLPClassifier
from skmlp._fitted import FIELDS_OF_STATE
from skmlp.engines.reference import ReferenceEngine
from skmlp.training.generators import generator_at
from skmlp.training.state import TrainerState, as_plain, from_plain

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """Let fits compute in NumPy: what they compile is not the subject."""
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())
    monkeypatch.setattr(ReferenceEngine, "draws_orders", False)


def model_of(**options):
    common = {"hidden_layer_sizes": (5,), "max_iter": 2, "random_state": 0, "warm_start": True}
    return MLPClassifier(**{**common, "batch_size": 16, **options})


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"ema_decay": 0.9, "normalization": "batch", "dropout": 0.2},
        {"solver": "nadam", "learning_rate": "cosine", "random_state": None},
        {"solver": "sgd", "connectivity": 0.5, "shuffle": False},
        {"solver": "lbfgs", "batch_size": "auto"},
        {"random_state": "generator"},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_pickles_hold_plain_values(options, keyed, fitted_state, monkeypatch):
    monkeypatch.setattr(ReferenceEngine, "draws_orders", keyed)
    if options.get("random_state") == "generator":
        options = {"random_state": np.random.RandomState(0)}
    model = model_of(**options).fit(X, Y)
    again = through_pickle(model)
    assert fitted_state(again) == fitted_state(model)
    if model.random_state is None:  # then NumPy's own generator goes on
        return
    for _ in range(2):  # and what goes on is the same
        assert fitted_state(again.fit(X, Y)) == fitted_state(model.fit(X, Y))
        again = through_pickle(again)


def through_pickle(model):
    """Return a model from a pickle, which names no class of ours but its own."""
    text = pickle.dumps(model, protocol=0)  # which names classes in full
    assert pickle.dumps(model, protocol=0) == text
    named = {
        str(argument) for code, argument, _ in pickletools.genops(text) if code.name == "GLOBAL"
    }
    assert {name for name in named if "skmlp" in name} == {"skmlp._classifier MLPClassifier"}
    return pickle.loads(text)


def test_pickles_do_not_grow_with_the_data():
    sizes = [len(pickle.dumps(model_of().fit(*more(n)))) for n in (1, 50)]
    assert abs(sizes[1] - sizes[0]) < 100


def more(times):
    return np.tile(X, (times, 1)), np.tile(Y, times)


def test_a_fit_before_which_there_was_none_leaves_nothing_of_it():
    model = model_of(ema_decay=0.5).fit(X, Y)
    assert (model._state.raw is None, model._state.optimizer is None) == (False, False)
    model.set_params(solver="lbfgs", ema_decay=None, batch_size="auto").fit(X, Y)
    empty = TrainerState(model._state.random_state, model.random_state)
    assert all(getattr(model._state, f.name) == getattr(empty, f.name) for f in fields(empty))


@pytest.mark.parametrize("field", [field.name for field in fields(TrainerState)])
def test_each_field_is_checked(field, fitted_state):
    model = model_of().fit(X, Y)
    assert FIELDS_OF_STATE.keys() == {field.name for field in fields(TrainerState)}
    if field == "seed":  # is only compared
        return
    model._state = replace(model._state, **{field: np.ones((2, 2))})
    before = fitted_state(model)
    with pytest.raises(ValueError, match=rf"Cannot resume: _state\.{field} must be .*an array of"):
        model.fit(X, Y)
    assert fitted_state(model) == before
    model._state = field
    with pytest.raises(ValueError, match="_state must be where the last fit has ended"):
        model.partial_fit(X, Y)


GENERATOR = np.random.RandomState(0).get_state(legacy=False)
PHILOX = np.random.RandomState(np.random.Philox(0)).get_state(legacy=False)


@pytest.mark.parametrize("state", [GENERATOR, PHILOX])
def test_generators_go_on(state):
    generator = generator_at(state)
    assert_array_equal(generator.normal(size=3), generator_at(state).normal(size=3))
    # In the middle of a pair of normal numbers.
    again = generator_at(generator.get_state(legacy=False))
    assert_array_equal(generator.normal(size=3), again.normal(size=3))


@pytest.mark.parametrize(
    "edit",
    [
        {"optimizer": 3},
        {"optimizer": {}},
        {"optimizer": {"name": "adam", "unknown": 1}},
        {"schedule": ["constant"]},
        {"row_order": {"n_rows": 3}},
        {"row_order": {"key": 3}},
        {"trained": (1, 2)},
        {"fit": {}},
        {"more": 1},
        {"random_state": {"bit_generator": "seed"}},
        {"random_state": {**GENERATOR, "state": {**GENERATOR["state"], "pos": 10**6}}},
        {"random_state": {**GENERATOR, "state": {"key": np.zeros(3, np.uint32), "pos": 0}}},
        {"random_state": {**GENERATOR, "has_gauss": 2}},
        {"random_state": {**GENERATOR, "gauss": None}},
        {"random_state": {**PHILOX, "buffer_pos": -1000}},
        {"random_state": {**PHILOX, "more": 1}},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_what_describes_no_state_is_refused(edit):
    model = model_of().fit(X, Y)
    plain = as_plain(model._state)
    assert from_plain(plain).stalled == model._state.stalled
    with pytest.raises(ValueError, match="describes no state of a fit"):
        from_plain({**plain, **edit})
    with pytest.raises(ValueError, match="describes no state of a fit"):
        from_plain([])
    state = {**model.__getstate__(), "_state": {**plain, **edit}}
    with pytest.raises(ValueError, match="describes no state of a fit"):
        MLPClassifier().__setstate__(state)
