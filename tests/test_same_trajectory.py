"""In float64, fits follow the installed scikit-learn's, epoch by epoch.

The tolerances are the promised ones: each epoch's loss within 1e-7 (relative), each weight
within 1e-6, over the first 20 epochs with the same ``random_state``.
"""

import itertools

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from covering import covering
from engine_checks import HIDDEN
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._base import LOSS_FUNCTIONS

import skmlp

# Most fits are cut off after 20 epochs on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HEADS = ("binary", "multiclass", "multilabel", "regression", "multi_regression", "poisson")
# Those that scikit-learn has for hidden layers.
ACTIVATIONS = [name for name in HIDDEN if name in ("identity", "logistic", "tanh", "relu")]
MOMENTUM = {
    "none": {"momentum": 0.0},
    "classical": {"momentum": 0.9, "nesterovs_momentum": False},
    "nesterov": {"momentum": 0.9, "nesterovs_momentum": True},
}
N_SAMPLES = 40
LOSS_TOLERANCE = 1e-7
WEIGHT_TOLERANCE = 1e-6


def _summed_squared_error(y_true, y_pred, sample_weight=None):
    """Half the squared error, summed over outputs, averaged over samples.

    The loss of which scikit-learn computes the gradient; it reports the mean over outputs.
    """
    return 0.5 * np.average(((y_true - y_pred) ** 2).sum(axis=1), weights=sample_weight)


@pytest.fixture
def compare(make_problem, make_estimator, monkeypatch):
    """Return a function that fits both libraries and describes how the results differ."""

    def run(head, *, weighted=False, sparse=False, n_samples=N_SAMPLES, **params):
        if head == "multi_regression":
            monkeypatch.setitem(LOSS_FUNCTIONS, "squared_error", _summed_squared_error)
        X, y = make_problem(head, n_samples=n_samples)
        if sparse:
            X = scipy.sparse.csr_array(np.where(np.abs(X) > 0.5, X, 0.0))
        weights = np.random.default_rng(1).uniform(0.2, 3.0, n_samples) if weighted else None
        params = {"random_state": 3, **params}
        theirs = make_estimator(head, sklearn.neural_network, **params).fit(X, y, weights)
        ours = make_estimator(head, skmlp, **params).fit(X, y, weights)
        return ours, theirs, differences(ours, theirs)

    return run


def differences(ours, theirs):
    """Say what differs between two fitted estimators by more than the promise; "" if nothing."""
    found = []
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        if getattr(ours, name) != getattr(theirs, name):
            found.append(f"{name} {getattr(ours, name)} is not {getattr(theirs, name)}")
    curve = np.asarray(getattr(ours, "loss_curve_", [ours.loss_]), dtype=float)
    expected = np.asarray(getattr(theirs, "loss_curve_", [theirs.loss_]), dtype=float)
    if curve.shape != expected.shape:
        found.append(f"loss_curve_ has {curve.size} epochs, not {expected.size}")
    else:
        gaps = np.abs(curve - expected) / np.abs(expected)
        if not (gaps <= LOSS_TOLERANCE).all():
            found.append(f"loss of epoch {gaps.argmax()} differs by {gaps.max():.1e} relative")
    for name in ("coefs_", "intercepts_"):
        pairs = zip(getattr(ours, name), getattr(theirs, name), strict=True)
        for layer, (a, b) in enumerate(pairs):
            if a.shape != b.shape or a.dtype != b.dtype:
                found.append(f"{name}[{layer}] is {a.dtype}{a.shape}, not {b.dtype}{b.shape}")
            elif not (np.abs(a - b) <= WEIGHT_TOLERANCE).all():
                found.append(f"{name}[{layer}] differs by {np.abs(a - b).max():.1e}")
    return "; ".join(found)


def assert_no_differences(found):
    """Fail with all combinations that differ, at most ten of them in words."""
    bad = {label: text for label, text in found.items() if text}
    lines = [f"{label}: {text}" for label, text in bad.items()]
    assert not bad, f"{len(bad)} of {len(found)} combinations differ\n" + "\n".join(lines[:10])


