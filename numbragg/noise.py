"""Photon counting noise of mode ``spec``: NumPy's Philox, one stream per image row."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numbragg.errors import NumbraggError
from numbragg.models.panel import as_rows

LARGEST_PIXEL = 65535
LARGEST_MEAN = 9.2e18
"""Photons per pixel; beyond it a 64-bit count overflows."""


@dataclass(frozen=True)
class NoiseImage:
    """A detector image of whole counts.

    Attributes
    ----------
    pixels
        Uint16, of the shape of the image: photons plus the ADC offset, clipped at 65535; 0 where a pixel is not active.
    photons
        Sum of the photons drawn, before offset and clipping.
    overloads
        Number of clipped pixels.
    """

    pixels: NDArray[np.uint16]
    photons: int
    overloads: int


def poisson_noise(
    image: ArrayLike,
    *,
    seed: int,
    adc_offset: float = 40.0,
    active: NDArray[np.bool_] | None = None,
    threads: int | None = None,
) -> NoiseImage:
    """Draw a Poisson deviate for every active pixel.

    Parameters
    ----------
    image
        Mean photons per pixel, (slow, fast) or (panel, slow, fast); float64 or float32.
    seed
        Any integer. Row r, counted through all panels, takes its deviates from ``Philox(key=[seed modulo 2^64, r])``,
        so the same seed gives the same image for any number of threads.
    adc_offset
        Counts added to every active pixel, -65535 to 65535.
    active
        Boolean, of the shape of the image; pixels outside draw nothing and become 0. Default: all.
    threads
        Number of threads; default the number of CPUs this process may use.

    Raises
    ------
    NumbraggError
        A mean is negative, not a number or above 9.2e18 photons, or an argument does not fit.

    Notes
    -----
    Source: ``specs/10-physics.md``, clauses 10.70 to 10.73.
    """
    means = np.asarray(image)
    offset = checked_offset(adc_offset)
    if means.ndim not in (2, 3):
        raise NumbraggError(f"noise needs an image of (slow, fast) or (panel, slow, fast), not of shape {means.shape}")
    if active is not None and active.shape != means.shape:
        raise NumbraggError(f"the mask of active pixels is {active.shape}, the image is {means.shape}")
    if threads is not None and threads < 1:
        raise NumbraggError(f"the number of threads must be at least 1, not {threads}")
    pixels = np.zeros(means.shape, np.uint16)
    rows = math.prod(means.shape[:-1])
    workers = min(threads or available_cpus(), max(rows, 1))

    def draw(first: int) -> tuple[int, int]:
        return _draw_rows(means, active, pixels, range(first, rows, workers), seed, offset)

    with ThreadPoolExecutor(workers) as pool:
        totals = list(pool.map(draw, range(workers)))
    return NoiseImage(pixels, sum(total[0] for total in totals), sum(total[1] for total in totals))


def checked_offset(adc_offset: float) -> float:
    """Return `adc_offset` when a pixel can hold it, otherwise raise `NumbraggError`."""
    if not abs(adc_offset) <= LARGEST_PIXEL:
        raise NumbraggError(f"the ADC offset (-adc) must lie between -65535 and 65535, not {adc_offset:g}")
    return adc_offset


def _draw_rows(
    means: NDArray[np.floating],
    active: NDArray[np.bool_] | None,
    pixels: NDArray[np.uint16],
    rows: range,
    seed: int,
    adc_offset: float,
) -> tuple[int, int]:
    """Fill `rows` of `pixels`; return the sum of their photons and the number of overloads."""
    # Setting the state of one generator is several times faster than making one for each row.
    source = np.random.Philox(key=np.array([seed % 2**64, 0], np.uint64))
    generator = np.random.Generator(source)
    start = source.state
    offset = math.floor(adc_offset)
    expected, used, drawn = as_rows(means), None if active is None else as_rows(active), as_rows(pixels)
    photons = overloads = 0
    for row in rows:
        start["state"]["key"][1] = row
        source.state = start
        row_means = expected[row] if used is None else np.where(used[row], expected[row], 0.0)
        counts = draw_row(generator, row_means, row, means.shape)
        # Summed in double: exact below 2^53 and safe from overflow above.
        photons += int(counts.sum(dtype=np.float64))
        over = int(np.count_nonzero(counts > LARGEST_PIXEL - offset))
        overloads += over
        if over:
            np.minimum(counts, LARGEST_PIXEL - offset, out=counts)
        counts += offset
        if offset < 0:
            np.maximum(counts, 0, out=counts)
        if used is not None:
            counts *= used[row]
        drawn[row] = counts
    return photons, overloads


def draw_row(
    generator: np.random.Generator, means: NDArray[np.floating], row: int, shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Draw the photons of one row, counted through all panels, of an image of this shape.

    Raises
    ------
    NumbraggError
        A mean that no Poisson law has; the message names the pixel.
    """
    try:
        return generator.poisson(means)
    except ValueError:
        bad = int(np.flatnonzero(~((means >= 0.0) & (means <= LARGEST_MEAN)))[0])
        *panel, slow = (int(index) for index in np.unravel_index(row, shape[:-1]))
        where = f"panel {panel[0]} slow {slow}" if panel else f"slow {slow}"
        raise NumbraggError(
            f"pixel {where} fast {bad} has {means[bad]:g} photons; noise needs means between 0 and {LARGEST_MEAN:g}"
        ) from None


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
