"""Networks go to PyTorch and come back, where PyTorch is installed."""

import copy
import doctest
import pickle
import re
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from engine_checks import HIDDEN, NORMALIZED, OTHER_CONSTANTS, head_of, make_layer, make_network
from numpy.testing import assert_allclose, assert_array_equal

import skmlp
import skmlp._base
import skmlp._torch
from skmlp import MLPClassifier, MLPRegressor, activations, from_torch, losses
from skmlp._fitted import as_trained
from skmlp._temperature import without_links
from skmlp._torch import COUNTERPARTS
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.activations import ACTIVATIONS, BLENDS
from skmlp.network.initializers import draw_uniform
from skmlp.network.losses import LOSSES
from skmlp.network.parameters import layout_of

torch = pytest.importorskip("torch", reason="needs PyTorch")
_torch_modules = pytest.importorskip("skmlp._torch_modules")
nn = torch.nn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "files.md"
NAMES = [*HIDDEN, *BLENDS]
X = np.random.default_rng(0).normal(size=(20, 4)) * 3.0
THREE = np.digitize(X[:, 0], [-1.0, 1.0])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """More wait for each other in networks as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def reference(monkeypatch):
    """Let fits and predictions compute in NumPy: what they compile is not the subject."""
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())


def drawn_model(network, seed=0):
    """Return an estimator with a network, of whose numbers none is one that it starts with."""
    layout = layout_of(network)
    parameters = draw_uniform(network, np.random.RandomState(seed), np.float64)
    parameters += np.random.default_rng(seed).uniform(0.1, 0.5, size=layout.size)
    model = MLPRegressor()
    model._network = network
    model._set_parameters(layout, parameters)
    return model, parameters


def raw_predictions(network, parameters, rows):
    engine, raw = ReferenceEngine(), without_links(network)
    return engine.outputs(raw, parameters, engine.load(rows, None, None, raw, "float64"))


def computed(sequential, rows):
    with torch.no_grad():
        return sequential(torch.tensor(rows)).numpy()


CASES = [
    pytest.param(name, normalization, key, id=f"{name}-{normalization}-{'-'.join(key)}")
    for (name, normalization), key in zip(
        [(name, normalization) for name in NAMES for normalization in [None, *NORMALIZED]],
        cycle(LOSSES),
        strict=False,
    )
]


@pytest.mark.parametrize(("name", "normalization", "key"), CASES)
def test_raw_predictions_are_equal(name, normalization, key):
    layers = [
        make_layer(name, 5, 0.2, OTHER_CONSTANTS.get(name), normalization),
        make_layer(name, 3, 0.0, OTHER_CONSTANTS.get(name), None),
    ]
    network = make_network(4, layers, [head_of(key, 2)], dropout=0.1)
    model, parameters = drawn_model(network)
    sequential = model.to_torch()
    rows = X / 6.0 if "exponential" in name else X  # of two layers of them
    assert not any(module.training for module in sequential.modules())
    assert_allclose(
        computed(sequential, rows),
        raw_predictions(network, parameters, rows),
        rtol=1e-12,
        atol=1e-12,
    )
    again = pickle.loads(pickle.dumps(sequential))
    assert_array_equal(computed(again, rows), computed(sequential, rows))
    assert_comes_back(network, model, sequential)


def assert_comes_back(network, model, sequential):
    """All but the loss, which PyTorch's network does not know."""
    back = from_torch(sequential)
    trained = as_trained(back)
    assert trained.network.layers == network.layers
    assert trained.network.inputs == network.inputs
    for own, given in ((trained.coefs, model.coefs_), (trained.intercepts, model.intercepts_)):
        for ours, theirs in zip(own, given, strict=True):
            assert_array_equal(ours, theirs)
    assert_array_equal(trained.extras, model._extras)
    assert back.n_features_in_ == 4


def test_every_activation_has_a_counterpart():
    learned = {name for name, entry in ACTIVATIONS.items() if entry.learned}
    assert {*COUNTERPARTS, *learned} == set(HIDDEN)


def test_several_heads_share_one_layer():
    heads = [head_of(("log_loss", "softmax"), 3), head_of(("log_loss", "logistic"), 1)]
    network = make_network(4, [make_layer("mish", 5)], heads)
    model, parameters = drawn_model(network)
    expected = raw_predictions(network, parameters, X)
    assert_allclose(computed(model.to_torch(), X), expected, rtol=1e-12)


