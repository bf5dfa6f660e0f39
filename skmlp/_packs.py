"""Unlike networks that are trained side by side, and the ensemble that is chosen of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp._drafts import draft_of
from skmlp._endings import OVERFLOWED
from skmlp._held_out import HeldOut, Score, outputs_of
from skmlp._members import ALONE, NOT_SHARED
from skmlp._networks import attributes_of, describe_network
from skmlp._selection import Candidate, Criterion, LogLoss, Scored, Selection, SquaredError
from skmlp._sklearn_compat import without_callbacks
from skmlp._solvers import optimizer_spec, schedule_of
from skmlp._validation import check_hidden_layer_sizes
from skmlp._warning import Remark
from skmlp._work import Part, Training, Work
from skmlp.engines.base import IndexArray, Run
from skmlp.network.parameters import FloatArray
from skmlp.training.loop import Outcome, train
from skmlp.training.rounds import train_in_rounds
from skmlp.training.stopping import StopReason

# Parameters of a plain estimator, by name.
Recipe = Mapping[str, Any]

# Attributes of an ensemble's draft that its networks do not have.
OF_PACKS = ("_learner",)


@dataclass
class Course:
    """How the training of a pack goes on, and what it has come to.

    Attributes
    ----------
    recipes : sequence of Recipe
        What makes each network unlike the others.
    patience : int
        Rounds in which the ensemble has not become better, after which all end.
    most_picks : int
        Of the greedy choice.
    deadline : float or None
        When training has to be over, by `time.monotonic`.
    scorer : callable or None
        ``scorer(outputs)``: a score of predictions for the held-out samples, the higher the better,
        by which the ensemble is chosen in the end. None for the loss.
    shortlist : callable or None
        ``shortlist(round, n_members)``: how many members go on after so many rounds, those with
        the lowest losses; those that have ended count too. None for all.
    losses : list of float
        That of the ensemble after each round.
    seconds : list of float
        When that was, since the training began.
    n_networks : list of int
        How many networks the ensemble had then.
    report : list of dict
        What is to be told of each network, in the order of the recipes.
    chosen : list of Pick
        What the ensemble consists of.
    """

    recipes: Sequence[Recipe]
    patience: int
    most_picks: int
    deadline: float | None = None
    scorer: Callable[[FloatArray], float] | None = None
    shortlist: Callable[[int, int], int] | None = None
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_networks: list[int] = field(default_factory=list)
    report: list[dict[str, Any]] = field(default_factory=list)
    chosen: "list[Pick]" = field(default_factory=list)


class Pick(NamedTuple):
    """A network that was chosen.

    Attributes
    ----------
    recipe : Recipe
    n_epochs : int
        After how many epochs.
    times : int
        How often.
    """

    recipe: Recipe
    n_epochs: int
    times: int


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
    criterion : Criterion

    Attributes
    ----------
    outputs : callable
        ``outputs(parameters)``.
    relevant : ndarray or None
        What the criterion has to know of the last predictions, None if these were not finite.
    loss : float
        The lowest one so far.
    """

    outputs: Callable[[FloatArray], FloatArray]

    def __init__(self, criterion: Criterion) -> None:
        self._criterion = criterion
        self.relevant: npt.NDArray[np.float64] | None = None
        self.loss = np.inf

    def __call__(self, parameters: FloatArray) -> float:
        """Return the score of parameters: minus the loss, NaN if it is not finite."""
        outputs = self.outputs(parameters)
        self.relevant = None
        if not np.isfinite(outputs).all():
            return float("nan")
        self.relevant = self._criterion.relevant(outputs)
        loss = float(self._criterion.of(self.relevant[np.newaxis])[0])
        self.loss = min(self.loss, loss)
        return -loss


def fit_pack(
    ensemble: Any, work: Work, *, course: Course, resumes: bool = False
) -> Sequence[Remark]:
    """Train unlike networks, and make the best ensemble of them, on the draft of one.

    Each of `course.recipes` is a network: what is not in it is as in the ensemble. Those that are
    chosen become `estimators_`, in which a network stands as often as it was picked; after other
    epochs it is another one.
    """
    began = time.monotonic()
    rows: IndexArray = np.arange(len(work.targets.matrix))
    held_out = held_out_of(ensemble, work)
    criterion = criterion_of(work, held_out)
    members = [
        make_member(ensemble, work, recipe, rows, held_out, criterion) for recipe in course.recipes
    ]
    selection = Selection(criterion, course.most_picks)
    conductor = Conductor(members, selection, course, began)
    trainers = [member.training.trainer for member in members]
    outcomes = train_in_rounds(work.engine, trainers, conductor.choose, conductor.look)
    if not selection.chosen:
        raise ValueError(f"{OVERFLOWED} No network has learned anything.")
    if course.scorer is not None:
        selection = chosen_by_score(selection, members, outcomes, held_out, course)
    for member, outcome in zip(members, outcomes, strict=True):
        if member.training.trainer.n_epochs:
            member.estimator._remember(member.training.trainer, outcome)
    chosen = sorted(selection.chosen.items(), key=lambda item: (item[0].member, item[0].epoch))
    course.chosen = [Pick(course.recipes[one.member], one.epoch, count) for one, count in chosen]
    course.report = report_of(members, selection)
    networks = [finished(members[candidate.member], candidate) for candidate, _ in chosen]
    take_networks(ensemble, networks, course, len(rows))
    ensemble.loss_ = np.float64(course.losses[-1])
    return []


