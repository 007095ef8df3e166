"""The command `numbragg compare`: kinds of files, exit codes, pictures, two programs (specs/70-compare.md)."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compare_scenes import QUICK, noisy, spotted
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from numbragg.cli.compare import main
from numbragg.io.float_image import write_float
from numbragg.io.smv import write_smv

# Command line


@pytest.fixture
def images(tmp_path, monkeypatch):
    """The same image in every kind of file, and another."""
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(10).integers(0, 5000, (12, 17)).astype(np.uint16)
    write_float("a.bin", counts)
    write_smv("a.img", counts, {})
    np.save("a.npy", counts)
    write_float("b.bin", noisy(11))
    return tmp_path


def run(capsys, *words):
    """Exit code, standard output and standard error; never a traceback (70.24)."""
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


@pytest.mark.parametrize("first", ["a.bin", "a.img", "a.npy"])
@pytest.mark.parametrize("second", ["a.img", "a.npy"])
def test_all_kinds_of_files_hold_the_same_image(images, capsys, first, second):
    """70.11 and 70.14: a raw image takes the shape of the other; 70.24: 0."""
    status, out, err = run(capsys, first, second, "--threshold", 1)
    assert (status, err) == (0, "")
    assert "of 12 x 17 (slow x fast)" in out
    assert "ADU" in out


def test_raw_images_take_their_shape_from_the_option(images, capsys):
    """70.14 and 70.20."""
    status, out, _ = run(capsys, "a.bin", "b.bin", "--shape", 12, 17, "--json", "-", "--roi", 1, 5, 2, 3)
    values = json.loads(out)
    assert status == 0
    assert (values["shape"], values["pixels"], values["unit"]) == ([12, 17], 10, "photons")
    assert values["names"] == ["a.bin", "b.bin"]
    assert "runs" not in values


def test_a_square_is_guessed_and_said_to_be_a_guess(images, capsys):
    """70.14."""
    write_float("square.bin", noisy(0, (8, 8)))
    status, out, err = run(capsys, "square.bin", "square.bin")
    assert status == 0
    assert "8 x 8 pixels is a guess" in err
    assert len(err.splitlines()) == 1
    assert "of 8 x 8" in out


def test_a_json_file_is_written_beside_the_table(images, capsys):
    """70.20."""
    status, out, _ = run(capsys, "a.img", "b.bin", "--json", "c.json")
    assert status == 0
    assert json.loads(Path("c.json").read_text())["pixels"] == 204
    assert out.startswith("correlation ")


USAGE_ERRORS = [
    [],
    ["a.bin"],
    ["a.bin", "a.bin", "a.bin"],
    ["a.bin", "a.bin"],
    ["a.img", "a.img", "--nonsense"],
    ["a.img", "a.img", "--gate", "x"],
    ["a.img", "a.img", "--gate", "-1"],
    ["a.img", "a.img", "--percentile", "nan"],
    ["a.img", "a.img", "--floor", "inf"],
    ["a.img", "a.img", "--threshold", "1.5"],
    ["a.img", "a.img", "--threshold", "nan"],
    ["a.img", "a.img", "--roi", "0", "17", "0", "11"],
    ["a.img", "a.img", "--shape", "0", "17"],
    ["a.img", "a.img", "--", "-N", "5"],
    ["a.img", "a.img", "--run-a", "x"],
    ["--run-a", "x"],
    ["--run-a", "x 'y", "--run-b", "x", "--", "-N", "5"],
    ["--run-a", " ", "--run-b", "x"],
    ["a.img", "a.img", "--json", "no/where.json"],
    ["a.img", "a.img", "--png", "no/where.png"],
    ["a.img", "a.img", "--json", "."],
]


@pytest.mark.parametrize("words", USAGE_ERRORS, ids=" ".join)
def test_wrong_usage_ends_with_1(images, capsys, words):
    """70.24."""
    status, out, err = run(capsys, *words)
    assert (status, out) == (1, "")
    assert err.startswith("numbragg: error: ")
    assert len(err.splitlines()) == 1


def test_a_correlation_below_the_threshold_ends_with_3_after_the_output(images, capsys):
    """70.23."""
    status, out, err = run(capsys, "a.img", "b.bin", "--threshold", 0.9)
    assert status == 3
    assert out.startswith("correlation ")
    assert "below the threshold 0.9" in err
    np.save("constant.npy", np.ones((4, 4)))
    status, _, err = run(capsys, "constant.npy", "constant.npy", "--threshold", -1)
    assert status == 3
    assert "undefined (a constant image)" in err


@pytest.mark.parametrize(
    "words", [["a.img", "t.npy"], ["a.bin", "t.npy"], ["a.bin", "s.bin"], ["a.img", "a.bin", "--shape", "17", "12"],
              ["a.bin", "a.bin", "--shape", "12", "16"], ["t.npy", "a.npy"]],
    ids=" ".join,
)  # fmt: skip
def test_shapes_that_differ_end_with_4(images, capsys, words):
    """70.14 and 70.24."""
    np.save("t.npy", np.zeros((17, 13)))
    write_float("s.bin", np.zeros((3, 5)))
    status, out, err = run(capsys, *words)
    assert (status, out) == (4, "")
    assert len(err.splitlines()) == 1


def test_transposed_images_are_of_different_shape(images, capsys):
    """70.24: the number of pixels is the same."""
    np.save("t.npy", np.zeros((17, 12)))
    assert run(capsys, "a.npy", "t.npy")[0] == 4


def unreadable(kind):
    """Content of a file that must be refused."""
    pickled = np.lib.format.MAGIC_PREFIX + b"\x01\x00\x76\x00"
    return {
        "empty.bin": b"",
        "odd.bin": b"12345",
        "short.img": b"{\nHEADER_BYTES=512;\nSIZE1=12;\nSIZE2=17;\n}\f",
        "text.img": b"no image",
        "text.npy": b"no image",
        "cut.npy": pickled,
        "image.cbf": b"###CBF: VERSION 1.5\n",
        "image.h5": b"\x89HDF\r\n\x1a\n" * 2,
        "image.bin": b"\x89PNG\r\n\x1a\n",
        "nan.bin": np.array([1, np.nan, 3, 4], "<f4").tobytes(),
        "huge.img": b"{\nHEADER_BYTES=512;\nSIZE1=999999999;\nSIZE2=999999999;\n}\f",
    }[kind]


@pytest.mark.parametrize(
    "name",
    ["empty.bin", "odd.bin", "short.img", "text.img", "text.npy", "cut.npy", "image.cbf", "image.h5", "image.bin",
     "nan.bin", "huge.img"],
)  # fmt: skip
@pytest.mark.parametrize("second", [False, True])
def test_an_unreadable_image_ends_with_5_and_is_named(images, capsys, name, second):
    """70.12, 70.13 and 70.24."""
    Path(name).write_bytes(unreadable(name))
    status, out, err = run(capsys, *(["a.img", name] if second else [name, "a.img"]))
    assert (status, out) == (5, "")
    assert name in err
    assert len(err.splitlines()) == 1


def test_a_missing_file_a_folder_and_an_array_of_objects_end_with_5(images, capsys):
    """70.11 and 70.24."""
    np.save("objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save("line.npy", np.zeros(9))
    np.save("complex.npy", np.zeros((3, 3), complex))
    Path("folder.img").mkdir()
    for name in ("missing.bin", "new\nline", "folder.img", "objects.npy", "line.npy", "complex.npy"):
        status, _, err = run(capsys, name, "a.img")
        assert status == 5
        assert len(err.splitlines()) == 1


@QUICK
@given(
    st.sampled_from(["x.img", "x.npy", "x.bin"]),
    st.sampled_from([b"", b"{\nHEADER_BYTES=  512;", b"\x93NUMPY\x01\x00", "whole"]),
    st.binary(max_size=200),
    st.integers(0, 2000),
)
def test_damaged_files_end_with_a_code_and_one_line(images, capsys, name, start, junk, place):
    """70.24: junk behind a plausible start, and whole files that are overwritten or cut somewhere."""
    if start == "whole":
        content = Path("a" + name[1:]).read_bytes()
        place %= len(content)
        content = content[:place] + junk + (content[place + len(junk) :] if len(junk) % 2 else b"")
    else:
        content = start + junk
    Path(name).write_bytes(content)
    status, _, err = run(capsys, name, "a.img")
    assert status in (0, 4, 5)
    assert status == 0 or len([line for line in err.splitlines() if line.startswith("numbragg: error: ")]) == 1


def test_the_picture_shows_both_images_and_their_difference(images, capsys):
    """70.22."""
    pytest.importorskip("matplotlib")
    status, _, _ = run(capsys, "a.bin", "b.bin", "--shape", 12, 17, "--png", "c.png")
    assert status == 0
    with Image.open("c.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] > 2 * pixels.shape[0]
    for panel in np.array_split(pixels, 3, axis=1):
        assert len(np.unique(panel.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("case", ["equal", "constant", "negative", "large", "one pixel", "tiny"])
def test_pictures_of_odd_images_can_be_drawn(tmp_path, case):
    """70.22: scales without extent, and reduction by blocks."""
    pytest.importorskip("matplotlib")
    from numbragg.plotting import plot_comparison

    a, b = {
        "equal": (noisy(), noisy()),
        "constant": (np.zeros((5, 5)), np.zeros((5, 5))),
        "negative": (-noisy(), noisy(1) - 100.0),
        "large": (spotted((1500, 1300), [(700, 600)]), np.zeros((1500, 1300))),
        "one pixel": (np.ones((1, 1)), np.zeros((1, 1))),
        "tiny": (noisy() * 1e-30, noisy(1) * 1e-30),
    }[case]
    plot_comparison(tmp_path / "c.png", a, b, names=("$a$ \u6f22", "x" * 200))
    with Image.open(tmp_path / "c.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_reduction_by_blocks_keeps_single_bright_and_dark_pixels(monkeypatch):
    """70.22."""
    from numbragg import plotting

    monkeypatch.setattr(plotting, "LONGEST_SIDE", 10)
    image = np.zeros((25, 31))
    image[24, 30], image[3, 3], image[2, 2] = 5.0, -7.0, 6.0
    reduced = plotting._reduced(image)
    assert reduced.shape == (7, 8)
    assert (reduced[6, 7], reduced[0, 0]) == (5.0, -7.0)
    assert np.count_nonzero(reduced) == 2


def test_without_matplotlib_the_extra_is_named_before_a_file_is_read(images, capsys, monkeypatch):
    """70.21."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = run(capsys, "missing.bin", "a.img", "--png", "c.png")
    assert status == 1
    assert "pip install numbragg[plot]" in err


