"""Arithmetic without denormal numbers, for as long as a driver runs.

A unit that has died leaves a first moment that shrinks with every step, soon below the smallest
normal number, and there stays. Processors take some hundred times as long for such numbers, so a
fit would become several times slower the longer it lasts. They are taken for zero instead.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from skmlp.engines.cpu.registers import IS_ARM64, IS_X86

_word = ir.IntType(32)
_long = ir.IntType(64)

# Bits of the control register: results flushed to zero, and (x86) operands taken for zero.
_X86_BITS = 0x8000 | 0x0040
_ARM_BITS = 1 << 24


def _access_x86(builder: Any, place: Any, name: str) -> None:
    opaque = ir.IntType(8).as_pointer()
    function_type = ir.FunctionType(ir.VoidType(), [opaque])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    builder.call(function, [builder.bitcast(place, opaque)])


def _read_control(builder: Any) -> Any:
    if IS_X86:
        place = cgutils.alloca_once(builder, _word)
        _access_x86(builder, place, "llvm.x86.sse.stmxcsr")
        return builder.zext(builder.load(place), _long)
    if IS_ARM64:
        function_type = ir.FunctionType(_long, [])
        name = "llvm.aarch64.get.fpcr"
        return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [])
    return ir.Constant(_long, 0)


def _write_control(builder: Any, control: Any) -> None:
    if IS_X86:
        place = cgutils.alloca_once(builder, _word)
        builder.store(builder.trunc(control, _word), place)
        _access_x86(builder, place, "llvm.x86.sse.ldmxcsr")
    elif IS_ARM64:
        function_type = ir.FunctionType(ir.VoidType(), [_long])
        name = "llvm.aarch64.set.fpcr"
        builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [control])


@intrinsic
def flush_denormals(typingctx):
    """Take denormal numbers for zero from now on; return what `restore_denormals` needs."""

    def codegen(context, builder, signature, args):
        control = _read_control(builder)
        bits = _X86_BITS if IS_X86 else _ARM_BITS
        _write_control(builder, builder.or_(control, ir.Constant(_long, bits)))
        return control

    return types.int64(), codegen


@intrinsic
def restore_denormals(typingctx, control):
    """Go back to the arithmetic from before `flush_denormals`."""

    def codegen(context, builder, signature, args):
        _write_control(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
