"""Elementary functions in plain arithmetic, so that LLVM can vectorize the loops that call them.

The system's functions are calls, one number at a time, and a loop with a call in it stays
scalar. These have no branches and no tables: the argument is reduced with the help of its binary
exponent, then a polynomial does the rest (Muller et al. (2018), Handbook of Floating-Point
Arithmetic, chapter 10). The polynomials interpolate in Chebyshev nodes; their own error is below a
tenth of the precision's rounding error. Errors in ulps are stated by each function and tested
over the whole range; infinities, NaN, zeros and subnormal numbers behave as the standard asks.
"""

from collections.abc import Callable
from functools import cache
from math import factorial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# Contraction only: reassociation would undo the error-free steps of the argument reduction.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}


class Format(NamedTuple):
    """What the functions need to know about a floating-point format."""

    mantissa_bits: int
    round_shift: float  # added to a number, it pushes the fraction out of the mantissa
    ln2_high: float  # few enough bits that its products with exponents are exact
    ln2_low: float
    exp_range: tuple[float, float]  # beyond it, exp is zero or infinite
    tanh_range: float  # beyond it, tanh is one
    pi_parts: tuple[float, ...]  # their sum; few bits each, so that products are nearly exact
    sine_terms: tuple[float, ...]  # (sin(r) - r) / r**3 in r**2, for abs(r) <= pi / 2
    exp_terms: tuple[float, ...]  # (exp(r) - 1 - r) / r**2 for abs(r) <= log(2) / 2
    log_terms: tuple[float, ...]  # (log((1 + s) / (1 - s)) - 2 * s) / s**3 in s**2
    erfc_scale: float
    erfc_terms: tuple[float, ...]  # exp(x**2) * erfc(x) / t in 2 * t - 1, t = 1 / (1 + scale * x)


def _alternating_factorials(count: int) -> tuple[float, ...]:
    """Return the first coefficients of Taylor's series of the sine, behind ``r``."""
    return tuple((-1) ** k / factorial(2 * k + 1) for k in range(1, count + 1))


FORMATS = {
    np.float32: Format(
        mantissa_bits=23,
        round_shift=1.5 * 2.0**23,
        ln2_high=0.693115234375,
        ln2_low=3.194618494530941e-05,
        exp_range=(-104.5, 89.0),
        tanh_range=9.5,
        pi_parts=(3.140625, 0.0009675025939941406, 1.5099580252808664e-07),
        sine_terms=_alternating_factorials(6),
        exp_terms=(
            *(0.5, 0.16666576989698776, 0.041666554617204574),
            *(0.008363179052722577, 0.0013926183587713495),
        ),
        log_terms=(
            *(0.66666666554451646331, 0.4000012187697200149),
            *(0.28550816599711548665, 0.23330581938241893822),
        ),
        erfc_scale=0.35,
        erfc_terms=(
            *(0.3742127606216626, 0.3023571848517779, 0.19422423583862478),
            *(0.09509773820554576, 0.031841909578618, 0.004573274407019303),
            *(-0.0015838660102577573, -0.0008445578404478396, 3.813140902791025e-05),
            *(8.32029659159192e-05,),
        ),
    ),
    np.float64: Format(
        mantissa_bits=52,
        round_shift=1.5 * 2.0**52,
        ln2_high=0.6931471804855391383171082,
        ln2_low=7.440617110012396716130157e-11,
        exp_range=(-746.0, 710.0),
        tanh_range=20.0,
        pi_parts=(3.141592651605606, 1.9841871583270443e-09, 1.034036596358821e-18),
        sine_terms=_alternating_factorials(10),
        exp_terms=(
            *(0.5, 0.16666666666666670991, 0.041666666666666669755, 0.0083333333333261351258),
            *(0.0013888888888883748305, 0.00019841269874820625271, 2.4801587325547741216e-05),
            *(2.755725540020642443e-06, 2.7557273643110295328e-07, 2.5105217004720745164e-08),
            2.0914686968086877233e-09,
        ),
        log_terms=(
            *(0.66666666666666666465, 0.40000000000000877606, 0.28571428570803230015),
            *(0.22222222391800469329, 0.181817956308847532, 0.15386240205813477879),
            *(0.13268759668560612686, 0.13086767009948173713),
        ),
        erfc_scale=0.3,
        erfc_terms=(
            *(0.32497992185979696, 0.27652355675606544, 0.19878107804430906),
            *(0.11871867470891095, 0.056961638043961586, 0.020401446930978676),
            *(0.004356100066889882, -0.00018173755640698829, -0.00048134802762281727),
            *(-0.00010700079092719289, 3.273165175653258e-05, 1.9100146762008803e-05),
            *(-1.7480081027146807e-06, -2.8582730616367187e-06, 6.82422576497577e-08),
            *(4.422200816866259e-07, -6.2010262547068435e-09, -7.106738145524976e-08),
            *(2.2128635406741574e-09, 1.0324145624241556e-08, -3.5292002586817663e-10),
            *(-9.313306224486188e-10,),
        ),
    ),
}


