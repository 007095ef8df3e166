"""From an experiment to what the kernel is given."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.geometry.rotations import unit
from numbragg.kernels.params import (
    GAUSS,
    ROUND,
    SQUARE,
    TOPHAT,
    BeamParams,
    CrystalParams,
    DetectorParams,
    ScalingParams,
)
from numbragg.lowering.detector_frame import frame_of, place_panels, whole_frame
from numbragg.lowering.orientations import orientation_table, phi_angles, reciprocal_axes, step_rows
from numbragg.lowering.sources import list_sources
from numbragg.models.beam import CLASSICAL_RADIUS_SQUARED
from numbragg.models.crystal import Crystal
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment

ANGSTROM = 1e-10
MICROMETRE = 1e-6
MM = 1e-3

AVOGADRO = 6.02214179e23
WATER_AMPLITUDE = 2.57
"""Forward scattering of a water molecule in its liquid, electrons (specs/10-physics.md, 10.55)."""
WATER_MOLAR_MASS = 18.0

SHAPE_CODES = {"square": SQUARE, "round": ROUND, "gauss": GAUSS, "tophat": TOPHAT}

SUB_PIXELS_PER_FRINGE = 3.0
"""Sub-pixels that the automatic choice puts on one fringe of the largest crystal width."""


Table = tuple[npt.NDArray[Any], npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""What lies outside and F^2 (or F), lowest indices, highest indices."""


class KernelParams(NamedTuple):
    """Everything the forward kernel is given but the pixels, and which kernel it is."""

    detector: DetectorParams
    beam: BeamParams
    crystal: CrystalParams
    scaling: ScalingParams
    shape: int
    interpolate: bool
    running: bool
    mixed: bool = False


def choose_oversample(experiment: Experiment) -> int:
    """Sub-pixels along each edge that an experiment without an explicit number gets (specs/10-physics.md, 10.28)."""
    crystal, detector = experiment.crystal, experiment.detector
    widths = [float(np.real(n) * np.real(edge)) for n, edge in zip(crystal.n_cells, crystal.cell[:3], strict=True)]
    distance = abs(float(np.real(whole_frame(experiment).distance)))
    fringe = float(np.real(experiment.beam.wavelength)) * ANGSTROM * distance / (detector.pixel_size * MM)
    return max(1, int(np.ceil(SUB_PIXELS_PER_FRINGE * max(widths) * ANGSTROM / fringe)))


def lower(experiment: Experiment) -> KernelParams:
    """Lower an experiment; complex parameters anywhere make every differentiable field complex.

    Raises
    ------
    NumbraggError
        Where the parts do not fit together: a detector seen edge-on, a polarisation axis along a source.
    """
    oversample = experiment.oversample or choose_oversample(experiment)
    table = _lower_table(experiment.crystal)
    return _assemble(
        experiment, _lower_detector(experiment, oversample), _lower_beam(experiment), _lower_crystal(experiment, table)
    )


def lower_again(experiment: Experiment, earlier: Experiment, params: KernelParams) -> KernelParams:
    """Lower an experiment that `Experiment.replace` made from one that was lowered to ``params``.

    The same as `lower`, but parts that share their models are taken over. The number of sub-pixels is the earlier one.
    """
    detector, beam, crystal = params.detector, params.beam, params.crystal
    if experiment.detector is not earlier.detector or experiment.beam.direction is not earlier.beam.direction:
        detector = _lower_detector(experiment, detector.oversample)
    if experiment.beam is not earlier.beam:
        beam = _lower_beam(experiment)
    if experiment.crystal is not earlier.crystal or experiment.scan is not earlier.scan:
        same = experiment.crystal.structure_factors is earlier.crystal.structure_factors
        table = (crystal.table, crystal.low, crystal.high) if same else _lower_table(experiment.crystal)
        crystal = _lower_crystal(experiment, table)
    return _assemble(experiment, detector, beam, crystal)


def panel_detectors(detector: Detector, params: DetectorParams) -> tuple[DetectorParams, ...]:
    """What the kernel is given of each panel that is simulated.

    Parameters
    ----------
    detector
        With several panels, or one.
    params
        What it was lowered to: of several panels, where the detector as a whole is.
    """
    if not detector.has_panels:
        return (params,)
    return tuple(
        params._replace(frame=frame, close_distance=params.frame.dtype.type(close_distance).item())
        for frame, close_distance in zip(*place_panels(params.frame, detector.panels), strict=True)
    )


def _assemble(
    experiment: Experiment, detector: DetectorParams, beam: BeamParams, crystal: CrystalParams
) -> KernelParams:
    steps = beam.wavelength.size * crystal.domains * crystal.step_row.size * detector.oversample**2
    sampled = experiment.oversample_omega or experiment.oversample_polarization or experiment.oversample_thickness
    params = KernelParams(
        detector=detector,
        beam=beam,
        crystal=crystal,
        scaling=_lower_scaling(experiment, steps),
        shape=SHAPE_CODES[experiment.crystal.shape],
        interpolate=experiment.crystal.interpolates,
        running=experiment.quirks.q02_running_factors and sampled,
    )
    return _with_one_dtype(params)


