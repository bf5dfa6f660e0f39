"""After an update: parameters are moved to where they may be."""

from functools import cache

import numpy as np
from numba import float64, int64, types

from skmlp.engines.cpu.compilation import separate
from skmlp.engines.cpu.formula_kernels import address_of_kernel, types_of
from skmlp.engines.cpu.pointers import (
    address,
    advance,
    call_kernel,
    float64_pointer,
    pointer,
)
from skmlp.engines.cpu.products import columns_of_panel, panel_count
from skmlp.engines.cpu.tables import PANEL_ROWS, PANELS, PRODUCT_UNITS, UNITS, end_of_trained
from skmlp.engines.cpu.tiles import lane_count
from skmlp.network.constraints import SLACK


@cache
def projection_kernel(dtype: str) -> int:
    """``kernel(w, lower, upper, is_bounded, rows, depth, width, max_norm, scratch)``.

    Moves the parameters of one panel, of `rows` rows, to their bounds if it `is_bounded`. Then it
    scales columns of the first `depth` rows whose norm is larger than `max_norm`. Sums are taken
    row after row, in scratch memory for two doubles per column.
    """
    real, array = types_of(dtype)
    share = 1.0 - SLACK[dtype]

    def project(w, lower, upper, is_bounded, rows, depth, width, max_norm, scratch):
        if is_bounded:
            for i in range(rows * width):
                # NaN is on neither side, and stays.
                if w[i] < lower[i]:
                    w[i] = lower[i]
                elif w[i] > upper[i]:
                    w[i] = upper[i]
        if max_norm == np.inf:
            return
        for j in range(width):
            scratch[j] = 0.0
        for i in range(depth):
            for j in range(width):
                number = float(w[i * width + j])
                scratch[j] += number * number
        is_any = False
        for j in range(width):
            norm = np.sqrt(scratch[j])
            is_any |= norm > max_norm
            scratch[width + j] = share * max_norm / norm if norm > max_norm else 1.0
        if is_any:
            for i in range(depth):
                for j in range(width):
                    w[i * width + j] = real(w[i * width + j] * scratch[width + j])

    doubles = types.CPointer(float64)
    arguments = (array, array, array, *([int64] * 4), float64, doubles)
    return address_of_kernel(project, arguments, dtype)


@separate()
def project_share(task, thread, threads):
    """Do a thread's share of moving the parameters to where they may be, panel by panel."""
    layers, model, work = task.layers, task.model, task.work
    is_bounded = np.int64(model.bounds.size > 0)
    scratch = float64_pointer(address(pointer(work.scratch, thread * work.scratch_size)))
    parameters = pointer(model.parameters, 0)
    lower = pointer(model.bounds, 0)
    upper = pointer(model.bounds, is_bounded * model.parameters.size)
    lanes = lane_count(parameters)
    number = 0
    for layer in range(model.first_layer, end_of_trained(layers, model)):
        columns, rows = layers[layer + 1, PRODUCT_UNITS], layers[layer, PANEL_ROWS]
        for panel in range(panel_count(columns, lanes)):
            if number % threads == thread:
                column, vectors, _ = columns_of_panel(panel, columns, lanes)
                start = layers[layer, PANELS] + rows * column
                places = advance(parameters, start), advance(lower, start), advance(upper, start)
                sizes = is_bounded, rows, layers[layer, UNITS], vectors * lanes
                call_kernel(model.project, (*places, *sizes, model.max_norm, scratch))
            number += 1
