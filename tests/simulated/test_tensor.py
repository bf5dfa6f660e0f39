"""Which numbers the threads of a warp hand to its tensor core, which the simulator has not."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skmlp.engines.cuda import ptx, tensor
from skmlp.engines.cuda.memory import SimulatedPointer
from skmlp.engines.cuda.tiles import Tile


def product_of_pieces(calls, per_word):
    """Return what the instruction makes of its 32 threads' words, by the PTX ISA.

    ``mma.m16n8k8`` and ``mma.m16n8k16``, sections "Matrix fragments": with ``g = lane // 4`` and
    ``t = lane % 4``, a thread holds of A the words in rows g and g + 8 and at depths t and t + 4,
    of B those in column g at depths t and t + 4; a word of bfloat16 holds depths 2 t and 2 t + 1.
    """
    a = np.full((16, 8 * per_word), np.nan)
    b = np.full((8 * per_word, 8), np.nan)
    for lane, (a0, a1, a2, a3, b0, b1) in enumerate(calls):
        g, t = divmod(lane, 4)
        near = slice(per_word * t, per_word * (t + 1))
        far = slice(per_word * (t + 4), per_word * (t + 5))
        a[g, near], a[g + 8, near], a[g, far], a[g + 8, far] = a0, a1, a2, a3
        b[near, g], b[far, g] = b0, b1
    return a @ b


@pytest.mark.parametrize(("precision", "per_word"), [("tf32", 1), ("bf16", 2)])
@pytest.mark.parametrize(
    "tile", [Tile(32, 64, 16, 8, 4, padding=8), Tile(128, 64, 16, 8, 8, padding=4)]
)
def test_words_of_a_warp(precision, per_word, tile, monkeypatch):
    rng = np.random.default_rng(0)
    a_ld, b_ld = tile.rows + tile.padding, tile.columns + tile.padding
    a, b = rng.normal(size=(tile.depth, a_ld)), rng.normal(size=(tile.depth, b_ld))
    expected = a[:, : tile.rows].T @ b[:, : tile.columns]
    first_row_of, first_column_of = tensor.place_functions(tile)
    pieces_down = tensor.rows_of_warp(tile) // tensor.PIECE_ROWS
    calls = []

    def noting(*words):
        calls[-1].append(words[:6])
        return words[6:]

    monkeypatch.setattr(ptx, f"multiply_{precision}", noting, raising=False)
    monkeypatch.setattr(ptx, "pack_bf16", lambda low, high: (low, high), raising=False)
    multiply = tensor.multiply_on_tensor_cores(
        precision, tile.depth, a_ld, b_ld, pieces_down, first_row_of, first_column_of
    )
    for thread in range(tile.threads):
        calls.append([])
        totals = np.zeros((pieces_down, tensor.PIECES_ACROSS, 4))
        multiply(SimulatedPointer(a.reshape(-1)), SimulatedPointer(b.reshape(-1)), totals, thread)

    n_pieces = pieces_down * tensor.PIECES_ACROSS
    actual = np.full(expected.shape, np.nan)
    for warp in range(tile.threads // 32):
        own = calls[32 * warp : 32 * (warp + 1)]
        row, column = first_row_of(32 * warp), first_column_of(32 * warp)
        for piece in range(n_pieces):
            steps = range(piece, len(own[0]), n_pieces)
            n, m = divmod(piece, pieces_down)
            r, c = row + tensor.PIECE_ROWS * m, column + tensor.PIECE_COLUMNS * n
            actual[r : r + 16, c : c + 8] = sum(
                product_of_pieces([words[step] for words in own], per_word) for step in steps
            )
    assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_where_a_thread_writes_its_numbers():
    """C of the instruction: rows g and g + 8, columns 2 t and 2 t + 1."""
    tile = Tile(32, 64, 16, 8, 4, padding=8)
    functions = tensor.tensor_functions("tf32", tile)
    first_row_of, first_column_of = tensor.place_functions(tile)
    out = SimulatedPointer(np.full(tile.rows * tile.columns, np.nan))
    for thread in range(tile.threads):
        warp, lane = divmod(thread, 32)
        g, t = divmod(lane, 4)
        totals = np.empty(functions.shape)
        for m, n, i in np.ndindex(totals.shape):
            row = 16 * m + g + 8 * (i // 2)
            column = 32 * warp + 8 * n + 2 * t + i % 2
            totals[m, n, i] = row * tile.columns + column
        assert (first_row_of(thread), first_column_of(thread)) == (g, 32 * warp + 2 * t)
        functions.write(
            totals, out, tile.columns, 0, tile.rows, 0, tile.columns, False, np.uint32(thread)
        )
    assert (out.array == np.arange(tile.rows * tile.columns)).all()
