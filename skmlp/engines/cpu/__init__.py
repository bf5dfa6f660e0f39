"""The CPU engine: Numba kernels over flat parameters, parallel within a batch."""

from skmlp.engines.cpu.compilation import compilations_told_to
from skmlp.engines.cpu.engine import CpuEngine

__all__ = ["CpuEngine", "compilations_told_to"]
