"""The report on where skmlp can compute."""

import joblib

from skmlp.engines.cuda.discovery import Discovery, discover


def show_devices() -> None:
    """Print where skmlp can compute, and why CUDA cannot be used if it cannot.

    From a shell: ``python -m skmlp devices``. Nothing is compiled, and no memory of a GPU is used.

    Examples
    --------
    What it prints depends on the machine.

    >>> import skmlp
    >>> skmlp.show_devices()  # doctest: +SKIP
    <BLANKLINE>
    Devices:
              cpu: 16 cores
             cuda: usable
    <BLANKLINE>
    NVIDIA driver:
         supports: CUDA 12.8
            GPU 0: NVIDIA H100 80GB HBM3, compute capability 9.0, 79.1 GiB
    <BLANKLINE>
    Packages:
       numba-cuda: 0.30.4
        cuda-core: 1.2.2
    cuda-bindings: 12.9.10
            numba: 0.68.1
            numpy: 2.4.6
    """
    print("\n".join(report(discover())))


def report(found: Discovery) -> list[str]:
    """Return the lines of the report."""
    cores = joblib.cpu_count()
    state = "usable" if found.is_usable else "not usable"
    if found.is_simulated:
        state = "simulated on the CPU (NUMBA_ENABLE_CUDASIM), for tests only"
    lines = ["", "Devices:", entry("cpu", f"{cores} core{'s' * (cores > 1)}")]
    lines.append(entry("cuda", state))
    if found.problems:
        lines += ["", "What CUDA lacks:", *(f"- {problem}" for problem in found.problems)]
    if found.driver.cuda_version is not None:
        lines += ["", "NVIDIA driver:"]
        lines.append(entry("supports", f"CUDA {dotted(found.driver.cuda_version)}"))
        for index, gpu in enumerate(found.driver.gpus):
            capability = f"compute capability {dotted(gpu.compute_capability)}"
            memory = f"{gpu.memory / 2**30:.1f} GiB"
            lines.append(entry(f"GPU {index}", f"{gpu.name}, {capability}, {memory}"))
    lines += ["", "Packages:"]
    lines += [entry(name, version or "None") for name, version in found.packages.items()]
    return lines


def entry(name: str, value: str) -> str:
    return f"{name:>13}: {value}"


def dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
