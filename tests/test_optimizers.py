"""Steps of the engines: optimizers with any states, groups, decay, clipping, and changing rates."""

import ctypes
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from covering import covering
from engine_checks import (
    BY_SIGNS,
    RATES,
    TOLERANCE,
    assert_same_run,
    make_plan,
    make_problem,
    make_task,
    run_epochs,
)
from numpy.testing import assert_allclose, assert_array_equal

import skmlp.engines.cpu.task
from skmlp.engines.base import PER_BATCH, EpochPlan, KeyedOrders
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cpu.layout import parts_of_slab
from skmlp.engines.cpu.steps import step_layout
from skmlp.engines.cpu.task import layout_for
from skmlp.engines.cuda.vocabulary import what_is_lacking
from skmlp.engines.reference import ReferenceEngine
from skmlp.network import optimizers
from skmlp.network.constants import Constant
from skmlp.network.optimizers import OPTIMIZERS, Group, Optimizer, State
from skmlp.network.parameters import layout_of
from skmlp.network.specs import OptimizerSpec, plain_network

ENGINES = {"reference": ReferenceEngine, "cpu": lambda: CpuEngine(1)}
# Neither its layers nor its output fill whole vectors.
NETWORK = plain_network((6, 9, 5, 3), "tanh", "log_loss", "softmax")
BATCHES = [np.arange(start, min(start + 7, 17)) for start in (0, 7, 14)] * 2


@pytest.fixture
def always_parallel(always_parallel, monkeypatch):
    """As elsewhere, and with more threads than tiles of rows."""
    monkeypatch.setattr(skmlp.engines.cpu.task, "TILE_ROWS", 1)


# --- Written out, step by step ---


