"""Pictures of images with rings, beam centre and predictions."""

import builtins
import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import numbragg
from numbragg import Beam, Crystal, Detector, Experiment, NumbraggError
from numbragg.geometry.conventions import CONVENTIONS
from numbragg.io.contrast import choose_contrast, reduce_blocks
from numbragg.io.png import INACTIVE_GREY, write_png
from numbragg.io.smv import write_smv
from numbragg.io.smv_instrument import read_smv_instrument
from numbragg.lowering.rays import detector_points, resolution_at, ring_points

pytest.importorskip("matplotlib")

from numbragg import viewing
from numbragg.viewing import BOTTOM, LEFT, RIGHT, RING_COLOUR, SPOT_COLOUR, TOP, View, choose_rings, write_view

CRYSTAL = "-cell 60 65 70 90 90 90 -misset 10 20 30 -N 12 -default_F 100"
GEOMETRY = "-lambda 1.1 -distance 90 -pixel 0.2 -detpixels_f 240 -detpixels_s 200"
QUIET = "-nopgm -nonoise -noprogress -floatfile a.bin -intfile a_1.img"

ROUNDING = 1e-6
"""Pixels, and degrees."""

PRINTED = 1e-4
"""Relative: numbers in headers have six digits."""


def rgb(path: Path | str) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def inner(path: Path | str) -> np.ndarray:
    """The picture without its margins."""
    return rgb(path)[TOP:-BOTTOM, LEFT:-RIGHT]


def grey(path: Path | str) -> np.ndarray:
    picture = inner(path)
    assert (picture == picture[..., :1]).all()
    return picture[..., 0]


