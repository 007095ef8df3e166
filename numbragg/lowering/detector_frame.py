"""From a description of the detector to where its first pixel is and where its axes point."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.geometry.rotations import DEGREE, axis_rotation, unit, xyz_rotation
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment
from numbragg.models.panel import Panel

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

    @property
    def matrix(self) -> npt.NDArray[Any]:
        """Origin, fast, slow and normal, shape (4, 3)."""
        return np.array([self.origin, self.fast, self.slow, self.normal])


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
    return _frame_at(origin, fast, slow, normal, beam, ratio)


def whole_frame(experiment: Experiment) -> DetectorFrame:
    """The placed detector of an experiment, all its panels as one.

    Raises
    ------
    NumbraggError
        The beam runs along the detector plane.
    """
    raw = experiment.quirks.q25_twotheta_axis_length
    frame = place_detector(experiment.detector, experiment.beam.direction, normalise_twotheta_axis=not raw)
    if not np.all(np.isfinite(frame.origin)) or not np.isfinite(frame.distance) or frame.distance == 0:
        raise NumbraggError("detector: the beam runs along the detector plane; check the normal and the rotations")
    return frame


def frame_of(experiment: Experiment) -> DetectorFrame:
    """The placed detector of an experiment, or its one panel that is simulated; raises as `whole_frame`.

    Distance and beam centre of a panel are infinite or not a number where the beam runs along its plane.
    """
    detector, frame = experiment.detector, whole_frame(experiment)
    if detector.panel is None:
        return frame
    frames, _ = place_panels(frame.matrix, [detector.panels[detector.panel]])
    origin, fast, slow, normal = frames[0]
    beam = unit(experiment.beam.direction)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _frame_at(origin, fast, slow, normal, beam, beam @ normal)


def _frame_at(
    origin: npt.NDArray[Any],
    fast: npt.NDArray[Any],
    slow: npt.NDArray[Any],
    normal: npt.NDArray[Any],
    beam: npt.NDArray[Any],
    ratio: Any,
) -> DetectorFrame:
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


def place_panels(frame: npt.NDArray[Any], panels: Sequence[Panel]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Place the panels of a detector (specs/10-physics.md, 10.98).

    Parameters
    ----------
    frame
        Of the detector, shape (4, 3): origin, m, fast, slow and normal, in the laboratory; real or complex.
    panels
        At least one, in the frame of the detector.

    Returns
    -------
    frames
        Of each panel, as ``frame``, shape (panels, 4, 3); the normal points away from the sample.
    close_distance
        From the sample to the plane of each, m, shape (panels,), above 0.
    """
    corner, fast, slow = (
        np.array([getattr(panel, name) for panel in panels]) for name in ("origin", "fast_axis", "slow_axis")
    )
    across = np.cross(fast, slow)
    across /= np.linalg.norm(across, axis=1)[:, None]
    axes = frame[1:]
    origin, normal = frame[0] + corner * MM @ axes, across @ axes
    close_distance = (origin * normal).sum(axis=1)
    away = np.where(np.real(close_distance) < 0, -1.0, 1.0)
    return np.stack([origin, fast @ axes, slow @ axes, normal * away[:, None]], axis=1), close_distance * away


def corner_points(detector: Detector, frame: DetectorFrame) -> npt.NDArray[Any]:
    """Outer corners of all panels that are simulated, m in the laboratory, shape (4 * panels, 3).

    ``frame`` is that of the detector as a whole, or of its one panel.
    """
    frames = place_panels(frame.matrix, detector.panels)[0] if detector.has_panels else frame.matrix[None]
    extent = detector.pixel_size * MM
    steps = [(i * detector.n_fast * extent, j * detector.n_slow * extent) for i in (0, 1) for j in (0, 1)]
    return np.concatenate([frames[:, 0] + i * frames[:, 1] + j * frames[:, 2] for i, j in steps])


def _turn(detector: Detector) -> npt.NDArray[Any]:
    return xyz_rotation(detector.rot_x * DEGREE, detector.rot_y * DEGREE, detector.rot_z * DEGREE)
