"""One table of structure factors for each line of a spectrum (specs/10-physics.md, clause 10.94; 20.56; 50.6)."""

import dataclasses
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

from numbragg import (
    AmorphousLayer,
    NumbraggError,
    NumbraggWarning,
    Panel,
    Sampling,
    Spectrum,
    StructureFactors,
    gradcheck,
    image_function,
    jacobian,
    parse_flags,
    predict_reflections,
    refine,
    simulate,
    simulate_background,
    structure_factor_jacobian,
    trace,
)
from numbragg.compat.build import build_job
from numbragg.compat.extras import extras_of
from numbragg.compat.options import split_options
from numbragg.fmodel import compute_at_wavelengths, compute_structure_factors
from numbragg.io.hkl import write_hkl
from numbragg.io.mtz import write_mtz
from numbragg.lowering.lines import by_line
from numbragg.provenance import command_line, read_provenance

SUMMATION = 1e-10  # of the largest pixel: the same terms in another order, on the flanks of peaks
DERIVATIVE = 1e-9  # of the norm: clause 50.10
DIFFERENCE = 1e-5  # of the norm: clause 50.41
MIXED = 2e-5  # of the largest pixel: clause 60.23
TRANSFORM = 1e-5  # of the root mean square of F: clause 30.14
SINGLE = 1e-6  # relative: images are written in single precision

WAVELENGTHS = np.array([0.97, 0.98, 1.0, 1.03])
WEIGHTS = np.array([1.0, 7.0, 2.5, 0.5])
SPECTRUM = Spectrum(WAVELENGTHS, WEIGHTS)
BACKGROUND = AmorphousLayer(stol=np.array([0.0, 0.2, 0.5]), amplitude=np.array([3.0, 8.0, 2.0]), thickness=1e-11)
NAMES = ["cell.a", "misset.x", "beam.wavelength", "beam.fluence", "n_cells.a", "detector.distance"]


@pytest.fixture
def scene(make_experiment, make_table):
    """An experiment with a table for each of four lines, background and water; any field can be replaced."""

    def make(*, beam=None, **rest):
        beam = {"wavelength": SPECTRUM.mean, "spectrum": SPECTRUM, **(beam or {})}
        tables = tuple(make_table(6, seed=seed) for seed in range(4))
        return make_experiment(
            **{"beam": beam, "line_factors": tables, "background": (BACKGROUND,), "water_size": 0.01, **rest}
        )

    return make


def lines_apart(experiment):
    """The images of the lines, each as an experiment of one wavelength."""
    beam, spectrum = experiment.beam, experiment.beam.spectrum
    shares = spectrum.weights / spectrum.weights.sum()
    for wavelength, share, table in zip(spectrum.wavelengths, shares, experiment.line_factors, strict=True):
        alone = dataclasses.replace(
            beam,
            wavelength=wavelength * beam.wavelength / spectrum.mean,
            fluence=share * beam.fluence,
            spectrum=None,
        )
        crystal = dataclasses.replace(experiment.crystal, structure_factors=table)
        yield simulate(dataclasses.replace(experiment, beam=alone, crystal=crystal, line_factors=()))


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("oversample", [None, 2])
def test_equal_tables_give_the_image_of_the_spectrum(scene, make_table, precision, oversample):
    """Clause 10.94: water and background too, and the automatic sub-pixels of the whole spectrum."""
    plain = scene(line_factors=(), crystal={"structure_factors": make_table(6)}, oversample=oversample)
    lines = dataclasses.replace(plain, line_factors=(make_table(6),) * 4)
    image, whole = simulate(lines, precision=precision), simulate(plain)
    tolerance = SUMMATION if precision == "double" else MIXED
    np.testing.assert_allclose(image, whole, rtol=0, atol=tolerance * whole.max())