def share_of(colour: str, path: Path | str) -> float:
    """Share of the pixels that have about a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((np.abs(inner(path) - wanted).max(axis=-1) < 40).mean())


def spotty(shape: tuple[int, int] = (600, 700), seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    image = random.poisson(5.0, shape).astype(float)
    image[random.integers(0, shape[0], 40), random.integers(0, shape[1], 40)] += random.uniform(20, 5000, 40)
    return image


def experiment_of(shape: tuple[int, int] = (600, 700), **detector) -> Experiment:
    return Experiment(
        crystal=Crystal(cell=(60, 65, 70, 90, 90, 90), n_cells=(12, 12, 12), misset=(10, 20, 30), default_f=50.0),
        detector=Detector(
            n_fast=shape[1],
            n_slow=shape[0],
            **{"pixel_size": 0.2, "distance": 110.0, "beam_fast": 70.0, "beam_slow": 60.0, **detector},
        ),
    )


@pytest.fixture
def simulated(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(f"simulate {CRYSTAL} {GEOMETRY} {QUIET}").status == 0
    return tmp_path


# The grey scale


def test_the_preview_and_the_view_have_the_same_greys(tmp_path):
    """Clause 75.2."""
    image = spotty()
    image[10, 10] = np.nan
    write_png(tmp_path / "a.png", image)
    write_view(tmp_path / "b.png", View(image))
    with Image.open(tmp_path / "a.png") as picture:
        preview = np.asarray(picture).astype(int)
    # A colour map has 256 entries, none of which need be the nearest grey.
    assert np.abs(preview - grey(tmp_path / "b.png")).max() <= 1
    assert grey(tmp_path / "b.png")[10, 10] == INACTIVE_GREY


def test_fringes_stay_paler_than_spots():
    """Clause 30.34: on an image without background most of the scale is not spent on what is nearly nothing."""
    values = np.concatenate([np.full(9000, 1e-6), np.full(900, 1e-3), np.full(99, 1.0), np.full(200, 100.0)])
    contrast = choose_contrast(values)
    assert contrast.darkness(1e-3) < 0.01
    assert contrast.darkness(1.0) < 0.3
    assert contrast.darkness(100.0) == 1.0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=30),
    st.lists(st.floats(0, 1), min_size=2, max_size=10),
)
def test_greys_grow_with_the_value_and_lead_back_to_it(values, darkness):
    """Clause 30.34."""
    contrast = choose_contrast(np.array(values))
    ordered = contrast.darkness(np.sort(values))
    assert (np.diff(ordered) >= 0).all()
    assert ((ordered >= 0) & (ordered <= 1)).all()
    again = contrast.darkness(contrast.value(darkness))
    # Where the scale is much shorter than its values are large the way back has few digits.
    digits = 1e-9 + 1e-12 * abs(contrast.low) / contrast.knee
    np.testing.assert_allclose(again, darkness, atol=min(digits, 1.0))


def test_a_given_maximum_is_black_and_a_region_has_the_greys_of_the_whole(tmp_path):
    """Clauses 75.1 and 75.2."""
    image = spotty()
    write_view(tmp_path / "whole.png", View(image))
    write_view(tmp_path / "part.png", View(image, roi=(100, 649, 50, 599)))
    np.testing.assert_array_equal(grey(tmp_path / "part.png"), grey(tmp_path / "whole.png")[50:600, 100:650])
    write_view(tmp_path / "max.png", View(image, maximum=8.0))
    black = grey(tmp_path / "max.png") == 0
    np.testing.assert_array_equal(black, image >= 8.0)


def test_negative_counts_were_not_measured(tmp_path, monkeypatch):
    """Clause 75.2."""
    monkeypatch.chdir(tmp_path)
    counts = spotty().astype(np.int32)
    counts[100:120] = -1
    np.save("a.npy", counts)
    assert run("view a.npy --out a.png").status == 0
    assert (grey("a.png")[100:120] == INACTIVE_GREY).all()
    assert (grey("a.png")[:100] != INACTIVE_GREY).any()


# Size


@pytest.mark.parametrize(
    ("shape", "zoom", "factor"),
    [
        ((30, 70), 14, 1),
        ((500, 400), 2, 1),
        ((501, 400), 1, 1),
        ((1200, 90), 1, 1),
        ((1201, 90), 1, 2),
        ((90, 2527), 1, 3),
    ],
)
def test_pixels_are_whole_pixels_of_the_picture(tmp_path, shape, zoom, factor):
    """Clause 75.1: a spot of one pixel is neither smeared nor lost."""
    image = np.ones(shape)
    place = shape[0] - 1, shape[1] // 3
    image[place] = 100.0
    write_view(tmp_path / "a.png", View(image))
    picture = grey(tmp_path / "a.png")
    assert picture.shape == tuple(-(-side // factor) * zoom for side in shape)
    expected = np.zeros(picture.shape, dtype=bool)
    slow, fast = (index // factor * zoom for index in place)
    expected[slow : slow + zoom, fast : fast + zoom] = True
    np.testing.assert_array_equal(picture == 0, expected)


@pytest.mark.parametrize(
    "image",
    [np.zeros((40, 50)), np.full((40, 50), np.nan), np.full((4, 5), 1e30), np.full((3, 3), -7), np.eye(5, dtype=bool)],
)
def test_dull_images_are_drawn(tmp_path, image):
    """Clause 75.2."""
    write_view(tmp_path / "a.png", View(image))
    assert rgb(tmp_path / "a.png").size


def test_blocks_take_their_largest_active_value():
    """Clause 30.34."""
    values = np.arange(20.0).reshape(4, 5)
    values[0, 0] = np.inf
    active = values != 19.0
    reduced = reduce_blocks(values, 2, active)
    np.testing.assert_array_equal(reduced, [[6, 8, 9], [16, 18, 14]])


# Rings, beam centre and predictions


@pytest.mark.parametrize("changes", [{}, {"rot_x": 20.0, "rot_y": -15.0, "rot_z": 30.0, "twotheta": 25.0}])
def test_rings_lie_at_their_resolution(changes):
    """Clause 75.4: on tilted detectors too."""
    experiment = experiment_of(**changes)
    for d in choose_rings(experiment):
        slow, fast = ring_points(experiment, d)
        met = np.isfinite(slow)
        assert met.any()
        np.testing.assert_allclose(resolution_at(experiment, slow[met], fast[met]), d, rtol=1e-9)


@pytest.mark.parametrize("distance", [20.0, 110.0, 1000.0])
@pytest.mark.parametrize("wavelength", [0.1, 1.0, 7.0])
def test_a_few_round_rings_are_chosen(distance, wavelength):
    """Clause 75.4."""
    experiment = dataclasses.replace(experiment_of(distance=distance), beam=Beam(wavelength=wavelength))
    rings = choose_rings(experiment)
    edge = float(resolution_at(experiment, 300.0, 699.0))
    assert list(rings) == sorted(rings, reverse=True)
    assert all(2 * d > wavelength for d in rings)
    if edge > 0.35 and wavelength < 5 and edge < 50:
        assert 3 <= len(rings) <= 5


def test_beam_centre_is_where_the_beam_meets_the_detector():
    """Clause 75.5."""
    experiment = experiment_of()
    slow, fast = detector_points(experiment, experiment.beam.direction)
    np.testing.assert_allclose((slow, fast), (60.0 / 0.2 - 0.5, 70.0 / 0.2 - 0.5))
    with np.errstate(divide="ignore"):
        assert resolution_at(experiment, slow, fast) > 1e6


def test_overlays_have_their_colours_and_stay_away_unless_asked_for(tmp_path):
    """Clauses 75.3 to 75.6."""
    image, experiment = spotty(), experiment_of()
    spots = numbragg.predict_reflections(experiment)
    plain, ringed, full, bare = (tmp_path / f"{name}.png" for name in "abcd")
    write_view(plain, View(image))
    write_view(ringed, View(image, experiment=experiment))
    write_view(full, View(image, experiment=experiment, spots=spots))
    write_view(bare, View(image, experiment=experiment, rings=()))
    assert share_of(RING_COLOUR, plain) == share_of(SPOT_COLOUR, plain) == 0
    assert share_of(RING_COLOUR, ringed) > 0.001
    assert share_of(SPOT_COLOUR, ringed) == 0
    assert share_of(SPOT_COLOUR, full) > 0.001
    blue = np.array([int(RING_COLOUR[i : i + 2], 16) for i in (1, 3, 5)])
    cross = np.argwhere(np.abs(inner(bare) - blue).max(axis=-1) < 40)
    # The picture is not magnified, so its pixels are those of the image.
    np.testing.assert_allclose(cross.mean(axis=0), (299.5, 349.5), atol=1.0)


def test_circles_lie_around_predicted_pixels(tmp_path):
    """Clause 75.6."""
    experiment = experiment_of()
    spots = numbragg.predict_reflections(experiment)
    kept = np.zeros(len(spots.hkl), dtype=bool)
    kept[len(kept) // 2] = True
    write_view(tmp_path / "a.png", View(np.ones((600, 700)), spots=spots.only(kept)))
    orange = np.array([int(SPOT_COLOUR[i : i + 2], 16) for i in (1, 3, 5)])
    drawn = np.argwhere(np.abs(inner(tmp_path / "a.png") - orange).max(axis=-1) < 60)
    slow, fast = float(spots.slow[kept][0]), float(spots.fast[kept][0])
    circle = drawn[np.hypot(drawn[:, 0] - slow, drawn[:, 1] - fast) < 8]
    np.testing.assert_allclose(circle.mean(axis=0), (slow, fast), atol=1.0)
    assert len(drawn) > len(circle)  # its label


class RecordedAxes:
    """Enough of an axes to see which texts are written."""

    def __init__(self) -> None:
        self.texts: list[tuple[float, float, str]] = []

    def get_images(self):
        return [self]

    def get_extent(self):
        return (-0.5, 999.5, 999.5, -0.5)

    def text(self, fast, slow, text, **_):
        self.texts.append((fast, slow, text))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 999), st.floats(0, 999)), max_size=60))
def test_texts_do_not_cover_each_other(places):
    """Clause 75.3."""
    axes = RecordedAxes()
    labels = viewing._Labels(axes, 1.0)
    for fast, slow in places:
        labels.write(fast, slow, "-1 2 13", SPOT_COLOUR, 8.0, centred=False)
    width, height = 8.0 * 7 * viewing.WIDTH_OF_LETTER, 8.0 * viewing.HEIGHT_OF_LETTER
    for number, (fast, slow, _) in enumerate(axes.texts):
        assert fast + width < 999.5
        for other_fast, other_slow, _ in axes.texts[:number]:
            assert abs(fast - other_fast) >= width * 0.999 or abs(slow - other_slow) >= height * 0.999


# The command


def test_the_header_gives_the_geometry(simulated):
    """Clause 75.11."""
    assert run("view a_1.img --out a.png").status == 0
    assert share_of(RING_COLOUR, "a.png") > 0.001
    instrument = read_smv_instrument("a_1.img")
    assert (instrument.n_fast, instrument.n_slow, instrument.pixel_size) == (240, 200, 0.2)
    np.testing.assert_allclose(instrument.distance, 90.0, rtol=PRINTED)
    # MOSFLM's default: the middle, and half a pixel.
    np.testing.assert_allclose(instrument.beam_centre, (24.2, 20.2), rtol=PRINTED)


@pytest.mark.parametrize("convention", ["mosflm", "xds", "adxv", "denzo", "dials"])
@pytest.mark.parametrize("tilt", ["", "-detector_rotx 6 -detector_roty -9 -detector_rotz 4"])
def test_every_convention_gives_the_same_rings_by_header_and_by_flags(tmp_path, monkeypatch, convention, tilt):
    """Clause 75.11: the point nearest the sample and the beam centre tell a tilt."""
    monkeypatch.chdir(tmp_path)
    flags = f"{CRYSTAL} {GEOMETRY} -{convention} {tilt}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(f"simulate {flags} {QUIET} -roi 0 1 0 1").status == 0
        experiment = numbragg.parse_flags(flags.split())
    instrument = read_smv_instrument("a_1.img")
    across = np.cross(instrument.fast_axis, instrument.slow_axis)
    random = np.random.default_rng(0)
    fast, slow = random.uniform(0, 239, 20), random.uniform(0, 199, 20)
    points = (
        instrument.origin
        + 0.2 * np.multiply.outer(fast + 0.5, instrument.fast_axis)
        + 0.2 * np.multiply.outer(slow + 0.5, instrument.slow_axis)
    )
    rays = points / np.linalg.norm(points, axis=1)[:, None]
    d = instrument.wavelength / np.linalg.norm(rays - instrument.beam_direction, axis=1)
    np.testing.assert_allclose(d, resolution_at(experiment, slow, fast), rtol=10 * PRINTED)
    assert across @ instrument.beam_direction > 0


HEADER = {"PIXEL_SIZE": "0.1", "DISTANCE": "100", "WAVELENGTH": "1.5"}


@pytest.mark.parametrize(
    ("entries", "centre"),
    [
        ({"BEAM_CENTER_X": "2", "BEAM_CENTER_Y": "3"}, (3, 2)),
        ({"ADXV_CENTER_X": "1", "ADXV_CENTER_Y": "1.5", "BEAM_CENTER_X": "2", "BEAM_CENTER_Y": "3"}, (1, 2.5)),
        ({"DENZO_X_BEAM": "1", "DENZO_Y_BEAM": "2", "ADXV_CENTER_X": "9", "ADXV_CENTER_Y": "9"}, (2, 1)),
        ({"XDS_ORGX": "10.5", "XDS_ORGY": "20.5", "CLOSE_DISTANCE": "100"}, (1, 2)),
    ],
)
def test_beam_centres_are_believed_in_a_fixed_order(tmp_path, entries, centre):
    """Clause 75.11."""
    write_smv(tmp_path / "a.img", np.zeros((40, 30), np.uint16), {**HEADER, **entries})
    instrument = read_smv_instrument(tmp_path / "a.img")
    np.testing.assert_allclose(instrument.beam_centre, centre)
    np.testing.assert_allclose(instrument.distance, 100.0)


@pytest.mark.parametrize("entries", [{}, {"BEAM_CENTER_X": "2", "BEAM_CENTER_Y": "3", "TWOTHETA": "10"}])
def test_a_header_that_is_not_enough_is_said_so(tmp_path, monkeypatch, entries):
    """Clause 75.11."""
    monkeypatch.chdir(tmp_path)
    write_smv("a.img", np.arange(1200, dtype=np.uint16).reshape(40, 30), {**HEADER, **entries})
    outcome = run("view a.img --out a.png")
    assert outcome.status == 0
    assert "does not say all of the geometry" in outcome.err
    assert share_of(RING_COLOUR, "a.png") == 0


def test_a_header_with_words_for_numbers_is_refused(tmp_path):
    """Clause 75.11."""
    write_smv(tmp_path / "a.img", np.zeros((4, 3), np.uint16), {**HEADER, "DISTANCE": "far"})
    with pytest.raises(NumbraggError, match="DISTANCE in the header is not a number"):
        read_smv_instrument(tmp_path / "a.img")


def test_flags_give_geometry_and_crystal(simulated):
    """Clauses 75.12 and 75.13: with the flags of the simulation predictions lie on the spots."""
    assert run(f"view a_1.img --out a.png --predict {CRYSTAL} {GEOMETRY}").status == 0
    assert share_of(SPOT_COLOUR, "a.png") > 0.001
    assert run("view a_1.img --out b.png -distance 300").status == 0
    assert run("view a_1.img --out c.png").status == 0
    assert not np.array_equal(rgb("b.png"), rgb("c.png"))


def test_what_a_file_records_predicts_its_spots(simulated):
    """Clause 75.13."""
    assert run(f"view a_1.img --out a.png --predict {CRYSTAL} {GEOMETRY}").status == 0
    assert run("view a_1.img --out b.png --predict").status == 0
    np.testing.assert_array_equal(rgb("a.png"), rgb("b.png"))


SERIES = "--images 3 --osc-per-image 0.5 -phi 10 -phisteps 5 -seed 1 -nopgm -noprogress"


@pytest.mark.parametrize(("name", "image"), [("s_#####.cbf", "s_00003.cbf"), ("s.h5", "s.h5:2")])
def test_an_image_of_a_series_is_predicted_at_its_phi(tmp_path, monkeypatch, name, image):
    """Clauses 75.11 and 75.13."""
    from numbragg.cli.view import _experiment

    if name.endswith(".h5"):
        pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    flags = f"{CRYSTAL} {GEOMETRY} -beamsize 0.1 -fluence 1e28"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(f"simulate {flags} {SERIES} -noisefile {name}").status == 0
        recorded = _experiment(image, {}, [], predict=True)
        third = numbragg.parse_flags(f"{flags} -phi 11 -osc 0.5 -phisteps 5".split())
    expected, found = (numbragg.predict_reflections(experiment) for experiment in (third, recorded))
    np.testing.assert_array_equal(found.hkl, expected.hkl)
    np.testing.assert_allclose(found.slow, expected.slow, atol=ROUNDING)
    np.testing.assert_allclose(found.phi, expected.phi, atol=ROUNDING)
    by_header = _experiment(image, {}, [], predict=False)
    slow, fast = np.random.default_rng(0).uniform(0, 199, (2, 20))
    np.testing.assert_allclose(resolution_at(by_header, slow, fast), resolution_at(recorded, slow, fast), rtol=PRINTED)
    assert run(f"view {image} --predict --out a.png").status == 0
    assert share_of(SPOT_COLOUR, "a.png") > 0.001


def test_a_table_leaves_out_what_nobody_could_see(simulated):
    """Clause 75.13."""
    from numbragg.cli.view import FAINTEST_PEAK, _predicted

    Path("a.hkl").write_text(
        "".join(
            f"{h} {k} {l} {100 if h % 2 else 1e-9}\n"
            for h in range(-9, 10)
            for k in range(-9, 10)
            for l in range(-9, 10)
        )
    )
    with_table = CRYSTAL.replace("-default_F 100", "-hkl a.hkl")
    spots = _predicted(numbragg.parse_flags(f"{with_table} {GEOMETRY}".split()))
    assert len(spots.hkl) > 10
    assert (spots.hkl[:, 0] % 2 == 1).all()
    assert (spots.peak >= FAINTEST_PEAK).all()


def test_raw_images_take_their_shape_from_geometry_or_option(simulated):
    """Clause 75.10."""
    assert run(f"view a.bin --out a.png {GEOMETRY}").status == 0
    assert run("view a.bin --out b.png --shape 200 240").status == 0
    assert inner("a.png").shape == inner("b.png").shape == (800, 960, 3)


WRONG = {
    "no file": ("view --out a.png", "which image"),
    "missing file": ("view absent.img --out a.png", "absent.img"),
    "another suffix": ("view a_1.img --out a.jpg", "must end in .png"),
    "raw without shape": ("view a.bin --out a.png", "--shape SLOW FAST"),
    "raw of another shape": ("view a.bin --out a.png --shape 10 10", "48000 pixels, not 10 x 10"),
    "geometry of another size": ("view a_1.img --out a.png -detpixels 100", "give -detpixels_f and -detpixels_s"),
    "region beyond the image": ("view a_1.img --out a.png --roi 0 999 0 10", "must lie within"),
    "region of words": ("view a_1.img --out a.png --roi 0 a 0 10", "whole numbers"),
    "short region": ("view a_1.img --out a.png --roi 0 1 2", "takes 4 words"),
    "rings of words": ("view a_1.img --out a.png --rings 3,b", "--rings takes numbers"),
    "ring at 0": ("view a_1.img --out a.png --rings 0", "above 0 angstrom"),
    "maximum of words": ("view a_1.img --out a.png --max much", "--max takes numbers"),
    "maximum below white": ("view a_1.img --out a.png --max -1000", "low <= high"),
    "maximum without end": ("view a_1.img --out a.png --max nan", "low <= high"),
    "value of a switch": ("view a_1.img --out a.png --predict=3", "takes no words"),
    "unknown option": ("view a_1.img --uot a.png", "--uot"),
    "unknown flag": ("view a_1.img --out a.png -distanc 3", "-distanc"),
    "missing folder": ("view a_1.img --out absent/a.png", "cannot write"),
    "two images": ("view a_1.img a_1.img --out a.png", "stray value"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_words_are_refused_with_one_line(simulated, name):
    """Clauses 75.4 and 75.10 to 75.12."""
    command, message = WRONG[name]
    before = sorted(os.listdir())
    outcome = run(command)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert sorted(os.listdir()) == before


def test_predictions_without_a_crystal_are_refused(tmp_path, monkeypatch):
    """Clause 75.13."""
    monkeypatch.chdir(tmp_path)
    write_smv("a.img", np.zeros((40, 30), np.uint16), {**HEADER, "BEAM_CENTER_X": "2", "BEAM_CENTER_Y": "3"})
    outcome = run("view a.img --predict --out a.png")
    assert outcome.status == 2
    assert "needs the flags of a crystal" in outcome.err


def test_without_a_display_a_picture_is_asked_for(simulated, monkeypatch):
    """Clause 75.10."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    outcome = run("view a_1.img")
    assert outcome.status == 2
    assert "give --out FILE.png" in outcome.err


