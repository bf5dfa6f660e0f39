"""What docs/guide/coming-from.md says of other libraries holds, where these are installed.

Its tables and examples are read from the page: each cell of code is evaluated among the names of
its library. Fits start from the same weights and go through the same batches.
"""

import ast
import contextlib
import doctest
import inspect
import os
import re
import warnings
from functools import partial
from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

import skmlp
from skmlp import MLPClassifier, MLPRegressor, activations, losses, optimizers, schedules
from skmlp._fitted import as_trained
from skmlp._vocabulary import keyword_hint
from skmlp.network.masks import mask, word_of_step

# Keras 3.15 with NumPy 2, wherever one of its variables becomes an array.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "coming-from.md"
TEXT = PAGE.read_text("utf-8")
OURS = {
    **{name: getattr(skmlp, name) for name in ("MLPClassifier", "MLPRegressor")},
    **{
        name: getattr(module, name)
        for module in (activations, schedules)
        for name in module.__all__
    },
    **{name: getattr(optimizers, name) for name in optimizers.__all__},
    **{"Huber": losses.Huber, "Focal": losses.Focal},
}
# So many steps, at this rate, in tests of schedules.
SETTING = {"rate": 0.1, "steps": 70}
SMALL = 1e-30  # an epsilon that does not show wherever it stands
LARGE = 0.01  # and one that does


def table(label):
    """Return the rows of a table of the page, as dictionaries by the heads of its columns."""
    [shown] = re.findall(rf"<!-- {label} -->\n(.*?)<!-- /{label} -->", TEXT, re.DOTALL)
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|\n").split(" | ")]
        for line in shown.replace("| |", "|  |").replace("| |", "|  |").splitlines()
    ]
    assert len(rows) > 6
    return [dict(zip(head, row, strict=True)) for row in rows]


