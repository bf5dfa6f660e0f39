"""From a kernel to machine code for one compute capability, kept on disk.

Neither step needs a GPU: Numba compiles to PTX, NVIDIA's linker to a cubin. A cubin's file is
named after everything it depends on, the sources of all kernels and formulas included.
"""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from skmlp.engines.cuda.device import compiling_for, cuda
from skmlp.engines.cuda.kernels import Kernel
from skmlp.engines.cuda.ptx import for_capability
from skmlp.engines.listeners import tell_of_compilation

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
    """Return a kernel's PTX."""
    with compiling_for(capability):
        bounds = kernel.threads, kernel.blocks
        ptx, _ = cuda.compile_ptx(
            kernel.py_func, kernel.signature, cc=capability, launch_bounds=bounds
        )
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


def cache_folders() -> list[Path]:
    """Return the folders to keep machine code in, the best one first."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    own = Path(__file__).parent / "__pycache__"
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skmlp"
    return [Path(chosen) / "skmlp-cuda"] if chosen else [own, users]


def file_name(kernel: Kernel, capability: tuple[int, int]) -> str:
    key = repr((source_stamp(), kernel.name, kernel.threads, kernel.blocks, capability))
    return f"{kernel.name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.cubin"


def load(kernel: Kernel, capability: tuple[int, int]) -> Compiled | None:
    """Return machine code from the disk, None if there is none that can be used."""
    for folder in cache_folders():
        try:
            content = (folder / file_name(kernel, capability)).read_bytes()
        except OSError:
            continue
        entry, digest, cubin = content.split(b"\n", 2)
        if hashlib.sha256(cubin).hexdigest().encode() == digest:
            return Compiled(cubin, entry.decode(), folder=str(folder))
    return None


def save(kernel: Kernel, capability: tuple[int, int], compiled: Compiled) -> Compiled:
    """Keep machine code on disk, in the first folder that can be written; return it with that."""
    digest = hashlib.sha256(compiled.cubin).hexdigest()
    content = b"\n".join((compiled.entry.encode(), digest.encode(), compiled.cubin))
    for folder in cache_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(content)
            os.replace(file.name, folder / file_name(kernel, capability))
        except OSError:
            continue
        return replace(compiled, folder=str(folder))
    return compiled


def machine_code(kernel: Kernel, capability: tuple[int, int]) -> Compiled:
    """Return a kernel's machine code, compiled only if it is not on disk."""
    found = load(kernel, capability)
    if found is None:
        tell_of_compilation(kernel.name)
        found = compile_kernel(kernel, capability)
        found = save(kernel, capability, found)
    return found
