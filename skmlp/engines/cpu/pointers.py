"""Addresses and typed pointers inside compiled code, and calls through an address."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator]
def pointer(typingctx, array, offset):  # type: ignore[no-untyped-def]
    """``pointer(array, offset)``: address of an element of a contiguous array."""
    signature = types.CPointer(array.dtype)(array, types.int64)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def pointer_at(typingctx, address, like):  # type: ignore[no-untyped-def]
    """``pointer_at(address, like)``: an integer address as a pointer of `like`'s type."""
    signature = like(types.int64, like)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], args[1].type)

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def advance(typingctx, base, offset):  # type: ignore[no-untyped-def]
    """``advance(base, offset)``: the pointer `offset` elements further on."""
    signature = base(base, types.int64)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.gep(args[0], [args[1]])

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def call_kernel(typingctx, address, arguments):  # type: ignore[no-untyped-def]
    """``call_kernel(address, (a, b, ...))``: call a formula kernel that returns nothing."""
    signature = types.void(types.int64, arguments)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        values = cgutils.unpack_tuple(builder, args[1])
        function_type = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        function = builder.inttoptr(args[0], function_type.as_pointer())
        builder.call(function, values)
        return context.get_dummy_value()

    return signature, codegen


def _pointer_factory(scalar: Any) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def typed_pointer(typingctx, address):  # type: ignore[no-untyped-def]
        signature = types.CPointer(scalar)(types.int64)

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return signature, codegen

    return typed_pointer


float32_pointer = _pointer_factory(types.float32)
float64_pointer = _pointer_factory(types.float64)
int32_pointer = _pointer_factory(types.int32)
int64_pointer = _pointer_factory(types.int64)
