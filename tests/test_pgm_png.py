"""Float, integer, PGM and PNG images (specs/30-formats.md, clauses 30.30 to 30.34)."""

import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from PIL import Image

from numbragg.errors import NumbraggError
from numbragg.io.float_image import read_float, write_float
from numbragg.io.integer_image import scaled_integers
from numbragg.io.pgm import write_pgm
from numbragg.io.png import write_png
from numbragg.io.region import roi_slices
from numbragg.io.smv import write_smv

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())
IMAGES = np.load(GOLDEN / "images_c.npz")
ROI = {"noise_roi": (11, 70, 20, 61)}
INTEGER_OPTIONS = {"noise_mid": {"scale": 0.5, "adc_offset": 12}}
PGM_SCALES = {"noise_mid": 0.02}

WRITERS = {
    "float": lambda path: write_float(path, np.ones((3, 4))),
    "smv": lambda path: write_smv(path, np.ones((3, 4), np.uint16), {}),
    "pgm": lambda path: write_pgm(path, np.ones((3, 4)), 1.0),
    "png": lambda path: write_png(path, np.ones((3, 4))),
}


def active_of(case):
    active = np.zeros(IMAGES[case].shape, bool)
    active[roi_slices(ROI.get(case), active.shape)] = True
    return active


def rmsd(case):
    pixels = IMAGES[case][active_of(case)].astype(float)
    return math.sqrt(((pixels - pixels.mean()) ** 2).sum() / (pixels.size - 1))


@pytest.mark.parametrize("case", ["noise_low", "noise_mid", "noise_high", "noise_roi"])
def test_the_integer_image_is_that_of_the_reference_program(case):
    """Clause 30.32."""
    image = IMAGES[case]
    options = INTEGER_OPTIONS.get(case, {"scale": 55000.0 / float(image.max()), "adc_offset": 40.0})
    counts = scaled_integers(image, active=active_of(case), **options)
    assert counts.dtype == np.uint16
    assert (counts == IMAGES[f"{case}/int.img"]).all()


@pytest.mark.parametrize("case", ["noise_low", "noise_mid", "noise_roi"])
def test_the_pgm_file_is_that_of_the_reference_program(case, tmp_path):
    """Clause 30.33."""
    scale = PGM_SCALES.get(case, 250.0 / (5.0 * rmsd(case)))
    write_pgm(tmp_path / "a.pgm", IMAGES[case], scale, ROI.get(case))
    assert (tmp_path / "a.pgm").read_bytes() == IMAGES[f"{case}/img.pgm"].tobytes()
    assert f"pgm_scale = {scale:g}" in CASES[case]["stdout"]


def test_pillow_reads_the_pgm_file(tmp_path):
    """Clause 30.33: fast by slow, values cut at 255, fractions dropped."""
    write_pgm(tmp_path / "a.pgm", np.array([[0.0, 1.9, 300.0], [-5.0, math.nan, 254.99]]), 1.0)
    with Image.open(tmp_path / "a.pgm") as picture:
        assert np.asarray(picture).tolist() == [[0, 1, 255], [0, 0, 254]]


def test_integers_are_rounded_clipped_and_zero_where_inactive():
    """Clause 30.32."""
    image = np.array([[0.0, 0.4999, 0.5, 1.5], [-100.0, 1e30, math.nan, 9.0]])
    active = np.ones((2, 4), bool)
    active[1, 3] = False
    assert scaled_integers(image, 1.0, 10.0, active).tolist() == [[10, 10, 11, 12], [0, 65535, 0, 0]]
    assert scaled_integers(image[:1], 2.0, 0.0).tolist() == [[0, 1, 1, 3]]


@given(
    stn.arrays(np.float32, stn.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1e6, width=32)),
    st.floats(1e-3, 1e3),
    st.floats(-100, 100),
)
@settings(max_examples=60, deadline=None)
def test_integers_follow_the_formula(image, scale, adc_offset):
    """Clause 30.32."""
    counts = scaled_integers(image, scale, adc_offset)
    for pixel, count in zip(image.ravel().tolist(), counts.ravel().tolist(), strict=True):
        assert count == min(max(math.floor(pixel * scale + adc_offset + 0.5), 0), 65535)