def codes(cell):
    """Return what a cell has between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def code(cell):
    """Return the only code of a cell, None where there is none."""
    return next(iter(codes(cell)), None)


def rows_of(label, library):
    """Return parameters of a test: those rows of a table that say something of a library."""
    rows = [row for row in table(label) if code(row[library])]
    assert rows
    return [pytest.param(row, id=f"{library}-{code(row[library])}") for row in rows]


def block(label):
    """Return an example of the page."""
    [shown] = re.findall(rf"<!-- {label} -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    return shown


@pytest.fixture(scope="module")
def examples():
    """Run the examples of skmlp, one after the other; return what each leaves, by its label."""
    left, names = {}, {}
    with warnings.catch_warnings():
        for label in re.findall(r"<!-- (skmlp: [^>]*) -->", TEXT):
            for example in doctest.DocTestParser().get_examples(block(label)):
                exec(example.source.replace("model = model.fit(X, y", "model.fit(X, y"), names)
            left[label] = dict(names)
    return left


def fitted(model, start, X, y, **params):
    """Fit a clone that starts from given weights and takes rows in their order."""
    given = [[np.array(array) for array in arrays] for arrays in start]
    model = clone(model).set_params(init=tuple(given), shuffle=False, dtype="float64", **params)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*converge")
        return model.fit(X, y)


def drawn_weights(units, seed=0, scale=0.5):
    rng = np.random.default_rng(seed)
    pairs = list(pairwise(units))
    coefs = [scale * rng.normal(size=pair) for pair in pairs]
    return coefs, [0.1 * rng.normal(size=pair[1]) for pair in pairs]


def weights_of(model):
    return [*model.coefs_, *model.intercepts_]


def assert_same_weights(model, theirs, rtol=1e-9, atol=1e-11):
    for ours, other in zip(weights_of(model), theirs, strict=True):
        assert_allclose(ours, other, rtol=rtol, atol=atol)


def are_close(model, theirs, rtol=1e-5, atol=1e-7):
    return all(
        np.allclose(*pair, rtol=rtol, atol=atol)
        for pair in zip(weights_of(model), theirs, strict=True)
    )


# A problem with three classes and a network for it.
UNITS = (6, 9, 5, 3)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(34, UNITS[0]))
CLASSES = np.argmax(X[:, :3] + 0.3 * RNG.normal(size=(34, 3)), axis=1)
START = drawn_weights(UNITS)
PLAIN = {
    "hidden_layer_sizes": UNITS[1:-1],
    "activation": "tanh",
    "alpha": 0.0,
    "n_iter_no_change": np.inf,
    "batch_size": len(X),
}


# What can be said without any other library.


def parameters_here():
    names = {"history_"}
    for estimator in (MLPClassifier, MLPRegressor):
        names |= set(inspect.signature(estimator).parameters)
        names |= {f"fit({name}=)" for name in inspect.signature(estimator.fit).parameters}
    return names


def test_names_of_parameters_are_there():
    missing = {name for row in table("names") for name in codes(row["skmlp"])} - parameters_here()
    assert not missing


def test_other_names_are_answered_with_ours():
    """Those of H2O, and of what belongs to whole networks in Keras."""
    ours = inspect.signature(MLPClassifier).parameters
    wrong, n_right = [], 0
    for row in table("names"):
        expected = code(row["skmlp"])
        theirs = re.sub(r"^(?:fit|compile)\((\w+)=\)$", r"\1", code(row["Keras"]) or "")
        for name in (theirs, code(row["H2O"]) or ""):
            if expected not in ours or not name or name == expected or "(" in name:
                continue
            if repr(expected) in keyword_hint(name, ours):
                n_right += 1
            else:
                wrong.append(f"{name} is not answered with {expected}")
    assert not wrong, wrong
    assert n_right > 10


@pytest.mark.parametrize(
    ("label", "parameter"),
    [
        ("activations", "activation"),
        ("keras optimizers", "solver"),
        ("pytorch optimizers", "solver"),
        ("schedules", "learning_rate"),
        ("initializers", "init"),
    ],
)
def test_values_are_taken(label, parameter):
    for row in table(label):
        model = MLPClassifier(**{parameter: eval(code(row["skmlp"]), OURS)})
        model._validate_params()


# Of the mean of a batch's losses Keras on PyTorch computes a step in single precision, whatever
# else it is told: the division by the number of samples.
KERAS = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="needs PyTorch")
    before = module.get_default_dtype(), module.get_num_threads()
    module.set_default_dtype(module.float64)
    module.set_num_threads(1)  # more wait for each other in networks as small as these
    yield module
    module.set_default_dtype(before[0])
    module.set_num_threads(before[1])


@pytest.fixture(scope="module")
def keras(torch):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    module = pytest.importorskip("keras", reason="needs Keras")
    if module.backend.backend() != "torch":
        pytest.skip("needs Keras on PyTorch")
    before = module.config.floatx(), module.config.dtype_policy()
    module.config.set_floatx("float64")
    module.config.set_dtype_policy("float64")
    yield module
    module.config.set_floatx(before[0])
    module.config.set_dtype_policy(before[1])


def keras_names(keras, *modules):
    names = {"partial": partial, **SETTING}
    for module in modules:
        names.update({name: getattr(module, name) for name in dir(module) if name[0] != "_"})
    return names


def keras_network(keras, start=START, last="softmax", **dense):
    coefs, intercepts = start
    network = keras.Sequential([keras.layers.Input((len(coefs[0]),))])
    for i, coef in enumerate(coefs):
        activation = last if i == len(coefs) - 1 else "tanh"
        network.add(keras.layers.Dense(coef.shape[1], activation=activation, **dense))
    network.set_weights([array for pair in zip(coefs, intercepts, strict=True) for array in pair])
    return network


def keras_weights(network):
    arrays = [
        keras_variable.numpy() if hasattr(keras_variable, "numpy") else keras_variable
        for layer in network.layers
        for keras_variable in layer.get_weights()[:2]
        if layer.name.startswith("dense")
    ]
    return [*arrays[::2], *arrays[1::2]]


def torch_network(torch, start=START):
    layers = []
    for coef, intercept in zip(*start, strict=True):
        linear = torch.nn.Linear(*coef.shape)
        linear.weight.data = torch.tensor(coef.T.copy())
        linear.bias.data = torch.tensor(intercept.copy())
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def torch_weights(network):
    parameters = [parameter.detach().numpy().T for parameter in network.parameters()]
    return [*parameters[::2], *parameters[1::2]]


GRID = np.linspace(-6.0, 6.0, 70).reshape(10, 7)


@pytest.mark.parametrize("row", rows_of("activations", "Keras"))
def test_activations_of_keras(keras, row):
    names = keras_names(keras, keras.activations)
    names |= {"LeakyReLU": keras.layers.LeakyReLU, "ELU": keras.layers.ELU}
    theirs = eval(code(row["Keras"]), names)(keras.ops.convert_to_tensor(GRID))
    ours, _ = activations.evaluate(eval(code(row["skmlp"]), OURS), GRID)
    assert_allclose(ours, keras.ops.convert_to_numpy(theirs), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("row", rows_of("activations", "PyTorch"))
def test_activations_of_pytorch(torch, row):
    theirs = eval(code(row["PyTorch"]), vars(torch.nn).copy())(torch.tensor(GRID))
    ours, _ = activations.evaluate(eval(code(row["skmlp"]), OURS), GRID)
    assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-14)


TARGETS = {
    "binary": X[:, 0] > 0.2,
    "classes": CLASSES,
    "labels": (X[:, :3] > 0).astype(int),
    "numbers": 2.0 * X[:, 0] + X[:, 1],
    "targets": X[:, :2] * [2.0, 1.0] + 0.3,
    "counts": np.round(np.exp(0.4 * X[:, 0])),
    "numbers, with a variance": 2.0 * X[:, 0] + X[:, 1],
}
N_OUTPUTS = {"classes": 3, "labels": 3, "targets": 2, "numbers, with a variance": 2}
LINKS = {
    "BinaryCrossentropy": "sigmoid",
    "BinaryFocalCrossentropy": "sigmoid",
    "SparseCategoricalCrossentropy": "softmax",
    "Poisson": "exponential",
}


def check_loss(torch, row, loss_of, rtol=1e-9):
    """Compare a loss and its gradient; ``loss_of(raw, y)`` is theirs, y of shape (n, outputs)."""
    kind = row["y"]
    y = TARGETS[kind]
    coefs, intercepts = drawn_weights((X.shape[1], N_OUTPUTS.get(kind, 1)), scale=0.2)
    model = eval(code(row["skmlp"]), OURS).set_params(hidden_layer_sizes=(), solver="sgd")
    model.set_params(momentum=0.0, alpha=0.0, learning_rate_init=1.0, max_iter=1)
    model = fitted(model, (coefs, intercepts), X, y, batch_size=len(X))
    factor = eval(code(row["factor"]), {"n_labels": 3, "n_targets": 2})

    weights = [torch.tensor(array, requires_grad=True) for array in (coefs[0], intercepts[0])]
    raw = torch.tensor(X) @ weights[0] + weights[1]
    y = torch.tensor(y if y.ndim == 2 or kind == "classes" else y[:, np.newaxis])
    loss = loss_of(raw, y if kind == "classes" else y.to(raw.dtype))
    loss.backward()
    for ours, start, theirs in zip(
        weights_of(model), (coefs[0], intercepts[0]), weights, strict=True
    ):
        assert_allclose(factor * (start - ours), theirs.grad.numpy(), rtol=rtol, atol=1e-3 * rtol)
    if "constant" not in row["factor"]:
        assert_allclose(factor * model.loss_curve_[0], loss.item(), rtol=rtol)


@pytest.mark.parametrize("row", rows_of("losses", "Keras"))
def test_losses_of_keras(keras, torch, row):
    loss = eval(code(row["Keras"]), vars(keras.losses).copy())
    link = getattr(keras.activations, LINKS.get(type(loss).__name__, "linear"))
    check_loss(torch, row, lambda raw, y: loss(y, link(raw)), rtol=1e-5)


@pytest.mark.parametrize("row", rows_of("losses", "PyTorch"))
def test_losses_of_pytorch(torch, row):
    loss = eval(code(row["PyTorch"]), vars(torch.nn).copy())
    if row["y"] == "numbers, with a variance":
        check_loss(torch, row, lambda raw, y: loss(raw[:, :1], y, raw[:, 1:].exp()))
    else:
        check_loss(torch, row, loss)


def check_epsilon(row, theirs):
    """Compare what is too small to be told from weights."""
    assert eval(code(row["skmlp"]), OURS).get_params().get("epsilon") == theirs


def check_optimizer(row, weights_after, **tolerance):
    """Compare six steps; ``weights_after(epsilon, decays_all)`` are theirs."""
    elsewhere = "place of epsilon" in row["difference"]
    solver = eval(code(row["skmlp"]), OURS)
    model = MLPClassifier(**PLAIN, solver=solver, learning_rate_init=0.02, max_iter=6)
    epsilons = [SMALL if elsewhere else None]
    if "epsilon" in solver.get_params():
        epsilons.append(LARGE)
    for epsilon in epsilons:
        if epsilon is not None:
            model.set_params(solver__epsilon=epsilon)
        ours = fitted(model, START, X, CLASSES)
        if elsewhere and epsilon == LARGE:
            assert not are_close(ours, weights_after(epsilon))
        else:
            assert_same_weights(ours, weights_after(epsilon), **tolerance)
    if "intercepts do not decay" in row["difference"]:
        ours = fitted(model.set_params(solver__epsilon=SMALL), START, X, CLASSES)
        assert not are_close(ours, weights_after(SMALL, decays_all=True))


@pytest.mark.parametrize("row", rows_of("keras optimizers", "Keras"))
def test_optimizers_of_keras(keras, row):
    def weights_after(epsilon, decays_all=False):
        network = keras_network(keras)
        optimizer = eval(code(row["Keras"]), vars(keras.optimizers).copy())
        check_epsilon(row, getattr(optimizer, "epsilon", None))
        optimizer.learning_rate = 0.02
        if epsilon is not None:
            optimizer.epsilon = epsilon
        if optimizer.weight_decay and not decays_all:
            optimizer.exclude_from_weight_decay(var_names=["bias"])
        network.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
        network.fit(X, CLASSES, epochs=6, batch_size=len(X), shuffle=False, verbose=0)
        return keras_weights(network)

    check_optimizer(row, weights_after, **KERAS)


def torch_groups(network):
    """Return groups of parameters, of which intercepts do not decay."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim == 2]},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("row", rows_of("pytorch optimizers", "PyTorch"))
