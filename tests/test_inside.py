"""Looking inside a fitted network: its summary, gradients by inputs, dead units, hidden outputs."""

from itertools import product

import numpy as np
import pytest
import sklearn
from engine_checks import DIFFERENTIABLE, HIDDEN, head_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import skmlp._base
from skmlp import LayerTransformer, MLPClassifier, MLPRegressor, _sensitivity
from skmlp._labels import classes_of, fit_binarizer
from skmlp._summary import SUMS
from skmlp._targets import heads_of
from skmlp._temperature import without_links
from skmlp.activations import Blend, Custom, Maxout
from skmlp.engines.reference import ReferenceEngine, forward
from skmlp.network.activations import BLENDS, activation_entry
from skmlp.network.initializers import draw_uniform
from skmlp.network.losses import LOSSES
from skmlp.network.parameters import layout_of
from skmlp.network.parts import named_extras
from skmlp.network.specs import Formula, InputSpec, LayerSpec, NetworkSpec

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS, N_FEATURES = 6, 3
LABELS = {
    "binary": np.array(["no", "yes"])[np.arange(6) % 2],
    "one class": np.zeros(6, dtype=int),
    "multiclass": np.arange(6) % 3,
    "multilabel": np.eye(3, dtype=int)[np.arange(6) % 3],
    "targets": np.column_stack([np.arange(6) % 2, np.arange(6) % 3]),
}
REGRESSION = [key for key, entry in LOSSES.items() if not entry.for_classes]
HEADS = [*LABELS, *REGRESSION]
NORMALIZATIONS = [None, "layer", "batch"]


@pytest.fixture
def reference(monkeypatch):
    """Let the reference engine predict, which compiles nothing."""
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())


def rows(seed=0):
    return np.random.default_rng(seed).normal(size=(N_ROWS, N_FEATURES))


def formula_of(name):
    return Formula(name, tuple(constant.default for constant in activation_entry(name).constants))


def assembled(head, activations=("tanh",), normalization=None, loss="log_loss"):
    """Return an estimator as a fit leaves it, with parameters none of which has a value of its own.

    `head` is a kind of labels, or a loss and its link: a regressor of two targets.
    """
    if head in LABELS:
        model = MLPClassifier()
        model._label_binarizer = fit_binarizer(LABELS[head])
        model.classes_ = classes_of(model._label_binarizer)
        heads = heads_of(model._label_binarizer, loss, 0.0)
    else:
        model, heads = MLPRegressor(), (head_of(head, 2),)
        if head[1] != "exp":
            model.y_mean_, model.y_scale_ = np.array([3.0, -1.0]), np.array([2.0, 0.1])
    units = range(5, 5 - len(activations), -1)
    layers = [
        LayerSpec(n, formula_of(name), normalization)
        for n, name in zip(units, activations, strict=True)
    ]
    network = NetworkSpec(InputSpec(N_FEATURES), tuple(layers), heads)
    layout = layout_of(network)
    drawn = draw_uniform(network, np.random.RandomState(0), np.float64)
    drawn += np.random.default_rng(0).uniform(0.0, 0.3, size=drawn.size)
    model.coefs_, model.intercepts_ = layout.views(drawn)
    model._extras, model._network = layout.extras_of(drawn), network
    model.n_features_in_ = N_FEATURES
    return model


def explained(model, X):
    """Return all that gradients are taken of, shape (n_samples, n_outputs)."""
    if isinstance(model, MLPRegressor):
        return model.predict(X).reshape(len(X), -1)
    network, raw = model._compute(X, without_links)
    parts = np.split(raw, np.cumsum([head.units for head in network.heads])[:-1], axis=1)
    several = isinstance(model._label_binarizer, list)
    binarizers = model._label_binarizer if several else [model._label_binarizer]
    parts = [
        np.hstack([-part, part])[:, : len(one.classes_)] if one.y_type_ == "binary" else part
        for one, part in zip(binarizers, parts, strict=True)
    ]
    return np.hstack(parts)


