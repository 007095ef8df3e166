"""The commands ``numbragg`` and ``nanoBragg`` from outside (specs/20-command-line.md)."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fabio
import numpy as np
import PIL.Image
import pytest
from command_line import CASES, link_inputs, run

import numbragg
from numbragg.cli import main, nanobragg
from numbragg.compat.flag_table import FLAGS
from numbragg.io.smv import read_smv

LINE = "-cell 100 100 100 90 90 90 -default_F 100 -N 5 -detpixels_x 20 -detpixels_y 14 -pixel 0.8 -distance 60"
DEFAULT_FILES = {"floatimage.bin", "intimage.img", "image.pgm", "noiseimage.img"}


@pytest.fixture(autouse=True)
def in_a_folder_with_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(link_inputs(tmp_path))


def python(*words: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "numbragg", *(word for line in words for word in line.split())]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)


def written() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"inputs"}


def test_simulate_as_a_program_writes_the_four_files():
    """Clauses 20.1 and 20.23: ``python -m numbragg``, and the same image as from Python."""
    done = python("simulate", LINE, "-seed 1")
    assert done.returncode == 0, done.stderr
    assert written() == DEFAULT_FILES
    assert "20x14 pixels" in done.stdout
    image = numbragg.simulate(numbragg.parse_flags(LINE.split()))
    np.testing.assert_array_equal(np.fromfile("floatimage.bin", "<f4").reshape(14, 20), image.astype("<f4"))


def test_bad_input_as_a_program_is_one_line_and_exit_code_2():
    """Clause 20.23."""
    done = python("simulate", LINE, "-detpixel 4")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "numbragg: error: unknown flag -detpixel (did you mean -detpixels?)\n"
    assert written() == set()


def test_reader_that_closes_the_pipe_gets_the_files_and_no_traceback():
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "numbragg", "simulate", *LINE.split(), "-nonoise"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=300,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert "floatimage.bin" in written()


def test_nanobragg_is_simulate_in_mode_c(capsys):
    """Clause 20.1: the image of the reference, its own matching of flags, and its file in the folder (Q11)."""
    words = [*CASES["triclinic_hkl"]["args"].split(), "-unheard_of", "-nonoise"]
    assert nanobragg(words) == 0
    assert "is ignored, as nanoBragg.c does" in capsys.readouterr().err
    by_entry = Path("floatimage.bin").read_bytes()
    assert "Fdump.bin" in written()
    assert main(["simulate", "--compat", "c", *words]) == 0
    assert Path("floatimage.bin").read_bytes() == by_entry
    assert nanobragg([*words[:-2], "--compat", "spec", "-nonoise"]) == 0
    assert Path("floatimage.bin").read_bytes() != by_entry


def test_entry_points_are_installed():
    folder = Path(sys.executable).parent
    for name in ("numbragg", "nanoBragg"):
        command = shutil.which(name, path=str(folder))
        if command is None:
            pytest.skip("not installed")
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False, timeout=300)
        assert (done.returncode, done.stdout) == (0, run("--version").out)


@pytest.mark.parametrize("words", ["", "--help", "-h", "help"])
def test_usage_names_every_command(words):
    result = run(words)
    assert result.status == 0
    assert all(name in result.out for name in ("simulate", "demo", "fmodel"))


def test_help_of_simulate_names_every_flag():
    """Clause 20.21."""
    result = run("simulate --help")
    assert (result.status, result.err) == (0, "")
    assert all(name in result.out for flag in FLAGS for name in flag.names)


@pytest.mark.parametrize("words", ["--version", "simulate --version"])
def test_version(words):
    from importlib.metadata import version

    assert run(words) == (0, f"numbragg {version('numbragg')}\n", "")


def test_unknown_command_names_the_nearest():
    assert run("simulat -N 5") == (2, "", "numbragg: error: unknown command simulat (did you mean simulate?)\n")
    assert "known: " in run("xyzzy").err


def test_simulate_without_flags_says_where_to_look():
    result = run("simulate")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("numbragg: error: ")
    assert "--help" in result.err


# What is printed


def test_printout_lists_every_active_pixel_once():
    result = run("simulate", LINE, "-printout -roi 3 5 7 8 -nonoise")
    lines = [line.split() for line in result.out.splitlines() if line.startswith("pixel fast")]
    assert [(int(words[2]), int(words[4])) for words in lines] == [(f, s) for s in (7, 8) for f in (3, 4, 5)]
    image = numbragg.simulate(numbragg.parse_flags(LINE.split()))
    for words in lines:
        assert float(words[6]) == pytest.approx(image[int(words[4]), int(words[2])], rel=1e-14)


def test_printout_pixel_prints_one_pixel():
    result = run("simulate", LINE, "-printout_pixel 5 8 -nonoise")
    (line,) = (line for line in result.out.splitlines() if line.startswith("pixel fast"))
    assert line.startswith("pixel fast 5 slow 8 photons ")


def test_printed_statistics_are_those_of_the_image():
    result = run("simulate", LINE, "-nonoise")
    image = np.fromfile("floatimage.bin", "<f4").astype(float)
    (line,) = (line for line in result.out.splitlines() if line.startswith("mean="))
    mean, rms, rmsd = (float(word) for word in line.split()[1::2])
    assert mean == pytest.approx(image.mean(), rel=1e-5)  # six digits are printed
    assert rms == pytest.approx(np.sqrt((image**2).sum() / (image.size - 1)), rel=1e-5)
    assert rmsd == pytest.approx(image.std(ddof=1), rel=1e-5)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "flag", "drawn"), [(Terminal, "", True), (Terminal, "-noprogress", False), (io.StringIO, "", False)]
)
def test_progress_is_drawn_on_a_terminal_only(stream, flag, drawn, monkeypatch):
    bars = []

    class Bar:
        n = total = 0

        def __init__(self, **_: object) -> None:
            bars.append(self)

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to clear."""

        def update(self, count: int) -> None:
            self.n += count

    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr(sys, "stderr", stream())
    assert main(["simulate", *LINE.split(), *flag.split(), "-nonoise"]) == 0
    assert len(bars) == drawn
    assert all(bar.n == bar.total > 0 for bar in bars)


