"""Mixed precision (specs/60-performance.md, 60.23 to 60.26; specs/decisions/0004-mixed-precision.md)."""

import contextlib
import dataclasses
import functools
import math

import numba
import numpy as np
import pytest
from command_line import CASES, link_inputs, run
from conftest import random_table, small_experiment
from test_kernel import everything
from test_lattice import formula

from numbragg import simulate
from numbragg.compat.build import build_job
from numbragg.errors import NumbraggError
from numbragg.kernels._jit import nearest
from numbragg.kernels.fixed_point import (
    RESOLUTION,
    SHIFT,
    distance_of,
    floor_above,
    fraction_of,
    nearest_above,
    origin_of,
    remainder_of,
)
from numbragg.kernels.lattice_single import (
    LOWEST_EXPONENT,
    cos_pi_single,
    exponential_single,
    gauss_factor_single,
    round_factor_single,
    sin_pi_over_single,
    sinc3_series,
    square_factor_single,
    tophat_factor_single,
)
from numbragg.lowering.lower import lower
from numbragg.lowering.mixed import lower_mixed
from numbragg.models.quirks import Quirks

OF_MAXIMUM = 2e-5
RELATIVE = 1e-3
RELATIVE_ABOVE = 1e-4
"""Clause 60.24: above this part of the maximum, RELATIVE holds too."""

POLYNOMIAL = 2.5e-7
"""Four roundings of single precision (6e-8); what the polynomials leave out is a tenth of one."""

SINGLE = 2.0**-24
"""Relative rounding error."""

FACTOR = 4e-6
"""A squared product of nine rounded factors, relative to the peak."""

MODES = [(name, "c") for name in CASES]
MODES += [(name, "spec") for name, case in CASES.items() if case["spec_image"] != "none"]
SHAPES = ("square", "round", "gauss", "tophat")
LINE = "-cell 41 43 47 90 90 90 -N 5 -default_F 100 -lambda 1 -distance 100 -detpixels 64 -pixel 1 -misset 10 20 30"
RECIPROCAL = (0.027, 0.0, 0.0, 0.006, 0.0241, 0.0, -0.003, 0.005, 0.0197)


def assert_near(mixed: np.ndarray, double: np.ndarray) -> None:
    """Clause 60.24."""
    __tracebackhide__ = True
    difference, top = np.abs(mixed - double), double.max()
    assert np.isfinite(mixed).all()
    assert difference.max() <= OF_MAXIMUM * top
    bright = double > RELATIVE_ABOVE * top
    assert (difference[bright] <= RELATIVE * double[bright]).all()


@functools.cache
def golden_experiment(name, compat, folder):
    with contextlib.chdir(folder), np.errstate(all="ignore"):
        return build_job(CASES[name]["args"].split(), compat).experiment


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return link_inputs(tmp_path_factory.mktemp("golden"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "compat"), MODES)
def test_golden_case_is_near_the_image_of_double_precision(name, compat, inputs):
    """Clause 60.24."""
    experiment = golden_experiment(name, compat, inputs)
    assert lower_mixed(lower(experiment)).mixed
    assert_near(simulate(experiment, precision="mixed"), simulate(experiment))


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_kernel(shape, interpolate):
    """Clause 60.24, with sources, domains, layers and sub-pixels; and it is single precision that was taken."""
    experiment = everything(shape, interpolate)
    mixed, double = simulate(experiment, precision="mixed"), simulate(experiment, precision="double")
    assert_near(mixed, double)
    assert (mixed != double).any()


@pytest.mark.parametrize("shape", ["gauss", "tophat"])
def test_running_factors(shape):
    """Q02: whether a factor of the lattice is 0 counts, not only its size."""
    experiment = small_experiment(
        crystal={"shape": shape, "n_cells": (3.0, 2.0, 2.0), "mosaic_spread": 0.5, "mosaic_domains": 3},
        oversample_omega=True,
        quirks=Quirks(q02_running_factors=True),
        water_size=40.0,
    )
    assert_near(simulate(experiment, precision="mixed"), simulate(experiment))


