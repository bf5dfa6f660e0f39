"""SIGKILL at random moments, also while a checkpoint is written, for as long as one likes.

``python tests/kills.py --seconds 300 FOLDER`` kills fits that write a checkpoint after each epoch,
and lets others go on from there, until one has ended. It must be the fit that nobody has killed,
bit by bit. ``tests/test_checkpoints.py`` does the same for some seconds.
"""

import argparse
import contextlib
import hashlib
import itertools
import logging
import os
import random
import signal
import time
import warnings
from pathlib import Path

import numpy as np

from skmlp import MLPClassifier
from skmlp.callbacks import Checkpoint

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 50))
y = X[:, 0] > 0


def model(n_jobs):
    """Return an estimator of which writing takes longer than learning."""
    options = {"early_stopping": True, "n_iter_no_change": 100, "max_iter": 25}
    return MLPClassifier((800, 80), **options, random_state=0, n_jobs=n_jobs)


def digest(fitted):
    arrays = [*fitted.coefs_, *fitted.intercepts_, fitted.loss_curve_, fitted.validation_scores_]
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()


def fit(path, n_jobs, keep, expected):
    """Fit in a process of its own, which may be killed, and end it: with zero, if all is right."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        fitted = model(n_jobs).set_callbacks(Checkpoint(path, every=1, keep=keep))
        code = 0 if digest(fitted.fit(X, y, resume_from=path)) == expected else 2
    finally:
        os._exit(code)


def kills_until_it_ends(path, moments, keep, expected):
    """Return how often a fit was killed until it ended."""
    for n_kills in itertools.count():
        process = fit(path, 1 + n_kills % 2, keep, expected)
        time.sleep(moments.uniform(0.0, 0.4))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status == 0:
            return n_kills
        assert status == -signal.SIGKILL, f"a process ended with {status}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    expected, moments = digest(model(1).fit(X, y)), random.Random(0)
    until, n_fits, n_kills, n_left = time.monotonic() + arguments.seconds, 0, 0, 0
    while n_fits == 0 or time.monotonic() < until:
        n_fits += 1
        path = arguments.folder / f"run{n_fits}.ckpt"
        n_kills += kills_until_it_ends(path, moments, 1 + n_fits % 3, expected)
        for name in arguments.folder.iterdir():
            n_left += name.suffix == ".tmp"
            name.unlink()
    print(f"{n_kills} kills of {n_fits} fits, {n_left} while writing: always the same fit")


if __name__ == "__main__":
    main()
