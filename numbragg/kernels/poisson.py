"""The Poisson and Gaussian deviates of nanoBragg, single precision operation by operation.

C computes mixed float and double expressions in double and rounds where it stores; every ``np.float32(...)`` below is
such a store, or restores what a compiled function hands to Python as a plain float. No contraction here, for the same
reason. Source: ``specs/10-physics.md``, clauses 10.66 to 10.69.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from numbragg.kernels.ran1 import ran1

SMALL_MEAN = 12.0
LARGE_MEAN = 1e6

_LANCZOS = (
    76.18009172947146,
    -86.50532032941677,
    24.01409824083091,
    -1.231739572450155,
    0.1208650973866179e-2,
    -0.5395239384953e-5,
)


@njit(cache=True, error_model="numpy", nogil=True)
def ln_gamma(x: np.float32) -> np.float32:
    """Return ln Gamma(x) for x > 0 (float32): the six-term Lanczos series in double, rounded at the end."""
    argument = np.float64(x)
    shifted = argument + 5.5
    shifted -= (argument + 0.5) * math.log(shifted)
    series = 1.000000000190015
    denominator = argument
    for coefficient in _LANCZOS:
        denominator += 1.0
        series += coefficient / denominator
    return np.float32(-shifted + math.log(2.5066282746310005 * series / argument))


@njit(cache=True, error_model="numpy", nogil=True)
def gaussian_deviate(state: NDArray[np.int64], spare: NDArray[np.float32]) -> np.float32:
    """Draw a normal deviate (mean 0, sigma 1) by the polar method.

    Parameters
    ----------
    state
        The state of `ran1`.
    spare
        Float32, 2: whether a deviate is left over from the last pair (0 or 1), and that deviate. Changed in place.
    """
    if spare[0] != 0.0:
        spare[0] = 0.0
        return np.float32(spare[1])
    square = np.float32(0.0)
    first = second = square
    while square >= 1.0 or square == 0.0:
        first = np.float32(2.0 * np.float64(ran1(state)) - 1.0)
        second = np.float32(2.0 * np.float64(ran1(state)) - 1.0)
        square = first * first + second * second
    factor = np.float32(math.sqrt(-2.0 * math.log(np.float64(square)) / np.float64(square)))
    spare[0] = 1.0
    spare[1] = first * factor
    return second * factor


@njit(cache=True, error_model="numpy", nogil=True)
def _small_poisson(mean: np.float32, state: NDArray[np.int64]) -> np.float32:
    limit = np.float32(math.exp(-np.float64(mean)))
    product = np.float32(ran1(state))
    count = 0
    while product > limit:
        product *= np.float32(ran1(state))
        count += 1
    return np.float32(count)


@njit(cache=True, error_model="numpy", nogil=True)
def _rejection_poisson(mean: np.float32, state: NDArray[np.int64]) -> np.float32:
    width = np.float32(math.sqrt(2.0 * np.float64(mean)))
    log_mean = np.float32(math.log(np.float64(mean)))
    at_mean = mean * log_mean - np.float32(ln_gamma(np.float32(np.float64(mean) + 1.0)))
    while True:
        candidate = np.float32(-1.0)
        tangent = candidate
        while candidate < 0.0:
            tangent = np.float32(math.tan(math.pi * np.float64(ran1(state))))
            candidate = width * tangent + mean
        candidate = np.float32(math.floor(np.float64(candidate)))
        at_candidate = candidate * log_mean - np.float32(ln_gamma(np.float32(np.float64(candidate) + 1.0)))
        exponent = at_candidate - at_mean
        ratio = np.float32(0.9 * (1.0 + np.float64(tangent * tangent)) * math.exp(np.float64(exponent)))
        if ran1(state) <= ratio:
            return candidate


@njit(cache=True, error_model="numpy", nogil=True)
def poisson_deviate(mean: np.float32, state: NDArray[np.int64], spare: NDArray[np.float32]) -> np.float32:
    """Draw a Poisson deviate of `mean` photons (float32); above `LARGE_MEAN` a Gaussian one, which is not an integer.

    Parameters
    ----------
    mean
        Photons; float32.
    state, spare
        As in `gaussian_deviate`; both are changed in place.
    """
    if mean < SMALL_MEAN:
        return _small_poisson(mean, state)
    if mean <= LARGE_MEAN:
        return _rejection_poisson(mean, state)
    wide = np.float64(mean)
    return np.float32(wide + math.sqrt(wide) * np.float64(gaussian_deviate(state, spare)))


@njit(cache=True, error_model="numpy", nogil=True)
def noise_region(
    image: NDArray[np.float32], adc_offset: float, state: NDArray[np.int64], pixels: NDArray[np.uint16]
) -> tuple[float, int]:
    """Draw `pixels` (uint16, changed in place) from the means in `image` (float32, same shape), slow outer.

    Returns
    -------
    photons, overloads
        The sum of all deviates, and the number of pixels clipped at 65535.
    """
    spare = np.zeros(2, np.float32)
    photons = np.float64(0.0)
    overloads = 0
    for slow in range(image.shape[0]):
        for fast in range(image.shape[1]):
            deviate = np.float64(poisson_deviate(image[slow, fast], state, spare))
            photons += deviate
            value = deviate + adc_offset
            if value > 65535.0:
                overloads += 1
            pixels[slow, fast] = min(max(value, 0.0), 65535.0)
    return photons, overloads
