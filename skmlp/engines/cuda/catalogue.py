"""Every kernel, for those who compile ahead."""

from collections.abc import Iterable, Iterator

from skmlp.engines.cuda.kernels import (
    PRECISIONS,
    ROLES,
    Kernel,
    batch_kernel,
    deep_tile,
    layer_kernel,
    resident_kernel,
    step_kernel,
    tiles,
)
from skmlp.engines.cuda.program_kernels import program_kernels_for
from skmlp.engines.cuda.ptx import TENSOR_CAPABILITY


def kernels_for(dtypes: Iterable[str], capability: tuple[int, int]) -> Iterator[Kernel]:
    """Yield every kernel that fits and predictions in some precisions can launch on a device.

    Those for users' own activations and losses are not among them.
    """
    for role in ("begin", "turn"):
        yield step_kernel(role)
    for dtype in dtypes:
        yield resident_kernel(dtype)
        for role in ("scatter", "loss", "output", "update"):
            yield batch_kernel(role, dtype)
        precisions: list[str | None] = [None]
        if dtype == "float32" and capability >= TENSOR_CAPABILITY:
            precisions += PRECISIONS
        for precision in precisions:
            for tile in dict.fromkeys((*tiles(dtype, precision), deep_tile(precision))):
                for role in ROLES if tile else ():
                    yield layer_kernel(role, dtype, tile, precision)
        yield from program_kernels_for(dtype)
