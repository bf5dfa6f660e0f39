"""Objects that stand where a string could: they clone, compare, print and are searched in depth."""

import copy
import pickle
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier, MLPRegressor
from skmlp._choices import Choice, OneOf, check_choices, hashable, typed
from skmlp._sklearn_compat import CheckedParameters, Interval, StrOptions
from skmlp._validation import check_parameters_again

SLOPE = {"negative_slope": [Interval(Real, 0, None, closed="left")]}


class LeakyReLU(Choice):
    _parameter_constraints = SLOPE

    def __init__(self, negative_slope=0.01):
        self.negative_slope = negative_slope


class Plain(Choice):
    pass


class Custom(Choice):
    def __init__(self, value, derivative=None):
        self.value = value
        self.derivative = derivative


class Cosine(Choice):
    _parameter_constraints: ClassVar = {
        "warmup": [Interval(Integral, 0, None, closed="left")],
        "kind": [StrOptions({"constant", "invscaling"})],
    }

    def __init__(self, warmup=0, kind="constant", then=None):
        self.warmup = warmup
        self.kind = kind
        self.then = then


class Toy(CheckedParameters, RegressorMixin, BaseEstimator):
    """An estimator that scores best with a slope of three."""

    _parameter_constraints: ClassVar = {
        "activation": [OneOf({"relu", "tanh"}, {LeakyReLU, Custom, Plain})],
        "alpha": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, activation="relu", alpha=1.0):
        self.activation = activation
        self.alpha = alpha

    def fit(self, X, y):
        self._validate_params()
        check_choices(self.get_params(deep=False))
        self.slope_ = getattr(self.activation, "negative_slope", 0.0)
        return self

    def predict(self, X):
        return np.full(len(X), self.slope_)


X = np.arange(12.0).reshape(6, 2)
Y = np.array([2.0, 4.0, 2.0, 4.0, 2.0, 4.0])
ESTIMATORS = (Toy, MLPClassifier, MLPRegressor)


# --- As values ---


def test_parameters_are_those_of_the_constructor_in_its_order():
    inner = LeakyReLU(0.5)
    choice = Cosine(3, then=inner)
    assert list(choice.get_params(deep=False)) == ["warmup", "kind", "then"]
    assert choice.get_params() == {
        "warmup": 3,
        "kind": "constant",
        "then": inner,
        "then__negative_slope": 0.5,
    }
    assert Plain().get_params() == {}
    assert Cosine(then=LeakyReLU).get_params() == {**Cosine().get_params(), "then": LeakyReLU}


def test_set_params_sets_all_or_nothing():
    choice = Cosine(then=LeakyReLU())
    assert choice.set_params(warmup=2, then__negative_slope=0.5) is choice
    assert choice == Cosine(2, then=LeakyReLU(0.5))
    for names in ({"warmpu": 1}, {"then__slope": 1}, {"kind__x": 1}, {"warmup__": 1}):
        with pytest.raises(ValueError, match="Invalid parameter"):
            choice.set_params(warmup=7, **names)
        assert choice.warmup == 2
    # What is set now has its parameters set too.
    choice.set_params(then=Cosine(), then__warmup=5)
    assert choice.then == Cosine(5)


def test_set_params_says_what_is_meant():
    with pytest.raises(
        ValueError,
        match=r"^Invalid parameter 'negative_slop' for LeakyReLU\(\)\. Valid parameters are: "
        r"\['negative_slope'\]\. Did you mean 'negative_slope'\?$",
    ):
        LeakyReLU().set_params(negative_slop=1)
    with pytest.raises(
        ValueError, match=r"'kind__x': kind='constant' has no parameters\. Set kind to an object"
    ):
        Cosine().set_params(kind__x=1)


def test_the_constructor_says_what_is_meant():
    with pytest.raises(
        TypeError,
        match=r"^LeakyReLU\(\) got an unexpected keyword argument 'negativeslope'\. "
        r"Did you mean 'negative_slope'\?$",
    ):
        LeakyReLU(negativeslope=1)
    for arguments, keywords in (((1,), {}), ((), {"x": 1})):
        with pytest.raises(TypeError, match="argument"):
            Plain(*arguments, **keywords)


def test_a_constructor_names_its_parameters():
    class Anything(Choice):
        def __init__(self, **options):
            self.options = options

    with pytest.raises(RuntimeError, match=r"named one by one, but Anything takes \*\*options\."):
        Anything(x=1).get_params()


