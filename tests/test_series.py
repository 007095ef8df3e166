"""Rotation series, formats by name and provenance.

Clauses 20.40 to 20.46 of specs/20-command-line.md, 30.60, 30.64 and 30.80 to 30.83 of specs/30-formats.md.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fabio
import numpy as np
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

from numbragg.cli.series import image_seed
from numbragg.errors import NumbraggError
from numbragg.io.cbf import read_cbf, read_cbf_instrument
from numbragg.io.expt import read_expt
from numbragg.io.numbered_files import file_name
from numbragg.io.nxmx import read_nxmx, read_nxmx_instrument
from numbragg.io.smv import read_smv, read_smv_header
from numbragg.models.provenance import Provenance
from numbragg.provenance import command_line, describe_file, read_provenance

SCENE = (
    "-cell 34 39 48 90 90 90 -misset 10 20 30 -default_F 30 -N 5 -lambda 1 -distance 60 -detpixels_x 50 "
    "-detpixels_y 40 -pixel 0.5 -oversample 1 -fluence 3e29 -phi 3 -phisteps 2 -noprogress"
)
SINGLE = f"{SCENE} -osc 0.5 -seed 7 -nopgm -floatfile f.bin -intfile i.img"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path().iterdir())}


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(flags=st.lists(words, max_size=6), seed=st.integers(-(2**31), 2**31), image=st.integers(0, 10**6))
def test_provenance_survives_the_text_of_a_header(flags, seed, image):
    """Clause 30.60: whatever the words hold."""
    wanted = Provenance("1.2.3", tuple(flags), seed, image)
    entries = wanted.entries()
    assert Provenance.from_entries(entries) == wanted
    text = "".join([*entries, *entries.values()])
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set(';={}:"#')


@pytest.mark.parametrize("name", ["n_00001.img", "n.cbf", "n.h5", "n.nxs"])
def test_format_goes_by_the_name_and_the_pixels_are_the_same(name):
    """Clauses 30.80 and 30.81: the offset of SMV is 40, that of counters of photons 0."""
    assert run("simulate", SINGLE, f"-noisefile {name}").status == 0
    assert run("simulate", SINGLE, "-noisefile wanted.img -adc 0").status == 0
    wanted = read_smv("wanted.img")[1].astype(int)
    if name.endswith(".img"):
        wanted = wanted + 40
        found = read_smv(name)[1]
    else:
        found = read_cbf(name)[1] if name.endswith(".cbf") else read_nxmx(name)[0]
    assert (found == wanted).all()
    assert wanted.max() > 100


@pytest.mark.parametrize(
    ("form", "noise", "integer"), [("cbf", "noiseimage.cbf", "x.img"), ("nxmx", "noiseimage.h5", "x.img")]
)
def test_format_can_be_forced(form, noise, integer):
    """Clause 30.80: names that were given stay."""
    flags = SCENE + " -osc 0.5 -seed 7 -nopgm -floatfile f.bin"
    assert run(f"simulate --format {form}", flags, f"-intfile {integer}").status == 0
    assert set(files()) == {"f.bin", noise, integer}
    assert read_provenance(noise) == read_provenance(integer)
    assert Path(noise).read_bytes()[:4] == Path(integer).read_bytes()[:4]


def test_float_image_as_an_array_file():
    """Clause 30.84."""
    flags = f"{SCENE} -osc 0.5 -nopgm -nonoise -intfile i.img"
    run("simulate", flags, "-floatfile f.npy")
    run("simulate", flags, "-floatfile f.bin")
    image = np.load("f.npy")
    assert (image.dtype, image.shape) == (np.float64, (40, 50))
    assert image.astype("<f4").tobytes() == Path("f.bin").read_bytes()
    run("simulate --compat c", flags, "-floatfile c.npy")
    assert len(Path("c.npy").read_bytes()) == 4 * 40 * 50


def test_mode_c_writes_smv_under_any_name():
    """Clause 30.80."""
    assert run("simulate --compat c", SINGLE, "-noisefile n.cbf").status == 0
    header = read_smv_header("n.cbf")
    assert not [key for key in header if key.startswith("NUMBRAGG") or key == "TIME"]
    result = run("simulate --compat c --format cbf", SINGLE)
    assert result.status == 2
    assert "--format needs --compat spec" in result.err


@pytest.mark.parametrize("name", ["n.img", "n.cbf", "n.h5", "n.expt", "n.png"])
def test_every_format_says_how_to_simulate_it_again(name):
    """Clauses 30.60 and 30.64: the recorded command gives the same files."""
    image = name if name not in ("n.expt", "n.png") else "n.img"
    flags = SINGLE.replace("-seed 7", "") + f" -noisefile {image} -pngfile n.png"
    assert run("simulate --expt crystal", flags).status == 0
    before = files()
    found = read_provenance(name)
    assert found is not None
    assert set(found.flags) >= {"--expt", "crystal", "-cell"}
    again = command_line(found).split()
    assert again[-2:] == ["-seed", str(found.seed)]
    for path in Path().iterdir():
        path.unlink()
    assert run(" ".join(again[1:])).status == 0
    after = files()
    assert after.keys() == before.keys()
    assert after["f.bin"] == before["f.bin"]
    pixels = {"n.img": lambda: read_smv("n.img")[1], "n.cbf": lambda: read_cbf("n.cbf")[1]}
    if name in pixels:
        new = pixels[name]()
        Path(name).write_bytes(before[name])
        assert (new == pixels[name]()).all()


@pytest.mark.parametrize("name", ["n.img", "n.cbf", "n.h5", "n.expt", "n.png"])
def test_description_of_a_file(name):
    """Clause 30.64."""
    image = name if name not in ("n.expt", "n.png") else "n.img"
    run("simulate --expt geometry", SINGLE, f"-noisefile {image} -pngfile n.png")
    lines = describe_file(name)
    assert lines[0].startswith(f"file       {name}")
    assert lines[-1].startswith("again      numbragg simulate")
    assert "-seed 7" in lines[-1]
    if name != "n.png":
        assert any("60" in line for line in lines[1:-2])


def test_description_of_other_files():
    """Clause 30.64."""
    run("simulate --compat c", SINGLE, "-noisefile n.img")
    assert describe_file("n.img")[-1].startswith("origin     not recorded")
    Path("x.txt").write_text("nothing")
    with pytest.raises(NumbraggError, match=r"x\.txt: not an SMV"):
        describe_file("x.txt")


def test_masked_and_bad_pixels_are_marked_in_files():
    """Clause 30.82."""
    Path("bad.txt").write_text("3 4\n")
    for name in ("n.cbf", "n.h5"):
        assert run("simulate --bad-pixels bad.txt", SINGLE, f"-roi 2 30 0 39 -noisefile {name}").status == 0
    pixels = read_cbf("n.cbf")[1]
    unmeasured = np.ones((40, 50), bool)
    unmeasured[:, 2:31] = False
    unmeasured[4, 3] = True
    assert ((pixels == -1) == unmeasured).all()


# Series

SERIES = f"simulate --images 4 --osc-per-image 0.5 {SCENE} -seed 7"


def test_images_of_a_series_continue_in_phi():
    """Clauses 20.40 and 20.42."""
    result = run(SERIES, "-noisefile s_##.cbf")
    assert result.status == 0, result.err
    assert set(files()) == {"s_01.cbf", "s_02.cbf", "s_03.cbf", "s_04.cbf", "s.expt"}
    for number in range(1, 5):
        instrument = read_cbf_instrument(f"s_{number:02d}.cbf")
        assert (instrument.phi_start, instrument.osc) == (3 + 0.5 * (number - 1), 0.5)
        alone = f"{SCENE.replace('-phi 3', f'-phi {instrument.phi_start}')} -osc 0.5 -seed {image_seed(7, number)}"
        assert run("simulate", alone, "-nopgm -intfile i.img -floatfile f.bin -noisefile n.cbf").status == 0
        assert (read_cbf("n.cbf")[1] == read_cbf(f"s_{number:02d}.cbf")[1]).all()
        assert read_provenance(f"s_{number:02d}.cbf").image == number
    found = read_expt("s.expt")
    assert (found.n_images, found.instrument.phi_start, found.instrument.osc) == (4, 3.0, 0.5)
    assert found.images == ("s_##.cbf",)


def test_noise_differs_from_image_to_image():
    """Clause 20.42."""
    seeds = [image_seed(7, number) for number in range(1, 2000)]
    assert len(set(seeds)) == len(seeds)
    assert image_seed(8, 1) not in seeds[:1]
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("threads", [1, 3])
def test_series_does_not_depend_on_threads(threads):
    """Clause 20.44."""
    run(SERIES, f"--threads {threads} -noisefile s.img")
    mine = files()
    assert run(SERIES, "--threads 2 -noisefile s.img").status == 0
    assert files() == mine
    for path in Path().iterdir():
        path.unlink()
    run(SERIES, "--threads 2 -noisefile s.img")
    assert files() == mine


def test_a_number_is_put_into_a_name_without_one():
    """Clause 20.41."""
    run(SERIES, "-noisefile s.img")
    assert sorted(path.name for path in Path().glob("*.img")) == [f"s_0000{i}.img" for i in range(1, 5)]
    assert file_name("a_###.img", 12) == "a_012.img"


@pytest.mark.parametrize("name", ["s_###.img", "s_###.cbf"])
def test_finished_images_are_kept_and_damaged_or_foreign_ones_made_again(name):
    """Clause 20.43."""
    run(SERIES, f"-noisefile {name}")
    before = files()
    first, second, third, fourth = (Path(name.replace("###", f"{i:03d}")) for i in range(1, 5))
    stamp = first.stat().st_mtime_ns
    second.unlink()
    third.write_bytes(third.read_bytes()[:300])
    run("simulate", SINGLE, f"-noisefile {fourth}")
    Path("f.bin").unlink()
    Path("i.img").unlink()
    result = run(SERIES, f"-noisefile {name}")
    assert "3 images simulated, 1 were there" in result.out
    assert files() == before
    assert first.stat().st_mtime_ns == stamp


def test_series_in_one_hdf5_master():
    """Clause 20.45: data files of ten images, and a master that links them."""
    line = SERIES.replace("--images 4", "--images 12") + " -noisefile s.h5"
    assert run(line).status == 0
    assert set(files()) == {"s.h5", "s_data_000001.h5", "s_data_000002.h5", "s.expt"}
    run(SERIES.replace("--images 4", "--images 12"), "-noisefile s_##.cbf")
    stack = read_nxmx("s.h5")
    assert stack.shape == (12, 40, 50)
    for number in range(1, 13):
        assert (stack[number - 1] == read_cbf(f"s_{number:02d}.cbf")[1]).all()
    assert read_nxmx_instrument("s.h5").osc == 0.5
    before = {name: data for name, data in files().items() if name.endswith(".h5")}
    Path("s_data_000001.h5").unlink()
    assert "10 images simulated, 2 were there" in run(line).out
    assert {name: data for name, data in files().items() if name.endswith(".h5")} == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--images 3", "--osc-per-image too"),
        ("--osc-per-image 1", "--images N"),
        ("--images 3 --osc-per-image 0", "must not be 0"),
        ("--images 3 --osc-per-image 1 -osc 1", "both set the rotation"),
        ("--images 3 --osc-per-image x", "takes a number"),
        ("--images 200000 --osc-per-image 1", "at most 100000"),
        ("--images 3 --osc-per-image 1 -floatfile f.bin", "-floatfile is not for a series"),
        ("--images 3 --osc-per-image 1 --compat c", "needs --compat spec"),
        ("--images 3 --osc-per-image 1 -noisefile a#b#.img", "one run"),
        ("--images 3 --osc-per-image 1 -noisefile no/a.img", "does not exist"),
    ],
)
def test_what_makes_no_series_is_refused(line, message):
    """Clause 20.46."""
    result = run("simulate", SCENE, line)
    assert result.status == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["s.img", "s.cbf", "s.h5"])
def test_a_killed_series_is_taken_up_again_with_the_same_files(tmp_path, name):
    """Clause 20.43: kill -9, three times, leaves no truncated file; at last there is what an undisturbed run gives."""
    # Steps enough that a second or more is left when it is killed.
    scene = SCENE.replace("-phisteps 2", "-phisteps 500")
    line = f"simulate --images 200 --osc-per-image 0.5 {scene} -seed 7 -noisefile {name} --threads 1"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    os.chdir(whole)
    assert run(line).status == 0
    wanted = {path.name: path.read_bytes() for path in whole.iterdir()}
    os.chdir(killed)
    for share in (0.02, 0.2, 0.4):
        _kill_at(line, int(share * len(wanted)))
        complete = {path.name: path.read_bytes() for path in Path().glob("s*")}
        assert 0 < len(complete) < len(wanted)
        assert all(wanted[file] == data for file, data in complete.items())
    # What a kill can leave of the file that was being written.
    last = {"s.img": "s_00200.img", "s.cbf": "s_00200.cbf", "s.h5": "s_data_000020.h5"}[name]
    Path(f".{last}.abcdefgh").write_bytes(b"half")
    assert run(line).status == 0
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == wanted


def _kill_at(line: str, count: int) -> None:
    """Run a command in a process of its own, and kill it when there are more files than so many."""
    command = [sys.executable, "-m", "numbragg", *line.split()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(Path().glob("s*"))) <= count:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_another_reader_opens_smv_with_its_record():
    """Clauses 30.22 and 30.60: the header is longer than 512 bytes and says so."""
    run("simulate", SINGLE, "-noisefile n.img")
    assert int(read_smv_header("n.img")["HEADER_BYTES"]) > 512
    assert {"IMAGE_PEDESTAL": "40", "TIME": "1"}.items() <= read_smv_header("n.img").items()
    with fabio.open("n.img") as image:
        assert (image.data == read_smv("n.img")[1]).all()
