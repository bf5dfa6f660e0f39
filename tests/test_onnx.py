"""ONNX Runtime predicts what we do, by networks alone and within pipelines of skl2onnx."""

from itertools import cycle

import numpy as np
import onnx
import onnxruntime
import pytest
import skl2onnx
from engine_checks import HIDDEN, NORMALIZED, OTHER_CONSTANTS, make_layer, make_network
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from skl2onnx._parse import sklearn_parsers_map
from skl2onnx._supported_operators import sklearn_operator_name_map
from sklearn.ensemble import StackingRegressor, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmlp
import skmlp._base
from skmlp import MLPClassifier, MLPRegressor, activations, losses
from skmlp._onnx_formulas import EXPRESSIONS, LINK_EXPRESSIONS, activated
from skmlp._onnx_graph import ProtoGraph
from skmlp.engines.reference import ReferenceEngine
from skmlp.losses import regression_head
from skmlp.network.activations import ACTIVATIONS, BLENDS
from skmlp.network.evaluation import applied
from skmlp.network.initializers import draw_uniform
from skmlp.network.links import LINKS
from skmlp.network.losses import REGRESSION_LINKS
from skmlp.network.parameters import layout_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EXTREME = {
    "leaky_relu": (1e6,),
    "elu": (1e6,),
    "celu": (1e-6,),
    "softplus": (1e6,),
    "scaled_logistic": (-1e6, 1e6),
}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
# ONNX Runtime has the error function in single precision only.
TOLERANCE_OF_GELU = {"float32": 1e-5, "float64": 1e-6}
rng = np.random.default_rng(0)
X = rng.normal(size=(24, 4))
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
LABELS = (X[:, :3] > 0).astype(int)


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """Let fits and predictions compute in NumPy: what they compile is not the subject."""
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())
    with np.errstate(all="ignore"):
        yield


