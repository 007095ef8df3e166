"""Float images as whole counts of 16 bits."""

import math

import numpy as np
from numpy.typing import NDArray

from numbragg.errors import NumbraggError

_ROWS_AT_A_TIME = 64


def scaled_integers(
    image: NDArray[np.floating], scale: float, adc_offset: float, active: NDArray[np.bool_] | None = None
) -> NDArray[np.uint16]:
    """Scale, offset and round an image to counts.

    Parameters
    ----------
    image
        Photons per pixel, (slow, fast); the arithmetic is in double precision.
    scale
        Counts per photon.
    adc_offset
        Counts added to every active pixel.
    active
        Boolean, (slow, fast): the other pixels become 0. Default: all are active.

    Returns
    -------
    ndarray of uint16, (slow, fast)
        ``floor(pixel*scale + adc_offset + 0.5)``, clipped to 0 and 65535; 0 for a pixel that is not a number.

    Raises
    ------
    NumbraggError
        Scale or offset is not finite, or the mask has another shape than the image.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.32.
    """
    if not (math.isfinite(scale) and math.isfinite(adc_offset)):
        raise NumbraggError(f"the integer image needs a finite scale and ADC offset, not {scale:g} and {adc_offset:g}")
    if active is not None and active.shape != image.shape:
        raise NumbraggError(f"the mask of active pixels is {active.shape}, the image is {image.shape}")
    counts = np.zeros(image.shape, np.uint16)
    for first in range(0, image.shape[0], _ROWS_AT_A_TIME):
        rows = slice(first, first + _ROWS_AT_A_TIME)
        scaled = np.multiply(image[rows], scale, dtype=np.float64)
        scaled += adc_offset
        scaled += 0.5
        np.floor(scaled, out=scaled)
        # fmin and fmax let the number win over NaN.
        np.fmin(np.fmax(scaled, 0.0, out=scaled), 65535.0, out=scaled)
        if active is not None:
            scaled *= active[rows]
        counts[rows] = scaled
    return counts
