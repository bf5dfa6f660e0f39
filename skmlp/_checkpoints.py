"""Checkpoints: how files of a fit under way are written, and found again.

A file says what it was written by: parameters in words, data by digests. So whoever goes on brings
both along, and nothing but numbers is read.
"""

import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp._described import CannotBeTold, parameters_in_words
from skmlp._fitted import check_state
from skmlp._held_out import Data
from skmlp._hooks import Calls, CallsOfSeveral, path_of_network
from skmlp._plain_values import Decoder, Encoder
from skmlp._resumed import (
    LOGGER,
    Resumed,
    ResumedNetworks,
    attributes_of,
    network_as_text,
    nothing_sound,
    records_of,
)
from skmlp._resuming import Start
from skmlp._saving import UNSOUND, version_of_skmlp
from skmlp._solvers import uses_lbfgs
from skmlp._tensor_file import (
    CHECKPOINT,
    FileProblem,
    TensorFile,
    open_tensors,
    strictly_parsed,
    write_tensors,
)
from skmlp.engines.base import IndexArray
from skmlp.network.specs import NetworkSpec
from skmlp.training.state import TrainerState, UnderWay, as_plain, from_plain

# Writing


class Snapshots:
    """Writes checkpoints of one fit.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The draft that is fitted.
    network : NetworkSpec
    dtype : str
    data : Data
    start : Start
    split : tuple of two arrays, or None
        Numbers of the rows to train on and to watch, if rows of X are watched.
    """

    def __init__(
        self,
        estimator: Any,
        network: NetworkSpec,
        dtype: str,
        data: Data,
        start: Start,
        split: tuple[IndexArray, IndexArray] | None,
    ) -> None:
        self._estimator, self._network, self._dtype, self._data = estimator, network, dtype, data
        self._connection_seed = estimator._state.connection_seed
        self._before = records_of(estimator) if start.resumes else None
        self._split = (None, None) if split is None else tuple(map(numbers_of, split))
        self._origin: dict[str, str] | None = None
        # As they are now: functions may carry something on from epoch to epoch. What cannot be told
        # has been refused where somebody wants to write.
        with suppress(CannotBeTold):
            self._parameters = parameters_in_words(estimator)

    def write(self, state: TrainerState, path: Path, keep: int) -> None:
        """Write where the fit stands; the last `keep` files stay.

        They are renamed once the new one is on the disk, and the oldest is lost only by that.
        """
        fit = state.fit
        assert fit is not None
        rows, held_out = self._split
        fit = replace(fit, rows=rows, held_out=held_out, before=self._before)
        state = replace(state, connection_seed=self._connection_seed, fit=fit)
        if self._origin is None:
            about = self._network, self._dtype, self._data
            self._origin = origin_of(self._estimator, self._parameters, *about)
        encoder = Encoder()
        text = json.dumps(encoder.encode(as_plain(state), "state"), allow_nan=False)
        metadata = {**self._origin, "state": text}
        write_tensors(
            path, CHECKPOINT, encoder.tensors, metadata, make_room=lambda: rotate(path, keep)
        )


def numbers_of(rows: IndexArray) -> npt.NDArray[np.int64]:
    return np.asarray(rows, dtype=np.int64)


def origin_of(
    estimator: Any, parameters: dict[str, str], network: NetworkSpec, dtype: str, data: Data
) -> dict[str, str]:
    """Return what a checkpoint says of the fit that writes it."""
    texts: dict[str, Any] = {
        "parameters": parameters,
        "attributes": attributes_of(estimator, dtype),
        "data": data.digests,
    }
    origin = {name: json.dumps(value) for name, value in texts.items()}
    return {
        "skmlp": version_of_skmlp(),
        "estimator": type(estimator).__name__,
        "network": network_as_text(network),
        **origin,
    }


def rotate(path: Path, keep: int) -> None:
    """Rename the files of a path so that it is free: each gets the number after its own."""
    names = [path, *(numbered(path, number) for number in range(1, keep))]
    # Behind a gap nothing has to move.
    last = next((n for n, name in enumerate(names) if not name.exists()), keep - 1)
    for number in range(last, 0, -1):
        with suppress(FileNotFoundError):  # another process may rotate the same ones
            os.replace(names[number - 1], names[number])


def numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


# Reading


