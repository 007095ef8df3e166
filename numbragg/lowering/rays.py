"""Where rays from the sample meet the detector, in pixels."""

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.geometry.rotations import unit
from numbragg.lowering.detector_frame import MM, DetectorFrame, frame_of
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment

MICROMETRE = 1e-6
FLATTEST = 1e-6
"""Cosine between a ray and the normal below which the ray is taken to miss the plane."""

Rays = npt.NDArray[np.float64]


def detector_points(experiment: Experiment, rays: Rays) -> tuple[Rays, Rays]:
    """Find where rays from the sample meet the detector.

    Parameters
    ----------
    experiment
        Its detector and the direction of its beam.
    rays
        Directions in the laboratory, of any length but 0, shape (..., 3).

    Returns
    -------
    slow, fast
        Shape (...), pixels; the centre of the first pixel is (0, 0), its outer corner (-0.5, -0.5). Points beyond the
        edges are given too. NaN where a ray does not meet the detector. In a sensor of several layers the point lies at
        the mean depth of the photons that it captures.

    Raises
    ------
    NumbraggError
        The beam runs along the detector plane, or the detector is curved and its axes span no (y, z) plane.

    Notes
    -----
    The inverse of ``specs/10-physics.md``, clause 10.17.
    """
    detector, frame = experiment.detector, frame_of(experiment)
    directions = unit(np.asarray(rays, dtype=float))
    across = directions @ frame.normal
    # A detector behind the sample (a negative distance) is met by rays against its normal.
    across = np.where(np.sign(frame.close_distance) * across > FLATTEST, across, np.nan)
    if detector.curved:
        corner = _unbent(experiment, frame, directions)
    else:
        depth = _mean_depth(detector, np.abs(across))
        corner = directions * ((frame.close_distance + depth) / across)[..., None] - frame.origin
    pixel = detector.pixel_size * MM
    return (corner @ frame.slow) / pixel - 0.5, (corner @ frame.fast) / pixel - 0.5


def _mean_depth(detector: Detector, across: Rays) -> Rays:
    """Mean depth, metres, of the layers in which photons are captured, weighted by what each captures."""
    if detector.attenuation_depth is None or detector.thickness == 0 or detector.layers == 1:
        return np.zeros_like(across)
    step = detector.thickness / detector.layers if detector.layer_step is None else detector.layer_step
    path = step / detector.attenuation_depth / across
    layers = np.arange(detector.layers).reshape(-1, *[1] * across.ndim)
    captured = np.exp(-layers * path) - np.exp(-(layers + 1) * path)
    total = captured.sum(axis=0)
    mean = np.divide((captured * layers).sum(axis=0), total, out=np.zeros_like(total), where=total != 0)
    return np.asarray(mean * step * MICROMETRE)


def _unbent(experiment: Experiment, frame: DetectorFrame, directions: Rays) -> Rays:
    """Flat positions, from the corner of the first pixel, of points on a detector bent about the sample."""
    beam, fast, slow = unit(experiment.beam.direction), frame.fast, frame.slow
    plane = np.array([[fast[1], slow[1]], [fast[2], slow[2]]])
    if abs(np.linalg.det(plane)) < FLATTEST:
        raise NumbraggError("a curved detector needs axes that span the laboratory's y and z (MOSFLM's, for instance)")
    along, across = (beam @ slow) * slow, np.cross(slow, beam)
    straight = beam - along
    # The first turn alone sets the component along fast.
    size, phase = np.hypot(straight @ fast, across @ fast), np.arctan2(straight @ fast, across @ fast)
    with np.errstate(invalid="ignore"):
        about_slow = np.arcsin((directions @ fast - along @ fast) / size) - phase
    cosine, sine = np.cos(about_slow)[..., None], np.sin(about_slow)[..., None]
    half_turned = cosine * straight + sine * across + along
    before, after = (v - (v @ fast)[..., None] * fast for v in (half_turned, directions))
    about_fast = np.arctan2(np.cross(before, after) @ fast, np.sum(before * after, axis=-1))
    flat = np.stack([about_slow, about_fast], axis=-1) * frame.distance - frame.origin[1:]
    steps = flat @ np.linalg.inv(plane).T
    return np.asarray(steps[..., :1] * fast + steps[..., 1:] * slow)


def resolution_at(experiment: Experiment, slow: npt.ArrayLike, fast: npt.ArrayLike) -> Rays:
    """Resolution d, angstrom, of points of a flat detector, given in pixels; infinite at the beam centre."""
    frame, pixel = frame_of(experiment), experiment.detector.pixel_size * MM
    along_slow, along_fast = (
        np.multiply.outer((np.asarray(x) + 0.5) * pixel, v) for x, v in ((slow, frame.slow), (fast, frame.fast))
    )
    rays = unit(frame.origin + along_slow + along_fast)
    with np.errstate(divide="ignore"):
        scattering = np.linalg.norm(rays - unit(experiment.beam.direction), axis=-1)
        return np.asarray(float(np.real(experiment.beam.wavelength)) / scattering)


def ring_points(experiment: Experiment, d: float, count: int = 360) -> tuple[Rays, Rays]:
    """Points (slow, fast), pixels, where the cone of a resolution meets the detector; NaN where it does not.

    Parameters
    ----------
    experiment
        Its detector and beam.
    d
        Resolution, angstrom; at least half the wavelength.
    count
        Points around the ring; the first is repeated at the end.
    """
    beam = unit(experiment.beam.direction)
    first = unit(np.cross(beam, np.eye(3)[np.argmin(np.abs(beam))]))
    second = np.cross(beam, first)
    twotheta = 2.0 * np.arcsin(float(np.real(experiment.beam.wavelength)) / (2.0 * d))
    azimuth = np.linspace(0.0, 2.0 * np.pi, count + 1)[:, None]
    across = np.cos(azimuth) * first + np.sin(azimuth) * second
    return detector_points(experiment, np.cos(twotheta) * beam + np.sin(twotheta) * across)
