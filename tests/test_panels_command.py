"""Several panels on the command line (specs/20-command-line.md, 20.27)."""

import json
from importlib.resources import files

import numpy as np
import pytest
from command_line import run
from panel_scene import experiment_of

from numbragg.compat.build import build_job, parse_flags
from numbragg.errors import NumbraggError
from numbragg.instruments import describe_instrument
from numbragg.io.expt import write_expt
from numbragg.io.nxmx import read_nxmx, read_nxmx_instrument

CRYSTAL = f"-hkl {files('numbragg') / 'data' / '1orc.pdb'} -N 12 -misset 23 41 67 -fluence 1e26 -seed 2 -noprogress"
FLAGS = f"--geometry d.expt {CRYSTAL} -oversample 1"
ROUNDING = 1e-9
"""Of numbers that went through a file as text."""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    instrument = describe_instrument(experiment_of())
    write_expt("d.expt", instrument, ["x.h5"], crystal=False)


def test_all_panels_are_simulated_in_one_image():
    """Clauses 20.27, 30.80 and 30.84."""
    outcome = run(f"simulate {FLAGS} -floatfile all.npy")
    assert outcome.status == 0, outcome.err
    assert "on each of 4 panels" in outcome.out
    photons = np.load("all.npy")
    assert photons.shape == (4, 60, 80)
    counts = read_nxmx("noiseimage.h5", 0)
    assert counts.shape == photons.shape
    assert abs(counts.sum() - photons.sum()) < 5.0 * np.sqrt(photons.sum())
    assert len(read_nxmx_instrument("noiseimage.h5").panels) == 4


def test_one_panel_has_the_image_that_it_has_among_the_others():
    """Clauses 10.98 and 20.27: of a model too, whose table reaches the farthest corner of all panels."""
    assert run(f"simulate {FLAGS} -floatfile all.npy -nonoise").status == 0
    outcome = run(f"simulate {FLAGS} --panel 2 -floatfile one.npy -noisefile one.img --expt geometry")
    assert outcome.status == 0, outcome.err
    assert "on panel 2 of 4" in outcome.out
    np.testing.assert_array_equal(np.load("one.npy"), np.load("all.npy")[2])
    again = build_job([*CRYSTAL.split(), "-oversample", "1"], geometry="one.expt").experiment
    alone = describe_instrument(again)
    panel = describe_instrument(build_job(CRYSTAL.split(), geometry="d.expt").experiment).panels[2]
    np.testing.assert_allclose(alone.origin, panel.origin, rtol=ROUNDING)
    np.testing.assert_allclose(alone.fast_axis, panel.fast_axis, atol=ROUNDING)


def test_an_image_says_how_to_simulate_it_again():
    """Clauses 30.60 and 30.64."""
    assert run(f"simulate {FLAGS} --panel 1 -floatfile one.npy -noisefile one.h5").status == 0
    told = run("info one.h5").out
    assert f"--panel 1 {CRYSTAL}" in told


def test_the_geometry_of_an_image_serves_the_next():
    """Clauses 30.79 and 30.94."""
    assert run(f"simulate {FLAGS} -floatfile all.npy").status == 0
    # The file has the orientation, misset included.
    flags = FLAGS.replace("d.expt", "noiseimage.h5").replace("-misset 23 41 67", "")
    assert run(f"simulate {flags} -floatfile again.npy -nonoise").status == 0
    first, second = np.load("all.npy"), np.load("again.npy")
    np.testing.assert_allclose(second, first, rtol=0, atol=1e-6 * first.max())


def test_flags_move_all_panels():
    """Clauses 10.98 and 30.90."""
    before = build_job(CRYSTAL.split(), geometry="d.expt").experiment
    after = build_job([*CRYSTAL.split(), "-distance", "70"], geometry="d.expt").experiment
    assert before.detector.distance != 70.0
    steps = [
        new.origin - old.origin
        for old, new in zip(describe_instrument(before).panels, describe_instrument(after).panels, strict=True)
    ]
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], (4, 3)), atol=ROUNDING)
    np.testing.assert_allclose(np.linalg.norm(steps[0]), abs(70.0 - before.detector.distance), rtol=ROUNDING)


