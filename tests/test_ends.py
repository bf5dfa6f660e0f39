"""How a fit ends: all at once, never silently with numbers that are not finite, warning last."""

import copy
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

import skmlp._base
import skmlp._splitting
from skmlp import MLPClassifier, MLPRegressor
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cpu.run import CpuRun
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.activations import ACTIVATIONS
from skmlp.network.bounds import LOST_SQUARE, cannot_overflow, euclidean_norm
from skmlp.network.parameters import layout_of
from skmlp.network.specs import plain_network
from skmlp.training import interrupts

ignores_convergence = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class InterruptedEngine(ReferenceEngine):
    """Is interrupted in its first epoch, or in its first evaluations."""

    evaluations = 0

    def start(self, tasks):
        run = super().start(tasks)
        run.wait = self._interrupt
        return run

    def _interrupt(self, *_):
        raise KeyboardInterrupt

    def loss_and_gradient(self, *args, **options):
        self.evaluations += 1
        if self.evaluations > 20:
            raise KeyboardInterrupt
        return super().loss_and_gradient(*args, **options)


# --- A warning may be an exception: the model is fitted nevertheless ---

DIVERGING = {"solver": "sgd", "learning_rate_init": 1e3, "early_stopping": True}
WARNED = {
    "max_iter": {"max_iter": 3},
    "resumed": {"max_iter": 3, "warm_start": True},
    "early stopping": {"max_iter": 3, "early_stopping": True},
    "diverged": {"max_iter": 100, **DIVERGING},
    "lbfgs": {"max_iter": 3, "solver": "lbfgs"},
    "resumed lbfgs": {"max_iter": 3, "solver": "lbfgs", "warm_start": True},
}


@pytest.mark.parametrize("params", WARNED.values(), ids=WARNED)
def test_a_fit_whose_warning_is_an_error_is_a_fit(make_problem, fitted_state, params):
    X, y = make_problem("regression")
    params = {"hidden_layer_sizes": (4,), "random_state": 0, **params}
    expected, model = MLPRegressor(**params), MLPRegressor(**params)
    for _ in range(2):
        with pytest.warns(ConvergenceWarning):
            expected.fit(X, y)
        with pytest.raises(ConvergenceWarning):
            model.fit(X, y)
        assert fitted_state(model) == fitted_state(expected)
        np.testing.assert_array_equal(model.predict(X), expected.predict(X))


@pytest.mark.parametrize(
    ("solver", "method"), [("adam", "fit"), ("adam", "partial_fit"), ("lbfgs", "fit")]
)
def test_an_interrupted_fit_whose_warning_is_an_error_is_a_fit(
    monkeypatch, make_problem, solver, method
):
    monkeypatch.setattr(interrupts.POLICY, "_last", float("-inf"))
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: InterruptedEngine())
    X, y = make_problem("regression")
    model = MLPRegressor("squared_error", (4,), solver=solver, random_state=0)
    with pytest.raises(UserWarning, match="interrupted by user"):
        getattr(model, method)(X, y)
    assert model.predict(X).shape == y.shape


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_an_interrupt_while_a_fit_is_put_away_takes_nothing(
    monkeypatch, make_problem, n_estimators
):
    """What has been learned is known before its memory is freed."""
    X, y = make_problem("regression")
    model = MLPRegressor(
        "squared_error", (4,), max_iter=3, tol=0.0, n_estimators=n_estimators, random_state=0
    )
    with pytest.warns(ConvergenceWarning):
        expected = model.fit(X, y).predict(X)
    moments = []

    def interrupted(self, index, retire=CpuRun.retire):
        retire(self, index)
        moments.append(index)
        if len(moments) == n_estimators:  # the others have ended
            raise KeyboardInterrupt

    monkeypatch.setattr(CpuRun, "retire", interrupted)
    monkeypatch.setattr(interrupts.POLICY, "_last", float("-inf"))
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert len(moments) == n_estimators
    assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_loss_unknown_after_an_interrupt_is_mentioned(monkeypatch, make_problem, solver):
    monkeypatch.setattr(interrupts.POLICY, "_last", float("-inf"))
    monkeypatch.setattr(InterruptedEngine, "evaluations", 20)
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: InterruptedEngine())
    X, y = make_problem("regression")
    model = MLPRegressor("squared_error", (4,), solver=solver, random_state=0)
    with pytest.warns(UserWarning, match="loss is not known"):
        model.fit(X, y)
    assert model.n_iter_ == 0
    assert np.isnan(model.loss_)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_loop_of_warm_fits_ends_when_they_converge(make_problem, solver):
    X, y = make_problem("regression")
    model = MLPRegressor(
        "squared_error", (4,), solver=solver, warm_start=True, max_iter=20, tol=1e-3
    )
    model.set_params(learning_rate_init=0.01, random_state=0)
    unconverged = 0
    while unconverged < 200:
        try:
            model.fit(X, y)
            break
        except ConvergenceWarning:
            unconverged += 1
    assert 0 < unconverged < 200