class WrittenOut:
    """Each optimizer as its paper has it, on whole vectors.

    `settings` are those that differ from the defaults.
    """

    def __init__(self, network, **settings):
        self.network, self.settings = network, settings
        self.t, self.product = 0, 1.0
        self.m, self.v, self.u = np.zeros((3, layout_of(network).size))

    def setting(self, name, default):
        return self.settings.get(name, default)

    def take_moments(self, g):
        self.t += 1
        betas = self.setting("beta_1", 0.9), self.setting("beta_2", 0.999)
        self.m = betas[0] * self.m + (1 - betas[0]) * g
        self.v = betas[1] * self.v + (1 - betas[1]) * g**2
        self.m_hat = self.m / (1 - betas[0] ** self.t)
        self.v_hat = self.v / (1 - betas[1] ** self.t)
        return (*betas, self.setting("epsilon", 1e-8))

    def sgd(self, w, g, rate):
        self.v = 0.9 * self.v - rate * g
        return w + 0.9 * self.v - rate * g

    def adam(self, w, g, rate):
        _, beta_2, epsilon = self.take_moments(g)
        size = rate * np.sqrt(1 - beta_2**self.t)
        return w - size * self.m_hat / (np.sqrt(self.v) + epsilon)

    adamw = adam

    def nadam(self, w, g, rate):
        beta_1, _, epsilon = self.take_moments(g)
        growth = self.setting("momentum_decay", 0.004)
        now, then = (beta_1 * (1 - 0.5 * 0.96 ** (t * growth)) for t in (self.t, self.t + 1))
        self.product *= now
        m_hat = then * self.m / (1 - self.product * then) + (1 - now) * g / (1 - self.product)
        return w - rate * m_hat / (np.sqrt(self.v_hat) + epsilon)

    def amsgrad(self, w, g, rate):
        _, beta_2, epsilon = self.take_moments(g)
        self.u = np.maximum(self.u, self.v)
        return w - rate * self.m_hat / (np.sqrt(self.u / (1 - beta_2**self.t)) + epsilon)

    def adamax(self, w, g, rate):
        _, beta_2, epsilon = self.take_moments(g)
        self.u = np.maximum(beta_2 * self.u, np.abs(g) + epsilon)
        return w - rate * self.m_hat / self.u

    def rmsprop(self, w, g, rate):
        rho = self.setting("rho", 0.99)
        self.m, self.v = rho * self.m + (1 - rho) * g, rho * self.v + (1 - rho) * g**2
        variance = self.v - self.m**2 if self.setting("centered", False) else self.v
        root = np.sqrt(np.maximum(variance, 0)) + self.setting("epsilon", 1e-8)
        self.u = self.setting("momentum", 0.0) * self.u + g / root
        return w - rate * self.u

    def adagrad(self, w, g, rate):
        self.v += g**2
        root = np.sqrt(self.setting("initial", 0.0) + self.v)
        return w - rate * g / (root + self.setting("epsilon", 1e-10))

    def adadelta(self, w, g, rate):
        rho, epsilon = self.setting("rho", 0.9), self.setting("epsilon", 1e-6)
        self.v = rho * self.v + (1 - rho) * g**2
        step = np.sqrt(self.u + epsilon) / np.sqrt(self.v + epsilon) * g
        self.u = rho * self.u + (1 - rho) * step**2
        return w - rate * step

    def lion(self, w, g, rate):
        step = rate * np.sign(0.9 * self.m + 0.1 * g)
        self.m = 0.99 * self.m + 0.01 * g
        return w - step

    def muon(self, w, g, rate):
        """By the singular values of each matrix, to which the iteration applies a polynomial."""
        after, layout = self.adam(w, g, rate), layout_of(self.network)
        momentum, nesterov = self.setting("momentum", 0.95), self.setting("nesterovs_momentum", 1)
        self.u = momentum * self.u + (1 - momentum) * g
        wanted = momentum * self.u + (1 - momentum) * g if nesterov else self.u
        first = 0 if self.setting("first_layer", True) else 1
        last = len(layout.shapes) - (0 if self.setting("last_layer", False) else 1)
        weights = [layout.views(vector)[0][first:last] for vector in (w, wanted, after)]
        for own, matrix, out in zip(*weights, strict=True):
            left, values, right = np.linalg.svd(matrix, full_matrices=False)
            values /= np.sqrt(np.sum(values**2))
            for _ in range(self.setting("iterations", 5)):
                values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
            fan_in, fan_out = matrix.shape
            scale = np.sqrt(max(1, fan_out / fan_in))
            if self.setting("match_rms", True):
                scale = 0.2 * np.sqrt(max(fan_in, fan_out))
            out[...] = own - rate * scale * (left * values) @ right
        return after


@pytest.mark.parametrize(
    ("engine_name", "solver", "numbers", "density"),
    covering(
        list(ENGINES), list(OPTIMIZERS), [(0, None), (3.0, None), (0, 0.2), (2, 0.3)], [None, 0.4]
    ),
)
def test_fits_against_formulas_written_out(engine_name, solver, numbers, density):
    """The gradient is that of the penalized mean loss; coefficients decay, intercepts do not."""
    weight_decay, clip_norm = numbers
    beside = {"weight_decay": weight_decay, "clip_norm": clip_norm}
    n_clipped = check_steps(ENGINES[engine_name](), solver, density=density, **beside)
    assert (n_clipped > 0) == (clip_norm is not None)


def roots(network):
    """Return for each coefficient the square root of its layer's fan_in, one for all others."""
    layout = layout_of(network)
    found = np.ones(layout.size)
    for coef in layout.views(found)[0]:
        coef[...] = np.sqrt(coef.shape[0])
    return found