def _integers_like(scalar: Any) -> ir.IntType:
    return ir.IntType(scalar.bitwidth)


@intrinsic
def times_power_of_two(typingctx, x, shifted):
    """``x * 2**n`` for ``shifted = round_shift + n``, also where ``2**n`` itself is no number."""
    signature = x(x, x)

    def codegen(context, builder, signature, args):
        x, shifted = args
        bits = _integers_like(signature.return_type)
        float_format = FORMATS[np.float32 if bits.width == 32 else np.float64]
        mantissa = ir.Constant(bits, float_format.mantissa_bits)
        bias = 2 ** (bits.width - float_format.mantissa_bits - 2) - 1
        zero_shift = builder.bitcast(ir.Constant(x.type, float_format.round_shift), bits)
        n = builder.sub(builder.bitcast(shifted, bits), zero_shift)
        # Made positive: not all processors have vectors of signed shifts of 64 bits.
        far = 2 * bias
        positive = builder.add(n, ir.Constant(bits, 2 * far))
        half = builder.sub(builder.lshr(positive, ir.Constant(bits, 1)), ir.Constant(bits, far))
        for part in (half, builder.sub(n, half)):
            power = builder.shl(builder.add(part, ir.Constant(bits, bias)), mantissa)
            x = builder.fmul(x, builder.bitcast(power, x.type))
        return x

    return signature, codegen


@intrinsic
def fraction_and_exponent(typingctx, x):
    """Return `m` from sqrt(1/2) to sqrt(2) and the float `n` with ``x = m * 2**n``, x normal."""
    signature = types.UniTuple(x, 2)(x)

    def codegen(context, builder, signature, args):
        (x,) = args
        bits = _integers_like(signature.args[0])
        float_format = FORMATS[np.float32 if bits.width == 32 else np.float64]
        mantissa = ir.Constant(bits, float_format.mantissa_bits)
        root = builder.bitcast(ir.Constant(x.type, float(np.sqrt(0.5))), bits)
        above = builder.sub(builder.bitcast(x, bits), root)
        rest = builder.and_(above, ir.Constant(bits, 2**float_format.mantissa_bits - 1))
        fraction = builder.bitcast(builder.add(rest, root), x.type)
        # Not all processors have vectors of signed shifts and conversions: the exponent, made
        # positive, becomes the last bits of a number that has no room for fractions.
        bias = 2 ** (bits.width - float_format.mantissa_bits - 2)
        positive = builder.add(above, ir.Constant(bits, bias << float_format.mantissa_bits))
        unit = 2.0**float_format.mantissa_bits
        whole = builder.bitcast(ir.Constant(x.type, unit), bits)
        number = builder.bitcast(builder.or_(builder.lshr(positive, mantissa), whole), x.type)
        pair = (fraction, builder.fsub(number, ir.Constant(x.type, unit + bias)))
        return context.make_tuple(builder, signature.return_type, pair)

    return signature, codegen


@intrinsic
def times_parity(typingctx, x, shifted):
    """``x * (-1)**n`` for ``shifted = round_shift + n``."""
    signature = x(x, x)

    def codegen(context, builder, signature, args):
        x, shifted = args
        bits = _integers_like(signature.return_type)
        parity = builder.shl(builder.bitcast(shifted, bits), ir.Constant(bits, bits.width - 1))
        return builder.bitcast(builder.xor(builder.bitcast(x, bits), parity), x.type)

    return signature, codegen


def _polynomial(terms: tuple[float, ...]) -> Any:
    """Return a function for compiled code that evaluates a polynomial by Horner's rule."""

    @intrinsic
    def evaluate(typingctx, x):
        def codegen(context, builder, signature, args):
            (x,) = args
            value = ir.Constant(x.type, terms[-1])
            for term in reversed(terms[:-1]):
                product = builder.fmul(value, x, flags=("contract",))
                value = builder.fadd(product, ir.Constant(x.type, term), flags=("contract",))
            return value

        return x(x), codegen

    return evaluate


