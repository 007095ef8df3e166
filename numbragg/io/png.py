"""PNG previews: dark spots on white, with a contrast that shows weak and strong ones together."""

import math
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.contrast import choose_contrast, reduce_blocks
from numbragg.io.input_file import first_line, input_file

LONGEST_SIDE = 1500
"""Pixels; a larger image is reduced by whole-number blocks."""

INACTIVE_GREY = 205


def write_png(
    path: str | os.PathLike[str],
    image: ArrayLike,
    *,
    low: float | None = None,
    high: float | None = None,
    active: NDArray[np.bool_] | None = None,
    longest_side: int = LONGEST_SIDE,
    text: Mapping[str, str] | None = None,
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
    text
        Entries that the file carries beside the pixels.

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
    reduced = reduce_blocks(values, math.ceil(max(values.shape) / longest_side), active)
    try:
        contrast = choose_contrast(reduced[np.isfinite(reduced)], low, high)
    except NumbraggError as error:
        raise NumbraggError(f"cannot write {path}: {error}") from error
    grey = np.rint(255.0 * (1.0 - contrast.darkness(reduced)))
    levels = np.where(np.isfinite(reduced), grey, INACTIVE_GREY).astype(np.uint8)
    with atomic_write(path) as stream:
        Image.fromarray(levels).save(stream, format="PNG", pnginfo=png_text(text or {}))


def png_text(entries: Mapping[str, str]) -> PngInfo:
    """Entries as a PNG picture carries them beside its pixels."""
    info = PngInfo()
    for key, value in entries.items():
        info.add_text(key, value)
    return info


def read_png_text(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the entries of text that a PNG picture carries.

    Raises
    ------
    NumbraggError
        The file cannot be read or is no PNG picture.
    """
    source = input_file(path)
    try:
        with Image.open(source, formats=["PNG"]) as picture:
            picture.load()
            return {
                key: value for key, value in picture.info.items() if isinstance(key, str) and isinstance(value, str)
            }
    except (OSError, SyntaxError, ValueError) as error:
        raise NumbraggError(f"cannot read {source} as PNG: {first_line(error)}") from error
