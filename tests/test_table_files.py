"""Encoders and estimators of tables come back from files as they were, or the file is refused."""

import json
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from forging import edited, outcome, parts_of, places, set_in
from numpy.testing import assert_array_equal, assert_equal
from sklearn import config_context
from sklearn.exceptions import NotFittedError

import skmlp
from skmlp import TableEncoder, TabularMLPClassifier, TabularMLPRegressor
from skmlp._plain_values import CannotBeSaved
from skmlp._saved_tables import TEXTS_OF_TABLES
from skmlp._tensor_file import METADATA, FileProblem

SMALL = {"n_members": 3, "max_iter": 3, "random_state": 3}
NAMES = {"classifier": TabularMLPClassifier, "regressor": TabularMLPRegressor}
CALLS = {"classifier": "predict_proba", "regressor": "predict"}


def table(n_rows=160, seed=0):
    """Return a frame with categories of all types, some of them missing."""
    rng = np.random.default_rng(seed)
    gaps = rng.normal(size=n_rows)
    gaps[::7] = np.nan
    mixed = np.array(["a", 1, 2.5, True, None], dtype=object)[rng.integers(5, size=n_rows)]
    return pd.DataFrame(
        {
            "size": rng.lognormal(size=n_rows),
            "gaps": gaps,
            "flag": rng.random(n_rows) > 0.5,
            "town": rng.choice([f"town ü{i}" for i in range(20)], n_rows),
            "grade": pd.Categorical(rng.integers(4, size=n_rows)),
            "mixed": mixed,
            "constant": 1.0,
        }
    )


X = table()
NEW = table(seed=1).assign(town="nowhere")
TARGETS = {
    "classifier": np.array(["low", "mid", "high"])[np.digitize(X["size"], [0.7, 1.5])],
    "regressor": 50.0 + 9.0 * X["size"],
}


@pytest.fixture(scope="module")
def models():
    return {kind: NAMES[kind](**SMALL).fit(X, TARGETS[kind]) for kind in NAMES}


@pytest.fixture(scope="module")
def contents(models, tmp_path_factory):
    """Return the bytes of the files of these, and of an encoder."""
    path = tmp_path_factory.mktemp("saved") / "model"
    found = {}
    encoder = TableEncoder(scaling="quantile", random_state=0).fit(X)
    for name, model in {**models, "encoder": encoder}.items():
        model.save(path)
        found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize("kind", NAMES)
def test_estimators_come_back_as_they_were(kind, models, tmp_path, fitted_state):
    model = models[kind]
    model.save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.get_params() == model.get_params()
    assert_array_equal(loaded.feature_names_in_, X.columns)
    for rows in (X, NEW, X.iloc[:1]):
        call = CALLS[kind]
        assert_array_equal(getattr(loaded, call)(rows), getattr(model, call)(rows))
    for name in ("temperature_", "smoothing_", "n_iter_", "stop_reason_", "n_features_in_"):
        assert getattr(loaded, name, None) == getattr(model, name, None)
    assert_equal(loaded.validation_report_["rounds"], model.validation_report_["rounds"])
    assert repr(loaded.validation_report_) == repr(model.validation_report_)
    assert fitted_state(loaded.encoder_) == fitted_state(model.encoder_)
    assert vars(loaded).keys() == vars(model).keys()
    # A network that counts several times is in the file once, and predicts once.
    numbers = [
        [id(one) for one in m.ensemble_.estimators_].index(id(network))
        for m in (model, loaded)
        for network in m.ensemble_.estimators_
    ]
    assert numbers[: len(numbers) // 2] == numbers[len(numbers) // 2 :]
    # It is a plain ensemble too.
    model.ensemble_.save(tmp_path / "model")
    alone = skmlp.load(tmp_path / "model")
    encoded = model.encoder_.transform(X)
    assert_array_equal(alone.predict(encoded), model.ensemble_.predict(encoded))
    if kind == "classifier":
        assert loaded.classes_.dtype == model.classes_.dtype
        assert_array_equal(loaded.predict(NEW), model.predict(NEW))


SETTINGS = [
    {},
    {"scaling": "quantile", "random_state": np.random.RandomState(3), "dtype": "float64"},
    {"scaling": "standard", "max_one_hot": 3, "categorical_features": ["town", "grade"]},
    {"scaling": None, "many_levels": "one-hot", "min_frequency": 0.02, "dtype": np.float32},
    {"categorical_features": np.array([3, 4])},
    {"categorical_features": None},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(settings))
def test_encoders_come_back_as_they_were(settings, tmp_path, fitted_state):
    own = X
    if "categorical_features" in settings:
        own = X.assign(mixed=0.5, town=pd.factorize(X["town"])[0])
    encoder = TableEncoder(**settings).fit(own)
    encoder.save(tmp_path / "encoder")
    loaded = skmlp.load(tmp_path / "encoder")
    assert type(loaded) is TableEncoder
    assert fitted_state(loaded) == fitted_state(encoder)
    assert_array_equal(loaded.transform(own), encoder.transform(own))
    assert_array_equal(loaded.get_feature_names_out(), encoder.get_feature_names_out())
    assert loaded.set_params(scaling="standard").fit(own).blocks_ == encoder.blocks_


@pytest.mark.parametrize("labels", [[0, 1], [True, False], [0.0, 2.0], ["a", "b"], [7]])
def test_labels_of_all_types(labels, tmp_path):
    for dtype in (None, object) if isinstance(labels[0], str) else (None,):
        y = np.array(labels, dtype=dtype)[np.arange(60) % len(labels)]
        model = TabularMLPClassifier("plain", max_iter=1, random_state=0).fit(X[:60], y)
        model.save(tmp_path / "model")
        loaded = skmlp.load(tmp_path / "model")
        assert loaded.classes_.dtype == model.classes_.dtype
        assert loaded.predict(X).tolist() == model.predict(X).tolist()


def test_requests_and_importances_are_kept(tmp_path):
    model = TabularMLPRegressor("plain", max_iter=1, n_permutations=1, random_state=0)
    with config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight="weight", groups=True)
    model.fit(X, TARGETS["regressor"]).save(tmp_path / "model")
    loaded = skmlp.load(tmp_path / "model")
    assert loaded.get_metadata_routing().fit.requests["sample_weight"] == "weight"
    assert_array_equal(loaded.feature_importances_, model.feature_importances_)


