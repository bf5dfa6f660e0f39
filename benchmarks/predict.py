"""Time of ``predict_proba`` on one row, on some and on a million; memory of it on these."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from functools import partial
from typing import Any

from benchmarks import measure, steady, trees
from benchmarks.peers import fit_silently, make_model
from benchmarks.report import Table
from benchmarks.steady import Measurement, Sampler
from benchmarks.workloads import Array, make_target, random_rows

DTYPES = ("float64", "float32")
PACKAGES = ("skmlp", "sklearn")
# ONNX Runtime takes part where it and the converter are installed.
ONNX_PACKAGES = ("onnxruntime", "skl2onnx")
TRAINING_ROWS = 2000
FEATURES = 64
# Rows of a call, and calls of a sample.
CALLS = {1: 300, 200: 100, 2000: 30}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``predict``."""
    parser.add_argument("--repeats", type=int, help="samples of each figure, median taken")
    trees.add_argument(parser)


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure few rows and many rows with both packages in both dtypes."""
    quick = arguments.quick
    if arguments.against:
        cases = [f"{rows} {dtype}" for rows in CALLS for dtype in DTYPES]
        return [trees.compare(__name__, cases, "us", arguments, {})]
    return [
        some_rows(repeats=arguments.repeats or (5 if quick else 15)),
        many_rows(repeats=arguments.repeats or (1 if quick else 3), rows=10**5 if quick else 10**6),
    ]


def fitted_model(package: str, X: Array, hidden: tuple[int, ...], outputs: int) -> Any:
    """Return a classifier trained for a few epochs on the first rows of `X`."""
    rows = X[:TRAINING_ROWS]
    y = make_target(rows, outputs, "binary" if outputs == 1 else "multiclass", seed=0)
    model = make_model(package, "classifier", hidden_layer_sizes=hidden, max_iter=3, random_state=0)
    return fit_silently(model, rows, y)


def competitors() -> list[str]:
    """Return skmlp, scikit-learn, and ONNX Runtime where it is installed."""
    has_onnx = all(importlib.util.find_spec(name) for name in ONNX_PACKAGES)
    return [*PACKAGES, *(["onnx"] if has_onnx else [])]


def predictor(package: str, X: Array, hidden: tuple[int, ...], outputs: int) -> Any:
    """Return ``predict_proba`` of a model; ONNX Runtime gets scikit-learn's, exported."""
    if package != "onnx":
        return fitted_model(package, X, hidden, outputs).predict_proba
    onnxruntime: Any = importlib.import_module("onnxruntime")
    skl2onnx: Any = importlib.import_module("skl2onnx")
    model = fitted_model("sklearn", X, hidden, outputs)
    # Its matrix products are single precision in any case.
    sample = X[:1].astype("float32")
    options = {id(model): {"zipmap": False}}
    exported = skl2onnx.to_onnx(model, sample, options=options)
    session = onnxruntime.InferenceSession(
        exported.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (name,) = (node.name for node in session.get_inputs())

    def predict_proba(rows: Array) -> Array:
        probabilities: Array = session.run(["probabilities"], {name: rows.astype("float32")})[0]
        return probabilities

    return predict_proba


def some_rows(repeats: int) -> Table:
    """Return the table of microseconds per ``predict_proba`` of one row and of some."""
    names = competitors()
    rows = []
    for count in CALLS:
        for dtype in DTYPES:
            measure.progress(f"predict, {count} x {FEATURES}, {dtype}")
            samplers = {name: call_sampler(name, count, dtype) for name in names}
            measurement = steady.measured(samplers, repeats)
            median = measurement.medians
            row = {"X": f"{count} x {FEATURES}", "dtype": dtype}
            row |= {f"{name} us": 1e6 * median[name] for name in names}
            row |= {f"{name}/skmlp": median[name] / median["skmlp"] for name in names[1:]}
            rows.append({**row, **measurement.facts, "label": f"{count} rows, {dtype}"})
    title = f"predict_proba, {FEATURES} -> 100 -> 10: microseconds per call"
    columns = [name for name in rows[0] if name not in (*steady.FACTS, "label")]
    notes = [f"Medians of {repeats} samples, in turns.", *steady.notes(rows, "label")]
    return Table(title, columns, rows, notes)


def case_sampler(case: str) -> Sampler:
    """Return the sampler of skmlp's call for a case ``"<rows> <dtype>"``."""
    rows, dtype = case.split()
    return call_sampler("skmlp", int(rows), dtype)


def call_sampler(package: str, rows: int, dtype: str) -> Sampler:
    """Return the sampler of ``predict_proba``, after a first call."""
    X = random_rows(TRAINING_ROWS, FEATURES, dtype, seed=0)
    predict = predictor(package, X, (100,), 10)
    predict(X[:rows])
    return steady.repeated(partial(predict, X[:rows]), CALLS[rows])


def many_rows(repeats: int, rows: int) -> Table:
    """Return the table of time and extra memory for `rows` rows, each in a child process."""
    table: list[dict[str, Any]] = []
    for dtype in DTYPES:
        measure.progress(f"predict, {rows} rows, {dtype}")
        names = competitors()
        samples: dict[str, list[dict[str, Any]]] = {package: [] for package in names}
        for _ in range(repeats):
            for package in names:
                child = "benchmarks.predict:probe_many_rows"
                samples[package].append(
                    measure.run_in_child(child, package=package, dtype=dtype, rows=rows)
                )
        seconds, extra = (
            {name: [one[key] for one in samples[name]] for name in names}
            for key in ("seconds", "extra_bytes")
        )
        median, memory = measure.medians(seconds), measure.medians(extra)
        # Too long to be measured again; that it scatters is said all the same.
        measurement = Measurement(seconds, steady.scattered(seconds), 1)
        table.append(
            {
                "dtype": dtype,
                **{f"{name} s": median[name] for name in names},
                **{f"{name}/skmlp": median[name] / median["skmlp"] for name in names[1:]},
                **{f"{name} extra MB": memory[name] / 1e6 for name in names},
                **measurement.facts,
            }
        )
    title = f"predict_proba of {rows:,} x 50, hidden (100, 100), 2 classes"
    notes = [
        f"Medians of {repeats} child processes. Extra memory: the peak beyond X and result.",
        *steady.notes(table, "dtype"),
    ]
    columns = [name for name in table[0] if name not in steady.FACTS]
    return Table(title, columns, table, notes)


def probe_many_rows(package: str, dtype: str, rows: int) -> dict[str, float]:
    """Return seconds and extra bytes of one large prediction; runs in a child process."""
    X = random_rows(rows, 50, dtype, seed=0)
    predict_proba = predictor(package, X, (100, 100), 1)
    predict_proba(X[: rows // 100])  # compiles, starts threads
    results = []
    extra = measure.extra_memory(lambda: results.append(predict_proba(X)))
    extra -= results.pop().nbytes
    seconds = min(measure.seconds(lambda: predict_proba(X)) for _ in range(2))
    return {"seconds": seconds, "extra_bytes": max(0, extra)}