def central_differences(function, X, step=1e-6):
    moves = step * np.eye(X.shape[1])
    sides = [(function(X + move) - function(X - move)) / (2 * step) for move in moves]
    return np.stack(sides, axis=1)


# --- Gradients by inputs ---

CASES = [
    *(
        (head, ("tanh", "gelu"), normalization)
        for head, normalization in product(HEADS, NORMALIZATIONS)
    ),
    *(
        (HEADS[i % len(HEADS)], (name, "tanh"), NORMALIZATIONS[i % 3])
        for i, name in enumerate([*DIFFERENTIABLE, *BLENDS])
    ),
    *((head, (), None) for head in ("multiclass", ("poisson", "exp"))),
]


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(("head", "activations", "normalization"), CASES)
def test_gradients_against_central_differences(head, activations, normalization):
    model, X = assembled(head, activations, normalization), rows()
    found = model.input_gradients(X, target="all")
    assert found.dtype == np.float64
    expected = central_differences(lambda X: explained(model, X), X)
    assert found.shape == expected.shape
    assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * max(1.0, np.abs(expected).max()))


@pytest.mark.usefixtures("reference")
def test_gradients_of_a_surrogate_are_those_of_training():
    model, X = assembled("multiclass", ("step",)), rows()
    z = X @ model.coefs_[0] + model.intercepts_[0]
    slopes = np.abs(z) <= 1.0
    assert 0 < slopes.mean() < 1
    expected = np.einsum("fu,nu,uo->nfo", model.coefs_[0], slopes, model.coefs_[1])
    assert_allclose(model.input_gradients(X, target="all"), expected, rtol=1e-12)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(
    ("head", "baseline"),
    [
        ("multiclass", None),
        ("targets", 0.5),
        (("poisson", "exp"), [0.1, -0.2, 0.3]),
        (("quantile", "increasing"), rows(1)),
    ],
)
def test_integrated_gradients_are_complete(monkeypatch, head, baseline):
    model, X = assembled(head, ("tanh", "logistic"), "layer"), rows()
    start = np.broadcast_to(0.0 if baseline is None else baseline, X.shape)
    expected = explained(model, X) - explained(model, start)
    scale = np.abs(expected).max()
    assert scale > 0.01
    monkeypatch.setattr(_sensitivity, "CHUNK", 10)  # two rows at a time
    errors = []
    for n_steps in (30, 60):
        found = model.input_gradients(
            X, method="integrated", target="all", baseline=baseline, n_steps=n_steps
        )
        errors.append(np.abs(found.sum(axis=1) - expected).max() / scale)
    assert errors[1] < 1e-3
    assert errors[1] < errors[0] / 3  # of the midpoint rule a quarter


@pytest.mark.usefixtures("reference")
def test_smoothed_gradients_are_means_around_rows(monkeypatch):
    model, X = assembled(("squared_error", "identity"), ("tanh", "relu")), rows()
    options = {"method": "smoothgrad", "target": 1, "n_steps": 7, "noise": 0.3}
    found = model.input_gradients(X, **options, random_state=3)
    draws = 0.3 * np.random.RandomState(3).normal(size=(N_ROWS, 7, N_FEATURES))
    around = [model.input_gradients(X + draws[:, step], target=1) for step in range(7)]
    assert_allclose(found, np.mean(around, axis=0), rtol=1e-12)
    plain = model.input_gradients(X, target=1)
    assert np.abs(found - plain).max() > 0.01
    assert_allclose(model.input_gradients(X, **{**options, "noise": 0}), plain, rtol=1e-12)
    monkeypatch.setattr(_sensitivity, "CHUNK", 50)  # two rows at a time
    assert_allclose(model.input_gradients(X, **options, random_state=3), found, rtol=1e-12)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("head", ["binary", "one class", "multiclass"])