def run(model, rows):
    """Return the outputs of a model, which is valid, by their names."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    [given] = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    outputs = session.run(None, {given.name: np.asarray(rows, types[given.type])})
    for output, value in zip(session.get_outputs(), outputs, strict=True):
        if isinstance(value, np.ndarray) and isinstance(output.shape[0], str):  # else of skl2onnx
            assert list(value.shape[1:]) == output.shape[1:]
            assert output.shape[0] == "n_samples"
    return dict(zip(names, outputs, strict=True))


def drawn_model(network, dtype, seed=0):
    """Return a regressor with a network, of whose numbers none is one that it starts with."""
    layout = layout_of(network)
    parameters = draw_uniform(network, np.random.RandomState(seed), np.float64)
    parameters += np.random.default_rng(seed).uniform(0.1, 0.5, size=layout.size)
    model = MLPRegressor()
    model._network = network
    model._set_parameters(layout, parameters.astype(dtype))
    model.n_features_in_ = network.n_features
    return model


# Formulas


def test_every_entry_has_an_expression():
    assert EXPRESSIONS.keys() == ACTIVATIONS.keys()
    assert LINK_EXPRESSIONS.keys() == LINKS.keys()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "given", [OTHER_CONSTANTS, {}, EXTREME], ids=["some", "defaults", "extreme"]
)
def test_formulas_over_the_whole_range(dtype, given):
    """Where they are steep and where they end, and for numbers of nearly any size."""
    large = np.array([30.0, 88.0, 1e3, 1e5, 1e9, 1e20, 1e35, np.inf])
    z = np.concatenate([np.linspace(-12, 12, 481), [0.0, 1e-3, 1e-6, -1e-6], large, -large])
    z = z.astype(dtype)
    names = [name for name in [*HIDDEN, *BLENDS] if make_layer(name, 1).entry.is_elementwise]
    graph = ProtoGraph(onnx, dtype)
    given_z = graph.input("X", (1,))
    for name in names:
        layer = make_layer(name, 1, 0.0, given.get(name))
        numbers = [graph.floats([0.7], "learned") for _ in layer.entry.learned]
        graph.output(name, activated(given_z, layer, numbers), (1,))
    outputs = run(graph.model("formulas"), z.reshape(-1, 1))
    for name, values in outputs.items():
        entry = make_layer(name, 1).entry
        constants = given.get(name, tuple(c.default for c in entry.constants))
        expected = applied(
            entry.value, z.astype(np.float64), constants, [np.array(0.7)] * len(entry.learned)
        )
        with np.errstate(over="ignore"):
            expected = expected.astype(dtype)
        tolerance = (TOLERANCE_OF_GELU if name.endswith("gelu") else TOLERANCE)[dtype] / 3
        known = ~np.isnan(expected)  # which blends of infinite numbers are not
        assert known[:-1].all() or name in BLENDS
        assert_allclose(
            values[known, 0], expected[known], rtol=tolerance, atol=tolerance, err_msg=name
        )


def test_normalization_where_means_are_large():
    network = make_network(4, [make_layer("identity", 6, 0.0, None, "layer")], [head("log_cosh")])
    model = drawn_model(network, "float64")
    model.intercepts_[0] += 1000.0
    single = run(model.to_onnx(), X)["prediction"]
    assert_allclose(single, model.predict(X), atol=2e-3)  # of seven digits four are the mean
    double = run(model.to_onnx(dtype="float64"), X)["prediction"]
    assert_allclose(double, model.predict(X), atol=1e-10)


# Networks of regressors


def head(loss, n_targets=1):
    return regression_head(loss, n_targets)


HEADS = [
    *(head(loss, n_targets) for loss in REGRESSION_LINKS for n_targets in (1, 2)),
    *(head(losses.Quantile(levels), n) for levels in [(0.1, 0.5, 0.9), (0.3,)] for n in (1, 3)),
]
NETWORKS = list(
    zip(
        [(name, kind) for name in [*HIDDEN, *BLENDS] for kind in (None, *NORMALIZED)],
        cycle(HEADS),
        cycle([("float32", False), ("float64", True), ("float32", True), ("float64", False)]),
        strict=False,
    )
)


def test_networks_of_all_kinds():
    """All activations with all normalizations; all heads, with scaled targets and without."""
    assert len(NETWORKS) >= 4 * len(HEADS)
    for number, ((name, normalization), own_head, (dtype, is_scaled)) in enumerate(NETWORKS):
        second = "tanh" if "exponential" in name else name
        layers = [
            make_layer(name, 5, 0.2, OTHER_CONSTANTS.get(name), normalization),
            make_layer(second, 3, 0.0, OTHER_CONSTANTS.get(second), None),
        ]
        model = drawn_model(make_network(4, layers, [own_head], dropout=0.1), dtype, number)
        if is_scaled:
            n_targets = model._network.target_columns
            model.y_mean_ = np.arange(2.0, 2.0 + n_targets)
            model.y_scale_ = np.arange(1.0, 1.0 + n_targets) / 2.0
        rows = (X / 2.0).astype(dtype)
        expected = np.asarray(model.predict(rows), dtype=np.float64)
        scale = max(1.0, np.abs(expected).max())
        tolerances = TOLERANCE_OF_GELU if name.endswith("gelu") else TOLERANCE
        # The reference computes in double precision whatever the weights are.
        for exported in TOLERANCE:
            found = run(model.to_onnx(dtype=exported), rows)["prediction"]
            assert found.dtype == exported
            what = f"{name}, {normalization}, {own_head}, {dtype}, {exported}"
            assert_allclose(
                found, expected, rtol=0, atol=tolerances[exported] * scale, err_msg=what
            )


def test_any_number_of_rows():
    """Row by row as in a batch, and for no rows at all."""
    hidden = [make_layer("maxout", 5, 0.0, None, "layer"), make_layer("softmax", 3)]
    for layers, own_head in (
        (hidden, head("gaussian_nll")),
        (hidden, head(losses.Quantile((0.2, 0.8)), 2)),
        ([], head("poisson", 2)),
    ):
        model = drawn_model(make_network(4, layers, [own_head]), "float64")
        proto, expected = model.to_onnx(), model.predict(X)
        assert run(proto, X[:0])["prediction"].shape == expected[:0].shape
        single = [run(proto, X[i : i + 1])["prediction"] for i in range(3)]
        assert_allclose(np.concatenate(single), expected[:3], atol=1e-5)


# Classifiers

ONE_OF_THREE = np.array(["a", "ß", "c"])
TARGETS = {
    "integers": (THREE - 1, {}),
    "text": (ONE_OF_THREE[THREE], {"temperature": 2.0}),
    "objects": (ONE_OF_THREE.astype(object)[THREE], {"loss": "focal"}),
    "booleans": (THREE > 0, {"temperature": 0.5}),
    "two of text": (np.where(THREE > 1, "ja", "nein"), {"loss": "hinge"}),
    "floats": (THREE * 1.0, {"loss": "squared_hinge"}),
    "small integers": (THREE.astype("uint8"), {"loss": "squared_error"}),
    "one class": (np.full(len(X), 7), {}),
    "smoothed": (THREE, {"label_smoothing": 0.1, "temperature": 1e-320}),
    "multilabel": (LABELS, {"temperature": 3.0}),
    "sparse labels": (sparse.csr_array(LABELS), {"loss": "hinge"}),
    "several targets": (np.column_stack([THREE, X[:, 1] > 0, np.ones(len(X), int)]), {}),
    "several of text": (ONE_OF_THREE[np.column_stack([THREE, THREE // 2])], {"loss": "hinge"}),
    "several of objects": (
        np.array([ONE_OF_THREE[THREE], np.where(THREE > 1, "x", "y")], object).T,
        {"temperature": 2.0},
    ),
}


def fitted(target, **settings):
    y, own = TARGETS[target]
    settings = {"max_iter": 20, "random_state": 0, "learning_rate_init": 0.05, **settings, **own}
    return MLPClassifier((5,), **settings).fit(X, y)


@pytest.mark.parametrize("target", TARGETS)
def test_classifiers(target):
    """Labels are equal, of the same kind and shape; so are probabilities or scores."""
    model = fitted(target, normalization="batch", activation="mish")
    labels = model.predict(X)
    labels = labels.toarray() if sparse.issparse(labels) else labels
    method = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
    name = "probabilities" if method == "predict_proba" else "scores"
    scores = getattr(model, method)(X)
    if isinstance(scores, list):
        scores = {f"{name}_{number}": score for number, score in enumerate(scores)}
    else:
        scores = {name: scores}
    for dtype, tolerance in TOLERANCE.items():
        found = run(model.to_onnx(dtype=dtype), X)
        assert [*found] == ["label", *scores]
        assert_array_equal(found["label"], labels)
        kinds = {"U": "O", "u": "i"}
        kind = labels.dtype.kind
        assert found["label"].dtype.kind == kinds.get(kind, kind)
        for own, expected in scores.items():
            assert found[own].dtype == dtype
            assert found[own].shape == expected.shape
            assert_allclose(found[own], expected, rtol=tolerance, atol=tolerance)
    assert run(model.to_onnx(), X[:0])["label"].shape == labels[:0].shape


def test_precision_of_the_fit():
    for dtype in TOLERANCE:
        network = make_network(4, [make_layer("tanh", 3)], [head("squared_error")])
        model = drawn_model(network, dtype)
        assert run(model.to_onnx(dtype="auto"), X)["prediction"].dtype == dtype
    assert run(model.to_onnx(dtype=np.float64), X)["prediction"].dtype == np.float64
    with pytest.raises(ValueError, match=r"dtype must be .* got 'float16'"):
        model.to_onnx(dtype="float16")


def test_models_are_plain_and_independent():
    """Of the pinned versions and no other domain; later changes of the estimator stay outside."""
    model = fitted("text")
    proto = model.to_onnx()
    assert proto.ir_version == 10
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 18)]
    assert {node.domain for node in proto.graph.node} == {""}
    before = run(proto, X)["probabilities"]
    model.coefs_[0][...] = 0.0
    assert_array_equal(run(proto, X)["probabilities"], before)


# Refusals


def square(z):
    return z * z


def twice(z):
    return 2.0 * z


def test_functions_of_users_are_refused_by_layer():
    own = activations.Custom(square, twice)
    model = MLPRegressor(hidden_layer_sizes=(3, 2), activation=("relu", own), max_iter=1)
    model.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="hidden layer 1 is made of functions of your own"):
        model.to_onnx()


def test_losses_of_users_are_not_in_the_model():
    def gradient(target, prediction):
        return prediction - target

    own = losses.Custom(lambda target, prediction: 0.5 * (prediction - target) ** 2, gradient)
    model = MLPRegressor(own, (3,), max_iter=1, random_state=0).fit(X, X[:, 0])
    assert_allclose(run(model.to_onnx(), X)["prediction"], model.predict(X), atol=1e-5)


def test_numbers_that_are_not_finite_are_named():
    model = fitted("integers", normalization="layer")
    model.coefs_[1] = model.coefs_[1] * 1e39
    with pytest.raises(ValueError, match=r"coefs_\[1\] .*not finite in float32. Use dtype='flo"):
        model.to_onnx()
    labels = run(model.to_onnx(dtype="float64"), X)["label"]
    assert_array_equal(labels, model.predict(X))
    model.intercepts_[0][0] = np.nan
    with pytest.raises(ValueError, match=r"intercepts_\[0\] .* else fit again"):
        model.to_onnx(dtype="float64")
    model.intercepts_[0][0] = 0.0
    model._extras[0] = np.inf
    with pytest.raises(ValueError, match="gain of hidden layer 0 holds"):
        model.to_onnx(dtype="float64")


@pytest.mark.parametrize(
    "classes",
    [
        np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]"),
        np.array([1, "a"], dtype=object),
        np.array([1, 2**63 + 1], dtype=np.uint64),
        np.array([1, 2**63], dtype=object),
    ],
)
def test_labels_that_onnx_has_not(classes):
    model = fitted("booleans")
    model._label_binarizer.classes_ = classes
    with pytest.raises(ValueError, match=r"classes_=array\(.*are no labels that ONNX has"):
        model.to_onnx()


def test_labels_of_several_targets_are_of_one_type():
    model = fitted("several of objects")
    model._label_binarizer[0].classes_ = np.array([1, 2, 3], dtype=object)
    with pytest.raises(ValueError, match="objects of several types, but an output"):
        model.to_onnx()


def test_what_is_not_fitted():
    with pytest.raises(NotFittedError):
        MLPClassifier().to_onnx()
    model = MLPClassifier(())
    model.coefs_, model.intercepts_ = [np.ones((2, 1))], [np.zeros(1)]
    model.out_activation_ = "logistic"
    with pytest.raises(NotFittedError):
        model.to_onnx()
    model = fitted("integers")
    model.coefs_[-1], model.intercepts_[-1] = np.ones((5, 2)), np.ones(2)
    with pytest.raises(ValueError, match="classes_ of _label_binarizer need"):
        model.to_onnx()


# Pipelines


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Let skl2onnx be as it is without skmlp, but for the tests of this file."""
    skmlp.register_skl2onnx()


