"""Structure factors as text (specs/30-formats.md, clauses 30.1 to 30.5)."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numbragg.errors import NumbraggError
from numbragg.io.hkl import read_hkl, write_hkl

INPUTS = Path(__file__).parent / "golden" / "inputs"
FINITE = st.floats(allow_nan=False, allow_infinity=False)
INDEX = st.integers(-(2**31) + 1, 2**31 - 1)
TOKENS = st.sampled_from(
    [
        "1",
        "-7",
        "3.0",
        "3.5",
        "1e2",
        "nan",
        "inf",
        "1e999",
        "x",
        "1,2",
        "#",
        "\n",
        "\r\n",
        "\t",
        "1_0",
        "0x1",
        "+2",
        ".5",
        "\f",
    ]
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("hkl") / "list.hkl"


def read_text(path, text):
    path.write_bytes(text.encode())
    return read_hkl(path)


def test_rows_come_in_the_order_of_the_file():
    """Clause 30.2."""
    reflections = read_hkl(INPUTS / "sparse.hkl")
    assert reflections.hkl.dtype == np.int32
    assert reflections.hkl[-2].tolist() == [-1, -2, 1]
    assert reflections.amplitudes.tolist() == [100.0, 50.0, 25.0, 12.5, 200.0, 150.0, 80.0, 64.0]
    assert reflections.cell is None
    assert reflections.space_group is None


def test_dense_list_has_every_row():
    """Clause 30.2."""
    reflections = read_hkl(INPUTS / "dense.hkl")
    assert len(reflections.hkl) == 3375
    assert len(np.unique(reflections.hkl, axis=0)) == 3375


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3 4.5\n-7 0 1 2\n",
        "\n  1\t2 3 4.5   \r\n\r\n-7 0 1 2",
        "# title\n1 2 3 4.5 # comment\n -7 0 1 2 0.1 xyz\n",
        "1.0 2.0 3e0 4.5\n-7. 0 +1 2\n",
        "\ufeff1 2 3 4.5\n-7 0 1 2e0\n# \u00e5ngstr\u00f6m\n",
    ],
)
def test_spelling_does_not_matter(scratch, text):
    """Clause 30.3: blank lines, comments, further columns, CRLF, whole numbers with a point."""
    reflections = read_text(scratch, text)
    assert reflections.hkl.tolist() == [[1, 2, 3], [-7, 0, 1]]
    assert reflections.amplitudes.tolist() == [4.5, 2.0]


@pytest.mark.parametrize(
    "line",
    [
        "1 2 3",
        "1,2,3,4",
        "1 2 3 x",
        "1 2 3.5 4",
        "1 2 3 nan",
        "1 2 3 inf",
        "1 2 3 1e999",
        "1_0 2 3 4",
        "1 2 3#4",
        "9999999999 0 0 1",
    ],
)
def test_malformed_line_is_named(scratch, line):
    """Clause 30.4."""
    with pytest.raises(NumbraggError) as caught:
        read_text(scratch, f"0 0 1 5\n\n{line}\n1 2 3 4\n")
    assert str(caught.value) == f"{scratch}, line 3: expected h k l F, found '{line}'"


def test_long_line_is_shortened_in_the_message(scratch):
    """Clause 30.4."""
    with pytest.raises(NumbraggError, match=r"line 1: expected h k l F, found 'x{40}\.\.\.'"):
        read_text(scratch, "x" * 5000)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_file_without_reflections_is_refused(scratch, text):
    """Clause 30.4."""
    with pytest.raises(NumbraggError, match="holds no reflections"):
        read_text(scratch, text)


def test_what_is_not_a_readable_text_file_is_refused(tmp_path):
    """Clause 30.4."""
    with pytest.raises(NumbraggError, match="no such file"):
        read_hkl(tmp_path / "missing.hkl")
    with pytest.raises(NumbraggError, match="is a folder"):
        read_hkl(tmp_path)
    binary = tmp_path / "binary.hkl"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(NumbraggError, match="not a text file"):
        read_hkl(binary)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(INDEX, INDEX, INDEX, FINITE), min_size=1, max_size=20))
def test_what_is_written_reads_back_bit_for_bit(scratch, rows):
    """Clause 30.5."""
    hkl = np.array([row[:3] for row in rows], dtype=np.int32)
    amplitudes = np.array([row[3] for row in rows])
    write_hkl(scratch, hkl, amplitudes)
    reflections = read_hkl(scratch)
    np.testing.assert_array_equal(reflections.hkl, hkl)
    np.testing.assert_array_equal(reflections.amplitudes, amplitudes)


@pytest.mark.parametrize(
    ("hkl", "amplitudes"),
    [([[1, 2, 3]], [np.nan]), ([[1, 2, 3]], [1.0, 2.0]), (np.zeros((0, 3), int), []), ([1, 2], [1.0])],
)
def test_bad_list_is_not_written(tmp_path, hkl, amplitudes):
    """Clause 30.5."""
    with pytest.raises(NumbraggError):
        write_hkl(tmp_path / "out.hkl", np.array(hkl), np.array(amplitudes))
    assert not list(tmp_path.iterdir())


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.lists(TOKENS, max_size=30).map(lambda words: " ".join(words).encode())))
def test_rubbish_gives_a_valid_list_or_one_clear_line(scratch, content):
    """Clause 30.4."""
    scratch.write_bytes(content)
    message = ""
    try:
        reflections = read_hkl(scratch)
    except NumbraggError as error:
        message = str(error)
    else:
        assert reflections.hkl.shape == (len(reflections.amplitudes), 3)
        assert np.isfinite(reflections.amplitudes).all()
    assert len(message.splitlines()) <= 1
