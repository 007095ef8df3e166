"""How well two images agree: pixel by pixel, and peak by peak."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.region import roi_slices
from numbragg.peaks import GATE, PERCENTILE, Image, Roi, find_peaks, match_peaks

FLOOR = 1.0
"""Photons; below it a relative difference says little."""

_LARGEST = float(np.finfo(np.float32).max)

Pixel = tuple[int, int]


@dataclass(frozen=True)
class PeakMatch:
    """Peaks of two images, matched.

    Attributes
    ----------
    percentile : float
        Percentile of the compared pixels that a peak lies above.
    gate : float
        Largest distance of a matched pair, pixels.
    count_a, count_b : int
        Peaks in each image.
    matched : int
        Pairs.
    mean_distance, rms_distance, max_distance : float or None
        Over the pairs, pixels; None when there is no pair.
    """

    percentile: float
    gate: float
    count_a: int
    count_b: int
    matched: int
    mean_distance: float | None
    rms_distance: float | None
    max_distance: float | None

    @property
    def unmatched_a(self) -> int:
        """Peaks of the first image without a partner."""
        return self.count_a - self.matched

    @property
    def unmatched_b(self) -> int:
        """Peaks of the second image without a partner."""
        return self.count_b - self.matched


@dataclass(frozen=True)
class Comparison:
    """Figures of agreement between image A and image B (specs/70-compare.md, clauses 70.1 to 70.10).

    Attributes
    ----------
    names : tuple of str
        What A and B are called.
    unit : str
        Unit of a pixel's value: photons, or what the caller says.
    shape : tuple of int
        Pixels (slow, fast) of each image.
    roi : tuple of int or None
        First and last fast, first and last slow pixel that were compared, inclusive; None: all.
    pixels : int
        Number of pixels compared.
    correlation : float or None
        Pearson's coefficient, -1 to 1; None when an image is constant, where it is undefined.
    sum_a, sum_b : float
        Sums over the compared pixels.
    sum_ratio : float or None
        ``sum_a / sum_b``; None when ``sum_b`` is 0.
    rmse : float
        Root of the mean square of A - B.
    max_difference : float
        Largest ``|A - B|``.
    max_difference_at : tuple of int
        Its pixel (slow, fast) in the whole image; the first of several in raster order.
    floor : float
        Smallest value at which a relative difference counts.
    max_relative_difference : float or None
        Largest ``|A - B| / max(|A|, |B|)`` where that maximum is positive and at least ``floor``; None when it is so
        nowhere.
    max_relative_difference_at : tuple of int or None
        Its pixel (slow, fast).
    peaks : PeakMatch
        Peaks of both and how far they lie apart.
    """

    names: tuple[str, str]
    unit: str
    shape: tuple[int, int]
    roi: Roi | None
    pixels: int
    correlation: float | None
    sum_a: float
    sum_b: float
    sum_ratio: float | None
    rmse: float
    max_difference: float
    max_difference_at: Pixel
    floor: float
    max_relative_difference: float | None
    max_relative_difference_at: Pixel | None
    peaks: PeakMatch

    def as_dict(self) -> dict[str, Any]:
        """Return everything as numbers, strings, None, lists and dictionaries (specs/70-compare.md, clause 70.10)."""
        values = dataclasses.asdict(self)
        values["peaks"] |= {"unmatched_a": self.peaks.unmatched_a, "unmatched_b": self.peaks.unmatched_b}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return `as_dict` as JSON text."""
        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    def summary(self) -> str:
        """Return the figures that matter most in one line."""
        peaks = self.peaks
        apart = "" if peaks.rms_distance is None else f" at {peaks.rms_distance:.3g} px rms"
        return (
            f"correlation {_number(self.correlation, '.10g')}, sum ratio {_number(self.sum_ratio, '.8g')}, "
            f"RMSE {self.rmse:.4g} {self.unit}, max difference {self.max_difference:.4g} {self.unit}, "
            f"{peaks.matched} of {peaks.count_a} and {peaks.count_b} peaks matched{apart}"
        )

    def table(self) -> str:
        """Return all figures, a line each."""
        unit, peaks = self.unit, self.peaks
        region = "" if self.roi is None else ", -roi " + " ".join(map(str, self.roi))
        slow, fast = self.max_difference_at
        relative = f"no pixel reaches {self.floor:g} {unit}"
        if self.max_relative_difference is not None and self.max_relative_difference_at is not None:
            place = "slow {} fast {}".format(*self.max_relative_difference_at)
            relative = f"{self.max_relative_difference:.6g} at {place} (of pixels from {self.floor:g} {unit})"
        distances = "none matched"
        if peaks.matched:
            distances = f"mean {peaks.mean_distance:.4g}, rms {peaks.rms_distance:.4g}, max {peaks.max_distance:.4g} px"
        rows = {
            "A": self.names[0],
            "B": self.names[1],
            "pixels": f"{self.pixels} of {self.shape[0]} x {self.shape[1]} (slow x fast){region}",
            "correlation": _number(self.correlation, ".12g", "undefined: a constant image"),
            "sum A, B": f"{self.sum_a:.10g}, {self.sum_b:.10g} {unit}",
            "sum A / sum B": _number(self.sum_ratio, ".10g", "undefined: the sum of B is 0"),
            "RMSE": f"{self.rmse:.6g} {unit}",
            "max difference": f"{self.max_difference:.6g} {unit} at slow {slow} fast {fast}",
            "max relative": relative,
            "peaks A, B": f"{peaks.count_a}, {peaks.count_b} (maxima above percentile {peaks.percentile:g})",
            "matched": f"{peaks.matched} within {peaks.gate:g} px; "
            f"unmatched {peaks.unmatched_a} of A, {peaks.unmatched_b} of B",
            "peak distance": distances,
        }
        return "\n".join(f"{name:15s} {text}" for name, text in rows.items())


