"""Predicted reflections against simulated images and against the geometry that they follow from."""

import dataclasses

import gemmi
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import numbragg
from numbragg import Beam, Crystal, Detector, Experiment, NumbraggError, Sampling, Scan, StructureFactors
from numbragg.geometry.conventions import CONVENTIONS
from numbragg.geometry.rotations import DEGREE, axis_rotation, unit, xyz_rotation
from numbragg.lowering.detector_frame import frame_of
from numbragg.lowering.orientations import crystal_axes
from numbragg.lowering.rays import detector_points
from numbragg.prediction import Predictions

SPOTS = 60
"""Spots of an image that are compared, those nearest to the Ewald sphere first."""

OF_A_SPOT, WORST = 0.2, 0.45
"""Pixels, of the root mean square and of the worst spot: the centre of mass of a spot of a few pixels is cut off by its
window, and a lattice point that is not on the sphere is no ellipsoid near the fringes of its lattice factor."""

ROUGH = (1 / 3, 3.0)
"""Ratio of the expected to the simulated peak."""

EDGE = 6
"""Pixels; a spot whose centre lies beyond the edge shows no farther from it."""

ROUNDING = 1e-6
"""Pixels."""


def scene(seed: int, convention: str, shape: str, **changes) -> Experiment:
    """A random crystal before a random detector; fields of the four objects can be replaced."""
    random, axes = np.random.default_rng(seed), CONVENTIONS[convention]
    crystal = {
        "cell": (*random.uniform(45, 85, 3), *random.uniform(80, 100, 3)),
        "misset": tuple(random.uniform(-180, 180, 3)),
        "n_cells": tuple(random.uniform(9, 14, 3)) if shape in ("square", "round") else tuple(random.uniform(8, 10, 3)),
        "shape": shape,
        "default_f": 100.0,
    }
    beam = {
        "wavelength": random.uniform(0.8, 1.5),
        "direction": axes.beam,
        "polarization_axis": axes.polarization,
    }
    detector = {
        "n_fast": 420,
        "n_slow": 380,
        "pixel_size": random.uniform(0.1, 0.17),
        "distance": random.uniform(80, 130),
        "beam_fast": random.uniform(15, 35),
        "beam_slow": random.uniform(15, 35),
        "pivot": axes.pivot,
        "fast_axis": axes.fast,
        "slow_axis": axes.slow,
        "normal": axes.normal,
        "twotheta_axis": axes.twotheta_axis,
        **dict(zip(("rot_x", "rot_y", "rot_z", "twotheta"), random.uniform(-12, 12, 4), strict=True)),
    }
    scan = {"start": random.uniform(0, 90), "spindle_axis": axes.spindle}
    return Experiment(
        crystal=Crystal(**crystal | changes.get("crystal", {})),
        beam=Beam(**beam | changes.get("beam", {})),
        detector=Detector(**detector | changes.get("detector", {})),
        scan=Scan(**scan | changes.get("scan", {})),
        oversample=2,
    )


MOSAIC = {"mosaic_spread": 0.3, "mosaic_domains": 12}
ROTATION = {"sampling": Sampling(range=0.6, count=24)}
POLYCHROMATIC = {
    "dispersion": Sampling(range=0.4, count=3),
    "divergence_horizontal": Sampling(range=1.0, count=3),
    "divergence_vertical": Sampling(range=0.6, count=2),
}
SENSOR = {"thickness": 600.0, "attenuation_depth": 300.0, "layers": 5}

SCENES = {
    "adxv, a still": scene(1, "adxv", "gauss"),
    "mosflm, mosaic": scene(2, "mosflm", "round", crystal=MOSAIC),
    "denzo, a rotation": scene(3, "denzo", "square", scan=ROTATION),
    "xds, a mosaic rotation": scene(4, "xds", "tophat", crystal=MOSAIC, scan=ROTATION),
    "dials, a thick sensor": scene(5, "dials", "round", detector=SENSOR),
    "custom, many sources": scene(6, "custom", "gauss", beam=POLYCHROMATIC),
    "mosflm, all at once": scene(
        7,
        "mosflm",
        "gauss",
        crystal={"mosaic_spread": 0.3, "mosaic_domains": 6},
        beam={"dispersion": Sampling(range=0.4, count=3), "divergence_horizontal": Sampling(range=1.0, count=2)},
        scan={"sampling": Sampling(range=0.4, count=8)},
    ),
    "mosflm, curved": scene(8, "mosflm", "round", detector={"curved": True}),
    "xds, turned backwards": scene(9, "xds", "round", scan={"sampling": Sampling(range=-0.6, count=24)}),
}


