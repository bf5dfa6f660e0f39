"""Several networks of different seeds, fitted as one run: how they are trained and averaged."""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.utils import check_random_state

from skmlp._drafts import draft_of
from skmlp._fitted import check_prediction
from skmlp._held_out import HeldOut, Targets, Watched
from skmlp._hooks import CallsOfSeveral
from skmlp._members import (
    ALONE,
    HIDDEN_OF_ONE,
    NOT_SHARED,
    OF_ONE,
    OF_SEVERAL,
    SEEDS,
    drawn,
    networks_of,
)
from skmlp._networks import attributes_of
from skmlp._progress import draws_bar, progress_of
from skmlp._resuming import Start
from skmlp._sklearn_compat import without_callbacks
from skmlp._validation import check_X, is_true
from skmlp._warning import Remark
from skmlp._work import Part, RowsOfX, Training, Work
from skmlp.engines.base import Engine, IndexArray
from skmlp.network.parameters import FloatArray
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec
from skmlp.training.listening import EpochEnd, Listener, together
from skmlp.training.loop import train
from skmlp.training.stopping import StopReason

if TYPE_CHECKING:
    from skmlp._resumed import ResumedNetworks

# Computes the outputs of a network for the rows at hand.
Compute = Callable[[Trained], FloatArray]

# As scikit-learn's ensembles word it.
NOT_OUT_OF_BAG = (
    "Some inputs do not have OOB scores. This probably means too few estimators were used to "
    "compute any reliable oob estimates."
)


# What goes together


def check_bagging(estimator: Any) -> None:
    """Refuse to score rows that no network leaves out.

    Raises
    ------
    ValueError
        If `oob_score` without `bootstrap`.
    """
    bootstrap = estimator.bootstrap
    if is_true(estimator.oob_score) and isinstance(bootstrap, bool | np.bool_) and not bootstrap:
        raise ValueError(
            "Out of bag estimation only available if bootstrap=True: oob_score=True scores each "
            "sample by the networks that were not trained on it, but bootstrap=False. Set "
            "bootstrap=True, or oob_score=False."
        )


def check_combination(estimator: Any, *, incremental: bool) -> None:
    """Refuse what an ensemble cannot be asked for.

    Raises
    ------
    ValueError
        If a `partial_fit` is to draw samples.
    """
    if estimator.n_estimators > 1 and incremental and estimator.bootstrap:
        raise ValueError(
            "partial_fit does not go with bootstrap=True: the rows that a network leaves out of "
            "one batch do not tell what it leaves out of the next. Use bootstrap=False, or fit."
        )


# Fitting


class Seeds(NamedTuple):
    """What is drawn for a fit of several networks.

    Attributes
    ----------
    of_members : list of int
    random_state : RandomState
        Draws what they have in common: the rows held out.
    """

    of_members: list[int]
    random_state: np.random.RandomState


class Rows(NamedTuple):
    """What the networks of an ensemble are trained on, and watched by.

    Attributes
    ----------
    shared : ndarray of shape (n_train,)
        Numbers of the rows that are not held out.
    of_members : list of ndarray of shape (n_train,)
        Of these, what each network is given.
    held_out : HeldOut or None
    """

    shared: IndexArray
    of_members: list[IndexArray]
    held_out: HeldOut | None


def fit_members(ensemble: Any, work: Work, *, resumes: bool) -> Sequence[Remark]:
    """Fit the networks of an ensemble, on the draft of which this is called.

    Each of them is the estimator that a fit by itself would leave, of the same rows and with its
    seed as `random_state`.
    """
    seeds = seeds_of(ensemble)
    # A checkpoint says what the members of an earlier fit had learned.
    keeps = resumes and work.watched.resumed is None
    members = members_to_fit(ensemble, seeds.of_members, keeps=keeps)
    ensemble._drop((*OF_ONE, *HIDDEN_OF_ONE, *OF_SEVERAL))
    rows = rows_of(ensemble, work, members, seeds)
    fit = fit_together if work.optimizer is not None else fit_in_turn
    kept, remarks = fit(ensemble, work, members, rows, resumes)
    first = kept[0]
    ensemble.estimators_ = kept
    ensemble.n_iter_ = max(member.n_iter_ for member in kept)
    ensemble.loss_ = np.float64(np.mean([member.loss_ for member in kept]))
    ensemble._network = first._network
    vars(ensemble).update(attributes_of(first._network))
    ensemble._drop(("_custom",))
    if "_custom" in vars(first):
        ensemble._custom = first._custom
    is_whole = len(rows.shared) == len(work.targets.matrix)
    origin = len(rows.shared) if is_whole else rows.shared
    ensemble._drawn_from = bool(ensemble.bootstrap), origin
    if ensemble.oob_score:
        remarks = [*remarks, *score_out_of_bag(ensemble, work, rows)]
    return remarks


