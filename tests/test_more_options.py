"""Options beyond nanoBragg: sample, beam and detector effects (specs/20-command-line.md, 20.50 to 20.55)."""

import contextlib
import importlib.resources
import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import job_of, run
from hypothesis import given, settings
from hypothesis import strategies as st

from numbragg import DetectorEffects, NumbraggError, NumbraggWarning, amorphous_layer, detector_image, simulate
from numbragg.compat.build import build_job
from numbragg.compat.extras import extras_of
from numbragg.compat.flags import split_options
from numbragg.compat.more_options import add_options
from numbragg.compat.options import EFFECTS, SAMPLE
from numbragg.io.bad_pixels import read_bad_pixels
from numbragg.io.smv import read_smv

SCENE = "-cell 60 70 80 90 90 90 -default_F 100 -N 5 -detpixels 24 -pixel 0.8 -distance 60 -oversample 1 -seed 3"
IMAGES = "-fluence 1e24 -nopgm -noprogress -intfile int.img -floatfile float.bin -noisefile noise.img"
ROUNDING = 1e-12  # relative: the same operations in another order
SINGLE = 1e-6  # relative: images are written in single precision
EXAMPLES = {
    "--background": "water:thickness=0.1",
    "--spectrum": "spectrum.txt",
    "--spectrum-points": "2",
    "--mosaic-spreads": "0.1,0.2,0.3",
    "--line-hkl": "model",
    "--calibration-seed": "4",
    "--psf": "gaussian",
    "--psf-fwhm": "0.1",
    "--psf-radius": "2",
    "--saturation": "1000",
    "--bad-pixels": "bad.txt",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spectrum.txt").write_text("# energy weight\n12000 1\n12100 3\n12300 2\n")
    Path("bad.txt").write_text("3 4\n10 12 0 1\n")
    Path("glass.stol").write_text("0 20\n0.1 30\n0.3 25\n")


def experiment_of(line: str):
    options, words = split_options(line.split())
    return build_job(words, "spec", extras=extras_of(options)).experiment


def test_layers_of_the_background_are_those_of_the_interface():
    """Clause 20.50."""
    (water, air, glass) = experiment_of(
        f"{SCENE} --background water:thickness=0.01+air:thickness=20:width=0.3:density=0.002"
        "+glass.stol:thickness=0.05:density=2.2:mw=60.1"
    ).background
    assert (water.thickness, water.density, water.width) == (0.01, 0.997, None)
    assert (air.thickness, air.density, air.molecular_weight, air.width) == (20.0, 0.002, 28.96, 0.3)
    assert (glass.density, glass.molecular_weight, glass.amplitude.tolist()) == (2.2, 60.1, [20.0, 30.0, 25.0])


def test_background_is_in_the_image_of_the_command():
    """Clause 20.50."""
    result = run(f"simulate {SCENE} -beamsize 0.2 --background water:thickness=0.5", IMAGES)
    assert result.status == 0, result.err
    written = np.fromfile("float.bin", np.float32).reshape(24, 24)
    expected = simulate(experiment_of(f"{SCENE} -beamsize 0.2 -fluence 1e24 --background water:thickness=0.5"))
    np.testing.assert_allclose(written, expected, rtol=SINGLE)
    bare = simulate(experiment_of(f"{SCENE} -fluence 1e24"))
    assert (expected > bare).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("water", "a layer is NAME:thickness=MM"),
        ("", "takes NAME:thickness"),
        ("+", "a layer is NAME:thickness=MM"),
        ("water:thick=1", "'thick=1' is none of thickness=, density=, mw=, width="),
        ("water:thickness", "is none of"),
        ("water:thickness=x", "thickness takes a number, not 'x'"),
        ("water:thickness=-1", "thickness must not be negative"),
        ("water:thickness=nan", "thickness takes a number, not 'nan'"),
        ("water:thickness=1_0", "thickness takes a number, not '1_0'"),
        ("ice:thickness=1", "ice is none of water, air"),
        ("ice:thickness=1:density=1:mw=18", "cannot read ice: no such file"),
    ],
)
def test_layers_that_make_no_sense_are_refused(layers, message):
    """Clause 20.50."""
    result = run(f"simulate {SCENE} --background={layers}", IMAGES)
    assert result.status == 2
    assert message in result.err
    assert not list(Path().glob("*.img"))


