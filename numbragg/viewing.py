"""A diffraction image to look at: grey pixels, resolution rings, beam centre, predicted spots (specs/75-view.md)."""

import math
import os
import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.assembly import Assembly
from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.contrast import Contrast, choose_contrast, reduce_blocks
from numbragg.io.figures import require_matplotlib
from numbragg.io.png import INACTIVE_GREY
from numbragg.io.region import roi_slices
from numbragg.lowering.rays import detector_points, resolution_at, ring_points
from numbragg.models.experiment import Experiment
from numbragg.prediction import Predictions

LONGEST_SIDE = 1200
"""Pixels of the picture; a larger image is reduced by whole-number blocks."""
SHORTEST_SIDE = 1000
"""A smaller image is magnified by a whole number."""
DPI = 100
LEFT, RIGHT, BOTTOM, TOP = 62, 96, 46, 58
"""Margins for axes, colour bar and heading, pixels."""

RING_COLOUR, SPOT_COLOUR, HALO = "#0072B2", "#D55E00", "white"
"""Blue and vermilion of Okabe and Ito: told apart from each other and from grey with any colour vision."""

RINGS = 5
ROUND_RESOLUTIONS = (
    *(100.0, 70.0, 50.0, 40.0, 30.0, 25.0, 20.0, 15.0, 12.0, 10.0, 8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.7, 2.5),
    *(2.3, 2.1, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6),
    *(0.55, 0.5, 0.45, 0.4, 0.35, 0.3),
)

MOST_LABELS = 60
HEIGHT_OF_LETTER, WIDTH_OF_LETTER = 1.5, 0.82
"""Pixels of the picture for each point of the size of a letter."""
SIZE_OF_CAPTION, WIDTH_OF_CAPTION = 8.0, 6.9
"""Points, and pixels that a letter of this size takes; a long caption has smaller ones."""
SMALLEST_CIRCLE = 5.0
"""Radius, pixels of the picture: the spot stays visible in it."""

Image = npt.NDArray[np.generic]
Roi = tuple[int, int, int, int]


class View(NamedTuple):
    """What is drawn of an image."""

    pixels: Image
    """(slow, fast)."""
    title: str = ""
    unit: str = "photons"
    experiment: Experiment | None = None
    """Detector and beam; None draws no rings and no beam centre."""
    rings: tuple[float, ...] | None = None
    """Resolutions, angstrom; None chooses."""
    spots: Predictions | None = None
    """In the pixels of ``pixels``."""
    roi: Roi | None = None
    """First and last fast, first and last slow pixel, inclusive; None draws all."""
    maximum: float | None = None
    """Value drawn black; None chooses."""
    active: npt.NDArray[np.bool_] | None = None
    """(slow, fast); the other pixels are drawn in a grey of their own."""
    assembly: Assembly | None = None
    """Of several panels: how ``pixels``, its picture, are made up."""