def checkpoint_for(
    estimator: Any, path: Any, calls: Calls | CallsOfSeveral | None
) -> Resumed | ResumedNetworks | None:
    """Return the fit that one of an estimator with its parameters goes on from, if there is one.

    Of several networks each has a file of its own, and its own parameters, which are looked at when
    there is a draft of it.

    Raises
    ------
    ValueError
        If it cannot go on from what there is.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"resume_from must be a path, or None, got {path!r}. Give that of a file.")
    if uses_lbfgs(estimator):
        raise ValueError(
            f"resume_from={os.fspath(path)!r} does not go with solver='lbfgs', whose memory of "
            "steps nobody can store. Use another solver, or leave resume_from out."
        )
    path = Path(path)
    if estimator.n_estimators > 1:
        names = [path_of_one(path, number, calls) for number in range(estimator.n_estimators)]
        several = tuple(newest_at(name) for name in names)
        if any(several):
            return ResumedNetworks(several)
        say_there_is_none(names[0].with_name(f"{path.stem}.*{path.suffix}"))
        return None
    assert not isinstance(calls, CallsOfSeveral)
    found = checkpoint_at(path if calls is None else calls.path_of(path))
    if found is not None:
        found.check_parameters(estimator)
    return found


def path_of_one(path: Path, number: int, calls: Calls | CallsOfSeveral | None) -> Path:
    """Return where the checkpoint of one network among several is."""
    if not isinstance(calls, CallsOfSeveral):
        return path_of_network(path, number)
    return calls.of_network(number).path_of(path)


def checkpoint_at(path: Path) -> Resumed | None:
    """Read the newest checkpoint of a path that is whole; if there is none at all, say so.

    Raises
    ------
    FileProblem
        If there are some, but none is whole.
    """
    found = newest_at(path)
    if found is None:
        say_there_is_none(path)
    return found


def say_there_is_none(path: Path) -> None:
    LOGGER.warning("No checkpoint at %r yet: the fit starts from the beginning.", os.fspath(path))


def newest_at(path: Path) -> Resumed | None:
    """Read the newest checkpoint of a path that is whole; None if there is none at all.

    Raises
    ------
    FileProblem
        If there are some, but none is whole.
    """
    problems: list[FileProblem] = []
    for name in names_at(path):
        try:
            found = read_checkpoint(name)
        except FileNotFoundError:  # it has been renamed since
            continue
        except FileProblem as problem:
            problems.append(problem)
            continue
        except OSError as error:  # a bad block, for instance
            problems.append(FileProblem.of(name, f"cannot be read: {error}."))
            continue
        for damage in problems:
            LOGGER.warning("%s The fit goes on from %r instead.", damage, os.fspath(name))
        return found
    if problems:
        raise problems[0]
    return None


def names_at(path: Path) -> list[Path]:
    """Return the files of a path, the newest first."""
    pattern = re.compile(rf"{re.escape(path.name)}\.([0-9]{{1,9}})")
    numbers = []
    with suppress(FileNotFoundError), os.scandir(path.parent) as entries:
        numbers = [int(found[1]) for entry in entries if (found := pattern.fullmatch(entry.name))]
    return [name for name in (path, *(numbered(path, n) for n in sorted(numbers))) if name.exists()]


def read_checkpoint(path: Path) -> Resumed:
    with open_tensors(path, CHECKPOINT) as file:
        try:
            return resumed_in(file)
        except FileProblem:
            raise
        except UNSOUND as error:
            raise nothing_sound(path, error) from error


def resumed_in(file: TensorFile) -> Resumed:
    """Return the fit that a file holds.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, RecursionError
        If there is none.
    """
    decoder = Decoder(file.read)
    state = from_plain(decoder.decode(strictly_parsed(file.metadata["state"])))
    if unread := file.entries.keys() - decoder.used:
        raise ValueError(f"nothing refers to the arrays {sorted(unread)}")
    if type(state.fit) is not UnderWay:
        raise ValueError("it holds no fit")
    check_state(replace(state, fit=None))
    return Resumed(
        Path(file.path),
        estimator=file.metadata["estimator"],
        skmlp=file.metadata["skmlp"],
        network=file.metadata["network"],
        parameters=texts_in(file, "parameters"),
        attributes=texts_in(file, "attributes"),
        data=texts_in(file, "data"),
        state=state,
        fit=state.fit,
    )


def texts_in(file: TensorFile, name: str) -> dict[str, str]:
    said = strictly_parsed(file.metadata[name])
    if not isinstance(said, dict) or not all(isinstance(text, str) for text in said.values()):
        raise ValueError(f"{name} are no texts")
    return said
