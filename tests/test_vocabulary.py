"""Names that other libraries have for our parameters and values are answered with ours."""

import inspect

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier, MLPRegressor
from skmlp._parameters import PARAMETERS as TABLE
from skmlp._vocabulary import NOT_OFFERED, keyword_hint, meanings, plain

ESTIMATORS = (MLPClassifier, MLPRegressor)
PARAMETERS = list(inspect.signature(MLPRegressor).parameters)
X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])

MEANT = {
    "epochs": "max_iter",  # Keras
    "max_epochs": "max_iter",  # skorch
    "n_epoch": "max_iter",  # fastai
    "maxIter": "max_iter",  # Spark
    "lr": "learning_rate_init",
    "eta0": "learning_rate_init",
    "stepSize": "learning_rate_init",
    "units": "hidden_layer_sizes",
    "layers": "hidden_layer_sizes",
    "hidden": "hidden_layer_sizes",  # H2O
    "hidden_layer_size": "hidden_layer_sizes",
    "optimizer": "solver",
    "opt_func": "solver",
    "patience": "n_iter_no_change",
    "stopping_rounds": "n_iter_no_change",
    "seed": "random_state",
    "act": "activation",
    "activation_function": "activation",
    "wd": "weight_decay",
    "max_grad_norm": "clip_norm",
    "l2": "alpha",
    "n_threads": "n_jobs",
    "workers": "n_jobs",
    "batch": "batch_size",
    "bs": "batch_size",
    "mini_batch_size": "batch_size",
    "validation_split": "validation_fraction",
    "valid_pct": "validation_fraction",
    "lr_scheduler": "learning_rate",
    "min_delta": "tol",
    "eps": "epsilon",
    "nesterov": "nesterovs_momentum",
    "early_stop": "early_stopping",
    "verbosity": "verbose",
    "optimizer__weight_decay": "weight_decay",  # skorch
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("name", "meant"), MEANT.items())
def test_names_of_others_in_the_constructor_and_in_set_params(estimator, name, meant):
    question = rf"Did you mean '{meant}'\?"
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{name}'\. {question}"):
        estimator(**{name: 3})
    model = estimator(alpha=0.5)
    with pytest.raises(
        ValueError, match=rf"(?s)^Invalid parameter '{name.partition('__')[0]}'.*\. {question}"
    ):
        model.set_params(alpha=0.25, **{name: 3})
    assert model.alpha == 0.5, "a parameter was set although another name is unknown"


def test_two_parameters_may_be_meant():
    with pytest.raises(TypeError, match=r"Did you mean 'beta_1' and 'beta_2'\?"):
        MLPClassifier(betas=(0.9, 0.99))


@pytest.mark.parametrize("name", ["label_smooth", "class_weights"])
def test_some_parameters_are_those_of_the_classifier_only(name):
    with pytest.raises(TypeError, match=r"Did you mean '(label_smoothing|class_weight)'"):
        MLPClassifier(**{name: 0})
    with pytest.raises(TypeError, match=rf"'{name}'\. Parameters are: loss, "):
        MLPRegressor(**{name: 0})


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_losses_have_other_names(estimator):
    for name in ("criterion", "objective", "loss_fn"):
        with pytest.raises(TypeError, match="Did you mean 'loss'"):
            estimator(**{name: "mse"})
    theirs = {"CrossEntropyLoss": "log_loss", "Brier": "squared_error", "FocalLoss": "focal"}
    if estimator is MLPRegressor:
        theirs = {"MAE": "absolute_error", "SmoothL1Loss": "huber", "pinball": "quantile"}
    for name, ours in theirs.items():
        with pytest.raises(ValueError, match=f"Did you mean loss='{ours}'"):
            estimator(loss=name).fit(X, Y)


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("wd", r"alpha=weight_decay\*batch_size"),
        ("kernel_regularizer", r"alpha=2\*l2\*batch_size"),
        ("callbacks", "set_callbacks"),
        ("validation_data", "early_stopping=True"),
    ],
)
def test_remarks(name, remark):
    with pytest.raises(TypeError, match=remark):
        MLPClassifier(**{name: 3})