def compare(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    roi: Roi | None = None,
    floor: float = FLOOR,
    percentile: float = PERCENTILE,
    gate: float = GATE,
    names: tuple[str, str] = ("A", "B"),
    unit: str = "photons",
) -> Comparison:
    """Compare two images.

    Parameters
    ----------
    a, b
        Images A and B, (slow, fast), photons per pixel, of the same shape. Real and finite. Ratio and difference are A
        against B.
    roi
        First and last fast, first and last slow pixel to compare, inclusive, as in ``-roi``. None: all pixels.
    floor
        Photons, at least 0: relative differences count only where one of the two pixels has that much.
    percentile
        0 to 100. A peak is a local maximum above this percentile of the compared pixels of its image.
    gate
        Pixels, at least 0: peaks that lie further apart are not matched.
    names
        What the images are called in messages and tables, such as the names of their files.
    unit
        Unit of the pixels when it is not photons; for printing only.

    Returns
    -------
    Comparison
        Exchanging A and B inverts the sum ratio and leaves all else unchanged, apart from the order.

    Raises
    ------
    NumbraggError
        An image that is empty, not of two dimensions, not real or not finite; shapes that differ; a region outside the
        image; an option out of range; or too many peaks to match.

    Notes
    -----
    Source: ``specs/70-compare.md``, clauses 70.1 to 70.9.

    Examples
    --------
    >>> import numpy as np
    >>> import numbragg
    >>> image = np.zeros((9, 9))
    >>> image[4, 4] = 10.0
    >>> result = numbragg.compare(image, np.roll(image, 2, axis=1))
    >>> result.peaks.matched, result.peaks.max_distance
    (1, 2.0)
    """
    first, second = checked_image(a, names[0]), checked_image(b, names[1])
    if first.shape != second.shape:
        raise NumbraggError(f"the shapes differ: {shape_text(first)} in {names[0]}, {shape_text(second)} in {names[1]}")
    check_options(floor=floor, percentile=percentile, gate=gate)
    shape = (int(first.shape[0]), int(first.shape[1]))
    region = roi_slices(roi, shape)
    corner = (region[0].start, region[1].start)
    x, y = first[region], second[region]
    difference = np.abs(x - y)
    worst, worst_at = _largest(difference, corner)
    relative, relative_at = _largest_relative(x, y, difference, floor, corner)
    peaks_a, peaks_b = find_peaks(first, percentile, roi), find_peaks(second, percentile, roi)
    sum_a, sum_b = float(x.sum()), float(y.sum())
    return Comparison(
        names=names,
        unit=unit,
        shape=shape,
        roi=None if roi is None else (roi[0], roi[1], roi[2], roi[3]),
        pixels=x.size,
        correlation=correlation(x, y),
        sum_a=sum_a,
        sum_b=sum_b,
        sum_ratio=_ratio(sum_a, sum_b),
        rmse=float(np.sqrt(np.mean(difference * difference))),
        max_difference=worst,
        max_difference_at=worst_at,
        floor=float(floor),
        max_relative_difference=relative,
        max_relative_difference_at=relative_at,
        peaks=_peak_match(peaks_a, peaks_b, float(percentile), float(gate)),
    )


