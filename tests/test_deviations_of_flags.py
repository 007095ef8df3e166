"""What the deviations from Q13 on do to flags, headers and images, in both modes (specs/40-compat.md)."""

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import image_of, job_of, job_with, run
from deviation_scenes import (
    BASE,
    CUBIC,
    ROUNDING,
    SMALL,
    SUMMATION,
    command,
    frame_of,
    notes,
    oblique_path,
)

from numbragg.compat.flags import match_flags
from numbragg.compat.image_header import read_headers
from numbragg.compat.settings import Settings
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.geometry.cell import cell_constants, direct_vectors, volume
from numbragg.geometry.mosaic import mosaic_draws
from numbragg.geometry.rotations import DEGREE, xyz_rotation
from numbragg.io.smv import read_smv, read_smv_header
from numbragg.lowering.orientations import crystal_axes, domain_rotations, reciprocal_axes
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.statistics import image_statistics

pytestmark = pytest.mark.usefixtures("in_a_folder_with_inputs")


# Q13, Q20


def misset_matrices(compat: str, seeds: range) -> np.ndarray:
    angles = [job_of(f"{BASE} -misset_seed {seed} -misset random", compat).drawn_misset for seed in seeds]
    return np.array([xyz_rotation(*(angle * DEGREE for angle in each)) for each in angles])


def test_q13_random_orientations_are_uniform_in_spec_and_not_in_c():
    """The angle of a uniform rotation has mean pi/2 + 2/pi; that of a radian-mistaken draw is uniform-like mod 2 pi."""
    seeds = range(1, 301)
    mean_of_uniform, five_sigma = math.pi / 2 + 2 / math.pi, 5 * 0.65 / math.sqrt(len(seeds))

    def mean_angle(compat: str) -> float:
        traces = np.trace(misset_matrices(compat, seeds), axis1=1, axis2=2)
        return float(np.mean(np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0))))

    assert abs(mean_angle("spec") - mean_of_uniform) < five_sigma
    assert abs(mean_angle("c") - mean_of_uniform) > five_sigma


def test_q13_spec_turns_each_axis_anywhere():
    """Images of z under uniform rotations are uniform on the sphere: zero mean, variance 1/3 along each axis."""
    turned = misset_matrices("spec", range(1, 401))[:, :, 2]
    assert np.all(np.abs(turned.mean(axis=0)) < 5 / math.sqrt(3 * 400))
    np.testing.assert_allclose(turned.var(axis=0), 1 / 3, atol=5 * 0.3 / math.sqrt(400))


def test_q20_seed_is_an_orientation_in_c_when_three_words_follow():
    behind = f"{CUBIC} -misset random -misset_seed 12345 {SMALL}"
    assert job_of(behind, "c").experiment.crystal.misset == (12345.0, 0.0, 24.0)
    assert job_of(behind, "c").drawn_misset is None
    at_the_end = f"{CUBIC} {SMALL} -misset random -misset_seed 12345"
    assert job_of(at_the_end, "c").drawn_misset is not None
    for line in (behind, at_the_end):
        job = job_of(line)
        assert job.drawn_misset == job.experiment.crystal.misset == job_of(at_the_end).drawn_misset


def test_q20_seed_alone_turns_nothing_in_spec():
    line = f"{CUBIC} -misset_seed 12345 {SMALL}"
    assert job_of(line).experiment.crystal.misset == (0.0, 0.0, 0.0)
    assert job_of(line, "c").experiment.crystal.misset == (12345.0, 0.0, 24.0)


# Q14


@pytest.mark.parametrize("roi", ["", "-roi 10 60 5 70"])
def test_q14_masked_pixels_count_in_the_rmsd_of_c_only(roi):
    line = f"{CUBIC} -mask inputs/mask.img {roi}"
    mask = read_smv("inputs/mask.img")[1] != 0
    region = np.s_[5:71, 10:61] if roi else np.s_[:, :]
    for compat in ("spec", "c"):
        job = job_of(line, compat)
        image = image_of(job)
        active, inside = image[region][mask[region]], image[region].ravel()
        counted = inside if compat == "c" else active
        rmsd = np.sqrt(((counted - active.mean()) ** 2).sum() / (counted.size - 1))
        statistics = image_statistics(job.experiment, image)
        assert math.isclose(statistics.rmsd, rmsd, rel_tol=SUMMATION)
        assert math.isclose(statistics.mean, active.mean(), rel_tol=SUMMATION)
        assert math.isclose(statistics.rms, np.sqrt((active**2).sum() / (active.size - 1)), rel_tol=SUMMATION)


