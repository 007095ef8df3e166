"""The bundle of evidence (specs/90-validation.md)."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import make_golden_subset
import numpy as np
import pytest
from command_line import CASES, GOLDEN, link_inputs, run

from numbragg import evidence, golden, validation
from numbragg.cli import BAD_INPUT, INTERRUPTED
from numbragg.cli import validate as command
from numbragg.errors import NumbraggError
from numbragg.golden import CARRYOVER_CASE, SHIPPED, find_golden, read_golden
from numbragg.gradients.check import AGREES, DISAGREES, DerivativeCheck, GradientReport
from numbragg.validation import OF_MAXIMUM

NAMES = sorted(["commands.txt", "env.json", "metrics.json", "gradcheck.log", "summary.md", "sha256.txt"])
TICK = str  # takes what is said and does nothing with it


def validate(out: Path, *words: str, data: Path = SHIPPED):
    return run("validate --only sparse", *words, f"--golden {data} --out {out}")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("validate") / "evidence"
    outcome = validate(folder)
    assert outcome.status == 0, outcome
    return folder


@pytest.fixture(scope="module")
def shipped() -> golden.GoldenSet:
    return read_golden(SHIPPED)


@pytest.fixture
def doctored(tmp_path) -> Path:
    """A copy of the shipped images, to be spoilt."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "golden"))


def spoil(path: Path, name: str, change) -> None:
    with np.load(path) as archive:
        images = {key: archive[key] for key in archive.files}
    images[name] = change(images[name].copy())
    np.savez(path, **images)


def brighter_pixel(image):
    """The brightest pixel moves by ten times the tolerance."""
    image[np.unravel_index(image.argmax(), image.shape)] *= 1.0 + 10.0 * max(OF_MAXIMUM, validation.RELATIVE)
    return image


class TestBundle:
    """Clauses 90.14 to 90.17."""

    def test_holds_these_files_and_nothing_is_left_beside_it(self, bundle):
        assert sorted(contents(bundle)) == NAMES
        assert [path.name for path in bundle.parent.iterdir()] == ["evidence"]

    def test_sums_are_those_of_all_other_files(self, bundle):
        files = contents(bundle)
        lines = files.pop("sha256.txt").decode().splitlines()
        assert lines == [f"{hashlib.sha256(raw).hexdigest()}  {name}" for name, raw in sorted(files.items())]

    def test_environment_names_versions_processor_and_threads(self, bundle):
        values = json.loads((bundle / "env.json").read_text())
        assert set(values["packages"]) == {"numbragg", "numba", "llvmlite", "numpy", "scipy", "gemmi"}
        assert values["packages"]["numpy"] == np.__version__
        assert values["cpu"]
        assert values["cpu_features"]
        assert values["threads"] >= 1
        assert values["seconds"] > 0.0

    def test_figures_cover_every_part_and_pass(self, bundle):
        values = json.loads((bundle / "metrics.json").read_text())
        assert values["passed"] is True
        assert {row["case"] for row in values["images"]} == {"sparse_hkl"}
        assert {row["mode"] for row in values["images"]} == {"c", "spec"}
        assert [row["c_threads"] for row in values["emulated_threads"]] == [3]
        assert values["inheritance"] == [
            {"c_threads": 3, "unrotated": 3, "measured_changes": 2, "unexplained": 0, "passed": True}
        ]
        assert 0.9 < values["correlation"]["ours"] < 0.999
        assert {row["mode"] for row in values["gradients"]} == {"c", "spec"}
        assert {len(row["sha256"]) for row in values["threads"]} == {3}
        raw = (SHIPPED / "cases.json").read_bytes()
        assert values["golden_files"]["cases.json"] == hashlib.sha256(raw).hexdigest()

    def test_gradients_are_those_of_gradcheck(self, bundle):
        """Clause 90.10."""
        rows = json.loads((bundle / "metrics.json").read_text())["gradients"]
        assert all(check["verdict"].startswith("agrees") for row in rows for check in row["report"]["checks"])
        parameters = [{check["parameter"] for check in row["report"]["checks"]} for row in rows]
        assert all({"phi.range", "misset.x", "cell.a", "detector.distance"} <= found for found in parameters)

    def test_gradient_log_has_a_line_for_each_derivative(self, bundle):
        rows = json.loads((bundle / "metrics.json").read_text())["gradients"]
        first_words = [line.split()[0] for line in (bundle / "gradcheck.log").read_text().splitlines() if line]
        for row in rows:
            for check in row["report"]["checks"]:
                assert first_words.count(check["parameter"]) == len(rows)

    def test_summary_is_a_table_of_the_verdicts(self, bundle):
        verdicts = json.loads((bundle / "metrics.json").read_text())["verdicts"]
        lines = (bundle / "summary.md").read_text().splitlines()
        rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
        assert rows[0] == ["what", "measured", "required", "verdict"]
        assert rows[1:] == [[row["what"], row["measured"], row["required"], "pass"] for row in verdicts]
        assert len(rows) > 6
        assert "Verdict: **pass**. 1 of 7 golden cases were compared." in lines

    def test_commands_give_the_measured_images(self, bundle, tmp_path, monkeypatch):
        lines = (bundle / "commands.txt").read_text().splitlines()
        assert f"numbragg validate --golden {SHIPPED} --only sparse --out evidence" in lines
        (line,) = (line for line in lines if "--compat spec" in line)
        monkeypatch.chdir(link_inputs(tmp_path))
        assert run(line.removeprefix("numbragg ")).status == 0
        got = np.fromfile("sparse_hkl_spec.bin", "<f4").reshape(CASES["sparse_hkl"]["shape"])
        wanted = read_golden(SHIPPED).measured("sparse_hkl", "spec")
        np.testing.assert_allclose(got, wanted, rtol=0.0, atol=OF_MAXIMUM * wanted.max())

    def test_is_the_same_again_but_for_the_environment(self, bundle):
        """Clause 90.16: one thread or all, in the place of the earlier bundle."""
        before = contents(bundle)
        assert validate(bundle, "--threads 1").status == 0
        after = contents(bundle)
        same = {name for name in NAMES if before[name] == after[name]}
        assert same == set(NAMES) - {"env.json", "sha256.txt"}


