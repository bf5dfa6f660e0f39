"""Memory, launches and graphs of one device: a GPU, or the simulator.

`HardwareRuntime` is a thin layer over NVIDIA's own `cuda.core`; `SimulatedRuntime` does the same
with arrays on the host. Neither knows what is computed.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from skmlp.engines.cuda.compilation import machine_code
from skmlp.engines.cuda.device import SIMULATED, cuda
from skmlp.engines.cuda.kernels import Kernel
from skmlp.engines.cuda.memory import SimulatedPointer

Array = npt.NDArray[Any]
Grid = tuple[int, int, int]


class DeviceArray(ABC):
    """A flat array on the device, freed with the last reference to it.

    Attributes
    ----------
    size : int
    dtype : dtype
    """

    size: int
    dtype: np.dtype[Any]

    @abstractmethod
    def write(self, values: Array, start: int = 0) -> None:
        """Copy a contiguous host array to elements from `start` on."""

    @abstractmethod
    def read(self, start: int = 0, count: int | None = None) -> Array:
        """Return a host copy of some elements; waits for all work on the device."""

    @abstractmethod
    def fill_with_zeros(self) -> None:
        """Set every element to zero."""


class Runtime(ABC):
    """One device.

    Attributes
    ----------
    name : str
    capability : tuple of int
        Compute capability.
    multiprocessors : int
    shared_bytes : int
        Shared memory that one block may ask for.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared_bytes: int

    @abstractmethod
    def use_stream(self, number: int) -> None:
        """Send what is launched until the next call of `activate` to one of several streams.

        What is launched to one stream is done in order; streams do not wait for each other.
        Copies from and to the host wait for all of them.
        """

    @abstractmethod
    def activate(self) -> None:
        """Make the device the calling thread's, and use the first stream; call this first."""

    @abstractmethod
    def allocate(self, size: int, dtype: npt.DTypeLike) -> DeviceArray:
        """Return an array with undefined content.

        Raises
        ------
        MemoryError
            If the device has not enough memory.
        """

    @abstractmethod
    def launch(
        self,
        kernel: Kernel,
        grid: Grid,
        *arguments: Any,
        shared_bytes: int = 0,
        together: bool = False,
    ) -> None:
        """Run a kernel after all that was launched before.

        Parameters
        ----------
        kernel : Kernel
        grid : tuple of int
            Blocks in each dimension.
        *arguments : DeviceArray or tuple of int
        shared_bytes : int
            Dynamic shared memory of each block.
        together : bool
            Whether all blocks must run at once, because they wait for each other.
        """

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for everything that was launched, on all streams."""

    @abstractmethod
    def captured(self, launches: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does what `launches` does, at less expense."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Return how much memory can be allocated."""

    def upload(self, values: Array) -> DeviceArray:
        """Return a new array with a copy of a host array, flattened."""
        array = self.allocate(values.size, values.dtype)
        array.write(np.ascontiguousarray(values).reshape(-1))
        return array

    def zeros(self, size: int, dtype: npt.DTypeLike) -> DeviceArray:
        array = self.allocate(size, dtype)
        array.fill_with_zeros()
        return array


