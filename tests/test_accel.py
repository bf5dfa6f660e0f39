"""``python -m skmlp.accel``: scripts of scikit-learn's run as they are, with our networks."""

import os
import pickle
import py_compile
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor

import skmlp
from skmlp import accel
from skmlp._base import BaseMLP

ROOT = Path(skmlp.__file__).resolve().parent.parent


@pytest.fixture
def run(tmp_path):
    """Return a function that runs Python in a folder of its own."""

    def run(*arguments):
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "PYTHONPATH": path},
        )

    return run


# With the calls that scikit-learn's gallery makes to its networks, in small.
SCRIPT = """
import pickle
import sys
import warnings
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import beside_the_script

warnings.simplefilter("error")

if __name__ == "__main__":
    assert sys.argv == ["scripts/script.py", "--verbose", "-m", "3"], sys.argv
    assert sys.path[0] == str(Path(__file__).resolve().parent), sys.path
    assert sys.modules["__main__"].MLPClassifier is MLPClassifier
    X, y = load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

    regularized = [
        make_pipeline(
            StandardScaler(),
            MLPClassifier(
                solver="lbfgs",
                alpha=alpha,
                random_state=1,
                max_iter=2000,
                early_stopping=True,
                hidden_layer_sizes=[5, 5],
            ),
        )
        for alpha in (0.1, 10.0)
    ]
    for pipeline in regularized:
        assert pipeline.fit(X_train, y_train).score(X_test, y_test) > 0.6
        assert not hasattr(pipeline, "decision_function")
        assert pipeline.predict_proba(X_test).shape == (38, 3)

    scaled = MinMaxScaler().fit_transform(X)
    strategies = [
        {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0, "learning_rate_init": 0.2},
        {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False, "learning_rate_init": 0.2},
        {"solver": "adam", "learning_rate_init": 0.01, "verbose": 10},
    ]
    for strategy in strategies:
        network = MLPClassifier(**{"verbose": 0, "random_state": 0, "max_iter": 8, **strategy})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
            network.fit(scaled, y)
        assert len(network.loss_curve_) == 8
        assert network.loss_ == network.loss_curve_[-1]
        assert network.coefs_[0].min() < 0 < network.coefs_[0].max()

    fitted = [pickle.loads(Path(name).read_bytes()) for name in ("classifier", "regressor")]
    assert [type(model) for model in fitted] == [MLPClassifier, MLPRegressor]
    Path("predicted").write_bytes(pickle.dumps([model.predict(X) for model in fitted]))
    sys.exit(3)
"""


def test_script_runs_as_it_is_with_our_networks(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(150, 4))
    y = X[:, 0] > 0
    with pytest.warns(Warning, match="converge"):
        models = [
            model(hidden_layer_sizes=(6,), max_iter=3, random_state=0).fit(X, y)
            for model in (MLPClassifier, MLPRegressor)
        ]
    for name, model in zip(("classifier", "regressor"), models, strict=True):
        (tmp_path / name).write_bytes(pickle.dumps(model))
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "beside_the_script.py").write_text("")
    (folder / "script.py").write_text(SCRIPT)

    arguments = ["--verbose", "-m", "3"]
    done = run("-m", "skmlp.accel", "--verbose", "scripts/script.py", *arguments)
    assert done.returncode == 3, done.stderr
    assert "Iteration 8, loss = " in done.stdout
    counted = (
        r"skmlp\.accel: MLPClassifier: 5 fits in \d+\.\d\d s on cpu, 5 predictions; "
        r"MLPRegressor: 0 fits in 0\.00 s, 1 prediction\.\n"
    )
    assert re.fullmatch(counted, done.stderr)
    iris, _ = load_iris(return_X_y=True)
    predicted = pickle.loads((tmp_path / "predicted").read_bytes())
    assert (predicted[0] == models[0].predict(iris)).all()
    np.testing.assert_allclose(predicted[1], models[1].predict(iris), rtol=1e-12)


