"""Every formula of the registries against SciPy, mpmath and difference quotients."""

import ctypes
import re
from itertools import product
from pathlib import Path

import mpmath
import numpy as np
import pytest
from engine_checks import RATES, SETTINGS
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

from skmlp.engines.cpu.compilation import specialize
from skmlp.engines.cpu.map_kernels import keeping_kernel
from skmlp.engines.formulas import rebind
from skmlp.network.activations import ACTIVATIONS, activation_entry, softmax
from skmlp.network.links import LINKS, log_softmax
from skmlp.network.loss_formulas import clip_probability
from skmlp.network.losses import LOSSES
from skmlp.network.optimizers import OPTIMIZERS

POINTS = np.array([-30.0, -3.0, -1.0, -0.1, 1e-3, 0.1, 0.7, 1.0, 3.0, 20.0])
EPSILON = np.finfo(np.float64).eps

# Values that each formula is tried with besides its argument: of its constants, then of what a
# unit learns. An entry that has some and is not listed is tried with the defaults.
ARGUMENTS = {
    "leaky_relu": [(0.01,), (-0.7,), (3.0,)],
    "prelu": [(0.25,), (-0.7,)],
    "elu": [(1.0,), (0.0,), (2.5,)],
    "celu": [(1.0,), (0.3,), (4.0,)],
    "softplus": [(1.0,), (0.25,), (9.0,)],
    "scaled_logistic": [(1.0, 0.0), (-3.0, 0.6), (0.2, -2.0)],
    "blend_selu": [(1.0,), (-0.4,)],
    "blend_celu": [(0.3, 0.7)],
}
# What SciPy and NumPy make of them.
INDEPENDENT = {
    "identity": lambda z: z,
    "logistic": special.expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "exp": np.exp,
    "gelu": lambda z: z * special.ndtr(z),
    "silu": lambda z: z * special.expit(z),
    "leaky_relu": lambda z, slope: np.maximum(z, 0) + slope * np.minimum(z, 0),
    "prelu": lambda z, slope: np.maximum(z, 0) + slope * np.minimum(z, 0),
    "maxout": lambda z: np.maximum(z, np.roll(z, 1)),
    "elu": lambda z, alpha: np.maximum(z, 0) + alpha * np.expm1(np.minimum(z, 0)),
    "celu": lambda z, alpha: np.maximum(z, 0) + alpha * np.expm1(np.minimum(z, 0) / alpha),
    "selu": lambda z: SELU[0] * np.where(z > 0, z, SELU[1] * np.expm1(np.minimum(z, 0))),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "gelu_tanh": lambda z: (
        z * special.expit(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * np.power(z, 3)))
    ),
    "softplus": lambda z, beta: np.logaddexp(0, beta * z) / beta,
    "softsign": lambda z: 1 / (1 / z + np.sign(z)),
    "log_sigmoid": special.log_expit,
    "scaled_logistic": lambda z, slope, threshold: special.expit(slope * (z - threshold)),
    "sinc": lambda z: np.sinc(z / np.pi),
    "exponential": np.exp,
    "hard_sigmoid": lambda z: np.clip(z / 6 + 0.5, 0, 1),
    "hard_swish": lambda z: z * np.clip(z / 6 + 0.5, 0, 1),
    "hard_tanh": lambda z: np.clip(z, -1, 1),
    "relu6": lambda z: np.clip(z, 0, 6),
    "step": lambda z: np.heaviside(z, 0.0),
    "softmax": special.softmax,
}
# What stands in the place of derivatives.
SURROGATES = {"step": lambda z: (np.abs(z) <= 1).astype(float)}
# Klambauer et al. (2017), section 3 of the appendix.
SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
ELEMENT_WISE = [name for name, entry in ACTIVATIONS.items() if entry.is_elementwise]
SMOOTH = [name for name in ELEMENT_WISE if not ACTIVATIONS[name].surrogate]
# One without constants and one with.
SOME_BLENDS = ["blend_selu", "blend_celu"]
WITHOUT_NUMBERS = [name for name in ELEMENT_WISE if not ACTIVATIONS[name].learned]
# Values at infinity that are infinite, and the plain logistic function of scikit-learn.
OVERFLOWING = {"exp", "exponential", "logistic"}
MANY_DIGITS = {
    name: getattr(mpmath, name)
    for name in ("exp", "log", "sqrt", "tanh", "erfc", "expm1", "log1p", "sin", "cos")
}


def arguments_of(name):
    entry = activation_entry(name)
    default = tuple(part.default for part in entry.constants)
    return ARGUMENTS.get(name, [default + tuple(part.initial for part in entry.learned)])


