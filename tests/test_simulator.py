"""All else of the CUDA kernels in the simulator.

Fits take as long as all of this together: in a file of their own, another process runs them.
"""

import pytest
from simulator import SIMULATED, run_in_the_simulator

MODULES = sorted(set(SIMULATED.glob("test_*.py")) - {SIMULATED / "test_fits.py"})


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_in_the_simulator(module):
    run_in_the_simulator(module)
