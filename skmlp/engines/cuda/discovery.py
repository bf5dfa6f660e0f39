"""Whether CUDA can be used on this machine and, if not, why.

To tell takes neither Numba nor a CUDA context: what is asked for here, the driver answers without
one.
"""

import ctypes
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

# As in the optional extras in pyproject.toml.
MINIMUM_VERSIONS = {"numba-cuda": "0.30.4", "cuda-core": "1.0.0", "cuda-bindings": "12.9.1"}
REPORTED_PACKAGES = (*MINIMUM_VERSIONS, "numba", "numpy")
# What the extras bring besides, by the names of cuda.pathfinder: the compiler, the linker, and
# what Numba asks which compute capabilities there are.
LIBRARIES = ("nvvm", "nvJitLink", "nvrtc")
MINIMUM_CAPABILITY = (7, 5)
INSTALL = "pip install 'skmlp[cuda13]', or 'skmlp[cuda12]' where the driver supports CUDA 12 only"
NO_DRIVER = (
    "No NVIDIA driver was found: install it on a machine with an NVIDIA GPU, and start containers "
    "with access to the GPU (docker run --gpus all)."
)
NO_GPU = (
    "The NVIDIA driver sees no GPU: if there is one, check the environment variable "
    "CUDA_VISIBLE_DEVICES, and whether nvidia-smi shows it."
)
FORKED = (
    "The NVIDIA driver cannot start, as in a process that was forked from one in which it was "
    "used: start processes by 'spawn' or 'forkserver'."
)
REFUSALS = {"CUDA_ERROR_NO_DEVICE": NO_GPU, "CUDA_ERROR_NOT_INITIALIZED": FORKED}


@dataclass(frozen=True)
class Gpu:
    """One GPU, as the driver describes it.

    Attributes
    ----------
    name : str
    compute_capability : tuple of int
        Major and minor number.
    memory : int
        Total memory in bytes.
    """

    name: str
    compute_capability: tuple[int, int]
    memory: int


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver.

    Attributes
    ----------
    cuda_version : tuple of int or None
        Latest CUDA version it supports, major and minor number; None if it cannot be asked.
    gpus : tuple of Gpu
        In CUDA's order; the first one computes.
    problem : str or None
        Why it cannot be used.
    """

    cuda_version: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Discovery:
    """What was found, and why CUDA cannot be used if it cannot.

    Attributes
    ----------
    packages : dict of str to (str or None)
        Installed versions; None for a package that is not there.
    driver : Driver
    is_simulated : bool
        Whether kernels run in Numba's simulator, which needs neither packages nor GPU.
    problems : tuple of str
        Sentences that say what is missing and what to do about it; none if CUDA can be used.
    """

    packages: dict[str, str | None]
    driver: Driver
    is_simulated: bool
    problems: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        return not self.problems


class DriverError(Exception):
    """The driver's refusal, by its name."""


def discover() -> Discovery:
    """Find out what is there, once per process: a forked child may not use what its parent does."""
    return _discover(os.getpid())


@cache
def _discover(process: int) -> Discovery:
    packages = {name: installed_version(name) for name in REPORTED_PACKAGES}
    driver = examine_driver(can_ask=packages["cuda-bindings"] is not None)
    is_simulated = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
    problems = () if is_simulated else tuple(find_problems(packages, driver))
    return Discovery(packages, driver, is_simulated, problems)


def installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def has_driver_library() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def examine_driver(*, can_ask: bool) -> Driver:
    """Look for the driver, and ask it for its version and its GPUs if cuda-bindings is there."""
    if not has_driver_library():
        return Driver(problem=NO_DRIVER)
    if not can_ask:
        return Driver()
    try:
        # Imported here alone, so that skmlp works where it is not installed.
        from cuda.bindings import driver as api

        number = ask(api.cuDriverGetVersion)
    except (DriverError, ImportError, OSError, RuntimeError) as error:
        return Driver(problem=f"cuda-bindings cannot ask the NVIDIA driver ({error}): {INSTALL}.")
    cuda_version = number // 1000, number % 1000 // 10
    try:
        ask(api.cuInit, 0)
        gpus = tuple(examine_gpu(api, index) for index in range(ask(api.cuDeviceGetCount)))
    except DriverError as error:
        other = f"The NVIDIA driver answers {error}: see whether nvidia-smi works, or reboot."
        return Driver(cuda_version, (), REFUSALS.get(str(error), other))
    if not gpus:
        return Driver(cuda_version, (), NO_GPU)
    return Driver(cuda_version, gpus)


def examine_gpu(api: Any, index: int) -> Gpu:
    device = ask(api.cuDeviceGet, index)
    names = api.CUdevice_attribute
    major, minor = (
        ask(api.cuDeviceGetAttribute, attribute, device)
        for attribute in (
            names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
    )
    name = ask(api.cuDeviceGetName, 256, device).split(b"\0")[0].decode(errors="replace")
    return Gpu(name, (major, minor), ask(api.cuDeviceTotalMem, device))


def ask(function: Any, *arguments: Any) -> Any:
    """Call a function of the driver; return what it gives besides its status."""
    status, *values = function(*arguments)
    if status != 0:
        raise DriverError(status.name)
    return values[0] if values else None


def find_problems(packages: dict[str, str | None], driver: Driver) -> list[str]:
    """Return why CUDA cannot be used, what is hardest to remedy first; nothing if it can."""
    problems = [] if driver.problem is None else [driver.problem]
    problems += package_problems(packages)
    if driver.cuda_version is None or not driver.gpus:
        return problems
    supported = ".".join(map(str, driver.cuda_version))
    bindings = packages["cuda-bindings"]
    major = driver.cuda_version[0]
    if major < numbers(bindings)[0]:
        # No extra is for a release before 12.
        older = f", or pip install 'skmlp[cuda{major}]'" if major >= 12 else ""
        problems.append(
            f"cuda-bindings {bindings} needs a newer driver than the one installed, which "
            f"supports CUDA {supported}: update the driver{older}."
        )
    gpu = driver.gpus[0]
    if gpu.compute_capability < MINIMUM_CAPABILITY:
        capability, minimum = (
            ".".join(map(str, pair)) for pair in (gpu.compute_capability, MINIMUM_CAPABILITY)
        )
        problems.append(
            f"Compute capability {capability} of {gpu.name} is below {minimum}: use a newer GPU; "
            "if the machine has one, choose it by CUDA_VISIBLE_DEVICES."
        )
    return problems or library_problems()


def package_problems(packages: dict[str, str | None]) -> list[str]:
    missing = [name for name in MINIMUM_VERSIONS if packages[name] is None]
    are = "is" if len(missing) == 1 else "are"
    problems = [f"{', '.join(missing)} {are} not installed: {INSTALL}."] if missing else []
    for name, minimum in MINIMUM_VERSIONS.items():
        installed = packages[name]
        if installed is not None and numbers(installed) < numbers(minimum):
            problems.append(f"{name} {installed} is older than {minimum}: {INSTALL}.")
    return problems


def library_problems() -> list[str]:
    """Return which of CUDA's libraries cannot be loaded; packages alone do not bring them."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    problems = []
    for name in LIBRARIES:
        try:
            load_nvidia_dynamic_lib(name)
        except (OSError, RuntimeError):
            problems.append(f"CUDA's library {name} was not found: {INSTALL}.")
    return problems


def numbers(release: str | None) -> tuple[int, ...]:
    """Return the leading numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", release or "")[:3])
