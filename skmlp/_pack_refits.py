"""The networks that were chosen of a pack, trained once more on other samples."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skmlp._packs import Course, begun_member, finished, take_networks
from skmlp._warning import Remark
from skmlp._work import Work
from skmlp.engines.base import IndexArray, Run
from skmlp.network.members import vector_alone
from skmlp.network.parameters import FloatArray
from skmlp.training.listening import EpochEnd
from skmlp.training.rounds import train_in_rounds
from skmlp.training.stopping import StopReason


class NotRefitted(Exception):
    """The networks that were chosen could not be trained again; the message says why."""


def refit_pack(
    ensemble: Any, work: Work, *, course: Course, resumes: bool = False
) -> Sequence[Remark]:
    """Train the networks that were chosen on other samples, for as many epochs each.

    Each is trained once, and is taken as it was after those epochs after which it was chosen.

    Raises
    ------
    NotRefitted
        If there was no time, somebody interrupted it, or a network diverged.
    """
    rows: IndexArray = np.arange(len(work.targets.matrix))
    wanted: dict[int, list[int]] = {}
    for pick in course.chosen:
        wanted.setdefault(pick.member, []).append(pick.n_epochs)
    numbers = list(wanted)
    begun = []
    for number in numbers:
        alone = {**course.recipes[number], "early_stopping": False, "n_iter_no_change": np.inf}
        data = ensemble, work, alone, rows
        begun.append(begun_member(*data, None, None, EachEpoch(), course.shares))
    trainers = [training.trainer for _, _, training in begun]
    seen: dict[tuple[int, int], FloatArray] = {}

    def choose(under_way: Sequence[int]) -> Sequence[int]:
        if course.deadline is not None and time.monotonic() > course.deadline:
            return []
        return [i for i in under_way if trainers[i].n_epochs < max(wanted[numbers[i]])]

    def look(taken: Sequence[int], run: Run) -> None:
        for i in taken:
            epoch = trainers[i].n_epochs
            if epoch in wanted[numbers[i]] and trainers[i].stop_reason is not StopReason.DIVERGED:
                averages = run.averages(i)
                seen[numbers[i], epoch] = run.parameters(i) if averages is None else averages

    outcomes = train_in_rounds(work.engine, trainers, choose, look)
    if any(trainer.interrupted for trainer in trainers):
        raise NotRefitted("it was interrupted")
    if any((pick.member, pick.n_epochs) not in seen for pick in course.chosen):
        is_late = course.deadline is not None and time.monotonic() > course.deadline
        raise NotRefitted("max_time was over" if is_late else "a network diverged")
    for (estimator, _, training), outcome in zip(begun, outcomes, strict=True):
        estimator._remember(training.trainer, outcome)
    networks = []
    for pick in course.chosen:
        estimator, own, _ = begun[numbers.index(pick.member)]
        try:
            parameters = seen[pick.member, pick.n_epochs]
            if pick.part is not None:
                plain, parameters = vector_alone(own.network, parameters, pick.part)
                own = replace(own, network=plain)
            networks.append(finished(estimator, own, pick.n_epochs, parameters))
        except ValueError as error:
            raise NotRefitted("a network diverged") from error
    take_networks(ensemble, networks, course, len(rows))
    return []


class EachEpoch:
    """Listens to nothing, and has each epoch computed by itself."""

    def begins(self) -> None:
        """Do nothing where an epoch begins."""

    def ended(self, end: EpochEnd) -> bool:
        """Let the fit go on."""
        return False