def test_optimizers_of_pytorch(torch, row):
    def weights_after(epsilon, decays_all=False):
        network = torch_network(torch)
        decays_not = "intercepts do not decay" in row["difference"] and not decays_all
        groups = torch_groups(network) if decays_not else network.parameters()
        names = {
            name: partial(cls, groups)
            for name, cls in vars(torch.optim).items()
            if inspect.isclass(cls)
        }
        optimizer = eval(code(row["PyTorch"]), names)
        check_epsilon(row, optimizer.defaults.get("eps"))
        for group in optimizer.param_groups:
            group["lr"] = 0.02
            if epsilon is not None:
                group["eps"] = epsilon
        for _ in range(6):
            optimizer.zero_grad()
            raw = network(torch.tensor(X))
            torch.nn.functional.cross_entropy(raw, torch.tensor(CLASSES)).backward()
            optimizer.step()
        return torch_weights(network)

    check_optimizer(row, weights_after)


NUMBERS = {"l1": 0.01, "l2": 0.02, "batch_size": 17}


def check_penalty(row, limit, weights_after, **tolerance):
    """Compare some epochs of two batches each; ``weights_after(start, numbers)`` are theirs."""
    numbers = NUMBERS | {"limit": limit}
    coefs, intercepts = START
    if "max_norm" in row["skmlp"]:  # which holds before the first step too
        coefs = [coef * np.minimum(1.0, limit / np.linalg.norm(coef, axis=0)) for coef in coefs]
    start = coefs, intercepts
    model = MLPClassifier(**PLAIN, solver="sgd", momentum=0.0, learning_rate_init=0.2, max_iter=4)
    model.set_params(batch_size=17)
    without = fitted(model, start, X, CLASSES)
    model.set_params(**eval(f"dict({code(row['skmlp'])})", numbers))
    model = fitted(model, start, X, CLASSES)
    theirs = weights_after(start, numbers)
    assert not are_close(without, theirs)
    assert_same_weights(
        model, theirs, **{"rtol": 1e-5} if "to 1e-" in row["difference"] else tolerance
    )


def penalties_of(library):
    rows = [row for row in table("penalties") if row["library"] == library]
    assert len(rows) > 1
    return [pytest.param(row, id=code(row["theirs"])) for row in rows]


LIMITS = {"max_norm": 0.8, "clip_norm": 0.1, "clip_value": 0.01}


def limit_of(row):
    return LIMITS.get(code(row["skmlp"]).partition("=")[0], 0.0)


