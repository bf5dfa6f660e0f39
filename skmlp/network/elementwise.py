"""Formulas of the activations: values and derivatives, plain functions of scalars.

They write their constants as floats (``1.0``, not ``1``) and call only ``exp``, ``log``, ``sqrt``,
``tanh``, ``erfc``, ``expm1``, ``log1p``, ``sin`` and ``cos`` by these bare names, and each other,
so that an engine can compile them in either precision with its own elementary functions. They are
written so that NaN passes through, because a diverging fit must not look healthy, and so that a
value whose limit at infinity is finite has it there.
"""

from math import erfc

from numpy import cos, exp, expm1, log1p, sin, tanh


def within(z: float, limit: float) -> float:
    return limit if z > limit else (-limit if z < -limit else z)


def not_below(z: float, lowest: float) -> float:
    return lowest if z < lowest else z


def identity(z: float) -> float:
    return z


def identity_derivative(a: float) -> float:
    return 1.0


def logistic(z: float) -> float:
    return 1.0 / (1.0 + exp(-z))


def logistic_derivative(a: float) -> float:
    return a * (1.0 - a)


def scaled_logistic(z: float, slope: float, threshold: float) -> float:
    # exp(700) is finite, and infinite in single precision.
    return 1.0 / (1.0 + exp(within(slope * (threshold - within(z, 1e30)), 700.0)))


def scaled_logistic_derivative(a: float, slope: float, threshold: float) -> float:
    return slope * (a * (1.0 - a))


def log_sigmoid(z: float) -> float:
    return -softplus(-z, 1.0)


def log_sigmoid_derivative(z: float) -> float:
    return softplus_derivative(-z, 1.0)


def both_of_log_sigmoid(z: float) -> tuple[float, float]:
    value, derivative = both_of_softplus(-z, 1.0)
    return -value, derivative


def hyperbolic_tangent(z: float) -> float:
    return tanh(z)


def hyperbolic_tangent_derivative(a: float) -> float:
    return 1.0 - a * a


def softsign(z: float) -> float:
    bounded = within(z, 1e30)
    return bounded / (1.0 + abs(bounded))


def softsign_derivative(a: float) -> float:
    rest = 1.0 - abs(a)
    return rest * rest


def exponential(z: float) -> float:
    return exp(z)


def exponential_derivative(a: float) -> float:
    return a


def sinc(z: float) -> float:
    # Sines of the largest have no digit in single precision, and the smallest have no inverse.
    if abs(z) < 1e-30:
        return 1.0
    return 0.0 if abs(z) > 1e30 else sin(z) * (1.0 / z)


def sinc_derivative(z: float) -> float:
    square = z * z if abs(z) < 1.0 else 0.0
    # Taylor's series, where the difference of cosine and sinc would cancel.
    series = 1.0 - square * (1.0 / 238.0) * (1.0 - square * (1.0 / 304.0))
    series = 1.0 - square * (1.0 / 130.0) * (1.0 - square * (1.0 / 180.0) * series)
    series = 1.0 - square * (1.0 / 54.0) * (1.0 - square * (1.0 / 88.0) * series)
    series = 1.0 - square * (1.0 / 10.0) * (1.0 - square * (1.0 / 28.0) * series)
    if abs(z) < 1.0:
        return -z * (1.0 / 3.0) * series
    inverse = 1.0 / z
    return 0.0 if abs(z) > 1e30 else (cos(z) - sin(z) * inverse) * inverse


def relu(z: float) -> float:
    return 0.0 if z < 0.0 else z


def relu_derivative(a: float) -> float:
    return 1.0 if a > 0.0 else 0.0


def relu6(z: float) -> float:
    return 0.0 if z < 0.0 else (6.0 if z > 6.0 else z)


def relu6_derivative(a: float) -> float:
    return 1.0 if 0.0 < a < 6.0 else 0.0


def leaky_relu(z: float, negative_slope: float) -> float:
    return negative_slope * z if z < 0.0 else z


def leaky_relu_derivative(z: float, negative_slope: float) -> float:
    # Of z: where the slope is not positive, the output does not tell its sign.
    return negative_slope if z < 0.0 else 1.0


def negative_part(z: float, slope: float) -> float:
    return z if z < 0.0 else 0.0


def elu(z: float, alpha: float) -> float:
    return z if z > 0.0 else alpha * expm1(z)


def elu_derivative(a: float, alpha: float) -> float:
    return 1.0 if a > 0.0 else a + alpha


def celu(z: float, alpha: float) -> float:
    return z if z > 0.0 else alpha * expm1(z / alpha)


def celu_derivative(a: float, alpha: float) -> float:
    return 1.0 if a > 0.0 else a / alpha + 1.0


