"""Many fits as one: searches and lists of fits on threads that share the cores, and processes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from functools import partial
from typing import Any

import joblib
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RandomizedSearchCV

from benchmarks import measure, steady
from benchmarks.peers import make_model
from benchmarks.report import Table
from benchmarks.search import make_search, search_sampler, search_silently

# Each package with the workers that suit it best.
BACKENDS = {"skmlp": "skmlp", "sklearn": "loky"}
N_JOBS = 2
EPOCHS_OF_SEARCH = 30
EPOCHS_OF_FITS = 50
_COLD = """
import sys
from benchmarks.many import cold_search
cold_search(sys.argv[1], int(sys.argv[2]))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``many``."""
    parser.add_argument("--repeats", type=int, help="samples of each figure, median taken")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Compare with scikit-learn on its processes; then look at cores, memory and Python."""
    # For threads, and for the processes that are going to be started.
    warnings.simplefilter("ignore", ConvergenceWarning)
    os.environ["PYTHONWARNINGS"] = "ignore"
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    epochs = 5 if arguments.quick else EPOCHS_OF_SEARCH
    n_fits = 100 if arguments.quick else 1000
    X, y = load_digits(return_X_y=True)
    warm = {
        package: search_sampler(make_search(package, epochs), backend, X, y)
        for package, backend in BACKENDS.items()
    }
    cold = {package: partial(cold_seconds, package, epochs) for package in BACKENDS}
    fits = {package: partial(list_seconds, package, n_fits) for package in BACKENDS}
    cases = {
        f"12 x 5 search on digits, {epochs} epochs": warm,
        "the same in a new process": cold,
        f"{n_fits} fits of {EPOCHS_OF_FITS} epochs on iris": fits,
    }
    rows = [compare(case, samplers, repeats) for case, samplers in cases.items()]
    notes = [
        f"Medians of {repeats}; n_jobs={N_JOBS}; {BACKENDS}. Workers run before a warm search and",
        "before the fits, which joblib is handed one by one.",
        *steady.notes(rows, "work"),
    ]
    title = "Many fits: seconds"
    columns = ["work", "skmlp s", "sklearn s", "sklearn/skmlp"]
    return [Table(title, columns, rows, notes), look_inside(X, y, epochs, arguments.quick)]


def compare(case: str, samplers: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Return the row of one kind of work."""
    measure.progress(case)
    measurement = steady.measured(samplers, repeats)
    mine, other = (measurement.medians[package] for package in BACKENDS)
    row = {"work": case, "skmlp s": mine, "sklearn s": other, "sklearn/skmlp": other / mine}
    return {**row, **measurement.facts}


def cold_seconds(package: str, epochs: int, stretch: int) -> float:
    """Return the mean seconds of so many new processes that search."""
    command = [sys.executable, "-W", "ignore", "-c", _COLD, package, str(epochs)]
    # What is installed has its bytecode beside it.
    kept = {k: value for k, value in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def search() -> None:
        for _ in range(stretch):
            subprocess.run(command, check=True, cwd=measure.ROOT, env=kept)

    return measure.seconds(search) / stretch


def cold_search(package: str, epochs: int) -> None:
    """Search once; all that a new process does."""
    if package == "skmlp":
        import skmlp  # noqa: F401  # which makes the backend known
    with joblib.parallel_config(BACKENDS[package]):
        search_silently(make_search(package, epochs), *load_digits(return_X_y=True))


def list_seconds(package: str, n_fits: int, stretch: int) -> float:
    """Return the seconds of so many fits by a package's own workers, which run already."""
    X, y = load_iris(return_X_y=True)
    model = make_model(package, "classifier", max_iter=EPOCHS_OF_FITS)
    with joblib.parallel_config(BACKENDS[package]), joblib.Parallel(n_jobs=N_JOBS) as parallel:
        fit_all(parallel, model, range(4 * N_JOBS), X, y)
        work = partial(fit_all, parallel, model, range(n_fits * stretch), X, y)
        return measure.seconds(work) / stretch


def fit_all(parallel: Any, model: Any, seeds: range, X: Any, y: Any) -> None:
    """Fit a copy of `model` for each seed."""
    parallel(joblib.delayed(fit_one)(model, seed, X, y) for seed in seeds)


def fit_one(model: Any, seed: int, X: Any, y: Any) -> float:
    """Fit a copy of `model` from a seed."""
    return float(clone(model).set_params(random_state=seed).fit(X, y).loss_)


def look_inside(X: Any, y: Any, epochs: int, quick: bool) -> Table:
    """Return how busy the cores are in a search, what many fits leave behind, and their Python."""
    search = make_search("skmlp", epochs)
    with joblib.parallel_config("skmlp"):
        search_silently(search, X, y)
        began, used = time.perf_counter(), time.process_time()
        search_silently(search, X, y)
        seconds, used = time.perf_counter() - began, time.process_time() - used
    cores = min(N_JOBS, measure.available_cores())
    growth = measure.run_in_child("benchmarks.many:probe_memory", n_iter=20 if quick else 100)
    rows = [
        {"what": f"cores busy during the search, of {cores}", "figure": used / seconds / cores},
        {"what": "MB more after a search of 500 fits than of 50", "figure": growth["MB"]},
        {"what": "ms of Python in a fit of one epoch on iris", "figure": python_of_a_fit() * 1e3},
    ]
    notes = ["Processor time over wall time; resident memory; a fit of one epoch less an epoch."]
    return Table("Many fits: inside", ["what", "figure"], rows, notes)


def probe_memory(n_iter: int) -> dict[str, float]:
    """Return by how many MB a long search leaves more memory in use than a short one."""
    X, y = load_digits(return_X_y=True)
    grid = {"mlpclassifier__alpha": [10.0**-i for i in range(1, n_iter + 1)]}
    sizes = []
    for candidates in (max(1, n_iter // 10), n_iter):
        pipeline = make_search("skmlp", 2).estimator
        search = RandomizedSearchCV(
            pipeline, grid, n_iter=candidates, cv=5, n_jobs=N_JOBS, refit=False, random_state=0
        )
        with joblib.parallel_config("skmlp"):
            search_silently(search, X, y)
        sizes.append(resident_memory())
    return {"MB": (sizes[1] - sizes[0]) / 1e6}


def resident_memory() -> int:
    """Return how much of this process is in memory, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def python_of_a_fit(repeats: int = 100, more: int = 50) -> float:
    """Return the seconds of a fit of one epoch that the epoch itself does not take."""
    X, y = load_iris(return_X_y=True)
    few, many = (
        make_model("skmlp", "classifier", max_iter=epochs, random_state=0)
        for epochs in (1, 1 + more)
    )
    samplers = {"few": lambda: measure.seconds(lambda: few.fit(X, y))}
    samplers["many"] = lambda: measure.seconds(lambda: many.fit(X, y))
    median = measure.medians(measure.interleave(samplers, repeats))
    return median["few"] - (median["many"] - median["few"]) / more