class TestVerdicts:
    """Clauses 90.6 to 90.11: each part fails when what it checks is wrong."""

    def test_wrong_image_ends_with_3_and_is_named(self, doctored, tmp_path):
        spoil(doctored / "images_c.npz", "sparse_hkl", brighter_pixel)
        status, out, _ = validate(tmp_path / "evidence", data=doctored)
        assert status == command.FAILED == 3
        assert re.search("^FAIL  images of nanoBragg.c", out, re.MULTILINE)
        text = (tmp_path / "evidence" / "summary.md").read_text()
        assert "Verdict: **FAIL**" in text
        assert "* sparse_hkl, mode c, 1 threads emulated: 1 pixels (0 allowed)" in text
        assert json.loads((tmp_path / "evidence" / "metrics.json").read_text())["passed"] is False

    def test_image_that_is_not_finite_fails(self, shipped, monkeypatch):
        monkeypatch.setattr(validation, "simulate", lambda experiment, **_: np.full(experiment.detector.shape, np.nan))
        (row, *_) = validation.check_images(shipped, ["sparse_hkl"], 1, TICK)
        assert not row.passed
        assert row.max_difference is None

    @pytest.mark.parametrize("factor", [1.0, 1.0 + 2.0 * validation.RELATIVE])
    def test_weak_pixels_count_by_their_own_value(self, shipped, monkeypatch, factor):
        measured = shipped.measured("sparse_hkl", "c").astype(float)
        weak = np.argwhere((measured > 2e-4 * measured.max()) & (measured < 1e-2 * measured.max()))[0]
        image = measured.copy()
        image[tuple(weak)] *= factor
        monkeypatch.setattr(validation, "simulate", lambda *_, **__: image)
        (row, *_) = validation.check_images(shipped, ["sparse_hkl"], 1, TICK)
        assert row.passed == (factor == 1.0)

    def test_some_pixels_of_tophat_spots_may_be_off(self, shipped, monkeypatch):
        measured = shipped.measured("shape_tophat_spots", "c").astype(float)
        allowed = int(validation.TOPHAT_SHARE * measured.size)
        for off, passes in ((allowed, True), (allowed + 1, False)):
            image = measured.copy()
            image.flat[:off] += measured.max()
            monkeypatch.setattr(validation, "simulate", lambda *_, result=image, **__: result)
            (row, *_) = validation.check_images(shipped, ["shape_tophat_spots"], 1, TICK)
            assert (row.pixels_off, row.passed) == (off, passes)

    def test_emulated_threads_must_show_in_the_first_pixels(self, shipped):
        """An image of one thread passed off as that of three."""
        same = replace(shipped, threaded=MappingProxyType({3: shipped.measured(CARRYOVER_CASE, "c")}))
        (row,) = validation.check_inheritance(same, TICK)
        assert not row.passed

    def test_a_change_in_another_pixel_is_unexplained(self, shipped):
        image = shipped.threaded[3].copy()
        image[5, 5] *= 2.0
        (row,) = validation.check_inheritance(replace(shipped, threaded={3: image}), TICK)
        assert row.unexplained == 1
        assert not row.passed

    def test_correlation_of_the_modes_must_be_the_measured_one(self, shipped):
        images = {"c": shipped.images["c"], "spec": {**shipped.images["spec"]}}
        images["spec"][CARRYOVER_CASE] = images["c"][CARRYOVER_CASE]
        assert validation.check_correlation(shipped, 1, TICK).passed
        assert not validation.check_correlation(replace(shipped, images=images), 1, TICK).passed

    @pytest.mark.parametrize("passed", [True, False])
    def test_a_derivative_that_disagrees_fails(self, shipped, monkeypatch, passed):
        check = DerivativeCheck("misset.x", "deg", 1.0, 1e-3, 1e-9, 1e-6, 0, AGREES if passed else DISAGREES)
        monkeypatch.setattr(validation, "gradcheck", lambda *_, **__: GradientReport((check,), 10, 1.0))
        rows = list(validation.check_gradients(shipped, 1, TICK))
        assert [row.mode for row in rows] == ["spec", "c"]
        assert all(row.passed is passed for row in rows)

    def test_image_that_depends_on_the_threads_fails(self, shipped, monkeypatch):
        monkeypatch.setattr(validation, "simulate", lambda _, threads: np.array([1.0 + (threads == 3)]))
        assert not any(row.passed for row in validation.check_threads(shipped, TICK))


