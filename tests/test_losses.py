"""The regressor's losses: as names, as objects, and what a Gaussian likelihood predicts."""

import pickle

import numpy as np
import pytest
from engine_checks import head_of, network_with
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import d2_pinball_score, mean_pinball_loss, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

import skmlp.engines.cpu.task
from skmlp import MLPRegressor, losses
from skmlp.engines.cpu import CpuEngine
from skmlp.losses import (
    CLASSES,
    Custom,
    Focal,
    GaussianNLL,
    Huber,
    LaplaceNLL,
    Poisson,
    Quantile,
    SquaredError,
    Tweedie,
    loss_entry,
    loss_formula,
)
from skmlp.network.bounds import cannot_overflow
from skmlp.network.links import LINKS
from skmlp.network.losses import LOSSES, REGRESSION_LINKS
from skmlp.network.parameters import layout_of
from skmlp.network.specs import Formula

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Those that have names.
CHOICES = [choice for choice in CLASSES if choice is not Custom]
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 8, "random_state": 0}


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(80, 3))


@pytest.fixture
def y(X):
    return X[:, 0] + np.exp(0.5 * X[:, 1]) * np.random.default_rng(1).normal(size=len(X))


@pytest.fixture
def Y(X, y):
    return np.column_stack([y, np.tanh(X[:, 2]), y - X[:, 1]])


# --- The Gaussian likelihood ---


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("several", [False, True])
def test_loss_is_the_negative_log_likelihood_that_scipy_has(X, y, Y, solver, several):
    """And its last value that of the outputs predicted, with weights and the penalty."""
    targets = Y if several else y
    weight = np.random.default_rng(2).uniform(0.1, 2.0, len(X))
    settings = {**SMALL, "solver": solver, "alpha": 0.3, "warm_start": True}
    model = MLPRegressor("gaussian_nll", **settings).fit(X, targets, weight)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == targets.shape
    assert_array_equal(model.predict(X), mean)
    losses = -stats.norm.logpdf(targets, mean, std).reshape(len(X), -1).sum(axis=1)
    penalty = 0.15 * sum((coef**2).sum() for coef in model.coefs_)
    expected = (weight @ losses + penalty) / weight.sum()
    if solver != "lbfgs":  # the loss of an epoch is that before its only step
        model.fit(X, targets, weight)
        assert model.loss_curve_[8] == pytest.approx(expected, rel=1e-12)
    else:
        assert model.loss_ == pytest.approx(expected, rel=1e-12)


def test_units_are_means_and_then_logarithms_of_variances(X, Y):
    model = MLPRegressor("gaussian_nll", **SMALL).fit(X, Y)
    assert model.n_outputs_ == 6
    assert model.out_activation_ == "gaussian"
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    raw = hidden @ model.coefs_[1] + model.intercepts_[1]
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, raw[:, :3], rtol=1e-12)
    assert_allclose(std, np.exp(raw[:, 3:] / 2), rtol=1e-12)
    assert mean.flags.c_contiguous
    assert std.flags.c_contiguous


@pytest.mark.parametrize("loss", ["gaussian_nll", GaussianNLL()])
def test_noise_that_differs_is_learned(loss):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(4000, 1))
    std = np.exp(X[:, 0] - 1)
    y = np.sin(2 * X[:, 0]) + std * rng.normal(size=len(X))
    model = MLPRegressor(loss, 30, learning_rate_init=0.01, max_iter=60, random_state=0).fit(X, y)
    inner = np.linspace(-0.8, 0.8, 9)[:, np.newaxis]
    mean, predicted = model.predict(inner, return_std=True)
    assert_allclose(mean, np.sin(2 * inner[:, 0]), atol=0.15)
    assert_allclose(predicted, np.exp(inner[:, 0] - 1), rtol=0.2)


