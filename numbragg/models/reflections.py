"""A list of structure-factor amplitudes as files hold it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Cell = tuple[float, float, float, float, float, float]
"""Unit cell a, b, c in angstrom and alpha, beta, gamma in degrees."""


class Reflections(NamedTuple):
    """Amplitudes F(h, k, l) in P1, one row an index (specs/30-formats.md, clause 30.1).

    Nothing is implied by symmetry: both Friedel mates and all symmetry mates are rows of their own.
    """

    hkl: npt.NDArray[np.int32]
    """Indices, shape (n, 3)."""
    amplitudes: npt.NDArray[np.float64]
    """Amplitudes in electrons (or on the scale of the file), shape (n,)."""
    cell: Cell | None = None
    """Unit cell, where the source holds one."""
    space_group: str | None = None
    """Extended Hermann-Mauguin symbol of the symmetry that the source states, such as ``P 21 21 21``."""
