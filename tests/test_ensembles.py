"""Ensembles: members are the plain fits of their seeds, and predictions are means over them."""

import pickle
import re
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble._base import _set_random_states
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import estimator_checks_generator

import skmlp
from skmlp import LayerTransformer, MLPClassifier, MLPRegressor, activations, losses
from skmlp._ensembles import in_common
from skmlp._members import ALONE
from skmlp._warning import Remark
from skmlp.initializers import From
from skmlp.training import lbfgs, loop

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores:UserWarning"),
]

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 3}
OF_BATCHES = {"batch_size": 16, "learning_rate_init": 0.01}
# What may follow the fit of a member: all steps before and after the loop, at least once.
KINDS = {
    "plain": ("multiclass", {}),
    "sgd": ("binary", {"solver": "sgd", "class_weight": {0: 2.0}, "label_smoothing": 0.1}),
    "normalized": (
        "multilabel",
        {"normalization": "batch", "dropout": 0.3, "input_noise": 0.1, **OF_BATCHES},
    ),
    "constrained": (
        "multi_regression",
        {"connectivity": 0.5, "init": "data_driven", "ema_decay": 0.9, "monitor": "penalty"},
    ),
    "scaled": ("regression", {"y_scale": "standard", "max_norm": 1.0, "mixup": 0.2}),
    "lbfgs": ("poisson", {"solver": "lbfgs"}),
    "single": ("regression", {"loss": "gaussian_nll", "dtype": "float32", "shuffle": False}),
    "quantiles": ("regression", {"loss": losses.Quantile((0.1, 0.9)), "solver": "lbfgs"}),
    "object": ("regression", {"activation": activations.LeakyReLU(0.2), "learning_rate": "cosine"}),
}


def alone(ensemble, seed):
    """Return the estimator whose fit a member should be."""
    return clone(ensemble).set_params(**ALONE, random_state=seed)


def expected_seeds(ensemble):
    """Return the seeds that scikit-learn's ensembles would give to as many estimators."""
    random_state = check_random_state(ensemble.random_state)
    seeds = []
    for _ in range(ensemble.n_estimators):
        estimator = clone(ensemble)
        _set_random_states(estimator, random_state)
        seeds.append(estimator.random_state)
    return seeds


def drawn_by(seed, n_rows):
    """Return the numbers that scikit-learn's forests draw for a tree with this seed."""
    return np.random.RandomState(seed).randint(0, n_rows, n_rows)


def assert_same_fit(member, expected, fitted_state):
    """All attributes are bitwise the same, those of the estimator's records included."""
    assert fitted_state(member) == fitted_state(expected)
    assert repr(member.get_params()) == repr(expected.get_params())


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_plain_fits(kind, make_problem, make_estimator, fitted_state):
    head, params = KINDS[kind]
    X, y = make_problem(head)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(X))
    model = make_estimator(head, **SMALL, **params, n_estimators=3)
    model.fit(X, y, weight)
    assert [member.random_state for member in model.estimators_] == expected_seeds(model)
    for member in model.estimators_:
        expected = alone(model, member.random_state).fit(X, y, weight)
        assert_same_fit(member, expected, fitted_state)
        assert_array_equal(member.predict(X), expected.predict(X))
    assert model.n_iter_ == max(member.n_iter_ for member in model.estimators_)
    assert model.loss_ == np.mean([member.loss_ for member in model.estimators_])
    assert (model.n_outputs_, model.out_activation_) == (
        expected.n_outputs_,
        member.out_activation_,
    )


