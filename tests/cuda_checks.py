"""Checks of the CUDA engine, for a GPU and for the simulator, and how exact it has to be.

Nothing here imports CUDA before it is called. Sizes follow the place: on a GPU several tiles, in
the simulator few threads.
"""

import os
from dataclasses import dataclass, replace

import numpy as np
from engine_checks import (
    HIDDEN,
    STOCHASTIC,
    head_of,
    make_layer,
    make_network,
    make_plan,
    make_problem,
    make_task,
    run_epochs,
)
from numpy.testing import assert_allclose, assert_array_equal

from skmlp.engines.base import EpochPlan, KeyedOrders
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.cuda.vocabulary import KNOWN_LOSSES, what_is_lacking
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import OPTIMIZERS
from skmlp.network.parameters import layout_of
from skmlp.network.specs import OptimizerSpec, plain_network

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
# By one block per model, by several, and by launches that models of one shape share.
PATHS = ("resident", "resident in teams", "batched")
HEADS = sorted(KNOWN_LOSSES)
# Of constants, and of the input. There are many, which differ in nothing else.
SOME_BLENDS = ["blend_elu", "blend_silu"]


@dataclass(frozen=True)
class Sizes:
    """How large problems are: the last batch is shorter than the others."""

    n_features: int
    hidden: tuple[int, ...]
    n_samples: int
    batch_size: int


# On a GPU a few tiles of 32, 64 and 128 rows and columns, and a rest of each.
SIZES = Sizes(5, (9, 6), 25, 11) if SIMULATED else Sizes(37, (150, 70), 530, 150)
# Where there are as many problems as entries of registries.
ENTRY_SIZES = Sizes(4, (5, 3), 9, 5) if SIMULATED else SIZES


@dataclass(frozen=True)
class Tolerance:
    """How far a fit may be from that in double precision, by the relative norm of the difference.

    Attributes
    ----------
    losses : float
        Of each epoch.
    vectors : float
        Parameters and each vector of the optimizer's state, after two epochs.
    gradient : float
        One gradient and its loss.
    """

    losses: float
    vectors: float
    gradient: float


# Several times what the CPU engine (float32) and the reference engine with rounded factors (tf32,
# bf16) are off on the problems below.
TOLERANCES = {
    # The same operations in another order; Adam divides by small numbers and so enlarges errors.
    "float64": Tolerance(1e-9, 1e-9, 1e-11),
    # Rounding of 6e-8 alone costs 4e-6. But where a sum falls on the other side of relu's kink, one
    # row of a batch changes the gradient of one unit.
    "float32": Tolerance(1e-5, 1e-3, 1e-5),
    # Factors have 11 significant bits: each is off by up to 5e-4, at random. Adam moves a parameter
    # whose gradient is no larger than its error by up to the learning rate, in either direction.
    "tf32": Tolerance(1e-3, 6e-2, 2e-3),
    # Factors have 8 significant bits: off by up to 4e-3.
    "bf16": Tolerance(5e-3, 1e-1, 1.5e-2),
}


def is_computed(*, activation="tanh", key=("squared_error", "identity"), solver="sgd"):
    """Tell whether CUDA computes what these entries ask for."""
    network = make_network(1, [make_layer(activation, 1)], [head_of(key, 1)])
    return not what_is_lacking(network, OptimizerSpec(solver, OPTIMIZERS[solver].defaults))


