"""Pixels as a list of numbers, so that they can be taken in blocks (specs/50-gradients.md, 50.61)."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from numbragg.models.experiment import Experiment
from numbragg.simulation import Pixels, pixel_numbers

BLOCK_BYTES = 32 << 20
"""Derivatives that are held at a time where a product does without the Jacobian."""

Numbers = npt.NDArray[np.int32]


def selected_numbers(experiment: Experiment, pixels: Pixels) -> Numbers:
    """Numbers of the pixels of a run, their positions in the flat image, in the order of its flat result."""
    if pixels is None:
        return np.arange(math.prod(experiment.detector.shape), dtype=np.int32)
    return pixel_numbers(experiment, pixels)


def indices_of(experiment: Experiment, numbers: Numbers) -> tuple[npt.NDArray[np.intp], ...]:
    """Indices (slow, fast), or (panel, slow, fast), of pixel numbers."""
    return np.unravel_index(numbers, experiment.detector.shape)


def blocks_of(numbers: Numbers, columns: int) -> Iterator[slice]:
    """Slices of a list of pixels whose derivatives in so many parameters fill `BLOCK_BYTES` at most."""
    size = max(1, BLOCK_BYTES // (8 * (columns + 1)))
    for start in range(0, len(numbers), size):
        yield slice(start, min(start + size, len(numbers)))