# --- The table ---

# What each head and activation is tried with: any two values of different things meet.
FLAGS = ([False, True], [False, True], [True, False], [20, 16])
SGD_CASES = covering(["constant", "invscaling", "adaptive"], MOMENTUM, *FLAGS)
ADAM_CASES = covering(*FLAGS, ["constant", "adaptive"])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_sgd(compare, activation, head):
    found = {}
    for schedule, kind, weighted, sparse, shuffle, batch_size in SGD_CASES:
        label = f"{schedule=} momentum={kind} {weighted=} {sparse=} {shuffle=} {batch_size=}"
        _, _, found[label] = compare(
            head,
            weighted=weighted,
            sparse=sparse,
            solver="sgd",
            learning_rate=schedule,
            activation=activation,
            hidden_layer_sizes=(7, 4),
            shuffle=shuffle,
            batch_size=batch_size,
            # The exponential of the Poisson head overflows at larger steps.
            learning_rate_init=0.005 if head == "poisson" else 0.05,
            power_t=0.25,
            alpha=0.1,
            max_iter=20,
            # The adaptive rate must really drop within 20 epochs.
            n_iter_no_change=2 if schedule == "adaptive" else 100,
            tol=0.02 if schedule == "adaptive" else 1e-4,
            **MOMENTUM[kind],
        )
    assert_no_differences(found)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_adam(compare, activation, head):
    found = {}
    for weighted, sparse, shuffle, batch_size, schedule in ADAM_CASES:
        label = f"{weighted=} {sparse=} {shuffle=} {batch_size=} {schedule=}"
        _, _, found[label] = compare(
            head,
            weighted=weighted,
            sparse=sparse,
            solver="adam",
            learning_rate=schedule,
            activation=activation,
            hidden_layer_sizes=(7, 4),
            shuffle=shuffle,
            batch_size=batch_size,
            learning_rate_init=0.02,
            alpha=0.1,
            max_iter=20,
            n_iter_no_change=100,
        )
    assert_no_differences(found)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lbfgs(compare, activation, head):
    found = {}
    for weighted, sparse in itertools.product([False, True], [False, True]):
        ours, theirs, found[f"{weighted=} {sparse=}"] = compare(
            head,
            weighted=weighted,
            sparse=sparse,
            solver="lbfgs",
            activation=activation,
            hidden_layer_sizes=(6,),
            alpha=0.1,
            max_iter=10,
        )
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=LOSS_TOLERANCE)
    assert_no_differences(found)


@pytest.mark.parametrize("alpha", [1e-4, 1.0])
def test_long_lbfgs_paths_part_but_end_equally_low(alpha):
    X, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    X = X / X.std(axis=0)
    params = {"hidden_layer_sizes": (20,), "solver": "lbfgs", "alpha": alpha, "tol": 1e-6}
    for seed in range(2):
        losses = {}
        for max_iter in (50, 500):
            params.update(max_iter=max_iter, random_state=seed)
            ours = skmlp.MLPRegressor(**params).fit(X, y)
            theirs = sklearn.neural_network.MLPRegressor(**params).fit(X, y)
            losses[max_iter] = ours.loss_, theirs.loss_
            if max_iter == 50:
                assert not differences(ours, theirs)
        # What both have gained since is much more than what lies between their ends.
        assert abs(np.subtract(*losses[500])) < 0.5 * (losses[50][0] - max(losses[500]))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "sgd", "alpha": 0.0},
        {"solver": "sgd", "momentum": 0.3, "learning_rate": "invscaling", "power_t": 0.7},
        {"solver": "sgd", "momentum": 1.0, "nesterovs_momentum": False},
        {"solver": "adam", "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
        {"solver": "adam", "beta_1": 0.0, "beta_2": 0.0, "epsilon": 1.0},
        {"solver": "adam", "batch_size": 1, "max_iter": 5},
        {"solver": "adam", "batch_size": N_SAMPLES},
        {"solver": "adam", "random_state": 12345, "alpha": 10.0},
        {"solver": "lbfgs", "alpha": 0.0, "max_fun": 7},
    ],
    ids=lambda params: "-".join(f"{key}={value}" for key, value in params.items()),
)
def test_other_parameters(compare, head, params):
    common = {"hidden_layer_sizes": (6,), "learning_rate_init": 0.01, "max_iter": 20}
    _, _, found = compare(head, **{**common, "n_iter_no_change": 100, **params})
    assert not found


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_default_batch_size_is_200(compare, solver):
    for n_samples in (150, 200, 450):
        _, _, found = compare("binary", n_samples=n_samples, solver=solver, max_iter=5)
        assert not found, f"{n_samples} rows: {found}"