@pytest.mark.parametrize("kind", ["plain", "constrained", "lbfgs"])
def test_members_are_plain_fits_of_their_samples(kind, make_problem, make_estimator, fitted_state):
    head, params = KINDS[kind]
    X, y = make_problem(head, n_samples=90)
    X = X if kind == "plain" else scipy.sparse.csr_array(X)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(X.shape) and X.shape[0])
    model = make_estimator(head, **SMALL, **params, n_estimators=3, bootstrap=True)
    model.fit(X, y, weight)
    assert len(model.estimators_samples_) == 3
    for member, rows in zip(model.estimators_, model.estimators_samples_, strict=True):
        assert_array_equal(rows, drawn_by(member.random_state, len(y)))
        expected = alone(model, member.random_state).fit(X[rows], y[rows], weight[rows])
        assert_same_fit(member, expected, fitted_state)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_all_members_are_watched_by_the_same_samples(bootstrap, make_problem, fitted_state):
    X, y = make_problem("binary", n_samples=120)
    model = MLPClassifier(
        **{**SMALL, "max_iter": 30},
        **{"early_stopping": True, "n_iter_no_change": 2, "learning_rate_init": 0.1},
        **{"temperature": "fit", "init": "data_driven", "restore_best": True},
        **{"n_estimators": 3, "bootstrap": bootstrap},
    ).fit(X, y)
    random_state = check_random_state(model.random_state)
    random_state.randint(np.iinfo(np.int32).max, size=3)
    train, held_out = train_test_split(
        np.arange(len(X)), random_state=random_state, test_size=0.1, stratify=y
    )
    assert len({member.n_iter_ for member in model.estimators_}) > 1, "each stops by itself"
    for member, rows in zip(model.estimators_, model.estimators_samples_, strict=True):
        if bootstrap:
            assert_array_equal(rows, train[drawn_by(member.random_state, len(train))])
        else:
            assert_array_equal(rows, train)
        expected = alone(model, member.random_state)
        expected.fit(X[rows], y[rows], X_val=X[held_out], y_val=y[held_out])
        assert_same_fit(member, expected, fitted_state)
    own = [member.predict_proba(X) for member in model.estimators_]
    assert len({member.temperature_ for member in model.estimators_}) == 3
    assert_allclose(model.predict_proba(X), np.mean(own, axis=0), rtol=1e-12)


def test_threads_do_not_matter(make_problem, fitted_state, always_parallel):
    X, y = make_problem("multiclass", n_samples=200)
    params = {**SMALL, "n_estimators": 3, "bootstrap": True, "oob_score": True}
    models = [MLPClassifier(**params, n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 2, 3)]
    states = [[fitted_state(member) for member in model.estimators_] for model in models]
    assert states[0] == states[1] == states[2]
    assert models[0].oob_score_ == models[1].oob_score_
    assert_array_equal(models[0].predict_proba(X), models[2].predict_proba(X))