def check_steps(engine, solver, settings=(), *, density=None, dtype="float64", rate=0.05, **beside):
    """Compare some steps with those written out; return how many gradients were clipped.

    The largest of their rates is `rate`.
    """
    judge, settings = ReferenceEngine(), dict(settings)
    problem = make_problem(NETWORK, 17, density=density)
    task = make_task(engine, NETWORK, problem, solver=solver, dtype=dtype, **beside)
    names = [setting.name for setting in task.optimizer.entry.settings]
    values = dict(zip(names, task.optimizer.settings, strict=True)) | settings
    assert list(values) == names, "a setting that there is not"
    optimizer = replace(task.optimizer, settings=tuple(map(float, values.values())))
    rates = rate * np.array([0.4, 0.0, 1.0, 0.2, 0.6, 0.4])
    run = engine.start([replace(task, optimizer=optimizer)])
    run.advance([EpochPlan(np.tile(np.arange(17), (2, 1)), 1.0, rates.reshape(2, 3))])

    w, writing = task.parameters.copy(), WrittenOut(NETWORK, **settings)
    data = judge.load(*problem, NETWORK, "float64")
    is_coef = np.arange(w.size) < NETWORK.n_coefs
    root = roots(NETWORK) if optimizer.parametrization == "ntk" else np.ones(w.size)
    w *= root  # what is trained; layers compute with w / root
    n_clipped, clip_norm = 0, optimizer.clip_norm
    for rows, rate in zip(BATCHES, rates, strict=True):
        _, gradient = judge.loss_and_gradient(NETWORK, data, w / root, task.alpha, rows)
        gradient /= root  # chain rule
        norm = np.sqrt(np.sum(gradient**2))
        if clip_norm is not None and norm > clip_norm:
            gradient *= clip_norm / norm
            n_clipped += 1
        w[is_coef] *= 1 - rate * optimizer.weight_decay
        w = getattr(writing, solver)(w, gradient, rate)
    w /= root
    tolerance = {"float64": (1e-9, 1e-12), "float32": (1e-3, 1e-4)}[dtype]
    assert_allclose(run.parameters(0), w, *tolerance)
    moved = np.abs(w - task.parameters)
    assert (moved > 10 * (tolerance[0] * np.abs(w) + tolerance[1])).mean() > 0.5
    return n_clipped


@pytest.mark.parametrize(
    ("solver", "settings"),
    [
        ("nadam", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.01, "momentum_decay": 0.5}),
        ("amsgrad", {"beta_1": 0.5, "beta_2": 0.3, "epsilon": 0.01}),
        ("adamax", {"beta_1": 0.5, "beta_2": 0.5, "epsilon": 0.01}),
        ("rmsprop", {"rho": 0.5, "epsilon": 0.01, "momentum": 0.7}),
        ("rmsprop", {"rho": 0.8, "epsilon": 0.01, "momentum": 0.2, "centered": True}),
        ("adagrad", {"initial": 0.1, "epsilon": 0.01}),
        ("adadelta", {"rho": 0.5, "epsilon": 0.1}),
        ("muon", {"momentum": 0.5, "match_rms": False, "last_layer": True, "beta_2": 0.9}),
        ("muon", {"nesterovs_momentum": False, "iterations": 2, "first_layer": False}),
    ],
    ids=str,
)
@pytest.mark.parametrize("engine_name", ENGINES)
def test_settings_matter_as_they_should(engine_name, solver, settings):
    check_steps(ENGINES[engine_name](), solver, settings, weight_decay=0.5)


# Numbers that gradients are compared with: of another size they count.
COMPARED = {"epsilon": 0.05, "initial": 0.1}


@pytest.mark.parametrize("solver", OPTIMIZERS)
@pytest.mark.parametrize("engine_name", ENGINES)
def test_ntk_is_training_of_other_numbers(engine_name, solver):
    """Every optimizer, whatever it does with gradients, is that of V in ``x V / sqrt(fan_in)``."""
    names = [setting.name for setting in OPTIMIZERS[solver].settings]
    settings = {name: value for name, value in COMPARED.items() if name in names}
    beside = {"parametrization": "ntk", "weight_decay": 3.0}
    check_steps(ENGINES[engine_name](), solver, settings, **beside)
    n_clipped = check_steps(ENGINES[engine_name](), solver, settings, **beside, clip_norm=0.08)
    assert n_clipped > 0


