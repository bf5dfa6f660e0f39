"""The estimators with ``device="cuda"`` in the simulator, beside the same fits on the CPU."""

import pickle
from importlib.util import find_spec

import numpy as np
import pytest
from engine_checks import CUDA_SOLVERS
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier, MLPRegressor, losses
from skmlp._fitted import as_trained
from skmlp.activations import ELU, Blend, Custom, Maxout
from skmlp.callbacks import Checkpoint, FunctionCallback
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cuda.runtime import SimulatedRuntime
from skmlp.schedules import Plateau

HEADS = ("binary", "multiclass", "multilabel", "regression", "multi_regression", "poisson")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def orders_as_on_a_gpu(monkeypatch):
    """Let the CPU visit the rows in the order that a GPU draws."""
    monkeypatch.setattr(CpuEngine, "draws_orders", True)


def fit_on_both(make_estimator, head, X, y, sample_weight=None, **parameters):
    shared = {"hidden_layer_sizes": (5, 3), "max_iter": 3, "random_state": 0, "batch_size": 9}
    models = []
    for device in ("cpu", "cuda"):
        model = make_estimator(head, device=device, **{**shared, **parameters})
        models.append(model.fit(X, y, sample_weight=sample_weight))
    assert [model.device_ for model in models] == ["cpu", "cuda"]
    return models


def assert_alike(models, X, rtol=1e-9):
    on_cpu, on_cuda = models
    for one, other in zip(on_cpu.coefs_, on_cuda.coefs_, strict=True):
        assert_allclose(one, other, rtol=rtol, atol=rtol)
    assert_allclose(on_cpu.loss_, on_cuda.loss_, rtol=rtol)
    predict = "predict_proba" if hasattr(on_cpu, "predict_proba") else "predict"
    assert_allclose(getattr(on_cpu, predict)(X), getattr(on_cuda, predict)(X), rtol=10 * rtol)


@pytest.mark.parametrize("solver", CUDA_SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_and_solver(make_problem, make_estimator, head, solver):
    X, y = make_problem(head, n_samples=30)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=30)
    models = fit_on_both(make_estimator, head, X, y, weight, solver=solver)
    assert_alike(models, X)


def squashed(z):
    return z / np.sqrt(1.0 + z * z)


def squashed_derivative(z):
    return (1.0 + z * z) ** -1.5


# All that is more than plain, some of it together.
def asymmetric(y, p):
    return (p - y) ** 2 if p > y else 2 * (p - y) ** 2


def asymmetric_slope(y, p):
    return 2 * (p - y) if p > y else 4 * (p - y)


VOCABULARY = [
    ("multiclass", {"activation": "gelu", "clip_norm": 0.1, "learning_rate": "cosine"}),
    ("regression", {"activation": ("silu", "prelu"), "solver": "adamw", "weight_decay": 0.1}),
    ("binary", {"activation": "leaky_relu", "dropout": (0.3, 0.0), "input_dropout": 0.2}),
    ("multi_regression", {"activation": Maxout(3), "normalization": "layer", "solver": "sgd"}),
    ("multilabel", {"normalization": "batch", "solver": "sgd", "early_stopping": True}),
    ("gaussian_nll", {"activation": Custom(squashed, squashed_derivative), "solver": "lion"}),
    ("several targets", {"activation": "prelu", "learning_rate": np.sqrt}),
    ("own loss", {"activation": Blend(ELU(0.5)), "solver": "amsgrad"}),
    ("regression", {"activation": "prelu", "normalization": "layer", "solver": "lbfgs"}),
]


@pytest.mark.parametrize(("head", "parameters"), VOCABULARY)
def test_the_vocabulary(make_problem, make_estimator, head, parameters):
    kinds = {"gaussian_nll": "regression", "own loss": "regression"}
    kind = {**kinds, "several targets": "multiclass"}.get(head, head)
    X, y = make_problem(kind, n_samples=30)

    def make(_, **options):
        if head == "gaussian_nll":
            return MLPRegressor("gaussian_nll", **options)
        if head == "own loss":
            return MLPRegressor(losses.Custom(asymmetric, asymmetric_slope), **options)
        return make_estimator(kind, **options)

    if head == "several targets":
        y = np.column_stack([y, y > 0])
        on_cpu, on_cuda = fit_on_both(make, head, X, y, **parameters)
        for one, other in zip(on_cpu.coefs_, on_cuda.coefs_, strict=True):
            assert_allclose(one, other, rtol=1e-9, atol=1e-9)
        for one, other in zip(on_cpu.predict_proba(X), on_cuda.predict_proba(X), strict=True):
            assert_allclose(one, other, rtol=1e-8)
        return
    models = fit_on_both(make, head, X, y, **parameters)
    assert_alike(models, X)
    assert_allclose(*(as_trained(model).extras for model in models), rtol=1e-9, atol=1e-9)
    if head == "gaussian_nll":
        deviations = [model.predict(X, return_std=True)[1] for model in models]
        assert_allclose(*deviations, rtol=1e-8)


def test_early_stopping_keeps_the_best(make_problem, make_estimator):
    X, y = make_problem("multiclass", n_samples=60)
    models = fit_on_both(
        make_estimator, "multiclass", X, y, early_stopping=True, max_iter=8, learning_rate_init=0.1
    )
    assert_alike(models, X)
    assert models[0].validation_scores_ == models[1].validation_scores_


