"""``gradcheck`` and ``numbragg gradcheck`` (specs/50-gradients.md, 50.80 to 50.84)."""

import json

import numpy as np
import pytest
from command_line import link_inputs, run
from conftest import small_experiment

from numbragg.gradients import check
from numbragg.gradients.check import HEADINGS, gradcheck, parameters_that_matter
from numbragg.gradients.jacobians import image_and_jacobian
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.models.sampling import Sampling

FLAGS = (
    "gradcheck -cell 70 80 90 75 85 95 -misset 10.5 -7.25 23 -lambda 1 -N 5 -hkl inputs/dense.hkl -default_F 10 "
    "-detpixels 24 -pixel 0.8 -distance 60 -oversample 1"
)


@pytest.fixture(autouse=True)
def _in_a_folder_with_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(link_inputs(tmp_path))


@pytest.fixture
def wrong_column(monkeypatch):
    """A fused pass that is off by 1e-8 in one parameter."""

    def spoiled(experiment, names, **options):
        image, slopes = image_and_jacobian(experiment, names, **options)
        slopes[names.index("cell.b")] *= 1.0 + 1e-8
        return image, slopes

    monkeypatch.setattr(check, "image_and_jacobian", spoiled)


class TestReport:
    def test_all_that_matter_are_checked_and_agree(self):
        """Clauses 50.80 and 50.81."""
        report = gradcheck(small_experiment())
        assert report.passed, report.table()
        assert [check.parameter for check in report.checks] == parameters_that_matter(small_experiment())
        assert all(check.norm > 0 and check.cs_vs_fused < 1e-9 and check.step > 0 for check in report.checks)
        assert report.pixels == 204

    def test_derivative_that_is_off_disagrees(self, wrong_column):
        """Clause 50.83."""
        report = gradcheck(small_experiment(), ["cell.a", "cell.b"])
        assert [check.verdict for check in report.checks] == ["agrees", "DISAGREES"]
        assert report.checks[1].cs_vs_fused == pytest.approx(1e-8, rel=1e-3)
        assert not report.passed

    def test_difference_that_is_off_disagrees(self, monkeypatch):
        """Clause 50.83."""
        differences = check.finite_difference_jacobian
        monkeypatch.setattr(check, "finite_difference_jacobian", lambda *a, **k: (1 + 2e-5) * differences(*a, **k))
        assert {check.verdict for check in gradcheck(small_experiment(), ["cell.a", "phi.start"]).checks} == {
            "DISAGREES"
        }

    def test_not_a_number_disagrees(self, monkeypatch):
        """Clause 50.83."""
        monkeypatch.setattr(check, "complex_step_jacobian", lambda e, names, **_: np.full((len(names), 12, 17), np.nan))
        (row,) = gradcheck(small_experiment(), ["cell.a"]).checks
        assert (row.verdict, row.norm, row.cs_vs_fused) == ("DISAGREES", None, None)

    @pytest.mark.parametrize(
        ("changes", "missing"),
        [
            ({}, {"crystal.fudge", "mosaic.spread"}),
            ({"beam": {"polarization": None}}, {"beam.polarization"}),
            ({"scan": {"sampling": Sampling(1.0, 1)}}, {"phi.range"}),
            ({"detector": {"origin": np.array([0.06, -0.01, 0.01])}}, {"detector.distance", "detector.beam_slow"}),
        ],
    )
    def test_parameters_without_effect_do_not_matter(self, changes, missing):
        """Clause 50.81."""
        names = parameters_that_matter(small_experiment(**changes))
        assert not missing & set(names)
        assert {"cell.a", "misset.x", "beam.wavelength"} <= set(names)

    def test_words_of_the_verdict(self):
        """Clauses 50.43 and 50.83."""
        experiment = small_experiment(
            beam={"polarization": None},
            crystal={"mosaic_spread": 0.5, "mosaic_domains": 2},
            scan={"start": 0.0},
            quirks=Quirks(q01_phi_carryover=True, q28_single_precision_mosaic=True),
        )
        names = ["crystal.fudge", "beam.polarization", "mosaic.spread", "phi.start", "phi.range", "cell.c"]
        report = gradcheck(experiment, names)
        blind = "agrees (no difference)"
        assert [row.verdict for row in report.checks] == ["no effect", "no value", blind, blind, "agrees", "agrees"]
        assert experiment.quirks != NO_QUIRKS

    def test_table_and_json_hold_the_same(self):
        """Clause 50.84."""
        report = gradcheck(small_experiment(), ["cell.a", "structure_factor[1,0,2]"])
        lines = report.table().splitlines()
        assert all(heading in lines[0] for heading in HEADINGS)
        assert lines[1].startswith("cell.a ")
        assert lines[-1] == "no derivative disagrees (204 pixels)"
        found = json.loads(report.to_json())
        assert found == json.loads(json.dumps(report.as_dict()))
        assert found["passed"] is True
        assert found["checks"][1]["parameter"] == "structure_factor[1,0,2]"


