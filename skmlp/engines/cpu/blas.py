"""Matrix products inside compiled code, on one thread each.

`gemm` calls the BLAS that Numba already uses for ``np.dot`` (SciPy's) with explicit leading
dimensions, so that blocks of rows or columns and transposes need no copy.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import scipy.linalg.cython_blas  # noqa: F401  (loads the BLAS that Numba will look up)
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from threadpoolctl import ThreadpoolController

byte = ir.IntType(8)
word = ir.IntType(64)
opaque = byte.as_pointer()

# kind, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc
GEMM_ARGUMENTS = (
    *(byte, byte, byte, word, word, word),
    *(opaque, opaque, word, opaque, word, opaque, opaque, word),
)


@intrinsic
def gemm(typingctx, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    """``C = op(A) @ op(B) + beta * C`` for row-major matrices.

    `op(A)` is (m, k), `op(B)` is (k, n) and `C` is (m, n); the leading dimensions are the
    lengths of the rows in memory. `trans_a` and `trans_b` are 0 or 1, `beta` is 0 or 1.
    """
    size = types.int64
    signature = types.void(size, size, size, size, size, a, size, b, size, size, c, size)
    scalar = a.dtype

    def codegen(context, builder, signature, args):
        trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc = args
        value_type = context.get_value_type(scalar)
        one = cgutils.alloca_once_value(builder, ir.Constant(value_type, 1.0))
        beta_slot = cgutils.alloca_once_value(builder, builder.sitofp(beta, value_type))

        def flag(transposed):
            is_set = builder.icmp_signed("!=", transposed, ir.Constant(word, 0))
            return builder.select(is_set, ir.Constant(byte, ord("t")), ir.Constant(byte, ord("n")))

        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.IntType(32), GEMM_ARGUMENTS),
            "numba_xxgemm",
        )
        kind = ir.Constant(byte, ord("s" if scalar == types.float32 else "d"))
        # BLAS is column-major: it sees the transposes, so the factors change places.
        first = (kind, flag(trans_b), flag(trans_a), n, m, k, builder.bitcast(one, opaque))
        factors = (builder.bitcast(b, opaque), ldb, builder.bitcast(a, opaque), lda)
        last = (builder.bitcast(beta_slot, opaque), builder.bitcast(c, opaque), ldc)
        builder.call(function, [*first, *factors, *last])
        return context.get_dummy_value()

    return signature, codegen


@cache
def blas_libraries() -> list[Any]:
    """Return threadpoolctl's handles of the loaded BLAS libraries."""
    # Looking them up takes most of a millisecond, so it is done once.
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def set_blas_threads(library: Any, threads: int) -> None:
    # Since 3.8 threadpoolctl's public method does nothing in all but one thread of the process,
    # lest threads fight over a common setting. Ours do not: `_SingleThreadGuard` counts them.
    setter = getattr(library, "_real_set_num_threads", library.set_num_threads)
    setter(threads)


def limit_this_thread() -> None:
    """Give up BLAS threads for good in a thread of our own.

    Some builds keep the limit per thread, so the one set by the caller of the team does not
    hold for its other members.
    """
    for library in blas_libraries():
        set_blas_threads(library, 1)


class _SingleThreadGuard:
    """Knows who needs single-threaded BLAS; the last one to leave restores what was before.

    Overlapping fits in several threads would otherwise restore each other's limits too early.
    Users are a set of tokens and `_before` is kept until it has been restored, so that an
    interrupt at any point leaves nothing behind that the next user would not mend.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[object] = set()
        self._before: list[int] | None = None

    def enter(self, token: object) -> None:
        with self._lock:
            if self._before is None:
                self._before = [library.num_threads for library in blas_libraries()]
            self._users.add(token)
            limit_this_thread()

    def leave(self, token: object) -> None:
        with self._lock:
            self._users.discard(token)
            if not self._users:
                self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            for library, threads in zip(blas_libraries(), self._before, strict=True):
                set_blas_threads(library, threads)
            self._before = None

    def after_fork(self) -> None:
        """Forget, in a child process, the fits that were under way in its parent's threads."""
        self._lock = threading.Lock()
        self._users.clear()
        self._restore()


_guard = _SingleThreadGuard()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_guard.after_fork)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread: the kernels split the work themselves."""
    token = object()
    try:
        _guard.enter(token)
        yield
    finally:
        _guard.leave(token)
