"""A measured or made-up spectrum: wavelengths with weights."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models._checks import require_count, require_not_negative, require_positive

FAINTEST = 1e-16
"""Of the brightest line: what is fainter does not change a sum in double precision."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Spectral lines of a beam (specs/10-physics.md, 10.92 and 10.93).

    Parameters
    ----------
    wavelengths
        Angstrom, shape (n,).
    weights
        Photons in each line, in any unit, shape (n,).
    """

    wavelengths: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.wavelengths.ndim != 1 or self.wavelengths.shape != self.weights.shape or self.weights.size == 0:
            raise NumbraggError("spectrum: one weight is needed for each wavelength")
        require_positive("spectrum", wavelengths=self.wavelengths)
        require_not_negative("spectrum", weights=self.weights)
        if not np.any(self.weights):
            raise NumbraggError("spectrum: every weight is zero")

    @property
    def mean(self) -> float:
        """Mean wavelength by weight, angstrom."""
        # The weights first: a spectrum of one line has the mean of that line to the last bit.
        return float(self.wavelengths @ (self.weights / self.weights.sum()))

    def resampled(self, points: int) -> "Spectrum":
        """Make a spectrum of at most so many lines with the same total weight and the same mean.

        The range is cut into ``points`` intervals of equal width; the lines of each become one, with their total weight
        at their mean. Empty intervals give no line.
        """
        require_count("spectrum", points=points)
        lit = self.weights > FAINTEST * self.weights.max()
        wavelengths, weights = self.wavelengths[lit], self.weights[lit]
        lowest, width = wavelengths.min(), np.ptp(wavelengths)
        place = (wavelengths - lowest) / (width or 1.0) * points
        _, interval = np.unique(np.minimum(place.astype(int), points - 1), return_inverse=True)
        totals = np.bincount(interval, weights).astype(np.float64)
        moments = np.bincount(interval, weights * (wavelengths - lowest))
        return Spectrum(lowest + moments / totals, totals)
