"""SMV images and their headers (specs/30-formats.md, clauses 30.20 to 30.28)."""

import json
import os
import warnings
from pathlib import Path

import fabio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from numbragg.compat.headers import header_value_by_substring, read_header_text
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.smv import read_smv, read_smv_header, write_smv

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())
HEADERS = {name: case["smv_header"] for name, case in CASES.items() if case.get("smv_header")}
LAYOUT_KEYS = ["HEADER_BYTES", "DIM", "BYTE_ORDER", "TYPE", "SIZE1", "SIZE2"]

NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in LAYOUT_KEYS
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=";{}"), max_size=40).map(
    str.strip
)
IMAGES = stn.arrays(np.uint16, stn.array_shapes(min_dims=2, max_dims=2, max_side=9))


def pixels_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


def entries_of(text):
    lines = text.strip("{}\n").split("\n")
    return dict(line.rstrip(";").split("=", 1) for line in lines)


def file_with(path, header, data=b"", pad=512):
    path.write_bytes(header.encode("latin-1").ljust(pad) + data)
    return path


def test_there_are_golden_headers():
    assert len(HEADERS) > 90


def complaint_of(read, path):
    """The text of the NumbraggError, empty when the file was read; any other exception passes through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbraggWarning)
        try:
            read(path)
        except NumbraggError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("case", HEADERS)
def test_the_header_is_that_of_the_reference_program(case, tmp_path):
    """Clauses 30.20, 30.21; the one departure is the semicolon after DIALS_ORIGIN (Q15)."""
    golden = HEADERS[case]
    entries = entries_of(golden)
    pixels = pixels_of((int(entries["SIZE2"]), int(entries["SIZE1"])))
    write_smv(tmp_path / "a.img", pixels, entries)
    written = (tmp_path / "a.img").read_bytes()
    origin = f"DIALS_ORIGIN={entries['DIALS_ORIGIN']}"
    assert f"{origin}\n" in golden
    expected = golden.replace(f"{origin}\n", f"{origin};\n").rstrip("\n") + "\f"
    assert written[:512].decode() == expected.ljust(512)
    assert written[512:] == pixels.astype("<u2").tobytes()


def test_the_golden_inputs_are_read():
    """Clauses 30.24, 30.25."""
    header, pixels = read_smv(GOLDEN / "inputs" / "mask.img")
    assert (header["SIZE1"], header["SIZE2"], header["DISTANCE"]) == ("96", "80", "90")
    assert pixels.shape == (80, 96)
    assert set(np.unique(pixels)) == {0, 1}
    assert list(read_smv_header(GOLDEN / "inputs" / "header.img"))[-2:] == ["PHI", "OSC_RANGE"]


@given(pixels=IMAGES, header=st.dictionaries(NAMES, VALUES, max_size=40))
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory, pixels, header):
    """Clauses 30.20 to 30.25, headers of any length."""
    path = tmp_path_factory.mktemp("smv") / "a.img"
    write_smv(path, pixels, header)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_header, read_pixels = read_smv(path)
    assert list(read_header) == LAYOUT_KEYS + list(header)
    assert {key: read_header[key] for key in header} == header
    assert read_pixels.dtype == np.uint16
    assert (read_pixels == pixels).all()
    size = int(read_header["HEADER_BYTES"])
    assert size % 512 == 0
    assert path.stat().st_size == size + 2 * pixels.size
    assert read_smv_header(path) == read_header


@pytest.mark.parametrize(("slack", "size"), [(0, 512), (-1, 1024)])
def test_the_header_grows_to_1024_bytes_when_the_form_feed_no_longer_fits(tmp_path, slack, size):
    """Clause 30.22 (Q15)."""
    path = tmp_path / "a.img"
    pixels = pixels_of((3, 5))
    write_smv(path, pixels, {"A": ""})
    used = len(path.read_bytes()[:512].rstrip(b" "))
    write_smv(path, pixels, {"A": "x" * (512 - used - slack)})
    header, read = read_smv(path)
    assert header["HEADER_BYTES"] == str(size)
    assert (path.read_bytes()[:size].rstrip(b" ")[-2:]) == b"}\f"
    assert (read == pixels).all()


@pytest.mark.parametrize("length", [1, 600])
def test_fabio_sees_the_same_header_and_pixels(tmp_path, length):
    """Clause 30.22: a reader that is not ours, with headers of 512 and 1024 bytes."""
    pixels = pixels_of((23, 31))
    write_smv(tmp_path / "a_00001.img", pixels, {"DISTANCE": "60", "COMMENT": "x" * length, "WAVELENGTH": "0.9795"})
    with fabio.open(tmp_path / "a_00001.img") as image:
        assert (image.data == pixels).all()
        assert image.header["DISTANCE"] == "60"
        assert image.header["WAVELENGTH"] == "0.9795"


def test_entries_about_the_layout_come_from_the_pixels(tmp_path):
    """Clause 30.21."""
    write_smv(tmp_path / "a.img", pixels_of((4, 6)), {"SIZE1": "99", "TYPE": "float", "BYTE_ORDER": "big_endian"})
    header = read_smv_header(tmp_path / "a.img")
    assert [header[key] for key in LAYOUT_KEYS] == ["512", "2", "little_endian", "unsigned_short", "6", "4"]


@pytest.mark.parametrize(
    ("name", "value"), [("A", "1;2"), ("A", "{"), ("A", "}"), ("A", "x\ny"), ("A=B", "1"), ("A", "1 Å"), ("", "1")]
)
def test_entries_that_would_not_read_back_are_refused(tmp_path, name, value):
    """Clause 30.23."""
    with pytest.raises(NumbraggError, match="cannot hold"):
        write_smv(tmp_path / "a.img", pixels_of((2, 2)), {name: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros(4, np.uint16), np.zeros((0, 3), np.uint16)])
def test_pixels_of_another_kind_are_refused(tmp_path, pixels):
    """Clause 30.23."""
    with pytest.raises(NumbraggError, match="uint16"):
        write_smv(tmp_path / "a.img", pixels, {})


def test_sloppy_headers_are_read(tmp_path):
    """Clause 30.24: CRLF, no last semicolon, blanks, two entries a line, lines that are not entries."""
    text = "{\r\nHEADER_BYTES=  512;\r\nDIM=2; SIZE1 = 3 ;\r\n a comment\r\nSIZE2=2\r\nORIGIN=1,2\r\n}\f"
    path = file_with(tmp_path / "a.img", text, np.arange(6, dtype="<u2").tobytes())
    header, pixels = read_smv(path)
    assert header == {"HEADER_BYTES": "512", "DIM": "2", "SIZE1": "3", "SIZE2": "2", "ORIGIN": "1,2"}
    assert pixels.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("order", ["little_endian", "big_endian"])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("unsigned_char", "u1"),
        ("unsigned_short", "u2"),
        ("short", "i2"),
        ("signed_short", "i2"),
        ("unsigned_int", "u4"),
        ("unsigned_long", "u4"),
        ("long", "i4"),
        ("signed_long", "i4"),
        ("float", "f4"),
        ("double", "f8"),
    ],
)
def test_number_types_and_byte_orders_are_honoured(tmp_path, order, name, dtype):
    """Clause 30.25."""
    values = np.array([[0, 1, 100], [3, 7, 120]]) - (20 if dtype[0] in "if" else 0)
    stored = values.astype((">" if order == "big_endian" else "<") + dtype)
    text = f"{{\nHEADER_BYTES=512;\nTYPE={name};\nBYTE_ORDER={order};\nSIZE1=3;\nSIZE2=2;\n}}"
    _, pixels = read_smv(file_with(tmp_path / "a.img", text, stored.tobytes()))
    assert pixels.dtype == np.dtype(dtype)
    assert pixels.dtype.isnative
    assert (pixels == values).all()


@pytest.mark.parametrize("filler", [0, 1, 7])
def test_a_header_that_runs_over_its_length_is_read_with_a_warning(tmp_path, filler):
    """Clause 30.26: as nanoBragg.c writes it (Q15)."""
    pixels = pixels_of((4, 3))
    text = "{\nHEADER_BYTES=512;\nSIZE1=3;\nSIZE2=4;\nA="
    text += "x" * (512 + filler - len(text) - 4) + ";\n}\f"
    path = file_with(tmp_path / "a.img", text, pixels.tobytes())
    if filler == 0:
        assert (read_smv(path)[1] == pixels).all()
        return
    with pytest.warns(NumbraggWarning, match=f"byte {512 + filler}"):
        _, read = read_smv(path)
    assert (read == pixels).all()


def test_a_pixel_that_looks_like_a_form_feed_stays_a_pixel(tmp_path):
    """Clause 30.26: the closing brace is the last byte of the header and the first pixel is 12."""
    pixels = np.array([[12, 1], [2, 3]], np.uint16)
    text = "{\nHEADER_BYTES=512;\nSIZE1=2;\nSIZE2=2;\nA="
    text += "x" * (512 - len(text) - 3) + ";\n}"
    assert (read_smv(file_with(tmp_path / "a.img", text, pixels.tobytes()))[1] == pixels).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an SMV image"),
        (b"\x89PNG\r\n", "not an SMV image"),
        (b"{ just a brace }", "not an SMV image"),
        (b"{\nHEADER_BYTES=0;\n}", "out of range"),
        (b"{\nHEADER_BYTES=999999999;\n}", "out of range"),
        (b"{\nHEADER_BYTES=512;\nSIZE1=2;", "closing brace"),
        (b"{\nHEADER_BYTES=512;\nSIZE1=2;\n}", "SIZE2"),
        (b"{\nHEADER_BYTES=512;\nSIZE1=-2;\nSIZE2=2;\n}", "SIZE1"),
        (b"{\nHEADER_BYTES=512;\nSIZE1=2.5;\nSIZE2=2;\n}", "SIZE1"),
        (b"{\nHEADER_BYTES=512;\nSIZE1=99999999;\nSIZE2=99999999;\n}", "truncated"),
        (b"{\nHEADER_BYTES=512;\nTYPE=quaternion;\nSIZE1=2;\nSIZE2=2;\n}", "TYPE=quaternion"),
        (b"{\nHEADER_BYTES=512;\nBYTE_ORDER=middle;\nSIZE1=2;\nSIZE2=2;\n}", "BYTE_ORDER=middle"),
    ],
)
def test_what_is_not_smv_is_one_clear_error(tmp_path, content, message):
    """Clause 30.27."""
    path = tmp_path / "a.img"
    path.write_bytes(content)
    with pytest.raises(NumbraggError, match=message) as caught:
        read_smv(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_smv, read_smv_header, read_header_text])
def test_missing_files_and_folders_are_errors(tmp_path, read):
    """Clause 30.27."""
    with pytest.raises(NumbraggError, match=r"cannot read .*No such file"):
        read(tmp_path / "absent.img")
    with pytest.raises(NumbraggError, match=r"cannot read .*directory"):
        read(tmp_path)


def test_every_truncation_is_an_error(tmp_path):
    """Clause 30.27."""
    path = tmp_path / "a.img"
    write_smv(path, pixels_of((5, 4)), {"A": "1"})
    whole = path.read_bytes()
    for length in [*range(0, 512, 37), *range(512, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(NumbraggError, match=r"truncated|not an SMV"):
            read_smv(path)


@given(
    st.binary(max_size=700)
    | st.tuples(st.sampled_from([b"{\nHEADER_BYTES=512;\n", b"{HEADER_BYTES=5"]), st.binary(max_size=700)).map(b"".join)
)
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_read_or_refused(tmp_path_factory, content):
    """Clause 30.27: nothing but NumbraggError."""
    path = tmp_path_factory.getbasetemp() / "random.img"
    path.write_bytes(content)
    for read in (read_smv, read_smv_header):
        assert "\n" not in complaint_of(read, path)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_images_are_read_or_refused(tmp_path_factory, data):
    """Clause 30.27: nothing but NumbraggError."""
    path = tmp_path_factory.getbasetemp() / "damaged.img"
    write_smv(path, pixels_of((3, 4)), {"DISTANCE": "60"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 160))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert "\n" not in complaint_of(read_smv, path)


def test_keywords_match_by_substring_and_the_last_wins():
    """Clause 30.28 (Q22)."""
    text = read_header_text(GOLDEN / "inputs" / "header_close.img")
    assert header_value_by_substring(text, "DISTANCE") == "79"
    assert header_value_by_substring(text, "CLOSE_DISTANCE") == "79"
    assert header_value_by_substring(text, "WAVELENGTH") == "1.05"
    assert header_value_by_substring(text, "TWOTHETA") is None
    assert header_value_by_substring("{A=1;B=A;}", "A") == "1"
    assert read_smv_header(GOLDEN / "inputs" / "header_close.img")["DISTANCE"] == "85"


def test_an_image_replaces_another_only_when_it_is_whole(tmp_path, monkeypatch):
    """Clause 30.31."""
    path = tmp_path / "a.img"
    path.write_bytes(b"before")

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(NumbraggError, match="No space left"):
        write_smv(path, pixels_of((2, 2)), {})
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.img"]