class TestCommand:
    def test_table_and_exit_code_0(self):
        """Clause 50.84."""
        status, out, _ = run(FLAGS, "--pixels 60 --parameters cell.a,structure_factor[1,0,2],misset.x")
        lines = out.splitlines()
        assert status == 0
        assert [line.split()[0] for line in lines[1:-1]] == ["cell.a", "structure_factor[1,0,2]", "misset.x"]
        assert lines[-1] == "no derivative disagrees (60 pixels)"

    def test_defaults_are_all_that_matter(self):
        """Clause 50.81."""
        status, out, _ = run(FLAGS, "--compat c --pixels 40")
        assert status == 0, out
        assert "beam.fluence" in out
        assert "crystal.fudge" not in out

    def test_exit_code_3_when_a_derivative_disagrees(self, wrong_column):
        """Clause 50.84."""
        status, out, _ = run(FLAGS, "--pixels 60 --parameters cell.a,cell.b")
        assert status == 3
        assert "1 of 2 derivatives disagree" in out

    def test_json_to_a_file_or_to_standard_output(self, tmp_path):
        """Clause 50.84."""
        words = "--pixels 50 --parameters cell.a --json"
        status, out, _ = run(FLAGS, words, "report.json")
        assert status == 0
        assert out.startswith("parameter")
        found = json.loads((tmp_path / "report.json").read_text())
        status, out, _ = run(FLAGS, words, "-")
        assert json.loads(out) == found
        assert found["pixels"] == 50

    def test_seed_draws_other_pixels_and_the_same_ones_again(self):
        """Clause 50.84."""
        words = "--pixels 50 --parameters cell.a --json -"
        first, again, other = (run(FLAGS, words, f"--seed {seed}").out for seed in (1, 1, 2))
        assert first == again != other

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--parameters cell.x", "did you mean cell."),
            ("--parameters", "needs a value"),
            ("--pixels 0", "at least 1"),
            ("--pixels many", "at least 1"),
            ("--seed -1", "at least 0"),
            ("--json no/such/folder.json --parameters cell.a --pixels 5", "folder"),
            ("--nonsense", "unknown option"),
            ("-nonsense", "-nonsense"),
        ],
    )
    def test_bad_input_is_one_line_and_exit_code_2(self, words, message):
        """Clause 50.84."""
        status, out, err = run(FLAGS, words)
        errors = [line for line in err.splitlines() if "error" in line]
        assert status == 2
        assert out == ""
        assert len(errors) == 1
        assert message in errors[0]

    def test_no_flags_is_bad_input(self):
        assert run("gradcheck").status == 2

    def test_help_lists_the_options(self):
        status, out, _ = run("gradcheck --help")
        assert status == 0
        assert all(option in out for option in ("--parameters", "--pixels", "--seed", "--json", "exit code"))
