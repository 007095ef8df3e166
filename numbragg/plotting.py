"""Pictures of comparisons, with matplotlib (``pip install numbragg[plot]``)."""

import math
import os
import warnings

import numpy as np
import numpy.typing as npt

from numbragg.comparison import checked_image, shape_text
from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.figures import require_matplotlib
from numbragg.io.region import roi_slices

LONGEST_SIDE = 1200
"""Pixels of a panel; a larger image is reduced by whole-number blocks."""

_IMAGE_MAP, _DIFFERENCE_MAP = "cividis", "PuOr"
_LOW_PERCENT, _HIGH_PERCENT = 1.0, 99.8
_LINEAR_SHARE = 0.02

Image = npt.NDArray[np.float64]


def plot_comparison(
    path: str | os.PathLike[str],
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    roi: tuple[int, int, int, int] | None = None,
    names: tuple[str, str] = ("A", "B"),
    unit: str = "photons",
) -> None:
    """Draw two images on a common scale and their difference, side by side, as a PNG.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    a, b
        Images A and B, (slow, fast), photons per pixel, of the same shape; finite.
    roi
        First and last fast, first and last slow pixel to draw, inclusive. None: all.
    names
        Titles of the two images.
    unit
        Unit of the pixels, for the colour bars.

    Raises
    ------
    NumbraggError
        matplotlib is missing, the images cannot be compared, or the file cannot be written.

    Notes
    -----
    The first row is on top. Large images are reduced by blocks, each drawn as its pixel farthest from 0, so that small
    spots stay visible. All scales are linear near 0 and logarithmic beyond. The difference A - B has white for 0.
    Source: ``specs/70-compare.md``, clause 70.22.
    """
    require_matplotlib()
    from matplotlib.colors import AsinhNorm
    from matplotlib.figure import Figure

    first, second = checked_image(a, names[0]), checked_image(b, names[1])
    if first.shape != second.shape:
        raise NumbraggError(f"the shapes differ: {shape_text(first)} in {names[0]}, {shape_text(second)} in {names[1]}")
    region = roi_slices(roi, (first.shape[0], first.shape[1]))
    first, second = first[region], second[region]
    extent = (region[1].start - 0.5, region[1].stop - 0.5, region[0].stop - 0.5, region[0].start - 0.5)
    panels = [_reduced(values) for values in (first, second, first - second)]
    low, high = _limits(panels[:2])
    reach = float(np.abs(panels[2]).max()) or 1.0
    styles = [(_IMAGE_MAP, low, high), (_IMAGE_MAP, low, high), (_DIFFERENCE_MAP, -reach, reach)]
    titles = [f"A: {names[0]}", f"B: {names[1]}", "A - B"]
    figure = Figure(figsize=(18.0, 6.0), dpi=100, layout="constrained")
    for axes, values, title, (colours, bottom, top) in zip(figure.subplots(1, 3), panels, titles, styles, strict=True):
        width = _LINEAR_SHARE * max(abs(bottom), abs(top))
        scale = AsinhNorm(linear_width=width, vmin=bottom, vmax=top)
        drawn = axes.imshow(values, cmap=colours, norm=scale, extent=extent, interpolation="nearest")
        axes.set_title(title if len(title) <= 60 else f"{title[:3]}...{title[-54:]}", parse_math=False, fontsize=10)
        axes.set_xlabel("fast (pixel)")
        axes.set_ylabel("slow (pixel)")
        figure.colorbar(drawn, ax=axes, shrink=0.8, label=f"{unit} per pixel")
    with atomic_write(path) as stream, warnings.catch_warnings():
        # A title in a script that the font lacks is no reason to alarm anybody.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(stream, format="png", metadata={"Software": None})


def _reduced(values: Image) -> Image:
    """Reduce by square blocks to the value of each that lies farthest from 0."""
    factor = math.ceil(max(values.shape) / LONGEST_SIDE)
    high, low = values, values
    for axis in (0, 1) if factor > 1 else ():
        starts = np.arange(0, values.shape[axis], factor)
        high, low = np.maximum.reduceat(high, starts, axis=axis), np.minimum.reduceat(low, starts, axis=axis)
    return np.where(high >= -low, high, low)


def _limits(panels: list[Image]) -> tuple[float, float]:
    """Limits that both images share, so that equal colours mean equal values."""
    pairs = [np.percentile(panel, [_LOW_PERCENT, _HIGH_PERCENT]) for panel in panels]
    low, high = float(min(pair[0] for pair in pairs)), float(max(pair[1] for pair in pairs))
    if high > low:
        return low, high
    low, high = float(min(panel.min() for panel in panels)), float(max(panel.max() for panel in panels))
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))
