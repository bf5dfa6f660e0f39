"""scikit-learn's own tests of its multi-layer perceptron, run on skmlp's classes.

The tests are those of the installed scikit-learn. Their source is executed here while
``sklearn.neural_network`` offers skmlp's classes, so that every ``MLPClassifier`` and
``MLPRegressor`` in them, parametrisations included, is ours.
"""

import importlib.util
import sys
import types
from pathlib import Path
from unittest import mock

import pytest
import sklearn.neural_network

import skmlp

# As in scikit-learn's own runs, which do not turn warnings into errors.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Tests of scikit-learn's private attributes: name -> (the error they end in, why).
EXPECTED_FAILURES = {
    "test_gradient": (
        AttributeError,
        "calls the private _loss_grad_lbfgs; tests/test_gradients.py checks our gradients",
    ),
}


def _load_suite():
    """Execute scikit-learn's test_mlp.py with skmlp's classes in place of its own."""
    origin = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp").origin
    module = types.ModuleType("sklearn_test_mlp_on_skmlp")
    module.__file__ = origin
    code = compile(Path(origin).read_bytes(), origin, "exec")
    with mock.patch.multiple(
        sklearn.neural_network,
        MLPClassifier=skmlp.MLPClassifier,
        MLPRegressor=skmlp.MLPRegressor,
    ):
        exec(code, vars(module))
    sys.modules[module.__name__] = module
    return module


SUITE = _load_suite()
TESTS = {name: value for name, value in vars(SUITE).items() if name.startswith("test_")}

for _name, _test in TESTS.items():
    if _name in EXPECTED_FAILURES:
        _error, _reason = EXPECTED_FAILURES[_name]
        _test = pytest.mark.xfail(raises=_error, reason=_reason, strict=True)(_test)
    globals()[_name] = _test


@pytest.fixture
def global_random_seed():
    """Stand for the fixture of this name in scikit-learn's conftest."""
    return 42


def test_suite_runs_on_our_classes():
    assert SUITE.MLPClassifier is skmlp.MLPClassifier
    assert SUITE.MLPRegressor is skmlp.MLPRegressor
    assert sklearn.neural_network.MLPClassifier is not skmlp.MLPClassifier
    # About fifty in scikit-learn 1.7; far fewer would mean that the file was not read as meant.
    assert len(TESTS) >= 40


def test_expected_failures_exist():
    assert EXPECTED_FAILURES.keys() <= TESTS.keys()