def test_batch_size_above_the_number_of_rows_is_clipped_with_a_warning(compare):
    with pytest.warns(UserWarning, match="batch_size.*clipped"):
        _, _, found = compare("regression", batch_size=1000, max_iter=5)
    assert not found


# --- Heads and shapes beyond the table ---


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize(
    "sizes",
    [
        (),
        [],
        7,
        np.int64(7),
        [7],
        (7,),
        [6, 4],
        (6, 4),
        np.array([6, 4]),
        (3, 3, 3),
        [1],
    ],
    ids=repr,
)
@pytest.mark.parametrize("head", ["multiclass", "regression"])
def test_hidden_layer_sizes(compare, head, sizes, solver):
    ours, _, found = compare(
        head,
        hidden_layer_sizes=sizes,
        solver=solver,
        learning_rate_init=0.05,
        max_iter=10,
        n_iter_no_change=100,
    )
    assert not found
    assert [c.shape[1] for c in ours.coefs_[:-1]] == list(np.ravel(sizes))


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_poisson_with_several_outputs(make_problem, solver):
    X, y = make_problem("poisson")
    Y = np.column_stack([y, 2 * y, y[::-1]])
    params = {
        "loss": "poisson",
        "hidden_layer_sizes": (6,),
        "solver": solver,
        "learning_rate_init": 0.01,
        "max_iter": 10,
        "random_state": 0,
    }
    theirs = sklearn.neural_network.MLPRegressor(**params).fit(X, Y)
    ours = skmlp.MLPRegressor(**params).fit(X, Y)
    assert not differences(ours, theirs)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_one_class_only(make_problem, solver):
    X, _ = make_problem("binary")
    params = {"hidden_layer_sizes": (6,), "solver": solver, "max_iter": 10, "random_state": 0}
    y = np.ones(len(X), dtype=int)
    theirs = sklearn.neural_network.MLPClassifier(**params).fit(X, y)
    ours = skmlp.MLPClassifier(**params).fit(X, y)
    assert not differences(ours, theirs)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("head", ["binary", "multiclass", "multilabel"])
def test_saturated_probabilities(make_problem, make_estimator, head, solver):
    # Scores of thousands: every probability is 0 or 1, and the logarithm must be bounded.
    X, y = make_problem(head)
    params = {"hidden_layer_sizes": (), "solver": solver, "max_iter": 6, "batch_size": 16}
    params["learning_rate_init"] = 1e-9
    fitted = [
        make_estimator(head, library, random_state=0, **params).fit(1e6 * X, y)
        for library in (skmlp, sklearn.neural_network)
    ]
    assert not differences(*fitted)
    assert fitted[0].loss_curve_[0] > 5
    probabilities = fitted[0].predict_proba(1e6 * X)
    assert np.minimum(probabilities, 1 - probabilities).max() < 1e-16


