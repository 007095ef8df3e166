"""The register of deviations (specs/40-compat.md): each entry shown in both modes, and each defect alone.

The commands of the register are run as they stand; the other tests say what the difference is.
"""

import math
import re
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from command_line import GOLDEN, image_of, job_of, job_with, link_inputs, run

from numbragg.compat.flags import match_flags
from numbragg.compat.image_header import read_headers
from numbragg.compat.report import geometry_lines, placed, smv_header
from numbragg.compat.settings import Settings
from numbragg.errors import DeviationNote, NumbraggError, NumbraggWarning
from numbragg.geometry.cell import cell_constants, direct_vectors, volume
from numbragg.geometry.mosaic import mosaic_draws
from numbragg.geometry.rotations import DEGREE, xyz_rotation
from numbragg.io.fdump import read_fdump
from numbragg.io.smv import read_smv, read_smv_header
from numbragg.lowering.orientations import crystal_axes, domain_rotations, reciprocal_axes
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.statistics import image_statistics

ROOT = Path(__file__).parents[1]
REGISTER = (ROOT / "specs" / "40-compat.md").read_text()
ENTRIES = {part[:3]: part for part in re.split(r"^## ", REGISTER, flags=re.MULTILINE)[1:]}
SAME_IN_BOTH = {"Q15", "Q17", "Q24"}
WITHOUT_NOTE = {"Q11", "Q14", "Q15", "Q16", "Q17", "Q18", "Q24", "Q27", "Q28"}
QUIRK = {f"Q{field.name[1:3]}": field.name for field in fields(Quirks) if field.name != "threads"}

ROUNDING = 1e-12
"""Double precision over a handful of operations."""
SUMMATION = 1e-10
"""The same terms summed in another order, with the cancellation near whole indices."""

CUBIC = "-cell 100 100 100 90 90 90 -default_F 100 -N 5 -lambda 1 -oversample 1"
SMALL = "-detpixels 24 -pixel 0.8 -distance 60"
BASE = f"{CUBIC} {SMALL}"


@pytest.fixture(autouse=True)
def in_a_folder_with_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(link_inputs(tmp_path))
    text = (GOLDEN / "inputs" / "header.img").read_bytes()
    Path("end.img").write_bytes(text.replace(b"OSC_RANGE=0.5", b"END_OF_PHI=20"))


def command(entry: str) -> str:
    """The flags of the command that shows an entry, without ``--compat c``."""
    (line,) = re.findall(r"`numbragg simulate --compat c (-[^`]*)`", ENTRIES[entry].split("Shows it:")[1])
    return line


def outcome(line: str, quirks: Quirks, matching: str = "spec") -> tuple:
    """Everything that a run shows: image, statistics, printed geometry, header, files."""
    for path in Path().glob("Fdump.bin"):
        path.unlink()
    job = job_with(line, quirks, matching)
    image = image_of(job)
    header = {key: value for key, value in smv_header(job).items() if key not in ("ADC_OFFSET", "BEAMLINE")}
    files = sorted(path.name for path in Path().iterdir())
    return image.tobytes(), tuple(image_statistics(job.experiment, image)), geometry_lines(job), header, files


