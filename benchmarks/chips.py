"""What GPUs can do by their makers' data sheets, and the least time that a step takes there."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.workloads import Workload

_QUERY = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "power.limit",
          "temperature.gpu")  # fmt: skip


@dataclass(frozen=True)
class Chip:
    """Peaks of one kind of GPU; None where it lacks the unit.

    Attributes
    ----------
    float32, tf32, bf16 : float or None
        TFLOP/s, of dense matrices.
    bandwidth : float
        TB/s of its memory.
    """

    float32: float
    tf32: float | None
    bf16: float | None
    bandwidth: float


# The first name that is part of a device's name counts.
CHIPS = {
    "H200 NVL": Chip(60.3, 417.5, 835.5, 4.8),
    "H200": Chip(66.9, 494.7, 989.4, 4.8),
    "H100 PCIe": Chip(51.2, 378.0, 756.0, 2.04),
    "H100 NVL": Chip(60.3, 417.5, 835.5, 3.94),
    "H100": Chip(66.9, 494.7, 989.4, 3.35),
    "GH200 480GB": Chip(66.9, 494.7, 989.4, 4.0),
    "A100-SXM4-40GB": Chip(19.5, 156.0, 312.0, 1.555),
    "A100-PCIE-40GB": Chip(19.5, 156.0, 312.0, 1.555),
    "A100-SXM4-80GB": Chip(19.5, 156.0, 312.0, 2.039),
    "A100 80GB PCIe": Chip(19.5, 156.0, 312.0, 1.935),
    "L40S": Chip(91.6, 183.0, 362.0, 0.864),
    "L4": Chip(30.3, 60.0, 121.0, 0.300),
    "A10": Chip(31.2, 62.5, 125.0, 0.600),
    "V100-SXM2": Chip(15.7, None, None, 0.900),
    "T4": Chip(8.1, None, None, 0.320),
}


def find_chip(device_name: str) -> Chip | None:
    """Return the peaks of the device of this name, None if they are not known."""
    # "A10" is no part of "A100", nor "L4" of "L40".
    words = f" {device_name.replace('NVIDIA', '').replace('Tesla', '')} "
    for name, chip in CHIPS.items():
        if f" {name} " in words or f" {name}-" in words:
            return chip
    return None


def arithmetic_floor(workload: Workload, chip: Chip | None, precision: str) -> float | None:
    """Return the microseconds that a step's matrix products take at the chip's peak."""
    peak = None if chip is None else getattr(chip, precision)
    return None if peak is None else workload.flops_per_step / peak / 1e6


def bytes_per_step(workload: Workload) -> int:
    """Return the bytes that a step of Adam in float32 moves at least.

    The batch is read, parameters and both moments are read and written. Activations and gradient
    could stay on the chip.
    """
    units = (workload.features, *workload.hidden, workload.outputs)
    n_parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(units))
    return 4 * (workload.batch * (workload.features + 1) + 6 * n_parameters)


def bytes_floor(workload: Workload, chip: Chip | None) -> float | None:
    """Return the microseconds that a step's bytes take at the chip's bandwidth."""
    return None if chip is None else bytes_per_step(workload) / chip.bandwidth / 1e6


def nvidia_smi() -> dict[str, str]:
    """Return what the driver's own tool says of the first GPU; nothing where it is missing."""
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in answer.stdout.splitlines()[0].split(", ")]
    return dict(zip(_QUERY, values, strict=False))
