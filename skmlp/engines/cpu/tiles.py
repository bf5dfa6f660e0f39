"""Register tiles: the innermost loops of the matrix products, written as vector instructions.

Neither BLAS nor the compiler's own vectorizer does well on products as small as those of tabular
networks, so the few loops that take nearly all the time are spelled out here. Each function
emits LLVM's portable vector code; which instructions it becomes is LLVM's affair.

Left factors are given as tables of row addresses: rows of a batch are used where they lie in the
caller's X. Rows beyond the lower border of a matrix repeat the last one (they compute and store
the same values again), so no tile reads or writes outside its matrix; at the right border,
matrices are filled up to whole vectors.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from skmlp.engines.cpu.registers import (
    GROUP_BYTES,
    TALL_TILE_ROWS,
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
)

word = ir.IntType(64)
index = ir.IntType(32)


def integer(value: int) -> ir.Constant:
    return ir.Constant(word, value)


class VectorBuilder:
    """Emits operations on vectors of one scalar type as wide as a register."""

    def __init__(self, context: Any, builder: Any, scalar: Any) -> None:
        self.builder = builder
        self.element = context.get_value_type(scalar)
        self.itemsize = scalar.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.itemsize
        self.type = ir.VectorType(self.element, self.lanes)

    def at(self, base: Any, offset: Any) -> Any:
        """Return the address `offset` elements after `base`."""
        return self.builder.gep(base, [offset])

    def vector_at(self, base: Any, number: int) -> Any:
        """Return the address of vector `number` from `base` on."""
        address = self.at(base, integer(number * self.lanes))
        return self.builder.bitcast(address, self.type.as_pointer())

    def load(self, base: Any, number: int) -> Any:
        return self.builder.load(self.vector_at(base, number), align=self.itemsize)

    def store(self, vector: Any, base: Any, number: int) -> None:
        self.builder.store(vector, self.vector_at(base, number), align=self.itemsize)

    def spread(self, value: Any) -> Any:
        """Return a vector with `value` in every lane."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(index, 0))
        zeros = ir.Constant(ir.VectorType(index, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return ``a * b + c``, fused where the machine can."""
        product = self.builder.fmul(a, b, flags=("contract",))
        return self.builder.fadd(product, c, flags=("contract",))

    def keep_loads_here(self) -> None:
        """Forbid the compiler to move loads across this point.

        It would load all elements of a tile's left factor first, run out of registers, and move
        sums to memory and back in every iteration.
        """
        nothing = ir.FunctionType(ir.VoidType(), [])
        self.builder.asm(nothing, "", "~{memory}", [], side_effect=True)

    def hide(self, value: Any) -> Any:
        """Return an integer whose origin the compiler does not see.

        It would take sums apart and add their parts anew in every iteration.
        """
        same = ir.FunctionType(word, [word])
        return self.builder.asm(same, "", "=r,0", [value], side_effect=False)

    def pointer(self, address: Any) -> Any:
        return self.builder.inttoptr(address, self.element.as_pointer())

    def smaller(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)


class Loop:
    """A counted loop that runs at least once; its carried values are phi nodes."""

    def __init__(self, builder: Any, carried: list[Any]) -> None:
        self._builder = builder
        entry = builder.block
        self._body = builder.append_basic_block("tile")
        builder.branch(self._body)
        builder.position_at_end(self._body)
        self.count = builder.phi(word)
        self.count.add_incoming(integer(0), entry)
        self.values = [builder.phi(value.type) for value in carried]
        for phi, value in zip(self.values, carried, strict=True):
            phi.add_incoming(value, entry)

    def close(self, carried: list[Any], times: Any) -> None:
        """End the body, which has computed the next `carried` values."""
        builder = self._builder
        following = builder.add(self.count, integer(1))
        self.count.add_incoming(following, self._body)
        for phi, value in zip(self.values, carried, strict=True):
            phi.add_incoming(value, self._body)
        after = builder.append_basic_block("tile.end")
        builder.cbranch(builder.icmp_signed("<", following, times), self._body, after)
        builder.position_at_end(after)


@intrinsic
def lane_count(typingctx, base):
    """``lane_count(pointer)``: how many elements of its type a vector register holds."""
    signature = types.int64(base)

    def codegen(context, builder, signature, args):
        return integer(VECTOR_BYTES // (signature.args[0].dtype.bitwidth // 8))

    return signature, codegen


def emit_for_width(builder: Any, vectors: Any, emit: Callable[[int], None]) -> None:
    """Emit code for each width that a panel can have, and a jump to that for `vectors`."""
    blocks = [builder.append_basic_block("width") for _ in range(TILE_VECTORS)]
    end = builder.append_basic_block("width.end")
    switch = builder.switch(vectors, blocks[-1])
    for count, block in enumerate(blocks, start=1):
        if count < TILE_VECTORS:
            switch.add_case(integer(count), block)
        builder.position_at_end(block)
        emit(count)
        builder.branch(end)
    builder.position_at_end(end)


def emit_tile(
    v: VectorBuilder,
    vectors: int,
    args: tuple[Any, ...],
    *,
    transposed: bool,
    height: int = TILE_ROWS,
    is_full: bool = False,
) -> None:
    """Emit one register tile, ``C = start + A @ B`` or ``C = start + A.T @ B``.

    A full one has `height` rows, whatever it is told.
    """
    table, offset, rows, depth, b, ldb, start, ld_start, c, ldc = args
    builder = v.builder
    lines = [integer(i) for i in range(height)]
    if not is_full:
        last_row = builder.sub(rows, integer(1))
        lines = [v.smaller(line, last_row) for line in lines]
    sums = []
    for line in lines:
        base = v.at(start, builder.mul(line, ld_start))
        sums += [v.load(base, number) for number in range(vectors)]
    if transposed and is_full:
        first = v.hide(offset)
        columns = [builder.add(first, line) for line in lines]
    elif transposed:
        columns = [v.hide(builder.add(line, offset)) for line in lines]
    else:
        addresses = [builder.load(builder.gep(table, [line])) for line in lines]
        left = [v.at(v.pointer(address), offset) for address in addresses]
    loop = Loop(builder, sums)
    if transposed:
        row = v.pointer(builder.load(builder.gep(table, [loop.count])))
        elements = [v.at(row, column) for column in columns]
    else:
        elements = [v.at(base, loop.count) for base in left]
    right = v.at(b, builder.mul(loop.count, ldb))
    factors = [v.load(right, number) for number in range(vectors)]
    new = []
    for i, element in enumerate(elements):
        spread = v.spread(builder.load(element))
        for number, factor in enumerate(factors):
            new.append(v.multiply_add(spread, factor, loop.values[i * vectors + number]))
        v.keep_loads_here()
    loop.close(new, depth)
    for i, line in enumerate(lines):
        base = v.at(c, builder.mul(line, ldc))
        for number in range(vectors):
            v.store(new[i * vectors + number], base, number)


def _tile_intrinsic(*, transposed: bool) -> Any:
    @intrinsic
    def tile(typingctx, vectors, table, offset, rows, depth, b, ldb, start, ld_start, c, ldc):
        n = types.int64
        signature = types.void(n, table, n, n, n, b, n, start, n, c, n)

        def codegen(context, builder, signature, args):
            v = VectorBuilder(context, builder, signature.args[5].dtype)

            def emit(count: int) -> None:
                emit_tile(v, count, args[1:], transposed=transposed)

            emit_for_width(builder, args[0], emit)
            return context.get_dummy_value()

        return signature, codegen

    return tile


# ``tile(vectors, table, offset, rows, depth, b, ldb, start, ld_start, c, ldc)``: one tile of at
# most TILE_ROWS rows and at most TILE_VECTORS whole vectors. B is (depth, columns), `start` and C
# are (rows, columns); `ld_start` may be zero, and C may be `start`.
#
# multiply_tile: A is (rows, depth); `table` holds the addresses of its rows, `offset` its first
# column. multiply_transposed_tile: A is (depth, rows), and `offset` its first column likewise.
multiply_tile = _tile_intrinsic(transposed=False)
multiply_transposed_tile = _tile_intrinsic(transposed=True)


@intrinsic
def multiply_tall_tile(typingctx, table, offset, depth, b, ldb, start, ld_start, c, ldc):
    """Do as `multiply_transposed_tile` for one vector and TALL_TILE_ROWS rows.

    With one vector, a tile of the usual height loads more than it multiplies.
    """
    n = types.int64
    signature = types.void(table, n, n, b, n, start, n, c, n)

    def codegen(context, builder, signature, args):
        table, offset, depth, *others = args
        v = VectorBuilder(context, builder, signature.args[3].dtype)
        all_args = (table, offset, None, depth, *others)
        emit_tile(v, 1, all_args, transposed=True, height=TALL_TILE_ROWS, is_full=True)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy_rows(typingctx, vectors, source, ld_source, rows, out, ld_out):
    """Copy `rows` (at least one) rows of `vectors` vectors."""
    n = types.int64
    signature = types.void(n, source, n, n, out, n)

    def codegen(context, builder, signature, args):
        vectors, source, ld_source, rows, out, ld_out = args
        v = VectorBuilder(context, builder, signature.args[1].dtype)

        def emit(count: int) -> None:
            loop = Loop(builder, [])
            origin = v.at(source, builder.mul(loop.count, ld_source))
            target = v.at(out, builder.mul(loop.count, ld_out))
            for number in range(count):
                v.store(v.load(origin, number), target, number)
            loop.close([], rows)

        emit_for_width(builder, vectors, emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy_columns(typingctx, table, offset, rows, out):
    """Copy `GROUP_BYTES` from column `offset` on of `rows` (at least one) rows, side by side.

    `table` holds the addresses of the rows.
    """
    n = types.int64
    signature = types.void(table, n, n, out)

    def codegen(context, builder, signature, args):
        table, offset, rows, out = args
        v = VectorBuilder(context, builder, signature.args[3].dtype)
        count = GROUP_BYTES // VECTOR_BYTES
        loop = Loop(builder, [])
        row = v.pointer(builder.load(builder.gep(table, [loop.count])))
        origin = v.at(row, offset)
        target = v.at(out, builder.mul(loop.count, integer(count * v.lanes)))
        for number in range(count):
            v.store(v.load(origin, number), target, number)
        loop.close([], rows)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def sum_of_rows(typingctx, vectors, matrix, ld, rows, start, out):
    """``out = start + matrix.sum(axis=0)`` for `rows` (at least one) rows of whole vectors."""
    n = types.int64
    signature = types.void(n, matrix, n, n, start, out)

    def codegen(context, builder, signature, args):
        vectors, matrix, ld, rows, start, out = args
        v = VectorBuilder(context, builder, signature.args[1].dtype)

        def emit(count: int) -> None:
            loop = Loop(builder, [v.load(start, number) for number in range(count)])
            row = v.at(matrix, builder.mul(loop.count, ld))
            sums = [
                builder.fadd(value, v.load(row, number)) for number, value in enumerate(loop.values)
            ]
            loop.close(sums, rows)
            for number, value in enumerate(sums):
                v.store(value, out, number)

        emit_for_width(builder, vectors, emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def transpose_square(typingctx, source, ld, rows, out, ld_out):
    """Transpose as many columns as a vector has lanes; `rows`, at most as many, are given.

    All of `out` (lanes, lanes) is written; its columns beyond `rows` repeat the last one.
    """
    n = types.int64
    signature = types.void(source, n, n, out, n)

    def codegen(context, builder, signature, args):
        source, ld, rows, out, ld_out = args
        v = VectorBuilder(context, builder, signature.args[0].dtype)
        last_row = builder.sub(rows, integer(1))
        vectors = []
        for i in range(v.lanes):
            line = v.smaller(integer(i), last_row)
            vectors.append(v.load(v.at(source, builder.mul(line, ld)), 0))
        # Swap the off-diagonal quarters, then those of each quarter, and so on.
        distance = v.lanes // 2
        while distance:
            for i in range(v.lanes):
                if i & distance == 0:
                    pair = vectors[i], vectors[i + distance]
                    vectors[i] = _interleave(builder, pair, distance, upper=False)
                    vectors[i + distance] = _interleave(builder, pair, distance, upper=True)
            distance //= 2
        for i, vector in enumerate(vectors):
            v.store(vector, v.at(out, builder.mul(integer(i), ld_out)), 0)
        return context.get_dummy_value()

    return signature, codegen


def _interleave(builder: Any, pair: tuple[Any, Any], distance: int, *, upper: bool) -> Any:
    lanes = pair[0].type.count
    if upper:
        chosen = [j + distance if j & distance == 0 else lanes + j for j in range(lanes)]
    else:
        chosen = [j if j & distance == 0 else lanes + j - distance for j in range(lanes)]
    mask = ir.Constant(ir.VectorType(index, lanes), chosen)
    return builder.shuffle_vector(*pair, mask)
