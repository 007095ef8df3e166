"""Geometry from files of other programs (specs/30-formats.md, 30.90 to 30.95)."""

from pathlib import Path

import numpy as np
import pytest
from command_line import job_of, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refusal

from numbragg.compat.build import build_job
from numbragg.compat.geometry_file import read_geometry
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.instruments import describe_instrument, to_imgcif
from numbragg.io.cbf import write_cbf
from numbragg.io.crystfel import read_geom
from numbragg.io.expt import write_expt
from numbragg.io.nxmx import write_nxmx
from numbragg.io.xds import read_xds_inp, read_xparm
from numbragg.lowering.detector_frame import place_detector

AS_TYPED = 1e-3
"""Angstrom and degrees: the axes of the crystal in XPARM below are typed with that precision."""
ROUNDING = 1e-9

XPARM = """\
 XPARM.XDS    VERSION Jan 10, 2022  BUILT=20220820
     3        5.5000    0.2500  0.999997 -0.001590 -0.001580
       0.976800      -0.000460       0.001500       1.023750
    19     34.7700     39.1700     48.3100  90.000  90.000  90.000
      20.000000       0.000000      28.441518
       0.000000      39.170000       0.000000
     -39.517260       0.000000      27.788508
         1      2463      2527    0.172000    0.172000
    1224.500000    1263.250000     231.300000
       1.000000       0.000000       0.000000
       0.000000       0.999848       0.017452
       0.000000      -0.017452       0.999848
         1         1      2463         1      2527
    0.00    0.00    0.00  1.00000  0.00000  0.00000  0.00000  1.00000  0.00000
"""

XDS_INP = """\
! comment NX= 1
JOB= XYCORR INIT
DETECTOR= PILATUS   MINIMUM_VALID_PIXEL_VALUE= 0  OVERLOAD= 1048500
NX= 2463 NY= 2527 QX= 0.172  QY= 0.172   ! pixels
ORGX= 1224.5  ORGY=1263.25
DETECTOR_DISTANCE= 231.3
DIRECTION_OF_DETECTOR_X-AXIS= 1 0 0
DIRECTION_OF_DETECTOR_Y-AXIS= 0 0.999848 0.017452
OSCILLATION_RANGE=0.25
STARTING_ANGLE= 5.0
X-RAY_WAVELENGTH= 0.9768
ROTATION_AXIS= 0.999997 -0.00159 -0.00158
INCIDENT_BEAM_DIRECTION= -0.00046 0.0015 1.02375
FRACTION_OF_POLARIZATION= 0.98
POLARIZATION_PLANE_NORMAL= 0 1 0
SENSOR_THICKNESS= 0.45 SILICON= 3.9
"""

GEOM = """\
; a comment
photon_energy = 9500 eV
clen = 0.08
coffset = 0.0005
res = 10000
adu_per_photon = 2.5
rigid_group_q0 = p0
bad_area/min_x = -1
p0/min_fs = 0
p0/max_fs = 19
p0/min_ss = 100
p0/max_ss = 109
p0/corner_x = -10.5
p0/corner_y = 4.25
p0/fs = +0.999950x +0.01y
p0/ss = +0.01x -0.99995y
p0/coffset = 0.001
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("XPARM.XDS").write_text(XPARM)
    Path("XDS.INP").write_text(XDS_INP)
    Path("d.geom").write_text(GEOM)


def normal_of_xds() -> np.ndarray:
    slow = np.array([0, 0.999848, 0.017452])
    return np.cross([1.0, 0, 0], slow / np.linalg.norm(slow))


def test_xparm_places_the_detector():
    """Clause 30.91: the first pixel's corner is at 0.5 in pixels of XDS, ORGX and ORGY the near point."""
    found = read_geometry("XPARM.XDS")
    normal = normal_of_xds()
    np.testing.assert_allclose(found.origin @ normal, 231.3, rtol=ROUNDING)
    np.testing.assert_allclose(found.origin @ found.fast_axis, -1224 * 0.172, rtol=ROUNDING)
    np.testing.assert_allclose(found.origin @ found.slow_axis, -1262.75 * 0.172, rtol=ROUNDING)
    assert (found.n_fast, found.n_slow, found.pixel_size) == (2463, 2527, 0.172)
    assert (found.phi_start, found.osc, found.wavelength, found.space_group) == (5.5, 0.25, 0.9768, "P 21 21 21")
    np.testing.assert_allclose(np.linalg.norm(found.cell_axes, axis=1), [34.77, 39.17, 48.31], atol=AS_TYPED)
    np.testing.assert_allclose(found.beam_direction, np.array([-0.00046, 0.0015, 1.02375]) / 1.0237512, atol=1e-7)