class Own(TableEncoder):
    pass


def test_what_cannot_be_saved_leaves_nothing(models, tmp_path):
    path = tmp_path / "model"
    with pytest.raises(NotFittedError):
        TabularMLPClassifier().save(path)
    with pytest.raises(CannotBeSaved, match=r"Own cannot be saved.* TableEncoder"):
        Own().fit(X).save(path)
    model = TabularMLPRegressor("plain", max_iter=1).fit(X, TARGETS["regressor"])
    with pytest.raises(CannotBeSaved, match="scoring=<function"):
        model.set_params(scoring=lambda *_: 0.0).save(path)
    with pytest.raises(ValueError, match="'max_iter' parameter of TabularMLPRegressor"):
        model.set_params(scoring=None, max_iter=-1).save(path)
    model.set_params(max_iter=None)
    for name, value, message in [
        ("stop_reason_", "tired", "stop_reason_ must be one of"),
        ("feature_importances_", np.ones(3), "do not go together"),
        ("encoder_", TableEncoder().fit(X[["size"]]), "do not go together"),
        ("encoder_", None, "encoder_ must be a TableEncoder and"),
        ("ensemble_", models["classifier"].ensemble_, "ensemble_ a MLPRegressor"),
        ("temperature_", 1.0, "temperature_ is there, other than a fit"),
    ]:
        before = dict(vars(model))
        setattr(model, name, value)
        with pytest.raises(ValueError, match=message):
            model.save(path)
        vars(model).clear()
        vars(model).update(before)
    assert list(tmp_path.iterdir()) == []
    model.save(path)


# Files made to harm


def encoding(*path):
    return set_in("encoder", "encoding", "dict", *path)


def numbers(name, value):
    return encoding("numbers", "dict", name, value)


def first_category(name, value):
    return encoding("categories", 0, "dict", name, value)


