"""NXmx files (specs/30-formats.md, 30.75 to 30.79)."""

import builtins
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from any_instrument import instruments
from command_line import job_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from refusals import refusal

from numbragg.errors import NumbraggError
from numbragg.instruments import describe_instrument
from numbragg.io.image_file import read_image
from numbragg.io.nxmx import (
    TO_MCSTAS,
    count_nxmx_images,
    read_nxmx,
    read_nxmx_instrument,
    read_nxmx_provenance,
    write_nxmx,
    write_nxmx_data,
)
from numbragg.models.provenance import Provenance

ROUNDING = 1e-12
FLAGS = (
    "-cell 34.77 39.17 48.31 80 85 95 -misset 10 20 30 -default_F 1 -lambda 0.9768 -detpixels_x 9 -detpixels_y 7 "
    "-pixel 0.172 -distance 120 -Xbeam 0.5 -Ybeam 0.7 -detector_rotx 3 -detector_roty 5 -twotheta 7 -polar 0.9 "
    "-detector_thick 320 -detector_abs 300"
)
INSTRUMENT = describe_instrument(job_of(f"-adxv {FLAGS} -phi 3 -osc 0.5").experiment)
STILL = describe_instrument(job_of(f"-mosflm {FLAGS}").experiment)
STACK = np.random.default_rng(1).poisson(9.0, (3, 7, 9)).astype(np.uint16)
PROVENANCE = Provenance("1.2.3", ("-hkl", "a b.hkl"), 5, 2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "series.h5"


def integer_stacks():
    shapes = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
    kinds = st.sampled_from(["u1", "u2", "i2", "u4", "i4"])
    return st.tuples(kinds, shapes).flatmap(lambda pair: arrays.arrays(*pair))


@settings(max_examples=30, deadline=None)
@given(stack=integer_stacks(), compression=st.sampled_from(["gzip", "bitshuffle", "none"]))
def test_pixels_come_back_in_their_type(tmp_path_factory, stack, compression):
    """Clauses 30.75 and 30.79, read by h5py too."""
    path = tmp_path_factory.mktemp("nxmx") / "x.h5"
    instrument = replace(INSTRUMENT, n_slow=stack.shape[1], n_fast=stack.shape[2])
    write_nxmx(path, stack, instrument, compression=compression)
    found = read_nxmx(path)
    assert found.dtype == stack.dtype
    assert (found == stack).all()
    with h5py.File(path) as file:
        assert (file["/entry/data/data"][()] == stack).all()
        assert file["/entry/data/data"].chunks in (None, (1, *stack.shape[1:]))


@pytest.mark.parametrize("instrument", [INSTRUMENT, STILL], ids=["rotation", "still"])
def test_instrument_comes_back(path, instrument):
    """Clauses 30.76 and 30.79."""
    write_nxmx(path, STACK, instrument, provenance=PROVENANCE)
    found = read_nxmx_instrument(path)
    for name, value in vars(instrument).items():
        if isinstance(value, str):
            assert getattr(found, name) == value
        else:
            np.testing.assert_allclose(getattr(found, name), value, rtol=ROUNDING, atol=ROUNDING, err_msg=name)
    assert read_nxmx_provenance(path) == PROVENANCE


across_z = st.builds(lambda angle: np.array([np.cos(angle), np.sin(angle), 0.0]), st.floats(0.0, 3.1))


@settings(max_examples=60, deadline=None)
@given(
    instrument=instruments(
        n_fast=st.integers(1, 9), n_slow=st.integers(1, 9), beam_direction=np.array([0.0, 0.0, -1.0]),
        polarization_fraction=st.floats(0.501, 1.0), polarization_normal=across_z, space_group="P 1",
    ),
    images=st.integers(1, 4),
)  # fmt: skip
def test_any_instrument_comes_back(tmp_path_factory, instrument, images):
    """Clauses 30.61, 30.76 and 30.79."""
    path = tmp_path_factory.mktemp("nxmx") / "x.h5"
    stack = np.arange(images * instrument.n_slow * instrument.n_fast, dtype=np.int32)
    write_nxmx(path, stack.reshape(images, *instrument.shape), instrument, provenance=PROVENANCE)
    found = read_nxmx_instrument(path)
    for name, value in vars(instrument).items():
        if isinstance(value, str):
            assert getattr(found, name) == value
        elif name == "polarization_normal":
            # Either way along it; of light that is hardly polarised it is hardly known.
            degree = 2.0 * instrument.polarization_fraction - 1.0
            np.testing.assert_allclose(np.cross(found.polarization_normal, value), 0.0, atol=ROUNDING / degree)
        else:
            np.testing.assert_allclose(getattr(found, name), value, rtol=1e-10, atol=1e-10, err_msg=name)


def test_axes_are_in_the_frame_of_mcstas(path):
    """Clause 30.76: by hand, from the file alone."""
    write_nxmx(path, STACK, INSTRUMENT)
    with h5py.File(path) as file:
        assert file["/entry/definition"][()] == b"NXmx"
        assert file["/entry/sample/depends_on"][()] == b"/entry/sample/transformations/omega"
        omega = file["/entry/sample/transformations/omega"]
        np.testing.assert_allclose(omega[()], [3.0, 3.5, 4.0])
        np.testing.assert_allclose(omega.attrs["vector"], [-1, 0, 0], atol=ROUNDING)
        detector = file["/entry/instrument/detector"]
        move = file[detector["depends_on"][()]]
        origin = move[()] * move.attrs["vector"]
        np.testing.assert_allclose(TO_MCSTAS @ origin * 1e3, INSTRUMENT.origin, rtol=1e-12)
        fast = detector["module/fast_pixel_direction"]
        np.testing.assert_allclose(fast.attrs["vector"], TO_MCSTAS @ INSTRUMENT.fast_axis)
        assert fast[()] == pytest.approx(0.172e-3)
        assert detector["module/data_size"][()].tolist() == [7, 9]
        assert detector["saturation_value"][()] == 65534
        assert detector["sensor_material"][()] == b"Si"
        assert detector["sensor_thickness"][()] == pytest.approx(320e-6)
        assert detector["count_time"][()] == 1.0
        assert file["/entry/instrument/beam/incident_wavelength"][()] == 0.9768


def test_no_number_has_64_bits_without_a_point(path):
    """Clause 30.75: some readers cannot take them."""
    write_nxmx(path, STACK.astype(np.int64), INSTRUMENT, active=STACK[0] > 5, provenance=PROVENANCE)
    kinds = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: kinds.update({name: getattr(item, "dtype", None)}))
    assert {str(kind) for kind in kinds.values()} & {"int64", "uint64"} == set()
    assert kinds["entry/data/data"] == np.uint32