def test_xparm_turns_the_crystal_as_xds_does():
    """Clause 30.90: angles between crystal, beam and detector are those of the file."""
    job = build_job(["-default_F", "1"], geometry="XPARM.XDS")
    experiment = job.experiment
    ours = describe_instrument(experiment)
    file = read_xparm("XPARM.XDS")
    turn = to_imgcif(file.beam_direction, file.spindle_axis, file.fast_axis)
    np.testing.assert_allclose(ours.cell_axes, file.cell_axes @ turn.T, atol=1e-9)
    np.testing.assert_allclose(ours.origin, turn @ file.origin, atol=1e-9)
    np.testing.assert_allclose(ours.fast_axis, turn @ file.fast_axis, atol=ROUNDING)
    np.testing.assert_allclose(ours.slow_axis, turn @ file.slow_axis, atol=ROUNDING)
    np.testing.assert_allclose(ours.spindle_axis, turn @ file.spindle_axis, atol=ROUNDING)
    np.testing.assert_allclose(experiment.crystal.cell, [34.77, 39.17, 48.31, 90, 90, 90], atol=AS_TYPED)


def test_xds_inp_says_the_same_geometry():
    """Clause 30.92."""
    one, other = read_geometry("XDS.INP"), read_geometry("XPARM.XDS")
    for name in ("origin", "fast_axis", "slow_axis", "spindle_axis", "beam_direction"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=ROUNDING, err_msg=name)
    assert one.cell_axes is None
    assert (one.phi_start, one.osc, one.polarization_fraction) == (5.0, 0.25, 0.98)
    assert (one.thickness, one.attenuation) == (0.45, 3.9)
    detector = build_job(
        ["-default_F", "1", "-cell", "9", "9", "9", "90", "90", "90"], geometry="XDS.INP"
    ).experiment.detector
    np.testing.assert_allclose([detector.thickness, detector.attenuation_depth], [450, 1000 / 3.9])


def test_crystfel_places_its_panel():
    """Clause 30.93: by hand; z is along the beam, corners are in pixels from the beam, the panel's own coffset wins."""
    found = read_geometry("d.geom")
    assert (found.n_fast, found.n_slow, found.pixel_size, found.gain) == (20, 10, 0.1, 2.5)
    np.testing.assert_allclose(found.origin, [-1.05, 0.425, 81.0], rtol=ROUNDING)
    np.testing.assert_allclose(found.fast_axis, [0.99995, 0.01, 0], atol=1e-6)
    np.testing.assert_allclose(found.slow_axis, [0.01, -0.99995, 0], atol=1e-6)
    np.testing.assert_allclose(found.wavelength, 12398.42 / 9500)
    assert found.is_still
    frame = place_detector(*_detector_and_beam("d.geom"))
    np.testing.assert_allclose(np.linalg.norm(frame.origin) * 1e3, np.linalg.norm(found.origin), rtol=ROUNDING)


def _detector_and_beam(path):
    experiment = build_job(["-default_F", "1", "-cell", "9", "9", "9", "90", "90", "90"], geometry=path).experiment
    return experiment.detector, experiment.beam.direction


def test_crystfel_without_a_photon_energy_asks_for_one():
    """Clause 30.93."""
    Path("d.geom").write_text(GEOM.replace("9500 eV", "/LCLS/photon_energy_eV"))
    with pytest.warns(NumbraggWarning, match="give -energy or -lambda"):
        assert read_geom("d.geom").wavelength == 1.0


@pytest.mark.parametrize("suffix", ["cbf", "h5"])
def test_an_image_is_a_geometry_file_too(suffix):
    """Clause 30.94."""
    flags = "-mosflm -cell 9 9 9 90 90 90 -default_F 1 -detpixels_x 7 -detpixels_y 5 -distance 77 -Xbeam 0.3 -Ybeam 0.2"
    instrument = describe_instrument(job_of(f"{flags} -osc 1 -phi 2 -lambda 0.9").experiment)
    pixels = np.zeros((5, 7), np.int32)
    (write_cbf if suffix == "cbf" else write_nxmx)(f"x.{suffix}", pixels, instrument)
    detector = build_job(
        ["-default_F", "1", "-cell", "9", "9", "9", "90", "90", "90"], geometry=f"x.{suffix}"
    ).experiment.detector
    np.testing.assert_allclose([detector.distance, detector.beam_fast, detector.beam_slow], [77, 0.25, 0.35])


def test_the_command_takes_a_geometry_file():
    """Clauses 20.25 and 30.90."""
    words = (
        "simulate --geometry d.geom -cell 90 90 90 90 90 90 -default_F 10 -nopgm -nonoise -intfile i.img -noprogress"
    )
    result = run(words)
    assert result.status == 0, result.err
    assert "20x10 pixels" in result.out
    assert "Q10" not in result.err
    result = run(words, "-img i.img")
    assert (result.status, "-img and --geometry" in result.err) == (2, True)
    assert "takes a file name" in run("simulate -N 5 --geometry").err
    assert run("trace --geometry d.geom -cell 90 90 90 90 90 90 -default_F 10 -trace_pixel 9 19").status == 0
    assert run("trace --geometry d.geom -cell 90 90 90 90 90 90 -default_F 10 -trace_pixel 10 19").status == 2
    result = run(words, "--compat c")
    assert (result.status, "--geometry needs --compat spec" in result.err) == (2, True)


