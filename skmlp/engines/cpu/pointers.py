"""Addresses and typed pointers inside compiled code, and calls through an address."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def pointer(typingctx, array, offset):
    """``pointer(array, offset)``: address of an element of a contiguous array."""
    signature = types.CPointer(array.dtype)(array, types.int64)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return signature, codegen


@intrinsic
def pointer_at(typingctx, address, like):
    """``pointer_at(address, like)``: an integer address as a pointer of `like`'s type."""
    signature = like(types.int64, like)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], args[1].type)

    return signature, codegen


@intrinsic
def advance(typingctx, base, offset):
    """``advance(base, offset)``: the pointer `offset` elements further on."""
    signature = base(base, types.int64)

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return signature, codegen


@intrinsic
def address(typingctx, base):
    """``address(pointer)``: a pointer as an integer."""
    signature = types.int64(base)

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(args[0], context.get_value_type(types.int64))

    return signature, codegen


@intrinsic
def prefetch(typingctx, base):
    """``prefetch(pointer)``: have a cache line brought near (second level), without waiting."""
    signature = types.void(base)

    def codegen(context, builder, signature, args):
        flag = ir.IntType(32)
        opaque = ir.IntType(8).as_pointer()
        function_type = ir.FunctionType(ir.VoidType(), [opaque, flag, flag, flag])
        function = cgutils.get_or_insert_function(
            builder.module, function_type, "llvm.prefetch.p0i8"
        )
        reading, second_level, data = (ir.Constant(flag, value) for value in (0, 2, 1))
        line = builder.bitcast(args[0], opaque)
        builder.call(function, (line, reading, second_level, data))
        return context.get_dummy_value()

    return signature, codegen


def _caller(returned: Any) -> Any:
    @intrinsic
    def call(typingctx, address, arguments):
        def codegen(context, builder, signature, args):
            values = cgutils.unpack_tuple(builder, args[1])
            is_void = returned is types.void
            result = ir.VoidType() if is_void else context.get_value_type(returned)
            function_type = ir.FunctionType(result, [value.type for value in values])
            function = builder.inttoptr(args[0], function_type.as_pointer())
            answer = builder.call(function, values)
            return context.get_dummy_value() if is_void else answer

        return returned(types.int64, arguments), codegen

    return call


# ``call_kernel(address, (a, b, ...))``: call a kernel, or a pass, that returns nothing.
call_kernel = _caller(types.void)
# The same of one that returns an integer.
call_counting = _caller(types.int64)


def loader(scalar: Any, count: int) -> Any:
    """Return ``load(base, stride, i)``: the numbers ``base[i + k * stride]`` as a tuple.

    There are `count` of them, converted to a scalar type of Numba.
    """

    @intrinsic
    def load(typingctx, base, stride, i):
        signature = types.Tuple([scalar] * count)(base, types.int64, types.int64)

        def codegen(context, builder, signature, args):
            pointer, stride, place = args
            values = []
            for _ in range(count):
                value = builder.load(builder.gep(pointer, [place]))
                values.append(context.cast(builder, value, base.dtype, scalar))
                place = builder.add(place, stride)
            return context.make_tuple(builder, signature.return_type, values)

        return signature, codegen

    return load


@intrinsic
def store_all(typingctx, base, stride, i, numbers):
    """``store_all(base, stride, i, numbers)``: ``base[i + k * stride] = numbers[k]``."""
    signature = types.void(base, types.int64, types.int64, numbers)

    def codegen(context, builder, signature, args):
        pointer, stride, place, values = args
        for kind, value in zip(numbers, cgutils.unpack_tuple(builder, values), strict=True):
            converted = context.cast(builder, value, kind, base.dtype)
            builder.store(converted, builder.gep(pointer, [place]))
            place = builder.add(place, stride)
        return context.get_dummy_value()

    return signature, codegen


def _pointer_factory(scalar: Any) -> Any:
    @intrinsic
    def typed_pointer(typingctx, address):
        signature = types.CPointer(scalar)(types.int64)

        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return signature, codegen

    return typed_pointer


float32_pointer = _pointer_factory(types.float32)
float64_pointer = _pointer_factory(types.float64)
int32_pointer = _pointer_factory(types.int32)
int64_pointer = _pointer_factory(types.int64)
