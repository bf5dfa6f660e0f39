"""Checkpoints: a fit that goes on from one is, bit by bit, the fit that had not ended."""

import errno
import functools
import os
import pickle
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit

import skmlp
import skmlp._base
import skmlp._ensembles
import skmlp._fingerprints
from skmlp import MLPClassifier, MLPRegressor
from skmlp._checkpoints import checkpoint_at
from skmlp._described import described
from skmlp._fingerprints import fingerprint_of
from skmlp._tensor_file import CHECKPOINT, FileProblem, open_tensors, write_tensors
from skmlp.callbacks import Checkpoint, FunctionCallback
from skmlp.engines.reference import ReferenceEngine
from skmlp.optimizers import SGD
from skmlp.schedules import Cosine, OneCycle, Plateau

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(
        find_spec("sklearn.callback") is None, reason="scikit-learn has callbacks from 1.9 on"
    ),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4))
SPARSE = csr_array(np.where(RNG.random(X.shape) < 0.5, X, 0.0))
LABELS = np.digitize(X[:, 0] + 0.3 * RNG.normal(size=40), [-0.5, 0.5])
AMOUNTS = 10.0 + 3.0 * np.tanh(X[:, :2])
GROUPS = np.arange(40) // 5
WEIGHT = RNG.random(40)


class Killed(Exception):
    """What ends a fit here from outside."""


@pytest.fixture
def reference(monkeypatch):
    """Let fits compute in NumPy: what they compile is not the subject."""
    monkeypatch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


def model_of(cls=MLPClassifier, **options):
    common = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0, "batch_size": 16}
    return cls(**{**common, "learning_rate_init": 0.02, **options})


def killed(model, path, data=(X, LABELS), *, at=5, every=2, keep=1, **given):
    """Fit until an epoch at whose end, after all callbacks, the fit is ended from outside."""

    def end(epoch):
        if epoch.number == at:
            raise Killed

    model.set_callbacks(Checkpoint(path, every=every, keep=keep), FunctionCallback(end))
    with pytest.raises(Killed):
        model.fit(*data, **given)


def half(progress):
    return 1.0 - 0.5 * progress


# --- What goes on is the same fit ---

SOLVERS = {
    "adam": {"solver": "adam"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-2, "n_iter_no_change": 1},
    "cosine": {"solver": "nadam", "learning_rate": Cosine(warmup=0.3)},
    "one cycle": {"solver": "sgd", "learning_rate": OneCycle(momentum=(0.95, 0.85))},
    "plateau": {"solver": "muon", "learning_rate": Plateau(patience=0), "weight_decay": 0.1},
    "function": {"solver": "lion", "learning_rate": half, "clip_norm": 0.5},
    "object": {"solver": SGD(momentum=0.5), "learning_rate": "invscaling"},
}
WATCHED = {
    "nothing": ({}, {}),
    "split": ({"early_stopping": True, "restore_best": False}, {}),
    "loss": ({"early_stopping": True, "scoring": "loss", "n_iter_no_change": 2}, {}),
    "groups": ({"early_stopping": True, "validation_fraction": GroupKFold(3)}, {"groups": GROUPS}),
    "groups at random": ({"early_stopping": True}, {"groups": list(map(str, GROUPS))}),
    "X_val": ({"early_stopping": True}, {"X_val": X[:20]}),
    "training loss": ({"restore_best": True, "n_iter_no_change": 2, "tol": 0.1}, {}),
}
LEARNED = {
    "plain": {},
    "dropout": {"dropout": 0.3, "input_dropout": 0.2, "dropout_schedule": "cosine"},
    "batch": {"normalization": "batch"},
    "layer": {"normalization": "layer", "activation": "prelu"},
    "bounds": {"connectivity": 0.5, "max_norm": 1.0},
}
DATA = ("dense", "sparse", "weights", "regression", "earlier fit", "earlier regression")
RANDOM_STATES = (3, "a generator", "no shuffling")
AXES = [list(SOLVERS), list(WATCHED), list(LEARNED), DATA, (None, 0.9), RANDOM_STATES]


