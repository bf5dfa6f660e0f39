"""Tests of the CUDA kernels in Numba's simulator.

``NUMBA_ENABLE_CUDASIM=1 pytest tests/simulated`` runs them. The variable counts when Numba is
imported, so they need a process of their own; `tests/test_cuda.py` starts one.
"""

import os

if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") in ("", "0"):
    collect_ignore_glob = ["test_*.py"]