def count_steps(experiment: Experiment) -> int:
    """Evaluations that a pixel is averaged over: sources x domains x phi steps x sub-pixels."""
    oversample = experiment.oversample or choose_oversample(experiment)
    domains = experiment.crystal.mosaic_domains if experiment.crystal.is_mosaic else 1
    return int(len(list_sources(experiment.beam).weight) * domains * experiment.scan.sampling.count * oversample**2)


def _lower_detector(experiment: Experiment, oversample: int) -> DetectorParams:
    detector, frame = experiment.detector, frame_of(experiment)
    absorbs = detector.attenuation_depth is not None and detector.thickness > 0
    layer_step = detector.thickness / detector.layers if detector.layer_step is None else detector.layer_step
    return DetectorParams(
        frame=frame.matrix,
        beam=unit(experiment.beam.direction),
        distance=frame.distance,
        close_distance=frame.close_distance,
        attenuation=1.0 / (detector.attenuation_depth * MICROMETRE) if absorbs and detector.attenuation_depth else 0.0,
        pixel=detector.pixel_size * MM,
        layer_step=layer_step * MICROMETRE if absorbs else 0.0,
        layers=detector.layers if absorbs else 1,
        n_fast=detector.n_fast,
        oversample=oversample,
        curved=detector.curved,
        point_pixel=detector.point_pixel,
    )


def _lower_beam(experiment: Experiment) -> BeamParams:
    sources = list_sources(experiment.beam, ignore_weights=experiment.quirks.q06_weights_ignored)
    if not np.all(np.isfinite(sources.electric)):
        raise NumbraggError("beam: a source lies along the polarisation axis")
    kahn = experiment.beam.polarization
    return BeamParams(*sources, kahn=0.0 if kahn is None else kahn, polarized=kahn is not None)


def _lower_crystal(experiment: Experiment, table: Table) -> CrystalParams:
    crystal = experiment.crystal
    rounded = experiment.quirks.q28_single_precision_mosaic
    axes = orientation_table(crystal, experiment.scan, single_precision=rounded) * ANGSTROM
    values, low, high = table
    return CrystalParams(
        axes=axes.ravel(),
        step_row=step_rows(phi_angles(experiment.scan), carryover=experiment.quirks.q01_phi_carryover),
        domains=axes.shape[1],
        n_cells=np.asarray(crystal.n_cells),
        fudge=crystal.fudge,
        reciprocal=reciprocal_axes(crystal).ravel(),
        table=values,
        low=low,
        high=high,
    )


def _lower_table(crystal: Crystal) -> Table:
    outside, factors = float(crystal.default_f), crystal.structure_factors
    if factors is None:
        # An empty range: every index lies outside.
        return np.array([outside * outside]), np.ones(3), np.zeros(3)
    low, high = np.array(factors.minimum, dtype=float), np.array(factors.maximum, dtype=float)
    _, rows, columns = factors.values.shape
    # The interpolation of a corner that is out of range still reads, and discards, this many places.
    margin = 3 * (rows * columns + columns + 1) if crystal.interpolates else 0
    table = np.zeros(1 + factors.values.size + margin, factors.values.dtype)
    table[0] = outside
    table[1 : 1 + factors.values.size] = factors.values.ravel()
    if not crystal.interpolates:
        np.square(table, out=table)
    return table, low, high


def _lower_scaling(experiment: Experiment, steps: int) -> ScalingParams:
    quirks = experiment.quirks
    photons = CLASSICAL_RADIUS_SQUARED * experiment.beam.fluence
    molecules = (experiment.water_size * MICROMETRE) ** 3 * 1e6 * AVOGADRO / WATER_MOLAR_MASS
    water = photons * WATER_AMPLITUDE**2 * molecules
    return ScalingParams(
        scale=photons / steps,
        background=0.0 if quirks.q05_water_in_sum else water,
        initial=water if quirks.q05_water_in_sum else 0.0,
        d_min_squared=(experiment.d_min * ANGSTROM) ** 2,
        oversample_omega=experiment.oversample_omega,
        oversample_polar=experiment.oversample_polarization,
        oversample_thick=experiment.oversample_thickness,
        last_layer_capture=quirks.q03_last_layer_capture,
    )


ALWAYS_REAL = {
    "weight", "pixel", "layer_step", "layers", "n_fast", "oversample", "curved", "point_pixel", "polarized", "step_row",
    "domains", "table", "low", "high", "d_min_squared", "oversample_omega", "oversample_polar",
    "oversample_thick", "last_layer_capture",
}  # fmt: skip


def _with_one_dtype(params: KernelParams) -> KernelParams:
    objects = (params.detector, params.beam, params.crystal, params.scaling)
    # The table is complex only in a complex step of a structure factor.
    fields = [params.crystal.table[:1]] + [
        value for item in objects for name, value in item._asdict().items() if name not in ALWAYS_REAL
    ]
    dtype = np.result_type(np.float64, *fields)
    scalar = complex if dtype.kind == "c" else float

    def cast(name: str, value: Any) -> Any:
        if name in ALWAYS_REAL:
            return value
        return np.ascontiguousarray(value, dtype) if np.ndim(value) else scalar(value)

    def cast_fields(item: Any) -> Any:
        return item._replace(**{name: cast(name, value) for name, value in item._asdict().items()})

    detector, beam, crystal, scaling = map(cast_fields, objects)
    return params._replace(detector=detector, beam=beam, crystal=crystal, scaling=scaling)
