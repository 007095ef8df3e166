"""Signs of the lattice factor, which its square does not show (specs/80-trace.md, 80.6)."""

import math

from numbragg.kernels._jit import inlined, nearest, sin_pi
from numbragg.kernels.lattice import TINY


@inlined
def sign_of(whole):
    """(-1)^whole for a whole number."""
    return 1.0 - 2.0 * (whole - 2.0 * math.floor(0.5 * whole))


@inlined
def grating(h, n):
    """sin(pi n h) / sin(pi h) for a whole number of cells; n with its sign at the lattice points.

    Like ``square_factor`` it takes the sines near the lattice point, where they keep their digits.
    """
    h0 = nearest(h)
    d = h - h0 + TINY
    y = n * d
    y0 = nearest(y)
    return sign_of(y0 + h0 * (nearest(n) - 1.0)) * sin_pi(y - y0) / sin_pi(d)


@inlined
def round_sign(da, db, dc, na, nb, nc, fudge):
    """Sign of sinc3(x), x = pi sqrt(fudge * sum of (n d)^2): that of sin x - x cos x."""
    ya, yb, yc = na * da, nb * db, nc * dc
    x = math.pi * math.sqrt((ya * ya + yb * yb + yc * yc) * fudge)
    return -1.0 if math.sin(x) < x * math.cos(x) else 1.0
