"""Running tests of the CUDA kernels in the simulator, from other tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

SIMULATED = Path(__file__).parent / "simulated"


def run_in_the_simulator(module, chosen=""):
    """Run a module of tests, or those that the expression chooses as that of ``pytest -k`` does.

    Whether the simulator is used is decided when Numba is imported: by another process.
    """
    path = SIMULATED / f"{module}.py"
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses=0", "-k", chosen, str(path)]
    process = subprocess.run(
        command,
        cwd=SIMULATED.parent.parent,
        env={
            **os.environ,
            "NUMBA_ENABLE_CUDASIM": "1",
            "SKMLP_SIMULATED_BLOCKS": "full" if module == "test_full_blocks" else "",
        },
        capture_output=True,
        text=True,
        timeout=2400,
    )
    report = process.stdout[-6000:] + process.stderr[-2000:]
    assert process.returncode == 0, report
    assert re.search(r"\d+ passed", report), report
    assert "skipped" not in report, report
