"""
Tuning a network on handwritten digits
======================================

A grid search over a pipeline of StandardScaler and MLPClassifier, run twice with nothing changed
but the import: skmlp's networks, and those of sklearn.neural_network.
"""

import time
import warnings

import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier

N_JOBS = 2
GRID = {
    "mlpclassifier__hidden_layer_sizes": [(50,), (100,), (50, 50)],
    "mlpclassifier__alpha": [1e-4, 1.0],
    "mlpclassifier__learning_rate_init": [0.003, 0.01],
}
N_FOLDS = 5


def report_accuracy(model, X, y):
    """Score one fit of the search; the dot it prints is the progress bar."""
    print(".", end="", flush=True)
    return accuracy_score(y, model.predict(X))


def first_fit(mlp_class, X, y):
    """Return the seconds until a first small fit is done, compilation included."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not converge, and need not
        make_pipeline(StandardScaler(), mlp_class(max_iter=1)).fit(X, y).predict(X)
    return time.perf_counter() - start


def warm_up(X, y):
    """Pay what is paid once, and say what it cost."""
    print("Warm-up, paid once and counted in no search below", flush=True)
    seconds = first_fit(MLPClassifier, X, y)
    print(f"  first skmlp fit, kernels compiled or read from disk {seconds:6.1f} s", flush=True)
    start = time.perf_counter()
    Parallel(n_jobs=N_JOBS)(
        delayed(first_fit)(mlp_class, X, y)
        for mlp_class in (MLPClassifier, SklearnMLPClassifier)
        for _ in range(N_JOBS)
    )
    seconds = time.perf_counter() - start
    print(f"  {N_JOBS} worker processes, both packages imported in each {seconds:6.1f} s\n")


def timed_search(name, mlp_class, X, y):
    """Run the grid search with one of the two classes; return it and its seconds."""
    pipeline = make_pipeline(StandardScaler(), mlp_class(max_iter=500, random_state=0))
    search = GridSearchCV(pipeline, GRID, scoring=report_accuracy, cv=N_FOLDS, n_jobs=N_JOBS)
    print(f"  {name:<24}", end="", flush=True)
    start = time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - start
    print(f" {seconds:6.1f} s", flush=True)
    return search, seconds


def print_confusion(y_true, y_predicted):
    """Print the confusion matrix, zeros as dots, and the pairs confused most often."""
    matrix = confusion_matrix(y_true, y_predicted)
    digits = range(len(matrix))
    print("true \\ predicted " + "".join(f"{digit:4d}" for digit in digits))
    for digit, row in zip(digits, matrix, strict=True):
        print(f"{digit:16d} " + "".join(f"{count or '.':>4}" for count in row))
    wrong = matrix - np.diag(np.diag(matrix))
    worst = [divmod(cell, len(matrix)) for cell in np.argsort(wrong, axis=None)[::-1][:3]]
    pairs = [f"{true} as {guess} ({wrong[true, guess]}x)" for true, guess in worst]
    print(f"{wrong.sum()} of {len(y_true)} wrong; most often: {', '.join(pairs)}")


def main():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.25, stratify=y, random_state=0
    )
    n_candidates = int(np.prod([len(values) for values in GRID.values()]))
    print(
        f"Digits: {len(X_train)} rows of {X.shape[1]} pixels to learn from, {len(X_test)} to test\n"
    )
    warm_up(X_train, y_train)

    print(f"Grid search, {n_candidates} candidates x {N_FOLDS} folds, {N_JOBS} processes")
    search, seconds = timed_search("skmlp", MLPClassifier, X_train, y_train)
    peer, peer_seconds = timed_search(
        "sklearn.neural_network", SklearnMLPClassifier, X_train, y_train
    )
    print(f"  skmlp was {peer_seconds / seconds:.1f} times as fast\n")

    print("Best parameters")
    for name, value in search.best_params_.items():
        print(f"  {name.removeprefix('mlpclassifier__'):<20} {value}")
    same = "the same" if peer.best_params_ == search.best_params_ else peer.best_params_
    print(f"  (sklearn.neural_network chose {same})")
    print(f"Cross-validated accuracy {search.best_score_:.4f} (sklearn {peer.best_score_:.4f})")
    predicted = search.predict(X_test)
    accuracy = accuracy_score(y_test, predicted)
    peer_accuracy = accuracy_score(y_test, peer.predict(X_test))
    print(f"Test accuracy            {accuracy:.4f} (sklearn {peer_accuracy:.4f})\n")
    print_confusion(y_test, predicted)


# Worker processes import this file: without the guard each would start the search anew.
if __name__ == "__main__":
    main()
