"""The command line against images, printed lines and headers measured with the reference program.

The data and their provenance: ``tests/golden/README.md``. Clauses: specs/10-physics.md, specs/20-command-line.md
(20.1), specs/30-formats.md (30.20 to 30.33), specs/40-compat.md.
"""

import contextlib
import functools
import math
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_line import CASES, GOLDEN, link_inputs, run

OF_MAXIMUM = 1e-5
"""The reference sums in double and stores single precision; it loses digits where an index is almost whole."""
RELATIVE = 2e-4
"""Wherever the reference exceeds RELATIVE_ABOVE of its maximum, for the same reason."""
RELATIVE_ABOVE = 1e-4
TOPHAT_SHARE = 5e-4
"""Pixels at the edge of a tophat spot are in or out by the last bit of an index."""
ROUNDED_SHARE = 2e-3
"""Counts that change when the single precision image moves a value over a rounding edge, or a mean over a draw."""
PRINTED = 1e-4
"""The reference prints six digits of sums that it keeps in single precision."""
PRINTED_ZERO = 1e-9
"""Metres or mm: what rounding leaves of a zero."""

IMAGES = {"c": np.load(GOLDEN / "images_c.npz"), "spec": np.load(GOLDEN / "images_spec.npz")}
THREADED = np.load(GOLDEN / "phi_from_zero_threads.npz")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
MODES = [(name, "c") for name in CASES]
MODES += [(name, "spec") for name, case in CASES.items() if case["spec_image"] != "none"]
# Noise of mode spec comes from another generator: test_noise.py.
FILES = [
    (name, file, compat)
    for name, compat in MODES
    for file in CASES[name]["outputs"]
    if (file, compat) != ("noise.img", "spec")
]


class Result(NamedTuple):
    image: np.ndarray
    out: str
    files: dict[str, bytes]


@functools.cache
def result_of(name: str, compat: str) -> Result:
    """Run a case in an empty folder, where no Fdump.bin of another case lies (Q11)."""
    case = CASES[name]
    words = case["args"].split()
    missing = [word for flag, word in (("-pgmfile", "-nopgm"), ("-noisefile", "-nonoise")) if flag not in words]
    if "-intfile" not in words:
        missing += ["-intfile", "int.img"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(link_inputs(Path(folder))):
        # -misset_seed at the end of a line must have three words behind it, as it had when this was measured (Q20).
        extra = ["-floatfile", "float.bin", "-noprogress", *missing]
        status, out, err = run("simulate", "--compat", compat, *words, *extra)
        assert status == 0, err
        files = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    return Result(np.frombuffer(files["float.bin"], "<f4").astype(float).reshape(case["shape"]), out, files)


def measured(name: str, compat: str, file: str = "") -> np.ndarray:
    same = compat == "c" or CASES[name]["spec_image"] == "same as c"
    return IMAGES["c" if same else "spec"][f"{name}/{file}" if file else name]


def assert_same_image(got: np.ndarray, wanted: np.ndarray, allowed_share: float = 0.0) -> None:
    wanted = wanted.astype(float)
    difference, top = np.abs(got - wanted), wanted.max()
    off = difference > OF_MAXIMUM * top
    off |= (wanted > RELATIVE_ABOVE * top) & (difference > RELATIVE * wanted)
    assert np.isfinite(got).all()
    assert off.mean() <= allowed_share, f"{off.sum()} pixels off, by up to {difference.max() / top:.1e} of the maximum"


def test_every_case_is_measured_in_c_and_most_in_spec():
    assert len(CASES) == 102
    assert sum(compat == "spec" for _, compat in MODES) == sum(case["spec_image"] != "none" for case in CASES.values())
    assert {name for name in IMAGES["c"].files if "/" not in name} == set(CASES)


@pytest.mark.parametrize(("name", "compat"), MODES)
def test_image_is_the_measured_one(name, compat):
    assert_same_image(result_of(name, compat).image, measured(name, compat), TOPHAT_SHARE if "tophat" in name else 0.0)


@pytest.mark.parametrize(("name", "file", "compat"), FILES)
def test_written_images_are_the_measured_ones(name, file, compat):
    """Clauses 30.32 and 30.33."""
    raw, wanted = result_of(name, compat).files[file], measured(name, compat, file)
    size = math.prod(CASES[name]["shape"])
    kind = "<u2" if file.endswith(".img") else "u1"
    pixels = np.frombuffer(raw[-size * np.dtype(kind).itemsize :], kind)
    assert (pixels != wanted.ravel()[-size:]).mean() <= ROUNDED_SHARE
    if file.endswith(".pgm") and compat == "c":
        head = raw[:-size].decode()
        assert_same_line(head, bytes(wanted[:-size]).decode())


def assert_same_line(got: str, wanted: str) -> None:
    assert NUMBER.sub("#", got) == NUMBER.sub("#", wanted)
    for ours, theirs in zip(NUMBER.findall(got), NUMBER.findall(wanted), strict=True):
        assert math.isclose(float(ours), float(theirs), rel_tol=PRINTED, abs_tol=PRINTED_ZERO), (got, wanted)


@pytest.mark.parametrize("name", CASES)
def test_printed_lines_are_those_of_the_reference(name):
    """Mode c prints what the reference prints about geometry, counts and the image, in its order."""
    printed = result_of(name, "c").out.splitlines()
    wanted = [line for line in CASES[name]["stdout"] if "WARNING" not in line]
    assert len(printed) == len(wanted)
    for ours, theirs in zip(printed, wanted, strict=True):
        assert_same_line(ours, theirs)


@pytest.mark.parametrize("name", CASES)
def test_header_text_is_that_of_the_reference(name):
    """Clause 30.22: letter for letter but for the semicolon that the reference forgets (Q15)."""
    (raw,) = (content for file, content in result_of(name, "c").files.items() if file == "int.img")
    text = raw[: raw.index(b"}") + 1].decode()
    wanted = re.sub(r"(DIALS_ORIGIN=[^;\n]*)\n", r"\1;\n", CASES[name]["smv_header"])
    assert text == wanted


@pytest.mark.parametrize("real_threads", [1, 2])
@pytest.mark.parametrize("c_threads", [1, 2, 3, 5])
def test_emulated_threads_give_the_image_of_so_many_threads(c_threads, real_threads, tmp_path, monkeypatch):
    """Q01: each thread's first pixel starts with the unrotated crystal, however many threads really run."""
    monkeypatch.chdir(link_inputs(tmp_path))
    threads = f"--c-threads {c_threads} --threads {real_threads}"
    status, _, err = run(
        f"simulate --compat c {threads}", CASES["phi_from_zero"]["args"], "-floatfile f.bin -nopgm -nonoise"
    )
    assert status == 0, err
    got = np.fromfile("f.bin", "<f4").reshape(96, 96)
    assert_same_image(got.astype(float), THREADED[f"c_threads_{c_threads}"])
    one_thread = run(
        f"simulate --compat c --c-threads {c_threads} --threads 1",
        CASES["phi_from_zero"]["args"],
        "-floatfile one.bin -nopgm -nonoise",
    )
    assert one_thread.status == 0
    assert Path("one.bin").read_bytes() == Path("f.bin").read_bytes()


def test_thread_images_differ_from_each_other():
    """Otherwise the test above could not fail."""
    images = [THREADED[f"c_threads_{n}"] for n in (1, 2, 3, 5)]
    assert all((images[0] != other).any() for other in images[1:])
