"""Numbers that describe an image (specs/10-physics.md, 10.56)."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.kernels.solid_angle import solid_angle
from numbragg.lowering.lower import count_steps, lower, panel_detectors
from numbragg.models.experiment import Experiment

CHUNK = 1 << 16
"""Pixels worked on at a time, so that statistics take next to no memory beside the image."""


class ImageStatistics(NamedTuple):
    """What the reference prints of an image."""

    maximum: float  # photons
    maximum_fast: float  # m from the corner of the first pixel to the last sub-pixel of the largest pixel
    maximum_slow: float
    mean: float  # photons per active pixel
    rms: float
    rmsd: float
    solid_angle: float  # steradian


def image_statistics(experiment: Experiment, image: npt.NDArray[Any]) -> ImageStatistics:
    """Statistics over the active pixels of an image of shape (slow, fast) or (panel, slow, fast).

    The quirks of the experiment decide whether masked pixels count in the rmsd (Q14) and whether the solid angle is
    divided by the steps (Q27).
    """
    params, active = lower(experiment), experiment.active_pixels()
    values = image.ravel() if len(active) == image.size else image.ravel()[active]
    if values.size == 0:
        return ImageStatistics(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    position, maximum = _first_largest(values)
    top = int(active[position])
    size = math.prod(experiment.detector.panel_shape)
    slow, fast = divmod(top % size, params.detector.n_fast)
    pixel, n = params.detector.pixel, params.detector.oversample
    last = pixel * (n - 0.5) / n
    total = float(values.sum(dtype=float))
    mean = total / values.size
    counted = values
    if experiment.quirks.q14_masked_pixels_in_rmsd and experiment.roi is not None and experiment.mask is not None:
        roi = experiment.roi
        counted = image[roi.slow_min : roi.slow_max + 1, roi.fast_min : roi.fast_max + 1].ravel()
    elif experiment.quirks.q14_masked_pixels_in_rmsd and experiment.roi is None:
        counted = image.ravel()
    detectors = panel_detectors(experiment.detector, params.detector)
    omega = 0.0
    for number, detector in enumerate(detectors):
        begin, end = np.searchsorted(active, [number * size, (number + 1) * size])
        own = active[begin:end] - np.int32(number * size) if number else active[begin:end]
        omega += solid_angle(own, detector, experiment.oversample_omega)
    parts = params.detector.layers * params.detector.oversample**2
    divisor = count_steps(experiment) if experiment.quirks.q27_solid_angle_over_steps else parts
    return ImageStatistics(
        maximum=maximum,
        maximum_fast=fast * pixel + last,
        maximum_slow=slow * pixel + last,
        mean=mean,
        rms=float(np.sqrt(_sum_of_squares(values) / max(values.size - 1, 1))),
        rmsd=float(np.sqrt(_sum_of_squares(counted, mean) / max(counted.size - 1, 1))),
        solid_angle=omega / divisor,
    )


def _first_largest(values: npt.NDArray[Any]) -> tuple[int, float]:
    """Position and value of the first largest pixel in single precision, in which symmetric pixels are equal."""
    position, largest = 0, -np.inf
    for start in range(0, values.size, CHUNK):
        with np.errstate(over="ignore"):
            chunk = values[start : start + CHUNK].astype(np.float32)
        top = int(chunk.argmax())
        if chunk[top] > largest:
            position, largest = start + top, float(chunk[top])
    return position, largest


def _sum_of_squares(values: npt.NDArray[Any], centre: float = 0.0) -> float:
    total = 0.0
    for start in range(0, values.size, CHUNK):
        difference = values[start : start + CHUNK].astype(float) - centre
        total += float(difference @ difference)
    return total
