"""From photons to counts (specs/10-physics.md, clauses 10.80 to 10.87).

The statistics are those of flat images of a million pixels. Their tolerance is five standard errors, which the number
of pixels and the formula of the clause give.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from numbragg import DetectorEffects, NumbraggError, detector_image, poisson_noise
from numbragg.point_spread import point_spread_quadrant, spread_photons

SIDE = 1000
PIXEL = 0.1  # mm
MEAN = 20.0
STANDARD_ERRORS = 5.0
ROUNDING = 1e-12  # relative: cosine transforms of a million pixels in double precision


def flat(effects: DetectorEffects, mean: float = MEAN, seed: int = 7, side: int = SIDE) -> np.ndarray:
    photons = np.full((side, side), mean)
    return detector_image(photons, effects, seed=seed, pixel_size=PIXEL).counts.astype(float) - effects.adc_offset


def assert_mean_and_variance(counts: np.ndarray, mean: float, variance: float, *, correlated: float = 1.0) -> None:
    """Within five standard errors of nearly normal counts; `correlated` is how many pixels vary together."""
    error = math.sqrt(correlated * variance / counts.size)
    assert abs(counts.mean() - mean) < STANDARD_ERRORS * error
    error = variance * math.sqrt(correlated * (2.0 + 1.0 / MEAN) / counts.size)
    assert abs(counts.var() - variance) < STANDARD_ERRORS * error


def whole(quadrant: np.ndarray) -> np.ndarray:
    """The kernel of which one quadrant is given."""
    half = np.concatenate([quadrant[:0:-1], quadrant])
    return np.concatenate([half[:, :0:-1], half], axis=1)


@given(
    st.integers(-(2**70), 2**70), st.floats(-100, 100), st.integers(0, 7), st.integers(0, 9), st.sampled_from([1, 2, 5])
)
@settings(max_examples=30, deadline=None)
def test_nothing_given_is_photon_counting(seed, offset, slow, fast, threads):
    """Clause 10.80."""
    image = np.random.default_rng(3).gamma(0.5, 50.0, (slow, fast))
    active = np.random.default_rng(4).random((slow, fast)) < 0.8
    noise = poisson_noise(image, seed=seed, adc_offset=offset, active=active)
    effects = DetectorEffects(adc_offset=offset)
    read = detector_image(image, effects, seed=seed, active=active, threads=threads)
    assert (read.counts == noise.pixels).all()
    assert read.counts.dtype == noise.pixels.dtype
    assert (read.photons, read.overloads) == (noise.photons, noise.overloads)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("kind", [None, "gaussian", "fiber"])
def test_counts_are_the_same_for_any_number_of_threads(threads, kind):
    """Clause 10.81: the streams of each kind are those of the clause."""
    image = np.random.default_rng(3).gamma(0.5, 50.0, (23, 31))
    effects = DetectorEffects(
        flicker=0.1, calibration_error=0.2, calibration_seed=5, gain=1.7, readout_noise=3.0, adc_offset=100.0,
        point_spread=kind, fwhm=0.2 if kind else 0.0, radius=3 if kind else None,
    )  # fmt: skip

    def normal(seed: int, kind: int, row: int) -> np.ndarray:
        return np.random.Generator(np.random.Philox(key=[seed, (kind << 32) + row])).standard_normal(31)

    brightness = 1.0 + 0.1 * normal(11, 3, 0)[0]
    expected = np.empty_like(image)
    for row, means in enumerate(image):
        sensitivity = np.maximum(1.0 + 0.2 * normal(5, 1, row), 0.0)
        expected[row] = np.random.Generator(np.random.Philox(key=[11, row])).poisson(means * brightness * sensitivity)
    photons = expected.sum()
    if kind:
        expected = spread_photons(expected, point_spread_quadrant(effects, PIXEL, image.shape))
    noise = np.array([normal(11, 2, row) for row in range(23)])
    expected = np.clip(np.floor(expected * 1.7 + 3.0 * noise + 0.5) + 100, 0, 65535)
    read = detector_image(image, effects, seed=11, pixel_size=PIXEL, threads=threads)
    assert (read.counts == expected).all()
    assert read.photons == photons


def test_flicker_is_one_factor_an_image():
    """Clause 10.82: the counts are those of a brighter or dimmer image, and the factor has the width asked for."""
    effects = DetectorEffects(flicker=0.05, photon_noise=False, gain=1000.0, saturation=2**31 - 1)
    images = [flat(effects, seed=seed, side=8) for seed in range(1000)]
    assert all(np.ptp(image) == 0 for image in images)
    factors = np.array([image[0, 0] for image in images]) / (1000.0 * MEAN)
    assert abs(factors.mean() - 1.0) < STANDARD_ERRORS * 0.05 / math.sqrt(1000)
    assert abs(factors.std() - 0.05) < STANDARD_ERRORS * 0.05 / math.sqrt(2000)
    counted = flat(DetectorEffects(flicker=0.05))
    assert_mean_and_variance(counted, MEAN * factors[7], MEAN * factors[7])


def test_calibration_error_widens_the_distribution():
    """Clause 10.82."""
    counts = flat(DetectorEffects(calibration_error=0.3))
    assert_mean_and_variance(counts, MEAN, MEAN + (0.3 * MEAN) ** 2, correlated=1.5)


def test_calibration_belongs_to_the_detector():
    """Clause 10.82: two images share it, and with another calibration seed they do not."""
    effects = DetectorEffects(calibration_error=0.3)
    first, second = flat(effects, seed=1), flat(effects, seed=2)
    other = flat(DetectorEffects(calibration_error=0.3, calibration_seed=1), seed=2)
    shared = (0.3 * MEAN) ** 2
    error = STANDARD_ERRORS * (MEAN + shared) / SIDE
    assert abs(np.cov(first.ravel(), second.ravel())[0, 1] - shared) < 2.0 * error
    assert abs(np.cov(first.ravel(), other.ravel())[0, 1]) < error


@pytest.mark.parametrize("error", [10.0, 1e6])
def test_factors_do_not_go_below_zero(error):
    """Clause 10.82."""
    counts = flat(DetectorEffects(calibration_error=error, flicker=error, saturation=2**31 - 1), side=50)
    assert counts.min() >= 0


@pytest.mark.parametrize(("kind", "radius"), [("gaussian", None), ("gaussian", 1), ("fiber", None), ("fiber", 4)])
def test_point_spread_keeps_the_mean_and_correlates_pixels(kind, radius):
    """Clause 10.85."""
    effects = DetectorEffects(point_spread=kind, fwhm=0.15, radius=radius, gain=100.0, saturation=2**31 - 1)
    kernel = whole(point_spread_quadrant(effects, PIXEL, (SIDE, SIDE)))
    counts = flat(effects) / effects.gain
    assert_mean_and_variance(counts, MEAN, MEAN * (kernel**2).sum(), correlated=1.0 / (kernel**2).sum())
    reach = min(3, kernel.shape[0] // 2)
    for shift in range(1, reach + 1):
        expected = MEAN * (kernel[:, shift:] * kernel[:, :-shift]).sum()
        found = ((counts[:, shift:] - MEAN) * (counts[:, :-shift] - MEAN)).mean()
        assert abs(found - expected) < STANDARD_ERRORS * MEAN * math.sqrt((kernel**2).sum()) / SIDE


@pytest.mark.parametrize("kind", ["gaussian", "fiber"])
@pytest.mark.parametrize(("width", "radius"), [(0.05, None), (0.3, None), (0.3, 1), (0.3, 60)])
def test_point_spread_keeps_the_sum_to_rounding(kind, width, radius):
    """Clause 10.85: at edges and corners too, and where the kernel is larger than the image."""
    image = np.random.default_rng(1).gamma(0.1, 100.0, (37, 23))
    effects = DetectorEffects(point_spread=kind, fwhm=width, radius=radius)
    spread = spread_photons(image, point_spread_quadrant(effects, PIXEL, image.shape))
    assert spread.sum() == pytest.approx(image.sum(), rel=ROUNDING)
    level = spread_photons(np.full((37, 23), 7.0), point_spread_quadrant(effects, PIXEL, image.shape))
    np.testing.assert_allclose(level, 7.0, rtol=ROUNDING)


@pytest.mark.parametrize("kind", ["gaussian", "fiber"])
@pytest.mark.parametrize("radius", [2, 30])
def test_point_spread_is_a_convolution_of_the_mirrored_image(kind, radius):
    """Clause 10.85: against the sum over shifted images, and what is missing spread evenly."""
    image = np.random.default_rng(2).gamma(0.3, 10.0, (19, 14))
    effects = DetectorEffects(point_spread=kind, fwhm=0.25, radius=radius)
    kernel = whole(point_spread_quadrant(effects, PIXEL, image.shape))
    mirrored = np.pad(image, radius, mode="symmetric")
    expected = sum(
        kernel[j, i] * mirrored[j : j + 19, i : i + 14]
        for j in range(2 * radius + 1)
        for i in range(2 * radius + 1)
    )  # fmt: skip
    expected += (1.0 - kernel.sum()) * image.mean()
    spread = spread_photons(image, point_spread_quadrant(effects, PIXEL, image.shape))
    np.testing.assert_allclose(spread, expected, rtol=0, atol=ROUNDING * image.sum())


def density(kind: str, width: float):
    """Light at (y, x) of a photon at 0, by the formulas of 10.83 and 10.84."""
    if kind == "gaussian":
        sigma = width / (2.0 * math.sqrt(2.0 * math.log(2.0)))
        return lambda y, x: math.exp(-(x * x + y * y) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
    g = 0.652383 * width
    return lambda y, x: g / (2 * math.pi) * (g * g + x * x + y * y) ** -1.5


@pytest.mark.parametrize("kind", ["gaussian", "fiber"])
@pytest.mark.parametrize("pixel", [(0, 0), (0, 1), (2, 1), (3, 3)])
def test_shares_are_integrals_over_pixels(kind, pixel):
    """Clauses 10.83 and 10.84: against numerical integration of the point spread."""
    quadrant = point_spread_quadrant(DetectorEffects(point_spread=kind, fwhm=0.17, radius=3), PIXEL, (50, 50))
    slow, fast = pixel
    whole_pixel, _ = integrate.dblquad(density(kind, 1.7), fast - 0.5, fast + 0.5, slow - 0.5, slow + 0.5)
    assert quadrant[pixel] == pytest.approx(whole_pixel, rel=2e-6)  # the factor of 10.84 is given with six digits


@pytest.mark.parametrize("kind", ["gaussian", "fiber"])
def test_half_of_the_maximum_lies_half_the_width_away(kind):
    """Clauses 10.83 and 10.84."""
    light = density(kind, 1.0)
    assert light(0.0, 0.5) == pytest.approx(0.5 * light(0.0, 0.0), rel=1e-5)


@pytest.mark.parametrize(("kind", "outside"), [("gaussian", 2e-7), ("fiber", 0.01)])
def test_chosen_radius_leaves_little_outside(kind, outside):
    """Clause 10.85."""
    effects = DetectorEffects(point_spread=kind, fwhm=0.3)
    quadrant = point_spread_quadrant(effects, PIXEL, (1000, 800))
    assert 0 < 1.0 - whole(quadrant).sum() < outside
    assert len(point_spread_quadrant(effects, PIXEL, (4, 3))) <= 5


@pytest.mark.parametrize(("gain", "sigma"), [(1.0, 3.0), (1.7, 5.5), (30.5, 2.0)])
def test_gain_and_readout_noise(gain, sigma):
    """Clause 10.86; the offset is large enough for nothing to be clipped."""
    counts = flat(DetectorEffects(gain=gain, readout_noise=sigma, adc_offset=1000.0))
    assert_mean_and_variance(counts, gain * MEAN, gain**2 * MEAN + sigma**2 + 1.0 / 12.0)


@pytest.mark.parametrize("gain", [0.37, 1.0, 2.0, 2.5])
def test_gain_rounds_to_the_nearest_count(gain):
    """Clause 10.86: against the Poisson law, each number of photons rounded by itself."""
    possible = np.arange(200)
    chance, rounded = stats.poisson(MEAN).pmf(possible), np.floor(possible * gain + 0.5)
    mean = (chance * rounded).sum()
    assert_mean_and_variance(flat(DetectorEffects(gain=gain)), mean, (chance * rounded**2).sum() - mean**2)


def test_readout_noise_alone():
    """Clause 10.86."""
    counts = flat(DetectorEffects(readout_noise=3.0, adc_offset=1000.0), mean=0.0)
    assert_mean_and_variance(counts, 0.0, 9.0 + 1.0 / 12.0)


@pytest.mark.parametrize("saturation", [60, 65535, 65536, 2**31 - 1])
def test_saturation_clips_and_counts(saturation):
    """Clause 10.86: the mean of clipped counts is that of a clipped Poisson law."""
    effects = DetectorEffects(saturation=saturation, adc_offset=40.0)
    read = detector_image(np.full((SIDE, SIDE), MEAN), effects, seed=5)
    assert read.counts.dtype == (np.uint16 if saturation <= 65535 else np.int32)
    law = stats.poisson(MEAN)
    possible = np.arange(200)
    clipped = np.minimum(possible + 40, saturation)
    mean = (law.pmf(possible) * clipped).sum()
    variance = (law.pmf(possible) * clipped**2).sum() - mean**2
    assert abs(read.counts.mean() - mean) < STANDARD_ERRORS * math.sqrt(variance) / SIDE
    over = law.sf(saturation - 40)
    assert abs(read.overloads - over * SIDE**2) <= STANDARD_ERRORS * math.sqrt(over * SIDE**2)
    assert read.counts.max() <= saturation


def test_counts_beyond_sixteen_bits():
    """Clause 10.86."""
    bright = detector_image(np.array([[1e5, 1e12]]), DetectorEffects(saturation=2**31 - 1), seed=1)
    assert abs(int(bright.counts[0, 0]) - 100040) < 2000
    assert bright.counts[0, 1] == 2**31 - 1
    assert bright.overloads == 1


def test_readings_do_not_go_below_zero():
    """Clause 10.86."""
    counts = detector_image(np.zeros((50, 50)), DetectorEffects(readout_noise=30.0, adc_offset=0.0), seed=1).counts
    assert (counts == 0).mean() == pytest.approx(0.5, abs=5 * 0.5 / 50)


def test_bad_pixels_read_zero_and_change_nothing_else():
    """Clause 10.87: their light still reaches their neighbours."""
    image = np.random.default_rng(1).gamma(0.5, 40.0, (30, 20))
    bad = np.random.default_rng(2).random(image.shape) < 0.2
    options = {"point_spread": "gaussian", "fwhm": 0.2, "readout_noise": 2.0, "saturation": 90}
    whole_image = detector_image(image, DetectorEffects(**options), seed=1, pixel_size=PIXEL)
    read = detector_image(image, DetectorEffects(**options, bad_pixels=bad), seed=1, pixel_size=PIXEL)
    assert (read.counts == np.where(bad, 0, whole_image.counts)).all()
    assert read.photons == whole_image.photons
    assert read.overloads <= whole_image.overloads


@pytest.mark.parametrize("photon_noise", [True, False])
def test_inactive_pixels_count_as_dark_whatever_stands_there(photon_noise):
    """Clause 10.87."""
    image = np.random.default_rng(1).gamma(0.5, 40.0, (30, 20))
    active = np.random.default_rng(2).random(image.shape) < 0.5
    effects = DetectorEffects(
        photon_noise=photon_noise, point_spread="fiber", fwhm=0.1, calibration_error=0.1, adc_offset=5
    )
    dark = detector_image(np.where(active, image, 0.0), effects, seed=1, pixel_size=PIXEL).counts
    garbled = np.where(active, image, np.nan)
    read = detector_image(garbled, effects, seed=1, pixel_size=PIXEL, active=active).counts
    assert (read == np.where(active, dark, 0)).all()


def test_without_photon_noise_the_mean_is_read():
    """Clause 10.87."""
    image = np.array([[0.4, 0.5, 7.0, 1e9]])
    counts = detector_image(image, DetectorEffects(photon_noise=False, adc_offset=2.9), seed=1).counts
    assert counts.tolist() == [[2, 3, 9, 65535]]


@pytest.mark.parametrize("photon_noise", [True, False])
@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_means_that_nothing_can_count_are_errors(photon_noise, bad):
    """Clause 10.87."""
    image = np.ones((3, 4))
    image[1, 2] = bad
    with pytest.raises(NumbraggError, match="pixel"):
        detector_image(image, DetectorEffects(photon_noise=photon_noise), seed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flicker": -0.1}, "flicker must not be negative"),
        ({"calibration_error": math.nan}, "calibration_error is not a finite number"),
        ({"gain": 0.0}, "gain must be above zero"),
        ({"readout_noise": -1.0}, "readout_noise must not be negative"),
        ({"saturation": 2**31}, "saturation must be at most"),
        ({"saturation": 0.5}, "saturation must be a whole number"),
        ({"saturation": 30}, "ADC offset of 40 lies beyond the saturation"),
        ({"point_spread": "box", "fwhm": 0.1}, "gaussian or fiber, not box"),
        ({"point_spread": "fiber"}, "needs a kind .* and a width"),
        ({"fwhm": 0.1}, "needs a kind .* and a width"),
        ({"point_spread": "fiber", "fwhm": 0.1, "radius": 0}, "radius must be a whole number of at least 1"),
        ({"bad_pixels": np.zeros((3, 4))}, "boolean array"),
    ],
)
def test_effects_that_no_detector_has_are_refused(options, message):
    """Clause 10.9."""
    with pytest.raises(NumbraggError, match=message):
        DetectorEffects(**options)


@pytest.mark.parametrize(
    ("image", "effects", "options", "message"),
    [
        (np.ones(3), {}, {}, "not of shape"),
        (np.ones((2, 3)), {"bad_pixels": np.zeros((3, 2), bool)}, {}, "map of bad pixels"),
        (np.ones((2, 3)), {}, {"active": np.ones((3, 2), bool)}, "mask of active pixels"),
        (np.ones((2, 3)), {}, {"threads": 0}, "threads"),
        (np.ones((2, 3)), {"point_spread": "fiber", "fwhm": 0.1}, {}, "size of a pixel"),
        (np.ones((2, 3)), {"point_spread": "fiber", "fwhm": 0.1}, {"pixel_size": -1.0}, "size of a pixel"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(image, effects, options, message):
    """Clause 10.87."""
    with pytest.raises(NumbraggError, match=message):
        detector_image(image, DetectorEffects(**effects), seed=1, **options)


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (1, 1), (1, 7)])
def test_small_images_are_read(shape):
    effects = DetectorEffects(point_spread="gaussian", fwhm=0.1)
    assert detector_image(np.ones(shape), effects, seed=1, pixel_size=PIXEL).counts.shape == shape