class TestTarget:
    """Clauses 90.12 and 90.13: the folder appears whole or not at all, and nothing of the user's goes."""

    def test_empty_folder_is_filled(self, tmp_path):
        assert evidence.check_target(tmp_path) == tmp_path
        with evidence.bundle_folder(tmp_path) as folder:
            (folder / "x").write_text("new")
        assert contents(tmp_path) == {"x": b"new"}

    @pytest.mark.parametrize("names", [["notes.txt"], ["summary.md"], ["sha256.txt", "notes.txt"]])
    def test_folder_of_other_things_is_refused(self, names, tmp_path):
        for name in names:
            (tmp_path / name).write_text("mine")
        status, _, err = validate(tmp_path)
        assert status == BAD_INPUT
        assert err.count("\n") == 1
        assert "is no earlier bundle; name a new or empty folder" in err
        assert sorted(contents(tmp_path)) == sorted(names)

    def test_file_is_refused(self, tmp_path):
        (tmp_path / "f").write_text("mine")
        status, _, err = validate(tmp_path / "f")
        assert (status, err) == (BAD_INPUT, f"numbragg: error: --out {tmp_path / 'f'}: it is a file; name a folder\n")

    def test_folder_within_nothing_is_refused(self, tmp_path):
        status, _, err = validate(tmp_path / "none" / "evidence")
        assert status == BAD_INPUT
        assert err.endswith(f"the folder {tmp_path / 'none'} does not exist\n")

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, NumbraggError])
    def test_failure_half_way_leaves_everything_as_it_was(self, failure, bundle, monkeypatch):
        def fail(*_, **__):
            raise failure("no further")

        before = contents(bundle)
        monkeypatch.setattr(evidence, "summary", fail)
        monkeypatch.setattr(validation, "check_gradients", lambda *_: [])
        for target in (bundle, bundle.parent / "another"):
            assert validate(target).status == (INTERRUPTED if failure is KeyboardInterrupt else BAD_INPUT)
        assert contents(bundle) == before
        assert [path.name for path in bundle.parent.iterdir()] == ["evidence"]

    def test_earlier_bundle_stays_when_the_new_one_cannot_take_its_place(self, tmp_path, monkeypatch):
        target = tmp_path / "evidence"
        target.mkdir()
        (target / "sha256.txt").write_text("old")
        rename = evidence.os.rename
        monkeypatch.setattr(evidence.os, "rename", lambda a, b: failing_rename(rename, a, b))
        with pytest.raises(NumbraggError, match="cannot write"), evidence.bundle_folder(target):
            pass
        assert contents(target) == {"sha256.txt": b"old"}


def failing_rename(rename, source, target):
    if Path(source).name == "bundle":
        raise OSError(28, "No space left on device")
    rename(source, target)


