"""Models in files come back as they were; files that are anything else are named errors."""

import copy
import json
import os
import pickle
import stat
import time
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from covering import covering
from engine_checks import HIDDEN
from forging import (
    edited,
    forged,
    header_length,
    outcome,
    parts_of,
    places,
    said_of,
    set_in,
    unsigned,
)
from numpy.testing import assert_array_equal, assert_equal
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import ShuffleSplit

import skmlp
import skmlp._base
from skmlp import MLPClassifier, MLPRegressor, activations, initializers, losses, schedules
from skmlp._choices import Choice, same
from skmlp._fitted import as_trained
from skmlp._plain_values import CHOICES, CannotBeSaved, Decoder, Encoder
from skmlp._tensor_file import (
    ABANDONED,
    DTYPES,
    METADATA,
    MODEL,
    NO_DIGEST,
    FileProblem,
    can_be_written,
    open_tensors,
    replacing,
    write_tensors,
)
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.losses import REGRESSION_LINKS
from skmlp.network.parameters import layout_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Where a fit stood, and what it began with: all that a loaded model goes without.
NOT_SAVED = {"_state"}

rng = np.random.default_rng(0)
X = rng.normal(size=(24, 4))
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
LABELS = (X[:, :3] > 0).astype(int)
AMOUNTS = np.exp(X[:, 0])