@pytest.mark.parametrize("container", ["csc_array", "csr_matrix", "csc_matrix", "csr_array"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_sparse_containers(make_problem, solver, container):
    X, y = make_problem("multiclass")
    X = getattr(scipy.sparse, container)(np.where(X > 0.3, X, 0.0))
    params = {"hidden_layer_sizes": (6,), "solver": solver, "max_iter": 10, "random_state": 0}
    theirs = sklearn.neural_network.MLPClassifier(**params).fit(X, y)
    ours = skmlp.MLPClassifier(**params).fit(X, y)
    assert not differences(ours, theirs)


# --- Where random numbers come from ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("head", HEADS)
def test_initial_weights_are_bitwise_the_same(
    make_problem, make_estimator, head, activation, dtype
):
    X, y = make_problem(head)
    X = X.astype(dtype)
    # A step of this length changes no weight.
    params = {"solver": "sgd", "learning_rate_init": 1e-200, "max_iter": 1, "random_state": 5}
    params |= {"activation": activation, "hidden_layer_sizes": (6, 3)}
    theirs = make_estimator(head, sklearn.neural_network, **params).fit(X, y)
    ours = make_estimator(head, skmlp, **params).fit(X, y)
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert a.dtype == b.dtype == dtype
            np.testing.assert_array_equal(a, b)


def test_a_random_state_shared_by_two_fits(make_problem):
    X, y = make_problem("multiclass")
    pairs = []
    for library in (skmlp, sklearn.neural_network):
        shared = np.random.RandomState(7)
        params = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": shared}
        first = library.MLPClassifier(**params).fit(X, y)
        second = library.MLPClassifier(solver="sgd", **params).fit(X, y)
        pairs.append((first, second))
    for ours, theirs in zip(*pairs, strict=True):
        assert not differences(ours, theirs)
    assert not np.allclose(pairs[0][0].coefs_[0], pairs[0][1].coefs_[0])


def test_the_global_generator_when_random_state_is_none(make_problem):
    X, y = make_problem("regression")
    state = np.random.get_state()
    try:
        fitted = []
        for library in (skmlp, sklearn.neural_network):
            np.random.seed(11)
            fitted.append(library.MLPRegressor(hidden_layer_sizes=(6,), max_iter=5).fit(X, y))
            fitted.append(library.MLPRegressor(hidden_layer_sizes=(6,), max_iter=5).fit(X, y))
    finally:
        np.random.set_state(state)
    assert not differences(fitted[0], fitted[2])
    assert not differences(fitted[1], fitted[3])


# --- Early stopping and the other reasons to stop ---

# Multiclass is missing: our split is stratified there, as documented (test_pitfalls.py, 4).
EARLY_STOPPING_HEADS = ("binary", "multilabel", "regression", "multi_regression", "poisson")


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("head", EARLY_STOPPING_HEADS)
def test_early_stopping(compare, head, solver, weighted, sparse):
    ours, theirs, found = compare(
        head,
        weighted=weighted,
        sparse=sparse,
        n_samples=103,
        solver=solver,
        hidden_layer_sizes=(7,),
        learning_rate_init=0.03,
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=3,
        tol=1e-3,
        max_iter=20,
        batch_size=20,
    )
    assert not found
    np.testing.assert_allclose(
        ours.validation_scores_, theirs.validation_scores_, rtol=1e-7, atol=1e-7
    )
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_, abs=1e-7)
    assert ours.best_loss_ is None
    assert max(ours.validation_scores_) == ours.best_validation_score_


@pytest.mark.parametrize("head", EARLY_STOPPING_HEADS)
def test_early_stopping_stops_at_the_same_epoch(compare, head):
    ours, _, found = compare(
        head,
        n_samples=103,
        hidden_layer_sizes=(7,),
        learning_rate_init=0.05,
        early_stopping=True,
        n_iter_no_change=3,
        tol=0.01,
        max_iter=100,
    )
    assert not found
    assert ours.n_iter_ < 100, "this fit was meant to stop by itself"
    assert ours.n_iter_ == len(ours.validation_scores_) == len(ours.loss_curve_)


@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("early_stopping", [False, True], ids=["on loss", "on score"])
@pytest.mark.parametrize("head", ["binary", "regression"])
def test_adaptive_rate_and_stopping_on_sgd(compare, head, early_stopping, schedule):
    ours, _, found = compare(
        head,
        n_samples=103,
        solver="sgd",
        learning_rate=schedule,
        learning_rate_init=0.1,
        hidden_layer_sizes=(7,),
        early_stopping=early_stopping,
        n_iter_no_change=2,
        tol=5e-3,
        max_iter=200,
    )
    assert not found
    assert ours.n_iter_ < 200, "this fit was meant to stop by itself"


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("head", HEADS)
def test_default_stopping_rule(compare, head, solver):
    # No warning: the fit stops because the loss no longer improves.
    ours, theirs, found = compare(
        head, solver=solver, hidden_layer_sizes=(5,), learning_rate_init=0.1, tol=2e-3
    )
    assert not found
    assert ours.n_iter_ < ours.max_iter
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=LOSS_TOLERANCE)
    assert ours.best_loss_ == min(ours.loss_curve_)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_no_warning_after_convergence(compare, solver):
    ours, _, _ = compare(
        "binary", solver=solver, hidden_layer_sizes=(5,), learning_rate_init=0.1, tol=0.05
    )
    assert ours.n_iter_ < ours.max_iter


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_warning_when_max_iter_is_reached(make_problem, make_estimator, solver):
    X, y = make_problem("regression")
    texts = []
    for library in (skmlp, sklearn.neural_network):
        with pytest.warns(ConvergenceWarning) as record:
            make_estimator("regression", library, solver=solver, max_iter=3).fit(X, y)
        texts.append([str(warning.message) for warning in record])
    # The same warning; ours may go on to name a remedy.
    assert len(texts[0]) == len(texts[1]) == 1
    assert texts[0][0].startswith(texts[1][0])


