"""The image of a detector of several panels as one flat picture (specs/75-view.md, 75.8 and 75.9)."""

import dataclasses
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.lowering.detector_frame import MM, DetectorFrame, corner_points, frame_of, place_panels
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment

LARGEST_EDGE = 8192
"""Pixels of a picture."""
FLATTEST = math.cos(math.radians(80.0))
"""Cosine between a ray and the normal of the plane, or of the panel, below which a panel is not drawn."""
SMALLEST_PIXEL = 0.7
"""Edge of a pixel of a panel, in pixels of the picture, below which several rays look for it."""
EXACTLY = 1e-6
"""Pixels: where an edge of a panel is an edge of the picture, rounding decides nothing."""
AT_A_TIME = 500_000
"""Rays that are followed together."""

Image = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]


class Assembly(NamedTuple):
    """An image of several panels, laid out on one plane."""

    picture: Image
    """(slow, fast), in the number type of the image; NaN, -1 or 0 where no panel is."""
    active: npt.NDArray[np.bool_]
    """(slow, fast): where a pixel is shown that is simulated."""
    experiment: Experiment
    """With the one flat panel whose image the picture would be; without mask."""
    number: npt.NDArray[np.int32]
    """(slow, fast): which pixel of the image is shown, in raster order of (panel, slow, fast); -1 for none."""
    shape: tuple[int, ...]
    """(panel, slow, fast) of the image."""
    names: tuple[str, ...]
    """Of the panels."""
    to_picture: Matrix
    """Of each panel, (panel, 3, 3): takes (fast, slow, 1) to a multiple of those of the picture; NaN if left out."""

    def pixel_at(self, slow: float, fast: float) -> tuple[int, int, int] | None:
        """Panel, slow and fast of the pixel that is shown at a point of the picture; None where no panel is."""
        number = int(self._number_at(np.array(slow), np.array(fast)))
        if number < 0:
            return None
        panel, row, column = (int(index) for index in np.unravel_index(number, self.shape))
        return panel, row, column

    def place(
        self, panel: npt.NDArray[np.integer], slow: npt.ArrayLike, fast: npt.ArrayLike
    ) -> tuple[Matrix, Matrix, Matrix]:
        """Where points of panels are in the picture.

        Parameters
        ----------
        panel, slow, fast
            Number of the panel and position on it in pixels, shape (n,).

        Returns
        -------
        slow, fast
            Pixels of the picture, shape (n,); NaN where another panel is shown, or none.
        size
            Edge of a pixel of the panel there, in pixels of the picture: of a square of its area.
        """
        along_slow, along_fast = np.asarray(slow, dtype=float), np.asarray(fast, dtype=float)
        points, right, below = (
            _mapped(self.to_picture[panel], along_fast + i, along_slow + j) for i, j in ((0, 0), (1, 0), (0, 1))
        )
        (a, b), (c, d) = (right - points).T, (below - points).T
        size = np.sqrt(np.abs(a * d - b * c))
        shown = self._number_at(points[:, 1], points[:, 0])
        hidden = (shown >= 0) & (shown // math.prod(self.shape[1:]) != panel)
        points[hidden] = np.nan
        return points[:, 1], points[:, 0], size

    def _number_at(self, slow: Matrix, fast: Matrix) -> npt.NDArray[np.int32]:
        row, column = np.floor(slow + 0.5), np.floor(fast + 0.5)
        rows, columns = self.number.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        at = tuple(np.where(inside, x, 0).astype(int) for x in (row, column))
        return np.where(inside, self.number[at], np.int32(-1))


class _Grid(NamedTuple):
    """The plane of a picture, cut into pixels."""

    step: int  # pixels of the detector along a pixel of the picture
    first: npt.NDArray[np.int64]  # its first pixel (fast, slow), counted from the corner of the detector
    size: npt.NDArray[np.int64]  # pixels (fast, slow)
    to_picture: Matrix  # of each panel that is drawn, (n, 3, 3): (fast, slow, 1) of the panel to a multiple of those


def assemble(experiment: Experiment, image: npt.ArrayLike) -> Assembly:
    """Lay the panels of an image out on the plane of the detector's frame, as the sample sees them.

    Parameters
    ----------
    experiment
        Of several panels; all its parameters real.
    image
        Photons or counts per pixel, real, (panel, slow, fast).

    Returns
    -------
    Assembly
        The picture, (slow, fast), and the experiment with one panel whose pixels are those of the picture.

    Raises
    ------
    NumbraggError
        The image is not one of the detector, or none of the panels can be drawn.

    Warns
    -----
    NumbraggWarning
        Panels that cannot be drawn are left out.

    Notes
    -----
    Source: ``specs/75-view.md``, clauses 75.8 and 75.9.
    """
    values, detector = np.ascontiguousarray(image), experiment.detector
    if not detector.has_panels:
        raise NumbraggError("the detector has one panel: there is nothing to put together")
    if values.shape != detector.shape or values.dtype.kind not in "biuf":
        raise NumbraggError(
            f"not an image (panel, slow, fast) of this detector, {detector.shape}, but {values.dtype} {values.shape}"
        )
    frame = frame_of(experiment)
    panels, _ = place_panels(frame.matrix, detector.panels)
    drawn = _drawn(detector, frame, panels[:, 3])
    pixel = detector.pixel_size * MM
    grid = _grid(frame, panels[drawn], pixel, detector.panel_shape)
    usable = experiment.active_mask() & np.isfinite(values)
    number = np.full(grid.size[::-1], -1, dtype=np.int32)
    middle = panels[:, 0] + 0.5 * pixel * (detector.n_fast * panels[:, 1] + detector.n_slow * panels[:, 2])
    distance = np.linalg.norm(middle[drawn], axis=1)
    # What is drawn later covers what is there.
    for place in np.argsort(distance, kind="stable")[::-1]:
        _draw(number, grid.to_picture[place], int(drawn[place]), values, usable)
    to_picture = np.full((len(panels), 3, 3), np.nan)
    to_picture[drawn] = grid.to_picture
    covered = number >= 0
    nothing = {"f": np.nan, "i": -1}.get(values.dtype.kind, 0)
    return Assembly(
        picture=np.where(covered, values.ravel()[number], np.asarray(nothing, dtype=values.dtype)),
        active=covered & usable.ravel()[number],
        experiment=_flat(experiment, frame, grid),
        number=number,
        shape=values.shape,
        names=tuple(panel.name for panel in detector.panels),
        to_picture=to_picture,
    )


def flat_picture(experiment: Experiment, image: Image) -> tuple[Image, npt.NDArray[np.bool_]]:
    """The picture of an image and which of its pixels are simulated, both (slow, fast); of one panel the image itself.

    Raises
    ------
    NumbraggError
        As of `assemble`.
    """
    if not experiment.detector.has_panels:
        return image, experiment.active_mask()
    assembled = assemble(experiment, image)
    return assembled.picture, assembled.active


def _drawn(detector: Detector, frame: DetectorFrame, normals: Matrix) -> npt.NDArray[np.intp]:
    """Numbers of the panels that the plane has a place for; the others are warned of."""
    corners = corner_points(detector, frame).reshape(4, -1, 3)
    with np.errstate(invalid="ignore"):
        rays = corners / np.linalg.norm(corners, axis=-1)[..., None]
    towards = rays @ frame.normal * np.sign(frame.close_distance)
    own = (rays * normals).sum(axis=-1)
    seen = ((towards > FLATTEST) & (own > FLATTEST)).all(axis=0)
    if not seen.any():
        raise NumbraggError("no panel of the detector can be drawn on its plane: all are seen too flat, or behind it")
    hidden = [f"{number} ({panel.name})" if panel.name else f"{number}" for number, panel in enumerate(detector.panels)]
    hidden = [text for text, shown in zip(hidden, seen, strict=True) if not shown]
    if hidden:
        more = f" and {len(hidden) - 8} more" if len(hidden) > 8 else ""
        warnings.warn(
            f"left out of the picture, seen too flat or behind its plane: panel{'s' if len(hidden) > 1 else ''} "
            f"{', '.join(hidden[:8])}{more}; FILE:PANEL or FILE.h5:IMAGE:PANEL draws one alone",
            NumbraggWarning,
            stacklevel=3,
        )
    return np.flatnonzero(seen)


def _grid(frame: DetectorFrame, panels: Matrix, pixel: float, shape: tuple[int, int]) -> _Grid:
    """Pixels of the detector's frame that the panels touch, or larger ones where that is too many."""
    from_panel = np.array([_pixels_to_rays(panel, pixel) for panel in panels])
    step = 1
    while True:
        to_picture = np.linalg.solve(_pixels_to_rays(frame.matrix, step * pixel), from_panel)
        boxes = np.array([_box(matrix, shape) for matrix in to_picture])
        first, last = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
        size = last - first + 1
        if size.max() <= LARGEST_EDGE:
            break
        step = max(step + 1, step * int(size.max()) // LARGEST_EDGE)
    shift = np.eye(3)
    shift[:2, 2] = -first
    return _Grid(step, first, size, shift @ to_picture)


def _pixels_to_rays(frame: Matrix, pixel: float) -> Matrix:
    """Matrix that takes (fast, slow, 1), in pixels of a plane, to the point in the laboratory."""
    origin, fast, slow = frame[0], pixel * frame[1], pixel * frame[2]
    return np.stack([fast, slow, origin + 0.5 * (fast + slow)], axis=1)


def _box(to_picture: Matrix, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """First and last pixel of the picture that a panel touches, (2, 2): fast and slow of each."""
    corners = _mapped(to_picture, *_corners(shape, 0.5))
    first = np.floor(corners.min(axis=0) + 0.5 + EXACTLY)
    return np.array([first, np.maximum(first, np.ceil(corners.max(axis=0) - 0.5 - EXACTLY))]).astype(np.int64)


def _corners(shape: tuple[int, int], beyond: float) -> tuple[Matrix, Matrix]:
    """Fast and slow of the corner pixels of a panel, moved out by so many pixels."""
    fast, slow = (np.array([-beyond, count - 1 + beyond]) for count in shape[::-1])
    return np.repeat(fast, 2), np.tile(slow, 2)


def _mapped(to_picture: Matrix, fast: Matrix, slow: Matrix) -> Matrix:
    """Points (n, 2), fast and slow, that a projection, or one for each point, takes points to."""
    points = (to_picture @ np.stack([fast, slow, np.ones_like(fast)], axis=-1)[..., None])[..., 0]
    return np.asarray(points[:, :2] / points[:, 2:])


def _rays_a_pixel(to_picture: Matrix, shape: tuple[int, int]) -> int:
    """Rays, along an edge of a pixel of the picture, of which one meets every pixel of the panel."""
    fast, slow = _corners(shape, 0.0)
    here = _mapped(to_picture, fast, slow)
    edges = [_mapped(to_picture, fast + i, slow + 1 - i) - here for i in (0, 1)]
    smallest = float(np.linalg.norm(edges, axis=-1).min())
    return 1 if smallest >= SMALLEST_PIXEL else math.ceil(1.0 / smallest)


def _draw(
    number: npt.NDArray[np.int32], to_picture: Matrix, panel: int, values: Image, usable: npt.NDArray[np.bool_]
) -> None:
    """Fill in which pixels of one panel are shown where."""
    shape = values.shape[1], values.shape[2]
    (left, top), (right, bottom) = (corner.tolist() for corner in _box(to_picture, shape))
    rays, back = _rays_a_pixel(to_picture, shape), np.asarray(np.linalg.inv(to_picture), dtype=np.float64)
    offsets = np.array([(ray + 0.5) / rays - 0.5 for ray in range(rays)])
    fast = np.add.outer(np.arange(left, right + 1), offsets).ravel()
    rows_at_a_time = max(1, AT_A_TIME // (rays * fast.size))
    for first in range(top, bottom + 1, rows_at_a_time):
        end = min(first + rows_at_a_time, bottom + 1)
        slow = np.add.outer(np.arange(first, end), offsets).ravel()
        found = _met(back, fast, slow, shape)
        found[found >= 0] += panel * shape[0] * shape[1]
        if rays > 1:
            found = _brightest(found, rays, values, usable)
        part = number[first:end, left : right + 1]
        part[found >= 0] = found[found >= 0]


def _met(back: Matrix, fast: Matrix, slow: Matrix, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Number of the pixel of a panel that the rays through points of the picture meet; -1 where they miss it."""
    across, along_fast, along_slow = (
        np.add.outer(back[row, 1] * slow + back[row, 2], back[row, 0] * fast) for row in (2, 0, 1)
    )
    ahead = across > 0
    across[~ahead] = 1.0
    row, column = (np.floor(along / across + (0.5 + EXACTLY)) for along in (along_slow, along_fast))
    inside = ahead & (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    return np.where(inside, row * shape[1] + column, -1.0).astype(np.int32)


def _brightest(
    found: npt.NDArray[np.int32], rays: int, values: Image, usable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    """Of each square block of rays the one whose pixel is brightest; one that was not measured if there is no other."""
    rows, columns = (length // rays for length in found.shape)
    blocks = found.reshape(rows, rays, columns, rays).transpose(0, 2, 1, 3).reshape(rows, columns, rays * rays)
    worth = np.where(usable.ravel()[blocks], values.ravel()[blocks], np.finfo(np.float64).min)
    best = np.where(blocks < 0, -np.inf, worth).argmax(axis=-1)
    return np.take_along_axis(blocks, best[..., None], axis=-1)[..., 0]


def _flat(experiment: Experiment, frame: DetectorFrame, grid: _Grid) -> Experiment:
    """The experiment with one panel, whose pixels are those of the picture."""
    pixel = experiment.detector.pixel_size * grid.step
    along_fast, along_slow = (float(count) * pixel for count in grid.first)
    detector = dataclasses.replace(
        experiment.detector,
        panels=(),
        n_fast=int(grid.size[0]),
        n_slow=int(grid.size[1]),
        pixel_size=pixel,
        origin=frame.origin + MM * (along_fast * frame.fast + along_slow * frame.slow),
        fast_axis=frame.fast,
        slow_axis=frame.slow,
        normal=frame.normal,
        beam_fast=experiment.detector.beam_fast - along_fast,
        beam_slow=experiment.detector.beam_slow - along_slow,
        rot_x=0.0,
        rot_y=0.0,
        rot_z=0.0,
        twotheta=0.0,
    )
    return dataclasses.replace(experiment, detector=detector, mask=None)
