"""The CPU engine: Numba kernels over flat parameters, parallel within a batch."""

from skmlp.engines.cpu.compilation import check_compiler
from skmlp.engines.cpu.disk_cache import history
from skmlp.engines.cpu.engine import CpuEngine

__all__ = ["CpuEngine", "check_compiler", "history"]
