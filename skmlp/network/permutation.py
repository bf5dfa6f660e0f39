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

# With fewer rounds, orders of less than ten rows are visibly uneven.
ROUNDS = 10
MASK = 0xFFFFFFFF


def mix(word: Any) -> Any:
    """Scramble a 32-bit word; one to one."""
    word = ((word ^ (word >> 16)) * 0x85EBCA6B) & MASK
    word = ((word ^ (word >> 13)) * 0xC2B2AE35) & MASK
    return word ^ (word >> 16)


def half_bits(size: int) -> int:
    """Return h such that ``4 ** h`` is at least `size`, and less than four times as large."""
    half = 0
    while 1 << (2 * half) < size:
        half += 1
    return half


def encipher(value: Any, half: int, key: int, epoch: int) -> Any:
    """Permute ``0 .. 4 ** half - 1`` by a Feistel network keyed by (key, epoch)."""
    low_mask = (1 << half) - 1
    left = value >> half
    right = value & low_mask
    word = mix((key ^ ((epoch * 0x9E3779B1) & MASK)) & MASK)
    for _ in range(ROUNDS):
        word = mix((word + 0x7F4A7C15) & MASK)
        mixed = mix((right ^ word) & MASK) & low_mask
        left, right = right, left ^ mixed
    return (left << half) | right


def permuted(position: int, size: int, half: int, key: int, epoch: int) -> int:
    """Return what stands at `position` in the epoch's order of ``0 .. size - 1``.

    `half` is ``half_bits(size)``. Values outside are enciphered again until one lies inside,
    four times on average at most.
    """
    value = encipher(position, half, key, epoch)
    while value >= size:
        value = encipher(value, half, key, epoch)
    return value


def permutation(size: int, key: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the epoch's whole order of ``0 .. size - 1``."""
    half = half_bits(size)
    values = encipher(np.arange(size, dtype=np.uint64), half, key, epoch)
    outside = np.flatnonzero(values >= size)
    while len(outside):
        values[outside] = encipher(values[outside], half, key, epoch)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)
