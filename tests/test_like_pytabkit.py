"""The preset "realmlp" beside pytabkit's RealMLP-TD, where that is installed."""

import logging
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.model_selection import train_test_split

from skmlp import TabularMLPClassifier, TabularMLPRegressor

pytabkit = pytest.importorskip("pytabkit", reason="needs pytabkit: pip install pytabkit")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

N_SPLITS = 5
TABLES = {
    "breast cancer": (load_breast_cancer, TabularMLPClassifier, "RealMLP_TD_Classifier"),
    "wine": (load_wine, TabularMLPClassifier, "RealMLP_TD_Classifier"),
    "diabetes": (load_diabetes, TabularMLPRegressor, "RealMLP_TD_Regressor"),
}


def score_of_theirs(name, split, seed):
    """Return the test score of pytabkit's, whose libraries warn of themselves."""
    X_train, X_test, y_train, y_test = split
    model = getattr(pytabkit, name)(random_state=seed, device="cpu", n_cv=1, n_refit=0)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(X_train, y_train).score(X_test, y_test)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("table", TABLES)
def test_scores_differ_by_less_than_the_spread_of_seeds(table):
    """Other rows are held out and other numbers drawn, so that single scores cannot be equal."""
    load, cls, name = TABLES[table]
    X, y = load(return_X_y=True)
    ours, theirs = [], []
    for seed in range(N_SPLITS):
        split = train_test_split(X, y, test_size=0.3, random_state=seed)
        X_train, X_test, y_train, y_test = split
        model = cls(preset="realmlp", random_state=seed).fit(X_train, y_train)
        ours.append(model.score(X_test, y_test))
        theirs.append(score_of_theirs(name, split, seed))
    spread = max(np.std(ours, ddof=1), np.std(theirs, ddof=1))
    assert abs(np.mean(ours) - np.mean(theirs)) < spread, (ours, theirs)
