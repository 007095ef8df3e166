"""Images of several panels as one picture (specs/75-view.md, 75.8, 75.9 and 75.14)."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_scene import PIXEL, SIZE, TILTED, experiment_of, panel_at
from PIL import Image
from scipy.ndimage import binary_fill_holes

import numbragg
from numbragg import NumbraggError, NumbraggWarning, assembly
from numbragg.assembly import assemble, flat_picture
from numbragg.geometry.rotations import unit
from numbragg.instruments import describe_instrument
from numbragg.io.float_image import write_float
from numbragg.io.image_file import read_image
from numbragg.io.png import INACTIVE_GREY, write_png
from numbragg.lowering.detector_frame import frame_of
from numbragg.lowering.rays import detector_points, resolution_at, ring_points
from numbragg.models.panel import Panel

ROUNDING = 1e-6
"""Pixels: rays in double precision."""
TURNED = 0.75
"""Pixels along an axis between the middle of a pixel of a panel and that of the pixel that shows it, when the two are
turned against each other by some degrees."""
RIM = 0.25
"""Of the pixels along the rim of a panel, by which its area in whole pixels may differ from that of its outline."""


def blank(experiment=None, kind=float):
    shape = (experiment or experiment_of()).detector.shape
    return np.zeros(shape, dtype=kind)


def rays_of(experiment, slow, fast):
    """Directions of points, in pixels, of a detector of one panel."""
    frame = frame_of(experiment)
    size = experiment.detector.pixel_size * 1e-3
    along = np.multiply.outer(fast + 0.5, frame.fast) + np.multiply.outer(slow + 0.5, frame.slow)
    return unit(frame.origin + size * along)


def shown(assembled):
    """Panel, slow and fast of the pixel that is shown, and slow and fast of where, of all that show one."""
    slow, fast = np.nonzero(assembled.number >= 0)
    return np.unravel_index(assembled.number[slow, fast], assembled.shape), slow, fast


# The picture


def assert_rays_lead_to_the_pixels_shown(experiment, assembled, corners=0.0):
    """Rays through the middle of a pixel of the picture, or at its corners, meet or surround the pixel shown."""
    (panel, row, column), slow, fast = shown(assembled)
    for number in range(len(experiment.detector.panels)):
        there = panel == number
        met = np.array(
            [
                detector_points(
                    experiment.of_panel(number), rays_of(assembled.experiment, slow[there] + i, fast[there] + j)
                )
                for i in (-corners, corners)
                for j in (-corners, corners)
            ]
        )
        wanted = np.array([row[there], column[there]])
        assert (wanted >= met.min(axis=0) - 0.5 - ROUNDING).all()
        assert (wanted <= met.max(axis=0) + 0.5 + ROUNDING).all()


@pytest.mark.parametrize("changes", [{}, {"rot_x": 20.0, "rot_y": -15.0, "rot_z": 30.0, "twotheta": 25.0}])
def test_a_pixel_shows_what_its_ray_meets(changes):
    """Clause 75.8: panels move with the detector, and so does the plane of the picture."""
    experiment = experiment_of(**changes)
    assembled = assemble(experiment, blank())
    assert_rays_lead_to_the_pixels_shown(experiment, assembled)
    assert set(np.unique(assembled.number // math.prod(SIZE))) == {-1, 0, 1, 2, 3}


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.floats(-40, 40)] * 3),
    st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.floats(-20, 40)),
    st.tuples(*[st.floats(-25, 25)] * 2),
)
def test_rays_lead_to_the_pixels_shown_wherever_panels_are(turn, middle, rotation):
    """Clauses 75.8 and 75.9: several rays look for the pixels of a panel that is small in the picture."""
    panels = (panel_at((0, 0, 0)), panel_at(middle, turn))
    experiment = experiment_of(panels, rot_x=rotation[0], rot_y=rotation[1])
    assert_rays_lead_to_the_pixels_shown(experiment, assemble(experiment, blank(experiment)), corners=0.5)


@pytest.mark.parametrize("place", [(0, 10, 20), (1, 0, 0), (2, 59, 79), (3, 30, 79)])
def test_a_spot_lies_where_its_ray_meets_the_plane(place):
    """Clause 75.8."""
    experiment = experiment_of()
    image = blank()
    image[place] = 100.0
    assembled = assemble(experiment, image)
    lit = np.argwhere(assembled.picture == 100.0)
    ray = rays_of(experiment.of_panel(place[0]), place[1], place[2])
    expected = detector_points(assembled.experiment, ray)
    assert len(lit)
    assert np.abs(lit.mean(axis=0) - expected).max() < TURNED


def test_panels_have_no_holes_and_gaps_show_nothing():
    """Clause 75.8."""
    experiment = experiment_of()
    assembled = assemble(experiment, blank() + 7.0)
    for number in range(4):
        covered = assembled.number // math.prod(SIZE) == number
        np.testing.assert_array_equal(binary_fill_holes(covered), covered)
        fast, slow = np.array([-0.5, SIZE[1] - 0.5] * 2), np.repeat([-0.5, SIZE[0] - 0.5], 2)
        y, x, _ = assembled.place(np.full(4, number), slow, fast)
        ring = [0, 1, 3, 2]
        x, y = x[ring], y[ring]
        area = 0.5 * abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
        assert abs(covered.sum() - area) < RIM * 2 * sum(SIZE)
    assert (assembled.picture[assembled.active] == 7.0).all()
    assert np.isnan(assembled.picture[~assembled.active]).all()
    middle = tuple(round(float(x)) for x in detector_points(assembled.experiment, experiment.beam.direction))
    assert not assembled.active[middle]
    assert assembled.pixel_at(*middle) is None
    assert assembled.pixel_at(-5.0, 3.0) is None


@pytest.mark.parametrize("shift", [0.0, 0.5, 0.25, 0.87])
def test_panels_in_the_plane_keep_every_pixel_once(shift):
    """Clause 75.8: wherever on its grid they are."""
    panels = [panel_at((x, y, 0)) for y in (0, SIZE[0] * PIXEL + 1) for x in (0, (SIZE[1] + shift) * PIXEL)]
    experiment = experiment_of(panels)
    image = np.arange(float(4 * math.prod(SIZE))).reshape(4, *SIZE)
    assembled = assemble(experiment, image)
    seen, times = np.unique(assembled.number[assembled.number >= 0], return_counts=True)
    assert (times == 1).all()
    np.testing.assert_array_equal(seen, np.arange(image.size))
    top, first = assembled.picture[: SIZE[0]], SIZE[1] + (shift > 0.5)
    np.testing.assert_array_equal(top[:, : SIZE[1]], image[0])
    np.testing.assert_array_equal(top[:, first : first + SIZE[1]], image[1])
    gap = assembled.picture[SIZE[0] : SIZE[0] + 5]
    assert np.isnan(gap).all()
    assert len(assembled.picture) == 2 * SIZE[0] + 5


@pytest.mark.parametrize(("depth", "wins"), [(-5.0, 1), (5.0, 0), (0.0, 0)])
def test_of_panels_behind_each_other_the_nearest_is_shown(depth, wins):
    """Clause 75.8."""
    panels = [panel_at((0, 0, 0)), panel_at((0, 0, depth))]
    experiment = experiment_of(panels)
    assembled = assemble(experiment, blank(experiment))
    assert assembled.pixel_at(*(0.5 * np.array(assembled.number.shape)))[0] == wins
    slow, _, _ = assembled.place(np.array([0, 1]), [30.0, 30.0], [40.0, 40.0])
    assert np.isfinite(slow).tolist() == [wins == 0, wins == 1]


@pytest.mark.parametrize(("kind", "gap"), [(np.uint16, 0), (np.int32, -1), (np.float32, np.nan), (bool, False)])
def test_the_number_type_stays(kind, gap):
    """Clause 75.8."""
    assembled = assemble(experiment_of(), np.ones_like(blank(), dtype=kind))
    assert assembled.picture.dtype == kind
    np.testing.assert_array_equal(np.unique(assembled.picture[~assembled.active]), gap)
    assert (assembled.picture[assembled.active] == 1).all()


def test_masked_pixels_are_inactive(tmp_path):
    """Clauses 75.2 and 75.8: the preview draws them, and the gaps, in the grey of inactive pixels."""
    mask = np.ones(blank().shape, dtype=bool)
    mask[2, 20:40, 30:50] = False
    experiment = dataclasses.replace(experiment_of(), mask=mask)
    assembled = assemble(experiment, blank() + 1.0)
    (panel, slow, fast), row, column = shown(assembled)
    np.testing.assert_array_equal(assembled.active[row, column], mask[panel, slow, fast])
    assert assembled.experiment.mask is None
    picture, active = flat_picture(experiment, blank() + 1.0)
    write_png(tmp_path / "a.png", picture, active=active)
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture) == INACTIVE_GREY, ~assembled.active)
    alone, active = flat_picture(experiment.of_panel(2), np.ones(SIZE))
    assert alone.shape == SIZE
    np.testing.assert_array_equal(active, mask[2])


def test_the_plane_is_the_same_whichever_way_its_normal_points():
    """Clause 75.8."""
    experiment = experiment_of()
    frame, mirror = frame_of(experiment), np.array([1.0, 1.0, -1.0])
    panels = tuple(
        Panel(origin=panel.origin * mirror, fast_axis=panel.fast_axis * mirror, slow_axis=panel.slow_axis * mirror)
        for panel in TILTED
    )
    turned = dataclasses.replace(
        experiment.detector,
        origin=frame.origin,
        fast_axis=frame.fast,
        slow_axis=frame.slow,
        normal=-frame.normal,
        panels=panels,
    )
    again = assemble(dataclasses.replace(experiment, detector=turned), blank())
    np.testing.assert_array_equal(again.number, assemble(experiment, blank()).number)


def test_the_one_panel_of_the_picture_is_described_in_full():
    """Clause 75.8: distance and beam centre, which the heading tells, are those of the plane."""
    flat = assemble(experiment_of(rot_x=20.0), blank()).experiment
    frame = frame_of(flat)
    described = flat.detector.distance, flat.detector.beam_fast, flat.detector.beam_slow
    np.testing.assert_allclose(described, np.array([frame.distance, frame.beam_fast, frame.beam_slow]) * 1e3)
    assert not flat.detector.panels
    assert flat.detector.shape == assemble(experiment_of(rot_x=20.0), blank()).picture.shape


# Sizes, and panels that do not fit


def test_no_pixel_is_lost_where_panels_are_small_in_the_picture():
    """Clause 75.9: the second panel lies three times as far away."""
    panels = [panel_at((0, 0, 0)), panel_at((60, 0, 120), (0, 10, 20))]
    experiment = experiment_of(panels)
    random = np.random.default_rng(3)
    for slow, fast in zip(random.integers(0, SIZE[0], 20), random.integers(0, SIZE[1], 20), strict=True):
        image = blank(experiment)
        image[1] = random.uniform(0, 1, SIZE)
        image[1, slow, fast] = 9.0
        assert np.nanmax(assemble(experiment, image).picture) == 9.0


@pytest.mark.parametrize(("largest", "step"), [(200, 1), (100, 2), (64, 3), (41, 5)])
def test_a_large_picture_has_larger_pixels(monkeypatch, largest, step):
    """Clause 75.9: the least whole multiple that fits, and no bright pixel is lost."""
    experiment = experiment_of()
    image = np.random.default_rng(1).uniform(0, 1, blank().shape)
    image[2, 17, 33] = 50.0
    full = assemble(experiment, image)
    monkeypatch.setattr(assembly, "LARGEST_EDGE", largest)
    assembled = assemble(experiment, image)
    assert max(assembled.picture.shape) <= largest
    longest = max(full.picture.shape)
    assert step == 1 or (longest - 2) / (step - 1) > largest
    np.testing.assert_allclose(assembled.experiment.detector.pixel_size, step * PIXEL)
    assert np.nanmax(assembled.picture) == 50.0
    at = np.argwhere(assembled.picture == 50.0)[0]
    ray = rays_of(experiment.of_panel(2), 17, 33)
    assert np.abs(at - np.array(detector_points(assembled.experiment, ray))).max() < TURNED
    if step > 1:
        assert np.nanmean(assembled.picture) > np.nanmean(full.picture)


@pytest.mark.parametrize(
    ("middle", "turn"),
    [((0, 0, -150), (0, 0, 0)), ((500, 0, 0), (0, 0, 0)), ((0, 0, 20), (90, 0, 0)), ((0, 0, -60), (0, 0, 0))],
)
def test_panels_without_a_place_on_the_plane_are_left_out(middle, turn):
    """Clause 75.9: behind the sample, too far out, seen edge on, and around the sample."""
    panels = (*TILTED, panel_at(middle, turn, "odd"))
    experiment = experiment_of(panels)
    image = blank(experiment)
    with pytest.warns(NumbraggWarning, match=r"left out .*panel 4 \(odd\)"):
        assembled = assemble(experiment, image)
    whole = assemble(experiment_of(), image[:4])
    np.testing.assert_array_equal(assembled.number, whole.number)
    slow, fast, _ = assembled.place(np.array([4]), [3.0], [3.0])
    assert np.isnan([*slow, *fast]).all()


def test_a_picture_without_panels_is_refused():
    """Clause 75.9."""
    experiment = experiment_of([panel_at((0, 0, 20), (90, 0, 0)), panel_at((0, 0, -200))])
    with pytest.raises(NumbraggError, match="no panel of the detector can be drawn"):
        assemble(experiment, blank(experiment))


@pytest.mark.parametrize("image", [np.zeros((3, *SIZE)), np.zeros(SIZE), np.zeros((4, *SIZE), dtype=complex)])
def test_other_images_are_refused(image):
    """Clause 75.8."""
    with pytest.raises(NumbraggError, match=r"not an image \(panel, slow, fast\) of this detector"):
        assemble(experiment_of(), image)
    with pytest.raises(NumbraggError, match="one panel"):
        assemble(experiment_of().of_panel(1), np.zeros(SIZE))


# Rings and predictions


def test_the_one_panel_of_the_picture_has_the_resolutions_of_the_panels():
    """Clause 75.8: rings and beam centre need not know of panels."""
    experiment = experiment_of(rot_x=8.0)
    assembled = assemble(experiment, blank())
    slow, fast = np.random.default_rng(2).uniform(0, 59, (2, 20))
    for number in range(4):
        y, x, _ = assembled.place(np.full(20, number), slow, fast)
        kept = np.isfinite(y)
        there = resolution_at(experiment.of_panel(number), slow[kept], fast[kept])
        np.testing.assert_allclose(resolution_at(assembled.experiment, y[kept], x[kept]), there, rtol=1e-9)
    y, x = ring_points(assembled.experiment, 4.0)
    for point in zip(y, x, strict=True):
        found = assembled.pixel_at(*point)
        if found is not None:
            d = resolution_at(experiment.of_panel(found[0]), found[1], found[2])
            # A pixel is 0.2 mm of some 16 mm.
            np.testing.assert_allclose(d, 4.0, rtol=0.03)


def test_predictions_lie_on_the_spots_of_the_picture():
    """Clause 75.9."""
    pytest.importorskip("matplotlib")
    from numbragg.viewing import onto_picture

    experiment = experiment_of()
    image = numbragg.simulate(experiment, threads=1)
    assembled = assemble(experiment, image)
    spots = numbragg.predict_reflections(experiment)
    drawn = onto_picture(spots, assembled)
    assert len(drawn.hkl) == len(spots.hkl) > 20
    bright = drawn.only(drawn.fraction > 0.3)
    assert len(bright.hkl) > 5
    background = np.nanmedian(assembled.picture)
    for slow, fast in zip(bright.slow, bright.fast, strict=True):
        row, column = round(slow), round(fast)
        around = assembled.picture[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
        assert np.nanmax(around) > 10 * background
    on_panel = [assembled.pixel_at(slow, fast) for slow, fast in zip(drawn.slow, drawn.fast, strict=True)]
    # At the rim the middle of the pixel may miss the panel.
    assert np.mean([found is not None for found in on_panel]) > 0.95
    for found, panel in zip(on_panel, drawn.panel, strict=True):
        assert found is None or found[0] == panel


def test_circles_grow_and_shrink_with_the_panel():
    """Clause 75.9: a panel twice as far away is half as large."""
    pytest.importorskip("matplotlib")
    from numbragg.viewing import onto_picture

    panels = [panel_at((0, 0, 0)), panel_at((40, 0, 60))]
    experiment = experiment_of(panels)
    assembled = assemble(experiment, blank(experiment))
    spots = numbragg.predict_reflections(experiment)
    drawn, kept = onto_picture(spots, assembled), np.isin(spots.panel, (0, 1))
    assert kept.all()
    assert len(drawn.hkl) == len(spots.hkl)
    ratio = drawn.radius / spots.radius
    np.testing.assert_allclose(ratio[spots.panel == 0], 1.0, atol=1e-9)
    np.testing.assert_allclose(ratio[spots.panel == 1], 0.5, atol=1e-9)


# The command


CRYSTAL = "-cell 40 45 50 90 90 90 -misset 10 20 30 -N 15 -default_F 100 -fluence 1e28"


def inner(path="a.png"):
    from numbragg.viewing import BOTTOM, LEFT, RIGHT, TOP

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)[TOP:-BOTTOM, LEFT:-RIGHT]


def share_of(colour, path="a.png"):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((np.abs(inner(path) - wanted).max(axis=-1) < 40).mean())


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The same counts as NXmx, .npy and raw floats."""
    pytest.importorskip("h5py")
    pytest.importorskip("matplotlib")
    from numbragg.io.nxmx import write_nxmx

    monkeypatch.chdir(tmp_path)
    experiment = experiment_of()
    image = numbragg.simulate(experiment, threads=1)
    counts = np.random.default_rng(0).poisson(image + 5.0).astype(np.int32)
    write_nxmx("a.h5", counts, describe_instrument(experiment))
    np.save("a.npy", counts)
    write_float("a.bin", counts.ravel()[None])
    return tmp_path


