"""The innermost kernels: elementary functions, register tiles, and the products built of them."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal

from skmlp.engines.cpu import drivers
from skmlp.engines.cpu.elementary import FORMATS, elementary_functions
from skmlp.engines.cpu.layout import (
    BLOCK_ROWS,
    aligned_zeros,
    block_layout,
    network_layout,
    packing_of_layers,
    parts_of_slab,
    places_in_flat,
)
from skmlp.engines.cpu.pointers import pointer
from skmlp.engines.cpu.products import (
    BATCH_DEPTH,
    PANEL_DEPTH,
    columns_of_panel,
    lanes_of,
    leading_dimension,
    multiply_by_transpose,
    multiply_panel,
    multiply_transposed,
    padded,
    panel_count,
    scratch_size,
)
from skmlp.engines.cpu.registers import VECTOR_BYTES, register_file
from skmlp.engines.cpu.tables import (
    BLOCK_FIRST,
    BLOCK_LAST,
    BLOCK_OFFSET,
    BLOCK_PANEL,
    BLOCK_TAIL,
    rows_of_part,
    share_of_panel,
    share_of_rows,
)
from skmlp.engines.cpu.tiles import copy_rows, sum_of_rows
from skmlp.network.parameters import plain_layout
from skmlp.network.specs import plain_network

DTYPES = ["float32", "float64"]

# Bounds stated in the docstrings of `skmlp.engines.cpu.elementary`.
ULPS = {"exp": 1.5, "log": 1.5, "tanh": 3.0, "expm1": 3.0, "log1p": 3.0}


def arguments_of(name, real):
    """Points over the whole range of a function, dense where it is delicate."""
    rng = np.random.default_rng(0)
    info = np.finfo(real)
    near_zero = rng.choice([-1.0, 1.0], 20_000) * 10.0 ** rng.uniform(-30, 0, 20_000)
    if name in ("exp", "expm1"):
        lowest, highest = FORMATS[real].exp_range
        parts = [rng.uniform(lowest, highest, 100_000), rng.uniform(-1, 1, 50_000), near_zero]
    elif name == "log1p":
        large = 2.0 ** rng.uniform(-5, info.maxexp - 1, 50_000)
        parts = [rng.uniform(-1, 2, 100_000), large, near_zero, -1 + 10.0 ** rng.uniform(-6, 0, 99)]
    elif name == "tanh":
        parts = [rng.uniform(-25, 25, 50_000), rng.uniform(-2, 2, 100_000), near_zero]
    else:
        exponents = rng.uniform(np.log2(float(info.smallest_subnormal)), info.maxexp, 100_000)
        near_one = 1 + rng.normal(size=50_000) * 1e-3
        parts = [2.0**exponents, rng.uniform(0.5, 2, 100_000), near_one]
    return np.concatenate(parts).astype(real)


def apply(name, x):
    function = elementary_functions(x.dtype.type)[name]

    @njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    out = np.empty_like(x)
    loop(x, out)
    return out


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="needs a long double more precise than double"
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(ULPS))
def test_error_of_elementary_functions(name, dtype):
    """In units of the last place of the exact value, also inside loops that are vectorized."""
    real = np.dtype(dtype).type
    x = arguments_of(name, real)
    result = apply(name, x)
    exact = getattr(np, name)(x.astype(np.longdouble))
    with np.errstate(over="ignore"):
        rounded = exact.astype(real)
    assert_array_equal(np.isinf(result), np.isinf(rounded))
    finite = np.isfinite(rounded)
    unit = np.spacing(np.abs(rounded[finite])).astype(np.longdouble)
    error = np.abs(result[finite] - exact[finite]) / unit
    assert error.max() < ULPS[name], x[finite][error.argmax()]


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_erfc(dtype):
    """Its error grows with the argument of the exponential in it, as its docstring says."""
    real = np.dtype(dtype).type
    largest = 9.0 if real is np.float32 else 26.0
    x = np.concatenate([np.linspace(0, 2, 300), np.linspace(2, largest, 300)]).astype(real)
    result = apply("erfc", x)
    with mpmath.workdps(40):
        exact = np.array([mpmath.erfc(mpmath.mpf(float(argument))) for argument in x])
        error = np.array(
            [float(abs(a / b - 1)) for a, b in zip(result.tolist(), exact, strict=True)]
        )
    assert (error < (8 + x.astype(float) ** 2) * np.finfo(real).eps).all()
    below = apply("erfc", -x)
    assert_allclose(below, 2 - result, rtol=np.finfo(real).eps)
    special = apply("erfc", np.array([np.nan, np.inf, -np.inf, 0.0], dtype=real))
    assert_array_equal(special[:3], [np.nan, 0.0, 2.0])
    assert_allclose(special[3], 1.0, rtol=4 * np.finfo(real).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_error_of_sine_and_cosine(name, dtype):
    real = np.dtype(dtype).type
    rng = np.random.default_rng(0)
    largest = 2.0 ** (FORMATS[real].mantissa_bits - 1)
    sizes = 10.0 ** rng.uniform(-30, np.log10(largest), 600)
    multiples = np.pi / 2 * np.arange(200)
    x = np.concatenate([rng.choice([-1, 1], 600) * sizes, multiples, [0.0]]).astype(real)
    with mpmath.workdps(60):
        exact = [getattr(mpmath, name)(mpmath.mpf(float(argument))) for argument in x]
        error = [abs(float(a - b)) for a, b in zip(apply(name, x).tolist(), exact, strict=True)]
    assert (error <= (2 + np.abs(x.astype(float))) * np.finfo(real).eps).all()
    if name == "sin":  # relative near zero
        small = np.abs(x) < 1
        exact_sines = np.sin(x[small].astype(float))
        assert_allclose(apply(name, x)[small], exact_sines, rtol=4 * np.finfo(real).eps)
    beyond = apply(name, np.array([4 * largest, -np.inf, np.nan], dtype=real))
    limit = float(name == "cos")
    assert_allclose(beyond, [limit, limit, np.nan], rtol=np.finfo(real).eps)


@pytest.mark.parametrize("name", sorted(ULPS))
def test_elementary_functions_against_many_digits(name):
    """At a few points, lest the long double functions be wrong themselves."""
    x = arguments_of(name, np.float64)[::5000]
    result = apply(name, x)
    with mpmath.workdps(40):
        for argument, value in zip(x, result, strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(float(argument)))
            assert abs(float(value - exact)) <= ULPS[name] * np.spacing(abs(float(exact)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(ULPS))
def test_special_arguments_of_elementary_functions(name, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    largest = np.finfo(dtype).max
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, tiny, largest, -largest], dtype=dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    # Half of the smallest number is zero.
    smallest = tiny if name == "expm1" else 0
    assert_allclose(apply(name, x), expected, rtol=4 * np.finfo(dtype).eps, atol=smallest)


def addresses(A):
    return A.ctypes.data + np.arange(A.shape[0]) * A.strides[0]


@njit
def call_multiply_panel(vectors, table, rows, depth, panel, start, c, ldc):
    table, panel, start, c = pointer(table, 0), pointer(panel, 0), pointer(start, 0), pointer(c, 0)
    multiply_panel(vectors, table, 0, rows, depth, panel, start, 0, c, ldc)


@njit
def call_multiply_by_transpose(
    table, rows, panels, panel_rows, depth, sources, columns, panel, zeros, c, ldc, scratch
):
    table, panels, zeros = pointer(table, 0), pointer(panels, 0), pointer(zeros, 0)
    c, scratch = pointer(c, 0), pointer(scratch, 0)
    multiply_by_transpose(
        table, rows, panels, panel_rows, depth, sources, columns, panel, zeros, c, ldc, scratch
    )


@njit
def call_multiply_transposed(vectors, table, offset, rows, depth, b, ldb, start, ld_start, c):
    table, b, start, c = pointer(table, 0), pointer(b, 0), pointer(start, 0), pointer(c, 0)
    multiply_transposed(vectors, table, offset, rows, depth, b, ldb, start, ld_start, c)


SHAPES = [(1, 1), (7, 3), (8, 16), (9, 17), (50, PANEL_DEPTH + 2), (23, 2 * PANEL_DEPTH), (130, 5)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2, 3])
@pytest.mark.parametrize(("rows", "depth"), SHAPES)
def test_product_with_a_panel(rows, depth, vectors, dtype):
    rng = np.random.default_rng(0)
    width = vectors * lanes_of(dtype)
    A = rng.normal(size=(rows, depth)).astype(dtype)
    panel, start = (rng.normal(size=(n, width)).astype(dtype) for n in (depth, 1))
    C = np.full((rows + 1, width + 3), 7, dtype=dtype)
    call_multiply_panel(vectors, addresses(A), rows, depth, panel, start, C, width + 3)
    expected = start + A.astype(np.float64) @ panel
    assert_allclose(C[:rows, :width], expected, atol=20 * np.sqrt(depth) * np.finfo(dtype).eps)
    # Nothing is written outside.
    assert (C[rows] == 7).all()
    assert (C[:, width:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_a_product_does_not_depend_on_the_others(dtype):
    rng = np.random.default_rng(0)
    width, depth = 3 * lanes_of(dtype), PANEL_DEPTH + 40
    A = rng.normal(size=(29, depth)).astype(dtype)
    panel, start = (rng.normal(size=(n, width)).astype(dtype) for n in (depth, 1))
    together = np.empty((29, width), dtype=dtype)
    call_multiply_panel(3, addresses(A), 29, depth, panel, start, together, width)
    for i, row in enumerate(A):
        alone = np.empty((1, width), dtype=dtype)
        call_multiply_panel(3, addresses(row[None]), 1, depth, panel, start, alone, width)
        assert_array_equal(alone[0], together[i])


def packed_model(units, dtype, seed=0):
    """Random coefficients and intercepts, and the same in panels."""
    rng = np.random.default_rng(seed)
    network = plain_network(units, "tanh", "squared_error", "identity")
    flat_layout = plain_layout(units)
    flat = rng.normal(size=flat_layout.size).astype(dtype)
    layout = network_layout(network, 8, dtype, gathers=False, backward=True)
    layers = places_in_flat(network, dtype).entered(layout.layers, flat)
    packed = aligned_zeros(layout.parameters_size, dtype)
    packed[:] = np.nan
    drivers.exchange(layers, packed, drivers.INTO_PANELS)
    return network, layers, flat, packed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "depth"), [*SHAPES, (3, 400)])
@pytest.mark.parametrize("columns", [1, 16, 47, 100])
def test_product_with_a_transpose(rows, columns, depth, dtype):
    rng = np.random.default_rng(1)
    _, _, flat, packed = packed_model((columns, depth), dtype)
    W = flat[: columns * depth].reshape(columns, depth)
    A = rng.normal(size=(rows, depth)).astype(dtype)
    lanes = lanes_of(dtype)
    expected = A.astype(np.float64) @ W.T
    zeros = np.zeros(3 * lanes, dtype=dtype)
    scratch = np.empty(scratch_size(dtype), dtype=dtype)
    for panel in range(panel_count(columns, lanes)):
        first, vectors, last = columns_of_panel(panel, columns, lanes)
        width = vectors * lanes
        used = width - lanes + last
        C = np.empty((rows, width), dtype=dtype)
        stop = panel_count(depth, lanes)
        others = (columns, panel, zeros, C, width, scratch)
        for sources in ((0, stop // 2), (stop // 2, stop)):  # in two steps, and in one
            call_multiply_by_transpose(
                addresses(A), rows, packed, columns + 1, depth, sources, *others
            )
        before = C.copy()
        call_multiply_by_transpose(
            addresses(A), rows, packed, columns + 1, depth, (0, stop), *others
        )
        assert_array_equal(C, before)
        assert_allclose(
            C[:, :used],
            expected[:, first : first + used],
            atol=40 * np.sqrt(depth) * np.finfo(dtype).eps,
        )
        assert (C[:, used:] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2, 3])
@pytest.mark.parametrize(
    ("depth", "first", "rows"),
    [(1, 0, 1), (40, 3, 9), (50, 1, 45), (BATCH_DEPTH + 7, 8, 16), (600, 0, 5)],
)
def test_transposed_product(depth, first, rows, vectors, dtype):
    """The gradient: it may begin anywhere in the rows of A, and add to what is there."""
    rng = np.random.default_rng(0)
    width = vectors * lanes_of(dtype)
    A = rng.normal(size=(depth, first + rows)).astype(dtype)
    B = rng.normal(size=(depth, width + lanes_of(dtype))).astype(dtype)
    before = rng.normal(size=(rows, width)).astype(dtype)
    C = before.copy()
    arguments = (vectors, addresses(A), first, rows, depth, B, B.shape[1])
    expected = A[:, first:].T.astype(np.float64) @ B[:, :width]
    tolerance = 20 * np.sqrt(depth) * np.finfo(dtype).eps
    call_multiply_transposed(*arguments, C, width, C)
    assert_allclose(C, before + expected, atol=tolerance)
    call_multiply_transposed(*arguments, np.zeros(width, dtype=dtype), 0, C)
    assert_allclose(C, expected, atol=tolerance)


@njit
def call_copy_rows(vectors, source, ld_source, rows, out, ld_out):
    copy_rows(vectors, pointer(source, 0), ld_source, rows, pointer(out, 0), ld_out)


@njit
def call_sum_of_rows(vectors, matrix, ld, rows, start, out):
    sum_of_rows(vectors, pointer(matrix, 0), ld, rows, pointer(start, 0), pointer(out, 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_copies_and_sums_of_rows(vectors, dtype):
    rng = np.random.default_rng(0)
    width = vectors * lanes_of(dtype)
    matrix = rng.normal(size=(5, width + 2)).astype(dtype)
    out = np.full((6, width + 4), 7, dtype=dtype)
    call_copy_rows(vectors, matrix, width + 2, 5, out, width + 4)
    assert_array_equal(out[:5, :width], matrix[:, :width])
    assert (out[5] == 7).all()
    assert (out[:, width:] == 7).all()
    out, start = np.empty(width, dtype=dtype), rng.normal(size=width).astype(dtype)
    call_sum_of_rows(vectors, matrix, width + 2, 5, start, out)
    assert_allclose(out, start + matrix[:, :width].sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [(1, 1), (5, 100, 3), (20, 33, 17, 5), (3, 200, 49, 1)])
def test_panels_hold_every_parameter_once_and_zeros(units, dtype):
    _, layers, flat, packed = packed_model(units, dtype)
    assert np.isfinite(packed).all()
    assert_array_equal(np.sort(packed[packed != 0]), np.sort(flat))
    before = flat.copy()
    flat[:] = 0
    drivers.exchange(layers, packed, drivers.OUT_OF_PANELS)
    assert_array_equal(flat, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [(1, 1), (5, 100, 3), (784, 100, 10), (512, 1024, 7)])
@pytest.mark.parametrize("threads", [1, 2, 5, 16])
@pytest.mark.parametrize("rows", [1, 200])
def test_blocks_cover_every_panel_once(units, threads, rows, dtype):
    network, _, _, packed = packed_model(units, dtype)
    parts = parts_of_slab(network, rows)
    packing = packing_of_layers(network, dtype, rows, is_sparse=False)
    layout = block_layout(network, dtype, parts, packing, threads)
    lanes = lanes_of(dtype)
    covered = np.zeros(packed.size, dtype=int)
    for layer in range(len(units) - 1):
        starts = layout.shares[layer]
        assert (np.diff(starts) >= 0).all()
        for block in range(starts[0], starts[-1]):
            row = layout.table[block]
            _, vectors, _ = columns_of_panel(row[BLOCK_PANEL], units[layer + 1], lanes)
            rows = row[BLOCK_LAST] - row[BLOCK_FIRST] + row[BLOCK_TAIL]
            size = rows * vectors * lanes
            assert size <= layout.largest
            covered[row[BLOCK_OFFSET] : row[BLOCK_OFFSET] + size] += 1
            assert row[BLOCK_FIRST] % BLOCK_ROWS == 0
    assert (covered == 1).all()
    for layer in range(len(units) - 1):
        for begin, end in pairwise(layout.shares[layer]):
            assert_array_equal(np.sort(layout.sequence[begin:end]), np.arange(begin, end))
    for shares in (layout.shares, *layout.gradient_shares):
        assert (np.diff(shares, axis=1) >= 0).all()
        assert shares[0, 0] == 0
        assert shares[-1, -1] == len(layout.table)
        assert_array_equal(shares[1:, 0], shares[:-1, -1])
    if parts == 2 and threads == 2:  # each thread has the whole gradient of its half
        assert_array_equal(layout.gradient_shares[0, :, 1], layout.shares[:, 2])
        assert_array_equal(layout.gradient_shares[1, :, 1], layout.shares[:, 0])
    # The bounds of blocks, in which penalties are summed, do not depend on the threads.
    assert_array_equal(layout.table, block_layout(network, dtype, parts, packing, 1).table)


@pytest.mark.parametrize("rows", [1, 2, 15, 200])
def test_halves_of_a_slab(rows):
    assert rows_of_part(rows, 0, 1) == (0, rows)
    first, count = rows_of_part(rows, 0, 2)
    assert (first, count) == (0, (rows + 1) // 2)
    assert rows_of_part(rows, 1, 2) == (count, rows - count)
    for threads in (2, 4, 16):  # no thread has rows of both
        bounds = [share_of_rows(rows, thread, threads)[0] for thread in range(threads)]
        assert bounds[threads // 2] == count


@pytest.mark.parametrize("rows", [1, 7, 8, 200, 256])
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_threads_share_every_row_once(rows, threads):
    covered = np.zeros(rows, dtype=int)
    for thread in range(threads):
        first, last = share_of_rows(rows, thread, threads)
        covered[first:last] += 1
    assert (covered == 1).all()
    for columns in (1, 64, 100, 1000):
        lanes = lanes_of("float32")
        covered = np.zeros((rows, panel_count(columns, lanes)), dtype=int)
        for panel in range(covered.shape[1]):
            column, vectors, _ = columns_of_panel(panel, columns, lanes)
            arguments = (column // lanes, vectors, -(-columns // lanes), rows)
            for thread in range(threads):
                first, last = share_of_panel(*arguments, thread, threads)
                covered[first:last, panel] += 1
        assert (covered == 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_of_the_workspace_begins_at_vectors(dtype):
    itemsize = np.dtype(dtype).itemsize
    for columns in (1, 16, 100, 256, 1000, 1024):
        length = leading_dimension(columns, dtype)
        assert length >= padded(columns, dtype) >= columns
        assert length * itemsize % VECTOR_BYTES == 0
        assert length * itemsize % 1024
        assert aligned_zeros(columns, dtype).ctypes.data % VECTOR_BYTES == 0


@pytest.mark.parametrize(
    ("triple", "features", "expected"),
    [
        ("x86_64-unknown-linux-gnu", "+avx,+avx2,+avx512f", (64, 32)),
        ("x86_64-unknown-linux-gnu", "+avx,+avx2,-avx512f", (32, 16)),
        ("x86_64-unknown-linux-gnu", "", (16, 16)),
        ("aarch64-unknown-linux-gnu", "+neon", (16, 32)),
    ],
)
def test_registers_of_processors(triple, features, expected):
    assert register_file(triple, features) == expected