def every_entry():
    """Return networks by name, and how to train them, that together have all that is computed.

    Every activation, loss and optimizer that is computed, however many there are; dropout and
    normalizations beside many of them.
    """
    found = {}
    first, second = ENTRY_SIZES.hidden
    keys = [key for key in sorted(LOSSES) if is_computed(key=key)]
    names = [name for name in HIDDEN if is_computed(activation=name)]
    names += SOME_BLENDS
    for i in range(max(len(names), len(keys))):
        name, key = names[i % len(names)], keys[i % len(keys)]
        normalization = (None, "layer", "batch")[i % 3]
        dropout = (0.0, 0.3)[i // 2 % 2]
        # Sparse X, and a head beside another one, now and then.
        options = {"density": (None, 0.4)[i // 3 % 2], "rates": i % 2 == 1}
        layers = [
            make_layer(name, first, dropout, normalization=normalization),
            make_layer("tanh", second),
        ]
        heads = [head_of(key, 2), *([head_of(keys[0], 3)] if i % 2 else [])]
        network = make_network(ENTRY_SIZES.n_features, layers, heads, (0.0, 0.2)[i % 2])
        found[f"{name}, {'-'.join(key)}"] = network, "sgd", options
    layers = [make_layer("silu", first, 0.2, normalization="layer")]
    network = make_network(ENTRY_SIZES.n_features, layers, [head_of(keys[0], 3)])
    for i, solver in enumerate(filter(lambda name: is_computed(solver=name), STOCHASTIC)):
        beside = {"weight_decay": 0.3 * (i % 2), "clip_norm": (0.01, None, 1e3)[i % 3]}
        found[solver] = network, solver, {"density": None, "rates": False, **beside}
    return found


EVERY_ENTRY = tuple(every_entry())


def check_entry(name, dtype, precision=None):
    """A fit, a gradient with and without masks, and predictions of one of `every_entry`."""
    network, solver, options = every_entry()[name]
    options = dict(options)
    n_samples, batch_size = ENTRY_SIZES.n_samples, ENTRY_SIZES.batch_size
    problem = make_problem(network, n_samples, density=options.pop("density"))
    # Two batches of the last lengths, one of them short.
    rates = options.pop("rates")
    per_batch = ("rates",) if rates else ()
    plan = make_plan(n_samples, 2, batch_size=batch_size, per_batch=per_batch)
    options |= {"batch_size": batch_size, "solver": solver}
    actual = run_epochs(make_engine(precision), network, problem, plan, dtype=dtype, **options)
    expected = run_epochs(ReferenceEngine(), network, problem, plan, **options)
    tolerance = TOLERANCES[precision or dtype]
    assert_close_run(actual, expected, tolerance)
    parameters, rows = expected[1], np.arange(0, n_samples, 2)
    results = []
    for engine, own in ((make_engine(precision), dtype), (ReferenceEngine(), "float64")):
        data = engine.load(*problem, network, own)
        gradients = [
            engine.loss_and_gradient(network, data, parameters, 0.1, *chosen)
            for chosen in ((None, 0, 0), (rows, 5, 3), (rows, 5, 0))
        ]
        outputs = engine.outputs(network, parameters, data, rows)
        results.append([*(part for pair in gradients for part in pair), outputs])
    for own, theirs in zip(*results, strict=True):
        assert relative_error(own, theirs) <= tolerance.gradient


def make_engine(precision=None, path=None):
    """Return a new CUDA engine whose fits take one of `PATHS`, or the one that it chooses."""
    from skmlp.engines.cuda.engine import CudaEngine
    from skmlp.engines.cuda.paths import BY_ESTIMATE, PathPolicy

    if path is None:
        return CudaEngine(precision, BY_ESTIMATE)
    team = 3 if path == "resident in teams" else 1
    return CudaEngine(precision, PathPolicy(path.split()[0], team))


def network_of(key, activation="tanh", units=None):
    """Return a network with the output layer of a head, by its key in the registry of losses."""
    n_outputs = 1 if key[0] == "poisson" else 3
    units = units or (SIZES.n_features, *SIZES.hidden)
    return plain_network((*units, n_outputs), activation, *key)


CLASSIFIER = network_of(("log_loss", "softmax"))


def relative_error(actual, expected):
    """Return the norm of the difference over the norm of what is expected."""
    scale = np.linalg.norm(expected)
    return np.linalg.norm(np.subtract(actual, expected, dtype=float)) / (scale or 1.0)


def assert_close_run(actual, expected, tolerance):
    """Compare losses, parameters and optimizer state with those of a fit in double precision."""
    assert_allclose(actual[0], expected[0], rtol=tolerance.losses)
    assert actual[2].step == expected[2].step
    assert np.isfinite(actual[1]).all()
    assert relative_error(actual[1], expected[1]) <= tolerance.vectors
    for own, theirs in zip(actual[2].vectors, expected[2].vectors, strict=True):
        assert relative_error(own, theirs) <= tolerance.vectors


def check_fit(
    network, problem, *, dtype="float64", precision=None, path=None, plan=None, **options
):
    """Train two epochs on the device and on the CPU, there in double precision."""
    options.setdefault("batch_size", SIZES.batch_size)
    plan = plan or make_plan(problem[0].shape[0], n_epochs=2)
    engine = make_engine(precision, path)
    actual = run_epochs(engine, network, problem, plan, dtype=dtype, **options)
    expected = run_epochs(CpuEngine(1), network, problem, plan, **options)
    assert_close_run(actual, expected, TOLERANCES[precision or dtype])


def check_formulas(key, activation, solver, dtype, precision=None, path=None):
    """One network, unweighted and dense."""
    network = network_of(key, activation)
    X, targets, _ = make_problem(network, SIZES.n_samples)
    how = {"dtype": dtype, "precision": precision, "path": path, "solver": solver}
    check_fit(network, (X, targets, None), **how)


def circumstances():
    """Return problems by name: network, data, and how to train."""
    rows, batch = SIZES.n_samples, SIZES.batch_size
    heavy = make_problem(CLASSIFIER, rows)
    X, targets, weight = heavy
    unweighted_batch = weight.copy()
    unweighted_batch[batch : 2 * batch] = 0.0
    in_order = EpochPlan(np.tile(np.arange(rows), (2, 1)), 0.01)
    one_left = make_problem(CLASSIFIER, 2 * batch + 1)
    features = SIZES.n_features
    logistic = ("log_loss", "logistic")
    few_columns = network_of(("squared_error", "identity"), "relu", (3, 2))
    deep = network_of(("log_loss", "softmax"), "relu", (features, 7, 8, 9))
    subset = EpochPlan(np.arange(rows)[np.newaxis, ::2].repeat(2, axis=0), 0.01)
    slabs = network_of(("squared_error", "identity"), "tanh", (3, 5))
    n_slab_rows = 40 if SIMULATED else 9000  # beyond MAX_SLAB_ROWS
    return {
        "weighted": (CLASSIFIER, heavy, {}),
        "sparse": (CLASSIFIER, make_problem(CLASSIFIER, rows, density=0.3), {}),
        "sparse, logistic": (
            network_of(logistic),
            make_problem(network_of(logistic), rows, density=0.1),
            {"batch_size": batch // 2},
        ),
        "batch without weight": (CLASSIFIER, (X, targets, unweighted_batch), {"plan": in_order}),
        "last batch of one row": (CLASSIFIER, one_left, {}),
        "batch of one row": (deep, make_problem(deep, 9), {"batch_size": 1}),
        "one batch": (CLASSIFIER, heavy, {"batch_size": rows}),
        "half of the rows": (CLASSIFIER, heavy, {"plan": subset}),
        "no hidden layer": (
            network_of(logistic, units=(features,)),
            make_problem(network_of(logistic, units=(features,)), rows),
            {},
        ),
        "few columns": (few_columns, make_problem(few_columns, rows), {}),
        "deep": (deep, make_problem(deep, rows), {}),
        "column by column": (CLASSIFIER, (np.asfortranarray(X), targets, weight), {}),
        "several slabs": (slabs, make_problem(slabs, n_slab_rows), {"batch_size": n_slab_rows}),
    }


CIRCUMSTANCES = tuple(circumstances())


def check_circumstances(name, dtype, path=None, solver="sgd"):
    """One of `circumstances`; sgd follows the gradient, so that an error cannot hide."""
    network, problem, options = circumstances()[name]
    check_fit(network, problem, dtype=dtype, path=path, solver=solver, **options)


def varied_tasks(engine, dtype="float64"):
    """Return fits that differ in everything, on two data sets, and a plan for each.

    The fourth has no plan, the fifth one of fewer epochs than the others.
    """
    rows, batch = SIZES.n_samples, SIZES.batch_size
    features = SIZES.n_features
    networks = [
        CLASSIFIER,
        plain_network((features, 13, 3), "relu", "log_loss", "softmax"),
        plain_network((features, *SIZES.hidden, 3), "logistic", "log_loss", "softmax"),
        CLASSIFIER,
        plain_network((features, 4, 5, 6, 3), "identity", "log_loss", "softmax"),
        CLASSIFIER,
        network_of(("squared_error", "identity"), "tanh", (features, 8)),
    ]
    problems = [make_problem(networks[0], rows)] * 6 + [make_problem(networks[6], rows, seed=1)]
    batches = [batch, batch, 3, batch, rows, batch // 2, batch]
    data = {}
    tasks, plans = [], []
    for i, (network, problem, size) in enumerate(zip(networks, problems, batches, strict=True)):
        solver = "sgd" if i in (2, 5) else "adam"
        task = make_task(
            engine, network, problem, dtype=dtype, solver=solver, batch_size=size, seed=i
        )
        shared = data.setdefault(id(problem), task.data)
        tasks.append(replace(task, data=shared, alpha=0.03 * i))
        plan = make_plan(rows, n_epochs=1 if i == 4 else 2, seed=i)
        plans.append(None if i == 3 else EpochPlan(plan.orders, 0.002 * (i + 1)))
    return tasks, plans


def check_varied_list(dtype="float64", path=None):
    """A list of different fits, each as on the CPU by itself."""
    runs, results = [], []
    for engine, own in ((make_engine(path=path), dtype), (CpuEngine(1), "float64")):
        tasks, plans = varied_tasks(engine, own)
        runs.append(engine.start(tasks))
        # A second call finds other plans, and a task that rests.
        results.append([runs[-1].advance(plans), runs[-1].advance([plans[0], *[None] * 6])])
    for actual, expected in zip(*results, strict=True):
        for i in range(7):
            assert (actual[i] is None) == (expected[i] is None)
            if actual[i] is not None:
                states = [run.optimizer_state(i, 0.01) for run in runs]
                assert_close_run(
                    (actual[i].losses, runs[0].parameters(i), states[0]),
                    (expected[i].losses, runs[1].parameters(i), states[1]),
                    TOLERANCES[dtype],
                )
    for index in (0, 3, 6):
        runs[0].retire(index)
    assert np.isfinite(runs[0].parameters(1)).all()


def results_of(engine, tasks, plans):
    """Return losses and parameters of all tasks, after one call."""
    run = engine.start(tasks)
    results = run.advance(plans)
    losses = [None if result is None else result.losses for result in results]
    return losses, [run.parameters(i) for i in range(len(tasks))]


def assert_same_results(actual, expected):
    """Compare what `results_of` returns bit by bit."""
    assert actual[0] == expected[0]
    for own, theirs in zip(actual[1], expected[1], strict=True):
        assert_array_equal(own, theirs)


def check_keyed_orders(dtype, path):
    """Orders drawn on the device are those that the key stands for, subsets of rows included."""
    problem = make_problem(CLASSIFIER, SIZES.n_samples)
    engine = make_engine(path=path)
    task = make_task(engine, CLASSIFIER, problem, dtype=dtype, batch_size=SIZES.batch_size)
    every, some = np.arange(SIZES.n_samples), np.arange(3, SIZES.n_samples, 2)
    keyed = [
        KeyedOrders(every, 12345, 0, 2),
        KeyedOrders(every, 2**32 - 1, 7, 2),
        KeyedOrders(some, 0, 1, 3),
    ]
    results = [
        results_of(engine, [task] * 3, [EpochPlan(orders, 0.01) for orders in all_orders])
        for all_orders in (keyed, [orders.explicit() for orders in keyed])
    ]
    assert_same_results(*results)


def check_gradient(dtype, precision=None, *, density=None, weighted=True, rows=None):
    """`loss_and_gradient`, over all rows or some, twice: the second call uses the same memory."""
    X, targets, weight = make_problem(CLASSIFIER, SIZES.n_samples, density=density)
    weight = weight if weighted else None
    engine, expected_engine = make_engine(precision), CpuEngine(1)
    tolerance = TOLERANCES[precision or dtype].gradient
    data = engine.load(X, targets, weight, CLASSIFIER, dtype)
    expected_data = expected_engine.load(X, targets, weight, CLASSIFIER, "float64")
    for seed in (0, 1):
        parameters = make_task(engine, CLASSIFIER, (X, targets, weight), seed=seed).parameters
        loss, gradient = engine.loss_and_gradient(CLASSIFIER, data, parameters, 0.1, rows)
        expected_loss, expected = expected_engine.loss_and_gradient(
            CLASSIFIER, expected_data, parameters, 0.1, rows
        )
        assert_allclose(loss, expected_loss, rtol=tolerance)
        assert relative_error(gradient, expected) <= tolerance
    return relative_error(gradient, expected)


def check_prediction(dtype, monkeypatch, *, density=None):
    """Outputs for all rows and for some, at once and in chunks, with X on the device or not."""
    import skmlp.engines.cuda.evaluation

    n_samples = 3 * SIZES.n_samples
    X, targets, _ = make_problem(CLASSIFIER, n_samples, density=density)
    parameters = make_task(CpuEngine(1), CLASSIFIER, (X, targets, None)).parameters
    layers = layout_of(CLASSIFIER).views(parameters)
    cpu = CpuEngine(1)
    expected = cpu.predict(CLASSIFIER, *layers, cpu.load(X, None, None, CLASSIFIER, "float64"))
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    rows = np.random.default_rng(0).permutation(n_samples)[: n_samples // 2]
    for at_once in (65536, SIZES.batch_size):
        monkeypatch.setattr(skmlp.engines.cuda.evaluation, "PREDICT_ROWS", at_once)
        for is_there in (False, True):
            engine = make_engine()
            data = engine.load(X, None, None, CLASSIFIER, dtype)
            if is_there:
                _ = data.matrix
            assert_allclose(engine.predict(CLASSIFIER, *layers, data), expected, atol=tolerance)
            some = engine.predict(CLASSIFIER, *layers, data, rows)
            assert_allclose(some, expected[rows], atol=tolerance)


def check_resuming(dtype, path):
    """A fit that goes on from another one's state, in a run of its own, is that fit."""
    problem = make_problem(CLASSIFIER, SIZES.n_samples)
    engine = make_engine(path=path)
    task = make_task(engine, CLASSIFIER, problem, dtype=dtype, batch_size=SIZES.batch_size)
    orders = make_plan(SIZES.n_samples, n_epochs=4).orders
    whole = engine.start([task])
    (expected,) = whole.advance([EpochPlan(orders, 0.01)])
    losses = []
    for half in (orders[:2], orders[2:]):
        run = engine.start([task])
        (result,) = run.advance([EpochPlan(half, 0.01)])
        losses += result.losses
        task = replace(
            task, parameters=run.parameters(0), optimizer_state=run.optimizer_state(0, 0.01)
        )
    assert losses == expected.losses
    assert_array_equal(task.parameters, whole.parameters(0))
    assert_array_equal(task.optimizer_state.vectors, whole.optimizer_state(0, 0.01).vectors)


def check_divergence(path):
    """A plan ends with the first epoch whose loss is not finite; other fits do not notice."""
    network = network_of(("squared_error", "identity"), "identity")
    problem = make_problem(network, SIZES.n_samples)
    engine = make_engine(path=path)
    task = make_task(engine, network, problem, solver="sgd", batch_size=SIZES.batch_size)
    orders = np.tile(np.arange(SIZES.n_samples), (60 if SIMULATED else 200, 1))
    calm = make_plan(SIZES.n_samples, n_epochs=2)
    run = engine.start([task, task])
    wild, other = run.advance([EpochPlan(orders, 1e3), calm])
    assert not wild.finite
    assert len(wild.losses) < len(orders)
    assert not np.isfinite(wild.losses[-1])
    assert np.isfinite(wild.losses[:-1]).all()
    # A list as long as this one gives the same bits.
    calm_run = engine.start([task, task])
    assert other.losses == calm_run.advance([calm, calm])[1].losses
    assert_array_equal(run.parameters(1), calm_run.parameters(1))


def keep_some_blends(monkeypatch):
    """Leave blends other than `SOME_BLENDS` out of the catalogue."""
    from skmlp.engines.cuda import program_kernels

    some = {name: program_kernels.BLENDS[name] for name in SOME_BLENDS}
    monkeypatch.setattr(program_kernels, "BLENDS", some)


def record_launches(monkeypatch):
    """Return a set that collects the names of all kernels launched from now on."""
    from skmlp.engines.cuda.runtime import runtime

    names = set()
    runtime_class = type(runtime())
    launch = runtime_class.launch

    def recording_launch(self, kernel, *arguments, **options):
        names.add(kernel.name)
        return launch(self, kernel, *arguments, **options)

    monkeypatch.setattr(runtime_class, "launch", recording_launch)
    return names


def check_group(n_models, dtype, precision=None, path=None):
    """Many fits of one network at once: the first, one in the middle and the last."""
    problem = make_problem(CLASSIFIER, SIZES.n_samples)
    results = []
    checked = sorted({0, n_models // 2, n_models - 1})
    for engine, own, members in (
        (make_engine(precision, path), dtype, range(n_models)),
        (CpuEngine(1), "float64", checked),
    ):
        base = make_task(engine, CLASSIFIER, problem, dtype=own, batch_size=SIZES.batch_size)
        tasks = [replace(base, alpha=0.01 * i, parameters=base.parameters * (1 + i / 200))
                 for i in members]  # fmt: skip
        orders = {i: make_plan(SIZES.n_samples, n_epochs=2, seed=i).orders for i in members}
        run = engine.start(tasks)
        fits = run.advance([EpochPlan(orders[i], 0.01 / (1 + i)) for i in members])
        results.append({
            i: (fit.losses, run.parameters(j), run.optimizer_state(j, 0.01))
            for j, (i, fit) in enumerate(zip(members, fits, strict=True))
        })  # fmt: skip
    for i in checked:
        assert_close_run(results[0][i], results[1][i], TOLERANCES[precision or dtype])
