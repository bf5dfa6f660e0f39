"""Fits by the CUDA kernels in the simulator."""

import pytest
from simulator import SIMULATED, run_in_the_simulator


@pytest.mark.slow
def test_in_the_simulator():
    run_in_the_simulator(SIMULATED / "test_fits.py")
