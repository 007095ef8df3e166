"""Structure factors at a point of reciprocal space (specs/10-physics.md, 10.50 to 10.53)."""

import numpy as np

from numbragg.kernels._jit import inlined

ONE, TWO, THREE = np.uint64(1), np.uint64(2), np.uint64(3)  # unsigned: no test for negative indices


@inlined
def table_index(h0, k0, l0, low, high):
    """Position of whole indices in the table; 0, the place of what lies outside, when they are not in it."""
    inside = (h0 >= low[0]) & (h0 <= high[0]) & (k0 >= low[1]) & (k0 <= high[1]) & (l0 >= low[2]) & (l0 <= high[2])
    rows = high[1] - low[1] + 1.0
    columns = high[2] - low[2] + 1.0
    # In doubles the product is exact, and one conversion is left for the end.
    position = ((h0 - low[0]) * rows + (k0 - low[1])) * columns + (l0 - low[2]) + 1.0
    return np.uint64(np.int32(position if inside else 0.0))


@inlined
def can_interpolate(h, k, l, low, high):
    """Whether the four neighbours on each axis are in the table, by the reference's rule."""
    return (
        (h.real - low[0] + 3.0 <= high[0] - low[0] + 1.0)
        & (h.real - 2.0 >= low[0])
        & (k.real - low[1] + 3.0 <= high[1] - low[1] + 1.0)
        & (k.real - 2.0 >= low[1])
        & (l.real - low[2] + 3.0 <= high[2] - low[2] + 1.0)
        & (l.real - 2.0 >= low[2])
    )


@inlined
def cubic_weights(t):
    """Lagrange weights of the nodes -1, 0, 1, 2 at t."""
    m, p, q = t + 1.0, t - 1.0, t - 2.0
    return -t * p * q / 6.0, m * p * q / 2.0, -m * t * q / 2.0, m * t * p / 6.0


@inlined
def _line(table, i, w):
    return w[0] * table[i] + w[1] * table[i + ONE] + w[2] * table[i + TWO] + w[3] * table[i + THREE]


@inlined
def _plane(table, i, stride, v, w):
    return (
        v[0] * _line(table, i, w)
        + v[1] * _line(table, i + stride, w)
        + v[2] * _line(table, i + TWO * stride, w)
        + v[3] * _line(table, i + THREE * stride, w)
    )


@inlined
def tricubic(h, k, l, table, low, high, inside):
    """Tri-cubic Lagrange interpolation; where ``inside`` is false the value is meaningless but safe to compute."""
    hf, kf, lf = np.floor(h.real), np.floor(k.real), np.floor(l.real)
    row = high[2] - low[2] + 1.0
    plane = row * (high[1] - low[1] + 1.0)
    corner = (hf - 1.0 - low[0]) * plane + (kf - 1.0 - low[1]) * row + (lf - 1.0 - low[2]) + 1.0
    i = np.uint64(np.int32(corner if inside else 0.0))
    stride, step = np.uint64(row), np.uint64(plane)
    u, v, w = cubic_weights(h - hf), cubic_weights(k - kf), cubic_weights(l - lf)
    return (
        u[0] * _plane(table, i, stride, v, w)
        + u[1] * _plane(table, i + step, stride, v, w)
        + u[2] * _plane(table, i + TWO * step, stride, v, w)
        + u[3] * _plane(table, i + THREE * step, stride, v, w)
    )


@inlined
def cubic_slopes(t):
    """Derivatives of `cubic_weights` in t."""
    square = 3.0 * t * t
    return (
        -(square - 6.0 * t + 2.0) / 6.0,
        (square - 4.0 * t - 1.0) / 2.0,
        -(square - 2.0 * t - 2.0) / 2.0,
        (square - 1.0) / 6.0,
    )


@inlined
def _plane_pair(table, i, stride, v, w, dv, dw):
    a, b = _line(table, i, w), _line(table, i + stride, w)
    c, d = _line(table, i + TWO * stride, w), _line(table, i + THREE * stride, w)
    return (
        v[0] * a + v[1] * b + v[2] * c + v[3] * d,
        dv[0] * a + dv[1] * b + dv[2] * c + dv[3] * d,
        _plane(table, i, stride, v, dw),
    )


@inlined
def tricubic_gradient(h, k, l, table, low, high, inside):
    """`tricubic` and its derivatives in h, k and l."""
    hf, kf, lf = np.floor(h), np.floor(k), np.floor(l)
    row = high[2] - low[2] + 1.0
    plane = row * (high[1] - low[1] + 1.0)
    corner = (hf - 1.0 - low[0]) * plane + (kf - 1.0 - low[1]) * row + (lf - 1.0 - low[2]) + 1.0
    i = np.uint64(np.int32(corner if inside else 0.0))
    stride, step = np.uint64(row), np.uint64(plane)
    u, v, w = cubic_weights(h - hf), cubic_weights(k - kf), cubic_weights(l - lf)
    du, dv, dw = cubic_slopes(h - hf), cubic_slopes(k - kf), cubic_slopes(l - lf)
    a, ak, al = _plane_pair(table, i, stride, v, w, dv, dw)
    b, bk, bl = _plane_pair(table, i + step, stride, v, w, dv, dw)
    c, ck, cl = _plane_pair(table, i + TWO * step, stride, v, w, dv, dw)
    d, dk, dl = _plane_pair(table, i + THREE * step, stride, v, w, dv, dw)
    return (
        u[0] * a + u[1] * b + u[2] * c + u[3] * d,
        du[0] * a + du[1] * b + du[2] * c + du[3] * d,
        u[0] * ak + u[1] * bk + u[2] * ck + u[3] * dk,
        u[0] * al + u[1] * bl + u[2] * cl + u[3] * dl,
    )
