"""The detector conventions of nanoBragg (specs/10-physics.md, 10.11)."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


class Convention(NamedTuple):
    """Directions in the laboratory frame, and how Xbeam and Ybeam map to the detector's axes."""

    name: str
    pivot: str
    beam_centre: str  # "fast slow": (Xbeam, Ybeam) as they are; "slow fast": swapped; "flipped": Ybeam from the bottom
    shift: float  # pixels added to both to reach the corner of the first pixel
    beam: Vector
    fast: Vector
    slow: Vector
    normal: Vector
    twotheta_axis: Vector
    polarization: Vector
    spindle: Vector


def _vectors(text: str) -> list[Vector]:
    return [np.array([float(number) for number in word.split()]) for word in text.split("|")]


# Columns: beam, fast, slow, normal, two-theta axis, polarisation, spindle.
_ROWS = {
    "adxv": ("0 0 1 | 1 0 0 | 0 -1 0 | 0 0 1 | -1 0 0 | 1 0 0 | 1 0 0", "beam", "flipped", 0.0),
    "mosflm": ("1 0 0 | 0 0 1 | 0 -1 0 | 1 0 0 | 0 0 -1 | 0 0 1 | 0 0 1", "beam", "slow fast", 0.5),
    "denzo": ("1 0 0 | 0 0 1 | 0 -1 0 | 1 0 0 | 0 0 -1 | 0 0 1 | 0 0 1", "beam", "slow fast", 0.0),
    "xds": ("0 0 1 | 1 0 0 | 0 1 0 | 0 0 1 | 1 0 0 | 1 0 0 | 1 0 0", "sample", "fast slow", 0.0),
    "dials": ("0 0 1 | 1 0 0 | 0 1 0 | 0 0 1 | 0 1 0 | 0 1 0 | 0 1 0", "sample", "fast slow", 0.0),
    "custom": ("1 0 0 | 0 0 1 | 0 -1 0 | 1 0 0 | 0 1 0 | 0 0 1 | 0 0 1", "beam", "fast slow", 0.0),
}

CONVENTIONS = {
    name: Convention(name, pivot, beam_centre, shift, *_vectors(vectors))
    for name, (vectors, pivot, beam_centre, shift) in _ROWS.items()
}
"""By name; "custom" holds what a CUSTOM geometry starts from."""


def beam_centre_to_corner(
    convention: Convention, x: float, y: float, size_slow: float, pixel: float
) -> tuple[float, float]:
    """Distances along (fast, slow) from the corner of the first pixel, mm, of a beam centre (Xbeam, Ybeam), mm."""
    if convention.beam_centre == "flipped":
        return x, size_slow - y
    shift = convention.shift * pixel
    return (y + shift, x + shift) if convention.beam_centre == "slow fast" else (x + shift, y + shift)


def default_beam_centre(
    convention: Convention, size_fast: float, size_slow: float, pixel: float
) -> tuple[float, float]:
    """(Xbeam, Ybeam), mm, of a detector centred on the beam."""
    if convention.beam_centre == "flipped":
        return (size_fast + pixel) / 2.0, (size_slow - pixel) / 2.0
    if convention.beam_centre == "slow fast":
        return (size_slow + pixel) / 2.0, (size_fast + pixel) / 2.0
    return size_fast / 2.0, size_slow / 2.0