@pytest.mark.parametrize("number", range(24))
@pytest.mark.usefixtures("reference")
def test_a_fit_that_goes_on_is_the_whole_fit(number, path, fitted_state, monkeypatch):
    rng = np.random.default_rng(number)
    solver, watched, learned, kind, ema_decay, drawn = (
        axis[rng.integers(len(axis))] for axis in AXES
    )
    options, given = WATCHED[watched]
    options = {**SOLVERS[solver], **options, **LEARNED[learned], "ema_decay": ema_decay}
    monkeypatch.setattr(ReferenceEngine, "draws_orders", number % 3 == 0)
    is_regression = "regression" in kind
    y = AMOUNTS if is_regression else LABELS
    cls = MLPRegressor if is_regression else MLPClassifier
    if is_regression:
        options["y_scale"] = "standard"
    given = dict(given)
    if "X_val" in given:
        given |= {"y_val": y[:20], "sample_weight_val": WEIGHT[:20]}
    if kind == "weights":
        given["sample_weight"], options["class_weight"] = WEIGHT, "balanced"
    options["monitor"] = ["gradient_norm", *(["validation_loss"] if "X_val" in given else [])]
    if learned == "layer" and kind != "sparse":
        options |= {"input_noise": 0.1, "mixup": 0.2}
    inputs = SPARSE if kind == "sparse" else X
    options["shuffle"] = drawn != "no shuffling"
    options["warm_start"] = "earlier" in kind

    def begun():
        """Return an estimator as it is before the fit that is ended."""
        seed = np.random.RandomState(3) if drawn == "a generator" else 3
        model = model_of(cls, **options, random_state=seed)
        if "earlier" in kind:
            first = {name: value[::-1] for name, value in given.items() if name == "groups"}
            others = {k: v for k, v in given.items() if k != "groups"}
            model.fit(inputs[::-1], y[::-1] + 7 * is_regression, **others, **first)
        return model

    whole = begun().fit(inputs, y, **given)
    at = min(3 + number % 3, whole.n_iter_)
    assert at > 1
    killed(begun(), path, (inputs, y), at=at, **given)
    seed = np.random.RandomState(99) if drawn == "a generator" else 3
    again = model_of(cls, **options, random_state=seed)
    again.fit(inputs, y, **given, resume_from=path)
    expected, found = fitted_state(whole), fitted_state(again)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_goes_on(dtype, path, fitted_state, always_parallel):
    options = {"early_stopping": True, "dtype": dtype, "dropout": 0.2, "hidden_layer_sizes": (20,)}
    options |= {"normalization": "batch"} if dtype == "float32" else {"ema_decay": 0.5}
    whole = model_of(**options, n_jobs=1).fit(X, LABELS)
    killed(model_of(**options, n_jobs=1), path, at=3)
    again = model_of(**options, n_jobs=2).fit(X, LABELS, resume_from=path)
    assert fitted_state(again) == fitted_state(whole)


@pytest.mark.usefixtures("reference")
def test_a_fit_that_has_ended_goes_on_if_there_is_more(path, fitted_state):
    first = model_of(max_iter=3).set_callbacks(Checkpoint(path)).fit(X, LABELS)
    assert first.stop_reason_ == "max_iter"
    assert_array_equal(
        model_of(max_iter=3).fit(X, LABELS, resume_from=path).coefs_[0], first.coefs_[0]
    )
    again = model_of(max_iter=9).fit(X, LABELS, resume_from=path)
    assert fitted_state(again) == fitted_state(model_of(max_iter=9).fit(X, LABELS))
    # Less than it has come to is too late.
    assert model_of(max_iter=2).fit(X, LABELS, resume_from=path).n_iter_ == 3

    # What patience has ended stays ended.
    options = {"tol": 10.0, "n_iter_no_change": 1}
    whole = model_of(**options).set_callbacks(Checkpoint(path)).fit(X, LABELS)
    assert whole.stop_reason_ == "no_improvement"
    again = model_of(**options, max_iter=50).fit(X, LABELS, resume_from=path)
    assert (again.n_iter_, again.stop_reason_) == (whole.n_iter_, whole.stop_reason_)

    # Time goes on being counted.
    model_of(max_time=1e-9).set_callbacks(Checkpoint(path)).fit(X, LABELS)
    again = model_of(max_time=1e-9).fit(X, LABELS, resume_from=path)
    assert (again.n_iter_, again.stop_reason_) == (1, "max_time")
    again = model_of(max_time=1e9).fit(X, LABELS, resume_from=path)
    assert_array_equal(again.coefs_[0], model_of().fit(X, LABELS).coefs_[0])


