"""PNG previews: dark spots on white, with a contrast that shows weak and strong ones together."""

import math
import os

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write

LONGEST_SIDE = 1500
"""Pixels; a larger image is reduced by whole-number blocks."""

_INACTIVE_GREY = 205
_LOW_PERCENT, _HIGH_PERCENT = 2.0, 99.8
_LARGEST_RANGE = 5000.0


def write_png(
    path: str | os.PathLike[str],
    image: ArrayLike,
    *,
    low: float | None = None,
    high: float | None = None,
    active: NDArray[np.bool_] | None = None,
    longest_side: int = LONGEST_SIDE,
) -> None:
    """Write a preview: 8-bit grey, more photons darker, the first row on top.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    image
        Photons or counts per pixel, (slow, fast).
    low, high
        Values drawn white and black. Default: from percentiles of the active pixels.
    active
        Boolean, (slow, fast): the other pixels, and those that are not finite, are drawn in one light grey.
    longest_side
        Longest side of the preview in pixels. A larger image is reduced by blocks, each drawn as its largest pixel so
        that small spots stay visible.

    Raises
    ------
    NumbraggError
        The image is not of two dimensions or is empty, the limits are not in order, or the file cannot be written.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.34.
    """
    values = np.asarray(image)
    if values.ndim != 2 or values.size == 0:
        raise NumbraggError(
            f"cannot write {path}: a preview needs an image (slow, fast), not one of shape {values.shape}"
        )
    if active is not None and active.shape != values.shape:
        raise NumbraggError(f"cannot write {path}: the mask is {active.shape}, the image is {values.shape}")
    reduced = _block_maximum(values, active, math.ceil(max(values.shape) / longest_side))
    low, knee, span = _limits(path, reduced[np.isfinite(reduced)], low, high)
    with atomic_write(path) as stream:
        Image.fromarray(_grey(reduced, low, knee, span)).save(stream, format="PNG")


def _block_maximum(values: NDArray[np.generic], active: NDArray[np.bool_] | None, factor: int) -> NDArray[np.float64]:
    """Reduce by blocks of factor x factor pixels to their largest active and finite value, NaN where there is none."""
    usable = np.isfinite(values) if active is None else active & np.isfinite(values)
    usable &= np.abs(values) <= np.finfo(np.float32).max
    result = np.where(usable, values, np.nan).astype(np.float64, copy=False)
    for axis in (0, 1) if factor > 1 else ():
        result = np.fmax.reduceat(result, np.arange(0, result.shape[axis], factor), axis=axis)
    return result


def _limits(
    path: str | os.PathLike[str], values: NDArray[np.float64], low: float | None, high: float | None
) -> tuple[float, float, float]:
    """Choose the value drawn white, and from there the lengths of the linear part and of the whole scale."""
    percentiles = np.percentile(values, [_LOW_PERCENT, 50.0, _HIGH_PERCENT]) if values.size else np.zeros(3)
    floor, middle, ceiling = (float(value) for value in percentiles)
    if ceiling == floor and values.size:
        ceiling = float(values.max())
    low = floor if low is None else low
    high = max(ceiling, low) if high is None else high
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise NumbraggError(f"cannot write {path}: the grey scale needs low <= high, not {low:g} and {high:g}")
    span = high - low or 1.0
    knee = min(max(2.0 * (middle - low), span / _LARGEST_RANGE), span)
    return low, knee, span


def _grey(values: NDArray[np.float64], low: float, knee: float, span: float) -> NDArray[np.uint8]:
    """Grey levels on an asinh curve: linear below `knee` above `low`, logarithmic beyond."""
    darkness = np.arcsinh(np.clip(values - low, 0.0, span) / knee) / math.asinh(span / knee)
    grey = 255.0 * (1.0 - darkness)
    return np.where(np.isfinite(values), np.rint(grey), _INACTIVE_GREY).astype(np.uint8)