def write_view(path: str | os.PathLike[str], view: View) -> None:
    """Draw an image into a PNG.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    view
        What to draw.

    Raises
    ------
    NumbraggError
        matplotlib is missing, a number is out of range, or the file cannot be written.

    Notes
    -----
    Source: ``specs/75-view.md``, clauses 75.1 to 75.9.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure()
    draw_view(figure, view)
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})


def show_view(view: View) -> None:
    """Draw an image into a window, and wait until it is closed.

    Raises
    ------
    NumbraggError
        There is no display, matplotlib has no toolkit for windows, or what `write_view` refuses.
    """
    require_matplotlib()
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise NumbraggError("there is no display for a window: give --out FILE.png")
    from matplotlib import pyplot

    figure = pyplot.figure()
    if getattr(figure.canvas, "required_interactive_framework", None) is None:
        pyplot.close(figure)
        raise NumbraggError("matplotlib finds no toolkit for windows (Tk or Qt): give --out FILE.png")
    draw_view(figure, view)
    pyplot.show()


def draw_view(figure: Any, view: View) -> None:
    """Draw an image into an empty figure of matplotlib, one block of pixels a pixel of the picture."""
    rows, columns = roi_slices(view.roi, _checked_shape(view))
    longest = max(rows.stop - rows.start, columns.stop - columns.start)
    factor, zoom = math.ceil(longest / LONGEST_SIDE), max(1, SHORTEST_SIDE // longest)
    active = None if view.active is None else view.active[rows, columns]
    blocks = reduce_blocks(view.pixels[rows, columns], factor, active)
    whole = blocks
    if view.roi is not None:
        # The contrast is that of the whole image, so that a region looks as it does there.
        whole = reduce_blocks(view.pixels, math.ceil(max(view.pixels.shape) / LONGEST_SIDE), view.active)
    contrast = choose_contrast(whole[np.isfinite(whole)], high=view.maximum)
    axes = _axes(figure, blocks.shape[1] * zoom, blocks.shape[0] * zoom)
    edges = columns.start - 0.5, rows.start - 0.5
    extent = (edges[0], edges[0] + blocks.shape[1] * factor, edges[1] + blocks.shape[0] * factor, edges[1])
    darkness = contrast.darkness(blocks)
    drawn = axes.imshow(darkness, cmap=_greys(), vmin=0.0, vmax=1.0, extent=extent, interpolation="nearest")
    _colour_bar(figure, axes, drawn, contrast, view.unit)
    axes.set(xlabel="fast (pixel)", ylabel="slow (pixel)")
    axes.tick_params(labelsize=8)
    figure.text(
        LEFT / figure.bbox.width, 1 - 14 / figure.bbox.height, view.title, va="center", fontsize=11, parse_math=False
    )
    caption = _caption(view)
    size = SIZE_OF_CAPTION * min(1.0, (figure.bbox.width - LEFT) / (WIDTH_OF_CAPTION * len(caption)))
    figure.text(LEFT / figure.bbox.width, 1 - 36 / figure.bbox.height, caption, va="center", fontsize=size)
    labels = _Labels(axes, zoom / factor)
    if view.experiment is not None:
        _draw_rings(labels, view.experiment, _rings(view.experiment, view.rings))
        _draw_beam(axes, view.experiment)
        _tell_position(axes, view)
    if view.spots is not None:
        _draw_spots(labels, view.spots.only(_inside(view.spots, view)))
    axes.set(xlim=extent[:2], ylim=extent[2:])


def _checked_shape(view: View) -> tuple[int, int]:
    shape = view.pixels.shape
    if len(shape) != 2 or view.pixels.size == 0:
        raise NumbraggError(f"a view needs an image (slow, fast), not one of shape {shape}")
    if view.assembly is not None and view.assembly.number.shape != shape:
        raise NumbraggError(f"a view needs the picture of its assembly, {view.assembly.number.shape}, not {shape}")
    if view.experiment is not None and view.experiment.detector.shape != shape:
        slow, fast = view.experiment.detector.shape
        raise NumbraggError(
            f"the image has {shape[1]} x {shape[0]} pixels (fast x slow), the geometry {fast} x {slow}: "
            "give -detpixels_f and -detpixels_s"
        )
    for d in view.rings or ():
        if not (math.isfinite(d) and d > 0):
            raise NumbraggError(f"a resolution ring must lie above 0 angstrom, not at {d:g}")
    return shape[0], shape[1]


def _axes(figure: Any, width: int, height: int) -> Any:
    """Axes of exactly so many pixels."""
    whole = width + LEFT + RIGHT, height + BOTTOM + TOP
    figure.set_dpi(DPI)
    figure.set_size_inches(whole[0] / DPI, whole[1] / DPI)
    axes = figure.add_axes((LEFT / whole[0], BOTTOM / whole[1], width / whole[0], height / whole[1]))
    for spine in axes.spines.values():
        spine.set_position(("outward", 2))
    return axes


def _greys() -> Any:
    from matplotlib import colormaps

    return colormaps["gray_r"].with_extremes(bad=str(INACTIVE_GREY / 255))


def _colour_bar(figure: Any, axes: Any, drawn: Any, contrast: Contrast, unit: str) -> None:
    box = axes.get_position()
    width = figure.bbox.width
    bar = figure.add_axes((box.x1 + 14 / width, box.y0, 12 / width, box.height))
    ticks = np.linspace(0.0, 1.0, 7)
    # Three digits, and no power of ten where the number is not long.
    texts = [f"{float(f'{value:.3g}'):.7g}" for value in contrast.value(ticks)]
    figure.colorbar(drawn, cax=bar, ticks=ticks).set_ticklabels(texts)
    bar.tick_params(labelsize=8)
    bar.set_title(unit, fontsize=8)


def _caption(view: View) -> str:
    slow, fast = view.pixels.shape
    parts = [f"{fast} x {slow} pixels"]
    if view.assembly is not None:
        panels, *size = view.assembly.shape
        parts[0] = f"{panels} panels of {size[1]} x {size[0]} on {parts[0]}"
    if view.experiment is not None:
        detector, beam = view.experiment.detector, view.experiment.beam
        centre = detector_points(view.experiment, beam.direction)
        parts[0] += f" of {detector.pixel_size:g} mm"
        parts += [f"distance {abs(float(detector.distance)):g} mm", f"wavelength {float(beam.wavelength):g} \u00c5"]
        if np.isfinite(centre).all():
            parts.append(f"beam at fast {float(centre[1]):.1f}, slow {float(centre[0]):.1f}")
    if view.spots is not None:
        parts.append(f"{np.count_nonzero(_inside(view.spots, view))} predicted")
    return "   ".join(parts)


def _inside(spots: Predictions, view: View) -> npt.NDArray[np.bool_]:
    """Which spots lie on what is drawn."""
    rows, columns = roi_slices(view.roi, _checked_shape(view))
    inside = (spots.slow >= rows.start - 0.5) & (spots.slow <= rows.stop - 0.5)
    return np.asarray(inside & (spots.fast >= columns.start - 0.5) & (spots.fast <= columns.stop - 0.5))


def onto_picture(spots: Predictions, assembly: Assembly) -> Predictions:
    """Predictions of several panels in pixels of the picture; those that it does not show are left out."""
    slow, fast, size = assembly.place(spots.panel, spots.slow, spots.fast)
    return spots._replace(slow=slow, fast=fast, radius=spots.radius * size).only(np.isfinite(slow))


def choose_rings(experiment: Experiment) -> tuple[float, ...]:
    """Round resolutions, coarse to fine, that divide the way from the beam to the farthest edge about evenly."""
    n_slow, n_fast = experiment.detector.shape
    slow, fast = np.array([0, n_slow - 1, n_slow / 2, n_slow / 2]), np.array([n_fast / 2, n_fast / 2, 0, n_fast - 1])
    finest = float(resolution_at(experiment, slow, fast).min())
    wavelength = float(experiment.beam.wavelength)
    reach = math.tan(2.0 * math.asin(min(0.7, wavelength / (2.0 * finest))))
    wanted = [wavelength / (2.0 * math.sin(0.5 * math.atan(reach * i / RINGS))) for i in range(1, RINGS + 1)]
    offered = [d for d in ROUND_RESOLUTIONS if d >= 0.98 * finest and 2.0 * d > wavelength]
    return tuple(
        sorted({min(offered, key=lambda d: abs(math.log(d / aim))) for aim in wanted if offered}, reverse=True)
    )


def _rings(experiment: Experiment, wanted: tuple[float, ...] | None) -> tuple[float, ...]:
    if wanted is None:
        return choose_rings(experiment)
    return tuple(d for d in wanted if 2.0 * d > float(experiment.beam.wavelength))


class _Labels:
    """Texts on the picture that do not cover each other.

    Parameters
    ----------
    axes
        With the image.
    scale
        Pixels of the picture for each pixel of the image.
    """

    def __init__(self, axes: Any, scale: float) -> None:
        self.axes, self.scale = axes, scale
        self.extent: tuple[float, float, float, float] = axes.get_images()[0].get_extent()
        self.taken = np.empty((0, 4))

    def write(self, fast: float, slow: float, text: str, colour: str, size: float, *, centred: bool) -> bool:
        """Write a text unless it covers another or leaves the picture, and tell whether it did."""
        from matplotlib.patheffects import withStroke

        width, height = (size * factor / self.scale for factor in (WIDTH_OF_LETTER * len(text), HEIGHT_OF_LETTER))
        start = fast - 0.5 * width if centred else fast
        box = np.array([start, start + width, slow - 0.5 * height, slow + 0.5 * height])
        left, right, bottom, top = self.extent
        fits = box[0] > left and box[1] < right and box[2] > top and box[3] < bottom
        if not fits or self.covers(box):
            return False
        self.taken = np.vstack([self.taken, box])
        self.axes.text(
            fast,
            slow,
            text,
            color=colour,
            fontsize=size,
            ha="center" if centred else "left",
            va="center",
            path_effects=[withStroke(linewidth=2.5, foreground=HALO)],
        )
        return True

    def covers(self, box: npt.NDArray[np.float64]) -> bool:
        """Whether a box (left, right, top, bottom) touches one that is taken."""
        a = self.taken
        return bool(((a[:, 0] < box[1]) & (a[:, 1] > box[0]) & (a[:, 2] < box[3]) & (a[:, 3] > box[2])).any())

    def take(
        self, fast: npt.NDArray[np.float64], slow: npt.NDArray[np.float64], reach: npt.NDArray[np.float64]
    ) -> None:
        """Keep squares around points free of texts."""
        boxes = np.stack([fast - reach, fast + reach, slow - reach, slow + reach], axis=1)
        self.taken = np.vstack([self.taken, boxes])


def _draw_rings(labels: _Labels, experiment: Experiment, rings: tuple[float, ...]) -> None:
    for d in rings:
        slow, fast = ring_points(experiment, d)
        labels.axes.plot(
            fast, slow, color=RING_COLOUR, linewidth=0.9, linestyle=(0, (6, 4)), alpha=0.85, scalex=False, scaley=False
        )
        place = _label_place(slow, fast, labels.extent)
        if place is not None:
            labels.write(*place, f"{d:g} \u00c5", RING_COLOUR, 10.0, centred=True)


def _label_place(slow: Any, fast: Any, extent: tuple[float, float, float, float]) -> tuple[float, float] | None:
    """The point of a ring highest up on its right half that lies well inside the picture: (fast, slow)."""
    left, right, bottom, top = extent
    margin = 0.03 * max(right - left, bottom - top)
    inside = (fast > left + margin) & (fast < right - margin) & (slow > top + margin) & (slow < bottom - margin)
    if not inside.any():
        return None
    middle = np.nanmean(fast), np.nanmean(slow)
    # Towards the upper right, where labels of all rings line up.
    score = np.where(inside, (fast - middle[0]) - (slow - middle[1]), -np.inf)
    best = int(np.argmax(score))
    return float(fast[best]), float(slow[best])


def _draw_beam(axes: Any, experiment: Experiment) -> None:
    slow, fast = (float(x) for x in detector_points(experiment, experiment.beam.direction))
    if math.isfinite(slow) and math.isfinite(fast):
        for width, colour in ((3.0, HALO), (1.3, RING_COLOUR)):
            axes.plot(
                [fast],
                [slow],
                marker="+",
                markersize=16,
                markeredgewidth=width,
                color=colour,
                scalex=False,
                scaley=False,
            )


def _draw_spots(labels: _Labels, spots: Predictions) -> None:
    """Circles around predicted spots, and the indices of the brightest where there is room."""
    from matplotlib.collections import EllipseCollection

    radius = np.maximum(1.5 * spots.radius + 1.5, SMALLEST_CIRCLE / labels.scale)
    circles = EllipseCollection(
        2 * radius,
        2 * radius,
        np.zeros(len(radius)),
        units="xy",
        offsets=np.stack([spots.fast, spots.slow], axis=1),
        offset_transform=labels.axes.transData,
        facecolors="none",
        edgecolors=SPOT_COLOUR,
        linewidths=0.9,
    )
    labels.axes.add_collection(circles)
    labels.take(spots.fast, spots.slow, 0.9 * radius)
    written = 0
    for spot in np.argsort(-spots.peak, kind="stable"):
        text = "{} {} {}".format(*spots.hkl[spot])
        fast = float(spots.fast[spot] + radius[spot]) + 1 / labels.scale
        written += labels.write(fast, float(spots.slow[spot]), text, SPOT_COLOUR, 7.5, centred=False)
        if written == MOST_LABELS:
            break


def _name(assembly: Assembly, panel: int, slow: int, fast: int) -> str:
    name = f" ({assembly.names[panel]})" if assembly.names[panel] else ""
    return f"panel {panel}{name} fast {fast} slow {slow}"


def _tell_position(axes: Any, view: View) -> None:
    """Let a window say what lies under the pointer."""
    experiment = view.experiment

    def position(fast: float, slow: float) -> str:
        column, row = math.floor(fast + 0.5), math.floor(slow + 0.5)
        inside = 0 <= row < view.pixels.shape[0] and 0 <= column < view.pixels.shape[1]
        value = f"   {view.pixels[row, column]:g} {view.unit}" if inside else ""
        d = (
            ""
            if experiment is None or experiment.detector.curved
            else f"   {resolution_at(experiment, slow, fast):.2f} \u00c5"
        )
        if view.assembly is None:
            return f"fast {fast:.1f} slow {slow:.1f}{value}{d}"
        found = view.assembly.pixel_at(slow, fast)
        return f"between the panels{d}" if found is None else f"{_name(view.assembly, *found)}{value}{d}"

    axes.format_coord = position
