"""Boxes of pixels around predicted spots, with the background under each."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models.experiment import Experiment
from numbragg.models.panel import as_rows
from numbragg.prediction import Predictions, predict_reflections
from numbragg.refinement.backgrounds import Kind, fit_backgrounds, standardise

Array = npt.NDArray[Any]
Image = npt.NDArray[np.float64]
Background = Literal["plane", "constant"] | npt.NDArray[np.float64] | None

PEAK_MARGIN = 1.0
"""Pixels around the expected spot that are not background either."""

BACKGROUND_MARGIN = 3
"""Pixels of background on each side of the peak, unless the size of the boxes is given."""

LEAST_BACKGROUND = 12
"""Pixels that a background is fitted to at least: four for each number of a plane."""

SIGNAL = 5.0
"""Standard deviations of the background above which a box holds a spot."""

NEGATIVE_SIGMAS = 6.0
"""Readout noises below 0 beyond which a count is no measurement."""

OUTLIER = 8.0
"""Robust standard deviations."""

BOX_SPREAD = 0.25
"""Least standard deviation that the root mean square of the scores of a box is taken to have."""

MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, eq=False)
class Shoeboxes:
    """Boxes of pixels around predicted spots (specs/55-refinement.md, 55.80 to 55.90).

    Parameters
    ----------
    reflections
        One row a box, B in all.
    limits
        First and last slow, first and last fast pixel of each box, both ends included, int, shape (B, 4).
    slow, fast, box
        Pixels of all boxes, one box after another, and the box of each, int, shape (P,). A pixel belongs to one box.
        Here and in ``reflections`` and ``limits`` slow counts the rows of several panels in one line: row r of panel p
        is p * n_slow + r.
    background
        Photons, shape (P,).
    used
        Pixels that are evidence, shape (P,): not those that are masked, overloaded, negative, not finite or outliers.
    notes
        What was dropped and why, one line each.
    """

    reflections: Predictions
    limits: npt.NDArray[np.intp]
    slow: npt.NDArray[np.intp]
    fast: npt.NDArray[np.intp]
    box: npt.NDArray[np.intp]
    background: npt.NDArray[np.float64]
    used: npt.NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.limits)


class _Pixels(NamedTuple):
    """Pixels of boxes while they are sorted out, (P,) each."""

    slow: Array
    fast: Array
    box: Array
    peak: Array  # where some spot is expected
    usable: Array


def find_shoeboxes(
    experiment: Experiment,
    photons: npt.ArrayLike,
    *,
    mask: npt.NDArray[np.bool_] | None = None,
    background: Background = "plane",
    half_size: int | None = None,
    readout_sigma: float = 0.0,
    overload: float | None = None,
    d_min: float | None = None,
    reach: float = 1.0,
) -> Shoeboxes:
    """Cut boxes around the spots that an experiment predicts, and fit the background of each.

    Parameters
    ----------
    experiment
        What the image is thought to show. Pixels that it masks or that lie outside its region of interest are not used.
    photons
        The image, (slow, fast) or (panel, slow, fast), photons; the offset of the counts taken off, the gain divided
        out.
    mask
        Boolean, of the same shape: False where a pixel is not to be used.
    background
        "plane" or "constant": fitted to the pixels around each peak; an image of photons, of the same shape, which is
        taken as it is; or None for no background.
    half_size
        Pixels on each side of the centre's pixel. None: what the spot and 3 pixels of background take.
    readout_sigma
        Readout noise, photons.
    overload
        Photons from which on a pixel is overloaded.
    d_min
        Resolution limit, angstrom; None as of `numbragg.predict_reflections`.
    reach
        Width of lattice points as of `numbragg.predict_reflections`; more than 1 makes boxes for spots that a starting
        orientation misses by a little.

    Returns
    -------
    Shoeboxes
        Boxes of reflections that are simulated, in their order.

    Raises
    ------
    NumbraggError
        An image, mask or background of another shape; a number out of range; no reflection predicted, no pixel left to
        use, no box left, or no spot in the data.

    Notes
    -----
    Source: ``specs/55-refinement.md``, clauses 55.80 to 55.88.
    """
    image = _checked_image(experiment, photons, "the image")
    kind, given = _checked_background(experiment, background)
    _check_numbers(half_size, readout_sigma, overload)
    usable, notes = _usable(experiment, image, mask, readout_sigma, overload)
    reflections = predict_reflections(experiment, d_min=d_min, rotation="steps", reach=reach)
    if len(reflections.hkl) == 0:
        raise NumbraggError(
            "shoeboxes: no reflection is predicted on the detector; check cell, orientation, beam centre and d_min"
        )
    reflections, limits = _boxes(reflections, experiment.detector.panel_shape, half_size, notes)
    pixels = _pixels(reflections, limits, usable)
    kept = _with_enough_pixels(pixels, len(limits), fitted=kind is not None, notes=notes)
    reflections, limits, pixels = _only(kept, reflections, limits, pixels)
    if kind is None:
        level = np.zeros(len(pixels.box)) if given is None else given[pixels.slow, pixels.fast]
        fitted = pixels.usable & ~pixels.peak
    else:
        level, fitted = fit_backgrounds(
            image,
            (pixels.slow, pixels.fast),
            pixels.box,
            pixels.usable & ~pixels.peak,
            kind=kind,
            readout_sigma=readout_sigma,
        )
    _require_spots(image, pixels, level, fitted, readout_sigma)
    return Shoeboxes(reflections, limits, pixels.slow, pixels.fast, pixels.box, level, pixels.usable, tuple(notes))


def drop_outliers(
    shoeboxes: Shoeboxes,
    photons: npt.NDArray[np.float64],
    model: npt.NDArray[np.float64],
    variance: npt.NDArray[np.float64],
    *,
    cutoff: float = OUTLIER,
) -> Shoeboxes:
    """Take pixels, and whole boxes, that a model does not explain out of use.

    Parameters
    ----------
    shoeboxes
        Boxes; pixels that they do not use stay unused.
    photons
        The image, (slow, fast) or (panel, slow, fast), or its values at the pixels of the boxes, (P,).
    model, variance
        Expected photons, background included, and their variance, above 0, at the pixels of the boxes, (P,).
    cutoff
        Robust standard deviations beyond which something is an outlier.

    Returns
    -------
    Shoeboxes
        The same boxes and pixels; ``used`` and ``notes`` differ.

    Notes
    -----
    Source: ``specs/55-refinement.md``, clause 55.89.
    """
    values = np.asarray(photons)
    values = as_rows(values)[shoeboxes.slow, shoeboxes.fast] if values.ndim > 1 else values
    if not (len(values) == len(model) == len(variance) == len(shoeboxes.box)):
        raise NumbraggError(
            f"shoeboxes: photons, model and variance need one number for each of {len(shoeboxes.box)} pixels"
        )
    if not cutoff > 0:
        raise NumbraggError(f"shoeboxes: the cutoff of outliers must be above zero, not {cutoff:g}")
    used, box = shoeboxes.used, shoeboxes.box
    score = np.zeros(len(box))
    score[used] = (values[used] - model[used]) / np.sqrt(variance[used])
    middle, spread = _median_and_mad(score[used], box[used], len(shoeboxes))
    # Of few photons most scores are alike and their MAD is small: noise of 1 is what the variance stands for.
    strange = used & (np.abs(score - middle[box]) > cutoff * np.maximum(1.0, spread)[box])
    left = used & ~strange
    number = np.bincount(box, left, len(shoeboxes))
    size = np.sqrt(np.bincount(box, np.where(left, score**2, 0.0), len(shoeboxes)) / np.maximum(number, 1))
    filled = number > 0
    usual, usual_spread = _median_and_mad(size[filled], np.zeros(int(filled.sum()), dtype=int), 1)
    wrong = filled & (size > usual[0] + cutoff * max(usual_spread[0], BOX_SPREAD))
    notes = list(shoeboxes.notes)
    _note(notes, int(np.count_nonzero(strange)), "outlying pixel is not used", "outlying pixels are not used")
    _note(
        notes,
        int(np.count_nonzero(wrong)),
        "box that the model does not explain is not used",
        "boxes that the model does not explain are not used",
    )
    return replace(shoeboxes, used=left & ~wrong[box], notes=tuple(notes))


def _checked_image(experiment: Experiment, image: npt.ArrayLike, what: str) -> Image:
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise NumbraggError(f"shoeboxes: {what} must hold real numbers, not {array.dtype}")
    shape = experiment.detector.shape
    if array.shape != shape:
        axes = "(panel, slow, fast)" if experiment.detector.has_panels else "(slow, fast)"
        raise NumbraggError(f"shoeboxes: {what} has shape {array.shape}, the detector {shape} {axes}")
    return as_rows(array.astype(np.float64, copy=False))


def _checked_background(experiment: Experiment, background: Background) -> tuple[Kind | None, Image | None]:
    if background is None:
        return None, None
    if not isinstance(background, str):
        given = _checked_image(experiment, background, "the background")
        if not (np.isfinite(given).all() and (given >= 0).all()):
            raise NumbraggError("shoeboxes: the background has pixels that are negative or not finite")
        return None, given
    if background not in get_args(Kind):
        raise NumbraggError(f"shoeboxes: the background must be plane, constant, an image or None, not {background}")
    return background, None


def _check_numbers(half_size: int | None, readout_sigma: float, overload: float | None) -> None:
    if half_size is not None and (half_size != int(half_size) or half_size < 1):
        raise NumbraggError(f"shoeboxes: half_size must be a whole number of at least 1, not {half_size}")
    if not (np.isfinite(readout_sigma) and readout_sigma >= 0):
        raise NumbraggError(f"shoeboxes: readout_sigma must not be negative, but is {readout_sigma:g}")
    if overload is not None and not overload > 0:
        raise NumbraggError(f"shoeboxes: the overload must be above zero, not {overload:g}")


def _note(notes: list[str], count: int, one: str, many: str) -> None:
    if count:
        notes.append(f"{count} {one if count == 1 else many}")


def _usable(
    experiment: Experiment,
    image: Image,
    mask: npt.NDArray[np.bool_] | None,
    readout_sigma: float,
    overload: float | None,
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Pixels of the whole image that can be used, and notes about the others."""
    usable = as_rows(experiment.active_mask())
    notes: list[str] = []
    if mask is not None:
        if np.shape(mask) != experiment.detector.shape:
            raise NumbraggError(
                f"shoeboxes: the mask has shape {np.shape(mask)}, the image {experiment.detector.shape} (slow, fast)"
            )
        usable &= as_rows(np.asarray(mask, dtype=bool))
    if not usable.any():
        raise NumbraggError("shoeboxes: every pixel is masked: nothing is left to look at")
    limit = np.inf if overload is None else overload
    refused = (
        (~np.isfinite(image), "not a finite number"),
        (image < -NEGATIVE_SIGMAS * readout_sigma, "negative beyond the readout noise"),
        (image >= limit, f"at or above the overload of {limit:g}"),
    )
    for wrong, why in refused:
        _note(notes, int(np.count_nonzero(usable & wrong)), f"pixel is {why}: not used", f"pixels are {why}: not used")
        usable &= ~wrong
    if not usable.any():
        raise NumbraggError(f"shoeboxes: no pixel can be used ({'; '.join(notes)})")
    return usable, notes