def test_tensors_are_copies_and_the_generator_is_left_alone():
    network = make_network(
        4, [make_layer("tanh", 5, 0.0, None, "batch")], [head_of(("squared_error", "identity"), 1)]
    )
    model, parameters = drawn_model(network)
    before = torch.random.get_rng_state()
    sequential = model.to_torch()
    assert (sequential[1].momentum, sequential[1].eps) == (0.1, 1e-5)
    assert torch.equal(torch.random.get_rng_state(), before)
    expected, extras = computed(sequential, X), layout_of(network).extras_of(parameters).copy()
    for array in (*model.coefs_, *model.intercepts_, model._extras):
        array += 1.0
    assert_array_equal(computed(sequential, X), expected)
    back = from_torch(sequential)
    with torch.no_grad():
        for parameter in (*sequential.parameters(), *sequential.buffers()):
            parameter.add_(1)
    assert_array_equal(as_trained(back).extras, extras)
    assert all(parameter.requires_grad for parameter in sequential.parameters())


def test_fitted_models(make_problem):
    """Through kernels, of a classifier and of scaled targets."""
    data, y = make_problem("multiclass")
    model = MLPClassifier((6,), max_iter=3, random_state=0).fit(data, y)
    scores = torch.softmax(torch.tensor(computed(model.to_torch(), data)), dim=1).numpy()
    assert_allclose(scores, model.predict_proba(data), rtol=1e-12, atol=1e-12)
    data, y = make_problem("multi_regression")
    model = MLPRegressor(
        hidden_layer_sizes=(6,), max_iter=3, random_state=0, y_scale="standard"
    ).fit(data, 100 + y)
    raw = computed(model.to_torch(), data)
    assert_allclose(raw * model.y_scale_ + model.y_mean_, model.predict(data), rtol=1e-12)


def test_single_precision_stays_what_it_is():
    network = make_network(4, [make_layer("selu", 5)], [head_of(("squared_error", "identity"), 1)])
    model, parameters = drawn_model(network)
    model._set_parameters(layout_of(network), parameters.astype("float32"))
    sequential = model.to_torch()
    outputs = computed(sequential, X.astype("float32"))
    assert outputs.dtype == np.float32
    assert_allclose(outputs, raw_predictions(network, parameters, X), rtol=1e-4, atol=1e-4)
    assert from_torch(sequential).coefs_[0].dtype == np.float32


def test_functions_of_users_have_no_module():
    def square(z):
        return z * z

    def twice(z):
        return 2.0 * z

    model = MLPRegressor(hidden_layer_sizes=(3,), activation=activations.Custom(square, twice))
    model.coefs_ = [np.ones((4, 3)), np.ones((3, 1))]
    model.intercepts_ = [np.ones(3), np.ones(1)]
    model.out_activation_ = "identity"
    with pytest.raises(ValueError, match="hidden layer 0 is made of functions of your own"):
        model.set_params(loss="squared_error").to_torch()


# From PyTorch


def double(*modules):
    return nn.Sequential(*modules).double().eval()


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("end", [None, nn.Softmax(dim=1), nn.LogSoftmax(dim=-1)])
def test_classifiers(end):
    """Labels in any order belong to the outputs as given."""
    network = double(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    labels = ["b", "c", "a"]
    whole = network if end is None else nn.Sequential(network, end)  # one within the other
    model = from_torch(whole, classes=labels)
    expected = torch.softmax(network(torch.tensor(X)), dim=1).detach().numpy()
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert_allclose(model.predict_proba(X), expected[:, [2, 0, 1]], rtol=1e-12)
    assert model.predict(X).tolist() == [labels[k] for k in expected.argmax(axis=1)]
    assert model.hidden_layer_sizes == (8,)
    assert model.activation == "relu"


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("labels", [[False, True], ["yes", "no"], [7, 3]])
def test_two_classes(labels):
    two = double(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    model = from_torch(two, classes=labels)
    expected = torch.softmax(two(torch.tensor(X)), dim=1).detach().numpy()
    order = np.argsort(labels)
    assert model.n_outputs_ == 1
    assert_allclose(model.predict_proba(X), expected[:, order], rtol=1e-11)
    one = double(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1), nn.Sigmoid())
    model = from_torch(one, classes=labels)
    positive = computed(one, X)[:, 0]
    column = model.classes_.tolist().index(labels[1])
    assert_allclose(model.predict_proba(X)[:, column], positive, rtol=1e-11)


@pytest.mark.usefixtures("reference")
def test_labels_of_their_own():
    network = double(nn.Linear(4, 3), nn.Sigmoid())
    model = from_torch(network, classes=range(3))
    assert_allclose(model.predict_proba(X), computed(network, X), rtol=1e-12)
    assert_array_equal(model.predict(X), computed(network, X) > 0.5)
    assert model.hidden_layer_sizes == ()


@pytest.mark.usefixtures("reference")
def test_losses_tell_what_becomes_of_outputs():
    network = double(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 2))
    raw = computed(network, X)
    assert_allclose(from_torch(network, loss="poisson").predict(X), np.exp(raw), rtol=1e-12)
    mean, deviation = from_torch(network, loss=losses.GaussianNLL()).predict(X, return_std=True)
    assert_allclose(mean, raw[:, 0], rtol=1e-12)
    assert_allclose(deviation, np.exp(0.5 * raw[:, 1]), rtol=1e-12)
    network = double(nn.Linear(4, 3))
    hinge = from_torch(network, classes=[1, 2, 3], loss="hinge")
    assert_allclose(hinge.decision_function(X), computed(network, X), rtol=1e-12)


