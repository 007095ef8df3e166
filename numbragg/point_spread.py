"""The point spread of a detector: what share of a photon's light each pixel around it gets."""

import math

import numpy as np
import numpy.typing as npt

from numbragg.models.effects import DetectorEffects

Array = npt.NDArray[np.float64]

SIGMAS_PER_FWHM = 1.0 / (2.0 * math.sqrt(2.0 * math.log(2.0)))
FIBER_PER_FWHM = 0.5 / math.sqrt(2.0 ** (2.0 / 3.0) - 1.0)
"""g of 10.84 in units of the width: 0.652383."""

GAUSSIAN_REACH = 5.5
"""Sigmas beyond which 1e-7 of the light lies."""
FIBER_REACH = 100.0
"""g beyond which 1 % of the light lies."""


def point_spread_quadrant(effects: DetectorEffects, pixel_size: float, shape: tuple[int, int]) -> Array:
    """Share of the light that pixels get, by their distance from the pixel that the photon hit.

    Parameters
    ----------
    effects
        With a point spread.
    pixel_size
        Edge of a pixel, mm.
    shape
        Of the image; the radius that is chosen does not exceed its longer side.

    Returns
    -------
    ndarray
        Float64, shape (radius + 1, radius + 1); entry (j, i) is j pixels away along slow and i along fast.

    Notes
    -----
    Source: ``specs/10-physics.md``, clauses 10.83 to 10.85.
    """
    width = effects.fwhm / pixel_size
    if effects.point_spread == "gaussian":
        sigma = width * SIGMAS_PER_FWHM
        edges = _edges(effects.radius, GAUSSIAN_REACH * sigma, shape)
        along = np.diff([0.5 * math.erf(edge / (sigma * math.sqrt(2.0))) for edge in edges])
        along[0] *= 2.0
        return np.outer(along, along)
    g = width * FIBER_PER_FWHM
    edges = _edges(effects.radius, FIBER_REACH * g, shape)
    y, x = edges[:, None], edges[None, :]
    corner = np.arctan(x * y / (g * np.sqrt(g * g + x * x + y * y))) / (2.0 * np.pi)
    share: Array = np.diff(np.diff(corner, axis=0), axis=1)
    share[0] *= 2.0
    share[:, 0] *= 2.0
    return share


def spread_photons(photons: Array, quadrant: Array, threads: int = 1) -> Array:
    """Spread the light of every photon; the sum stays.

    Parameters
    ----------
    photons
        Float64, shape (slow, fast).
    quadrant
        As of `point_spread_quadrant`. What it leaves of 1 is spread evenly over the image.
    threads
        Of the transforms; the result does not depend on it.

    Returns
    -------
    ndarray
        Float64, of the same shape.

    Notes
    -----
    Mirrored at its edges, an image is a sum of cosines, and a symmetric kernel multiplies each by a number: a cosine
    transform in place of a convolution, without padding. Source: ``specs/10-physics.md``, clause 10.85.
    """
    from scipy.fft import dctn, idctn

    slow, fast = (_waves(length, len(quadrant)) for length in photons.shape)
    response = slow @ quadrant @ fast.T
    # The mean of the image: what falls outside the kernel comes back here.
    response[0, 0] = 1.0
    waves = dctn(photons, type=2, workers=threads)
    waves *= response
    spread: Array = idctn(waves, type=2, workers=threads, overwrite_x=True)
    return spread


def _waves(length: int, terms: int) -> Array:
    """What a unit at distance j on either side does to each cosine of a line of pixels, shape (length, terms)."""
    waves = 2.0 * np.cos(np.pi * np.outer(np.arange(length), np.arange(terms)) / length)
    waves[:, 0] = 1.0
    return waves


def _edges(radius: int | None, reach: float, shape: tuple[int, int]) -> Array:
    if radius is None:
        radius = max(1, min(math.ceil(reach - 0.5), max(shape)))
    edges: Array = np.concatenate([[0.0], np.arange(radius + 1) + 0.5])
    return edges
