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
from skmlp.network.activations import ACTIVATIONS, CUSTOM_ACTIVATIONS
from skmlp.network.links import LINKS
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import OPTIMIZERS

KINDS = types.CPointer(int8)
STAGE, DROP, HEAD, SUMS = (tuple_type(cls) for cls in (Stage, Drop, Head, Sums))


@cache
def map_kernel(activation: str, dtype: str, trains: bool) -> Kernel:
    """Return the way forward through a hidden layer's activation."""
    reals = pointer(dtype)
    signature = (INTEGERS, reals, reals, DOUBLES, STAGE, GROUP, SLAB)
    name = f"{'map' if trains else 'value'}-{activation}-{dtype}"
    py_func = maps.map_kernel(activation, dtype, trains)
    source = "activation=Custom(...)" if activation in CUSTOM_ACTIVATIONS else ""
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
def output_kernel(link: str, dtype: str) -> Kernel:
    signature = (INTEGERS, pointer(dtype), HEAD, GROUP, SLAB)
    return Kernel(
        f"link-{link}-{dtype}", heads.output_kernel(link, dtype), signature, BLOCK_THREADS
    )


@cache
def loss_kernel(loss: str, link: str, dtype: str) -> Kernel:
    reals = pointer(dtype)
    signature = (
        *(INTEGERS, reals, DOUBLES, INDICES, DOUBLES, reals, DOUBLES),
        *(HEAD, GROUP, SLAB),
    )
    py_func = heads.loss_kernel(loss, link, dtype)
    return Kernel(f"loss-{loss}-{link}-{dtype}", py_func, signature, BLOCK_THREADS)


@cache
def norm_kernel(dtype: str) -> Kernel:
    reals = pointer(dtype)
    signature = (INTEGERS, DOUBLES, KINDS, DOUBLES, reals, reals, DOUBLES, GROUP)
    return Kernel(f"norm-{dtype}", optimizers.norm_kernel(dtype), signature, BLOCK_THREADS)


@cache
def update_kernel(optimizer: str, dtype: str) -> Kernel:
    reals = pointer(dtype)
    signature = (
        *(INTEGERS, DOUBLES, KINDS, DOUBLES, DOUBLES),
        *(reals, reals, reals, DOUBLES, DOUBLES, GROUP),
    )
    py_func = optimizers.update_kernel(optimizer, dtype)
    return Kernel(f"update-{optimizer}-{dtype}", py_func, signature, BLOCK_THREADS)


def program_kernels_for(dtype: str) -> Iterator[Kernel]:
    """Yield the kernels for everything in the registries, and for dropout and normalization."""
    for name, entry in ACTIVATIONS.items():
        if entry.hidden:
            for trains in (True, False):
                yield map_kernel(name, dtype, trains)
    for has_pieces in (False, True):
        yield map_back_kernel(has_pieces, dtype)
    for normalization, back in product(normalizations.NORMALIZE, (False, True)):
        yield normalization_kernel(normalization, back, dtype)
    for link in LINKS:
        yield output_kernel(link, dtype)
    for loss, link in LOSSES:
        yield loss_kernel(loss, link, dtype)
    for optimizer in OPTIMIZERS:
        yield update_kernel(optimizer, dtype)
    for make in (drop_kernel, gather_kernel, column_sums_kernel, norm_kernel):
        yield make(dtype)
