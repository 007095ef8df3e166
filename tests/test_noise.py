"""Mode spec noise (specs/10-physics.md, clauses 10.70 to 10.73)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from numbragg.errors import NumbraggError
from numbragg.noise import poisson_noise


def photons_image():
    return np.random.default_rng(5).gamma(0.5, 20.0, (37, 53))


@pytest.mark.parametrize("threads", [1, 2, 5, 100, None])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_each_row_is_a_philox_stream_of_its_own_for_any_number_of_threads(threads, dtype):
    """Clause 10.70."""
    image = photons_image().astype(dtype)
    noise = poisson_noise(image, seed=11, adc_offset=7, threads=threads)
    for row, means in enumerate(image):
        expected = np.random.Generator(np.random.Philox(key=[11, row])).poisson(means) + 7
        assert (noise.pixels[row] == expected).all()
    assert noise.pixels.dtype == np.uint16
    assert noise.photons == noise.pixels.sum(dtype=int) - 7 * image.size
    assert noise.overloads == 0


@given(st.integers(-(2**70), 2**70))
@settings(max_examples=20, deadline=None)
def test_any_integer_is_a_seed(seed):
    """Clause 10.70."""
    image = np.full((2, 40), 9.0)
    second_row = np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, 1], np.uint64))).poisson(image[1])
    assert (poisson_noise(image, seed=seed, adc_offset=0).pixels[1] == second_row).all()


def test_seeds_and_rows_differ():
    """Clause 10.70."""
    image = np.full((2, 100), 50.0)
    first, second = poisson_noise(image, seed=1), poisson_noise(image, seed=2)
    assert (first.pixels != second.pixels).any()
    assert (first.pixels[0] != first.pixels[1]).any()


@pytest.mark.parametrize("mean", [0.01, 1.0, 9.9, 10.1, 3000.0])
def test_mean_and_variance_are_those_of_a_poisson_law(mean):
    """Clause 10.70, within five standard errors."""
    noise = poisson_noise(np.full((300, 400), mean), seed=3, adc_offset=0)
    pixels = noise.pixels.astype(float)
    assert abs(pixels.mean() - mean) < 5 * math.sqrt(mean / pixels.size)
    assert abs(pixels.var() - mean) < 5 * math.sqrt((mean + 2 * mean**2) / pixels.size)
    assert abs(np.corrcoef(pixels[:-1].ravel(), pixels[1:].ravel())[0, 1]) < 5 / math.sqrt(pixels.size)


def test_inactive_pixels_are_zero_and_draw_nothing():
    """Clause 10.71: as if their mean were 0, whatever stands there."""
    image = photons_image()
    active = np.random.default_rng(1).random(image.shape) < 0.6
    garbled = np.where(active, image, np.nan)
    noise = poisson_noise(garbled, seed=4, active=active)
    as_zero = poisson_noise(np.where(active, image, 0.0), seed=4)
    assert (noise.pixels == np.where(active, as_zero.pixels, 0)).all()
    assert noise.photons == as_zero.photons


@pytest.mark.parametrize(("adc_offset", "low"), [(40, 40), (0, 0), (12.75, 12), (-3, 0), (-65535, 0), (65535, 65535)])
def test_dark_pixels_hold_the_offset(adc_offset, low):
    """Clause 10.72: a fraction is dropped, nothing goes below 0."""
    noise = poisson_noise(np.zeros((3, 4)), seed=1, adc_offset=adc_offset)
    assert (noise.pixels == low).all()
    assert noise.photons == 0
    assert noise.overloads == 0


def test_overloads_are_clipped_and_counted():
    """Clause 10.72."""
    image = np.array([[1.0, 70_000.0, 9.2e18, 65_000.0]])
    noise = poisson_noise(image, seed=1, adc_offset=40)
    assert (noise.pixels[0, 1:3] == 65535).all()
    assert noise.pixels[0, 3] < 65535
    assert noise.overloads == 2
    assert noise.photons > 9.1e18


def test_the_sum_of_many_huge_pixels_does_not_overflow():
    """Clause 10.72."""
    noise = poisson_noise(np.full((3, 50), 9e18), seed=1)
    assert noise.photons == pytest.approx(150 * 9e18, rel=1e-6)
    assert noise.overloads == 150


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 1e19])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_mean_that_no_poisson_law_has_is_an_error_naming_the_pixel(bad, threads):
    """Clause 10.73."""
    image = np.ones((5, 6))
    image[2, 4] = bad
    with pytest.raises(NumbraggError, match="pixel slow 2 fast 4 has"):
        poisson_noise(image, seed=1, threads=threads)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.ones(3), {}, "not of shape"),
        (np.ones((2, 3)), {"active": np.ones((3, 2), bool)}, "mask"),
        (np.ones((2, 3)), {"threads": 0}, "threads"),
        (np.ones((2, 3)), {"adc_offset": 1e5}, "ADC offset"),
        (np.ones((2, 3)), {"adc_offset": math.nan}, "ADC offset"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(image, options, message):
    """Clause 10.73."""
    with pytest.raises(NumbraggError, match=message):
        poisson_noise(image, seed=1, **options)


@given(stn.arrays(np.float64, stn.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5)))
@settings(max_examples=60, deadline=None)
def test_any_float_image_is_drawn_or_refused(image):
    """Clause 10.73."""
    acceptable = ((image >= 0) & (image <= 9.2e18)).all()
    try:
        noise = poisson_noise(image, seed=0, adc_offset=1)
    except NumbraggError:
        assert not acceptable
    else:
        assert noise.pixels.shape == image.shape
        assert acceptable or (image <= 9.23e18).all()
