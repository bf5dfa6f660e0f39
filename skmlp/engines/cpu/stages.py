"""What a hidden layer is computed with between its product and the next one."""

from typing import NamedTuple

from skmlp.engines.cpu.batch_kernels import batch_back_kernel, batch_kernel
from skmlp.engines.cpu.map_kernels import Maps, drop_kernel, maps_of
from skmlp.engines.cpu.normalization_kernels import (
    elements_kernel,
    layer_back_kernel,
    layer_kernel,
)
from skmlp.network.specs import LayerSpec


class Stages(NamedTuple):
    """The kernels of a hidden layer, by their addresses; zero stands for nothing to do.

    Attributes
    ----------
    maps : Maps
        Those that drivers call.
    inner_map, inner_back : int
        Those that these call for normalized rows.
    normalize, normalize_back : int
        Those that take columns.
    """

    maps: Maps
    inner_map: int = 0
    inner_back: int = 0
    normalize: int = 0
    normalize_back: int = 0


def stages_of(layer: LayerSpec, dtype: str, *, backward: bool) -> Stages:
    """Return what a layer is computed with, in training (`backward`) or in predictions.

    Predictions of batch normalization are not made here: they are folded
    (`skmlp.network.folding`).
    """
    maps = maps_of(layer, dtype, backward=backward)
    if layer.normalization is None:
        return Stages(maps)
    takes_whole_rows = maps.takes_whole_rows
    by_rows = maps._replace(
        takes_whole_rows=True,
        # Deltas are multiplied by the mask before they go back through whole rows.
        drop=drop_kernel(dtype, 0) if maps.drop else 0,
    )
    if layer.normalization == "layer":
        by_rows = by_rows._replace(
            forward=layer_kernel(dtype, takes_whole_rows, backward),
            back=layer_back_kernel(dtype, takes_whole_rows) if backward else 0,
        )
        return Stages(by_rows, maps.forward, maps.back)
    if not backward:
        raise NotImplementedError("Batch normalization must be folded before a prediction.")
    if not takes_whole_rows:
        by_rows = by_rows._replace(
            forward=elements_kernel(dtype, False), back=elements_kernel(dtype, True)
        )
    columns = batch_kernel(dtype), batch_back_kernel(dtype)
    return Stages(by_rows, maps.forward, maps.back, *columns)