def test_bad_pixels_name_their_panel():
    """Clauses 20.54 and 30.54."""
    with open("bad.txt", "w") as stream:
        stream.write("3 10 20\n0 5 9 7 8\n")
    assert run(f"simulate {FLAGS} -floatfile all.npy --bad-pixels bad.txt -adc 10").status == 0
    counts = read_nxmx("noiseimage.h5", 0)
    assert counts[3, 20, 10] == 0
    assert (counts[0, 7:9, 5:10] == 0).all()
    assert np.count_nonzero(counts == 0) == 11


def test_other_outputs_have_one_panel_after_the_other():
    """Clause 20.27."""
    assert run(f"simulate {FLAGS} -floatfile all.bin -nonoise -pgmfile all.pgm -pngfile all.png -printout").status == 0
    assert np.fromfile("all.bin", np.float32).size == 4 * 60 * 80
    with open("all.pgm", "rb") as stream:
        assert b"80 240" in stream.read(60)
    outcome = run(f"simulate {FLAGS} -floatfile a.bin -intfile i.h5 -nonoise -nopgm -printout")
    lines = [line for line in outcome.out.splitlines() if line.startswith("pixel panel")]
    assert len(lines) == 4 * 60 * 80
    assert lines[-1].startswith("pixel panel 3 fast 79 slow 59 photons ")


def test_a_pixel_of_a_panel_is_traced():
    """Clauses 20.27 and 80.1."""
    assert run(f"simulate {FLAGS} -floatfile all.npy -nonoise").status == 0
    outcome = run(f"trace {FLAGS} --panel 2 -trace_pixel 7 9 --json t.json")
    assert outcome.status == 0, outcome.err
    with open("t.json") as stream:
        traced = json.load(stream)
    np.testing.assert_allclose(traced["I_pixel_final"], np.load("all.npy")[2, 7, 9], rtol=1e-12)


def test_derivatives_of_panels_are_checked():
    """Clause 50.70."""
    outcome = run(f"gradcheck {FLAGS} --parameters detector.distance,detector.rot_x,misset.y --pixels 60")
    assert outcome.status == 0, outcome.out + outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--panel 4", "there is no panel 4: it has 4 panels, counted from 0"),
        ("--panel -1", "counted from 0, not '-1'"),
        ("--panel one", "counted from 0, not 'one'"),
        ("--panel", "--panel takes PANEL"),
        ("-roi 0 3 0 3", "a region of interest is one panel's"),
        ("-printout_pixel 3 4", "choose one with --panel"),
        ("-detpixels 90", "-detpixels does not go with the 4 panels"),
        ("-pixel 0.3", "-pixel does not go with the 4 panels"),
        ("-detsize 30", "-detsize does not go with the 4 panels"),
        ("-curved_det", "several panels are flat"),
        ("-noisefile x.cbf", "CBF holds one panel"),
        ("--format smv", "SMV holds one panel"),
        ("--compat c", "--geometry needs --compat spec"),
    ],
)
def test_what_does_not_go_with_panels_is_refused_before_the_work(words, message):
    """Clauses 20.27 and 30.97."""
    outcome = run(f"simulate {FLAGS} -floatfile all.npy {words}")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    with pytest.raises(FileNotFoundError):
        np.load("all.npy")


def test_a_panel_of_a_detector_with_one_is_refused():
    outcome = run(f"simulate {CRYSTAL} -detpixels 30 --panel 0")
    assert outcome.status == 2
    assert "there is no panel 0: it has one panel" in outcome.err


def test_flags_of_a_program_take_a_geometry_file():
    """Clause 30.90."""
    experiment = parse_flags([*CRYSTAL.split(), "-oversample", "1"], geometry="d.expt")
    assert experiment.detector.shape == (4, 60, 80)
    with pytest.raises(NumbraggError, match=r"nanoBragg\.c reads no such file"):
        parse_flags(CRYSTAL.split(), "c", geometry="d.expt")