def checked_image(image: npt.ArrayLike, name: str) -> Image:
    """Return an image (slow, fast) as float64, or refuse it.

    Raises
    ------
    NumbraggError
        It is empty, not of two dimensions, not real, or holds a pixel that is not finite or beyond single precision.
        The message begins with `name`.
    """
    values = np.asarray(image)
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "biuf":
        raise NumbraggError(f"{name}: not an image (slow, fast) of real numbers but {values.dtype} {values.shape}")
    pixels = values.astype(np.float64)
    bad = ~(np.abs(pixels) <= _LARGEST)
    if bad.any():
        slow, fast = divmod(int(bad.argmax()), pixels.shape[1])
        raise NumbraggError(
            f"{name}: {np.count_nonzero(bad)} pixels are NaN, infinite or beyond single precision (3.4e38), "
            f"the first is slow {slow} fast {fast} ({pixels[slow, fast]:g})"
        )
    return pixels


def check_options(*, floor: float, percentile: float, gate: float) -> None:
    """Refuse options of `compare` that are out of range.

    Raises
    ------
    NumbraggError
        It names the option and its range.
    """
    if not 0 <= floor <= _LARGEST:
        raise NumbraggError(f"the floor of relative differences is {floor:g}; it must be 0 or more photons")
    if not 0 <= percentile <= 100:
        raise NumbraggError(f"the percentile of the peaks is {percentile:g}; it must lie within 0 and 100")
    if not 0 <= gate <= _LARGEST:
        raise NumbraggError(f"the gate of the matching is {gate:g}; it must be 0 or more pixels")


def shape_text(image: npt.NDArray[Any]) -> str:
    """Return the shape in words."""
    return f"{image.shape[0]} x {image.shape[1]} pixels (slow x fast)"


def correlation(a: Image, b: Image) -> float | None:
    """Pearson's correlation coefficient of two images; None when one of them is constant.

    Equal images give exactly 1, since the same sums stand above and below.
    """
    if a.min() == a.max() or b.min() == b.max():
        return None
    x, y = _centred(a), _centred(b)
    value = float((x * y).sum()) / float(np.sqrt(float((x * x).sum()) * float((y * y).sum())))
    return min(max(value, -1.0), 1.0)


def _peak_match(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], percentile: float, gate: float) -> PeakMatch:
    index_a, index_b = match_peaks(a, b, gate)
    squares = ((a[index_a] - b[index_b]) ** 2).sum(axis=1)
    distances: tuple[float | None, ...] = (None, None, None)
    if len(squares):
        distances = (float(np.sqrt(squares).mean()), float(np.sqrt(squares.mean())), float(np.sqrt(squares.max())))
    return PeakMatch(percentile, gate, len(a), len(b), len(squares), *distances)


def _centred(values: Image) -> Image:
    """Deviations from the mean, scaled to at most 1 so that their squares neither vanish nor overflow."""
    deviations: Image = values - values.mean()
    deviations /= np.abs(deviations).max()
    deviations -= deviations.mean()
    return deviations


def _ratio(numerator: float, denominator: float) -> float | None:
    with np.errstate(all="ignore"):
        ratio = float(np.divide(numerator, denominator))
    return ratio if np.isfinite(ratio) else None


def _largest(values: Image, corner: Pixel) -> tuple[float, Pixel]:
    """Largest value and its pixel in the whole image; `corner` is the first pixel of `values` there."""
    slow, fast = divmod(int(values.argmax()), values.shape[1])
    return float(values[slow, fast]), (slow + corner[0], fast + corner[1])


def _largest_relative(
    a: Image, b: Image, difference: Image, floor: float, corner: Pixel
) -> tuple[float | None, Pixel | None]:
    size = np.maximum(np.abs(a), np.abs(b))
    counted = (size >= floor) & (size > 0)
    if not counted.any():
        return None, None
    return _largest(np.divide(difference, size, out=np.full_like(size, -1.0), where=counted), corner)


def _number(value: float | None, form: str, otherwise: str = "undefined") -> str:
    return otherwise if value is None else format(value, form)