def converted(model, rows=X, **options):
    """Return what skl2onnx makes of a model, and the outputs of that."""
    options = {"target_opset": 18, **options}
    proto = skl2onnx.to_onnx(model, rows[:1], **options)
    return run(proto, rows)


def in_pipeline(network, y, rows=X):
    return make_pipeline(StandardScaler(), network).fit(rows, y)


@pytest.mark.parametrize("target", ["integers", "text", "booleans", "small integers"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pipelines_of_classifiers(target, dtype):
    y, settings = TARGETS[target]
    rows = X.astype(dtype)
    network = MLPClassifier((5,), max_iter=20, random_state=0, normalization="batch", **settings)
    model = in_pipeline(network, y, rows)
    expected, tolerance = model.predict_proba(rows), TOLERANCE[dtype]
    plain = converted(model, rows, options={id(model): {"zipmap": False}})
    assert [*plain] == ["label", "probabilities"]
    assert_array_equal(plain["label"], model.predict(rows))
    assert_allclose(plain["probabilities"], expected, rtol=tolerance, atol=tolerance)
    assert plain["probabilities"].dtype == dtype
    if dtype == "float32":
        zipped = converted(model, rows)
        assert_array_equal(zipped["output_label"], model.predict(rows))
        for row, probabilities in zip(zipped["output_probability"], expected, strict=True):
            assert_allclose([row[label] for label in model.classes_], probabilities, atol=1e-5)
        columns = converted(model, rows, options={id(model): {"zipmap": "columns"}})
        assert len(columns) == 1 + len(model.classes_)
        assert_allclose([*columns.values()][-1], expected[:, -1], atol=1e-5)
        options = {"zipmap": False, "nocl": True}
        numbers = converted(model, rows, options={id(model): options})
        assert_array_equal(numbers["label"], expected.argmax(axis=1))
        if target in ("integers", "text"):  # of others skl2onnx writes a wrong type
            options = {"zipmap": False, "output_class_labels": True}
            labels = converted(model, rows, options={id(model): options})
            assert_array_equal(labels["class_labels"], model.classes_)


def test_pipelines_of_other_classifiers():
    """Multilabel targets, scores, and several targets."""
    for target in ("multilabel", "two of text", "floats", "several targets", "several of text"):
        y, settings = TARGETS[target]
        network = MLPClassifier((5,), max_iter=20, random_state=0, **settings)
        model = in_pipeline(network, y)
        found = converted(model, options={id(network): {"zipmap": False}})
        assert_array_equal(found["label"], model.predict(X))
        if "several" in target and hasattr(model, "predict_proba"):
            expected = model.predict_proba(X)
        elif "several" in target:
            expected = [np.column_stack([-s, s]) if s.ndim == 1 else s for s in scores_of(model)]
        elif hasattr(model, "predict_proba"):
            expected = model.predict_proba(X)
        else:
            scores = model.decision_function(X)
            expected = np.column_stack([-scores, scores]) if scores.ndim == 1 else scores
        if not isinstance(expected, list):
            assert_allclose(found["probabilities"], expected, atol=1e-5)
            continue
        for part, own in zip(found["probabilities"], expected, strict=True):
            assert_allclose(part, own, atol=1e-5)


def scores_of(model):
    return model.decision_function(X)


def test_pipelines_of_regressors():
    targets = {
        "one": (X[:, 0], "squared_error"),
        "several": (X[:, :3], "huber"),
        "counts": (THREE.astype(float), "poisson"),
        "quantiles": (X[:, 0], losses.Quantile((0.1, 0.9))),
        "quantiles of several": (X[:, :3], losses.Quantile((0.1, 0.9))),
    }
    for y, loss in targets.values():
        scale = None if loss == "poisson" else "standard"
        network = MLPRegressor(loss, (5,), max_iter=3, random_state=0, y_scale=scale)
        model = in_pipeline(network, y)
        expected = model.predict(X)
        [found] = converted(model, X.astype("float32")).values()
        shape = (len(X), 1) if expected.ndim == 1 else expected.shape
        assert_allclose(found, expected.reshape(shape), rtol=1e-5, atol=1e-5)
        assert found.shape == shape
    whole = np.arange(40).reshape(10, 4)
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=2).fit(whole, whole[:, 0])
    [found] = converted(model, whole).values()
    assert_allclose(found[:, 0], model.predict(whole), rtol=1e-5)


def test_searches_and_ensembles():
    network = MLPClassifier((3,), max_iter=5, random_state=0)
    search = GridSearchCV(network, {"alpha": [0.1, 1.0]}, cv=2).fit(X, THREE)
    voting = VotingClassifier(
        [("a", network), ("b", search)], voting="soft", flatten_transform=False
    )
    voting.fit(X, THREE)
    for model in (search, voting):
        found = converted(model, X.astype("float32"), options={id(model): {"zipmap": False}})
        assert_array_equal(found["label"], model.predict(X))
        assert_allclose(found["probabilities"], model.predict_proba(X), atol=1e-5)
    member = MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=0)
    stack = StackingRegressor([("a", member), ("b", member)], member, cv=2).fit(X, X[:, 0])
    [found] = converted(stack).values()
    assert_allclose(found[:, 0], stack.predict(X), rtol=1e-12)


