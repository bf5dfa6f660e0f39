"""All kernels with a formula of the registries: what there is to compile ahead.

Users' own formulas are not among them: they are known when a fit asks for them.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np

from skmlp.engines.cpu.compilation import check_compiler
from skmlp.engines.cpu.embedding_kernels import (
    embed_back_kernel,
    embed_kernel,
    scale_back_kernel,
    scale_kernel,
)
from skmlp.engines.cpu.formula_kernels import (
    average_kernel,
    carry_kernel,
    completion_kernel,
    constants_kernel,
    descend_kernel,
    update_kernel,
)
from skmlp.engines.cpu.loss_kernels import loss_kernel, output_kernel
from skmlp.engines.cpu.map_kernels import drop_kernel, noise_kernel, sparse_drop_kernel
from skmlp.engines.cpu.matrix_kernels import direction_kernel
from skmlp.engines.cpu.member_kernels import (
    adapted_maps,
    member_scale_back_kernel,
    member_scale_kernel,
    pick_kernel,
    put_back_kernel,
)
from skmlp.engines.cpu.mixture_kernels import blend_kernel, mix_kernel
from skmlp.engines.cpu.on_demand import compile_passes
from skmlp.engines.cpu.projection import projection_kernel
from skmlp.engines.cpu.rows import load_rows
from skmlp.engines.cpu.stages import stages_of
from skmlp.engines.cpu.task import CpuTask
from skmlp.network.activations import ACTIVATIONS, BLENDS
from skmlp.network.embeddings import EMBEDDINGS
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.penalties import PENALTIES
from skmlp.network.specs import NORMALIZATIONS, Formula, LayerSpec, plain_network

SOME = 0.5  # of what is dropped: all shares have the same kernels


def compile_all(dtype: str) -> None:
    """Compile every kernel of the registries' formulas in one precision."""
    check_compiler()
    for layer in layers_of_every_kind():
        stages_of(layer, dtype, backward=True)
        if layer.normalization != "batch":  # which predictions fold
            stages_of(layer, dtype, backward=False)
    drop_kernel(dtype, 0)  # of the inputs
    sparse_drop_kernel(dtype)
    for loss, link in LOSSES:
        loss_kernel(loss, link, dtype)
        output_kernel(link, dtype)
    for name in OPTIMIZERS:
        constants_kernel(name)
        for decays in (False, True):
            update_kernel(name, dtype, decays=decays)
        if OPTIMIZERS[name].numbers:
            carry_kernel(name)
        if OPTIMIZERS[name].matrices:
            direction_kernel(name, dtype)
    for decays in (False, True):
        descend_kernel(dtype, decays=decays)
    average_kernel(dtype)
    for penalty in PENALTIES:
        completion_kernel(penalty, dtype)
    projection_kernel(dtype)
    compile_passes(smallest_task(dtype).told, dtype)
    noise_kernel(dtype)
    mix_kernel(dtype)
    blend_kernel(dtype)
    for name, entry in EMBEDDINGS.items():
        embed_kernel(name, dtype)
        if entry.draw is not None:
            embed_back_kernel(name, dtype)
    scale_kernel(dtype)
    scale_back_kernel(dtype)
    member_scale_kernel(dtype)
    member_scale_back_kernel(dtype)
    pick_kernel(dtype)
    put_back_kernel(dtype)
    for is_last in (False, True):  # of networks that presets make: no others have adapted layers
        adapted_maps(LayerSpec(1, Formula("relu"), dropout=SOME), dtype, is_last=is_last)


def smallest_task(dtype: str) -> CpuTask:
    network = plain_network((1, 1), "relu", "squared_error", "identity")
    row = np.zeros((1, 1), dtype=dtype)
    data = load_rows(row, row, None, dtype)
    return CpuTask(network, data, np.zeros(2), alpha=0.0, batch_size=1, threads=1)


def layers_of_every_kind() -> Iterator[LayerSpec]:
    """Yield hidden layers that differ in their kernels."""
    for entry in (*ACTIVATIONS.values(), *BLENDS.values()):
        if entry.hidden:
            formula = Formula(entry.name, tuple(constant.default for constant in entry.constants))
            # Of what is dropped the derivative is kept.
            for normalization, dropout in product((None, *NORMALIZATIONS), (0.0, SOME)):
                yield LayerSpec(1, formula, normalization, dropout)
