"""The formulas of the losses: values and gradients, as plain functions of scalars.

They are written as those of the activations are (`skmlp.network.activations`), in logarithms where
probabilities or means may leave the range of floating-point numbers.
"""

from numpy import exp, log, tanh

from skmlp.network.links import softplus

# What several share


def canonical_gradient(target: float, output: float) -> float:
    """Return ``output - target``: what every loss with its canonical link has in common."""
    return output - target


def sign(error: float) -> float:
    # Of zero zero, of NaN NaN.
    return 1.0 if error > 0.0 else (-1.0 if error < 0.0 else error)


def times(error: float, scale: float) -> float:
    # No error is none in any unit, an infinite one too.
    return error if error == 0.0 else error * scale


def difference_of_powers(log_a: float, log_b: float, exponent: float) -> float:
    # (a ** e - b ** e) / e, which tends to log(a / b), without cancellation where that is near.
    shift = exponent * (log_a - log_b)
    if abs(shift) < 1.0:
        # exp(s) - 1 = tanh(s / 2) * (exp(s) + 1)
        return exp(exponent * log_b) * (tanh(0.5 * shift) * (exp(shift) + 1.0)) / exponent
    return (exp(exponent * log_a) - exp(exponent * log_b)) / exponent


# Classes


def clip_probability(probability: float, epsilon: float) -> float:
    """Keep a probability away from zero and one; NaN passes through.

    Clipped as scikit-learn clips, so that loss curves and stopping decisions agree.
    """
    if probability < epsilon:
        return epsilon
    if probability > 1.0 - epsilon:
        return 1.0 - epsilon
    return probability


def categorical_log_loss(target: float, raw: float, output: float, epsilon: float) -> float:
    return -log(clip_probability(output, epsilon))


def binary_log_loss(target: float, raw: float, output: float, epsilon: float) -> float:
    probability = clip_probability(output, epsilon)
    return -(target * log(probability) + (1.0 - target) * log(1.0 - probability))


def soft(target: float, hit: float, miss: float) -> float:
    # The smoothed probability of a class: `hit` if it is the true one.
    return miss + (hit - miss) * target


def smoothed_log_loss(
    target: float, log_output: float, output: float, epsilon: float, hit: float, miss: float
) -> float:
    return -soft(target, hit, miss) * log_output


def smoothed_log_loss_slope(
    target: float, log_output: float, output: float, hit: float, miss: float
) -> float:
    return -soft(target, hit, miss)


def rest_of_one(log_output: float, output: float) -> float:
    # 1 - p without cancellation, and never quite zero, so that it has a logarithm.
    rest = -tanh(0.5 * log_output) * (1.0 + output)
    return 1e-30 if rest < 1e-30 else rest


def categorical_focal(
    target: float,
    log_output: float,
    output: float,
    epsilon: float,
    gamma: float,
    hit: float,
    miss: float,
) -> float:
    factor = exp(gamma * log(rest_of_one(log_output, output)))
    return -soft(target, hit, miss) * factor * log_output


def categorical_focal_slope(
    target: float, log_output: float, output: float, gamma: float, hit: float, miss: float
) -> float:
    rest = rest_of_one(log_output, output)
    factor = exp(gamma * log(rest))
    return soft(target, hit, miss) * factor * (gamma * output * log_output / rest - 1.0)


def binary_focal(target: float, raw: float, output: float, epsilon: float, gamma: float) -> float:
    log_p, log_q = -softplus(-raw), -softplus(raw)
    positive = target * exp(gamma * log_q) * log_p
    return -(positive + (1.0 - target) * exp(gamma * log_p) * log_q)


def binary_focal_gradient(target: float, raw: float, output: float, gamma: float) -> float:
    log_p, log_q = -softplus(-raw), -softplus(raw)
    p, q = exp(log_p), exp(log_q)
    positive = target * exp(gamma * log_q) * (gamma * p * log_p - q)
    return positive + (1.0 - target) * exp(gamma * log_p) * (p - gamma * q * log_q)


def categorical_brier(target: float, log_output: float, output: float, epsilon: float) -> float:
    return 0.5 * (output - target) * (output - target)


def categorical_brier_slope(target: float, log_output: float, output: float) -> float:
    return output * (output - target)


def binary_brier(target: float, raw: float, output: float, epsilon: float) -> float:
    return (output - target) * (output - target)


def binary_brier_gradient(target: float, output: float) -> float:
    return 2.0 * (output - target) * output * (1.0 - output)


def missing_margin(target: float, raw: float) -> float:
    # How far a score is from one on the side of its label, zero if it is beyond.
    margin = 1.0 - (target + target - 1.0) * raw
    return 0.0 if margin < 0.0 else margin


