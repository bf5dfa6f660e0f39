"""What an ensemble keeps: its members, fitted networks of which each predicts by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._fitted import is_ensemble, shown, trained_network
from skmlp.network.parts import Trained
from skmlp.network.specs import NetworkSpec
from skmlp.training.generators import seeded

# Attributes of one network that several have no single value of.
OF_ONE = (
    "coefs_",
    "intercepts_",
    "t_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "validation_loss_curve_",
    "stop_reason_",
    "temperature_",
)
HIDDEN_OF_ONE = ("_extras", "_history", "_state", "_trained")
# Attributes that no single network has.
OF_SEVERAL = (
    "estimators_",
    "oob_decision_function_",
    "oob_prediction_",
    "oob_score_",
    "_drawn_from",
)
# What a member has of its own, or no need of: all else is shared.
NOT_SHARED = {
    *OF_ONE,
    *HIDDEN_OF_ONE,
    *OF_SEVERAL,
    *("_custom", "_network", "loss_", "n_iter_", "n_layers_", "n_outputs_", "out_activation_"),
} - {"temperature_"}
# Parameters that make a single network.
ALONE = {"n_estimators": 1, "bootstrap": False, "oob_score": False}
# What each member's seed is below, as in scikit-learn's ensembles.
SEEDS = np.iinfo(np.int32).max


class OfOne:
    """An attribute that an ensemble lacks: says who has it. Whatever is assigned comes first."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, estimator: Any, owner: type) -> Any:
        if estimator is None:
            return self
        if is_ensemble(estimator):
            raise AttributeError(lacking(estimator, self._name))
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self._name!r}")


def lacking(estimator: Any, name: str) -> str:
    """Return what to say of an attribute that each of several networks has."""
    return (
        f"This {type(estimator).__name__} is an ensemble, whose networks have each a {name} of its "
        f"own. Ask one of them, as in estimators_[0].{name}."
    )


class SamplesOfMembers(Sequence[npt.NDArray[np.intp]]):
    """The numbers of the rows that each member was trained on, drawn again when asked for.

    Parameters
    ----------
    seeds : list of int
        Those of the members.
    rows : ndarray of shape (n_rows,)
        What was drawn from.
    is_drawn : bool
        Whether rows were drawn, or all of them trained on.
    """

    def __init__(self, seeds: list[Any], rows: npt.NDArray[np.intp], *, is_drawn: bool) -> None:
        self._seeds, self._rows, self._is_drawn = seeds, rows, is_drawn

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        seed = self._seeds[index]
        return drawn(self._rows, seed) if self._is_drawn else self._rows.copy()


class WithMembers:
    """Gives an estimator the attributes that tell of its members."""

    estimators_: list[Any]
    _drawn_from: tuple[bool, Any]

    @property
    def estimators_samples_(self) -> Sequence[npt.NDArray[np.intp]]:
        """The numbers of the rows that each member of an ensemble was trained on."""
        if "_drawn_from" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__} has no estimators_samples_: no ensemble was fitted here. "
                "Call fit with n_estimators above 1; files of models do not keep them."
            )
        is_drawn, rows = self._drawn_from
        seeds = [member.random_state for member in members_of(self)]
        rows = np.arange(rows) if np.ndim(rows) == 0 else rows
        return SamplesOfMembers(seeds, rows, is_drawn=is_drawn)


for _name in OF_ONE:
    _attribute = OfOne()
    _attribute.__set_name__(WithMembers, _name)
    setattr(WithMembers, _name, _attribute)


def drawn(rows: npt.NDArray[np.intp], seed: Any) -> npt.NDArray[np.intp]:
    """Return as many of some rows, drawn with replacement as scikit-learn's forests draw them."""
    return rows[seeded(seed).randint(0, len(rows), len(rows), dtype=np.int64)]


def members_of(estimator: Any) -> list[Any]:
    """Return the members of an ensemble; of a single network that itself.

    Raises
    ------
    ValueError
        If users have replaced them by what are none.
    """
    if not is_ensemble(estimator):
        return [estimator]
    members = estimator.estimators_
    is_list = isinstance(members, list | tuple) and len(members) > 0
    for member in members if is_list else [None]:
        if type(member) is not type(estimator) or is_ensemble(member):
            raise ValueError(
                f"estimators_ must be a list of fitted {type(estimator).__name__} with a network "
                f"each, but is {shown(members)} with {shown(member)}. Restore what was fitted, or "
                "fit again."
            )
    return list(members)


def networks_of(estimator: Any) -> list[tuple[Any, Trained]]:
    """Return each member of an ensemble with its network; of a single network that itself.

    Raises
    ------
    ValueError
        If they do not have the same inputs and outputs.
    """
    found: list[tuple[Any, Trained]] = []
    for member in members_of(estimator):
        # One that counts several times stands there as often, and is looked at once.
        is_again = bool(found) and found[-1][0] is member
        found.append(found[-1] if is_again else (member, trained_network(member)))
    first, last = ends_of(found[0][1].network), found[0][1]
    for number, (_, trained) in enumerate(found):
        if trained is last:
            continue
        ends, last = ends_of(trained.network), trained
        if ends != first:
            raise ValueError(
                f"estimators_[{number}] has {ends[0]} inputs and the outputs {ends[1]}, but "
                f"estimators_[0] {first[0]} and {first[1]}. Restore what was fitted, or fit "
                "again."
            )
    return found


def ends_of(network: NetworkSpec) -> tuple[int, Sequence[Any]]:
    """Return what networks must have in common whose outputs are averaged."""
    heads = [(head.units, head.link, head.loss.name, head.target_columns) for head in network.heads]
    return network.n_features, heads


def check_members_resumable(estimator: Any) -> None:
    """Refuse to go on with other networks than there are.

    Raises
    ------
    ValueError
        If their number is another one, or one of them is not what a fit leaves.
    """
    members = members_of(estimator)
    if is_ensemble(estimator) != (estimator.n_estimators > 1) or (
        len(members) != estimator.n_estimators
    ):
        raise ValueError(
            f"Cannot resume: n_estimators={estimator.n_estimators}, but the fit before has left "
            f"{len(members)} {'network' if len(members) == 1 else 'networks'}. Set n_estimators="
            f"{len(members)}, or fit a clone of the estimator."
        )
    for member in members:
        member._check_resumable()