@pytest.mark.parametrize(("flag", "unit"), [("-stol", 1.0), ("-4stol", 0.25), ("-Q", 1 / (4 * np.pi))])
def test_table_of_amplitudes_belongs_to_the_cube_of_water(flag, unit):
    """Clause 20.51; Q30."""
    experiment = job_of(f"{SCENE} -water 200 {flag} glass.stol").experiment
    (layer,) = experiment.background
    assert experiment.water_size == 0
    assert (layer.thickness, layer.width, layer.density, layer.molecular_weight) == (0.2, 0.2, 1.0, 18.0)
    np.testing.assert_allclose(layer.stol, np.array([0.0, 0.1, 0.3]) * unit)
    heavy = job_of(f"{SCENE} -water 200 {flag} glass.stol -density 2 -MW 60").experiment.background[0]
    assert (heavy.density, heavy.molecular_weight) == (2.0, 60.0)


def test_flat_table_of_water_is_the_cube_of_water():
    """Clause 20.51: with 2.57 electrons everywhere, the background of -water alone."""
    Path("flat.stol").write_text("0 2.57\n1 2.57\n")
    with_table = simulate(job_of(f"{SCENE} -water 200 -stol flat.stol").experiment)
    with_constant = simulate(job_of(f"{SCENE} -water 200").experiment)
    np.testing.assert_allclose(with_table, with_constant, rtol=ROUNDING)


def test_table_of_amplitudes_needs_a_cube():
    """Clause 20.51."""
    with pytest.raises(NumbraggError, match="-Q needs the size of what scatters: give -water UM"):
        job_of(f"{SCENE} -Q glass.stol")


def test_table_of_amplitudes_changes_nothing_in_mode_c():
    """Q30."""
    with pytest.warns(NumbraggWarning, match="-stol: accepted, without effect"):
        experiment = job_of(f"{SCENE} -water 200 -stol nowhere", "c").experiment
    assert (experiment.background, experiment.water_size) == ((), 200)


def test_density_without_a_table_has_no_effect_and_says_so():
    """Clause 20.20."""
    with pytest.warns(NumbraggWarning, match="-density 2 is accepted and has no effect"):
        job_of(f"{SCENE} -density 2")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        job_of(f"{SCENE} -water 1 -stol glass.stol -density 2")
    assert not any("no effect" in str(note.message) for note in notes)


