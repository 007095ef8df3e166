"""``numbragg refine``, and the flags that it writes (specs/55-refinement.md, 55.46 to 55.49)."""

import json
import os
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
import refinement_scene as scene
from command_line import GOLDEN, job_of, run

from numbragg.compat.refined_flags import matrix_text, refined_flags
from numbragg.io.float_image import write_float
from numbragg.io.hkl import write_hkl
from numbragg.models.parameters import ACCESS, read_parameter
from numbragg.refinement import solvers
from numbragg.refinement.target import Target

SAME = 1e-10
"""Of a parameter's scale: flags hold all digits, and a matrix is turned into a cell and back."""

FAR = 5.0
"""Standard uncertainties."""

COMMON = (
    "-hkl table.hkl -oversample 1 -nointerpolate -lambda 1.3 -polar 0.9 -pixel 0.15 -detpixels_x 256 -detpixels_y 250 "
    "-xds -ORGX 128.5 -ORGY 125.5 -water 0.03"
)
TRUTH = f"{COMMON} -cell 55 65 75 90 95 90 -misset 20 35 50 -Na 12 -Nb 12 -Nc 11 -distance 150 -fluence 3e29"
START = (
    f"{COMMON} -cell 55.1 65.2 74.9 90 94.9 90 -misset 20.08 34.93 50.09 -Na 11 -Nb 11 -Nc 11.5 -distance 150.1 "
    "-fluence 2.4e29"
)
FREE = "misset,cell,n_cells,scale,detector.distance"
TRUE = {**scene.TRUE, "detector.distance": 150.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table of amplitudes and a noisy image of the truth with an offset of 40 ADU."""
    path = tmp_path_factory.mktemp("refine")
    table = scene.amplitudes()
    hkl = np.indices(table.values.shape).reshape(3, -1).T + np.array(table.minimum)
    write_hkl(path / "table.hkl", hkl, table.values.ravel())
    before = os.getcwd()
    os.chdir(path)
    try:
        outcome = run(f"simulate {TRUTH} -seed 5 -adc 40 -noisefile data_00001.img -floatfile true.bin -nopgm")
        assert outcome.status == 0, outcome.err
        yield path
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def outcome(folder):
    """The command on the SMV file, in the folder `folder`."""
    return run(f"refine {START} --data data_00001.img --free {FREE} --out out")


def same_parameters(a, b):
    for name, access in ACCESS.items():
        one, other = read_parameter(a, name).value, read_parameter(b, name).value
        scale = max(access.scale, abs(one)) if name == "beam.fluence" else access.scale
        if one != other and not abs(one - other) <= SAME * scale:
            return name
    return None


def test_an_image_goes_through_a_file_and_back_to_the_crystal(folder, outcome):
    """Clauses 55.46 and 55.47: simulate, SMV with noise and offset, refine."""
    told = json.loads((folder / "out" / "result.json").read_text())
    assert outcome.status == 0, outcome.err
    assert told["success"]
    for name, value in told["parameters"].items():
        assert abs(value["value"] - TRUE[name]) < FAR * value["sigma"], name
    assert 0.9 < told["fit"]["reduced_chi2"] < 1.1
    assert {path.name for path in (folder / "out").iterdir()} >= {"result.json", "summary.txt", "flags.txt"}


def test_progress_and_a_table_are_printed(folder, outcome):
    """Clauses 55.46 and 55.47."""
    told = json.loads((folder / "out" / "result.json").read_text())
    lines = [line for line in outcome.out.splitlines() if " loss " in line]
    assert len(lines) == len(told["history"])
    assert (folder / "out" / "summary.txt").read_text() in outcome.out


def test_the_refined_flags_give_the_refined_experiment(folder, outcome):
    """Clause 55.48."""
    told = json.loads((folder / "out" / "result.json").read_text())
    line = (folder / "out" / "flags.txt").read_text()
    experiment = job_of(line).experiment
    for name, value in told["parameters"].items():
        expected = 2.4e29 * value["value"] if name == "scale" else value["value"]
        read = experiment.parameters["beam.fluence" if name == "scale" else name].value
        assert read == pytest.approx(expected, rel=1e-14), name
    assert experiment.water_size == 0.03
    assert experiment.crystal.structure_factors.values.shape == scene.amplitudes().values.shape


CASES = {
    "plain": (START, {"cell.a": 55.02, "misset.y": 3.0, "n_cells.b": 12.25, "beam.fluence": 1e29}),
    "detector": (START, {"detector.distance": 149.3, "detector.beam_fast": 19.0, "detector.rot_x": 0.1,
                         "detector.rot_y": -0.2, "detector.rot_z": 0.3, "detector.twotheta": 1.0}),
    "mosflm": (START.replace("-xds -ORGX 128.5 -ORGY 125.5", "-mosflm -Xbeam 19 -Ybeam 18"),
               {"detector.beam_fast": 18.5, "detector.beam_slow": 19.5}),
    "close distance": (START.replace("-distance 150.1", "-close_distance 140"), {"detector.distance": 150.25}),
    "beam": (f"{START} -polar 0.5", {"beam.wavelength": 1.2987, "beam.polarization": 0.31}),
    "energy": (START.replace("-lambda 1.3", "-energy 9537.25"), {"beam.wavelength": 1.2987}),
    "flux": (START.replace("-fluence 2.4e29", "-flux 1e21 -exposure 2 -beamsize 0.1"), {"beam.fluence": 2.2e29}),
    "rotation": (f"{START} -phi 3 -osc 1 -phisteps 4", {"phi.start": 3.1, "phi.range": 0.9}),
    "steps": (f"{START} -phi 3 -osc 1 -phistep 0.3", {"phi.start": 3.1, "phi.range": 0.9}),
    "mosaic": (f"{START} -mosaic 0.2 -mosaic_dom 3", {"mosaic.spread": 0.15}),
    "default domains": (f"{START} -mosaic 0.2", {"mosaic.spread": 0.15}),
    "round": (f"{START} -round_xtal -fudge 1.1", {"crystal.fudge": 0.93}),
    "sample size": (START.replace("-Na 11 -Nb 11 -Nc 11.5", "-samplesize 0.0006"), {"n_cells.a": 11.3}),
    "random": (START.replace("-misset 20.08 34.93 50.09", "-misset random -misset_seed 3"), {"cell.a": 55.2}),
    "matrix": (f"{COMMON} -mat A.mat -misset 1 2 3 -N 10", {"cell.a": 30.1, "cell.gamma": 89.7, "misset.x": 1.01}),
    "matrix and cell": (f"{COMMON} -mat A.mat -cell 31 42 53 90 90 90 -N 10", {"cell.b": 42.1}),
    "matrix and colour": (f"{COMMON} -mat A.mat -N 10", {"beam.wavelength": 1.31}),
    "turned": (f"{COMMON} -mat A.mat -N 10", {"misset.z": 4.0}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_flags_of_any_refined_parameter_read_back(folder, case):
    """Clause 55.48."""
    line, values = CASES[case]
    Path("A.mat").write_bytes((GOLDEN / "inputs" / "A.mat").read_bytes())
    refined = job_of(line).experiment.replace(values)
    words = refined_flags(line.split(), refined, values, matrix="refined.mat", table="table.bin")
    Path("refined.mat").write_text(matrix_text(refined))
    read = job_of(shlex.join(words)).experiment
    assert same_parameters(read, refined) is None
    assert read.crystal.orientation == pytest.approx(refined.crystal.orientation, abs=1e-13)
    assert read.crystal.mosaic_domains == refined.crystal.mosaic_domains
    assert read.detector.pivot == refined.detector.pivot
    assert read.scan.sampling.count == refined.scan.sampling.count
    assert read.scan.sampling.spacing == pytest.approx(refined.scan.sampling.spacing, rel=1e-12)


def test_amplitudes_that_were_refined_are_written(folder):
    """Clauses 55.10 and 55.48."""
    outcome = run(
        f"refine {TRUTH} --data data_00001.img --free scale,structure_factor[3,4,5] --out amplitudes --cycles 1 "
        "--restraints structure_factor[3,4,5]=80,1"
    )
    assert outcome.status == 0, outcome.err
    told = json.loads(Path("amplitudes/result.json").read_text())
    experiment = job_of(Path("amplitudes/flags.txt").read_text()).experiment
    value = read_parameter(experiment, "structure_factor[3,4,5]").value
    assert value == told["parameters"]["structure_factor[3,4,5]"]["value"]


def test_a_raw_image_takes_the_shape_of_the_detector(folder):
    """Clause 55.46."""
    image = np.random.default_rng(0).poisson(np.fromfile("true.bin", np.float32)).astype(float).reshape(250, 256)
    write_float("counts.bin", image)
    outcome = run(f"refine {TRUTH} --data counts.bin --free misset,scale --out raw --cycles 1 --likelihood poisson")
    assert outcome.status == 0, outcome.err
    assert json.loads(Path("raw/result.json").read_text())["likelihood"] == "poisson"


def test_options_reach_the_refinement(folder):
    """Clause 55.46."""
    outcome = run(
        f"refine {TRUTH} --data data_00001.img --free n_cells,scale,detector.distance --out chosen --cycles 1 "
        "--method L-BFGS-B --box-background constant --gain 1.0 --adc-offset 40 --readout-noise 0 --overload 60000 "
        "--symmetry monoclinic --max-iterations 60 "
        "--bounds",
        "n_cells=5,12.5",
        "--restraints detector.distance=150,1e-8",
    )
    assert outcome.status == 0, outcome.err
    told = json.loads(Path("chosen/result.json").read_text())
    assert told["method"] == "L-BFGS-B"
    assert told["parameters"]["n_cells.a"]["value"] < 12.5
    assert abs(told["parameters"]["detector.distance"]["value"] - 150.0) < 1e-3


def test_ctrl_c_writes_the_best_so_far_marked(folder, monkeypatch):
    """Clause 55.47."""
    accept = Target.accept

    def press(self, u):
        step = accept(self, u)
        if step.number == 3:
            raise KeyboardInterrupt
        return step

    monkeypatch.setattr(Target, "accept", press)
    outcome = run(f"refine {START} --data data_00001.img --free {FREE} --out stopped")
    told = json.loads(Path("stopped/result.json").read_text())
    assert outcome.status == 130
    assert told["interrupted"]
    assert "INTERRUPTED" in Path("stopped/summary.txt").read_text()
    assert "INTERRUPTED" in outcome.out
    assert "-Na" in Path("stopped/flags.txt").read_text()


def test_what_does_not_converge_has_an_exit_code_of_its_own(folder):
    """Clause 55.47."""
    outcome = run(f"refine {START} --data data_00001.img --free {FREE} --out short --max-iterations 2 --cycles 1")
    assert outcome.status == 3
    assert "NOT CONVERGED" in outcome.out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("", ["no start"]),
        (TRUTH, ["--data", "--free", "--out"]),
        (f"{TRUTH} --data data_00001.img --free cell --out bad --compat c", ["mode c"]),
        (f"{TRUTH} --data missing.img --free cell --out bad", ["missing.img"]),
        (f"{TRUTH} --data data_00001.img --free celll --out bad", ["celll", "did you mean"]),
        (f"{TRUTH} --data data_00001.img --free cell --out table.hkl", ["table.hkl"]),
        (f"{TRUTH} --data data_00001.img --free cell --out bad --gain x", ["--gain", "x"]),
        (f"{TRUTH} --data data_00001.img --free cell --out bad --cycles 0", ["--cycles", "0"]),
        (f"{TRUTH} --data data_00001.img --free cell --out bad --bounds cell.a", ["--bounds", "cell.a"]),
        (f"{TRUTH} --data data_00001.img --free cell --out bad --box-background x.npy", ["--box-background", "x.npy"]),
        (f"{TRUTH} -detpixels_x 255 --data data_00001.img --free cell --out bad", ["250", "256", "255"]),
        (f"{TRUTH} -detpixels_x 255 --data true.bin --free cell --out bad", ["64000", "255"]),
        (f"{TRUTH} --data", ["--data", "value"]),
    ],
)
def test_bad_input_ends_with_one_line_and_no_files(folder, words, parts):
    """Clauses 55.46, 55.47 and 55.49."""
    outcome = run(f"refine {words}")
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("numbragg: error:")]
    assert outcome.status == 2
    assert all(part in line for part in parts), line
    assert not list(Path().glob("bad/*"))


def test_help_names_every_method():
    """Clauses 55.41 and 55.46."""
    text = run("refine --help").out
    assert all(method in text for method in solvers.METHODS)
    assert all(len(line) <= 120 for line in text.splitlines())


def test_the_example_runs(monkeypatch, capsys):
    """The README's second picture."""
    monkeypatch.setattr("sys.argv", ["refine_still.py"])
    runpy.run_path(str(Path(__file__).parents[1] / "examples" / "refine_still.py"), run_name="__main__")
    scores = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert len(scores) == 11
    assert max(map(abs, scores)) < FAR
