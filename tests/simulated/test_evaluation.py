"""Predictions, objectives and data sets of the CUDA engine in the simulator."""

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
from engine_checks import make_plan, make_problem, make_task
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skmlp.engines.cuda import batched, data, evaluation, losses, ptx, simulation, vocabulary
from skmlp.engines.cuda.device import cuda, exchange, synchronize
from skmlp.engines.cuda.engine import CudaEngine
from skmlp.engines.cuda.layout import PaddedLayout
from skmlp.engines.cuda.memory import SimulatedPointer, advance, load_four
from skmlp.engines.cuda.runtime import SimulatedRuntime, runtime
from skmlp.engines.cuda.vocabulary import KNOWN_LOSSES
from skmlp.engines.reference import ReferenceEngine
from skmlp.network import activations
from skmlp.network.initializers import draw_uniform
from skmlp.network.parameters import layout_of, plain_layout
from skmlp.network.specs import plain_network

NETWORK = plain_network((6, 9, 5, 3), "tanh", "log_loss", "softmax")


def some_parameters(network, dtype="float64"):
    return draw_uniform(network, np.random.RandomState(0), dtype)


def outputs_of(engine, network, X, dtype="float64", rows=None):
    layers = layout_of(network).views(some_parameters(network, dtype))
    return engine.predict(network, *layers, engine.load(X, None, None, network, dtype), rows)


@pytest.mark.parametrize("key", KNOWN_LOSSES, ids="-".join)
@pytest.mark.parametrize("density", [None, 0.4])
def test_loss_and_gradient(key, density, monkeypatch):
    monkeypatch.setattr(batched, "slab_rows", lambda *_: 6)
    network = plain_network((6, 5, 3), "logistic", *key)
    X, targets, weight = make_problem(network, 13, density=density)
    parameters = some_parameters(network)
    for sample_weight in (None, weight):
        results = []
        for engine in (CudaEngine(), ReferenceEngine()):
            handle = engine.load(X, targets, sample_weight, network, "float64")
            for rows in (None, np.array([7, 2, 11]), None):
                results.append(engine.loss_and_gradient(network, handle, parameters, 0.3, rows))
        for (loss, gradient), (expected_loss, expected) in zip(
            results[:3], results[3:], strict=True
        ):
            assert_allclose(loss, expected_loss, rtol=1e-12)
            assert_allclose(gradient, expected, rtol=1e-10, atol=1e-13)


def test_gradient_against_central_differences():
    network = plain_network((3, 4, 2), "tanh", "squared_error", "identity")
    X, targets, weight = make_problem(network, 5)
    engine = CudaEngine()
    handle = engine.load(X, targets, weight, network, "float64")
    parameters = some_parameters(network)

    def loss(p):
        return engine.loss_and_gradient(network, handle, p, 0.3)[0]

    shifts = np.eye(len(parameters)) * 1e-6
    expected = [(loss(parameters + s) - loss(parameters - s)) / 2e-6 for s in shifts]
    actual = engine.loss_and_gradient(network, handle, parameters, 0.3)[1]
    assert_allclose(actual, expected, rtol=1e-6, atol=2e-9)


@pytest.mark.parametrize(
    ("name", "piece", "expected"),
    [
        ("shifted_exponential", lambda score, largest: largest - score, [2 / 3, 1 / 3, 0.0]),
        ("larger", lambda score, largest: largest, np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()),
        ("part_of_total", lambda exponential, total: -total, -np.exp([-2, -1, 0]).sum()),
    ],
)
def test_softmax_is_made_of_the_registry_s_formulas(name, piece, expected, monkeypatch):
    """A formula that is exchanged there is exchanged here: it is written once."""
    monkeypatch.setattr(activations, name, piece)
    monkeypatch.setattr(losses, "formulas", losses.formulas.__wrapped__)
    functions = losses.output_functions.__wrapped__("float64")
    z = np.array([1.0, 2.0, 3.0])
    functions.activate_row(z, 3, vocabulary.SOFTMAX)
    assert_allclose(z, expected)
    scores = np.array([1.0, 2.0, 3.0])[:, np.newaxis]
    activations.softmax(scores, np.empty(1))
    assert_allclose(scores[:, 0], expected)


@pytest.mark.parametrize("key", KNOWN_LOSSES, ids="-".join)
def test_predictions(key):
    network = plain_network((6, 5, 3), "relu", *key)
    X, _, _ = make_problem(network, 11)
    expected = outputs_of(ReferenceEngine(), network, X)
    assert_allclose(outputs_of(CudaEngine(), network, X), expected, rtol=1e-12)
    for strange in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], sparse.csr_array(X)):
        assert_allclose(outputs_of(CudaEngine(), network, strange), expected, rtol=1e-12)
    single = outputs_of(CudaEngine(), network, X.astype(np.float32), "float32")
    assert single.dtype == np.float32
    assert_allclose(single, expected, rtol=1e-5, atol=1e-6)
    # What only steps of training do.
    noisy = replace(network, inputs=replace(network.inputs, noise=0.5, mixup=0.2))
    assert_array_equal(outputs_of(CudaEngine(), noisy, X), outputs_of(CudaEngine(), network, X))


