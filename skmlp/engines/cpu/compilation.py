"""How kernels are compiled and cached on disk.

Two kinds of compiled functions:

- *drivers*, decorated with `jit`: they know the order of the work but no formula;
- *formula kernels*, made by `compile_kernel`: a loop around one registry formula, compiled on
  first use into a C function whose address the drivers call. A new activation thus compiles its
  own two loops and never a driver.

Both are kept on disk (`engines.cpu.disk_cache`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import config, njit, types
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError

from skmlp.engines.cpu.disk_cache import KernelCache, driver_stamp, formula_stamp, keep_on_disk
from skmlp.engines.cpu.elementary import elementary_functions
from skmlp.engines.formulas import rebind

# Reassociation and contraction let loops vectorize; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
OPTIONS = {"error_model": "numpy", "fastmath": FASTMATH}
# Numba would count the references to every array in every call, by atomic operations on memory
# that all threads share. Nothing is allocated here, and callers keep what they pass. The option
# is Numba's own, without a promise: a test looks whether it still works.
DRIVER_OPTIONS = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}


def jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function on first use, without the GIL and with the disk cache."""

    def decorate(py_func: Callable[..., Any]) -> Any:
        dispatcher = njit(**OPTIONS, **DRIVER_OPTIONS, **options)(py_func)
        if not hasattr(dispatcher, "_cache"):  # NUMBA_DISABLE_JIT hands back plain Python
            return dispatcher
        key = repr(sorted(options.items()))
        keep_on_disk(dispatcher, KernelCache(py_func, key, driver_stamp))
        return dispatcher

    return decorate


# For what only compiled code calls: nothing is compiled for calls from Python.
inner = jit(no_cpython_wrapper=True)


class Separate:
    """A function that compiled code calls by its address, compiled when a fit asks for it.

    What drivers call by its name is compiled with each of them, whether a fit needs it or not.
    """

    def __init__(self, py_func: Callable[..., Any], returned: Any) -> None:
        self._py_func = py_func
        self._returned = returned
        self._compiled: dict[Any, CFunc] = {}

    def address(self, arguments: tuple[Any, ...], key: str) -> int:
        """Return the address of the code for arguments of these types, of which there is a key."""
        if key not in self._compiled:
            signature = self._returned(*arguments)
            self._compiled[key] = compile_kernel(self._py_func, signature, key, is_driver=True)
        return int(self._compiled[key].address)


def separate(returned: Any = types.void) -> Callable[[Callable[..., Any]], Separate]:
    """Compile a function of drivers by itself."""
    return lambda py_func: Separate(py_func, returned)


# Into its loop, which cannot be vectorized around a call: LLVM would leave long formulas out. What
# a formula divides by stays a division: two by one number may become its inverse and products in
# the loop of vectors and not in the loop of the rest, or the other way round, and results would
# depend on where in an array a number stands.
inlined = njit(
    error_model="numpy", fastmath=FASTMATH - {"arcp"}, forceinline=True, no_cfunc_wrapper=True
)


@cache
def specialize(formula: Any, dtype: Any) -> Any:
    """Compile a registry formula in one precision, with the engine's elementary functions.

    Several kernels of a formula share the result.
    """
    elementary = {"sqrt": np.sqrt, **elementary_functions(dtype)}
    return rebind(formula, dtype, elementary, inlined)


def check_compiles(function: Any, scalars: tuple[Any, ...], what: str) -> None:
    """Compile a user's function of numbers of some types, and refuse what kernels could not call.

    Raises
    ------
    ValueError
        If it cannot be compiled, or does not return a real number whatever it is given.
    """
    try:
        function.compile(scalars)
    except NumbaError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"{what} cannot be compiled: {reason}") from error
    (compiled,) = function.overloads.values()
    returned = compiled.signature.return_type
    if not isinstance(returned, types.Float | types.Integer | types.Boolean):
        raise ValueError(f"{what} must return a real number in every case, but returns {returned}.")


def compile_kernel(
    py_func: Callable[..., Any],
    signature: Any,
    key: str,
    *,
    keeps_order: bool = False,
    is_driver: bool = False,
) -> CFunc:
    """Compile a formula kernel into a C function with an `address`; keep the result alive.

    If `keeps_order`, sums and differences are computed in the order in which they are written. What
    `is_driver` contains no formula.
    """
    options: dict[str, Any] = {"nopython": True, **OPTIONS}
    if keeps_order:
        options["fastmath"] = FASTMATH - {"reassoc"}
    if is_driver:
        options["_nrt"] = False
    kernel = CFunc(py_func, sigutils.normalize_signature(signature), locals={}, options=options)
    stamp = driver_stamp if is_driver else formula_stamp
    keep_on_disk(kernel, KernelCache(py_func, key, stamp))
    kernel.compile()
    return kernel


def check_compiler() -> None:
    """Refuse to compute where Numba has been told to leave functions as they are.

    Raises
    ------
    RuntimeError
        If NUMBA_DISABLE_JIT is set.
    """
    if config.DISABLE_JIT:
        raise RuntimeError(
            "The environment variable NUMBA_DISABLE_JIT is set, but kernels compute only where "
            "Numba compiles them. Unset it and start Python anew."
        )