def notes(line: str, compat: str = "spec") -> set[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        job_of(line, compat)
    return {str(each.message)[:3] for each in caught if issubclass(each.category, DeviationNote)}


# The register as a document


def test_entries_are_numbered_in_order_and_have_an_anchor():
    assert list(ENTRIES) == [f"Q{number:02d}" for number in range(1, len(ENTRIES) + 1)]
    assert all(f'<a id="{entry.lower()}"></a>' in text for entry, text in ENTRIES.items())


def test_every_entry_named_in_the_package_is_in_the_register():
    named = {name for path in (ROOT / "numbragg").rglob("*.py") for name in re.findall(r"Q\d\d\b", path.read_text())}
    assert named
    assert named <= set(ENTRIES)
    assert set(QUIRK) <= set(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES)
def test_entry_says_what_both_modes_do_and_has_a_command(entry):
    """Clause 40.1."""
    text = ENTRIES[entry]
    assert "nanoBragg.c: " in text
    assert "Both modes: " in text if entry in SAME_IN_BOTH else "`spec`: " in text
    assert command(entry)


@pytest.mark.parametrize("entry", sorted(set(ENTRIES) - SAME_IN_BOTH))
def test_command_of_the_register_shows_the_difference(entry):
    """Clause 40.4: what is printed, the image or the files differ, or mode spec ends with an error."""
    shown = []
    for compat in ("c", "spec"):
        for path in Path().glob("*.bin"):
            path.unlink()
        result = run(f"simulate --compat {compat}", command(entry), "-nonoise -nopgm -intfile i.img -noprogress")
        files = {path.name: path.read_bytes() for path in Path().glob("*.bin")}
        header = read_smv_header("i.img") if result.status == 0 else {}
        shown.append((result.status, result.out, files, {**header, "BEAMLINE": "", "ADC_OFFSET": ""}))
    in_c, in_spec = shown
    assert in_c[0] == 0
    assert in_c != in_spec


@pytest.mark.parametrize("entry", sorted(set(QUIRK) - {"Q16", "Q18"}))
def test_defect_alone_changes_the_outcome_of_its_command(entry):
    """Clause 40.2: on its own in mode spec, and missing alone from mode c."""
    name = QUIRK[entry]
    assert outcome(command(entry), replace(NO_QUIRKS, **{name: True})) != outcome(command(entry), NO_QUIRKS)
    all_but_one = replace(Quirks.all(), **{name: False})
    assert outcome(command(entry), all_but_one) != outcome(command(entry), Quirks.all())


UNTOUCHED = {
    "rotation": f"{BASE} -phi 1 -osc 2 -phisteps 3 -mosaic 0.5 -mosaic_dom 3",
    "sensor of two layers": f"{BASE} -detector_abs 300 -detector_thick 320 -thicksteps 2 -roi 3 17 5 20",
    "sources": f"{BASE} -sourcefile inputs/sources_equal.txt",
    "divergence": f"{BASE} -hdivrange 2 -hdivstep 0.5 -dispersion 1 -dispsteps 3",
    "table": f"-cell 70 80 90 90 90 90 -hkl inputs/dense.hkl -N 5 -oversample 2 {SMALL}",
    "tilted": f"{BASE} -xds -detector_rotx 5 -detector_roty 3 -ORGX 10 -ORGY 13 -polar 0.9",
    "header": f"{CUBIC} -gauss_xtal -img inputs/header.img",
}
# What each of these lines shares with an entry of the register.
TOUCHED = {
    "Q04": {"sensor of two layers"},
    "Q03": {"sensor of two layers"},
    "Q11": {"table"},
    "Q28": {"rotation"},
    "Q27": {"rotation", "sources", "divergence", "sensor of two layers", "header"},
}


@pytest.mark.parametrize("entry", QUIRK)
def test_defect_alone_leaves_everything_else_alone(entry):
    """Clause 40.2: bit for bit the outcome of mode spec wherever the entry is not concerned."""
    quirks = replace(NO_QUIRKS, **{QUIRK[entry]: True})
    for name, line in UNTOUCHED.items():
        if name not in TOUCHED.get(entry, ()):
            assert outcome(line, quirks) == outcome(line, NO_QUIRKS), name


@pytest.mark.parametrize("entry", sorted(set(ENTRIES) - WITHOUT_NOTE))
def test_note_names_the_entry_in_mode_spec_and_not_in_mode_c(entry):
    """Clause 40.3."""
    assert entry in notes(command(entry))
    assert notes(command(entry), "c") == set()


def test_note_is_one_line_on_standard_error():
    """Clause 40.3, word for word."""
    result = run("simulate", command("Q03"), "-nonoise -nopgm")
    wanted = "note: Q03 absorption differs from nanoBragg.c here; --compat c reproduces it (specs/40-compat.md#q03)"
    assert wanted in result.err.splitlines()
    assert "Q03" not in result.out


@pytest.mark.parametrize("name", UNTOUCHED)
def test_no_note_where_nothing_is_touched(name):
    """Clause 40.3."""
    expected = {entry for entry, names in TOUCHED.items() if name in names} - WITHOUT_NOTE
    assert notes(UNTOUCHED[name]) == expected


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


def oblique_path(shape: tuple[int, int], pixel: float, distance: float) -> np.ndarray:
    """1/cosine at the centres of the pixels of a detector that is centred on the beam but for half a pixel."""
    slow, fast = np.indices(shape)
    offsets = [(index + 0.5 - n / 2 - 1.0) * pixel for index, n in ((slow, shape[0]), (fast, shape[1]))]
    return np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + distance**2) / distance


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
    return np.asarray(placed(job_of(line, compat)).origin)


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
    np.testing.assert_allclose(placed(overridden).origin, [0.07, 0.0105, -0.0085], rtol=ROUNDING)


# Q08, Q09


def frame_of(line: str, compat: str = "spec"):
    return placed(job_of(line, compat))


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