@pytest.mark.usefixtures("reference")
def test_resumed_fits_write_and_warm_starts_go_on(path, fitted_state):
    """A fit may be killed many times, and is the beginning of others like any other."""
    whole = model_of(max_iter=9, warm_start=True).fit(X, LABELS)
    killed(model_of(max_iter=9, warm_start=True), path, at=3, every=1)
    for at in (5, 7):
        killed(model_of(max_iter=9, warm_start=True), path, at=at, every=1, resume_from=path)
    again = model_of(max_iter=9, warm_start=True).fit(X, LABELS, resume_from=path)
    for _ in range(2):
        assert fitted_state(again) == fitted_state(whole)
        again = pickle.loads(pickle.dumps(again)).fit(X, LABELS)
        whole.fit(X, LABELS)


@pytest.mark.usefixtures("reference")
def test_without_random_state_it_goes_on_beside_numpys_generator(path):
    options = {"random_state": None, "early_stopping": True, "max_iter": 8}
    np.random.seed(5)
    whole = model_of(**options).fit(X, LABELS)
    np.random.seed(5)
    killed(model_of(**options), path)
    before = np.random.get_state()[1].tobytes()
    again = model_of(**options).fit(X, LABELS, resume_from=path)
    assert_array_equal(again.coefs_[0], whole.coefs_[0])
    assert np.random.get_state()[1].tobytes() == before


ENSEMBLES = {
    "all rows": {"early_stopping": True},
    "bootstrap": {"early_stopping": True, "bootstrap": True, "oob_score": True},
    "not watched": {"bootstrap": True, "dropout": 0.2},
    "earlier": {"warm_start": True},
    "unlike lengths": {"n_iter_no_change": 1, "tol": 0.1, "learning_rate_init": 0.3},
}


@pytest.mark.parametrize("case", ENSEMBLES)
@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores:UserWarning")
@pytest.mark.usefixtures("reference")
def test_ensembles_go_on(case, path, fitted_state):
    """Each network has a file of its own; one that had none yet starts from the beginning."""
    y = AMOUNTS[:, 0] * 1e3

    def begun():
        model = model_of(MLPRegressor, n_estimators=3, y_scale="standard", **ENSEMBLES[case])
        return model.fit(X[:30], y[:30] + 5.0) if case == "earlier" else model

    whole = begun().fit(X, y)
    lengths = [member.n_iter_ for member in whole.estimators_]
    assert (len(set(lengths)) > 1) == (case == "unlike lengths")

    def end(epoch):
        if epoch.network == 1 and epoch.number == lengths[1]:
            raise Killed

    model = begun().set_callbacks(Checkpoint(path, every=2), FunctionCallback(end))
    with pytest.raises(Killed):
        model.fit(X, y)
    assert {name.name for name in path.parent.iterdir()} == {f"run.{n}.ckpt" for n in range(3)}
    if case != "earlier":
        (path.parent / "run.2.ckpt").unlink()
    again = model_of(MLPRegressor, n_estimators=3, y_scale="standard", **ENSEMBLES[case])
    again.fit(X, y, resume_from=path)
    for member, other in zip(again.estimators_, whole.estimators_, strict=True):
        assert fitted_state(member) == fitted_state(other)
    assert_array_equal(again.predict(X), whole.predict(X))
    assert again.loss_ == whole.loss_
    if "oob_score" in ENSEMBLES[case]:
        assert again.oob_score_ == whole.oob_score_


@pytest.mark.usefixtures("reference")
def test_checkpoints_of_ensembles_that_do_not_fit(path, unchanged, caplog):
    options = {"n_estimators": 2, "warm_start": True, "early_stopping": True}
    model = model_of(**options).fit(X, LABELS)
    with pytest.raises(ValueError, match="random_state=None and n_estimators=2: the next fit"):
        model_of(**options | {"random_state": None}).set_callbacks(Checkpoint(path)).fit(X, LABELS)
    model.fit(X, LABELS, resume_from=path)
    assert "run.*.ckpt' yet: the fit starts from the beginning" in caplog.text
    model.set_callbacks(Checkpoint(path)).fit(X, LABELS)
    model.set_callbacks()
    others = [
        ({"random_state": 1}, r"run\.0\.ckpt' is of a fit with random_state="),
        ({"alpha": 0.5}, r"alpha=0\.0001 \(now 0\.5\)"),
        ({"validation_fraction": GroupKFold(2)}, "validation_fraction="),
    ]
    for changed, message in others:
        other = model_of(**options | changed)
        with unchanged(model=other), pytest.raises(ValueError, match=message):
            other.fit(X, LABELS, resume_from=path, groups=GROUPS)
    with pytest.raises(ValueError, match="is of a fit with other data: y"):
        model_of(**options).fit(X, LABELS[::-1], resume_from=path)
    (path.parent / "run.1.ckpt").unlink()
    with pytest.raises(ValueError, match="an earlier fit, of which network 1 has no checkpoint"):
        model_of(**options).fit(X, LABELS, resume_from=path)