class TestGolden:
    """Clauses 90.1 to 90.5."""

    def test_shipped_images_are_some_of_the_measured_ones(self):
        shipped, everything = read_golden(SHIPPED), read_golden(GOLDEN)
        assert tuple(shipped.cases) == make_golden_subset.CASES
        for name, case in shipped.cases.items():
            assert case == everything.cases[name]
            for mode in case.modes:
                assert np.array_equal(shipped.measured(name, mode), everything.measured(name, mode))
        assert shipped.threaded
        for count, image in shipped.threaded.items():
            assert np.array_equal(image, everything.threaded[count])
        for path in (SHIPPED / "inputs").iterdir():
            assert path.read_bytes() == (GOLDEN / "inputs" / path.name).read_bytes()

    def test_all_cases_are_read(self):
        everything = read_golden(GOLDEN)
        assert set(everything.cases) == set(CASES)
        modes = [len(everything.cases[name].modes) for name in CASES]
        assert modes == [1 if CASES[name]["spec_image"] == "none" else 2 for name in CASES]

    def test_a_checkout_comes_before_what_is_shipped(self, tmp_path, monkeypatch):
        monkeypatch.setattr(golden, "CHECKOUT", GOLDEN)
        assert find_golden() == GOLDEN
        monkeypatch.setattr(golden, "CHECKOUT", tmp_path)
        assert find_golden() == SHIPPED

    def test_no_images_at_all_is_one_line_that_says_where_to_get_them(self, tmp_path, monkeypatch):
        monkeypatch.setattr(golden, "CHECKOUT", tmp_path)
        monkeypatch.setattr(golden, "SHIPPED", tmp_path)
        status, _, err = run(f"validate --out {tmp_path / 'evidence'}")
        assert status == BAD_INPUT
        assert err == (
            "numbragg: error: no golden images come with this installation: give --golden DIR; "
            "the full set is the folder tests/golden of numbragg's source repository\n"
        )
        assert not (tmp_path / "evidence").exists()

    def test_folder_without_images_is_refused(self, tmp_path):
        status, _, err = validate(tmp_path / "evidence", data=tmp_path / "nothing")
        assert status == BAD_INPUT
        assert f"--golden {tmp_path / 'nothing'}: no cases.json there" in err

    @pytest.mark.parametrize("file", ["cases.json", "images_c.npz", "images_spec.npz", "phi_from_zero_threads.npz"])
    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda raw: b"", id="empty"),
            pytest.param(lambda raw: raw[: len(raw) // 2], id="cut short"),
            pytest.param(lambda raw: b"\xff" * len(raw), id="noise"),
            pytest.param(lambda raw: b"[1, 2]", id="another kind"),
            pytest.param(lambda raw: None, id="missing"),
        ],
    )
    def test_damaged_file_is_named(self, file, damage, doctored, tmp_path):
        raw = damage((doctored / file).read_bytes())
        (doctored / file).unlink() if raw is None else (doctored / file).write_bytes(raw)
        status, _, err = validate(tmp_path / "evidence", data=doctored)
        assert status == BAD_INPUT
        assert err.count("\n") == 1
        assert file in err
        assert not (tmp_path / "evidence").exists()

    def test_damage_within_an_archive_is_noticed(self, doctored):
        path = doctored / "images_c.npz"
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 3 : len(raw) // 3 + 50] = bytes(50)
        path.write_bytes(raw)
        with pytest.raises(NumbraggError, match=r"images_c\.npz"):
            read_golden(doctored)

    @pytest.mark.parametrize("change", [lambda image: image[:-1], lambda image: image * np.nan])
    def test_image_of_another_shape_or_not_finite_is_refused(self, change, doctored):
        spoil(doctored / "images_spec.npz", "everything", change)
        with pytest.raises(NumbraggError, match=r"images_spec\.npz: the image of everything is damaged"):
            read_golden(doctored)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda cases: cases.pop(CARRYOVER_CASE), f"the case {CARRYOVER_CASE} is missing"),
            (lambda cases: cases["everything"].update(spec_image="elsewhere"), "spec_image is 'elsewhere'"),
            (lambda cases: cases.update(new=cases["everything"]), "the image of new is missing"),
            (lambda cases: cases["everything"].pop("shape"), "no table of golden cases"),
        ],
    )
    def test_table_that_does_not_fit_is_refused(self, change, message, doctored):
        cases = json.loads((doctored / "cases.json").read_text())
        change(cases)
        (doctored / "cases.json").write_text(json.dumps(cases))
        with pytest.raises(NumbraggError, match=message):
            read_golden(doctored)


class TestOptions:
    """Clause 90.18."""

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("", "validate: the following arguments are required: --out (numbragg validate --help)"),
            ("--out x --only unheard_of", "--only unheard_of: no golden case has that in its name; known: "),
            ("--out x --threads 0", "threads: at least 1 is needed, not 0"),
            ("--out x --threads many", "validate: argument --threads: invalid int value: 'many'"),
            ("--out x stray", "validate: unrecognized arguments: stray"),
        ],
    )
    def test_wrong_ones_end_with_one_line(self, words, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        status, _, err = run(f"validate {words}")
        assert status == BAD_INPUT
        assert err.count("\n") == 1
        assert err.startswith(f"numbragg: error: {message}")
        assert not contents(tmp_path)

    def test_progress_is_counted_to_its_end(self, shipped):
        steps = []
        names = validation.chosen_cases(shipped, "sparse")
        validation.validate(shipped, names, threads=1, tick=steps.append)
        assert len(steps) == validation.count_steps(shipped, names)
