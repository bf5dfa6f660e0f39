"""All inline PTX: instructions that Numba has no name for.

In the simulator the rounding is done by NumPy; the products of fragments have no counterpart
there (`tensor.py` says what takes their place).

References
----------
NVIDIA, "Parallel Thread Execution ISA", sections on ``cvt`` and ``mma``.
"""

from typing import Any

import numpy as np

from skmlp.engines.cuda.device import SIMULATED

# From this compute capability on there are tensor cores for these precisions.
TENSOR_CAPABILITY = (8, 0)
# From this one on rounding to tf32 is one instruction instead of three, if ties go to even.
ROUNDING_CAPABILITY = (9, 0)


def for_capability(text: str, capability: tuple[int, int]) -> str:
    """Replace instructions in PTX by better ones that a compute capability has."""
    if capability >= ROUNDING_CAPABILITY:
        return text.replace("cvt.rna.tf32.f32", "cvt.rn.tf32.f32")
    return text


def rounded_bits(x: Any, dropped: int, *, ties_away: bool) -> Any:
    """Return a float32 without its last `dropped` bits, rounded to nearest."""
    bits = int(np.float32(x).view(np.uint32))
    if bits & 0x7F800000 == 0x7F800000:  # infinity and NaN stay
        return np.float32(x)
    half = 1 << (dropped - 1)
    is_odd = (bits >> dropped) & 1
    bits += half if ties_away else half - 1 + is_odd
    return np.uint32(bits >> dropped << dropped).view(np.float32)


if SIMULATED:
    from skmlp.engines.cuda.simulation import give_way

    def arrive(counter: Any) -> None:
        """Add one to a counter in global memory, after all that the block has written."""
        counter[0] += 1
        give_way()

    def arrived(counter: Any) -> Any:
        """Return a counter; what its other blocks wrote before they arrived can be read then."""
        give_way()
        return counter[0]

    def to_tf32(x: Any) -> Any:
        """Round to 10 bits after the point, ties away from zero."""
        return rounded_bits(x, 13, ties_away=True)

    def to_bf16(x: Any) -> Any:
        """Round to 7 bits after the point, ties to even."""
        return rounded_bits(x, 16, ties_away=False)

else:
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic
    from numba.cuda.typing import signature

    REAL, BITS = ir.FloatType(), ir.IntType(32)

    def _assembler(builder, result, arguments, text, constraints):
        function = ir.FunctionType(result, [argument.type for argument in arguments])
        return builder.asm(function, text, constraints, arguments, side_effect=False)

    def _address(builder, pointer):
        return builder.ptrtoint(pointer, ir.IntType(64))

    def _assembler_on_memory(builder, result, arguments, text, constraints):
        function = ir.FunctionType(result, [argument.type for argument in arguments])
        return builder.asm(function, text, constraints, arguments, side_effect=True)

    @intrinsic
    def arrive(typing_context, counter):
        """Add one to a counter in global memory, after all that the block has written."""

        def generate(context, builder, signature, arguments):
            _assembler_on_memory(
                builder,
                ir.VoidType(),
                [_address(builder, arguments[0])],
                "red.release.gpu.add.u32 [$0], 1;",
                "l,~{memory}",
            )
            return context.get_dummy_value()

        return signature(types.void, counter), generate

    @intrinsic
    def arrived(typing_context, counter):
        """Return a counter; what its other blocks wrote before they arrived can be read then."""

        def generate(context, builder, signature, arguments):
            return _assembler_on_memory(
                builder,
                BITS,
                [_address(builder, arguments[0])],
                "ld.acquire.gpu.u32 $0, [$1];",
                "=r,l,~{memory}",
            )

        return signature(types.uint32, counter), generate

    @intrinsic
    def to_tf32(typing_context, x):
        """Round to 10 bits after the point, ties away from zero (see `for_capability`)."""

        def generate(context, builder, signature, arguments):
            bits = _assembler(builder, BITS, arguments, "cvt.rna.tf32.f32 $0, $1;", "=r,f")
            return builder.bitcast(bits, REAL)

        return signature(types.float32, types.float32), generate

    @intrinsic
    def pack_bf16(typing_context, low, high):
        """Round two numbers to bfloat16, ties to even, and pack them into one word."""

        def generate(context, builder, signature, arguments):
            low, high = arguments
            return _assembler(builder, BITS, [high, low], "cvt.rn.bf16x2.f32 $0, $1, $2;", "=r,f,f")

        return signature(types.uint32, types.float32, types.float32), generate

    def _multiply(shape: str, element: str):
        """Return an intrinsic ``(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)`` for one shape."""
        text = (
            f"mma.sync.aligned.{shape}.row.col.f32.{element}.{element}.f32 "
            "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
        )
        constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)

        def generate(context, builder, signature, arguments):
            words = [builder.bitcast(argument, BITS) for argument in arguments[:6]]
            result = ir.LiteralStructType([REAL] * 4)
            totals = _assembler(builder, result, words + list(arguments[6:]), text, constraints)
            values = [builder.extract_value(totals, i) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, values)

        @intrinsic
        def multiply(typing_context, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
            word = a0
            totals = types.UniTuple(types.float32, 4)
            return signature(totals, *(word,) * 6, *(types.float32,) * 4), generate

        return multiply

    multiply_tf32 = _multiply("m16n8k8", "tf32")
    multiply_bf16 = _multiply("m16n8k16", "bf16")