@pytest.fixture
def reference(monkeypatch):
    """Let fits and predictions compute in NumPy: what they compile is not the subject."""
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the bytes of a small model."""
    path = tmp_path_factory.mktemp("saved") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())
        settings = {"early_stopping": True, "normalization": "batch", "max_iter": 2}
        with pytest.warns(ConvergenceWarning):
            model = MLPClassifier((3,), random_state=0, **settings).fit(X, THREE)
    model.save(path)
    return path.read_bytes()


# Round trips

TARGETS = {
    "integers": (MLPClassifier, THREE, {}),
    "two of text": (MLPClassifier, np.where(THREE > 1, "ja", "nein"), {"temperature": 2.0}),
    "objects": (MLPClassifier, np.array(["a", "b", "c"], dtype=object)[THREE], {}),
    "booleans": (MLPClassifier, THREE > 1, {"loss": losses.Focal(gamma=1.5)}),
    "floats": (MLPClassifier, THREE.astype(float), {"loss": "hinge"}),
    "small integers": (MLPClassifier, THREE.astype("int8"), {"loss": "squared_error"}),
    "one class": (MLPClassifier, np.zeros(len(X), int), {}),
    "smoothed": (MLPClassifier, THREE, {"label_smoothing": 0.1, "class_weight": {0: 1, 1: 2.0}}),
    "multilabel": (MLPClassifier, LABELS, {"loss": "squared_hinge"}),
    "sparse labels": (MLPClassifier, sparse.csr_array(LABELS), {}),
    "several targets": (MLPClassifier, np.column_stack([THREE, X[:, 1] > 0]), {"loss": "focal"}),
    **{loss: (MLPRegressor, AMOUNTS, {"loss": loss}) for loss in REGRESSION_LINKS},
    "quantiles": (MLPRegressor, X[:, :2], {"loss": losses.Quantile((0.1, 0.5, 0.9))}),
    "scaled": (MLPRegressor, 50 + 9 * X[:, :2], {"y_scale": "standard", "loss": losses.Huber(2)}),
}
ACTIVATIONS = [
    *HIDDEN,
    *(activations.Maxout(3), activations.LeakyReLU(0.3), activations.GELU(approximate=True)),
    *(activations.Blend("mish"), activations.Blend(activations.CELU(0.5))),
    (activations.PReLU(), activations.Logistic(slope=2.0)),
]
SETTINGS = [
    {},
    {"early_stopping": True, "validation_fraction": 0.3, "monitor": ("seconds", "penalty")},
    {"solver": "lbfgs"},
    {"solver": skmlp.optimizers.Lion(beta_2=0.9), "learning_rate": schedules.Cosine(warmup=0.1)},
    {"init": initializers.ZeroLast(initializers.Orthogonal(2.0)), "dtype": np.float64},
    {"random_state": np.random.RandomState(3), "dropout": (0.1, 0.2), "input_dropout": 0.1},
    {"connectivity": (0.5, None, None), "alpha": np.float64(0.1), "ema_decay": 0.5},
]
BATCH = (None, "batch")
CASES = covering(list(TARGETS), [None, BATCH, "layer"], ["float32", "float64"])


@pytest.mark.usefixtures("reference")
def test_models_come_back_as_they_were(tmp_path, fitted_state):
    """All kinds of targets, activations and normalizations, each with all parameters it has."""
    others = zip(cycle(ACTIVATIONS), cycle(SETTINGS), strict=False)
    assert len(CASES) >= len(ACTIVATIONS)
    for (target, normalization, dtype), (activation, settings) in zip(CASES, others, strict=False):
        cls, y, own = TARGETS[target]
        if settings.get("solver") == "lbfgs" and (activation == "step" or normalization == BATCH):
            settings = {}  # which it refuses
        settings = {"max_iter": 2, "hidden_layer_sizes": (3, 2), "random_state": 0, **settings}
        settings |= {"activation": activation, "normalization": normalization, **own}
        data = X.astype(dtype)
        model = cls(**settings).fit(data, y)
        # The reference computes in double precision.
        network, *arrays, extras = as_trained(model)
        model._set_trained(network, layout_of(network).pack(*arrays, dtype, extras))
        model.save(tmp_path / "model")
        loaded = skmlp.load(tmp_path / "model")
        assert_same_model(loaded, model, fitted_state)
        for method in ("predict", "predict_proba", "decision_function"):
            if hasattr(model, method):
                ours, theirs = getattr(loaded, method)(data), getattr(model, method)(data)
                if sparse.issparse(theirs):
                    ours, theirs = ours.toarray(), theirs.toarray()
                assert same(ours, theirs)


def assert_same_model(loaded, model, fitted_state):
    assert type(loaded) is type(model)
    theirs = model.get_params(deep=False)
    for name, value in loaded.get_params(deep=False).items():
        assert type(value) is type(theirs[name])
        if isinstance(value, np.random.RandomState):
            assert fitted_state(Holder(value)) == fitted_state(Holder(theirs[name]))
        else:
            assert same(value, theirs[name]), name
    expected = fitted_state(model)
    assert fitted_state(loaded) == {n: v for n, v in expected.items() if n not in NOT_SAVED}
    assert_equal(loaded.history_, model.history_)  # NaN included


class Holder:
    """Stands for an estimator whose one attribute is looked at."""

    def __init__(self, value):
        self.value = value

    def get_params(self, deep=True):
        return {}


def test_computed_in_kernels(make_problem, tmp_path):
    """Kernels read plain arrays of their own; a prediction is the same to the last bit."""
    data, y = make_problem("multiclass")
    model = MLPClassifier((6,), max_iter=2, random_state=0).fit(data, y)
    model.save(tmp_path / "model.safetensors")
    loaded = skmlp.load(str(tmp_path / "model.safetensors"))
    assert_array_equal(loaded.predict_proba(data), model.predict_proba(data))
    # With n_jobs and device as they are set now.
    assert_array_equal(loaded.set_params(n_jobs=2).predict(data), model.predict(data))


@pytest.mark.usefixtures("reference")
def test_feature_names_and_data_frames(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "ä", "\U0001f600"])
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=1).fit(frame, AMOUNTS)
    model.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model")
    assert_array_equal(loaded.predict(frame), model.predict(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame.rename(columns={"a": "other"}))


@pytest.mark.usefixtures("reference")
def test_loaded_models_can_be_trained_on(tmp_path):
    settings = {"hidden_layer_sizes": (3,), "random_state": 0, "max_iter": 5}
    # L-BFGS keeps no state: it goes on as if nothing had happened.
    model = MLPRegressor(solver="lbfgs", warm_start=True, **settings).fit(X, AMOUNTS)
    model.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model").fit(X, AMOUNTS)
    assert_array_equal(loaded.coefs_[0], model.fit(X, AMOUNTS).coefs_[0])
    assert loaded.history_ == model.history_
    classifier = MLPClassifier(**settings).fit(X, THREE)
    classifier.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model").partial_fit(X, THREE)
    assert loaded.t_ == classifier.t_ + len(X)
    assert loaded.loss_ < classifier.loss_curve_[0]


@pytest.mark.usefixtures("reference")
def test_requests_of_metadata_are_kept(tmp_path):
    model = MLPClassifier((3,), max_iter=1)
    with config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight="weight", X_val=True).set_score_request(
            sample_weight=False
        )
    model.fit(X, THREE).save(tmp_path / "model")
    routing = skmlp.load(tmp_path / "model").get_metadata_routing()
    assert routing.fit.requests == model.get_metadata_routing().fit.requests
    assert routing.fit.requests["sample_weight"] == "weight"
    assert routing.score.requests == {"sample_weight": False}
    MLPClassifier((3,), max_iter=1).fit(X, THREE).save(tmp_path / "model")
    assert "_metadata_request" not in vars(skmlp.load(tmp_path / "model"))


@pytest.mark.usefixtures("reference")
def test_invalid_parameters_are_not_saved(tmp_path):
    """Nobody could load them."""
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=1).fit(X, AMOUNTS)
    with pytest.raises(ValueError, match="'alpha' parameter of MLPRegressor"):
        model.set_params(alpha=-1.0).save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("reference")
def test_assigned_weights_are_saved(tmp_path):
    """Also in types that no fit leaves, and in the order of Fortran."""
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=1, random_state=0).fit(X, AMOUNTS)
    model.coefs_ = [np.asfortranarray(model.coefs_[0]), np.arange(3).reshape(3, 1)]
    model.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model")
    assert loaded.coefs_[1].dtype == int
    assert_array_equal(loaded.predict(X), model.predict(X))
    model.coefs_[1] = np.ones((3, 1), dtype=np.longdouble)
    if np.longdouble != np.float64:
        with pytest.raises(CannotBeSaved, match=r"coefs_\.1=an array of .* float64"):
            model.save(tmp_path / "model")
    model.coefs_[1] = np.ones((2, 1))
    with pytest.raises(ValueError, match=r"coefs_\[1\] has shape"):
        model.save(tmp_path / "model")


# What is saved of parameters


def given_weights():
    model = MLPRegressor(hidden_layer_sizes=(3,))
    model.coefs_ = [rng.normal(size=(4, 3)), rng.normal(size=(3, 1))]
    model.intercepts_ = [rng.normal(size=3), rng.normal(size=1)]
    return model


def used_generator():
    generator = np.random.RandomState(5)
    generator.normal(size=3)  # keeps one of a pair
    return generator


VALUES = [
    *(None, True, 3, -(2**70), 1.5, float("inf"), float("nan"), -0.0, "ü\ud800", b"".decode()),
    *([1.0, 2.0, float("nan")], [1, 2.0], [], (), (1, (2.0, "x")), [[None]]),
    *({"a": 1, "b": (1,)}, {0.5: 1.0, "x": 2, np.int64(3): np.float32(0.1)}, {}),
    *(np.arange(3), np.asfortranarray(np.ones((2, 3))), np.array(3.0), np.zeros((0, 2), bool)),
    *(np.array(["ab", "c"]), np.array("x"), np.zeros((0, 2), "U3"), np.array(["ab", 1], object)),
    *(np.float64(0.1), np.float16(0.1), np.bool_(True), np.str_("x"), np.uint64(2**64 - 1)),
    *(np.float32("nan"), np.dtype("f4"), np.float32, float),
    *(np.random.RandomState(3), used_generator()),
    *(cls(given_weights()) if cls is initializers.From else cls() for cls in CHOICES.values()),
    initializers.From(given_weights(), rest=initializers.Orthogonal(gain=2.0)),
    activations.Blend(activations.LeakyReLU(0.3)),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_values_survive(value, fitted_state):
    encoder = Encoder()
    text = json.dumps(encoder.encode(value, "value"), allow_nan=False)
    decoder = Decoder({n: copy.copy(a) for n, a in encoder.tensors.items()}.__getitem__)
    found = decoder.decode(json.loads(text))
    assert type(found) is type(value)
    assert fitted_state(Holder(found)) == fitted_state(Holder(value))
    assert decoder.used == encoder.tensors.keys()


GENERATORS = {
    "position": ["key", 10**9, 0, 0.0],
    "negative position": ["key", -1, 0, 0.0],
    "position of text": ["key", "0", 0, 0.0],
    "what is kept": ["key", 0, 2, 0.0],
    "no number": ["key", 0, 1, "x"],
    "short": ["short", 0, 0, 0.0],
    "floats": ["floats", 0, 0, 0.0],
    "too few": ["key", 0, 0],
}


@pytest.mark.parametrize("case", GENERATORS)
def test_states_of_generators_that_numpy_would_believe(case):
    arrays = {
        "key": np.arange(624, dtype=np.uint32),
        "short": np.arange(623, dtype=np.uint32),
        "floats": np.arange(624.0),
    }
    with pytest.raises(ValueError, match=r"expected|unpack"):
        Decoder(arrays.__getitem__).decode({"RandomState": GENERATORS[case]})
    generator = Decoder(arrays.__getitem__).decode({"RandomState": ["key", 624, 0, 0.0]})
    assert 0.0 <= generator.uniform() < 1.0


def test_all_public_choices_are_known():
    found = [Choice]
    for cls in found:
        found.extend(cls.__subclasses__())
    public = {c for c in found if c.__module__.startswith("skmlp.") and is_public(c)}
    assert public - {activations.Custom, losses.Custom} == set(CHOICES.values())


def is_public(cls):
    module = getattr(skmlp, cls.__module__.partition(".")[2], None)
    return cls.__name__ in getattr(module, "__all__", ())


NO_VALUES = [
    *(len, lambda z: z, object(), 1j, np.array([1j]), np.array([{}], object), np.array(["x"], "S")),
    *(np.datetime64("2020"), activations.Custom(len, len), [lambda: 0], {"a": {1}}, 2**200),
    *(np.random.default_rng(), np.ma.ones(3), range(3), b"x", make_scorer(mean_absolute_error)),
    *(ShuffleSplit(), int, np.dtype(int), MLPRegressor(), np.random),
]


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda value: repr(value)[:20])
def test_code_and_other_objects_are_refused_by_name(value):
    with pytest.raises(CannotBeSaved, match=r"value.*=.* cannot be saved"):
        Encoder().encode(value, "value")


def square(z):
    return z * z


def twice(z):
    return 2.0 * z


class Own(MLPRegressor):
    pass


@pytest.mark.usefixtures("reference")
def test_what_cannot_be_saved_leaves_nothing(tmp_path):
    fits = {"hidden_layer_sizes": (3,), "max_iter": 1, "random_state": 0}
    path = tmp_path / "model"
    with pytest.raises(NotFittedError):
        MLPRegressor().save(path)
    custom = MLPRegressor(activation=activations.Custom(square, twice), **fits).fit(X, AMOUNTS)
    with pytest.raises(ValueError, match=r"activation=Custom.* cannot be saved"):
        custom.save(path)
    # Its network is what it was.
    with pytest.raises(ValueError, match="fitted with functions of your own"):
        custom.set_params(activation="relu").save(path)
    model = MLPRegressor(**fits).fit(X, AMOUNTS)
    with pytest.raises(ValueError, match="scoring=make_scorer"):
        copy.copy(model).set_params(scoring=make_scorer(mean_absolute_error)).save(path)
    with pytest.raises(ValueError, match="negative_slope"):
        copy.copy(model).set_params(activation=activations.LeakyReLU("steep")).save(path)
    with pytest.raises(ValueError, match="Own cannot be saved: it is a class of your own"):
        Own(**fits).fit(X, AMOUNTS).save(path)
    for name, value in {
        "t_": -1,
        "loss_": "low",
        "loss_curve_": [None],
        "_history": {"loss": "low"},
        "device_": ["cpu"],
        "stop_reason_": 3,
        "feature_names_in_": np.array(["a"], dtype=object),
        "y_scale_": 2.0,
        "_label_binarizer": None,
    }.items():
        changed = copy.copy(model)
        setattr(changed, name, value)
        with pytest.raises(ValueError, match=f"{name}|classes_"):
            changed.save(path)
    assert list(tmp_path.iterdir()) == []


# Damage


def test_files_cut_off_anywhere(saved, tmp_path):
    begin = header_length(saved)
    ends = {*range(begin), *np.random.default_rng(1).integers(begin, len(saved), size=50).tolist()}
    path = tmp_path / "model"
    path.write_bytes(saved)
    for end in sorted(ends, reverse=True):
        os.truncate(path, end)  # takes less time than to write it anew
        assert said_of(path).startswith("is cut off"), end
    assert outcome(tmp_path / "model", saved + b"\0").startswith("is damaged: it has 1 bytes")
    assert outcome(tmp_path / "model", saved) == "loaded"


def test_files_changed_anywhere(saved, tmp_path):
    draws = np.random.default_rng(2)
    begin = header_length(saved)
    path = tmp_path / "model"
    path.write_bytes(saved)
    expected = ("is damaged", "is cut off or damaged", "is no file that", "is a safetensors file")
    for place in [*range(begin), *draws.integers(begin, len(saved), size=200).tolist()]:
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([saved[place] ^ int(draws.integers(1, 256))]))
        said = said_of(path)
        # Behind what tells that it is ours it can only be damaged.
        assert said.startswith(expected if place <= 50 else "is damaged"), (place, said)
        with path.open("r+b") as file:
            file.seek(place)
            file.write(saved[place : place + 1])
    assert said_of(path) == "loaded"


def test_a_space_of_the_header_becomes_another_one(saved, tmp_path):
    """Which is the same to JSON, but not to the checksum."""
    header, arrays = parts_of(saved)
    content = forged(json.dumps(unsigned(header)).encode() + b"  ", arrays)
    assert outcome(tmp_path / "model", content) == "loaded"
    place = header_length(content) - 1
    changed = content[:place] + b"\n" + content[place + 1 :]
    assert outcome(tmp_path / "model", changed).startswith("is damaged: its checksum is another")


def test_files_of_others(tmp_path):
    path = tmp_path / "model"
    for content in (pickle.dumps(MLPRegressor()), b"PK\3\4" + bytes(99), b"{}" * 50, bytes(99)):
        assert outcome(path, content) == "is no file that skmlp has written."
    safetensors.numpy.save_file({"a": np.ones(3)}, path)
    assert "is a safetensors file, but none" in outcome(path, path.read_bytes())
    safetensors.numpy.save_file({"a": np.ones(3)}, path, {"format": "pt"})
    assert "is a safetensors file, but none" in outcome(path, path.read_bytes())
    with pytest.raises(IsADirectoryError if os.name == "posix" else OSError):
        skmlp.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        skmlp.load(tmp_path / "elsewhere")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileProblem, match="is no file"):
            skmlp.load(tmp_path / "pipe")


def test_problems_reach_other_processes():
    problem = FileProblem.of("a/path", "is damaged.")
    assert str(pickle.loads(pickle.dumps(problem))) == "'a/path' is damaged."


# Files made to harm: their checksums are right


PLAIN = {"format": MODEL, "version": "1", "skmlp": "0.1.0"}


def entry(dtype="F64", shape=(1,), begin=0, end=8, **others):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **others}


UNSOUND = {
    "unknown dtype": entry("F80"),
    "dtype no text": entry(["F64"]),
    "dtype missing": {"shape": [1], "data_offsets": [0, 8]},
    "too much said": entry(strides=[8]),
    "no object": [1, 2, 3],
    "no shape": entry(shape=()) | {"shape": None},
    "shape of text": entry() | {"shape": "1"},
    "negative shape": entry(shape=(-1, -1)),
    "broken shape": entry(shape=(1.0,)),
    "shape of booleans": entry(shape=(True,)),
    "another size": entry(shape=(2,)),
    "product that overflows": entry(shape=(2**32, 2**32)),
    "large and empty": entry(shape=(0, 2**62), end=0),
    "many dimensions": entry(shape=(1,) * 33),
    "backwards": entry(begin=8, end=0),
    "negative offset": entry(begin=-8, end=0),
    "offset of text": entry() | {"data_offsets": ["0", "8"]},
    "three offsets": entry() | {"data_offsets": [0, 8, 8]},
}


@pytest.mark.parametrize("case", UNSOUND)
def test_headers_that_lie_about_an_array(case, tmp_path):
    content = forged({METADATA: PLAIN, "a": UNSOUND[case]}, bytes(8))
    assert "nothing sound of 'a'" in outcome(tmp_path / "model", content)


RANGES = {
    "hole": ([entry(), entry(begin=16, end=24)], "side by side"),
    "overlap": ([entry(), entry(begin=4, end=12)], "side by side"),
    "twice the same": ([entry(), entry()], "side by side"),
    "late": ([entry(begin=8, end=16)], "side by side"),
    # A terabyte, which nobody should ask the system for.
    "more than there is": ([entry(shape=(2**37,), end=2**40)], "is cut off"),
    "less than there is": ([entry()], "bytes behind its end"),
}


@pytest.mark.parametrize("case", RANGES)
def test_arrays_that_do_not_fill_the_file(case, tmp_path):
    entries, expected = RANGES[case]
    header = {METADATA: PLAIN} | {str(n): said for n, said in enumerate(entries)}
    assert expected in outcome(tmp_path / "model", forged(header, bytes(24)))


def beginning(rest):
    return f'{{"{METADATA}":{{"format":"{MODEL}","checksum":"{NO_DIGEST}"'.encode() + rest


HEADERS = {
    "no JSON": (beginning(b"}}}"), "its header is not JSON"),
    "no text": (beginning(b',"a":"\xff"}}'), "its header is not JSON"),
    "a name twice": (beginning(b'},"a":{},"a":{}}'), "twice"),
    "metadata twice": (beginning(b'},"__metadata__":{}}'), "twice"),
    "not a number": (beginning(b'},"a":NaN}'), "no number of JSON"),
    "very deep": (beginning(b'},"a":' + b"[" * 100_000), "its header is not JSON"),
    "very long number": (beginning(b'},"a":' + b"1" * 10_000 + b"}"), "its header is not JSON"),
    "metadata no text": (beginning(b',"version":1}}'), "holds no metadata"),
    "no version": (beginning(b"}}"), "was written in format None"),
    "a later version": (beginning(b',"version":"7","skmlp":"9.0"}}'), r"format 7, .* \(9.0\)"),
    "another kind": (
        beginning(b',"version":"1"}}').replace(MODEL.encode(), b"skmlp-checkpoint"),
        r"holds .*checkpoint.* of skmlp, not a model",
    ),
    "a checksum twice": (beginning(f',"a":"{NO_DIGEST}"}}}}'.encode()), "its checksum"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_are_none(case, tmp_path):
    header, expected = HEADERS[case]
    path = tmp_path / "model"
    path.write_bytes(forged(header))
    with pytest.raises(FileProblem, match=expected):
        skmlp.load(path)


def test_a_header_longer_than_the_file_is_not_waited_for(saved, tmp_path):
    for length in (2**63, 2**40, len(saved) - 7):
        content = length.to_bytes(8, "little") + saved[8:]
        assert "fewer than a header" in outcome(tmp_path / "model", content)


def test_booleans_are_zeros_and_ones(tmp_path):
    content = forged({METADATA: PLAIN, "a": entry("BOOL", (3,), 0, 3)}, bytes([0, 1, 2]))
    (tmp_path / "model").write_bytes(content)
    with (
        open_tensors(tmp_path / "model", MODEL) as file,
        pytest.raises(FileProblem, match="'a' holds other bytes"),
    ):
        file.read("a")


TEXTS = ("parameters", "network", "attributes", "classes", "requests")


def of_network(*path):
    return set_in("network", "dict", *path)


LAYER = ("layers", "tuple", 0, "dict")
RAW_GENERATOR = ["coefs_.1", 10**9, 0, 0.0]
EDITS = {
    "an unknown parameter": set_in("parameters", "momenta", 0.9),
    "code for a parameter": set_in("parameters", "scoring", {"type": "os.system"}),
    "an unknown object": set_in("parameters", "activation", {"choice": ["os.path", {}]}),
    "an own object": set_in("parameters", "activation", {"choice": ["activations.Custom", {}]}),
    "a wrong object": set_in(
        *("parameters", "activation"), {"choice": ["activations.ELU", {"alpha": "x"}]}
    ),
    "an unknown kind": set_in("parameters", "alpha", {"pickle": "gASV"}),
    "two kinds": set_in("parameters", "alpha", {"tuple": [], "dict": {}}),
    "a parameter out of range": set_in("parameters", "alpha", -1.0),
    "a parameter of another kind": set_in("parameters", "solver", 3),
    "parameters that exclude each other": set_in("parameters", "momentum", 7),
    "a request of no method": set_in("requests", {"repr": {}}),
    "a request of what is not taken": set_in("requests", {"fit": {"weights": True}}),
    "a request where nothing is taken": set_in("requests", {"split": {"groups": True}}),
    "a request by no name": set_in("requests", {"fit": {"sample_weight": [1]}}),
    "requests that are none": set_in("requests", ["fit"]),
    "an infinite number": set_in("parameters", "alpha", {"float": "1e999"}),
    "a short integer": set_in("parameters", "alpha", {"number": ["int8", 300]}),
    "an array of numbers": set_in("parameters", "alpha", {"number": ["float64", [1.0, 2.0]]}),
    "an array twice": set_in(
        *("parameters", "init"), {"tuple": [[{"array": "coefs_.0"}], [{"array": "coefs_.0"}]]}
    ),
    "an array not there": set_in("parameters", "init", {"array": "elsewhere"}),
    "no state of a generator": set_in("parameters", "random_state", {"RandomState": RAW_GENERATOR}),
    "unhashable keys": set_in("parameters", "class_weight", {"pairs": [[[1], 2]]}),
    "objects that lie": set_in("parameters", "class_weight", {"objects": [[2**40], ["a"]]}),
    "deep values": set_in("parameters", "alpha", json.loads("[" * 600 + "]" * 600)),
    "an unknown attribute": set_in("attributes", "_repr_html_", "x"),
    "an attribute that is a method": set_in("attributes", "predict", "x"),
    "samples seen": set_in("attributes", "t_", -1),
    "an unknown device": set_in("attributes", "device_", "tpu"),
    "too many names": set_in(*("attributes", "feature_names_in_"), {"objects": [[2], ["a", "b"]]}),
    "a temperature": set_in("attributes", "temperature_", 0.0),
    "a scale of classes": set_in("attributes", "y_scale_", {"array": "coefs_.1"}),
    "an unknown activation": of_network(*LAYER, "activation", "dict", "name", "os"),
    "too many constants": of_network(*LAYER, "activation", "dict", "constants", {"tuple": [1.0]}),
    "other units": of_network(*LAYER, "units", 2**60),
    "units of a fraction": of_network(*LAYER, "units", 3.0),
    "no units": of_network(*LAYER, "units", 0),
    "another normalization": of_network(*LAYER, "normalization", "layer"),
    "no normalization": of_network(*LAYER, "normalization", None),
    "pieces": of_network(
        *(*LAYER, "activation", "dict"), {"name": "maxout", "constants": {"tuple": [3.0]}}
    ),
    "no heads": of_network("heads", {"tuple": []}),
    "a head of numbers": of_network(*("heads", "tuple", 0, "dict", "link"), "identity"),
    "a field of a later version": of_network(*LAYER, "attention", True),
    "features": of_network("inputs", "dict", "n_features", 5),
    "not a network": set_in("network", None),
    "no classes": set_in("classes", None),
    "kind of labels": set_in("classes", "dict", "kind", "continuous"),
    "sparse labels": set_in("classes", "dict", "is_sparse", 3),
    "classes in no order": set_in("classes", "dict", "labels", {"objects": [[3], [2, 1, 3]]}),
    "fewer classes": set_in("classes", "dict", "labels", {"objects": [[2], ["a", "b"]]}),
    "classes of two kinds": set_in("classes", "dict", "labels", {"objects": [[3], [1, "a", 2]]}),
    "binary with three": set_in("classes", "dict", "kind", "binary"),
    "another estimator": lambda header, _: header[METADATA].update(estimator="Pipeline"),
    "the other estimator": lambda header, _: header[METADATA].update(estimator="MLPRegressor"),
    "a text missing": lambda header, _: header[METADATA].pop("estimator"),
    "an array missing": lambda header, _: header.update({"other": header.pop("intercepts_.0")}),
    "numbers of another type": lambda header, _: header["coefs_.0"].update(
        dtype="F32", shape=[8, 3]
    ),
    "a flat array": lambda header, _: header["coefs_.0"].update(shape=[12]),
}


@pytest.mark.parametrize("case", EDITS)
def test_contents_that_no_fit_leaves(case, saved, tmp_path):
    said = outcome(tmp_path / "model", edited(saved, EDITS[case], TEXTS))
    assert said.startswith(("holds no model that skmlp 0.1.0", "has no array 'elsewhere'")), said


def test_what_a_file_cannot_be_of_is_said(saved, tmp_path):
    for case, expected in {
        "another estimator": "it is said to be of 'Pipeline', which is none of MLPClassifier, ",
        "an unknown parameter": r"MLPClassifier has no parameters ['momenta']",
        "a parameter out of range": "The 'alpha' parameter of MLPClassifier must be",
    }.items():
        assert expected in outcome(tmp_path / "model", edited(saved, EDITS[case], TEXTS)), case


def test_an_unchanged_forgery_is_loaded(saved, tmp_path):
    """So the refusals above are due to what was changed."""
    assert outcome(tmp_path / "model", edited(saved, lambda *_: None, TEXTS)) == "loaded"


NASTY = [
    *(None, True, -1, 0, 1, 3, 2**40, 2**70, 1e308, "", "tanh", "float64", [], {}, [[]], [1.0]),
    *({"tuple": []}, {"array": "coefs_.0"}, {"array": "extras"}, {"floats": "intercepts_.1"}),
    *({"text": "coefs_.0"}, {"dict": {}}, {"float": "nan"}, {"number": ["float32", 0.5]}),
    *({"choice": ["activations.Maxout", {"pieces": 2}]}, {"pairs": []}, {"type": "float"}),
]


def test_drawn_edits_are_refused_or_predict(saved, tmp_path):
    """Whatever a text says, nothing but `FileProblem`, or a model that predicts or says why not."""
    draws = np.random.default_rng(3)
    header, _ = parts_of(saved)
    texts = {name: json.loads(header[METADATA][name]) for name in TEXTS}
    loaded = refused = 0
    for place in 3 * [place for place in places(texts) if len(place) > 1]:
        change = set_in(*place, NASTY[draws.integers(len(NASTY))])
        (tmp_path / "model").write_bytes(edited(saved, change, TEXTS))
        try:
            model = skmlp.load(tmp_path / "model")
        except FileProblem:
            refused += 1
            continue
        loaded += 1
        with suppress(ValueError):
            assert len(model.predict(X)) == len(X)
    assert min(loaded, refused) > 25


# The format


def test_the_package_reads_ours_and_we_read_its(tmp_path):
    path = tmp_path / "file"
    tensors = {
        **{name: np.arange(6).reshape(2, 3).astype(text) for name, text in DTYPES.items()},
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "strided": np.arange(10.0)[::-2],
        "other byte order": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "number": np.array(3.5),
    }
    write_tensors(path, MODEL, tensors, {"text": "ü\ud800"[:1]})
    theirs = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert theirs.keys() == tensors.keys()
    for name, array in tensors.items():
        assert theirs[name].shape == array.shape
        assert_array_equal(theirs[name], array)
    with open_tensors(path, MODEL) as file:
        assert file.metadata == metadata
        for name, array in tensors.items():
            found = file.read(name)
            assert found.dtype == array.dtype.newbyteorder("=")
            assert found.shape == array.shape
            assert_array_equal(found, array)
    own = {name: np.ascontiguousarray(array) for name, array in theirs.items()}
    safetensors.numpy.save_file(own, path, {**metadata, "checksum": NO_DIGEST})
    begin = header_length(path.read_bytes())
    path.write_bytes(forged(path.read_bytes()[8:begin], path.read_bytes()[begin:]))
    with open_tensors(path, MODEL) as file:
        for name, array in own.items():
            assert_array_equal(file.read(name), array)


def test_models_can_be_read_by_the_package(saved, tmp_path):
    (tmp_path / "model").write_bytes(saved)
    loaded = skmlp.load(tmp_path / "model")
    tensors = safetensors.numpy.load_file(tmp_path / "model")
    for layer, coef in enumerate(as_trained(loaded).coefs):
        assert_array_equal(tensors[f"coefs_.{layer}"], coef)


# Writing


class Broken(Exception):
    pass


@pytest.mark.parametrize("call", ["open", "fdopen", "fsync", "replace"])
@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_what_fails_leaves_the_file_before(call, error, tmp_path, monkeypatch, saved):
    path = tmp_path / "model"
    path.write_bytes(saved)

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(error):
            write_tensors(path, MODEL, {"a": np.ones(3)}, {})
    assert path.read_bytes() == saved
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_file_before(tmp_path, monkeypatch, saved):
    path = tmp_path / "model"
    path.write_bytes(saved)

    def bytes_of(array):
        if counted.append(array) or len(counted) > 3:
            raise OSError(28, "No space left on device")
        return memoryview(b"12345678")

    counted = []
    monkeypatch.setattr("skmlp._tensor_file.bytes_of", bytes_of)
    with pytest.raises(OSError, match="No space"):
        write_tensors(path, MODEL, {"a": np.ones(1), "b": np.ones(1)}, {})
    assert path.read_bytes() == saved
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed(tmp_path):
    long_ago = time.time() - ABANDONED - 60
    digits = "0123456789abcdef"
    names = [f".model.{digits}.tmp", f".other.{digits}.tmp", f".model.{digits[1:]}.tmp", "model"]
    for name in names:
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (long_ago, long_ago))
    young = f".model.{digits[::-1]}.tmp"
    (tmp_path / young).write_text("x")
    write_tensors(tmp_path / "model", MODEL, {}, {})
    assert {path.name for path in tmp_path.iterdir()} == {young, *names[1:]}


def test_folders_are_not_made(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no such folder: '.*none'$"):
        write_tensors(tmp_path / "none" / "model", MODEL, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tensors("model", MODEL, {"a": np.ones(2)}, {})
    with open_tensors(Path("model"), MODEL) as file:
        assert_array_equal(file.read("a"), np.ones(2))


class Named:
    """A path-like object whose path is of bytes."""

    def __fspath__(self):
        return b"model"


def test_what_is_no_path_of_a_file_is_refused(tmp_path, monkeypatch, saved):
    """In a sentence that names it, and before anything is written."""
    monkeypatch.chdir(tmp_path)
    for path in (b"model", 3, None, Named()):
        for use in (skmlp.load, lambda path: write_tensors(path, MODEL, {}, {})):
            with pytest.raises(TypeError, match=r"path must be a str or path-like, but is"):
                use(path)
    for use in (skmlp.load, lambda path: write_tensors(path, MODEL, {}, {})):
        with pytest.raises(ValueError, match=r"'a\\x00b' holds a null character"):
            use("a\0b")
    for path in (".", "..", "", str(tmp_path), f"{tmp_path}/"):
        with pytest.raises(IsADirectoryError, match="This is a folder, not a file"):
            write_tensors(path, MODEL, {}, {})
    with pytest.raises(OSError, match=r"name too long: '.*aaa'"):
        write_tensors(300 * "a", MODEL, {}, {})
    assert list(tmp_path.iterdir()) == []
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileExistsError, match=r"What is there is no file: '.*pipe'"):
            write_tensors(tmp_path / "pipe", MODEL, {}, {})
        assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_names_as_long_as_the_system_takes(tmp_path):
    """Those of temporary files would be longer."""
    path = tmp_path / (255 * "n")
    write_tensors(path, MODEL, {"a": np.ones(2)}, {})
    before = time.time() - ABANDONED - 60
    [abandoned] = [name for name in temporary_names(path) if len(name) < 255]
    (tmp_path / abandoned).write_text("x")
    os.utime(tmp_path / abandoned, (before, before))
    write_tensors(path, MODEL, {"a": np.zeros(2)}, {})
    with open_tensors(path, MODEL) as file:
        assert_array_equal(file.read("a"), np.zeros(2))
    assert list(tmp_path.iterdir()) == [path]


def temporary_names(path):
    """Return the names that files have while one is written."""
    with replacing(path):
        return [found.name for found in path.parent.iterdir() if found != path]


@pytest.mark.skipif(os.name != "posix", reason="needs the modes of POSIX")
def test_a_file_keeps_its_mode(tmp_path, saved):
    """A private one stays private, and at no time is what it becomes open to others."""
    path = tmp_path / "model"
    before = os.umask(0o027)
    try:
        for mode in (None, 0o600, 0o664, 0o444):
            if mode is not None:
                path.chmod(mode)
            with replacing(path) as file:
                [temporary] = [found for found in tmp_path.iterdir() if found != path]
                assert stat.S_IMODE(temporary.stat().st_mode) == (0o640 if mode is None else mode)
                file.write(saved)
            assert stat.S_IMODE(path.stat().st_mode) == (0o640 if mode is None else mode)
    finally:
        os.umask(before)


def test_what_readers_would_refuse_is_not_written(tmp_path, monkeypatch, saved):
    path = tmp_path / "model"
    path.write_bytes(saved)
    monkeypatch.setattr("skmlp._tensor_file.LONGEST_HEADER", 2000)
    with pytest.raises(FileProblem, match=r"model' cannot be written: its header would have 2\d+ "):
        write_tensors(path, MODEL, {}, {"text": 2000 * "x"})
    assert path.read_bytes() == saved
    assert list(tmp_path.iterdir()) == [path]
    write_tensors(path, MODEL, {}, {"text": 1500 * "x"})
    with open_tensors(path, MODEL) as file:
        assert file.metadata["text"] == 1500 * "x"
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert not can_be_written(np.ones(33 * (1,)))
    assert can_be_written(np.ones(32 * (1,)))