def test_a_still_has_no_axis(path):
    """Clause 30.77: with one, readers take it for a rotation of width 0."""
    write_nxmx(path, STACK[0], STILL)
    with h5py.File(path) as file:
        assert file["/entry/sample/depends_on"][()] == b"."
        assert len(file["/entry/sample/transformations"]) == 0
    assert count_nxmx_images(path) == 1


def test_pixels_that_are_not_measured_are_masked(path):
    """Clause 30.76."""
    active = np.ones((7, 9), bool)
    active[2, 3] = False
    write_nxmx(path, STACK, INSTRUMENT, active=active)
    with h5py.File(path) as file:
        assert ((file["/entry/instrument/detector/pixel_mask"][()] == 0) == active).all()


def test_images_in_files_of_their_own_are_linked(tmp_path, path):
    """Clause 30.78."""
    parts = [write_nxmx_data(tmp_path / f"d{i}.h5", part) for i, part in enumerate((STACK[:2], STACK[2:]))]
    write_nxmx(path, parts, INSTRUMENT)
    assert (read_nxmx(path) == STACK).all()
    assert (read_nxmx(path, 2) == STACK[2]).all()
    assert (read_nxmx(tmp_path / "d0.h5") == STACK[:2]).all()
    (tmp_path / "d1.h5").unlink()
    with pytest.raises(NumbraggError, match=r"d1\.h5 that it links is missing"):
        read_nxmx(path)


def test_bytes_do_not_depend_on_the_clock(tmp_path):
    """Clause 30.64; HDF5 notes times in whole seconds."""

    def write(name):
        write_nxmx(tmp_path / f"{name}.h5", STACK, INSTRUMENT, provenance=PROVENANCE)
        part = write_nxmx_data(tmp_path / "data.h5", STACK, provenance=PROVENANCE)
        write_nxmx(tmp_path / f"{name}_master.h5", [part], INSTRUMENT)
        return [(tmp_path / file).read_bytes() for file in (f"{name}.h5", f"{name}_master.h5", "data.h5")]

    first = write("first")
    time.sleep(1.1)
    assert write("second") == first