def cases(names):
    return [
        pytest.param(name, others, id=" ".join([name, *map(str, others)]))
        for name in names
        for others in arguments_of(name)
    ]


def assert_near(results, formula, others, tolerance, points=POINTS):
    """Compare with many digits; the error may be that of an argument rounded a few times.

    What is smaller than all numbers of single precision counts for zero.
    """
    precise = exact(formula)
    with mpmath.workdps(50):
        for result, z in zip(results, points, strict=True):
            argument = mpmath.mpf(float(z))
            parameters = [mpmath.mpf(float(other)) for other in others]
            expected = precise(argument, *parameters)
            slope = mpmath.diff(lambda x, rest=parameters: precise(x, *rest), argument)
            scale = abs(expected) + abs(argument * slope)
            assert abs(float(result - expected)) <= tolerance * float(scale) + 1e-44, z


def exact(formula):
    """Return a formula of a registry that computes with the digits mpmath is set to."""
    return rebind(formula, mpmath.mpf, MANY_DIGITS, lambda function: function)


@pytest.mark.parametrize("registry", [ACTIVATIONS, LOSSES, OPTIMIZERS])
def test_names_are_keys(registry):
    for key, entry in registry.items():
        assert entry.name in (key, key[0])


@pytest.mark.parametrize("registry", [ACTIVATIONS, OPTIMIZERS])
def test_every_formula_stands_in_the_table_of_the_documentation(registry):
    pages = ("guide/activations.md", "design/numerics.md")
    docs = Path(__file__).parents[1] / "docs"
    page = docs / pages[registry is not ACTIVATIONS]
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    for key in registry:
        names = [key] if isinstance(key, str) else key
        start = "| " + ", ".join(f"`{name}`" for name in names)
        assert any(row.startswith(start) for row in rows), f"no row for {key}"


def test_every_activation_has_an_independent_formula():
    assert INDEPENDENT.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize(("name", "others"), cases(ELEMENT_WISE))
def test_activation_against_scipy(name, others):
    values = [ACTIVATIONS[name].value(z, *others) for z in POINTS]
    expected = INDEPENDENT[name](POINTS, *others)
    assert_allclose(values, expected, rtol=2e-14, atol=1e-190)


@pytest.mark.parametrize(
    ("name", "others"),
    cases(n for n in ELEMENT_WISE if ACTIVATIONS[n].hidden and ACTIVATIONS[n].growth),
)
def test_values_are_bounded_or_no_larger_than_their_argument(name, others):
    """What bounds a network's outputs believes."""
    entry = ACTIVATIONS[name]
    for z in (*POINTS, -1e300, 1e300):
        with np.errstate(over="ignore"):
            value = abs(entry.value(z, *others))
        bound, slope, offset = entry.growth(*others)
        assert value <= min(bound, slope * abs(z) + offset)


@pytest.mark.parametrize(("name", "others"), cases([*ELEMENT_WISE, *SOME_BLENDS]))
def test_activation_against_many_digits(name, others):
    """As it is written, a formula loses no digits."""
    value = activation_entry(name).value
    assert_near([value(z, *others) for z in POINTS], value, others, 4 * EPSILON)


@pytest.mark.parametrize(("name", "others"), cases([*SMOOTH, *SOME_BLENDS]))
def test_derivatives_against_many_digits(name, others):
    entry = activation_entry(name)
    value = exact(entry.value)
    with mpmath.workdps(50):
        parameters = [mpmath.mpf(other) for other in others]
        for z in POINTS:
            if abs(z) in KINKS.get(name, ()):
                continue
            argument = mpmath.mpf(float(z))
            expected = float(mpmath.diff(lambda x: value(x, *parameters), argument))
            output = float(value(argument, *parameters))
            derivative = entry.derivative(z if entry.derivative_takes_input else output, *others)
            # 1 - a * a cancels where tanh saturates: an absolute rounding error remains.
            scale = max(1.0, *map(abs, others), 0.0)
            assert derivative == pytest.approx(expected, rel=1e-14, abs=2 * EPSILON * scale)
            for i, learned in enumerate(entry.learned, start=len(entry.constants)):

                def of_number(number, argument=argument, i=i):
                    return value(argument, *parameters[:i], number, *parameters[i + 1 :])

                expected = float(mpmath.diff(of_number, parameters[i]))
                assert learned.slope(z, *others) == pytest.approx(expected, rel=1e-14)


