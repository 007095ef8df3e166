"""The table of structure-factor amplitudes that the kernel looks up."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError

MAX_TABLE_BYTES = 4 << 30
"""A table above this is refused: its index range is a mistake far more often than a crystal."""


@dataclass(frozen=True, eq=False)
class StructureFactors:
    """Amplitudes F(h, k, l) in P1 on a dense grid (specs/10-physics.md, clause 10.7).

    Parameters
    ----------
    minimum
        Lowest index (h, k, l) in the table.
    values
        Amplitudes in electrons, float64, shape (h_range, k_range, l_range); ``values[0, 0, 0]`` belongs to
        ``minimum``. Indices that no reflection set hold the default amplitude.
    """

    minimum: tuple[int, int, int]
    values: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.size == 0:
            raise NumbraggError(f"a structure-factor table has three dimensions, not shape {self.values.shape}")
        if not np.isfinite(self.values).all():
            raise NumbraggError("a structure-factor table holds numbers that are not finite")

    @classmethod
    def from_reflections(
        cls, hkl: npt.NDArray[np.integer], amplitudes: npt.NDArray[np.float64], default: float = 0.0
    ) -> "StructureFactors":
        """Fill a dense table from a list; the last of several equal indices wins.

        Parameters
        ----------
        hkl
            Integer indices, shape (n, 3).
        amplitudes
            Amplitudes in electrons, shape (n,).
        default
            Amplitude of the indices that are not in the list, in electrons.

        Raises
        ------
        NumbraggError
            No reflection, numbers that are not finite, or an index range too large for memory.
        """
        if len(hkl) == 0:
            raise NumbraggError("the structure-factor list holds no reflection")
        low, high = hkl.min(axis=0).astype(int), hkl.max(axis=0).astype(int)
        shape = tuple(int(n) for n in high - low + 1)
        size = 8 * shape[0] * shape[1] * shape[2]
        if size > MAX_TABLE_BYTES:
            raise NumbraggError(
                f"the indices of the structure factors span {shape[0]} x {shape[1]} x {shape[2]}: "
                f"the table would take {size / 2**30:.1f} GiB (limit {MAX_TABLE_BYTES >> 30} GiB)"
            )
        values = np.full(shape, float(default))
        values[tuple((hkl - low).T)] = amplitudes
        return cls((int(low[0]), int(low[1]), int(low[2])), values)

    @property
    def maximum(self) -> tuple[int, int, int]:
        """Highest index (h, k, l) in the table."""
        h, k, l = (low + n - 1 for low, n in zip(self.minimum, self.values.shape, strict=True))
        return h, k, l