def seeds_of(ensemble: Any) -> Seeds:
    """Return the seeds of the members, drawn one by one as by scikit-learn's ensembles."""
    random_state = check_random_state(ensemble.random_state)
    seeds = [int(random_state.randint(SEEDS)) for _ in range(ensemble.n_estimators)]
    return Seeds(seeds, random_state)


def members_to_fit(ensemble: Any, seeds: list[int], *, keeps: bool) -> list[Any]:
    """Return the drafts of the members, with all that the ensemble knows of parameters and data.

    If it `keeps` the members that it has, these keep what they have learned, and their seeds.
    """
    template = without_callbacks(draft_of(ensemble))
    vars(template).update(ALONE)
    for name in NOT_SHARED & vars(template).keys():
        delattr(template, name)
    if keeps:
        return [like_template(draft_of(member), template) for member in ensemble.estimators_]
    own = [name for name, value in template.get_params(deep=False).items() if is_object(value)]
    members = []
    for seed in seeds:
        member = draft_of(template)
        member.random_state = seed
        for name in own:
            setattr(member, name, clone(getattr(template, name), safe=False))
        members.append(member)
    return members


def like_template(member: Any, template: Any) -> Any:
    """Give a member what the template has, but for its seed."""
    seed = member.random_state
    vars(member).update(vars(template))
    member.random_state = seed
    return member


def is_object(value: Any) -> bool:
    """Whether a parameter has parameters or entries to be set, so that each member needs a copy."""
    if isinstance(value, tuple):
        return any(map(is_object, value))
    return isinstance(value, dict | list) or hasattr(value, "get_params")


def rows_of(ensemble: Any, work: Work, members: list[Any], seeds: Seeds) -> Rows:
    """Return what each network is trained on.

    Raises
    ------
    ValueError
        If samples of one have no weight.
    """
    shared: IndexArray = np.arange(len(work.targets.matrix))
    held_out = None
    if ensemble.early_stopping and work.optimizer is not None:
        start = Start(np.empty(0, work.dtype), seeds.random_state, None, False)
        of_work = work.engine, work.network, work.data, start, work.targets, work.watched
        shared, held_out = ensemble._rows_to_watch(*of_work)
    if not ensemble.bootstrap:
        return Rows(shared, [shared] * len(members), held_out)
    of_members = [drawn(shared, member.random_state) for member in members]
    weight = work.targets.weight
    for number, own in enumerate(of_members):
        if weight is not None and not weight[own].any():
            raise ValueError(
                f"bootstrap=True has drawn for network {number} only samples whose weight is zero. "
                "Leave out samples without weight, or use bootstrap=False."
            )
    return Rows(shared, of_members, held_out)


def fit_together(
    ensemble: Any, work: Work, members: list[Any], rows: Rows, resumes: bool
) -> tuple[list[Any], Sequence[Remark]]:
    """Train all networks in one run; return those that have learned anything."""
    batch_size = ensemble._effective_batch_size(len(rows.shared))
    n_epochs = 1 if work.is_incremental else ensemble.max_iter
    trainings: list[Training] = []
    with progress_of(ensemble, n_epochs * len(members)) as progress:
        bar = None if progress is None else AllEpochs(progress)
        for number, (member, own) in enumerate(zip(members, rows.of_members, strict=True)):
            its = work_of_member(work, member, number)
            start, bounds = member._begin(its, its_X(work, own), resumes=resumes)
            if (resumed := resumed_of(work.watched)) is not None:
                resumed.check_split(number, own, rows.held_out)
            report = printer(ensemble, number)
            listener = together(member._calls(its, start, (own, rows.held_out)), bar)
            part = Part(own, rows.held_out, batch_size, report, listener)
            trainings.append(member._training(its, start, bounds, part))
        outcomes = train(work.engine, [training.trainer for training in trainings])
    remarks = []
    pairs = zip(trainings, outcomes, strict=True)
    for number, (training, outcome) in enumerate(pairs):
        member = members[number]
        with named(members, number):
            remarks.append(member._learned(work, training, outcome))
            member._end(work, outcome.parameters)
        close_calls(work, member, number)
    has_begun = [resumes or training.trainer.n_epochs > 0 for training in trainings]
    return with_remarks(members, has_begun, remarks)


