"""The catalogue of kernels: what each is made of, and the types of its arguments."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from skmlp.engines.cuda import batches, layers, resident
from skmlp.engines.cuda.device import (
    BLOCK_THREADS,
    SMALL_BLOCKS,
    STEP_THREADS,
    float32,
    float64,
    int32,
    int64,
    types,
    uint32,
)
from skmlp.engines.cuda.tables import Group, Layer, Slab, tuple_type
from skmlp.engines.cuda.tiles import Tile

DTYPES = ("float32", "float64")
ROLES = ("forward", "backward", "gradient")
PRECISIONS = ("tf32", "bf16")

INTEGERS = types.CPointer(int64)
INDICES = types.CPointer(int32)
DOUBLES = types.CPointer(float64)
COUNTERS = types.CPointer(uint32)
LAYER, GROUP, SLAB = tuple_type(Layer), tuple_type(Group), tuple_type(Slab)

# A small tile lets a small product occupy many multiprocessors, a large one reads less.
SMALL_TILE = Tile(32, 32, 16, 4, 4)
# The small tile for products that have few of them but are deep: most of a tile's time is waiting.
DEEP_TILE = Tile(32, 32, 16, 4, 4, slices=4)
LARGE_TILES = {"float32": Tile(128, 128, 8, 8, 8), "float64": Tile(64, 64, 8, 4, 4)}
# What a warp takes from shared memory at once for tensor cores lies in different banks if rows
# are eight banks apart in tf32, four in bfloat16.
TENSOR_TILES = {
    precision: (
        Tile(32, 64, 16, 8, 4, padding=padding),
        Tile(128, 128, 16, 8, 8, padding=padding),
    )
    for precision, padding in (("tf32", 8), ("bf16", 4))
}
# While one block waits for its tiles, the other one multiplies.
BLOCKS_OF_PRODUCTS = 2
# The simulator runs the threads of a block one after the other.
SIMULATED_SMALL_TILE = Tile(16, 4, 4, 4, 4)
SIMULATED_DEEP_TILE = Tile(16, 4, 4, 4, 4, slices=2)
SIMULATED_LARGE_TILE = Tile(32, 8, 8, 8, 4)
SIMULATED_TENSOR_TILE = Tile(32, 32, 16, 8, 4, padding=8)


@dataclass(frozen=True)
class Kernel:
    """A kernel with all that its compiled form depends on.

    Attributes
    ----------
    name : str
        Tells it from all others, its precision and tile included.
    py_func : callable
    signature : tuple
        Types of its arguments.
    threads : int
        Of every block; it is compiled for exactly so many.
    blocks : int
        Of those that shall fit on a multiprocessor at once, for which registers are kept free.
    source : str
        What a user must change if it cannot be compiled; empty if nothing in it is the user's.
    """

    name: str
    py_func: Callable[..., None] = field(compare=False)
    signature: tuple[Any, ...] = field(compare=False)
    threads: int
    blocks: int = 1
    source: str = field(default="", compare=False)


def pointer(dtype: str) -> Any:
    return types.CPointer({"float32": float32, "float64": float64}[dtype])


def tiles(dtype: str, precision: str | None = None) -> tuple[Tile, Tile]:
    """Return the small and the large tile for products in one precision."""
    if precision is not None:
        return (SIMULATED_TENSOR_TILE,) * 2 if SMALL_BLOCKS else TENSOR_TILES[precision]
    if SMALL_BLOCKS:
        return SIMULATED_SMALL_TILE, SIMULATED_LARGE_TILE
    return SMALL_TILE, LARGE_TILES[dtype]


def deep_tile(precision: str | None = None) -> Tile | None:
    """Return the tile for products with few tiles; None where there is no such."""
    if precision is not None:
        return None
    return SIMULATED_DEEP_TILE if SMALL_BLOCKS else DEEP_TILE


@cache
def layer_kernel(role: str, dtype: str, tile: Tile, precision: str | None = None) -> Kernel:
    """Return one of the `LayerKernels`."""
    reals = pointer(dtype)
    signature = {
        "forward": (INTEGERS, reals, INDICES, reals, reals, LAYER, GROUP, SLAB),
        "backward": (INTEGERS, reals, reals, LAYER, GROUP, SLAB),
        "gradient": (INTEGERS, reals, INDICES, reals, reals, LAYER, GROUP, SLAB),
    }[role]
    py_func = getattr(layers.layer_kernels(dtype, tile, precision), role)
    name = f"{role}-{precision or dtype}-{tile.name}"
    return Kernel(name, py_func, signature, tile.threads, BLOCKS_OF_PRODUCTS)


@cache
def batch_kernel(role: str, dtype: str) -> Kernel:
    """Return one of the `BatchKernels`."""
    reals = pointer(dtype)
    signature = {
        "scatter": (INTEGERS, reals, INDICES, INTEGERS, INDICES, reals, LAYER, GROUP, SLAB),
        "loss": (INTEGERS, reals, DOUBLES, INDICES, DOUBLES, reals, LAYER, GROUP, SLAB),
        "output": (INTEGERS, reals, LAYER, GROUP, SLAB),
        "update": (INTEGERS, DOUBLES, reals, reals, reals, DOUBLES, GROUP),
    }[role]
    py_func = getattr(batches.batch_kernels(dtype), role)
    return Kernel(f"{role}-{dtype}", py_func, signature, BLOCK_THREADS)


@cache
def step_kernel(role: str) -> Kernel:
    """Return the kernel that begins a step, or the one that turns from one to the next."""
    shared = (INTEGERS, DOUBLES, INDICES, INDICES, DOUBLES, DOUBLES, INDICES)
    signature = {"begin": (*shared, GROUP), "turn": (*shared, *(DOUBLES,) * 3, GROUP)}[role]
    py_func: Any = {"begin": batches.begin_kernel, "turn": batches.turn_kernel}[role]
    return Kernel(role, py_func, signature, STEP_THREADS)


@cache
def resident_kernel(dtype: str) -> Kernel:
    """Return the kernel of the resident path."""
    reals = pointer(dtype)
    signature = (
        *(INDICES, INTEGERS, DOUBLES, INTEGERS),
        *(reals, INDICES, INTEGERS, reals, DOUBLES),
        *(INDICES, INDICES, DOUBLES, INDICES, DOUBLES, DOUBLES),
        *(reals, reals, reals, COUNTERS, DOUBLES, tuple_type(resident.Source)),
    )
    py_func = resident.resident_kernel(dtype)
    return Kernel(f"resident-{dtype}", py_func, signature, resident.THREADS)