def take_networks(ensemble: Any, networks: Sequence[Any], course: Course, n_rows: int) -> None:
    """Make the members of an ensemble of the networks that were chosen."""
    pairs = zip(networks, course.chosen, strict=True)
    ensemble.estimators_ = [network for network, pick in pairs for _ in range(pick.times)]
    first = networks[0]
    ensemble.n_iter_ = max(network.n_iter_ for network in networks)
    ensemble._network = first._network
    vars(ensemble).update(attributes_of(first._network))
    ensemble._drawn_from = False, n_rows


def chosen_by_score(
    selection: Selection,
    members: "Sequence[Member]",
    outcomes: Sequence[Outcome],
    held_out: HeldOut,
    course: Course,
) -> Selection:
    """Choose by a score, of the ensemble so far and what each network was at its best."""
    assert course.scorer is not None
    by_score = Selection(Scored(course.scorer), course.most_picks)
    pool = [(one.member, one.epoch, one.parameters) for one in selection.chosen]
    for index, (member, outcome) in enumerate(zip(members, outcomes, strict=True)):
        trainer = member.training.trainer
        if trainer.best is not None:
            scores = trainer.history.validation_scores
            pool.append((index, int(np.nanargmax(scores)) + 1, outcome.parameters))
    candidates = []
    for index, epoch, parameters in pool:
        own = members[index].work
        outputs = outputs_of(own.engine, own.network, held_out)(parameters)
        candidates.append(Candidate(index, epoch, parameters, outputs.astype(np.float64)))
    by_score.consider(candidates)
    return by_score


def refit_pack(
    ensemble: Any, work: Work, *, course: Course, resumes: bool = False
) -> Sequence[Remark]:
    """Train the networks that were chosen on other samples, for as many epochs each."""
    rows: IndexArray = np.arange(len(work.targets.matrix))
    trained = []
    for pick in course.chosen:
        parameters = {
            **pick.recipe,
            "max_iter": pick.n_epochs,
            "n_iter_no_change": pick.n_epochs,
            "early_stopping": False,
        }
        trained.append(begun_member(ensemble, work, parameters, rows, None, None))
    outcomes = train(work.engine, [training.trainer for _, _, training in trained])
    networks = []
    for (estimator, own, training), outcome in zip(trained, outcomes, strict=True):
        estimator._remember(training.trainer, outcome)
        estimator._end(own, outcome.parameters)
        networks.append(estimator)
    take_networks(ensemble, networks, course, len(rows))
    ensemble.loss_ = np.float64(course.losses[-1])
    return []


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
    """Return one network about to be trained, and watched."""
    watcher = Watcher(criterion)
    begun = begun_member(ensemble, work, recipe, rows, held_out, watcher)
    watcher.outputs = outputs_of(work.engine, begun[1].network, held_out)
    return Member(*begun, watcher)


def begun_member(
    ensemble: Any,
    work: Work,
    recipe: Recipe,
    rows: IndexArray,
    held_out: HeldOut | None,
    score: Score | None,
) -> tuple[Any, Work, Training]:
    """Return a draft of one network that knows the ensemble's data, and its training."""
    estimator = without_callbacks(draft_of(ensemble))
    vars(estimator).update(ALONE)
    for name in {*NOT_SHARED, *OF_PACKS} & vars(estimator).keys():
        delattr(estimator, name)
    vars(estimator).update(recipe)
    hidden = check_hidden_layer_sizes(estimator.hidden_layer_sizes)
    network = describe_network(estimator, work.X.shape[1], hidden, work.targets.heads)
    optimizer, schedule = optimizer_spec(estimator), schedule_of(estimator)
    own = replace(work, network=network, optimizer=optimizer, schedule=schedule)
    start, bounds = estimator._begin(own, work.X, resumes=False)
    batch_size = min(estimator.batch_size, len(rows))
    part = Part(rows, held_out, batch_size, None, None, score)
    return estimator, own, estimator._training(own, start, bounds, part)


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