@pytest.mark.parametrize("row", penalties_of("Keras"))
def test_penalties_of_keras(keras, row):
    def weights_after(start, numbers):
        names = keras_names(keras, keras.regularizers, keras.constraints) | numbers
        names |= {"Dense": lambda **options: (options, {}), "SGD": lambda **options: ({}, options)}
        dense, options = eval(code(row["theirs"]), names)
        network = keras_network(keras, start, **dense)
        optimizer = keras.optimizers.SGD(0.2, **options)
        network.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
        network.fit(X, CLASSES, epochs=4, batch_size=17, shuffle=False, verbose=0)
        return keras_weights(network)

    check_penalty(row, limit_of(row), weights_after, **KERAS)


@pytest.mark.parametrize("row", penalties_of("PyTorch"))
def test_penalties_of_pytorch(torch, row):
    def weights_after(start, numbers):
        network = torch_network(torch, start)
        names = vars(torch.nn.utils) | numbers | {"parameters": list(network.parameters())}
        is_optimizer = code(row["theirs"]).startswith("SGD")
        names["SGD"] = partial(torch.optim.SGD, torch_groups(network), lr=0.2)
        optimizer = eval(code(row["theirs"]) if is_optimizer else "SGD()", names)
        for _ in range(4):
            for batch in (slice(17), slice(17, 34)):
                optimizer.zero_grad()
                raw = network(torch.tensor(X[batch]))
                torch.nn.functional.cross_entropy(raw, torch.tensor(CLASSES[batch])).backward()
                if not is_optimizer:
                    eval(code(row["theirs"]), names)
                optimizer.step()
        return torch_weights(network)

    check_penalty(row, limit_of(row), weights_after)


def our_rates(row):
    steps = SETTING["steps"]
    model = MLPRegressor(
        hidden_layer_sizes=(), solver="sgd", max_iter=steps, n_iter_no_change=np.inf
    )
    model.set_params(
        learning_rate=eval(code(row["skmlp"]), OURS), learning_rate_init=SETTING["rate"]
    )
    start = [np.zeros((1, 1))], [np.zeros(1)]
    return fitted(model, start, [[0.0], [1.0]], [0.0, 1.0], batch_size=2).history_["learning_rate"]


@pytest.mark.parametrize("row", rows_of("schedules", "Keras"))
def test_schedules_of_keras(keras, row):
    schedule = eval(code(row["Keras"]), keras_names(keras, keras.optimizers.schedules))
    theirs = [float(schedule(np.float64(step))) for step in range(SETTING["steps"])]
    assert_allclose(our_rates(row), theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("row", rows_of("schedules", "PyTorch"))
def test_schedules_of_pytorch(torch, row):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=SETTING["rate"])
    names = vars(torch.optim.lr_scheduler) | SETTING | {"optimizer": optimizer}
    schedule = eval(code(row["PyTorch"]), names)
    theirs = []
    for _ in range(SETTING["steps"]):
        theirs += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert_allclose(our_rates(row), theirs, rtol=1e-10, atol=1e-14)


