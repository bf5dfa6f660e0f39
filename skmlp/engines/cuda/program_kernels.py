"""The catalogue of the kernels that programs launch besides products."""

from collections.abc import Iterator
from functools import cache
from itertools import product

from skmlp.engines.cuda import heads, maps, normalizations, optimizers
from skmlp.engines.cuda.device import BLOCK_THREADS, int8, types
from skmlp.engines.cuda.kernels import (
    DOUBLES,
    GROUP,
    INDICES,
    INTEGERS,
    LAYER,
    SLAB,
    Kernel,
    pointer,
)
from skmlp.engines.cuda.stages import Drop, Head, Stage, Sums
from skmlp.engines.cuda.tables import tuple_type
from skmlp.engines.cuda.vocabulary import lacking_of_activation, unheeded
from skmlp.network.activations import ACTIVATIONS, BLENDS, CUSTOM_ACTIVATIONS, Activation
from skmlp.network.links import LINKS, Link
from skmlp.network.losses import CUSTOM_LOSSES, LOSSES, Loss
from skmlp.network.optimizers import OPTIMIZERS, Optimizer

KINDS = types.CPointer(int8)
STAGE, DROP, HEAD, SUMS = (tuple_type(cls) for cls in (Stage, Drop, Head, Sums))


@cache
def map_kernel(entry: Activation, dtype: str, trains: bool) -> Kernel:
    """Return the way forward through a hidden layer's activation."""
    reals = pointer(dtype)
    signature = (INTEGERS, reals, reals, DOUBLES, STAGE, GROUP, SLAB)
    name = f"{'map' if trains else 'value'}-{entry.name}-{dtype}"
    py_func = maps.map_kernel(entry, dtype, trains)
    source = "activation=Custom(...)" if entry.name in CUSTOM_ACTIVATIONS else ""
    return Kernel(name, py_func, signature, BLOCK_THREADS, source=source)


@cache
def map_back_kernel(has_pieces: bool, dtype: str) -> Kernel:
    """Return the way back through an activation of elements, or of pieces."""
    signature = (INTEGERS, pointer(dtype), STAGE, GROUP, SLAB)
    py_func = maps.pieces_back_kernel(dtype) if has_pieces else maps.multiply_kernel()
    name = f"{'pieces-back' if has_pieces else 'multiply'}-{dtype}"
    return Kernel(name, py_func, signature, BLOCK_THREADS)


@cache
def drop_kernel(dtype: str) -> Kernel:
    signature = (INTEGERS, pointer(dtype), DOUBLES, DROP, GROUP, SLAB)
    return Kernel(f"drop-{dtype}", maps.drop_kernel(dtype), signature, BLOCK_THREADS)


@cache
def gather_kernel(dtype: str) -> Kernel:
    reals = pointer(dtype)
    signature = (INTEGERS, reals, INDICES, reals, LAYER, GROUP, SLAB)
    return Kernel(f"gather-{dtype}", maps.gather_kernel(), signature, BLOCK_THREADS)


@cache
def column_sums_kernel(dtype: str) -> Kernel:
    reals = pointer(dtype)
    signature = (INTEGERS, reals, reals, SUMS, GROUP, SLAB)
    return Kernel(f"column-sums-{dtype}", maps.column_sums_kernel(dtype), signature, BLOCK_THREADS)


@cache
def normalization_kernel(normalization: str, back: bool, dtype: str) -> Kernel:
    """Return a normalization, or the way back through it."""
    reals = pointer(dtype)
    rows = (DOUBLES, INDICES) if normalization == "batch" else ()
    signature = (INTEGERS, *rows, reals, reals, STAGE, GROUP, SLAB)
    made = normalizations.NORMALIZE_BACK if back else normalizations.NORMALIZE
    name = f"{normalization}-norm{'-back' if back else ''}-{dtype}"
    return Kernel(name, made[normalization](dtype), signature, BLOCK_THREADS)


@cache
def output_kernel(entry: Link, dtype: str) -> Kernel:
    signature = (INTEGERS, pointer(dtype), HEAD, GROUP, SLAB)
    py_func = heads.output_kernel(entry, dtype)
    return Kernel(f"link-{entry.name}-{dtype}", py_func, signature, BLOCK_THREADS)


@cache
def loss_kernel(entry: Loss, dtype: str) -> Kernel:
    reals = pointer(dtype)
    signature = (
        *(INTEGERS, reals, DOUBLES, INDICES, DOUBLES, reals, DOUBLES),
        *(HEAD, GROUP, SLAB),
    )
    key = entry.name, entry.output_activation
    source = "loss=Custom(...)" if key in CUSTOM_LOSSES else ""
    py_func = heads.loss_kernel(entry, dtype)
    return Kernel(f"loss-{'-'.join(key)}-{dtype}", py_func, signature, BLOCK_THREADS, source=source)


@cache
def norm_kernel(dtype: str) -> Kernel:
    reals = pointer(dtype)
    signature = (INTEGERS, DOUBLES, KINDS, DOUBLES, reals, reals, DOUBLES, GROUP)
    return Kernel(f"norm-{dtype}", optimizers.norm_kernel(dtype), signature, BLOCK_THREADS)


@cache
def update_kernel(entry: Optimizer, dtype: str) -> Kernel:
    reals = pointer(dtype)
    signature = (
        *(INTEGERS, DOUBLES, KINDS, DOUBLES, DOUBLES),
        *(reals, reals, reals, DOUBLES, DOUBLES, GROUP),
    )
    py_func = optimizers.update_kernel(entry, dtype)
    return Kernel(f"update-{entry.name}-{dtype}", py_func, signature, BLOCK_THREADS)


def program_kernels_for(dtype: str) -> Iterator[Kernel]:
    """Yield the kernels for what can be computed of the registries, and all that are no entry's."""
    activations = (*ACTIVATIONS.values(), *BLENDS.values())
    for activation, trains in product(activations, (True, False)):
        if activation.hidden and not lacking_of_activation(activation):
            yield map_kernel(activation, dtype, trains)
    for has_pieces in (False, True):
        yield map_back_kernel(has_pieces, dtype)
    for normalization, back in product(normalizations.NORMALIZE, (False, True)):
        yield normalization_kernel(normalization, back, dtype)
    for link in LINKS.values():
        if not unheeded(link):
            yield output_kernel(link, dtype)
    for loss in LOSSES.values():
        if not unheeded(loss, loss.link):
            yield loss_kernel(loss, dtype)
    for optimizer in OPTIMIZERS.values():
        if not unheeded(optimizer, *optimizer.states):
            yield update_kernel(optimizer, dtype)
    for make in (drop_kernel, gather_kernel, column_sums_kernel, norm_kernel):
        yield make(dtype)
