"""scikit-learn's callbacks: which hooks are called, what they see, and what they can do."""

import json
import pickle
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier, MLPRegressor, find_learning_rate
from skmlp.training.loop import Trainer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

needs_callbacks = pytest.mark.skipif(
    find_spec("sklearn.callback") is None, reason="scikit-learn has callbacks from 1.9 on"
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
LABELS = (X[:, 0] + 0.3 * RNG.normal(size=60) > 0).astype(int)
Y = 10.0 + 3.0 * np.tanh(X[:, 0])
OPTIONS = {"hidden_layer_sizes": (4,), "max_iter": 4, "random_state": 0, "batch_size": 20}
OPTIONS |= {"learning_rate_init": 0.05}


class Spy:
    """Notes all calls in a list that clones share, and lets `act` look at the ends of epochs."""

    def __init__(self, act=lambda *_: False):
        self.notes = []
        self.act = act

    def setup(self, estimator, context):
        self.notes.append(("setup", context.task_name))

    def teardown(self, estimator, context):
        self.notes.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.notes.append(("begin", context.task_name))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.notes.append(("end", context.task_name))
        self.given = X, y, metadata
        if context.task_name == "fit":
            return False
        return self.act(estimator, context, fitted_estimator)


def classifier(*callbacks, **options):
    model = MLPClassifier(**{**OPTIONS, **options})
    return model.set_callbacks(*callbacks) if callbacks else model


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.coefs_, other.coefs_, strict=True))


@needs_callbacks
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_hooks_are_called_in_order_with_what_fit_was_given(solver):
    spy = Spy()
    task = "lbfgs-iteration" if solver == "lbfgs" else "epoch"
    weight = np.ones(60)
    model = classifier(spy, solver=solver).fit(X, LABELS, sample_weight=weight)
    inner = [("begin", task), ("end", task)] * model.n_iter_
    around = [("setup", "fit"), ("begin", "fit")], [("end", "fit"), ("teardown", "fit")]
    assert [*around[0], *inner, *around[1]] == spy.notes
    assert spy.given[0] is X
    assert spy.given[1] is LABELS
    assert spy.given[2]["sample_weight"] is weight
    assert same_weights(model, classifier(solver=solver).fit(X, LABELS, sample_weight=weight))
    # Nothing of the fit stays behind.
    assert {name for name in vars(model) if "callback" in name} == {"_skl_callbacks"}
    assert same_weights(pickle.loads(pickle.dumps(model.set_callbacks())), model)


@needs_callbacks
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "lbfgs"},
        {"solver": "sgd", "ema_decay": 0.5, "dtype": "float32"},
        {"normalization": "batch", "early_stopping": True, "temperature": "fit"},
    ],
    ids=str,
)
def test_fitted_estimators_are_those_of_shorter_fits(options):
    seen = []
    spy = Spy(lambda estimator, context, fitted: seen.append(fitted))
    model = classifier(spy, **options).fit(X, LABELS)
    assert len(seen) == model.n_iter_
    for n_epochs, fitted in enumerate(seen, start=1):
        beside = {"max_iter": n_epochs}
        if "early_stopping" in options:  # an epoch's model is not the best one
            beside["restore_best"] = False
        shorter = classifier(**{**options, **beside}).fit(X, LABELS)
        assert same_weights(fitted, shorter)
        assert fitted.n_iter_ == n_epochs
        assert fitted.loss_ == shorter.loss_
        if options.get("temperature") != "fit":  # which is fitted at the end
            again = pickle.loads(pickle.dumps(fitted))
            assert_array_equal(again.predict_proba(X), shorter.predict_proba(X))
    # Each is its own.
    assert not same_weights(seen[0], seen[1])


@needs_callbacks
def test_fitted_estimators_have_nothing_of_an_earlier_fit():
    seen = []
    model = MLPRegressor(**OPTIONS, y_scale="standard").fit(X, Y)
    model.set_params(y_scale=None).set_callbacks(
        Spy(lambda estimator, context, fitted: seen.append(fitted.predict(X)))
    )
    model.fit(X, Y)
    assert_array_equal(seen[-1], model.predict(X))