def test_linear_targets_are_learned_as_if_each_were_alone(X, Y):
    settings = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 1.0, "max_iter": 3000}
    model = MLPRegressor("gaussian_nll", **settings, tol=1e-9, random_state=0).fit(X, Y)
    mean, std = model.predict(X, return_std=True)
    for column, target in enumerate(Y.T):
        alone = clone(model).fit(X, target)
        # L-BFGS stops where the loss no longer changes by more than 2e-9.
        assert_allclose(mean[:, column], alone.predict(X), atol=1e-3)
        assert_allclose(std[:, column], alone.predict(X, return_std=True)[1], rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.usefixtures("always_parallel")
def test_threads_and_sparseness_change_nothing(X, Y, dtype, convert, monkeypatch):
    monkeypatch.setattr(skmlp.engines.cpu.task, "TILE_ROWS", 1)
    data = convert(X.astype(dtype))
    models = [MLPRegressor("gaussian_nll", **SMALL, n_jobs=n).fit(data, Y) for n in (1, 2, 3)]
    for model in models[1:]:
        assert model.loss_curve_ == models[0].loss_curve_
        for ours, theirs in zip(model.coefs_, models[0].coefs_, strict=True):
            assert_array_equal(ours, theirs)
    outputs = models[0].predict(data, return_std=True)
    dense = models[0].predict(X.astype(dtype), return_std=True)
    for ours, theirs in zip(outputs, dense, strict=True):
        assert ours.dtype == dtype
        assert_allclose(ours, theirs, rtol=1e-4 if dtype == "float32" else 1e-12)


def test_early_stopping_and_score_look_at_the_means(X, Y):
    first = MLPRegressor("gaussian_nll", **SMALL).fit(X, Y)
    model = clone(first).set_params(init=(first.coefs_, first.intercepts_), early_stopping=True)
    model.set_params(max_iter=200, n_iter_no_change=3, validation_fraction=0.3).fit(X, Y)
    # Given weights are not drawn: the split is the first draw.
    _, rows = train_test_split(np.arange(80), test_size=0.3, random_state=np.random.RandomState(0))
    assert model.best_validation_score_ == pytest.approx(model.score(X[rows], Y[rows]), abs=1e-12)
    assert model.score(X, Y) == pytest.approx(r2_score(Y, model.predict(X)))


def test_resuming(X, y, unchanged):
    expected = MLPRegressor("gaussian_nll", **SMALL).fit(X, y)
    by_parts = MLPRegressor("gaussian_nll", **SMALL)
    warm = MLPRegressor("gaussian_nll", **SMALL, warm_start=True).set_params(max_iter=1)
    for _ in range(8):
        by_parts.partial_fit(X, y)
        warm.fit(X, y)
    assert by_parts.loss_curve_ == warm.loss_curve_ == expected.loss_curve_
    warm.set_params(loss="squared_error")
    message = "Cannot resume: y asks for 1 outputs, but .* has 2.* leave the loss as it is"
    with unchanged(model=warm), pytest.raises(ValueError, match=message):
        warm.fit(X, y)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_return_std_of_another_loss(X, y, loss):
    model = MLPRegressor(loss, **SMALL).fit(X, np.abs(y))
    message = rf"return_std=True asks for .* fitted with loss='{loss}' .*loss='gaussian_nll'"
    with pytest.raises(ValueError, match=message):
        model.predict(X, return_std=True)
    # What was fitted counts, not what is to be fitted next.
    model.set_params(loss="gaussian_nll")
    with pytest.raises(ValueError, match=message):
        model.predict(X, return_std=True)
    assert_array_equal(model.predict(X, return_std=False), model.predict(X))


def test_predictions_read_the_fitted_loss(X, y):
    model = MLPRegressor("gaussian_nll", **SMALL).fit(X, y)
    expected = model.predict(X, return_std=True)
    model.set_params(loss="poisson")
    again = pickle.loads(pickle.dumps(model))
    for ours, theirs in zip(again.predict(X, return_std=True), expected, strict=True):
        assert_array_equal(ours, theirs)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize(("dtype", "factor"), [("float32", 1e30), ("float64", 1e300)])
def test_targets_that_are_too_large(X, y, unchanged, solver, dtype, factor):
    model = MLPRegressor("gaussian_nll", **SMALL, solver=solver, dtype=dtype).fit(X, y)
    with (
        unchanged(model=model),
        pytest.raises(ValueError, match=r"Solver produced non-finite parameter weights.*scale"),
    ):
        model.fit(X, factor * y)


def test_scaled_targets(X, y):
    """As an owner of large targets scales them, also for the deviations."""
    plain = MLPRegressor("gaussian_nll", **SMALL)
    scaled = TransformedTargetRegressor(plain, transformer=StandardScaler()).fit(X, 1e6 * y)
    assert scaled.score(X, 1e6 * y) == pytest.approx(
        clone(plain).fit(X, (y - y.mean()) / y.std()).score(X, (y - y.mean()) / y.std()), abs=1e-6
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("link", [name for name, link in LINKS.items() if link.exponent])
def test_bounds_are_right(link, dtype):
    """Where outputs cannot overflow by the bound they do not, and it is not too careful."""
    key = next(key for key in LOSSES if key[1] == link)
    network = network_with((1,), "relu", [head_of(key, 2 // LOSSES[key].units_per_target)])
    layout, engine = layout_of(network), CpuEngine(1)
    data = engine.load(np.zeros((1, 1)), None, None, network, dtype)
    largest = float(np.log(np.finfo(dtype).max)) / LOSSES[key].link.exponent
    said = []
    for share in (0.5, 0.85, 0.95, 1.05):
        parameters = layout.pack([np.zeros((1, 2))], [[0.0, share * largest]], dtype)
        with np.errstate(over="ignore"):
            outputs = engine.predict(network, *layout.views(parameters), data)
        said.append(cannot_overflow(network, np.linalg.norm(parameters), 0.0, dtype))
        assert np.isfinite(outputs).all() or not said[-1]
    assert said == [True, True, False, False]
    assert not np.isfinite(outputs).all()


def test_deviations_that_overflow_are_a_divergence(X, y, unchanged):
    """Which no loss tells: it is finite, being that of a logarithm."""
    start = [np.zeros((3, 2))], [np.array([0.0, 1425.0])]
    model = MLPRegressor("gaussian_nll", (), init=start, solver="sgd", random_state=0)
    model.set_params(max_iter=1, learning_rate_init=1e-9)
    message = "parameter weights whose predictions are not finite"
    with unchanged(model=model), pytest.raises(ValueError, match=message):
        model.fit(X, y)
    model.set_params(init=(start[0], [np.array([0.0, 1415.0])])).fit(X, y)
    assert np.isfinite(model.predict(X, return_std=True)).all()


# --- Names and objects ---


def test_every_loss_has_a_class():
    assert {choice._name for choice in CHOICES} == set(REGRESSION_LINKS)
    assert {choice.__name__ for choice in (*CHOICES, Custom, Focal)} == set(losses.__all__)
    for choice in CHOICES:
        constants = loss_entry(choice()).constants
        assert list(choice().get_params()) == [constant.name for constant in constants]
        assert loss_formula(choice()) == loss_formula(choice._name)


@pytest.mark.parametrize("choice", CHOICES)
def test_an_object_is_as_good_as_its_name(X, y, choice):
    by_name = MLPRegressor(choice._name, **SMALL).fit(X, np.abs(y))
    model = clone(MLPRegressor(choice(), **SMALL)).fit(X, np.abs(y))
    assert model.loss_curve_ == by_name.loss_curve_
    assert model.out_activation_ == by_name.out_activation_ == REGRESSION_LINKS[choice._name]
    again = pickle.loads(pickle.dumps(model))
    assert again.loss == choice()
    assert_array_equal(again.predict(X), by_name.predict(X))
    assert f"loss={choice.__name__}()" in repr(model) or choice is SquaredError


def test_only_counts_need_to_be_positive(X, y):
    for loss, expected in (
        ("gamma", True),
        (Tweedie(1.0), True),
        (Quantile(None), False),
        ("poisson", True),
        (Poisson(), True),
        ("gaussian_nll", False),
        (SquaredError(), False),
        ("no loss", False),
        (3, False),
    ):
        assert get_tags(MLPRegressor(loss)).target_tags.positive_only is expected
    with pytest.raises(ValueError, match=r"loss=Poisson\(\) needs non-negative numbers as y"):
        MLPRegressor(Poisson(), **SMALL).fit(X, y)
    for loss in ("gamma", Tweedie(2.0)):
        with pytest.raises(ValueError, match=r"loss=.* needs positive numbers as y, got .* of 0\."):
            MLPRegressor(loss, **SMALL).fit(X, np.abs(y) * (y > 0))


def test_searches(X, y):
    pipeline = make_pipeline(StandardScaler(), MLPRegressor(**SMALL))
    options = ["squared_error", "gaussian_nll", GaussianNLL()]
    search = GridSearchCV(pipeline, {"mlpregressor__loss": options}, cv=2).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] == scores[2] != scores[0]
    pipeline.set_params(mlpregressor__loss=GaussianNLL()).fit(X, y)
    mean, std = pipeline.predict(X, return_std=True)
    assert mean.shape == std.shape == y.shape


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("GaussianNLLLoss", r"Did you mean loss='gaussian_nll'\?"),
        ("gaussian-nll", r"Did you mean loss='gaussian_nll'\?"),
        (GaussianNLL, r"loss=GaussianNLL is a class: give an object, loss=GaussianNLL\(\)"),
        ("log_loss", "must be a str among"),
        (3, "must be a str among"),
        (None, "must be a str among"),
    ],
)
def test_other_values(X, y, unchanged, value, hint):
    model = MLPRegressor(**SMALL).fit(X, y).set_params(loss=value)
    with unchanged(model=model), pytest.raises(ValueError, match=f"(?s)loss.*{hint}"):
        model.fit(X, y)


def test_parameters_of_a_loss(X, y, unchanged):
    """They reach the formulas, are searched in depth, and stay with what was fitted."""
    assert loss_formula("huber") == loss_formula(Huber()) == Formula("huber", (1.0,))
    models = [MLPRegressor(Huber(delta), **SMALL).fit(X, 3 * y) for delta in (0.1, 1, 1e9)]
    losses = [model.loss_curve_[0] for model in models]
    assert losses[0] < losses[1] < losses[2]
    squared = MLPRegressor(**SMALL).fit(X, 3 * y)
    assert models[2].loss_curve_ == squared.loss_curve_
    search = GridSearchCV(models[1], {"loss__delta": [0.1, 1.0, 1e9]}, cv=2).fit(X, 3 * y)
    assert len(set(search.cv_results_["mean_test_score"])) == 3
    model = models[1].set_params(loss__delta=-1.0)
    with unchanged(model=model), pytest.raises(ValueError, match=r"'delta'.*loss=Huber"):
        model.fit(X, y)
    again = pickle.loads(pickle.dumps(models[0]))
    assert again._network.head.loss.constants == (0.1,)


# --- Quantiles ---


def test_several_quantiles(X, Y):
    """One more axis for them, along which they do not decrease, and each is where it belongs."""
    levels = (0.1, 0.3, 0.5, 0.9)
    model = MLPRegressor(Quantile(levels), 20, max_iter=400, tol=1e-6, random_state=0)
    model.set_params(learning_rate_init=0.02, y_scale="standard")
    predicted = model.fit(X, Y).predict(X)
    assert predicted.shape == (80, 3, 4)
    assert predicted.flags.c_contiguous
    assert (np.diff(predicted, axis=2) >= 0).all()
    assert model.n_outputs_ == 12
    assert model.out_activation_ == "increasing"
    assert_allclose((predicted >= Y[:, :, np.newaxis]).mean(axis=(0, 1)), levels, atol=0.08)
    expected = [d2_pinball_score(Y, predicted[:, :, k], alpha=q) for k, q in enumerate(levels)]
    assert model.score(X, Y) == pytest.approx(np.mean(expected))
    single = MLPRegressor(Quantile((0.5,)), **SMALL).fit(X, Y[:, 0])
    assert single.predict(X).shape == (80, 1)
    # The first output is the raw prediction: one level is as good as a number.
    alone = MLPRegressor(Quantile(0.5), **SMALL).fit(X, Y[:, 0])
    assert_array_equal(single.predict(X)[:, 0], alone.predict(X))


def test_a_linear_quantile_is_that_of_scikit_learn(X, y):
    data = 3 * X[:, :1]
    expected = QuantileRegressor(quantile=0.8, alpha=0).fit(data, y).predict(data)
    model = MLPRegressor(Quantile(0.8), (), solver="sgd", alpha=0, random_state=0)
    model.set_params(batch_size=80, learning_rate_init=0.05, learning_rate="cosine", tol=0)
    predicted = model.set_params(max_iter=3000, n_iter_no_change=10**6).fit(data, y).predict(data)

    def loss(outputs):
        return mean_pinball_loss(y, outputs, alpha=0.8)

    assert loss(predicted) == pytest.approx(loss(expected), rel=1e-3)


@pytest.mark.parametrize("loss", [Quantile(0.9), Quantile((0.2, 0.9)), LaplaceNLL()])
@pytest.mark.parametrize("y_scale", [None, "standard"])
def test_early_stopping_watches_the_score(X, Y, loss, y_scale):
    first = MLPRegressor(loss, **SMALL).fit(X, Y)
    model = clone(first).set_params(init=(first.coefs_, first.intercepts_), early_stopping=True)
    model.set_params(max_iter=9, validation_fraction=0.3, y_scale=y_scale).fit(X, Y, np.ones(80))
    _, rows = train_test_split(np.arange(80), test_size=0.3, random_state=np.random.RandomState(0))
    score = model.score(X[rows], Y[rows], np.ones(24))
    assert model.best_validation_score_ == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    "levels", [(), (0.5, 0.5), (0.9, 0.1), (0.0, 0.5), 1.0, (0.1, "0.5"), [[0.1]], None, "half"]
)
def test_other_levels(X, y, unchanged, levels):
    model = MLPRegressor(**SMALL).fit(X, y).set_params(loss=Quantile(levels))
    with (
        unchanged(model=model),
        pytest.raises(ValueError, match=r"'quantile'.*strictly increasing"),
    ):
        model.fit(X, y)


# --- Every loss ---


@pytest.mark.parametrize("number", range(len(CHOICES)))
def test_weights_are_repetitions_and_resuming_goes_on(number, X, Y):
    """Together with sparse data, both precisions and several targets."""
    loss = Quantile((0.3, 0.6)) if CHOICES[number] is Quantile else CHOICES[number]
    loss = loss() if isinstance(loss, type) else loss
    dtype = ("float64", "float32")[number % 2]
    targets, weight = np.abs(Y) + 0.1, np.arange(80) % 3
    settings = {**SMALL, "max_iter": 20, "solver": "lbfgs", "alpha": 0.1, "dtype": dtype}
    model = MLPRegressor(loss, **settings).fit(X, targets, weight)
    again = np.repeat(np.arange(80), weight)
    repeated = clone(model).set_params(alpha=0.1).fit(X[again], targets[again])
    tolerance = 1e-6 if dtype == "float64" else 0.02
    assert model.loss_ == pytest.approx(repeated.loss_, rel=tolerance)
    sgd = MLPRegressor(loss, **{**settings, "solver": "sgd", "max_iter": 3})
    whole = clone(sgd).fit(sparse.csr_array(X), targets)
    for _ in range(3):
        sgd.partial_fit(sparse.csr_array(X), targets)
    assert sgd.loss_curve_ == whole.loss_curve_
    assert sgd.predict(X).dtype == dtype


# --- Functions of users ---

SHARPNESS = 3.0


def asymmetric(y, p):
    return (y - p) ** 2 if p > y else SHARPNESS * (y - p) ** 2


def asymmetric_gradient(y, p):
    return 2 * (p - y) if p > y else 2 * SHARPNESS * (p - y)


def half_square(y, p):
    return 0.5 * (y - p) * (y - p)


def difference(y, p):
    return p - y


def of_one(y):
    return y


def without_number(y, p):
    return None if p > y else 1.0


def test_custom_losses(X, y, monkeypatch):
    like_squared = MLPRegressor(Custom(half_square, difference), **SMALL).fit(X, y)
    squared = MLPRegressor(**SMALL).fit(X, y)
    assert_allclose(like_squared.loss_curve_, squared.loss_curve_, rtol=1e-14)
    model = MLPRegressor(Custom(asymmetric, asymmetric_gradient), **SMALL, solver="lbfgs")
    model.set_params(alpha=0.0).fit(X, y)
    assert model.loss_ == pytest.approx(np.mean([*map(asymmetric, y, model.predict(X))]), rel=1e-9)
    expected = model.predict(X)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), expected)
    with pytest.raises(ValueError, match=r"fitted with loss=Custom\(\.\.\.\) and has none"):
        model.predict(X, return_std=True)
    # Other numbers outside are another loss, and what was fitted stays.
    monkeypatch.setitem(globals(), "SHARPNESS", 9.0)
    assert clone(model).fit(X, y).predict(X).mean() > expected.mean()
    assert_array_equal(again.predict(X), expected)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (of_one, "of_one must take 2 arguments"),
        (without_number, "for target=-1000.0, prediction=-2.3 it returns None"),
        (np.add, ".*no plain function"),
    ],
)
def test_functions_that_are_no_losses(X, y, unchanged, function, match):
    model = MLPRegressor(**SMALL).fit(X, y).set_params(loss=Custom(half_square, function))
    message = rf"The gradient of loss=Custom\(\.\.\.\) cannot be compiled: {match}"
    with unchanged(model=model), pytest.raises(ValueError, match=message):
        model.fit(X, y)


