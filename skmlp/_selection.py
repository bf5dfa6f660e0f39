"""Greedy choice of networks whose mean predicts held-out samples best.

Caruana, Niculescu-Mizil, Crew & Ksikes (2004), "Ensemble selection from libraries of models", ICML.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skmlp.network.parameters import FloatArray

Numbers = npt.NDArray[np.float64]

# Probabilities below this count as this: one network that is sure and wrong is no reason to leave
# out a mean of many.
LEAST_PROBABILITY = 1e-7
# Losses that differ by less, relative to them, are the same.
ROUNDING = 1e-12


class Criterion(ABC):
    """What means of predictions are compared by: a loss of held-out samples.

    Parameters
    ----------
    weight : ndarray of shape (n_samples,) or None
        What each sample counts.
    """

    def __init__(self, weight: Numbers | None) -> None:
        self._weight = weight

    @abstractmethod
    def relevant(self, outputs: FloatArray) -> Numbers:
        """Return what the loss has to know of one network's outputs, shape (n_samples, ...).

        Of the mean of several it has to know the mean of these.
        """

    @abstractmethod
    def _losses(self, means: Numbers) -> Numbers:
        """Return the loss of each sample, shape (n_means, n_samples), of several means."""

    def of(self, means: Numbers) -> Numbers:
        """Return the mean loss of each of several means, shape (n_means,)."""
        losses = self._losses(means)
        if self._weight is None:
            return np.asarray(losses.mean(axis=1))
        return np.asarray(losses @ self._weight / self._weight.sum())


class LogLoss(Criterion):
    """Minus the logarithm of the probability of the right class.

    Parameters
    ----------
    labels : ndarray of int, shape (n_samples,)
        Class numbers.
    weight : ndarray of shape (n_samples,) or None
    """

    def __init__(self, labels: npt.NDArray[np.intp], weight: Numbers | None) -> None:
        super().__init__(weight)
        self._labels = labels

    def relevant(self, outputs: FloatArray) -> Numbers:
        """Return the probabilities of the right classes; a single output is that of class one."""
        if outputs.shape[1] == 1:
            right = np.where(self._labels == 1, outputs[:, 0], 1.0 - outputs[:, 0])
        else:
            right = outputs[np.arange(len(outputs)), self._labels]
        return np.asarray(right, dtype=np.float64)

    def _losses(self, means: Numbers) -> Numbers:
        return np.asarray(-np.log(np.maximum(means, LEAST_PROBABILITY)))


class SquaredError(Criterion):
    """The squared distance from targets, each divided by its variance, summed over targets.

    Parameters
    ----------
    targets : ndarray of shape (n_samples, n_targets)
    weight : ndarray of shape (n_samples,) or None
    """

    def __init__(self, targets: FloatArray, weight: Numbers | None) -> None:
        super().__init__(weight)
        self._targets = np.asarray(targets, dtype=np.float64)
        deviation = self._targets.std(axis=0)
        self._scale = np.where(deviation > 0.0, deviation, 1.0)

    def relevant(self, outputs: FloatArray) -> Numbers:
        """Return what outputs are too large by, in standard deviations of the targets."""
        return np.asarray((outputs - self._targets) / self._scale)

    def _losses(self, means: Numbers) -> Numbers:
        return np.asarray(np.einsum("kij,kij->ki", means, means))


class Scored(Criterion):
    """Minus a score of predictions.

    Parameters
    ----------
    score : callable
        ``score(outputs)``, the higher the better.
    """

    def __init__(self, score: Callable[[Numbers], float]) -> None:
        super().__init__(None)
        self._score = score

    def relevant(self, outputs: FloatArray) -> Numbers:
        """Return all outputs."""
        return np.asarray(outputs, dtype=np.float64)

    def _losses(self, means: Numbers) -> Numbers:
        return np.array([[-self._score(mean)] for mean in means])


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network as it was after some epoch.

    Attributes
    ----------
    member : int
        The number of the fit.
    epoch : int
        After how many epochs.
    parameters : ndarray of shape (n_parameters,)
    relevant : ndarray of shape (n_samples, ...)
        What a criterion has to know of its predictions for the held-out samples.
    """

    member: int
    epoch: int
    parameters: FloatArray
    relevant: Numbers


class Selection:
    """An ensemble that is chosen anew whenever there are new candidates.

    Those that are in it are candidates again, so that it never becomes worse.

    Parameters
    ----------
    criterion : Criterion
    most : int
        Most picks. A candidate may be picked several times, and then counts as often.
    """

    def __init__(self, criterion: Criterion, most: int) -> None:
        self.criterion = criterion
        self.loss = np.inf
        self.chosen: Counter[Candidate] = Counter()
        self._most = most

    def begin_with(self, chosen: Counter[Candidate]) -> None:
        """Have an ensemble that was chosen by something else."""
        total = sum(count * one.relevant for one, count in chosen.items())
        mean = np.asarray(total / chosen.total())
        self.chosen, self.loss = chosen, float(self.criterion.of(mean[np.newaxis])[0])

    def consider(self, candidates: Sequence[Candidate]) -> bool:
        """Choose again, from what is in it and what is new; return whether it became better."""
        pool = [*self.chosen, *candidates]
        loss, counts = self._choose(pool)
        if not loss < self.loss:
            return False
        self.loss = loss
        self.chosen = Counter(
            {one: count for one, count in zip(pool, counts, strict=True) if count > 0}
        )
        return True

    def _choose(self, pool: Sequence[Candidate]) -> tuple[float, list[int]]:
        """Return the loss of the best ensemble that was found, and how often it has each one."""
        known = np.stack([one.relevant for one in pool])
        total = np.zeros_like(known[0])
        picks, reached = [], []
        for n_picked in range(1, self._most + 1):
            losses = self.criterion.of((total + known) / n_picked)
            pick = int(np.argmin(losses))
            picks.append(pick)
            reached.append(float(losses[pick]))
            total += known[pick]
        # More picks have to be of some use, and not of errors of rounding.
        best = min(reached)
        n_best = 1 + next(
            i for i, loss in enumerate(reached) if loss <= best + ROUNDING * abs(best)
        )
        counts = np.bincount(picks[:n_best], minlength=len(pool))
        return reached[n_best - 1], counts.tolist()
