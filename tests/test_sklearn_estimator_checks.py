"""scikit-learn's estimator checks, on both estimators in several configurations."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skmlp import MLPClassifier, MLPRegressor

# Few epochs leave most of these fits unconverged, and some checks let the warning through.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CONFIGURATIONS = [
    {"max_iter": 60},
    {"max_iter": 30, "hidden_layer_sizes": 20, "solver": "lbfgs"},
    {"max_iter": 60, "solver": "sgd", "learning_rate_init": 0.03, "learning_rate": "adaptive"},
    {"max_iter": 60, "hidden_layer_sizes": (), "learning_rate_init": 0.1},
    {"max_iter": 30, "hidden_layer_sizes": (), "solver": "lbfgs", "device": "auto"},
    {"max_iter": 60, "dtype": "float64", "shuffle": False, "learning_rate_init": 0.003},
]
ESTIMATORS = [
    estimator(random_state=0, **configuration)
    for estimator in (MLPClassifier, MLPRegressor)
    for configuration in CONFIGURATIONS
]
DEEP = {"max_iter": 60, "hidden_layer_sizes": [20, 10], "activation": "tanh", "n_jobs": 2}
ESTIMATORS.append(MLPRegressor(random_state=0, **DEEP))
ESTIMATORS.append(MLPRegressor("poisson", 20, learning_rate_init=0.01, max_iter=60, random_state=0))

# Some configurations contradict what a few checks presuppose; those checks do not apply to them.
PARTIAL_FIT = "calls partial_fit, which is refused under early_stopping as by scikit-learn"
WEIGHTS = "repeated rows are split into other training and validation rows than weighted ones"
MEMORY = "trains for 1000 epochs, in which it learns by heart what has nearly no weight"
ROUNDING = "compares predictions to 1e-7, which is finer than float32"
EARLY_STOPPING = {
    "check_fit_score_takes_y": PARTIAL_FIT,
    "check_n_features_in_after_fitting": PARTIAL_FIT,
    "check_estimators_nan_inf": PARTIAL_FIT,
    "check_estimators_partial_fit_n_features": PARTIAL_FIT,
    "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
    "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
}
FLOAT32 = {
    "check_sample_weight_equivalence_on_dense_data": ROUNDING,
    "check_sample_weight_equivalence_on_sparse_data": ROUNDING,
}
WITHOUT_SOME_CHECKS = [
    (
        estimator(
            early_stopping=True,
            validation_fraction=0.25,
            learning_rate_init=0.01,
            max_iter=60,
            random_state=0,
        ),
        EARLY_STOPPING,
    )
    for estimator in (MLPClassifier, MLPRegressor)
] + [
    (estimator(dtype="float32", max_iter=60, random_state=0), FLOAT32)
    for estimator in (MLPClassifier, MLPRegressor)
]
WITHOUT_SOME_CHECKS.append(
    (MLPClassifier(random_state=0, **DEEP), {"check_class_weight_classifiers": MEMORY})
)


def _applicable_checks():
    for estimator, left_out in WITHOUT_SOME_CHECKS:
        for instance, check in estimator_checks_generator(estimator):
            name = check.func.__name__
            if name not in left_out:
                options = ",".join(f"{key}={value}" for key, value in check.keywords.items())
                yield pytest.param(instance, check, id=f"{estimator}-{name}({options})")


@parametrize_with_checks([MLPClassifier(), MLPRegressor(), *ESTIMATORS])
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("estimator", "check"), list(_applicable_checks()))
def test_applicable_estimator_check(estimator, check):
    check(estimator)