@pytest.mark.parametrize("solver", sorted(set(OPTIMIZERS) - BY_SIGNS))
def test_formulas_in_single_precision(solver):
    check_steps(CpuEngine(1), solver, dtype="float32", rate=RATES.get(solver, 0.05))


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_gradient_below_the_norm_is_left_alone(engine_name):
    problem = make_problem(NETWORK, 17)
    runs = [
        run_epochs(ENGINES[engine_name](), NETWORK, problem, clip_norm=norm) for norm in (None, 1e9)
    ]
    assert_same_run(runs[1], runs[0])


@pytest.mark.parametrize("engine_name", ENGINES)
def test_clipping_keeps_nan(engine_name):
    problem = make_problem(NETWORK, 17)
    engine = ENGINES[engine_name]()
    task = make_task(engine, NETWORK, problem, clip_norm=0.1, solver="sgd")
    task.parameters[0] = np.nan
    run = engine.start([task])
    (result,) = run.advance([make_plan(17)])
    assert not result.finite
    assert np.isnan(run.parameters(0)).any()


# --- Optimizers of any shape ---


def many_constants(settings, learning_rate, step):
    rate = settings[0] / (step + 1.0)
    return (learning_rate, rate, *(0.0,) * 17, 0.5)


def three_states(parameter, gradient, first, second, third, constants):
    first = first + constants[1] * gradient
    second = second + gradient * gradient
    third = third * constants[19]
    # Where there is no gradient, as in padding, zero is divided by zero.
    return parameter - constants[0] * first / second - third, first, second, third


def no_state(parameter, gradient, constants):
    return (parameter - constants[0] * gradient,)


MADE_UP = [
    Optimizer(
        "three",
        (Constant("first_rate", 0.7),),
        (State("first"), State("second", 2.0), State("third", 0.125)),
        many_constants,
        three_states,
    ),
    Optimizer("none", (), (), lambda settings, learning_rate, step: (learning_rate,), no_state),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("entry", MADE_UP, ids=lambda entry: entry.name)
@pytest.mark.usefixtures("always_parallel")
def test_any_number_of_states_and_constants(entry, weight_decay, dtype, monkeypatch):
    """Also more constants than have room in a cache line or two, and initial values."""
    monkeypatch.setitem(OPTIMIZERS, entry.name, entry)
    problem = make_problem(NETWORK, 30)
    options = {"solver": entry.name, "weight_decay": weight_decay, "batch_size": 15}
    expected = run_epochs(ReferenceEngine(), NETWORK, problem, **options)
    runs = [run_epochs(CpuEngine(n), NETWORK, problem, dtype=dtype, **options) for n in (1, 2)]
    assert_same_run(runs[1], runs[0])
    tolerance = TOLERANCE[dtype]
    assert_allclose(runs[0][0], expected[0], rtol=tolerance)
    assert_allclose(runs[0][1], expected[1], rtol=0, atol=tolerance * np.abs(expected[1]).max())
    assert_allclose(
        runs[0][2].vectors, expected[2].vectors, atol=tolerance * np.abs(expected[1]).max()
    )


@pytest.mark.parametrize("solver", OPTIMIZERS)
@pytest.mark.usefixtures("always_parallel")
def test_groups_have_factors_of_rate_and_decay(solver, monkeypatch, request):
    monkeypatch.setitem(optimizers.GROUPS, "coefs", Group(rate=0.5, decay=0.25))
    monkeypatch.setitem(optimizers.GROUPS, "intercepts", Group(rate=2.0, alpha=0.0, decay=3.0))
    for known in (step_layout, layout_for):
        known.cache_clear()
    request.addfinalizer(lambda: [known.cache_clear() for known in (step_layout, layout_for)])
    problem = make_problem(NETWORK, 30)
    options = {"solver": solver, "weight_decay": 0.5, "batch_size": 15}
    plain = run_epochs(CpuEngine(1), NETWORK, problem, solver=solver, batch_size=15)
    expected = run_epochs(ReferenceEngine(), NETWORK, problem, **options)
    runs = [run_epochs(CpuEngine(n), NETWORK, problem, **options) for n in (1, 3)]
    assert_same_run(runs[1], runs[0])
    assert_allclose(runs[0][1], expected[1], rtol=1e-9, atol=1e-12)
    assert np.abs(plain[1] - expected[1]).max() > 1e-3


def test_a_spec_is_checked():
    for settings in ((0.9, 0.999), (0.9, 0.999, np.nan), (0.9, 2.0, 1e-8)):
        with pytest.raises(ValueError, match="adam"):
            OptimizerSpec("adam", settings)
    good = OptimizerSpec("adam", OPTIMIZERS["adam"].defaults)
    for field, value in product(("weight_decay", "clip_norm"), (-1.0, np.nan)):
        with pytest.raises(ValueError, match=field):
            replace(good, **{field: value})
    for value in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match="ema_decay"):
            replace(good, ema_decay=value)
    with pytest.raises(ValueError, match="unheard"):
        OptimizerSpec("unheard", ())


