"""What the reference prints about a run, and the header of its images (specs/30-formats.md, 30.42)."""

import math

import numpy as np

from numbragg.compat.build import Job
from numbragg.geometry.cell import volume
from numbragg.lowering.detector_frame import DetectorFrame, frame_of
from numbragg.lowering.lower import choose_oversample
from numbragg.lowering.sources import count_sources
from numbragg.models.crystal import Crystal
from numbragg.models.detector import Detector
from numbragg.models.quirks import NO_QUIRKS
from numbragg.statistics import ImageStatistics

MM = 1e-3
MICROMETRE = 1e-6


def dials_origin(frame: DetectorFrame) -> tuple[float, float, float]:
    """Origin of the detector in the frame of DIALS, mm (specs/10-physics.md, 10.16)."""
    x, y, z = (float(value) / MM for value in frame.origin)
    return z, y, -x


def geometry_lines(job: Job) -> list[str]:
    """Lines printed before the image is simulated."""
    experiment, geometry, frame = job.experiment, job.geometry, frame_of(job.experiment)
    crystal, beam, detector, scan = experiment.crystal, experiment.beam, experiment.detector, experiment.scan
    lines = [f"{geometry.convention.name} convention selected."]
    if job.drawn_misset is not None:
        lines.append("random orientation misset angles: {:f} {:f} {:f} deg".format(*job.drawn_misset))
    cell_volume = crystal.reciprocal_volume or volume(crystal.cell)
    directions, sources = count_sources(beam)
    depth = detector.attenuation_depth
    absorption = 1.0 / (depth * MICROMETRE) if depth is not None and detector.thickness > 0 else -1.0
    pixel = detector.pixel_size * MM
    oversample = experiment.oversample or choose_oversample(experiment)
    switches = (
        (" +thick", experiment.oversample_thickness),
        (" +polar", experiment.oversample_polarization),
        (" +omega", experiment.oversample_omega),
    )
    return [
        *lines,
        "Unit Cell: " + " ".join(f"{number:g}" for number in crystal.cell),
        f"volume = {cell_volume:g} A^3",
        f"created a total of {sources} sources:",
        f"created a total of {crystal.mosaic_domains} mosaic domains",
        f"incident fluence: {beam.fluence:g} photons/m^2",
        f"distance={frame.distance:g} detsize={geometry.size_fast * MM:g}x{geometry.size_slow * MM:g}  "
        f"pixel={pixel:g} meters ({detector.n_fast}x{detector.n_slow} pixels){_of_panels(detector)}",
        f"sensor is {detector.thickness * MICROMETRE:g} m thick in {detector.layers} layers with mu= {absorption:g}",
        f"Xbeam={geometry.xbeam * MM:g} Ybeam={geometry.ybeam * MM:g}",
        f"Fbeam={frame.beam_fast:g} Sbeam={frame.beam_slow:g}",
        f"Fclose={frame.close_fast:g} Sclose={frame.close_slow:g}",
        "dials origin= " + " ".join(f"{number:g}" for number in dials_origin(frame)),
        f"{directions} divergence steps",
        f"{sources} sources",
        f"{crystal.mosaic_domains} mosaic domains over mosaic spread of {_spread(crystal)} degrees",
        f"{scan.sampling.count} phi steps from {scan.start:g} to {scan.start + scan.sampling.range:g} degrees",
        f"{oversample}x{oversample} pixel oversample steps" + "".join(text for text, on in switches if on),
    ]


def statistics_lines(statistics: ImageStatistics) -> list[str]:
    """Lines printed about the image."""
    sphere = statistics.solid_angle / (4.0 * math.pi) * 100.0
    return [
        f"solid angle subtended by detector = {statistics.solid_angle:g} steradian ( {sphere:g}% sphere)",
        f"max_I = {statistics.maximum:g}  at {statistics.maximum_fast:g} {statistics.maximum_slow:g}",
        f"mean= {statistics.mean:g} rms= {statistics.rms:g} rmsd= {statistics.rmsd:g}",
    ]


def smv_header(job: Job) -> dict[str, str]:
    """Keywords of an SMV image after the sizes, in the order of the reference.

    Mode ``spec`` leaves out BEAMLINE, by which readers take an image for nanoBragg's with its shifted beam centre,
    and says what was added to the counts.
    """
    detector, frame, geometry = job.experiment.detector, frame_of(job.experiment), job.geometry
    pixel = detector.pixel_size
    fast, slow = float(frame.beam_fast) / MM, float(frame.beam_slow) / MM
    scan = job.experiment.scan
    values: dict[str, float | str] = {
        "PIXEL_SIZE": pixel,
        "DISTANCE": frame.distance / MM,
        "WAVELENGTH": job.experiment.beam.wavelength,
        "BEAM_CENTER_X": geometry.xbeam,
        "BEAM_CENTER_Y": geometry.ybeam,
        "ADXV_CENTER_X": fast,
        "ADXV_CENTER_Y": geometry.size_slow - slow,
        "MOSFLM_CENTER_X": slow - 0.5 * pixel,
        "MOSFLM_CENTER_Y": fast - 0.5 * pixel,
        "DENZO_X_BEAM": slow,
        "DENZO_Y_BEAM": fast,
        "DIALS_ORIGIN": ",".join(f"{number:g}" for number in dials_origin(frame)),
        "XDS_ORGX": frame.close_fast / MM / pixel + 0.5,
        "XDS_ORGY": frame.close_slow / MM / pixel + 0.5,
        "CLOSE_DISTANCE": frame.close_distance / MM,
        "PHI": scan.start,
        "OSC_START": scan.start,
        "OSC_RANGE": scan.sampling.range,
        "TWOTHETA": detector.twotheta,
        "DETECTOR_SN": "000",
    }
    if job.experiment.quirks == NO_QUIRKS:
        values["ADC_OFFSET"] = job.outputs.adc_offset
    else:
        values["BEAMLINE"] = "fake"
    return {key: value if isinstance(value, str) else f"{np.real(value):g}" for key, value in values.items()}


def _of_panels(detector: Detector) -> str:
    if not detector.panels:
        return ""
    count = len(detector.panels)
    return f" on each of {count} panels" if detector.panel is None else f" on panel {detector.panel} of {count}"


def _spread(crystal: Crystal) -> str:
    spreads = (crystal.mosaic_spread,) if crystal.mosaic_spreads is None else crystal.mosaic_spreads
    return " ".join(f"{spread:g}" for spread in spreads)