def displacements(experiment: Experiment, image: np.ndarray, spots: Predictions) -> np.ndarray:
    """Centre of mass less prediction, pixels, (n, 2), of spots that stand alone."""
    found = []
    for spot in np.argsort(-spots.fraction)[:SPOTS]:
        reach = int(np.ceil(spots.radius[spot] + 1))
        slow, fast = round(spots.slow[spot]), round(spots.fast[spot])
        others = np.hypot(spots.slow - spots.slow[spot], spots.fast - spots.fast[spot])
        others[spot] = np.inf
        window = image[max(slow - reach, 0) : slow + reach + 1, max(fast - reach, 0) : fast + reach + 1]
        if others.min() < 2 * reach + 2 or window.shape != (2 * reach + 1,) * 2:
            continue
        offset = np.arange(-reach, reach + 1)
        centre = np.array([window.sum(axis=1) @ offset, window.sum(axis=0) @ offset]) / window.sum()
        found.append(centre + np.array([slow - spots.slow[spot], fast - spots.fast[spot]]))
    return np.array(found)


@pytest.mark.parametrize("name", SCENES)
def test_spots_are_simulated_where_they_are_predicted(name):
    """Clauses 55.71 to 55.74."""
    experiment = SCENES[name]
    spots = numbragg.predict_reflections(experiment)
    off = displacements(experiment, numbragg.simulate(experiment), spots)
    assert len(off) >= 20
    assert np.sqrt((off**2).mean(axis=0)).max() < OF_A_SPOT
    assert np.abs(off).max() < WORST


@pytest.mark.parametrize("name", ["adxv, a still", "custom, many sources", "mosflm, all at once"])
def test_no_bright_pixel_is_without_a_prediction(name):
    """Clause 55.71: GAUSS reaches down to 1 % of the peak. Neither the direct beam nor spots beyond the edge count."""
    experiment = SCENES[name]
    spots = numbragg.predict_reflections(experiment, rotation="steps")
    image = numbragg.simulate(experiment)
    bright = np.argwhere(image[EDGE:-EDGE, EDGE:-EDGE] > 0.1 * np.percentile(image, 99.95)) + EDGE
    beam = np.array(detector_points(experiment, experiment.beam.direction))
    bright = bright[np.hypot(*(bright - beam).T) > 15]
    distance = np.hypot(*(bright.T[:, :, None] - np.stack([spots.slow, spots.fast])[:, None]))
    assert (distance <= 1.5 * spots.radius + 1).any(axis=1).all()
    assert len(bright) > 200


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.sampled_from(["mosflm, mosaic", "xds, a mosaic rotation", "custom, many sources", "dials, a thick sensor"]),
)
def test_positions_stay_when_everything_turns_together(angles, name):
    """Clause 55.73: only directions relative to each other count. Mosaic rotations are fixed in the laboratory."""
    experiment, turn = SCENES[name], xyz_rotation(*np.multiply(angles, DEGREE))
    frame = frame_of(experiment)
    crystal = dataclasses.replace(
        experiment.crystal,
        mosaic_spread=0.0,
        misset=(0, 0, 0),
        orientation=turn @ xyz_rotation(*np.multiply(experiment.crystal.misset, DEGREE)),
    )
    still = dataclasses.replace(experiment, crystal=dataclasses.replace(experiment.crystal, mosaic_spread=0.0))
    detector, beam = experiment.detector, experiment.beam
    turned = Experiment(
        crystal=crystal,
        beam=dataclasses.replace(
            beam, direction=turn @ beam.direction, polarization_axis=turn @ beam.polarization_axis
        ),
        detector=Detector(
            n_fast=detector.n_fast,
            n_slow=detector.n_slow,
            pixel_size=detector.pixel_size,
            fast_axis=turn @ frame.fast,
            slow_axis=turn @ frame.slow,
            normal=turn @ frame.normal,
            origin=turn @ frame.origin,
            thickness=detector.thickness,
            attenuation_depth=detector.attenuation_depth,
            layers=detector.layers,
        ),
        scan=dataclasses.replace(experiment.scan, spindle_axis=turn @ experiment.scan.spindle_axis),
    )
    first, second = numbragg.predict_reflections(still), numbragg.predict_reflections(turned)
    assert len(first.hkl) > 10
    # A spot on an edge, of the image or of what still counts, may come and go with the last digit.
    rows = {tuple(hkl): row for row, hkl in enumerate(second.hkl.tolist())}
    shared = [(row, rows[tuple(hkl)]) for row, hkl in enumerate(first.hkl.tolist()) if tuple(hkl) in rows]
    assert len(shared) >= len(first.hkl) - 1
    here, there = np.transpose(shared)
    for name in ("slow", "fast", "phi", "radius"):
        np.testing.assert_allclose(getattr(first, name)[here], getattr(second, name)[there], atol=ROUNDING)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([*SCENES]), st.integers(0, 379), st.integers(0, 419))
