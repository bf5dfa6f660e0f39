"""What every fit, clone and score does takes short ways, which lead where the long ones do."""

import ast
import pickle
from functools import partial
from numbers import Real
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score
from test_short_cuts import OPTIONS, TARGETS, outcome, plain

import skmlp.training.generators
from skmlp import MLPClassifier, MLPRegressor
from skmlp._networks import describe_network, network_made_of
from skmlp._parameters import PARAMETERS, is_default, parameters_of
from skmlp._sklearn_compat import (
    CheckedParameters,
    Interval,
    as_cloned_by_sklearn,
    value_hints,
)
from skmlp.activations import LeakyReLU
from skmlp.initializers import ZeroLast
from skmlp.network.specs import Formula, HeadSpec
from skmlp.training.generators import (
    fingerprint,
    generator_at,
    is_laid_out_as_known,
    seeded,
    state_to_shuffle_from,
    words_of,
)

ESTIMATORS = (MLPClassifier, MLPRegressor)


# --- Validation ---


class Text(str):
    pass


# Values that equal defaults, all or some of them, and are of other types, and others.
VALUES = [
    *(True, False, 1, 0, 1.0, 0.0, -0.0, -1, 10, 10.0, 200.0, 0.1, 0.9, 2, float("nan"), None),
    *(np.float64(0.0001), np.float64(0.0), np.int64(1), np.bool_(True), np.float32(0.5), np.inf),
    *("relu", "auto", "cpu", "", "nonsense", Text("adam"), Text("nonsense"), np.str_("constant")),
    *((100,), (100.0,), [100], (), {}, 1j, object, np.zeros(2), np.array(1.0), max),
]


@pytest.mark.parametrize("name", PARAMETERS)
def test_validation_is_scikit_learns(name):
    """Where a value is a default, or has been found to be valid, nobody asks again."""
    entry, refused = PARAMETERS[name], 0
    for estimator in map(globals().get, entry.estimators):
        for value in [*VALUES, entry.default, object()]:
            model = estimator().set_params(**{entry.name: value})
            found = outcome(model._validate_params)
            # Without the short way.
            expected = outcome(partial(CheckedParameters._validate_params, model))
            assert found == expected, value
            refused += found[0] is not None
        error, message = found[0]
        assert issubclass(error, ValueError)
        assert f"{entry.name!r} parameter of {estimator.__name__} must be" in message
        assert outcome(estimator()._validate_params) == (None, [])
    assert refused > 5


@pytest.mark.parametrize(
    ("params", "is_valid"),
    [
        ({"min_iter": 1.0}, False),
        ({"min_iter": True}, True),  # a whole number to Python
        ({"frozen_layers": 0.0}, False),
        ({"early_stopping": 0}, False),
        ({"shuffle": 1}, False),
        ({"shuffle": np.bool_(True)}, True),
        ({"dropout": 0}, True),
        ({"n_iter_no_change": 10.0}, False),
        ({"solver": Text("adam")}, True),
        ({"activation": LeakyReLU(None)}, False),
        ({"activation": ("relu", LeakyReLU("x"))}, False),
    ],
)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_is_not_the_same(estimator, params, is_valid):
    found, _ = outcome(estimator(**params)._validate_params)
    assert (found is None) == is_valid
    [(name, value)] = params.items()
    assert is_valid or (name in found[1] and issubclass(found[0], ValueError))
    default = parameters_of(estimator.__name__)[name].default
    assert is_default(default, default)
    assert not is_default(value, default)


def test_invalid_defaults_of_subclasses_are_refused():
    class Strict(MLPClassifier):
        _parameter_constraints: ClassVar = {
            **MLPClassifier._parameter_constraints,
            "alpha": [Interval(Real, 1, None, closed="left")],
            "more": [None],
        }

        def __init__(self, alpha=0.0001, more=1):
            super().__init__(alpha=alpha, max_iter=3, random_state=0)
            self.more = more

    X, y = plain(), TARGETS["int"]
    with pytest.raises(ValueError, match=r"'alpha' parameter of Strict must be .*1\.0"):
        Strict().fit(X, y)
    with pytest.raises(ValueError, match=r"'more' parameter .* must be None\. Got 1 instead"):
        Strict(1.0).fit(X, y)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_nothing_is_hinted_of_defaults(estimator):
    """So a message is the same whether they are among what is validated or not."""
    defaults = {name: entry.default for name, entry in parameters_of(estimator.__name__).items()}
    assert value_hints(estimator._parameter_constraints, defaults) == []


