"""Between an experiment and what files say about its instrument (specs/30-formats.md, 30.61 to 30.63)."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggWarning
from numbragg.geometry.cell import cell_constants, direct_vectors, nearest_rotation
from numbragg.geometry.conventions import Convention
from numbragg.geometry.rotations import unit
from numbragg.lowering.detector_frame import DetectorFrame, frame_of, place_panels
from numbragg.lowering.orientations import crystal_axes
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment
from numbragg.models.instrument import LARGEST_TRUSTED, Instrument
from numbragg.models.panel import Panel

MM = 1e-3
MICROMETRE_IN_MM = 1e-3
ALONG_BEAM = 1e-6
"""Sine between spindle and beam below which the spindle fixes no direction across the beam."""

Vector = npt.NDArray[np.float64]


class Readout(NamedTuple):
    """What a file says beside the experiment: exposure and how photons became counts."""

    exposure: float = 1.0  # seconds
    flux: float = 0.0  # photons/s
    gain: float = 1.0  # counts a photon
    pedestal: float = 0.0  # counts
    saturation: float = LARGEST_TRUSTED  # counts


DEFAULT_READOUT = Readout()


def describe_instrument(experiment: Experiment, readout: Readout = DEFAULT_READOUT) -> Instrument:
    """Detector, beam, rotation and crystal of an experiment in the frame of files.

    Parameters
    ----------
    experiment
        What is simulated; real.
    readout
        Exposure, and how photons became counts.

    Returns
    -------
    Instrument
        In the imgCIF frame: Z against the beam, X along the part of the spindle that is across the beam.

    Warns
    -----
    NumbraggWarning
        Something that no file format of this kind can say: a curved detector, several sources.
    """
    detector, beam, scan = experiment.detector, experiment.beam, experiment.scan
    placed = frame_of(experiment)
    if detector.curved:
        warnings.warn("image files say that the detector is flat, but it is curved", NumbraggWarning, stacklevel=2)
    turn = to_imgcif(beam.direction, scan.spindle_axis, placed.fast)
    across = np.cross(unit(beam.polarization_axis), unit(beam.direction))
    kahn = 0.0 if beam.polarization is None else float(beam.polarization)
    depth = detector.attenuation_depth
    absorbs = depth is not None and detector.thickness > 0
    return Instrument(
        n_fast=detector.n_fast,
        n_slow=detector.n_slow,
        pixel_size=float(detector.pixel_size),
        origin=turn @ placed.origin / MM,
        fast_axis=turn @ placed.fast,
        slow_axis=turn @ placed.slow,
        wavelength=float(beam.wavelength),
        beam_direction=turn @ unit(beam.direction),
        polarization_fraction=(1.0 + kahn) / 2.0,
        polarization_normal=turn @ unit(across),
        spindle_axis=turn @ unit(scan.spindle_axis),
        phi_start=float(scan.start),
        osc=float(scan.sampling.range),
        exposure=readout.exposure,
        thickness=detector.thickness * MICROMETRE_IN_MM if absorbs else 0.0,
        attenuation=1.0 / (depth * MICROMETRE_IN_MM) if absorbs and depth is not None else 0.0,
        gain=readout.gain,
        pedestal=readout.pedestal,
        saturation=readout.saturation,
        flux=readout.flux,
        cell_axes=crystal_axes(experiment.crystal) @ turn.T,
        panels=_placed_panels(detector, placed, turn),
    )


def _placed_panels(detector: Detector, placed: DetectorFrame, turn: Vector) -> tuple[Panel, ...]:
    if not detector.has_panels:
        return ()
    frames, _ = place_panels(placed.matrix, detector.panels)
    return tuple(
        Panel(origin=turn @ origin / MM, fast_axis=turn @ fast, slow_axis=turn @ slow, name=panel.name)
        for panel, (origin, fast, slow, _) in zip(detector.panels, frames, strict=True)
    )


def to_imgcif(beam_direction: Vector, spindle_axis: Vector, fast_axis: Vector) -> Vector:
    """Rotation from a frame to the imgCIF one: Z against the beam, X along the spindle as far as it is across it.

    A spindle along the beam is replaced by the fast axis.
    """
    z = -unit(beam_direction)
    x = spindle_axis - (spindle_axis @ z) * z
    if np.linalg.norm(x) < ALONG_BEAM * np.linalg.norm(spindle_axis):
        x = fast_axis - (fast_axis @ z) * z
    x = unit(x)
    return np.array([x, np.cross(z, x), z])


class LaboratoryInstrument(NamedTuple):
    """An instrument turned into the laboratory frame of a convention, in numbragg's terms."""

    convention: Convention
    """The named one with the directions of the file."""
    distance: float  # mm, along the beam
    beam_fast: float  # mm from the corner of the first pixel
    beam_slow: float
    polarization: float  # Kahn factor
    cell: tuple[float, ...] | None
    orientation: Vector | None


def into_laboratory(instrument: Instrument, convention: Convention) -> LaboratoryInstrument:
    """Turn an instrument into the frame in which beam and spindle lie as a convention has them.

    Parameters
    ----------
    instrument
        In any right-handed frame.
    convention
        Whose beam and spindle set the frame; the spindle keeps its angle to the beam.
    """
    file_frame = to_imgcif(instrument.beam_direction, instrument.spindle_axis, instrument.fast_axis)
    turn = to_imgcif(convention.beam, convention.spindle, convention.fast).T @ file_frame
    beam = unit(turn @ instrument.beam_direction)
    placed = convention._replace(
        name="geometry file",
        pivot="beam",
        beam_centre="fast slow",
        shift=0.0,
        beam=beam,
        fast=unit(turn @ instrument.fast_axis),
        slow=unit(turn @ instrument.slow_axis),
        normal=unit(turn @ instrument.normal),
        polarization=unit(np.cross(turn @ instrument.polarization_normal, beam)),
        spindle=unit(turn @ instrument.spindle_axis),
    )
    cell = orientation = None
    if instrument.cell_axes is not None:
        cell = cell_constants(instrument.cell_axes)
        solved = np.linalg.solve(direct_vectors(cell), instrument.cell_axes @ turn.T)
        orientation = nearest_rotation(solved.T)
    fast, slow = instrument.beam_centre
    kahn = 2.0 * instrument.polarization_fraction - 1.0
    return LaboratoryInstrument(placed, instrument.distance, fast, slow, kahn, cell, orientation)


def within_detector(instrument: Instrument) -> tuple[Panel, ...]:
    """Several panels of an instrument along fast, slow and normal of its detector, from its corner; none of one."""
    axes = np.stack([instrument.fast_axis, instrument.slow_axis, instrument.normal], axis=1)

    def along(vector: Vector) -> Vector:
        return np.asarray(np.linalg.solve(axes, vector))

    return tuple(
        Panel(
            origin=along(panel.origin - instrument.origin),
            fast_axis=along(panel.fast_axis),
            slow_axis=along(panel.slow_axis),
            name=panel.name,
        )
        for panel in instrument.panels
    )
