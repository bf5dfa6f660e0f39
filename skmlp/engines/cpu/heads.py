"""The table of heads: what kernels are told of the output layer, a row for each head."""

from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from skmlp.engines.cpu.loss_kernels import loss_kernel, output_kernel
from skmlp.engines.cpu.tables import (
    HEAD_CONSTANTS,
    HEAD_FIELDS,
    HEAD_FIRST,
    HEAD_KERNEL,
    HEAD_TARGET,
    HEAD_TARGETS,
    HEAD_UNITS,
    Integers,
)
from skmlp.network.specs import NetworkSpec


@lru_cache(maxsize=256)
def heads_of_fit(network: NetworkSpec, dtype: str) -> Integers:
    """Return the table with the kernels of the losses."""
    kernels = [loss_kernel(head.loss.name, head.link, dtype) for head in network.heads]
    return head_table(network, kernels)


@lru_cache(maxsize=256)
def heads_of_prediction(network: NetworkSpec, dtype: str) -> Integers:
    """Return the table with the kernels of the links."""
    return head_table(network, [output_kernel(head.link, dtype) for head in network.heads])


def head_table(network: NetworkSpec, kernels: list[int]) -> Integers:
    heads = network.heads
    table = np.zeros((len(heads), HEAD_FIELDS), dtype=np.int64)
    table[:, HEAD_KERNEL] = kernels
    table[:, HEAD_UNITS] = [head.units for head in heads]
    table[:, HEAD_FIRST] = starts([head.units for head in heads])
    table[:, HEAD_TARGET] = starts([head.target_columns for head in heads])
    table[:, HEAD_TARGETS] = [head.target_columns for head in heads]
    table[:, HEAD_CONSTANTS] = starts([len(head.loss.constants) for head in heads])
    return table


def starts(sizes: list[int]) -> list[int]:
    """Return where pieces of these sizes begin that lie one after the other."""
    return list(accumulate(sizes, initial=0))[:-1]


def constants_of_heads(network: NetworkSpec) -> npt.NDArray[np.float64]:
    """Return the constants of all heads' losses, and a zero where there are none."""
    return np.array([*(c for head in network.heads for c in head.loss.constants), 0.0])