def first_weights(init):
    """Return what a layer of 200 units with 300 inputs starts with."""
    model = MLPClassifier(
        (200,), init=init, solver="sgd", learning_rate_init=1e-300, random_state=0
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*converge")
        model.set_params(max_iter=1).fit(np.eye(4, 300), [0, 1, 0, 1])
    return model.coefs_[0], model.intercepts_[0]


def check_initializer(row, theirs):
    ours, intercepts = first_weights(eval(code(row["skmlp"]), OURS))
    has_intercepts = any(name in row["skmlp"] for name in ("glorot_uniform", "fan_in_uniform"))
    assert (abs(intercepts).max() > 1e-200) == has_intercepts
    if "orthogonal" in row["skmlp"]:
        for coef in (ours, theirs):
            assert_allclose(coef.T @ coef, np.eye(200), atol=1e-6)
    # By far more than the deviations of 60,000 draws.
    assert_allclose(ours.std(), theirs.std(), rtol=0.015)
    return ours


@pytest.mark.parametrize("row", rows_of("initializers", "Keras"))
def test_initializers_of_keras(keras, row):
    theirs = eval(code(row["Keras"]), vars(keras.initializers).copy())((300, 200))
    theirs = keras.ops.convert_to_numpy(theirs)
    ours = check_initializer(row, theirs)
    if "Uniform" in row["Keras"]:
        assert_allclose(abs(ours).max(), abs(theirs).max(), rtol=0.001)


@pytest.mark.parametrize("row", rows_of("initializers", "PyTorch"))
def test_initializers_of_pytorch(torch, row):
    names = vars(torch.nn.init) | {"partial": partial}
    theirs = torch.empty(200, 300)
    eval(code(row["PyTorch"]), names)(theirs)
    ours = check_initializer(row, theirs.numpy().T)
    quantiles = [np.quantile(abs(array), [0.25, 0.5, 0.75]) for array in (ours, theirs.numpy())]
    assert_allclose(*quantiles, rtol=0.03)


def test_layers_start_as_the_page_says(keras, torch, examples):
    dense = keras.layers.Dense(200)
    dense.build((None, 300))
    kernel, bias = dense.get_weights()
    assert_allclose(abs(kernel).max(), np.sqrt(6 / 500), rtol=0.001)
    assert not bias.any()
    linear = torch.nn.Linear(8, 2000)
    coefs, intercepts = examples["skmlp: linear"]["model"].init
    for ours, theirs in ((coefs, linear.weight), (intercepts, linear.bias)):
        largest = max(
            abs(array).max() / bound
            for array, bound in zip(ours, (8**-0.5, 12**-0.5, 8**-0.5), strict=True)
        )
        assert 0.9 < largest <= 1.0
        assert_allclose(theirs.abs().max().item(), 8**-0.5, rtol=0.01)


def keras_start(model):
    arrays = model.get_weights()
    return arrays[::2], arrays[1::2]


def run_keras(names, source):
    """Run an example but for its call of fit; return the initial weights and what that returns."""
    *building, fit = ast.parse(source).body
    exec(compile(ast.Module(building, []), "example", "exec"), names)
    start = keras_start(names["model"])
    for option, value in (("shuffle", False), ("verbose", 0)):
        fit.value.keywords.append(ast.keyword(option, ast.Constant(value)))
    module = ast.fix_missing_locations(ast.Module([fit], []))
    exec(compile(module, "example", "exec"), names)
    return start, names["history"].history


def test_network_of_keras(keras, examples):
    keras.utils.set_random_seed(0)
    left = examples["skmlp: keras, exactly"]
    names = {"keras": keras, "X": left["X"], "y": left["y"]}
    start, history = run_keras(names, block("keras"))
    assert left["model"].epsilon == names["model"].optimizer.epsilon
    model = fitted(left["model"], start, left["X"], left["y"])
    assert_allclose(model.loss_curve_, history["loss"], rtol=1e-6)
    assert_same_weights(model, keras_weights(names["model"]), rtol=1e-5, atol=1e-6)
    probabilities = names["model"].predict(left["X"], verbose=0).ravel()
    assert_allclose(model.predict_proba(left["X"])[:, 1], probabilities, rtol=1e-6)


def test_stopping_of_keras(keras, examples):
    left = examples["skmlp: stopping"]
    keras.utils.set_random_seed(0)
    names = {"keras": keras} | {name: left[name] for name in ("X", "y", "X_val", "y_val")}
    building = block("keras").rpartition("history =")[0]
    start, history = run_keras(names, building + block("keras: stopping"))
    given = {"X_val": left["X_val"], "y_val": left["y_val"]}
    init = tuple([np.array(array) for array in arrays] for arrays in start)
    model = (
        clone(left["model"]).set_params(init=init, shuffle=False).fit(left["X"], left["y"], **given)
    )
    assert model.stop_reason_ == "no_improvement"
    assert 5 < model.n_iter_ < 200
    assert_allclose(model.validation_loss_curve_, history["val_loss"], rtol=1e-5)
    assert_allclose(model.history_["learning_rate"], history["learning_rate"], rtol=1e-6)
    assert len(set(history["learning_rate"])) > 1
    assert_same_weights(model, keras_weights(names["model"]), rtol=1e-5, atol=1e-6)


def test_class_weights(keras, torch):
    """Of PyTorch as they are; a step of Keras is the mean weight times as large."""
    class_weight = {0: 1.0, 1: 3.0, 2: 0.5}
    mean = np.mean([class_weight[label] for label in CLASSES])
    model = MLPClassifier(**PLAIN, solver="sgd", momentum=0.0, max_iter=3)
    ours = {
        rate: fitted(model, START, X, CLASSES, class_weight=class_weight, learning_rate_init=rate)
        for rate in (0.1, 0.1 * mean)
    }
    network = keras_network(keras)
    network.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    options = {"batch_size": len(X), "shuffle": False, "verbose": 0}
    network.fit(X, CLASSES, epochs=3, class_weight=class_weight, **options)
    assert_same_weights(ours[0.1 * mean], keras_weights(network), **KERAS)
    network = torch_network(torch)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor(list(class_weight.values())))
    for _ in range(3):
        optimizer.zero_grad()
        loss(network(torch.tensor(X)), torch.tensor(CLASSES)).backward()
        optimizer.step()
    assert_same_weights(ours[0.1], torch_weights(network))


class Dropout:
    """Stands in for PyTorch's function: with the masks of a fit of ours, layer after layer."""

    def __init__(self, torch, seed, n_layers):
        self.torch, self.seed, self.n_layers, self.calls = torch, seed, n_layers, 0

    def __call__(self, values, p=0.5, training=True, inplace=False):
        if not training:
            return values
        step, layer = divmod(self.calls, self.n_layers)
        self.calls += 1
        kept = mask(word_of_step(self.seed, step + 1), layer + 1, *values.shape, p)
        return values * self.torch.tensor(kept != 0.0) / (1.0 - p)


