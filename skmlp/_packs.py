"""Unlike networks that are trained side by side, and the ensemble that is chosen of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp._classifier import MLPClassifier
from skmlp._drafts import draft_of
from skmlp._endings import OVERFLOWED
from skmlp._held_out import HeldOut, outputs_of
from skmlp._members import ALONE, NOT_SHARED
from skmlp._networks import attributes_of, describe_network
from skmlp._regressor import MLPRegressor
from skmlp._selection import Candidate, Criterion, LogLoss, Selection, SquaredError
from skmlp._sklearn_compat import without_callbacks
from skmlp._solvers import optimizer_spec, schedule_of
from skmlp._validation import check_hidden_layer_sizes
from skmlp._warning import Remark
from skmlp._work import Part, Training, Work
from skmlp.engines.base import IndexArray, Run
from skmlp.network.parameters import FloatArray
from skmlp.training.rounds import train_in_rounds
from skmlp.training.stopping import StopReason

# Parameters of a plain estimator, by name.
Recipe = Mapping[str, Any]

# Picks of the greedy choice, at most.
MOST_PICKS = 24


@dataclass
class Course:
    """How the training of a pack goes on, and what it has come to.

    Attributes
    ----------
    recipes : sequence of Recipe
        What makes each network unlike the others.
    patience : int
        Rounds in which the ensemble has not become better, after which all end.
    deadline : float or None
        When training has to be over, by `time.monotonic`.
    shortlist : callable or None
        ``shortlist(round, n_members)``: how many members go on after so many rounds, those with
        the lowest losses; those that have ended count too. None for all.
    losses : list of float
        That of the ensemble after each round.
    seconds : list of float
        When that was, since the training began.
    n_networks : list of int
        How many networks the ensemble had then.
    """

    recipes: Sequence[Recipe]
    patience: int
    deadline: float | None
    shortlist: Callable[[int, int], int] | None = None
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_networks: list[int] = field(default_factory=list)


class Member(NamedTuple):
    """One network of a pack about to be trained.

    Attributes
    ----------
    estimator : BaseMLP
        A draft.
    work : Work
    training : Training
    watcher : Watcher
    """

    estimator: Any
    work: Work
    training: Training
    watcher: "Watcher"


class Watcher:
    """Scores a network on held-out samples, and remembers what it has predicted last.

    Parameters
    ----------
    outputs : callable
        ``outputs(parameters)``.
    criterion : Criterion
    """

    def __init__(self, outputs: Callable[[FloatArray], FloatArray], criterion: Criterion) -> None:
        self._outputs, self._criterion = outputs, criterion
        self.relevant: npt.NDArray[np.float64] | None = None
        self.loss = np.inf

    def __call__(self, parameters: FloatArray) -> float:
        """Return the score of parameters: minus the loss, NaN if it is not finite."""
        outputs = self._outputs(parameters)
        self.relevant = None
        if not np.isfinite(outputs).all():
            return float("nan")
        self.relevant = self._criterion.relevant(outputs)
        loss = float(self._criterion.of(self.relevant[np.newaxis])[0])
        self.loss = min(self.loss, loss)
        return -loss


def fit_pack(ensemble: Any, work: Work, course: Course) -> Sequence[Remark]:
    """Train unlike networks, and make the best ensemble of them, on the draft of one.

    Each of `course.recipes` is a network: what is not in it is as in the ensemble. Those that are
    chosen become `estimators_`, in which a network stands as often as it was picked; after other
    epochs it is another one.
    """
    begun = time.monotonic()
    rows: IndexArray = np.arange(len(work.targets.matrix))
    held_out = held_out_of(ensemble, work)
    criterion = criterion_of(work, held_out)
    members = [make_member(ensemble, work, recipe, rows, held_out, criterion)
               for recipe in course.recipes]  # fmt: skip
    selection = Selection(criterion, MOST_PICKS)
    conductor = Conductor(members, selection, course, begun)
    trainers = [member.training.trainer for member in members]
    outcomes = train_in_rounds(work.engine, trainers, conductor.choose, conductor.look)
    if not selection.chosen:
        raise ValueError(f"{OVERFLOWED} No network has learned anything.")
    remarks: list[Remark] = []
    for member, outcome in zip(members, outcomes, strict=True):
        if member.training.trainer.n_epochs:
            member.estimator._remember(member.training.trainer, outcome)
    chosen = sorted(selection.chosen.items(), key=lambda item: (item[0].member, item[0].epoch))
    ensemble.estimators_ = [
        network
        for candidate, count in chosen
        for network in [finished(members[candidate.member], candidate)] * count
    ]
    first = ensemble.estimators_[0]
    ensemble.n_iter_ = max(member.training.trainer.n_epochs for member in members)
    ensemble.loss_ = np.float64(selection.loss)
    ensemble._network = first._network
    vars(ensemble).update(attributes_of(first._network))
    ensemble._drawn_from = False, len(rows)
    ensemble.pack_ = report_of(members, selection)
    return remarks


def held_out_of(ensemble: Any, work: Work) -> HeldOut:
    """Return the samples that were given to validate with."""
    assert work.watched.validation is not None
    X, samples = work.watched.validation
    weight = samples.sample_weight
    loaded = work.engine.load(X, samples.matrix, weight, work.network, work.dtype)
    return HeldOut(loaded, samples)


def criterion_of(work: Work, held_out: HeldOut) -> Criterion:
    """Return what ensembles are compared by."""
    head, weight = work.network.head, held_out.sample_weight
    if head.link in ("softmax", "logistic"):
        return LogLoss(held_out.targets[:, 0].astype(np.intp), weight)
    return SquaredError(held_out.targets, weight)


def make_member(
    ensemble: Any,
    work: Work,
    recipe: Recipe,
    rows: IndexArray,
    held_out: HeldOut,
    criterion: Criterion,
) -> Member:
    """Return one network about to be trained, of which the ensemble knows parameters and data."""
    estimator = without_callbacks(draft_of(ensemble))
    vars(estimator).update(ALONE)
    for name in NOT_SHARED & vars(estimator).keys():
        delattr(estimator, name)
    vars(estimator).update(recipe)
    hidden = check_hidden_layer_sizes(estimator.hidden_layer_sizes)
    network = describe_network(estimator, work.X.shape[1], hidden, work.targets.heads)
    optimizer, schedule = optimizer_spec(estimator), schedule_of(estimator)
    own = replace(work, network=network, optimizer=optimizer, schedule=schedule)
    start, bounds = estimator._begin(own, work.X, resumes=False)
    batch_size = estimator._effective_batch_size(len(rows))
    watcher = Watcher(outputs_of(work.engine, network, held_out), criterion)
    part = Part(rows, held_out, batch_size, None, None, watcher)
    return Member(estimator, own, estimator._training(own, start, bounds, part), watcher)


class Conductor:
    """Says who goes on, and has the ensemble chosen after each round.

    Parameters
    ----------
    members : sequence of Member
    selection : Selection
    course : Course
    begun : float
        When the training began.
    """

    def __init__(
        self, members: Sequence[Member], selection: Selection, course: Course, begun: float
    ) -> None:
        self._members, self._selection, self._course = members, selection, course
        self._begun = begun
        self._stalled = 0
        self._seconds_of_round = 0.0
        self._round_began = begun

    def choose(self, under_way: Sequence[int]) -> Sequence[int]:
        """Return those that take part in the next round; none if it is time to end."""
        course, now = self._course, time.monotonic()
        n_rounds = len(course.losses)
        if self._stalled > course.patience:
            return []
        chosen = under_way
        if course.shortlist is not None:
            ranked = sorted(range(len(self._members)), key=self._loss_of)
            going_on = set(ranked[: course.shortlist(n_rounds, len(ranked))])
            chosen = [index for index in under_way if index in going_on]
        if course.deadline is not None and n_rounds > 0:
            chosen = self._in_time(chosen, course.deadline - now)
        self._round_began = now
        return chosen

    def _loss_of(self, index: int) -> float:
        return self._members[index].watcher.loss

    def _in_time(self, chosen: Sequence[int], left: float) -> Sequence[int]:
        """Return the best of those chosen whose next epochs end in so many seconds.

        An epoch takes as long as those before; all of them together as long as the last round,
        in which they shared the cores.
        """
        def seconds(index: int) -> float:
            trainer = self._members[index].training.trainer
            return trainer.seconds / max(1, trainer.n_epochs)

        whole = sum(seconds(index) for index in self._last) or 1.0
        share = self._seconds_of_round / whole
        ranked = sorted(chosen, key=self._loss_of)
        kept, used = [], 0.0
        for index in ranked:
            used += seconds(index) * share
            # A single one is not spread over the cores as many are.
            if used > left or seconds(index) > left:
                break
            kept.append(index)
        return sorted(kept)

    def look(self, numbers: Sequence[int], run: Run) -> None:
        """Choose the ensemble anew, from what it has and what is new."""
        self._last = numbers
        candidates = []
        for index in numbers:
            member = self._members[index]
            relevant, trainer = member.watcher.relevant, member.training.trainer
            if relevant is None or trainer.stop_reason is StopReason.DIVERGED:
                continue
            averages = run.averages(index)
            parameters = run.parameters(index) if averages is None else averages
            candidates.append(Candidate(index, trainer.n_epochs, parameters, relevant))
        is_better = bool(candidates) and self._selection.consider(candidates)
        self._stalled = 0 if is_better else self._stalled + 1
        now, course = time.monotonic(), self._course
        self._seconds_of_round = now - self._round_began
        course.losses.append(float(self._selection.loss))
        course.seconds.append(now - self._begun)
        course.n_networks.append(len(self._selection.chosen))


def finished(member: Member, candidate: Candidate) -> Any:
    """Return an estimator with a network as it was after some epoch."""
    estimator = draft_of(member.estimator)
    estimator.n_iter_ = candidate.epoch
    estimator._end(member.work, candidate.parameters)
    return estimator


def report_of(members: Sequence[Member], selection: Selection) -> list[dict[str, Any]]:
    """Return what is to be told of each network that was trained."""
    picks = dict.fromkeys(range(len(members)), 0)
    for candidate, count in selection.chosen.items():
        picks[candidate.member] += count
    total = sum(picks.values())
    return [
        {
            "loss": member.watcher.loss,
            "n_epochs": member.training.trainer.n_epochs,
            "seconds": member.training.trainer.seconds,
            "weight": picks[index] / total,
        }
        for index, member in enumerate(members)
    ]


class Packing:
    """Makes of an ensemble one of unlike networks."""

    n_estimators: int
    _course: Course

    @property
    def _makes_ensemble(self) -> bool:
        return True  # be it of a single network

    def _fit_several(self, work: Work, *, resumes: bool) -> Sequence[Remark]:
        return fit_pack(self, work, self._course)


class PackOfClassifiers(Packing, MLPClassifier):
    """An ensemble of unlike networks that classify."""


class PackOfRegressors(Packing, MLPRegressor):
    """An ensemble of unlike networks that predict numbers."""