def test_background_counts_once(scene):
    """Clause 10.94: the shares of the lines add up to the fluence."""
    dark = StructureFactors((0, 0, 0), np.zeros((1, 1, 1)))
    experiment = scene(crystal={"default_f": 0.0}, line_factors=(dark,) * 4, water_size=0.0)
    plain = dataclasses.replace(experiment, line_factors=())
    background = simulate_background(plain)
    assert background.any()
    assert (simulate_background(experiment) == background).all()
    np.testing.assert_allclose(simulate(experiment), background, rtol=0, atol=SUMMATION * background.max())


def test_one_line_is_the_monochromatic_image_bit_for_bit(scene, make_table):
    """Clause 10.94."""
    line = Spectrum(np.array([0.9]), np.array([3.0]))
    beam = {"wavelength": 0.9, "spectrum": line, "divergence_vertical": Sampling(range=4.0, count=2)}
    experiment = scene(beam=beam, line_factors=(make_table(6, seed=5),))
    (alone,) = lines_apart(experiment)
    assert (simulate(experiment) == alone).all()


def test_image_is_the_sum_of_those_of_the_lines(scene):
    """Clause 10.94: each with its own table, and none of the table of the crystal."""
    experiment = scene(beam={"wavelength": 1.3, "spectrum": SPECTRUM})
    image, expected = simulate(experiment), sum(lines_apart(experiment))
    np.testing.assert_allclose(image, expected, rtol=0, atol=SUMMATION * expected.max())
    swapped = dataclasses.replace(experiment, line_factors=experiment.line_factors[::-1])
    assert not np.allclose(simulate(swapped), expected, rtol=0.01)


def test_line_without_weight_is_left_out(scene):
    """Clause 10.94."""
    weights = np.array([1.0, 0.0, 2.0, 0.0])
    spectrum = Spectrum(WAVELENGTHS, weights)
    experiment = scene(beam={"wavelength": spectrum.mean, "spectrum": spectrum})
    assert [line.factors["beam.fluence"] for line in by_line(experiment)] == [1 / 3, 2 / 3]
    image, expected = simulate(experiment), sum(lines_apart(experiment))
    np.testing.assert_allclose(image, expected, rtol=0, atol=SUMMATION * expected.max())


def test_pixels_and_threads_do_not_matter(scene):
    """Clause 10.4."""
    experiment = scene()
    image = simulate(experiment)
    chosen = (np.array([2, 7, 7]), np.array([3, 1, 16]))
    assert (simulate(experiment, pixels=chosen) == image[chosen]).all()
    assert (simulate(experiment, threads=1) == simulate(experiment, threads=3)).all()
    mask = np.zeros(image.shape, dtype=bool)
    mask[chosen] = True
    masked = dataclasses.replace(experiment, mask=mask)
    assert (simulate(masked) == np.where(mask, image, 0.0)).all()
    slopes = jacobian(experiment, NAMES)
    assert (jacobian(experiment, NAMES, pixels=chosen) == slopes[:, chosen[0], chosen[1]]).all()


def test_progress_is_that_of_the_whole_job(scene):
    """Clause 10.94."""
    seen = []
    simulate(scene(), progress=lambda done, total: seen.append(done / total), threads=1)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert sum(share < 0.5 for share in seen) >= 1


@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=5), st.integers(0, 100))
def test_share_of_a_line_does_not_depend_on_how_lines_are_listed(make_experiment, make_table, weights, seed):
    """Clause 10.94: the order of the lines with their tables is free, and a line may be listed in two parts."""
    rng = np.random.default_rng(seed)
    wavelengths = np.linspace(0.9, 1.1, len(weights))
    tables = [make_table(3, seed=k) for k in range(len(weights))]
    order = rng.permutation(len(weights))

    def image(wavelengths, weights, tables):
        spectrum = Spectrum(np.array(wavelengths), np.array(weights))
        beam = {"wavelength": 1.0, "spectrum": spectrum}
        return simulate(make_experiment(beam=beam, line_factors=tuple(tables)), pixels=([3, 8], [4, 11]))

    one = image(wavelengths, weights, tables)
    other = image(wavelengths[order], np.array(weights)[order], [tables[k] for k in order])
    half = 0.5 * weights[0]
    halves = image([*wavelengths, wavelengths[0]], [half, *weights[1:], half], [*tables, tables[0]])
    np.testing.assert_allclose(other, one, rtol=SUMMATION)
    np.testing.assert_allclose(halves, one, rtol=SUMMATION)