# Where a derivative jumps, the registry takes one side's.
KINKS = {"hard_tanh": (1.0,), "hard_sigmoid": (3.0,), "hard_swish": (3.0,)}


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if ACTIVATIONS[n].surrogate])
def test_surrogates(name):
    derivative = ACTIVATIONS[name].derivative
    assert_array_equal([derivative(z) for z in POINTS], SURROGATES[name](POINTS))


# Between those of sinc there is no second sign, so that a limit can be told from its neighbors.
EXTREMES = np.array([np.nan, -np.inf, np.inf, -1e4, 1e4, -1e300, 1e300, 0.0])


@pytest.mark.parametrize(("name", "others"), cases(n for n in ELEMENT_WISE))
def test_extreme_inputs(name, others):
    """NaN passes through, and what has a finite limit has it at infinity, without a warning."""
    entry = ACTIVATIONS[name]
    with np.errstate(all="ignore" if name in OVERFLOWING else "raise", under="ignore"):
        values = np.array([entry.value(z, *others) for z in EXTREMES])
        arguments = EXTREMES if entry.derivative_takes_input else values
        derivatives = np.array([entry.derivative(a, *others) for a in arguments])
    assert np.isnan(values[0])
    for numbers in (values, derivatives):
        assert not np.isnan(numbers[1:]).any()
        for at_infinity, far in ((1, 5), (2, 6)):
            if abs(numbers[far]) < 1e200:
                assert numbers[at_infinity] == pytest.approx(numbers[far], abs=1e-200)
            else:
                assert numbers[at_infinity] == np.sign(numbers[far]) * np.inf
    with np.errstate(all="ignore"):
        expected = INDEPENDENT[name](EXTREMES[3:5], *others)
    assert_allclose(values[3:5], expected, rtol=1e-13, atol=1e-190)


def in_a_kernel(name, dtype, points, others):
    """Return values and derivatives as a kernel computes them, many at once."""
    z = np.array(points, dtype=dtype)
    kept = np.empty_like(z)
    constants = np.array([*others, 0.0])
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (z, kept, constants)]
    arguments = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
    kernel = ctypes.CFUNCTYPE(None, *arguments)(keeping_kernel(name, dtype))
    kernel(*pointers[:2], z.size, pointers[2])
    return z, kept