FAULTS = [
    ("XPARM.XDS", XPARM.replace(" XPARM.XDS", " OTHER"), "line 1"),
    ("XPARM.XDS", XPARM.replace("0.976800", "long"), "line 3: expected wavelength"),
    ("XPARM.XDS", "\n".join(XPARM.splitlines()[:8]), "line 9: expected ORGX"),
    ("XPARM.XDS", XPARM.replace("         1      2463", "         2      2463"), "2 segments"),
    ("XPARM.XDS", XPARM.replace("2527    0.172000", "2527    0.162000"), "not square"),
    ("XPARM.XDS", XPARM.replace("       1.000000       0.000000       0.000000", " 0 0 0"), "no direction"),
    ("XPARM.XDS", XPARM.replace("20.000000       0.000000      28.441518", "-20 0 -28.44"), "right-handed"),
    ("XDS.INP", XDS_INP.replace("ORGX=", "ORG="), "ORGX= is missing"),
    ("XDS.INP", XDS_INP.replace("231.3", "far"), "line 6: DETECTOR_DISTANCE= needs 1"),
    ("XDS.INP", XDS_INP.replace("1 0 0", "1 0"), "line 7: DIRECTION"),
    ("XDS.INP", XDS_INP + "SEGMENT= 1 2 3 4\n", "line 17: a detector of segments"),
    ("d.geom", GEOM.replace("p0/res", "res").replace("res = 10000", "res = 0"), "line 5: res must be above zero"),
    ("d.geom", GEOM + "p1/min_fs = 0\n", "the panel p1 has no max_fs"),
    ("d.geom", GEOM.replace("p0/max_ss = 109", "p0/max_ss = 1e999"), "line 12: max_ss must be a number"),
    ("d.geom", GEOM.replace("ss = +0.01x", "ss = -0.01x"), "not at right angles"),
    ("d.geom", "clen = 1\n", "has no panel"),
    ("d.geom", GEOM.replace("p0/corner_x", "p0/corner_z"), "no corner_x"),
    ("d.geom", GEOM.replace("+0.999950x", "+0.99q"), "line 15: fs must be a sum"),
    ("d.geom", GEOM.replace("+0.999950x +0.01y", "+0x"), "line 15: fs has no direction"),
    ("d.geom", GEOM.replace("clen = 0.08", "clen = /data/clen"), "line 3: clen must be a number"),
    ("d.geom", GEOM + "nonsense\n", "line 18: expected"),
    ("d.geom", GEOM.replace("9500 eV", "0 eV"), "photon_energy must be above zero"),
    ("x.mat", "1 0 0", "a MOSFLM matrix goes to -mat"),
    ("x.img", "{", "an SMV image goes to -img"),
    ("x.dat", "hello", "unknown kind of geometry file"),
]


@pytest.mark.parametrize(("name", "text", "message"), FAULTS)
def test_a_fault_is_named_with_file_and_line(name, text, message):
    """Clauses 30.91 to 30.95."""
    Path(name).write_text(text)
    with pytest.raises(NumbraggError) as caught:
        read_geometry(name)
    assert name in str(caught.value)
    assert message in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.sampled_from([("XPARM.XDS", XPARM), ("XDS.INP", XDS_INP), ("d.geom", GEOM)]),
    cut=st.integers(0, 1200),
    junk=st.text(max_size=8),
    keep=st.booleans(),
)
def test_no_text_ends_in_a_traceback(source, cut, junk, keep):
    """Clause 30.95."""
    name, text = source
    cut = min(cut, len(text))
    Path(name).write_text(text[:cut] + junk + (text[cut:] if keep else ""), encoding="utf-8")
    read = {"XPARM.XDS": read_xparm, "XDS.INP": read_xds_inp, "d.geom": read_geom}[name]
    assert name in (refusal(read, name) or name)


@pytest.mark.parametrize("seed", range(60))
def test_the_normal_of_a_file_stays_away_from_the_sample(tmp_path, seed):
    """Clause 30.90: whichever way fast x slow points, and whatever rounding does to the length of the normal."""
    angles = np.random.default_rng(seed).uniform(-20.0, 20.0, 3)
    tilt = " ".join(f"-detector_rot{axis} {angle!r}" for axis, angle in zip("xyz", angles.tolist(), strict=True))
    before = job_of(f"-adxv -cell 70 80 90 90 90 90 -N 5 -default_F 1 -detpixels 50 -pixel 1 -distance 60 {tilt}")
    path = tmp_path / "x.expt"
    write_expt(path, describe_instrument(before.experiment), ["x.img"])
    after = build_job(["-adxv", "-default_F", "1", "-N", "5"], geometry=str(path))
    ends = [place_detector(job.experiment.detector, job.experiment.beam.direction) for job in (before, after)]
    assert all(np.cross(end.fast, end.slow) @ end.origin < 0.0 for end in ends)
    np.testing.assert_allclose(ends[1].close_distance, ends[0].close_distance, rtol=ROUNDING)