def fit_in_turn(
    ensemble: Any, work: Work, members: list[Any], rows: Rows, resumes: bool
) -> tuple[list[Any], Sequence[Remark]]:
    """Fit one network after the other by L-BFGS; return those that have learned anything."""
    remarks: list[Sequence[Remark]] = []
    has_begun = [resumes] * len(members)
    for number, (member, own) in enumerate(zip(members, rows.of_members, strict=True)):
        some = own if ensemble.bootstrap else None
        its = work_of_member(work, member, number)
        start, bounds = member._begin(its, its_X(work, own), resumes=resumes)
        with named(members, number):
            report = printer(ensemble, number)
            parameters, own_remarks = member._fit_lbfgs(its, start, bounds, some, report)
            member._end(its, parameters)
        close_calls(work, member, number)
        remarks.append(own_remarks)
        is_interrupted = member.stop_reason_ == StopReason.INTERRUPTED.value
        has_begun[number] = resumes or not is_interrupted or member.n_iter_ > 0
        if is_interrupted:
            break
    return with_remarks(members, has_begun, remarks)


def work_of_member(work: Work, member: Any, number: int) -> Work:
    """Return what one network is to learn, with who is told of it, and its own checkpoint.

    The draft gets what that says of the fits before.
    """
    watched = work.watched
    calls = calls_of(watched)
    several = resumed_of(watched)
    resumed = None if several is None else several.of_network(number, member)
    its_calls = None if calls is None else calls.of_network(number)
    return replace(work, watched=replace(watched, calls=its_calls, resumed=resumed))


def calls_of(watched: Watched) -> CallsOfSeveral | None:
    return cast("CallsOfSeveral | None", watched.calls)


def resumed_of(watched: Watched) -> "ResumedNetworks | None":
    return cast("ResumedNetworks | None", watched.resumed)


def close_calls(work: Work, member: Any, number: int) -> None:
    """Say to callbacks that a network has been trained."""
    if (calls := calls_of(work.watched)) is not None:
        calls.close_network(number, member)


def its_X(work: Work, rows: IndexArray) -> Any:
    """Return the rows of X that a network is trained on, for initializers that look at them."""
    return RowsOfX(work.X, rows)


def printer(ensemble: Any, number: int) -> Callable[[str], None] | None:
    """Return what prints lines of progress of one network, if `verbose` asks for lines."""
    if not ensemble.verbose or draws_bar(ensemble):
        return None
    return lambda line: print(f"Network {number}: {line}")


@contextmanager
def named(members: list[Any], number: int) -> Iterator[None]:
    """Say in an error of which network it tells."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{error} That is network {number} of {len(members)}, the one with "
            f"random_state={members[number].random_state}."
        ) from error


class AllEpochs:
    """Tells a listener of the epochs of all networks, as if they were those of one.

    Parameters
    ----------
    listener : Listener
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._n_epochs = 0
        self._begun = time.monotonic()

    def begins(self) -> None:
        """Tell it that an epoch begins."""
        self._listener.begins()

    def ended(self, end: EpochEnd) -> bool:
        """Tell it that one more has ended."""
        self._n_epochs += 1
        seconds = time.monotonic() - self._begun
        return self._listener.ended(replace(end, number=self._n_epochs, seconds=seconds))


def with_remarks(
    members: list[Any], has_begun: list[bool], remarks: Sequence[Sequence[Remark]]
) -> tuple[list[Any], list[Remark]]:
    """Return the members that were trained, and what to warn of.

    If an interrupt came before the first epoch of any, they are those that the fit had got to, as
    of a single network.
    """
    combined = in_common(remarks, len(members))
    kept = [member for member, begun in zip(members, has_begun, strict=True) if begun]
    kept = kept or members[: len(remarks)]
    if len(kept) == len(members):
        return members, combined
    message = (
        f"{len(members) - len(kept)} of {len(members)} networks had not been trained yet when the "
        f"fit was interrupted: estimators_ has the other {len(kept)}."
    )
    return kept, [*combined, Remark(message, UserWarning)]


def in_common(remarks: Sequence[Sequence[Remark]], n_members: int) -> list[Remark]:
    """Return what to warn of after several fits: each kind of remark once.

    Those of one kind differ in numbers only, of epochs for instance.
    """
    kinds: dict[Any, list[Remark]] = {}
    for remark in (remark for own in remarks for remark in own):
        kind = remark.category, re.sub(r"[-+.\d]+(?:e[-+]?\d+)?", "#", remark.message)
        kinds.setdefault(kind, []).append(remark)
    combined = []
    for alike in kinds.values():
        first = alike[0]
        if len(alike) < n_members or any(remark != first for remark in alike):
            message = f"In {len(alike)} of {n_members} networks, one of which says: {first.message}"
            first = Remark(message, first.category)
        combined.append(first)
    return combined


