"""Squared lattice factor of one evaluation, by crystal shape (specs/10-physics.md, 10.41 to 10.44).

All take the fractional distances from the nearest lattice point, not the indices themselves: the lattice factor has the
period of the lattice when the number of cells is whole, and this is what it is taken to be when it is not.
"""

import math

import numpy as np

from numbragg.kernels._jit import cos_pi, exponential, inlined, nearest, sin_pi, sin_pi_over
from numbragg.kernels.params import GAUSS, ROUND, SQUARE

TINY = 1e-30
"""Added to a distance: far below rounding elsewhere, it turns 0/0 at a lattice point into its limit."""

SPHERE_OVER_CUBE = 0.723601254558268
"""Makes a ROUND peak as strong as a SQUARE one of the same number of cells."""

GAUSS_RADIUS = 0.63
"""Makes a GAUSS peak as wide as a SQUARE one."""

GAUSS_CUTOFF = -1490.27
"""Exponent of a squared factor whose root is no longer a number above 0 in double precision: the term is 0."""

TOPHAT_RADIUS_SQUARED = 0.3969
"""GAUSS_RADIUS squared."""

SINC3_SERIES_BELOW = 0.04
"""Where x^2 is below this, three terms of the series are better than the closed form, which cancels."""


@inlined
def grating_parts(d, n):
    """Numerator and denominator of sin(pi N d) / sin(pi d), without the common factor d near a lattice point.

    Dividing it out leaves the limit N at the point itself, and keeps the digits of a complex step beside it.
    """
    y = n * d
    whole = nearest(y)
    y = y - whole
    central = whole == 0.0
    return (n if central else y) * sin_pi_over(y), (1.0 if central else d) * sin_pi_over(d)


@inlined
def square_factor(da, db, dc, na, nb, nc):
    """Product over the axes of (sin(pi N d) / sin(pi d))^2."""
    above_a, below_a = grating_parts(da, na)
    above_b, below_b = grating_parts(db, nb)
    above_c, below_c = grating_parts(dc, nc)
    ratio = above_a * above_b * above_c / (below_a * below_b * below_c)
    return ratio * ratio


@inlined
def round_factor(da, db, dc, na, nb, nc, fudge):
    """Square of Na Nb Nc 0.7236 sinc3(pi sqrt(fudge * sum of (N d)^2)), sinc3(x) = 3 (sin x / x - cos x) / x^2."""
    ya, yb, yc = na * da, nb * db, nc * dc
    s2 = (ya * ya + yb * yb + yc * yc) * fudge
    x2 = s2 * (math.pi * math.pi)
    s = np.sqrt(s2 + TINY)
    whole = nearest(s)
    sign = 1.0 - 2.0 * (whole - 2.0 * np.floor(0.5 * whole))
    rest = s - whole
    closed = 3.0 * sign * (sin_pi(rest) / (math.pi * s) - cos_pi(rest)) / (x2 + TINY)
    series = 1.0 - x2 * (0.1 - x2 * (1.0 / 280.0 - x2 * (1.0 / 15120.0 - x2 / 1330560.0)))
    factor = na * nb * nc * SPHERE_OVER_CUBE * (series if x2.real < SINC3_SERIES_BELOW else closed)
    return factor * factor


@inlined
def spot_radius_squared(da, db, dc, na, nb, nc, fudge, reciprocal):
    """|da a* + db b* + dc c*|^2 (Na Nb Nc)^2 fudge."""
    x = da * reciprocal[0] + db * reciprocal[3] + dc * reciprocal[6]
    y = da * reciprocal[1] + db * reciprocal[4] + dc * reciprocal[7]
    z = da * reciprocal[2] + db * reciprocal[5] + dc * reciprocal[8]
    cells = na * nb * nc
    return (x * x + y * y + z * z) * (cells * cells * fudge)


@inlined
def gauss_factor(da, db, dc, na, nb, nc, fudge, reciprocal):
    """Square of Na Nb Nc exp(-radius^2 / 0.63)."""
    cells = na * nb * nc
    radius2 = spot_radius_squared(da, db, dc, na, nb, nc, fudge, reciprocal)
    exponent = radius2 * (-2.0 / GAUSS_RADIUS)
    return cells * cells * exponential(exponent) if exponent.real > GAUSS_CUTOFF else 0.0 * radius2


@inlined
def tophat_factor(da, db, dc, na, nb, nc, fudge, reciprocal):
    """(Na Nb Nc)^2 within the radius, else 0."""
    cells = na * nb * nc
    radius2 = spot_radius_squared(da, db, dc, na, nb, nc, fudge, reciprocal)
    return cells * cells if radius2.real < TOPHAT_RADIUS_SQUARED else 0.0 * cells


@inlined
def lattice_factor(shape, da, db, dc, na, nb, nc, fudge, reciprocal):
    """Squared lattice factor of a crystal shape, which the compiler knows: nothing is left of the choice."""
    if shape == SQUARE:
        return square_factor(da, db, dc, na, nb, nc)
    if shape == ROUND:
        return round_factor(da, db, dc, na, nb, nc, fudge)
    if shape == GAUSS:
        return gauss_factor(da, db, dc, na, nb, nc, fudge, reciprocal)
    return tophat_factor(da, db, dc, na, nb, nc, fudge, reciprocal)