@pytest.mark.parametrize("shape", SHAPES)
def test_image_does_not_depend_on_threads_or_on_the_choice_of_pixels(shape):
    """Clause 10.4, bit for bit."""
    experiment = small_experiment(crystal={"shape": shape}, detector={"n_fast": 301, "n_slow": 20, "pixel_size": 0.1})
    one, two = (simulate(experiment, precision="mixed", threads=threads) for threads in (1, 2))
    assert one.tobytes() == two.tobytes()
    chosen = np.random.default_rng(0).random(one.shape) < 0.3
    assert np.array_equal(simulate(experiment, precision="mixed", pixels=chosen), one[chosen])


class TestRange:
    """Clause 60.26: where single precision could not keep 60.24, the image is that of double precision."""

    @pytest.mark.parametrize(
        "crystal",
        [
            {"n_cells": (5.5, 4.0, 3.0)},
            {"n_cells": (5000.0, 4.0, 3.0)},
            {"n_cells": (300.0, 300.0, 300.0), "shape": "gauss"},
            {"n_cells": (300.0, 300.0, 300.0), "shape": "tophat"},
            {"shape": "round", "fudge": 1e8},
            {"structure_factors": None, "default_f": 1e17},
            {"structure_factors": None, "default_f": 1e-12},
            {"cell": (1e6, 1e6, 1e6, 90.0, 90.0, 90.0), "n_cells": (1.0, 1.0, 1.0)},
        ],
        ids=str,
    )
    def test_beyond_it(self, crystal):
        experiment = small_experiment(crystal=crystal)
        assert not lower_mixed(lower(experiment)).mixed
        assert np.array_equal(simulate(experiment, precision="mixed"), simulate(experiment))

    @pytest.mark.parametrize(
        "crystal",
        [
            {"n_cells": (4096.0, 300.0, 1.0)},
            {"n_cells": (5.5, 4.0, 3.0), "shape": "round"},
            {"n_cells": (5.5, 4.0, 3.0), "shape": "gauss"},
            {"structure_factors": None, "default_f": 1e12},
            {"structure_factors": None, "default_f": 1e-8},
            {"structure_factors": None, "default_f": 0.0},
            {"structure_factors": random_table(2), "interpolate": True},
            {"structure_factors": random_table(1), "interpolate": True},
        ],
        ids=str,
    )
    def test_within_it(self, crystal):
        experiment = small_experiment(crystal=crystal)
        assert lower_mixed(lower(experiment)).mixed
        assert_near(simulate(experiment, precision="mixed"), simulate(experiment))


def test_complex_parameters_are_refused():
    """Clause 60.25."""
    experiment = small_experiment(detector={"distance": 60.0 + 1e-20j})
    with pytest.raises(NumbraggError, match="precision: complex"):
        simulate(experiment, precision="mixed")


def test_other_words_are_refused():
    with pytest.raises(NumbraggError, match="precision: double or mixed is needed, not 'single'"):
        simulate(small_experiment(), precision="single")


def test_command_line(in_a_folder_with_inputs):
    """Clause 20.2."""
    images = {}
    for words in ("", "--precision double", "--precision mixed"):
        assert run("simulate", words, LINE, "-floatfile image.bin -nopgm -nonoise").status == 0
        images[words] = np.fromfile("image.bin", "<f4").astype(float)
    assert np.array_equal(images[""], images["--precision double"])
    assert_near(images["--precision mixed"], images[""])
    assert (images["--precision mixed"] != images[""]).any()


@numba.njit
def taken_apart(h, low):
    """Nearest whole number and distance, largest whole number below and remainder, by fixed-point arithmetic."""
    words = np.array([SHIFT - h]).view(np.int32)
    origin = origin_of(low)
    return (
        nearest_above(words[1], origin),
        fraction_of(distance_of(words[0])),
        floor_above(words[0], words[1], origin),
        remainder_of(words[0]),
    )