@pytest.mark.usefixtures("reference")
def test_a_model_taken_over_is_saved_and_trained_on(tmp_path):
    network = double(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.PReLU(), nn.Linear(6, 3))
    model = from_torch(network, classes=[0, 1, 2])
    assert_array_equal(as_trained(model).extras[-2 * 6 :], np.repeat([0.0, 1.0], 6))
    model.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model")
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    before = [coef.copy() for coef in as_trained(model).coefs]
    model.set_params(random_state=0, learning_rate_init=1e-9).partial_fit(X, THREE)
    for old, new in zip(before, as_trained(model).coefs, strict=True):
        assert_allclose(new, old, atol=1e-7)
        assert not np.array_equal(new, old)
    assert model.t_ == len(X)


def test_modules_that_are_used_twice():
    linear, activation = nn.Linear(4, 4), nn.Tanh()
    network = nn.Sequential(linear, activation, linear, activation, linear)
    model = from_torch(network)
    assert model.hidden_layer_sizes == (4, 4)
    assert model.activation == "tanh"
    assert_array_equal(model.coefs_[0], model.coefs_[2])


@pytest.mark.usefixtures("reference")
def test_parameters_describe_the_network():
    network = nn.Sequential(
        nn.Dropout(0.1),
        nn.Linear(4, 6, bias=False),
        nn.LayerNorm(6, elementwise_affine=False),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.3),
        nn.Linear(6, 6),
        nn.Identity(),
        nn.Linear(6, 1),
    )
    model = from_torch(network)
    assert (
        model.get_params()
        | {
            "hidden_layer_sizes": (6, 6),
            "activation": (activations.LeakyReLU(0.2), "identity"),
            "normalization": ("layer", None),
            "dropout": (0.3, 0.0),
            "input_dropout": 0.1,
        }
        == model.get_params()
    )
    assert_array_equal(model.intercepts_[0], np.zeros(6))
    assert model.coefs_[0].dtype == np.float32
    assert model.n_iter_ == 0
    raw = computed(network.eval(), X.astype("float32"))[:, 0]
    assert_allclose(model.predict(X.astype("float32")), raw, rtol=1e-4, atol=1e-5)


def test_losses_of_users_belong_to_the_network():
    loss = losses.Custom(square_of_difference, slope_of_square)
    model = from_torch(nn.Sequential(nn.Linear(4, 1)), loss=loss)
    assert model._custom == (loss,)
    assert model._network.heads[0].loss.name == loss.formula().name


def square_of_difference(y, raw):
    return (raw - y) ** 2


def slope_of_square(y, raw):
    return 2.0 * (raw - y)


class Lookalike(nn.Linear):
    pass


class Bent(nn.Tanh):
    pass


class Net(nn.Sequential):
    pass


def with_weights(weight, bias):
    linear = nn.Linear(1, 1)
    linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
    return linear


def hooked(module, register="register_forward_hook"):
    getattr(module, register)(lambda *_: None)
    return module


def with_forward(module, function):
    module.forward = function
    return module