def test_without_a_toolkit_a_picture_is_asked_for(simulated, monkeypatch):
    """Clause 75.10."""
    from matplotlib import pyplot

    monkeypatch.setenv("DISPLAY", ":0")
    pyplot.switch_backend("agg")
    outcome = run("view a_1.img")
    assert outcome.status == 2
    assert "toolkit" in outcome.err
    assert "give --out FILE.png" in outcome.err
    assert not pyplot.get_fignums()


def test_a_window_shows_the_picture_and_tells_what_is_under_the_pointer(simulated, windows):
    """Clauses 75.7 and 75.10."""
    assert run("view a_1.img").status == 0
    (figure,) = windows
    axes = figure.axes[0]
    assert len(axes.get_images()) == 1
    assert "fast 30.0 slow 40.0" in axes.format_coord(30.0, 40.0)
    assert "counts" in axes.format_coord(30.0, 40.0)
    assert "counts" not in axes.format_coord(-30.0, 40.0)
    assert "\u00c5" in axes.format_coord(30.0, 40.0)


def test_without_matplotlib_the_extra_is_named(simulated, monkeypatch):
    """Clause 75.10: `-pngfile` needs no matplotlib."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    outcome = run("view a_1.img --out a.png")
    assert outcome.status == 2
    assert "pip install numbragg[plot]" in outcome.err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(f"simulate {CRYSTAL} {GEOMETRY} {QUIET} -pngfile b.png").status == 0
    assert Path("b.png").exists()


def test_help_is_printed():
    """Clause 75.10."""
    assert "usage: numbragg view FILE" in run("view --help").out
    assert "--predict" in run("view").out


@pytest.mark.parametrize("convention", [name for name in CONVENTIONS if name != "custom"])
def test_predictions_of_a_file_match_those_of_the_experiment(tmp_path, monkeypatch, convention):
    """Clause 75.12: header and flags together give the geometry of the simulation."""
    from numbragg.cli.view import _experiment

    monkeypatch.chdir(tmp_path)
    flags = f"{CRYSTAL} {GEOMETRY} -{convention} -detector_rotx 3 -osc 0.5 -phisteps 5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(f"simulate {flags} {QUIET} -roi 0 1 0 1").status == 0
        expected = numbragg.predict_reflections(numbragg.parse_flags(flags.split()))
        found = numbragg.predict_reflections(_experiment("a_1.img", {}, flags.split(), predict=True))
    np.testing.assert_array_equal(found.hkl, expected.hkl)
    np.testing.assert_allclose(found.slow, expected.slow, atol=0.05)
    np.testing.assert_allclose(found.fast, expected.fast, atol=0.05)