@cache
def elementary_functions(real: Any) -> dict[str, Callable[[Any], Any]]:
    """Return the compiled functions for one precision, by the names that formulas use."""
    own = FORMATS[real]
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    log2_e = real(1 / np.log(2))
    shift = real(own.round_shift)
    ln2_high, ln2_low = real(own.ln2_high), real(own.ln2_low)
    lowest, highest = real(own.exp_range[0]), real(own.exp_range[1])
    saturation = real(2 * own.tanh_range)
    exp_terms = _polynomial(tuple(float(real(term)) for term in own.exp_terms))
    log_terms = _polynomial(tuple(float(real(term)) for term in own.log_terms))
    erfc_terms = _polynomial(tuple(float(real(term)) for term in own.erfc_terms))
    erfc_scale = real(own.erfc_scale)
    inverse_pi = real(1 / np.pi)
    pi_high, pi_middle, pi_low = map(real, own.pi_parts)
    sine_terms = _polynomial(tuple(float(real(term)) for term in own.sine_terms))
    # So many periods and their rounding errors are alike.
    largest_angle = real(2.0 ** (own.mantissa_bits - 1))
    smallest_normal = real(np.finfo(real).smallest_normal)
    up = real(2.0**own.mantissa_bits)
    exponent_of_up = real(own.mantissa_bits)
    infinity, nan = real(np.inf), real(np.nan)

    @njit(**OPTIONS)
    def reduce(x):
        """Return ``round_shift + n`` and ``exp(r) - 1`` with ``x = n * log(2) + r``."""
        shifted = x * log2_e + shift
        n = shifted - shift
        r = (x - n * ln2_high) - n * ln2_low
        return shifted, r + r * r * exp_terms(r)

    @njit(**OPTIONS)
    def exp(x):
        """Exponential function; error below 1.5 ulp."""
        # The comparisons let NaN pass.
        x = highest if x > highest else x
        x = lowest if x < lowest else x
        shifted, above_one = reduce(x)
        return times_power_of_two(one + above_one, shifted)

    @njit(**OPTIONS)
    def tanh(x):
        """Hyperbolic tangent; error below 3 ulp."""
        # tanh(x) = m / (m + 2) with m = exp(2 x) - 1, which has no cancellation for x > 0.
        doubled = two * abs(x)
        doubled = saturation if doubled > saturation else doubled
        shifted, above_one = reduce(doubled)
        power = times_power_of_two(one, shifted)
        m = (power - one) + power * above_one
        value = m / (m + two)
        return -value if x < zero else value

    @njit(**OPTIONS)
    def log_of_parts(f, n):
        """Logarithm of ``(1 + f) * 2**n``."""
        s = f / (two + f)
        z = s * s
        half_square = half * f * f
        # log(1 + f) = f - half_square + s * (half_square + z * terms(z)), small parts first.
        small = s * (half_square + z * log_terms(z)) + n * ln2_low
        return n * ln2_high + (f - (half_square - small))

    @njit(**OPTIONS)
    def log(x):
        """Natural logarithm; error below 1.5 ulp."""
        is_subnormal = x < smallest_normal
        fraction, n = fraction_and_exponent(x * up if is_subnormal else x)
        n = n - exponent_of_up if is_subnormal else n
        value = log_of_parts(fraction - one, n)
        value = value if x < infinity else x
        value = -infinity if x == zero else value
        return nan if x < zero else value

    @njit(**OPTIONS)
    def erfc(x):
        """Complementary error function; relative error below ``8 + x**2`` ulp for positive x."""
        positive = abs(x)
        t = one / (one + erfc_scale * positive)
        tail = exp(-(positive * positive)) * (t * erfc_terms((t - one) + t))
        return two - tail if x < zero else tail

    @njit(**OPTIONS)
    def expm1(x):
        """``exp(x) - 1`` without cancellation; error below 3 ulp."""
        x = highest if x > highest else x
        x = lowest if x < lowest else x
        shifted, above_one = reduce(x)
        # Half of it, which is finite wherever the whole is.
        power = times_power_of_two(half, shifted)
        return two * ((power - half) + power * above_one)

    @njit(**OPTIONS)
    def log1p(x):
        """``log(1 + x)`` without cancellation; error below 3 ulp."""
        total = one + x
        lost = x - (total - one)
        fraction, n = fraction_and_exponent(total)
        f = (fraction - one) + times_power_of_two(lost, shift - n)
        value = log_of_parts(f, n)
        value = value if total < infinity else x
        value = -infinity if total == zero else value
        return nan if total < zero else value

    @njit(**OPTIONS)
    def sine_of_rest(x, multiple):
        """Sine of ``x - multiple * pi``, which is at most pi / 2."""
        r = ((x - multiple * pi_high) - multiple * pi_middle) - multiple * pi_low
        square = r * r
        return r + r * (square * sine_terms(square))

    @njit(**OPTIONS)
    def sin(x):
        """Sine; error below ``(2 + abs(x)) * eps``, and zero where that has no digit left."""
        x = zero if abs(x) > largest_angle else x
        shifted = x * inverse_pi + shift
        return times_parity(sine_of_rest(x, shifted - shift), shifted)

    @njit(**OPTIONS)
    def cos(x):
        """Cosine; error below ``(2 + abs(x)) * eps``, and one where that has no digit left."""
        x = zero if abs(x) > largest_angle else x
        shifted = (x * inverse_pi - half) + shift
        return times_parity(-sine_of_rest(x, (shifted - shift) + half), shifted)

    functions = (exp, log, tanh, erfc, expm1, log1p, sin, cos)
    return {function.__name__: function for function in functions}