# Averaging


class Moments(NamedTuple):
    """Means over networks, and how much these differ.

    Attributes
    ----------
    network : NetworkSpec
        The first one.
    mean : ndarray of shape (n_samples, n_outputs)
        In the precision of the networks.
    variance : ndarray of float64, shape (n_samples, n_outputs), or None
        Mean squared distance from the mean; None if nobody asked.
    """

    network: NetworkSpec
    mean: FloatArray
    variance: npt.NDArray[np.float64] | None


class Sums:
    """Sums up outputs, one network after the other, in double precision."""

    def __init__(self, *, spreads: bool) -> None:
        self._spreads = spreads
        self._count = 0

    def add(self, outputs: FloatArray, times: int = 1) -> None:
        """Add the outputs of one more network, which stands there so many times."""
        values = outputs.astype(np.float64)
        if self._count == 0:
            self._dtype, self._total = outputs.dtype, values.copy()
            self._middle, self._squares = values.copy(), np.zeros_like(values)
            self._count, times = 1, times - 1
        self._dtype = np.result_type(self._dtype, outputs.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(times):
                self._count += 1
                self._total += values
                if self._spreads:  # Welford (1962), which loses nothing where means are large
                    distance = values - self._middle
                    self._middle += distance / self._count
                    self._squares += distance * (values - self._middle)

    def moments(self, network: NetworkSpec) -> Moments:
        """Return what there is of all that were added."""
        with np.errstate(over="ignore"):
            mean = (self._total / self._count).astype(self._dtype)
        return Moments(network, mean, self._squares / self._count if self._spreads else None)


class Averaging(ABC):
    """Gives an estimator predictions that are means over its members."""

    _network: NetworkSpec

    @abstractmethod
    def _outputs_of(self, trained: Trained, X: Any) -> FloatArray:
        """Return what a network computes where this estimator predicts."""

    @abstractmethod
    def _final_outputs(self, trained: Trained, compute: Compute) -> FloatArray:
        """Return what the outputs of one network are to users: what is averaged."""

    @abstractmethod
    def _keep_out_of_bag(
        self, outputs: FloatArray, known: npt.NDArray[np.bool_], targets: Targets
    ) -> None:
        """Keep, and score, the means of outputs that are known of some samples."""

    def _averaged(self, X: Any, *, spreads: bool = False) -> Moments:
        """Return the means of the members' outputs, and how much these differ if asked."""
        members = networks_of(self)
        network = members[0][1].network
        X = check_X(self, X)
        if X.shape[1] != network.n_features:
            raise ValueError(
                f"The networks in estimators_ have {network.n_features} inputs, but X has "
                f"{X.shape[1]} features. Restore what was fitted, or fit again."
            )
        check_prediction(self)
        sums = Sums(spreads=spreads)
        for _, again in groupby(members, key=lambda pair: id(pair[0])):
            (member, trained), *others = again
            outputs = member._final_outputs(trained, lambda own: self._outputs_of(own, X))
            sums.add(outputs, 1 + len(others))
        return sums.moments(network)


def score_out_of_bag(ensemble: Any, work: Work, rows: Rows) -> list[Remark]:
    """Predict each sample by the networks that were not trained on it, and score that.

    Samples that are held out have a part in when networks stop, and are not predicted.
    """
    n_samples = len(work.targets.matrix)
    totals = np.zeros((n_samples, ensemble._network.n_outputs))
    counts = np.zeros(n_samples, dtype=int)
    is_trained_on = np.zeros(n_samples, dtype=bool)
    is_trained_on[rows.shared] = True
    for member, trained in networks_of(ensemble):
        is_out = is_trained_on.copy()
        is_out[drawn(rows.shared, member.random_state)] = False
        numbers = np.flatnonzero(is_out)
        if len(numbers):
            compute = computing(work.engine, work.data, numbers)
            totals[numbers] += member._final_outputs(trained, compute)
            counts[numbers] += 1
    known = counts > 0
    means = np.full_like(totals, np.nan)
    means[known] = totals[known] / counts[known, np.newaxis]
    ensemble._keep_out_of_bag(means, known, work.targets)
    return [] if known[rows.shared].all() else [Remark(NOT_OUT_OF_BAG, UserWarning)]


def computing(engine: Engine, data: Any, rows: IndexArray) -> Compute:
    """Return a function that computes the outputs of networks for some rows."""

    def compute(trained: Trained) -> FloatArray:
        network, coefs, intercepts, extras = trained
        return engine.predict(network, coefs, intercepts, data, rows, extras)

    return compute