def _boxes(
    reflections: Predictions, shape: tuple[int, ...], half_size: int | None, notes: list[str]
) -> tuple[Predictions, Array]:
    """Limits of the boxes of reflections whose spots lie inside a panel of this shape; boxes are cut at its edges.

    Slow is counted through all panels from here on.
    """
    peak = reflections.radius + PEAK_MARGIN
    inside = np.ones(len(peak), dtype=bool)
    limits = []
    for centre, pixels in ((reflections.slow, shape[0]), (reflections.fast, shape[1])):
        inside &= (centre - reflections.radius >= -0.5) & (centre + reflections.radius <= pixels - 0.5)
        half = np.ceil(peak).astype(int) + BACKGROUND_MARGIN if half_size is None else int(half_size)
        middle = np.rint(centre).astype(int)
        limits += [np.maximum(middle - half, 0), np.minimum(middle + half, pixels - 1)]
    _note(
        notes,
        int(np.count_nonzero(~inside)),
        "reflection lies across the edge of the image",
        "reflections lie across the edge of the image",
    )
    if not inside.any():
        raise NumbraggError(
            f"shoeboxes: all of {len(inside)} predicted spots reach beyond the edges of the image: their radius is "
            f"{np.median(reflections.radius):.3g} pixels; check n_cells, mosaic spread and pixel size"
        )
    rows_before = reflections.panel * shape[0]
    stacked = reflections._replace(slow=reflections.slow + rows_before)
    limits[:2] = [limit + rows_before for limit in limits[:2]]
    return stacked.only(inside), np.stack(limits, axis=1)[inside]