def test_data_are_validated_and_loaded_once(make_problem, monkeypatch):
    X, y = make_problem("regression")
    from skmlp.engines.cpu import CpuEngine

    calls = {"load": 0, "start": 0, "_prepare": 0}

    def counting(owner, name):
        method = getattr(owner, name)

        def counted(self, *args, **kwargs):
            calls[name] += 1
            return method(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    counting(CpuEngine, "load")
    counting(CpuEngine, "start")
    counting(MLPRegressor, "_prepare")
    MLPRegressor(**SMALL, n_estimators=5, bootstrap=True, oob_score=True).fit(X, y)
    assert calls == {"load": 1, "start": 1, "_prepare": 1}


# --- Predictions ---


def test_the_mean_is_never_worse_than_its_members_on_average(make_problem):
    X, y = make_problem("regression", n_samples=60)
    y = y + np.random.default_rng(0).normal(size=len(y))
    params = {**SMALL, "max_iter": 60, "learning_rate_init": 0.05, "hidden_layer_sizes": (20,)}
    model = MLPRegressor(**params, n_estimators=10).fit(X[:40], y[:40])

    def error(predictions, target):
        return (predictions - target) ** 2

    single = np.array([member.predict(X) for member in model.estimators_])
    mean = model.predict(X)
    assert_array_equal(mean, single.mean(axis=0))
    for own, averaged, target in zip(single.T, mean, y, strict=True):
        # In exact arithmetic, with the exact mean beside the one that is rounded.
        own, target = [Fraction(value) for value in own.tolist()], Fraction(float(target))
        exact = sum(own) / len(own)
        assert abs(exact - Fraction(float(averaged))) < Fraction(1, 10**14)
        assert error(exact, target) <= sum(error(value, target) for value in own) / len(own)
    errors = error(single[:, 40:], y[40:]).mean(axis=1)
    assert error(mean[40:], y[40:]).mean() < errors.mean() - 0.05, "it is much better here"


def mixture(means, deviations):
    """Return mean and standard deviation of equal parts of distributions, from their moments."""
    mean = np.mean(means, axis=0)
    second = np.mean([m**2 + s**2 for m, s in zip(means, deviations, strict=True)], axis=0)
    return mean, np.sqrt(second - mean**2)


@pytest.mark.parametrize("loss", ["gaussian_nll", "laplace_nll"])
@pytest.mark.parametrize("head", ["regression", "multi_regression"])
def test_variances_add_up(loss, head, make_problem):
    X, y = make_problem(head)
    model = MLPRegressor(loss, **SMALL, solver="lbfgs", y_scale="standard", n_estimators=4)
    values, deviations = model.fit(X, 10 + 5 * y).predict(X, return_std=True)
    own = [member.predict(X, return_std=True) for member in model.estimators_]
    expected = mixture(*zip(*own, strict=True))
    assert values.shape == deviations.shape == y.shape
    assert_allclose(values, expected[0], rtol=1e-12)
    assert_allclose(deviations, expected[1], rtol=1e-8)
    assert_array_equal(values, model.predict(X))


def test_deviations_are_those_of_the_members(make_problem):
    X, y = make_problem("multi_regression")
    model = MLPRegressor(**SMALL, n_estimators=4, y_scale="standard").fit(X, 1e6 + y)
    values, deviations = model.predict(X, return_std=True)
    own = np.array([member.predict(X) for member in model.estimators_])
    assert_allclose(values, own.mean(axis=0), rtol=1e-14)
    assert_allclose(deviations, own.std(axis=0), rtol=1e-7)
    with pytest.raises(ValueError, match="n_estimators above 1"):
        model.estimators_[0].predict(X, return_std=True)


def test_several_quantiles_stay_in_order(make_problem):
    X, y = make_problem("multi_regression")
    levels = losses.Quantile((0.1, 0.5, 0.9))
    model = MLPRegressor(levels, **SMALL, n_estimators=5, dtype="float32").fit(X, y)
    values, deviations = model.predict(X, return_std=True)
    assert values.shape == deviations.shape == (len(X), 3, 3)
    assert values.dtype == deviations.dtype == np.float32
    assert (np.diff(values, axis=-1) >= 0).all()
    own = [member.predict(X).astype(np.float64) for member in model.estimators_]
    assert_allclose(values, np.mean(own, axis=0), rtol=1e-6)
    assert np.isfinite(model.score(X, y))


@pytest.mark.parametrize("head", ["binary", "multiclass", "multilabel", "several", "constant"])
def test_probabilities_are_means(head, make_problem):
    kinds = {"several": "multiclass", "constant": "multiclass"}
    X, y = make_problem(kinds.get(head, head))
    if head in kinds:
        other = np.where(X[:, 0] > 0, "b", "a") if head == "several" else np.full(len(X), "a")
        y = np.column_stack([y.astype(str), other])
    model = MLPClassifier(**SMALL, n_estimators=3, temperature=2.0).fit(X, y)
    given = model.predict_proba(X, return_std=True)
    whole = model.predict_proba(X)
    each = [member.predict_proba(X) for member in model.estimators_]
    parts = [given[0], given[1], whole] if head in kinds else [[given[0]], [given[1]], [whole]]
    for number, (mean, deviation, again) in enumerate(zip(*parts, strict=True)):
        own = [one[number] if head in kinds else one for one in each]
        assert_array_equal(mean, again)
        assert mean.shape == deviation.shape
        assert_allclose(mean, np.mean(own, axis=0), rtol=1e-14)
        assert_allclose(deviation, np.std(own, axis=0), atol=1e-14)
        if head != "multilabel":
            labels = model.classes_[number] if head in kinds else model.classes_
            predicted = model.predict(X)
            predicted = predicted[:, number] if head in kinds else predicted
            assert_array_equal(predicted, labels[mean.argmax(axis=1)])
        else:
            assert_array_equal(model.predict(X), mean > 0.5)
    logarithms = model.predict_log_proba(X)
    assert_array_equal(logarithms[0], np.log(whole[0]))
    with pytest.raises(ValueError, match="Fit with n_estimators above 1"):
        model.estimators_[0].predict_proba(X, return_std=True)


def test_scores_of_hinges_are_means(make_problem):
    X, y = make_problem("binary")
    model = MLPClassifier(**SMALL, loss="hinge", n_estimators=3, bootstrap=True, oob_score=True)
    scores = model.fit(X, y).decision_function(X)
    own = [member.decision_function(X) for member in model.estimators_]
    assert_array_equal(scores, np.mean(own, axis=0))
    assert_array_equal(model.predict(X), scores > 0)
    assert model.oob_decision_function_.shape == scores.shape
    assert not hasattr(model, "predict_proba")


# --- Samples that a member was not trained on ---


def out_of_bag(model, predictions, known_of=None):
    """Return the mean of each sample's predictions by members that were not trained on it."""
    shape = predictions[0].shape
    totals, counts = np.zeros(shape), np.zeros(shape)
    for own, rows in zip(predictions, model.estimators_samples_, strict=True):
        is_out = np.ones(shape[0], dtype=bool) if known_of is None else known_of.copy()
        is_out[rows] = False
        totals[is_out] += own[is_out]
        counts[is_out] += 1
    with np.errstate(invalid="ignore"):
        return totals / counts


OUT_OF_BAG = {"n_estimators": 6, "bootstrap": True, "oob_score": True}


def test_out_of_bag_probabilities(make_problem):
    X, y = make_problem("multiclass", n_samples=80)
    params = {**SMALL, "max_iter": 40, "learning_rate_init": 0.02, "temperature": 0.5}
    with pytest.warns(UserWarning, match="^Some inputs do not have OOB scores"):
        model = MLPClassifier(**params, **OUT_OF_BAG).fit(X, y)
    own = [member.predict_proba(X) for member in model.estimators_]
    expected = out_of_bag(model, own)
    assert_allclose(model.oob_decision_function_, expected, rtol=1e-12)
    known = ~np.isnan(expected[:, 0])
    assert not known.all()
    assert model.oob_score_ == accuracy_score(y[known], expected[known].argmax(axis=1))
    assert model.oob_score_ < model.score(X, y)


def test_out_of_bag_probabilities_of_several_targets(make_problem):
    X, y = make_problem("multiclass", n_samples=80)
    y = np.column_stack([y.astype(str), np.full(len(X), "a")])
    model = MLPClassifier(**SMALL, **OUT_OF_BAG).fit(X, y)
    own = [member.predict_proba(X) for member in model.estimators_]
    expected = [out_of_bag(model, parts) for parts in zip(*own, strict=True)]
    assert np.isnan(expected[1]).any()
    for found, part in zip(model.oob_decision_function_, expected, strict=True):
        assert_allclose(found, part, rtol=1e-12)
    known = ~np.isnan(expected[1][:, 0])
    correct = model.classes_[0][expected[0][known].argmax(axis=1)] == y[known, 0]
    assert_allclose(model.oob_score_, (correct.mean() + 1.0) / 2)


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", losses.Quantile((0.2, 0.8))])
def test_out_of_bag_predictions(loss, make_problem):
    X, y = make_problem("multi_regression", n_samples=80)
    y = 5.0 + y
    model = MLPRegressor(loss, **SMALL, **OUT_OF_BAG, solver="lbfgs", y_scale="standard")
    with pytest.warns(UserWarning, match="^Some inputs do not have OOB scores"):
        model.fit(X, y)
    expected = out_of_bag(model, [member.predict(X) for member in model.estimators_])
    assert_allclose(model.oob_prediction_, expected, rtol=1e-12)
    if not isinstance(loss, losses.Quantile):
        known = ~np.isnan(expected[:, 0])
        assert_allclose(model.oob_score_, r2_score(y[known], expected[known]), rtol=1e-12)
    assert np.isfinite(model.oob_score_)


def test_held_out_samples_are_not_out_of_bag(make_problem):
    X, y = make_problem("binary", n_samples=60)
    params = {**SMALL, **OUT_OF_BAG, "n_estimators": 20, "early_stopping": True}
    model = MLPClassifier(**params, validation_fraction=0.25).fit(X, y)
    known = ~np.isnan(model.oob_decision_function_[:, 0])
    assert known.sum() == 45
    assert set(np.concatenate(model.estimators_samples_)) == set(np.flatnonzero(known))
    own = [member.predict_proba(X) for member in model.estimators_]
    expected = out_of_bag(model, own, known_of=known)
    assert_allclose(model.oob_decision_function_, expected, rtol=1e-12)


def test_samples_without_weight_may_not_be_all_that_is_drawn(make_problem, unchanged):
    X, y = make_problem("regression", n_samples=30)
    model = MLPRegressor(**SMALL, n_estimators=9, bootstrap=True).fit(X, y)
    weight = np.zeros(len(X))
    weight[4] = 1.0
    with (
        unchanged(X, y, weight, model=model),
        pytest.raises(ValueError, match="whose weight is zer"),
    ):
        model.fit(X, y, weight)


# --- One fit after another ---


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_what_an_earlier_fit_has_left_is_gone(estimator, make_problem, fitted_state):
    X, y = make_problem("binary")
    several = {**OUT_OF_BAG, "n_estimators": 3, "early_stopping": True}
    model = estimator(**SMALL).fit(X, y).set_params(**several)
    ensemble = model.fit(X, y)
    assert fitted_state(ensemble) == fitted_state(clone(model).fit(X, y))
    model.set_params(**ALONE, early_stopping=False).fit(X, y)
    assert fitted_state(model) == fitted_state(clone(model).fit(X, y))
    assert "estimators_" not in vars(model)


def test_members_go_on_by_themselves(make_problem, fitted_state):
    X, y = make_problem("multiclass")
    params = {**SMALL, "n_estimators": 3, "dropout": 0.2}
    long = MLPClassifier(**{**params, "max_iter": 6}).fit(X, y)
    resumed = MLPClassifier(**{**params, "max_iter": 2}, warm_start=True)
    for _ in range(3):
        resumed.fit(X, y)
    pieces = MLPClassifier(**params)
    for _ in range(6):
        pieces.partial_fit(X, y, classes=[0, 1, 2])
    for one, other, third in zip(
        long.estimators_, resumed.estimators_, pieces.estimators_, strict=True
    ):
        assert one.random_state == other.random_state == third.random_state
        assert one.loss_curve_ == other.loss_curve_ == third.loss_curve_
        assert_array_equal(one.coefs_[0], other.coefs_[0])
        assert_array_equal(one.coefs_[0], third.coefs_[0])
    # Those of a pickle do so too.
    twins = pickle.loads(pickle.dumps(pieces)).partial_fit(X, y), pieces.partial_fit(X, y)
    assert_array_equal(twins[0].predict_proba(X), twins[1].predict_proba(X))
    fitted = alone(pieces, pieces.estimators_[1].random_state)
    for _ in range(7):
        fitted.partial_fit(X, y, classes=[0, 1, 2])
    assert_same_fit(pieces.estimators_[1], fitted, fitted_state)


def test_weights_take_what_was_changed_meanwhile(make_problem):
    X, y = make_problem("regression")
    model = MLPRegressor(**SMALL, n_estimators=2, warm_start=True).fit(X, y)
    before = model.estimators_
    model.set_params(learning_rate_init=0.1, alpha=0.5, early_stopping=True).fit(X, y)
    assert [member.alpha for member in model.estimators_] == [0.5, 0.5]
    assert [member.alpha for member in before] == [0.0001, 0.0001]
    assert all(len(member.loss_curve_) == 8 for member in model.estimators_)
    with pytest.raises(ValueError, match="n_estimators=1, but the fit before has left 2 networks"):
        model.set_params(n_estimators=1).fit(X, y)
    single = MLPRegressor(**SMALL, warm_start=True).fit(X, y).set_params(n_estimators=2)
    with pytest.raises(ValueError, match="n_estimators=2, but the fit before has left 1 network"):
        single.fit(X, y)


def test_clones_pickles_and_searches(make_problem, fitted_state):
    X, y = make_problem("binary")
    model = MLPClassifier(**SMALL, **OUT_OF_BAG, activation=activations.LeakyReLU(0.2))
    search = GridSearchCV(
        model, {"n_estimators": [2, 3], "activation__negative_slope": [0.1]}, cv=2
    )
    best = search.fit(X, y).best_estimator_
    assert len(best.estimators_) == best.n_estimators
    assert search.cv_results_["mean_test_score"].shape == (2,)
    loaded = pickle.loads(pickle.dumps(best))
    for one, other in zip(loaded.estimators_, best.estimators_, strict=True):
        assert fitted_state(one) == fitted_state(other)
        assert "_parent_callback_ctx" not in vars(one), "of the search, not of the member"
    assert_array_equal(loaded.predict_proba(X), best.predict_proba(X))
    assert loaded.estimators_[0].classes_ is loaded.classes_
    assert not hasattr(clone(best), "estimators_")
    assert not hasattr(clone(best.estimators_[0]).set_params(random_state=0), "coefs_")
    # Objects among the parameters are not shared: to set one of a member's sets no other's.
    best.estimators_[0].set_params(activation__negative_slope=0.7)
    assert best.activation.negative_slope == best.estimators_[1].activation.negative_slope == 0.1


CHECKS = {
    *("check_dict_unchanged", "check_dont_overwrite_attributes", "check_estimator_sparse_array"),
    *("check_estimators_overwrite_params", "check_estimators_pickle", "check_fit2d_1feature"),
    *("check_fit2d_1sample", "check_fit_idempotent", "check_methods_subset_invariance"),
    *("check_methods_sample_order_invariance", "check_n_features_in", "check_fit_check_is_fitted"),
    *(
        "check_no_attributes_set_in_init",
        "check_sample_weights_list",
        "check_readonly_memmap_input",
    ),
    *("check_regressors_train", "check_classifiers_classes", "check_dataframe_column_names"),
    *("check_estimators_partial_fit_n_features", "check_estimators_fit_returns_self"),
    *("check_estimator_repr", "check_fit_score_takes_y", "check_non_transformer_estimators_n_iter"),
}


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_checks_of_scikit_learn(estimator):
    model = estimator(hidden_layer_sizes=(5,), max_iter=60, learning_rate_init=0.03, n_estimators=2)
    model.set_params(random_state=0)
    passed = set()
    for instance, check in estimator_checks_generator(model):
        if check.func.__name__ in CHECKS:
            check(instance)
            passed.add(check.func.__name__)
    assert len(passed) > len(CHECKS) - 4


# --- How fits end ---


def test_one_that_diverges_leaves_the_earlier_model(make_problem, unchanged):
    X, y = make_problem("regression")
    model = MLPRegressor(**SMALL, n_estimators=3).fit(X, y)
    model.set_params(solver="sgd", learning_rate_init=1e9)
    message = r"non-finite.*network 0 of 3, the one with random_state=\d+\.$"
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=message):
        model.fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_interrupt_keeps_what_was_learned(solver, make_problem, monkeypatch):
    X, y = make_problem("regression")
    monkeypatch.setattr(loop.POLICY, "_last", float("-inf"))
    seen = []

    def interrupting(method, key):
        """Return a method that is interrupted where it would tell of a third network."""

        def called(self, *args, **kwargs):
            seen.append(key(self))
            if len(set(seen)) == 3:
                raise KeyboardInterrupt
            return method(self, *args, **kwargs)

        return called

    if solver == "lbfgs":
        progress = lbfgs._Progress
        monkeypatch.setattr(progress, "begin", interrupting(progress.begin, id))
    else:
        monkeypatch.setattr(loop.Trainer, "record", interrupting(loop.Trainer.record, id))
    params = {**SMALL, "max_iter": 100, "tol": 1e-9, "solver": solver, "n_estimators": 5}
    with pytest.warns() as caught:
        model = MLPRegressor(**params).fit(X, y)
    told = " ".join(str(warning.message) for warning in caught)
    assert "interrupted by user" in told
    assert "3 of 5 networks had not been trained yet" in told
    # Which ones come first is not known where several are under way.
    seeds = expected_seeds(model)
    kept = [member.random_state for member in model.estimators_]
    assert kept == [seed for seed in seeds if seed in kept]
    assert len(kept) == 2
    assert all(member.n_iter_ > 0 for member in model.estimators_)
    own = [member.predict(X) for member in model.estimators_]
    assert_array_equal(model.predict(X), np.mean(own, axis=0))
    with pytest.raises(ValueError, match="n_estimators=5, but the fit before has left 2 networks"):
        model.set_params(warm_start=True).fit(X, y)