# Two commands

FAKE = """
import os, sys
import numpy as np
words = sys.argv[1:]
value = lambda flag: words[len(words) - 1 - words[::-1].index(flag) + 1]
mode = words[0]
print("hello from standard output", flush=True)
if mode == "fail":
    print("first\\n\\x1b[31mthe reason", file=sys.stderr)
    sys.exit(7)
if mode == "silent-fail":
    sys.exit(1)
if mode == "killed":
    os.kill(os.getpid(), 9)
if mode == "nothing":
    sys.exit(0)
n = int(value("-detpixels"))
image = np.fromfile(value("-mat"), "u1")[: n * n].astype("<f4")
image[0] = float("nan") if mode == "nan" else image[0]
image[: 3 if mode == "cut" else None].tofile(value("-floatfile"))
assert "-nonoise" in words and "-nopgm" in words
if mode != "raw":
    n = n + 1 if mode == "liar" else n
    with open(value("-intfile"), "wb") as stream:
        stream.write((b"{\\nHEADER_BYTES=512;\\nSIZE1=%d;\\nSIZE2=%d;\\n}\\f" % (n, n)).ljust(512) + bytes(2 * n * n))
print(os.path.dirname(value("-floatfile")), file=open("folders", "a"))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Command line of a simulator that reads its relative input and does what its first word says."""
    monkeypatch.chdir(tmp_path)
    Path("fake.py").write_text(FAKE)
    Path("input").write_bytes(np.random.default_rng(12).integers(0, 255, 400).astype("u1").tobytes())
    return lambda mode: shlex.join([sys.executable, "fake.py", mode])


