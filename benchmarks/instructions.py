"""What the inner loops of the CUDA kernels' products consist of; no GPU is needed."""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import measure
from benchmarks.report import Table
from skmlp.__main__ import compute_capability
from skmlp.engines.cuda.discovery import INSTALL, discover

# Multiplications by prefix, and the least part of a loop that makes it the loop of a product:
# an instruction on tensor cores takes as long as several others.
MULTIPLICATIONS = {"FFMA": 0.4, "DFMA": 0.4, "HMMA": 0.1}
FROM_MEMORY = ("LD.", "LDS", "LDG")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``instructions``."""
    parser.add_argument("--compute-capability", type=compute_capability, default=(9, 0),
                        metavar="X.Y")  # fmt: skip
    parser.add_argument("--kernels", nargs="+", default=[""], metavar="TEXT",
                        help="only kernels whose name contains one of these")  # fmt: skip


def run(arguments: argparse.Namespace) -> list[Table]:
    """Compile the chosen kernels and count."""
    if discover().packages["numba-cuda"] is None:
        raise ModuleNotFoundError(f"numba-cuda is missing: {INSTALL}")
    from skmlp.engines.cuda.catalogue import kernels_for
    from skmlp.engines.cuda.compilation import compile_kernel
    from skmlp.engines.cuda.kernels import DTYPES

    major, minor = arguments.compute_capability
    program = disassembler()
    rows = []
    for kernel in kernels_for(DTYPES, (major, minor)):
        if not any(text in kernel.name for text in arguments.kernels):
            continue
        measure.progress(f"instructions, {kernel.name}")
        compiled = compile_kernel(kernel, (major, minor))
        registers = re.search(r"Used (\d+) registers", compiled.report)
        for line in product_loops(disassemble(program, compiled.cubin)):
            facts = {"kernel": kernel.name, "threads": kernel.threads}
            facts["registers"] = int(registers.group(1)) if registers else None
            rows.append({**facts, **line})
    title = f"Loops of products in machine code for compute capability {major}.{minor}"
    columns = ["kernel", "threads", "registers", "instructions", "multiply", "load", "multiply/all"]
    note = "Each multiprocessor issues four instructions per cycle, of which FFMA can be all."
    return [Table(title, columns, rows or [{"kernel": "none"}], [note])]


def disassembler() -> str:
    """Return the path of nvdisasm."""
    from cuda.pathfinder import find_nvidia_binary_utility

    path = find_nvidia_binary_utility("nvdisasm")
    if path is None:
        raise FileNotFoundError("nvdisasm is missing: pip install nvidia-cuda-nvdisasm")
    return str(path)


def disassemble(program: str, cubin: bytes) -> str:
    """Return machine code as text."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [program, "-c", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def product_loops(text: str) -> Iterator[dict[str, Any]]:
    """Yield what the innermost loops consist of that mostly multiply, in the order they stand."""
    names, loops = read_listing(text)
    for first, last in loops:
        inner = any(first <= a and b <= last for a, b in loops if (a, b) != (first, last))
        counts = Counter(names[first : last + 1])
        total = last + 1 - first
        for prefix, least in MULTIPLICATIONS.items():
            multiply = count_of(counts, (prefix,))
            if not inner and multiply >= least * total:
                yield {
                    "instructions": total,
                    "multiply": multiply,
                    "load": count_of(counts, FROM_MEMORY),
                    "multiply/all": multiply / total,
                    "mix": dict(counts.most_common()),
                }


def count_of(counts: Counter[str], prefixes: Sequence[str]) -> int:
    return sum(count for name, count in counts.items() if name.startswith(tuple(prefixes)))


def read_listing(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the names of all instructions, and the first and last number of every loop's."""
    names: list[str] = []
    labels: dict[str, int] = {}
    loops = []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label.group(1)] = len(names)
        elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)(.*);", line):
            name, rest = found.groups()
            target = re.search(r"`\((\.L_x_\d+)\)", rest)
            if name.startswith("BRA") and target and target.group(1) in labels:
                loops.append((labels[target.group(1)], len(names)))
            names.append(name)
    return names, loops
