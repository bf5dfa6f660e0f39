"""Activations as users choose them: names and objects, against PyTorch, papers and themselves."""

import numpy as np
import pytest
from activation_table import PAGE, TABLE, table
from engine_checks import head_of, make_layer, make_network, make_problem
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from test_gradients import check_gradient

from skmlp import MLPClassifier, MLPRegressor
from skmlp.activations import (
    CELU,
    ELU,
    GELU,
    OBJECTS,
    Blend,
    Custom,
    LeakyReLU,
    Logistic,
    Maxout,
    PReLU,
    Softplus,
    activation_formula,
    evaluate,
)
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.activations import ACTIVATIONS, ALIASES, BLENDS, activation_entry
from skmlp.network.initializers import LayerStart, he_normal
from skmlp.network.parameters import layout_of
from skmlp.network.specs import Formula

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.abs(X[:, 0]) + X[:, 1] * X[:, 2]
Z = np.concatenate([np.linspace(-9, 9, 37) + 0.01, [-40.0, -1e4, 40.0, 1e4]])
KEY = ("squared_error", "identity")


def fitted(activation, estimator=MLPRegressor, **parameters):
    options = {"hidden_layer_sizes": (6, 3), "max_iter": 4, "random_state": 0}
    y = Y > 1 if estimator is MLPClassifier else Y
    return estimator(activation=activation, **{**options, **parameters}).fit(X, y)


# --- Names and objects ---


def test_the_table_of_the_documentation_is_up_to_date():
    text = PAGE.read_text("utf-8")
    assert TABLE.search(text)[0] == table(), "run python tests/activation_table.py"


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_other_names_are_those_of_the_entry(alias, name):
    model = fitted((alias, "relu"))
    assert [layer.activation.name for layer in model._network.layers] == [name, "relu"]
    assert model.activation == (alias, "relu")
    assert_array_equal(model.predict(X), fitted((name, "relu")).predict(X))
    assert alias not in ACTIVATIONS
    assert ACTIVATIONS[name].hidden


FORMULAS = [
    (ELU(2), "elu", (2.0,)),
    (CELU(0.5), "celu", (0.5,)),
    (Softplus(3), "softplus", (3.0,)),
    (Logistic(2, -1), "scaled_logistic", (2.0, -1.0)),
    (GELU(), "gelu", ()),
    (GELU(approximate=True), "gelu_tanh", ()),
    (Blend(), "blend_selu", ()),
    (Blend("swish"), "blend_silu", ()),
    (Blend(LeakyReLU(0.3)), "blend_leaky_relu", (0.3,)),
    (Maxout(3), "maxout", (3.0,)),
    (PReLU(), "prelu", ()),
]


@pytest.mark.parametrize(("choice", "name", "constants"), FORMULAS, ids=repr)
def test_objects_stand_for_entries(choice, name, constants):
    assert activation_formula(choice) == Formula(name, constants)


def test_every_entry_with_constants_has_an_object_with_its_defaults():
    objects = {choice._name: choice for choice in OBJECTS if hasattr(choice, "_name")}
    for name, entry in ACTIVATIONS.items():
        if entry.constants:
            assert activation_formula(objects[name]()) == activation_formula(name)


@pytest.mark.parametrize(
    ("activation", "match"),
    [
        (ELU(-0.1), "'alpha' parameter of activation=ELU"),
        (CELU(0), "'alpha' parameter of activation=CELU"),
        (Softplus(0.0), "'beta' parameter of activation=Softplus"),
        (Logistic(np.nan), "'slope' parameter of activation=Logistic"),
        (GELU(approximate="tanh"), "'approximate' parameter of activation=GELU"),
        (Blend("maxout"), "'activation' parameter of activation=Blend"),
        (Blend("step"), "'activation' parameter of activation=Blend"),
        (Blend(PReLU()), "'activation' parameter of activation=Blend"),
        (("relu", Blend(ELU("a"))), r"'alpha' parameter of activation\[1\]__activation=ELU"),
        ("exp", "Did you mean activation='exponential'"),
    ],
)
def test_errors_name_parameter_and_value(activation, match):
    model = MLPRegressor(hidden_layer_sizes=(3, 2), activation=activation)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=match):
        model.fit(X, Y)
    assert vars(model) == before


