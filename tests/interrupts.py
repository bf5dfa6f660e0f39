"""Ctrl-C at random moments and at every line of Python, for as long as one likes.

``python tests/interrupts.py --seconds 300`` interrupts fits, predictions and searches; each must
end within two seconds, with a usable model or none, and the next fit must be bitwise right.
``tests/test_interrupts.py`` does the same for some seconds.
"""

import argparse
import faulthandler
import hashlib
import random
import signal
import sys
import time
import warnings
from collections import Counter
from functools import partial

import joblib
import numpy as np
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import skmlp.training.interrupts
from skmlp import MLPClassifier, MLPRegressor

SECONDS_TO_END = 2.0
SECONDS_TO_HANG = 30.0

rng = np.random.default_rng(0)
X = rng.normal(size=(1500, 40))
y = X[:, :3].argmax(axis=1)
SPARSE = csr_array(np.where(rng.random(X.shape) < 0.2, X, 0.0))
LARGE = np.tile(X, (60, 1))
# Steps large enough for two threads.
COMMON = {"hidden_layer_sizes": (100,), "random_state": 0, "n_jobs": 2}
SMALL = {"hidden_layer_sizes": (30,), "random_state": 0, "n_jobs": 2, "max_iter": 200}
GRID = {"alpha": [1e-4, 1e-2]}


def fit(inputs, cls=MLPClassifier, **parameters):
    """Return a fitted model and its weights."""
    model = cls(**parameters).fit(*inputs)
    return model, b"".join(coef.tobytes() for coef in model.coefs_)


def fit_and_predict(parameters):
    model, _ = fit((X, y), **parameters)
    return model, model.predict_proba(LARGE).tobytes()


def go_on(parameters):
    model = MLPClassifier(**parameters)
    for start in range(0, len(X), 300):
        model.partial_fit(X[start : start + 300], y[start : start + 300], classes=[0, 1, 2])
    return model, model.coefs_[0].tobytes()


def search(backend, parameters):
    found = GridSearchCV(MLPClassifier(**parameters), GRID, cv=2, n_jobs=2, error_score="raise")
    with joblib.parallel_config(backend=backend):
        found.fit(X, y)
    return found.best_estimator_, found.cv_results_["mean_test_score"].tobytes()


SCENARIOS = {
    "adam": partial(fit, (X, y), **COMMON, max_iter=8),
    "early stopping": partial(fit, (X, y), **COMMON, max_iter=6, early_stopping=True),
    "sgd": partial(fit, (X, X[:, :2]), MLPRegressor, **COMMON, solver="sgd", max_iter=6),
    "lbfgs": partial(fit, (X, y), **COMMON, solver="lbfgs", max_iter=15),
    "sparse": partial(fit, (SPARSE, y), **COMMON, max_iter=6),
    "small": partial(fit, (X[:150, :4], y[:150]), **SMALL),
    "prediction": partial(fit_and_predict, {**COMMON, "max_iter": 1}),
    "partial_fit": partial(go_on, COMMON),
    "search in threads": partial(search, "threading", {**COMMON, "n_jobs": 1, "max_iter": 3}),
    "search, one after the other": partial(search, "sequential", {**COMMON, "max_iter": 2}),
}


class Sweep:
    """Interrupts scenarios and judges what comes of it."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.expected = {}
        self.durations = {}
        for name, scenario in SCENARIOS.items():
            scenario()  # compiles, starts helpers
            began = time.perf_counter()
            self.expected[name] = self.digest(scenario)
            self.durations[name] = time.perf_counter() - began

    @staticmethod
    def digest(scenario):
        return hashlib.sha256(scenario()[1]).hexdigest()

    def at_random(self, name, generator):
        """Send a signal at a random moment of a scenario."""
        scenario = SCENARIOS[name]
        # The first interrupt ends a fit, a second one soon after ends the program: try both.
        is_first = generator.random() < 0.5
        skmlp.training.interrupts.POLICY._last = float("-inf") if is_first else time.monotonic()
        moment = generator.uniform(1e-6, 1.1 * self.durations[name])
        faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True)
        began = time.perf_counter()
        try:
            signal.setitimer(signal.ITIMER_REAL, moment)
            model, _ = scenario()
            signal.setitimer(signal.ITIMER_REAL, 0)
            model.predict(X[:, : model.n_features_in_])
            outcome = "ended"
        except KeyboardInterrupt:
            outcome = "interrupted"
        except NotFittedError as error:
            raise AssertionError(f"{name}: a model without weights was returned") from error
        late = time.perf_counter() - began - moment
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert late < SECONDS_TO_END, f"{name}, interrupted after {moment} s, ended {late} s later"
        self.check_next(name, f"interrupted after {moment} s")
        self.outcomes[f"{name}: {outcome}"] += 1

    def at_line(self, name, number):
        """Raise `KeyboardInterrupt` at the n-th line; return whether there was one."""
        scenario = SCENARIOS[name]
        skmlp.training.interrupts.POLICY._last = time.monotonic()
        lines = 0

        def trace(frame, event, argument):
            nonlocal lines
            if event == "line":
                lines += 1
                if lines == number:
                    raise KeyboardInterrupt
            return trace

        faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True)
        try:
            sys.settrace(trace)
            scenario()
            outcome = "ended"
        except KeyboardInterrupt:
            outcome = "interrupted"
        finally:
            sys.settrace(None)
        self.check_next(name, f"interrupted at line {number}")
        self.outcomes[f"{name}, at lines: {outcome}"] += 1
        return lines >= number

    def check_next(self, name, what):
        """Whatever has happened, the next fit is as if nothing had."""
        faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True)
        assert self.digest(SCENARIOS[name]) == self.expected[name], f"{name} differs, {what}"
        faulthandler.cancel_dump_traceback_later()


def main(seconds, lines_every, seed):
    """Sweep for so many seconds, then over the lines of two scenarios."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    generator = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sweep = Sweep()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name in SCENARIOS:
                sweep.at_random(name, generator)
        for name in ("adam", "lbfgs") if lines_every else ():
            number = 1 + generator.randrange(lines_every)
            while sweep.at_line(name, number):
                number += lines_every
    for outcome, count in sorted(sweep.outcomes.items()):
        print(f"{count:6} {outcome}")
    print(f"{sum(sweep.outcomes.values())} interrupts, no hang, no wrong fit")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--lines-every", type=int, default=1, help="0 for none")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    main(arguments.seconds, arguments.lines_every, arguments.seed)
