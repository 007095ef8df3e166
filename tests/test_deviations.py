"""What the deviations Q01 to Q12 do to an image, in both modes (specs/40-compat.md)."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import GOLDEN, image_of, job_of, job_with, run
from deviation_scenes import (
    BASE,
    CUBIC,
    ROUNDING,
    SMALL,
    SUMMATION,
    frame_of,
    oblique_path,
)

from numbragg.compat.report import smv_header
from numbragg.errors import NumbraggWarning
from numbragg.io.fdump import read_fdump
from numbragg.lowering import detector_frame
from numbragg.models.quirks import NO_QUIRKS

pytestmark = pytest.mark.usefixtures("in_a_folder_with_inputs")


# Q01


def each_step_alone(line: str, start: float, step: float, count: int) -> np.ndarray:
    """Mean of still images at the phi of each step."""
    return sum(image_of(job_with(f"{line} -phi {start + k * step:.17g}")) for k in range(count)) / count


def test_q01_spec_is_the_mean_of_the_steps_and_c_repeats_the_last_step():
    line = f"{BASE} -misset 10 20 30"
    scanned = f"{line} -phi 0 -osc 2 -phisteps 4"
    spec, reference = image_of(job_of(scanned)), image_of(job_of(scanned, "c"))
    np.testing.assert_allclose(spec, each_step_alone(line, 0.0, 0.5, 4), rtol=SUMMATION)
    stills = [image_of(job_with(f"{line} -phi {phi}")) for phi in (0.5, 1.0, 1.5)]
    carried = (stills[0] + stills[1] + 2.0 * stills[2]) / 4.0
    np.testing.assert_allclose(reference.ravel()[1:], carried.ravel()[1:], rtol=SUMMATION)
    assert math.isclose(reference[0, 0], spec[0, 0], rel_tol=SUMMATION)


def test_q01_each_imitated_thread_starts_unrotated():
    scanned = f"{BASE} -misset 10 20 30 -phi 0 -osc 2 -phisteps 4"
    one, three = (image_of(job_of(scanned, "c", c_threads=n)) for n in (1, 3))
    assert set(np.flatnonzero((one != three).ravel())) == {8 * 24, 16 * 24}


# Q02


@pytest.mark.parametrize("flag", ["-oversample_thick", "-oversample_polar", "-oversample_omega"])
def test_q02_each_term_has_its_own_factor_in_spec(flag):
    """A pixel oversampled 2 x 2 is the mean of four pixels of half the size, times what is evaluated once."""
    sensor = "-detector_abs 300 -detector_thick 320 -thicksteps 2" if flag.endswith("thick") else ""
    common = f"{CUBIC} {sensor} -polar 0.9 -distance 20".replace("-oversample 1", "")
    coarse = f"{common} -detpixels 8 -pixel 2 -Xbeam 8 -Ybeam 8 -denzo -oversample 2 {flag}"
    spec, reference = image_of(job_of(coarse)), image_of(job_of(coarse, "c"))
    once = image_of(job_with(coarse.replace(flag, "")))
    assert not np.allclose(spec, once, rtol=1e-6)
    assert (reference < 0.9 * spec).any()
    others = "".join(f" {other}" for other in ("-oversample_thick", "-oversample_polar", "-oversample_omega"))
    every = image_of(job_with(coarse.replace(flag, others)))
    fine = image_of(job_with(f"{common}{others} -detpixels 16 -pixel 1 -Xbeam 8 -Ybeam 8 -denzo -oversample 1"))
    # A sub-pixel's solid angle is that of a whole pixel: four quarters of a pixel's.
    np.testing.assert_allclose(every, fine.reshape(8, 2, 8, 2).sum(axis=(1, 3)), rtol=SUMMATION)


# Q03, Q04


def sensor(depth: float, thickness: float, layers: int | None) -> str:
    count = "" if layers is None else f" -thicksteps {layers}"
    return f"{BASE} -point_pixel -detector_abs {depth} -detector_thick {thickness}{count}"


def test_q03_layers_capture_what_they_absorb_in_spec_and_the_last_layer_s_share_in_c():
    """Clause 10.19. Thin against the distance: layers see the same spot, so the image is a sum of captures."""
    layers, depth, thickness = 3, 3e-4, 3.2e-4
    bare = image_of(job_with(f"{BASE} -point_pixel"))
    path = oblique_path(bare.shape, 0.8, 60.0)
    captured = 1.0 - np.exp(-thickness / depth * path)
    spec = image_of(job_of(sensor(depth, thickness, layers)))
    parallax = 1e-4  # layers lie 0.1 nm apart: what that moves an index by, near a minimum
    np.testing.assert_allclose(spec, bare * captured, rtol=parallax)
    only = image_of(job_with(sensor(depth, thickness, layers), replace(NO_QUIRKS, q03_last_layer_capture=True)))
    edges = [np.exp(-t * thickness / layers / depth * path) for t in (layers - 1, layers)]
    np.testing.assert_allclose(only, layers * bare * (edges[0] - edges[1]), rtol=parallax)


@pytest.mark.parametrize(("asked", "in_c", "spacing"), [(5, 5, 80.0), (2, 2, 320.0), (1, 2, 320.0)])
def test_q04_layers_are_spaced_by_thickness_over_n_in_spec(asked, in_c, spacing):
    spec = job_of(sensor(300, 320, asked)).experiment.detector
    reference = job_of(sensor(300, 320, asked), "c").experiment.detector
    assert (spec.layers, spec.layer_step) == (asked, 320.0 / asked)
    assert (reference.layers, reference.layer_step) == (in_c, spacing)


def test_q04_does_not_touch_layers_that_nobody_counted():
    for compat in ("spec", "c"):
        detector = job_of(sensor(300, 320, None), compat).experiment.detector
        assert (detector.layers, detector.layer_step) == (2, 160.0)


# Q05


@pytest.mark.parametrize("fluence", [1e24, 1e29])
def test_q05_water_follows_its_formula_in_spec_and_is_scaled_twice_in_c(fluence):
    """Clause 10.55: no crystal (default F of almost 0), so that the image is the water."""
    line = f"-cell 100 100 100 90 90 90 -default_F 1e-30 {SMALL} -oversample 1 -point_pixel -nopolar"
    line += f" -fluence {fluence} -water 5 -dispersion 1 -dispsteps 4 -phi 1 -osc 1 -phisteps 3"
    molecules = 5e-6**3 * 1e6 * 6.02214179e23 / 18.0
    r_e_squared = 7.94079248018965e-30
    water = r_e_squared * fluence * 2.57**2 * molecules
    airpath = 0.06 * oblique_path((24, 24), 0.8, 60.0)
    np.testing.assert_allclose(image_of(job_of(line)), water / airpath**2, rtol=SUMMATION)
    twice = water * r_e_squared * fluence / 12
    np.testing.assert_allclose(image_of(job_of(line, "c")), twice / airpath**2, rtol=SUMMATION)


def test_q05_water_is_captured_by_all_layers_and_polarised_in_spec():
    line = f"-cell 100 100 100 90 90 90 -default_F 1e-30 {SMALL} -oversample 1 -water 5 -polar 0.8"
    plain = image_of(job_of(line))
    behind = image_of(job_of(f"{line} -detector_abs 300 -detector_thick 320 -thicksteps 4"))
    path = oblique_path((24, 24), 0.8, 60.0)
    np.testing.assert_allclose(behind, plain * (1.0 - np.exp(-320 / 300 * path)), rtol=1e-4)  # directions of layer 0
    assert not np.allclose(plain, image_of(job_of(line.replace("-polar 0.8", "-nopolar"))), rtol=1e-3)


# Q06


def test_q06_weights_count_in_spec_and_not_in_c():
    line = f"{BASE} -sourcefile inputs/sources.txt"
    rows = [row.split() for row in Path("inputs/sources.txt").read_text().splitlines()]
    alone = []
    for row in rows:
        Path("one.txt").write_text(" ".join(row))
        alone.append(image_of(job_with(f"{BASE} -sourcefile one.txt -nopolar")))
    weights = np.array([float(row[3]) for row in rows])
    spec = np.tensordot(weights / weights.sum(), alone, 1)
    np.testing.assert_allclose(image_of(job_of(f"{line} -nopolar")), spec, rtol=SUMMATION)
    np.testing.assert_allclose(image_of(job_of(f"{line} -nopolar", "c")), np.mean(alone, axis=0), rtol=SUMMATION)
    equal = image_of(job_of(line.replace("sources.txt", "sources_equal.txt")))
    np.testing.assert_allclose(image_of(job_of(line, "c")), equal, rtol=SUMMATION)


# Q07


ORIGIN = "0.07 0.0105 -0.0085"
ORIGIN_MM = "70 10.5 -8.5"


def origin_of(line: str, compat: str = "spec") -> np.ndarray:
    return np.asarray(frame_of(line, compat).origin)


def test_q07_origin_is_set_in_metres_or_millimetres_in_spec():
    metres, millimetres = (f"{BASE} -pix0_vector{unit}" for unit in (f" {ORIGIN}", f"_mm {ORIGIN_MM}"))
    np.testing.assert_allclose(origin_of(metres), [0.07, 0.0105, -0.0085], rtol=ROUNDING)
    np.testing.assert_allclose(origin_of(millimetres), [0.07, 0.0105, -0.0085], rtol=ROUNDING)
    np.testing.assert_allclose(image_of(job_of(millimetres)), image_of(job_of(metres)), rtol=SUMMATION)


def test_q07_origin_has_no_effect_in_c_but_to_select_custom():
    custom = origin_of(f"{BASE} -spindle_axis 0 0 1", "c")
    np.testing.assert_array_equal(origin_of(f"{BASE} -pix0_vector {ORIGIN}", "c"), custom)
    np.testing.assert_array_equal(origin_of(f"{BASE} -pix0_vector_mm {ORIGIN_MM}", "c"), custom)


@pytest.mark.parametrize("flags", ["-Xbeam 3 -Ybeam 4", "-Xclose 3", "-ORGX 5 -ORGY 6", "-close_distance 50"])
def test_q07_origin_wins_over_the_flags_it_overrides_and_a_warning_names_them(flags):
    with pytest.warns(NumbraggWarning, match=rf"-pix0_vector_mm overrides {flags.split()[0]}"):
        overridden = job_of(f"{CUBIC} -detpixels 24 -pixel 0.8 {flags} -pix0_vector_mm {ORIGIN_MM}")
    placed = detector_frame.frame_of(overridden.experiment)
    np.testing.assert_allclose(placed.origin, [0.07, 0.0105, -0.0085], rtol=ROUNDING)


# Q08, Q09


@pytest.mark.parametrize("convention", ["-xds", "-dials"])
def test_q08_beam_centre_moves_the_image_under_a_sample_pivot_in_spec_only(convention):
    line = f"{BASE} {convention}"
    moved = f"{line} -Xbeam 7.3 -Ybeam 11.9"
    spec, reference = frame_of(moved), frame_of(moved, "c")
    np.testing.assert_allclose([spec.beam_fast, spec.beam_slow], [7.3e-3, 11.9e-3], rtol=ROUNDING)
    np.testing.assert_array_equal(reference.origin, frame_of(line, "c").origin)
    for compat in ("spec", "c"):
        header = smv_header(job_of(moved, compat))
        assert (header["BEAM_CENTER_X"], header["BEAM_CENTER_Y"]) == ("7.3", "11.9")


def test_q08_near_point_flags_set_the_near_point_in_spec_only():
    line = f"{BASE} -xds -Xclose 6.5 -Yclose 12.5"
    spec, reference = frame_of(line), frame_of(line, "c")
    np.testing.assert_allclose([spec.close_fast, spec.close_slow], [6.5e-3, 12.5e-3], rtol=ROUNDING)
    np.testing.assert_array_equal(reference.origin, frame_of(f"{BASE} -xds", "c").origin)
    assert smv_header(job_of(line, "c"))["BEAM_CENTER_X"] == "6.5"


@pytest.mark.parametrize(
    ("flags", "in_spec", "in_c"),
    [
        ("-mosflm -pivot sample", "sample", "beam"),
        ("-pivot sample -mosflm", "sample", "beam"),
        ("-xds -pivot beam", "beam", "sample"),
        ("-xds", "sample", "sample"),
        ("-xds -Xbeam 7", "beam", "sample"),
        ("-mosflm -ORGX 7", "sample", "beam"),
        ("-mosflm -ORGX 7 -Xbeam 8", "beam", "beam"),
        ("-mosflm -twotheta 3", "beam", "beam"),
        ("-mosflm -close_distance 50", "beam", "beam"),
        ("-polar_vector 0 0 1 -close_distance 50", "beam", "sample"),
        ("-polar_vector 0 0 1 -twotheta 0", "beam", "sample"),
        ("-polar_vector 0 0 1 -twotheta 0 -distance 60", "beam", "beam"),
        ("-polar_vector 0 0 1 -pivot beam -ORGX 7", "beam", "sample"),
    ],
)
def test_q09_pivot(flags, in_spec, in_c):
    line = f"{CUBIC} -detpixels 24 -pixel 0.8 {flags}"
    assert job_of(line).experiment.detector.pivot == in_spec
    assert job_of(line, "c").experiment.detector.pivot == in_c


# Q10


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("-spindle_axis", "spindle"),
        ("-polar_vector", "polarization"),
        ("-beam_vector", "beam"),
        ("-twotheta_axis", "twotheta_axis"),
        ("-fdet_vector", "fast_axis"),
        ("-sdet_vector", "slow_axis"),
        ("-odet_vector", "normal"),
    ],
)
def test_q10_vector_flag_overrides_itself_only_in_spec_and_the_whole_convention_in_c(flag, part):
    def parts(line: str, compat: str = "spec") -> dict[str, tuple]:
        geometry = job_of(line, compat).geometry
        detector = geometry.detector
        names = ("fast_axis", "slow_axis", "normal", "twotheta_axis")
        found = {name: tuple(getattr(detector, name)) for name in names}
        for name in ("beam", "polarization", "spindle"):
            found[name] = tuple(getattr(geometry, name))
        return found

    given = (0.36, -0.48, 0.8)
    line = f"{BASE} -dials"
    plain = parts(line)
    spec, reference = (parts(f"{line} {flag} 0.36 -0.48 0.8", compat) for compat in ("spec", "c"))
    np.testing.assert_allclose(spec[part], given, rtol=ROUNDING)
    assert {name: value for name, value in spec.items() if name != part} == {
        name: value for name, value in plain.items() if name != part
    }
    custom = {
        "fast_axis": (0, 0, 1),
        "slow_axis": (0, -1, 0),
        "normal": (1, 0, 0),
        "twotheta_axis": (0, 1, 0),
        "beam": (1, 0, 0),
        "polarization": (0, 0, 1),
        "spindle": (0, 0, 1),
    }
    for name, value in custom.items():
        np.testing.assert_allclose(reference[name], given if name == part else value, rtol=ROUNDING)
    assert parts(f"{BASE} {flag} 0.36 -0.48 0.8 -dials", "c") == plain


def test_q10_half_pixel_shift_of_mosflm_stays_in_spec():
    line = f"{BASE} -Xbeam 9 -Ybeam 8"
    plain, spec, reference = (
        frame_of(text, compat)
        for text, compat in (
            (line, "spec"),
            (f"{line} -spindle_axis 0 0 1", "spec"),
            (f"{line} -spindle_axis 0 0 1", "c"),
        )
    )
    assert (spec.beam_fast, spec.beam_slow) == (plain.beam_fast, plain.beam_slow)
    np.testing.assert_allclose([spec.beam_fast, spec.beam_slow], [8.4e-3, 9.4e-3], rtol=ROUNDING)
    np.testing.assert_allclose([reference.beam_fast, reference.beam_slow], [9e-3, 8e-3], rtol=ROUNDING)


# Q11


TABLE = f"-cell 70 80 90 90 90 90 -N 5 -oversample 1 {SMALL}"
QUIET = "-nonoise -nopgm -intfile i.img -floatfile f.bin"


def test_q11_dump_is_written_and_read_in_c():
    first = run("simulate --compat c", TABLE, "-hkl inputs/dense.hkl", QUIET)
    image = Path("f.bin").read_bytes()
    assert first.status == 0
    assert read_fdump("Fdump.bin").values.shape == (15, 15, 15)
    second = run("simulate --compat c", TABLE, QUIET)
    assert second.status == 0
    assert Path("f.bin").read_bytes() == image


def test_q11_dump_is_neither_written_nor_read_in_spec():
    assert run("simulate", TABLE, "-hkl inputs/dense.hkl", QUIET).status == 0
    assert not Path("Fdump.bin").exists()
    assert run("simulate --compat c", TABLE, "-hkl inputs/dense.hkl", QUIET).status == 0
    without = run("simulate", TABLE, QUIET)
    assert without.status == 2
    assert "-hkl" in without.err


def test_q11_explicit_dump_is_written_with_hkl_and_read_without_in_both_modes():
    for compat in ("spec", "c"):
        written = run(f"simulate --compat {compat}", TABLE, "-hkl inputs/dense.hkl -dump my.bin", QUIET)
        image = Path("f.bin").read_bytes()
        read = run(f"simulate --compat {compat}", TABLE, "-dump my.bin", QUIET)
        assert (written.status, read.status) == (0, 0)
        assert Path("f.bin").read_bytes() == image
        assert not Path("Fdump.bin").exists()
        Path("my.bin").unlink()


def test_q11_default_f_does_not_read_the_dump_in_c():
    """Our limit: an image must not depend on what lies in the folder more than nanoBragg.c's documented use needs."""
    alone = image_of(job_of(f"{TABLE} -default_F 9", "c"))
    run("simulate --compat c", TABLE, "-hkl inputs/dense.hkl", QUIET)
    assert Path("Fdump.bin").exists()
    np.testing.assert_array_equal(image_of(job_of(f"{TABLE} -default_F 9", "c")), alone)