def _pixels(reflections: Predictions, limits: Array, usable: npt.NDArray[np.bool_]) -> _Pixels:
    """Pixels of all boxes, each in the box of the nearest centre."""
    columns = limits[:, 3] - limits[:, 2] + 1
    counts = (limits[:, 1] - limits[:, 0] + 1) * columns
    box = np.repeat(np.arange(len(limits)), counts)
    within = np.arange(len(box)) - np.repeat(np.cumsum(counts) - counts, counts)
    slow, fast = limits[box, 0] + within // columns[box], limits[box, 2] + within % columns[box]
    distance = np.hypot(slow - reflections.slow[box], fast - reflections.fast[box])
    peaks = np.zeros(usable.shape, dtype=bool)
    in_peak = distance <= reflections.radius[box] + PEAK_MARGIN
    peaks[slow[in_peak], fast[in_peak]] = True
    order = np.lexsort((box, distance, slow * usable.shape[1] + fast))
    number = (slow * usable.shape[1] + fast)[order]
    own = np.sort(order[np.diff(number, prepend=-1) != 0])
    slow, fast = slow[own], fast[own]
    return _Pixels(slow, fast, box[own], peaks[slow, fast], usable[slow, fast])


def _with_enough_pixels(pixels: _Pixels, count: int, *, fitted: bool, notes: list[str]) -> Array:
    """Boxes that have usable pixels in the peak and, for a fit, around it."""
    in_peak = np.bincount(pixels.box, pixels.usable & pixels.peak, count) > 0
    around = np.bincount(pixels.box, pixels.usable & ~pixels.peak, count) >= LEAST_BACKGROUND
    _note(
        notes,
        int(np.count_nonzero(~in_peak)),
        "box has no usable pixel in its peak",
        "boxes have no usable pixel in their peaks",
    )
    kept = in_peak
    if fitted:
        poor = int(np.count_nonzero(in_peak & ~around))
        _note(
            notes,
            poor,
            f"box has fewer than {LEAST_BACKGROUND} pixels of background",
            f"boxes have fewer than {LEAST_BACKGROUND} pixels of background",
        )
        kept = in_peak & around
    if not kept.any():
        raise NumbraggError(f"shoeboxes: no box is left ({'; '.join(notes)}); try another half_size or mask")
    return kept


