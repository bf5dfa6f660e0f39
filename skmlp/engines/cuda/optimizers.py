"""Kernels of programs that end the way back: the norm of a gradient, and the update.

A parameter belongs to one of `GROUPS`, or to none: padding, and what is not trained. `kinds` says
which, by its place among those that differ, or -1.
"""

from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.base import FitTask
from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import (
    BLOCK_THREADS,
    WARP_THREADS,
    cuda,
    device_function,
    float32,
    float64,
    int64,
    synchronize,
    uint32,
)
from skmlp.engines.cuda.formulas import ELEMENTARY, specialize
from skmlp.engines.cuda.layout import PaddedLayout
from skmlp.engines.cuda.memory import advance, loader, pointer_to, store_all
from skmlp.engines.cuda.steps import sum_of_block
from skmlp.network.optimizers import GROUPS, Optimizer

N_INTEGERS = tables.N_INTEGERS
N_DOUBLES = tables.N_DOUBLES
ALPHA, INVERSE_WEIGHT, LEARNING_RATE = tables.ALPHA, tables.INVERSE_WEIGHT, tables.LEARNING_RATE

# Columns of the table of factors, which has a row for each group of parameters.
RATE_FACTOR, ALPHA_FACTOR, DECAY_FACTOR, N_FACTORS = range(4)
DIFFERENT = list(dict.fromkeys(GROUPS.values()))
N_GROUPS = len(DIFFERENT)
# Columns of the table of settings, which has a row for each fit.
WEIGHT_DECAY, CLIP_NORM, OWN_SETTINGS = range(3)

sqrt = ELEMENTARY["sqrt"]


def kinds_of(layout: PaddedLayout) -> npt.NDArray[np.int8]:
    """Return the group of each padded parameter."""
    flat = layout.flat
    kinds = np.full(flat.size, -1.0)
    for piece in flat.trained_pieces():
        kinds[piece.start : piece.stop] = DIFFERENT.index(GROUPS[piece.role])
    # Padding is packed as zero.
    return (layout.pack(kinds + 1.0, np.float64) - 1.0).astype(np.int8)


def table_of_factors() -> npt.NDArray[np.float64]:
    """Return the factors of all groups of parameters."""
    return np.array([(group.rate, group.alpha, group.decay) for group in DIFFERENT])


def table_of_settings(tasks: list[FitTask]) -> npt.NDArray[np.float64]:
    """Return the settings of fits by one optimizer."""
    optimizers = [task.optimizer for task in tasks]
    return np.array(
        [
            (
                optimizer.weight_decay,
                np.inf if optimizer.clip_norm is None else optimizer.clip_norm,
                *optimizer.settings,
            )
            for optimizer in optimizers
        ]
    )


def gradient_function(dtype: str) -> Any:
    """Return ``(gradient, before, alpha, inverse)``: a parameter's, the L2 penalty included."""

    @device_function
    def gradient_of(gradient, before, alpha, inverse):
        return (gradient + alpha * before) * inverse

    return gradient_of


@cache
def norm_kernel(dtype: str) -> Callable[..., None]:
    """Return what sums the squares of the gradient: a number from each block."""
    real = np.dtype(dtype).type
    gradient_of = gradient_function(dtype)

    def kernel(numbers, doubles, kinds, factors, parameters, gradient, norms, group):
        model = int64(cuda.blockIdx.z)
        if numbers[model * N_INTEGERS + tables.COUNT] == 0:
            return
        thread = uint32(cuda.threadIdx.x)
        scratch = pointer_to(cuda.shared.array(WARP_THREADS, float64, 16))
        own_parameters = advance(parameters, model * group.parameters)
        own_gradient = advance(gradient, model * group.parameters)
        alpha = doubles[model * N_DOUBLES + ALPHA]
        inverse = real(doubles[model * N_DOUBLES + INVERSE_WEIGHT])
        squares = 0.0
        first = int64(cuda.blockIdx.x) * BLOCK_THREADS + thread
        for i in range(first, group.parameters, int64(cuda.gridDim.x) * BLOCK_THREADS):
            kind = int64(kinds[i])
            if kind >= 0:
                own_alpha = real(alpha * factors[kind * N_FACTORS + ALPHA_FACTOR])
                entry = gradient_of(own_gradient[i], own_parameters[i], own_alpha, inverse)
                squares += float64(entry) * float64(entry)
        squares = sum_of_block(squares, scratch, thread, uint32(BLOCK_THREADS))
        if thread == 0:
            norms[model * group.penalties + cuda.blockIdx.x] = squares

    return kernel