# --- Scaled targets ---


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", Quantile((0.1, 0.9))])
def test_y_scale(X, Y, loss, weighted):
    """As who scales by hand, with weights and several targets, one of them constant."""
    weight = np.arange(80.0) % 3 if weighted else None
    targets = np.column_stack([1e6 * Y[:, 0] - 5e6, np.full(80, 3.3)])
    scaler = StandardScaler().fit(targets, sample_weight=weight)
    expected = MLPRegressor(loss, **SMALL).fit(X, scaler.transform(targets), weight)
    model = MLPRegressor(loss, **SMALL, y_scale="standard").fit(X, targets, weight)
    assert_allclose(model.y_mean_, scaler.mean_)
    assert_allclose(model.y_scale_, scaler.scale_)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-9)
    ours, theirs = model.predict(X), expected.predict(X)
    shape = (1, 2, 1) if ours.ndim == 3 else (1, 2)
    scale, mean = scaler.scale_.reshape(shape), scaler.mean_.reshape(shape)
    assert_allclose(ours, theirs * scale + mean, rtol=1e-7)
    if loss == "gaussian_nll":
        deviations = model.predict(X, return_std=True)[1]
        assert_allclose(deviations, expected.predict(X, return_std=True)[1] * scaler.scale_)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), ours)