class TestFixedPoint:
    """Indices as multiples of 2^-32."""

    @pytest.mark.parametrize("low", [0.0, -23.0, 7.0])
    def test_indices(self, low):
        random = np.random.default_rng(1).uniform(-200.0, 200.0, 2000)
        exact = np.array([0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 0.25, 262143.75, -262143.75])
        for h in np.concatenate([random, exact]):
            whole, minus_distance, below, remainder = taken_apart(h, low)
            assert whole == nearest.py_func(h) - low
            assert abs(-minus_distance - (h - nearest.py_func(h))) <= RESOLUTION + SINGLE * abs(minus_distance)
            assert below == math.floor(h) - low
            assert abs(remainder - (h - math.floor(h))) <= 1e-7

    def test_resolution(self):
        """Distances near 0 keep their digits."""
        for d in (1e-9, -3e-8, 2e-6):
            assert abs(-taken_apart(31.0 + d, 0.0)[1] - d) <= RESOLUTION


@pytest.mark.parametrize(
    ("function", "exact", "low", "high", "relative"),
    [
        (sin_pi_over_single, lambda x: math.sin(math.pi * x) / x, -0.5, 0.5, True),
        (cos_pi_single, lambda x: math.cos(math.pi * x), -0.5, 0.5, False),
        (exponential_single, math.exp, -80.0, 80.0, True),
        (sinc3_series, lambda u: sinc3(math.pi * math.sqrt(u)), 0.005, 0.25, True),
    ],
)
def test_polynomials(function, exact, low, high, relative):
    compiled = numba.njit(lambda x: function(x))
    for x in np.linspace(low, high, 4000, dtype=np.float32):
        expected = exact(float(x))
        assert abs(compiled(x) - expected) <= POLYNOMIAL * (abs(expected) if relative else 1.0)


def sinc3(x):
    return 3.0 * (math.sin(x) / x - math.cos(x)) / x**2


@pytest.mark.parametrize("x", [-80.5, -1e3, -1e30])
def test_exponential_stays_at_its_lowest_value(x):
    assert numba.njit(lambda x: exponential_single(x))(np.float32(x)) == pytest.approx(math.exp(LOWEST_EXPONENT), 1e-6)


f32 = np.float32
FACTORS = {
    "square": numba.njit(lambda d, n: square_factor_single(d[0], d[1], d[2], n[0], n[1], n[2])),
    "round": numba.njit(lambda d, n: round_factor_single(d[0], d[1], d[2], f32(n[0]), f32(n[1]), f32(n[2]), f32(1.0))),
    "gauss": numba.njit(
        lambda d, n, g: gauss_factor_single(d[0], d[1], d[2], f32(n[0] * n[1] * n[2]), f32(1.0), g, LOWEST_EXPONENT)
    ),
    "tophat": numba.njit(lambda d, n, g: tophat_factor_single(d[0], d[1], d[2], f32(n[0] * n[1] * n[2]), f32(1.0), g)),
}


@pytest.mark.parametrize("n", [(1, 1, 1), (2, 3, 7), (20, 101, 1), (36, 47, 29)])
@pytest.mark.parametrize("shape", SHAPES)
def test_lattice_factors(shape, n):
    """Clauses 10.41 to 10.44, relative to the peak."""
    generator = np.random.default_rng(2)
    scale = 10.0 ** generator.uniform(-6.0, -0.31, (300, 1))
    for d in (generator.uniform(-1.0, 1.0, (300, 3)) * scale).astype(np.float32):
        if shape == "square":
            words = (d.astype(float) * 2.0**32).astype(np.int64)
            d = (words | 1) / 2.0**32
            # Lower words, whose highest bit is flipped.
            found = FACTORS[shape]((words + 2**31).astype(np.uint32).view(np.int32), np.array(n, np.int32))
        elif shape == "round":
            found = FACTORS[shape](d, np.array(n))
        else:
            found = FACTORS[shape](d, np.array(n), tuple(map(f32, RECIPROCAL)))
        assert abs(found - formula(shape, d, n, 1.0)) <= FACTOR * math.prod(n) ** 2


def test_accuracy_can_be_missed():
    """The bound of 60.24 would notice an index that is off by a millionth."""
    experiment = small_experiment(crystal={"n_cells": (40.0, 40.0, 40.0)})
    crystal = dataclasses.replace(experiment.crystal, cell=(37.0 * (1.0 + 1e-6), *experiment.crystal.cell[1:]))
    with pytest.raises(AssertionError):
        assert_near(simulate(dataclasses.replace(experiment, crystal=crystal)), simulate(experiment))
