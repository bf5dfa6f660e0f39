"""The keyed permutation: one to one, even, another one in every epoch, the same however asked."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmlp.engines.base import EpochPlan, KeyedOrders
from skmlp.network import permutation as module
from skmlp.network.permutation import bits_for, permutation, permuted

KEYS = st.integers(0, 2**32 - 1)
EPOCHS = st.integers(0, 2**32 - 1)
# Around the powers of two and four, where the enciphered range changes or fits exactly.
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000, 4096, 4097, 2**17 + 1]


def is_permutation(order):
    return np.array_equal(np.sort(order), np.arange(len(order)))


@pytest.mark.parametrize("size", SIZES)
def test_every_row_comes_once_in_every_epoch(size):
    for key, epoch in itertools.product((0, 1, 2**32 - 1), (0, 1, 199, 2**31)):
        order = permutation(size, key, epoch)
        assert order.dtype == np.int64
        assert is_permutation(order)


@settings(deadline=None)
@given(st.integers(1, 500), KEYS, EPOCHS)
def test_every_row_comes_once_whatever_the_key(size, key, epoch):
    assert is_permutation(permutation(size, key, epoch))


@settings(deadline=None)
@given(st.integers(1, 10**9), KEYS, EPOCHS, st.data())
def test_one_position_alone_is_that_of_the_whole_order(size, key, epoch, data):
    """Python's integers give what arrays of uint64 give, which a kernel gives too."""
    position = data.draw(st.integers(0, size - 1))
    bits = bits_for(size)
    found = permuted(position, size, bits, key, epoch)
    assert 0 <= found < size
    assert found == permuted(np.array([position], np.uint64), size, bits, key, epoch)
    if size <= 300:
        assert found == permutation(size, key, epoch)[position]


@settings(deadline=None)
@given(st.integers(1, 2**40))
def test_the_enciphered_range_is_as_small_as_it_can_be(size):
    bits = bits_for(size)
    assert size <= 2**bits < max(17, 2 * size)


def test_epochs_and_keys_have_orders_of_their_own():
    drawn = {tuple(permutation(50, key, epoch)) for key in range(20) for epoch in range(50)}
    assert len(drawn) == 1000


def probability_of(observed):
    """Return that of counts at least as uneven as these, if all are equally likely."""
    return scipy.stats.chisquare(np.ravel(observed)).pvalue


def permutations(size, keys, n_epochs):
    """Return the orders of all keys and epochs at once, shape (n_keys * n_epochs, size)."""
    epochs = np.arange(n_epochs, dtype=np.uint64)
    words = module.epoch_word(keys.astype(np.uint64)[:, np.newaxis], epochs).reshape(-1, 1)
    bits = bits_for(size)
    values = np.tile(np.arange(size, dtype=np.uint64), (len(words), 1))
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        enciphered = module.encipher(values.copy(), bits, words)
        values = np.where(outside, enciphered, values)
        outside = values >= size
    return values.astype(np.int64)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 9, 17, 20, 33, 65])
def test_orders_are_even(size):
    """Each row stands at each place equally often, and for few rows each order comes as often."""
    keys = np.random.RandomState(1).randint(2**32, size=40, dtype=np.int64)
    orders = permutations(size, keys, 100)
    assert_array_equal(orders[207], permutation(size, int(keys[2]), 7))
    counts = np.array([np.bincount(column, minlength=size) for column in orders.T])
    expected = len(orders) / size
    # Rows and columns of the counts have known sums, which leaves (size - 1) ** 2 to chance.
    statistic = ((counts - expected) ** 2).sum() / expected * (size - 1) / size
    assert scipy.stats.chi2.sf(statistic, (size - 1) ** 2) > 1e-3
    if size <= 5:
        _, each = np.unique(orders, axis=0, return_counts=True)
        assert len(each) == np.prod(np.arange(1, size + 1)), "an order never came"
        assert probability_of(each) > 1e-3


def test_an_uneven_permutation_would_be_noticed(monkeypatch):
    monkeypatch.setattr(module, "ROUNDS", 4)
    with pytest.raises(AssertionError):
        test_orders_are_even(5)


def test_rows_that_follow_each_other_do_not_tell_of_each_other():
    """The next row of an order, seen from the last one, is any of the others equally often."""
    size = 8
    steps = np.concatenate(
        [np.diff(permutation(size, key, epoch)) % size for key in range(40) for epoch in range(50)]
    )
    assert probability_of(np.bincount(steps, minlength=size)[1:]) > 1e-3


def test_keyed_orders_are_permutations_of_the_rows():
    rows = np.array([3, 1, 4, 15, 9, 2, 6])
    orders = KeyedOrders(rows, key=7, first_epoch=5, n_epochs=3)
    explicit = EpochPlan(orders, 0.1).explicit_orders()
    assert explicit.shape == orders.shape == (3, 7)
    for epoch, order in enumerate(explicit, start=5):
        assert_array_equal(order, rows[permutation(7, 7, epoch)])
    given_as_array = EpochPlan(explicit, 0.1)
    assert given_as_array.explicit_orders() is explicit
