"""Scalar functions of the kernel: polynomials, lattice factors, interpolation (specs/10-physics.md, 10.41 to 10.53)."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numbragg.kernels import _jit, lattice
from numbragg.kernels._jit import cos_pi, exponential, nearest, sin_pi
from numbragg.kernels.lattice import gauss_factor, round_factor, square_factor, tophat_factor
from numbragg.kernels.structure_factors import can_interpolate, cubic_weights, table_index, tricubic

LONG = np.longdouble
PI = LONG("3.14159265358979323846264338327950288")

ROUNDING = 4e-16
"""The last product and the last sum each round by half an ulp (1.1e-16); the rest is what the steps before leave."""

SIN_PI = 4e-16 + ROUNDING
COS_PI = 1e-17 + ROUNDING
EXPONENTIAL = 3e-16 + ROUNDING

FACTOR = 2e-13
"""A lattice factor against its formula in extended precision: the errors of three quotients, squared. Relative to the
peak, since next to a zero the distance from it is all that is left."""

EXACT = 1e-15

regular = settings(max_examples=100, derandomize=True, deadline=None)

needs_extended_precision = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="long double is no wider than double here"
)


@numba.njit
def compiled_exponential(x):
    return exponential(x)


@numba.njit
def compiled_nearest(x):
    return nearest(x)


BOTH = pytest.mark.parametrize("way", [lambda f: f, lambda f: f.py_func], ids=["compiled", "python"])


def fractions():
    """Points of [-0.5, 0.5]: evenly spread, and closing in on 0 and on the ends."""
    small = np.logspace(-300, -1, 400)
    even = np.linspace(-0.5, 0.5, 4001)
    return np.concatenate([even, small, -small, 0.5 - small, small - 0.5])


@needs_extended_precision
class TestPolynomials:
    """They stand for library functions that would keep the loops scalar."""

    @BOTH
    def test_sin_pi(self, way):
        x = fractions()
        expected = np.sin(PI * x.astype(LONG))
        found = np.array([way(sin_pi)(value) for value in x])
        assert np.all(np.abs(found - expected) <= SIN_PI * np.abs(expected))

    @BOTH
    def test_cos_pi(self, way):
        x = fractions()
        found = np.array([way(cos_pi)(value) for value in x])
        assert np.abs(found - np.cos(PI * x.astype(LONG))).max() <= COS_PI

    def test_exponential(self):
        x = np.concatenate([np.linspace(-700.0, 700.0, 5001), -np.logspace(-300, 2, 500)])
        expected = np.exp(x.astype(LONG))
        found = np.array([compiled_exponential(value) for value in x])
        assert np.all(np.abs(found - expected) <= EXPONENTIAL * expected)

    @pytest.mark.parametrize("x", [-701.0, -745.2, -1e5, -1e300, -np.inf])
    def test_exponential_of_anything_lower_is_0_to_rounding(self, x):
        assert 0.0 <= compiled_exponential(x) < 1e-303

    def test_bounds_can_be_missed(self):
        """One coefficient less misses them: the bounds are not slack."""
        x = np.linspace(-0.5, 0.5, 401)
        shorter = [
            value
            * np.polyval(
                [
                    0.0004659870158043378,
                    -0.0073703643265304155,
                    0.08214587881631043,
                    -0.599264528825224,
                    2.5501640398618677,
                    -5.1677127800497855,
                    math.pi,
                ],
                value * value,
            )
            for value in x
        ]
        assert np.abs(shorter - np.sin(PI * x.astype(LONG))).max() > 1e3 * SIN_PI


class TestNearest:
    """``ceil(x - 0.5)``: halves go down."""

    CASES = ((0.5, 0), (-0.5, -1), (1.5, 1), (-1.5, -2), (0.49999, 0), (0.50001, 1), (-7.0, -7), (1e9 + 0.7, 1e9 + 1))

    @pytest.mark.parametrize(("x", "whole"), CASES)
    def test_values(self, x, whole):
        assert nearest.py_func(x) == whole
        assert compiled_nearest(x) == whole

    def test_real_part_decides(self):
        assert compiled_nearest(2.6 - 9.0j) == nearest.py_func(2.6 - 9.0j) == 3


RECIPROCAL = (0.027, 0.0, 0.0, 0.006, 0.0241, 0.0, -0.003, 0.005, 0.0197)
FACTORS = {
    "square": lambda d, n, fudge, way: way(square_factor)(*d, *n),
    "round": lambda d, n, fudge, way: way(round_factor)(*d, *n, fudge),
    "gauss": lambda d, n, fudge, way: way(gauss_factor)(*d, *n, fudge, RECIPROCAL),
    "tophat": lambda d, n, fudge, way: way(tophat_factor)(*d, *n, fudge, RECIPROCAL),
}


def formula(shape, d, n, fudge):
    """The squared factor by its definition, in extended precision."""
    d, n = np.array(d, LONG), np.array(n, LONG)
    cells = np.prod(n)
    if shape == "square":
        product = LONG(1)
        for x, count in zip(d, n, strict=True):
            product *= count if x == 0 else np.sin(PI * count * x) / np.sin(PI * x)
        return product**2
    if shape == "round":
        x = PI * np.sqrt(fudge * np.sum((d * n) ** 2))
        # 3 (sin x - x cos x) / x^3, by its series where the difference cancels.
        series = 1 - x**2 / 10 + x**4 / 280 - x**6 / 15120
        sinc3 = series if x < 0.01 else 3 * (np.sin(x) / x - np.cos(x)) / x**2
        return (cells * LONG("0.723601254558268") * sinc3) ** 2
    rho = np.sum((d @ np.array(RECIPROCAL, LONG).reshape(3, 3)) ** 2) * cells**2
    if shape == "gauss":
        return (cells * np.exp(-rho / LONG("0.63") * fudge)) ** 2
    return cells**2 if rho * fudge < LONG("0.3969") else LONG(0)


counts = st.sampled_from([1.0, 2.0, 3.0, 7.0, 20.0, 101.0])
distances = st.one_of(
    st.floats(-0.5, 0.5),
    st.floats(-16.0, -0.5).map(lambda exponent: 10.0**exponent),
    st.floats(-16.0, -0.5).map(lambda exponent: -(10.0**exponent)),
    st.just(0.0),
)
triples = st.tuples(distances, distances, distances)


@needs_extended_precision
@pytest.mark.parametrize("shape", FACTORS)
class TestLatticeFactors:
    """All shapes against their definitions, at and near lattice points too."""

    @BOTH
    @regular
    @given(d=triples, n=st.tuples(counts, counts, counts), fudge=st.sampled_from([1.0, 0.3, 7.0]))
    def test_formula(self, shape, way, d, n, fudge):
        found = FACTORS[shape](d, n, fudge, way)
        if shape == "gauss" and formula(shape, d, n, fudge) < 1e-290:
            assert found < 1e-280
            return
        assert abs(found - formula(shape, d, n, fudge)) <= FACTOR * math.prod(n) ** 2

    @BOTH
    @pytest.mark.parametrize("n", [(1.0, 1.0, 1.0), (5.0, 4.0, 3.0), (1.0, 100.0, 7.0), (301.0, 299.0, 13.0)])
    def test_peak(self, shape, way, n):
        """On a lattice point the factor is (Na Nb Nc)^2, for ROUND times the constant squared."""
        expected = math.prod(n) ** 2 * (0.723601254558268**2 if shape == "round" else 1.0)
        assert FACTORS[shape]((0.0, 0.0, 0.0), n, 1.0, way) == pytest.approx(expected, rel=EXACT, abs=0.0)

    @BOTH
    def test_sign_of_the_distance_does_not_matter(self, shape, way):
        d = (0.013, -0.21, 0.34)
        opposite = tuple(-x for x in d)
        n = (4.0, 3.0, 6.0)
        assert FACTORS[shape](d, n, 1.0, way) == pytest.approx(FACTORS[shape](opposite, n, 1.0, way), rel=1e-12)


class TestSquare:
    @BOTH
    @pytest.mark.parametrize("d", [0.0, 1e-300, 1e-17, 0.1, 0.25, 0.5, -0.5])
    def test_one_cell_has_no_interference(self, way, d):
        assert way(square_factor)(d, d, -d, 1.0, 1.0, 1.0) == pytest.approx(1.0, rel=EXACT)

    @BOTH
    @pytest.mark.parametrize("order", [1, 2, 3, 4])
    def test_zeros_between_the_peaks(self, way, order):
        assert way(square_factor)(order / 10.0, 0.0, 0.0, 10.0, 1.0, 1.0) < 1e-26


class TestRound:
    @needs_extended_precision
    @BOTH
    def test_series_meets_the_closed_form(self, way):
        """On both sides of the change from one to the other."""
        for x2 in lattice.SINC3_SERIES_BELOW * np.array([0.9, 1.0 - 1e-12, 1.0, 1.0 + 1e-12, 1.1]):
            d = math.sqrt(x2) / math.pi / 5.0
            expected = formula("round", (d, 0.0, 0.0), (5.0, 5.0, 5.0), 1.0)
            assert abs(way(round_factor)(d, 0.0, 0.0, 5.0, 5.0, 5.0, 1.0) - expected) <= FACTOR * expected


LOW, HIGH = (-4.0, -3.0, -5.0), (5.0, 4.0, 4.0)


def padded_table(function):
    """Table of a function of (h, k, l) as the kernel takes it: what lies outside, the values, and a margin."""
    h, k, l = np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(LOW, HIGH, strict=True)), indexing="ij")
    values = function(h, k, l).ravel()
    _, rows, columns = h.shape
    return np.concatenate([[-77.0], values, np.zeros(3 * (rows * columns + columns + 1))])


class TestInterpolation:
    """Tri-cubic Lagrange interpolation (10.51 to 10.53)."""

    @BOTH
    @regular
    @given(t=st.floats(0.0, 1.0))
    def test_weights_sum_to_1(self, way, t):
        assert sum(way(cubic_weights)(t)) == pytest.approx(1.0, abs=EXACT)

    @BOTH
    @pytest.mark.parametrize("t", [0.0, 1.0])
    def test_nodes_give_their_own_value(self, way, t):
        assert way(cubic_weights)(t) == (0.0, 1.0 - t, t, 0.0)

    @BOTH
    @regular
    @given(h=st.floats(-2.0, 3.0), k=st.floats(-1.0, 2.0), l=st.floats(-3.0, 2.0))
    def test_cubics_are_reproduced(self, way, h, k, l):
        def cubic(h, k, l):
            return (1.0 + h - 0.4 * h**3) * (2.0 - k**2 + 0.1 * k**3) * (0.7 * l**3 - l + 0.5)

        inside = way(can_interpolate)(h, k, l, LOW, HIGH)
        assert inside
        found = way(tricubic)(h, k, l, padded_table(cubic), LOW, HIGH, inside)
        assert found == pytest.approx(cubic(h, k, l), abs=1e-11)

    @BOTH
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_neighbours_must_be_in_the_table(self, way, axis):
        def inside(x):
            hkl = [0.0, 0.0, 0.0]
            hkl[axis] = x
            return way(can_interpolate)(*hkl, LOW, HIGH)

        assert inside(LOW[axis] + 2.0)
        assert inside(HIGH[axis] - 2.0)
        assert not inside(LOW[axis] + 1.999)
        assert not inside(HIGH[axis] - 1.999)


class TestTableIndex:
    @BOTH
    def test_every_index_has_its_place(self, way):
        places = padded_table(lambda h, k, l: 10000.0 * h + 100.0 * k + l)
        for h in range(-6, 8):
            for k in range(-5, 7):
                for l in range(-7, 7):
                    inside = all(a <= x <= b for x, a, b in zip((h, k, l), LOW, HIGH, strict=True))
                    expected = 10000.0 * h + 100.0 * k + l if inside else -77.0
                    assert places[way(table_index)(float(h), float(k), float(l), LOW, HIGH)] == expected


def test_scratch_of_a_batch_fits_the_first_level_cache():
    assert _jit.TILE * 8 * 16 <= 32 * 1024
