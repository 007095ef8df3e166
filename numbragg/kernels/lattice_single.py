"""Squared lattice factors and their polynomials in single precision (specs/decisions/0004-mixed-precision.md).

The formulas are those of ``lattice.py``; what differs is what single precision asks for. The polynomials are minimax
fits computed with 40 digits; ``tests/test_mixed_precision.py`` holds them to their stated errors.
"""

import math

import numpy as np

from numbragg.kernels._jit import bits_of_single, inlined, single_of_bits
from numbragg.kernels.fixed_point import distance_of, fraction_of
from numbragg.kernels.lattice import GAUSS_CUTOFF, GAUSS_RADIUS, SPHERE_OVER_CUBE, TOPHAT_RADIUS_SQUARED

f32 = np.float32

SIN = tuple(map(f32, (0.0775603868, -0.5982421263, 2.5500697263, -5.1677096848, 3.1415926369)))
COS = tuple(map(f32, (-0.0243967165, 0.2349375589, -1.3352120567, 4.0587091643, -4.9348021372, 0.9999999998)))
EXP = tuple(
    map(f32, (0.0013836742, 0.0083748983, 0.0416682318, 0.1666641919, 0.4999999203, 1.0000000365, 1.0000000006))
)
SINC3 = tuple(map(f32, (0.0067963540, -0.0635100822, 0.3478829013, -0.9869602246, 0.9999999989)))

NOTHING, HALF, THREE = f32(0.0), f32(0.5), f32(3.0)
PI = f32(math.pi)
SPHERE = f32(SPHERE_OVER_CUBE)

SINC3_SERIES_BELOW = f32(0.25)
"""Where the square of x/pi is below this, the closed form of sinc3 would lose digits to cancellation."""

ROUNDING_SHIFT = f32(1.5 * 2.0**23)
"""Adding it leaves the nearest integer in the low bits."""

LOG2_E = f32(1.0 / math.log(2.0))
LN2_HIGH = f32(0.693359375)
LN2_LOW = f32(math.log(2.0) - 0.693359375)

LOWEST_EXPONENT = f32(-80.0)
"""exp of it is 2e-35, still a normal number; below it the exponential stays there."""

GAUSS_SCALE = f32(-2.0 / GAUSS_RADIUS)
GAUSS_CUTOFF_SINGLE = f32(GAUSS_CUTOFF)
TOPHAT_SQUARED = f32(TOPHAT_RADIUS_SQUARED)

MANTISSA = np.int32(23)


@inlined
def sin_pi_over_single(x):
    """sin(pi x) / x for -0.5 <= x <= 0.5, relative error below 6e-9 before rounding."""
    u = x * x
    p = SIN[0]
    p = p * u + SIN[1]
    p = p * u + SIN[2]
    p = p * u + SIN[3]
    return p * u + SIN[4]


@inlined
def cos_pi_single(x):
    """cos(pi x) for -0.5 <= x <= 0.5, absolute error below 3e-10 before rounding."""
    u = x * x
    p = COS[0]
    p = p * u + COS[1]
    p = p * u + COS[2]
    p = p * u + COS[3]
    p = p * u + COS[4]
    return p * u + COS[5]


@inlined
def sinc3_series(u):
    """sinc3(pi sqrt(u)) for 0 <= u <= 0.25, relative error below 2e-9 before rounding."""
    p = SINC3[0]
    p = p * u + SINC3[1]
    p = p * u + SINC3[2]
    p = p * u + SINC3[3]
    return p * u + SINC3[4]


@inlined
def exponential_single(x):
    """exp(x) for -80 <= x <= 80, exp(-80) below; relative error below 2e-9 before rounding."""
    x = max(x, LOWEST_EXPONENT)
    shifted = x * LOG2_E + ROUNDING_SHIFT
    k = shifted - ROUNDING_SHIFT
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = EXP[0]
    p = p * r + EXP[1]
    p = p * r + EXP[2]
    p = p * r + EXP[3]
    p = p * r + EXP[4]
    p = p * r + EXP[5]
    p = p * r + EXP[6]
    # Adding k to the exponent field multiplies by 2**k.
    return single_of_bits(np.int32(bits_of_single(p) + np.int32(bits_of_single(shifted) << MANTISSA)))


@inlined
def grating_parts_single(lower, n):
    """sin(pi N d) and sin(pi d), with N an int32."""
    distance = distance_of(lower)
    # The overflow of the product takes N d to its own nearest whole number, without rounding.
    d, y = fraction_of(distance), fraction_of(np.int32(distance * n))
    return y * sin_pi_over_single(y), d * sin_pi_over_single(d)


@inlined
def square_factor_single(a, b, c, na, nb, nc):
    """Product over the axes of (sin(pi N d) / sin(pi d))^2, from the lower words of the indices."""
    above_a, below_a = grating_parts_single(a, na)
    above_b, below_b = grating_parts_single(b, nb)
    above_c, below_c = grating_parts_single(c, nc)
    ratio = above_a * above_b * above_c / (below_a * below_b * below_c)
    return ratio * ratio


@inlined
def round_factor_single(da, db, dc, na, nb, nc, fudge):
    """Square of Na Nb Nc 0.7236 sinc3(pi sqrt(fudge * sum of (N d)^2))."""
    ya, yb, yc = na * da, nb * db, nc * dc
    s2 = (ya * ya + yb * yb + yc * yc) * fudge
    s = np.sqrt(s2)
    rest = s - np.ceil(s - HALF)
    x = PI * s
    # The sign that is missing here goes with the square.
    closed = THREE * (rest * sin_pi_over_single(rest) - x * cos_pi_single(rest)) / (x * x * x)
    factor = na * nb * nc * SPHERE * (sinc3_series(s2) if s2 < SINC3_SERIES_BELOW else closed)
    return factor * factor


@inlined
def spot_radius_squared_single(da, db, dc, cells, fudge, reciprocal):
    """|da a* + db b* + dc c*|^2 (Na Nb Nc)^2 fudge."""
    x = da * reciprocal[0] + db * reciprocal[3] + dc * reciprocal[6]
    y = da * reciprocal[1] + db * reciprocal[4] + dc * reciprocal[7]
    z = da * reciprocal[2] + db * reciprocal[5] + dc * reciprocal[8]
    return (x * x + y * y + z * z) * (cells * cells * fudge)


@inlined
def gauss_factor_single(da, db, dc, cells, fudge, reciprocal, lowest):
    """Square of Na Nb Nc exp(-radius^2 / 0.63), 0 where the exponent is not above ``lowest``."""
    exponent = spot_radius_squared_single(da, db, dc, cells, fudge, reciprocal) * GAUSS_SCALE
    return cells * cells * exponential_single(exponent) if exponent > lowest else NOTHING


@inlined
def tophat_factor_single(da, db, dc, cells, fudge, reciprocal):
    """(Na Nb Nc)^2 within the radius, else 0."""
    radius2 = spot_radius_squared_single(da, db, dc, cells, fudge, reciprocal)
    return cells * cells if radius2 < TOPHAT_SQUARED else NOTHING