class SimulatedArray(DeviceArray):
    """A host array in the place of a device's."""

    def __init__(self, size: int, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.size = size
        # Whatever a kernel reads before anyone wrote it shall be seen in the result.
        poison: Any = np.nan if self.dtype.kind == "f" else np.iinfo(self.dtype).min // 2
        self.values = np.full(size, poison, dtype=self.dtype)

    def write(self, values: Array, start: int = 0) -> None:
        self.values[start : start + values.size] = values.reshape(-1)

    def read(self, start: int = 0, count: int | None = None) -> Array:
        stop = self.size if count is None else start + count
        return self.values[start:stop].copy()

    def fill_with_zeros(self) -> None:
        self.values[:] = 0


class SimulatedRuntime(Runtime):
    """Numba's simulator: slow, and without a GPU."""

    name = "simulator"
    capability = (9, 0)
    multiprocessors = 2
    shared_bytes = 227 * 1024

    def use_stream(self, number: int) -> None:
        pass

    def activate(self) -> None:
        pass

    def allocate(self, size: int, dtype: npt.DTypeLike) -> SimulatedArray:
        return SimulatedArray(size, dtype)

    def launch(
        self,
        kernel: Kernel,
        grid: Grid,
        *arguments: Any,
        shared_bytes: int = 0,
        together: bool = False,
    ) -> None:
        simulated = cuda.jit(kernel.py_func)
        pointers = [
            SimulatedPointer(argument.values) if isinstance(argument, SimulatedArray) else argument
            for argument in arguments
        ]
        if together:
            from skmlp.engines.cuda.simulation import side_by_side

            with side_by_side():
                simulated[grid, kernel.threads, 0, shared_bytes](*pointers)
        else:
            simulated[grid, kernel.threads, 0, shared_bytes](*pointers)

    def synchronize(self) -> None:
        pass

    def captured(self, launches: Callable[[], None]) -> Callable[[], None]:
        return launches

    def free_bytes(self) -> int:
        return 2**34


class HardwareArray(DeviceArray):
    """Memory of a GPU."""

    def __init__(self, runtime: "HardwareRuntime", size: int, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.size = size
        self._runtime = runtime
        self._buffer = runtime.allocate_bytes(max(size, 1) * self.dtype.itemsize)
        self.address = int(self._buffer.handle)

    def write(self, values: Array, start: int = 0) -> None:
        values = np.ascontiguousarray(values, dtype=self.dtype)
        if values.size:
            self._runtime.copy_in(self.address + start * self.dtype.itemsize, values)

    def read(self, start: int = 0, count: int | None = None) -> Array:
        values = np.empty(self.size - start if count is None else count, dtype=self.dtype)
        if values.size:
            self._runtime.copy_out(values, self.address + start * self.dtype.itemsize)
        return values

    def fill_with_zeros(self) -> None:
        self._runtime.clear(self.address, self.size * self.dtype.itemsize)


class HardwareRuntime(Runtime):
    """A GPU, by way of `cuda.core`.

    Parameters
    ----------
    ordinal : int
        The device's number.
    """

    def __init__(self, ordinal: int = 0) -> None:
        from cuda.bindings import driver
        from cuda.core import Device, launch

        self._driver = driver
        self._launch = launch
        self._ordinal = ordinal
        self._process = os.getpid()
        device = Device(ordinal)
        self.name = device.name
        try:
            device.set_current()
            # Memory is allocated, copied and freed in the order of the first stream.
            self._stream = device.create_stream()
        except Exception as error:
            raise self._explained(error) from None
        self._streams = [self._stream]
        # What launches go to: a stream, or a graph while it is captured.
        self._target: Any = self._stream
        self._only_loads = False
        properties = device.properties
        self.multiprocessors = int(properties.multiprocessor_count)
        self.capability = (int(device.compute_capability[0]), int(device.compute_capability[1]))
        self.shared_bytes = self._attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
        self._kernels: dict[Kernel, Any] = {}
        self._shared_asked: dict[Kernel, int] = {}
        self._prepared: dict[tuple[Kernel, Grid, int, bool], tuple[Any, Any]] = {}

    def _attribute(self, name: str) -> int:
        attribute = getattr(self._driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self._checked(self._driver.cuDeviceGetAttribute(attribute, self._ordinal)))

    def _checked(self, result: Sequence[Any]) -> Any:
        """Return what a driver's function gave, or raise what it complains of."""
        error, *values = result
        if error == self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise MemoryError(self._too_little())
        if error != self._driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"CUDA reports {error.name} on {self.name!r}.")
        return values[0] if len(values) == 1 else tuple(values)

    def _too_little(self, wanted: int | None = None) -> str:
        asked = "" if wanted is None else f"{wanted / 2**20:.0f} MiB were asked for. "
        return (
            f"{self.name!r} has not enough free memory. {asked}Use smaller hidden_layer_sizes or "
            "batch_size, fewer rows, dtype='float32', or device='cpu'."
        )

    def use_stream(self, number: int) -> None:
        from cuda.core import Device

        while len(self._streams) <= number:
            self._streams.append(Device(self._ordinal).create_stream())
        self._target = self._streams[number]

    def activate(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                "CUDA was used before this process was forked, and cannot be used in the child. "
                "Start processes by 'spawn' (joblib's loky backend does), or use device='cpu'."
            )
        from cuda.core import Device

        Device(self._ordinal).set_current()
        self._target = self._stream

    def allocate_bytes(self, size: int) -> Any:
        from cuda.core import Device

        try:
            return Device(self._ordinal).allocate(size, stream=self._stream)
        except Exception as error:
            raise self._explained(error, size) from None

    def _explained(self, error: Exception, wanted: int | None = None) -> Exception:
        """Return a `MemoryError` in place of what `cuda.core` raises where memory is short."""
        said = str(error)
        # Before release 1.1, it does not name the driver's error where an allocation fails.
        if "OUT_OF_MEMORY" in said or (wanted is not None and "Failed to allocate" in said):
            return MemoryError(self._too_little(wanted))
        return error

    def allocate(self, size: int, dtype: npt.DTypeLike) -> HardwareArray:
        return HardwareArray(self, size, dtype)

    def copy_in(self, address: int, values: Array) -> None:
        self._wait_for_other_streams()
        self._checked(
            self._driver.cuMemcpyHtoDAsync(
                address, values.ctypes.data, values.nbytes, self._stream.handle
            )
        )
        # The host array may be gone, or changed, as soon as this returns.
        self._stream.sync()

    def copy_out(self, values: Array, address: int) -> None:
        self._wait_for_other_streams()
        self._checked(
            self._driver.cuMemcpyDtoHAsync(
                values.ctypes.data, address, values.nbytes, self._stream.handle
            )
        )
        self._stream.sync()

    def _wait_for_other_streams(self) -> None:
        """Let a copy on the first stream find what was launched to the others done."""
        for stream in self._streams[1:]:
            stream.sync()

    def clear(self, address: int, size: int) -> None:
        # On the stream of the kernels, which may count up from these zeros.
        if size:
            self._checked(self._driver.cuMemsetD8Async(address, 0, size, self._target.handle))

    def _loaded(self, kernel: Kernel) -> Any:
        if kernel not in self._kernels:
            from cuda.core import ObjectCode

            compiled = machine_code(kernel, self.capability)
            code = ObjectCode.from_cubin(compiled.cubin)
            try:
                self._kernels[kernel] = code.get_kernel(compiled.entry)
            except Exception as error:
                raise self._explained(error) from None
        return self._kernels[kernel]

    def _allow_shared(self, kernel: Kernel, shared_bytes: int) -> None:
        """Ask for dynamic shared memory; what a block has unasked, static memory has a part in."""
        if shared_bytes <= self._shared_asked.get(kernel, 0):
            return
        attributes = self._driver.CUfunction_attribute
        attribute = attributes.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        handle = self._loaded(kernel).handle
        self._checked(
            self._driver.cuKernelSetAttribute(attribute, shared_bytes, handle, self._ordinal)
        )
        self._shared_asked[kernel] = shared_bytes

    def launch(
        self,
        kernel: Kernel,
        grid: Grid,
        *arguments: Any,
        shared_bytes: int = 0,
        together: bool = False,
    ) -> None:
        key = kernel, grid, shared_bytes, together
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepared[key] = self._prepare(*key)
        if self._only_loads:
            return
        # A kernel takes the numbers of a tuple one by one, each as 64 bits.
        numbers: list[int] = []
        for argument in arguments:
            if type(argument) is HardwareArray:
                numbers.append(argument.address)
            else:
                numbers.extend(argument)
        try:
            self._launch(self._target, *prepared, *numbers)
        except Exception as error:
            raise self._explained(error) from None

    def _prepare(
        self, kernel: Kernel, grid: Grid, shared_bytes: int, together: bool
    ) -> tuple[Any, Any]:
        """Return how a kernel is launched, and the kernel ready to be launched so."""
        from cuda.core import LaunchConfig

        configuration = LaunchConfig(
            grid=grid, block=kernel.threads, shmem_size=shared_bytes, is_cooperative=together
        )
        loaded = self._loaded(kernel)
        # Else the driver might load it at its first launch, which may be a part of a capture.
        self._checked(self._driver.cuKernelGetFunction(loaded.handle))
        self._allow_shared(kernel, shared_bytes)
        return configuration, loaded

    def synchronize(self) -> None:
        for stream in self._streams:
            stream.sync()

    def captured(self, launches: Callable[[], None]) -> Callable[[], None]:
        self._only_loads = True  # which may not happen during a capture
        try:
            launches()
        finally:
            self._only_loads = False
        from cuda.core import Device

        stream = self._target
        # It has a stream of its own: memory may be freed at any time, by the garbage collector or
        # another thread, but not in the order of a stream that is being captured.
        builder = Device(self._ordinal).create_graph_builder()
        builder.begin_building()
        self._target = builder
        try:
            launches()
        finally:
            self._target = stream
            builder.end_building()
        try:
            graph = builder.complete()
        except Exception as error:
            raise self._explained(error) from None

        def replay() -> None:
            try:
                graph.launch(self._target)
            except Exception as error:
                raise self._explained(error) from None

        return replay

    def free_bytes(self) -> int:
        free, _ = self._checked(self._driver.cuMemGetInfo())
        return int(free)


@cache
def runtime() -> Runtime:
    """Return the device that everything is computed on."""
    return SimulatedRuntime() if SIMULATED else HardwareRuntime()
