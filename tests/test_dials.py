"""What DIALS reads in our files, and what it makes of a rotation series.

These tests run where the programs of DIALS are installed (Debian's package ``dials``).
"""

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from command_line import job_of, run

from numbragg.instruments import describe_instrument
from numbragg.io.cbf import write_cbf
from numbragg.io.expt import read_expt, write_expt
from numbragg.io.nxmx import write_nxmx
from numbragg.provenance import read_provenance

pytestmark = [
    pytest.mark.dials,
    pytest.mark.skipif(shutil.which("dials.import") is None, reason="DIALS is not installed"),
]

GEOMETRY = 1e-6
"""mm and parts of a unit vector between the geometry that DIALS shows and ours."""
INDEXED = 0.97
CELL_LENGTH, CELL_ANGLE = 3e-4, 0.02
"""Relative, and degrees."""
BEAM_CENTRE, DISTANCE = 0.1, 5e-4
"""Pixels, and relative."""
RMSD_PIXEL, RMSD_IMAGE = 0.15, 0.2
CORRELATION = 0.98
"""Of integrated intensities with squared amplitudes."""

FLAGS = (
    "-cell 34.77 39.17 48.31 80 85 95 -misset 10 20 30 -default_F 1 -lambda 0.9768 -detpixels_x 60 -detpixels_y 40 "
    "-pixel 0.86 -distance 120 -Xbeam 21 -Ybeam 15 -phi 3 -osc 0.5"
)
TILTED = f"{FLAGS} -detector_rotx 3 -detector_roty 5 -twotheta 7 -spindle_axis 0.05 0.6 0.7"

CELL = (34.77, 39.17, 48.31)
SCENE = (
    "-cell 34.77 39.17 48.31 90 90 90 -misset 23 41 67 -mosaic 0.25 -lambda 0.9768 -polar 0.998 -detpixels 700 "
    "-pixel 0.172 -distance 120 -phi 0 -seed 1 -noprogress"
)
SERIES = "--images 30 --osc-per-image 1 --bad-pixels beamstop.txt"
SMOOTH = (
    "-gauss_xtal -N 20 -fudge 0.005 -oversample 1 -mosaic_dom 20 -phisteps 20 -fluence 5e26 "
    "--background water:thickness=0.0001:width=0.0001"
)
FRINGED = (
    "-N 30 -oversample 2 -mosaic_dom 30 -phisteps 10 -fluence 3e25 --background water:thickness=0.00028:width=0.00028"
)
"""Blocks of the default shape, with nine photons of background, beyond which few of their fringes rise."""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def dials(*words: str) -> str:
    outcome = subprocess.run(words, capture_output=True, text=True, check=False, env=None)
    assert outcome.returncode == 0, outcome.stdout[-2000:] + outcome.stderr[-2000:]
    return outcome.stdout


def by_dials(*words: str) -> dict:
    """What the Python of DIALS says: the interpreter of its first line."""
    interpreter = Path(shutil.which("dials.show")).read_text().split("\n")[0].removeprefix("#!").strip()
    script = Path(__file__).with_name("dials_figures.py")
    return json.loads(dials(interpreter, str(script), *words).splitlines()[-1])


def assert_same_geometry(shown: dict, instrument, images: int) -> None:
    for name in ("origin", "fast_axis", "slow_axis", "beam_direction", "pixel_size", "wavelength"):
        np.testing.assert_allclose(shown[name], getattr(instrument, name), rtol=0, atol=GEOMETRY, err_msg=name)
    assert shown["image_size"] == [instrument.n_fast, instrument.n_slow]
    if instrument.is_still:
        assert shown["oscillation"] is None or shown["oscillation"][1] == 0.0
        return
    np.testing.assert_allclose(shown["spindle_axis"], instrument.spindle_axis, rtol=0, atol=GEOMETRY)
    np.testing.assert_allclose(shown["oscillation"], [instrument.phi_start, instrument.osc], rtol=0, atol=GEOMETRY)
    assert shown["images"] == images


@pytest.mark.parametrize(
    ("convention", "kind"), [("adxv", "expt"), ("mosflm", "expt"), ("dials", "expt"), ("adxv", "nxmx"), ("xds", "nxmx")]
)
def test_dials_shows_our_geometry(convention, kind):
    """Clauses 30.61, 30.70 and 30.76: tilted detector and spindle."""
    instrument = describe_instrument(job_of(f"-{convention} {TILTED}").experiment)
    if kind == "expt":
        write_expt("imported.expt", instrument, ["x_0001.img", "x_0002.img"], n_images=2)
    else:
        write_nxmx("x.h5", np.zeros((2, 40, 60), np.uint16), instrument)
        dials("dials.import", "x.h5")
    assert_same_geometry(by_dials("geometry", "imported.expt"), instrument, 2)
    assert "Rotation axis" in dials("dials.show", "imported.expt")