@pytest.mark.parametrize("shape", ["square", "gauss"])
@pytest.mark.parametrize("interpolate", [False, True])
def test_derivatives_agree(scene, shape, interpolate):
    """Clauses 50.6, 50.10 and 50.41: fused, complex step and central differences, with background and water."""
    crystal = {"shape": shape, "interpolate": interpolate}
    experiment = scene(crystal=crystal, beam={"wavelength": 1.05, "spectrum": SPECTRUM})
    fused, stepped = (jacobian(experiment, NAMES, method=method) for method in ("fused", "cs"))
    for one, other in zip(fused, stepped, strict=True):
        assert np.linalg.norm(one - other) <= DERIVATIVE * np.linalg.norm(other)
        assert np.any(other)
    report = gradcheck(experiment, NAMES)
    assert report.passed, report.table()
    assert [check.verdict for check in report.checks] == ["agrees"] * len(NAMES)
    assert all(check.cs_vs_3point <= DIFFERENCE for check in report.checks)


def test_derivatives_of_equal_tables_are_those_of_the_spectrum(scene, make_table):
    """Clause 50.6."""
    plain = scene(line_factors=(), crystal={"structure_factors": make_table(6)})
    lines = dataclasses.replace(plain, line_factors=(make_table(6),) * 4)
    for one, other in zip(jacobian(lines, NAMES), jacobian(plain, NAMES), strict=True):
        assert np.linalg.norm(one - other) <= DERIVATIVE * np.linalg.norm(other)


def test_whether_to_interpolate_is_chosen_for_the_tables_of_the_lines(scene):
    """Clause 50.42: the crystal's own table, or that it has none, has no say."""
    crystal = {"structure_factors": None, "n_cells": (2.0, 4.0, 3.0), "interpolate": None}
    experiment = scene(crystal=crystal)
    function = image_function(experiment, ["cell.a"])
    np.testing.assert_array_equal(function(function.x0), simulate(experiment).ravel())


def test_amplitudes_and_terms_of_lines_are_refused(scene, make_experiment, make_table):
    """Clauses 50.6 and 80.1."""
    experiment = scene()
    with pytest.raises(NumbraggError, match="each line of the spectrum has a table of its own"):
        jacobian(experiment, ["cell.a", "structure_factor[1,0,0]"])
    with pytest.raises(NumbraggError, match="each line of the spectrum has a table of its own"):
        structure_factor_jacobian(experiment)
    with pytest.raises(NumbraggError, match="each line of the spectrum has a table of structure factors of its own"):
        trace(experiment, 3, 4)
    with pytest.raises(NumbraggError, match="needs a spectrum"):
        make_experiment(line_factors=(make_table(2),))
    with pytest.raises(NumbraggError, match="2 tables of structure factors for 4 lines; resample"):
        scene(line_factors=(make_table(2),) * 2)


# A small crystal of selenomethionine's anomalous scatterer, across the edge of selenium at 0.9795 A.

MODEL = """\
CRYST1   18.000   20.000   24.000  90.00  90.00  90.00 P 21 21 21
ATOM      1  N   MSE A   1       3.100   4.200   5.300  1.00 10.00           N
ATOM      2  CA  MSE A   1       4.200   4.900   6.100  1.00 10.00           C
ATOM      3  C   MSE A   1       5.300   3.900   6.600  1.00 10.00           C
ATOM      4  O   MSE A   1       5.100   2.700   6.400  1.00 10.00           O
HETATM    5 SE   MSE A   1       6.900   6.300   7.700  1.00 12.00          SE
END
"""
EDGE = [12600.0, 12657.0, 12660.0, 12720.0]  # eV
FLAGS = (
    "-hkl se.pdb -N 6 -misset 10 20 30 -detpixels 24 -pixel 1.2 -distance 40 -oversample 1 -fluence 1e27 -seed 3 "
    "-dmin 2.2 --spectrum edge.txt"
)
IMAGES = "-nopgm -noprogress -intfile int.img -floatfile float.bin -noisefile noise.img"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("se.pdb").write_text(MODEL)
    weights = (1, 2, 2, 1)
    Path("edge.txt").write_text("".join(f"{energy} {weight}\n" for energy, weight in zip(EDGE, weights, strict=True)))