def test_the_class_explained_is_the_one_predicted(head, monkeypatch):
    """That of the row, also where the way to it passes others."""
    model, X = assembled(head, ("relu", "maxout")), 3.0 * rows()
    model.intercepts_[-1] = model.intercepts_[-1] - model._compute(X, without_links)[1].mean(axis=0)
    predicted = model.predict(X)
    assert len(set(predicted)) > 1 or head == "one class"
    monkeypatch.setattr(_sensitivity, "CHUNK", 20)
    for method in ("gradient", "integrated"):
        found = model.input_gradients(X, method=method)
        for row, label in enumerate(predicted):
            expected = model.input_gradients(X[row : row + 1], method=method, target=label)
            assert_allclose(found[row], expected[0], rtol=1e-12)


@pytest.mark.usefixtures("reference")
def test_targets_are_outputs_by_their_names():
    X = rows()
    for head, names in {
        "binary": ["no", "yes"],
        "multilabel": [0, 1, 2],
        "targets": [(0, 0), (0, 1), (1, 0), (1, 1), (1, np.int64(2))],
        ("quantile", "increasing"): range(6),
        ("gaussian_nll", "gaussian"): range(2),
    }.items():
        model = assembled(head)
        every = model.input_gradients(X, target="all")
        one_by_one = [model.input_gradients(X, target=name) for name in names]
        assert_array_equal(every, np.stack(one_by_one, axis=-1))


@pytest.mark.usefixtures("reference")
def test_all_are_all_outputs_where_a_class_is_called_so():
    model, X = assembled("binary"), rows()
    model._label_binarizer = fit_binarizer(np.array(["all", "yes"])[np.arange(6) % 2])
    every = model.input_gradients(X, target="all")
    assert_array_equal(every[..., 1], model.input_gradients(X, target="yes"))
    assert_array_equal(every[..., 0], -every[..., 1])


@pytest.mark.usefixtures("reference")
def test_gradients_take_any_X_and_change_nothing(unchanged):
    model, X = assembled("multiclass", ("relu", "prelu"), "batch"), rows()
    X[np.abs(X) < 0.5] = 0.0
    expected = model.input_gradients(X)
    with unchanged(X, model=model):
        assert_allclose(model.input_gradients(sparse.csc_array(X)), expected, rtol=1e-12)
        assert_allclose(model.input_gradients(X.tolist()), expected, rtol=1e-12)
        assert_allclose(model.input_gradients(X.astype("f4")), expected, rtol=1e-4, atol=1e-6)
        dead = model.dead_units(sparse.csr_array(X))
        assert_array_equal(np.hstack(dead), np.hstack(model.dead_units(X)))
    model.coefs_ = [coef.astype("f4") for coef in model.coefs_]
    found = model.input_gradients(X)
    assert found.dtype == np.float64
    assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"method": "saliency"}, r"method must be one of 'gradient', .* but is 'saliency'"),
        ({"baseline": 0.0}, "baseline is where method='integrated' begins"),
        ({"method": "integrated", "n_steps": 0}, "n_steps must be a positive whole number"),
        ({"method": "integrated", "n_steps": 2.0}, "n_steps must be a positive whole number"),
        ({"method": "smoothgrad", "noise": -1}, "noise must be a finite number"),
        ({"method": "smoothgrad", "noise": np.nan}, "noise must be a finite number"),
        ({"method": "integrated", "baseline": [1.0, 2.0]}, "a row of 3 numbers"),
        ({"method": "integrated", "baseline": [1.0, np.inf, 0.0]}, "all of them finite"),
        ({"method": "integrated", "baseline": [[1.0], [2.0, 3.0]]}, "baseline must be a number"),
        ({}, r"target must be one of the outputs \(0, 1\) or 'all', but is None"),
        ({"target": 2}, r"target must be one of the outputs \(0, 1\) or 'all', but is 2"),
    ],
)
def test_what_gradients_cannot_be_asked_for(arguments, match):
    with pytest.raises(ValueError, match=match):
        assembled(("squared_error", "identity")).input_gradients(rows(), **arguments)