def test_the_ray_through_a_pixel_meets_it(name, slow, fast):
    """Clause 55.73, the inverse of 10.17 as the kernel has it."""
    experiment = dataclasses.replace(
        SCENES[name],
        oversample=1,
        detector=dataclasses.replace(SCENES[name].detector, layers=1),
        crystal=dataclasses.replace(SCENES[name].crystal, mosaic_spread=0.0),
        scan=Scan(),
    )
    traced = numbragg.trace(experiment, slow, fast)
    found = detector_points(experiment, np.array(traced["pixel_pos_meters"]))
    np.testing.assert_allclose(found, (slow, fast), atol=ROUNDING)


def test_rays_away_from_the_detector_meet_nothing():
    """Clause 55.73."""
    experiment = scene(1, "mosflm", "gauss")
    assert np.isnan(detector_points(experiment, -experiment.beam.direction)).all()
    assert np.isfinite(detector_points(experiment, experiment.beam.direction)).all()


def test_resolution_is_that_of_the_cell():
    """Clause 55.70."""
    experiment = SCENES["denzo, a rotation"]
    spots = numbragg.predict_reflections(experiment)
    cell = gemmi.UnitCell(*experiment.crystal.cell)
    np.testing.assert_allclose(spots.resolution, [cell.calculate_d(hkl) for hkl in spots.hkl.tolist()], rtol=1e-12)


@pytest.mark.parametrize("name", SCENES)
def test_peaks_are_about_as_high_as_expected(name):
    """Clause 55.75."""
    experiment = SCENES[name]
    spots = numbragg.predict_reflections(experiment, rotation="steps")
    image = numbragg.simulate(experiment)
    ratios = []
    for spot in np.argsort(-spots.fraction)[:SPOTS]:
        slow, fast = round(spots.slow[spot]), round(spots.fast[spot])
        window = image[max(slow - 2, 0) : slow + 3, max(fast - 2, 0) : fast + 3]
        ratios.append(spots.peak[spot] / window.max())
    assert ROUGH[0] < np.median(ratios) < ROUGH[1]


def test_a_selection_keeps_the_rows_of_all_columns():
    """Clause 55.70."""
    spots = numbragg.predict_reflections(SCENES["adxv, a still"])
    kept = spots.only(spots.resolution > 3.0)
    assert 0 < len(kept.hkl) < len(spots.hkl)
    for whole, part in zip(spots, kept, strict=True):
        np.testing.assert_array_equal(part, whole[spots.resolution > 3.0])


def test_fringes_of_round_crystals_are_followed_far_off_the_sphere():
    """Clause 55.71: the envelope 9/(pi u)^4 takes over from the Gaussian at the first zero."""
    experiment = SCENES["mosflm, mosaic"]
    still = dataclasses.replace(experiment, crystal=dataclasses.replace(experiment.crystal, mosaic_spread=0.0))
    near, far = (numbragg.predict_reflections(still, reach=reach) for reach in (1.0, 6.0))
    assert near.fraction.min() > 0.01
    assert (far.fraction > 1e-5).all()
    assert far.fraction.min() < 1e-3
    assert far.radius.max() < 2 * near.radius.max()