# Q15


@pytest.mark.parametrize("compat", ["spec", "c"])
def test_q15_long_headers_are_well_formed_in_both_modes(compat):
    """Clause 30.22."""
    assert run(f"simulate --compat {compat}", command("Q15"), "-nonoise -nopgm -intfile i.img").status == 0
    raw = Path("i.img").read_bytes()
    end = raw.index(b"}\f")
    size = int(read_smv_header("i.img")["HEADER_BYTES"])
    assert size == (512 if end + 2 <= 512 else 1024)
    assert compat == "spec" or size == 1024
    assert len(raw) == size + 2 * 96 * 97
    assert all(line.endswith(b";") for line in raw[2:end].splitlines())


# Q16, Q17


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ("-hdivsteps 5", "-hdivrange"),
        ("-vdivsteps 5", "-vdivrange"),
        ("-divsteps 5", "range"),
        ("-dispsteps 5", "-dispersion"),
        ("-thicksteps 5", "-detector_thick"),
    ],
)
def test_q16_count_without_a_range_is_an_error_that_says_what_is_missing(flags, missing):
    with pytest.raises(NumbraggError, match=missing):
        job_of(f"{BASE} {flags}")
    job_of(f"{BASE} {flags}", "c")


def test_q16_count_alone_is_one_radian_in_c_and_no_dispersion():
    beam = job_of(f"{BASE} -hdivsteps 5 -dispsteps 4", "c").experiment.beam
    assert (beam.divergence_horizontal.range, beam.divergence_horizontal.count) == (1000.0, 5)
    assert beam.divergence_vertical.count == 1
    assert beam.dispersion.count == 1
    detector = job_of(f"{BASE} -detector_abs 300 -thicksteps 5", "c").experiment.detector
    assert (detector.thickness, detector.layers) == (0.5, 5)
    one = replace(NO_QUIRKS, q16_count_without_range=True)
    np.testing.assert_array_equal(
        image_of(job_with(f"{BASE} -hdivsteps 5", one)), image_of(job_of(f"{BASE} -hdivsteps 5", "c"))
    )


@pytest.mark.parametrize("compat", ["spec", "c"])
def test_q17_phi_steps_alone_turn_by_one_degree_in_both_modes(compat):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan = job_of(f"{BASE} -phisteps 4", compat).experiment.scan.sampling
    assert (scan.range, scan.count, scan.spacing) == (1.0, 4, 0.25)
    assert any("Q17" in str(each.message) for each in caught) == (compat == "spec")


# Q18, Q19


def test_q18_misspelt_flag_is_an_error_in_spec_and_ignored_with_a_warning_in_c():
    with pytest.raises(NumbraggError, match=r"-detpixel \(did you mean -detpixels\?\)"):
        job_of(f"{BASE} -detpixel 96")
    with pytest.warns(NumbraggWarning, match="-detpixel"):
        assert job_of(f"{BASE} -detpixel 96", "c").experiment.detector.n_fast == 24


@pytest.mark.parametrize(
    ("cell", "completed"),
    [
        ("50", (50, 50, 50, 90, 90, 90)),
        ("50 60 70", (50, 60, 70, 90, 90, 90)),
        ("50 60 70 80 -1", (50, 60, 70, 80, 90, 90)),
        ("50 0 70 80", (50, 50, 70, 80, 90, 90)),
    ],
)
def test_q18_short_cell_is_completed_in_c_and_an_error_in_spec(cell, completed):
    line = f"-cell {cell} -default_F 1 {SMALL}"
    only = replace(NO_QUIRKS, q18_short_cell=True)
    np.testing.assert_allclose(job_with(line, only, "c").experiment.crystal.cell, completed, rtol=ROUNDING)
    with pytest.raises(NumbraggError, match="-cell takes 6 numbers"):
        job_of(line)


