"""The beam: sources, wavelengths, divergence, polarisation, fluence."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models._checks import require_finite, require_not_negative, require_positive, require_vector
from numbragg.models.sampling import Sampling
from numbragg.models.spectrum import Spectrum

CLASSICAL_RADIUS_SQUARED = 7.94079248018965e-30
"""Classical electron radius squared, m^2 (specs/10-physics.md, 10.2)."""

DEFAULT_FLUENCE = 125932015286227086360700780544.0
"""Photons/m^2; 1 / CLASSICAL_RADIUS_SQUARED, so that a photon count is a number of electrons squared."""


DEFAULT_BEAM_SIZE = 0.1
"""Edge of the square beam, mm."""


@dataclass(frozen=True, eq=False)
class SourceTable:
    """Sources given one by one.

    Parameters
    ----------
    positions
        Direction from the sample to each source, shape (S, 3); only the direction matters.
    weights
        Relative brightness, shape (S,); scaled to mean 1 before use.
    wavelengths
        Angstrom, shape (S,); None means the wavelength of the beam.
    """

    positions: npt.NDArray[Any]
    weights: npt.NDArray[np.float64]
    wavelengths: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if len(self.positions) == 0 or self.positions.shape != (len(self.weights), 3):
            raise NumbraggError("sources: one position of three numbers and one weight for each source are needed")
        require_finite("sources", positions=self.positions)
        require_not_negative("sources", weights=self.weights)
        if not np.any(self.weights):
            raise NumbraggError("sources: every weight is zero")
        if not np.all(np.any(self.positions.real, axis=1)):
            raise NumbraggError("sources: a position of 0 0 0 has no direction")
        require_positive("sources", wavelengths=self.wavelengths)


@dataclass(frozen=True, kw_only=True, eq=False)
class Beam:
    """The X-ray beam (specs/10-physics.md, 10.30 to 10.36).

    Parameters
    ----------
    wavelength
        Angstrom.
    fluence
        Photons/m^2 over the exposure.
    polarization
        Kahn factor: 1 for light polarised along ``polarization_axis``, 0 for unpolarised, -1 across; None leaves the
        polarisation factor out.
    direction
        Unit vector from the source to the sample.
    polarization_axis
        Unit vector along the electric field.
    divergence_horizontal, divergence_vertical
        Angles about the vertical and about the polarisation axis, mrad.
    round_divergence
        Drop the corners of a divergence that is sampled in both directions.
    dispersion
        Wavelengths around the mean, percent.
    sources
        Sources given one by one; divergence and dispersion then have no effect.
    size
        Edge of the square beam, mm: what it lights of amorphous layers.
    spectrum
        Lines of a spectrum, scaled so that their mean is ``wavelength``; dispersion then has no effect.
    """

    wavelength: Any = 1.0
    fluence: Any = DEFAULT_FLUENCE
    polarization: Any = 0.0
    direction: npt.NDArray[Any] = field(default_factory=lambda: np.array([1.0, 0.0, 0.0]))
    polarization_axis: npt.NDArray[Any] = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))
    divergence_horizontal: Sampling = Sampling()
    divergence_vertical: Sampling = Sampling()
    round_divergence: bool = True
    dispersion: Sampling = Sampling()
    sources: SourceTable | None = None
    size: float = DEFAULT_BEAM_SIZE
    spectrum: Spectrum | None = None

    def __post_init__(self) -> None:
        require_positive("beam", wavelength=self.wavelength)
        require_not_negative("beam", fluence=self.fluence, size=self.size)
        require_finite("beam", polarization=self.polarization)
        require_vector("beam", direction=self.direction, polarization_axis=self.polarization_axis)
        if not np.any(np.cross(self.direction, self.polarization_axis).real):
            raise NumbraggError("beam: the polarisation axis must not lie along the beam")
        if self.spectrum is not None and self.sources is not None and self.sources.wavelengths is not None:
            raise NumbraggError("beam: the sources have wavelengths of their own; give them or a spectrum")
        if np.real(self.dispersion.range) >= 200:
            raise NumbraggError(f"beam: a dispersion of {self.dispersion.range} percent reaches wavelength zero")
