"""Boxes around predicted spots, their backgrounds, and what is left out of them."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numbragg
from numbragg import Beam, Crystal, Detector, Experiment, NumbraggError, Roi
from numbragg.refinement.backgrounds import fit_backgrounds
from numbragg.refinement.shoeboxes import (
    LEAST_BACKGROUND,
    OUTLIER,
    Shoeboxes,
    drop_outliers,
    find_shoeboxes,
)

STANDARD_ERRORS = 4.5
"""Of a mean over everything that an image holds, by chance exceeded once in 150 000 images."""

EXACT = 1e-9


def still(**changes) -> Experiment:
    """About 150 spots on 260 x 250 pixels, GAUSS: nothing lies far from them. Fields of the crystal can be replaced."""
    crystal = {
        "cell": (55.0, 65.0, 75.0, 90.0, 95.0, 90.0),
        "n_cells": (12.0, 12.0, 11.0),
        "misset": (20.0, 30.0, 40.0),
        "shape": "gauss",
        "fudge": 0.2,
        "default_f": 100.0,
    }
    detector = {"n_fast": 260, "n_slow": 250, "pixel_size": 0.2, "distance": 120.0, "beam_fast": 26.0, "beam_slow": 25}
    return Experiment(
        crystal=Crystal(**crystal | changes),
        beam=Beam(fluence=3e28),
        detector=Detector(**detector),
        oversample=2,
    )


def sloping(shape: tuple[int, int], level: float = 4.0) -> np.ndarray:
    slow, fast = np.indices(shape)
    return level * (1.0 + 0.002 * slow - 0.001 * fast)


@cache
def spots_of() -> np.ndarray:
    return numbragg.simulate(still(), threads=1)


def photons_of(seed: int = 0, level: float = 4.0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(spots_of() + sloping((250, 260), level)).astype(float)


def error_of_boxes(shoeboxes: Shoeboxes, truth: np.ndarray) -> np.ndarray:
    """Mean of background less truth of each box."""
    error = shoeboxes.background - truth[shoeboxes.slow, shoeboxes.fast]
    return np.bincount(shoeboxes.box, error) / np.bincount(shoeboxes.box)


def test_pixels_lie_in_their_boxes_and_in_no_other():
    """Clauses 55.81 and 55.82."""
    found = find_shoeboxes(still(), photons_of())
    limits = found.limits[found.box]
    assert ((found.slow >= limits[:, 0]) & (found.slow <= limits[:, 1])).all()
    assert ((found.fast >= limits[:, 2]) & (found.fast <= limits[:, 3])).all()
    assert len(set(zip(found.slow.tolist(), found.fast.tolist(), strict=True))) == len(found.slow)
    assert (np.diff(found.box) >= 0).all()
    assert set(found.box.tolist()) == set(range(len(found)))
    assert len(found) == len(found.reflections.hkl) > 40


@pytest.mark.parametrize("half_size", [None, 9])
def test_a_pixel_of_several_boxes_goes_to_the_nearest_centre(half_size):
    """Clause 55.82."""
    found = find_shoeboxes(still(), photons_of(), half_size=half_size)
    owner = np.full((250, 260), -1)
    owner[found.slow, found.fast] = found.box
    slow, fast = np.indices(owner.shape)
    nearest, best = np.full(owner.shape, -1), np.full(owner.shape, np.inf)
    for box, (first, last, left, right) in enumerate(found.limits):
        distance = np.hypot(slow - found.reflections.slow[box], fast - found.reflections.fast[box])
        inside = (slow >= first) & (slow <= last) & (fast >= left) & (fast <= right) & (distance < best)
        nearest[inside], best[inside] = box, distance[inside]
    np.testing.assert_array_equal(owner, nearest)


def test_boxes_hold_the_spot_and_some_background_or_are_as_large_as_asked_for():
    """Clause 55.81."""
    found = find_shoeboxes(still(), photons_of())
    inner = (found.limits[:, [0, 2]] > 0).all(axis=1)
    middle = np.rint(np.stack([found.reflections.slow, found.reflections.fast]))
    half = np.ceil(found.reflections.radius + 1) + 3
    np.testing.assert_array_equal(found.limits[inner, 0], (middle[0] - half)[inner])
    wide = find_shoeboxes(still(), photons_of(), half_size=9)
    assert (wide.limits[:, 1] - wide.limits[:, 0]).max() == 18


def test_spots_across_the_edge_are_left_out_and_boxes_are_cut_there():
    """Clause 55.81."""
    found = find_shoeboxes(still(), photons_of(), half_size=12)
    spots = found.reflections
    assert (spots.slow - spots.radius >= -0.5).all()
    assert (spots.fast + spots.radius <= 259.5).all()
    assert found.limits.min() == 0
    assert found.limits[:, 1].max() <= 249
    predicted = numbragg.predict_reflections(still(), rotation="steps")
    left_out = len(predicted.hkl) - len(found)
    assert left_out > 0
    assert found.notes[0].startswith(f"{left_out} reflection")
    assert "across the edge" in found.notes[0]


@pytest.mark.parametrize("level", [0.15, 4.0, 200.0])
@pytest.mark.parametrize("kind", ["plane", "constant"])
def test_backgrounds_are_found_without_bias(kind, level):
    """Clauses 55.85 and 55.86: neither few photons nor the spots shift them."""
    truth = sloping((250, 260), level)
    errors = []
    for seed in range(4):
        found = find_shoeboxes(still(), photons_of(seed, level=level), background=kind)
        errors.append(error_of_boxes(found, truth))
    error = np.concatenate(errors)
    expected = np.sqrt(level / np.bincount(found.box).mean())
    assert abs(error.mean()) < STANDARD_ERRORS * error.std() / np.sqrt(len(error)) + 0.02 * level
    # A plane is known less well than a constant.
    assert 0.5 * expected < error.std() < 2.0 * expected


def test_a_plane_follows_a_slope_that_a_constant_does_not():
    """Clause 55.85."""
    slow, _ = np.indices((250, 260))
    truth = 50.0 + 2.0 * slow
    photons = np.random.default_rng(3).poisson(spots_of() + truth).astype(float)
    spread = {}
    for kind in ("plane", "constant"):
        found = find_shoeboxes(still(), photons, background=kind)
        spread[kind] = (found.background - truth[found.slow, found.fast]).std()
    assert spread["plane"] < 0.6 * spread["constant"]


def test_a_spot_that_nobody_predicted_does_not_lift_the_background():
    """Clause 55.86."""
    experiment, photons = still(), photons_of()
    first = find_shoeboxes(experiment, photons)
    corner = first.limits[10, [0, 2]]
    photons[corner[0] : corner[0] + 2, corner[1] : corner[1] + 2] += 400
    second = find_shoeboxes(experiment, photons)
    there = first.box == 10
    assert abs((second.background - first.background)[there]).max() < 0.5 * first.background[there].mean()


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(1.0, 1000.0),
    st.floats(-0.02, 0.02),
    st.floats(-0.02, 0.02),
)
def test_an_exact_plane_comes_back(seed, level, tilt_slow, tilt_fast):
    """Clause 55.85: whatever pixels are missing, of boxes of any size."""
    random = np.random.default_rng(seed)
    slow, fast = np.indices((30, 40))
    image = level * (1.0 + tilt_slow * (slow - 15) + tilt_fast * (fast - 20))
    box = (fast >= random.integers(10, 30)).astype(int)
    order = np.argsort(box.ravel(), kind="stable")
    pixels = slow.ravel()[order], fast.ravel()[order]
    around = random.random(1200) < 0.5
    level_found, fitted = fit_backgrounds(image, pixels, box.ravel()[order], around, kind="plane", readout_sigma=0.0)
    np.testing.assert_allclose(level_found, image[pixels], rtol=EXACT)
    np.testing.assert_array_equal(fitted, around)


def test_backgrounds_in_a_single_row_have_no_slope_across_it():
    """Clause 55.85."""
    image = np.full((5, 40), 7.0)
    pixels = np.full(40, 2), np.arange(40)
    found, _ = fit_backgrounds(image, pixels, np.zeros(40, int), np.ones(40, bool), kind="plane", readout_sigma=0.0)
    np.testing.assert_allclose(found, 7.0, rtol=EXACT)


def test_a_given_background_and_none_are_taken_as_they_are():
    """Clause 55.85."""
    truth = sloping((250, 260))
    given_one = find_shoeboxes(still(), photons_of(), background=truth)
    np.testing.assert_array_equal(given_one.background, truth[given_one.slow, given_one.fast])
    assert not find_shoeboxes(still(), photons_of(), background=None).background.any()


def test_pixels_that_are_no_evidence_are_not_used_and_named():
    """Clause 55.80."""
    experiment, photons = still(), photons_of()
    found = find_shoeboxes(experiment, photons)
    assert found.used.all()
    places = found.slow[:500:100], found.fast[:500:100]
    photons[places] = (np.nan, np.inf, -3.0, 50000.0, photons[places][4])
    mask = np.ones(photons.shape, dtype=bool)
    mask[places[0][4], places[1][4]] = False
    second = find_shoeboxes(experiment, photons, mask=mask, overload=40000.0)
    unused = np.flatnonzero(~second.used)
    np.testing.assert_array_equal(unused, np.arange(0, 500, 100))
    assert "2 pixels are not a finite number: not used" in second.notes
    assert "1 pixel is negative beyond the readout noise: not used" in second.notes
    assert "1 pixel is at or above the overload of 40000: not used" in second.notes
    assert np.isfinite(second.background).all()


def test_readout_noise_makes_some_negative_counts_evidence():
    """Clause 55.80."""
    photons = photons_of() + np.random.default_rng(1).normal(0, 3, (250, 260)) - 4.0
    found = find_shoeboxes(still(), photons, readout_sigma=3.0)
    assert found.used.all()
    assert (photons[found.slow, found.fast] < 0).mean() > 0.1


def test_what_the_experiment_does_not_simulate_is_not_used():
    """Clause 55.80."""
    mask = np.ones((250, 260), dtype=bool)
    mask[:, :80] = False
    experiment = dataclasses.replace(still(), mask=mask, roi=Roi(0, 259, 0, 150))
    found = find_shoeboxes(experiment, photons_of())
    np.testing.assert_array_equal(found.used, (found.fast >= 80) & (found.slow <= 150))
    assert any("no usable pixel" in note for note in found.notes)


def test_boxes_with_too_little_background_are_left_out():
    """Clause 55.84."""
    experiment, photons = still(), photons_of()
    found = find_shoeboxes(experiment, photons)
    mask = np.ones(photons.shape, dtype=bool)
    there = found.box == 5
    distance = np.hypot(found.slow - found.reflections.slow[5], found.fast - found.reflections.fast[5])
    outside = there & (distance > found.reflections.radius[5] + 1)
    mask[found.slow[outside], found.fast[outside]] = False
    second = find_shoeboxes(experiment, photons, mask=mask)
    assert len(second) == len(found) - 1
    assert tuple(found.reflections.hkl[5]) not in map(tuple, second.reflections.hkl.tolist())
    assert f"1 box has fewer than {LEAST_BACKGROUND} pixels of background" in second.notes
    assert len(find_shoeboxes(experiment, photons, mask=mask, background=None)) == len(found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [0.05, 10.0])
def test_noise_without_spots_is_refused(seed, level):
    """Clause 55.88."""
    noise = np.random.default_rng(seed).poisson(sloping((250, 260), level)).astype(float)
    with pytest.raises(NumbraggError, match="no spots in the data: none of"):
        find_shoeboxes(still(), noise)


def test_one_faint_spot_is_enough():
    """Clause 55.88."""
    noise = np.random.default_rng(1).poisson(sloping((250, 260))).astype(float)
    spots = numbragg.predict_reflections(still())
    middle = np.argmin(np.hypot(spots.slow - 125, spots.fast - 160))
    noise[round(spots.slow[middle]), round(spots.fast[middle])] += 60
    assert len(find_shoeboxes(still(), noise)) > 40


def model_of(shoeboxes: Shoeboxes) -> np.ndarray:
    return spots_of()[shoeboxes.slow, shoeboxes.fast] + shoeboxes.background


def test_a_good_model_has_no_outliers():
    """Clause 55.89."""
    photons = photons_of()
    found = find_shoeboxes(still(), photons)
    model = model_of(found)
    kept = drop_outliers(found, photons, model, np.maximum(model, 0.1))
    np.testing.assert_array_equal(kept.used, found.used)
    assert kept.notes == found.notes


def test_a_hot_pixel_is_an_outlier():
    """Clause 55.89."""
    photons = photons_of()
    found = find_shoeboxes(still(), photons)
    model = model_of(found)
    values = photons[found.slow, found.fast]
    values[123] = model[123] + 1.5 * OUTLIER * np.sqrt(model[123])
    kept = drop_outliers(found, values, model, np.maximum(model, 0.1))
    np.testing.assert_array_equal(np.flatnonzero(found.used & ~kept.used), [123])
    assert kept.notes[-1] == "1 outlying pixel is not used"


def test_a_box_that_the_model_misses_is_an_outlier():
    """Clause 55.89: no pixel of it stands out among its own."""
    photons = photons_of()
    found = find_shoeboxes(still(), photons)
    model = model_of(found)
    wrong = found.box == 7
    values = photons[found.slow, found.fast] + np.where(wrong, 5.0 * np.sqrt(model), 0.0)
    kept = drop_outliers(found, values, model, np.maximum(model, 0.1))
    np.testing.assert_array_equal(found.used & ~kept.used, wrong)
    assert kept.notes[-1] == "1 box that the model does not explain is not used"


def wrong_calls() -> dict:
    photons, shape = photons_of(), (250, 260)
    lost = still(default_f=0.0)
    broad = still(n_cells=(1.0, 1.0, 1.0), shape="round", fudge=0.001)
    return {
        "another shape": (still(), (photons[1:],), {}, r"shape \(249, 260\), the detector \(250, 260\)"),
        "complex": (still(), (photons + 1j,), {}, "real numbers"),
        "mask of another shape": (still(), (photons,), {"mask": np.ones((3, 3), bool)}, "the mask has shape"),
        "all masked": (still(), (photons,), {"mask": np.zeros(shape, bool)}, "every pixel is masked"),
        "all NaN": (still(), (np.full(shape, np.nan),), {}, "no pixel can be used"),
        "no reflections": (lost, (photons,), {}, "no reflection is predicted"),
        "spots larger than the image": (broad, (photons,), {}, "reach beyond the edges"),
        "no box": (still(), (photons,), {"half_size": 1}, "no box is left"),
        "unknown background": (still(), (photons,), {"background": "flat"}, "must be plane, constant"),
        "negative background": (still(), (photons,), {"background": -photons - 1}, "negative or not finite"),
        "half size": (still(), (photons,), {"half_size": 2.5}, "half_size must be a whole number"),
        "readout": (still(), (photons,), {"readout_sigma": -1.0}, "readout_sigma"),
        "overload": (still(), (photons,), {"overload": 0.0}, "overload must be above zero"),
        "resolution": (still(), (photons,), {"d_min": -1.0}, "d_min must be above zero"),
    }


@pytest.mark.parametrize("name", wrong_calls())
def test_wrong_input_is_refused_with_a_reason(name):
    """Clauses 55.80 to 55.85."""
    experiment, arguments, options, message = wrong_calls()[name]
    with pytest.raises(NumbraggError, match=message) as caught:
        find_shoeboxes(experiment, *arguments, **options)
    assert "\n" not in str(caught.value)


def test_values_that_do_not_belong_to_the_boxes_are_refused():
    """Clause 55.89."""
    photons = photons_of()
    found = find_shoeboxes(still(), photons)
    with pytest.raises(NumbraggError, match="one number for each of"):
        drop_outliers(found, photons, np.ones(3), np.ones(3))
    with pytest.raises(NumbraggError, match="cutoff"):
        drop_outliers(found, photons, found.background, found.background, cutoff=0.0)
