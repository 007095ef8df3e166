"""Evenly spaced values of something that has a range: angles, wavelengths, phi."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.models._checks import require_count, require_finite


@dataclass(frozen=True)
class Sampling:
    """``count`` values that start at one end of a range (specs/10-physics.md, 10.30).

    Parameters
    ----------
    range
        The whole range, in the unit of its owner.
    count
        Number of values, at least 1.
    step
        Distance between neighbours in the same unit; None means ``range / count``.
    """

    range: Any = 0.0
    count: int = 1
    step: Any = None

    def __post_init__(self) -> None:
        require_count("sampling", count=self.count)
        require_finite("sampling", range=self.range, step=self.step)

    @property
    def spacing(self) -> Any:
        """Distance between neighbours."""
        return self.range / self.count if self.step is None else self.step

    def centred(self) -> npt.NDArray[Any]:
        """Values ``k * spacing - range / 2``, shape (count,)."""
        return np.asarray(np.arange(self.count) * self.spacing - 0.5 * self.range)
