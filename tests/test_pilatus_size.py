"""An image of the size of a Pilatus 6M, on made-up amplitudes: 2463 x 2527 pixels, 10 phi steps from 0, mode ``c``."""

import dataclasses

import numpy as np
import pytest
from conftest import random_table
from naive import naive_image

from numbragg import Crystal, Detector, Experiment, Roi, Sampling, Scan, simulate
from numbragg.models.quirks import Quirks

ROUNDING = 1e-11
"""Of the largest pixel: the oracle sums in another order."""

WINDOWS = (Roi(0, 47, 0, 47), Roi(660, 707, 1015, 1062), Roi(2415, 2462, 2479, 2526))


@pytest.fixture(scope="module")
def experiment():
    crystal = Crystal(
        cell=(26.7, 31.3, 33.9, 88.7, 71.2, 68.4),
        n_cells=(36.0, 47.0, 29.0),
        misset=(12.0, -40.0, 77.0),
        structure_factors=random_table(20, seed=6),
    )
    detector = Detector(n_fast=2463, n_slow=2527, pixel_size=0.172, distance=231.27, beam_fast=211.8, beam_slow=217.3)
    scan = Scan(start=0.0, sampling=Sampling(0.1, 10), spindle_axis=np.array([0.0, -1.0, 0.0]))
    return Experiment(crystal=crystal, detector=detector, scan=scan, oversample=1, quirks=Quirks.all(threads=2))


@pytest.mark.slow
def test_windows_equal_the_sequential_program(experiment):
    """specs/40-compat.md, Q01: only the first pixel of an emulated thread's block starts from the unrotated crystal."""
    image = simulate(experiment)
    np.testing.assert_array_equal(image, simulate(experiment, threads=1))
    for roi in WINDOWS:
        window = np.s_[roi.slow_min : roi.slow_max + 1, roi.fast_min : roi.fast_max + 1]
        expected = naive_image(dataclasses.replace(experiment, roi=roi))[window].copy()
        seen = image[window].copy()
        if roi.slow_min > 0:
            # Within the window alone this pixel would be the first; in the whole image it is not.
            expected[0, 0] = seen[0, 0]
        np.testing.assert_allclose(seen, expected, rtol=0, atol=ROUNDING * image.max())


@pytest.mark.slow
def test_first_pixels_of_the_two_blocks_are_the_only_fresh_ones(experiment):
    """specs/40-compat.md, Q01: one thread instead of two changes the pixel at the start of row 1264 and no other."""
    one = dataclasses.replace(experiment, quirks=Quirks.all(threads=1))
    changed = np.argwhere(simulate(experiment) != simulate(one))
    np.testing.assert_array_equal(changed, [[1264, 0]])