@pytest.mark.usefixtures("reference")
def test_labels_that_there_are_not():
    with pytest.raises(ValueError, match=r"one of the classes \('no', 'yes'\) or 'all', but is 1"):
        assembled("binary").input_gradients(rows(), target=1)
    with pytest.raises(ValueError, match=r"of a target's number and a class \(\(0, 0\), "):
        assembled("targets").input_gradients(rows())
    with pytest.raises(ValueError, match=r"labels \(0, 1, 2\)"):
        assembled("multilabel").input_gradients(rows())


# --- Dead units ---


def test_dead_units_are_those_that_the_monitor_counts(make_problem):
    X, y = make_problem("multiclass", n_samples=60)
    options = {"hidden_layer_sizes": (12, 6), "solver": "sgd", "learning_rate_init": 2.0}
    model = MLPClassifier(**options, max_iter=4, monitor="dead_units", random_state=1).fit(X, y)
    dead = model.dead_units(X)
    assert [own.dtype for own in dead] == [bool, bool]
    shares = [float(own.mean()) for own in dead]
    assert shares == [model.history_[f"dead_units_{layer}"][-1] for layer in range(2)]
    assert 0 < np.hstack(dead).sum() < 18
    outputs = LayerTransformer(FrozenEstimator(model), layer=0).fit_transform(X)
    assert_array_equal((outputs == 0.0).all(axis=0), dead[0])


@pytest.mark.usefixtures("reference")
def test_units_of_whole_rows_are_never_dead():
    model = assembled("multiclass", ("maxout", "softmax", "relu"))
    model.intercepts_[2] = model.intercepts_[2] - 100.0
    assert [own.tolist() for own in model.dead_units(rows())] == [
        [False] * 5,
        [False] * 4,
        [True] * 3,
    ]


# --- Summary ---


def test_a_summary_counts_what_there_is():
    for head, names in (("multiclass", HIDDEN), ("targets", [*BLENDS])):
        for name in names:
            model = assembled(head, (name, "tanh"), "batch")
            found = model.summary()
            layout = layout_of(model._network)
            arrays = [*model.coefs_, *model.intercepts_, model._extras]
            assert found.n_parameters == layout.trained_size
            assert found.n_bytes == sum(array.nbytes for array in arrays)
            assert found.flops_per_row == 2 * model._network.n_coefs
            assert [layer.units for layer in found.layers[:2]] == [5, 4]
            for column in SUMS:
                assert getattr(found, column) == sum(getattr(own, column) for own in found.layers)
    assert [layer.name for layer in found.layers] == [
        "hidden 0",
        "hidden 1",
        "output 0",
        "output 1",
    ]


TABLE = """\
MLPClassifier
layer     shape   activation                     parameters  bytes  operations per row
hidden 0  3 x 10  maxout(pieces=2)                       40    320                  60
hidden 1  5 x 4   blend(elu(alpha=1))                    28    224                  40
output    4 x 3   softmax                                15    120                  24
total                                                    83    664                 124"""


def test_a_summary_is_a_table():
    model = assembled("multiclass", ("maxout", "blend_elu"))
    found = model.summary()
    assert [line.split() for line in str(found).splitlines()] == [
        line.split() for line in TABLE.splitlines()
    ]
    assert len({len(line) for line in str(found).splitlines()[1:]}) == 1
    assert repr(found) == str(found)
    page = found._repr_html_()
    for cell in ("<td>maxout(pieces=2)</td>", "<td>664</td>", "<th>operations per row</th>"):
        assert page.count(cell) == 1
    assert "normalization" not in page
    assert "normalization" in assembled("binary", normalization="layer").summary()._repr_html_()
    with pytest.raises(NotFittedError):
        MLPClassifier().summary()