def test_a_file_of_panels_is_drawn_as_one_picture(files):
    """Clauses 75.8 and 75.14."""
    from numbragg.viewing import RING_COLOUR, SPOT_COLOUR

    assert run("view a.h5 --out a.png").status == 0
    assert share_of(RING_COLOUR) > 0.001
    assert share_of(SPOT_COLOUR) == 0
    grey = (inner() == INACTIVE_GREY).all(axis=-1)
    assert 0.02 < grey.mean() < 0.3
    assert run(f"view a.h5 --predict --out b.png --geometry a.h5 {CRYSTAL}").status == 0
    assert share_of(SPOT_COLOUR, "b.png") > 0.001


@pytest.mark.parametrize("name", ["a.npy", "a.bin"])
def test_files_without_a_geometry_take_that_of_another(files, name):
    """Clause 75.14."""
    assert run("view a.h5 --rings none --out a.png --max 50").status == 0
    assert run(f"view {name} --rings none --geometry a.h5 --out b.png --max 50").status == 0
    np.testing.assert_array_equal(inner("a.png"), inner("b.png"))


def test_a_region_counts_pixels_of_the_picture(files):
    """Clause 75.8."""
    assert run("view a.h5 --rings none --out a.png --max 50 --roi 20 119 10 59").status == 0
    assert run("view a.h5 --rings none --out b.png --max 50").status == 0
    from numbragg.cli.view import _experiment

    size = max(assemble(_experiment("a.h5", {}, [], predict=False), read_image("a.h5")).picture.shape)
    zoom = 1000 // size
    part, whole = inner("a.png")[::10, ::10], inner("b.png")[::zoom, ::zoom]
    assert part.shape[:2] == (50, 100)
    same = (part == whole[10:60, 20:120]).all(axis=-1)
    # All but the cross at the beam centre.
    assert same.mean() > 0.97


