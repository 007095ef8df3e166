"""Photon counting noise of mode ``c``: the bits of nanoBragg's noise image."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numbragg.errors import NumbraggError
from numbragg.io.region import roi_slices
from numbragg.kernels.poisson import noise_region
from numbragg.kernels.ran1 import STATE_SIZE
from numbragg.noise import NoiseImage, checked_offset


def c_noise_image(
    image: ArrayLike,
    *,
    seed: int,
    adc_offset: float = 40.0,
    roi: tuple[int, int, int, int] | None = None,
    state: NDArray[np.int64] | None = None,
) -> NoiseImage:
    """Draw the noise image that nanoBragg would write.

    Parameters
    ----------
    image
        Mean photons per pixel, (slow, fast); used in single precision, as the C program holds it.
    seed
        Seed of `ran1`: minus the value of ``-seed``, so normally 0 or below.
    adc_offset
        Counts added to every pixel of the region, -65535 to 65535.
    roi
        First and last fast, first and last slow pixel, inclusive. Pixels outside draw nothing and are 0.
    state
        State of `ran1` (int64, changed in place) after the mosaic draws; only a positive seed makes use of it.

    Raises
    ------
    NumbraggError
        A mean is not finite, or an argument does not fit.

    Notes
    -----
    Source: ``specs/10-physics.md``, clauses 10.66 to 10.69.
    """
    means = np.asarray(image, dtype=np.float32)
    if means.ndim != 2:
        raise NumbraggError(f"noise needs an image of two dimensions (slow, fast), not of {means.ndim}")
    region = roi_slices(roi, means.shape)
    if not np.isfinite(means[region]).all():
        raise NumbraggError("the image has pixels that are not finite; noise needs a number of photons in each")
    if state is None:
        state = np.zeros(STATE_SIZE, np.int64)
    state[0] = seed
    pixels = np.zeros(means.shape, np.uint16)
    photons, overloads = noise_region(means[region], checked_offset(adc_offset), state, pixels[region])
    return NoiseImage(pixels, round(photons), overloads)
