"""The CUDA engine: networks trained and evaluated in `numba.cuda` kernels."""

from skmlp.engines.cuda.engine import CudaEngine

__all__ = ["CudaEngine"]