def test_q19_axis_sets_two_theta_in_c_only():
    line = f"{BASE} -twotheta 15 -twotheta_axis 0.3 0.1 -0.9"
    assert job_of(line).experiment.detector.twotheta == 15.0
    assert job_of(line, "c").experiment.detector.twotheta == 0.3
    axis_first = f"{BASE} -twotheta_axis 0.3 0.1 -0.9 -twotheta 15"
    assert {job_of(axis_first, compat).experiment.detector.twotheta for compat in ("spec", "c")} == {15.0}


# Q21, Q26


TRICLINIC = (70.0, 80.0, 90.0, 75.0, 85.0, 95.0)
IN_C = (75.0391, 85.0136, 95.0081)  # printed by the reference


def test_q21_triclinic_cell_is_the_one_asked_for_in_spec_only():
    line = f"-cell 70 80 90 75 85 95 -misset 10 -7 23 -default_F 100 -N 5 {SMALL}"
    spec, reference = (
        cell_constants(crystal_axes(job_of(line, compat).experiment.crystal)) for compat in ("spec", "c")
    )
    np.testing.assert_allclose(spec, TRICLINIC, rtol=ROUNDING)
    np.testing.assert_allclose(reference[:3], TRICLINIC[:3], rtol=ROUNDING)
    np.testing.assert_allclose(reference[3:], IN_C, atol=5e-5)


@pytest.mark.parametrize("cell", ["100 100 100 90 90 90", "50 60 70 90 90 90", "50 60 70 90 104 90"])
def test_q21_leaves_cells_with_one_oblique_angle_alone(cell):
    line = f"-cell {cell} -default_F 100 -N 5 {SMALL}"
    spec, reference = (crystal_axes(job_of(line, compat).experiment.crystal) for compat in ("spec", "c"))
    np.testing.assert_allclose(reference, spec, rtol=ROUNDING, atol=1e-12)
    assert "Q21" not in notes(line)


@pytest.mark.parametrize("cell", ["-cell 70 80 90 75 85 95", "-mat inputs/A.mat -cell 90 95 105 88 92 91"])
def test_q26_reciprocal_vectors_are_reciprocal_in_spec_only(cell):
    line = f"{cell} -default_F 100 -N 5 -gauss_xtal -oversample 1 {SMALL}"
    spec, reference = (job_of(line, compat).experiment.crystal for compat in ("spec", "c"))
    np.testing.assert_allclose(crystal_axes(spec) @ reciprocal_axes(spec).T, np.eye(3), atol=ROUNDING)
    given = float(volume([float(word) for word in cell.split("-cell ")[1].split()]))
    enclosed = abs(np.linalg.det(crystal_axes(reference)))
    assert not math.isclose(given, enclosed, rel_tol=1e-6)
    scaled = crystal_axes(reference) @ reciprocal_axes(reference).T
    np.testing.assert_allclose(scaled, np.eye(3) * enclosed / given, atol=ROUNDING)


def test_q26_square_crystals_do_not_see_it():
    line = f"-mat inputs/A.mat -cell 90 95 105 88 92 91 -default_F 100 -N 5 -oversample 1 {SMALL}"
    only = replace(NO_QUIRKS, q26_volume_of_given_cell=True)
    np.testing.assert_array_equal(image_of(job_with(line, only)), image_of(job_with(line)))
    assert "Q26" not in notes(line)
    assert "Q26" in notes(f"{line} -tophat_spots")


# Q22, Q29


def header_values(path: str, quirks: Quirks):
    return read_headers(Settings(match_flags(["-img", path], "spec"), quirks))[0]


def test_q22_keywords_are_exact_in_spec_and_substrings_in_c():
    spec = header_values("inputs/header_close.img", NO_QUIRKS)
    reference = header_values("inputs/header_close.img", Quirks.all())
    assert (spec.distance, spec.close_distance) == (85.0, 79.0)
    assert (reference.distance, reference.close_distance) == (79.0, 79.0)
    assert spec.orgx == reference.orgx == 41.0
    assert header_values("end.img", NO_QUIRKS).phi == 10.0
    assert header_values("end.img", Quirks.all()).phi == 20.0


