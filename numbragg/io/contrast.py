"""The grey scale of pictures: weak and strong spots together, on a background that is just not white."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError

LOW_PERCENT, HIGH_PERCENT = 2.0, 99.8
"""Of the pixels: what is white and what is black."""

LARGEST_RANGE = 100.0
"""Black over the end of the linear part: with more, the fringes of a crystal outshine its spots."""

Values = npt.NDArray[np.float64]


class Contrast(NamedTuple):
    """An asinh curve from white to black: about linear up to a knee, logarithmic beyond."""

    low: float
    """Drawn white, as is everything below."""
    knee: float
    """Above low, where the linear part ends; above 0."""
    span: float
    """Above low, where black begins; above 0."""

    @property
    def high(self) -> float:
        """Drawn black, as is everything above."""
        return self.low + self.span

    def darkness(self, values: npt.ArrayLike) -> Values:
        """From 0 for white to 1 for black, of the shape of the values; NaN for NaN."""
        above = np.clip(np.asarray(values, dtype=np.float64) - self.low, 0.0, self.span)
        return np.minimum(np.arcsinh(above / self.knee) / math.asinh(self.span / self.knee), 1.0)

    def value(self, darkness: npt.ArrayLike) -> Values:
        """The value that is drawn with a darkness."""
        return np.asarray(self.low + self.knee * np.sinh(np.multiply(darkness, math.asinh(self.span / self.knee))))


def choose_contrast(values: npt.NDArray[np.floating], low: float | None = None, high: float | None = None) -> Contrast:
    """Choose the contrast of a picture.

    Parameters
    ----------
    values
        Finite pixels, of any shape; there may be none.
    low, high
        Values drawn white and black. Default: percentiles.

    Raises
    ------
    NumbraggError
        The limits are not finite or not in order.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.34.
    """
    percentiles = np.percentile(values, [LOW_PERCENT, 50.0, HIGH_PERCENT]) if values.size else np.zeros(3)
    floor, middle, ceiling = (float(value) for value in percentiles)
    if ceiling == floor and values.size:
        ceiling = float(values.max())
    low = floor if low is None else low
    high = max(ceiling, low) if high is None else high
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise NumbraggError(f"the grey scale needs low <= high, not {low:g} and {high:g}")
    span = high - low or 1.0
    # A hundredth of the smallest numbers is 0.
    smallest = span / LARGEST_RANGE or span
    return Contrast(low, min(max(2.0 * (middle - low), smallest), span), span)


def reduce_blocks(values: npt.NDArray[np.generic], factor: int, active: npt.NDArray[np.bool_] | None = None) -> Values:
    """Reduce an image by blocks of factor x factor pixels to the largest value of each, so that spots stay visible.

    Pixels that are not active, not finite, or beyond single precision do not count; a block without others is NaN.
    """
    usable = np.isfinite(values) if active is None else active & np.isfinite(values)
    usable &= np.abs(values) <= np.finfo(np.float32).max
    result = np.where(usable, values, np.nan).astype(np.float64, copy=False)
    for axis in (0, 1) if factor > 1 else ():
        result = np.fmax.reduceat(result, np.arange(0, result.shape[axis], factor), axis=axis)
    return result
