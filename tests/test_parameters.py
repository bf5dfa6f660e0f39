"""Each parameter is stated once, in the table; what is written out elsewhere agrees with it."""

import ast
import dataclasses
import inspect
import re
import warnings
from itertools import product

import numpy as np
import pytest
import sklearn.neural_network
from parameter_table import PAGE, TABLE, table
from sklearn.model_selection import GridSearchCV

from skmlp import MLPClassifier, MLPRegressor
from skmlp._base import BaseMLP
from skmlp._choices import Choice
from skmlp._parameters import (
    PARAMETERS,
    Condition,
    constraints_of,
    ineffective_remarks,
    not_with,
    only_with,
    parameters_of,
)
from skmlp._sklearn_compat import StrOptions, validate_parameter_constraints
from skmlp.network.losses import REGRESSION_LINKS

ESTIMATORS = (MLPClassifier, MLPRegressor)
X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


def signature(function):
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


def documented(estimator):
    """Return kind, default and description of each parameter in a docstring."""
    text = inspect.getdoc(estimator)
    section = re.search(r"^Parameters\n-+\n(.*?)\n\n\S[^\n]*\n---", text, re.M | re.S)[1]
    entries = re.findall(r"^(\w+) : (.*), default=(.*)\n((?:(?: .*)?\n?)+)", section, re.M)
    return {name: (kind, default, " ".join(text.split())) for name, kind, default, text in entries}


# --- What is written out ---


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_signatures_are_those_of_the_table(estimator):
    table = parameters_of(estimator.__name__)
    found = signature(estimator)
    assert list(found) == list(table)
    for name, default in found.items():
        assert default == table[name].default, name
        assert type(default) is type(table[name].default), name


def test_the_base_takes_and_keeps_what_both_have():
    names = [name for name, entry in PARAMETERS.items() if len(entry.estimators) == 2]
    assert list(signature(BaseMLP.__init__)) == names


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_parameter_is_stored_under_its_name(estimator):
    values = {name: object() for name in parameters_of(estimator.__name__)}
    assert vars(estimator(**values)) == values


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_docstrings_agree_with_the_table(estimator):
    table, found = parameters_of(estimator.__name__), documented(estimator)
    assert list(found) == list(table)
    for name, (kind, default, text) in found.items():
        assert kind == table[name].kind
        # As it may be written: 1e-4 for 0.0001.
        written = ast.literal_eval(default)
        assert (type(written), written) == (type(table[name].default), table[name].default)
        assert text.startswith(table[name].text), name


def test_kinds_list_the_options():
    for entry in PARAMETERS.values():
        options = set()
        for constraint in entry.constraints:
            options |= set(constraint.options) if isinstance(constraint, StrOptions) else set()
        listed = re.search(r"\{(.*)\}", entry.kind)
        if listed:
            assert set(re.findall("'(.*?)'", listed[1])) == options, entry.name


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_scikit_learn_has_the_others_with_the_same_defaults(estimator):
    theirs = signature(getattr(sklearn.neural_network, estimator.__name__))
    table = parameters_of(estimator.__name__)
    assert list(theirs) == [name for name, entry in table.items() if not entry.is_added]
    for name, default in theirs.items():
        assert (type(default), default) == (type(table[name].default), table[name].default)
    added = [name for name, entry in table.items() if entry.is_added]
    assert list(table)[len(theirs) :] == added, "what is added comes last"
    kinds = {name: p.kind.name for name, p in inspect.signature(estimator).parameters.items()}
    assert {kinds[name] for name in added} == {"KEYWORD_ONLY"}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_constraints_are_those_of_the_table(estimator):
    constraints = estimator._parameter_constraints
    assert constraints == constraints_of(estimator.__name__)
    defaults = {entry.name: entry.default for entry in parameters_of(estimator.__name__).values()}
    validate_parameter_constraints(constraints, defaults, estimator.__name__)


def test_losses_of_the_regressor():
    [constraint] = PARAMETERS["loss"].constraints
    assert constraint.options == set(REGRESSION_LINKS)
    assert {choice._name for choice in constraint.classes} == {*constraint.options, "custom"}


def test_the_page_shows_the_table():
    [shown] = TABLE.findall(PAGE.read_text("utf-8"))
    assert shown == table(), "run `python tests/parameter_table.py`"


# --- What has no effect ---


class Momentum(Choice):
    pass