NAN = (float("nan"), np.float64("nan"), np.float32("nan"))
EQUAL = [
    (LeakyReLU(), LeakyReLU(0.01)),
    (LeakyReLU(1), LeakyReLU(1.0)),
    (LeakyReLU(NAN[0]), LeakyReLU(NAN[1])),
    (LeakyReLU((1, NAN[0])), LeakyReLU((1, NAN[2]))),
    (LeakyReLU(np.array([1.0, NAN[0]])), LeakyReLU(np.array([1.0, NAN[0]]))),
    (Custom((np.arange(3), ["a"])), Custom((np.arange(3), ["a"]))),
    (Custom([LeakyReLU(2)]), Custom([LeakyReLU(2)])),
    (Custom(np.array(["a"])), Custom(np.array(["a"]))),
    (Cosine(then=LeakyReLU(2)), Cosine(then=LeakyReLU(2))),
    (Plain(), Plain()),
]
UNEQUAL = [
    (LeakyReLU(), LeakyReLU(0.1)),
    (LeakyReLU(NAN[0]), LeakyReLU(1.0)),
    (LeakyReLU(1.0), LeakyReLU(NAN[0])),
    (LeakyReLU(np.zeros(2)), LeakyReLU(np.zeros(3))),
    (LeakyReLU(np.zeros(2)), LeakyReLU(np.zeros(2, dtype=np.float32))),
    (LeakyReLU(np.zeros(2)), LeakyReLU(0.0)),
    (LeakyReLU(np.zeros(1)), LeakyReLU([0.0])),
    (Custom((1, 2)), Custom([1, 2])),
    (Custom((1, 2)), Custom((1, 2, 3))),
    (Custom(len), Custom(max)),
    (Cosine(then=LeakyReLU(2)), Cosine(then=LeakyReLU(3))),
    (LeakyReLU(), "LeakyReLU()"),
    (LeakyReLU(), Plain()),
]


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=repr)
def test_equal_values_make_equal_choices(one, other):
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(("one", "other"), UNEQUAL, ids=repr)
def test_other_values_make_other_choices(one, other):
    assert one != other
    assert other != one


def test_a_subclass_is_another_choice():
    class Leakier(LeakyReLU):
        def __init__(self, negative_slope=0.01):
            super().__init__(negative_slope)

    assert Leakier() != LeakyReLU()
    assert len({Leakier(), LeakyReLU(), LeakyReLU()}) == 2


def test_hashes_tell_values_apart():
    assert len({hash(LeakyReLU(slope)) for slope in range(50)}) > 40
    assert hash(Custom([1])) == hash(Custom([2])), "a list cannot be hashed: the class is"
    assert hashable((1, NAN[1])) == (1, "nan")


def test_a_comparison_that_fails_is_no_equality():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2]})
    assert Custom(frame) == Custom(frame)
    assert Custom(frame) != Custom(frame.copy())


def named():
    """Have a name."""


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        (LeakyReLU(), "LeakyReLU()"),
        (LeakyReLU(0.01), "LeakyReLU()"),
        (LeakyReLU(negative_slope=0.1), "LeakyReLU(negative_slope=0.1)"),
        (LeakyReLU("x"), "LeakyReLU(negative_slope='x')"),
        (LeakyReLU(NAN[0]), "LeakyReLU(negative_slope=nan)"),
        (Cosine(2, then=LeakyReLU(3)), "Cosine(warmup=2, then=LeakyReLU(negative_slope=3))"),
        (Custom(named), "Custom(value=named)"),
        (Custom(np.tanh, derivative=None), "Custom(value=tanh)"),
        (Custom(None), "Custom(value=None)"),
        (Plain(), "Plain()"),
    ],
)
def test_printed_as_it_is_written(choice, text):
    assert repr(choice) == str(choice) == text


def test_all_parameters_are_printed_where_scikit_learn_is_told_so():
    with config_context(print_changed_only=False):
        assert repr(Cosine(2)) == "Cosine(warmup=2, kind='constant', then=None)"


