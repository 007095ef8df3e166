"""Bad input ends with one clear line, exit code 2 and no file.

Clause 20.23 of specs/20-command-line.md, and Q24 of specs/40-compat.md.
"""

import contextlib
import errno
import io
import itertools
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from command_line import CASES, GOLDEN, Outcome, link_inputs, run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import numbragg.cli.simulate
import numbragg.simulation
from numbragg.cli import main
from numbragg.io.matrix import read_matrix
from numbragg.io.smv import write_smv
from numbragg.io.sources import read_sources

CELL = "-cell 100 100 100 90 90 90"
CRYSTAL = f"{CELL} -default_F 100 -N 5"
SMALL = "-detpixels 16 -pixel 0.8 -distance 60 -oversample 1"
GOOD = f"{CRYSTAL} {SMALL}"
TABLES = {
    "empty.hkl": "",
    "words.hkl": "1 0 0 10\n2 0 0 10\nthree 0 0 10\n",
    "short.hkl": "1 0 0 10\n\n# a comment\n2 0 0\n",
    "half.hkl": "1 0 0 10\n1.5 0 0 10\n",
    "nan.hkl": "1 0 0 10\n2 0 0 nan\n",
    "huge.hkl": "0 0 0 1\n2000000 2000000 2000000 1\n",
    "words.mat": "0.01 0 0\n0 ten 0\n0 0 0.01\n",
    "short.mat": "0.01 0 0\n0 0.01 0\n",
    "flat.mat": "0.01 0 0\n0 0.01 0\n0 0 0\n",
    "nan.mat": "0.01 0 0\n0 nan 0\n0 0 0.01\n",
    "left.mat": "0.01 0 0\n0 0.01 0\n0 0 -0.01\n",
    "words.src": "-10 0 0 1 1e-10\n-10 0 up 1 1e-10\n",
    "many.src": "-10 0 0 1 1e-10 7\n",
    "nan.src": "-10 0 0 nan 1e-10\n",
    "dark.src": "-10 0 0 0\n",
    "here.src": "0 0 0 1\n",
    "negative.src": "-10 0 0 -1\n",
    "wave.src": "-10 0 0 1 0\n",
    "axis.src": "0 0 -10 1 1e-10\n",
    "empty.src": "# nothing\n",
    "text.img": "not an image",
    "cut.img": "{\nHEADER_BYTES=512;\nSIZE1=16;\nSIZE2=16;\n}" + " " * 480,
    "short.dump": "0 1 0 1 0 1\n\f123",
}


@pytest.fixture(autouse=True)
def in_a_folder_with_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(link_inputs(tmp_path))
    for name, content in TABLES.items():
        Path(name).write_text(content)
    Path("folder").mkdir()
    write_smv("words.img", np.ones((16, 16), np.uint16), {"PIXEL_SIZE": "wide"})
    write_smv("small.img", np.ones((9, 9), np.uint16), {})


def new_files(before: set[Path]) -> set[Path]:
    return set(Path().rglob("*")) - before


def assert_one_clear_line(result: Outcome) -> str:
    assert result.status == 2, result
    (line,) = (line for line in result.err.splitlines() if not line.startswith(("note: ", "warning: ", "compiling")))
    assert line.startswith("numbragg: error: ")
    assert "Traceback" not in result.err
    assert len(line) < 400
    return line.removeprefix("numbragg: error: ")


def refused(*words: str) -> str:
    before = set(Path().rglob("*"))
    message = assert_one_clear_line(run("simulate", *words))
    assert new_files(before) == set()
    return message


