"""The binary dump of the table of structure factors (specs/30-formats.md, clauses 30.6 and 30.7)."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from numbragg.errors import NumbraggError
from numbragg.io.fdump import read_fdump, write_fdump
from numbragg.models.structure_factors import StructureFactors

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TABLES = arrays(np.float64, array_shapes(min_dims=3, max_dims=3, max_side=4), elements=FINITE)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fdump") / "Fdump.bin"


def test_layout_is_six_limits_and_padded_doubles(scratch):
    """Clause 30.7."""
    write_fdump(scratch, StructureFactors((-1, 0, 2), np.array([[[5.0]], [[6.0]]])), fill=9.0)
    doubles = [5, 9, 9, 9, 6, 9, 9, 9, 9, 9, 9, 9]
    assert scratch.read_bytes() == b"-1 0 0 0 2 2\n\f" + struct.pack("<12d", *doubles)


@settings(max_examples=50, deadline=None)
@given(TABLES, st.tuples(*[st.integers(-500, 500)] * 3), FINITE)
def test_table_reads_back_bit_for_bit(scratch, values, minimum, fill):
    """Clauses 30.6 and 30.7."""
    write_fdump(scratch, StructureFactors(minimum, values), fill)
    table = read_fdump(scratch)
    assert table.minimum == minimum
    np.testing.assert_array_equal(table.values, values)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not a structure-factor dump"),
        (b"1 2 3 4\n\f", "not a structure-factor dump"),
        (b"1 0 0 0 0 0\n\f" + bytes(64), "a highest index is below the lowest"),
        (b"0 0 0 0 0 0\n\f" + bytes(63), "truncated"),
        (b"0 0 0 0 0 0\n\f" + bytes(65), "too long"),
        (b"0 99999999 0 99999999 0 99999999\n\f" + bytes(64), "truncated"),
        (b"0 0 0 0 0 0\n\f" + struct.pack("<8d", np.nan, *[0] * 7), "not finite"),
    ],
)
def test_alien_file_is_refused(scratch, content, fault):
    """Clause 30.6."""
    scratch.write_bytes(content)
    with pytest.raises(NumbraggError, match=fault) as caught:
        read_fdump(scratch)
    assert str(scratch) in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_rubbish_gives_a_table_or_one_clear_line(scratch, content, with_header):
    """Clause 30.6."""
    scratch.write_bytes((b"0 0 0 0 0 0\n\f" if with_header else b"") + content)
    message = ""
    try:
        table = read_fdump(scratch)
    except NumbraggError as error:
        message = str(error)
    else:
        assert table.values.shape == (1, 1, 1)
    assert len(message.splitlines()) <= 1


def test_folder_that_does_not_exist_is_an_error(tmp_path):
    """Clause 30.7."""
    with pytest.raises(NumbraggError, match="cannot write"):
        write_fdump(tmp_path / "none" / "Fdump.bin", StructureFactors((0, 0, 0), np.ones((1, 1, 1))))
