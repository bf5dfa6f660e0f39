"""From a kernel to machine code for one compute capability, kept on disk.

Neither step needs a GPU: Numba compiles to PTX, NVIDIA's linker to a cubin. A cubin's file is
named after everything it depends on, the sources of all kernels and formulas included.
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from uuid import uuid4

from numba.core.errors import NumbaError

from skmlp.engines.cuda.device import compiling_for, cuda
from skmlp.engines.cuda.kernels import Kernel
from skmlp.engines.cuda.ptx import for_capability
from skmlp.engines.folders import place_to_store, places_to_look
from skmlp.engines.listeners import compiling

# What turns a kernel into machine code, besides the libraries of the CUDA toolkit.
PACKAGES = ("cuda-core", "llvmlite", "numba", "numba-cuda")
TOOLKIT = ("nvidia-cuda-nvcc", "nvidia-nvjitlink", "nvidia-nvvm")


@dataclass(frozen=True)
class Compiled:
    """Machine code of one kernel.

    Attributes
    ----------
    cubin : bytes
    entry : str
        Its name there.
    report : str
        What the assembler says of registers and spills; empty if it comes from the disk.
    folder : str
        Where it is kept on disk; empty if it is not.
    """

    cubin: bytes
    entry: str
    report: str = ""
    folder: str = ""


def compile_ptx(kernel: Kernel, capability: tuple[int, int]) -> str:
    """Return a kernel's PTX.

    Raises
    ------
    ValueError
        If a user's function is a part of it, and cannot be compiled.
    """
    with compiling_for(capability):
        bounds = kernel.threads, kernel.blocks
        try:
            ptx, _ = cuda.compile_ptx(
                kernel.py_func, kernel.signature, cc=capability, launch_bounds=bounds
            )
        except NumbaError as error:
            if not kernel.source:
                raise
            # What is wrong stands among much about where it was found.
            *_, reason = re.findall(r"Error: (.+)", str(error)) or str(error).strip().splitlines()
            raise ValueError(f"{kernel.source} cannot be compiled for CUDA: {reason}") from error
    return for_capability(str(ptx), capability)


def entry_of(ptx: str) -> str:
    """Return the name of the kernel in its PTX."""
    found = re.search(r"\.entry\s+(\w+)", ptx)
    assert found is not None
    return found.group(1)


def assemble(ptx: str, capability: tuple[int, int]) -> Compiled:
    """Turn PTX into machine code."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch=f"sm_{capability[0]}{capability[1]}", ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    cubin = bytes(linker.link("cubin").code)
    return Compiled(cubin, entry_of(ptx), str(linker.get_info_log()))


def compile_kernel(kernel: Kernel, capability: tuple[int, int]) -> Compiled:
    """Compile a kernel for as many blocks on a multiprocessor as it asks for, if nothing spills.

    Where registers do not suffice for that, they are left to fewer blocks.
    """
    ptx = compile_ptx(kernel, capability)
    compiled = assemble(ptx, capability)
    if kernel.blocks > 1 and re.search("[1-9][0-9]* bytes spill", compiled.report):
        return assemble(re.sub(r"\.minnctapersm \d+", ".minnctapersm 1", ptx), capability)
    return compiled


@cache
def source_stamp() -> str:
    """Return a digest of every source that a kernel can come from, and of the compilers."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    sources = [package / "engines" / "formulas.py"]
    for folder in (package / "network", package / "engines" / "cuda"):
        sources += sorted(folder.glob("*.py"))
    for path in sources:
        digest.update(path.read_bytes())
    compilers = {
        f"{name} {distribution.version}"
        for distribution in distributions()
        if (name := distribution.metadata["Name"] or "") in PACKAGES or name.startswith(TOOLKIT)
    }
    digest.update(repr(sorted(compilers)).encode())
    return digest.hexdigest()


def file_name(kernel: Kernel, capability: tuple[int, int]) -> str:
    key = repr((source_stamp(), kernel.name, kernel.threads, kernel.blocks, capability))
    return f"{kernel.name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.cubin"


def load(kernel: Kernel, capability: tuple[int, int]) -> Compiled | None:
    """Return machine code from the disk, None if there is none that can be used."""
    for folder in places_to_look("cuda"):
        try:
            content = (folder / file_name(kernel, capability)).read_bytes()
            entry, digest, cubin = content.split(b"\n", 2)
        except (OSError, ValueError):  # not there, or cut off
            continue
        if hashlib.sha256(cubin).hexdigest().encode() == digest:
            return Compiled(cubin, entry.decode(), folder=str(folder))
    return None


def save(kernel: Kernel, capability: tuple[int, int], compiled: Compiled) -> Compiled:
    """Keep machine code on disk, in the first folder that can be written; return it with that."""
    digest = hashlib.sha256(compiled.cubin).hexdigest()
    content = b"\n".join((compiled.entry.encode(), digest.encode(), compiled.cubin))
    folder = place_to_store("cuda")
    if folder is None:
        return compiled
    name = file_name(kernel, capability)
    unfinished = folder / f"{name}.{uuid4().hex[:16]}"
    try:
        # Not a temporary file, which no other user could read.
        unfinished.write_bytes(content)
        unfinished.replace(folder / name)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        return compiled
    return replace(compiled, folder=str(folder))


def machine_code(kernel: Kernel, capability: tuple[int, int]) -> Compiled:
    """Return a kernel's machine code, compiled only if it is not on disk."""
    found = load(kernel, capability)
    if found is None:
        with compiling(kernel.name):
            found = compile_kernel(kernel, capability)
        found = save(kernel, capability, found)
    return found