# --- Clones ---


def cloned_both_ways(model):
    found, expected = clone(model), as_cloned_by_sklearn(model)
    assert type(found) is type(expected) is type(model)
    assert vars(found).keys() == vars(expected).keys()
    return vars(found), vars(expected)


def test_clones_are_scikit_learns():
    values = {
        "hidden_layer_sizes": [5, (3,)[0]],
        "activation": (LeakyReLU(0.2), "relu"),
        "init": ZeroLast("he_normal"),
        "random_state": np.random.RandomState(3),
        "learning_rate": abs,
        "monotonic_cst": np.array([1, 0]),
        "class_weight": {0: 2.0},
        "alpha": np.float64(0.5),
        "tol": float("nan"),
    }
    model = MLPClassifier(**values)
    model.fitted_ = 1
    found, expected = cloned_both_ways(model)
    for name, value in expected.items():
        own = found[name]
        assert type(own) is type(value)
        # Copied wherever scikit-learn copies.
        assert (own is getattr(model, name)) == (value is getattr(model, name)), name
        if name == "random_state":
            assert_array_equal(own.randint(9, size=5), value.randint(9, size=5))
        elif isinstance(value, np.ndarray):
            assert_array_equal(own, value)
        elif name != "tol":
            assert own == value
    assert np.isnan(found["tol"])
    assert found["activation"][0] is not model.activation[0]


def test_clones_have_what_else_scikit_learn_copies():
    with config_context(enable_metadata_routing=True):
        model = MLPRegressor().set_fit_request(sample_weight=True)
        found, expected = cloned_both_ways(model)
    [request] = found.keys() - MLPRegressor().__dict__.keys()
    assert found[request].fit.requests == expected[request].fit.requests
    assert found[request].fit.requests["sample_weight"] is True
    assert found[request] is not vars(model)[request]
    callbacks = pytest.importorskip("sklearn.callback")
    bar = callbacks.ProgressBar()
    found, expected = cloned_both_ways(MLPRegressor().set_callbacks(bar))
    assert found["_skl_callbacks"][0] is expected["_skl_callbacks"][0] is bar


def test_constructors_of_subclasses_are_looked_at():
    class Doubled(MLPRegressor):
        def __init__(self, alpha=0.1):
            super().__init__(alpha=2 * alpha)

    with pytest.raises(RuntimeError, match="either does not set or modifies parameter alpha"):
        clone(Doubled())


# --- Scores ---


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fitted_on", ["int", "many", "bool", "text", "indicators"])
def test_accuracy(fitted_on):
    X = plain()
    model = MLPClassifier(**OPTIONS).fit(X, TARGETS[fitted_on])
    for y in TARGETS.values():
        found = outcome(partial(model.score, X, y))
        assert found == outcome(lambda y=y: float(accuracy_score(y, model.predict(X))))
    few = np.zeros(4, int)  # of which more are predicted than scikit-learn takes for classes
    found = outcome(lambda: model.score(X[:4], few))
    assert found == outcome(lambda: float(accuracy_score(few, model.predict(X[:4]))))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fitted_on", ["one", "column", "two columns"])
def test_r_squared(fitted_on, dtype):
    X = plain()
    fitted = {"one": X[:, 0], "column": X[:, :1], "two columns": X[:, :2]}[fitted_on]
    model = MLPRegressor(**OPTIONS, dtype=dtype).fit(X, fitted)
    kinds = (np.float32, np.float16, np.longdouble, ">f8", int)
    others = [array.astype(kind) for array in (X[:, 0], X[:, :2]) for kind in kinds]
    others += [X[:, 0], X[::-1, 1], X[:, ::2], np.asfortranarray(X[:, :2]), X[:1, 0], X[:, 2:3]]
    for y in (*TARGETS.values(), *others):
        rows = X[: len(y)] if np.ndim(y) else X
        found = outcome(partial(model.score, rows, y))
        expected = outcome(lambda y=y, rows=rows: float(r2_score(y, model.predict(rows))))
        assert repr(found) == repr(expected)  # NaN among them


