"""Tests of the CUDA kernels in Numba's simulator.

``NUMBA_ENABLE_CUDASIM=1 pytest tests/simulated`` runs them. The variable counts when Numba is
imported, so they need a process of their own; `tests/simulator.py` starts one. With
``SKMLP_SIMULATED_BLOCKS=full`` it runs `test_full_blocks.py` alone.
"""

import os
from pathlib import Path

if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") in ("", "0"):
    collect_ignore_glob = ["test_*.py"]
elif os.environ.get("SKMLP_SIMULATED_BLOCKS") == "full":
    modules = Path(__file__).parent.glob("test_*.py")
    collect_ignore = [module.name for module in modules if module.name != "test_full_blocks.py"]
else:
    collect_ignore_glob = ["test_full_blocks.py"]
