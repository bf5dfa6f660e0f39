"""Kernels of programs that normalize pre-activations, and the way back.

They work in the place of a product, and keep normalized values and what these were multiplied by.
Sums are formed in double precision.
"""

from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import Any

import numpy as np

from skmlp.engines.cuda import tables
from skmlp.engines.cuda.device import (
    BLOCK_THREADS,
    WARP_THREADS,
    cuda,
    device_function,
    float64,
    int64,
    uint32,
)
from skmlp.engines.cuda.formulas import ELEMENTARY
from skmlp.engines.cuda.layers import padded, rows_in_slab
from skmlp.engines.cuda.memory import advance, pointer_to
from skmlp.engines.cuda.steps import sum_of_block
from skmlp.engines.formulas import rebind
from skmlp.network import normalization

N_INTEGERS = tables.N_INTEGERS
GROUP_ROWS, MOMENTUM, EPSILON = (
    normalization.GROUP_ROWS,
    normalization.MOMENTUM,
    normalization.EPSILON,
)

unbiased_divisor = rebind(normalization.unbiased_divisor, float, {}, device_function)
sqrt = ELEMENTARY["sqrt"]


@cache
def layer_kernel(dtype: str) -> Callable[..., None]:
    """Return the normalization of rows, which blocks take in turns."""
    real = np.dtype(dtype).type
    one, epsilon = real(1), real(EPSILON)

    def kernel(numbers, parameters, work, stage, group, slab):
        model = int64(cuda.blockIdx.z)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        thread, threads = uint32(cuda.threadIdx.x), uint32(BLOCK_THREADS)
        scratch = pointer_to(cuda.shared.array(WARP_THREADS, float64, 16))
        columns, ld = stage.product_units, padded(stage.product_units)
        own_parameters = advance(parameters, model * group.parameters)
        gain = advance(own_parameters, stage.gain)
        shift = advance(own_parameters, stage.shift)
        own = advance(work, model * group.workspace)
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            z = advance(own, stage.products + row * ld)
            out = advance(own, stage.normalized + row * ld)
            # What is constant becomes zero without rounding.
            common = z[0]
            total = 0.0
            for j in range(thread, columns, threads):
                total += float64(z[j] - common)
            mean = real(sum_of_block(total, scratch, thread, threads) / float64(columns))
            squares = 0.0
            for j in range(thread, columns, threads):
                centered = float64(z[j] - common - mean)
                squares += centered * centered
            squares = sum_of_block(squares, scratch, thread, threads)
            scale = one / sqrt(real(squares / float64(columns)) + epsilon)
            for j in range(thread, columns, threads):
                value = (z[j] - common - mean) * scale
                out[j] = value
                z[j] = gain[j] * value + shift[j]
            if thread == 0:
                own[stage.scales + row] = scale

    return kernel


@cache
def layer_back_kernel(dtype: str) -> Callable[..., None]:
    """Return the way back through `layer_kernel`, in the place of the deltas."""
    real = np.dtype(dtype).type

    def kernel(numbers, parameters, work, stage, group, slab):
        model = int64(cuda.blockIdx.z)
        rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        thread, threads = uint32(cuda.threadIdx.x), uint32(BLOCK_THREADS)
        scratch = pointer_to(cuda.shared.array(WARP_THREADS, float64, 16))
        columns, ld = stage.product_units, padded(stage.product_units)
        gain = advance(parameters, model * group.parameters + stage.gain)
        own = advance(work, model * group.workspace)
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            delta = advance(own, stage.product_deltas + row * ld)
            values = advance(own, stage.normalized + row * ld)
            total = 0.0
            slope = 0.0
            for j in range(thread, columns, threads):
                by_value = float64(gain[j] * delta[j])
                total += by_value
                slope += by_value * float64(values[j])
            total = sum_of_block(total, scratch, thread, threads)
            slope = sum_of_block(slope, scratch, thread, threads)
            mean, by_scale = real(total / float64(columns)), real(slope / float64(columns))
            scale = own[stage.scales + row]
            for j in range(thread, columns, threads):
                delta[j] = scale * (gain[j] * delta[j] - mean - values[j] * by_scale)

    return kernel


@device_function
def weight_of(weights, weighted, row):
    return weights[row] if weighted else 1.0


@device_function
def group_of_rows(weights, weighted, rows, start, stop):
    """Return of a group's rows how many have weight, the sums of weights and squares, the first."""
    count, first = 0, start
    total, squares = 0.0, 0.0
    for i in range(start, stop):
        weight = weight_of(weights, weighted, rows[i])
        if weight != 0.0:
            first = i if count == 0 else first
            count += 1
        total += weight
        squares += weight * weight
    return count, total, squares, first