# --- Generators ---


def same_state(generator, other):
    state, expected = (own.get_state(legacy=False) for own in (generator, other))
    assert_array_equal(state.pop("state")["key"], expected["state"]["key"])
    del state["bit_generator"]
    assert state.items() <= expected.items()


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, np.uint32(7), np.int64(5), True])
def test_seeded(seed):
    same_state(seeded(seed), np.random.RandomState(seed))
    assert_array_equal(seeded(seed).normal(size=3), np.random.RandomState(seed).normal(size=3))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_no_seeds(seed):
    assert outcome(lambda: seeded(seed)) == outcome(lambda: np.random.RandomState(seed))


@pytest.mark.parametrize("kind", ["MT19937", "PCG64"])
@pytest.mark.parametrize("n_drawn", [0, 1, 311, 624, 1000])
def test_states_that_are_read_from_memory(monkeypatch, kind, n_drawn):
    assert is_laid_out_as_known(), "NumPy has changed, and states are taken out the long way"
    generator = np.random.RandomState(getattr(np.random, kind)(3))
    generator.randint(2**32, size=n_drawn, dtype=np.uint64)
    generator.normal()  # a second number is held in reserve
    assert (words_of(generator) is None) == (kind != "MT19937")
    found, start = fingerprint(generator), state_to_shuffle_from(generator)
    assert pickle.loads(pickle.dumps(start)).keys() == generator.get_state(legacy=False).keys()
    orders = [one.permutation(50) for one in (generator_at(start), generator)]
    assert_array_equal(*orders)
    assert fingerprint(generator) != found
    found = fingerprint(generator)
    monkeypatch.setattr(skmlp.training.generators, "words_of", lambda generator: None)
    assert fingerprint(generator) == found


# --- Networks ---

HEADS = (HeadSpec(2, Formula("squared_error"), "identity"),)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"activation": ("relu", "tanh"), "normalization": (None, "batch")},
        {"dropout": 0.5, "input_dropout": 0.25, "input_noise": 0.5, "mixup": 1.0},
        {"dropout": (0, 0.5)},
    ],
    ids=str,
)
def test_the_same_network_is_described_once(params):
    model = MLPRegressor(**params)
    network = describe_network(model, 3, (5, 4), HEADS)
    assert describe_network(clone(model), 3, (5, 4), HEADS) is network
    layers = zip(network.layers, (5, 4), strict=True)
    assert all(layer.units == units for layer, units in layers)
    others = {
        describe_network(model, 4, (5, 4), HEADS),
        describe_network(model, 3, (5, 5), HEADS),
        describe_network(model.set_params(activation="mish"), 3, (5, 4), HEADS),
        describe_network(model.set_params(dropout=0.75), 3, (5, 4), HEADS),
        describe_network(model.set_params(input_noise=0.75), 3, (5, 4), HEADS),
    }
    assert len(others | {network}) == 6
    assert network_made_of.cache_info().maxsize == 256


def test_constants_are_not_taken_from_other_networks():
    """Zeros are equal, whatever their signs."""
    for slope in (0.0, -0.0):
        model = MLPRegressor(activation=LeakyReLU(slope))
        [layer] = describe_network(model, 3, (5,), HEADS).layers
        assert str(layer.activation.constants[0]) == str(slope)


# --- Imports ---


def test_what_few_fits_need_is_not_imported_before(run_python):
    script = "import sys, skmlp; print([name for name in sys.modules if name.startswith('skmlp')])"
    [imported] = map(ast.literal_eval, run_python(script).splitlines())
    late = {"skmlp.engines.reference", "skmlp._checkpoints", "skmlp._resumed", "skmlp.callbacks"}
    assert "skmlp._base" in imported
    assert late.isdisjoint(imported)