def test_predictions_in_pieces_and_of_chosen_rows(monkeypatch):
    X, _, _ = make_problem(NETWORK, 23)
    whole = outputs_of(CudaEngine(), NETWORK, X)
    rows = np.array([20, 3, 3, 7, 0, 22, 15])
    assert_array_equal(outputs_of(CudaEngine(), NETWORK, X, rows=rows), whole[rows])
    one_by_one = [outputs_of(CudaEngine(), NETWORK, X[i : i + 1])[0] for i in (0, 9, 22)]
    assert_array_equal(one_by_one, whole[[0, 9, 22]])
    monkeypatch.setattr(evaluation, "PREDICT_ROWS", 7)
    monkeypatch.setattr(batched, "slab_rows", lambda *_: 3)
    for strange in (X, sparse.csr_array(X)):
        assert_array_equal(outputs_of(CudaEngine(), NETWORK, strange), whole)
        assert_array_equal(outputs_of(CudaEngine(), NETWORK, strange, rows=rows), whole[rows])
    assert outputs_of(CudaEngine(), NETWORK, X[:0]).shape == (0, 3)


def test_csr_with_values_in_one_place_and_out_of_order():
    X = sparse.csr_array(
        (np.array([1.0, 2.0, 4.0, 8.0]), np.array([5, 0, 5, 1]), np.array([0, 3, 4])), shape=(2, 6)
    )
    before = X.data.copy(), X.indices.copy()
    actual = outputs_of(CudaEngine(), NETWORK, X)
    assert_allclose(actual, outputs_of(ReferenceEngine(), NETWORK, X.toarray()), rtol=1e-12)
    assert_array_equal(X.data, before[0])
    assert_array_equal(X.indices, before[1])


def test_the_same_memory_is_sent_once():
    """Known by its place, kept while any handle lives, freed with the last one."""
    X, targets, _ = make_problem(NETWORK, 10)
    engine = CudaEngine()

    def load(X):
        return engine.load(X, targets[: len(X)], None, NETWORK, "float64")

    first, second = load(X), load(X[:])
    assert first.matrix is second.matrix
    for other in (load(X.copy()), load(X[:9]), load(X[:, ::-1])):
        assert other.matrix is not first.matrix
    assert engine.load(X, targets, None, NETWORK, "float32").matrix is not first.matrix
    del other
    gc.collect()
    assert len(data._sent) == 1
    del first, second
    gc.collect()
    assert len(data._sent) == 0


def test_chunks_on_their_way_to_the_device(monkeypatch):
    X, _, _ = make_problem(NETWORK, 10)
    for chunk_bytes in (1, 3 * 8 * 8, 10**6):
        chunks = list(data.padded_chunks(X, "float64", chunk_bytes))
        together = np.concatenate([chunk for _, chunk in chunks])
        assert_array_equal(together[:, :6], X)
        assert not together[:, 6:].any()
        starts = np.cumsum([0, *(len(chunk) for _, chunk in chunks)])
        assert_array_equal([start for start, _ in chunks], starts[:-1])


def test_what_is_kept_after_fits():
    """Nothing: neither arrays on the device nor the caller's data."""
    X, targets, weight = make_problem(NETWORK, 10)
    made = []
    allocate = SimulatedRuntime.allocate

    def counting(self, size, dtype):
        array = allocate(self, size, dtype)
        made.append(id(array))
        alive.add(array)
        return array

    alive = weakref.WeakSet()
    runtime()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedRuntime, "allocate", counting)
        for _ in range(3):
            engine = CudaEngine()
            run = engine.start([make_task(engine, NETWORK, (X, targets, weight))])
            run.advance([make_plan(10, 1)])
            outputs_of(engine, NETWORK, X)
            handle = engine.load(X, targets, weight, NETWORK, "float64")
            engine.loss_and_gradient(NETWORK, handle, some_parameters(NETWORK), 0.1)
            assert len(alive) > 5
            del engine, run, handle
            gc.collect()
            assert len(alive) == 0
    assert len(made) > 30


def test_a_retired_task_cannot_be_asked():
    engine = CudaEngine()
    problem = make_problem(NETWORK, 10)
    run = engine.start([make_task(engine, NETWORK, problem) for _ in range(2)])
    run.retire(0)
    with pytest.raises(LookupError, match="retired"):
        run.parameters(0)
    run.advance([None, make_plan(10, 1)])
    run.retire(1)
    assert run._members == []