def test_n_iter_no_change_may_be_infinite(compare):
    ours, _, found = compare("binary", n_iter_no_change=np.inf, tol=1e9, max_iter=15)
    assert not found
    assert ours.n_iter_ == 15


# --- Resuming, where both libraries agree ---


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("head", HEADS)
def test_partial_fit(make_problem, make_estimator, monkeypatch, head, solver):
    monkeypatch.setitem(LOSS_FUNCTIONS, "squared_error", _summed_squared_error)
    # Without shuffling: with it, scikit-learn repeats the same order at each call.
    params = {"solver": solver, "hidden_layer_sizes": (6,), "learning_rate_init": 0.02}
    params |= {"shuffle": False, "batch_size": 8, "random_state": 0, "alpha": 0.1}
    X, y = make_problem(head)
    options = {}
    if head in ("binary", "multiclass", "multilabel"):
        options["classes"] = [0, 1] if head == "binary" else [0, 1, 2]
    weights = np.linspace(0.5, 2.0, len(X))
    fitted = []
    for library in (skmlp, sklearn.neural_network):
        estimator = make_estimator(head, library, **params)
        for rows in (slice(0, 25), slice(25, 40), slice(0, 40)):
            estimator.partial_fit(X[rows], y[rows], sample_weight=weights[rows], **options)
        fitted.append(estimator)
    assert not differences(*fitted)
    assert fitted[0].n_iter_ == 1
    assert fitted[0].t_ == 80
    assert len(fitted[0].loss_curve_) == 3


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_after_fit_goes_on(make_problem, make_estimator, solver):
    X, y = make_problem("multiclass")
    params = {"solver": solver, "hidden_layer_sizes": (6,), "learning_rate_init": 0.02}
    params |= {"shuffle": False, "max_iter": 4, "random_state": 0}
    fitted = []
    for library in (skmlp, sklearn.neural_network):
        estimator = make_estimator("multiclass", library, **params).fit(X, y)
        fitted.append(estimator.partial_fit(X, y).partial_fit(X, y))
    assert not differences(*fitted)
    assert len(fitted[0].loss_curve_) == 6


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("head", ["multiclass", "regression"])
def test_warm_start_without_state_to_resume(make_problem, make_estimator, head, solver):
    X, y = make_problem(head)
    params = {"solver": solver, "hidden_layer_sizes": (6,), "momentum": 0.0, "shuffle": False}
    params |= {"warm_start": True, "max_iter": 4, "random_state": 0, "learning_rate_init": 0.02}
    fitted = []
    for library in (skmlp, sklearn.neural_network):
        estimator = make_estimator(head, library, **params).fit(X, y).fit(X, y)
        fitted.append(estimator.set_params(max_iter=6).fit(X, y))
    assert not differences(*fitted)
    assert fitted[0].n_iter_ == 6


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_second_fit_starts_anew(make_problem, make_estimator, solver):
    params = {"solver": solver, "hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0}
    once = make_estimator("regression", **params).fit(*make_problem("regression", seed=1))
    twice = make_estimator("regression", **params).fit(*make_problem("regression", seed=2))
    twice.fit(*make_problem("regression", seed=1))
    assert not differences(twice, once)
    for a, b in zip(twice.coefs_ + twice.intercepts_, once.coefs_ + once.intercepts_, strict=True):
        np.testing.assert_array_equal(a, b)


# --- What fitted models answer ---


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("head", HEADS)
def test_predictions_and_scores(compare, make_problem, head, activation, sparse):
    ours, theirs, _ = compare(
        head, activation=activation, hidden_layer_sizes=(7, 4), max_iter=20, batch_size=16
    )
    X, y = make_problem(head, n_samples=70)
    if sparse:
        X = scipy.sparse.csr_array(X)
    prediction, expected = ours.predict(X), theirs.predict(X)
    assert prediction.shape == expected.shape
    assert prediction.dtype == expected.dtype
    if head in ("binary", "multiclass", "multilabel"):
        np.testing.assert_array_equal(prediction, expected)
        for method in ("predict_proba", "predict_log_proba"):
            a, b = getattr(ours, method)(X), getattr(theirs, method)(X)
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
        assert ours.score(X, y) == theirs.score(X, y)
    else:
        np.testing.assert_allclose(prediction, expected, rtol=1e-6, atol=1e-6)
        assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-6)
    weights = np.linspace(0.0, 3.0, 70)
    weighted_score = theirs.score(X, y, sample_weight=weights)
    assert ours.score(X, y, sample_weight=weights) == pytest.approx(weighted_score, abs=1e-6)