def test_resumed_fits_keep_the_first_scale(X, y, unchanged):
    model = MLPRegressor(**SMALL, y_scale="standard").partial_fit(X[:40], 10 * y[:40])
    scale = model.y_scale_
    model.partial_fit(X[40:], 10 * y[40:] + 1e3)
    assert_array_equal(model.y_scale_, scale)
    warm = MLPRegressor(**SMALL, y_scale="standard", warm_start=True).fit(X, y).fit(X, 2 * y)
    assert_allclose(warm.y_scale_, [y.std()])
    for name, values in (
        ("y_scale_", [np.array([-1.0]), np.ones(2), 1.0, np.array([np.nan])]),
        ("y_mean_", [None, np.array(["a"])]),
    ):
        for value in values:
            other = pickle.loads(pickle.dumps(warm))
            setattr(other, name, value)
            for use in (lambda m: m.predict(X), lambda m: m.fit(X, y)):
                with pytest.raises(ValueError, match=f"{name} must .* fit again"):
                    use(other)
    warm.set_params(y_scale=None)
    with unchanged(model=warm), pytest.raises(ValueError, match="y_scale=None, but y was scaled"):
        warm.fit(X, y)
    plain = warm.set_params(warm_start=False).fit(X, y)
    assert not hasattr(plain, "y_mean_")
    plain.set_params(y_scale="standard")
    with pytest.raises(ValueError, match="y_scale='standard', but y was not scaled"):
        plain.partial_fit(X, y)


def test_scales_that_single_precision_does_not_hold(X, y, unchanged):
    model = MLPRegressor(**SMALL, y_scale="standard", dtype="float32").fit(X, y)
    with unchanged(model=model), pytest.raises(ValueError, match="more than float32 holds"):
        model.fit(X, 1e50 * y)
    assert np.isfinite(model.set_params(dtype="float64").fit(X, 1e50 * y).predict(X)).all()


def test_what_cannot_be_scaled(X, y, unchanged):
    model = MLPRegressor(**SMALL).fit(X, y).set_params(y_scale="standard")
    for loss in ("poisson", Tweedie(1.2)):
        model.set_params(loss=loss)
        message = r"y_scale='standard' makes some targets negative, which loss=.* does not take"
        with unchanged(model=model), pytest.raises(ValueError, match=message):
            model.fit(X, np.abs(y))
    model.set_params(loss="huber")
    with unchanged(model=model), pytest.raises(ValueError, match="y_scale='standard' cannot scale"):
        model.fit(X, 1.5e308 * np.sign(y))
    # Large ones that have a variance can be.
    model.fit(X, 1e300 * y)
    assert np.isfinite(model.predict(X)).all()
