"""How kernels are compiled and cached on disk.

Two kinds of compiled functions:

- *drivers*, decorated with `jit`: they know the order of the work but no formula;
- *formula kernels*, made by `compile_kernel`: a loop around one registry formula, compiled on
  first use into a C function whose address the drivers call. A new activation thus compiles its
  own two loops and never a driver.

Numba notices changes only in the file of the function it caches, not in the formulas that
function calls. `KernelCache` therefore stamps every entry with the sources of all kernels and
formulas, and it never lets an unusable cache folder stop a fit. Whoever wants to know what is
compiled listens (`engines.listeners`).
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba import njit
from numba.core import sigutils
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
from numba.core.ccallback import CFunc
from numba.core.runtime import _nrt_python as runtime

from skmlp.engines.cpu.elementary import elementary_functions
from skmlp.engines.formulas import rebind
from skmlp.engines.listeners import tell_of_compilation

# Reassociation and contraction let loops vectorize; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
OPTIONS = {"error_model": "numpy", "fastmath": FASTMATH}
# Numba would count the references to every array in every call, by atomic operations on memory
# that all threads share. Nothing is allocated here, and callers keep what they pass. The option
# is Numba's own, without a promise: a test looks whether it still works.
DRIVER_OPTIONS = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}

# Before it loads anything, Numba prepares to compile, which takes longer than loading our kernels.
# They refer to its runtime only; but a symbol that is missing ends the process, so a release that
# has not been tried (tests/test_compilation.py) loads them in Numba's own way.
NEEDS_RUNTIME_ONLY = numba.version_info.short <= (0, 68)


@cache
def link_runtime() -> None:
    """Tell machine code where Numba's runtime is, under the names that `rtsys.initialize` uses."""
    for name, address in runtime.c_helpers.items():
        symbol = name if name.startswith("_") else f"NRT_{name}"
        llvmlite.binding.add_symbol(symbol, address)


@cache
def source_stamp() -> str:
    """Return a digest of every source file that compiled code can come from."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for folder in (package / "network", package / "engines" / "cpu"):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class KernelCache(FunctionCache):
    """Numba's disk cache with our stamp, an explicit key, and no way to fail.

    Numba numbers the entries of a function and writes index and data one after the other, so
    two processes that store different entries at once, or a full disk, can leave a number
    that means another entry's code. Here every entry has a file of its own, whose name says
    everything that its content depends on.
    """

    def __init__(self, py_func: Callable[..., Any], key: str) -> None:
        super().__init__(py_func)
        self._key = key

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Closures over compiled formulas have no stable hash; the key names the formula.
        return (sig, codegen.magic_tuple(), self._key)

    def _choose_file(self, sig: Any, codegen: Any) -> None:
        stamp = source_stamp()
        entry = repr((stamp, self._index_key(sig, codegen)))
        name = hashlib.sha256(entry.encode()).hexdigest()[:24]
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=f"{self._impl.filename_base}-{name}",
            source_stamp=stamp,
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Whatever a missing, unreadable or damaged file raises while it is unpickled (nearly
        # any exception can come of it), the remedy is to compile.
        try:
            self._choose_file(sig, target_context.codegen())
            found = self._load(sig, target_context)
        except Exception:
            found = None
        if found is None:
            tell_of_compilation(self._py_func.__qualname__)
        return found

    def _load(self, sig: Any, target_context: Any) -> Any:
        if not NEEDS_RUNTIME_ONLY:
            return super().load_overload(sig, target_context)
        link_runtime()
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            self._choose_file(sig, data.codegen)
            self.flush()
            super().save_overload(sig, data)
        except Exception:
            self.disable()


class NoCache(NullCache):
    """Stands in where no folder can be written."""

    def __init__(self, py_func: Callable[..., Any]) -> None:
        self._py_func = py_func

    def load_overload(self, sig: Any, target_context: Any) -> None:
        tell_of_compilation(self._py_func.__qualname__)


def kernel_cache(py_func: Callable[..., Any], key: str = "") -> KernelCache | NoCache:
    """Return a disk cache, or none where no folder can be written."""
    try:
        return KernelCache(py_func, key)
    except (OSError, RuntimeError):
        return NoCache(py_func)


def cache_folder() -> str | None:
    """Return the folder in which compiled kernels are kept, None where there is none."""
    return kernel_cache(cache_folder).cache_path


def jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function on first use, without the GIL and with the disk cache."""

    def decorate(py_func: Callable[..., Any]) -> Any:
        dispatcher = njit(**OPTIONS, **DRIVER_OPTIONS, **options)(py_func)
        if not hasattr(dispatcher, "_cache"):  # NUMBA_DISABLE_JIT hands back plain Python
            return dispatcher
        dispatcher._cache = kernel_cache(py_func, repr(sorted(options.items())))
        return dispatcher

    return decorate


# For what only compiled code calls: nothing is compiled for calls from Python.
inner = jit(no_cpython_wrapper=True)


def specialize(formula: Any, dtype: Any) -> Any:
    """Compile a registry formula in one precision, with the engine's elementary functions."""
    elementary = {"sqrt": np.sqrt, **elementary_functions(dtype)}
    return rebind(formula, dtype, elementary, njit(**OPTIONS))


def compile_kernel(py_func: Callable[..., Any], signature: Any, key: str) -> CFunc:
    """Compile a formula kernel into a C function with an `address`; keep the result alive."""
    kernel = CFunc(
        py_func,
        sigutils.normalize_signature(signature),
        locals={},
        options={"nopython": True, **OPTIONS},
    )
    kernel._cache = kernel_cache(py_func, key)
    kernel.compile()
    return kernel


def check_compiler() -> None:
    """Refuse to compute where Numba has been told to leave functions as they are.

    Raises
    ------
    RuntimeError
        If NUMBA_DISABLE_JIT is set.
    """
    if numba.config.DISABLE_JIT:
        raise RuntimeError(
            "The environment variable NUMBA_DISABLE_JIT is set, but kernels compute only where "
            "Numba compiles them. Unset it and start Python anew."
        )