def test_q29_explicit_distance_wins_over_the_header_in_spec_only():
    line = f"{CUBIC} -img inputs/header_close.img"
    assert frame_of(f"{line} -distance 85").close_distance == pytest.approx(0.085, rel=ROUNDING)
    assert frame_of(f"{line} -distance 85", "c").close_distance == pytest.approx(0.079, rel=ROUNDING)
    for compat in ("spec", "c"):
        assert frame_of(line, compat).close_distance == pytest.approx(0.079, rel=ROUNDING)
        assert frame_of(f"{line} -close_distance 70", compat).close_distance == pytest.approx(0.07, rel=ROUNDING)


# Q23


@pytest.mark.parametrize(
    ("size", "in_spec", "in_c"),
    [("-samplesize 0.00007", False, True), ("-N 5 -samplesize 0.000007", True, False), ("-N 5", False, False)],
)
def test_q23_interpolation_looks_at_the_final_number_of_cells_in_spec(size, in_spec, in_c):
    line = f"-cell 70 80 90 90 90 90 -hkl inputs/dense.hkl {SMALL} {size}"
    assert job_of(line).experiment.crystal.interpolates == in_spec
    assert job_of(line, "c").experiment.crystal.interpolates == in_c


# Q24: test_bad_input.py

# Q25


def test_q25_axis_is_made_unit_length_in_spec_only():
    unit, long = (f"{BASE} -twotheta_axis 0 0 {z} -twotheta 15" for z in ("-1", "-2"))
    np.testing.assert_allclose(frame_of(long).fast, frame_of(unit).fast, atol=ROUNDING)
    np.testing.assert_allclose(frame_of(long).slow, frame_of(unit).slow, atol=ROUNDING)
    assert np.linalg.norm(frame_of(long).slow) == pytest.approx(1.0, abs=ROUNDING)
    assert abs(np.linalg.norm(frame_of(long, "c").slow) - 1.0) > 0.01


# Q27


def test_q27_solid_angle_is_the_detector_s_in_spec_and_divided_by_steps_in_c():
    line = f"{BASE} -dispersion 1 -dispsteps 4 -phi 1 -osc 1 -phisteps 3 -mosaic 0.1 -mosaic_dom 2"
    path = oblique_path((24, 24), 0.8, 60.0)
    exact = float(((0.8 / 60.0) ** 2 / path**3).sum())
    sensor_flags = "-detector_abs 300 -detector_thick 320 -thicksteps 5"
    for compat, flags, wanted in (
        ("spec", "", exact),
        ("c", "", exact / 24),
        ("spec", sensor_flags, exact),
        ("c", sensor_flags, exact * 5 / 24),
    ):
        job = job_of(f"{line} {flags}", compat)
        assert image_statistics(job.experiment, image_of(job)).solid_angle == pytest.approx(wanted, rel=1e-9)


# Q28


def test_q28_angle_of_a_domain_is_a_single_precision_product_in_c():
    crystal = job_of(f"{BASE} -mosaic 90 -mosaic_dom 5").experiment.crystal
    _, weights = mosaic_draws(5, crystal.mosaic_seed)

    def angles(single: bool) -> np.ndarray:
        traces = np.trace(domain_rotations(crystal, single_precision=single), axis1=1, axis2=2)
        return np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0))[1:]

    product = np.float32(math.pi / 2) * weights.astype(np.float32)
    assert product.dtype == np.float32
    np.testing.assert_allclose(angles(True), product[1:], rtol=ROUNDING)
    np.testing.assert_allclose(angles(False), math.pi / 2 * weights[1:], rtol=ROUNDING)
    assert np.abs(angles(True) - angles(False)).max() > 1e-9


def test_cell_frame_of_the_tests_is_right():
    """The helpers above lean on it."""
    np.testing.assert_allclose(cell_constants(direct_vectors(TRICLINIC)), TRICLINIC, rtol=ROUNDING)