BAD = {
    "missing hkl": (f"{CELL} {SMALL} -hkl nosuch.hkl", "cannot read nosuch.hkl: no such file"),
    "missing matrix": (f"-mat nosuch.mat -default_F 1 {SMALL}", "cannot read nosuch.mat: no such file"),
    "missing sources": (f"{GOOD} -sourcefile nosuch.src", "cannot read nosuch.src: no such file"),
    "missing image": (f"{CRYSTAL} -img nosuch.img", "cannot read nosuch.img: No such file"),
    "missing mask": (f"{CRYSTAL} -mask nosuch.img", "cannot read nosuch.img: No such file"),
    "missing dump": (f"{CELL} {SMALL} -dump nosuch.bin", "cannot read nosuch.bin: no such file"),
    "folder as hkl": (f"{CELL} {SMALL} -hkl folder", "cannot read folder: it is a folder"),
    "folder as mask": (f"{CRYSTAL} -mask folder", "cannot read folder"),
    "empty hkl": (f"{CELL} {SMALL} -hkl empty.hkl", "empty.hkl holds no reflections"),
    "words in hkl": (f"{CELL} {SMALL} -hkl words.hkl", "words.hkl, line 3: expected h k l F, found 'three 0 0 10'"),
    "short hkl line": (f"{CELL} {SMALL} -hkl short.hkl", "short.hkl, line 4"),
    "half an index": (f"{CELL} {SMALL} -hkl half.hkl", "half.hkl, line 2"),
    "nan in hkl": (f"{CELL} {SMALL} -hkl nan.hkl", "nan.hkl, line 2"),
    "huge index range": (f"{CELL} {SMALL} -hkl huge.hkl", "GiB"),
    "words in matrix": (f"-mat words.mat -default_F 1 {SMALL}", "words.mat, line 2: expected a number, found 'ten'"),
    "short matrix": (f"-mat short.mat -default_F 1 {SMALL}", "short.mat: a matrix has nine numbers, found 6"),
    "singular matrix": (f"-mat flat.mat -default_F 1 {SMALL}", "flat.mat: the matrix is singular"),
    "nan in matrix": (f"-mat nan.mat -default_F 1 {SMALL}", "nan.mat"),
    "left-handed matrix": (f"-mat left.mat -default_F 1 {SMALL}", "left-handed"),
    "words in sources": (f"{GOOD} -sourcefile words.src", "words.src, line 2: expected X Y Z weight wavelength"),
    "too many columns": (f"{GOOD} -sourcefile many.src", "many.src, line 1"),
    "nan in sources": (f"{GOOD} -sourcefile nan.src", "nan.src, line 1"),
    "dark sources": (f"{GOOD} -sourcefile dark.src", "weight"),
    "source in the sample": (f"{GOOD} -sourcefile here.src", "no direction"),
    "negative weight": (f"{GOOD} -sourcefile negative.src", "weights must not be negative"),
    "zero wavelength of a source": (f"{GOOD} -sourcefile wave.src", "wavelengths must be above zero"),
    "source along the polarisation": (f"{GOOD} -sourcefile axis.src", "polarisation axis"),
    "no sources": (f"{GOOD} -sourcefile empty.src", "no sources"),
    "text as image": (f"{CRYSTAL} -img text.img", "text.img: not an SMV image"),
    "truncated mask": (f"{CRYSTAL} -mask cut.img", "cut.img: truncated"),
    "words in a header": (f"{CRYSTAL} -img words.img", "words.img: PIXEL_SIZE in the header is not a number"),
    "truncated dump": (f"{CELL} {SMALL} -dump short.dump", "short.dump"),
    "impossible angles": (f"-cell 50 60 70 30 100 140 -default_F 1 {SMALL}", "no cell has the angles 30 100 140"),
    "flat cell": (f"-cell 50 60 70 120 120 120 -default_F 1 {SMALL}", "no cell has the angles"),
    "zero edge": (f"-cell 50 0 70 90 90 90 -default_F 1 {SMALL}", "b must be above zero"),
    "negative edge": (f"-cell 50 -60 70 90 90 90 -default_F 1 {SMALL}", "b must be above zero"),
    "huge edge": (f"-cell 1e308 60 70 90 90 90 -default_F 1 {SMALL}", "its volume is out of range"),
    "tiny edges": (f"-cell 1e-200 1e-200 70 90 90 90 -default_F 1 {SMALL}", "its volume is out of range"),
    "amplitudes beyond double precision": (f"{CELL} -N 5 -default_F 1e300 {SMALL}", "not finite"),
    "no cell": (f"-default_F 1 {SMALL}", "no unit cell: give -cell"),
    "no structure factors": (f"{CELL} {SMALL}", "no structure factors: give -hkl FILE"),
    "zero pixels": (f"{CRYSTAL} -detpixels 0", "0 pixels"),
    "negative pixels": (f"{CRYSTAL} -detpixels_x -3", "-3 pixels"),
    "zero pixel size": (f"{CRYSTAL} -pixel 0", "-pixel must be above zero"),
    "negative pixel size": (f"{CRYSTAL} -pixel -0.1", "-pixel must be above zero"),
    "zero detector size": (f"{CRYSTAL} -detsize 0", "-detsize must be above zero"),
    "detector smaller than a pixel": (f"{CRYSTAL} -detsize 0.01 -pixel 1", "0 pixels"),
    "zero distance": (f"{CRYSTAL} -distance 0", "the distance must not be zero"),
    "zero wavelength": (f"{GOOD} -lambda 0", "-lambda must be above zero"),
    "negative wavelength": (f"{GOOD} -lambda -1", "-lambda must be above zero"),
    "zero energy": (f"{GOOD} -energy 0", "-energy must be above zero"),
    "negative fluence": (f"{GOOD} -fluence -1", "fluence must not be negative"),
    "negative spread": (f"{GOOD} -mosaic -1", "-mosaic must not be negative"),
    "negative resolution": (f"{GOOD} -dmin -1", "-dmin must not be negative"),
    "negative water": (f"{GOOD} -water -1", "water_size must not be negative"),
    "zero fudge": (f"{GOOD} -round_xtal -fudge 0", "fudge must be above zero"),
    "zero oversample": (f"{GOOD} -oversample 0", "-oversample must be at least 1"),
    "zero beam size with flux": (f"{GOOD} -flux 1e12 -beamsize 0", "-beamsize 0"),
    "negative thickness": (f"{GOOD} -detector_abs 300 -detector_thick -5", "thickness must not be negative"),
    "negative depth": (f"{GOOD} -detector_abs -300 -detector_thick 5", "attenuation_depth must be above zero"),
    "negative step count": (f"{GOOD} -phisteps -2", "-phisteps must not be negative"),
    "zero phi step": (f"{GOOD} -osc 1 -phistep 0", "-phistep 0"),
    "mask of another shape": (
        f"{GOOD} -mask small.img",
        "the mask has 9 x 9 pixels (fast x slow), the detector 16 x 16",
    ),
    "region outside": (
        f"{GOOD} -roi 0 16 0 15",
        "region of interest 0 16 0 15 does not lie on the detector of 16 x 16",
    ),
    "region upside down": (f"{GOOD} -roi 9 3 0 15", "region of interest"),
    "negative region": (f"{GOOD} -roi -1 3 0 15", "region of interest"),
    "pixel to print outside": (f"{GOOD} -printout_pixel 16 0", "-printout_pixel 16 0 does not lie on the detector"),
    "unknown flag": (f"{GOOD} -detpixel_x 5", "unknown flag -detpixel_x (did you mean -detpixels_x?)"),
    "unknown option": (f"{GOOD} --thread 2", "unknown option --thread (did you mean --threads?)"),
    "not a number": (f"{GOOD} -distance far", "-distance takes a number (mm), not 'far'"),
    "nan": (f"{GOOD} -distance nan", "-distance takes a number (mm), not 'nan'"),
    "infinity": (f"{GOOD} -phi inf", "-phi takes a number (deg), not 'inf'"),
    "too few values": (f"{GOOD} -misset 1 2", "-misset takes 3 numbers"),
    "stray value": (f"{GOOD} 17", "stray value '17'"),
    "contradiction": (f"{GOOD} -xds -mosflm", "contradict each other"),
    "edge-on by rotation": (f"{GOOD} -detector_roty 90", "the beam runs along the detector plane"),
    "edge-on by a vector": (f"{GOOD} -odet_vector 0 1 0", "the beam runs along the detector plane"),
    "beam along the polarisation": (f"{GOOD} -polar_vector 1 0 0", "polarisation axis must not lie along the beam"),
    "vector without direction": (f"{GOOD} -spindle_axis 0 0 0", "-spindle_axis 0 0 0 has no direction"),
    "parallel axes": (f"{GOOD} -fdet_vector 0 1 0 -sdet_vector 0 -1 0", "parallel"),
    "offset too large": (f"{GOOD} -adc 1e9", "-adc"),
    "beyond single precision": (f"{GOOD} -fluence 1e80", "single precision"),
    "no such folder": (f"{GOOD} -floatfile nosuch/f.bin", "cannot write nosuch/f.bin: the folder"),
    "folder as output": (f"{GOOD} -floatfile folder", "cannot write folder: it is a folder"),
    "folder as last output": (f"{GOOD} -noisefile folder", "cannot write folder: it is a folder"),
    "folder as dump": (f"{CELL} -N 5 {SMALL} -hkl inputs/sparse.hkl -dump folder", "cannot write folder"),
    "more than the memory": (f"{CRYSTAL} -detpixels 46000 -roi 0 1 0 1", "GiB"),
    "more than an image": (f"{CRYSTAL} -detpixels 50000", "more than one image can hold"),
}
# Where mode c says something else, or nothing at all because nanoBragg.c has an answer.
OTHERWISE_IN_C = {
    "zero oversample",
    "negative step count",
    "negative edge",
    "zero edge",
    "unknown flag",
    "too few values",
    "stray value",
    "contradiction",
    "edge-on by a vector",
    "parallel axes",
    "missing dump",
    "no structure factors",
    "no sources",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_no_file(name):
    line, wanted = BAD[name]
    assert wanted in refused(line, "-noprogress")


@pytest.mark.parametrize("name", sorted(set(BAD) - OTHERWISE_IN_C))
def test_bad_input_is_one_line_in_mode_c_too(name):
    line, wanted = BAD[name]
    assert wanted in refused("--compat c", line, "-noprogress")


def test_missing_structure_factors_come_with_a_hint():
    message = refused(CELL, SMALL)
    assert "-default_F" in message
    assert "numbragg fmodel MODEL" in message


def test_unreadable_file_is_named(monkeypatch):
    Path("closed.hkl").write_text("1 0 0 10\n")
    Path("closed.hkl").chmod(0)
    if os.geteuid() == 0:
        # The superuser may read everything, so the refusal is played.
        def refuse(*arguments, **options):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(Path, "open", refuse)
    assert "cannot read closed.hkl: Permission denied" in refused(CELL, SMALL, "-hkl closed.hkl")


# Outputs


def test_existing_output_survives_a_failing_run():
    Path("f.bin").write_bytes(b"precious")
    refused(GOOD, "-floatfile f.bin -roi 0 99 0 1")
    assert Path("f.bin").read_bytes() == b"precious"


WRITERS = ("-floatfile", "-intfile", "-pgmfile", "-noisefile", "-pngfile")


class FullDisk:
    """A file on a disk with room for some bytes."""

    def __init__(self, stream, room: int) -> None:
        self.stream, self.room = stream, room

    def __enter__(self):
        self.stream.__enter__()
        return self

    def __exit__(self, *error):
        return self.stream.__exit__(*error)

    def write(self, data) -> int:
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.stream.write(data)

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


@pytest.mark.parametrize("flag", WRITERS)
def test_full_disk_leaves_no_part_of_the_file(flag, monkeypatch):
    """Clause 30.31: the file that was there before stays."""
    real = os.fdopen
    monkeypatch.setattr("numbragg.io.atomic.os.fdopen", lambda *words: FullDisk(real(*words), 100))
    Path("out").write_bytes(b"precious")
    names = {other: "out" if other == flag else f"{other[1:]}.x" for other in WRITERS}
    result = run("simulate", GOOD, *(f"{other} {name}" for other, name in names.items()), "-noprogress")
    assert "No space left on device" in assert_one_clear_line(result)
    assert Path("out").read_bytes() == b"precious"
    assert not [path for path in Path().iterdir() if path.name.startswith(".") or path.suffix == ".x"]


def test_failing_rename_leaves_no_temporary_file(monkeypatch):
    def replace(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("numbragg.io.atomic.os.replace", replace)
    assert "cannot write f.bin: Input/output error" in refused(GOOD, "-floatfile f.bin")


def test_full_file_system_leaves_no_part_of_the_file(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        result = run("simulate", CRYSTAL, f"-detpixels 256 -floatfile {mount}/f.bin -nonoise -nopgm -noprogress")
        assert "No space left on device" in assert_one_clear_line(result)
        assert list(mount.iterdir()) == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize("where", ["kernel", "writer"])
def test_interrupt_leaves_no_file_and_exits_with_130(where, monkeypatch):
    """Clause 20.23."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if where == "kernel":
        monkeypatch.setattr(numbragg.simulation, "forward_kernel", lambda *_: interrupt)
    else:
        monkeypatch.setattr("numbragg.io.atomic.os.replace", interrupt)
    before = set(Path().rglob("*"))
    result = run("simulate", GOOD, "-noprogress")
    assert result.status == 130
    assert result.err.splitlines()[-1] == "numbragg: interrupted"
    assert new_files(before) == set()


def test_interrupt_in_a_thread_ends_the_run(monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(numbragg.simulation, "forward_kernel", lambda *_: interrupt)
    assert run("simulate --threads 2", CRYSTAL, "-detpixels 64 -noprogress").status == 130


def test_lack_of_memory_is_one_line(monkeypatch):
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(numbragg.simulation, "simulate", exhausted)
    assert "not enough memory" in refused(GOOD, "-noprogress")


def test_job_that_does_not_fit_is_refused_with_both_figures(monkeypatch):
    monkeypatch.setattr(numbragg.cli.simulate.os, "sysconf", lambda name: 1024)
    assert re.search(r"needs about [\d.]+ GiB of memory, this machine has 0\.0 GiB", refused(CRYSTAL, "-detpixels 512"))


# Fuzzing

FUZZ = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
JUNK = ["nan", "-inf", "0", "-1", "1e308", "-1e-308", "3", "1e9", "x", "", "random", "nosuch", "folder", "inputs/A.mat"]
TINY = "-detpixels 6 -oversample 1 -phisteps 1 -mosaic_dom 1 -noprogress -nonoise -nopgm"
COSTLY = re.compile(
    r"-(osc|phi\w+|mosaic\w*|\w*thicksteps|\w*div\w+|disp\w+|oversample|det(pixels|size)\w*|pixel|img|mask|N[abc]?"
    r"|\w*size\w*|xtal\w*|sample\w*)"
)
FLAG_WORDS = sorted({word for case in CASES.values() for word in case["args"].split() if re.match("-[a-zA-Z]", word)})


@contextlib.contextmanager
def fuzz_folder():
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(link_inputs(Path(folder))):
        Path("folder").mkdir()
        yield


def assert_ends_well(words: list[str]) -> None:
    with fuzz_folder():
        result = run_words(words)
        files = {path.name for path in Path().iterdir()} - {"inputs", "folder"}
    assert result.status in (0, 2), words
    assert "Traceback" not in result.err
    errors = [line for line in result.err.splitlines() if line.startswith("numbragg: error: ")]
    assert len(errors) == (result.status == 2), words
    if result.status == 2:
        assert files <= {"Fdump.bin"}, words
    assert not any(name.startswith(".") for name in files), words


def run_words(words: list[str]) -> Outcome:
    """As `run`, for words that may be empty or hold blanks."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    return Outcome(status, out.getvalue(), err.getvalue())


@st.composite
def mutated_arguments(draw) -> list[str]:
    """Golden arguments with some words exchanged, dropped, doubled or spoilt; the detector stays tiny."""
    words = CASES[draw(st.sampled_from(sorted(CASES)))]["args"].split()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(words) - 1))
        kind = draw(st.sampled_from(["drop", "double", "junk", "flag", "spoil"]))
        if kind == "drop":
            del words[place]
        elif kind == "double":
            words.insert(place, words[place])
        elif kind == "junk":
            words[place] = draw(st.sampled_from(JUNK))
        elif kind == "flag":
            words.insert(place, draw(st.sampled_from(FLAG_WORDS)))
        else:
            words[place] += draw(st.sampled_from(["x", "0", "-", ".", "e", "\n", "é"]))
        words = words or ["-N"]
    return words


def is_cheap(words: list[str]) -> bool:
    """Whether no count or size can be that of a long job."""
    return all(
        re.fullmatch(r"\d{1,2}(\.\d+)?", value)
        for flag, value in itertools.pairwise(words)
        if COSTLY.fullmatch(flag) and value[:1] != "-"
    )


@given(words=mutated_arguments(), compat=st.sampled_from(["spec", "c"]))
@example(words=["-cell", "70", "80", "90", "75", "85", "95", "-default_F", "1e308", "-N", "5"], compat="spec")
@FUZZ
def test_mutated_arguments_never_end_in_a_traceback(words, compat):
    if is_cheap(words):
        assert_ends_well(["simulate", "--compat", compat, *words, *TINY.split()])


@given(
    words=st.lists(st.sampled_from([*FLAG_WORDS, *JUNK, "--compat", "--threads", "--help", "-", "--"]), max_size=12),
    compat=st.sampled_from(["spec", "c"]),
)
@FUZZ
def test_random_words_never_end_in_a_traceback(words, compat):
    if is_cheap(words):
        assert_ends_well(["simulate", "--compat", compat, *words, *GOOD.split(), *TINY.split()])


@given(words=st.lists(st.text(max_size=8), min_size=1, max_size=5))
@FUZZ
def test_arbitrary_text_never_ends_in_a_traceback(words):
    with fuzz_folder():
        assert run_words(words).status in (0, 2)
        assert run_words(["simulate", *words]).status in (0, 2)


NUMBERISH = st.one_of(
    st.sampled_from(["0", "1", "-1", "nan", "inf", "1e-10", "1e400", "#", "x", "0x1", "1_0", "١", ""]),
    st.floats().map(repr),
)
LINES = st.lists(st.lists(NUMBERISH, max_size=7).map(" ".join), max_size=5).map("\n".join)
CONTENT = st.one_of(LINES.map(str.encode), st.binary(max_size=80))


@given(content=CONTENT, flag=st.sampled_from(["-sourcefile", "-mat", "-hkl", "-mask", "-img", "-dump"]))
@FUZZ
def test_arbitrary_files_never_end_in_a_traceback(content, flag):
    with fuzz_folder():
        Path("any").write_bytes(content)
        words = GOOD.split() if flag != "-dump" else [*CELL.split(), *SMALL.split()]
        result = run_words(["simulate", *words, flag, "any", *TINY.split()])
        assert result.status in (0, 2)
        assert ("numbragg: error: " in result.err) == (result.status == 2)


@given(rows=st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), min_size=1, max_size=6))
@FUZZ
def test_source_tables_of_numbers_are_read_as_they_stand_or_refused(rows):
    """Clause 30.51."""
    with fuzz_folder():
        Path("table").write_text("\n".join(" ".join(map(repr, row)) for row in rows))
        defaults = (-10.0, 0.0, 0.0, 1.0, 1e-10)
        full = np.array([(*row, *defaults[len(row) :]) for row in rows])
        usable = (
            (full[:, 3] >= 0).all() and full[:, 3].any() and full[:, :3].any(axis=1).all() and (full[:, 4] > 0).all()
        )
        if usable:
            table = read_sources("table", 1.0, np.array([1.0, 0.0, 0.0]))
            np.testing.assert_array_equal(table.positions, full[:, :3])
            np.testing.assert_array_equal(table.weights, full[:, 3])
            np.testing.assert_allclose(table.wavelengths, full[:, 4] * 1e10, rtol=1e-15)
        else:
            assert run_words(["simulate", *GOOD.split(), "-sourcefile", "table"]).status == 2


@given(entries=st.lists(st.floats(-1e3, 1e3), min_size=9, max_size=9), width=st.sampled_from([1, 2, 3, 9]))
@FUZZ
def test_matrices_of_nine_numbers_are_read_in_any_layout(entries, width):
    """Clause 30.50."""
    matrix = np.array(entries).reshape(3, 3)
    scaled = matrix / max(np.abs(matrix).max(), 1e-300)
    determinant = abs(scaled[0] @ np.cross(scaled[1], scaled[2]))
    with fuzz_folder():
        lines = [" ".join(map(repr, entries[start : start + width])) for start in range(0, 9, width)]
        Path("m").write_text("\n".join(lines) + "\nanything else\n")
        if determinant > 1e-9:
            np.testing.assert_array_equal(read_matrix("m"), matrix)
        elif determinant < 1e-15:
            assert run_words(["simulate", "-mat", "m", "-default_F", "1"]).status == 2


def test_golden_inputs_are_where_the_fuzzers_look():
    assert (GOLDEN / "inputs" / "A.mat").is_file()