COPIES = {
    "clone": clone,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda value, protocol=protocol: pickle.loads(
            pickle.dumps(value, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_copies_are_equal_and_independent(make):
    choice = Cosine(2, then=LeakyReLU(np.array([1.0])))
    again = make(choice)
    assert again is not choice
    assert again == choice
    assert (again.then is choice.then) == (make is copy.copy)
    again.set_params(warmup=3)
    assert choice.warmup == 2


def test_a_parameter_that_came_later_has_its_default_in_older_pickles(monkeypatch):
    old = pickle.dumps(LeakyReLU(0.5))

    class Newer(Choice):
        def __init__(self, negative_slope, bias=1.0):
            self.negative_slope = negative_slope
            self.bias = bias

    monkeypatch.setattr(f"{__name__}.LeakyReLU", Newer)
    assert pickle.loads(old) == Newer(0.5)


# --- Checks ---


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            LeakyReLU("x"),
            r"^The 'negative_slope' parameter of activation=LeakyReLU\(negative_slope='x'\) must "
            r"be a float in the range \[0\.0, inf\)\. Got 'x' instead\.$",
        ),
        (
            Cosine(kind="InverseScaling"),
            r"^The 'kind' parameter of activation=Cosine\(kind='InverseScaling'\) must be a str "
            r"among .* Got 'InverseScaling' instead\.$",
        ),
        (
            Cosine(kind="CONSTANT"),
            r"Got 'CONSTANT' instead\. Did you mean kind='constant'\?$",
        ),
        (
            Cosine(then=Custom((LeakyReLU(), LeakyReLU(-1)))),
            r"of activation__then__value\[1\]=LeakyReLU\(negative_slope=-1\) must be",
        ),
    ],
)
def test_check_names_the_place_the_value_and_the_remedy(choice, message):
    with pytest.raises(ValueError, match=message):
        choice.check("activation")


def test_check_passes_valid_values():
    LeakyReLU(3).check("activation")
    Cosine(1, "invscaling", LeakyReLU()).check("learning_rate")
    Custom(LeakyReLU).check("activation")  # no object


def test_one_of_lists_strings_and_classes():
    constraint = OneOf({"relu"}, {LeakyReLU, Custom})
    assert str(constraint) == "a str among {'relu'} or an object of Custom, LeakyReLU"
    valid = ("relu", LeakyReLU(), Custom(1))
    invalid = ("tanh", Plain(), LeakyReLU, None, 3, ["relu"], np.array(["relu", "relu"]))
    assert all(map(constraint.is_satisfied_by, valid))
    assert not any(map(constraint.is_satisfied_by, invalid))
    assert str(OneOf({"relu"})) == "a str among {'relu'}"


def test_one_of_takes_subclasses():
    class Leakier(LeakyReLU):
        pass

    assert OneOf((), {LeakyReLU}).is_satisfied_by(Leakier())


class Foreign:
    """As another library has it."""


Foreign.__name__ = "LeakyReLU"


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (LeakyReLU, r"activation=LeakyReLU is a class: give an object, activation=LeakyReLU\(\)\."),
        (Custom, r"activation=Custom is a class: give an object, activation=Custom\(\.\.\.\)\."),
        (Plain, r"activation=Plain is a class: give an object, activation=Plain\(\)\."),
        ("leaky_relu", r"Did you mean activation=LeakyReLU\(\)\?"),
        (Foreign, r"Did you mean activation=LeakyReLU\(\)\?"),
        (Foreign(), r"Did you mean activation=LeakyReLU\(\)\?"),
        ("ReLU", r"Did you mean activation='relu'\?"),
        ("rectifier", r"Did you mean activation='relu'\?"),
    ],
)
def test_wrong_values_are_answered(value, hint):
    with pytest.raises(ValueError, match=rf"(?s)or an object of .*Got .* instead\. {hint}$"):
        Toy(activation=value).fit(X, Y)