def test_fits_from_several_threads():
    problem = make_problem(NETWORK, 10)

    def fit(seed, out):
        engine = CudaEngine()
        run = engine.start([make_task(engine, NETWORK, problem, seed=seed)])
        run.advance([make_plan(10, 2, seed=seed)])
        out[seed] = run.parameters(0)

    alone, together = {}, {}
    for seed in range(4):
        fit(seed, alone)
    threads = [threading.Thread(target=fit, args=(seed, together)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert_array_equal(together[seed], alone[seed])


def test_wrong_number_of_targets():
    with pytest.raises(ValueError, match="Got 3 rows of targets for 4 rows of X"):
        CudaEngine().load(np.zeros((4, 6)), np.zeros((3, 1)), None, NETWORK, "float64")


@pytest.mark.parametrize("units", [(1, 1), (4, 8, 4), (5, 3, 7, 2)])
def test_padding_and_back(units):
    layout = PaddedLayout(plain_layout(units))
    size = layout.flat.size
    vectors = np.random.default_rng(0).normal(size=(3, size))
    padded = layout.pack(vectors, "float64")
    assert padded.shape == (3, layout.size)
    assert layout.size % 4 == 0
    assert (padded != 0).sum() == vectors.size
    assert_array_equal(layout.unpack(padded), vectors)
    assert_array_equal(layout.unpack(padded[1]), vectors[1])


def test_rounding():
    """Against the definitions: nearest of the numbers with 10 or 7 bits after the point."""
    rng = np.random.default_rng(0)
    numbers = (rng.normal(size=300) * 10.0 ** rng.integers(-30, 30, size=300)).astype(np.float32)
    for x in numbers:
        unit = np.ldexp(1.0, np.frexp(float(x))[1] - 1)
        for to, bits in ((ptx.to_tf32, 10), (ptx.to_bf16, 7)):
            expected = np.round(float(x) / unit * 2**bits) / 2**bits * unit
            assert float(to(x)) == expected
    assert ptx.to_tf32(np.float32(1 + 2**-11)) == np.float32(1 + 2**-10)
    assert ptx.to_bf16(np.float32(1 + 2**-8)) == np.float32(1)
    for special in (np.inf, -np.inf):
        assert ptx.to_tf32(np.float32(special)) == special
    assert np.isnan(ptx.to_bf16(np.float32(np.nan)))


def test_a_barrier_that_some_threads_miss_is_an_error():
    """Whether they end before it, or the others come to one that is not theirs."""

    def ends_early(out):
        if cuda.threadIdx.x > 0:
            synchronize()

    def meets_others(out):
        if cuda.threadIdx.x < 2:
            exchange(1, 1, 2)
        synchronize()
        if cuda.threadIdx.x == 2:
            exchange(1, 1, 2)

    for kernel, threads in ((ends_early, 3), (meets_others, 4)):
        with pytest.raises(RuntimeError, match="never reached a barrier"):
            cuda.jit(kernel)[1, threads](np.zeros(1))


def test_a_block_that_never_arrives_is_an_error():
    """As is one that fails, whose own error is raised."""

    def kernel(counter, fails):
        counter = SimulatedPointer(counter)
        if cuda.blockIdx.x > 0:
            ptx.arrive(counter)
        elif fails:
            raise MemoryError("of the first block")
        while ptx.arrived(counter) < 3:
            pass

    for fails, message in ((True, "of the first block"), (False, "wait for each other for ever")):
        with pytest.raises((MemoryError, RuntimeError), match=message), simulation.side_by_side():
            cuda.jit(kernel)[3, 1](np.zeros(1), fails)


@pytest.mark.parametrize("distance", [1, -1])
def test_a_missing_barrier_is_noticed(distance):
    """Whichever neighbor's number is read: each is late on one side of a barrier or the other."""

    def kernel(out, is_complete):
        numbers = cuda.shared.array(5, "float64", 16)
        me = cuda.threadIdx.x
        for phase in range(2):
            numbers[me] = phase
            if is_complete:
                synchronize()
            out[phase, me] = numbers[min(max(me + distance, 0), 4)]
            synchronize()

    for is_complete in (True, False):
        out = np.empty((2, 5))
        cuda.jit(kernel)[1, 5](out, is_complete)
        assert (out == [[0], [1]]).all() == is_complete


def test_reading_outside_of_memory_is_an_error():
    pointer = SimulatedPointer(np.arange(8.0))
    assert load_four(advance(pointer, 4), 0) == [4.0, 5.0, 6.0, 7.0]
    with pytest.raises(IndexError, match="element 8 of 8"):
        load_four(advance(pointer, 4), 4)
    with pytest.raises(ValueError, match="element 5 is not the first of four"):
        load_four(advance(pointer, 5), 0)
    with pytest.raises(IndexError, match="element -1 of 8"):
        pointer[-1]
