"""Timing helpers: interleaved medians, the matrix-product rate, and child processes."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
_PAUSE = 0.05  # seconds
_MATRIX_SIZE = 2048
_RESULT_MARK = "benchmark-result:"


def available_cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def progress(text: str) -> None:
    """Say on standard error what is being measured."""
    print(f"  measuring {text} ...", file=sys.stderr, flush=True)


def seconds(function: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleave(
    samplers: Mapping[str, Callable[[], float]], repeats: int, time_limit: float = math.inf
) -> dict[str, list[float]]:
    """Draw `repeats` samples of each sampler, one of each per round.

    No round starts after `time_limit` seconds, except the first.

    Drift of the machine then meets all of them alike. A pause before each lets the worker threads
    of the one before fall asleep, which wait actively for a while. The round starts at another
    sampler each time, so that none always follows the same one.
    """
    names = list(samplers)
    pause = _PAUSE if len(names) > 1 else 0.0
    samples: dict[str, list[float]] = {name: [] for name in names}
    start = time.perf_counter()
    for i in range(repeats):
        if i and time.perf_counter() - start > time_limit:
            break
        first = i % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            samples[name].append(samplers[name]())
    return samples


def medians(samples: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median of each list of samples."""
    return {name: float(np.median(values)) for name, values in samples.items()}


def matrix_rate_sampler(dtype: str) -> Callable[[int], float]:
    """Return a function that measures the rate of so many large ``np.dot`` in FLOP/s."""
    rng = np.random.default_rng(0)
    a = rng.random((_MATRIX_SIZE, _MATRIX_SIZE)).astype(dtype)
    product = np.empty_like(a)
    np.dot(a, a, out=product)

    def rate(products: int) -> float:
        def multiply() -> None:
            for _ in range(products):
                np.dot(a, a, out=product)

        return products * 2.0 * _MATRIX_SIZE**3 / seconds(multiply)

    return rate


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean of positive values."""
    return float(np.exp(np.mean(np.log(values))))


def run_in_child(function: str, **arguments: Any) -> dict[str, Any]:
    """Call ``"module:function"`` with `arguments` in a fresh interpreter and return its dict."""
    module, name = function.split(":")
    code = f"from benchmarks.measure import child_main; child_main({module!r}, {name!r})"
    command = [sys.executable, "-W", "ignore", "-c", code]
    child = subprocess.run(
        command, input=json.dumps(arguments), capture_output=True, text=True, cwd=ROOT, check=False
    )
    for line in child.stdout.splitlines():
        if line.startswith(_RESULT_MARK):
            result: dict[str, Any] = json.loads(line.removeprefix(_RESULT_MARK))
            return result
    raise RuntimeError(f"{function} failed in its child process:\n{child.stderr}")


def child_main(module: str, name: str) -> None:
    """Answer `run_in_child`: arguments on standard input, the result on standard output."""
    function = getattr(importlib.import_module(module), name)
    print(_RESULT_MARK + json.dumps(function(**json.load(sys.stdin))), flush=True)


def peak_memory() -> int:
    """Return the greatest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would include the parent's size from before the exec
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_memory() -> None:
    """Make the current resident size the new peak where the system can (Linux)."""
    with contextlib.suppress(OSError):  # else the peak so far stays; it is close where data are big
        Path("/proc/self/clear_refs").write_text("5")


def extra_memory(function: Callable[[], object]) -> int:
    """Return by how many bytes a call raises the peak resident size of this process."""
    reset_peak_memory()
    before = peak_memory()
    function()
    return peak_memory() - before
