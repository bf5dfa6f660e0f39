"""Compiled kernels on disk: read where they are, stored where one can write.

Numba notices changes only in the file of the function it caches, not in the formulas that
function calls. `KernelCache` therefore stamps every entry with the sources it can come from, and
it never lets an unusable cache folder stop a fit. Of several processes that miss an entry one
compiles it (`engines.cpu.locks`). Whoever wants to know what is compiled listens
(`engines.listeners`).
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numba
from numba.core.caching import IndexDataCacheFile, NullCache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import _nrt_python as runtime

from skmlp.engines.cpu.locks import patience, turn
from skmlp.engines.folders import place_to_store, places_to_look
from skmlp.engines.listeners import compiling

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


def digest(*sources: Any) -> str:
    """Return a digest of source files and of all source files in folders."""
    content = hashlib.sha256()
    for source in sources:
        files = [source] if source.is_file() else source.iterdir()
        modules = sorted((f for f in files if f.name.endswith(".py")), key=lambda f: f.name)
        if not modules:  # an application frozen into bytecode: no cache could notice a change
            raise FileNotFoundError(f"no source files in {source}")
        for module in modules:
            content.update(module.read_bytes())
    return content.hexdigest()


@cache
def driver_stamp() -> str:
    """Return a digest of all that drivers can come from: the kernels, and no formula."""
    return digest(resources.files("skmlp") / "engines" / "cpu")


@cache
def formula_stamp() -> str:
    """Return a digest of all that formula kernels can come from."""
    package = resources.files("skmlp")
    formulas = digest(package / "engines" / "formulas.py", package / "network")
    return f"{driver_stamp()} {formulas}"


class History(NamedTuple):
    """What became of this process's entries.

    Attributes
    ----------
    folders : list of Path
        Where each was found or stored.
    failures : list of str
        Why others could not be stored.
    """

    folders: list[Path]
    failures: list[str]


history = History([], [])


class KernelCache(NullCache):
    """Compiled code of one function on disk, in Numba's format.

    Numba looks into one folder, the first that can be written. It numbers the entries of a
    function and writes index and data one after the other, so two processes that store different
    entries at once, or a full disk, can leave a number that means another entry's code. Here
    every entry has a file of its own, whose name says everything that its content depends on, the
    kind of processor included.

    Parameters
    ----------
    py_func : function
    key : str
        What tells it from others of its name: closures over compiled formulas have no stable hash.
    stamp : function
        Returns a digest of the sources.
    """

    def __init__(self, py_func: Callable[..., Any], key: str, stamp: Callable[[], str]) -> None:
        self._name = py_func.__qualname__
        self._key = f"{py_func.__module__}.{self._name} {key}"
        self._stamp = stamp
        self._ends: ExitStack | None = None

    @contextmanager
    def compilation(self) -> Iterator[None]:
        """Surround what may compile; what `load_overload` begins ends with it, however it ends."""
        with global_compiler_lock, ExitStack() as ends:
            outer, self._ends = self._ends, ends
            try:
                yield
            finally:
                self._ends = outer

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            entry = self._entry(sig, target_context.codegen())
        except OSError:
            found = folder = None
        else:
            found = self._find(entry, places_to_look("cpu"), target_context)
            folder = place_to_store("cpu") if found is None else None
        if found is None and self._ends is not None:
            if folder is not None:
                found = self._wait_for(entry, folder, target_context, self._ends)
            if found is None:
                self._ends.enter_context(compiling(self._name))
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            folder = place_to_store("cpu")
            entry = self._entry(sig, data.codegen)
            if folder is None or data.lifted or data.library.has_dynamic_globals:
                raise OSError(f"no folder can keep {self._name}")
            folder.mkdir(parents=True, exist_ok=True)
            file = self._file(folder, entry)
            file.flush()
            file.save(entry, data._reduce())
        except Exception as error:  # a full disk, for instance
            history.failures.append(str(error))
        else:
            history.folders.append(folder)

    def _entry(self, sig: Any, codegen: Any) -> str:
        """Return what identifies compiled code."""
        python = sys.implementation.cache_tag, getattr(sys, "abiflags", "")
        about = (self._key, sig, codegen.magic_tuple(), self._stamp(), numba.__version__, python)
        return repr(about)

    def _file(self, folder: Path, entry: str) -> IndexDataCacheFile:
        name = self._name.replace("<", "").replace(">", "")
        name = f"{name}-{hashlib.sha256(entry.encode()).hexdigest()[:24]}"
        return IndexDataCacheFile(cache_path=str(folder), filename_base=name, source_stamp="")

    def _find(self, entry: str, folders: Iterable[Path], target_context: Any) -> Any:
        if NEEDS_RUNTIME_ONLY:
            link_runtime()
        else:
            target_context.refresh()
        for folder in folders:
            # Whatever a missing, unreadable or damaged file raises while it is unpickled (nearly
            # any exception can come of it), the remedy is to compile.
            try:
                data = self._file(folder, entry).load(entry)
                found = None if data is None else CompileResult._rebuild(target_context, *data)
            except Exception:
                continue
            if found is not None:
                history.folders.append(folder)
                return found
        return None

    def _wait_for(self, entry: str, folder: Path, target_context: Any, ends: ExitStack) -> Any:
        """Wait for a process that compiles this; if it was for nothing, it is our turn."""
        waited = ends.enter_context(turn(folder, entry))
        found = self._find(entry, [folder], target_context)
        if found is None:
            patience.seconds -= waited
        return found


def keep_on_disk(compiled: Any, cache: KernelCache) -> None:
    """Let a dispatcher or a C function use the disk cache."""
    compile_now = compiled.compile

    def compile_or_load(*arguments: Any) -> Any:
        with cache.compilation():
            return compile_now(*arguments)

    compiled._cache = cache
    compiled.compile = compile_or_load


if hasattr(os, "register_at_fork"):
    # A child that another thread forks while something is compiled would wait for ever for
    # Numba's lock, whose owner it lacks. It is forked after the compilation instead.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