@pytest.mark.parametrize(
    ("condition", "holding", "failing", "text"),
    [
        (only_with("solver", "sgd", "adam"), ["sgd", "adam"], ["lbfgs"], "solver='sgd' or 'adam'"),
        (not_with("solver", "lbfgs"), ["sgd", Momentum()], ["lbfgs"], "any solver but 'lbfgs'"),
        (
            only_with("solver", "sgd", Momentum),
            ["sgd", Momentum()],
            ["adam", Momentum],
            "solver='sgd' or Momentum",
        ),
        (only_with("early_stopping", True), [True], [False], "early_stopping=True"),
        (not_with("init", None), ["he", np.zeros(2)], [None], "any init but None"),
    ],
)
def test_conditions(condition, holding, failing, text):
    assert all(map(condition.holds, holding))
    assert not any(map(condition.holds, failing))
    assert str(condition) == text


def test_conditions_name_parameters_and_values_that_exist():
    for entry in PARAMETERS.values():
        for name, condition in product(entry.estimators, entry.applies_to):
            other = parameters_of(name)[condition.parameter]
            assert other.name != entry.name
            for value in condition.values:
                if isinstance(value, type):
                    assert any(value in getattr(c, "classes", ()) for c in other.constraints)
                    continue
                validate_parameter_constraints(
                    {other.name: other.constraints}, {other.name: value}, "the table"
                )


@pytest.fixture
def momentum(monkeypatch):
    """Take momentum for a parameter that scikit-learn does not have."""
    entry = dataclasses.replace(PARAMETERS["momentum"], is_added=True)
    monkeypatch.setitem(PARAMETERS, "momentum", entry)
    return entry


MESSAGE = (
    r"^momentum=0\.5 has no effect with solver='lbfgs'\. Use solver='sgd', or leave momentum out\.$"
)
QUIET = {"hidden_layer_sizes": (), "max_iter": 1000, "tol": 1.0, "random_state": 0}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_parameter_without_effect_is_warned_of(momentum, estimator):
    model = estimator(momentum=0.5, solver="lbfgs", **QUIET)
    with pytest.warns(UserWarning, match=MESSAGE) as caught:
        model.fit(X, Y)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match="no effect with solver='adam'"):
        estimator(momentum=0.5).partial_fit(X, Y, **classes(estimator))


def classes(estimator):
    return {"classes": [0, 1]} if estimator is MLPClassifier else {}


def test_the_warning_comes_when_the_fit_is_done(momentum):
    model = MLPClassifier(momentum=0.5, solver="lbfgs", **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=MESSAGE):
            model.fit(X, Y)
    assert model.predict(X).shape == (6,)


def test_searches_warn_too(momentum):
    search = GridSearchCV(MLPClassifier(solver="lbfgs", **QUIET), {"momentum": [0.5]}, cv=2)
    with pytest.warns(UserWarning, match=MESSAGE):
        search.fit(X, Y)


@pytest.mark.parametrize(
    "params",
    [
        {"momentum": 0.9, "solver": "lbfgs"},  # the default
        {"momentum": 0.5, "solver": "sgd"},
        {"beta_1": 0.5, "solver": "lbfgs"},  # scikit-learn's
        {"max_fun": 3, "solver": "sgd"},
    ],
    ids=str,
)
def test_nothing_else_is_warned_of(momentum, params):
    assert ineffective_remarks(MLPClassifier(**params)) == []


def test_one_warning_for_each_parameter_and_all_conditions_count(monkeypatch):
    for name in ("power_t", "max_fun", "validation_fraction"):
        entry = dataclasses.replace(PARAMETERS[name], is_added=True)
        monkeypatch.setitem(PARAMETERS, name, entry)
    model = MLPRegressor(power_t=2.0, max_fun=3, validation_fraction=0.5)
    said = [remark.message.partition(". ")[0] for remark in ineffective_remarks(model)]
    assert said == [
        "power_t=2.0 has no effect with solver='adam'",
        "validation_fraction=0.5 has no effect with early_stopping=False",
        "max_fun=3 has no effect with solver='adam'",
    ]
    model.set_params(solver="sgd")
    assert "power_t=2.0 has no effect with learning_rate='constant'" in str(
        ineffective_remarks(model)
    )
    model.set_params(learning_rate="invscaling", early_stopping=True, max_fun=15000)
    assert ineffective_remarks(model) == []


def test_a_condition_is_a_plain_value():
    assert only_with("solver", "sgd") == Condition("solver", ("sgd",))
