"""Pointers: to advance them, to move four neighbors at once, and what else needs LLVM.

Addresses given to `load_four` and `store_four` are multiples of 16 bytes: every row of every
array of the engine begins at one.
"""

from typing import Any

import numpy as np

from skmlp.engines.cuda.device import SIMULATED


class SimulatedPointer:
    """A place in a flat array; reading or writing outside of the array is an error."""

    __slots__ = ("array", "start")

    def __init__(self, array: Any, start: int = 0) -> None:
        self.array = array
        self.start = start

    def _place(self, index: Any) -> int:
        place = self.start + int(index)
        if not 0 <= place < len(self.array):
            raise IndexError(f"element {place} of {len(self.array)} was asked for")
        return place

    def __getitem__(self, index: Any) -> Any:
        return self.array[self._place(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.array[self._place(index)] = value


if SIMULATED:

    def aligned(pointer: SimulatedPointer, index: int) -> int:
        """Return an index of four neighbors; a GPU cannot read them from anywhere else."""
        if (pointer.start + int(index)) % 4:
            raise ValueError(f"element {pointer.start + int(index)} is not the first of four")
        return int(index)

    def advance(pointer: SimulatedPointer, count: int) -> SimulatedPointer:
        """Return the pointer `count` elements further on."""
        return SimulatedPointer(pointer.array, pointer.start + int(count))

    def pointer_to(array: Any) -> SimulatedPointer:
        """Return a pointer to the first element of a shared array."""
        return SimulatedPointer(array)

    def load_four(pointer: SimulatedPointer, index: int) -> Any:
        """Return four neighbors."""
        first = aligned(pointer, index)
        return [pointer[first + lane] for lane in range(4)]

    def store_four(pointer: SimulatedPointer, index: int, *values: Any) -> None:
        """Write four neighbors."""
        first = aligned(pointer, index)
        for lane, value in enumerate(values):
            pointer[first + lane] = value

    def select(condition: Any, value: Any, other: Any) -> Any:
        """Return one of two numbers, both of which are computed."""
        return value if condition else other

    def loader(dtype: str, count: int) -> Any:
        """Return ``load(pointer, stride, index)``: `count` numbers as a tuple, in a precision.

        They are ``pointer[index + k * stride]``.
        """
        real = np.dtype(dtype).type

        def load(pointer: SimulatedPointer, stride: int, index: int) -> Any:
            return tuple(real(pointer[index + k * stride]) for k in range(count))

        return load

    def store_all(pointer: SimulatedPointer, stride: int, index: int, numbers: Any) -> None:
        """``pointer[index + k * stride] = numbers[k]`` for each number of a tuple."""
        for k, number in enumerate(numbers):
            pointer[index + k * stride] = number

else:
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic
    from numba.cuda.np import arrayobj
    from numba.cuda.typing import signature

    def _element(context, builder, pointer, index_type, index):
        """Return the address of an element; unsigned numbers are taken for what they are."""
        if not index_type.signed:
            index = builder.zext(index, ir.IntType(64)) if index_type.bitwidth < 64 else index
        return builder.gep(pointer, [index])

    @intrinsic
    def advance(typing_context, pointer, count):
        """Return the pointer `count` elements further on."""

        def generate(context, builder, signature, arguments):
            return _element(context, builder, arguments[0], count, arguments[1])

        return signature(pointer, pointer, count), generate

    @intrinsic
    def pointer_to(typing_context, array):
        """Return a pointer to the first element of a shared array."""

        def generate(context, builder, signature, arguments):
            return arrayobj.make_array(array)(context, builder, arguments[0]).data

        return signature(types.CPointer(array.dtype), array), generate

    def _vector_address(context, builder, element, pointer, index_type, index):
        vector = ir.VectorType(context.get_value_type(element), 4)
        address = _element(context, builder, pointer, index_type, index)
        return builder.bitcast(address, vector.as_pointer())

    @intrinsic
    def load_four(typing_context, pointer, index):
        """Return four neighbors."""

        def generate(context, builder, signature, arguments):
            address = _vector_address(
                context, builder, pointer.dtype, arguments[0], index, arguments[1]
            )
            vector = builder.load(address)
            vector.align = 16
            lanes = [
                builder.extract_element(vector, ir.Constant(ir.IntType(32), lane))
                for lane in range(4)
            ]
            return context.make_tuple(builder, signature.return_type, lanes)

        return signature(types.UniTuple(pointer.dtype, 4), pointer, index), generate

    @intrinsic
    def store_four(typing_context, pointer, index, first, second, third, fourth):
        """Write four neighbors."""
        element = pointer.dtype

        def generate(context, builder, signature, arguments):
            address = _vector_address(context, builder, element, arguments[0], index, arguments[1])
            vector = ir.Constant(address.type.pointee, ir.Undefined)
            for lane, value in enumerate(arguments[2:]):
                vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), lane))
            builder.store(vector, address).align = 16
            return context.get_dummy_value()

        return signature(types.void, pointer, index, *(element,) * 4), generate

    @intrinsic
    def select(typing_context, condition, value, other):
        """Return one of two numbers, both of which are computed: no branch."""

        def generate(context, builder, signature, arguments):
            return builder.select(*arguments)

        return signature(value, types.boolean, value, value), generate

    def loader(dtype: str, count: int) -> Any:
        """Return ``load(pointer, stride, index)``: `count` numbers as a tuple, in a precision.

        They are ``pointer[index + k * stride]``.
        """
        scalar = {"float32": types.float32, "float64": types.float64}[dtype]

        @intrinsic
        def load(typing_context, pointer, stride, index):
            def generate(context, builder, signature, arguments):
                pointer_value, step, place = arguments
                values = []
                for _ in range(count):
                    value = builder.load(builder.gep(pointer_value, [place]))
                    values.append(context.cast(builder, value, pointer.dtype, scalar))
                    place = builder.add(place, step)
                return context.make_tuple(builder, signature.return_type, values)

            numbers = types.Tuple([scalar] * count)
            return signature(numbers, pointer, types.int64, types.int64), generate

        return load

    @intrinsic
    def store_all(typing_context, pointer, stride, index, numbers):
        """``pointer[index + k * stride] = numbers[k]`` for each number of a tuple."""

        def generate(context, builder, signature, arguments):
            pointer_value, step, place, values = arguments
            for k, kind in enumerate(numbers):
                value = builder.extract_value(values, k)
                value = context.cast(builder, value, kind, pointer.dtype)
                builder.store(value, builder.gep(pointer_value, [place]))
                place = builder.add(place, step)
            return context.get_dummy_value()

        return signature(types.void, pointer, types.int64, types.int64, numbers), generate
