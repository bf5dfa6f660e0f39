"""Latency of ``predict_proba`` on one row; time and memory of it on a million rows."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import measure
from benchmarks.peers import fit_silently, make_model
from benchmarks.report import Table
from benchmarks.workloads import Array, make_target, random_rows

DTYPES = ("float64", "float32")
PACKAGES = ("skmlp", "sklearn")
# ONNX Runtime takes part where it and the converter are installed.
ONNX_PACKAGES = ("onnxruntime", "skl2onnx")
TRAINING_ROWS = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``predict``."""
    parser.add_argument("--repeats", type=int, help="samples of each figure, median taken")


def run(arguments: argparse.Namespace) -> list[Table]:
    """Measure one row and many rows with both packages in both dtypes."""
    quick = arguments.quick
    return [
        one_row(repeats=arguments.repeats or (5 if quick else 15), calls=50 if quick else 300),
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


def one_row(repeats: int, calls: int) -> Table:
    """Return the table of microseconds per ``predict_proba`` of one row of 64 features."""
    measure.progress("predict, one row")
    samplers: dict[str, Callable[[], float]] = {}
    for dtype in DTYPES:
        X = random_rows(TRAINING_ROWS, 64, dtype, seed=0)
        for package in competitors():
            predict = predictor(package, X, (100,), 10)
            samplers[f"{package} {dtype}"] = partial(_seconds_per_call, predict, X[:1], calls)
    for sampler in samplers.values():
        sampler()
    median = measure.medians(measure.interleave(samplers, repeats))
    rows = [
        {
            "dtype": dtype,
            **{f"{name} us": 1e6 * median[f"{name} {dtype}"] for name in competitors()},
            "sklearn/skmlp": median[f"sklearn {dtype}"] / median[f"skmlp {dtype}"],
        }
        for dtype in DTYPES
    ]
    title = "predict_proba of one row, 64 -> 100 -> 10: microseconds per call"
    return Table(title, list(rows[0]), rows, [f"Medians of {repeats} x {calls} calls, in turns."])


def _seconds_per_call(predict: Callable[[Array], object], X: Array, calls: int) -> float:
    def repeat() -> None:
        for _ in range(calls):
            predict(X)

    return measure.seconds(repeat) / calls


def many_rows(repeats: int, rows: int) -> Table:
    """Return the table of time and extra memory for `rows` rows, each in a child process."""
    table = []
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
            measure.medians({name: [one[key] for one in samples[name]] for name in names})
            for key in ("seconds", "extra_bytes")
        )
        table.append(
            {
                "dtype": dtype,
                **{f"{name} s": seconds[name] for name in names},
                **{f"{name}/skmlp": seconds[name] / seconds["skmlp"] for name in names[1:]},
                **{f"{name} extra MB": extra[name] / 1e6 for name in names},
            }
        )
    title = f"predict_proba of {rows:,} x 50, hidden (100, 100), 2 classes"
    notes = [f"Medians of {repeats} child processes. Extra memory: the peak beyond X and result."]
    return Table(title, list(table[0]), table, notes)


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
