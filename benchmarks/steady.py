"""Figures to be trusted: measured again, for longer, while samples scatter or cannot be true."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks import measure

# Returns a figure of work that is so many times as long as usual.
Sampler = Callable[[int], float]
Samples = Mapping[str, list[float]]
# Returns what is wrong with some of the figures, by their names.
Judge = Callable[[Samples], dict[str, str]]

ATTEMPTS = 3
# The interquartile range of a figure's samples may be this part of their median.
MOST_SPREAD = 0.1
# What a measurement adds to a row.
FACTS = ("samples", "spread", "doubts", "attempts")
# Fewer samples have no quartiles to speak of.
_FEWEST = 3


@dataclass(frozen=True)
class Measurement:
    """Samples of several figures, drawn in turns.

    Attributes
    ----------
    samples : dict of str to list of float
        Of the attempt with the fewest doubts; of the longest one among several.
    doubts : dict of str to str
        What is wrong with some of the figures even so.
    attempts : int
        How often all of it was measured.
    """

    samples: dict[str, list[float]]
    doubts: dict[str, str]
    attempts: int

    @property
    def medians(self) -> dict[str, float]:
        """The figures."""
        return measure.medians(self.samples)

    @property
    def facts(self) -> dict[str, Any]:
        """What is saved beside the figures; the spread of too few samples is None."""
        spreads = {name: spread(values) for name, values in self.samples.items()}
        return {
            "samples": self.samples,
            "spread": spreads,
            "doubts": self.doubts,
            "attempts": self.attempts,
        }


def spread(samples: Sequence[float]) -> float | None:
    """Return the interquartile range as a part of the median, if there are enough samples."""
    if len(samples) < _FEWEST:
        return None
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return float((high - low) / abs(middle))


def scattered(samples: Samples, most: float = MOST_SPREAD) -> dict[str, str]:
    """Name the figures whose samples scatter too much."""
    found = {name: spread(values) for name, values in samples.items()}
    return {
        name: f"samples spread over {value:.0%} of the median"
        for name, value in found.items()
        if value is not None and value > most
    }


def lonely_best(samples: Samples, most: float = MOST_SPREAD / 2) -> dict[str, str]:
    """Name the figures whose best sample, where that is what counts, few others come near."""
    found = {}
    for name, values in samples.items():
        distance = float(np.quantile(values, 0.25)) / min(values) - 1.0
        if distance > most:
            found[name] = f"three quarters of the samples are {distance:.0%} or more above the best"
    return found


def measured(
    samplers: Mapping[str, Sampler],
    repeats: int,
    time_limit: float = math.inf,
    judge: Judge = scattered,
) -> Measurement:
    """Draw samples in turns; while there are doubts, do so again with work twice as long.

    Every figure is measured again, not only the doubtful ones: their ratios are the result, and
    ratios are of samples drawn in turns. Attempts are chosen by their doubts, never by their
    figures. `time_limit` is that of the first attempt; the others grow with their work.
    """
    best: Measurement | None = None
    for attempt in range(ATTEMPTS):
        stretch = 2**attempt
        stretched = {name: partial(sampler, stretch) for name, sampler in samplers.items()}
        samples = measure.interleave(stretched, repeats, stretch * time_limit)
        doubts = judge(samples)
        if best is None or len(doubts) <= len(best.doubts):
            best = Measurement(samples, doubts, attempt + 1)
        if not doubts:
            return best
    assert best is not None
    return Measurement(best.samples, best.doubts, ATTEMPTS)


def repeated(call: Callable[[], object], calls: int = 1) -> Sampler:
    """Return a sampler of the seconds that a call takes, as the mean of `calls` or more."""

    def sample(stretch: int) -> float:
        def repeat() -> None:
            for _ in range(calls * stretch):
                call()

        return measure.seconds(repeat) / (calls * stretch)

    return sample


def notes(rows: Sequence[Mapping[str, Any]], label: str) -> list[str]:
    """Return a line for each doubt that a table's rows hold; `label` is the column that names one.

    A figure that is not mentioned is steady.
    """
    return [
        f"DOUBTFUL: {row[label]}, {name}: {doubt}."
        for row in rows
        for name, doubt in row.get("doubts", {}).items()
    ]