# --- Threads ---


WIDE = plain_network((20, 70, 70, 3), "tanh", "log_loss", "softmax")


@pytest.mark.parametrize("density", [None, 0.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("network", "batch_size", "slab_size", "parts"),
    [
        (WIDE, 16, 16, 1),
        (WIDE, 60, 60, 2),
        (WIDE, 60, 20, 1),
        (NETWORK, 90, 60, 2),
    ],
    ids=["by columns", "by rows", "several slabs by columns", "several slabs by rows"],
)
@pytest.mark.usefixtures("always_parallel")
def test_threads_change_nothing_of_whole_gradients(
    network, batch_size, slab_size, parts, dtype, density, monkeypatch
):
    monkeypatch.setattr(skmlp.engines.cpu.task, "slab_rows", lambda *_: slab_size)
    assert parts_of_slab(network, slab_size) == parts
    problem = make_problem(network, 3 * batch_size + 1, density=density)
    plan = make_plan(3 * batch_size + 1, batch_size=batch_size)
    # Whole matrices and averages ask for more meetings.
    solver = "muon" if density is None else "sgd"
    beside = {"clip_norm": 0.05, "weight_decay": 0.5, "ema_decay": 0.8, "solver": solver}
    options = {"batch_size": batch_size, **beside}
    expected = run_epochs(CpuEngine(1), network, problem, plan, dtype=dtype, **options)
    for n_jobs in (2, 3, 4):
        actual = run_epochs(CpuEngine(n_jobs), network, problem, plan, dtype=dtype, **options)
        assert_same_run(actual, expected)
    reference = run_epochs(ReferenceEngine(), network, problem, plan, **options)
    assert_allclose(expected[0], reference[0], rtol=TOLERANCE[dtype])
    scale = np.abs(reference[1]).max()
    for ours, theirs in (
        (expected[1], reference[1]),
        (expected[2].averages.values, reference[2].averages.values),
    ):
        assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [16, 60], ids=["by columns", "by rows"])
def test_padding_is_no_part_of_the_norm(dtype, batch_size):
    """Whatever lies there."""
    problem = make_problem(WIDE, batch_size)
    options = {"dtype": dtype, "batch_size": batch_size, "clip_norm": 1.0}
    fit = make_task(CpuEngine(1), WIDE, problem, **options)
    task = CpuEngine(1).start([fit])._task(0)
    gradient = np.random.default_rng(0).normal(size=task.told.model.gradient.size).astype(dtype)
    task.told.model.gradient[:] = gradient
    size = task.told.model.parameters.size
    halves = [task._unpacked(half) for half in gradient.reshape(task.told.blocks.parts, size)]
    expected = np.sum(halves, axis=0) + fit.alpha * fit.parameters * (
        np.arange(fit.parameters.size) < WIDE.n_coefs
    )

    integer, address = ctypes.c_int64, ctypes.c_void_p
    bounds = address, address, integer
    sums = ctypes.c_double, *[address] * 4
    complete = ctypes.CFUNCTYPE(
        None, *[address] * 3, integer, *[address] * 2, *[integer] * 3, *bounds, *sums
    )(task.told.model.complete)
    p, g, table, sequence, groups, constants, squares = (
        array.ctypes.data
        for array in (
            *(task.told.model.parameters, task.told.model.gradient, task.told.blocks.table),
            *(task.told.blocks.sequence, task.told.model.groups, task.told.model.penalty_constants),
            task.told.blocks.squares,
        )
    )
    other = g + (task.told.blocks.parts - 1) * size * np.dtype(dtype).itemsize
    for layer, shares in enumerate(task.told.blocks.shares.tolist()):
        arguments = (table, sequence, shares[0], shares[-1], WIDE.layer_units[layer + 1])
        unbounded = 0, 0, 0, np.inf
        sums = groups, constants, squares, 0
        complete(p, g, other, task.told.blocks.parts - 1, *arguments, *unbounded, *sums)
    tolerance = TOLERANCE[dtype]
    assert_allclose(
        task._unpacked(task.told.model.gradient[:size].copy()), expected, atol=tolerance
    )
    assert task.told.blocks.squares.sum() == pytest.approx(np.sum(expected**2), rel=tolerance)