@pytest.mark.parametrize("is_fitted", [False, True])
@pytest.mark.parametrize("subject", ["batch_size", "column y", "stratify"])
def test_an_input_warning_that_is_an_error_changes_nothing(
    make_problem, unchanged, subject, is_fitted
):
    X, y = make_problem("multiclass")
    model = MLPClassifier(hidden_layer_sizes=(4,), max_iter=3, random_state=0)
    if is_fitted:
        with pytest.warns(ConvergenceWarning):
            model.fit(X, y)
    if subject == "batch_size":
        model.batch_size = 1000
    elif subject == "column y":
        y = y[:, None]
    else:
        model.early_stopping = True
        y[0] = 3
    with unchanged(X, y, model=model), pytest.raises((UserWarning, DataConversionWarning)):
        model.fit(X, y)


# --- An interrupt at any line leaves the old state or the new one ---


def interrupted_at_line(n, call):
    """Call, and raise KeyboardInterrupt at the n-th line of skmlp's that runs.

    Returns how many lines ran, and whether the interrupt came out.
    """
    folder = str(Path(skmlp.__file__).parent)
    passed = 0

    def trace(frame, event, _):
        nonlocal passed
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line":
            passed += 1
            if passed == n:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return passed, True
    finally:
        sys.settrace(before)
    return passed, False


# Among them are those in which a fit's attributes are replaced.
LAST_LINES = 150


def lines_to_try(step, call):
    """Return some numbers of lines for `interrupted_at_line`, in order, of which the last is none.

    Every `step`-th line, and of the last ones each.
    """
    n_lines, _ = interrupted_at_line(-1, call)
    last = max(1, n_lines - LAST_LINES)
    # A few more: a run may take another way here and there.
    return [*range(1, last, step), *range(last, n_lines + 2), 2 * n_lines]


def resumed_fit(make_problem):
    X, y = make_problem("regression")
    model = MLPRegressor("squared_error", (3,), warm_start=True, max_iter=3, n_jobs=1)
    return model.set_params(random_state=0).fit(X, y), lambda model: model.fit(X, y), 11


def first_partial_fit(make_problem):
    X, y = make_problem("multiclass")
    model = MLPClassifier((3,), n_jobs=1, random_state=0)
    return model, lambda model: model.partial_fit(X, y, classes=[0, 1, 2]), 11


def other_solver(make_problem):
    X, y = make_problem("multiclass")
    model = MLPClassifier((3,), max_iter=3, n_jobs=1, random_state=0).fit(X, y)
    return model.set_params(solver="lbfgs"), lambda model: model.fit(X, y[::-1]), 11


def early_stopping(make_problem):
    X, y = make_problem("binary")
    model = MLPClassifier((3,), max_iter=3, n_jobs=1, random_state=0).fit(X, y)
    return model.set_params(early_stopping=True), lambda model: model.fit(X, y), 11


@ignores_convergence
@pytest.mark.filterwarnings("ignore:Training interrupted")
@pytest.mark.parametrize("make", [resumed_fit, first_partial_fit, other_solver, early_stopping])
def test_an_interrupt_at_any_line_leaves_the_old_state_or_the_new(
    make_problem, fitted_state, monkeypatch, make
):
    original, call, step = make(make_problem)
    old = fitted_state(original)
    complete = copy.deepcopy(original)
    call(complete)
    seen = set()
    for n in lines_to_try(step, partial(call, copy.deepcopy(original))):
        monkeypatch.setattr(interrupts.POLICY, "_last", float("-inf"))
        model = copy.deepcopy(original)
        _, came_out = interrupted_at_line(n, partial(call, model))
        state = fitted_state(model)
        seen.add((state == old, came_out))
        if state != old:
            assert state.keys() == fitted_state(complete).keys(), n
            earlier = getattr(original, "loss_curve_", []) if original.warm_start else []
            if hasattr(model, "loss_curve_"):
                assert len(model.loss_curve_) == len(earlier) + model.n_iter_, n
            model.predict(np.zeros((2, 5)))
    assert state == fitted_state(complete)
    # Before the attributes are replaced; in the epoch loop, which ends the fit early; after that.
    assert {(True, True), (False, False), (False, True)} <= seen