# Files


def test_files_are_read_by_fabio():
    """Clauses 30.20 to 30.33: another program's reader finds size, pixels and values."""
    assert run("simulate", LINE, "-seed 3 -fluence 1e28 -pngfile view.png").status == 0
    assert written() == {*DEFAULT_FILES, "view.png"}
    for name in ("intimage.img", "noiseimage.img"):
        with fabio.open(name) as image:
            np.testing.assert_array_equal(image.data, read_smv(name)[1])
            assert float(image.header["PIXEL_SIZE"]) == 0.8
    # fabio does not read the comment that the reference puts behind the size.
    with PIL.Image.open("image.pgm") as grey:
        assert grey.size == (20, 14)
    assert Path("view.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "files"),
    [
        ("-nonoise", DEFAULT_FILES - {"noiseimage.img"}),
        ("-nopgm", DEFAULT_FILES - {"image.pgm"}),
        ("-nonoise -nopgm -floatimage f -intimage i", {"f", "i"}),
    ],
)
def test_files_that_are_written(flags, files):
    assert run("simulate", LINE, flags).status == 0
    assert written() == files


def test_integer_image_is_scaled_to_55000():
    """Clause 30.32."""
    run("simulate", LINE, "-nonoise")
    assert read_smv("intimage.img")[1].max() == 55040
    run("simulate", LINE, "-nonoise -scale 0.5 -adc 7")
    image = np.fromfile("floatimage.bin", "<f4").astype(float).reshape(14, 20)
    wanted = np.floor(image * 0.5 + 7.5).clip(0, 65535)
    assert np.abs(read_smv("intimage.img")[1] - wanted).max() <= 1  # the float image is rounded


def test_header_of_mode_spec_tells_the_offset_and_no_beamline():
    run("simulate", LINE, "-adc 11 -nonoise")
    header = read_smv("intimage.img")[0]
    assert header["ADC_OFFSET"] == "11"
    assert "BEAMLINE" not in header
    run("simulate --compat c", LINE, "-adc 11 -nonoise")
    assert read_smv("intimage.img")[0]["BEAMLINE"] == "fake"


@pytest.mark.parametrize(
    "geometry",
    [
        "-mosflm",
        "-denzo",
        "-adxv",
        "-xds",
        "-dials",
        "-xds -ORGX 7 -ORGY 4",
        "-mosflm -ORGX 7",
        "-xds -Xbeam 3 -Ybeam 5",
    ],
)
def test_beam_centre_of_the_header_gives_the_same_detector_again(geometry):
    """The header's BEAM_CENTER is where the beam is, whichever flags said so."""
    run("simulate", LINE, geometry, "-nonoise -nopgm -floatfile first.bin")
    header = read_smv("intimage.img")[0]
    again = f"-Xbeam {header['BEAM_CENTER_X']} -Ybeam {header['BEAM_CENTER_Y']}"
    convention = geometry.split()[0]
    assert run("simulate", LINE, convention, again, "-nonoise -nopgm -floatfile second.bin").status == 0
    second = read_smv("intimage.img")[0]
    for key in ("BEAM_CENTER_X", "BEAM_CENTER_Y", "DIALS_ORIGIN", "XDS_ORGX", "XDS_ORGY"):
        assert second[key] == header[key], key


@pytest.mark.parametrize("compat", ["spec", "c"])
def test_images_do_not_depend_on_the_number_of_threads(compat):
    """Clause 10.4, noise included."""
    contents = []
    for threads in (1, 2):
        run(f"simulate --compat {compat} --threads {threads}", LINE, "-fluence 1e28 -seed 5")
        contents.append({name: Path(name).read_bytes() for name in DEFAULT_FILES})
    assert contents[0] == contents[1]


def test_golden_cases_name_their_outputs():
    """Guards the parametrisation of test_golden.py."""
    assert json.dumps(CASES).count("noise.img") >= 4