LINEAR = nn.Linear(4, 4)
REFUSED = {
    "no sequential": (LINEAR, {}, "takes a torch.nn.Sequential, but got Linear"),
    "nothing": (nn.Sequential(), {}, "has none"),
    "a subclass": (
        nn.Sequential(Lookalike(4, 1)),
        {},
        "module 0, Lookalike.* is of a subclass of Linear, with code of its own",
    ),
    "a subclass of what comes later": (
        nn.Sequential(LINEAR, Bent(), LINEAR),
        {},
        "module 1, Bent.* is of a subclass of Tanh, with",
    ),
    "a network of its own": (nn.Sequential(Net(LINEAR)), {}, "is of a subclass of Sequential"),
    "one that waits for data": (
        nn.Sequential(nn.LazyLinear(3)),
        {},
        "module 0, LazyLinear.* has no parameters yet. Pass a batch",
    ),
    "no numbers": (nn.Sequential(nn.Linear(4, 1, device="meta")), {}, 'on the device "meta"'),
    "no inputs": (
        nn.Sequential(with_weights(torch.ones(2, 0), torch.ones(2))),
        {},
        r"has weights of shape \(2, 0\)",
    ),
    "no outputs": (
        nn.Sequential(with_weights(torch.ones(0, 4), torch.ones(0))),
        {},
        r"has weights of shape \(0, 4\)",
    ),
    "one intercept for all": (
        nn.Sequential(with_weights(torch.ones(2, 4), torch.ones(1))),
        {},
        r"shape \(2, 4\) and a bias of shape \(1,\)",
    ),
    "classes of two kinds": (nn.Sequential(LINEAR), {"classes": ["a", None, 1, 2]}, "all of them"),
    "classes that are not": (
        nn.Sequential(LINEAR),
        {"classes": [0.0, float("nan"), 1.0, 2.0]},
        "all of them",
    ),
    "classes that are lists": (
        nn.Sequential(LINEAR),
        {"classes": np.array([[], {}, 1, 2], dtype=object)},
        "all of them",
    ),
    "an unknown one": (nn.Sequential(LINEAR, nn.RReLU()), {}, "module 1, RReLU.*no counterpart"),
    "a hook": (nn.Sequential(hooked(nn.Linear(4, 1))), {}, "module 0, Linear.*has hooks"),
    "a hook before it": (
        nn.Sequential(hooked(nn.Linear(4, 1), "register_forward_pre_hook")),
        {},
        "module 0, Linear.*has hooks",
    ),
    "a function of its own": (
        nn.Sequential(with_forward(nn.Linear(4, 1), torch.relu)),
        {},
        "module 0, Linear.*has hooks",
    ),
    "another way to flatten": (
        nn.Sequential(nn.Flatten(0), LINEAR),
        {},
        "module 0, Flatten.*stands before the first Linear",
    ),
    "a low threshold": (
        nn.Sequential(LINEAR, nn.Softplus(threshold=5.0), LINEAR),
        {},
        "module 1, Softplus.*no counterpart",
    ),
    "softmax of columns": (
        nn.Sequential(LINEAR, nn.Softmax(dim=0), LINEAR),
        {},
        "module 1, Softmax.*no counterpart",
    ),
    "pieces that are too many": (
        nn.Sequential(LINEAR, _torch_modules.Maxout(3), LINEAR),
        {},
        "module 1, Maxout.*cannot divide 4 columns",
    ),
    "a hook around all": (hooked(nn.Sequential(LINEAR)), {}, "module itself.*has hooks"),
    "another order": (
        *(nn.Sequential(LINEAR, nn.ReLU(), nn.BatchNorm1d(4), LINEAR), {}),
        "module 2, BatchNorm1d.*between a Linear and its activation",
    ),
    "dropout first": (
        *(nn.Sequential(LINEAR, nn.Dropout(0.5), nn.ReLU(), LINEAR), {}),
        "module 2, ReLU.*behind a Dropout",
    ),
    "two of them": (nn.Sequential(LINEAR, nn.ReLU(), nn.Tanh()), {}, "follows another activation"),
    "two dropouts": (
        *(nn.Sequential(LINEAR, nn.Dropout(0.5), nn.Dropout(0.5), LINEAR), {}),
        "follows another Dropout",
    ),
    "another epsilon": (
        nn.Sequential(LINEAR, nn.LayerNorm(4, eps=1e-3), LINEAR),
        {},
        "has eps=0.001",
    ),
    "no statistics": (
        nn.Sequential(LINEAR, nn.BatchNorm1d(4, track_running_stats=False), LINEAR),
        {},
        "no running statistics",
    ),
    "widths": (nn.Sequential(LINEAR, nn.Linear(5, 1)), {}, "takes 5 inputs, but there are 4"),
    "widths of slopes": (nn.Sequential(LINEAR, nn.PReLU(3), LINEAR), {}, "has 3 numbers"),
    "width of a norm": (nn.Sequential(LINEAR, nn.BatchNorm1d(3), LINEAR), {}, "has width"),
    "half precision": (nn.Sequential(nn.Linear(4, 1).half()), {}, r"float16.*\.float\(\)"),
    "both precisions": (
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1).double()),
        {},
        "float64, and others are of torch.float32",
    ),
    "a limit": (nn.Sequential(LINEAR, nn.Hardtanh(-2.0, 2.0), LINEAR), {}, "no counterpart"),
    "soft in the middle": (nn.Sequential(LINEAR, nn.LogSoftmax(1), LINEAR), {}, "LogSoftmax"),
    "an end": (nn.Sequential(LINEAR, nn.ReLU()), {"classes": range(4)}, "is followed by relu"),
    "a norm at the end": (nn.Sequential(LINEAR, nn.LayerNorm(4)), {}, "followed by normalization"),
    "an end of classes": (nn.Sequential(LINEAR, nn.Softmax(1)), {}, "Pass its classes"),
    "fewer classes": (nn.Sequential(LINEAR), {"classes": [1, 2, 3]}, "need 3 outputs.* has 4"),
    "equal classes": (nn.Sequential(LINEAR), {"classes": [1, 2, 1, 3]}, "different labels"),
    "several targets": (
        nn.Sequential(LINEAR),
        {"classes": [[1, 2], [1, 2, 3]]},
        "labels of one target",
    ),
    "labels with names": (
        nn.Sequential(LINEAR, nn.Sigmoid()),
        {"classes": list("abcd")},
        r"classes=range\(4\)",
    ),
    "an end that is none of the loss": (
        nn.Sequential(LINEAR, nn.Softmax(1)),
        {"classes": range(4), "loss": "hinge"},
        "ends with softmax",
    ),
    "an unknown loss": (nn.Sequential(LINEAR), {"loss": "mse"}, "loss='squared_error'"),
    "an odd number": (
        nn.Sequential(nn.Linear(4, 3)),
        {"loss": "gaussian_nll"},
        "needs 2 outputs for each target",
    ),
    "all dropped": (nn.Sequential(LINEAR, nn.Dropout(1.0), LINEAR), {}, "dropout"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_estimator_has_is_named(case):
    network, options, expected = REFUSED[case]
    with pytest.raises(ValueError, match=re.compile(expected, re.DOTALL)):
        from_torch(network, **options)


@pytest.mark.parametrize("name", ["Maxout", "ScaledLogistic", "Sinc", "Step", "Blend"])
def test_modules_of_ours_stay_ours(name, monkeypatch):
    """Whatever PyTorch may once have by their names."""
    monkeypatch.setattr(nn, name, nn.Identity, raising=False)
    of = {"ScaledLogistic": "scaled_logistic", "Blend": "blend_tanh"}.get(name, name.lower())
    network = make_network(4, [make_layer(of, 5)], [head_of(("squared_error", "identity"), 1)])
    model, parameters = drawn_model(network)
    sequential = model.to_torch()
    assert type(sequential[1]).__module__ == "skmlp._torch_modules"
    assert_allclose(computed(sequential, X), raw_predictions(network, parameters, X), rtol=1e-12)
    assert_comes_back(network, model, sequential)


# What is written


@pytest.mark.parametrize("public", [from_torch, MLPClassifier.to_torch])
def test_examples_in_docstrings(public):
    """They are passed over where PyTorch is not installed, by a mark that is taken away here."""
    text = copy.copy(public.__doc__).replace("  # doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(text, {}, public.__name__, None, 0)
    failures = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.DocTestRunner(optionflags=flags).run(test, out=failures.append).attempted > 2
    assert not failures, "".join(failures)


def test_examples_in_the_guide():
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(examples) >= 2
    names = {}
    for example in examples:
        exec(example, names)