def test_errors_are_those_of_the_script(run, tmp_path):
    """Exit code and traceback are what Python itself gives, and so is where modules are found.

    Not in the folder of the script, where Python is told to be careful.
    """
    script = tmp_path / "failing.py"
    script.write_text(
        "import sys\n"
        "def fail():\n    raise KeyError('x') from ValueError('y')\n"
        "print(sys.argv[0], __file__, sys.path[0])\n"
        "fail()\n"
    )
    plain, ours = run("-P", "failing.py"), run("-P", "-m", "skmlp.accel", "failing.py")
    assert ours.returncode == plain.returncode == 1
    assert plain.stderr.splitlines()[-1] == "KeyError: 'x'"
    assert ours.stderr == plain.stderr
    assert ours.stdout == plain.stdout
    assert ours.stdout.split()[:2] == ["failing.py", str(script)]
    assert ours.stdout.split()[2] != str(tmp_path)


def test_module_runs_as_after_python_m(run, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import sys\n"
        "from sklearn.neural_network import MLPRegressor\n"
        "print(MLPRegressor.__module__, __name__, __spec__.name, sys.path[0], *sys.argv)\n"
    )
    done = run("-m", "skmlp.accel", "--verbose", "-m", "package", "--verbose", "b")
    expected = [
        "skmlp._regressor",
        "__main__",
        "package.__main__",
        tmp_path,
        package / "__main__.py",
    ]
    assert done.stdout.split() == [*map(str, expected), "--verbose", "b"]
    assert done.stderr == (
        "skmlp.accel: no network was fitted or asked for predictions in this process.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no script is given"),
        (["--verbose"], "no script is given"),
        (["-m"], "the name of a module is missing"),
        (["--verbos3", "script.py"], "unrecognized arguments: --verbos3"),
        (["nowhere.py", "--help"], "there is no file 'nowhere.py'"),
    ],
)
def test_mistakes_are_answered(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        accel.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert neural_network.MLPClassifier is MLPClassifier


def test_what_python_runs_that_is_no_text(tmp_path, capsys):
    (tmp_path / "app").mkdir()
    main = tmp_path / "app" / "__main__.py"
    main.write_text("import beside\nprint(__name__, beside.__name__)\n")
    (tmp_path / "app" / "beside.py").write_text("")
    (tmp_path / "only.py").write_text("print(__name__)\n")
    compiled = py_compile.compile(str(tmp_path / "only.py"), str(tmp_path / "only.pyc"))
    accel.run_script(str(tmp_path / "app"))
    accel.run_script(compiled)
    assert capsys.readouterr().out.split() == ["__main__", "beside", "__main__"]


def test_what_a_fit_predicts_by_itself_is_not_counted(monkeypatch, capsys):
    """And only the process that was started says what it has done."""
    for name in ("_fit", "_compute"):
        monkeypatch.setattr(BaseMLP, name, getattr(BaseMLP, name))  # and so puts it back
    tally = accel.Tally()
    tally.watch()
    X, y = load_iris(return_X_y=True)
    settings = {"early_stopping": True, "scoring": "accuracy", "max_iter": 2, "random_state": 0}
    with pytest.warns(Warning, match="converge"):
        model = skmlp.MLPClassifier((3,), **settings).fit(X, y)
    model.predict(X)
    tally.report()
    said = r"skmlp\.accel: MLPClassifier: 1 fit in \d+\.\d\d s on cpu, 1 prediction\.\n"
    assert re.fullmatch(said, capsys.readouterr().err)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        tally.report()
    assert capsys.readouterr().err == ""


def test_folder_that_imports_are_looked_for_in(tmp_path):
    script = tmp_path / "there" / "script"
    script.parent.mkdir()
    script.write_text("")
    (tmp_path / "link.py").symlink_to(script)
    assert accel.folder_of(str(tmp_path / "link.py")) == str(script.parent)
    assert accel.folder_of(str(script)) == str(script.parent)
    assert accel.folder_of(str(tmp_path)) == str(tmp_path)