@pytest.mark.usefixtures("reference")
def test_other_held_out_rows_are_refused(path, monkeypatch):
    """What no parameter tells: a generator of the split that has moved on."""
    options = {"n_estimators": 2, "early_stopping": True}
    model_of(**options).set_callbacks(Checkpoint(path)).fit(X, LABELS)
    seeds_of = skmlp._ensembles.seeds_of

    def moved(ensemble):
        seeds = seeds_of(ensemble)
        seeds.random_state.random_sample()
        return seeds

    monkeypatch.setattr(skmlp._ensembles, "seeds_of", moved)
    with pytest.raises(ValueError, match="is of a fit that has held out other rows"):
        model_of(**options).fit(X, LABELS, resume_from=path)


# --- When it is written ---


@pytest.mark.usefixtures("reference")
def test_when_files_are_written(path, monkeypatch):
    def epochs_of(every, **options):
        found = []
        note = FunctionCallback(lambda epoch: found.append(epochs_in(path)))
        model_of(**options).set_callbacks(Checkpoint(path, every=every), note).fit(X, LABELS)
        path.unlink()
        return found

    assert epochs_of(4) == [0, 0, 0, 4, 4, 6]
    assert epochs_of(4, tol=10.0, n_iter_no_change=1) == [0, 0, 3]
    assert epochs_of("2 h") == [0, 0, 0, 0, 0, 6]
    now = iter(np.arange(1000) * 40.0)
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    # Each epoch looks at the clock once, and once more if it is time to write.
    assert epochs_of("1.5 min")[:4] == [0, 0, 3, 3]


def epochs_in(path):
    found = checkpoint_at(path) if path.exists() else None
    return 0 if found is None else len(found.fit.history.losses)


@pytest.mark.usefixtures("reference")
def test_the_last_files_stay(path):
    model_of().set_callbacks(Checkpoint(path, every=1, keep=3)).fit(X, LABELS)
    names = sorted(entry.name for entry in path.parent.iterdir())
    assert names == ["run.ckpt", "run.ckpt.1", "run.ckpt.2"]
    assert [epochs_in(path.with_name(name)) for name in names] == [6, 5, 4]
    # Behind a gap nothing moves.
    path.with_name("run.ckpt.1").unlink()
    model_of(max_iter=1).set_callbacks(Checkpoint(path, keep=3)).fit(X, LABELS)
    assert [epochs_in(path.with_name(name)) for name in names] == [1, 6, 4]
    model_of(max_iter=2).set_callbacks(Checkpoint(path)).fit(X, LABELS)
    assert [epochs_in(path.with_name(name)) for name in names] == [2, 6, 4]


@pytest.mark.usefixtures("reference")
def test_fits_of_a_search_have_files_of_their_own(path):
    model = model_of(max_iter=2).set_callbacks(Checkpoint(path))
    search = GridSearchCV(model, {"alpha": [0.1, 0.2]}, cv=2).fit(X, LABELS, resume_from=path)
    names = {entry.name for entry in path.parent.iterdir()}
    assert len(names) == 5
    assert "run.ckpt" not in names
    before = {name: path.with_name(name).read_bytes() for name in names}
    again = GridSearchCV(model, {"alpha": [0.1, 0.2]}, cv=2).fit(X, LABELS, resume_from=path)
    assert_array_equal(again.best_estimator_.coefs_[0], search.best_estimator_.coefs_[0])
    assert {name: path.with_name(name).read_bytes() for name in names} == before


# --- What it is refused for ---


