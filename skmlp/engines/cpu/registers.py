"""Vector registers of the machine that kernels are compiled for.

The shape of a tile, the part of a matrix product that is kept in registers, follows from their
number and width. It has no influence on results: every element of a product is summed in the
same order, whatever the tiles.
"""

from numba.core.registry import cpu_target


def _features() -> frozenset[str]:
    """Return the processor features that Numba compiles for (``NUMBA_CPU_FEATURES`` included)."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(name[1:] for name in features.split(",") if name.startswith("+"))


def _register_file(features: frozenset[str]) -> tuple[int, int]:
    """Return the width in bytes and the number of the vector registers."""
    if "avx512f" in features:
        return 64, 32
    if "avx" in features:
        return 32, 16
    if "sse2" in features:
        return 16, 16
    return 16, 32  # 64-bit ARM


VECTOR_BYTES, _COUNT = _register_file(_features())

# A tile takes TILE_ROWS * TILE_VECTORS registers for its sums, TILE_VECTORS for a row of the
# right factor and one for an element of the left one.
TILE_VECTORS = 3
TILE_ROWS = 8 if _COUNT == 32 else 4