def test_network_of_pytorch(torch, examples, monkeypatch):
    left = examples["skmlp: pytorch"]
    names = {"torch": torch, "nn": torch.nn}
    names |= {"X": torch.tensor(left["X"]), "y": torch.tensor(left["y"])}
    # The mean of each epoch's losses is looked at, as loss_curve_ has it.
    *building, loop = ast.parse(block("pytorch")).body
    loop.body[0].body += ast.parse("curve.append(loss.item())").body
    torch.manual_seed(0)
    exec(compile(ast.Module(building, []), "example", "exec"), names)
    for group in names["optimizer"].param_groups:
        group["eps"] = SMALL
    linear = [layer for layer in names["net"] if isinstance(layer, torch.nn.Linear)]
    start = (
        [m.weight.detach().numpy().T for m in linear],
        [m.bias.detach().numpy() for m in linear],
    )
    model = fitted(left["model"], start, left["X"], left["y"], epsilon=SMALL)
    monkeypatch.setattr(torch.nn.functional, "dropout", Dropout(torch, model._state.mask_seed, 2))
    names["curve"] = []
    exec(compile(ast.Module([loop], []), "example", "exec"), names)
    assert_allclose(model.loss_curve_, np.reshape(names["curve"], (10, 5)).mean(axis=1), rtol=1e-7)
    for ours, layer in zip(as_trained(model).coefs, linear, strict=True):
        assert_allclose(ours, layer.weight.detach().numpy().T, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalizations(keras, torch, normalization):
    """In training and in predictions, with what Keras has otherwise set to what we have."""
    model = MLPClassifier(**PLAIN, solver="sgd", normalization=normalization, max_iter=5)
    model.set_params(learning_rate_init=0.05, momentum=0.0)
    model = fitted(model, START, X, CLASSES)

    norms = {"batch": torch.nn.BatchNorm1d, "layer": torch.nn.LayerNorm}
    layers = list(torch_network(torch))
    for place, units in ((3, UNITS[2]), (1, UNITS[1])):
        layers.insert(place, norms[normalization](units))
    network = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            network(torch.tensor(X)), torch.tensor(CLASSES)
        ).backward()
        optimizer.step()
    theirs = network.eval()(torch.tensor(X)).softmax(1).detach().numpy()
    assert_allclose(model.predict_proba(X), theirs, rtol=1e-9)

    def norm():
        if normalization == "layer":
            return keras.layers.LayerNormalization(epsilon=1e-5)
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)

    dense = [keras.layers.Dense(units) for units in UNITS[1:]]
    tanh = keras.activations.tanh
    network = keras.Sequential([keras.layers.Input((UNITS[0],))])
    for layer in dense[:-1]:
        for added in (layer, norm(), keras.layers.Activation(tanh)):
            network.add(added)
    network.add(dense[-1])
    network.add(keras.layers.Softmax())
    for layer, *arrays in zip(dense, *START, strict=True):
        layer.set_weights(arrays)
    network.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
    options = {"batch_size": len(X), "shuffle": False, "verbose": 0}
    history = network.fit(X, CLASSES, epochs=5, **options).history
    assert_allclose(model.loss_curve_, history["loss"], rtol=1e-6)
    # Its running variances are those of batches, where ours are n / (n - 1) times as large.
    n, left = len(X), 0.9**5
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gain, shift, mean, variance = layer.get_weights()
            layer.set_weights([gain, shift, mean, left + n / (n - 1) * (variance - left)])
    assert_allclose(model.predict_proba(X), network.predict(X, verbose=0), rtol=1e-6)


# H2O.


@pytest.fixture(scope="module")
def h2o():
    module = pytest.importorskip("h2o", reason="needs H2O")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files and sockets that it leaves to be collected
        module.init(nthreads=1, max_mem_size="1g", strict_version_check=False, verbose=False)
        module.no_progress()
        yield module
        module.cluster().shutdown()


def h2o_frame(h2o, X, y):
    columns = [f"x{i}" for i in range(X.shape[1])]
    frame = h2o.H2OFrame(np.column_stack([X, y]).tolist(), column_names=[*columns, "y"])
    frame["y"] = frame["y"].asfactor()
    return columns, frame


# Where it computes reproducibly H2O goes through the rows one by one, in an order of its own.
THREE = [int(np.argmax(label == CLASSES)) for label in range(3)]  # one row of each class
H2O_SETTINGS = {
    "hidden": list(UNITS[1:-1]),
    "epochs": 2,
    "seed": 1,
    "reproducible": True,
    "shuffle_training_data": False,
    "standardize": False,
    "train_samples_per_iteration": 0,
    "stopping_rounds": 0,
    "overwrite_with_best_model": False,
    "export_weights_and_biases": True,
}
H2O_SGD = {"adaptive_rate": False, "rate": 0.1, "rate_annealing": 0.0}
PLAIN_SGD = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1}


def h2o_weights(h2o, start, **settings):
    from h2o.estimators import H2ODeepLearningEstimator

    coefs, intercepts = start
    features, frame = h2o_frame(h2o, X[THREE], CLASSES[THREE])
    model = H2ODeepLearningEstimator(
        initial_weights=[h2o.H2OFrame(coef.T.tolist()) for coef in coefs],
        initial_biases=[
            h2o.H2OFrame(intercept[:, np.newaxis].tolist()) for intercept in intercepts
        ],
        **H2O_SETTINGS | settings,
    )
    model.train(x=features, y="y", training_frame=frame)

    def arrays(of_layer):
        frames = [of_layer(layer) for layer in range(len(coefs))]
        return [
            np.array(frame.as_data_frame(use_pandas=False, header=False), float) for frame in frames
        ]

    return [*(w.T for w in arrays(model.weights)), *(b.ravel() for b in arrays(model.biases))]


def h2o_penalty(name):
    [row] = [row for row in table("penalties") if code(row["theirs"]).startswith(name)]
    return code(row["theirs"]), code(row["skmlp"])


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("theirs", "ours", "wrong", "atol"),
    [
        ("activation='Tanh'", "activation='tanh'", "activation='relu'", 1e-6),
        ("activation='Rectifier'", "activation='relu'", "activation='tanh'", 1e-6),
        # It penalizes intercepts, which start at zero here, and takes roots approximately.
        (*h2o_penalty("l2"), "alpha=l2 / 2", 2.5e-3),
        (*h2o_penalty("max_w2"), "max_norm=limit**2", 0.04),
    ],
)
def test_steps_of_h2o(h2o, theirs, ours, wrong, atol):
    numbers = {"l2": 0.02, "limit": 0.8, "batch_size": 1}
    settings = {"activation": "Tanh"} | H2O_SGD | eval(f"dict({theirs})", numbers)
    start = START[0], [np.zeros_like(intercept) for intercept in START[1]]
    weights = h2o_weights(h2o, start, **settings)

    def agrees(**params):
        """Whether there are orders of three rows, in two epochs, that lead to their weights."""
        model = MLPClassifier(**PLAIN | PLAIN_SGD).set_params(batch_size=1, max_iter=1)
        model.set_params(**params)
        orders = [[*a, *b] for a, b in product(permutations(THREE), repeat=2)]
        fits = [fitted(model, start, X[order], CLASSES[order]) for order in orders]
        return any(are_close(fit, weights, atol=atol) for fit in fits)

    assert agrees(**eval(f"dict({ours})", numbers))
    assert not agrees(**eval(f"dict({wrong})", numbers))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_example_of_h2o(h2o, examples):
    from h2o.estimators import H2ODeepLearningEstimator

    left = examples["skmlp: h2o"]
    features, frame = h2o_frame(h2o, left["X"], left["y"])
    names = {"features": features, "frame": frame}
    names["H2ODeepLearningEstimator"] = H2ODeepLearningEstimator
    exec(block("h2o"), names)
    layers = names["model"].summary().as_data_frame()
    assert list(layers["units"]) == [8, *left["model"].hidden_layer_sizes, 3]


