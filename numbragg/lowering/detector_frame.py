"""From a description of the detector to where its first pixel is and where its axes point."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.geometry.rotations import DEGREE, axis_rotation, unit, xyz_rotation
from numbragg.models.detector import Detector

MM = 1e-3


class DetectorFrame(NamedTuple):
    """A placed detector; lengths in metres, vectors in the laboratory frame, real or complex."""

    origin: npt.NDArray[Any]  # outer corner of the first pixel
    fast: npt.NDArray[Any]
    slow: npt.NDArray[Any]
    normal: npt.NDArray[Any]
    distance: Any  # along the beam
    close_distance: Any  # along the normal
    beam_fast: Any  # where the beam hits, from the corner of the first pixel
    beam_slow: Any
    close_fast: Any  # the point nearest the sample, from the corner of the first pixel
    close_slow: Any


def obliquity(detector: Detector, beam_direction: npt.NDArray[Any]) -> Any:
    """Cosine between the beam and the detector normal after the x, y, z rotations."""
    return unit(beam_direction) @ (_turn(detector) @ detector.normal)


def place_detector(
    detector: Detector, beam_direction: npt.NDArray[Any], *, normalise_twotheta_axis: bool = True
) -> DetectorFrame:
    """Place the detector (specs/10-physics.md, 10.12 to 10.16).

    Parameters
    ----------
    detector
        In user units (mm, degrees).
    beam_direction
        Vector along the beam, shape (3,).
    normalise_twotheta_axis
        False lets the length of the axis scale what it turns (specs/40-compat.md, Q25).
    """
    beam = unit(beam_direction)
    turn = _turn(detector)
    axis = unit(detector.twotheta_axis) if normalise_twotheta_axis else detector.twotheta_axis
    swing = axis_rotation(axis, detector.twotheta * DEGREE)
    ratio = beam @ (turn @ detector.normal)
    close_distance = ratio * detector.distance * MM
    close_distance = close_distance * np.sign(np.real(close_distance))
    distance = close_distance / ratio
    axes = (detector.fast_axis, detector.slow_axis, detector.normal)
    fast, slow, normal = (swing @ (turn @ axis) for axis in axes)
    along_fast, along_slow = detector.beam_fast * MM, detector.beam_slow * MM
    if detector.origin is not None:
        origin = np.asarray(detector.origin)
    elif detector.pivot == "sample":
        flat = -along_fast * detector.fast_axis - along_slow * detector.slow_axis + close_distance * detector.normal
        origin = swing @ (turn @ flat)
    else:
        origin = -along_fast * fast - along_slow * slow + distance * beam
    close_distance = origin @ normal
    hit = close_distance / ratio * beam - origin
    return DetectorFrame(
        origin=origin,
        fast=fast,
        slow=slow,
        normal=normal,
        distance=close_distance / ratio,
        close_distance=close_distance,
        beam_fast=fast @ hit,
        beam_slow=slow @ hit,
        close_fast=-(origin @ fast),
        close_slow=-(origin @ slow),
    )


def _turn(detector: Detector) -> npt.NDArray[Any]:
    return xyz_rotation(detector.rot_x * DEGREE, detector.rot_y * DEGREE, detector.rot_z * DEGREE)