def test_an_interrupt_at_any_line_of_a_failing_fit_leaves_the_old_state(
    make_problem, fitted_state, monkeypatch
):
    X, y = make_problem("regression")
    model = MLPRegressor("squared_error", (3,), solver="sgd", n_jobs=1, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.set_params(max_iter=2).fit(X, y)
    model.set_params(learning_rate_init=1e200)
    old = fitted_state(model)

    def fail():
        with pytest.raises(ValueError, match="non-finite"):
            model.fit(X, y)

    tried = lines_to_try(11, fail)
    for n in tried:
        # As after an interrupt a moment ago: this one is meant to end more than the fit.
        monkeypatch.setattr(interrupts.POLICY, "_last", float("inf"))
        interrupted_at_line(n, fail)
        assert fitted_state(model) == old, n
    assert max(tried) > 200


class Unusual(MLPRegressor):
    """Keeps one attribute in a slot and one behind a property, and counts assignments."""

    __slots__ = ("alpha",)
    assigned = 0

    @property
    def max_iter(self):
        return self.__dict__["hidden"]

    @max_iter.setter
    def max_iter(self, value):
        self.__dict__["hidden"] = value

    def __setattr__(self, name, value):
        type(self).assigned += 1
        super().__setattr__(name, value)


@ignores_convergence
def test_subclasses_with_slots_properties_and_attributes_of_their_own(make_problem):
    X, y = make_problem("regression")
    expected = MLPRegressor("squared_error", (3,), max_iter=3, random_state=0, alpha=0.5).fit(X, y)
    model = Unusual("squared_error", (3,), max_iter=3, random_state=0, alpha=0.5)
    model.note = "kept"
    model.fit(X, y)
    assert (model.note, model.alpha, model.n_iter_) == ("kept", 0.5, 3)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    assert Unusual.assigned > 20


# --- Outputs that overflow only after the last step are a divergence ---


def overflowing(head, dtype, sparse=False):
    """Return an estimator and data on which its only step makes the outputs overflow."""
    X = np.random.default_rng(0).normal(size=(40, 4)).astype(dtype)
    y = np.arange(40) % 3
    params = {"hidden_layer_sizes": (), "max_iter": 1, "random_state": 0}
    # Far beyond the largest output, far below the largest weight.
    huge = 1e23 if dtype == "float32" else 1e292
    if head == "poisson":
        model = MLPRegressor("poisson", learning_rate_init=1e4, **params)
    elif head == "identity":
        model = MLPRegressor(activation="identity", solver="sgd", learning_rate_init=huge, **params)
        X *= 1e6
    else:
        model = MLPClassifier(solver="sgd", learning_rate_init=1e6 * huge, **params)
        X *= 1e6
    return model, scipy.sparse.csr_array(X) if sparse else X, y


OVERFLOWING = [
    ("poisson", "float32", False),
    ("poisson", "float64", False),
    ("identity", "float32", False),
    ("identity", "float64", True),
    ("softmax", "float32", True),
]


@pytest.mark.parametrize(("head", "dtype", "sparse"), OVERFLOWING)
def test_outputs_that_overflow_after_the_last_step_are_a_divergence(unchanged, head, dtype, sparse):
    model, X, y = overflowing(head, dtype, sparse)
    for name in ("fit", "partial_fit"):
        options = {"classes": [0, 1, 2]} if (head, name) == ("softmax", "partial_fit") else {}
        with (
            unchanged(model=model),
            pytest.raises(ValueError, match=r"not finite(?s:.*)diverged.*learning_rate_init"),
        ):
            getattr(model, name)(X, y, **options)


@pytest.mark.parametrize(("head", "dtype", "sparse"), OVERFLOWING)
def test_large_outputs_that_do_not_overflow_are_none(head, dtype, sparse):
    model, X, y = overflowing(head, dtype, sparse)
    model.learning_rate_init *= 1e-3 if head == "poisson" else 1e-5
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        model.fit(X, y)
    outputs = model._outputs(X)
    assert np.isfinite(outputs).all()


@ignores_convergence
def test_outputs_of_rows_without_weight_do_not_matter():
    model, X, y = overflowing("identity", "float64")
    X *= 1e-6
    X[5] *= 1e100
    model.learning_rate_init = 1e250
    weight = np.ones(len(X))
    weight[5] = 0.0
    model.fit(X, y, weight)
    assert np.isfinite(model.predict(X)).sum() == len(X) - 1


def test_best_weights_that_overflow_on_the_rows_trained_on_are_a_divergence(unchanged):
    """The score of the rows held out, none of which is large, is finite."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)).astype(np.float32), np.arange(40) % 3
    model = MLPClassifier((), solver="sgd", early_stopping=True, max_iter=1, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    train, _ = skmlp._splitting.split_rows(40, 0.1, split_generator(model, X), y[:, None])
    X[train[0]] = 1e30
    with (
        unchanged(model=model),
        pytest.raises(ValueError, match=r"not finite(?s:.*)diverged.*learning_rate_init"),
    ):
        model.fit(X, y)


def split_generator(model, X):
    """Return the generator as it is when the fit of a model without hidden layers splits rows."""
    generator = np.random.RandomState(model.random_state)
    for shape in ((X.shape[1], 3), 3):
        generator.uniform(size=shape)
    return generator


@pytest.mark.parametrize("learning_rate", [0.01, 0.1])
def test_a_loss_that_is_not_finite_is_mentioned(make_problem, learning_rate):
    X, y = make_problem("regression")
    model = MLPRegressor(
        "squared_error", (5, 4), "identity", solver="sgd", early_stopping=True, batch_size=12
    )
    model.set_params(learning_rate_init=learning_rate, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"diverged.*loss_=(nan|inf)"):
        model.fit(10 * X, y)
    assert not np.isfinite(model.loss_)


def test_outputs_are_not_computed_where_a_bound_tells(monkeypatch):
    """A bound costs microseconds, the outputs a third of an epoch."""

    def predict(*_):
        raise AssertionError("outputs were computed")

    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        X, y = rng.normal(size=(200, 64)).astype(dtype), rng.integers(0, 10, 200)
        classifier, regressor = MLPClassifier(), MLPRegressor(activation="tanh")
        with monkeypatch.context() as patched:
            patched.setattr(CpuEngine, "predict", predict)
            for _ in range(3):
                classifier.partial_fit(X, y, classes=np.arange(10))
                regressor.partial_fit(scipy.sparse.csr_array(1e3 * X), y)


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    units=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    activation=st.sampled_from([name for name, entry in ACTIVATIONS.items() if entry.hidden]),
    output=st.sampled_from(["identity", "logistic", "softmax", "exp"]),
    input_exponent=st.floats(-300, 300),
    exponents=st.lists(st.floats(-200, 200), min_size=3, max_size=3),
)
def test_what_cannot_overflow_does_not(seed, units, activation, output, input_exponent, exponents):
    rng = np.random.default_rng(seed)
    loss = {"identity": "squared_error", "exp": "poisson"}.get(output, "log_loss")
    network = plain_network(tuple(units), activation, loss, output)
    layout = layout_of(network)
    parameters = rng.normal(size=layout.size)
    coefs, intercepts = layout.views(parameters)
    for coef, intercept, exponent in zip(coefs, intercepts, exponents, strict=False):
        coef *= 10.0**exponent
        intercept *= 10.0**exponent
    X = rng.normal(size=(5, units[0])) * 10.0**input_exponent
    norm = euclidean_norm(parameters)
    if cannot_overflow(network, norm, euclidean_norm(X), "float64"):
        engine = ReferenceEngine()
        data = engine.load(X, None, None, network)
        with np.errstate(over="ignore"):  # the reference computes exp(-z) for logistic(z)
            outputs = engine.predict(network, coefs, intercepts, data)
        assert np.isfinite(outputs).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_euclidean_norm_of_any_layout(dtype, scale):
    rng = np.random.default_rng(0)
    for shape in ((0, 3), (1, 1), (300, 70), (2, 20_000), (20_000, 2), (50_000,)):
        values = (scale * rng.normal(size=shape)).astype(dtype)
        exact = np.sqrt(np.sum(values.astype(np.float64) ** 2))
        smallest = np.sqrt(values.size * LOST_SQUARE) * (1 + 1e-4)
        for laid_out in (values, np.asfortranarray(values), values[::-1], values[::2, ...]):
            expected = exact
            if laid_out.size != values.size:
                expected = np.sqrt(np.sum(laid_out.astype(np.float64) ** 2))
            norm = euclidean_norm(laid_out)
            assert expected * (1 - 1e-4) <= norm <= expected * (1 + 1e-4) + smallest


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("position", [0, 9_999, 29_999])
def test_euclidean_norm_of_what_is_not_finite_or_overflows(value, position):
    values = np.zeros(30_000)
    values[position] = value
    assert not np.isfinite(euclidean_norm(values))
    assert not np.isfinite(euclidean_norm(values.reshape(300, 100).T))
    assert not np.isfinite(euclidean_norm(values.reshape(300, 100)[:, ::-1]))