# --- Within estimators ---


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_list_and_set_the_parameters_of_a_choice(estimator):
    model = estimator(activation=LeakyReLU())
    assert model.get_params()["activation__negative_slope"] == 0.01
    assert "activation__negative_slope" not in model.get_params(deep=False)
    assert model.set_params(alpha=0.5, activation__negative_slope=0.2) is model
    assert (model.activation, model.alpha) == (LeakyReLU(0.2), 0.5)
    model.set_params(activation=Cosine(), activation__warmup=4)
    assert model.activation == Cosine(4)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("activation", "name", "message"),
    [
        (LeakyReLU(), "activation__slope", r"'slope' for LeakyReLU\(\).*\['negative_slope'\]"),
        ("relu", "activation__slope", r"'activation__slope': activation='relu' has no parameters"),
        (LeakyReLU, "activation__slope", r"activation=<class .*> has no parameters"),
    ],
)
def test_an_unknown_parameter_of_a_choice_leaves_the_estimator_as_it_was(
    estimator, activation, name, message
):
    model = estimator(activation=activation, alpha=0.5)
    with pytest.raises(ValueError, match=message):
        model.set_params(alpha=0.25, **{name: 1})
    assert (model.alpha, model.activation) == (0.5, activation)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_clone_has_choices_of_its_own(estimator):
    model = estimator(activation=(LeakyReLU(1), "relu", LeakyReLU(2)))
    again = clone(model)
    assert again.activation == model.activation
    assert again.activation[0] is not model.activation[0]
    model = estimator(activation=Cosine(then=LeakyReLU()))
    again = clone(model).set_params(activation__warmup=2, activation__then__negative_slope=3)
    assert model.activation == Cosine(then=LeakyReLU())
    assert again.activation == Cosine(2, then=LeakyReLU(3))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_with_choices_are_copied_and_printed(estimator):
    model = estimator(activation=LeakyReLU(0.25))
    for make in COPIES.values():
        assert make(model).activation == LeakyReLU(0.25)
    assert repr(model) == f"{estimator.__name__}(activation=LeakyReLU(negative_slope=0.25))"
    assert repr(estimator(activation=(LeakyReLU(), "relu"))) == (
        f"{estimator.__name__}(activation=(LeakyReLU(), 'relu'))"
    )
    page = make_pipeline(StandardScaler(), model)._repr_html_()
    assert "LeakyReLU(neg" in page  # scikit-learn shortens it


def test_searches_in_depth():
    grid = [
        {"activation": [LeakyReLU()], "activation__negative_slope": [1.0, 3.0, 9.0]},
        {"activation": ["relu", LeakyReLU(4.0)]},
    ]
    search = GridSearchCV(Toy(), grid, cv=3, scoring="neg_mean_squared_error").fit(X, Y)
    assert search.best_params_ == {"activation": LeakyReLU(), "activation__negative_slope": 3.0}
    assert search.best_estimator_.activation == LeakyReLU(3.0)
    assert grid[0]["activation"] == [LeakyReLU()], "the caller's object was changed"
    assert list(search.cv_results_["param_activation"][3:]) == ["relu", LeakyReLU(4.0)]


def test_the_parameters_of_a_choice_are_checked_in_a_fit():
    with pytest.raises(ValueError, match=r"of activation=LeakyReLU\(negative_slope=-1\) must be"):
        Toy(activation=LeakyReLU(-1)).fit(X, Y)
    assert Toy(activation=LeakyReLU(2)).fit(X, Y).slope_ == 2


@pytest.fixture
def activations(monkeypatch):
    """Let the networks take choices: what follows must check them."""
    constraints = MLPClassifier._parameter_constraints
    monkeypatch.setitem(constraints, "activation", [OneOf({"relu"}, {LeakyReLU})])


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_networks_check_the_parameters_of_a_choice(activations, method):
    model = MLPClassifier(activation=LeakyReLU(-1))
    with pytest.raises(ValueError, match=r"of activation=LeakyReLU\(negative_slope=-1\) must be"):
        getattr(model, method)(X, Y)
    with pytest.raises(
        ValueError, match=r"or an object of LeakyReLU\. Got Cosine\(warmup='x'\) instead"
    ):
        getattr(MLPClassifier(activation=Cosine("x")), method)(X, Y.astype(int))


def test_what_has_been_checked_is_checked_again_once_it_has_changed(activations, monkeypatch):
    choice = LeakyReLU(True)
    monkeypatch.setattr(LeakyReLU, "_parameter_constraints", {"negative_slope": ["boolean"]})
    model = MLPClassifier(activation=choice)
    for _ in range(2):
        check_parameters_again(model)
    for wrong in (-1, 1, "x"):  # one equals True
        choice.set_params(negative_slope=wrong)
        with pytest.raises(ValueError, match="negative_slope"):
            check_parameters_again(model)


def test_types_are_told_apart():
    assert typed(LeakyReLU(1)) == typed(LeakyReLU(1))
    for one, other in ((1, True), (0, 0.0), ((1, 2), (True, 2)), (LeakyReLU(1), LeakyReLU(1.0))):
        assert one == other
        assert typed(one) != typed(other)