ENSEMBLE = ("ensemble", "attributes")
ARRAY = {"array": "ensemble_.estimators_.0.coefs_.0"}
EDITS = {
    "an unknown parameter": set_in("parameters", "depth", 9),
    "a parameter out of range": set_in("parameters", "n_members", 0),
    "code": set_in("parameters", "scoring", {"type": "os.system"}),
    "an attribute that is a method": set_in("attributes", "predict", "x"),
    "no report": set_in("attributes", "validation_report_", []),
    "rounds of text": set_in(
        *("attributes", "validation_report_", "dict", "rounds"), {"dict": {"loss": ["x"]}}
    ),
    "a temperature of zero": set_in("attributes", "temperature_", 0.0),
    "more than all to doubt": set_in("attributes", "smoothing_", 1.5),
    "an infinite temperature": set_in("attributes", "temperature_", {"float": "inf"}),
    "classes in no order": set_in("attributes", "classes_", {"objects": [[3], [3, 2, 1]]}),
    "too many classes": set_in("attributes", "classes_", {"objects": [[4], [1, 2, 3, 4]]}),
    "classes that cannot be compared": set_in(
        "attributes", "classes_", {"objects": [[3], [1, "a", 2]]}
    ),
    "no classes": lambda _, texts: texts["attributes"].pop("classes_"),
    "no reason": lambda _, texts: texts["attributes"].pop("stop_reason_"),
    "a parameter of the encoder": set_in("encoder", "parameters", "scaling", "log"),
    "columns that are not there": set_in("encoder", "attributes", "n_features_in_", 2),
    "columns without end": set_in("encoder", "attributes", "n_features_in_", 2**62),
    "names": set_in("encoder", "attributes", "feature_names_in_", {"objects": [[1], ["a"]]}),
    "reasons": set_in("encoder", "attributes", "dropped_", {"dict": {"a": 3}}),
    "a field of a later version": encoding("powers", 3),
    "a type that is none": encoding("dtype", "float16"),
    "an encoding of nothing": set_in("encoder", "encoding", None),
    "categories of nothing": encoding("categories", [None]),
    "other numbers": numbers("columns", ARRAY),
    "no scale": numbers("scale", {"objects": [[2], [1.0, 1.0]]}),
    "clipped by text": numbers("is_clipped", "yes"),
    "quantiles": numbers("quantiles", {"tuple": [ARRAY, ARRAY]}),
    "a category far away": first_category("column", 2**70),
    "a category twice": first_category("column", 3),
    "a number as category": first_category("column", 0),
    "a category by name": first_category("column", "town"),
    "levels in no order": first_category("levels", {"objects": [[2], [True, False]]}),
    "levels twice": first_category("levels", {"objects": [[2], [True, 1]]}),
    "levels of no number": first_category("levels", {"objects": [[2], [1, {"float": "nan"}]]}),
    "no levels": first_category("levels", {"objects": [[0], []]}),
    "flags of another kind": first_category("flags", ARRAY),
    "codes in the place of flags": first_category("flags", None),
    "another ensemble": lambda _, texts: texts.update(ensemble=texts["encoder"]),
    "an ensemble of nothing": set_in("ensemble", "members", []),
    "an unknown member": set_in("ensemble", "order", [0, 9]),
    "members in no order": set_in("ensemble", "order", [True]),
    "a loss without probabilities": set_in(
        *("ensemble", "members", 0, "network", "dict", "heads", "tuple", 0, "dict"),
        *("loss", "dict", "name", "hinge"),
    ),
    "the other estimator": lambda header, _: header[METADATA].update(
        estimator="TabularMLPRegressor"
    ),
    "an estimator that is an encoder": lambda header, _: header[METADATA].update(
        estimator="TableEncoder"
    ),
    "a text missing": lambda header, _: header[METADATA].pop("requests"),
}


@pytest.mark.parametrize("case", EDITS)
def test_contents_that_no_fit_leaves(case, contents, tmp_path):
    content = edited(contents["classifier"], EDITS[case], TEXTS_OF_TABLES)
    said = outcome(tmp_path / "model", content)
    assert said.startswith("holds no model that skmlp 0.1.0"), said


def test_damage_is_named(contents, tmp_path):
    content = contents["classifier"]
    path = tmp_path / "model"
    assert outcome(path, edited(content, lambda *_: None, TEXTS_OF_TABLES)) == "loaded"
    assert outcome(path, content[:-1]).startswith("is cut off")
    changed = bytearray(content)
    changed[-5] ^= 1
    assert outcome(path, bytes(changed)).startswith("is damaged")


NASTY = [
    *(None, True, -1, 0, 1, 3, 2**40, 2**70, 1e308, "", "float64", [], {}, [[]], [1.0]),
    *({"tuple": []}, {"dict": {}}, {"float": "nan"}, {"number": ["float32", 0.5]}),
    *({"array": "encoder_.encoding.numbers.mean"}, {"objects": [[1], ["x"]]}, {"pairs": []}),
]


@pytest.mark.parametrize("kind", ["classifier", "encoder"])
def test_drawn_edits_are_refused_or_predict(kind, contents, tmp_path):
    """Whatever a text says, nothing but `FileProblem`, or a model that predicts or says why not."""
    draws = np.random.default_rng(3)
    header, _ = parts_of(contents[kind])
    texts = {n: json.loads(v) for n, v in header[METADATA].items() if n in TEXTS_OF_TABLES}
    found = [place for place in places(texts) if len(place) > 1]
    loaded = refused = 0
    for number in draws.integers(len(found), size=300):
        change = set_in(*found[number], NASTY[draws.integers(len(NASTY))])
        (tmp_path / "model").write_bytes(edited(contents[kind], change, TEXTS_OF_TABLES))
        try:
            model = skmlp.load(tmp_path / "model")
        except FileProblem:
            refused += 1
            continue
        loaded += 1
        with suppress(ValueError):
            call = model.transform if kind == "encoder" else model.predict
            assert len(call(X)) == len(X)
    assert min(loaded, refused) > 5