def test_notebooks_show_the_network_whatever_it_is():
    model = assembled("multiclass")
    assert model.summary()._repr_html_() in model._repr_html_()
    assert model.summary()._repr_html_() in model._repr_mimebundle_()["text/html"]
    for broken in (None, [], [np.ones(3)], "weights"):
        model.coefs_ = broken
        assert "<table><caption>" not in model._repr_html_()
    assert "<table><caption>" not in MLPRegressor()._repr_html_()


@pytest.mark.usefixtures("reference")
def test_users_own_activations_and_classes(make_problem):
    class Net(MLPRegressor):
        """A subclass, by whose name the summary goes."""

    X, y = make_problem("regression", n_samples=10)
    own = Custom(lambda z: z * abs(z), lambda z: 2.0 * abs(z))
    model = Net(hidden_layer_sizes=(3, 2), activation=(own, Blend("tanh")), max_iter=1)
    model.set_params(random_state=0, y_scale="standard").fit(X, y)
    found = model.summary()
    assert found.title == "Net"
    assert [layer.activation for layer in found.layers] == ["custom", "blend(tanh)", "identity"]
    expected = central_differences(model.predict, X)
    assert_allclose(model.input_gradients(X), expected, rtol=1e-6, atol=1e-9)


# --- Hidden outputs ---


def hidden_outputs(model, X, layer):
    """Return what the reference engine has there on its way forward."""
    network, layout = model._network, layout_of(model._network)
    packed = layout.pack(model.coefs_, model.intercepts_, np.float64, model._extras)
    extras = named_extras(network, layout.extras_of(packed))
    layers, _ = forward(network, *layout.views(packed), extras, X, None)
    return layers[layer].outputs


SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 5, "random_state": 0}


def test_features_are_the_outputs_of_hidden_units(make_problem):
    X, y = make_problem("multiclass")
    model = MLPClassifier(**SMALL, activation=(Maxout(2), "relu"), normalization="batch")
    model.fit(X, y)
    for layer, units in ((0, 6), (1, 4), (-1, 4), (-2, 6)):
        transformer = LayerTransformer(FrozenEstimator(model), layer=layer)
        found = transformer.fit_transform(X)
        assert transformer.estimator_.estimator is model
        assert transformer.layer_ == layer % 2
        assert found.shape == (len(X), units)
        assert found.dtype == model.coefs_[0].dtype
        assert_allclose(found, hidden_outputs(model, X, layer), rtol=1e-12, atol=1e-15)
        assert_array_equal(transformer.set_params(layer=0).transform(X), found)
    sparse_X = sparse.csr_array(X)
    assert_allclose(transformer.transform(sparse_X), found, rtol=1e-12, atol=1e-15)


def test_fits_are_those_of_the_network(make_problem):
    X, y = make_problem("binary")
    weight = np.linspace(0.0, 2.0, len(X))
    transformer = LayerTransformer(MLPClassifier(**SMALL)).fit(X, y, sample_weight=weight)
    expected = MLPClassifier(**SMALL).fit(X, y, weight)
    assert_array_equal(transformer.estimator_.coefs_[0], expected.coefs_[0])
    scaled = StandardScaler().fit_transform(X)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        network = LayerTransformer(MLPClassifier(**SMALL).set_fit_request(sample_weight=True))
        last = LogisticRegression().set_fit_request(sample_weight=False)
        for steps in ([scaler, network], [scaler, network, last]):
            pipeline = make_pipeline(*steps).fit(X, y, sample_weight=weight)
            routed = pipeline[1].estimator_
            expected = MLPClassifier(**SMALL).fit(scaled, y, weight)
            assert_array_equal(routed.coefs_[0], expected.coefs_[0])
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL))
    within = LayerTransformer(pipeline).fit(X, y, mlpclassifier__sample_weight=weight)
    assert_array_equal(within.estimator_[-1].coefs_[0], routed.coefs_[0])
    found = within.transform(X)
    assert_array_equal(found, LayerTransformer(FrozenEstimator(routed)).fit(X).transform(scaled))
    frozen = LayerTransformer(FrozenEstimator(within.estimator_)).fit(X)
    assert_array_equal(clone(frozen).fit(X).transform(X), found)