def test_lbfgs_refuses_a_surrogate_and_others_learn_with_it():
    match = "activation='step' does not go with solver='lbfgs'.*Use solver='adam'"
    with pytest.raises(ValueError, match=match):
        fitted(("relu", "step"), solver="lbfgs")
    # Without hidden layers there is none.
    fitted("step", solver="lbfgs", hidden_layer_sizes=())
    exclusive = (X[:, 0] > 0) ^ (X[:, 1] > 0)
    model = MLPClassifier((16,), activation="step", learning_rate_init=0.05, random_state=0)
    assert model.set_params(max_iter=150).fit(X, exclusive).score(X, exclusive) > 0.9
    hidden = X @ model.coefs_[0] + model.intercepts_[0] > 0
    raw = hidden @ model.coefs_[1] + model.intercepts_[1]
    assert_allclose(model.predict_proba(X)[:, 1:], special.expit(raw), rtol=1e-12)


@pytest.mark.parametrize("engine", [ReferenceEngine(), CpuEngine(n_jobs=1)])
def test_gradients_go_through_a_step_as_its_surrogate_says(engine):
    network = make_network(4, [make_layer("step", 5)], [head_of(KEY, 1)])
    inputs, targets, _ = make_problem(network, 9)
    parameters = np.random.default_rng(3).normal(size=layout_of(network).size)
    data = engine.load(inputs, targets, None, network, "float64")
    _, gradient = engine.loss_and_gradient(network, data, parameters, 0.0)
    (first, second), (shift, last) = layout_of(network).views(parameters)
    z = inputs @ first + shift
    delta = (z > 0) @ second + last - targets
    through = (delta @ second.T) * (np.abs(z) <= 1)
    (by_first, by_second), _ = layout_of(network).views(gradient)
    assert_allclose(by_first, inputs.T @ through / 9, rtol=1e-10, atol=1e-13)
    assert_allclose(by_second, (z > 0).T @ delta / 9, rtol=1e-10, atol=1e-13)


# --- Evaluation ---


@pytest.mark.parametrize("name", [n for n, e in ACTIVATIONS.items() if e.is_elementwise])
def test_evaluate_is_the_entry(name):
    value, derivative = evaluate(name, Z.reshape(41, 1))
    assert value.shape == derivative.shape == (41, 1)
    assert value.dtype == derivative.dtype == np.float64
    step = 1e-6
    above, below = (evaluate(name, Z + sign * step)[0] for sign in (1, -1))
    if not ACTIVATIONS[name].surrogate and name not in ("exp", "exponential"):
        slopes = (above - below) / (2 * step)
        assert_allclose(derivative.ravel(), slopes, rtol=1e-6, atol=1e-6)
    assert evaluate(name, 0.5)[0].shape == ()
    assert evaluate(name, [])[0].shape == (0,)


def test_evaluate_of_objects_and_rows():
    assert_allclose(evaluate(Custom(cube, square), Z), [Z**3, 3 * Z**2], rtol=1e-14)
    assert_allclose(evaluate(Blend("mish"), Z)[0], evaluate("mish", Z)[0], atol=1e-14)
    scores = RNG.normal(size=(2, 3, 4))
    value, derivative = evaluate("softmax", scores)
    assert_allclose(value, special.softmax(scores, axis=-1), rtol=1e-14)
    assert derivative.shape == (2, 3, 4, 4)
    for k, shift in enumerate(np.eye(4) * 1e-6):
        slopes = (
            evaluate("softmax", scores + shift)[0] - evaluate("softmax", scores - shift)[0]
        ) / 2e-6
        assert_allclose(derivative[..., k], slopes, atol=1e-9)  # fmt: skip
    with pytest.raises(ValueError, match=r"activation=Maxout\(\) is the largest of several"):
        evaluate(Maxout(), Z)
    with pytest.raises(ValueError, match="'alpha' parameter of activation=ELU"):
        evaluate(ELU("a"), Z)
    with pytest.raises(ValueError, match="activation must be one of"):
        evaluate("rrelu", Z)