def selu(z: float) -> float:
    return 1.0507009873554805 * z if z > 0.0 else 1.7580993408473768 * expm1(z)


def selu_derivative(a: float) -> float:
    return 1.0507009873554805 if a > 0.0 else a + 1.7580993408473768


def softplus(z: float, beta: float) -> float:
    value, _ = both_of_softplus(z, beta)
    return value


def softplus_derivative(z: float, beta: float) -> float:
    _, derivative = both_of_softplus(z, beta)
    return derivative


def both_of_softplus(z: float, beta: float) -> tuple[float, float]:
    power = exp(-abs(beta * z))
    return relu(z) + log1p(power) / beta, (power if z < 0.0 else 1.0) / (1.0 + power)


def gelu(z: float) -> float:
    bounded = not_below(z, -40.0)
    return bounded * (0.5 * erfc(-bounded * 0.7071067811865476))


def gelu_derivative(z: float) -> float:
    _, derivative = both_of_gelu(z)
    return derivative


def both_of_gelu(z: float) -> tuple[float, float]:
    bounded = within(z, 40.0)
    probability = 0.5 * erfc(-bounded * 0.7071067811865476)
    density = 0.3989422804014327 * exp(-0.5 * bounded * bounded)
    return not_below(z, -40.0) * probability, probability + bounded * density


def gelu_tanh(z: float) -> float:
    value, _ = both_of_gelu_tanh(z)
    return value


def gelu_tanh_derivative(z: float) -> float:
    _, derivative = both_of_gelu_tanh(z)
    return derivative


def both_of_gelu_tanh(z: float) -> tuple[float, float]:
    bounded = within(z, 21.0)
    square = bounded * bounded
    # (1 + tanh(u)) / 2 is the logistic function of 2 u; the factor is 2 sqrt(2 / pi).
    power = exp(-1.5957691216057308 * (bounded + 0.044715 * square * bounded))
    probability = 1.0 / (1.0 + power)
    slope = 1.5957691216057308 * (1.0 + 0.134145 * square)
    derivative = probability * (1.0 + bounded * slope * (1.0 - probability))
    return not_below(z, -21.0) * probability, derivative


def silu(z: float) -> float:
    value, _ = both_of_silu(z)
    return value


def silu_derivative(z: float) -> float:
    _, derivative = both_of_silu(z)
    return derivative


def both_of_silu(z: float) -> tuple[float, float]:
    bounded = within(z, 700.0)
    probability = 1.0 / (1.0 + exp(-bounded))
    derivative = probability * (1.0 + bounded * (1.0 - probability))
    return not_below(z, -700.0) * probability, derivative


def mish(z: float) -> float:
    value, _ = both_of_mish(z)
    return value


def mish_derivative(z: float) -> float:
    _, derivative = both_of_mish(z)
    return derivative


def both_of_mish(z: float) -> tuple[float, float]:
    # With n = (1 + exp(z)) ** 2 - 1, tanh(log(1 + exp(z))) is n / (n + 2), and one from 21 on.
    bounded = not_below(21.0 if z > 21.0 else z, -1e30)
    power = exp(bounded)
    n = power * (power + 2.0)
    inverse = 1.0 / (n + 2.0)
    share = n * inverse
    slope = 4.0 * bounded * power * (power + 1.0) * inverse * inverse
    return z if z >= 21.0 else bounded * share, 1.0 if z >= 21.0 else share + slope


def hard_sigmoid(z: float) -> float:
    return 0.0 if z < -3.0 else (1.0 if z > 3.0 else (z + 3.0) * (1.0 / 6.0))


def hard_sigmoid_derivative(a: float) -> float:
    return 0.16666666666666666 if 0.0 < a < 1.0 else 0.0


def hard_swish(z: float) -> float:
    return 0.0 if z < -3.0 else (z if z > 3.0 else z * (z + 3.0) * (1.0 / 6.0))


def hard_swish_derivative(z: float) -> float:
    return 0.0 if z < -3.0 else (1.0 if z > 3.0 else (2.0 * z + 3.0) * (1.0 / 6.0))


def hard_tanh(z: float) -> float:
    return within(z, 1.0)


def hard_tanh_derivative(a: float) -> float:
    return 1.0 if -1.0 < a < 1.0 else 0.0


def step(z: float) -> float:
    return 1.0 if z > 0.0 else (0.0 if z <= 0.0 else z)


def straight_through(z: float) -> float:
    return 1.0 if -1.0 <= z <= 1.0 else 0.0


def better(z: float, best: float) -> float:
    # NaN wins, so that a diverging fit does not look healthy; of equal ones the first does.
    return z if z > best or z != z else best
