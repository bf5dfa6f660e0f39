"""Kernels of programs for heads: links and losses, compiled for each; a thread per row."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import BLOCK_THREADS, cuda, device_function, float64, int64, uint32
from skmlp.engines.cuda.formulas import specialize
from skmlp.engines.cuda.layers import rows_in_slab
from skmlp.engines.cuda.losses import softmax_function
from skmlp.engines.cuda.memory import advance, loader, store_all
from skmlp.network.links import Link
from skmlp.network.losses import Loss

N_INTEGERS = tables.N_INTEGERS


@cache
def output_kernel(entry: Link, dtype: str) -> Callable[..., None]:
    """Return what turns a head's raw predictions into outputs, in place."""
    per_target = entry.units_per_target
    if entry.is_categorical:
        softmax_row = softmax_function(dtype)

        @device_function
        def activate_row(z, units):
            softmax_row(z, units)

    else:
        value, load = specialize(entry.value, dtype), loader(dtype, per_target)
        as_tuple = tuple_function(per_target)

        @device_function
        def activate_row(z, units):
            n_targets = units // per_target
            for k in range(n_targets):
                store_all(z, n_targets, k, as_tuple(value(*load(z, n_targets, k))))

    def kernel(numbers, work, head, group, slab):
        model = int64(cuda.blockIdx.z)
        row = int64(cuda.blockIdx.x) * BLOCK_THREADS + cuda.threadIdx.x
        if row >= rows_in_slab(advance(numbers, model * N_INTEGERS), slab):
            return
        z = advance(work, model * group.workspace + head.raw + row * head.columns)
        activate_row(z, head.units)

    return kernel


def tuple_function(count: int) -> Any:
    """Return what makes a tuple of a formula's results: one alone is none yet."""
    if count == 1:
        return device_function(lambda results: (results,))
    return device_function(lambda results: results)


@cache
def loss_kernel(entry: Loss, dtype: str) -> Callable[..., None]:
    """Return what turns raw predictions into the loss's derivatives, and adds up rows' losses."""
    differentiate_row = row_function(entry, dtype)
    load_constants = loader(dtype, len(entry.constants))

    def kernel(
        numbers, targets, weights, row_numbers, row_losses, work, constants, head, group, slab
    ):
        model = int64(cuda.blockIdx.z)
        row = int64(cuda.blockIdx.x) * BLOCK_THREADS + cuda.threadIdx.x
        if row >= rows_in_slab(advance(numbers, model * N_INTEGERS), slab):
            return
        place = model * group.rows + slab.start + row
        number = int64(row_numbers[place])
        z = advance(work, model * group.workspace + head.raw + row * head.columns)
        own_targets = advance(targets, number * group.target_columns + head.target)
        weight = weights[number] if group.weighted else 1.0
        shared = load_constants(constants, 1, head.constants)
        loss = weight * differentiate_row(z, head.units, own_targets, weight, shared)
        row_losses[place] = loss if head.is_first else row_losses[place] + loss

    return kernel


def row_function(entry: Loss, dtype: str) -> Any:
    """Return ``(z, units, targets, weight, constants)``: a row's loss and its derivatives.

    The loss is returned without its weight; the derivatives, with it, take the place of `z`.
    """
    real = np.dtype(dtype).type
    epsilon, zero, one = real(np.finfo(dtype).eps), real(0), real(1)
    value, gradient = specialize(entry.value, dtype), specialize(entry.gradient, dtype)
    per_target = entry.units_per_target

    if entry.is_categorical:
        softmax_row = softmax_function(dtype)

        @device_function
        def differentiate_row(z, units, targets, weight, constants):
            scale = real(weight)
            softmax_row(z, units)
            label = uint32(targets[0])
            loss = float64(value(one, zero, z[label], epsilon, *constants))
            for k in range(units):
                target = one if k == label else zero
                z[k] = scale * gradient(target, z[k], *constants)
            return loss

    elif per_target == 1:
        activate = specialize(entry.link.value, dtype)

        @device_function
        def differentiate_row(z, units, targets, weight, constants):
            scale = real(weight)
            loss = 0.0
            for k in range(units):
                raw = z[k]
                output = activate(raw)
                # What a user's functions return may be whole, or a truth value; what may be
                # nothing is no number, and does not compile.
                loss += float64(value(targets[k], raw, output, epsilon, *constants))
                z[k] = scale * real(gradient(targets[k], output, *constants))
            return loss

    else:
        load = loader(dtype, per_target)

        @device_function
        def differentiate_row(z, units, targets, weight, constants):
            scale = real(weight)
            n_targets = units // per_target
            loss = 0.0
            for k in range(n_targets):
                raw = load(z, n_targets, k)
                loss += value(targets[k], *raw, epsilon, *constants)
                store_all(z, n_targets, k, gradient(targets[k], *raw, *constants))
                for unit in range(k, units, n_targets):
                    z[unit] *= scale
            return loss

    return differentiate_row