REFUSED = [
    ({"alpha": 0.5}, {}, r"with alpha=0\.0001 \(now 0\.5\)\. Give"),
    ({"random_state": 1, "tol": 0.5}, {}, r"random_state=0 \(now 1\), tol=0.0001 \(now 0.5\)"),
    ({"random_state": np.random.RandomState(0)}, {}, r"random_state=0 \(now RandomState\(MT"),
    ({"hidden_layer_sizes": (6,)}, {}, r"hidden_layer_sizes=\(5,\) \(now \(6,\)\)"),
    ({"solver": SGD()}, {}, r"solver='adam' \(now SGD\(.*momentum=0\.9"),
    ({"learning_rate": half}, {}, r"learning_rate='constant' \(now half \(code [0-9a-f]+\)\)"),
    ({}, {"X": X + 1}, "other data: X. Give"),
    ({}, {"X": X[:, :3], "X_val": X[:10, :3]}, r"n_features_in_=4 \(now 3\)"),
    ({}, {"X": X.astype(np.float32)}, r"dtype=float64 \(now float32\)"),
    ({}, {"X": csr_array(X)}, "other data: X. Give"),
    ({}, {"X": X[:-1], "y": LABELS[:-1]}, "other data: X, y. Give"),
    ({}, {"y": LABELS[::-1]}, "other data: y. Give"),
    ({}, {"y": LABELS + 1, "y_val": LABELS[:10] + 1}, r"classes_=\(0, 1, 2\) \(now \(1, 2, 3\)\)"),
    (
        {},
        {"y": LABELS > 0, "y_val": LABELS[:10] > 0},
        r"classes_=\(0, 1, 2\) \(now \(False, True\)\)",
    ),
    ({}, {"sample_weight": WEIGHT}, "other data: sample_weight. Give"),
    ({}, {"groups": GROUPS, "X_val": None, "y_val": None}, "other data: groups, X_val, y_val."),
    ({}, {"y_val": LABELS[1:11]}, "other data: y_val. Give"),
    ({}, {"sample_weight_val": WEIGHT[:10]}, "other data: sample_weight_val. Give"),
    ({"solver": "lbfgs"}, {}, "does not go with solver='lbfgs'"),
]


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(("options", "arguments", "message"), REFUSED, ids=[c[-1] for c in REFUSED])
def test_other_fits_are_refused_by_name(options, arguments, message, path, fitted_state):
    watched = {"X_val": X[:10], "y_val": LABELS[:10]}
    first = model_of(early_stopping=True).set_callbacks(Checkpoint(path))
    first.fit(X, LABELS, **watched)
    model = model_of(**{"early_stopping": True, **options})
    generator = model.random_state
    before = generator.get_state()[1].tobytes() if hasattr(generator, "get_state") else None
    given = {"X": X, "y": LABELS, **watched, **arguments}
    with pytest.raises(ValueError, match=message):
        model.fit(**given, resume_from=path)
    assert fitted_state(model) == {}
    if before is not None:
        assert generator.get_state()[1].tobytes() == before


@pytest.mark.usefixtures("reference")
def test_other_refusals(path, monkeypatch, caplog):
    model_of(learning_rate="cosine").set_callbacks(Checkpoint(path)).fit(X, LABELS)
    with pytest.raises(ValueError, match=r"max_iter=6 \(now 9\) \(learning_rate counts its steps"):
        model_of(learning_rate="cosine", max_iter=9).fit(X, LABELS, resume_from=path)
    with pytest.raises(ValueError, match="is of MLPClassifier, but this is MLPRegressor"):
        model_of(MLPRegressor).fit(X, X[:, 0], resume_from=path)
    with pytest.raises(ValueError, match="resume_from must be a path, or None, got 3"):
        model_of().fit(X, LABELS, resume_from=3)
    with pytest.raises(ValueError, match="solver='lbfgs'"):
        model_of(solver="lbfgs", batch_size="auto").set_callbacks(Checkpoint(path)).fit(X, LABELS)
    pcg = np.random.RandomState(np.random.PCG64(0))
    with pytest.raises(ValueError, match=r"MT19937 only, but random_state=.* is PCG64"):
        model_of(random_state=pcg).set_callbacks(Checkpoint(path)).fit(X, LABELS)
    with pytest.raises(TypeError, match="resume_from"):
        model_of().partial_fit(X, LABELS, resume_from=path)
    # Another version may compute other last bits, which is no reason to lose days.
    assert not caplog.records
    monkeypatch.setattr("skmlp.__version__", "99.0")
    model_of(learning_rate="cosine").fit(X, LABELS, resume_from=path)
    assert "was written by skmlp 0" in caplog.text
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    model_of().set_callbacks(Checkpoint(path)).fit(frame, LABELS)
    with pytest.raises(ValueError, match=r"feature_names_in_=array.* \(now None\)"):
        model_of().fit(X, LABELS, resume_from=path)
    assert model_of().fit(frame, LABELS, resume_from=path).feature_names_in_.tolist() == [*"abcd"]
    model = model_of(max_iter=1).fit(X, LABELS)
    model.save(path)
    with pytest.raises(
        FileProblem, match=r"holds a model of skmlp, not a checkpoint\. skmlp\.load takes models\."
    ):
        model.fit(X, LABELS, resume_from=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": 3}, "path must be a string or a path, got 3"),
        ({"every": 0}, "every must be a number of epochs, or a time, got 0"),
        ({"every": True}, "every must be"),
        ({"every": "5 days"}, "every must be"),
        ({"every": "0 s"}, "every must be"),
        ({"keep": 0}, "keep must be a number of files, got 0"),
        ({"keep": 1.5}, "keep must be"),
    ],
)
def test_parameters_of_the_callback(arguments, message):
    with pytest.raises(ValueError, match=message):
        Checkpoint(**{"path": "run.ckpt", **arguments})


