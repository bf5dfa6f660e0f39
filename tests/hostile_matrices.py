"""Sparse matrices that contradict themselves, and odd ones that do not.

Each function prints what came of them as its last line; run in a process that may crash.
"""

import itertools
import json
import pickle
import warnings

import numpy as np
import scipy.sparse

from skmlp import MLPClassifier, MLPRegressor

ROWS, COLUMNS = 24, 8
OPTIONS = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0, "batch_size": 7}


def make_data(dtype="float64"):
    """Return X with many zeros and an empty row, classes and numbers."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, COLUMNS)) * (rng.random((ROWS, COLUMNS)) < 0.5)
    X[3] = 0
    return X.astype(dtype), rng.permutation(np.arange(ROWS) % 3), rng.normal(size=ROWS)


# --- Damage that SciPy does not notice ---


def assign(name, value):
    """Return a function that assigns to an attribute, what a function makes of it if given one."""

    def damage(X):
        setattr(X, name, value(getattr(X, name)) if callable(value) else value)

    return damage


def change(name, position, value):
    """Return a function that changes an entry of an attribute."""

    def damage(X):
        getattr(X, name)[position] = value

    return damage


def longer(lists):
    lists[1] = [*lists[1], 0]
    return lists


def of_compressed(n_indices):
    return {
        "index too large": change("indices", 2, n_indices),
        "index far too large": change("indices", 2, 2**31 - 1),
        "negative index": change("indices", 2, -1),
        "decreasing indptr": change("indptr", 2, 10**6),
        "negative indptr": change("indptr", 2, -5),
        "indptr that ends at zero": change("indptr", -1, 0),
        "indptr that ends early": change("indptr", -1, 1),
        "indptr too far": change("indptr", -1, 10**6),
        "indptr from one": change("indptr", 0, 1),
        "short indptr": assign("indptr", lambda a: a[:-1]),
        "long indptr": assign("indptr", lambda a: np.append(a, a[-1])),
        "float indptr": assign("indptr", lambda a: a.astype(float)),
        "no indptr": assign("indptr", None),
        "short data": assign("data", lambda a: a[:-3]),
        "long data": assign("data", lambda a: np.append(a, a[:3], axis=0)),
        "short indices": assign("indices", lambda a: a[:-3]),
        "float indices": assign("indices", lambda a: a.astype(float)),
        "text for indices": assign("indices", lambda a: a.astype(str)),
        "huge unsigned indices": assign("indices", lambda a: a.astype(np.uint64) + 2**63),
        "no indices": assign("indices", None),
        "objects": assign("data", lambda a: a.astype(object)),
        "text for data": assign("data", lambda a: a.astype(str)),
    }


FLAT = {
    "data in two dimensions": assign("data", lambda a: a.reshape(-1, 1)),
    "indices in two dimensions": assign("indices", lambda a: a.reshape(1, -1)),
    "fewer rows": assign("_shape", (ROWS - 1, COLUMNS)),
    "fewer columns": assign("_shape", (ROWS, COLUMNS - 1)),
    "one dimension": assign("_shape", (ROWS,)),
}
DAMAGES = {
    "csr": {
        **of_compressed(COLUMNS),
        **FLAT,
        "more rows": assign("_shape", (1000, COLUMNS)),
        "far too many columns": assign("_shape", (ROWS, 2**31)),
    },
    "csc": {**of_compressed(ROWS), **FLAT, "more columns": assign("_shape", (ROWS, 1000))},
    "bsr": {
        **of_compressed(COLUMNS // 2),
        "blocks that do not fill it": assign("_shape", (ROWS + 1, COLUMNS + 1)),
        "empty blocks": assign("data", lambda a: a[:, :0]),
    },
    "coo": {
        "row too large": change("row", 2, ROWS),
        "negative column": change("col", 2, -1),
        "short data": assign("data", lambda a: a[:-3]),
        "fewer rows": assign("_shape", (3, COLUMNS)),
    },
    "lil": {
        "column too large": change("rows", 1, [0, COLUMNS]),
        "negative column": change("rows", 1, [-1]),
        "more columns than values": assign("rows", longer),
        "more values than columns": assign("data", longer),
        "fewer rows": assign("rows", lambda a: a[:-1]),
        "text": change("rows", 1, ["a"]),
        "no lists": assign("rows", None),
    },
    "dia": {
        "fewer offsets": assign("offsets", lambda a: a[:-1]),
        "float offsets": assign("offsets", lambda a: a.astype(float)),
        "the same twice": assign("offsets", np.zeros_like),
        "data in one dimension": assign("data", np.ravel),
    },
}


def damaged_matrix(format, damage, values):
    X = scipy.sparse.csr_array(values)
    X = X.tobsr((2, 2)) if format == "bsr" else X.asformat(format)
    if format in ("csr", "csc"):
        assert X.has_canonical_format  # from now on it believes that it has
    damage(X)
    return X


def contradictory():
    """Use each damaged matrix in each way; print the name it had there and the outcome."""
    X, y, _ = make_data()
    new = MLPClassifier(**OPTIONS)
    model = MLPClassifier(warm_start=True, **OPTIONS).fit(X, y)
    calls = {
        "fit": lambda bad: new.fit(bad, y),
        "fit of lbfgs": lambda bad: MLPClassifier(solver="lbfgs").fit(bad, y),
        "warm fit": lambda bad: model.fit(bad, y),
        "partial_fit": lambda bad: model.partial_fit(bad, y),
        "predict": model.predict,
        "predict_proba": model.predict_proba,
        "score": lambda bad: model.score(bad, y),
        "targets": lambda bad: MLPClassifier(**OPTIONS).fit(X, bad),
        "first targets": lambda bad: MLPClassifier(**OPTIONS).partial_fit(X, bad, classes=[0, 1]),
    }
    outcomes = {}
    for format, damages in DAMAGES.items():
        for (kind, damage), call in itertools.product(damages.items(), calls):
            name = "y" if "targets" in call else "X"
            bad = damaged_matrix(format, damage, X if name == "X" else X != 0)
            before = repr(vars(bad)), dict(vars(model))
            print(format, kind, call, flush=True)
            try:
                calls[call](bad)
                outcome = "no error"
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"
            if (repr(vars(bad)), vars(model)) != before or hasattr(new, "coefs_"):
                outcome = "something was changed"
            outcomes[f"{format}, {kind}, {call}"] = (name, outcome)
    print(json.dumps(outcomes))


# --- Odd matrices that are sound ---


def make(values, indices_dtype=np.int32):
    """Return CSR that from now on believes to be canonical."""
    X = scipy.sparse.csr_array(values)
    assert X.has_canonical_format
    X.indices = X.indices.astype(indices_dtype)
    return X


def permuted(X):
    """Permute the entries of each row."""
    rng = np.random.default_rng(1)
    bounds = itertools.pairwise(X.indptr)
    order = np.concatenate([rng.permutation(np.arange(start, stop)) for start, stop in bounds])
    X.indices, X.data = X.indices[order], X.data[order]
    return X


def doubled(X):
    """Replace each entry by two, far from each other, with a quarter and the rest of its value."""
    bounds = list(itertools.pairwise(X.indptr))
    order = np.concatenate([np.r_[start:stop, start:stop] for start, stop in bounds])
    shares = [np.repeat([0.25, 0.75], stop - start) for start, stop in bounds]
    X.data = (X.data[order] * np.concatenate(shares)).astype(X.dtype)
    X.indices, X.indptr = X.indices[order], 2 * X.indptr
    return X


def full(X):
    """Store the zeros too."""
    columns = np.tile(np.arange(COLUMNS, dtype=np.int32), ROWS)
    indptr = np.arange(0, ROWS * COLUMNS + 1, COLUMNS)
    return scipy.sparse.csr_array((X.toarray().ravel(), columns, indptr), shape=X.shape)


def misaligned(array):
    """Return a copy whose elements lie at odd addresses."""
    shifted = np.zeros(array.nbytes + 1, dtype=np.uint8)[1:].view(array.dtype)
    shifted[...] = array
    return shifted


def read_only(array):
    array.flags.writeable = False
    return array


def each(X, of_array):
    """Replace all arrays of a matrix."""
    X.data, X.indices, X.indptr = of_array(X.data), of_array(X.indices), of_array(X.indptr)
    return X


def far_diagonals(X):
    """Add diagonals that lie beside the matrix."""
    X = X.todia()
    X.offsets = np.append(X.offsets, [ROWS**2, -(2**31), 2**31 - 1]).astype(np.int32)
    X.data = np.append(X.data, np.ones((3, X.data.shape[1]), X.dtype), axis=0)
    return X


GUISES = {
    "sorted": make,
    "unsorted": lambda values: permuted(make(values)),
    "duplicates": lambda values: doubled(make(values)),
    "unsorted duplicates": lambda values: permuted(doubled(make(values))),
    "explicit zeros": lambda values: full(make(values)),
    "int64": lambda values: make(values, np.int64),
    "int8": lambda values: permuted(make(values, np.int8)),
    "uint64": lambda values: permuted(make(values, np.uint64)),
    "foreign bytes": lambda values: each(make(values), lambda a: a.astype(a.dtype.newbyteorder())),
    "misaligned": lambda values: each(permuted(make(values)), misaligned),
    "strided": lambda values: each(permuted(make(values)), lambda a: np.repeat(a, 2)[::2]),
    "backwards": lambda values: each(permuted(make(values)), lambda a: a[::-1].copy()[::-1]),
    "read-only": lambda values: each(permuted(make(values)), read_only),
    "csr_matrix": lambda values: permuted(scipy.sparse.csr_matrix(make(values))),
    "csc": lambda values: permuted(make(values.T)).T,
    "coo": lambda values: doubled(make(values)).tocoo(),
    "bsr": lambda values: make(values).tobsr((3, 2)),
    "lil": lambda values: make(values).tolil(),
    "dok": lambda values: make(values).todok(),
    "dia": lambda values: make(values).todia(),
    "dia with more": lambda values: far_diagonals(make(values)),
}
FITS = {
    "sgd": {"solver": "sgd"},
    "adam": {"solver": "adam"},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "all rows at once": {"solver": "sgd", "batch_size": ROWS, "n_jobs": 2},
}


def odd(dtype):
    """Fit and predict with every guise of a matrix; print where it is not as with the dense one."""
    warnings.simplefilter("ignore")  # two epochs are no convergence
    values, classes, numbers = make_data(dtype)
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    problems = []
    for fit, (estimator, y) in itertools.product(
        FITS, ((MLPClassifier, classes), (MLPRegressor, numbers))
    ):
        params = {**OPTIONS, **FITS[fit]}
        dense = estimator(**params).fit(values, y)
        resumes = hasattr(dense, "partial_fit") and not dense.early_stopping
        resumed = pickle.loads(pickle.dumps(dense)).partial_fit(values, y) if resumes else None
        for guise, matrix in GUISES.items():
            X = matrix(values)
            before = pickle.dumps(X)
            model = estimator(**params).fit(X, y)
            checks = {
                "weights": (model.coefs_[0], dense.coefs_[0]),
                "precision": (model.coefs_[0].itemsize, values.itemsize),
                "predictions": (dense.predict(X), dense.predict(values)),
                "score": (model.score(X, y), dense.score(values, y)),
                "the caller's matrix": (pickle.dumps(X) == before, True),
            }
            if resumed is not None:
                checks["partial_fit"] = (model.partial_fit(X, y).coefs_[0], resumed.coefs_[0])
            for what, (found, wanted) in checks.items():
                if not np.allclose(found, wanted, rtol=tolerance, atol=tolerance):
                    problems.append(f"{fit} {estimator.__name__} {guise}: {what}")
    print(json.dumps(problems))