def test_spectrum_sets_the_wavelength():
    """Clause 20.52."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        beam = experiment_of(f"{SCENE} --spectrum spectrum.txt").beam
    assert beam.wavelength == beam.spectrum.mean
    np.testing.assert_allclose(beam.spectrum.wavelengths, 12398.42 / np.array([12000, 12100, 12300]))
    assert len(experiment_of(f"{SCENE} --spectrum spectrum.txt --spectrum-points 2").beam.spectrum.weights) == 2


def test_wavelength_scales_the_spectrum_and_says_so():
    """Clause 20.52."""
    with pytest.warns(NumbraggWarning, match=r"the spectrum, of mean 1\.02\d+ A, is scaled to .* 1\.5 A"):
        beam = experiment_of(f"{SCENE} -lambda 1.5 --spectrum spectrum.txt").beam
    assert beam.wavelength == 1.5
    with pytest.warns(NumbraggWarning, match="--spectrum overrides -dispersion"):
        experiment_of(f"{SCENE} -dispersion 1 -dispsteps 3 --spectrum spectrum.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--spectrum-points 3", "--spectrum-points needs --spectrum FILE"),
        ("--spectrum nowhere.txt", "cannot read nowhere.txt: no such file"),
        ("--spectrum spectrum.txt -sourcefile s.txt", "--spectrum and -sourcefile both set the wavelengths"),
        ("--mosaic-spreads 1,2", "--mosaic-spreads takes three numbers A,B,C (deg), not '1,2'"),
        ("--mosaic-spreads 1,2,x", "--mosaic-spreads takes a number, not 'x'"),
        ("--mosaic-spreads 1,2,0", "each spread must be above 0, not 1,2,0"),
        ("--mosaic-spreads 1,2,nan -mosaic_dom 3", "--mosaic-spreads takes a number, not 'nan'"),
        ("-mosaic 1 -mosaic_dom 3 --mosaic-spreads 1,2,3", "-mosaic and --mosaic-spreads contradict each other"),
        ("--psf gaussian", "--psf gaussian|fiber and --psf-fwhm MM belong together"),
        ("--psf-fwhm 0.1", "--psf gaussian|fiber and --psf-fwhm MM belong together"),
        ("--psf-radius 3", "--psf-radius needs --psf"),
        ("--psf box", "--psf is one of gaussian, fiber, not 'box'"),
        ("--psf gaussian --psf-fwhm 0", "a width above 0 mm"),
        ("--gain 0", "gain must be above zero"),
        ("--gain -1", "--gain takes a number of at least 0 (ADU), not '-1'"),
        ("--readout-noise nan", "--readout-noise takes a number"),
        ("--flicker 1e999", "--flicker takes a number"),
        ("--saturation 0.5", "--saturation is a positive whole number"),
        ("--saturation 70000", "an SMV image (noise.img) holds counts up to 65535"),
        ("--saturation 20", "ADC offset of 40 lies beyond the saturation at 20"),
        ("--bad-pixels nowhere.txt", "cannot read nowhere.txt: no such file"),
        ("--bad-pixels glass.stol", "glass.stol, line 2: expected FAST SLOW"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_the_work(line, message):
    """Clauses 20.52 to 20.55: one line, exit code 2, no file."""
    Path("s.txt").write_text("-1 0 0 1 1e-10\n")
    result = run(f"simulate {SCENE} {line}", IMAGES)
    assert result.status == 2
    assert message in result.err
    assert len([text for text in result.err.splitlines() if text.startswith("numbragg: error:")]) == 1
    assert not list(Path().glob("*.img"))


@pytest.mark.parametrize("name", [option.name for option in (*SAMPLE, *EFFECTS)])
def test_options_are_refused_in_mode_c(name):
    """Clause 20.49."""
    result = run(f"simulate --compat c {SCENE} {name} {EXAMPLES.get(name, '0.5')}", IMAGES)
    assert result.status == 2
    assert "--compat spec" in result.err


def test_three_spreads_take_the_domains_of_their_flag():
    """Clause 20.53."""
    crystal = experiment_of(f"{SCENE} --mosaic-spreads 0.1,0.2,0.3 -mosaic_dom 4").crystal
    assert (crystal.mosaic_spreads, crystal.mosaic_domains, crystal.mosaic_spread) == ((0.1, 0.2, 0.3), 4, 0.0)
    with pytest.warns(NumbraggWarning, match="upping to 10 mosaic domains"):
        assert experiment_of(f"{SCENE} --mosaic-spreads 0.1,0.2,0.3").crystal.mosaic_domains == 10
    result = run(f"simulate {SCENE} --mosaic-spreads 0.1,0.2,0.3 -mosaic_dom 4", IMAGES)
    assert "4 mosaic domains over mosaic spread of 0.1 0.2 0.3 degrees" in result.out


def test_noise_image_goes_through_the_detector_and_no_other_image_does():
    """Clause 20.54."""
    detector = (
        "--flicker 0.05 --calibration-error 0.03 --calibration-seed 9 --psf fiber --psf-fwhm 0.7 --psf-radius 5 "
        "--gain 1.6 --readout-noise 3 --saturation 60000 --bad-pixels bad.txt"
    )
    plain = run(f"simulate {SCENE}", IMAGES)
    kept = {name: Path(name).read_bytes() for name in ("int.img", "float.bin")}
    before = read_smv("noise.img")[1]
    result = run(f"simulate {SCENE} {detector}", IMAGES)
    assert (plain.status, result.status) == (0, 0), result.err
    photons = simulate(job_of(f"{SCENE} -fluence 1e24").experiment)
    bad = np.zeros((24, 24), bool)
    bad[4, 3] = bad[0:2, 10:13] = True
    effects = DetectorEffects(
        flicker=0.05, calibration_error=0.03, calibration_seed=9, point_spread="fiber", fwhm=0.7, radius=5, gain=1.6,
        readout_noise=3.0, saturation=60000, bad_pixels=bad,
    )  # fmt: skip
    expected = detector_image(photons, effects, seed=-3, pixel_size=0.8)
    counts = read_smv("noise.img")[1]
    assert (counts == expected.counts).all()
    assert (counts[bad] == 0).all()
    assert (counts != before).any()
    assert f"{expected.photons} photons on noise image ({expected.overloads} overloads)" in result.out
    # The provenance in the header names the options, so the pixels are compared.
    assert (read_smv("int.img")[1].tobytes(), Path("float.bin").read_bytes()) == (
        kept["int.img"][-2 * 24 * 24 :],
        kept["float.bin"],
    )


def test_offset_is_that_of_the_flag():
    """Clause 20.54."""
    options, words = split_options(f"{SCENE} -adc 7 --gain 2".split())
    job = add_options(build_job(words), options)
    assert (job.effects.adc_offset, job.effects.gain) == (7.0, 2.0)
    assert add_options(build_job(words), {}).effects is None


@pytest.mark.parametrize("command", ["trace -trace_pixel 4 5", "gradcheck --pixels 3 --parameters beam.wavelength"])
def test_other_commands_take_the_sample_and_the_beam_too(command):
    """Clauses 20.50 to 20.53."""
    result = run(f"{command} {SCENE} --background water:thickness=0.5 --spectrum spectrum.txt")
    assert result.status == 0, result.err
    plain = run(f"{command} {SCENE}")
    assert plain.out != result.out


def test_bad_pixels_are_single_or_rectangles(tmp_path):
    """Clause 30.54."""
    (tmp_path / "b.txt").write_text("# fast slow\n1 2\n\n0 1 3 4 # corner\n")
    bad = read_bad_pixels(tmp_path / "b.txt", (5, 3))
    expected = np.zeros((5, 3), bool)
    expected[2, 1] = expected[3:5, 0:2] = True
    assert (bad == expected).all()


@pytest.mark.parametrize("text", ["1\n", "1 2 3\n", "1 x\n", "-1 0\n", "3 0\n", "0 5\n", "2 1 0 0\n", "0 0 3 2\n"])
def test_bad_pixels_off_the_detector_are_refused_with_their_line(tmp_path, text):
    """Clause 30.54."""
    (tmp_path / "b.txt").write_text("0 0\n" + text)
    with pytest.raises(NumbraggError, match=r"b\.txt, line 2: "):
        read_bad_pixels(tmp_path / "b.txt", (5, 3))


@given(st.lists(st.text(st.sampled_from("water:+=thicknes01.5,-"), max_size=20), max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_layers_are_read_or_refused(words):
    """Clause 20.50."""
    layers = "+".join(words)
    with pytest.raises(NumbraggError) if "thickness=" not in layers else contextlib.suppress(NumbraggError):
        extras_of({"background": layers})


def test_named_layers_are_those_of_the_package():
    """Clause 20.50."""
    (layer,) = extras_of({"background": "air:thickness=3"}).background
    expected = amorphous_layer("air", thickness=3.0)
    assert (layer.amplitude == expected.amplitude).all()
    assert layer.density == expected.density


def test_page_for_newcomers_gives_the_same_image_two_ways():
    """Clause 85.1, with fewer pixels."""
    page = (Path(__file__).parents[1] / "specs" / "85-detector.md").read_text()
    with importlib.resources.as_file(importlib.resources.files("numbragg") / "data" / "1orc.pdb") as model:
        page = page.replace("examples/1orc.pdb", str(model)).replace("-detpixels 1024", "-detpixels 96")
        command = page.split("```sh\n")[1].split("```")[0].replace("\\\n", " ")
        result = run(command.removeprefix("numbragg "), "-nopgm -noprogress")
        assert result.status == 0, result.err
        names: dict = {}
        exec(page.split("```python\n")[1].split("```")[0], names)
    assert (read_smv("image_00001.img")[1] == names["counts"]).all()
    assert names["counts"].max() > 100