def test_one_image_of_a_series_is_read_by_its_number(path):
    """Clause 70.11."""
    write_nxmx(path, STACK, INSTRUMENT)
    assert (read_image(f"{path}:1") == STACK[1]).all()
    with pytest.raises(NumbraggError, match="holds 3 images: say which one"):
        read_image(path)
    with pytest.raises(NumbraggError, match="image 3 asked for, but there are 3"):
        read_image(f"{path}:3")
    write_nxmx(path, STACK[:1], INSTRUMENT)
    assert (read_image(path) == STACK[0]).all()


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 30000))
def test_a_cut_file_never_ends_in_a_traceback(tmp_path_factory, cut):
    """Clause 30.79."""
    path = tmp_path_factory.mktemp("cut") / "x.h5"
    write_nxmx(path, STACK, INSTRUMENT, compression="none")
    data = path.read_bytes()
    path.write_bytes(data[: min(cut, len(data) - 1)])
    for read in (read_nxmx, read_nxmx_instrument, read_nxmx_provenance, count_nxmx_images):
        assert "x.h5" in (refusal(read, path) or "x.h5")


def without(name):
    def change(file):
        del file[name]

    return change


def unequal_modules(file):
    file.copy("/entry/instrument/detector/module", "/entry/instrument/detector/other")
    file["/entry/instrument/detector/other/data_size"][1] = 4


def in_furlongs(file):
    file["/entry/instrument/detector/module/fast_pixel_direction"].attrs["units"] = "furlong"


def in_a_circle(file):
    move = file["/entry/instrument/detector/transformations/translation"]
    move.attrs["depends_on"] = "/entry/instrument/detector/module/module_offset"


def uneven(file):
    file["/entry/sample/transformations/omega_end"][1] = 99.0


FAULTS = {
    "no definition": (without("/entry/definition"), "not an NXmx file"),
    "no wavelength": (without("/entry/instrument/beam/incident_wavelength"), "is missing.*incident_wavelength"),
    "no module": (without("/entry/instrument/detector/module"), "no module"),
    "unequal modules": (unequal_modules, r"module \(9 x 7 pixels\) and other \(4 x 7\) differ in size"),
    "unknown unit": (in_furlongs, "furlong"),
    "circle": (in_a_circle, "depend on each other"),
    "uneven images": (uneven, "widths of the images"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_with_a_fault_is_refused_by_name(path, fault):
    """Clause 30.79."""
    change, message = FAULTS[fault]
    write_nxmx(path, STACK, INSTRUMENT)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(NumbraggError, match=message) as caught:
        read_nxmx_instrument(path)
    assert str(path) in str(caught.value)


def test_other_files_are_refused(path):
    """Clause 30.79."""
    path.write_text("no HDF5")
    with pytest.raises(NumbraggError, match="as HDF5"):
        read_nxmx(path)
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(NumbraggError, match="not an NXmx file"):
        read_nxmx(path)


@pytest.mark.parametrize(
    "pixels", [np.zeros((3, 7, 9)), np.zeros((7, 8), int), np.full((7, 9), 2**40), np.zeros((0, 7, 9), int)]
)
def test_pixels_that_do_not_fit_are_refused(path, pixels):
    """Clause 30.75."""
    with pytest.raises(NumbraggError, match="cannot write"):
        write_nxmx(path, pixels, INSTRUMENT)
    assert not path.exists()


def test_a_missing_extra_says_what_to_install(path, monkeypatch):
    """Clause 30.75."""
    original = builtins.__import__

    def without_h5py(name, *rest):
        if name == "h5py":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    with pytest.raises(NumbraggError, match=r"pip install numbragg\[hdf5\]"):
        write_nxmx(path, STACK, INSTRUMENT)


def test_another_reader_understands_the_axes(path):
    """Clause 30.76."""
    nxmx = pytest.importorskip("nxmx")
    write_nxmx(path, STACK, INSTRUMENT)
    with h5py.File(path) as file:
        entry = nxmx.NXmx(file).entries[0]
        axes = nxmx.get_rotation_axes(nxmx.get_dependency_chain(entry.samples[0].depends_on))
        np.testing.assert_allclose(axes.axes, [TO_MCSTAS @ INSTRUMENT.spindle_axis], atol=ROUNDING)
        assert axes.is_scan_axis.all()
        module = entry.instruments[0].detectors[0].modules[0]
        chain = nxmx.get_dependency_chain(module.fast_pixel_direction.depends_on)
        origin = TO_MCSTAS @ nxmx.get_cumulative_transformation(chain)[0, :3, 3]
        np.testing.assert_allclose(origin, INSTRUMENT.origin, rtol=ROUNDING)
