"""One of several panels of a detector."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models._checks import require_finite, require_vector

Vector = npt.NDArray[np.float64]

ACROSS = 1e-3
"""Cosine between the axes of a panel that refined and rounded axes may have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Where a panel is (specs/10-physics.md, 10.98).

    Parameters
    ----------
    origin
        Outer corner of its first pixel, mm, shape (3,). Of a `Detector` along fast, slow and normal of the detector,
        from the outer corner of the first pixel that the detector itself would have; of an `Instrument` in its frame.
    fast_axis, slow_axis
        Directions of its axes in the same frame, at right angles; stored as unit vectors.
    name
        As files call it; empty for none.
    """

    origin: Vector
    fast_axis: Vector
    slow_axis: Vector
    name: str = ""

    def __post_init__(self) -> None:
        require_finite("panel", origin=self.origin)
        if np.shape(self.origin) != (3,):
            raise NumbraggError(f"panel: origin must be three numbers ({self.origin})")
        require_vector("panel", fast_axis=self.fast_axis, slow_axis=self.slow_axis)
        for axis in ("fast_axis", "slow_axis"):
            vector = np.asarray(getattr(self, axis), dtype=float)
            object.__setattr__(self, axis, vector / np.linalg.norm(vector))
        if abs(self.fast_axis @ self.slow_axis) > ACROSS:
            raise NumbraggError(f"panel: the fast and the slow axis of '{self.name}' are not at right angles")


def as_rows(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values with the rows of all panels in one dimension, shape (rows, fast)."""
    return image.reshape(math.prod(image.shape[:-1]), image.shape[-1])
