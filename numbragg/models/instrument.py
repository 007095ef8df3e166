"""What a file says about how an image was taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models._checks import (
    require_count,
    require_finite,
    require_not_negative,
    require_positive,
    require_vector,
)
from numbragg.models.panel import Panel

Vector = npt.NDArray[np.float64]

LARGEST_TRUSTED = 65534.0
"""Counts; noise images are clipped one above."""
PARALLEL = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Instrument:
    """Detector, beam, rotation and crystal of an image, as files hold them (specs/30-formats.md, 30.61).

    All vectors are in one right-handed frame whose origin is the sample. What numbragg writes has X along the spindle
    and Z towards the source (imgCIF); what it reads may be in any.

    Parameters
    ----------
    n_fast, n_slow
        Pixels along the two axes.
    pixel_size
        Edge of a square pixel, mm.
    origin
        Outer corner of the first pixel, mm.
    fast_axis, slow_axis
        Unit vectors.
    wavelength
        Angstrom.
    beam_direction
        Unit vector from the source to the sample.
    polarization_fraction
        1 for light polarised in the plane across ``polarization_normal``, 0.5 for unpolarised.
    polarization_normal
        Unit vector across the beam and the electric field.
    spindle_axis
        Unit vector; the crystal turns right-handed about it.
    phi_start, osc
        Spindle angle where the first image begins, and rotation of one image, degrees; 0 for a still.
    exposure
        Seconds an image.
    thickness
        Of the sensor, mm; 0 where photons stop at its surface.
    attenuation
        Of the sensor, 1/mm; 0 where it is not known.
    gain
        Counts a photon.
    pedestal
        Counts of a pixel without photons.
    saturation
        Largest count that is right.
    flux
        Photons/s; 0 where it is not known.
    cell_axes
        Direct vectors a, b, c as rows at phi = 0, angstrom, shape (3, 3); None without a crystal.
    space_group
        Hermann-Mauguin symbol.
    panels
        Of several panels of n_fast x n_slow pixels, where each is; empty for one, which ``origin`` and the axes place.
        With several these place the detector as a whole: what distance and beam centre are counted from.
    """

    n_fast: int
    n_slow: int
    pixel_size: float
    origin: Vector
    fast_axis: Vector
    slow_axis: Vector
    wavelength: float
    beam_direction: Vector = field(default_factory=lambda: np.array([0.0, 0.0, -1.0]))
    polarization_fraction: float = 0.5
    polarization_normal: Vector = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))
    spindle_axis: Vector = field(default_factory=lambda: np.array([1.0, 0.0, 0.0]))
    phi_start: float = 0.0
    osc: float = 0.0
    exposure: float = 1.0
    thickness: float = 0.0
    attenuation: float = 0.0
    gain: float = 1.0
    pedestal: float = 0.0
    saturation: float = LARGEST_TRUSTED
    flux: float = 0.0
    cell_axes: Vector | None = None
    space_group: str = "P 1"
    panels: tuple[Panel, ...] = ()

    def __post_init__(self) -> None:
        require_count("detector", n_fast=self.n_fast, n_slow=self.n_slow)
        require_positive("detector", pixel_size=self.pixel_size, gain=self.gain)
        require_not_negative("detector", thickness=self.thickness, attenuation=self.attenuation)
        require_vector("detector", origin=self.origin, fast_axis=self.fast_axis, slow_axis=self.slow_axis)
        require_finite("detector", pedestal=self.pedestal, saturation=self.saturation)
        require_positive("beam", wavelength=self.wavelength)
        require_not_negative("beam", flux=self.flux)
        require_vector("beam", beam_direction=self.beam_direction, polarization_normal=self.polarization_normal)
        require_finite("beam", polarization_fraction=self.polarization_fraction)
        require_finite("scan", phi_start=self.phi_start, osc=self.osc, exposure=self.exposure)
        require_vector("scan", spindle_axis=self.spindle_axis)
        if np.linalg.norm(np.cross(self.fast_axis, self.slow_axis)) < PARALLEL:
            raise NumbraggError("detector: the fast and the slow axis are parallel")
        if abs(self.normal @ self.beam_direction) < PARALLEL:
            raise NumbraggError("detector: the beam runs along the detector plane")
        if self.cell_axes is not None:
            require_finite("crystal", cell_axes=self.cell_axes)
            if self.cell_axes.shape != (3, 3) or np.linalg.det(self.cell_axes) <= 0:
                raise NumbraggError("crystal: a, b and c must be three vectors of a right-handed cell")

    @classmethod
    def of_panels(cls, panels: Sequence[Panel], *, beam_direction: Vector, **others: Any) -> "Instrument":
        """Make an instrument of one panel, or of several as the one whose centre lies nearest to the beam places them.

        Parameters
        ----------
        panels
            In the frame of the instrument; at least one.
        beam_direction, others
            As of `Instrument`.
        """
        pixel, size = others["pixel_size"], (others["n_fast"], others["n_slow"])
        centres = np.array([p.origin + 0.5 * pixel * (size[0] * p.fast_axis + size[1] * p.slow_axis) for p in panels])
        along = centres @ beam_direction / np.linalg.norm(centres, axis=1)
        first = panels[int(np.argmax(along))]
        return cls(
            origin=first.origin,
            fast_axis=first.fast_axis,
            slow_axis=first.slow_axis,
            beam_direction=beam_direction,
            panels=tuple(panels) if len(panels) > 1 else (),
            **others,
        )

    @property
    def all_panels(self) -> tuple[Panel, ...]:
        """Where each panel is, also where there is only one."""
        only = Panel(origin=self.origin, fast_axis=self.fast_axis, slow_axis=self.slow_axis)
        return self.panels or (only,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image: (slow, fast), or (panel, slow, fast)."""
        size = (self.n_slow, self.n_fast)
        return (len(self.panels), *size) if self.panels else size

    @property
    def is_still(self) -> bool:
        """Whether the crystal does not turn during an image."""
        return self.osc == 0.0

    @property
    def normal(self) -> Vector:
        """Unit vector across the detector, away from the sample."""
        across = np.cross(self.fast_axis, self.slow_axis)
        across = across / np.linalg.norm(across)
        return np.asarray(across if across @ self.origin >= 0 else -across)

    @property
    def distance(self) -> float:
        """From the sample to the detector along the beam, mm."""
        return float(self.origin @ self.normal / (self.beam_direction @ self.normal))

    @property
    def beam_centre(self) -> tuple[float, float]:
        """Where the beam meets the detector, mm along fast and slow from the corner of the first pixel."""
        across = np.cross(self.fast_axis, self.slow_axis)
        along = np.stack([self.fast_axis, self.slow_axis, across], axis=1)
        fast, slow, _ = np.linalg.solve(along, self.distance * self.beam_direction - self.origin)
        return float(fast), float(slow)