def experiment_of(line):
    options, words = split_options(shlex.split(line))
    return build_job(words, "spec", extras=extras_of(options)).experiment


def test_elements_together_give_what_each_wavelength_gives(folder):
    """Clause 30.16."""
    wavelengths = [12398.42 / energy for energy in EDGE]
    for wavelength, found in zip(
        wavelengths, compute_at_wavelengths("se.pdb", d_min=1.5, wavelengths=wavelengths), strict=True
    ):
        expected = compute_structure_factors("se.pdb", d_min=1.5, wavelength=wavelength)
        assert (found.hkl == expected.hkl).all()
        assert (found.cell, found.space_group) == (expected.cell, expected.space_group)
        scale = np.sqrt(np.mean(expected.amplitudes**2))
        assert np.abs(found.amplitudes - expected.amplitudes).max() <= TRANSFORM * scale


def test_anomalous_scatterer_differs_along_the_spectrum(folder):
    """Clauses 10.94 and 20.56: the sum of the images of -hkl at each wavelength."""
    experiment = experiment_of(f"{FLAGS} --line-hkl model")
    spectrum = experiment.beam.spectrum
    shares = spectrum.weights / spectrum.weights.sum()
    flags = FLAGS.replace("--spectrum edge.txt", "").split()
    alone = [
        simulate(parse_flags([*flags, "-lambda", repr(wavelength)])) for wavelength in spectrum.wavelengths.tolist()
    ]
    expected = sum(share * image for share, image in zip(shares, alone, strict=True))
    image, plain = simulate(experiment), simulate(dataclasses.replace(experiment, line_factors=()))
    # Amplitudes are good to TRANSFORM of their root mean square, intensities of the mean to twice that.
    np.testing.assert_allclose(image, expected, rtol=0, atol=4 * TRANSFORM * expected.max())
    assert np.abs(plain - expected).max() > 0.01 * expected.max()


def test_tables_reach_the_corner_at_every_wavelength(folder):
    """Clause 20.56: a model gives all that the shortest line can reach, or what -dmin leaves."""
    Path("edge.txt").write_text("0.8 1\n1.2 1\n")
    experiment = experiment_of(f"{FLAGS} --line-hkl model".replace("-dmin 2.2", ""))
    own = experiment.crystal.structure_factors
    assert {table.values.shape for table in experiment.line_factors} == {own.values.shape}
    flags = FLAGS.replace("-dmin 2.2", "").replace("--spectrum edge.txt", "").split()
    mean = parse_flags([*flags, "-lambda", repr(float(experiment.beam.wavelength))])
    assert own.values.size > mean.crystal.structure_factors.values.size
    limited = experiment_of(f"{FLAGS} --line-hkl model")
    assert {t.values.shape for t in limited.line_factors} == {limited.crystal.structure_factors.values.shape}


def write_tables(spectrum, name, suffix):
    found = compute_at_wavelengths("se.pdb", d_min=2.2, wavelengths=spectrum.wavelengths.tolist())
    for number, one in enumerate(found, start=1):
        if suffix == "mtz":
            write_mtz(f"{name}_{number:02d}.mtz", *one)
        else:
            write_hkl(f"{name}_{number:02d}.hkl", one.hkl, one.amplitudes)