# fastai.


@pytest.fixture(scope="module")
def fastai(torch):
    pytest.importorskip("fastai", reason="needs fastai")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports
        from fastai.callback import schedule, tracker, training
        from fastai.tabular import all as tabular
    return {**vars(tracker), **vars(training), **vars(schedule), **vars(tabular), **SETTING}


@pytest.mark.parametrize("row", rows_of("schedules", "fastai"))
def test_schedules_of_fastai(fastai, row):
    schedule = eval(code(row["fastai"]), fastai)
    theirs = [schedule(step / SETTING["steps"]) for step in range(SETTING["steps"])]
    # In single precision.
    assert_allclose(our_rates(row), np.array(theirs, float), rtol=2e-5)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
def test_network_of_fastai(fastai, torch, examples, monkeypatch):
    import pandas as pd

    model = examples["skmlp: fastai"]["model"]
    rng = np.random.default_rng(0)
    table = rng.normal(size=(256, 8)).astype(np.float32)  # four whole batches
    y = np.argmax(table[:, :3], axis=1)
    torch.set_default_dtype(torch.float32)
    try:
        names = [f"x{i}" for i in range(8)]
        data = fastai["TabularPandas"](
            pd.DataFrame(table, columns=names).assign(y=y),
            cont_names=names,
            y_names="y",
            y_block=fastai["CategoryBlock"](),
            splits=(list(range(256)), list(range(64))),
        )
        dls = data.dataloaders(bs=64, shuffle=False, drop_last=False)
        torch.manual_seed(0)
        building, _, fit = block("fastai").partition("learn.fit")
        left = dict(fastai) | {"dls": dls}
        exec(building, left)
        learn = left["learn"]
        linear = [m for m in learn.model.modules() if isinstance(m, torch.nn.Linear)]
        start = (
            [m.weight.detach().numpy().T for m in linear],
            [m.bias.detach().numpy() for m in linear],
        )
        settings = model.solver.get_params() | {"epsilon": 1e-12}
        model = fitted(model, start, table, y, solver=type(model.solver)(**settings))
        # Its place is another one, as the page says: it is too small to matter here.
        learn.opt_func = partial(learn.opt_func, eps=1e-12)
        monkeypatch.setattr(
            torch.nn.functional, "dropout", Dropout(torch, model._state.mask_seed, 2)
        )
        with learn.no_bar(), learn.no_logging():
            exec("learn.fit" + fit, left)
        losses_seen = [float(loss) for loss in learn.recorder.losses]
        for ours, layer in zip(as_trained(model).coefs, linear, strict=True):
            assert_allclose(ours, layer.weight.detach().numpy().T, rtol=1e-3, atol=1e-4)
        assert len(losses_seen) == 16
        assert_allclose(learn.recorder.lrs[:: len(dls.train)], [0.0004, *learn.recorder.lrs[4::4]])
        assert_allclose(learn.recorder.lrs[3::4], model.history_["learning_rate"], rtol=1e-4)
    finally:
        torch.set_default_dtype(torch.float64)


# Names and defaults.


def test_names_of_keras(keras):
    places = {"fit": keras.Model.fit, "compile": keras.Model.compile}
    places |= {"set_random_seed": keras.utils.set_random_seed, "Adam": keras.optimizers.Adam}
    check_names("Keras", vars(keras.layers) | vars(keras.callbacks) | places)


def test_names_of_pytorch(torch):
    places = vars(torch.nn) | vars(torch.optim) | vars(torch.nn.utils)
    places |= {"DataLoader": torch.utils.data.DataLoader, "manual_seed": torch.manual_seed}
    check_names("PyTorch", places)


def test_names_of_fastai(fastai):
    places = dict(fastai) | {"fit_one_cycle": fastai["Learner"].fit_one_cycle}
    check_names("fastai", places)


def test_names_of_h2o(h2o):
    from h2o.estimators import H2ODeepLearningEstimator

    names = {code(row["H2O"]) for row in table("names")} - {None}
    assert not names - set(inspect.signature(H2ODeepLearningEstimator).parameters)


def check_names(library, places):
    missing = []
    for row in table("names"):
        if code(row[library]):
            place, name = re.fullmatch(r"(\w+)\((\w+)=\)", code(row[library])).groups()
            if name not in parameters_of(places[place]):
                missing.append(code(row[library]))
    assert not missing


def parameters_of(place):
    """Return the names that a function takes, or a class of optimizers through its bases."""
    owners = place.__mro__ if inspect.isclass(place) else [place]
    found = set()
    for owner in owners:
        with contextlib.suppress(ValueError, TypeError):
            found |= set(inspect.signature(owner).parameters)
    return found


def defaults(library):
    """Return the defaults that the page has for a library, by what they are of."""
    rows = table("defaults")
    return {row[""]: code(row[library]) for row in rows if code(row[library])}


def default_of(function, name):
    return inspect.signature(function).parameters[name].default


