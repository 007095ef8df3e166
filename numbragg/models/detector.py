"""The detector: its panels and its sensor."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

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

Pivot = Literal["beam", "sample"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector:
    """A detector (specs/10-physics.md, 10.10 to 10.19).

    Parameters
    ----------
    n_fast, n_slow
        Pixels along the two axes; images have shape (n_slow, n_fast).
    pixel_size
        Edge of a square pixel, mm.
    distance
        From the sample to the detector along the beam, mm.
    pivot
        What the rotations leave in place: "beam", where the beam hits the detector, or "sample".
    beam_fast, beam_slow
        Where the beam hits (pivot "beam") or the point nearest the sample lies (pivot "sample"): distances along fast
        and slow from the outer corner of the first pixel, mm.
    fast_axis, slow_axis, normal
        Directions of the axes before the rotations; the normal points away from the sample.
    rot_x, rot_y, rot_z
        Rotations about the laboratory X, then Y, then Z axis, degrees, right-handed.
    twotheta
        Rotation about ``twotheta_axis``, after the others, degrees, right-handed.
    twotheta_axis
        Unit vector.
    origin
        Outer corner of the first pixel after all rotations, m in the laboratory; None derives it from the beam centre.
    curved
        Bend the detector into a sphere about the sample.
    point_pixel
        Solid angle of a point, 1/R^2 in place of area/R^2 with obliquity.
    thickness
        Sensor thickness, micrometre; 0 for a sensor that captures everything.
    attenuation_depth
        Depth at which 1/e of the photons are left, micrometre; None captures everything.
    layers
        Sensor layers that parallax is computed for.
    layer_step
        Distance between layers, micrometre; None means thickness / layers.
    panels
        Where each of several flat panels is, along fast, slow and normal of the detector (10.98); all have n_fast x
        n_slow pixels. Rotations, distance and beam centre move them together. Empty for one panel, the detector itself.
    panel
        Number of the only one of ``panels`` that is simulated; None simulates all.
    """

    n_fast: int = 1024
    n_slow: int = 1024
    pixel_size: float = 0.1
    distance: Any = 100.0
    pivot: Pivot = "beam"
    beam_fast: Any = 51.2
    beam_slow: Any = 51.2
    fast_axis: npt.NDArray[Any] = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))
    slow_axis: npt.NDArray[Any] = field(default_factory=lambda: np.array([0.0, -1.0, 0.0]))
    normal: npt.NDArray[Any] = field(default_factory=lambda: np.array([1.0, 0.0, 0.0]))
    rot_x: Any = 0.0
    rot_y: Any = 0.0
    rot_z: Any = 0.0
    twotheta: Any = 0.0
    twotheta_axis: npt.NDArray[Any] = field(default_factory=lambda: np.array([0.0, 0.0, -1.0]))
    origin: npt.NDArray[Any] | None = None
    curved: bool = False
    point_pixel: bool = False
    thickness: float = 0.0
    attenuation_depth: float | None = None
    layers: int = 1
    layer_step: float | None = None
    panels: tuple[Panel, ...] = ()
    panel: int | None = None

    def __post_init__(self) -> None:
        require_count("detector", n_fast=self.n_fast, n_slow=self.n_slow, layers=self.layers)
        if math.prod(self.shape) > np.iinfo(np.int32).max:
            size = " x ".join(str(count) for count in self.shape[::-1])
            raise NumbraggError(f"detector: {size} pixels are more than one image can hold")
        require_positive("detector", pixel_size=self.pixel_size, attenuation_depth=self.attenuation_depth)
        require_finite("detector", beam_fast=self.beam_fast, beam_slow=self.beam_slow, twotheta=self.twotheta)
        require_finite("detector", rot_x=self.rot_x, rot_y=self.rot_y, rot_z=self.rot_z, distance=self.distance)
        if np.real(self.distance) == 0:
            raise NumbraggError("detector: the distance must not be zero")
        require_not_negative("detector", thickness=self.thickness, layer_step=self.layer_step)
        require_vector("detector", fast_axis=self.fast_axis, slow_axis=self.slow_axis, normal=self.normal)
        require_vector("detector", twotheta_axis=self.twotheta_axis, origin=self.origin)
        if self.pivot not in ("beam", "sample"):
            raise NumbraggError(f"detector: the pivot must be beam or sample, not {self.pivot}")
        if self.curved and self.panels:
            raise NumbraggError("detector: several panels are flat; a curved detector has one")
        if self.panel is not None and not 0 <= self.panel < len(self.panels):
            count = f"{len(self.panels)} panels, counted from 0" if self.panels else "one panel"
            raise NumbraggError(f"detector: there is no panel {self.panel}: it has {count}")

    @property
    def has_panels(self) -> bool:
        """Whether an image has a dimension for panels."""
        return bool(self.panels) and self.panel is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image: (slow, fast), or (panel, slow, fast) where several panels are simulated."""
        return (len(self.panels), *self.panel_shape) if self.has_panels else self.panel_shape

    @property
    def panel_shape(self) -> tuple[int, int]:
        """Shape of the image of one panel, (slow, fast)."""
        return self.n_slow, self.n_fast