def test_an_interrupt_before_all_epochs_keeps_something(make_problem, monkeypatch):
    X, y = make_problem("regression")

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    for solver, n_members in (("adam", 3), ("lbfgs", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(loop.POLICY, "_last", float("-inf"))
            patch.setattr(loop.Trainer, "record", interrupt)
            patch.setattr(lbfgs._Progress, "begin", interrupt)
            with pytest.warns(UserWarning, match="before an iteration ended|had not been trained"):
                model = MLPRegressor(**SMALL, solver=solver, n_estimators=3).fit(X, y)
        assert len(model.estimators_) == n_members
        assert np.isnan(model.loss_)
        assert np.isfinite(model.predict(X)).all()


def test_a_second_interrupt_leaves_the_earlier_model(make_problem, monkeypatch, unchanged):
    X, y = make_problem("regression")
    model = MLPRegressor(**SMALL, n_estimators=2).fit(X, y)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.POLICY, "_last", float("inf"))
    monkeypatch.setattr(loop.Trainer, "record", interrupt)
    with unchanged(X, y, model=model), pytest.raises(KeyboardInterrupt):
        model.fit(X, y)


def test_warnings_are_said_once(make_problem, capsys):
    X, y = make_problem("binary")
    model = MLPClassifier(**SMALL, n_estimators=3, verbose=True, batch_size=1000)
    with pytest.warns() as caught:
        model.fit(X, y)
    assert [warning.category for warning in caught] == [UserWarning, ConvergenceWarning]
    assert re.match(r"Stochastic Optimizer: Maximum iterations \(4\)", str(caught[1].message))
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("Network 2: Iteration 4, loss = 0.") for line in lines) == 1
    with pytest.warns(ConvergenceWarning) as caught:
        model.set_params(verbose=2, batch_size="auto").fit(X, y)
    assert re.match("Epoch 12 of at most 12: loss 0.", capsys.readouterr().out.splitlines()[-1])
    assert len(caught) == 1