LABELS = {
    "strings": np.array(["ash", "beech", "cedar"]),
    "objects": np.array(["x", "yy", "zzz"], dtype=object),
    "integers with gaps": np.array([-5, 0, 12]),
    "floats": np.array([0.0, 1.0, 7.0]),
    "uint8": np.array([1, 2, 200], dtype=np.uint8),
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", LABELS)
def test_labels(make_problem, kind, n_classes):
    X, codes = make_problem("binary" if n_classes == 2 else "multiclass")
    y = LABELS[kind][codes]
    params = {"hidden_layer_sizes": (6,), "max_iter": 20, "random_state": 0}
    theirs = sklearn.neural_network.MLPClassifier(**params).fit(X, y)
    ours = skmlp.MLPClassifier(**params).fit(X, y)
    assert not differences(ours, theirs)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.classes_.dtype == theirs.classes_.dtype
    prediction, expected = ours.predict(X), theirs.predict(X)
    np.testing.assert_array_equal(prediction, expected)
    assert prediction.dtype == expected.dtype
    assert ours.score(X, y) == theirs.score(X, y)


def test_boolean_labels(make_problem):
    X, y = make_problem("binary")
    params = {"hidden_layer_sizes": (6,), "max_iter": 20, "random_state": 0}
    theirs = sklearn.neural_network.MLPClassifier(**params).fit(X, y.astype(bool))
    ours = skmlp.MLPClassifier(**params).fit(X, y.astype(bool))
    assert not differences(ours, theirs)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.predict(X).dtype == bool
