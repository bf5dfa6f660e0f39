"""The order of the rows, epoch after epoch, and how a later fit takes it up again."""

import copy
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import IndexArray, KeyedOrders
from skmlp.training.generators import (
    check_count,
    fingerprint,
    generator_at,
    state_to_shuffle_from,
)

# More than any fit draws, and what integers of compiled code hold.
MAX_EPOCHS = 2**53


class Mark(NamedTuple):
    """Where the drawing of orders stood: the generator, the last order, and how many there were."""

    state: dict[str, Any]
    order: npt.NDArray[np.int64]
    drawn: int


class RowOrder:
    """Orders of `n_rows` rows, each a random permutation of the previous one.

    scikit-learn composes permutations in this way within a fit: it shuffles ``arange(n_rows)`` and
    takes the previous order in that order. To shuffle the previous order itself comes to the
    same, since what is swapped does not depend on the values. A fit that goes on where another
    ended needs the last order, which is as long as the data and has no place in a pickled model.
    So a pickle has only where the drawing began and how often it went on, and the order is drawn
    again when it is needed. That is right only while nothing else draws from the generator
    between; `can_go_on` tells.

    Parameters
    ----------
    n_rows : int
    random_state : RandomState
        The generator as it is before the first order is drawn.
    """

    def __init__(self, n_rows: int, random_state: np.random.RandomState) -> None:
        self.n_rows = n_rows
        self._start = state_to_shuffle_from(random_state)
        self._end = b""
        self._drawn = 0
        self._order: npt.NDArray[np.int64] | None = np.arange(n_rows)

    def draw(
        self, rows: IndexArray, n_epochs: int, random_state: np.random.RandomState
    ) -> IndexArray:
        """Return `rows` in the orders of the next epochs, shape (n_epochs, n_rows)."""
        order = self._draw_again() if self._order is None else self._order.copy()
        self._order = order
        orders = np.empty((n_epochs, self.n_rows), dtype=np.int64)
        for epoch in range(n_epochs):
            random_state.shuffle(order)
            self._drawn += 1
            orders[epoch] = order
        return rows[orders]

    def mark(self, random_state: np.random.RandomState) -> Mark:
        """Return where the drawing stands, to take back what is drawn from here on."""
        order = self._draw_again() if self._order is None else self._order
        return Mark(random_state.get_state(legacy=False), order, self._drawn)

    def take_back(self, unused: int, mark: Mark, random_state: np.random.RandomState) -> None:
        """Take back the last `unused` of the orders drawn since a mark, as if never drawn."""
        if not unused:
            return
        random_state.set_state(mark.state)
        self._order = mark.order.copy()
        self._drawn -= unused
        for _ in range(self._drawn - mark.drawn):
            random_state.shuffle(self._order)

    def rest(self, random_state: np.random.RandomState) -> None:
        """Remember where the generator stands at the end of a fit."""
        self._end = fingerprint(random_state)

    def can_go_on(self, n_rows: int, random_state: np.random.RandomState) -> bool:
        """Whether a fit of `n_rows` rows with this generator continues the last one."""
        return self.n_rows == n_rows and self._end == fingerprint(random_state)

    @property
    def is_drawn(self) -> bool:
        """Whether the last order is here, so that nothing has to be drawn again."""
        return self._order is not None

    def branch(self) -> "RowOrder":
        """Return a copy that goes on by itself.

        Raises
        ------
        ValueError
            If it holds no order of its rows, as after a pickle has been edited.
        """
        check_count("_drawn", self._drawn, MAX_EPOCHS)
        other = RowOrder.__new__(RowOrder)
        vars(other).update(vars(self))
        other._order = self._draw_again() if self._order is None else self._order
        check_permutation(other._order, self.n_rows)
        return other

    def as_plain(self, *, whole: bool = False) -> dict[str, Any]:
        """Return it as plain values.

        If it shall be `whole`, as for a file, the last order is among them, and a generator stands
        for its state. A new generator has a seed of its own, which has no place in a pickle.
        """
        return {
            "n_rows": self.n_rows,
            "start": generator_at(self._start) if whole else self._start,
            "end": self._end.hex(),
            "drawn": self._drawn,
            "order": self._order if whole else None,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "RowOrder":
        """Return what `as_plain` was called of; its values are looked at by `branch`."""
        order = cls.__new__(cls)
        order.n_rows, order._drawn = plain["n_rows"], plain["drawn"]
        start = plain["start"]
        order._start = start if isinstance(start, dict) else start.get_state(legacy=False)
        order._end, order._order = bytes.fromhex(plain["end"]), plain["order"]
        return order

    def _draw_again(self) -> npt.NDArray[np.int64]:
        random_state = generator_at(self._start)
        order = np.arange(self.n_rows)
        for _ in range(self._drawn):
            random_state.shuffle(order)
        return order


class KeyedRowOrder:
    """Orders of `n_rows` rows that an engine draws by itself, by `network.permutation`.

    One key is drawn for all epochs, and the number of an epoch is enough to know its order. So
    the generator stands still during a fit, and to go on takes the key and a count.

    Parameters
    ----------
    n_rows : int
    random_state : RandomState
        Draws the key, at once.
    """

    def __init__(self, n_rows: int, random_state: np.random.RandomState) -> None:
        self.n_rows = n_rows
        self._key = int(random_state.randint(2**32, dtype=np.int64))
        self._end = b""
        self._drawn = 0

    def draw(
        self, rows: IndexArray, n_epochs: int, random_state: np.random.RandomState
    ) -> KeyedOrders:
        """Return the orders of the next epochs; `random_state` is not used."""
        orders = KeyedOrders(rows, self._key, self._drawn, n_epochs)
        self._drawn += n_epochs
        return orders

    def mark(self, random_state: np.random.RandomState) -> Mark:
        """Return where the drawing stands, to take back what is drawn from here on."""
        return Mark({}, np.empty(0, dtype=np.int64), self._drawn)

    def take_back(self, unused: int, mark: Mark, random_state: np.random.RandomState) -> None:
        """Take back the last `unused` of the orders drawn since a mark, as if never drawn."""
        self._drawn -= unused

    def rest(self, random_state: np.random.RandomState) -> None:
        """Remember where the generator stands at the end of a fit."""
        self._end = fingerprint(random_state)

    def can_go_on(self, n_rows: int, random_state: np.random.RandomState) -> bool:
        """Whether a fit of `n_rows` rows with this generator continues the last one."""
        return self.n_rows == n_rows and self._end == fingerprint(random_state)

    def branch(self) -> "KeyedRowOrder":
        """Return a copy that goes on by itself.

        Raises
        ------
        ValueError
            If its key or count is none, as after a pickle has been edited.
        """
        check_count("_key", self._key, 2**32)
        check_count("_drawn", self._drawn, MAX_EPOCHS)
        return copy.copy(self)

    def as_plain(self, *, whole: bool = False) -> dict[str, Any]:
        """Return it as plain values: always all of it."""
        return {
            "n_rows": self.n_rows,
            "key": self._key,
            "end": self._end.hex(),
            "drawn": self._drawn,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "KeyedRowOrder":
        """Return what `as_plain` was called of; its values are looked at by `branch`."""
        order = cls.__new__(cls)
        order.n_rows, order._drawn, order._key = plain["n_rows"], plain["drawn"], plain["key"]
        order._end = bytes.fromhex(plain["end"])
        return order


AnyRowOrder = RowOrder | KeyedRowOrder


def order_from_plain(plain: dict[str, Any]) -> AnyRowOrder:
    """Return the row order of which `as_plain` gave this."""
    return (KeyedRowOrder if "key" in plain else RowOrder).from_plain(plain)


def check_permutation(order: Any, n_rows: int) -> None:
    is_array = isinstance(order, np.ndarray) and order.dtype == np.int64
    if not is_array or order.shape != (n_rows,) or order.min() < 0 or order.max() >= n_rows:
        raise ValueError(f"_order must hold the numbers of {n_rows} rows")
    if not np.bincount(order, minlength=n_rows).all():
        raise ValueError(f"_order must hold each of {n_rows} rows once")