def test_transformers_stand_where_others_do(make_problem):
    pandas = pytest.importorskip("pandas")
    X, y = make_problem("binary", n_samples=60)
    frame = pandas.DataFrame(X, columns=list("abcde"), index=np.arange(60)[::-1])
    network = LayerTransformer(MLPClassifier(**SMALL))
    columns = ColumnTransformer([("net", network, ["a", "b"]), ("rest", "passthrough", ["c"])])
    columns.set_output(transform="pandas")
    found = columns.fit_transform(frame, y)
    names = [f"net__layertransformer{unit}" for unit in range(4)]
    assert list(found.columns) == [*names, "rest__c"]
    assert list(found.index) == list(frame.index)
    assert list(columns.named_transformers_["net"].feature_names_in_) == ["a", "b"]
    alone = clone(network).fit(frame, y).fit(X, y)
    assert not hasattr(alone, "feature_names_in_")
    grid = {"layertransformer__layer": [0, 1], "layertransformer__estimator__alpha": [1e-4, 1.0]}
    pipeline = make_pipeline(network, LogisticRegression())
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 4


def test_tags_are_those_of_the_network():
    """Of an estimator that takes what it is given, the precision of X is that of the result."""
    for network, preserved in (
        (MLPClassifier(), ["float64", "float32"]),
        (MLPClassifier(dtype="float64"), ["float64"]),
        (FrozenEstimator(MLPClassifier(dtype="float32")), ["float64"]),
    ):
        tags = get_tags(LayerTransformer(network))
        assert tags.transformer_tags.preserves_dtype == preserved
        assert tags.target_tags.required == get_tags(network).target_tags.required
        assert tags.input_tags.sparse


@pytest.mark.usefixtures("reference")
def test_what_is_no_hidden_layer_is_refused(make_problem, fitted_state):
    X, y = make_problem("binary", n_samples=10)
    transformer = LayerTransformer(MLPClassifier(**{**SMALL, "max_iter": 1}))
    with pytest.raises(NotFittedError):
        transformer.transform(X)
    assert not hasattr(transformer, "n_features_in_")
    before = fitted_state(transformer.fit(X, y))
    for params, match in [
        ({"layer": 2}, "layer=2 is no hidden layer of a network with 2 of them"),
        ({"layer": -3}, "layer=-3 is no hidden layer"),
        ({"layer": 0.0}, r"layer must be a whole number, but is 0\.0"),
        ({"layer": True}, "layer must be a whole number"),
        ({"layer": 0, "estimator__hidden_layer_sizes": ()}, "with 0 of them"),
        ({"estimator": StandardScaler()}, r"estimator must be an MLPClassifier .* StandardScaler"),
        ({"estimator": make_pipeline(StandardScaler())}, "estimator must be an MLPClassifier"),
    ]:
        transformer.set_params(**params)
        with pytest.raises(ValueError, match=match):
            transformer.fit(X, y)
        assert fitted_state(transformer) == before
    transformer.estimator_.coefs_ = [np.ones((5, 6)), np.ones((6, 1))]
    transformer.estimator_.intercepts_ = [np.ones(6), np.ones(1)]
    with pytest.raises(ValueError, match="have 1 hidden layers, but number 1"):
        transformer.transform(X)
    with pytest.raises(NotFittedError):
        LayerTransformer(FrozenEstimator(MLPClassifier())).fit(X)


@parametrize_with_checks(
    [LayerTransformer(MLPClassifier((4,), solver="lbfgs", max_iter=5, random_state=0))]
)
def test_estimator_checks(estimator, check):
    check(estimator)