def test_remarks_on_weight_decay_are_true(make_problem):
    # The gradient of the penalties that PyTorch and Keras add to the mean loss of a batch.
    X, y = make_problem("regression", n_samples=40)
    model = MLPRegressor(
        hidden_layer_sizes=(), solver="sgd", momentum=0, learning_rate_init=1e-3, warm_start=True
    )

    def step_from_ones(alpha):
        model.set_params(alpha=alpha, max_iter=1)
        model.coefs_, model.intercepts_ = [np.ones((5, 1))], [np.ones(1)]
        with pytest.warns(Warning, match="converge"):
            model.fit(X, y)
        return np.append(model.coefs_[0], model.intercepts_[0])

    batch_size, weight_decay, l2 = len(X), 0.3, 0.2
    for alpha, gradient in [
        (weight_decay * batch_size, weight_decay),
        (2 * l2 * batch_size, 2 * l2),
    ]:
        moved = step_from_ones(0.0) - step_from_ones(alpha)
        np.testing.assert_allclose(moved, [*5 * [1e-3 * gradient], 0.0], atol=1e-15)


def test_names_meet_searches_and_pipelines_too():
    with pytest.raises(ValueError, match="Did you mean 'max_iter'"):
        make_pipeline(StandardScaler(), MLPRegressor()).set_params(mlpregressor__epochs=3)
    search = GridSearchCV(MLPClassifier(), {"lr": [0.1]}, cv=2)
    with pytest.raises(ValueError, match="Did you mean 'learning_rate_init'"):
        search.fit(X, Y)


def test_hints_name_only_what_a_subclass_takes():
    class Narrow(MLPClassifier):
        def __init__(self, epochs=3):
            super().__init__(max_iter=epochs)
            self.epochs = epochs

    assert Narrow(epochs=2).set_params(epochs=4).epochs == 4
    with pytest.raises(TypeError, match=r"'lr'\. Parameters are: epochs\."):
        Narrow(lr=3)


def test_the_table_names_parameters_that_exist():
    synonyms = [entry for parameter in TABLE.values() for entry in parameter.synonyms]
    names = [plain(name) for entry in (*synonyms, *NOT_OFFERED) for name in entry.names.split()]
    assert len(names) == len(set(names)), "a name stands in the table twice"
    assert {plain(name) for name in names} == set(meanings())
    assert all(set(entry.beside) <= set(PARAMETERS) for entry in synonyms)
    assert all(entry.remark and not entry.beside for entry in NOT_OFFERED)
    assert not {plain(name) for name in PARAMETERS} & set(meanings())


def test_names_like_no_other_have_no_hint():
    assert keyword_hint("zzz", PARAMETERS) == ""
    with pytest.raises(ValueError, match=r"Valid parameters are: \[.*\]\.$"):
        MLPClassifier().set_params(zzz=3)


# --- Keywords of fit ---


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("keyword", "answer"),
    [
        ("epochs", r"Did you mean 'max_iter'\? {method} takes X, y, sample_weight.*{estimator}\("),
        ("batch_size", r"'batch_size'\. {method} takes X, y, sample_weight.*{estimator}\("),
        ("verbose", r"'verbose'\. {method} takes X, y, sample_weight.*{estimator}\("),
        ("validation_data", r"fit\(X, y, X_val=..., y_val=...\), with early_stopping=True"),
        ("eval_set", r"fit\(X, y, X_val=..., y_val=...\), with early_stopping=True"),
        ("callbacks", r"Callbacks are set by set_callbacks\(...\)"),
        ("sample_weights", r"Did you mean 'sample_weight'\?"),
        ("zzz", r"'zzz'\. {method} takes X, y, sample_weight"),
    ],
)
def test_unknown_keywords_of_fit(estimator, method, keyword, answer):
    model = estimator()
    answer = answer.format(method=method, estimator=estimator.__name__)
    with pytest.raises(TypeError, match=rf"{method}\(\) got an unexpected keyword .*{answer}"):
        getattr(model, method)(X, Y, **{keyword: 3})
    assert not hasattr(model, "coefs_")