def test_defaults_here():
    from skmlp.network.normalization import EPSILON

    model = MLPClassifier()
    expected = {
        "hidden layers": model.hidden_layer_sizes,
        "epochs": model.max_iter,
        "batch size": model.batch_size,
        **{
            f"learning rate of {name}": model.learning_rate_init
            for name in ("SGD", "Adam", "Adadelta")
        },
        "momentum of SGD": model.momentum,
        "Nesterov's momentum": model.nesterovs_momentum,
        "beta_2 of Adam": model.beta_2,
        "epsilon of Adam": model.epsilon,
        "weight decay of AdamW": optimizers.AdamW().weight_decay,
        "rho of RMSprop": optimizers.RMSprop().rho,
        "rho of Adadelta": optimizers.Adadelta().rho,
        "epsilon of Adadelta": optimizers.Adadelta().epsilon,
        "slope of LeakyReLU": activations.LeakyReLU().negative_slope,
        "epsilon of batch normalization": EPSILON,
        "what a batch counts in running statistics": 0.1,
        "epsilon of layer normalization": EPSILON,
        "patience": model.n_iter_no_change,
    }
    assert defaults("skmlp") == {name: repr(value) for name, value in expected.items()}


def test_defaults_of_keras(keras):
    layers, solvers = keras.layers, keras.optimizers
    expected = {
        "epochs": default_of(keras.Model.fit, "epochs"),
        "batch size": 32,  # of fit(batch_size=None), by its documentation
        "learning rate of SGD": default_of(solvers.SGD, "learning_rate"),
        "momentum of SGD": solvers.SGD().momentum,
        "Nesterov's momentum": solvers.SGD().nesterov,
        "learning rate of Adam": default_of(solvers.Adam, "learning_rate"),
        "beta_2 of Adam": solvers.Adam().beta_2,
        "epsilon of Adam": solvers.Adam().epsilon,
        "weight decay of AdamW": solvers.AdamW().weight_decay,
        "rho of RMSprop": solvers.RMSprop().rho,
        "learning rate of Adadelta": default_of(solvers.Adadelta, "learning_rate"),
        "rho of Adadelta": solvers.Adadelta().rho,
        "epsilon of Adadelta": solvers.Adadelta().epsilon,
        "slope of LeakyReLU": layers.LeakyReLU().negative_slope,
        "epsilon of batch normalization": layers.BatchNormalization().epsilon,
        "what a batch counts in running statistics": round(
            1.0 - layers.BatchNormalization().momentum, 12
        ),
        "epsilon of layer normalization": layers.LayerNormalization().epsilon,
        "patience": keras.callbacks.EarlyStopping().patience,
    }
    assert defaults("Keras") == {name: repr(value) for name, value in expected.items()}


def test_defaults_of_pytorch(torch):
    solvers, layers = torch.optim, torch.nn
    expected = {
        "batch size": default_of(torch.utils.data.DataLoader, "batch_size"),
        "learning rate of SGD": default_of(solvers.SGD, "lr"),
        "momentum of SGD": float(default_of(solvers.SGD, "momentum")),
        "Nesterov's momentum": default_of(solvers.SGD, "nesterov"),
        "learning rate of Adam": default_of(solvers.Adam, "lr"),
        "beta_2 of Adam": default_of(solvers.Adam, "betas")[1],
        "epsilon of Adam": default_of(solvers.Adam, "eps"),
        "weight decay of AdamW": default_of(solvers.AdamW, "weight_decay"),
        "rho of RMSprop": default_of(solvers.RMSprop, "alpha"),
        "learning rate of Adadelta": default_of(solvers.Adadelta, "lr"),
        "rho of Adadelta": default_of(solvers.Adadelta, "rho"),
        "epsilon of Adadelta": default_of(solvers.Adadelta, "eps"),
        "slope of LeakyReLU": layers.LeakyReLU().negative_slope,
        "epsilon of batch normalization": layers.BatchNorm1d(3).eps,
        "what a batch counts in running statistics": layers.BatchNorm1d(3).momentum,
        "epsilon of layer normalization": layers.LayerNorm(3).eps,
    }
    assert defaults("PyTorch") == {name: repr(value) for name, value in expected.items()}


def test_defaults_of_h2o(h2o):
    from h2o.estimators import H2ODeepLearningEstimator

    names = {
        "hidden layers": "hidden",
        "epochs": "epochs",
        "batch size": "mini_batch_size",
        "learning rate of SGD": "rate",
        "momentum of SGD": "momentum_start",
        "Nesterov's momentum": "nesterov_accelerated_gradient",
        "rho of Adadelta": "rho",
        "epsilon of Adadelta": "epsilon",
        "patience": "stopping_rounds",
    }
    expected = {of: default_of(H2ODeepLearningEstimator, name) for of, name in names.items()}
    assert defaults("H2O") == {of: repr(value) for of, value in expected.items()}


def test_defaults_of_fastai(fastai, torch):
    learner = fastai["Learner"].__init__
    expected = {
        "hidden layers": [200, 100],  # of tabular_learner(layers=None), by its documentation
        "batch size": default_of(fastai["TabularPandas"].dataloaders, "bs"),
        "learning rate of SGD": default_of(learner, "lr"),
        "momentum of SGD": default_of(fastai["SGD"], "mom"),
        "learning rate of Adam": default_of(learner, "lr"),
        "beta_2 of Adam": default_of(fastai["Adam"], "sqr_mom"),
        "epsilon of Adam": default_of(fastai["Adam"], "eps"),
        "weight decay of AdamW": default_of(fastai["Adam"], "wd"),
        "rho of RMSprop": default_of(fastai["RMSProp"], "sqr_mom"),
        "slope of LeakyReLU": torch.nn.LeakyReLU().negative_slope,
        "epsilon of batch normalization": fastai["BatchNorm"](3, ndim=1).eps,
        "what a batch counts in running statistics": fastai["BatchNorm"](3, ndim=1).momentum,
        "patience": default_of(fastai["EarlyStoppingCallback"], "patience"),
    }
    assert defaults("fastai") == {name: repr(value) for name, value in expected.items()}
