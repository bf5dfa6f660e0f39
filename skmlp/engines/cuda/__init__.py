"""The CUDA engine: networks trained and evaluated in `numba.cuda` kernels."""
