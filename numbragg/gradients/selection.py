"""Pixels as a list of numbers, so that they can be taken in blocks (specs/50-gradients.md, 50.61)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from numbragg.models.experiment import Experiment
from numbragg.simulation import Pixels, pixel_numbers

BLOCK_BYTES = 32 << 20
"""Derivatives that are held at a time where a product does without the Jacobian."""

Numbers = npt.NDArray[np.int32]


def selected_numbers(experiment: Experiment, pixels: Pixels) -> Numbers:
    """Numbers slow * n_fast + fast of the pixels of a run, in the order of its flat result."""
    if pixels is None:
        return np.arange(experiment.detector.n_slow * experiment.detector.n_fast, dtype=np.int32)
    return pixel_numbers(experiment, pixels)


def indices_of(experiment: Experiment, numbers: Numbers) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Indices (slow, fast) of pixel numbers."""
    slow, fast = np.divmod(numbers, np.int32(experiment.detector.n_fast))
    return slow, fast


def blocks_of(numbers: Numbers, columns: int) -> Iterator[slice]:
    """Slices of a list of pixels whose derivatives in so many parameters fill `BLOCK_BYTES` at most."""
    size = max(1, BLOCK_BYTES // (8 * (columns + 1)))
    for start in range(0, len(numbers), size):
        yield slice(start, min(start + size, len(numbers)))
