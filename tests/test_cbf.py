"""CBF images with a Pilatus header (specs/30-formats.md, 30.65 to 30.69)."""

import contextlib
import warnings
from dataclasses import replace

import fabio
import numpy as np
import pytest
from any_instrument import instruments
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.byte_offset import compress, decompress
from numbragg.io.cbf import read_cbf, read_cbf_header, read_cbf_instrument, read_cbf_provenance, write_cbf
from numbragg.io.image_file import read_image
from numbragg.models.instrument import Instrument
from numbragg.models.provenance import Provenance

DIGITS = 1e-11
"""Of numbers that the header gives with twelve digits."""
INT32 = np.iinfo(np.int32)

RNG = np.random.default_rng(0)
PIXELS = RNG.poisson(9.0, (30, 41)).astype(np.int32)
PIXELS[3, 4:9] = [70000, 0, 2**31 - 1, -1, 300]
INSTRUMENT = Instrument(
    n_fast=41,
    n_slow=30,
    pixel_size=0.172,
    origin=np.array([-3.2123456, 2.1234567, -120.5]),
    fast_axis=np.array([1.0, 0.0, 0.0]),
    slow_axis=np.array([0.0, -1.0, 0.0]),
    wavelength=0.976812,
    polarization_fraction=0.99,
    phi_start=12.5,
    osc=0.25,
    exposure=0.1,
    thickness=0.45,
    saturation=65534.0,
    flux=1e12,
)
PROVENANCE = Provenance("1.2.3", ("--compat", "spec", "-hkl", "a b;c=%{}:é.hkl", "-N", "-5"), 2**31 - 1, 12)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image_00001.cbf"


whole_images = arrays.arrays(
    np.int32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.one_of(
        st.integers(-200, 200),
        st.integers(-40000, 40000),
        st.integers(int(INT32.min), int(INT32.max)),
        st.sampled_from([0x80, -0x80, 0x8000, -0x8000, 0x800080, -128, 127, 32767]),
    ),
)


@settings(max_examples=200, deadline=None)
@given(pixels=whole_images)
def test_compressed_numbers_come_back(pixels):
    """Clause 30.65: numbers of every length, and those whose bytes look like an escape."""
    assert (decompress(compress(pixels), pixels.size).reshape(pixels.shape) == pixels).all()


@pytest.mark.parametrize(
    ("values", "packed"),
    [
        ([0, 1, 0, -127], b"\x00\x01\xff\x81"),
        ([127, 0], b"\x7f\x81"),
        ([128], b"\x80\x80\x00"),
        ([-128], b"\x80\x80\xff"),
        ([32767], b"\x80\xff\x7f"),
        ([32768], b"\x80\x00\x80\x00\x80\x00\x00"),
        ([-32768], b"\x80\x00\x80\x00\x80\xff\xff"),
        ([2**31 - 1, -2], b"\x80\x00\x80\xff\xff\xff\x7f\x80\x00\x80\x00\x00\x00\x80\xff\xff\xff\x7f\xff\xff\xff\xff"),
    ],
)
def test_bytes_of_the_compression(values, packed):
    """Clause 30.65, by hand."""
    assert compress(np.array(values)) == packed
    assert decompress(packed, len(values)).tolist() == values


@settings(max_examples=100, deadline=None)
@given(packed=st.binary(max_size=40), count=st.integers(0, 40))
def test_no_bytes_break_the_decompression(packed, count):
    """Clause 30.68."""
    with contextlib.suppress(NumbraggError):
        assert decompress(packed, count).shape == (count,)


@settings(max_examples=25, deadline=None)
@given(pixels=whole_images)
def test_fabio_and_our_reader_read_what_was_written(tmp_path_factory, pixels):
    """Clauses 30.66 and 30.68."""
    file = tmp_path_factory.mktemp("cbf") / "x.cbf"
    smaller = np.clip(pixels, -(2**30), 2**30)  # fabio keeps differences in 32 bits
    write_cbf(file, smaller, INSTRUMENT)
    assert (read_cbf(file)[1] == smaller).all()
    with fabio.open(str(file)) as image:
        assert (image.data == smaller).all()


def test_an_image_of_fabio_is_read(path):
    """Clause 30.68: header of fabio, which says nothing of the instrument."""
    pixels = np.clip(PIXELS, 0, 10**6)
    fabio.cbfimage.CbfImage(data=pixels).write(str(path))
    assert (read_cbf(path)[1] == pixels).all()
    assert read_cbf_provenance(path) is None
    with pytest.raises(NumbraggError, match="does not say Pixel_size"):
        read_cbf_instrument(path)


def test_header_gives_instrument_and_provenance_back(path):
    """Clauses 30.60, 30.66 and 30.69."""
    write_cbf(path, PIXELS, INSTRUMENT, PROVENANCE)
    assert read_cbf_provenance(path) == PROVENANCE
    found = read_cbf_instrument(path)
    for name, value in vars(INSTRUMENT).items():
        if name not in ("cell_axes", "space_group"):
            np.testing.assert_allclose(getattr(found, name), value, rtol=DIGITS, atol=DIGITS, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    instrument=instruments(
        n_fast=5, n_slow=4, fast_axis=np.array([1.0, 0, 0]), slow_axis=np.array([0, -1.0, 0]),
        beam_direction=np.array([0, 0, -1.0]), spindle_axis=np.array([1.0, 0, 0]),
        origin=st.tuples(*[st.floats(-500, 500)] * 2, st.floats(-1000, -1)).map(np.array),
        polarization_normal=np.array([0, 1.0, 0]), space_group="P 1",
    )
)  # fmt: skip
def test_any_instrument_of_such_a_header_comes_back(tmp_path_factory, instrument):
    """Clauses 30.66, 30.67 and 30.69: but for the crystal, which it does not say."""
    path = tmp_path_factory.mktemp("cbf") / "x.cbf"
    write_cbf(path, np.arange(20, dtype=np.int32).reshape(4, 5), instrument, warn=False)
    found = read_cbf_instrument(path)
    for name, value in vars(instrument).items():
        if name not in ("cell_axes", "space_group", "panels"):
            np.testing.assert_allclose(getattr(found, name), value, rtol=DIGITS, atol=DIGITS, err_msg=name)


