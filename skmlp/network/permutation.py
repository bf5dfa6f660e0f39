"""Orders of rows that any engine can compute, row by row, without memory.

A keyed bijection of ``0 .. n - 1`` takes the place of a shuffled list: whoever knows the key, the
epoch and a position knows the row there. The functions are plain arithmetic on integers and serve
Python integers, arrays of ``uint64`` and compiled kernels alike.

References
----------
Black & Rogaway (2002), "Ciphers with Arbitrary Finite Domains", CT-RSA (cycle walking over a
Feistel network). The mixing function is the 32-bit finalizer of MurmurHash3 (Appleby, 2011).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

# With fewer rounds, orders of few rows are visibly uneven.
ROUNDS = 10
MASK = 0xFFFFFFFF


def mix(word: Any) -> Any:
    """Scramble a 32-bit word; one to one."""
    word = ((word ^ (word >> 16)) * 0x85EBCA6B) & MASK
    word = ((word ^ (word >> 13)) * 0xC2B2AE35) & MASK
    return word ^ (word >> 16)


def bits_for(size: int) -> int:
    """Return the smallest b from 4 on such that ``2 ** b`` is at least `size`.

    A network of fewer bits has so few states that its orders are visibly uneven.
    """
    bits = 4
    while 1 << bits < size:
        bits += 1
    return bits


def epoch_word(key: int, epoch: int) -> Any:
    """Return what the rounds of an epoch's network are keyed by."""
    return mix((mix(key) + epoch * 0x9E3779B1) & MASK)


def encipher(value: Any, bits: int, word: Any) -> Any:
    """Permute ``0 .. 2 ** bits - 1`` by a Feistel network.

    Its rounds change the lower and the upper part in turn, which may differ by one bit.
    """
    low_bits = (bits + 1) // 2
    low_mask = (1 << low_bits) - 1
    high_mask = (1 << (bits - low_bits)) - 1
    high = value >> low_bits
    low = value & low_mask
    for step in range(ROUNDS // 2):
        low ^= mix(high ^ mix((word + step * 0x7F4A7C15) & MASK)) & low_mask
        high ^= mix(low ^ mix((word + step * 0x3C6EF372 + 0x1B873593) & MASK)) & high_mask
    return (high << low_bits) | low


def permuted(position: int, size: int, bits: int, key: int, epoch: int) -> int:
    """Return what stands at `position` in the epoch's order of ``0 .. size - 1``.

    `bits` is ``bits_for(size)``. Values outside are enciphered again until one lies inside.
    """
    word = epoch_word(key, epoch)
    value = encipher(position, bits, word)
    while value >= size:
        value = encipher(value, bits, word)
    return value


def permutation(size: int, key: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the epoch's whole order of ``0 .. size - 1``."""
    bits = bits_for(size)
    word = epoch_word(key, epoch)
    values = encipher(np.arange(size, dtype=np.uint64), bits, word)
    outside = np.flatnonzero(values >= size)
    while len(outside):
        values[outside] = encipher(values[outside], bits, word)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)
