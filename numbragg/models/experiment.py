"""Everything an image depends on, in one immutable object."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models._checks import require_count, require_finite, require_not_negative, require_vector
from numbragg.models.amorphous import AmorphousLayer
from numbragg.models.beam import Beam
from numbragg.models.crystal import Crystal
from numbragg.models.detector import Detector
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.models.sampling import Sampling
from numbragg.models.structure_factors import StructureFactors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numbragg.models.parameters import Parameter


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """Rotation of the crystal during the exposure (specs/10-physics.md, 10.31).

    Parameters
    ----------
    start
        First phi, degrees.
    sampling
        Range, number and spacing of the phi steps, degrees; step k is at ``start + k * spacing``.
    spindle_axis
        Unit vector; a positive rotation is right-handed about it.
    """

    start: Any = 0.0
    sampling: Sampling = Sampling()
    spindle_axis: npt.NDArray[Any] = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))

    def __post_init__(self) -> None:
        require_finite("scan", start=self.start)
        require_vector("scan", spindle_axis=self.spindle_axis)


@dataclass(frozen=True)
class Roi:
    """Rectangle of pixels, both ends included."""

    fast_min: int
    fast_max: int
    slow_min: int
    slow_max: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """Crystal, beam, detector and how finely they are sampled.

    Parameters
    ----------
    crystal, beam, detector, scan
        The objects.
    oversample
        Sub-pixels along each edge of a pixel; None chooses by specs/10-physics.md, 10.28.
    oversample_omega, oversample_polarization, oversample_thickness
        Evaluate solid angle, polarisation or capture for every sub-pixel, not only the first.
    d_min
        Resolution limit, angstrom; 0 for none.
    water_size
        Edge of a cube of water in the beam, micrometre.
    background
        Amorphous layers in the beam: solvent, air, windows.
    roi
        Rectangle outside of which pixels stay 0; None is the whole detector. Not with several panels.
    mask
        Boolean, of the shape of an image; pixels that are False stay 0. None simulates all.
    quirks
        Defects of nanoBragg.c to reproduce.
    line_factors
        One table of structure factors for each line of the spectrum of the beam, in its order: amplitudes with the f'
        and f'' of each wavelength. Empty: the table of the crystal serves all.
    """

    crystal: Crystal
    beam: Beam = field(default_factory=Beam)
    detector: Detector = field(default_factory=Detector)
    scan: Scan = field(default_factory=Scan)
    oversample: int | None = None
    oversample_omega: bool = False
    oversample_polarization: bool = False
    oversample_thickness: bool = False
    d_min: float = 0.0
    water_size: float = 0.0
    background: tuple[AmorphousLayer, ...] = ()
    roi: Roi | None = None
    mask: npt.NDArray[np.bool_] | None = None
    quirks: Quirks = NO_QUIRKS
    line_factors: tuple[StructureFactors, ...] = ()

    def __post_init__(self) -> None:
        require_count("experiment", oversample=self.oversample)
        require_not_negative("experiment", d_min=self.d_min, water_size=self.water_size)
        if self.detector.panels and self.quirks != NO_QUIRKS:
            raise NumbraggError("experiment: nanoBragg.c, whose defects are reproduced, knows one panel")
        if self.mask is not None and self.mask.shape != self.detector.shape:
            mask, image = (" x ".join(str(n) for n in shape[::-1]) for shape in (self.mask.shape, self.detector.shape))
            raise NumbraggError(f"the mask has {mask} pixels (fast x slow), the detector {image}")
        if self.roi is not None:
            self._check_roi(self.roi)
        if self.line_factors:
            self._check_lines()

    def _check_lines(self) -> None:
        spectrum, count = self.beam.spectrum, len(self.line_factors)
        if spectrum is None:
            raise NumbraggError("a table of structure factors for each line needs a spectrum (Beam(spectrum=...))")
        if count != len(spectrum.weights):
            raise NumbraggError(
                f"{count} tables of structure factors for {len(spectrum.weights)} lines; resample the spectrum, or "
                "give one table for each line"
            )
        if self.quirks != NO_QUIRKS:
            raise NumbraggError("experiment: nanoBragg.c, whose defects are reproduced, has one table for all lines")

    def _check_roi(self, roi: Roi) -> None:
        if self.detector.has_panels:
            raise NumbraggError("a region of interest is one panel's: choose a panel, or give a mask")
        slow, fast = self.detector.panel_shape
        if not (0 <= roi.fast_min <= roi.fast_max < fast and 0 <= roi.slow_min <= roi.slow_max < slow):
            raise NumbraggError(
                f"the region of interest {roi.fast_min} {roi.fast_max} {roi.slow_min} {roi.slow_max} does not lie "
                f"on the detector of {fast} x {slow} pixels (fast x slow)"
            )

    @property
    def parameters(self) -> "dict[str, Parameter]":
        """Every parameter with its value and unit, by name (specs/50-gradients.md, 50.2)."""
        from numbragg.models.parameters import read_parameters

        return read_parameters(self)

    def replace(self, values: "Mapping[str, Any]") -> "Experiment":
        """Make the same experiment with other values of some parameters.

        Parameters
        ----------
        values
            New values by name, in the units of `parameters`; real, or complex for a complex step.

        Raises
        ------
        NumbraggError
            An unknown name, or a value that makes no experiment.
        """
        from numbragg.models.parameters import replace_parameters

        return replace_parameters(self, values)

    def of_panel(self, number: int) -> "Experiment":
        """Make the same experiment with one of the panels of its detector, number from 0.

        Raises
        ------
        NumbraggError
            There is no such panel.
        """
        detector = dataclasses.replace(self.detector, panel=number)
        mask = self.mask if self.mask is None or not self.detector.has_panels else self.mask[number]
        return dataclasses.replace(self, detector=detector, mask=mask)

    def by_panel(self) -> "tuple[Experiment, ...]":
        """One experiment for each panel that is simulated; itself where that is one."""
        if not self.detector.has_panels:
            return (self,)
        return tuple(self.of_panel(number) for number in range(len(self.detector.panels)))

    def active_pixels(self) -> npt.NDArray[np.int32]:
        """Numbers of the pixels that are simulated, in raster order: positions in the flat image."""
        if self.mask is None and self.roi is None:
            return np.arange(math.prod(self.detector.shape), dtype=np.int32)
        return np.flatnonzero(self.active_mask()).astype(np.int32)

    def active_mask(self) -> npt.NDArray[np.bool_]:
        """Which pixels are simulated, of the shape of an image."""
        active = np.ones(self.detector.shape, dtype=bool)
        if self.roi is not None:
            active[:] = False
            active[self.roi.slow_min : self.roi.slow_max + 1, self.roi.fast_min : self.roi.fast_max + 1] = True
        return active if self.mask is None else active & self.mask