def test_remarks_that_differ_in_numbers_are_one():
    early, late = (Remark(f"It ended after {n} epochs of 1e-3.", UserWarning) for n in (3, 14))
    other = Remark("It ended.", ConvergenceWarning)
    shared = Remark("This is so.", UserWarning)
    remarks = [[shared, early], [shared, late, other], [shared]]
    assert in_common(remarks, 3) == [
        shared,
        Remark(f"In 2 of 3 networks, one of which says: {early.message}", UserWarning),
        Remark("In 1 of 3 networks, one of which says: It ended.", ConvergenceWarning),
    ]


# --- What only one network has, or can do ---


@pytest.fixture(scope="module")
def ensemble():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))
    return MLPClassifier(**SMALL, n_estimators=3).fit(X, X[:, 0] > 0), X


def test_attributes_of_one_network_are_its_own(ensemble):
    model, _ = ensemble
    names = set(vars(model.estimators_[0])) - set(vars(model)) | {"history_"}
    public = {name for name in names if not name.startswith("_")}
    assert {"coefs_", "loss_curve_", "best_loss_", "t_", "temperature_", "stop_reason_"} <= public
    for name in public:
        with pytest.raises(AttributeError, match=rf"estimators_\[0\]\.{name}\.$"):
            getattr(model, name)
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match=name):
            getattr(MLPClassifier(), name)
    assert "estimators_" in model._repr_html_()
    with pytest.raises(AttributeError, match="no ensemble was fitted"):
        model.estimators_[0].estimators_samples_  # noqa: B018