# --- Rates ---


@pytest.mark.parametrize("engine_name", ENGINES)
def test_equal_rates_are_one_rate(engine_name):
    problem, plan = make_problem(NETWORK, 17), make_plan(17)
    engine = ENGINES[engine_name]()
    rates = np.full((3, 3), plan.learning_rate)
    runs = [
        run_epochs(engine, NETWORK, problem, each)
        for each in (plan, EpochPlan(plan.orders, 1.0, rates))
    ]
    assert_same_run(runs[1], runs[0])


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_batch_without_weight_uses_up_its_rate(engine_name):
    X, targets, weight = make_problem(NETWORK, 21)
    weight[7:14] = 0.0
    kept = np.r_[:7, 14:21]
    engine = ENGINES[engine_name]()
    actual = run_epochs(
        engine,
        NETWORK,
        (X, targets, weight),
        EpochPlan(np.arange(21)[None], 1.0, [[0.01, 1e9, 0.02]]),
    )
    expected = run_epochs(
        engine,
        NETWORK,
        (X[kept], targets[kept], weight[kept]),
        EpochPlan(np.arange(14)[None], 1.0, [[0.01, 0.02]]),
    )
    assert_array_equal(actual[1], expected[1])


@pytest.mark.parametrize("engine_name", ENGINES)
def test_rates_of_another_shape_are_refused(engine_name):
    problem = make_problem(NETWORK, 17)
    keyed = KeyedOrders(np.arange(17), 3, 0, 2)
    for orders, shape in product((np.tile(np.arange(17), (2, 1)), keyed), [(2, 2), (3, 2), (6,)]):
        plan = EpochPlan(orders, 0.1, np.ones(shape))
        with pytest.raises(ValueError, match=r"rates must have shape \(2, 3\)"):
            run_epochs(ENGINES[engine_name](), NETWORK, problem, plan)


def test_short_calls_find_their_rates(monkeypatch):
    problem, plan = make_problem(NETWORK, 130), make_plan(130, batch_size=7, per_batch=PER_BATCH)
    expected = run_epochs(CpuEngine(1), NETWORK, problem, plan)
    monkeypatch.setattr(skmlp.engines.cpu.task, "SECONDS_PER_CALL", 0.0)
    assert_same_run(run_epochs(CpuEngine(1), NETWORK, problem, plan), expected)


# --- CUDA ---


def test_what_cuda_lacks_of_optimizers_is_named():
    adam = OptimizerSpec("adam", OPTIMIZERS["adam"].defaults)
    for optimizer, expected in [
        (replace(adam, weight_decay=0.1, clip_norm=1.0), []),
        (OptimizerSpec("amsgrad", OPTIMIZERS["amsgrad"].defaults), []),
        (OptimizerSpec("nadam", OPTIMIZERS["nadam"].defaults), ["solver='nadam'"]),
        (OptimizerSpec("muon", OPTIMIZERS["muon"].defaults), ["solver='muon'"]),
        (replace(adam, ema_decay=0.9), ["ema_decay"]),
    ]:
        assert what_is_lacking(NETWORK, optimizer) == expected
