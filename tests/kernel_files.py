"""Which compiled kernels a process uses, told by the names of their files."""

# The beginning of a script, which lists them in the order of their first use.
LOOKED_FOR = """
from skmlp.engines.cpu.disk_cache import KernelCache
looked_for = []
find = KernelCache._find
def noting(cache, entry, folders, context):
    looked_for.append(cache._file("", entry)._index_name.removesuffix(".nbi"))
    return find(cache, entry, folders, context)
KernelCache._find = noting
"""


def is_driver(name):
    """Tell whether a file is that of a driver: formula kernels are made within functions."""
    return ".locals." not in name
