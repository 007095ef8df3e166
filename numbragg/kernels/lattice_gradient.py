"""Squared lattice factors with their derivatives (specs/50-gradients.md, 50.20 to 50.24).

Each function returns the squared factor, its derivatives in the three distances and in the three numbers of cells, and,
for the shapes that have one, in fudge. The distances are from the nearest lattice point, as in ``lattice``.
"""

import math

import numpy as np

from numbragg.kernels._jit import cos_pi, exponential, inlined, nearest, sin_pi, sin_pi_over
from numbragg.kernels.lattice import (
    GAUSS_RADIUS,
    SINC3_SERIES_BELOW,
    SPHERE_OVER_CUBE,
    TINY,
    TOPHAT_RADIUS_SQUARED,
    spot_radius_squared,
)

GRATING_SERIES_BELOW = 0.003
"""Where N d is below this, two terms of the slope are as good as the closed form, which cancels: 3e-11 both."""


@inlined
def grating_terms(d, n):
    """Numerator of sin(pi N d) / sin(pi d), its cosine, and its denominator: with ``d + TINY`` for d, never 0."""
    y = n * d
    rest = y - nearest(y)
    return (rest + n * TINY) * sin_pi_over(rest), cos_pi(rest), (d + TINY) * sin_pi_over(d)


@inlined
def grating_slopes(d, n, ratio, cosine, inverse):
    """Derivatives of sin(pi N d) / sin(pi d) in d and N, given the terms; all up to one common sign."""
    along = (math.pi * inverse) * cosine
    closed = n * along - ratio * (math.pi * inverse) * cos_pi(d)
    square = math.pi * math.pi
    first = square * n * (1.0 - n * n) / 3.0
    third = square * (7.0 - 3.0 * n * n) / 30.0
    series = first * d * (1.0 + third * (d * d))
    slope = series if abs(n * d) < GRATING_SERIES_BELOW else closed
    return slope, along * (d + TINY)


@inlined
def square_gradient(da, db, dc, na, nb, nc):
    """Value, d/d(da, db, dc), d/d(Na, Nb, Nc)."""
    above_a, cosine_a, below_a = grating_terms(da, na)
    above_b, cosine_b, below_b = grating_terms(db, nb)
    above_c, cosine_c, below_c = grating_terms(dc, nc)
    # One division for all three axes: it is the dearest of all operations.
    inverse = 1.0 / (below_a * below_b * below_c)
    inverse_a, inverse_b, inverse_c = (
        inverse * (below_b * below_c),
        inverse * (below_c * below_a),
        inverse * (below_a * below_b),
    )
    ra, rb, rc = above_a * inverse_a, above_b * inverse_b, above_c * inverse_c
    sa, pa = grating_slopes(da, na, ra, cosine_a, inverse_a)
    sb, pb = grating_slopes(db, nb, rb, cosine_b, inverse_b)
    sc, pc = grating_slopes(dc, nc, rc, cosine_c, inverse_c)
    ab, bc, ca = ra * rb, rb * rc, rc * ra
    factor = ab * rc
    ga, gb, gc = 2.0 * factor * bc, 2.0 * factor * ca, 2.0 * factor * ab
    return factor * factor, ga * sa, gb * sb, gc * sc, ga * pa, gb * pb, gc * pc


@inlined
def round_gradient(da, db, dc, na, nb, nc, fudge):
    """Value, d/d(da, db, dc), d/d(Na, Nb, Nc), d/d(fudge)."""
    ya, yb, yc = na * da, nb * db, nc * dc
    r2 = ya * ya + yb * yb + yc * yc
    s2 = r2 * fudge
    u = s2 * (math.pi * math.pi)
    s = np.sqrt(s2 + TINY)
    whole = nearest(s)
    sign = 1.0 - 2.0 * (whole - 2.0 * np.floor(0.5 * whole))
    rest = s - whole
    inverse_x = 1.0 / (math.pi * s)
    sinc = sign * sin_pi(rest) * inverse_x
    small = u < SINC3_SERIES_BELOW
    inverse = inverse_x * inverse_x
    closed = 3.0 * (sinc - sign * cos_pi(rest)) * inverse
    series = 1.0 - u * (0.1 - u * (1.0 / 280.0 - u * (1.0 / 15120.0 - u * (1.0 / 1330560.0))))
    value = series if small else closed
    closed_slope = 1.5 * (sinc - closed) * inverse
    series_slope = -0.1 + u * (1.0 / 140.0 - u * (1.0 / 5040.0 - u * (1.0 / 332640.0 - u * (1.0 / 34594560.0))))
    slope = series_slope if small else closed_slope
    cells = na * nb * nc * SPHERE_OVER_CUBE
    square = cells * cells * value * value
    # d(square)/du, times what u changes by.
    per_u = 2.0 * cells * cells * value * slope
    per_y = per_u * (2.0 * math.pi * math.pi) * fudge
    ga, gb, gc = per_y * ya, per_y * yb, per_y * yc
    return (
        square,
        ga * na,
        gb * nb,
        gc * nc,
        ga * da + square * (2.0 / na),
        gb * db + square * (2.0 / nb),
        gc * dc + square * (2.0 / nc),
        per_u * (math.pi * math.pi) * r2,
    )


@inlined
def gauss_gradient(da, db, dc, na, nb, nc, fudge, reciprocal):
    """Value, d/d(da, db, dc), d/d(Na, Nb, Nc), d/d(fudge), and the derivative in the squared radius per fudge."""
    cells = na * nb * nc
    scale = cells * cells * fudge
    x = da * reciprocal[0] + db * reciprocal[3] + dc * reciprocal[6]
    y = da * reciprocal[1] + db * reciprocal[4] + dc * reciprocal[7]
    z = da * reciprocal[2] + db * reciprocal[5] + dc * reciprocal[8]
    radius2 = (x * x + y * y + z * z) * scale
    square = cells * cells * exponential(radius2 * (-2.0 / GAUSS_RADIUS))
    per_radius = square * (-2.0 / GAUSS_RADIUS)
    per_metric = per_radius * scale
    twice = 2.0 * per_metric
    ga = twice * (x * reciprocal[0] + y * reciprocal[1] + z * reciprocal[2])
    gb = twice * (x * reciprocal[3] + y * reciprocal[4] + z * reciprocal[5])
    gc = twice * (x * reciprocal[6] + y * reciprocal[7] + z * reciprocal[8])
    per_cells = 2.0 * (square + per_radius * radius2)
    return (
        square,
        ga,
        gb,
        gc,
        per_cells * (1.0 / na),
        per_cells * (1.0 / nb),
        per_cells * (1.0 / nc),
        per_radius * radius2 * (1.0 / fudge),
        per_metric,
    )


@inlined
def tophat_gradient(da, db, dc, na, nb, nc, fudge, reciprocal):
    """Value and d/d(Na, Nb, Nc); flat in everything else but at its edge."""
    cells = na * nb * nc
    radius2 = spot_radius_squared(da, db, dc, na, nb, nc, fudge, reciprocal)
    square = cells * cells if radius2 < TOPHAT_RADIUS_SQUARED else 0.0
    return square, square * (2.0 / na), square * (2.0 / nb), square * (2.0 / nc)