def test_header_holds_what_readers_look_for(path):
    """Clause 30.66: the keys of Pilatus headers, and Beam_xy from the corner of the first pixel in pixels."""
    write_cbf(path, PIXELS, INSTRUMENT)
    header = read_cbf_header(path)
    wanted = (
        "Detector Pixel_size Silicon Exposure_time Exposure_period Tau Count_cutoff Threshold_setting Gain_setting "
        "N_excluded_pixels Wavelength Detector_distance Beam_xy Flux Filter_transmission Start_angle Angle_increment "
        "Polarization Detector_2theta"
    )
    assert set(wanted.split()) <= set(header)
    x, y = (float(number) for number in header["Beam_xy"].strip("() pixels").split(","))
    np.testing.assert_allclose([x, y], [3.2123456 / 0.172, 2.1234567 / 0.172], rtol=DIGITS)
    assert header["Count_cutoff"] == "65534 counts"


@pytest.mark.parametrize(("shape", "convention"), [((195, 487), b"PILATUS_1.2"), ((195, 488), b"GENERIC_MINI")])
def test_only_sizes_of_a_pilatus_are_called_one(path, shape, convention):
    """Clause 30.66: readers mask the gaps of a Pilatus and refuse other sizes."""
    write_cbf(path, np.zeros(shape, np.int32), replace(INSTRUMENT, n_slow=shape[0], n_fast=shape[1]))
    assert b'header_convention "' + convention + b'"' in path.read_bytes()


def test_bytes_do_not_depend_on_the_clock(path, tmp_path):
    """Clause 30.64."""
    again = tmp_path / "again.cbf"
    write_cbf(path, PIXELS, INSTRUMENT, PROVENANCE)
    write_cbf(again, PIXELS, INSTRUMENT, PROVENANCE)
    assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slow_axis": np.array([0.0, 1.0, 0.0]), "origin": np.array([-3.0, -2.0, -120.0])}, "fast x slow"),
        ({"fast_axis": np.array([0.0, 1.0, 0.0]), "slow_axis": np.array([1.0, 0.0, 0.0])}, "fast is not along"),
        ({"pedestal": 40.0}, "40 counts were added"),
    ],
)
def test_what_the_header_cannot_say_is_said_aloud(path, changes, words):
    """Clause 30.67."""
    with pytest.warns(NumbraggWarning, match=words):
        write_cbf(path, PIXELS, replace(INSTRUMENT, **changes))


def test_what_the_header_can_say_needs_no_warning(path):
    """Clause 30.67."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_cbf(path, PIXELS, INSTRUMENT)


def test_any_image_reader_takes_it(path):
    """Clause 70.11."""
    write_cbf(path, PIXELS, INSTRUMENT)
    assert (read_image(path) == PIXELS).all()


def broken(data: bytes) -> dict[str, tuple[bytes, str]]:
    return {
        "magic": (b"###XYZ" + data[6:], "does not start with ###CBF"),
        "cut in the header": (data[:300], "no binary section"),
        "cut in the pixels": (data[: data.index(b"\x0c\x1a\x04\xd5") + 40], "truncated"),
        "changed pixel": (data.replace(b"\x80\x00\x80", b"\x80\x00\x81", 1), "checksum"),
        "other compression": (data.replace(b"x-CBF_BYTE_OFFSET", b"x-CBF_PACKED"), "byte offsets"),
        "no size": (data.replace(b"X-Binary-Size-Second", b"X-Binary-Gone-Second"), "Second-Dimension"),
        "wrong size": (data.replace(b"Fastest-Dimension: 41", b"Fastest-Dimension: 42"), "pixels in place of 1260"),
    }


@pytest.mark.parametrize("fault", list(broken(b"\x0c\x1a\x04\xd5")))
def test_a_damaged_file_is_refused_by_name(path, fault):
    """Clause 30.68."""
    write_cbf(path, PIXELS, INSTRUMENT)
    data, message = broken(path.read_bytes())[fault]
    path.write_bytes(data)
    with pytest.raises(NumbraggError, match=message) as caught:
        read_cbf(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("pixels", [np.zeros((3, 3)), np.zeros(9, int), np.full((2, 2), 2**31)])
def test_pixels_that_do_not_fit_are_refused(path, pixels):
    """Clause 30.66."""
    with pytest.raises(NumbraggError, match="cannot write"):
        write_cbf(path, pixels, INSTRUMENT)
    assert not path.exists()


@pytest.mark.parametrize("key", ["Wavelength", "Detector_distance", "Beam_xy", "Start_angle"])
def test_an_entry_that_is_missing_or_no_number_is_named(path, key):
    """Clause 30.69."""
    write_cbf(path, PIXELS, INSTRUMENT)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"# " + key.encode(), b"# Gone"))
    with pytest.raises(NumbraggError, match=f"does not say {key}"):
        read_cbf_instrument(path)
    path.write_bytes(data.replace(b"# " + key.encode(), b"# " + key.encode() + b" unknown\r\n# Gone"))
    with pytest.raises(NumbraggError, match=f"{key} in the header is not a number"):
        read_cbf_instrument(path)