FLAGS = ["--", "-mat", "input", "-detpixels", 8]


def test_two_commands_get_the_flags_and_folders_of_their_own(fake, capsys):
    """70.15 to 70.19; 70.10: runs."""
    a, b = fake("good"), fake("raw")
    status, out, err = run(capsys, "--run-a", a, "--run-b", b, "--json", "-", *FLAGS)
    values = json.loads(out)
    assert (status, err) == (0, "")
    assert (values["correlation"], values["shape"]) == (1.0, [8, 8])
    assert [values["runs"][side]["command"] for side in "ab"] == [a, b]
    assert all(values["runs"][side]["seconds"] > 0 for side in "ab")
    folders = Path("folders").read_text().split()
    assert len(set(folders)) == 2
    assert not any(Path(folder).exists() for folder in folders)
    assert {path.name for path in Path().iterdir()} == {"fake.py", "input", "folders"}


def test_the_table_shows_both_wall_times(fake, capsys):
    """70.19."""
    status, out, _ = run(capsys, "--run-a", fake("good"), "--run-b", fake("good"), *FLAGS)
    assert status == 0
    assert out.splitlines()[-1].startswith("wall time A, B")


@pytest.mark.parametrize(
    ("mode", "message", "lines"),
    [
        ("fail", "ended with status 7", 3),
        ("silent-fail", "ended with status 1", 2),
        ("killed", "was ended by signal 9", 2),
        ("nothing", "wrote no float image", 2),
        ("nan", "NaN", 1),
        ("cut", "3 pixels", 2),
        ("liar", "9 x 9", 2),
    ],
)
@pytest.mark.parametrize("side", ["a", "b"])
def test_a_run_that_fails_ends_with_2_and_shows_what_it_said(fake, capsys, mode, message, lines, side):
    """70.18: standard error, or standard output when that is empty."""
    modes = {"a": "good", "b": "good", side: mode}
    status, out, err = run(capsys, "--run-a", fake(modes["a"]), "--run-b", fake(modes["b"]), *FLAGS)
    assert (status, out) == (2, "")
    assert err.startswith(f"numbragg: error: --run-{side}: ")
    assert message in err.splitlines()[0]
    assert len(err.splitlines()) == lines
    assert "\x1b" not in err
    assert ("the reason" in err) == (mode == "fail")