def test_negative_counts_on_panels_were_not_measured(files):
    """Clauses 75.2 and 75.8."""
    assert run("view a.npy --rings none --geometry a.h5 --out a.png").status == 0
    counts = np.load("a.npy")
    counts[1, 10:40, 20:60] = -1
    np.save("a.npy", counts)
    assert run("view a.npy --rings none --geometry a.h5 --out b.png").status == 0
    before, after = (float((inner(path) == INACTIVE_GREY).all(axis=-1).mean()) for path in ("a.png", "b.png"))
    share = 30 * 40 / counts.size
    # A picture of panels and gaps.
    assert 0.5 * share < after - before < share


@pytest.mark.parametrize("name", ["a.h5:0:1", "a.npy:1", "a.npy"])
def test_one_panel_is_drawn_alone(files, name):
    """Clause 75.14."""
    geometry = "" if name.startswith("a.h5") else "--geometry a.h5"
    choice = "--panel 1" if name == "a.npy" else ""
    assert run(f"view {name} {geometry} {choice} --out a.png").status == 0
    assert inner().shape == (SIZE[0] * 12, SIZE[1] * 12, 3)
    assert run("view a.npy:1 --out b.png").status == 0
    assert inner("b.png").shape == inner().shape


def test_a_stack_of_one_is_an_image(files):
    """Clause 75.14."""
    np.save("b.npy", np.load("a.npy")[:1])
    assert run("view b.npy --out a.png").status == 0
    assert run("view a.npy:0 --out b.png").status == 0
    np.testing.assert_array_equal(inner("a.png"), inner("b.png"))


