"""Some of what the CUDA kernels do in the simulator, which is slow.

The whole is a step of ``.ci/run``, and of who changes these kernels: ``NUMBA_ENABLE_CUDASIM=1
pytest tests/simulated``, and the same with ``SKMLP_SIMULATED_BLOCKS=full``.
"""

import pytest
from simulator import run_in_the_simulator

# What is taken of each module.
CHOSEN = {
    "test_device_cuda": "",
    "test_tensor": "",
    "test_fits": "paths_agree or unlike_fits",
    "test_fusion": "",
    "test_programs": "share_their_launches",
    "test_full_blocks": "sizes or small-float64",
}


@pytest.mark.slow
@pytest.mark.parametrize("module", CHOSEN)
def test_in_the_simulator(module):
    run_in_the_simulator(module, CHOSEN[module])