def cube(z):
    return z * z * z


def square(z):
    return 3.0 * z * z


def test_numbers_of_course_material():
    """A unit with the weights 0.1, 0.5 and 0.1 of the inputs 20, -4 and 10."""
    z = np.array([20, -4, 10]) @ [0.1, 0.5, 0.1]
    assert evaluate("identity", z)[0] == pytest.approx(1.0)
    assert evaluate("sigmoid", z)[0] == pytest.approx(0.73, abs=5e-3)
    scores = [-0.5, 1.2, 3, -2]
    assert_allclose(evaluate("sigmoid", scores)[0], [0.38, 0.77, 0.95, 0.12], atol=5e-3)
    assert_allclose(evaluate("softmax", scores)[0], [0.03, 0.14, 0.83, 0.01], atol=5e-3)


# --- Against PyTorch ---


TORCH = {
    "identity": ("Identity", {}),
    "logistic": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("ReLU", {}),
    "gelu": ("GELU", {}),
    "gelu_tanh": ("GELU", {"approximate": "tanh"}),
    "silu": ("SiLU", {}),
    LeakyReLU(0.2): ("LeakyReLU", {"negative_slope": 0.2}),
    "prelu": ("PReLU", {}),
    ELU(0.7): ("ELU", {"alpha": 0.7}),
    CELU(0.5): ("CELU", {"alpha": 0.5}),
    "selu": ("SELU", {}),
    "mish": ("Mish", {}),
    Softplus(2.0): ("Softplus", {"beta": 2.0, "threshold": 40.0}),
    "softsign": ("Softsign", {}),
    "log_sigmoid": ("LogSigmoid", {}),
    "hard_sigmoid": ("Hardsigmoid", {}),
    "hard_swish": ("Hardswish", {}),
    "hard_tanh": ("Hardtanh", {}),
    "relu6": ("ReLU6", {}),
    "softmax": ("Softmax", {"dim": -1}),
}


@pytest.mark.parametrize("activation", TORCH, ids=repr)
def test_activation_and_derivative_are_those_of_pytorch(activation):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    name, options = TORCH[activation]
    module = getattr(torch.nn, name)(**options).double()
    rows = np.stack([Z[:-4].reshape(-1, 1)] * 3, axis=1)[..., 0] + [0.0, 0.3, -0.2]
    z = torch.tensor(rows, requires_grad=True)
    output = module(z)
    value, derivative = evaluate(activation, rows)
    assert_allclose(value, output.detach().numpy(), rtol=1e-12, atol=1e-14)
    output[:, 0].sum().backward()
    found = derivative[:, 0] if derivative.ndim == 3 else derivative[:, :1] * [1, 0, 0]
    # There a sixth is one of single precision.
    tolerance = 1e-7 if activation == "hard_sigmoid" else 1e-11
    assert_allclose(found, z.grad.numpy(), rtol=tolerance, atol=1e-14)


def test_gains_of_rectifiers_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    names = {"identity": "linear", "logistic": "sigmoid", "relu": "relu"}
    for ours, theirs in names.items():
        gain = torch.nn.init.calculate_gain(theirs)
        assert ACTIVATIONS[ours].gain() == pytest.approx(gain**2, rel=1e-12)
    gain = torch.nn.init.calculate_gain("leaky_relu", 0.3)
    assert ACTIVATIONS["leaky_relu"].gain(0.3) == pytest.approx(gain**2, rel=1e-12)