def test_the_resolutions_of_a_lone_panel_are_its_own(files):
    """Clause 75.14."""
    from numbragg.cli.view import _experiment

    alone = _experiment("a.h5:0:3", {}, [], predict=False)
    slow, fast = np.random.default_rng(0).uniform(0, 59, (2, 9))
    expected = resolution_at(experiment_of().of_panel(3), slow, fast)
    np.testing.assert_allclose(resolution_at(alone, slow, fast), expected, rtol=1e-6)


WRONG = {
    "no geometry": ("view a.npy --out a.png", "a.npy holds 4 panels: give --geometry FILE"),
    "one panel for four": ("view a.npy --out a.png -distance 50 -pixel 0.2", "a.npy has 4 panels of 80 x 60 pixels"),
    "four panels for one": ("view b.npy --out a.png --geometry a.h5", "the geometry 4 panels of 80 x 60 pixels"),
    "panel beyond": ("view a.npy:4 --out a.png", "panel 4 asked for, but there are 4"),
    "panel of NXmx beyond": ("view a.h5:0:4 --out a.png", "panel 4 asked for, but there are 4"),
    "raw of another size": ("view b.bin --out a.png --geometry a.h5", "not 4 panels of 60 x 80"),
    "number of a raw file": ("view a.bin:1 --out a.png --geometry a.h5", "has no use for :1"),
    "two numbers of an array": ("view a.npy:0:1 --out a.png", "has no use for :0:1"),
    "region beyond": ("view a.h5 --out a.png --roi 0 900 0 10", "must lie within"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_with_one_line(files, name):
    """Clauses 70.11 and 75.14."""
    np.save("b.npy", np.zeros(SIZE))
    write_float("b.bin", np.zeros(SIZE))
    command, message = WRONG[name]
    outcome = run(command)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("a.png").exists()


def test_a_long_heading_fits_above_the_picture():
    """Clause 75.7."""
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from numbragg.viewing import View, draw_view

    experiment = experiment_of([panel_at((x, 14 * x, 0)) for x in (0, 1)])
    assembled = assemble(experiment, blank(experiment))
    figure = Figure()
    FigureCanvasAgg(figure)
    draw_view(figure, View(assembled.picture, experiment=assembled.experiment, assembly=assembled))
    (heading,) = (text for text in figure.texts if "2 panels" in text.get_text())
    assert heading.get_window_extent().x1 <= figure.bbox.width
    assert heading.get_window_extent().width > 0.7 * figure.bbox.width


def test_a_window_tells_panel_and_pixel(files, windows):
    """Clause 75.8."""
    assert run("view a.npy --geometry a.h5").status == 0
    (figure,) = windows
    text = figure.axes[0].format_coord(20.0, 20.0)
    image = np.load("a.npy")
    panel, fast, slow = text.split()[1], *(text.split()[i] for i in (4, 6))
    assert text.startswith(f"panel {panel} (nw) fast {fast} slow {slow}   ")
    assert f"   {image[int(panel), int(slow), int(fast)]:g} counts   " in text
    height = figure.axes[0].get_ylim()[0] / 2
    width = figure.axes[0].get_xlim()[1] / 2
    assert figure.axes[0].format_coord(width, height).startswith("between the panels")
    assert any("4 panels of 80 x 60 on " in words.get_text() for words in figure.texts)


# Comparing panels


def test_panels_are_compared_one_at_a_time(files):
    """Clause 70.11."""
    outcome = run("compare a.npy:1 a.h5:0:1")
    assert outcome.status == 0
    assert "correlation 1," in outcome.out
    for name in ("a.npy", "a.h5"):
        outcome = run(f"compare {name} a.npy:0")
        assert outcome.status == 5
        assert f"{name} holds 4 panels: compare one at a time" in outcome.err
        assert outcome.err.count("\n") == 1
    image = np.load("a.npy")
    np.testing.assert_array_equal(read_image("a.npy"), image)
    np.testing.assert_array_equal(read_image("a.npy:2"), image[2])
    np.testing.assert_array_equal(read_image("a.h5"), image)
    np.testing.assert_array_equal(read_image("a.h5:0:3"), image[3])


def test_a_file_of_the_whole_name_comes_before_numbers(tmp_path, monkeypatch):
    """Clause 70.11."""
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.zeros((2, 3, 4)))
    with open("a.npy:1", "wb") as stream:
        np.save(stream, np.ones((5, 6)))
    assert read_image("a.npy:1").shape == (5, 6)
    assert read_image("a.npy:0").shape == (3, 4)
    with pytest.raises(NumbraggError, match="no such file"):
        read_image("b.npy:1")