def test_versions_of_models():
    model = in_pipeline(MLPRegressor(hidden_layer_sizes=(3,), max_iter=1, random_state=0), X[:, 0])
    with pytest.raises(ValueError, match="need target_opset=18 or later, but it is 17"):
        skl2onnx.to_onnx(model, X[:1], target_opset=17)
    # Left to itself, the model is of no later version than it has operators of.
    proto = skl2onnx.to_onnx(model, X[:1])
    assert {opset.domain: opset.version for opset in proto.opset_import}[""] == 18
    for version in range(19, skl2onnx.get_latest_tested_opset_version() + 1):
        [found] = converted(model, target_opset=version).values()
        assert_allclose(found[:, 0], model.predict(X), rtol=1e-12)


def test_conversions_that_are_refused():
    model = fitted("one class")
    with pytest.raises(ValueError, match="zipmap=True needs a probability for each class"):
        converted(model)
    found = converted(model, options={id(model): {"zipmap": False}})
    assert_allclose(found["probabilities"], model.predict_proba(X), atol=1e-5)
    for label in (2.5, 1e300):
        model = fitted("floats")
        model._label_binarizer.classes_ = np.array([0.0, 1.0, label])
        with pytest.raises(ValueError, match="are no whole numbers, but skl2onnx"):
            converted(model, options={id(model): {"zipmap": False}})
    model = fitted("several targets")
    with pytest.raises(ValueError, match="does not go with several targets"):
        converted(model, options={id(model): {"output_class_labels": True}})


