"""PGM previews: 8 bits, linear, as nanoBragg writes them."""

import math
import os

import numpy as np
from numpy.typing import NDArray

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.region import roi_slices

_ROWS_AT_A_TIME = 64


def write_pgm(
    path: str | os.PathLike[str],
    image: NDArray[np.floating],
    scale: float,
    roi: tuple[int, int, int, int] | None = None,
) -> None:
    """Write an image as binary PGM.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    image
        Photons per pixel, (slow, fast).
    scale
        Grey levels per photon; 250/(5*rmsd) is nanoBragg's default.
    roi
        First and last fast, first and last slow pixel, inclusive; the others become 0. Default: all pixels.

    Raises
    ------
    NumbraggError
        The scale is not finite, the region leaves the image, or the file cannot be written.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.33.
    """
    if not math.isfinite(scale):
        raise NumbraggError(f"cannot write {path}: the scale (-pgmscale) must be a finite number, not {scale:g}")
    rows, columns = image.shape
    slow, fast = roi_slices(roi, (rows, columns))
    grey = np.zeros((rows, columns), np.uint8)
    for first in range(slow.start, slow.stop, _ROWS_AT_A_TIME):
        some = slice(first, min(first + _ROWS_AT_A_TIME, slow.stop))
        scaled = np.multiply(image[some, fast], scale, dtype=np.float64)
        # fmin and fmax let the number win over NaN.
        np.fmin(np.fmax(scaled, 0.0, out=scaled), 255.0, out=scaled)
        grey[some, fast] = scaled
    with atomic_write(path) as stream:
        stream.write(b"P5\n%d %d\n# pixels scaled by %s\n255\n" % (columns, rows, f"{scale:g}".encode()))
        stream.write(grey.data)