def test_what_is_asked_of_one_network_is_refused(ensemble):
    model, X = ensemble
    asked = [
        model.summary,
        lambda: model.input_gradients(X),
        lambda: model.dead_units(X),
        lambda: From(model),
        LayerTransformer(FrozenEstimator(model)).fit,
        lambda: LayerTransformer(model).fit(X, X[:, 0] > 0),
    ]
    for call in asked:
        with pytest.raises(ValueError, match=r"(?s)estimators_|n_estimators=3"):
            call(*[X] * (call is asked[4]))
    with pytest.raises(ValueError, match="scikit-learn's MLPClassifier is one network"):
        model.to_sklearn()
    assert model.estimators_[0].to_sklearn().predict(X).shape == (40,)
    with pytest.raises(ValueError, match=r"^to_torch is for one network"):
        model.to_torch()


@pytest.mark.parametrize(
    ("params", "call", "message"),
    [
        ({"oob_score": True}, "fit", "^Out of bag estimation only available if bootstrap=True"),
        ({"oob_score": np.True_, "bootstrap": np.False_}, "fit", "^Out of bag estimation"),
        ({"bootstrap": "x"}, "fit", "'bootstrap' parameter"),
        ({"bootstrap": True}, "partial_fit", "partial_fit does not go with bootstrap=True"),
        ({"n_estimators": 0}, "fit", "'n_estimators' parameter"),
    ],
)
def test_what_does_not_go_with_ensembles(params, call, message, make_problem, unchanged):
    X, y = make_problem("regression")
    model = MLPRegressor(**SMALL, n_estimators=2).fit(X, y).set_params(**params)
    fit = model.partial_fit if call == "partial_fit" else model.fit
    with unchanged(X, y, model=model), pytest.raises(ValueError, match=message):
        fit(X, y)