def test_schedules_and_plateaus(make_problem, make_estimator):
    X, y = make_problem("regression", n_samples=30)
    for learning_rate in ("constant", "invscaling", "adaptive", Plateau(0.5, patience=0)):
        models = fit_on_both(
            make_estimator,
            "regression",
            X,
            y,
            solver="sgd",
            learning_rate=learning_rate,
            n_iter_no_change=1,
            tol=0.05,
            max_iter=12,
        )
        assert_alike(models, X)
        assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-9)


def test_sparse_and_single_precision(make_problem, make_estimator):
    X, y = make_problem("binary", n_samples=30)
    thin = sparse.csr_array(np.where(X > 0, X, 0.0))
    assert_alike(fit_on_both(make_estimator, "binary", thin, y), thin)
    models = fit_on_both(make_estimator, "binary", X, y, dtype="float32", solver="sgd")
    assert models[1].coefs_[0].dtype == np.float32
    # Sums of some ten terms in another order, over a dozen steps.
    assert_alike(models, X, rtol=1e-5)


def test_one_fit_in_pieces(make_problem, make_estimator):
    X, y = make_problem("multiclass", n_samples=30)
    parameters = {"hidden_layer_sizes": (4,), "batch_size": 8, "random_state": 0, "device": "cuda"}
    whole = make_estimator("multiclass", max_iter=3, n_iter_no_change=10, **parameters).fit(X, y)
    model = make_estimator("multiclass", **parameters)
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1, 2])
        model = pickle.loads(pickle.dumps(model))
    for one, other in zip(model.coefs_, whole.coefs_, strict=True):
        assert_array_equal(one, other)
    warm = make_estimator("multiclass", max_iter=1, warm_start=True, **parameters)
    for _ in range(3):
        warm.fit(X, y)
    for one, other in zip(warm.coefs_, whole.coefs_, strict=True):
        assert_array_equal(one, other)


@pytest.mark.skipif(find_spec("sklearn.callback") is None, reason="callbacks came with 1.9")
def test_a_fit_goes_on_from_a_checkpoint(make_problem, make_estimator, tmp_path):
    X, y = make_problem("multiclass", n_samples=30)
    parameters = {"hidden_layer_sizes": (4,), "batch_size": 8, "random_state": 0, "device": "cuda"}
    parameters |= {"max_iter": 4, "early_stopping": True, "normalization": "batch"}
    whole = make_estimator("multiclass", **parameters).fit(X, y)
    stop = FunctionCallback(lambda epoch: epoch.number == 3)
    path = tmp_path / "run.ckpt"
    first = make_estimator("multiclass", **parameters)
    first.set_callbacks(Checkpoint(path, every=2), stop).fit(X, y)
    again = make_estimator("multiclass", **parameters).fit(X, y, resume_from=path)
    assert again.loss_curve_ == whole.loss_curve_
    for one, other in zip(again.coefs_, whole.coefs_, strict=True):
        assert_array_equal(one, other)
    on_cpu = make_estimator("multiclass", **{**parameters, "device": "cpu"})
    with pytest.raises(ValueError, match=r"device='cuda' \(now 'cpu'\)"):
        on_cpu.fit(X, y, resume_from=path)


def test_searches_and_pipelines(make_problem):
    X, y = make_problem("multiclass", n_samples=45)
    network = MLPClassifier((4,), max_iter=2, batch_size=10, random_state=0, device="cuda")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), network),
        {"mlpclassifier__alpha": [1e-4, 1.0]},
        cv=3,
    ).fit(X, y)
    on_cpu = clone(search).set_params(estimator__mlpclassifier__device="cpu").fit(X, y)
    assert_array_equal(search.cv_results_["mean_test_score"], on_cpu.cv_results_["mean_test_score"])


def test_tensor_cores(make_problem, make_estimator):
    X, y = make_problem("binary", n_samples=20)
    parameters = {"dtype": "float32", "solver": "sgd", "max_iter": 2, "random_state": 0}
    exact, rounded = (
        make_estimator("binary", device="cuda", precision=precision, **parameters).fit(X, y)
        for precision in (None, "tf32")
    )
    difference = np.abs(exact.coefs_[0] - rounded.coefs_[0]).max()
    assert 0 < difference < 1e-3
    double = make_estimator("binary", device="cuda", max_iter=2, random_state=0).fit(X, y)
    expected = double.predict_proba(X)
    assert_array_equal(double.set_params(precision="tf32").predict_proba(X), expected)


def test_a_failed_fit_changes_nothing(make_problem, unchanged, monkeypatch):
    X, y = make_problem("multiclass", n_samples=30)
    model = MLPClassifier((4,), max_iter=2, random_state=0, device="cuda").fit(X, y)

    def fail(*_, **__):
        raise MemoryError("not enough")

    with unchanged(X, y, model=model), monkeypatch.context() as patch:
        patch.setattr(SimulatedRuntime, "allocate", fail)
        with pytest.raises(MemoryError, match="not enough"):
            model.fit(X, y)
    assert model.predict(X).shape == (30,)


def test_verbose_says_what_is_fitted(make_problem, capsys):
    X, y = make_problem("multiclass", n_samples=30)
    MLPClassifier((4,), max_iter=2, random_state=0, device="cuda", verbose=True).fit(X, y)
    assert "Iteration 2, loss = " in capsys.readouterr().out
