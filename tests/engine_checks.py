"""What any engine must fulfil, checked against the reference engine; shared by several modules."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
from hypothesis import assume, reject
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skmlp.engines.base import PER_BATCH, EpochPlan, FitTask, OptimizerState
from skmlp.engines.cuda.vocabulary import (
    KNOWN_ACTIVATIONS,
    KNOWN_OPTIMIZERS,
    is_plain,
    what_is_lacking,
)
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.activations import ACTIVATIONS, activation_entry
from skmlp.network.constraints import connection_bounds, draw_connections, monotone_bounds
from skmlp.network.initializers import draw_uniform
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import GROUPS, OPTIMIZERS, PER_LAYER
from skmlp.network.parameters import layout_of
from skmlp.network.penalties import PENALTIES
from skmlp.network.specs import (
    NORMALIZATIONS,
    PARAMETRIZATIONS,
    Factor,
    Formula,
    HeadSpec,
    InputSpec,
    LayerSpec,
    NetworkSpec,
    OptimizerSpec,
    plain_network,
)

# What the registries hold: a new entry takes part in every test that is given one of these.
HIDDEN = [name for name, entry in ACTIVATIONS.items() if entry.hidden]


# Of some activations values that are not the defaults.
OTHER_CONSTANTS = {
    "maxout": (3.0,),
    "leaky_relu": (-0.3,),
    "elu": (0.5,),
    "celu": (2.5,),
    "softplus": (3.0,),
    "scaled_logistic": (2.0, -0.5),
}


def kind_of(name):
    """Return what of an activation decides on the loops around its formulas."""
    entry = activation_entry(name)
    counts = len(entry.constants), len(entry.learned)
    return (*counts, entry.derivative_takes_input, entry.pieces is None, entry.takes_whole_rows)


# Those that scikit-learn has, and one of every other kind. Whole networks are drawn of them: of the
# others only the formulas are new, each of which has tests of its own.
DRAWN = ["identity", "logistic", "tanh", "relu"]
for name in [*HIDDEN, "blend_selu", "blend_elu"]:
    if kind_of(name) not in map(kind_of, DRAWN):
        DRAWN.append(name)
# Those whose losses have the gradient that training follows.
DIFFERENTIABLE = [name for name in HIDDEN if not ACTIVATIONS[name].surrogate]
NORMALIZED = list(NORMALIZATIONS)
STOCHASTIC = list(OPTIMIZERS)
SOLVERS = [*STOCHASTIC, "lbfgs"]
# Those of plain networks.
CUDA_HIDDEN = [name for name in KNOWN_ACTIVATIONS if name in HIDDEN]
CUDA_STOCHASTIC = list(KNOWN_OPTIMIZERS)
CUDA_SOLVERS = [*CUDA_STOCHASTIC, "lbfgs"]

# Of each optimizer, by its name: the defaults that users find.
SETTINGS = {name: entry.defaults for name, entry in OPTIMIZERS.items()}
# Optimizers that divide by moments, which in single precision may be rounding errors themselves.
# Muon divides by singular values, so to say.
DIVIDING = {
    *("adam", "adamw", "nadam", "amsgrad", "adamax", "rmsprop", "adagrad", "adadelta", "muon"),
}
# Those that look at nothing but signs.
BY_SIGNS = {"lion"}
# What learns within a test's few steps, where the default would not.
RATES = {"adadelta": 1.0, "adagrad": 0.3}
# Relative to the largest entry; single precision accumulates rounding over the steps.
TOLERANCE = {"float64": 1e-11, "float32": 2e-4}


def make_problem(network, n_samples, seed=0, *, density=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, network.n_features))
    is_code = codes_in(network)
    X[:, is_code] = rng.integers(-1, 6, size=(n_samples, is_code.sum()))  # also what is none
    if density is not None:
        X = sparse.csr_array(np.where(rng.uniform(size=X.shape) < density, X, 0.0))
    columns = []
    for head in network.heads:
        first = int(head.entry.domain_is_open)
        n_values = head.units if head.entry.is_categorical else 2
        columns.append(first + rng.integers(n_values, size=(n_samples, head.target_columns)))
    targets = np.hstack(columns).astype(float)
    return X, targets, rng.uniform(0.2, 2.0, size=n_samples)


def codes_in(network):
    """Return which columns of X hold codes."""
    blocks = network.inputs.embedding or [None] * network.n_features
    return np.repeat(
        [block is not None and block.entry.takes_codes for block in blocks],
        [1 if block is None else block.columns for block in blocks],
    )


def head_of(key, n_targets):
    """Return a head by its key in the registry of losses, with the defaults of its constants."""
    entry = LOSSES[key]
    formula = Formula(key[0], tuple(constant.default for constant in entry.constants))
    return HeadSpec(n_targets * entry.units_per_target, formula, key[1])


def network_with(layer_units, activation, heads):
    """Return a network of one activation; `layer_units` go without the output layer."""
    plain = plain_network((*layer_units, 1), activation, "squared_error", "identity")
    return replace(plain, heads=tuple(heads))


def make_task(
    engine,
    network,
    problem,
    *,
    dtype="float64",
    batch_size=7,
    solver="adam",
    seed=0,
    error=0.0,
    error_seed=0,
    bounded=(),
    **beside,
):
    """Describe a fit; its parameters start with relative errors of a size.

    `bounded` names bounds of parameters, `beside` is what `OptimizerSpec` has beside an optimizer
    and its settings.
    """
    X, targets, weight = problem
    data = engine.load(X, targets, weight, network, dtype)
    layout = layout_of(network)
    generator = np.random.RandomState(seed)
    parameters = draw_uniform(network, generator, np.float64, X)
    if error:
        signs = np.random.default_rng(error_seed).choice([-1.0, 1.0], layout.size)
        parameters *= 1.0 + error * signs
    bounds = make_bounds(network, bounded)
    if bounds is not None:
        bounds.mirror(parameters)
    beside = {**beside, "frozen_layers": min(beside.get("frozen_layers", 0), len(network.layers))}
    vectors = [np.full(layout.size, state.initial) for state in OPTIMIZERS[solver].states]
    vectors = np.array(vectors).reshape(-1, layout.size)
    numbers = OPTIMIZERS[solver].initial_numbers
    return FitTask(
        network=network,
        optimizer=OptimizerSpec(solver, OPTIMIZERS[solver].defaults, **beside),
        data=data,
        parameters=parameters,
        optimizer_state=OptimizerState(solver, vectors, 0, 0.01, numbers),
        alpha=0.1,
        batch_size=min(batch_size, X.shape[0]),
        seed=seed,
        bounds=bounds,
    )


def make_bounds(network, bounded):
    """Return bounds of these kinds, of all connections and features some."""
    rng = np.random.RandomState(3)
    bounds = []
    if "connections" in bounded:
        shapes = zip(network.layer_units, network.layer_units[1:], strict=False)
        masks = [draw_connections(shape, 0.5, rng) for shape in shapes]
        bounds.append(connection_bounds(network, [*masks[:-1], None]))
    if "signs" in bounded and not network.inputs.embedding:
        bounds.append(monotone_bounds(network, rng.randint(-1, 2, network.n_features)))
    if len(bounds) == 2:
        return bounds[0].within(bounds[1])
    return bounds[0] if bounds else None


# What batches of every optimizer may have of their own.
OF_ALL = tuple(name for name in PER_BATCH if name != "momenta")


def make_plan(n_samples, n_epochs=3, seed=0, batch_size=None, per_batch=OF_ALL):
    """With a batch size, each batch has the numbers that `per_batch` names."""
    rng = np.random.default_rng(seed)
    orders = np.array([rng.permutation(n_samples) for _ in range(n_epochs)])
    if batch_size is None:
        return EpochPlan(orders, 0.01)
    rates, decays, dropouts, momenta = rng.random((4, n_epochs, -(-n_samples // batch_size)))
    dropouts[:, ::3] = 0.0  # as where a schedule has come down
    numbers = {"rates": 0.01 * rates, "decays": 2.0 * decays, "dropouts": 3.0 * dropouts}
    numbers["momenta"] = 0.95 * momenta
    return EpochPlan(orders, 0.01, **{name: numbers[name] for name in per_batch})


def run_epochs(engine, network, problem, plan=None, **options):
    """Return losses, parameters and optimizer state after a few epochs."""
    task = make_task(engine, network, problem, **options)
    run = engine.start([task])
    (result,) = run.advance([plan or make_plan(problem[0].shape[0])])
    assert result.finite
    return result.losses, run.parameters(0), run.optimizer_state(0, 0.01)


def assert_same_run(actual, expected):
    assert_array_equal(actual[0], expected[0])
    assert_array_equal(actual[1], expected[1])
    assert_array_equal(actual[2].vectors, expected[2].vectors)
    assert actual[2].step == expected[2].step
    assert actual[2].numbers == expected[2].numbers
    assert (actual[2].averages is None) == (expected[2].averages is None)
    if actual[2].averages is not None:
        assert_array_equal(actual[2].averages.values, expected[2].averages.values)
        assert actual[2].averages.weight == expected[2].averages.weight


def make_layer(name, units, dropout=0.0, constants=None, normalization=None):
    """Describe a layer; the constants of its activation are the defaults unless given."""
    if constants is None:
        constants = tuple(constant.default for constant in activation_entry(name).constants)
    return LayerSpec(units, Formula(name, constants), normalization, dropout)


# Constants of activations to draw from; those of others are the defaults.
CONSTANTS = {"maxout": [(1.0,), (2.0,), (3.0,)], "leaky_relu": [(0.01,), (-0.7,), (3.0,)]}


@st.composite
def layers(draw):
    """Draw a layer of any kind."""
    name = draw(st.sampled_from(DRAWN))
    return make_layer(
        name,
        draw(st.integers(1, 40)),
        draw(st.sampled_from([0.0, 0.0, 0.3])),
        draw(st.sampled_from(CONSTANTS.get(name, [None]))),
        draw(st.sampled_from([None, *NORMALIZED])),
    )


def make_network(n_features, layers, heads, dropout=0.0, noise=0.0, mixup=0.0):
    inputs = InputSpec(n_features, dropout, noise, mixup)
    return NetworkSpec(inputs, tuple(layers), tuple(heads))


@st.composite
def plain_networks(draw, activations, losses):
    """Draw small networks with one activation and one head."""
    units = (draw(st.integers(1, 9)), *draw(st.lists(st.integers(1, 40), max_size=3)))
    head = head_of(draw(st.sampled_from(sorted(losses))), draw(st.integers(1, 4)))
    return network_with(units, draw(st.sampled_from(activations)), [head])


@st.composite
def networks(draw):
    """Draw small networks of any layers and heads."""
    head = st.builds(head_of, st.sampled_from(sorted(LOSSES)), st.integers(1, 4))
    return make_network(
        draw(st.integers(1, 9)),
        draw(st.lists(layers(), max_size=3)),
        draw(st.lists(head, min_size=1, max_size=3)),
        draw(st.sampled_from([0.0, 0.0, 0.3])),
        draw(st.sampled_from([0.0, 0.0, 0.2])),
        draw(st.sampled_from([0.0, 0.0, 0.5])),
    )


# Arguments of `check_against_reference`: any small problem.
PROBLEMS = {
    "network": networks(),
    "n_samples": st.integers(1, 130),
    "batch_size": st.integers(1, 130),
    "dtype": st.sampled_from(["float32", "float64"]),
    "solver": st.sampled_from(STOCHASTIC),
    "density": st.sampled_from([None, 0.3]),
    "weighted": st.booleans(),
}
# What every engine can do beside an optimizer.
EVERYWHERE = {
    "weight_decay": st.sampled_from([0.0, 0.5]),
    "clip_norm": st.sampled_from([None, 1e-3, 1.0]),
}


@st.composite
def factors(draw):
    """Draw factors of groups of parameters: of some roles, and of some layers."""
    values = st.sampled_from([0.0, 0.1, 1.0, 3.0])
    own = st.builds(Factor, st.sampled_from(list(GROUPS)), values)
    of_layer = st.builds(Factor, st.sampled_from(PER_LAYER), values, st.integers(0, 3))
    return tuple(draw(st.lists(own | of_layer, max_size=4)))


# By which factors groups of parameters are updated.
OF_GROUPS = {
    "rate_factors": factors(),
    "decay_factors": factors(),
    "parametrization": st.sampled_from(PARAMETRIZATIONS),
}
FREE = {"rate_factors": (), "decay_factors": (), "parametrization": "standard"}
# What the CPU can do beside an optimizer, for the argument `beside`.
BESIDE = st.fixed_dictionaries(
    {
        **EVERYWHERE,
        "penalty": st.sampled_from(
            [Formula(name, (0.3,) * len(entry.constants)) for name, entry in PENALTIES.items()]
        ),
        "clip_value": st.sampled_from([None, 1e-2]),
        "max_norm": st.sampled_from([None, 0.5]),
        "frozen_layers": st.sampled_from([0, 0, 1, 2]),
        "bounded": st.sampled_from([(), ("connections",), ("signs",), ("connections", "signs")]),
        "ema_decay": st.sampled_from([None, 0.9]),
        **{name: st.just(FREE[name]) | drawn for name, drawn in OF_GROUPS.items()},
    }
)


def comparable_solver(network, solver):
    """Return a solver by which engines can be compared.

    Intercepts before batch normalization have gradients of zero, up to rounding errors, which
    some optimizers divide by each other, or look at the signs of.
    """
    return "sgd" if network.normalizes_batches and solver in DIVIDING | BY_SIGNS else solver


# How a problem is changed to see what its results mean: by which multiple of rounding errors, how
# often, and by which part of the tolerance results may move. One error may grow, but not much; a
# derivative that jumps near a drawn point does so for one of the larger changes.
CHANGES = [(1.0, 1, 0.02), (16.0, 4, 0.25)]


def assume_well_conditioned(network, problem, plan, expected, dtype, options):
    """Pass over problems whose results mean little in one precision.

    As where rows, which a normalization divides by what they differ by, differ by little more than
    rounding errors; where probabilities come closer to zero than the precision's epsilon; or where
    pieces of a maxout are nearly equal, as they are if a normalization removes what they differ in.
    The reference is asked, whose data and parameters are changed by such errors.
    """
    X, targets, weight = problem
    rng = np.random.default_rng(0)
    compares_parameters = can_compare_parameters(options["solver"], dtype)
    scale = np.abs(expected[1]).max()
    for size, n_draws, part in CHANGES:
        limit = part * TOLERANCE[dtype]
        error = size * np.finfo(dtype).eps
        for draw in range(n_draws):
            changes = error * rng.choice([-1.0, 1.0], size=X.shape)
            if network.inputs.embedding:
                changes[:, codes_in(network)] = 0.0
            changed = X + X * changes, targets, weight
            beside = {**options, "dtype": dtype, "error": error, "error_seed": draw}
            try:
                with patch("skmlp.engines.reference.EPSILON", float(np.finfo(dtype).eps)):
                    moved = run_epochs(ReferenceEngine(), network, changed, plan, **beside)
            except (RuntimeWarning, AssertionError):  # it diverges where the problem itself did not
                reject()
            assume(np.allclose(moved[0], expected[0], rtol=limit, atol=limit))
            if compares_parameters:
                assume(np.allclose(moved[1], expected[1], atol=limit * scale, rtol=0))


def can_compare_parameters(solver, dtype):
    return solver not in DIVIDING or dtype == "float64"


def check_against_reference(
    make_engine,
    network,
    n_samples,
    batch_size,
    dtype,
    solver,
    density,
    weighted,
    beside=None,
    per_batch=(),
):
    """Compare losses, parameters, steps and predictions of a short fit.

    `per_batch` names what changes with every batch.
    """
    # Rounding decides on the signs of small numbers.
    assume(dtype == "float64" or solver not in BY_SIGNS)
    if network.inputs.noise > 0.0 or network.inputs.mixup > 0.0 or network.inputs.is_changed:
        density = None
    X, targets, weight = make_problem(network, n_samples, density=density)
    problem = X, targets, weight if weighted else None
    solver = comparable_solver(network, solver)
    options = {"batch_size": batch_size, "solver": solver, **(beside or {})}
    batch_size = min(batch_size, n_samples)
    if OPTIMIZERS[solver].momentum is None:
        per_batch = tuple(name for name in per_batch if name in OF_ALL)
    plan = make_plan(n_samples, 2, batch_size=batch_size, per_batch=per_batch)

    try:
        expected = run_epochs(ReferenceEngine(), network, problem, plan, **options)
    except RuntimeWarning as warning:
        # What has an exponential for its link may diverge: there is nothing to compare.
        is_safe = not any(head.entry.link.exponent for head in network.heads)
        assume("overflow" not in str(warning) or is_safe)
        raise
    task = make_task(ReferenceEngine(), network, problem, **options)
    # What is plain is compared without exception.
    lacking = what_is_lacking(network, task.optimizer) or task.bounds is not None
    if lacking or not is_plain(network, task.optimizer):
        assume_well_conditioned(network, problem, plan, expected, dtype, options)
    actual = run_epochs(make_engine(), network, problem, plan, dtype=dtype, **options)

    tolerance = TOLERANCE[dtype]
    # Probabilities are clipped at one minus the precision's own epsilon.
    clipped = network.n_outputs * np.finfo(dtype).eps
    assert_allclose(actual[0], expected[0], rtol=tolerance, atol=2 * clipped)
    assert actual[2].step == expected[2].step
    if can_compare_parameters(solver, dtype):
        scale = np.abs(expected[1]).max()
        assert_allclose(actual[1], expected[1], atol=tolerance * scale, rtol=0)
        if task.optimizer.ema_decay is not None:
            averages = (run[2].averages.values for run in (actual, expected))
            assert_allclose(*averages, atol=tolerance * scale, rtol=0)

    outputs = []
    for engine in (make_engine(), ReferenceEngine()):
        data = engine.load(X, None, None, network, dtype)
        layout = layout_of(network)
        layers, extras = layout.views(expected[1]), layout.extras_of(expected[1])
        outputs.append(engine.predict(network, *layers, data, extras=extras))
    assert_allclose(*outputs, rtol=tolerance, atol=tolerance)
