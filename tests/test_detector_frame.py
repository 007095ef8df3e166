"""Where the detector is (specs/10-physics.md, clauses 10.10 to 10.16), against what the reference program printed."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbragg.compat.build import parse_flags
from numbragg.geometry.conventions import CONVENTIONS, beam_centre_to_corner, default_beam_centre
from numbragg.geometry.rotations import DEGREE, axis_rotation, unit, xyz_rotation
from numbragg.lowering.detector_frame import obliquity, place_detector
from numbragg.models.detector import Detector

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())

SIX_DIGITS = 6e-6  # relative; the reference prints %g
ROUNDING = 1e-13  # metres; a few units in the last place of a detector of up to a metre
COMPLEX_STEP = 1e-200
STEP = 1e-6  # of the central difference
DIFFERENCE_TOLERANCE = 1e-7  # relative; truncation and cancellation of a central difference with STEP

PIXEL = 0.2  # mm
SIDE = 96 * PIXEL
NAMES = ("adxv", "mosflm", "denzo", "xds", "dials")


def detector_of(name, x=None, y=None, **changes):
    """A square detector of 96 pixels in a convention; x and y are Xbeam and Ybeam, mm."""
    convention = CONVENTIONS[name]
    default = default_beam_centre(convention, SIDE, SIDE, PIXEL)
    x, y = default[0] if x is None else x, default[1] if y is None else y
    fast, slow = beam_centre_to_corner(convention, x, y, SIDE, PIXEL)
    detector = Detector(
        n_fast=96,
        n_slow=96,
        pixel_size=PIXEL,
        distance=60.0,
        pivot=convention.pivot,
        beam_fast=fast,
        beam_slow=slow,
        fast_axis=convention.fast,
        slow_axis=convention.slow,
        normal=convention.normal,
        twotheta_axis=convention.twotheta_axis,
    )
    return replace(detector, **changes), convention.beam


def printed(case):
    """What the reference says of a case: lengths in mm by name, DIALS origin in mm."""
    text = "\n".join(CASES[case]["stdout"]) + "\n" + CASES[case]["smv_header"]
    found = {}
    for name in ("Fbeam", "Sbeam", "Fclose", "Sclose", "distance"):
        found[name] = float(re.search(rf"\b{name}=(\S+)", text)[1]) * 1e3
    for name in ("CLOSE_DISTANCE", "XDS_ORGX", "XDS_ORGY"):
        found[name] = float(re.search(rf"\n{name}=([^;]+);", text)[1])
    found["origin"] = [float(word) for word in re.search(r"DIALS_ORIGIN=([^;\n]+)", text)[1].split(",")]
    return found


def assert_as_printed(frame, pixel, case):
    expected = printed(case)
    found = {
        "Fbeam": frame.beam_fast * 1e3,
        "Sbeam": frame.beam_slow * 1e3,
        "Fclose": frame.close_fast * 1e3,
        "Sclose": frame.close_slow * 1e3,
        "distance": frame.distance * 1e3,
        "CLOSE_DISTANCE": frame.close_distance * 1e3,
        "XDS_ORGX": frame.close_fast * 1e3 / pixel + 0.5,
        "XDS_ORGY": frame.close_slow * 1e3 / pixel + 0.5,
    }
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=SIX_DIGITS), name
    x, y, z = frame.origin * 1e3
    assert [z, y, -x] == pytest.approx(expected["origin"], rel=SIX_DIGITS)


@pytest.mark.parametrize("name", NAMES)
def test_each_convention_centres_its_detector_as_the_reference_does(name):
    """Clause 10.11."""
    detector, beam = detector_of(name)
    assert_as_printed(place_detector(detector, beam), PIXEL, f"conv_{name}")


@pytest.mark.parametrize("name", ["adxv", "mosflm", "denzo"])
def test_beam_centre_moves_the_detector_about_the_beam(name):
    """Clauses 10.11 and 10.15."""
    detector, beam = detector_of(name, 7.3, 11.9)
    assert_as_printed(place_detector(detector, beam), PIXEL, f"conv_{name}_offcentre")


@pytest.mark.parametrize(
    ("name", "twotheta", "case"),
    [
        ("mosflm", 0.0, "det_rot"),
        ("mosflm", 12.0, "det_rot_twotheta"),
        ("adxv", 9.0, "det_rot_adxv"),
        ("denzo", 9.0, "det_rot_denzo"),
        ("xds", 9.0, "det_rot_xds"),
        ("dials", 9.0, "det_rot_dials"),
    ],
)
def test_rotations_and_two_theta_turn_about_the_pivot_of_the_convention(name, twotheta, case):
    """Clauses 10.12 to 10.16."""
    detector, beam = detector_of(name, rot_x=5.0, rot_y=3.0, rot_z=2.0, twotheta=twotheta)
    assert_as_printed(place_detector(detector, beam), PIXEL, case)


@pytest.mark.parametrize(("name", "case"), [("mosflm", "det_close_distance"), ("xds", "det_close_distance_xds")])
def test_distance_follows_from_the_close_distance_and_the_obliquity(name, case):
    """Clause 10.12."""
    detector, beam = detector_of(name, rot_x=5.0, rot_y=3.0, rot_z=2.0)
    detector = replace(detector, distance=55.0 / obliquity(detector, beam))
    assert_as_printed(place_detector(detector, beam), PIXEL, case)


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_golden_case_has_its_detector_where_the_reference_put_it(case, monkeypatch, tmp_path):
    """Clauses 10.10 to 10.16 by way of the flags, mode c."""
    (tmp_path / "inputs").symlink_to(GOLDEN / "inputs")
    monkeypatch.chdir(tmp_path)
    experiment = parse_flags(shlex.split(CASES[case]["args"]), compat="c")
    frame = place_detector(
        experiment.detector,
        experiment.beam.direction,
        normalise_twotheta_axis=not experiment.quirks.q25_twotheta_axis_length,
    )
    assert_as_printed(frame, experiment.detector.pixel_size, case)


angles = st.floats(-60.0, 60.0)


@given(st.sampled_from(NAMES), angles, angles, angles, angles)
def test_pivot_sample_turns_the_flat_detector_about_the_sample(name, x, y, z, twotheta):
    """Clause 10.13: distances from the sample, and so the near point, stay."""
    detector, beam = detector_of(name, pivot="sample")
    flat = place_detector(detector, beam)
    detector = replace(detector, rot_x=x, rot_y=y, rot_z=z, twotheta=twotheta)
    detector = replace(detector, distance=60.0 / abs(obliquity(detector, beam)))
    turned = place_detector(detector, beam)
    swing = axis_rotation(unit(detector.twotheta_axis), twotheta * DEGREE) @ xyz_rotation(
        x * DEGREE, y * DEGREE, z * DEGREE
    )
    np.testing.assert_allclose(turned.origin, swing @ flat.origin, atol=ROUNDING)
    np.testing.assert_allclose(turned.close_fast, flat.close_fast, atol=ROUNDING)
    np.testing.assert_allclose(turned.close_slow, flat.close_slow, atol=ROUNDING)
    np.testing.assert_allclose(turned.close_distance, flat.close_distance, atol=ROUNDING)


@given(st.sampled_from(NAMES), angles, angles, angles, angles)
def test_pivot_beam_keeps_the_point_that_the_beam_hits(name, x, y, z, twotheta):
    """Clause 10.15."""
    detector, beam = detector_of(name, pivot="beam", rot_x=x, rot_y=y, rot_z=z, twotheta=twotheta)
    frame = place_detector(detector, beam)
    reached = frame.origin + detector.beam_fast * 1e-3 * frame.fast + detector.beam_slow * 1e-3 * frame.slow
    # A normal turned away from the sample puts the detector upstream.
    np.testing.assert_allclose(np.abs(reached @ beam), 0.06, atol=ROUNDING)
    np.testing.assert_allclose(np.cross(reached, beam), 0.0, atol=ROUNDING)


@given(st.sampled_from(NAMES), st.sampled_from(["beam", "sample"]), angles, angles, angles)
def test_beam_hits_where_the_frame_says_without_two_theta(name, pivot, x, y, z):
    """Clause 10.16."""
    detector, beam = detector_of(name, pivot=pivot, rot_x=x, rot_y=y, rot_z=z)
    frame = place_detector(detector, beam)
    reached = frame.origin + frame.beam_fast * frame.fast + frame.beam_slow * frame.slow
    np.testing.assert_allclose(reached, frame.distance * beam, atol=ROUNDING * 10)
    near = frame.origin + frame.close_fast * frame.fast + frame.close_slow * frame.slow
    np.testing.assert_allclose(near, frame.close_distance * frame.normal, atol=ROUNDING)


def test_given_origin_is_used_as_it_is():
    """Clause 10.16 (Q07)."""
    origin = np.array([0.1, 0.002, -0.003])
    detector, beam = detector_of("mosflm", origin=origin, rot_x=4.0)
    frame = place_detector(detector, beam)
    np.testing.assert_array_equal(frame.origin, origin)
    assert frame.close_distance == pytest.approx(origin @ frame.normal, rel=ROUNDING)


def test_length_of_the_two_theta_axis_matters_only_on_request():
    """Clause 10.14; register entry Q25."""
    short, beam = detector_of("mosflm", twotheta=10.0)
    long = replace(short, twotheta_axis=2.0 * short.twotheta_axis)
    expected = place_detector(short, beam)
    np.testing.assert_allclose(place_detector(long, beam).fast, expected.fast, atol=ROUNDING)
    scaled = place_detector(long, beam, normalise_twotheta_axis=False)
    along_the_axis = np.cos(10.0 * DEGREE) + 4.0 * (1.0 - np.cos(10.0 * DEGREE))
    assert np.linalg.norm(scaled.fast) == pytest.approx(along_the_axis, rel=ROUNDING)


@pytest.mark.parametrize("name", ["distance", "beam_fast", "beam_slow", "rot_x", "rot_y", "rot_z", "twotheta"])
@pytest.mark.parametrize("pivot", ["beam", "sample"])
def test_complex_step_through_the_detector_agrees_with_the_central_difference(name, pivot):
    """Clause 10.8."""
    detector, beam = detector_of("mosflm", pivot=pivot, rot_x=5.0, rot_y=-3.0, rot_z=2.0, twotheta=9.0)
    value = getattr(detector, name)

    def numbers(at):
        frame = place_detector(replace(detector, **{name: at}), beam)
        return np.concatenate([np.ravel(field) for field in frame])

    exact = numbers(value + 1j * COMPLEX_STEP).imag / COMPLEX_STEP
    numeric = (numbers(value + STEP) - numbers(value - STEP)) / (2.0 * STEP)
    assert np.any(exact)
    np.testing.assert_allclose(exact, numeric, rtol=0, atol=DIFFERENCE_TOLERANCE * np.abs(exact).max())