def test_selu_keeps_mean_and_variance_with_the_weights_of_he_normal():
    """Klambauer et al. (2017), section 2: the fixed point; through twenty layers."""
    values = np.random.default_rng(0).normal(size=(300, 200))
    for number in range(20):
        start = LayerStart(number, 200, 200, Formula("selu"), list, list)
        coef, _ = he_normal(start, np.random.RandomState(number))
        values = evaluate("selu", values @ coef)[0]
    assert abs(values.mean()) < 0.1
    assert values.var() == pytest.approx(1.0, abs=0.25)


# --- Blends ---


def test_there_is_a_blend_of_every_fixed_activation_of_one_input():
    for name, entry in ACTIVATIONS.items():
        is_fixed = entry.hidden and entry.is_elementwise and not entry.learned
        assert (f"blend_{name}" in BLENDS) == (is_fixed and not entry.surrogate)


@pytest.mark.parametrize("name", BLENDS)
def test_blends_lie_between_the_identity_and_the_activation(name):
    entry, of = BLENDS[name], ACTIVATIONS[name.removeprefix("blend_")]
    constants = tuple(constant.default for constant in of.constants)
    for z in (-2.3, -0.2, 0.4, 2.9):
        value = of.value(z, *constants)
        slope = of.derivative(z if of.derivative_takes_input else value, *constants)
        for blend in (0.0, 0.3, 1.0, -2.0):
            expected = (1 - blend) * z + blend * value
            assert entry.value(z, *constants, blend) == pytest.approx(expected, rel=1e-14)
            expected = 1 - blend + blend * slope
            assert entry.derivative(z, *constants, blend) == pytest.approx(expected, abs=1e-15)
        (learned,) = entry.learned
        assert learned.slope(z, *constants, 0.3) == pytest.approx(value - z, rel=1e-14)


def test_blends_start_as_the_activation_and_learn():
    options = {"solver": "sgd", "max_iter": 1, "learning_rate_init": 1e-300}
    models = [fitted(choice, **options) for choice in (Blend("selu"), "selu")]
    assert_allclose(*[model.loss_ for model in models], rtol=1e-14)
    model = fitted(Blend(ELU(0.5)), max_iter=40, learning_rate_init=0.02)
    assert model._extras.size == 9
    assert np.unique(model._extras).size == 9
    assert np.abs(model._extras - 1).max() > 0.05


# --- Softmax between layers ---


def test_softmax_of_a_hidden_layer():
    model = fitted(("softmax", "tanh"), max_iter=10)
    hidden = special.softmax(X @ model.coefs_[0] + model.intercepts_[0], axis=1)
    hidden = np.tanh(hidden @ model.coefs_[1] + model.intercepts_[1])
    expected = hidden @ model.coefs_[2] + model.intercepts_[2]
    assert_allclose(model.predict(X), expected.ravel(), rtol=1e-12)
    assert_allclose(model.predict(X[:1]), expected[0], rtol=1e-12)
    losses = [
        fitted(("softmax", "tanh"), solver="lbfgs", max_iter=max_iter).loss_ for max_iter in (1, 60)
    ]
    assert losses[1] < 0.3 * losses[0]


@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
def test_gradients_of_softmax_layers(normalization):
    """With dropout, after which outputs are no longer those of the softmax."""
    layers = [make_layer("softmax", n, 0.3, None, normalization) for n in (21, 3)]
    network = make_network(4, layers, [head_of(KEY, 2)])
    check_gradient(CpuEngine(n_jobs=1), network, make_problem(network, 9), alpha=0.1)


def test_results_do_not_depend_on_the_number_of_threads():
    activation = ("softmax", Blend("mish"))
    models = [
        fitted(activation, hidden_layer_sizes=(70, 40), dropout=0.2, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    ]
    assert_array_equal(*[model.predict(X) for model in models])
    assert_array_equal(models[0]._extras, models[1]._extras)


def test_entries_are_found_by_name():
    assert activation_entry("blend_selu") is BLENDS["blend_selu"]
    with pytest.raises(ValueError, match="activation must be one of"):
        activation_entry("blend_maxout")