def _only(kept: Array, reflections: Predictions, limits: Array, pixels: _Pixels) -> tuple[Predictions, Array, _Pixels]:
    """Leave out boxes, and number those that are left anew."""
    stay = kept[pixels.box]
    pixels = _Pixels(*(column[stay] for column in pixels))
    renumbered = (np.cumsum(kept) - 1)[pixels.box]
    return reflections.only(kept), limits[kept], pixels._replace(box=renumbered)


def _require_spots(image: Image, pixels: _Pixels, level: Array, fitted: Array, readout_sigma: float) -> None:
    """Refuse data in which no box holds more than the noise of its background."""
    count = int(pixels.box.max()) + 1
    signal = pixels.usable & ~fitted
    values = image[pixels.slow, pixels.fast]
    found = np.bincount(pixels.box, np.where(signal, values, 0.0), count).astype(np.float64)
    expected = np.bincount(pixels.box, np.where(signal, level, 0.0), count).astype(np.float64)
    # The noise of the sums, also where they are a few photons.
    noise = readout_sigma * np.sqrt(np.bincount(pixels.box, signal, count))
    score = standardise(found, noise) - standardise(expected, noise)
    if not score.max() > SIGNAL:
        raise NumbraggError(
            f"shoeboxes: no spots in the data: none of {count} boxes holds {SIGNAL:g} sigma above its background (the "
            f"best {score.max():.2g}); check orientation, beam centre, the offset of the counts and the gain"
        )


def _median_and_mad(values: Array, group: Array, count: int) -> tuple[Array, Array]:
    """Median of each group, and its median absolute deviation as a standard deviation; 0 for an empty group."""
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(1, count))
    medians, spreads = np.zeros(count), np.zeros(count)
    for number, part in enumerate(np.split(values[order], edges)):
        if len(part):
            medians[number] = np.median(part)
            spreads[number] = MAD_TO_SIGMA * np.median(np.abs(part - medians[number]))
    return medians, spreads