def test_q11_folder_marked_read_only_gets_no_dump(tmp_path, monkeypatch):
    """Our limit, also for the superuser, whom the permission would not stop."""
    folder = tmp_path / "closed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.chmod(0o555)
    try:
        job_of(f"{TABLE} -hkl {GOLDEN / 'inputs' / 'dense.hkl'}", "c")
        assert list(folder.iterdir()) == []
    finally:
        folder.chmod(0o755)


# Q12


INTERPOLATED = f"-cell 70 80 90 90 90 90 -misset 10 -7 23 -hkl inputs/dense.hkl -N 5 -lambda 3 -oversample 1 {SMALL}"


def test_q12_out_of_range_takes_the_nearest_entry_for_itself_in_spec_and_for_good_in_c():
    spec, reference = (image_of(job_of(f"{INTERPOLATED} -interpolate", compat)) for compat in ("spec", "c"))
    nearest = image_of(job_with(f"{INTERPOLATED} -nointerpolate"))
    first = int(np.flatnonzero((spec == nearest).ravel())[0])
    np.testing.assert_array_equal(reference.ravel()[:first], spec.ravel()[:first])
    np.testing.assert_array_equal(reference.ravel()[first:], nearest.ravel()[first:])
    assert (spec.ravel()[first:] != nearest.ravel()[first:]).any()


def test_q12_image_depends_on_the_region_in_c_only():
    region = f"{INTERPOLATED} -interpolate -roi 9 14 9 14"
    inside = np.s_[9:15, 9:15]
    whole, part = (image_of(job_of(line)) for line in (f"{INTERPOLATED} -interpolate", region))
    np.testing.assert_array_equal(whole[inside], part[inside])
    whole, part = (image_of(job_of(line, "c")) for line in (f"{INTERPOLATED} -interpolate", region))
    assert (whole[inside] != part[inside]).any()
