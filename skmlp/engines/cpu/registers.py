"""Vector registers of the machine that kernels are compiled for.

The shape of a tile, the part of a matrix product that is kept in registers, follows from their
number and width. It has no influence on results: every element of a product is summed in the
same order, whatever the tiles.
"""

from numba.core.registry import cpu_target

X86 = ("x86_64", "i386", "i686")


def register_file(triple: str, features: str) -> tuple[int, int]:
    """Return the width in bytes and the number of the vector registers.

    Takes what Numba compiles for, ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` included.
    """
    enabled = features.split(",")
    if "+avx512f" in enabled:
        return 64, 32
    if "+avx" in enabled:
        return 32, 16
    if triple.startswith(X86):
        return 16, 16
    return 16, 32  # 64-bit ARM


TRIPLE, _, _features = cpu_target.target_context.codegen().magic_tuple()
VECTOR_BYTES, _COUNT = register_file(TRIPLE, _features)
IS_X86 = TRIPLE.startswith(X86)
IS_ARM64 = TRIPLE.startswith(("aarch64", "arm64"))

# A tile takes TILE_ROWS * TILE_VECTORS registers for its sums, TILE_VECTORS for a row of the
# right factor and one for an element of the left one.
TILE_VECTORS = 3
TILE_ROWS = 8 if _COUNT == 32 else 4
TALL_TILE_ROWS = 2 * TILE_ROWS

# Columns of X that are copied side by side for the gradient: two cache lines.
GROUP_BYTES = 128