@cache
def batch_kernel(dtype: str) -> Callable[..., None]:
    """Return the normalization of columns, group after group of rows: a thread each.

    It also updates the running statistics, in the parameters.
    """
    real = np.dtype(dtype).type
    one, epsilon = real(1), real(EPSILON)

    def kernel(numbers, weights, row_numbers, parameters, work, stage, group, slab):
        model = int64(cuda.blockIdx.z)
        own_numbers = advance(numbers, model * N_INTEGERS)
        n_rows = rows_in_slab(own_numbers, slab)
        j = int64(cuda.blockIdx.x) * BLOCK_THREADS + cuda.threadIdx.x
        if j >= stage.product_units:
            return
        ld = padded(stage.product_units)
        rows = advance(row_numbers, model * group.rows + slab.start)
        own_parameters = advance(parameters, model * group.parameters + j)
        gain, shift = own_parameters[stage.gain], own_parameters[stage.shift]
        own = advance(work, model * group.workspace + j)
        z, out = advance(own, stage.products), advance(own, stage.normalized)
        for start in range(0, n_rows, GROUP_ROWS):
            stop = min(start + GROUP_ROWS, n_rows)
            count, weight_sum, square_sum, first = group_of_rows(
                weights, group.weighted, rows, start, stop
            )
            origin = own_parameters[stage.mean]
            spread = own_parameters[stage.variance]
            center = real(0)
            if count > 1:
                origin = z[first * ld]
                total = 0.0
                for i in range(start, stop):
                    weight = weight_of(weights, group.weighted, rows[i])
                    total += weight * float64(z[i * ld] - origin)
                center = real(total / weight_sum)
                squares = 0.0
                for i in range(start, stop):
                    weight = weight_of(weights, group.weighted, rows[i])
                    centered = float64(z[i * ld] - origin - center)
                    squares += weight * centered * centered
                spread = real(squares / weight_sum)
                if stage.updates_statistics:
                    unbiased = squares / unbiased_divisor(weight_sum, square_sum)
                    mean = float64(own_parameters[stage.mean])
                    mean += MOMENTUM * (float64(origin) + total / weight_sum - mean)
                    variance = float64(own_parameters[stage.variance])
                    variance += MOMENTUM * (unbiased - variance)
                    own_parameters[stage.mean] = real(mean)
                    own_parameters[stage.variance] = real(variance)
                    if not (isfinite(mean) and isfinite(variance)):
                        own_numbers[tables.HEALTHY] = 0
            scale = one / sqrt(spread + epsilon)
            own[stage.scales + start // GROUP_ROWS * ld] = scale
            for i in range(start, stop):
                value = (z[i * ld] - origin - center) * scale
                out[i * ld] = value
                z[i * ld] = gain * value + shift

    return kernel


@cache
def batch_back_kernel(dtype: str) -> Callable[..., None]:
    """Return the way back through `batch_kernel`, in the place of the deltas."""
    real = np.dtype(dtype).type

    def kernel(numbers, weights, row_numbers, parameters, work, stage, group, slab):
        model = int64(cuda.blockIdx.z)
        n_rows = rows_in_slab(advance(numbers, model * N_INTEGERS), slab)
        j = int64(cuda.blockIdx.x) * BLOCK_THREADS + cuda.threadIdx.x
        if j >= stage.product_units:
            return
        ld = padded(stage.product_units)
        rows = advance(row_numbers, model * group.rows + slab.start)
        gain = parameters[model * group.parameters + stage.gain + j]
        own = advance(work, model * group.workspace + j)
        delta, values = advance(own, stage.product_deltas), advance(own, stage.normalized)
        for start in range(0, n_rows, GROUP_ROWS):
            stop = min(start + GROUP_ROWS, n_rows)
            count, weight_sum, _, _ = group_of_rows(weights, group.weighted, rows, start, stop)
            total = 0.0
            slope = 0.0
            if count > 1:
                for i in range(start, stop):
                    by_value = float64(gain * delta[i * ld])
                    total += by_value
                    slope += by_value * float64(values[i * ld])
                total /= weight_sum
                slope /= weight_sum
            mean, by_scale = real(total), real(slope)
            scale = own[stage.scales + start // GROUP_ROWS * ld]
            for i in range(start, stop):
                weight = real(weight_of(weights, group.weighted, rows[i]))
                common = mean + values[i * ld] * by_scale
                delta[i * ld] = scale * (gain * delta[i * ld] - weight * common)

    return kernel


NORMALIZE: dict[str, Any] = {"layer": layer_kernel, "batch": batch_kernel}
NORMALIZE_BACK: dict[str, Any] = {"layer": layer_back_kernel, "batch": batch_back_kernel}