@pytest.mark.parametrize(("name", "others"), cases(WITHOUT_NUMBERS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_formula_is_the_python_formula(name, others, dtype):
    """Vectorized; the last points are left to a scalar loop. Extreme ones are in both."""
    entry = ACTIVATIONS[name]
    others = [float(np.dtype(dtype).type(other)) for other in others]
    epsilon = float(np.finfo(dtype).eps)
    with np.errstate(all="ignore"):
        points = np.array([*POINTS, *EXTREMES] * 19, dtype=dtype).astype(float)
    values, derivatives = in_a_kernel(name, dtype, points, others)
    size = POINTS.size + EXTREMES.size
    for results in (values, derivatives):
        assert_array_equal(results, np.tile(results[:size], 19))
    some, outputs, slopes = (part[: POINTS.size] for part in (points, values, derivatives))
    assert_near(outputs, entry.value, others, 8 * epsilon, some)
    # A derivative of outputs is of those that the kernel has computed.
    given = some if entry.derivative_takes_input else outputs
    assert_near(slopes, entry.derivative, others, 8 * epsilon, given)
    largest = float(np.finfo(dtype).max)
    with np.errstate(all="ignore"):
        given = points[POINTS.size : size]
        expected = np.array([entry.value(z, *others) for z in given])
        arguments = given if entry.derivative_takes_input else expected
        slopes = np.array([entry.derivative(a, *others) for a in arguments])
        expected, slopes = (np.where(np.abs(x) > largest, np.sign(x) * np.inf, x)
                            for x in (expected, slopes))  # fmt: skip
    # A sine of 1e4 has lost four digits, and what is beyond a precision's numbers is infinite.
    tolerance = {"rtol": (1e5 if name == "sinc" else 8) * epsilon, "atol": 8 * epsilon}
    assert_allclose(values[POINTS.size : size], expected, **tolerance)
    assert_allclose(derivatives[POINTS.size + 1 : size], slopes[1:], **tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_formula_of_learned_numbers(dtype):
    """With a constant besides."""
    entry = activation_entry("blend_celu")
    (others,) = arguments_of("blend_celu")
    others = [dtype(other) for other in others]
    (learned,) = entry.learned
    for formula in (entry.value, entry.derivative, learned.slope):
        compiled = specialize(formula, dtype)
        points = POINTS.astype(dtype)
        results = [float(compiled(z, *others)) for z in points]
        assert_near(results, formula, others, 8 * np.finfo(dtype).eps, points)
        check_precision_of(compiled, dtype)
    with np.errstate(invalid="ignore"):
        assert np.isnan(entry.value(dtype("nan"), *others))
    assert np.isnan(specialize(entry.value, dtype)(dtype("nan"), *others))


class Number:
    """A number that meets none but its like."""

    def __init__(self, value):
        self.value = float(value)

    def of(self, other):
        assert type(other) is Number, f"{other!r} has a precision of its own"
        return other.value

    def __neg__(self):
        return Number(-self.value)

    def __abs__(self):
        return Number(abs(self.value))

    def __add__(self, other):
        return Number(self.value + self.of(other))

    def __sub__(self, other):
        return Number(self.value - self.of(other))

    def __mul__(self, other):
        return Number(self.value * self.of(other))

    def __truediv__(self, other):
        return Number(self.value / self.of(other))

    def __lt__(self, other):
        return self.value < self.of(other)

    def __le__(self, other):
        return self.value <= self.of(other)

    def __gt__(self, other):
        return self.value > self.of(other)

    def __ge__(self, other):
        return self.value >= self.of(other)

    def __eq__(self, other):
        return self.value == self.of(other)

    def __ne__(self, other):
        return self.value != self.of(other)

    __hash__ = None


@pytest.mark.parametrize(("name", "others"), cases([*ELEMENT_WISE, *SOME_BLENDS]))
def test_formulas_keep_to_one_precision(name, others):
    """Numbers with another one would make a loop in single precision compute in double."""
    entry = activation_entry(name)
    functions = {
        key: lambda x, function=function: Number(function(x.value))
        for key, function in MANY_DIGITS.items()
    }
    for formula in (entry.value, entry.derivative, *(part.slope for part in entry.learned)):
        bound = rebind(formula, Number, functions, lambda function: function)
        for z in POINTS:
            assert type(bound(Number(z), *map(Number, others))) is Number


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_better_piece(dtype):
    """The largest, of equal ones the first, and NaN before all."""
    nan = float("nan")
    for better in (ACTIVATIONS["maxout"].value, specialize(ACTIVATIONS["maxout"].value, dtype)):
        assert better(dtype(2), dtype(1)) == better(dtype(1), dtype(2)) == 2
        assert np.isnan([better(dtype(nan), dtype(1)), better(dtype(1), dtype(nan))]).all()


def softmax_of(scores):
    column = np.array(scores)[:, np.newaxis]
    softmax(column, np.empty(1))
    return column[:, 0]


def test_softmax_against_scipy_and_course_material():
    scores = softmax_of([1.0, 2, 3, 4, 1, 2, 3])
    expected = [0.02364054, 0.06426166, 0.1746813, 0.474833, 0.02364054, 0.06426166, 0.1746813]
    assert_allclose(scores, expected, atol=5e-9)

    scores = np.array([-0.5, 1.2, 3, -2])
    logistic = [ACTIVATIONS["logistic"].value(z) for z in scores]
    assert_allclose(logistic, [0.38, 0.77, 0.95, 0.12], atol=5e-3)
    assert_allclose(softmax_of(scores), [0.03, 0.14, 0.83, 0.01], atol=5e-3)

    big = [1000.0, 999.0, -1000.0]
    assert_allclose(softmax_of(big), special.softmax(big), rtol=1e-14)


def test_softmax_of_several_samples_is_that_of_each():
    scores = np.random.default_rng(0).normal(size=(5, 3))
    together = scores.copy()
    softmax(together, np.empty(3))
    assert_allclose(together, special.softmax(scores, axis=0), rtol=1e-14)


def test_softmax_of_nan_is_nan():
    assert np.isnan(softmax_of([0.0, np.nan, 1.0])).all()


def test_linear_and_logistic_unit_of_course_material():
    z = 20 * 0.1 + 0.5 * (-4) + 0.1 * 10
    assert ACTIVATIONS["identity"].value(z) == pytest.approx(1.0)
    assert ACTIVATIONS["logistic"].value(z) == pytest.approx(0.73, abs=5e-3)


def tweedie(y, p):
    with mpmath.workdps(50):  # half of scikit-learn's `mean_tweedie_deviance` with power 1.5
        y, p = mpmath.mpf(float(y)), mpmath.mpf(float(p))
        return float(2 * (p**0.5 + y / p**0.5 - 2 * y**0.5))


# Of target and output, with the default of the constants, if there are any.
LOSS_EXPECTED = {
    ("log_loss", "softmax"): lambda y, p: -np.log(p),
    ("log_loss", "logistic"): lambda y, p: -special.xlogy(y, p) - special.xlogy(1 - y, 1 - p),
    ("smoothed_log_loss", "softmax"): lambda y, p: -(0.9 if y else 0.05) * np.log(p),
    ("focal", "softmax"): lambda y, p: -(0.9 if y else 0.05) * (1 - p) ** 2 * np.log(p),
    ("focal", "logistic"): lambda y, p: (
        -(y * (1 - p) ** 2 * np.log(p) + (1 - y) * p**2 * np.log1p(-p))
    ),
    ("squared_error", "softmax"): lambda y, p: (y - p) ** 2 / 2,
    ("squared_error", "logistic"): lambda y, p: (y - p) ** 2,
    ("hinge", "identity"): lambda y, p: max(0.0, 1 - p if y else 1 + p),
    ("squared_hinge", "identity"): lambda y, p: max(0.0, 1 - p if y else 1 + p) ** 2,
    ("squared_error", "identity"): lambda y, p: (y - p) ** 2 / 2,
    ("absolute_error", "identity"): lambda y, p: np.abs(y - p),
    ("huber", "identity"): lambda y, p: special.huber(1.0, y - p),
    ("log_cosh", "identity"): lambda y, p: float(mpmath.log(mpmath.cosh(y - p))),
    ("quantile", "identity"): lambda y, p: 0.5 * np.abs(y - p),
    ("quantile", "increasing"): lambda y, p: 0.1 * max(y - p, 0) + 0.9 * max(p - y, 0),
    ("poisson", "exp"): special.kl_div,
    ("gamma", "exp"): lambda y, p: np.log(p / y) + y / p - 1,
    ("tweedie", "exp"): tweedie,
    ("gaussian_nll", "gaussian"): lambda y, m, s: -stats.norm.logpdf(y, m, s),
    ("laplace_nll", "laplace"): lambda y, m, s: -stats.laplace.logpdf(y, m, s / np.sqrt(2)),
}


def targets_of(key):
    """Return some targets that a loss accepts."""
    loss = LOSSES[key]
    if loss.is_categorical:
        return [0.0, 1.0] if loss.takes_raw else [1.0]
    targets = [0.0, 1.0] if loss.for_classes else [-2.0, 0.0, 1.0, 1.5, 7.0]
    is_open, minimum = loss.domain_is_open, loss.domain_minimum
    return [target for target in targets if target > minimum or target == minimum > is_open - 1]


def test_every_loss_has_an_independent_formula():
    assert LOSS_EXPECTED.keys() == LOSSES.keys()


def check_precision_of(compiled, dtype):
    (signature,) = compiled.nopython_signatures
    assert set(re.findall(r"float\d+", str(signature.return_type))) == {np.dtype(dtype).name}


def defaults_of(loss):
    """Return the constants of one output."""
    constants = loss.constants[:1] if loss.has_any_number else loss.constants
    return [constant.default for constant in constants]


def n_raw_of(loss):
    """Return how many raw predictions the formulas take."""
    return loss.link.units_per_target


@pytest.mark.parametrize("key", LOSS_EXPECTED, ids="-".join)
def test_loss_against_scipy(key):
    loss = LOSSES[key]
    points = product(np.linspace(-4, 4, 9), repeat=n_raw_of(loss))
    for target, raw in product(targets_of(key), points):
        # Of a softmax the probability of one class.
        outputs = special.expit(raw[0]) if loss.is_categorical else loss.link.value(*raw)
        known = raw if n_raw_of(loss) > 1 else (*raw, outputs)
        if loss.is_categorical:
            known = np.log(outputs), outputs
        value = loss.value(target, *known, EPSILON, *defaults_of(loss))
        expected = LOSS_EXPECTED[key](target, *np.atleast_1d(outputs))
        assert value == pytest.approx(expected, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("key", LOSSES, ids="-".join)
def test_losses_of_large_raw_predictions_are_finite(key):
    """Where the formula is, in logarithms: far on the right side, and far on either."""
    loss, constants = LOSSES[key], defaults_of(LOSSES[key])
    if loss.is_categorical:
        scores = np.array([[1e300], [-1e300], [0.0]])
        log_softmax(scores, np.empty(1), np.empty(1))
        assert_array_equal(scores[:, 0], [0.0, -2e300, -1e300])
        known = [(-1e300, 0.0), (0.0, 1.0)]
    elif n_raw_of(loss) > 1:
        known = [(target, -1e4) for target in targets_of(key)] + [(0.0, 1e4), (1e150, 700.0)]
    else:
        # Deviances grow as the mean does, or as its inverse.
        known = [(5.0,)] if loss.link.exponent else [(raw,) for raw in (-1e150, -40.0, 40.0, 1e150)]
        with np.errstate(over="ignore"):
            known = [(*raw, loss.link.value(*raw)) for raw in known]
    for target, raw in product(targets_of(key), known):
        if n_raw_of(loss) > 1 and raw[1] < 0 and raw[0] != target:
            continue  # a density that vanishes
        known_to_gradient = raw if loss.takes_raw or n_raw_of(loss) > 1 else raw[1:]
        with np.errstate(over="ignore"):  # on the way
            value = loss.value(target, *raw, EPSILON, *constants)
            gradient = loss.gradient(target, *known_to_gradient, *constants)
        assert np.isfinite([value, *np.ravel(gradient)]).all()


def test_tweedie_deviances_tend_to_those_of_poisson_and_gamma():
    entry = LOSSES["tweedie", "exp"]
    for power, limit in ((1 + 1e-9, "poisson"), (2 - 1e-9, "gamma")):
        for target, raw in product([1e-3, 1.0, 700.0], [-5.0, 0.1, 6.0]):
            arguments = target, raw, np.exp(raw)
            expected = LOSSES[limit, "exp"]
            value = entry.value(*arguments, EPSILON, power)
            assert value == pytest.approx(expected.value(*arguments, EPSILON), rel=1e-7, abs=1e-9)
            known = arguments if expected.takes_raw else (arguments[0], arguments[2])
            gradient = entry.gradient(*arguments, power)
            assert gradient == pytest.approx(expected.gradient(*known), rel=1e-7, abs=1e-9)


def test_gaussian_loss_is_that_of_scipy():
    """With the constant: the loss is a negative log-likelihood, not only up to a number."""
    loss = LOSSES["gaussian_nll", "gaussian"]
    for target, mean, log_variance in product(POINTS, POINTS, np.linspace(-40, 40, 9)):
        outputs = loss.link.value(mean, log_variance)
        assert outputs == (mean, pytest.approx(np.exp(log_variance / 2), rel=1e-14))
        value = loss.value(target, mean, log_variance, EPSILON)
        assert value == pytest.approx(-stats.norm.logpdf(target, *outputs), rel=1e-12, abs=1e-13)


def test_gaussian_loss_of_large_targets_is_finite():
    value = LOSSES["gaussian_nll", "gaussian"].value
    assert value(1e200, 0.0, 930.0, EPSILON) == pytest.approx(
        -float(stats.norm.logpdf(1e200 * np.exp(-465))) + 465, rel=1e-12
    )


@pytest.mark.parametrize(
    "key", [key for key, loss in LOSSES.items() if not loss.is_categorical], ids="-".join
)
def test_loss_gradient_against_central_differences(key):
    """By every raw prediction of a target."""
    loss, constants = LOSSES[key], defaults_of(LOSSES[key])
    several = n_raw_of(loss) > 1
    step = 1e-5

    def value(target, raw):
        inputs = raw if several else (*raw, loss.link.value(*raw))
        return loss.value(target, *inputs, EPSILON, *constants)

    # Next to whole numbers, where some losses have kinks.
    points = product(np.linspace(-3, 3, 7) + 0.01, repeat=n_raw_of(loss))
    for target, raw in product(targets_of(key), map(np.array, points)):
        inputs = raw if several or loss.takes_raw else []
        inputs = inputs if several else [*inputs, loss.link.value(*raw)]
        gradient = np.atleast_1d(loss.gradient(target, *inputs, *constants))
        for derivative, shift in zip(gradient, np.eye(len(raw)) * step, strict=True):
            expected = (value(target, raw + shift) - value(target, raw - shift)) / (2 * step)
            assert derivative == pytest.approx(expected, abs=1e-8, rel=1e-8)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_links_are_bounded_as_they_say(name, dtype):
    """What bounds a network's outputs believes."""
    link = LINKS[name]
    largest = 0.9 * float(np.log(np.finfo(dtype).max)) / max(link.exponent, 0.01)
    for raw in map(np.array, product([-largest, -1.0, 0.3, largest], repeat=2)):
        if link.is_categorical:
            outputs = softmax_of(raw)
        else:
            compiled = specialize(link.value, dtype)
            outputs = np.ravel(compiled(*raw[: link.units_per_target].astype(dtype)))
            check_precision_of(compiled, dtype)
            if link.is_cumulative:
                increment = specialize(link.increment, dtype)
                outputs = np.append(outputs, outputs[0] + increment(dtype(raw[1])))
                check_precision_of(increment, dtype)
        size = np.abs(raw)
        bound = np.sum(1.0 + np.maximum(size, np.exp(link.exponent * size)))
        assert (np.abs(outputs) <= (1 + 1e-4) * bound).all()
        assert np.isfinite(outputs).all()


@pytest.mark.parametrize("key", LOSSES, ids="-".join)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_loss_is_the_python_loss(key, dtype):
    loss = LOSSES[key]
    constants = [dtype(value) for value in defaults_of(loss)]
    n_raw = n_raw_of(loss)
    epsilon = np.finfo(dtype).eps
    for numbers in product([0.1, 0.5, 0.9], repeat=2):
        given = [dtype(number) for number in numbers]
        inputs = given[:1] if n_raw == 1 and not loss.takes_raw else given
        for formula, arguments in (
            (loss.value, (dtype(1), *given, epsilon, *constants)),
            (loss.gradient, (dtype(1), *inputs, *constants)),
        ):
            compiled = specialize(formula, dtype)
            expected = formula(*map(np.float64, arguments))
            assert_allclose(compiled(*arguments), expected, rtol=32 * epsilon, atol=epsilon)
            check_precision_of(compiled, dtype)


@pytest.mark.parametrize(
    "key", [key for key, loss in LOSSES.items() if loss.is_categorical], ids="-".join
)
def test_softmax_loss_gradient_against_central_differences(key):
    loss, constants = LOSSES[key], defaults_of(LOSSES[key])
    raw, label, step = np.array([0.3, -1.2, 2.0]), 1, 1e-5
    is_label = (np.arange(3) == label).astype(float)

    def value(scores):
        p = softmax_of(scores)
        if loss.takes_raw:
            known = zip(is_label, np.log(p), p, strict=True)
            return sum(loss.value(*own, EPSILON, *constants) for own in known)
        return loss.value(1.0, scores[label], p[label], EPSILON, *constants)

    p = softmax_of(raw)
    known = (is_label, np.log(p), p) if loss.takes_raw else (is_label, p)
    gradient = np.array([loss.gradient(*own, *constants) for own in zip(*known, strict=True)])
    if loss.takes_raw:
        gradient -= p * gradient.sum()
    for k, shift in enumerate(np.eye(3) * step):
        expected = (value(raw + shift) - value(raw - shift)) / (2 * step)
        assert gradient[k] == pytest.approx(expected, abs=1e-9)


def test_probability_is_clipped_at_both_ends_and_nan_is_not():
    assert clip_probability(0.0, 1e-3) == 1e-3
    assert clip_probability(1.0, 1e-3) == 1 - 1e-3
    assert clip_probability(0.5, 1e-3) == 0.5
    assert np.isnan(clip_probability(np.nan, 1e-3))


def textbook_sgd(gradients, rate, momentum, nesterov):
    """Sutskever et al. (2013), with Nesterov's gradient taken at the shifted parameters."""
    position, velocity = 0.0, 0.0
    for gradient in gradients:
        velocity = momentum * velocity - rate * gradient
        position += momentum * velocity - rate * gradient if nesterov else velocity
    return position


def textbook_adam(gradients, rate, beta_1, beta_2, epsilon):
    """Kingma and Ba, algorithm 1 with the efficient order of section 2, by explicit sums."""
    position = mpmath.mpf(0)
    for step in range(1, len(gradients) + 1):
        seen = gradients[:step]
        decay = range(step - 1, -1, -1)
        first = (1 - beta_1) * sum(beta_1**k * g for k, g in zip(decay, seen, strict=True))
        second = (1 - beta_2) * sum(beta_2**k * g**2 for k, g in zip(decay, seen, strict=True))
        size = rate * mpmath.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        position -= size * first / (mpmath.sqrt(second) + epsilon)
    return float(position)


def run_optimizer(name, settings, gradients, rate):
    entry = OPTIMIZERS[name]
    position, state = 0.0, [0.0] * len(entry.state_names)
    numbers = entry.initial_numbers
    for step, gradient in enumerate(gradients, start=1):
        numbers = entry.carry(settings, step, *numbers)
        constants = entry.constants(settings, rate, step, *numbers)
        position, *state = entry.update(position, gradient, *state, constants)
    return position


GRADIENTS = [0.5, -1.0, 2.0, 0.25, -0.125, 3.0]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_against_textbook(momentum, nesterov):
    result = run_optimizer("sgd", (momentum, float(nesterov)), GRADIENTS, 0.1)
    assert result == pytest.approx(textbook_sgd(GRADIENTS, 0.1, momentum, nesterov), rel=1e-14)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.0), (0.5, 0.9)])
def test_adam_against_textbook(betas):
    result = run_optimizer("adam", (*betas, 1e-8), GRADIENTS, 0.01)
    assert result == pytest.approx(textbook_adam(GRADIENTS, 0.01, *betas, 1e-8), rel=1e-13)


def textbook_lion(gradients, rate, beta_1, beta_2):
    """Chen et al. (2023), algorithm 2 without decay, by explicit sums."""
    position = 0.0
    for step, gradient in enumerate(gradients):
        momentum = sum((1 - beta_2) * beta_2 ** (step - 1 - k) * gradients[k] for k in range(step))
        position -= rate * np.sign(beta_1 * momentum + (1 - beta_1) * gradient)
    return position


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.0), (0.5, 0.9), (0.99, 0.5)])
def test_lion_against_textbook(betas):
    gradients = [*GRADIENTS, -2.0, -3.0, 0.5, 0.0]
    result = run_optimizer("lion", betas, gradients, 0.01)
    assert result == pytest.approx(textbook_lion(gradients, 0.01, *betas), rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lion_goes_nowhere_without_a_direction_and_keeps_nan(dtype):
    update = specialize(OPTIMIZERS["lion"].update, dtype)
    constants = tuple(map(dtype, OPTIMIZERS["lion"].constants((0.9, 0.99), 0.1, 1)))
    assert update(dtype(2), dtype(0), dtype(0), constants) == (2.0, 0.0)
    assert np.isnan(update(dtype(2), dtype("nan"), dtype(0), constants)).all()


def test_adamw_has_the_formulas_of_adam():
    adam, adamw = OPTIMIZERS["adam"], OPTIMIZERS["adamw"]
    assert (adamw.constants, adamw.update) == (adam.constants, adam.update)
    assert (adamw.settings, adamw.states) == (adam.settings, adam.states)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_finds_a_minimum(name):
    """Of a parabola, from either side, with settings as users find them."""
    entry = OPTIMIZERS[name]
    for start in (-3.0, 2.0):
        position, state = start, [0.0] * len(entry.state_names)
        numbers = entry.initial_numbers
        for step in range(1, 2001):
            numbers = entry.carry(SETTINGS[name], step, *numbers)
            constants = entry.constants(SETTINGS[name], RATES.get(name, 0.02), step, *numbers)
            position, *state = entry.update(position, 2.0 * position, *state, constants)
        assert abs(position) < 0.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_compiled_update_is_the_python_update(name, dtype):
    entry = OPTIMIZERS[name]
    update = specialize(entry.update, dtype)
    size = 1 + len(entry.state_names)
    numbers = entry.initial_numbers
    for step, gradient in enumerate(GRADIENTS, start=1):
        numbers = entry.carry(SETTINGS[name], step, *numbers)
        constants = entry.constants(SETTINGS[name], 0.1, step, *numbers)
        before = [0.5 * (1 + i) for i in range(size)]
        expected = entry.update(before[0], gradient, *before[1:], constants)
        actual = update(
            *(dtype(number) for number in (before[0], gradient, *before[1:])),
            tuple(dtype(constant) for constant in constants),
        )
        assert_allclose(actual, expected, rtol=32 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_shapes(name):
    entry = OPTIMIZERS[name]
    numbers = entry.carry(SETTINGS[name], 1, *entry.initial_numbers)
    assert len(numbers) == len(entry.numbers)
    constants = entry.constants(SETTINGS[name], 0.1, 1, *numbers)
    assert len(constants) == entry.n_constants
    assert len(entry.update(1.0, 1.0, *[0.0] * len(entry.state_names), constants)) == 1 + len(
        entry.state_names
    )


def test_adam_in_single_precision_with_decay_rates_close_to_one():
    """``1 - beta_2`` must not be formed in single precision, where it may vanish."""
    entry = OPTIMIZERS["adam"]
    results = {}
    for dtype in (np.float32, np.float64):
        position = first = second = dtype(0)
        update = specialize(entry.update, dtype)
        for step, gradient in enumerate(GRADIENTS, start=1):
            constants = entry.constants((0.9, 1 - 1e-8, 1e-8), 0.01, step)
            rounded = tuple(dtype(constant) for constant in constants)
            position, first, second = update(position, dtype(gradient), first, second, rounded)
        results[dtype] = position
    assert results[np.float32] == pytest.approx(results[np.float64], rel=1e-5)