def hinge(target: float, raw: float, output: float, epsilon: float) -> float:
    return missing_margin(target, raw)


def hinge_gradient(target: float, output: float) -> float:
    return (1.0 - target - target) * sign(missing_margin(target, output))


def squared_hinge(target: float, raw: float, output: float, epsilon: float) -> float:
    margin = missing_margin(target, raw)
    return margin * margin


def squared_hinge_gradient(target: float, output: float) -> float:
    return 2.0 * (1.0 - target - target) * missing_margin(target, output)


# Numbers


def half_squared_error(target: float, raw: float, output: float, epsilon: float) -> float:
    return 0.5 * (target - output) * (target - output)


def absolute_error(target: float, raw: float, output: float, epsilon: float) -> float:
    return abs(target - output)


def absolute_error_gradient(target: float, output: float) -> float:
    return sign(output - target)


def huber(target: float, raw: float, output: float, epsilon: float, delta: float) -> float:
    error = abs(target - output)
    return 0.5 * error * error if error <= delta else delta * (error - 0.5 * delta)


def huber_gradient(target: float, output: float, delta: float) -> float:
    error = output - target
    return delta if error > delta else (-delta if error < -delta else error)


def log_cosh(target: float, raw: float, output: float, epsilon: float) -> float:
    # log(cosh(e)) = |e| + log(1 + exp(-2 |e|)) - log(2)
    error = abs(target - output)
    return error + (log(1.0 + exp(-2.0 * error)) - 0.6931471805599453)


def log_cosh_gradient(target: float, output: float) -> float:
    return tanh(output - target)


def pinball(target: float, raw: float, output: float, epsilon: float, quantile: float) -> float:
    error = target - output
    return quantile * error if error >= 0.0 else (quantile - 1.0) * error


def pinball_gradient(target: float, output: float, quantile: float) -> float:
    error = target - output
    return -quantile if error >= 0.0 else (1.0 - quantile if error < 0.0 else error)


def half_poisson_deviance(target: float, raw: float, output: float, epsilon: float) -> float:
    # y log(y / p) - y + p with log(p) = raw, which stays finite when p underflows to zero.
    entropy = target * log(target) if target > 0.0 else 0.0
    return entropy - target * raw - target + output


def half_gamma_deviance(target: float, raw: float, output: float, epsilon: float) -> float:
    # log(p / y) + y / p - 1 with log(p) = raw.
    difference = log(target) - raw
    return exp(difference) - difference - 1.0


def half_gamma_gradient(target: float, raw: float, output: float) -> float:
    return 1.0 - exp(log(target) - raw)


def half_tweedie_deviance(
    target: float, raw: float, output: float, epsilon: float, power: float
) -> float:
    # y (y ** a - p ** a) / a + (p ** b - y ** b) / b with a = 1 - power, b = 2 - power.
    if target > 0.0:
        log_target = log(target)
        own = target * difference_of_powers(log_target, raw, 1.0 - power)
        return own + difference_of_powers(raw, log_target, 2.0 - power)
    return exp((2.0 - power) * raw) / (2.0 - power)


def half_tweedie_gradient(target: float, raw: float, output: float, power: float) -> float:
    growth = exp((2.0 - power) * raw)
    return growth - exp(log(target) + (1.0 - power) * raw) if target > 0.0 else growth


# The numbers below are log(2 * pi) / 2, the square root of 2, and its logarithm.


def gaussian_log_loss(target: float, mean: float, log_variance: float, epsilon: float) -> float:
    # The error is scaled before it is squared, so that what is large in large units does not
    # overflow.
    error = times(target - mean, exp(-0.5 * log_variance))
    return 0.5 * (log_variance + error * error) + 0.9189385332046727


def gaussian_gradient(target: float, mean: float, log_variance: float) -> tuple[float, float]:
    scale = exp(-0.5 * log_variance)
    error = times(target - mean, scale)
    return -times(error, scale), 0.5 - 0.5 * error * error


def laplace_log_loss(target: float, mean: float, log_variance: float, epsilon: float) -> float:
    error = times(target - mean, exp(-0.5 * log_variance))
    return 0.5 * log_variance + 1.4142135623730951 * abs(error) + 0.34657359027997264


def laplace_gradient(target: float, mean: float, log_variance: float) -> tuple[float, float]:
    scale = exp(-0.5 * log_variance)
    error = times(target - mean, scale)
    by_mean = -1.4142135623730951 * times(sign(error), scale)
    return by_mean, 0.5 - 0.7071067811865476 * abs(error)