@needs_callbacks
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_a_hook_ends_the_fit(solver, n_epochs):
    stop = Spy(lambda estimator, context, fitted: context.task_id == n_epochs - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = classifier(stop, Spy(), solver=solver).fit(X, LABELS)
    assert model.stop_reason_ == "callback"
    assert model.n_iter_ == n_epochs
    assert same_weights(model, classifier(solver=solver, max_iter=n_epochs).fit(X, LABELS))
    # By another reason if there is one; with the best weights where these are kept.
    last = Spy(lambda estimator, context, fitted: context.task_id == 3)
    assert classifier(last).fit(X, LABELS).stop_reason_ == "max_iter"


@needs_callbacks
@pytest.mark.parametrize("restore_best", [True, False])
def test_a_fit_that_a_hook_ends_has_the_best_weights(restore_best):
    seen = []

    def act(estimator, context, fitted):
        seen.append(fitted)
        return context.task_id == 5

    options = {"early_stopping": True, "learning_rate_init": 1.0, "restore_best": restore_best}
    model = classifier(Spy(act), **options, max_iter=20).fit(X, LABELS)
    assert (model.stop_reason_, model.n_iter_) == ("callback", 6)
    best = int(np.argmax(model.validation_scores_))
    assert best < 5
    assert same_weights(model, seen[best if restore_best else -1])


@needs_callbacks
@pytest.mark.parametrize("hook", ["setup", "on_fit_task_begin", "on_fit_task_end", "teardown"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_error_in_a_hook_leaves_the_earlier_model(hook, solver, fitted_state):
    spy = Spy()
    model = classifier(spy, solver=solver).fit(X, LABELS)
    model.set_callbacks()
    old = fitted_state(model)

    def fail(*_, **__):
        raise RuntimeError("a hook failed")

    setattr(spy, hook, fail)
    model.set_callbacks(spy)
    with pytest.raises(RuntimeError, match="a hook failed"):
        model.set_params(random_state=1).fit(X, LABELS)
    assert not hasattr(model, "_callback_fit_ctx")
    model.set_callbacks()
    if hook == "teardown":  # by then the fit is done
        assert same_weights(model, classifier(solver=solver, random_state=1).fit(X, LABELS))
    else:
        assert fitted_state(model.set_params(random_state=0)) == old


@needs_callbacks
def test_a_diverged_fit_ends_its_tasks_and_shows_no_model():
    seen = []
    spy = Spy(lambda estimator, context, fitted: seen.append(fitted))
    model = MLPRegressor(**{**OPTIONS, "learning_rate_init": 1e200, "solver": "sgd"})
    with pytest.raises(ValueError, match="diverged in epoch"):
        model.set_callbacks(spy).fit(X, Y)
    assert seen[-1] is None
    assert spy.notes.count(("begin", "epoch")) == spy.notes.count(("end", "epoch"))
    assert spy.notes[-1] == ("teardown", "fit")


@needs_callbacks
def test_what_a_fit_leaves_open_is_ended_without_a_model(monkeypatch):
    """An iteration that comes to nothing, and an epoch that Ctrl-C ends."""
    seen = []
    spy = Spy(lambda estimator, context, fitted: seen.append(fitted))
    classifier(spy, solver="lbfgs", tol=1e10).fit(X, LABELS)
    notes = [("setup", "fit"), ("begin", "fit"), ("end", "fit"), ("teardown", "fit")]
    iteration = [("begin", "lbfgs-iteration"), ("end", "lbfgs-iteration")]
    assert spy.notes == [*notes[:2], *iteration, *notes[2:]]
    assert seen == [None]

    spy.notes.clear()
    begin = Trainer.begin

    def interrupt(trainer):
        begin(trainer)
        if trainer.n_epochs == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "begin", interrupt)
    with pytest.warns(Warning, match="interrupted"):
        model = classifier(spy).fit(X, LABELS)
    assert (model.n_iter_, model.stop_reason_) == (1, "interrupted")
    epoch = [("begin", "epoch"), ("end", "epoch")]
    assert spy.notes == [*notes[:2], *epoch, *epoch, *notes[2:]]
    assert seen[-1] is None


@needs_callbacks
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_networks_of_an_ensemble_are_tasks(solver):
    from sklearn.callback import ScoringMonitor

    from skmlp.callbacks import FunctionCallback

    shown, ends = [], []

    def act(estimator, context, fitted):
        if context.task_name == "network":
            ends.append((context.task_id, fitted))
        return False

    def look(epoch):
        shown.append((epoch.network, epoch.number, epoch.model()))
        return epoch.network == 1 and epoch.number == 2

    spy = Spy(act)
    monitor = ScoringMonitor(scoring="accuracy")
    options = {"n_estimators": 3, "solver": solver, "tol": 0.0}
    model = classifier(spy, FunctionCallback(look), monitor, **options).fit(X, LABELS)
    alone = [classifier(**options | {"n_estimators": 1}) for _ in range(3)]
    for member, other in zip(model.estimators_, alone, strict=True):
        other.set_params(random_state=member.random_state)
    alone[1].set_params(max_iter=2)
    for number, other in enumerate(alone):
        member = model.estimators_[number]
        assert same_weights(member, other.fit(X, LABELS))
        seen = [(epoch, found) for network, epoch, found in shown if network == number]
        assert [epoch for epoch, _ in seen] == list(range(1, other.n_iter_ + 1))
        assert seen[-1][1].n_estimators == 1
        assert same_weights(seen[-1][1], member)
        [fitted] = [fitted for network, fitted in ends if network == number]
        assert same_weights(fitted, member)
    assert [member.stop_reason_ == "callback" for member in model.estimators_] == [
        False,
        True,
        False,
    ]
    assert spy.notes.count(("begin", "network")) == spy.notes.count(("end", "network")) == 3
    opened, closed = (sum(note[0] == name for note in spy.notes) for name in ("begin", "end"))
    assert opened == closed
    assert classifier().set_callbacks(FunctionCallback(lambda e: e.network)).fit(X, LABELS)


@needs_callbacks
def test_an_error_in_a_hook_leaves_the_earlier_ensemble(fitted_state):
    from skmlp.callbacks import FunctionCallback

    def fail(epoch):
        if epoch.network == 1 and epoch.number == 2:
            raise RuntimeError("no")

    model = classifier(n_estimators=2).fit(X, LABELS)
    before = fitted_state(model)
    with pytest.raises(RuntimeError, match=r"^no$"):
        model.set_callbacks(FunctionCallback(fail)).fit(X[::-1], LABELS)
    assert fitted_state(model.set_callbacks()) == before


def test_without_callbacks_several_epochs_are_planned_at_once(monkeypatch):
    plans = []
    plan = Trainer.plan
    monkeypatch.setattr(Trainer, "plan", lambda self: plans.append(plan(self)) or plans[-1])
    classifier(max_iter=6).fit(X, LABELS)
    assert max(len(made.orders) for made in plans if made is not None) > 1


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_of_scikit_learn_in_searches_and_pipelines(n_jobs):
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy")
    network = classifier(monitor, max_iter=2)
    pipeline = make_pipeline(StandardScaler(), network)
    grid = {"mlpclassifier__alpha": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs).fit(X, LABELS)
    (log,) = monitor.get_logs(select="all")
    rows = {row["task_id_path"]: row["accuracy"] for row in log.data}
    # Four fits and the refit, which is not part of the search's folds; of each two epochs, whose
    # last one has the score of the fit.
    fits = {path[:-1] for path in rows} & rows.keys()
    assert len(fits) == 5
    assert len(rows) == 5 * 3
    assert all(rows[path] == rows[*path, 1] for path in fits)
    refit = search.score(X, LABELS)
    assert [rows[path] for path in fits if path[1] == 1] == [refit]
    # And alone: the score of each epoch's model.
    own = ScoringMonitor(scoring="accuracy")
    classifier(own).fit(X, LABELS)
    scores = {row["task_id_path"]: row["accuracy"] for row in own.get_logs().data}
    for n_epochs in (1, 4):
        shorter = classifier(max_iter=n_epochs).fit(X, LABELS)
        assert scores[0, n_epochs - 1] == shorter.score(X, LABELS)
    assert scores[0, 0] != scores[0, 3]


@needs_callbacks
def test_halving_searches_call_hooks():
    spy = Spy()
    search = HalvingGridSearchCV(
        *(classifier(spy, max_iter=1, batch_size="auto"), {"alpha": [0.1, 1.0]}),
        **{"cv": 2, "min_resources": 20, "factor": 2, "random_state": 0},
    )
    search.fit(X, LABELS)
    assert spy.notes.count(("begin", "epoch")) == spy.notes.count(("end", "epoch")) >= 4


@needs_callbacks
def test_progress_bar_of_scikit_learn(capsys):
    pytest.importorskip("rich", reason="needs rich")
    from sklearn.callback import ProgressBar

    classifier(ProgressBar()).fit(X, LABELS)
    (line,) = (said for said in capsys.readouterr().out.splitlines() if said.strip())
    assert line.startswith("MLPClassifier - fit")
    assert "100%" in line


@needs_callbacks
def test_ours():
    from skmlp.callbacks import EarlyStopping, FunctionCallback, epoch_of

    epochs, models = [], []

    def look(epoch):
        epochs.append(epoch)
        models.append(epoch.model())

    model = classifier(FunctionCallback(look), early_stopping=True, monitor="gradient_norm")
    model.fit(X, LABELS)
    history = model.history_
    assert [epoch.number for epoch in epochs] == history["epoch"]
    assert [epoch.loss for epoch in epochs] == history["loss"]
    assert [epoch.learning_rate for epoch in epochs] == history["learning_rate"]
    assert [epoch.validation_score for epoch in epochs] == history["validation_score"]
    assert [epoch.measured["gradient_norm"] for epoch in epochs] == history["gradient_norm"]
    assert all(np.diff([0.0, *(epoch.seconds for epoch in epochs)]) > 0)
    assert [fitted.n_iter_ for fitted in models] == history["epoch"]
    assert epoch_of(Spy()) is None

    target = history["loss"][1]
    stopped = classifier(EarlyStopping(target, monitor="loss"), early_stopping=True)
    assert stopped.fit(X, LABELS).n_iter_ == 2
    scored = classifier(EarlyStopping(0.0), early_stopping=True).fit(X, LABELS)
    assert (scored.n_iter_, scored.stop_reason_) == (1, "callback")
    with pytest.raises(ValueError, match=r"Set early_stopping=True, or use monitor='loss'"):
        classifier(EarlyStopping(0.5)).fit(X, LABELS)
    with pytest.raises(ValueError, match=r"solver='lbfgs' computes none. Use another solver"):
        classifier(EarlyStopping(0.5), early_stopping=True, solver="lbfgs").fit(X, LABELS)
    for make, match in (
        (lambda: EarlyStopping("x"), "threshold must be a number, got 'x'"),
        (lambda: EarlyStopping(True), "threshold must be a number, got True"),
        (lambda: EarlyStopping(1.0, monitor="auc"), "monitor must be one of .*got 'auc'"),
        (lambda: FunctionCallback(3), "function must be callable, got 3"),
    ):
        with pytest.raises(ValueError, match=match):
            make()


@needs_callbacks
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_epoch_that_was_kept_has_no_model(solver):
    from skmlp.callbacks import FunctionCallback

    kept = []
    classifier(FunctionCallback(kept.append), solver=solver).fit(X, LABELS)
    with pytest.raises(RuntimeError, match=r"weights after epoch 1 are gone. Call model\(\) while"):
        kept[0].model()


@needs_callbacks
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_what_hooks_do_is_no_training(solver, monkeypatch):
    """It neither counts in seconds nor ends a fit by max_time; what does end it is told."""
    from skmlp.callbacks import FunctionCallback

    epochs, now = [], [100.0]

    def dawdle(epoch):
        now[0] += 7.0
        epochs.append(epoch)

    class Slow(Spy):
        def on_fit_task_begin(self, estimator, context, **_):
            now[0] += 7.0

    with monkeypatch.context() as patch:  # a time that passes nowhere else
        patch.setattr("skmlp.engines.clock.time.perf_counter", lambda: now[0])
        hooks = FunctionCallback(dawdle), Slow()
        model = classifier(*hooks, solver=solver, max_time=1.0).fit(X, LABELS)
    assert [epoch.seconds for epoch in epochs] == [0.0] * 4
    assert model.stop_reason_ == "max_iter"
    epochs.clear()
    options = {"solver": solver, "max_time": 1e-9}
    model = classifier(FunctionCallback(epochs.append), **options).fit(X, LABELS)
    assert model.stop_reason_ == "max_time"
    assert [epoch.number for epoch in epochs] == [1] == [model.n_iter_]


@needs_callbacks
def test_loggers(tmp_path):
    from skmlp.callbacks import HistoryLogger, LearningRateLogger

    path, rates = tmp_path / "run.jsonl", tmp_path / "rates.jsonl"
    loggers = HistoryLogger(path), LearningRateLogger(str(rates))
    model = classifier(*loggers, early_stopping=True, learning_rate="cosine").fit(X, LABELS)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for name in ("epoch", "loss", "learning_rate", "validation_score"):
        assert [line[name] for line in lines] == model.history_[name]
    assert [json.loads(line) for line in rates.read_text().splitlines()] == [
        {name: line[name] for name in ("epoch", "learning_rate")} for line in lines
    ]
    model.set_params(max_iter=1, early_stopping=False).fit(X, LABELS)
    assert len(path.read_text().splitlines()) == len(lines) + 1
    path.unlink()
    diverging = {**OPTIONS, "learning_rate_init": 1e200, "solver": "sgd"}
    with pytest.raises(ValueError, match="diverged"):
        MLPRegressor(**diverging).set_callbacks(loggers[0]).fit(X, Y)
    *_, last = path.read_text().splitlines()
    assert json.loads(last, parse_constant=pytest.fail)["loss"] is None
    path.unlink()
    GridSearchCV(classifier(loggers[0], max_iter=1), {"alpha": [0.1, 1.0]}, cv=2).fit(X, LABELS)
    names = {found.name for found in tmp_path.glob("run*")}
    assert len(names) == 5, names  # four fits and the refit
    with pytest.raises(ValueError, match=r"format must be one of .*got 'csv'"):
        HistoryLogger(path, format="csv")
    with pytest.raises(FileNotFoundError):
        classifier(HistoryLogger(tmp_path / "no" / "run.jsonl")).fit(X, LABELS)


@needs_callbacks
def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs tensorboardX")
    from skmlp.callbacks import HistoryLogger, LearningRateLogger

    run, rates = tmp_path / "run", tmp_path / "rates"
    loggers = [HistoryLogger(run, format="tensorboard")]
    loggers.append(LearningRateLogger(rates, format="tensorboard"))
    classifier(*loggers).fit(X, LABELS)
    ((run_file,), (rates_file,)) = (list(folder.iterdir()) for folder in (run, rates))
    for tag, files in {b"loss": [run_file], b"learning_rate": [run_file, rates_file]}.items():
        for file in (run_file, rates_file):
            assert file.read_bytes().count(tag) == (4 if file in files else 0), (tag, file)


def test_what_is_missing_is_said_before_the_fit(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    with pytest.raises(RuntimeError, match=r"scikit-learn 1\.9 or later, but .* pip install -U"):
        MLPClassifier().set_callbacks(Spy())
    assert MLPClassifier().set_callbacks().fit(X, LABELS).n_iter_ > 0
    monkeypatch.undo()
    from skmlp.callbacks import HistoryLogger

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match="pip install 'tensorboardX'"):
        HistoryLogger(tmp_path, format="tensorboard").setup(None, None)


@needs_callbacks
def test_whoever_is_no_callback_is_refused():
    with pytest.raises(TypeError, match="FitCallback protocol"):
        MLPClassifier().set_callbacks(print)


@needs_callbacks
def test_a_learning_rate_range_test_calls_nobody():
    spy = Spy()
    model = classifier(spy)
    find_learning_rate(model, X, LABELS, n_steps=20)
    assert spy.notes == []
    clone(model).fit(X, LABELS)
    assert spy.notes


# --- verbose=2 ---


def test_progress_in_lines(capsys, monkeypatch):
    monkeypatch.setattr("skmlp._progress.SECONDS_PER_LINE", 0.0)
    monkeypatch.setattr("skmlp._progress.live_bar", lambda max_iter: None)
    for solver in ("adam", "lbfgs"):
        classifier(verbose=2, solver=solver, early_stopping=solver == "adam").fit(X, LABELS)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
        assert len(lines) == 4
        assert lines[0].startswith("Epoch 1 of at most 4: loss ")
        assert ", at most " in lines[0]
        assert (", score " in lines[0]) == (solver == "adam")
    monkeypatch.setattr("skmlp._progress.SECONDS_PER_LINE", 1e9)
    classifier(verbose=2).fit(X, LABELS)
    (line,) = (said for said in capsys.readouterr().out.splitlines() if said.startswith("Epoch"))
    assert line.startswith("Epoch 4 of at most 4")
    for verbose in (True, 1, 10):
        classifier(verbose=verbose).fit(X, LABELS)
        printed = capsys.readouterr().out
        assert "Iteration 4, loss = " in printed
        assert "Epoch" not in printed


def test_progress_in_a_notebook_without_widgets_is_lines(capsys, monkeypatch):
    pytest.importorskip("rich", reason="needs rich")
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    classifier(verbose=2).fit(X, LABELS)
    assert "Epoch 4 of at most 4" in capsys.readouterr().out


def test_progress_as_a_bar(monkeypatch, capsys):
    pytest.importorskip("rich", reason="needs rich")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    model = classifier(verbose=2)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, LABELS)
    assert "4/4" in capsys.readouterr().out
    with pytest.raises(ValueError, match="diverged"):
        MLPRegressor(**{**OPTIONS, "learning_rate_init": 1e200, "solver": "sgd"}, verbose=2).fit(
            X, Y
        )
    # That one is not drawn any more, so there can be another.
    capsys.readouterr()
    classifier(verbose=2).fit(X, LABELS)
    assert "4/4" in capsys.readouterr().out
