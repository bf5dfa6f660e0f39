"""Matrix products inside compiled code, on one thread each.

`gemm` calls the BLAS that Numba already uses for ``np.dot`` (SciPy's) with explicit leading
dimensions, so that blocks of rows or columns and transposes need no copy.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

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
def blas_controller() -> ThreadpoolController:
    # Looking the libraries up takes most of a millisecond, so it is done once.
    return ThreadpoolController().select(user_api="blas")


class _SingleThreadGuard:
    """Counts who needs single-threaded BLAS; the last one to leave restores it.

    Overlapping fits in several threads would otherwise restore each other's limits too early.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limiter: object = None

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                self._limiter = blas_controller().limit(limits=1)
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limiter.restore_original_limits()  # type: ignore[attr-defined]


_guard = _SingleThreadGuard()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread: the kernels split the work themselves."""
    _guard.enter()
    try:
        yield
    finally:
        _guard.leave()