def test_a_command_that_does_not_exist_ends_with_2(fake, capsys):
    """70.18."""
    status, _, err = run(capsys, "--run-a", "no-such-program", "--run-b", fake("good"), *FLAGS)
    assert status == 2
    assert err == "numbragg: error: --run-a: cannot run no-such-program: not found; give the path of the program\n"


def test_both_modes_of_numbragg_are_compared(tmp_path, monkeypatch, capsys):
    """70.15: without phi steps the modes agree."""
    monkeypatch.chdir(tmp_path)
    simulate = shlex.join([sys.executable, "-m", "numbragg", "simulate"])
    flags = "-cell 50 50 50 90 90 90 -default_F 100 -N 3 -lambda 1 -distance 50 -pixel 1 -oversample 1"
    flags += " -detpixels_x 9 -detpixels_y 7"
    words = ["--run-a", f"{simulate} --compat c", "--run-b", simulate, "--threshold", "0.999999", "--", *flags.split()]
    status, out, _ = run(capsys, *words)
    assert status == 0
    assert "of 7 x 9 (slow x fast)" in out


def test_the_module_runs_as_a_program(images):
    """70.24: the exit code reaches the shell."""
    code = "import sys; from numbragg.cli.compare import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "a.img", "gone"], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr == "numbragg: error: cannot read gone: no such file\n"