@pytest.mark.parametrize("suffix", ["hkl", "mtz"])
def test_files_of_the_lines_are_those_of_their_numbers(folder, suffix):
    """Clause 20.56."""
    by_model = experiment_of(f"{FLAGS} --line-hkl model")
    write_tables(by_model.beam.spectrum, "F", suffix)
    by_file = experiment_of(f"{FLAGS} --line-hkl F_##.{suffix}")
    image, expected = simulate(by_file), simulate(by_model)
    # MTZ files hold single precision.
    np.testing.assert_allclose(image, expected, rtol=0, atol=SINGLE * expected.max())


def test_fewer_lines_take_tables_of_their_own(folder):
    """Clause 20.56: after --spectrum-points."""
    experiment = experiment_of(f"{FLAGS} --spectrum-points 2 --line-hkl model")
    assert len(experiment.line_factors) == len(experiment.beam.spectrum.weights) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (FLAGS.replace("--spectrum edge.txt", "--line-hkl model"), "--line-hkl needs --spectrum FILE"),
        (f"{FLAGS} --line-hkl model".replace("se.pdb", "F_01.hkl -cell 18 20 24 90 90 90"), "needs the model"),
        (f"{FLAGS} --line-hkl model".replace("-hkl se.pdb", "-default_F 9 -cell 18 20 24 90 90 90"), "needs the model"),
        (f"{FLAGS} --line-hkl F_##.hkl", "line 3 of the spectrum (0.979338 A): cannot read F_03.hkl: no such file"),
        (f"{FLAGS} --line-hkl F_01.hkl", "a run of # is needed for the number of the line"),
        (f"{FLAGS} --line-hkl #/F_##.hkl", "must be one run, in the name of the file"),
        (f"{FLAGS} --line-hkl other_##.mtz", "other_01.mtz is of the cell 18 20 25 90 90 90"),
        (f"{FLAGS} --line-hkl", "--line-hkl takes a file name"),
        (f"{FLAGS} --line-hkl model --compat c", "needs --compat spec"),
    ],
)
def test_tables_of_lines_that_do_not_fit_are_refused(folder, line, message):
    """Clauses 20.49 and 20.56."""
    for number in (1, 2):
        write_hkl(f"F_{number:02d}.hkl", np.array([[1, 0, 0]]), np.array([3.0]))
        cell = (18.0, 20.0, 25.0, 90.0, 90.0, 90.0)
        write_mtz(f"other_{number:02d}.mtz", np.array([[2, 0, 0], [-2, 0, 0]]), np.array([3.0, 3.0]), cell)
    result = run(f"simulate {line}", IMAGES)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert not Path("noise.img").exists()


def test_tables_beyond_the_last_line_are_named(folder):
    """Clause 20.56: a spectrum that has fewer lines than was thought."""
    for number in range(1, 6):
        write_hkl(f"F_{number:02d}.hkl", np.array([[1, 0, 0]]), np.array([3.0]))
    with pytest.warns(NumbraggWarning, match=r"F_05\.hkl is not used: the spectrum has 4 lines"):
        experiment_of(f"{FLAGS} --line-hkl F_##.hkl")


def test_command_line_writes_the_image_and_how_to_make_it_again(folder):
    """Clauses 20.56 and 20.62."""
    line = f"{FLAGS} --line-hkl model"
    result = run(f"simulate {line}", IMAGES)
    assert result.status == 0, result.err
    written = np.fromfile("float.bin", np.float32).reshape(24, 24)
    np.testing.assert_allclose(written, simulate(experiment_of(line)), rtol=SINGLE)
    first = Path("noise.img").read_bytes()
    again = command_line(read_provenance("noise.img")).removeprefix("numbragg ")
    assert "--line-hkl model" in again
    assert again in " ".join(run("info noise.img").out.split())
    Path("noise.img").unlink()
    assert run(again).status == 0
    assert Path("noise.img").read_bytes() == first