def test_fine_steps_are_thinned_but_give_the_same_spots():
    """Clause 55.72."""
    coarse, fine = (
        scene(4, "mosflm", "round", scan={"start": 3.0, "sampling": Sampling(range=1.0, count=count)})
        for count in (100, 1000)
    )
    few, many = (numbragg.predict_reflections(experiment, rotation="steps") for experiment in (coarse, fine))
    both = {tuple(hkl) for hkl in few.hkl.tolist()} & {tuple(hkl) for hkl in many.hkl.tolist()}
    assert len(both) > 0.98 * max(len(few.hkl), len(many.hkl))


def test_rows_are_sorted_and_lie_on_the_detector():
    """Clause 55.70."""
    spots = numbragg.predict_reflections(SCENES["xds, a mosaic rotation"])
    keys = [tuple(hkl) for hkl in spots.hkl.tolist()]
    assert keys == sorted(keys)
    assert ((spots.slow >= -0.5) & (spots.slow <= 379.5) & (spots.fast >= -0.5) & (spots.fast <= 419.5)).all()
    assert ((spots.fraction > 0) & (spots.fraction <= 1)).all()


def test_a_reflection_is_on_the_sphere_at_its_phi_or_at_an_end():
    """Clause 55.72."""
    experiment = scene(3, "mosflm", "round", scan={"start": 10.0, "sampling": Sampling(range=2.0, count=20)})
    spots = numbragg.predict_reflections(experiment)
    first, last = 10.0, 10.0 + 19 * 0.1
    assert ((spots.phi >= first - 1e-9) & (spots.phi <= last + 1e-9)).all()
    within = (spots.phi > first + 1e-9) & (spots.phi < last - 1e-9)
    on_sphere = np.abs(spots.excitation) < 1e-12
    assert on_sphere[within].all()
    assert not on_sphere[~within].any()
    assert within.sum() > 50
    assert (~within).sum() > 10


def test_a_full_turn_shows_reflections_twice():
    """Clause 55.72: where they enter the sphere and where they leave it."""
    whole = {"start": 0.0, "sampling": Sampling(range=360.0, count=3600)}
    experiment = scene(3, "mosflm", "round", scan=whole, detector={"n_fast": 1000, "n_slow": 1000, "beam_fast": 60.0})
    spots = numbragg.predict_reflections(experiment, d_min=6.0)
    indices, counts = np.unique(spots.hkl, axis=0, return_counts=True)
    assert counts.max() == 2
    assert (counts == 2).mean() > 0.5
    assert len(indices) > 300


def test_steps_are_the_stills_of_the_steps():
    """Clause 55.72."""
    steps = {"start": 5.0, "sampling": Sampling(range=3.0, count=3)}
    large = {"n_cells": (60.0, 60.0, 60.0)}
    experiment = scene(11, "mosflm", "round", scan=steps, crystal=large)
    at_steps = numbragg.predict_reflections(experiment, rotation="steps")
    stills = [
        numbragg.predict_reflections(scene(11, "mosflm", "round", scan={"start": start}, crystal=large))
        for start in (5.0, 6.0, 7.0)
    ]
    expected = {tuple(hkl) for still in stills for hkl in still.hkl.tolist()}
    assert {tuple(hkl) for hkl in at_steps.hkl.tolist()} == expected
    between = {tuple(hkl) for hkl in numbragg.predict_reflections(experiment).hkl.tolist()} - expected
    assert len(between) > len(expected) / 2


def test_more_reach_adds_reflections_off_the_sphere():
    """Clause 55.71."""
    experiment = SCENES["adxv, a still"]
    near, far = (numbragg.predict_reflections(experiment, reach=reach) for reach in (1.0, 2.0))
    assert {tuple(hkl) for hkl in near.hkl.tolist()} < {tuple(hkl) for hkl in far.hkl.tolist()}
    assert np.abs(far.excitation).max() > np.abs(near.excitation).max()


def test_only_reflections_with_an_amplitude_are_predicted():
    """Clause 55.70."""
    experiment = SCENES["mosflm, mosaic"]
    everything = numbragg.predict_reflections(experiment)
    values = np.zeros((9, 9, 9))
    values[::2] = 7.0
    table = StructureFactors((-4, -4, -4), values)

    def with_table(default: float) -> Predictions:
        crystal = dataclasses.replace(experiment.crystal, structure_factors=table, default_f=default)
        return numbragg.predict_reflections(dataclasses.replace(experiment, crystal=crystal))

    inside = (np.abs(everything.hkl) <= 4).all(axis=1)
    even = everything.hkl[:, 0] % 2 == 0
    np.testing.assert_array_equal(with_table(0.0).hkl, everything.hkl[inside & even])
    np.testing.assert_array_equal(with_table(0.0).amplitude, 7.0)
    np.testing.assert_array_equal(with_table(3.0).hkl, everything.hkl[~inside | even])
    assert 5 < (inside & even).sum() < inside.sum()