@cache
def update_kernel(entry: Optimizer, dtype: str) -> Callable[..., None]:
    """Return an optimizer: its step for every parameter, and sums of squared coefficients."""
    real = np.dtype(dtype).type
    numba_real = {"float32": float32, "float64": float64}[dtype]
    step_constants, update = specialize(entry.constants, "float64"), specialize(entry.update, dtype)
    n_constants, n_states = entry.n_constants, len(entry.states)
    load_settings = loader("float64", len(entry.settings))
    load_constants, load_states = loader(dtype, n_constants), loader(dtype, n_states)
    gradient_of = gradient_function(dtype)
    n_settings = OWN_SETTINGS + len(entry.settings)
    # What a group's parameters are multiplied by, before the constants of their update.
    n_shared = 1 + n_constants
    shared_size = N_GROUPS * n_shared

    @device_function
    def write_constants(constants, doubles, settings, factors, step):
        """Write a group's own constants."""
        rate = doubles[LEARNING_RATE] * factors[RATE_FACTOR]
        constants[0] = real(1.0 - rate * factors[DECAY_FACTOR] * settings[WEIGHT_DECAY])
        own_settings = load_settings(settings, 1, OWN_SETTINGS)
        store_all(constants, 1, 1, step_constants(own_settings, rate, step))

    @device_function
    def clipping_factor(norms, count, largest, scratch, thread):
        """Return what reduces the gradient's norm to the largest; NaN stays what it is."""
        if not isfinite(largest):
            return 1.0
        squares = 0.0
        for i in range(thread, count, BLOCK_THREADS):
            squares += norms[i]
        norm = sqrt(sum_of_block(squares, scratch, thread, uint32(BLOCK_THREADS)))
        return largest / norm if norm > largest else 1.0

    def kernel(
        numbers, doubles, kinds, factors, settings, parameters, gradient, state, norms, penalties,
        group,
    ):  # fmt: skip
        model = int64(cuda.blockIdx.z)
        own_numbers = advance(numbers, model * N_INTEGERS)
        if own_numbers[tables.COUNT] == 0:
            return
        thread = uint32(cuda.threadIdx.x)
        scratch = pointer_to(cuda.shared.array(WARP_THREADS, float64, 16))
        constants = pointer_to(cuda.shared.array(shared_size, numba_real, 16))
        own_doubles = advance(doubles, model * N_DOUBLES)
        own_settings = advance(settings, model * n_settings)
        own_norms = advance(norms, model * group.penalties)
        for kind in range(thread, N_GROUPS, BLOCK_THREADS):
            write_constants(
                advance(constants, int64(kind) * n_shared),
                own_doubles,
                own_settings,
                advance(factors, int64(kind) * N_FACTORS),
                own_numbers[tables.STEP] + 1,
            )
        synchronize()
        clipping = real(
            clipping_factor(own_norms, group.penalties, own_settings[CLIP_NORM], scratch, thread)
        )
        own_parameters = advance(parameters, model * group.parameters)
        own_gradient = advance(gradient, model * group.parameters)
        own_state = advance(state, model * group.state)
        inverse = real(own_doubles[INVERSE_WEIGHT])
        squares = 0.0
        first = int64(cuda.blockIdx.x) * BLOCK_THREADS + thread
        for i in range(first, group.parameters, int64(cuda.gridDim.x) * BLOCK_THREADS):
            kind = int64(kinds[i])
            if kind < 0:
                continue
            before = own_parameters[i]
            alpha_factor = factors[kind * N_FACTORS + ALPHA_FACTOR]
            own_alpha = real(own_doubles[ALPHA] * alpha_factor)
            entry = clipping * gradient_of(own_gradient[i], before, own_alpha, inverse)
            keep = constants[kind * n_shared]
            shared = load_constants(constants, 1, kind * n_shared + 1)
            states = load_states(own_state, group.parameters, i)
            found = update(keep * before, entry, *states, shared)
            own_parameters[i] = found[0]
            store_all(own_state, group.parameters, i, found[1:])
            if not isfinite(found[0]):
                own_numbers[tables.HEALTHY] = 0
            squares += alpha_factor * float64(before) * float64(before)
        squares = sum_of_block(squares, scratch, thread, uint32(BLOCK_THREADS))
        if thread == 0:
            penalties[model * group.penalties + cuda.blockIdx.x] = squares

    return kernel