@pytest.mark.parametrize("convention", ["mosflm", "xds"])
def test_dials_shows_the_geometry_of_a_cbf_header(convention):
    """Clauses 30.66 and 30.67."""
    instrument = describe_instrument(job_of(f"-{convention} {FLAGS}").experiment)
    write_cbf("x_0001.cbf", np.zeros((40, 60), np.int32), instrument)
    dials("dials.import", "x_0001.cbf")
    assert_same_geometry(by_dials("geometry", "imported.expt"), instrument, 1)


@pytest.mark.parametrize("suffix", ["cbf", "h5"])
def test_dials_takes_a_still_for_one(suffix):
    """Clauses 30.71 and 30.77."""
    instrument = describe_instrument(job_of(f"-mosflm {FLAGS.replace('-osc 0.5', '')}").experiment)
    pixels = np.zeros((40, 60), np.int32)
    (write_cbf if suffix == "cbf" else write_nxmx)(f"x_0001.{suffix}", pixels, instrument)
    dials("dials.import", f"x_0001.{suffix}")
    assert_same_geometry(by_dials("geometry", "imported.expt"), instrument, 1)


def process(first: str) -> None:
    dials("dials.find_spots", first, "nproc=1")
    dials("dials.index", first, "strong.refl")
    dials("dials.refine", "indexed.expt", "indexed.refl")
    dials("dials.integrate", "refined.expt", "refined.refl", "nproc=1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("convention", "name", "crystal"),
    [
        ("mosflm", "s_#####.cbf", SMOOTH),
        ("dials", "s.h5", SMOOTH),
        ("adxv", "s_#####.img", SMOOTH),
        ("dials", "s.h5", FRINGED),
    ],
    ids=["cbf", "nxmx", "smv", "fringed"],
)
def test_dials_processes_a_rotation_series(convention, name, crystal):
    """Clauses 30.66, 30.70 and 30.76: 30 degrees of lambda Cro repressor, without any option on import."""
    Path("beamstop.txt").write_text("335 365 335 365\n")
    model = str(files("numbragg") / "data" / "1orc.pdb")
    outcome = run("simulate", SERIES, f"-{convention} -hkl {model}", SCENE, crystal, f"-noisefile {name}")
    assert outcome.status == 0, outcome.err
    if name.endswith(".img"):
        process("s.expt")
    else:
        images = ["s.h5"] if name.endswith(".h5") else sorted(map(str, Path().glob("s_*.cbf")))
        dials("dials.import", *images)
        process("imported.expt")
    found = by_dials("figures", ".")
    refined = read_expt("refined.expt").instrument
    print(json.dumps({key: value for key, value in found.items() if key not in ("hkl", "intensity")}))
    print(np.linalg.norm(refined.cell_axes, axis=1), refined.distance, np.divide(refined.beam_centre, 0.172))
    assert found["spots"] > 1000
    assert found["indexed"] >= INDEXED
    lengths = np.linalg.norm(refined.cell_axes, axis=1)
    cosines = (refined.cell_axes @ refined.cell_axes.T / np.outer(lengths, lengths))[[1, 0, 0], [2, 2, 1]]
    np.testing.assert_allclose(lengths, CELL, rtol=CELL_LENGTH)
    np.testing.assert_allclose(np.degrees(np.arccos(cosines)), 90.0, rtol=0, atol=CELL_ANGLE)
    truth = describe_instrument(job_of(f"-{convention} -hkl {model} {SCENE} -osc 1").experiment)
    np.testing.assert_allclose(refined.distance, truth.distance, rtol=DISTANCE)
    np.testing.assert_allclose(refined.beam_centre, truth.beam_centre, rtol=0, atol=BEAM_CENTRE * 0.172)
    assert max(found["rmsd"][:2]) < RMSD_PIXEL
    assert found["rmsd"][2] < RMSD_IMAGE
    table = job_of(f"-{convention} -hkl {model} {SCENE}").experiment.crystal.structure_factors
    place = np.array(found["hkl"]) - table.minimum
    inside = ((place >= 0) & (place < table.values.shape)).all(axis=1)
    squared = table.values[tuple(place[inside].T)] ** 2
    correlation = np.corrcoef(np.array(found["intensity"])[inside], squared)[0, 1]
    print("correlation", correlation, inside.sum())
    assert correlation > CORRELATION
    image = next(path for path in sorted(Path().glob("s*")) if path.suffix in (".cbf", ".h5", ".img"))
    assert read_provenance(image) is not None
