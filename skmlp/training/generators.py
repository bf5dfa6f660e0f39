"""Generators of random numbers: made, copied, told apart, and brought to where others stand.

Most of them are Mersenne Twisters, whose 624 words NumPy takes out and puts in one by one. That
takes longer than all else that a small fit does with them, so it is gone round where it can be.
"""

import copy
import ctypes
import hashlib
from functools import cache
from numbers import Integral
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

KINDS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
# One more than the largest whole numbers in their states; others are words of 128 bits.
LIMITS = {"pos": 625, "buffer_pos": 5, "has_gauss": 2, "has_uint32": 2, "uinteger": 2**32}
# A Mersenne Twister in memory: its words, and where it stands among them.
N_WORDS = 624
KEY_BYTES = 4 * N_WORDS
STATE_BYTES = KEY_BYTES + ctypes.sizeof(ctypes.c_int)
ZEROS = (0,) * N_WORDS


class _NoSeed(ISeedSequence):
    """Stands in for a seed where the state is set afterwards: drawing one takes a while."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:
        # NumPy looks at each word by itself, which of an array takes much longer.
        return ZEROS[:n_words]


def unseeded() -> np.random.RandomState:
    """Return a generator whose state is to be set."""
    no_seed: Any = _NoSeed()  # NumPy's types know its own class only
    return np.random.RandomState(np.random.MT19937(no_seed))


def seeded(seed: Any) -> np.random.RandomState:
    """Return what ``RandomState(seed)`` does, which draws another seed before it takes this one.

    Raises
    ------
    ValueError
        If it is not in the range of seeds.
    """
    generator = unseeded()
    generator.seed(seed)
    return generator


def copy_of(random_state: np.random.RandomState) -> np.random.RandomState:
    """Return a generator that goes on by itself; `copy.deepcopy` takes three times as long."""
    state = random_state.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        return copy.deepcopy(random_state)
    copied = unseeded()
    copied.set_state(state)
    return copied


def generator_at(state: Any) -> np.random.RandomState:
    """Return a generator that stands where `RandomState.get_state` of another one was asked.

    Raises
    ------
    ValueError
        If it is of no kind that NumPy has.
    """
    if state["bit_generator"] not in KINDS:
        raise ValueError(f"{state['bit_generator']!r} is no bit generator of NumPy's")
    generator = np.random.RandomState(getattr(np.random, state["bit_generator"])())
    check_state_like("state", state, generator.get_state(legacy=False))
    generator.set_state(state)
    return generator


def words_in_memory(bit_generator: Any) -> bytes:
    """Return the state of a Mersenne Twister as it lies in memory."""
    return ctypes.string_at(bit_generator.ctypes.state_address, STATE_BYTES)


def stands(words: bytes) -> int:
    """Return where among its words a Mersenne Twister stands."""
    return ctypes.c_int.from_buffer_copy(words, KEY_BYTES).value


@cache
def is_laid_out_as_known() -> bool:
    """Whether a state lies in memory as it did in all releases of NumPy so far."""
    bit_generator = seeded(1)._bit_generator
    state, words = bit_generator.state["state"], words_in_memory(bit_generator)
    return words[:KEY_BYTES] == state["key"].tobytes() and stands(words) == state["pos"]


def words_of(random_state: np.random.RandomState) -> bytes | None:
    """Return the state of a Mersenne Twister; None of another generator."""
    bit_generator = random_state._bit_generator
    if type(bit_generator) is not np.random.MT19937 or not is_laid_out_as_known():
        return None
    return words_in_memory(bit_generator)


def state_to_shuffle_from(random_state: np.random.RandomState) -> dict[str, Any]:
    """Return what `get_state` does, but for a normal number in reserve, which shuffles leave."""
    words = words_of(random_state)
    if words is None:
        return dict(random_state.get_state(legacy=False))
    return {
        "bit_generator": "MT19937",
        "state": {"key": np.frombuffer(words, np.uint32, N_WORDS), "pos": stands(words)},
        "has_gauss": 0,
        "gauss": 0.0,
    }


def fingerprint(random_state: np.random.RandomState) -> bytes:
    """Return a short digest of a generator's state."""
    words = words_of(random_state)
    if words is not None:
        named = b"key%bpos%d" % (words[:KEY_BYTES], stands(words))
        return hashlib.blake2b(named, digest_size=16).digest()
    state = random_state.get_state(legacy=False)["state"]
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        digest.update(name.encode())
        value = state[name]
        digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.digest()


def check_state_like(name: str, state: Any, own: Any) -> None:
    """Refuse what NumPy would believe of a generator's state; `own` is one of the same kind."""
    if isinstance(own, dict):
        if type(state) is not dict or state.keys() != own.keys():
            raise ValueError(f"{name} must have {', '.join(own)}")
        for key, value in own.items():
            check_state_like(key, state[key], value)
    elif isinstance(own, np.ndarray):
        is_like = isinstance(state, np.ndarray) and state.dtype == own.dtype
        if not is_like or state.shape != own.shape:
            raise ValueError(f"{name} must be {own.dtype} of shape {own.shape}")
    elif isinstance(own, Integral):
        check_count(name, state, LIMITS.get(name, 2**128))
    elif not isinstance(state, type(own)):
        raise ValueError(f"{name} must be {type(own).__name__}, got {state!r}")


def check_count(name: str, value: Any, limit: int) -> None:
    if not isinstance(value, Integral) or not 0 <= int(value) < limit:
        raise ValueError(f"{name} must be a whole number from 0 to {limit - 1}, got {value!r}")