@pytest.mark.parametrize(("scale", "adc_offset"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_a_scale_that_is_not_finite_is_refused(tmp_path, scale, adc_offset):
    """Clauses 30.32, 30.33."""
    with pytest.raises(NumbraggError, match="finite"):
        scaled_integers(np.ones((2, 2)), scale, adc_offset)
    if not math.isfinite(scale):
        with pytest.raises(NumbraggError, match="pgmscale"):
            write_pgm(tmp_path / "a.pgm", np.ones((2, 2)), scale)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    """Clauses 30.32, 30.34."""
    with pytest.raises(NumbraggError, match="mask"):
        scaled_integers(np.ones((2, 3)), 1.0, 0.0, np.ones((3, 2), bool))
    with pytest.raises(NumbraggError, match="mask"):
        write_png(tmp_path / "a.png", np.ones((2, 3)), active=np.ones((3, 2), bool))


@pytest.mark.parametrize("roi", [(-1, 1, 0, 1), (0, 3, 0, 1), (0, 1, 0, 2), (2, 1, 0, 1), (0, 1, 1, 0)])
def test_a_region_that_leaves_the_image_is_refused(tmp_path, roi):
    """Clause 30.33."""
    with pytest.raises(NumbraggError, match="must lie within 0 2 0 1"):
        write_pgm(tmp_path / "a.pgm", np.ones((2, 3)), 1.0, roi)
    assert not list(tmp_path.iterdir())


@given(stn.arrays(np.float32, stn.array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(max_examples=60, deadline=None)
def test_float_images_are_read_back(tmp_path_factory, image):
    """Clause 30.30."""
    path = tmp_path_factory.getbasetemp() / "a.bin"
    write_float(path, image)
    assert path.read_bytes() == image.astype("<f4").tobytes()
    read = read_float(path, image.shape)
    assert read.dtype == np.float32
    assert np.array_equal(read, image, equal_nan=True)


def test_double_images_are_rounded_and_strided_ones_written_in_order(tmp_path):
    """Clause 30.30."""
    image = np.arange(12.0).reshape(3, 4).T / 3
    write_float(tmp_path / "a.bin", image)
    assert (read_float(tmp_path / "a.bin", (4, 3)) == image.astype(np.float32)).all()


def test_a_pixel_beyond_single_precision_is_refused(tmp_path):
    """Clause 30.30."""
    with pytest.raises(NumbraggError, match="single precision"):
        write_float(tmp_path / "a.bin", np.array([[1e39]]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 23, 25, 48])
def test_a_float_image_of_another_size_is_refused(tmp_path, size):
    """Clause 30.30."""
    (tmp_path / "a.bin").write_bytes(bytes(size))
    with pytest.raises(NumbraggError, match=f"{size} bytes, but .* 3 x 2 .* has 24"):
        read_float(tmp_path / "a.bin", (2, 3))


def test_a_missing_float_image_is_an_error(tmp_path):
    """Clause 30.30."""
    with pytest.raises(NumbraggError, match="cannot read"):
        read_float(tmp_path / "absent.bin", (2, 3))


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_folder_that_does_not_exist_is_an_error(writer, tmp_path):
    """Clause 30.31."""
    with pytest.raises(NumbraggError, match=r"cannot write .*No such file"):
        writer(tmp_path / "absent" / "a.img")


class FullDisk(io.RawIOBase):
    """A stream that takes 5 bytes and then says that the disk is full."""

    def __init__(self, descriptor, mode):
        super().__init__()
        self.stream = open(descriptor, mode)  # noqa: SIM115
        self.taken = 0

    def writable(self):
        return True

    def write(self, data):
        self.taken += len(bytes(data))
        if self.taken > 5:
            raise OSError(28, os.strerror(28))
        return len(bytes(data))

    def close(self):
        self.stream.close()
        super().close()


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_nothing_behind(writer, existing, tmp_path, monkeypatch):
    """Clause 30.31."""
    path = tmp_path / "a.img"
    if existing:
        path.write_bytes(b"before")
    monkeypatch.setattr(os, "fdopen", FullDisk)
    with pytest.raises(NumbraggError, match=r"cannot write .*No space left"):
        writer(path)
    assert [entry.name for entry in tmp_path.iterdir()] == (["a.img"] if existing else [])
    if existing:
        assert path.read_bytes() == b"before"


def preview(path, image, **options):
    write_png(path, image, **options)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "L"
        return np.asarray(picture)


def spotty_image():
    random = np.random.default_rng(2)
    image = random.poisson(3.0, (200, 300)).astype(float)
    image[50, 60] = 30.0
    image[120, 200] = 1e5
    return image


def test_spots_are_dark_on_a_light_background(tmp_path):
    """Clause 30.34: a weak spot stands out beside one thousands of times stronger."""
    grey = preview(tmp_path / "a.png", spotty_image())
    assert grey.shape == (200, 300)
    assert grey[120, 200] == 0
    assert grey[50, 60] < np.median(grey) - 60
    assert np.median(grey) > 100
    assert grey.max() == 255


def test_more_photons_are_never_lighter(tmp_path):
    """Clause 30.34."""
    image = spotty_image()
    grey = preview(tmp_path / "a.png", image)
    order = np.argsort(image, axis=None)
    assert (np.diff(grey.ravel()[order].astype(int)) <= 0).all()


def test_given_limits_are_white_and_black(tmp_path):
    """Clause 30.34."""
    grey = preview(tmp_path / "a.png", np.array([[0.0, 10.0, 50.0, 100.0, 500.0]]), low=10.0, high=100.0)
    assert grey[0, 0] == grey[0, 1] == 255
    assert grey[0, 3] == grey[0, 4] == 0
    assert 0 < grey[0, 2] < 255


def test_inactive_and_non_finite_pixels_share_one_grey(tmp_path):
    """Clause 30.34."""
    image = spotty_image()
    image[0, :3] = np.nan, np.inf, -np.inf
    active = np.ones(image.shape, bool)
    active[100:110] = False
    grey = preview(tmp_path / "a.png", image, active=active)
    assert len(set(grey[100:110].ravel()) | set(grey[0, :3])) == 1
    image[100:110] = 1e30
    assert (preview(tmp_path / "b.png", image, active=active) == grey).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint16, np.int64])
@pytest.mark.parametrize("shape", [(1600, 90), (30, 3001), (1500, 10), (1501, 1501)])
def test_large_images_are_reduced_and_keep_single_pixel_spots(tmp_path, dtype, shape):
    """Clause 30.34."""
    image = np.ones(shape, dtype)
    last = shape[0] - 1, shape[1] - 1
    image[last] = 1000
    grey = preview(tmp_path / "a.png", image)
    factor = math.ceil(max(shape) / 1500)
    assert grey.shape == tuple(math.ceil(side / factor) for side in shape)
    assert grey[-1, -1] == 0
    assert (grey == 0).sum() == 1


@pytest.mark.parametrize("value", [0.0, 7.0, 1e20, -3.0])
def test_a_constant_image_is_white(tmp_path, value):
    """Clause 30.34."""
    assert (preview(tmp_path / "a.png", np.full((4, 5), value)) == 255).all()


def test_an_image_without_active_pixels_is_drawn(tmp_path):
    """Clause 30.34."""
    grey = preview(tmp_path / "a.png", np.ones((4, 5)), active=np.zeros((4, 5), bool))
    assert len(np.unique(grey)) == 1


@given(stn.arrays(np.float64, stn.array_shapes(min_dims=2, max_dims=2, max_side=6)))
@example(np.array([[5e-324, 0.0, 0.0]]))
@settings(max_examples=100, deadline=None)
def test_any_float_image_is_drawn(tmp_path_factory, image):
    """Clause 30.34."""
    assert preview(tmp_path_factory.getbasetemp() / "any.png", image).shape == image.shape


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.ones(3), {}, "shape"),
        (np.ones((0, 3)), {}, "shape"),
        (np.ones((2, 2)), {"low": 2.0, "high": 1.0}, "low <= high"),
        (np.ones((2, 2)), {"low": math.nan}, "low <= high"),
        (np.ones((2, 2)), {"high": math.inf}, "low <= high"),
    ],
)
def test_previews_that_cannot_be_drawn_are_refused(tmp_path, image, options, message):
    """Clause 30.34."""
    with pytest.raises(NumbraggError, match=message):
        write_png(tmp_path / "a.png", image, **options)
    assert not list(tmp_path.iterdir())
