"""The CPU engine: Numba kernels over flat parameters, parallel within a batch."""

from skmlp.engines.cpu.compilation import cache_folder, check_compiler
from skmlp.engines.cpu.engine import CpuEngine

__all__ = ["CpuEngine", "cache_folder", "check_compiler"]
