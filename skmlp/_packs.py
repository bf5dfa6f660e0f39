"""Networks that are trained side by side, and the ensemble that is chosen of them."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp._drafts import draft_of
from skmlp._endings import OVERFLOWED, interrupted_remark
from skmlp._held_out import HeldOut, Score, outputs_of
from skmlp._members import ALONE, NOT_SHARED
from skmlp._networks import attributes_of, describe_network
from skmlp._presets import Recipe
from skmlp._selection import Candidate, Criterion, LogLoss, Scored, Selection, SquaredError
from skmlp._sklearn_compat import without_callbacks
from skmlp._solvers import optimizer_spec, schedule_of
from skmlp._validation import check_hidden_layer_sizes
from skmlp._warning import Remark
from skmlp._work import Part, Training, Work
from skmlp.engines.base import IndexArray, Run
from skmlp.network.members import vector_alone
from skmlp.network.parameters import FloatArray
from skmlp.network.specs import Members
from skmlp.training.listening import Listener
from skmlp.training.loop import Outcome
from skmlp.training.rounds import train_in_rounds
from skmlp.training.stopping import StopReason

# Attributes of an ensemble's draft that its networks do not have.
OF_PACKS = ("_learner",)


@dataclass
class Course:
    """How the training of a pack goes on, and what it has come to.

    Attributes
    ----------
    recipes : list of Recipe
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
    say : callable or None
        Receives lines of progress.
    shortlist : callable or None
        ``shortlist(round, n_members)``: how many members go on after so many rounds, those with
        the lowest losses; those that have ended count too. None for all.
    shares : Members or None
        How networks share the weights of the one that there is a recipe of.
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
    stop_reason : StopReason
        Why the training ended.
    """

    recipes: list[Recipe]
    patience: int
    most_picks: int
    deadline: float | None = None
    scorer: Callable[[FloatArray], float] | None = None
    say: Callable[[str], None] | None = None
    shortlist: Callable[[int, int], int] | None = None
    shares: Members | None = None
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_networks: list[int] = field(default_factory=list)
    report: list[dict[str, Any]] = field(default_factory=list)
    chosen: "list[Pick]" = field(default_factory=list)
    stop_reason: StopReason = StopReason.PATIENCE


class Pick(NamedTuple):
    """A network that was chosen.

    Attributes
    ----------
    member : int
        The number of its recipe.
    n_epochs : int
        After how many epochs.
    times : int
        How often.
    part : int or None
        Which of those that share its weights.
    """

    member: int
    n_epochs: int
    times: int
    part: int | None = None


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
    held_out = held_out_of(work)
    criterion = criterion_of(work, held_out)
    members = [
        make_member(ensemble, work, recipe, rows, held_out, criterion, course.shares)
        for recipe in course.recipes
    ]
    # Those that share weights count all together, as long as they are trained.
    selection = Selection(criterion, 1 if course.shares is not None else course.most_picks)
    conductor = Conductor(members, selection, course, began)
    trainers = [member.training.trainer for member in members]
    outcomes = train_in_rounds(work.engine, trainers, conductor.choose, conductor.look)
    course.stop_reason = conductor.stop_reason
    if course.stop_reason is StopReason.INTERRUPTED and not selection.chosen:
        raise KeyboardInterrupt
    if not selection.chosen:
        raise ValueError(f"{OVERFLOWED} No network has learned anything.")
    for member, outcome in zip(members, outcomes, strict=True):
        if member.training.trainer.n_epochs:
            member.estimator._remember(member.training.trainer, outcome)
    best = best_of_each(members, outcomes)
    if course.shares is not None:
        members, selection = taken_apart(members[0], selection, held_out, course.most_picks)
        best = []
    if course.scorer is not None:
        selection = chosen_by_score(selection, members, best, held_out, course)
    chosen = sorted(selection.chosen.items(), key=lambda item: (item[0].member, item[0].epoch))
    course.chosen = [
        Pick(one.member, one.epoch, count)
        if course.shares is None
        else Pick(0, one.epoch, count, one.member)
        for one, count in chosen
    ]
    course.report = report_of(members, selection)
    networks = [
        finished(members[one.member].estimator, members[one.member].work, one.epoch, one.parameters)
        for one, _ in chosen
    ]
    take_networks(ensemble, networks, course, len(rows))
    if course.stop_reason is StopReason.INTERRUPTED:
        return [interrupted_remark(len(course.losses))]
    return []


def take_networks(ensemble: Any, networks: Sequence[Any], course: Course, n_rows: int) -> None:
    """Make the members of an ensemble of the networks that were chosen."""
    pairs = zip(networks, course.chosen, strict=True)
    ensemble.estimators_ = [network for network, pick in pairs for _ in range(pick.times)]
    first = networks[0]
    ensemble.n_iter_ = max(network.n_iter_ for network in networks)
    ensemble._network = first._network
    vars(ensemble).update(attributes_of(first._network))
    ensemble.loss_ = np.float64(course.losses[-1])
    ensemble._drawn_from = False, n_rows


def taken_apart(
    member: "Member", selection: Selection, held_out: HeldOut, most_picks: int
) -> "tuple[list[Member], Selection]":
    """Return each of the networks that share weights by itself, and all of them as chosen.

    They are what they were when they were best together.
    """
    [together] = selection.chosen
    parts, chosen = [], Counter[Candidate]()
    for number in range(member.work.network.n_members):
        plain, parameters = vector_alone(member.work.network, together.parameters, number)
        work, watcher = replace(member.work, network=plain), Watcher(selection.criterion)
        watcher.outputs = outputs_of(work.engine, plain, held_out)
        watcher(parameters)
        assert watcher.relevant is not None  # or the mean would not be finite
        parts.append(member._replace(work=work, watcher=watcher))
        chosen[Candidate(number, together.epoch, parameters, watcher.relevant)] = 1
    apart = Selection(selection.criterion, most_picks)
    apart.begin_with(chosen)
    return parts, apart


class Best(NamedTuple):
    """A network as it was when it was best.

    Attributes
    ----------
    member : int
    epoch : int
    parameters : ndarray of shape (n_parameters,)
    """

    member: int
    epoch: int
    parameters: FloatArray


def best_of_each(members: "Sequence[Member]", outcomes: Sequence[Outcome]) -> list[Best]:
    """Return what networks were when each of them was best, if it ever was."""
    found = []
    for index, (member, outcome) in enumerate(zip(members, outcomes, strict=True)):
        trainer = member.training.trainer
        if trainer.best is not None:
            epoch = int(np.nanargmax(trainer.history.validation_scores)) + 1
            found.append(Best(index, epoch, outcome.parameters))
    return found


def chosen_by_score(
    selection: Selection,
    members: "Sequence[Member]",
    best: Sequence[Best],
    held_out: HeldOut,
    course: Course,
) -> Selection:
    """Choose by a score, of the ensemble so far and what each network was at its best."""
    assert course.scorer is not None
    by_score = Selection(Scored(course.scorer), course.most_picks)

    def candidate(index: int, epoch: int, parameters: FloatArray) -> Candidate:
        own = members[index].work
        outputs = outputs_of(own.engine, own.network, held_out)(parameters)
        return Candidate(index, epoch, parameters, outputs.astype(np.float64))

    # The ensemble so far stays what it is unless there is a better one.
    present = {
        candidate(one.member, one.epoch, one.parameters): times
        for one, times in selection.chosen.items()
    }
    by_score.begin_with(Counter(present))
    by_score.consider([candidate(*one) for one in best])
    return by_score


def held_out_of(work: Work) -> HeldOut:
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
    shares: Members | None,
) -> Member:
    """Return one network about to be trained, and watched."""
    watcher = Watcher(criterion)
    begun = begun_member(ensemble, work, recipe, rows, held_out, watcher, None, shares)
    watcher.outputs = outputs_of(work.engine, begun[1].network, held_out)
    return Member(*begun, watcher)


def begun_member(
    ensemble: Any,
    work: Work,
    recipe: Recipe,
    rows: IndexArray,
    held_out: HeldOut | None,
    score: Score | None,
    listener: Listener | None,
    shares: Members | None,
) -> tuple[Any, Work, Training]:
    """Return a draft of one network that knows the ensemble's data, and its training."""
    estimator = without_callbacks(draft_of(ensemble))
    vars(estimator).update(ALONE)
    for name in {*NOT_SHARED, *OF_PACKS} & vars(estimator).keys():
        delattr(estimator, name)
    vars(estimator).update(recipe)
    hidden = check_hidden_layer_sizes(estimator.hidden_layer_sizes)
    network = describe_network(estimator, work.X.shape[1], hidden, work.targets.heads)
    if shares is not None:
        network = replace(network, inputs=replace(network.inputs, scaled=True), members=shares)
    optimizer, schedule = optimizer_spec(estimator), schedule_of(estimator)
    own = replace(work, network=network, optimizer=optimizer, schedule=schedule)
    start, bounds = estimator._begin(own, work.X, resumes=False)
    batch_size = min(estimator.batch_size, len(rows))
    part = Part(rows, held_out, batch_size, None, listener, score)
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
        self._is_late = False
        self._last: Sequence[int] = ()
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
            wanted = chosen
            chosen = self._in_time(chosen, course.deadline - now)
            self._is_late = len(chosen) < len(wanted)
        self._round_began = now
        return chosen

    @property
    def stop_reason(self) -> StopReason:
        """Why all have ended."""
        trainers = [member.training.trainer for member in self._members]
        if any(trainer.interrupted for trainer in trainers):
            return StopReason.INTERRUPTED
        if self._is_late:
            return StopReason.MAX_TIME
        reached = any(trainer.stop_reason is StopReason.MAX_ITER for trainer in trainers)
        return StopReason.MAX_ITER if reached else StopReason.PATIENCE

    def _loss_of(self, index: int) -> float:
        return self._members[index].watcher.loss

    def _in_time(self, chosen: Sequence[int], left: float) -> Sequence[int]:
        """Return the best of those chosen whose next epochs end in so many seconds.

        An epoch takes as long as those before; all of them together as long as the last round,
        in which they shared the cores.
        """

        def seconds(index: int) -> float:
            return self._members[index].training.trainer.mean_seconds

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
        count = 1 if course.shares is None else course.shares.count
        course.n_networks.append(count * len(self._selection.chosen))
        if course.say is not None:
            course.say(
                f"Round {len(course.losses)}, {count * len(numbers)} networks trained: loss = "
                f"{course.losses[-1]:.6f} of {course.n_networks[-1]} that were chosen"
            )


def finished(estimator: Any, work: Work, n_epochs: int, parameters: FloatArray) -> Any:
    """Return an estimator with a network as it was after some epoch, and what it knew then.

    What a later fit would go on from belongs to the last epoch, and is left out.
    """
    network = draft_of(estimator)
    network.n_iter_ = n_epochs
    for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_"):
        if (curve := getattr(network, name, None)) is not None:
            setattr(network, name, curve[:n_epochs])
    network.loss_ = np.float64(network.loss_curve_[-1])
    network._drop(("_history", "_state"))
    network._end(work, parameters)
    return network


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
