"""Mode c noise equals that of the reference program bit by bit (specs/10-physics.md, clauses 10.66 to 10.69)."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from numbragg.compat.c_random import c_noise_image
from numbragg.errors import NumbraggError
from numbragg.kernels import poisson
from numbragg.kernels.ran1 import STATE_SIZE

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())
IMAGES = np.load(GOLDEN / "images_c.npz")
NOISE_CASES = ("noise_low", "noise_mid", "noise_high", "noise_roi")

# Three terms of ln Gamma near 1e6 are rounded to 24 bits.
SINGLE_PRECISION = 2e-7


def flag(case, name, count=1, default=None):
    words = CASES[case]["args"].split()
    if name not in words:
        return default
    first = words.index(name) + 1
    return [int(word) for word in words[first : first + count]]


def noise_of(case):
    return c_noise_image(
        IMAGES[case],
        seed=-flag(case, "-seed")[0],
        adc_offset=flag(case, "-adc", default=[40])[0],
        roi=tuple(flag(case, "-roi", 4)) if flag(case, "-roi", 4) else None,
    )


def seeded(seed):
    state = np.zeros(STATE_SIZE, np.int64)
    state[0] = seed
    return state


@pytest.mark.parametrize("case", NOISE_CASES)
def test_every_pixel_is_the_one_of_the_reference_program(case):
    """Clauses 10.66 to 10.69; the cases reach means below 12, up to 1e6 and above."""
    assert (noise_of(case).pixels == IMAGES[f"{case}/noise.img"]).all()


@pytest.mark.parametrize("case", NOISE_CASES)
def test_photons_and_overloads_are_the_printed_ones(case):
    """Clause 10.69."""
    line = next(line for line in CASES[case]["stdout"] if "photons on noise image" in line)
    printed = tuple(int(number) for number in re.findall(r"\d+", line))
    noise = noise_of(case)
    assert (noise.photons, noise.overloads) == printed


@pytest.mark.parametrize("case", ["noise_mid", "noise_high"])
def test_uncompiled_functions_give_the_same_bits(case):
    """Clause 10.63."""
    means = IMAGES[case].ravel()
    means = np.concatenate([means[:100], means[means >= 12.0][:60], means[means > 1e6][:6]])
    state, state_python = seeded(-3), seeded(-3)
    spare, spare_python = np.zeros(2, np.float32), np.zeros(2, np.float32)

    def python_deviate(mean):
        if mean < poisson.SMALL_MEAN:
            return poisson._small_poisson.py_func(mean, state_python)
        if mean <= poisson.LARGE_MEAN:
            return poisson._rejection_poisson.py_func(mean, state_python)
        return poisson.poisson_deviate.py_func(mean, state_python, spare_python)

    for mean in means:
        assert np.float32(poisson.poisson_deviate(mean, state, spare)) == np.float32(python_deviate(mean))
    assert (state == state_python).all()


def test_the_uncompiled_image_loop_gives_the_same_image():
    """Clause 10.63."""
    means = IMAGES["noise_high"][40:44]
    results = []
    for loop in (poisson.noise_region, poisson.noise_region.py_func):
        pixels = np.zeros(means.shape, np.uint16)
        results.append((pixels, *loop(means, 40.0, seeded(-3), pixels)))
    assert (results[0][0] == results[1][0]).all()
    assert results[0][1:] == results[1][1:]


@pytest.mark.parametrize("function", [poisson.ln_gamma, poisson.ln_gamma.py_func], ids=["compiled", "python"])
@pytest.mark.parametrize("x", [1.0, 1.5, 2.0, 13.0, 101.0, 12345.5, 1e6])
def test_ln_gamma_is_good_to_single_precision(function, x):
    """Clause 10.68."""
    value = function(np.float32(x))
    assert value == pytest.approx(math.lgamma(x), rel=SINGLE_PRECISION, abs=1e-7)
    assert np.float32(value) == value


@pytest.mark.parametrize(
    "deviate", [poisson.gaussian_deviate, poisson.gaussian_deviate.py_func], ids=["compiled", "python"]
)
def test_gaussian_deviates_come_in_pairs_of_the_polar_method(deviate):
    """Clause 10.67: the second of a pair first, the other one kept."""
    state, spare = seeded(-8), np.zeros(2, np.float32)
    drawn = np.array([deviate(state, spare) for _ in range(20_000)])
    assert abs(drawn.mean()) < 5 / math.sqrt(drawn.size)
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / drawn.size)
    before = state.copy()
    deviate(state, spare)
    assert spare[0] == 1.0
    drawn_state = state.copy()
    kept = spare[1]
    assert deviate(state, spare) == kept
    assert (state == drawn_state).all()
    assert (before != state).any()


@pytest.mark.parametrize("mean", [0.3, 11.9, 12.1, 400.0, 2e4])
def test_deviates_have_the_mean_and_variance_of_a_poisson_law(mean):
    """Clause 10.66, within five standard errors."""
    image = np.full((100, 200), mean)
    noise = c_noise_image(image, seed=-17, adc_offset=0)
    assert abs(noise.pixels.mean() - mean) < 5 * math.sqrt(mean / image.size)
    assert abs(noise.pixels.var() - mean) < 5 * math.sqrt((mean + 2 * mean**2) / image.size)


def test_pixels_outside_the_region_are_zero_and_draw_nothing():
    """Clause 10.69."""
    image = np.full((12, 10), 5.0)
    cut = c_noise_image(image[3:8, 2:6], seed=-4)
    noise = c_noise_image(image, seed=-4, roi=(2, 5, 3, 7))
    assert (noise.pixels[3:8, 2:6] == cut.pixels).all()
    assert noise.pixels.sum() == cut.pixels.sum()
    assert noise.photons == cut.photons


@pytest.mark.parametrize(("adc_offset", "dark"), [(-3, 0), (12.75, 12), (65535, 65535)])
def test_dark_pixels_hold_the_offset_cut_to_what_a_pixel_holds(adc_offset, dark):
    """Clause 10.69."""
    noise = c_noise_image(np.zeros((2, 3)), seed=-1, adc_offset=adc_offset)
    assert (noise.pixels == dark).all()
    assert noise.overloads == 0


def test_a_positive_seed_goes_on_with_the_table_of_earlier_draws():
    """Clause 10.62."""
    image = np.full((4, 4), 3.0)
    state = seeded(-12345678)
    poisson.poisson_deviate(np.float32(5.0), state, np.zeros(2, np.float32))
    went_on = c_noise_image(image, seed=6, state=state)
    assert (went_on.pixels != c_noise_image(image, seed=6).pixels).any()


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.full((2, 2), np.nan), {}, "not finite"),
        (np.full((2, 2), np.inf), {}, "not finite"),
        (np.zeros(4), {}, "two dimensions"),
        (np.zeros((2, 2)), {"roi": (0, 2, 0, 1)}, "region of interest 0 2 0 1"),
        (np.zeros((2, 2)), {"roi": (1, 0, 0, 1)}, "region of interest"),
        (np.zeros((2, 2)), {"adc_offset": math.nan}, "ADC offset"),
        (np.zeros((2, 2)), {"adc_offset": 65536}, "ADC offset"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(image, options, message):
    """Clause 10.69."""
    with pytest.raises(NumbraggError, match=message):
        c_noise_image(image, seed=-1, **options)