@pytest.mark.usefixtures("reference")
def test_no_file_yet(path, caplog):
    model = model_of(max_iter=2)
    model.fit(X, LABELS, resume_from=path)
    assert f"No checkpoint at {os.fspath(path)!r} yet" in caplog.text
    assert model.n_iter_ == 2
    assert model.fit(X, LABELS, resume_from=path.parent / "none" / "x").n_iter_ == 2


# --- Files that are damaged, or made up ---


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the bytes of a small checkpoint."""
    path = tmp_path_factory.mktemp("written") / "run.ckpt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skmlp._base, "make_engine", lambda *_: ReferenceEngine())
        killed(model_of(early_stopping=True, ema_decay=0.5), path)
    return path.read_bytes()


def test_damage_is_found_wherever_it_is(written, path, caplog):
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(written[:8], "little")
    places = [*range(0, header, 9), *rng.integers(header, len(written), 150).tolist()]
    older = path.with_name("run.ckpt.7")
    older.write_bytes(written)
    for number, place in enumerate(places):
        flipped = bytearray(written)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(written[:place] if number % 8 == 0 else flipped)
        if number % 100:
            with pytest.raises(FileProblem, match=r"'.*run\.ckpt' "):
                alone(path)
        else:  # an older one serves
            assert checkpoint_at(path).path == older
    assert caplog.text.count("run.ckpt.7' instead") == -(-len(places) // 100)


def alone(path):
    """Read a file without any older one."""
    return skmlp._checkpoints.read_checkpoint(path)


EDITS = {
    "rows of X": {"fit.rows": lambda a: a + 20},
    "negative rows": {"fit.held_out": lambda a: a - 40},
    "rows of another kind": {"fit.rows": lambda a: a.astype(np.int32)},
    "no rows": {"fit.rows": lambda a: a[:0]},
    "order": {"row_order.order": np.zeros_like},
    "order of others": {"row_order.order": lambda a: a[:-1]},
    "parameters": {"fit.parameters": lambda a: a[:-1]},
    "types": {"fit.parameters": lambda a: a.astype(np.float32)},
    "numbers": {"optimizer.vectors": lambda a: a * np.nan},
    "vectors": {"optimizer.vectors": lambda a: a[:, :-1]},
    "states": {"optimizer.vectors": lambda a: a[:-1]},
    "averages": {"optimizer.averages.values": lambda a: a[:-1]},
    "best": {"fit.best.parameters": lambda a: a[1:]},
    "raw": {"fit.best.raw": lambda a: a[1:]},
    "losses": {"fit.history.losses": lambda a: a[1:]},
    "generator": {"random_state": lambda a: a[1:]},
}
TEXTS = {
    "drawn for ever": ('"drawn": ', '"drawn": 9000000'),
    "no order": ('"order": {"array": "state.row_order.order"}', '"order": null'),
    "a seed": ('"mask_seed": ', '"mask_seed": 1000000000'),
    "a step": ('"step": ', '"step": -'),
    "a rate": ('"learning_rate": 0', '"learning_rate": -1'),
    "a solver": ('"name": "adam"', '"name": "sgd"'),
    "a reason": ('"stop_reason": null', '"stop_reason": "boredom"'),
    "a field": ('"stalled"', '"stale"'),
    "position": (
        '"RandomState": ["state.random_state", ',
        '"RandomState": ["state.random_state", 9',
    ),
    "a weight": ('"weight": ', '"weight": -'),
    "a record": ('"measured": {"dict": {}}', '"measured": {"dict": {"x": [1]}}'),
    "a name": ('"measured": {"dict": {}}', '"measured": {"pairs": [[1, [1.0]]]}'),
    "no history": ('"history": {"dict": {', '"history": {"dict": {"y": 1, '),
    "no fit": ('"before": null', '"before": 5'),
    "earlier fits": ('"before": null', '"before": {"dict": {"coefs_": 1}}'),
    "an averaged one": ('"averages": {', '"averages": null, "x": {'),
}


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("name", [*EDITS, *TEXTS])
def test_what_no_fit_can_have_written_is_refused(name, written, path, fitted_state):
    """Whoever means harm can write a checksum that is right."""
    path.write_bytes(written)
    with open_tensors(path, CHECKPOINT) as file:
        tensors = {name: file.read(name) for name in file.entries}
        metadata = {key: text for key, text in file.metadata.items() if key != "checksum"}
    for key, edit in EDITS.get(name, {}).items():
        tensors[f"state.{key}"] = edit(tensors[f"state.{key}"])
    if name in TEXTS:
        before, after = TEXTS[name]
        assert before in metadata["state"]
        metadata["state"] = metadata["state"].replace(before, after, 1)
    write_tensors(path, CHECKPOINT, tensors, metadata)
    model = model_of(early_stopping=True, ema_decay=0.5)
    if name == "drawn for ever":  # only counted on from
        assert model.fit(X, LABELS, resume_from=path).n_iter_ == 6
        return
    with pytest.raises(ValueError, match=r"holds no checkpoint|Cannot (go on|resume)"):
        model.fit(X, LABELS, resume_from=path)
    assert fitted_state(model) == {}


# --- Writers that are ended ---


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("keep", [1, 3])
def test_whatever_fails_a_whole_file_serves(keep, path, monkeypatch, fitted_state):
    """The fit ends at each call that writes, of several epochs."""
    whole = model_of(max_iter=3).fit(X, LABELS)
    n_calls = 0
    while True:
        with monkeypatch.context() as patch:
            left = [n_calls]
            for name in ("fsync", "replace"):
                patch.setattr(os, name, failing(getattr(os, name), left))
            try:
                model_of(max_iter=3).set_callbacks(Checkpoint(path, every=1, keep=keep)).fit(
                    X, LABELS
                )
            except Killed:
                assert left == [0]
            else:
                break
        if n_calls > 2:
            again = model_of(max_iter=3).fit(X, LABELS, resume_from=path)
            assert fitted_state(again) == fitted_state(whole)
        names = {entry.name for entry in path.parent.iterdir()}
        assert names <= {"run.ckpt", "run.ckpt.1", "run.ckpt.2"}
        for name in names:
            path.with_name(name).unlink()
        n_calls += 1
    # Each write has two calls of fsync, and one of replace for each file that stays.
    assert n_calls == 3 * 2 + (3 if keep == 1 else 1 + 2 + 3)


def failing(function, left):
    @functools.wraps(function)
    def fail_at_last(*arguments):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return function(*arguments)

    return fail_at_last


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_kills_at_random_moments(tmp_path):
    command = [sys.executable, Path(__file__).with_name("kills.py"), "--seconds", "4", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(Path(skmlp.__file__).parents[1])}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "always the same fit" in done.stdout


# --- What tells parameters and data ---


def scaled(factor):
    return lambda progress: factor * progress


class Splitter:
    def __init__(self, seed, cycle=False):
        self.seed, self.inner = seed, self if cycle else None


def test_parameters_in_words():
    def other(progress):
        return 1.0 - 0.25 * progress

    def same_code(progress):
        return 1.0 - 0.5 * progress

    assert described(half).partition(" ")[2] == described(same_code).partition(" ")[2]
    different = [
        *(half, other, scaled(1.0), scaled(2.0), functools.partial(scaled, 1.0), np.tanh, max),
        *(None, True, 1, 1.0, 2, "1", float("inf"), (1,), (1, 2), {"a": 1}, {1: "a"}, {1}),
        *(np.ones(3), np.zeros(3), np.ones(2), np.float32, np.array(["a"], object)),
        *(Splitter(0), Splitter(1), Splitter(0, cycle=True), ShuffleSplit(2, random_state=0)),
        *(SGD(), SGD(0.5), Splitter(0).__init__, range(3), [0.1].__getitem__, [0.2].__getitem__),
        *(functools.cache(half), functools.cache(other), np.vectorize(half), np.vectorize(other)),
        *(Slotted(0), Slotted(1)),
    ]
    texts = [described(value) for value in different]
    assert len({*texts}) == len(texts)
    assert " at 0x" not in "".join(texts)
    assert [described(value) for value in different] == texts
    assert described(np.float64(0.5)) == described(0.5)
    assert described([1, 2]) == described((1, 2))
    assert described(np.random.RandomState(0)) == described(np.random.RandomState(1))
    with pytest.raises(ValueError, match="by its address only"):
        described(object())
    model = model_of(validation_fraction=object())
    with pytest.raises(ValueError, match="could not tell validation_fraction from another one: <"):
        Checkpoint("unused").setup(model, None)


class Slotted:
    """What has no dictionary."""

    __slots__ = ("number",)

    def __init__(self, number):
        self.number = number


@pytest.mark.usefixtures("reference")
def test_functions_that_remember_go_on(path):
    """Parameters are compared as they were before the fit called any."""

    class Counted:
        calls = 0

        def __call__(self, progress):
            self.calls += 1
            return half(progress)

    whole = model_of(learning_rate=Counted()).fit(X, LABELS)
    killed(model_of(learning_rate=Counted()), path)
    resumed = model_of(learning_rate=Counted()).fit(X, LABELS, resume_from=path)
    assert_array_equal(resumed.coefs_[0], whole.coefs_[0])


@pytest.mark.usefixtures("reference")
def test_a_model_of_other_classes_goes_on_from_a_file(path):
    killed(model_of(warm_start=True), path)
    model = model_of(warm_start=True).fit(X, LABELS > 0)
    model.fit(X, LABELS, resume_from=path)
    whole = model_of(warm_start=True).fit(X, LABELS)
    assert_array_equal(model.coefs_[-1], whole.coefs_[-1])


@pytest.mark.usefixtures("reference")
def test_an_older_file_serves_where_the_newest_cannot_be_read(path, monkeypatch, caplog):
    killed(model_of(), path, at=6, keep=2)
    read = skmlp._checkpoints.read_checkpoint

    def fails(name):
        if name == path:
            raise OSError(errno.EIO, "bad block")
        return read(name)

    monkeypatch.setattr(skmlp._checkpoints, "read_checkpoint", fails)
    assert checkpoint_at(path).fit.samples_seen > 0
    assert "cannot be read" in caplog.text


def test_a_folder_that_cannot_be_brought_to_the_disk_ends_nothing(path, monkeypatch):
    sync = os.fsync

    def fails(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "no such thing here")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fails)
    MLPRegressor(max_iter=1).fit(X, X[:, 0]).save(path)
    assert isinstance(skmlp.load(path), MLPRegressor)


def test_data_in_digests(monkeypatch):
    columns = np.asfortranarray(X)
    assert fingerprint_of(X) == fingerprint_of(columns) == fingerprint_of(np.repeat(X, 2, 0)[::2])
    zero = np.zeros((40, 4))
    different = [X, X.T, X.astype(np.float32), X[:-1], zero, np.zeros(160), np.array(3.0), None]
    different += [np.array(["a", "b"]), np.array(["a\n", "b"], object), csr_array(X), SPARSE]
    for place in ((0, 0), (39, 3), (20, 1)):
        changed = X.copy()
        changed[place] += 1e-9
        different.append(changed)
    assert len({fingerprint_of(data) for data in different}) == len(different)
    whole = fingerprint_of(X)
    monkeypatch.setattr(skmlp._fingerprints, "BYTES_AT_ONCE", 100)
    assert fingerprint_of(X) == whole
    # Of what is too large some rows are looked at, the last one among them.
    monkeypatch.setattr(skmlp._fingerprints, "MOST_BYTES", 10 * 32)
    seen = [row for row in range(40) if fingerprint_of(with_row(row)) != fingerprint_of(X)]
    assert len(seen) == 10
    assert {0, 39} <= {*seen}


def with_row(row):
    changed = X.copy()
    changed[row] += 1.0
    return changed