def test_more_networks_than_memory_are_refused(make_problem, unchanged):
    X, y = make_problem("regression")
    model = MLPRegressor(**SMALL).fit(X, y).set_params(n_estimators=2**70)
    message = f"times n_estimators={2**70}, .* fewer networks"
    with unchanged(X, y, model=model), pytest.raises(MemoryError, match=message):
        model.fit(X, y)


def test_bagging_one_network_has_no_effect(make_problem, fitted_state):
    X, y = make_problem("regression")
    expected = MLPRegressor(**SMALL).fit(X, y)
    with pytest.warns(UserWarning, match="bootstrap=True has no effect with n_estimators=1"):
        model = MLPRegressor(**SMALL, bootstrap=True).fit(X, y)
    assert fitted_state(model) == fitted_state(expected)


def test_learning_rates_are_found_for_one_network(make_problem):
    X, y = make_problem("regression")
    params = {**SMALL, "batch_size": 8}
    found = [
        skmlp.find_learning_rate(MLPRegressor(**params, **several), X, y)
        for several in ({}, {**OUT_OF_BAG})
    ]
    assert_array_equal(found[0].losses, found[1].losses)


@pytest.mark.parametrize(
    "members",
    [None, [], "ab", 3, lambda m: [m[0], None], lambda m: [m[0], clone(m[1])],
     lambda m: [m[0], MLPRegressor(**SMALL).fit([[0.0]] * 3, [1.0, 2.0, 3.0])],
     lambda m: [m[0], MLPClassifier(**SMALL).fit([[0.0], [1.0], [1.0]], [0, 1, 2])]],
)  # fmt: skip
def test_members_that_are_none(members, ensemble):
    model, X = ensemble
    model = pickle.loads(pickle.dumps(model))
    model.estimators_ = members(model.estimators_) if callable(members) else members
    for call in (model.predict, model.predict_proba, lambda X: model.save("nowhere")):
        with pytest.raises(ValueError, match=r"estimators_|not fitted"):
            call(X)