def test_registration_takes_our_classes_back(monkeypatch):
    """Imported while scikit-learn is patched, skl2onnx takes them for scikit-learn's."""
    for name in ("MLPClassifier", "MLPRegressor"):
        monkeypatch.setitem(sklearn_operator_name_map, getattr(skmlp, name), f"Sklearn{name}")
    monkeypatch.delitem(sklearn_parsers_map, MLPClassifier)
    model = MLPRegressor(hidden_layer_sizes=(3,), normalization="layer", max_iter=1).fit(X, X)
    skmlp._skl2onnx.register_if_imported()
    [found] = converted(model).values()
    assert_allclose(found, model.predict(X), rtol=1e-12)
    assert MLPClassifier in sklearn_parsers_map


SKL2ONNX_IS_THERE = """
import sys, types

module = types.ModuleType("skl2onnx")
module.update_registered_converter = lambda cls, alias, *_, **__: print(cls.__module__, alias)
sys.modules["skl2onnx"] = module
import skmlp
"""


def test_it_is_registered_where_skl2onnx_is_imported_first(run_python):
    assert run_python(SKL2ONNX_IS_THERE).splitlines() == [
        "skmlp._classifier SkmlpMLPClassifier",
        "skmlp._regressor SkmlpMLPRegressor",
    ]
