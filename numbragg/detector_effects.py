"""From photons to what a detector reads: noise, point spread, gain, saturation."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models.effects import DetectorEffects
from numbragg.models.panel import as_rows
from numbragg.noise import available_cpus, draw_row
from numbragg.point_spread import point_spread_quadrant, spread_photons

PHOTONS, CALIBRATION, READOUT, FLICKER = range(4)
"""Streams of random numbers (specs/10-physics.md, 10.81)."""

STREAM_SHIFT = 32
"""Bits that the number of the row takes in a key."""

Image = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DetectorImage:
    """What a detector reads.

    Attributes
    ----------
    counts
        ADU, of the shape of the image: uint16, or int32 where the saturation is above 65535. 0 in bad and inactive
        pixels.
    photons
        Sum of the photons that were counted, before the point spread.
    overloads
        Number of pixels clipped at the saturation.
    """

    counts: npt.NDArray[Any]
    photons: int
    overloads: int


def detector_image(
    photons: npt.ArrayLike,
    effects: DetectorEffects | None = None,
    *,
    seed: int,
    pixel_size: float | None = None,
    active: npt.NDArray[np.bool_] | None = None,
    threads: int | None = None,
) -> DetectorImage:
    """Read out an image of photons with a real detector.

    Parameters
    ----------
    photons
        Mean photons per pixel, shape (slow, fast) or (panel, slow, fast); float64 or float32, as of
        `numbragg.simulate`. Light does not spread from panel to panel.
    effects
        What the detector does; None counts photons and nothing else.
    seed
        Any integer: of the flicker, the photons and the readout. The same seed gives the same image for any number of
        threads. The images of a series need different seeds.
    pixel_size
        Edge of a pixel, mm; a point spread needs it.
    active
        Boolean, of the shape of the image; pixels outside draw nothing and read 0. Default: all.
    threads
        Number of threads; default the number of CPUs this process may use.

    Returns
    -------
    DetectorImage
        Counts with the sum of photons and the number of overloads.

    Raises
    ------
    NumbraggError
        A mean is negative, not a number or too large to count, or an argument does not fit.

    Notes
    -----
    Source: ``specs/10-physics.md``, clauses 10.80 to 10.87.

    Examples
    --------
    >>> import numpy as np
    >>> import numbragg
    >>> effects = numbragg.DetectorEffects(gain=1.7, readout_noise=3.0, point_spread="gaussian", fwhm=0.1)
    >>> numbragg.detector_image(np.full((100, 120), 20.0), effects, seed=1, pixel_size=0.1).counts.shape
    (100, 120)
    """
    effects = DetectorEffects() if effects is None else effects
    means = np.asarray(photons)
    _check(means, effects, pixel_size, active, threads)
    rows_in_all = math.prod(means.shape[:-1])
    workers = min(threads or available_cpus(), max(rows_in_all, 1))
    seen = _seen(effects, active)
    signal = np.empty(means.shape)
    brightness = max(1.0 + effects.flicker * float(_Stream(seed, FLICKER).normal(0)[0]), 0.0)

    def count(rows: range) -> int:
        return _count_rows(means, effects, brightness, active, seed, signal, rows)

    total = _sum_in_threads(count, rows_in_all, workers)
    if effects.point_spread is not None and pixel_size is not None and signal.size:
        quadrant = point_spread_quadrant(effects, pixel_size, means.shape[-2:])
        for panel in signal if signal.ndim == 3 else [signal]:
            panel[...] = spread_photons(panel, quadrant, workers)
    counts = np.zeros(means.shape, effects.count_dtype)

    def read(rows: range) -> int:
        return _read_rows(signal, effects, seen, seed, counts, rows)

    return DetectorImage(counts, total, overloads=_sum_in_threads(read, rows_in_all, workers))


class _Stream:
    """Deviates of one kind: each row has a generator state of its own, so that threads do not matter."""

    def __init__(self, seed: int, kind: int) -> None:
        self._source = np.random.Philox(key=np.array([seed % 2**64, 0], np.uint64))
        self._kind = kind << STREAM_SHIFT
        # Setting the state of one generator is several times faster than making one for each row.
        self._start = self._source.state
        self._generator = np.random.Generator(self._source)

    def row(self, row: int) -> np.random.Generator:
        """Return the generator at the start of a row."""
        self._start["state"]["key"][1] = self._kind | row
        self._source.state = self._start
        return self._generator

    def normal(self, row: int, size: int = 1) -> npt.NDArray[np.float64]:
        """Draw the normal deviates of a row."""
        return self.row(row).standard_normal(size)


def _sum_in_threads(work: Callable[[range], int], rows: int, workers: int) -> int:
    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(work, (range(first, rows, workers) for first in range(workers))))


def _count_rows(
    means: npt.NDArray[np.floating],
    effects: DetectorEffects,
    brightness: float,
    active: npt.NDArray[np.bool_] | None,
    seed: int,
    signal: Image,
    rows: range,
) -> int:
    """Fill `rows` of `signal` with the photons that are counted; return their sum."""
    photons, calibration = _Stream(seed, PHOTONS), _Stream(effects.calibration_seed, CALIBRATION)
    total = 0
    every, used, drawn = as_rows(means), None if active is None else as_rows(active), as_rows(signal)
    for row in rows:
        expected = every[row] if used is None else np.where(used[row], every[row], 0.0)
        if brightness != 1.0:
            expected = expected * brightness
        if effects.calibration_error:
            deviates = calibration.normal(row, len(expected))
            expected = expected * np.maximum(1.0 + effects.calibration_error * deviates, 0.0)
        if effects.photon_noise:
            drawn[row] = draw_row(photons.row(row), expected, row, means.shape)
        else:
            drawn[row] = expected
        # Summed in double: exact below 2^53 and safe from overflow above.
        total += int(drawn[row].sum())
    return total


def _read_rows(
    signal: Image,
    effects: DetectorEffects,
    seen: npt.NDArray[np.bool_] | None,
    seed: int,
    counts: npt.NDArray[Any],
    rows: range,
) -> int:
    """Fill `rows` of `counts`; return the number of overloads."""
    readout = _Stream(seed, READOUT)
    offset, overloads = math.floor(effects.adc_offset), 0
    spread, used, read = as_rows(signal), None if seen is None else as_rows(seen), as_rows(counts)
    for row in rows:
        reading = spread[row] * effects.gain
        if effects.readout_noise:
            reading += effects.readout_noise * readout.normal(row, len(reading))
        np.floor(reading + 0.5, out=reading)
        reading += offset
        if used is not None:
            reading *= used[row]
        overloads += int(np.count_nonzero(reading > effects.saturation))
        read[row] = np.clip(reading, 0.0, effects.saturation)
    return overloads


def _seen(effects: DetectorEffects, active: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
    """Pixels that are read, None for all."""
    if effects.bad_pixels is None:
        return active
    return ~effects.bad_pixels if active is None else active & ~effects.bad_pixels


def _check(
    means: npt.NDArray[Any],
    effects: DetectorEffects,
    pixel_size: float | None,
    active: npt.NDArray[np.bool_] | None,
    threads: int | None,
) -> None:
    if means.ndim not in (2, 3):
        raise NumbraggError(
            f"a detector reads images of (slow, fast) or (panel, slow, fast), not of shape {means.shape}"
        )
    for name, array in (("mask of active pixels", active), ("map of bad pixels", effects.bad_pixels)):
        if array is not None and array.shape != means.shape:
            raise NumbraggError(f"the {name} is {array.shape}, the image is {means.shape}")
    if threads is not None and threads < 1:
        raise NumbraggError(f"the number of threads must be at least 1, not {threads}")
    if effects.point_spread is not None and not (pixel_size is not None and 0 < pixel_size < math.inf):
        raise NumbraggError(f"a point spread in mm needs the size of a pixel (pixel_size, mm), not {pixel_size}")
    seen = means if active is None else np.where(active, means, 0.0)
    if not effects.photon_noise and not (np.isfinite(seen).all() and (seen >= 0).all()):
        raise NumbraggError("the image has pixels that are negative or not finite")