# --- Out and in again ---


@pytest.mark.parametrize("kind", ["plain", "normalized", "quantiles", "scaled", "single", "object"])
def test_files_hold_all_members(kind, make_problem, make_estimator, tmp_path):
    head, params = KINDS[kind]
    X, y = make_problem(head)
    model = make_estimator(head, **SMALL, **params, n_estimators=3).fit(X, y)
    model.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model")
    assert repr(loaded) == repr(model)
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert (loaded.loss_, loaded.n_iter_) == (model.loss_, model.n_iter_)
    for one, other in zip(loaded.estimators_, model.estimators_, strict=True):
        assert repr(one) == repr(other)
        assert_array_equal(one.predict(X), other.predict(X))
        assert_array_equal(one.coefs_[0], other.coefs_[0])
        assert getattr(one, "loss_curve_", None) == getattr(other, "loss_curve_", None)
    if "solver" not in params:
        loaded.partial_fit(X, y) if "learning_rate" not in params else None
    if kind == "object":
        loaded.estimators_[0].set_params(activation__negative_slope=0.7)
        assert loaded.activation.negative_slope == 0.2


def test_files_hold_out_of_bag_predictions_and_changed_members(make_problem, tmp_path):
    X, y = make_problem("binary")
    model = MLPClassifier(**SMALL, **OUT_OF_BAG).fit(X, y)
    model.estimators_[1].set_params(n_jobs=2)
    model.estimators_[1].coefs_[0][...] = 0.0
    model.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model")
    assert loaded.oob_score_ == model.oob_score_
    assert_array_equal(loaded.oob_decision_function_, model.oob_decision_function_)
    assert [member.n_jobs for member in loaded.estimators_] == [None, 2, None, None, None, None]
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    with pytest.raises(AttributeError, match="files of models do not keep them"):
        loaded.estimators_samples_  # noqa: B018


ONNX = {
    "binary": ("binary", {"temperature": 3.0}),
    "multiclass": ("multiclass", {}),
    "multilabel": ("multilabel", {"normalization": "layer"}),
    "hinge": ("multiclass", {"loss": "hinge"}),
    "regression": ("multi_regression", {"y_scale": "standard"}),
    "quantiles": ("multi_regression", {"loss": losses.Quantile((0.1, 0.5, 0.9))}),
    "gaussian": ("regression", {"loss": "gaussian_nll", "normalization": "batch"}),
}


@pytest.mark.parametrize("kind", ONNX)
def test_onnx_models_put_out_the_means(kind, make_problem, make_estimator):
    pytest.importorskip("onnx", reason="needs ONNX")
    runtime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    head, params = ONNX[kind]
    X, y = make_problem(head)
    model = make_estimator(head, **{**SMALL, "max_iter": 30}, **params, n_estimators=3).fit(X, y)
    if kind == "binary":
        model.estimators_[0].temperature_ = 0.2  # each has its own
    session = runtime.InferenceSession(model.to_onnx(dtype="float64").SerializeToString())
    put_out = session.run(None, {"X": X})
    if isinstance(model, MLPRegressor):
        assert_allclose(put_out[0], model.predict(X), rtol=1e-9)
        return
    assert_array_equal(put_out[0], model.predict(X))
    expected = model.decision_function(X) if kind == "hinge" else model.predict_proba(X)
    assert_allclose(put_out[1], expected, rtol=1e-9)


def test_pipelines_with_ensembles_become_onnx_models(make_problem):
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    skl2onnx = pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    import onnxruntime

    skmlp.register_skl2onnx()
    X, y = make_problem("multiclass")
    model = MLPClassifier(**SMALL, n_estimators=2).fit(X, y)
    exported = skl2onnx.to_onnx(model, X[:1], target_opset=18, options={"zipmap": False})
    session = onnxruntime.InferenceSession(exported.SerializeToString())
    labels, probabilities = session.run(None, {"X": X})
    assert_array_equal(labels, model.predict(X))
    assert_allclose(probabilities, model.predict_proba(X), rtol=1e-9)


def test_initial_generators_are_those_of_numpy():
    from skmlp.training.generators import seeded

    for seed in (0, 7, np.int64(2**31), 2**32 - 1):
        ours, theirs = seeded(seed), np.random.RandomState(seed)
        assert_array_equal(ours.normal(size=700), theirs.normal(size=700))
    with pytest.raises(ValueError, match="2\\*\\*32"):
        seeded(2**32)
