"""Draws assignments to a fitted estimator and judges what comes of them.

By itself, for longer than the test does: ``python tests/hostile_draws.py 0 5000``.
"""

import contextlib
import copy
import dataclasses
import itertools
import json
import pickle
import re
import sys
import warnings

import numpy as np
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skmlp import MLPClassifier, MLPRegressor
from skmlp.optimizers import NAdam
from skmlp.training.schedules import Schedule
from skmlp.training.state import TrainerState

# MemoryError: of a network that is larger than the machine.
ALLOWED = (ValueError, TypeError, AttributeError, NotFittedError, MemoryError)
ROWS, FEATURES = 20, 5


class Sly:
    """An array that is none when looked at."""

    def __array__(self, dtype=None, copy=None):
        raise ValueError("no array")


def misaligned(array):
    """Return an array whose elements lie at odd addresses."""
    memory = np.zeros(array.nbytes + 1, dtype=np.uint8)
    shifted = memory[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    return shifted


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    """Return an array that is not contiguous and has negative strides."""
    return np.repeat(array[::-1], 2, axis=0)[::-2]


def with_value(value):
    def change(array):
        array = array.copy()
        array.flat[0] = value
        return array

    return change


ANYTHING = [
    *(None, 0, 1, -1, 3, 2**70, 1.5, -0.5, np.nan, np.inf, True, "x", "adam", "relu", b"\0", 1j),
    *([], (), {}, [None], [[1.0], [2.0, 3.0]], (5, 4, 3), range(3), object(), Sly(), len),
    *(np.array(3), np.array([]), np.zeros((0, 3)), np.ones((4, 4)), np.ones((2, 2, 2))),
    *(np.array(["a", "b"]), np.array([{}, None]), np.array([1j]), np.zeros(3, "M8[s]")),
    *(np.zeros(3, [("a", "f8")]), np.ma.masked_all((5, 4)), np.asmatrix(np.ones((5, 4)))),
    *(scipy.sparse.csr_array(np.eye(5, 4)), np.random.RandomState(0), np.float32(2), np.str_("z")),
]
# What may become of an array of the network.
OF_ARRAYS = [
    *(read_only, strided, misaligned, np.asfortranarray, np.transpose, np.ravel, np.ma.asarray),
    *(np.ndarray.tolist, np.copy, lambda a: a[:-1], lambda a: a[..., :-1], lambda a: a[None]),
    *(lambda a: a.astype(">f8"), lambda a: a.astype(">f4"), lambda a: a.astype(np.float16)),
    *(lambda a: a.astype(np.longdouble), lambda a: (10 * a).astype(int), lambda a: a > 0),
    *(lambda a: a.astype(np.float32), lambda a: a.astype(str), lambda a: a.astype(object)),
    *(lambda a: a.astype(complex), lambda a: np.broadcast_to(a.flat[0], a.shape)),
    *(with_value(np.nan), with_value(np.inf), with_value(1e300), lambda a: np.tile(a, 9)),
]
# What may become of a list of them.
OF_LISTS = [
    *(tuple, lambda a: a[:-1], lambda a: [*a, a[-1]], lambda a: a[::-1], lambda a: []),
    *(iter, lambda a: {i: b for i, b in enumerate(a)}, itertools.count, np.concatenate),
]
PARAMETERS = [
    *("hidden_layer_sizes", "activation", "solver", "alpha", "batch_size", "learning_rate"),
    *("learning_rate_init", "power_t", "shuffle", "random_state", "tol", "momentum"),
    *("nesterovs_momentum", "early_stopping", "validation_fraction", "beta_1", "beta_2", "epsilon"),
    *("n_iter_no_change", "max_fun", "weight_decay", "clip_norm", "dtype", "n_jobs", "device"),
    *("precision", "loss", "init", "dropout", "input_dropout", "normalization", "l1_ratio"),
    *("clip_value", "max_norm", "connectivity", "monotonic_cst", "frozen_layers", "input_noise"),
    "mixup",
    *("scoring", "restore_best"),
    *("min_iter", "max_time", "monitor", "ema_decay"),
    *("label_smoothing", "class_weight", "temperature", "y_scale"),
    *("n_estimators", "bootstrap", "oob_score"),
]
LEARNED = [
    *("coefs_", "intercepts_", "out_activation_", "n_outputs_", "n_layers_", "n_iter_", "t_"),
    *("loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_"),
    *("n_features_in_", "feature_names_in_", "classes_", "_label_binarizer"),
    *("_network", "_extras", "_trained", "_custom", "_state", "_state", "_state"),
    *("_history", "validation_loss_curve_"),
    *("stop_reason_", "temperature_", "y_mean_", "y_scale_"),
]
NAMED = re.compile(rf"\b({'|'.join([*PARAMETERS, *LEARNED, 'X', 'y', 'classes'])})\b")
INSIDE = {
    "_state": [field.name for field in dataclasses.fields(TrainerState)],
    "optimizer": ["name", "vectors", "step", "learning_rate", "numbers", "averages"],
    "schedule": ["name", "learning_rate_init", "power_t", "constants", "function"],
    "row_order": ["n_rows", "_start", "_end", "_drawn", "_order"],
    "_label_binarizer": ["classes_", "y_type_", "sparse_input_"],
}
OF_NUMBERS = ("regression", "several", "distribution")
OPERATIONS = ["predict", "predict", "predict_proba", "score", "partial_fit", "partial_fit", "fit"]


def fitted_models():
    """Return models of several kinds with the data they were fitted on."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, FEATURES))
    targets = {
        "multiclass": rng.permutation(np.arange(ROWS) % 3),
        "binary": rng.permutation(np.arange(ROWS) % 2),
        "multilabel": rng.permutation(np.arange(3 * ROWS).reshape(ROWS, 3) % 2),
        "regression": rng.normal(size=ROWS),
        "several": rng.normal(size=(ROWS, 2)),
        "distribution": rng.normal(size=(ROWS, 2)),
        "classes": rng.permutation(np.arange(ROWS)[:, None] % (2, 3, 4)),
    }
    models = []
    solvers = ("adam", "sgd", "lbfgs", NAdam())
    for (kind, y), solver in itertools.product(targets.items(), solvers):
        estimator = MLPRegressor if kind in OF_NUMBERS else MLPClassifier
        model = estimator(hidden_layer_sizes=(4,), solver=solver, max_iter=3, random_state=0)
        if kind == "distribution":
            model.set_params(loss="gaussian_nll")
        model.set_params(batch_size=8, warm_start=True, n_jobs=1)
        if not isinstance(solver, str):
            model.set_params(ema_decay=0.9)
        models.append((kind, model.fit(X, y), X, y))
    return models


def drawn_value(rng, old):
    """Return another value for an attribute."""
    if isinstance(old, list) and old and hasattr(old[0], "y_type_") and rng.random() < 0.8:
        changed = copy.copy(old[-1])
        field = INSIDE["_label_binarizer"][rng.integers(3)]
        setattr(changed, field, drawn_value(rng, getattr(changed, field)))
        return [[*old[:-1], changed], old[:-1], old[::-1], [*old, None]][rng.integers(4)]
    if isinstance(old, np.ndarray) and old.ndim and rng.random() < 0.6:
        return OF_ARRAYS[rng.integers(len(OF_ARRAYS))](old)
    if isinstance(old, list) and old and isinstance(old[0], np.ndarray) and rng.random() < 0.75:
        if rng.random() < 0.4:
            return OF_LISTS[rng.integers(len(OF_LISTS))](old)
        new, layer = list(old), rng.integers(len(old))
        new[layer] = drawn_value(rng, old[layer])
        return new
    return ANYTHING[rng.integers(len(ANYTHING))]


def damage(rng, state):
    """Edit one entry of an estimator's attributes and return its name."""
    names = [name for name in (*LEARNED, *LEARNED, *PARAMETERS) if name in state]
    names += 4 * ["coefs_", "intercepts_"]
    name = names[rng.integers(len(names))]
    if name == "_state" and rng.random() < 0.8:
        inside = dict(vars(state[name]))
        edit = damage_entry(rng, inside, INSIDE[name][rng.integers(len(inside))])
        fields = {field: inside.get(field) for field in INSIDE[name]}
        state[name] = dataclasses.replace(state[name], **fields)
        return f"_state.{edit}"
    return damage_entry(rng, state, name)


def damage_entry(rng, state, name):
    """Edit the entry of this name."""
    old = state.get(name)
    if name in INSIDE and old is not None and type(old) is not list and rng.random() < 0.7:
        field = INSIDE[name][rng.integers(len(INSIDE[name]))]
        new = copy.copy(old)
        if name == "row_order":
            new = old.branch()
        value = drawn_value(rng, getattr(old, field))
        if dataclasses.is_dataclass(old):
            new = dataclasses.replace(old, **{field: value})
        else:
            setattr(new, field, value)
        state[name] = new
        return f"{name}.{field}"
    if rng.random() < 0.05:
        del state[name]
        return f"no {name}"
    state[name] = drawn_value(rng, old)
    if name == "schedule" and rng.random() < 0.3:
        state[name] = Schedule("x", np.ones(3))
    return name


def softmax(z):
    exponentials = np.exp(z - z.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def mean_and_deviation(z):
    mean, log_variance = np.split(z, 2, axis=1)
    return np.hstack([mean, np.exp(log_variance / 2)])


FORMULAS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "exp": np.exp,
    "softmax": softmax,
    "gaussian": mean_and_deviation,
}


def expected_outputs(model, X, temperature=1.0):
    """Return the network's outputs, computed by NumPy."""
    dtype = np.float32 if np.asarray(model.coefs_[0]).dtype == np.float32 else np.float64
    network = vars(model).get("_network")
    if network is None:  # only weights have been assigned
        hidden, heads = model.activation, [(model.out_activation_, len(model.intercepts_[-1]))]
    else:
        hidden = network.layers[0].activation.name
        heads = [(head.link, head.units) for head in network.heads]
    outputs = X.astype(dtype)
    last = len(model.coefs_) - 1
    for layer, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        outputs = outputs @ np.asarray(coef, dtype) + np.asarray(intercept, dtype)
        if layer < last:
            outputs = FORMULAS[hidden](outputs)
    outputs = outputs / dtype(temperature)
    if len(heads) == 1:
        return FORMULAS[heads[0][0]](outputs)
    parts = np.split(outputs, np.cumsum([units for _, units in heads])[:-1], axis=1)
    return np.hstack([FORMULAS[link](part) for (link, _), part in zip(heads, parts, strict=True)])


def is_right(kind, model, X, operation, result):
    """Whether the result is that of the network the model now holds."""
    if "estimators_" in vars(model):  # of which each member is one, and no damage is done to them
        return np.isfinite(model._outputs(X)).all()
    with np.errstate(all="ignore"):
        is_probable = operation == "predict_proba"
        temperature = vars(model).get("temperature_", 1.0) if is_probable else 1.0
        outputs = expected_outputs(model, X, temperature)
    if operation == "predict_proba":
        parts = result if isinstance(result, list) else [result]
        if len(parts) > 1 or outputs.shape[1] == 1:
            parts = [part[:, 1:] if part.shape[1] == 2 else part for part in parts]
        return np.allclose(np.hstack(parts), outputs, rtol=1e-3, atol=1e-4, equal_nan=True)
    if operation == "predict" and kind in OF_NUMBERS:
        if kind == "distribution":  # the means; a damaged model may have another link
            outputs = outputs[:, : np.size(result) // len(result)]
        result = np.reshape(result, outputs.shape)
        return np.allclose(result, outputs, rtol=1e-3, atol=1e-4, equal_nan=True)
    if operation in ("fit", "partial_fit"):
        arrays = (*model.coefs_, *model.intercepts_)
        largest = max(np.abs(array).max() for array in arrays)
        if 1e100 < largest < np.inf:  # sums that overflow depend on their order
            return True
        return np.allclose(model._outputs(X), outputs, rtol=1e-3, atol=1e-4)
    return True


def can_predict(model, X):
    with contextlib.suppress(Exception):
        model.predict(X)
        return True
    return False


def judge(rng, kind, model, X, y):
    """Damage a model, use it, and return a line about what is wrong with the outcome, or None."""
    state = dict(vars(model))
    edits = []
    for _ in range(rng.integers(1, 3)):
        with contextlib.suppress(
            *ALLOWED, ArithmeticError, LookupError
        ):  # of what cannot be damaged further
            edits.append(damage(rng, state))
    damaged = type(model).__new__(type(model))
    vars(damaged).update(state)
    way = rng.integers(4)
    if way == 0:
        with contextlib.suppress(Exception):  # not everything drawn can be pickled
            damaged = pickle.loads(pickle.dumps(damaged))
    operation = OPERATIONS[rng.integers(len(OPERATIONS))]
    dtype = rng.choice(["float64", "float32"])
    data = X.astype(dtype)
    if rng.random() < 0.3:
        data = scipy.sparse.csr_array(data)
    what = f"{kind} {model.solver} {edits} {operation} {dtype}"
    print(what, flush=True)
    before = dict(vars(damaged))
    with contextlib.suppress(*ALLOWED):  # scikit-learn's own, of parameters that are missing
        clone(damaged)
    try:
        method = getattr(damaged, operation, None)
        if method is None:
            return None
        needs_y = operation in ("fit", "partial_fit", "score")
        result = method(data, y) if needs_y else method(data)
    except Exception as error:
        if vars(damaged).keys() != before.keys() or any(
            vars(damaged)[name] is not value for name, value in before.items()
        ):
            return f"{what}: changed although {error!r}"
        if isinstance(error, ALLOWED) and NAMED.search(str(error)):
            return None
        if operation == "score" and can_predict(damaged, data):
            return None  # what else is wrong with a score, scikit-learn's metrics say
        return f"{what}: {error!r}"
    if not is_right(kind, damaged, X.astype(dtype), operation, result):
        return f"{what}: the result is wrong"
    return None


def main(seed, draws):
    """Judge so many draws; the last line printed lists what is wrong."""
    warnings.simplefilter("ignore")
    models = fitted_models()
    rng = np.random.default_rng(int(seed))
    problems = []
    for _ in range(int(draws)):
        problem = judge(rng, *models[rng.integers(len(models))])
        if problem:
            problems.append(problem)
    print(json.dumps(problems))


if __name__ == "__main__":
    main(*sys.argv[1:])
