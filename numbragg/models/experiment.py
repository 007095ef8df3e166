"""Everything an image depends on, in one immutable object."""

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
        Rectangle outside of which pixels stay 0; None is the whole detector.
    mask
        Boolean, shape (slow, fast); pixels that are False stay 0. None simulates all.
    quirks
        Defects of nanoBragg.c to reproduce.
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

    def __post_init__(self) -> None:
        require_count("experiment", oversample=self.oversample)
        require_not_negative("experiment", d_min=self.d_min, water_size=self.water_size)
        shape = self.detector.shape
        if self.mask is not None and self.mask.shape != shape:
            raise NumbraggError(
                f"the mask has {self.mask.shape[-1]} x {self.mask.shape[0]} pixels (fast x slow), "
                f"the detector {shape[1]} x {shape[0]}"
            )
        if self.roi is not None:
            roi, (slow, fast) = self.roi, shape
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

    def active_pixels(self) -> npt.NDArray[np.int32]:
        """Numbers (slow * n_fast + fast) of the pixels that are simulated, in raster order."""
        n_slow, n_fast = self.detector.shape
        if self.mask is None and self.roi is None:
            return np.arange(n_slow * n_fast, dtype=np.int32)
        return np.flatnonzero(self.active_mask()).astype(np.int32)

    def active_mask(self) -> npt.NDArray[np.bool_]:
        """Which pixels are simulated, shape (slow, fast)."""
        active = np.ones(self.detector.shape, dtype=bool)
        if self.roi is not None:
            active[:] = False
            active[self.roi.slow_min : self.roi.slow_max + 1, self.roi.fast_min : self.roi.fast_max + 1] = True
        return active if self.mask is None else active & self.mask