def test_series_has_the_tables_of_the_lines(folder):
    """Clauses 20.42 and 20.56."""
    flags = FLAGS.replace(" -seed 3", "")
    result = run(f"simulate {flags} --line-hkl model --images 2 --osc-per-image 1 -phisteps 2 -noprogress")
    assert result.status == 0, result.err
    with_lines = [Path(f"image_{number:05d}.img").read_bytes() for number in (1, 2)]
    for number in (1, 2):
        Path(f"image_{number:05d}.img").unlink()
    assert run(f"simulate {flags} --images 2 --osc-per-image 1 -phisteps 2 -noprogress").status == 0
    assert all(Path(f"image_{number:05d}.img").read_bytes() != with_lines[number - 1] for number in (1, 2))


def test_gradcheck_of_the_command_line_agrees(folder):
    """Clauses 20.56 and 50.84."""
    result = run(f"gradcheck {FLAGS} --line-hkl model --parameters cell.a,beam.wavelength --pixels 60 --seed 1")
    assert result.status == 0, result.out + result.err


def test_refinement_finds_the_crystal_again(folder):
    """Clause 55.20: prediction takes the table of -hkl, the model those of the lines."""
    truth = experiment_of(f"{FLAGS} --line-hkl model".replace("-detpixels 24 -pixel 1.2", "-detpixels 96 -pixel 0.3"))
    assert len(predict_reflections(truth).hkl) > 0
    image = simulate(truth)
    start = truth.replace({"misset.x": truth.crystal.misset[0] + 0.05, "cell.a": truth.crystal.cell[0] + 0.01})
    result = refine(start, image, free=["misset.x", "cell.a"], likelihood="least-squares", background=None)
    assert result.success
    assert result.experiment.crystal.misset[0] == pytest.approx(truth.crystal.misset[0], abs=1e-5)
    assert result.experiment.crystal.cell[0] == pytest.approx(truth.crystal.cell[0], abs=1e-5)
    assert len(result.experiment.line_factors) == 4


def test_refined_flags_hold_the_spectrum_and_the_tables_of_its_lines(folder):
    """Clause 55.48: flags.txt gives the refined experiment, long options included."""
    flags = FLAGS.replace("-detpixels 24 -pixel 1.2", "-detpixels 96 -pixel 0.3")
    write_tables(experiment_of(FLAGS).beam.spectrum, "F", "hkl")
    images = "-nopgm -noprogress -intfile int.img -floatfile float.bin -noisefile data.img"
    line = f"{flags} -lambda 0.98 --line-hkl F_##.hkl --background air:thickness=1e-9"
    assert run(f"simulate {line}", images).status == 0
    start = line.replace("10 20 30", "10.05 20 30")
    result = run(f"refine {start} --data data.img --free misset.x,scale --out out --cycles 1 --box-background none")
    assert result.status == 0, result.err
    again = experiment_of(Path("out/flags.txt").read_text())
    assert again.crystal.misset[0] == pytest.approx(10.0, abs=0.01)
    assert again.beam.wavelength == 0.98
    assert len(again.background) == 1
    for one, other in zip(again.line_factors, experiment_of(start).line_factors, strict=True):
        assert (one.values == other.values).all()
    refused = run(f"refine {start.replace('F_##.hkl', 'model')} --data data.img --free misset.x --out out")
    assert refused.status == 2
    assert "--line-hkl model: these tables change with what is refined" in refused.err


def test_lines_light_every_panel(scene):
    """Clauses 10.94 and 10.98: image and derivatives of several panels are sums over the lines too."""
    ahead = {"fast_axis": np.array([1.0, 0.0, 0.0]), "slow_axis": np.array([0.0, 1.0, 0.0])}
    panels = tuple(Panel(origin=np.array([shift, 0.0, 2.0]), **ahead) for shift in (0.0, 25.0))
    experiment = scene(detector={"panels": panels})
    image, expected = simulate(experiment), sum(lines_apart(experiment))
    assert image.shape == (2, 12, 17)
    np.testing.assert_allclose(image, expected, rtol=0, atol=SUMMATION * expected.max())
    fused, stepped = (jacobian(experiment, NAMES, method=method) for method in ("fused", "cs"))
    for one, other in zip(fused, stepped, strict=True):
        assert np.linalg.norm(one - other) <= DERIVATIVE * np.linalg.norm(other)
