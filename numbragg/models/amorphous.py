"""Matter in the beam that has no lattice: solvent, air, glass."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models._checks import require_not_negative, require_positive


@dataclass(frozen=True, kw_only=True, eq=False)
class AmorphousLayer:
    """A layer of amorphous material that the beam goes through (specs/10-physics.md, 10.88 to 10.90).

    Parameters
    ----------
    stol
        sin(theta)/lambda, 1/angstrom, rising, shape (n,).
    amplitude
        Scattering amplitude of one molecule at each ``stol``, electrons, shape (n,); straight lines in between, flat
        beyond both ends.
    thickness
        Along the beam, mm.
    density
        g/cm^3.
    molecular_weight
        Of what ``amplitude`` calls a molecule, g/mol.
    width
        Edge of the square that is lit, mm; None is the size of the beam.
    """

    stol: npt.NDArray[np.float64]
    amplitude: npt.NDArray[np.float64]
    thickness: float
    density: float = 1.0
    molecular_weight: float = 18.0
    width: float | None = None

    def __post_init__(self) -> None:
        owner = "amorphous layer"
        if self.stol.ndim != 1 or self.stol.shape != self.amplitude.shape or self.stol.size == 0:
            raise NumbraggError(f"{owner}: one amplitude is needed for each value of sin(theta)/lambda")
        require_not_negative(owner, stol=self.stol, amplitude=self.amplitude, thickness=self.thickness)
        require_not_negative(owner, density=self.density, width=self.width)
        require_positive(owner, molecular_weight=self.molecular_weight)
        if not np.all(np.diff(self.stol) > 0):
            raise NumbraggError(f"{owner}: the values of sin(theta)/lambda must rise from row to row")