def test_fit_says_what_python_says_of_missing_arguments():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        MLPClassifier().fit(X)


# --- Values ---


class ReLU:
    """As in torch.nn and in Keras."""


def sigmoid():
    """As in jax.nn."""


RENAMED = [
    ("activation", "Sigmoid", "sigmoid"),
    ("activation", sigmoid, "sigmoid"),
    ("activation", "Hardtanh", "hard_?tanh"),
    ("activation", "exp", "exponential"),
    ("activation", "heaviside", "step"),
    ("activation", "linear", "identity"),
    ("activation", None, "identity"),
    ("activation", "ReLU", "relu"),
    ("activation", ReLU, "relu"),
    ("activation", ReLU(), "relu"),
    ("activation", "Rectifier", "relu"),
    ("activation", np.tanh, "tanh"),
    ("solver", "Adam", "adam"),
    ("solver", "SGD", "sgd"),
    ("solver", "l-bfgs", "lbfgs"),
    ("solver", "L-BFGS-B", "lbfgs"),
    ("learning_rate", "inv_scaling", "invscaling"),
    ("learning_rate", "ReduceLROnPlateau", "plateau"),
    ("learning_rate", "OneCycleLR", "one_cycle"),
    ("dropout_schedule", "fit_flat_cos", "flat_cos"),
    ("batch_size", "AUTO", "auto"),
    ("dtype", "AUTO", "auto"),
    ("device", "gpu", "cuda"),
    ("device", "cuda:0", "cuda"),
    ("precision", "bfloat16", "bf16"),
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("parameter", "value", "meant"), RENAMED)
def test_values_of_others(estimator, parameter, value, meant):
    message = (
        rf"(?s)^The '{parameter}' parameter of {estimator.__name__} must be .*"
        rf"Got .* instead\. Did you mean {parameter}='{meant}'\?$"
    )
    with pytest.raises(ValueError, match=message) as error:
        estimator(**{parameter: value}).fit(X, Y)
    assert type(error.value).__name__ == "InvalidParameterError"


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("mse", "squared_error"),
        ("mean_squared_error", "squared_error"),
        ("MSELoss", "squared_error"),
        ("reg:squarederror", "squared_error"),
        ("count:poisson", "poisson"),
        ("Poisson", "poisson"),
    ],
)
def test_values_of_the_loss(value, meant):
    with pytest.raises(ValueError, match=rf"Did you mean loss='{meant}'\?$"):
        MLPRegressor(value).fit(X, Y)


@pytest.mark.parametrize("value", ["rrelu", "glu"])
def test_values_not_offered(value):
    with pytest.raises(ValueError, match=rf"'relu'.*Got '{value}' instead\.$"):
        MLPClassifier(activation=value).fit(X, Y)


def test_the_hint_is_about_the_wrong_value_only():
    with pytest.raises(ValueError, match="'alpha' parameter") as error:
        MLPClassifier(alpha=-1.0, precision=None, batch_size=3).fit(X, Y)
    assert "Did you mean" not in str(error.value)


def test_the_table_names_values_that_exist():
    for entry in TABLE.values():
        options = set()
        for constraint in entry.constraints:
            options |= set(getattr(constraint, "options", ()))
            options |= {choice.__name__ for choice in getattr(constraint, "classes", ())}
        assert set(entry.values) <= options
        others = " ".join(entry.values.values()).split()
        assert others == [plain(other) for other in others]
        assert len(others) == len(set(others))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_scikit_learn_sees_the_signatures_as_they_are(estimator):
    names = ["X", "y", "sample_weight", "X_val", "y_val", "sample_weight_val", "groups"]
    names += ["resume_from"]
    assert list(inspect.signature(estimator.fit).parameters)[1:] == names
    assert estimator.fit.__doc__.startswith("Fit the network.")
    assert not hasattr(estimator(solver="lbfgs"), "partial_fit")