def test_the_larger_resolution_limit_holds():
    """Clause 55.70."""
    experiment = SCENES["mosflm, mosaic"]
    everything = numbragg.predict_reflections(experiment)
    limited = dataclasses.replace(experiment, d_min=4.0)
    for wanted, limit in ((None, 4.0), (3.0, 4.0), (5.0, 5.0)):
        spots = numbragg.predict_reflections(limited, d_min=wanted)
        np.testing.assert_array_equal(spots.hkl, everything.hkl[everything.resolution >= limit])


def test_nothing_is_predicted_where_nothing_scatters():
    """Clause 55.70."""
    experiment = SCENES["adxv, a still"]
    dark = dataclasses.replace(experiment, crystal=dataclasses.replace(experiment.crystal, default_f=0.0))
    for spots in (numbragg.predict_reflections(dark), numbragg.predict_reflections(experiment, d_min=500.0)):
        assert spots.hkl.shape == (0, 3)
        assert all(len(column) == 0 for column in spots)


@pytest.mark.parametrize("rotation", ["continuous", "steps"])
def test_the_result_does_not_depend_on_how_much_is_held_in_memory(monkeypatch, rotation):
    """Clause 55.76."""
    experiment = SCENES["mosflm, all at once"]
    whole = numbragg.predict_reflections(experiment, rotation=rotation)
    monkeypatch.setattr("numbragg.prediction.AT_A_TIME", 7000)
    pieces = numbragg.predict_reflections(experiment, rotation=rotation)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.5, 3.0))
def test_a_predicted_still_obeys_the_laue_conditions(seed, angle):
    """Clause 55.71: d = i + lambda (x + shift) with a shift no longer than the lattice point is wide."""
    experiment = scene(seed, "mosflm", "round", crystal={"n_cells": (12.0, 12.0, 12.0)})
    spots = numbragg.predict_reflections(experiment)
    assume(len(spots.hkl) > 0)
    frame, crystal = frame_of(experiment), experiment.crystal
    pixel = experiment.detector.pixel_size * 1e-3
    points = (
        frame.origin
        + np.multiply.outer((spots.fast + 0.5) * pixel, frame.fast)
        + np.multiply.outer((spots.slow + 0.5) * pixel, frame.slow)
    )
    scattering = (unit(points) - experiment.beam.direction) / experiment.beam.wavelength
    turn = axis_rotation(experiment.scan.spindle_axis, experiment.scan.start * DEGREE)
    axes = crystal_axes(crystal) @ turn.T
    offset = scattering @ axes.T - spots.hkl
    # The first zero of ROUND lies at 1.43/N.
    assert np.linalg.norm(offset * 12.0, axis=1).max() < 1.44


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_min": 0.0}, "d_min must be above zero"),
        ({"d_min": float("nan")}, "d_min must be above zero"),
        ({"reach": -1.0}, "reach must be above zero"),
        ({"rotation": "backwards"}, "continuous or steps, not backwards"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    """Clause 55.76."""
    with pytest.raises(NumbraggError, match=message):
        numbragg.predict_reflections(SCENES["adxv, a still"], **changes)


def test_complex_parameters_and_endless_lists_are_refused():
    """Clause 55.76."""
    experiment = SCENES["adxv, a still"]
    with pytest.raises(NumbraggError, match="real number"):
        numbragg.predict_reflections(experiment.replace({"cell.a": 50 + 1e-20j}))
    huge = experiment.replace({"cell.a": 30000.0, "cell.b": 30000.0, "cell.c": 30000.0})
    with pytest.raises(NumbraggError, match="give a larger d_min"):
        numbragg.predict_reflections(huge)


def test_a_curved_detector_that_cannot_be_unbent_is_refused():
    """Clause 55.73."""
    with pytest.raises(NumbraggError, match="curved detector"):
        numbragg.predict_reflections(
            scene(
                1, "xds", "gauss", detector={"curved": True, "rot_y": 0.0, "rot_z": 0.0, "rot_x": 0.0, "twotheta": 0.0}
            )
        )
